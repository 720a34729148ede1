"""Person-periods from episodes: one row per subject and period with time at risk.

Period k = 1, 2, ... is the time ``((k - 1) * length, k * length]`` since the origin of analysis
time, so an event at t falls in period ceil(t / length). A subject has a row for every period in
which it is at risk at some time: also for the first one when it enters midway, for the last one
when it is censored midway (see ``partial``) and for one with a gap in it. Lengths of "month"
(365.25 / 12 = 30.4375) and "year" (365.25) are those of no calendar: periods follow the subject's
own clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from coalition_exit.errors import DataError, nearest, one_of
from coalition_exit.survival.data.surv import Floats, Integers, Surv

PERIODS = {"day": 1.0, "week": 7.0, "month": 365.25 / 12, "year": 365.25}
COVARIATES = ("start", "end", "mean")
PARTIAL = ("keep", "drop", "offset")
REPEATED = ("error", "merge")

_MOST_ROWS = 200_000_000
# Times this close to a boundary, in periods, are at it: 0.3 / 0.1 is not 3 in floating point. The
# error of a quotient grows with it, but what is a millionth of a period off is another time.
_ROUNDING, _MOST_ROUNDING = 1e-9, 1e-6


@dataclass(frozen=True)
class PeriodCounts:
    """What became of the episodes.

    Attributes
    ----------
    n_rows : int
        Episodes before.
    n_late : int
        Person-periods that begin after their period does (late entry, or return after a gap).
    n_partial : int
        Person-periods that end without event before their period does.
    n_gap : int
        Person-periods with a gap inside.
    n_merged : int
        Further events of a subject in a period, merged with its first under ``repeated="merge"``.
    n_dropped : int
        Of the ``n_partial``, those left out under ``partial="drop"``.
    """

    n_rows: int
    n_late: int
    n_partial: int
    n_gap: int
    n_merged: int = 0
    n_dropped: int = 0


@dataclass(frozen=True, eq=False)
class PersonPeriods:
    """Rows of a discrete-time model, ordered by subject and period.

    Attributes
    ----------
    subject, period : ndarray of int, shape (m,)
        Code of the subject; number of the period, from 1.
    event : ndarray of bool, shape (m,)
    x : ndarray, shape (m, p)
        Covariates at the period's start or end, or their mean over the time at risk in it.
    at_risk : ndarray, shape (m,)
        Share of the period at risk, in (0, 1]. With an event the period counts to its end.
    cluster, group : ndarray of int or None
    weights, offset : ndarray or None
        Taken at the same time as the covariates.
    counts : PeriodCounts
    stratum : ndarray of int or None
        Taken at the same time as the covariates; under "mean" it may not change within a period.
    """

    subject: Integers
    period: Integers
    event: NDArray[np.bool_]
    x: Floats
    at_risk: Floats
    cluster: Integers | None
    weights: Floats | None
    offset: Floats | None
    counts: PeriodCounts
    stratum: Integers | None = None
    group: Integers | None = None

    def keep(self, rows: NDArray[np.bool_], counts: PeriodCounts | None = None) -> PersonPeriods:
        """The chosen rows, shape (m,) of bool."""
        return PersonPeriods(
            self.subject[rows],
            self.period[rows],
            self.event[rows],
            self.x[rows],
            self.at_risk[rows],
            None if self.cluster is None else self.cluster[rows],
            None if self.weights is None else self.weights[rows],
            None if self.offset is None else self.offset[rows],
            counts or self.counts,
            None if self.stratum is None else self.stratum[rows],
            None if self.group is None else self.group[rows],
        )


def period_length(period: str | float) -> float:
    """Return the length of a period in units of analysis time (days for the named ones).

    Raises
    ------
    DataError
        On an unknown name or a length that is not positive and finite.
    """
    if isinstance(period, str):
        if period not in PERIODS:
            raise DataError("period", f"{one_of(PERIODS)}, or a number", repr(period), nearest(period, PERIODS))
        return PERIODS[period]
    length = float(period)
    if isinstance(period, bool) or not np.isfinite(length) or length <= 0:
        raise DataError("period", "a positive number of time units", repr(period))
    return length


@dataclass(frozen=True, eq=False)
class _Pieces:
    """Parts of episodes within one period; times in periods."""

    row: Integers
    period: Integers
    enter: Floats
    leave: Floats
    event: NDArray[np.bool_]


def person_periods(
    surv: Surv,
    x: Floats,
    length: float,
    *,
    id: Integers | None = None,
    covariates: str = "start",
    partial: str = "keep",
    repeated: str = "error",
    cluster: Integers | None = None,
    weights: Floats | None = None,
    offset: Floats | None = None,
    strata: Integers | None = None,
    group: Integers | None = None,
) -> PersonPeriods:
    """Cut episodes into periods and join what belongs to one subject and period.

    Parameters
    ----------
    surv
        n episodes that do not overlap within a subject. ``Surv(time, event)`` starts at 0.
    x
        Covariates, shape (n, p).
    length
        Length of a period in units of analysis time.
    id
        Code of the subject of each row, shape (n,); None makes every row its own subject.
    covariates
        "start": as on the first episode of the subject in the period (at entry, if it enters
        later); "end": as on the last (at its event or exit); "mean": weighted by time at risk.
        What follows an event within its period is left out.
    partial
        Periods in which the subject is censored midway: "keep" counts them as periods without
        event; "drop" leaves them out, as if censored when they began; "offset" keeps them (leaving
        it to the caller to account for ``at_risk``).
    repeated
        Two events of one subject in a period: "error", or "merge" into one, the first.
    cluster, weights, offset, strata, group
        Arrays of shape (n,). Cluster and group may not change within a period, nor may the
        stratum under "mean".

    Returns
    -------
    PersonPeriods

    Raises
    ------
    DataError
        Negative times, two events of one subject in one period, a cluster, group or (under "mean")
        stratum that changes within a period, unknown options.
    """
    check_period_options(covariates, partial, repeated)
    pieces = _cut(surv, length, id)
    subject = pieces.row if id is None else id[pieces.row]
    new = np.ones(len(subject), dtype=bool)
    new[1:] = (np.diff(subject) != 0) | (np.diff(pieces.period) != 0)
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(subject)) - 1
    event = np.logical_or.reduceat(pieces.event, first)
    events = np.add.reduceat(pieces.event.astype(np.int64), first)
    if repeated == "error":
        _check_one_event(pieces, first, events, length)
    place = np.flatnonzero(pieces.event)
    last[event] = place[np.cumsum(events[event]) - events[event]]
    fixed = {"cluster": cluster, "group": group, "stratum": strata if covariates == "mean" else None}
    for role, codes in fixed.items():
        _check_fixed(role, codes, pieces.row, first, last)
    time, gap = _time_at_risk(pieces, first, last)
    take = _taker(covariates, pieces.row, first, last, time)
    period = pieces.period[first]
    late = pieces.enter[first] > period - 1
    short = ~event & (pieces.leave[last] < period)
    whole = np.add.reduceat(time, first) + np.where(event, period - pieces.leave[last], 0.0)
    merged = int((events - event).sum())
    counts = PeriodCounts(len(surv), int(late.sum()), int(short.sum()), int(gap.sum()), merged)
    result = PersonPeriods(
        subject=subject[first],
        period=period,
        event=event,
        x=np.column_stack([take(column) for column in x.T]) if x.shape[1] else np.zeros((len(first), 0)),
        at_risk=np.where(late | short | gap, np.clip(whole, np.finfo(float).tiny, 1.0), 1.0),
        cluster=None if cluster is None else cluster[pieces.row[first]],
        weights=None if weights is None else take(weights),
        offset=None if offset is None else take(offset),
        counts=counts,
        stratum=None if strata is None else strata[pieces.row[last if covariates == "end" else first]],
        group=None if group is None else group[pieces.row[first]],
    )
    if partial != "drop" or not short.any():
        return result
    return result.keep(~short, replace(counts, n_dropped=int(short.sum())))


def check_period_options(covariates: str, partial: str, repeated: str) -> None:
    """Refuse unknown options of `person_periods`.

    Raises
    ------
    DataError
        Names the option and the nearest valid value.
    """
    options = (("covariates", covariates, COVARIATES), ("partial", partial, PARTIAL), ("repeated", repeated, REPEATED))
    for name, value, valid in options:
        if value not in valid:
            raise DataError(name, one_of(valid), repr(value), nearest(str(value), valid))


def _cut(surv: Surv, length: float, id: Integers | None) -> _Pieces:
    start = np.where(np.isfinite(surv.start), surv.start, 0.0)
    for place, bad, times in (("start", start < 0, start), ("time", surv.stop <= start, surv.stop)):
        if bad.any():
            row = int(np.argmax(bad))
            hint = "Periods are counted from the origin 0: subtract it from the times"
            raise DataError(f"Surv, {place}, row {row}", "analysis time of 0 or more", f"{times[row]:g}", hint)
    enter, leave = _in_periods(start, length), _in_periods(surv.stop, length)
    order = np.arange(len(start))
    if id is not None:
        step = np.diff(id)
        if not (np.all(step >= 0) and np.all((step > 0) | (np.diff(start) > 0))):
            order = np.lexsort((start, id))
    enter, leave = enter[order], leave[order]
    begin = np.floor(enter).astype(np.int64)
    end = np.maximum(np.ceil(leave).astype(np.int64) - 1, begin)
    count = end - begin + 1
    total = int(count.sum())
    if total > _MOST_ROWS:
        raise DataError("period", f"a length that gives at most {_MOST_ROWS:,} rows", f"{total:,} with {length:g}")
    at = np.repeat(np.arange(len(order)), count)
    within = np.arange(total) - np.repeat(np.cumsum(count) - count, count)
    period = begin[at] + within + 1
    return _Pieces(
        row=order[at],
        period=period,
        enter=np.maximum(enter[at], period - 1),
        leave=np.minimum(leave[at], period),
        event=surv.event[order][at] & (period == end[at] + 1),
    )


def _in_periods(time: Floats, length: float) -> Floats:
    exact = time / length
    whole = np.round(exact)
    near = np.clip(_ROUNDING * whole, _ROUNDING, _MOST_ROUNDING)
    return np.where(np.abs(exact - whole) <= near, whole, exact)


def _check_one_event(pieces: _Pieces, first: Integers, events: Integers, length: float) -> None:
    if (events > 1).any():
        group = int(np.argmax(events > 1))
        at = int(first[group])
        raise DataError(
            f"subject of row {pieces.row[at]}, period {pieces.period[at]}",
            f"at most one event of a subject in a period of {length:g}",
            str(int(events[group])),
            "Choose a shorter period, or repeated='merge'",
        )


def _check_fixed(role: str, values: Integers | None, row: Integers, first: Integers, last: Integers) -> None:
    if values is None:
        return
    codes = values[row]
    member = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(row))))
    changed = (codes != codes[first][member]) & (np.arange(len(row)) <= last[member])
    if changed.any():
        at = int(row[np.argmax(changed)])
        raise DataError(f"{role}, row {at}", f"one {role} for a subject within a period", "another than before in it")


def _time_at_risk(pieces: _Pieces, first: Integers, last: Integers) -> tuple[Floats, NDArray[np.bool_]]:
    """Time at risk of each piece (0 after the event), and whether each group has a gap."""
    member = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(pieces.row))))
    inside = np.arange(len(member)) <= last[member]
    hole = np.zeros(len(member), dtype=bool)
    hole[1:] = (member[1:] == member[:-1]) & inside[1:] & (pieces.enter[1:] - pieces.leave[:-1] > _ROUNDING)
    return np.where(inside, pieces.leave - pieces.enter, 0.0), np.logical_or.reduceat(hole, first)


def _taker(covariates: str, row: Integers, first: Integers, last: Integers, time: Floats) -> Callable[[Floats], Floats]:
    if covariates == "start":
        return lambda values: values[row[first]]
    if covariates == "end":
        return lambda values: values[row[last]]
    total = np.add.reduceat(time, first)

    def mean(values: Floats) -> Floats:
        begin = values[row[first]]
        # Deviations from the first value, so that what is constant stays exactly so.
        change = np.add.reduceat(time * (values[row] - np.repeat(begin, np.diff(np.append(first, len(row))))), first)
        return begin + np.divide(change, total, out=np.zeros_like(total), where=total > 0)

    return mean
