"""Likelihood of a binary outcome and Newton's method for it; Firth's penalty for the logit.

Covariates are centred and scaled inside; what comes out is on the scale of the columns given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from coalition_exit.errors import FitError
from coalition_exit.survival.data.surv import Floats
from coalition_exit.survival.discrete.glm_links import Link, RowTerms
from coalition_exit.survival.discrete.glm_separation import describe_separation, find_separation

# Smallest pivot of a correlation matrix for a column not to count as collinear.
_COLLINEAR = 1e-10
_HALVINGS = 40


@dataclass(frozen=True, eq=False)
class BinaryData:
    """Rows of a binary-outcome model.

    Attributes
    ----------
    x : ndarray, shape (n, p)
        Design matrix; its last column is the constant.
    y : ndarray of bool, shape (n,)
    weights, offset : ndarray, shape (n,), or None
    link : Link
    """

    x: Floats
    y: NDArray[np.bool_]
    weights: Floats | None
    offset: Floats | None
    link: Link

    def eta(self, beta: Floats) -> Floats:
        """Linear predictor with the offset, shape (n,)."""
        eta = self.x @ beta
        return eta if self.offset is None else eta + self.offset

    def weighted(self, values: Floats) -> Floats:
        """Values times the case weights."""
        return values if self.weights is None else values * self.weights

    def gram(self, values: Floats) -> Floats:
        """X' diag(weights * values) X, shape (p, p)."""
        return np.asarray(self.x.T @ (self.x * self.weighted(values)[:, None]))


@dataclass(frozen=True, eq=False)
class BinaryEvaluation:
    """A binary likelihood at one coefficient vector.

    Attributes
    ----------
    loglik : float
        With Firth's penalty where that is used.
    score : shape (p,)
    information : shape (p, p)
        What Newton's step divides by: the observed information, with Firth's penalty the Fisher
        information.
    rows : RowTerms
        Of the n rows.
    row_score : shape (n,)
        Derivative of each row's log-likelihood by its linear predictor, times its weight; with
        Firth's penalty it has the row's share of that.
    """

    loglik: float
    score: Floats
    information: Floats
    rows: RowTerms
    row_score: Floats


@dataclass(frozen=True, eq=False)
class BinarySolution:
    """Where Newton's method ended.

    Attributes
    ----------
    beta : shape (p,)
    loglik, loglik_null : float
        At the estimate, and with a constant only.
    observed, expected : shape (p, p)
        Inverses of the two information matrices.
    row_score : shape (n,)
    iterations : int
    """

    beta: Floats
    loglik: float
    loglik_null: float
    observed: Floats
    expected: Floats
    row_score: Floats
    iterations: int


@dataclass(frozen=True, eq=False)
class Scaling:
    """How columns were standardized: z_j = (x_j - center_j) / scale_j, the constant as it is."""

    center: Floats
    scale: Floats

    @property
    def matrix(self) -> Floats:
        """The matrix A with beta = A gamma, gamma the coefficients of the standardized columns."""
        a = np.diag(1.0 / self.scale)
        a[-1, :-1] = -self.center[:-1] / self.scale[:-1]
        return a

    def to_standard(self, beta: Floats) -> Floats:
        """Coefficients of the standardized columns."""
        gamma = beta * self.scale
        gamma[-1] = beta[-1] + self.center[:-1] @ beta[:-1]
        return gamma


def standardize(data: BinaryData, names: Sequence[str], center: bool = True) -> tuple[BinaryData, Scaling]:
    """Center and scale all columns but the last; refuse columns that the data cannot tell apart.

    Raises
    ------
    FitError
        "no_variation" or "collinear", naming the terms.
    """
    x = data.x[:, :-1]
    mean = np.average(x, axis=0, weights=data.weights) if x.shape[1] else np.zeros(0)
    z = np.empty(data.x.shape, order="F")
    np.subtract(x, mean, out=z[:, :-1])
    z[:, -1] = 1.0
    size = np.sqrt(np.average(z[:, :-1] ** 2, axis=0, weights=data.weights)) if x.shape[1] else np.zeros(0)
    flat = size <= 1e-12 * np.abs(x).max(axis=0, initial=0.0)
    if flat.any():
        named = ", ".join(names[int(j)] for j in np.flatnonzero(flat))
        raise FitError("no_variation", f"no variation in the estimation sample: {named}")
    z[:, :-1] /= size
    correlation = z[:, :-1].T @ (z[:, :-1] if data.weights is None else z[:, :-1] * data.weights[:, None])
    _check_rank(correlation / (len(z) if data.weights is None else data.weights.sum()), names)
    if not center:
        np.divide(x, size, out=z[:, :-1])
        mean = np.zeros_like(mean)
    scaling = Scaling(np.append(mean, 0.0), np.append(size, 1.0))
    return BinaryData(z, data.y, data.weights, data.offset, data.link), scaling


