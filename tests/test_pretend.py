"""Runs the tests on the pretend accelerator in processes of their own.

Autograd counts the devices when a process first differentiates, and starts threads for them, after which it refuses to
work in a fork of that process.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY


@pytest.mark.parametrize("which", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_what_runs_on_an_accelerator_runs_on_the_pretend_one(which: str) -> None:
    command = [sys.executable, "-m", "pytest", "-m", f"pretend and {which}", "-p", "no:cacheprovider"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [*command, "tests/on_a_device", "tests/test_device_mode.py"],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert re.search(r"\b\d+ passed", done.stdout), done.stdout[-500:]
