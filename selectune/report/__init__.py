"""The report of a run, or of several beside each other: one page that needs no network and no script.

Every number in a table stands in a ``<data value=…>`` that holds it exactly, as ``cost.jsonl``, ``saving.json`` or
``selection/examples.json`` does. ``page.py`` is the page of one run, ``comparison.py`` that of several,
``terminal.py`` the table on the terminal, ``command.py`` the verb.
"""

from __future__ import annotations

from selectune.report.comparison import write_comparison
from selectune.report.page import write_report
from selectune.report.run_data import RunData
from selectune.report.terminal import print_metrics, print_summary, print_verdict

__all__ = ["RunData", "print_metrics", "print_summary", "print_verdict", "write_comparison", "write_report"]
