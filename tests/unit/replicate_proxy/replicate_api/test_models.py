from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.replicate_api.errors import UnexpectedResponseError, UpstreamUnavailableError
from replicate_proxy.replicate_api.models import CreateTarget, UpstreamPrediction, UpstreamStatus
from replicate_proxy.replicate_api.response import parse_json
from tests.support.scripted_server import PREDICTION


def test_a_create_reply_without_output_and_data_removed() -> None:
    reply = {name: value for name, value in PREDICTION.items() if name != "output"}
    prediction = UpstreamPrediction.parse(reply)
    assert prediction.output is None
    assert prediction.data_removed is False
    assert prediction.created_at == "2026-01-31T09:30:00.064900134Z"


def test_a_cancel_reply_with_null_logs() -> None:
    prediction = UpstreamPrediction.parse({**PREDICTION, "status": "canceled", "logs": None})
    assert prediction.logs == ""
    assert prediction.status is UpstreamStatus.CANCELED


def test_unknown_fields_are_kept_in_raw_only() -> None:
    assert UpstreamPrediction.parse({**PREDICTION, "deadline": "later"}).raw["deadline"] == "later"


def test_urls_that_are_no_text_are_dropped() -> None:
    prediction = UpstreamPrediction.parse({**PREDICTION, "urls": {"get": "https://x", "stream": None}})
    assert prediction.urls == {"get": "https://x"}


def test_an_error_that_is_no_text_becomes_text() -> None:
    assert UpstreamPrediction.parse({**PREDICTION, "error": {"code": 1}}).error == '{"code": 1}'


@pytest.mark.parametrize("broken", [None, [], "text", {}, {"id": ""}, {"id": 7, "status": "starting"}])
def test_what_is_no_prediction(broken: object) -> None:
    with pytest.raises(UnexpectedResponseError):
        UpstreamPrediction.parse(broken)


@pytest.mark.parametrize("status", ["pondering", None, "", 3, "Succeeded"])
def test_an_unknown_status_fails_loudly(status: object) -> None:
    with pytest.raises(UnexpectedResponseError, match="status"):
        UpstreamPrediction.parse({**PREDICTION, "status": status})


def test_which_statuses_are_final() -> None:
    final = {status for status in UpstreamStatus if status.is_terminal}
    assert final == {"succeeded", "failed", "canceled", "aborted"}


def test_nothing_that_users_typed_or_models_made_is_in_the_repr() -> None:
    reply = {**PREDICTION, "input": {"p": "SECRET"}, "output": "SECRET", "logs": "SECRET", "error": "SECRET"}
    assert "SECRET" not in repr(UpstreamPrediction.parse({**reply, "webhook": "https://x/?sig=SECRET"}))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*PREDICTION, "metrics", "webhook", "data_removed"]), values))
def test_fields_of_any_type_never_break_the_reader(fields: dict[str, Any]) -> None:
    reply = {**PREDICTION, **fields, "id": "abc", "status": "processing"}
    prediction = UpstreamPrediction.parse(reply)
    assert isinstance(prediction.logs, str)
    assert prediction.error is None or isinstance(prediction.error, str)
    assert all(isinstance(url, str) for url in prediction.urls.values())


class TestParseJson:
    def test_the_last_of_duplicate_keys_wins(self) -> None:
        assert parse_json(b'{"model": "a/b", "model": "c/d"}') == {"model": "c/d"}

    def test_nan_becomes_null(self) -> None:
        assert parse_json(b'{"a": NaN, "b": [Infinity, -Infinity]}') == {"a": None, "b": [None, None]}

    def test_broken_utf8_is_replaced(self) -> None:
        assert parse_json(b'{"logs": "caf\xe9"}') == {"logs": "caf�"}

    def test_a_lone_surrogate_is_replaced_and_a_pair_kept(self) -> None:
        parsed = parse_json(rb'{"logs": ["\ud83d", "\ud83d\ude00"]}')
        assert parsed == {"logs": ["�", "😀"]}
        json.dumps(parsed, ensure_ascii=False).encode()

    @pytest.mark.parametrize("broken", [b"", b"{", b"<html>", b"[" * 100_000])
    def test_what_is_no_json(self, broken: bytes) -> None:
        with pytest.raises(UpstreamUnavailableError):
            parse_json(broken)

    @given(values)
    def test_valid_json_comes_back_as_it_is(self, value: Any) -> None:
        assert parse_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (CreateTarget("predictions"), "/v1/predictions"),
        (CreateTarget("model", "meta", "llama-3"), "/v1/models/meta/llama-3/predictions"),
        (CreateTarget("deployment", "acme", "my.app"), "/v1/deployments/acme/my.app/predictions"),
        (CreateTarget("model", "a/../b", "c?d"), "/v1/models/a%2F..%2Fb/c%3Fd/predictions"),
    ],
)
def test_the_path_of_a_target(target: CreateTarget, path: str) -> None:
    assert target.path == path


def test_a_model_without_a_name() -> None:
    with pytest.raises(ValueError, match="owner and a name"):
        _ = CreateTarget("model", "meta").path
