"""Who a visitor is: the address that connects or, where a trusted web server stands in
between, the one that it names."""

from __future__ import annotations

import ipaddress

from drip.errors import DripError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(text: str) -> tuple[Network, ...]:
    """Of `127.0.0.1, 10.0.0.0/8, fd00::/8`. Raises DripError."""
    return tuple(_network(each.strip()) for each in text.split(","))


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        help = "`--behind` takes addresses and networks with commas, as 127.0.0.1 or 10.0.0.0/8"
        raise DripError(f"`{text}` is no address of a web server.", help=help) from None


def plain(host: str) -> str:
    """`192.0.2.1` for the `::ffff:192.0.2.1` by which a socket for IPv6 names it (RFC
    4291, section 2.5.5.2)."""
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    return str(found.ipv4_mapped) if found.version == 6 and found.ipv4_mapped else host


def customer(host: str) -> str:
    """What floods are counted by: the address, and of IPv6 the network that one
    customer has (RFC 6177)."""
    try:
        found = ipaddress.ip_address(plain(host).partition("%")[0])
    except ValueError:
        return host
    return (
        str(ipaddress.ip_network((found, 64), strict=False))
        if found.version == 6
        else str(found)
    )
