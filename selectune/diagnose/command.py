"""``python main.py report RUN`` where RUN is a diagnosis: its page again; all else is that verb's own."""

from __future__ import annotations

from pathlib import Path

from selectune.common.errors import UserError
from selectune.common.run_files import RunFiles
from selectune.diagnose.page import write_page
from selectune.report import command as report


def main(args: list[str]) -> int:
    """Write the page of a diagnosis and print its path, or do what `report.main` does. Returns the exit code, 0.

    Raises:
        UserError: a run is missing, damaged or named twice, or the page cannot be written.
    """
    if len(args) != 1 or not is_diagnosis_alone(RunFiles(Path(args[0]))):
        return report.main(args)
    try:
        print(write_page(RunFiles(Path(args[0]))))
    except OSError as error:
        raise UserError(f"The page of {args[0]} cannot be written ({error}).") from error
    return 0


def is_diagnosis_alone(files: RunFiles) -> bool:
    """Whether a folder holds a diagnosis, and neither a fit nor a selection."""
    others = (files.metrics, files.manifest, files.done)
    return files.diagnosis.is_file() and not any(file.is_file() for file in others)
