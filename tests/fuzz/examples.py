"""Numbers of examples, and damage to the bytes of a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

FAST, SLOW = 200, 10_000
# By default FAST examples, always the same ones; `pytest -m slow tests/fuzz` draws SLOW others.
EXAMPLES = pytest.mark.parametrize("examples", [FAST, pytest.param(SLOW, marks=pytest.mark.slow)])


def for_examples(examples: int, strategy: st.SearchStrategy[Any], law: Callable[[Any], None]) -> None:
    """Hold a law for so many examples of a strategy."""
    settings(
        max_examples=examples, deadline=None, database=None, derandomize=examples == FAST,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink],
    )(given(strategy)(law))()  # fmt: skip


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8), st.just([]), st.just({}),
    st.just([None]), st.just({"a": []}), st.just("\x1b[2J\x00"), st.just("../../../etc"),
)  # fmt: skip


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """Content that is cut, torn, overwritten, doubled or replaced."""
    n = len(content)
    place, some = st.integers(0, n), st.binary(max_size=16)
    return st.one_of(
        place.map(lambda end: content[:end]),
        st.tuples(place, place).map(lambda cut: content[: min(cut)] + content[max(cut) :]),
        st.tuples(place, some).map(lambda put: content[: put[0]] + put[1] + content[put[0] :]),
        st.tuples(place, some).map(lambda put: content[: put[0]] + put[1] + content[put[0] + len(put[1]) :]),
        st.tuples(place, place).map(lambda cut: content + content[min(cut) : max(cut)]),
        st.binary(max_size=64),
        st.just(content),
    )


def changed(content: Any) -> st.SearchStrategy[bytes]:
    """JSON of which one value is another, gone, or under another name; else `damaged`."""
    places = list(_places(content))

    def change(drawn: tuple[tuple[Any, ...], Any, bool]) -> bytes:
        place, value, gone = drawn
        copy = json.loads(json.dumps(content))
        parent = copy
        for key in place[:-1]:
            parent = parent[key]
        if not place:
            copy = value
        elif gone:
            del parent[place[-1]]
        else:
            parent[place[-1]] = value
        return json.dumps(copy).encode()

    whole = json.dumps(content, indent=2).encode()
    return st.one_of(st.tuples(st.sampled_from(places), SCALARS, st.booleans()).map(change), damaged(whole))


def _places(content: Any, at: tuple[Any, ...] = ()) -> Any:
    yield at
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in inner:
        yield from _places(value, (*at, key))
