"""Published tables: what is transcribed equals its source, and what is malformed is explained."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from bench.baselines import (
    ALIASES,
    AVERAGE,
    GROUPS,
    Baseline,
    Value,
    library,
    list_baselines,
    load_baseline,
    load_group,
    read_baseline,
)
from bench.errors import BaselineError
from bench.locations import shipped
from bench.observations import COMPETITION, OBSERVATIONS
from bench.report.baseline_table import baseline_table, list_table
from bench.report.render import FORMATS, render
from tests.processes import process
from tests.shared_data import published

Key = tuple[str, str, str, str]
"""Baseline, method, condition, metric."""
Figure = tuple[float | None, tuple[float, float] | None]

AUC, READERS = "AUROC", "Readers below the curve"
METRICS = {
    "AUROC": AUC,
    "AUROC (dev mAUC)": AUC,
    "AUROC (bootstrap mean)": AUC,
    "AUROC (best over evals)": AUC,
    "AUC": AUC,
    "AUPRC": "AUPRC",
    "ACC": "Accuracy",
    "NumRadsUnderROC": READERS,
}
POLICIES = ("U-Ignore", "U-Zeros", "U-Ones", "U-SelfTrained", "U-MultiClass")
FINAL = ("irvin2019-test", "CheXpert final model")
JF = ("jfhealthcare-valid", "DenseNet121, released weights")
DEEP_AUC = ("yuan2021-test", "DeepAUC-v1 ensemble")
KAMEN = (
    "densenet121_baseline (random init)",
    "densenet121_pretrained (ImageNet)",
    "densenet121_attn_aug",
    "efficientnet-b0_data_aug",
    "efficientnet-b4_data_aug",
    "resnet152_baseline",
    "resnet152_pretrained",
    "rerun 1 single",
    "rerun 2 single",
    "rerun 3 single",
)
METHODS: dict[str, dict[str, tuple[str, str]]] = {
    "irvin2019_table3_validation.yaml": {name: ("irvin2019-valid", name) for name in POLICIES},
    "irvin2019_figure3_test.yaml": {
        "CheXpert final model (U-Ones)": FINAL,
        "CheXpert final model (U-MultiClass)": FINAL,
        "CheXpert final model (U-SelfTrained)": FINAL,
        "Stanford Baseline (ensemble) leaderboard entry": FINAL,
    },
    "jfhealthcare_pcam.yaml": {
        "single DenseNet121 pre_train.pth (512x512, PCAM repo)": JF,
        "same": JF,
        "global_pool=AVG": (JF[0], "global_pool=AVG"),
        "global_pool=LSE": (JF[0], "global_pool=LSE"),
        "global_pool=PCAM (earlier README: PROB)": (JF[0], "global_pool=PCAM"),
        "user retrain, default config": (JF[0], "a user's retraining, default settings"),
    },
    "kamenbliznashki_replication.yaml": {name: ("kamenbliznashki-valid", name) for name in KAMEN},
    "chexzero_test.yaml": {
        "CheXzero zero-shot, 10-checkpoint ensemble": (
            "chexzero-test",
            "CheXzero zero-shot, 10 checkpoints",
        ),
        "CheXzero zero-shot": ("chexzero-test", "CheXzero zero-shot, 10 checkpoints"),
    },
    "pham2019_hierarchical_lsr.yaml": {
        "ensemble": ("pham2019-valid", "ensemble"),
        "U-Ones+CT+LSR": ("pham2019-valid", "U-Ones+CT+LSR"),
        "Hierarchical-Learning-V1 ensemble": ("pham2019-test", "Hierarchical-Learning-V1 ensemble"),
    },
    "yuan2021_deep_auc.yaml": {
        "DeepAUC-v1 ensemble (of 5 models, LibAUC issue #33)": DEEP_AUC,
        "DeepAUC-v1 ensemble": DEEP_AUC,
        "DAM per-label table": ("yuan2021-test", "DAM per condition"),
        "LibAUC script 05 single DenseNet121 run by a user": (
            "yuan2021-valid",
            "a user's run of LibAUC script 05, DenseNet121",
        ),
        "LibAUC notebook 05, cross-entropy pretraining only, 1 epoch, 224x224, frontal": (
            "yuan2021-valid",
            "LibAUC example 05, cross-entropy only, 1 epoch",
        ),
    },
    "chestxray14_wang_chexnet.yaml": {
        "Wang et al. 2017 (as quoted by CheXNet)": ("chexnet2017", "Wang et al. 2017"),
        "Yao et al. 2017 (as quoted by CheXNet)": ("chexnet2017", "Yao et al. 2017"),
        "CheXNet DenseNet121": ("chexnet2017", "CheXNet DenseNet121"),
        "arnoweng CheXNet reimplementation (ten-crop)": (
            "arnoweng-chexnet",
            "DenseNet121, ten crops",
        ),
    },
}
"""Where each method of a source went. A record of any other method must be in LEFT_OUT."""
LEFT_OUT = {
    ("irvin2019_table3_validation.yaml", "U-Mean (do not use as published)"),
}


def source(name: str) -> dict[str, Any]:
    return YAML(typ="safe").load(published(name).read_text())


def figure(record: dict[str, Any]) -> Figure:
    ci = record.get("ci95")
    return record["value"], None if ci is None else (ci[0], ci[1])


def condition(task: str) -> str:
    return AVERAGE if task.startswith("mean of") else task


def simple(name: str) -> Iterator[tuple[Key, Figure, dict[str, Any]]]:
    """The records of a file that has one a method and task."""
    for record in source(name)["records"]:
        if (name, record["method"]) in LEFT_OUT:
            continue
        baseline, method = METHODS[name][record["method"]]
        key = (baseline, method, condition(record["task"]), METRICS[record["metric"]])
        yield key, figure(record), record


def figures_of(*ids: str) -> dict[Key, Figure]:
    """Every value of those baselines; several rows of one name are told apart by ``by_setting``."""
    found: dict[Key, Figure] = {}
    for name in ids:
        for row in load_baseline(name).rows:
            for value in row.values:
                key = (name, row.method, value.condition, value.metric)
                assert key not in found
                found[key] = (value.value, value.ci)
    return found


@pytest.fixture(scope="module")
def baselines() -> list[Baseline]:
    return list_baselines()


@pytest.mark.parametrize("name", METHODS)
def test_every_record_is_transcribed_and_nothing_else(name: str) -> None:
    expected: dict[Key, Figure] = {}
    for key, value, _ in simple(name):
        assert key not in expected
        expected[key] = value
    assert figures_of(*dict.fromkeys(key[0] for key in expected)) == expected


@pytest.mark.parametrize("name", METHODS)
def test_split_level_n_and_confidence_are_those_of_the_source(name: str) -> None:
    for key, (published_value, _), record in simple(name):
        baseline = load_baseline(key[0])
        row = baseline.row(key[1])
        assert row is not None
        value = row.get(key[2], key[3])
        assert value is not None
        if record["split"] is not None:
            assert record["split"].split()[0] == baseline.split
        if published_value is not None and (record["level"] or "not").startswith("not"):
            assert baseline.level is None
        elif published_value is not None:
            assert record["level"].split()[0] == baseline.level
        if published_value is not None:
            assert value.n == record["n"]
            stated = record["confidence"].split()[0].rstrip(";:,")
            assert value.confidence == {"single": "single-source"}.get(stated, stated)


def test_policies_of_the_validation_table_are_benchs_own_names() -> None:
    baseline = load_baseline("paper:valid")
    assert [row.policy for row in baseline.rows] == [name.lower() for name in POLICIES]
    facts = source("irvin2019_table3_validation.yaml")
    assert dict(baseline.positives) == facts["valid_positives_study_level"]
    test = load_baseline("paper:test")
    chosen = {v.condition: v.policy for v in test.values_for() if v.condition != AVERAGE}
    assert chosen == {k: v.lower() for k, v in facts["policy_chosen_per_task"].items()}


def test_the_leaderboard_has_all_its_rows_in_order() -> None:
    expected = [
        (r["rank"], r["date"], r["model"], r["institution"], r["value"], float(r["num_rads"]))
        for r in source("chexpert_leaderboard.yaml")["records"]
    ]
    found = []
    for row in load_baseline("leaderboard").rows:
        mean, readers = row.get(AVERAGE), row.get(AVERAGE, READERS)
        assert mean is not None
        assert readers is not None
        setting = row.setting
        found.append(
            (
                setting["rank"],
                setting["date"],
                row.method,
                setting["institution"],
                mean.value,
                readers.value,
            )
        )
    assert len(found) == 216
    assert found == expected


def test_the_leaderboards_figures_agree_with_the_systems_of_their_own() -> None:
    by_rank = {row.setting["rank"]: row.get(AVERAGE) for row in load_baseline("leaderboard").rows}
    for name, rank in (("irvin2019-test", 98), ("pham2019-test", 2), ("yuan2021-test", 1)):
        ours, theirs = load_baseline(name).rows[0].get(AVERAGE), by_rank[rank]
        assert ours is not None
        assert theirs is not None
        assert ours.value == theirs.value


READER_METRICS = {
    "sensitivity": "Sensitivity",
    "one_minus_specificity": "False positive rate",
    "precision": "Precision",
    "tp": "True positives",
    "fn": "False negatives",
    "fp": "False positives",
    "tn": "True negatives",
}


def test_readers_at_full_precision_equal_their_source() -> None:
    expected = {
        ("chexpert-test-readers", record["reader"], record["task"], name): (record[key], None)
        for record in source("chexpert_test_radiologists.yaml")["records"]
        for key, name in READER_METRICS.items()
    }
    assert figures_of("chexpert-test-readers") == expected


def test_readers_as_printed_equal_their_source() -> None:
    names = {"sensitivity": "Sensitivity", "fpr": "False positive rate", "precision": "Precision"}
    expected = {
        ("irvin2019-test-readers", record["operator"], record["task"], name): (record[key], None)
        for record in source("irvin2019_figure3_test.yaml")["operating_points"]
        for key, name in names.items()
    }
    assert figures_of("irvin2019-test-readers") == expected


def test_readers_follow_from_their_counts_and_round_to_what_is_printed() -> None:
    full, printed = load_baseline("chexpert-test-readers"), load_baseline("irvin2019-test-readers")
    pairs = {"Rad1": "bc4", "Rad2": "bc6", "Rad3": "bc8", "RadMaj": "majority_of_3"}
    for label, reader in pairs.items():
        exact, rounded = full.row(reader), printed.row(label)
        assert exact is not None
        assert rounded is not None
        for name in OBSERVATIONS:
            tp, fn, fp, tn = (_figure(exact.get(name, READER_METRICS[k])) for k in COUNTS)
            assert tp + fn == full.positives[name]
            assert tp + fn + fp + tn == 500
            derived = {"Sensitivity": tp / (tp + fn), "False positive rate": fp / (fp + tn)}
            derived["Precision"] = tp / (tp + fp)
            for metric, value in derived.items():
                assert _figure(exact.get(name, metric)) == pytest.approx(value, abs=5.1e-7)
                if name in COMPETITION:
                    assert abs(value - _figure(rounded.get(name, metric))) <= 0.005 + 1e-9


COUNTS = ("tp", "fn", "fp", "tn")


def _figure(value: Value | None) -> float:
    assert value is not None
    assert value.value is not None
    return value.value


def test_positives_of_every_test_table_are_the_released_labels(baselines: list[Baseline]) -> None:
    truth = load_baseline("chexpert-test-readers").positives
    tables = [b for b in baselines if (b.dataset, b.split) == ("CheXpert", "test")]
    assert len(tables) > 5
    for baseline in tables:
        assert dict(baseline.positives).items() <= dict(truth).items()


def test_label_counts_equal_their_source() -> None:
    expected: dict[Key, Figure] = {}
    for record in source("irvin2019_table1_dataset.yaml")["records"]:
        for key, (name, method) in {
            "published": ("irvin2019-counts", "published"),
            "computed_study": ("irvin2019-counts", "recomputed from train.csv"),
            "computed_image": ("chexpert-train-image-counts", "all views"),
            "computed_frontal_image": ("chexpert-train-image-counts", "frontal views"),
        }.items():
            counts = record[key]
            metrics = {"Positive": counts["positive"], "Uncertain": counts["uncertain"]}
            metrics["Negative"] = counts.get("explicit_negative", counts.get("negative"))
            if "blank" in counts:
                metrics["Blank"] = counts["blank"]
            for metric, count in metrics.items():
                expected[name, method, record["label"], metric] = (count, None)
    assert figures_of("irvin2019-counts", "chexpert-train-image-counts") == expected


def test_label_counts_add_up_to_their_n() -> None:
    for name in ("irvin2019-counts", "chexpert-train-image-counts"):
        baseline = load_baseline(name)
        assert baseline.conditions == OBSERVATIONS
        for row in baseline.rows:
            for observation in OBSERVATIONS:
                counts = [v for v in row.values if v.condition == observation]
                assert sum(_figure(v) for v in counts) == counts[0].n


def test_medmnist_equals_its_source() -> None:
    where = {"PneumoniaMNIST": ("medmnist-pneumonia", "Pneumonia")}
    where["ChestMNIST"] = ("medmnist-chest", "All labels")
    facts = source("medmnist_v2.yaml")
    expected = {}
    for record in facts["records"]:
        name, label = where[record["dataset"]]
        expected[name, record["method"], label, METRICS[record["metric"]]] = figure(record)
        assert load_baseline(name).n == record["n"] == facts["sizes"][record["dataset"]]["test"]
    assert figures_of("medmnist-pneumonia", "medmnist-chest") == expected


def test_federated_figures_equal_their_source() -> None:
    records = source("fl_cxr_settings.yaml")["records"]
    expected: dict[Key, Figure] = {}
    for record in records:
        if record["paper"].startswith("Chakravarty"):
            method = "modified FedAvg, shared CNN, site-specific GNN"
            key = ("chakravarty2021", method, "All conditions", AUC)
            expected[key] = (record["value"], None)
        elif record["paper"].startswith("Ziegler"):
            for one in record["values"]:
                expected["ziegler2022", one["model"], "Any finding", AUC] = (one["auroc"], None)
    assert figures_of("chakravarty2021", "ziegler2022") == expected


def fedavg(records: list[dict[str, Any]]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Rounds, speed-up and n of every cell of Tables 1 to 3 by table and setting."""
    cells: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for r in records:
        if r["table"] == 4:
            assert r["value"] is None
            continue
        speedup = [value for key, value in r.items() if key.startswith("speedup")]
        if r["table"] == 3:
            key = (3, r["algorithm"], r["target"])
        else:
            where = r["partition"].split()[0]
            setting = (r.get("algorithm"), r.get("E"), str(r["B"]), float(r["C"]), r.get("u"))
            key = (r["table"], r["model"].split()[0], where, *setting)
        assert key not in cells
        cells[key] = (r["value"], *speedup, r["n"])
    return cells


