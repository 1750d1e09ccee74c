"""The output server's check of signed URLs, against those that the functions sign."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import parse_qsl

import pytest

from tests.support.clock import NOW
from tests.support.url_keys import FOLDER, KEY_ID, PRIVATE_URL, make_signer, make_url_key
from tools.local.signed_urls import build_error_body, find_refusal

KEYS = {KEY_ID: make_url_key()[1]}


def sign() -> dict[str, str]:
    """Return the query of a signed URL that expires in an hour."""
    signed = make_signer().sign_urls(PRIVATE_URL, FOLDER)
    return dict(parse_qsl(signed.partition("?")[2]))


def test_signed_url_is_served_until_it_expires() -> None:
    query = sign()

    assert find_refusal(PRIVATE_URL, query, KEYS, NOW + timedelta(minutes=59)) is None
    assert find_refusal(PRIVATE_URL, query, KEYS, NOW + timedelta(minutes=60)) == (
        "AccessDenied",
        "Access denied",
    )


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"Expires": "4102444800"}, "AccessDenied"),
        ({"Expires": "never"}, "AccessDenied"),
        ({"Signature": "AAAA"}, "AccessDenied"),
        ({"Signature": "not base64"}, "AccessDenied"),
        ({"Hash-Algorithm": "SHA1"}, "AccessDenied"),
        ({"Policy": "e30_"}, "AccessDenied"),
        ({"Key-Pair-Id": "KOTHER"}, "InvalidKey"),
    ],
)
def test_altered_signature_is_refused(changes: dict[str, str], code: str) -> None:
    refusal = find_refusal(PRIVATE_URL, {**sign(), **changes}, KEYS, NOW)

    assert refusal is not None
    assert refusal[0] == code


def test_signature_of_another_file_or_key_is_refused() -> None:
    other_keys = {KEY_ID: make_url_key("other")[1]}

    assert find_refusal(PRIVATE_URL + "x", sign(), KEYS, NOW) == ("AccessDenied", "Access denied")
    assert find_refusal(PRIVATE_URL, sign(), other_keys, NOW) == ("AccessDenied", "Access denied")


def test_url_without_signature_is_refused_as_by_cloudfront() -> None:
    refusal = find_refusal(PRIVATE_URL, {}, KEYS, NOW)

    assert refusal is not None
    assert build_error_body(*refusal) == (
        '<?xml version="1.0" encoding="UTF-8"?><Error><Code>MissingKey</Code>'
        "<Message>Missing Key-Pair-Id query parameter or cookie value</Message></Error>"
    )
