"""Risk sets of the subdistribution hazard: who had a competing exit stays, with a falling weight.

A subject with a competing exit at T counts at event times t > T with weight C(t) / C(T), where C(t) =
G(t-) H(t-): G is the Kaplan-Meier estimate of remaining uncensored, and H, with late entry, the
product over entry times u >= t of 1 - entries(u) / at risk(u) (Geskus 2011). A weight of the
subject depends on time only through C, so the sums over these "tails" are cumulative sums too, and the
data need not be split at every censoring time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from coalition_exit.errors import DataError
from coalition_exit.survival.cox.risksets import RiskSets, prepare_risk_sets
from coalition_exit.survival.data.surv import Floats, Integers, Surv


@dataclass(frozen=True, eq=False)
class Censoring:
    """Estimate of the censoring (and entry) distribution in one stratum.

    Attributes
    ----------
    times : shape (U,)
        Distinct times of censoring.
    censored, at_risk : shape (U,)
        Weight censored and at risk at each.
    entries : shape (E,)
        Distinct entry times, empty without late entry.
    entry_factor : shape (E,)
        1 - entries / at risk at each; 1 where all at risk have just entered, see ``restarts``.
    restarts : shape (R,)
        Entry times at which all at risk have just entered: C cannot be compared across them.
    """

    times: Floats
    censored: Floats
    at_risk: Floats
    entries: Floats
    entry_factor: Floats
    restarts: Floats

    def left_limit(self, t: Floats) -> Floats:
        """C(t) = G(t-) H(t-) at times t, up to the factors that are 0: see `era` and ``restarts``."""
        surviving = np.append(1.0, np.cumprod(np.where(self._emptied, 1.0, 1 - self.censored / self.at_risk)))
        value = surviving[np.searchsorted(self.times, t, side="left")]
        if len(self.entries):
            entered = np.append(np.cumprod(self.entry_factor[::-1])[::-1], 1.0)
            value = value * entered[np.searchsorted(self.entries, t, side="left")]
        return np.asarray(value)

    def era(self, t: Floats) -> Integers:
        """Times before t at which all at risk were censored: G(t-) / G(T-) is 0 if it differs between T and t."""
        return np.asarray(np.searchsorted(self.times[self._emptied], t, side="left"))

    @property
    def _emptied(self) -> NDArray[np.bool_]:
        return np.asarray(self.at_risk - self.censored <= 1e-12 * self.at_risk)


def estimate_censoring(
    surv: Surv,
    event: NDArray[np.bool_],
    first: NDArray[np.bool_],
    last: NDArray[np.bool_],
    weights: Floats,
    together: bool,
) -> Censoring:
    """Estimate the censoring distribution from the rows of one stratum.

    Parameters
    ----------
    surv
        The n rows.
    event
        The row ends in an exit for any cause.
    first, last
        The row is its subject's first, last one.
    weights
        Case weights: they count in the estimate, as rows repeated so often would.
    together
        Whether exits at a time of censoring are still at risk of it (``cmprsk::crr``) or are
        counted out before (``survival::finegray``).
    """
    times = np.unique(surv.stop[last & ~event])
    enter, leave = exposure(surv, event, times, together)
    size = len(times) + 1
    change = _tally(enter, weights, size) - _tally(np.maximum(leave, enter), weights, size)
    censored = _tally(np.searchsorted(times, surv.stop), np.where(last & ~event, weights, 0.0), size)
    entries = factor = restarts = np.empty(0)
    if (surv.start[first] >= surv.stop.min()).any():
        entries = np.unique(surv.start[first])
        count = _tally(np.searchsorted(entries, surv.start), np.where(first, weights, 0.0), len(entries) + 1)[:-1]
        since = np.searchsorted(entries, surv.start, side="left")
        until = np.searchsorted(entries, surv.stop, side="left")
        present = np.cumsum(_tally(since, weights, len(entries) + 1) - _tally(until, weights, len(entries) + 1))[:-1]
        alone = present - count <= 1e-12 * present
        factor, restarts = np.where(alone, 1.0, 1 - count / np.where(alone, 1.0, present)), entries[alone]
    return Censoring(times, censored[:-1], np.cumsum(change)[:-1], entries, factor, restarts)


def exposure(surv: Surv, event: NDArray[np.bool_], times: Floats, together: bool) -> tuple[Integers, Integers]:
    """Range of censoring times at which each row is at risk of censoring: first, one past the last."""
    leave = np.searchsorted(times, surv.stop, side="right")
    if not together:
        leave = np.where(event, np.searchsorted(times, surv.stop, side="left"), leave)
    return np.searchsorted(times, surv.start, side="right"), leave


def _tally(at: Integers, values: Floats, size: int) -> Floats:
    return np.asarray(np.bincount(at, weights=values, minlength=size)[:size], dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Tails:
    """Rows whose competing exit keeps them in later risk sets, in cells.

    A *cell* is a stratum, a censoring stratum and an era of it (`Censoring.era`); each has a copy of its
    stratum's event times.

    Attributes
    ----------
    rows : shape (m',)
        Positions, among the rows of the risk sets, of the tail rows.
    exit_weight : shape (m',)
        C at the row's exit.
    place : shape (m',)
        Place, among all cells' event times, of the first one after the exit.
    cell : shape (m',)
        Cell of the row.
    bounds : shape (Q + 1,)
        Where each cell's event times begin.
    time_index : shape (L,)
        Event time of each place.
    weight : shape (L,)
        C at each place, 0 outside the cell's era.
    censoring : shape (Q,)
        Censoring stratum of each cell.
    """

    rows: Integers
    exit_weight: Floats
    place: Integers
    cell: Integers
    bounds: Integers
    time_index: Integers
    weight: Floats
    censoring: Integers

    def forward(self, values: Floats) -> Floats:
        """Running sum within cells of values placed at ``place``: (m', ...) to (L, ...)."""
        matrix = sp.csr_array(
            (np.ones(len(self.rows)), (self.place, np.arange(len(self.rows)))),
            shape=(len(self.time_index) + 1, len(self.rows)),
        )
        total = np.asarray(matrix @ values)[:-1]
        for begin, end in zip(self.bounds[:-1], self.bounds[1:], strict=True):
            np.cumsum(total[begin:end], axis=0, out=total[begin:end])
        return total

    def backward(self, values: Floats) -> Floats:
        """Sum of values from each row's place to the end of its cell: (L, ...) to (m', ...)."""
        total = np.concatenate([values, np.zeros((1, *values.shape[1:]))])
        for begin, end in zip(self.bounds[:-1], self.bounds[1:], strict=True):
            total[begin:end] = np.cumsum(values[begin:end][::-1], axis=0)[::-1]
        return np.asarray(total[self.place])


@dataclass(frozen=True, eq=False)
class FineGrayRiskSets(RiskSets):
    """Risk sets with tails; ``first .. last`` is a row's range with its tail.

    Attributes
    ----------
    base : RiskSets
        Rows while they are under observation: the first ones of ``rows``.
    tails : Tails
    """

    base: RiskSets = field(kw_only=True)
    tails: Tails = field(kw_only=True)

    def sum_at_risk(self, values: Floats) -> Floats:
        """Weighted sum over each risk set, tails included: (m, ...) to (K, ...)."""
        total = self.base.sum_at_risk(values[: len(self.base.rows)])
        tails = self.tails
        shape = (-1, *[1] * (values.ndim - 1))
        part = tails.forward(values[tails.rows] / tails.exit_weight.reshape(shape)) * tails.weight.reshape(shape)
        np.add.at(total, tails.time_index, part)
        return total

    def weighted_sum_at_risk(self, weights: Floats, values: Floats) -> Floats:
        """`sum_at_risk` of ``weights[:, None] * values``: (m, p) to (K, p)."""
        return self.sum_at_risk(weights[:, None] * values)

    def accumulate(self, increments: Floats) -> Floats:
        """Weighted sum over the event times at which each row counts: (K, ...) to (m, ...)."""
        tails = self.tails
        total = np.zeros((len(self.rows), *increments.shape[1:]))
        total[: len(self.base.rows)] = self.base.accumulate(increments)
        shape = (-1, *[1] * (increments.ndim - 1))
        later = tails.backward(increments[tails.time_index] * tails.weight.reshape(shape))
        total[tails.rows] += later / tails.exit_weight.reshape(shape)
        return total

    def accumulator(self, increments: Floats, overwrite: bool = False) -> Callable[[slice], Floats]:
        """Return a function that gives `accumulate` for a slice of the rows."""
        total = self.accumulate(increments)
        return lambda part: total[part].copy()

    def before_events(self) -> RiskSets:
        """Refuse: survivors' risk sets serve exact ties, which weights that change do not have."""
        raise DataError("ties", "'breslow' or 'efron' for the subdistribution hazard", "'exact'")

    def max_at_risk(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Largest value in each risk set, tails included: (m,) to (K,)."""
        total = self.base.max_at_risk(values[: len(self.base.rows)])
        tails = self.tails
        if not len(tails.rows):
            return total
        high = np.full(len(tails.time_index) + 1, values.min(), dtype=values.dtype)
        np.maximum.at(high, tails.place, values[tails.rows])
        for begin, end in zip(tails.bounds[:-1], tails.bounds[1:], strict=True):
            here = np.flatnonzero(tails.weight[begin:end] > 0)
            index = tails.time_index[begin:end][here]
            total[index] = np.maximum(total[index], np.maximum.accumulate(high[begin:end])[here])
        return total


def prepare_finegray(
    surv: Surv, competing: NDArray[np.bool_], strata: Integers | None, cell_of: Integers, censoring: Sequence[Censoring]
) -> FineGrayRiskSets:
    """Prepare the risk sets.

    Parameters
    ----------
    surv
        The n rows; ``event`` is an exit for the cause of interest.
    competing
        The row ends in another exit.
    strata
        Stratum of each row, or None.
    cell_of
        Censoring stratum of each row, an index into ``censoring``.
    censoring
        Estimates by censoring stratum.

    Raises
    ------
    DataError
        When the weights of the tails are infinite: everybody under observation left, by a
        competing exit at the latest, before others entered.
    """
    base = prepare_risk_sets(surv, strata)
    stratum = np.zeros(len(surv), dtype=np.int64) if strata is None else strata
    tails = _tails(surv, np.flatnonzero(competing), stratum, cell_of, censoring, base)
    known = np.full(len(surv), -1, dtype=np.int64)
    known[base.rows] = np.arange(len(base.rows))
    extra = tails.rows[known[tails.rows] < 0]
    known[extra] = len(base.rows) + np.arange(len(extra))
    index: dict[str, Any] = {part.name: getattr(base, part.name) for part in fields(base)}
    position = known[tails.rows]
    first, last = (np.concatenate([own, np.zeros(len(extra), dtype=np.int64)]) for own in (base.first, base.last))
    alone = position >= len(base.rows)
    first[position[alone]] = tails.time_index[tails.place[alone]]
    last[position] = tails.time_index[tails.bounds[tails.cell + 1] - 1]
    index["rows"], index["first"], index["last"] = np.concatenate([base.rows, extra]), first, last
    index["event"] = np.concatenate([base.event, np.zeros(len(extra), dtype=bool)])
    return FineGrayRiskSets(**index, base=base, tails=replace(tails, rows=position))


def _tails(
    surv: Surv, rows: Integers, stratum: Integers, cell_of: Integers, censoring: Sequence[Censoring], base: RiskSets
) -> Tails:
    """Tails, with rows as positions in the data."""
    begins = np.searchsorted(base.stratum, np.arange(int(stratum.max()) + 1), side="left")
    ends = np.searchsorted(base.stratum, np.arange(int(stratum.max()) + 1), side="right")
    eras = np.zeros(len(rows), dtype=np.int64)
    for c, estimate in enumerate(censoring):
        here = cell_of[rows] == c
        eras[here] = estimate.era(surv.stop[rows[here]])
    cells, owner = np.unique(np.column_stack([stratum[rows], cell_of[rows], eras]), axis=0, return_inverse=True)
    parts, offset = [], 0
    for q, (s, c, era) in enumerate(cells):
        times = base.times[begins[s] : ends[s]]
        mine = rows[owner.reshape(-1) == q]
        after = np.searchsorted(times, surv.stop[mine], side="right")
        mine, after = mine[after < len(times)], after[after < len(times)]
        _check_weights(surv, mine, censoring[c].restarts, times)
        at_exit = censoring[c].left_limit(surv.stop[mine])
        cell = np.full(len(mine), q, dtype=np.int64)
        index = np.arange(begins[s], ends[s])
        weight = np.where(censoring[c].era(times) == era, censoring[c].left_limit(times), 0.0)
        parts.append((mine, at_exit, after + offset, cell, index, weight))
        offset += len(times)
    if not parts:
        none, zero = np.zeros(0), np.zeros(0, dtype=np.int64)
        return Tails(zero, none, zero, zero, np.zeros(1, dtype=np.int64), zero, none, zero)
    joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
    bounds = np.append(0, np.cumsum([len(part[4]) for part in parts]))
    return Tails(joined[0], joined[1], joined[2], joined[3], bounds, joined[4], joined[5], cells[:, 1])


def _check_weights(surv: Surv, rows: Integers, restarts: Floats, times: Floats) -> None:
    """Refuse tails whose weights are infinite: all at risk at some time before the last event have just entered."""
    if not len(restarts) or not len(rows):
        return
    following = np.append(restarts, np.inf)[np.searchsorted(restarts, surv.stop[rows], side="left")]
    infinite = following < times[-1]
    if infinite.any():
        at = int(np.argmax(infinite))
        expected = f"somebody at risk at {following[at]:g} who was there before, for finite weights after this exit"
        raise DataError(f"row {rows[at]}", expected, "only rows that enter at that time")
