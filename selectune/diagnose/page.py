"""The page of a diagnosis, from its files alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selectune.common.errors import UserError
from selectune.common.files import atomic_file
from selectune.common.run_files import RunFiles
from selectune.diagnose.composition import lengths_sentence
from selectune.diagnose.diagnosis import TITLES, by_weight, not_found, prior_of, read_diagnosis
from selectune.diagnose.mending import rows_in_words
from selectune.diagnose.pictures import pictures_of
from selectune.report.drawing import show
from selectune.report.labels import cut, part_of
from selectune.report.numbers import count
from selectune.report.render import rendered
from selectune.verdict.prose import joined

MOST_CONFUSED = 10  # classes in the table of given and guessed labels
MOST_CLASSES = 20  # in the table of classes
NAME_LETTERS = 24  # of a class there
DARKEST = 0.5  # opacity of the shade of the most frequent confusion


def write_page(files: RunFiles) -> Path:
    """Write ``diagnosis.html`` from ``diagnosis.json`` and ``findings.parquet``, and give its path.

    The pictures are in the page, and as files in ``figures/`` beside it.

    Raises:
        UserError: one of the two files is missing or damaged, or they are of different pools.
    """
    content = read_diagnosis(files.path)
    named = read_findings(files, content["pool_fingerprint"])
    findings, n_rows = content["findings"], content["n_rows"]
    found = by_weight(findings)
    page = rendered(
        "findings.html",
        {
            "name": files.path.resolve().name,
            "diagnosis": content,
            "titles": TITLES,
            "headline": headline(named, n_rows),
            "sentence": sentence(content, found),
            "found": {name: findings[name] for name in found},
            "not_found": not_found(findings),
            "pictures": show(pictures_of(content, named), files.path, "diagnosis-"),
            "lengths": lengths_sentence(content["lengths"]) if content["lengths"] else "",
            "classes": classes_of(findings.get("rare_class")),
            "confusions": confusions(findings.get("label_issue")),
        },
        "selectune.diagnose",
    )
    with atomic_file(files.diagnosis_page) as partial:
        partial.write_text(page, encoding="utf-8")
    return files.diagnosis_page


def made_again(words: Sequence[str]) -> Path | None:
    """Write the page of the one folder that ``report`` was given, if it is a diagnosis; else give None.

    Raises:
        UserError: a file of the diagnosis is missing or damaged, or the page cannot be written.
    """
    files = RunFiles(Path(words[0])) if len(words) == 1 else None
    if files is None or not files.diagnosis.is_file():
        return None
    if any(file.is_file() for file in (files.metrics, files.manifest, files.done)):
        return None  # a fit or a selection has a report of its own
    try:
        return write_page(files)
    except OSError as error:
        raise UserError(f"The page of {files.path} cannot be written ({error}).", path=files.path) from error


def read_findings(files: RunFiles, fingerprint: str) -> dict[str, np.ndarray]:
    """Row ids that each finding names, of ``findings.parquet``.

    Raises:
        UserError: it is missing or damaged, or of another pool.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = files.findings
    try:
        table = pq.read_table(path)
        rows, names = table["row_id"].to_numpy(), np.array(table["finding"].to_pylist(), dtype=object)
    except (KeyError, ValueError, OSError, pa.ArrowException) as error:
        raise UserError(f"{path} is damaged ({error}); diagnose the pool again.", path=path) from None
    if (table.schema.metadata or {}).get(b"pool_fingerprint") != fingerprint.encode():
        raise UserError(f"{path} is of another pool than {files.diagnosis}; diagnose the pool again.", path=path)
    return {name: rows[names == name] for name in dict.fromkeys(names)}


def headline(named: Mapping[str, np.ndarray], n_rows: int) -> str:
    """The number of findings and of the rows that any of them names."""
    if not named:
        return "Nothing was found"
    rows = len(np.unique(np.concatenate(list(named.values()))))
    findings = "1 finding" if len(named) == 1 else f"{len(named)} findings"
    return f"{findings}, in {count(rows)} of {count(n_rows)} rows ({part_of(rows, n_rows)})"


def sentence(content: Mapping[str, Any], found: Sequence[str]) -> str:
    """The findings of a diagnosis in one sentence."""
    findings = content["findings"]
    pool = f"{count(content['n_rows'])} rows of {content['pool']}"
    if not found:
        return f"None of the {len(findings)} faults that were looked for was found in {pool}."
    parts = [f"{TITLES[name].lower()} ({rows_in_words(findings[name]['rows'])})" for name in found]
    several = "; a row may have several" if len(found) > 1 else ""
    return f"Of {len(findings)} faults that were looked for in {pool}, these were found: {joined(parts)}{several}."


def classes_of(finding: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Classes as a table, the largest first; of many, the largest and the smallest. None for rows without classes."""
    if finding is None:
        return None
    details = finding["details"]
    ordered = sorted(details["classes"].items(), key=lambda one: -one[1]["rows"])
    shown = ordered
    if len(ordered) > MOST_CLASSES:
        shown = ordered[: MOST_CLASSES // 2] + ordered[-MOST_CLASSES // 2 :]
    return {
        "number": len(ordered),
        "left_out": len(ordered) - len(shown),
        "rows": [
            (name, one["rows"], one["share"], details["expected"][name], _mark(name, details)) for name, one in shown
        ],
        "prior": prior_of(details),
    }


def _mark(name: str, details: Mapping[str, Any]) -> str:
    return "no row" if name in details["missing"] else "rare" if name in details["rare"] else ""


def confusions(finding: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Shares of rows by given and guessed label, with shades, for the classes that are confused most.

    None where rows have no classes, or a probe knows nothing of their labels.
    """
    if finding is None or not finding["details"]["able"]:
        return None
    names, joint = finding["details"]["classes"], np.array(finding["details"]["joint"])
    off = joint - np.diag(np.diag(joint))
    weights = off.sum(axis=0) + off.sum(axis=1)
    shown = np.sort(np.argsort(-weights, kind="stable")[:MOST_CONFUSED])
    shades = DARKEST * off / max(float(off.max()), 1e-12)
    return {
        "number": len(names),
        "names": [cut(names[guessed], NAME_LETTERS) for guessed in shown],
        "rows": [
            (
                cut(names[given], NAME_LETTERS),
                [(float(joint[given, guessed]), float(shades[given, guessed])) for guessed in shown],
            )
            for given in shown
        ],
    }
