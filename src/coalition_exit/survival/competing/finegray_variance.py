"""Part of the Fine-Gray variance that comes from estimating the censoring distribution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from coalition_exit.survival.competing.finegray_risksets import Censoring, FineGrayRiskSets, exposure
from coalition_exit.survival.cox.partial import Evaluation, PartialLikelihood
from coalition_exit.survival.cox.step_sums import per_time
from coalition_exit.survival.data.surv import Floats, Integers, Surv


def censoring_terms(
    likelihood: PartialLikelihood,
    at: Evaluation,
    surv: Surv,
    censoring: Sequence[Censoring],
    cell: Integers,
    any_exit: NDArray[np.bool_],
    ends: NDArray[np.bool_],
    together: bool,
) -> Floats:
    """Influence of each row on the score through the censoring distribution: psi, shape (n, p).

    With q(u) the derivative of the score by the log of the censoring distribution at u, a row at risk
    adds -q(u) dN(u) / Y(u)^2 at every censoring time u, and q(u) / Y(u) when it is censored at u itself.

    Parameters
    ----------
    likelihood, at
        On `FineGrayRiskSets`, at the estimate.
    surv, cell, any_exit, ends
        All n rows: response, censoring stratum, exit for any cause, last row of its subject.
    censoring
        Estimates by censoring stratum, without late entry.
    together
        True is crr's form: exits at u are at risk there, a tail with exit T feels censorings in
        (T, t], and Nelson's increments dN / Y stand for the product-limit's. False is the exact
        derivative of the estimator: censorings in [T, t), increments dN / (Y - dN).

    References
    ----------
    Fine and Gray (1999), section 3; the estimates by censoring stratum follow Zhou, B., Latouche, A.,
    Rocha, V. and Fine, J. (2011), Biometrics 67, 661-670.
    """
    derivatives = [_score_derivative(likelihood, at, surv, c, e.times, together) for c, e in enumerate(censoring)]
    return _through_censoring(derivatives, surv, censoring, cell, any_exit, ends, together)


def hazard_censoring_terms(
    likelihood: PartialLikelihood,
    at: Evaluation,
    surv: Surv,
    censoring: Sequence[Censoring],
    cell: Integers,
    any_exit: NDArray[np.bool_],
    ends: NDArray[np.bool_],
    together: bool,
    wanted: Integers,
) -> Floats:
    """Influence of each row on the cumulative baseline hazard through the censoring distribution: shape (n, T).

    Parameters
    ----------
    wanted
        Event times, by place, up to which the hazard is summed: shape (T,).
    likelihood, at, surv, censoring, cell, any_exit, ends, together
        As in `censoring_terms`.
    """
    derivatives = [
        _hazard_derivative(likelihood, at, surv, c, e.times, together, wanted) for c, e in enumerate(censoring)
    ]
    return _through_censoring(derivatives, surv, censoring, cell, any_exit, ends, together)


def _through_censoring(
    derivatives: Sequence[Floats],
    surv: Surv,
    censoring: Sequence[Censoring],
    cell: Integers,
    any_exit: NDArray[np.bool_],
    ends: NDArray[np.bool_],
    together: bool,
) -> Floats:
    """Influence of each row on what has these derivatives by the censoring hazard, (U, q) by stratum: shape (n, q)."""
    p = derivatives[0].shape[1]
    psi = np.zeros((len(surv), p))
    for c, (estimate, derivative) in enumerate(zip(censoring, derivatives, strict=True)):
        if not len(estimate.times):
            continue
        stayed = estimate.at_risk if together else estimate.at_risk - estimate.censored
        unit = derivative / np.where(stayed > 0, stayed, np.inf)[:, None]
        running = np.concatenate([np.zeros((1, p)), np.cumsum(unit * _rate(estimate)[:, None], axis=0)])
        rows = np.flatnonzero(cell == c)
        enter, leave = exposure(surv, any_exit, estimate.times, together)
        psi[rows] = running[enter[rows]] - running[np.maximum(leave, enter)[rows]]
        own = np.flatnonzero((cell == c) & ends & ~any_exit)
        psi[own] += unit[np.searchsorted(estimate.times, surv.stop[own])]
    return psi


def _rate(estimate: Censoring) -> Floats:
    return estimate.censored / estimate.at_risk


def _score_derivative(
    likelihood: PartialLikelihood, at: Evaluation, surv: Surv, c: int, when: Floats, together: bool
) -> Floats:
    """q(u) of censoring stratum c at its censoring times: shape (U, p)."""
    rs = likelihood.risk_sets
    assert isinstance(rs, FineGrayRiskSets)
    tails, steps = rs.tails, likelihood.steps
    hazard, hazard_mean = per_time(steps, at.hazard), per_time(steps, at.hazard[:, None] * at.mean)
    mass = likelihood.weights[tails.rows] * at.risk[tails.rows] / tails.exit_weight
    exits = surv.stop[rs.rows[tails.rows]]
    total = np.zeros((len(when), likelihood.x.shape[1]))
    for q in np.flatnonzero(tails.censoring == c):
        part = slice(tails.bounds[q], tails.bounds[q + 1])
        index, weight = tails.time_index[part], tails.weight[part]
        later = np.searchsorted(rs.times[index], when, side="left" if together else "right")
        since = _from_end(hazard[index] * weight)[later]
        since_mean = _from_end(hazard_mean[index] * weight[:, None])[later]
        mine = np.flatnonzero(tails.cell == q)
        mine = mine[np.argsort(exits[mine], kind="stable")]
        before = np.searchsorted(exits[mine], when, side="left" if together else "right")
        gone = np.append(0.0, np.cumsum(mass[mine]))[before]
        moment = mass[mine, None] * likelihood.x[tails.rows[mine]]
        gone_x = np.concatenate([np.zeros((1, moment.shape[1])), np.cumsum(moment, axis=0)])[before]
        total += gone_x * since[:, None] - gone[:, None] * since_mean
    return total


def _hazard_derivative(
    likelihood: PartialLikelihood,
    at: Evaluation,
    surv: Surv,
    c: int,
    when: Floats,
    together: bool,
    wanted: Integers,
) -> Floats:
    """Derivative of the cumulative baseline hazard by the censoring hazard of stratum c: shape (U, T)."""
    rs = likelihood.risk_sets
    assert isinstance(rs, FineGrayRiskSets)
    tails, steps = rs.tails, likelihood.steps
    share = np.divide(at.hazard, steps.weight, out=np.zeros_like(at.hazard), where=steps.weight > 0)
    rate = per_time(steps, at.hazard * share)
    mass = likelihood.weights[tails.rows] * at.risk[tails.rows] / tails.exit_weight
    exits = surv.stop[rs.rows[tails.rows]]
    total = np.zeros((len(when), len(wanted)))
    for q in np.flatnonzero(tails.censoring == c):
        part = slice(tails.bounds[q], tails.bounds[q + 1])
        index, weight = tails.time_index[part], tails.weight[part]
        later = np.searchsorted(rs.times[index], when, side="left" if together else "right")
        running = np.append(0.0, np.cumsum(rate[index] * weight))
        until = np.searchsorted(index, wanted, side="right")
        mine = np.flatnonzero(tails.cell == q)
        mine = mine[np.argsort(exits[mine], kind="stable")]
        before = np.searchsorted(exits[mine], when, side="left" if together else "right")
        gone = np.append(0.0, np.cumsum(mass[mine]))[before]
        total += gone[:, None] * np.maximum(running[until] - running[later][:, None], 0.0)
    return total


def _from_end(values: Floats) -> Floats:
    """Sums from each place to the end, with a 0 behind the last."""
    zero = np.zeros((1, *values.shape[1:]))
    return np.concatenate([np.cumsum(values[::-1], axis=0)[::-1], zero])
