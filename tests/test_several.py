"""Clients trained at once become what each would have become by itself.

On a CPU there are no graphs and no streams: a graph's work is done again at every replay, and the
copies follow each other. That streams are forked and joined is seen on a stand-in for them; what a
GPU makes of it is for ``test_trainer_gpu.py``.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.errors import NonFiniteError
from bench.federation.clients import ClientStore
from bench.federation.engine import Federation
from bench.models.flat import FlatModel
from bench.suites.catalog import COMPRESSIONS, OPTIMIZERS, STRATEGIES
from bench.suites.scenario import Scenario
from bench.training.ahead import ALONE, AT_ONCE, TRIES, Ahead, Job, Race, ahead_for
from bench.training.device import Precision
from bench.training.execution import EAGER, Execution
from bench.training.several import MOST_SIZES, Several
from bench.training.tasks import task_for
from bench.training.trainer import Trainer

SIDE, EACH, CLIENTS = 8, 11, 7
"""Clients of 11 images each: batches of 4, 4 and 3."""
IMAGES = EACH * CLIENTS
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (IMAGES, SIDE, SIDE)).astype(np.uint8)
LABELS = RNG.choice([1.0, 0.0, -1.0, np.nan], (IMAGES, 2)).astype(np.float32)
ROWS = [np.arange(k * EACH, (k + 1) * EACH) for k in range(CLIENTS)]
ADAM = OPTIMIZERS.read({"name": "adam", "lr": 0.01})
PLAIN = OPTIMIZERS.read({"name": "sgd", "lr": 0.1})
MOMENTUM = OPTIMIZERS.read({"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01})
GRAPH = Execution(graph=True, compiled=False, reason="test")


class Net(nn.Module):
    """No running statistics, and no structure that another step than autograd's would take.

    Its 128 parameters fill a CPU's registers: where they end within one, the last few are rounded
    otherwise, and in a vector of several clients' parameters that is elsewhere.
    """

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv2d(1, 9, 3, padding=1)
        self.norm = nn.GroupNorm(3, 9)
        self.drop = nn.Dropout(dropout)
        self.classifier = nn.Linear(9, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.conv(x))).mean((2, 3))
        return self.classifier(self.drop(x))


class Replays:
    """A capture whose graphs do their work at every replay; counts them."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, work):
        self.recorded += 1
        work()

        def replay() -> None:
            self.replayed += 1
            work()

        return replay


def scenario(**fields) -> Scenario:
    usual = {
        "observations": ("Edema", "Fracture"),
        "label_policy": (("Edema", "u-ignore"), ("Fracture", "u-ones")),
        "image_size": SIDE,
        "clients": CLIENTS,
        "batch_size": 4,
        "optimizer": ADAM,
    }
    return Scenario(**(usual | fields))


def trainer_of(
    chosen: Scenario, *, several: bool, capture: Replays | None = None, net: nn.Module | None = None
) -> Trainer:
    task = task_for(chosen)
    flat = FlatModel(net or Net(), "cpu")
    capture = capture or Replays()

    def make(copies: int) -> Several:
        return Several(flat, task, chosen.optimizer, None, copies=copies, capture=capture)

    targets, precision = task.targets(LABELS, 0), Precision("fp32", "test")
    ahead = Ahead(make) if several else None
    return Trainer(chosen, flat, task, PIXELS, targets, "cpu", precision, EAGER, ahead)


def jobs_of(rows=ROWS, *, number: int = 1, epochs: int = 2, steps: int | None = None) -> list[Job]:
    return [
        Job(rows=own, epochs=epochs, steps=steps, batch_size=4, seed_address=(0, number, k))
        for k, own in enumerate(rows)
    ]


def train(trainer: Trainer, jobs: list[Job], start: Tensor) -> list[tuple]:
    """What became of each: loss, images, steps, norm and parameters."""
    if trainer.ahead is not None:
        trainer.ahead.expect(jobs, start)
    found = []
    for job in jobs:
        trainer.flat.parameters_flat.copy_(start)
        result = trainer.train(
            job.rows, epochs=job.epochs, steps=job.steps, batch_size=job.batch_size,
            seed_address=job.seed_address,
        )  # fmt: skip
        vector = trainer.flat.parameters_flat.clone()
        found.append((result.loss, result.examples, result.steps, result.norm, vector))
    return found


