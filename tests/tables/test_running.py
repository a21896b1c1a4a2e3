from __future__ import annotations

from pathlib import Path

import pytest

from selectune.tables.running import ATTEMPT, why_it_failed

LOGS = {
    "a mistake": ("error: There is no file a.csv; mend it.\n", "There is no file a.csv; mend it."),
    "a parser's": ("usage: x\nerror: Parser key 'a':\n  Not accepted\n", "Parser key 'a': Not accepted"),
    "a crash": ("Traceback:\n  File x\nValueError: no\n", "ValueError: no"),
    "nothing": ("", "it ended with code 1"),
}


@pytest.mark.parametrize("case", LOGS)
def test_the_last_attempt_says_why_it_failed(case: str, tmp_path: Path) -> None:
    text, told = LOGS[case]
    log = tmp_path / "log.txt"
    log.write_text(f"{ATTEMPT}noon\nerror: an older one\n{ATTEMPT}one\n{text}")
    assert why_it_failed(log, 1) == told


def test_a_signal_and_a_missing_log_are_told(tmp_path: Path) -> None:
    assert why_it_failed(tmp_path / "log.txt", -9) == "it was ended by SIGKILL"
    assert why_it_failed(tmp_path / "log.txt", 1) == "it ended with code 1"
