"""A stand-in for the hub on this machine: the answers that its clients ask for, from folders in its layout."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
API = re.compile(r"/api/(models|datasets)/([\w.-]+/[\w.-]+)(?:/(revision|tree|paths-info)/([^/?]+)(?:/(.*))?)?$")
FILE = re.compile(r"/(datasets/)?([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)$")


class Hub(BaseHTTPRequestHandler):
    """Answers for the folders ``<root>/models/<owner>/<name>`` and ``<root>/datasets/<owner>/<name>``."""

    root: Path
    asked: list[str]

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        """Information on a repository, or a file of it."""
        self.asked.append(f"{self.command} {self.path}")
        path, query = unquote(urlsplit(self.path).path), parse_qs(urlsplit(self.path).query)
        if found := API.match(path):
            kind, name, what, _, below = found.groups()
            folder = self.root / kind / name
            if not folder.is_dir():
                self.fail("RepoNotFound", "no such repository")
            elif what == "tree":
                self.answer(entries(folder, below or ""))
            elif what == "paths-info":
                asked = self.asked_paths()
                self.answer([one for one in entries(folder, "") if one["path"] in asked])
            else:
                self.answer(about(kind, name, folder, "blobs" in query))
        elif found := FILE.match(path):
            data, name, _, file = found.groups()
            place = self.root / ("datasets" if data else "models") / name / file
            if place.is_file():
                self.send(place.read_bytes(), "application/octet-stream")
            else:
                self.fail("EntryNotFound", "no such file")
        else:
            self.fail("RepoNotFound", "no such page")

    do_HEAD = do_POST = do_GET  # noqa: N815  (the names of the base)

    def asked_paths(self) -> list[str]:
        """The paths that a request names."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if self.headers.get("Content-Type", "").startswith("application/json"):
            return list(json.loads(body)["paths"])
        return parse_qs(body).get("paths", [])

    def answer(self, content: Any) -> None:
        """Send JSON."""
        self.send(json.dumps(content).encode(), "application/json")

    def send(self, body: bytes, kind: str) -> None:
        """Send a body with the hub's headers."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, code: str, reason: str) -> None:
        """Send an error."""
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", reason)
        self.send_header("Content-Length", "0")
        self.end_headers()


def about(kind: str, name: str, folder: Path, sizes: bool) -> dict[str, Any]:
    """The hub's description of a repository."""
    files: list[dict[str, Any]] = [{"rfilename": one["path"], "size": one["size"]} for one in entries(folder, "")]
    if not sizes:
        files = [{"rfilename": one["rfilename"]} for one in files]
    card = folder / "card.json"
    return {
        "_id": "1", "id": name, "sha": COMMIT, "private": False, "gated": False, "disabled": False, "downloads": 0,
        "likes": 0, "tags": [], "lastModified": "2024-01-01T00:00:00.000Z", "siblings": files,
        "cardData": json.loads(card.read_text()) if card.is_file() else {},
    } | ({"modelId": name} if kind == "models" else {})  # fmt: skip


def entries(folder: Path, below: str) -> list[dict[str, Any]]:
    """The files of a repository."""
    files = sorted(file for file in (folder / below).rglob("*") if file.is_file() and file.name != "card.json")
    return [
        {
            "type": "file", "path": str(file.relative_to(folder)), "size": file.stat().st_size,
            "oid": hashlib.sha1(file.read_bytes()).hexdigest(),
        }
        for file in files
    ]  # fmt: skip


@contextmanager
def serving(root: Path, kind: type[Hub] = Hub) -> Iterator[tuple[str, list[str]]]:
    """A hub of some folders, of some kind: its address, and the requests that it gets."""
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OwnHub", (kind,), {"root": root, "asked": asked}))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
