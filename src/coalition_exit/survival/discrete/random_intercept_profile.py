"""Profile-likelihood intervals of a random-intercept model, for coefficients and the intercept's spread.

A coefficient held at a value may leave no variance between groups: the profile is then the likelihood
of the pooled model there. The interval of sigma begins at 0 where the pooled model is within reach.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy.optimize
from scipy.special import chdtrc, chdtri

from coalition_exit.errors import FitError
from coalition_exit.survival.data.surv import Floats, Integers
from coalition_exit.survival.discrete.glm_profile import Profile, find_bound
from coalition_exit.survival.discrete.glm_solver import BinaryData, ascend, standardize
from coalition_exit.survival.discrete.random_intercept import Quadrature, RandomIntercept, climb

_MAX_ITER, _TOLERANCE = 100, 1e-13
_WIDEST = 12


def profile_random_intercept(
    data: BinaryData,
    groups: Integers,
    names: Sequence[str],
    fit: RandomIntercept,
    columns: Sequence[int],
    *,
    points: int,
    level: float,
) -> Profile:
    """Profile the marginal likelihood of chosen parameters.

    Parameters
    ----------
    data, groups, names
        As in `fit_random_intercept`.
    fit
        What it returned.
    columns
        Coefficients to profile, by position; p (one more than the last) is sigma.
    points
        Quadrature points.
    level
        Confidence level.

    Returns
    -------
    Profile
        The test of sigma is that of sigma = 0, with half the chi-squared p value.

    Raises
    ------
    FitError
        "not_converged": the other parameters have no maximum.

    References
    ----------
    Venzon, D. J. and Moolgavkar, S. H. (1988), Applied Statistics 37, 87-94; Self, S. G. and Liang,
    K.-Y. (1987), JASA 82, 605-610.
    """
    reach = float(np.sqrt(chdtri(1, 1 - level)))
    line = _RandomLine(data, groups, names, fit, points)
    table = np.empty((len(columns), 4))
    for i, j in enumerate(columns):
        if j == len(fit.beta):
            table[i] = *line.sigma_bounds(reach), fit.statistic, fit.p_value
            continue
        width = float(np.sqrt(fit.covariance[j, j]))
        ends = [find_bound(line.at(j), float(fit.beta[j]), width, side, reach) for side in (-1.0, 1.0)]
        statistic = line.at(j)(0.0)[0]
        table[i] = *ends, statistic, chdtrc(1, statistic)
    return Profile(table[:, 0], table[:, 1], table[:, 2], table[:, 3])


class _RandomLine:
    """Falls of the profile log-likelihood below its maximum."""

    def __init__(
        self, data: BinaryData, groups: Integers, names: Sequence[str], fit: RandomIntercept, points: int
    ) -> None:
        self.data, self.scaling = standardize(data, names, center=False)
        self.integral = Quadrature(self.data, groups, points)
        self.fit = fit
        scale = np.append(self.scaling.scale, 1.0)
        # Where sigma is 0 the search starts from a small one.
        self.theta = np.append(fit.beta, np.log(fit.sigma or 0.1)) * scale
        self.inverse = fit.covariance * np.outer(scale, scale)

    def at(self, j: int) -> Callable[[float], tuple[float, float]]:
        """Return the function that gives twice the fall, and its slope, at values of coefficient j."""
        scale = float(self.scaling.scale[j])

        def fall(value: float) -> tuple[float, float]:
            twice, slope = self.held(j, value * scale)
            return twice, slope * scale

        return fall

    def held(self, j: int, value: float) -> tuple[float, float]:
        """Twice the fall with (gamma, log sigma)_j held, and its slope."""
        free = np.ones(len(self.theta), dtype=bool)
        free[j] = False
        best = None if j == len(free) - 1 else self._pooled(j, value)
        for begin in self._starts(j, value):
            found = climb(self.integral, begin, free, _MAX_ITER, _TOLERANCE)
            if found is not None:
                if best is None or found[1].loglik > best[0]:
                    best = found[1].loglik, float(found[1].score[j])
                break
        if best is None:
            raise FitError(
                "not_converged", f"no maximum of the random-intercept likelihood with one parameter at {value:g}"
            )
        return max(2 * (self.fit.loglik - best[0]), 0.0), -2 * best[1]

    def _starts(self, j: int, value: float) -> list[Floats]:
        plain = self.theta.copy()
        plain[j] = value
        if not self.fit.sigma:
            return [plain]
        moved = self.theta + self.inverse[:, j] / self.inverse[j, j] * (value - self.theta[j])
        moved[j] = value
        return [moved, plain]

    def _pooled(self, j: int, value: float) -> tuple[float, float] | None:
        """Log-likelihood and its slope with coefficient j held and sigma 0."""
        free = np.arange(len(self.theta) - 1) != j
        begin = self.fit.pooled.beta * self.scaling.scale
        begin[j] = value
        end = ascend(self.data, begin, free, False, _MAX_ITER, _TOLERANCE)
        return (end.at.loglik, float(end.at.score[j])) if end.converged else None

    def sigma_bounds(self, reach: float) -> tuple[float, float]:
        """Ends of sigma's interval; the lower one is 0 where the pooled model is within reach."""
        last = len(self.theta) - 1
        center = float(self.theta[last])

        def short(value: float) -> float:
            return float(np.sqrt(self.held(last, value)[0])) - reach

        high = center + 0.25
        for _ in range(_WIDEST * 2):
            if short(high) > 0:
                break
            high += 0.25
        else:
            return self._low(short, center, reach), float("inf")
        upper = scipy.optimize.brentq(short, center if self.fit.sigma else center - 4.0, high, xtol=1e-12)
        return self._low(short, center, reach), float(np.exp(upper))

    def _low(self, short: Callable[[float], float], center: float, reach: float) -> float:
        if self.fit.statistic <= reach**2:
            return 0.0
        low = center - 0.25
        while short(low) < 0:
            low -= 0.25
        return float(np.exp(scipy.optimize.brentq(short, low, center, xtol=1e-12)))
