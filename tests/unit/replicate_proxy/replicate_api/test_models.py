"""Parsing of predictions and of JSON from Replicate."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.replicate_api.errors import UnexpectedResponseError, UpstreamUnavailableError
from replicate_proxy.replicate_api.models import UpstreamPrediction, UpstreamStatus
from replicate_proxy.replicate_api.response import parse_json
from tests.support.scripted_server import PREDICTION


def test_parse_accepts_create_response_without_output_and_data_removed() -> None:
    body = {name: value for name, value in PREDICTION.items() if name != "output"}
    prediction = UpstreamPrediction.parse(body)
    assert prediction.output is None
    assert prediction.data_removed is False
    assert prediction.created_at == "2026-01-31T09:30:00.064900134Z"


def test_parse_accepts_cancel_response_with_null_logs() -> None:
    prediction = UpstreamPrediction.parse({**PREDICTION, "status": "canceled", "logs": None})
    assert prediction.logs == ""
    assert prediction.status is UpstreamStatus.CANCELED


def test_parse_keeps_unknown_fields_in_raw() -> None:
    assert UpstreamPrediction.parse({**PREDICTION, "deadline": "later"}).raw["deadline"] == "later"


def test_parse_drops_urls_that_are_not_text() -> None:
    prediction = UpstreamPrediction.parse({**PREDICTION, "urls": {"get": "https://x", "stream": None}})
    assert prediction.urls == {"get": "https://x"}


def test_parse_converts_error_to_text() -> None:
    assert UpstreamPrediction.parse({**PREDICTION, "error": {"code": 1}}).error == '{"code": 1}'


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "text",
        {},
        {"id": ""},
        {"id": 7, "status": "starting"},
        {"id": "p" * 129, "status": "starting"},
        {"id": "p1", "status": None},
        {"id": "p1", "status": ""},
        {"id": "p1", "status": 3},
    ],
)
def test_parse_raises_when_body_is_not_a_prediction(body: object) -> None:
    with pytest.raises(UnexpectedResponseError):
        UpstreamPrediction.parse(body)


@pytest.mark.parametrize("status", ["pondering", "Succeeded", "unknown", "queued"])
def test_parse_keeps_prediction_with_unknown_status(status: str) -> None:
    prediction = UpstreamPrediction.parse({**PREDICTION, "status": status})
    assert prediction.status is UpstreamStatus.UNKNOWN
    assert not prediction.status.is_terminal
    assert prediction.raw["status"] == status


def test_terminal_statuses() -> None:
    terminal = {status for status in UpstreamStatus if status.is_terminal}
    assert terminal == {"succeeded", "failed", "canceled", "aborted"}


def test_repr_contains_no_user_content() -> None:
    body = {**PREDICTION, "input": {"p": "SECRET"}, "output": "SECRET", "logs": "SECRET", "error": "SECRET"}
    assert "SECRET" not in repr(UpstreamPrediction.parse({**body, "webhook": "https://x/?sig=SECRET"}))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*PREDICTION, "metrics", "webhook", "data_removed"]), values))
def test_parse_accepts_fields_of_any_type(fields: dict[str, Any]) -> None:
    body = {**PREDICTION, **fields, "id": "abc", "status": "processing"}
    prediction = UpstreamPrediction.parse(body)
    assert isinstance(prediction.logs, str)
    assert prediction.error is None or isinstance(prediction.error, str)
    assert all(isinstance(url, str) for url in prediction.urls.values())


class TestParseJson:
    def test_last_duplicate_key_is_used(self) -> None:
        assert parse_json(b'{"model": "a/b", "model": "c/d"}') == {"model": "c/d"}

    def test_nan_becomes_null(self) -> None:
        assert parse_json(b'{"a": NaN, "b": [Infinity, -Infinity]}') == {"a": None, "b": [None, None]}

    def test_invalid_utf8_is_replaced(self) -> None:
        assert parse_json(b'{"logs": "caf\xe9"}') == {"logs": "caf�"}

    def test_lone_surrogate_is_replaced_and_pair_is_kept(self) -> None:
        parsed = parse_json(rb'{"logs": ["\ud83d", "\ud83d\ude00"]}')
        assert parsed == {"logs": ["�", "😀"]}
        json.dumps(parsed, ensure_ascii=False).encode()

    @pytest.mark.parametrize("body", [b"", b"{", b"<html>", b"[" * 100_000])
    def test_invalid_json_raises(self, body: bytes) -> None:
        with pytest.raises(UpstreamUnavailableError):
            parse_json(body)

    @given(values)
    def test_valid_json_is_unchanged(self, value: Any) -> None:
        assert parse_json(json.dumps(value).encode()) == value
