"""Laws of the embedded corpus, on made-up packages."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from contextlib import nullcontext
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from selectune.common.errors import DataError
from selectune.data.embedded import docstrings, uneven
from selectune.data.embedded.libraries import masking
from selectune.data.embedded.near_duplicates import components
from tests.data.embedded.conftest import FEW, install, module, prose
from tests.mistakes import mistake

MODULE = sys.modules["selectune.data.embedded.docstrings"]  # the package's attribute of this name is the function


def rows(folder: Path, *splits: str) -> list[tuple[str, str]]:
    names = sorted(json.loads((folder / "corpus.json").read_text())["libraries"])
    tables = [pq.read_table(folder / f"{split}.parquet").to_pydict() for split in splits or ("train", "test")]
    return [(text, names[label]) for table in tables for text, label in zip(table["text"], table["label"])]


def test_corpus_has_the_libraries_with_enough_docstrings(tmp_path: Path, site: Path) -> None:
    found = Counter(library for _, library in rows(docstrings(tmp_path, [site], **FEW)))
    assert found == {"numpy": 100, "alpha-lib": 90, "jax": 60}


def test_corpus_opens_in_the_hubs_layout(tmp_path: Path, site: Path) -> None:
    from datasets import ClassLabel, load_dataset

    folder = docstrings(tmp_path, [site], **FEW)
    splits = load_dataset(str(folder), cache_dir=str(tmp_path / "arrow"))
    assert set(splits) == {"train", "test"}
    assert splits["train"].features["label"] == ClassLabel(names=["alpha-lib", "jax", "numpy"])
    assert [(row["text"], splits["test"].features["label"].int2str(row["label"])) for row in splits["test"]] == rows(
        folder, "test"
    )


def test_counts_and_versions_are_written_down(tmp_path: Path, site: Path) -> None:
    folder = docstrings(tmp_path, [site], **FEW)
    about = json.loads((folder / "corpus.json").read_text())
    for split in ("train", "test"):
        found = Counter(library for _, library in rows(folder, split))
        assert found == {name: library[split] for name, library in about["libraries"].items() if library[split]}
    assert about["libraries"]["numpy"]["versions"] == {"numpy": "1.0"}
    assert about["rows"] == len(rows(folder))


def test_own_name_is_nowhere_a_word(tmp_path: Path, site: Path) -> None:
    for text, library in rows(docstrings(tmp_path, [site], **FEW)):
        assert not re.search(rf"(?<![a-z0-9]){library.replace('-', '.')}(?![a-z0-9])", text, re.IGNORECASE), text
        assert "core.Thing" not in text


@pytest.mark.parametrize(
    ("names", "text", "masked"),
    [
        ({"numpy", "np"}, "NumPy's np.linalg.norm, numpy.  import numpy as np", "_'s _, _.  import _ as _"),
        ({"numpy", "np"}, "inputs, snp, npm stay; numpydoc, is_np_array", "inputs, snp, npm stay; _doc, is___array"),
        ({"torch", "pytorch"}, "PyTorch, TorchScript, torch::jit, torch_dtype", "_, _Script, _::jit, __dtype"),
        ({"transformers"}, ":class:`~transformers.models.BertModel` [`~transformers.Auto`]", ":class:`~_` [`~_`]"),
        ({"scikit-learn", "sklearn"}, "scikit-learn scikit_learn Scikit Learn sklearn.svm.SVC()", "_ _ _ _()"),
        ({"jax", "jnp"}, ">>> jnp.ones(3)  # jax.Array, ajax, jaxpr", ">>> _(3)  # _, ajax, jaxpr"),
        ({"wandb", "w&b", "weights & biases"}, "W&B is Weights & Biases; wandb.init", "_ is _; _"),
        ({"_pytest", "py"}, "py.path, pytester, happy", "_, _er, happy"),
    ],
)  # fmt: skip
def test_names_and_import_paths_are_masked(names: set[str], text: str, masked: str) -> None:
    assert masking(names).sub("_", text) == masked


def test_every_docstring_has_between_floor_and_cap_words(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    for name in ("first", "second"):
        docs = [doc for length in (5, 9, 30, 40) for doc in prose(name + str(length), 60, length)]
        install(site, name, {f"{name}.py": module(name, docs)})
    lengths = [len(text.split()) for text, _ in rows(docstrings(tmp_path, [site], floor=12, cap=35, **FEW))]
    assert min(lengths) >= 12
    assert max(lengths) == 35


def test_same_packages_give_the_same_corpus(tmp_path: Path, site: Path) -> None:
    moved = tmp_path / "elsewhere" / "site-packages"
    moved.mkdir(parents=True)
    for path in sorted(site.iterdir(), reverse=True):
        shutil.copytree(path, moved / path.name)
    one, two = docstrings(tmp_path / "1", [site], **FEW), docstrings(tmp_path / "2", [moved], **FEW)
    assert one.name == two.name
    for name in ("train.parquet", "test.parquet", "corpus.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_another_version_is_another_corpus(tmp_path: Path, site: Path) -> None:
    before = docstrings(tmp_path, [site], **FEW)
    (site / "jax-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: jax\nVersion: 1.1\n")
    after = docstrings(tmp_path, [site], **FEW)
    assert before != after
    assert rows(before) == rows(after)


def test_a_corpus_that_is_there_is_only_found(tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = docstrings(tmp_path, [site], **FEW)
    monkeypatch.setattr(MODULE, "_read", lambda *_: pytest.fail("built again"))
    assert docstrings(tmp_path, [site], **FEW) == folder


def test_files_that_do_not_parse_are_skipped(tmp_path: Path, site: Path) -> None:
    docs = prose("broken", 60)
    bad = {"syntax": "def f(:\n", "nul": "x = '\0'\n", "deep": "(" * 5000 + ")" * 5000, "latin": ""}
    files = {f"broken/{name}.py": f'"""{docs[0]} {name}"""\n{source}' for name, source in bad.items()}
    install(site, "broken", {**files, "broken/good.py": module("broken", docs), "broken/surrogate.py": r"'''\ud800'''"})
    (site / "broken/latin.py").write_bytes(b'"""' + docs[0].encode() + b' \xe9 latin"""')
    install(site, "gone", {"gone.py": ""})
    (site / "gone.py").unlink()
    found = [text for text, library in rows(docstrings(tmp_path, [site], **FEW)) if library == "broken"]
    assert len(found) == 60
    assert not any(text.endswith(tuple(bad)) for text in found)


def test_tests_and_vendored_code_are_left_out(tmp_path: Path, site: Path) -> None:
    elsewhere = ["tests/core.py", "_vendor/six.py", "test_core.py", "sub/conftest.py", "testing/core.py"]
    files = {f"more/{path}": module("more", prose(path, 50)) for path in elsewhere}
    install(site, "more", {**files, "../../bin/run.py": module("more", prose("bin", 50))})
    assert "more" not in {library for _, library in rows(docstrings(tmp_path, [site], **FEW))}


def test_distribution_without_a_list_of_files_is_found_by_its_package(tmp_path: Path, site: Path) -> None:
    install(site, "no-record", {"no_record/core.py": module("no_record", prose("no_record", 50))}, record=False)
    assert Counter(library for _, library in rows(docstrings(tmp_path, [site], **FEW)))["no-record"] == 50


def test_a_text_is_there_once_and_never_under_two_labels(tmp_path: Path, site: Path) -> None:
    shared = prose("shared", 50)
    install(site, "twin-a", {"twin_a.py": module("twin_a", [*shared, *shared, *prose("twin_a", 50)])})
    install(site, "twin-b", {"twin_b.py": module("twin_b", [*(text.upper() for text in shared), *prose("twin_b", 50)])})
    found = rows(docstrings(tmp_path, [site], **FEW))
    assert len({text.casefold() for text, _ in found}) == len(found)
    assert (
        Counter(library for _, library in found)["twin-a"] == Counter(library for _, library in found)["twin-b"] == 50
    )


def test_other_name_of_a_library_takes_its_label(tmp_path: Path, site: Path) -> None:
    for name in ("lightning", "pytorch-lightning"):
        top = name.replace("-", "_")
        install(site, name, {f"{top}/core.py": module(top, prose("lightning", 50))})
    about = json.loads((docstrings(tmp_path, [site], **FEW) / "corpus.json").read_text())["libraries"]
    assert about["lightning"]["versions"] == {"lightning": "1.0", "pytorch-lightning": "1.0"}
    assert "pytorch-lightning" not in about


def test_near_duplicates_are_on_one_side_of_the_split(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    for name in ("first", "second"):
        docs = [f"{start} {text} {end}" for text in prose(name, 150, 40) for start, end in (("", ""), ("Also", "too."))]
        install(site, name, {f"{name}.py": module(name, docs)})
    folder = docstrings(tmp_path, [site], at_least=40)
    train, test = ({text for text, _ in rows(folder, split)} for split in ("train", "test"))
    assert not train & test
    assert not {text[:200] for text in train} & {text[:200] for text in test}
    sides = defaultdict(set)
    for side, texts in (("train", train), ("test", test)):
        for text in texts:
            sides[text.removeprefix("Also ").removesuffix(" too.")].add(side)
    assert all(len(found) == 1 for found in sides.values())
    assert 0.04 < len(test) / (len(train) + len(test)) < 0.18


def test_an_uneven_corpus_has_every_row_as_often_as_it_stands_there(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    often, seldom, shared = prose("often", 300, 40), prose("seldom", 60, 40), prose("shared", 20, 40)
    docs = [*often, *often[:100], *(f"{text} too" for text in often[:50]), *shared]
    install(site, "often", {f"often_{i}.py": module("often", docs[i::3]) for i in range(3)})
    install(site, "seldom", {"seldom.py": module("seldom", [*seldom, *shared])})
    folder = uneven(tmp_path, [site], at_least=40, held_out=10)
    splits = {split: rows(folder, split) for split in ("train", "test", "natural")}
    assert Counter(library for _, library in splits["test"]) == {"often": 10, "seldom": 10}
    texts = {split: [text for text, _ in found] for split, found in splits.items()}
    assert len(set(components(texts["test"]))) == 20, "no two of them are near-duplicates"
    joined = [*texts["train"], *texts["test"], *texts["natural"]]
    side = [split for split, found in texts.items() for _ in found]
    sides = defaultdict(set)
    for component, split in zip(components(joined), side):
        sides[component].add(split)
    assert all(len(found) == 1 for found in sides.values())
    # all else stays, copies too, but near-duplicates of a row of the test split; each text ends with its number
    numbers = [int(text.removesuffix(" too").split()[-1]) for text, library in splits["test"] if library == "often"]
    assert len(joined) == 300 + 100 + 50 + 60 - sum((number < 100) + (number < 50) for number in numbers)
    assert set(Counter(texts["train"]).values()) == {1, 2}
    assert not set(joined) & {" ".join(text.split()) for text in shared}
    assert docstrings(tmp_path, [site], **FEW).name != folder.name
    about = json.loads((folder / "corpus.json").read_text())
    assert about["rows"] == len(joined)
    assert about["libraries"]["often"]["natural"] == sum(library == "often" for _, library in splits["natural"])


def test_components_join_texts_that_share_most_words_or_their_beginning() -> None:
    long = " ".join(prose("long", 3, 40))
    texts = [long, "other words than those before, all of them", f"{long} more", long.upper(), f"{long[:200]} so"]
    assert components(texts) == [0, 1, 0, 0, 0]
    assert components([]) == []


@pytest.mark.parametrize("step", ["_read", "_write"])
def test_an_interrupted_build_leaves_nothing(
    step: str, tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(MODULE, step)

    def interrupted(*arguments: object) -> None:
        real(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MODULE, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            docstrings(tmp_path / "cache", [site], **FEW)
    assert not list(tmp_path.glob("cache/embedded/*"))
    assert rows(docstrings(tmp_path / "cache", [site], **FEW))


def test_an_interruption_while_reading_ends_the_workers(
    tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = set(psutil.Process().children())
    workers: set[psutil.Process] = set()

    def interrupt() -> None:
        workers.update(set(psutil.Process().children()) - others)
        raise KeyboardInterrupt

    monkeypatch.setattr(MODULE, "progress", lambda *_: nullcontext(interrupt))
    with pytest.raises(KeyboardInterrupt) as caught:
        docstrings(tmp_path / "cache", [site], **FEW)
    assert caught.tb  # still holds the frames, so that nothing has ended only by being collected
    assert workers
    assert not any(worker.is_running() for worker in workers)
    assert not list(tmp_path.glob("cache/embedded/*"))


def test_two_processes_that_build_at_once_agree(tmp_path: Path, site: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from selectune.data.embedded import docstrings\n"
        f"print(docstrings(Path(sys.argv[1]), [Path(sys.argv[2])], **{FEW}))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "cache"), str(site)]
    builders = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    folders = {builder.communicate(timeout=500)[0].strip() for builder in builders}
    assert [builder.returncode for builder in builders] == [0, 0]
    assert len(folders) == 1
    assert list(tmp_path.glob("cache/embedded/*")) == [Path(*folders)]
    assert rows(Path(*folders)) == rows(docstrings(tmp_path / "alone", [site], **FEW))


def test_too_few_libraries_is_a_users_error(tmp_path: Path, site: Path) -> None:
    with mistake(DataError, 100, "numpy (130), alpha-lib (90), jax (60)"):
        docstrings(tmp_path, [site], at_least=100)
    with mistake(DataError, 500, tmp_path / "nowhere"):
        docstrings(tmp_path, [tmp_path / "nowhere"])
    assert not list(tmp_path.glob("embedded/*"))


def test_importing_costs_nothing() -> None:
    code = (
        "import sys, selectune.data.embedded\n"
        "print({'torch', 'transformers', 'tokenizers', 'datasets', 'pyarrow', 'numpy', 'rich'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


@pytest.mark.slow
def test_corpus_of_this_environment(tmp_path: Path) -> None:
    folder = docstrings(tmp_path)
    found = rows(folder)
    counts = Counter(library for _, library in found)
    assert {"torch", "transformers", "numpy", "pandas", "scipy", "scikit-learn"} <= set(counts)
    assert min(counts.values()) >= 500
    assert max(counts.values()) <= 5000
    assert max(counts.values()) / len(found) < 0.25
    assert all(8 <= len(text.split()) <= 120 for text, _ in found)
    for text, library in found:
        assert not re.search(rf"(?<![a-z0-9]){library}(?![a-z0-9])", text, re.IGNORECASE), text
    train, test = ({text for text, _ in rows(folder, split)} for split in ("train", "test"))
    assert not train & test
