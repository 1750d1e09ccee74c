"""JSON Web Tokens on the deployed stack. The identity provider is a server on loopback."""

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

from tests.integration.api_client import ApiClient
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
UNPUBLISHED_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
TENANT = f"tenant-{secrets.token_hex(4)}"
ALL_SCOPES = "predictions:read predictions:write files:write"
PROBLEM_TYPE = "application/problem+json"

type PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
type Call = Callable[..., requests.Response]


@dataclass
class IdentityProvider:
    """Publishes its keys as a JSON Web Key Set, or is unavailable."""

    url: str = ""
    is_unavailable: bool = False
    keys: list[dict[str, Any]] = field(default_factory=list)

    def respond(self, handler: BaseHTTPRequestHandler) -> None:
        if self.is_unavailable:
            send_response(handler, status=503)
        else:
            send_response(handler, json.dumps({"keys": self.keys}).encode(), Content_Type="application/json")


@pytest.fixture(scope="module")
def provider(stack: Stack) -> Iterator[IdentityProvider]:
    """The identity provider of the stack. The authorizer may fetch its keys at any time."""
    provider = IdentityProvider(keys=[_build_jwk(RSA_KEY, "r1"), _build_jwk(EC_KEY, "e1")])
    with serve_http(provider.respond) as server:
        provider.url = server.url("/keys")
        with _change_authorizer(
            stack,
            JWT_ISSUER=ISSUER,
            JWT_AUDIENCE=AUDIENCE,
            JWKS_URL=provider.url,
            JWKS_MIN_REFRESH_SECONDS="0",
        ):
            yield provider


@pytest.fixture
def call(stack: Stack, provider: IdentityProvider) -> Call:
    """call(token, method, path, body) sends a request with the token."""

    def call(token: str, method: str, path: str, body: Any = None) -> requests.Response:
        return ApiClient(stack.api_url, token, TENANT).call(method, path, body)

    return call


@contextmanager
def _change_authorizer(stack: Stack, **variables: str) -> Iterator[None]:
    """Restart the authorizer with other environment variables while the block runs."""
    lambda_client, name = stack.get_client("lambda"), stack.outputs["AuthorizeFunctionName"]
    configuration = lambda_client.get_function_configuration(FunctionName=name)
    original_variables = configuration["Environment"]["Variables"]

    def set_variables(variables: dict[str, str]) -> None:
        lambda_client.update_function_configuration(FunctionName=name, Environment={"Variables": variables})
        lambda_client.get_waiter("function_updated_v2").wait(FunctionName=name)

    set_variables({**original_variables, **variables})
    try:
        yield
    finally:
        set_variables(original_variables)


def _build_jwk(key: PrivateKey, kid: str) -> dict[str, Any]:
    """Return the public key as a JSON Web Key (RFC 7517)."""
    if isinstance(key, rsa.RSAPrivateKey):
        jwk = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        jwk = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**jwk, "kid": kid, "use": "sig"}


def _build_token(key: PrivateKey = RSA_KEY, *, kid: str | None = "r1", **changes: Any) -> str:
    """Return a token that is valid apart from the changes. A claim that is None is left out."""
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "tenant": TENANT,
        "scope": ALL_SCOPES,
        "iat": now,
        "exp": now + 600,
        **changes,
    }
    algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid} if kid else {})


def _sign_manually(algorithm: str, sign: Callable[[bytes], bytes]) -> str:
    """Return a token with an algorithm that does not fit the key, which no library would sign."""
    claims = _build_token().split(".")[1]
    header = _encode_base64(json.dumps({"alg": algorithm, "typ": "JWT", "kid": "r1"}).encode())
    message = f"{header}.{claims}"
    return f"{message}.{_encode_base64(sign(message.encode()))}"


def _encode_base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _sign_with_public_key(message: bytes) -> bytes:
    """Return the HMAC with the published key, which a verifier could take for a shared secret."""
    pem = RSA_KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hmac.digest(pem, message, hashlib.sha256)


def _build_token_with_changed_claims() -> str:
    header, _, signature = _build_token().split(".")
    claims = _build_token(tenant="victim").split(".")[1]
    return f"{header}.{claims}.{signature}"


