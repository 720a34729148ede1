"""Firth's penalty for Cox models with few events or a monotone likelihood.

The penalized log-likelihood is l(b) + log det I(b) / 2, whose maximum is finite where that of l is not. Its score adds
tr(I^-1 dI/db_j) / 2 to l's. With H = I^-1, dI/db is a sum of third central moments over risk sets, so
that trace is the sum over steps of weight E[(x_j - xbar_j) q], q = (x - xbar)' H (x - xbar); multiplied out, it
takes one more pass over the rows and none over the risk sets, on start-stop data like on any other.

Standard errors are roots of I^-1 at the penalized estimate (as R's coxphf gives); intervals and tests
should come from the penalized likelihood's profile, which is far from quadratic where the penalty matters.

References
----------
Firth, D. (1993), Biometrika 80, 27-38; Heinze, G. and Schemper, M. (2001), Biometrics 57, 114-119;
Heinze, G. and Dunkler, D. (2008), Statistics in Medicine 27, 6455-6469 (time-dependent covariates).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.linalg
from scipy.special import chdtrc, ndtri

from coalition_exit.errors import DataError, FitError, nearest, one_of
from coalition_exit.survival.cox.partial import Evaluation, PartialLikelihood
from coalition_exit.survival.cox.solver import Solution, check_information
from coalition_exit.survival.cox.state import CoxState
from coalition_exit.survival.data.surv import Floats

_BLOCK = 8192
# Steps shorter than this, in standard errors, end the search; the gain is their square.
_ARRIVED = 1e-10
_ROUNDING = 1e-6
# Longest step, in standard errors at the start: far from the maximum the score is steep and misleads.
_LONGEST = 5.0


@dataclass(frozen=True, eq=False)
class FirthEvaluation:
    """Penalized log-likelihood at one coefficient vector.

    Attributes
    ----------
    loglik : float
        l + log det I / 2.
    score : shape (p,)
        Its gradient.
    inverse : shape (p, p)
        Inverse of the information of l.
    at : Evaluation
        l itself.
    """

    loglik: float
    score: Floats
    inverse: Floats
    at: Evaluation


@dataclass(frozen=True, eq=False)
class FirthSolution(Solution):
    """`Solution` with the penalized log-likelihoods.

    Attributes
    ----------
    loglik, loglik_null : float
        Penalized log-likelihood at the estimate and at 0 (with the penalty of the whole model).
    """

    loglik: float
    loglik_null: float


def firth_adjustment(likelihood: PartialLikelihood, at: Evaluation, inverse: Floats) -> Floats:
    """Return tr(I^-1 dI/db_j) / 2, what the penalty adds to the score: shape (p,).

    Parameters
    ----------
    likelihood, at
        The likelihood (m rows, p covariates) and its value at b.
    inverse
        Inverse of the information at b, shape (p, p).
    """
    rs, steps, x = likelihood.risk_sets, likelihood.steps, likelihood.x
    efron = likelihood.ties == "efron"
    square = np.einsum("sp,pq,sq->s", at.mean, inverse, at.mean, optimize=True)
    # One column block per step: hazard times 1, the mean and the mean's square.
    moments = at.hazard[:, None] * np.column_stack([np.ones(len(square)), at.mean, square])
    spread = rs.accumulator(likelihood.per_time(moments))
    taken = likelihood.per_time(moments * steps.fraction[:, None]) if efron else None
    weighted = likelihood.weights * at.risk
    size = np.empty(len(x))
    total = np.zeros(x.shape[1])
    for begin in range(0, len(x), _BLOCK):
        part = slice(begin, begin + _BLOCK)
        own = x[part]
        sums = spread(part)
        if taken is not None:
            events = np.flatnonzero(rs.event[part])
            sums[events] -= taken[rs.last[part][events]]
        turned = own @ inverse
        size[part] = (turned * own).sum(axis=1)
        each = size[part] * sums[:, 0] - 2.0 * (turned * sums[:, 1:-1]).sum(axis=1) + sums[:, -1]
        total += (weighted[part] * each) @ own
    size *= weighted
    in_set = rs.sum_at_risk(size)[steps.at]
    if efron:
        in_set = in_set - steps.fraction * rs.sum_events(size)[steps.at]
    return np.asarray(0.5 * (total - (at.hazard * in_set - steps.weight * square) @ at.mean))


class FirthLikelihood:
    """The partial likelihood with Firth's penalty; ``evaluate`` gives a `FirthEvaluation`."""

    def __init__(self, likelihood: PartialLikelihood) -> None:
        self.likelihood = likelihood

    def evaluate(self, beta: Floats) -> FirthEvaluation | None:
        """Evaluate at ``beta``, shape (p,); None where the information is singular to working precision."""
        at = self.likelihood.evaluate(beta)
        scale = np.sqrt(np.diag(at.information))
        if not (np.isfinite(at.loglik) and (scale > 0).all() and np.isfinite(scale).all()):
            return None
        try:
            factor = scipy.linalg.cho_factor(at.information / np.outer(scale, scale))
        except scipy.linalg.LinAlgError:
            return None
        inverse = scipy.linalg.cho_solve(factor, np.eye(len(scale))) / np.outer(scale, scale)
        inverse = (inverse + inverse.T) / 2
        half_log_det = float(np.log(np.diag(factor[0])).sum() + np.log(scale).sum())
        score = at.score + firth_adjustment(self.likelihood, at, inverse)
        return FirthEvaluation(at.loglik + half_log_det, score, inverse, at)


