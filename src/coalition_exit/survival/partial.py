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

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coalition_exit.survival.risksets import RiskSets
from coalition_exit.survival.surv import Floats, Integers


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
        self.weights = np.ones(m) if weights is None else weights
        self.offset = offset
        self.event_weight = np.where(risk_sets.event, self.weights, 0.0)
        self.steps = _steps(risk_sets, self.event_weight, ties)
        self._by_time = np.flatnonzero(np.diff(self.steps.at, prepend=-1)) if len(self.steps.at) else self.steps.at

    def evaluate(self, beta: Floats) -> Evaluation:
        """Evaluate at ``beta``, shape (p,)."""
        rs, steps, x = self.risk_sets, self.steps, self.x
        eta = x @ beta
        if self.offset is not None:
            eta = eta + self.offset
        shift = float(eta.max()) if len(eta) else 0.0
        risk = np.exp(eta - shift)
        weighted = self.weights * risk
        s0, s1 = rs.sum_at_risk(weighted), rs.sum_at_risk(weighted[:, None] * x)
        denominator, numerator = s0[steps.at], s1[steps.at]
        if self.ties == "efron":
            e0, e1 = rs.sum_events(weighted), rs.sum_events(weighted[:, None] * x)
            denominator = denominator - steps.fraction * e0[steps.at]
            numerator = numerator - steps.fraction[:, None] * e1[steps.at]
        mean = numerator / denominator[:, None]
        hazard = steps.weight / denominator
        loglik = float(self.event_weight @ (eta - shift) - steps.weight @ np.log(denominator))
        expected = weighted * self._cumulate(hazard)
        if self.ties == "efron":
            expected -= np.where(rs.event, weighted * self._per_time(hazard * steps.fraction)[rs.last], 0.0)
        score = x.T @ (self.event_weight - expected)
        information = (x * expected[:, None]).T @ x - (mean * steps.weight[:, None]).T @ mean
        return Evaluation(loglik, score, information, risk, hazard, mean, shift)

    def score_residuals(self, at: Evaluation) -> Floats:
        """Return the score residual of each row at risk, unweighted, shape (m, p).

        Weighted by the case weights they sum to the score (to zero at the maximum).
        """
        rs, steps, x = self.risk_sets, self.steps, self.x
        step_mean = at.hazard[:, None] * at.mean
        residual = -at.risk[:, None] * (x * self._cumulate(at.hazard)[:, None] - self._cumulate(step_mean))
        events = np.flatnonzero(rs.event)
        when = rs.last[events]
        mean = self._per_time(at.mean / steps.count[:, None])[when]
        residual[events] += x[events] - mean
        if self.ties == "efron":
            taken = self._per_time(at.hazard * steps.fraction)[when]
            taken_mean = self._per_time(step_mean * steps.fraction[:, None])[when]
            residual[events] += at.risk[events, None] * (x[events] * taken[:, None] - taken_mean)
        return residual

    def _per_time(self, values: Floats) -> Floats:
        """Sum a quantity per step over the steps of each event time."""
        if self.ties == "breslow":
            return values
        return np.add.reduceat(values, self._by_time, axis=0)

    def _cumulate(self, values: Floats) -> Floats:
        return self.risk_sets.accumulate(self._per_time(values))


def _steps(rs: RiskSets, event_weight: Floats, ties: str) -> Steps:
    total = np.bincount(rs.last, weights=event_weight, minlength=rs.n_times)
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
