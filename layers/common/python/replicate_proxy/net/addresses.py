"""Which URLs and IP addresses may be called on behalf of an outside party. Resolves no names.

Sources of the blocked ranges: IANA special-purpose address registries (IPv4, IPv6), RFC 6890, RFC 6598
(shared space), RFC 6052 and 8215 (NAT64), RFC 3056 (6to4), RFC 4380 (Teredo), RFC 5214 (ISATAP), RFC 2765
(IPv4-translated), Amazon EC2 guide (instance metadata at 169.254.169.254 and fd00:ec2::254; DNS and ECS
endpoints in 169.254.0.0/16). `ipaddress.is_global` is not enough: it accepts multicast and most ways of
embedding an IPv4 address in IPv6.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

from replicate_proxy.net.errors import ForbiddenAddressError, ForbiddenUrlError

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
MAX_URL_CHARACTERS = 4096
_MAX_HOST_CHARACTERS = 253

_BLOCKED_NETWORKS = tuple((ip_network(text), name) for text, name in BLOCKED_RANGES)
_ISATAP_IDENTIFIERS = (0x0000_5EFE, 0x0200_5EFE)
_DEFAULT_PORTS = {"https": 443, "http": 80}
_FORBIDDEN_CHARACTERS = re.compile(r"[\\\x00-\x20\x7f]")
_HOST_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
# The WHATWG URL standard ("ends in a number") reads such hosts as IPv4: 2130706433, 0x7f.1, 0177.0.0.1, 127.1
_ENDS_IN_NUMBER = re.compile(r"(?:^|\.)(?:\d+|0x[0-9a-f]*)$")


@dataclass(frozen=True)
class AddressPolicy:
    """What may be called: https on `ports` of public addresses.

    `allow_loopback` is for the local stack. It adds http and any port on 127.0.0.0/8 and ::1, nothing else.
    """

    allow_loopback: bool = False
    ports: frozenset[int] = frozenset({443})


@dataclass(frozen=True)
class ParsedUrl:
    """A URL that passed the policy. `host` is lower-case ASCII without a trailing dot."""

    scheme: str
    host: str
    port: int
    url: str

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port


def parse_url(url: str, policy: AddressPolicy) -> ParsedUrl:
    """Parse an https URL (http only with `allow_loopback`). Raise ForbiddenUrlError if it is not allowed.

    Not allowed are user names, whitespace, control characters, backslashes, IPv6 zones, ports outside
    the policy, and every notation of an IPv4 address except dotted decimal, because parsers disagree on them.
    """
    if len(url) > MAX_URL_CHARACTERS:
        raise ForbiddenUrlError("the URL is too long")
    if _FORBIDDEN_CHARACTERS.search(url):
        raise ForbiddenUrlError("the URL has whitespace, control characters or backslashes")
    parts = _split_url(url)
    if parts.scheme not in _DEFAULT_PORTS or (parts.scheme == "http" and not policy.allow_loopback):
        raise ForbiddenUrlError("only https is allowed")
    if "@" in parts.netloc:
        raise ForbiddenUrlError("the URL has a user name")
    host = _parse_host(parts.hostname or "", policy)
    port = _parse_port(parts)
    if port not in policy.ports and not policy.allow_loopback:
        raise ForbiddenUrlError(f"port {port} is not allowed")
    return ParsedUrl(scheme=parts.scheme, host=host, port=port, url=url)


def check_address(address: str | IPAddress, policy: AddressPolicy | None = None) -> None:
    """Raise ForbiddenAddressError if `address` is in a blocked range, also as an IPv4-mapped IPv6 address."""
    parsed = _unmap_ipv4(ip_address(address))
    if policy is not None and policy.allow_loopback and parsed.is_loopback:
        return
    if isinstance(parsed, IPv6Address) and (int(parsed) >> 32) & 0xFFFF_FFFF in _ISATAP_IDENTIFIERS:
        raise ForbiddenAddressError("ISATAP")
    for network, name in _BLOCKED_NETWORKS:
        if parsed in network:
            raise ForbiddenAddressError(name)


def _split_url(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise ForbiddenUrlError("the URL cannot be parsed") from None


def _parse_port(parts: SplitResult) -> int:
    try:
        return parts.port if parts.port is not None else _DEFAULT_PORTS[parts.scheme]
    except ValueError:
        raise ForbiddenUrlError("the port is not a number") from None


def _parse_host(host: str, policy: AddressPolicy) -> str:
    host = host.lower().removesuffix(".")
    if ":" in host:
        return _parse_literal_address(host, IPv6Address, policy)
    host = _encode_idna(host)
    if _ENDS_IN_NUMBER.search(host):
        return _parse_literal_address(host, IPv4Address, policy)
    if len(host) > _MAX_HOST_CHARACTERS or not all(_HOST_LABEL.fullmatch(label) for label in host.split(".")):
        raise ForbiddenUrlError("the host name is not valid")
    return host


def _encode_idna(host: str) -> str:
    """Return the ASCII form of a host name; full-width digits and dots become what a resolver would see."""
    try:
        return host if host.isascii() else host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise ForbiddenUrlError("the host name is not valid") from None


def _parse_literal_address(
    host: str, address_class: type[IPv4Address | IPv6Address], policy: AddressPolicy
) -> str:
    if "%" in host:
        raise ForbiddenUrlError("the host has an IPv6 zone")
    try:
        address = address_class(host)
    except ValueError:
        raise ForbiddenUrlError("the host is not a plain IP address") from None
    check_address(address, policy)
    return str(address)


def _unmap_ipv4(address: IPAddress) -> IPAddress:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
