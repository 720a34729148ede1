"""Cumulative incidence of competing exits on plain arrays, its errors, and Gray's test.

A row is at risk at t when start < t <= stop. With Y(t) the weight at risk, dN_c(t) that of exits for
cause c, dN the exits for any cause and S the product of 1 - dN / Y, the incidence of cause c is
F_c(t) = sum over s <= t of S(s-) dN_c(s) / Y(s).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from coalition_exit.survival.data.surv import Floats, Integers


@dataclass(frozen=True, eq=False)
class AalenJohansen:
    """Curves of one group over K distinct times and C causes.

    Attributes
    ----------
    times : shape (K,)
        Ends of follow-up, ascending.
    n_risk, n_censor : shape (K,)
        Weight at risk, and weight of the subjects whose follow-up ends without event.
    n_event : shape (K, C)
        Weight of the events.
    incidence, std_error : shape (K, C)
        F_c and its infinitesimal-jackknife error.
    event_free, event_free_error : shape (K,)
        S and its error.
    """

    times: Floats
    n_risk: Floats
    n_censor: Floats
    n_event: Floats
    incidence: Floats
    std_error: Floats
    event_free: Floats
    event_free_error: Floats


def aalen_johansen(
    start: Floats,
    stop: Floats,
    codes: Integers,
    n_cause: int,
    *,
    ends: NDArray[np.bool_],
    unit: Integers,
    weights: Floats,
) -> AalenJohansen:
    """Estimate cumulative incidences and their errors in n log n steps.

    Parameters
    ----------
    start, stop, codes
        Rows (start, stop] with the code of their exit, 0 for none: shape (n,).
    n_cause
        Number of causes C.
    ends
        Whether follow-up ends with the row (False where the subject's next row goes on): shape (n,).
    unit
        Unit of the jackknife of each row, shape (n,).
    weights
        Case weights, shape (n,).

    Notes
    -----
    The derivative of F_c(t) by the weight of a row is a sum over s <= t of S(s-) / Y(s) dM_c(s) -
    (F_c(t) - F_c(s)) dM(s) / (Y(s) - dN(s)), with dM the row's own exits less its share of all. While
    the row is at risk it moves with two common step functions A and B, so the units' sums of squares
    are kept up to date by what changes at the rows' entries and exits; no n x K table is formed.
    """
    times = np.unique(stop[ends | (codes > 0)])
    first = np.searchsorted(times, start, side="right")
    last = np.searchsorted(times, stop, side="right") - 1
    used = first <= last
    first, last, codes_, unit, weights_ = first[used], last[used], codes[used], unit[used], weights[used]
    finished = (times[last] == stop[used]) & (ends[used] | (codes_ > 0))
    size = len(times)
    n_risk = _tally(first, weights_, size + 1) - _tally(last + 1, weights_, size + 1)
    n_risk = np.cumsum(n_risk)[:-1]
    n_event = np.column_stack([_tally(last, np.where(codes_ == c, weights_, 0.0), size) for c in range(1, n_cause + 1)])
    n_censor = _tally(last, np.where(finished & (codes_ == 0), weights_, 0.0), size)
    total = n_event.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(total[:, None] > 0, n_event / n_risk[:, None], 0.0)
    gone = (total > 0) & (n_risk - total <= 1e-12 * n_risk)
    event_free = np.asarray(np.cumprod(np.where(gone, 0.0, 1 - share.sum(axis=1))), dtype=np.float64)
    before = np.append(1.0, event_free[:-1])
    incidence = np.cumsum(before[:, None] * share, axis=0)
    rate = np.where(total > 0, before / np.where(n_risk > 0, n_risk, 1.0), 0.0)
    # Where all at risk leave, F(t) - F(s) is 0 from there on, and so is the second term.
    leave = np.where((total > 0) & ~gone, 1 / np.where(gone | (total == 0), 1.0, n_risk - total), 0.0)
    sums = _UnitSums(first, last, codes_ > 0, unit, weights_, size)
    drift_b = np.cumsum(leave * share.sum(axis=1))
    square_b = sums.squares(drift_b, leave)
    variance = np.empty_like(incidence)
    for c in range(n_cause):
        drift_a = np.cumsum(rate * share[:, c] + incidence[:, c] * leave * share.sum(axis=1))
        own = codes_ == c + 1
        jump = np.where(own, rate[last], 0.0) + incidence[last, c] * leave[last]
        variance[:, c] = sums.combine(drift_a, jump, drift_b, leave[last], incidence[:, c])
    return AalenJohansen(
        times, n_risk, n_censor, n_event, incidence, np.sqrt(np.maximum(variance, 0.0)),
        event_free, event_free * np.sqrt(np.maximum(square_b, 0.0)),
    )  # fmt: skip


def _tally(at: Integers, values: Floats, size: int) -> Floats:
    return np.asarray(np.bincount(at, weights=values, minlength=size), dtype=np.float64)


class _UnitSums:
    """Sums over units of squared influence at each time, from the rows' entries and exits."""

    def __init__(
        self, first: Integers, last: Integers, event: NDArray[np.bool_], unit: Integers, weights: Floats, size: int
    ) -> None:
        self.first, self.last, self.event, self.weights, self.size = first, last, event, weights, size
        keys = np.concatenate([unit * size + first, unit * size + last])
        unique, self._place = np.unique(keys, return_inverse=True)
        owner, self._when = unique // size, unique % size
        self._begins = np.append(True, owner[1:] != owner[:-1])
        group = np.cumsum(self._begins) - 1
        self._start = np.flatnonzero(self._begins)[group]
        self._at_risk = self._running(np.concatenate([weights, -weights]))

    def _running(self, changes: Floats) -> Floats:
        """State of each unit after each of its changes."""
        summed = _tally(self._place, changes, len(self._when))
        running = np.cumsum(summed)
        return np.asarray(running - running[self._start] + summed[self._start])

    def _level(self, drift: Floats, jump: Floats) -> Floats:
        """Constant part of the units' influence: value at entry less drift at exit, plus jumps."""
        entered = np.append(0.0, drift)[self.first]
        final = np.where(self.event, jump, 0.0) - drift[self.last]
        return self._running(np.concatenate([self.weights * entered, self.weights * final]))

    def _total(self, x: Floats, y: Floats) -> Floats:
        """Sum of x y over units at each time."""
        product = x * y
        change = product - np.where(self._begins, 0.0, np.append(0.0, product[:-1]))
        return np.asarray(np.cumsum(_tally(self._when, change, self.size)))

    def squares(self, drift: Floats, jump: Floats) -> Floats:
        level, at_risk = self._level(drift, jump[self.last]), self._at_risk
        cross, own = self._total(level, at_risk), self._total(at_risk, at_risk)
        return np.asarray(self._total(level, level) - 2 * drift * cross + drift**2 * own)

    def combine(self, drift_a: Floats, jump_a: Floats, drift_b: Floats, jump_b: Floats, factor: Floats) -> Floats:
        """Sum over units of (a - factor b)^2 at each time, a and b the influences with those drifts."""
        a, b, w = self._level(drift_a, jump_a), self._level(drift_b, jump_b), self._at_risk
        aw, bw, ww = self._total(a, w), self._total(b, w), self._total(w, w)
        aa = self._total(a, a) - 2 * drift_a * aw + drift_a**2 * ww
        ab = self._total(a, b) - drift_b * aw - drift_a * bw + drift_a * drift_b * ww
        bb = self._total(b, b) - 2 * drift_b * bw + drift_b**2 * ww
        return np.asarray(aa - 2 * factor * ab + factor**2 * bb)


def gray_errors(curve: AalenJohansen) -> Floats:
    """Errors of ``cmprsk::cuminc`` for right-censored data without weights: shape (K, C).

    Aalen's variance with a correction for tied exits; it changes at the exits for the own cause.
    """
    total = curve.n_event.sum(axis=1)
    before = np.append(1.0, curve.event_free[:-1])
    out = np.empty_like(curve.incidence)
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(curve.event_free > 0, 1 / curve.event_free, 0.0)
        for c in range(out.shape[1]):
            f, own = curve.incidence[:, c], curve.n_event[:, c]
            v1, v2, v3 = np.zeros(len(f)), np.zeros(len(f)), np.zeros(len(f))
            for exits, t4 in ((total - own, f * inverse), (own, 1 + f * inverse)):
                ties = np.where(exits > 1, 1 - (exits - 1) / (curve.n_risk - 1), 1.0)
                t6 = np.where(exits > 0, before**2 * ties * exits / curve.n_risk**2, 0.0)
                if exits is not own:
                    t6 = np.where(curve.event_free > 0, t6, 0.0)
                v1, v2, v3 = v1 + t4**2 * t6, v2 + inverse * t4 * t6, v3 + inverse**2 * t6
            v1, v2, v3 = np.cumsum(v1), np.cumsum(v2), np.cumsum(v3)
            variance = v1 + f**2 * v3 - 2 * f * v2
            place = np.maximum.accumulate(np.where(own > 0, np.arange(len(f)), -1))
            out[:, c] = np.where(place >= 0, np.sqrt(np.maximum(variance[np.maximum(place, 0)], 0.0)), 0.0)
    return out


def incidence_interval(estimate: Floats, error: Floats, conf_type: str, level: float) -> tuple[Floats, Floats]:
    """Pointwise interval as R's ``survfit``: "log", "log-log" or "plain"; NaN where the estimate is 0."""
    reach = ndtri(0.5 + level / 2) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        if conf_type == "plain":
            return np.maximum(estimate - reach, 0.0), np.minimum(estimate + reach, 1.0)
        inside = np.where(estimate > 0, estimate, np.nan)
        if conf_type == "log":
            factor = np.exp(reach / inside)
            return inside / factor, np.minimum(inside * factor, 1.0)
        inside = np.where(inside < 1, inside, np.nan)
        log = np.log(inside)
        shift = reach / inside / log
        return np.exp(log * np.exp(-shift)), np.exp(log * np.exp(shift))


def gray_score(time: Floats, codes: Integers, group: Integers, n_group: int, rho: float) -> tuple[Floats, Floats]:
    """Score and variance of Gray's test in one stratum of right-censored data.

    Parameters
    ----------
    time, codes, group
        Times, exits (0 none, 1 the cause in question, 2 another), groups 0 .. G-1: shape (n,).
    n_group
        Number of groups G.
    rho
        Power of 1 - F in the weight.

    Returns
    -------
    score : shape (G - 1,)
    variance : shape (G - 1, G - 1)

    References
    ----------
    Gray, R. J. (1988), Annals of Statistics 16, 1141-1154, as ``cmprsk::cuminc`` computes it.
    """
    times, at = np.unique(time, return_inverse=True)
    shape = (len(times), n_group)
    flat = at * n_group + group
    d1, d2, out = (
        _tally(flat, np.asarray(kind, dtype=float), shape[0] * n_group).reshape(shape)
        for kind in (codes == 1, codes == 2, np.ones(len(codes)))
    )
    at_risk = np.cumsum(out[::-1], axis=0)[::-1]
    some = (d1 + d2).sum(axis=1) > 0
    d1, d2, at_risk = d1[some], d2[some], at_risk[some]
    present = at_risk > 0
    safe = np.where(present, at_risk, 1.0)
    after = np.cumprod(1 - (d1 + d2) / safe, axis=0)
    one = np.ones((1, n_group))
    before = np.concatenate([one, after[:-1]])
    own = np.cumsum(before * d1 / safe, axis=0)
    own_before = np.concatenate([0 * one, own[:-1]])
    h = np.where(present, at_risk / np.where(before > 0, before, 1.0), 0.0)
    n1, total = d1.sum(axis=1), h.sum(axis=1)
    pooled = np.cumsum(n1 / total)
    pooled_before = np.append(0.0, pooled[:-1])
    weight = (1 - pooled_before) ** rho
    r = h * (1 - own_before)
    score = (weight[:, None] * (d1 - (n1 / r.sum(axis=1))[:, None] * r)).sum(axis=0)
    a = -h[:, :, None] * h[:, None, :] / total[:, None, None]
    diagonal = np.arange(n_group)
    a[:, diagonal, diagonal] += h
    a *= weight[:, None, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        # Where the pooled incidence is 1 while two groups are still at risk, the variance has no value.
        c = np.cumsum(np.where(a == 0, 0.0, a * (n1 / (total * (1 - pooled_before)))[:, None, None]), axis=0)
        left = np.where(after > 0, (1 - pooled)[:, None] / after, 0.0)
        ties1 = np.where(n1[:, None] > 1, 1 - (n1[:, None] - 1) / (total[:, None] * before - 1), 1.0)
        ties2 = np.where(d2 > 1, 1 - (d2 - 1) / (at_risk - 1), 1.0)
    size1 = np.where(present & (n1[:, None] > 0), ties1 * before * n1[:, None] / (total[:, None] * safe), 0.0)
    size2 = np.where((after > 0) & (d2 > 0), ties2 * before**2 * d2 / safe**2, 0.0)
    # u[k, i, g]: what an exit in group g at time k adds to group i's score, but for the part that
    # comes with the final c.
    u1, u2 = a - (1 - left)[:, None, :] * c, left[:, None, :] * c
    v3 = ((1 - left) ** 2 * size1 + left**2 * size2).sum(axis=0)
    v2 = (u1 * ((1 - left) * size1)[:, None, :] - u2 * (left * size2)[:, None, :]).sum(axis=0)
    variance = np.einsum("kig,kjg,kg->ij", u1, u1, size1, optimize=True)
    variance = variance + np.einsum("kig,kjg,kg->ij", u2, u2, size2, optimize=True)
    final = c[-1]
    variance = variance + (final * v3) @ final.T + final @ v2.T + v2 @ final.T
    return score[:-1], variance[:-1, :-1]
