"""The variance of a shared frailty: marginal likelihood, its profile, and R's REML equation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import scipy.linalg
from scipy.special import digamma, gammaln

from coalition_exit.errors import FitError
from coalition_exit.survival.data.surv import Floats
from coalition_exit.survival.frailty.frailty_likelihood import (
    FrailtyEvaluation,
    FrailtyLikelihood,
    Penalized,
    Penalty,
    exp_excess,
    maximize_penalized,
)
from coalition_exit.survival.shown import Shown

# Thetas between which the variance is sought; below the first one it counts as 0 only if the
# likelihood falls from 0 on.
THETA_START = 1e-3
THETA_LAST = 1e6


@dataclass(frozen=True, eq=False)
class FrailtyProfile(Shown):
    """The profile of the marginal likelihood over theta, on prepared arrays.

    Parameters
    ----------
    likelihood
        Partial likelihood with a log-frailty per cluster.
    distribution, sparse
        As in `SharedFrailty`; ``sparse`` is a resolved choice here.
    cox_beta, cox_loglik
        Maximum without frailty.
    max_iter, tolerance
        Newton's, at each theta.
    """

    likelihood: FrailtyLikelihood
    distribution: str
    sparse: bool
    cox_beta: Floats
    cox_loglik: float
    max_iter: int
    tolerance: float
    _starts: dict[float, tuple[Floats, Floats]] = field(default_factory=dict, repr=False)
    _last: dict[float, Penalized] = field(default_factory=dict, repr=False)

    @property
    def heading(self) -> str:
        return f"Profile of the {self.name}, {self.likelihood.n_cluster} clusters"

    @property
    def name(self) -> str:
        if self.distribution == "gamma":
            return "marginal likelihood of the gamma frailty (R's I-likelihood)"
        return f"Laplace integrated partial likelihood ({'diagonal' if self.sparse else 'full'} frailty block)"

    def solve(self, theta: float) -> Penalized:
        """Coefficients and log-frailties at theta > 0, started from the nearest theta solved before."""
        if theta in self._last:
            return self._last[theta]
        start = (self.cox_beta, np.zeros(self.likelihood.n_cluster))
        if self._starts:
            start = self._starts[min(self._starts, key=lambda other: abs(np.log(other / theta)))]
        penalty = Penalty(self.distribution, theta)
        solved = maximize_penalized(self.likelihood, penalty, start, self.max_iter, self.tolerance)
        self._starts[theta] = (solved.beta, solved.frailty)
        self._last.clear()
        self._last[theta] = solved
        return solved

    def loglik(self, theta: float) -> float:
        """Marginal log-likelihood at theta >= 0, on the scale of the partial likelihood at 0."""
        if theta == 0:
            return self.cox_loglik
        solved = self.solve(theta)
        if self.distribution == "gamma":
            return solved.loglik + float(gamma_constant(1 / theta, self.likelihood.events).sum())
        if self.sparse:
            return solved.loglik - 0.5 * float(np.log1p(theta * self.likelihood.frailty_diagonal(solved.at)).sum())
        block = np.eye(self.likelihood.n_cluster) + theta * self.likelihood.frailty_block(solved.at)
        return solved.loglik - 0.5 * float(np.linalg.slogdet(block)[1])

    def score(self, theta: float) -> float:
        """Derivative of the gamma marginal log-likelihood by theta, at theta >= 0."""
        events = self.likelihood.events
        if theta == 0:
            at = self.likelihood.evaluate(self.cox_beta, np.zeros(self.likelihood.n_cluster))
            return 0.5 * float(((events - at.expected) ** 2 - events).sum())
        by_nu = gamma_constant_slope(1 / theta, events).sum() - exp_excess(self.solve(theta).frailty).sum()
        return -float(by_nu) / theta**2

    def reml_equation(self, theta: float) -> float:
        """Estimating equation of R's frailty.gaussian, over theta^2: zero at its estimate (theta > 0)."""
        solved = self.solve(theta)
        penalty = Penalty("gaussian", theta)
        variance = frailty_variances(self.likelihood, solved.at, penalty, solved.frailty, self.sparse)[1]
        total = float(solved.frailty @ solved.frailty) + float(variance.sum())
        return (total - theta * self.likelihood.n_cluster) / theta**2

    def maximize(self) -> float:
        """Theta with the largest marginal likelihood, 0 when that is at the edge."""
        if self.distribution == "gamma":
            roots = _downward_roots(self.score, self.score(0.0))
            return max([0.0, *roots], key=self.loglik)
        from scipy.optimize import minimize_scalar  # slow to import

        best = _grid_best(self.loglik)
        if best is None:
            return 0.0
        found = minimize_scalar(
            lambda log_theta: -self.loglik(float(np.exp(log_theta))),
            bracket=tuple(np.log(best)),
            method="brent",
            options={"xtol": 1e-6},
        )
        theta = self._polished(float(found.x))
        return theta if self.loglik(theta) > self.cox_loglik else 0.0

    def _polished(self, log_theta: float, step: float = 0.005) -> float:
        """Newton on finite differences: a maximizer by values alone stops at the root of the rounding error."""
        for _ in range(2):
            f = [self.loglik(float(np.exp(log_theta + k * step))) for k in (-2, -1, 0, 1, 2)]
            slope = (f[0] - 8 * f[1] + 8 * f[3] - f[4]) / (12 * step)
            bend = (-f[0] + 16 * f[1] - 30 * f[2] + 16 * f[3] - f[4]) / (12 * step**2)
            log_theta -= float(np.clip(slope / bend, -2 * step, 2 * step)) if bend < 0 else 0.0
        return float(np.exp(log_theta))

    def reml(self) -> float:
        """Theta by R's REML equation, 0 when the equation has no positive root.

        The first root counts: far above it the diagonal approximation (``sparse``) breaks down.
        """
        roots = _downward_roots(self.reml_equation, self.reml_equation(THETA_START / 10), most=1)
        return roots[0] if roots else 0.0


