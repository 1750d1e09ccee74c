"""Make a failing run shorter: leave out the choices without which it fails as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tools.simulation.run import RunResult, RunSettings, run_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def shrink(
    failure: RunResult,
    settings: RunSettings,
    *,
    max_runs: int = 400,
    report: Callable[[str], None] = lambda _: None,
) -> RunResult:
    """Return a run that breaks the same guarantee with as few choices as `max_runs` attempts could find.

    Delta debugging (Zeller and Hildebrandt, 2002) over the recorded choices.
    """
    if failure.violation is None:
        raise ValueError("only a failing run can be shrunk")
    guarantee = failure.violation.guarantee
    best = failure
    script = dict(failure.decisions)
    runs = 0

    def attempt(kept: Mapping[str, str]) -> bool:
        nonlocal best, runs
        runs += 1
        result = run_seed(failure.seed, settings, script=kept)
        if result.violation is None or result.violation.guarantee != guarantee:
            return False
        best = result
        return True

    parts = 2
    while len(script) >= 1 and runs < max_runs:
        for part in _split(list(script), min(parts, len(script))):
            kept = {key: choice for key, choice in script.items() if key not in part}
            if runs >= max_runs:
                break
            if attempt(kept):
                script = dict(best.decisions)
                parts = max(parts - 1, 2)
                report(f"{len(script)} choices left after {runs} runs")
                break
        else:
            if parts >= len(script):
                break
            parts = min(parts * 2, len(script))
    return best


def _split(keys: Sequence[str], parts: int) -> list[frozenset[str]]:
    size = max(1, len(keys) // parts)
    return [frozenset(keys[start : start + size]) for start in range(0, len(keys), size)]
