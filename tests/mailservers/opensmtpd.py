"""OpenSMTPD."""

from __future__ import annotations

from collections.abc import Mapping

from tests.mailservers.cage import HOSTNAME, Cage
from tests.mailservers.debian import CHAIN, KEY, PORTS, Debian
from tests.mailservers.server import Security

CONFIGURATION = f"""
pki mail cert "{CHAIN}"
pki mail key "{KEY}"
listen on lo inet4 port {PORTS["none"]} hostname {HOSTNAME}
listen on lo inet4 port {PORTS["starttls"]} tls-require pki mail hostname {HOSTNAME}
listen on lo inet4 port {PORTS["tls"]} smtps pki mail hostname {HOSTNAME}
action "onward" relay
match from any for any action "onward"
"""


class OpenSmtpd(Debian):
    name = "OpenSMTPD"
    packages = ("opensmtpd",)
    users = ("opensmtpd", "opensmtpq")
    connected = r" smtp connected address="
    log = "/tmp/said"

    def files(self, security: Security) -> Mapping[str, str]:
        return {"/etc/smtpd.conf": CONFIGURATION, "/etc/aliases": ""}

    def set_up(self, inside: Cage) -> None:
        inside.run("mkdir", "-p", "/var/spool/smtpd", "/var/empty")
        inside.run("chmod", "711", "/var/spool/smtpd")
        inside.run("chmod", "600", KEY)

    def begin(self, inside: Cage) -> None:
        inside.begin("smtpd", "-d")


SERVERS = (OpenSmtpd(),)
