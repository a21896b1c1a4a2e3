"""The help of the command line: every verb in a line, printed before anything large is imported."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from lightning.pytorch.cli import LightningArgumentParser

import selectune
from selectune.cli import HELP, main
from selectune.datamodules import TextClassification
from selectune.runs.command import VERBS
from selectune.runs.short_help import SUMMARIES, WIDTH, short_help
from selectune.runs.verb_options import VERB_OPTIONS
from selectune.tables.quickstart import commands as quickstart_commands
from selectune.tables.reading import fit_parser
from selectune.verbs import OWN_PARSERS
from tests.conftest import REPOSITORY, Here
from tests.mistakes import names


def test_the_help_names_every_verb_once_and_no_other() -> None:
    named = re.findall(r"^  (\w+) {2,}\S", HELP, re.MULTILINE)
    assert sorted(named) == sorted([*VERBS, *OWN_PARSERS, "quickstart", "configs"])
    assert len(HELP.splitlines()) < 60


@pytest.mark.parametrize("option", ["--help", "-h", "--version"])
def test_it_is_printed(option: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["main.py"])
    with pytest.raises(SystemExit) as end:
        main([option])
    assert end.value.code == 0
    told = capsys.readouterr().out
    assert told.strip() == (selectune.__version__ if option == "--version" else HELP.strip())


@pytest.mark.parametrize("words", ["--help", "--version", "fit --help", "configs"])
def test_no_package_is_imported_for_it(words: str) -> None:
    code = (
        "import sys\nbefore = set(sys.modules)\nfrom selectune.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "imported = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(imported - sys.stdlib_module_names - {'__mp_main__'}))"
    )
    command = [sys.executable, "-c", code, *words.split()]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.splitlines()[-1] == "['selectune']", "all else that it imports is Python's own"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["fti"], ["fti", "fit"]),
        (["fit", "--config", "euds/stt2"], ["euds/stt2", "euds/sst2"]),
        (["fit", "--config", "broken.yaml"], ["broken.yaml", "line 2"]),
        (["fit", "--config=listed.yaml"], ["listed.yaml", "mapping"]),
        (["plan", "--budget", "0.5"], ["plan", "--data"]),
    ],
)
def test_a_mistake_that_needs_no_class_is_told_before_anything_large_is_imported(
    words: list[str], told: list[str], tmp_path: Path
) -> None:
    (tmp_path / "broken.yaml").write_text("data: {\n- ]\n")
    (tmp_path / "listed.yaml").write_text("- data\n")
    code = (
        "import sys\nfrom selectune.cli import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n"
        "    print('large:', sorted({'torch', 'numpy', 'lightning', 'datasets'} & set(sys.modules)), end.code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.splitlines() == ["large: [] 2"]
    assert names(done.stderr, "error:", *told)
    assert len(done.stderr.splitlines()) == 1


def test_ctrl_c_during_the_imports_is_a_sentence(monkeypatch: pytest.MonkeyPatch, here: Here) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("selectune.cli.start_early", interrupted)
    assert names(here("verify", "run", code=130), "Stopped", "same command")


def test_a_reader_that_has_enough_is_no_mistake() -> None:
    listed = subprocess.Popen(
        [sys.executable, "main.py", "configs"], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert listed.stdout
    assert listed.stderr
    listed.stdout.close()  # before anything is printed
    assert listed.stderr.read() == b""
    assert listed.wait() == 0


@pytest.mark.parametrize("rank", ["", "0"])
def test_the_first_process_tells_mistakes(rank: str, monkeypatch: pytest.MonkeyPatch, here: Here) -> None:
    monkeypatch.setenv("RANK", rank)
    assert names(here("fti", code=2), "fti")
    monkeypatch.setenv("RANK", "1")
    assert here("fti", code=2) == ""


def test_every_verb_with_a_trainer_has_a_short_help_of_options_that_there_are() -> None:
    assert sorted(SUMMARIES) == sorted(VERBS)
    data = LightningArgumentParser()
    data.add_class_arguments(TextClassification, "data")
    known = {action.dest for parser in (fit_parser(), data) for action in parser._actions}
    for verb in VERBS:
        text = short_help(verb)
        own = {name.lstrip("-") for name, _ in VERB_OPTIONS.get(verb, [])}
        named = set(re.findall(r"(?<![\w-])--([\w.]+)", text)) - {"help", "help.all", "print_config", "compare"}
        assert own <= named
        assert named - own - known == {"data.help"} - known, verb
        assert len(text.splitlines()) < 60
        assert max(map(len, text.splitlines())) <= WIDTH


@pytest.mark.parametrize("verb", [*OWN_PARSERS, "quickstart", "configs", *VERBS])
def test_every_verb_tells_all_of_its_options_on_request_under_the_same_name(verb: str, here: Here) -> None:
    told = here(verb, "--help.all").split()
    assert told[:2] == ["usage:", "selectune"]
    assert told[2:4] == (["[options]", verb] if verb in VERBS else [verb, told[3]])
    assert not {"main.py", "pytest"} & set(told)


def test_without_a_verb_all_help_is_the_list_of_verbs(here: Here) -> None:
    assert here("--help.all") == here("--help") == " ".join(HELP.split())


def test_all_options_are_named_on_request(here: Here) -> None:
    told = here("fit", "--help.all")
    assert "--trainer.gradient_clip_algorithm" in told
    assert "--trainer.gradient_clip_algorithm" not in short_help("fit")


def test_another_python_is_told_how_to_mend_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check = runpy.run_path(str(REPOSITORY / "main.py"))["refuse_other_pythons"]
    check()
    for target, name, value in ((check.__globals__, "find_spec", lambda _: None), (vars(sys), "version_info", (3, 10))):
        with monkeypatch.context() as patch:
            patch.setitem(target, name, value)
            with pytest.raises(SystemExit) as end:
                check()
        assert end.value.code == 2
    lacking, old = capsys.readouterr().err.splitlines()
    assert names(lacking, sys.executable, "torch", "make install")
    assert names(old, "3.11", "make install")


def test_the_quickstart_says_where_it_goes_on(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    named = quickstart_commands(["--output", str(tmp_path / "mine")])
    assert capsys.readouterr().out == ""
    assert [words[0] for words in named] == ["plan", "compare"]
    given = quickstart_commands([])
    folder = Path(given[0][-1]).parent
    assert names(capsys.readouterr().out, folder)
    assert quickstart_commands(["--output", str(folder)]) == given
