"""Comparisons by hand: published tables, runs against runs, seeds, and the tables they make."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.comparison.command import check_target, compare_all
from bench.comparison.paired import compare_runs
from bench.comparison.published import compare_published
from bench.comparison.render import write
from bench.comparison.rows import Comparison, Row
from bench.comparison.subject import Subject, subjects
from bench.comparison.tables import comparison_table, flat_table, matrix
from bench.errors import BaselineError, NotComparable, ResultsError, UsageError
from bench.observations import COMPETITION
from bench.results.run import Run
from bench.scoring.report import score_studies
from bench.scoring.studies import StudyScores
from bench.suites.catalog import STRATEGIES
from bench.suites.scenario import Scenario
from tests.runs_on_disk import bare_run, some_scores, write_run
from tests.test_scoring_tests import paired_test

CHEXPERT = {"name": "CheXpert-v1.0-small", "digest": "c" * 64, "synthetic": False}
POOLED = Scenario(
    observations=COMPETITION,
    label_policy=tuple((name, "u-ones") for name in COMPETITION),
    strategy=STRATEGIES.read("centralized"),
    seed=0,
)


def entry(auroc: float | None, ci: Sequence[float] | None = None) -> dict[str, Any]:
    return {
        "auroc": auroc,
        "ci": None if ci is None else list(ci),
        "positives": 0 if auroc is None else 20,
        "n": 200,
        "undefined": "no positive study" if auroc is None else None,
        "unreliable": False,
    }


def subject_of(
    observations: Mapping[str, dict[str, Any]],
    *,
    split: str = "valid",
    scenario: Scenario = POOLED,
    mean: tuple[float, Sequence[float]] | None = None,
    data: Mapping[str, Any] = CHEXPERT,
    n: int = 200,
) -> Subject:
    """A run as its run.json has it; nothing is read from a disk."""
    metrics = {
        "level": "study",
        "views": "max",
        "n": n,
        "members": 1,
        "observations": dict(observations),
        "mean_auroc": None if mean is None else mean[0],
        "mean_ci": None if mean is None else list(mean[1]),
        "mean_over": [name for name in COMPETITION if observations.get(name, entry(None))["auroc"]],
    }
    run = bare_run(
        Path("nowhere"),
        name="pooled",
        scenario=scenario.row(),
        data=dict(data),
        metrics={split: metrics},
    )
    return Subject(name=run.name, split=split, runs=(run,), metrics=metrics, sd={})


def row(comparison: Comparison, condition: str) -> Row:
    return next(row for row in comparison.rows if row.condition == condition)


OBSERVED = {
    "Atelectasis": entry(0.900, (0.850, 0.940)),
    "Cardiomegaly": entry(0.990, (0.970, 0.995)),
    "Edema": entry(0.700, (0.600, 0.800)),
    "Consolidation": entry(None),
    "Fracture": entry(0.6, (0.5, 0.7)),
}


def test_validation_row_of_the_run_s_policy_by_hand() -> None:
    """Irvin 2019, Table 3, U-Ones: 0.858 [0.806, 0.910], 0.832 [0.773, 0.890], 0.941 …."""
    found = compare_published(subject_of(OBSERVED), "paper")
    assert found.against == "irvin2019-valid"
    conditions = ["Atelectasis", "Cardiomegaly", "Edema", "Consolidation", "Average"]
    assert [r.condition for r in found.rows] == conditions
    within = row(found, "Atelectasis")
    assert (within.theirs, within.theirs_ci) == (0.858, (0.806, 0.910))
    assert within.difference == pytest.approx(0.042)
    # 0.042 - √(0.050² + 0.052²) and 0.042 + √(0.040² + 0.052²)
    assert within.difference_ci == pytest.approx((-0.030139, 0.107605), abs=1e-6)
    assert within.verdict == "within the interval"
    above = row(found, "Cardiomegaly")
    # 0.158 - √(0.020² + 0.058²), 0.158 + √(0.005² + 0.059²)
    assert above.difference_ci == pytest.approx((0.096649, 0.217211), abs=1e-6)
    assert above.verdict == "above"
    # -0.241 + √(0.100² + 0.038²)
    assert row(found, "Edema").difference_ci[1] == pytest.approx(-0.134023, abs=1e-6)  # type: ignore[index]
    assert row(found, "Edema").verdict == "below"


def test_undefined_is_a_reason_and_never_a_verdict() -> None:
    found = compare_published(subject_of(OBSERVED), "paper")
    undefined = row(found, "Consolidation")
    assert (undefined.ours, undefined.theirs, undefined.difference) == (None, 0.899, None)
    assert undefined.verdict == "not comparable: ours is undefined (no positive study)"
    average = row(found, "Average")
    assert average.ours is None
    assert "no AUROC for Consolidation, Pleural Effusion" in average.verdict


def test_average_is_of_the_five_printed_figures() -> None:
    five = {name: entry(0.9, (0.85, 0.95)) for name in COMPETITION}
    found = compare_published(subject_of(five, mean=(0.9, (0.88, 0.92))), "paper")
    average = row(found, "Average")
    # (0.858 + 0.832 + 0.899 + 0.941 + 0.934) / 5, each rounded to 0.001
    assert average.theirs == pytest.approx(0.8928)
    assert average.difference_ci == pytest.approx((0.0072 - 0.02 - 5e-4, 0.0072 + 0.02 + 5e-4))
    assert found.rows[-1] is average


@pytest.mark.parametrize(
    ("policy", "theirs", "note"),
    [
        ("u-zeros", 0.811, "row: u-zeros"),
        ("u-multiclass", 0.821, "row: u-multiclass"),
        ("u-ones+lsr", 0.858, "the table has no row for u-ones+lsr: u-ones stands in for it"),
    ],
)
def test_the_row_is_that_of_the_policy(policy: str, theirs: float, note: str) -> None:
    scenario = replace(POOLED, label_policy=tuple((name, policy) for name in COMPETITION))
    found = compare_published(subject_of(OBSERVED, scenario=scenario), "paper")
    assert row(found, "Atelectasis").theirs == theirs
    assert note in found.notes


def test_a_policy_for_each_observation_takes_each_from_its_row() -> None:
    policies = {"Atelectasis": "u-ones", "Cardiomegaly": "u-multiclass", "Edema": "u-zeros"}
    scenario = replace(POOLED, label_policy=tuple(policies.items()))
    found = compare_published(subject_of(OBSERVED, scenario=scenario), "paper")
    theirs = {r.condition: r.theirs for r in found.rows}
    assert theirs == {"Atelectasis": 0.858, "Cardiomegaly": 0.854, "Edema": 0.929}


def test_test_figures_have_no_interval_but_their_rounding() -> None:
    observed = {
        "Atelectasis": entry(0.87, (0.86, 0.88)),
        "Cardiomegaly": entry(0.907, (0.9, 0.91)),
    }
    found = compare_published(subject_of(observed, split="test", n=500), "paper")
    assert found.against == "irvin2019-test"
    first = row(found, "Atelectasis")
    # Published 0.85 stands for 0.845 … 0.855.
    assert (first.theirs, first.theirs_ci, first.theirs_decimals) == (0.85, None, 2)
    assert first.difference_ci == pytest.approx((0.005, 0.035))
    assert first.verdict == "above"
    assert row(found, "Cardiomegaly").verdict == "within the interval"
    (differs,) = [note for note in found.notes if note.startswith("differs")]
    assert "label policy: Cardiomegaly u-ones, published u-multiclass" in differs
    assert "Atelectasis u-ones" not in differs


def test_origin_average_was_cut_so_it_may_be_a_whole_unit_more() -> None:
    five = {name: entry(0.9, (0.85, 0.95)) for name in COMPETITION}
    found = compare_published(subject_of(five, mean=(0.9, (0.88, 0.92))), "readme")
    average = row(found, "Average")
    assert (average.theirs, average.difference) == (0.86, pytest.approx(0.04))
    assert average.difference_ci == pytest.approx((0.04 - 0.02 - 0.01, 0.04 + 0.02))
    (differs,) = [note for note in found.notes if note.startswith("differs")]
    assert "split: valid, not stated by the publication" in differs


def test_every_departure_from_the_paper_is_said() -> None:
    scenario = replace(POOLED, strategy=STRATEGIES.read("fedavg"), image_size=64, clients=7)
    data = {"name": "phantom", "digest": "d" * 64, "synthetic": True}
    found = compare_published(subject_of(OBSERVED, scenario=scenario, data=data, n=60), "paper")
    (differs,) = [note for note in found.notes if note.startswith("differs")]
    for text in (
        "SYNTHETIC DATA",
        "studies: 60, published 200",
        "image size: 64, published 320",
        "models averaged: 1, published 30",
        "training: fedavg over 7 clients, published centralized",
    ):
        assert text in differs
    assert "split:" not in differs
    assert found.synthetic
    assert row(found, "Atelectasis").difference == pytest.approx(0.042)
    assert row(found, "Atelectasis").verdict == "not comparable: the data is synthetic"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"data": {**CHEXPERT, "name": "kermany-224"}}, "kermany-224 is not CheXpert"),
        ({"split": "test"}, "scored on test, published on valid"),
    ],
)
def test_other_data_and_another_split_bear_no_verdict(change: dict[str, Any], reason: str) -> None:
    found = compare_published(subject_of(OBSERVED, **change), "paper:valid")
    assert row(found, "Edema").verdict == f"not comparable: {reason}"


def test_a_table_without_auroc_is_not_comparable() -> None:
    with pytest.raises(NotComparable, match="does not publish AUROC"):
        compare_published(subject_of(OBSERVED), "irvin2019-counts")


def two_conditions(first: Sequence[float], second: Sequence[float]) -> StudyScores:
    labels = np.array([[1, 1], [1, 0], [0, 1], [0, 0]], dtype=np.float32)
    return StudyScores(
        studies=np.array([f"patient{i}/study1" for i in range(4)]),
        patients=np.array([f"patient{i}" for i in range(4)]),
        observations=("Cardiomegaly", "Edema"),
        labels=labels,
        scores=np.array([first, second], dtype=np.float32).T[None],
        members=("global",),
    )


def test_seeds_of_a_scenario_are_one_row_with_mean_and_sd(tmp_path: Path) -> None:
    """Cardiomegaly's positives are the first two studies: 3 of 4 pairs right, then all 4."""
    parts = {
        0: two_conditions([0.9, 0.4, 0.5, 0.1], [0.9, 0.1, 0.8, 0.2]),
        1: two_conditions([0.9, 0.8, 0.5, 0.1], [0.9, 0.1, 0.8, 0.2]),
    }
    for seed, scored in parts.items():
        scenario = replace(POOLED, seed=seed, observations=("Cardiomegaly", "Edema"))
        write_run(tmp_path, name=f"pooled-seed{seed}", scenario=scenario, scores=scored)
    (found,), notes = compare_all([tmp_path], "paper")
    assert notes == []
    assert found.run == "pooled (2 seeds)"
    first = row(found, "Cardiomegaly")
    assert first.ours == pytest.approx(0.875)
    assert first.extra["seeds"] == 2
    assert first.extra["ours_sd"] == pytest.approx(0.25 / math.sqrt(2))
    assert row(found, "Edema").extra["ours_sd"] == 0
    assert "ours: mean over 2 seeds" in found.notes[-1]
    text = write([found], "markdown")
    assert "± sd over seeds" in text
    assert "0.177" in text


