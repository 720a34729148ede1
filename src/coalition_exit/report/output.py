"""The output folder of a run: estimates first, then tables and figures made from those files."""

from __future__ import annotations

import base64
import contextlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from coalition_exit.errors import InputError, shown
from coalition_exit.report.coefplot import draw, draw_nothing, plot_data, save
from coalition_exit.report.exhibits import crosstab_grid, diagnostics_grid
from coalition_exit.report.figures import describe, draw_exhibit
from coalition_exit.report.grid import Grid
from coalition_exit.report.grid import render as render_grid
from coalition_exit.report.layout import TableLayout, lay_out_table
from coalition_exit.report.page import DIAGNOSTICS, MAIN, ROBUSTNESS, Entry, Picture, report_page
from coalition_exit.report.robustness_output import RobustnessSource, draw_all, grids_of, write_numbers
from coalition_exit.report.run_files import Left, as_json, listed, put_in_place
from coalition_exit.report.tables import to_csv, to_html, to_latex, to_markdown
from coalition_exit.report.verdicts import verdict_grid
from coalition_exit.specs.exhibits import Crosstab, Figure
from coalition_exit.specs.loading import Spec


@dataclass(frozen=True)
class TableSource:
    """A specification and the sentence that says what data its estimates come from; ``data`` is its beginning."""

    spec: Spec
    note: str
    data: str = ""


@dataclass(frozen=True, eq=False)
class FigureSource:
    """A figure, its numbers, and what is to be said below it; a reason where it could not be computed."""

    figure: Figure
    data: pd.DataFrame
    note: str
    reason: str = ""
    data_note: str = ""


@dataclass(frozen=True, eq=False)
class CrosstabSource:
    """A cross-tabulation: its cells in long form, its tests, phrases for its note."""

    crosstab: Crosstab
    cells: pd.DataFrame
    tests: dict[str, Any]
    notes: tuple[str, ...]
    data_note: str = ""


@dataclass(frozen=True, eq=False)
class Extras:
    """What a run may have beside tables of coefficients."""

    diagnostics: pd.DataFrame | None = None
    crosstabs: tuple[CrosstabSource, ...] = ()
    figures: tuple[FigureSource, ...] = ()
    verdicts: pd.DataFrame | None = None
    verdict_exits: pd.DataFrame | None = None
    robustness: tuple[RobustnessSource, ...] = ()
    parts: pd.DataFrame | None = None


@dataclass(frozen=True)
class Written:
    """The tables as written, and what an earlier run had left in the folder."""

    tables: tuple[TableLayout, ...]
    grids: tuple[Grid, ...]
    verdicts: tuple[Grid, ...] = ()
    drawn: tuple[str, ...] = ()
    left: Left = field(default_factory=Left)


def write_output(
    out: Path,
    sources: Sequence[TableSource],
    estimates: pd.DataFrame,
    models: pd.DataFrame,
    run: dict[str, Any],
    extras: Extras | None = None,
) -> Written:
    """Write everything a run leaves behind: all of it, or nothing.

    Parameters
    ----------
    out
        The output folder; made if need be. The files of an earlier run, which its ``run.json`` lists, are
        replaced or removed together at the end, but for those that somebody has changed and this run does
        not write; when anything goes wrong before, they stay as they were. No other file is touched.
    sources
        The tables.
    estimates, models
        All tables' rows, in the promised columns.
    run
        What goes into ``run.json``.
    extras
        Diagnostics, cross-tabulations and figures.

    Returns
    -------
    Written

    Raises
    ------
    InputError
        When the folder cannot be written.
    """
    check_folder(out)
    made = [path for path in (out, *out.parents) if not path.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=".writing-") as folder:
            new, old = Path(folder) / "new", Path(folder) / "old"
            new.mkdir()
            written = _write_all(new, sources, estimates, models, run, extras or Extras())
            written = replace(written, left=put_in_place(new, out, old))
    except BaseException as error:
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()
        if isinstance(error, OSError):
            raise InputError(
                str(out), "a folder that can be written", _reason(error), _open_elsewhere(error, out)
            ) from None
        raise
    return written


def _open_elsewhere(error: OSError, out: Path) -> str:
    """Name a file that Windows does not let go of while another program, such as Excel, has it open."""
    name = Path(str(error.filename or ""))
    if isinstance(error, PermissionError) and name != out and name.is_relative_to(out):
        return f"Close {name.name} where it is open"
    return ""


