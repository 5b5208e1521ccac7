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
# The first action that matches counts, so what is said before is for the lists' domain alone.
IMPATIENT = """
queue ttl 10s
bounce warn-interval 3s
table lists file:/etc/lists
action "lists" maildir virtual <lists>
match from any for domain "lists.example" action "lists"
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


class BouncingOpenSmtpd(OpenSmtpd):
    """It gives a message up after seconds, tells of delays, and knows a list and an alias."""

    def files(self, security: Security) -> Mapping[str, str]:
        return {
            **super().files(security),
            "/etc/smtpd.conf": IMPATIENT + CONFIGURATION,
            "/etc/lists": "team@lists.example tina@shop.example,paul@shop.example\nalias@lists.example paul@shop.example\n",
        }


SERVERS = (OpenSmtpd(),)
