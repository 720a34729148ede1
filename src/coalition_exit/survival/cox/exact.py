"""Exact ties: the discrete partial likelihood (conditional logistic), R's ties="exact", Stata's exactp.

At an event time with d events among n rows at risk the likelihood is the product of the events'
r_i = exp(x_i b) over e_d(r), the sum of that product over all subsets of d rows. e_d is the
coefficient of z^d in prod (1 + r_i z), which the recursion of Gail, Lubin and Rubinstein multiplies
out row by row in n d steps; here the factors are multiplied pairwise, then the products, and so
on, which is the same sum in log2 n array operations. Each coefficient carries its first and second
derivatives, so score and information are exact too.

The factors are tilted to (1 - p_i) + p_i z with p_i = t r_i / (1 + t r_i) and sum p_i = d, which leaves
e_d known up to a constant: every coefficient is then a probability, the d-th the most probable,
and nothing over- or underflows however many rows are tied. Covariates are taken from
their tilted mean, so that the variance is no small difference of large numbers.

References
----------
Cox (1972), JRSS B 34, 187-220; Gail, Lubin and Rubinstein (1981), Biometrika 68, 703-707;
Chen, Dempster and Liu (1994), Biometrika 81, 457-469 (the tilt).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np
from scipy.special import expit

from coalition_exit.errors import DataError
from coalition_exit.survival.cox.partial import Evaluation, PartialLikelihood
from coalition_exit.survival.cox.risksets import RiskSets
from coalition_exit.survival.data.surv import Codes, Floats, Integers

# Rows multiplied out at a time: bounds the memory, (p + 1)(p + 2) numbers for each.
_CHUNK = 16_384
# Rows of all sets that are multiplied out side by side.
_BATCH = 16_384
# Members of tied risk sets that are listed once; beyond it they are searched at each evaluation.
_LISTED = 20_000_000


def _refuse() -> NoReturn:
    raise DataError(
        "ties",
        "'breslow' or 'efron' for residuals, hazards and robust errors",
        "'exact', which has no hazard increments",
    )


class ExactEvaluation(Evaluation):
    """Log-likelihood, score and information; the hazard of the approximations does not exist here."""

    def __init__(self, loglik: float, score: Floats, information: Floats, risk: Floats, shift: float) -> None:
        parts = {"loglik": loglik, "score": score, "information": information, "risk": risk, "shift": shift}
        for name, value in parts.items():
            object.__setattr__(self, name, value)

    @property
    def hazard(self) -> Floats:
        _refuse()

    @property
    def mean(self) -> Floats:
        _refuse()


class ExactLikelihood:
    """The discrete partial likelihood of one design on prepared risk sets.

    Parameters
    ----------
    risk_sets
        Prepared index, m rows at risk.
    x
        Covariates of the rows at risk, shape (m, p). Centre them.
    offset
        Offset of the rows at risk, shape (m,), or None.

    Notes
    -----
    Case weights have no meaning in it (a subset of d rows holds a row or not). Times with a single
    event cost what they cost with Breslow ties; a time with d events among n rows costs n d p^2 operations.
    """

    ties = "exact"

    def __init__(self, risk_sets: RiskSets, x: Floats, offset: Floats | None) -> None:
        self.risk_sets, self.x, self.offset = risk_sets, x, offset
        m = len(risk_sets.rows)
        self.weights: Floats = np.broadcast_to(np.float64(1.0), m)
        self.event_weight = risk_sets.event.astype(np.float64)
        count = np.bincount(risk_sets.last[risk_sets.event], minlength=risk_sets.n_times)
        size = risk_sets.sum_at_risk(np.ones(m)).round().astype(np.int64)
        # Where all rows at risk have the event there is one subset only: the likelihood is 1.
        self._tied = np.flatnonzero((count > 1) & (count < size))
        self._single = _single_events(risk_sets, x, offset, count)
        self._batches = self._like_sets(count, size)
        self._members = _members(risk_sets, self._tied) if size[self._tied].sum() <= _LISTED else None

    @property
    def total_weight(self) -> float:
        """Number of events."""
        return float(self.event_weight.sum())

    @property
    def steps(self) -> NoReturn:
        _refuse()

    def evaluate(self, beta: Floats) -> ExactEvaluation:
        """Evaluate at ``beta``, shape (p,)."""
        at = self._single.evaluate(beta)
        loglik, score, information = at.loglik, at.score, at.information
        log_risk = self.x @ beta
        if self.offset is not None:
            log_risk += self.offset
        events = self.risk_sets.event & np.isin(self.risk_sets.last, self._tied)
        loglik += float(log_risk[events].sum())
        score = score + self.x[events].sum(axis=0)
        for sets, d in self._batches:
            rows = _stacked([self._at_risk(k) for k in sets])
            chosen = np.where(rows >= 0, log_risk[rows], -np.inf)
            sums = log_subset_sums(chosen, self.x[rows], d)
            loglik -= float(sums.value.sum())
            score = score - sums.mean.sum(axis=0)
            information = information + sums.variance.sum(axis=0)
        return ExactEvaluation(loglik, score, information, at.risk, at.shift)

    def _like_sets(self, count: Integers, size: Integers) -> list[tuple[Integers, Integers]]:
        """Return the tied times in batches of like numbers of events and rows, and their numbers of events."""
        d, n = count[self._tied], size[self._tied]
        # Within a factor of 2 either way, so that little of a batch is padding.
        like = np.frexp(d)[1] * 64 + np.frexp(n)[1]
        batches = []
        for kind in np.unique(like):
            alike = np.flatnonzero(like == kind)
            most = max(1, _BATCH // int(n[alike].max()))
            parts = np.split(alike, range(most, len(alike), most))
            batches += [(part, d[part]) for part in parts]
        return batches

    def _at_risk(self, position: int) -> Integers:
        """Return the rows at risk at the tied time at a position in the list of tied times."""
        if self._members is not None:
            return self._members[position]
        k = self._tied[position]
        return np.flatnonzero((self.risk_sets.first <= k) & (self.risk_sets.last >= k))

    def score_residuals(self, at: Evaluation) -> NoReturn:
        """Refuse: a row's share in a tied event time is not defined."""
        _refuse()

    def cluster_scores(self, at: Evaluation, cluster: Codes, n_cluster: int) -> NoReturn:
        """Refuse: there are no score residuals to sum."""
        _refuse()