def _check_rank(correlation: Floats, names: Sequence[str]) -> None:
    if not len(correlation):
        return
    _, r, pivot = scipy.linalg.qr(correlation, pivoting=True)
    small = np.abs(np.diag(r)) < _COLLINEAR
    if not small.any():
        return
    kept, lost = pivot[~small], pivot[small]
    told = []
    for j in sorted(lost):
        loading = np.linalg.lstsq(correlation[np.ix_(kept, kept)], correlation[kept, j], rcond=None)[0]
        on = [names[int(k)] for k, load in zip(kept, loading, strict=True) if abs(load) > 1e-6]
        told.append(f"{names[int(j)]} is a linear combination of {', '.join(on)}")
    raise FitError("collinear", "; ".join(told))


def evaluate(data: BinaryData, beta: Floats, firth: bool = False) -> BinaryEvaluation:
    """Evaluate the log-likelihood and its derivatives.

    Parameters
    ----------
    data
        n rows, p columns.
    beta
        Shape (p,).
    firth
        Add half the log-determinant of the Fisher information; for the logit only.

    References
    ----------
    Firth, D. (1993), Biometrika 80, 27-38; Heinze, G. and Schemper, M. (2002), Statistics in
    Medicine 21, 2409-2419.
    """
    rows = data.link.rows(data.eta(beta), data.y)
    loglik = float(data.weighted(rows.loglik).sum())
    row_score = data.weighted(rows.first)
    information = data.gram(rows.observed)
    if firth:
        factor = _factor(information)
        if factor is None:
            loglik = -np.inf
        else:
            loglik += float(np.log(np.diag(factor)).sum())
            half = scipy.linalg.solve_triangular(factor, np.eye(len(factor)), lower=True) @ data.x.T
            leverage = data.weighted(rows.observed) * np.einsum("ij,ij->j", half, half)
            sign = np.where(data.y, 1.0, -1.0)
            # 1/2 - p, written so that p near 1 loses nothing.
            row_score = row_score + leverage * (sign * np.abs(rows.first) - 0.5 * sign)
    return BinaryEvaluation(loglik, data.x.T @ row_score, information, rows, row_score)


def _factor(information: Floats) -> Floats | None:
    """Lower Cholesky factor, None if the matrix is singular."""
    scale = np.sqrt(np.maximum(np.diag(information), 1e-300))
    try:
        factor = np.linalg.cholesky(information / np.outer(scale, scale))
    except np.linalg.LinAlgError:
        return None
    return np.asarray(factor * scale[:, None])


def invert(information: Floats) -> Floats | None:
    """Inverse of a positive definite matrix, None if it is singular."""
    factor = _factor(information)
    if factor is None:
        return None
    half = scipy.linalg.solve_triangular(factor, np.eye(len(factor)), lower=True)
    return np.asarray(half.T @ half)


@dataclass(frozen=True, eq=False)
class Ascent:
    """Where an ascent ended, and whether that is a maximum."""

    beta: Floats
    at: BinaryEvaluation
    iterations: int
    converged: bool


def ascend(
    data: BinaryData, beta: Floats, free: NDArray[np.bool_], firth: bool, max_iter: int, tolerance: float
) -> Ascent:
    """Maximize over the free coefficients from ``beta``.

    Newton's steps (with Firth's penalty, Fisher scoring) are halved until the likelihood rises;
    they end when the gain still to come is below ``tolerance`` (1 + |loglik|).
    """
    at = evaluate(data, beta, firth)
    # Scoring steps under the penalty shrink linearly only: iterate far below rounding of the likelihood.
    limit = 1e-10 * tolerance if firth else tolerance
    for iteration in range(1, max_iter + 1):
        factor = _factor(at.information[np.ix_(free, free)]) if np.isfinite(at.loglik) else None
        if factor is None:
            return Ascent(beta, at, iteration, False)
        step = np.zeros(len(beta))
        step[free] = scipy.linalg.cho_solve((factor, True), at.score[free])
        done = 0.5 * float(at.score @ step) <= limit * (1.0 + abs(at.loglik))
        taken = _halve(data, beta, at, step, firth)
        if taken is None:
            return Ascent(beta, at, iteration, done)
        beta, at = taken
        if done:
            return Ascent(beta, at, iteration, True)
    return Ascent(beta, at, max_iter, False)


