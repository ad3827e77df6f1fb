"""Local training against a plain loop of torch, and the promises of the trainer's docstrings."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from bench.errors import NonFiniteError, ScenarioFailed
from bench.models.flat import FlatModel
from bench.randomness import generator
from bench.suites.choice import Choice
from bench.suites.scenario import Scenario
from bench.training.device import Precision
from bench.training.images import passes
from bench.training.tasks import task_for
from bench.training.trainer import Trainer

SIDE, IMAGES = 8, 23
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (IMAGES, SIDE, SIDE)).astype(np.uint8)
LABELS = RNG.choice([1.0, 0.0, -1.0, np.nan], (IMAGES, 2)).astype(np.float32)
FP32 = Precision("fp32", "test")
SGD = Choice("sgd", (("lr", 0.1),))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.0)
        self.classifier = nn.Linear(4, 2)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x))).mean((2, 3))
        return self.classifier(self.drop(x))


def network(dropout: float = 0.0) -> Net:
    torch.manual_seed(1)
    net = Net()
    net.drop.p = dropout
    return net


def make(net: nn.Module | None = None, **fields) -> Trainer:
    scenario = Scenario(
        observations=("Edema", "Fracture"),
        label_policy=(("Edema", "u-ones"), ("Fracture", "u-ones")),
        **{"optimizer": SGD, **fields},
    )
    task = task_for(scenario)
    flat = FlatModel(net or network(), "cpu")
    return Trainer(scenario, flat, task, PIXELS, task.targets(LABELS, 0), "cpu", FP32)


def run(trainer: Trainer, rows=None, epochs=1, batch_size=5, at=(0, 1, 2), **kwargs):
    rows = np.arange(IMAGES) if rows is None else np.asarray(rows)
    return trainer.train(rows, epochs=epochs, batch_size=batch_size, seed_address=at, **kwargs)


def plain_loop(optimizer, epochs: int, batch_size: int, at=(0, 1, 2)) -> tuple[Net, float]:
    """The same training with torch.optim, separate tensors and float images."""
    net = network().to(memory_format=torch.channels_last)
    step = optimizer(net.parameters())
    images = (torch.from_numpy(PIXELS).float() / 255 - 0.449) / 0.226
    targets = torch.from_numpy((LABELS == 1) | (LABELS == -1)).float()
    order = generator(at[0], "batches", at[1], at[2])
    total = 0.0
    for _ in range(epochs):
        rows = torch.from_numpy(order.permutation(np.arange(IMAGES)))
        for batch in rows.split(batch_size):
            x = images[batch, :, :, None].permute(0, 3, 1, 2)
            loss = nn.functional.binary_cross_entropy_with_logits(net(x), targets[batch])
            step.zero_grad()
            loss.backward()
            step.step()
            total += loss.item() * len(batch)
    return net, total / (epochs * IMAGES)


@pytest.mark.parametrize(
    ("choice", "optimizer"),
    [
        (SGD, lambda p: torch.optim.SGD(p, lr=0.1)),
        (
            Choice("sgd", (("lr", 0.1), ("momentum", 0.9), ("weight_decay", 0.01))),
            lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
        ),
        (
            Choice("sgd", (("lr", 0.1), ("momentum", 0.9), ("nesterov", True))),
            lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
        ),
        (Choice("adam", (("lr", 1e-2),)), lambda p: torch.optim.Adam(p, lr=1e-2)),
        (
            Choice("adam", (("lr", 1e-2), ("weight_decay", 0.1), ("beta1", 0.8))),
            lambda p: torch.optim.Adam(p, lr=1e-2, weight_decay=0.1, betas=(0.8, 0.999)),
        ),
        (
            Choice("adamw", (("lr", 1e-2), ("weight_decay", 0.1))),
            lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.1),
        ),
    ],
    ids=["sgd", "momentum", "nesterov", "adam", "adam-decay", "adamw"],
)
def test_equals_a_plain_loop(choice, optimizer):
    trainer = make(optimizer=choice)
    result = run(trainer, epochs=3)
    net, loss = plain_loop(optimizer, epochs=3, batch_size=5)
    assert (result.examples, result.steps) == (3 * IMAGES, 15)
    assert result.loss == pytest.approx(loss, rel=1e-5)
    for name, tensor in trainer.flat.named_tensors().items():
        torch.testing.assert_close(tensor, net.state_dict()[name], rtol=2e-5, atol=1e-6, msg=name)


def test_both_ways_of_taking_the_gradient_give_the_same_bits(monkeypatch):
    copied = make()
    monkeypatch.setattr("bench.training.step.FEW_TENSORS", 0)
    added = make()
    results = run(added, epochs=2).loss
    monkeypatch.setattr("bench.training.step.FEW_TENSORS", 99)
    assert run(copied, epochs=2).loss == results
    assert torch.equal(copied.flat.parameters_flat, added.flat.parameters_flat)


def test_a_parameter_the_loss_does_not_reach_has_no_gradient():
    net = network()
    net.idle = nn.Parameter(torch.ones(2))
    trainer = make(net)
    trainer.flat.gradients_flat.fill_(7)
    run(trainer)
    assert net.idle.tolist() == [1, 1]


def test_an_address_gives_the_same_bits_and_another_gives_others():
    results = [
        run(make(network(0.5)), at=at).loss for at in [(0, 1, 2), (0, 1, 2), (0, 2, 2), (0, 1, 3)]
    ]
    assert results[0] == results[1]
    assert len(set(results)) == 3


def test_training_starts_from_the_vector_as_it_stands():
    trainer = make()
    start, buffers = trainer.flat.parameters_flat.clone(), trainer.flat.buffers_flat.clone()
    run(trainer)
    first = trainer.flat.parameters_flat.clone()
    run(trainer, at=(0, 1, 9))
    trainer.flat.parameters_flat.copy_(start)
    trainer.flat.buffers_flat.copy_(buffers)
    run(trainer)
    assert torch.equal(trainer.flat.parameters_flat, first)


def test_the_whole_clients_data_as_one_batch_is_one_step():
    trainer = make()
    result = run(trainer, batch_size=None)
    assert result.steps == 1
    net, _ = plain_loop(lambda p: torch.optim.SGD(p, lr=0.1), 1, IMAGES)
    torch.testing.assert_close(trainer.flat.module.conv.weight, net.conv.weight)


def test_a_last_batch_of_one_image_joins_the_batch_before():
    seen = []
    trainer = make()
    trainer.flat.module.register_forward_pre_hook(lambda _, x: seen.append(len(x[0])))
    assert run(trainer, rows=range(11), batch_size=5).steps == 2
    assert seen == [5, 6]


def test_a_client_of_one_image_that_batch_norm_cannot_take():
    class Vector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(SIDE * SIDE, 2)
            self.norm = nn.BatchNorm1d(2)

        def forward(self, x):
            return self.norm(self.linear(x.flatten(1)))

    with pytest.raises(ScenarioFailed, match="round 1, client 2: batch normalisation cannot"):
        run(make(Vector()), rows=[4])


def test_the_optimizers_state_carries_on_where_it_is_given_back():
    adam = Choice("adam", (("lr", 1e-2),))
    once, twice = make(optimizer=adam), make(optimizer=adam)
    run(once, at=(0, 1, 0))
    kept = {k: v.clone() for k, v in run(twice, at=(0, 1, 0)).optimizer_state.items()}
    assert kept["steps"].item() == 5
    run(once, at=(0, 2, 0))
    run(twice, at=(7, 7, 7), epochs=0)  # another client in between forgets its state
    carried = run(twice, at=(0, 2, 0), optimizer_state=kept)
    assert carried.optimizer_state["steps"].item() == 10
    assert not torch.equal(once.flat.parameters_flat, twice.flat.parameters_flat)


def test_the_hook_sees_and_changes_the_gradient():
    trainer = make()
    start = trainer.flat.parameters_flat.clone()

    def hook(parameters, gradients):
        assert torch.equal(parameters, start)
        assert gradients.abs().sum() > 0
        gradients.fill_(2.0)

    run(trainer, batch_size=None, hook=hook)
    torch.testing.assert_close(trainer.flat.parameters_flat, start - 0.2)


def test_nan_names_round_client_and_tensor():
    trainer = make()

    def hook(_, gradients):
        slot = next(s for s in trainer.flat.layout.parameters if s.name == "norm.bias")
        slot.view(gradients).fill_(float("nan"))

    with pytest.raises(NonFiniteError, match=r"round 4, client 7(.|\n)*norm\.bias") as caught:
        run(trainer, at=(0, 4, 7), batch_size=None, hook=hook)
    assert caught.value.exit_code == 3


def test_a_loss_that_is_not_finite_is_named():
    trainer = make(optimizer=Choice("sgd", (("lr", 0.0),)))
    trainer.set_targets(torch.full_like(trainer.targets, float("inf")))
    with pytest.raises(NonFiniteError, match="the loss"):
        run(trainer, batch_size=None, hook=lambda _, g: g.zero_())


def test_large_numbers_are_finite_though_their_squares_are_not():
    net = network()
    net.idle = nn.Parameter(torch.full((2,), 1e25))
    trainer = make(net)
    assert math.isfinite(run(trainer).loss)
    assert net.idle.tolist() == torch.full((2,), 1e25).tolist()


def test_frozen_statistics_stay_and_normalise():
    trainer = make(buffers="frozen")
    trainer.flat.buffers_flat.copy_(torch.tensor([0.1] * 4 + [2.0] * 4))
    before = trainer.flat.buffers_flat.clone()
    run(trainer)
    assert torch.equal(trainer.flat.buffers_flat, before)
    assert trainer.flat.counters_flat.item() == 0
    reference = run(make())
    assert run(trainer).loss != reference.loss


def test_counters_count_steps():
    trainer = make()
    run(trainer, epochs=2)
    run(trainer)
    assert trainer.flat.counters_flat.item() == 15


def test_predictions_are_the_evaluated_networks_and_leave_it_alone():
    trainer = make()
    run(trainer)
    before = trainer.flat.named_tensors()
    scores = trainer.predict(PIXELS[:7])
    assert scores.dtype == np.float32
    net = network().eval()
    net.load_state_dict(before)
    x = (torch.from_numpy(PIXELS[:7, None]).float() / 255 - 0.449) / 0.226
    np.testing.assert_allclose(scores, net(x).sigmoid().detach().numpy(), rtol=1e-5, atol=1e-6)
    for name, tensor in trainer.flat.named_tensors().items():
        assert torch.equal(tensor, before[name])
    run(trainer)  # and training goes on in training mode
    assert not torch.equal(trainer.flat.buffers_flat[:4], before["norm.running_mean"])


def test_predictions_do_not_depend_on_the_chunks(monkeypatch):
    trainer = make()
    whole = trainer.predict(PIXELS)
    trainer._largest = 6 * SIDE * SIDE
    monkeypatch.setattr("bench.training.images.CHUNK_PIXELS", {"cpu": 10 * SIDE * SIDE})
    np.testing.assert_allclose(trainer.predict(PIXELS), whole, rtol=1e-5, atol=1e-6)


def test_predictions_of_training_rows_and_of_no_images():
    trainer = make(augment="flip+shift")
    rows = np.array([5, 0, 22])
    np.testing.assert_array_equal(trainer.predict_rows(rows), trainer.predict(PIXELS[rows]))
    assert trainer.predict(PIXELS[:0]).shape == (0, 2)


def test_an_evaluation_batch_that_does_not_fit_is_halved():
    trainer = make()
    sizes = []

    def little_memory(_, inputs):
        sizes.append(len(inputs[0]))
        if len(inputs[0]) > 6:
            raise torch.OutOfMemoryError

    trainer._largest = 12 * SIDE * SIDE
    expected = make().predict(PIXELS)
    trainer.flat.module.register_forward_pre_hook(little_memory)
    np.testing.assert_allclose(trainer.predict(PIXELS), expected, rtol=1e-5, atol=1e-6)
    assert sizes == [12, 6, 6, 6, 5]


def test_evaluation_batches_are_bounded_by_pixels_and_by_images(monkeypatch):
    trainer = make()
    assert trainer.prediction_batch == 1024  # 2²⁰ pixels would be 16,384 images of 8×8
    monkeypatch.setattr("bench.training.trainer.PREDICTION_IMAGES", {"cpu": 10})
    sizes = []
    hook = trainer.flat.module.register_forward_pre_hook(lambda _, x: sizes.append(len(x[0])))
    trainer.predict(PIXELS)
    trainer._largest = 4 * SIDE * SIDE
    trainer.predict(PIXELS[:8])
    hook.remove()
    assert sizes == [10, 10, 3, 4, 4]


def test_recalibration_sets_the_mean_of_the_batches_statistics():
    trainer = make()
    run(trainer)
    parameters = trainer.flat.parameters_flat.clone()
    trainer.recalibrate(np.arange(20), batch_size=10)
    assert torch.equal(trainer.flat.parameters_flat, parameters)
    x = (torch.from_numpy(PIXELS[:20, None]).float() / 255 - 0.449) / 0.226
    maps = trainer.flat.module.conv(x).detach()
    means = torch.stack([part.mean((0, 2, 3)) for part in maps.split(10)]).mean(0)
    variances = torch.stack([part.var((0, 2, 3)) for part in maps.split(10)]).mean(0)
    torch.testing.assert_close(trainer.flat.module.norm.running_mean, means)
    torch.testing.assert_close(trainer.flat.module.norm.running_var, variances)
    assert trainer.flat.module.norm.momentum == 0.1
    assert trainer.flat.counters_flat.item() == 2


def test_recalibration_drops_nothing_out():
    class Dropping(Net):
        def forward(self, x):
            return self.classifier(torch.relu(self.norm(self.drop(self.conv(x)))).mean((2, 3)))

    trainer, found = make(Dropping()), []
    for trainer.flat.module.drop.p in (0.0, 0.5):
        trainer.recalibrate(np.arange(20), batch_size=10)
        found.append(trainer.flat.buffers_flat.clone())
    assert torch.equal(*found)


def test_bf16_gives_nearly_the_same_training():
    exact = run(make(), epochs=3).loss
    trainer = make()
    trainer._step._autocast = torch.bfloat16
    assert run(trainer, epochs=3).loss == pytest.approx(exact, rel=0.02)


def test_digits_train():
    scenario = Scenario(dataset="mnist", optimizer=SGD, backbone="2nn", image_size=28)
    from bench.models.backbone import build

    digits = np.arange(40) % 10
    images = np.zeros((40, 28, 28), dtype=np.uint8)
    images[np.arange(40), digits, :] = 255  # row d is lit in every image of digit d
    task = task_for(scenario)
    flat = FlatModel(build("2nn", outputs=10, image_size=28, seed=0), "cpu")
    targets = task.targets(digits.astype(np.float32), 0)
    trainer = Trainer(scenario, flat, task, images, targets, "cpu", FP32)
    run(trainer, rows=range(40), epochs=20, batch_size=10)
    scores = trainer.predict(images)
    assert scores.shape == (40, 10)
    assert (scores.argmax(1) == digits).all()


def linear() -> nn.Module:
    """(b, 1, 8, 8) → (b, 2): 130 parameters, and so 130 products an image."""
    return nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, 2))


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("build", "batch_size", "threads"),
    [(linear, 5, 1), (linear, 6, 2), (linear, None, 2), (network, 5, 2)],
)
def test_few_products_of_linear_layers_take_one_thread(
    monkeypatch, two_threads, build, batch_size, threads
):
    monkeypatch.setattr("bench.training.trainer.ONE_THREAD_PRODUCTS", 5 * 130)
    seen = set()
    trainer = make(build())
    run(trainer, batch_size=batch_size, hook=lambda *_: seen.add(torch.get_num_threads()))
    assert (seen, torch.get_num_threads()) == ({threads}, 2)


def test_the_threads_come_back_after_a_failure(two_threads):
    def fail(*_):
        raise RuntimeError("no")

    trainer = make(linear())
    with pytest.raises(RuntimeError, match="no"):
        run(trainer, hook=fail)
    assert torch.get_num_threads() == 2


def test_steps_go_on_through_successive_passes():
    """23 images by 5 are 5 batches, the last of 3: 7 steps are one pass and two batches of 5."""
    both, first = make(), make()
    result = run(both, epochs=9, steps=7)
    assert (result.steps, result.examples) == (7, 23 + 10)
    assert float(both.flat.counters_flat[0]) == 7
    run(first, epochs=1)
    whole = make()
    two = run(whole, epochs=2)
    assert two.loss != result.loss
    assert not torch.equal(both.flat.parameters_flat, whole.flat.parameters_flat)
    assert not torch.equal(both.flat.parameters_flat, first.flat.parameters_flat)


@pytest.mark.parametrize("epochs", [1, 3])
def test_as_many_steps_as_some_epochs_have_are_those_epochs(epochs):
    by_epochs, by_steps = make(augment="flip+shift"), make(augment="flip+shift")
    a, b = run(by_epochs, epochs=epochs), run(by_steps, epochs=1, steps=5 * epochs)
    assert (a.steps, a.examples, a.loss) == (b.steps, b.examples, b.loss)
    assert torch.equal(by_epochs.flat.parameters_flat, by_steps.flat.parameters_flat)
    assert torch.equal(by_epochs.flat.buffers_flat, by_steps.flat.buffers_flat)


@pytest.mark.parametrize(
    ("batches", "epochs", "steps", "expected"),
    [(5, 2, None, [5, 5]), (5, 1, 7, [5, 2]), (5, 1, 5, [5]), (5, 1, 3, [3]), (0, 4, 3, [])],
)
def test_passes(batches, epochs, steps, expected):
    assert passes(batches, epochs=epochs, steps=steps) == expected
