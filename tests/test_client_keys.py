"""The keys that say which clients take part and what they do, from a suite's text to the tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.comparison.paired import compare_runs
from bench.errors import SuiteError
from bench.report.traffic import traffic_table
from bench.results.run import Run, load_run
from bench.runs.plan import training_images
from bench.suites.client_rules import CLIENT_KEYS, all_plain
from bench.suites.scenario import FAMILIES, Scenario
from bench.suites.suite import load_suite
from tests.in_process import call
from tests.runs_on_disk import SCENARIO, some_rounds, some_scores, write_run
from tests.tiny_tree import NO_FIGURES, bench, write_suite, write_tree

MALFORMED = [
    ("sampling: by-size", "2:22", ["uniform, size or poisson"]),
    ("sampling: poison", "2:22", ["mean 'poisson'?"]),
    ("dropout: 1", "2:21", ["at least 0 and below 1"]),
    ("dropout: -0.1", "2:21", ["at least 0"]),
    ("dropout: .nan", "2:21", ["number", "nan"]),
    ("dropout: half", "2:21", ["number", "'half'"]),
    ("stragglers: late", "2:24", ["unknown treatment of stragglers 'late'", "none, partial or"]),
    ("stragglers: {name: partial, share: 0}", "2:47", ["above 0 and at most 1"]),
    ("stragglers: {name: partial, shares: 0.1}", "2:40", ["did you mean 'share'?"]),
    ("stragglers: {name: none, share: 0.1}", "2:37", ["none has no parameter 'share'"]),
    ("stragglers: 0.5", "2:24", ["treatment of stragglers", "0.5"]),
    ("stragglers: ", "2:23", ["found: nothing"]),
    ("local_steps: 0", "2:25", ["at least 1"]),
    ("local_steps: 2.5", "2:25", ["whole number"]),
    ("local_steps: all", "2:25", ["'none'"]),
    ("weights: size", "2:21", ["samples, uniform or steps"]),
    ("compression: top-k", "2:25", ["unknown compression", "did you mean 'topk'?"]),
    ("compression: {name: topk, share: 1.5}", "2:45", ["above 0 and at most 1"]),
    ("compression: {name: topk, error_feedback: yes}", "2:54", ["write true"]),
    ("compression: {name: int8, block: 0}", "2:45", ["at least 1"]),
    ("compression: {name: int8, share: 0.5}", "2:38", ["int8 has no parameter 'share'"]),
]
TOGETHER = [
    ("strategy: dpfedavg, sampling: size", "2:42", ["Poisson", "sampling: size"]),
    ("sampling: poisson, fraction: 0", "2:41", ["draws nobody", "above 0"]),
    (
        "strategy: fedsgd, optimizer: {name: sgd, lr: 1}, stragglers: partial",
        "2:73",
        ["a single step"],
    ),
    ("strategy: krum, clients: 9, dropout: 0.1", "2:49", ["krum", "dropout: 0.1", "median"]),
    (
        "strategy: krum, clients: 9, stragglers: dropped",
        "2:52",
        ["krum", "stragglers: dropped(share=0.5)"],
    ),
    (
        "strategy: krum, clients: 9, sampling: poisson, fraction: 0.9",
        "2:50",
        ["krum", "sampling: poisson"],
    ),
    (
        "strategy: scaffold, optimizer: {name: sgd, lr: 1}, compression: int8",
        "2:76",
        ["control variate", "compression: none"],
    ),
    ("strategy: dpfedavg, compression: topk", "2:45", ["bounds the size", "compression: none"]),
]


def written(tmp_path: Path, line: str) -> Path:
    file = tmp_path / "suite.yaml"
    file.write_text(f"suite: s\ndefaults: {{{line}}}\n", encoding="utf-8")
    return file


@pytest.mark.parametrize(("line", "place", "fragments"), [*MALFORMED, *TOGETHER])
def test_what_is_wrong_is_one_clear_error_at_its_place(
    tmp_path: Path, line: str, place: str, fragments: list[str]
) -> None:
    file = written(tmp_path, line)
    with pytest.raises(SuiteError) as caught:
        load_suite(file).scenarios()
    message = str(caught.value)
    assert message.startswith(f"{file}:{place}: "), message
    for fragment in fragments:
        assert fragment in message, message


@pytest.mark.parametrize("line", [line for line, _, _ in TOGETHER])
def test_what_does_not_go_together_is_told_with_what_was_found_and_a_remedy(
    tmp_path: Path, line: str
) -> None:
    with pytest.raises(SuiteError) as caught:
        load_suite(written(tmp_path, line)).scenarios()
    assert caught.value.found
    assert caught.value.mend


@pytest.mark.parametrize(
    ("line", "settled"),
    [
        ("local_epochs: 5, local_steps: 20", {"local_epochs": 1, "local_steps": 20}),
        ("sampling: size", {"sampling": "uniform"}),
        ("sampling: size, fraction: 0.5", {"sampling": "size"}),
        ("strategy: dpfedavg", {"sampling": "poisson"}),
        ("strategy: dpfedavg, sampling: poisson", {"sampling": "poisson"}),
        (
            "strategy: fedsgd, optimizer: {name: sgd, lr: 1}, local_steps: 7",
            {"local_steps": None, "local_epochs": 1},
        ),
        (
            "strategy: centralized, sampling: size, dropout: 0.1, weights: steps, "
            "stragglers: partial, compression: int8, fraction: 0.5, local_steps: 3",
            {"sampling": "uniform", "dropout": 0.0, "weights": "samples", "local_steps": 3},
        ),
        ("strategy: local, compression: topk, dropout: 0.5", {"dropout": 0.0}),
    ],
)
def test_keys_without_a_meaning_have_one_value(
    tmp_path: Path, line: str, settled: dict[str, Any]
) -> None:
    (planned,) = load_suite(written(tmp_path, line)).scenarios()
    assert {key: getattr(planned.scenario, key) for key in settled} == settled
    if planned.scenario.strategy.name in ("centralized", "local"):
        assert planned.scenario.compression.name == planned.scenario.stragglers.name == "none"


def test_names_say_what_clients_do(tmp_path: Path) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text(
        "suite: s\ndefaults: {fraction: 0.5}\ngrid:\n"
        "  stragglers: [none, {name: partial, share: 0.1}]\n"
        "  compression: [none, topk]\n  local_steps: [none, 5]\n"
    )
    assert [p.name for p in load_suite(file).scenarios()] == [
        f"{late}-{steps}-{sent}"
        for late in ("no-stragglers", "stragglers-partial-share0.1")
        for sent in ("uncompressed", "topk")
        for steps in ("steps-none", "steps5")
    ]


def test_older_rows_and_identities_are_what_they_were() -> None:
    """Runs made before the keys existed keep their folders, and are read back whole."""
    old = {key: value for key, value in Scenario().row().items() if key not in CLIENT_KEYS}
    assert Scenario.from_row(old) == Scenario()
    private = Scenario(strategy=FAMILIES["strategy"].read("dpfedavg"), sampling="poisson")
    older = {key: value for key, value in private.row().items() if key not in CLIENT_KEYS}
    assert Scenario.from_row(older) == private
    assert Scenario(strategy=private.strategy).identity("d") != private.identity("d")
    assert all_plain(old)
    assert not all_plain(Scenario(dropout=0.1).row())
    # What the parts of a row without these keys hash to, found with the code before them.
    assert Scenario().identity("d") == "410d766ecdd79206"
    assert private.identity("d") == "59faf594c2fdf8c0"


@pytest.mark.parametrize(
    ("fields", "images"),
    [
        ({}, 1000),
        ({"fraction": 0.5}, 500),
        ({"sampling": "poisson", "fraction": 0.25}, 250),
        ({"dropout": 0.2}, 800),
        ({"stragglers": FAMILIES["stragglers"].read({"name": "dropped", "share": 0.4})}, 600),
        # Of seven steps a straggler makes one to six of 16 images: 56 on average.
        ({"stragglers": FAMILIES["stragglers"].read({"name": "partial", "share": 0.4})}, 824),
        ({"local_steps": 3}, 10 * 3 * 16),
        ({"local_steps": 3, "batch_size": None}, 10 * 3 * 100),
    ],
)
def test_the_plan_counts_who_takes_part(fields: dict[str, Any], images: int) -> None:
    assert training_images(Scenario(clients=10, rounds=1, **fields), 1000) == images


ROWS = """\
include:
  - strategy: fedavg
  - {sampling: size, fraction: 0.7, weights: uniform, local_steps: 3}
  - {sampling: poisson, fraction: 0.5, weights: steps}
  - {dropout: 0.5, seed: 1}
  - stragglers: {name: partial, share: 0.5}
  - stragglers: {name: dropped, share: 0.5}
  - compression: {name: topk, share: 0.02}
  - compression: int8
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """By name, every run of the rows above; and what the command printed."""
    folder = tmp_path_factory.mktemp("clients")
    tree, suite = write_tree(folder / "tree"), write_suite(folder / "s.yaml", ROWS, rounds=3)
    arguments = ("run", suite, "--data", tree, "--results", folder / "results")
    cache = folder / "cache"
    done = bench(*arguments, "--against", "none", cache=cache, before=NO_FIGURES)
    assert done.returncode == 0, done.stderr
    again = bench(*arguments, "--json", cache=cache)
    runs = [load_run(file.parent) for file in (folder / "results").glob("tiny/*/run.json")]
    return {
        "runs": {run.name: run for run in runs},
        "printed": done.stdout,
        "json": json.loads(again.stdout),
    }


