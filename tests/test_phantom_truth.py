"""What the phantom knows: the clinic's graph, the reports drawn from it and the ideal observer."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from bench.data.phantom import EMBEDDED, clinic, ideal, reports
from bench.data.phantom.pictures import draw_view
from bench.observations import COMPETITION, NEGATIVE, OBSERVATIONS, POSITIVE, UNCERTAIN
from bench.randomness import generator
from tests.phantom_trees import SMALL, write_small

MANY = 20_000
SLACK = 0.004
"""Two standard errors of an AUROC near 0.97 on ``MANY`` studies, for the rarest observation."""


@lru_cache(maxsize=1)
def population() -> tuple[clinic.Cases, np.ndarray, dict[str, float]]:
    """Studies without images, their truth and the ideal observer's AUROC."""
    cases = clinic.draw_population(MANY, seed=5)
    return cases, clinic.truth(cases.present), ideal.ideal_auroc(cases)


@pytest.fixture
def many() -> clinic.Cases:
    return population()[0]


def test_the_tables_fit_together() -> None:
    syndromes, findings = len(clinic.SYNDROMES), len(clinic.FINDINGS)
    assert clinic.PRESENT.shape == (syndromes, findings)
    assert clinic.ABSENT_BETA.shape == clinic.PRESENT_BETA.shape == (findings, 2)
    assert clinic.SYNDROME_WEIGHT.sum() == pytest.approx(1.0)
    assert clinic.STUDY_SHARES.sum() == pytest.approx(1.0)
    assert set(reports.HABITS) == set(OBSERVATIONS) - {"No Finding"}


def test_severity_speaks_for_presence_ever_more() -> None:
    present, absent = clinic.PRESENT_BETA.T, clinic.ABSENT_BETA.T
    assert (present[0] >= absent[0]).all()
    assert (present[1] <= absent[1]).all()


def test_the_five_tasks_are_common_and_every_observation_occurs(many: clinic.Cases) -> None:
    shares = dict(zip(OBSERVATIONS, clinic.truth(many.present).mean(axis=0), strict=True))
    assert all(0.2 < shares[name] < 0.4 for name in COMPETITION)
    assert all(0.05 < share < 0.75 for share in shares.values())


def test_the_sick_are_taken_lying_down(many: clinic.Cases) -> None:
    none = clinic.truth(many.present)[:, OBSERVATIONS.index("No Finding")]
    assert many.ap[none].mean() + 0.2 < many.ap[~none].mean()


def test_truth_is_the_union_of_findings() -> None:
    each = np.eye(len(clinic.FINDINGS), dtype=bool)
    true = {
        finding: {name for name, t in zip(OBSERVATIONS, row, strict=True) if t}
        for finding, row in zip(clinic.FINDINGS, clinic.truth(each), strict=True)
    }
    assert true["Cardiomegaly"] == {"Cardiomegaly", "Enlarged Cardiomediastinum"}
    assert true["Pneumonia"] == {"Pneumonia", "Consolidation", "Lung Opacity"}
    assert true["Support Devices"] == {"No Finding", "Support Devices"}
    assert true["Pleural Effusion"] == {"Pleural Effusion"}


@pytest.mark.parametrize("split", ["valid", "test"])
def test_the_embedded_phantom_has_both_classes_of_everything(split: clinic.SplitName) -> None:
    studies = [
        study
        for index in range(EMBEDDED.patients(split))
        for study in clinic.draw_patient(split, index, EMBEDDED.seed)
    ]
    positives = clinic.truth(ideal.gather(studies).present).sum(axis=0)
    assert positives.min() >= 3
    assert positives.max() <= len(studies) - 3


def by_hand(cases: clinic.Cases, row: int) -> np.ndarray:
    """P(each observation | evidence) of one study, summed over all 6 · 2^12 possible worlds."""
    worlds = np.array(list(product([False, True], repeat=len(clinic.FINDINGS))))
    s = cases.severity[row]
    density = np.where(
        worlds,
        stats.beta.pdf(s, clinic.PRESENT_BETA[:, 0], clinic.PRESENT_BETA[:, 1]),
        stats.beta.pdf(s, clinic.ABSENT_BETA[:, 0], clinic.ABSENT_BETA[:, 1]),
    ).prod(axis=1)
    weight = np.zeros(len(worlds))
    prior = clinic.SYNDROME_WEIGHT * np.exp(clinic.SYNDROME_AGEING * (cases.age[row] - 60.0) / 18.0)
    for z, share in enumerate(prior / prior.sum()):
        seen = clinic.AP_SHARE[z] if cases.ap[row] else 1.0 - clinic.AP_SHARE[z]
        chance = np.where(worlds, clinic.PRESENT[z], 1.0 - clinic.PRESENT[z]).prod(axis=1)
        weight += share * seen * chance * density
    return (weight[:, None] * clinic.truth(worlds)).sum(axis=0) / weight.sum()


