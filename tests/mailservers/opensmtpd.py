"""OpenSMTPD, without encryption: Debian 12's (6.8.0p2, with OpenSSL 3.0) ends every handshake with an internal error."""

from __future__ import annotations

from collections.abc import Mapping

from tests.mailservers.cage import HOSTNAME, Cage
from tests.mailservers.debian import PORTS, Debian
from tests.mailservers.server import Security

CONFIGURATION = f"""
listen on lo inet4 port {PORTS["none"]} hostname {HOSTNAME}
action "onward" relay
match from any for any action "onward"
"""


class OpenSmtpd(Debian):
    name = "OpenSMTPD"
    packages = ("opensmtpd",)
    users = ("opensmtpd", "opensmtpq")
    securities = ("none",)
    log = "/tmp/said"

    def files(self, security: Security) -> Mapping[str, str]:
        return {"/etc/smtpd.conf": CONFIGURATION, "/etc/aliases": ""}

    def set_up(self, inside: Cage) -> None:
        inside.run("mkdir", "-p", "/var/spool/smtpd", "/var/empty")
        inside.run("chmod", "711", "/var/spool/smtpd")

    def begin(self, inside: Cage) -> None:
        inside.begin("smtpd", "-d")


SERVERS = (OpenSmtpd(),)
