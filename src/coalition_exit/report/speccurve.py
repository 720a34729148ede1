"""Figures of a multiverse as numbers: what each shows is a tidy frame, made here and written as CSV before drawing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coalition_exit.multiverse.reading.curves import direction
from coalition_exit.multiverse.reading.design import DecisionView, Design
from coalition_exit.multiverse.reading.joint import JointTest
from coalition_exit.multiverse.reading.summary import Summary, minus_log10, specification_curve

Floats = NDArray[np.float64]
# Specs drawn one by one; beyond it they are pooled into columns, and points into cells.
MOST_SINGLE = 1_200
COLUMNS = 600
MOST_POINTS = 2_500
CELLS = (72, 54)
# Rows of a dashboard that one decision may take, and options of one that are shown elsewhere.
MOST_ROWS = 8
MOST_CHANGES = 8
_RANKS = 61


@dataclass(frozen=True)
class Row:
    """A row of the dashboard: an option, several neighbouring ones, or a control."""

    label: str
    options: frozenset[str]


def dashboard_rows(decision: DecisionView, names: Sequence[str]) -> list[Row]:
    """Return the rows that show a decision.

    Sets of controls are shown control by control, long sweeps in a few ranges, and of other long lists the first
    options and the rest as one.
    """
    if decision.kind == "subsets":
        controls = sorted({part for name in names if name != "none" for part in name.split("+")})
        rows = [Row(f"with {c}", frozenset(n for n in names if c in n.split("+"))) for c in controls]
        return [*rows, Row("with none of them", frozenset({"none"}))] if "none" in names else rows
    if len(names) <= MOST_ROWS:
        return [Row(name, frozenset({name})) for name in names]
    if decision.kind == "sweep":
        parts = np.array_split(np.array(names, dtype=object), MOST_ROWS)
        return [Row(f"{p[0]} to {p[-1]}" if len(p) > 1 else str(p[0]), frozenset(map(str, p))) for p in parts]
    first = [decision.reference, *(n for n in names if n != decision.reference)][: MOST_ROWS - 1]
    rest = frozenset(names) - frozenset(first)
    return [*(Row(name, frozenset({name})) for name in first), Row(f"{len(rest)} others", rest)]


def curve_columns(summary: Summary, term: str) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return what a specification curve shows.

    Returns
    -------
    columns : DataFrame
        term, column, rank_from, rank_to, specs, estimate, conf_low, conf_high (medians of the specs of a column),
        expected, none, opposite (shares of them that are significant with the expected sign, not, with the other).
    dashboard : DataFrame
        decision, label, row, column, share: of the column's specs that have the row's options.
    marks : DataFrame
        what ("reference", "median"), rank, estimate, conf_low, conf_high, specs.
    """
    design, curve = summary.design, specification_curve(summary.specs, summary.design, term)
    n = len(curve)
    edges = np.linspace(0, n, (n if n <= MOST_SINGLE else COLUMNS) + 1).round().astype(int)
    column = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
    significant, expected = curve["significant"].to_numpy(), curve["expected"].to_numpy()
    own = pd.DataFrame({
        "column": column, **{name: curve[name].to_numpy() for name in ("estimate", "conf_low", "conf_high")},
        "expected": (significant & expected) * 1.0, "none": ~significant * 1.0,
        "opposite": (significant & ~expected) * 1.0,
    })  # fmt: skip
    grouped = own.groupby("column")
    columns = grouped[["estimate", "conf_low", "conf_high"]].median()
    columns[["expected", "none", "opposite"]] = grouped[["expected", "none", "opposite"]].mean()
    columns = columns.reset_index()
    columns.insert(0, "term", term)
    columns.insert(2, "rank_from", edges[:-1] + 1 if n else [])
    columns.insert(3, "rank_to", edges[1:] if n else [])
    columns.insert(4, "specs", np.diff(edges) if n else [])
    return columns, _dashboard(curve, design, column, np.diff(edges)), _marks(curve, term)


def _dashboard(curve: pd.DataFrame, design: Design, column: NDArray[np.int64], size: NDArray[np.int64]) -> pd.DataFrame:
    codes, names = design.codes(curve)
    parts = []
    for i, decision in enumerate(design.decisions):
        present = np.unique(codes[:, i])
        if len(present) < 2:
            continue
        listed = [names[i][k] for k in present]
        for row in dashboard_rows(decision, listed):
            member = np.array([name in row.options for name in names[i]])
            share = np.bincount(column, weights=member[codes[:, i]], minlength=len(size)) / np.maximum(size, 1)
            parts.append(pd.DataFrame({
                "decision": decision.name, "label": decision.label, "row": row.label,
                "column": np.arange(len(size)), "share": share,
            }))  # fmt: skip
    empty = pd.DataFrame(columns=["decision", "label", "row", "column", "share"])
    return pd.concat(parts, ignore_index=True) if parts else empty


def _marks(curve: pd.DataFrame, term: str) -> pd.DataFrame:
    n = len(curve)
    rows = [
        (term, "reference", float(row.rank), row.estimate, row.conf_low, row.conf_high, n)
        for row in curve[curve["reference"]].itertuples()
    ]
    if n:
        rows.append((term, "median", (n + 1) / 2, float(curve["estimate"].median()), np.nan, np.nan, n))
    return pd.DataFrame(rows, columns=["term", "what", "rank", "estimate", "conf_low", "conf_high", "specs"])


