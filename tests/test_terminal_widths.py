"""Wordy tables on narrow terminals: cells are wrapped or moved, and no letter is lost."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.report.formats.terminal import bands, share_out
from bench.report.render import render
from bench.report.table import Column, Table

ROW = {
    "run": "fedavg",
    "gate": "AUROC Pleural Effusion",
    "measured": "2.00 → 1.48 × yardstick",
    "threshold": "drop > 10 % and p < 0.05",
    "verdict": "not promised",
    "reason": "the first being Atelectasis of patient00000/study1 by far and away " * 3,
}
TABLE = Table(
    columns=tuple(Column(key=key, title=key.title()) for key in ROW), rows=(ROW,) * 2, lead=2
)


@pytest.mark.parametrize("width", range(60, 180, 7))
def test_no_word_is_lost_at_any_width(width: int) -> None:
    text = render(TABLE, "table", width=width, color=False)
    assert max(map(len, text.splitlines())) <= width
    shown = Counter(text.split())
    for key, cell in ROW.items():
        for word, count in Counter(cell.split()).items():
            assert shown[word] >= 2 * count, f"{key} lost '{word}'"


def test_every_piece_starts_with_the_leading_columns() -> None:
    pieces = bands(TABLE, TABLE.cells(), 80)
    assert len(pieces) > 1
    assert all(piece[:2] == [0, 1] for piece in pieces)
    assert [c for piece in pieces for c in piece[2:]] == [2, 3, 4, 5]


def test_what_is_left_over_is_shared_evenly() -> None:
    assert share_out([2, 2, 2], [2, 4, 20], 12) == [2, 4, 6]
    assert share_out([2, 2, 2], [2, 4, 20], 9) == [2, 4, 3]
    assert share_out([2, 3], [2, 3], 50) == [2, 3]


@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(0, 60)), min_size=1, max_size=8),
    st.integers(0, 300),
)
def test_shares_stay_between_least_and_natural_and_fill_the_room(
    columns: list[tuple[int, int]], spare: int
) -> None:
    least = [a for a, _ in columns]
    natural = [a + b for a, b in columns]
    widths = share_out(least, natural, sum(least) + spare)
    assert all(a <= w <= b for a, w, b in zip(least, widths, natural, strict=True))
    assert sum(widths) == min(sum(natural), sum(least) + spare)
