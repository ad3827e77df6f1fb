"""The same cells in six formats: what each must escape, and what none may leave out."""

from __future__ import annotations

import csv
import html.parser
import json
import math
import re
import shutil
import subprocess
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.report.formats import latex, markdown
from bench.report.formats.json import MANY, plain
from bench.report.formats.terminal import bands
from bench.report.render import FORMATS, emit, render, render_json, render_many, show
from bench.report.table import Column, Table, decimals, interval


def table(**changes: object) -> Table:
    parts: dict[str, object] = {
        "title": "AUROC, 100 % & more",
        "notes": ("Chosen: Table 3, row U-Ones.",),
        "columns": (
            Column(key="condition", title="Condition"),
            Column(key="ours", title="AUROC (ours)", write=decimals(3), align="right"),
            Column(key="ci", title="95 % CI", write=interval(3)),
            Column(
                key="difference",
                title="Difference",
                write=decimals(3, signed=True),
                align="right",
                emphasis=lambda row: "good" if (row.get("difference") or -1) > 0 else "bad",
            ),
        ),
        "rows": (
            {
                "condition": "Pleural Effusion",
                "ours": 0.9124,
                "ci": (0.88, 0.94),
                "difference": 0.0,
            },
            {"condition": "a|b_c <i>", "ours": math.nan, "ci": None, "difference": None, "n": 3},
            {"condition": "Average", "ours": 0.5, "ci": [0.4, 0.6], "difference": 0.021},
        ),
        "rule_before": (2,),
    }
    return Table(**(parts | changes))  # type: ignore[arg-type]


class Page(html.parser.HTMLParser):
    """Reads the cells of a page's tables, and which tags are left open."""

    VOID = ("meta", "br", "link")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag in self.VOID:
            return
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


HEAD = ["Condition", "AUROC (ours)", "95 % CI", "Difference"]
CELLS = [
    ["Pleural Effusion", "0.912", "[0.880, 0.940]", "+0.000"],
    ["a|b_c <i>", "undefined", "–", "–"],
    ["Average", "0.500", "[0.400, 0.600]", "+0.021"],
]


def test_terminal_without_color_is_plain_text_with_rules() -> None:
    lines = render(table(), "table", width=100, color=False).splitlines()
    assert lines[:2] == ["AUROC, 100 % & more", "Chosen: Table 3, row U-Ones."]
    assert [re.split(r"\s{2,}", line.strip()) for line in lines if "──" not in line][2:] == [
        HEAD,
        *CELLS,
    ]
    assert [i for i, line in enumerate(lines) if "──" in line] == [2, 4, 7, 9]


def test_terminal_colors_by_emphasis() -> None:
    text = render(table(), "table", width=100, color=True)
    assert re.search(r"\x1b\[32m *\+0\.021", text)
    assert re.search(r"\x1b\[31m *\+0\.000", text)
    assert "\x1b[" not in render(table(), "table", width=100, color=False)


@pytest.mark.parametrize("width", range(20, 90, 5))
def test_a_narrow_terminal_breaks_no_number(width: int) -> None:
    text = render(table(), "table", width=width, color=False)
    for cell in ("0.912", "[0.880, 0.940]", "+0.021", "undefined", "AUROC", "(ours)"):
        assert cell in text
    if width >= 30:  # the first column and the widest numbers need 9 + 14 + 3 + 3 + 1
        assert max(map(len, text.splitlines())) <= width


def test_a_table_too_wide_is_cut_into_pieces_that_repeat_the_first_column() -> None:
    pieces = bands(table(), table().cells(), 45)
    assert all(piece[0] == 0 for piece in pieces)
    assert [c for piece in pieces for c in piece[1:]] == [1, 2, 3]
    assert bands(table(), table().cells(), None) == [[0, 1, 2, 3]]


def test_words_are_wrapped_but_a_pipe_has_no_width() -> None:
    long = table(rows=({"condition": "not comparable because " + "of this " * 40, "ours": 1.0},))
    assert max(map(len, render(long, "table", width=60, color=False).splitlines())) <= 60
    assert max(map(len, render(long, "table", color=False).splitlines())) > 300


def test_markup_of_rich_is_text() -> None:
    text = render(table(title="[bold]x[/bold] :smile:"), "table", width=80, color=False)
    assert text.startswith("[bold]x[/bold] :smile:")


