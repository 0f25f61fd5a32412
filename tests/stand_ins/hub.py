"""A stand-in for the Hugging Face Hub: serves a folder of data set repositories over local HTTP.

It answers the requests that ``datasets.load_dataset`` makes for a data set of Parquet files whose
README names the configurations, so that the real download and cache code runs without a network.
"""

import hashlib
import http.server
import json
import socket
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def require_loopback() -> None:
    """Skip the calling test where even 127.0.0.1 is cut off (``unshare -n``)."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        try:
            socket.create_connection(server.getsockname(), timeout=5).close()
        except OSError as error:
            pytest.skip(f"no loopback network for a local server: {error.strerror}")


class HubStandIn:
    """Serves ``root/<owner>/<name>/...``; use as a context manager and set HF_ENDPOINT to ``endpoint``."""

    def __init__(self, root: Path) -> None:
        root = root.resolve()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(body=True)

            def do_HEAD(self) -> None:
                self._answer(body=False)

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                self._answer(body=True, asked=self.rfile.read(length))

            def log_message(self, format: str, *args: object) -> None:
                return

            def _answer(self, body: bool, asked: bytes = b"") -> None:
                parts = unquote(urlsplit(self.path).path).strip("/").split("/")
                if parts[:1] == ["datasets"] and parts[3:4] == ["resolve"]:
                    self._file(root.joinpath(*parts[1:3], *parts[5:]), body)
                elif parts[:2] == ["api", "datasets"] and (repository := root.joinpath(*parts[2:4])).is_dir():
                    self._interface(repository, parts[4:], asked)
                else:
                    self._missing("RepoNotFound")

            def _interface(self, repository: Path, call: list[str], asked: bytes) -> None:
                everything = sorted(repository.rglob("*"))
                if call[:1] == ["tree"]:
                    folder = repository.joinpath(*call[2:])
                    if not folder.is_dir():
                        return self._missing("EntryNotFound")
                    deep = "recursive=true" in self.path.lower()
                    inside = sorted(folder.rglob("*") if deep else folder.iterdir())
                    return self._json([self._entry(repository, path) for path in inside])
                if call[:1] == ["paths-info"]:
                    wanted = json.loads(asked)["paths"]
                    entries = [self._entry(repository, path) for path in everything]
                    return self._json([entry for entry in entries if entry["path"] in wanted])
                name = "/".join(repository.parts[-2:])
                siblings = [{"rfilename": path.relative_to(repository).as_posix()} for path in everything]
                return self._json({"id": name, "sha": COMMIT, "private": False, "siblings": siblings})

            def _entry(self, repository: Path, path: Path) -> dict[str, object]:
                name = path.relative_to(repository).as_posix()
                if path.is_dir():
                    return {"type": "directory", "path": name, "size": 0, "oid": COMMIT}
                content = path.read_bytes()
                return {
                    "type": "file",
                    "path": name,
                    "size": len(content),
                    "oid": hashlib.sha1(content).hexdigest(),
                }

            def _file(self, path: Path, body: bool) -> None:
                if not path.is_file():
                    return self._missing("EntryNotFound")
                content = path.read_bytes()
                headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
                self._send(200, content, headers, body)

            def _json(self, value: object) -> None:
                self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"}, True)

            def _missing(self, code: str) -> None:
                self._send(
                    404, b"{}", {"X-Error-Code": code, "X-Repo-Commit": COMMIT}, self.command != "HEAD"
                )

            def _send(self, status: int, content: bytes, headers: dict[str, str], body: bool) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if body:
                    self.wfile.write(content)

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "HubStandIn":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
