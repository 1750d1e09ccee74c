"""The IP ranges that no outside party may make us call. Pure.

Sources: IANA special-purpose address registries (IPv4, IPv6), RFC 6890, RFC 6598 (shared space), RFC 6052 and
8215 (NAT64), RFC 3056 (6to4), RFC 4380 (Teredo), RFC 5214 (ISATAP), RFC 2765 (IPv4-translated), Amazon EC2
guide, instance metadata (169.254.169.254, fd00:ec2::254) and its DNS and ECS endpoints in 169.254.0.0/16.
`ipaddress.is_global` is not enough: it lets multicast and most ways of writing an IPv4 address inside IPv6
pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from replicate_proxy.net.errors import ForbiddenAddressError

__all__ = ["BLOCKED_RANGES", "AddressPolicy", "IPAddress", "check_address"]

type IPAddress = IPv4Address | IPv6Address

BLOCKED_RANGES: tuple[tuple[str, str], ...] = (
    ("0.0.0.0/8", "this network"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared address space"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local and metadata"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "protocol assignments"),
    ("192.0.2.0/24", "documentation"),
    ("192.31.196.0/24", "AS112"),
    ("192.52.193.0/24", "AMT"),
    ("192.88.99.0/24", "6to4 relay"),
    ("192.168.0.0/16", "private"),
    ("192.175.48.0/24", "AS112"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved and broadcast"),
    ("::/96", "unspecified, loopback and IPv4-compatible"),
    ("::ffff:0:0:0/96", "IPv4-translated"),
    ("64:ff9b::/96", "NAT64"),
    ("64:ff9b:1::/48", "local NAT64"),
    ("100::/64", "discard"),
    ("100:0:0:1::/64", "dummy prefix"),
    ("2001::/23", "protocol assignments and Teredo"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "6to4"),
    ("2620:4f:8000::/48", "AS112"),
    ("3fff::/20", "documentation"),
    ("5f00::/16", "segment routing"),
    ("fc00::/7", "unique local and metadata"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
)
_NETWORKS = tuple((ip_network(text), name) for text, name in BLOCKED_RANGES)
_ISATAP_MARKS = (0x0000_5EFE, 0x0200_5EFE)


@dataclass(frozen=True)
class AddressPolicy:
    """What may be called: https on `ports` of public addresses; with `allow_loopback` also http on this
    machine.

    `allow_loopback` is for the local stack alone and opens nothing but 127.0.0.0/8 and ::1.
    """

    allow_loopback: bool = False
    ports: frozenset[int] = frozenset({443})


def check_address(address: str | IPAddress, policy: AddressPolicy | None = None) -> None:
    """Raises ForbiddenAddressError when `address` lies in a blocked range, also inside an IPv4-mapped IPv6
    address.
    """
    parsed = _canonical(ip_address(address))
    if policy is not None and policy.allow_loopback and parsed.is_loopback:
        return
    if isinstance(parsed, IPv6Address) and (int(parsed) >> 32) & 0xFFFF_FFFF in _ISATAP_MARKS:
        raise ForbiddenAddressError("ISATAP")
    for network, name in _NETWORKS:
        if parsed in network:
            raise ForbiddenAddressError(name)


def _canonical(address: IPAddress) -> IPAddress:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
