"""sendmail, its configuration made by the macros that come with it."""

from __future__ import annotations

from collections.abc import Mapping

from tests.mailservers.cage import HOSTNAME, Cage
from tests.mailservers.debian import CHAIN, KEY, PORTS, Debian
from tests.mailservers.server import Security

MACROS = f"""divert(0)dnl
OSTYPE(`debian')dnl
DOMAIN(`debian-mta')dnl
define(`confDOMAIN_NAME', `{HOSTNAME}')dnl
define(`confSERVER_CERT', `{CHAIN}')dnl
define(`confSERVER_KEY', `{KEY}')dnl
define(`confCACERT', `{CHAIN}')dnl
define(`confCACERT_PATH', `/etc/mail-tls')dnl
define(`confDONT_BLAME_SENDMAIL', `GroupReadableKeyFile')dnl
define(`confTO_IDENT', `0')dnl
define(`confQUEUE_LA', `100')dnl
define(`confREFUSE_LA', `100')dnl
define(`confDONT_PROBE_INTERFACES', `True')dnl
define(`confBIND_OPTS', `-DNSRCH -DEFNAMES')dnl
undefine(`confHOST_STATUS_DIRECTORY')dnl
FEATURE(`no_default_msa')dnl
FEATURE(`accept_unresolvable_domains')dnl
FEATURE(`nocanonify')dnl
DAEMON_OPTIONS(`Family=inet, Name=MTA, Port={PORTS["none"]}, Addr=127.0.0.1')dnl
DAEMON_OPTIONS(`Family=inet, Name=MSA, Port={PORTS["starttls"]}, Addr=127.0.0.1')dnl
DAEMON_OPTIONS(`Family=inet, Name=SSA, Port={PORTS["tls"]}, Addr=127.0.0.1, M=s')dnl
MAILER_DEFINITIONS
MAILER(`local')dnl
MAILER(`smtp')dnl
"""
IMPATIENT = """define(`confTO_QUEUERETURN', `10s')dnl
define(`confTO_QUEUERETURN_DSN', `60s')dnl
define(`confTO_QUEUEWARN', `3s')dnl
define(`ALIAS_FILE', `/etc/mail/aliases')dnl
FEATURE(`use_cw_file')dnl
"""
PROGRAM = "/usr/libexec/sendmail/sendmail"


class Sendmail(Debian):
    name = "sendmail"
    packages = ("sendmail-bin", "sendmail-base", "sendmail-cf", "m4")
    users = ("smmta", "smmsp", "smmpa")

    def files(self, security: Security) -> Mapping[str, str]:
        return {
            "/etc/mail/bench.mc": MACROS,
            "/etc/mail/local-host-names": "",
            "/etc/mail/aliases": "",
            "/etc/mail/access": "",
        }

    def set_up(self, inside: Cage) -> None:
        made = inside.run(
            "m4",
            "-D_CF_DIR_=/usr/share/sendmail/cf/",
            "/usr/share/sendmail/cf/m4/cf.m4",
            "/etc/mail/bench.mc",
        )
        inside.path("/etc/mail/sendmail.cf").write_text(made)
        inside.run(
            "mkdir", "-p", "/var/spool/mqueue", "/var/lib/sendmail", "/run/sendmail/mta"
        )
        inside.run("chown", "smmta:smmsp", "/var/spool/mqueue", "/run/sendmail/mta")
        inside.run("chmod", "600", KEY)

    def begin(self, inside: Cage) -> None:
        inside.begin(PROGRAM, "-bD", "-q2s")


class BouncingSendmail(Sendmail):
    """It gives a message up after seconds, tells of delays, and knows a list and an alias."""

    def files(self, security: Security) -> Mapping[str, str]:
        return {
            **super().files(security),
            "/etc/mail/bench.mc": MACROS.replace(
                "FEATURE(`no_default_msa", f"{IMPATIENT}FEATURE(`no_default_msa"
            ),
            "/etc/mail/local-host-names": "lists.example\n",
            "/etc/mail/aliases": "team: tina@shop.example, paul@shop.example\nalias: paul@shop.example\n",
        }

    def set_up(self, inside: Cage) -> None:
        super().set_up(inside)
        inside.run(PROGRAM, "-bi")


SERVERS = (Sendmail(),)
