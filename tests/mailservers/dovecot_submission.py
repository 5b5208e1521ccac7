"""Dovecot's submission service, which stands before a mail server and hands everything on to that at once."""

from __future__ import annotations

from collections.abc import Mapping

from tests.mailservers.cage import FAR, HOSTNAME, Cage
from tests.mailservers.debian import CHAIN, KEY, PORTS, Debian
from tests.mailservers.server import Security

USER, PASSWORD = "maple", "right"
CONFIGURATION = f"""
protocols = submission
listen = 127.0.0.1
hostname = {HOSTNAME}
log_path = /var/log/mail.log
ssl = yes
ssl_cert = <{CHAIN}
ssl_key = <{KEY}
disable_plaintext_auth = no
mail_location = maildir:/var/mail/%u
first_valid_uid = 1
submission_relay_host = {FAR}
submission_relay_port = 25
service submission-login {{
  inet_listener submission {{
    port = {PORTS["starttls"]}
  }}
  inet_listener plain {{
    port = {PORTS["none"]}
  }}
  inet_listener submissions {{
    port = {PORTS["tls"]}
    ssl = yes
  }}
}}
passdb {{
  driver = static
  args = password={PASSWORD}
}}
userdb {{
  driver = static
  args = uid=dovecot gid=dovecot home=/var/mail
}}
"""


class DovecotSubmission(Debian):
    name = "Dovecot submission"
    packages = ("dovecot-submissiond", "dovecot-core")
    users = ("dovecot", "dovenull")
    login = (USER, PASSWORD)

    def files(self, security: Security) -> Mapping[str, str]:
        return {"/etc/dovecot/dovecot.conf": CONFIGURATION}

    def begin(self, inside: Cage) -> None:
        inside.run("dovecot")


SERVERS = (DovecotSubmission(),)
