"""Columns beside the formula (cause, cluster labels, censoring strata), cut to the rows that a model uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from coalition_exit.errors import DataError, nearest, one_of
from coalition_exit.survival.data.formula import columns_in, parse_formula
from coalition_exit.survival.data.surv import refuse_other_index


def take_column(data: pd.DataFrame, value: str | ArrayLike, role: str) -> pd.Series:
    """Return a column by name, or an array as a series on the index of ``data``.

    Raises
    ------
    DataError
        Unknown name (with the nearest one), an array of another length or a series with another index.
    """
    if isinstance(value, str):
        if value not in data.columns:
            columns = [str(c) for c in data.columns]
            raise DataError(role, one_of(columns), repr(value), nearest(value, columns))
        column = data[value]
        if isinstance(column, pd.DataFrame):
            raise DataError(role, f"one column named {value!r}", "several of that name")
        return column.rename(role)
    refuse_other_index(value, data.index, role)
    series = value if isinstance(value, pd.Series) else pd.Series(np.asarray(value))
    if len(series) != len(data):
        raise DataError(role, f"{len(data)} values, one a row", str(len(series)))
    return series.set_axis(data.index).rename(role)


def complete_rows(
    formula: str,
    data: pd.DataFrame,
    beside: Mapping[str, str | ArrayLike | None],
    missing: str,
    *,
    carried: Mapping[str, str | ArrayLike | None] | None = None,
) -> tuple[pd.DataFrame, dict[str, pd.Series], int]:
    """Leave out rows with missing values in the formula's columns or in those beside it.

    Parameters
    ----------
    formula
        Model formula.
    data
        Never changed.
    beside
        Further columns by role; None values are passed over.
    missing
        "error" keeps all rows (what is missing is refused later, by name); "drop" drops.
    carried
        Columns that are cut to the same rows but may have missing values.

    Returns
    -------
    data, columns, n_dropped
        The rows kept, the columns beside on the same rows, and the number of rows left out.
    """
    if missing not in ("error", "drop"):
        raise DataError("missing", "'error' or 'drop'", repr(missing))
    columns = {role: take_column(data, value, role) for role, value in beside.items() if value is not None}
    taken = {role: take_column(data, value, role) for role, value in (carried or {}).items() if value is not None}
    if missing == "error":
        return data, columns | taken, 0
    keep = np.ones(len(data), dtype=bool)
    for name in _names_in(formula, data):
        keep &= data[name].notna().to_numpy()
    for column in columns.values():
        keep &= column.notna().to_numpy()
    if keep.all():
        return data, columns | taken, 0
    return data[keep], {role: column[keep] for role, column in (columns | taken).items()}, int((~keep).sum())


def _names_in(formula: str, data: pd.DataFrame) -> list[str]:
    parsed = parse_formula(formula)
    names = dict.fromkeys([*parsed.response, *parsed.strata, *columns_in(parsed.terms, data)])
    return [name for name in names if name in data.columns]


def codes_of(column: pd.Series, role: str) -> tuple[NDArray[np.int64], Sequence[object]]:
    """Return integer codes in order of appearance, and the labels.

    Raises
    ------
    DataError
        On missing values.
    """
    codes, labels = pd.factorize(column)
    if (codes < 0).any():
        row = int(np.argmax(codes < 0))
        raise DataError(f"{role}, row {row} ({int((codes < 0).sum())} such rows)", "a value", "a missing value")
    return codes.astype(np.int64, copy=False), list(labels)
