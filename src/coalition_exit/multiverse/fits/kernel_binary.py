"""Compiled loops for discrete-time hazards: many binary regressions on the same person-periods.

Columns are centred and scaled beforehand. The likelihoods are those of `survival.discrete.glm_links`, the
steps those of `survival.discrete.glm_solver`.
"""

# Loops that are compiled as one; splitting them would only hide what is at hand.
# ruff: noqa: PLR0912, PLR0915

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from coalition_exit.multiverse.fits.kernel_cox import cholesky, solve

LOGIT, CLOGLOG = 0, 1
_SUMS = {"reassoc", "contract", "nsz"}
# Rows whose columns stay in the fastest memory while a block is done.
_BLOCK = 128


@njit(cache=True)
def row_terms(eta: float, y: bool, link: int) -> Any:
    """Log-likelihood of a row, its derivative by the linear predictor, and minus the second one."""
    if link == LOGIT:
        signed = eta if y else -eta
        small = np.exp(-abs(signed))
        large = 1.0 / (1.0 + small)
        wrong = small * large if signed > 0 else large
        return min(signed, 0.0) - np.log1p(small), wrong if y else -wrong, small * large * large
    mu = np.exp(min(eta, 700.0))
    if not y:
        return -mu, -mu, mu
    if mu > 700.0:
        return 0.0, 0.0, 0.0
    ratio = mu / np.expm1(mu) if mu > 0 else 1.0
    if mu < 0.02:
        square = mu * mu
        excess = mu / 2 + square / 12 - square**2 / 720 + square**3 / 30240 - square**4 / 1209600
    else:
        excess = ratio + mu - 1.0
    return np.log(-np.expm1(-mu)) if mu > 0 else eta, ratio, ratio * excess


@njit(cache=True, fastmath=_SUMS)
def evaluate_binary(z: Any, cols: Any, y: Any, link: int, beta: Any, first: Any, score: Any, info: Any) -> float:
    """Fill the rows' derivatives, the score and the information (lower half); return the log-likelihood."""
    p, n = len(cols), z.shape[1]
    eta, w, part = np.empty(_BLOCK), np.empty(_BLOCK), np.empty(_BLOCK)
    loglik = 0.0
    score[:] = 0.0
    info[:] = 0.0
    for lo in range(0, n, _BLOCK):
        m = min(_BLOCK, n - lo)
        eta[:] = 0.0
        for j in range(p):
            b, column = beta[j], z[cols[j], lo : lo + m]
            for i in range(m):
                eta[i] += b * column[i]
        for i in range(m):
            value, slope, w[i] = row_terms(eta[i], y[lo + i], link)
            loglik += value
            first[lo + i] = slope
        for j in range(p):
            column, own = z[cols[j], lo : lo + m], first[lo : lo + m]
            total = 0.0
            for i in range(m):
                part[i] = w[i] * column[i]
                total += own[i] * column[i]
            score[j] += total
            for q in range(j + 1):
                other = z[cols[q], lo : lo + m]
                total = 0.0
                for i in range(m):
                    total += part[i] * other[i]
                info[j, q] += total
    return loglik


@njit(cache=True)
def binary_models(
    z: Any, y: Any, clusters: Any, n_cluster: int, intercept: Any, cols: Any, count: Any, link: Any, factor: Any,
    fitted: Any, coef: Any, covariance: Any, loglik: Any, residual: Any,
) -> None:  # fmt: skip
    """Fit B models on n person-periods, ``cols`` (B, P) with ``count`` (B,) columns each, the constant last.

    ``intercept`` (B,) is where the constant starts; ``factor`` as in `kernel_cox_fit.cox_models`. Filled are
    ``fitted`` (B,), ``coef`` (B, P), ``covariance`` (B, P, P), ``loglik`` (B,) and ``residual`` (B,), the smallest
    derivative of a row's log-likelihood by its linear predictor: when it is next to nothing the row may be separated.
    """
    n = z.shape[1]
    first = np.empty(n)
    for b in range(len(count)):
        p = count[b]
        own = cols[b, :p].copy()
        beta, score, step, to = np.zeros(p), np.empty(p), np.empty(p), np.empty(p)
        info, lower, scale, inverse = np.empty((p, p)), np.empty((p, p)), np.empty(p), np.empty((p, p))
        beta[p - 1] = intercept[b]
        at = evaluate_binary(z, own, y, link[b], beta, first, score, info)
        sound, arrived, last = True, False, np.inf
        for iteration in range(1, 31):
            for j in range(p):
                sound = sound and info[j, j] > 0.0
                scale[j] = np.sqrt(info[j, j]) if info[j, j] > 0.0 else 1.0
            pivot = cholesky(info, scale, lower) if sound else 0.0
            # At the start all rows weigh the same: the pivots say whether columns are collinear.
            if pivot == 0.0 or (iteration == 1 and pivot < 1e-6):
                break
            solve(lower, scale, score, step)
            gain = 0.0
            for j in range(p):
                gain += 0.5 * score[j] * step[j]
            if not gain < np.inf or (iteration >= 12 and gain >= 0.2 * last and gain > 5e-9):
                break
            done = gain <= 1e-14 * (1.0 + abs(at)) or (gain <= 5e-9 and gain >= 0.25 * last)
            last = gain
            length, new = 1.0, -np.inf
            floor = at - 1e-10 * (1.0 + abs(at))
            for _ in range(40):
                for j in range(p):
                    to[j] = beta[j] + length * step[j]
                new = evaluate_binary(z, own, y, link[b], to, first, score, info)
                if new >= floor:
                    break
                length /= 2.0
            if not new >= floor:
                break
            beta[:] = to
            at = new
            if done:
                arrived = True
                break
        if not arrived:
            continue
        for j in range(p):
            scale[j] = np.sqrt(info[j, j])
        if cholesky(info, scale, lower) == 0.0:
            continue
        unit = np.zeros(p)
        for j in range(p):
            unit[j] = 1.0
            solve(lower, scale, unit, inverse[j])
            unit[j] = 0.0
        if factor[b] > 0.0:
            summed = np.zeros((n_cluster, p))
            for j in range(p):
                column = z[own[j]]
                for i in range(n):
                    summed[clusters[i], j] += first[i] * column[i]
            influence = summed @ inverse
            inverse = factor[b] * (influence.T @ influence)
        least = np.inf
        for i in range(n):
            least = min(least, abs(first[i]))
        for j in range(p):
            coef[b, j] = beta[j]
            for q in range(p):
                covariance[b, j, q] = inverse[j, q]
        loglik[b], residual[b] = at, least
        fitted[b] = True
