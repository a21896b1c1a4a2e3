"""The terminal's output is that of `tests/golden/terminal.txt`; what depends on the machine is masked.

After a change that is meant: ``REWRITE_GOLDEN=1 python -m pytest tests/test_terminal.py``, then look at the difference.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from tests.conftest import REPOSITORY, Cli

GOLDEN = REPOSITORY / "tests" / "golden" / "terminal.txt"
VERBS = ("test", "validate")
MASKS = (
    (r"(?m)^.*[0-9a-f]{40}.*\n", ""),  # the warning of a checkout with changes
    (r" *[\d,.]+\s(ms|s|min|h)\b", " <time>"),
    (r" *[\d,.]+\s[MG]B\b", " <memory>"),
    (r"((?:test|val)/loss: )\S+", r"\1<metric>"),
    (r"(of the FLOPs).* device time .*", r"\1 <and the device time>"),
    (r"(fewer FLOPs than training on all rows) and [^,;]* device time", r"\1 <and the device time>"),
    (r"\d{8}-\d{6}", "<time>"),
    (r"─+", "─"),
    (r"(?m) +$", ""),
    (r"(?<=\S) {2,}", "  "),  # the columns are as wide as their times
    (r"(?m)^(Run|Report): /\S+/shared/", r"\1: <folder>/"),
    (r"\n{3,}", "\n\n"),
)


def test_the_output_is_the_golden_one(
    finished: Path, arguments: list[str], selecting: list[str], cli: Cli, tmp_path: Path
) -> None:
    wide = {"COLUMNS": "1000"}
    shutil.copytree(finished.parent / "cache", tmp_path / "cache")
    again = shutil.copytree(finished, tmp_path / "again")
    dry_run = cli("select", *selecting, "--dry_run", **wide)
    # with the speed of a device given, no sentence depends on this machine's
    estimate = cli("estimate", *selecting, "--device_flops", "1e6", "--utilisation", "0.5", **wide)
    report = cli("report", finished, again, **wide)
    evaluations = {verb: cli(verb, "--config", again / "config.yaml", "--output", again, **wide) for verb in VERBS}
    mistake = cli("fit", *arguments, "--data.selector", "IGSE", "--data.keep", "1.5", code=2, **wide)
    outputs = {
        "fit": (finished.parent / "stdout.txt").read_text(),
        "select --dry_run": dry_run.stdout,
        "estimate": estimate.stdout,
        "report RUN RUN": report.stdout,
        **{verb: done.stdout for verb, done in evaluations.items()},
        "fit with a mistake": mistake.stdout + mistake.stderr.partition("Seed set to 0\n")[2],
    }
    text = "\n".join(f"$ {command}\n{output.strip()}\n" for command, output in outputs.items())
    for pattern, mask in MASKS:
        text = re.sub(pattern, mask, text)
    if os.environ.get("REWRITE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()
