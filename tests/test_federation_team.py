"""A federation over a team ends at the bits that one process ends at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.errors import NonFiniteError, ResultsError, ScenarioFailed
from bench.federation.clients import ClientStore
from bench.federation.engine import Federation
from bench.federation.team import ALONE, Abandoned, Team
from bench.models.flat import FlatModel
from bench.suites.catalog import STRATEGIES
from bench.suites.scenario import Choice, Scenario
from bench.training.device import Precision
from bench.training.tasks import task_for
from bench.training.trainer import Trainer
from bench.verify.federations import SmallNetwork, defaults
from tests.federation_toys import bits
from tests.team_of_threads import run_team

SIZES = (5, 11, 2, 8, 6, 3)
IMAGES = sum(SIZES)
ROUNDS = 3
OBSERVATIONS = ("Edema", "Cardiomegaly")
DATA = np.random.default_rng(7)
PIXELS = DATA.integers(0, 256, (IMAGES, 8, 8), dtype=np.uint8)
LABELS = DATA.integers(0, 2, (IMAGES, 2)).astype(np.float32)


def scenario_of(name: str, **fields: Any) -> Scenario:
    parameters = defaults(name) | fields.pop("parameters", {})
    return Scenario(
        observations=OBSERVATIONS,
        label_policy=tuple((o, "u-ones") for o in OBSERVATIONS),
        strategy=Choice(name, tuple(sorted(parameters.items()))),
        optimizer=Choice("sgd", (("lr", fields.pop("lr", 0.1)), ("momentum", 0.9))),
        clients=len(SIZES),
        **{"fraction": 0.7, "batch_size": 4, "precision": "fp32", **fields},
    )


def federation(scenario: Scenario, folder: Path, team: Team = ALONE) -> Federation:
    """Over six clients of a network with batch normalisation; the folder is the whole team's."""
    network = SmallNetwork()
    with torch.no_grad():
        for number, parameter in enumerate(network.parameters(), start=1):
            values = torch.arange(parameter.numel(), dtype=torch.float32).view(parameter.shape)
            parameter.copy_((values * number).sin() / 2)
    task = task_for(scenario)
    trainer = Trainer(
        scenario,
        FlatModel(network, "cpu"),
        task,
        PIXELS,
        task.targets(LABELS, 0),
        "cpu",
        Precision("fp32", "bits are compared"),
    )
    rows = np.split(np.arange(IMAGES), np.cumsum(SIZES)[:-1])
    return Federation(scenario, trainer, rows, ClientStore(folder), team=team)


def outcome(trained: Federation) -> dict[str, bytes]:
    """Every model that the federation holds, as bytes."""
    found: dict[str, bytes] = {}
    for name, load in [*trained.models(), *trained.personal_models()]:
        load()
        tensors: dict[str, Tensor] = trained.trainer.flat.named_tensors()
        found |= bits({f"{name}/{key}": t for key, t in tensors.items()})
    return found


def figures(result: Any) -> tuple[Any, ...]:
    return (
        result.clients, result.loss, result.examples, result.steps,
        result.bytes_up, result.bytes_down, result.drawn,
    )  # fmt: skip


def train(scenario: Scenario, folder: Path, size: int) -> list[tuple[dict[str, bytes], Any]]:
    """What every member of a team of that size ends with."""

    def member(team: Team) -> tuple[dict[str, bytes], Any]:
        own = federation(scenario, folder, team)
        rounds = [figures(own.round(number)) for number in range(1, ROUNDS + 1)]
        return outcome(own), rounds

    return run_team(size, member)


CASES: dict[str, dict[str, Any]] = {name: {} for name in STRATEGIES.names}
CASES["krum"] = {"fraction": 1.0, "parameters": {"byzantine": 1, "multi": 2}}
CASES["dpfedavg"] = {"buffers": "frozen", "parameters": {"noise_multiplier": 0.5, "clip": 1.0}}


@pytest.mark.parametrize("name", CASES)
def test_every_strategy_ends_at_the_same_bits_in_every_member(name: str, tmp_path: Path) -> None:
    scenario = scenario_of(name, **CASES[name])
    ((alone, rounds),) = train(scenario, tmp_path / "alone", 1)
    assert len(alone) >= 7
    for size in (2, 4):
        for model, told in train(scenario, tmp_path / str(size), size):
            assert model == alone
            assert told == rounds


@pytest.mark.parametrize("buffers", ["local", "frozen", "recalibrate"])
@pytest.mark.parametrize("more", [{}, {"dropout": 0.3, "weights": "uniform"}])
def test_every_choice_of_buffers_does(buffers: str, more: dict[str, Any], tmp_path: Path) -> None:
    scenario = scenario_of("fedavg", buffers=buffers, **more)
    alone = train(scenario, tmp_path / "alone", 1)[0]
    assert train(scenario, tmp_path / "three", 3) == [alone] * 3


TOP_K = Choice("topk", (("error_feedback", True), ("share", 0.2)))
LATE = Choice("partial", (("share", 0.5),))


@pytest.mark.parametrize(
    "fields",
    [
        {"compression": TOP_K},
        {"compression": Choice("int8", (("block", 16),))},
        {"stragglers": LATE, "local_epochs": 3},
        {"sampling": "poisson", "fraction": 0.3},
        {"local_steps": 5, "weights": "steps"},
    ],
    ids=str,
)
def test_every_way_of_taking_part_and_of_sending_does(
    fields: dict[str, Any], tmp_path: Path
) -> None:
    scenario = scenario_of("fedavg", **fields)
    alone = train(scenario, tmp_path / "alone", 1)[0]
    assert train(scenario, tmp_path / "three", 3) == [alone] * 3


