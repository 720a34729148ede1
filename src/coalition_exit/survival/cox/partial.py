"""Cox's partial likelihood with Breslow or Efron ties: value, score, information, residuals.

Both approximations are sums over *steps*. Breslow has one step per event time k, with all d_k
events' weight and the whole risk set. Efron has one step l = 0 .. m_k - 1 per tied event, with the
mean weight of the m_k events and a risk set from which the fraction l / m_k of those events has
been taken. With c the hazard increment of a step, row i's expected number of events is
a_i = w_i exp(x_i b) sum c, so the score is X'(w * event - a) and the information
X' diag(a) X - sum_steps weight * xbar xbar'.

References
----------
Breslow (1974), Biometrics 30, 89-99; Efron (1977), JASA 72, 557-565;
Therneau and Grambsch (2000), Modeling Survival Data, chapters 3 and 7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coalition_exit.survival.cox.risksets import RiskSets
from coalition_exit.survival.data.surv import Floats, Integers

# Multiplications per block of rows in a p x p product: a block and its weighted copy stay in the cache, and
# products of this size stay on one thread (waiting for a second one costs more than it saves).
_BLOCK = 262_144
# With more clusters than this a block of rows sums its own clusters only.
_MANY = 8192


@dataclass(frozen=True, eq=False)
class Steps:
    """Steps of the likelihood: S rows in all.

    Attributes
    ----------
    at : shape (S,)
        Event time of the step.
    fraction : shape (S,)
        Fraction of the tied events already taken out of the risk set (0 for Breslow).
    weight : shape (S,)
        Weight of the step.
    count : shape (S,)
        Number of steps at the step's event time.
    """

    at: Integers
    fraction: Floats
    weight: Floats
    count: Floats


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Log partial likelihood and its derivatives at one coefficient vector (p covariates).

    Attributes
    ----------
    loglik : float
    score : shape (p,)
    information : shape (p, p)
    risk : shape (m,)
        exp(x_i b + offset_i - shift) of each row at risk.
    hazard : shape (S,)
        Increment of the baseline hazard at each step, on the scale of ``risk``.
    mean : shape (S, p)
        Weighted mean of the covariates over the risk set of each step.
    shift : float
        Largest linear predictor, taken out of ``risk`` to keep exp() in range.
    """

    loglik: float
    score: Floats
    information: Floats
    risk: Floats
    hazard: Floats
    mean: Floats
    shift: float


