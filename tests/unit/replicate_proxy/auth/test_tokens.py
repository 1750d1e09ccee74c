"""JSON Web Tokens: what is accepted, and the ways in which one is not."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.auth.errors import UnauthenticatedError
from replicate_proxy.auth.principal import Principal, Scope
from replicate_proxy.auth.tokens import JwtSettings, JwtVerifier
from tests.support.clock import NOW

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
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

pytestmark = pytest.mark.usefixtures("_frozen")


@pytest.fixture(name="_frozen")
def frozen() -> Any:
    with freeze_time(NOW):
        yield


class Keys:
    """Two public keys, as a provider's key set has them."""

    def __init__(self) -> None:
        rsa_key = jwt.algorithms.RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True)
        ec_key = jwt.algorithms.ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True)
        self._keys = {
            "r1": jwt.PyJWK({**rsa_key, "kid": "r1"}),
            "e1": jwt.PyJWK({**ec_key, "kid": "e1"}),
        }

    def get_signing_key(self, kid: str) -> jwt.PyJWK:
        if kid not in self._keys:
            raise UnauthenticatedError("no such key")
        return self._keys[kid]


VERIFIER = JwtVerifier(SETTINGS, Keys())


def token(key: Any = RSA_KEY, *, algorithm: str = "RS256", kid: str | None = "r1", **changes: Any) -> str:
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid} if kid else {})


def refused(text: str) -> bool:
    try:
        VERIFIER.verify(text)
    except UnauthenticatedError:
        return True
    return False


def test_a_good_token_gives_tenant_subject_and_scopes() -> None:
    expected = Principal("acme", "jwt:alice", frozenset({Scope.PREDICTIONS_READ, Scope.PREDICTIONS_WRITE}))
    assert VERIFIER.verify(token()) == expected
    assert VERIFIER.verify(token(EC_KEY, algorithm="ES256", kid="e1")) == expected


def test_a_token_of_somebody_elses_key_is_refused() -> None:
    assert refused(token(STRANGER))


def test_a_changed_claim_is_refused() -> None:
    header, payload, signature = token().split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    forged = (
        base64.urlsafe_b64encode(json.dumps({**claims, "tenant": "globex"}).encode()).rstrip(b"=").decode()
    )
    assert refused(f"{header}.{forged}.{signature}")


def test_no_signature_is_no_token() -> None:
    assert refused(token("", algorithm="none"))
    assert refused(token().rpartition(".")[0] + ".")


def test_the_public_key_is_no_secret_for_an_hmac() -> None:
    """The classic confusion: HS256 keyed with the public key, which everybody has."""
    public = RSA_KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    header = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT","kid":"r1"}').rstrip(b"=")
    payload = token().split(".")[1].encode()
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
        header + b"." + payload, public
    )
    forged = b".".join([header, payload, base64.urlsafe_b64encode(signature).rstrip(b"=")])
    assert refused(forged.decode())


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256"])
def test_other_algorithms_are_refused(algorithm: str) -> None:
    assert refused(token(algorithm=algorithm))


def test_a_key_of_the_wrong_kind_is_refused() -> None:
    assert refused(token(kid="e1"))
    assert refused(token(EC_KEY, algorithm="ES256", kid="r1"))


@pytest.mark.parametrize("kid", [None, "unknown", ""])
def test_a_token_must_name_a_known_key(kid: str | None) -> None:
    assert refused(token(kid=kid))


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
        {"tenant": "ACME"},
        {"tenant": "acme#JOB"},
        {"tenant": ["acme"]},
        {"tenant": "a" * 64},
        {"sub": "with space"},
        {"sub": "x" * 129},
        {"sub": "li\nne"},
    ],
)
def test_claims_that_are_missing_foreign_or_out_of_time_are_refused(changes: dict[str, Any]) -> None:
    assert refused(token(**changes))


def test_clocks_may_differ_by_the_leeway_only() -> None:
    assert VERIFIER.verify(token(exp=NOW - timedelta(seconds=29))).tenant == "acme"
    assert VERIFIER.verify(token(nbf=NOW + timedelta(seconds=29), iat=NOW)).tenant == "acme"


def test_a_token_cannot_make_an_operator_unless_the_settings_say_so() -> None:
    assert VERIFIER.verify(token(scope="admin predictions:read")).scopes == {Scope.PREDICTIONS_READ}
    generous = JwtSettings(
        issuer=SETTINGS.issuer, audience=SETTINGS.audience, grantable_scopes=frozenset({Scope.ADMIN})
    )
    assert JwtVerifier(generous, Keys()).verify(token(scope="admin")).scopes == {Scope.ADMIN}


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
def test_scopes_come_as_text_or_list_and_anything_else_grants_nothing(claim: Any, scopes: set[Scope]) -> None:
    assert VERIFIER.verify(token(scope=claim)).scopes == scopes


def test_claims_go_by_the_names_that_the_settings_give() -> None:
    settings = JwtSettings(
        issuer=SETTINGS.issuer, audience=SETTINGS.audience, tenant_claim="org", scope_claim="permissions"
    )
    principal = JwtVerifier(settings, Keys()).verify(token(org="globex", permissions=["files:write"]))
    assert principal.tenant == "globex"
    assert principal.scopes == {Scope.FILES_WRITE}


@given(st.text(max_size=200))
def test_no_other_text_is_a_token(text: str) -> None:
    assert refused(text)
    assert refused(f"eyJhbGciOiJSUzI1NiIsImtpZCI6InIxIn0.{text}.{text}")
