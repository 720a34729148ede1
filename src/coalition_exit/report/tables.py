"""Tables drawn as Markdown, LaTeX, HTML and CSV."""

from __future__ import annotations

import csv
import io
import re
import textwrap
from functools import cache
from importlib import resources
from typing import Any

from coalition_exit.report.layout import Cell, TableLayout

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "†": r"$\dagger$", "<": r"$<$", ">": r"$>$",
}  # fmt: skip


def escape_latex(text: str) -> str:
    """Return text that LaTeX sets as it stands."""
    return "".join(_LATEX.get(letter, letter) for letter in text)


@cache
def _environment() -> Any:
    import jinja2

    loader = jinja2.FunctionLoader(
        lambda name: resources.files("coalition_exit.report").joinpath("templates", name).read_text("utf-8")
    )
    return jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def render_html(name: str, **values: Any) -> str:
    """Render one of the HTML templates; every value is escaped."""
    return str(_environment().get_template(name).render(**values))


def to_html(table: TableLayout) -> str:
    """Return the table as an HTML page that stands alone."""
    return render_html("table.html", tables=[table], title=table.title, figures={}, lead="")


def to_markdown(table: TableLayout) -> str:
    """Return the table as Markdown whose columns line up in a terminal."""
    rows = [[_escape_markdown(text) for text in row] for row in [["", *_heads(table)], *_body(table)]]
    widths = [max(3, *(len(row[k]) for row in rows)) for k in range(len(rows[0]))]
    lines = [_markdown_row(row, widths) for row in rows]
    rule = "|" + "|".join("-" * (w + 2) if k == 0 else "-" * (w + 1) + ":" for k, w in enumerate(widths)) + "|"
    notes = _escape_markdown(" ".join(table.notes))
    return "\n".join([f"**{_escape_markdown(table.title)}**", "", lines[0], rule, *lines[1:], "", notes, ""])


def _body(table: TableLayout) -> list[list[str]]:
    rows = []
    for label, cells in table.rows:
        rows.append([label, *(c.coef + c.stars for c in cells)])
        rows.append(["", *(c.error for c in cells)])
    return rows + [[label, *values] for label, values in table.foot]


def to_text(table: TableLayout, width: int = 100) -> str:
    """Return the table as plain text for a terminal, notes wrapped at ``width`` letters."""
    heads = [["", *table.columns]]
    if any(table.groups):
        shown = [g if k == 0 or g != table.groups[k - 1] else "" for k, g in enumerate(table.groups)]
        heads.insert(0, ["", *shown])
    body = [_hang(row) for row in _body(table)]
    label = max(len(row[0]) for row in body)
    # A group's head may reach over its columns, so only the column heads and cells set the width.
    widths = [max(len(row[k]) for row in [heads[-1], *body]) + 2 for k in range(1, len(table.columns) + 1)]
    line = "-" * (label + sum(widths))
    lines = [table.title, line]
    lines += [_group_line(row, label, widths) for row in heads[:-1]]
    lines += [_text_row(heads[-1], label, widths), line]
    lines += [_text_row(row, label, widths) for row in body[: -len(table.foot) or None]]
    lines += [line, *(_text_row(row, label, widths) for row in body[len(body) - len(table.foot) :]), line]
    return "\n".join([*lines, textwrap.fill(" ".join(table.notes), max(width, len(line))), ""])


def _hang(row: list[str]) -> list[str]:
    """Let stars and brackets hang to the right, so that digits line up."""
    hung = []
    for text in row[1:]:
        digits = text.rstrip("*†")
        hung.append(digits + text[len(digits) :].ljust(2) if not text.endswith(")") else f"{text} ")
    return [row[0], *hung]


def _text_row(row: list[str], label: int, widths: list[int]) -> str:
    return row[0].ljust(label) + "".join(text.rjust(w) for text, w in zip(row[1:], widths, strict=True)).rstrip()


def _group_line(row: list[str], label: int, widths: list[int]) -> str:
    line, reach = "", label
    for text, w in zip(row[1:], widths, strict=True):
        if text:
            line = line.ljust(reach + 2) + text
        reach += w
    return line.rstrip()


