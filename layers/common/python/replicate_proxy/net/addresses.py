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
from unicodedata import normalize
from urllib.parse import SplitResult, quote, urlsplit

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
_LOOPBACK_NAME = re.compile(r"(?:^|\.)localhost$")
# Characters of a path or query that stay as they are (RFC 3986, section 3.3 and 3.4); others are escaped.
_SAFE_CHARACTERS = "%/?:@!$&'()*+,;=~"
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
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
    """A URL that passed the policy.

    `host` is lower-case ASCII without a trailing dot. `url` is ASCII and names this host; it is the one to
    call, because another parser might find another host in the URL as it was given.
    """

    scheme: str
    host: str
    port: int
    url: str

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port


def parse_url(url: str, policy: AddressPolicy) -> ParsedUrl:
    """Parse an https URL; with `allow_loopback` also http to loopback. Raise ForbiddenUrlError for others.

    Not allowed are user names, whitespace, control characters, backslashes, IPv6 zones, ports outside
    the policy, names of this machine, host names that IDNA 2008 does not allow (RFC 5891), and every notation
    of an IPv4 address except dotted decimal, because parsers disagree on them.
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
    host = _parse_host(parts, policy)
    if parts.scheme == "http" and not _is_loopback(host):
        raise ForbiddenUrlError("only https is allowed")
    port = _parse_port(parts)
    if port not in policy.ports and not policy.allow_loopback:
        raise ForbiddenUrlError(f"port {port} is not allowed")
    return ParsedUrl(scheme=parts.scheme, host=host, port=port, url=_build_url(parts, host, port))


def escape_blanks(url: str) -> str:
    """Return the URL with its inner white space escaped, as browsers do with file names that have some."""
    return re.sub(r"\s", lambda blank: quote(blank[0]), url.strip())


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


def _build_url(parts: SplitResult, host: str, port: int) -> str:
    """Return the URL in ASCII, without the fragment."""
    netloc = f"[{host}]" if ":" in host else host
    if port != _DEFAULT_PORTS[parts.scheme]:
        netloc = f"{netloc}:{port}"
    query = f"?{_escape(parts.query)}" if parts.query else ""
    return f"{parts.scheme}://{netloc}{_escape(parts.path) or '/'}{query}"


def _escape(text: str) -> str:
    """Percent-encode what may not be in a path or query, and leave what is encoded already."""
    try:
        return quote(_STRAY_PERCENT.sub("%25", text), safe=_SAFE_CHARACTERS)
    except UnicodeEncodeError:
        raise ForbiddenUrlError("the URL has half of a surrogate pair") from None


def _parse_host(parts: SplitResult, policy: AddressPolicy) -> str:
    host = (parts.hostname or "").lower().removesuffix(".")
    if "[" in parts.netloc:
        return _parse_literal_address(host, IPv6Address, policy)
    host = _encode_idna(host)
    if _LOOPBACK_NAME.search(host) and not policy.allow_loopback:
        raise ForbiddenAddressError("loopback")
    if _ENDS_IN_NUMBER.search(host):
        return _parse_literal_address(host, IPv4Address, policy)
    if len(host) > _MAX_HOST_CHARACTERS or not all(_HOST_LABEL.fullmatch(label) for label in host.split(".")):
        raise ForbiddenUrlError("the host name is not valid")
    return host


def _is_loopback(host: str) -> bool:
    """Tell whether a host that `_parse_host` returned is this machine by its name or address."""
    if _LOOPBACK_NAME.search(host):
        return True
    is_address = ":" in host or _ENDS_IN_NUMBER.search(host) is not None
    return is_address and _unmap_ipv4(ip_address(host)).is_loopback


def _encode_idna(host: str) -> str:
    """Return the ASCII form of a host name by IDNA 2008.

    Python's own codec follows IDNA 2003, by which `faß.de` is another host, and symbols and joiners are
    allowed.
    """
    if host.isascii():
        return host
    if len(host) > _MAX_HOST_CHARACTERS:
        raise ForbiddenUrlError("the host name is not valid")
    import idna  # noqa: PLC0415 - its tables take milliseconds, and few host names need them

    try:
        return idna.encode(normalize("NFC", host), strict=True).decode("ascii")
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
