"""Tokens of an identity provider on the deployed stack: a provider on loopback, the authorizer told of it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.integration.api import ApiClient
from tests.support.loopback import send_response, serve_http

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from http.server import BaseHTTPRequestHandler

    import requests

    from tools.local.stack import Stack

ISSUER = "https://id.example"
AUDIENCE = "replicate-proxy"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
NEXT_KEY = ec.generate_private_key(ec.SECP256R1())
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
TENANT = f"tenant-{secrets.token_hex(4)}"
ALL = "predictions:read predictions:write files:write"
PROBLEM = "application/problem+json"

type PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def public(key: PrivateKey, kid: str) -> dict[str, Any]:
    """The key as a provider's key set has it (RFC 7517)."""
    if isinstance(key, rsa.RSAPrivateKey):
        shown = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        shown = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**shown, "kid": kid, "use": "sig"}


@dataclass
class Provider:
    """Publishes its keys, or is away."""

    url: str = ""
    away: bool = False
    keys: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        if self.away:
            send_response(handler, status=503)
        else:
            send_response(handler, json.dumps({"keys": self.keys}).encode(), Content_Type="application/json")


@contextmanager
def authorizer_told(stack: Stack, **variables: str) -> Iterator[None]:
    """The authorizer with these variables, started anew; afterwards as it was."""
    functions, name = stack.get_client("lambda"), stack.outputs["AuthorizeFunctionName"]
    before = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]

    def tell(told: dict[str, str]) -> None:
        functions.update_function_configuration(FunctionName=name, Environment={"Variables": told})
        functions.get_waiter("function_updated_v2").wait(FunctionName=name)

    tell({**before, **variables})
    try:
        yield
    finally:
        tell(before)


@pytest.fixture(scope="module")
def provider(stack: Stack) -> Iterator[Provider]:
    """The identity provider that the stack trusts; it is asked again for every key that it has not named."""
    made = Provider(keys=[public(RSA_KEY, "r1"), public(EC_KEY, "e1")])
    with serve_http(made.answer) as served:
        made.url = served.url("/keys")
        with trusting(stack, made):
            yield made


def trusting(stack: Stack, provider: Provider) -> Any:
    return authorizer_told(
        stack, JWT_ISSUER=ISSUER, JWT_AUDIENCE=AUDIENCE, JWKS_URL=provider.url, JWKS_MIN_REFRESH_SECONDS="0"
    )


def token(key: PrivateKey = RSA_KEY, *, kid: str | None = "r1", **changes: Any) -> str:
    """A good token but for the changes; a claim that is None is left out."""
    now = int(time.time())
    claims: dict[str, Any] = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "tenant": TENANT, "scope": ALL}
    claims |= {"iat": now, "exp": now + 600} | changes
    algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
    given = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(given, key, algorithm=algorithm, headers={"kid": kid} if kid else {})


def resigned(text: str, algorithm: str, signature: Callable[[bytes], bytes]) -> str:
    """The token's claims under another algorithm, signed by hand: no library would."""
    header = encoded(json.dumps({"alg": algorithm, "typ": "JWT", "kid": "r1"}).encode())
    signed = f"{header}.{text.split('.')[1]}"
    return f"{signed}.{encoded(signature(signed.encode()))}"


def encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def by_public_key(message: bytes) -> bytes:
    """The HMAC that takes the published key for a shared secret."""
    pem = RSA_KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hmac.digest(pem, message, hashlib.sha256)


def altered() -> str:
    """Another tenant's name under a good signature for ours."""
    head, _, signature = token().split(".")
    return f"{head}.{token(tenant='victim').split('.')[1]}.{signature}"


