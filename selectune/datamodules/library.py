"""Score and select rows in memory, by one call each.

ledger = Ledger()
entropies = score(frame, "bert-base-uncased", ["generative_entropy"], ledger=ledger)
kept = select(frame, IGSE(), "bert-base-uncased", keep=0.5, ledger=ledger)
print(kept.data, kept.rows, ledger.spent.flops)
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from selectune.common.errors import DataError, SelectionError, UserError
from selectune.common.ranks import world
from selectune.costs.ledger import Ledger
from selectune.data.given import Given, load_data
from selectune.data.splits import DEV_NAMES
from selectune.data.texts import Texts
from selectune.datamodules.base import SelectionDataModule
from selectune.datamodules.language_modeling import LanguageModeling
from selectune.datamodules.text_classification import TextClassification
from selectune.lightning_modules.fine_tuner import FineTuner
from selectune.lightning_modules.scorers.settings import ScorerSettings
from selectune.selection.manifest import Selection
from selectune.selection.request import SelectionRequest
from selectune.selection.scoring import score_rows
from selectune.selection.stage import library_trainers, select_rows
from selectune.selectors.base import Selector
from selectune.signals.forward import TrainerFor

if TYPE_CHECKING:
    import pandas as pd

    Rows: TypeAlias = Given | Sequence[str] | pd.Series
else:
    Rows = Any


@dataclass(frozen=True)
class Kept(Selection):
    """A selection with the rows themselves.

    Args:
        data: the kept rows, as the type that came in; of a name a ``Dataset``, of a ``DatasetDict`` one whose train
            split they are.
        ledger: that was charged.
    """

    data: Any
    ledger: Ledger


def score(
    rows: Rows,
    model: str,
    signals: str | Sequence[str],
    *,
    text_column: str = "text",
    pair_column: str | None = None,
    label_column: str | None = "label",
    scorer: ScorerSettings | None = None,
    max_length: int = 128,
    seed: int = 0,
    ledger: Ledger | None = None,
    accelerator: str = "auto",
) -> dict[str, np.ndarray]:
    """Signals of some rows, in their order; they are kept in the cache, where `select` finds them.

    Args:
        rows: a list of texts, a data frame, a ``Dataset`` or ``DatasetDict``, or a name as ``data.dataset`` takes it;
            of several splits those of ``train``, else of the first one that is not called as held-out rows are.
        model: that scores, by name or folder.
        signals: names, such as ``generative_entropy`` or ``embedding``.
        text_column: of the text.
        pair_column: of the second text of pairs.
        label_column: of the label, where there is such a column; None ignores it, and labels that are no classes are
            left out.
        scorer: how the model scores.
        max_length: tokens that a row is cut to.
        seed: of what is random in the signals.
        ledger: is charged.
        accelerator: as Lightning's Trainer takes it.

    Returns:
        An array a signal, of shape (n_rows,) or, of embeddings, (n_rows, width).

    Raises:
        UserError: something about rows, model or signals is not as it must be.

    Warns:
        UserWarning: why labels are left out.
    """
    names = frozenset([signals] if isinstance(signals, str) else signals)
    if not names:
        raise UserError("No signal is named; name one, such as generative_entropy.", option="signals")
    columns = (text_column, pair_column, label_column)
    data = _pool_of(rows, columns, max_length=max_length, seed=seed)
    with _ready(data, model, ledger or Ledger(), accelerator) as (fine_tuner, trainer_for, charged):
        request = SelectionRequest(
            data.pool, None, data.budget, seed, data, data, max_length, labels=data.labels.get("train"),
            prior=data.prior, scorer=scorer or ScorerSettings(),
        )  # fmt: skip
        found = score_rows(request, names, fine_tuner, trainer_for, charged)
    return {name: np.asarray(found[name]) for name in sorted(names)}


def select(
    rows: Rows,
    selector: Selector,
    model: str,
    keep: float | None = None,
    *,
    keep_rows: int | None = None,
    keep_tokens: int | None = None,
    target: str | Texts | list[str | Texts] | None = None,
    text_column: str = "text",
    pair_column: str | None = None,
    label_column: str | None = "label",
    scorer: ScorerSettings | None = None,
    max_length: int = 128,
    seed: int = 0,
    ledger: Ledger | None = None,
    accelerator: str = "auto",
) -> Kept:
    """Select rows, by the same stage as a fit's; all rows are the pool, none are split off.

    Args:
        rows: as in `score`; row ids are positions in them.
        selector: such as ``IGSE()``.
        model: that scores, and whose tokens are counted.
        keep: a share of the rows.
        keep_rows: a number of rows instead.
        keep_tokens: a number of tokens instead.
        target: rows that the selector compares with, such as ``Texts(frame)``; default the split ``validation`` of a
            ``DatasetDict``.
        text_column: as in `score`, and so are the others.
        pair_column: likewise.
        label_column: likewise.
        scorer: likewise.
        max_length: likewise.
        seed: of the selector and the order among equal scores.
        ledger: is charged; default a new one.
        accelerator: as in `score`.

    Raises:
        UserError: something about rows, model, selector or budget is not as it must be.

    Warns:
        UserWarning: why labels are left out.
    """
    columns, budget = (text_column, pair_column, label_column), {"keep": keep, "keep_rows": keep_rows}
    data = _pool_of(
        rows,
        columns,
        selector=selector,
        keep_tokens=keep_tokens,
        target=target,
        max_length=max_length,
        seed=seed,
        **budget,
    )
    with _ready(data, model, ledger or Ledger(), accelerator) as (fine_tuner, trainer_for, charged):
        request = data.request(scorer)
        assert request is not None
        chosen = select_rows(request, fine_tuner, trainer_for, charged)
    return Kept(chosen.rows, chosen.scores, chosen.manifest, _taken(rows, data, chosen.rows), charged)


@contextmanager
def _ready(
    data: SelectionDataModule, model: str, ledger: Ledger, accelerator: str
) -> Iterator[tuple[FineTuner, TrainerFor, Ledger]]:
    """The model, what makes Trainers, and the ledger with their device; the data are loaded."""
    if world()[1] > 1:
        raise SelectionError("score and select are for one process; with several use `selectune select`.")
    fine_tuner = FineTuner(model, seed=data.seed)
    with library_trainers(accelerator) as trainer_for:
        ledger.device = str(trainer_for().strategy.root_device)
        data.load(fine_tuner.source)
        yield fine_tuner, trainer_for, ledger


def _pool_of(rows: Rows, columns: tuple[str, str | None, str | None], **options: Any) -> SelectionDataModule:
    """A data module whose pool are all rows: of classes where there are labels, else of texts.

    Of a data set's other splits it has the validation split alone: nothing reads the others.
    """
    import pandas as pd

    text, pair, label = columns
    given: Any = pd.DataFrame({text: list(rows)}) if _are_texts(rows) else rows
    source = load_data(given)
    pool = _pool_split(source.splits)
    dev = next((name for name in DEV_NAMES if name in source.splits and name != pool), None)
    splits = {"train": source.splits[pool]} | ({dev: source.splits[dev]} if dev else {})
    places = {"train": source.places[pool]} if pool in source.places else {}
    described = f"{source.described.rpartition(' (')[0]} ({len(splits['train']):,} rows)"
    source = replace(source, splits=splits, places=places, described=described)
    options |= {"dev_split": dev}

    def of(data: SelectionDataModule) -> SelectionDataModule:
        data.whole, data.loaded = True, source
        return data

    labelled = label is not None and label in splits["train"].column_names
    if not labelled and pair is not None:
        raise DataError(f"Pairs of texts need a label, but there is no column {label!r}; name it in label_column.")
    texts = of(LanguageModeling(given, text, **options)) if pair is None else None
    if not labelled:
        assert texts is not None
        return texts
    assert label is not None
    data = of(TextClassification(given, text, pair, label, **options))
    try:
        data.load()
    except DataError as error:
        if texts is None:
            raise
        texts.load()  # refuses what is wrong with the texts
        warnings.warn(f"The rows are taken without their labels: {error}", stacklevel=3)
        return texts
    return data


def _pool_split(names: Iterable[str]) -> str:
    """Name of the split to select from: train, else the first that is not called as held-out rows are, else the first.

    Args:
        names: of all splits, at least one.
    """
    return min(names, key=lambda name: (name != "train", name in (*DEV_NAMES, "test")))


def _are_texts(rows: Any) -> bool:
    """Whether rows are texts by themselves: a list or a column of a data frame."""
    import pandas as pd

    return isinstance(rows, list | tuple | pd.Series | np.ndarray)


def _taken(rows: Any, data: SelectionDataModule, kept: np.ndarray) -> Any:
    """Some of the rows, as the type that came in."""
    import pandas as pd
    from datasets import Dataset, DatasetDict

    if isinstance(rows, pd.DataFrame | pd.Series):
        return rows.iloc[kept]
    if isinstance(rows, Dataset):
        return rows.select(kept)
    if _are_texts(rows):
        return rows[kept] if isinstance(rows, np.ndarray) else type(rows)(rows[row] for row in kept)
    if isinstance(rows, DatasetDict):
        name = _pool_split(rows)
        return DatasetDict(rows | {name: rows[name].select(kept)})
    return data.find().splits["train"].select(kept)
