"""Rounds to a target by hand-made curves, and the table that sets them beside the paper's."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.baselines import load_baseline
from bench.comparison.rounds import (
    BEYOND,
    NO_WORSE,
    NOT_RUN,
    SUITE,
    WITHIN,
    RoundsRow,
    cells_of,
    compare_rounds,
)
from bench.comparison.rounds_table import compare_with_rounds, publishes_rounds
from bench.errors import NotComparable
from bench.results.run import Run
from bench.results.targets import rounds_to_target
from bench.runs.digits import CANONICAL
from bench.suites.choice import Choice
from bench.suites.scenario import FAMILIES
from bench.suites.suite import load_suite
from tests.runs_on_disk import bare_run
from tests.tiny_tree import bench

TABLES = ("mcmahan2017-table1", "mcmahan2017-table2-mnist")


def curve(*figures: float | None, up: int = 3, down: int = 5) -> list[dict[str, Any]]:
    return [
        {
            "round": number, "accuracy": figure, "bytes_up": up, "bytes_down": down,
            "examples": 600, "seconds": 0.5,
        }
        for number, figure in enumerate(figures, start=1)
    ]  # fmt: skip


def test_the_target_is_interpolated_between_rounds() -> None:
    # 0.90 at round 2 and 0.98 at round 3: 0.97 lies 7/8 of the way.
    found = rounds_to_target(curve(0.5, 0.90, 0.98), "accuracy", 0.97)
    assert found.rounds == pytest.approx(2 + 7 / 8)
    assert found.bytes == pytest.approx(2 * 8 + 7 / 8 * 8)
    assert (found.best, found.rounds_run) == (0.98, 3)


def test_the_curve_is_made_monotone_first() -> None:
    # The best before round 4 is 0.96 at round 2; the dip at round 3 does not count, so the line
    # runs from (3, 0.96) to (4, 0.98) and not from (3, 0.80).
    found = rounds_to_target(curve(0.5, 0.96, 0.80, 0.98), "accuracy", 0.97)
    assert found.rounds == pytest.approx(3.5)
    assert found.bytes == pytest.approx(3.5 * 8)


def test_rounds_that_were_not_evaluated_are_spanned() -> None:
    found = rounds_to_target(curve(None, 0.90, None, None, None, 0.98), "accuracy", 0.97)
    assert found.rounds == pytest.approx(2 + 7 / 8 * 4)
    assert found.bytes == pytest.approx(8 * (2 + 7 / 8 * 4))


def test_what_is_reached_at_the_first_round_took_one() -> None:
    found = rounds_to_target(curve(0.99, 0.5), "accuracy", 0.97)
    assert (found.rounds, found.bytes, found.best) == (1.0, 8.0, 0.99)


def test_exactly_the_target_is_reached() -> None:
    assert rounds_to_target(curve(0.5, 0.97, 0.99), "accuracy", 0.97).rounds == 2.0


def test_not_reached_is_a_value() -> None:
    found = rounds_to_target(curve(0.5, 0.96, 0.9), "accuracy", 0.97)
    assert (found.rounds, found.bytes, found.best, found.rounds_run) == (None, None, 0.96, 3)
    assert found.record("accuracy")["reached"] is False
    nothing = rounds_to_target([], "accuracy", 0.97)
    assert (nothing.rounds, nothing.best, nothing.rounds_run) == (None, None, 0)
    assert rounds_to_target(curve(None, None), "accuracy", 0.97).best is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.01, 1))
def test_the_answer_lies_at_the_first_round_that_reaches_it(
    figures: list[float], target: float
) -> None:
    found = rounds_to_target(curve(*figures), "accuracy", target)
    first = next((i for i, figure in enumerate(figures, start=1) if figure >= target), None)
    if first is None:
        assert found.rounds is None
    else:
        assert found.rounds is not None
        assert first - 1 < found.rounds <= first or found.rounds == first == 1
        assert found.bytes == pytest.approx(8 * found.rounds)


def a_run(folder: Path, lines: list[dict[str, Any]], **changes: Any) -> Run:
    """A finished run of one of the suite's cells, as far as a comparison looks."""
    base = next(
        p.scenario
        for p in load_suite(SUITE).scenarios()
        if p.name == "2nn-iid-fraction0.1-epochs1-batch10"
    )
    name = changes.pop("data_name", "MNIST")
    scenario = replace(base, **changes)
    run = bare_run(
        folder / f"a-{scenario.identity(CANONICAL)[:8]}",
        suite=SUITE,
        hash=scenario.identity(CANONICAL),
        scenario=scenario.row(),
        data={"name": name, "digest": CANONICAL, "synthetic": False},
        metrics={
            "test": {
                "level": "image", "views": None, "n": 10_000, "members": 1, "observations": {},
                "mean_auroc": None, "mean_ci": None, "mean_over": [], "accuracy": 0.97,
                "ci": [0.966, 0.973],
            }
        },
        totals={
            "seconds": 1.0, "examples": 1, "images_per_second": 1.0, "bytes_up": 1, "bytes_down": 1
        },
    )  # fmt: skip
    run.write()
    (run.folder / "rounds.jsonl").write_text("".join(json.dumps(r) + "\n" for r in lines))
    return run


