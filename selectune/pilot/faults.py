"""Findings of a diagnosis that a plan may rest on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selectune.diagnose.diagnosis import WEAK_PROBE, by_weight

# The lower bound of a share from which on a finding counts. On pools without that fault a diagnosis still names up to
# 9.7 % of the rows (results/faulty_pools.csv, clean pools). A rare class counts however small it is.
COUNTS_FROM = 0.1
COUNTS_AT_ANY_SHARE = ("rare_class",)


@dataclass(frozen=True)
class Fault:
    """A finding that names rows.

    Args:
        name: of the finding.
        rows: that it names.
        share: of the pool that has it.
        low: of its 95 % interval.
        high: of it.
        doubt: why it is only suspected; empty where it counts.
    """

    name: str
    rows: int
    share: float
    low: float
    high: float
    doubt: str = ""

    @property
    def counts(self) -> bool:
        """Whether a plan may be put first for it."""
        return not self.doubt


def faults_of(diagnosis: Mapping[str, Any]) -> dict[str, Fault]:
    """The faults of a pool by name, those of most rows first, from the content of its ``diagnosis.json``."""
    found = {}
    for name in by_weight(diagnosis["findings"]):
        finding = diagnosis["findings"][name]
        numbers = finding["rows"], finding["share"], finding["low"], finding["high"]
        found[name] = Fault(name, *numbers, doubt=_doubt(name, finding))
    return found


def _doubt(name: str, finding: Mapping[str, Any]) -> str:
    accuracy = finding["details"].get("probe_accuracy")
    if accuracy is not None and accuracy < WEAK_PROBE:
        return f"the probe is right on {accuracy:.0%} of the rows alone, and takes hard rows for wrong ones"
    if name not in COUNTS_AT_ANY_SHARE and finding["low"] <= COUNTS_FROM:
        return (
            f"its share may be as low as {finding['low']:.1%}, and up to {COUNTS_FROM:.0%} is named in sound pools too"
        )
    return ""
