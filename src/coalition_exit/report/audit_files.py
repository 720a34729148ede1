"""An audit as files and as a short summary for a terminal."""

from __future__ import annotations

import os
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd

from coalition_exit.errors import InputError
from coalition_exit.report.audit import (
    DIFFERS,
    MEANINGS,
    NOT_PRINTED,
    NOT_PRODUCED,
    OVERALL,
    RULES,
    SOURCE,
    Audit,
)
from coalition_exit.report.grid import Grid, render, to_text
from coalition_exit.report.plain import wrap

_CLASS_HEADS = (
    "Table", "Class", "Typed", "Equal", "Unclear", "Differ little", "Differ more", "Not produced", "Sign",
    "Significance",
)  # fmt: skip
_CELL_HEADS = ("Column", "Row", "Cell", "Printed", "Computed", "Result", "Difference", "Units", "Remark")
_PARTS = {"coef": "coefficient", "se": "standard error"}
# Cells that differ, in the summary for the terminal.
_MOST_SHOWN = 12


def audit_grids(audit: Audit) -> list[Grid]:
    """Return the audit as tables: the classes, their rules, then the typed cells of each table."""
    grids = [_class_grid(audit), Grid("audit-rules", "What the classes mean", ("Class", "When"), RULES, (SOURCE,))]
    typed = audit.frame[audit.frame["result"] != NOT_PRINTED]
    for row in audit.classes.itertuples(index=False):
        own = typed[typed["table"] == row.table]
        if row.table == OVERALL or own.empty:
            continue
        rows = tuple(_cell_row(cell) for cell in own.to_dict("records"))
        notes = () if not row.not_printed else (f"{row.not_printed} further cells are not typed.",)
        grids.append(Grid(f"audit-{row.table}", row.title, _CELL_HEADS, rows, notes))
    return grids


def _class_grid(audit: Audit) -> Grid:
    rows = []
    for row in audit.classes.to_dict("records"):
        counts = ("typed", "equal", "unclear", "small", "large", "not_produced", "sign", "significance")
        rows.append((row["title"], row["class"], *(str(row[name]) for name in counts)))
    return Grid("audit", "Classes", _CLASS_HEADS, tuple(rows), (*audit.remarks, *MEANINGS))


def _cell_row(cell: dict[str, Any]) -> tuple[str, ...]:
    numbers = ("", "", "")
    if cell["result"] != NOT_PRODUCED:
        digits = int(cell["decimals"]) + (0 if cell["part"].startswith("n_") else 2)
        mark = cell["stars_computed"] if isinstance(cell["stars_computed"], str) else ""
        computed = f"{Decimal(cell['computed']):.{max(digits, 0)}f}"
        numbers = (f"{computed}{mark}", f"{cell['difference']:.{max(digits, 0)}f}", f"{cell['units']:.1f}")
    stars = f" {cell['stars_printed']}" if isinstance(cell["stars_printed"], str) and cell["stars_printed"] else ""
    printed = cell["printed"] if stars.strip() in cell["printed"] else cell["printed"] + stars
    computed, difference, units = numbers
    if cell["result"] != DIFFERS:
        difference, units = "", ""
    part = _PARTS.get(cell["part"]) or ("count" if cell["part"].startswith("n_") else "statistic")
    return (cell["column"], cell["row"], part, printed, computed, cell["result"], difference, units, _remark(cell))


def _remark(cell: dict[str, Any]) -> str:
    said = []
    if cell["result"] == NOT_PRODUCED:
        said.append(cell["reason"])
    if cell["sign_differs"]:
        said.append("sign differs")
    if cell["significance_differs"]:
        printed, computed = cell["stars_printed"] or "none", cell["stars_computed"] or "none"
        said.append(f"significance differs: {printed} printed, {computed} computed")
    if cell["result"] == DIFFERS and cell["small"]:
        said.append("little")
    return "; ".join(said)


def audit_files(audit: Audit) -> dict[str, str]:
    """Return the audit's files by name: ``audit.csv`` (every cell, full precision), ``.md``, ``.html``, ``.tex``."""
    grids = audit_grids(audit)
    title = "Audit: the run and the printed article"
    files = {f"audit.{suffix}": render(grids, suffix, title, audit.lead) for suffix in ("html", "tex")}
    # The first line of the page says what is compared, before any heading.
    files["audit.md"] = render(grids, "md", "", audit.lead)
    files["audit.csv"] = audit.frame.to_csv(index=False, lineterminator="\n")
    return files


def write_audit(out: Path, audit: Audit) -> list[Path]:
    """Write the audit into a folder; each file is there whole, or as it was before.

    Raises
    ------
    InputError
        When the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=".writing-") as folder:
            names = []
            for name, text in audit_files(audit).items():
                (Path(folder) / name).write_text(text, encoding="utf-8", newline="\n")
                names.append(name)
            for name in names:
                os.replace(Path(folder) / name, out / name)  # noqa: PTH105 - the same on every system
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(str(out), "a folder that can be written", reason) from None
    return [out / name for name in names]


def summary(audit: Audit, width: int | None = None) -> str:
    """Return the audit in a few lines for a terminal: what is compared, the classes, what differs most."""
    reach = width or 100
    counts = audit.classes[audit.classes["typed"] > 0]
    rows = [
        (str(row["table"]), str(row["class"]), *(str(row[n]) for n in ("typed", "equal", "small", "large")))
        for row in counts.to_dict("records")
    ]
    lines = [wrap(audit.lead, reach), ""]
    if rows:
        heads = ("table", "class", "typed", "equal", "little", "more")
        lines.append(to_text(Grid("audit", "", heads, tuple(rows)), width))
    lines += [wrap(remark, reach) for remark in audit.remarks]
    lines += ["", *_worst(audit.frame, reach), f"Class: {audit.overall}.", ""]
    lines += [wrap(f"{name}: {rule}", reach, "  ") for name, rule in RULES]
    lines.append(wrap(SOURCE, reach))
    return "\n".join([*lines, ""])


def _worst(frame: pd.DataFrame, width: int) -> list[str]:
    """Return one line a cell for those that differ much or are not produced, table by table."""
    wrong = frame[frame["result"].isin([DIFFERS, NOT_PRODUCED]) & ~frame["small"].astype(bool)]
    if wrong.empty:
        return []
    lines = ["Cells that differ by more than a little:"]
    for cell in wrong.head(_MOST_SHOWN).to_dict("records"):
        column, row, part, printed, computed, _, _, _, remark = _cell_row(cell)
        said = f"printed {printed}, computed {computed}" if computed else f"printed {printed}, not produced"
        place = " > ".join((cell["table"], column, row, part))
        lines.append(wrap(f"  {place}: {said}{f' ({remark})' if remark else ''}", width, "    "))
    if len(wrong) > _MOST_SHOWN:
        lines.append(f"  and {len(wrong) - _MOST_SHOWN} more, in audit.md.")
    return [*lines, ""]
