"""The report of a finished multiverse: numbers as CSV, then tables, figures and a page made from them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from coalition_exit.errors import DataError
from coalition_exit.multiverse.reading.joint import JointTest, read_joint_test, write_joint_test
from coalition_exit.multiverse.reading.summary import Summary, summarize_multiverse
from coalition_exit.report import speccurve as numbers
from coalition_exit.report import speccurve_plots as plots
from coalition_exit.report.coefplot import save
from coalition_exit.report.grid import Grid, render
from coalition_exit.report.speccurve_tables import (
    changes_grid,
    decomposition_grid,
    failures_grid,
    joint_grid,
    joint_text,
    measures_grid,
    terms_grid,
    vibration_grid,
    within_grid,
)
from coalition_exit.report.tables import render_html

_FRAMES = (
    "terms", "failures", "options", "decomposition", "whole", "pairs", "changes", "vibration", "measures", "within",
)  # fmt: skip
# Columns that hold words, whatever they look like: an option may be called 30, or none.
_TEXT = (
    "term",
    "decision",
    "label",
    "option",
    "reference_option",
    "row",
    "what",
    "status",
    "reason",
    "measure",
    "statistic",
    "method",
)


@dataclass(frozen=True)
class Picture:
    """A figure on the page, as a data address, so that the page can be sent alone."""

    key: str
    alt: str
    address: str


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    grids: tuple[Grid, ...]
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, eq=False)
class Report:
    """What was written.

    Attributes
    ----------
    summary
        The numbers.
    grids
        The tables.
    figures
        Stems of the figures.
    page
        Path of the page.
    pictures
        The figures of the page by key.
    text
        What is found, in words.
    """

    summary: Summary
    grids: tuple[Grid, ...]
    figures: tuple[str, ...]
    page: Path
    pictures: Mapping[str, Picture]
    text: str


def write_multiverse_report(
    folder: str | Path, out: str | Path, joint: JointTest | None = None, note: str = "", *, pending: int = 0,
    before: Report | None = None,
) -> Report:  # fmt: skip
    """Write the report of a finished run.

    Parameters
    ----------
    folder
        Folder of the run: ``specs.parquet``, ``design.json``, and the files of a joint test if there was one.
    out
        Where ``multiverse/*.csv``, ``tables/``, ``figures/`` and ``multiverse.html`` go; made if need be.
    joint
        A joint test, in place of the one in ``folder``.
    note
        What the data are, for notes.
    pending
        Draws of a joint test that is still to be made: the page says so, and shows none.
    before
        Report of the same run without the joint test: figures that do not depend on it are not drawn again.

    Raises
    ------
    DataError
        When a file of the run is missing, or the folder cannot be written to.
    """
    summary = summarize_multiverse(folder) if before is None else before.summary
    if joint is None and not pending:
        joint = read_joint_test(folder)
    writer = _Writer(Path(out), note, {} if before is None else before.pictures)
    for name in _FRAMES:
        writer.csv(f"multiverse/{name}", getattr(summary, name))
    if joint is not None:
        write_joint_test(joint, writer.out / "multiverse")
    labels = dict(summary.design.labels)
    failures = failures_grid(summary)
    found = (terms_grid(summary), measures_grid(summary), failures)
    first = [grid for grid in found if grid is not None]
    if joint is not None:
        first.append(joint_grid(summary, joint))
    sections = [Section("The curves", tuple(first), (_null(writer, joint, labels),) if joint is not None else ())]
    drives = (_decomposition(writer, summary, labels),)
    shares = tuple(grid for grid in (decomposition_grid(summary), within_grid(summary)) if grid is not None)
    sections.append(Section("Which decision drives the estimate", shares, drives))
    for term, label in labels.items():
        sections.append(Section(label, (), _term_figures(writer, summary, joint, term, label)))
    sections.append(Section("Options one by one", (changes_grid(summary), vibration_grid(summary)), ()))
    grids = tuple(grid for section in sections for grid in section.grids)
    for grid in grids:
        writer.grid(grid)
    tested = joint_text(summary, joint) if joint is not None else [_PENDING.format(pending)] if pending else []
    said = [*summary.text.split("\n\n"), *tested]
    lead = [*said, *([f"Data: {note}."] if note else []), _WHERE]
    page = render_html("multiverse.html", title=summary.design.title, lead=lead, sections=sections)
    writer.text("multiverse.html", page)
    return Report(
        summary, grids, tuple(writer.pictures), writer.out / "multiverse.html", writer.pictures, "\n\n".join(said)
    )


_PENDING = (
    "The joint test against {:,} curves under the null is not done yet: it is being made, or was interrupted. The same "
    "command with --resume goes on with it."
)
_WHERE = "Full precision is in specs.parquet and, for tables and figures, in CSV files beside them."


class _Writer:
    def __init__(self, out: Path, note: str, before: Mapping[str, Picture]) -> None:
        self.out, self.note, self.before = out, f"Data: {note}." if note else "", before
        self.pictures: dict[str, Picture] = {}
        try:
            for name in ("multiverse", "tables", "figures"):
                (out / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(str(out), "a folder that can be written to", str(error.strerror)) from None

    def text(self, name: str, content: str) -> None:
        (self.out / name).write_text(content, encoding="utf-8", newline="\n")

    def csv(self, name: str, frame: pd.DataFrame) -> pd.DataFrame:
        """Write a frame and return it as the file has it."""
        path = self.out / f"{name}.csv"
        frame.to_csv(path, index=False, lineterminator="\n", encoding="utf-8")
        kinds = {column: str for column in _TEXT if column in frame.columns}
        return pd.read_csv(
            path, dtype=kinds, keep_default_na=False, na_values={c: [""] for c in frame.columns if c not in kinds},
            float_precision="round_trip", encoding="utf-8",
        )  # fmt: skip

    def grid(self, grid: Grid) -> None:
        for suffix in ("md", "tex", "html", "csv"):
            self.text(f"tables/{grid.key}.{suffix}", render(grid, suffix))

    def figure(self, key: str, alt: str, draw: Callable[..., Any], *arguments: Any, changes: bool = False) -> Picture:
        """Draw, save as PNG, PDF and SVG, and return the picture for the page.

        ``changes`` says that the joint test is in it: what an earlier report drew will not do.
        """
        if changes or key not in self.before:
            save(draw(*arguments), self.out / "figures" / key)
            content = (self.out / "figures" / f"{key}.svg").read_bytes()
            address = f"data:image/svg+xml;base64,{base64.b64encode(content).decode('ascii')}"
            self.pictures[key] = Picture(key, alt, address)
        else:
            self.pictures[key] = self.before[key]
        return self.pictures[key]

    def noted(self, *sentences: str) -> str:
        return " ".join(s for s in (*sentences, self.note) if s)


def _decomposition(writer: _Writer, summary: Summary, labels: dict[str, str]) -> Picture:
    data = writer.csv("figures/multiverse_decomposition", summary.decomposition)
    title = "Which decision drives the estimate: shares in the variance over specs"
    note = writer.noted(
        "Bars add up to 100%. Circles: what the decision tells by itself; strokes: what is lost without it. "
        "Interactions: what the additive model of all decisions leaves."
    )
    return writer.figure("multiverse_decomposition", f"{title}; the numbers are in the table above",
                         plots.draw_decomposition, data, summary.whole, labels, title, note)  # fmt: skip


def _null(writer: _Writer, joint: JointTest | None, labels: dict[str, str]) -> Picture:
    assert joint is not None
    frames = [numbers.null_histograms(joint, term) for term in dict.fromkeys(joint.tests["term"])]
    data = writer.csv("figures/multiverse_null", pd.concat(frames, ignore_index=True))
    title = "The curves found against curves under the null"
    note = writer.noted(
        f"Grey: {int(data['replicates'].max())} curves under the null, from draws of {joint.n_cluster} clusters "
        f"({joint.by}), recentred. Line: the curve found. Curves far out stand in the outermost bars."
    )
    return writer.figure("multiverse_null", f"{title}; the numbers are in the table above",
                         plots.draw_null, data, labels, title, note, changes=True)  # fmt: skip


def _term_figures(
    writer: _Writer, summary: Summary, joint: JointTest | None, term: str, label: str
) -> tuple[Picture, ...]:  # fmt: skip
    own = summary.specs[(summary.specs["term"] == term) & summary.specs["estimate"].notna()]
    kinds = [str(name) for name in own["estimator"].unique()]
    axis = plots.estimate_axis(label, kinds, term in summary.design.measured_by)
    return (
        _curve(writer, summary, joint, term, label, axis),
        _changes(writer, summary, term, label, axis),
        _vibration(writer, summary, term, label, axis),
        _multiples(writer, summary, term, label, axis),
    )


def _curve(
    writer: _Writer, summary: Summary, joint: JointTest | None, term: str, label: str, axis: str
) -> Picture:  # fmt: skip
    columns, dashboard, marks = numbers.curve_columns(summary, term)
    stem = f"figures/curve_{term}"
    columns, marks = writer.csv(stem, columns), writer.csv(f"{stem}_marks", marks)
    dashboard = writer.csv(f"{stem}_dashboard", dashboard)
    band = None
    if joint is not None:
        band = writer.csv(f"{stem}_null", joint.band[joint.band["term"] == term])
    most = int(columns["specs"].max()) if len(columns) else 0
    pooled = (
        f"Each column stands for up to {most:,} specs next to each other: medians of estimates and interval ends, the "
        "colour of most; below, the darker, the more of them have the option."
        if most > 1
        else "Each column is a spec; below, dark where it has the option."
    )
    note = writer.noted("Estimates with 95% intervals.", pooled)
    title = f"Specification curve: {label}"
    return writer.figure(f"curve_{term}", f"{title}, with a dashboard of the choices; the numbers are in its CSV files",
                         plots.draw_curve, columns, dashboard, marks, band, title, note, axis,
                         changes=band is not None)  # fmt: skip


def _changes(writer: _Writer, summary: Summary, term: str, label: str, axis: str) -> Picture:
    shown = numbers.changes_shown(summary, term)
    data = writer.csv(f"figures/changes_{term}", shown.rename(columns={"reference": "reference_option"}))
    data = data.rename(columns={"reference_option": "reference"})
    left_out = int(data["left_out"].iloc[0]) if len(data) else 0
    more = f"{left_out} options are not shown; all are in changes.csv." if left_out else ""
    note = writer.noted("Pairs are specs that differ in that option alone.", more)
    title = f"What each option changes: {label}"
    return writer.figure(f"changes_{term}", f"{title}; the numbers are in its CSV file",
                         plots.draw_changes, data, title, note, f"Change of the estimate ({axis})")  # fmt: skip


def _vibration(writer: _Writer, summary: Summary, term: str, label: str, axis: str) -> Picture:
    data = writer.csv(f"figures/vibration_{term}", numbers.vibration_points(summary, term))
    row = summary.vibration[summary.vibration["term"] == term].iloc[0]
    title = f"Vibration of effects: {label}"
    said = ""
    if row["specs"]:
        said = (
            f"{int(row['specs']):,} specs. Dotted: percentiles of the estimates; the 99th of the ratio is "
            f"{row['relative_ratio']:.3g} times the 1st, −log10(p) moves by {row['relative_p']:.2g}."
        )
    return writer.figure(f"vibration_{term}", f"{title}, estimates against p values; the numbers are in its CSV file",
                         plots.draw_vibration, data, row, title, writer.noted(said), axis)  # fmt: skip


def _multiples(writer: _Writer, summary: Summary, term: str, label: str, axis: str) -> Picture:
    data = numbers.multiples_data(summary, term)
    data = writer.csv(f"figures/multiples_{term}", data)
    title = f"The curve by option: {label}"
    note = writer.noted("Grey: all specs; blue: those with the option. Significant: p < .05 with the expected sign.")
    return writer.figure(f"multiples_{term}", f"{title}; the numbers are in its CSV file",
                         plots.draw_multiples, data, title, note, axis)  # fmt: skip
