"""How the pages show times, amounts and sizes. No I/O."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from markupsafe import Markup

from replicate_proxy.clock import format_timestamp, parse_timestamp
from replicate_proxy.costs.money import MICRO_PER_USD

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_BYTES_PER_UNIT = 1000
# From here on three digits would be 1e+03.
_ROUNDED_UP = 999.5
_SMALL_AMOUNT_MICRO = 100_000
_TEN = 10
NONE = "–"


def format_duration(seconds: float | None) -> str:
    """Return like `0.4 s`, `12 s`, `3 min 5 s` or `2 d 4 h`."""
    if seconds is None:
        return NONE
    if abs(seconds) < 1:
        return f"{round(seconds * 1000)} ms"
    if abs(seconds) < _TEN:
        return f"{seconds:.1f} s"
    left = round(seconds)
    parts: list[str] = []
    for size, name in _UNITS:
        number, rest = divmod(left, size)
        if number or parts:
            parts += [f"{number} {name}"] if number else [""]
            left = rest
    return " ".join(filter(None, parts[:2]))


def format_moment(value: datetime | str | None, now: datetime) -> str | Markup:
    """Return the time relative to now, with the absolute one in its title."""
    if not value:
        return NONE
    moment = parse_timestamp(value) if isinstance(value, str) else value
    text = format_timestamp(moment)
    age = (now - moment) / timedelta(seconds=1)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        text, f"{text[:10]} {text[11:19]} UTC", _describe_age(age)
    )


def _describe_age(seconds: float) -> str:
    if abs(seconds) < 1:
        return "now"
    size, name = next((unit for unit in _UNITS if abs(seconds) >= unit[0]), _UNITS[-1])
    number = int(abs(seconds) // size)
    return f"{number} {name} ago" if seconds > 0 else f"in {number} {name}"


def format_money(micro_usd: int | None) -> str:
    """Return US dollars with two decimals, or as many as a small amount needs."""
    if micro_usd is None:
        return NONE
    if micro_usd == 0:
        return "$0"
    if abs(micro_usd) < _SMALL_AMOUNT_MICRO:
        return f"${micro_usd / MICRO_PER_USD:.6f}".rstrip("0")
    return f"${micro_usd / MICRO_PER_USD:,.2f}"


def format_usd_input(micro_usd: int | None) -> str:
    """Return the amount as the value of a field, empty without one."""
    return "" if micro_usd is None else f"{micro_usd / MICRO_PER_USD:.6f}".rstrip("0").rstrip(".")


def format_bytes(size: float | None) -> str:
    if size is None:
        return NONE
    for unit in ("B", "kB", "MB"):
        if size < _ROUNDED_UP:
            return f"{size:.0f} B" if unit == "B" else f"{size:.3g} {unit}"
        size /= _BYTES_PER_UNIT
    return f"{size:.3g} GB" if size < _ROUNDED_UP else f"{size:,.0f} GB"


def format_number(value: float | None) -> str:
    return NONE if value is None else f"{value:,}"


def format_json(value: Any) -> str:
    """Return JSON to read."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def find_safe_url(value: Any) -> str:
    """Return the text if it is an HTTP URL, and else nothing: no link may run a script."""
    if not isinstance(value, str):
        return ""
    try:
        parts = urlsplit(value)
    except ValueError:
        return ""
    return value if parts.scheme in {"http", "https"} and parts.hostname else ""


def summarize_input(model_input: Any) -> str:
    """Return the prompt of an input, or else its first text."""
    if not isinstance(model_input, dict):
        return ""
    texts: Mapping[str, str] = {name: value for name, value in model_input.items() if isinstance(value, str)}
    return texts.get("prompt") or next(iter(texts.values()), "")
