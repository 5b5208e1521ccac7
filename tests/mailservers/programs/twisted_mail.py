"""Twisted's mail server as an application would use it: port, notes and, where encrypted, the chain and the key."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.cred.checkers import (
    AllowAnonymousAccess,
    InMemoryUsernamePasswordDatabaseDontUse,
)
from twisted.cred.portal import IRealm, Portal
from twisted.internet import defer, endpoints, protocol, reactor, ssl
from twisted.mail import smtp
from twisted.mail.imap4 import LOGINCredentials, PLAINCredentials
from zope.interface import implementer


def note(line: str) -> None:
    with Path(sys.argv[2]).open("a", encoding="utf-8") as notes:
        notes.write(f"{line}\n")


@implementer(smtp.IMessage)
class Message:
    """Writes down who had it before it is answered."""

    def __init__(self, to: str) -> None:
        self._to = to

    def lineReceived(self, line: bytes) -> None:  # noqa: N802 - Twisted's name
        """Whatever it says."""

    def eomReceived(self) -> defer.Deferred[None]:  # noqa: N802 - Twisted's name
        note(self._to)
        return defer.succeed(None)

    def connectionLost(self) -> None:  # noqa: N802 - Twisted's name
        """Nothing has been written yet."""


@implementer(smtp.IMessageDelivery)
class Delivery:
    def receivedHeader(self, helo: object, origin: object, recipients: object) -> None:  # noqa: N802 - Twisted's name
        """None is wanted."""

    def validateFrom(self, helo: object, origin: smtp.Address) -> smtp.Address:  # noqa: N802 - Twisted's name
        return origin

    def validateTo(self, user: smtp.User) -> Callable[[], Message]:  # noqa: N802 - Twisted's name
        to = str(user.dest)
        if to.startswith("dead-"):
            raise smtp.SMTPBadRcpt(user)
        return lambda: Message(to)


@implementer(IRealm)
class Realm:
    def requestAvatar(self, who: object, mind: object, *interfaces: object) -> Any:  # noqa: N802 - Twisted's name
        return smtp.IMessageDelivery, Delivery(), lambda: None


class Factory(smtp.SMTPFactory):
    protocol = smtp.ESMTP

    def __init__(self, portal: Portal, context: Any) -> None:
        super().__init__(portal)
        self._context = context

    def buildProtocol(self, address: Any) -> protocol.Protocol:  # noqa: N802 - Twisted's name
        note("session")
        made = super().buildProtocol(address)
        made.ctx = self._context
        if self._context:
            made.challengers = {b"PLAIN": PLAINCredentials, b"LOGIN": LOGINCredentials}
        return made


if __name__ == "__main__":
    port, _, *pair = sys.argv[1:]
    context = ssl.DefaultOpenSSLContextFactory(pair[1], pair[0]) if pair else None
    checkers = [
        AllowAnonymousAccess(),
        InMemoryUsernamePasswordDatabaseDontUse(user=b"right"),
    ]
    factory = Factory(Portal(Realm(), checkers), context)
    endpoints.TCP4ServerEndpoint(reactor, int(port), interface="127.0.0.1").listen(
        factory
    )
    reactor.run()
