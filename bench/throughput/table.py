"""A session as a table: speeds, shares of the roofline, memory, overhead, and what to choose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.report.table import Column, Table
from bench.throughput.record import is_busy

GIB = 2**30


def throughput_table(session: Mapping[str, Any]) -> Table:
    """The session's rows; the machine, its ceilings and the recommendation stand in the notes."""
    rows = session["rows"]
    columns = [
        Column(key="backbone", title="Backbone"),
        Column(key="image_size", title="Size", align="right"),
        Column(key="batch", title="Batch", align="right"),
        Column(key="precision", title="Precision"),
        Column(key="step", title="Step"),
        Column(key="training_images_per_second", title="Training images/s", **_SPEED),
        Column(key="training_spread", title="Spread", write=_spread, align="right"),
        Column(key="training_share", title="Of roofline", write=_percent, align="right"),
        Column(key="training_bound", title="Bound by"),
        Column(key="inference_images_per_second", title="Inference images/s", **_SPEED),
        Column(key="inference_share", title="Of roofline", write=_percent, align="right"),
        Column(key="peak_memory_bytes", title="Peak memory", write=_gib, align="right"),
        Column(key="federated_overhead", title="Federated", write=_signed, align="right"),
        Column(key="federated_client_images", title="Images a client", align="right"),
    ]
    if any(row["remark"] for row in rows):
        columns.append(Column(key="remark", title="Remark", missing=""))
    return Table(
        title=f"Throughput on {_machine(session)}",
        columns=tuple(columns),
        rows=tuple(rows),
        notes=tuple(_notes(session)),
        lead=5,
    )


def _machine(session: Mapping[str, Any]) -> str:
    machine = session["machine"]
    if machine["gpu"]:
        return str(machine["gpu"])
    threads = session["threads"]
    return f"{machine['processor']}, {threads} thread{'' if threads == 1 else 's'}"


def _notes(session: Mapping[str, Any]) -> list[str]:
    seconds, clients = session["settings"]["seconds"], session["settings"]["clients"]
    ceilings = session["ceilings"]
    arithmetic = ", ".join(
        f"{_scaled(value)}FLOP/s in {name}" for name, value in ceilings["flops_per_second"].items()
    )
    work = "matrix product" if session["machine"]["gpu"] else "matrix product or convolution"
    notes = [
        f"Ceilings measured in this run: {arithmetic} ({work}), "
        f"{_scaled(ceilings['bytes_per_second'])}B/s (copy).",
        "The roofline is what arithmetic (2 FLOP a multiply-add) or the memory traffic of eager "
        "execution allows, whichever is less; a large cache can pass the latter.",
        f"Medians of interleaved repetitions, about {seconds:g} s a figure; the spread is the "
        "least and the most. Images are random; the first steps are not counted.",
        *_counted(session),
    ]
    if clients:
        notes.append(
            f"Federated: a round of {clients} clients ÷ the same images trained centrally, minus 1."
        )
    if is_busy(session["load"], session["threads"]):
        notes.append(
            f"The machine was busy when this started (load {session['load']}): figures are low."
        )
    return notes + [advice(best, session["threads"]) for best in session["recommended"]]


def advice(best: Mapping[str, Any], threads: int) -> str:
    """What to set; and whether processes of one thread each may do more together."""
    speed, alone = best["training_images_per_second"], best.get("one_thread_images_per_second")
    text = (
        f"Recommended for {best['backbone']} at {best['image_size']} px: batch {best['batch']}, "
        f"{best['precision']}, {best['step']} steps ({_rate(speed)} images/s)."
    )
    if alone is not None and alone * threads > speed:
        text += (
            f" One thread does {_rate(alone)}: in a federation `bench run --workers {threads}`, "
            f"a thread each, may come to {_rate(alone * threads)}."
        )
    return text


def _counted(session: Mapping[str, Any]) -> list[str]:
    """What an image costs, once for each network and precision."""
    lines: list[str] = []
    seen = set()
    for row in session["rows"]:
        key = (row["backbone"], row["image_size"], row["precision"])
        if key in seen:
            continue
        seen.add(key)
        lines.append(
            f"{row['backbone']} at {row['image_size']} px, {row['precision']}: "
            f"{_scaled(row['inference_flops'])}FLOP forward; {_scaled(row['training_flops'])}FLOP "
            f"and {_scaled(row['training_bytes'])}B a training image at batch {row['batch']}."
        )
    return lines


def _scaled(value: float) -> str:
    """Three significant digits and the SI prefix that a unit is put behind: ``11.2 G``."""
    for prefix, unit in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if value >= unit:
            return f"{value / unit:.3g} {prefix}"
    return f"{value / 1e3:.3g} k"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _signed(share: float) -> str:
    return f"{100 * share:+.1f} %"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _spread(pair: list[float]) -> str:
    return f"{_rate(pair[0])}–{_rate(pair[1])}"


def _gib(count: int) -> str:
    return f"{count / GIB:.2f} GiB"


_SPEED: dict[str, Any] = {"write": _rate, "align": "right"}
