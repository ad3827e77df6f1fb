"""Label policies: targets and losses against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.suites.catalog import LABEL_POLICIES
from bench.suites.scenario import Scenario
from bench.training.tasks import MASKED, DigitTask, ObservationTask, task_for

NAN = float("nan")
LABELS = np.array([[1.0], [0.0], [-1.0], [NAN]], dtype=np.float32)


def one(policy: str) -> ObservationTask:
    return ObservationTask((policy,))


def softplus(x: float) -> float:
    """log(1 + exp(x)): the cross-entropy of logit x with target 0; of -x with target 1."""
    return math.log1p(math.exp(x))


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("u-ignore", [1, 0, MASKED, 0]),
        ("u-zeros", [1, 0, 0, 0]),
        ("u-ones", [1, 0, 1, 0]),
        ("u-selftrained", [1, 0, MASKED, 0]),
        ("u-multiclass", [2, 1, 0, 1]),
    ],
)
def test_targets_with_blank_as_negative(policy, expected):
    assert one(policy).targets(LABELS, seed=0).flatten().tolist() == expected


@pytest.mark.parametrize(
    ("policy", "low", "high"), [("u-zeros+lsr", 0, 0.3), ("u-ones+lsr", 0.55, 0.85)]
)
def test_smoothed_labels_fill_their_range_and_are_drawn_once(policy, low, high):
    labels = np.full((4000, 1), -1.0, dtype=np.float32)
    drawn = one(policy).targets(labels, seed=5)
    assert low <= drawn.min() < low + 0.001
    assert high - 0.001 < drawn.max() <= high
    # the mean of n uniform draws has standard deviation (high - low) / sqrt(12 n)
    assert abs(drawn.mean().item() - (low + high) / 2) < 5 * (high - low) / math.sqrt(12 * 4000)
    assert torch.equal(drawn, one(policy).targets(labels, seed=5))
    assert not torch.equal(drawn, one(policy).targets(labels, seed=6))
    certain = one(policy).targets(LABELS, seed=5).flatten().tolist()
    assert (certain[0], certain[1], certain[3]) == (1, 0, 0)


@given(st.integers(0, 1), st.sampled_from(list(LABEL_POLICIES)))
def test_certain_labels_are_the_same_under_every_policy(label, policy):
    target = one(policy).targets(np.array([[label]], dtype=np.float32), seed=0).item()
    assert target == (label + 1 if policy == "u-multiclass" else label)


def test_labels_are_not_written_to():
    labels = LABELS.copy()
    for policy in LABEL_POLICIES:
        one(policy).targets(labels, seed=0)
    np.testing.assert_array_equal(labels, LABELS)


def test_binary_loss_is_the_mean_over_cells():
    task = one("u-ones")
    logits = torch.tensor([[2.0], [-1.0], [0.5], [3.0]])
    expected = (softplus(-2) + softplus(-1) + softplus(-0.5) + softplus(3)) / 4
    assert task.loss(logits, task.targets(LABELS, 0)).item() == pytest.approx(expected, rel=1e-6)


def test_ignored_cells_are_out_of_numerator_and_denominator_and_have_no_gradient():
    task = ObservationTask(("u-ignore", "u-zeros"))
    labels = np.array([[-1, -1], [1, 0]], dtype=np.float32)
    logits = torch.tensor([[7.0, 1.0], [2.0, -1.0]], requires_grad=True)
    loss = task.loss(logits, task.targets(labels, 0))
    assert loss.item() == pytest.approx((softplus(1) + softplus(-2) + softplus(-1)) / 3, rel=1e-6)
    loss.backward()
    assert logits.grad[0, 0] == 0
    sigmoid = 1 / (1 + math.exp(-1))
    assert logits.grad[0, 1].item() == pytest.approx(sigmoid / 3, rel=1e-6)


def test_a_batch_of_ignored_cells_only_gives_zero_not_nan():
    task = one("u-ignore")
    logits = torch.tensor([[3.0]], requires_grad=True)
    loss = task.loss(logits, task.targets(np.array([[-1.0]], dtype=np.float32), 0))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.item() == 0


def test_multiclass_loss_and_scores():
    task = one("u-multiclass")
    assert task.outputs == 3
    logits = torch.tensor([[0.1, -0.4, 1.2], [2.0, 0.3, 0.3], [0.0, 1.0, -1.0], [0.5, 0.5, 0.5]])
    z = [[math.exp(v) for v in row] for row in logits.tolist()]
    chosen = [2, 1, 0, 1]
    expected = sum(-math.log(row[c] / sum(row)) for row, c in zip(z, chosen, strict=True)) / 4
    assert task.loss(logits, task.targets(LABELS, 0)).item() == pytest.approx(expected, rel=1e-6)
    scores = task.scores(logits).flatten().tolist()
    assert scores == pytest.approx([row[2] / (row[1] + row[2]) for row in z], rel=1e-6)


def test_a_mixture_gives_each_observation_its_own_policy():
    task = ObservationTask(("u-ones", "u-multiclass", "u-ignore", "u-multiclass"))
    assert task.outputs == 8
    labels = np.array([[-1, -1, -1, 1], [0, 0, 1, -1]], dtype=np.float32)
    targets = task.targets(labels, 0)
    assert targets.tolist() == [[1, 0, MASKED, 2], [0, 1, 1, 0]]
    logits = torch.arange(16.0).view(2, 8) / 5 - 1
    parts = [one("u-ones"), one("u-multiclass"), one("u-ignore"), one("u-multiclass")]
    slices = [(0, 1), (1, 4), (4, 5), (5, 8)]
    sums = 0.0
    columns = []
    for k, (part, (low, high)) in enumerate(zip(parts, slices, strict=True)):
        cells = 1 if part.policies == ("u-ignore",) else 2
        sums += part.loss(logits[:, low:high], targets[:, k : k + 1]).item() * cells
        columns.append(part.scores(logits[:, low:high]))
    assert task.loss(logits, targets).item() == pytest.approx(sums / 7, rel=1e-6)
    torch.testing.assert_close(task.scores(logits), torch.cat(columns, 1))


def test_self_training_replaces_uncertain_cells_by_the_teachers_probability():
    task = ObservationTask(("u-selftrained", "u-ignore"))
    assert task.needs_teacher
    assert not one("u-ignore").needs_teacher
    labels = np.array([[1, 1], [-1, -1], [0, NAN], [NAN, 0]], dtype=np.float32)
    targets = task.targets(labels, 0)
    teacher = np.array([[0.2, 0.2], [0.7, 0.7], [0.9, 0.9], [0.4, 0.4]], dtype=np.float32)
    again = task.relabel(targets, teacher)
    assert again[:, 0].tolist() == [1, pytest.approx(0.7), 0, 0]
    assert again[:, 1].tolist() == [1, MASKED, 0, 0]


def test_losses_are_fp32_for_bf16_logits():
    for policy in LABEL_POLICIES:
        task = one(policy)
        logits = torch.zeros(4, task.outputs, dtype=torch.bfloat16)
        assert task.loss(logits, task.targets(LABELS, 0)).dtype == torch.float32
        assert task.scores(logits).dtype == torch.float32


def test_digits():
    task = DigitTask()
    targets = task.targets(np.array([[3.0], [0.0]], dtype=np.float32), 0)
    assert targets.tolist() == [3, 0]
    logits = torch.zeros(2, 10)
    assert task.loss(logits, targets).item() == pytest.approx(math.log(10), rel=1e-6)
    assert task.scores(logits).sum(1).tolist() == pytest.approx([1, 1])
    assert task.relabel(targets, torch.zeros(2, 10)) is targets


def test_the_scenario_chooses_the_task():
    assert isinstance(task_for(Scenario(dataset="mnist")), DigitTask)
    scenario = Scenario(
        observations=("Edema", "Fracture"),
        label_policy=(("Fracture", "u-ones"), ("Edema", "u-multiclass")),
    )
    task = task_for(scenario)
    assert isinstance(task, ObservationTask)
    assert task.policies == ("u-multiclass", "u-ones")
    assert task.outputs == 4
