"""A page in headless Chromium: what it becomes there, what it writes to the console, and what it asks for."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason=f"none of {', '.join(NAMES)} is installed")
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--v=0",
)  # fmt: skip


@dataclass(frozen=True)
class Opened:
    """Outcome of loading a page.

    Args:
        dom: as the browser built it.
        console: its lines on the console.
        requests: what it asked for, beside itself.
    """

    dom: str
    console: list[str]
    requests: list[str]


def open_page(page: Path) -> Opened:
    """Open a file in a browser that has never run before."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        log = Path(folder) / "net.json"
        own = (f"--user-data-dir={folder}/profile", f"--log-net-log={log}", "--dump-dom")
        done = subprocess.run(
            [CHROMIUM, *OPTIONS, *own, page.resolve().as_uri()], capture_output=True, text=True, timeout=500
        )
        assert done.returncode == 0, done.stderr[-3000:]
        console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
        return Opened(done.stdout, console, _requests(json.loads(log.read_text())))


def _requests(log: dict) -> list[str]:
    """Addresses that the page asked for; what the browser asks for on its own has another site."""
    start = log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    asked = [event["params"] for event in log["events"] if event["type"] == start and "params" in event]
    return [params["url"] for params in asked if "site=file://" in str(params.get("site_for_cookies"))]
