"""Signed download addresses."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.files.model import StoredFile
from replicate_proxy.files.signed_downloads import SignedDownload, build_download_url, parse_download_url
from tests.support.clock import NOW

KEY = b"s" * 32
FILE = StoredFile(
    "01j" + "0" * 23, "acme", "a.png", "image/png", NOW, NOW + timedelta(hours=24), size_bytes=3
)
ADDRESS = build_download_url("https://api.example/prod", FILE, KEY)


def ticket() -> SignedDownload:
    found = parse_download_url(ADDRESS)
    assert found is not None
    return found


def test_an_address_carries_a_ticket_that_is_good_as_long_as_the_file_lives() -> None:
    assert ticket().has_valid_signature(KEY)
    assert (ticket().owner, ticket().file_id) == ("acme", FILE.id)
    assert not ticket().is_expired(FILE.expires_at - timedelta(seconds=1))
    assert ticket().is_expired(FILE.expires_at)


def test_the_query_has_the_names_of_replicates_own_addresses() -> None:
    assert set(dict(parse_qsl(urlsplit(ADDRESS).query))) == {"owner", "expiry", "signature"}


@pytest.mark.parametrize(
    "change",
    [{"owner": "globex"}, {"file_id": "02j" + "0" * 23}, {"expiry": 9_999_999_999}, {"signature": ""}],
)
def test_no_part_can_be_changed(change: dict[str, Any]) -> None:
    assert not replace(ticket(), **change).has_valid_signature(KEY)


def test_another_deployments_signature_is_not_ours() -> None:
    assert not ticket().has_valid_signature(b"t" * 32)


@pytest.mark.parametrize("expiry", ["", "soon", "-1", "1e9", "\N{ARABIC-INDIC DIGIT ONE}", "9" * 11])
def test_an_expiry_that_is_no_time_is_no_ticket(expiry: str) -> None:
    assert SignedDownload.parse("x", {"owner": "acme", "expiry": expiry, "signature": "00"}) is None


@given(st.text(max_size=100))
def test_no_text_breaks_the_reading(text: str) -> None:
    for candidate in (text, f"https://x/v1/files/{text}/download?owner=a&expiry=1&signature={text}"):
        found = parse_download_url(candidate)
        assert found is None or not found.has_valid_signature(KEY)
