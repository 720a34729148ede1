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

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from coalition_exit.survival.cox.blockwise import blocks, dot, gram, largest, sum_moments, sum_rows, times, weighted_sum
from coalition_exit.survival.cox.risksets import RiskSets
from coalition_exit.survival.data.surv import Codes, Floats, Integers

# Rows per block of a sum over clusters.
_SUMMED = 8192
# With more clusters than this a block of rows sums its own clusters only.
_MANY = 8192
# Rows an event time must have on average for its moments to be summed apart from the others', and doubles that the
# moments may take.
_GROUP = 256
_MOMENTS = 4_000_000
# Rows at risk once are centred within their risk sets beforehand if the copy takes no more doubles than this, and
# while no variance at the coefficients is a smaller share of the second moment that it is made from.
_WITHIN = 1_000_000
_SHARE = 0.05
# exp() of linear predictors below this needs no shift.
_SAFE = 300.0


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
        self.steps = _steps(risk_sets, self._events(slice(None)), ties)
        self._by_time = np.flatnonzero(np.diff(self.steps.at, prepend=-1)) if len(self.steps.at) else self.steps.at
        empty = np.flatnonzero(self.steps.weight == 0)
        self._empty = empty if len(empty) else None
        self.rows_at_risk_once = risk_sets.at_risk_once
        moments = risk_sets.n_times * (x.shape[1] + 1) ** 2
        large = m >= _GROUP * risk_sets.n_times > 0 and moments <= _MOMENTS
        self._within_sets = risk_sets.at_risk_once and ties == "breslow" and 0 < x.size <= _WITHIN
        self._grouped = large and ties == "breslow" and risk_sets.from_the_start and not risk_sets.at_risk_once

    @cached_property
    def event_weight(self) -> Floats:
        """Case weight of each row that ends in an event, 0 for the others: shape (m,)."""
        return self._events(slice(None))

    def _events(self, part: slice) -> Floats:
        if "event_weight" in vars(self):
            return self.event_weight[part]
        events = self.risk_sets.event[part].astype(np.float64)
        return events if self._unit else events * self.weights[part]

    def again(self, columns: Integers | None = None, weights: Floats | None = None) -> PartialLikelihood:
        """Return the likelihood of some of the covariates, or of the same rows under other weights.

        What was prepared for this one and still holds is shared.
        """
        if columns is None and weights is None:
            return self
        x = self.x if columns is None else np.take(self.x, columns, axis=1)
        kept = None if self._unit else self.weights
        other = PartialLikelihood(self.risk_sets, x, kept if weights is None else weights, self.offset, self.ties)
        chosen = slice(None) if columns is None else columns
        vars(other)["largest"] = self.largest[chosen]
        if "_within" in vars(self):
            # Any centre will do for rows at risk once: the means are added to it.
            within, center = self._within
            vars(other)["_within"] = (_even(within[: self.x.shape[1]][chosen]), center[:, chosen])
        return other

    @property
    def total_weight(self) -> float:
        """Weight of all events."""
        return float(self.steps.weight.sum())

    def evaluate(self, beta: Floats) -> Evaluation:
        """Evaluate at ``beta``, shape (p,).

        Where exp() leaves the range of floating point the log-likelihood is not finite.
        """
        if self._grouped:
            return self._evaluate_groups(beta)
        rs, steps, x = self.risk_sets, self.steps, self.x
        log_risk = times(x, beta) if beta.any() else np.zeros(len(x))
        if self.offset is not None:
            log_risk += self.offset
        shift = float(log_risk.max()) if len(log_risk) else 0.0
        log_risk -= shift
        risk = np.exp(log_risk)
        weighted = risk if self._unit else self.weights * risk
        if self._within_sets and self._empty is None:
            found = self._evaluate_within(log_risk, risk, weighted, shift)
            if found is not None:
                return found
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
            loglik = float(dot(self.event_weight, log_risk) - dot(steps.weight, np.log(denominator)))
            expected = rs.accumulate(self.per_time(hazard))
            expected *= weighted
            if self.ties == "efron":
                events = rs.event
                expected[events] -= weighted[events] * self.per_time(hazard * steps.fraction)[rs.last[events]]
            information, score = self._derivatives(expected, mean)
        return Evaluation(loglik, score, information, risk, hazard, mean, shift)

    def _evaluate_within(self, log_risk: Floats, risk: Floats, weighted: Floats, shift: float) -> Evaluation | None:
        """Evaluate rows at risk once with Breslow ties from covariates centred within risk sets beforehand.

        Returns None where that centre is too far from the weighted mean for the difference of squares to be exact.
        """
        rs, steps = self.risk_sets, self.steps
        within, center = self._within
        p, begins = self.x.shape[1], rs.pointer[:-1]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            denominator = np.add.reduceat(weighted, begins)
            hazard = steps.weight / denominator
            expected = np.repeat(hazard, rs.sizes)
            expected *= weighted
            own = within * expected
            total = np.add.reduceat(own[:p], begins, axis=1)
            second = np.zeros((len(own), len(own)))
            for part in blocks(self.x):
                second += own[:, part] @ within[:, part].T
            mean = total / steps.weight
            information = second[:p, :p] - mean @ total.T
            if not (information.diagonal() >= _SHARE * second.diagonal()[:p]).all():
                return None
            loglik = dot(self.event_weight, log_risk) - dot(steps.weight, np.log(denominator))
        score = self._within_events - total.sum(axis=1)
        return Evaluation(loglik, score, information, risk, hazard, mean.T + center, shift)

    @cached_property
    def _within_events(self) -> Floats:
        return weighted_sum(self.event_weight, self._within[0][: self.x.shape[1]].T)

    @cached_property
    def _within(self) -> tuple[Floats, Floats]:
        """Covariates less their weighted mean in the row's only risk set, shape (p, m), and the means, (K, p).

        A row of zeros follows where `_even` puts one.
        """
        rs = self.risk_sets
        begins = rs.pointer[:-1]
        columns = self.x.T.copy()
        vars(self).setdefault("largest", np.maximum(columns.max(axis=1), -columns.min(axis=1)))
        center = np.add.reduceat(columns * self.weights, begins, axis=1) / np.add.reduceat(self.weights, begins)
        columns -= np.repeat(center, rs.sizes, axis=1)
        return _even(columns), center.T

    def _evaluate_groups(self, beta: Floats) -> Evaluation:
        """Evaluate rows at risk from the start with Breslow ties, reading them once.

        The rows of each last event time give three moments, from which all else is made:
        sum_k H_k M2_k is X' diag(a) X, H the cumulative hazard and M2 the second moment.
        """
        rs, steps = self.risk_sets, self.steps
        total, offset = self._event_moments
        shift = self._shift(beta)
        risk, denominator, mean, second = sum_moments(
            self.x, beta, None if self._unit else self.weights, self.offset, shift, rs.pointer
        )
        rs.sum_backward(denominator)
        rs.sum_backward(mean)
        if self._empty is not None:
            denominator[self._empty] = 1.0
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            mean /= denominator[:, None]
            hazard = steps.weight / denominator
            loglik = dot(total, beta) + offset - shift * self.total_weight
            loglik -= dot(steps.weight, np.log(denominator))
            score = total - steps.weight @ mean
            information = np.tensordot(rs.sum_forward(hazard), second, 1) - gram(mean, steps.weight)
        return Evaluation(float(loglik), score, information, risk, hazard, mean, shift)

    @cached_property
    def _event_moments(self) -> tuple[Floats, float]:
        """Weighted sums of the covariates, shape (p,), and of the offset over the events."""
        total = np.zeros(self.x.shape[1])
        for part in blocks(self.x):
            total += weighted_sum(self._events(part), self.x[part])
        return total, 0.0 if self.offset is None else dot(self.event_weight, self.offset)

    @cached_property
    def largest(self) -> Floats:
        """Largest absolute value of each covariate, shape (p,)."""
        return largest(self.x)

    def _shift(self, beta: Floats) -> float:
        """Return 0 where exp() of every linear predictor is well within its range, else the largest of them."""
        bound = float(np.abs(beta) @ self.largest)
        if self.offset is not None:
            bound += float(np.abs(self.offset).max(initial=0.0))
        if bound <= _SAFE:
            return 0.0
        log_risk = times(self.x, beta)
        return float((log_risk if self.offset is None else log_risk + self.offset).max(initial=-np.inf))

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
            own = x[part] if center is None else x[part] - np.take(center, rs.last[part], axis=0)
            information += (own * expected[part, None]).T @ own
            score += weighted_sum(excess[part], own)
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

    def cluster_scores(self, at: Evaluation, cluster: Codes, n_cluster: int) -> Floats:
        """Sum the weighted score residuals within clusters: shape (n_cluster, p).

        ``cluster`` is the code of each row at risk, shape (m,), of any type of integers. Rows are done in blocks, so
        that no second array of the size of the covariates is made.
        """
        if self.ties == "breslow" and self._sums_apart(n_cluster):
            return self._cluster_scores(at, cluster, n_cluster)
        p = self.x.shape[1]
        total = np.zeros((n_cluster, p))
        residuals = self._score_residuals(at)
        for part in blocks(self.x):
            residual = residuals(part)
            if not self._unit:
                residual *= self.weights[part, None]
            codes, count = cluster[part].astype(np.int64, copy=False), n_cluster
            if n_cluster > _MANY:
                here, codes = np.unique(codes, return_inverse=True)
                count = len(here)
            sums = [np.bincount(codes, weights=column, minlength=count) for column in residual.T]
            total[here if n_cluster > _MANY else slice(None)] += np.column_stack(sums) if p else 0.0
        return total

    def _sums_apart(self, n_cluster: int) -> bool:
        """Tell whether rows and event times can be summed apart within clusters."""
        rs = self.risk_sets
        return rs.at_risk_once or (rs.from_the_start and n_cluster * rs.n_times <= max(4 * len(rs.rows), 10_000))

    def _cluster_scores(self, at: Evaluation, cluster: Codes, n_cluster: int) -> Floats:
        """Sum the weighted score residuals of Breslow's likelihood within clusters.

        With M the martingale residual and H, E the cumulative hazard and its product with the mean, row i has
        M_i x_i + a_i E_i / H_i - event_i mean_i: sums of rows, and sums of means by cluster and event time. Rows at
        risk once have M_i (x_i - mean_i), which is kept as it is: it loses no digits to a trend over time.
        """
        rs = self.risk_sets
        once, cells = rs.at_risk_once, n_cluster * rs.n_times
        hazard = at.hazard if once else rs.sum_forward(at.hazard)
        total = np.zeros((n_cluster, self.x.shape[1]))
        by_risk, by_event = np.zeros(0 if once else cells), np.zeros(0 if once else cells)
        # Each block adds to all sums, so it has as many rows as there are clusters, and not much fewer than cells.
        size = max(_SUMMED, n_cluster if once else cells // 4)
        for begin in range(0, len(self.x), size):
            part = slice(begin, begin + size)
            own, last, codes = self.x[part], rs.last[part], cluster[part].astype(np.int64, copy=False)
            events = self._events(part)
            weighted = at.risk[part] if self._unit else self.weights[part] * at.risk[part]
            if once:
                own = own - np.take(at.mean, last, axis=0)
            else:
                cell = codes * rs.n_times + last
                by_risk += np.bincount(cell, weights=weighted, minlength=cells)
                by_event += np.bincount(cell, weights=events, minlength=cells)
            total += sum_rows(events - weighted * np.take(hazard, last), codes, n_cluster, own)
        if not once:
            total += by_risk.reshape(n_cluster, -1) @ rs.sum_forward(at.hazard[:, None] * at.mean)
            total -= by_event.reshape(n_cluster, -1) @ at.mean
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


def _even(rows: Floats) -> Floats:
    """Add a row of zeros to 3, 7, 11 .. rows: their products take twice as long as those of one more."""
    return np.vstack([rows, np.zeros_like(rows[:1])]) if len(rows) % 4 == 3 else rows


def _steps(rs: RiskSets, event_weight: Floats, ties: str) -> Steps:
    total = np.asarray(rs.sum_ending(event_weight))
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
