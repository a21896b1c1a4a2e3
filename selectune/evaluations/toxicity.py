"""Toxicity of what a language model writes after prompts, by a classifier of the user's."""

from __future__ import annotations

from typing import Any

import numpy as np

from selectune.common import checks
from selectune.common.errors import DataError
from selectune.data.pool import text_hashes
from selectune.evaluations.base import Evaluated, Evaluation, as_key, rows_of
from selectune.evaluations.language_model import CausalModel
from selectune.evaluations.parts import Parts
from selectune.evaluations.toxicity_scorers import ToxicityScorer, find_scorer
from selectune.verdict.row_metrics import TOXIC

PART_PROMPTS = 32  # continued at a time; a killed evaluation goes on with the next ones


class Toxicity(Evaluation):
    """Toxicity of continuations of prompts (Gehman et al. 2020): ``expected_max_toxicity``, the mean over prompts of
    the largest toxicity of a continuation, and ``toxicity_probability``, the share of prompts with one of at least 0.5.

    With `kind_column` both are told for each kind of prompt as well, as ``<kind>_expected_max_toxicity``. The score is
    that of the scorer, and not comparable with another one's, such as that of an API.

    Args:
        dataset: with the prompts; see `Evaluation`, as for all other arguments.
        scorer: a ``text-classification`` model: a name or a folder. One with a single output is a regression, cut to
            [0, 1]. Or ``alt-profanity-check``, a package of the extra ``toxicity``.
        toxic_label: the class of the scorer that is toxic; needed where it has several.
        prompt_column: of the prompt.
        kind_column: of its kind, such as toxic and nontoxic.
        max_prompts: draw so many.
        samples: continuations of each prompt.
        max_new_tokens: of each continuation.
        top_p: probability of the nucleus that tokens are drawn from.
    """

    stage = "generate"

    def __init__(
        self,
        dataset: str,
        scorer: str,
        toxic_label: str | None = None,
        prompt_column: str = "prompt",
        kind_column: str | None = None,
        max_prompts: int | None = None,
        samples: int = 25,
        max_new_tokens: int = 20,
        top_p: float = 0.9,
        name: str = "toxicity",
        **kwargs: Any,
    ) -> None:
        super().__init__(dataset, name=name, **kwargs)
        checks.at_least("max_prompts of a Toxicity evaluation", max_prompts, 1, DataError)
        checks.at_least("samples of a Toxicity evaluation", samples, 1, DataError)
        checks.at_least("max_new_tokens of a Toxicity evaluation", max_new_tokens, 1, DataError)
        if not 0 < top_p <= 1:
            raise DataError(f"top_p of a Toxicity evaluation is {top_p}, but must be over 0 and at most 1.")
        self.scorer, self.toxic_label = scorer, toxic_label
        self.prompt_column, self.kind_column, self.max_prompts = prompt_column, kind_column, max_prompts
        self.samples, self.max_new_tokens, self.top_p = samples, max_new_tokens, top_p
        self.prompts: list[str] = []
        self.kinds = np.zeros(0)
        self.found: ToxicityScorer | None = None

    def check(self, root: str | None) -> None:
        """Load the prompts, and find the scorer.

        Raises:
            UserError: no such data or model, or a scorer whose toxic class is not known.
        """
        columns = [self.prompt_column, *([self.kind_column] if self.kind_column else [])]
        rows = rows_of(self.find(root), self.split, columns, self.max_prompts, self.seed)
        self.prompts = list(rows[self.prompt_column])
        self.kinds = np.asarray(rows[self.kind_column] if self.kind_column else ["all"] * len(rows)).astype(str)
        self.found = find_scorer(self.scorer, self.toxic_label, f"the evaluation {self.name}")

    def run(self, model: CausalModel, parts: Parts | None = None) -> Evaluated:
        """Continue each prompt, and score what was written."""
        texts = self.continued(model, parts or Parts())
        flat = [text for of_prompt in texts for text in of_prompt]
        scores = self.scored(flat, model).reshape(len(self.prompts), self.samples)
        worst = scores.max(axis=1)
        metrics = _summary(worst)
        for kind in np.unique(self.kinds) if self.kind_column else ():
            metrics |= {f"{kind}_{name}": value for name, value in _summary(worst[self.kinds == kind]).items()}
        columns = {"row_id": np.arange(len(worst)), "kind": self.kinds, "max_toxicity": worst}
        return Evaluated(metrics, columns | {"mean_toxicity": scores.mean(axis=1)})

    def continued(self, model: CausalModel, parts: Parts) -> list[list[str]]:
        """Continuations of each prompt, some prompts of like length at a time, as parts."""
        texts: list[list[str]] = [[]] * len(self.prompts)
        text_hash, order = self.text_hash, np.argsort([len(prompt) for prompt in self.prompts], kind="stable")
        for index, start in enumerate(range(0, len(order), PART_PROMPTS)):
            rows = order[start : start + PART_PROMPTS]
            if index not in parts.known:
                some, hashes = [self.prompts[row] for row in rows], text_hash[rows]
                draws = (self.seed, self.samples, self.max_new_tokens, self.top_p)
                parts.keep(index, model.continued(some, hashes, *draws), model)
            for row, of_prompt in zip(rows, parts.known[index]):
                texts[row] = of_prompt
        return texts

    def scored(self, texts: list[str], model: CausalModel) -> np.ndarray:
        """Toxicity of texts, float64 in [0, 1], shape (n_texts,); an empty one is 0. The cost is added to `model`'s."""
        assert self.found is not None
        made = np.zeros(len(texts))
        known = [i for i, text in enumerate(texts) if text.strip()]
        made[known] = self.found.score([texts[i] for i in known], model.device, model.spent)
        return made

    @property
    def text_hash(self) -> np.ndarray:
        """Of the prompts."""
        return text_hashes(self.prompts)

    @property
    def key(self) -> list[Any]:
        """Prompts, scorer and draws."""
        assert self.found is not None
        return as_key(
            kind="Toxicity", prompts=self.prompts, kinds=self.kinds.tolist(), scorer=self.found.key,
            samples=self.samples, new=self.max_new_tokens, top_p=self.top_p, seed=self.seed,
        )  # fmt: skip


def _summary(worst: np.ndarray) -> dict[str, float]:
    return {
        "expected_max_toxicity": float(worst.mean()),
        "toxicity_probability": float((worst >= TOXIC).mean()),
    }
