"""Signing URLs of private outputs."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.errors import ConfigurationError, RetryableError
from replicate_proxy.outputs.private_urls import UrlSigningError, find_private_urls, refuse_private
from tests.support.clock import NOW, FakeClock
from tests.support.url_keys import FOLDER, PRIVATE_URL, make_signer, make_url_key, verify_signed_url

LEAVES = st.none() | st.booleans() | st.integers() | st.text()
NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,60}\.[a-z0-9]{1,11}", fullmatch=True)
OWN_URLS = st.builds(lambda name: f"https://cdn.example/{FOLDER}00/{name}", NAMES)
TREES = st.recursive(
    LEAVES | OWN_URLS,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)


def make_rsa_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def strip_signatures(value: Any) -> Any:
    """Return the value with verified URLs in place of signed ones."""
    if isinstance(value, dict):
        return {name: strip_signatures(part) for name, part in value.items()}
    if isinstance(value, list):
        return [strip_signatures(part) for part in value]
    if isinstance(value, str) and find_private_urls(value, FOLDER):
        return verify_signed_url(value)[0]
    return value


def test_signed_url_is_valid_as_documented_and_expires_after_the_lifetime() -> None:
    signed = make_signer(lifetime_seconds=600).sign_urls(PRIVATE_URL, FOLDER)

    assert verify_signed_url(signed) == (PRIVATE_URL, int(NOW.timestamp()) + 600)


def test_urls_are_signed_afresh_each_time() -> None:
    clock = FakeClock()
    signer = make_signer(clock=clock)
    first = signer.sign_urls([PRIVATE_URL], FOLDER)
    clock.advance(10)
    second = signer.sign_urls([PRIVATE_URL], FOLDER)

    assert verify_signed_url(second[0])[1] == verify_signed_url(first[0])[1] + 10


@given(TREES)
def test_only_urls_of_the_job_change_and_each_is_valid(value: Any) -> None:
    signed = make_signer().sign_urls(value, FOLDER)

    assert strip_signatures(signed) == value
    assert all("Signature=" in url for _, url in find_private_urls(signed, FOLDER))


@pytest.mark.parametrize(
    "text",
    [
        "https://cdn.example/private/aa/cc/00/out.webp",  # another job's
        "https://cdn.example/private/aa/bbb/out.webp",
        "https://cdn.example/outputs/aa/bb/00/out.webp",
        f"https://cdn.example/x/{FOLDER}00/out.webp",
        f"see {FOLDER}00/out.webp",
        f"/{FOLDER}00/out.webp",
        "",
    ],
)
def test_other_texts_are_not_signed(text: str) -> None:
    value = {"a": [text]}

    assert make_signer(key_id="").sign_urls(value, FOLDER) is value
    assert refuse_private(value, FOLDER) is value


@pytest.mark.parametrize("folder", [None, ""])
def test_nothing_is_signed_without_a_folder(folder: str | None) -> None:
    assert make_signer().sign_urls(PRIVATE_URL, folder) == PRIVATE_URL


def raise_error(error: Exception) -> str:
    raise error


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"key_id": ""}, "no key is configured"),
        ({"read_private_key": lambda: make_url_key("other")[0]}, "does not belong to the public key"),
        ({"read_private_key": make_rsa_key}, "not an ECDSA key"),
        ({"read_private_key": lambda: "no key"}, "PEM"),
        ({"read_private_key": lambda: raise_error(ConfigurationError("missing"))}, "missing"),
        ({"read_private_key": lambda: raise_error(RetryableError("throttled"))}, "throttled"),
    ],
)
def test_url_that_cannot_be_signed_is_not_shown(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(UrlSigningError, match=reason):
        make_signer(**fields).sign_urls([PRIVATE_URL], FOLDER)


def test_private_url_is_refused_where_nothing_signs() -> None:
    with pytest.raises(UrlSigningError):
        refuse_private({"output": PRIVATE_URL}, FOLDER)
