"""IP allow-lists of API keys."""

from __future__ import annotations

import pytest

from replicate_proxy.auth.ip_ranges import is_ip_allowed, normalize_ip_range


@pytest.mark.parametrize(
    ("allowed_ranges", "source_ip", "is_allowed"),
    [
        (["203.0.113.7/32"], "203.0.113.7", True),
        (["203.0.113.7/32"], "203.0.113.8", False),
        (["203.0.113.0/24", "2001:db8::/32"], "2001:db8:ffff::1", True),
        (["203.0.113.0/24"], "2001:db8::1", False),
        (["203.0.113.0/24"], "::ffff:203.0.113.9", True),
        (["::/0"], "203.0.113.9", False),
        (["0.0.0.0/0"], "", False),
        (["0.0.0.0/0"], "203.0.113.9, 10.0.0.1", False),
        (["0.0.0.0/0"], "localhost", False),
        ([], "203.0.113.9", False),
    ],
)
def test_ip_is_allowed_when_a_range_contains_it(
    allowed_ranges: list[str], source_ip: str, *, is_allowed: bool
) -> None:
    assert is_ip_allowed(source_ip, allowed_ranges) is is_allowed


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("203.0.113.7", "203.0.113.7/32"),
        (" 10.0.0.0/8 ", "10.0.0.0/8"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
        ("2001:DB8::1", "2001:db8::1/128"),
        ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
        ("0:0:0:0:0:FFFF:cb00:7107", "203.0.113.7/32"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/0", "::/0"),
    ],
)
def test_normalize_returns_canonical_form(text: str, normalized: str) -> None:
    assert normalize_ip_range(text) == normalized


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.0.0.1/8",
        "300.1.1.1",
        "10.0.0.0/33",
        "example.com",
        "2001:db8::1/32",
        "::ffff:203.0.113.1/120",
        "fe80::1%eth0",
    ],
)
def test_normalize_rejects_text_that_is_not_a_range(text: str) -> None:
    with pytest.raises(ValueError, match=r"IPv4 or IPv6|host bits|zone"):
        normalize_ip_range(text)
