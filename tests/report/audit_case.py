"""Two small tables, their results, and a filled-in template."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from coalition_exit.report.audit import Audit, audit
from coalition_exit.report.audit_cells import PrintedCell, cells_of, read_published, template
from coalition_exit.specs.loading import load_spec

FIRST = """
table: first
title: "Table 1. Of the first kind – ‘näif’"
defaults: {failure: withdraw, covariates: [foverlap, ctrend60]}
models:
  - {key: all, label: All, group: Abandonment}
  - {key: none, label: None}
labels: {foverlap: Common Front}
layout: {stats: [n_obs, n_event, loglik]}
"""
SECOND = """
table: second
title: "Table 2. Second"
defaults: {failure: withdraw, covariates: [foverlap]}
models:
  - {key: all, label: All}
layout: {stats: [n_obs]}
"""
ESTIMATES = pd.DataFrame(
    [
        ("first", "all", "foverlap", -0.7349, 0.2501, 0.003),
        ("first", "all", "ctrend60", 0.125, 0.0996, 0.07),
        ("second", "all", "foverlap", 1.004, 0.1004, 0.2),
    ],
    columns=["table", "model", "term", "estimate", "std_error", "p_value"],
)
MODELS = pd.DataFrame(
    [
        ("first", "all", "ok", "", 104375, 32, -121.994),
        ("first", "none", "no_events", "no event is left", 12, 0, float("nan")),
        ("second", "all", "ok", "", 203, 5, -1.0),
    ],
    columns=["table", "model", "status", "reason", "n_obs", "n_event", "loglik"],
).astype({"n_obs": "Int64", "n_event": "Int64"})
CELLS: tuple[PrintedCell, ...] = tuple(c for text in (FIRST, SECOND) for c in cells_of(load_spec(text.encode())))
Keys = tuple[str, str, str, str]
# As an article with these results prints them.
RIGHT: Mapping[Keys, str] = {
    ("first", "all", "foverlap", "coef"): "-0.73**",
    ("first", "all", "foverlap", "se"): "(0.25)",
    ("first", "all", "ctrend60", "coef"): "0.13†",
    ("first", "all", "ctrend60", "se"): "(0.100)",
    ("first", "all", "", "n_obs"): "104,375",
    ("first", "all", "", "n_event"): "32",
    ("first", "all", "", "loglik"): "-121.99",
    ("second", "all", "foverlap", "coef"): "1.00",
    ("second", "all", "foverlap", "se"): "(.10)",
    ("second", "all", "", "n_obs"): "203",
}


def filled(
    path: Path, printed: Mapping[Keys, str], more: Mapping[Keys, Mapping[str, str]] | None = None, separator: str = ","
) -> Path:
    """Write the template with some cells filled in."""
    rows = list(csv.DictReader(io.StringIO(template(CELLS))))
    for row in rows:
        key = (row["table"], row["model"], row["term"], row["part"])
        row["printed"] = printed.get(key, "")
        row.update((more or {}).get(key, {}))
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=separator)
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(out.getvalue(), encoding="utf-8-sig", newline="")
    return path


def compared(
    folder: Path, printed: Mapping[Keys, str], more: Mapping[Keys, Mapping[str, str]] | None = None, **given: object
) -> Audit:
    """Audit the case's results against printed cells."""
    published = read_published(filled(folder / "published.csv", printed, more), CELLS)
    values = {"note": "some data", "reconstructed": False, "estimates": ESTIMATES, "models": MODELS, **given}
    return audit(published=published, cells=CELLS, **values)  # type: ignore[arg-type]
