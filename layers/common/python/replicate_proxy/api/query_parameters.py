"""Query parameters that several lists accept. An invalid one is a 400 ApiError that names it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from replicate_proxy.clock import parse_timestamp
from replicate_proxy.errors import parameter_error

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.api.http import Request

TIME_RULE = "must be an ISO-8601 time with an offset"
_LIMIT_PATTERN = re.compile(r"[0-9]{1,5}")


def parse_limit(request: Request, *, default: int, maximum: int) -> int:
    """Return the parameter `limit`: how many entries a page has."""
    text = request.query.get("limit", str(default))
    if not _LIMIT_PATTERN.fullmatch(text) or not 1 <= int(text) <= maximum:
        raise parameter_error("limit", f"must be a whole number from 1 to {maximum}")
    return int(text)


def parse_time_parameter(request: Request, name: str) -> datetime | None:
    """Return the time, None if the parameter is missing or empty."""
    text = request.query.get(name)
    if not text:
        return None
    try:
        return parse_time(text)
    except ValueError:
        raise parameter_error(name, TIME_RULE, error_type="invalid_time") from None


def parse_time(text: str) -> datetime:
    """Return the time of a parameter. Raises ValueError."""
    # A plus sign that the client did not escape arrives as a space.
    return parse_timestamp(text.replace(" ", "+"))
