"""Compare a run with the stored one: the change of each result, and whether it is more than noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tools.bench.stored_run import is_met

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tools.bench.stored_run import Part, Result, StoredRun


@dataclass(frozen=True, slots=True)
class Change:
    """One result in both runs. `noise` is a share of the value, None if no run was repeated."""

    new: Result
    stored: Result

    @property
    def share(self) -> float | None:
        """The change as a share of the stored value."""
        if self.new.value is None or not self.stored.value:
            return None
        return (self.new.value - self.stored.value) / abs(self.stored.value)

    @property
    def noise(self) -> float | None:
        """The larger spread of both runs: a smaller change may be chance."""
        spreads = [run.spread for run in (self.new, self.stored) if run.spread is not None]
        return max(spreads, default=None)

    @property
    def verdict(self) -> str:
        """Return `better`, `worse`, `same`, `noise`, or `changed` if the unit has no better or worse."""
        if self.new.value is None or self.stored.value is None:
            return "same" if self.new.value == self.stored.value else "not measured"
        if self.new.value == self.stored.value:
            return "same"
        if self.share is not None and self.noise is not None and abs(self.share) <= self.noise:
            return "noise"
        now, before = self.new.rate(self.new.value), self.new.rate(self.stored.value)
        if now is None or before is None:
            return "changed"
        return "better" if now > before else "worse"

    @property
    def is_missed(self) -> bool:
        """Whether a target is missed that the stored value meets, or is not measured any more."""
        was_met = self.stored.met
        if self.stored.value is not None and is_met(self.new.target, self.stored.value) is not None:
            was_met = is_met(self.new.target, self.stored.value)
        return bool(was_met) and not self.new.met


def compare_runs(new: StoredRun, stored: StoredRun) -> list[Change]:
    """Return the changes of all results that both runs have."""
    before = {result.name: result for result in stored.list_results()}
    return [Change(result, before[result.name]) for result in new.list_results() if result.name in before]


def render_comparison(new: StoredRun, stored: StoredRun) -> Iterator[str]:
    """Yield the lines of the report."""
    yield from _describe_machines(new, stored)
    yield f"{'':45} {'new':>12} {'stored':>12} {'change':>9} {'noise':>8}"
    for change in compare_runs(new, stored):
        line = f"{change.new.name:45} {_format(change.new.value)} {_format(change.stored.value)}"
        line += f" {_format_share(change.share, '+'):>9} {_format_share(change.noise, ''):>8}"
        line += f"  {change.new.unit:10} {change.verdict}"
        yield line + (f"   TARGET MISSED: {change.new.target}" if change.is_missed else "")
    for text, names in _find_unmatched(new, stored):
        yield f"{text}: {', '.join(names)}"


def has_missed_target(new: StoredRun, stored: StoredRun) -> bool:
    """Return whether a target is missed that the stored run met."""
    return any(change.is_missed for change in compare_runs(new, stored))


def _describe_machines(new: StoredRun, stored: StoredRun) -> Iterator[str]:
    for name, part in new.parts.items():
        before = stored.parts.get(name)
        if before is None:
            yield f"{name}: not in the stored run"
            continue
        yield f"{name}: {_describe_part(part)}; stored: {_describe_part(before)}"
        for fact in sorted(part.machine.keys() & before.machine.keys()):
            if part.machine[fact] != before.machine[fact]:
                yield f"  OTHER MACHINE: {fact} is {part.machine[fact]}, was {before.machine[fact]}"


def _describe_part(part: Part) -> str:
    load = "unknown" if part.load is None else f"{part.load:g}"
    return f"{part.date} at {part.commit[:12]}, repeats: {part.repeats}, load before it: {load}"


def _find_unmatched(new: StoredRun, stored: StoredRun) -> Iterator[tuple[str, list[str]]]:
    """Yield what only one of the runs has, among the parts that both have."""
    common = new.parts.keys() & stored.parts.keys()
    now, before = (_list_names(run.parts[name] for name in sorted(common)) for run in (new, stored))
    if added := [name for name in now if name not in before]:
        yield "not in the stored run", added
    if removed := [name for name in before if name not in now]:
        yield "only in the stored run", removed


def _list_names(parts: Iterable[Part]) -> list[str]:
    return [result.name for part in parts for result in part.results]


def _format(value: float | None) -> str:
    return f"{'–' if value is None else f'{value:g}':>12}"


def _format_share(share: float | None, sign: str) -> str:
    return "–" if share is None else f"{100 * share:{sign}.1f} %"
