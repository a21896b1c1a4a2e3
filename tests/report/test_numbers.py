"""Numbers as people read them, and the labels beside them."""

from __future__ import annotations

import pytest

from selectune.report.cost_plots import Bar, waterfall
from selectune.report.drawing import png
from selectune.report.numbers import count, flop, memory, seconds, share


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (flop(0), "0 FLOP"),
        (flop(2.9149e12), "2.91 TFLOP"),
        (flop(999_499), "999 kFLOP"),
        (flop(999_600), "1.00 MFLOP"),
        (flop(3.2e15), "3.20 PFLOP"),
        (flop(None), "unknown"),
        (memory(812_345_678), "812 MB"),
        (seconds(0), "0 s"),
        (seconds(0.0304), "30.4 ms"),
        (seconds(83.14), "83.1 s"),
        (seconds(744), "12.4 min"),
        (seconds(9000), "2.50 h"),
        (count(12345), "12,345"),
        (share(0.16), "16.0 %"),
        (share(-0.351), "−35.1 %"),
    ],
)
def test_units_are_those_that_people_read(told: str, expected: str):
    assert told.replace("\N{NO-BREAK SPACE}", " ") == expected


@pytest.mark.draws
def test_the_longest_label_of_a_waterfall_is_not_cut():
    names = ["Warming up on the whole pool", "Saved", "Fine-tuning, for comparison"]
    figure, _ = waterfall([Bar(name, 0, 1, "full") for name in names], flop)
    png(figure)
    labels = figure.axes[0].get_yticklabels()
    assert [label.get_text() for label in labels] == names
    assert all(label.get_window_extent().x0 >= 0 for label in labels)
