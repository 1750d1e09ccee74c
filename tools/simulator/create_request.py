"""Parsing of a create request: its body, its headers, and the model's input.

Errors are worded as Replicate's JSON-schema validator (gojsonschema) words them.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, get_args
from urllib.parse import urlsplit

from tools.simulator.models.model import JsonSchema, Model
from tools.simulator.predictions import DEFAULT_WEBHOOK_EVENTS, WebhookEvent
from tools.simulator.problems import InvalidField, ProblemError, invalid_input_error

_PREFER_PATTERN = re.compile(r"wait(?:=([1-9]|[1-5][0-9]|60))?")
_DURATION_PATTERN = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")
_MAX_WAIT_SECONDS = 60
_MIN_CANCEL_AFTER_SECONDS = 5

_WEBHOOK_EVENTS: tuple[WebhookEvent, ...] = get_args(WebhookEvent.__value__)
_BODY_FIELDS = ("input", "stream", "webhook", "webhook_events_filter")
_PYTHON_TYPES_BY_JSON_TYPE: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRequest:
    """A valid create body. `version` is set for `POST /v1/predictions` only."""

    input: dict[str, Any]
    version: str | None
    webhook: str | None
    webhook_events: frozenset[WebhookEvent]


def parse_create_body(body: bytes, *, requires_version: bool) -> CreateRequest:
    """Return the request. Raises a 400 problem if it is not JSON, and a 422 naming each wrong field."""
    try:
        document = json.loads(body)
    except ValueError as error:
        raise ProblemError(400, "The request body is not valid JSON") from error
    if not isinstance(document, dict):
        raise invalid_input_error(_wrong_type_field("(root)", "object", document))
    if invalid_fields := list(_find_invalid_body_fields(document, requires_version=requires_version)):
        raise invalid_input_error(*invalid_fields)
    return CreateRequest(
        input=document["input"],
        version=document.get("version"),
        webhook=document.get("webhook") or None,
        webhook_events=frozenset(document.get("webhook_events_filter") or DEFAULT_WEBHOOK_EVENTS),
    )


def check_model_input(model: Model, model_input: dict[str, Any]) -> None:
    """Raise a 422 problem naming every input that the model's schema rejects.

    As at Replicate, unknown inputs are accepted.
    """
    invalid_fields = [
        InvalidField("required", "input", f"{name} is required")
        for name in model.required
        if name not in model_input
    ]
    for name, schema in model.inputs.items():
        if model_input.get(name) is not None:
            invalid_fields += _find_invalid_values(f"input.{name}", schema, model_input[name])
    if invalid_fields:
        raise invalid_input_error(*invalid_fields)


def parse_prefer_wait(header: str | None) -> int | None:
    """Return the seconds of `Prefer: wait[=n]`; None if absent or not understood (RFC 7240: then ignored)."""
    for preference in (header or "").split(","):
        if match := _PREFER_PATTERN.fullmatch(preference.strip()):
            return int(match[1] or _MAX_WAIT_SECONDS)
    return None


def parse_cancel_after(header: str | None) -> int | None:
    """Return the seconds of `Cancel-After` (`30`, `30s`, `5m`, `1h30m45s`).

    Raises a 422 problem if it is malformed or under 5 seconds.
    """
    if header is None:
        return None
    match = _DURATION_PATTERN.fullmatch(header.strip())
    if match is None or not any(match.groups()):
        raise invalid_input_error(_cancel_after_field("must be a duration like 30s or 1h5m"))
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total_seconds = hours * 3600 + minutes * 60 + seconds
    if total_seconds < _MIN_CANCEL_AFTER_SECONDS:
        raise invalid_input_error(_cancel_after_field("must be at least 5 seconds"))
    return total_seconds


def _cancel_after_field(reason: str) -> InvalidField:
    return InvalidField("format", "Cancel-After", f"Cancel-After {reason}")


def _find_invalid_body_fields(document: dict[str, Any], *, requires_version: bool) -> Iterator[InvalidField]:
    required = ("version", "input") if requires_version else ("input",)
    known = (*_BODY_FIELDS, "version") if requires_version else _BODY_FIELDS
    for name in required:
        if name not in document:
            yield InvalidField("required", "", f"{name} is required")
    for name in document:
        if name not in known:
            yield InvalidField(
                "additional_property_not_allowed", "", f"Additional property {name} is not allowed"
            )
    for name, json_type in (
        ("input", "object"),
        ("version", "string"),
        ("webhook", "string"),
        ("stream", "boolean"),
        ("webhook_events_filter", "array"),
    ):
        if name in document and name in known and not _has_json_type(document[name], json_type):
            yield _wrong_type_field(name, json_type, document[name])
    yield from _find_invalid_webhook_fields(document)


def _find_invalid_webhook_fields(document: dict[str, Any]) -> Iterator[InvalidField]:
    webhook, events = document.get("webhook"), document.get("webhook_events_filter")
    if isinstance(webhook, str) and webhook and not _is_acceptable_webhook_url(webhook):
        yield InvalidField("format", "webhook", "Webhook must be a valid HTTPS URL")
    for index, event in enumerate(events if isinstance(events, list) else ()):
        if event not in _WEBHOOK_EVENTS:
            choices = ", ".join(f'"{name}"' for name in _WEBHOOK_EVENTS)
            field = f"webhook_events_filter.{index}"
            yield InvalidField("enum", field, f"{field} must be one of the following: {choices}")


def _is_acceptable_webhook_url(url: str) -> bool:
    """Return whether the URL is HTTPS, as at Replicate, or plain HTTP to this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme == "https":
        return bool(host)
    return parts.scheme == "http" and (host == "localhost" or _is_loopback_address(host))


def _is_loopback_address(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _find_invalid_values(field: str, schema: JsonSchema, value: Any) -> Iterator[InvalidField]:
    json_type = schema.get("type")
    if json_type and not _has_json_type(value, json_type):
        yield _wrong_type_field(field, json_type, value)
        return
    if "enum" in schema and value not in schema["enum"]:
        choices = ", ".join(json.dumps(choice) for choice in schema["enum"])
        name = field.rpartition(".")[2]
        yield InvalidField("enum", field, f"{name} must be one of the following: {choices}")
    if schema.get("format") == "uri" and not _has_scheme(value):
        yield InvalidField("format", field, "Does not match format 'uri'")
    if "minimum" in schema and value < schema["minimum"]:
        yield InvalidField("number_gte", field, f"Must be greater than or equal to {schema['minimum']}")
    if "maximum" in schema and value > schema["maximum"]:
        yield InvalidField("number_lte", field, f"Must be less than or equal to {schema['maximum']}")


def _has_json_type(value: Any, json_type: str) -> bool:
    if isinstance(value, bool):
        return json_type == "boolean"
    if json_type == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _PYTHON_TYPES_BY_JSON_TYPE[json_type])


def _has_scheme(value: str) -> bool:
    try:
        return bool(urlsplit(value).scheme)
    except ValueError:
        return False


def _wrong_type_field(field: str, expected: str, value: Any) -> InvalidField:
    actual = next((name for name in _PYTHON_TYPES_BY_JSON_TYPE if _has_json_type(value, name)), "unknown")
    if value is None:
        actual = "null"
    return InvalidField("invalid_type", field, f"Invalid type. Expected: {expected}, given: {actual}")
