"""Selectors: pure functions from signals to row ids. Formulas of the signals are in `selectune.selectors.entropy`."""

import sys

from selectune.selectors import band_search, baselines, chain, domain_screen, interval_rules
from selectune.selectors.anchored import Anchored, Checked
from selectune.selectors.balanced import Balanced
from selectune.selectors.band_search import Placed, Proxy, Search
from selectune.selectors.base import Budget, Picked, Selector, Signals
from selectune.selectors.baselines import Random, TopK
from selectune.selectors.chain import Chain
from selectune.selectors.cold_start import ProbCover, Typical
from selectune.selectors.domain_screen import DomainScreen
from selectune.selectors.dsir import DSIR
from selectune.selectors.duplicates import Deduplicate
from selectune.selectors.euds import IGSE, EntropyInterval
from selectune.selectors.filtering import Filter
from selectune.selectors.geometry import KCenter, Prototypes
from selectune.selectors.gotd import GOTD
from selectune.selectors.interval_rules import Absolute, Band, Central, Densest, IntervalRule, Quantile
from selectune.selectors.label_issues import LabelIssues
from selectune.selectors.nearest import Closest, Nearest
from selectune.selectors.semantic_duplicates import SemanticDuplicates

__all__ = [
    "DSIR", "GOTD", "IGSE", "Absolute", "Anchored", "Balanced", "Band", "Budget", "Central", "Chain", "Checked",
    "Closest", "Deduplicate", "Densest", "DomainScreen", "EntropyInterval", "Filter", "IntervalRule", "KCenter",
    "LabelIssues", "Nearest", "Picked", "Placed", "ProbCover", "Prototypes", "Proxy", "Quantile", "Random", "Search",
    "Selector", "SemanticDuplicates", "Signals", "TopK", "Typical",
]  # fmt: skip

# class paths in configs of earlier versions, whose files had other names
for _old, _module in {
    "compose": chain, "interval": interval_rules, "ranking": baselines, "screen": domain_screen, "search": band_search,
}.items():  # fmt: skip
    sys.modules[f"{__name__}.{_old}"] = _module