def assert_same(mine: list[tuple], theirs: list[tuple]) -> None:
    for (*numbers, norm, vector), (*expected, other, wanted) in zip(mine, theirs, strict=True):
        assert numbers == expected
        assert norm == pytest.approx(other, rel=1e-6)
        assert torch.equal(vector, wanted)


@pytest.mark.parametrize(
    "fields",
    [{}, {"optimizer": MOMENTUM, "augment": "flip+shift"}],
    ids=["adam", "momentum and augmentation"],
)
@pytest.mark.parametrize("steps", [None, 1, 5], ids=["epochs", "one step", "steps"])
def test_each_becomes_what_it_would_by_itself(fields: dict, steps: int | None) -> None:
    capture = Replays()
    together = trainer_of(scenario(**fields), several=True, capture=capture)
    alone = trainer_of(scenario(**fields), several=False)
    start = alone.flat.parameters_flat.clone()
    jobs = jobs_of(steps=steps)
    assert_same(train(together, jobs, start), train(alone, jobs, start))
    assert capture.recorded == (1 if steps == 1 else 2)  # batches of 4, and of 3 where they come
    assert capture.replayed == (6 if steps is None else steps)  # all seven clients at once


def test_more_clients_than_copies_and_the_last_group_with_fewer() -> None:
    chosen = scenario()
    capture = Replays()
    together, alone = (
        trainer_of(chosen, several=True, capture=capture),
        trainer_of(chosen, several=False),
    )
    start = alone.flat.parameters_flat.clone()
    first = jobs_of(ROWS[:3])
    assert_same(train(together, first, start), train(alone, first, start))
    later = jobs_of(number=2)  # seven clients for three copies: 3 at once, the race's turn, 3, 1
    assert_same(train(together, later, start), train(alone, later, start))
    assert capture.recorded == 2
    assert 6 < capture.replayed <= 6 * 4


def test_clients_with_unequal_numbers_of_images_go_together_where_they_can() -> None:
    """Batches of 4 4 3, 4 2, 4 4 3, 4 2 and 4 5, twice. Together: all five 4; the last alone with
    its 5; two 2; all five 4 but the one; and so on, the fewest first."""
    rows = [ROWS[0], ROWS[1][:6], ROWS[2], ROWS[3][:6], ROWS[4][:9]]
    capture = Replays()
    together = trainer_of(scenario(), several=True, capture=capture)
    alone = trainer_of(scenario(), several=False)
    start = alone.flat.parameters_flat.clone()
    jobs = jobs_of(rows)
    assert_same(train(together, jobs, start), train(alone, jobs, start))
    assert capture.recorded == 3  # 4, 3 and 2; only one client has 5
    assert capture.replayed == 8


@given(
    lengths=st.lists(st.integers(0, EACH), min_size=2, max_size=CLIENTS),
    epochs=st.integers(1, 3),
    steps=st.none() | st.integers(0, 6),
    fields=st.sampled_from([{}, {"optimizer": MOMENTUM}, {"optimizer": PLAIN}]),
)
@settings(max_examples=40, deadline=None)
def test_clients_of_any_size_become_what_they_would_by_themselves(
    lengths: list[int], epochs: int, steps: int | None, fields: dict
) -> None:
    rows = [own[:length] for own, length in zip(ROWS, lengths, strict=False)]
    jobs = jobs_of(rows, epochs=epochs, steps=steps)
    together, alone = (trainer_of(scenario(**fields), several=way) for way in (True, False))
    start = alone.flat.parameters_flat.clone()
    assert_same(train(together, jobs, start), train(alone, jobs, start))


def waves_of(several: Several, sizes: list[list[int]]) -> list[list[int]]:
    """The copies that go on at once, where those have batches of these sizes."""
    inputs, targets = torch.zeros(IMAGES, 1, SIDE, SIDE), torch.zeros(IMAGES, 2)
    feeds = [iter([(inputs[:size], targets[:size]) for size in own]) for own in sizes]
    return [sorted(wave) for wave in several._waves(feeds)]


def test_too_few_for_a_graph_take_their_batches_alone() -> None:
    chosen = scenario()
    several = Several(
        FlatModel(Net(), "cpu"), task_for(chosen), ADAM, None, copies=9, capture=Replays()
    )
    assert [several.enough(clients) for clients in (1, 2, 3, 9)] == [False, False, True, True]
    several.prepare(
        torch.rand(4, 1, SIDE, SIDE), task_for(chosen).targets(LABELS, 0)[:4], whole=True
    )
    assert waves_of(several, [[4], [4], [4, 3]]) == [[0, 1, 2], [2]]
    assert waves_of(several, [[4], [4]]) == [[0], [1]]  # two of nine copies
    assert waves_of(several, [[3], [3], [3]]) == [[0], [1], [2]]  # no graph for these