def _halve(
    data: BinaryData, beta: Floats, at: BinaryEvaluation, step: Floats, firth: bool
) -> tuple[Floats, BinaryEvaluation] | None:
    size = 1.0
    for _ in range(_HALVINGS):
        new = evaluate(data, beta + size * step, firth)
        if np.isfinite(new.loglik) and new.loglik >= at.loglik - 1e-10 * (1 + abs(at.loglik)):
            return beta + size * step, new
        size /= 2
    return None


def start_values(data: BinaryData) -> Floats:
    """Zero coefficients and the constant that fits the share of events (no offset)."""
    beta = np.zeros(data.x.shape[1])
    share = float(np.average(data.y, weights=data.weights))
    beta[-1] = float(data.link.quantile(np.asarray(share)))
    if data.offset is not None:
        beta[-1] -= float(np.average(data.offset, weights=data.weights))
    return beta


def check_outcomes(data: BinaryData) -> None:
    """Refuse outcomes that are all alike.

    Raises
    ------
    FitError
        "no_events", or "separation" when every outcome is an event.
    """
    y = data.y if data.weights is None else data.y[data.weights > 0]
    if not y.any():
        raise FitError("no_events", f"no events among {len(y)} rows of positive weight")
    if y.all():
        raise FitError("separation", f"every one of the {len(y)} rows is an event: the constant diverges")


def maximize_binary(
    data: BinaryData, names: Sequence[str], firth: bool = False, max_iter: int = 100, tolerance: float = 1e-14
) -> BinarySolution:
    """Maximize the likelihood, or with ``firth`` the penalized likelihood of a logit.

    Parameters
    ----------
    data
        n rows, p columns, the constant last.
    names
        Names of the columns, for messages.
    firth
        Use Firth's penalty.
    max_iter, tolerance
        As `ascend`; scoring steps under the penalty are cheaper and get 50 times as many.

    Returns
    -------
    BinarySolution
        ``loglik_null`` is the likelihood with a constant (and the offset) only; under Firth's
        penalty the determinant there is that of the full model's information, as in R's logistf.

    Raises
    ------
    FitError
        "no_events", "no_variation", "collinear", "separation" or "not_converged".
    """
    check_outcomes(data)
    z, scaling = standardize(data, names)
    begin = start_values(data)
    constant_only = np.zeros(len(begin), dtype=bool)
    constant_only[-1] = True
    budget = 50 * max_iter if firth else max_iter
    null = ascend(z, begin, constant_only, firth, budget, tolerance)
    found = ascend(z, null.beta, np.ones(len(begin), dtype=bool), firth, budget, tolerance)
    if not firth:
        _check_separation(z, names, found)
    if not (null.converged and found.converged):
        raise FitError("not_converged", f"no maximum of the likelihood after {found.iterations} iterations")
    at = found.at
    observed, expected = invert(at.information), invert(z.gram(at.rows.expected))
    if observed is None or expected is None:
        raise FitError("not_converged", "the information is singular at the estimate")
    a = scaling.matrix
    # The determinant of the information in the columns given, as other programs print it.
    shift = float(np.log(scaling.scale).sum()) if firth else 0.0
    return BinarySolution(
        a @ found.beta, at.loglik + shift, null.at.loglik + shift, a @ observed @ a.T, a @ expected @ a.T,
        at.row_score, found.iterations,
    )  # fmt: skip


def _check_separation(z: BinaryData, names: Sequence[str], end: Ascent) -> None:
    use = slice(None) if z.weights is None else z.weights > 0
    x, y = z.x[use], z.y[use]
    found = find_separation(x, y, end.at.rows.first[use])
    if found is None and not end.converged:
        found = find_separation(x, y)
    if found is not None:
        raise FitError("separation", describe_separation(found, names, len(y)))