def test_every_key_runs_from_a_suite_to_its_scores(ran: dict[str, Any]) -> None:
    assert len(ran["runs"]) == 8
    assert all(run.status == "done" for run in ran["runs"].values())
    assert len({run.hash for run in ran["runs"].values()}) == 8


def test_rounds_record_who_left_and_who_was_late(ran: dict[str, Any]) -> None:
    plain = ran["runs"]["fedavg"].rounds()
    assert all(not {"drawn", "dropped_out", "stragglers"} & r.keys() for r in plain)
    model = plain[0]["bytes_down"] // 3
    left = ran["runs"]["dropout0.5-seed1"].rounds()
    assert any(r["dropped_out"] for r in left)
    for r in left:
        drawn = r.get("drawn", r["clients"])
        assert sorted(r["clients"] + r["dropped_out"]) == drawn == [0, 1, 2]
        assert (r["bytes_up"], r["bytes_down"]) == (len(r["clients"]) * model, 3 * model)
        assert (r["loss"] is None) == (not r["clients"])
    for r in ran["runs"]["stragglers-dropped"].rounds():
        assert len(r["stragglers"]) == 2, "half of three, rounded up"
        assert sorted(r["clients"] + r["stragglers"]) == r["drawn"] == [0, 1, 2]
        assert r["bytes_up"] == model
    for r in ran["runs"]["stragglers-partial"].rounds():
        assert len(r["stragglers"]) == 2
        assert r["clients"] == [0, 1, 2]
        assert r["examples"] < plain[0]["examples"]
    poisson = ran["runs"]["fraction0.5-sampling-poisson-weights-steps"].rounds()
    assert len({len(r["clients"]) for r in poisson}) > 1
    assert all(r["bytes_up"] == len(r["clients"]) * model for r in poisson)


