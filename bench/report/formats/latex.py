"""Tables as a LaTeX document that pdflatex compiles as it stands, with the required packages only.

Every character outside ASCII is written as a command that the fonts every installation has can set
(``\\$`` and ``\\dag`` need others), so neither fonts nor input encoding of the reader matter; a
character for which there is no command is shown by its code point.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from bench.report.formats import SYNTHETIC
from bench.report.table import Table

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "%": r"\%",
    "&": r"\&",
    "_": r"\_",
    "#": r"\#",
    "$": r"{\char36}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "–": "--",
    "—": "---",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "…": r"\ldots{}",
    "\u00a0": "~",
    "\u202f": r"\,",
    "©": "(c)",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
    "å": r"\aa{}",
    "Å": r"\AA{}",
}
_MATHS = {
    "±": r"\pm",
    "−": "-",
    "×": r"\times",
    "·": r"\cdot",
    "÷": r"\div",
    "≥": r"\geq",
    "≤": r"\leq",
    "≠": r"\neq",
    "≈": r"\approx",
    "∞": r"\infty",
    "→": r"\rightarrow",
    "←": r"\leftarrow",
    "↑": r"\uparrow",
    "↓": r"\downarrow",
    "∈": r"\in",
    "√": r"\surd",
    "✓": r"\surd",
    "†": r"\dagger",
    "‡": r"\ddagger",
    "§": r"\mathsection",
    "°": r"{}^\circ",
    "²": "{}^2",
    "³": "{}^3",
    "¹": "{}^1",
    "µ": r"\mu",
    "∑": r"\Sigma",
    "∆": r"\Delta",
    "Δ": r"\Delta",
    "Σ": r"\Sigma",
    "Γ": r"\Gamma",
    "Ω": r"\Omega",
    "Φ": r"\Phi",
    "α": r"\alpha",
    "β": r"\beta",
    "γ": r"\gamma",
    "δ": r"\delta",
    "ε": r"\varepsilon",
    "η": r"\eta",
    "θ": r"\theta",
    "κ": r"\kappa",
    "λ": r"\lambda",
    "μ": r"\mu",
    "π": r"\pi",
    "ρ": r"\rho",
    "σ": r"\sigma",
    "τ": r"\tau",
    "φ": r"\varphi",
    "χ": r"\chi",
    "ω": r"\omega",
} | {chr(0x2080 + digit): f"{{}}_{digit}" for digit in range(10)}
_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
    "\u0328": "k",
}
_NOT_IN_OT1 = {"k"}
"""Accents that LaTeX's default font encoding lacks."""

LONGEST_LINE = 32
"""Characters above which a text column is set as paragraphs instead of on one line."""
PARAGRAPH = "5.2cm"
SIZES = ((90, ""), (105, r"\small"), (120, r"\footnotesize"), (150, r"\scriptsize"))
"""Characters of a row up to which a portrait page holds it at that size; then it is landscape."""


def write(tables: Sequence[Table]) -> str:
    """A complete document with one ``longtable`` a table, which may break over pages."""
    widest = max((_characters(table) for table in tables), default=0)
    paper = "a4paper,landscape" if widest > SIZES[-1][0] else "a4paper"
    return "\n".join(
        [
            rf"\documentclass[{paper}]{{article}}",
            r"\usepackage[margin=15mm]{geometry}",
            r"\usepackage{array,longtable}",
            r"\setlength{\tabcolsep}{4pt}",
            r"\setlength{\parindent}{0pt}",
            r"\begin{document}",
            *(_table(table, landscape=paper != "a4paper") for table in tables),
            r"\end{document}",
            "",
        ]
    )


def escape(text: str) -> str:
    """Text that LaTeX sets as it is, on one line."""
    return "".join(_character(c) for c in " ".join(text.split(" ")).replace("\n", " "))


def _character(c: str) -> str:
    if c in _ESCAPES:
        return _ESCAPES[c]
    if c in _MATHS:
        return f"${_MATHS[c]}$"
    if " " <= c <= "~":
        return c
    parts = unicodedata.normalize("NFD", c)
    if len(parts) == 2 and "A" <= parts[0] <= "z" and parts[1] in _ACCENTS:
        accent = _ACCENTS[parts[1]]
        base = rf"\{parts[0]}" if parts[0] in "ij" and accent not in "ck" else parts[0]
        if accent not in _NOT_IN_OT1:
            return rf"\{accent}{{{base}}}"
    return f"[U+{ord(c):04X}]"


def _table(table: Table, *, landscape: bool) -> str:
    cells = table.cells()
    count = len(table.columns)
    heads = " & ".join(rf"\textbf{{{escape(column.title)}}}" for column in table.columns)
    lines = [r"\begingroup", _size(table, landscape=landscape)]
    if table.synthetic:
        lines += [rf"\textbf{{{escape(SYNTHETIC)}}}\par"]
    lines += [rf"{escape(note)}\par" for note in table.notes]
    lines += [rf"\begin{{longtable}}{{{_preamble(table, cells)}}}"]
    if table.title:
        lines += [rf"\caption{{{escape(table.title)}}}\\"]
    lines += [r"\hline", rf"{heads} \\", r"\hline", r"\endfirsthead"]
    lines += [r"\hline", rf"{heads} \\", r"\hline", r"\endhead"]
    lines += [rf"\hline \multicolumn{{{count}}}{{r}}{{continued}} \\", r"\endfoot"]
    lines += [r"\hline", r"\endlastfoot"]
    for index, row in enumerate(cells):
        if index and index in table.rule_before:
            lines.append(r"\hline")
        # The braces keep a cell that begins with [ from being read as an argument of \\.
        lines.append(" & ".join(f"{{{escape(cell)}}}" for cell in row) + r" \\")
    return "\n".join([*filter(None, lines), r"\end{longtable}", r"\endgroup"])


def _preamble(table: Table, cells: Sequence[Sequence[str]]) -> str:
    kinds = []
    for i, column in enumerate(table.columns):
        longest = max((len(row[i]) for row in cells), default=0)
        if column.align == "right":
            kinds.append("r")
        elif longest > LONGEST_LINE:
            kinds.append(rf">{{\raggedright\arraybackslash}}p{{{PARAGRAPH}}}")
        else:
            kinds.append("l")
    return "".join(kinds)


def _characters(table: Table) -> int:
    """Characters of the widest row, paragraphs counted by their width."""
    cells = table.cells()
    total = 0
    for i, column in enumerate(table.columns):
        longest = max([len(column.title), *(len(row[i]) for row in cells)])
        total += (longest if column.align == "right" else min(longest, LONGEST_LINE)) + 2
    return total


def _size(table: Table, *, landscape: bool) -> str:
    """The largest size at which the widest row fits."""
    room = 1.35 if landscape else 1.0
    needed = _characters(table) / room
    return next((size for limit, size in SIZES if needed <= limit), r"\tiny")
