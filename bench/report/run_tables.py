"""What runs scored and what they cost, as tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.observations import COMPETITION, OBSERVATIONS
from bench.report.table import Column, Table, decimals, interval
from bench.report.units import byte_size, duration
from bench.results.ownership import actual_status
from bench.results.run import Run
from bench.scoring.report import MINIMUM_CLASS


def summary_table(runs: Sequence[Run], split: str) -> Table:
    """A row a run: the mean over the competition tasks with its interval, then every condition.

    Runs that were scored on other splits only are left out; those that were not scored stay, with
    their status. A condition that no run has an AUROC for has no column; a note says why.
    """
    runs = [run for run in runs if split in run.metrics or not run.metrics]
    blocks = [run.metrics.get(split) for run in runs]
    names = _conditions(blocks)
    defined = [name for name in names if any(_is_number(_auroc(b, name)) for b in blocks)]
    rows = [_summary_row(run, block, defined) for run, block in zip(runs, blocks, strict=True)]
    columns = [
        Column(key="run", title="Scenario"),
        Column(key="mean_auroc", title="Mean AUROC", write=decimals(3), align="right"),
        Column(key="mean_ci", title="95 % interval", write=interval(3), align="right"),
        Column(key="tasks", title="Tasks", align="right"),
        *(Column(key=name, title=name, write=decimals(3), align="right") for name in defined),
    ]
    if any(row["status"] != "done" for row in rows):
        columns.insert(1, Column(key="status", title="Status", emphasis=_status_emphasis))
    return Table(
        title=f"AUROC on the split '{split}'",
        columns=tuple(columns),
        rows=tuple(rows),
        notes=tuple(_summary_notes(runs, blocks, names, defined)),
        synthetic=any(run.synthetic for run in runs),
    )


def site_table(runs: Sequence[Run], split: str) -> Table | None:
    """The columns of :func:`summary_table` for each run at each site; None where no site is known.

    Where the clients are the sites and have models of their own, so has a column: the mean AUROC of
    the site's own client there.
    """
    scored = [run for run in runs if "sites" in run.metrics.get(split, {})]
    pairs = [
        (run, site, block) for run in scored for site, block in run.metrics[split]["sites"].items()
    ]
    names = _conditions([block for _, _, block in pairs])
    defined = [n for n in names if any(_is_number(_auroc(block, n)) for _, _, block in pairs)]
    rows = [
        _summary_row(run, block, defined)
        | {"site": site, "n": block["n"], "own": _own_auroc(run, split, site)}
        for run, site, block in pairs
    ]
    if not rows:
        return None
    own = any(row["own"] is not None for row in rows)
    three = decimals(3)
    return Table(
        title=f"AUROC by site on the split '{split}'",
        columns=(
            Column(key="run", title="Scenario"),
            Column(key="site", title="Site"),
            Column(key="n", title="Studies", write="{:,}".format, align="right"),
            Column(key="mean_auroc", title="Mean AUROC", write=three, align="right"),
            Column(key="mean_ci", title="95 % interval", write=interval(3), align="right"),
            Column(key="tasks", title="Tasks", align="right"),
            *((Column(key="own", title="Site's own", write=three, align="right"),) if own else ()),
            *(Column(key=name, title=name, write=three, align="right") for name in defined),
        ),
        rows=tuple(rows),
        notes=(
            "each site's studies alone",
            *(("Site's own: the mean AUROC of the site's own client there",) if own else ()),
        ),
        lead=2,
        synthetic=any(run.synthetic for run in scored),
    )


def _own_auroc(run: Run, split: str, site: str) -> float | None:
    """The mean AUROC at a site of its own client's model; None where there is none."""
    clients = (run.data.get("partition") or {}).get("names", [])
    block = run.metrics[split]
    members = block.get("personal", block).get("sites", {}).get(site, {}).get("by_member", {})
    if site not in clients:
        return None
    mean: float | None = members.get(f"client-{clients.index(site)}", {}).get("mean_auroc")
    return mean


def condition_table(run: Run, split: str) -> Table:
    """Every condition of one run with its interval and counts, or why it has no AUROC."""
    block = run.metrics[split]
    rows = []
    for name in _conditions([block]):
        entry = block["observations"][name]
        rows.append({"condition": name, **entry, "remark": _remark(entry)})
    rule: tuple[int, ...] = ()
    if block["mean_auroc"] is not None:
        rule = (len(rows),)
        over = f"mean of {len(block['mean_over'])} tasks"
        rows.append(
            {
                "condition": "Average",
                "auroc": block["mean_auroc"],
                "ci": block["mean_ci"],
                "positives": None,
                "n": block["n"],
                "remark": over,
            }
        )
    counts: Callable[[int], str] = "{:,}".format
    return Table(
        title=f"{run.name}, split '{split}'",
        columns=(
            Column(key="condition", title="Condition"),
            Column(
                key="auroc", title="AUROC", write=decimals(3), align="right", missing="undefined"
            ),
            Column(key="ci", title="95 % interval", write=interval(3), align="right"),
            Column(key="positives", title="Positive", write=counts, align="right"),
            Column(key="n", title="Studies", write=counts, align="right"),
            Column(key="remark", title="Remark", missing="", emphasis=lambda _: "dim"),
        ),
        rows=tuple(rows),
        rule_before=rule,
        notes=_condition_notes(rows),
        synthetic=run.synthetic,
    )


