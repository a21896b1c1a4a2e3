"""Labels: how one is compared, which classes there are, and what is refused."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from selectune.common.errors import DataError
from selectune.data.labels import Classes, class_label, labels_of, numbers_of, with_class_labels, with_number_labels
from tests.mistakes import mistake, warned


def read(labels: list, **more: object) -> Dataset:
    return with_class_labels(Dataset.from_dict({"label": labels}, **more), "label", "train")


def classes_of(labels: list, **more: bool) -> Classes:
    return Classes.of(labels_of(read(labels), "label"), "train", **more)


@pytest.mark.parametrize(
    ("written", "compared"),
    [
        (1, 1), (1.0, 1), ("1", 1), ("1.0", 1), (" 1 ", 1), ("+1", 1), ("-1", -1),
        (True, "True"), ("True", "True"), (3.6, "3.6"), ("3.6", "3.6"), ("007", "007"), ("1e5", "1e5"),
        ("null", "null"), ("NA", "NA"), ("None", "None"), ("nan", "nan"), ("N/A", "N/A"),
        ("good ", "good"), ("\ufeffgood", "good"), ("\u00a0good\u200b", "good"), ("very good", "very good"),
        (None, None), (float("nan"), None), ("", None), (" \u00a0", None), (1e300, "1e+300"), ("9" * 30, "9" * 30),
    ],
)  # fmt: skip
def test_a_label_is_compared_by_what_it_says(written: object, compared: object) -> None:
    found = class_label(written)
    assert (type(found), found) == (type(compared), compared)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([3, 1, 5], ["1", "3", "5"]),
        ([9, 5], ["5", "9"]),
        ([2.0, 1.0], ["1", "2"]),
        (["10", "9", "2"], ["2", "9", "10"]),
        (["1", "0", "-1"], ["-1", "0", "1"]),
        ([True, False], ["False", "True"]),
        (["sports", "art"], ["art", "sports"]),
        (["b", "1", "10"], ["1", "10", "b"]),
        (["null", "NA"], ["NA", "null"]),
        (["good", "good ", "bad"], ["bad", "good"]),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_classes_are_named_as_labels_are_written_numbers_in_their_order(labels: list, names: list[str]) -> None:
    classes = classes_of(labels)
    assert list(classes.names) == names
    said = [names[number] for number in classes.encode(read(labels)["label"][:], "train")]
    assert said == [str(class_label(label)) for label in labels]


@pytest.mark.parametrize("train", [[1, 2, 5], ["1", "2", "5"], [1.0, 2.0, 5.0]])
@pytest.mark.parametrize("test", [[5, 1], ["5", "1"], [5.0, 1.0], ["5.0", " 1"]])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_splits_may_write_a_class_in_other_ways(train: list, test: list) -> None:
    assert classes_of(train).encode(read(test)["label"][:], "test").tolist() == [2, 0]


def test_a_data_set_that_names_its_classes_stays_as_it_is() -> None:
    features = Features({"label": ClassLabel(names=["pos", "neg ", "5"])})
    split = read([1, 0, 2], features=features)
    assert split["label"][:] == [1, 0, 2], "so its fingerprint stays"
    classes = Classes(("pos", "neg ", "5"), (0, 1, 2))
    assert classes.encode(labels_of(split, "label"), "train").tolist() == [1, 0, 2]
    assert classes.encode([1, "neg", "pos"], "test").tolist() == [1, 1, 0]
    turned = read([0, 2], features=Features({"label": ClassLabel(names=["neg ", "5", "pos"])}))
    assert classes.encode(labels_of(turned, "label"), "test").tolist() == [1, 0], "each split goes by its own names"
    hidden = read([-1, -1], features=features)
    with mistake(DataError, -1, option="data.test_split"):
        classes.encode(labels_of(hidden, "label"), "test")


def test_labels_that_need_no_change_are_left_in_place() -> None:
    for labels in ([1, 5, 3], ["a", "b", "a"]):
        split = Dataset.from_dict({"label": labels})
        assert with_class_labels(split, "label", "train") is split


@pytest.mark.parametrize(
    ("labels", "named", "fields"),
    [
        ([0.0, 1.0, float("nan")], [1, 2], {"option": None, "rows": [2]}),
        (["a", None, ""], [2, 1], {"option": None, "rows": [1, 2]}),
        ([None, None], [], {"option": "data.test_split", "rows": [0, 1]}),
        ([[1], [2]], ["'[1]'"], {}),
        ([-1, -1], [-1], {"option": "data.test_split", "rows": []}),
        ([0.5, 1.0], [0.5, "--data.regression true", "--data.numbers_are_classes true"], {}),
        (["3.6", "3.7", "other"], [3.6, "--data.regression"], {}),
        (["3,6", "3,7"], ["3,6", "--data.regression"], {}),
        ([f"{i / 10}" for i in range(50)], [50, "--data.regression"], {}),
    ],
)
def test_labels_that_are_no_classes_are_refused(labels: list, named: list[object], fields: dict[str, object]) -> None:
    with mistake(DataError, *named, **fields):
        classes_of(labels)


def test_numbers_can_be_classes_where_one_insists() -> None:
    assert classes_of(["0.5", "10.5", "2", "1.5"], numbers_are_classes=True).names == ("0.5", "1.5", "2", "10.5")
    assert classes_of(["v3.6", "v3.7"]).names == ("v3.6", "v3.7")
    assert classes_of(["good", "bad", "3.6"]).names == ("3.6", "bad", "good"), "names for the most part"


@pytest.mark.parametrize(
    ("values", "named"), [([-1, -1], [-1, "--data.test_split"]), ([0, 5], ["'5'"]), (["x"], ["'x'"])]
)
def test_labels_of_another_split_must_be_known(values: list, named: list[object]) -> None:
    with mistake(DataError, *named):
        classes_of([0, 1]).encode(values, "test")


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        (["good", "good ", "\ufeffbad"], [2, "'good '"]),
        (["Good", "good", "bad"], ["'Good'", "'good'"]),
        (list(range(20, 60)), [40, 20, 59, "--data.regression"]),
    ],
)
def test_what_may_be_meant_otherwise_is_noted_once(labels: list, named: list[object]) -> None:
    with warned(UserWarning, *named) as caught:
        classes_of(labels)
    assert len(caught) == 1


@pytest.mark.parametrize("labels", [list(range(150)), list("12345"), ["a", "b"]])
def test_usual_labels_are_taken_without_a_word(labels: list) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classes_of(labels)


def test_numbers_written_as_texts_are_read() -> None:
    split = with_number_labels(Dataset.from_dict({"label": ["1", " 2.5", "1e2"]}), "label", "train")
    assert split.features["label"] == Value("float64")
    np.testing.assert_array_equal(numbers_of(split["label"][:], "train"), np.array([1, 2.5, 100], np.float32))
    whole = Dataset.from_dict({"label": ["3", "1"]})
    assert with_number_labels(whole, "label", "train")["label"][:] == [3, 1]
    with mistake(DataError, "'n/a'", "data.regression"):
        with_number_labels(Dataset.from_dict({"label": ["1", "n/a"]}), "label", "train")
