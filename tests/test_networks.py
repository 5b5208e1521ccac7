"""Which addresses are the internet's, and which lead inside."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterator

import pytest

from drip.core import networks
from drip.core.networks import is_public

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
# IANA's registries of special-purpose addresses, read in 2025, those that are given up
# included, and the blocks of RFC 4291.
SPECIAL = [
    "0.0.0.0/8",
    "0.0.0.0/32",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.0.0/29",
    "192.0.0.8/32",
    "192.0.0.9/32",
    "192.0.0.10/32",
    "192.0.0.170/32",
    "192.0.0.171/32",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.88.99.2/32",
    "192.168.0.0/16",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "255.255.255.255/32",
    "::1/128",
    "::/128",
    "::/96",
    "::ffff:0:0/96",
    "64:ff9b:1::/48",
    "100::/64",
    "100:0:0:1::/64",
    "2001::/23",
    "2001::/32",
    "2001:1::1/128",
    "2001:1::2/128",
    "2001:1::3/128",
    "2001:2::/48",
    "2001:3::/32",
    "2001:4:112::/48",
    "2001:10::/28",
    "2001:20::/28",
    "2001:30::/28",
    "2001:db8::/32",
    "2002::/16",
    "2620:4f:8000::/48",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
]


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "1.1.1.1",
        "9.255.255.255",
        "100.128.0.0",
        "172.32.0.1",
        "223.255.255.255",
        "2001:4860:4860::8888",
        "2606:4700::1111",
        "2a00:1450::1",
        "64:ff9b::808:808",
    ],
)
def test_a_server_on_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "0.0.0.0",
        "::1",
        "::",
        "fe80::1%eth0",
        "fec0::1",
        "fd00::1",
        "ff02::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::808:808",
        "2002:7f00:1::",
        "2002:808:808::",
        "2001:0:808:808::f7f7:f7f7",
    ],
)
def test_an_address_inside_is_known_in_every_disguise(address: str) -> None:
    assert not is_public(address)


def test_what_is_no_address_is_an_error() -> None:
    for text in ("", "localhost", "1.2.3", "::1::"):
        with pytest.raises(ValueError, match="address"):
            is_public(text)


@pytest.mark.parametrize("network", SPECIAL)
def test_no_address_of_a_special_block_is_public(network: str) -> None:
    for address in edges(ipaddress.ip_network(network), outside=False):
        assert not is_public(str(address)), address


def test_nothing_is_public_that_this_python_calls_private() -> None:
    looser = [
        str(address)
        for address in many_addresses()
        if is_public(str(address)) and not public_to_python(address)
    ]
    assert not looser


def public_to_python(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address in TRANSLATED:
        return public_to_python(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    special = address.is_multicast or address.is_reserved or address.is_unspecified
    return address.is_global and not (special or address.is_private)


def many_addresses() -> Iterator[Address]:
    """The edges of all blocks that anybody lists, and thousands by chance."""
    own = (*networks._NOT_PUBLIC_V4, *networks._NOT_PUBLIC_V6, networks._UNICAST_V6)
    for network in (*own, *map(ipaddress.ip_network, SPECIAL), TRANSLATED):
        yield from edges(network, outside=True)
    chance = random.Random(6890)
    for _ in range(5_000):
        four = ipaddress.IPv4Address(chance.getrandbits(32))
        yield four
        yield TRANSLATED[int(four)]
        yield ipaddress.IPv6Address(chance.getrandbits(128))
        # Within 2000::/3, where all that is public is.
        yield ipaddress.IPv6Address(1 << 125 | chance.getrandbits(125))
        yield ipaddress.IPv6Address(0x2001 << 112 | chance.getrandbits(112))


def edges(
    network: ipaddress.IPv4Network | ipaddress.IPv6Network, *, outside: bool
) -> Iterator[Address]:
    first, last = network[0], network[-1]
    yield from (first, last, network[network.num_addresses // 2])
    if outside and int(first):
        yield first - 1
    if outside and int(last) != 2**first.max_prefixlen - 1:
        yield last + 1
