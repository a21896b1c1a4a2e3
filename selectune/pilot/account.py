"""Costs of a pilot: prices of its parts beforehand, and what it has taken so far of its limit."""

from __future__ import annotations

from dataclasses import dataclass, field

from selectune.common.flop_formulas import adamw_flops
from selectune.costs.flops import UnfitFlopsError
from selectune.costs.record import BESIDE, CostRecord
from selectune.costs.saving import Unit
from selectune.costs.scorer_ratio import n_parameters
from selectune.costs.uninterrupted import split_costs
from selectune.data.batches import EVALUATION_PADDING, plan_batches
from selectune.forecast import plans as forecast
from selectune.pilot.costs import spent
from selectune.pilot.design import PARTS, Design, Prices, designed
from selectune.pilot.plans import Amount, FullTraining
from selectune.runs.job import Job
from selectune.selection.request import cached_tokens
from selectune.signals.compute import recorded
from selectune.signals.definitions import ScoringModel
from selectune.signals.forward import make_scorer

PLANNED = ("timing", "planning")  # names of work, as the ledger has them
TRIED = ("pilot-", "rehearsal-")  # beginnings of the names of trainings
FORWARD = 1 / 3  # of a training step is the forward pass
UNTOUCHED = 0.02  # of the limit is never spent, as batches are padded
STEPS_AT_LEAST, SMALLEST_BATCH = 24, 4  # of the smallest subset: batches are made smaller for so many steps


@dataclass
class Account:
    """Prices of a pilot's parts, in the unit that the full training is counted in.

    Args:
        job: begun.
        full: the training on all rows.
        encoding: of the scorer's pass over the pool, by row; 0 where it is not known.
        arms: plans that are tried beside random rows, at most.
        tried: names of the trainings so far, as the ledger has their work.
    """

    job: Job
    full: FullTraining
    encoding: float
    arms: int
    tried: list[str] = field(default_factory=list)

    @property
    def unit(self) -> Unit:
        """In which everything is counted."""
        return self.full.unit

    def a_row(self, batch_size: int) -> float:
        """A training step, by row; with smaller batches the optimizer takes more of them."""
        data, model = self.job.data, self.job.model
        steps = 1 / batch_size - 1 / data.batch_size
        more = adamw_flops(n_parameters(model.source.folder)) * steps if self.unit == "flops" else 0.0
        return self._amount(self.full.on(1, self.full.tokens_per_row, 1)) + more

    def batch_size(self, smallest: int) -> int:
        """Rows of a batch of the small trainings, where the smallest subset has so many rows."""
        steps = smallest * self.full.epochs / STEPS_AT_LEAST
        return min(self.job.data.batch_size, max(SMALLEST_BATCH, int(steps)))

    @property
    def a_held_out_row(self) -> float:
        """Reading a held-out row by the model."""
        lengths = self.job.data.encoded("dev").input_tokens
        a_row = FORWARD * self.a_row(self.job.data.batch_size) * float(lengths.mean()) / self.full.tokens_per_row
        return a_row / (1 - EVALUATION_PADDING)

    def spent(self) -> Amount:
        """Everything that it has cost, as if it had not been interrupted; what a cache spared it counts, too."""
        return spent(self._records())

    # An earlier attempt may have gone further than this one is, so the following two do not count all that was spent.

    def ahead(self, read: bool) -> float:
        """The part of the cost that comes before the trainings.

        Args:
            read: count the reading of held-out rows and of signals for the trainings, beside diagnosis and plans.
        """
        before = [one for one in self._records() if one.part == "diagnosis" or one.work in PLANNED]
        if read:
            others = [one for one in self._records() if one.part == "pilot" and one.work not in PLANNED]
            before += [one for one in others if not _name(one).startswith(TRIED)]
        return self._amount(spent(before))

    def taken(self) -> float:
        """The part of the cost up to the last training of `tried`."""
        tried = [one for one in self._records() if one.part == "pilot" and _name(one) in self.tried]
        return self.ahead(read=True) + self._amount(spent(tried))

    def _records(self) -> list[CostRecord]:
        """What diagnosis and pilot took, each piece of work once, as a cache spares the one what the other did."""
        records = [one for one in split_costs(recorded(self.job.ledger)).kept if one.part in BESIDE]
        return list({(one.stage, one.started_at, one.rank): one for one in reversed(records)}.values())

    def design(self, share: float, ahead: float, held_out: int | None = None) -> Design:
        """Sizes of the trainings within a share of the full cost.

        Args:
            share: of the full cost.
            ahead: what else the pilot takes of it.
            held_out: rows that are embedded already to be judged on; None for as many of ``dev`` as the share pays for.

        Raises:
            BudgetError: too little is left.
        """
        embedded = held_out is not None
        rows = len(self.job.data.splits["dev"]) if held_out is None else held_out
        a_held_out_row = self.a_held_out_row + (0.0 if embedded else self.encoding / (len(PARTS) + 1))

        def sized(batch_size: int) -> Design:
            prices = Prices(self._amount(self.full.cost), ahead, self.a_row(batch_size), a_held_out_row)
            return designed(prices, share, self.full.epochs, rows, self.arms, self.full.rows)

        return sized(self.batch_size(sized(self.job.data.batch_size).sizes[0]))

    def passes_left(self, design: Design) -> float:
        """Row passes of a training, with its held-out rows, that the limit still pays for."""
        rest = (1 - UNTOUCHED) * design.limit - self.taken() - design.held_out * self.a_held_out_row
        return max(0.0, rest) / self.a_row(self.batch_size(design.sizes[0]))

    def _amount(self, of: Amount) -> float:
        return float(of.device_s if self.unit == "device_s" else of.flops or 0.0)


def _name(record: CostRecord) -> str:
    """Name of the work of a record, without the part that tells its evaluation apart."""
    return (record.work or "").partition(":")[0]


def encoding_flops(job: Job, names: frozenset[str], scoring: ScoringModel) -> float | None:
    """FLOPs of one pass of the scorer over the pool, counted beforehand; None where they cannot be."""
    forward = [name for name in names if scoring.kind(name) in ("encoder", "language", "head")]
    scorer = make_scorer(forward, scoring)
    try:
        flops, product = scorer.flops()
    except UnfitFlopsError:
        return None
    tokens = cached_tokens(job.data.pool, scoring.tokenizer, job.data.max_length)
    batches = plan_batches(tokens.lengths, scoring.max_batch_tokens)
    return forecast.scoring(tokens, batches, flops, product, scorer.passes_of).flops
