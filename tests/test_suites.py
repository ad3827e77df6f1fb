"""What a suite expands to: scenarios, names, origins, overrides and selection."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from bench.errors import SuiteError
from bench.observations import COMPETITION, OBSERVATIONS
from bench.suites.choice import Choice
from bench.suites.gates import AurocGate, Gates, ThroughputGate
from bench.suites.naming import LONGEST
from bench.suites.scenario import Scenario
from bench.suites.suite import Planned, Suite, load_suite, shipped_suites


@pytest.fixture
def suite_of(tmp_path: Path) -> Any:
    def write(text: str) -> Suite:
        file = tmp_path / "s.yaml"
        file.write_text("suite: s\n" + text, encoding="utf-8")
        return load_suite(file)

    return write


def named(planned: Sequence[Planned]) -> list[str]:
    return [p.name for p in planned]


FEDAVG = """\
defaults: {label_policy: u-ones, rounds: 10, image_size: 320}
grid:
  strategy: [centralized, local, fedavg]
  label_policy: [u-zeros, u-ones]
include:
  - partition: {name: dirichlet, alpha: 0.3}
profiles:
  phantom: {rounds: 3, image_size: 64}
"""


def test_grid_then_include_with_readable_names(suite_of: Any) -> None:
    assert named(suite_of(FEDAVG).scenarios()) == [
        "centralized-u-zeros",
        "centralized-u-ones",
        "local-u-zeros",
        "local-u-ones",
        "fedavg-u-zeros",
        "fedavg-u-ones",
        "fedavg-dirichlet-alpha0.3-u-ones",
    ]


def test_an_include_row_is_laid_over_the_defaults_not_the_grid(suite_of: Any) -> None:
    last = suite_of(FEDAVG).scenarios()[-1].scenario
    assert last.strategy == Choice("fedavg")
    assert last.partition == Choice(
        "dirichlet", (("alpha", 0.3), ("balanced", False), ("min_size", 10))
    )
    assert set(last.label_policy) == {(name, "u-ones") for name in OBSERVATIONS}


def test_without_grid_and_include_the_defaults_are_the_one_scenario(suite_of: Any) -> None:
    (only,) = suite_of("defaults: {clients: 7}\n").scenarios()
    assert only.name == "fedavg"
    assert only.scenario.clients == 7


def test_with_include_alone_the_defaults_are_no_scenario_of_their_own(suite_of: Any) -> None:
    suite = suite_of("include:\n  - {clients: 2}\n  - {clients: 3}\n")
    assert [p.scenario.clients for p in suite.scenarios()] == [2, 3]


def test_the_last_axis_changes_fastest(suite_of: Any) -> None:
    suite = suite_of("grid: {clients: [2, 3], seed: [0, 1]}\n")
    got = [(p.scenario.clients, p.scenario.seed) for p in suite.scenarios()]
    assert got == [(2, 0), (2, 1), (3, 0), (3, 1)]
    assert named(suite.scenarios()) == [
        "clients2-seed0",
        "clients2-seed1",
        "clients3-seed0",
        "clients3-seed1",
    ]


def test_an_include_row_with_a_grid_stands_for_its_combinations(suite_of: Any) -> None:
    suite = suite_of("include:\n  - {clients: 2, grid: {seed: [0, 1], rounds: [5, 6]}}\n")
    got = [(p.scenario.clients, p.scenario.seed, p.scenario.rounds) for p in suite.scenarios()]
    assert got == [(2, 0, 5), (2, 0, 6), (2, 1, 5), (2, 1, 6)]


def test_a_dotted_axis_sweeps_one_parameter(suite_of: Any) -> None:
    suite = suite_of(
        "defaults: {optimizer: {name: sgd, lr: 1, momentum: 0.9}}\n"
        "grid: {optimizer.lr: [1e-2, 1e-1]}\n"
    )
    planned = suite.scenarios()
    assert [p.scenario.optimizer["lr"] for p in planned] == [0.01, 0.1]
    assert {p.scenario.optimizer["momentum"] for p in planned} == {0.9}
    assert named(planned) == ["sgd-lr0.01-momentum0.9", "sgd-lr0.1-momentum0.9"]


LETTERS = {
    Choice("fedavg"): "a",
    Choice("fedprox", (("mu", 0.01),)): "b",
    Choice("fedprox", (("mu", 0.1),)): "c",
}


@pytest.mark.parametrize(
    ("row", "left"),
    [
        ("{strategy: fedprox}", "a0 a1"),
        ("{strategy: {name: fedprox}}", "a0 a1"),
        ("{strategy.mu: 0.1}", "a0 a1 b0 b1"),
        ("{strategy: {mu: 0.1}}", "a0 a1 b0 b1"),
        ("{strategy: {name: fedprox, mu: 0.1}, seed: 1}", "a0 a1 b0 b1 c0"),
        ("{strategy: fedavg, seed: 1}", "a0 b0 b1 c0 c1"),
        ("{label_policy: u-ones}", ""),
        ("{label_policy: {Edema: u-ones}, seed: 0}", "a1 b1 c1"),
        ("{label_policy.Edema: u-ones, seed: 0}", "a1 b1 c1"),
        ("{observations: all, batch_size: 16, seed: 0}", "a1 b1 c1"),
    ],
)
def test_exclude_leaves_out_what_has_every_value_of_a_row(
    suite_of: Any, row: str, left: str
) -> None:
    suite = suite_of(
        "grid:\n"
        "  strategy: [fedavg, fedprox, {name: fedprox, mu: 0.1}]\n"
        "  seed: [0, 1]\n"
        f"exclude:\n  - {row}\n"
    )
    expansion = suite.expand()
    got = [LETTERS[p.scenario.strategy] + str(p.scenario.seed) for p in expansion.scenarios]
    assert got == left.split()
    assert expansion.notes == ()


def test_an_exclude_row_that_matches_nothing_is_noted(suite_of: Any) -> None:
    suite = suite_of("grid: {seed: [0, 1]}\nexclude:\n  - {batch_size: all}\n")
    expansion = suite.expand()
    assert len(expansion.scenarios) == 2
    assert expansion.notes == (f"{suite.file}:4:5: this exclude row matches no scenario",)


def test_exclude_looks_at_the_suite_before_the_command_line(suite_of: Any) -> None:
    suite = suite_of("grid: {seed: [0, 1]}\nexclude:\n  - {rounds: 2}\n")
    assert len(suite.scenarios(overrides=["rounds=2"])) == 2


def test_a_profile_overrides_defaults_but_neither_grid_nor_command_line(suite_of: Any) -> None:
    suite = suite_of(
        "defaults: {rounds: 10, clients: 5, image_size: 320, optimizer.lr: 1e-3}\n"
        "grid: {rounds: [7]}\n"
        "profiles: {phantom: {rounds: 3, clients: 2, image_size: 64, optimizer.lr: 1e-2}}\n"
    )
    (bare,) = suite.scenarios()
    (shrunk,) = suite.scenarios(profile="phantom", overrides=["image_size=32"])
    assert (bare.scenario.rounds, bare.scenario.clients, bare.scenario.image_size) == (7, 5, 320)
    assert (shrunk.scenario.rounds, shrunk.scenario.clients, shrunk.scenario.image_size) == (
        7,
        2,
        32,
    )
    assert (bare.scenario.optimizer["lr"], shrunk.scenario.optimizer["lr"]) == (1e-3, 1e-2)
    assert suite.scenarios(profile="unheard of") == [bare]


def test_every_value_knows_where_it_is_from(suite_of: Any) -> None:
    suite = suite_of(FEDAVG)
    *_, planned = suite.scenarios(
        profile="phantom", overrides=["optimizer.lr=1e-3", "seed=4"], select="dirichlet"
    )
    file = suite.file
    assert planned.origin.keys() == planned.scenario.row().keys()
    assert planned.origin["label_policy"] == f"defaults ({file}:2:26)"
    assert planned.origin["rounds"] == f"profile phantom ({file}:9:21)"
    assert planned.origin["partition"] == f"include row 1 ({file}:7:16)"
    assert planned.origin["seed"] == "-s seed=4"
    assert planned.origin["optimizer"] == "bench's default; lr from -s optimizer.lr=1e-3"
    assert planned.origin["clients"] == "bench's default"
    first = suite.scenarios()[0].origin
    assert first["strategy"] == f"grid ({file}:4:14)"
    assert first["clients"] == "fixed: centralized has no clients"


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("rounds=3", "rounds", 3),
        ("fraction=1e-1", "fraction", 0.1),
        ("batch_size=all", "batch_size", None),
        ("strategy=local", "strategy", Choice("local")),
        ("strategy={name: fedprox, mu: 1}", "strategy", Choice("fedprox", (("mu", 1.0),))),
        ("observations=[Edema, Cardiomegaly]", "observations", ("Cardiomegaly", "Edema")),
        ("pretrained=weights/x.safetensors", "pretrained", "weights/x.safetensors"),
    ],
)
def test_overrides_are_yaml_and_win(suite_of: Any, override: str, key: str, value: Any) -> None:
    suite = suite_of("defaults: {rounds: 9}\ngrid: {batch_size: [8], fraction: [0.5]}\n")
    (planned,) = suite.scenarios(overrides=[override])
    assert getattr(planned.scenario, key) == value
    assert planned.origin[key] == f"-s {override}"


def test_nothing_as_an_override_is_a_value_and_a_wrong_one(suite_of: Any) -> None:
    with pytest.raises(SuiteError) as caught:
        suite_of("").scenarios(overrides=["batch_size=null"])
    assert str(caught.value).splitlines()[1:] == [
        "  expected: a whole number at least 1 or 'all'",
        "  found: nothing",
    ]


def test_of_two_overrides_the_later_counts_and_dotted_ones_come_last(suite_of: Any) -> None:
    (planned,) = suite_of("").scenarios(
        overrides=["strategy.mu=0.5", "rounds=1", "strategy=fedprox", "rounds=2"]
    )
    assert planned.scenario.rounds == 2
    assert planned.scenario.strategy == Choice("fedprox", (("mu", 0.5),))


def test_one_observation_s_policy_can_be_overridden(suite_of: Any) -> None:
    (planned,) = suite_of(
        "defaults: {observations: competition, label_policy: u-ones}\n"
    ).scenarios(overrides=["label_policy.Pleural Effusion=u-multiclass"])
    policies = dict(planned.scenario.label_policy)
    assert policies.pop("Pleural Effusion") == "u-multiclass"
    assert set(policies.values()) == {"u-ones"}
    assert len(policies) == 4


def test_scenarios_made_equal_by_an_override_are_kept_once_and_noted(suite_of: Any) -> None:
    expansion = suite_of(FEDAVG).expand(overrides=["strategy=local", "partition=iid"])
    assert named(expansion.scenarios) == ["u-zeros", "u-ones"]
    assert expansion.notes == ("5 scenarios are equal to another and left out",)


def test_a_centralised_run_is_one_experiment_however_many_clients_it_is_asked_for(
    suite_of: Any,
) -> None:
    suite = suite_of("grid: {strategy: [centralized, fedavg], clients: [2, 10]}\n")
    expansion = suite.expand()
    assert named(expansion.scenarios) == ["centralized", "fedavg-clients2", "fedavg-clients10"]
    assert expansion.notes == ("1 scenario is equal to another and left out",)


@pytest.mark.parametrize(
    ("line", "settled"),
    [
        ("strategy: centralized, partition: shards, fraction: 0.1", {"clients": 1, "fraction": 1}),
        ("strategy: local, fraction: 0.1, buffers: local", {"fraction": 1, "buffers": "average"}),
        ("strategy: centralized, buffers: frozen", {"buffers": "frozen"}),
        ("strategy: fedbn", {"buffers": "local"}),
        (
            "strategy: fedsgd, optimizer: {name: sgd, lr: 1}, batch_size: 8, local_epochs: 3",
            {"batch_size": None, "local_epochs": 1},
        ),
        (
            "dataset: mnist, label_policy: u-ones, views: mean",
            {"observations": (), "label_policy": (), "views": "max"},
        ),
    ],
)
def test_keys_without_a_meaning_have_one_value(
    suite_of: Any, line: str, settled: dict[str, Any]
) -> None:
    (planned,) = suite_of(f"defaults: {{{line}}}\n").scenarios()
    assert {key: getattr(planned.scenario, key) for key in settled} == settled


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("fedavg", ["fedavg-u-zeros", "fedavg-u-ones", "fedavg-dirichlet-alpha0.3-u-ones"]),
        ("FEDAVG and not dirichlet", ["fedavg-u-zeros", "fedavg-u-ones"]),
        ("strategy=local or partition.alpha=0.3 and u-ones", "local-u-zeros local-u-ones D"),
        ("(strategy=local or fedavg) and u-zeros", ["local-u-zeros", "fedavg-u-zeros"]),
        ("label_policy=u-zeros and not (local or fedavg)", ["centralized-u-zeros"]),
        ("label_policy.Edema=u-ones and strategy=centralized", ["centralized-u-ones"]),
        ("partition={name: dirichlet, alpha: 0.3}", ["fedavg-dirichlet-alpha0.3-u-ones"]),
        ("rounds=10 and not not local", ["local-u-zeros", "local-u-ones"]),
        ("rounds=11", []),
        ("local and label_policy={Edema: u-ones, others: u-ones}", ["local-u-ones"]),
        ("label_policy={sites: {a: {Edema: u-ones}, others: u-zeros}} or rounds=11", []),
        ("label_policy=[u-ones, {others: u-ones}]", []),
    ],
)
def test_selection(suite_of: Any, expression: str, expected: list[str] | str) -> None:
    if isinstance(expected, str):
        expected = [n.replace("D", "fedavg-dirichlet-alpha0.3-u-ones") for n in expected.split()]
    suite = suite_of(FEDAVG)
    assert named(suite.scenarios(select=expression)) == expected


def test_names_do_not_depend_on_the_selection(suite_of: Any) -> None:
    suite = suite_of(FEDAVG)
    every = {p.name: p.scenario for p in suite.scenarios()}
    for name, scenario in every.items():
        assert {p.name: p.scenario for p in suite.scenarios(select=name)}[name] == scenario


def test_names_are_safe_and_short(suite_of: Any) -> None:
    suite = suite_of(
        "grid:\n"
        "  partition:\n"
        "    - {name: attribute, by: Frontal/Lateral}\n"
        "    - {name: natural, column: 'a b/../c'}\n"
        f"  pretrained: [{'x' * 90}.safetensors, {'x' * 90}y.safetensors]\n"
    )
    planned = named(suite.scenarios())
    assert len(set(planned)) == 4
    assert all(len(name) <= LONGEST and "/" not in name and " " not in name for name in planned)


def test_names_that_differ_only_in_case_are_told_apart(suite_of: Any) -> None:
    first, second = named(
        suite_of("grid: {pretrained: [Net.safetensors, net.safetensors]}\n").scenarios()
    )
    assert first.lower() != second.lower()


def test_the_gates_have_defaults_and_are_read(suite_of: Any) -> None:
    assert suite_of("").gates == Gates(
        auroc=AurocGate(tolerance=0.01, alpha=0.05),
        throughput=ThroughputGate(tolerance=0.10, alpha=0.05, minimum_samples=6),
    )
    gates = suite_of("gates: {auroc: {tolerance: 0.02}, throughput: {minimum_samples: 9}}\n").gates
    assert (gates.auroc.tolerance, gates.auroc.alpha) == (0.02, 0.05)
    assert (gates.throughput.minimum_samples, gates.throughput.tolerance) == (9, 0.10)


# At large


VALUES: dict[str, list[Any]] = {
    "strategy": ["fedavg", "fedprox", {"name": "fedprox", "mu": 0.5}, "fedavgm", "median"],
    "partition": ["iid", "shards", {"name": "dirichlet", "alpha": 0.1}, "uncertainty"],
    "label_policy": ["u-ones", "u-zeros", {"others": "u-ones", "Edema": "u-ignore"}],
    "clients": [2, 3, 10],
    "batch_size": [8, "all"],
    "optimizer": ["adam", {"name": "sgd", "lr": 0.1}],
    "seed": [0, 1, 2],
    "pretrained": [False, True],
    "augment": ["none", "flip"],
}

grids = st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4, unique=True).flatmap(
    lambda keys: st.fixed_dictionaries(
        {
            key: st.lists(st.sampled_from(VALUES[key]), min_size=1, max_size=3, unique_by=repr)
            for key in keys
        }
    )
)


def dumped(data: Any, file: Path) -> Suite:
    with file.open("w", encoding="utf-8") as stream:
        YAML(typ="safe", pure=True).dump(data, stream)
    return load_suite(file)


@given(grid=grids)
@settings(max_examples=40, deadline=None)
def test_an_expansion_is_the_product_with_unique_safe_names(
    tmp_path_factory: pytest.TempPathFactory, grid: dict[str, list[Any]]
) -> None:
    file = tmp_path_factory.mktemp("grid") / "s.yaml"
    planned = dumped({"suite": "s", "grid": grid}, file).scenarios()
    assert len(planned) == math.prod(map(len, grid.values()))
    assert len({p.name.lower() for p in planned}) == len(planned)
    assert len({p.scenario.identity("d") for p in planned}) == len(planned)
    for p in planned:
        assert 0 < len(p.name) <= LONGEST
        assert not set(p.name) & set("/\\ :*?\"<>|'")
        assert Scenario.from_row(p.scenario.row()) == p.scenario


@given(
    row=st.fixed_dictionaries({key: st.sampled_from(values) for key, values in VALUES.items()}),
    order=st.permutations(sorted(VALUES)),
)
@settings(max_examples=30, deadline=None)
def test_identity_does_not_depend_on_the_order_of_keys(
    tmp_path_factory: pytest.TempPathFactory, row: dict[str, Any], order: list[str]
) -> None:
    def turned(value: Any) -> Any:
        return dict(reversed(value.items())) if isinstance(value, dict) else value

    folder = tmp_path_factory.mktemp("order")
    (one,) = dumped({"suite": "s", "defaults": row}, folder / "a.yaml").scenarios()
    again = {key: turned(row[key]) for key in order}
    (two,) = dumped({"defaults": again, "suite": "s"}, folder / "b.yaml").scenarios()
    assert one.scenario == two.scenario
    assert one.scenario.identity("d") == two.scenario.identity("d")


def test_identity_is_what_decides_the_numbers() -> None:
    bare = Scenario()
    fedprox = Scenario(strategy=Choice("fedprox", (("mu", 0.01),)))
    assert bare.identity("d") != bare.identity("e")
    assert bare.identity("d") != fedprox.identity("d")
    # a parameter at its default is not hashed, so that one added later renames no run
    assert fedprox.identity("d") == Scenario(strategy=Choice("fedprox")).identity("d")


def test_a_zero_with_a_sign_is_the_same_scenario(suite_of: Any) -> None:
    plus, minus = (
        suite_of(f"defaults: {{fraction: {zero}}}\n").scenarios()[0].scenario
        for zero in ("0.0", "-0.0")
    )
    assert plus.identity("d") == minus.identity("d")


def test_ten_thousand_scenarios_have_names_of_their_own(suite_of: Any) -> None:
    suite = suite_of(
        "grid:\n"
        "  strategy: [fedavg, fedprox, fedavgm, median]\n"
        "  label_policy: [u-zeros, u-ones]\n"
        "  optimizer.lr: [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]\n"
        f"  seed: {list(range(250))}\n"
        "exclude: [{seed: 1000}]\n"
    )
    planned = suite.scenarios(overrides=["rounds=2"])
    assert len(planned) == 10_000
    assert len(set(named(planned))) == 10_000


# What ships


@pytest.mark.parametrize("name", shipped_suites())
@pytest.mark.parametrize("profile", [None, "phantom"])
def test_shipped_suites_expand_without_a_note(name: str, profile: str | None) -> None:
    suite = load_suite(name)
    expansion = suite.expand(profile=profile)
    assert suite.name == name
    assert suite.description
    assert expansion.scenarios
    assert expansion.notes == ()
    assert suite.document.file == f"suites/{name}.yaml"


def test_a_shipped_suite_is_found_by_name_and_by_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_suite("fedavg").scenarios() == load_suite("suites/fedavg.yaml").scenarios()
    (tmp_path / "fedavg").mkdir()  # as in a results folder
    assert load_suite("fedavg").scenarios() == load_suite("suites/fedavg.yaml").scenarios()
    with pytest.raises(SuiteError, match="no such suite"):
        load_suite("elsewhere/fedavg.yaml")


def test_the_paper_s_choice_for_each_observation_ships() -> None:
    policies = {p.name: p.scenario.label_policy for p in load_suite("label_policies").scenarios()}
    assert len(policies) == 8
    assert dict(policies["per-observation"]) == {
        "Atelectasis": "u-ones",
        "Cardiomegaly": "u-multiclass",
        "Consolidation": "u-selftrained",
        "Edema": "u-ones",
        "Pleural Effusion": "u-multiclass",
    }
    assert {name for name, _ in policies["u-ones"]} == set(COMPETITION)


def test_the_smoke_suite_times_enough_rounds_for_its_gate() -> None:
    suite = load_suite("smoke")
    for planned in suite.scenarios(profile="phantom"):
        assert planned.scenario.rounds >= suite.gates.throughput.minimum_samples
