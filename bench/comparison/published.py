"""A run against a published table: which table fits, where the two differ, and what follows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.baselines import AUROC, Baseline, Value, load_baseline
from bench.comparison.rows import (
    ABOVE,
    AVERAGE,
    BELOW,
    WITHIN,
    Comparison,
    Row,
    not_comparable,
)
from bench.comparison.subject import Subject
from bench.errors import NotComparable
from bench.observations import COMPETITION
from bench.report.references import FULL_DECIMALS
from bench.scoring.intervals import Interval
from bench.suites.policies import policy_from_row, policy_sets

PAPER = "paper"
SMOOTHED = "+lsr"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The published values that fit a run, by condition, and how they were found."""

    table: Baseline
    values: Mapping[str, Value]
    notes: tuple[str, ...]


def split_for(against: str, folder: Path | None = None) -> str | None:
    """The split that a comparison with this table must score; None where a run's own is meant.

    Raises NotComparable where the table has no AUROC.
    """
    return None if against == PAPER else _table(against, folder).split


def _table(name: str, folder: Path | None) -> Baseline:
    table = load_baseline(name, folder)
    if AUROC not in table.metrics:
        raise NotComparable(
            f"'{table.id}' does not publish AUROC",
            found=f"it publishes {', '.join(table.metrics)}",
            mend="`bench baselines` lists the tables that do",
        )
    return table


def choose(subject: Subject, against: str, folder: Path | None = None) -> Chosen:
    """The table's figures for this subject's split and label policy.

    ``paper`` is the CheXpert paper's validation table on ``valid`` and its test figure on
    ``test``. Where a table has a row for each label policy, the run's own is taken. Raises
    NotComparable where the table has no AUROC.
    """
    name = against if against != PAPER else f"{PAPER}:{subject.split}"
    table = _table(name, folder)
    policy, notes = _policy(subject, table)
    values = {value.condition: value for value in table.values_for(policy)}
    values |= {value.condition: value for value in _without_row(subject, table)}
    return Chosen(table=table, values=values, notes=notes)


def _policy(
    subject: Subject, table: Baseline
) -> tuple[str | Mapping[str, str] | None, tuple[str, ...]]:
    """The policy to look up, with a note where the table has no row that is exactly it."""
    if not table.policies or len(table.rows) == 1:
        return None, ()
    notes = []
    wanted: dict[str, str] = {}
    for condition, (policy, *others) in _policies(subject).items():
        if condition not in table.conditions or others:
            continue
        plain = policy.removesuffix(SMOOTHED)
        if plain != policy:
            notes.append(f"the table has no row for {policy}: {plain} stands in for it")
        wanted[condition] = plain
    distinct = set(wanted.values())
    unique = tuple(dict.fromkeys(notes))
    if len(distinct) == 1:
        only = distinct.pop()
        return only, (*unique, f"row: {only}")
    chosen = ", ".join(f"{condition} {policy}" for condition, policy in wanted.items())
    return wanted, (*unique, f"rows: {chosen or 'none'}")


def _policies(subject: Subject) -> dict[str, list[str]]:
    """The label policies of each observation: one, or those that the clients have between them."""
    found: dict[str, dict[str, None]] = {}
    for own in policy_sets(policy_from_row(subject.run.scenario.get("label_policy", {}))):
        for observation, policy in own:
            found.setdefault(observation, {})[policy] = None
    return {observation: list(policies) for observation, policies in found.items()}


def _without_row(subject: Subject, table: Baseline) -> list[Value]:
    """No value, and why, for conditions whose policies differ between clients."""
    if not table.policies or len(table.rows) == 1:
        return []
    mixed = [name for name, policies in _policies(subject).items() if len(policies) > 1]
    lost = [name for name in mixed if name in table.conditions]
    reason = "the clients' label policies differ, and the table has a row for each"
    return [
        replace(value, value=None, ci=None, policy=None, decimals=None, missing=reason)
        for value in table.values_for(table.rows[0].policy)
        if value.condition in lost or (lost and value.condition == AVERAGE)
    ]