def test_three_steps_are_three_steps(ran: dict[str, Any]) -> None:
    run = next(run for name, run in ran["runs"].items() if "steps3" in name)
    assert [r["steps"] for r in run.rounds()] == [6, 6, 6]
    assert run.scenario["local_epochs"] == 1


def test_compressed_messages_are_smaller(ran: dict[str, Any]) -> None:
    plain, topk, int8 = (ran["runs"][n].totals for n in ("fedavg", "topk-share0.02", "int8"))
    assert topk["bytes_down"] == int8["bytes_down"] == plain["bytes_down"]
    assert topk["bytes_up"] < 0.1 * plain["bytes_up"]
    assert 0.24 * plain["bytes_up"] < int8["bytes_up"] < 0.3 * plain["bytes_up"]


def test_what_was_sent_stands_beside_the_auroc(ran: dict[str, Any]) -> None:
    assert "What was sent, and AUROC on the split 'valid'" in ran["printed"]
    runs = [ran["runs"][n] for n in ("fedavg", "topk-share0.02", "int8", "dropout0.5-seed1")]
    table = traffic_table(runs, "valid")
    assert table is not None
    plain, topk, int8, other = table.rows
    assert plain["share_up"] is None
    assert topk["share_up"] == runs[1].totals["bytes_up"] / runs[0].totals["bytes_up"]
    assert topk["difference"] == topk["auroc"] - plain["auroc"]
    assert int8["share_down"] == 1.0
    assert other["fedavg"] is None, "its seed is another"
    up = {row["run"]: row["bytes_up"] for row in ran["json"]["rows"]}
    assert up["int8"] == runs[2].totals["bytes_up"]


