"""Tables written out: one table object, six formats, one place that prints."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.errors import UsageError, did_you_mean
from bench.report.table import Table

FORMATS = ("table", "markdown", "csv", "json", "latex", "html")

_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-9;]*m")


def render(
    table: Table, format: str, *, width: int | None = None, color: bool | None = None
) -> str:
    """The table as text that ends with a newline.

    ``width`` (terminal cells) and ``color`` matter to ``table`` only. None asks the terminal; where
    standard output is none, the table has the width it needs and no colour.
    """
    return render_many([table], format, width=width, color=color)


def render_many(
    tables: Sequence[Table], format: str, *, width: int | None = None, color: bool | None = None
) -> str:
    """Several tables in one document; one alone is written exactly as :func:`render` does."""
    # Each format's module loads what only it needs, so that a CSV is not slowed by rich or jinja2.
    if format == "table":
        from bench.report.formats import terminal

        return terminal.write(tables, width=_width(width), color=_color(color))
    writer = _writer(format)
    return writer(tables)


def render_json(table: Table, **extra: Any) -> str:
    """The table's JSON object with ``extra`` keys after its own."""
    from bench.report.formats.json import as_object, dump

    own = as_object(table)
    assert not own.keys() & extra.keys(), "an extra key would replace one of the table's"
    return dump(own | extra)


def looks(output: Path | None) -> dict[str, Any]:
    """``width`` and ``color`` for where a text goes: a file has neither."""
    if output is None:
        return {}
    from bench.report.formats.terminal import UNBOUNDED

    return {"width": UNBOUNDED, "color": False}


def emit(text: str, output: Path | None) -> None:
    """Writes to ``output`` in one step (never half a file), or to standard output where None.

    A file gets no colours, whatever the terminal was.
    """
    if output is None:
        _print(text)
        return
    from bench.atomic import write_text

    if output.is_dir():
        raise UsageError(
            "--output names a folder", where=output, mend="name a file inside the folder"
        )
    try:
        write_text(output, _ESCAPE_SEQUENCE.sub("", text))
    except OSError as reason:
        raise UsageError(
            "--output cannot be written", where=output, found=reason.strerror or str(reason)
        ) from None


def show(
    tables: Table | Sequence[Table], format: str, output: Path | None = None, *, quiet: bool = False
) -> None:
    """Renders for where it goes, and emits it: a file has no width and no colour.

    CSV has no place for notes, so they are printed on standard error, unless ``quiet``.
    """
    several = [tables] if isinstance(tables, Table) else list(tables)
    emit(render_many(several, format, **looks(output)), output)
    if format == "csv" and not quiet:
        for note in (note for table in several for note in table.notes):
            print(note, file=sys.stderr)


def _writer(format: str) -> Callable[[Sequence[Table]], str]:
    if format == "markdown":
        from bench.report.formats.markdown import write as markdown

        return markdown
    if format == "csv":
        from bench.report.formats.csv import write as csv

        return csv
    if format == "json":
        from bench.report.formats.json import write as json

        return json
    if format == "latex":
        from bench.report.formats.latex import write as latex

        return latex
    if format == "html":
        from bench.report.formats.html import write as html

        return html
    raise UsageError(
        f"there is no format '{format}'",
        expected=", ".join(FORMATS),
        mend=did_you_mean(format, FORMATS),
    )


def _width(asked: int | None) -> int | None:
    if asked is not None:
        return asked
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _color(asked: bool | None) -> bool:
    """See no-color.org; a dumb terminal has none either."""
    if asked is not None:
        return asked
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout.isatty()


def _print(text: str) -> None:
    """Standard output whose encoding lacks a character gets a question mark, not a traceback."""
    try:
        sys.stdout.write(text)
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding or "ascii"
        sys.stdout.write(text.encode(encoding, errors="replace").decode(encoding))
    sys.stdout.flush()
