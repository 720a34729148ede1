"""Cells of the record against the codebook: strings in, typed columns out, the first fault by name."""

from __future__ import annotations

import re
from typing import NoReturn

import numpy as np
import pandas as pd

from coalition_exit.errors import RecordError, nearest, one_of
from coalition_exit.record.codebook import Column, Table

_SLUG = re.compile(r"[a-z0-9_]+\Z")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}\Z")


def fail(table: str, row: int, column: str, expected: str, got: object, hint: str = "") -> NoReturn:
    """Raise `RecordError` for a row, counted from 0."""
    # Row numbers count as a spreadsheet does: the header is row 1.
    raise RecordError(f"{table}.csv, row {row + 2}, column {column}", expected, repr(got), hint)


def convert_table(raw: pd.DataFrame, table: Table) -> pd.DataFrame:
    """Turn a table of strings into typed columns.

    Parameters
    ----------
    raw
        One string per cell, "" where empty, columns as in the file.
    table
        The codebook's description.

    Returns
    -------
    pandas.DataFrame
        int64, float64 (empty = NaN), datetime64 (empty = NaT) or str columns.

    Raises
    ------
    RecordError
        On a missing or unknown column, or on the first cell that breaks the codebook.
    """
    for name in table.column_names:
        if name not in raw.columns:
            raise RecordError(f"{table.name}.csv", f"a column {name!r}", one_of(raw.columns, 30))
    for name in raw.columns:
        if name not in table.column_names:
            hint = nearest(name, table.column_names)
            raise RecordError(f"{table.name}.csv", one_of(table.column_names, 30), repr(name), hint)
    typed = {c.name: _convert_column(raw[c.name], table.name, c) for c in table.columns}
    return pd.DataFrame(typed)


def _convert_column(cells: pd.Series, table: str, column: Column) -> pd.Series:
    empty = cells == ""
    if empty.any() and not column.optional:
        fail(table, int(np.argmax(empty)), column.name, "a value", "")
    if column.type == "date":
        return _convert_dates(cells, empty, table, column)
    if column.type in ("int", "number"):
        return _convert_numbers(cells, empty, table, column)
    bad = ~empty & ~cells.map(lambda s: bool(_SLUG.match(s))) if column.type == "slug" else empty & False
    if bad.any():
        row = int(np.argmax(bad))
        fail(table, row, column.name, "lower-case letters, digits and '_'", cells.iloc[row])
    if column.values is not None:
        bad = ~empty & ~cells.isin([str(v) for v in column.values])
        if bad.any():
            row = int(np.argmax(bad))
            got = cells.iloc[row]
            fail(table, row, column.name, one_of(column.values), got, nearest(got, column.values))
    return cells.astype(str)


def _convert_dates(cells: pd.Series, empty: pd.Series, table: str, column: Column) -> pd.Series:
    dates = pd.to_datetime(cells.where(~empty), format="%Y-%m-%d", errors="coerce").astype("datetime64[s]")
    bad = ~empty & (dates.isna() | ~cells.map(lambda s: bool(_DATE.match(s))))
    if bad.any():
        row = int(np.argmax(bad))
        fail(table, row, column.name, "a date YYYY-MM-DD", cells.iloc[row])
    return dates


def _convert_numbers(cells: pd.Series, empty: pd.Series, table: str, column: Column) -> pd.Series:
    numbers = pd.to_numeric(cells.where(~empty), errors="coerce").astype(float)
    bad = ~empty & ~np.isfinite(numbers)
    expected = "a number"
    if column.type == "int":
        bad |= ~empty & (numbers != np.floor(numbers))
        expected = "a whole number"
    if column.values is not None and not bad.any():
        bad = ~empty & ~numbers.isin([float(v) for v in column.values])
        expected = one_of(column.values)
    if column.min is not None and not bad.any():
        bad = numbers < column.min
        expected = f"at least {column.min:g}"
    if column.max is not None and not bad.any():
        bad = numbers > column.max
        expected = f"at most {column.max:g}"
    if bad.any():
        row = int(np.argmax(bad))
        fail(table, row, column.name, expected, cells.iloc[row])
    if column.type == "int" and not empty.any():
        return numbers.astype(np.int64)
    return numbers
