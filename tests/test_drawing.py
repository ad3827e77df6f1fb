"""Figures drawn by helpers: the same bytes, whoever draws them and whatever becomes of a helper."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.observations import OBSERVATIONS
from bench.report import drawing
from bench.report.drawing import PANELS_EACH, Drawers
from bench.report.roc import panels_of
from bench.report.roc_sheet import Panel
from tests.runs_on_disk import some_scores, write_run


@pytest.fixture(scope="module")
def panels(tmp_path_factory: pytest.TempPathFactory) -> list[Panel]:
    """Of clients with models of their own; one condition has no positive, one few."""
    scores = some_scores(observations=OBSERVATIONS, members=2, seed=3)
    labels = scores.labels.copy()
    labels[:, OBSERVATIONS.index("Fracture")] = 0
    labels[:, OBSERVATIONS.index("Edema")] = np.arange(len(labels)) < 10
    run = write_run(tmp_path_factory.mktemp("runs"), scores=replace(scores, labels=labels))
    found = panels_of(run, "valid", {"Edema": "0.941 (Irvin et al. 2019, Table 3)"})
    assert len(found) == len(OBSERVATIONS)  # without one, and one of the competition tasks
    return found


@pytest.fixture
def drawers() -> Iterator[Drawers]:
    with Drawers(1) as made:
        yield made


@pytest.fixture
def only_helpers(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process leaves everything to the others, and draws what is left at the end."""
    calls = iter([lambda *_: None])
    original = drawing._draw_all
    monkeypatch.setattr(drawing, "_draw_all", lambda *a: next(calls, original)(*a))


def content(files: list[Path]) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in files}


def test_a_panel_comes_back_from_json_as_it_was(panels: list[Panel]) -> None:
    for panel in panels:
        told = json.loads(json.dumps(drawing._told(panel)))
        found = drawing._panel(told)
        for ours, theirs in zip(found.traces, panel.traces, strict=True):
            for mine, its in zip(ours.members, theirs.members, strict=True):
                np.testing.assert_array_equal(mine, its)
        bare = [
            replace(p, traces=tuple(replace(t, members=()) for t in p.traces))
            for p in (found, panel)
        ]
        assert bare[0] == bare[1]


@pytest.mark.usefixtures("only_helpers")
def test_a_helper_draws_the_same_bytes(
    tmp_path: Path, panels: list[Panel], drawers: Drawers, monkeypatch: pytest.MonkeyPatch
) -> None:
    helped = content(drawers.draw(panels, tmp_path / "helped"))
    monkeypatch.undo()
    alone = content(Drawers(0).draw(panels, tmp_path / "alone"))
    assert helped == alone
    assert len(alone) == 2 * len(panels)
    assert len(drawers._helpers) == 1


def test_what_a_helper_did_not_finish_is_drawn_without_it(
    tmp_path: Path, panels: list[Panel], drawers: Drawers
) -> None:
    expected = content(drawers.draw(panels, tmp_path / "first", ("svg",)))
    drawers._helpers[0].kill()
    files = drawers.draw(panels, tmp_path / "second", ("svg",))
    assert [file.name for file in files] == [f"{panel.stem}.svg" for panel in panels]
    assert content(files) == expected


@pytest.mark.usefixtures("only_helpers")
def test_a_file_that_a_helper_cannot_write_is_an_error(
    tmp_path: Path, panels: list[Panel], drawers: Drawers
) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="file") as raised:
        drawers.draw(panels, tmp_path / "file")
    assert raised.value.filename == str(tmp_path / "file")


def test_what_fails_here_leaves_no_helper_at_work(
    tmp_path: Path, panels: list[Panel], drawers: Drawers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next figures would be asked for while it still answers about the last."""
    drawers.draw(panels, tmp_path / "before", ("svg",))
    with monkeypatch.context() as patch:
        patch.setattr(drawing, "sheet", None)
        with pytest.raises(TypeError):
            drawers.draw(panels, tmp_path / "failed", ("svg",))
    assert len(list((tmp_path / "failed").iterdir())) <= 1
    files = drawers.draw(panels, tmp_path / "after", ("svg",))
    assert content(files) == content(sorted((tmp_path / "before").iterdir()))


def test_a_helper_that_talks_is_done_without(
    tmp_path: Path, panels: list[Panel], monkeypatch: pytest.MonkeyPatch
) -> None:
    talker = tmp_path / "talker"
    talker.write_text("#!/bin/sh\nread question; echo good morning; cat > /dev/null\n")
    talker.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(talker))
    with Drawers(1) as made:
        files = made.draw(panels, tmp_path / "drawn", ("svg",))
    assert all(file.stat().st_size for file in files)


def test_a_few_panels_are_worth_no_process(
    tmp_path: Path, panels: list[Panel], drawers: Drawers
) -> None:
    drawers.draw(panels[: 2 * PANELS_EACH - 1], tmp_path, ("svg",))
    assert drawers._helpers == []


def test_helpers_end_with_the_block(tmp_path: Path, panels: list[Panel]) -> None:
    with Drawers(2) as made:
        made.draw(panels, tmp_path, ("svg",))
        helpers = [*made._helpers]
        assert [helper.poll() for helper in helpers] == [None]
    assert all(helper.poll() is not None for helper in helpers)
