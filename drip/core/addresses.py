"""Addresses as other machines take them."""

from __future__ import annotations

from functools import lru_cache

import idna


@lru_cache(1024)
def ascii_domain(address: str) -> str:
    """The address with its domain in letters of ASCII (RFC 5891), where it can be written so."""
    local, at, domain = address.rpartition("@")
    if domain.isascii():
        return address
    try:
        return f"{local}{at}{idna.encode(domain, uts46=True).decode()}"
    except idna.IDNAError:
        return address
