"""Who takes part in a round and how much: draws, dropout, stragglers, local steps, weights."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.federation.participation import drawn_for, participation
from bench.federation.sampling import sample_by_size, sample_size
from bench.federation.weights import shares, shares_of_all
from bench.federation.work import Work
from bench.suites.scenario import FAMILIES, Scenario
from tests.federation_toys import bits, straight_and_resumed, toy, vector
from tests.team_of_threads import run_team

FOUR_SIGMA = 4.0
"""A fair draw fails such a bound once in 16,000 times; the seeds are fixed besides."""


def straggling(name: str, share: float):
    return FAMILIES["stragglers"].read({"name": name, "share": share})


def scenario(**fields) -> Scenario:
    return Scenario(**{"batch_size": 10, **fields})


def test_by_size_the_first_client_has_the_probability_of_its_share():
    """Sizes 1, 2, 3, 4: of 4,000 rounds of one client each is drawn in n_k/10 of them."""
    sizes, rounds = [1, 2, 3, 4], 4000
    drawn = [sample_by_size(sizes, 0.25, seed=0, round=r) for r in range(rounds)]
    counts = np.bincount([k for one in drawn for k in one], minlength=4)
    for count, size in zip(counts, sizes, strict=True):
        p = size / 10
        assert abs(count - rounds * p) < FOUR_SIGMA * math.sqrt(rounds * p * (1 - p))


def test_by_size_pairs_have_the_probability_of_two_draws_in_a_row():
    """Sizes 1, 2, 3: P({0, 1}) = 1/6·2/5 + 2/6·1/4 = 0.15, P({0, 2}) = 1/6·3/5 + 3/6·1/3 = 4/15,
    P({1, 2}) = 2/6·3/4 + 3/6·2/3 = 7/12."""
    rounds, expected = 4000, {(0, 1): 0.15, (0, 2): 4 / 15, (1, 2): 7 / 12}
    assert sum(expected.values()) == pytest.approx(1)
    drawn = [sample_by_size([1, 2, 3], 0.67, seed=3, round=r) for r in range(rounds)]
    for pair, p in expected.items():
        deviation = math.sqrt(rounds * p * (1 - p))
        assert abs(drawn.count(pair) - rounds * p) < FOUR_SIGMA * deviation


@given(
    sizes=st.lists(st.integers(1, 1000), min_size=1, max_size=30),
    fraction=st.floats(0, 1),
    number=st.integers(1, 100),
)
@settings(max_examples=60, deadline=None)
def test_by_size_draws_as_many_clients_as_uniformly_and_none_twice(sizes, fraction, number):
    drawn = sample_by_size(sizes, fraction, seed=1, round=number)
    assert len(set(drawn)) == len(drawn) == sample_size(len(sizes), fraction)
    assert list(drawn) == sorted(drawn)
    assert drawn == sample_by_size(sizes, fraction, seed=1, round=number)


def test_the_scenario_says_how_clients_are_drawn():
    sizes = [1] * 9 + [10_000]
    by_size = [drawn_for(scenario(sampling="size", fraction=0.1), sizes, r) for r in range(50)]
    assert by_size.count((9,)) >= 49
    uniform = [drawn_for(scenario(fraction=0.1), sizes, r) for r in range(50)]
    assert uniform.count((9,)) < 20
    poisson = [drawn_for(scenario(sampling="poisson", fraction=0.1), sizes, r) for r in range(50)]
    assert len({len(one) for one in poisson}) > 2


def test_dropouts_are_independent_and_have_their_share():
    row = scenario(dropout=0.3, seed=5)
    lost = [participation(row, [20] * 10, r, range(10)).dropped_out for r in range(400)]
    counts = np.bincount([k for one in lost for k in one], minlength=10)
    assert np.all(np.abs(counts - 120) < FOUR_SIGMA * math.sqrt(400 * 0.3 * 0.7))
    sizes = np.array([len(one) for one in lost])
    assert sizes.var() == pytest.approx(10 * 0.3 * 0.7, rel=0.3), "binomial, not a fixed number"


@given(
    drawn=st.sets(st.integers(0, 30), max_size=20),
    dropout=st.sampled_from([0.0, 0.2, 0.9]),
    name=st.sampled_from(["none", "partial", "dropped"]),
    share=st.sampled_from([0.1, 0.5, 1.0]),
    number=st.integers(1, 50),
    data=st.data(),
)
@settings(max_examples=80, deadline=None)
def test_everyone_drawn_is_accounted_for_once(drawn, dropout, name, share, number, data):
    late = FAMILIES["stragglers"].read(name if name == "none" else {"name": name, "share": share})
    row = scenario(dropout=dropout, stragglers=late, local_epochs=4)
    order = data.draw(st.permutations(sorted(drawn)))
    taking = participation(row, [25] * 31, number, order)
    assert taking.drawn == tuple(sorted(drawn))
    assert set(taking.dropped_out).isdisjoint(taking.clients)
    assert set(taking.dropped_out).isdisjoint(taking.stragglers)
    out = set(taking.dropped_out) | (set(taking.stragglers) if name == "dropped" else set())
    assert set(taking.clients) == drawn - out
    assert [k for k in order if k in taking.work] == list(taking.work), "visited in that order"
    for client, work in taking.work.items():
        straggles = name == "partial" and client in taking.stragglers
        assert 1 <= work.epochs <= (3 if straggles else 4)
        assert work.epochs == 4 or straggles
    again = participation(row, [25] * 31, number, sorted(drawn))
    assert again.work == taking.work
    if dropout == 0.0 and name != "none":
        assert len(taking.stragglers) == math.floor(share * len(drawn) + 0.5)


def test_dropping_out_does_not_depend_on_who_else_was_drawn():
    row = scenario(dropout=0.5)
    everyone = set(participation(row, [20] * 10, 3, range(10)).dropped_out)
    some = set(participation(row, [20] * 10, 3, [1, 4, 5, 8]).dropped_out)
    assert some == everyone & {1, 4, 5, 8}


def parts(row: Scenario, images: int, rounds: int = 300) -> list[Work]:
    return [participation(row, [images], r, [0]).work[0] for r in range(rounds)]


def test_a_stragglers_part_is_any_smaller_number_of_epochs():
    row = scenario(stragglers=straggling("partial", 1.0), local_epochs=4)
    epochs = [work.epochs for work in parts(row, 25)]
    assert {work.steps for work in parts(row, 25)} == {None}
    counts = np.bincount(epochs, minlength=5)
    assert set(epochs) == {1, 2, 3}
    assert np.all(np.abs(counts[1:4] - 100) < FOUR_SIGMA * math.sqrt(300 * 2 / 9))


def test_with_one_epoch_or_with_steps_it_is_a_smaller_number_of_steps():
    """25 images by 10 are 3 batches; 7 local steps are 7."""
    late = straggling("partial", 1.0)
    assert {work.steps for work in parts(scenario(stragglers=late), 25)} == {1, 2}
    assert {work.steps for work in parts(scenario(stragglers=late), 9)} == {None}, "one step"
    by_steps = scenario(stragglers=late, local_steps=7)
    assert {work.steps for work in parts(by_steps, 25)} == {1, 2, 3, 4, 5, 6}


def test_nobody_straggles_where_the_share_rounds_to_none():
    row = scenario(stragglers=straggling("dropped", 0.1))
    assert participation(row, [25] * 4, 1, range(4)).clients == (0, 1, 2, 3)


def test_shares_by_hand():
    """Client 0 has 25 images, 3 batches; client 1 has 5, one. Two epochs: 6 and 2 steps; client 0
    straggles after 4 of them."""
    sizes = [25, 5]
    work = {1: Work(epochs=2), 0: Work(epochs=2, steps=4)}
    assert shares(scenario(), sizes, work) == {1: 5 / 30, 0: 25 / 30}
    assert shares(scenario(weights="uniform"), sizes, work) == {1: 0.5, 0: 0.5}
    assert shares(scenario(weights="steps"), sizes, work) == {1: 2 / 6, 0: 4 / 6}
    assert shares_of_all(scenario(weights="steps", local_epochs=2), sizes) == [0.75, 0.25]
    assert shares(scenario(), sizes, {}) == {}


def test_uniform_weights_by_hand(tmp_path):
    """2 → 1 and 2 → 3, each with a half: 2 stays. FedDyn with α = ½: ∇ = ±½, h = 0, w = 2."""
    fields = {"weights": "uniform"}
    for name, parameters in (("fedavg", {}), ("feddyn", {"alpha": 0.5})):
        federation = toy(tmp_path / name, name, fields=fields, **parameters)
        federation.round(1)
        assert vector(federation) == [2.0]


def test_weights_by_steps_by_hand(tmp_path):
    """A step an image: client 0 makes three, 2 → ¼, client 1 one, 2 → 3. ¾·¼ + ¼·3 = 0.9375."""
    fields = {"weights": "steps", "batch_size": 1}
    federation = toy(tmp_path, step_a_row=True, fields=fields)
    federation.round(1)
    assert vector(federation) == [0.9375]


def test_local_steps_by_hand(tmp_path):
    """Two steps each, however many rows: 2 → ½ and 2 → 3½; ¾·½ + ¼·3½ = 1.25."""
    federation = toy(tmp_path / "a", step_a_row=True, fields={"local_steps": 2})
    assert federation.round(1).steps == 4
    assert vector(federation) == [1.25]
    alone = toy(tmp_path / "b", "local", fields={"local_steps": 2})
    alone.round(1)
    assert [t.item() for t in alone.export().values()] == [0.5, 3.5]
    pooled = toy(tmp_path / "c", "centralized", fields={"local_steps": 3})
    pooled.round(1)
    assert pooled.export()["w"].item() == 1.125, "2 → 1.5 → 1.25 → 1.125 towards 1"


def partly(tmp_path, name: str, **parameters):
    """Both clients make fewer steps than the four that are asked for; how many is in the result."""
    fields = {"local_steps": 4, "stragglers": straggling("partial", 1.0), "seed": 4}
    federation = toy(tmp_path, name, fields=fields, **parameters)
    work = participation(federation.scenario, [3, 1], 1, [0, 1]).work
    result = federation.round(1)
    assert result.stragglers == result.clients == (0, 1)
    steps = [work[k].steps for k in (0, 1)]
    assert result.steps == sum(steps)
    assert steps[0] != steps[1], "or the test would say little"
    return federation, steps


def ends(steps: list[int]) -> tuple[float, float]:
    """Where clients that halve their distance to 0 and 4 are after so many steps from 2."""
    return 2 / 2 ** steps[0], 4 - 2 / 2 ** steps[1]


def test_fedavg_takes_what_stragglers_have(tmp_path):
    federation, steps = partly(tmp_path, "fedavg")
    a, b = ends(steps)
    assert vector(federation) == [0.75 * a + 0.25 * b]


def test_fednova_normalises_by_the_steps_made(tmp_path):
    """τ_eff·Σ p·Δ/τ with each client's own τ."""
    federation, (s, t) = partly(tmp_path, "fednova")
    a, b = ends([s, t])
    expected = 2 + (0.75 * s + 0.25 * t) * (0.75 * (a - 2) / s + 0.25 * (b - 2) / t)
    assert vector(federation) == pytest.approx([expected], abs=1e-6)