def compare_published(subject: Subject, against: str, folder: Path | None = None) -> Comparison:
    """Every condition that both have, the average last; unpaired.

    The interval of a difference combines the two intervals by MOVER (Zou and Donner 2008,
    Statistics in Medicine 27:1693, section 2), which takes asymmetric intervals as they are; where
    none was published, the figure's rounding is all that is known of its error. The two are taken
    as independent, which is cautious where they were scored on the same studies.
    """
    chosen = choose(subject, against, folder)
    reason = _hindrance(subject, chosen.table)
    observed = subject.metrics["observations"]
    conditions = [c for c in observed if c in chosen.values]
    rows = [_condition_row(subject, chosen, name, reason) for name in conditions]
    if AVERAGE in chosen.values:
        rows.append(_average_row(subject, chosen, reason))
    return Comparison(
        run=subject.name,
        against=chosen.table.id,
        title=f"{subject.name} against {chosen.table.title}",
        split=subject.split,
        rows=tuple(rows),
        notes=(_source(chosen.table), *chosen.notes, *departures(subject, chosen)),
        synthetic=subject.synthetic,
        paired=False,
    )


def _source(table: Baseline) -> str:
    where = f"{table.citation.authors.split(',')[0]} {table.citation.year or ''}".strip()
    return f"published: {where}, {table.citation.table} ({table.citation.identifier})"


def _hindrance(subject: Subject, table: Baseline) -> str | None:
    """Why no verdict can be given at all, whatever the figures are."""
    if subject.synthetic:
        return "the data is synthetic"
    name = str(subject.run.data.get("name", "unknown data"))
    if not _same_dataset(subject, table):
        return f"{name} is not {table.dataset}"
    if table.split is not None and table.split != subject.split:
        return f"scored on {subject.split}, published on {table.split}"
    return None


def _same_dataset(subject: Subject, table: Baseline) -> bool:
    """``CheXpert-v1.0-small`` is CheXpert and ``nih621-320`` is not; a tree of another name is the
    table's where it has as many studies, and as many positives of every condition counted there.
    """
    theirs = table.dataset.lower().split()[0].split("-")[0]
    if all(name.lower().startswith(theirs) for name in _scored_on(subject)):
        return True
    observed = subject.metrics["observations"]
    counts = [observed[c]["positives"] == k for c, k in table.positives.items() if c in observed]
    return subject.metrics["n"] == table.n and len(counts) > 1 and all(counts)


def _scored_on(subject: Subject) -> list[str]:
    """The names of the trees that the split's studies are from: those of the sites that have it."""
    data = subject.run.data
    sites = data.get("sites") or {"": data}
    return [str(own.get("name", "")) for own in sites.values() if subject.split in _splits(own)]