BAD: dict[str, Callable[[], str]] = {
    "another's signature": lambda: token(STRANGER),
    "claims altered": altered,
    "signature cut off": lambda: token().rpartition(".")[0] + ".",
    "expired": lambda: token(exp=int(time.time()) - 120),
    "never expires": lambda: token(exp=None),
    "not yet valid": lambda: token(nbf=int(time.time()) + 600),
    "issued in the future": lambda: token(iat=int(time.time()) + 600),
    "another audience": lambda: token(aud="others"),
    "no audience": lambda: token(aud=None),
    "another issuer": lambda: token(iss="https://evil.example"),
    "no subject": lambda: token(sub=None),
    "no tenant": lambda: token(tenant=None),
    "a tenant that is a path": lambda: token(tenant="../acme"),
    "no algorithm": lambda: resigned(token(), "none", lambda _: b""),
    "HMAC by the public key": lambda: resigned(token(), "HS256", by_public_key),
    "an algorithm that the key does not have": lambda: resigned(token(), "ES256", lambda _: b"\0" * 64),
    "unknown key": lambda: token(kid="r9"),
    "no key named": lambda: token(kid=None),
    "another algorithm's key": lambda: token(kid="e1"),
    "oversized": lambda: token(padding="x" * 9_000),
}


@pytest.fixture
def call(stack: Stack, provider: Provider) -> Callable[..., requests.Response]:
    """call(token, "GET", "/v1/…"): a request with the token."""

    def request(text: str, method: str, path: str, body: Any = None) -> requests.Response:
        return ApiClient(stack.api_url, text, TENANT).call(method, path, body)

    return request


@pytest.mark.parametrize(("key", "kid"), [(RSA_KEY, "r1"), (EC_KEY, "e1")])
def test_a_good_token_acts_for_its_tenant_alone(
    call: Any, stack: Stack, make_key: Callable[..., str], key: PrivateKey, kid: str
) -> None:
    made = call(token(key, kid=kid), "POST", "/v1/uploads", {"filename": "cat.png"})
    assert made.status_code == 201, made.text
    path = f"/v1/files/{made.json()['id']}"

    assert call(token(key, kid=kid), "GET", path).status_code == 200
    assert call(make_key(TENANT), "GET", path).status_code == 200
    assert call(token(key, kid=kid, tenant="somebody-else"), "GET", path).status_code == 404


@pytest.mark.parametrize("what", BAD)
def test_a_bad_token_is_401_and_no_more_is_said(call: Any, what: str) -> None:
    refused = call(BAD[what](), "GET", "/v1/predictions")

    assert (refused.status_code, refused.headers["content-type"]) == (401, PROBLEM)
    assert refused.json()["detail"] == "You did not pass a valid authentication token"


def test_a_token_does_what_its_scopes_say_and_is_never_an_operator(call: Any) -> None:
    reader, both = (
        token(scope="openid predictions:read admin"),
        token(scope=["predictions:read", "files:write"]),
    )

    assert call(reader, "GET", "/v1/predictions").status_code == 200
    assert call(reader, "POST", "/v1/uploads", {"filename": "cat.png"}).status_code == 403
    assert call(both, "POST", "/v1/uploads", {"filename": "cat.png"}).status_code == 201
    assert call(reader, "GET", "/admin/keys").status_code == 403
    assert call(token(scope=None), "GET", "/v1/predictions").status_code == 403


def test_a_key_that_the_provider_makes_later_is_fetched(call: Any, provider: Provider) -> None:
    fresh = token(NEXT_KEY, kid="e2")
    assert call(fresh, "GET", "/v1/predictions").status_code == 401

    provider.keys.append(public(NEXT_KEY, "e2"))

    assert call(fresh, "GET", "/v1/predictions").status_code == 200


def test_nobody_gets_in_by_a_token_that_cannot_be_checked(
    call: Any, stack: Stack, provider: Provider, make_key: Callable[..., str]
) -> None:
    provider.away = True
    try:
        with authorizer_told(stack, JWKS_MAX_STALE_SECONDS="60"):  # a fresh process: no key was ever fetched
            refused = call(token(), "GET", "/v1/predictions")
            by_key = call(make_key(TENANT), "GET", "/v1/predictions")
    finally:
        provider.away = False

    assert (refused.status_code, refused.headers["content-type"]) == (503, PROBLEM)
    assert refused.headers["retry-after"] == "2"
    assert by_key.status_code == 200


def test_keys_fetched_before_go_on_while_the_provider_is_away(call: Any, provider: Provider) -> None:
    assert call(token(), "GET", "/v1/predictions").status_code == 200
    provider.away = True
    try:
        assert call(token(), "GET", "/v1/predictions").status_code == 200
        assert call(token(kid="r9"), "GET", "/v1/predictions").status_code == 503
    finally:
        provider.away = False
