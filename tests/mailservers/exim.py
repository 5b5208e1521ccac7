"""Exim, the light daemon, with a configuration of its own in place of Debian's many files."""

from __future__ import annotations

import signal
from collections.abc import Mapping

from tests.mailservers.cage import HOSTNAME, Cage
from tests.mailservers.debian import CHAIN, KEY, PORTS, Debian
from tests.mailservers.server import Security

# More than ten messages of one connection would wait for the queue runner.
CONFIGURATION = f"""
primary_hostname = {HOSTNAME}
daemon_smtp_ports = {PORTS["none"]} : {PORTS["starttls"]} : {PORTS["tls"]}
tls_on_connect_ports = {PORTS["tls"]}
local_interfaces = 127.0.0.1
tls_certificate = {CHAIN}
tls_privatekey = {KEY}
tls_advertise_hosts = *
disable_ipv6
smtp_accept_max = 100
smtp_accept_queue_per_connection = 0
acl_smtp_rcpt = accept
acl_smtp_data = accept
host_lookup =
rfc1413_query_timeout = 0s
remote_max_parallel = 4
log_selector = +smtp_connection

begin routers
remote:
  driver = dnslookup
  transport = smtp

begin transports
smtp:
  driver = smtp
  hosts_avoid_tls = *

begin retry
* * F,2h,5s
"""
LISTS = """
lists:
  driver = redirect
  domains = lists.example
  data = ${lookup{$local_part}lsearch{/etc/exim4/lists}}
"""


class Exim(Debian):
    name = "Exim"
    packages = ("exim4-daemon-light", "exim4-base")
    users = ("Debian-exim",)
    log = "/var/log/exim4/mainlog"
    # Ended by SIGTERM in the middle 4.96 lost 5 of 1,207 messages for which it had said 250, ended by SIGKILL none.
    stopped_by = signal.SIGKILL

    def files(self, security: Security) -> Mapping[str, str]:
        return {"/etc/exim4/exim4.conf": CONFIGURATION}

    def set_up(self, inside: Cage) -> None:
        inside.run("mkdir", "-p", "/var/spool/exim4", "/var/log/exim4")
        inside.run(
            "chown",
            "-R",
            "Debian-exim:Debian-exim",
            "/var/spool/exim4",
            "/var/log/exim4",
        )
        inside.run("chgrp", "-R", "Debian-exim", "/etc/mail-tls")
        inside.run("chmod", "-R", "g+rX", "/etc/mail-tls")

    def begin(self, inside: Cage) -> None:
        inside.run("exim4", "-bd", "-q2s")


class BouncingExim(Exim):
    """It gives a message up after seconds, tells of delays, and knows a list and an alias."""

    def files(self, security: Security) -> Mapping[str, str]:
        patient = CONFIGURATION.replace(
            "begin routers\n", f"delay_warning = 3s\n\nbegin routers\n{LISTS}"
        )
        return {
            "/etc/exim4/exim4.conf": patient.replace("* * F,2h,5s", "* * F,10s,2s"),
            "/etc/exim4/lists": "team: tina@shop.example, paul@shop.example\nalias: paul@shop.example\n",
        }


SERVERS = (Exim(),)
