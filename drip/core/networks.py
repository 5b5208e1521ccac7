"""Which addresses are the internet's: everything that is not listed here as something
else.

The table is our own, since that of Python's `ipaddress` differs from one version to the
next (`2002:808:808::` is public to 3.11 and private to 3.13). It is the strictest:
blocks that a registry calls reachable are here too where what answers is the nearest
router and not somebody's server (anycast of PCP, TURN, AMT and AS112).

Sources: IANA's registries of special-purpose addresses of IPv4 and IPv6 (RFC 6890, RFC
8190) and of IPv6's global unicast addresses, and the RFC named beside each block.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_NOT_PUBLIC_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network: RFC 791, section 3.2
            "10.0.0.0/8",  # private use: RFC 1918
            "100.64.0.0/10",  # shared by a provider's customers: RFC 6598
            "127.0.0.0/8",  # this machine: RFC 1122, section 3.2.1.3
            "169.254.0.0/16",  # this link, metadata of clouds: RFC 3927
            "172.16.0.0/12",  # private use: RFC 1918
            "192.0.0.0/24",  # protocols, PCP and TURN by anycast: RFC 6890, 7723, 8155
            "192.0.2.0/24",  # documentation: RFC 5737
            "192.31.196.0/24",  # AS112: RFC 7535
            "192.52.193.0/24",  # AMT: RFC 7450
            "192.88.99.0/24",  # relays of 6to4, given up: RFC 7526
            "192.168.0.0/16",  # private use: RFC 1918
            "192.175.48.0/24",  # AS112: RFC 7534
            "198.18.0.0/15",  # measuring: RFC 2544
            "198.51.100.0/24",  # documentation: RFC 5737
            "203.0.113.0/24",  # documentation: RFC 5737
            "224.0.0.0/4",  # multicast: RFC 5771
            "240.0.0.0/4",  # reserved, and broadcast: RFC 1112, RFC 919
        ),
    )
)
# RFC 4291, section 2.4. All the others are this machine's (::1), a site's (fc00::/7,
# fec0::/10), a link's (fe80::/10), multicast (ff00::/8), IPv4 in disguise (::/96, and
# ::ffff:0:0/96 of section 2.5.5.2), or nobody's yet.
_UNICAST_V6 = IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    map(
        IPv6Network,
        (
            # Protocols, RFC 2928. Among them are Teredo, which holds IPv4 addresses
            # (2001::/32, RFC 4380), ORCHID (RFC 4843, 7343), and anycast of routers.
            "2001::/23",
            "2001:db8::/32",  # documentation: RFC 3849
            "2002::/16",  # 6to4, which holds an IPv4 address: RFC 3056
            "2620:4f:8000::/48",  # AS112: RFC 7534
            "3fff::/20",  # documentation: RFC 9637
        ),
    )
)
# NAT64: a network without IPv4 reaches all of it by these (RFC 6052, section 2.1). The
# prefix for a site's own translation, 64:ff9b:1::/48 (RFC 8215), stays inside.
_TRANSLATED = IPv6Network("64:ff9b::/96")
_LAST_32_BITS = (1 << 32) - 1


def is_public(address: str) -> bool:
    """Whether an address is one of the internet's; of `fe80::1%eth0` the zone is
    ignored.

    Raises ValueError for what is no address.
    """
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address) and found in _TRANSLATED:
        found = IPv4Address(int(found) & _LAST_32_BITS)
    if isinstance(found, IPv4Address):
        return not any(found in network for network in _NOT_PUBLIC_V4)
    special = any(found in network for network in _NOT_PUBLIC_V6)
    return found in _UNICAST_V6 and not special