def test_local_steps_stand_against_the_epochs_where_there_is_one_number_of_them(
    tmp_path: Path,
) -> None:
    def run(name: str, up: int, **fields: Any) -> Run:
        totals = {"bytes_up": up, "bytes_down": up, "seconds": 1.0, "examples": 1}
        scenario = Scenario.from_row(SCENARIO.row() | fields)
        return write_run(tmp_path, name=name, scenario=scenario, totals=totals)

    two, steps = run("two", 10, local_epochs=2), run("steps", 20, local_steps=5)
    table = traffic_table([two, steps], "valid")
    assert table is not None
    assert [row["fedavg"] for row in table.rows] == [None, "two"]
    assert table.rows[1]["share_up"] == 2.0
    table = traffic_table([two, steps, run("three", 10, local_epochs=3)], "valid")
    assert table is not None
    assert [row["fedavg"] for row in table.rows] == [None] * 3


def test_without_a_difference_there_is_no_table(tmp_path: Path) -> None:
    one = write_run(tmp_path, name="one")
    two = write_run(tmp_path, name="two", scenario=Scenario.from_row(SCENARIO.row() | {"seed": 1}))
    assert traffic_table([one, two], "valid") is None
    assert traffic_table([one], "valid") is None


def test_a_run_older_than_the_keys_has_their_defaults(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    file = run.folder / "run.json"
    record = json.loads(file.read_text())
    for key in CLIENT_KEYS:
        del record["scenario"][key]
    file.write_text(json.dumps(record))
    assert load_run(run.folder).scenario == run.scenario


def test_a_comparison_of_runs_says_what_each_sent(tmp_path: Path) -> None:
    ours = write_run(tmp_path, name="ours", scores=some_scores(seed=1))
    totals = {**ours.totals, "bytes_up": 250_000}
    changed = Scenario.from_row(SCENARIO.row() | {"compression": {"name": "int8", "block": 512}})
    theirs = write_run(tmp_path, name="theirs", scenario=changed, totals=totals)
    notes = compare_runs(ours, theirs, "valid").notes
    assert "the scenarios differ in: compression" in notes
    assert (
        "sent in all: 8.0 kB to the server and 8.0 kB to clients, against "
        "250 kB to the server and 8.0 kB to clients"
    ) in notes
    same = write_run(tmp_path / "b", name="same", rounds=some_rounds([10.0] * 8))
    assert not any("sent" in note for note in compare_runs(ours, same, "valid").notes)


def test_the_page_shows_what_was_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ran: dict[str, Any]
) -> None:
    folder = ran["runs"]["fedavg"].folder.parent
    page = tmp_path / "page.html"
    assert call(capsys, "report", folder, "-o", page, "--against", "none").code == 0
    text = page.read_text()
    assert "What was sent, and AUROC on the split" in text
    assert "From FedAvg" in text
