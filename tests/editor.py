"""The yaml-language-server that editors use, driven over its protocol (LSP, JSON-RPC on standard input and output)."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

ANSWER_S = 30.0


class Editor:
    """One server on one workspace, with the workspace's own editor settings."""

    def __init__(self, server: Path, root: Path) -> None:
        self._root = root
        self._process = subprocess.Popen(
            ["node", str(server), "--stdio"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._answers: dict[int, queue.Queue[Any]] = {}
        self._found: dict[str, queue.Queue[Any]] = {}
        self._number = 0
        threading.Thread(target=self._read, daemon=True).start()
        settings = json.loads((root / ".vscode" / "settings.json").read_text("utf-8"))
        schemas = {
            (root / name).as_uri(): pattern
            for name, pattern in settings["yaml.schemas"].items()
        }
        self._settings = {
            "validate": True,
            "completion": True,
            "schemas": schemas,
            "schemaStore": {"enable": False},
        }
        capabilities = {
            "workspace": {"configuration": True},
            "textDocument": {
                "completion": {"completionItem": {"snippetSupport": True}}
            },
        }
        folders = [{"uri": root.as_uri(), "name": "workspace"}]
        self.ask(
            "initialize",
            {
                "processId": None,
                "rootUri": root.as_uri(),
                "capabilities": capabilities,
                "workspaceFolders": folders,
            },
        )
        self._tell("initialized", {})
        self._tell(
            "workspace/didChangeConfiguration", {"settings": {"yaml": self._settings}}
        )
        # It says nothing of a wrong file until it has read the schemas.
        for n in range(100):
            if self.problems(f"campaigns/warm-up{n}.yaml", "nonsense: 1\n"):
                break
            time.sleep(0.2)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def problems(self, name: str, text: str) -> list[tuple[int, str]]:
        """What the editor underlines in a file with this text: lines, counted from 1, and sentences."""
        uri = (self._root / name).as_uri()
        self._found[uri] = queue.Queue()
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self._tell("textDocument/didOpen", {"textDocument": document})
        found = self._found[uri].get(timeout=ANSWER_S)
        self._tell("textDocument/didClose", {"textDocument": {"uri": uri}})
        return [(each["range"]["start"]["line"] + 1, each["message"]) for each in found]

    def completions(self, name: str, text: str) -> list[str]:
        """What the editor offers where the text says `|`."""
        uri = (self._root / name).as_uri()
        before = text[: text.index("|")]
        place = {
            "line": before.count("\n"),
            "character": len(before) - before.rfind("\n") - 1,
        }
        document = {
            "uri": uri,
            "languageId": "yaml",
            "version": 1,
            "text": text.replace("|", "", 1),
        }
        self._tell("textDocument/didOpen", {"textDocument": document})
        answer = self.ask(
            "textDocument/completion", {"textDocument": {"uri": uri}, "position": place}
        )
        self._tell("textDocument/didClose", {"textDocument": {"uri": uri}})
        return [each["label"] for each in answer["items"]]

    def ask(self, method: str, parameters: Any) -> Any:
        self._number += 1
        waiting = self._answers[self._number] = queue.Queue()
        self._send({"id": self._number, "method": method, "params": parameters})
        return waiting.get(timeout=ANSWER_S)

    def _tell(self, method: str, parameters: Any) -> None:
        self._send({"method": method, "params": parameters})

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout
        while header := self._process.stdout.readline():
            length = int(header.split(b":")[1])
            while self._process.stdout.readline().strip():
                pass
            # Whoever is ended while it writes leaves half of it.
            if len(body := self._process.stdout.read(length)) == length:
                self._take(json.loads(body))

    def _take(self, message: dict[str, Any]) -> None:
        method = message.get("method")
        if method is None:
            self._answers[message["id"]].put(message.get("result"))
        elif method == "workspace/configuration":
            wanted = [each.get("section") for each in message["params"]["items"]]
            self._send(
                {
                    "id": message["id"],
                    "result": [
                        self._settings if name == "yaml" else None for name in wanted
                    ],
                }
            )
        elif method == "textDocument/publishDiagnostics":
            waiting = self._found.get(message["params"]["uri"])
            if waiting is not None:
                waiting.put(message["params"]["diagnostics"])
        elif "id" in message:
            self._send({"id": message["id"], "result": None})
