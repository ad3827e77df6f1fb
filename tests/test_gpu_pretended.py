"""What is written for GPUs, on a device that is pretended (:mod:`tests.pretended`).

First ``test_trainer_gpu.py``'s tests, but for those that compile or compare precisions; then what
can be seen here alone: when the host waits, how many operations there are, that streams do not
race; and whole commands.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections import Counter

import pytest
import torch

from bench.federation.strategies import TABLE
from bench.models.backbone import build
from bench.models.normalisation import to_group_norm
from bench.results.run import load_run
from bench.training.device import prepare
from bench.training.trainer import Trainer
from bench.verify.checks import POLICIES, usable, verify
from bench.verify.federations import Bench, difference
from tests import test_trainer_gpu as on_a_gpu
from tests.crashing import digests, dying_after, unfinished
from tests.digits_on_disk import SUITE, write_digits
from tests.pretended import DEVICE, pretending
from tests.test_trainer_gpu import (  # noqa: F401
    test_a_gpu_trains_as_a_cpu_does,
    test_a_graph_draws_dropout_anew_by_the_address,
    test_a_graph_trains_as_plain_steps_do,
    test_a_network_with_hooks_is_executed_plainly,
    test_a_single_captured_batch_leaves_one_updates_statistics,
    test_bf16_trains_nearly_as_fp32_does,
    test_one_graph_serves_clients_strategies_and_learning_rates,
    test_replays_draw_different_masks,
    test_several_batch_sizes_take_turns,
    test_sizes_that_recur_have_a_graph_too,
    test_streamed_images_are_the_resident_ones,
    test_streamed_images_feed_a_graph,
    test_training_goes_on_in_another_trainer_as_it_would_have_in_this,
    test_what_cannot_be_captured_is_executed_plainly_and_the_process_goes_on,
)
from tests.tiny_tree import bench, environment, torchrun

PRETEND = "from tests.pretended import pretend; pretend()"
"""The statement after which a process has the device."""
SCRIPT = """
{pretend}
import subprocess, sys
from dataclasses import replace
import tests.benchmarks.gpu_throughput as script
from tests.tiny_tree import command
def bench(*arguments):
    more = ["--no-history"] if arguments[0] == "throughput" else []
    ran = command([*arguments, *more], {pretend!r})
    return subprocess.run(ran, check=True, stdout=subprocess.PIPE, text=True).stdout
def fastest(known, batch=None):
    rows = [row for row in known["throughput"]["rows"] if row["step"] == "graph"]
    return of_any_step({{"throughput": {{"rows": rows}}}}, batch)
