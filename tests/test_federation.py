"""The round loop: numbers by hand, sampling, weights, bytes, statistics, resuming, errors."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bench.errors import NonFiniteError, ScenarioFailed
from bench.federation.sampling import sample, sample_poisson
from bench.federation.strategies import TABLE
from bench.verify.federations import defaults
from tests.federation_toys import BodyAndHead, bits, straight_and_resumed, toy, vector


def test_two_rounds_of_fedavg_by_hand(tmp_path):
    """Client 0 (3 rows, target 0): 2 → 1. Client 1 (1 row, target 4): 2 → 3. ¾·1 + ¼·3 = 1.5.
    Round 2: 1.5 → 0.75 and 1.5 → 2.75; ¾·0.75 + ¼·2.75 = 1.25."""
    federation = toy(tmp_path)
    result = federation.round(1)
    assert vector(federation) == [1.5]
    assert result.loss == 2.0, "½·2² for both"
    assert (result.clients, result.examples, result.steps) == ((0, 1), 4, 2)
    assert (result.seconds, result.images_per_second) == (2.0, 2.0)
    assert (result.bytes_up, result.bytes_down) == (8, 8), "one fp32 parameter, two clients"
    federation.round(2)
    assert vector(federation) == [1.25]


def test_weights_are_over_the_selected_clients(tmp_path):
    """Clients 0 and 2 of three: n = 3 and 1 of the four selected; the pool has six."""
    clients = ((0, 1, 2), (3, 4), (5,))
    federation = toy(tmp_path, clients=clients, targets=[0, 0, 0, 9, 9, 4])
    result = federation.round(1, clients=(2, 0))
    assert vector(federation) == [1.5]
    assert result.clients == (0, 2)


def test_batches_have_the_address_of_round_and_client(tmp_path):
    federation = toy(tmp_path)
    federation.round(1)
    federation.round(2)
    assert federation.trainer.seed_addresses == [(0, 1, 0), (0, 1, 1), (0, 2, 0), (0, 2, 1)]


def test_a_client_starts_from_the_global_vector_whatever_the_model_holds(tmp_path):
    federation = toy(tmp_path)
    federation.trainer.flat.parameters_flat.fill_(77)
    federation.round(1)
    assert vector(federation) == [1.5]


@pytest.mark.parametrize(
    "name", sorted({n for n, r in TABLE.items() if r.setting == "federated"} - {"fedbn"})
)
def test_every_client_starts_from_what_it_was_sent(tmp_path, name):
    """Copied in, or left by the client before it; what stays with the clients is their own."""
    seen = []

    def local(visit):
        shared = torch.ones(visit.start.numel(), dtype=torch.bool)
        shared[visit.personal] = False
        seen.append(torch.equal(visit.parameters[shared], visit.start[shared]))
        TABLE[name].local(visit)
        assert not torch.equal(visit.parameters[shared], visit.start[shared])

    federation = toy(
        tmp_path,
        name,
        start=[2.0, 2.0],
        targets=[[i, i] for i in (0, 1, 3, 4, 5)],
        clients=tuple((i,) for i in range(5)),
        module=BodyAndHead,
        lr=0.3,
        strategy=replace(TABLE[name], local=local),
        **defaults(name),
    )
    for number in (1, 2):
        federation.round(number)
    assert seen == [True] * 10


def test_centralized_is_plain_training_on_the_pool(tmp_path):
    """Targets 0, 0, 0, 4: the goal is 1. 2 → 1.5 → 1.25."""
    federation = toy(tmp_path, "centralized")
    results = [federation.round(1), federation.round(2)]
    ((name, load_model),) = federation.models()
    load_model()
    assert name == "global"
    assert federation.trainer.flat.parameters_flat.tolist() == [1.25]
    assert results[0].clients == (0,)
    assert results[0].examples == 4
    assert (results[1].bytes_up, results[1].bytes_down) == (0, 0)
    assert federation.trainer.seed_addresses == [(0, 1, 0), (0, 2, 0)]
    assert list(federation.export()) == ["w"]


def test_local_clients_train_alone(tmp_path):
    """Two rounds: 2 → 1 → 0.5 towards 0, and 2 → 3 → 3.5 towards 4, whatever the fraction."""
    federation = toy(tmp_path, "local", fraction=0.0)
    federation.round(1)
    result = federation.round(2)
    found = {}
    for name, load_model in federation.models():
        load_model()
        found[name] = federation.trainer.flat.parameters_flat.tolist()
    assert found == {"client-0": [0.5], "client-1": [3.5]}
    assert {k: v.item() for k, v in federation.export().items()} == {
        "client-0/w": 0.5,
        "client-1/w": 3.5,
    }
    assert result.clients == (0, 1)
    assert result.bytes_up == 0


def test_before_the_first_round_every_model_is_the_initial_one(tmp_path):
    for name in ("fedavg", "centralized", "local"):
        federation = toy(tmp_path / name, name)
        federation.trainer.flat.parameters_flat.fill_(77)
        for _, load_model in federation.models():
            load_model()
            assert federation.trainer.flat.parameters_flat.tolist() == [2.0]


@pytest.mark.parametrize(
    ("clients", "fraction", "count"),
    [(10, 0.0, 1), (10, 0.1, 1), (10, 0.25, 3), (10, 0.24, 2), (3, 0.5, 2), (7, 1.0, 7)],
)
def test_max_of_the_rounded_share_and_one(clients, fraction, count):
    drawn = sample(clients, fraction, seed=1, round=5)
    assert len(drawn) == len(set(drawn)) == count
    assert list(drawn) == sorted(drawn)
    assert set(drawn) <= set(range(clients))


def test_draws_have_an_address_and_are_fair():
    assert sample(100, 0.1, seed=0, round=3) == sample(100, 0.1, seed=0, round=3)
    assert sample(100, 0.1, seed=0, round=3) != sample(100, 0.1, seed=0, round=4)
    drawn = [k for r in range(1000) for k in sample(10, 0.3, seed=0, round=r)]
    counts = np.bincount(drawn, minlength=10)
    deviation = math.sqrt(1000 * 0.3 * 0.7)
    assert np.all(np.abs(counts - 300) < 4 * deviation)


def test_poisson_draws_may_be_empty_and_have_the_right_mean():
    sizes = [len(sample_poisson(10, 0.1, seed=0, round=r)) for r in range(2000)]
    assert 0 in sizes
    assert abs(np.mean(sizes) - 1.0) < 4 * math.sqrt(0.9 / 2000)


def test_the_order_of_visits_does_not_change_a_bit(tmp_path):
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(40, 50))
    clients = [np.sort(rows) for rows in np.array_split(rng.permutation(40), 7)]
    start = rng.normal(size=50).astype(np.float32).tolist()
    ends = []
    for order in (range(7), reversed(range(7)), (3, 1, 0, 6, 2, 5, 4)):
        federation = toy(
            tmp_path / str(len(ends)), start=start, targets=targets, clients=clients, lr=0.3
        )
        order = tuple(order)
        results = [federation.round(r, clients=order) for r in (1, 2, 3)]
        ends.append((bits(federation.state()), [replace(r, seconds=0) for r in results]))
    assert ends[0] == ends[1] == ends[2]


def test_what_does_several_trainings_at_once_is_told_of_the_largest_first(tmp_path):
    told = []
    federation = toy(tmp_path, targets=[0.0] * 6, clients=((0,), (1, 2, 3), (4, 5)))
    federation.trainer.ahead = SimpleNamespace(expect=lambda jobs, start: told.append(jobs))
    federation.round(1)
    assert [len(job.rows) for job in told[0]] == [3, 2, 1]
    visited = federation.trainer.seed_addresses
    assert visited == [job.seed_address for job in told[0]] == [(0, 1, 1), (0, 1, 2), (0, 1, 0)]
    hooked = toy(tmp_path / "hooked", "fedprox", mu=0.1)
    hooked.trainer.ahead = federation.trainer.ahead
    hooked.round(1)
    assert len(told) == 1
    assert [client for _, _, client in hooked.trainer.seed_addresses] == [0, 1]


@pytest.mark.parametrize(
    "name", ["centralized", "local", *sorted(set(TABLE) - {"centralized", "local", "fedbn"})]
)
def test_saved_and_loaded_it_goes_on_to_the_same_bits(tmp_path, name):
    parameters = defaults(name)
    if name == "krum":
        parameters["byzantine"] = 0
    arguments = dict(
        start=[2.0, -1.0],
        targets=[[0, 1], [0, 2], [1, 0], [4, 4], [2, 2], [3, 3], [8, 8]],
        clients=((0, 1, 2), (3,), (4, 5), (6,)),
        steps=2,
        fraction=0.75,
        lr=0.1,
        **parameters,
    )
    straight, resumed = straight_and_resumed(lambda at: toy(at, name, **arguments), tmp_path)
    assert bits(resumed.state()) == bits(straight.state())
    assert bits(resumed.export()) == bits(straight.export())
    for a, b in zip(resumed.personal_models(), straight.personal_models(), strict=True):
        a[1](), b[1]()
        assert torch.equal(
            resumed.trainer.flat.parameters_flat, straight.trainer.flat.parameters_flat
        )


def test_a_new_federation_does_not_see_an_earlier_ones_files(tmp_path):
    """The second training of a self-trained scenario starts in the folder of the first."""
    first = toy(tmp_path, "local")
    first.round(1)
    first.state()
    first.commit(1)
    second = toy(tmp_path, "local")
    second.round(2)
    assert second.export()["client-0/w"].item() == 1.0, "2 → 1, not 1 → 0.5"
    second.state()
    assert len(list(tmp_path.iterdir())) == 4, "the first one's are named by the checkpoint still"
    second.commit(2)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_diverging_client_is_named(tmp_path):
    federation = toy(tmp_path, targets=[0.0, 0.0, 0.0, math.nan])
    with pytest.raises(NonFiniteError, match="round 1, client 1") as error:
        federation.round(1)
    assert "NaN or infinity in w" in str(error.value)


def test_a_client_beyond_the_grid_is_named(tmp_path):
    federation = toy(tmp_path, targets=[0.0, 0.0, 0.0, 1e9])
    with pytest.raises(ScenarioFailed, match="round 1, client 1: training diverged"):
        federation.round(1)


def test_a_server_that_makes_a_nan_is_named(tmp_path):
    broken = replace(TABLE["fedavg"], server=lambda closing: closing.parameters.fill_(math.nan))
    federation = toy(tmp_path, strategy=broken)
    with pytest.raises(NonFiniteError, match="round 1, on the server") as error:
        federation.round(1)
    assert "in w" in str(error.value)


def test_results_are_frozen(tmp_path):
    result = toy(tmp_path).round(1)
    with pytest.raises(FrozenInstanceError):
        result.loss = 0.0


def test_commit_names_the_last_round(tmp_path):
    federation = toy(tmp_path)
    federation.round(1)
    federation.state()
    with pytest.raises(AssertionError):
        federation.commit(2)
