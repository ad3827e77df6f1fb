"""`bench report`: one page with everything in it, nothing from outside, and no lies."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bench.observations import COMPETITION
from bench.report.page import report_page
from bench.report.provenance import provenance_tables, settings_tables
from bench.report.run_tables import condition_table, cost_table, summary_table
from bench.report.table import Column, Table
from bench.report.units import byte_size, duration
from bench.report.values import column_settings, setting_text, short_setting, value_text
from bench.results.run import Run
from tests.processes import process
from tests.runs_on_disk import SCENARIO, some_rounds, some_scores, write_run
from tests.test_roc import a_run

VOID = {"meta", "br", "hr", "img", "input", "link"}
HOSTILE = "<script>alert('x')</script>"


class Page(HTMLParser):
    """Tags, ids, addresses and text of a page; ``open`` is what was not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for key, value in attrs:
            if key == "id":
                self.ids.append(value or "")
            if key in ("href", "src", "xlink:href", "action"):
                self.addresses.append(value or "")
            assert not key.startswith("on"), "an event handler"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    other = replace(SCENARIO, seed=7)
    failed = write_run(
        tmp_path,
        name="diverged",
        scenario=replace(SCENARIO, seed=8),
        status="failed",
        metrics={},
        rounds=some_rounds((5.0, 6.0)),
        error={"type": "NonFiniteError", "message": f"the loss is NaN {HOSTILE}"},
    )
    return [a_run(tmp_path), a_run(tmp_path, name="other", scenario=other, members=3), failed]


def test_the_page_needs_nothing_from_outside(runs: list[Run]) -> None:
    text = report_page(runs)
    page = Page(text)
    assert page.open == []
    assert page.tags["script"] == page.tags["link"] == page.tags["img"] == 0
    assert all(address.startswith("#") for address in page.addresses)
    assert {a[1:] for a in page.addresses} <= set(page.ids)
    assert not re.search(r"url\((?!#)", text)
    assert "@import" not in text
    assert [name for name, count in Counter(page.ids).items() if count > 1] == []
    # A training figure for the suite and a ROC figure for each of the two scored runs.
    assert page.tags["svg"] == 3


def test_the_page_says_what_was_scored(runs: list[Run]) -> None:
    page = Page(report_page(runs, title="A title"))
    block = runs[0].metrics["valid"]
    assert f"{block['mean_auroc']:.3f}" in page.text
    low, high = block["observations"]["Edema"]["ci"]
    assert f"[{low:.3f}, {high:.3f}]" in page.text
    assert "undefined in every run: Fracture (no positives)" in page.text
    assert "A title (synthetic data)" in page.text
    assert page.text.count("Synthetic data: made by a generator") == 4  # three are in figures
    assert "Not scored: the run is failed." in page.text
    assert "unknown: not run from a checkout" in page.text
    assert "mean over that many clients' own models: other (3)" in page.text


def test_only_the_synthetic_runs_are_called_so(tmp_path: Path, runs: list[Run]) -> None:
    real = write_run(tmp_path / "real", name="real", data={"name": "CheXpert", "synthetic": False})
    mixed = Page(report_page([real, runs[0]]))
    assert "This holds for 1 of 2 runs: fedavg." in mixed.text
    assert "synthetic" not in report_page([real]).lower().split("</style>")[1]


def test_names_and_messages_are_escaped(tmp_path: Path) -> None:
    run = replace(write_run(tmp_path), name=HOSTILE, suite="a & <b>")
    hostile = Table(title=HOSTILE, columns=(Column(key="a", title="<i>"),), rows=({"a": "<u>"},))
    text = report_page(
        [run],
        title=HOSTILE,
        tables=[hostile],
        notes=["<img src=x>"],
        published=lambda run, split: {"Edema": "<b>0.9</b> (<style>)"},
    )
    page = Page(text)
    assert page.open == []
    assert page.tags["script"] == page.tags["i"] == page.tags["u"] == page.tags["img"] == 0
    assert page.tags["b"] == 0
    assert page.tags["style"] == 1 + page.tags["svg"]  # the page's own and each figure's
    assert HOSTILE in page.text


def test_equal_runs_give_equal_pages(runs: list[Run]) -> None:
    assert report_page(runs) == report_page(runs)


