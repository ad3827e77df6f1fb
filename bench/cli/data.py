"""``bench data``: what a data tree holds, and its images packed ahead of a run.

``bench data phantom`` and ``bench data cache`` join the group from files of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.app import app
from bench.cli.options import (
    MOST_CORES,
    Format,
    FormatOption,
    JsonOption,
    Level,
    OutputOption,
    QuietOption,
    TreesArgument,
    number_option,
)
from bench.cli.run import OnBadImage

if TYPE_CHECKING:
    from bench.data.split import Split, Tree

data = typer.Typer(
    help="Look at, pack and generate image data.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(data, name="data")


@data.command()
def info(
    folders: TreesArgument = None,
    level: Annotated[Level, typer.Option(help="What the label tables count.")] = Level.study,
    images: Annotated[
        bool,
        typer.Option("--images", help="Look at the image files too: missing ones and copies."),
    ] = False,
    form: FormatOption = Format.table,
    output: OutputOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Count a tree's patients, studies, images and labels, and warn of what is odd.

    Needs the label files only, unless --images is given.
    """
    from bench.data.info import describe_tree
    from bench.report.data_table import as_document, label_table, overview_table
    from bench.report.render import emit, render_json, show

    found = describe_tree(_tree(folders), images=images)
    overview = overview_table(found)
    if as_json or form is Format.json:
        emit(render_json(overview, **as_document(found)), output)
        return
    by_study = level is Level.study
    tables = [overview, *(label_table(found, split, by_study=by_study) for split in found.splits)]
    show(tables, form.value, output, quiet=quiet)


@data.command()
def pack(
    folders: TreesArgument = None,
    size: Annotated[
        int, number_option("--size", low=1, high=4096, help="Height and width in pixels.")
    ] = 320,
    split: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="train, valid or test; may be given several times; else all there are.",
        ),
    ] = None,
    on_bad_image: Annotated[
        OnBadImage,
        typer.Option(help="An image that cannot be read is an error, or is left out."),
    ] = OnBadImage.fail,
    workers: Annotated[
        int | None,
        number_option(
            "--workers", low=1, high=MOST_CORES, help="Processes that decode; else one a core."
        ),
    ] = None,
    form: FormatOption = Format.table,
    output: OutputOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Decode and resize a tree's images once, so that runs need not wait for it.

    What has been packed is kept in the cache ($BENCH_CACHE) and opened at once the next time.
    """
    from functools import partial

    from bench.report.data_table import pack_table
    from bench.report.render import show
    from bench.runs.reporting import reporter

    tree = _tree(folders)
    with reporter(quiet=quiet) as report:
        rows = [
            {"site": site}
            | _pack(
                one,
                size,
                on_bad_image,
                workers,
                partial(report.progress, f"decoding {one.name if site is None else site}"),
            )
            for site, one in _splits(tree, split)
        ]
    table = pack_table(rows, name=tree.name, synthetic=tree.synthetic)
    show(table, "json" if as_json else form.value, output, quiet=quiet)


def _tree(folders: list[str] | None) -> Tree:
    """The folders' label files, all there are; without a folder, the data a run would use."""
    from bench.data.chexpert import label_files, read_tree
    from bench.errors import DataError
    from bench.runs.source import find_source, open_tree

    source = find_source(folders or (), given_by="the argument")
    if source.root is None:
        return open_tree(source)
    found = tuple(label_files(source.root))
    if not found:
        raise DataError(
            "the folder has no label file",
            where=source.root,
            expected="train.csv, valid.csv or test.csv",
            mend="name the folder that holds train.csv",
        )
    return read_tree(source.root, found)


def _splits(tree: Tree, names: list[str] | None) -> list[tuple[str | None, Split]]:
    """The splits to pack, each tree's by itself, with the site where there are several."""
    from bench.errors import UsageError

    for name in names or ():
        if name not in tree.splits:
            raise UsageError(
                f"there is no split '{name}'", where=tree.root, expected=", ".join(tree.splits)
            )
    trees: list[tuple[str | None, Tree]] = [*tree.sites.items()] or [(None, tree)]
    return [
        (site, split)
        for site, own in trees
        for name, split in own.splits.items()
        if not names or name in names
    ]


def _pack(
    split: Split, size: int, on_bad_image: OnBadImage, workers: int | None, progress: Any
) -> dict[str, Any]:
    """Packs one split; returns its row of the table."""
    import time

    from bench.data.pack import pack as pack_images
    from bench.locations import cache_folder

    start = time.perf_counter()
    packed = pack_images(
        split,
        size=size,
        cache=cache_folder(),
        on_bad_image=on_bad_image.value,
        workers=workers,
        progress=progress,
    )
    return {
        "split": split.name,
        "csv": split.csv.name,
        "images": len(packed.rows),
        "skipped": len(packed.skipped),
        "size": size,
        "mebibytes": packed.images.nbytes / 2**20,
        "seconds": time.perf_counter() - start,
        "digest": packed.digest,
        "freed": packed.freed,
        "bad": [
            {"line": bad.line, "path": bad.path, "reason": bad.reason} for bad in packed.skipped
        ],
    }
