"""Label policies of each client's own: how they are written, what is refused, what they make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bench.errors import SuiteError
from bench.suites.policies import PerClient, PerSite, policies_of
from bench.suites.scenario import Scenario
from bench.suites.suite import Suite, load_suite
from bench.training.targets import client_targets
from bench.training.tasks import MASKED, UNKNOWN, ObservationTask, task_for

HEAD = "suite: s\ndefaults:\n  observations: [Edema, Fracture]\n  clients: 3\n"
NATURAL = "  partition: {name: natural, column: site}\n"
NAN = float("nan")


def suite(tmp_path: Path, more: str) -> Suite:
    (tmp_path / "s.yaml").write_text(HEAD + more)
    return load_suite(tmp_path / "s.yaml")


def scenario(tmp_path: Path, more: str, *overrides: str) -> Scenario:
    (planned,) = suite(tmp_path, more).scenarios(overrides)
    return planned.scenario


def both(policy: str) -> tuple[tuple[str, str], ...]:
    return (("Edema", policy), ("Fracture", policy))


def test_a_list_has_an_entry_for_each_client(tmp_path: Path) -> None:
    mixed = scenario(
        tmp_path,
        "  label_policy: [u-ones, u-zeros, {Edema: u-zeros+lsr, others: u-ignore}]\n",
    )
    third = (("Edema", "u-zeros+lsr"), ("Fracture", "u-ignore"))
    assert mixed.label_policy == PerClient((both("u-ones"), both("u-zeros"), third))
    assert mixed.row()["label_policy"] == [
        {"Edema": "u-ones", "Fracture": "u-ones"},
        {"Edema": "u-zeros", "Fracture": "u-zeros"},
        {"Edema": "u-zeros+lsr", "Fracture": "u-ignore"},
    ]
    assert Scenario.from_row(mixed.row()) == mixed


def test_a_mapping_from_sites_goes_with_a_natural_partition(tmp_path: Path) -> None:
    mixed = scenario(
        tmp_path, NATURAL + "  label_policy: {sites: {nih: u-zeros, chexpert: u-ones}}\n"
    )
    assert mixed.label_policy == PerSite((("chexpert", both("u-ones")), ("nih", both("u-zeros"))))
    assert Scenario.from_row(mixed.row()) == mixed
    assert policies_of(mixed.label_policy, ("nih", "chexpert")) == [both("u-zeros"), both("u-ones")]


def test_sites_that_are_not_named_are_others(tmp_path: Path) -> None:
    mixed = scenario(tmp_path, NATURAL + "  label_policy: {sites: {b: u-zeros, others: u-ones}}\n")
    found = policies_of(mixed.label_policy, ("a", "b", "c"))
    assert found == [both("u-ones"), both("u-zeros"), both("u-ones")]


@pytest.mark.parametrize(
    "written",
    [
        "[u-ones, u-ones, u-ones]",
        "[u-ones, {others: u-ones}, {Edema: u-ones, Fracture: u-ones}]",
        "{sites: {a: u-ones, others: u-ones}}",
    ],
)
def test_one_policy_for_all_keeps_its_identity(tmp_path: Path, written: str) -> None:
    plain = scenario(tmp_path, NATURAL + "  label_policy: u-ones\n")
    found = scenario(tmp_path, NATURAL + f"  label_policy: {written}\n")
    assert found == plain
    assert found.identity("d") == plain.identity("d")


def test_the_identity_of_one_policy_is_what_it_was() -> None:
    """As computed before a policy could be a client's own."""
    row = Scenario(label_policy=both("u-zeros"), observations=("Edema", "Fracture"))
    assert row.identity("d") == "3ab7110146a2299c"


def test_mixed_policies_are_an_identity_of_their_own(tmp_path: Path) -> None:
    lists = ["[u-ones, u-ones, u-zeros]", "[u-ones, u-zeros, u-ones]", "u-ones"]
    found = {scenario(tmp_path, f"  label_policy: {one}\n").identity("d") for one in lists}
    assert len(found) == 3


