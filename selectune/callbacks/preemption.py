"""Stop when the machine is taken away, so that the same command goes on from there.

- SIGTERM (``scancel``, a time limit, preemption, ``kill``) ends the process with exit code 143.
- SIGINT (Ctrl-C), where a Trainer's verb runs, ends it with exit code 130, and a second one at once.
- Slurm's warning signal (``sbatch --signal=USR1@90``) has rank 0 requeue the job, which Slurm then ends with SIGTERM.
  Where it cannot be requeued, it goes on until it is ended.

A training that keeps a ``last.ckpt`` saves it first. Nothing else needs saving, since all files on the disk are whole
at any moment.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments import ClusterEnvironment, SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.trainer.states import TrainerFn

from selectune.common.errors import UserError
from selectune.common.run_files import LAST

STOPPED = 128 + signal.SIGTERM  # not 0, so that what follows `&&` in a script does not start
INTERRUPTED = 128 + signal.SIGINT
USUAL = {signal.SIGINT: signal.default_int_handler}  # what handles a signal where nobody else does; else the system
PATIENCE_S = 45.0  # for the main thread to come to a stop, before the job is requeued without it
WORKERS_LIVE_S = 20  # after a SIGTERM
SIGTERM_WITHIN_S = 10.0  # of a requeue; rank 0 waits, so that others do not meet a closed connection first


def cluster_environments(plugins: Any) -> list[ClusterEnvironment]:
    """Cluster environments among a Trainer's plugins, which may be one, several or None."""
    several = plugins if isinstance(plugins, Iterable) else [plugins]
    return [plugin for plugin in several if isinstance(plugin, ClusterEnvironment)]


def requeue_signal(plugins: Any = None) -> signal.Signals | None:
    """The signal on which Slurm's job is requeued; None outside such a job, or where it is not to be requeued.

    Args:
        plugins: of the Trainer; a cluster environment among them decides.
    """
    for given in cluster_environments(plugins):
        return given.requeue_signal if isinstance(given, SLURMEnvironment) and given.auto_requeue else None
    if "SLURM_NTASKS" not in os.environ or TorchElasticEnvironment.detect() or not SLURMEnvironment.detect():
        return None
    return signal.SIGUSR1


def outlive_sigterm(worker: int) -> None:
    """Let a data loader's worker finish its batch (``worker_init_fn``), as Slurm sends SIGTERM to workers too."""
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(WORKERS_LIVE_S))


def root_for(folder: Path) -> str:
    """A Trainer's ``default_root_dir``: under Slurm, Lightning starts from an ``hpc_ckpt`` in it, whatever wrote it.

    Raises:
        UserError: it contains one.
    """
    foreign = next(folder.glob("hpc_ckpt_*.ckpt"), None) if "SLURM_NTASKS" in os.environ else None
    if foreign is not None:
        raise UserError(f"{foreign} is no checkpoint of this run, but would be taken for it; move it away.")
    return str(folder)


def may_go_on_after(trainer: Any, batch_idx: int) -> bool:
    """Whether a run that goes on after this batch leaves nothing out.

    It begins with the next batch, and so would skip a validation that follows this one, and with it a best model.
    """
    counted = trainer.fit_loop.total_batch_idx if trainer.check_val_every_n_epoch is None else batch_idx
    ends = trainer.is_last_batch or batch_idx + 1 >= trainer.num_training_batches
    return not ends and (counted + 1) % (trainer.val_check_batch or math.inf) != 0


