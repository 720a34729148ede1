"""Compiled loops, second part: what is computed once a model has its estimates, and the loop over models.

Formulas are those of `survival.cox.partial` (score residuals), `survival.checks.phtest` (both tests of
proportional hazards) and `survival.quantities.predict` (difference of two survival curves).
"""

# Loops that are compiled as one; splitting them would only hide what is at hand.
# ruff: noqa: PLR0912, PLR0915, D417

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from coalition_exit.multiverse.fits.kernel_cox import cholesky, moments, newton, solve, tied_moments


@njit(cache=True)
def finish(
    x: Any, cols: Any, off: Any, deaths: Any, efron: bool, beta: Any, clusters: Any, g: Any, means: Any, levels: Any,
    until: int, work: Any, powers: Any, room: Any, info: Any, scores: Any, sums: Any, weighted: Any, jumps: Any,
    slopes: Any,
) -> float:  # fmt: skip
    """One pass over the risk sets at the estimate; return the log-likelihood.

    Parameters
    ----------
    g
        Shape (2, K): g(t) of the score test and of Grambsch and Therneau's, both centred over the events.
    means, levels, until
        Means of the covariates in the risk sets (K, C); the two scenarios' values (2, p); the number of
        event times up to the horizon.
    info
        Filled with the information, shape (p, p), lower half.
    scores
        Filled with the score residuals by cluster, shape (G, p).
    sums
        Filled with sum of g times Schoenfeld residuals, shape (2, p).
    weighted
        Filled with the information weighted by g and by g squared, shape (2, p, p), lower halves.
    jumps
        Filled with each scenario's jumps and the variance of a jump at the base, shape (3, K).
    slopes
        Filled with the derivatives of the cumulative hazards at the horizon, shape (2, p).
    """
    p = len(cols)
    s1, t1, mean, s2, t2 = room[0, 0], room[1, 0], room[2, 0], room[3], room[4]
    average, hm, hmf = room[0, 1], room[1, 1], room[2, 1]
    v = room[5]
    loglik = 0.0
    info[:] = 0.0
    scores[:] = 0.0
    sums[:] = 0.0
    weighted[:] = 0.0
    slopes[:] = 0.0
    for k in range(len(deaths)):
        lo, n, d = off[k], off[k + 1] - off[k], deaths[k]
        s0, top = moments(x, cols, lo, n, beta, work, powers, s1, s2)
        a, part = work[1], work[2]
        steps, weight, t0 = 1, float(d), 0.0
        if efron and d > 1:
            steps, weight, t0 = d, 1.0, tied_moments(x, cols, lo, d, a, t1, t2)
        for i in range(d):
            loglik += work[0, i]
        v[:] = 0.0
        average[:] = 0.0
        hm[:] = 0.0
        hmf[:] = 0.0
        hazard, taken, spread = 0.0, 0.0, 0.0
        for step in range(steps):
            f = step / d
            den = s0 - f * t0
            c = weight / den
            loglik -= weight * np.log(den)
            hazard += c
            taken += c * f
            spread += c * c / weight
            for j in range(p):
                mean[j] = (s1[j] - f * t1[j]) / den if f > 0 else s1[j] / den
                average[j] += mean[j] / steps
                hm[j] += c * mean[j]
                hmf[j] += c * f * mean[j]
                for m in range(j + 1):
                    second = s2[j, m] - f * t2[j, m] if f > 0 else s2[j, m]
                    v[j, m] += weight * (second / den - mean[j] * mean[m])
        g1 = g[0, k]
        for j in range(p):
            for m in range(j + 1):
                info[j, m] += v[j, m]
                weighted[0, j, m] += g1 * v[j, m]
                weighted[1, j, m] += g1 * g1 * v[j, m]
        for j in range(p):
            column = x[cols[j], lo : lo + n]
            h, hmean = hazard, hm[j]
            for i in range(n):
                part[i] = a[i] * (hmean - column[i] * h)
            for i in range(d):
                residual = column[i] - average[j]
                part[i] += residual + a[i] * (column[i] * taken - hmf[j])
                sums[0, j] += g1 * residual
                sums[1, j] += g[1, k] * residual
            for i in range(n):
                scores[clusters[lo + i], j] += part[i]
        if k < until:
            for s in range(2):
                log_relative = -top
                for j in range(p):
                    log_relative += (levels[s, j] - means[k, cols[j]]) * beta[j]
                relative = np.exp(min(log_relative, 700.0))
                jumps[s, k] = relative
                for j in range(p):
                    slopes[s, j] += relative * ((levels[s, j] - means[k, cols[j]]) * hazard - hm[j])
            jumps[2, k] = hazard
            jumps[3, k] = spread
    return loglik


@njit(cache=True)
def contrast(jumps: Any, slopes: Any, until: int, covariance: Any) -> Any:
    """Difference of survival, second scenario less first, and its standard error."""
    p = slopes.shape[1]
    h0, h1 = 0.0, 0.0
    for k in range(until):
        h0 += jumps[0, k] * jumps[2, k]
        h1 += jumps[1, k] * jumps[2, k]
    s0, s1 = np.exp(-h0), np.exp(-h1)
    variance = 0.0
    for k in range(until):
        variance += (s1 * jumps[1, k] - s0 * jumps[0, k]) ** 2 * jumps[3, k]
    for j in range(p):
        for m in range(p):
            left = s0 * slopes[0, j] - s1 * slopes[1, j]
            right = s0 * slopes[0, m] - s1 * slopes[1, m]
            variance += left * covariance[j, m] * right
    return s1 - s0, np.sqrt(variance)


