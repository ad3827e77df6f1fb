"""Options that several commands share, declared once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


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
