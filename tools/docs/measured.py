"""How measured values are written in the documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tools.bench.stored_run import Part, Result, StoredRun

NOT_MEASURED = "not in the stored run"
_DECIMALS = {"$": 3, "s": 2, "ms": 0, "MB": 0}
_SIGNS = {"<=": "≤", ">=": "≥", "=": "", "<": "<", ">": ">"}
_BYTES_PER_KB = 1000
# Fewer milliseconds than this have two significant digits.
_FEW_MS = 10


def format_value(value: float | None, unit: str) -> str:
    """Return like `54 ms`, `4.2 ms`, `0.22 s`, `$0.078` or `86 kB`."""
    if value is None:
        return "not measured"
    if unit == "$":
        return f"${value:.3f}"
    if unit == "bytes":
        return f"{value / _BYTES_PER_KB:.0f} kB"
    if unit == "ms" and 0 < value < _FEW_MS:
        return f"{value:.2g} ms"
    number = f"{value:,.{_DECIMALS[unit]}f}" if unit in _DECIMALS else f"{value:,.10g}"
    return f"{number} {unit}"


def format_target(result: Result) -> str:
    """Return like `≤ 300 ms`; a target of another form as it is."""
    sign, _, rest = result.target.partition(" ")
    bound, _, note = rest.partition(" ")
    try:
        value = format_value(float(bound), result.unit)
    except ValueError:
        return result.target
    return " ".join(filter(None, (_SIGNS.get(sign, sign), bound if note.startswith("of") else value, note)))


def format_range(result: Result) -> str:
    """Return the lowest and the highest repeat; nothing if it was measured once."""
    if len(result.values) <= 1:
        return ""
    low, high = min(result.values), max(result.values)
    if low == high:
        return "no difference"
    lowest = format_value(low, result.unit).removesuffix(f" {result.unit}")
    return f"{lowest} to {format_value(high, result.unit)}"


def describe_part(run: StoredRun, name: str) -> str:
    """Return when and how a part was measured, as a sentence."""
    part = run.parts.get(name)
    if part is None:
        return f"`make bench PART={name}` is {NOT_MEASURED}."
    times = "once" if part.repeats == 1 else f"{part.repeats} times"
    return f"Measured {times} on {format_date(part)} by `make bench PART={name}`."


def format_date(part: Part) -> str:
    """Return the day and the minute, in UTC."""
    return part.date[:16].replace("T", " ") + " UTC"
