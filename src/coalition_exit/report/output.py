"""The output folder of a run: estimates first, then tables and figures made from those files."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from coalition_exit.errors import InputError, shown
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
    """Write everything a run leaves behind: all of it, or nothing.

    Parameters
    ----------
    out
        The output folder; made if need be. Files of an earlier run with the same names are replaced
        together at the end; when anything goes wrong before, they stay as they were.
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
    check_folder(out)
    made = [path for path in (out, *out.parents) if not path.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=".writing-") as folder:
            new, old = Path(folder) / "new", Path(folder) / "old"
            new.mkdir()
            layouts = _write_all(new, sources, estimates, models, run)
            _swap(new, out, old)
    except BaseException as error:
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()
        if isinstance(error, OSError):
            raise InputError(str(out), "a folder that can be written", _reason(error)) from None
        raise
    return layouts


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
    models = pd.read_csv(folder / "models.csv", dtype={**text, "status": str, "reason": str, "correction": str}, **kept)
    return estimates, models.fillna({"reason": "", "correction": ""})


def _swap(new: Path, out: Path, old: Path) -> None:
    """Move every file into the output folder; whatever goes wrong, put the earlier ones back."""
    moved: list[Path] = []
    files = [path.relative_to(new) for path in sorted(new.rglob("*")) if path.is_file()]
    try:
        for name in files:
            for folder in (out, old):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if (out / name).is_dir():
                raise IsADirectoryError(errno.EISDIR, f"the folder {out / name} in the place of a file")
            if (out / name).exists():
                (out / name).replace(old / name)
            moved.append(name)
            (new / name).replace(out / name)
    except BaseException:
        for name in reversed(moved):
            (out / name).unlink(missing_ok=True)
        for path in old.rglob("*"):
            if path.is_file():
                path.replace(out / path.relative_to(old))
        for name in {name.parent for name in files} - {Path()}:
            with contextlib.suppress(OSError):
                (out / name).rmdir()
        raise
