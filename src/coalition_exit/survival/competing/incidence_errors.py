"""Cumulative incidences predicted from models of competing exits, and their errors.

A predicted incidence is a function of the coefficients and of the baseline hazards' increments; its
derivative by them turns into errors in two ways.

infinitesimal
    The infinitesimal jackknife: the squared change of the prediction when the weight of one unit
    (subject, or cluster) changes, summed over units. It counts everything that the unit does to
    coefficients and baselines, and needs no assumption about the units but their independence.
delta
    The delta method of R's ``survfit.coxph``: the baselines' increments independent of each other and of the
    coefficients, with the covariance of the coefficients as the fit has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse

from coalition_exit.errors import DataError, nearest, one_of
from coalition_exit.survival.cox.partial import Evaluation, PartialLikelihood
from coalition_exit.survival.cox.step_sums import per_time, sum_over_steps
from coalition_exit.survival.data.surv import Floats, Integers

VARIANCES = ("infinitesimal", "delta", "none")
INTERVALS = ("log", "log-log", "plain")
# Largest table of rows by times that is held at once.
_MOST = 4_000_000


def check_interval_options(variance: str, conf_type: str, level: float) -> None:
    """Refuse unknown options of predicted incidences.

    Raises
    ------
    DataError
        Names the option and the nearest valid value.
    """
    for name, value, valid in (("variance", variance, VARIANCES), ("conf_type", conf_type, INTERVALS)):
        if value not in valid:
            raise DataError(name, one_of(valid), repr(value), nearest(str(value), valid))
    if not 0 < level < 1:
        raise DataError("level", "a number between 0 and 1", repr(level))


@dataclass(frozen=True, eq=False)
class HazardModel:
    """What the errors need of one fitted hazard: m rows, S steps, p coefficients, U units.

    Attributes
    ----------
    likelihood, at
        Partial likelihood and its value at the estimate, covariates centred.
    unit : shape (m,)
        Unit of each row.
    n_unit : int
    coefficients : shape (U, p)
        Influence of each unit on the coefficients.
    """

    likelihood: PartialLikelihood
    at: Evaluation
    unit: Integers
    n_unit: int
    coefficients: Floats

    @property
    def share(self) -> Floats:
        """1 / denominator of each step, shape (S,); 0 where the step has no weight."""
        weight = self.likelihood.steps.weight
        return np.asarray(np.divide(self.at.hazard, weight, out=np.zeros_like(weight), where=weight > 0))

    def direction(self, factors: Floats, x: Floats) -> Floats:
        """Derivative by the coefficients of sums over steps of factors times exp(x b) dL: shape (T, p).

        Parameters
        ----------
        factors
            Factor of each step in each sum, with exp(x b) in it: shape (S, T).
        x
            Covariates of the scenario, centred: shape (p,).
        """
        weighted = factors * self.at.hazard[:, None]
        return np.asarray(weighted.sum(axis=0)[:, None] * x - weighted.T @ self.at.mean)

    def baseline_influence(self, factors: Floats) -> Floats:
        """Influence of each unit on sums over steps of factors times dL, coefficients fixed: shape (U, T)."""
        size = max(1, _MOST // max(len(self.unit), 1))
        parts = [self._influence(factors[:, k : k + size]) for k in range(0, factors.shape[1], size)]
        return np.column_stack(parts) if parts else np.zeros((self.n_unit, 0))

    def _influence(self, factors: Floats) -> Floats:
        rs, steps, share = self.likelihood.risk_sets, self.likelihood.steps, self.share[:, None]
        rows = -self.at.risk[:, None] * sum_over_steps(rs, steps, factors * share * self.at.hazard[:, None])
        own = per_time(steps, factors * share / steps.count[:, None])
        rows[rs.event] += own[rs.last[rs.event]]
        return sum_by_unit(rows, self.likelihood.weights, self.unit, self.n_unit)

    def increments_variance(self, factors: Floats) -> Floats:
        """Variance of sums over steps of factors times dL, the increments independent: shape (T,)."""
        return np.asarray((factors**2 * (self.at.hazard * self.share)[:, None]).sum(axis=0))


def sum_by_unit(values: Floats, weights: Floats, unit: Integers, n_unit: int) -> Floats:
    """Sum rows, shape (m, T), times their weights within units: shape (U, T)."""
    matrix = scipy.sparse.csc_array((weights, unit, np.arange(len(unit) + 1)), shape=(n_unit, len(unit)))
    return np.asarray(matrix @ values)


@dataclass(frozen=True, eq=False)
class IncidenceVariance:
    """Variances of one scenario's C cumulative incidences and of its event-free probability at T times."""

    incidence: Floats
    event_free: Floats