def multiples_data(summary: Summary, term: str) -> pd.DataFrame:
    """Return the curve of each option beside that of all specs.

    Columns: term, decision, label, row ("" for all specs), specs, median, share_significant, rank (0 to 1), estimate.
    """
    design, curve = summary.design, specification_curve(summary.specs, summary.design, term)
    codes, names = design.codes(curve)
    parts = [_ranked(curve, term, "", "", "")]
    for i, decision in enumerate(design.decisions):
        present = np.unique(codes[:, i])
        if len(present) < 2:
            continue
        for row in dashboard_rows(decision, [names[i][k] for k in present]):
            member = np.array([name in row.options for name in names[i]])
            parts.append(_ranked(curve[member[codes[:, i]]], term, decision.name, decision.label, row.label))
    return pd.concat(parts, ignore_index=True)


def _ranked(curve: pd.DataFrame, term: str, decision: str, label: str, row: str) -> pd.DataFrame:
    b = curve["estimate"].to_numpy(dtype=float)
    ranks = np.linspace(0, 1, min(_RANKS, max(len(b), 2)))
    expected = (curve["significant"] & curve["expected"]).to_numpy()
    return pd.DataFrame({
        "term": term, "decision": decision, "label": label, "row": row, "specs": len(b),
        "median": np.median(b) if len(b) else np.nan, "share_significant": expected.mean() if len(b) else np.nan,
        "rank": ranks, "estimate": np.quantile(b, ranks) if len(b) else np.nan,
    })  # fmt: skip


def vibration_points(summary: Summary, term: str) -> pd.DataFrame:
    """Return estimates against -log10(p): one row a spec, or a cell with many specs.

    Columns: term, estimate, logp (centres of cells), specs, width, height (of cells; 0 for single specs), reference.
    """
    curve = specification_curve(summary.specs, summary.design, term)
    curve = curve[curve["p_value"].notna()]
    b, logp = curve["estimate"].to_numpy(dtype=float), minus_log10(curve["p_value"].to_numpy(dtype=float))
    single = pd.DataFrame({
        "term": term, "estimate": b, "logp": logp, "specs": 1, "width": 0.0, "height": 0.0,
        "reference": curve["reference"].to_numpy(),
    })  # fmt: skip
    if len(b) <= MOST_POINTS:
        return single
    counts, x, y = np.histogram2d(b, logp, bins=CELLS)
    i, j = np.nonzero(counts)
    cells = pd.DataFrame({
        "term": term, "estimate": (x[i] + x[i + 1]) / 2, "logp": (y[j] + y[j + 1]) / 2,
        "specs": counts[i, j].astype(int), "width": x[1] - x[0], "height": y[1] - y[0], "reference": False,
    })  # fmt: skip
    return pd.concat([cells, single[single["reference"]]], ignore_index=True)


def changes_shown(summary: Summary, term: str) -> pd.DataFrame:
    """Return the changes by option that a figure shows.

    Of a decision with many options those at even distances (sweeps) or with the largest mean changes.
    """
    own = summary.changes[summary.changes["term"] == term]
    parts = []
    for decision in summary.design.decisions:
        rows = own[own["decision"] == decision.name]
        if len(rows) > MOST_CHANGES and decision.kind == "sweep":
            rows = rows.iloc[np.linspace(0, len(rows) - 1, MOST_CHANGES).round().astype(int)]
        elif len(rows) > MOST_CHANGES:
            largest = rows["mean_change"].abs().fillna(-1).sort_values(ascending=False, kind="stable")
            rows = rows.loc[sorted(largest.index[:MOST_CHANGES])]
        parts.append(rows)
    shown = pd.concat(parts, ignore_index=True) if parts else own
    return shown.assign(left_out=len(own) - len(shown))


def null_histograms(test: JointTest, term: str) -> pd.DataFrame:
    """Return histograms of the statistics under the null.

    Columns: term, statistic, low, high, curves, observed, one_sided, two_sided (p values), replicates.
    """
    tests = test.tests[test.tests["term"] == term]
    replicates = test.replicates[test.replicates["term"] == term]
    parts = []
    for statistic in dict.fromkeys(tests["statistic"]):
        own = tests[tests["statistic"] == statistic].set_index("alternative")
        values = replicates[statistic].to_numpy(dtype=float)
        side = "one-sided" if "one-sided" in own.index else "two-sided"
        found = float(own.loc[side, "observed"])
        share = statistic.startswith("share")
        # A few curves far out would squeeze the rest: they stand in the outermost bars.
        ends = (0.0, 1.0) if share else _ends(values)
        span = (float(min(ends[0], found)), float(max(ends[1], found)))
        counts, edges = np.histogram(np.clip(values, *span), bins=30, range=span if span[0] < span[1] else None)
        parts.append(pd.DataFrame({
            "term": term, "statistic": statistic, "low": edges[:-1], "high": edges[1:], "curves": counts,
            "observed": found, "one_sided": own["p_value"].get("one-sided", np.nan),
            "two_sided": own["p_value"].get("two-sided", np.nan), "replicates": len(values),
        }))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _ends(values: Floats) -> tuple[float, float]:
    """Return where a histogram begins and ends: five times the middle half, or less where no value lies."""
    low, high = np.quantile(values, [0.25, 0.75])
    room = 2 * (high - low)
    return max(float(values.min()), low - room), min(float(values.max()), high + room)


def expected_side(summary: Summary, term: str) -> int:
    """Return 1 or -1: the expected direction, or the median's where either is expected."""
    own = summary.specs[(summary.specs["term"] == term) & summary.specs["estimate"].notna()]
    return direction(summary.design.focus[term], own["estimate"].to_numpy(dtype=float))
