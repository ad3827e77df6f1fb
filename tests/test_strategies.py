"""Every strategy's first rounds, by hand, on a quadratic with one number.

Two clients start from w₀ = 2 with lr ½. Client 0 has three rows and its minimum at 0, client 1 has
one row and its minimum at 4, so a step halves the distance: 2 → 1 and 2 → 3, changes of -1 and +1.
FedAvg's weights are ¾ and ¼; its mean change is -½.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bench.errors import ScenarioFailed, SuiteError
from bench.federation.strategies import TABLE
from bench.federation.strategies.drift import effective_steps
from bench.federation.strategies.private import spent
from bench.suites.catalog import STRATEGIES
from bench.suites.scenario import FAMILIES, Choice, Scenario
from bench.verify.federations import defaults
from tests.federation_toys import BodyAndHead, toy, vector


def test_the_catalogue_and_the_table_have_the_same_names():
    assert {v.name for v in STRATEGIES.variants} == set(TABLE)


def test_every_row_cites_its_source():
    for name, row in TABLE.items():
        assert row.source, name
        assert any(c.isdigit() for c in row.source) or row.setting != "federated", name


@pytest.mark.parametrize("name", sorted(set(TABLE) - {"fedbn"}))
def test_every_row_reads_parameters_that_the_catalogue_declares(tmp_path, name):
    """With the catalogue's own defaults a round goes through; a misspelt key would raise. (FedBN
    needs batch normalisation and is trained in test_equivalences.)"""
    clients = tuple((i,) for i in range(5))
    targets = [[i, i] for i in range(5)]
    two = {"start": [2.0, 2.0], "targets": targets, "clients": clients, "module": BodyAndHead}
    result = toy(tmp_path, name, **two, **defaults(name)).round(1)
    assert math.isfinite(result.loss)


def rounds(tmp_path, name: str, number: int, **arguments) -> list[float]:
    """The global number after each round."""
    federation = toy(tmp_path, name, **arguments)
    found = []
    for r in range(1, number + 1):
        federation.round(r)
        found += vector(federation)
    return found


def test_fedsgd_takes_one_step_whatever_the_epochs(tmp_path):
    """2 - ½·(¾·2 - ¼·2) = 1.5."""
    assert rounds(tmp_path, "fedsgd", 1, steps=7) == [1.5]


def test_fedprox(tmp_path):
    """µ = 1, two steps. Client 0: 2 → 1; then the gradient is 1 + (1 - 2) = 0, so 1. Client 1
    likewise stays at 3. ¾·1 + ¼·3 = 1.5, where FedAvg gives ¾·½ + ¼·3½ = 1.25."""
    assert rounds(tmp_path / "a", "fedprox", 1, steps=2, mu=1.0) == [1.5]
    assert rounds(tmp_path / "b", "fedprox", 1, steps=2, mu=0.0) == [1.25]


def test_fedavgm(tmp_path):
    """β = ½. v = -½, w = 1.5. From there the clients reach 0.75 and 2.75: mean 1.25, Δ = -¼;
    v = -¼ - ¼ = -½, w = 1."""
    arguments = {"beta": 0.5, "server_lr": 1.0, "nesterov": False}
    assert rounds(tmp_path, "fedavgm", 2, **arguments) == [1.5, 1.0]


def test_fedavgm_with_nesterov(tmp_path):
    """v = -½, w = 2 - ½ - ¼ = 1.25. Then 0.625 and 2.625: mean 1.125, Δ = -⅛; v = -¼ - ⅛ = -⅜,
    w = 1.25 - ⅛ - 3/16 = 0.9375."""
    arguments = {"beta": 0.5, "server_lr": 1.0, "nesterov": True}
    assert rounds(tmp_path, "fedavgm", 2, **arguments) == [1.25, 0.9375]


def test_fedadam(tmp_path):
    """m = -¼; v = ¾·½² + ¼·¼ = ¼; w = 2 - 0.1·¼ / (½ + ½) = 1.975.
    Round 2: mean change -1.975·½ + ½ = -0.4875; m = -0.125 - 0.24375 = -0.36875;
    v = 0.1875 + ¼·0.4875² = 0.2469140625; w = 1.975 - 0.036875 / (0.49690448 + ½)."""
    arguments = {
        "server_lr": 0.1,
        "beta1": 0.5,
        "beta2": 0.75,
        "tau": 0.5,
        "bias_correction": False,
    }
    first, second = rounds(tmp_path, "fedadam", 2, **arguments)
    assert first == pytest.approx(1.975, abs=1e-6)
    assert second == pytest.approx(1.975 - 0.036875 / (0.2469140625**0.5 + 0.5), abs=1e-6)


def test_fedadam_with_bias_correction(tmp_path):
    """At the first step m̂ = Δ = -½ and v̂ = Δ² = ¼: w = 2 - 0.1·½ / (½ + ½) = 1.95."""
    arguments = {"server_lr": 0.1, "beta1": 0.5, "beta2": 0.75, "tau": 0.5, "bias_correction": True}
    assert rounds(tmp_path, "fedadam", 1, **arguments) == pytest.approx([1.95], abs=1e-6)


def test_fedyogi(tmp_path):
    """v₀ = 1/16 < Δ² = ¼, so v = 1/16 + ¼·¼ = ⅛; w = 2 - 0.1·¼ / (√⅛ + ¼)."""
    arguments = {
        "server_lr": 0.1,
        "beta1": 0.5,
        "beta2": 0.75,
        "tau": 0.25,
        "bias_correction": False,
    }
    expected = 2 - 0.025 / (0.125**0.5 + 0.25)
    assert rounds(tmp_path, "fedyogi", 1, **arguments) == pytest.approx([expected], abs=1e-6)


def test_fedadagrad(tmp_path):
    """v = ¼ + ¼ = ½; m = Δ = -½; w = 2 - 0.1·½ / (√½ + ½)."""
    arguments = {"server_lr": 0.1, "beta1": 0.0, "tau": 0.5}
    expected = 2 - 0.05 / (0.5**0.5 + 0.5)
    assert rounds(tmp_path, "fedadagrad", 1, **arguments) == pytest.approx([expected], abs=1e-6)


def test_scaffold_option_2(tmp_path):
    """Round 1 is FedAvg's: 1.5; c₀ = (2 - 1)/½ = 2, c₁ = -2, c = ¾·2 - ¼·2 = 1. Round 2: gradients
    1.5 + (1 - 2) = ½ and -2.5 + (1 + 2) = ½, so both reach 1.25; c₀ = 2 - 1 + ½ = 1.5,
    c₁ = -2 - 1 + ½ = -2.5, c = 1 - ½ = ½."""
    federation = toy(tmp_path, "scaffold", option=2, server_lr=1.0)
    result = federation.round(1)
    assert vector(federation) == [1.5]
    assert federation.state()["server/variate"].tolist() == [1.0]
    assert (result.bytes_up, result.bytes_down) == (16, 16), "twice FedAvg's"
    federation.round(2)
    assert vector(federation) == [1.25]
    assert federation.state()["server/variate"].tolist() == [0.5]


@pytest.mark.parametrize(("option", "variate"), [(1, 1.0), (2, 0.75)])
def test_scaffold_options_differ_after_two_steps(tmp_path, option, variate):
    """Both end at ¾·½ + ¼·3½ = 1.25. Option 1 keeps the gradients at 2: ¾·2 - ¼·2 = 1; option 2 the
    mean of two steps: c₀ = (2 - ½)/(2·½) = 1.5, c₁ = -1.5, c = ¾."""
    federation = toy(tmp_path, "scaffold", steps=2, option=option, server_lr=1.0)
    federation.round(1)
    assert vector(federation) == [1.25]
    assert federation.state()["server/variate"].tolist() == [variate]


def test_scaffolds_server_knows_only_who_took_part(tmp_path):
    """Client 1 alone, with a quarter of all rows: w = 3, c = ¼·(-2)."""
    federation = toy(tmp_path, "scaffold", option=2, server_lr=1.0)
    federation.round(1, clients=[1])
    assert vector(federation) == [3.0]
    assert federation.state()["server/variate"].tolist() == [-0.5]


def test_scaffolds_server_step(tmp_path):
    """η_g = ½: 2 - ½·½."""
    assert rounds(tmp_path, "scaffold", 1, option=2, server_lr=0.5) == [1.75]


def test_scaffold_option_2_needs_sgd(tmp_path):
    scenario = Scenario(
        strategy=Choice("scaffold", (("option", 2), ("server_lr", 1.0))), optimizer=Choice("adam")
    )
    with pytest.raises(SuiteError, match="scaffold with option 2"):
        TABLE["scaffold"].check(scenario)


def test_fednova(tmp_path):
    """A step a row: client 0 makes three, 2 → 1 → ½ → ¼, a change of -1.75; client 1 one, +1.
    τ_eff = ¾·3 + ¼ = 2.5; Σ p·d = ¾·(-1.75/3) + ¼ = -0.1875; w = 2 - 2.5·0.1875 = 1.53125."""
    assert rounds(tmp_path, "fednova", 1, step_a_row=True) == [1.53125]


def test_the_effective_steps_of_momentum():
    """ρ = ½, two steps: 1 + 1.5 = 2.5 = (2 - ½·(1 - ¼)/½)/½; Nesterov: 1.5 + (1 + ¾) = 3.25."""
    sgd = Choice("sgd", (("lr", 0.1), ("momentum", 0.5), ("nesterov", False)))
    assert effective_steps(sgd, 2) == 2.5
    assert effective_steps(Choice("sgd", (("momentum", 0.5), ("nesterov", True))), 2) == 3.25
    assert effective_steps(Choice("sgd", (("momentum", 0.0),)), 7) == 7
    assert effective_steps(Choice("adam"), 7) == 7


def test_feddyn(tmp_path):
    """α = ½. 2 → 1 and 3; ∇₀ = ½, ∇₁ = -½; h = -½·(-½) = ¼; w = 1.5 - ¼/½ = 1.
    Round 2: gradients 1 - ½ = ½ and -3 + ½ = -2.5, so 0.75 and 2.25, mean 1.125, change ⅛;
    h = ¼ - 1/16; w = 1.125 - 0.1875/½ = 0.75."""
    assert rounds(tmp_path, "feddyn", 2, alpha=0.5) == [1.0, 0.75]


def test_feddyn_regularises_within_a_round(tmp_path):
    """α = 1, two steps. Client 0: 2 → 1; gradient 1 + (1 - 2) = 0, so 1. Client 1 stays at 3.
    h = -(¾·(-1) + ¼·1) = ½; w = 1.5 - ½ = 1."""
    assert rounds(tmp_path, "feddyn", 1, steps=2, alpha=1.0) == [1.0]


def test_qfedavg(tmp_path):
    """From w₀ = 1: losses ½ and 4.5; 1 → ½ and 1 → 2.5; L = 2. h₀ = (2·½)² + 2·½ = 2 and
    h₁ = (2·1.5)² + 2·4.5 = 18: Σ p·h = 6. Σ p·F·δ = ¾·½·(-½) + ¼·4.5·1.5 = 1.5.
    w = 1 + 2·1.5/6 = 1.5."""
    found = rounds(tmp_path, "qfedavg", 1, start=[1.0], q=1.0)
    assert found == pytest.approx([1.5], abs=1e-6)


def test_qfedavg_reports_the_loss_of_training_only(tmp_path):
    federation = toy(tmp_path, "qfedavg", start=[1.0], q=1.0)
    result = federation.round(1)
    assert result.loss == pytest.approx(0.75 * 0.5 + 0.25 * 4.5)
    assert federation.trainer.optimizer.lr == 0.5, "the learning rate is put back"


def test_median(tmp_path):
    """Minima 0, 4 and 100 give 1, 3 and 51; with a fourth at 6, 4, the middle two are 3 and 4."""
    three = {"targets": [0, 4, 100], "clients": ((0,), (1,), (2,))}
    assert rounds(tmp_path / "a", "median", 1, **three) == [3.0]
    four = {"targets": [0, 4, 100, 6], "clients": ((0,), (1,), (2,), (3,))}
    assert rounds(tmp_path / "b", "median", 1, **four) == [3.5]


def test_trimmed_mean(tmp_path):
    """1, 3, 4 and 51; a quarter off each end leaves 3 and 4; nothing off: 59/4."""
    four = {"targets": [0, 4, 100, 6], "clients": ((0,), (1,), (2,), (3,))}
    assert rounds(tmp_path / "a", "trimmed_mean", 1, beta=0.25, **four) == [3.5]
    assert rounds(tmp_path / "b", "trimmed_mean", 1, beta=0.24, **four) == [14.75]


@pytest.mark.parametrize(("multi", "expected"), [(1, 2.5), (2, 2.75), (3, 13 / 6)])
def test_krum(tmp_path, multi, expected):
    """Five clients reach 1, 2.5, 3, 51 and 9; f = 1, so two neighbours count. Scores: 1: 2.25 + 4;
    2.5: ¼ + 2.25; 3: ¼ + 4; 51 and 9 far more (9: 36 + 42.25). Best 2.5, then 3, then 1."""
    arguments = {"targets": [0, 3, 4, 100, 16], "clients": tuple((i,) for i in range(5))}
    found = rounds(tmp_path, "krum", 1, byzantine=1, multi=multi, **arguments)
    assert found == pytest.approx([expected], abs=1e-6)


def test_krum_needs_enough_clients(tmp_path):
    clients = tuple((i,) for i in range(4))
    with pytest.raises(SuiteError, match="at least 5") as error:
        toy(tmp_path, "krum", clients=clients, byzantine=1, multi=1)
    assert "byzantine to 0" in str(error.value)


FIVE = {"targets": [0, 3, 4, 100, 16], "clients": tuple((i,) for i in range(5))}


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"dropout": 0.5}, "2 of 5 that were drawn"),
        ({"sampling": "poisson", "fraction": 0.5}, "3 of 3 that were drawn"),
    ],
)
def test_krum_stops_in_a_round_that_chance_leaves_too_few_clients(tmp_path, fields, found):
    """Five can outvote one hostile client, and may all report; in round 1 of seed 0 they do not."""
    federation = toy(tmp_path, "krum", fields=fields, byzantine=1, multi=1, **FIVE)
    with pytest.raises(ScenarioFailed) as error:
        federation.round(1)
    assert error.value.exit_code == 3
    assert str(error.value).startswith(
        "round 1, on the server: krum has too few clients in this round\n"
        f"  expected: 5 or more that report\n  found: {found}\n  to mend: raise clients"
    )
    assert federation.trainer.seed_addresses == [], "nobody was trained for nothing"
    assert vector(federation) == [2.0]


def test_krum_is_refused_where_no_round_can_have_enough_clients(tmp_path):
    """Two of five straggle in every round, and three cannot outvote one."""
    late = FAMILIES["stragglers"].read({"name": "dropped", "share": 0.4})
    for fields, found in (
        ({"stragglers": late}, "found: 3 of 5 clients a round"),
        ({"stragglers": late, "dropout": 0.1}, "found: at most 3 of 5 clients a round"),
    ):
        with pytest.raises(SuiteError, match=found):
            toy(tmp_path, "krum", fields=fields, byzantine=1, multi=1, **FIVE)


def test_any_number_of_clients_will_do_for_the_others(tmp_path):
    """In round 1 of seed 0 the clients 2 and 4 are left, who reach 3 and 9."""
    for name in ("median", "trimmed_mean"):
        parameters = {"beta": 0.4} if name == "trimmed_mean" else {}
        federation = toy(tmp_path / name, name, fields={"dropout": 0.5}, **FIVE, **parameters)
        assert federation.round(1).clients == (2, 4)
        assert vector(federation) == [6.0]


def personal_vectors(federation) -> list[list[float]]:
    found = []
    for _, load in federation.personal_models():
        load()
        found.append(federation.trainer.flat.parameters_flat.tolist())
    return found


def test_ditto(tmp_path):
    """λ = 1, two steps. The global model is FedAvg's: 1.25. Own models, from 2: 2 → 1, then
    1 + (1 - 2) = 0 stays; likewise 3. Round 2, held to 1.25: 1 → 1 - ½·(1 - ¼) = 0.625, then
    0.625 - 0.625 = 0 stays; 3 → 3 - ½·(-1 + 1.75) = 2.625, then -1.375 + 1.375 = 0 stays."""
    federation = toy(tmp_path, "ditto", steps=2, **{"lambda": 1.0})
    result = federation.round(1)
    assert vector(federation) == [1.25]
    assert personal_vectors(federation) == [[1.0], [3.0]]
    assert result.examples == 16, "two trainings of two epochs over four rows"
    assert result.bytes_up == 8, "only the global model is sent"
    federation.round(2)
    assert personal_vectors(federation) == [[0.625], [2.625]]


def test_fedper(tmp_path):
    """The body is averaged: 1.5, then ¾·0.75 + ¼·2.75 = 1.25. Heads stay: 2 → 1 → ½, 2 → 3 → 3½.
    The global model has their mean, to be scored by: ¾·½ + ¼·3½ = 1.25."""
    both = {"start": [2.0, 2.0], "targets": [[0, 0], [0, 0], [0, 0], [4, 4]], "module": BodyAndHead}
    federation = toy(tmp_path, "fedper", **both)
    assert personal_vectors(federation) == [[2.0, 2.0], [2.0, 2.0]]
    result = federation.round(1)
    assert personal_vectors(federation) == [[1.5, 1.0], [1.5, 3.0]]
    assert result.bytes_up == result.bytes_down == 8, "one of two parameters, two clients"
    federation.round(2)
    assert personal_vectors(federation) == [[1.25, 0.5], [1.25, 3.5]]
    assert vector(federation) == [1.25, 1.25]


def test_fedrep(tmp_path):
    """Two epochs on the head alone, 2 → 1 → ½ and 2 → 3 → 3½, then one on the body alone."""
    both = {"start": [2.0, 2.0], "targets": [[0, 0], [0, 0], [0, 0], [4, 4]], "module": BodyAndHead}
    federation = toy(tmp_path, "fedrep", head_epochs=2, **both)
    federation.round(1)
    assert personal_vectors(federation) == [[1.5, 0.5], [1.5, 3.5]]
    assert len(set(federation.trainer.seed_addresses)) == 4, "each training has its own batches"


def test_a_clients_head_waits_for_it(tmp_path):
    """Client 1 is away in round 1; its head is still the initial one in round 2."""
    both = {"start": [2.0, 2.0], "targets": [[0, 0], [0, 0], [0, 0], [4, 4]], "module": BodyAndHead}
    federation = toy(tmp_path, "fedper", **both)
    federation.round(1, clients=[0])
    federation.round(2, clients=[1])
    assert personal_vectors(federation) == [[2.5, 1.0], [2.5, 3.0]], "body: 2 → 1, then 1 → 2.5"


def test_strategies_with_one_model_have_no_personal_ones(tmp_path):
    assert personal_vectors(toy(tmp_path, "fedavg")) == []


DP = {"noise_multiplier": 0.0, "clip": 0.5, "delta": 1e-5}


def test_dpfedavg_clips(tmp_path):
    """Changes of -1 and +1 become ∓½: 2 - ¾·½ + ¼·½ = 1.75."""
    assert rounds(tmp_path, "dpfedavg", 1, **DP) == [1.75]


def test_dpfedavgs_denominator_is_fixed(tmp_path):
    """q = ½ and client 1 alone: 2 + ¼·½/½ = 2.25; and nobody: 2.25 still."""
    federation = toy(tmp_path, "dpfedavg", fraction=0.5, **DP)
    federation.round(1, clients=[1])
    assert vector(federation) == [2.25]
    result = federation.round(2, clients=[])
    assert vector(federation) == [2.25]
    assert math.isnan(result.loss)
    assert result.images_per_second == 0.0


def test_dpfedavgs_noise(tmp_path):
    """No change at all, so noise alone: σ = z·S·max(n_k/n)/q = 2·½·¾/½ = 1.5."""
    size = 20_000
    arguments = {"start": [2.0] * size, "targets": np.full((4, size), 2.0), "fraction": 0.5}
    settings = DP | {"noise_multiplier": 2.0}
    federation = toy(tmp_path / "a", "dpfedavg", **settings, **arguments)
    federation.round(1, clients=[0, 1])
    noise = federation.parameters - 2
    assert float(noise.std()) == pytest.approx(1.5, rel=4 / math.sqrt(2 * size))
    assert abs(float(noise.mean())) < 4 * 1.5 / math.sqrt(size)
    again = toy(tmp_path / "b", "dpfedavg", **settings, **arguments)
    again.round(1, clients=[0])
    assert torch.allclose(again.parameters, federation.parameters, atol=1e-6)


def gaussian_epsilon(noise: float, rounds: int, delta: float) -> float:
    """Rényi: ε(α) = T·α/(2z²), converted by Canonne et al. 2020, proposition 12, minimised."""
    bounds = []
    for order in range(2, 400):
        divergence = rounds * order / (2 * noise**2)
        bounds.append(divergence + math.log1p(-1 / order) - math.log(delta * order) / (order - 1))
    return min(bounds)


@pytest.mark.parametrize(("noise", "rounds_"), [(2.0, 1), (1.0, 10), (5.0, 100)])
def test_epsilon_without_sampling_is_that_of_the_gaussian(tmp_path, noise, rounds_):
    federation = toy(tmp_path, "dpfedavg", noise_multiplier=noise, clip=1.0, delta=1e-5)
    found = spent(federation.scenario, rounds_)
    assert found == pytest.approx(gaussian_epsilon(noise, rounds_, 1e-5), rel=1e-3)


def test_epsilon_is_reported_and_grows_and_shrinks_with_sampling(tmp_path):
    everyone = toy(tmp_path / "a", "dpfedavg", noise_multiplier=1.0, clip=1.0, delta=1e-5)
    some = toy(tmp_path / "b", "dpfedavg", noise_multiplier=1.0, clip=1.0, delta=1e-5, fraction=0.1)
    first, second = everyone.round(1).epsilon, everyone.round(2).epsilon
    assert first is not None
    assert second is not None
    assert 0 < some.round(1).epsilon < first < second
    assert toy(tmp_path / "c", "dpfedavg", **DP).round(1).epsilon == math.inf
    assert toy(tmp_path / "d", "fedavg").round(1).epsilon is None


def test_dpfedavg_needs_someone(tmp_path):
    with pytest.raises(SuiteError, match="fraction: 0"):
        toy(tmp_path, "dpfedavg", fraction=0.0, **DP)
