"""``python main.py report RUN [RUN ...]``: the page of a run, or one that compares several; it needs no model."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from selectune.common.errors import UserError
from selectune.common.parser_errors import VerbParser
from selectune.common.run_files import RunFiles
from selectune.report.comparison import write_comparison
from selectune.report.page import write_report

DESCRIPTION = "Write the page of a run, or one that compares several runs."


def main(args: list[str]) -> int:
    """Write the page that is asked for, and print its path. Returns the exit code, 0.

    Raises:
        UserError: a run is missing, damaged or named twice, or the page cannot be written there.
    """
    parser = VerbParser("report", description=DESCRIPTION)
    parser.add_argument("runs", nargs="+", metavar="RUN", type=str, help="Folder that --output named.")
    parser.add_argument(
        "--output",
        type=str | None,
        default=None,
        metavar="FOLDER",
        help="Where report.html and figures/ go; default the run itself, of several reports/<time>.",
    )
    given = parser.parse_args(args)
    runs = [Path(run) for run in given.runs]
    _check(runs)
    folder = Path(given.output) if given.output else runs[0] if len(runs) == 1 else _new_folder()
    is_run = RunFiles(folder).config.is_file() or RunFiles(folder).costs.is_file()
    if is_run and (len(runs) > 1 or folder.resolve() != runs[0].resolve()):
        raise UserError(f"{folder} is a run, whose own report would be lost; name another --output.")
    try:
        path = write_report(runs[0], folder) if len(runs) == 1 else write_comparison(runs, folder)
    except OSError as error:
        raise UserError(f"The report cannot be written to {folder} ({error}); name another --output.") from error
    print(path)
    return 0


def _check(runs: list[Path]) -> None:
    """Refuse what is no run, and runs that are named twice."""
    places: dict[Path, Path] = {}
    for run in runs:
        if run.is_dir() and not RunFiles(run).costs.is_file():  # a folder that is missing is refused when it is read
            kind = "a run that was not begun" if RunFiles(run).config.is_file() else "no run"
            raise UserError(
                f"{run} is {kind}: it holds no cost.jsonl, so there is nothing to report; name a run that has one."
            )
        if (before := places.setdefault(run.resolve(), run)) is not run:
            same = f"{run} is named twice" if before == run else f"{before} and {run} are the same run"
            raise UserError(f"{same}; name each run once.")


def _new_folder() -> Path:
    name = Path("reports") / f"{datetime.now():%Y%m%d-%H%M%S}"
    folders = (name if not more else name.with_name(f"{name.name}-{more + 1}") for more in range(1000))
    return next(folder for folder in folders if not folder.exists())
