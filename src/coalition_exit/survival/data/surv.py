"""The response of every estimator: episodes ``(start, stop]`` with an event at ``stop`` or none."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from coalition_exit.errors import DataError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
# Codes in as few bytes as they take.
Codes = NDArray[np.integer[Any]]
# Values per block of a pass over a column: they are still in the cache when they are looked at again.
_BLOCK = 16_384
# Rows looked at first to see whether a pass over all of them is worth while.
_LOOK = 1000


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
        if not bool((stop > start).all()):
            row = int(np.argmax(stop <= start))
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

    @cached_property
    def breaks(self) -> Integers | None:
        """Positions of the rows that do not start where the row before them stops, the first row among them.

        None where they are more than one in eight.
        """
        n = len(self)
        if not n or np.count_nonzero(self.start[1:_LOOK] != self.stop[: min(_LOOK, n) - 1]) > _LOOK // 8:
            return None
        after = np.flatnonzero(self.start[1:] != self.stop[:-1]) + 1
        return None if len(after) > n // 8 else np.concatenate([[0], after])

    @cached_property
    def is_whole(self) -> bool:
        """True when all times are whole numbers, which have no rounding error."""
        if not _whole(self.stop):
            return False
        # Starts that are no break are stops.
        return not self.is_counting or _whole(self.start if self.breaks is None else self.start[self.breaks])

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
    with np.errstate(over="ignore", invalid="ignore"):
        finite = all_finite(times)
    if not finite:
        row = int(np.argmax(~np.isfinite(times)))
        raise DataError(f"Surv, {name}, row {row}", "a finite number", str(times[row]))
    return times


def all_finite(values: Floats) -> bool:
    """Tell whether all values are finite numbers; call it where floating-point warnings are off."""
    # A sum is finite unless a value is not, or it overflows; it costs less than a look at each value.
    return math.isfinite(np.einsum("i->", values)) or bool(np.isfinite(values).all())


def _whole(values: Floats) -> bool:
    for begin in range(0, len(values), _BLOCK):
        part = values[begin : begin + _BLOCK]
        if not (np.floor(part) == part).all():
            return False
    return True


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
        # Rows in order, as they mostly are: each starts where the one before it has ended, or later.
        to = slice(1, None) if surv.breaks is None else surv.breaks[1:]
        at = slice(None, -1) if surv.breaks is None else surv.breaks[1:] - 1
        if not ((ids[to] == ids[at]) & (surv.start[to] < surv.stop[at])).any():
            return
    order = np.lexsort((surv.stop, ids))
    same = np.diff(ids[order]) == 0
    overlap = same & (surv.start[order][1:] < surv.stop[order][:-1])
    if overlap.any():
        first = int(np.argmax(overlap))
        row, before = int(order[first + 1]), int(order[first])
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
