"""A small name server on loopback, for those who look up where mail goes."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

# The names there are, and their records as a zone file has them: `{"shop.example": ["MX 10 mx.shop.example."]}`.
Zone = Mapping[str, Sequence[str]]
TTL_S = 60


class _Names(socketserver.ThreadingUDPServer):
    daemon_threads = True
    zone: Zone


class _Question(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        data, socket = self.request
        socket.sendto(
            answered(dns.message.from_wire(data), self.server.zone).to_wire(),
            self.client_address,
        )  # type: ignore[attr-defined]


def answered(query: dns.message.Message, zone: Zone) -> dns.message.Message:
    """What the zone says; a name it does not have (nor anything below it) does not exist."""
    found = dns.message.make_response(query, recursion_available=True)
    found.flags |= dns.flags.AA
    (asked,) = query.question
    name = asked.name.to_text(omit_final_dot=True).lower()
    if name not in zone and not any(known.endswith(f".{name}") for known in zone):
        found.set_rcode(dns.rcode.NXDOMAIN)
        return found
    kind = dns.rdatatype.to_text(asked.rdtype)
    values = [
        value.partition(" ")[2]
        for value in zone.get(name, ())
        if value.partition(" ")[0] == kind
    ]
    if values:
        found.answer.append(dns.rrset.from_text(asked.name, TTL_S, "IN", kind, *values))
    return found


@contextlib.contextmanager
def name_server(
    zone: Zone, within: AbstractContextManager[None] | None = None
) -> Iterator[None]:
    """Answers at 127.0.0.1 port 53 of the network that one is `within` as it begins to."""
    with within or nullcontext():
        server = _Names(("127.0.0.1", 53), _Question)
    server.zone = zone
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    ).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
