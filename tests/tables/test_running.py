from __future__ import annotations

from pathlib import Path

import pytest

from selectune.tables.grid import Cell
from selectune.tables.running import ATTEMPT, in_order, why_it_failed

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


def cells(folder: Path, *needs: str) -> list[Cell]:
    """Cells a, b, ... that each need a folder."""
    return [Cell("t", name, "none", 0, folder / name, {}, needs=(folder / need,)) for name, need in zip("abc", needs)]


def no_start(cell: Cell) -> int:
    raise AssertionError(f"{cell.name} must not begin")


def test_what_needs_something_that_nobody_makes_is_told_and_waits_for_nothing(tmp_path: Path) -> None:
    outcomes = list(in_order(cells(tmp_path, "warm_up", "a"), 2, lambda cell: None, no_start, lambda patience: ()))
    assert [outcome.failure for outcome in outcomes] == [
        f"it needs {tmp_path / 'warm_up'}, which is not there", "it needs a, which failed",
    ]  # fmt: skip


def test_a_cell_that_rests_on_a_warm_up_begins_beside_the_run_that_makes_it(tmp_path: Path) -> None:
    first = Cell("t", "fit", "none", 0, tmp_path / "fit", {})
    rival = Cell("t", "rival", "none", 0, tmp_path / "rival", {}, needs=(tmp_path / "fit" / "warm_up",))
    begun, looks = list[str](), list[float | None]()

    def start(cell: Cell) -> str:
        begun.append(cell.name)
        return cell.name

    def ended(patience: float | None) -> list[tuple[str, int]]:
        looks.append(patience)
        if begun == ["fit"]:
            (tmp_path / "fit" / "warm_up" / "export").mkdir(parents=True)
            return []
        return [(name, 1) for name in begun]

    outcomes = list(in_order([first, rival], 2, lambda cell: None, start, ended))
    assert begun == ["fit", "rival"]
    assert looks[0] is not None, "it looks again while the fit runs"
    assert looks[1] is None
    assert [outcome.cell.name for outcome in outcomes] == ["fit", "rival"]
