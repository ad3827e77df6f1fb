"""``bench score``: scores any model's predictions against the truth."""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.app import app
from bench.cli.options import (
    Format,
    FormatOption,
    JsonOption,
    Level,
    OutputOption,
    QuietOption,
    number_option,
    remark,
)

if TYPE_CHECKING:
    from bench.report.references import Reference
    from bench.report.table import Table
    from bench.scoring.evaluation import Asked, Evaluation
    from bench.scoring.operating import Fixed
    from bench.scoring.studies import StudyScores

MOST_REPLICATES = 1_000_000
"""More would take minutes and gigabytes, and change no digit that is shown."""
HIGHEST_CONFIDENCE = 0.999999
"""Beyond it no interval of these methods says anything: its tails are not known so far out."""


class Views(StrEnum):
    """How the views of a study become its score."""

    max = "max"
    mean = "mean"
    frontal = "frontal"


class Intervals(StrEnum):
    """How intervals are computed."""

    logit = "logit"
    wald = "wald"
    bootstrap = "bootstrap"


class Uncertain(StrEnum):
    """What -1 in the truth means."""

    fail = "fail"
    ignore = "ignore"
    zeros = "zeros"
    ones = "ones"


@app.command()
def score(
    predictions: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE", help="CSV files: Study or Path, then a column of scores per condition."
        ),
    ],
    truth: Annotated[
        Path, typer.Option("--truth", help="CSV: Study or Path, then 0, 1 or blank per condition.")
    ],
    each: Annotated[
        bool, typer.Option("--each", help="Score every file on its own, not as an ensemble.")
    ] = False,
    views: Annotated[
        Views, typer.Option(help="How the views of a study become its score.")
    ] = Views.max,
    level: Annotated[Level, typer.Option(help="Score studies, or each image.")] = Level.study,
    ci: Annotated[Intervals, typer.Option(help="How intervals are computed.")] = Intervals.logit,
    confidence: Annotated[float, typer.Option(help="Coverage of the intervals.")] = 0.95,
    replicates: Annotated[
        int,
        number_option(
            "--replicates", low=100, high=MOST_REPLICATES, help="Replicates of the bootstrap."
        ),
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    radiologists: Annotated[
        Path | None,
        typer.Option(help="A folder with a CSV of 0/1 calls per radiologist.", show_default=False),
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="ID", help="A published table to subtract.")
    ] = None,
    against_row: Annotated[
        list[str] | None,
        typer.Option(
            "--against-row", metavar="METHOD", help="Of that table, the row; all rows if few."
        ),
    ] = None,
    calibration: Annotated[
        bool, typer.Option("--calibration", help="Add Brier score and calibration error.")
    ] = False,
    operating_point: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RATE=BOUND",
            help="Add the other rate where one is held: specificity=0.9 or sensitivity=0.95.",
        ),
    ] = None,
    uncertain: Annotated[
        Uncertain, typer.Option(help="What -1 in the truth means.")
    ] = Uncertain.fail,
    ignore_extra: Annotated[
        bool, typer.Option("--ignore-extra", help="Pass over predictions without truth.")
    ] = False,
    form: FormatOption = Format.table,
    output: OutputOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score a model's predictions, read from CSV files.

    Shows AUROC with its interval and AUPRC, and how they stand to radiologists and to what was
    published. Several files are an ensemble: their mean, taken before the views of a study are
    combined.
    """
    from bench.baselines import load_baseline
    from bench.errors import UsageError
    from bench.report.references import comparability, references
    from bench.report.render import emit, render_json, show
    from bench.scoring.evaluation import Asked, evaluate
    from bench.scoring.predictions import Rules, match, read_truth
    from bench.scoring.readers import read_readers

    asked = Asked(
        method=ci.value,
        confidence=_confidence(confidence),
        replicates=replicates,
        seed=seed,
        points=tuple(_point(text) for text in operating_point or ()),
    )
    if against_row and against is None:
        raise UsageError("--against-row names a row of a table, and no table is named with it")
    published = None if against is None else load_baseline(against)
    subtracted = () if published is None else references(published, against_row or ())
    rules = Rules(
        views=views.value,
        level=level.value,
        uncertain=uncertain.value,
        ignore_extra=ignore_extra,
    )
    labels = read_truth(truth, rules)
    names = _names(predictions)
    if each:
        matched = [match(labels, [p], n) for p, n in zip(predictions, names, strict=True)]
    else:
        matched = [match(labels, predictions, " + ".join(names))]

    @cache
    def people(observations: tuple[str, ...]) -> dict[str, StudyScores]:
        return read_readers(radiologists, labels, observations) if radiologists else {}

    evaluations = [
        evaluate(model.name, model.scored, asked, people(model.scored.observations))
        for model in matched
    ]
    views_used = views.value if any(model.combined for model in matched) else None
    notes = [_setting(len(labels.units), labels.level, views_used, 1 if each else len(names))]
    notes += _clusters(matched[0].scored.patients, labels.level, asked.method)
    if views is not Views.max and views_used is None:
        notes.append(f"--views {views.value} changes nothing: no views had to be combined.")
    if each and (calibration or operating_point):
        notes.append("Calibration and operating points of several models are in --json only.")
    notes += dict.fromkeys(note for model in matched for note in model.notes)
    if published is not None:
        notes += comparability(published, labels.level, len(labels.units))
    table = _table(evaluations, asked, each, truth, notes, calibration, subtracted)
    if as_json or form is Format.json:
        documents = [_document(evaluation, asked) for evaluation in evaluations]
        extra: dict[str, Any] = {"level": labels.level, "views": views_used, "against": against}
        extra |= {"models": documents} if each else documents[0]
        emit(render_json(table, **extra), output)
    else:
        show(table, form.value, output, quiet=quiet)
    if output is not None:
        remark(f"wrote {output}", quiet=quiet)


def _confidence(value: float) -> float:
    from bench.errors import UsageError

    if not 0.0 < value <= HIGHEST_CONFIDENCE:
        raise UsageError(
            "--confidence is not a coverage",
            expected=f"a number above 0 and up to {HIGHEST_CONFIDENCE}, such as 0.95",
            found=f"{value:g}",
        )
    return value


def _point(text: str) -> tuple[Fixed, float]:
    """``specificity=0.9`` or ``spec=0.9`` as its parts."""
    from bench.errors import UsageError

    rate, _, bound = text.partition("=")
    known: dict[str, Fixed] = {
        "specificity": "specificity",
        "spec": "specificity",
        "sensitivity": "sensitivity",
        "sens": "sensitivity",
    }
    try:
        value = float(bound)
    except ValueError:
        value = -1.0
    if rate.strip() not in known or not 0.0 <= value <= 1.0:
        raise UsageError(
            "--operating-point cannot be read",
            expected="specificity=BOUND or sensitivity=BOUND, with a bound between 0 and 1",
            found=repr(text),
        )
    return known[rate.strip()], value


def _names(paths: list[Path]) -> list[str]:
    """The files' names without extension; where two would be alike, with the folder or in full."""
    from bench.errors import UsageError

    names = [path.stem for path in paths]
    for longer in ([f"{path.parent.name}/{path.stem}" for path in paths], list(map(str, paths))):
        names = [
            more if names.count(name) > 1 else name
            for name, more in zip(names, longer, strict=True)
        ]
    files = [path.resolve() for path in paths]
    twice = next((path for i, path in enumerate(paths) if files[i] in files[:i]), None)
    if twice is not None:
        raise UsageError(
            "a file of predictions is named twice",
            where=twice,
            mend="name each file once; twice would give it double weight",
        )
    return names


