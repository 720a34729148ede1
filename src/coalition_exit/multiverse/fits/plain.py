"""The same fits in NumPy, one model at a time, for machines without numba. About seven times slower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Sets:
    """Risk sets of one model: p covariates on the n rows laid out."""

    x: Floats
    begin: Any
    at: Any
    deaths: Any
    dies: Any
    step_at: Any
    fraction: Floats
    weight: Floats
    count: Floats


@dataclass(frozen=True, eq=False)
class _State:
    """The likelihood at one coefficient vector; S steps, as in `survival.cox.partial`."""

    loglik: float
    score: Floats
    info: Floats
    risk: Floats
    hazard: Floats
    mean: Floats
    top: Floats


def _sets(x: Floats, offsets: Any, deaths: Any, efron: bool) -> _Sets:
    sizes = np.diff(offsets)
    at = np.repeat(np.arange(len(deaths)), sizes)
    dies = np.arange(len(at)) - offsets[:-1][at] < deaths[at]
    count = deaths if efron else np.ones_like(deaths)
    step_at = np.repeat(np.arange(len(deaths)), count)
    position = np.arange(len(step_at)) - (np.cumsum(count) - count)[step_at]
    own = count[step_at].astype(float)
    return _Sets(x, offsets[:-1], at, deaths, dies, step_at, position / own, deaths[step_at] / own, own)


def _evaluate(sets: _Sets, beta: Floats) -> _State:
    x, begin = sets.x, sets.begin
    eta = beta @ x
    top = np.maximum.reduceat(eta, begin)
    eta = eta - top[sets.at]
    risk = np.exp(np.maximum(eta, -700.0))
    weighted = x * risk
    total, first = np.add.reduceat(risk, begin), np.add.reduceat(weighted, begin, axis=1)
    taken = np.add.reduceat(np.where(sets.dies, risk, 0.0), begin)
    taken_x = np.add.reduceat(np.where(sets.dies, weighted, 0.0), begin, axis=1)
    step, f = sets.step_at, sets.fraction
    denominator = total[step] - f * taken[step]
    mean = ((first[:, step] - f * taken_x[:, step]) / denominator).T
    hazard = sets.weight / denominator
    expected = _expected(sets, risk, hazard)
    loglik = float(eta[sets.dies].sum() - sets.weight @ np.log(denominator))
    score = x[:, sets.dies].sum(axis=1) - sets.weight @ mean
    info = (x * expected) @ x.T - (mean.T * sets.weight) @ mean
    return _State(loglik, score, info, risk, hazard, mean, top)


def _expected(sets: _Sets, risk: Floats, hazard: Floats) -> Floats:
    """Expected events of each row, from a hazard per step."""
    per_time = np.bincount(sets.step_at, weights=hazard, minlength=len(sets.deaths))
    less = np.bincount(sets.step_at, weights=hazard * sets.fraction, minlength=len(sets.deaths))
    return np.asarray(risk * (per_time[sets.at] - np.where(sets.dies, less[sets.at], 0.0)))


def _newton(sets: _Sets, size: Floats) -> tuple[Floats, _State, _State] | None:
    """Ascend as `kernel_cox.newton` does; None if anything is odd."""
    beta = np.zeros(len(size))
    at = null = _evaluate(sets, beta)
    total = float(sets.deaths.sum())
    diagonal = np.diag(null.info)
    if not (diagonal > 1e-9 * size**2 * total).all():
        return None
    scale = np.sqrt(diagonal)
    try:
        pivots = np.diag(scipy.linalg.cholesky(null.info / np.outer(scale, scale)))
        if (pivots**2).min() < 1e-6:
            return None
        last = np.inf
        for iteration in range(1, 21):
            step = _solve(at.info, scale, at.score)
            gain = 0.5 * float(at.score @ step)
            if not np.isfinite(gain) or (iteration >= 8 and gain >= 0.2 * last and gain > 5e-9):
                return None
            done = gain <= 1e-14 * (1 + abs(at.loglik)) or (gain <= 5e-9 and gain >= 0.25 * last)
            last = gain
            if done and float(np.abs(step) @ size) > 1e-2:
                return None
            floor = at.loglik - 1e-10 * (1 + abs(at.loglik))
            for halvings in range(30):
                new = _evaluate(sets, beta + step / 2**halvings)
                if new.loglik >= floor:
                    break
            else:
                return None
            beta, at = beta + step / 2**halvings, new
            if done:
                return beta, at, null
    except (scipy.linalg.LinAlgError, ValueError):
        return None
    return None


def _solve(matrix: Floats, scale: Floats, right: Floats) -> Floats:
    factor = scipy.linalg.cho_factor(matrix / np.outer(scale, scale))
    across = scale if right.ndim == 1 else scale[:, None]
    return np.asarray(scipy.linalg.cho_solve(factor, right / across) / across)


def _pivot(matrix: Floats, scale: Floats) -> float:
    try:
        return float((np.diag(scipy.linalg.cholesky(matrix / np.outer(scale, scale))) ** 2).min())
    except (scipy.linalg.LinAlgError, ValueError):
        return 0.0


def _scores(sets: _Sets, at: _State, clusters: Any, n_cluster: int) -> tuple[Floats, Floats]:
    """Score residuals by cluster (G, p), and Schoenfeld residuals of the events (d, p)."""
    x, k = sets.x, len(sets.deaths)
    mean_hazard = _by_time(sets, (at.hazard[:, None] * at.mean), k)
    less_mean = _by_time(sets, (at.hazard * sets.fraction)[:, None] * at.mean, k)
    average = _by_time(sets, at.mean / sets.count[:, None], k)
    expected = _expected(sets, at.risk, at.hazard)
    drawn = mean_hazard[sets.at] - np.where(sets.dies[:, None], less_mean[sets.at], 0.0)
    residual = at.risk[:, None] * drawn - expected[:, None] * x.T
    schoenfeld = x.T[sets.dies] - average[sets.at[sets.dies]]
    residual[sets.dies] += schoenfeld
    columns = [np.bincount(clusters, weights=c, minlength=n_cluster) for c in residual.T]
    return np.column_stack(columns).astype(np.float64), schoenfeld


def _by_time(sets: _Sets, values: Floats, k: int) -> Floats:
    return np.column_stack([np.bincount(sets.step_at, weights=c, minlength=k) for c in values.T])


def _tests(
    sets: _Sets, at: _State, inverse: Floats, covariance: Floats, schoenfeld: Floats, g: Floats, spread: float
) -> Floats | None:
    """Both tests of proportional hazards, shape (2, p + 1); None where in doubt."""
    when = sets.at[sets.dies]
    sums = g[:, when] @ schoenfeld
    crossed, squared = (_information(sets, at, g[0] ** power) for power in (1, 2))
    left = squared - crossed @ inverse @ crossed
    own, of_left, of_v = np.diag(squared), np.diag(left), np.diag(covariance)
    if not (own > 0).all() or (of_left <= 1e-6 * own).any() or not (of_v > 0).all():
        return None
    unit, unit_v = np.sqrt(own), np.sqrt(of_v)
    if _pivot(left, unit) < 1e-5 or _pivot(covariance, unit_v) < 1e-6:
        return None
    part = sums[1] @ covariance
    ratio = sets.deaths.sum() / spread
    score = [*(sums[0] ** 2 / of_left), sums[0] @ _solve(left, unit, sums[0])]
    approximation = [*(ratio * part**2 / of_v), ratio * (part @ _solve(covariance, unit_v, part))]
    return np.array([score, approximation])


def _information(sets: _Sets, at: _State, g: Floats) -> Floats:
    by_step = g[sets.step_at]
    expected = _expected(sets, at.risk, at.hazard * by_step)
    return np.asarray((sets.x * expected) @ sets.x.T - (at.mean.T * (sets.weight * by_step)) @ at.mean)


def _contrast(
    sets: _Sets, at: _State, beta: Floats, means: Floats, levels: Floats, until: int, covariance: Floats
) -> tuple[float, float]:
    use = sets.step_at < until
    step = sets.step_at[use]
    hazard, mean, weight = at.hazard[use], at.mean[use], sets.weight[use]
    survived, slopes, jumps = [], [], []
    for level in levels:
        own = level - means[step]
        relative = np.exp(np.minimum(own @ beta - at.top[step], 700.0))
        survived.append(float(np.exp(-(relative @ hazard))))
        slopes.append((relative * hazard) @ (own - mean))
        jumps.append(relative)
    gradient = survived[0] * slopes[0] - survived[1] * slopes[1]
    own = (survived[1] * jumps[1] - survived[0] * jumps[0]) ** 2 @ (hazard**2 / weight)
    return survived[1] - survived[0], float(np.sqrt(own + gradient @ covariance @ gradient))


def cox_models(
    x: Floats, size: Floats, off: Any, deaths: Any, clusters: Any, n_cluster: int, g: Floats, spread: float,
    means: Floats, cols: Any, count: Any, efron: Any, factor: Floats, levels: Floats, until: int, with_tests: bool,
    fitted: Any, coef: Floats, error: Floats, loglik: Floats, statistic: Floats, gap: Floats,
) -> None:  # fmt: skip
    """Fit B models; parameters as in `kernel_cox_fit.cox_models`."""
    for b in range(len(count)):
        p = count[b]
        own = cols[b, :p]
        sets = _sets(x[own], off, deaths, bool(efron[b]))
        found = _newton(sets, size[own])
        if found is None:
            continue
        beta, at, null = found
        scale = np.sqrt(np.diag(null.info) / deaths.sum())
        try:
            inverse = _solve(at.info, scale, np.eye(p))
        except (scipy.linalg.LinAlgError, ValueError):
            continue
        summed, schoenfeld = _scores(sets, at, clusters, n_cluster)
        influence = summed @ inverse
        covariance = factor[b] * (influence.T @ influence) if factor[b] > 0 else inverse
        if not (np.diag(covariance) > 0).all():
            continue
        if with_tests:
            tests = _tests(sets, at, inverse, covariance, schoenfeld, g, spread)
            if tests is None:
                continue
            statistic[b, :, : p + 1] = tests
        gap[b] = _contrast(sets, at, beta, means[:, own], levels[b, :, :p], until, covariance)
        coef[b, :p], error[b, :p] = beta, np.sqrt(np.diag(covariance))
        loglik[b] = at.loglik, null.loglik
        fitted[b] = True
