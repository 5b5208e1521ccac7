"""A real IMAP server (Dovecot) of the tests' own, in a temporary folder, with one mailbox."""

from __future__ import annotations

import contextlib
import getpass
import grp
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PASSWORD = "right"


def program() -> str | None:
    """Dovecot's program; None if it is not here."""
    return shutil.which("dovecot") or next(
        (path for path in ("/usr/sbin/dovecot",) if Path(path).exists()), None
    )


@dataclass(frozen=True, slots=True)
class ImapServer:
    """A running server: put mails into `mailbox/new`."""

    port: int
    mailbox: Path


@contextlib.contextmanager
def imap_server() -> Iterator[ImapServer]:
    """A server that runs meanwhile, without encryption."""
    dovecot = program()
    assert dovecot is not None
    folder = Path(tempfile.mkdtemp(prefix="drip-imap-"))
    folder.chmod(0o755)
    # It refuses to have people log in to a process of root's.
    root = os.geteuid() == 0
    user = "dovecot" if root else getpass.getuser()
    group = "dovecot" if root else grp.getgrgid(os.getgid()).gr_name
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mailbox = folder / "mail"
    for name in ("new", "cur", "tmp"):
        (mailbox / name).mkdir(parents=True)
    owner = (os.getuid(), os.getgid())
    if root:
        # Nor does it open a mailbox of root's.
        found = pwd.getpwnam("dovecot")
        owner = (found.pw_uid, found.pw_gid)
        for path in (mailbox, *mailbox.iterdir()):
            os.chown(path, *owner)
    config = folder / "dovecot.conf"
    config.write_text(f"""
protocols = imap
listen = 127.0.0.1
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
ssl = no
disable_plaintext_auth = no
mail_location = maildir:{mailbox}
first_valid_uid = 1
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {"dovenull" if root else user}
passdb {{
  driver = static
  args = password={PASSWORD}
}}
userdb {{
  driver = static
  args = uid={owner[0]} gid={owner[1]} home={mailbox}
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
""")
    running = subprocess.Popen(
        [dovecot, "-F", "-c", str(config)], stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(port)
        yield ImapServer(port, mailbox)
    finally:
        running.terminate()
        running.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(port: int) -> None:
    until = time.monotonic() + 10
    while True:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), timeout=1) as connection,
        ):
            if connection.recv(100).startswith(b"* OK"):
                return
        assert time.monotonic() < until, "Dovecot does not start"
        time.sleep(0.05)
