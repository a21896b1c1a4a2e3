"""The stand-in for the hub with uploads: repositories are made, and commits are written into its folders."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.hub import COMMIT, Hub

TOKEN = "hf_of_the_test"
LARGE = (".safetensors", ".parquet", ".arrow")
WRITES = re.compile(r"/api/(models|datasets)/([\w.-]+/[\w.-]+)/(preupload|commit)/main$")
BATCH = re.compile(r"/(datasets/)?[\w.-]+/[\w.-]+\.git/info/lfs/objects/batch$")


class UploadHub(Hub):
    """Takes what a user with the token sends; repositories of ``locked`` may not be written."""

    def do_POST(self) -> None:  # noqa: N802
        """Make a repository, take a commit, or say where a large file goes."""
        path = unquote(urlsplit(self.path).path)
        self.asked.append(f"{self.command} {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.refuse(401)
        elif path == "/api/repos/create":
            self.create(json.loads(body))
        elif path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif BATCH.match(path):
            self.answer({"transfer": "basic", "objects": [self.place_of(one) for one in json.loads(body)["objects"]]})
        elif found := WRITES.match(path):
            kind, name, what = found.groups()
            if what == "commit":
                self.commit(self.root / kind / name, [json.loads(line) for line in body.splitlines()])
            else:
                self.answer({"files": [_mode(one["path"]) for one in json.loads(body)["files"]]})
        else:
            self.fail("EntryNotFound", "no such page")

    def do_PUT(self) -> None:  # noqa: N802
        """Take a large file."""
        content = self.rfile.read(int(self.headers["Content-Length"]))
        assert hashlib.sha256(content).hexdigest() == self.path.rpartition("/")[2]
        large = self.root / "large"
        large.mkdir(exist_ok=True)
        (large / self.path.rpartition("/")[2]).write_bytes(content)
        self.answer({})

    def create(self, asked: dict[str, Any]) -> None:
        """Make a repository, and remember what was asked of it."""
        if asked["organization"] == "locked":
            self.refuse(403)
            return
        kind = f"{asked.get('type', 'model')}s"
        name = f"{asked['organization']}/{asked['name']}"
        (self.root / kind / name).mkdir(parents=True, exist_ok=True)
        (self.root / "created.json").write_text(json.dumps(asked))
        host = f"http://{self.headers['Host']}/" + ("datasets/" if kind == "datasets" else "")
        self.answer({"url": f"{host}{name}", "name": name})

    def place_of(self, one: dict[str, Any]) -> dict[str, Any]:
        """Where a large file goes."""
        return one | {"actions": {"upload": {"href": f"http://{self.headers['Host']}/large/{one['oid']}"}}}

    def commit(self, folder: Path, lines: list[dict[str, Any]]) -> None:
        """Write the files of a commit."""
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                content = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                content = (self.root / "large" / value["oid"]).read_bytes()
            else:
                continue
            (folder / value["path"]).parent.mkdir(parents=True, exist_ok=True)
            (folder / value["path"]).write_bytes(content)
        repository = folder.relative_to(self.root).as_posix().removeprefix("models/")
        address = f"http://{self.headers['Host']}/{repository}/commit/{COMMIT}"
        self.answer({"success": True, "commitOid": COMMIT, "commitUrl": address})

    def refuse(self, status: int) -> None:
        """Send an error of authorisation."""
        body = json.dumps({"error": "you may not do that"}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _mode(path: str) -> dict[str, Any]:
    return {
        "path": path,
        "uploadMode": "lfs" if path.endswith(LARGE) else "regular",
        "shouldIgnore": False,
        "oid": None,
    }
