"""IP allow-lists: single addresses and CIDR ranges, v4 and v6. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["allows", "normal_range"]


def normal_range(text: str) -> str:
    """The canonical CIDR form. Raises ValueError where the text is no range, or has host bits set."""
    return str(ip_network(text.strip()))


def allows(ranges: Iterable[str], source: str) -> bool:
    """Whether the address is in any range; an unreadable one is in none, a v4 one may come mapped in v6."""
    try:
        address = _unmapped(ip_address(source))
    except ValueError:
        return False
    return any(address in ip_network(entry) for entry in ranges)


def _unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
