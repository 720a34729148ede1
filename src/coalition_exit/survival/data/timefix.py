"""Times that differ by rounding error only: 0.1 + 0.2 and 0.3 are one time.

R's survival joins such times before it fits anything (``timefix``, the function ``aeqSurv``); so do the
Cox models here, and say how many. Times that are all whole numbers have no rounding error and are left
alone; R joins those, too, once they are large (seconds since 1970, say: neighbours up to 24 seconds apart).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from coalition_exit.errors import DataError
from coalition_exit.survival.data.surv import Floats, Integers, Surv

if TYPE_CHECKING:
    from coalition_exit.survival.cox.risksets import RiskSets

# R's tolerance, absolute and relative to the mean absolute time.
TOLERANCE = float(np.sqrt(np.finfo(np.float64).eps))
_BLOCK = 65_536


def join_near_times(surv: Surv, tolerance: float = TOLERANCE) -> tuple[Surv, int]:
    """Join times that differ by no more than rounding, as R's ``aeqSurv``.

    Distinct times in ascending order belong together when each is within the tolerance of the one
    before it; all take the value of the first.

    Parameters
    ----------
    surv
        The response, n rows.
    tolerance
        Largest difference, absolute or as a share of the mean absolute distinct time.

    Returns
    -------
    Surv, int
        The response (the same object if nothing is joined) and the number of distinct times that took
        another's value.

    Raises
    ------
    DataError
        An episode that would have no length left, named by its row.
    """
    if surv.is_whole:
        return surv, 0
    times = np.sort(np.concatenate([surv.start, surv.stop]) if surv.is_counting else surv.stop)
    times = times[np.diff(times, prepend=-np.inf) > 0]
    gap = np.diff(times)
    tied = (gap <= tolerance) | (gap <= tolerance * np.abs(times).mean())
    if not tied.any():
        return surv, 0
    first = times[np.concatenate([[True], ~tied])]
    stop = first[np.searchsorted(first, surv.stop, side="right") - 1]
    if not surv.is_counting:
        return Surv(stop, surv.event), int(tied.sum())
    start = first[np.searchsorted(first, surv.start, side="right") - 1]
    empty = start == stop
    if empty.any():
        row = int(np.argmax(empty))
        expected = "an episode longer than rounding error (timefix=False takes times as they are)"
        raise DataError(f"Surv, row {row}", expected, f"({surv.start[row]!r}, {surv.stop[row]!r}]")
    return Surv(start, stop, surv.event), int(tied.sum())


def near_event_times(surv: Surv, risk_sets: RiskSets) -> bool:
    """Tell whether a time may differ from an event time by rounding only, without sorting the times again.

    Times that are near each other but near no event time change nothing. True may be too cautious: `join_near_times`
    then decides.

    Parameters
    ----------
    surv
        The response, n rows.
    risk_sets
        Its index.
    """
    times = risk_sets.times
    if not len(times):
        return False
    reach = TOLERANCE * max(1.0, float(np.abs(surv.stop).max()))
    rows = risk_sets.rows
    sides = [(surv.stop, risk_sets.last + 1)] + ([(surv.start, risk_sets.first)] if surv.is_counting else [])
    if any(_near(values, after, times, reach, rows) for values, after in sides):
        return True
    if len(rows) == len(surv):
        return False
    # Rows between event times are not in the index.
    absent = np.ones(len(surv), dtype=bool)
    absent[rows] = False
    others, known = np.flatnonzero(absent), np.unique(times)
    return any(
        _near(values, np.searchsorted(known, values[others], side="right"), known, reach, others) for values, _ in sides
    )


def _near(values: Floats, after: Integers, times: Floats, reach: float, rows: Integers) -> bool:
    """Tell whether a value is within reach of the event time before or after it, and not equal."""
    last = len(times) - 1
    for begin in range(0, len(rows), _BLOCK):
        own, place = values[rows[begin : begin + _BLOCK]], after[begin : begin + _BLOCK]
        for at in (np.maximum(place - 1, 0), np.minimum(place, last)):
            distance = np.abs(own - times[at])
            if ((distance > 0) & (distance <= reach)).any():
                return True
    return False
