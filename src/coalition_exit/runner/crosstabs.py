"""Cross-tabulations of two conditions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from coalition_exit.archive.stata import holds
from coalition_exit.coding.expressions import Expression
from coalition_exit.errors import DataError
from coalition_exit.runner.estimation import OK
from coalition_exit.runner.sources import ArchiveSource, Source
from coalition_exit.specs.exhibits import Crosstab, Margin


@dataclass(frozen=True, eq=False)
class CrosstabResult:
    """A cross-tabulation.

    Attributes
    ----------
    counts : DataFrame
        Shape (2, 2): rows and columns labelled, no before yes, as Stata's ``tabulate`` has 0 before 1.
    chi2, chi2_p, fisher_p : float
        Pearson's chi-squared without continuity correction, its p value, and that of Fisher's exact
        test (two-sided). NaN where a margin is 0.
    status, reason
        "ok" and "", or a word and a sentence.
    notes : tuple of str
        Phrases.
    """

    crosstab: Crosstab
    counts: pd.DataFrame
    chi2: float
    chi2_p: float
    fisher_p: float
    status: str
    reason: str
    notes: tuple[str, ...]
    source: str
    sha256: str
    note: str

    @property
    def long(self) -> pd.DataFrame:
        """One row a cell: table, row, column, count, row_percent."""
        totals = self.counts.sum(axis=1)
        rows = [
            (self.crosstab.table, row, column, int(self.counts.loc[row, column]),
             100 * self.counts.loc[row, column] / totals[row] if totals[row] else np.nan)
            for row in self.counts.index
            for column in self.counts.columns
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=["table", "row", "column", "count", "row_percent"])


def run_crosstab(crosstab: Crosstab, source: Source) -> CrosstabResult:
    """Count a cross-tabulation; what cannot be counted gives a result that says why."""
    index = [crosstab.rows.no, crosstab.rows.yes]
    columns = [crosstab.columns.no, crosstab.columns.yes]
    empty = pd.DataFrame(0, index=index, columns=columns)
    nan = float("nan")
    try:
        frame, dropped = _rows(crosstab, source)
        sides = [
            _divide(frame, side, condition)
            for side, condition in zip((crosstab.rows, crosstab.columns), crosstab.conditions, strict=True)
        ]
    except DataError as error:
        return CrosstabResult(
            crosstab, empty, nan, nan, nan, "bad_data", str(error), (), source.name, source.sha256, source.note
        )  # fmt: skip
    (down, said_down), (across, said_across) = sides
    cells = [[int((~down & ~across).sum()), int((~down & across).sum())],
             [int((down & ~across).sum()), int((down & across).sum())]]  # fmt: skip
    counts = pd.DataFrame(cells, index=index, columns=columns)
    missing = (f"{dropped:,} rows left out for missing values",) if dropped else ()
    chi2, chi2_p, fisher_p = _tests(counts.to_numpy())
    return CrosstabResult(
        crosstab,
        counts,
        chi2,
        chi2_p,
        fisher_p,
        OK,
        "",
        (*said_down, *said_across, *missing),
        source.name,
        source.sha256,
        source.note,
    )


def _rows(crosstab: Crosstab, source: Source) -> tuple[pd.DataFrame, int]:
    """Return the complete rows of the sample, and how many were left out."""
    archive = isinstance(source, ArchiveSource)
    sampled = [name for expression in crosstab.sample for name in expression.names]
    frame = source.frame([*crosstab.variables, *sampled], crosstab.choices or None)
    keep = np.ones(len(frame), dtype=bool)
    for expression in crosstab.sample:
        keep &= holds(frame, [expression]) if archive else expression.evaluate(frame)
    chosen = frame.loc[keep]
    used = chosen[list(crosstab.variables)].notna().all(axis=1)
    if not used.any():
        raise DataError(crosstab.table, "rows that the sample keeps", "none")
    return chosen.loc[used], int((~used).sum())


def _divide(
    frame: pd.DataFrame, side: Margin, condition: Expression | None
) -> tuple[np.ndarray[tuple[int], np.dtype[np.bool_]], tuple[str, ...]]:
    if condition is not None:
        return condition.evaluate(frame), ()
    from coalition_exit.survival.quantities.margins import percentiles

    assert side.variable is not None
    assert side.above_percentile is not None
    values = frame[side.variable].to_numpy(dtype=np.float64)
    cut = float(percentiles(values, [side.above_percentile])[0])
    ordinal = f"{side.above_percentile:g}th percentile of {side.variable}"
    return values > cut, (f"{ordinal} among these rows (Stata's _pctile): {cut:.4g}",)


def _tests(counts: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> tuple[float, float, float]:
    if (counts.sum(axis=0) == 0).any() or (counts.sum(axis=1) == 0).any():
        return (float("nan"),) * 3
    from scipy.stats import chi2_contingency, fisher_exact

    found = chi2_contingency(counts, correction=False)
    return float(found.statistic), float(found.pvalue), float(fisher_exact(counts).pvalue)
