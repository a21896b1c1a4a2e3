"""A forecast: the cost of each stage, whether selecting will be cheaper, and the assumptions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from selectune.costs.record import TRAINING, CostRecord, Part, Stage, Total, totals
from selectune.costs.saving import UNIT_NAMES, UNITS, WHOLE, Saving, percent, times
from selectune.costs.scorer_ratio import PAYS_BELOW, ScorerRatio

SCHEMA = 1
HALVINGS = 12
PRICE = "What that does to the held-out metric only a trial tells: `fit --compare`."
SHOWN = ("wall_s", "device_s", "flops", "peak_rss_bytes", "peak_cuda_bytes", "examples", "tokens")


@dataclass(frozen=True)
class Forecast:
    """Estimated costs of a run."""

    records: list[CostRecord]  # of the stages that will run, as a ledger will hold them
    saving: Saving  # computed from these as from a ledger
    # The largest share of the rows at which selecting still pays, in `saving.main.unit`; 0 when it pays at none, None
    # when nothing is selected or the selector sets its own size.
    break_even_keep: float | None
    scorer: ScorerRatio | None  # None where no model scores
    assumptions: list[str]  # in sentences
    device: str  # that the times are of
    wall_s: float = 0.0  # that making the forecast took

    def spent(self, *parts: Part) -> dict[Stage, Total]:
        """The total of each stage that will run, for some parts."""
        return totals(record for record in self.records if record.part in parts).spent

    @property
    def total(self) -> Total:
        """All stages."""
        return sum(self.spent(*TRAINING).values(), Total())

    @property
    def advice(self) -> str:
        """A smaller scorer, where the scoring model is not much smaller than the trained one; else empty."""
        scorer = self.scorer
        if scorer is None or scorer.parameters is None or scorer.parameters <= PAYS_BELOW:
            return ""
        terms = self.saving.main.flops
        alike = 0.8 <= scorer.parameters <= 1.25
        size = "is as large as" if alike else f"has {times(scorer.parameters)} the weights of"
        sentence = (
            f"The scorer {size} the model. Selection pays when it is 5 to 10 times smaller (Yin & Rush 2025): name one "
            f"of about {_many(scorer.model_parameters * PAYS_BELOW)} weights in scorer.checkpoint"
        )
        if not terms.score or terms.selection is None or not terms.full_training or terms.training is None:
            return f"{sentence}."
        scored = terms.score * PAYS_BELOW / scorer.parameters
        better = 1 - (terms.selection - terms.score + scored + terms.training) / terms.full_training
        if better <= 0:
            return f"{sentence}; that alone will not make this selection pay."
        return f"{sentence}, and about {percent(better)} of the FLOPs would be saved."

    def sentence(self) -> str:
        """The headline: the cost of the selection in epochs, and the saving or loss, for the warm-up's data too."""
        main, warm_up = self.saving.main, self.saving.warm_up
        sentences = [_verdict(main, "" if self.scorer is None else self.scorer.scorer)]
        if warm_up is not None and warm_up is not main:
            sentences.append(_verdict(warm_up))
        return " ".join(sentences) if all(sentences) else self.saving.sentence()

    def break_even(self) -> str:
        """From which keep ratio down, and from how many uses on, selecting pays."""
        # Of two units that disagree the headline has the one that loses, and this the other.
        main = self.saving.main
        won = next(unit for unit in UNITS if unit != main.losing) if main.losing else None
        uses = main.break_even_sentence(won)
        if self.break_even_keep is None:
            return uses
        place = f"up to keep {self.break_even_keep:.2f}" if self.break_even_keep > 0 else "at no keep ratio"
        pays = f"In {UNIT_NAMES[main.unit]} it pays" if main.losing else "It pays"
        return f"{pays} {place}. {uses}"

    def to_json(self) -> dict[str, Any]:
        """As ``forecast.json`` holds it: each stage once, over both parts, with the parts under it."""

        def shown(total: Total) -> dict[str, Any]:
            return {name: getattr(total, name) for name in SHOWN}

        stages, of_parts = {}, {part: self.spent(part) for part in TRAINING}
        for stage, total in self.spent(*TRAINING).items():
            parts = {part: shown(spent[stage]) for part, spent in of_parts.items() if stage in spent}
            stages[stage] = {"part": "+".join(parts), **shown(total), "parts": parts}
        main = self.saving.main
        return {
            "schema": SCHEMA,
            "stages": stages,
            "total": shown(self.total),
            "saving": {unit: getattr(main, unit).saving for unit in UNITS},
            "terms": self.saving.to_json(),
            "break_even_keep": self.break_even_keep,
            "break_even_uses": getattr(main, main.unit).break_even_uses,
            "sentence": self.sentence(),
            "break_even": self.break_even(),
            "advice": self.advice,
            "assumptions": self.assumptions,
            "device": self.device,
            "estimate_s": self.wall_s,
        }


def break_even_keep(kept_share: Callable[[float], float | None], saving: Saving) -> float | None:
    """The largest keep ratio at which selection and training on the subset cost less than training on everything.

    Training costs in proportion to the tokens, so that selecting pays while the kept share of the tokens is under
    1 - selection / training on everything. Found by bisection, as the share grows with the ratio.

    Args:
        kept_share: of the tokens, at a share of the rows; None where a selector cannot keep so many.
        saving: with the costs of selection and of training on everything.

    Returns:
        In [0, 1]; None when the costs are not known.
    """
    terms = getattr(saving, saving.unit)
    if terms.selection is None or not terms.full_training:
        return None
    most = 1 - terms.selection / terms.full_training
    if most <= 0:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        share = kept_share(middle)
        low, high = (middle, high) if share is not None and share < most else (low, middle)
    return low


def _verdict(saving: Saving, scorer: str = "") -> str:
    """Whether selecting will be cheaper, in FLOPs, or in both units where they disagree; empty where it is unknown."""
    unit, losing = saving.unit, saving.losing
    terms = getattr(saving, unit)
    if not terms.selection or terms.full_training is None or terms.saving is None or not saving.epochs:
        return ""
    costs = terms.selection / (terms.full_training / saving.epochs)
    by = f" with {scorer}" if scorer else ""
    doing = "training" if saving.part == "fit" else "warming up"
    epochs = f"{saving.epochs:.3g} epoch" + ("" if saving.epochs == 1 else "s")
    shares = {one: getattr(saving, one).saving for one in (UNITS if losing else (unit,))}
    gains = {one: f"save {percent(share)} of the {UNIT_NAMES[one]}" for one, share in shares.items() if share > 0}
    losses = {one: f"lose {times(-share)} the {UNIT_NAMES[one]}" for one, share in shares.items() if share <= 0}
    sentence = (
        f"selecting from {_many(saving.pool_rows)} rows{by} costs {times(costs)} one epoch of {doing} on all of them: "
        f"with {epochs} at keep {saving.kept_rows / saving.pool_rows:.2g} you "
        f"{' but '.join([*gains.values(), *losses.values()])} of {WHOLE[saving.part]}."
    )
    if losing is None:
        return f"Selecting will {'be' if gains else 'NOT be'} cheaper: {sentence}{f' {PRICE}' if gains else ''}"
    won = next(iter(gains))
    return (
        f"Selecting will be cheaper in {UNIT_NAMES[won]} but NOT in {UNIT_NAMES[losing]}: {sentence} {PRICE} "
        f"{saving.break_even_sentence(losing)}"
    )


def _many(n: float) -> str:
    """Such as "1.0M", "66.9k", "512"."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if n >= size:
            return f"{n / size:.1f}{unit}"
    return f"{n:.0f}"