def _heads(table: TableLayout) -> list[str]:
    pairs = zip(table.groups, table.columns, strict=True)
    return [f"{group}: {column}" if group else column for group, column in pairs]


def _escape_markdown(text: str) -> str:
    return "".join("\\" + letter if letter in "|*_\\`<" else letter for letter in text)


def _markdown_row(row: list[str], widths: list[int]) -> str:
    cells = [text.ljust(w) if k == 0 else text.rjust(w) for k, (text, w) in enumerate(zip(row, widths, strict=True))]
    return "| " + " | ".join(cells) + " |"


def to_csv(table: TableLayout) -> str:
    """Return the table's cells as printed, as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if any(table.groups):
        writer.writerow(["", *table.groups])
    writer.writerow(["", *table.columns])
    for label, cells in table.rows:
        writer.writerow([label, *(c.coef + c.stars for c in cells)])
        writer.writerow(["", *(c.error for c in cells)])
    for label, values in table.foot:
        writer.writerow([label, *values])
    for note in table.notes:
        writer.writerow([note])
    return out.getvalue()


_STANDALONE = r"""% Compiles as it is, and can be \input into a document that loads booktabs.
\makeatletter
\ifx\@nodocument\relax\let\tablestandalone\relax\else
\def\tablestandalone{\end{document}}
\documentclass{article}
\usepackage{booktabs}
\usepackage[margin=2cm]{geometry}
\pagestyle{empty}
\begin{document}
\fi
\makeatother
"""


def to_latex(table: TableLayout) -> str:
    r"""Return the table as LaTeX (booktabs), in esttab's manner; it compiles alone or by ``\\input``."""
    n = len(table.columns)
    lines = [
        _STANDALONE + r"\begin{table}[htbp]\centering\small",
        r"\def\sym#1{\ifmmode^{#1}\else\(^{#1}\)\fi}",
        rf"\caption{{{escape_latex(_without_number(table.title))}}}\label{{tab:{table.table}}}\vspace{{4pt}}",
        rf"\begin{{tabular}}{{l*{{{n}}}{{c}}}}",
        r"\toprule",
    ]
    if any(table.groups):
        lines += _latex_spans(table)
    lines.append(" & ".join(["", *(_latex_head(c) for c in table.columns)]) + r" \\")
    lines.append(r"\midrule")
    for label, cells in table.rows:
        lines.append(" & ".join([escape_latex(label), *(_latex_cell(c) for c in cells)]) + r" \\")
        lines.append(" & ".join(["", *(c.error for c in cells)]) + r" \\[2pt]")
    lines.append(r"\midrule")
    lines += [" & ".join([escape_latex(label), *values]) + r" \\" for label, values in table.foot]
    lines += [r"\bottomrule", r"\end{tabular}", "", r"\medskip"]
    lines.append(r"\begin{minipage}{0.95\textwidth}\footnotesize")
    lines += [escape_latex(note) for note in table.notes]
    lines += [r"\end{minipage}", r"\end{table}", r"\tablestandalone", ""]
    return "\n".join(lines)


def _without_number(title: str) -> str:
    """Leave out "Table 1." before the title: LaTeX counts tables itself."""
    return re.sub(r"^Table\s+\w+[.:]\s*", "", title)


def _latex_head(text: str) -> str:
    words = [escape_latex(word) for word in text.split()]
    if len(words) < 2:
        return "".join(words)
    half = (len(words) + 1) // 2
    return rf"\shortstack{{{' '.join(words[:half])}\\{' '.join(words[half:])}}}"


def _latex_spans(table: TableLayout) -> list[str]:
    heads, rules, first = [""], [], 2
    for group, width in table.spans:
        heads.append(rf"\multicolumn{{{width}}}{{c}}{{{escape_latex(group)}}}")
        if group:
            rules.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}")
        first += width
    return [" & ".join(heads) + r" \\", "".join(rules)]


def _latex_cell(cell: Cell) -> str:
    mark = cell.stars.replace("†", r"\dagger")
    return cell.coef.replace("-", "$-$") + (rf"\sym{{{mark}}}" if mark else "")