def test_fedavg_tables_equal_their_source() -> None:
    expected = fedavg(source("fedavg2017_tables.yaml")["records"])
    found: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for baseline in load_group("mcmahan2017"):
        table = int(baseline.id.split("table")[1][0])
        for row in baseline.rows:
            for rounds in row.of("Rounds"):
                speedup = row.get(rounds.condition, "Speed-up")
                assert speedup is not None
                s = row.setting
                if table == 3:
                    key: tuple[Any, ...] = (3, row.method, rounds.condition.replace(" %", "%"))
                else:
                    model = {1: s.get("model"), 2: baseline.dataset}[table]
                    inner = (s["E"], s["u"]) if table == 2 else (None, None)
                    setting = (s.get("algorithm"), inner[0], str(s["B"]), float(s["C"]), inner[1])  # type: ignore[arg-type]
                    key = (table, model, rounds.condition, *setting)
                found[key] = (rounds.value, speedup.value, rounds.n)
    assert found == expected
    assert len(found) == 40 + 18 + 12 + 9


@pytest.mark.parametrize("name", GROUPS["mcmahan2017"])
def test_fedavg_speedups_follow_from_the_rounds(name: str) -> None:
    checked = 0
    reference: dict[tuple[Any, str], float] = {}
    for row in load_baseline(name).rows:
        for rounds in row.of("Rounds"):
            speedup = row.get(rounds.condition, "Speed-up")
            assert speedup is not None
            # Table 1 holds each model and batch against C = 0; the others against their first row.
            group = (row.setting.get("model"), row.setting.get("B")) if "table1" in name else None
            if speedup.missing == "reference row":
                reference[group, rounds.condition] = _figure(rounds)
            elif speedup.value is not None and rounds.value is not None:
                first = reference[group, rounds.condition]
                # Rounds are themselves printed without their fraction.
                low = (first - 0.5) / (rounds.value + 0.5) - 0.05
                high = (first + 0.5) / (rounds.value - 0.5) + 0.05
                assert low <= speedup.value <= high, (row.method, rounds.condition)
                checked += 1
    assert checked >= 5