def test_missing_scores_are_said_to_be_missing(runs: list[Run]) -> None:
    (runs[0].folder / "scores-valid.npz").unlink()
    page = Page(report_page(runs))
    assert "No ROC curves: the run was scored on 'valid' and its folder does not hold" in page.text


def test_a_run_without_tasks_shows_its_conditions(tmp_path: Path) -> None:
    run = write_run(tmp_path, scores=some_scores(observations=("Pneumonia",)))
    page = Page(report_page([run]))
    assert page.tags["svg"] == 2
    assert "0 of 5" in page.text


def test_summary_tells_undefined_from_not_scored(runs: list[Run]) -> None:
    table = summary_table(runs, "valid")
    titles = [column.title for column in table.columns]
    assert titles[:5] == ["Scenario", "Status", "Mean AUROC", "95 % interval", "Tasks"]
    assert titles[5:] == [*COMPETITION, "Lung Lesion"]
    cells = table.cells()
    assert [row[1] for row in cells] == ["done", "done", "failed"]
    assert cells[2][2:] == ["–"] * (len(titles) - 2)
    edema = runs[0].metrics["valid"]["observations"]["Edema"]["auroc"]
    assert cells[0][titles.index("Edema")] == f"{edema:.3f}"


def test_undefined_in_one_run_only_is_undefined_in_its_cell(tmp_path: Path) -> None:
    made = some_scores(observations=("Edema", "Pneumonia"))
    labels = made.labels.copy()
    labels[:, 0] = 0
    first = write_run(tmp_path, name="a", scores=made)
    second = write_run(tmp_path, name="b", scores=replace(made, labels=labels))
    table = summary_table([first, second], "valid")
    assert [column.title for column in table.columns][4:] == ["Edema", "Pneumonia"]
    assert table.cells()[1][:5] == ["b", "undefined", "–", "0 of 5", "undefined"]


def test_condition_table_gives_reasons(runs: list[Run]) -> None:
    cells = {row[0]: row for row in condition_table(runs[0], "valid").cells()}
    assert cells["Fracture"] == ["Fracture", "undefined", "–", "0", "200", "no positives"]
    assert cells["Pleural Other"][-1] == "no labels"
    assert cells["Lung Lesion"][-1] == "unreliable interval"
    assert cells["Edema"][-1] == ""
    assert cells["Average"][-1] == "mean of 5 tasks"


def test_cost_is_the_sum_of_the_rounds(runs: list[Run]) -> None:
    # Rounds of 640 images at 5 and 6 images/s: 128 s and 106.67 s.
    row = cost_table(runs).cells()[2]
    assert row == ["diverged", "2", "1,280", "3 min 55 s", "5.5", "2.0 kB", "2.0 kB"]


def test_what_all_runs_share_is_said_once(runs: list[Run]) -> None:
    common, apart = settings_tables(runs)
    assert ["image size", "32"] in common.cells()
    assert [c.title for c in apart.columns] == ["Scenario", "seed"]
    assert [row[1] for row in apart.cells()] == ["0", "7", "8"]
    shared = dict(provenance_tables(runs)[0].cells())
    assert shared["machine"] == "Processor A, 2 cores, 8 GiB, Linux x86_64"
    assert shared["versions"] == "python 3.11.9, torch 2.11.0, numpy 2.3.0, bench 0.1.0"
    assert shared["data digest"] == "d" * 16 + "…"
    assert len(settings_tables(runs[:1])) == 1


def test_provenance_names_commit_partition_and_counts(tmp_path: Path) -> None:
    run = write_run(
        tmp_path,
        git={"commit": "c" * 40, "dirty": True},
        data={
            "name": "tree",
            "digest": "d" * 64,
            "synthetic": False,
            "splits": {"train": {"images": 1234, "skipped": 2}},
            "partition": {"fingerprint": "f" * 64, "sizes": [30, 1000], "description": "iid"},
        },
    )
    cells = dict(provenance_tables([run])[0].cells())
    assert cells["commit"] == "c" * 12 + ", with uncommitted changes"
    assert cells["train split"] == "1,234 images, 2 skipped"
    assert cells["clients"] == "2, of 30 to 1,000 images"
    assert cells["partition fingerprint"] == "f" * 16 + "…"


