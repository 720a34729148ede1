"""Risk sets of the partial likelihood, prepared once and used by every fit on the same rows.

Convention, here and everywhere: a row is at risk at an event time t when ``start < t <= stop``.
Each row is mapped to the range of distinct event times that it crosses. Rows that cross none
contribute nothing to the likelihood and are left out; sums over risk sets are then cumulative
sums of sums per event time.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from coalition_exit.survival.surv import Floats, Integers, Surv


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
    """

    rows: Integers
    first: Integers
    last: Integers
    event: NDArray[np.bool_]
    times: Floats
    stratum: Integers
    n_rows: int
    _single: NDArray[np.bool_] = field(repr=False)
    _direct: sp.csr_array = field(repr=False)
    _change: sp.csr_array | None = field(repr=False)

    @property
    def n_times(self) -> int:
        return len(self.times)

    def sum_at_risk(self, values: Floats) -> Floats:
        """Sum rows over each risk set: shape (m,) or (m, p) to (K,) or (K, p)."""
        total = self._direct @ values
        if self._change is not None:
            total = total + np.cumsum((self._change @ values)[:-1], axis=0)
        return np.asarray(total)

    def sum_events(self, values: Floats) -> Floats:
        """Sum the event rows at each event time: shape (m,) or (m, p) to (K,) or (K, p)."""
        at = self.last[self.event]
        chosen = values[self.event]
        if chosen.ndim == 1:
            return np.bincount(at, weights=chosen, minlength=self.n_times)
        return np.column_stack([np.bincount(at, weights=column, minlength=self.n_times) for column in chosen.T])

    def accumulate(self, increments: Floats) -> Floats:
        """Sum increments per event time over the times each row is at risk: (K, ...) to (m, ...)."""
        zero = np.zeros((1, *increments.shape[1:]))
        running = np.concatenate([zero, np.cumsum(increments, axis=0)])
        total = running[self.last + 1] - running[self.first]
        # Rows at risk once need no difference of sums, hence lose no digits.
        total[self._single] = increments[self.first[self._single]]
        return total


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
        times = np.unique(surv.stop[surv.event])
        first = np.searchsorted(times, surv.start, side="right")
        last = np.searchsorted(times, surv.stop, side="right") - 1
        stratum = np.zeros(len(times), dtype=np.int64)
    else:
        times, stratum, first, last = _stratified(surv, strata)
    rows = np.flatnonzero(first <= last)
    # Rows in order of their last event time: neighbours in a sum are neighbours in memory.
    rows = rows[np.argsort(last[rows], kind="stable")]
    first, last = first[rows], last[rows]
    single = first == last
    direct, change = _sum_matrices(first, last, single, len(times))
    return RiskSets(
        rows=rows,
        first=first,
        last=last,
        event=surv.event[rows],
        times=times,
        stratum=stratum,
        n_rows=len(surv),
        _single=single,
        _direct=direct,
        _change=change,
    )


def _stratified(surv: Surv, strata: Integers) -> tuple[Floats, Integers, Integers, Integers]:
    n = len(surv)
    first, last = np.zeros(n, dtype=np.int64), np.full(n, -1, dtype=np.int64)
    times, stratum = [], []
    offset = 0
    order = np.argsort(strata, kind="stable")
    bounds = np.flatnonzero(np.diff(strata[order])) + 1
    for part in np.split(order, bounds):
        own = np.unique(surv.stop[part][surv.event[part]])
        first[part] = offset + np.searchsorted(own, surv.start[part], side="right")
        last[part] = offset + np.searchsorted(own, surv.stop[part], side="right") - 1
        times.append(own)
        stratum.append(np.full(len(own), strata[part[0]], dtype=np.int64))
        offset += len(own)
    if not times:
        return np.empty(0), np.empty(0, dtype=np.int64), first, last
    return np.concatenate(times), np.concatenate(stratum), first, last


def _sum_matrices(
    first: Integers, last: Integers, single: NDArray[np.bool_], n_times: int
) -> tuple[sp.csr_array, sp.csr_array | None]:
    m = len(first)
    at = np.flatnonzero(single)
    direct = sp.csr_array((np.ones(len(at)), (first[at], at)), shape=(n_times, m))
    if len(at) == m:
        return direct, None
    many = np.flatnonzero(~single)
    values = np.concatenate([np.ones(len(many)), -np.ones(len(many))])
    places = (np.concatenate([first[many], last[many] + 1]), np.concatenate([many, many]))
    return direct, sp.csr_array((values, places), shape=(n_times + 1, m))
