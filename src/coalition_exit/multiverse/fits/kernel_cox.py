"""Compiled loops: many Cox models on the same risk sets, each with covariates of its own.

Rows are laid out risk set by risk set (a row at risk at several event times is there several times),
the events of each risk set first, each covariate contiguous and centred within its risk sets. What one
risk set of one model needs then fits the fastest memory: linear predictor, exp(), moments and score
residuals of a risk set are done while it is there.

This module needs numba and is imported only where it is there (`backend`). Every function works on
one model at a time, so what comes out for a model does not depend on its neighbours.
"""

# Loops that are compiled as one; splitting them would only hide what is at hand.
# ruff: noqa: PLR0912

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_LOG2E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
# Sums may be taken in any order; nothing else about the arithmetic is relaxed.
_SUMS = {"reassoc", "contract", "nsz"}


@njit(cache=True, nogil=True)
def vector_exp(x: Any, out: Any, powers: Any, n: int) -> None:
    """Write exp(x) for x <= 0, to 3e-15 relative; below -700 it is exp(-700). ``powers``: 2^0, 2^-1, ..."""
    for i in range(n):
        v = max(x[i], -700.0)
        # v <= 0, so cutting off rounds to the nearest whole number.
        number = np.int32(v * _LOG2E - 0.5)
        r = (v - number * _LN2_HIGH) - number * _LN2_LOW
        p = 1.0 / 6227020800.0
        p = p * r + 1.0 / 479001600.0
        p = p * r + 1.0 / 39916800.0
        p = p * r + 1.0 / 3628800.0
        p = p * r + 1.0 / 362880.0
        p = p * r + 1.0 / 40320.0
        p = p * r + 1.0 / 5040.0
        p = p * r + 1.0 / 720.0
        p = p * r + 1.0 / 120.0
        p = p * r + 1.0 / 24.0
        p = p * r + 1.0 / 6.0
        p = p * r + 0.5
        p = p * r + 1.0
        out[i] = (p * r + 1.0) * powers[-number]


@njit(cache=True, nogil=True, fastmath=_SUMS)
def predictor(x: Any, cols: Any, lo: int, n: int, beta: Any, eta: Any, a: Any, powers: Any) -> float:
    """Fill eta = x b - top and a = exp(eta) of a risk set, top being the largest x b; return top."""
    p = len(cols)
    for i in range(n):
        eta[i] = 0.0
    for j in range(0, p - 1, 2):
        b0, b1, c0, c1 = beta[j], beta[j + 1], x[cols[j], lo : lo + n], x[cols[j + 1], lo : lo + n]
        for i in range(n):
            eta[i] += b0 * c0[i] + b1 * c1[i]
    if p % 2 == 1:
        b0, c0 = beta[p - 1], x[cols[p - 1], lo : lo + n]
        for i in range(n):
            eta[i] += b0 * c0[i]
    top = eta[0]
    for i in range(n):
        top = max(top, eta[i])
    for i in range(n):
        eta[i] -= top
    vector_exp(eta, a, powers, n)
    return top


@njit(cache=True, nogil=True, fastmath=_SUMS)
def gram(x: Any, cols: Any, lo: int, n: int, a: Any, w0: Any, w1: Any, s1: Any, s2: Any) -> None:
    """Fill s1 = sum a x and s2 = sum a x x' (lower half); ``w0`` and ``w1`` are room for n numbers each.

    Two rows of s2 and two columns at a time: each value is loaded once for two products.
    """
    p = len(cols)
    for j in range(0, p, 2):
        two = j + 1 < p
        c0, c1 = x[cols[j], lo : lo + n], x[cols[j + 1 if two else j], lo : lo + n]
        t0, t1, d0, d1, d2 = 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(n):
            v0, v1 = a[i] * c0[i], a[i] * c1[i]
            w0[i], w1[i] = v0, v1
            t0 += v0
            t1 += v1
            d0 += v0 * c0[i]
            d1 += v1 * c0[i]
            d2 += v1 * c1[i]
        s1[j], s2[j, j] = t0, d0
        if two:
            s1[j + 1], s2[j + 1, j], s2[j + 1, j + 1] = t1, d1, d2
        for m in range(0, j, 2):
            e0, e1 = x[cols[m], lo : lo + n], x[cols[m + 1], lo : lo + n]
            q0, q1, q2, q3 = 0.0, 0.0, 0.0, 0.0
            for i in range(n):
                q0 += w0[i] * e0[i]
                q1 += w0[i] * e1[i]
                q2 += w1[i] * e0[i]
                q3 += w1[i] * e1[i]
            s2[j, m], s2[j, m + 1] = q0, q1
            if two:
                s2[j + 1, m], s2[j + 1, m + 1] = q2, q3