def test_the_origins_table_equals_its_source() -> None:
    text = published("README.md").read_text()
    printed = dict(
        re.findall(r"^\| ([A-Z][\w ]+) \| (\d\.\d\d \| \d\.\d\d) \|", text, re.MULTILINE)
    )
    assert len(printed) == 6
    baseline = load_baseline("readme")
    found = {
        name: " | ".join(row_value.text() for row in baseline.rows if (row_value := row.get(name)))
        for name in baseline.conditions
    }
    assert found == printed


def test_averages_follow_from_their_conditions(baselines: list[Baseline]) -> None:
    """The range of the mean, given the parts' rounding, meets the range of the average's own."""
    checked = []
    for baseline in baselines:
        for row in baseline.rows:
            average = row.get(AVERAGE)
            parts = [row.get(name) for name in baseline.mean_over]
            ranges = [part.rounding_interval() for part in parts if part is not None]
            if average is None or not ranges or None in ranges or len(ranges) < len(parts):
                continue
            low, high = (
                math.fsum(r[end] for r in ranges if r is not None) / len(ranges) for end in (0, 1)
            )
            own = average.rounding_interval()
            assert own is not None
            assert low <= own[1] + 1e-9, (baseline.id, row.method)
            assert own[0] <= high + 1e-9, (baseline.id, row.method)
            if average.derived:
                exact = math.fsum(_figure(part) for part in parts) / len(parts)
                assert average.value == pytest.approx(exact, abs=5e-5)
            checked.append((baseline.id, row.method))
    assert len(checked) == 9  # CheXNet's three and arnoweng; jf; CheXzero; the paper; origin's two