def _setting(units: int, level: str, views: str | None, files: int) -> str:
    """What was scored, in one sentence."""
    from bench.scoring.predictions import counted

    text = counted(units, level)
    if views is not None:
        text += f", the views of a study combined by {views}"
    return f"{text}, the mean of {files} files." if files > 1 else f"{text}."


def _clusters(patients: Any, level: str, method: str) -> list[str]:
    """A caution where patients come with several studies, which DeLong takes as independent."""
    from bench.scoring.predictions import counted

    count = len(set(patients.tolist()))
    if count == len(patients) or method == "bootstrap":
        return []
    whose = f"{count:,} patients" if count > 1 else "one patient"
    return [
        f"The {counted(len(patients), level)} come from {whose}, and these intervals take them "
        "as independent; --ci bootstrap resamples patients."
    ]


def _table(
    evaluations: list[Evaluation],
    asked: Asked,
    each: bool,
    truth: Path,
    notes: list[str],
    calibrated: bool,
    subtracted: tuple[Reference, ...],
) -> Table:
    from bench.report.score_table import each_table, model_table

    if each:
        models = "1 model" if len(evaluations) == 1 else f"{len(evaluations)} models"
        title = f"{models} against {truth.name}"
        return each_table(evaluations, asked, title=title, notes=notes, references=subtracted)
    return model_table(
        evaluations[0],
        asked,
        title=f"{evaluations[0].name} against {truth.name}",
        notes=notes,
        calibrated=calibrated,
        references=subtracted,
    )


def _document(evaluation: Evaluation, asked: Asked) -> dict[str, Any]:
    """The JSON of one model."""
    from bench.scoring.evaluation import condition_document

    report = evaluation.report
    return {
        "name": evaluation.name,
        "n": report.n,
        "conditions": {
            name: condition_document(condition, asked)
            for name, condition in evaluation.conditions.items()
        },
        "mean_auroc": report.mean_auroc,
        "mean_ci": None if report.mean_ci is None else list(report.mean_ci),
        "mean_method": report.mean_method,
        "mean_over": list(report.mean_over),
        "mean_auprc": evaluation.mean_auprc,
        "radiologists_below_curve": evaluation.mean_below,
        "calibration_refused": evaluation.calibration_refused,
    }
