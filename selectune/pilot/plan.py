"""The verb ``plan``: ranked plans for a pool and a budget, each with its cost and the gain that was measured for it.

    python main.py plan --config configs/euds/sst2.yaml --budget 0.3 --output RUN
    python main.py fit --config configs/euds/sst2.yaml --config RUN/plan.yaml --output runs/sst2-planned

The pool is diagnosed, what choosing and training will cost is forecast, and nothing is trained.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from selectune.common.errors import UserError
from selectune.common.files import atomic_file, write_json
from selectune.costs.ledger import read_ledger
from selectune.costs.record import distinct
from selectune.costs.scorer_ratio import n_parameters
from selectune.diagnose.diagnose import Examination, encoder_of
from selectune.diagnose.diagnosis import read_diagnosis, refuse_reviewed
from selectune.diagnose.expected_gains import measured_gains
from selectune.diagnose.page import read_findings
from selectune.forecast.measure import FAIR
from selectune.pilot.budget import TotalBudget
from selectune.pilot.costs import Costs, on_one_device, refuse_uncountable, spent
from selectune.pilot.decision import Decision, LeftOut
from selectune.pilot.faults import faults_of
from selectune.pilot.plans import Plan, candidates
from selectune.pilot.ranking import ranking
from selectune.pilot.recipes import Task, recipes
from selectune.pilot.terminal import print_decision
from selectune.runs.directory import Run
from selectune.runs.job import Job, Piloted, abandoned_on_mistakes, begin


def plan(job: Job, budget: str) -> None:
    """Rank plans for a job and a budget; write ``plan.json``, ``plan.yaml`` and the files of a diagnosis.

    Raises:
        UserError: a budget that is none, several processes, or whatever a diagnosis or a forecast refuses.
    """
    asked = TotalBudget.parse(budget)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError("plan measures in one process, for as many as trainer.devices says; start it alone.")
    with abandoned_on_mistakes(job):
        begin(job, "plan")
        decision = decide(on_one_device(job), asked)
    write(job.run, decision)
    print_decision(decision, job.run)


def decide(job: Job, budget: TotalBudget) -> Decision:
    """Diagnose the pool of a job that has begun, forecast its costs, and rank what the budget allows.

    Raises:
        UserError: a training whose length is not known, more rows than there are, or what a diagnosis refuses.
    """
    refuse_uncountable(job)
    budget.check_rows(len(job.data.pool))
    before, content = diagnosed(job)
    with tempfile.TemporaryDirectory() as folder:
        effort = None if budget.unit == "hours" else FAIR
        return decided(job, budget, before, content, Costs.of(job, Path(folder), effort))


def decided(job: Job, budget: TotalBudget, before: bool, content: Mapping[str, Any], costs: Costs) -> Decision:
    """Rank what the budget allows.

    Args:
        job: begun.
        budget: for choosing and training.
        before: whether the diagnosis was there already.
        content: of the ``diagnosis.json`` of its pool.
        costs: of its training.
    """
    found, task = faults_of(content), task_of(job)
    made, left_out = recipes(found, task)
    if budget.unit == "hours":
        costs.full = replace(costs.full, unit="device_s")
    share, full = budget.share_of(costs.full), costs.full
    named = read_findings(job.run, content["pool_fingerprint"])
    choices = costs.choices(made, share, content["findings"], named)
    if any(choice.cost.flops is None for choice in choices.values()):
        full = replace(full, unit="device_s")
    plans = candidates(made, choices, full, share, task)
    records = distinct(record for record in read_ledger(job.run.costs) if record.part == "diagnosis")
    rare = content["findings"].get("rare_class", {"details": {}})["details"]
    return Decision(
        pool=content["pool"],
        pool_fingerprint=content["pool_fingerprint"],
        budget=str(budget),
        share=share,
        full=full,
        diagnosis=spent(records),
        diagnosed_before=before,
        prior=str(rare.get("prior", "balanced")) if rare else "",
        faults=tuple(found.values()),
        ranked=tuple(ranking(plans, found, measured_gains(), share, _scorer_size(job))),
        left_out=tuple(LeftOut(name, why) for name, why in left_out.items()),
        notes=tuple(costs.notes),
        device=job.ledger.device,
    )


def _scorer_size(job: Job) -> float:
    """Weights of the model that embeds and scores rows, as a share of those of the model that is trained."""
    scorer, model = (n_parameters(source.folder) for source in (encoder_of(job)[1].source, job.model.source))
    return scorer / model if scorer and model else 1.0


def diagnosed(job: Job) -> tuple[bool, dict[str, Any]]:
    """Whether the run holds a diagnosis of the job's pool already, and its content; else it is made."""
    if job.run.diagnosis.is_file():
        content = read_diagnosis(job.run.path)
        if content["pool_fingerprint"] == job.data.pool.fingerprint:
            return True, content
    refuse_reviewed(job.run)
    began = time.perf_counter()
    return False, Examination.of(job).write(job, began)