def test_runs_of_other_scenarios_are_not_taken_together(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path, name="a", scenario=POOLED),
        write_run(tmp_path, name="b", scenario=replace(POOLED, seed=1, rounds=11)),
        write_run(tmp_path, name="c", scenario=replace(POOLED, seed=1), digest="e" * 64),
    ]
    assert [subject.name for subject in subjects(runs, "valid")] == ["a", "b", "c"]


def pair(tmp_path: Path, **changes: Any) -> tuple[Run, Run]:
    ours = write_run(tmp_path / "a", scores=some_scores(strength=2.5))
    options = {"scores": some_scores(seed=5, strength=0.8), "name": "other", **changes}
    return ours, write_run(tmp_path / "b", **options)


def test_paired_rows_are_delong_s_with_holm_over_conditions(tmp_path: Path) -> None:
    ours, theirs = pair(tmp_path)
    found = compare_runs(ours, theirs, "valid")
    a, b = ours.scores("valid"), theirs.scores("valid")
    raw = [
        paired_test(a.labels[:, o].astype(float), a.scores[0, :, o], b.scores[0, :, o])
        for o in range(5)
    ]
    adjusted, highest = [0.0] * 5, 0.0
    for place, index in enumerate(np.argsort([test.p for test in raw])):
        highest = max(highest, min(1.0, (5 - place) * raw[index].p))
        adjusted[index] = highest
    conditions = found.rows[:-1]
    assert [r.p for r in conditions] == pytest.approx(adjusted)
    assert [r.difference for r in conditions] == pytest.approx([t.difference for t in raw])
    assert {r.verdict for r in conditions} == {"above"}
    mean = sum(t.difference for t in raw) / 5
    assert found.rows[-1].condition == "Average"
    assert found.rows[-1].difference == pytest.approx(mean)
    assert "the scenarios differ in" not in "".join(found.notes)
    turned = compare_runs(theirs, ours, "valid")
    assert [r.difference for r in turned.rows] == pytest.approx([-r.difference for r in found.rows])  # type: ignore[operator]
    assert {r.verdict for r in turned.rows} == {"below"}