def test_more_members_than_clients_is_no_trouble(tmp_path: Path) -> None:
    scenario = scenario_of("scaffold", fraction=0.0)
    alone = train(scenario, tmp_path / "alone", 1)[0]
    assert train(scenario, tmp_path / "nine", 9) == [alone] * 9


@pytest.mark.parametrize("name", ["fedavg", "scaffold", "ditto", "local", "moon"])
def test_a_state_is_carried_on_by_a_team_of_another_size(name: str, tmp_path: Path) -> None:
    scenario = scenario_of(name)
    ((expected, _),) = train(scenario, tmp_path / "alone", 1)
    state: dict[str, Tensor] = {}

    def first(team: Team) -> None:
        own = federation(scenario, tmp_path / "team", team)
        own.round(1)
        own.state()
        own.round(2)
        found = own.state()
        if team.rank == 0:
            state.update({key: t.clone() for key, t in found.items()})
        own.commit(2)
        own.round(3)  # lost: it was not kept

    def second(team: Team) -> dict[str, bytes]:
        own = federation(scenario, tmp_path / "team", team)
        own.load_state({key: t.clone() for key, t in state.items()})
        own.round(3)
        return outcome(own)

    run_team(4, first)
    files = [file.name for file in (tmp_path / "team").glob("*")]
    if name == "local":
        assert len(files) == len([file for file in files if "round-000002" in file]) == len(SIZES)
    for size in (1, 2):
        assert run_team(size, second) == [expected] * size


@pytest.mark.parametrize("name", ["scaffold", "ditto", "fedbn"])
@pytest.mark.parametrize("budget", [2**31, 0])
def test_a_client_s_state_follows_it_to_whoever_trains_it(
    name: str, budget: int, tmp_path: Path
) -> None:
    """Clients drawn anew every round meet others at other members; with no memory for states they
    are on the disk between rounds, and a checkpoint takes note of them all."""
    scenario = scenario_of(name, fraction=0.5)
    rounds = range(1, 9)
    alone = federation(scenario, tmp_path / "alone")
    for number in rounds:
        alone.round(number)
    moved: list[int] = []

    def member(team: Team) -> dict[str, bytes]:
        own = federation(scenario, tmp_path / "team", team)
        own._store._budget = budget
        take = own._store.take

        def noted(client: int) -> Any:
            moved.append(client)
            return take(client)

        own._store.take = noted  # type: ignore[method-assign]
        for number in rounds:
            own.round(number)
            if number % 3 == 0:
                own.state()
                own.commit(number)
        return outcome(own)

    assert run_team(3, member) == [outcome(alone)] * 3
    assert len(moved) > 3


def test_a_client_s_state_is_kept_by_one_member_only(tmp_path: Path) -> None:
    def member(team: Team) -> list[int]:
        own = federation(scenario_of("scaffold", fraction=1.0), tmp_path, team)
        own.round(1)
        return sorted(own._store.versions)

    first, second = run_team(2, member)
    assert sorted([*first, *second]) == list(range(len(SIZES)))
    assert not set(first) & set(second)


def test_a_client_that_diverges_at_any_member_ends_the_round_everywhere(tmp_path: Path) -> None:
    scenario = scenario_of("fedavg", lr=1e30, fraction=1.0)

    def member(team: Team) -> str:
        own = federation(scenario, tmp_path, team)
        with pytest.raises((Abandoned, NonFiniteError, ScenarioFailed)) as caught:
            own.round(1)
        return f"{type(caught.value).__name__} {caught.value}"

    leader, *others = run_team(3, member)
    assert leader.startswith("NonFiniteError round 1, client ")
    assert others == ["Abandoned "] * 2


def test_a_state_that_cannot_be_read_at_its_home_is_the_leader_s_error(tmp_path: Path) -> None:
    scenario = scenario_of("local")

    def member(team: Team) -> str:
        own = federation(scenario, tmp_path, team)
        own.round(1)
        state = {key: t.clone() for key, t in own.state().items()}
        team.gather(None)
        if team.rank == 0:
            for file in tmp_path.glob("*.safetensors"):
                file.write_bytes(b"damaged")
        team.gather(None)
        own.load_state(state)
        with pytest.raises((Abandoned, ResultsError)) as caught:
            own.round(2)
        return type(caught.value).__name__

    assert run_team(2, member) == ["ResultsError", "Abandoned"]


def test_seconds_are_those_of_the_member_that_took_longest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: dict[int, list[float]] = {0: [], 1: []}

    def member(team: Team) -> tuple[float, float]:
        own = federation(scenario_of("fedavg", fraction=1.0), tmp_path, team)
        really = own.trainer.train

        def train(*arguments: Any, **named: Any) -> Any:
            result = really(*arguments, **named)
            taken[team.rank].append(result.seconds)
            return result

        monkeypatch.setattr(own.trainer, "train", train)
        result = own.round(1)
        return result.seconds, result.images_per_second

    told = run_team(2, member)
    longest = max(sum(seconds) for seconds in taken.values())
    for seconds, speed in told:
        assert seconds == pytest.approx(longest, rel=1e-12)
        assert speed == pytest.approx(IMAGES / longest)
