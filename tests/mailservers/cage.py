"""A server from Debian's packages in a root of its own, so that servers which displace one another can stand side by side.

The packages lie over this machine's root in an overlay (nothing is written outside of it), and the server has its own network,
process numbers and host name. All of it hangs on one process: when that ends, whether by us or because we ended, the kernel
ends the others and takes the mounts and the network away.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.mailservers.server import STOPPING_S, Missing, everything, once

TOOLS = ("unshare", "nsenter", "ip", "apt-get", "dpkg-deb")
# The server's address, and one that it does not take for its own.
HERE, FAR = "10.9.0.1", "10.9.0.2"
HOSTNAME = "mail.maple.example"
HOSTS = f"127.0.0.1 localhost\n127.0.1.1 {HOSTNAME} mail\n"
CLONE_NEWNET = 0x40000000
# Whoever has no address but loopback's looks up no addresses, says getaddrinfo (AI_ADDRCONFIG): hence mail0, which leads nowhere.
# $1: the unpacked packages, $2: files of ours, $3: an empty folder. The first process says what it is told, ends when nobody can
# tell it any more, and buries the others, which is what ignoring SIGCHLD does.
BEGIN = f"""
mount -t tmpfs -o mode=755 tmpfs "$3" && mkdir "$3/upper" "$3/work" "$3/root"
cp -a "$1/." "$3/upper/" && cp -a "$2/." "$3/upper/"
mount -t overlay overlay -o "lowerdir=/,upperdir=$3/upper,workdir=$3/work" "$3/root"
mount --rbind /dev "$3/root/dev" && mount -t proc proc "$3/root/proc"
mount -t tmpfs -o mode=755 tmpfs "$3/root/run" && mount -t tmpfs -o mode=1777 tmpfs "$3/root/tmp"
hostname {HOSTNAME}
ip link set lo up && ip route add local {FAR} dev lo
ip link add mail0 type veth peer name mail1 && ip addr add {HERE}/32 dev mail0 && ip link set mail0 up
exec chroot "$3/root" env --ignore-signal=CHLD cat
"""


def missing() -> str | None:
    """What a cage needs and is not here."""
    if os.geteuid() != 0:
        return "a root of its own needs the rights of root"
    absent = [
        tool
        for tool in TOOLS
        if shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None
    ]
    return (
        f"{', '.join(absent)}: not here (apt install util-linux iproute2 dpkg, on Debian)"
        if absent
        else None
    )


def unpack(folder: Path, packages: Sequence[str]) -> None:
    """Debian's packages and what they depend on that is not installed here, unpacked there, once. Raises Missing."""

    def make(making: Path) -> None:
        options = [
            "-o",
            "APT::Install-Recommends=0",
            "-o",
            "APT::Sandbox::User=root",
            "-qq",
        ]
        names = _needed(packages, options)
        with_files = making / "packages"
        with_files.mkdir()
        done = subprocess.run(
            ["apt-get", *options, "download", *names],
            cwd=with_files,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise Missing(
                f"{', '.join(packages)} cannot be fetched: {done.stderr.strip()[-300:]}"
            )
        for file in sorted(with_files.iterdir()):
            # Not `dpkg -x DIR`: a folder of the package that is a link here (/bin, /lib) would displace it.
            subprocess.run(["dpkg-deb", "-x", file, making / "root"], check=True)
        shutil.rmtree(with_files)
        for old in ("bin", "sbin", "lib"):
            if (making / "root" / old).is_dir():
                shutil.copytree(
                    making / "root" / old,
                    making / "root/usr" / old,
                    symlinks=True,
                    dirs_exist_ok=True,
                )
                shutil.rmtree(making / "root" / old)

    once(folder, make)


def _needed(packages: Sequence[str], options: Sequence[str]) -> list[str]:
    command = ["apt-get", *options, "-s", "install", *packages]
    for refresh in (False, True):
        if refresh:
            subprocess.run(
                ["apt-get", "update", "-qq"], check=False, capture_output=True
            )
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            more = {
                line.split()[1]
                for line in done.stdout.splitlines()
                if line.startswith("Inst ")
            }
            return sorted({*packages, *more})
    raise Missing(
        f"{', '.join(packages)} cannot be had from apt-get: {done.stderr.strip()[-300:]}"
    )


class Cage:
    """A running cage. `first` is the process that it hangs on."""

    def __init__(self, keeper: subprocess.Popen[bytes]) -> None:
        self._keeper = keeper
        self.first = int(
            Path(f"/proc/{keeper.pid}/task/{keeper.pid}/children")
            .read_text()
            .split()[0]
        )
        self.network = ("nsenter", f"--target={self.first}", "--net", "--")
        self._inside = (
            "nsenter",
            f"--target={self.first}",
            "--all",
            "--root",
            "--wd",
            "--",
        )

    def run(self, *command: str, check: bool = True) -> str:
        """Runs a command in it to its end, and gives what it printed. Raises RuntimeError with what it said."""
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LC_ALL": "C",
        }
        # A file, not a pipe: of a pipe a daemon would keep the other end.
        with tempfile.TemporaryFile() as said:
            done = subprocess.run(
                [*self._inside, *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                timeout=60,
            )
            said.seek(0)
            text = said.read().decode("utf-8", "replace")
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {text[-2000:]}")
        return text

    def begin(self, *command: str) -> None:
        """Begins a command in it that goes on (a daemon, in the foreground or not); what it says is in `/tmp/said`."""
        self.run(
            "sh", "-c", 'exec setsid "$@" </dev/null >>/tmp/said 2>&1 &', "sh", *command
        )

    def path(self, inside: str) -> Path:
        """A file of it, as seen from outside."""
        return Path(f"/proc/{self.first}/root{inside}")

    def connections(self) -> int:
        """How many TCP connections anybody in it has taken until now."""
        names, numbers = (
            line.split()
            for line in Path(f"/proc/{self.first}/net/snmp").read_text().splitlines()
            if line[:4] == "Tcp:"
        )
        return int(numbers[names.index("PassiveOpens")])

    def pids(self) -> list[int]:
        """All processes in it but the first, as seen from outside."""
        own = _space(self.first)
        return [pid for pid in everything() if pid != self.first and _space(pid) == own]

    def end_all(self, number: int) -> None:
        """Ends all processes in it but the first, at last by SIGKILL, and waits for that."""
        until = time.monotonic() + STOPPING_S
        while pids := self.pids():
            if time.monotonic() > until:
                number = signal.SIGKILL
            for pid in pids:
                for each in (number, signal.SIGCONT):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, each)
            time.sleep(0.1)

    @contextlib.contextmanager
    def within(self) -> Iterator[None]:
        """This thread's new sockets are in the cage's network meanwhile."""
        libc = ctypes.CDLL(None, use_errno=True)
        own = os.open(
            f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY
        )
        there = os.open(f"/proc/{self.first}/ns/net", os.O_RDONLY)
        try:
            if libc.setns(there, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            try:
                yield
            finally:
                if libc.setns(own, CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(own)
            os.close(there)


def _space(pid: int) -> str | None:
    """Which process numbers it lives among; None if it has ended."""
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return None


@contextlib.contextmanager
def cage(
    unpacked: Path, folder: Path, files: Mapping[str, str | bytes], users: Sequence[str]
) -> Iterator[Cage]:
    """A cage of these packages, with these files (by their path) and users, each with a group of its own."""
    ours, place = folder / "files", folder / "cage"
    place.mkdir()
    for name, content in {
        **files,
        **_accounts(users),
        "/etc/hosts": HOSTS,
        "/etc/resolv.conf": "nameserver 127.0.0.1\n",
    }.items():
        path = ours / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    kinds = (
        "--mount",
        "--net",
        "--pid",
        "--uts",
        "--ipc",
        "--fork",
        "--kill-child",
        "--mount-proc",
    )
    script: list[str | Path] = [
        "sh",
        "-e",
        "-c",
        BEGIN,
        "sh",
        unpacked / "root",
        ours,
        place,
    ]
    keeper = subprocess.Popen(
        ["unshare", *kinds, *script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert keeper.stdin and keeper.stdout and keeper.stderr
    try:
        with contextlib.suppress(BrokenPipeError):
            keeper.stdin.write(b"ready\n")
            keeper.stdin.flush()
        if keeper.stdout.readline() != b"ready\n":
            keeper.kill()
            raise Missing(
                f"no cage can be made here: {keeper.stderr.read().decode().strip()}"
            )
        yield Cage(keeper)
    finally:
        # Killing the keeper kills the first process, and with that all others.
        keeper.kill()
        keeper.communicate()


def _accounts(users: Sequence[str]) -> dict[str, str]:
    """This machine's accounts and these: numbers from 5001 on, as in the order given."""
    own = {
        name: [
            line
            for line in Path(f"/etc/{name}").read_text().splitlines()
            if line.split(":")[0] not in users
        ]
        for name in ("passwd", "group")
    }
    numbered = list(enumerate(users, 5001))
    passwd = [
        f"{user}:x:{number}:{number}::/home/{user}:/bin/sh" for number, user in numbered
    ]
    group = [f"{user}:x:{number}:" for number, user in numbered]
    return {
        "/etc/passwd": "\n".join([*own["passwd"], *passwd, ""]),
        "/etc/group": "\n".join([*own["group"], *group, ""]),
    }
