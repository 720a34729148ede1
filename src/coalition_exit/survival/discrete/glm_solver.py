"""Likelihood of a binary outcome and Newton's method for it; Firth's penalty for the logit.

Covariates are centred and scaled inside; what comes out is on the scale of the columns given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse
from numpy.typing import NDArray

from coalition_exit.errors import FitError
from coalition_exit.survival.data.surv import Floats, Integers
from coalition_exit.survival.discrete.glm_links import Link
from coalition_exit.survival.discrete.glm_separation import describe_separation, find_separation

# Smallest pivot of a correlation matrix for a column not to count as collinear.
_COLLINEAR = 1e-10
_HALVINGS = 40
# Rows per block when a likelihood is evaluated: a block's arrays stay in the cache.
_BLOCK = 4096


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

    def part(self, rows: slice) -> BinaryData:
        """The rows of a slice."""
        weights = None if self.weights is None else self.weights[rows]
        offset = None if self.offset is None else self.offset[rows]
        return BinaryData(self.x[rows], self.y[rows], weights, offset, self.link)

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
    first : shape (n,)
        Derivative of each row's log-likelihood by its linear predictor.
    row_score : shape (n,)
        The same times the row's weight; with Firth's penalty it has the row's share of that.
    """

    loglik: float
    score: Floats
    information: Floats
    first: Floats
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
    n, p = data.x.shape
    w = np.ones(n) if data.weights is None else data.weights
    total = float(w.sum())
    mean = np.append((w @ data.x[:, :-1]) / total, 0.0)
    z, gram, largest = np.empty(data.x.shape), np.zeros((p, p)), np.zeros(p)
    for begin in range(0, n, _BLOCK):
        rows = slice(begin, begin + _BLOCK)
        part = np.subtract(data.x[rows], mean, out=z[rows])
        gram += part.T @ (part * w[rows, None])
        np.maximum(largest, np.abs(data.x[rows]).max(axis=0), out=largest)
    size = np.sqrt(np.diag(gram) / total)
    flat = size[:-1] <= 1e-12 * largest[:-1]
    if flat.any():
        named = ", ".join(names[int(j)] for j in np.flatnonzero(flat))
        raise FitError("no_variation", f"no variation in the estimation sample: {named}")
    size[-1] = 1.0
    correlation = gram / total / np.outer(size, size)
    _check_rank(correlation[:-1, :-1], names)
    if center:
        z /= size
    else:
        np.divide(data.x, size, out=z)
        mean = np.zeros_like(mean)
    z[:, -1] = 1.0
    return BinaryData(z, data.y, data.weights, data.offset, data.link), Scaling(mean, size)


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
    n, p = data.x.shape
    loglik, information, first = 0.0, np.zeros((p, p)), np.empty(n)
    observed = np.empty(n if firth else 0)
    for begin in range(0, n, _BLOCK):
        part = data.part(slice(begin, begin + _BLOCK))
        rows = part.link.rows(part.eta(beta), part.y)
        loglik += float(part.weighted(rows.loglik).sum())
        information += part.gram(rows.observed)
        first[begin : begin + _BLOCK] = rows.first
        if firth:
            observed[begin : begin + _BLOCK] = rows.observed
    row_score = data.weighted(first)
    if firth:
        factor = _factor(information)
        if factor is None:
            loglik = -np.inf
        else:
            loglik += float(np.log(np.diag(factor)).sum())
            half = _unfold(factor) @ data.x.T
            leverage = data.weighted(observed) * np.einsum("ij,ij->j", half, half)
            sign = np.where(data.y, 1.0, -1.0)
            # 1/2 - p, written so that p near 1 loses nothing.
            row_score = row_score + leverage * (sign * np.abs(first) - 0.5 * sign)
    return BinaryEvaluation(loglik, data.x.T @ row_score, information, first, row_score)


def expected_information(data: BinaryData, beta: Floats) -> Floats:
    """Fisher information, shape (p, p)."""
    total = np.zeros((data.x.shape[1],) * 2)
    for begin in range(0, len(data.y), _BLOCK):
        part = data.part(slice(begin, begin + _BLOCK))
        total += part.gram(part.link.rows(part.eta(beta), part.y).expected)
    return total


def _factor(information: Floats) -> Floats | None:
    """Lower Cholesky factor, None if the matrix is singular."""
    scale = np.sqrt(np.maximum(np.diag(information), 1e-300))
    try:
        factor = np.linalg.cholesky(information / np.outer(scale, scale))
    except np.linalg.LinAlgError:
        return None
    return np.asarray(factor * scale[:, None])


