"""The response of every estimator: episodes ``(start, stop]`` with an event at ``stop`` or none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from coalition_exit.errors import DataError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False, init=False)
class Surv:
    """Validated survival response; estimators trust it.

    ``Surv(time, event)`` is right-censored data that enter at minus infinity (always at risk
    until ``time``); ``Surv(start, stop, event)`` is counting-process data.

    Parameters
    ----------
    *columns
        Two or three one-dimensional arrays of equal length n: (time, event) or
        (start, stop, event). Times are in any one unit; events are 0/1 or bool.

    Attributes
    ----------
    start, stop : ndarray of float, shape (n,)
        The row is at risk at t when start < t <= stop. ``start`` is -inf for ``Surv(time, event)``.
    event : ndarray of bool, shape (n,)

    Raises
    ------
    DataError
        On NaN or infinite values, event codes other than 0/1, ``stop <= start``, unequal lengths.

    References
    ----------
    Andersen, P. K. and Gill, R. D. (1982), Annals of Statistics 10, 1100-1120.
    """

    start: Floats
    stop: Floats
    event: NDArray[np.bool_]

    def __init__(self, *columns: ArrayLike) -> None:
        if len(columns) not in (2, 3):
            raise DataError("Surv", "Surv(time, event) or Surv(start, stop, event)", f"{len(columns)} columns")
        arrays = [np.asarray(column) for column in columns]
        lengths = {array.shape for array in arrays}
        if len(lengths) > 1 or arrays[0].ndim != 1:
            raise DataError("Surv", "one-dimensional columns of equal length", f"shapes {sorted(map(str, lengths))}")
        stop = _times(arrays[-2], "stop" if len(arrays) == 3 else "time")
        start = _times(arrays[0], "start") if len(arrays) == 3 else np.full(len(stop), -np.inf)
        bad = stop <= start
        if bad.any():
            row = int(np.argmax(bad))
            raise DataError(f"Surv, row {row}", f"stop > start = {start[row]:g}", f"stop = {stop[row]:g}")
        event = _events(arrays[-1])
        for name, array in (("start", start), ("stop", stop), ("event", event)):
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.stop)

    @property
    def is_counting(self) -> bool:
        """True when rows have a start of their own."""
        return bool(len(self.start)) and bool(np.isfinite(self.start[0]))

    def __repr__(self) -> str:
        kind = "counting process" if self.is_counting else "right-censored"
        return f"Surv({kind}, {len(self)} rows, {int(self.event.sum())} events)"


def read_only(values: NDArray[Any]) -> NDArray[Any]:
    """Return a view of an array through which it cannot be changed."""
    view = values.view()
    view.setflags(write=False)
    return view


def refuse_other_index(values: object, index: pd.Index | None, place: str) -> None:
    """Refuse a series whose index is not that of the data: its values would go to the wrong rows in silence.

    Raises
    ------
    DataError
        Says how to hand over the values alone.
    """
    if not isinstance(values, pd.Series) or index is None or values.index is index or values.index.equals(index):
        return
    hint = "to_numpy() hands over the values in the order of the rows"
    raise DataError(place, "a series with the index of the data, or an array", "a series with another index", hint)


def refuse_text(values: Iterable[object], place: str) -> None:
    """Refuse numbers stored as text, which would be converted in silence; other text is left to the conversion.

    Raises
    ------
    DataError
        Names the first row and the conversion.
    """
    for row, value in enumerate(values):
        if isinstance(value, (str, bytes)):
            try:
                float(value)
            except ValueError:
                return
            hint = "pd.to_numeric() converts a column"
            raise DataError(f"{place}, row {row}", "a number", f"a number stored as text, {value!r}", hint)


def _times(values: NDArray[np.generic], name: str) -> Floats:
    if values.dtype.kind in "mM":
        expected = "numbers, such as days since a date"
        raise DataError(f"Surv, {name}", expected, f"values of type {values.dtype}")
    if values.dtype.kind not in "biuf":
        refuse_text(values.tolist(), f"Surv, {name}")
    try:
        times = values.astype(np.float64)
    except (TypeError, ValueError):
        raise DataError(f"Surv, {name}", "numbers", f"values of type {values.dtype}") from None
    bad = ~np.isfinite(times)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(f"Surv, {name}, row {row}", "a finite number", str(times[row]))
    return times


def _events(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    if values.dtype == bool:
        return values.astype(np.bool_)
    if values.dtype.kind not in "biuf":
        refuse_text(values.tolist(), "Surv, event")
    try:
        codes = values.astype(np.float64)
    except (TypeError, ValueError):
        raise DataError("Surv, event", "0 (censored) or 1 (event)", f"values of type {values.dtype}") from None
    bad = ~np.isin(codes, (0.0, 1.0))
    if not bad.any():
        return codes == 1.0
    row = int(np.argmax(bad))
    found = np.unique(codes[np.isfinite(codes)])
    hint = ""
    if set(found) <= {1.0, 2.0} and np.isfinite(codes).all():
        hint = "Codes 1/2 are converted by event - 1"
    elif np.isfinite(codes).all():
        hint = "For one of several outcomes k, use event == k"
    raise DataError(f"Surv, event, row {row}", "0 (censored) or 1 (event)", str(codes[row]), hint)


def check_episodes(surv: Surv, ids: Integers, labels: ArrayLike | None = None, rows: Integers | None = None) -> None:
    """Refuse overlapping episodes of one subject, and rows after its event.

    Parameters
    ----------
    surv
        The response, n rows.
    ids
        Integer code of the subject of each row, shape (n,).
    labels
        Names of the subjects by code, for the message.
    rows
        Numbers of the rows for the message, shape (n,); 0 to n - 1 by default.

    Raises
    ------
    DataError
        Names the subject and the row. Gaps are allowed.
    """
    if bool((ids[1:] >= ids[:-1]).all()):
        same = ids[1:] == ids[:-1]
        # Rows in order, as they mostly are: each starts where the one before it has ended, or later.
        if not (same & (surv.start[1:] < surv.stop[:-1])).any():
            return
    order = np.lexsort((surv.stop, ids))
    same = np.diff(ids[order]) == 0
    overlap = same & (surv.start[order][1:] < surv.stop[order][:-1])
    if overlap.any():
        at = int(np.argmax(overlap))
        row, before = int(order[at + 1]), int(order[at])
        name = np.asarray(labels)[ids[row]] if labels is not None else ids[row]
        if not np.isfinite(surv.start[row]):
            expected = "one row a subject with Surv(time, event)"
            raise DataError(f"subject {name}", expected, "several", "Surv(start, stop, event) takes episodes")
        number, earlier = (row, before) if rows is None else (rows[row], rows[before])
        raise DataError(
            f"subject {name}, row {number}",
            f"episodes that do not overlap (row {earlier} ends at {surv.stop[before]:g})",
            f"an episode that starts at {surv.start[row]:g}",
        )