def test_a_rounded_average_of_the_origin_would_not_pass() -> None:
    average = load_baseline("readme").rows[0].get(AVERAGE)
    assert average is not None
    assert average.cut
    assert average.rounding_interval() == pytest.approx((0.86, 0.87))
    assert pytest.approx(0.866) == (0.75 + 0.90 + 0.93 + 0.93 + 0.82) / 5


def test_nulls_stay_null_and_say_why(baselines: list[Baseline]) -> None:
    nulls = [
        (baseline.id, value.missing)
        for baseline in baselines
        for row in baseline.rows
        for value in row.values
        if value.value is None
    ]
    assert all(missing for _, missing in nulls)
    reached = [name for name, missing in nulls if missing == "not reached"]
    assert reached == ["mcmahan2017-table1"] * 10  # five cells, rounds and speed-up
    assert nulls.count(("medmnist-chest", "not found")) == 4
    assert nulls.count(("pham2019-valid", "not found")) == 5
    assert nulls.count(("yuan2021-test", "not found")) == 5


def test_every_table_says_where_it_was_published(baselines: list[Baseline]) -> None:
    for baseline in baselines:
        citation = baseline.citation
        assert citation.doi or citation.arxiv or citation.note
        assert citation.table
        assert baseline.read_at
        assert baseline.synthetic is False
    noted = {b.id for b in baselines if not (b.citation.doi or b.citation.arxiv)}
    assert noted == {
        "arnoweng-chexnet",
        "chakravarty2021",
        "chexpert-leaderboard",
        "kamenbliznashki-valid",
        "origin-readme",
    }


