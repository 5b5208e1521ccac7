"""Courier: the daemon that hands on, and one listener for each kind of connection."""

from __future__ import annotations

from collections.abc import Mapping

from tests.mailservers.cage import HOSTNAME, Cage
from tests.mailservers.debian import CHAIN, KEY, Debian
from tests.mailservers.server import Security

CERTIFICATE = "/etc/courier/esmtpd.pem"
# Which listens how: the last of a setting counts.
LISTENERS = {
    "esmtpd": "ADDRESS=127.0.0.1",
    "esmtpd-msa": "ADDRESS=127.0.0.1",
    "esmtpd-ssl": "SSLADDRESS=127.0.0.1",
}
OWNED = "chown -R courier:courier /var/lib/courier /run/courier && chown -R root:courier /etc/courier && chmod 770 /var/lib/courier/tmp"


class Courier(Debian):
    name = "Courier"
    packages = ("courier-mta", "courier-base", "courier-authdaemon")
    users = ("courier",)

    def files(self, security: Security) -> Mapping[str, str]:
        return {
            "/etc/courier/me": f"{HOSTNAME}\n",
            "/etc/courier/locals": f"{HOSTNAME}\n",
            "/etc/courier/defaultdomain": "maple.example\n",
            "/etc/courier/dsnfrom": f'"Courier" <@{HOSTNAME}>\n',
        }

    def set_up(self, inside: Cage) -> None:
        inside.run(
            "sh", "-c", f"cat {KEY} {CHAIN} > {CERTIFICATE} && chmod 640 {CERTIFICATE}"
        )
        for listener, setting in LISTENERS.items():
            inside.run("sh", "-c", f"echo {setting} >> /etc/courier/{listener}")
        inside.run(
            "mkdir",
            "-p",
            "/run/courier/authdaemon",
            "/etc/courier/aliasdir",
            "/etc/courier/smtpaccess",
        )
        inside.run("sh", "-c", OWNED)
        inside.run("ln", "-s", "makedat.courier", "/usr/bin/makedat")
        inside.run("makesmtpaccess")
        inside.run("makealiases")

    def begin(self, inside: Cage) -> None:
        for each in ("authdaemond", "courierfilter", "courier", *LISTENERS):
            inside.run(each, "start")


SERVERS = (Courier(),)
