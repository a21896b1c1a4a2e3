"""The verb ``diagnose``: one pass of a small encoder over a pool, and what it shows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import lightning.pytorch as pl
import numpy as np

from selectune.common.errors import DataError
from selectune.common.ranks import on_rank_zero
from selectune.data.pool import Pool
from selectune.data.tokens import TokenizedRows
from selectune.datamodules.base import SelectionDataModule
from selectune.diagnose import classes, composition, copies, corruption, off_topic, texts
from selectune.diagnose.diagnosis import Diagnosis, refuse_reviewed
from selectune.diagnose.findings import Finding
from selectune.diagnose.terminal import print_diagnosis
from selectune.runs.job import Job, abandoned_on_mistakes, begin
from selectune.selection.examples import SHOWN, embedding_map
from selectune.selection.request import SelectionRequest, cached_tokens
from selectune.selection.scoring import scoring_model
from selectune.selectors.base import Signals, tie_keys
from selectune.selectors.copies import near_neighbours
from selectune.selectors.ordering import key_order
from selectune.signals.compute import compute_signals, read_signals
from selectune.signals.definitions import Rows, ScoringModel

NEEDED = frozenset({"embedding", "middle_embedding"})
AT_LEAST = 20  # rows of a pool of which anything can be said


def diagnose(job: Job) -> None:
    """Look for what is wrong with the rows to train on; write ``diagnosis.json``, ``findings.parquet`` and a page.

    Raises:
        UserError: a pool of less than 20 rows, or whatever `begin` refuses.
    """
    began = time.perf_counter()
    with abandoned_on_mistakes(job):
        on_rank_zero(lambda: refuse_reviewed(job.run))
        begin(job, "diagnose")
        examination = Examination.of(job)
    on_rank_zero(lambda: print_diagnosis(examination.write(job, began)))


@dataclass
class Examination:
    """A pool with the states of an encoder, ready to be looked at.

    Args:
        data: loaded.
        rows: of the pool, with tokens and classes.
        scoring: the encoder.
        signals: of the pool.
        trusted: rows that are known to be good, and their states halfway up; None without such rows.
        damaged: of each kind: states halfway up of damaged rows, and the rows that they were made of.
        target: signals of the trusted rows, with embeddings where the pool is of several data sets.
    """

    data: SelectionDataModule
    rows: Rows
    scoring: ScoringModel
    signals: Signals
    trusted: tuple[Pool, np.ndarray] | None
    damaged: dict[str, tuple[np.ndarray, np.ndarray]]
    target: Signals | None = None

    @classmethod
    def of(cls, job: Job) -> Examination:
        """Run the encoder over the pool, the trusted rows and the damaged ones, on all ranks."""
        data = job.data
        pool, labels = data.pool, data.labels.get("train") if data.has_classes else None
        if len(pool) < AT_LEAST:
            raise DataError(f"{pool.source} has {len(pool)} rows to train on; a diagnosis needs at least {AT_LEAST}.")
        names, scoring = encoder_of(job)

        def trainer_for(**settings: Any) -> pl.Trainer:
            return job.make_trainer(logger=False, enable_checkpointing=False, **settings)

        def read(wanted: frozenset[str], part: Pool, classes_of: np.ndarray | None = None) -> tuple[Rows, Signals]:
            rows = Rows(part, cached_tokens(part, scoring.tokenizer, data.max_length), classes_of)
            definitions = compute_signals(wanted, rows, scoring, trainer_for, job.ledger, "diagnosis")
            return rows, read_signals(definitions, rows)

        rows, signals = read(names, pool, labels)
        halfway = frozenset({"middle_embedding"})
        made = corruption.damaged(joined(pool), key_order(tie_keys(pool.text_hash, data.seed)), data.seed)
        states = read(halfway, _pool_of([text for one in made for text in one.texts], "damaged rows"))[1]
        parts = np.split(states["middle_embedding"], np.cumsum([len(one.texts) for one in made])[:-1])
        damaged = {one.kind: (np.asarray(part), one.rows) for one, part in zip(made, parts, strict=True)}
        trusted = target = None
        if (known := data.known_good()) is not None:
            target = read(halfway if pool.domains is None else NEEDED, known)[1]
            trusted = known, np.asarray(target["middle_embedding"])
        return cls(data, rows, scoring, signals, trusted, damaged, target)

    @cached_property
    def texts(self) -> list[str]:
        """Of the pool's rows; several of a row are joined."""
        return joined(self.rows.pool)

    @cached_property
    def labels(self) -> np.ndarray | None:
        """Numbers of the rows' classes, where there are classes."""
        return self.signals.get("label")

    @cached_property
    def keys(self) -> np.ndarray:
        """The order of the rows by hash."""
        return self.signals.tie_keys(self.data.seed)

    def diagnosis(self) -> tuple[Diagnosis, float]:
        """The diagnosis, without its costs, and its FLOPs beside the forward passes."""
        lengths = self.rows.tokens.lengths
        whole = self._whole_lengths(lengths)
        found, skipped, flops = self._of_texts(lengths, whole), dict[str, str](), 0.0
        middle = np.asarray(self.signals["middle_embedding"], dtype=np.float32)
        embeddings, folds, seed = self.signals["embedding"], texts.folds_of(self.keys), self.data.seed
        others, cosines = near_neighbours(embeddings, seed, min(off_topic.NEIGHBOURS, len(self.rows) - 1), self.keys)
        found["not_language"], spent = texts.not_language(middle, folds, self.damaged)
        flops += spent
        bags = self._bags(self.rows.tokens)
        found["near_copy"] = copies.near_copies(others, cosines, bags, self.labels)
        if (leaked := self._leakage(bags)) is not None:
            found["leakage"] = leaked
        groups, known = [], None
        if self.labels is None:
            for name in ("label_issue", "rare_class"):
                skipped[name] = "the rows have no classes"
        else:
            names, probabilities = list(self.data.label_names), np.asarray(self.signals["class_probabilities"])
            found["label_issue"] = classes.label_issues(self.labels, probabilities, names, seed)
            found["rare_class"] = classes.rare_classes(self.labels, names, self.data.prior)
            groups = classes.hard_groups(embeddings, self.labels, probabilities, self.keys, seed)
            known = off_topic.known_of_labels(self.labels, probabilities)
        if self.trusted is not None and len(self.trusted[1]) >= off_topic.LEAST_TRUSTED:
            pool, states = self.trusted
            found["off_topic"], spent = off_topic.against_trusted(
                middle, states, folds, texts.folds_of(tie_keys(pool.text_hash, seed)), others, known
            )
            flops += spent
        elif known is not None:
            found["off_topic"], spent = off_topic.by_labels(middle, folds, others, known)
            flops += spent
        else:
            skipped["off_topic"] = f"it takes {off_topic.LEAST_TRUSTED} trusted rows; name some in data.trusted"
        sources, spent = self._sources(whole)
        flops += spent
        sample = np.argsort(self.keys, kind="stable")[:SHOWN]
        diagnosis = Diagnosis(
            self.rows.pool.source, self.rows.pool.fingerprint, len(self.rows), self.scoring.source.described, found,
            skipped, groups, None if self.trusted is None else self.trusted[0].source, plane=_plane(embeddings, sample),
            lengths=composition.lengths(whole, self.data.max_length), sources=sources,
        )  # fmt: skip
        return diagnosis, flops

    def write(self, job: Job, began: float) -> dict[str, Any]:
        """Make the diagnosis, charge it and write its files, on rank 0; gives the content of ``diagnosis.json``."""
        from dataclasses import replace

        from selectune.diagnose.page import write_page

        with job.ledger.stage("diagnose", "diagnosis") as cost:
            diagnosis, flops = self.diagnosis()
            cost.add(examples=len(self.rows), flops=flops, method="logistic regressions (analytic)")
        spent = sum(record.device_s for record in job.ledger.records if not record.cached)
        diagnosis = replace(diagnosis, device_s=spent, wall_s=time.perf_counter() - began)
        content = diagnosis.to_json(self.texts, self.labels, list(self.data.label_names))
        diagnosis.write(job.run, content)
        write_page(job.run)
        return content

    def _sources(self, tokens: np.ndarray) -> tuple[list[dict[str, Any]], float]:
        """The data sets that the pool is joined from, with their distances to trusted rows, and the FLOPs of these."""
        pool = self.rows.pool
        if pool.domains is None:
            return [], 0.0
        distances, flops = None, 0.0
        if self.target is not None and len(np.unique(pool.domains)) > 1:
            distances, flops = composition.distances_to(self.signals, self.target, self.data.seed)
        return composition.sources(pool.domain_names, pool.domains, tokens, distances), flops

    def _of_texts(self, lengths: np.ndarray, whole: np.ndarray) -> dict[str, Finding]:
        """Findings that no model is needed for."""
        return {
            "empty": texts.empty(self.texts),
            "exact_copy": copies.exact_copies(self.texts, self.labels),
            "truncated": texts.truncated(lengths, whole),
        }

    def _whole_lengths(self, lengths: np.ndarray) -> np.ndarray:
        """Tokens of each row if it were not cut; only those that are as long as can be are read again."""
        whole = lengths.copy()
        full = np.flatnonzero(lengths >= self.data.max_length)
        for start in range(0, len(full), 1000):
            part = full[start : start + 1000]
            columns = [list(column) for column in zip(*self.rows.pool.texts(part))]
            encoded = self.scoring.tokenizer(*columns, truncation=False, verbose=False)["input_ids"]
            whole[part] = [len(ids) for ids in encoded]
        return whole

    def _leakage(self, bags: Any) -> Finding | None:
        """Rows that held-out splits have too; None where these are cut from the same texts in another way."""
        held_out = [name for name in self.data.held_out if name in self.data.splits]
        if not held_out:
            return None
        theirs: list[str] = []
        blocks = []
        for name in held_out:
            rows = Pool(self.data.splits[name], self.data.text_columns, "", np.zeros(0))
            theirs += joined(rows)
            blocks.append(self._bags(self.data.tokenized(name, self.scoring.tokenizer)))
        from scipy.sparse import vstack

        return copies.leakage(self.texts, bags, theirs, vstack(blocks).tocsr(), ", ".join(held_out))

    def _bags(self, tokens: TokenizedRows) -> Any:
        """The sets of tokens of rows, without special ones."""
        ids, lengths = [], [np.zeros(1, dtype=np.int64)]
        for block, offsets in tokens.content():
            ids.append(np.asarray(block[offsets[0] : offsets[-1]]))
            lengths.append(np.diff(offsets))
        vocabulary = max(
            len(self.scoring.tokenizer), 1 + max((int(part.max()) for part in ids if len(part)), default=0)
        )
        return copies.bag_of_tokens(np.concatenate(ids), np.cumsum(np.concatenate(lengths)), vocabulary)