def _unfold(factor: Floats) -> Floats:
    """Inverse of a lower Cholesky factor; numpy's, as scipy's threads and numpy's get in each other's way."""
    scale = np.diag(factor)
    return np.asarray(np.linalg.inv(factor / scale[:, None]) / scale)


def invert(information: Floats) -> Floats | None:
    """Inverse of a positive definite matrix, None if it is singular."""
    factor = _factor(information)
    if factor is None:
        return None
    half = _unfold(factor)
    return np.asarray(half.T @ half)


def sum_by_code(x: Floats, factor: Floats, codes: Integers, count: int) -> Floats:
    """Sum the rows of x, shape (n, p), each times its factor, by code 0 .. count - 1: shape (count, p)."""
    n = len(codes)
    return np.asarray(scipy.sparse.csc_array((factor, codes, np.arange(n + 1)), shape=(count, n)) @ x)


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
        half = _unfold(factor)
        step[free] = half.T @ (half @ at.score[free])
        done = 0.5 * float(at.score @ step) <= limit * (1.0 + abs(at.loglik))
        taken = _halve(data, beta, at, step, firth)
        if taken is None:
            return Ascent(beta, at, iteration, done)
        beta, at = _shortened(data, beta, at, step, taken) if firth and not done else taken
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


def _shortened(
    data: BinaryData, beta: Floats, at: BinaryEvaluation, step: Floats, taken: tuple[Floats, BinaryEvaluation]
) -> tuple[Floats, BinaryEvaluation]:
    """Shorten a scoring step that went past the maximum along it to where the slope is 0 by the secant.

    With Firth's penalty scoring goes up to twice too far (where one row alone tells a coefficient, always twice: it
    would then go to and fro for ever).
    """
    before, after = float(at.score @ step), float(taken[1].score @ step)
    if not after < -0.5 * before:
        return taken
    to = beta + before / (before - after) * (taken[0] - beta)
    new = evaluate(data, to, True)
    floor = taken[1].loglik - 1e-10 * (1 + abs(at.loglik))
    return (to, new) if np.isfinite(new.loglik) and new.loglik >= floor else taken


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
    budget = 50 * max_iter if firth else max_iter
    begin, null, settled = _null_model(z, firth, budget, tolerance)
    found = ascend(z, begin, np.ones(len(begin), dtype=bool), firth, budget, tolerance)
    if not firth:
        _check_separation(z, names, found)
    if not (settled and found.converged):
        raise FitError("not_converged", f"no maximum of the likelihood after {found.iterations} iterations")
    at = found.at
    observed = invert(at.information)
    expected = observed if data.link.name == "logit" else invert(expected_information(z, found.beta))
    if observed is None or expected is None:
        raise FitError("not_converged", "the information is singular at the estimate")
    a = scaling.matrix
    # The determinant of the information in the columns given, as other programs print it.
    shift = float(np.log(scaling.scale).sum()) if firth else 0.0
    return BinarySolution(
        a @ found.beta, at.loglik + shift, null + shift, a @ observed @ a.T, a @ expected @ a.T,
        at.row_score, found.iterations,
    )  # fmt: skip


def _null_model(z: BinaryData, firth: bool, budget: int, tolerance: float) -> tuple[Floats, float, bool]:
    """Coefficients and log-likelihood of the model with a constant only, and whether it has a maximum."""
    begin = start_values(z)
    if firth:
        constant_only = np.append(np.zeros(len(begin) - 1, dtype=bool), True)
        end = ascend(z, begin, constant_only, firth, budget, tolerance)
        return end.beta, end.at.loglik, end.converged
    if z.offset is None:
        w = np.ones(len(z.y)) if z.weights is None else z.weights
        each = z.link.rows(begin[[-1, -1]], np.array([True, False]))
        return begin, float(each.loglik @ [w[z.y].sum(), w[~z.y].sum()]), True
    alone = BinaryData(z.x[:, -1:], z.y, z.weights, z.offset, z.link)
    end = ascend(alone, begin[-1:], np.ones(1, dtype=bool), firth, budget, tolerance)
    return np.append(begin[:-1], end.beta), end.at.loglik, end.converged


def _check_separation(z: BinaryData, names: Sequence[str], end: Ascent) -> None:
    use = slice(None) if z.weights is None else z.weights > 0
    x, y = z.x[use], z.y[use]
    found = find_separation(x, y, end.at.first[use])
    if found is None and not end.converged:
        found = find_separation(x, y)
    if found is not None:
        raise FitError("separation", describe_separation(found, names, len(y)))
