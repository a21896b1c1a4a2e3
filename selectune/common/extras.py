"""Packages that come with an extra of this one, such as ``selectune[lora]``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from selectune.common.errors import UserError

PROFANITY = "alt-profanity-check"  # a package that scores toxicity; its name stands for a model
EXTRAS = {  # package, and its extra
    "peft": "lora", "wandb": "wandb", "mlflow": "mlflow", "tensorboard": "tensorboard", "profanity_check": "toxicity",
}  # fmt: skip


def install_line(package: str) -> str:
    """The command that installs a package, by its extra where it has one."""
    return f"pip install 'selectune[{EXTRAS[package]}]'" if package in EXTRAS else f"pip install {package}"


def imported(package: str, what: str) -> Any:
    """A package that is not always installed.

    Args:
        package: of `EXTRAS`.
        what: needs it, the subject of a sentence.

    Raises:
        UserError: it is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise UserError(f"{what} needs a package that is not installed ({error}): {install_line(package)}.") from error