def encoder_of(job: Job) -> tuple[frozenset[str], ScoringModel]:
    """The signals of the pool that a diagnosis reads, by name, and the model that computes them."""
    data = job.data
    labels = data.labels.get("train") if data.has_classes else None
    request = SelectionRequest(
        data.pool, None, data.budget, data.seed, data, data, data.max_length, labels=labels, scorer=job.scorer
    )
    names = NEEDED if labels is None else NEEDED | {"class_probabilities"}
    return names, scoring_model(request, job.model, job.ledger, names)


def joined(pool: Pool) -> list[str]:
    """The text of each row; several of a row as one."""
    return [" ".join(row) for row in pool.texts()]


def _pool_of(rows: Sequence[str], source: str) -> Pool:
    from datasets import Dataset

    return Pool(Dataset.from_dict({"text": list(rows)}), ("text",), source, np.arange(len(rows)))


def _plane(embeddings: np.ndarray, sample: np.ndarray) -> dict[str, Any]:
    """Places of a sample of rows on the plane of largest variance, by their ids."""
    some = np.asarray(embeddings[np.sort(sample)])
    made = embedding_map(some, some[:1], np.zeros(0, dtype=np.int64), np.arange(len(some)))
    return {"rows": np.sort(sample).tolist(), "places": made["pool"], "explained": made["explained"]}