def test_in_a_grid_a_list_is_a_value(tmp_path: Path) -> None:
    more = "grid:\n  label_policy: [u-ones, [u-ones, u-zeros, u-ones]]\n"
    names = [planned.name for planned in suite(tmp_path, more).scenarios()]
    assert names == ["u-ones", "u-ones+u-zeros"]


def test_an_override_changes_every_client(tmp_path: Path) -> None:
    text = "  label_policy: [u-ones, u-zeros, {Edema: u-ones, others: u-ignore}]\n"
    found = scenario(tmp_path, text, "label_policy.Edema=u-ignore")
    assert isinstance(found.label_policy, PerClient)
    assert [dict(one)["Edema"] for one in found.label_policy.entries] == ["u-ignore"] * 3
    assert [dict(one)["Fracture"] for one in found.label_policy.entries] == [
        "u-ones",
        "u-zeros",
        "u-ignore",
    ]
    by_site = NATURAL + "  label_policy: {sites: {a: u-ones, others: u-zeros}}\n"
    found = scenario(tmp_path, by_site, "label_policy.Edema=u-ignore")
    assert isinstance(found.label_policy, PerSite)
    assert {dict(one)["Edema"] for _, one in found.label_policy.entries} == {"u-ignore"}


def test_selection_by_policy(tmp_path: Path) -> None:
    more = "grid:\n  label_policy: [u-ones, u-zeros, [u-ones, u-zeros, u-ones]]\n"
    whole = suite(tmp_path, more)

    def chosen(expression: str) -> list[int]:
        kept = {planned.name for planned in whole.scenarios(select=expression)}
        return [i for i, planned in enumerate(whole.scenarios()) if planned.name in kept]

    assert chosen("label_policy=u-ones") == [0]
    assert chosen("label_policy=[u-ones,u-zeros,u-ones]") == [2]
    assert chosen("label_policy=[u-ones,u-ones,u-ones]") == []
    assert chosen("label_policy.Edema=u-zeros") == [1]


REFUSED = [
    pytest.param(
        "  label_policy: [u-ones, u-zeros]\n", "5:17", ["3 label", "found: 2"], id="short"
    ),
    pytest.param(
        "  label_policy: [u-ones, u-zeros, u-ones, u-ones]\n",
        "5:17",
        ["'clients: 4'", "under 'grid'"],
        id="long",
    ),
    pytest.param(
        "  label_policy: [u-ones, u-zeros, u-ones]\n  strategy: centralized\n",
        "5:17",
        ["centralized has no clients", "under 'include'"],
        id="centralized",
    ),
    pytest.param(
        "  label_policy: [u-ones, u-ones, u-ones]\n  strategy: centralized\n",
        "5:17",
        ["centralized has no clients"],
        id="centralized, all alike",
    ),
    pytest.param(
        "  label_policy: [u-ones, u-zero, u-ones]\n", "5:26", ["mean 'u-zeros'"], id="misspelt"
    ),
    pytest.param(
        "  label_policy: [u-ones, {Edem: u-ones}, u-ones]\n",
        "5:27",
        ["unknown observation 'Edem'"],
        id="misspelt observation",
    ),
    pytest.param(
        "  label_policy: [u-ones, {Edema: u-ones}, u-ones]\n",
        "5:26",
        ["no label policy for Fracture"],
        id="observation left out",
    ),
    pytest.param(
        "  label_policy: [u-ones, {Pneumonia: u-ones, others: u-ones}, u-ones]\n",
        "5:27",
        ["'Pneumonia', which is not trained on"],
        id="not trained on",
    ),
    pytest.param("  label_policy: []\n", "5:17", ["nothing in it"], id="empty list"),
    pytest.param("  label_policy: [u-ones, [u-ones], u-ones]\n", "5:26", ["a list"], id="nested"),
    pytest.param("  label_policy: [u-ones, 1, u-ones]\n", "5:26", ["found: 1"], id="number"),
    pytest.param(
        "  label_policy: [u-ones, u-multiclass, u-ones]\n",
        "5:17",
        ["u-multiclass has outputs of its own", "at every client, or at none", "give 'Edema' one"],
        id="multiclass at one",
    ),
    pytest.param(
        "  label_policy: [u-ones, {Fracture: u-selftrained, others: u-ones}, u-ones]\n",
        "5:17",
        ["needs a second training", "'Fracture' is u-selftrained for some clients, u-ones"],
        id="selftrained at one",
    ),
    pytest.param(
        "  label_policy: {sites: {a: u-ones, b: u-zeros}}\n",
        "5:17",
        ["clients that are sites", "found: partition: iid"],
        id="sites without a natural partition",
    ),
    pytest.param(
        NATURAL + "  label_policy: {sites: {a: u-ones}, others: u-ones}\n",
        "6:38",
        ["'sites' stands alone", "'others' beside it"],
        id="something beside sites",
    ),
    pytest.param(
        NATURAL + "  label_policy: {sites: {}}\n", "6:25", ["a mapping from sites"], id="no sites"
    ),
    pytest.param(
        NATURAL + "  label_policy: {sites: [u-ones]}\n", "6:25", ["a list"], id="sites as a list"
    ),
    pytest.param(
        NATURAL + "  label_policy: {sites: {a: u-one}}\n", "6:29", ["mean 'u-ones'"], id="in a site"
    ),
]


