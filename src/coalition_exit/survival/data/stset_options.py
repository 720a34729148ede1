"""What the options of `stset` may hold: columns, numbers, dates, arrays and Stata's own phrases."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coalition_exit.errors import DataError, nearest, one_of
from coalition_exit.survival.data.surv import Floats, refuse_other_index

Flags = NDArray[np.bool_]

# Stata counts days from here.
EPOCH = pd.Timestamp("1960-01-01")
_EVENT = re.compile(r"\s*(?P<name>`[^`]+`|[^\W\d]\w*)\s*={1,2}\s*(?P<values>[^=]*?)\s*(?:\btime\s+(?P<time>.+))?\Z")
_WORD = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True, eq=False)
class When:
    """A parsed ``origin``, ``enter`` or ``exit``: a time, an event that sets it, or both.

    Attributes
    ----------
    time
        Time of each row, shape (n,), NaN where missing; None if no time was given.
    happens
        The rows at whose time the event happens, shape (n,); None if no event was given.
    text
        The option as Stata would print it.
    """

    time: Floats | None
    happens: Flags | None
    text: str


def column_of(data: pd.DataFrame, name: str, option: str) -> pd.Series:
    """Return the column ``name``; the message names the option and the nearest column."""
    if name not in data.columns:
        columns = [str(c) for c in data.columns]
        raise DataError(f"stset, {option}", one_of(columns), repr(name), nearest(name, columns))
    column = data[name]
    if isinstance(column, pd.DataFrame):
        raise DataError(f"stset, {option}", f"one column named {name!r}", "several of that name")
    return column


def numbers(column: pd.Series, option: str) -> Floats:
    """Return a column in double precision, NaN where missing; dates as days since 1 January 1960.

    Raises
    ------
    DataError
        When the column holds neither numbers nor dates.
    """
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        raise DataError(f"stset, {option}", "dates without a time zone", str(column.dtype))
    if pd.api.types.is_datetime64_dtype(column.dtype):
        return ((column - EPOCH) / pd.Timedelta(days=1)).to_numpy(dtype=np.float64)
    numeric = pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_complex_dtype(column.dtype)
    if not numeric:
        raise DataError(f"stset, {option}", "a column of numbers or datetime64 dates", f"values of type {column.dtype}")
    # Stata evaluates in double precision: a float32 0.1 is then not equal to 0.1.
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def times(data: pd.DataFrame, value: object, option: str) -> Floats:
    """Return the time of each row that a number, date, column, expression or array gives: shape (n,)."""
    if isinstance(value, str):
        return _times_from_text(data, value.strip(), option)
    if isinstance(value, (pd.Timestamp, np.datetime64)):
        return np.full(len(data), (pd.Timestamp(value) - EPOCH) / pd.Timedelta(days=1))
    if np.isscalar(value) and isinstance(value, (int, float, np.integer, np.floating)):
        return np.full(len(data), float(value))
    return _not_bool(_aligned(data, value, option), option)


def _not_bool(column: pd.Series, option: str) -> Floats:
    if column.dtype == bool:
        raise DataError(f"stset, {option}", "times", "true and false")
    return numbers(column, option)


def _times_from_text(data: pd.DataFrame, text: str, option: str) -> Floats:
    name = text[1:-1] if len(text) > 1 and text[0] == text[-1] == "`" else text
    if name in data.columns:
        return _not_bool(column_of(data, name, option), option)
    try:
        return np.full(len(data), float(text))
    except ValueError:
        pass
    if _WORD.fullmatch(text):
        column_of(data, text, option)
    found = _evaluate(data, text, option)
    if found.ndim == 0:
        found = np.full(len(data), found)
    return _not_bool(pd.Series(found), option)


def _aligned(data: pd.DataFrame, value: object, option: str) -> pd.Series:
    refuse_other_index(value, data.index, f"stset, {option}")
    array = np.asarray(value)
    if array.shape != (len(data),):
        raise DataError(f"stset, {option}", f"{len(data)} values, one a row", f"an array of shape {array.shape}")
    return pd.Series(value).reset_index(drop=True)


def _evaluate(data: pd.DataFrame, text: str, option: str) -> NDArray[np.generic]:
    words = set(_WORD.findall(text))
    used = {str(c): data[c] for c in data.columns if c in words}
    doubles = {}
    for name, column in used.items():
        is_number = pd.api.types.is_numeric_dtype(column.dtype) and column.dtype != bool
        is_date = pd.api.types.is_datetime64_any_dtype(column.dtype)
        doubles[name] = numbers(column, option) if is_number or is_date else column.to_numpy()
    try:
        found = pd.DataFrame(doubles).eval(text, engine="python", local_dict={}, global_dict={})
    except Exception as error:
        columns = [str(c) for c in data.columns]
        raise DataError(
            f"stset, {option}", f"a column, a number or an expression over {one_of(columns)}", repr(text), str(error)
        ) from None
    return np.asarray(found)


def parse_when(data: pd.DataFrame, value: object, option: str, has_id: bool) -> When:
    """Read ``origin``, ``enter`` or ``exit``.

    Raises
    ------
    DataError
        On an unknown column, or an event without ``id`` (Stata has events in multiple-record data only).
    """
    if not isinstance(value, str):
        return When(times(data, value, option), None, f"time {_label(value)}")
    text = value.strip()
    match = None if text in data.columns else _EVENT.match(text)
    if match is None:
        inner = text[5:].strip() if text.startswith("time ") else text
        found = np.full(len(data), np.nan) if inner == "." else times(data, inner, option)
        return When(found, None, f"time {inner}")
    if not has_id:
        raise DataError(f"stset, {option}", f"id= with {option}={text!r}", "no id")
    column = column_of(data, match["name"].strip("`"), option)
    codes = _number_list(match["values"], option)
    happens = np.isin(numbers(column, option), codes)
    after = None if match["time"] is None else times(data, match["time"], option)
    return When(after, happens, text)


def _number_list(text: str, option: str) -> list[float]:
    try:
        codes = [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        codes = []
    if not codes:
        raise DataError(f"stset, {option}", "numbers after ==, such as 'status==1 2'", repr(text))
    return codes


def _label(value: object) -> str:
    return str(value) if np.isscalar(value) or isinstance(value, pd.Timestamp) else "(array)"


def parse_failure(data: pd.DataFrame, failure: object, values: object) -> tuple[Flags, Flags, str]:
    """Return which rows fail, which have a missing failure variable, and Stata's phrase for it.

    A failure is a value in ``values``, or without ``values`` any value but 0 and missing.
    """
    if failure is None:
        return np.ones(len(data), dtype=bool), np.zeros(len(data), dtype=bool), "(all records)"
    name = failure if isinstance(failure, str) else "(array)"
    match = _EVENT.match(failure) if isinstance(failure, str) and failure not in data.columns else None
    if match is not None:
        if values is not None:
            raise DataError("stset, failure_value", "None where failure already gives the values", repr(values))
        if match["time"] is not None:
            raise DataError("stset, failure", "'status==1 2', without a time", repr(failure))
        name, values = match["name"].strip("`"), _number_list(match["values"], "failure")
    column = column_of(data, name, "failure") if isinstance(failure, str) else _aligned(data, failure, "failure")
    missing = column.isna().to_numpy()
    if values is None:
        codes = numbers(column, "failure (without failure_value)")
        return (codes != 0) & ~missing, missing, f"{name}!=0 & {name}<."
    listed = list(values) if isinstance(values, Iterable) and not isinstance(values, str) else [values]
    happens = _equals(column, listed)
    return (
        happens & ~missing,
        missing,
        f"{name}=={' '.join(f'{v:g}' if isinstance(v, float) else str(v) for v in listed)}",
    )


def _equals(column: pd.Series, values: list[object]) -> Flags:
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    column = column.infer_objects()
    numeric = pd.api.types.is_numeric_dtype(column.dtype)
    wrong = [v for v in values if isinstance(v, str) == numeric]
    if not values or wrong:
        expected = "numbers, as in the failure column" if numeric else "text, as in the failure column"
        raise DataError("stset, failure_value", expected, ", ".join(map(repr, wrong)) or "no value")
    if numeric:
        codes = np.asarray(values, dtype=np.float64)
        return np.isin(numbers(column, "failure"), codes)
    return column.isin(values).to_numpy(dtype=bool)


def condition(data: pd.DataFrame, value: object, option: str) -> Flags:
    """Return a condition of each row: a boolean array, a 0/1 column, or an expression over columns.

    Raises
    ------
    DataError
        On missing values: Stata takes a missing value as larger than any number, pandas compares
        it with none, and the choice would go unseen.
    """
    if isinstance(value, str) and value not in data.columns:
        for word in dict.fromkeys(_WORD.findall(value)):
            if word in data.columns:
                _no_missing(column_of(data, word, option), f"{option}, column {word!r}")
        series = pd.Series(_evaluate(data, value, option))
    else:
        series = column_of(data, value, option) if isinstance(value, str) else _aligned(data, value, option)
    _no_missing(series, option)
    if not (series.dtype == bool or pd.api.types.is_numeric_dtype(series.dtype)) or len(series) != len(data):
        raise DataError(f"stset, {option}", "true or false for each row", f"values of type {series.dtype}")
    return series.to_numpy(dtype=np.float64) != 0


def _no_missing(column: pd.Series, place: str) -> None:
    missing = column.isna().to_numpy()
    if missing.any():
        row = int(np.argmax(missing))
        raise DataError(f"stset, {place}, row {row}", "a value", f"a missing value ({int(missing.sum())} such rows)")