def test_a_run_against_itself_differs_by_nothing(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    found = compare_runs(run, run, "valid")
    assert {(r.difference, r.p, r.verdict) for r in found.rows} == {
        (0.0, 1.0, "no significant difference")
    }


def test_studies_are_matched_by_name_and_not_by_place(tmp_path: Path) -> None:
    scored = some_scores(seed=5)
    order = np.random.default_rng(0).permutation(len(scored.studies))
    ours, theirs = pair(tmp_path, scores=scored)
    _, turned = pair(tmp_path / "turned", scores=scored.take(order))
    expected = compare_runs(ours, theirs, "valid").rows
    assert [r.p for r in compare_runs(ours, turned, "valid").rows] == pytest.approx(
        [r.p for r in expected]
    )


def test_other_studies_and_other_labels_are_not_comparable(tmp_path: Path) -> None:
    ours, fewer = pair(tmp_path, scores=some_scores(studies=199))
    with pytest.raises(NotComparable, match="different studies"):
        compare_runs(ours, fewer, "valid")
    scored = some_scores()
    scored.labels[3, 2] = 1 - scored.labels[3, 2]
    _, other = pair(tmp_path / "labels", scores=scored)
    with pytest.raises(NotComparable, match="1 of 1,000 labels, the first being Conso"):
        compare_runs(ours, other, "valid")


def by_pairs(scored: StudyScores, name: str) -> tuple[float, float]:
    """AUROC and DeLong's standard error by comparing every positive with every negative."""
    labels, scores = (
        x[..., scored.observations.index(name)] for x in (scored.labels, scored.scores)
    )
    won = scores[0][labels == 1][:, None] > scores[0][labels == 0][None]
    rows, columns = won.mean(axis=1), won.mean(axis=0)
    variance = rows.var(ddof=1) / len(rows) + columns.var(ddof=1) / len(columns)
    return float(won.mean()), math.sqrt(variance)


def test_paired_rows_have_each_side_s_interval_by_the_method_asked_for(tmp_path: Path) -> None:
    ours, theirs = pair(tmp_path)
    found, _ = compare_all([ours.folder], str(theirs.folder), method="wald")
    edema = row(found[0], "Edema")
    for run, auroc, interval in (
        (ours, edema.ours, edema.ours_ci),
        (theirs, edema.theirs, edema.theirs_ci),
    ):
        value, error = by_pairs(run.scores("valid"), "Edema")
        assert auroc == pytest.approx(value)
        assert interval == pytest.approx((value - 1.959964 * error, value + 1.959964 * error))
    plain, _ = compare_all([ours.folder], str(theirs.folder))
    stored = ours.metrics["valid"]
    assert list(row(plain[0], "Edema").ours_ci or ()) == stored["observations"]["Edema"]["ci"]
    assert list(row(plain[0], "Average").ours_ci or ()) == stored["mean_ci"]
    assert (
        "the average is over the 5 competition tasks, and its p is not adjusted"
        in plain[0].notes[0]
    )


def test_the_average_of_a_pair_and_its_intervals_are_over_the_same_tasks(tmp_path: Path) -> None:
    """The other run has two tasks only; then it has no scores for one of them either."""
    ours, theirs = pair(tmp_path, scores=some_scores(seed=5).select(["Edema", "Atelectasis"]))
    found = compare_runs(ours, theirs, "valid", alpha=0.01)
    own = ours.scores("valid").select(["Edema", "Atelectasis"])
    expected = score_studies(own.labels, own.scores, own.observations)
    average = row(found, "Average")
    assert average.ours == pytest.approx(expected.mean_auroc)
    assert average.ours_ci == expected.mean_ci != tuple(ours.metrics["valid"]["mean_ci"])
    assert "over 2 of the 5 competition tasks (Atelectasis, Edema)" in found.notes[0]
    assert "at adjusted p < 0.01;" in found.notes[0]
    broken = some_scores(seed=5).select(["Edema", "Atelectasis"])
    broken.scores[0, 7, 1] = np.nan
    ours, theirs = pair(tmp_path / "broken", scores=broken)
    average = row(compare_runs(ours, theirs, "valid"), "Average")
    assert average.ours == pytest.approx(expected["Edema"].auroc)
    assert (average.ours_ci, average.theirs_ci is None) == (None, False)


def test_several_studies_of_a_patient_are_said(tmp_path: Path) -> None:
    """DeLong's test takes studies as independent, which those of one patient are not."""
    scored = some_scores(seed=5)
    scored = replace(scored, patients=np.repeat(scored.patients[::2], 2))
    run = write_run(tmp_path, scores=scored)
    assert (
        "the studies are of 100 patients, and the tests take them as independent"
        in compare_runs(run, run, "valid").notes[0]
    )
    one = write_run(tmp_path / "one")
    assert "patients" not in compare_runs(one, one, "valid").notes[0]


def test_of_several_runs_those_that_cannot_be_paired_are_left_out(tmp_path: Path) -> None:
    """One was scored on fewer studies, one lost its scores, one has another split only."""
    scenarios = {name: replace(POOLED, rounds=rounds) for rounds, name in enumerate("abcd", 1)}
    special: dict[str, dict[str, Any]] = {"b": {"scores": some_scores(studies=199)}}
    for name, scenario in scenarios.items():
        write_run(tmp_path / "then", name=name, scenario=scenario)
        write_run(tmp_path / "now", name=name, scenario=scenario, **special.get(name, {}))
    lost, other = (next((tmp_path / "now").glob(f"{name}-*")) for name in "cd")
    (lost / "scores-valid.npz").unlink()
    found, notes = compare_all([tmp_path / "now"], str(tmp_path / "then"))
    assert [c.run for c in found] == ["a", "d"]
    assert notes == [
        "b is left out: the two were scored on different studies (200 studies, 199 of them common)",
        f"c is left out: {lost} does not hold its scores (scores-valid.npz)",
    ]
    with pytest.raises(NotComparable, match="nothing could be compared") as raised:
        compare_all([tmp_path / "now"], str(tmp_path / "then"), split="test")
    assert f"d is left out: {other} was not scored on test" in str(raised.value)
    # Of a single run the error itself is raised, with its place.
    with pytest.raises(ResultsError, match=r"was scored on 'valid' and its folder does not hold"):
        compare_all([lost], str(tmp_path / "then"))


def test_a_folder_is_matched_by_name(tmp_path: Path) -> None:
    scenarios = {name: replace(POOLED, rounds=rounds) for rounds, name in enumerate("abc", 1)}
    for name, scenario in scenarios.items():
        write_run(tmp_path / "now", name=name, scenario=scenario)
    for name in ("a", "b"):
        then = {"scenario": scenarios[name], "scores": some_scores(seed=4)}
        write_run(tmp_path / "then", name=name, **then)
    found, notes = compare_all([tmp_path / "now"], str(tmp_path / "then"))
    assert [(c.run, c.against) for c in found] == [("a", "a"), ("b", "b")]
    assert notes == [f"c is left out: {tmp_path / 'then'} has 0 runs of that name"]


def test_unfinished_runs_are_left_out_and_said_so(tmp_path: Path) -> None:
    write_run(tmp_path, name="a")
    write_run(tmp_path, name="b", status="interrupted")
    found, notes = compare_all([tmp_path], "paper")
    assert [c.run for c in found] == ["a"]
    assert notes == ["b is left out: it is interrupted"]
    write_run(tmp_path / "only", status="failed")
    with pytest.raises(NotComparable, match="no run is finished"):
        compare_all([tmp_path / "only"], "paper")


def test_nothing_in_common_is_not_comparable_with_the_reason(tmp_path: Path) -> None:
    scored = some_scores(observations=("Fracture", "Pneumonia"))
    policies = (("Fracture", "u-ones"), ("Pneumonia", "u-ones"))
    scenario = replace(POOLED, observations=("Fracture", "Pneumonia"), label_policy=policies)
    write_run(tmp_path, scenario=scenario, scores=scored)
    with pytest.raises(NotComparable, match="no condition in common with irvin2019-valid"):
        compare_all([tmp_path], "paper")


def test_target_is_checked_before_anything_is_trained(tmp_path: Path) -> None:
    for known in ("paper", "paper:test", "readme", "irvin2019-valid"):
        check_target(known)
    with pytest.raises(BaselineError, match="did you mean 'paper:test'"):
        check_target("paper:tets")
    with pytest.raises(UsageError, match="no run in the folder"):
        check_target(str(tmp_path))
    write_run(tmp_path)
    check_target(str(tmp_path))
    for check in (check_target, lambda against: compare_all([tmp_path], against)):
        with pytest.raises(UsageError, match=r"nowhere/at/all: there is no such run or folder"):
            check("nowhere/at/all")


def test_tables_show_figures_as_they_were_printed() -> None:
    subject = subject_of({"Atelectasis": entry(0.87, (0.86, 0.88))}, split="test")
    found = compare_published(subject, "paper")
    table = comparison_table(found)
    titles = [column.title for column in table.columns]
    assert titles[:3] == ["Condition", "AUROC (ours)", "95 % interval"]
    assert "AUROC (published)" in titles
    first, average = table.cells()
    assert first[:5] == ["Atelectasis", "0.870", "[0.860, 0.880]", "0.85", "+0.020"]
    assert average[0] == "Average"
    assert table.rule_before == (1,)
    flat = flat_table([found])
    assert [column.key for column in flat.columns][:4] == ["run", "split", "against", "condition"]
    assert flat.cells()[0][4:7] == ["0.87", "0.86", "0.88"]


def test_matrix_has_a_run_a_row_and_the_average_last() -> None:
    first = compare_published(subject_of(OBSERVED), "paper")
    second = compare_published(subject_of({"Edema": entry(0.95, (0.9, 0.99))}), "paper")
    table = matrix([first, second])
    titles = [column.title for column in table.columns]
    assert titles == ["Run", "Atelectasis", "Cardiomegaly", "Edema", "Consolidation", "Average"]
    assert table.cells()[0] == ["pooled", "+0.042", "+0.158", "-0.241", "–", "–"]
    assert table.cells()[1] == ["pooled", "–", "–", "+0.009", "–", "–"]


def test_a_tree_of_another_name_is_known_by_its_counts() -> None:
    """Irvin 2019's validation set: 200 studies, 75 of Atelectasis and 66 of Cardiomegaly."""
    other = {"name": "my-folder", "digest": "c" * 64, "synthetic": False}
    counted = {
        "Atelectasis": {**OBSERVED["Atelectasis"], "positives": 75},
        "Cardiomegaly": {**OBSERVED["Cardiomegaly"], "positives": 66},
    }
    found = compare_published(subject_of(counted, data=other), "paper")
    assert row(found, "Atelectasis").verdict == "within the interval"
    counted["Cardiomegaly"]["positives"] = 65
    found = compare_published(subject_of(counted, data=other), "paper")
    assert row(found, "Atelectasis").verdict == "not comparable: my-folder is not CheXpert"
