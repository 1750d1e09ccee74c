"""Signed download URLs, and the check of the URLs in a prediction's input."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.auth.principal import Principal
from replicate_proxy.errors import ApiError
from replicate_proxy.files.model import StoredFile
from replicate_proxy.files.signed_downloads import (
    SignedDownload,
    build_download_url,
    check_input_files,
    parse_download_url,
)
from tests.support.clock import NOW

BASE_URL = "https://api.example/prod"
SIGNING_KEY = b"s" * 32
FILE = StoredFile(
    "01j" + "0" * 23, "acme", "a.png", "image/png", NOW, NOW + timedelta(hours=24), size_bytes=3
)
ACME = Principal("acme", "k1")


def make_url(tenant: str = "acme", base_url: str = BASE_URL) -> str:
    return build_download_url(base_url, replace(FILE, tenant=tenant), SIGNING_KEY)


def parse_signed_url() -> SignedDownload:
    download = parse_download_url(make_url())
    assert download is not None
    return download


def test_url_is_valid_until_file_expires() -> None:
    download = parse_signed_url()
    assert download.has_valid_signature(SIGNING_KEY)
    assert (download.owner, download.file_id) == ("acme", FILE.id)
    assert not download.is_expired(FILE.expires_at - timedelta(seconds=1))
    assert download.is_expired(FILE.expires_at)


def test_query_parameters_are_those_of_replicate() -> None:
    assert set(dict(parse_qsl(urlsplit(make_url()).query))) == {"owner", "expiry", "signature"}


@pytest.mark.parametrize(
    "change",
    [{"owner": "globex"}, {"file_id": "02j" + "0" * 23}, {"expiry": 9_999_999_999}, {"signature": ""}],
)
def test_signature_covers_every_part(change: dict[str, Any]) -> None:
    assert not replace(parse_signed_url(), **change).has_valid_signature(SIGNING_KEY)


def test_signature_of_other_deployment_is_invalid() -> None:
    assert not parse_signed_url().has_valid_signature(b"t" * 32)


@pytest.mark.parametrize("expiry", ["", "soon", "-1", "1e9", "\N{ARABIC-INDIC DIGIT ONE}", "9" * 11])
def test_parse_returns_none_when_expiry_is_not_a_time(expiry: str) -> None:
    assert SignedDownload.parse("x", {"owner": "acme", "expiry": expiry, "signature": "00"}) is None


@given(st.text(max_size=100))
def test_parse_accepts_any_text(text: str) -> None:
    for url in (text, f"https://x/v1/files/{text}/download?owner=a&expiry=1&signature={text}"):
        download = parse_download_url(url)
        assert download is None or not download.has_valid_signature(SIGNING_KEY)


def check(prediction_input: Any, *, later: timedelta = timedelta()) -> None:
    check_input_files(
        prediction_input, ACME, load_signing_key=lambda: SIGNING_KEY, base_url=BASE_URL, now=NOW + later
    )


def check_fails(prediction_input: Any, **options: Any) -> ApiError:
    with pytest.raises(ApiError) as raised:
        check(prediction_input, **options)
    return raised.value


def test_input_may_name_own_files_anywhere() -> None:
    check({"image": make_url(), "more": [{"deep": [make_url()]}]})


def test_input_with_file_of_other_tenant_is_rejected_and_field_named() -> None:
    error = check_fails({"prompt": "x", "images": [make_url("acme"), make_url("globex")]})
    assert (error.status, error.invalid_fields[0].field) == (422, "input.images.1")
    assert "globex" not in error.detail


@pytest.mark.parametrize(
    "base_url", ["https://abc123.execute-api.eu-central-1.amazonaws.com/x", "HTTPS://API.example/prod"]
)
def test_file_of_other_tenant_is_rejected_on_any_host_name(base_url: str) -> None:
    assert check_fails({"image": make_url("globex", base_url)}).status == 422


@pytest.mark.parametrize(
    ("part", "spelling"),
    [("/files/", "/%66iles/"), ("/download", "/%64ownload"), ("/01j", "/%301j"), ("/v1/", "//v1///")],
)
def test_file_of_other_tenant_is_rejected_in_any_spelling_of_its_path(part: str, spelling: str) -> None:
    """API Gateway finds the same route for them."""
    check({"image": make_url().replace(part, spelling)})
    assert check_fails({"image": make_url("globex").replace(part, spelling)}).status == 422
    unsigned = f"{BASE_URL}/v1/files/{FILE.id}/download".replace(part, spelling)
    assert "urls.get" in check_fails({"image": unsigned}).detail


@pytest.mark.parametrize(
    "url",
    [
        f"{BASE_URL}/v1/files/01j00000000000000000000000",
        f"{BASE_URL}/v1/files/01j00000000000000000000000/download",
        f"  {BASE_URL}/v1/files/x/download?owner=acme&expiry=9999999999&signature={'0' * 64} ",
        f"{BASE_URL}/v1/files/x/download?owner=acme&expiry=never&signature=x",
        f"{BASE_URL}/v1/files/x/download?owner=acme&expiry=9999999999&signature=é",
    ],
)
def test_unsigned_url_on_our_host_is_rejected(url: str) -> None:
    assert "urls.get" in check_fails({"image": url}).detail


def test_expired_url_is_rejected() -> None:
    assert "expired" in check_fails({"image": make_url()}, later=timedelta(hours=24)).detail


@pytest.mark.parametrize(
    "value",
    [
        "https://api.replicate.com/v1/files/abc/download?owner=x&expiry=9999999999&signature=abc=",
        "https://example.com/cat.png",
        "data:image/png;base64,AAAA",
        f"a URL inside a text: {BASE_URL}/v1/files/x",
        "https://[broken/v1/files/x/download",
        "",
        None,
        7,
    ],
)
def test_other_values_are_accepted(value: Any) -> None:
    check({"image": value})


def test_signing_key_is_not_loaded_without_url_of_ours() -> None:
    def fail() -> bytes:
        raise AssertionError("the signing key was loaded")

    prediction_input = {"image": "https://example.com/cat.png", "prompt": "a cat"}
    check_input_files(prediction_input, ACME, load_signing_key=fail, base_url=BASE_URL, now=NOW)


def test_deeply_nested_input_is_checked() -> None:
    value: Any = make_url("globex")
    for _ in range(50_000):
        value = [value]
    assert check_fails({"x": value}).status == 422