@njit(cache=True, fastmath=_SUMS)
def moments(x: Any, cols: Any, lo: int, n: int, beta: Any, work: Any, powers: Any, s1: Any, s2: Any) -> Any:
    """Fill a = exp(x b - top), s1 = sum a x, s2 = sum a x x' (lower half); return sum a and top.

    ``work``, shape (4, n or more), holds x b - top, a, and room.
    """
    a = work[1]
    top = predictor(x, cols, lo, n, beta, work[0], a, powers)
    s0 = 0.0
    for i in range(n):
        s0 += a[i]
    gram(x, cols, lo, n, a, work[2], work[3], s1, s2)
    return s0, top


@njit(cache=True)
def tied_moments(x: Any, cols: Any, lo: int, d: int, a: Any, t1: Any, t2: Any) -> float:
    """Fill the same sums over the d events of a risk set; return the sum of a."""
    p = len(cols)
    t1[:] = 0.0
    t2[:] = 0.0
    t0 = 0.0
    for i in range(d):
        t0 += a[i]
        for j in range(p):
            w = a[i] * x[cols[j], lo + i]
            t1[j] += w
            for m in range(j + 1):
                t2[j, m] += w * x[cols[m], lo + i]
    return t0


@njit(cache=True)
def evaluate(
    x: Any, cols: Any, off: Any, deaths: Any, efron: bool, beta: Any, work: Any, powers: Any, score: Any, info: Any,
    room: Any,
) -> float:  # fmt: skip
    """Fill score and information (lower half) at beta; return the log-likelihood. ``room``: (6, p, p)."""
    p = len(cols)
    s1, t1, mean, s2, t2 = room[0, 0], room[1, 0], room[2, 0], room[3], room[4]
    loglik = 0.0
    score[:] = 0.0
    info[:] = 0.0
    for k in range(len(deaths)):
        lo, n, d = off[k], off[k + 1] - off[k], deaths[k]
        s0, _ = moments(x, cols, lo, n, beta, work, powers, s1, s2)
        for i in range(d):
            loglik += work[0, i]
            for j in range(p):
                score[j] += x[cols[j], lo + i]
        steps, weight, t0 = 1, float(d), 0.0
        if efron and d > 1:
            steps, weight, t0 = d, 1.0, tied_moments(x, cols, lo, d, work[1], t1, t2)
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


@njit(cache=True)
def cholesky(matrix: Any, scale: Any, lower: Any) -> float:
    """Factor matrix / (scale scale'), given by its lower half; return the smallest squared pivot (0: failed)."""
    p = len(scale)
    least = np.inf
    for j in range(p):
        for m in range(j + 1):
            total = matrix[j, m] / (scale[j] * scale[m])
            for q in range(m):
                total -= lower[j, q] * lower[m, q]
            if j > m:
                lower[j, m] = total / lower[m, m]
            else:
                if not (total > 0.0 and total < np.inf):
                    return 0.0
                least = min(least, total)
                lower[j, j] = np.sqrt(total)
    return least


@njit(cache=True)
def solve(lower: Any, scale: Any, right: Any, out: Any) -> None:
    """Solve with the factor: out = (scale scale' * L L')^-1 right."""
    p = len(scale)
    for j in range(p):
        total = right[j] / scale[j]
        for q in range(j):
            total -= lower[j, q] * out[q]
        out[j] = total / lower[j, j]
    for j in range(p - 1, -1, -1):
        total = out[j]
        for q in range(j + 1, p):
            total -= lower[q, j] * out[q]
        out[j] = total / lower[j, j]
    for j in range(p):
        out[j] /= scale[j]


@njit(cache=True, fastmath=_SUMS)
def null_information(x: Any, first: int, second: int, off: Any, deaths: Any, efron: bool) -> float:
    """Return the information on a pair of covariates at 0; that of a pair is the same in every model."""
    total = 0.0
    for k in range(len(deaths)):
        lo, n, d = off[k], off[k + 1] - off[k], deaths[k]
        a, b = x[first, lo : lo + n], x[second, lo : lo + n]
        s1, s2, product = 0.0, 0.0, 0.0
        for i in range(n):
            s1 += a[i]
            s2 += b[i]
            product += a[i] * b[i]
        if not efron or d == 1:
            total += d * (product / n - (s1 / n) * (s2 / n))
            continue
        t1, t2, tied = 0.0, 0.0, 0.0
        for i in range(d):
            t1 += a[i]
            t2 += b[i]
            tied += a[i] * b[i]
        for step in range(d):
            f = step / d
            left = n - step
            total += (product - f * tied) / left - ((s1 - f * t1) / left) * ((s2 - f * t2) / left)
    return total