def incidence_variance(
    models: Sequence[HazardModel],
    covariance: Floats,
    x: Sequence[Floats],
    ratios: Sequence[float],
    places: Sequence[Integers],
    hazards: Floats,
    wanted: Integers,
    product: str,
    variance: str,
) -> IncidenceVariance:
    """Variance of the incidences of C causes for one scenario.

    Parameters
    ----------
    models
        Of the causes.
    covariance
        Of all causes' coefficients one after the other.
    x, ratios
        Centred covariates of the scenario and exp(x b), by cause, in the units of the model's hazards.
    places
        Place of each step's time on the common grid, by cause: shape (S,) each.
    hazards
        Increments of the causes' hazards for the scenario on the grid, shape (K, C).
    wanted
        Places on the grid of the T times.
    product, variance
        As in `CauseFits.predict`.
    """
    inner, outer, incidence = _derivatives(hazards, product)

    def factors(c: int, j: int) -> Floats:
        """Derivative of F_c at each time by the increment at each step of cause j's baseline: (S, T)."""
        at = places[j]
        whole = (inner[at, c, j][:, None] - incidence[wanted, c] * outer[at][:, None]) * ratios[j]
        return np.where(at[:, None] <= wanted, whole, 0.0)

    causes = range(len(models))
    # The event-free probability is 1 less the sum of the incidences, and so are its derivatives.
    if variance == "infinitesimal":
        influence = [_influence(models, x, [factors(c, j) for j in causes]) for c in causes]
        squares = np.column_stack([(one**2).sum(axis=0) for one in influence])
        return IncidenceVariance(squares, (np.sum(influence, axis=0) ** 2).sum(axis=0))
    each = [[factors(c, j) for j in causes] for c in causes]
    separate = np.column_stack([_delta(models, x, each[c], covariance) for c in causes])
    together = [np.sum([each[c][j] for c in causes], axis=0) for j in causes]
    return IncidenceVariance(separate, _delta(models, x, together, covariance))


def _influence(models: Sequence[HazardModel], x: Sequence[Floats], factors: Sequence[Floats]) -> Floats:
    """Influence of each unit: shape (U, T)."""
    total = np.zeros((models[0].n_unit, factors[0].shape[1]))
    for model, values, factor in zip(models, x, factors, strict=True):
        total += model.baseline_influence(factor) + model.coefficients @ model.direction(factor, values).T
    return total


def _delta(models: Sequence[HazardModel], x: Sequence[Floats], factors: Sequence[Floats], covariance: Floats) -> Floats:
    """Variance by the delta method: shape (T,)."""
    triples = list(zip(models, x, factors, strict=True))
    slope = np.concatenate([model.direction(factor, values) for model, values, factor in triples], axis=1)
    baseline = np.sum([model.increments_variance(factor) for model, _, factor in triples], axis=0)
    return np.asarray(baseline + np.einsum("ij,jk,ik->i", slope, covariance, slope))


def _derivatives(hazards: Floats, product: str) -> tuple[Floats, Floats, Floats]:
    """Parts of the derivative of F_c(t) by the increment of cause j's hazard at s <= t: inner_cj(s) - F_c(t) outer(s).

    Returns
    -------
    inner, outer, incidence : shapes (K, C, C), (K,) and (K, C)
    """
    total = hazards.sum(axis=1)
    n_cause = hazards.shape[1]
    one = np.eye(n_cause)
    some = np.where(total > 0, total, 1.0)
    share = hazards / some[:, None]
    if product == "exponential":
        fall = -np.expm1(-total)
        # Where no cause has an increment the derivative does not matter: no step is there.
        own = np.where(total > 0, fall / some, 1.0)
        local = np.exp(-total)[:, None, None] * share[:, :, None] + own[:, None, None] * (one - share[:, :, None])
        outer = np.ones(len(total))
    else:
        fall = np.minimum(total, 1.0)
        local = np.broadcast_to(one, (len(total), n_cause, n_cause))
        gone = total >= 1 - 1e-12
        outer = np.where(gone, 0.0, 1 / np.where(gone, 1.0, 1 - total))
    free = np.cumprod(1 - fall)
    before = np.append(1.0, free[:-1])
    incidence = np.cumsum((before * fall)[:, None] * share, axis=0)
    inner = before[:, None, None] * local + (incidence * outer[:, None])[:, :, None]
    return inner, outer, incidence


def incidence_from_hazards(hazards: Floats, product: str) -> tuple[Floats, Floats]:
    """Combine hazards of causes into cumulative incidences.

    Parameters
    ----------
    hazards
        Increments of the causes' cumulative hazards, shape (rows, K, C).
    product
        "exponential" or "limit": see `CauseFits.predict`.

    Returns
    -------
    incidence : shape (rows, K, C)
    event_free : shape (rows, K)
    """
    total = hazards.sum(axis=2)
    fall = -np.expm1(-total) if product == "exponential" else np.minimum(total, 1.0)
    free = np.cumprod(1 - fall, axis=1)
    before = np.concatenate([np.ones((len(free), 1)), free[:, :-1]], axis=1)
    share = hazards / np.where(total > 0, total, 1.0)[:, :, None]
    return np.cumsum((before * fall)[:, :, None] * share, axis=1), free