def test_arxiv_ids_are_those_the_sources_give(baselines: list[Baseline]) -> None:
    given = "".join(path.read_text() for path in published("README.md").parent.glob("*.yaml"))
    ids = {b.citation.arxiv for b in baselines if b.citation.arxiv}
    # MedMNIST v2's source names the journal only.
    assert {i for i in ids if i not in given} == {"2110.14795"}


def test_ids_are_unique_and_the_names_of_their_files(baselines: list[Baseline]) -> None:
    ids = [baseline.id for baseline in baselines]
    assert len(set(ids)) == len(ids) == len(list(shipped("baselines").glob("*.yaml")))
    assert ids == sorted(ids)
    assert set(ALIASES.values()) | set(GROUPS["mcmahan2017"]) <= set(ids)


def test_baselines_travel_in_the_wheel() -> None:
    project = tomllib.loads((shipped("suites").parent / "pyproject.toml").read_text())
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included["baselines"] == "bench/shipped/baselines"


def test_figures_are_written_as_printed() -> None:
    test, valid = load_baseline("paper:test").rows[0], load_baseline("paper:valid").row("U-Ones")
    assert [value.text() for value in test.of()][:2] == ["0.85", "0.90"]
    assert test.of()[-1].text() == "0.9065207127699655"
    assert valid is not None
    edema = valid.get("Edema")
    assert edema is not None
    assert (edema.text(), edema.ci, edema.n, edema.positives) == ("0.941", (0.903, 0.98), 200, 42)
    reached = load_baseline("mcmahan2017-table1").rows[3].get("IID", "Rounds")
    assert reached is not None
    assert reached.text() == "not reached"


