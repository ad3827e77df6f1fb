"""``bench schema``: the JSON Schema of a suite file."""

from __future__ import annotations

from bench.cli.app import app
from bench.cli.options import OutputOption


@app.command()
def schema(output: OutputOption = None) -> None:
    """Print the JSON Schema of suites, for editors."""
    from bench.report.render import emit
    from bench.suites.schema import schema_text

    emit(schema_text(), output)
