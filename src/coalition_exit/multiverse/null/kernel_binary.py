"""Compiled loops: a discrete-time hazard refitted under many weights of clusters, as `kernel_cox` does a Cox model.

This module needs numba; `binary` has the same in NumPy.
"""

# Loops that are compiled as one; splitting them would only hide what is at hand.
# ruff: noqa: PLR0912, PLR0915

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from coalition_exit.multiverse.fits.kernel_binary import row_terms
from coalition_exit.multiverse.null.kernel_cox import backsolve, factorize

_SUMS = {"reassoc", "contract", "nsz"}
_OK, _PART, _NO_EVENTS, _NOT_IDENTIFIED, _NO_MAXIMUM = 0, 1, 2, 3, 4
_GAIN, _STILL = 1e-10, 1e-3
# Rows whose columns stay in the fastest memory while a block is done.
_BLOCK = 128


@njit(cache=True, nogil=True, fastmath=_SUMS)
def evaluate(
    x: Any, y: Any, w: Any, offset: Any, n: int, link: int, beta: Any, first: Any, score: Any, info: Any
) -> float:
    """Fill each row's derivative (of one copy), the score and the information (lower half); return the likelihood."""
    p = len(beta)
    eta, curved, part, own = np.empty(_BLOCK), np.empty(_BLOCK), np.empty(_BLOCK), np.empty(_BLOCK)
    loglik = 0.0
    score[:] = 0.0
    info[:] = 0.0
    for lo in range(0, n, _BLOCK):
        m = min(_BLOCK, n - lo)
        for i in range(m):
            eta[i] = offset[lo + i]
        for j in range(p):
            b, column = beta[j], x[j, lo : lo + m]
            for i in range(m):
                eta[i] += b * column[i]
        for i in range(m):
            value, slope, bend = row_terms(eta[i], y[lo + i], link)
            loglik += w[lo + i] * value
            first[lo + i], own[i], curved[i] = slope, w[lo + i] * slope, w[lo + i] * bend
        for j in range(p):
            column = x[j, lo : lo + m]
            total = 0.0
            for i in range(m):
                part[i] = curved[i] * column[i]
                total += own[i] * column[i]
            score[j] += total
            for q in range(j + 1):
                other = x[q, lo : lo + m]
                total = 0.0
                for i in range(m):
                    total += part[i] * other[i]
                info[j, q] += total
    return loglik


@njit(cache=True, nogil=True)
def refit(
    x: Any, y: Any, case: Any, offset: Any, own: Any, home: Any, copies: Any, link: int, kind: int, focus: Any,
    start: Any, reference: Any, scale: Any, steps: int, first: int, last: int, coef: Any, error: Any, status: Any,
) -> None:  # fmt: skip
    """Refit one model in some of R replicates.

    ``x`` (p, n), ``y``, ``case`` (weights of the rows), ``offset``, ``own`` (n,), ``home`` (G,); ``link`` 0 logit,
    1 cloglog. ``coef``, ``error`` and ``status`` (R, F) are filled; all else as in `kernel_cox.refit`.
    """
    p, n = x.shape
    packed, w, shift = np.empty((p, n)), np.empty(n), np.empty(n)
    outcome, group, slope = np.empty(n, np.bool_), np.empty(n, np.int64), np.empty(n)
    weight_of, influence = np.empty(len(home)), np.empty(len(home))
    score, step, to, unit, v = np.empty(p), np.empty(p), np.empty(p), np.zeros(p), np.empty(p)
    info, lower, alive, still = np.empty((p, p)), np.zeros((p, p)), np.ones(p, np.bool_), np.zeros(len(focus), np.bool_)
    for r in range(first, last):
        for g in range(len(home)):
            weight_of[g] = copies[r, home[g]]
        total = weight_of.sum()
        m, events = 0, 0
        for i in range(n):
            if weight_of[own[i]] > 0:
                w[m], shift[m], outcome[m], group[m] = case[i] * weight_of[own[i]], offset[i], y[i], own[i]
                events += y[i]
                for j in range(p):
                    packed[j, m] = x[j, i]
                m += 1
        if events == 0:
            status[r] = _NO_EVENTS
            continue
        beta = start.copy()
        arrived = False
        at = evaluate(packed, outcome, w, shift, m, link, beta, slope, score, info)
        for iteration in range(1, steps + 1):
            factorize(info, reference, lower, alive)
            backsolve(lower, alive, score, step)
            gain = 0.0
            for j in range(p):
                gain += 0.5 * score[j] * step[j]
            for f in range(len(focus)):
                still[f] = focus[f] >= 0 and abs(step[focus[f]]) <= _STILL * scale[f]
            if not gain < np.inf:
                break
            arrived = gain <= _GAIN * (1.0 + abs(at))
            if arrived or iteration == steps:
                for j in range(p):
                    beta[j] += step[j]
                break
            floor = at - 1e-10 * (1.0 + abs(at))
            length = 1.0
            for _ in range(30):
                for j in range(p):
                    to[j] = beta[j] + length * step[j]
                at = evaluate(packed, outcome, w, shift, m, link, to, slope, score, info)
                if at >= floor:
                    break
                length /= 2.0
            beta[:] = to
        for f in range(len(focus)):
            place = focus[f]
            if place < 0:
                continue
            if not alive[place]:
                status[r, f] = _NOT_IDENTIFIED
                continue
            if not (arrived or still[f]) or not np.isfinite(beta[place]):
                status[r, f] = _NO_MAXIMUM
                continue
            unit[place] = 1.0
            backsolve(lower, alive, unit, v)
            unit[place] = 0.0
            variance = v[place]
            if kind > 0:
                influence[:] = 0.0
                for i in range(m):
                    along, eta = 0.0, shift[i]
                    for j in range(p):
                        along += v[j] * packed[j, i]
                        eta += beta[j] * packed[j, i]
                    influence[group[i]] += row_terms(eta, outcome[i], link)[1] * along * (w[i] / weight_of[group[i]])
                variance = 0.0
                for g in range(len(home)):
                    variance += weight_of[g] * influence[g] ** 2
                if kind == 1:
                    variance *= total / (total - 1.0) if total > 1.0 else np.nan
            if not (variance > 0.0 and variance < np.inf):
                status[r, f] = _NO_MAXIMUM
                continue
            coef[r, f], error[r, f] = beta[place], np.sqrt(variance)
            status[r, f] = _OK if arrived and alive.all() else _PART