def test_rounding_intervals() -> None:
    test = load_baseline("paper:test").rows[0]
    cardiomegaly, mean = test.get("Cardiomegaly"), test.get(AVERAGE)
    assert cardiomegaly is not None
    assert mean is not None
    assert cardiomegaly.rounding_interval() == pytest.approx((0.895, 0.905))
    assert mean.rounding_interval() == (0.9065207127699655, 0.9065207127699655)
    null = load_baseline("pham2019-valid").rows[1].of()[0]
    assert null.rounding_interval() is None


def test_values_for_a_policy_come_with_a_derived_average() -> None:
    values = load_baseline("paper:valid").values_for("u-ones")
    assert [v.condition for v in values] == [*COMPETITION, AVERAGE]
    assert values[-1].value == pytest.approx(0.8928)
    assert values[-1].derived
    assert values[-1].text() == "0.893"


def test_values_for_policies_per_observation_are_the_papers_final_choice() -> None:
    policies = {
        "Atelectasis": "u-ones",
        "Cardiomegaly": "u-multiclass",
        "Consolidation": "u-selftrained",
        "Edema": "u-ones",
        "Pleural Effusion": "u-multiclass",
        "Fracture": "u-zeros",
    }
    values = load_baseline("paper:valid").values_for(policies)
    assert [v.text() for v in values] == ["0.858", "0.854", "0.939", "0.941", "0.936", "0.906"]


def test_values_for_a_policy_without_a_row_are_none() -> None:
    baseline = load_baseline("paper:valid")
    assert baseline.values_for("u-ones+lsr") == ()
    partly = baseline.values_for({"Edema": "u-ones", "Cardiomegaly": "u-ones+lsr"})
    assert [v.condition for v in partly] == ["Edema"]  # no average over a part


def test_an_average_is_not_derived_from_nulls() -> None:
    assert AVERAGE not in {
        v.condition for v in load_baseline("pham2019-valid").values_for("u-ones+lsr")
    }


def test_an_unknown_name_comes_with_the_nearest() -> None:
    with pytest.raises(BaselineError, match="did you mean 'irvin2019-valid'"):
        load_baseline("irvin2019-vaild")
    with pytest.raises(BaselineError, match="name one of paper:valid, paper:test"):
        load_baseline("paper")


VALID = """\
id: mine
title: A table of mine
citation: {authors: Me, title: Mine, arxiv: "2401.00001", table: Table 1}
read_at: [the paper]
confidence: single-source
dataset: CheXpert
split: valid
level: study
n: 200
positives: {Edema: 42}
views: max
image_size: null
ensemble: 1
metrics:
  AUROC: {unit: fraction, decimals: 3}
synthetic: false
rows:
  - method: a network
    policy: u-ones
    values:
      AUROC:
        Edema: 0.900
"""


def written(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_table_of_ones_own_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, VALID)
    (tmp_path / "._mine.yaml").write_bytes(b"\0\5\26\7")  # as macOS leaves beside a copied file
    assert load_baseline("mine", tmp_path).rows[0].of()[0].text() == "0.900"
    assert "mine" in {b.id for b in list_baselines(tmp_path)}
    with pytest.raises(BaselineError):
        load_baseline("mine")
    monkeypatch.setenv("BENCH_BASELINES", str(tmp_path))
    assert load_baseline("mine").title == "A table of mine"


