"""The AUROC gate of ``bench check``: planted regressions fail, chance does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.comparison.gate_auroc import auroc_gates
from bench.comparison.paired import compare_runs
from bench.comparison.verdicts import Finding
from bench.observations import COMPETITION
from bench.results.run import Run, scores_file
from bench.scoring.holm import holm
from bench.scoring.studies import StudyScores
from bench.suites.gates import AurocGate
from tests.runs_on_disk import (
    some_scores,
    write_run,
)
from tests.test_scoring_tests import paired_test


@pytest.fixture
def reference(tmp_path: Path) -> Run:
    return write_run(tmp_path / "reference")


def verdicts(findings: list[Finding]) -> dict[str, str]:
    return {finding.gate.removeprefix("AUROC "): finding.verdict for finding in findings}


def shuffled(scored: StudyScores) -> StudyScores:
    """A model that learned from shuffled labels: its scores know nothing of the truth."""
    order = np.random.default_rng(3).permutation(len(scored.studies))
    return replace(scored, scores=scored.scores[:, order])


def test_a_run_against_itself_is_unchanged(tmp_path: Path, reference: Run) -> None:
    found = auroc_gates(write_run(tmp_path), reference, AurocGate())
    assert verdicts(found) == dict.fromkeys([*COMPETITION, "mean"], "pass")
    assert {f.figures["change"] for f in found} == {0.0}
    assert {f.reason for f in found} == {"unchanged, p = 1.000"}


def test_a_model_trained_on_shuffled_labels_fails(tmp_path: Path, reference: Run) -> None:
    run = write_run(tmp_path, scores=shuffled(some_scores()))
    found = auroc_gates(run, reference, AurocGate())
    assert verdicts(found) == dict.fromkeys([*COMPETITION, "mean"], "regression")
    assert found[-1].figures["change"] < -0.3


def test_an_honest_model_of_another_seed_never_fails(tmp_path: Path, reference: Run) -> None:
    failed = 0
    for seed in range(1, 41):
        run = write_run(tmp_path, scores=some_scores(seed=seed))
        failed += "regression" in verdicts(auroc_gates(run, reference, AurocGate())).values()
    # Two families, each two-sided at 0.05, so a drop at 0.025: two of 40 are expected at most.
    assert failed <= 4


def test_p_values_are_adjusted_by_holm(tmp_path: Path, reference: Run) -> None:
    run = write_run(tmp_path, scores=some_scores(strength=1.2, seed=2))
    a, b = run.scores("valid"), reference.scores("valid")
    raw = [
        paired_test(a.labels[:, c], a.scores[:, :, c], b.scores[:, :, c]).p
        for c in range(len(COMPETITION))
    ]
    order = np.argsort(raw)
    # By hand: the smallest times 5, the next times 4 …, never falling, never above 1.
    expected, highest = dict[int, float](), 0.0
    for rank, c in enumerate(order):
        highest = max(highest, min(1.0, raw[c] * (5 - rank)))
        expected[int(c)] = highest
    found = auroc_gates(run, reference, AurocGate())
    assert [f.figures["p"] for f in found[:5]] == pytest.approx([expected[c] for c in range(5)])
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])


def test_p_values_are_those_of_compare(tmp_path: Path, reference: Run) -> None:
    run = write_run(tmp_path, scores=some_scores(strength=1.2, seed=2))
    compared = compare_runs(run, reference, "valid")
    found = auroc_gates(run, reference, AurocGate())
    assert [f.figures["p"] for f in found] == [row.p for row in compared.rows]


def test_tolerance_and_significance_must_agree(tmp_path: Path, reference: Run) -> None:
    run = write_run(tmp_path, scores=some_scores(strength=0.5, seed=5))
    mean = auroc_gates(run, reference, AurocGate())[-1]
    assert mean.verdict == "regression"
    assert mean.threshold == "drop > 0.01 and p < 0.05"
    assert mean.measured == f"{mean.figures['reference']:.4f} → {mean.figures['now']:.4f}"
    drop = -mean.figures["change"]
    for tolerance, expected in ((drop - 1e-9, "regression"), (drop + 1e-9, "pass")):
        again = auroc_gates(run, reference, AurocGate(tolerance=tolerance))[-1]
        assert again.verdict == expected
    by_chance = write_run(tmp_path, scores=some_scores(seed=3))
    kinds = verdicts(auroc_gates(by_chance, reference, AurocGate()))
    assert kinds["Edema"] == "inconclusive"
    assert "regression" not in kinds.values()


def test_scores_that_became_nan_fail(tmp_path: Path, reference: Run) -> None:
    scored = some_scores()
    scored.scores[0, :7, COMPETITION.index("Edema")] = np.nan
    found = auroc_gates(write_run(tmp_path, scores=scored), reference, AurocGate())
    edema = next(f for f in found if f.gate == "AUROC Edema")
    assert (edema.verdict, edema.measured) == ("regression", "0.8463 → undefined")
    assert edema.reason == "the run has no AUROC any more: 7 scores are NaN"


def test_a_condition_without_positives_is_shown_and_decides_nothing(tmp_path: Path) -> None:
    scored = some_scores()
    scored.labels[:, 0] = 0.0
    runs = [write_run(tmp_path / side, scores=scored) for side in ("reference", "now")]
    first = auroc_gates(runs[1], runs[0], AurocGate())[0]
    assert (first.verdict, first.reason) == ("undefined", "no positives, as in the reference")


def test_a_drop_that_cannot_be_tested_is_no_pass(tmp_path: Path) -> None:
    perfect = some_scores(observations=["Edema"])
    before = replace(perfect, scores=perfect.labels[None].copy())
    constant = replace(perfect, scores=np.zeros_like(before.scores))
    runs = [write_run(tmp_path / str(i), scores=s) for i, s in enumerate((before, constant))]
    found = auroc_gates(runs[1], runs[0], AurocGate())
    assert {f.verdict for f in found} == {"cannot tell"}
    assert "variance of the difference is zero" in found[0].reason


def test_other_studies_or_no_scores_cannot_be_told(tmp_path: Path, reference: Run) -> None:
    other = auroc_gates(
        write_run(tmp_path, scores=some_scores(studies=150)), reference, AurocGate()
    )
    assert verdicts(other) == {"AUROC": "cannot tell"}
    assert "different studies" in other[0].reason
    (reference.folder / scores_file("valid")).unlink()
    missing = auroc_gates(write_run(tmp_path), reference, AurocGate())
    assert verdicts(missing) == {"AUROC": "cannot tell"}


def test_a_condition_the_run_lost_is_no_pass(tmp_path: Path, reference: Run) -> None:
    run = write_run(tmp_path, scores=some_scores().select(COMPETITION[1:]))
    found = auroc_gates(run, reference, AurocGate())
    assert verdicts(found)["Atelectasis"] == "cannot tell"
    assert found[-1].gate == "AUROC mean"