class Preemption(pl.Callback):
    """Handles both signals while it is used as a context; a callback of every Trainer that runs within.

    A Trainer stops at the end of a batch, and where it trains, all ranks at the same one, as they save jointly.
    Outside a Trainer a signal acts at once. Handlers of others, such as those of submitit, are left alone.

    Args:
        requeues: the signal on which the job is requeued, see `requeue_signal`.
        interrupts: whether Ctrl-C is handled too.
    """

    def __init__(self, requeues: signal.Signals | None = None, interrupts: bool = False) -> None:
        self.requeues, self._interrupts = requeues, interrupts
        self.folder: Path | None = None  # of the run
        self.launcher: Any = None  # of ranks that this process has started, to which it passes a SIGTERM on
        self._rank_zero = int(os.environ.get("SLURM_PROCID", 0)) == 0
        self._handled: list[signal.Signals] = []
        self._in_trainer = self._stop = self._warned = self._leaving = self._interrupted = False
        self._requeued: bool | None = None  # None until Slurm was asked
        self._hosts: Any = None  # the process group of the ranks' hosts
        self._asking, self._over = threading.RLock(), threading.Event()  # a handler may interrupt another

    # The signals.

    def __enter__(self) -> Preemption:
        global _active
        if threading.current_thread() is threading.main_thread():
            mine = [signal.SIGTERM, *([self.requeues] if self.requeues else [])]
            mine += [signal.SIGINT] if self._interrupts else []
            self._handled = [one for one in mine if signal.getsignal(one) == USUAL.get(one, signal.SIG_DFL)]
            self._take_signals()
            _active = self
        if self.requeues in self._handled:
            # C writes the number into it even while the main thread computes and runs no handler of Python
            reads, self._writes = os.pipe()
            os.set_blocking(self._writes, False)
            self._before = signal.set_wakeup_fd(self._writes, warn_on_full_buffer=False)
            threading.Thread(target=self._watch, args=(reads,), name="preemption", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        global _active
        if self.requeues in self._handled:
            self._over.set()
            signal.set_wakeup_fd(self._before)
            os.close(self._writes)
        for number in self._handled:
            signal.signal(number, USUAL.get(number, signal.SIG_DFL))
        self._handled, _active = [], None

    def _take_signals(self) -> None:
        for number in self._handled:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._interrupted:
            for process in getattr(self.launcher, "procs", []):
                process.kill()
            raise SystemExit(INTERRUPTED)
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stop = True
            self._interrupted |= number == signal.SIGINT
            for process in getattr(self.launcher, "procs", []):
                process.send_signal(signal.SIGTERM)
            if self._interrupted and self._in_trainer and self._tells:
                _write("Stopping as soon as nothing is lost; Ctrl-C again stops at once.")
        else:
            self._warned, self._requeued = True, self._requeued or None  # a second signal asks again
        if not self._in_trainer:
            self._act()

    @property
    def _tells(self) -> bool:
        """Whether this is the process that prints for all."""
        return self._rank_zero and os.environ.get("LOCAL_RANK", "0") == "0"

    def _watch(self, reads: int) -> None:
        """Requeue for a main thread that is in one long call, such as a solve or an evaluation."""
        with os.fdopen(reads, "rb", buffering=0) as pipe:
            while number := pipe.read(1):
                if number[0] == self.requeues and not self._over.wait(PATIENCE_S):
                    self._requeue()

    # The reaction to them.

    def _act(self) -> None:
        """Requeue, or end this process; outside a Trainer, or between two of its batches."""
        if self._leaving:  # a second signal must not end what the first one is writing
            return
        if self._warned and not self._stop:
            self._warned = False
            if self._requeue():
                time.sleep(SIGTERM_WITHIN_S)  # the handler of Slurm's SIGTERM cuts it short
        if self._stop or self._requeued:
            self._leaving = True
            if self._interrupted and self._tells:
                again = f" The same command with --output {self.folder} goes on from there." if self.folder else ""
                _write(f"Stopped.{again}")
            raise SystemExit(INTERRUPTED if self._interrupted else STOPPED)

    def _requeue(self) -> bool:
        """Have Slurm run the job again, and return whether it will; rank 0 alone asks, and once."""
        with self._asking:
            if self._rank_zero and self._requeued is None:
                job = os.environ.get("SLURM_JOB_ID", "")
                if "SLURM_ARRAY_JOB_ID" in os.environ:
                    job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
                _write(f"Slurm ends job {job} soon; it is being requeued.")
                try:
                    done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
                    self._requeued, why = done.returncode == 0, done.stderr.strip()
                except OSError as error:
                    self._requeued, why = False, f"scontrol: {error.strerror}"
                if not self._requeued:
                    _write(f"Job {job} could not be requeued, and goes on until it is ended ({why}).")
            return bool(self._requeued)

    # The stops of a Trainer.

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """From here on, wait for the end of a batch."""
        if trainer.world_size > 1:  # ranks ask each other by way of their hosts, so that no step waits for a device
            self._hosts = torch.distributed.new_group(backend="gloo")
        self._in_trainer = True

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """From here on, act at once; on what came after the last batch, too."""
        self._leave_group()
        self._in_trainer = False
        self._act()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """From here on, act at once."""
        self._leave_group()
        self._in_trainer = False

    def _leave_group(self) -> None:
        if self._hosts is not None:
            torch.distributed.destroy_process_group(self._hosts)
            self._hosts = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals back, as Lightning's own handler of SIGTERM makes ranks exchange tensors out of step."""
        self._take_signals()

    on_validation_start = on_test_start = on_predict_start = on_train_start

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save and stop if asked to."""
        if may_go_on_after(trainer, batch_idx):
            folders = (one.dirpath for one in trainer.checkpoint_callbacks if getattr(one, "filename", None) == "last")
            self._stop_training(trainer, next((Path(folder) / LAST for folder in folders if folder), None))

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop if asked to; the end of the epoch before has saved."""
        self._stop_training(trainer, None)

    def on_validation_batch_end(self, trainer: Any, *_: Any) -> None:
        """Stop if asked to, unless it is within a training."""
        if trainer.state.fn != TrainerFn.FITTING:
            self._stop_here()

    on_test_batch_end = on_predict_batch_end = on_validation_batch_end  # type: ignore[assignment]

    def _stop_here(self) -> None:
        if self._stop or self._warned:
            self._in_trainer = False
            self._act()
            self._in_trainer = True

    def _stop_training(self, trainer: pl.Trainer, last: Path | None) -> None:
        """Save, then requeue or end, if any rank was asked to; called by all ranks at the same step."""
        if trainer.world_size > 1:
            # a signal may reach some ranks only, or some a step later: all must save at the same step
            asked = torch.tensor([self._stop, self._warned], dtype=torch.int)
            torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX, group=self._hosts)
            if not asked.any():
                return  # what came to this rank meanwhile is asked for at the next batch
            self._stop, self._warned = bool(asked[0]), bool(asked[1])
        if (self._stop or self._warned) and last is not None:
            trainer.save_checkpoint(last)
        if self._warned and not self._stop:
            self._requeued = self._warned = trainer.strategy.broadcast(self._requeue())  # which rank 0 knows
        self._stop_here()


def _write(sentence: str) -> None:
    os.write(2, f"{sentence}\n".encode())  # print is not for signal handlers


_active: Preemption | None = None


def _in_forked_child() -> None:
    """Leave the signals to the parent: Slurm sends them to workers that make batches as well."""
    if _active is not None:
        if _active.requeues in _active._handled:
            signal.set_wakeup_fd(-1)
            signal.signal(_active.requeues, signal.SIG_IGN)
        if signal.SIGTERM in _active._handled:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if signal.SIGINT in _active._handled:  # a terminal sends it to all; workers end with their parent
            signal.signal(signal.SIGINT, signal.SIG_IGN)


os.register_at_fork(after_in_child=_in_forked_child)
