"""Both embedded corpora are made of one reading of the sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from selectune.data.embedded import docstrings, uneven
from tests.data.embedded.conftest import FEW
from tests.data.embedded.test_docstrings import MODULE, rows


def test_both_corpora_read_the_sources_once(tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = rows(uneven(tmp_path / "alone", [site], at_least=40, held_out=10))
    docstrings(tmp_path / "cache", [site], **FEW)
    with monkeypatch.context() as patch:
        patch.setattr(MODULE, "_read", lambda *_: pytest.fail("the sources were read again"))
        assert rows(uneven(tmp_path / "cache", [site], at_least=40, held_out=10)) == alone
    (kept,) = (tmp_path / "cache" / "docstrings").iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    assert rows(docstrings(tmp_path / "cache", [site], **FEW | {"at_most": 30}))
