"""The report of a split, the kept scores, views, curves, average precision and calibration."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from bench.errors import NotComparable, ResultsError
from bench.scoring.auprc import average_precision
from bench.scoring.calibration import calibration, refusal
from bench.scoring.operating import Reader, lies_below, operating_point, reader
from bench.scoring.report import score_studies
from bench.scoring.roc import curve, roc_curve
from bench.scoring.studies import StudyScores, align
from bench.scoring.views import combine_views, without_frontal

rankings = st.integers(3, 50).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from([0.0, 1.0]), min_size=n, max_size=n).filter(
            lambda x: 0 < sum(x) < len(x)
        ),
        st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9, 1.0]), min_size=n, max_size=n),
    )
)


def example(s: int = 400, o: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (rng.random((s, o)) < 0.3).astype(np.float32)
    return labels, (rng.normal(size=(1, s, o)) + labels).astype(np.float32)


def test_metrics_are_the_block_of_run_json() -> None:
    labels, scores = example()
    labels[:, 2] = 0.0
    names = ("Edema", "Support Devices", "Fracture")
    block = score_studies(labels, scores, names).metrics()
    assert list(block) == ["n", "members", "observations", "mean_auroc", "mean_ci", "mean_over"]
    edema, fracture = block["observations"]["Edema"], block["observations"]["Fracture"]
    assert list(edema) == ["auroc", "ci", "method", "positives", "n", "undefined", "unreliable"]
    assert edema["method"] == "delong-logit"
    assert edema["ci"][0] < edema["auroc"] < edema["ci"][1]
    assert fracture == {
        "auroc": None,
        "ci": None,
        "method": "delong-logit",
        "positives": 0,
        "n": 400,
        "undefined": "no positives",
        "unreliable": True,
    }
    assert block["mean_over"] == ["Edema"]
    assert block["mean_auroc"] == edema["auroc"]
    assert block["mean_ci"] == pytest.approx(edema["ci"])
    json.dumps(block, allow_nan=False)


def test_no_competition_task_has_no_mean() -> None:
    labels, scores = example()
    block = score_studies(labels, scores, ("a", "b", "c")).metrics()
    assert (block["mean_auroc"], block["mean_ci"], block["mean_over"]) == (None, None, [])


def test_mean_of_copies_is_as_certain_as_one() -> None:
    labels, scores = example(o=1)
    tasks = ("Edema", "Atelectasis", "Consolidation")
    one = score_studies(labels, scores, tasks[:1])
    many = score_studies(np.repeat(labels, 3, 1), np.repeat(scores, 3, 2), tasks)
    assert many.mean_ci == pytest.approx(one.mean_ci)


@pytest.mark.parametrize("positives", [29, 30])
def test_fewer_than_thirty_is_unreliable(positives: int) -> None:
    labels = np.zeros((100, 2))
    labels[:positives, 0] = 1
    labels[positives:, 1] = 1
    scores = np.random.default_rng(0).normal(size=(1, 100, 2))
    report = score_studies(labels, scores, ("a", "b"))
    assert [c.unreliable for c in report.conditions] == [positives < 30] * 2


@pytest.mark.parametrize("method", ["logit", "wald", "bootstrap"])
def test_perfect_separation_is_not_certainty(method: str) -> None:
    labels = np.repeat([1.0, 0.0], [12, 30])[:, None]
    report = score_studies(labels, labels[None], ("Edema",), method)  # type: ignore[arg-type]
    score = report["Edema"]
    assert (score.auroc, score.method) == (1.0, "newcombe")
    assert score.ci is not None
    assert score.ci[1] == 1.0
    assert 0.7 < score.ci[0] < 0.95
    assert report.mean_ci == pytest.approx(score.ci, abs=1e-6)


def test_a_perfect_task_does_not_make_the_mean_more_certain() -> None:
    labels, scores = example(s=60, o=2)
    scores[0, :, 1] = labels[:, 1]
    report = score_studies(labels, scores, ("Edema", "Atelectasis"))
    assert report["Atelectasis"].method == "newcombe"
    assert report.mean_ci is not None
    single = score_studies(labels, scores, ("Edema", "x"))["Edema"].ci
    assert single is not None
    half = (single[1] - single[0]) / 2
    assert report.mean_ci[1] - report.mean_ci[0] > half * 0.9


def test_methods_agree_roughly() -> None:
    labels, scores = example(s=1500)
    names = ("Edema", "Atelectasis", "Consolidation")
    ends = [
        score_studies(labels, scores, names, method).mean_ci
        for method in ("logit", "wald", "bootstrap")
    ]
    for other in ends[1:]:
        assert other == pytest.approx(ends[0], abs=0.004)


def test_unknown_method_is_refused() -> None:
    labels, scores = example()
    with pytest.raises(ValueError, match=r"one of logit, wald, bootstrap. Got 'exact'"):
        score_studies(labels, scores, ("a", "b", "c"), "exact")  # type: ignore[arg-type]


def kept(seed: int = 0) -> StudyScores:
    labels, scores = example(6, 2, seed)
    labels[1, 1] = np.nan
    return StudyScores(
        studies=np.array([f"p{i}/s" for i in range(6)]),
        patients=np.array([f"p{i}" for i in range(6)]),
        observations=("Edema", "Fracture"),
        labels=labels,
        scores=scores,
        members=("global",),
    )


def test_scores_survive_the_disk(tmp_path: Path) -> None:
    scored = kept()
    digest = scored.save(tmp_path / "scores-valid.npz")
    again = StudyScores.load(tmp_path / "scores-valid.npz")
    assert again.save(tmp_path / "other.npz") == digest
    assert again.observations == scored.observations
    assert again.scores.dtype == np.float32
    np.testing.assert_array_equal(again.labels, scored.labels)
    np.testing.assert_array_equal(again.scores, scored.scores)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other.npz", "scores-valid.npz"]


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 torn"])
def test_other_files_are_not_scores(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "scores-valid.npz"
    path.write_bytes(content)
    with pytest.raises(ResultsError, match="cannot be read"):
        StudyScores.load(path)


def test_pickles_and_partial_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores-valid.npz"
    np.savez(path, studies=np.array([{}], dtype=object))
    with pytest.raises(ResultsError):
        StudyScores.load(path)
    np.savez(path, studies=np.array(["a"]))
    with pytest.raises(ResultsError, match="patients"):
        StudyScores.load(path)


@pytest.mark.parametrize("part", ["studies", "observations", "members"])
def test_names_that_occur_twice_are_refused(tmp_path: Path, part: str) -> None:
    """A pair could be made in two ways."""
    path, scored = tmp_path / "scores-valid.npz", kept()
    names = list(getattr(scored, part))
    if len(names) == 1:
        scored = replace(scored, members=(*names, *names), scores=np.repeat(scored.scores, 2, 0))
    else:
        names[-1] = names[0]
        scored = replace(scored, **{part: np.array(names) if part == "studies" else tuple(names)})
    scored.save(path)
    with pytest.raises(ResultsError, match=f"'{part}' must be distinct"):
        StudyScores.load(path)


def test_align_reorders_and_refuses() -> None:
    a = kept()
    b = a.take(np.array([5, 4, 3, 2, 1, 0])).select(["Fracture"])
    first, second = align(a, b)
    assert first.observations == second.observations == ("Fracture",)
    np.testing.assert_array_equal(first.scores, second.scores)
    np.testing.assert_array_equal(first.studies, second.studies)
    with pytest.raises(NotComparable, match="different studies"):
        align(a, a.take(np.array([0, 1, 2])))
    other = kept(seed=5)
    with pytest.raises(NotComparable, match="different labels"):
        align(a, other)


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="'labels' must have shape"):
        StudyScores(
            studies=np.array(["a"]),
            patients=np.array(["a"]),
            observations=("Edema",),
            labels=np.zeros((2, 1)),
            scores=np.zeros((1, 1, 1)),
            members=("m",),
        )


VIEWS = SimpleNamespace(
    studies=np.array(["a", "b", "c"]),
    study=np.array([1, 0, 1, 0, 2]),
    view=np.array(["Frontal", "Frontal", "Lateral", "Frontal", "Lateral"]),
)


@pytest.mark.parametrize(
    ("how", "expected"),
    [("max", [0.4, 0.9, 0.3]), ("mean", [0.3, 0.5, 0.3]), ("frontal", [0.4, 0.1, 0.3])],
)
def test_views_become_studies(how: str, expected: list[float]) -> None:
    scores = np.array([[0.1], [0.2], [0.9], [0.4], [0.3]])
    np.testing.assert_allclose(combine_views(scores, VIEWS, how)[:, 0], expected)
    assert without_frontal(VIEWS).tolist() == [False, False, True]


def test_views_refuse_other_words_and_empty_studies() -> None:
    with pytest.raises(ValueError, match=r"Got 'median'"):
        combine_views(np.zeros((5, 1)), VIEWS, "median")
    lacking = SimpleNamespace(
        studies=np.array(["a", "b"]), study=np.array([0]), view=np.array([""])
    )
    with pytest.raises(ValueError, match="at least one image"):
        combine_views(np.zeros((1, 1)), lacking, "max")


@settings(max_examples=100, deadline=None)
@given(rankings)
def test_curve_and_average_precision_equal_scikit_learn(
    case: tuple[list[float], list[float]],
) -> None:
    labels, scores = np.array(case[0]), np.array(case[1])
    for thin in (True, False):
        expected = metrics.roc_curve(labels, scores, drop_intermediate=thin)
        for ours, theirs in zip(roc_curve(labels, scores, thin=thin), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-15)
    expected = metrics.average_precision_score(labels, scores)
    assert average_precision(labels, scores) == pytest.approx(expected, abs=1e-12)


def test_average_precision_of_nothing_is_undefined() -> None:
    assert math.isnan(average_precision(np.zeros(3), np.arange(3.0)))


def test_no_curve_without_both_classes() -> None:
    with pytest.raises(ValueError, match="No ROC curve: no positives"):
        curve(np.zeros(3), np.arange(3.0))


# Descending: 1 1 0 1 0 0 with thresholds 6 5 4 3 2 1.
TRUTH = np.array([1.0, 1.0, 0.0, 1.0, 0.0, 0.0])
CURVE = curve(TRUTH, np.array([6.0, 5.0, 4.0, 3.0, 2.0, 1.0]))


@pytest.mark.parametrize(
    ("fixed", "bound", "threshold", "sensitivity", "specificity"),
    [
        ("specificity", 1.0, 5.0, 2 / 3, 1.0),
        ("specificity", 0.9, 5.0, 2 / 3, 1.0),
        ("specificity", 0.6, 3.0, 1.0, 2 / 3),
        ("specificity", 0.0, 3.0, 1.0, 2 / 3),
        ("sensitivity", 0.5, 5.0, 2 / 3, 1.0),
        ("sensitivity", 1.0, 3.0, 1.0, 2 / 3),
        ("sensitivity", 0.0, 5.0, 2 / 3, 1.0),
    ],
)
def test_operating_points_by_hand(
    fixed: str, bound: float, threshold: float, sensitivity: float, specificity: float
) -> None:
    point = operating_point(CURVE, fixed, bound)  # type: ignore[arg-type]
    assert point.threshold == threshold
    assert point.sensitivity == pytest.approx(sensitivity)
    assert point.specificity == pytest.approx(specificity)


def test_operating_point_refuses_a_bound_beyond_one() -> None:
    with pytest.raises(ValueError, match=r"within \[0, 1\]. Got 90"):
        operating_point(CURVE, "specificity", 90)


def test_reader_counts() -> None:
    person = reader("r", TRUTH, np.array([1.0, 0.0, 1.0, 1.0, 0.0, 0.0]))
    assert person is not None
    assert (person.sensitivity, person.specificity) == pytest.approx((2 / 3, 2 / 3))
    assert reader("r", np.zeros(2), np.zeros(2)) is None


def official(labels: np.ndarray, scores: np.ndarray, fpr: float, sensitivity: float) -> bool:
    """The competition's rule in scikit-learn's terms."""
    rates, reached, _ = metrics.roc_curve(labels, scores)
    first = int(np.argmax(rates >= fpr - 1e-12))
    return bool(first > 0 and reached[first - 1] >= sensitivity - 1e-12)


@settings(max_examples=100, deadline=None)
@given(rankings, st.data())
def test_step_rule_equals_the_competitions(
    case: tuple[list[float], list[float]], data: st.DataObject
) -> None:
    labels, scores = np.array(case[0]), np.array(case[1])
    p, q = int(labels.sum()), int((1 - labels).sum())
    tp, fp = data.draw(st.integers(1, p)), data.draw(st.integers(1, q))
    person = Reader(name="r", true_positives=tp, positives=p, false_positives=fp, negatives=q)
    expected = official(labels, scores, fp / q, tp / p)
    assert lies_below(curve(labels, scores), person) is expected


def test_step_rule_is_stricter_than_the_line() -> None:
    # The curve passes (0, 2/3), (1/3, 2/3), (1/3, 1). A reader at 1 - specificity 1/3 is held
    # against (0, 2/3), the corner before it, not against (1/3, 1) above it.
    at = {"positives": 3, "false_positives": 1, "negatives": 3}
    assert lies_below(CURVE, Reader(name="r", true_positives=2, **at))
    assert not lies_below(CURVE, Reader(name="r", true_positives=3, **at))


def test_calibration_by_hand() -> None:
    labels = np.array([0.0, 1.0, 1.0, np.nan])
    scores = np.array([0.1, 0.2, 1.0, 0.5])
    result = calibration(labels, scores, bins=2)
    assert result is not None
    assert result.brier == pytest.approx((0.01 + 0.64 + 0.0) / 3)
    # The lower bin has mean 0.15 and share 0.5; the upper bin holds 1.0 and is right.
    assert result.ece == pytest.approx(2 / 3 * 0.35)
    assert result.counts.tolist() == [2, 1]
    assert result.brier == pytest.approx(metrics.brier_score_loss([0, 1, 1], [0.1, 0.2, 1.0]))


def test_bin_edges_belong_above_and_one_belongs_below() -> None:
    result = calibration(np.array([0.0, 1.0, 1.0]), np.array([0.0, 0.5, 1.0]), bins=2)
    assert result is not None
    assert result.counts.tolist() == [1, 2]


def test_calibration_is_refused_outside_the_unit_interval() -> None:
    scores = np.array([0.2, 1.01])
    assert refusal(scores) == "scores range from 0.2 to 1.01; probabilities lie within [0, 1]"
    assert refusal(np.array([0.0, 1.0])) is None
    with pytest.raises(ValueError, match="must lie within"):
        calibration(np.array([0.0, 1.0]), scores)
    assert calibration(np.array([np.nan]), np.array([0.5])) is None


@pytest.mark.slow
def test_two_hundred_thousand_studies_stay_below_two_gigabytes() -> None:
    import subprocess
    import sys

    code = """
import numpy as np
from bench.scoring.report import score_studies
rng = np.random.default_rng(0)
labels = (rng.random((200_000, 14), dtype=np.float32) < 0.15).astype(np.float32)
scores = (rng.normal(size=(1, 200_000, 14)) + labels).astype(np.float32)
for method in ("logit", "bootstrap"):
    score_studies(labels, scores, [str(i) for i in range(14)], method, replicates=200)
status = open("/proc/self/status").read()
print(int(status.split("VmHWM:")[1].split()[0]) * 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2e9