def test_scaffolds_variate_is_the_mean_of_the_steps_made(tmp_path):
    """c_k = (w₀ - w_k)/(lr·τ_k)."""
    federation, (s, t) = partly(tmp_path, "scaffold", option=2, server_lr=1.0)
    a, b = ends([s, t])
    expected = 0.75 * (2 - a) / (0.5 * s) + 0.25 * (2 - b) / (0.5 * t)
    assert federation.state()["server/variate"].tolist() == pytest.approx([expected], abs=1e-6)


def test_feddyns_gradient_is_of_the_distance_walked(tmp_path):
    """α = 1, lr ½: from 2 a step makes 1 (or 3), where the gradient with the regulariser is zero:
    there a client stays however many steps it makes. h = -α·Σ n_k/n·Δ_k = ½, w = 1.5 - ½."""
    federation, _ = partly(tmp_path, "feddyn", alpha=1.0)
    assert vector(federation) == [1.0]


def test_dittos_own_model_has_the_stragglers_time_too(tmp_path):
    fields = {"local_steps": 4, "stragglers": straggling("partial", 1.0), "seed": 4}
    federation = toy(tmp_path, "ditto", fields=fields, **{"lambda": 0.0})
    work = participation(federation.scenario, [3, 1], 1, [0, 1]).work
    federation.round(1)
    found = []
    for _, load_model in federation.personal_models():
        load_model()
        found += federation.trainer.flat.parameters_flat.tolist()
    assert found == list(ends([work[0].steps, work[1].steps]))


