"""Broken variants that only events of the past reveal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.services.reports import ReportLoader
from tools.simulation.mutants.mutant import Mutant
from tools.simulation.run import RunSettings

if TYPE_CHECKING:
    from collections.abc import Callable


def _store_what_is_loaded(self: Any, report: Any) -> Any:
    loaded = _load(self, report)
    self._objects.put(f"events/{report.tenant}/{report.job_id}/last.json", b"{}")
    return loaded


_load: Callable[..., Any] = ReportLoader.load

REPLAY_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "a report is stored whenever it is received",
        "a replay changes nothing that has ended",
        ((ReportLoader, "load", _store_what_is_loaded),),
        settings=RunSettings(jobs=10, key_requests=0, delete_share=0.5, replay_share=1.0),
    ),
)
