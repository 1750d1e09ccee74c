"""Bodies that are invalid, deeply nested or ambiguous."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.integration.raw_http import send_raw

if TYPE_CHECKING:
    from tests.integration.api_client import ApiClient

BODIES = {
    "deep object": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep list": b"[" * 200_000 + b"]" * 200_000,
    "unclosed": b"[" * 200_000,
    "invalid UTF-8": b'{"a": "\xff\xfe\xc0\x80"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "NaN": b'{"a": NaN}',
    "infinity": b'{"a": 1e999}',
    "huge integer": b'{"a": ' + b"9" * 10_000 + b"}",
    "null byte": b'{"a": "\x00"}',
    "lone surrogate": b'{"a": "\\udc00"}',
    "number": b"7",
    "list": b"[]",
    "empty": b"",
    "many keys": b"{" + b",".join(b'"k%d":1' % number for number in range(50_000)) + b"}",
    "prototype": b'{"__proto__": {"admin": true}, "constructor": 1}',
}
PATHS = (
    "/v1/predictions",
    "/",
    "/v1/uploads",
    "/v1/webhooks/endpoints",
    "/v1/webhooks/redeliver",
    "/webhooks/replicate?tenant=a&job=b&attempt=1&sig=c",
)
UNREPRESENTABLE_NUMBERS = ("1e999", "-1e999", "1e400", "9" * 5_000, "NaN", "-Infinity")


def _parse_strictly(text: bytes) -> Any:
    """Parse JSON without the constants that Python accepts in addition."""

    def reject(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=reject)


@pytest.mark.parametrize("name", BODIES)
def test_hostile_body_is_rejected_with_a_reason(api: ApiClient, name: str) -> None:
    for path in PATHS:
        status, body = send_raw(api.url, "POST", path, api.key, BODIES[name])
        assert 400 <= status < 500, (path, status, body[:300])
        assert _parse_strictly(body)["detail"], path


@pytest.mark.parametrize("number", UNREPRESENTABLE_NUMBERS, ids=lambda text: text[:9])
def test_number_that_cannot_be_represented_is_rejected(api: ApiClient, number: str) -> None:
    body = f'{{"version": "local/lab", "input": {{"output": {number}}}}}'.encode()
    status, response = send_raw(api.url, "POST", "/v1/predictions", api.key, body)
    assert status == 400, response[:300]


def test_large_and_exact_numbers_are_returned_unchanged(api: ApiClient) -> None:
    numbers = [2**63, -(2**70), 1e308, 5e-324, 0.1, -0.0]
    job = api.create("local/lab", {"output": "x", "metrics": {}, "n": numbers})
    returned = job["input"]["n"]
    assert returned == numbers
    assert math.copysign(1, returned[-1]) == -1


def test_same_one_of_duplicate_fields_is_used_everywhere(api: ApiClient) -> None:
    body = b'{"version": "local/lab", "input": {"output": 1}, "input": {"output": 2, "output": 3}}'
    status, response = send_raw(api.url, "POST", "/v1/predictions", api.key, body)
    assert status in {201, 400, 422}
    if status == 201:
        finished = api.wait_until_finished(_parse_strictly(response)["id"])
        assert (finished["input"], finished["output"]) == ({"output": 3}, 3)


def test_metadata_of_a_file_must_be_strict_json(api: ApiClient) -> None:
    headers = {"authorization": f"Bearer {api.key}"}
    for text in ("NaN", "[1]", '{"a": 1e999}', '{"a": NaN}', '{"a": "\\ud800"}', "{" * 5000):
        form: dict[str, Any] = {"content": ("a.txt", b"x", "text/plain"), "metadata": (None, text)}
        response = requests.post(f"{api.url}/v1/files", files=form, headers=headers, timeout=60)
        assert response.status_code in {400, 422}, (text[:20], response.text[:300])