def maximize_firth(
    likelihood: PartialLikelihood,
    names: Sequence[str],
    max_iter: int = 100,
    origin: Floats | None = None,
    basis: Floats | None = None,
    start: Floats | None = None,
) -> FirthSolution:
    """Maximize the penalized likelihood over b = origin + basis theta (over all b by default).

    Parameters
    ----------
    likelihood
        p covariates.
    names
        Their names, for messages.
    max_iter
        Steps allowed; at least 100 are.
    origin, basis
        Shapes (p,) and (p, r): the affine space searched. The penalty remains that of all p
        covariates, so the result is a point of the profile of the penalized likelihood.
    start
        First b, shape (p,), within that space; ``origin`` by default.

    Raises
    ------
    FitError
        "no_variation", "collinear" or "not_converged".
    """
    p = likelihood.x.shape[1]
    firth = FirthLikelihood(likelihood)
    plain = likelihood.evaluate(np.zeros(p))
    if p == 0:
        return FirthSolution(np.zeros(0), plain, plain, np.zeros((0, 0)), 0, plain.loglik, plain.loglik)
    check_information(plain.information, likelihood, names, plain)
    null = firth.evaluate(np.zeros(p))
    if null is None:
        raise FitError("not_converged", "the information is singular at the start")
    origin = np.zeros(p) if origin is None else origin
    basis = np.eye(p) if basis is None else basis
    beta = origin.copy() if start is None else np.asarray(start, dtype=float).copy()
    here = firth.evaluate(beta)
    if here is None:
        raise FitError("not_converged", "the information is singular at the start")
    beta, here, iterations = _ascend(firth, beta, here, basis, max(max_iter, 100))
    return FirthSolution(beta, here.at, plain, here.inverse, iterations, here.loglik, null.loglik)


def _ascend(
    firth: FirthLikelihood, beta: Floats, here: FirthEvaluation, basis: Floats, max_iter: int
) -> tuple[Floats, FirthEvaluation, int]:
    """Quasi-Newton (BFGS) from the information, whose curvature lacks the penalty's own, with step halving."""
    if not basis.shape[1]:
        return beta, here, 0
    metric: Floats | None = _information_inverse(here, basis)
    least, stalled = np.inf, 0
    for iteration in range(1, max_iter + 1):
        slope = basis.T @ here.score
        assert metric is not None
        move = metric @ slope
        # The distance still to go is judged by the information, which an update cannot spoil.
        length = float(np.sqrt(max(float(slope @ _information_inverse(here, basis) @ slope), 0.0)))
        stalled = stalled + 1 if length <= _ROUNDING and length >= 0.5 * least else 0
        least = min(least, length)
        if length <= _ARRIVED or stalled >= 3:
            return beta, here, iteration
        size = min(1.0, _LONGEST / length)
        for _ in range(40):
            new = firth.evaluate(beta + size * (basis @ move))
            if new is not None and new.loglik >= here.loglik - 1e-12 * (1 + abs(here.loglik)):
                break
            size /= 2
        else:
            raise FitError("not_converged", "no step raises the penalized log-likelihood")
        assert new is not None
        metric = _updated(metric, size * move, slope - basis.T @ new.score)
        if metric is None:
            metric = _information_inverse(new, basis)
        beta, here = beta + size * (basis @ move), new
    raise FitError("not_converged", f"no maximum of the penalized likelihood after {max_iter} iterations")


def _information_inverse(here: FirthEvaluation, basis: Floats) -> Floats:
    information = basis.T @ here.at.information @ basis
    scale = np.sqrt(np.diag(information))
    return np.asarray(np.linalg.inv(information / np.outer(scale, scale)) / np.outer(scale, scale))


