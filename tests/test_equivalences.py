"""What must agree by definition does, and the checks that say so can fail."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

import bench.verify.checks as module
from bench.cli.verify import verification_table
from bench.errors import SuiteError
from bench.federation.exact_sum import ExactSum
from bench.federation.strategies import TABLE
from bench.suites.scenario import Choice
from bench.verify.checks import CHECKS, Check, Finding
from bench.verify.federations import Bench, difference, trained

CPU = torch.device("cpu")
TOP_TENTH = Choice("topk", (("error_feedback", True), ("share", 0.1)))
EIGHT_BITS = Choice("int8", (("block", 64),))
SUMMING = sorted(n for n, r in TABLE.items() if r.setting == "federated" and not r.stacked)
"""Strategies whose clients' parameters are added up."""


@pytest.fixture
def bench(tmp_path):
    return Bench(CPU, tmp_path)


@pytest.mark.parametrize("check", CHECKS, ids=[c.name for c in CHECKS])
def test_holds(bench, check):
    found = check.measure(bench)
    assert found <= (0.0 if check.exact else bench.rounding())


@pytest.mark.parametrize("name", SUMMING)
def test_a_norm_that_is_handed_on_is_that_of_the_vector(bench, monkeypatch, name):
    """Sums trust it: with one of what the parameters were before, values could pass unseen."""
    handed = _norms_handed_on(monkeypatch)
    trained(bench.federation(name, buffers="groupnorm"))
    assert any(handed) == (name != "fedrep")


@pytest.mark.parametrize("compression", [TOP_TENTH, EIGHT_BITS], ids=str)
@pytest.mark.parametrize("name", ["fedavg", "fedper"])
def test_of_what_was_compressed_no_norm_is_handed_on(bench, monkeypatch, name, compression):
    handed = _norms_handed_on(monkeypatch)
    trained(bench.federation(name, buffers="groupnorm", compression=compression))
    assert handed
    assert not any(handed)


def _norms_handed_on(monkeypatch) -> list[bool]:
    """For each addition to come, whether the norm was handed on; what is handed on is checked."""
    handed = []

    def add(total, vector, weight, norm=None, then=None):
        handed.append(norm is not None)
        if norm is not None:
            assert norm == pytest.approx(float(vector.double().norm()), rel=1e-6)
        original(total, vector, weight, norm, then)

    original = ExactSum.add
    monkeypatch.setattr(ExactSum, "add", add)
    return handed


@pytest.mark.gpu
def test_all_hold_on_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    from bench.training.device import prepare

    device = torch.device("cuda", 0)
    prepare(device)
    failed = [f for f in module.verify(device) if not f.passed]
    assert not failed


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("fedprox", {"mu": 0.5}),
        ("fedavgm", {"beta": 0.5, "server_lr": 1.0}),
        ("fedavgm", {"beta": 0.0, "server_lr": 0.9}),
        ("fedadam", {}),
        ("fedyogi", {}),
        ("fedadagrad", {}),
        ("scaffold", {"option": 1}),
        ("scaffold", {"option": 2}),
        ("fednova", {}),
        ("feddyn", {"alpha": 0.1}),
        ("qfedavg", {"q": 1.0}),
        ("median", {}),
        ("krum", {"byzantine": 0}),
        ("moon", {}),
    ],
)
def test_what_is_not_fedavg_is_told_from_it(bench, name, parameters):
    """A strategy that quietly trained by FedAvg, or a difference that saw nothing, would pass all
    the equivalences above."""
    other = bench.federation(name, parameters=parameters)
    assert difference(trained(bench.federation()), trained(other)) > 10 * bench.rounding()


@pytest.mark.parametrize(
    "keys",
    [
        {"sampling": "poisson", "fraction": 0.5},
        {"dropout": 0.5},
        {"stragglers": Choice("partial", (("share", 0.5),))},
        {"stragglers": Choice("dropped", (("share", 0.5),))},
        {"local_steps": 5},
        {"weights": "uniform"},
        {"weights": "steps"},
        {"compression": Choice("topk", (("error_feedback", True), ("share", 0.5)))},
        {"compression": Choice("int8", (("block", 16),))},
    ],
    ids=str,
)
def test_what_clients_do_otherwise_is_told_from_fedavg(bench, keys):
    other = bench.federation(**keys)
    assert difference(trained(bench.federation()), trained(other)) > 10 * bench.rounding()


