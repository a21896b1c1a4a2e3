"""The budget of a plan, as ``--budget`` gives it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from selectune.common.errors import BudgetError
from selectune.pilot.plans import FullTraining

OPTION = "--budget"
FORMS = "a share of the full cost such as 0.3, rows such as 3000rows, or device hours such as 2h"
SECONDS = 3600.0


@dataclass(frozen=True)
class TotalBudget:
    """A budget for choosing and training together.

    Args:
        amount: over 0; at most 1 of a share, whole in rows.
        unit: share of the cost of training on all rows; rows, which stand for the cost of training on as many random
            ones; or hours of a device, added up over devices.
    """

    amount: float
    unit: Literal["share", "rows", "hours"]

    @classmethod
    def parse(cls, text: str) -> TotalBudget:
        """The budget of a text: ``0.3``, ``3000rows`` or ``2h``.

        Raises:
            BudgetError: it is none of these, is nothing, or is a share over 1.
        """
        found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(?:[eE]([+-]?\d{1,3}))?\s*(|rows?|h)", text.strip())
        if found is None:
            raise _refused(text, f"must be {FORMS}")
        number, exponent, suffix = found.groups()
        amount = float(f"{number}e{exponent or 0}")
        unit: Literal["share", "rows", "hours"] = "hours" if suffix == "h" else "rows" if suffix else "share"
        if amount <= 0 or amount == float("inf"):
            raise _refused(text, f"must be over 0 and finite: {FORMS}")
        if unit == "share" and amount > 1:
            raise _refused(text, f"as a share of the full cost must be at most 1; else give {FORMS}")
        if unit == "rows" and amount != int(amount):
            raise _refused(text, "must be a whole number of rows")
        return cls(amount, unit)

    def check_rows(self, n_rows: int) -> None:
        """Raise a BudgetError where more rows are asked for than a pool has."""
        if self.unit == "rows" and self.amount > n_rows:
            raise _refused(str(self), f"must be at most the {n_rows} rows of the pool")

    def share_of(self, full: FullTraining) -> float:
        """The share of a full training's cost; 1 for hours that it does not need.

        Raises:
            BudgetError: more rows than there are.
        """
        self.check_rows(full.rows)
        if self.unit == "rows":
            return self.amount / full.rows
        if self.unit == "hours":
            return min(1.0, self.amount * SECONDS / full.cost.device_s)
        return self.amount

    def __str__(self) -> str:
        return f"{self.amount:.10g}" + {"share": "", "rows": "rows", "hours": "h"}[self.unit]


def _refused(text: str, may_be: str) -> BudgetError:
    return BudgetError(f"{OPTION} is {text!r}, but {may_be}.", option=OPTION)
