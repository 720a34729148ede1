"""The output folder of a run: estimates first, then tables and figures made from those files."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from coalition_exit.errors import InputError
from coalition_exit.report.coefplot import draw, plot_data, save
from coalition_exit.report.layout import TableLayout, lay_out_table
from coalition_exit.report.tables import render_html, to_csv, to_html, to_latex, to_markdown
from coalition_exit.specs.loading import Spec


@dataclass(frozen=True)
class TableSource:
    """A specification and the sentence that says what data its estimates come from."""

    spec: Spec
    note: str


def write_output(
    out: Path, sources: Sequence[TableSource], estimates: pd.DataFrame, models: pd.DataFrame, run: dict[str, Any]
) -> list[TableLayout]:
    """Write everything a run leaves behind; each file appears whole or not at all.

    Parameters
    ----------
    out
        The output folder; made if need be. Files of an earlier run with the same names are replaced.
    sources
        The tables.
    estimates, models
        All tables' rows, in the promised columns.
    run
        What goes into ``run.json``.

    Returns
    -------
    list of TableLayout
        The tables as written.

    Raises
    ------
    InputError
        When the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=".writing-") as folder:
            layouts = _write_all(Path(folder), sources, estimates, models, run)
            _move_into(Path(folder), out)
    except OSError as error:
        raise InputError(str(out), "a folder that can be written", error.strerror or str(error)) from None
    return layouts


def _write_all(
    folder: Path, sources: Sequence[TableSource], estimates: pd.DataFrame, models: pd.DataFrame, run: dict[str, Any]
) -> list[TableLayout]:
    for name, frame in (("estimates", estimates), ("models", models)):
        frame.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n", encoding="utf-8")
    # Tables and figures see what a reader of the files sees, nothing more.
    estimates, models = read_results(folder)
    for name in ("tables", "figures"):
        (folder / name).mkdir()
    layouts, figures = [], {}
    for source in sources:
        layout = lay_out_table(source.spec, estimates, models, source.note)
        layouts.append(layout)
        _write_table(folder / "tables", layout)
        data = plot_data(source.spec, estimates)
        data.to_csv(folder / "figures" / f"{layout.table}.csv", index=False, lineterminator="\n")
        if len(data):
            save(draw(data, layout.title, f"Data: {source.note}."), folder / "figures" / layout.table)
            figures[layout.table] = f"figures/{layout.table}.svg"
    lead = "Tables and coefficient plots of this run. Full precision is in estimates.csv and models.csv."
    _write(
        folder / "report.html",
        render_html("table.html", tables=layouts, title="coalition-exit", figures=figures, lead=lead),
    )
    _write(folder / "run.json", json.dumps(run, indent=2, sort_keys=True) + "\n")
    return layouts


def _write_table(folder: Path, layout: TableLayout) -> None:
    for suffix, render in (("md", to_markdown), ("tex", to_latex), ("html", to_html), ("csv", to_csv)):
        _write(folder / f"{layout.table}.{suffix}", render(layout))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def read_results(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read ``estimates.csv`` and ``models.csv`` of a run."""
    kept = {"keep_default_na": False, "na_values": [""], "encoding": "utf-8", "float_precision": "round_trip"}
    text = {"table": str, "model": str, "term": str}
    estimates = pd.read_csv(folder / "estimates.csv", dtype=text, **kept)
    models = pd.read_csv(folder / "models.csv", dtype={**text, "status": str, "reason": str}, **kept)
    return estimates, models.fillna({"reason": "", "correction": ""})


def _move_into(folder: Path, out: Path) -> None:
    for path in sorted(folder.rglob("*")):
        target = out / path.relative_to(folder)
        if path.is_dir():
            target.mkdir(exist_ok=True)
        else:
            path.replace(target)
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
