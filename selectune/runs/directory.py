"""The run directory: which process may write into it, and what its earlier content must agree with."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NamedTuple

import yaml

from selectune.callbacks.checkpoint_io import damage, previous, restored
from selectune.common.errors import CheckpointError, DamagedCheckpoint, RunDirectoryError
from selectune.common.files import PARTIAL, atomic_file, clear_partials, read_mapping, write_json
from selectune.common.locks import take_lock
from selectune.common.run_files import RunFiles
from selectune.costs.ledger import collect_open, interrupted, next_attempt, read_ledger
from selectune.costs.record import BESIDE, code_version

WRITERS = ("fit", "select", "estimate", "diagnose", "plan", "pilot")  # verbs that make a run; the others need one
GROWS = ("trainer.max_epochs", "trainer.max_steps")  # may be raised in a finished run, with --ckpt_path last


class Claim(NamedTuple):
    """State of a run directory when rank 0 claimed it."""

    attempt: int  # from 1
    checkpoint: str | None  # to resume from
    resumed: bool  # the run continues after an interruption, rather than being trained for longer


class Run(RunFiles):
    """A run directory and the lock that this process holds on it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.new = False  # whether it was empty when this process claimed it
        self._lock: IO[str] | None = None

    def claim(self, verb: str, config: dict[str, Any], ckpt_path: str | None, overwrite: bool) -> Claim:
        """Take the directory for a verb; for rank 0 alone. A fit resumes an unfinished run of the same config.

        Args:
            verb: ``fit``, ``select``, ``estimate``, ``diagnose``, ``plan``, ``pilot``, ``validate``, ``test`` or
                ``predict``.
            config: the content of ``config.yaml``.
            ckpt_path: ``last``, a file, or None.
            overwrite: remove the files of an earlier run.

        Raises:
            RunDirectoryError: it is in use, finished, of another config, or no run.
            CheckpointError: the checkpoint that is asked for is damaged.
        """
        if overwrite and ckpt_path:
            raise RunDirectoryError("--overwrite removes the run that --ckpt_path would resume; leave one of them out.")
        if overwrite and verb == "estimate":
            raise RunDirectoryError(
                "estimate does not take --overwrite, as a forecast must not remove what a run has trained; use another "
                "--output, or leave it out."
            )
        beside = {self.lock, self.cell, self.log, self.compare}  # made before the run begins
        files = list(self.path.iterdir()) if self.path.is_dir() else []
        exists = any(file not in beside and not PARTIAL.fullmatch(file.name) for file in files)
        if exists and not self.config.is_file():
            raise RunDirectoryError(
                f"{self.path} holds files but no config.yaml, so it is no run; use another --output."
            )
        self._check_checkpoint(ckpt_path)
        self._take_lock()
        clear_partials(self.path, mine=True)
        if exists and overwrite and verb in WRITERS:
            self.remove()
            exists = False
        if exists and verb in WRITERS:
            self._check_config(verb, config, ckpt_path)
        checkpoint = self._checkpoint(verb, ckpt_path)
        attempt = next_attempt(self.path)
        collect_open(self.path, before_attempt=attempt)
        resumed = attempt > 1 and not self.finished and not self._only_selected()
        if verb == "fit":
            self.done.unlink(missing_ok=True)
        if verb in WRITERS or not exists:
            with atomic_file(self.config) as partial:
                partial.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
        self.new = not exists
        return Claim(attempt, checkpoint, resumed)

    def _only_selected(self) -> bool:
        """Whether a `select` finished here, and no fit has begun to train; what is `BESIDE` a fit does not count."""
        records = read_ledger(self.costs) if self.costs.is_file() else []
        records = [record for record in records if record.part not in BESIDE]
        trained = any(record.stage == "train" for record in records)
        return self.manifest.is_file() and not trained and not interrupted(records)

    def abandon(self) -> None:
        """Remove the files of an attempt that ended in a user's mistake, unless it trained or selected something."""
        warm_up = self.warm_up
        results = [self.manifest, warm_up.manifest, self.checkpoints, warm_up.checkpoints, warm_up.export]
        if not any(result.exists() for result in results):
            _remove(path for path in self.written if path != self.compare)  # where other runs may be at work
            self.lock.unlink(missing_ok=True)
            if not any(self.path.iterdir()):
                self.path.rmdir()

    def remove(self) -> None:
        """Remove everything that a run wrote here."""
        _remove(self.written)

    def release(self) -> None:
        """Release the directory to other processes; the end of the process does so too."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def drop_models(self) -> None:
        """Remove checkpoints and exported models, the warm-up's too."""
        for run in (self, self.warm_up):
            for folder in (run.checkpoints, run.export):
                shutil.rmtree(folder, ignore_errors=True)

    def finish(self, content: dict[str, Any]) -> None:
        """Write ``done.json``, the last file of a fit."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(self.done, {"finished_at": now, "commit": code_version(), **content})

    def newest_checkpoint(self) -> Path | None:
        """The newest undamaged checkpoint of a fit; None, with a warning, where there is none. For rank 0 alone."""
        try:
            return restored(self.last)
        except CheckpointError as error:
            warnings.warn(f"{error} The training starts over.", DamagedCheckpoint, stacklevel=2)
            return None

    def best_checkpoint(self) -> Path | None:
        """The checkpoint that ``dev`` chose, or the one before it where that is damaged; None where there is none.

        Raises:
            CheckpointError: all of them are damaged.
        """
        return restored(self.best)

    def drop_previous(self) -> None:
        """Remove the checkpoints that were kept in case a newer one is damaged."""
        for path in (self.best, self.last, self.warm_up.last):
            previous(path).unlink(missing_ok=True)

    def _check_checkpoint(self, ckpt_path: str | None) -> None:
        """Refuse a checkpoint that does not exist, before the directory is touched."""
        if ckpt_path == "last":
            if not (self.last.is_file() or previous(self.last).is_file()):
                raise RunDirectoryError(f"There is no checkpoint {self.last} to resume from; leave --ckpt_path out.")
        elif ckpt_path and not Path(ckpt_path).is_file():
            raise RunDirectoryError(f"There is no checkpoint {ckpt_path}; name another --ckpt_path.")

    def _checkpoint(self, verb: str, ckpt_path: str | None) -> str | None:
        if ckpt_path == "last":
            return str(restored(self.last))
        if ckpt_path:
            if fault := damage(Path(ckpt_path)):
                raise CheckpointError(f"The checkpoint {ckpt_path} is damaged ({fault}); name another --ckpt_path.")
            return ckpt_path
        newest = self.newest_checkpoint() if verb == "fit" else None
        return str(newest) if newest else None

    def _check_config(self, verb: str, config: dict[str, Any], ckpt_path: str | None) -> None:
        fix = "use another --output, or --overwrite, which removes what the run has made"
        earlier = read_mapping(self.config, fix, error=RunDirectoryError)
        differs = differences(earlier, config)
        grown = [name for name in differs if name in GROWS and ckpt_path == "last" and _grew(earlier, config, name)]
        if differs := [name for name in differs if name not in grown]:
            raise RunDirectoryError(
                f"{self.path} holds a run of another config (it differs in {', '.join(differs[:5])}); use another "
                "--output, or --overwrite."
            )
        if verb == "fit" and self.finished and not grown:
            raise RunDirectoryError(
                f"{self.path} holds a finished run of this config; use another --output, or --overwrite."
            )

    def _take_lock(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = self.lock.open("a+")
        except OSError as error:
            raise RunDirectoryError(
                f"{self.path} cannot be written ({error.strerror}); use another --output."
            ) from error
        if not take_lock(self._lock):
            self._lock.seek(0)
            holder = self._lock.read().strip() or "unknown"
            raise RunDirectoryError(
                f"{self.path} is in use by another process (id {holder}); wait for it, or use another --output."
            )
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _grew(earlier: dict[str, Any], config: dict[str, Any], name: str) -> bool:
    section, key = name.split(".")
    old, new = earlier[section][key], config[section][key]
    return old is not None and new is not None and (new == -1 or new > old >= 0)


def differences(a: Any, b: Any, at: str = "") -> list[str]:
    """Dotted names of the settings in which two configs differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted(set(a) | set(b), key=str)
        return [name for key in keys for name in differences(a.get(key), b.get(key), f"{at}.{key}".strip("."))]
    return [] if a == b else [at or "everything"]
