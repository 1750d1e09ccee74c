"""Bodies that are broken, without end, or mean something else to every reader."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.integration.wire import send_raw

if TYPE_CHECKING:
    from tests.integration.api import ApiClient


def _strict(text: bytes) -> Any:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
BODIES = {
    "deep object": DEEP,
    "deep list": b"[" * 200_000 + b"]" * 200_000,
    "unclosed": b"[" * 200_000,
    "invalid UTF-8": b'{"a": "\xff\xfe\xc0\x80"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "NaN": b'{"a": NaN}',
    "infinity": b'{"a": 1e999}',
    "huge integer": b'{"a": ' + b"9" * 10_000 + b"}",
    "null byte": b'{"a": "\x00"}',
    "lone surrogate": b'{"a": "\\udc00"}',
    "a number": b"7",
    "a list": b"[]",
    "nothing": b"",
    "many keys": b"{" + b",".join(b'"k%d":1' % n for n in range(50_000)) + b"}",
    "prototype": b'{"__proto__": {"admin": true}, "constructor": 1}',
}
TAKERS = (
    ("POST", "/v1/predictions"),
    ("POST", "/"),
    ("POST", "/v1/uploads"),
    ("POST", "/v1/webhooks/endpoints"),
    ("POST", "/v1/webhooks/redeliver"),
    ("POST", "/webhooks/replicate?tenant=a&job=b&attempt=1&sig=c"),
)


@pytest.mark.parametrize("what", BODIES)
def test_a_hostile_body_is_refused_with_a_reason(api: ApiClient, what: str) -> None:
    for method, path in TAKERS:
        status, body = send_raw(api.url, method, path, api.key, BODIES[what])
        assert 400 <= status < 500, (path, status, body[:300])
        assert _strict(body)["detail"], path


NUMBERS = ("1e999", "-1e999", "1e400", "9" * 5_000, "NaN", "-Infinity")


@pytest.mark.parametrize("number", NUMBERS, ids=lambda text: text[:9])
def test_a_number_that_cannot_be_given_back_is_not_taken(api: ApiClient, number: str) -> None:
    body = f'{{"version": "local/lab", "input": {{"output": {number}}}}}'.encode()
    status, answer = send_raw(api.url, "POST", "/v1/predictions", api.key, body)
    assert status == 400, answer[:300]


def test_large_and_exact_numbers_come_back_as_they_went(api: ApiClient) -> None:
    sent = {"output": "x", "metrics": {}, "n": [2**63, -(2**70), 1e308, 5e-324, 0.1, -0.0]}
    kept = api.create("local/lab", sent)["input"]["n"]
    assert kept == sent["n"]
    assert math.copysign(1, kept[-1]) == -1


def test_of_two_fields_with_one_name_one_counts_everywhere(api: ApiClient) -> None:
    body = b'{"version": "local/lab", "input": {"output": 1}, "input": {"output": 2, "output": 3}}'
    status, answer = send_raw(api.url, "POST", "/v1/predictions", api.key, body)
    assert status in {201, 400, 422}
    if status == 201:
        done = api.wait_until_finished(_strict(answer)["id"])
        assert (done["input"], done["output"]) == ({"output": 3}, 3)


def test_metadata_of_a_file_is_strict_json(api: ApiClient) -> None:
    bearer = {"authorization": f"Bearer {api.key}"}
    for text in ("NaN", "[1]", '{"a": 1e999}', '{"a": NaN}', '{"a": "\\ud800"}', "{" * 5000):
        form: dict[str, Any] = {"content": ("a.txt", b"x", "text/plain"), "metadata": (None, text)}
        answer = requests.post(f"{api.url}/v1/files", files=form, headers=bearer, timeout=60)
        assert answer.status_code in {400, 422}, (text[:20], answer.text[:300])
