"""IP allow-lists of API keys: single addresses and CIDR ranges, IPv4 and IPv6."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def normalize_ip_range(text: str) -> str:
    """Return the canonical CIDR form of an address or range.

    Raises ValueError if the text is not a range or has host bits set.
    """
    return str(ip_network(text.strip()))


def is_ip_allowed(source_ip: str, allowed_ranges: Iterable[str]) -> bool:
    """Return whether the address lies in one of the ranges.

    An IPv4 address mapped into IPv6 counts as IPv4. A text that is not an address lies in no range.
    """
    try:
        address = ip_address(source_ip)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in ip_network(allowed_range) for allowed_range in allowed_ranges)