def test_markdown_escapes_pipes_and_keeps_one_row_a_line() -> None:
    text = render(table(notes=("two\nlines",)), "markdown")
    assert text == (
        "### AUROC, 100 % & more\n\n- two lines\n\n"
        "| Condition | AUROC (ours) | 95 % CI | Difference |\n"
        "| :--- | ---: | :--- | ---: |\n"
        "| Pleural Effusion | 0.912 | [0.880, 0.940] | +0.000 |\n"
        "| a\\|b_c \\<i> | undefined | – | – |\n"
        "| Average | 0.500 | [0.400, 0.600] | +0.021 |\n"
    )
    assert markdown.escape("_em_ *b* `c` \\ x_y") == r"\_em\_ \*b\* \`c\` \\ x_y"


def test_csv_reads_back_as_the_cells() -> None:
    assert list(csv.reader(StringIO(render(table(), "csv")))) == [HEAD, *CELLS]


def test_csv_of_several_tables_names_each() -> None:
    text = render_many([table(title="one"), table(title="two")], "csv")
    assert [block.splitlines()[0] for block in text.split("\n\n")] == ["one", "two"]


def test_json_has_the_values_and_null_for_what_is_undefined() -> None:
    found = json.loads(render(table(), "json"), parse_constant=pytest.fail)
    assert list(found) == ["title", "notes", "synthetic", "rows"]
    assert found["rows"][0] == {
        "condition": "Pleural Effusion",
        "ours": 0.9124,
        "ci": [0.88, 0.94],
        "difference": 0.0,
    }
    assert found["rows"][1] == {
        "condition": "a|b_c <i>",
        "ours": None,
        "ci": None,
        "difference": None,
        "n": 3,
    }


def test_json_rows_have_every_column() -> None:
    found = json.loads(render(table(rows=({"condition": "x"},)), "json"))
    assert found["rows"] == [{"condition": "x", "ours": None, "ci": None, "difference": None}]


def test_json_takes_numpy_and_paths_but_not_objects() -> None:
    assert plain(
        {1: np.float32(0.5), "b": np.array([1, 2]), "c": np.nan, "d": Path("x/y"), "e": np.True_}
    ) == {"1": 0.5, "b": [1, 2], "c": None, "d": "x/y", "e": True}
    with pytest.raises(TypeError, match="object has no form in JSON"):
        plain(object())


def test_many_rows_are_a_line_each_with_the_same_values_as_few() -> None:
    kinds = [
        {"n": 1, "set": (1, 2)},
        {"n": math.nan, "inner": {"x": math.inf}},
        {"path": Path("a/b"), "array": np.array([1.5, np.nan]), "text": 'é "quoted"\n'},
    ]
    rows = kinds * (1 + MANY // len(kinds))
    columns = (Column(key="n", title="n"),)
    many = render_json(Table(title="many", columns=columns, rows=tuple(rows)))
    few = render_json(Table(title="many", columns=columns, rows=tuple(kinds)))
    assert len(rows) > MANY
    assert json.loads(many)["rows"] == json.loads(few)["rows"] * (len(rows) // len(kinds))
    assert len(many.splitlines()) == len(rows) + 7
    assert "NaN" not in many
    assert "Infinity" not in many


def test_render_json_adds_keys_and_replaces_none() -> None:
    assert json.loads(render_json(table(), level="study"))["level"] == "study"
    with pytest.raises(AssertionError):
        render_json(table(), rows=[])


def test_json_of_several_tables_is_one_document() -> None:
    found = json.loads(render_many([table(), table(synthetic=True)], "json"))
    assert found["synthetic"] is True
    assert [inner["synthetic"] for inner in found["tables"]] == [False, True]


def test_html_has_the_cells_escaped_and_nothing_from_outside() -> None:
    text = render(table(), "html")
    page = Page(text)
    assert page.rows == [HEAD, *CELLS]
    assert page.open == []
    assert page.links == []
    assert "a|b_c &lt;i&gt;" in text
    assert "prefers-color-scheme: dark" in text
    assert text.count("<caption>") == 1
    assert text.count('scope="row"') == 3


def test_html_says_synthetic_once_where_every_table_is_and_by_table_where_not() -> None:
    made = table(synthetic=True)
    assert render_many([made, made], "html").count('class="synthetic"') == 1
    assert render_many([made, table()], "html").count('class="synthetic"') == 2


def test_html_of_a_hostile_title_has_no_new_tags() -> None:
    page = Page(render(table(title="<script>alert(1)</script>", notes=("<img src=x>",)), "html"))
    assert page.open == []
    assert page.links == []


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_says_synthetic_where_it_is_so(format: str) -> None:
    assert "synthetic data" in render(table(synthetic=True), format, width=80).lower() or (
        format == "json" and json.loads(render(table(synthetic=True), format))["synthetic"]
    )
    plain_text = render(table(), format, width=80).lower()
    assert "synthetic data" not in plain_text
    both = render_many([table(title="real"), table(synthetic=True)], format, width=80)
    assert "synthetic" in both.lower()


def test_csv_says_synthetic_in_every_row() -> None:
    rows = list(csv.DictReader(StringIO(render(table(synthetic=True), "csv"))))
    assert [row["Data"] for row in rows] == ["synthetic data"] * 3


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_takes_no_rows_and_ends_with_a_newline(format: str) -> None:
    assert render(table(rows=()), format, width=80).endswith("\n")


def test_latex_escapes_what_latex_reads() -> None:
    assert latex.escape(r"%&_#{}~^\$") == (
        r"\%\&\_\#\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}{\char36}"
    )
    assert latex.escape("– ± ≥ é ç ï Ł") == r"-- $\pm$ $\geq$ \'{e} \c{c} \"{\i} \L{}"
    assert latex.escape("中") == "[U+4E2D]"


@given(st.text())
def test_latex_is_printable_ascii_whatever_comes(text: str) -> None:
    assert all(" " <= c <= "~" for c in latex.escape(text))


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))))
@settings(max_examples=50)
def test_any_text_survives_csv_json_and_html(text: str) -> None:
    hostile = table(rows=({"condition": text, "ours": 1.0},))
    assert list(csv.reader(StringIO(render(hostile, "csv"))))[1][0] == text
    assert json.loads(render(hostile, "json"))["rows"][0]["condition"] == text
    assert Page(render(hostile, "html")).rows[1][0] == text


