"""The figure by which runs are set side by side."""

from __future__ import annotations

from typing import Any

from bench.report.headline import Headline, headline_of


def block(mean: float | None, **aurocs: float | None) -> dict[str, Any]:
    entries = {name: {"auroc": value, "ci": [0.1, 0.2]} for name, value in aurocs.items()}
    return {"mean_auroc": mean, "mean_ci": [0.3, 0.4], "observations": entries}


def test_the_mean_wherever_any_run_has_one() -> None:
    found = headline_of([block(None, Pneumonia=0.9), block(0.7, Edema=0.7)])
    assert found == Headline(None)
    assert found.title == "Mean AUROC"
    assert (found.auroc(block(0.7)), found.interval(block(0.7))) == (0.7, [0.3, 0.4])


def test_else_the_first_observation_with_an_auroc() -> None:
    found = headline_of([block(None, Fracture=None), block(None, Fracture=None, Pneumonia=0.9)])
    assert found == Headline("Pneumonia")
    assert found.title == "AUROC, Pneumonia"
    assert found.auroc(block(None, Pneumonia=0.9)) == 0.9
    assert found.interval(block(None, Pneumonia=0.9)) == [0.1, 0.2]
    assert found.auroc(block(None, Fracture=0.5)) is None


def test_nothing_defined_is_the_undefined_mean() -> None:
    assert headline_of([block(None, Fracture=None)]).auroc(block(None)) is None
    assert headline_of([]) == Headline(None)


def test_the_best_member_is_by_the_same_figure() -> None:
    members = {
        "client-0": {"mean_auroc": 0.6, "auroc": {"Pneumonia": 0.9}},
        "client-1": {"mean_auroc": 0.8, "auroc": {"Pneumonia": 0.7}},
        "client-2": {"mean_auroc": None, "auroc": {"Pneumonia": None}},
    }
    whole = {**block(0.7), "by_member": members}
    assert Headline().best_member(whole) == ("client-1", 0.8)
    assert Headline("Pneumonia").best_member(whole) == ("client-0", 0.9)
    assert Headline("Edema").best_member(whole) is None
    assert Headline().best_member(block(0.7)) is None
