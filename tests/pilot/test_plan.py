"""The verb ``plan`` on the small task."""

from __future__ import annotations
from pathlib import Path
import pytest
from tests.conftest import Here
from selectune.forecast import measure


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "STEPS", 6)


def test_plan(here: Here, arguments: list[str], tmp_path: Path) -> None:
    import time

    b = time.time()
    print(here("plan", *arguments, "--scorer.max_batch_tokens", "512", "--budget", "0.3", "--output", "run"))
    print(time.time() - b)
    print((tmp_path / "run/plan.yaml").read_text())
    print((tmp_path / "run/cost.jsonl").read_text()[:300])
    from selectune.pilot.decision import Decision

    Decision.read(tmp_path / "run")
    assert 0
