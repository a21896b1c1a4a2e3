"""The diagnosis of a pool: its findings in the order of their weight, as files and in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from selectune.common.errors import RunDirectoryError
from selectune.common.files import atomic_file, write_json
from selectune.common.run_files import RunFiles
from selectune.diagnose.findings import NAMES, Finding
from selectune.diagnose.mending import mending_of

SCHEMA = 1
EXAMPLES, EXAMPLE_LETTERS = 5, 200
WEAK_PROBE = 0.6  # its accuracy below which it says little of single rows
SURE_PROBE = 0.85  # its accuracy from which on the share of wrong labels is an estimate, and not a bound
KEYS = (  # of ``diagnosis.json``
    "schema", "pool", "pool_fingerprint", "n_rows", "encoder", "trusted", "findings", "skipped", "hard_groups",
    "lengths", "sources", "plane", "device_s", "wall_s",
)  # fmt: skip

TITLES = {
    "empty": "Rows without a word",
    "exact_copy": "Exact copies",
    "near_copy": "Near copies",
    "leakage": "Copies of held-out rows",
    "truncated": "Cut off by data.max_length",
    "not_language": "Not language",
    "off_topic": "Off topic",
    "label_issue": "Wrong labels",
    "rare_class": "Rare classes",
}
REMEDIES = {
    "empty": "drop them: data.drop_empty, or edit the file",
    "exact_copy": "the filter Deduplicate keeps one of each",
    "near_copy": "the filter Deduplicate (by tokens) or SemanticDuplicates (by meaning) keeps one of each",
    "leakage": "drop them before you report a metric: it would be too good",
    "truncated": "raise data.max_length, at the cost of longer batches",
    "not_language": "drop them: findings.parquet names them",
    "off_topic": "drop them: findings.parquet names them",
    "label_issue": "the filter LabelIssues drops them; a reviewed findings.parquet mends them",
    "rare_class": "the selector Balanced keeps classes in the shares of the prior, as far as their rows reach",
}


@dataclass(frozen=True)
class Diagnosis:
    """Findings of a pool, with what they were found by.

    Args:
        pool: where its rows are from.
        fingerprint: of its content.
        n_rows: of it.
        encoder: the model whose states were read.
        findings: by name, all that were looked for.
        skipped: why others were not looked for, by name.
        groups: of rows that a probe fails on, see `classes.hard_groups`.
        trusted: what the pool was compared with; None where nothing was.
        device_s: device time of the diagnosis, the forward passes included.
        wall_s: wall time of it.
        lengths: of the rows in tokens, see `composition.lengths`.
        sources: the data sets that the pool is joined from, see `composition.sources`; empty for a single one.
        plane: row ids and places of a sample of rows on the plane of largest variance, for a picture.
    """

    pool: str
    fingerprint: str
    n_rows: int
    encoder: str
    findings: dict[str, Finding]
    skipped: dict[str, str]
    groups: list[dict[str, Any]] = field(default_factory=list)
    trusted: str | None = None
    device_s: float = 0.0
    wall_s: float = 0.0
    plane: dict[str, Any] = field(default_factory=dict)
    lengths: dict[str, Any] = field(default_factory=dict)
    sources: list[dict[str, Any]] = field(default_factory=list)

    def sentence(self, finding: Finding) -> str:
        """A finding in one sentence, with its number of rows and its share."""
        rows, share = len(finding.rows), _percent(finding.share)
        bounds = f"between {_percent(finding.low)} and {_percent(finding.high)}"
        details = finding.details
        if finding.name in ("exact_copy", "near_copy"):
            mixed = details.get("mixed_labels")
            more = f"; in {mixed:,} of them labels differ" if mixed else ""
            return (
                f"{rows:,} rows ({share}, {bounds}) are in {_counted(details['groups'], 'group')} of copies, so that "
                f"{details['surplus']:,} could go{more}."
            )
        if finding.name == "leakage":
            return (
                f"{rows:,} rows ({share}, {bounds}) are copies of held-out rows ({details['split']}), "
                f"{details['exact']:,} of them exact."
            )
        if finding.name == "label_issue":
            # a weak probe's own mistakes are counted too
            about = "About" if details["probe_accuracy"] > SURE_PROBE else "At most about"
            weak = (
                " So weak a probe takes hard rows for wrong ones; try a stronger scorer.checkpoint before you drop any."
            )
            return (
                f"{about} {share} of the labels are wrong ({bounds}), by a probe that is right on "
                f"{_percent(details['probe_accuracy'])} of the rows; {rows:,} rows are named."
                + weak
                * (details["probe_accuracy"] < WEAK_PROBE)
            )
        if finding.name == "rare_class":
            rare = ", ".join(details["rare"])
            return f"{rows:,} rows ({share}, {bounds}) are of rare classes: {rare}. {prior_of(finding.details)}."
        if finding.name in ("not_language", "off_topic") and not finding.details.get("able"):
            return f"About {share} of the rows ({bounds}); {rows:,} are named."
        return f"{rows:,} rows ({share}, {bounds})."

    def to_json(self, texts: Sequence[str], labels: np.ndarray | None, names: Sequence[str]) -> dict[str, Any]:
        """The content of ``diagnosis.json``, with the five worst rows of each finding."""

        def example(finding: Finding, row: int) -> dict[str, Any]:
            text = texts[row] if len(texts[row]) <= EXAMPLE_LETTERS else texts[row][: EXAMPLE_LETTERS - 1] + "…"
            shown: dict[str, Any] = {"row_id": row, "score": round(float(finding.scores[row]), 6), "text": text}
            return shown if labels is None else shown | {"label": names[labels[row]]}

        def described(finding: Finding) -> dict[str, Any]:
            worst = finding.rows[np.argsort(-finding.scores[finding.rows], kind="stable")][:EXAMPLES]
            sizes = {"rows": len(finding.rows), "share": finding.share, "details": finding.details}
            return {
                **sizes,
                "low": finding.low,
                "high": finding.high,
                "sentence": self.sentence(finding) if len(finding.rows) else "None named.",
                "remedy": REMEDIES[finding.name],
                "examples": [example(finding, row) for row in worst.tolist()],
                **mending_of(finding.name, sizes, self.n_rows),
            }

        groups = [
            {
                **group,
                "rows": len(group["rows"]),
                "examples": [texts[row][:EXAMPLE_LETTERS] for row in group["rows"][:3]],
            }
            for group in self.groups
        ]
        return {
            "schema": SCHEMA,
            "pool": self.pool,
            "pool_fingerprint": self.fingerprint,
            "n_rows": self.n_rows,
            "encoder": self.encoder,
            "trusted": self.trusted,
            "findings": {name: described(self.findings[name]) for name in NAMES if name in self.findings},
            "skipped": self.skipped,
            "hard_groups": groups,
            "lengths": self.lengths,
            "sources": self.sources,
            "plane": self.plane,
            "device_s": self.device_s,
            "wall_s": self.wall_s,
        }

    def write(self, files: RunFiles, content: dict[str, Any]) -> None:
        """Write ``findings.parquet``, a line for each named row of each finding, and then ``diagnosis.json``."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns: dict[str, list[Any]] = {"row_id": [], "finding": [], "score": []}
        for name in NAMES:
            if name in self.findings:
                finding = self.findings[name]
                columns["row_id"] += finding.rows.tolist()
                columns["finding"] += [name] * len(finding.rows)
                columns["score"] += finding.scores[finding.rows].tolist()
        table = pa.table(
            {
                "row_id": pa.array(columns["row_id"], pa.int64()),
                "finding": pa.array(columns["finding"], pa.string()),
                "score": pa.array(columns["score"], pa.float64()),
            },
            metadata={"pool_fingerprint": self.fingerprint},
        )
        with atomic_file(files.findings) as partial:
            pq.write_table(table, partial)
        write_json(files.diagnosis, content)


