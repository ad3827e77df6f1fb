"""``bench data phantom``: writes a synthetic CheXpert tree, or a picture of what it draws."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.data import data as data_app
from bench.cli.options import (
    MOST_CORES,
    Format,
    FormatOption,
    JsonOption,
    QuietOption,
    number_option,
    remark,
)

if TYPE_CHECKING:
    from bench.data.split import Tree
    from bench.report.table import Table

AS_EMBEDDED = "that of the embedded phantom"


@data_app.command("phantom")
def phantom(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The folder to write: new, empty or a phantom."),
    ] = None,
    train_patients: Annotated[
        int | None,
        number_option(
            "--train-patients", low=1, help="Training patients.", show_default=AS_EMBEDDED
        ),
    ] = None,
    valid_patients: Annotated[
        int | None,
        number_option("--valid-patients", low=0, help="Valid patients.", show_default=AS_EMBEDDED),
    ] = None,
    test_patients: Annotated[
        int | None,
        number_option("--test-patients", low=0, help="Test patients.", show_default=AS_EMBEDDED),
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Pixels a side.", show_default=AS_EMBEDDED)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="What every draw follows from.", show_default=AS_EMBEDDED)
    ] = None,
    workers: Annotated[
        int | None,
        number_option(
            "--workers",
            low=1,
            high=MOST_CORES,
            help="Processes; changes no byte.",
            show_default="one a core",
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", help="Draw one named film of each observation to this image."),
    ] = None,
    form: FormatOption = Format.table,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write synthetic chest films as a CheXpert tree whose truth is known.

    Prints, per observation, how many studies have it and the AUROC of an ideal observer: what a
    run on this tree can be judged against.
    """
    from bench.errors import UsageError

    if output is None and sheet is None:
        raise UsageError(
            "there is nothing to write",
            mend="name a folder with --output or a picture with --sheet",
        )
    if sheet is not None:
        _write_sheet(sheet, quiet=quiet)
    if output is not None:
        from bench.data.phantom import EMBEDDED
        from bench.report.render import show

        tree = _write_tree(
            output,
            quiet=quiet,
            train_patients=EMBEDDED.train_patients if train_patients is None else train_patients,
            valid_patients=EMBEDDED.valid_patients if valid_patients is None else valid_patients,
            test_patients=EMBEDDED.test_patients if test_patients is None else test_patients,
            size=EMBEDDED.size if size is None else size,
            seed=EMBEDDED.seed if seed is None else seed,
            workers=workers,
        )
        show(truth_table(tree), "json" if as_json else form.value, quiet=quiet)


def _write_tree(output: Path, *, quiet: bool, **parameters: int | None) -> Tree:
    """Writes the tree with a bar on a terminal's standard error, and says what was written."""
    from bench.data.phantom import write_phantom
    from bench.errors import UsageError

    if Path.cwd().is_relative_to(output.resolve()):
        raise UsageError(
            "the output is the current folder or one that it lies in, which would be replaced",
            where=output,
            expected="another folder",
            mend="name it from the folder above it",
        )
    shown = sys.stderr.isatty() and not quiet
    with typer.progressbar(length=1, label="drawing", file=sys.stderr, hidden=not shown) as bar:

        def progress(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        tree = write_phantom(output, progress=progress, **parameters)  # type: ignore[arg-type]
    counts = ", ".join(f"{len(split):,} {name}" for name, split in tree.splits.items())
    remark(f"SYNTHETIC: wrote {counts} images to {output}", quiet=quiet)
    return tree


def _write_sheet(file: Path, *, quiet: bool) -> None:
    """Draws the contact sheet; the file's name decides the format."""
    from PIL import Image

    from bench.data.phantom.sheet import contact_sheet
    from bench.errors import UsageError

    known = Image.registered_extensions()
    if file.suffix.lower() not in known:
        raise UsageError(
            "the name says no kind of image that can be written",
            where=file,
            expected="a name that ends in .png or .jpg",
        )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        contact_sheet().save(file)
    except OSError as error:
        raise UsageError(
            "the picture cannot be written", where=file, found=error.strerror or str(error)
        ) from error
    remark(f"SYNTHETIC: drew {file}", quiet=quiet)


def truth_table(tree: Tree) -> Table:
    """Per observation: positive studies of each split and the ideal observer's AUROC."""
    from bench.data.phantom import read_marker
    from bench.observations import OBSERVATIONS
    from bench.report.table import Column, Table, decimals

    marker = read_marker(tree.root)
    positives = {
        name: (split.study_labels() == 1).sum(axis=0).tolist()
        for name, split in tree.splits.items()
    }
    ideal = {**marker["ideal_auroc"], "population": marker["ideal_auroc_population"]}
    rows = tuple(
        {
            "observation": observation,
            **{f"positive:{name}": counts[i] for name, counts in positives.items()},
            **{f"ideal:{name}": values.get(observation) for name, values in ideal.items()},
        }
        for i, observation in enumerate(OBSERVATIONS)
    )
    columns = (
        Column(key="observation", title="Observation"),
        *(
            Column(key=f"positive:{name}", title=f"Positive, {name}", align="right")
            for name in positives
        ),
        *(
            Column(
                key=f"ideal:{name}",
                title=f"Ideal, {name}",
                write=decimals(3),
                align="right",
                missing="undefined",
            )
            for name in ("valid", "test", "population")
            if name in ideal
        ),
    )
    return Table(
        title="Phantom",
        columns=columns,
        rows=rows,
        notes=(
            "Positive: studies, by the label files; training labels are a report's, others true.",
            f"Ideal: AUROC of the {marker['ideal_observer']}.",
        ),
        synthetic=True,
    )
