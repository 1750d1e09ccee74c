"""Signatures: a known one, those of another implementation, and generated inputs."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from replicate_proxy import signing

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + base64.b64encode(b"another key of 24 bytes.").decode()
ID, TIME, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def matches(secrets: list[str], header: str, *, body: bytes = BODY, time: int = TIME, id_: str = ID) -> bool:
    return signing.webhook_signature_matches(
        secrets, message_id=id_, timestamp=time, body=body, header=header
    )


def test_sign_webhook_returns_known_signature_of_svix() -> None:
    assert signing.sign_webhook([SECRET], ID, TIME, BODY) == SIGNATURE
    assert matches([SECRET], SIGNATURE)


def test_signature_does_not_match_undecoded_secret() -> None:
    wrong = "whsec_" + base64.b64encode(SECRET.encode()).decode()
    assert not matches([wrong], SIGNATURE)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "v1",
        "v1,",
        "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        SIGNATURE[:-1],
        SIGNATURE[3:],
        "v1,é",
        "v1a,x",
    ],
)
def test_invalid_header_does_not_match(header: str) -> None:
    assert not matches([SECRET], header)


def test_one_matching_pair_of_signature_and_secret_is_enough() -> None:
    header = signing.sign_webhook([OTHER, SECRET], ID, TIME, BODY)
    assert len(header.split()) == 2
    assert matches([SECRET], header)
    assert matches([OTHER], header)
    assert matches([OTHER, SECRET], f"v2,abc {SIGNATURE}")
    assert not matches([], SIGNATURE)


keys = st.binary(min_size=1, max_size=64)
# A header cannot contain control characters.
names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
times = st.integers(0, 2**40)


@given(
    key=keys,
    id_=names,
    time=times,
    body=st.binary(max_size=200),
    url_safe=st.booleans(),
    padded=st.booleans(),
)
def test_signature_matches_only_what_was_signed(
    *, key: bytes, id_: str, time: int, body: bytes, url_safe: bool, padded: bool
) -> None:
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    secret = "whsec_" + encode(key).decode()
    secret = secret if padded else secret.rstrip("=")
    assert signing.decode_webhook_secret(secret) == key
    header = signing.sign_webhook([secret], id_, time, body)
    assert matches([secret], header, body=body, time=time, id_=id_)
    assert not matches([secret], header, body=body + b"x", time=time, id_=id_)
    assert not matches([secret], header, body=body, time=time + 1, id_=id_)
    assert not matches([secret], header, body=body, time=time, id_=id_ + "x")


@given(st.dictionaries(st.text(max_size=9), st.integers()))
def test_standardwebhooks_package_accepts_our_signature(payload: dict[str, int]) -> None:
    now = int(datetime.now(UTC).timestamp())
    body = json.dumps(payload)
    headers = {
        "webhook-id": ID,
        "webhook-timestamp": str(now),
        "webhook-signature": signing.sign_webhook([SECRET], ID, now, body.encode()),
    }
    assert Webhook(SECRET).verify(body, headers) == payload


def test_signature_of_standardwebhooks_package_matches() -> None:
    header = Webhook(SECRET).sign(ID, datetime.fromtimestamp(TIME, UTC), BODY.decode())
    assert matches([SECRET], header)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!!!", "whsec_a", "ä"])
def test_decode_webhook_secret_raises_when_invalid(secret: str) -> None:
    with pytest.raises(ValueError, match="webhook secret"):
        signing.decode_webhook_secret(secret)


parts = st.lists(st.text(max_size=8), max_size=4)


@given(key=keys, signed=parts, other=parts)
def test_verify_accepts_only_the_signed_parts(key: bytes, signed: list[str], other: list[str]) -> None:
    signature = signing.sign(key, *signed)
    assert signing.verify(key, signature, *signed)
    assert signing.verify(key, signature, *other) == (signed == other)
    assert not signing.verify(key + b"x", signature, *signed)


def test_derive_key_depends_on_purpose() -> None:
    assert signing.derive_key(b"root", "a") != signing.derive_key(b"root", "b")
    assert signing.derive_key(b"root", "a") == signing.derive_key(b"root", "a")
