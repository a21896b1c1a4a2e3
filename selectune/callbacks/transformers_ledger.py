"""The ledger of a `transformers.Trainer`: its training and evaluations, as a fit of this project writes them.

trainer = transformers.Trainer(model, args, ..., callbacks=[TransformersCostLedger("runs/mine")])
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import SaveStrategy

from selectune.callbacks.batch_costs import BatchCosts
from selectune.common.errors import RunDirectoryError
from selectune.common.ranks import gather, world
from selectune.common.run_files import RunFiles
from selectune.costs.flops import FlopModel
from selectune.costs.ledger import Ledger, StageCost
from selectune.costs.record import AGAIN, Kept, Part, Stage


class TransformersCostLedger(TrainerCallback, ExportableState):
    """Writes a record of ``cost.jsonl`` for a training and for each evaluation or prediction, as `CostLedger` does.

    Batches are counted where the model is called with ``input_ids``. An evaluation begins with its first batch, as
    transformers tells of its end alone: with the call of the model after which it tells of a batch. Calls that are
    none of the Trainer's are charged to no stage. Checkpoints hold what the training has cost so far.

    Args:
        run: the folder whose ``cost.jsonl`` is written; None keeps the records in memory, as ``ledger.records``.
        stage: the stage that a training is charged to.
        part: whose data it serves.
        evaluation: the stage that an evaluation or prediction is charged to.
    """

    def __init__(
        self,
        run: str | Path | None = None,
        stage: Stage = "train",
        part: Part = "fit",
        evaluation: Stage = "evaluate",
    ) -> None:
        self.ledger = Ledger(RunFiles(Path(run)).costs if run else None)
        self.stage, self.part, self.evaluation = stage, part, evaluation
        self.saved: list[dict[str, Any]] | None = []  # of the training so far, on all ranks; in checkpoints
        self._occupied = self.ledger.path is not None and self.ledger.path.exists()
        self._costs = BatchCosts()
        self._training: StageCost | None = None
        self._evaluation: StageCost | None = None
        self._model: Any = None  # whose calls are counted
        self._hook: Any = None  # that counts them
        self._batches = 0
        self._begun = False

    def state(self) -> dict[str, Any]:
        """The state that transformers writes into a checkpoint."""
        run = None if self.ledger.path is None else str(self.ledger.path.parent)
        args = {"run": run, "stage": self.stage, "part": self.part, "evaluation": self.evaluation}
        return {"args": args, "attributes": {"saved": self.saved}}

    # transformers calls these, in this order.

    def on_init_end(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
        """Watch the calls of the model."""
        if model is not None and model is not self._model:
            if self._hook is not None:
                self._hook.remove()
            self._model = model
            self._hook = model.register_forward_pre_hook(self._called, with_kwargs=True)

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Start the clock, and count the FLOPs of a row: counting is work too.

        Raises:
            RunDirectoryError: the folder holds the ledger of another run.
        """
        self._close(False)  # of a training that an error has ended
        self.on_init_end(args, state, control, model := more["model"])
        self._costs = BatchCosts()  # other weights may be trained than before
        path, resumed = self.ledger.path, state.global_step > 0
        if path is not None and self._occupied and not resumed and world()[0] == 0:
            raise RunDirectoryError(
                f"{path.parent} holds the ledger of another run, which this one would be charged with; give "
                "TransformersCostLedger another folder, or resume_from_checkpoint to go on with that run."
            )
        self._begin(args.device)
        known = state.stateful_callbacks.setdefault(type(self).__name__, self.state())
        self.saved = known["attributes"].get("saved") if resumed and isinstance(known, dict) else []
        kept = None if resumed and not self.saved else tuple(map(Kept.of, self.saved or ()))
        if kept and self.ledger.resumed:
            # the first attempt's record has this counting already, so a resumed one gets a record of its own
            with self.ledger.stage(self.stage, self.part, f"{self.stage}{AGAIN}", ()) as start:
                start.add(method="no arithmetic")
                self._costs.flops_of(model, True)
        self._before = self.saved
        self._training = self.ledger.open(self.stage, self.part, self.stage, kept)
        self._costs.optimized_by([more["optimizer"]])
        if isinstance(flops := self._costs.flops_of(model, True), FlopModel):
            self._training.add(method=flops.method)

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Add the optimizer's step, and note the cost of a checkpoint that follows."""
        if self._training is not None:
            self._costs.add(self._training, self._model, [], stepped=True)
            self.on_epoch_end(args, state, control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Note the cost of a checkpoint that follows, on all ranks."""
        if control.should_save:
            self._note_cost()

    def _note_cost(self) -> None:
        if self._training is not None and self._before is not None:
            mine = asdict(Kept.of(self._training.so_far().to_json()))
            self._training.heartbeat(at_once=True)  # the checkpoint must not outlive its cost
            self.saved = [*self._before, *gather(mine)]

    def on_prediction_step(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Know that the batch was one of an evaluation."""
        if self._evaluation is not None and not self._evaluation.confirmed:
            self._begin(args.device)
            self._evaluation.confirm()

    def on_evaluate(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Write the evaluation's record, and let the training's clock run on."""
        self._end_evaluation()
        if args.save_strategy == SaveStrategy.BEST:  # transformers decides only now whether to save
            self._note_cost()

    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any, **more: Any) -> None:
        """Write the prediction's record."""
        if self._evaluation is not None:
            self._evaluation.work = self._evaluation.work.replace("validate", "predict")
        self._end_evaluation()

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Write the record."""
        self._close(True)
        self._begun = False  # a later training is an attempt of its own

    def _begin(self, device: Any) -> None:
        if not self._begun:
            self.ledger.rank, self.ledger.world_size = world()
            self.ledger.device = str(device)
            self.ledger.begin_attempt()
        self._begun = True

    def _called(self, model: Any, args: tuple[Any, ...], inputs: dict[str, Any]) -> None:
        """Add a batch that the model is called with."""
        if self._costs.counting:
            return
        batch = inputs if "input_ids" in inputs or not args else {"input_ids": args[0]} | inputs
        if model.training:
            if self._evaluation is not None and not self._evaluation.confirmed:
                self._end_evaluation()  # of a call that was none of the Trainer's
            if self._training is not None:
                self._batches += 1
                self._costs.add(self._training, model, [(batch, (True,))])
            return
        if self._evaluation is None or not self._evaluation.confirmed:
            if self._training is not None:
                self._training.pause()
            if not self._begun:
                self.ledger.device = str(model.device)
            work = f"{self.stage}: validate after {self._batches} batches" if self._batches else ""
            # an earlier call that was not confirmed is forgotten
            self._evaluation = self.ledger.open(self.evaluation, self.part, work, tentative=True)
        self._costs.add(self._evaluation, model, [(batch, (False,))])

    def _end_evaluation(self, finished: bool = True) -> None:
        if self._evaluation is not None and self._evaluation.confirmed:
            self._evaluation.close(finished)
        self._evaluation = None
        if self._training is not None:
            self._training.resume()

    def _close(self, finished: bool) -> None:
        self._end_evaluation(finished)
        if self._training is not None:
            self._training.close(finished)
        self._training = None