def _updated(metric: Floats, step: Floats, fall: Floats) -> Floats | None:
    """BFGS update of the inverse curvature by a step and the fall of the slope along it; None if it is not concave."""
    product = float(step @ fall)
    turned = metric @ fall
    # Both sides are of the size of the squared step in the metric, whatever the units.
    if product <= 1e-3 * float(fall @ turned):
        return None
    cross = np.outer(step, turned)
    return np.asarray(
        metric - (cross + cross.T) / product + (1.0 + float(fall @ turned) / product) * np.outer(step, step) / product
    )


def profile_intervals(state: CoxState, level: float = 0.95, terms: Sequence[str] | None = None) -> pd.DataFrame:
    """Return intervals and tests from the profile of the penalized likelihood.

    A bound is where twice the drop of the penalized log-likelihood, maximized over the other
    coefficients, reaches the chi-squared quantile; the test is that of the drop at 0.

    Parameters
    ----------
    state
        A fit with ``penalty="firth"``.
    level
        Confidence level.
    terms
        Names of the coefficients; all by default.

    Returns
    -------
    DataFrame
        One row a term: term, estimate, std_error, statistic (chi-squared on 1 degree of
        freedom), p_value, conf_low, conf_high.

    Raises
    ------
    DataError
        Not a Firth fit, an unknown term, a level outside (0, 1).
    FitError
        No bound is found.

    References
    ----------
    Heinze and Schemper (2001), section 3.
    """
    likelihood = require_firth(state)
    if not 0 < level < 1:
        raise DataError("level", "a number between 0 and 1", repr(level))
    names = state.design.names
    rows = []
    for term in names if terms is None else terms:
        if term not in names:
            raise DataError("terms", one_of(names), repr(term), nearest(term, names))
        j = names.index(term)
        profile = _Profile(likelihood, names, state, j)
        statistic = max(2.0 * (profile.highest - profile.loglik_at(0.0)), 0.0)
        low, high = (profile.bound(side, level) for side in (-1.0, 1.0))
        rows.append((term, state.beta[j], profile.std_error, statistic, float(chdtrc(1, statistic)), low, high))
    columns = ["term", "estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high"]
    return pd.DataFrame(rows, columns=columns)


def require_firth(state: CoxState) -> PartialLikelihood:
    """Return the likelihood behind a fit with Firth's penalty; refuse other fits."""
    if state.penalty != "firth":
        raise DataError("penalty", "a fit with penalty='firth'", repr(state.penalty))
    likelihood: Any = state.likelihood
    assert isinstance(likelihood, PartialLikelihood)
    return likelihood


class _Profile:
    """Profile of the penalized likelihood along coefficient j."""

    def __init__(self, likelihood: PartialLikelihood, names: Sequence[str], state: CoxState, j: int) -> None:
        self.likelihood, self.names, self.beta, self.j = likelihood, names, state.beta, j
        self.basis = np.delete(np.eye(len(names)), j, axis=1)
        self.std_error = float(np.sqrt(state.inverse[j, j]))
        # How the others move with coefficient j near the maximum.
        self.drift = state.inverse[:, j] / state.inverse[j, j]
        highest = FirthLikelihood(likelihood).evaluate(state.beta)
        assert highest is not None
        self.highest = highest.loglik

    def loglik_at(self, value: float) -> float:
        """Maximize over the other coefficients with coefficient j at a value."""
        origin = np.zeros(len(self.beta))
        origin[self.j] = value
        start = self.beta + self.drift * (value - self.beta[self.j])
        firth = FirthLikelihood(self.likelihood)
        for first in (start, self.beta * (np.arange(len(start)) != self.j) + origin, origin):
            here = firth.evaluate(first)
            if here is not None:
                _, here, _ = _ascend(firth, first, here, self.basis, 500)
                return here.loglik
        raise FitError("not_converged", f"no penalized likelihood at {self.names[self.j]} = {value:g}")

    def bound(self, side: float, level: float) -> float:
        """Return the lower (side -1) or upper (side 1) confidence limit."""
        from scipy.optimize import brentq  # slow to import, and only profiles need it

        reach = float(ndtri(0.5 + level / 2))
        # The root of the drop is nearly linear in the distance, so a Wald interval is a good start.
        near, far = 0.0, reach * self.std_error
        for _ in range(60):
            if self._root_drop(side, far) >= reach:
                found = brentq(
                    lambda distance: self._root_drop(side, distance) - reach, near, far, xtol=1e-300, rtol=1e-12
                )
                return float(self.beta[self.j] + side * found)
            near, far = far, 1.5 * far
        raise FitError("not_converged", f"no confidence limit for {self.names[self.j]}")

    def _root_drop(self, side: float, distance: float) -> float:
        if distance == 0.0:
            return 0.0
        loglik = self.loglik_at(float(self.beta[self.j] + side * distance))
        return float(np.sqrt(max(2.0 * (self.highest - loglik), 0.0)))
