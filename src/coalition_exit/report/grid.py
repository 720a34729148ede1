"""A table of texts: heads, rows and notes, for whatever is no table of coefficients."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from coalition_exit.errors import DataError, one_of, shown
from coalition_exit.report.grid_latex import grid_latex
from coalition_exit.report.plain import grid_text
from coalition_exit.report.tables import escape_markdown, markdown_rows, render_html

# A number as tables print it: with stars, in brackets, in per cent. An empty cell goes with either side.
_NUMBER = re.compile(r"[(\[]?[-−+]?(?:[\d,. ]*\d|\.\d+)(?:[eE][-+]?\d+)?%?[)\]]?[*†]*|")


@dataclass(frozen=True)
class Grid:
    """A table of texts.

    Attributes
    ----------
    key
        Stem of its files and its LaTeX label.
    title
        "" for none.
    heads
        One a column.
    rows
        Texts, as many a row as there are heads.
    notes
        Sentences below the table.

    Raises
    ------
    DataError
        When a row has more or fewer cells than there are heads.
    """

    key: str
    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for k, row in enumerate(self.rows, 1):
            if len(row) != len(self.heads):
                raise DataError(f"table {self.key} > row {k}", f"{len(self.heads)} cells", str(len(row)))

    @property
    def right(self) -> tuple[bool, ...]:
        """Which columns are set to the right: those after the first that hold numbers only."""
        columns = [[row[k] for row in self.rows] for k in range(len(self.heads))]
        return tuple(
            k > 0 and any(column) and all(_NUMBER.fullmatch(text) for text in column)
            for k, column in enumerate(columns)
        )


def grid_of(
    frame: pd.DataFrame,
    key: str,
    title: str,
    notes: Sequence[str] = (),
    heads: Mapping[str, str] | None = None,
    show: Mapping[str, Callable[[float], str]] | None = None,
) -> Grid:
    """Make a grid of a data frame's columns; its index is left out.

    Parameters
    ----------
    frame
        The rows.
    key, title, notes
        As in :class:`Grid`.
    heads
        Heads of columns by name; other columns bear their names.
    show
        How the numbers of a column are shown, by name; others are shown with four significant digits.
        Missing values are always empty.
    """
    heads, show = heads or {}, show or {}
    columns = [[_shown(value, show.get(str(name))) for value in frame[name]] for name in frame.columns]
    rows = tuple(zip(*columns, strict=True)) if columns else ()
    return Grid(key, title, tuple(heads.get(str(c), str(c)) for c in frame.columns), rows, tuple(notes))


def _shown(value: object, show: Callable[[float], str] | None) -> str:
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return ""
    if show is not None:
        return show(value)  # type: ignore[arg-type]
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def render(grids: Grid | Sequence[Grid], suffix: str, title: str = "", lead: str = "") -> str:
    r"""Draw one or several grids as the text of one file.

    Parameters
    ----------
    grids
        What to draw, in order.
    suffix
        "md", "tex", "html", "csv" or "txt". The LaTeX compiles alone and by ``\input``; the HTML stands alone.
    title, lead
        Title and opening lines of the whole; the title shows where there are several grids or a lead.

    Raises
    ------
    DataError
        When the suffix is none of these.
    """
    if suffix not in _RENDERERS:
        raise DataError("suffix of a table", one_of(_RENDERERS), shown(suffix))
    return _RENDERERS[suffix]([grids] if isinstance(grids, Grid) else list(grids), title, lead)


def _markdown(grids: Sequence[Grid], title: str, lead: str) -> str:
    headed = len(grids) > 1 or bool(lead)
    parts = [f"# {escape_markdown(title)}"] if headed and title else []
    parts += [escape_markdown(line) for line in lead.splitlines() if line]
    for grid in grids:
        parts += [f"**{escape_markdown(grid.title)}**"] if grid.title else []
        parts.append("\n".join(markdown_rows([grid.heads, *grid.rows], grid.right)))
        parts += [escape_markdown(" ".join(grid.notes))] if grid.notes else []
    return "\n\n".join(parts) + "\n"


def _html(grids: Sequence[Grid], title: str, lead: str) -> str:
    name = title or (grids[0].title if grids else "")
    return render_html("table.html", tables=[], grids=grids, title=name, lead=lead)


def _csv(grids: Sequence[Grid], title: str, lead: str) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for k, grid in enumerate(grids):
        if len(grids) > 1:
            writer.writerows([[]] * (k > 0))
            writer.writerow([grid.title])
        writer.writerows([grid.heads, *grid.rows])
        writer.writerows([note] for note in grid.notes)
    return out.getvalue()


def _text(grids: Sequence[Grid], title: str, lead: str) -> str:
    return to_text(grids, None, lead)


def _latex(grids: Sequence[Grid], title: str, lead: str) -> str:
    return grid_latex([(g.key, g.title, g.heads, g.rows, g.notes, g.right) for g in grids], title, lead)


def to_text(grids: Grid | Sequence[Grid], width: int | None = None, lead: str = "") -> str:
    """Return grids as plain text for a terminal; None for no limit of width."""
    listed = [grids] if isinstance(grids, Grid) else list(grids)
    parts = [f"{lead}\n"] if lead else []
    parts += [grid_text(g.title, g.heads, g.rows, g.notes, g.right, width) for g in listed]
    return "\n".join(parts)


_RENDERERS: Mapping[str, Callable[[Sequence[Grid], str, str], str]] = {
    "md": _markdown, "tex": _latex, "html": _html, "csv": _csv, "txt": _text,
}  # fmt: skip
