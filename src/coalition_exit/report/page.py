"""The report of a run: everything on one page, in sections, with a list of contents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from coalition_exit.report.grid import Grid
from coalition_exit.report.layout import TableLayout
from coalition_exit.report.tables import render_html

TITLE = "Results"
MAIN, ROBUSTNESS, DIAGNOSTICS = "Tables and figures", "Robustness", "Diagnostics"
# A table of more columns has the width of the page to itself.
MOST_BESIDE = 6


@dataclass(frozen=True)
class Picture:
    """A figure as the report shows it: a data address, so that the page can be sent alone."""

    key: str
    title: str
    alt: str
    address: str


@dataclass(frozen=True)
class Entry:
    """One exhibit: a table of coefficients with its plot and verdict, a table of texts, or a figure."""

    key: str
    title: str
    table: TableLayout | None = None
    grid: Grid | None = None
    picture: Picture | None = None

    @property
    def beside(self) -> bool:
        """Whether the plot stands beside the table."""
        return self.table is not None and len(self.table.columns) <= MOST_BESIDE


@dataclass
class Section:
    """A part of the page."""

    title: str
    entries: list[Entry] = field(default_factory=list)


def report_page(
    sections: Sequence[tuple[str, Entry]], data: Sequence[str], verdicts: Mapping[str, Grid] | None = None
) -> str:
    """Return the page.

    Parameters
    ----------
    sections
        Name of its section, and an exhibit; sections follow each other as they first appear here.
    data
        What the data are, a phrase a source. A single one stands at the top alone, and no more in each note.
    verdicts
        Table -> the table of verdicts that follows it.
    """
    parts: dict[str, Section] = {}
    for name, entry in sections:
        parts.setdefault(name, Section(name)).entries.append(_without_note(entry, data))
    judged = {table: replace(grid, notes=_without(grid.notes, data)) for table, grid in (verdicts or {}).items()}
    return render_html("report.html", title=TITLE, sections=list(parts.values()), data=list(data), verdicts=judged)


def _without_note(entry: Entry, data: Sequence[str]) -> Entry:
    if entry.table is not None:
        return replace(entry, table=replace(entry.table, notes=_without(entry.table.notes, data)))
    if entry.grid is not None:
        return replace(entry, grid=replace(entry.grid, notes=_without(entry.grid.notes, data)))
    return entry


def _without(notes: Sequence[str], data: Sequence[str]) -> tuple[str, ...]:
    """Take out what is said of the data at the top of the page; what was left out of them stays."""
    if len(data) != 1:
        return tuple(notes)
    kept = []
    for note in notes:
        _, said, rest = note.partition(f"Data: {data[0]}")
        if said and note.startswith("Data: "):
            rest = rest.strip(".; ")
            kept += [f"{rest[:1].upper()}{rest[1:]}."] if rest else []
        else:
            kept.append(note.replace(f"; data: {data[0]}", ""))
    return tuple(kept)
