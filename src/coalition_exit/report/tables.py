"""Tables drawn as Markdown, LaTeX, HTML and CSV."""

from __future__ import annotations

import csv
import io
import re
from functools import cache
from importlib import resources
from typing import Any

from coalition_exit.report.layout import Cell, TableLayout

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "†": r"$\dagger$", "<": r"$<$", ">": r"$>$", "|": r"\textbar{}",
    # After the end of a row, or a rule, a bare bracket would be read as a length.
    "[": "{[}", "]": "{]}",
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
        loader=loader,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render_html(name: str, **values: Any) -> str:
    """Render one of the HTML templates; every value is escaped."""
    return str(_environment().get_template(name).render(**values))


def to_html(table: TableLayout) -> str:
    """Return the table as an HTML page that stands alone."""
    return render_html("table.html", tables=[table], title=table.title, figures={}, lead="")


def to_markdown(table: TableLayout) -> str:
    """Return the table as Markdown whose columns line up in a terminal."""
    rows = [[_escape_markdown(text) for text in row] for row in [["", *_heads(table)], *table.body]]
    widths = [max(3, *(len(row[k]) for row in rows)) for k in range(len(rows[0]))]
    lines = [_markdown_row(row, widths) for row in rows]
    rule = "|" + "|".join("-" * (w + 2) if k == 0 else "-" * (w + 1) + ":" for k, w in enumerate(widths)) + "|"
    notes = _escape_markdown(" ".join(table.notes))
    return "\n".join([f"**{_escape_markdown(table.title)}**", "", lines[0], rule, *lines[1:], "", notes, ""])


def _heads(table: TableLayout) -> list[str]:
    pairs = zip(table.groups, table.columns, strict=True)
    return [f"{group}: {column}" if group else column for group, column in pairs]


def _escape_markdown(text: str) -> str:
    """Escape what Markdown would read as markup; a bare ``_`` inside a word, or ``<`` before a space, is none."""
    escaped = re.sub(r"([|*\\`~$]|\](?=[(\[:]))", r"\\\1", text)
    escaped = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\_", escaped)
    return re.sub(r"<(?=[A-Za-z/!?])|&(?=#?[A-Za-z0-9]+;)", r"\\\g<0>", escaped)


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
    writer.writerows(table.body)
    writer.writerows([note] for note in table.notes)
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
    lines += [" & ".join([escape_latex(label), *map(_minus, values)]) + r" \\" for label, values in table.foot]
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
    # The empty group keeps a star that begins the second line from being read as part of the break.
    return rf"\shortstack{{{' '.join(words[:half])}\\{{}}{' '.join(words[half:])}}}"


def _latex_spans(table: TableLayout) -> list[str]:
    heads, rules, first = [""], [], 2
    for group, width in table.spans:
        heads.append(rf"\multicolumn{{{width}}}{{c}}{{{escape_latex(group)}}}")
        if group:
            rules.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}")
        first += width
    return [" & ".join(heads) + r" \\", "".join(rules)]


def _minus(number: str) -> str:
    return number.replace("-", "$-$")


def _latex_cell(cell: Cell) -> str:
    mark = cell.stars.replace("†", r"\dagger")
    return _minus(cell.coef) + (rf"\sym{{{mark}}}" if mark else "")
