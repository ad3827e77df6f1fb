"""``bench --help`` imports nothing heavy and names every command."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bench.cli.app import ORDER
from tests.tiny_tree import command

HEAVY = ("torch", "torchvision", "timm", "pandas", "sklearn", "matplotlib", "scipy", "numpy")


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom bench.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout
    assert not set(done.stderr.split()) & set(HEAVY)


def test_help_names_every_command_in_the_order_of_use_and_cuts_no_sentence() -> None:
    done = subprocess.run(
        command(["--help"]),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "80"},
    )
    _, listed = done.stdout.split("Commands:\n")
    assert tuple(line.split()[0] for line in listed.splitlines()) == ORDER
    assert "..." not in listed
    assert "Traceback" not in done.stderr


def test_no_command_is_a_usage_error_that_shows_the_help() -> None:
    done = subprocess.run(command([]), capture_output=True, text=True)
    assert done.returncode == 2
    assert "compare" in done.stdout + done.stderr
