"""Tables of texts as LaTeX: wide ones across the page, long ones over several."""

from __future__ import annotations

from collections.abc import Sequence

from coalition_exit.report.tables import (
    MOST_UPRIGHT,
    SHRINK,
    escape_latex,
    latex_caption,
    latex_head,
    standalone,
)

# Letters a line holds, upright and across, in small type; what the space between columns takes of them; and
# the longest text that stands on one line.
_UPRIGHT, _ACROSS, _GAP, _ONE_LINE = 95, 145, 3, 18
# A table with more rows than this is broken over pages.
_MOST_ROWS = 35

# Key, title, heads, rows, notes, and which columns are set to the right.
Parts = tuple[str, str, Sequence[str], Sequence[Sequence[str]], Sequence[str], Sequence[bool]]


def grid_latex(tables: Sequence[Parts], title: str = "", lead: str = "") -> str:
    r"""Return tables of texts as LaTeX (booktabs); the file compiles alone or by ``\input``."""
    bodies = [_table(table) for table in tables]
    used = [name for name in ("longtable", "pdflscape") if any(f"{{{_ENVIRONMENT[name]}}}" in b for b in bodies)]
    opening = standalone(["booktabs", "array", "graphicx", *used])
    headed = title and (lead or len(tables) > 1)
    said = [rf"\section*{{{escape_latex(title)}}}"] if headed else []
    said += [escape_latex(line) + r"\par" for line in lead.splitlines() if line]
    return "\n".join([opening.rstrip("\n"), *said, *bodies, r"\tablestandalone", ""])


_ENVIRONMENT = {"longtable": "longtable", "pdflscape": "landscape"}


def _table(table: Parts) -> str:
    key, title, heads, rows, notes, right = table
    across = len(heads) > MOST_UPRIGHT
    columns = _columns(heads, rows, right, _ACROSS if across else _UPRIGHT)
    if not across and columns is None:
        across, columns = True, _columns(heads, rows, right, _ACROSS)
    set_as = columns or ["r" if r else "l" for r in right]
    head = " & ".join(escape_latex(h) if len(c) > 1 else latex_head(h) for h, c in zip(heads, set_as, strict=True))
    lines = [" & ".join(_cell(text, r) for text, r in zip(row, right, strict=True)) + r" \\" for row in rows]
    make = _long if len(rows) > _MOST_ROWS else _short
    body = make(latex_caption(title, key), "".join(set_as), len(heads), head + r" \\", lines, _notes(notes))
    return "\n".join([r"\begin{landscape}", body, r"\end{landscape}"]) if across else body


def _short(caption: str, columns: str, n: int, head: str, rows: Sequence[str], notes: str) -> str:
    lines = [
        r"\begin{table}[htbp]\centering\small", rf"{caption}\vspace{{4pt}}", SHRINK, rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule", head, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}}", notes, r"\end{table}",
    ]  # fmt: skip
    return "\n".join(line for line in lines if line)


def _long(caption: str, columns: str, n: int, head: str, rows: Sequence[str], notes: str) -> str:
    again = rf"\multicolumn{{{n}}}{{l}}{{\emph{{continued}}}} \\"
    lines = [
        r"\begingroup\small\setlength{\tabcolsep}{4pt}", rf"\begin{{longtable}}{{{columns}}}", rf"{caption} \\",
        r"\toprule", head, r"\midrule", r"\endfirsthead", again, r"\toprule", head, r"\midrule", r"\endhead",
        r"\bottomrule", r"\endfoot", *rows, r"\end{longtable}", notes, r"\endgroup",
    ]  # fmt: skip
    return "\n".join(line for line in lines if line)


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    said = "\n".join(escape_latex(note) for note in notes)
    return "\n".join(["", r"\medskip", r"\begin{minipage}{0.95\linewidth}\footnotesize", said, r"\end{minipage}"])


def _cell(text: str, right: bool) -> str:
    # Letters of blank that LaTeX would leave out set a row below its head.
    blank = len(text) - len(text.lstrip(" "))
    escaped = escape_latex(" ".join(text.split()))
    if blank and escaped:
        return rf"\hspace*{{{blank * 0.4:.1f}em}}{escaped}"
    return escaped.replace("-", "$-$") if right and escaped.startswith(("-", "(-", "{[}-")) else escaped


def _columns(heads: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool], room: int) -> list[str] | None:
    """Return how the columns are set; None where texts would be broken after every other word."""
    longest = [max([len(row[k]) for row in rows] + [len(word) for word in head.split()] + [1])
               for k, head in enumerate(heads)]  # fmt: skip
    plain = ["r" if r else "l" for r in right]
    if sum(longest) + _GAP * len(heads) <= room:
        return plain
    texts = [k for k, n in enumerate(longest) if n > _ONE_LINE and not right[k]]
    left = room - _GAP * len(heads) - sum(n for k, n in enumerate(longest) if k not in texts)
    if not texts or left < _ONE_LINE * len(texts):
        return None
    # A text that needs less than its share leaves the rest to the others.
    for n, k in enumerate(sorted(texts, key=lambda k: longest[k])):
        share = min(longest[k], left // (len(texts) - n))
        left -= share
        plain[k] = rf">{{\raggedright\arraybackslash}}p{{{share / room:.3f}\linewidth}}"
    return plain
