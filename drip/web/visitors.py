"""Who a visitor is: the address that connects or, where a trusted web server stands in
between, the one that it names."""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from drip.errors import DripError

Network = IPv4Network | IPv6Network


def networks(text: str) -> tuple[Network, ...]:
    """Of `127.0.0.1, 10.0.0.0/8, fd00::/8`. Raises DripError."""
    return tuple(_network(part.strip()) for part in text.split(","))


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise DripError(
            f"`{text}` is no address of a web server.",
            help="`--behind` takes addresses and networks with commas, as 127.0.0.1 or "
            "10.0.0.0/8",
        ) from None


def plain(host: str) -> str:
    """`192.0.2.1` for the `::ffff:192.0.2.1` by which a socket for IPv6 names it (RFC
    4291, section 2.5.5.2)."""
    address = _address(host)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped) if mapped else host


def customer(host: str) -> str:
    """What floods are counted by: the address, and of IPv6 the network that one
    customer has (RFC 6177)."""
    address = _address(plain(host))
    if isinstance(address, IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address or host)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """Without its zone (`fe80::1%eth0`), which only this machine knows."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
