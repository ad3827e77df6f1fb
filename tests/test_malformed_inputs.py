"""Whatever is wrong with what a command is given: one message, its exit code, no traceback."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.in_process import Ended, call
from tests.runs_on_disk import some_scores, write_run
from tests.tiny_tree import HEADER, write_suite, write_tree

LONGEST_MESSAGE = 14
"""Lines. More would be a dump and not a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder of a test's own, with a good tree and a good suite to spoil."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    @property
    def suite(self) -> Path:
        return self.folder / "s.yaml"

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def call(self, *arguments: str | Path) -> Ended:
        return call(self.capsys, *arguments)

    def plan(self, *more: str | Path) -> Ended:
        return self.call("plan", self.suite, "--data", self.tree, "--results", self.results, *more)

    def run(self, *more: str | Path) -> Ended:
        return self.call("run", self.suite, "--data", self.tree, "--results", self.results, *more)

    def compare(self, *more: str | Path) -> Ended:
        return self.call("compare", "--results", self.results, *more)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    write_tree(folder / "tree")
    write_suite(folder / "s.yaml", "grid: {strategy: [fedavg]}\n", observations="[Cardiomegaly]")
    return folder


@pytest.fixture
def place(
    good: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Place:
    shutil.copytree(good, tmp_path, dirs_exist_ok=True)
    monkeypatch.delenv("CHEXPERT_ROOT", raising=False)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    return Place(folder=tmp_path, capsys=capsys)


def check(ended: Ended, code: int, *texts: str) -> None:
    assert ended.code == code, ended.err
    assert ended.out == ""
    assert "Traceback" not in ended.err
    for text in texts:
        assert text in ended.err
    start = max(ended.err.find("bench: "), ended.err.find("\nError: "))
    assert start >= 0, ended.err
    assert len(ended.err[start:].splitlines()) <= LONGEST_MESSAGE, ended.err


HEAD = "suite: s\n"
SUITES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "nothing": (b"", ("s.yaml:1:1", "nothing in it")),
    "not text": (b"suite: \xff\xfe\n", ("s.yaml", "UTF-8")),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(40), ("s.yaml",)),
    "a key twice": (b"suite: s\nsuite: t\n", ("s.yaml:2:1", "'suite' is written twice")),
    "a key misspelt": (b"suite: s\ndefaults: {roundz: 3}\n", ("s.yaml:2:12", "'rounds'")),
    "a tab": (b"suite: s\ndefaults:\n\trounds: 3\n", ("s.yaml:3:1", "tab")),
    "no name": (b"defaults: {rounds: 3}\n", ("'suite' is missing",)),
    "no rounds": (b"suite: s\ndefaults: {rounds: 0}\n", ("s.yaml:2:20", "rounds")),
    "a word for a number": (b"suite: s\ndefaults: {clients: many}\n", ("s.yaml:2:21", "many")),
    "no such strategy": (
        b"suite: s\ngrid: {strategy: [fedavgg]}\n",
        ("s.yaml:2:19", "did you mean 'fedavg'?"),
    ),
    "no such parameter": (
        b"suite: s\ndefaults: {strategy: {name: fedprox, mew: 1}}\n",
        ("s.yaml:2:", "mew"),
    ),
    "no such observation": (
        b"suite: s\ndefaults: {observations: [Cardiomegally]}\n",
        ("s.yaml:2:", "Cardiomegaly"),
    ),
    "python": (b"suite: !!python/object/apply:os.system [ls]\n", ("s.yaml:1:8", "tag")),
    "nested": (b"suite: " + b"[" * 5000, ("s.yaml:1:", "levels")),
    "a null byte": (b"suite: s\0\n", ("s.yaml:1:",)),
}


@pytest.mark.parametrize("case", SUITES)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_suites(place: Place, case: str, command: str) -> None:
    content, texts = SUITES[case]
    place.suite.write_bytes(content)
    check(place.call(command, place.suite, "--data", place.tree), 2, *texts)
    assert not place.results.exists()


OPTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "no equals sign": (("-s", "rounds"), ("rounds", "key=value")),
    "a key misspelt": (("-s", "roundz=3"), ("did you mean 'rounds'?",)),
    "a word for a number": (("-s", "rounds=many"), ("rounds", "many")),
    "no value": (("-s", "rounds="), ("rounds",)),
    "not of this strategy": (("-s", "strategy.mu=0.1"), ("mu", "fedavg")),
    "not closed": (("-s", "optimizer={name: sgd"), ("optimizer",)),
    "an expression cut short": (("-k", "fedavg and"), ("-k",)),
    "a bracket too many": (("-k", "(fedavg"), ("-k",)),
    "nothing of that name": (("-k", "nothing"), ("no scenario is left", "-k nothing")),
    "no such backbone": (("-s", "backbone=densenet12"), ("unknown backbone", "did you mean")),
    "no such option": (("--no-such",), ("--no-such",)),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options(place: Place, case: str) -> None:
    arguments, texts = OPTIONS[case]
    check(place.plan(*arguments), 2, *texts)


RUNS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "no such device": (("--device", "tpu"), ("unknown device 'tpu'", "cuda")),
    "no such GPU": (("--device", "cuda:99"), ("there is no device 'cuda:99'",)),
    "no weights": (("-s", "pretrained=nowhere.safetensors"), ("nowhere.safetensors",)),
    "more clients than patients": (("-s", "clients=1000"), ("1000", "24")),
    "no such table": (("--against", "papper"), ("papper", "did you mean 'paper'?")),
    "no AUROC published": (("--against", "irvin2019-counts"), ("does not publish AUROC",)),
    "neither fail nor skip": (("--on-bad-image", "guess"), ("guess",)),
}


@pytest.mark.parametrize("case", RUNS)
def test_runs(place: Place, case: str) -> None:
    arguments, texts = RUNS[case]
    check(place.run(*arguments), 4 if case == "no AUROC published" else 2, *texts)
    assert not list(place.results.rglob("rounds.jsonl"))


def test_a_device_is_looked_at_before_any_data_is_made(place: Place) -> None:
    check(place.call("run", "smoke", "--device", "tpu"), 2, "unknown device 'tpu'")
    assert not (place.folder / "cache").exists()


def test_a_backbone_is_known_before_any_data_is_made(place: Place) -> None:
    check(place.call("run", "smoke", "-s", "backbone=resnet81"), 2, "did you mean 'resnet18'?")
    assert not (place.folder / "cache").exists()


def test_suites_that_are_not_there(place: Place) -> None:
    check(place.call("plan", "fedavgg"), 2, "fedavgg", "did you mean")
    check(place.call("run", place.folder / "no.yaml"), 2, "no.yaml")
    check(place.call("plan", place.folder), 2, str(place.folder))