def gamma_constant(nu: float, events: Floats) -> Floats:
    """Return what each cluster adds to the penalized likelihood to make it the marginal one: shape (G,).

    d + nu log(nu) - (nu + d) log(nu + d) + log Gamma(nu + d) - log Gamma(nu), with nu = 1 / theta and
    d the cluster's events (Therneau, Grambsch and Pankratz 2003, section 3.2; d is added so that theta
    = 0 gives 0), written with Binet's function so that no digits are lost as theta goes to 0.
    """
    return np.asarray(-0.5 * np.log1p(events / nu) + _binet(nu + events) - _binet(np.full_like(events, nu)))


def gamma_constant_slope(nu: float, events: Floats) -> Floats:
    """Derivative of `gamma_constant` by nu: shape (G,)."""
    slope = 0.5 * events / (nu * (nu + events))
    return np.asarray(slope + _binet_slope(nu + events) - _binet_slope(np.full_like(events, nu)))


def _binet(x: Floats) -> Floats:
    """Remainder of Stirling's formula: log Gamma(x) - (x - 1/2) log x + x - log(2 pi) / 2."""
    y = np.maximum(x, 10.0)
    z = 1 / (y * y)
    series = (
        1 / 12 - z * (1 / 360 - z * (1 / 1260 - z * (1 / 1680 - z * (1 / 1188 - z * (691 / 360360 - z / 156)))))
    ) / y
    return np.where(x < 10, gammaln(x) - (x - 0.5) * np.log(x) + x - 0.5 * np.log(2 * np.pi), series)


def _binet_slope(x: Floats) -> Floats:
    y = np.maximum(x, 10.0)
    z = 1 / (y * y)
    series = -z * (1 / 12 - z * (1 / 120 - z * (1 / 252 - z * (1 / 240 - z * (1 / 132 - z * (691 / 32760 - z / 12))))))
    return np.where(x < 10, digamma(x) - np.log(x) + 0.5 / x, series)


