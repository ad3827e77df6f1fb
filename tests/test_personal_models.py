"""Strategies that leave clients with models of their own are scored by those as well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.results.run import find_runs
from tests.in_process import call
from tests.tiny_tree import environment, write_suite, write_tree

PERSONAL = "grid: {strategy: [fedavg, fedbn, fedper]}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("personal")


def test_each_client_s_model_is_scored(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in environment(folder / "cache").items():
        monkeypatch.setenv(name, value)
    tree = write_tree(folder / "tree")
    suite = write_suite(folder / "s.yaml", PERSONAL)
    # A rate at which the clients' models come to rank eight studies differently.
    faster = ("-s", "optimizer.lr=0.2")
    done = call(capsys, "run", suite, "--data", tree, "--results", folder / "results", *faster)
    assert done.code == 0, done.err
    assert "Clients' own" in done.out
    runs = {run.name: run for run in find_runs([folder / "results"])}
    assert "personal" not in runs["fedavg"].metrics["valid"]
    for name in ("fedbn", "fedper"):
        personal = runs[name].metrics["valid"]["personal"]
        assert personal["members"] == 3
        alone = {name: entry["mean_auroc"] for name, entry in personal["by_member"].items()}
        assert list(alone) == ["client-0", "client-1", "client-2"]
        assert personal["mean_auroc"] == pytest.approx(np.mean(list(alone.values())))
        assert len(set(alone.values())) > 1
        assert runs[name].metrics["valid"]["members"] == 1


def test_privacy_spent_is_in_every_round(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in environment(folder / "cache").items():
        monkeypatch.setenv(name, value)
    tree = write_tree(folder / "private")
    rows = (
        "grid: {strategy: [{name: dpfedavg, clip: 1.0, noise_multiplier: 1.0}]}\n"
        "include: [{strategy: {name: dpfedavg, clip: 1.0, noise_multiplier: 0.0}}]\n"
    )
    suite = write_suite(folder / "dp.yaml", rows, observations="[Cardiomegaly, Edema]")
    done = call(
        capsys, "run", suite, "--data", tree, "--results", folder / "dp", "-s", "buffers=groupnorm"
    )
    assert done.code == 0, done.err
    spent = {
        run.scenario["strategy"]["noise_multiplier"]: [r["epsilon"] for r in run.rounds()]
        for run in find_runs([folder / "dp"])
    }
    assert spent[0.0] == [None, None]
    assert 0 < spent[1.0][0] < spent[1.0][1]