@pytest.mark.parametrize("columns", [4, 18])
def test_latex_compiles_as_it_stands(tmp_path: Path, columns: int) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not on this machine")
    printable = "".join(chr(c) for c in range(0x20, 0x7F))
    characters = "".join([printable, *latex._ESCAPES, *latex._MATHS, "éčőûąñ中 [x]"])
    wide = tuple(
        Column(key=f"k{i}", title=f"Längs_{i}", write=decimals(3), align="right")
        for i in range(columns)
    )
    rows = tuple({"condition": characters, "ours": 0.1, "ci": (0.1, 0.2)} for _ in range(60))
    shown = table(title=characters, notes=(characters,), rows=rows, synthetic=True)
    document = render_many([shown, table(columns=wide, rows=rows), table(rows=())], "latex")
    (tmp_path / "tables.tex").write_text(document)
    for _ in range(2):  # longtable reads its widths on the second run
        done = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=120,
        )
        assert done.returncode == 0, done.stdout[-2000:]
    assert "Missing character" not in (tmp_path / "tables.log").read_text(errors="replace")


def test_emit_replaces_a_file_in_one_step_and_without_colors(tmp_path: Path) -> None:
    target = tmp_path / "new" / "out.md"
    emit("\x1b[32mtext\x1b[0m\n", target)
    assert target.read_text() == "text\n"
    assert [p.name for p in target.parent.iterdir()] == ["out.md"]


def test_emit_refuses_a_folder_and_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="folder"):
        emit("x", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        emit("x", tmp_path / "file" / "out.txt")


def test_emit_prints(capsys: pytest.CaptureFixture[str]) -> None:
    emit("é\n", None)
    assert capsys.readouterr().out == "é\n"


def test_show_prints_the_notes_of_csv_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    show(table(), "csv")
    captured = capsys.readouterr()
    assert captured.out == render(table(), "csv")
    assert captured.err == "Chosen: Table 3, row U-Ones.\n"
    show([table()], "csv", quiet=True)
    assert capsys.readouterr().err == ""


def test_show_gives_a_file_the_width_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "30")
    show(table(), "table", tmp_path / "out.txt")
    assert (tmp_path / "out.txt").read_text() == render(table(), "table", width=90, color=False)


def test_an_unknown_format_is_an_error_with_a_hint() -> None:
    with pytest.raises(UsageError, match="did you mean 'markdown'"):
        render(table(), "markdwon")
