"""Tables as plain text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from coalition_exit.report.layout import TableLayout

# Notes are set this wide where the terminal's width is not known, and never narrower than the second.
_NOTES, _NARROWEST = 100, 60


def to_text(table: TableLayout, width: int | None = None) -> str:
    """Return the table as plain text.

    Parameters
    ----------
    table
        The table.
    width
        Letters a line can hold: a wider table is shown in blocks of columns. None for no limit.
    """
    body = [_hang(row) for row in table.body]
    label = max(len(row[0]) for row in body)
    widths = _widths(table, body)
    blocks = _blocks(widths, label, width)
    longest = label + max(sum(widths[first:last]) for first, last in blocks)
    reach = max(longest, _NOTES if width is None else min(max(width, _NARROWEST), _NOTES))
    lines = [wrap(table.title, reach), "-" * longest]
    for first, last in blocks:
        lines += [*_block(table, body, (first, last), label, widths[first:last]), "-" * longest]
    return "\n".join([*lines, wrap(" ".join(table.notes), reach), ""])


def wrap(text: str, width: int, indent: str = "") -> str:
    """Break text into lines; words stay whole. Lines after the first begin with ``indent``."""
    return textwrap.fill(text, width, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)


def _hang(row: list[str]) -> list[str]:
    """Let stars and brackets hang to the right, so that digits line up."""
    hung = []
    for text in row[1:]:
        digits = text.rstrip("*†")
        hung.append(digits + text[len(digits) :].ljust(2) if not text.endswith(")") else f"{text} ")
    return [row[0], *hung]


def _widths(table: TableLayout, body: list[list[str]]) -> list[int]:
    rows = [["", *table.columns], *body]
    widths = [max(len(row[k]) for row in rows) + 2 for k in range(1, len(table.columns) + 1)]
    first = 0
    for group, width in table.spans:
        last = first + width - 1
        widths[last] += max(0, len(group) + 2 - sum(widths[first : last + 1]))
        first = last + 1
    return widths


def _blocks(widths: list[int], label: int, width: int | None) -> list[tuple[int, int]]:
    """Return the ranges of columns that fit beside the labels, at least one column each."""
    blocks, first = [], 0
    for k in range(len(widths)):
        if width is not None and k > first and label + sum(widths[first : k + 1]) > width:
            blocks.append((first, k))
            first = k
    return [*blocks, (first, len(widths))]


def _block(
    table: TableLayout, body: list[list[str]], columns: tuple[int, int], label: int, widths: list[int]
) -> list[str]:
    first, last = columns
    rows = [_row([row[0], *row[first + 1 : last + 1]], label, widths) for row in body]
    rule = "-" * (label + sum(widths))
    lines = [_group_heads(table.groups[first:last], label, widths)] if any(table.groups) else []
    lines += [_row(["", *table.columns[first:last]], label, widths), rule]
    foot = len(rows) - len(table.foot)
    return [*lines, *rows[:foot], rule, *rows[foot:]]


def _row(row: list[str], label: int, widths: list[int]) -> str:
    cells = "".join(text.rjust(width) for text, width in zip(row[1:], widths, strict=True))
    return (row[0].ljust(label) + cells).rstrip()


def _group_heads(groups: tuple[str, ...], label: int, widths: list[int]) -> str:
    line, reach = "", label
    for k, (group, width) in enumerate(zip(groups, widths, strict=True)):
        if group and (k == 0 or group != groups[k - 1]):
            line = line.ljust(reach + 2) + group
        reach += width
    return line.rstrip()


def columns(
    title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], width: int, right: Sequence[str] = ()
) -> str:
    """Return rows in columns under a title; the last column is broken into lines where it is too long.

    Parameters
    ----------
    title, heads, rows
        What to show.
    width
        Letters a line can hold.
    right
        Heads of the columns set to the right.
    """
    widths = [max(len(row[k]) for row in [heads, *rows]) for k in range(len(heads))]
    before = sum(widths[:-1]) + 2 * len(widths) - 2
    last = max(width - before, 30)
    lines = [title, "-" * min(before + min(widths[-1], last), max(width, before + 30))]
    for row in [heads, *rows]:
        cells = [c.rjust(w) if h in right else c.ljust(w) for c, w, h in zip(row, widths, heads, strict=True)]
        text = wrap(cells[-1].rstrip(), last) if heads[-1] not in right else cells[-1]
        lines.append("  ".join([*cells[:-1], text.replace("\n", "\n" + " " * before)]).rstrip())
    return "\n".join([*lines, ""])


# In a narrow terminal texts are broken into lines, but no column gets narrower than this.
_NARROWEST_TEXT = 12


def grid_text(
    title: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    notes: Sequence[str] = (),
    right: Sequence[bool] = (),
    width: int | None = None,
) -> str:
    """Return a table of texts as plain text.

    Parameters
    ----------
    title, heads, rows, notes
        What to show.
    right
        Which columns are set to the right.
    width
        Letters a line can hold: texts of a wider table are broken into lines, and where that is not enough
        it is shown in blocks of columns, the first column in each. None for no limit.
    """
    right = right or [False] * len(heads)
    table = [list(heads), *(list(row) for row in rows)]
    widths = [max([len(row[k]) for row in table] + [1]) for k in range(len(heads))]
    if width is not None:
        widths = _narrowed(widths, right, width)
    blocks = [(first + 1, last + 1) for first, last in _blocks([w + 2 for w in widths[1:]], widths[0], width)]
    if len(heads) == 1:
        blocks = [(1, 1)]
    longest = max(widths[0] + sum(w + 2 for w in widths[first:last]) for first, last in blocks)
    reach = max(longest, _NOTES if width is None else min(max(width, _NARROWEST), _NOTES))
    lines = [wrap(title, reach)] if title else []
    lines.append("-" * longest)
    for first, last in blocks:
        shown = [0, *range(first, last)]
        drawn = [_broken([(row[k], widths[k], right[k]) for k in shown]) for row in table]
        lines += [*drawn[0], "-" * longest, *(line for row in drawn[1:] for line in row), "-" * longest]
    return "\n".join([*lines, *([wrap(" ".join(notes), reach)] if notes else []), ""])


def _narrowed(widths: Sequence[int], right: Sequence[bool], width: int) -> list[int]:
    """Take from the widest texts what is too much."""
    narrowed = list(widths)
    texts = [k for k in range(len(widths)) if not right[k] and widths[k] > _NARROWEST_TEXT]
    while texts and sum(narrowed) + 2 * (len(narrowed) - 1) > width:
        k = max(texts, key=lambda k: narrowed[k])
        if narrowed[k] <= _NARROWEST_TEXT:
            break
        narrowed[k] -= 1
    return narrowed


def _broken(cells: Sequence[tuple[str, int, bool]]) -> list[str]:
    """Return a row's lines, its texts broken to their columns' widths."""
    broken = [
        textwrap.wrap(text, width, break_on_hyphens=False) or [""] if len(text) > width else [text]
        for text, width, _ in cells
    ]
    lines = []
    for k in range(max(map(len, broken))):
        parts = [(part[k] if k < len(part) else "", cell) for part, cell in zip(broken, cells, strict=True)]
        lines.append("  ".join(t.rjust(w) if r else t.ljust(w) for t, (_, w, r) in parts).rstrip())
    return lines