def refuse_reviewed(files: RunFiles) -> None:
    """Raise RunDirectoryError where somebody reviewed the findings of a run, which a new diagnosis would write over."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with suppress(OSError, pa.ArrowException):
        if "action" in pq.read_schema(files.findings).names:
            raise RunDirectoryError(
                f"{files.findings} has been reviewed, as it has a column 'action'; use another --output, or move it.",
                path=files.findings,
            )


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _percent(share: float) -> str:
    """A share in per cent, with as many digits as it has a use for."""
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:.0f} %"


def prior_of(details: Mapping[str, Any]) -> str:
    """The class prior by which classes were called rare."""
    return f"Class prior: {details['prior']} (data.prior)"


def not_found(findings: Mapping[str, Any]) -> list[str]:
    """Titles of the findings of a ``diagnosis.json`` that name no row, as in the middle of a sentence."""
    titles = {name: TITLES[name][0].lower() + TITLES[name][1:] for name in findings if not findings[name]["rows"]}
    if "rare_class" in titles:
        prior = prior_of(findings["rare_class"]["details"])
        titles["rare_class"] += f" ({prior[0].lower()}{prior[1:]})"
    return list(titles.values())


def by_weight(findings: Mapping[str, Any]) -> list[str]:
    """Names of the findings of a ``diagnosis.json`` that name rows, those of most rows first."""
    named = [name for name in findings if findings[name]["rows"]]
    return sorted(named, key=lambda name: (-findings[name]["rows"], NAMES.index(name)))


def read_diagnosis(folder: Path) -> dict[str, Any]:
    """The content of a run's ``diagnosis.json``.

    Raises:
        UserError: it is missing or damaged.
    """
    from selectune.common.files import read_mapping

    return read_mapping(RunFiles(folder).diagnosis, "diagnose the pool again", *KEYS)
