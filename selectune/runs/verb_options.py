"""Options of one verb alone, as arguments of a parser's ``add_argument``."""

from __future__ import annotations

from typing import Any

Option = tuple[str, dict[str, Any]]

BUDGET = (
    "For choosing and training together: a share of the full cost such as 0.3, 3000rows (what as many random rows "
    "cost), or 2h (hours of a device, added up over devices)."
)
VERB_OPTIONS: dict[str, list[Option]] = {
    "select": [
        (
            "--dry_run",
            {"action": "store_true", "help": "Write no selection; print its size, its cost and some rows."},
        )
    ],
    "predict": [
        (
            "--file",
            {
                "type": str | None,
                "default": None,
                "help": "Where predictions go, a .csv, .jsonl or .parquet file; default RUN/predictions.parquet.",
            },
        )
    ],
    "plan": [("--budget", {"type": str, "required": True, "help": BUDGET})],
    "pilot": [
        (
            "--share",
            {
                "type": float,
                "default": 0.1,
                "help": "Of the full cost, what the pilot may take at most, its diagnosis included.",
            },
        ),
        ("--budget", {"type": str, "default": "0.3", "help": BUDGET}),
    ],
    "estimate": [
        (
            "--device_flops",
            {
                "type": float | None,
                "default": None,
                "help": "Times for another machine: FLOPs a second of one device at its best, such as 3.12e14.",
            },
        ),
        (
            "--utilisation",
            {
                "type": float | None,
                "default": None,
                "help": "Share of --device_flops that is reached, such as 0.35.",
            },
        ),
    ],
}
