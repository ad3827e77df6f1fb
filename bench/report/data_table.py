"""The tables of ``bench data``: what a tree holds, and what has been packed of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.data.cache import Entry
from bench.data.info import KINDS, SplitInfo, TreeInfo
from bench.report.table import Column, Table
from bench.report.units import byte_size


def overview_table(info: TreeInfo) -> Table:
    """One row a split: how many patients, studies and images, of which kinds; of sites, each's."""
    rows = [_overview(split) for split in info.splits.values()]
    for site, own in info.sites.items():
        rows += [{"site": site, **_overview(split)} for split in own.splits.values()]
    columns = (
        *((Column(key="site", title="Site", missing="all"),) if info.sites else ()),
        Column(key="split", title="Split"),
        _count("patients", "Patients"),
        _count("studies", "Studies"),
        _count("images", "Images"),
        _count("frontal", "Frontal"),
        _count("lateral", "Lateral"),
        _count("ap", "AP"),
        _count("pa", "PA"),
        _count("female", "Female patients"),
        _count("male", "Male patients"),
        Column(key="age", title="Age, median (range)", write=_years, align="right"),
    )
    notes = tuple(f"warning: {text}" for text in info.warnings)
    return Table(
        title=info.name,
        columns=columns,
        rows=tuple(rows),
        notes=notes,
        rule_before=(len(info.splits),) if info.sites else (),
        synthetic=info.synthetic,
    )


def label_table(info: TreeInfo, split: str, *, by_study: bool) -> Table:
    """One row an observation: labels of each kind, with their share of all."""
    chosen = info.splits[split]
    counts = chosen.study_labels if by_study else chosen.image_labels
    total = chosen.studies if by_study else chosen.images
    rows = tuple({"observation": name, **kinds} for name, kinds in counts.items())

    def share(count: int) -> str:
        return f"{count:,} ({100 * count / total:.2f} %)"

    columns = (
        Column(key="observation", title="Observation"),
        *(Column(key=kind, title=kind.capitalize(), write=share, align="right") for kind in KINDS),
    )
    return Table(
        title=f"{info.name}, {split}: labels of {total:,} {'studies' if by_study else 'images'}",
        columns=columns,
        rows=rows,
        notes=("Table 1 of Irvin et al. 2019 counts studies, and blank as negative.",),
        synthetic=info.synthetic,
    )


def as_document(info: TreeInfo) -> dict[str, Any]:
    """The JSON of ``bench data info``, beside the overview's own keys."""
    document: dict[str, Any] = {
        "name": info.name,
        "digest": info.digest,
        "splits": {
            name: {
                "file": split.file,
                "totals": {
                    "patients": split.patients,
                    "studies": split.studies,
                    "images": split.images,
                },
                "studies": split.study_labels,
                "images": split.image_labels,
                "views": split.views,
                "ap_pa": split.ap_pa,
                "views_per_study": split.views_per_study,
                "sex": split.sex,
                "age": split.age,
            }
            for name, split in info.splits.items()
        },
        "warnings": list(info.warnings),
    }
    if info.sites:
        document["sites"] = {name: as_document(own) for name, own in info.sites.items()}
    return document


def pack_table(rows: list[dict[str, Any]], *, name: str, synthetic: bool) -> Table:
    """One row a split that was packed."""
    sites = any(row.get("site") is not None for row in rows)
    columns = (
        *((Column(key="site", title="Site"),) if sites else ()),
        Column(key="split", title="Split"),
        _count("images", "Images"),
        _count("skipped", "Skipped"),
        Column(key="size", title="Size", align="right"),
        Column(key="mebibytes", title="MiB", write=lambda v: f"{v:,.1f}", align="right"),
        Column(key="seconds", title="Seconds", write=lambda v: f"{v:,.2f}", align="right"),
        Column(key="digest", title="Content", write=lambda digest: str(digest)[:16]),
    )
    notes = [
        f"deleted the pack of {row['csv']}'s images as they were, {byte_size(row['freed'])}"
        for row in rows
        if row["freed"]
    ]
    notes += (
        f"skipped: {row['csv']}:{bad['line']}: {bad['path']}: {bad['reason']}"
        for row in rows
        for bad in row["bad"]
    )
    return Table(
        title=f"Packed {name}",
        columns=columns,
        rows=tuple(rows),
        notes=tuple(notes),
        synthetic=synthetic,
    )


def cache_table(entries: Sequence[Entry], folder: Path, *, pruned: bool) -> Table:
    """One row a thing in the cache, or, where it was ``pruned``, a thing that was deleted."""
    rows = tuple(
        {
            "kind": entry.kind,
            "holds": entry.holds,
            "bytes": entry.bytes,
            "unused": entry.unused,
            "path": str(entry.path),
        }
        for entry in entries
    )
    size = byte_size(sum({entry.path: entry.bytes for entry in entries}.values()))
    idle = {entry.path: entry.bytes for entry in entries if entry.unused}
    if pruned:
        notes = [f"deleted {size}" if entries else "there was nothing to delete"]
    else:
        notes = [f"{size} in all"]
        if idle:
            notes.append(f"--prune deletes {byte_size(sum(idle.values()))} that nothing will use")
    columns = (
        Column(key="kind", title="Kind"),
        Column(key="holds", title="Of"),
        Column(key="bytes", title="Size", write=byte_size, align="right"),
        Column(key="unused", title="Why it went" if pruned else "Unused, since", missing=""),
    )
    return Table(title=f"Cache {folder}", columns=columns, rows=rows, notes=tuple(notes))


def _count(key: str, title: str) -> Column:
    return Column(key=key, title=title, write=lambda n: f"{n:,}", align="right")


def _overview(split: SplitInfo) -> dict[str, Any]:
    age = split.age
    return {
        "split": split.name,
        "patients": split.patients,
        "studies": split.studies,
        "images": split.images,
        "frontal": split.views["Frontal"],
        "lateral": split.views["Lateral"],
        "ap": split.ap_pa.get("AP", 0),
        "pa": split.ap_pa.get("PA", 0),
        "female": split.sex.get("Female", 0),
        "male": split.sex.get("Male", 0),
        "age": None if age["median"] is None else [age["median"], age["min"], age["max"]],
    }


def _years(value: list[float]) -> str:
    median, low, high = value
    return f"{median:g} ({low:g}–{high:g})"
