"""Sums over risk sets at the steps of Breslow's or Efron's likelihood, and back to the rows.

Only the public methods of the risk sets are used, so that they may hold weights of their own
(`finegray_risksets`).
"""

from __future__ import annotations

import numpy as np

from coalition_exit.survival.cox.partial import Steps
from coalition_exit.survival.cox.risksets import RiskSets
from coalition_exit.survival.data.surv import Floats


def per_time(steps: Steps, values: Floats) -> Floats:
    """Sum a quantity per step over the steps of each event time: (S, ...) to (K, ...)."""
    if not len(steps.at):
        return values
    return np.asarray(np.add.reduceat(values, np.flatnonzero(np.diff(steps.at, prepend=-1)), axis=0))


def sum_at_steps(risk_sets: RiskSets, steps: Steps, values: Floats) -> Floats:
    """Sum rows over the risk set of each step: (m, ...) to (S, ...)."""
    total = risk_sets.sum_at_risk(values)[steps.at]
    if steps.fraction.any():
        total = total - _column(steps.fraction, values) * risk_sets.sum_events(values)[steps.at]
    return np.asarray(total)


def sum_over_steps(risk_sets: RiskSets, steps: Steps, increments: Floats) -> Floats:
    """Sum increments over the steps at which each row is at risk: (S, ...) to (m, ...)."""
    total = risk_sets.accumulate(per_time(steps, increments))
    if steps.fraction.any():
        taken = per_time(steps, increments * _column(steps.fraction, increments))
        total[risk_sets.event] -= taken[risk_sets.last[risk_sets.event]]
    return total


def _column(fraction: Floats, like: Floats) -> Floats:
    return fraction if like.ndim == 1 else fraction[:, None]
