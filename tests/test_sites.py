"""Several trees given to ``bench`` as sites: runs, records, scores by site, and refusals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from bench.data.chexpert import MARKER
from bench.data.joining import read_sites
from bench.data.stacked import Stacked
from bench.report.page import report_page
from bench.report.run_tables import site_table
from bench.results.run import Run, find_runs
from bench.runs.radiographs import RadiographData
from bench.training.images import ImageStore
from tests.in_process import Ended, call, without_figures
from tests.tiny_tree import environment, write_suite, write_tree

SITES = """\
  partition: {name: natural, column: site}
grid: {strategy: [local, fedavg]}
"""
OBSERVATIONS = "[Cardiomegaly, Edema, Fracture]"
Bench = Callable[..., Ended]


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Bench:
    """``bench`` in this process, with a cache of its own, no data but what is named, no figures."""
    for name in ("CHEXPERT_ROOT", "MNIST_ROOT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment(tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    without_figures(monkeypatch)
    return lambda *arguments: call(capsys, *arguments)


@pytest.fixture
def alpha(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "alpha", seed=1)


@pytest.fixture
def beta(tmp_path: Path) -> Path:
    """A tree whose patients have the numbers of alpha's."""
    return write_tree(tmp_path / "beta", test=True, seed=2)


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    file = write_suite(tmp_path / "s.yaml", SITES, observations=OBSERVATIONS, rounds=1)
    file.write_text(file.read_text().replace("clients: 3", "clients: 2"))
    return file


def without(tree: Path, *columns: str) -> Path:
    """Takes columns out of a tree's label files."""
    for file in tree.glob("*.csv"):
        header, *rows = (line.split(",") for line in file.read_text().splitlines())
        kept = [i for i, title in enumerate(header) if title not in columns]
        text = "\n".join(",".join(row[i] for i in kept) for row in [header, *rows])
        file.write_text(text + "\n")
    return tree


def runs(results: Path) -> dict[str, Run]:
    return {run.name: run for run in find_runs([results])}


def test_a_federation_of_two_trees(
    suite: Path, alpha: Path, beta: Path, here: Bench, tmp_path: Path
) -> None:
    """From the command line to the files: what a researcher with two hospitals does first."""
    results = tmp_path / "results"
    done = here("run", suite, "--results", results, "--data", alpha, "--data", f"two={beta}")
    assert done.code == 0, done.err
    assert "site alpha: 32 train, 10 valid images" in done.err
    assert "AUROC by site on the split 'valid'" in done.out
    found = runs(results)
    run = found["fedavg"]
    assert run.data["name"] == "alpha + two"
    assert run.data["partition"]["names"] == ["alpha", "two"]
    assert list(run.data["sites"]) == ["alpha", "two"]
    two = run.data["sites"]["two"]
    assert (two["name"], two["synthetic"], two["unlabelled"]) == ("CheXpert-tiny", False, [])
    assert two["splits"]["train"]["patients"] == 24
    assert run.data["splits"]["train"]["patients"] == 48
    assert str(tmp_path) not in json.dumps(run.data)
    scores = run.scores("valid")
    assert len(set(scores.studies.tolist())) == 16
    assert scores.studies[0] == "alpha/patient00025/study1"
    assert scores.patients[-1] == "two/patient00032"
    assert list(run.metrics["test"]["sites"]) == ["two"]
    assert found["local"].data["partition"] == run.data["partition"]


