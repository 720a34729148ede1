"""Covariate values for predictions, read by the names of the model's terms."""

from __future__ import annotations

import re
import warnings
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from coalition_exit.errors import DataError, nearest, one_of
from coalition_exit.survival.data.design import text_as_objects
from coalition_exit.survival.data.surv import Floats, refuse_text

_WORD = re.compile(r"`([^`]+)`|([^\W\d]\w*)(?!\s*[\w(.]|\s*=(?!=))")


def scenario_matrix(
    terms: Sequence[str], newdata: pd.DataFrame, encoding: Any = None
) -> tuple[Floats, tuple[Hashable, ...]]:
    """Read covariate values for the terms of a model from a data frame.

    Parameters
    ----------
    terms
        Names of the p coefficients.
    newdata
        One row a scenario, a column for each term. A product term such as ``"a:b"`` that is no column is
        the product of the columns ``a`` and ``b``; other terms that are no columns are made from the variables of the
        formula as they were for the data (the same levels of factors, knots of splines, means of ``scale``). Further
        columns are left alone.
    encoding
        ``Design.encoding`` of the model.

    Returns
    -------
    tuple
        Values, shape (number of scenarios, p), and the index as labels.

    Raises
    ------
    DataError
        On a missing column, a value that is no number, a level that the data did not have, or labels that occur
        twice.
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
    absent = set() if encoding is None else {t for t in encoding.column_names if _is_absent(t, newdata)} & set(terms)
    made = _encode(encoding, newdata) if absent else newdata
    for j, term in enumerate(terms):
        values[:, j] = made[term] if term in absent else _term_values(term, newdata)
    return values, tuple(newdata.index)


def _is_absent(term: str, newdata: pd.DataFrame) -> bool:
    """Tell whether a term is neither a column nor a product of columns."""
    parts = split_product(term)
    return term not in newdata.columns and not (len(parts) > 1 and all(part in newdata.columns for part in parts))


def _encode(encoding: Any, newdata: pd.DataFrame) -> pd.DataFrame:
    """Make the terms from the variables of the formula."""
    from formulaic.errors import DataMismatchWarning, FormulaicError  # slow to import

    variables = sorted(str(name) for name in encoding.required_variables)
    for name in variables:
        if name not in newdata.columns:
            columns = [str(column) for column in newdata.columns]
            raise DataError("newdata", f"a column for the variable {name!r}", one_of(columns), nearest(name, columns))
        if newdata[name].isna().any():
            row = newdata.index[int(np.argmax(newdata[name].isna().to_numpy()))]
            raise DataError(f"newdata, column {name!r}, row {row!r}", "a value", "a missing value")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DataMismatchWarning)
            found = encoding.get_model_matrix(text_as_objects(newdata, variables), context={})
    except DataMismatchWarning as error:
        unknown = str(error).partition("): ")[2].partition(". ")[0]
        raise DataError("newdata", "levels of factors that the data have", unknown) from None
    except (FormulaicError, ValueError, TypeError, KeyError) as error:
        raise DataError("newdata", f"values for {', '.join(variables)}", str(error).split("\n")[0]) from None
    table = pd.DataFrame(np.asarray(found, dtype=np.float64), index=newdata.index, columns=list(found.columns))
    for term in table.columns[~np.isfinite(table.to_numpy()).all(axis=0)]:
        raise DataError(f"newdata, term {term!r}", "finite numbers", "others")
    return table


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


def variables_of(term: str) -> set[str]:
    """Names of the columns in a term: words that are neither functions nor names of arguments."""
    bare = re.sub(r"\[[^\[\]]*\]", "", term)
    return {quoted or word for quoted, word in _WORD.findall(bare)}


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