def reaching(rounds: int, target: float = 0.97) -> list[dict[str, Any]]:
    """A curve that reaches the target exactly at that round."""
    return curve(*[0.5] * (rounds - 1), target)


def sgd(lr: float, **more: float) -> Choice:
    choice = FAMILIES["optimizer"].read({"name": "sgd", "lr": lr, **more})
    assert isinstance(choice, Choice)
    return choice


def row_of(runs: list[Run], fraction: float = 0.1, division: str = "IID") -> RoundsRow:
    rows = compare_rounds(runs, load_baseline(TABLES[0]), {})
    (found,) = (
        r
        for r in rows
        if (r.cell.model, r.cell.division, r.cell.batch, r.cell.fraction)
        == ("2NN", division, 10, fraction)
    )
    return found


def test_the_tables_cells_are_the_paper_s() -> None:
    first, second = (cells_of(load_baseline(table)) for table in TABLES)
    assert (len(first), len(second)) == (40, 18)
    cell = next(c for c in first if c.matches(_planned("2nn-shards-fraction0.1-epochs1-batch10")))
    assert (cell.theirs.value, cell.speed_up.value, cell.target) == (664, 4.9, 0.97)
    reference = first[cell.reference]
    assert (reference.division, reference.batch, reference.fraction) == ("non-IID", 10, 0.0)
    assert cells_of(load_baseline("mcmahan2017-table2-shakespeare")) == []


def _planned(name: str, suite: str = SUITE) -> dict[str, Any]:
    return next(p.scenario.row() for p in load_suite(suite).scenarios() if p.name == name)


def test_every_cell_is_one_scenario_that_its_command_selects() -> None:
    suite = load_suite(SUITE)
    scenarios = {p.name: p.scenario for p in suite.scenarios()}
    used = set()
    for table in TABLES:
        for cell in cells_of(load_baseline(table)):
            (name,) = (n for n, s in scenarios.items() if cell.matches(s.row()))
            assert [p.name for p in suite.scenarios(select=name)] == [name]
            assert scenarios[name].stop_at == cell.target
            paper = cell.theirs.value
            assert paper is None or scenarios[name].rounds > 1.5 * paper
            used.add(name)
    assert used == set(scenarios)


def test_the_search_has_every_cell_with_four_learning_rates_or_more() -> None:
    searched = [p.scenario.row() for p in load_suite(f"{SUITE}_search").scenarios()]
    for table in TABLES:
        for cell in cells_of(load_baseline(table)):
            rates = {row["optimizer"]["lr"] for row in searched if cell.matches(row)}
            assert len(rates) >= 4, cell


@pytest.mark.parametrize(
    ("rounds", "verdict", "ratio"),
    [(43, NO_WORSE, 43 / 87), (87, NO_WORSE, 1.0), (88, WITHIN, 88 / 87), (131, BEYOND, 131 / 87)],
)
def test_verdicts(tmp_path: Path, rounds: int, verdict: str, ratio: float) -> None:
    row = row_of([a_run(tmp_path, reaching(rounds))])
    assert (row.ours, row.verdict) == (rounds, verdict)
    assert row.ratio == pytest.approx(ratio)


def test_what_was_not_reached_or_run_is_no_pass(tmp_path: Path) -> None:
    assert row_of([]).verdict == NOT_RUN
    assert row_of([a_run(tmp_path, curve(*[0.9] * 100))]).verdict == "not reached in 100 rounds"
    long = a_run(tmp_path, curve(*[0.9] * 200))
    assert row_of([long]).verdict == f"{BEYOND}: not reached in 200 rounds"
    assert row_of([long]).ours is None


def test_a_target_that_the_paper_did_not_reach(tmp_path: Path) -> None:
    cells = load_baseline(TABLES[0])
    short = a_run(tmp_path, curve(0.9), batch_size=None, fraction=1.0, optimizer=sgd(0.1))
    rows = [r for r in compare_rounds([short], cells, {}) if r.reached]
    assert [row.verdict for row in rows] == ["not reached in 1 rounds, nor by the paper"]
    there = a_run(tmp_path, reaching(9), batch_size=None, fraction=1.0, optimizer=sgd(0.1))
    (row,) = (r for r in compare_rounds([there], cells, {}) if r.reached)
    assert (row.verdict, row.ratio) == (NO_WORSE, None)


def test_seeds_are_averaged_and_one_that_falls_short_is_told(tmp_path: Path) -> None:
    runs = [a_run(tmp_path, reaching(40 + 2 * seed), seed=seed) for seed in range(3)]
    row = row_of(runs)
    assert (row.ours, row.sd, len(row.reached)) == (42.0, 2.0, 3)
    runs.append(a_run(tmp_path, curve(*[0.9] * 50), seed=3))
    assert row_of(runs).verdict == "not reached in 50 rounds by 1 of 4 seeds"
    assert row_of(runs).ours is None


