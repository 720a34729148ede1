"""Covariate values for predictions, read by the names of the model's terms."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd

from coalition_exit.errors import DataError, nearest, one_of
from coalition_exit.survival.data.surv import Floats, refuse_text


def scenario_matrix(terms: Sequence[str], newdata: pd.DataFrame) -> tuple[Floats, tuple[Hashable, ...]]:
    """Read covariate values for the terms of a model from a data frame.

    Parameters
    ----------
    terms
        Names of the p coefficients.
    newdata
        One row a scenario, a column for each term. A product term such as ``"a:b"`` that is no column is
        the product of the columns ``a`` and ``b``. Further columns are left alone.

    Returns
    -------
    tuple
        Values, shape (number of scenarios, p), and the index as labels.

    Raises
    ------
    DataError
        On a missing column, a value that is no number, or labels that occur twice.
    """
    if not isinstance(newdata, pd.DataFrame):
        raise DataError("newdata", "a DataFrame with one row a scenario", type(newdata).__name__)
    if not len(newdata):
        raise DataError("newdata", "at least one row", "none")
    if not newdata.columns.is_unique:
        raise DataError("newdata", "columns of different names", str(list(newdata.columns)))
    if not newdata.index.is_unique:
        twice = newdata.index[newdata.index.duplicated()][0]
        raise DataError("newdata, index", "a label of its own for each scenario", f"{twice!r} twice")
    values = np.empty((len(newdata), len(terms)))
    for j, term in enumerate(terms):
        values[:, j] = _term_values(term, newdata)
    return values, tuple(newdata.index)


def _term_values(term: str, newdata: pd.DataFrame) -> Floats:
    if term in newdata.columns:
        return numbers(newdata[term], f"newdata, column {term!r}")
    parts = split_product(term)
    if len(parts) > 1 and all(part in newdata.columns for part in parts):
        return np.prod([numbers(newdata[part], f"newdata, column {part!r}") for part in parts], axis=0)
    columns = [str(column) for column in newdata.columns]
    missing = [part for part in parts if part not in columns] or [term]
    raise DataError("newdata", f"a column for the term {term!r}", one_of(columns), nearest(missing[0], columns))


def split_product(term: str) -> list[str]:
    """Split "a:b" at the colons outside brackets and back-quotes."""
    parts, depth, quoted, current = [], 0, False, ""
    for letter in term:
        quoted ^= letter == "`"
        depth += (letter in "([{") - (letter in ")]}") if not quoted else 0
        if letter == ":" and depth == 0 and not quoted:
            parts.append(current)
            current = ""
        else:
            current += letter
    return [part.strip() for part in (*parts, current)]


def numbers(column: pd.Series, place: str) -> Floats:
    """Return a column as finite numbers.

    Raises
    ------
    DataError
        Names the row of the first value that is none.
    """
    if column.dtype.kind not in "biuf":
        refuse_text(column, place)
    try:
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        raise DataError(place, "numbers", f"values of type {column.dtype}") from None
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(f"{place}, row {column.index[row]!r}", "a finite number", str(values[row]))
    return np.asarray(values)
