"""The README's tables say what the committed runs do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bench.results.run import find_runs
from tests.in_process import call

ROOT = Path(__file__).resolve().parent.parent
MEASURED = ROOT / "results" / "measured"
CELL = ("model", "partition", "E", "B", "C")
README = (ROOT / "README.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """The cells of the Markdown table whose first column is headed so."""
    lines = iter(README.splitlines())
    next(line for line in lines if line.startswith(f"| {heading} |"))
    next(lines)
    table = []
    for line in lines:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table


def test_rounds_to_target(capsys: pytest.CaptureFixture[str]) -> None:
    done = call(
        capsys, "compare", MEASURED / "mcmahan2017", "--against", "mcmahan2017", "-f", "json"
    )
    cells = {
        tuple(f"{row[key]:g}" if key == "C" else str(row[key]) for key in CELL): row
        for row in reversed(json.loads(done.out)["rows"])
        if row["ours"] is not None
    }
    shown = rows("model")
    assert len(shown) == len(cells)
    for *cell, lr, ours, seeds, theirs, ratio in shown:
        row = cells[tuple(cell)]
        assert lr == f"{row['lr']:g}"
        spread = f" ± {row['ours_sd']:.0f}" if row["seeds"] > 1 else ""
        assert ours == f"{row['ours']:.0f}{spread}"
        assert seeds == str(row["seeds"])
        assert theirs == f"{row['theirs']:.0f}"
        assert ratio == f"{row['ratio']:.2f}"


def test_strategies() -> None:
    runs = {run.name: run.metrics["valid"] for run in find_runs([MEASURED / "strategies"])}
    first, *table = rows("strategy")
    assert first[1] == auroc(runs["centralized"])
    assert 2 * len(table) + 1 == len(runs)
    for name, *cells in table:
        blocks = [runs[name.strip("`") + suffix] for suffix in ("-iid", "-dirichlet-alpha0.1")]
        assert cells == [text for block in blocks for text in (auroc(block), own_models(block))]


def auroc(block: dict[str, Any]) -> str:
    entry = block["observations"]["Pneumonia"]
    low, high = entry["ci"]
    return f"{entry['auroc']:.3f} [{low:.3f}, {high:.3f}]"


def own_models(block: dict[str, Any]) -> str:
    """Mean and best of the clients' own models."""
    own = block.get("personal", block)
    if "by_member" not in own:
        return "–"
    best = max(member["auroc"]["Pneumonia"] for member in own["by_member"].values())
    return f"{own['observations']['Pneumonia']['auroc']:.3f}, {best:.3f}"


def test_seconds_a_round_beside_the_peers() -> None:
    names = ("plain", "ours", "ours-2", "flower", "pfl", "fedjax")
    workloads = {"10 examples": "2nn-small", "B = 10": "2nn", "B = 50": "cnn"}
    processors = {"EPYC": "amd-epyc-2-cores", "Xeon": "intel-xeon-processor-2-cores"}
    measured = {
        (processor, row["workload"], row["peer"]): row["round_seconds"]
        for processor, file in processors.items()
        for row in json.loads((MEASURED / "peers" / f"{file}.json").read_text())["rows"]
    }
    shown = rows("workload")
    assert len(shown) == len(workloads) * len(processors)
    for title, processor, *cells in shown:
        (workload,) = [w for text, w in workloads.items() if re.search(text, title)]
        assert cells == [f"{measured[processor, workload, name]:.3g}" for name in names]
