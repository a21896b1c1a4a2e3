"""The short help of a verb that runs a Trainer: the options that most runs need. It imports nothing large."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from selectune.runs.verb_options import VERB_OPTIONS

WIDTH, COLUMN = 120, 30
SUMMARIES = {
    "diagnose": "Find what is wrong with the rows: copies, wrong labels, junk, leakage; by one pass of an encoder.",
    "plan": "Rank what a budget can be spent on: fewer epochs, random rows, or rows chosen by a diagnosis.",
    "pilot": "Try the first plans on small parts of the pool, forecast what the whole would give, and recommend.",
    "select": "Choose the rows to train on, and nothing else.",
    "fit": "Select rows (if asked), fine-tune on them, evaluate, export the model, and report what it cost and gave.",
    "estimate": "Forecast what a fit will cost and whether selecting will be cheaper, from a few batches.",
    "validate": "Measure the model of a run, or model.checkpoint, on the dev split.",
    "test": "Measure the model of a run, or model.checkpoint, on the held-out split.",
    "predict": "Predict with the model of a run, or model.checkpoint.",
}
GROUPS: dict[str, dict[str, str]] = {
    "The run": {
        "--config NAME": "a YAML file, or a name that `selectune configs` lists; several are laid over each other",
        "--output RUN": "its folder; default runs/<config>-<time>; the same command goes on where it was stopped",
        "--overwrite": "remove what an earlier run left there",
        "--cache FOLDER": "default SELECTUNE_CACHE",
        "--seed_everything N": "default 0",
    },
    "The data": {
        "--data CLASS": "TextClassification, QuestionAnswering or LanguageModeling",
        "--data.dataset NAME": "a file, a folder in the hub's layout, or a name on the hub",
        "--data.text_column NAME": "default text; a second text is named by --data.pair_column",
        "--data.label_column NAME": "default label",
        "--data.test_split NAME": "default test, else validation, else a tenth of train",
        "--data.max_length N": "tokens that a row is cut to",
        "--data.batch_size N": "rows of a training batch",
    },
    "The rows to train on": {
        "--data.selector CLASS": "IGSE, EntropyInterval, Random, Balanced, LabelIssues, GOTD ...; default all rows",
        "--data.keep SHARE": "of the rows, over 0 and at most 1; or --data.keep_rows N, --data.keep_tokens N",
        "--data.selection RUN": "use the selection of an earlier run instead",
        "--data.review FILE": "rows to drop, keep or relabel, as a diagnosis and you found",
        "--scorer.checkpoint NAME": "the model that scores rows; default the one that is fine-tuned",
    },
    "The model": {
        "--model.checkpoint NAME": "a folder, a name on the hub, or docstrings-bert, which is made here",
        "--model.learning_rate RATE": "the highest of the schedule; default 2e-5",
    },
    "The training": {
        "--trainer.max_epochs N": "default 3; or --trainer.max_steps N",
        "--trainer.accelerator NAME": "auto (the default), cpu or gpu",
        "--trainer.devices N": "processes, one a device",
        "--trainer.precision NAME": "such as 32-true or bf16-mixed",
        "--trainer.logger CLASS": "such as TensorBoardLogger or WandbLogger, beside metrics.csv",
    },
}
COMPARED = {"--compare": "beside all rows, random rows and fewer epochs at the same total cost: `compare --help`"}
END = (
    "selectune {verb} --help.all names every option, --data.help CLASS those of a data class, --print_config the whole "
    "config with its defaults."
)


def short_help(verb: str) -> str:
    """The text that ``selectune VERB --help`` prints.

    Args:
        verb: one of `SUMMARIES`.
    """
    own = {f"{name} {_value(settings)}".rstrip(): settings["help"] for name, settings in VERB_OPTIONS.get(verb, [])}
    own |= COMPARED if verb == "fit" else {}
    groups = ({f"Of {verb}": own} if own else {}) | GROUPS
    lines = [f"usage: selectune {verb} [--config NAME ...] [options]", "", SUMMARIES[verb]]
    for title, options in groups.items():
        lines += ["", f"{title}:", *(line for name, told in options.items() for line in _told(name, told))]
    return "\n".join([*lines, "", *wrap(END.format(verb=verb), WIDTH, break_on_hyphens=False)])


def _value(settings: dict[str, object]) -> str:
    return "" if settings.get("action") == "store_true" else "VALUE"


def _told(name: str, told: str) -> Iterator[str]:
    """Lines of an option, its name in a column of its own."""
    first, *rest = wrap(told.rstrip("."), WIDTH - COLUMN - 2, break_on_hyphens=False)
    yield f"  {name:{COLUMN - 1}} {first}"
    yield from (" " * (COLUMN + 2) + line for line in rest)