def test_a_table_is_read_once_and_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    load = library.load
    monkeypatch.setattr(
        library, "load", lambda path, error: (read.append(path), load(path, error))[1]
    )
    file = written(tmp_path, VALID)
    assert load_baseline("mine", tmp_path) is load_baseline("mine", tmp_path)
    assert len(read) == 1
    status = file.stat()
    written(tmp_path, VALID.replace("A table of mine", "A table of ours"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert load_baseline("mine", tmp_path).title == "A table of ours"
    file.unlink()
    with pytest.raises(BaselineError, match="mine"):
        load_baseline("mine", tmp_path)


MALFORMED = {
    "not YAML": ("rows:", "rows: [", r"mine.yaml:\d+:\d+"),
    "duplicate key": ("n: 200", "n: 200\nn: 201", r"mine.yaml:10:1: .*'n'"),
    "unknown key": ("views: max", "view: max", r"mine.yaml:11:1: unknown key 'view'"),
    "missing key": ("dataset: CheXpert\n", "", r"'dataset'"),
    "id is not the file's": ("id: mine", "id: yours", r"mine.yaml:1:5: the id is not the file's"),
    "id with spaces": ("id: mine", "id: My Table", r"mine.yaml:1:5"),
    "no identifier": ('arxiv: "2401.00001", ', "", r"mine.yaml:3:\d+: .*needs a doi, an arxiv id"),
    "arxiv as a number": ('"2401.00001"', "2401.00001", r"mine.yaml:3:\d+: citation.arxiv"),
    "no such arxiv id": ("2401.00001", "math/1", r"mine.yaml:3:\d+: citation.arxiv"),
    "invented split": ("split: valid", "split: val", r"mine.yaml:7:8: split"),
    "synthetic": ("synthetic: false", "synthetic: true", r"mine.yaml:16:12: synthetic"),
    "no such policy": ("u-ones", "u-one", r"mine.yaml:19:13: .*no such label policy as 'u-one'"),
    "list of policies": (
        "u-ones",
        "[u-ones]",
        r"mine.yaml:19:13: .*no such label policy as \['u-ones'\]",
    ),
    "list for a condition's policy": (
        "policy: u-ones",
        "policy: {Edema: [u-ones]}",
        r"mine.yaml:19:13: .*no such label policy as \['u-ones'\]",
    ),
    "no policies": ("policy: u-ones", "policy: {}", r"mine.yaml:19:13: rows.0.policy"),
    "setting not a number": (
        "    policy: u-ones",
        "    setting: {C: .nan}",
        r"mine.yaml:19:18: rows.0.setting.C",
    ),
    "setting true": (
        "    policy: u-ones",
        "    setting: {C: true}",
        r"mine.yaml:19:18: rows.0.setting.C(?s:.)*found: true",
    ),
    "mean over what is not there": (
        "synthetic: false",
        "synthetic: false\nmean_over: [Edema, Edemaa]",
        r"mine.yaml:17:20: a mean over 'Edemaa', of which no row has a figure",
    ),
    "mean over one twice": (
        "synthetic: false",
        "synthetic: false\nmean_over: [Edema, Edema]",
        r"mine.yaml:17:20: a mean over 'Edema' twice",
    ),
    "more positives of a figure than its studies": (
        "0.900",
        "{value: 0.9, n: 10, positives: 20}",
        r"mine.yaml:22:16: 20 positives of Edema among 10",
    ),
    "above one": ("0.900", "1.2", r"mine.yaml:22:16: 1.2 cannot be AUROC"),
    "percent": ("0.900", "90.0", r"mine.yaml:22:16: 90.0 cannot be AUROC"),
    "text": ("0.900", "high", r"mine.yaml:22:16: .*AUROC.Edema"),
    "not a number": ("0.900", ".nan", r"mine.yaml:22:16"),
    "too many decimals": ("0.900", "0.9001", r"mine.yaml:22:16: 0.9001 has more than the 3"),
    "undeclared metric": ("      AUROC:", "      AUPRC:", r"mine.yaml:22:9: .*'AUPRC'"),
    "undeclared interval": (
        "0.900",
        "{value: 0.900, ci: [0.8, 0.95]}",
        r"mine.yaml:22:16: an interval, but 'interval' does not say",
    ),
    "interval beside the value": (
        "0.900",
        "{value: 0.900, ci: [0.95, 0.99]}",
        r"mine.yaml:22:16: .*does not hold the value 0.9",
    ),
    "interval of one bound": ("0.900", "{value: 0.900, ci: [0.8]}", r"mine.yaml:22:\d+"),
    "a reason for nothing": (
        "0.900",
        "{value: 0.9, missing: not found}",
        r"mine.yaml:22:16: .*'missing' says why",
    ),
    "an average over nothing": ("Edema: 0.900", "Average: 0.9", r"mine.yaml:22:18: an Average"),
    "more positives than studies": ("Edema: 42", "Edema: 420", r"mine.yaml:10:20: 420 positives"),
    "negative n": ("n: 200", "n: -1", r"mine.yaml:9:4: n"),
    "no rows": (VALID[VALID.index("rows:") :], "rows: []\n", r"mine.yaml:17:7: rows"),
    "two rows of one name": (
        "  - method: a network",
        "  - {method: a network, values: {AUROC: {Edema: 0.8}}}\n  - method: a network",
        r"mine.yaml:19:13: two rows are called 'a network'",
    ),
    "empty": (VALID, "", r"mine.yaml:1:1: there is nothing in it"),
    "a list": (VALID, "- 1\n", r"mine.yaml:1:1: the top of the file"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_table_is_one_message_with_its_place(tmp_path: Path, case: str) -> None:
    old, new, message = MALFORMED[case]
    assert VALID.count(old) >= 1
    path = written(tmp_path, VALID.replace(old, new))
    with pytest.raises(BaselineError, match=message):
        read_baseline(path)


def test_a_folder_that_is_not_there_and_ids_that_are_taken(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match="not there"):
        list_baselines(tmp_path / "none")
    for name in ("irvin2019-valid", "readme"):
        path = written(tmp_path, VALID.replace("id: mine", f"id: {name}"), f"{name}.yaml")
        with pytest.raises(BaselineError, match=f"two published tables are called '{name}'"):
            list_baselines(tmp_path)
        path.unlink()


def test_importing_them_is_light() -> None:
    code = "import bench.baselines, sys; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stdout.split())
    assert not loaded & {"torch", "numpy", "scipy", "pandas", "sklearn", "matplotlib", "rich"}


@pytest.mark.parametrize("format", FORMATS)
def test_every_table_is_shown_in_every_format(format: str, baselines: list[Baseline]) -> None:
    assert "irvin2019-valid" in render(list_table(baselines), format)
    for baseline in baselines:
        text = render(baseline_table(baseline), format)
        plain = text.replace(r"$\infty$", "∞").replace("\\", "") if format == "latex" else text
        assert baseline.rows[0].method in unescape(plain)


def test_the_command_lists_and_shows(tmp_path: Path) -> None:
    listed = json.loads(process("baselines", "--json").stdout)
    valid = next(row for row in listed["rows"] if row["id"] == "irvin2019-valid")
    assert (valid["split"], valid["level"], valid["n"]) == ("valid", "study", 200)
    assert valid["confidence"] == "cross-checked"
    shown = json.loads(process("baselines", "show", "paper:valid", "--json").stdout)
    assert shown["citation"]["arxiv"] == "1901.07031v1"
    assert len(shown["rows"]) == 25
    assert shown["rows"][0]["AUROC"] == 0.818
    assert shown["rows"][0]["AUROC ci"] == [0.759, 0.877]
    target = tmp_path / "table.md"
    done = process("baselines", "show", "readme", "-f", "markdown", "--output", str(target))
    assert (done.returncode, done.stdout) == (0, "")
    assert "| that model | Average | 0.86 |" in target.read_text()


def test_the_command_explains_what_is_wrong(tmp_path: Path) -> None:
    unknown = process("baselines", "show", "leaderbord")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "did you mean 'leaderboard'?" in unknown.stderr
    written(tmp_path, VALID.replace("0.900", "1.5"))
    broken = process("baselines", "--baselines", str(tmp_path))
    assert broken.returncode == 2
    assert "mine.yaml:22:16" in broken.stderr
    assert "Traceback" not in unknown.stderr + broken.stderr