def check_folder(out: Path) -> None:
    """Refuse a folder that cannot be written, before anything is computed for it.

    Raises
    ------
    InputError
        Says why.
    """
    try:
        there = next(path for path in (out, *out.absolute().parents) if path.exists())
    except (OSError, ValueError) as error:
        raise InputError(shown(str(out)), "a folder that can be written", _reason(error)) from None
    if not there.is_dir():
        raise InputError(str(out), "a folder that can be written", f"the file {there}")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(str(out), "a folder that can be written", "no permission to write there")


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


def _write_all(
    folder: Path,
    sources: Sequence[TableSource],
    estimates: pd.DataFrame,
    models: pd.DataFrame,
    run: dict[str, Any],
    extras: Extras,
) -> Written:
    for name, frame in (("estimates", estimates), ("models", models)):
        _write_csv(frame, folder / f"{name}.csv")
    # Tables and figures see what a reader of the files sees, nothing more.
    estimates, models = read_results(folder)
    for name in ("tables", "figures"):
        (folder / name).mkdir()
    layouts, pictures = _write_coefficients(folder, sources, estimates, models)
    verdicts = _write_verdicts(folder, sources, extras)
    grids = _write_grids(folder, sources, extras)
    for one in extras.figures:
        _write_figure(folder / "figures", one)
        pictures[one.figure.table] = _picture(folder, one.figure.table, one.figure.title, describe(one.figure))
    numbers = write_numbers(folder, extras.robustness)
    taken = [*(one.table for one in layouts), *(grid.key for grid in (*verdicts.values(), *grids))]
    more = grids_of(extras.robustness, numbers, taken)
    for grid in (*verdicts.values(), *grids, *more):
        for suffix in ("md", "tex", "html", "csv"):
            _write(folder / "tables" / f"{grid.key}.{suffix}", render_grid(grid, suffix))
    drawn = draw_all(folder / "figures", extras.robustness, numbers, save)
    further = [Entry(grid.key, grid.title, grid=grid) for grid in more]
    further += [Entry(d.key, d.title, picture=_picture(folder, d.key, d.title, d.alt)) for d in drawn]
    entries = _entries(sources, extras, layouts, grids, pictures)
    entries += [(ROBUSTNESS, entry) for entry in further]
    entries.sort(key=lambda one: one[0] == DIAGNOSTICS)
    _write(folder / "report.html", report_page(entries, _data_of(sources, extras), verdicts))
    _write(folder / "run.json", as_json({**run, "files": listed(folder)}))
    keys = tuple(one.key for one in drawn)
    return Written(tuple(layouts), (*more, *grids), tuple(verdicts.values()), keys)


def _write_coefficients(
    folder: Path, sources: Sequence[TableSource], estimates: pd.DataFrame, models: pd.DataFrame
) -> tuple[list[TableLayout], dict[str, Picture]]:
    """Write the tables of coefficients and their plots."""
    layouts: list[TableLayout] = []
    pictures: dict[str, Picture] = {}
    for source in sources:
        layout = lay_out_table(source.spec, estimates, models, source.note)
        layouts.append(layout)
        _write_table(folder / "tables", layout)
        data = plot_data(source.spec, estimates)
        _write_csv(data, folder / "figures" / f"{layout.table}.csv")
        save(draw(data, layout.title, f"Data: {source.note}."), folder / "figures" / layout.table)
        alt = f"Coefficients of {layout.title} with 95% intervals; the numbers are in the table"
        pictures[layout.table] = _picture(folder, layout.table, layout.title, alt)
    return layouts, pictures


def _picture(folder: Path, key: str, title: str, alt: str) -> Picture:
    return Picture(key, title, alt, _address(folder / "figures" / f"{key}.svg"))


