"""aiosmtpd as an application would use it: port, notes and, where encrypted, the chain and the key."""

from __future__ import annotations

import asyncio
import ssl
import sys
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


class Notes:
    """Writes down who had a message before it is answered."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def add(self, line: str) -> None:
        with self._file.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if address.startswith("dead-"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        for to in envelope.rcpt_tos:
            self.add(to)
        return "250 2.0.0 taken"


def authenticator(
    server: Any, session: Any, envelope: Any, mechanism: str, login: Any
) -> AuthResult:
    return AuthResult(success=login == LoginPassword(b"user", b"right"), handled=False)


async def serve(port: int, notes: Notes, context: ssl.SSLContext | None) -> None:
    def session() -> SMTP:
        notes.add("session")
        options = (
            {"tls_context": context, "authenticator": authenticator} if context else {}
        )
        return SMTP(notes, hostname="mail.example", **options)

    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    port, notes, *pair = sys.argv[1:]
    context = None
    if pair:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*pair)
    asyncio.run(serve(int(port), Notes(Path(notes)), context))
