"""Nobody else's file can be named as an input."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from replicate_proxy.auth.principal import Principal
from replicate_proxy.errors import ApiError
from replicate_proxy.files.model import StoredFile
from replicate_proxy.files.signed_downloads import build_download_url, check_input_files
from tests.support.clock import NOW

BASE = "https://api.example/prod"
KEY = b"s" * 32
ACME = Principal("acme", "k1")


def address(tenant: str, base_url: str = BASE) -> str:
    file = StoredFile(
        "01j" + "0" * 23, tenant, "a", "image/png", NOW, NOW + timedelta(hours=24), size_bytes=3
    )
    return build_download_url(base_url, file, KEY)


def check(value: Any, *, later: timedelta = timedelta()) -> None:
    check_input_files(value, ACME, load_signing_key=lambda: KEY, base_url=BASE, now=NOW + later)


def refusal(value: Any, **options: Any) -> ApiError:
    with pytest.raises(ApiError) as refused:
        check(value, **options)
    return refused.value


def test_ones_own_file_may_be_named_anywhere() -> None:
    check({"image": address("acme"), "more": [{"deep": [address("acme")]}]})


def test_another_tenants_file_is_refused_and_the_field_named() -> None:
    error = refusal({"prompt": "x", "images": [address("acme"), address("globex")]})
    assert (error.status, error.invalid_fields[0].field) == (422, "input.images.1")
    assert "globex" not in error.detail


@pytest.mark.parametrize(
    "base_url", ["https://abc123.execute-api.eu-central-1.amazonaws.com/x", "HTTPS://API.example/prod"]
)
def test_the_signature_tells_on_any_host_name_of_the_api(base_url: str) -> None:
    assert refusal({"image": address("globex", base_url)}).status == 422


@pytest.mark.parametrize(
    "url",
    [
        f"{BASE}/v1/files/01j00000000000000000000000",
        f"{BASE}/v1/files/01j00000000000000000000000/download",
        f"  {BASE}/v1/files/x/download?owner=acme&expiry=9999999999&signature={'0' * 64} ",
        f"{BASE}/v1/files/x/download?owner=acme&expiry=never&signature=x",
        f"{BASE}/v1/files/x/download?owner=acme&expiry=9999999999&signature=é",
    ],
)
def test_on_our_own_origin_only_a_signed_address_will_do(url: str) -> None:
    assert "urls.get" in refusal({"image": url}).detail


def test_an_expired_address_is_refused_before_replicate_fails_on_it() -> None:
    assert "expired" in refusal({"image": address("acme")}, later=timedelta(hours=24)).detail


@pytest.mark.parametrize(
    "value",
    [
        "https://api.replicate.com/v1/files/abc/download?owner=x&expiry=9999999999&signature=abc=",
        "https://example.com/cat.png",
        "data:image/png;base64,AAAA",
        "an address in a text: " + BASE + "/v1/files/x",
        "https://[broken/v1/files/x/download",
        "",
        None,
        7,
    ],
)
def test_everything_else_is_replicates_business(value: Any) -> None:
    check({"image": value})


def test_without_a_suspect_address_the_key_is_not_asked_for() -> None:
    def no_key() -> bytes:
        raise AssertionError("the signing key was read")

    value = {"image": "https://example.com/cat.png", "prompt": "a cat"}
    check_input_files(value, ACME, load_signing_key=no_key, base_url=BASE, now=NOW)


def test_depth_is_no_problem() -> None:
    value: Any = address("globex")
    for _ in range(50_000):
        value = [value]
    assert refusal({"x": value}).status == 422