@njit(cache=True)
def tests(
    p: int, inverse: Any, covariance: Any, sums: Any, weighted: Any, spread: float, total: float, statistic: Any
) -> bool:
    """Fill both tests of proportional hazards, shape (2, p + 1), the global one last; False where in doubt."""
    left, scale, lower, out = np.empty((p, p)), np.empty(p), np.empty((p, p)), np.empty(p)
    crossed = np.empty((p, p))
    for j in range(p):
        for m in range(p):
            value = 0.0
            for q in range(p):
                value += inverse[j, q] * (weighted[0, q, m] if q >= m else weighted[0, m, q])
            crossed[j, m] = value
    for j in range(p):
        for m in range(j + 1):
            value = weighted[1, j, m]
            for q in range(p):
                value -= (weighted[0, j, q] if j >= q else weighted[0, q, j]) * crossed[q, m]
            left[j, m] = value
    for j in range(p):
        if not weighted[1, j, j] > 0:
            return False
        scale[j] = np.sqrt(weighted[1, j, j])
        # Near its limit of 1e-10 the estimator's own test decides.
        if left[j, j] <= 1e-6 * weighted[1, j, j]:
            return False
        statistic[0, j] = sums[0, j] ** 2 / left[j, j]
    if cholesky(left, scale, lower) < 1e-5:
        return False
    solve(lower, scale, sums[0], out)
    statistic[0, p] = 0.0
    for j in range(p):
        statistic[0, p] += sums[0, j] * out[j]
    part = np.zeros(p)
    for j in range(p):
        for q in range(p):
            part[j] += sums[1, q] * covariance[q, j]
        if not covariance[j, j] > 0:
            return False
        scale[j] = np.sqrt(covariance[j, j])
        statistic[1, j] = total / spread * part[j] ** 2 / covariance[j, j]
    if cholesky(covariance, scale, lower) < 1e-6:
        return False
    solve(lower, scale, part, out)
    statistic[1, p] = 0.0
    for j in range(p):
        statistic[1, p] += total / spread * part[j] * out[j]
    return True


@njit(cache=True)
def cox_models(
    x: Any, size: Any, off: Any, deaths: Any, clusters: Any, n_cluster: int, g: Any, spread: float, means: Any,
    cols: Any, count: Any, efron: Any, factor: Any, levels: Any, until: int, with_tests: bool, fitted: Any,
    coef: Any, error: Any, loglik: Any, statistic: Any, gap: Any,
) -> None:  # fmt: skip
    """Fit B models: ``cols`` (B, P) with ``count`` (B,) covariates each.

    ``factor`` (B,) is the small-sample factor of the cluster sandwich, 0 for the model's own covariance.
    Filled are ``fitted`` (B,), ``coef`` and ``error`` (B, P), ``loglik`` (B, 2), at the estimate and at 0,
    ``statistic`` (B, 2, P + 1), the global test at [.., count], and ``gap`` (B, 2). What is not fitted stays.
    """
    n_times, most = len(deaths), 0
    total = 0.0
    for k in range(n_times):
        most = max(most, off[k + 1] - off[k])
        total += deaths[k]
    work = np.empty((4, most))
    known = np.full((2, len(x), len(x) + 1), np.nan)
    powers = np.empty(1100)
    for i in range(1100):
        powers[i] = 2.0 ** (-i)
    for b in range(len(count)):
        p = count[b]
        own = cols[b, :p].copy()
        sizes = np.empty(p)
        for j in range(p):
            sizes[j] = size[own[j]]
        beta, info, scale, room = np.empty(p), np.empty((p, p)), np.empty(p), np.empty((6, max(p, 2), p))
        arrived, floor, null = newton(
            x, own, off, deaths, efron[b], sizes, work, powers, beta, info, room, scale, known[int(efron[b])]
        )
        if not arrived:
            continue
        inverse, covariance, lower = np.empty((p, p)), np.empty((p, p)), np.empty((p, p))
        scores, sums, weighted = np.empty((n_cluster, p)), np.empty((2, p)), np.empty((2, p, p))
        jumps, slopes = np.zeros((4, n_times)), np.empty((2, p))
        at = finish(
            x,
            own,
            off,
            deaths,
            efron[b],
            beta,
            clusters,
            g,
            means,
            levels[b],
            until,
            work,
            powers,
            room,
            info,
            scores,
            sums,
            weighted,
            jumps,
            slopes,
        )
        if not at >= floor or cholesky(info, scale, lower) == 0.0:
            continue
        unit = np.zeros(p)
        for j in range(p):
            unit[j] = 1.0
            solve(lower, scale, unit, inverse[j])
            unit[j] = 0.0
        if factor[b] > 0.0:
            influence = scores @ inverse
            covariance[:] = factor[b] * (influence.T @ influence)
        else:
            covariance[:] = inverse
        sound = True
        for j in range(p):
            sound = sound and covariance[j, j] > 0.0
        if not sound:
            continue
        if with_tests and not tests(p, inverse, covariance, sums, weighted, spread, total, statistic[b]):
            continue
        gap[b, 0], gap[b, 1] = contrast(jumps, slopes, until, covariance)
        for j in range(p):
            coef[b, j] = beta[j]
            error[b, j] = np.sqrt(covariance[j, j])
        loglik[b, 0], loglik[b, 1] = at, null
        fitted[b] = True
