"""Risk sets of the partial likelihood, prepared once and used by every fit on the same rows.

Convention, here and everywhere: a row is at risk at an event time t when ``start < t <= stop``.
Each row is mapped to the range of distinct event times that it crosses. Rows that cross none
contribute nothing to the likelihood and are left out.

No sum over a risk set is a difference of larger sums, so a row with a huge relative risk costs the
other rows no digits. Rows at risk from the first event time of their stratum on (all rows of
right-censored data) are summed backwards in time. Every other row's range is cut into dyadic
blocks of event times, one for a row at risk once and at most 2 log2 K for any row; blocks are
summed first, then added to the times they hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from coalition_exit.survival.cox.timeindex import count_up_to, distinct, stable_order
from coalition_exit.survival.data.surv import Floats, Integers, Surv

# With more strata than this, looping over them costs more than blocks for every row.
_MANY_STRATA = 128
# Products larger than this are formed without a weighted copy of the covariates.
_LARGE = 400_000
_NO_ROW = np.iinfo(np.int64).min


@dataclass(frozen=True, eq=False)
class RiskSets:
    """Index of rows against distinct event times, K in all strata together.

    Attributes
    ----------
    rows : shape (m,)
        Positions, in the data, of the rows at risk at one event time at least.
    first, last : shape (m,)
        Each row is at risk at event times ``first .. last`` (inclusive).
    event : bool, shape (m,)
        The row ends in an event, at event time ``last``.
    times : shape (K,)
        Distinct event times, ascending within each stratum.
    stratum : shape (K,)
        Stratum of each event time.
    n_rows : int
        Rows of the data, at risk or not.
    """

    rows: Integers
    first: Integers
    last: Integers
    event: NDArray[np.bool_]
    times: Floats
    stratum: Integers
    n_rows: int
    _bounds: Integers = field(repr=False)
    _early: NDArray[np.bool_] | None = field(repr=False)

    @property
    def n_times(self) -> int:
        return len(self.times)

    @cached_property
    def at_risk_once(self) -> bool:
        """True when every row is at risk at one event time only, as daily rows are."""
        return self.first is self.last or bool((self.first == self.last).all())

    @property
    def from_the_start(self) -> bool:
        """True when every row is at risk from the first event time of its stratum on, as right-censored rows are."""
        return self._early is None

    @cached_property
    def pointer(self) -> Integers:
        """Where the rows with each ``last`` begin, and the end: shape (K + 1,)."""
        return np.searchsorted(self.last, np.arange(self.n_times + 1))

    @cached_property
    def sizes(self) -> Integers:
        """Rows with each ``last``: shape (K,)."""
        return np.diff(self.pointer)

    def sum_ending(self, values: Floats) -> Floats:
        """Sum rows over those with each ``last``: shape (m,) to (K,)."""
        return np.bincount(self.last, weights=values, minlength=self.n_times).astype(np.float64, copy=False)

    def sum_backward(self, values: Floats) -> Floats:
        """Sum values per event time over this and the later times of its stratum, in place: shape (K, ...)."""
        for low, high in zip(self._bounds[:-1], self._bounds[1:], strict=True):
            part = values[low:high][::-1]
            np.cumsum(part, axis=0, out=part)
        return values

    def sum_forward(self, values: Floats) -> Floats:
        """Sum values per event time over this and the earlier times of its stratum: shape (K, ...)."""
        return self._running(values, False)

    def sum_at_risk(self, values: Floats) -> Floats:
        """Sum rows over each risk set: shape (m,) or (m, p) to (K,) or (K, p)."""
        return self._sum(values, None)

    def weighted_sum_at_risk(self, weights: Floats, values: Floats) -> Floats:
        """Sum ``weights[:, None] * values`` over each risk set: shape (m, p) to (K, p)."""
        if values.size <= _LARGE or not values.flags.c_contiguous:
            return self._sum(weights[:, None] * values, None)
        return self._sum(values, weights)

    def sum_events(self, values: Floats, weights: Floats | None = None) -> Floats:
        """Sum the (weighted) event rows at each event time: shape (m,) or (m, p) to (K,) or (K, p)."""
        return np.asarray(_scaled(self._events, weights) @ values)

    def accumulate(self, increments: Floats) -> Floats:
        """Sum increments per event time over the times each row is at risk: (K, ...) to (m, ...)."""
        return self.accumulator(increments)(slice(None))

    def accumulator(self, increments: Floats, overwrite: bool = False) -> Callable[[slice], Floats]:
        """Return a function that accumulates for a slice of the m rows, to go through them in blocks.

        ``overwrite`` allows the increments to be used as memory.
        """
        if self.at_risk_once:
            return lambda part: np.take(increments, self.last[part], axis=0)
        early = self._early
        running = None
        if early is None or early.any():
            running = self._running(increments, overwrite and early is None)
        if early is None:
            assert running is not None
            return lambda part: np.asarray(running[self.last[part]])
        blocks = self._blocks.up(increments)
        flat = blocks.reshape(len(blocks), -1)

        def accumulate(part: slice) -> Floats:
            matrix = self._members if part == slice(None) else self._members[part]
            total = np.asarray(matrix @ flat).reshape(matrix.shape[0], *increments.shape[1:])
            if running is not None:
                chosen = early[part]
                total[chosen] = running[self.last[part][chosen]]
            return total

        return accumulate

    def max_at_risk(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return the largest value in each risk set: shape (m,) to (K,); values are floats or integers."""
        lowest = -np.inf if values.dtype.kind == "f" else _NO_ROW
        total = np.full(self.n_times, lowest, dtype=values.dtype)
        early = self._early
        if early is None or early.any():
            chosen, at = (values, self.last) if early is None else (values[early], self.last[early])
            begins = np.flatnonzero(np.diff(at, prepend=-1))
            total[at[begins]] = np.maximum.reduceat(chosen, begins) if len(begins) else total[:0]
            for low, high in zip(self._bounds[:-1], self._bounds[1:], strict=True):
                total[low:high] = np.maximum.accumulate(total[low:high][::-1])[::-1]
        if early is not None:
            total = np.maximum(total, self._blocks.max(values, lowest))
        return total

    def before_events(self) -> RiskSets:
        """Return the index of survivors: event rows leave just before their event.

        ``rows`` are then positions among this index's rows.
        """
        last = self.last - self.event
        event = np.zeros(len(last), dtype=bool)
        return _index(self.first, last, event, self.times, self.stratum)

    def _sum(self, values: Floats, weights: Floats | None) -> Floats:
        early = self._early
        if self.at_risk_once or early is None:
            total = np.asarray(_scaled(self._by_last, weights, in_order=True) @ values)
            return total if self.at_risk_once else self.sum_backward(total)
        if early.any():
            total = self.sum_backward(np.asarray(_scaled(self._early_by_last, weights) @ values))
            total += self._blocks.down(_scaled(self._blocks.matrix, weights) @ values)
            return total
        return self._blocks.down(_scaled(self._blocks.matrix, weights) @ values)

    def _running(self, increments: Floats, overwrite: bool) -> Floats:
        running = increments if overwrite else np.empty_like(increments, dtype=np.float64)
        for low, high in zip(self._bounds[:-1], self._bounds[1:], strict=True):
            np.cumsum(increments[low:high], axis=0, out=running[low:high])
        return running

    @cached_property
    def _by_last(self) -> sp.csr_array:
        m = len(self.last)
        at, pointer = np.arange(m, dtype=np.int32), self.pointer.astype(np.int32)
        return sp.csr_array((np.ones(m), at, pointer), shape=(self.n_times, m))

    @cached_property
    def _early_by_last(self) -> sp.csr_array:
        assert self._early is not None
        at = np.flatnonzero(self._early).astype(np.int32)
        return _grouping(self.last[self._early], at, self.n_times, len(self.last))

    @cached_property
    def _events(self) -> sp.csr_array:
        at = np.flatnonzero(self.event).astype(np.int32)
        return _grouping(self.last[self.event], at, self.n_times, len(self.last))

    @cached_property
    def _members(self) -> sp.csr_array:
        return self._blocks.matrix.T.tocsr()

    @cached_property
    def _blocks(self) -> _Blocks:
        assert self._early is not None
        at = np.flatnonzero(~self._early)
        return _dyadic_blocks(self.first[at], self.last[at], at, len(self.last), self.n_times)


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Dyadic blocks of event times: block j of level l holds times j 2^l .. (j + 1) 2^l - 1.

    ``matrix``, shape (blocks, m), marks the disjoint blocks that make up each row's range;
    ``sizes`` is the number of blocks at each level.
    """

    matrix: sp.csr_array
    sizes: tuple[int, ...]

    def down(self, sums: Floats) -> Floats:
        """Add up, for each event time, the sums of the blocks that hold it."""
        ends = np.cumsum(self.sizes)
        total = sums[ends[-1] - self.sizes[-1] :]
        for size, end in zip(self.sizes[-2::-1], ends[-2::-1], strict=True):
            total = np.repeat(total, 2, axis=0)[:size] + sums[end - size : end]
        return np.asarray(total)

    def up(self, values: Floats) -> Floats:
        """Sum values per event time within each block."""
        levels = [np.asarray(values, dtype=np.float64)]
        for _ in self.sizes[1:]:
            below = levels[-1]
            above = below[::2].copy()
            above[: len(below) // 2] += below[1::2]
            levels.append(above)
        return np.concatenate(levels) if len(levels) > 1 else levels[0]

    def max(self, values: NDArray[np.generic], lowest: float) -> NDArray[np.generic]:
        """Return, for each event time, the largest value of the rows whose blocks hold it."""
        highest = np.full(self.matrix.shape[0], lowest, dtype=values.dtype)
        filled = np.flatnonzero(np.diff(self.matrix.indptr))
        highest[filled] = np.maximum.reduceat(values[self.matrix.indices], self.matrix.indptr[filled])
        ends = np.cumsum(self.sizes)
        total = highest[ends[-1] - self.sizes[-1] :]
        for size, end in zip(self.sizes[-2::-1], ends[-2::-1], strict=True):
            total = np.maximum(np.repeat(total, 2)[:size], highest[end - size : end])
        return total


def _scaled(pattern: sp.csr_array, weights: Floats | None, in_order: bool = False) -> sp.csr_array:
    """Return a 0/1 matrix with its columns multiplied by weights; ``in_order`` if each row is taken once, in order."""
    if weights is None:
        return pattern
    own = weights if in_order else weights[pattern.indices]
    return sp.csr_array((own, pattern.indices, pattern.indptr), shape=pattern.shape)


def _grouping(group: Integers, at: NDArray[np.int32], n_groups: int, m: int) -> sp.csr_array:
    """Return the 0/1 matrix that sums the rows ``at``, sorted by ``group``, within groups."""
    pointer = np.zeros(n_groups + 1, dtype=np.int32)
    np.cumsum(np.bincount(group, minlength=n_groups), out=pointer[1:])
    return sp.csr_array((np.ones(len(at)), at, pointer), shape=(n_groups, m))


def _dyadic_blocks(first: Integers, last: Integers, at: Integers, m: int, n_times: int) -> _Blocks:
    low, high, rows = first.copy(), last + 1, at
    block: list[Integers] = []
    member: list[Integers] = []
    sizes: list[int] = []
    size, offset = n_times, 0
    while len(rows) or not sizes:
        odd = (low & 1) == 1
        block.append(low[odd] + offset)
        member.append(rows[odd])
        low[odd] += 1
        odd = (high & 1) == 1
        high[odd] -= 1
        block.append(high[odd] + offset)
        member.append(rows[odd])
        sizes.append(size)
        offset, size = offset + size, (size + 1) // 2
        low, high = low >> 1, high >> 1
        going = low < high
        low, high, rows = low[going], high[going], rows[going]
    places = (np.concatenate(block), np.concatenate(member))
    matrix = sp.csr_array((np.ones(len(places[0])), places), shape=(offset, m))
    return _Blocks(matrix, tuple(sizes))


def prepare_risk_sets(surv: Surv, strata: Integers | None = None) -> RiskSets:
    """Map every row to the event times it crosses.

    Parameters
    ----------
    surv
        The response, n rows.
    strata
        Integer code of each row's stratum, shape (n,), or None for a single stratum.

    Returns
    -------
    RiskSets
        With no event in ``surv`` the result has no rows and no times.
    """
    if strata is None:
        times = distinct(surv.stop[surv.event])
        stratum = np.zeros(len(times), dtype=np.int64)
        unit = _unit_rows(surv, times)
        if unit is not None:
            rows, last = unit
            return _sorted_index(rows, last, last, surv.event[rows], times, stratum, len(surv))
        first, last = _single_stratum(surv, times)
    else:
        times, stratum, first, last = _stratified(surv, strata)
    return _index(first, last, surv.event, times, stratum)


def _index(first: Integers, last: Integers, event: NDArray[np.bool_], times: Floats, stratum: Integers) -> RiskSets:
    """Index rows, n of them, by their ranges; those that cross no event time (first > last) are left out."""
    crosses = first <= last
    if crosses.all():
        # Rows in order of their last event time: neighbours in a sum are neighbours in memory.
        rows = stable_order(last, len(times))
    else:
        rows = np.flatnonzero(crosses)
        rows = rows[stable_order(last[rows], len(times))]
    n_rows = len(first)
    size = np.bincount(last if len(rows) == n_rows else last[rows], minlength=len(times))
    last = np.repeat(np.arange(len(times)), size)
    # Rows at risk from the first event time of all share one zero.
    first = first[rows] if first.any() else np.broadcast_to(np.int64(0), len(rows))
    return _sorted_index(rows, first, last, event[rows], times, stratum, n_rows)


def _sorted_index(
    rows: Integers,
    first: Integers,
    last: Integers,
    event: NDArray[np.bool_],
    times: Floats,
    stratum: Integers,
    n_rows: int,
) -> RiskSets:
    """Index the m rows at risk, which come in order of their last event time."""
    begins = np.flatnonzero(np.diff(stratum, prepend=stratum[0] - 1)) if len(times) else np.zeros(0, dtype=np.int64)
    bounds = np.append(begins, len(times))
    early: NDArray[np.bool_] | None
    if len(begins) > _MANY_STRATA:
        early = np.zeros(len(rows), dtype=bool)
    elif len(begins) == 1:
        early = first == 0
        early = None if early.all() else early
    else:
        early = first == bounds[np.searchsorted(bounds, first, side="right") - 1]
        early = None if early.all() else early
    return RiskSets(rows, first, last, event, times, stratum, n_rows, bounds, early)


def _single_stratum(surv: Surv, times: Floats) -> tuple[Integers, Integers]:
    """Return the first event time that each row crosses and the last, shapes (n,)."""
    last = count_up_to(times, surv.stop)
    last -= 1
    if not len(times) or surv.start.max(initial=-np.inf) < times[0]:
        return np.broadcast_to(np.int64(0), len(last)), last
    if surv.breaks is None:
        return count_up_to(times, surv.start), last
    first = np.empty_like(last)
    first[1:] = last[:-1] + 1
    first[surv.breaks] = count_up_to(times, surv.start[surv.breaks])
    return first, last


def _unit_rows(surv: Surv, times: Floats) -> tuple[Integers, Integers] | None:
    """Return rows at risk and their event times, both in order of time, where each row is one unit long (daily rows).

    None where rows are not such, or do not follow one another.
    """
    begins, n = surv.breaks, len(surv)
    if begins is None or len(begins) * len(times) > n or not surv.is_whole:
        return None
    ends = np.append(begins[1:], n)
    start, stop = surv.start[begins], surv.stop[ends - 1]
    # Whole positive lengths whose sum is their number are all 1.
    if not bool((stop - start == ends - begins).all()):
        return None
    k, run = np.nonzero((start < times[:, None]) & (times[:, None] <= stop))
    return begins[run] + (times[k] - start[run]).astype(np.int64) - 1, k


def _stratified(surv: Surv, strata: Integers) -> tuple[Floats, Integers, Integers, Integers]:
    """Event times by stratum, found through one integer key: stratum, then rank of the time."""
    times = np.unique(surv.stop[surv.event])
    _, code = np.unique(strata, return_inverse=True)
    width = len(times) + 1
    stop = count_up_to(times, surv.stop) + code * width
    start = count_up_to(times, surv.start) + code * width
    keys = np.unique(stop[surv.event])
    own, rank = np.divmod(keys, width)
    labels = np.unique(strata)
    first = np.searchsorted(keys, start, side="right")
    last = np.searchsorted(keys, stop, side="right") - 1
    return times[rank - 1], labels[own].astype(np.int64), first, last
