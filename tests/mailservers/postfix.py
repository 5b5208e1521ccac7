"""Postfix, with the services of its own distribution and none of them in a chroot."""

from __future__ import annotations

from collections.abc import Mapping

from tests.mailservers.cage import HOSTNAME, Cage
from tests.mailservers.debian import CHAIN, KEY, PORTS, Debian
from tests.mailservers.server import Security

MAIN = f"""
compatibility_level = 3.6
myhostname = {HOSTNAME}
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
maillog_file = /var/log/mail.log
smtpd_tls_chain_files = {KEY}, {CHAIN}
smtpd_tls_security_level = may
smtp_tls_security_level = none
alias_maps =
"""
IMPATIENT = """
maximal_queue_lifetime = 10s
bounce_queue_lifetime = 60s
delay_warning_time = 3s
queue_run_delay = 2s
minimal_backoff_time = 2s
maximal_backoff_time = 3s
virtual_alias_domains = lists.example
virtual_alias_maps = inline:{
 { team@lists.example = tina@shop.example, paul@shop.example }, { alias@lists.example = paul@shop.example } }
"""
SERVICES = f"""
{PORTS["none"]} inet n - n - - smtpd
{PORTS["starttls"]} inet n - n - - smtpd -o smtpd_tls_security_level=encrypt
{PORTS["tls"]} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
"""


class Postfix(Debian):
    name = "Postfix"
    packages = ("postfix",)
    users = ("postfix", "postdrop")

    def files(self, security: Security) -> Mapping[str, str]:
        return {"/etc/postfix/main.cf": MAIN}

    def set_up(self, inside: Cage) -> None:
        services = inside.path("/usr/share/postfix/master.cf.dist").read_text()
        lines = [
            line
            for line in services.splitlines()
            if not line.startswith("smtp      inet")
        ]
        unbound = [line.replace("       y       ", "       n       ") for line in lines]
        inside.path("/etc/postfix/master.cf").write_text("\n".join(unbound) + SERVICES)
        inside.run(
            "cp",
            "/usr/share/postfix/dynamicmaps.cf",
            "/usr/share/postfix/makedefs.out",
            "/etc/postfix",
        )
        # Its queues it makes itself as it starts.
        inside.run("chown", "postfix:postfix", "/var/lib/postfix")

    def begin(self, inside: Cage) -> None:
        inside.run("postfix", "start")


class BouncingPostfix(Postfix):
    """It gives a message up after seconds, tells of delays, and knows a list and an alias."""

    def files(self, security: Security) -> Mapping[str, str]:
        return {"/etc/postfix/main.cf": MAIN + IMPATIENT}


SERVERS = (Postfix(),)
