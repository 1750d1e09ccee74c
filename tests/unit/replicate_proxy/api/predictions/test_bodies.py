"""Bodies and headers of create requests: every fault is a 422 that names its field."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.api.predictions.bodies import (
    CreatePredictionBody,
    CreatePredictionByVersionBody,
    parse_cancel_after,
    parse_prefer_wait,
    parse_request,
)
from replicate_proxy.errors import ApiError
from tests.support.builders import VERSION

GOOD = {"version": VERSION, "input": {"prompt": "a cat"}}


def refused(body: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        parse_request(CreatePredictionByVersionBody, body)
    return caught.value


@pytest.mark.parametrize(
    "version",
    [VERSION, "acme/model", f"acme/model:{VERSION}", "a/b", "stability-ai/sdxl_1.0", "0/9"],
)
def test_references_to_versions_are_taken(version: str) -> None:
    assert parse_request(CreatePredictionByVersionBody, {**GOOD, "version": version}).version == version


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
def test_every_wrong_field_is_named(field: str, value: Any) -> None:
    error = refused({**GOOD, field: value})
    assert error.status == 422
    assert error.title == "Input validation failed"
    assert [entry.field.partition(".")[0] for entry in error.invalid_fields] == [field]
    assert error.invalid_fields[0].description in error.detail


@pytest.mark.parametrize("field", ["version", "input"])
def test_what_is_missing_is_named(field: str) -> None:
    error = refused({name: value for name, value in GOOD.items() if name != field})
    assert [(entry.type, entry.field) for entry in error.invalid_fields] == [("required", field)]
    assert error.detail == f"- {field} is required\n"


def test_unknown_fields_are_refused_by_name() -> None:
    error = refused({**GOOD, "colour": "red"})
    assert error.detail == "- Additional property colour is not allowed\n"


def test_all_faults_are_told_at_once() -> None:
    assert len(refused({"version": 1, "stream": "x", "extra": 1}).invalid_fields) == 4


@pytest.mark.parametrize("body", [None, [], "x", 1, True])
def test_a_body_that_is_no_object_is_refused(body: Any) -> None:
    assert refused(body).status == 422


def test_errors_do_not_repeat_what_the_caller_sent() -> None:
    error = refused({**GOOD, "version": "my secret prompt", "webhook": 12345678})
    assert "secret" not in error.detail
    assert "12345678" not in error.detail


@pytest.mark.parametrize(("levels", "fine"), [(10, True), (62, True), (63, False), (5000, False)])
def test_nesting_has_a_limit(levels: int, *, fine: bool) -> None:
    deep: Any = 1
    for number in range(levels):
        deep = [deep] if number % 2 else {"a": deep}
    body = {"input": {"x": deep}}
    if fine:
        assert parse_request(CreatePredictionBody, body).input == body["input"]
        return
    with pytest.raises(ApiError) as caught:
        parse_request(CreatePredictionBody, body)
    assert caught.value.invalid_fields[0].field == "input"


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 9999))
def test_durations_add_up(hours: int, minutes: int, seconds: int) -> None:
    total = hours * 3600 + minutes * 60 + seconds
    text = f"{hours}h{minutes}m{seconds}s"
    if total >= 5:
        assert parse_cancel_after(text) == total
    else:
        with pytest.raises(ApiError):
            parse_cancel_after(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("5m", 300), ("1h30m45s", 5445), ("30", 30), (" 1h ", 3600), ("5", 5)]
)
def test_documented_durations(text: str, seconds: int) -> None:
    assert parse_cancel_after(text) == seconds


@given(st.text(max_size=12))
def test_any_other_text_is_refused_as_such(text: str) -> None:
    with suppress(ApiError):
        assert parse_cancel_after(text) >= 5


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("wait", 60),
        ("wait=5", 5),
        ("wait=0", 0),
        ("wait=999", 60),
        ("Wait = 7", 7),
        ("respond-async, wait=10", 10),
        ("wait=10; x", 10),
        ("", None),
        ("respond-async", None),
        ("await=5", None),
        ("wait=abc", None),
        ("waiting", None),
    ],
)
def test_prefer_wait(text: str, seconds: int | None) -> None:
    assert parse_prefer_wait(text) == seconds


@given(st.text(max_size=30))
def test_no_prefer_header_breaks_us(text: str) -> None:
    seconds = parse_prefer_wait(text)
    assert seconds is None or 0 <= seconds <= 60


@given(st.integers(0, 9999))
def test_waits_are_at_most_a_minute(seconds: int) -> None:
    assert parse_prefer_wait(f"wait={seconds}") == min(seconds, 60)