@pytest.mark.parametrize(("more", "place", "parts"), REFUSED)
def test_refused_at_its_place(tmp_path: Path, more: str, place: str, parts: list[str]) -> None:
    with pytest.raises(SuiteError) as caught:
        suite(tmp_path, more).scenarios()
    message = caught.value.message()
    assert message.startswith(f"{tmp_path / 's.yaml'}:{place}: "), message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("sites", "parts"),
    [
        ("{a: u-ones, bb: u-zeros}", ["unknown: bb", "did you mean 'b'", "policies for a, b"]),
        ("{a: u-ones}", ["none for b", "add 'b'"]),
    ],
)
def test_sites_that_the_data_has_not(tmp_path: Path, sites: str, parts: list[str]) -> None:
    written = scenario(tmp_path, NATURAL + f"  label_policy: {{sites: {sites}}}\n").label_policy
    with pytest.raises(SuiteError) as caught:
        policies_of(written, ("a", "b"))
    for part in parts:
        assert part in caught.value.message()


LABELS = np.array([[-1, 1], [1, -1], [-1, NAN], [0, -1], [-1, -1], [NAN, 0]], dtype=np.float32)
CLIENTS = [np.array([0, 3]), np.array([1, 4]), np.array([2, 5])]


def targets(mixed: Scenario, unknown: np.ndarray | None = None) -> torch.Tensor:
    return client_targets(
        task_for(mixed, unknown=unknown is not None),
        LABELS,
        CLIENTS,
        policies_of(mixed.label_policy, ("0", "1", "2")),
        observations=mixed.observations,
        seed=0,
        unknown=unknown,
    )


def test_each_row_s_targets_are_by_its_client_s_policy(tmp_path: Path) -> None:
    mixed = scenario(
        tmp_path, "  label_policy: [u-ones, u-zeros, {Edema: u-ignore, others: u-ones}]\n"
    )
    assert targets(mixed).tolist() == [
        [1, 1],  # client 0: u-ones
        [1, 0],  # client 1: u-zeros
        [MASKED, 0],  # client 2: Edema masked; a blank is negative
        [0, 1],
        [0, 0],
        [0, 0],
    ]


def test_a_policy_for_others_is_nobody_s_where_every_site_is_named(tmp_path: Path) -> None:
    """In alphabetical order ``others`` comes before the sites, and the task is made by it."""
    mixed = scenario(
        tmp_path, NATURAL + "  label_policy: {sites: {x: u-ones, y: u-ones, others: u-zeros}}\n"
    )
    made = client_targets(
        task_for(mixed),
        np.full((4, 2), -1, dtype=np.float32),
        [np.array([0, 3]), np.array([1, 2])],
        policies_of(mixed.label_policy, ("x", "y")),
        observations=mixed.observations,
        seed=0,
    )
    assert made.tolist() == [[1, 1]] * 4


