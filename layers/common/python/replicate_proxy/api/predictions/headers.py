"""Headers of create requests. An invalid header is a 422 ApiError that names it."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from replicate_proxy.errors import field_error
from replicate_proxy.images.options import ImageOptions, InvalidImageOptionError
from replicate_proxy.jobs.metadata import parse_metadata
from replicate_proxy.jobs.retention import parse_retention

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request
    from replicate_proxy.errors import ApiError


_DURATION = re.compile(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,8})s?)?")
_MIN_CANCEL_AFTER_SECONDS = 5
# The value of a preference may be quoted (RFC 7240, section 2); the AI SDK sends fractions of a second.
_PREFER_WAIT = re.compile(r'(?:^|[,;\s])wait(?:\s*=\s*("?)(\d+(?:\.\d*)?)\1)?(?=$|[,;\s])')
_MAX_PREFER_WAIT_SECONDS = 60
_ZERO_WEIGHT = re.compile(r"q\s*=\s*0(?:\.0{0,3})?")
_CORRELATION_ID = re.compile(r"[A-Za-z0-9._:/=+@-]{1,128}")
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def parse_cancel_after(text: str) -> int:
    """Return the seconds of a `Cancel-After` header: `30s`, `5m`, `1h30m45s` or `30`.

    The minimum is 5 (Replicate's OpenAPI document, Cancel-After).
    """
    match = _DURATION.fullmatch(text.strip())
    if not match or not any(match.groups()):
        raise _header_error("Cancel-After", "must be a duration such as 30s, 5m or 1h30m45s")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = hours * 3600 + minutes * 60 + seconds
    if total < _MIN_CANCEL_AFTER_SECONDS:
        raise _header_error("Cancel-After", f"must be at least {_MIN_CANCEL_AFTER_SECONDS} seconds")
    return total


def parse_retention_header(text: str, max_days: int) -> int:
    """Return the seconds of an `X-Retention` header: `7d` or `12h`, up to the retention of the stack."""
    try:
        return parse_retention(text, max_days)
    except ValueError as error:
        raise _header_error("X-Retention", str(error)) from None


def parse_metadata_header(request: Request) -> dict[str, str]:
    """Return the pairs of the `X-Metadata` header, none without it."""
    text = request.headers.get("x-metadata")
    if text is None:
        return {}
    try:
        return parse_metadata(text)
    except ValueError as error:
        raise _header_error("X-Metadata", str(error)) from None


def parse_prefer_wait(text: str) -> int | None:
    """Return the seconds of `Prefer: wait[=n]`, None if the header does not ask to wait.

    Without a number, and at most, it is 60 (Replicate's OpenAPI document, Prefer). That goes for any number:
    a client that has asked to wait takes a response that is not `starting` for the end.
    """
    match = _PREFER_WAIT.search(text.lower())
    if not match:
        return None
    # A float, because an int of thousands of digits is a ValueError.
    return int(min(float(match[2] or _MAX_PREFER_WAIT_SECONDS), _MAX_PREFER_WAIT_SECONDS))


def parse_image_options(request: Request) -> dict[str, Any] | None:
    """Return what `X-Image-Format` and `X-Image-Quality` choose, and whether `Accept` names AVIF.

    None if the headers say nothing about images.
    """
    texts = {
        name: request.headers[f"x-image-{name}"]
        for name in ("format", "quality")
        if f"x-image-{name}" in request.headers
    }
    try:
        options = ImageOptions.parse(format=texts.get("format"), quality=texts.get("quality"))
    except InvalidImageOptionError as error:
        raise _header_error(f"X-Image-{error.field.title()}", str(error)) from None
    chosen = {name: asdict(options)[name] for name in texts}
    if _accepts_avif(request.headers.get("accept", "")):
        chosen["accepts_avif"] = True
    return chosen or None


def _accepts_avif(accept: str) -> bool:
    """Return whether an `Accept` header names `image/avif` (RFC 9110, section 12.5.1).

    Wildcards do not count: HTTP libraries send `*/*` whatever their application can show.
    """
    for media_range in accept.lower().split(","):
        media_type, *parameters = (part.strip() for part in media_range.split(";"))
        if media_type == "image/avif":
            return not any(_ZERO_WEIGHT.fullmatch(parameter) for parameter in parameters)
    return False


def parse_idempotency_key(request: Request) -> str | None:
    """Return the `Idempotency-Key` header, None without it."""
    key = request.headers.get("idempotency-key")
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        raise _header_error("Idempotency-Key", "must be 1 to 255 visible ASCII characters")
    return key


def parse_correlation_id(request: Request) -> str:
    """Return the `X-Correlation-Id` header; if it is missing or invalid, API Gateway's request ID."""
    text = request.headers.get("x-correlation-id", "")
    return text if _CORRELATION_ID.fullmatch(text) else request.request_id


def _header_error(name: str, description: str) -> ApiError:
    return field_error(name, description, error_type="invalid_header")
