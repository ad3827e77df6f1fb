"""The tables of ``bench score``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.observations import COMPETITION
from bench.report.references import Reference
from bench.report.table import Column, Table, decimals
from bench.scoring.evaluation import Asked, Evaluation
from bench.scoring.operating import Fixed
from bench.scoring.report import MINIMUM_CLASS, NAMES, ConditionScore

UNRELIABLE, STAND_IN = "*", "†"
METHODS = {
    "delong-logit": "DeLong on the logit scale",
    "delong-wald": "DeLong, Wald",
    "bootstrap-percentile": "bootstrap percentiles",
}
SHORT = {"sensitivity": "sens.", "specificity": "spec."}


def model_table(
    evaluation: Evaluation,
    asked: Asked,
    *,
    title: str,
    notes: Sequence[str],
    calibrated: bool,
    references: Sequence[Reference],
) -> Table:
    """One row a condition, the mean over the competition tasks last."""
    rows = [_row(evaluation, name, asked, references) for name in evaluation.conditions]
    rows.append(_mean_row(evaluation, references))
    columns = [
        Column(key="condition", title="Condition"),
        _auroc("auroc", "AUROC"),
        _interval_column(asked),
        _number("auprc", "AUPRC", 3),
        Column(key="positives", title="Pos.", align="right", missing=""),
        Column(key="n", title="n", align="right", missing=""),
    ]
    if calibrated and not evaluation.calibration_refused:
        columns += [_number("brier", "Brier", 3), _number("ece", "ECE", 3)]
    for i, (fixed, bound) in enumerate(asked.points):
        columns.append(_number(f"point_{i}", _point_title(fixed, bound), 3))
    columns += [
        Column(key=f"reader {name}", title=name, write=_rates, align="right", missing="")
        for name in evaluation.readers
    ]
    if evaluation.readers:
        columns.append(Column(key="below", title="Below", write=_below, align="right"))
    for reference in references:
        if len(references) == 1:
            columns.append(
                _number(f"published {reference.name}", reference.name, reference.decimals)
            )
        columns.append(_difference(reference, alone=len(references) == 1))
    return Table(
        columns=tuple(columns),
        rows=tuple(rows),
        title=title,
        notes=(*notes, *_notes(evaluation, asked, references, calibrated)),
        rule_before=(len(rows) - 1,),
    )


def each_table(
    evaluations: Sequence[Evaluation],
    asked: Asked,
    *,
    title: str,
    notes: Sequence[str],
    references: Sequence[Reference],
) -> Table:
    """One row a model, in the order given; conditions are columns."""
    names = list(dict.fromkeys(name for e in evaluations for name in e.conditions))
    rows = []
    for e in evaluations:
        row = {"model": e.name, "n": e.report.n, **_mean_row(e, references)}
        row |= {f"auroc {c}": e.conditions[c].score.auroc for c in names if c in e.conditions}
        rows.append(row)
    columns = [
        Column(key="model", title="Model"),
        Column(key="n", title="n", align="right"),
        _auroc("auroc", "Mean AUROC"),
        _interval_column(asked),
    ]
    if any(e.readers for e in evaluations):
        columns.append(Column(key="below", title="Below", write=_below, align="right"))
    columns += [_difference(one, alone=False) for one in references]
    columns += [_auroc(f"auroc {name}", name) for name in names]
    own = [f"{e.name}: {note}" for e in evaluations for note in _own_notes(e)]
    common = _method_notes(evaluations, asked) + _reference_notes(evaluations, references)
    return Table(
        columns=tuple(columns),
        rows=tuple(rows),
        title=title,
        notes=(*notes, *common, *own),
    )


def _row(
    evaluation: Evaluation, name: str, asked: Asked, references: Sequence[Reference]
) -> dict[str, Any]:
    condition = evaluation.conditions[name]
    score = condition.score
    row: dict[str, Any] = {
        "condition": name,
        "auroc": score.auroc,
        "interval": _interval_value(score),
        "auprc": condition.auprc,
        "positives": score.positives,
        "n": score.n,
        "undefined": score.undefined,
        "below": None if condition.below is None else [condition.below, len(condition.readers)],
    }
    if condition.calibration is not None:
        row |= {"brier": condition.calibration.brier, "ece": condition.calibration.ece}
    for i, ((fixed, _), point) in enumerate(zip(asked.points, condition.points, strict=True)):
        if point is not None:
            free = "specificity" if fixed == "sensitivity" else "sensitivity"
            row[f"point_{i}"] = getattr(point, free)
    for person in condition.readers:
        row[f"reader {person.name}"] = [person.sensitivity, person.specificity]
    for reference in references:
        row |= _against(reference.name, score.auroc, reference.values.get(name))
    return row


def _mean_row(evaluation: Evaluation, references: Sequence[Reference]) -> dict[str, Any]:
    report = evaluation.report
    row: dict[str, Any] = {
        "condition": _mean_title(report.mean_over),
        "auroc": report.mean_auroc,
        "interval": None
        if report.mean_ci is None
        else {
            "low": report.mean_ci[0],
            "high": report.mean_ci[1],
            "method": report.mean_method,
            "unreliable": any(report[name].unreliable for name in report.mean_over),
        },
        "auprc": evaluation.mean_auprc,
        "below": evaluation.mean_below,
    }
    whole = len(report.mean_over) == len(COMPETITION)
    for reference in references:
        row |= _against(reference.name, report.mean_auroc, reference.mean if whole else None)
    return row


def _mean_title(over: Sequence[str]) -> str:
    if len(over) == len(COMPETITION):
        return "Competition mean"
    return f"Competition mean ({len(over)} of {len(COMPETITION)} tasks)"


def _against(name: str, own: float | None, published: float | None) -> dict[str, Any]:
    difference = None if own is None or published is None else own - published
    return {f"published {name}": published, f"difference {name}": difference}


def _difference(reference: Reference, *, alone: bool) -> Column:
    key = f"difference {reference.name}"

    def emphasis(row: Mapping[str, Any]) -> str | None:
        value = row.get(key)
        return None if not value else "good" if value > 0 else "bad"

    return Column(
        key=key,
        title="Difference" if alone else f"− {reference.name}",
        write=decimals(reference.decimals, signed=True),
        align="right",
        emphasis=emphasis,
    )


def _interval_value(score: ConditionScore) -> dict[str, Any] | None:
    if score.ci is None:
        return None
    return {
        "low": score.ci[0],
        "high": score.ci[1],
        "method": score.method,
        "unreliable": score.unreliable,
    }


def _auroc(key: str, title: str) -> Column:
    return Column(key=key, title=title, write=decimals(4), align="right", missing="undefined")


def _interval_column(asked: Asked) -> Column:
    """Its title says the confidence in full: 99.5 % is not 100 %."""
    title = f"{100 * asked.confidence:.10g}% CI"
    return Column(key="interval", title=title, write=_interval, align="right")


def _number(key: str, title: str, places: int) -> Column:
    return Column(key=key, title=title, write=decimals(places), align="right")


def _interval(value: Mapping[str, Any]) -> str:
    marks = UNRELIABLE * value["unreliable"] + STAND_IN * (value["method"] == "newcombe")
    return f"[{value['low']:.3f}, {value['high']:.3f}]{marks}"


def _rates(value: Sequence[float]) -> str:
    return f"{value[0]:.2f}/{value[1]:.2f}"


def _below(value: float | Sequence[int]) -> str:
    return f"{value:.1f}" if isinstance(value, int | float) else f"{value[0]} of {value[1]}"


def _point_title(fixed: Fixed, bound: float) -> str:
    free = "specificity" if fixed == "sensitivity" else "sensitivity"
    return f"{SHORT[free].capitalize()} at {SHORT[fixed]} {bound:g}"


def _notes(
    evaluation: Evaluation, asked: Asked, references: Sequence[Reference], calibrated: bool
) -> tuple[str, ...]:
    notes = _method_notes([evaluation], asked)
    if evaluation.readers:
        notes.append(
            "A radiologist's column is sensitivity/specificity; Below counts who lies under the "
            "ROC curve by the competition's step rule, and ends with the mean over its tasks."
        )
    notes += _own_notes(evaluation)
    if calibrated and evaluation.calibration_refused:
        notes.append(f"Calibration is refused: {evaluation.calibration_refused}.")
    return (*notes, *_reference_notes([evaluation], references))


def _method_notes(evaluations: Sequence[Evaluation], asked: Asked) -> list[str]:
    scores = [c.score for e in evaluations for c in e.conditions.values()]
    used = list(dict.fromkeys(s.method for s in scores if s.ci and s.method in METHODS))
    used = used or [NAMES[asked.method]]
    text = " and ".join(METHODS[method] for method in used)
    if "bootstrap-percentile" in used:
        text += f" of {asked.replicates:,} replicates, clustered by patient, seed {asked.seed}"
    notes = [f"Intervals of AUROC: {text}."]
    if any(s.unreliable and s.ci for s in scores):
        notes.append(
            f"{UNRELIABLE} fewer than {MINIMUM_CLASS} positives or negatives (for the mean, in one "
            "of its tasks): the interval is unreliable."
        )
    if any(s.method == "newcombe" and s.ci for s in scores):
        notes.append(f"{STAND_IN} {_no_interval(asked)}: Newcombe's (2006, method 5) instead.")
    means = {e.report.mean_method for e in evaluations if e.report.mean_ci}
    notes += [
        f"The mean's interval: {METHODS[method]}."
        for method in METHODS
        if method in means and method not in used
    ]
    return notes


def _no_interval(asked: Asked) -> str:
    """Why the method asked for can have no interval."""
    if asked.method == "bootstrap":
        return (
            "the bootstrap has no interval (all replicates are equal, or more than one in twenty "
            "lacks a class)"
        )
    return "DeLong's variance is zero or has no degrees of freedom, so it has no interval"


def _own_notes(evaluation: Evaluation) -> list[str]:
    notes = [
        f"AUROC of {c.score.name} is undefined: {c.score.undefined}."
        for c in evaluation.conditions.values()
        if c.score.undefined
    ]
    report = evaluation.report
    fewer = [f"{c.name} ({report.n - c.n:,})" for c in report.conditions if c.n < report.n]
    if fewer:
        notes.append(f"Without a label in the truth, so left out of n: {', '.join(fewer)}.")
    missing = [task for task in COMPETITION if task not in report.mean_over]
    if len(missing) == len(COMPETITION):
        notes.append("No competition task is predicted and defined, so there is no mean.")
    elif missing:
        notes.append(f"The mean lacks {', '.join(missing)}: not predicted, or undefined.")
    return notes


def _reference_notes(
    evaluations: Sequence[Evaluation], references: Sequence[Reference]
) -> list[str]:
    named = dict.fromkeys(name for e in evaluations for name in e.conditions)
    notes = []
    for reference in references:
        lacking = [name for name in named if name not in reference.values]
        if lacking and reference.values:
            notes.append(f"{reference.name} has no AUROC of {', '.join(lacking)}.")
    return notes
