"""How pages show durations, times, amounts, sizes and links."""

from __future__ import annotations

from datetime import timedelta

import pytest

from replicate_proxy.console.formatting import (
    find_safe_url,
    format_bytes,
    format_duration,
    format_moment,
    format_money,
    format_usd_input,
    summarize_input,
)
from replicate_proxy.console.job_views import find_image
from tests.support.clock import NOW


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, "–"),
        (0.095, "95 ms"),
        (3.24, "3.2 s"),
        (12, "12 s"),
        (87, "1 min 27 s"),
        (3600, "1 h"),
        (3660, "1 h 1 min"),
        (180_000, "2 d 2 h"),
        (86_460, "1 d"),
    ],
)
def test_duration_has_at_most_two_units(seconds: float | None, expected: str) -> None:
    assert format_duration(seconds) == expected


@pytest.mark.parametrize(
    ("age", "expected"),
    [(0, "now"), (59, "59 s ago"), (3599, "59 min ago"), (90_000, "1 d ago"), (-61, "in 1 min")],
)
def test_time_is_relative_and_has_the_absolute_one(age: float, expected: str) -> None:
    html = str(format_moment(NOW - timedelta(seconds=age), NOW))
    assert f">{expected}</time>" in html
    assert ' UTC"' in html
    assert format_moment(None, NOW) == "–"


@pytest.mark.parametrize(
    ("micro_usd", "expected"),
    [(None, ""), (0, "0"), (1, "0.000001"), (50_000_000, "50"), (1_234_567_890_000, "1234567.89")],
)
def test_amount_in_a_field_is_a_plain_number(micro_usd: int | None, expected: str) -> None:
    assert format_usd_input(micro_usd) == expected


@pytest.mark.parametrize(
    ("micro_usd", "expected"),
    [
        (None, "–"),
        (0, "$0"),
        (1, "$0.000001"),
        (3000, "$0.003"),
        (1_500_000, "$1.50"),
        (1_234_567_000, "$1,234.57"),
    ],
)
def test_amount_has_the_decimals_that_it_needs(micro_usd: int | None, expected: str) -> None:
    assert format_money(micro_usd) == expected


def test_size_has_three_digits() -> None:
    assert [format_bytes(size) for size in (0, 999, 53_200, 5_000_000, 2.5e9)] == [
        "0 B",
        "999 B",
        "53.2 kB",
        "5 MB",
        "2.5 GB",
    ]
    assert [format_bytes(size) for size in (999_700, 999_499, 999.6e6, 1.2345e12)] == [
        "1 MB",
        "999 kB",
        "1 GB",
        "1,234 GB",
    ]


@pytest.mark.parametrize(
    "value", ["javascript:alert(1)", "data:text/html,x", "//host/a", "https://", "http://[", None, 5, " x"]
)
def test_link_leads_to_http_only(value: object) -> None:
    assert find_safe_url(value) == ""
    assert find_safe_url("https://host/a") == "https://host/a"


@pytest.mark.parametrize(
    ("url", "base", "is_shown"),
    [
        ("https://cdn.test/a.webp", "https://cdn.test", True),
        ("http://cdn.test/a.webp", "https://cdn.test", False),
        ("https://cdn.test.evil.test/a", "https://cdn.test", False),
        ("https://cdn.test@evil.test/a", "https://cdn.test", False),
        ("https://d1.cloudfront.net/a", "https://*.cloudfront.net", True),
        ("https://evilcloudfront.net/a", "https://*.cloudfront.net", False),
        (None, "https://cdn.test", False),
    ],
)
def test_images_of_other_hosts_are_not_shown(url: object, base: str, is_shown: bool) -> None:
    assert bool(find_image(url, base)) is is_shown


def test_summary_is_the_prompt_or_the_first_text() -> None:
    assert summarize_input({"seed": 1, "text": "b", "prompt": "a"}) == "a"
    assert summarize_input({"seed": 1, "text": "b"}) == "b"
    assert summarize_input({"seed": 1}) == summarize_input(["x"]) == summarize_input(None) == ""