def test_fedbn_keeps_normalisation_with_each_client(bench):
    federation = bench.federation("fedbn")
    trained(federation)
    scales, convolutions, means = [], [], []
    for _, load in federation.personal_models():
        load()
        tensors = federation.trainer.flat.named_tensors()
        scales.append(tensors["norm.weight"])
        means.append(tensors["norm.running_mean"])
        convolutions.append(tensors["convolution.weight"])
    assert len(scales) == 4
    for k in (1, 2, 3):
        assert not torch.equal(scales[0], scales[k])
        assert not torch.equal(means[0], means[k])
        assert torch.equal(convolutions[0], convolutions[k])


def test_fedbn_without_normalisation_is_refused(bench):
    from tests.federation_toys import toy

    with pytest.raises(SuiteError, match="nothing to keep local"):
        toy(bench.folder, "fedbn")


def test_private_averaging_sends_no_statistics(bench):
    with pytest.raises(SuiteError, match="buffers: average"):
        bench.federation("dpfedavg")


def test_server_optimisers_never_touch_running_statistics(bench):
    """FedAdam's first round averages statistics exactly as FedAvg does."""
    adam, plain = trained(bench.federation("fedadam"), 1), trained(bench.federation(), 1)
    for name in ("norm.running_mean", "norm.running_var", "norm.num_batches_tracked"):
        assert torch.equal(adam[name], plain[name])
    assert not torch.equal(adam["norm.weight"], plain["norm.weight"])


def test_a_difference_of_nan_fails():
    one, nan = {"w": torch.ones(2)}, {"w": torch.tensor([1.0, math.nan])}
    assert math.isnan(difference(one, nan))
    assert not Finding(name="x", difference=math.nan, tolerance=1.0).passed


def test_a_variance_that_is_not_positive_is_found(bench, monkeypatch):
    def negate(closing):
        closing.parameters.copy_(closing.mean())
        federation.trainer.flat.buffers_flat.neg_()

    broken = replace(TABLE["fedavg"], server=negate)
    monkeypatch.setattr(module, "TABLE", {"fedavg": broken})
    monkeypatch.setattr(module, "POLICIES", ("average",))
    federation = bench.federation(row=broken)
    monkeypatch.setattr(module, "usable", lambda *_: federation)
    buffers = federation._buffers
    monkeypatch.setattr(buffers, "_replace", lambda: buffers._global.copy_(-buffers._sum.total()))
    assert module.variances(bench) > 0


def test_the_command_prints_every_check_and_fails_with_one(monkeypatch):
    from bench.cli.app import app

    good = Check(name="as it should be", measure=lambda bench: 0.0, exact=True)
    bad = Check(name="as it should not", measure=lambda bench: 1e-3)
    monkeypatch.setattr(module, "CHECKS", (good,))
    passed = CliRunner().invoke(app, ["verify", "--device", "cpu", "--json"])
    assert passed.exit_code == 0, passed.output
    (row,) = json.loads(passed.stdout)["rows"]
    assert row["verdict"] == "pass"
    monkeypatch.setattr(module, "CHECKS", (good, bad))
    failed = CliRunner().invoke(app, ["verify", "--device", "cpu"])
    assert failed.exit_code == 1
    assert "1 of 2 hold" in failed.stdout


def test_the_table_says_what_it_measured():
    table = verification_table([Finding(name="x", difference=3e-8, tolerance=2e-6)], "cpu")
    assert table.cells() == [["x", "3.0e-08", "2.0e-06", "pass"]]
    exact = verification_table([Finding(name="x", difference=0.0, tolerance=0.0)], "cpu")
    assert exact.cells() == [["x", "0", "0", "pass"]]
