"""The command tree. Importing it imports typer and nothing heavier."""

from __future__ import annotations

import typer

app = typer.Typer(
    name="bench",
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
