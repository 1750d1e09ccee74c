"""Checks create bodies and model inputs, in the words of Replicate's JSON-schema validator (gojsonschema)."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, get_args
from urllib.parse import urlsplit

from tools.simulator.models.base import JsonSchema, Model
from tools.simulator.problems import InvalidField, ProblemError, invalid_input
from tools.simulator.store import DEFAULT_EVENTS, Event

_EVENTS: tuple[Event, ...] = get_args(Event.__value__)
_PROPERTIES = ("input", "stream", "webhook", "webhook_events_filter")
_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRequest:
    """A create body that passed; `version` only on /predictions."""

    input: dict[str, Any]
    version: str | None
    webhook: str | None
    events: frozenset[Event]


def parse_create(body: bytes, *, versioned: bool) -> CreateRequest:
    """The request in a create body; a 400 problem if it is no JSON, a 422 naming each wrong field."""
    try:
        given = json.loads(body)
    except ValueError as error:
        raise ProblemError(400, "The request body is not valid JSON") from error
    if not isinstance(given, dict):
        raise invalid_input(_wrong_type("(root)", "object", given))
    if reasons := list(_envelope_faults(given, versioned=versioned)):
        raise invalid_input(*reasons)
    return CreateRequest(
        input=given["input"],
        version=given.get("version"),
        webhook=given.get("webhook") or None,
        events=frozenset(given.get("webhook_events_filter") or DEFAULT_EVENTS),
    )


def check_input(model: Model, given: dict[str, Any]) -> None:
    """A 422 problem naming every input that the model's schema refuses; unknown ones pass, as there."""
    reasons = [
        InvalidField("required", "input", f"{name} is required")
        for name in model.required
        if name not in given
    ]
    for name, schema in model.inputs.items():
        if given.get(name) is not None:
            reasons += _value_faults(f"input.{name}", schema, given[name])
    if reasons:
        raise invalid_input(*reasons)


def _envelope_faults(given: dict[str, Any], *, versioned: bool) -> Iterator[InvalidField]:
    required = ("version", "input") if versioned else ("input",)
    known = (*_PROPERTIES, "version") if versioned else _PROPERTIES
    for name in required:
        if name not in given:
            yield InvalidField("required", "", f"{name} is required")
    for name in given:
        if name not in known:
            yield InvalidField(
                "additional_property_not_allowed", "", f"Additional property {name} is not allowed"
            )
    for name, kind in (
        ("input", "object"),
        ("version", "string"),
        ("webhook", "string"),
        ("stream", "boolean"),
        ("webhook_events_filter", "array"),
    ):
        if name in given and name in known and not _is(given[name], kind):
            yield _wrong_type(name, kind, given[name])
    yield from _webhook_faults(given)


def _webhook_faults(given: dict[str, Any]) -> Iterator[InvalidField]:
    webhook, events = given.get("webhook"), given.get("webhook_events_filter")
    if isinstance(webhook, str) and webhook and not _acceptable_webhook(webhook):
        yield InvalidField("format", "webhook", "Webhook must be a valid HTTPS URL")
    for number, event in enumerate(events if isinstance(events, list) else ()):
        if event not in _EVENTS:
            choices = ", ".join(f'"{name}"' for name in _EVENTS)
            field = f"webhook_events_filter.{number}"
            yield InvalidField("enum", field, f"{field} must be one of the following: {choices}")


def _acceptable_webhook(url: str) -> bool:
    """HTTPS as on Replicate; here also plain HTTP to this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme == "https":
        return bool(host)
    return parts.scheme == "http" and (host == "localhost" or _is_loopback(host))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _value_faults(field: str, schema: JsonSchema, value: Any) -> Iterator[InvalidField]:
    kind = schema.get("type")
    if kind and not _is(value, kind):
        yield _wrong_type(field, kind, value)
        return
    if "enum" in schema and value not in schema["enum"]:
        choices = ", ".join(json.dumps(choice) for choice in schema["enum"])
        yield InvalidField("enum", field, f"{field} must be one of the following: {choices}")
    if "minimum" in schema and value < schema["minimum"]:
        yield InvalidField("number_gte", field, f"Must be greater than or equal to {schema['minimum']}")
    if "maximum" in schema and value > schema["maximum"]:
        yield InvalidField("number_lte", field, f"Must be less than or equal to {schema['maximum']}")


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _JSON_TYPES[kind])


def _wrong_type(field: str, expected: str, given: Any) -> InvalidField:
    name = "null" if given is None else next((kind for kind in _JSON_TYPES if _is(given, kind)), "unknown")
    return InvalidField("invalid_type", field, f"Invalid type. Expected: {expected}, given: {name}")