class PartialLikelihood:
    """The partial likelihood of one design on prepared risk sets.

    Parameters
    ----------
    risk_sets
        Prepared index, m rows at risk.
    x
        Covariates of the rows at risk (``risk_sets.rows`` order), shape (m, p). Centre them.
    weights, offset
        Case weights and offset of the rows at risk, shape (m,), or None.
    ties
        "breslow" or "efron".
    """

    def __init__(
        self, risk_sets: RiskSets, x: Floats, weights: Floats | None, offset: Floats | None, ties: str
    ) -> None:
        self.risk_sets, self.x, self.ties = risk_sets, x, ties
        m = len(risk_sets.rows)
        self._unit = weights is None
        self.weights: Floats = np.broadcast_to(np.float64(1.0), m) if weights is None else weights
        self.offset = offset
        self.event_weight = np.where(risk_sets.event, self.weights, 0.0)
        self.steps = _steps(risk_sets, self.event_weight, ties)
        self._by_time = np.flatnonzero(np.diff(self.steps.at, prepend=-1)) if len(self.steps.at) else self.steps.at
        empty = np.flatnonzero(self.steps.weight == 0)
        self._empty = empty if len(empty) else None
        self.rows_at_risk_once = bool((risk_sets.first == risk_sets.last).all())

    @property
    def total_weight(self) -> float:
        """Weight of all events."""
        return float(self.steps.weight.sum())

    def evaluate(self, beta: Floats) -> Evaluation:
        """Evaluate at ``beta``, shape (p,).

        Where exp() leaves the range of floating point the log-likelihood is not finite.
        """
        rs, steps, x = self.risk_sets, self.steps, self.x
        log_risk = times(x, beta)
        if self.offset is not None:
            log_risk += self.offset
        shift = float(log_risk.max()) if len(log_risk) else 0.0
        log_risk -= shift
        risk = np.exp(log_risk)
        weighted = risk if self._unit else self.weights * risk
        denominator, mean = rs.sum_at_risk(weighted), rs.weighted_sum_at_risk(weighted, x)
        if self.ties == "efron":
            taken, taken_x = rs.sum_events(weighted), rs.sum_events(x, weighted)
            denominator = denominator[steps.at] - steps.fraction * taken[steps.at]
            mean = mean[steps.at] - steps.fraction[:, None] * taken_x[steps.at]
        if self._empty is not None:
            # Event times of weight 0 may have a risk set of weight 0, which must not give 0 / 0.
            denominator[self._empty] = 1.0
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            mean /= denominator[:, None]
            hazard = steps.weight / denominator
            loglik = float(_dot(self.event_weight, log_risk) - _dot(steps.weight, np.log(denominator)))
            expected = rs.accumulate(self.per_time(hazard))
            expected *= weighted
            if self.ties == "efron":
                events = rs.event
                expected[events] -= weighted[events] * self.per_time(hazard * steps.fraction)[rs.last[events]]
            information, score = self._derivatives(expected, mean)
        return Evaluation(loglik, score, information, risk, hazard, mean, shift)

    def _derivatives(self, expected: Floats, mean: Floats) -> tuple[Floats, Floats]:
        """Return information and score from the rows' expected events and the steps' means."""
        rs, steps, x = self.risk_sets, self.steps, self.x
        excess = self.event_weight - expected
        once = self.rows_at_risk_once
        # Rows at risk once are centred within their risk set: a covariate may follow calendar time closely
        # without its variation among those at risk being lost in the sums.
        center = mean[self._by_time] if once else None
        score = np.zeros(x.shape[1])
        information = np.zeros((x.shape[1], x.shape[1]))
        for part in blocks(x):
            own = x[part] if center is None else x[part] - center[rs.last[part]]
            information += (own * expected[part, None]).T @ own
            score += excess[part] @ own
        if center is None:
            information -= gram(mean, steps.weight)
        elif self.ties == "efron":
            information -= gram(mean - center[steps.at], steps.weight)
        return information, score

    def score_residuals(self, at: Evaluation) -> Floats:
        """Return the score residual of each row at risk, unweighted, shape (m, p).

        Weighted by the case weights they sum to the score (to zero at the maximum).
        """
        return self._score_residuals(at)(slice(None))

    def cluster_scores(self, at: Evaluation, cluster: Integers, n_cluster: int) -> Floats:
        """Sum the weighted score residuals within clusters: shape (n_cluster, p).

        ``cluster`` is the code of each row at risk, shape (m,). Rows are done in blocks, so that no second array of
        the size of the covariates is made.
        """
        p = self.x.shape[1]
        total = np.zeros((n_cluster, p))
        residuals = self._score_residuals(at)
        for part in blocks(self.x):
            residual = residuals(part)
            if not self._unit:
                residual *= self.weights[part, None]
            codes, count = cluster[part], n_cluster
            if n_cluster > _MANY:
                here, codes = np.unique(codes, return_inverse=True)
                count = len(here)
            sums = [np.bincount(codes, weights=column, minlength=count) for column in residual.T]
            total[here if n_cluster > _MANY else slice(None)] += np.column_stack(sums) if p else 0.0
        return total

    def _score_residuals(self, at: Evaluation) -> Callable[[slice], Floats]:
        """Return a function that gives the score residuals of a slice of the rows."""
        rs, steps = self.risk_sets, self.steps
        efron = self.ties == "efron"
        step_mean = at.hazard[:, None] * at.mean
        hazard = rs.accumulator(self.per_time(at.hazard))
        mean_hazard = rs.accumulator(self.per_time(step_mean), overwrite=not efron)
        event_mean = self.per_time(at.mean / steps.count[:, None]) if efron else at.mean
        if efron:
            taken = self.per_time(at.hazard * steps.fraction)
            taken_mean = self.per_time(step_mean * steps.fraction[:, None])

        def residuals(part: slice) -> Floats:
            x, risk = self.x[part], at.risk[part, None]
            residual = mean_hazard(part)
            residual -= x * hazard(part)[:, None]
            residual *= risk
            events = np.flatnonzero(rs.event[part])
            when, own = rs.last[part][events], x[events]
            residual[events] += own - event_mean[when]
            if efron:
                residual[events] += risk[events] * (own * taken[when, None] - taken_mean[when])
            return residual

        return residuals

    def per_time(self, values: Floats) -> Floats:
        """Sum a quantity per step over the steps of each event time."""
        if self.ties == "breslow":
            return values
        return np.add.reduceat(values, self._by_time, axis=0)

    def _cumulate(self, values: Floats) -> Floats:
        return self.risk_sets.accumulate(self.per_time(values))


def gram(x: Floats, weights: Floats) -> Floats:
    """Return x' diag(weights) x, shape (p, p), in blocks of rows."""
    total = np.zeros((x.shape[1], x.shape[1]))
    for part in blocks(x):
        own = x[part]
        total += (own * weights[part, None]).T @ own
    return total


def times(x: Floats, beta: Floats) -> Floats:
    """Return x @ beta, shape (m,), in blocks of rows."""
    total = np.empty(len(x))
    for part in blocks(x):
        np.dot(x[part], beta, out=total[part])
    return total


def _dot(a: Floats, b: Floats) -> float:
    return float(np.einsum("i,i->", a, b))


def blocks(x: Floats) -> Iterator[slice]:
    """Cut the rows of x, shape (m, p), into blocks that fit the cache."""
    rows = min(max(_BLOCK // max(x.shape[1], 1) ** 2, 256), 8192)
    return (slice(begin, begin + rows) for begin in range(0, len(x), rows))


def _steps(rs: RiskSets, event_weight: Floats, ties: str) -> Steps:
    total = np.asarray(np.bincount(rs.last, weights=event_weight, minlength=rs.n_times), dtype=np.float64)
    if ties == "breslow":
        at = np.arange(rs.n_times)
        return Steps(at, np.zeros(rs.n_times), total, np.ones(rs.n_times))
    # An event of weight 0 is no tie: it must not move the others' denominators.
    counted: NDArray[np.bool_] = rs.event & (event_weight > 0)
    tied = np.bincount(rs.last[counted], minlength=rs.n_times)
    tied = np.maximum(tied, 1)
    at = np.repeat(np.arange(rs.n_times), tied)
    begin = np.cumsum(tied) - tied
    position = np.arange(len(at)) - begin[at]
    count = tied[at].astype(float)
    return Steps(at, position / count, total[at] / count, count)