def _single_events(rs: RiskSets, x: Floats, offset: Floats | None, count: Integers) -> PartialLikelihood:
    """Return the ordinary partial likelihood of the event times with one event."""
    likelihood = PartialLikelihood(rs, x, None, offset, "breslow")
    likelihood.event_weight = np.where(count[rs.last] == 1, likelihood.event_weight, 0.0)
    likelihood.steps = replace(likelihood.steps, weight=np.where(count == 1, likelihood.steps.weight, 0.0))
    return likelihood


def _members(rs: RiskSets, chosen: Integers) -> list[Integers]:
    """List the rows at risk at each of some event times."""
    before = np.concatenate([[0], np.cumsum(np.isin(np.arange(rs.n_times), chosen))])
    low, high = before[rs.first], before[rs.last + 1]
    rows = np.repeat(np.arange(len(low)), high - low)
    ends = np.cumsum(high - low)
    at = np.arange(len(rows)) - np.repeat(ends - (high - low) - low, high - low)
    order = np.argsort(at, kind="stable")
    return np.split(rows[order], np.cumsum(np.bincount(at, minlength=len(chosen)))[:-1])


def _stacked(members: list[Integers]) -> Integers:
    """Put lists of rows side by side, padded with -1: shape (longest, lists)."""
    rows = np.full((max(len(own) for own in members), len(members)), -1)
    for b, own in enumerate(members):
        rows[: len(own), b] = own
    return rows


@dataclass(frozen=True, eq=False)
class SubsetSums:
    """Logs of sums over subsets of size d in B sets, with the moments of the subsets' total covariates.

    Attributes
    ----------
    value : shape (B,)
    mean : shape (B, p)
        Gradients of ``value``: means of the sum of x over a random subset.
    variance : shape (B, p, p)
        Hessians: the variances of that sum.
    """

    value: Floats
    mean: Floats
    variance: Floats