def test_who_drops_out_was_sent_the_model_and_sends_nothing(tmp_path):
    fields = {"dropout": 0.5, "seed": 1}
    clients = tuple((i,) for i in range(8))
    federation = toy(tmp_path, targets=[8.0] * 8, clients=clients, fields=fields)
    result = federation.round(1)
    assert 0 < len(result.dropped_out) < 8
    assert set(result.dropped_out) | set(result.clients) == set(result.drawn) == set(range(8))
    assert result.bytes_down == 4 * 8
    assert result.bytes_up == 4 * len(result.clients)
    assert result.examples == len(result.clients)
    assert vector(federation) == [5.0], "the mean is over those who reported"


def test_stragglers_that_are_dropped_send_nothing(tmp_path):
    fields = {"stragglers": straggling("dropped", 0.5)}
    federation = toy(tmp_path, fields=fields)
    result = federation.round(1)
    (late,), (present,) = result.stragglers, result.clients
    assert {late, present} == {0, 1}
    assert vector(federation) == [[1.0], [3.0]][present]
    assert (result.bytes_up, result.bytes_down) == (4, 8)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("fedavg", {}),
        ("fedavgm", {"beta": 0.5, "server_lr": 1.0, "nesterov": False}),
        ("feddyn", {"alpha": 0.5}),
        ("scaffold", {"option": 2, "server_lr": 1.0}),
        ("median", {}),
        ("qfedavg", {"q": 1.0}),
    ],
)
def test_a_round_without_reports_changes_nothing(tmp_path, name, parameters):
    fields = {"stragglers": straggling("dropped", 1.0)}
    federation = toy(tmp_path, name, fields=fields, **parameters)
    before = bits(federation.state())
    result = federation.round(1)
    after = bits(federation.state())
    assert {k: v for k, v in after.items() if k != "round"} == {
        k: v for k, v in before.items() if k != "round"
    }
    assert (result.clients, result.drawn, result.bytes_up) == ((), (0, 1), 0)
    assert math.isnan(result.loss)


