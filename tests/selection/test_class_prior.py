"""The class prior of the data decides which rows `Balanced` keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selectune.selectors import Balanced, Random
from tests.conftest import Here, manifest_of
from tests.mistakes import names


@pytest.mark.parametrize(("prior", "rows"), [(None, [20, 20]), ({"0": 0.3, "1": 0.7}, [12, 28])])
def test_balanced_keeps_the_shares_of_the_data_and_the_manifest_holds_them(
    choose: Any, prior: Any, rows: list[int]
) -> None:
    selection, _, data = choose(Balanced(), keep_rows=40, prior=prior)
    assert np.bincount(data.labels["train"][selection.rows]).tolist() == rows
    assert selection.manifest.prior == data.prior.described
    assert selection.manifest.diagnostics["shares"] == pytest.approx([row / 40 for row in rows])
    # its own prior is the nearer one
    selection, _, _ = choose(Balanced([0.5, 0.5]), keep_rows=40, prior=prior)
    assert selection.manifest.diagnostics["rows_of_class"] == [20, 20]


def test_a_selection_by_another_prior_is_not_taken_for_the_one_asked_for(choose: Any) -> None:
    selection, _, data = choose(Random(), keep_rows=40)
    asked = data.request().described
    assert not selection.manifest.differs_from(asked)
    assert selection.manifest.differs_from(asked | {"prior": {"stated": "given", "shares": [0.1, 0.9]}}) == "prior"


def test_a_prior_on_the_command_line(here: Here, arguments: list[str], tmp_path: Path) -> None:
    balanced = ("--data.selector", "Balanced", "--data.keep_rows", "20")
    here("select", *arguments, *balanced, "--data.prior", "{0: 0.25, 1: 0.75}", "--output", "run")
    assert manifest_of(tmp_path / "run")["diagnostics"]["rows_of_class"] == [5, 15]
    told = here("select", *arguments, *balanced, "--data.prior", "{0: 0.25, 7: 0.75}", "--output", "no", code=2)
    assert names(told, "data.prior", 7)
    told = here("select", *arguments, *balanced, "--data.prior", "evenly", "--output", "no", code=2)
    assert names(told, "data.prior", "evenly")
    assert not (tmp_path / "no").exists()