def test_the_best_learning_rate_counts_but_never_over_more_seeds(tmp_path: Path) -> None:
    slow = [a_run(tmp_path, reaching(60), seed=s, optimizer=sgd(0.1)) for s in range(2)]
    fast = a_run(tmp_path, reaching(40), optimizer=sgd(0.2))
    faster = a_run(tmp_path, reaching(30), optimizer=sgd(0.3))
    assert row_of([slow[0], fast, faster]).lr == 0.3
    assert row_of([slow[0], fast, faster]).tried == 3
    assert row_of([*slow, fast, faster]).lr == 0.1


def test_the_same_run_under_another_limit_is_one_run(tmp_path: Path) -> None:
    short = a_run(tmp_path, curve(*[0.9] * 10), rounds=10, stop_at=None)
    long = a_run(tmp_path, reaching(40), rounds=100)
    row = row_of([short, long])
    assert (row.ours, len(row.reached)) == (40.0, 1)


def test_speed_ups_are_over_the_table_s_first_row(tmp_path: Path) -> None:
    runs = [a_run(tmp_path, reaching(120), fraction=0.0), a_run(tmp_path, reaching(40))]
    row = row_of(runs)
    assert row.our_speed_up == pytest.approx(3.0)
    assert row.cell.speed_up.value == 3.6
    assert row_of(runs, fraction=0.0).our_speed_up is None
    assert row_of(runs[1:]).our_speed_up is None


@pytest.mark.parametrize(
    "change",
    [
        {"clients": 50},
        {"optimizer": sgd(0.1, momentum=0.9)},
        {"optimizer": sgd(0.1, weight_decay=1e-4)},
        {"evaluate_every": 5},
        {"partition": FAMILIES["partition"].read({"name": "shards", "per_client": 3})},
        {"strategy": FAMILIES["strategy"].read("fedadam")},
        {"sampling": "size"},
        {"dropout": 0.1},
        {"stragglers": FAMILIES["stragglers"].read("partial")},
        {"weights": "uniform"},
        {"local_steps": 60},
        {"compression": FAMILIES["compression"].read("int8")},
        {"data_name": "idx digits, not MNIST"},
    ],
)
def test_what_the_paper_did_not_do_is_no_cell(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(NotComparable, match="no run is a cell"):
        compare_with_rounds([a_run(tmp_path, reaching(40), **change)], SUITE)


def test_one_client_is_one_client_however_it_is_written(tmp_path: Path) -> None:
    assert row_of([a_run(tmp_path, reaching(40), fraction=0.01)], fraction=0.0).ours == 40


def test_which_names_are_tables_of_rounds() -> None:
    assert publishes_rounds(SUITE)
    assert publishes_rounds(TABLES[1])
    assert not publishes_rounds("paper")
    assert not publishes_rounds("irvin2019-valid")
    assert not publishes_rounds("nothing")


def test_the_command_prints_what_was_run_and_how_to_run_the_rest(tmp_path: Path) -> None:
    results = tmp_path / "results"
    for seed in range(2):
        a_run(results / SUITE, reaching(40 + seed), seed=seed)
    a_run(results / SUITE, reaching(500), partition=FAMILIES["partition"].read("shards"))
    arguments = ["compare", "--against", SUITE, "--results", results]
    cache = tmp_path / "cache"
    shown = bench(*arguments, "-f", "markdown", cache=cache)
    assert shown.returncode == 0, shown.stderr
    assert "2 of 40 cells were run: 2 no worse, 38 not run" in shown.stdout
    assert "mcmahan2017-table2-shakespeare is left out" in shown.stderr
    (line,) = (x for x in shown.stdout.splitlines() if "40.5" in x)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:3] == ["2NN", "IID", "1"]
    assert {"40.5", "0.7", "87", "0.47", "no worse"} <= set(cells)
    assert "-k 2nn-shards-fraction1-epochs1-batch10" in shown.stdout
    (line,) = (
        x for x in shown.stdout.splitlines() if "-k 2nn-iid-fraction1-epochs1-batch-all" in x
    )
    assert "not reached" in line  # by the paper
    rows = json.loads(bench(*arguments, "--json", cache=cache).stdout)["rows"]
    assert len(rows) == 58
    (row,) = (r for r in rows if r["ours"] == 500)
    assert (row["partition"], row["theirs"], row["verdict"]) == ("non-IID", 664, "no worse")
    assert row["ours_by_seed"] == [500.0]
    missing = next(r for r in rows if r["verdict"] == "not run")
    assert missing["command"].startswith("bench run mcmahan2017 --data FOLDER -k 2nn-iid-")
    flat = bench(*arguments, "-f", "csv", cache=cache).stdout
    assert len(list(csv.DictReader(io.StringIO(flat)))) == 58


def test_no_cell_is_exit_code_4(tmp_path: Path) -> None:
    a_run(tmp_path / "results" / SUITE, reaching(40), clients=50)
    arguments = ["compare", "--against", SUITE, "--results", tmp_path / "results"]
    done = bench(*arguments, cache=tmp_path / "cache")
    assert done.returncode == 4
    assert "no run is a cell" in done.stderr