@njit(cache=True, fastmath=_SUMS)
def null_score(x: Any, column: int, off: Any, deaths: Any, efron: bool) -> float:
    """Return the score of a covariate at 0."""
    total = 0.0
    for k in range(len(deaths)):
        lo, n, d = off[k], off[k + 1] - off[k], deaths[k]
        a = x[column, lo : lo + n]
        s1, t1 = 0.0, 0.0
        for i in range(n):
            s1 += a[i]
        for i in range(d):
            t1 += a[i]
        total += t1
        if not efron or d == 1:
            total -= d * (s1 / n)
            continue
        for step in range(d):
            total -= (s1 - step / d * t1) / (n - step)
    return total


@njit(cache=True)
def null_loglik(off: Any, deaths: Any, efron: bool) -> float:
    """Return the log-likelihood at 0."""
    total = 0.0
    for k in range(len(deaths)):
        n, d = off[k + 1] - off[k], deaths[k]
        if not efron:
            total -= d * np.log(n)
            continue
        for step in range(d):
            total -= np.log(n - step)
    return total


@njit(cache=True)
def at_zero(
    x: Any, cols: Any, off: Any, deaths: Any, efron: bool, known: Any, score: Any, info: Any
) -> None:  # fmt: skip
    """Fill score and information (lower half) at 0.

    ``known``, shape (C, C + 1), holds what other models on the same risk sets have asked for: the information on
    each pair of covariates and, last, the score; NaN where nobody has.
    """
    for j in range(len(cols)):
        own = cols[j]
        if np.isnan(known[own, -1]):
            known[own, -1] = null_score(x, own, off, deaths, efron)
        score[j] = known[own, -1]
        for m in range(j + 1):
            low, high = min(own, cols[m]), max(own, cols[m])
            if np.isnan(known[high, low]):
                known[high, low] = null_information(x, high, low, off, deaths, efron)
            info[j, m] = known[high, low]


@njit(cache=True)
def newton(
    x: Any, cols: Any, off: Any, deaths: Any, efron: bool, size: Any, work: Any, powers: Any, beta: Any, info: Any,
    room: Any, scale: Any, known: Any,
) -> Any:  # fmt: skip
    """Maximize as `survival.cox.solver` does; return (arrived, the least log-likelihood allowed, that at 0).

    Anything but a plain ascent to a maximum far from every limit comes back as not arrived: the estimator itself
    then says what is the matter. The search starts at 0, where score and information are ``known`` (`at_zero`)
    from other models; the likelihood at the last point is left to the pass that follows anyway.
    """
    p = len(cols)
    score, step, to, lower = np.empty(p), np.empty(p), np.empty(p), np.empty((p, p))
    beta[:] = 0.0
    at_zero(x, cols, off, deaths, efron, known, score, info)
    null = null_loglik(off, deaths, efron)
    total = 0.0
    for k in range(len(deaths)):
        total += deaths[k]
    for j in range(p):
        if not info[j, j] > 1e-9 * size[j] ** 2 * total:
            return False, null, null
        scale[j] = np.sqrt(info[j, j])
    if cholesky(info, scale, lower) < 1e-6:
        return False, null, null
    for j in range(p):
        scale[j] /= np.sqrt(total)
    loglik, last = null, np.inf
    for iteration in range(1, 21):
        if cholesky(info, scale, lower) == 0.0:
            return False, loglik, null
        solve(lower, scale, score, step)
        gain, reach = 0.0, 0.0
        for j in range(p):
            gain += 0.5 * score[j] * step[j]
            reach += abs(step[j]) * size[j]
        if not gain < np.inf or (iteration >= 8 and gain >= 0.2 * last and gain > 5e-9):
            return False, loglik, null
        done = gain <= 1e-14 * (1.0 + abs(loglik)) or (gain <= 5e-9 and gain >= 0.25 * last)
        last = gain
        if done and reach > 1e-2:
            return False, loglik, null
        floor = loglik - 1e-10 * (1.0 + abs(loglik))
        if done:
            for j in range(p):
                beta[j] += step[j]
            return True, floor, null
        length = 1.0
        for _ in range(30):
            for j in range(p):
                to[j] = beta[j] + length * step[j]
            new = evaluate(x, cols, off, deaths, efron, to, work, powers, score, info, room)
            if new >= floor:
                break
            length /= 2.0
        if not new >= floor:
            return False, loglik, null
        loglik = new
        beta[:] = to
    return False, loglik, null
