"""IP allow-lists."""

from __future__ import annotations

import pytest

from replicate_proxy.auth.keys import is_ip_allowed, normalize_ip_range


@pytest.mark.parametrize(
    ("ranges", "source", "allowed"),
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
def test_an_address_is_allowed_where_a_range_holds_it(
    ranges: list[str], source: str, *, allowed: bool
) -> None:
    assert is_ip_allowed(ranges, source) is allowed


@pytest.mark.parametrize(
    ("text", "normal"),
    [("203.0.113.7", "203.0.113.7/32"), (" 10.0.0.0/8 ", "10.0.0.0/8"), ("2001:DB8::1", "2001:db8::1/128")],
)
def test_ranges_have_one_form(text: str, normal: str) -> None:
    assert normalize_ip_range(text) == normal


@pytest.mark.parametrize(
    "text", ["", "10.0.0.1/8", "300.1.1.1", "10.0.0.0/33", "example.com", "2001:db8::1/32"]
)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"IPv4 or IPv6|host bits"):
        normalize_ip_range(text)
