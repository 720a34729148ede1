"""Compiled loops: the same Cox models refitted under many weights of clusters.

Models share risk sets, laid out as in `fits.kernel_cox`. A replicate's rows of weight 0 are left out once for all
models of a block; each model then starts at its estimate. The formulas are those of `survival.cox.partial` with case
weights. This module needs numba; `plain` is the same in NumPy.
"""

# Loops that are compiled as one; splitting them would only hide what is at hand.
# ruff: noqa: PLR0912

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from coalition_exit.multiverse.fits.kernel_cox import gram, predictor

_SUMS = {"reassoc", "contract", "nsz"}
# Status of a refit, as `curves.STATUSES` names them.
_OK, _PART, _NO_EVENTS, _NOT_IDENTIFIED, _NO_MAXIMUM = 0, 1, 2, 3, 4
# Gain in log-likelihood still to come below which the last step is taken and the search ends.
_GAIN = 1e-10
# Share of a covariate's own information, all clusters weighing 1, below which a resample tells nothing of it.
_VANISHED = 1e-9
# A focus coefficient stands still when a step moves it by less than this share of its standard error.
_STILL = 1e-3


@njit(cache=True, nogil=True, fastmath=_SUMS)
def sums(x: Any, cols: Any, lo: int, n: int, a: Any, w: Any, room: Any, s1: Any, s2: Any, second: bool) -> float:
    """Fill s1 = sum w a x and, if asked for, s2 = sum w a x x' (lower half); return sum w a.

    ``room`` has shape (3, n or more).
    """
    weighted = room[0]
    s0 = 0.0
    for i in range(n):
        weighted[i] = a[i] * w[lo + i]
        s0 += weighted[i]
    if second:
        gram(x, cols, lo, n, weighted, room[1], room[2], s1, s2)
        return s0
    for j in range(len(cols)):
        column = x[cols[j], lo : lo + n]
        total = 0.0
        for i in range(n):
            total += weighted[i] * column[i]
        s1[j] = total
    return s0


@njit(cache=True, nogil=True)
def likelihood(
    x: Any, cols: Any, off: Any, deaths: Any, w: Any, efron: bool, beta: Any, work: Any, powers: Any, score: Any,
    info: Any, room: Any,
) -> float:  # fmt: skip
    """Fill score and information (lower half) at beta; return the log-likelihood. ``room``: (5, p, p)."""
    p = len(cols)
    s1, t1, mean, s2, t2 = room[0, 0], room[1, 0], room[2, 0], room[3], room[4]
    loglik = 0.0
    score[:] = 0.0
    info[:] = 0.0
    for k in range(len(deaths)):
        lo, n, d = off[k], off[k + 1] - off[k], deaths[k]
        predictor(x, cols, lo, n, beta, work[0], work[1], powers)
        s0 = sums(x, cols, lo, n, work[1], w, work[2:], s1, s2, True)
        weight = 0.0
        for i in range(d):
            weight += w[lo + i]
            loglik += w[lo + i] * work[0, i]
            for j in range(p):
                score[j] += w[lo + i] * x[cols[j], lo + i]
        steps, t0 = 1, 0.0
        if efron and d > 1:
            steps, weight = d, weight / d
            t0 = sums(x, cols, lo, d, work[1], w, work[2:], t1, t2, True)
        for step in range(steps):
            f = step / d
            den = s0 - f * t0
            loglik -= weight * np.log(den)
            for j in range(p):
                mean[j] = (s1[j] - f * t1[j]) / den if f > 0 else s1[j] / den
                score[j] -= weight * mean[j]
                for m in range(j + 1):
                    second = s2[j, m] - f * t2[j, m] if f > 0 else s2[j, m]
                    info[j, m] += weight * (second / den - mean[j] * mean[m])
    return loglik


@njit(cache=True, nogil=True)
def factorize(info: Any, reference: Any, lower: Any, alive: Any) -> None:
    """Factor the information, leaving out in turn covariates on which nothing is left: as R's coxph does."""
    p = len(reference)
    for j in range(p):
        total = info[j, j]
        for q in range(j):
            if alive[q]:
                total -= lower[j, q] ** 2
        own = info[j, j]
        alive[j] = bool(own > _VANISHED * reference[j] and total > 1e-10 * own)
        if not alive[j]:
            continue
        lower[j, j] = np.sqrt(total)
        for m in range(j + 1, p):
            value = info[m, j]
            for q in range(j):
                if alive[q]:
                    value -= lower[m, q] * lower[j, q]
            lower[m, j] = value / lower[j, j]


@njit(cache=True, nogil=True)
def backsolve(lower: Any, alive: Any, right: Any, out: Any) -> None:
    """Solve with the factor; covariates left out get 0."""
    p = len(right)
    for j in range(p):
        out[j] = 0.0
        if alive[j]:
            total = right[j]
            for q in range(j):
                if alive[q]:
                    total -= lower[j, q] * out[q]
            out[j] = total / lower[j, j]
    for j in range(p - 1, -1, -1):
        if alive[j]:
            total = out[j]
            for q in range(j + 1, p):
                if alive[q]:
                    total -= lower[q, j] * out[q]
            out[j] = total / lower[j, j]


