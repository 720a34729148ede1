"""A normal random intercept by group in binary-outcome models, by adaptive Gauss-Hermite quadrature.

P(event | u) = F(x b + sigma u) with one standard normal u per group. For each group the integrand is
centred at its mode and scaled by its curvature there (Liu and Pierce 1994; Pinheiro and Bates
1995). Derivatives are posterior expectations of those given u (Louis 1982) over the same nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.special import chdtrc

from coalition_exit.errors import DataError, FitError
from coalition_exit.survival.data.surv import Floats, Integers
from coalition_exit.survival.discrete.glm_solver import (
    BinaryData,
    BinarySolution,
    invert,
    maximize_binary,
    standardize,
    sum_by_code,
)
from coalition_exit.survival.inference.vcov import cluster_sandwich, correction_factor

FEWEST_POINTS, MOST_POINTS = 5, 100
_STARTS = (0.5, 1.5, 0.15)
_LONGEST_STEP = 3.0
# Log sigma below which an ascent is taken to go to 0.
_SMALLEST = -7.0


@dataclass(frozen=True, eq=False)
class RandomIntercept:
    """A fitted random intercept; p coefficients, G groups.

    Attributes
    ----------
    beta : shape (p,)
    sigma : float
        Standard deviation of the intercept; 0 when the likelihood is highest there.
    covariance : shape (p + 1, p + 1)
        Of (beta, log sigma), from the observed information; the last row is nan when sigma is 0.
    loglik : float
    pooled : BinarySolution
        The model without the intercept.
    modes : shape (G,)
        Mode of each group's intercept, sigma u, given the data.
    statistic, p_value : float
        Likelihood-ratio test of sigma = 0; the p value is half that of chi-squared with one degree of
        freedom, as 0 is the edge of the parameter space (Self and Liang 1987).
    quadrature_error : float
        Change of the log-likelihood when the number of points is doubled.
    group_scores : shape (G, p + 1)
        Each group's derivative of its log-likelihood by (beta, log sigma), groups in order of their
        code; the last column is nan when sigma is 0.
    iterations : int
    """

    beta: Floats
    sigma: float
    covariance: Floats
    loglik: float
    pooled: BinarySolution
    modes: Floats
    statistic: float
    p_value: float
    quadrature_error: float
    group_scores: Floats
    iterations: int


@dataclass(frozen=True, eq=False)
class Marginal:
    """Marginal log-likelihood at one (gamma, log sigma) with its derivatives."""

    loglik: float
    score: Floats
    information: Floats
    group_scores: Floats


class Quadrature:
    """Rows sorted by group, nodes and modes.

    Parameters
    ----------
    data
        n rows, p columns.
    groups
        Code of each row's group, shape (n,).
    points
        Nodes.
    """

    def __init__(self, data: BinaryData, groups: Integers, points: int) -> None:
        order = np.argsort(groups, kind="stable")
        weights = None if data.weights is None else data.weights[order]
        offset = None if data.offset is None else data.offset[order]
        self.data = BinaryData(data.x[order], data.y[order], weights, offset, data.link)
        sorted_groups = groups[order]
        self.first = np.flatnonzero(np.append(True, np.diff(sorted_groups) != 0))
        self.member = np.repeat(np.arange(len(self.first)), np.diff(np.append(self.first, len(groups))))
        self.nodes, mass = np.polynomial.hermite.hermgauss(points)
        self.log_weights = np.log(mass) + self.nodes**2
        self.modes = np.zeros(len(self.first))

    def by_group(self, values: Floats) -> Floats:
        """Sums within groups, over the first axis."""
        return np.add.reduceat(values, self.first, axis=0)

    def find_modes(self, eta: Floats, sigma: float) -> Floats:
        """Move the modes of u to their places; return the curvatures there, shape (G,)."""
        u = self.modes
        for _ in range(200):
            rows = self.data.link.rows(eta + sigma * u[self.member], self.data.y)
            slope = sigma * self.by_group(self.data.weighted(rows.first)) - u
            curvature = sigma**2 * self.by_group(self.data.weighted(rows.observed)) + 1.0
            step = np.clip(slope / curvature, -_LONGEST_STEP, _LONGEST_STEP)
            u = u + step
            if np.abs(step).max() < 1e-9:
                break
        self.modes = u
        rows = self.data.link.rows(eta + sigma * u[self.member], self.data.y)
        return sigma**2 * self.by_group(self.data.weighted(rows.observed)) + 1.0

    def places(self, theta: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Linear predictor (n,), nodes u (G, Q), log terms (G, Q) and log-likelihoods (G,)."""
        sigma = float(np.exp(theta[-1]))
        eta = self.data.eta(theta[:-1])
        spread = np.sqrt(2.0 / self.find_modes(eta, sigma))
        u = self.modes[:, None] + spread[:, None] * self.nodes
        terms = np.empty(u.shape)
        for q in range(len(self.nodes)):
            rows = self.data.link.rows(eta + sigma * u[self.member, q], self.data.y)
            terms[:, q] = self.by_group(self.data.weighted(rows.loglik))
        terms += self.log_weights - 0.5 * u**2 + np.log(spread)[:, None] - 0.5 * np.log(2 * np.pi)
        top = terms.max(axis=1)
        loglik = top + np.log(np.exp(terms - top[:, None]).sum(axis=1))
        return eta, u, terms, loglik

    def loglik(self, theta: Floats) -> float:
        """Marginal log-likelihood only."""
        return float(self.places(theta)[3].sum())

    def evaluate(self, theta: Floats) -> Marginal:
        """Marginal log-likelihood, score and observed information at (gamma, log sigma)."""
        eta, u, terms, loglik = self.places(theta)
        sigma = float(np.exp(theta[-1]))
        posterior = np.exp(terms - loglik[:, None])
        x, n_par = self.data.x, len(theta)
        group_scores = np.zeros((len(self.first), n_par))
        squares, inner = np.zeros((n_par, n_par)), np.zeros((n_par, n_par))
        curvature = np.zeros(len(x))
        for q in range(len(self.nodes)):
            share, su = posterior[:, q], sigma * u[:, q]
            rows = self.data.link.rows(eta + su[self.member], self.data.y)
            first, observed = self.data.weighted(rows.first), self.data.weighted(rows.observed)
            total = self.by_group(first)
            scores = np.column_stack([self.by_group(first[:, None] * x), su * total])
            group_scores += share[:, None] * scores
            squares += scores.T @ (share[:, None] * scores)
            weight = share[self.member] * observed
            curvature += weight
            inner[:-1, -1] += x.T @ (weight * su[self.member])
            inner[-1, -1] += share @ (su**2 * self.by_group(observed) - su * total)
        inner[:-1, :-1] = x.T @ (curvature[:, None] * x)
        inner[-1, :-1] = inner[:-1, -1]
        information = inner - (squares - group_scores.T @ group_scores)
        return Marginal(float(loglik.sum()), group_scores.sum(axis=0), information, group_scores)