def test_clients_without_a_batch_in_common_are_trained_one_after_another() -> None:
    capture = Replays()
    together = trainer_of(scenario(), several=True, capture=capture)
    alone = trainer_of(scenario(), several=False)
    start = alone.flat.parameters_flat.clone()
    jobs = jobs_of([ROWS[0][:2], ROWS[1][:3], ROWS[2][:0]])
    assert_same(train(together, jobs, start), train(alone, jobs, start))
    assert capture.recorded == 0
    assert "at once" not in together.execution.reason


def test_what_was_announced_otherwise_is_trained_as_it_is_asked_for() -> None:
    capture = Replays()
    together = trainer_of(scenario(), several=True, capture=capture)
    alone = trainer_of(scenario(), several=False)
    start = alone.flat.parameters_flat.clone()
    asked = jobs_of(ROWS[:2], epochs=1)
    together.ahead.expect(jobs_of(ROWS[:2], epochs=3), start)
    for trainer in (together, alone):
        trainer.flat.parameters_flat.copy_(start)
        trainer.train(ROWS[0], epochs=1, batch_size=4, seed_address=asked[0].seed_address)
    assert torch.equal(together.flat.parameters_flat, alone.flat.parameters_flat)
    hooked = []
    together.ahead.expect(asked, start)
    together.train(
        ROWS[1], epochs=1, batch_size=4, seed_address=asked[1].seed_address,
        hook=lambda parameters, gradients: hooked.append(1),
    )  # fmt: skip
    assert len(hooked) == 3
    assert capture.recorded == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"strategy": STRATEGIES.read({"name": "fedadam"}), "fraction": 0.6},
        {"strategy": STRATEGIES.read({"name": "fedprox"})},
        {"compression": COMPRESSIONS.read({"name": "int8"}), "dropout": 0.3},
    ],
    ids=["fedadam", "fedprox, which hooks into every step", "int8 and dropout"],
)
@pytest.mark.parametrize("unequal", [False, True], ids=["equal", "unequal"])
def test_a_federation_comes_to_the_same_model(fields: dict, unequal: bool, tmp_path) -> None:
    models = []
    clients = [own[: 4 + k] for k, own in enumerate(ROWS)] if unequal else ROWS
    replays = Replays()
    for several in (True, False):
        chosen = scenario(**fields)
        trainer = trainer_of(chosen, several=several, capture=replays)
        federation = Federation(chosen, trainer, clients, ClientStore(tmp_path / str(several)))
        losses = [federation.round(number).loss for number in range(1, 6)]
        models.append((losses, federation.parameters.clone()))
    assert models[0][0] == models[1][0]
    assert torch.equal(models[0][1], models[1][1])
    hooks = chosen.strategy.name == "fedprox"
    assert (replays.replayed > 0) != hooks


def test_the_client_that_diverges_is_named() -> None:
    chosen = scenario(optimizer=OPTIMIZERS.read({"name": "sgd", "lr": 1e30}))
    trainer = trainer_of(chosen, several=True)
    jobs = jobs_of()
    trainer.ahead.expect(jobs, trainer.flat.parameters_flat.clone())
    with pytest.raises(NonFiniteError) as caught:
        trainer.train(ROWS[0], epochs=2, batch_size=4, seed_address=jobs[0].seed_address)
    assert caught.value.where == "round 1, client 0"


def test_networks_that_draw_random_numbers_are_trained_one_after_another() -> None:
    capture = Replays()
    together = trainer_of(scenario(), several=True, capture=capture, net=Net(dropout=0.5))
    alone = trainer_of(scenario(), several=False, net=Net(dropout=0.5))
    start = alone.flat.parameters_flat.clone()
    assert_same(train(together, jobs_of(), start), train(alone, jobs_of(), start))
    assert capture.replayed == 0
    assert together.execution.reason.endswith(
        "not several clients at once: RuntimeError: it draws random numbers"
    )


