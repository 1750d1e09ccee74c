"""Broken variants of the pauses of predictions and deliveries."""

from __future__ import annotations

from replicate_proxy.pauses.pause import PauseSwitch
from tools.simulation.mutants.mutant import Mutant
from tools.simulation.run import RunSettings

PAUSE_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "pauses are not found",
        "what is paused is not sent",
        ((PauseSwitch, "find", lambda _self, _tenant: None),),
        settings=RunSettings(jobs=25, pause_share=1.0),
    ),
)