def test_scores_by_site_are_those_of_its_studies_alone(
    suite: Path, alpha: Path, beta: Path, here: Bench, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    ended = here("run", suite, "--data", alpha, "--data", beta, "--results", results, "--json")
    assert ended.code == 0, ended.err
    rows = {row["run"]: row for row in json.loads(ended.out)["rows"]}
    for name, run in runs(results).items():
        scores = run.scores("valid")
        column = scores.observations.index("Cardiomegaly")
        sites = run.metrics["valid"]["sites"]
        assert rows[name]["sites"] == sites
        for site in ("alpha", "beta"):
            own = np.array([study.startswith(f"{site}/") for study in scores.studies.tolist()])
            each = [
                roc_auc_score(scores.labels[own, column], member[own, column])
                for member in scores.scores
            ]
            entry = sites[site]["observations"]["Cardiomegaly"]
            assert entry["auroc"] == pytest.approx(np.mean(each))
            assert (entry["n"], entry["positives"], sites[site]["n"]) == (8, 4, 8)
            if name == "local":
                members = sites[site]["by_member"]
                assert [m["auroc"]["Cardiomegaly"] for m in members.values()] == pytest.approx(each)
    table = site_table(list(runs(results).values()), "valid")
    assert table is not None
    local = next(r for r in table.rows if (r["run"], r["site"]) == ("local", "beta"))
    own_model = runs(results)["local"].metrics["valid"]["sites"]["beta"]["by_member"]["client-1"]
    assert local["own"] == own_model["mean_auroc"]
    page = report_page(list(runs(results).values()))
    assert "AUROC by site" in page
    assert "site beta" in page


def test_the_order_of_trees_and_where_they_lie_make_no_other_run(
    suite: Path, alpha: Path, beta: Path, here: Bench, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    here("run", suite, "--data", alpha, "--data", beta, "--results", results, "-k", "fedavg")
    moved = alpha.rename(tmp_path / "moved")
    ended = here(
        "plan", suite, "--data", beta, "--data", f"alpha={moved}", "--results", results, "--json"
    )
    states = {row["scenario"]: row["status"] for row in json.loads(ended.out)["rows"]}
    assert states == {"local": "to do", "fedavg": "done"}
    ended = here("plan", suite, "--data", beta, "--data", moved, "--results", results, "--json")
    assert {row["status"] for row in json.loads(ended.out)["rows"]} == {"to do"}


def test_a_tree_that_was_packed_alone_is_not_packed_again(
    suite: Path, alpha: Path, beta: Path, here: Bench, tmp_path: Path
) -> None:
    ended = here("data", "pack", alpha, "--size", "32")
    assert ended.code == 0, ended.err
    packs = tmp_path / "cache" / "packs"
    before = {file.name: file.stat().st_mtime_ns for file in packs.glob("*.npy")}
    ended = here("run", suite, "--data", alpha, "--data", beta, "--results", tmp_path / "r")
    assert ended.code == 0, ended.err
    after = {file.name: file.stat().st_mtime_ns for file in packs.glob("*.npy")}
    assert before.items() <= after.items()
    assert len(after) == len(before) + 3  # beta's train, valid and test


def test_images_stay_in_the_packs_of_their_trees(alpha: Path, beta: Path, tmp_path: Path) -> None:
    data = RadiographData(tree=read_sites({"alpha": alpha, "beta": beta}))
    images = data.prepare(32, cache=tmp_path / "cache", on_bad_image="fail").images
    assert isinstance(images, Stacked)
    assert [isinstance(part, np.memmap) for part in images.parts] == [True, True]
    store = ImageStore(images, torch.device("cpu"))
    for part, tensor in zip(images.parts, store._parts, strict=True):
        assert np.shares_memory(part, tensor.numpy())


def merged(alpha: Path, beta: Path, root: Path) -> Path:
    """One tree of the same images in the same order, with a column ``site`` and new numbers."""
    lines: dict[str, list[str]] = {"train": [], "valid": []}
    for site, tree in ((1, alpha), (2, beta)):
        for split in lines:
            header, *rows = (tree / f"{split}.csv").read_text().splitlines()
            lines[split] = lines[split] or [f"{header},site"]
            for row in rows:
                path, rest = row.removeprefix("CheXpert-tiny/").split(",", 1)
                new = path.replace("patient000", f"patient{site}00")
                (root / new).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(tree / path, root / new)
                lines[split].append(f"{new},{rest},{tree.name}")
    for split, text in lines.items():
        (root / f"{split}.csv").write_text("\n".join(text) + "\n")
    return root


def test_sites_train_as_one_tree_of_all_images_does(
    suite: Path, alpha: Path, beta: Path, here: Bench, tmp_path: Path
) -> None:
    """Joined in memory or on disk: the same bits, for the global model and for each client's."""
    (beta / "test.csv").unlink()
    one = merged(alpha, beta, tmp_path / "merged")
    joined, whole = tmp_path / "joined", tmp_path / "whole"
    assert here("run", suite, "--data", alpha, "--data", beta, "--results", joined).code == 0
    assert here("run", suite, "--data", one, "--results", whole).code == 0
    for name, run in runs(joined).items():
        other = runs(whole)[name]
        assert run.weights_sha256 == other.weights_sha256
        assert run.metrics == other.metrics
        assert run.hash != other.hash


def test_an_observation_that_one_site_never_labels(
    suite: Path, alpha: Path, beta: Path, here: Bench, tmp_path: Path
) -> None:
    without(beta, "Edema", "AP/PA", "Sex")
    results = tmp_path / "results"
    ended = here("run", suite, "--data", alpha, "--data", beta, "--results", results)
    assert ended.code == 0, ended.err
    assert "beta has no label for Edema: left out of the loss there" in ended.err
    run = runs(results)["fedavg"]
    assert run.data["sites"]["beta"]["unlabelled"] == ["Edema"]
    sites = run.metrics["valid"]["sites"]
    assert sites["beta"]["observations"]["Edema"]["n"] == 0
    assert sites["beta"]["observations"]["Edema"]["undefined"]
    pooled = run.metrics["valid"]["observations"]["Edema"]
    assert pooled == sites["alpha"]["observations"]["Edema"]


def test_a_site_that_is_only_tested_on_is_no_client(
    suite: Path, alpha: Path, beta: Path, here: Bench, tmp_path: Path
) -> None:
    other = write_tree(tmp_path / "gamma", test=True, seed=3)
    for name in ("train.csv", "valid.csv"):
        (other / name).unlink()
    results = tmp_path / "results"
    trees = [part for tree in (alpha, beta, other) for part in ("--data", tree)]
    ended = here("run", suite, *trees, "--results", results, "-k", "fedavg")
    assert ended.code == 0, ended.err
    run = runs(results)["fedavg"]
    assert run.data["partition"]["names"] == ["alpha", "beta"]
    assert list(run.data["sites"]["gamma"]["splits"]) == ["test"]
    assert list(run.metrics["test"]["sites"]) == ["beta", "gamma"]


def test_one_synthetic_site_is_said_everywhere(
    suite: Path, alpha: Path, beta: Path, here: Bench, tmp_path: Path
) -> None:
    (beta / MARKER).write_text('{"synthetic": true}')
    results = tmp_path / "results"
    arguments = ["--data", alpha, "--data", beta]
    ended = here("run", suite, *arguments, "--results", results, "-k", "fedavg")
    assert "SYNTHETIC DATA: the site beta is generated" in ended.err
    run = runs(results)["fedavg"]
    assert run.synthetic
    assert [site["synthetic"] for site in run.data["sites"].values()] == [False, True]
    for command in (["partition", suite, *arguments], ["data", "info", alpha, beta]):
        assert "SYNTHETIC" in here(*command).out.upper()


def test_images_that_cannot_be_read_are_counted_by_site(
    suite: Path, alpha: Path, beta: Path, here: Bench, tmp_path: Path
) -> None:
    (beta / "train/patient00001/study1/view1_frontal.png").write_bytes(b"no image")
    arguments = ["run", suite, "--data", alpha, "--data", beta, "--results", tmp_path / "r"]
    refused = here(*arguments, "-k", "fedavg")
    assert refused.code == 2
    assert f"{beta / 'train.csv'}:2" in refused.err
    ended = here(*arguments, "-k", "fedavg", "--on-bad-image", "skip")
    assert ended.code == 0, ended.err
    run = runs(tmp_path / "r")["fedavg"]
    skipped = [site["splits"]["train"]["skipped"] for site in run.data["sites"].values()]
    assert skipped == [0, 1]
    assert run.data["splits"]["train"]["patients"] == 47
    assert sum(run.data["partition"]["sizes"]) == run.data["splits"]["train"]["images"]


def test_label_policies_by_site(
    suite: Path, alpha: Path, beta: Path, here: Bench, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    data = ["--data", alpha, "--data", beta, "--results", results]
    arguments = ["run", suite, *data, "-k", "fedavg"]

    def weights(policy: str) -> str | None:
        before = {run.hash for run in find_runs([results])} if results.exists() else set()
        ended = here(*arguments, "-s", f"label_policy={policy}")
        assert ended.code == 0, ended.err
        (made,) = [run for run in find_runs([results]) if run.hash not in before]
        return made.weights_sha256

    by_site = weights("{sites: {alpha: u-ones, beta: u-zeros}}")
    assert weights("[u-ones, u-zeros]") == by_site
    assert weights("[u-zeros, u-ones]") != by_site
    wrong = here(*arguments, "-s", "label_policy={sites: {alpha: u-ones, gamma: u-zeros}}")
    assert wrong.code == 2
    assert "unknown: gamma" in wrong.err
    assert "policies for alpha, beta" in wrong.err


def test_mixed_policies_fit_no_row_of_the_paper(
    suite: Path, alpha: Path, beta: Path, here: Bench, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    policies = "label_policy=[{Edema: u-ones, others: u-zeros}, u-zeros]"
    data = ["--data", alpha, "--data", beta]
    ended = here("run", suite, *data, "--results", results, "-s", policies, "-k", "fedavg")
    assert ended.code == 0, ended.err
    compared = here("compare", results, "--json")
    rows = {row["condition"]: row for row in json.loads(compared.out)["rows"]}
    assert rows["Edema"]["theirs"] is None
    reason = "the clients' label policies differ, and the table has a row for each"
    assert reason in rows["Edema"]["verdict"]
    assert rows["Cardiomegaly"]["theirs"] == 0.84  # Irvin 2019, Table 3, U-Zeros
    assert "Edema u-ones or u-zeros by client" in compared.out


REFUSED: list[Any] = [
    pytest.param(["{a}", "{b}/../alpha"], ["one tree is given twice", "leave one"], id="twice"),
    pytest.param(["{a}", "alpha={b}"], ["two sites are called 'alpha'", "alpha-1="], id="names"),
    pytest.param(["x={a}", "y={a}"], ["'x' and 'y' are the same data"], id="twice, named"),
    pytest.param(["{a}", "{b}x"], ["beta" + "x: --data names a folder that"], id="missing"),
    pytest.param(["{a}", "two={b}x"], ["betax: --data names a folder that"], id="missing, named"),
    pytest.param(["{a}", "=x"], ["--data names a folder that does not exist"], id="no name"),
    pytest.param(["{a}", "t/wo={b}"], ["does not exist"], id="a path with an equals sign"),
    pytest.param(["{a}", "-x={b}"], ["a site cannot be called '-x'"], id="name"),
]


@pytest.mark.parametrize("command", ["run", "plan", "partition"])
@pytest.mark.parametrize(("given", "parts"), REFUSED)
def test_what_cannot_be_joined(
    suite: Path,
    alpha: Path,
    beta: Path,
    here: Bench,
    command: str,
    given: list[str],
    parts: list[str],
) -> None:
    data = [f"--data={text.format(a=alpha, b=beta)}" for text in given]
    ended = here(command, suite, *data)
    assert ended.code == 2
    for part in parts:
        assert part in ended.err


def test_more_clients_than_sites(suite: Path, alpha: Path, beta: Path, here: Bench) -> None:
    data = ["--data", alpha, "--data", beta]
    ended = here("partition", suite, *data, "-s", "clients=3")
    assert ended.code == 2
    assert "site has 2 values for 3 clients" in ended.err
    assert "-s clients=2" in ended.err
    assert "alpha, beta" in ended.err
    alone = here("partition", suite, "--data", alpha)
    assert "each with --data" in alone.err


def test_a_named_tree_is_a_site_of_its_own(suite: Path, alpha: Path, here: Bench) -> None:
    ended = here("partition", suite, "--data", f"one={alpha}", "-s", "clients=1", "--json")
    assert [row["client"] for row in json.loads(ended.out)["rows"]] == ["one"]


def test_digits_are_one_folder(here: Bench, alpha: Path, beta: Path) -> None:
    ended = here("plan", "mcmahan2017", "--data", alpha, "--data", beta)
    assert ended.code == 2
    assert "mnist is one folder" in ended.err


def test_data_info_and_pack_take_several_trees(alpha: Path, beta: Path, here: Bench) -> None:
    document = json.loads(here("data", "info", alpha, f"two={beta}", "--json").out)
    assert document["splits"]["train"]["totals"]["patients"] == 48
    sites = document["sites"]
    assert {name: own["splits"]["train"]["totals"]["patients"] for name, own in sites.items()} == {
        "alpha": 24,
        "two": 24,
    }
    assert "patient ids at both alpha and two: 32, taken for" in " ".join(document["warnings"])
    image = "train/patient00001/study1/view1_frontal.png"
    shutil.copy(alpha / image, beta / image)
    warnings = json.loads(here("data", "info", alpha, beta, "--images", "--json").out)["warnings"]
    (copies,) = [text for text in warnings if "same content" in text]
    assert f"alpha/{image} = beta/{image}" in copies
    packed = json.loads(here("data", "pack", alpha, beta, "--size", "8", "--json").out)
    assert [(row["site"], row["split"]) for row in packed["rows"]] == [
        ("alpha", "train"),
        ("alpha", "valid"),
        ("beta", "train"),
        ("beta", "valid"),
        ("beta", "test"),
    ]
