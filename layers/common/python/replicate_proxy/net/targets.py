"""From the text of a URL to what would be called. Pure: no name is resolved here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import SplitResult, urlsplit

from replicate_proxy.net.addresses import AddressPolicy, check_address
from replicate_proxy.net.errors import ForbiddenTargetError

__all__ = ["MAX_URL_LENGTH", "Target", "parse_target"]

MAX_URL_LENGTH = 4096
_LONGEST_HOST = 253
_FORBIDDEN = re.compile(r"[\\\x00-\x20\x7f]")
_PORTS = {"https": 443, "http": 80}
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
# The WHATWG URL standard ("ends in a number") reads such hosts as IPv4: 2130706433, 0x7f.1, 0177.0.0.1, 127.1
_NUMERIC_END = re.compile(r"(?:^|\.)(?:\d+|0x[0-9a-f]*)$")


@dataclass(frozen=True)
class Target:
    """Scheme, host (lower-case, ASCII, no trailing dot), port and the URL as it will be sent."""

    scheme: str
    host: str
    port: int
    url: str


def parse_target(url: str, policy: AddressPolicy) -> Target:
    """Raises ForbiddenTargetError unless `url` is a plain https URL (http only with `allow_loopback`).

    Refused: user names, fragments' whitespace and control characters, backslashes, IPv6 zones, other ports
    than the policy's, and every spelling of an IPv4 address but the dotted decimal one, which differ between
    parsers.
    """
    if len(url) > MAX_URL_LENGTH:
        raise ForbiddenTargetError("the URL is too long")
    if _FORBIDDEN.search(url):
        raise ForbiddenTargetError("the URL has whitespace, control characters or backslashes")
    parts = _split(url)
    if parts.scheme not in _PORTS or (parts.scheme == "http" and not policy.allow_loopback):
        raise ForbiddenTargetError("only https is called")
    if "@" in parts.netloc:
        raise ForbiddenTargetError("the URL has a user name")
    host = _host(parts.hostname or "", policy)
    port = _port(parts)
    if port not in policy.ports and not policy.allow_loopback:
        raise ForbiddenTargetError(f"port {port} is not called")
    return Target(scheme=parts.scheme, host=host, port=port, url=url)


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise ForbiddenTargetError("the URL cannot be parsed") from None


def _port(parts: SplitResult) -> int:
    try:
        return parts.port if parts.port is not None else _PORTS[parts.scheme]
    except ValueError:
        raise ForbiddenTargetError("the port is not a number") from None


def _host(host: str, policy: AddressPolicy) -> str:
    host = host.lower().removesuffix(".")
    if ":" in host:
        return _literal(host, IPv6Address, policy)
    host = _ascii(host)
    if _NUMERIC_END.search(host):
        return _literal(host, IPv4Address, policy)
    if len(host) > _LONGEST_HOST or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise ForbiddenTargetError("the host name is not valid")
    return host


def _literal(host: str, kind: type[IPv4Address | IPv6Address], policy: AddressPolicy) -> str:
    if "%" in host:
        raise ForbiddenTargetError("the host has an IPv6 zone")
    try:
        address = kind(host)
    except ValueError:
        raise ForbiddenTargetError("the host is not a plain IP address") from None
    check_address(address, policy)
    return str(address)


def _ascii(host: str) -> str:
    """Names outside ASCII as their punycode: full-width digits and dots become what a resolver would see."""
    try:
        return host if host.isascii() else host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise ForbiddenTargetError("the host name is not valid") from None