@njit(cache=True, nogil=True)
def climb(
    x: Any, cols: Any, off: Any, deaths: Any, w: Any, efron: bool, beta: Any, reference: Any, focus: Any, scale: Any,
    steps: int, work: Any, powers: Any, room: Any, info: Any, lower: Any, alive: Any, still: Any,
) -> bool:  # fmt: skip
    """Newton's method from ``beta``, at most so many steps; tell whether it arrived.

    ``still`` (F,) is filled with whether each focus coefficient stands still.
    """
    p = len(cols)
    score, step, to = np.empty(p), np.empty(p), np.empty(p)
    loglik = likelihood(x, cols, off, deaths, w, efron, beta, work, powers, score, info, room)
    for iteration in range(1, steps + 1):
        factorize(info, reference, lower, alive)
        backsolve(lower, alive, score, step)
        gain = 0.0
        for j in range(p):
            gain += 0.5 * score[j] * step[j]
        for f in range(len(focus)):
            still[f] = focus[f] >= 0 and abs(step[focus[f]]) <= _STILL * scale[f]
        if not gain < np.inf:
            return False
        if gain <= _GAIN * (1.0 + abs(loglik)) or iteration == steps:
            for j in range(p):
                beta[j] += step[j]
            return gain <= _GAIN * (1.0 + abs(loglik))
        floor = loglik - 1e-10 * (1.0 + abs(loglik))
        length = 1.0
        for _ in range(30):
            for j in range(p):
                to[j] = beta[j] + length * step[j]
            loglik = likelihood(x, cols, off, deaths, w, efron, to, work, powers, score, info, room)
            if loglik >= floor:
                break
            length /= 2.0
        beta[:] = to
    return False


@njit(cache=True, nogil=True)
def spread(
    x: Any, cols: Any, off: Any, deaths: Any, w: Any, efron: bool, beta: Any, own: Any, directions: Any, work: Any,
    powers: Any, room: Any, influence: Any,
) -> None:  # fmt: skip
    """Fill each cluster's influence on F coefficients, (F, G): its score residuals (of one copy) times ``directions``.

    ``directions`` has shape (F, p).
    """
    p, n_focus = len(cols), len(directions)
    s1, t1, mean, s2, t2 = room[0, 0], room[1, 0], room[2, 0], room[3], room[4]
    along = np.empty((4, n_focus))
    z = work[5]
    influence[:] = 0.0
    for k in range(len(deaths)):
        lo, n, d = off[k], off[k + 1] - off[k], deaths[k]
        predictor(x, cols, lo, n, beta, work[0], work[1], powers)
        a = work[1]
        s0 = sums(x, cols, lo, n, a, w, work[2:], s1, s2, False)
        weight = 0.0
        for i in range(d):
            weight += w[lo + i]
        steps, t0 = 1, 0.0
        if efron and d > 1:
            steps, weight = d, weight / d
            t0 = sums(x, cols, lo, d, a, w, work[2:], t1, t2, False)
        hazard, taken = 0.0, 0.0
        along[:] = 0.0
        for step in range(steps):
            f = step / d
            den = s0 - f * t0
            c = weight / den
            hazard += c
            taken += c * f
            for j in range(p):
                mean[j] = (s1[j] - f * t1[j]) / den if f > 0 else s1[j] / den
            for q in range(n_focus):
                value = 0.0
                for j in range(p):
                    value += mean[j] * directions[q, j]
                along[0, q] += value / steps
                along[1, q] += c * value
                along[2, q] += c * f * value
        for q in range(n_focus):
            average, hm, hmf = along[0, q], along[1, q], along[2, q]
            for i in range(n):
                z[i] = 0.0
            for j in range(p):
                column, v = x[cols[j], lo : lo + n], directions[q, j]
                for i in range(n):
                    z[i] += v * column[i]
            for i in range(n):
                influence[q, own[lo + i]] += a[i] * (hm - z[i] * hazard)
            for i in range(d):
                influence[q, own[lo + i]] += z[i] - average + a[i] * (z[i] * taken - hmf)


