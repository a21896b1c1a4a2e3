"""The metric on ``dev`` that a pilot forecast for a run, beside the one that came."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from selectune.common.errors import UserError
from selectune.common.run_files import RunFiles
from selectune.common.typed_json import from_json

ALL_ROWS = "all_rows"  # the forecast for training on all of them


@dataclass(frozen=True)
class Expected:
    """A forecast of the accuracy on ``dev`` at the end of a training.

    Args:
        pilot: run directory of the pilot.
        plan: that the run carries out.
        value: a fraction, as are the bounds.
        low: of the interval.
        high: of it.
        level: of it.
    """

    pilot: str
    plan: str
    value: float
    low: float
    high: float
    level: float

    @classmethod
    def of_pilot(cls, folder: str, plan: str, pool_fingerprint: str | None) -> Expected:
        """The forecast of a plan in the ``pilot.json`` of a run.

        Args:
            folder: the run directory.
            plan: its name, or ``all_rows``.
            pool_fingerprint: of the pool that is trained on; None where rows were taken out of it.

        Raises:
            UserError: there is none, it is damaged, of another pool, or has no such plan.
        """
        path = RunFiles(Path(folder).expanduser()).pilot
        try:
            content = json.loads(path.read_text())
            forecasts = {one["gain"]["name"]: one["accuracy"] for one in content["plans"]}
            forecasts[ALL_ROWS] = content["all_rows"]
            fingerprint, level = content["pool_fingerprint"], content["level"]
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}); pilot first, or leave pilot out.") from None
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is damaged ({error!r}); pilot again, or leave pilot out.", path=path) from None
        if pool_fingerprint is not None and fingerprint != pool_fingerprint:
            raise UserError(
                f"{path} is of another pool than this run's; pilot again, or leave pilot out.", option="pilot.run"
            )
        if plan not in forecasts:
            raise UserError(
                f"pilot.plan is {plan!r}, but {path} has forecasts of {', '.join(forecasts)}; name one of these.",
                option="pilot.plan",
            )
        return cls.from_json({"pilot": str(folder), "plan": plan, "level": level, **forecasts[plan]}, path)

    @classmethod
    def read(cls, folder: Path) -> Expected | None:
        """The forecast that a run keeps; None where there is none.

        Raises:
            UserError: it is damaged.
        """
        path = RunFiles(folder).expected
        if not path.is_file():
            return None
        try:
            return cls.from_json(json.loads(path.read_text()), path)
        except ValueError as error:
            raise UserError(f"{path} is damaged ({error}); remove it.", path=path) from None

    @classmethod
    def from_json(cls, content: Any, path: Path) -> Expected:
        """The forecast as `to_json` gave it; UserError where the file is damaged."""
        try:
            expected: Expected = from_json(cls, content)
        except UserError as error:
            raise UserError(f"{path} is damaged ({str(error).rstrip('.')}); pilot again.", path=path) from None
        return expected

    def to_json(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)

    def sentence(self, came: float | None) -> str:
        """The forecast, how far off it was, and whether its interval holds what came; a fraction, None if unknown."""
        for_what = "training on all rows" if self.plan == ALL_ROWS else f"the plan {self.plan}"
        percent = [f"{100 * part:.1f}" for part in (self.value, self.low, self.high)]
        accuracy = f"{percent[0]} % [{percent[1]}, {percent[2]}]"
        told = f"The pilot in {self.pilot} forecast an accuracy of {accuracy} on dev for {for_what}"
        if came is None:
            return f"{told}; what came of it is not known."
        holds = "within" if self.low <= came <= self.high else "outside"
        off = f"{100 * abs(came - self.value):.1f} points off"
        return f"{told}; it came to {100 * came:.1f} %: {off}, {holds} the {self.level:.0%} interval."