def fit_random_intercept(
    data: BinaryData,
    groups: Integers,
    names: Sequence[str],
    *,
    points: int = 15,
    max_iter: int = 100,
    tolerance: float = 1e-14,
) -> RandomIntercept:
    """Maximize the marginal likelihood.

    Parameters
    ----------
    data
        n rows, p columns, the constant last. Weights multiply the log-likelihood of a row given u.
    groups
        Integer code of each row's group, shape (n,).
    names
        Names of the columns, for messages.
    points
        Quadrature points.
    max_iter, tolerance
        Of Newton's method.

    Raises
    ------
    DataError
        Too few points or groups.
    FitError
        As `maximize_binary`; "not_converged".

    References
    ----------
    Liu, Q. and Pierce, D. A. (1994), Biometrika 81, 624-629; Louis, T. A. (1982), JRSS B 44,
    226-233; Self, S. G. and Liang, K.-Y. (1987), JASA 82, 605-610.
    """
    check_points(points)
    n_group = len(np.unique(groups))
    if n_group < 2:
        raise DataError("random_intercept", "at least two groups", str(n_group))
    pooled = maximize_binary(data, names, max_iter=max_iter, tolerance=tolerance)
    z, scaling = standardize(data, names)
    integral = Quadrature(z, groups, points)
    begin = scaling.to_standard(pooled.beta)
    found, everything = None, np.ones(len(begin) + 1, dtype=bool)
    for sigma in _STARTS:
        ended = climb(integral, np.append(begin, np.log(sigma)), everything, max_iter, tolerance)
        # Towards sigma = 0 the likelihood is flat in log sigma: what ends no higher than the pooled
        # model is that model.
        if ended is not None and ended[1].loglik > pooled.loglik + 1e-8:
            found = ended
            break
    if found is None:
        return _at_zero(data, pooled, groups)
    theta, at, iterations = found
    inverse = invert(at.information)
    if inverse is None:
        raise FitError("not_converged", "the information of the random-intercept model is singular")
    a = scipy.linalg.block_diag(scaling.matrix, [[1.0]])
    double = Quadrature(z, groups, min(2 * points, 2 * MOST_POINTS))
    statistic = 2 * (at.loglik - pooled.loglik)
    integral.places(theta)
    sigma = float(np.exp(theta[-1]))
    return RandomIntercept(
        beta=scaling.matrix @ theta[:-1],
        sigma=sigma,
        covariance=a @ inverse @ a.T,
        loglik=at.loglik,
        pooled=pooled,
        modes=sigma * integral.modes,
        statistic=statistic,
        p_value=0.5 * float(chdtrc(1, statistic)),
        quadrature_error=abs(double.loglik(theta) - at.loglik),
        group_scores=np.linalg.solve(a.T, at.group_scores.T).T,
        iterations=iterations,
    )


