"""The house's rules: imports point down, and what starts fast imports nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import bench

PACKAGE = Path(bench.__file__).parent

ORDER = [
    "__main__",
    "cli",
    "verify",
    "runs",
    "throughput",
    "comparison",
    "report",
    "baselines",
    "results",
    "federation",
    "training",
    "models",
    "data",
    "scoring",
    "suites",
    "environment",
    "helpers",
    "atomic",
    "locations",
    "randomness",
    "observations",
    "errors",
    "garbage",
    "memory",
]
"""From the top of the page to its foot: a part may import from the parts below it."""

TORCH_FREE = [
    "bench.cli.app",
    "bench.cli.commands",
    "bench.suites.suite",
    "bench.suites.schema",
    "bench.results.run",
    "bench.scoring.report",
    "bench.data.chexpert",
    "bench.data.pack",
    "bench.federation.partitions",
    "bench.runs.plan",
    "bench.runs.executor",
]


def part_of(module: str) -> str | None:
    names = module.split(".")
    return names[1] if names[0] == "bench" and len(names) > 1 else None


def imports_of(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return found


def test_every_part_has_its_place() -> None:
    parts = {p.stem if p.is_file() else p.name for p in PACKAGE.iterdir()}
    parts -= {"__init__", "__pycache__", "shipped", "py"}
    assert parts <= set(ORDER), f"give {parts - set(ORDER)} a place in ORDER"


def test_imports_point_down_the_page() -> None:
    wrong = []
    for file in sorted(PACKAGE.rglob("*.py")):
        own = file.relative_to(PACKAGE).with_suffix("").parts[0]
        if own == "__init__":
            continue
        for module in imports_of(file):
            other = part_of(module)
            if other in ORDER and own in ORDER and ORDER.index(other) < ORDER.index(own):
                wrong.append(f"{file.relative_to(PACKAGE)} imports {module}")
    assert not wrong, "\n".join(wrong)


def loaded_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", TORCH_FREE)
def test_what_needs_no_torch_imports_none(module: str) -> None:
    loaded = loaded_after(f"import {module}")
    assert not loaded & {"torch", "torchvision", "timm", "sklearn", "matplotlib", "pandas"}


def test_the_command_tree_imports_typer_and_nothing_heavier() -> None:
    loaded = loaded_after("import bench.cli.commands")
    assert not loaded & {"numpy", "scipy", "pydantic", "ruamel.yaml", "rich", "jinja2", "PIL"}