def test_nobodys_folders_are_in_the_page(runs: list[Run], tmp_path: Path) -> None:
    text = report_page(runs)
    assert "/home/somebody" not in text
    assert str(tmp_path) not in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"name": "dirichlet", "alpha": 0.3}, "dirichlet(alpha=0.3)"),
        ({"name": "iid"}, "iid"),
        ({"Edema": "u-ones", "Fracture": "u-ones"}, "u-ones"),
        ({"Edema": "u-ones", "Fracture": "u-zeros"}, "Edema: u-ones, Fracture: u-zeros"),
        (["a", "b"], "a, b"),
        ([], "none"),
        (False, "false"),
        (1e-4, "0.0001"),
    ],
)
def test_values_in_words(value: object, text: str) -> None:
    assert value_text(value) == text


def test_none_is_the_word_that_a_suite_has_for_it() -> None:
    assert setting_text("batch_size", None) == "all"
    assert setting_text("stop_at", None) == "never"


def test_values_in_few_words() -> None:
    assert short_setting("label_policy", {"Edema": "u-ones", "Fracture": "u-zeros"}) == (
        "per observation"
    )
    assert short_setting("observations", ["a", "b", "c", "d"]) == "4 of them"
    assert short_setting("observations", ["a", "b", "c"]) == "a, b, c"
    assert short_setting("stop_at", None) == "never"


def test_a_column_of_choices_shows_what_tells_them_apart() -> None:
    sgd = {"name": "sgd", "lr": 0.1, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
    cells = column_settings("optimizer", [sgd, {**sgd, "lr": 0.2}, {**sgd, "momentum": 0.9}])
    assert cells == [
        "sgd(lr=0.1, momentum=0.0)", "sgd(lr=0.2, momentum=0.0)", "sgd(lr=0.1, momentum=0.9)",
    ]  # fmt: skip
    fedprox = {"name": "fedprox", "mu": 0.01}
    assert column_settings("strategy", [fedprox, {"name": "fedavg"}]) == ["fedprox", "fedavg"]
    # Alone of its name, and another than bench's default.
    assert column_settings("strategy", [{**fedprox, "mu": 1.0}]) == ["fedprox(mu=1.0)"]
    assert column_settings("batch_size", [None, 10]) == ["all", "10"]


def test_label_policies_by_client_and_by_site_in_words() -> None:
    mixed = {"Edema": "u-zeros", "Fracture": "u-ones"}
    alike = dict.fromkeys(mixed, "u-ones")
    assert value_text([alike, mixed]) == "u-ones, {Edema: u-zeros, Fracture: u-ones}"
    assert short_setting("label_policy", [alike, mixed]) == "u-ones, per observation"
    assert short_setting("label_policy", [alike] * 4) == "4 of them"
    sites = {"sites": {"a": alike, "others": mixed}}
    assert value_text(sites) == "a: u-ones, others: {Edema: u-zeros, Fracture: u-ones}"
    assert short_setting("label_policy", sites) == "per site"


def test_times_and_sizes_in_words() -> None:
    assert [duration(s) for s in (8.13, 200, 7500)] == ["8.1 s", "3 min 20 s", "2 h 05 min"]
    sizes = (0, 512, 999, 1000, 99_949, 99_960, 27_900_000, 134e9, 2e15)
    assert [byte_size(int(n)) for n in sizes] == [
        "0 B", "512 B", "999 B", "1.0 kB", "99.9 kB", "100 kB", "27.9 MB", "134 GB", "2000.0 TB",
    ]  # fmt: skip


def report(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return process("report", *arguments, cwd=cwd)


def test_the_command_writes_the_page_with_the_papers_table(runs: list[Run], tmp_path: Path) -> None:
    done = report(tmp_path, "--title", "T & T", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "report.html\n"
    page = Page((tmp_path / "report.html").read_text())
    assert "T & T" in page.text
    assert "diverged is left out: it is failed" in page.text
    assert "not comparable: the data is synthetic" in page.text
    assert "published: Irvin et al. 2019, Table 3; CheXpert valid" in page.text
    done = report(tmp_path, "--against", "none", "-o", "b.html", cwd=tmp_path)
    assert done.stdout == "b.html\n"
    assert "Irvin" not in (tmp_path / "b.html").read_text()


def test_the_command_without_runs(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments in ((), ("nowhere",), ("empty",)):
        done = report(*arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "report.html").exists()