def _splits(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The splits of a tree as run.json has them; of one that does not say, any."""
    found: Mapping[str, Any] = data.get("splits") or dict.fromkeys(("train", "valid", "test"))
    return found


def departures(subject: Subject, chosen: Chosen) -> tuple[str, ...]:
    """Every respect in which the run is not what the table published, in words."""
    run, scenario, metrics = subject.run, subject.run.scenario, subject.metrics
    table = chosen.table
    found = []
    if subject.synthetic:
        found.append("SYNTHETIC DATA: a generated phantom, not radiographs")
    elif not _same_dataset(subject, table):
        found.append(f"data: {run.data.get('name')}, published on {table.dataset}")
    sites = run.data.get("sites") or {}
    trained = [name for name, own in sites.items() if "train" in _splits(own)]
    if len(trained) > 1:
        found.append(f"trained on {' and '.join(trained)}, published on {table.dataset}")
    pairs = (
        ("split", subject.split, table.split),
        ("studies", metrics["n"], table.n),
        ("level", metrics["level"], table.level),
        ("views", metrics["views"], table.views),
        ("image size", scenario.get("image_size"), table.image_size),
        ("models averaged", 1, table.ensemble),
    )
    for what, ours, theirs in pairs:
        if theirs is None:
            found.append(f"{what}: {ours}, not stated by the publication")
        elif ours != theirs:
            found.append(f"{what}: {ours}, published {theirs}")
    found += _policy_departures(subject, chosen.values)
    found += _training_departures(subject)
    return ("differs: " + "; ".join(found),) if found else ()


def _policy_departures(subject: Subject, values: Mapping[str, Value]) -> list[str]:
    """Conditions that were published under another label policy than the run's."""
    found = [
        f"{name} {' or '.join(own)} by client, published {values[name].policy or 'one for all'}"
        if len(own) > 1
        else f"{name} {own[0]}, published {values[name].policy}"
        for name, own in _policies(subject).items()
        if name in values
        and (len(own) > 1 or values[name].policy not in (None, own[0].removesuffix(SMOOTHED)))
    ]
    return [f"label policy: {', '.join(found)}"] if found else []


def _training_departures(subject: Subject) -> list[str]:
    """How the model came to be, where that is not one model trained on all of the data."""
    found = []
    strategy = subject.run.scenario["strategy"]["name"]
    if strategy != "centralized":
        clients = subject.run.scenario["clients"]
        found.append(f"training: {strategy} over {clients} clients, published centralized")
    if len(subject.runs) > 1:
        found.append(f"ours: mean over {len(subject.runs)} seeds")
    members = int(subject.metrics["members"])
    if strategy == "local":
        found.append(f"ours: mean of {members // len(subject.runs)} clients' own models")
    return found


def _condition_row(subject: Subject, chosen: Chosen, name: str, reason: str | None) -> Row:
    entry = subject.metrics["observations"][name]
    return _row(
        subject,
        name,
        entry["auroc"],
        entry["ci"],
        chosen.values[name],
        reason,
        undefined=entry["undefined"],
        extra={"n": entry["n"], "positives": entry["positives"], "unreliable": entry["unreliable"]}
        | _spread(subject, name),
    )


def _average_row(subject: Subject, chosen: Chosen, reason: str | None) -> Row:
    """The mean over the table's conditions; undefined unless the run has every one of them."""
    wanted = chosen.table.mean_over or COMPETITION
    over = subject.metrics["mean_over"]
    missing = [name for name in wanted if name not in over]
    same = not missing and len(over) == len(wanted)
    return _row(
        subject,
        AVERAGE,
        subject.metrics["mean_auroc"] if same else None,
        subject.metrics["mean_ci"] if same else None,
        chosen.values[AVERAGE],
        reason,
        undefined=f"no AUROC for {', '.join(missing)}" if missing else "it is over other tasks",
        extra=_spread(subject, "mean"),
    )


def _spread(subject: Subject, name: str) -> dict[str, float | int]:
    if name not in subject.sd:
        return {}
    return {"seeds": len(subject.runs), "ours_sd": subject.sd[name]}


def _row(
    subject: Subject,
    condition: str,
    ours: float | None,
    ours_ci: list[float] | None,
    theirs: Value,
    reason: str | None,
    *,
    undefined: str | None,
    extra: Mapping[str, object],
) -> Row:
    interval = None if ours_ci is None else (ours_ci[0], ours_ci[1])
    difference, bounds = None, None
    if ours is not None and theirs.value is not None:
        difference = ours - theirs.value
        bounds = difference_interval(ours, interval, theirs)
    return Row(
        run=subject.name,
        condition=condition,
        ours=ours,
        ours_ci=interval,
        theirs=theirs.value,
        theirs_ci=theirs.ci,
        difference=difference,
        difference_ci=bounds,
        verdict=_verdict(ours, theirs, bounds, reason, undefined),
        theirs_decimals=FULL_DECIMALS if theirs.decimals is None else theirs.decimals,
        extra=dict(extra),
    )


def difference_interval(ours: float, ours_ci: Interval | None, theirs: Value) -> Interval | None:
    """The 95 % interval of ours - theirs; None where our own interval is undefined.

    With a published interval: MOVER. Without one: our interval shifted by the published figure
    and widened by what rounding can have hidden, which is no chance error and is added whole.
    """
    if ours_ci is None or theirs.value is None:
        return None
    below, above = ours - ours_ci[0], ours_ci[1] - ours
    difference = ours - theirs.value
    if theirs.ci is not None:
        low = difference - math.hypot(below, theirs.ci[1] - theirs.value)
        return low, difference + math.hypot(above, theirs.value - theirs.ci[0])
    rounding = theirs.rounding_interval()
    assert rounding is not None
    low = difference - below - (rounding[1] - theirs.value)
    return low, difference + above + (theirs.value - rounding[0])


def _verdict(
    ours: float | None,
    theirs: Value,
    bounds: Interval | None,
    reason: str | None,
    undefined: str | None,
) -> str:
    if ours is None:
        return not_comparable(f"ours is undefined ({undefined or 'not scored'})")
    if theirs.value is None:
        return not_comparable(theirs.missing or "not published")
    if reason is not None:
        return not_comparable(reason)
    if bounds is None:
        return not_comparable("ours has no interval")
    if bounds[0] > 0:
        return ABOVE
    return BELOW if bounds[1] < 0 else WITHIN
