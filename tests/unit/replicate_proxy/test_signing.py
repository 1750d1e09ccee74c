"""Signatures: known answers, other people's implementations, and whatever hypothesis thinks of."""

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
ANSWER = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def matches(secrets: list[str], header: str, *, body: bytes = BODY, time: int = TIME, id_: str = ID) -> bool:
    return signing.webhook_signature_matches(
        secrets, message_id=id_, timestamp=time, body=body, header=header
    )


def test_the_known_answer_of_svix() -> None:
    assert signing.sign_webhook([SECRET], ID, TIME, BODY) == ANSWER
    assert matches([SECRET], ANSWER)


def test_the_undecoded_secret_of_a_wrong_example_does_not_fit() -> None:
    wrong = "whsec_" + base64.b64encode(SECRET.encode()).decode()
    assert not matches([wrong], ANSWER)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "v1",
        "v1,",
        "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ANSWER[:-1],
        ANSWER[3:],
        "v1,é",
        "v1a,x",
    ],
)
def test_other_headers_do_not_match(header: str) -> None:
    assert not matches([SECRET], header)


def test_any_of_several_signatures_and_secrets_is_enough() -> None:
    both = signing.sign_webhook([OTHER, SECRET], ID, TIME, BODY)
    assert len(both.split()) == 2
    assert matches([SECRET], both)
    assert matches([OTHER], both)
    assert matches([OTHER, SECRET], f"v2,abc {ANSWER}")
    assert not matches([], ANSWER)


keys = st.binary(min_size=1, max_size=64)
# No control characters: a header cannot carry them.
names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
times = st.integers(0, 2**40)


@given(
    key=keys, id_=names, time=times, body=st.binary(max_size=200), url_safe=st.booleans(), bare=st.booleans()
)
def test_what_we_sign_we_believe(
    *, key: bytes, id_: str, time: int, body: bytes, url_safe: bool, bare: bool
) -> None:
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    secret = "whsec_" + encode(key).decode()
    secret = secret.rstrip("=") if bare else secret
    assert signing.decode_webhook_secret(secret) == key
    header = signing.sign_webhook([secret], id_, time, body)
    assert matches([secret], header, body=body, time=time, id_=id_)
    assert not matches([secret], header, body=body + b"x", time=time, id_=id_)
    assert not matches([secret], header, body=body, time=time + 1, id_=id_)
    assert not matches([secret], header, body=body, time=time, id_=id_ + "x")


@given(st.dictionaries(st.text(max_size=9), st.integers()))
def test_the_python_package_of_the_standard_believes_ours(payload: dict[str, int]) -> None:
    now = int(datetime.now(UTC).timestamp())
    body = json.dumps(payload)
    headers = {
        "webhook-id": ID,
        "webhook-timestamp": str(now),
        "webhook-signature": signing.sign_webhook([SECRET], ID, now, body.encode()),
    }
    assert Webhook(SECRET).verify(body, headers) == payload


def test_we_believe_the_python_package_of_the_standard() -> None:
    theirs = Webhook(SECRET).sign(ID, datetime.fromtimestamp(TIME, UTC), BODY.decode())
    assert matches([SECRET], theirs)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!!!", "whsec_a", "ä"])
def test_a_secret_that_is_none_is_said_so(secret: str) -> None:
    with pytest.raises(ValueError, match="webhook secret"):
        signing.decode_webhook_secret(secret)


parts = st.lists(st.text(max_size=8), max_size=4)


@given(key=keys, mine=parts, theirs=parts)
def test_tokens_are_good_for_their_parts_alone(key: bytes, mine: list[str], theirs: list[str]) -> None:
    token = signing.sign(key, *mine)
    assert signing.verify(key, token, *mine)
    assert signing.verify(key, token, *theirs) == (mine == theirs)
    assert not signing.verify(key + b"x", token, *mine)


def test_keys_of_two_purposes_have_nothing_in_common() -> None:
    assert signing.derive_key(b"root", "a") != signing.derive_key(b"root", "b")
    assert signing.derive_key(b"root", "a") == signing.derive_key(b"root", "a")