@njit(cache=True, nogil=True)
def refit(
    x: Any, off: Any, deaths: Any, own: Any, home: Any, copies: Any, cols: Any, count: Any, focus: Any, efron: Any,
    kind: Any, start: Any, reference: Any, scale: Any, steps: int, first: int, last: int, coef: Any, error: Any,
    status: Any,
) -> None:  # fmt: skip
    """Refit B models in some of R replicates.

    Parameters
    ----------
    x, off, deaths
        Covariates (C, m) laid out risk set by risk set, the events first; where risk sets begin (K + 1,);
        events of each (K,).
    own, home
        Cluster, for the models' standard errors, of each row laid out: (m,); the drawn cluster within which each of
        the G of them lies, those without a row here too: (G,).
    copies
        How often each cluster is drawn: (R, D).
    cols, count, focus
        Covariates of each model, (B, P), their number, (B,), places of the focus terms among them, (B, F), -1
        for none.
    efron, kind
        Ties; standard errors: 0 the model's, 1 sandwich with G / (G - 1), 2 sandwich without.
    start, reference, scale
        Where to start (B, P); each covariate's information with weights of 1 (B, P); standard errors (B, F).
    steps
        Newton steps at most.
    first, last
        The replicates, ``last`` exclusive.
    coef, error, status
        Filled: (R, B, F).
    """
    n_rows, n_times = len(own), len(deaths)
    widest = 0
    for k in range(n_times):
        widest = max(widest, off[k + 1] - off[k])
    work, powers = np.empty((6, widest)), np.empty(1100)
    for i in range(1100):
        powers[i] = 2.0 ** (-i)
    influence, weight_of, weight = np.empty((focus.shape[1], len(home))), np.empty(len(home)), np.empty(n_rows)
    kept, off_r, deaths_r = np.empty(n_rows, np.int64), np.empty(n_times + 1, np.int64), np.empty(n_times, np.int64)
    packed = np.empty((len(x), n_rows))
    for r in range(first, last):
        for g in range(len(home)):
            weight_of[g] = copies[r, home[g]]
        for i in range(n_rows):
            weight[i] = weight_of[own[i]]
        size, times = _pack(off, deaths, weight, kept, off_r, deaths_r)
        if times == 0:
            status[r] = _NO_EVENTS
            continue
        w, own_r = np.empty(size), np.empty(size, np.int64)
        for i in range(size):
            w[i], own_r[i] = weight[kept[i]], own[kept[i]]
        for c in range(len(x)):
            for i in range(size):
                packed[c, i] = x[c, kept[i]]
        total = weight_of.sum()
        for b in range(len(count)):
            p = count[b]
            _one(
                packed, cols[b, :p], off_r[: times + 1], deaths_r[:times], w, efron[b], start[b, :p].copy(),
                reference[b, :p], focus[b], scale[b], steps, own_r, weight_of, total, kind[b], work, powers,
                influence, coef[r, b], error[r, b], status[r, b],
            )  # fmt: skip


@njit(cache=True, nogil=True)
def _pack(off: Any, deaths: Any, weight: Any, kept: Any, off_r: Any, deaths_r: Any) -> Any:
    """Find the rows of weight above 0 in risk sets that still have an event; return their and the sets' number."""
    size, times = 0, 0
    off_r[0] = 0
    for k in range(len(deaths)):
        d = 0
        for i in range(off[k], off[k] + deaths[k]):
            d += weight[i] > 0
        if d == 0:
            continue
        for i in range(off[k], off[k + 1]):
            if weight[i] > 0:
                kept[size] = i
                size += 1
        deaths_r[times] = d
        times += 1
        off_r[times] = size
    return size, times


@njit(cache=True, nogil=True)
def _one(
    x: Any, cols: Any, off: Any, deaths: Any, w: Any, efron: bool, beta: Any, reference: Any, focus: Any, scale: Any,
    steps: int, own: Any, weight_of: Any, total: float, kind: int, work: Any, powers: Any, influence: Any, coef: Any,
    error: Any, status: Any,
) -> None:  # fmt: skip
    p = len(cols)
    info, lower, alive = np.empty((p, p)), np.zeros((p, p)), np.ones(p, np.bool_)
    room, still, unit = np.empty((5, p, p)), np.zeros(len(focus), np.bool_), np.zeros(p)
    directions = np.zeros((len(focus), p))
    arrived = climb(
        x, cols, off, deaths, w, efron, beta, reference, focus, scale, steps, work, powers, room, info, lower, alive,
        still,
    )  # fmt: skip
    some = False
    for f in range(len(focus)):
        at = focus[f]
        if at < 0:
            continue
        if not alive[at]:
            status[f] = _NOT_IDENTIFIED
        elif not (arrived or still[f]) or not np.isfinite(beta[at]):
            status[f] = _NO_MAXIMUM
        else:
            unit[at] = 1.0
            backsolve(lower, alive, unit, directions[f])
            unit[at] = 0.0
            status[f], some = _OK, True
    if kind > 0 and some:
        spread(x, cols, off, deaths, w, efron, beta, own, directions, work, powers, room, influence)
    for f in range(len(focus)):
        at = focus[f]
        if at < 0 or status[f] != _OK:
            continue
        variance = directions[f, at]
        if kind > 0:
            variance = 0.0
            for g in range(influence.shape[1]):
                variance += weight_of[g] * influence[f, g] ** 2
            if kind == 1:
                variance *= total / (total - 1.0) if total > 1.0 else np.nan
        if not (variance > 0.0 and variance < np.inf):
            status[f] = _NO_MAXIMUM
            continue
        coef[f], error[f] = beta[at], np.sqrt(variance)
        status[f] = _OK if arrived and alive.all() else _PART
