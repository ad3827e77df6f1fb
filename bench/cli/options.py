"""Options that several commands share, declared once."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

MOST_CORES = 4096
"""More workers than that, or threads of one, are a slip of the pen on any machine there is."""
LONGEST = 18
"""Characters of a number that an option takes: so many fit into 64 bits."""


class Format(StrEnum):
    """How a table is written."""

    table = "table"
    markdown = "markdown"
    csv = "csv"
    json = "json"
    latex = "latex"
    html = "html"


class Level(StrEnum):
    """What is counted or scored: studies, or each image."""

    study = "study"
    image = "image"


class SplitName(StrEnum):
    """The splits that runs are scored on."""

    valid = "valid"
    test = "test"


def number_option(name: str, *, low: int, high: int | None = None, help: str, **more: Any) -> Any:
    """An option that takes a whole number from ``low``, to ``high`` where there is an end.

    Whatever else is given is refused in bench's words (UsageError), not in typer's.
    """
    return typer.Option(name, parser=_whole_number(name, low, high), metavar="N", help=help, **more)


def _whole_number(name: str, low: int, high: int | None) -> Callable[[str], int]:
    wanted = f"a whole number from {low:,}" + ("" if high is None else f" to {high:,}")

    def read(word: str) -> int:
        from bench.errors import UsageError

        text = str(word)  # a default is a number already
        if not re.fullmatch(r"[+-]?[0-9]+", text):
            raise UsageError(f"{name} is not a number", expected=wanted, found=text or "nothing")
        number = int(text) if len(text) <= LONGEST else None
        if number is None or number < low or (high is not None and number > high):
            raise UsageError(f"{name} is out of range", expected=wanted, found=text)
        return number

    return read


def remark(text: str, *, quiet: bool) -> None:
    """A line for people, on standard error; with ``--quiet`` none."""
    if not quiet:
        typer.echo(text, err=True)


SuiteArgument = Annotated[
    str,
    typer.Argument(
        metavar="SUITE",
        help="A suite file, or the name of a shipped suite.",
        show_default=False,
    ),
]
TreesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME=]DIR",
        help="A CheXpert tree, else $CHEXPERT_ROOT, else the embedded phantom; several trees are "
        "sites, called NAME or like their folders.",
        show_default=False,
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
FormatOption = Annotated[
    Format, typer.Option("--format", "-f", help="How the table is written.", case_sensitive=False)
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Write to this file instead of standard output."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="The same as --format json.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print results only.")]
DataOption = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="[NAME=]DIR",
        help="A CheXpert tree, else $CHEXPERT_ROOT, else the embedded phantom; given several "
        "times, each tree is a site, called NAME or like its folder. For suites on MNIST its "
        "folder, else $MNIST_ROOT.",
    ),
]
ResultsOption = Annotated[
    Path, typer.Option("--results", metavar="DIR", help="The folder that keeps runs.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY=VALUE", help="Override a key in every scenario."),
]
SelectOption = Annotated[
    str | None,
    typer.Option("-k", metavar="EXPR", help="Only scenarios whose name or values match."),
]