def cost_table(runs: Sequence[Run]) -> Table:
    """A row a run: rounds, images, time, speed and traffic, as far as its log goes."""
    rows = []
    for run in runs:
        log = run.rounds()
        seconds = sum(record["seconds"] for record in log)
        examples = sum(record["examples"] for record in log)
        rows.append(
            {
                "run": run.name,
                "rounds": len(log),
                "examples": examples,
                "seconds": seconds,
                "images_per_second": examples / seconds if seconds > 0 else None,
                "bytes_up": sum(record["bytes_up"] for record in log),
                "bytes_down": sum(record["bytes_down"] for record in log),
            }
        )
    counts: Callable[[int], str] = "{:,}".format
    return Table(
        title="Cost",
        columns=(
            Column(key="run", title="Scenario"),
            Column(key="rounds", title="Rounds", write=counts, align="right"),
            Column(key="examples", title="Images trained on", write=counts, align="right"),
            Column(key="seconds", title="Training time", write=duration, align="right"),
            Column(key="images_per_second", title="Images/s", write=decimals(1), align="right"),
            Column(key="bytes_up", title="Sent to the server", write=byte_size, align="right"),
            Column(key="bytes_down", title="Sent to clients", write=byte_size, align="right"),
        ),
        rows=tuple(rows),
        notes=("training time is that of local training alone, without evaluation",),
        synthetic=any(run.synthetic for run in runs),
    )


def _conditions(blocks: Sequence[Mapping[str, Any] | None]) -> list[str]:
    """The competition tasks, then the other observations, then any that CheXpert has not."""
    present = dict.fromkeys(
        name for block in blocks if block is not None for name in block["observations"]
    )
    order = dict.fromkeys([*COMPETITION, *OBSERVATIONS, *present])
    return [name for name in order if name in present]


def _auroc(block: Mapping[str, Any] | None, name: str) -> float | None:
    """None where it was not scored, NaN where it was and is undefined."""
    entry = (block or {}).get("observations", {}).get(name)
    return None if entry is None else _or_nan(entry["auroc"])


def _is_number(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _summary_row(run: Run, block: Mapping[str, Any] | None, names: Sequence[str]) -> dict[str, Any]:
    scored = block or {}
    over = scored.get("mean_over")
    return {
        "run": run.name,
        "status": actual_status(run),
        "folder": run.folder.name,
        "mean_auroc": None if block is None else _or_nan(block["mean_auroc"]),
        "mean_ci": scored.get("mean_ci"),
        "tasks": None if over is None else f"{len(over)} of {len(COMPETITION)}",
        **{name: _auroc(block, name) for name in names},
    }


def _summary_notes(
    runs: Sequence[Run],
    blocks: Sequence[Mapping[str, Any] | None],
    names: Sequence[str],
    defined: Sequence[str],
) -> list[str]:
    scored = [block for block in blocks if block is not None]
    notes = []
    if scored:
        levels = " and ".join(dict.fromkeys(str(block["level"]) for block in scored))
        views = " and ".join(dict.fromkeys(str(block["views"]) for block in scored))
        counts = " or ".join(dict.fromkeys(f"{block['n']:,}" for block in scored))
        notes.append(f"{levels} level, views by {views}; {counts} studies; DeLong intervals")
    reasons: dict[str, list[str]] = {}
    for name in names:
        if name not in defined:
            why = dict.fromkeys(
                block["observations"][name]["undefined"] or "no reason recorded"
                for block in scored
                if name in block["observations"]
            )
            reasons.setdefault("; ".join(why), []).append(name)
    notes += [f"undefined in every run: {', '.join(n)} ({why})" for why, n in reasons.items()]
    several = [
        f"{run.name} ({block['members']})"
        for run, block in zip(runs, blocks, strict=True)
        if block is not None and block["members"] > 1
    ]
    if several:
        notes.append(f"mean over that many clients' own models: {', '.join(several)}")
    return notes


def _condition_notes(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    if any(row.get("unreliable") and row["ci"] for row in rows):
        return (f"an interval is unreliable where a class has fewer than {MINIMUM_CLASS} studies",)
    return ()


def _remark(entry: Mapping[str, Any]) -> str | None:
    if entry["auroc"] is None:
        return entry["undefined"] or "no reason recorded"
    if entry["unreliable"] and entry["ci"]:
        return "unreliable interval"
    return None


def _status_emphasis(row: Mapping[str, Any]) -> str | None:
    return {"done": None, "failed": "bad"}.get(row["status"], "dim")
