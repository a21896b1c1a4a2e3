"""The verb ``pilot``: small trainings of the first plans, within a share of the full cost, before one is recommended.

    python main.py pilot --config configs/euds/sst2.yaml --share 0.1 --budget 0.3 --output RUN
    python main.py fit --config configs/euds/sst2.yaml --config RUN/plan.yaml --output runs/sst2-planned

What a pilot has trained lies in the cache, so that the same command goes on where it stopped.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from selectune.common import checks
from selectune.common.errors import BudgetError, UserError
from selectune.common.files import write_json
from selectune.diagnose.diagnose import encoder_of
from selectune.diagnose.page import read_findings
from selectune.forecast.measure import QUICK
from selectune.pilot.account import Account, encoding_flops
from selectune.pilot.budget import TotalBudget
from selectune.pilot.conclusion import concluded
from selectune.pilot.costs import Costs, on_one_device, refuse_uncountable
from selectune.pilot.decision import Decision
from selectune.pilot.design import Design
from selectune.pilot.faults import faults_of
from selectune.pilot.page import write_page
from selectune.pilot.plan import decided, diagnosed, task_of, write
from selectune.pilot.plan_rows import PlanRows
from selectune.pilot.readings import available, read_held_out, read_pool
from selectune.pilot.recipes import recipes
from selectune.pilot.result import Pilot
from selectune.pilot.small_trainings import PART, SmallTrainings
from selectune.pilot.terminal import print_pilot
from selectune.pilot.trying import RANDOM, Embedded, Heads, Trying
from selectune.runs.job import Job, Piloted, abandoned_on_mistakes, begin
from selectune.signals.definitions import ScoringModel

OPTION = "--share"
ARMS = 2  # plans that are tried beside random rows, at most


def pilot(job: Job, share: float, budget: str) -> None:
    """Try the first plans on parts of the pool; write ``pilot.json``, ``plan.yaml``, a page and the files of a plan.

    Args:
        job: as `fit` takes it.
        share: of the full cost that all of it may take, the diagnosis included.
        budget: of the plans, see `TotalBudget`.

    Raises:
        UserError: a share or budget that is none or that is too little, several processes, a warm-up, rows without
            classes, or whatever a plan refuses.
    """
    asked = TotalBudget.parse(budget)
    checks.share(OPTION, share, BudgetError)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError("pilot trains in one process, with the batches of trainer.devices; start it alone.")
    with abandoned_on_mistakes(job):
        refuse_untriable(job)
        begin(job, "pilot")
        decision, outcome = piloted(on_one_device(job), asked, share)
    write(job.run, decision, outcome.plan, Piloted(str(job.run.path.resolve()), outcome.plan))
    write_json(job.run.pilot, outcome.to_json())
    write_page(job.run)
    print_pilot(outcome, decision, job.run)


def refuse_untriable(job: Job) -> None:
    """Refuse a job whose trainings a pilot cannot make or judge.

    Raises:
        UserError: it warms up, or its rows have no classes.
    """
    if job.warm_up is not None:
        raise UserError(
            "A pilot trains from model.checkpoint; warm up first, and give the warm-up's export as model.checkpoint in "
            "place of warm_up.",
            option="warm_up",
        )
    if not job.data.has_classes:
        kind = type(job.data).__name__
        raise UserError(f"A pilot is judged by the classes of held-out rows, which {kind} has none of; use plan.")


def piloted(job: Job, budget: TotalBudget, share: float) -> tuple[Decision, Pilot]:
    """Diagnose, plan, try and recommend, for a job of one device that has begun.

    Raises:
        UserError: see `pilot`.
    """
    refuse_uncountable(job)
    budget.check_rows(len(job.data.pool))
    if "train" not in job.data.labels:
        raise UserError("A pilot is judged by the classes of rows, but this pool has no labels; use plan.")
    head = deepcopy(job.model.head)
    names, scoring = encoder_of(job)
    with tempfile.TemporaryDirectory() as folder:
        with job.ledger.stage("pilot", PART, "timing") as cost:
            costs = Costs.of(job, Path(folder), QUICK)
            timed = QUICK.batches * job.data.batch_size
            flops = costs.full.on(timed, costs.full.tokens_per_row, 1).flops
            cost.add(timed, flops=flops, method="a few batches like those of the fit")
        encoding = encoding_flops(job, names, scoring)
        a_row = 0.0 if encoding is None or costs.full.unit == "device_s" else encoding / costs.full.rows
        account = Account(job, costs.full, a_row, ARMS)
        if not job.run.diagnosis.is_file():  # what is too little is refused before it is spent
            account.design(share, account.ahead(read=False) + a_row * costs.full.rows)
        before, content = diagnosed(job)
        with job.ledger.stage("pilot", PART, "planning") as cost:
            decision = decided(job, budget, before, content, costs)
            scored = min(QUICK.rows, costs.full.rows)
            known = [one.plan.cost.selection.flops for one in decision.ranked]
            part = sum(flops or 0.0 for flops in known) * scored / costs.full.rows
            cost.add(scored, flops=part, method="a few rows scored, by the forecast for all")
    account = Account(job, decision.full, a_row, ARMS)
    if share >= decision.share:
        raise BudgetError(
            f"{OPTION} is {share:g} of the full cost, and --budget {budget} is {decision.share:.3g} of it, which is "
            "better spent without a pilot; use plan, or a smaller share.",
            option=OPTION,
        )
    if not any(one.plan.name == RANDOM and not one.plan.unfit for one in decision.ranked):
        raise BudgetError(f"Not even random rows fit into --budget {budget}; ask for more.", option="--budget")
    design = account.design(share, account.ahead(read=False))
    return decision, _tried(job, decision, content, design, account, scoring, head, share)


def _tried(
    job: Job, decision: Decision, content: Mapping[str, Any], design: Design, account: Account, scoring: ScoringModel,
    head: Any, share: float,
) -> Pilot:  # fmt: skip
    """The trainings of a pilot, and what comes of them."""
    data, seed, split_off = job.data, job.data.seed, "dev" in job.data.split_off
    order = np.random.default_rng([seed, 2]).permutation(len(data.splits["dev"]))
    judged = np.sort(order[: design.held_out])
    made = available(job, recipes(faults_of(content), task_of(job))[0], scoring)
    rows = PlanRows(read_pool(job, scoring, made.values()), read_findings(job.run, content["pool_fingerprint"]), seed)
    held_out = read_held_out(job, scoring, judged)
    with job.ledger.stage("pilot", PART, "nearest rows") as cost:
        embeddings, n_classes = rows.signals["embedding"], len(data.label_names)
        embedded = Embedded.of(
            embeddings, np.asarray(rows.signals["label"]), held_out, data.labels["dev"][judged], n_classes
        )
        cost.add(len(held_out), flops=2.0 * len(held_out) * embeddings.size, method="products of embeddings (analytic)")
    design = account.design(share, account.ahead(read=True), len(judged))  # by what everything before has taken
    batch_size = account.batch_size(design.sizes[0])
    trainings = SmallTrainings(job, judged, batch_size, head, account.tried)
    trying = Trying(
        decision, made, design, rows, data.encoded("train").input_tokens, Heads(embedded, job.ledger, account.tried),
        trainings.judge, lambda: account.passes_left(design), seed,
    )  # fmt: skip
    fitting = [one.plan.name for one in decision.ranked if not one.plan.unfit and one.plan.name != RANDOM]
    tried = [name for name in fitting if name in made][: design.arms]
    trials = trying.run(split_off, tried)
    for name in fitting:
        if name not in tried:
            reason = "it is not among the first" if name in made else "its signals would cost a pass of their own"
            trials.why_not.setdefault(name, reason)
    return concluded(decision, trials, split_off, share, account.spent(), seed)
