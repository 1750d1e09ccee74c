"""Hostile callers on the deployed stack: what no client library would send.

The bytes go out by http.client and plain sockets, since HTTP libraries tidy them up. What the local AWS's own
web server does with them is not API Gateway's doing: what counts is what comes through to the functions.
"""

from __future__ import annotations

import base64
import http.client
import json
import math
import secrets
import socket
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa

from local.keys import Keyring
from tests.integration.api import Api
from tests.integration.receiver import receiving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.stack import Stack

type Form = dict[str, Any]  # parts as requests takes them

UNKNOWN = "0" * 26
CLAIMS = {"iss": "https://idp.example", "aud": "replicate-proxy", "sub": "mallory", "tenant": "acme"}


def raw(url: str, method: str, path: str, key: str | None, body: bytes | None = None) -> tuple[int, bytes]:
    """Status and body for a path sent as it is, below the stage."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
    try:
        connection.request(method, f"{parts.path}{path}", body=body, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def over_socket(url: str, text: bytes) -> list[int]:
    """Statuses of all responses to these bytes on one connection."""
    host, port = urlsplit(url).hostname, urlsplit(url).port
    received = b""
    with socket.create_connection((host, port), timeout=60) as connection:
        connection.sendall(text)
        connection.settimeout(5)
        try:
            while part := connection.recv(65536):
                received += part
        except (TimeoutError, ConnectionResetError):
            pass  # kept open, or thrown out: what has come is what there is
    return [int(piece[:3]) for piece in received.split(b"HTTP/1.1 ")[1:]]


# ----------------------------------------------------------------------------------------- credentials
def _token(algorithm: str, key: Any, **changes: Any) -> str:
    claims = {**CLAIMS, "exp": int(time.time()) + 600, **changes}
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": "1"})


def forged() -> dict[str, str]:
    mine = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return {
        "another's key": _token("RS256", mine),
        "expired": _token("RS256", mine, exp=1),
        "another audience": _token("RS256", mine, aud="others"),
        "HMAC": _token("HS256", "k" * 64),
        "no algorithm": _token("none", None),
        "no token": "eyJ.eyJ.eyJ",
        "oversized token": "eyJ" + "A" * 9_000,
        "oversized key": "rp_aaaaaaaaaaaa_" + "0" * 7_000,
        "key of digits that only look like digits": "rp_aaaaaaaaaaaa_" + "\u0661" * 43,
        "two keys": "rp_aaaaaaaaaaaa_" + "0" * 43 + ", rp_aaaaaaaaaaaa_" + "0" * 43,
    }


def test_forged_expired_and_oversized_credentials_are_401(stack: Stack) -> None:
    for what, credential in forged().items():
        header = f"Bearer {credential}".encode()
        answer = requests.get(
            f"{stack.api_url}/v1/predictions", headers={"authorization": header}, timeout=60
        )
        assert (answer.status_code, answer.json()["status"]) == (401, 401), what


def test_a_known_id_with_another_secret_is_401(api: Api) -> None:
    head, _, secret = api.key.rpartition("_")
    for wrong in (secret[:-1], f"{secret}0", secret.swapcase(), "0" * len(secret)):
        assert raw(api.url, "GET", "/v1/predictions", f"{head}_{wrong}")[0] == 401


# --------------------------------------------------------------------------------------------- headers
def test_a_request_within_a_request_is_not_answered(api: Api) -> None:
    """Content-Length and Transfer-Encoding disagree; the inner request has no credential of its own."""
    stage = urlsplit(api.url).path
    inner = f"GET {stage}/v1/predictions HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    for coding in ("chunked", " chunked", "xchunked", "chunked, identity"):
        outer = (
            f"POST {stage}/v1/predictions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {api.key}\r\n"
            f"Content-Length: {len(inner) + 5}\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n"
        ).encode()
        statuses = over_socket(api.url, outer + inner)
        assert all(400 <= status < 500 or status == 501 for status in statuses), (coding, statuses)


def test_two_authorization_headers_do_not_add_up(api: Api, make_api: Callable[[], Api]) -> None:
    """A caller must not be one tenant to the authorizer and another to the function."""
    other = make_api()
    job = other.create("local/lab", {"output": "theirs"})
    path = f"{urlsplit(api.url).path}/v1/predictions/{job['id']}"
    both = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {api.key}\r\n"
        "Authorization: Bearer rp_aaaaaaaaaaaa_0000000000000000000000000000000000000000000\r\n"
        "Connection: close\r\n\r\n"
    )
    assert over_socket(api.url, both.encode())[0] in {400, 401, 403, 404}


@pytest.mark.parametrize(
    "name",
    [
        "x-tenant",
        "x-amzn-apigateway-authorizer",
        "x-forwarded-host",
        "x-forwarded-for",
        "x-http-method-override",
    ],
)
def test_headers_that_claim_to_be_somebody_change_nothing(
    api: Api, make_api: Callable[[], Api], name: str
) -> None:
    other = make_api()
    job = other.create("local/lab", {"output": "theirs"})
    value = {"x-forwarded-host": "evil.example", "x-http-method-override": "DELETE"}.get(name, other.tenant)

    assert api.call("GET", f"/v1/predictions/{job['id']}", headers={name: value}).status_code == 404
    own = api.call("GET", "/v1/predictions", headers={name: value})
    assert own.status_code == 200
    assert "evil.example" not in own.text


# ----------------------------------------------------------------------------------------------- paths
TO_ADMIN = (
    "//admin/keys",
    "/./admin/keys",
    "/v1/../admin/keys",
    "/v1/%2e%2e/admin/keys",
    "/v1/webhooks/../../admin/keys",
    "/v1/webhooks/%2e%2e/%2e%2e/admin/keys",
    "/v1/webhooks/..%2f..%2fadmin%2fkeys",
    "/admin%2fkeys",
    "/%61dmin/keys",
    "/ADMIN/keys",
    "/admin/keys/",
    "/admin//keys",
    "/admin/keys;x=1",
    "/admin/keys%00",
    "/%EF%BD%81dmin/keys",
    "/admin%E2%88%95keys",
)
ELSEWHERE = (
    "/v1/predictions/%2e%2e",
    "/v1/predictions/..%2f..%2fadmin",
    "/v1/predictions/%252e%252e",
    "/v1/predictions/%F0%9F%92%A9",
    "/v1/predictions/%ff%fe",
    "/v1/predictions/" + "a" * 5000,
    "/v1/models/%2e%2e/account",
    "/v1/models/..%2faccount/x",
    "/v1/models/a%2fb/c",
    "/v1/models/a/b%3fx=1",
    "/v1/models/%40evil.example/x",
    "/v1/collections/%2e%2e%2faccount",
    "/v1/collections/..%5caccount",
    "/v1/files/%2e%2e%2f%2e%2e%2foutputs",
    "/v1/webhooks/endpoints/ep_%2e%2e",
    "/v1/webhooks/deliveries/%23",
    "/v1/webhooks/deliveries/..%2f.1.prediction",
)


@pytest.mark.parametrize("path", TO_ADMIN)
def test_no_path_leads_a_tenant_to_administration(api: Api, path: str) -> None:
    for key in (api.key, None):
        status, body = raw(api.url, "GET", path, key)
        assert 400 <= status < 500, (path, status, body[:300])


@pytest.mark.parametrize("path", ELSEWHERE)
def test_no_segment_is_more_than_a_name(api: Api, path: str) -> None:
    status, body = raw(api.url, "GET", path, api.key)
    assert 400 <= status < 500, (path, status, body[:300])


# ---------------------------------------------------------------------------------------------- bodies
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
def test_a_hostile_body_is_refused_with_a_reason(api: Api, what: str) -> None:
    for method, path in TAKERS:
        status, body = raw(api.url, method, path, api.key, BODIES[what])
        assert 400 <= status < 500, (path, status, body[:300])
        assert _strict(body)["detail"], path


NUMBERS = ("1e999", "-1e999", "1e400", "9" * 5_000, "NaN", "-Infinity")


@pytest.mark.parametrize("number", NUMBERS, ids=lambda text: text[:9])
def test_a_number_that_cannot_be_given_back_is_not_taken(api: Api, number: str) -> None:
    body = f'{{"version": "local/lab", "input": {{"output": {number}}}}}'.encode()
    status, answer = raw(api.url, "POST", "/v1/predictions", api.key, body)
    assert status == 400, answer[:300]


def test_large_and_exact_numbers_come_back_as_they_went(api: Api) -> None:
    sent = {"output": "x", "metrics": {}, "n": [2**63, -(2**70), 1e308, 5e-324, 0.1, -0.0]}
    kept = api.create("local/lab", sent)["input"]["n"]
    assert kept == sent["n"]
    assert math.copysign(1, kept[-1]) == -1


def test_of_two_fields_with_one_name_one_counts_everywhere(api: Api) -> None:
    body = b'{"version": "local/lab", "input": {"output": 1}, "input": {"output": 2, "output": 3}}'
    status, answer = raw(api.url, "POST", "/v1/predictions", api.key, body)
    assert status in {201, 400, 422}
    if status == 201:
        done = api.finished(_strict(answer)["id"])
        assert (done["input"], done["output"]) == ({"output": 3}, 3)


def test_metadata_of_a_file_is_strict_json(api: Api) -> None:
    bearer = {"authorization": f"Bearer {api.key}"}
    for text in ("NaN", "[1]", '{"a": 1e999}', '{"a": NaN}', '{"a": "\\ud800"}', "{" * 5000):
        form: Form = {"content": ("a.txt", b"x", "text/plain"), "metadata": (None, text)}
        answer = requests.post(f"{api.url}/v1/files", files=form, headers=bearer, timeout=60)
        assert answer.status_code in {400, 422}, (text[:20], answer.text[:300])


# ----------------------------------------------------------------------------------------- others' ids
@pytest.fixture(scope="module")
def theirs(stack: Stack) -> Iterator[dict[str, str]]:
    """The id of one of everything, of a tenant that nobody here is."""
    tenant = f"tenant-{secrets.token_hex(4)}"
    key = Keyring(stack.endpoint_url, stack.outputs).create(tenant, name="integration test")
    owner = Api(stack.api_url, key, tenant)
    with receiving() as receiver:
        job = owner.run("local/lab", {"output": "theirs"})
        form: Form = {"content": ("a.txt", b"theirs", "text/plain")}
        bearer = {"authorization": f"Bearer {key}"}
        file = requests.post(f"{stack.api_url}/v1/files", files=form, headers=bearer, timeout=60).json()
        endpoint = owner.call("POST", "/v1/webhooks/endpoints", {"url": receiver.url}).json()
        delivery = owner.call("POST", f"/v1/webhooks/endpoints/{endpoint['id']}/test", {}).json()
        yield {
            "prediction": job["id"],
            "file": file["id"],
            "endpoint_id": endpoint["id"],
            "delivery_id": delivery["id"],
        }


FOREIGN: tuple[tuple[str, str, Any], ...] = (
    ("GET", "/v1/predictions/{prediction}", None),
    ("GET", "/?predictionId={prediction}", None),
    ("POST", "/v1/predictions/{prediction}/cancel", {}),
    ("GET", "/v1/files/{file}", None),
    ("DELETE", "/v1/files/{file}", None),
    ("GET", "/v1/files/{file}/download?owner=a&expiry=9999999999&signature=00", None),
    ("GET", "/v1/webhooks/deliveries?prediction={prediction}", None),
    ("GET", "/v1/webhooks/attempts?prediction={prediction}", None),
    ("GET", "/v1/webhooks/endpoints/{endpoint_id}", None),
    ("PATCH", "/v1/webhooks/endpoints/{endpoint_id}", {"description": "mine now"}),
    ("DELETE", "/v1/webhooks/endpoints/{endpoint_id}", None),
    ("GET", "/v1/webhooks/endpoints/{endpoint_id}/secret", None),
    ("POST", "/v1/webhooks/endpoints/{endpoint_id}/secret/rotate", {}),
    ("POST", "/v1/webhooks/endpoints/{endpoint_id}/enable", {}),
    ("POST", "/v1/webhooks/endpoints/{endpoint_id}/test", {}),
    ("GET", "/v1/webhooks/endpoints/{endpoint_id}/deliveries", None),
    ("GET", "/v1/webhooks/endpoints/{endpoint_id}/attempts", None),
    ("POST", "/v1/webhooks/endpoints/{endpoint_id}/redeliver", {"since": "2026-01-01T00:00:00Z"}),
    ("GET", "/v1/webhooks/deliveries/{delivery_id}", None),
    ("GET", "/v1/webhooks/deliveries/{delivery_id}/attempts", None),
    ("POST", "/v1/webhooks/deliveries/{delivery_id}/redeliver", {}),
)
NEVER = {
    "prediction": UNKNOWN,
    "file": UNKNOWN,
    "endpoint_id": f"ep_{UNKNOWN}",
    "delivery_id": f"{UNKNOWN}.1.ep_{UNKNOWN}",
}
LISTS = {"/v1/webhooks/deliveries?prediction={prediction}", "/v1/webhooks/attempts?prediction={prediction}"}


@pytest.mark.parametrize(("method", "path", "body"), FOREIGN)
def test_anothers_id_is_answered_as_one_that_never_was(
    api: Api, theirs: dict[str, str], method: str, path: str, body: Any
) -> None:
    foreign = api.call(method, path.format(**theirs), body)
    unknown = api.call(method, path.format(**NEVER), body)

    assert foreign.status_code == unknown.status_code == (200 if path in LISTS else 404)
    assert foreign.json() == unknown.json()
    assert not any(value in foreign.text for value in theirs.values())


# ------------------------------------------------------------------------------------------------ logs
def test_nothing_of_a_run_is_in_any_functions_log(stack: Stack, api: Api) -> None:
    """Input, output, logs, error, file, webhook address, keys and secrets: planted, then looked for."""
    canary = {
        what: f"canary{what}{secrets.token_hex(8)}"
        for what in ("input", "output", "logs", "error", "file", "metadata", "address", "bad")
    }
    bearer = {"authorization": f"Bearer {api.key}"}
    form: Form = {
        "content": ("a.txt", canary["file"].encode(), "text/plain"),
        "metadata": (None, json.dumps({"note": canary["metadata"]})),
    }
    file = requests.post(f"{api.url}/v1/files", files=form, headers=bearer, timeout=60).json()
    secret = api.call("GET", "/v1/webhooks/default/secret").json()["key"]
    with receiving() as receiver:
        hook = {
            "webhook": f"{receiver.url}&token={canary['address']}",
            "webhook_events_filter": ["completed"],
        }
        given = {"output": canary["output"], "note": canary["input"], "logs": canary["logs"]}
        api.run("local/lab", {**given, "file": file["urls"]["get"]}, **hook)
        api.run("local/lab", {"status": "failed", "error": canary["error"], "note": canary["input"]}, **hook)
        receiver.wait(lambda calls: len(calls) >= 2, "both webhooks")
    for body in ({"version": canary["bad"], "input": {}}, {"version": "a/b", "input": canary["bad"]}):
        assert api.call("POST", "/v1/predictions", body).status_code == 422
    wrong = f"rp_aaaaaaaaaaaa_{secrets.token_hex(21)}0"
    assert raw(api.url, "GET", "/v1/predictions", wrong)[0] == 401

    root = stack.aws("secretsmanager").get_secret_value(SecretId=stack.outputs["SigningSecretArn"])
    planted = {
        **canary,
        "API key": api.key.rpartition("_")[2],
        "wrong API key": wrong.rpartition("_")[2],
        "tenant's webhook secret": secret.removeprefix("whsec_"),
        "same, decoded": base64.b64decode(secret.removeprefix("whsec_")).hex(),
        "root secret": root["SecretString"],
        "file's address": file["urls"]["get"].partition("signature=")[2],
    }
    entries = list(_logged(stack))
    assert len(entries) > 50
    assert any(api.tenant in entry for entry in entries), "the logs of this very run are not there"
    found = {what: entry[:500] for what, text in planted.items() for entry in entries if text in entry}
    assert found == {}


def _logged(stack: Stack) -> Iterator[str]:
    logs = stack.aws("logs")
    since = int((time.time() - 900) * 1000)
    for page in logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix="/aws/lambda/"):
        for group in page["logGroups"]:
            events = logs.get_paginator("filter_log_events")
            for found in events.paginate(logGroupName=group["logGroupName"], startTime=since):
                yield from (event["message"] for event in found["events"])