def check_points(points: int) -> None:
    """Refuse a number of quadrature points that is out of range.

    Raises
    ------
    DataError
        Below 5, where the derivatives are poor, or above 100.
    """
    if isinstance(points, bool) or points != int(points) or not FEWEST_POINTS <= points <= MOST_POINTS:
        raise DataError("points", f"a whole number from {FEWEST_POINTS} to {MOST_POINTS}", repr(points))


def climb(
    integral: Quadrature, theta: Floats, free: NDArray[np.bool_], max_iter: int, tolerance: float
) -> tuple[Floats, Marginal, int] | None:
    """Maximize over the free ones of (gamma, log sigma) by Newton's method.

    Returns
    -------
    Where it ended, the likelihood there, and the iterations; None without a maximum at sigma > 0.
    """
    at = integral.evaluate(theta)
    inside = np.ix_(free, free)
    for iteration in range(1, max_iter + 1):
        inverse = invert(at.information[inside])
        if inverse is None:
            # Far from the maximum the information may be indefinite; the outer product of scores is not.
            inverse = invert((at.group_scores.T @ at.group_scores)[inside] + 1e-8 * np.eye(int(free.sum())))
        if inverse is None:
            return None
        step = np.zeros(len(theta))
        step[free] = inverse @ at.score[free]
        gain = 0.5 * float(at.score @ step)
        if gain <= max(tolerance, 1e-15) * (1 + abs(at.loglik)):
            return theta + step, integral.evaluate(theta + step), iteration
        size = min(1.0, 1.0 / max(abs(step[-1]), 1e-300))
        for _ in range(30):
            new = integral.loglik(theta + size * step)
            if np.isfinite(new) and new >= at.loglik - 1e-9 * (1 + abs(at.loglik)):
                break
            size /= 2
        else:
            return None
        theta = theta + size * step
        at = integral.evaluate(theta)
        if theta[-1] < _SMALLEST:
            return None
    return None


def _at_zero(data: BinaryData, pooled: BinarySolution, groups: Integers) -> RandomIntercept:
    rows = data.link.rows(data.eta(pooled.beta), data.y)
    codes = np.unique(groups, return_inverse=True)[1].reshape(-1)
    total = np.bincount(codes, weights=data.weighted(rows.first))
    # The derivative of the marginal log-likelihood by the variance, at 0.
    slope = 0.5 * float((total**2).sum() - data.weighted(rows.observed).sum())
    if slope > 1e-4 * max(1.0, float(data.weighted(rows.observed).sum())):
        raise FitError("not_converged", "no maximum of the random-intercept likelihood, though its variance is above 0")
    p = len(pooled.beta)
    covariance = np.full((p + 1, p + 1), np.nan)
    covariance[:p, :p] = pooled.observed
    zeros = np.zeros(int(codes.max()) + 1)
    scores = sum_by_code(np.column_stack([data.x, np.full(len(codes), np.nan)]), pooled.row_score, codes, len(zeros))
    return RandomIntercept(
        beta=pooled.beta,
        sigma=0.0,
        covariance=covariance,
        loglik=pooled.loglik,
        pooled=pooled,
        modes=zeros,
        statistic=0.0,
        p_value=1.0,
        quadrature_error=0.0,
        group_scores=scores,
        iterations=pooled.iterations,
    )


def robust_covariance(random: RandomIntercept, cluster: Integers, correction: str) -> tuple[Floats, int]:
    """Cluster sandwich of (beta, log sigma) from the marginal likelihood.

    It is c H^-1 (sum_g u_g u_g') H^-1 with H the observed information of the marginal likelihood, u_g
    the scores of the groups in cluster g added up, and c = G / (G - 1) ("stata") or 1 ("none").

    Parameters
    ----------
    random
        The fit, G' groups.
    cluster
        Cluster of each group, shape (G',).
    correction
        "stata" or "none".

    Returns
    -------
    covariance, n_cluster
        Shape (p + 1, p + 1), with nan for log sigma when sigma is 0.

    Raises
    ------
    DataError
        One cluster.
    """
    labels, codes = np.unique(cluster, return_inverse=True)
    factor = correction_factor(correction, len(labels))
    use = len(random.beta) + (random.sigma > 0)
    inverse = random.covariance[:use, :use]
    scores = random.group_scores[:, :use]
    summed = sum_by_code(scores, np.ones(len(scores)), codes.reshape(-1), len(labels))
    covariance = np.full(random.covariance.shape, np.nan)
    covariance[:use, :use] = cluster_sandwich(inverse, summed, factor)
    return covariance, len(labels)