def test_poisson_sampling_may_draw_nobody(tmp_path):
    federation = toy(tmp_path, fraction=0.2, fields={"sampling": "poisson"})
    results = [federation.round(r) for r in range(1, 9)]
    empty = [r for r in results if not r.drawn]
    assert empty
    assert all(r.bytes_down == 0 for r in empty)


CLIENTS_KEYS = {
    "sampling": {"sampling": "size", "fraction": 0.7},
    "poisson": {"sampling": "poisson", "fraction": 0.7},
    "dropout": {"dropout": 0.4},
    "partial": {"stragglers": straggling("partial", 0.5), "local_epochs": 3},
    "dropped": {"stragglers": straggling("dropped", 0.3)},
    "steps": {"local_steps": 2, "weights": "steps"},
    "uniform": {"weights": "uniform"},
}
MANY = {
    "start": [2.0, -1.0],
    "targets": np.random.default_rng(0).normal(size=(20, 2)),
    "clients": [rows.tolist() for rows in np.array_split(np.arange(20), [2, 3, 7, 11, 12])],
    "lr": 0.1,
}


@pytest.mark.parametrize("fields", CLIENTS_KEYS.values(), ids=CLIENTS_KEYS)
@pytest.mark.parametrize("name", ["fedavg", "fednova", "feddyn"])
def test_the_order_of_visits_does_not_change_a_bit(tmp_path, name, fields):
    found = []
    parameters = {"alpha": 0.1} if name == "feddyn" else {}
    for order in ((0, 1, 2, 3, 4, 5), (5, 2, 0, 4, 1, 3)):
        federation = toy(tmp_path / str(order[0]), name, fields=fields, **MANY, **parameters)
        results = [replace(federation.round(r, clients=order), seconds=0) for r in (1, 2, 3)]
        found.append((bits(federation.state()), [repr(r) for r in results]))
    assert found[0] == found[1]


@pytest.mark.parametrize("fields", CLIENTS_KEYS.values(), ids=CLIENTS_KEYS)
def test_three_processes_make_the_bits_of_one(tmp_path, fields):
    def member(team):
        folder = tmp_path / str(team.size)
        federation = toy(
            folder, "scaffold", fields=fields, team=team, option=2, server_lr=1, **MANY
        )
        results = [replace(federation.round(r), seconds=0, images_per_second=0) for r in (1, 2, 3)]
        return bits(federation.state()), [repr(r) for r in results]

    (alone,) = run_team(1, member)
    assert run_team(3, member)[0] == alone


@pytest.mark.parametrize("fields", CLIENTS_KEYS.values(), ids=CLIENTS_KEYS)
def test_saved_and_loaded_it_goes_on_to_the_same_bits(tmp_path, fields):
    arguments = dict(fields=fields, option=2, server_lr=1.0, **MANY)
    straight, resumed = straight_and_resumed(lambda at: toy(at, "scaffold", **arguments), tmp_path)
    assert bits(resumed.state()) == bits(straight.state())
