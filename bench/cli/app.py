"""The command tree. Importing it imports typer and nothing heavier."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

ORDER = (
    *("plan", "run", "compare", "report", "plot", "check", "score"),
    *("baselines", "data", "partition", "throughput", "verify", "schema"),
)
"""The commands as they are met: what a suite goes through first."""


class _InOrder(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=ORDER.index)


app = typer.Typer(
    name="bench",
    cls=_InOrder,
    help="Chest X-ray classification, centralised and federated, held against published results.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        from bench import __version__

        typer.echo(f"bench {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    pass
