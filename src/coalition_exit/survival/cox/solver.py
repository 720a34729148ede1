"""Newton's method for the partial likelihood, and the covariates for which it cannot work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from coalition_exit.errors import FitError
from coalition_exit.survival.cox.blockwise import largest
from coalition_exit.survival.cox.likelihood import Likelihood
from coalition_exit.survival.cox.monotone import check_monotone
from coalition_exit.survival.cox.partial import Evaluation, PartialLikelihood
from coalition_exit.survival.data.surv import Floats, Integers

__all__ = ["Solution", "check_information", "check_monotone", "maximize"]

# Largest share of a column's variation that may be left once the other columns are taken out for
# it to count as collinear, on the scale of a correlation matrix.
_COLLINEAR = 1e-10
# A correlation matrix whose eigenvalues are all larger than this has no collinear columns.
_DISTINCT = 1e-6
# Share of a covariate's sum of squares that must be left as information: below it half the digits of
# the standard errors are lost in the difference.
_LOST = 1e-10
# Newton has arrived only if its last step changes no linear predictor by more than this. Along a
# direction without a maximum each step changes some linear predictor by about 1, for ever, however
# little the log-likelihood gains by it.
_STILL = 1e-2
# Gain of a step of 1e-4 standard errors: below it, a gain that no longer shrinks is rounding.
_ROUNDING_GAIN = 5e-9
_ROUNDING_STEPS = 3
# By this iteration the gain of a step falls quadratically, unless the likelihood is monotone: then by 1 / e.
_LATE = 8
_SLOW = 0.2


@dataclass(frozen=True, eq=False)
class Solution:
    """Where Newton's method ended.

    Attributes
    ----------
    beta : shape (p,)
    at : Evaluation
        The likelihood at ``beta``.
    null : Evaluation
        The likelihood at 0: log-likelihood, score and information, without the arrays of the rows.
    inverse : shape (p, p)
        Inverse of the information (with the penalty's, if there is one) at ``beta``.
    iterations : int
    """

    beta: Floats
    at: Evaluation
    null: Evaluation
    inverse: Floats
    iterations: int


def maximize(
    likelihood: Likelihood,
    names: Sequence[str],
    max_iter: int,
    tolerance: float,
    start: Floats | None = None,
    penalty: Floats | None = None,
) -> Solution:
    """Maximize the partial likelihood, less a quadratic penalty if there is one.

    Newton takes its last step when the gain in log-likelihood still to come, half the squared step
    in the metric of the information, is below ``tolerance`` times (1 + abs(loglik)) and no linear
    predictor changes by more than 0.01. When only the second fails, a linear program decides
    whether the likelihood is monotone. A gain that stops shrinking below that of a step of 1e-4 standard
    errors is rounding: Newton has arrived as far as the arithmetic goes.

    Parameters
    ----------
    likelihood
        p covariates.
    names
        Names of the covariates, for messages.
    max_iter
        Newton steps allowed.
    tolerance
        See above.
    start
        First coefficient vector; zeros by default.
    penalty
        Diagonal of P, shape (p,): b' P b / 2 is taken off the log-likelihood.

    Raises
    ------
    FitError
        "no_variation", "collinear", "monotone" or "not_converged", naming the covariates.
    """
    p = likelihood.x.shape[1]
    null = likelihood.evaluate(np.zeros(p))
    if not np.isfinite(null.loglik):
        raise FitError("not_converged", "the offset spans more than exp() can hold (about 700) within a risk set")
    if p == 0:
        return Solution(np.zeros(0), null, null, np.zeros((0, 0)), 0)
    ridge = np.zeros(p) if penalty is None else penalty
    if penalty is None:
        scale = check_information(null.information, likelihood, names, null)
    else:
        scale = penalized_scale(null.information, ridge, likelihood, names)
    newton = _Newton(likelihood, names, scale, ridge, tolerance)
    at, null = null, _without_arrays(null)
    beta = np.zeros(p) if start is None else np.asarray(start, dtype=float).copy()
    if start is not None:
        at = likelihood.evaluate(beta)
    for iteration in range(1, max_iter + 1):
        step, done = newton.step(beta, at, iteration)
        loglik = at.loglik
        # At a million event times an evaluation is large: let go of one before making the next.
        del at
        beta, at = newton.move(beta, loglik, step)
        if done:
            break
    else:
        newton.check_monotone()
        raise FitError("not_converged", f"no maximum after {max_iter} iterations")
    inverse = _inverse(at.information + np.diag(ridge), scale)
    if inverse is None:
        newton.check_monotone()
        raise FitError("not_converged", "the information is singular at the estimate")
    return Solution(beta, at, null, inverse, iteration)


class _Newton:
    """One run of Newton's method: its steps and what it knows about its convergence."""

    def __init__(
        self, likelihood: Likelihood, names: Sequence[str], scale: Floats, ridge: Floats, tolerance: float
    ) -> None:
        self.likelihood, self.names, self.scale, self.ridge, self.tolerance = likelihood, names, scale, ridge, tolerance
        self.penalty = np.diag(ridge)
        self.size = _size(likelihood)
        self.last_gain = self.least_gain = np.inf
        self.stalled = 0
        self.has_maximum = bool(ridge.any())

    def step(self, beta: Floats, at: Evaluation, iteration: int) -> tuple[Floats, bool]:
        """Return the Newton step and whether it is the last."""
        score = at.score - self.ridge * beta
        step = _newton_step(at.information + self.penalty, score, self.scale)
        if step is None:
            self.check_monotone()
            raise FitError("not_converged", f"the information is singular at iteration {iteration}{self._span(beta)}")
        gain = 0.5 * float(score @ step)
        if iteration >= _LATE and gain >= _SLOW * self.last_gain:
            self.check_monotone()
        # Rounding can alternate between two points, so a gain is held against the smallest so far.
        rounding = gain <= _ROUNDING_GAIN and gain >= 0.25 * self.least_gain
        self.stalled = self.stalled + 1 if rounding else 0
        self.last_gain, self.least_gain = gain, min(gain, self.least_gain)
        if gain > self.tolerance * (1.0 + abs(at.loglik)) and self.stalled < _ROUNDING_STEPS:
            return step, False
        if float(np.abs(step) @ self.size) <= _STILL:
            return step, True
        self.check_monotone()
        return step, self.stalled >= _ROUNDING_STEPS

    def move(self, beta: Floats, loglik: float, step: Floats) -> tuple[Floats, Evaluation]:
        """Take the step, or as much of it as does not lower the log-likelihood beyond rounding."""
        floor = loglik - 0.5 * float(self.ridge @ beta**2)
        floor -= 1e-10 * (1 + abs(floor))
        size = 1.0
        for _ in range(30):
            to = beta + size * step
            new = self.likelihood.evaluate(to)
            if np.isfinite(new.loglik) and new.loglik - 0.5 * float(self.ridge @ to**2) >= floor:
                return to, new
            size /= 2
        raise FitError("not_converged", "no step raises the log-likelihood")

    def _span(self, beta: Floats) -> str:
        """Say so if the linear predictor has left the range of exp()."""
        span = float(np.ptp(self.likelihood.x @ beta))
        if span < 600:
            return ""
        return f": the linear predictor spans {span:.0f}, beyond exp() (take out what changes with time alone)"

    def check_monotone(self) -> None:
        """Refuse a monotone likelihood; the answer does not change from one step to the next."""
        if not self.has_maximum:
            check_monotone(self.likelihood, self.names)
            self.has_maximum = True


def _without_arrays(at: Evaluation) -> Evaluation:
    none = np.empty(0)
    return Evaluation(at.loglik, at.score, at.information, none, none, none, at.shift)


def _newton_step(information: Floats, score: Floats, scale: Floats) -> Floats | None:
    scaled = information / np.outer(scale, scale)
    if not np.isfinite(scaled).all():
        return None
    # LAPACK itself: scipy's own functions take longer to be called than to solve a system of this size.
    _, step, failed = scipy.linalg.lapack.dposv(scaled, score / scale)
    step = step / scale
    return step if not failed and np.isfinite(step).all() else None


def _inverse(information: Floats, scale: Floats) -> Floats | None:
    scaled = information / np.outer(scale, scale)
    if not np.isfinite(scaled).all():
        return None
    _, inverse, failed = scipy.linalg.lapack.dposv(scaled, np.eye(len(scale)))
    if failed:
        return None
    return np.asarray((inverse + inverse.T) / 2 / np.outer(scale, scale))


def _size(likelihood: Likelihood) -> Floats:
    """Return the largest absolute value of each covariate, shape (p,)."""
    return likelihood.largest if isinstance(likelihood, PartialLikelihood) else largest(likelihood.x)


def penalized_scale(information: Floats, ridge: Floats, likelihood: Likelihood, names: Sequence[str]) -> Floats:
    """Scales of the covariates of a penalized likelihood, shape (p,).

    Raises
    ------
    FitError
        "no_variation" or "collinear", where neither the data nor the penalty tells a covariate.
    """
    if not (ridge > 0).all():
        return check_information(information + np.diag(ridge), likelihood, names)
    return np.asarray(np.sqrt((np.diag(information) + ridge) / max(likelihood.total_weight, 1.0)))


def check_information(
    information: Floats, likelihood: Likelihood, names: Sequence[str], at: Evaluation | None = None
) -> Floats:
    """Refuse covariates that the data cannot tell apart; return their scales, shape (p,).

    ``at`` is the evaluation that gave the information; without it covariates are not compared with their
    variation between event times.

    Raises
    ------
    FitError
        "no_variation" or "collinear", naming the covariates.
    """
    size = _size(likelihood)
    variance = np.diag(information)
    total = likelihood.total_weight
    once = isinstance(likelihood, PartialLikelihood) and likelihood.rows_at_risk_once
    # Rows at risk once are centred within their risk sets, so less is lost to rounding.
    flat = variance <= (1e-26 if once else 1e-14) * np.maximum(size, 1e-150) ** 2 * total
    if flat.any():
        named = ", ".join(names[int(j)] for j in np.flatnonzero(flat))
        raise FitError("no_variation", f"no variation among those at risk at the event times: {named}")
    lost = variance <= _LOST * _squares(information, likelihood, at)
    if lost.any():
        named = ", ".join(names[int(j)] for j in np.flatnonzero(lost))
        raise FitError(
            "no_variation",
            f"next to no variation among those at risk, compared with that between event times: {named} "
            "(take out what changes with time alone; it has no effect on the estimates)",
        )
    scale = np.sqrt(variance)
    correlation = information / np.outer(scale, scale)
    # No diagonal element of R is smaller than the smallest eigenvalue.
    if float(np.linalg.eigvalsh(correlation)[0]) > _DISTINCT:
        return np.asarray(scale / np.sqrt(max(total, 1.0)))
    _, r, pivot = scipy.linalg.qr(correlation, pivoting=True)
    small = np.abs(np.diag(r)) < _COLLINEAR
    if small.any():
        raise FitError("collinear", _dependences(correlation, pivot[~small], pivot[small], names))
    return np.asarray(scale / np.sqrt(max(total, 1.0)))


def _squares(information: Floats, likelihood: Likelihood, at: Evaluation | None) -> Floats:
    """Diagonal of the sum from which the information is the difference, shape (p,); 0 if it is no difference."""
    if at is None or not isinstance(likelihood, PartialLikelihood) or likelihood.rows_at_risk_once:
        return np.zeros(len(information))
    return np.asarray(np.diag(information) + likelihood.steps.weight @ at.mean**2)


def _dependences(correlation: Floats, kept: Integers, lost: Integers, names: Sequence[str]) -> str:
    """Say which covariates depend on which: the later ones on the earlier ones where that can be told."""
    first: list[int] = []
    later: list[int] = []
    for j in range(len(names)):
        part = correlation[np.ix_(first, first)]
        left = (
            1.0 - correlation[j, first] @ np.linalg.lstsq(part, correlation[first, j], rcond=None)[0] if first else 1.0
        )
        (later if left < 10 * _COLLINEAR else first).append(j)
    if len(later) == len(lost):
        kept, lost = np.array(first), np.array(later)
    return "; ".join(_dependence(int(j), kept, correlation, names) for j in sorted(lost))


def _dependence(j: int, kept: Integers, correlation: Floats, names: Sequence[str]) -> str:
    part = correlation[np.ix_(kept, kept)]
    loading = np.linalg.lstsq(part, correlation[kept, j], rcond=None)[0]
    on = [names[int(k)] for k, load in zip(kept, loading, strict=True) if abs(load) > 1e-6]
    return f"{names[j]} is a linear combination of {', '.join(on)}"
