"""The archive's file, or any file of its schema: its variables as numbers, and what it lacks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd

from coalition_exit.archive.cells import not_a_number, place_of
from coalition_exit.archive.files import DataFile, read_data_file
from coalition_exit.errors import InputError, nearest

VARIABLES = (
    "idvar", "coalid", "warnum", "ccode", "side", "year", "month", "day", "warday", "finalobs",
    "withdraw", "volunt", "foverlap", "ctrend60", "otrend60", "pvict", "imptce", "contribpc",
    "recexit", "recexit2", "demdum", "polity2", "newlead", "sepdum", "seppc", "actdum", "actpc",
    "intdum", "cooppc", "terraim", "regaim", "latejoin", "lnodead", "lnodead2",
)  # fmt: skip
"""Variables of ``coalition_exit_final.dta`` that some exhibit uses; ``ctrend15`` ... ``ctrend120`` beside them."""

_FAILURES = ("withdraw", "volunt")
_NO_TYPES = (
    "a CSV file does not say which variables Stata kept in single precision: values are taken as they are written"
)
_TREND = re.compile(r"[co]trend\d+\Z")


@dataclass(frozen=True, eq=False)
class ArchiveFile:
    """A file with the archive's schema, read and checked.

    Attributes
    ----------
    frame : DataFrame
        Rows in the file's order. Every variable of the schema is a column of numbers, missing
        values NaN, single precision as stored; other columns as in the file. Not to be changed.
    path : Path
    sha256 : str
        Of the bytes read.
    format : str
        "Stata 118", "CSV", "Parquet".
    notes : tuple of str
        What was done in reading and what to know about it; without a full stop.
    """

    frame: pd.DataFrame
    path: Path
    sha256: str
    format: str
    notes: tuple[str, ...]

    @property
    def note(self) -> str:
        """What the file is, in one phrase."""
        return f"{self.path.name} ({self.format}, {len(self.frame):,} rows, SHA-256 {self.sha256[:12]})"


def read_archive(path: str | Path) -> ArchiveFile:
    """Read a file with the archive's schema, as Stata would.

    Names are matched exactly; a name that differs in the case of letters alone is taken if it is
    the only such one, and a note says so. Variables need not all be there: see `missing_variables`.

    Single precision is kept in storage. Stata computes in double precision with the stored value,
    so that a share stored as 0.1 in single precision, which is 0.10000000149, is greater than
    .1. The conditions of `holds` and the estimators do the same. A CSV file has what its writer
    printed: .1 in such a file is not greater than .1.

    Parameters
    ----------
    path
        A .dta file (version 102 to 119, as far as pandas reads it), comma-separated .csv, or .parquet.

    Returns
    -------
    ArchiveFile

    Raises
    ------
    InputError
        One line: what `read_data_file` refuses; no variable of the schema; text, dates or infinite
        values where numbers are expected.
    """
    file = read_data_file(path)
    notes = [*file.notes, *([_NO_TYPES] if file.format == "CSV" else [])]
    renamed = _by_case(file.frame.columns)
    if renamed:
        notes.append(f"taken whatever the case of letters: {', '.join(f'{old} as {new}' for old, new in renamed)}")
    frame = file.frame.rename(columns=dict(renamed))
    known = [name for name in frame.columns if _in_schema(name)]
    if not known:
        listed = ", ".join(frame.columns[:8]) + (", ..." if len(frame.columns) > 8 else "")
        raise InputError(f"{path}, header", f"variables such as {', '.join(VARIABLES[:4])}, withdraw", listed)
    as_named = dict(zip(frame.columns, file.frame.columns, strict=True))
    numbers = {name: _numbers(frame[name], as_named[name], file) for name in known}
    for name in _FAILURES:
        if name in numbers:
            notes += _check_failures(numbers[name], name, file)
    logical = [name for name in known if pd.api.types.is_bool_dtype(frame[name].dtype)]
    if logical:
        notes.append(f"true and false taken as 1 and 0: {', '.join(logical)}")
    single = [name for name in known if numbers[name].dtype == np.float32]
    if single:
        notes.append(f"single precision, computed with in double precision: {', '.join(single)}")
    return ArchiveFile(frame.assign(**numbers), file.path, file.sha256, file.format, tuple(notes))


def _in_schema(name: str) -> bool:
    return name in VARIABLES or _TREND.match(name) is not None


def _by_case(columns: Iterable[str]) -> list[tuple[str, str]]:
    """Return (name in the file, name in the schema) of variables that differ in case alone, where there is one."""
    names = list(columns)
    found = []
    for name in names:
        lower = name.lower()
        if name != lower and _in_schema(lower) and [n for n in names if n.lower() == lower] == [name]:
            found.append((name, lower))
    return found


def _numbers(column: pd.Series, name: str, file: DataFile) -> pd.Series:
    """Return the column as numbers in NumPy's types; refuse everything else."""
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype) and pd.api.types.is_numeric_dtype(dtype.categories.dtype):
        column = column.astype(np.float64)
    elif pd.api.types.is_bool_dtype(dtype) and not column.isna().any():
        column = column.astype(np.int8)
    elif pd.api.types.is_object_dtype(dtype) and isinstance(_first(column), Decimal):
        column = column.astype(np.float64)
    elif not pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_complex_dtype(dtype):
        if not column.isna().all():
            raise _not_numbers(column, name, file)
        column = column.astype(np.float64)
    elif not isinstance(dtype, np.dtype):
        kind = np.float32 if str(dtype) == "Float32" else np.float64
        plain = column.isna().any() or pd.api.types.is_float_dtype(dtype) or pd.api.types.is_bool_dtype(dtype)
        column = pd.Series(
            column.to_numpy(dtype=kind, na_value=np.nan) if plain else column.to_numpy(dtype=np.int64),
            index=column.index, name=column.name,
        )  # fmt: skip
    infinite = np.isinf(column.to_numpy()) if column.dtype.kind == "f" else np.zeros(0, dtype=bool)
    if infinite.any():
        row = int(np.argmax(infinite))
        raise InputError(place_of(file, row, name), "a finite number", str(column.iloc[row]))
    return column


