"""JwtVerifier: accepted tokens, and forged, expired or malformed ones."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.auth.errors import UnauthenticatedError
from replicate_proxy.auth.principal import Principal, Scope
from replicate_proxy.auth.tokens import JwtSettings, JwtVerifier
from tests.support.clock import NOW

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SETTINGS = JwtSettings(issuer="https://id.example", audience="replicate-proxy")
CLAIMS: dict[str, Any] = {
    "iss": "https://id.example",
    "aud": "replicate-proxy",
    "sub": "alice",
    "exp": NOW + timedelta(minutes=5),
    "iat": NOW,
    "tenant": "acme",
    "scope": "openid predictions:read predictions:write",
}

pytestmark = pytest.mark.usefixtures("_frozen_time")


@pytest.fixture(name="_frozen_time")
def freeze_at_now() -> Any:
    with freeze_time(NOW):
        yield


class FakeSigningKeys:
    """The public keys r1 (RSA) and e1 (EC)."""

    def __init__(self) -> None:
        rsa_key = jwt.algorithms.RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True)
        ec_key = jwt.algorithms.ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True)
        self._keys = {
            "r1": jwt.PyJWK({**rsa_key, "kid": "r1"}),
            "e1": jwt.PyJWK({**ec_key, "kid": "e1"}),
        }

    def get_signing_key(self, key_id: str) -> jwt.PyJWK:
        if key_id not in self._keys:
            raise UnauthenticatedError("no such key")
        return self._keys[key_id]


VERIFIER = JwtVerifier(SETTINGS, FakeSigningKeys())


def make_token(
    key: Any = RSA_KEY, *, algorithm: str = "RS256", kid: str | None = "r1", **changes: Any
) -> str:
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid} if kid else {})


def is_rejected(token: str) -> bool:
    try:
        VERIFIER.verify(token)
    except UnauthenticatedError:
        return True
    return False


def test_verify_returns_principal_of_valid_token() -> None:
    expected = Principal("acme", "jwt:alice", frozenset({Scope.PREDICTIONS_READ, Scope.PREDICTIONS_WRITE}))
    assert VERIFIER.verify(make_token()) == expected
    assert VERIFIER.verify(make_token(EC_KEY, algorithm="ES256", kid="e1")) == expected


def test_verify_rejects_signature_of_other_key() -> None:
    assert is_rejected(make_token(OTHER_KEY))


def test_verify_rejects_changed_claim() -> None:
    header, payload, signature = make_token().split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    forged = (
        base64.urlsafe_b64encode(json.dumps({**claims, "tenant": "globex"}).encode()).rstrip(b"=").decode()
    )
    assert is_rejected(f"{header}.{forged}.{signature}")


def test_verify_rejects_unsigned_token() -> None:
    assert is_rejected(make_token("", algorithm="none"))
    assert is_rejected(make_token().rpartition(".")[0] + ".")


def test_verify_rejects_hmac_keyed_with_public_key() -> None:
    """Algorithm confusion: HS256 with the public key, which everyone has, as the secret."""
    public_key = RSA_KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    header = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT","kid":"r1"}').rstrip(b"=")
    payload = make_token().split(".")[1].encode()
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
        header + b"." + payload, public_key
    )
    forged = b".".join([header, payload, base64.urlsafe_b64encode(signature).rstrip(b"=")])
    assert is_rejected(forged.decode())


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256"])
def test_verify_rejects_other_algorithms(algorithm: str) -> None:
    assert is_rejected(make_token(algorithm=algorithm))


def test_verify_rejects_key_of_other_type() -> None:
    assert is_rejected(make_token(kid="e1"))
    assert is_rejected(make_token(EC_KEY, algorithm="ES256", kid="r1"))


@pytest.mark.parametrize("kid", [None, "unknown", ""])
def test_verify_rejects_token_without_known_key_id(kid: str | None) -> None:
    assert is_rejected(make_token(kid=kid))


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": None},
        {"iss": None},
        {"aud": None},
        {"sub": None},
        {"tenant": None},
        {"iss": "https://evil.example"},
        {"aud": "another-service"},
        {"exp": NOW - timedelta(seconds=31)},
        {"nbf": NOW + timedelta(seconds=31)},
        {"exp": "soon"},
        {"exp": float("inf")},
        {"nbf": float("inf")},
        {"iat": float("inf")},
        {"exp": [1]},
        {"exp": 10**400, "nbf": 10**400},
        {"tenant": "ACME"},
        {"tenant": "acme#JOB"},
        {"tenant": ["acme"]},
        {"tenant": "a" * 64},
        {"sub": "with space"},
        {"sub": "x" * 129},
        {"sub": "li\nne"},
    ],
)
def test_verify_rejects_missing_foreign_or_expired_claims(changes: dict[str, Any]) -> None:
    assert is_rejected(make_token(**changes))


def test_verify_allows_leeway_for_clock_difference() -> None:
    assert VERIFIER.verify(make_token(exp=NOW - timedelta(seconds=29))).tenant == "acme"
    assert VERIFIER.verify(make_token(nbf=NOW + timedelta(seconds=29), iat=NOW)).tenant == "acme"


def test_admin_scope_is_granted_only_when_grantable() -> None:
    assert VERIFIER.verify(make_token(scope="admin predictions:read")).scopes == {Scope.PREDICTIONS_READ}
    settings = JwtSettings(
        issuer=SETTINGS.issuer, audience=SETTINGS.audience, grantable_scopes=frozenset({Scope.ADMIN})
    )
    assert JwtVerifier(settings, FakeSigningKeys()).verify(make_token(scope="admin")).scopes == {Scope.ADMIN}


@pytest.mark.parametrize(
    ("claim", "scopes"),
    [
        (["predictions:read", 7, "x"], {Scope.PREDICTIONS_READ}),
        (None, set()),
        ("", set()),
        (7, set()),
        ({"predictions:read": True}, set()),
    ],
)
def test_scope_claim_may_be_text_or_list(claim: Any, scopes: set[Scope]) -> None:
    assert VERIFIER.verify(make_token(scope=claim)).scopes == scopes


def test_claim_names_are_configurable() -> None:
    settings = JwtSettings(
        issuer=SETTINGS.issuer, audience=SETTINGS.audience, tenant_claim="org", scope_claim="permissions"
    )
    principal = JwtVerifier(settings, FakeSigningKeys()).verify(
        make_token(org="globex", permissions=["files:write"])
    )
    assert principal.tenant == "globex"
    assert principal.scopes == {Scope.FILES_WRITE}


@given(st.text(max_size=200))
def test_verify_rejects_other_text(text: str) -> None:
    assert is_rejected(text)
    assert is_rejected(f"eyJhbGciOiJSUzI1NiIsImtpZCI6InIxIn0.{text}.{text}")


@pytest.mark.parametrize(
    "header",
    [
        b'{ "alg": "RS256", "kid": "r1" }',
        b'{\r\n  "alg": "RS256",\r\n  "kid": "r1"\r\n}',
        b'\n{"typ":"JWT","kid":"r1","alg":"RS256"}',
    ],
)
def test_verify_accepts_white_space_in_the_header(header: bytes) -> None:
    payload = make_token().split(".")[1].encode()
    signed = base64.urlsafe_b64encode(header).rstrip(b"=") + b"." + payload
    signature = RSA_KEY.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    token = (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()
    assert not token.startswith("eyJ")

    assert VERIFIER.verify(token).tenant == "acme"


def test_verify_rejects_a_header_nested_too_deeply() -> None:
    header = base64.urlsafe_b64encode(b"[" * 100_000).decode()
    assert is_rejected(f"{header}.e30.x")
