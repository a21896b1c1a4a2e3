"""Diagnoses with made-up findings, as `selectune.diagnose` leaves them in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from selectune.common.run_files import RunFiles
from selectune.diagnose.classes import rare_classes
from selectune.diagnose.diagnosis import Diagnosis
from selectune.diagnose.findings import Finding

N_ROWS = 200
NAMES = ["news", "sport", "trade"]


def a_labelled_pool(n_classes: int = 3) -> tuple[Diagnosis, np.ndarray, list[str]]:
    """A diagnosis of 200 rows with wrong labels, copies and a rare class; their labels, and names of the classes."""
    names = NAMES if n_classes == 3 else [f"class {number}" for number in range(n_classes)]
    labels = np.arange(N_ROWS) % (n_classes - 1)
    labels[:4] = n_classes - 1
    joint = np.full((n_classes, n_classes), 0.1 / (n_classes * (n_classes - 1)))
    np.fill_diagonal(joint, 0.9 / n_classes)
    joint[0, 1] += 0.05
    issues: dict[str, Any] = {
        "probe_accuracy": 0.8, "largest_class": 0.5, "able": True, "joint": joint.tolist(), "classes": names,
    }  # fmt: skip
    copies = {"groups": 10, "surplus": 12, "largest_group": 3, "mixed_labels": 1}
    findings = {
        "empty": Finding.counted("empty", np.zeros(N_ROWS), np.zeros(0)),
        "near_copy": Finding.counted("near_copy", np.linspace(0, 1, N_ROWS), np.arange(178, N_ROWS), **copies),
        "label_issue": Finding("label_issue", np.linspace(1, 0, N_ROWS), np.arange(30), 0.17, 0.14, 0.21, issues),
        "rare_class": rare_classes(labels, names),
    }
    group = {"rows": list(range(40, 70)), "error": 0.4, "low": 0.25, "high": 0.55}
    made = Diagnosis(
        "made-up (200 rows)", "f" * 32, N_ROWS, "tiny-bert", findings, {}, [group], "30 trusted rows", 12.5, 20.0,
        plane=a_plane(),
    )  # fmt: skip
    return made, labels, names


def an_unlabelled_pool(found: bool = True) -> Diagnosis:
    """A diagnosis of 200 rows without classes: exact copies, or nothing."""
    rows = np.arange(8) if found else np.zeros(0)
    details = {"groups": 4, "surplus": 4, "largest_group": 2} if found else {"groups": 0, "surplus": 0}
    findings = {
        "exact_copy": Finding.counted("exact_copy", np.linspace(1, 0, N_ROWS), rows, **details),
        "truncated": Finding.counted("truncated", np.zeros(N_ROWS), np.zeros(0), tokens_lost=0),
    }
    why = "the rows have no classes"
    skipped = {"label_issue": why, "rare_class": why, "off_topic": "it takes 30 trusted rows"}
    return Diagnosis("made-up (200 rows)", "f" * 32, N_ROWS, "tiny-bert", findings, skipped, plane=a_plane())


def a_plane() -> dict[str, Any]:
    """Places of half of the rows."""
    rows = list(range(0, N_ROWS, 2))
    return {"rows": rows, "places": [[row / 50, row % 7] for row in rows], "explained": [0.2, 0.1]}


def a_text(row: int) -> str:
    """The text of a row."""
    return f"text {row} of the pool"


def written(
    folder: Path, made: Diagnosis, labels: np.ndarray | None = None, names: list[str] | None = None, text: str = ""
) -> tuple[RunFiles, dict[str, Any]]:
    """Write a diagnosis into a folder; gives the files, and the content of ``diagnosis.json``.

    Args:
        folder: to make.
        made: the diagnosis.
        labels: numbers of the rows' classes.
        names: of the classes.
        text: of every row; default `a_text`.
    """
    folder.mkdir(parents=True)
    files = RunFiles(folder)
    content = made.to_json([text or a_text(row) for row in range(N_ROWS)], labels, names or [])
    made.write(files, content)
    return files, content