def test_one_policy_gives_the_task_s_own_targets(tmp_path: Path) -> None:
    plain = scenario(tmp_path, "  label_policy: u-ones+lsr\n")
    assert torch.equal(targets(plain), task_for(plain).targets(LABELS, seed=0))


def test_a_smoothed_label_does_not_depend_on_the_other_clients(tmp_path: Path) -> None:
    alone = targets(scenario(tmp_path, "  label_policy: u-ones+lsr\n"))
    mixed = targets(scenario(tmp_path, "  label_policy: [u-zeros, u-ones+lsr, u-ones]\n"))
    assert torch.equal(mixed[CLIENTS[1]], alone[CLIENTS[1]])
    assert mixed[CLIENTS[0]].tolist() == [[0, 1], [0, 0]]


def test_the_loss_leaves_out_what_any_client_masks(tmp_path: Path) -> None:
    """The first client masks nothing, and yet the mean is over the others' observed cells."""
    mixed = scenario(tmp_path, "  label_policy: [u-ones, u-zeros, u-ignore]\n")
    made = targets(mixed)
    assert (made == MASKED).sum() == 1
    logits = torch.linspace(-2, 2, 12).view(6, 2)
    cells = F.binary_cross_entropy_with_logits(logits, made.clamp_min(0), reduction="none")
    expected = (cells.sum() - cells[2, 0]) / 11
    assert task_for(mixed).loss(logits, made).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(
    "policies", [("u-ones",) * 2, ("u-multiclass",) * 2, ("u-multiclass", "u-ones")]
)
def test_what_nobody_looked_for_is_left_out_of_the_loss(policies: tuple[str, str]) -> None:
    """Rows 0 and 1 of two; column 0 is unknown in row 0: the loss is the mean of three cells."""
    labels = np.array([[NAN, 1], [1, 0]], dtype=np.float32)
    task = ObservationTask(policies, unknown=True)
    plain = ObservationTask(policies)
    known = plain.targets(labels, seed=0)
    made = known.clone()
    made[0, 0] = UNKNOWN
    logits = torch.linspace(-1, 1, 2 * task.outputs).view(2, -1)
    whole = plain.loss(logits, known) * 4
    first = ObservationTask(policies[:1]).loss(
        logits[:1, : 3 if policies[0] == "u-multiclass" else 1], known[:1, :1]
    )
    assert task.loss(logits, made).item() == pytest.approx(((whole - first) / 3).item(), rel=1e-5)


@pytest.mark.parametrize("policy", ["u-ones", "u-multiclass"])
def test_a_batch_of_which_nothing_is_known_has_no_loss_and_no_gradient(policy: str) -> None:
    task = ObservationTask((policy,), unknown=True)
    logits = torch.ones(3, task.outputs, requires_grad=True)
    loss = task.loss(logits, torch.full((3, 1), UNKNOWN))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert logits.grad.abs().sum() == 0


def test_a_teacher_fills_in_uncertain_labels_and_not_unknown_ones() -> None:
    task = ObservationTask(("u-selftrained",), unknown=True)
    made = torch.tensor([[MASKED], [UNKNOWN], [1.0]])
    assert task.relabel(made, torch.full((3, 1), 0.25)).flatten().tolist() == [0.25, UNKNOWN, 1]


def test_unknown_cells_stay_unknown_under_every_client_s_policy(tmp_path: Path) -> None:
    mixed = scenario(tmp_path, "  label_policy: [u-ones, u-zeros, u-ignore]\n")
    unknown = np.zeros(LABELS.shape, dtype=np.bool_)
    unknown[CLIENTS[2], 1] = True
    made = targets(mixed, unknown)
    assert made[CLIENTS[2], 1].tolist() == [UNKNOWN, UNKNOWN]
    assert made[CLIENTS[0], 1].tolist() == [1, 1]
