"""``bench throughput``: how fast this machine is, and what to set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.app import app
from bench.cli.options import (
    DeviceOption,
    Format,
    FormatOption,
    JsonOption,
    OutputOption,
    QuietOption,
)

if TYPE_CHECKING:
    from bench.throughput.request import Request


@app.command()
def throughput(
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMES",
            help="Any timm model, densenet-tiny, 2nn or mcmahan-cnn; several by commas.",
        ),
    ] = None,
    image_size: Annotated[
        list[str] | None,
        typer.Option(metavar="PIXELS", help="Default: 64 on a CPU, 320 on a GPU; 28 for MNIST's."),
    ] = None,
    batch: Annotated[
        list[str] | None,
        typer.Option(metavar="IMAGES", help="Default: 16,32 on a CPU, 16 to 256 on a GPU."),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMES", help="auto, fp32, bf16, or several by commas."),
    ] = None,
    step: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMES",
            help="eager, graph (of kernels, on a GPU), compiled, or several by commas. Default: "
            "graph on a GPU, eager on a CPU.",
        ),
    ] = None,
    device: DeviceOption = "auto",
    clients: Annotated[
        int, typer.Option(help="Clients of the federated round; 0 leaves it out.")
    ] = 5,
    seconds: Annotated[
        float, typer.Option(help="Time given to each figure of a row, beside warming up.")
    ] = 3.0,
    history: Annotated[
        Path | None,
        typer.Option(
            help="Append to this file; default results/measured/throughput/MACHINE.jsonl."
        ),
    ] = None,
    no_history: Annotated[bool, typer.Option("--no-history", help="Append nowhere.")] = False,
    form: FormatOption = Format.table,
    output: OutputOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure how fast this machine trains and predicts.

    Images/s, the share of the roofline (what the machine could do at most), peak memory, the cost
    of federation and the setting to choose. Every session is appended to the machine's history.
    """
    from bench.throughput.record import append, check_history, history_file
    from bench.throughput.request import read_request

    request = read_request(
        backbones=backbone or (),
        image_sizes=image_size or (),
        batches=batch or (),
        precisions=precision or (),
        steps=step or (),
        clients=clients,
        seconds=seconds,
    )
    if history is not None and not no_history:
        check_history(history)
    session = _measured(request, device, quiet=quiet)
    _show(session, Format.json if as_json else form, output, quiet=quiet)
    if not no_history:
        append(history or history_file(session["machine"]), session)


def _measured(request: Request, device: str, *, quiet: bool) -> dict[str, Any]:
    """Progress is for people who watch: without a terminal there is none."""
    import sys

    from bench.runs.reporting import reporter
    from bench.throughput.session import measure

    with reporter(quiet=quiet or not sys.stderr.isatty()) as report:
        return measure(request, device, report.progress)


def _show(session: dict[str, Any], form: Format, output: Path | None, *, quiet: bool) -> None:
    from bench.report.render import emit, render_json, show
    from bench.throughput.table import throughput_table

    table = throughput_table(session)
    if form is Format.json:
        extra = {key: value for key, value in session.items() if key != "rows"}
        emit(render_json(table, **extra), output)
        return
    show(table, form.value, output, quiet=quiet)