of_any_step, script.fastest, script.bench = script.fastest, fastest, bench
script.FULL = replace(script.DRY, device="cuda", steps=("eager", "graph"), compiled="graph")
parts = "throughput,run,federation,several,chexpert"
sys.exit(script.main(["--parts", parts, "--output", {output!r}]))
"""


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    with pretending(monkeypatch) as gpu:
        prepare(DEVICE, torch.get_num_threads())
        yield gpu


@pytest.fixture(autouse=True)
def smaller(request, monkeypatch):
    """Every operation passes through Python: the network is one of four layers, not of ten."""

    def built(backbone, *, norm="batch", **more):
        if backbone != "resnet10t":
            return build(backbone, norm=norm, **more)
        network = on_a_gpu.small()
        if norm == "group":
            to_group_norm(network)
        return network

    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr(on_a_gpu, "build", built)


@pytest.mark.parametrize(
    ("backbone", "shrink"),
    [
        ("2nn", 0),
        pytest.param("2nn", 2, marks=pytest.mark.slow),
        pytest.param("mcmahan-cnn", 0, marks=pytest.mark.slow),
        pytest.param("mcmahan-cnn", 2, marks=pytest.mark.slow),
    ],
)
def test_clients_trained_at_once(backbone, shrink, tmp_path):
    """On streams of their own, within one graph."""
    on_a_gpu.test_clients_trained_at_once_become_what_each_becomes_alone(backbone, shrink, tmp_path)


@pytest.mark.parametrize("streamed", [False, True], ids=["resident", "streamed"])
def test_the_host_waits_once_in_a_training(gpu, monkeypatch, streamed):
    """Not in its epochs, whose batches are a whole one, a last one, and images of many chunks."""
    if streamed:
        monkeypatch.setattr("bench.training.images.RESIDENT_SHARE", 0.0)
    pixels = {"cuda": 20 * on_a_gpu.SIDE**2, "cpu": 1}
    monkeypatch.setattr("bench.training.images.CHUNK_PIXELS", pixels)
    trainer = on_a_gpu.trainer_on("cuda:0", on_a_gpu.GRAPH)
    assert trainer.images.resident != streamed
    on_a_gpu.run(trainer)
    for client in range(3):
        gpu.waits.clear()
        on_a_gpu.run(trainer, at=(0, 2, client), epochs=3)
        assert gpu.waits == ["a copy to the host"]
    gpu.waits.clear()
    scores = trainer.predict(on_a_gpu.PIXELS)
    assert scores.shape == (on_a_gpu.IMAGES, 14)
    assert Counter(gpu.waits)["a copy to the host"] == len(gpu.waits) - (not streamed) == 1


def test_a_captured_step_is_four_operations_and_a_graph(gpu):
    """The batch and its targets to their places, the update, the sum of losses; a plain one's
    number depends on the network."""
    found = {}
    for execution in (on_a_gpu.GRAPH, on_a_gpu.EAGER):
        trainer = on_a_gpu.trainer_on("cuda:0", execution)
        counts = []
        for batches in (1, 2, 5):
            before = gpu.operations
            on_a_gpu.run(trainer, rows=batches * on_a_gpu.BATCH, epochs=1)
            counts.append(gpu.operations - before)
        found[execution.name] = (counts[2] - counts[1]) / 3
    assert found["graph"] == 4
    assert found["eager"] > 30


@pytest.fixture
def captured_steps(monkeypatch):
    """The federations of ``bench verify`` take their steps from graphs, where they are on a GPU."""

    def made(scenario, flat, *given):
        plain = flat.device.type == "cpu"
        return Trainer(scenario, flat, *given, on_a_gpu.EAGER if plain else on_a_gpu.GRAPH)

    monkeypatch.setattr("bench.verify.federations.Trainer", made)


@pytest.mark.parametrize("name", TABLE)
def test_a_strategy_ends_where_it_does_on_a_cpu(name, captured_steps, tmp_path):
    ends = []
    for device in (DEVICE, torch.device("cpu")):
        made = usable(Bench(device, tmp_path), name, "average")
        for number in range(1, 4):
            made.round(number)
        models = [*made.models(), *made.personal_models()]
        ends.append([])
        for _, load in models:
            load()
            ends[-1].append({n: t.cpu() for n, t in made.trainer.flat.named_tensors().items()})
    assert len(ends[0]) == len(ends[1]) > 0
    for mine, expected in zip(*ends, strict=True):
        assert difference(mine, expected) < 2e-5


@pytest.mark.parametrize("buffers", POLICIES)
def test_statistics_end_where_they_do_on_a_cpu(buffers, captured_steps, tmp_path):
    ends = []
    for device in (DEVICE, torch.device("cpu")):
        made = Bench(device, tmp_path).federation(buffers=buffers)
        for number in range(1, 4):
            made.round(number)
        ends.append({name: tensor.cpu() for name, tensor in made.export().items()})
    assert difference(*ends) < 2e-5


@pytest.mark.slow
def test_all_equivalences_hold():
    assert [f for f in verify(DEVICE) if not f.passed] == []


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "shared"])
def test_a_run_ends_at_the_same_bytes(how, tmp_path):
    """Killed and carried on; or shared by two processes on one GPU, which add up on the host."""
    write_digits(tmp_path / "mnist")
    suite = tmp_path / "digits.yaml"
    suite.write_text(SUITE + "  rounds: 4\n  strategy: fedadam\n")
    ended = {}
    for name in ("whole", how):
        results = tmp_path / name
        start = functools.partial(
            torchrun if name == "shared" else bench,
            "run", suite, "--data", tmp_path / "mnist", "--results", results, "-q",
            "--device", "cuda", "--against", "none", cache=tmp_path / "cache",
        )  # fmt: skip
        if name == "killed":
            assert start(before=f"{PRETEND}\n{dying_after(2)}").returncode == 9
            assert unfinished(results) != []
        done = start(before=PRETEND)
        assert done.returncode == 0, done.stderr
        (found,) = (load_run(file.parent) for file in results.rglob("run.json"))
        assert found.environment["device"] == "cuda"
        assert found.environment["machine"]["gpu"] == "a device that is pretended"
        assert found.environment["step"] == "graph"
        assert found.environment["workers"] == (2 if name == "shared" else 1)
        ended[name] = digests(results)
    assert ended["whole"] == ended[how] != {}


@pytest.mark.slow
def test_the_script_that_measures_on_a_gpu(tmp_path):
    """Every part of it that does not compile, with graphs, in miniature.

    The later parts take the fastest graph, not the fastest step: on a pretended device which one
    is faster is chance.
    """
    program = tmp_path / "program.py"
    program.write_text(SCRIPT.format(pretend=PRETEND, output=str(tmp_path / "gpu.json")))
    done = subprocess.run(
        [sys.executable, program], env=environment(tmp_path / "cache"), capture_output=True,
        text=True, timeout=600,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    known = json.loads((tmp_path / "gpu.json").read_text())
    assert {row["step"] for row in known["throughput"]["rows"]} == {"eager", "graph"}
    assert {one["step"] for one in known["run"]["batches"].values()} == {"graph"}
    assert known["federation"]["clients"].keys() == {"2", "3"}
    assert known["federation"]["step"] == "graph"
    assert "at once take" in known["several"]["2nn-small"]["step_reason"]
    assert len(known["chexpert"]["epoch_seconds"]) == 3
    assert known["chexpert"]["step"] == "graph"
