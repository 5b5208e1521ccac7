"""How often passwords may be tried, so that guessing is slow and nobody is kept out by
somebody else.

A browser that an operator has logged in with keeps a second cookie, which says so for
three months. Its tries are counted by themselves: whatever others do, from however many
addresses, it can log in. All other tries share what is left for strangers.
"""

from __future__ import annotations

import hmac
import secrets
from functools import partial

from drip.core.clock import Stopwatch
from drip.storage.operating.operators import Operator
from drip.web.guard import Limit

COOKIE = "drip_device"
# Three months.
LASTS_S = 90 * 86_400
# In a minute. As one operator, from one address or known browser.
AS_ONE = 10
# From one address, as whomever.
FROM_ONE = 20
# Of all strangers together: guessing from many addresses is as slow.
OF_STRANGERS = 30
# Lines of the log about it.
SAID = 10


class Tries:
    """Counts them, in one process. `passed_s` is a stopwatch."""

    def __init__(self, passed_s: Stopwatch) -> None:
        per_minute = partial(Limit, in_s=60, passed_s=passed_s)
        self._as_one = per_minute(AS_ONE)
        self._from_one = per_minute(FROM_ONE)
        self._of_strangers = per_minute(OF_STRANGERS)
        self._said = per_minute(SAID)

    def may(
        self,
        name: str,
        address: str,
        browser: str | None,
    ) -> bool:
        """Whether a password may be tried as `name`; `browser` is one that the operator
        is known by."""
        if browser is not None:
            return self._as_one.spend(f"{browser}\0{name}")
        return self._may_from_anywhere(name, address)

    def _may_from_anywhere(self, name: str, address: str) -> bool:
        # The narrowest first: what is refused there takes nothing away from others.
        return (
            self._as_one.spend(f"{address}\0{name}")
            and self._from_one.spend(address)
            and self._of_strangers.spend("")
        )

    def may_be_said(self) -> bool:
        """Whether the log has a refusal: whoever floods the page does not flood it."""
        return self._said.spend("")


def known_browser(operator: Operator | None, cookie: str) -> str | None:
    """The browser's number, if this operator has logged in with it and has had the same
    password since."""
    if operator is None:
        return None
    number, _, proof = cookie[:200].partition(".")
    return number if _is_proven(operator, number, proof) else None


def _is_proven(operator: Operator, number: str, proof: str) -> bool:
    own = _proof(operator, number)
    return hmac.compare_digest(proof.encode(), own.encode())


def cookie_for(operator: Operator) -> str:
    """What a browser keeps: a number, and what only we can have worked out of it and
    the hash of the password."""
    number = secrets.token_urlsafe(16)
    return f"{number}.{_proof(operator, number)}"


def _proof(operator: Operator, number: str) -> str:
    """A new password has a new hash: it ends what browsers have of the old one."""
    about = f"drip.device/{number}"
    return hmac.digest(operator.password.encode(), about.encode(), "sha256").hex()