def test_work_that_cannot_be_recorded_is_done_one_after_another_and_said() -> None:
    def capture(work):
        raise RuntimeError("operation not permitted when stream is capturing\nsomewhere")

    together = trainer_of(scenario(), several=True, capture=capture)  # type: ignore[arg-type]
    alone = trainer_of(scenario(), several=False)
    start = alone.flat.parameters_flat.clone()
    assert_same(train(together, jobs_of(), start), train(alone, jobs_of(), start))
    assert "RuntimeError: operation not permitted when stream is" in together.execution.reason


def test_there_are_graphs_for_so_many_batch_sizes() -> None:
    chosen = scenario()
    flat, task = FlatModel(Net(), "cpu"), task_for(chosen)
    several = Several(flat, task, ADAM, None, copies=2, capture=Replays())
    targets = task.targets(LABELS, 0)
    inputs = torch.rand(IMAGES, 1, SIDE, SIDE)
    for size in range(1, MOST_SIZES + 1):
        several.prepare(inputs[:size], targets[:size], whole=True)
    several.prepare(inputs[: MOST_SIZES + 1], targets[: MOST_SIZES + 1], whole=True)
    assert several.ready == set(range(1, MOST_SIZES + 1))


def test_a_race_takes_turns_and_then_the_faster_way() -> None:
    race = Race()
    turns = []
    seconds = iter([9.0, 8.0, 2.0, 4.0, 1.0, 5.0, 3.0, 6.0])  # the first of each is not counted
    while race.ratio is None:
        turns.append(race.turn)
        race.tell(race.turn, next(seconds))
    assert turns == [AT_ONCE, ALONE] * (1 + TRIES)
    assert race.ratio == 2.0 / 5.0
    assert race.turn == AT_ONCE
    race.tell(AT_ONCE, 1e9)
    assert race.ratio == 2.0 / 5.0


def test_the_slower_way_is_not_taken_any_more() -> None:
    race = Race()
    for _ in range(1 + TRIES):
        race.tell(AT_ONCE, 2.0)
        race.tell(ALONE, 1.0)
    assert race.ratio == 2.0
    assert race.turn == ALONE


def test_the_record_says_which_way_was_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trainer_of(scenario(), several=True)
    start = trainer.flat.parameters_flat.clone()
    assert trainer.execution == EAGER
    told = {AT_ONCE: 3.0, ALONE: 1.0}
    tell = Race.tell
    monkeypatch.setattr(Race, "tell", lambda race, way, seconds: tell(race, way, told[way]))
    for number in range(1, 6):
        train(trainer, jobs_of(number=number), start)
    assert trainer.execution.reason == (
        "operation by operation; clients one after another: 7 at once take 3.00 of the time of one "
        "after another"
    )


def test_only_small_networks_without_statistics_on_a_gpu_are_copied() -> None:
    task = task_for(scenario())
    small = FlatModel(Net(), "cpu")
    statistics = FlatModel(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), "cpu")
    large = FlatModel(nn.Linear(2**12, 2**12), "cpu")
    assert ahead_for(small, task, ADAM, None, GRAPH) is not None
    for flat, execution in (
        (small, EAGER),
        (small, Execution(graph=True, compiled=True, reason="test")),
        (statistics, GRAPH),
        (large, GRAPH),
    ):
        assert ahead_for(flat, task, ADAM, None, execution) is None


def test_copies_work_on_streams_of_their_own_between_a_fork_and_a_join(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log: list[str] = []

    class Stream:
        def __init__(self, name: str) -> None:
            self.name = name

        def wait_stream(self, other: Stream) -> None:
            log.append(f"{self.name} waits for {other.name}")

        def __enter__(self) -> None:
            log.append(f"work on {self.name}")

        def __exit__(self, *_: object) -> None:
            log.append("done")

    main, first, second = Stream("main"), Stream("first"), Stream("second")
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: main)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    chosen = scenario()
    flat, task = FlatModel(Net(), "cpu"), task_for(chosen)
    several = Several(
        flat, task, ADAM, None, copies=2, capture=Replays(),
        streams=[first, second],  # type: ignore[list-item]
    )  # fmt: skip
    targets = task.targets(LABELS, 0)
    several.prepare(torch.rand(3, 1, SIDE, SIDE), targets[:3], whole=True)
    assert log == [
        "first waits for main", "work on first", "done",
        "second waits for main", "work on second", "done",
        "main waits for first", "main waits for second",
    ]  # fmt: skip