def test_the_posterior_is_that_of_every_possible_world(many: clinic.Cases) -> None:
    posterior = ideal.posterior(many)
    for row in range(6):
        np.testing.assert_allclose(posterior[row], by_hand(many, row), atol=1e-10)


def test_the_posterior_is_calibrated(many: clinic.Cases) -> None:
    posterior, truth = ideal.posterior(many), clinic.truth(many.present)
    np.testing.assert_allclose(posterior.mean(axis=0), truth.mean(axis=0), atol=0.01)
    doubtful = (posterior > 0.3) & (posterior < 0.7)
    assert abs(posterior[doubtful].mean() - truth[doubtful].mean()) < 0.02


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), blur=st.sampled_from([0.0, 0.02, 0.1]), mix=st.booleans())
def test_no_reader_of_the_severities_beats_the_ideal_one(seed: int, blur: float, mix: bool) -> None:
    cases, truth, best = population()
    rng = np.random.default_rng(seed)
    seen = cases.severity + blur * rng.standard_normal(cases.severity.shape)
    if mix:
        seen = (
            seen + 0.3 * rng.standard_normal() * np.roll(seen, 1, axis=1) + 0.1 * cases.ap[:, None]
        )
    for name in COMPETITION:
        parts = clinic.finding_indices(clinic.UNIONS.get(name, (name,)))
        score = seen[:, parts].max(axis=1)
        assert roc_auc_score(truth[:, OBSERVATIONS.index(name)], score) <= best[name] + SLACK


def test_the_ideal_is_high_and_not_perfect(many: clinic.Cases) -> None:
    assert all(0.93 < value < 0.995 for value in ideal.ideal_auroc(many).values())


def test_the_recorded_figures_are_those_of_the_written_labels(tmp_path: Path) -> None:
    tree = write_small(tmp_path / "tree", valid_patients=40)
    studies = [
        study for index in range(40) for study in clinic.draw_patient("valid", index, SMALL["seed"])
    ]
    labels, scores = tree.splits["valid"].study_labels(), ideal.posterior(ideal.gather(studies))
    expected = {
        name: roc_auc_score(labels[:, i], scores[:, i])
        for i, name in enumerate(OBSERVATIONS)
        if 0 < labels[:, i].sum() < len(labels)
    }
    assert tree.ideal_auroc == pytest.approx(expected, abs=1e-6)


def test_an_observation_without_both_classes_has_no_entry(many: clinic.Cases) -> None:
    healthy = replace(many, present=np.zeros_like(many.present))
    assert ideal.ideal_auroc(healthy) == {}


