"""The block list: every range at both ends, in every notation of an address."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.net.addresses import BLOCKED_RANGES, AddressPolicy, check_address
from replicate_proxy.net.errors import ForbiddenAddressError

RANGES = [network for network, _ in BLOCKED_RANGES]
V4_RANGES = [network for network in RANGES if ":" not in network]


@pytest.mark.parametrize("text", RANGES)
def test_check_address_rejects_first_and_last_of_blocked_range(text: str) -> None:
    network = ip_network(text)
    for address in (network[0], network[-1]):
        with pytest.raises(ForbiddenAddressError):
            check_address(str(address))


@pytest.mark.parametrize("text", V4_RANGES)
def test_check_address_rejects_ipv4_mapped_blocked_range(text: str) -> None:
    with pytest.raises(ForbiddenAddressError):
        check_address(f"::ffff:{ip_network(text)[0]}")


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",  # EC2 instance metadata
        "169.254.170.2",  # ECS task credentials
        "169.254.169.253",  # VPC resolver
        "fd00:ec2::254",  # metadata over IPv6
        "100.100.100.200",  # another provider's metadata, in shared address space
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",  # IPv4-compatible
        "::ffff:10.0.0.1",  # IPv4-mapped
        "::ffff:0:10.0.0.1",  # IPv4-translated
        "2002:7f00:1::",  # 6to4 of 127.0.0.1
        "64:ff9b::169.254.169.254",  # NAT64
        "64:ff9b:1::a00:1",  # local-use NAT64
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",  # Teredo
        "fe80::5efe:192.168.0.1",  # ISATAP, link-local
        "2a00:1450:4001::5efe:10.0.0.1",  # ISATAP under a public prefix
        "2a00:1450:4001::200:5efe:10.0.0.1",  # ISATAP with the universal bit
    ],
)
def test_check_address_rejects_internal_addresses(address: str) -> None:
    with pytest.raises(ForbiddenAddressError):
        check_address(address)


@pytest.mark.parametrize(
    "address",
    [
        *("8.8.8.8", "1.1.1.1", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0"),
        *("169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "198.17.255.255", "198.20.0.0"),
        *("223.255.255.255", "2a00:1450:4001:829::200e", "2606:4700:4700::1111", "::ffff:8.8.8.8"),
    ],
)
def test_check_address_accepts_public_neighbors_of_blocked_ranges(address: str) -> None:
    check_address(address)


@given(st.integers(0, 2**32 - 1))
def test_check_address_treats_plain_and_mapped_ipv4_alike(number: int) -> None:
    plain = IPv4Address(number)
    mapped = IPv6Address(f"::ffff:{plain}")

    assert is_forbidden(str(plain)) == is_forbidden(str(mapped))
    assert is_forbidden(str(plain)) == any(plain in IPv4Network(text) for text in V4_RANGES)


@given(st.integers(0, 2**128 - 1))
def test_check_address_rejects_what_ipaddress_calls_private(number: int) -> None:
    address = IPv6Address(number)
    if address.is_private or address.is_link_local or address.is_multicast or address.is_loopback:
        assert is_forbidden(str(address))


@given(st.ip_addresses(v=4))
def test_check_address_rejects_every_non_global_ipv4(address: IPv4Address) -> None:
    if not address.is_global:
        assert is_forbidden(str(address))


def test_check_address_with_loopback_policy_accepts_only_loopback() -> None:
    local = AddressPolicy(allow_loopback=True)

    for address in ("127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"):
        check_address(address, local)
    for address in ("10.0.0.1", "169.254.169.254", "::", "0.0.0.0"):  # noqa: S104 - an address that must be forbidden
        with pytest.raises(ForbiddenAddressError):
            check_address(address, local)


def is_forbidden(address: str) -> bool:
    try:
        check_address(ip_address(address))
    except ForbiddenAddressError:
        return True
    return False
