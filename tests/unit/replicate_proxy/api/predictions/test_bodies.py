"""Bodies of create requests: every invalid field is named by a 422."""

from __future__ import annotations

from typing import Any

import pytest

from replicate_proxy.api.predictions.bodies import CreatePredictionBody, CreatePredictionByVersionBody
from replicate_proxy.api.validation import parse_body
from replicate_proxy.errors import ApiError
from tests.support.builders import VERSION

VALID_BODY = {"version": VERSION, "input": {"prompt": "a cat"}}


def reject(body: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        parse_body(CreatePredictionByVersionBody, body)
    return caught.value


@pytest.mark.parametrize(
    "version",
    [VERSION, "acme/model", f"acme/model:{VERSION}", "a/b", "stability-ai/sdxl_1.0", "0/9"],
)
def test_version_reference_is_accepted(version: str) -> None:
    assert parse_body(CreatePredictionByVersionBody, {**VALID_BODY, "version": version}).version == version


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 1),
        ("version", None),
        ("version", ""),
        ("version", VERSION[:-1]),
        ("version", VERSION + "\n"),
        ("version", VERSION.upper()),
        ("version", "acme/model:latest"),
        ("version", "../admin"),
        ("version", "a/b/c"),
        ("version", "acme/" + "m" * 200),
        ("input", None),
        ("input", "a cat"),
        ("input", []),
        ("webhook", 7),
        ("webhook", "https://app.test/" + "x" * 2048),
        ("webhook_completed", {}),
        ("webhook_events_filter", "start"),
        ("webhook_events_filter", ["finished"]),
        ("webhook_events_filter", ["start"] * 5),
        ("stream", "yes"),
        ("stream", 1),
    ],
)
def test_invalid_field_is_named(field: str, value: Any) -> None:
    error = reject({**VALID_BODY, field: value})
    assert error.status == 422
    assert error.title == "Input validation failed"
    assert [invalid.field.partition(".")[0] for invalid in error.invalid_fields] == [field]
    assert error.invalid_fields[0].description in error.detail


@pytest.mark.parametrize("field", ["version", "input"])
def test_missing_field_is_named(field: str) -> None:
    error = reject({name: value for name, value in VALID_BODY.items() if name != field})
    assert [(invalid.type, invalid.field) for invalid in error.invalid_fields] == [("required", field)]
    assert error.detail == f"- {field}: is required\n"


def test_unknown_field_is_named() -> None:
    error = reject({**VALID_BODY, "color": "red"})
    assert error.detail == "- Additional property color is not allowed\n"


def test_invalid_version_says_what_is_allowed() -> None:
    error = reject({**VALID_BODY, "version": "latest"})
    assert error.invalid_fields[0].type == "invalid_version"
    assert error.detail == "- version: must be a 64-digit ID, owner/name, or owner/name:id\n"


def test_all_invalid_fields_are_reported_at_once() -> None:
    assert len(reject({"version": 1, "stream": "x", "extra": 1}).invalid_fields) == 4


@pytest.mark.parametrize("body", [None, [], "x", 1, True])
def test_body_that_is_not_an_object_is_rejected(body: Any) -> None:
    assert reject(body).status == 422


def test_error_does_not_repeat_values() -> None:
    error = reject({**VALID_BODY, "version": "my secret prompt", "webhook": 12345678})
    assert "secret" not in error.detail
    assert "12345678" not in error.detail


@pytest.mark.parametrize(("levels", "is_valid"), [(10, True), (62, True), (63, False), (5000, False)])
def test_input_depth_is_limited(levels: int, *, is_valid: bool) -> None:
    nested: Any = 1
    for number in range(levels):
        nested = [nested] if number % 2 else {"a": nested}
    body = {"input": {"x": nested}}
    if is_valid:
        assert parse_body(CreatePredictionBody, body).input == body["input"]
        return
    with pytest.raises(ApiError) as caught:
        parse_body(CreatePredictionBody, body)
    assert caught.value.invalid_fields[0].field == "input"