def log_subset_sums(log_risk: Floats, x: Floats, d: Integers) -> SubsetSums:
    """Return log e_d(exp(log_risk)) of B sets of up to n rows, with derivatives in the coefficients of x.

    Parameters
    ----------
    log_risk
        Linear predictors, shape (n, B); -inf where a set has fewer than n rows.
    x
        Covariates, shape (n, B, p).
    d
        Size of the subsets, shape (B,): more than 0, less than the set's number of rows.
    """
    tilt = _tilt(log_risk, d)
    chosen, rest = expit(log_risk + tilt), expit(-log_risk - tilt)
    center = (chosen[..., None] * x).sum(axis=0) / chosen.sum(axis=0)[:, None]
    z = x - center
    most, p = int(d.max()), z.shape[2]
    rows = max(_CHUNK // len(d), 2)
    product: Floats | None = None
    for begin in range(0, len(z), rows):
        part = slice(begin, begin + rows)
        factor = _multiply_out(_factors(chosen[part], rest[part], z[part]), most, p)
        product = factor if product is None else _product(product, factor, most, p)
    assert product is not None
    last = product[:, d, 0, np.arange(len(d))].T
    mean, moments = last[:, 1 : p + 1] / last[:, :1], last[:, p + 1 :] / last[:, :1]
    second = np.empty((len(last), p, p))
    row, column = np.triu_indices(p)
    second[:, row, column] = second[:, column, row] = moments
    value = np.log(last[:, 0]) + np.logaddexp(0.0, log_risk + tilt).sum(axis=0) - d * tilt
    return SubsetSums(value, d[:, None] * center + mean, second - mean[:, :, None] * mean[:, None, :])


def _tilt(log_risk: Floats, d: Integers) -> Floats:
    """Solve sum expit(log_risk + tilt) = d for each set, shape (B,), roughly; the result is exact for any tilt."""
    there = np.isfinite(log_risk)
    middle = np.log(d) - np.log(there.sum(axis=0) - d)
    low = middle - log_risk.max(axis=0)
    high = middle - np.where(there, log_risk, np.inf).min(axis=0)
    tilt = 0.5 * (low + high)
    for _ in range(100):
        share = expit(log_risk + tilt)
        excess = share.sum(axis=0) - d
        if bool((np.abs(excess) < 1e-2).all()):
            break
        low, high = np.where(excess > 0, low, tilt), np.where(excess > 0, tilt, high)
        slope = np.maximum((share * (1.0 - share)).sum(axis=0), 1e-300)
        newton = tilt - excess / slope
        tilt = np.where((low < newton) & (newton < high), newton, 0.5 * (low + high))
    return np.asarray(tilt)


def _factors(chosen: Floats, rest: Floats, z: Floats) -> Floats:
    """Return the factors (1 - p_i) + p_i exp(z_i b) y as jets at b = 0: shape (1 + p + p (p + 1) / 2, 2, n, B).

    Along the first axis: value, first derivatives, upper triangle of second derivatives; then powers of y.
    """
    n, sets, p = z.shape
    row, column = np.triu_indices(p)
    jets = np.zeros((1 + p + len(row), 2, n, sets))
    own = np.moveaxis(z, 2, 0)
    jets[0, 0] = rest
    jets[0, 1] = 1.0
    jets[1 : p + 1, 1] = own
    jets[p + 1 :, 1] = own[row] * own[column]
    jets[:, 1] *= chosen
    return jets


def _multiply_out(factors: Floats, d: int, p: int) -> Floats:
    """Multiply n polynomials for each set, shape (jets, degree + 1, n, B), to one, up to degree d."""
    while factors.shape[2] > 1:
        half = factors.shape[2] // 2
        product = _product(factors[:, :, :half], factors[:, :, half : 2 * half], d, p)
        if factors.shape[2] % 2:
            left = factors[:, :, -1:]
            padded = np.zeros((*product.shape[:2], 1, product.shape[3]))
            padded[:, : left.shape[1]] = left
            product = np.concatenate([product, padded], axis=2)
        factors = product
    return factors


def _product(a: Floats, b: Floats, d: int, p: int) -> Floats:
    """Multiply polynomials pairwise, with their derivatives, up to degree d."""
    if b.shape[1] > a.shape[1]:
        a, b = b, a
    row, column = np.triu_indices(p)
    length = min(a.shape[1] + b.shape[1] - 1, d + 1)
    out = np.zeros((a.shape[0], length, *a.shape[2:]))
    for power in range(min(b.shape[1], length)):
        left, right = a[:, : length - power], b[:, power, None]
        to = out[:, power : power + left.shape[1]]
        to += left * right[0]
        to[1:] += left[0] * right[1:]
        to[p + 1 :] += left[1 + row] * right[1 + column] + left[1 + column] * right[1 + row]
    return out