def _entries(
    sources: Sequence[TableSource], extras: Extras, layouts: Sequence[TableLayout], grids: Sequence[Grid],
    pictures: Mapping[str, Picture],
) -> list[tuple[str, Entry]]:  # fmt: skip
    """Return the exhibits with their sections, those without one first; diagnostics are a section of their own."""
    section = {source.spec.table: source.spec.section for source in sources}
    section |= {one.crosstab.table: one.crosstab.section for one in extras.crosstabs}
    found = [
        (section[one.table], Entry(one.table, one.title, table=one, picture=pictures[one.table])) for one in layouts
    ]
    found += [(section.get(grid.key, DIAGNOSTICS), Entry(grid.key, grid.title, grid=grid)) for grid in grids]
    found += [
        (one.figure.section, Entry(one.figure.table, one.figure.title, picture=pictures[one.figure.table]))
        for one in extras.figures
    ]
    return [(name or MAIN, entry) for name, entry in sorted(found, key=lambda one: one[0] != "")]


def _data_of(sources: Sequence[TableSource], extras: Extras) -> list[str]:
    said = [source.data for source in sources]
    said += [one.data_note for one in extras.figures] + [one.data_note for one in extras.crosstabs]
    return [text for text in dict.fromkeys(said) if text]


def _write_verdicts(folder: Path, sources: Sequence[TableSource], extras: Extras) -> dict[str, Grid]:
    """Write the verdicts and return their tables by that of the models; with them what the blocks' parts came to."""
    if extras.parts is not None and len(extras.parts):
        _write_csv(extras.parts, folder / "robustness.csv")
    if extras.verdicts is None or extras.verdict_exits is None or not len(extras.verdicts):
        return {}
    read = []
    for name, frame in (("verdicts", extras.verdicts), ("verdict_exits", extras.verdict_exits)):
        _write_csv(frame, folder / f"{name}.csv")
        text = [column for column in frame.columns if not pd.api.types.is_numeric_dtype(frame[column])]
        read.append(_read_csv(folder / f"{name}.csv", text).fillna(dict.fromkeys(text, "")))
    made = {source.spec.table: verdict_grid(source.spec, read[0], read[1], source.note) for source in sources}
    return {table: grid for table, grid in made.items() if grid is not None}


def _write_grids(folder: Path, sources: Sequence[TableSource], extras: Extras) -> list[Grid]:
    grids: list[Grid] = []
    if extras.diagnostics is not None and len(extras.diagnostics):
        _write_csv(extras.diagnostics, folder / "diagnostics.csv")
        diagnostics = _read_csv(folder / "diagnostics.csv", ("table", "model", "quantity", "term", "text"))
        made = [
            diagnostics_grid(source.spec, diagnostics.fillna({"term": "", "text": ""}), source.note)
            for source in sources
        ]
        grids += [grid for grid in made if grid is not None]
    if extras.crosstabs:
        cells = [one.cells.assign(**one.tests) for one in extras.crosstabs]
        _write_csv(pd.concat(cells, ignore_index=True), folder / "crosstabs.csv")
        grids += [crosstab_grid(one.crosstab, one.cells, one.tests, one.notes) for one in extras.crosstabs]
    return grids


def _write_figure(folder: Path, source: FigureSource) -> None:
    figure = source.figure
    path = folder / f"{figure.table}.csv"
    _write_csv(source.data, path)
    if source.reason:
        canvas = draw_nothing(figure.title, f"Not computed: {source.reason}.")
    else:
        canvas = draw_exhibit(figure, _read_csv(path, ("panel", "date")), source.note)
    save(canvas, folder / figure.table)


def _address(path: Path) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    frame.to_csv(path, index=False, lineterminator="\n", encoding="utf-8")


def _read_csv(path: Path, text: Sequence[str]) -> pd.DataFrame:
    """Read a CSV file of a run to the last digit."""
    if not path.read_bytes().strip():
        return pd.DataFrame()
    kept: dict[str, Any] = {"keep_default_na": False, "na_values": [""], "encoding": "utf-8"}
    return pd.read_csv(path, dtype=dict.fromkeys(text, str), float_precision="round_trip", **kept)


def _write_table(folder: Path, layout: TableLayout) -> None:
    for suffix, render in (("md", to_markdown), ("tex", to_latex), ("html", to_html), ("csv", to_csv)):
        _write(folder / f"{layout.table}.{suffix}", render(layout))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def read_results(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read ``estimates.csv`` and ``models.csv`` of a run."""
    estimates = _read_csv(folder / "estimates.csv", ("table", "model", "term"))
    text = ("table", "model", "status", "reason", "estimator", "ties", "correction")
    models = _read_csv(folder / "models.csv", text)
    return estimates, models.fillna({"reason": "", "ties": "", "correction": ""})