INVALID_TOKENS: dict[str, Callable[[], str]] = {
    "signature of another key": lambda: _build_token(UNPUBLISHED_KEY),
    "changed claims": _build_token_with_changed_claims,
    "no signature": lambda: _build_token().rpartition(".")[0] + ".",
    "expired": lambda: _build_token(exp=int(time.time()) - 120),
    "no expiry": lambda: _build_token(exp=None),
    "not yet valid": lambda: _build_token(nbf=int(time.time()) + 600),
    "issued in the future": lambda: _build_token(iat=int(time.time()) + 600),
    "another audience": lambda: _build_token(aud="others"),
    "no audience": lambda: _build_token(aud=None),
    "another issuer": lambda: _build_token(iss="https://evil.example"),
    "no subject": lambda: _build_token(sub=None),
    "no tenant": lambda: _build_token(tenant=None),
    "path as tenant": lambda: _build_token(tenant="../acme"),
    "no algorithm": lambda: _sign_manually("none", lambda _: b""),
    "HMAC with the public key": lambda: _sign_manually("HS256", _sign_with_public_key),
    "algorithm of another key type": lambda: _sign_manually("ES256", lambda _: b"\0" * 64),
    "unknown key ID": lambda: _build_token(kid="r9"),
    "no key ID": lambda: _build_token(kid=None),
    "ID of a key of another type": lambda: _build_token(kid="e1"),
    "oversized": lambda: _build_token(padding="x" * 9_000),
}


@pytest.mark.parametrize(("key", "kid"), [(RSA_KEY, "r1"), (EC_KEY, "e1")], ids=["RSA", "EC"])
def test_valid_token_acts_for_its_tenant_only(
    call: Call, stack: Stack, make_key: Callable[..., str], key: PrivateKey, kid: str
) -> None:
    response = call(_build_token(key, kid=kid), "POST", "/v1/uploads", {"filename": "cat.png"})
    assert response.status_code == 201, response.text
    path = f"/v1/files/{response.json()['id']}"

    assert call(_build_token(key, kid=kid), "GET", path).status_code == 200
    assert call(make_key(TENANT), "GET", path).status_code == 200
    assert call(_build_token(key, kid=kid, tenant="another-tenant"), "GET", path).status_code == 404


@pytest.mark.parametrize("name", INVALID_TOKENS)
def test_invalid_token_is_401_without_the_reason(call: Call, name: str) -> None:
    response = call(INVALID_TOKENS[name](), "GET", "/v1/predictions")

    assert (response.status_code, response.headers["content-type"]) == (401, PROBLEM_TYPE)
    assert response.json()["detail"] == "You did not pass a valid authentication token"


def test_token_has_its_scopes_but_never_admin(call: Call) -> None:
    reader = _build_token(scope="openid predictions:read admin")
    writer = _build_token(scope=["predictions:read", "files:write"])

    assert call(reader, "GET", "/v1/predictions").status_code == 200
    assert call(reader, "POST", "/v1/uploads", {"filename": "cat.png"}).status_code == 403
    assert call(writer, "POST", "/v1/uploads", {"filename": "cat.png"}).status_code == 201
    assert call(reader, "GET", "/admin/keys").status_code == 403
    assert call(_build_token(scope=None), "GET", "/v1/predictions").status_code == 403


def test_new_key_of_the_provider_is_fetched(call: Call, provider: IdentityProvider) -> None:
    token = _build_token(NEXT_KEY, kid="e2")
    assert call(token, "GET", "/v1/predictions").status_code == 401

    provider.keys.append(_build_jwk(NEXT_KEY, "e2"))

    assert call(token, "GET", "/v1/predictions").status_code == 200


def test_token_is_503_when_no_keys_could_be_fetched(
    call: Call, stack: Stack, provider: IdentityProvider, make_key: Callable[..., str]
) -> None:
    provider.is_unavailable = True
    try:
        # Changing the authorizer restarts it, so it has fetched no keys.
        with _change_authorizer(stack, JWKS_MAX_STALE_SECONDS="60"):
            with_token = call(_build_token(), "GET", "/v1/predictions")
            with_key = call(make_key(TENANT), "GET", "/v1/predictions")
    finally:
        provider.is_unavailable = False

    assert (with_token.status_code, with_token.headers["content-type"]) == (503, PROBLEM_TYPE)
    assert with_token.headers["retry-after"] == "2"
    assert with_key.status_code == 200


def test_fetched_keys_stay_valid_while_provider_is_unavailable(
    call: Call, provider: IdentityProvider
) -> None:
    assert call(_build_token(), "GET", "/v1/predictions").status_code == 200
    provider.is_unavailable = True
    try:
        assert call(_build_token(), "GET", "/v1/predictions").status_code == 200
        assert call(_build_token(kid="r9"), "GET", "/v1/predictions").status_code == 503
    finally:
        provider.is_unavailable = False
