"""The files and folders that the command lines of bad input name, relative to the working directory."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tests.bad_input.parser import PARSED, bomb
from tests.conftest import sentences

TEXTS, LABELS = sentences(40, seed=3)
ROWS = {"text": TEXTS, "label": LABELS}
CSV = "text,label\n" + "".join(f"{text},{label}\n" for text, label in zip(TEXTS, LABELS))
TEXT_FILES = {
    "rows.csv": CSV,
    "empty.csv": "",
    "header.csv": "text,label\n",
    "ragged.csv": CSV + "one,two,three,four\n",
    "one_class.csv": "text,label\n" + "".join(f"{text},3\n" for text in TEXTS),
    "one_row.csv": "text,label\na thing,1\n",
    "commas.tsv": CSV,
    "names.csv": "text,label\n" + "".join(f"{text},{'ab'[label % 2]}\n" for text, label in zip(TEXTS, LABELS)),
    "broken.json": '[{"text": "a", "label": 1}, {"text":',
    "numbers.json": "[1, 2, 3]",
    "lists.jsonl": '{"text": "a", "label": [1]}\n',
    "broken.jsonl": '{"text": "a", "label": 1}\n{"text": "b", "lab',
    "csv.parquet": CSV,
    "rows.txt": "a thing\nanother\n",
    "rows.xlsx": "PK\x03\x04 a workbook",
    "rows.pkl": "a pickle",
    "rows.zip": "PK\x03\x04 an archive",
    "rows.csv.gz": "no gzip",
    "rows.parquet.gz": "PAR1",
    "other.csv": "body,label\na thing,1\n",
    "readme_only/README.md": "Data will follow.\n",
    "no_config/model.safetensors": "",
    "a_file": "",
    "thesis/thesis.tex": "years of work",
}
TASK = {
    "data": {"class_path": "TextClassification", "init_args": {"dataset": "rows.csv", "max_length": 32}},
    "model": {"checkpoint": "./model"},
}
REVIEWS = {"config": "task.yaml", "metric": "accuracy", "budgets": [0.5]}
RANDOM = {"random": {"set": {"data.selector": {"class_path": "Random"}}}}
TABLE = {"seeds": [0], "budget": "data.keep", "tasks": {"reviews": REVIEWS}, "methods": RANDOM}
TABLES: dict[str, Any] = {
    "good_table": TABLE,
    "a_table_without_tasks": {name: value for name, value in TABLE.items() if name != "tasks"},
    "a_table_without_methods": TABLE | {"methods": {}},
    "a_key_that_no_table_has": TABLE | {"sedes": [0]},
    "seeds_in_words": TABLE | {"seeds": "all"},
    "a_seed_twice": TABLE | {"seeds": [0, 0]},
    "a_budget_of_another_kind": TABLE | {"budget": "data.share"},
    "a_config_that_is_not_there": TABLE | {"tasks": {"reviews": REVIEWS | {"config": "nowhere.yaml"}}},
    "a_name_that_is_no_folder": TABLE | {"methods": {"a/b": RANDOM["random"]}},
    "a_match_of_no_method": TABLE | {"methods": RANDOM | {"same": {"match": "nobody", "by": "cost"}}},
    "a_match_by_colour": TABLE | {"methods": RANDOM | {"same": {"match": "random", "by": "colour"}}},
    "a_selector_that_there_is_none_of": TABLE
    | {"methods": {"x": {"set": {"data.selector": {"class_path": "Rondom"}}}}},
    "a_list_for_a_table": ["seeds"],
}
PERPLEXITY = {"class_path": "Perplexity", "init_args": {"dataset": "rows.csv"}}
ZERO_SHOT = {"class_path": "ZeroShot", "init_args": {"dataset": "rows.csv", "template": "{text}", "labels": ["a"]}}
WARM_UP = {"class_path": "LanguageModeling", "init_args": {"dataset": "rows.csv", "max_length": 32}}
CONFIGS: dict[str, Any] = TABLES | {
    "task": TASK,
    "toxicity": {
        "evaluations": [{"class_path": "Toxicity", "init_args": {"dataset": "rows.csv", "scorer": "./model"}}]
    },
    "perplexity": {"evaluations": [PERPLEXITY]},
    "missing_texts": {"evaluations": [PERPLEXITY | {"init_args": {"dataset": "nowhere.csv"}}]},
    "one_label": {"evaluations": [ZERO_SHOT]},
    "twice": {"evaluations": [PERPLEXITY, PERPLEXITY]},
    "endless_warm_up": {"warm_up": {"data": WARM_UP, "max_epochs": -1}},
}


def make_files(folder: Path, model: Path) -> None:
    """Write all of them into a folder, and models that are damaged copies of a sound one."""
    for name, content in TEXT_FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    (folder / "broken.yaml").write_text("model: [\n")
    (folder / "bomb.yaml").write_text(bomb())
    for name, config in (PARSED | CONFIGS).items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    (folder / "latin.csv").write_bytes(CSV.replace("\n", " caf\xe9\n", 2).encode("latin-1"))
    (folder / "nothing").mkdir()
    (folder / "folder.csv").mkdir()
    pq.write_table(pa.table(ROWS), folder / "rows.parquet")
    whole = (folder / "rows.parquet").read_bytes()
    (folder / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    (folder / "model").symlink_to(model)
    for name, change in DAMAGES.items():
        shutil.copytree(model, folder / name)
        change(folder / name)


def _cut_weights(model: Path) -> None:
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _nan_weights(model: Path) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(model / "model.safetensors")
    name = next(name for name in weights if name.endswith("word_embeddings.weight"))
    weights[name] = np.full_like(weights[name], np.nan)
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})


def _pickled(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")


def _of_no_kind(model: Path) -> None:
    (model / "config.json").write_text(json.dumps({"hidden_size": 3}))


def _no_tokenizer(model: Path) -> None:
    for file in model.iterdir():
        if file.name.startswith(("tokenizer", "vocab", "special_tokens")):
            file.unlink()


DAMAGES = {
    "cut_model": _cut_weights,
    "nan_model": _nan_weights,
    "pickled_model": _pickled,
    "kindless_model": _of_no_kind,
    "broken_config_model": lambda model: (model / "config.json").write_text("{"),
    "broken_bare_model": lambda model: [
        (model / "config.json").write_text("{"),
        (model / "model.safetensors").unlink(),
    ],
    "speechless_model": _no_tokenizer,
}
