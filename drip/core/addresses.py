"""Addresses as other machines take them."""

from __future__ import annotations

from functools import lru_cache

import idna


def ascii_domain(address: str) -> str:
    """The address with its domain in letters of ASCII (RFC 5891, section 4).

    As it is where the domain cannot be written so.
    """
    local, at, domain = address.rpartition("@")
    return address if domain.isascii() else f"{local}{at}{_in_ascii(domain)}"


@lru_cache(1024)
def _in_ascii(domain: str) -> str:
    try:
        return idna.encode(domain, uts46=True).decode()
    except idna.IDNAError:
        return domain