def study_with(**changes: object) -> clinic.Study:
    study = clinic.draw_patient("train", 0, 1)[0]
    return replace(study, ap=False, frontals=1, lateral=True, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("view", [0, 1])
def test_presence_reaches_the_image_only_through_severity(view: int) -> None:
    severity = np.full(len(clinic.FINDINGS), 0.4)
    images = [
        draw_view("train", study_with(present=present, severity=severity), view, size=32, seed=1)
        for present in (np.zeros(12, dtype=bool), np.ones(12, dtype=bool))
    ]
    np.testing.assert_array_equal(images[0], images[1])


@pytest.mark.parametrize("finding", clinic.FINDINGS)
def test_a_finding_shows_where_it_is_severe_and_hardly_where_it_is_not(finding: str) -> None:
    def drawn(value: float) -> np.ndarray:
        severity = np.full(len(clinic.FINDINGS), 0.02)
        severity[clinic.FINDINGS.index(finding)] = value
        present = np.zeros(12, dtype=bool)
        study = study_with(present=present, severity=severity)
        return draw_view("train", study, 0, size=64, seed=1).astype(float)

    absent = drawn(0.02)
    faint, plain = np.abs(drawn(0.12) - absent), np.abs(drawn(0.75) - absent)
    assert plain.max() > 18
    assert plain.sum() > 5 * faint.sum()


def test_a_large_heart_is_wide_and_an_effusion_white_at_the_base() -> None:
    def drawn(**severity: float) -> np.ndarray:
        values = np.full(len(clinic.FINDINGS), 0.02)
        for name, value in severity.items():
            values[clinic.FINDINGS.index(name.replace("_", " "))] = value
        study = study_with(present=np.zeros(12, dtype=bool), severity=values)
        return draw_view("train", study, 0, size=96, seed=1).astype(float)

    well, heart, fluid = drawn(), drawn(Cardiomegaly=0.8), drawn(Pleural_Effusion=0.8)
    row = slice(58, 64)
    white = [(image[row, 14:82] > 140).mean() for image in (well, heart)]
    assert white[1] > white[0] + 0.12
    bases = fluid[54:68] - well[54:68]
    assert max(bases[:, 16:30].mean(), bases[:, 66:80].mean()) > 60
    assert np.abs(fluid[20:35] - well[20:35]).mean() < 4


def mention(habit: reports.Habit, present: bool, plain: float) -> list[float]:
    """The labels of 20,000 reports on one observation."""
    chance = generator(1, "test").random((20_000, 3))
    return [reports._mention(habit, present, plain, c) for c in chance]


def test_reports_name_hedge_suspect_and_deny_as_often_as_their_habits_say() -> None:
    habit = reports.Habit(named=0.8, hedged=0.3, suspected=0.1, denied=0.4)
    true = np.array(mention(habit, True, 0.5))
    assert np.isnan(true).mean() == pytest.approx(0.2, abs=0.01)
    assert (true == UNCERTAIN).mean() == pytest.approx(0.8 * 0.3, abs=0.01)
    assert (true == POSITIVE).mean() == pytest.approx(0.8 * 0.7, abs=0.01)
    false = np.array(mention(habit, False, 0.25))
    assert (false == UNCERTAIN).mean() == pytest.approx(0.05, abs=0.005)
    assert (false == NEGATIVE).mean() == pytest.approx(0.95 * 0.4, abs=0.01)
    assert not (false == POSITIVE).any()


def test_what_is_faint_is_hedged_more() -> None:
    habit = reports.HABITS["Atelectasis"]
    shares = [np.mean(np.array(mention(habit, True, s)) == UNCERTAIN) for s in (0.3, 0.6, 0.9)]
    assert shares[0] > shares[1] > shares[2]


def test_training_labels_differ_by_observation_as_chexperts_do() -> None:
    labels = np.array(
        [
            reports.study_labels(study, "train", 2)
            for index in range(1500)
            for study in clinic.draw_patient("train", index, 2)
        ]
    )
    uncertain = dict(zip(OBSERVATIONS, (labels == -1).mean(axis=0), strict=True))
    denied = dict(zip(OBSERVATIONS, (labels == 0).mean(axis=0), strict=True))
    doubted = ["Atelectasis", "Consolidation", "Edema", "Pneumonia"]
    assert min(uncertain[name] for name in doubted) > 0.05
    assert uncertain["Support Devices"] < 0.02
    assert uncertain["No Finding"] == denied["No Finding"] == 0
    assert denied["Pneumothorax"] > 0.25 > denied["Atelectasis"]
    assert np.isnan(labels).mean() > 0.4


def test_a_report_of_nothing_but_a_device_is_no_finding() -> None:
    truth = clinic.truth(np.eye(12, dtype=bool)[-1:])[0]
    severity = np.full(12, 0.01)
    severity[-1] = 0.99
    labels = reports.report(truth, severity, np.full((14, 3), 0.5))
    assert labels[OBSERVATIONS.index("No Finding")] == POSITIVE
    assert labels[OBSERVATIONS.index("Support Devices")] == POSITIVE


def test_coarse_pixels_tell_the_five_tasks_apart() -> None:
    """A linear reader of 16 × 16 pixels is no bound, but shows that there is something to learn."""
    from sklearn.linear_model import Ridge

    studies = [s for i in range(260) for s in clinic.draw_patient("valid", i, 1)]
    pixels = np.stack([draw_view("valid", s, 0, size=32, seed=1) for s in studies]).astype(float)
    coarse = pixels.reshape(-1, 16, 2, 16, 2).mean(axis=(2, 4)).reshape(len(studies), -1) / 255.0
    truth = clinic.truth(ideal.gather(studies).present).astype(float)
    scores = Ridge(3.0).fit(coarse[:180], truth[:180]).predict(coarse[180:])
    best = ideal.ideal_auroc(ideal.gather(studies[180:]))
    values = []
    for name in COMPETITION:
        i = OBSERVATIONS.index(name)
        values.append(roc_auc_score(truth[180:, i], scores[:, i]))
        assert values[-1] < best[name] + 0.03
    assert np.mean(values) > 0.78
