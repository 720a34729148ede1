"""What Stata does between the file and the estimator: ``stset``, ``if``, and leaving rows out.

The order decides the counts. The archive's program first alters the failure variable, then
declares the data (``stset warday, id(idvar) failure(F)``), and only then estimates with ``stcox ...
if ...``. Each step sees what the one before left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from coalition_exit.coding.expressions import Bools, Expression
from coalition_exit.errors import DataError, nearest, one_of
from coalition_exit.survival.data.stset import stset
from coalition_exit.survival.data.stset_report import Stset, plural

ID, TIME = "idvar", "warday"


def declare(
    frame: pd.DataFrame, failure: str, censor: Sequence[str | Expression] = (), *, conflicts: str = "exclude"
) -> Stset:
    """Do what ``stset warday, id(idvar) failure(F)`` does.

    A subject's first record begins at 0, whatever its first day, and each later one where the
    record before ends: a gap in the days is bridged by the record after it, with that record's
    covariates. Rows need no order. Records after the first failure are left out, also those that
    a further exit ends; so are records without ``idvar`` or ``warday`` and those that end on day
    0 or before. A missing failure variable is censored, not left out. Every value of it but 0 is
    a failure. Missing covariates play no part here: Stata drops such rows for each model alone, after
    the spans have been set, so that they leave a gap and the row after them keeps its span.

    Parameters
    ----------
    frame
        From `read_archive`. Never changed.
    failure
        Failure variable: "withdraw" or "volunt".
    censor
        Comparisons; where any of them holds the failure variable is set to 0 first, as
        ``replace withdraw = 0 if inlist(warnum, 22, 28, 155)`` does before ``stset``. A state is then
        at risk for all its days in the data; set afterwards, its later rows would be gone already.
    conflicts
        "exclude" leaves out records of one subject on the same day, all of them, as Stata does
        (it calls them a probable error: see ``report.same_instant``); "error" refuses them.

    Returns
    -------
    Stset
        ``data``: the records used, sorted by subject and day as Stata leaves them, with ``_t0``,
        ``_t``, ``_d``; ``report``: Stata's counts; printed, it is Stata's output.

    Raises
    ------
    DataError
        On a variable that is not there, or no record at risk.
    """
    if censor:
        if failure not in frame.columns:
            raise DataError("stset, failure", one_of(frame.columns), repr(failure), nearest(failure, frame.columns))
        hits = np.zeros(len(frame), dtype=bool)
        for condition in censor:
            hits |= holds(frame, [condition])
        frame = frame.assign(**{failure: frame[failure].mask(hits, 0)})
    return stset(frame, TIME, failure, id=ID, conflicts=conflicts)


def left_out(declared: Stset) -> str:
    """Return a phrase on the records that `declare` left out; "" if it used them all."""
    why = declared.record["why"]
    counts = why[why != ""].value_counts()
    report = declared.report
    reasons = sorted(counts.index, key=lambda reason: (-counts[reason], reason))
    parts = [f"{counts[reason]:,} {plural(reason, int(counts[reason]))}" for reason in reasons]
    if report.failure_missing:
        parts.append(f"{report.failure_missing:,} with a missing failure variable kept as censored")
    if not parts:
        return ""
    return f"stset used {report.remaining:,} of {report.total:,} records: {'; '.join(parts)}"


def holds(frame: pd.DataFrame, conditions: Sequence[str | Expression]) -> Bools:
    """Return the rows for which all conditions hold as Stata's ``if`` has it: shape (n,).

    A missing value is larger than every number: ``contribpc > .1`` holds where ``contribpc`` is
    missing, and so does ``!=``. Single-precision values are compared in double precision.

    Raises
    ------
    SpecError
        On a column that is not there, or text compared with a number.
    """
    keep = np.ones(len(frame), dtype=bool)
    for condition in conditions:
        expression = condition if isinstance(condition, Expression) else Expression(condition)
        expression.check_names(frame.columns)
        keep &= expression.evaluate(pd.DataFrame({name: _stata_values(frame[name]) for name in expression.names}))
    return keep


def _stata_values(column: pd.Series) -> pd.Series:
    if not pd.api.types.is_numeric_dtype(column.dtype):
        return column
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    return pd.Series(np.where(np.isnan(values), np.inf, values), index=column.index)


@dataclass(frozen=True, eq=False)
class EstimationRows:
    """The rows that a model is estimated on: Stata's ``e(sample)``.

    Attributes
    ----------
    frame : DataFrame
        The rows, in their order.
    n_dropped : int
        Rows for which the conditions hold, left out for a missing value in a variable of the model.
    n_unknown : int
        Rows in ``frame`` with a missing value in a variable of the conditions: here because
        Stata takes it for a large number.
    """

    frame: pd.DataFrame
    n_dropped: int
    n_unknown: int


def estimation_rows(
    frame: pd.DataFrame, columns: Sequence[str], sample: Sequence[str | Expression] = ()
) -> EstimationRows:
    """Apply the conditions, then leave out rows with missing values in the model's variables.

    Parameters
    ----------
    frame
        ``declare(...).data`` for a Cox model. For a probit the file's own frame: such a command
        knows nothing of ``stset`` and uses rows after a failure, too.
    columns
        Covariates, cluster, and a probit's outcome. Not the failure variable: it is ``_d``
        that counts, and a missing one is censored.
    sample
        Conditions, all of which must hold.

    Raises
    ------
    DataError
        On a column that is not there.
    """
    for name in columns:
        if name not in frame.columns:
            raise DataError("variable", one_of(frame.columns), repr(name), nearest(name, frame.columns))
    chosen = frame.loc[holds(frame, sample)]
    used = chosen.loc[chosen[list(dict.fromkeys(columns))].notna().all(axis=1)]
    expressions = [c if isinstance(c, Expression) else Expression(c) for c in sample]
    names = list(dict.fromkeys(name for e in expressions for name in e.names))
    return EstimationRows(used, len(chosen) - len(used), int(used[names].isna().any(axis=1).sum()))
