"""Suites that are wrong: one SuiteError each, at its place, saying what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import SuiteError, UsageError
from bench.suites.suite import load_suite

HEAD = "suite: s\n"


def bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    return "\n".join(lines) + "\n"


CASES = [
    # text, place, what the message must contain
    pytest.param("", "1:1", ["there is nothing in it"], id="empty"),
    pytest.param("# a comment\n", "1:1", ["there is nothing in it"], id="only a comment"),
    pytest.param("- suite: s\n", "1:1", ["top of the file", "a list of 1 value"], id="list on top"),
    pytest.param("fedavg\n", "1:1", ["not a mapping", "'fedavg'"], id="word on top"),
    pytest.param(
        "suite: s\nsuite: t\n", "2:1", ["'suite' is written twice", "line 1"], id="duplicate key"
    ),
    pytest.param(
        "suite: s\ndefaults:\n  seed: 1\n  rounds: 2\n  seed: 2\n",
        "5:3",
        ["'seed' is written twice", "line 3, column 3"],
        id="duplicate key below",
    ),
    pytest.param("suite: s\ndefaults:\n\tseed: 1\n", "3:1", ["spaces", "tabs"], id="tab"),
    pytest.param("suite: s\ngrid: {seed: [1, 2\n", "3:1", ["close what is left"], id="not closed"),
    pytest.param("suite: s\ndescription: a: b\n", "2:15", ["quotes"], id="colon in text"),
    pytest.param("suite: s\ndescription: @x\n", "2:14", ["quotes"], id="reserved character"),
    pytest.param("suite: s\n---\nsuite: t\n", "2:1", ["second document"], id="two documents"),
    pytest.param("%YAML 1.1\n---\nsuite: s\n", "2:1", ["YAML 1.2", "YAML 1.1"], id="YAML 1.1"),
    pytest.param(
        "suite: !!python/object:os.system s\n", "1:8", ["a tag that means nothing"], id="tag"
    ),
    pytest.param("suite: *x\n", "1:8", ["*x refers to nothing"], id="alias to nothing"),
    pytest.param(bomb(), "6:5", ["too many values", "200,000"], id="alias bomb"),
    pytest.param("suite: " + "[" * 100, "1:48", ["40 levels"], id="nested too deep"),
    pytest.param("suite: s\x07\n", "1:9", ["U+0007"], id="control character"),
    pytest.param("? [a, b]\n: c\n", "1:3", ["a key that is not a word"], id="complex key"),
    pytest.param("---\n---\nsuite: s\n", "2:1", ["second document"], id="an empty one first"),
    pytest.param(
        HEAD + "defaults: &d {seed: 1}\ninclude:\n  - {<<: *d, rounds: 2}\n",
        "4:6",
        ["a merge key", "write the merged values out"],
        id="merge key",
    ),
    *(
        pytest.param(
            HEAD + f"defaults: {{{key}: {number}}}\n",
            f"2:{14 + len(key)}",
            ["whole number that is too large", "9223372036854775807", f"found: '{number[:9]}"],
            id=f"{key} of {len(number)} digits",
        )
        for key, number in (
            ("seed", "9223372036854775808"),
            ("rounds", "9" * 400),
            ("fraction", "9" * 5000),
            ("backbone", "0x" + "f" * 6000),
        )
    ),
    pytest.param(
        "suite: s\ndefalts: {}\n", "2:1", ["unknown key 'defalts'", "mean 'defaults'"], id="section"
    ),
    pytest.param("defaults: {}\n", "1:1", ["'suite' is missing"], id="no name"),
    pytest.param("suite: 1\n", "1:8", ["suite", "text", "1"], id="number for a name"),
    pytest.param("suite: a/b\n", "1:8", ["suite", "'a/b'"], id="name is no folder"),
    pytest.param(HEAD + "defaults: [1]\n", "2:11", ["defaults", "a list of 1"], id="list section"),
    pytest.param(HEAD + "include: {seed: 1}\n", "2:10", ["include", "list"], id="include mapping"),
    pytest.param(HEAD + "exclude:\n  - {}\n", "3:5", ["exclude.0", "at least 1"], id="empty row"),
    pytest.param(
        HEAD + "grid: {strategy: fedavg}\n", "2:18", ["grid.strategy", "list"], id="grid word"
    ),
    pytest.param(HEAD + "grid: {seed: []}\n", "2:14", ["grid.seed", "at least 1"], id="empty axis"),
    pytest.param(
        HEAD + "defaults:\n  stratgy: fedavg\n",
        "3:3",
        ["unknown key 'stratgy'", "did you mean 'strategy'?"],
        id="key",
    ),
    pytest.param(
        HEAD + "grid:\n  sed: [1, 2]\n", "3:3", ["unknown key 'sed'", "'seed'"], id="axis"
    ),
    pytest.param(
        HEAD + "include:\n  - seed: 1\n  - patition: iid\n",
        "4:5",
        ["unknown key 'patition'", "'partition'"],
        id="key of a row",
    ),
    pytest.param(
        HEAD + "profiles:\n  phantm: {rounds: 3}\n",
        "3:3",
        ["no data asks for a profile 'phantm'", "did you mean 'phantom'?"],
        id="profile",
    ),
    pytest.param(
        HEAD + "include:\n  - seed: 1\n    grid: {rounds: [1], clients: 3}\n",
        "4:34",
        ["a list of the values of 'clients'", "found: 3"],
        id="axis of a row",
    ),
    pytest.param(
        HEAD + "exclude:\n  - strategy: {name: [fedavg]}\n",
        "3:22",
        ["unknown strategy a list of 1 value", "fedprox"],
        id="list for a name to exclude",
    ),
    pytest.param(
        HEAD + "exclude:\n  - strategy: {}\n",
        "3:15",
        ["the name of a strategy", "a mapping with nothing in it"],
        id="nothing to exclude",
    ),
    pytest.param(
        HEAD + "exclude:\n  - strategy: {mew: 1}\n",
        "3:16",
        ["no strategy has a parameter 'mew'", "server_lr"],
        id="parameter to exclude",
    ),
    pytest.param(
        HEAD + "exclude:\n  - strategy: {name: fedprox, mew: 1}\n",
        "3:31",
        ["fedprox has no parameter 'mew'", "expected: mu"],
        id="parameter of a name to exclude",
    ),
    pytest.param(
        HEAD + "profiles:\n  phantom: {round: 3}\n",
        "3:13",
        ["unknown key 'round'", "'rounds'"],
        id="key of a profile",
    ),
    pytest.param(
        HEAD + "exclude:\n  - {clints: 5}\n", "3:6", ["'clints'", "'clients'"], id="key of exclude"
    ),
    pytest.param(
        HEAD + "defaults: {strategy: fedavgg}\n",
        "2:22",
        ["unknown strategy 'fedavgg'", "did you mean 'fedavg'?"],
        id="strategy",
    ),
    pytest.param(
        HEAD + "defaults:\n  partition: {name: dirichlt, alpha: 1}\n",
        "3:21",
        ["unknown partition 'dirichlt'", "'dirichlet'"],
        id="partition",
    ),
    pytest.param(
        HEAD + "defaults:\n  partition: {name: dirichlet, alhpa: 1}\n",
        "3:32",
        ["dirichlet has no parameter 'alhpa'", "did you mean 'alpha'?"],
        id="parameter",
    ),
    pytest.param(
        HEAD + "defaults: {strategy: {name: fedavg, mu: 1}}\n",
        "2:37",
        ["fedavg has no parameter 'mu'", "'fedavg' alone"],
        id="parameter of another",
    ),
    pytest.param(
        HEAD + "defaults: {strategy: {mu: 1}}\n", "2:22", ["has no name"], id="no strategy's name"
    ),
    pytest.param(
        HEAD + "defaults: {partition: {name: dirichlet, alpha: 0}}\n",
        "2:48",
        ["'partition.alpha'", "a number above 0", "found: 0"],
        id="bound",
    ),
    pytest.param(
        HEAD + "defaults: {partition: {name: quantity, law: power, sigma: 1}}\n",
        "2:52",
        ["'sigma' has no meaning with law 'power'", "leave it out, or write 'law: lognormal'"],
        id="parameter of another law",
    ),
    pytest.param(
        HEAD + "defaults: {partition: natural}\n",
        "2:23",
        ["natural needs its parameter 'column'"],
        id="parameter needed",
    ),
    pytest.param(
        HEAD + "defaults: {optimizer: {name: sgd}}\n", "2:23", ["needs", "'lr'"], id="no rate"
    ),
    pytest.param(
        HEAD + "defaults: {optimizer: {name: adam, lr: '1e-4'}}\n",
        "2:40",
        ["'optimizer.lr'", "remove the quotes"],
        id="quoted number",
    ),
    pytest.param(HEAD + "defaults: {rounds: 0}\n", "2:20", ["whole number at least 1"], id="zero"),
    pytest.param(
        HEAD + "defaults: {rounds: 1e3}\n", "2:20", ["whole number", "write 1000"], id="float"
    ),
    pytest.param(HEAD + "defaults: {rounds: true}\n", "2:20", ["whole", "true"], id="flag"),
    pytest.param(HEAD + "defaults: {rounds: }\n", "2:19", ["found: nothing"], id="no value"),
    pytest.param(HEAD + "defaults: {fraction: .nan}\n", "2:22", ["number", "nan"], id="NaN"),
    pytest.param(
        HEAD + "defaults: {fraction: 1.1}\n", "2:22", ["at least 0 and at most 1"], id="share"
    ),
    pytest.param(
        HEAD + "defaults: {batch_size: some}\n", "2:24", ["whole number", "'all'"], id="batch size"
    ),
    pytest.param(
        HEAD + "defaults: {pretrained: no}\n",
        "2:24",
        ["true or false", "'no' is a word in YAML 1.2; write false"],
        id="no is a word",
    ),
    pytest.param(
        HEAD + "defaults: {compile: yes}\n",
        "2:21",
        ["true or false or 'auto'", "'yes' is a word in YAML 1.2; write true"],
        id="compile",
    ),
    pytest.param(
        HEAD + "defaults: {augment: flp}\n", "2:21", ["flip+shift", "mean 'flip'?"], id="word"
    ),
    pytest.param(
        HEAD + "defaults: {observations: [Edema, Efusion]}\n",
        "2:34",
        ["unknown observation 'Efusion'"],
        id="observation",
    ),
    pytest.param(
        HEAD + "defaults: {observations: [Edema, Edema]}\n", "2:34", ["twice"], id="twice"
    ),
    pytest.param(
        HEAD + "defaults: {label_policy: u-one}\n", "2:26", ["did you mean 'u-ones'?"], id="policy"
    ),
    pytest.param(
        HEAD + "defaults: {label_policy: {Edma: u-ones}}\n",
        "2:27",
        ["unknown observation 'Edma'", "'Edema'"],
        id="observation of a policy",
    ),
    pytest.param(
        HEAD + "defaults: {strategy.muu: 1}\n",
        "2:12",
        ["'strategy' has no part 'muu'", "did you mean 'mu'?"],
        id="dotted",
    ),
    pytest.param(
        HEAD + "defaults: {seed.mu: 1}\n", "2:12", ["'seed' has no part 'mu'"], id="dotted plain"
    ),
    pytest.param(
        HEAD + "exclude:\n  - {strategy: {name: fedprox, alpha: 1}}\n",
        "3:32",
        ["fedprox has no parameter 'alpha'"],
        id="exclude parameter",
    ),
    pytest.param(
        HEAD + "gates: {auroc: {tolerence: 0.1}}\n",
        "2:17",
        ["unknown key 'tolerence' in gates.auroc", "'tolerance'"],
        id="gate",
    ),
    pytest.param(
        HEAD + "gates: {throughput: {minimum_samples: 2}}\n", "2:39", ["6"], id="gate samples"
    ),
    pytest.param(
        HEAD + "include:\n  - grid: [1]\n", "3:11", ["grid of an include row"], id="inner grid"
    ),
    pytest.param(
        HEAD + "grid: {seed: [" + ", ".join(map(str, range(400))) + "], "
        "rounds: [" + ", ".join(map(str, range(1, 401))) + "]}\n",
        "1:1",
        ["too many scenarios", "160,000"],
        id="too many",
    ),
]


@pytest.mark.parametrize(("text", "place", "fragments"), CASES)
def test_a_malformed_suite_is_one_clear_error(
    tmp_path: Path, text: str, place: str, fragments: list[str]
) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SuiteError) as caught:
        load_suite(file)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert message.startswith(f"{file}:{place}: "), message
    for fragment in fragments:
        assert fragment in message


TOGETHER = [
    pytest.param(
        "defaults: {label_policy: {Edema: u-ones}}",
        "2:26",
        ["no label policy for", "add 'others: u-ones'"],
        id="policy missing",
    ),
    pytest.param(
        "defaults: {observations: [Edema], label_policy: {Fracture: u-ones, others: u-ones}}",
        "2:50",
        ["'Fracture', which is not trained on"],
        id="policy too many",
    ),
    pytest.param(
        "grid: {strategy: [fedavg, fedprox], strategy.mu: [0.1]}",
        "2:51",
        ["fedavg has no parameter 'mu'"],
        id="dotted for one that has none",
    ),
    pytest.param(
        "defaults: {strategy: fedsgd}", "2:22", ["one gradient step", "sgd"], id="fedsgd and adam"
    ),
    pytest.param(
        "defaults: {strategy: scaffold, optimizer: {name: sgd, lr: 0.1, momentum: 0.9}}",
        "2:43",
        ["plain SGD", "without momentum"],
        id="scaffold and momentum",
    ),
    pytest.param(
        "defaults: {strategy: fedbn, buffers: groupnorm}",
        "2:38",
        ["fedbn", "buffers: groupnorm"],
        id="fedbn and groupnorm",
    ),
    pytest.param(
        "defaults: {strategy: krum, clients: 4}",
        "2:22",
        ["krum", "= 5 clients", "4 of 4"],
        id="krum and few clients",
    ),
    pytest.param(
        "defaults: {strategy: krum, clients: 9, fraction: 0.5}\n"
        "include: [{clients: 9}, {clients: 8}]",
        "2:22",
        ["4 of 8"],
        id="krum and a half: 4.5 of 9 clients are 5, 4 of 8 too few",
    ),
    pytest.param(
        "defaults: {strategy: {name: krum, multi: 6}, clients: 5}",
        "2:22",
        ["multi at most 5"],
        id="krum and many updates",
    ),
    pytest.param(
        "defaults: {clients: 3, partition: {name: quantity, law: explicit, sizes: [1, 2]}}",
        "2:35",
        ["3 sizes", "2 sizes"],
        id="sizes and clients",
    ),
    pytest.param(
        "defaults: {optimizer: {name: sgd, lr: 0.1, nesterov: true}}",
        "2:23",
        ["needs a momentum"],
        id="nesterov alone",
    ),
    pytest.param(
        "defaults: {dataset: mnist, partition: {name: attribute, by: Sex}}",
        "2:39",
        ["what MNIST does not have"],
        id="mnist and attribute",
    ),
]


@pytest.mark.parametrize(("line", "place", "fragments"), TOGETHER)
def test_values_that_do_not_go_together_are_one_clear_error(
    tmp_path: Path, line: str, place: str, fragments: list[str]
) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text(f"suite: s\n{line}\n", encoding="utf-8")
    with pytest.raises(SuiteError) as caught:
        load_suite(file).scenarios()
    message = str(caught.value)
    assert message.startswith(f"{file}:{place}: "), message
    for fragment in fragments:
        assert fragment in message
    assert caught.value.mend


OVERRIDES = [
    ("rounds", ["expected: key=value"]),
    ("=3", ["expected: key=value"]),
    ("rounds=", ["expected: key=value"]),
    ("round=3", ["unknown key 'round'", "did you mean 'rounds'?"]),
    ("rounds=three", ["whole number at least 1", "'three'"]),
    ("rounds=[1", ["cannot be read"]),
    ("strategy.mu=0.1", ["fedavg has no parameter 'mu'"]),
    ("strategy={name: fedprox, muu: 1}", ["did you mean 'mu'?"]),
    ("grid={}", ["unknown key 'grid'"]),
]


@pytest.mark.parametrize(("text", "fragments"), OVERRIDES)
def test_a_wrong_override_is_one_clear_error(
    tmp_path: Path, text: str, fragments: list[str]
) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text(HEAD)
    with pytest.raises(SuiteError) as caught:
        load_suite(file).scenarios(overrides=[text])
    message = str(caught.value)
    assert message.startswith(f"-s {text}: "), message
    for fragment in fragments:
        assert fragment in message


SELECTIONS = [
    ("", ["it ends where"]),
    ("and", ["'and' stands where"]),
    ("fedavg u-ones", ["'u-ones' stands where 'and', 'or'"]),
    ("(fedavg", ["not closed"]),
    ("fedavg)", ["')' stands where"]),
    ("not", ["it ends where"]),
    ("=x", ["nothing before it"]),
    ("strtegy=fedavg", ["unknown key 'strtegy'", "'strategy'"]),
    ("strategy=fedavgg", ["unknown strategy", "'fedavg'"]),
    ("strategy.mu=high", ["a number"]),
    ("rounds=[1", ["1"]),
    ("rounds=" + "9" * 400, ["whole number that is too large"]),
    ("strategy={name: [fedavg]}", ["unknown strategy a list of 1 value"]),
    ("strategy={}", ["a mapping with nothing in it"]),
    ("(" * 100, ["50 levels"]),
]


@pytest.mark.parametrize(("expression", "fragments"), SELECTIONS)
def test_a_wrong_selection_is_one_clear_error(
    tmp_path: Path, expression: str, fragments: list[str]
) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text(HEAD)
    with pytest.raises(UsageError) as caught:
        load_suite(file).scenarios(select=expression)
    message = str(caught.value)
    assert message.startswith(f"-k {expression}: "), message
    for fragment in fragments:
        assert fragment in message


def test_a_file_that_is_not_there_names_what_is() -> None:
    with pytest.raises(SuiteError, match=r"did you mean 'fedavg'\?") as caught:
        load_suite("suites/fedavgg.yaml")
    assert "label_policies" in str(caught.value)


def test_a_folder_is_not_a_suite(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="a folder, not a file"):
        load_suite(tmp_path)


def test_text_in_another_encoding_is_named_by_its_first_wrong_byte(tmp_path: Path) -> None:
    file = tmp_path / "suite.yaml"
    file.write_bytes("suite: s\ndescription: Thoraxröntgen\n".encode("latin-1"))
    with pytest.raises(SuiteError, match="not UTF-8") as caught:
        load_suite(file)
    assert str(caught.value).startswith(f"{file}:2:21: ")
    assert "0xF6" in str(caught.value)


def test_several_problems_are_counted_and_the_first_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text("suite: s\ngrd: {}\nincldue: []\ngates: {aurok: {}}\n")
    with pytest.raises(SuiteError, match="2 more to mend, at line 3, 4") as caught:
        load_suite(file)
    assert str(caught.value).startswith(f"{file}:2:1: unknown key 'grd'")
