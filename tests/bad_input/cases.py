"""Command lines that are mistakes, by area."""

from __future__ import annotations

import shlex

from tests.bad_input.files import TABLES
from tests.bad_input.parser import WORDS

TASK = "--data TextClassification --data.dataset rows.csv --data.max_length 32 --model.checkpoint ./model"
FIT = f"fit {TASK} --output run"
LM = "fit --data LanguageModeling --data.dataset rows.csv --data.max_length 32 --model.checkpoint ./model --output run"
CHOOSE = "--data.keep 0.5 --data.selector"


def _fit(**cases: str) -> dict[str, str]:
    """Further options of a fit, by what is wrong with them."""
    return {name.replace("_", " "): f"{FIT} {options}" for name, options in cases.items()}


CASES: dict[str, dict[str, str]] = {
    "Command line and configs": {name: shlex.join(words) for name, words in WORDS.items()},
    "Data": _fit(
        an_empty_name="--data.dataset ''",
        a_name_of_spaces="--data.dataset ' '",
        a_workbook="--data.dataset rows.xlsx",
        a_workbook_that_is_not_there="--data.dataset nowhere.xlsx",
        a_workbook_by_its_path="--data.dataset ./rows.xlsx",
        a_text_file="--data.dataset rows.txt",
        a_compressed_file="--data.dataset rows.csv.gz",
        a_pickle="--data.dataset rows.pkl",
        an_archive="--data.dataset rows.zip",
        a_file_without_a_kind="--data.dataset a_file",
        an_empty_folder="--data.dataset nothing",
        a_folder_without_data="--data.dataset readme_only",
        a_folder_named_as_a_file="--data.dataset folder.csv",
        a_missing_file="--data.dataset nowhere.csv",
        a_missing_folder="--data.dataset ./nowhere",
        an_empty_file="--data.dataset empty.csv",
        a_header_alone="--data.dataset header.csv",
        a_ragged_row="--data.dataset ragged.csv",
        another_encoding="--data.dataset latin.csv",
        commas_in_a_tsv="--data.dataset commas.tsv",
        a_broken_array="--data.dataset broken.json",
        an_array_of_numbers="--data.dataset numbers.json",
        a_line_cut_short="--data.dataset broken.jsonl",
        a_table_cut_short="--data.dataset cut.parquet",
        a_csv_named_as_a_table="--data.dataset csv.parquet",
        one_class_alone="--data.dataset one_class.csv",
        one_row_alone="--data.dataset one_row.csv",
        names_as_numbers="--data.dataset names.csv --data.regression true",
        no_such_text_column="--data.text_column body",
        a_misspelt_text_column="--data.text_column txt",
        a_misspelt_label_column="--data.label_column lable",
        no_such_label_column="--data.label_column klass",
        no_such_pair_column="--data.pair_column second",
        no_such_split="--data.test_split held_out",
        one_of_several_files="--data.dataset '[rows.csv, nowhere.csv]'",
        an_unknown_name="--data.dataset nobody/nothing",
        a_root_that_is_no_folder="--data.root nowhere",
        an_unknown_encoding="--data.encoding utf-9",
        a_separator_of_two_letters="--data.separator ';;'",
    )
    | {"a target that is not there": f"{FIT} {CHOOSE} DSIR --data.target.dataset nowhere.csv"},
    "Numbers of the data": _fit(
        no_length="--data.max_length 0",
        a_length_of_special_tokens="--data.max_length 2",
        more_than_the_positions="--data.max_length 600",
        empty_batches="--data.batch_size 0",
        no_rows="--data.max_train_rows 0",
        fewer_than_no_rows="--data.max_eval_rows -1",
        a_dev_split_that_is_not_there="--data.dev_split validation",
        a_seed_below_zero="--seed_everything -1",
    ),
    "Models": _fit(
        an_empty_model_name="--model.checkpoint ''",
        a_missing_model="--model.checkpoint ./nowhere",
        an_unknown_model="--model.checkpoint nobody/nothing",
        a_file_for_a_model="--model.checkpoint ./a_file",
        a_folder_without_a_config="--model.checkpoint ./no_config",
        a_damaged_config="--model.checkpoint ./broken_config_model",
        a_damaged_config_alone="--model.checkpoint ./broken_bare_model",
        a_config_of_no_kind="--model.checkpoint ./kindless_model",
        weights_cut_short="--model.checkpoint ./cut_model",
        weights_that_are_not_finite="--model.checkpoint ./nan_model",
        pickled_weights="--model.checkpoint ./pickled_model",
        no_tokenizer="--model.checkpoint ./speechless_model",
        no_rate="--model.learning_rate 0",
        a_rate_below_zero="--model.learning_rate -1",
        a_rate_that_is_no_number="--model.learning_rate nan",
        a_decay_below_zero="--model.weight_decay -1",
        more_than_all_steps_to_warm_up="--model.warmup 2",
    ),
    "Trainer": _fit(
        a_hundred_devices="--trainer.devices 99 --trainer.accelerator cpu --trainer.strategy ddp",
        no_devices="--trainer.devices 0",
        devices_in_words="--trainer.devices many",
        no_GPU="--trainer.accelerator gpu",
        no_TPU="--trainer.accelerator tpu",
        a_misspelt_accelerator="--trainer.accelerator cpuu",
        a_misspelt_strategy="--trainer.strategy dpp",
        processes_that_are_forked="--trainer.strategy ddp_fork",
        sharding_without_a_GPU="--trainer.strategy fsdp --trainer.accelerator cpu",
        no_nodes="--trainer.num_nodes 0",
        no_epochs="--trainer.max_epochs 0",
        epochs_below_zero="--trainer.max_epochs -5",
        training_without_end="--trainer.max_epochs -1",
        no_accumulation="--trainer.accumulate_grad_batches 0",
        clipping_below_zero="--trainer.gradient_clip_val -1",
        no_batches="--trainer.limit_train_batches 0",
        half_a_batch_more="--trainer.limit_train_batches 1.5",
        validation_that_never_comes="--trainer.val_check_interval 1000",
        no_validation_interval="--trainer.val_check_interval 0",
        time_in_words="--trainer.max_time soon",
        no_such_profiler="--trainer.profiler fast",
        a_callback_without_its_argument="--trainer.callbacks EarlyStopping",
    ),
    "Budgets and selectors": _fit(
        nothing_to_keep="--data.keep 0 --data.selector Random",
        more_than_all="--data.keep 2 --data.selector Random",
        a_share_that_is_no_number="--data.keep nan --data.selector Random",
        rows_below_zero="--data.keep_rows -3 --data.selector Random",
        more_rows_than_the_pool="--data.keep_rows 9999 --data.selector Random",
        more_tokens_than_the_pool="--data.keep_tokens 999999 --data.selector Random",
        two_budgets="--data.keep 0.5 --data.keep_rows 3 --data.selector Random",
        no_budget="--data.selector Random",
        a_budget_without_a_selector="--data.keep 0.5",
        an_unknown_signal=f"{CHOOSE} TopK --data.selector.signal colour",
        no_signal=f"{CHOOSE} TopK",
        an_unknown_entropy=f"{CHOOSE} EntropyInterval --data.selector.entropy temperature",
        an_interval_upside_down="--data.selector EntropyInterval --data.selector.rule Quantile "
        "--data.selector.rule.low 0.9 --data.selector.rule.high 0.1",
        a_rule_with_its_own_size=f"{CHOOSE} EntropyInterval --data.selector.rule Quantile "
        "--data.selector.rule.low 0.2 --data.selector.rule.high 0.4",
        a_chain_of_nothing=f"{CHOOSE} Chain",
        a_regularisation_of_zero=f"{CHOOSE} GOTD --data.selector.eps.std 0 --data.target.dataset rows.csv",
        a_similarity_above_one=f"{CHOOSE} Deduplicate --data.selector.similarity 2",
        a_run_that_is_not_there="--data.selector Random --data.selector.match nowhere",
        a_selection_that_is_not_there="--data.selection nowhere",
        a_selection_of_a_folder_that_is_none="--data.selection nothing",
        a_class_that_is_no_selector=f"{CHOOSE} collections.Counter",
    )
    | {
        "balanced classes without classes": f"{LM} {CHOOSE} Balanced",
        "label issues without labels": f"{LM} {CHOOSE} LabelIssues",
        "label issues without a budget of their own": f"{FIT} --data.selector LabelIssues --data.keep_rows 1",
    },
    "Runs": _fit(
        a_file_for_the_output="--output a_file",
        a_folder_of_something_else="--output thesis",
        a_file_for_the_cache="--cache a_file",
        no_checkpoint_to_go_on_from="--ckpt_path last",
        overwriting_what_it_goes_on_with="--overwrite --ckpt_path last",
    )
    | {
        "a test of no run": f"test {TASK} --output nowhere",
        "a prediction of no run": f"predict {TASK} --output nowhere",
        "a report of a folder that is no run": "report thesis",
        "a report of nothing there": "report nowhere",
        "a plan for more than all": f"plan {TASK} --budget 2 --output plan",
        "a plan for nothing": f"plan {TASK} --budget 0 --output plan",
        "a plan in words": f"plan {TASK} --budget half --output plan",
        "a pilot of more than all": f"pilot {TASK} --share 2 --output pilot",
        "a pilot of nothing": f"pilot {TASK} --share 0 --output pilot",
        "a pilot of rows without classes": f"pilot {LM[4:]} --share 0.5",
        "a comparison of all rows": f"compare {TASK} --output run",
        "no seeds to compare": f"compare {TASK} {CHOOSE} Random --seeds 0 --output run",
        "an unknown rival": f"compare {TASK} {CHOOSE} Random --rivals cheaper --output run",
        "a plan that is not there": f"compare {TASK} --plan nowhere --output run",
        "two processes of another launcher": f"compare {TASK} {CHOOSE} Random --trainer.num_nodes 2 --output run",
    },
    "Tables": {
        name.replace("_", " "): f"table --config {name}.yaml --output out" for name in TABLES if name != "good_table"
    }
    | {
        "no jobs": "table --config good_table.yaml --output out --jobs 0",
        "a limit of none": "table --config good_table.yaml --output out --limit 0",
        "options without a launcher": "table --config good_table.yaml --output o --launcher_options '{timeout_min: 5}'",
    },
    "Evaluations and warm-ups": {
        "a generation of a masked model": f"{LM} --config toxicity.yaml",
        "an evaluation of classes": f"{FIT} --config perplexity.yaml",
        "texts that are not there": f"{LM} --config missing_texts.yaml",
        "one label alone": f"{LM} --config one_label.yaml",
        "two of one name": f"{LM} --config twice.yaml",
        "a warm-up without end": f"{FIT} --config endless_warm_up.yaml",
    },
}
