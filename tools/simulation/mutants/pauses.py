"""Broken variants of the pauses of predictions and deliveries."""

from __future__ import annotations

import math

from replicate_proxy import cached_reading
from replicate_proxy.pauses.pause import PauseSwitch
from tools.simulation.decisions import Rates
from tools.simulation.faults import FaultMix
from tools.simulation.mutants.mutant import Mutant
from tools.simulation.run import RunSettings

PAUSE_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "pauses are not found",
        "what is paused is not sent",
        ((PauseSwitch, "find", lambda _self, _tenant: None),),
        settings=RunSettings(jobs=25, pause_share=1.0),
    ),
    Mutant(
        "what was read before a pause counts for as long as nothing is read",
        "what is paused is not sent",
        ((cached_reading, "_MAX_KEPT_SECONDS", math.inf),),
        mix=FaultMix(aws_reads=Rates(rejected=0.3)),
        settings=RunSettings(jobs=40, pause_share=1.0),
        is_slow=True,
    ),
)