def _downward_roots(function: Callable[[float], float], first: float, most: int = 100) -> list[float]:
    """Positive thetas at which the function falls through zero; scanned on a grid by factors of 3.

    ``first`` is the function's value at 0 (or its limit).
    """
    from scipy.optimize import brentq  # slow to import

    roots: list[float] = []
    theta, before, value_before = THETA_START, 0.0, first
    while theta <= THETA_LAST:
        value = function(theta)
        if value_before > 0 >= value:
            low = before if before > 0 else theta * 1e-6
            found = low
            if before > 0 or function(low) > 0:
                found = float(brentq(function, low, theta, xtol=1e-15, rtol=1e-12))
            roots.append(found)
        if len(roots) == most or (value <= 0 and theta > 3):
            return roots
        theta, before, value_before = 3 * theta, theta, value
    raise FitError("not_converged", f"the frailty variance grows beyond {THETA_LAST:g}")


def _grid_best(function: Callable[[float], float]) -> tuple[float, float, float] | None:
    """Bracket the largest value over theta > 0 on a grid by factors of 3; None at the lower edge."""
    thetas = [THETA_START]
    values = [function(THETA_START)]
    while len(values) - int(np.argmax(values)) < 4 or thetas[-1] < 3:
        if thetas[-1] > THETA_LAST:
            raise FitError("not_converged", f"the frailty variance grows beyond {thetas[-1]:g}")
        thetas.append(3 * thetas[-1])
        values.append(function(thetas[-1]))
    best = int(np.argmax(values))
    if best == 0:
        tiny = THETA_START / 100
        return (tiny / 3, tiny, thetas[1]) if function(tiny / 3) < function(tiny) > values[1] else None
    return thetas[best - 1], thetas[best], thetas[best + 1]


def frailty_variances(
    likelihood: FrailtyLikelihood, at: FrailtyEvaluation, penalty: Penalty, frailty: Floats, sparse: bool
) -> tuple[Floats, Floats, Floats]:
    """Invert the penalized information at fixed theta.

    Returns
    -------
    covariance : shape (p, p)
        Of the coefficients: the block of the inverse (R's ``fit$var``).
    variance : shape (G,)
        Diagonal of the inverse for the log-frailties (R's ``fit$fvar``).
    gray : shape (p, p)
        Block of inverse x information without penalty x inverse (R's ``fit$var2``; Gray 1992).
    """
    p, second = likelihood.n_terms, penalty.second(frailty)
    if not sparse:
        whole = np.block([[at.information, at.cross.T], [at.cross, likelihood.frailty_block(at) + np.diag(second)]])
        inverse = np.linalg.inv((whole + whole.T) / 2)
        covariance, mixed = inverse[:p, :p], inverse[p:, :p]
        variance = np.diag(inverse)[p:].copy()
    else:
        diagonal = likelihood.frailty_diagonal(at) + second
        scaled = at.cross / diagonal[:, None]
        covariance = _positive_inverse(at.information - at.cross.T @ scaled, penalty.theta)
        mixed = -scaled @ covariance
        variance = 1 / diagonal + np.einsum("gp,gp->g", scaled @ covariance, scaled)
    gray = covariance - mixed.T @ (second[:, None] * mixed)
    return (covariance + covariance.T) / 2, variance, (gray + gray.T) / 2


def _positive_inverse(matrix: Floats, theta: float) -> Floats:
    try:
        factor = scipy.linalg.cho_factor((matrix + matrix.T) / 2)
    except scipy.linalg.LinAlgError:
        text = f"with a diagonal frailty block the information is not positive definite at theta = {theta:g}"
        raise FitError("not_converged", f"{text}; use sparse=False") from None
    return np.asarray(scipy.linalg.cho_solve(factor, np.eye(len(matrix))))
