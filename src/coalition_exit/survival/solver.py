"""Newton's method for the partial likelihood, and the reasons for which it has no maximum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.optimize

from coalition_exit.errors import FitError
from coalition_exit.survival.partial import Evaluation, PartialLikelihood
from coalition_exit.survival.risksets import RiskSets
from coalition_exit.survival.surv import Floats

# Largest share of a column's variation that may be left once the other columns are taken out for
# it to count as collinear, on the scale of a correlation matrix.
_COLLINEAR = 1e-10
# A standardized coefficient beyond this is far outside what a finite maximum gives; it starts the
# exact test for a monotone likelihood, it does not decide it.
_SUSPICIOUS = 12.0
_LP_ROWS = 200_000


@dataclass(frozen=True, eq=False)
class Solution:
    """Where Newton's method ended.

    Attributes
    ----------
    beta : shape (p,)
    at : Evaluation
        The likelihood at ``beta``.
    null : Evaluation
        The likelihood at 0.
    inverse : shape (p, p)
        Inverse of the information at ``beta``.
    iterations : int
    """

    beta: Floats
    at: Evaluation
    null: Evaluation
    inverse: Floats
    iterations: int


def maximize(
    likelihood: PartialLikelihood, names: Sequence[str], max_iter: int, tolerance: float, start: Floats | None = None
) -> Solution:
    """Maximize the partial likelihood.

    Parameters
    ----------
    likelihood
        p covariates.
    names
        Names of the covariates, for messages.
    max_iter
        Newton steps allowed.
    tolerance
        Newton stops when half the squared step in the metric of the information (the gain in
        log-likelihood still to come) is below ``tolerance`` times (1 + |loglik|).
    start
        First coefficient vector; zeros by default.

    Raises
    ------
    FitError
        "no_variation", "collinear", "monotone" or "not_converged", naming the covariates.
    """
    p = likelihood.x.shape[1]
    null = likelihood.evaluate(np.zeros(p))
    if p == 0:
        return Solution(np.zeros(0), null, null, np.zeros((0, 0)), 0)
    scale = check_information(null.information, likelihood, names)
    beta = np.zeros(p) if start is None else np.asarray(start, dtype=float).copy()
    at = null if start is None else likelihood.evaluate(beta)
    for iteration in range(1, max_iter + 1):
        step = _newton_step(at, scale)
        if step is None or np.abs(beta * scale).max() > _SUSPICIOUS:
            check_monotone(likelihood, names)
        if step is None:
            raise FitError("not_converged", f"the information is singular at iteration {iteration}")
        gain = 0.5 * float(at.score @ step)
        if gain <= tolerance * (1.0 + abs(at.loglik)):
            beta, at = beta + step, likelihood.evaluate(beta + step)
            break
        beta, at = _damped(likelihood, beta, at, step)
    else:
        check_monotone(likelihood, names)
        raise FitError("not_converged", f"no maximum after {max_iter} iterations")
    inverse = _inverse(at.information, scale)
    if np.abs(beta * scale).max() > _SUSPICIOUS or inverse is None:
        check_monotone(likelihood, names)
    if inverse is None:
        raise FitError("not_converged", "the information is singular at the estimate")
    return Solution(beta, at, null, inverse, iteration)


def _newton_step(at: Evaluation, scale: Floats) -> Floats | None:
    scaled = at.information / np.outer(scale, scale)
    try:
        factor = scipy.linalg.cho_factor(scaled)
    except scipy.linalg.LinAlgError:
        return None
    step = scipy.linalg.cho_solve(factor, at.score / scale) / scale
    return step if np.isfinite(step).all() else None


def _damped(
    likelihood: PartialLikelihood, beta: Floats, at: Evaluation, step: Floats
) -> tuple[Floats, Evaluation]:
    size = 1.0
    for _ in range(30):
        new = likelihood.evaluate(beta + size * step)
        if np.isfinite(new.loglik) and new.loglik >= at.loglik - 1e-10 * (1 + abs(at.loglik)):
            return beta + size * step, new
        size /= 2
    raise FitError("not_converged", "no step raises the log-likelihood")


def _inverse(information: Floats, scale: Floats) -> Floats | None:
    try:
        factor = scipy.linalg.cho_factor(information / np.outer(scale, scale))
    except scipy.linalg.LinAlgError:
        return None
    inverse = scipy.linalg.cho_solve(factor, np.eye(len(scale)))
    return np.asarray((inverse + inverse.T) / 2 / np.outer(scale, scale))


def check_information(information: Floats, likelihood: PartialLikelihood, names: Sequence[str]) -> Floats:
    """Refuse covariates that the data cannot tell apart; return their scales, shape (p,).

    Raises
    ------
    FitError
        "no_variation" or "collinear", naming the covariates.
    """
    size = np.abs(likelihood.x).max(axis=0, initial=0.0)
    variance = np.diag(information)
    total = float(likelihood.steps.weight.sum())
    flat = variance <= 1e-14 * np.maximum(size, 1e-300) ** 2 * total
    if flat.any():
        named = ", ".join(names[j] for j in np.flatnonzero(flat))
        raise FitError("no_variation", f"no variation among those at risk at the event times: {named}")
    scale = np.sqrt(variance)
    correlation = information / np.outer(scale, scale)
    _, r, pivot = scipy.linalg.qr(correlation, pivoting=True)
    small = np.abs(np.diag(r)) < _COLLINEAR
    if small.any():
        kept, lost = pivot[~small], pivot[small]
        named = [_dependence(j, kept, correlation, names) for j in sorted(lost)]
        raise FitError("collinear", "; ".join(named))
    return scale / np.sqrt(max(total, 1.0))


def _dependence(j: int, kept: Floats, correlation: Floats, names: Sequence[str]) -> str:
    part = correlation[np.ix_(kept, kept)]
    loading = np.linalg.lstsq(part, correlation[kept, j], rcond=None)[0]
    on = [names[int(k)] for k, load in zip(kept, loading, strict=True) if abs(load) > 1e-6]
    return f"{names[j]} is a linear combination of {', '.join(on)}"


def check_monotone(likelihood: PartialLikelihood, names: Sequence[str]) -> None:
    """Refuse a likelihood that rises forever along some direction.

    It does when a direction v exists along which, at every event time, each event has the highest
    x'v of its risk set and at some event time strictly so; a linear program finds v.

    Raises
    ------
    FitError
        "monotone", naming the covariates of the direction.
    """
    differences = _event_differences(likelihood.risk_sets, likelihood.x, likelihood.event_weight)
    if differences is None or not len(differences):
        return
    spread = np.abs(differences).max(axis=0)
    spread[spread == 0] = 1.0
    scaled = np.unique(np.round(differences / spread, 12), axis=0)
    result = scipy.optimize.linprog(
        -scaled.sum(axis=0), A_ub=-scaled, b_ub=np.zeros(len(scaled)), bounds=(-1, 1), method="highs"
    )
    if result.status == 0 and -result.fun > 1e-7:
        direction = np.abs(result.x)
        named = ", ".join(names[j] for j in np.flatnonzero(direction > 1e-6))
        raise FitError("monotone", f"the likelihood has no maximum (monotone, coefficients diverge): {named}")


def _event_differences(rs: RiskSets, x: Floats, event_weight: Floats) -> Floats | None:
    """Covariates of each event minus those of its risk set, distinct rows; None if too many."""
    at_risk = int((rs.last - rs.first + 1).sum())
    events = np.flatnonzero(event_weight > 0)
    if at_risk > 50 * _LP_ROWS:
        return None
    parts = []
    for k in range(rs.n_times):
        here = np.flatnonzero((rs.first <= k) & (rs.last >= k))
        own = events[rs.last[events] == k]
        distinct = np.unique(x[here], axis=0)
        for i in own:
            parts.append(x[i] - distinct)
    stacked = np.unique(np.concatenate(parts), axis=0) if parts else np.empty((0, x.shape[1]))
    return stacked if len(stacked) <= 10 * _LP_ROWS else None
