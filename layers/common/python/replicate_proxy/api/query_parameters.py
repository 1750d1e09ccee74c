"""Query parameters that several lists accept. An invalid one is a 400 ApiError that names it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.clock import parse_timestamp
from replicate_proxy.errors import parameter_error

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.api.http import Request


def parse_time_parameter(request: Request, name: str) -> datetime | None:
    """Return the time, None if the parameter is missing or empty."""
    text = request.query.get(name)
    if not text:
        return None
    try:
        # A plus sign that the client did not escape arrives as a space.
        return parse_timestamp(text.replace(" ", "+"))
    except ValueError:
        raise parameter_error(
            name, "must be an ISO-8601 time with an offset", error_type="invalid_time"
        ) from None