def test_data_that_is_not_there(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = place.folder / "nowhere"
    for command in ("plan", "run"):
        check(place.call(command, "smoke", "--data", nowhere), 2, str(nowhere), "--data")
    check(place.call("plan", "smoke", "--data", place.suite), 2, str(place.suite))
    monkeypatch.setenv("CHEXPERT_ROOT", str(nowhere))
    for command in ("plan", "run"):
        check(place.call(command, "smoke"), 2, str(nowhere), "$CHEXPERT_ROOT")
    assert not (place.folder / "cache").exists()


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def empty_folder(tree: Path) -> None:
    shutil.rmtree(tree)
    tree.mkdir()


def one_too_high(tree: Path) -> None:
    inner = tree / "CheXpert-v1.0-small"
    inner.mkdir()
    for name in ("train.csv", "valid.csv", "train", "valid"):
        (tree / name).rename(inner / name)


def wide(tree: Path) -> None:
    lines = (tree / "train.csv").read_text().splitlines()
    lines[4] += ",1.0,1.0"
    (tree / "train.csv").write_text("\n".join(lines) + "\n")


FIRST = "CheXpert-tiny/train/patient00001/study1/view1_frontal.png"
TREES: dict[str, tuple[Callable[[Path], Any], tuple[str, ...]]] = {
    "an empty folder": (empty_folder, ("train.csv",)),
    "one folder too high": (one_too_high, ("did you mean", "CheXpert-v1.0-small")),
    "no train.csv": (lambda t: (t / "train.csv").unlink(), ("no train.csv",)),
    "train.csv is a folder": (
        lambda t: ((t / "train.csv").unlink(), (t / "train.csv").mkdir()),
        ("train.csv",),
    ),
    "an empty train.csv": (lambda t: (t / "train.csv").write_text(""), ("train.csv",)),
    "a header alone": (
        lambda t: (t / "train.csv").write_text(HEADER + "\n"),
        ("train.csv:1", "no rows"),
    ),
    "no column Path": (lambda t: edit(t / "train.csv", "Path,", "File,"), ("train.csv:1", "Path")),
    "a label of 2": (lambda t: edit(t / "train.csv", ",1.0", ",2.0"), ("train.csv:", "2.0")),
    "a label in words": (lambda t: edit(t / "train.csv", ",1.0", ",yes"), ("train.csv:", "yes")),
    "too many cells": (wide, ("train.csv:5", "cells")),
    "not text": (
        lambda t: (t / "train.csv").write_bytes(HEADER.encode() + b"\n\xff\xfe\x00,1\n"),
        ("train.csv:2",),
    ),
    "no patient in a path": (
        lambda t: edit(t / "train.csv", FIRST, "a/picture.png"),
        ("train.csv:2", "a/picture.png"),
    ),
    "no path": (lambda t: edit(t / "train.csv", FIRST, ""), ("train.csv:2", "path is empty")),
    "a quote that is not closed": (
        lambda t: edit(t / "train.csv", FIRST, '"' + FIRST),
        ("train.csv:",),
    ),
    "a marker that is not JSON": (
        lambda t: (t / "PHANTOM.json").write_text("{"),
        ("PHANTOM.json", "not JSON"),
    ),
    "a marker of another kind": (
        lambda t: (t / "PHANTOM.json").write_text("[1]"),
        ("PHANTOM.json", "object"),
    ),
}


@pytest.mark.parametrize("case", TREES)
def test_trees(place: Place, case: str) -> None:
    spoil, texts = TREES[case]
    spoil(place.tree)
    check(place.plan(), 2, *texts)
    check(place.run(), 2, *texts)
    assert not (place.results / "tiny").exists()


def test_tree_that_has_nothing_to_be_scored_on(place: Place) -> None:
    (place.tree / "valid.csv").unlink()
    check(place.run(), 2, str(place.tree), "valid")


def bomb() -> bytes:
    """A PNG of a few bytes that says it is 60,000 pixels square."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


IMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (Path.unlink, "missing"),
    "empty": (lambda f: f.write_bytes(b""), "empty"),
    "truncated": (lambda f: f.write_bytes(f.read_bytes()[:300]), "truncated"),
    "text": (lambda f: f.write_text("no picture"), "neither JPEG nor PNG"),
    "a folder": (lambda f: (f.unlink(), f.mkdir()), "folder"),
    "a bomb": (lambda f: f.write_bytes(bomb()), "pixels"),
    "a link out of the tree": (
        lambda f: (f.unlink(), f.symlink_to("/etc/hostname")),
        "leaves the",
    ),
}


@pytest.mark.parametrize("case", IMAGES)
def test_images(place: Place, case: str) -> None:
    spoil, text = IMAGES[case]
    spoil(place.tree / "train/patient00003/study1/view1_frontal.png")
    check(place.run(), 2, "train.csv:4", "patient00003", text, "--on-bad-image skip")
    assert not (place.results / "tiny").exists()


def test_image_path_that_climbs_out_of_the_tree(place: Place) -> None:
    edit(place.tree / "train.csv", FIRST, f"../{FIRST}")
    check(place.run(), 2, "train.csv:2", "../")


def test_results_that_cannot_be_a_folder(place: Place) -> None:
    for results in (place.suite, place.suite / "below"):
        done = place.call("run", place.suite, "--data", place.tree, "--results", results)
        check(done, 2, str(results), "--results")
    check(place.call("compare", "--results", place.folder / "none"), 2, "no runs to compare")
    check(place.call("compare", place.folder / "none"), 2, "no such run")


def spoil_json(**changes: Any) -> Callable[[Path], Any]:
    def spoil(folder: Path) -> None:
        file = folder / "run.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return spoil


RECORDS: dict[str, tuple[Callable[[Path], Any], tuple[str, ...]]] = {
    "empty": (lambda f: (f / "run.json").write_text(""), ("run.json:1:1", "not JSON")),
    "cut": (
        lambda f: (f / "run.json").write_bytes((f / "run.json").read_bytes()[:400]),
        ("run.json:", "not JSON"),
    ),
    "not text": (lambda f: (f / "run.json").write_bytes(b"\xff\xfe"), ("cannot be read",)),
    "a list": (lambda f: (f / "run.json").write_text("[]"), ("not a run", "list")),
    "newer": (spoil_json(schema=2), ("schema 2", "expected: schema 1")),
    "no metrics": (spoil_json(metrics=None), ("'metrics'",)),
    "metrics of nothing": (spoil_json(metrics={}), ("'metrics.valid'",)),
    "metrics cut": (spoil_json(metrics={"valid": {"level": "study"}}), ("'metrics.valid.views'",)),
    "totals gone": (spoil_json(totals={}), ("'totals.seconds'",)),
    "unknown status": (spoil_json(status="perhaps"), ("unknown status", "'perhaps'")),
    "unknown scenario": (spoil_json(scenario={"epochs": 3}), ("scenario", "epochs")),
}


@pytest.mark.parametrize("case", RECORDS)
def test_records_of_runs(place: Place, case: str) -> None:
    spoil, texts = RECORDS[case]
    run = write_run(place.results / "smoke")
    spoil(run.folder)
    check(place.compare(), 2, str(run.folder), *texts)
    check(place.compare("--against", run.folder), 2, str(run.folder), *texts)


def spoil_scores(**changes: Any) -> Callable[[Path], Any]:
    def spoil(file: Path) -> None:
        with np.load(file) as stored:
            parts = {name: stored[name] for name in stored.files}
        np.savez(file, **{k: v for k, v in (parts | changes).items() if v is not None})

    return spoil


SCORES: dict[str, Callable[[Path], Any]] = {
    "missing": Path.unlink,
    "empty": lambda f: f.write_bytes(b""),
    "truncated": lambda f: f.write_bytes(f.read_bytes()[:-2000]),
    "cut short": lambda f: f.write_bytes(f.read_bytes()[:300]),
    "text": lambda f: f.write_text("scores"),
    "pickled": spoil_scores(studies=np.array([{"a": 1}, None], dtype=object)),
    "a part missing": spoil_scores(members=None),
    "another shape": spoil_scores(scores=np.zeros((1, 3, 5), dtype=np.float32)),
    "words for scores": spoil_scores(scores=np.full((1, 200, 5), "high")),
    "labels of 7": spoil_scores(labels=np.full((200, 5), 7, dtype=np.float32)),
}


@pytest.mark.parametrize("case", SCORES)
def test_scores_of_runs(place: Place, case: str) -> None:
    ours = write_run(place.results / "a")
    theirs = write_run(place.results / "b", scores=some_scores(seed=3))
    SCORES[case](theirs.folder / "scores-valid.npz")
    check(
        place.compare(ours.folder, "--against", theirs.folder),
        2,
        str(theirs.folder / "scores-valid.npz"),
    )


def test_options_of_compare(place: Place) -> None:
    write_run(place.results / "smoke")
    empty = place.folder / "empty"
    empty.mkdir()
    check(place.compare("--against", "papper"), 2, "papper", "did you mean 'paper'?")
    check(place.compare("--against", empty), 4, "there is no run here")
    check(place.compare("--format", "excel"), 2, "excel")
    check(place.compare("--ci", "bayes"), 2, "bayes")
    check(place.compare("--output", empty), 2, "names a folder")
    check(place.compare("--output", place.suite / "x"), 2, "cannot be written")
    check(place.compare("--split", "test"), 4, "not scored on test")
    check(place.compare("--split", "train"), 2, "--split", "train")
    check(place.compare("--baselines", place.folder / "none"), 2, "none")


@pytest.fixture(scope="module")
def stopped(good: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a run that was interrupted after its last round, before its scores were kept."""
    import sys

    from bench.cli import main
    from bench.report import roc

    folder = tmp_path_factory.mktemp("stopped")

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roc, "draw_run", interrupt)
        patch.setenv("BENCH_CACHE", str(folder / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        arguments = ["run", "s.yaml", "--data", "tree", "--results", str(folder / "results"), "-q"]
        patch.chdir(good)
        patch.setattr(sys, "argv", ["bench", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 130
    return folder / "results"


STATES: dict[str, tuple[Callable[[Path], Any], tuple[str, ...]]] = {
    "garbage for a checkpoint": (
        lambda f: (f / "state.safetensors").write_bytes(b"\x07" * 4000),
        ("state.safetensors", "checkpoint cannot be read", "--fresh"),
    ),
    "a checkpoint cut": (
        lambda f: (f / "state.safetensors").write_bytes(
            (f / "state.safetensors").read_bytes()[:-100]
        ),
        ("state.safetensors", "checkpoint cannot be read", "--fresh"),
    ),
    "a checkpoint without its header": (
        lambda f: save_file({"x": np.zeros(3)}, f / "state.safetensors"),
        ("state.safetensors", "format 1"),
    ),
    "a checkpoint of something else": (
        lambda f: save_file(
            {"federation/x": np.zeros(3)},
            f / "state.safetensors",
            {"bench": '{"format": 1, "round": 2}'},
        ),
        ("state.safetensors", "not this scenario's", "--fresh"),
    ),
    "a log that ends too early": (
        lambda f: (f / "rounds.jsonl").write_text(""),
        ("rounds.jsonl", "ends before the checkpoint", "--fresh"),
    ),
    "a log with a spoilt line": (
        lambda f: edit(f / "rounds.jsonl", "{", "?"),
        ("rounds.jsonl:1", "not a round", "--fresh"),
    ),
    "a spoilt record": (
        lambda f: (f / "run.json").write_text("{"),
        ("run.json:1", "not JSON", "--fresh"),
    ),
    "a record of a newer version": (
        spoil_json(schema=2),
        ("run.json", "schema 2"),
    ),
}


@pytest.mark.parametrize("case", STATES)
def test_unfinished_runs(place: Place, stopped: Path, case: str) -> None:
    """Nothing is passed over or thrown away: --fresh is the reader's to say."""
    shutil.copytree(stopped, place.results)
    (folder,) = place.results.glob("tiny/*")
    spoil, texts = STATES[case]
    spoil(folder)
    check(place.run("-q"), 2, *texts)
    assert (folder / "state.safetensors").exists()


def test_what_was_stopped_carries_on(place: Place, stopped: Path) -> None:
    """The results that the cases above spoil are good ones."""
    shutil.copytree(stopped, place.results)
    done = place.run()
    assert done.code == 0, done.err
    assert "carries on" in done.err or "resumed" in done.err


def test_there_are_at_least_forty_cases() -> None:
    tables: list[dict[str, Any]] = [SUITES, OPTIONS, RUNS, TREES, IMAGES, RECORDS, SCORES, STATES]
    assert sum(len(table) for table in tables) >= 80