def _check_failures(column: pd.Series, name: str, file: DataFile) -> list[str]:
    """Refuse a failure variable coded 1 and 2, which Stata would take for nothing but failures; note other codes."""
    other = ~column.isin((0, 1)) & column.notna()
    if not other.any():
        return []
    if not (column == 0).any():
        row = int(np.argmax(other.to_numpy()))
        hint = f"No row has a 0, so that each would be a failure; codes 1 and 2 are converted by {name} - 1"
        raise InputError(place_of(file, row, name), "0 or 1", f"{column.iloc[row]:g}", hint)
    n = int(other.sum())
    said = "value other than 0 and 1 is a failure" if n == 1 else "values other than 0 and 1 are failures"
    return [f"{name}: {n:,} {said}, as in Stata's stset"]


def _first(column: pd.Series) -> object:
    known = column.dropna()
    return known.iloc[0] if len(known) else None


def _not_numbers(column: pd.Series, name: str, file: DataFile) -> InputError:
    """Return the error that shows the first value that is no number."""
    place = f"{file.path}, column {name}"
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return InputError(place, "numbers", f"values of type {column.dtype}")
    hint = "Make it numeric first (in Stata: destring)"
    return not_a_number(file, name) or InputError(place, "numbers", "numbers stored as text", hint)


@dataclass(frozen=True)
class Missing:
    """Variables that a file lacks, and what that means for the models.

    Attributes
    ----------
    needed_by : mapping of str to tuple of str
        Missing variable -> the models that need it, in their order.
    hints : mapping of str to str
        Missing variable -> the nearest name in the file, as a question; "" if there is none.
    runnable : tuple of str
        Models that can still run.
    """

    needed_by: Mapping[str, tuple[str, ...]]
    hints: Mapping[str, str]
    runnable: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.needed_by)

    @property
    def blocked(self) -> dict[str, tuple[str, ...]]:
        """Models that cannot run -> the variables each of them lacks."""
        models = list(dict.fromkeys(model for models in self.needed_by.values() for model in models))
        return {m: tuple(name for name, users in self.needed_by.items() if m in users) for m in models}

    def reason(self, model: str) -> str:
        """Why a model cannot run, as its row in ``models.csv`` has it; "" if it can."""
        names = self.blocked.get(model, ())
        if not names:
            return ""
        hints = " ".join(self.hints[name] for name in names if self.hints[name])
        text = f"the data have no variable {' and no variable '.join(names)}"
        return f"{text}. {hints}" if hints else text

    def error(self, place: str) -> InputError:
        """One line that names every missing variable, what needs it, and what can still run."""
        lacking = "; ".join(f"{name} (for {_listed(users, 5)})" for name, users in self.needed_by.items())
        names = list(self.needed_by)
        hints = [f"{name}: {self.hints[name]}" if len(names) > 1 else self.hints[name] for name in names]
        left = f"Can still run: {_listed(self.runnable)}" if self.runnable else "No model can run"
        text = " ".join([*(hint for hint in hints if not hint.endswith(": ") and hint), left])
        return InputError(place, f"the variable{'s' if len(names) > 1 else ''} {lacking}", "none", text)


def missing_variables(frame: pd.DataFrame, models: Mapping[str, Sequence[str]]) -> Missing:
    """Say which variables the models need and the data lack.

    Parameters
    ----------
    frame
        From `read_archive`.
    models
        Name of a model -> the variables it needs.

    Returns
    -------
    Missing
        False in a condition when nothing is missing.
    """
    columns = [str(name) for name in frame.columns]
    needed_by: dict[str, tuple[str, ...]] = {}
    for model, names in models.items():
        for name in dict.fromkeys(names):
            if name not in columns:
                needed_by[name] = (*needed_by.get(name, ()), model)
    blocked = {model for users in needed_by.values() for model in users}
    hints = {name: _hint(name, columns) for name in needed_by}
    return Missing(needed_by, hints, tuple(model for model in models if model not in blocked))


def _hint(name: str, columns: Sequence[str]) -> str:
    same = [column for column in columns if column.lower() == name.lower()]
    if len(same) > 1:
        return f"{' and '.join(same)} differ in the case of letters alone: name one of them {name}"
    return f"Did you mean {same[0]!r}?" if same else nearest(name, columns)


def _listed(names: Sequence[str], most: int = 30) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
