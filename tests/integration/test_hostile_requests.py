"""Credentials, headers and paths of attackers, which no client library would send, on the deployed stack.

The web server of the local AWS handles some of them in another way than API Gateway; what matters is what
reaches the functions.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.integration.raw_http import send_bytes, send_raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.api_client import ApiClient
    from tools.local.stack import Stack

CLAIMS = {"iss": "https://idp.example", "aud": "replicate-proxy", "sub": "mallory", "tenant": "acme"}
ADMIN_PATHS = (
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
INVALID_SEGMENT_PATHS = (
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


def _build_token(algorithm: str, key: Any, **changes: Any) -> str:
    claims = {**CLAIMS, "exp": int(time.time()) + 600, **changes}
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": "1"})


def _build_credentials() -> dict[str, str]:
    """Return invalid credentials by what is wrong with them."""
    unknown_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return {
        "unknown key": _build_token("RS256", unknown_key),
        "expired": _build_token("RS256", unknown_key, exp=1),
        "another audience": _build_token("RS256", unknown_key, aud="others"),
        "HMAC": _build_token("HS256", "k" * 64),
        "no algorithm": _build_token("none", None),
        "not a token": "eyJ.eyJ.eyJ",
        "oversized token": "eyJ" + "A" * 9_000,
        "oversized key": "rp_aaaaaaaaaaaa_" + "0" * 7_000,
        "key with Arabic digits": "rp_aaaaaaaaaaaa_" + "\u0661" * 43,
        "two keys": "rp_aaaaaaaaaaaa_" + "0" * 43 + ", rp_aaaaaaaaaaaa_" + "0" * 43,
    }


def test_forged_expired_and_oversized_credentials_are_401(stack: Stack) -> None:
    for name, credential in _build_credentials().items():
        headers = {"authorization": f"Bearer {credential}".encode()}
        response = requests.get(f"{stack.api_url}/v1/predictions", headers=headers, timeout=60)
        assert (response.status_code, response.json()["status"]) == (401, 401), name


def test_known_key_id_with_another_secret_is_401(api: ApiClient) -> None:
    key_id, _, secret = api.key.rpartition("_")
    for wrong_secret in (secret[:-1], f"{secret}0", secret.swapcase(), "0" * len(secret)):
        assert send_raw(api.url, "GET", "/v1/predictions", f"{key_id}_{wrong_secret}")[0] == 401


def test_smuggled_request_is_not_answered(api: ApiClient) -> None:
    """Content-Length and Transfer-Encoding disagree; the inner request has no credential of its own."""
    stage = urlsplit(api.url).path
    inner = f"GET {stage}/v1/predictions HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    for coding in ("chunked", " chunked", "xchunked", "chunked, identity"):
        outer = (
            f"POST {stage}/v1/predictions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {api.key}\r\n"
            f"Content-Length: {len(inner) + 5}\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n"
        ).encode()
        statuses = send_bytes(api.url, outer + inner)
        assert all(400 <= status < 500 or status == 501 for status in statuses), (coding, statuses)


def test_request_with_two_authorization_headers_is_rejected(
    api: ApiClient, make_api: Callable[[], ApiClient]
) -> None:
    """Otherwise the caller could be one tenant for the authorizer and another for the function."""
    job = make_api().create("local/lab", {"output": "theirs"})
    path = f"{urlsplit(api.url).path}/v1/predictions/{job['id']}"
    request = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {api.key}\r\n"
        "Authorization: Bearer rp_aaaaaaaaaaaa_0000000000000000000000000000000000000000000\r\n"
        "Connection: close\r\n\r\n"
    )
    assert send_bytes(api.url, request.encode())[0] in {400, 401, 403, 404}


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
def test_headers_with_another_tenant_host_or_method_are_ignored(
    api: ApiClient, make_api: Callable[[], ApiClient], name: str
) -> None:
    other = make_api()
    job = other.create("local/lab", {"output": "theirs"})
    value = {"x-forwarded-host": "evil.example", "x-http-method-override": "DELETE"}.get(name, other.tenant)

    assert api.call("GET", f"/v1/predictions/{job['id']}", headers={name: value}).status_code == 404
    response = api.call("GET", "/v1/predictions", headers={name: value})
    assert response.status_code == 200
    assert "evil.example" not in response.text


@pytest.mark.parametrize("path", ADMIN_PATHS)
def test_tenant_reaches_the_admin_api_by_no_path(api: ApiClient, path: str) -> None:
    for key in (api.key, None):
        status, body = send_raw(api.url, "GET", path, key)
        assert 400 <= status < 500, (path, status, body[:300])


@pytest.mark.parametrize("path", INVALID_SEGMENT_PATHS)
def test_path_with_an_invalid_segment_is_rejected(api: ApiClient, path: str) -> None:
    status, body = send_raw(api.url, "GET", path, api.key)
    assert 400 <= status < 500, (path, status, body[:300])
