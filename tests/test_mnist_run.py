"""``bench run`` on idx files: what it writes, how it stops and resumes, what it refuses."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.federation.partitions import images, partition
from bench.results.run import Run, load_run
from bench.runs.digits import CANONICAL, DigitJudge
from bench.scoring.accuracy import accuracy, wilson
from bench.suites.scenario import Scenario
from tests.crashing import digests, dying_after, unfinished
from tests.digits_on_disk import SUITE, TEST, TRAIN, write_digits
from tests.shared_data import shared
from tests.tiny_tree import bench, command, environment, write_tree

TIMES = ("seconds", "images_per_second", "yardstick")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    write_digits(folder / "mnist")
    (folder / "plain.yaml").write_text(
        SUITE + "  rounds: 6\ngrid: {partition: [iid, shards], strategy: [fedavg, scaffold]}\n"
    )
    (folder / "stop.yaml").write_text(SUITE + "  rounds: 60\n  stop_at: 0.8\n")
    return folder


@pytest.fixture(scope="module")
def whole(digits: Path) -> Path:
    """The plain suite, run to its end."""
    results = digits / "whole"
    done = bench(
        "run", digits / "plain.yaml", "--data", digits / "mnist", "--results", results, "-q",
        cache=digits / "cache",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return results


def runs_in(results: Path) -> list[Run]:
    return [load_run(file.parent) for file in sorted(results.glob("*/*/run.json"))]


def without_times(run: Run) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k not in TIMES} for line in run.rounds()]


def test_a_run_keeps_accuracy_with_wilson_s_interval(whole: Path) -> None:
    runs = runs_in(whole)
    assert len(runs) == 4
    for run in runs:
        (split,) = run.metrics
        block = run.metrics[split]
        assert (split, block["level"], block["n"], block["members"]) == ("test", "image", TEST, 1)
        assert block["observations"] == {}
        assert block["mean_auroc"] is None
        assert block["ci"] == list(wilson(block["accuracy"], TEST))
        scored = run.scores("test")
        guesses = scored.scores[0].argmax(axis=1)
        assert block["accuracy"] == np.mean(guesses == np.arange(TEST) % 10)
        assert block["accuracy"] == run.rounds()[-1]["accuracy"]
        assert scored.scores[0].sum(axis=1) == pytest.approx(np.ones(TEST), abs=1e-5)
        assert "target" not in block
        assert run.data["splits"] == {"train": {"images": TRAIN}, "test": {"images": TEST}}
        assert run.data["name"] != "MNIST"


def test_clients_are_those_of_the_partition_by_digit(whole: Path) -> None:
    run = next(run for run in runs_in(whole) if run.scenario["partition"]["name"] == "shards")
    pool = images(np.arange(TRAIN) % 10, [str(digit) for digit in range(10)])
    expected = partition(
        Scenario.from_row(run.scenario).partition, pool, clients=10, seed=run.scenario["seed"]
    )
    assert run.data["partition"]["fingerprint"] == expected.fingerprint
    assert run.data["partition"]["sizes"] == [TRAIN // 10] * 10


def test_a_killed_run_ends_at_the_same_bytes(digits: Path, whole: Path) -> None:
    killed = digits / "killed"
    arguments = [
        "run", digits / "plain.yaml", "--data", digits / "mnist", "--results", killed, "-q"
    ]  # fmt: skip
    first = subprocess.run(
        command(arguments, dying_after(4)),
        env=environment(digits / "cache"),
        cwd=digits,
        timeout=300,
    )
    assert first.returncode == 9
    done = bench(*arguments, cache=digits / "cache")
    assert done.returncode == 0, done.stderr
    assert digests(killed) == digests(whole)
    assert unfinished(killed) == []
    for ours, theirs in zip(runs_in(killed), runs_in(whole), strict=True):
        assert without_times(ours) == without_times(theirs)


def test_a_run_stops_at_its_target_and_says_when(digits: Path) -> None:
    results = digits / "stopped"
    done = bench(
        "run", digits / "stop.yaml", "--data", digits / "mnist", "--results", results,
        cache=digits / "cache",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (run,) = runs_in(results)
    rounds = run.rounds()
    target = run.metrics["test"]["target"]
    assert target["reached"]
    assert len(rounds) < 60
    assert rounds[-1]["accuracy"] >= 0.8 > max(line["accuracy"] for line in rounds[:-1])
    assert len(rounds) - 1 <= target["rounds"] <= len(rounds)
    assert target["bytes"] <= run.totals["bytes_up"] + run.totals["bytes_down"]
    assert f"after {target['rounds']:.1f} rounds" in done.stdout
    assert "Sent until then" in done.stdout


def test_a_run_killed_after_its_last_round_trains_no_further(digits: Path) -> None:
    results = digits / "late"
    arguments = [
        "run", digits / "stop.yaml", "--data", digits / "mnist", "--results", results, "-q"
    ]  # fmt: skip
    kill = (
        "import os, bench.runs.digits as d\ndef final(*_): os._exit(9)\nd.DigitJudge.final = final"
    )
    first = subprocess.run(
        command(arguments, kill), env=environment(digits / "cache"), cwd=digits, timeout=300
    )
    assert first.returncode == 9
    (folder,) = (results / "digits").iterdir()
    lines = (folder / "rounds.jsonl").read_bytes()
    assert bench(*arguments, cache=digits / "cache").returncode == 0
    assert (folder / "rounds.jsonl").read_bytes() == lines
    assert load_run(folder).status == "done"


def test_a_target_out_of_reach_is_a_value(digits: Path) -> None:
    results = digits / "far"
    done = bench(
        "run", digits / "stop.yaml", "--data", digits / "mnist", "--results", results,
        "-s", "rounds=2", "-s", "stop_at=1.0", "-s", "optimizer.lr=1e-6", "--json",
        cache=digits / "cache",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert row["to_target"]["reached"] is False
    assert row["to_target"]["rounds"] is None
    assert row["to_target"]["rounds_run"] == 2
    assert "not reached in 2 rounds" in done.stderr


def test_plan_and_partition_need_no_more_than_the_files(digits: Path) -> None:
    cache, suite = digits / "cache", digits / "plain.yaml"
    plan = bench("plan", suite, "--json", cache=cache, MNIST_ROOT=str(digits / "mnist"))
    assert plan.returncode == 0, plan.stderr
    rows = json.loads(plan.stdout)["rows"]
    # 3 of 10 clients of 40 images, 6 rounds
    assert [row["training_images"] for row in rows] == [3 * 40 * 6] * 4
    unknown = bench("plan", suite, cache=cache)
    assert unknown.returncode == 0, unknown.stderr
    assert "no --data and no $MNIST_ROOT" in unknown.stdout
    shown = bench("partition", suite, "--data", digits / "mnist", "--json", cache=cache)
    assert shown.returncode == 0, shown.stderr
    clients = [row for row in json.loads(shown.stdout)["rows"] if "shards" in row["partition"]]
    assert len(clients) == 10


@pytest.mark.parametrize(
    ("data", "more", "message"),
    [
        (None, [], "MNIST's folder is not named"),
        ("nowhere", [], "names a folder that does not exist"),
        ("plain.yaml", [], "--data names a file, not a folder"),
        ("tree", [], "there is no train-images-idx3-ubyte"),
        ("mnist", ["-s", "image_size=32"], "MNIST's images have one size"),
    ],
)
def test_what_cannot_be_run_is_refused(
    digits: Path, data: str | None, more: list[str], message: str
) -> None:
    if not (digits / "tree").exists():
        write_tree(digits / "tree")
    named = [] if data is None else ["--data", digits / data]
    results = digits / "refused"
    done = bench(
        "run", digits / "plain.yaml", *named, "--results", results, *more, cache=digits / "cache"
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_one_folder_cannot_be_two_data_sets(digits: Path) -> None:
    both = digits / "both.yaml"
    both.write_text(
        "suite: both\ndefaults: {backbone: 2nn, image_size: 28}\n"
        "grid: {dataset: [chexpert, mnist]}\n"
    )
    done = bench("run", both, "--data", digits / "mnist", cache=digits / "cache")
    assert done.returncode == 2
    assert "$CHEXPERT_ROOT and $MNIST_ROOT" in done.stderr


def test_stop_at_and_self_training_exclude_each_other(digits: Path) -> None:
    suite = digits / "twice.yaml"
    suite.write_text("suite: twice\ndefaults: {label_policy: u-selftrained, stop_at: 0.8}\n")
    done = bench("plan", suite, cache=digits / "cache")
    assert done.returncode == 2
    assert f"{suite}:2:50: stop_at cannot be used with u-selftrained" in done.stderr


def test_a_scenario_without_a_target_keeps_its_identity() -> None:
    plain = Scenario(dataset="mnist")
    row = plain.row()
    del row["stop_at"]
    assert Scenario.from_row(row) == plain
    assert Scenario(dataset="mnist", stop_at=0.97).identity("") != plain.identity("")


def test_several_members_are_scored_by_their_mean() -> None:
    labels = np.array([0, 1, 2, 3])
    judge = DigitJudge(np.zeros((4, 28, 28), dtype=np.uint8), labels)
    guesses = {"a": [0, 1, 2, 0], "b": [0, 0, 0, 0]}
    current: list[str] = []
    members = [(name, lambda name=name: current.append(name)) for name in guesses]
    found = judge.summary(members, lambda _: np.eye(10, dtype=np.float32)[guesses[current[-1]]])
    assert found == {"accuracy": (0.75 + 0.25) / 2}


def test_wilson_s_interval_by_hand() -> None:
    # Newcombe 1998, Statistics in Medicine 17:857, Table I: 81/263, 15/148, 0/20, 1/29.
    published = {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605)}
    published |= {(0, 20): (0.0, 0.1611), (1, 29): (0.0061, 0.1718)}
    for (hits, n), bounds in published.items():
        assert wilson(hits / n, n) == pytest.approx(bounds, abs=5e-5)
    assert wilson(1.0, 20)[1] == 1.0
    with pytest.raises(ValueError, match="share of n"):
        wilson(1.2, 10)


def test_accuracy_counts_the_highest_score() -> None:
    scores = np.array([[0.1, 0.9], [0.6, 0.4], [0.5, 0.5]])
    assert accuracy(np.array([1, 1, 0]), scores) == pytest.approx(2 / 3)
    broken = np.array([[np.nan, np.nan], [0.2, np.nan], [0.1, 0.9]])
    assert accuracy(np.array([0, 1, 1]), broken) == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="empty"):
        accuracy(np.array([], dtype=np.int64), np.empty((0, 2)))


def test_the_published_files_are_known_by_their_digest() -> None:
    from bench.data.mnist import read_mnist

    assert read_mnist(shared("mnist")).digest == CANONICAL


def test_two_runs_are_compared_on_the_images_they_are_judged_by(whole: Path) -> None:
    first, second = [run.folder for run in runs_in(whole) if run.name.startswith("fedavg")]
    done = bench("compare", first, "--against", second, "--format", "json", cache=whole)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert {row["split"] for row in rows} == {"test"}
    assert [row["condition"] for row in rows] == [*map(str, range(10))]


def test_a_run_is_checked_against_itself(whole: Path, tmp_path: Path) -> None:
    """Its bits and the AUROC of each digit against the others; there is no mean over digits."""
    reference = tmp_path / "reference"
    done = bench("check", "--update", whole, "--reference", reference, cache=whole)
    assert done.returncode == 0, done.stderr
    assert len(list(reference.glob("*/scores-test.npz"))) == 4
    done = bench("check", whole, "--reference", reference, "--json", cache=whole)
    rows = json.loads(done.stdout)["rows"]
    gates = [row["gate"] for row in rows if row["verdict"] == "pass"]
    assert gates.count("bit-equality") == 4
    assert gates.count("AUROC 7") == 4
    assert "AUROC mean" not in gates
