"""Tables drawn as Markdown, LaTeX, HTML and CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from coalition_exit.report.layout import Cell, TableLayout

# A LaTeX table with more columns than this is set across the page.
MOST_UPRIGHT = 6

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "†": r"$\dagger$", "<": r"$<$", ">": r"$>$", "|": r"\textbar{}",
    "−": "$-$", "–": "--", "—": "---", "≤": r"$\leq$", "≥": r"$\geq$", "×": r"$\times$", "…": r"\dots{}",
    "‘": "`", "’": "'", "“": "``", "”": "''", "\u00a0": "~",
    # After the end of a row, or a rule, a bare bracket would be read as a length.
    "[": "{[}", "]": "{]}",
}  # fmt: skip


def escape_latex(text: str) -> str:
    """Return text that LaTeX sets as it stands."""
    escaped = "".join(_LATEX.get(letter, letter) for letter in text)
    # A star that begins a row would be read as part of the end of the row before.
    return f"{{}}{escaped}" if escaped.startswith("*") else escaped


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
    return render_html("table.html", tables=[table], grids=[], title=table.title, lead="")


def to_markdown(table: TableLayout) -> str:
    """Return the table as Markdown whose columns line up in a terminal."""
    right = [False, *(True for _ in table.columns)]
    lines = markdown_rows([["", *_heads(table)], *table.body], right)
    notes = escape_markdown(" ".join(table.notes))
    return "\n".join([f"**{escape_markdown(table.title)}**", "", *lines, "", notes, ""])


def _heads(table: TableLayout) -> list[str]:
    pairs = zip(table.groups, table.columns, strict=True)
    return [f"{group}: {column}" if group else column for group, column in pairs]


def markdown_rows(rows: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    """Return the lines of a Markdown table, head first, whose columns line up in a terminal."""
    escaped = [[escape_markdown(text) for text in row] for row in rows]
    widths = [max(3, *(len(row[k]) for row in escaped)) for k in range(len(right))]
    lines = [
        "| " + " | ".join(t.rjust(w) if r else t.ljust(w) for t, w, r in zip(row, widths, right, strict=True)) + " |"
        for row in escaped
    ]
    rule = "|".join("-" * (w + 1) + ":" if r else "-" * (w + 2) for w, r in zip(widths, right, strict=True))
    return [lines[0], f"|{rule}|", *lines[1:]]


def escape_markdown(text: str) -> str:
    """Escape what Markdown would read as markup.

    A bare ``_`` inside a word, ``<`` before a space, or stars after a number or by themselves are none, and
    stay legible.
    """
    text = " ".join(text.split("\n"))
    if re.fullmatch(r"-?[\d.,]+\*{1,3}", text):
        return text
    escaped = re.sub(r"([|\\`~$]|\](?=[(\[:]))", r"\\\1", text)
    escaped = re.sub(r"(?<=\s)(\*{1,3})(?=\s)|\*", lambda found: found[1] or r"\*", escaped)
    escaped = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\_", escaped)
    return re.sub(r"<(?=[A-Za-z/!?])|&(?=#?[A-Za-z0-9]+;)", r"\\\g<0>", escaped)


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


# A table numbered in the article keeps its number when compiled alone; in a document LaTeX counts.
_STANDALONE = r"""% Compiles as it is, and can be \input into a document that loads PACKAGES.
\makeatletter
\ifx\@nodocument\relax
\let\tablestandalone\relax
\long\def\tablenumber#1{}
\else
\def\tablestandalone{\end{document}}
\documentclass{article}
USED
\usepackage[margin=2cm]{geometry}
\pagestyle{empty}
\long\def\tablenumber#1{#1}
\long\def\@makecaption#1#2{\vskip\abovecaptionskip{\centering #2\par}\vskip\belowcaptionskip}
\long\def\LT@makecaption#1#2#3{\LT@mcol\LT@cols c{\hbox to\z@{%
\hss\parbox[t]{0.9\linewidth}{\centering #3\vspace{6pt}}\hss}}}
\begin{document}
\fi
\makeatother
"""
# As wide as it is, or as the page where it is wider.
SHRINK = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"


def standalone(packages: Sequence[str]) -> str:
    r"""Return the lines that let a table compile alone or by ``\input``."""
    used = "\n".join(rf"\usepackage{{{name}}}" for name in packages)
    named = " and ".join([*([", ".join(packages[:-1])] if packages[1:] else []), packages[-1]])
    return _STANDALONE.replace("PACKAGES", named).replace("USED", used)


def latex_caption(title: str, key: str) -> str:
    """Return the caption of a table; a number that its title begins with shows only where LaTeX does not count."""
    number = re.match(r"Table\s+\w+[.:]\s*", title)
    rest = escape_latex(title[number.end() :] if number else title)
    shown = rf"\tablenumber{{{escape_latex(number[0].rstrip())} }}" if number else ""
    return rf"\caption[{{{rest}}}]{{{shown}{rest}}}\label{{tab:{key}}}"


def to_latex(table: TableLayout) -> str:
    r"""Return the table as LaTeX (booktabs), in esttab's manner; it compiles alone or by ``\\input``."""
    n = len(table.columns)
    wide = n > MOST_UPRIGHT
    lines = [
        standalone(["booktabs", "graphicx", *(["pdflscape"] if wide else [])])
        + (r"\begin{landscape}" if wide else "%"),
        r"\begin{table}[htbp]\centering\small",
        r"\def\sym#1{\ifmmode^{#1}\else\(^{#1}\)\fi}",
        latex_caption(table.title, table.table) + r"\vspace{4pt}",
        SHRINK,
        rf"\begin{{tabular}}{{l*{{{n}}}{{c}}}}",
        r"\toprule",
    ]
    if any(table.groups):
        lines += _latex_spans(table)
    lines.append(" & ".join(["", *(latex_head(c) for c in table.columns)]) + r" \\")
    lines.append(r"\midrule")
    for label, cells in table.rows:
        lines.append(" & ".join([escape_latex(label), *(_latex_cell(c) for c in cells)]) + r" \\")
        lines.append(" & ".join(["", *(c.error for c in cells)]) + r" \\[2pt]")
    lines.append(r"\midrule")
    lines += [" & ".join([escape_latex(label), *map(_minus, values)]) + r" \\" for label, values in table.foot]
    lines += [r"\bottomrule", r"\end{tabular}}", "", r"\medskip"]
    lines.append(r"\begin{minipage}{0.95\textwidth}\footnotesize")
    lines += [escape_latex(note) for note in table.notes]
    lines += [r"\end{minipage}", r"\end{table}", *([r"\end{landscape}"] if wide else []), r"\tablestandalone", ""]
    return "\n".join(lines)


def latex_head(text: str) -> str:
    """Return a column head on two lines where it has several words."""
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
