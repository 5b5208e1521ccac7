"""chasquid, which hands mail on only for those who log in, and lets nobody log in without encryption."""

from __future__ import annotations

from collections.abc import Mapping

from tests.mailservers.cage import HOSTNAME, Cage
from tests.mailservers.debian import CHAIN, KEY, PORTS, Debian
from tests.mailservers.server import Security

CONFIGURATION = f"""
hostname: "{HOSTNAME}"
submission_address: "127.0.0.1:{PORTS["starttls"]}"
submission_over_tls_address: "127.0.0.1:{PORTS["tls"]}"
mail_log_path: "<stderr>"
"""


class Chasquid(Debian):
    name = "chasquid"
    packages = ("chasquid",)
    users = ("chasquid",)
    securities = ("starttls", "tls")
    login = ("maple@maple.example", "right")
    log = "/tmp/said"

    def files(self, security: Security) -> Mapping[str, str]:
        return {"/etc/chasquid/chasquid.conf": CONFIGURATION}

    def set_up(self, inside: Cage) -> None:
        place = f"/etc/chasquid/certs/{HOSTNAME}"
        inside.run(
            "mkdir",
            "-p",
            place,
            "/etc/chasquid/domains/maple.example",
            "/var/lib/chasquid",
        )
        inside.run("cp", CHAIN, f"{place}/fullchain.pem")
        inside.run("cp", KEY, f"{place}/privkey.pem")
        user, password = self.login
        inside.run("chasquid-util", "user-add", user, f"--password={password}")
        inside.run(
            "chown", "-R", "chasquid:chasquid", "/etc/chasquid", "/var/lib/chasquid"
        )

    def begin(self, inside: Cage) -> None:
        inside.begin(
            "setpriv",
            "--reuid=chasquid",
            "--regid=chasquid",
            "--clear-groups",
            "--inh-caps=+net_bind_service",
            "--ambient-caps=+net_bind_service",
            "chasquid",
        )


SERVERS = (Chasquid(),)
