"""IP allow-lists of API keys: single addresses and CIDR ranges, IPv4 and IPv6."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


_MAPPED_IPV4 = IPv6Network("::ffff:0:0/96")


def normalize_ip_range(text: str) -> str:
    """Return the canonical CIDR form of an address or range; IPv4 mapped into IPv6 becomes IPv4.

    Raises ValueError if the text is not a range, has host bits set, or has an IPv6 zone, which no caller has.
    """
    if "%" in text:
        raise ValueError("an IPv6 zone is not a range")
    network = ip_network(text.strip())
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED_IPV4):
        address = int(network.network_address) - int(_MAPPED_IPV4.network_address)
        return str(IPv4Network((address, network.prefixlen - _MAPPED_IPV4.prefixlen)))
    return str(network)


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
