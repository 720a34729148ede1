"""Checks of the rows that a model takes from a data file of one's own; a wrong cell is named as it stands there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from coalition_exit.archive.cells import not_a_number, place_of, row_name
from coalition_exit.archive.files import DataFile
from coalition_exit.errors import CellError, shown
from coalition_exit.specs.loading import TableData
from coalition_exit.specs.models import ModelSpec


def check_rows(file: DataFile, data: TableData, model: ModelSpec, used: pd.DataFrame) -> None:
    """Refuse what is wrong in the file itself, before anything is estimated.

    Parameters
    ----------
    file, data
        The file, and which of its columns are times and subjects.
    model
        What is to be estimated.
    used : DataFrame
        Its complete rows; labelled by their position in the file.

    Raises
    ------
    CellError
        The first value that is no number or not finite, the first event that is not 0 or 1, the
        first row that does not last, the first two rows of a subject that overlap.
    """
    clock = [name for name in (data.start, data.stop, data.time) if name] if model.failure else []
    for name in clock:
        _check_clock(file, name)
    for name in (*clock, *model.covariates):
        _check_finite(file, name, used)
    _check_event(file, model, used)
    if data.start and clock:
        _check_order(file, data, used)
    if data.id and clock:
        _check_subjects(file, data, used)


def _check_clock(file: DataFile, name: str) -> None:
    if file.frame[name].dtype.kind not in "iuf":
        place = f"{file.path}, column {name}"
        got = f"values of type {file.frame[name].dtype}"
        raise not_a_number(file, name) or CellError(place, "numbers, such as days since entry", got)


def _check_finite(file: DataFile, name: str, used: pd.DataFrame) -> None:
    values = used[name].to_numpy()
    bad = np.isinf(values) if values.dtype.kind == "f" else np.zeros(0, dtype=bool)
    if bad.any():
        raise _error(file, used, bad, name, "a finite number")


def _check_event(file: DataFile, model: ModelSpec, used: pd.DataFrame) -> None:
    name = model.failure or model.outcome
    values = used[name].to_numpy(dtype=np.float64)
    if model.estimator == "fine_gray":
        bad, expected = (values < 0) | (values != np.floor(values)), "0 (censored) or the number of a kind of exit"
    else:
        bad, expected = ~np.isin(values, (0, 1)), "0 (censored) or 1 (event)" if model.failure else "0 or 1"
    if not bad.any():
        return
    hint = ""
    if not (values == 0).any() and set(np.unique(values)) == {1, 2}:
        hint = "Codes 1 and 2 are converted by subtracting 1"
    elif model.failure and (values == np.floor(values)).all():
        hint = "Where the codes tell kinds of exit apart, cause: names the one that is modelled"
    raise _error(file, used, bad, name, expected, hint)


def _check_order(file: DataFile, data: TableData, used: pd.DataFrame) -> None:
    start, stop = used[data.start].to_numpy(), used[data.stop].to_numpy()
    bad = stop <= start
    if bad.any():
        begins = start[int(np.argmax(bad))]
        raise _error(file, used, bad, data.stop, f"more than {data.start}, which is {begins:g}")


def _check_subjects(file: DataFile, data: TableData, used: pd.DataFrame) -> None:
    codes = pd.factorize(used[data.id])[0]
    stop = used[data.stop or data.time].to_numpy(dtype=np.float64)
    start = used[data.start].to_numpy(dtype=np.float64) if data.start else np.full(len(used), -np.inf)
    order = np.lexsort((start, stop, codes))
    bad = (np.diff(codes[order]) == 0) & (start[order][1:] < stop[order][:-1])
    if not bad.any():
        return
    # Of several the one that stands first in the file.
    pairs = np.sort(np.column_stack([order[1:][bad], order[:-1][bad]]), axis=1)
    before, row = (int(position) for position in pairs[np.argmin(pairs[:, 1])])
    subject = f"of {data.id} {shown(_plain(used[data.id].iloc[row]))}"
    rows = used.index.to_numpy()
    other = row_name(file, int(rows[before]))
    if not data.start:
        expected = f"one row a subject, {other} being that {subject}"
        raise CellError(place_of(file, int(rows[row]), data.id), expected, "a second row")
    expected = f"no time that {other} {subject} covers too ({start[before]:g} to {stop[before]:g})"
    raise CellError(
        place_of(file, int(rows[row])), expected, f"{data.start} {start[row]:g}, {data.stop} {stop[row]:g}",
        _more(int(bad.sum()), "overlap"),
    )  # fmt: skip


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


def _error(
    file: DataFile, used: pd.DataFrame, bad: np.ndarray[tuple[int], np.dtype[np.bool_]], column: str, expected: str,
    hint: str = "",
) -> CellError:  # fmt: skip
    """Return the error on the first bad row."""
    row = int(np.argmax(bad))
    value = float(used[column].iloc[row])
    said: Sequence[str] = [text for text in (hint, _more(int(bad.sum()), "such row")) if text]
    return CellError(place_of(file, int(used.index[row]), column), expected, f"{value:.10g}", ". ".join(said))


def _more(n: int, what: str) -> str:
    return f"{n:,} {what}s in all" if n > 1 else ""
