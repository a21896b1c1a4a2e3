"""The help of the command line: every verb in a line, printed before anything large is imported."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import selectune
from selectune.cli import HELP, main
from selectune.runs.command import VERBS
from selectune.verbs import OWN_PARSERS


def test_the_help_names_every_verb_once_and_no_other() -> None:
    named = re.findall(r"^  (\w+) {2,}\S", HELP, re.MULTILINE)
    assert sorted(named) == sorted([*VERBS, *OWN_PARSERS])
    assert len(HELP.splitlines()) < 60


@pytest.mark.parametrize("option", ["--help", "-h", "--version"])
def test_it_is_printed(option: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["main.py"])
    with pytest.raises(SystemExit) as end:
        main([option])
    assert end.value.code == 0
    told = capsys.readouterr().out
    assert told.strip() == (selectune.__version__ if option == "--version" else HELP.strip())


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_nothing_large_is_imported_for_it(option: str) -> None:
    code = (
        "import sys\nfrom selectune.cli import main\ntry:\n    main([sys.argv[1]])\nexcept SystemExit:\n    pass\n"
        "print('large:', sorted({'torch', 'numpy', 'lightning', 'datasets', 'yaml'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code, option], capture_output=True, text=True, check=True).stdout
    assert told.splitlines()[-1] == "large: []"