def task_of(job: Job) -> Task:
    """The settings of a job that decide which plans there are."""
    warm_up = None if job.warm_up is None else job.warm_up.data
    chosen = warm_up is not None and (warm_up.selector is not None or warm_up.selection is not None)
    return Task(
        data=job.config["data"]["class_path"],
        has_classes=job.data.has_classes and "train" in job.data.labels,
        has_trusted=job.data.trusted is not None,
        reviewed=job.data.review is not None,
        warm_up_data="" if warm_up is None else job.config["warm_up"]["data"]["class_path"],
        warm_up="nothing" if warm_up is None else "selected" if chosen else "all",
        review=str(job.run.plan_review),
    )


def write(run: Run, decision: Decision, name: str | None = None, piloted: Piloted | None = None) -> None:
    """Write ``plan.json``, and the overlay of a plan with the review that it takes.

    Args:
        run: to write into.
        decision: with the plans.
        name: of the plan; default the first.
        piloted: the pilot that its fit is to be compared with.
    """
    dropping = any("review" in _data_settings(one.plan) for one in decision.ranked)
    if dropping:
        _write_review(run, decision)
    write_json(run.plan, decision.to_json())
    fitting = [one.plan for one in decision.ranked if not one.plan.unfit]
    chosen = next((plan for plan in fitting if name in (None, plan.name)), None)
    if chosen is None:
        run.plan_overlay.unlink(missing_ok=True)
        return
    with atomic_file(run.plan_overlay) as partial:
        partial.write_text(overlay_text(decision, chosen, piloted), encoding="utf-8")


def overlay_text(decision: Decision, chosen: Plan, piloted: Piloted | None = None) -> str:
    """A plan as a config that ``fit`` takes after the one that was planned for."""
    overlay = chosen.overlay if piloted is None else chosen.overlay | {"pilot": asdict(piloted)}
    head = f"# The plan {chosen.name} of {decision.pool}, at {decision.share:.3g} of the full cost; made by plan.\n"
    return head + yaml.safe_dump(overlay, sort_keys=False, allow_unicode=True)


def _data_settings(chosen: Plan) -> Mapping[str, Any]:
    settings: Mapping[str, Any] = chosen.overlay.get("data", {}).get("init_args", {})
    return settings


def _write_review(run: Run, decision: Decision) -> None:
    """Write the review that drops the rows of the findings which no filter finds."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from selectune.pilot.recipes import DROPPED

    named = read_findings(run, decision.pool_fingerprint)
    counting = [fault.name for fault in decision.faults if fault.counts and fault.name in DROPPED]
    rows = np.unique(np.concatenate([named[name] for name in counting]))
    columns = {"row_id": pa.array(rows, pa.int64()), "action": pa.array(["drop"] * len(rows), pa.string())}
    table = pa.table(columns, metadata={"pool_fingerprint": decision.pool_fingerprint})
    with atomic_file(run.plan_review) as partial:
        pq.write_table(table, partial)
