"""How servers that are Java libraries are fetched (Maven), built with a program of our own, and started."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509 import load_pem_x509_certificates

from tests.mailservers.loopback import PROGRAMS, fetch
from tests.mailservers.server import Certificate

TOOLS = ("mvn", "javac", "java")
# Java's stores of keys want one.
STORE_PASSWORD = "bench-store"
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>bench</groupId><artifactId>bench</artifactId><version>1</version>
<dependencies><dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency></dependencies>
</project>"""


def build(folder: Path, coordinates: tuple[str, str, str], program: str) -> None:
    """Fetches what the group, artifact and version name, with all that it needs, and compiles the program beside it."""
    (folder / "pom.xml").write_text(POM.format(*coordinates), "utf-8")
    fetch(
        [
            "mvn",
            "--batch-mode",
            "--quiet",
            "dependency:copy-dependencies",
            "-DoutputDirectory=lib",
        ],
        folder,
    )
    fetch(["javac", "-cp", "lib/*", "-d", "lib", PROGRAMS / f"{program}.java"], folder)


def command(home: Path, program: str, *properties: str) -> list[str | Path]:
    """How to start what was built."""
    return [
        "java",
        "-Xmx256m",
        *properties,
        "-cp",
        f"{home / 'lib'}:{home / 'lib'}/*",
        program,
    ]


def key_store(shown: Certificate, folder: Path) -> Path:
    """The certificate and its key as Java wants them."""
    store = folder / "keys.p12"
    key = load_pem_private_key(shown.key.read_bytes(), None)
    certificate, *others = load_pem_x509_certificates(shown.chain.read_bytes())
    encryption = BestAvailableEncryption(STORE_PASSWORD.encode())
    store.write_bytes(
        pkcs12.serialize_key_and_certificates(
            b"bench", key, certificate, others, encryption
        )
    )  # type: ignore[arg-type]
    return store
