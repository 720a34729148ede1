"""Durations read off predicted survival curves: restricted mean, quantiles, expected duration.

The curve is a step function S(t) = exp(-H(t)), 1 from its start to the first event time. With A_k the area
under it from event time k to tau, the restricted mean has derivative -A_k to the jump of H at k; its
variance is the sum of A_k^2 var(jump k) and G' V G with G = -sum A_k dH_k / db.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from coalition_exit.errors import DataError
from coalition_exit.survival.data.surv import Floats
from coalition_exit.survival.quantities.predict import (
    CONF_TYPES,
    check_conf_type,
    check_kind,
    compare,
    critical,
    hazard_at,
    names_of,
    running,
    shared_times,
    survival_limits,
)
from coalition_exit.survival.quantities.scenarios import Scenarios, Trajectory
from coalition_exit.survival.shown import Shown

# R's quantile.survfit takes values this close to the probability as equal to it.
_EQUAL = float(np.sqrt(np.finfo(float).eps))


@dataclass(frozen=True, eq=False)
class SurvivalTimes(Shown):
    """Durations in a table.

    Attributes
    ----------
    table : DataFrame
        scenario, (stratum,) tau or probability, estimate, std_error (but for quantiles), conf_low, conf_high; where a
        duration may not exist, ``reason`` says why it is NaN.
    quantity : str
    level : float
        Confidence level.
    """

    table: pd.DataFrame
    quantity: str
    level: float

    @property
    def heading(self) -> str:
        return f"{self.quantity}: {100 * self.level:g}% intervals"

    @property
    def shown(self) -> pd.DataFrame:
        return self.table


@dataclass(frozen=True, eq=False)
class _Area:
    """Area under a curve to tau; ``after`` is the area from each passed event time on, shape (E,)."""

    value: float
    gradient: Floats
    variance: float
    after: Floats


def restricted_mean(scenarios: Scenarios, tau: float, *, level: float = 0.95) -> SurvivalTimes:
    """Mean duration up to ``tau``, counted from the start of each curve.

    Parameters
    ----------
    scenarios
        From `fixed_scenarios` or `path_scenarios`.
    tau
        Time to which the curves are integrated; at most the last follow-up.
    level
        Confidence level of the symmetric interval.

    Raises
    ------
    DataError
        When ``tau`` is not after a curve's start, or after the time to which it is known.

    References
    ----------
    Karrison, T. (1987), JASA 82, 1169-1176; Zucker, D. M. (1998), JASA 93, 702-709.
    """
    z, parts = critical(level), []
    for item in scenarios:
        area = _area(item, tau)
        error = float(np.sqrt(area.variance + area.gradient @ scenarios.jumps.vcov @ area.gradient))
        values = (area.value, error, area.value - z * error, area.value + z * error)
        parts.append(names_of(scenarios, item, 1) | _columns(values, tau=float(tau)))
    return SurvivalTimes(_table(parts), "restricted_mean", level)


def restricted_mean_contrast(
    scenarios: Scenarios,
    first: Hashable,
    second: Hashable,
    tau: float,
    *,
    kind: str = "difference",
    level: float = 0.95,
) -> SurvivalTimes:
    """Compare the restricted means of two scenarios, with the covariance between them.

    Parameters
    ----------
    scenarios, tau, level
        As for `restricted_mean`.
    first, second
        Labels of the scenarios.
    kind
        "difference" (symmetric interval) or "ratio" (interval symmetric for the logarithm).

    Raises
    ------
    DataError
        As `restricted_mean`, and on an unknown scenario or ``kind``.
    """
    z = check_kind(kind, level)
    one, two = scenarios.pair(first, second)
    a, b = _area(one, tau), _area(two, tau)
    mine, yours = shared_times(one, two)
    inside = (mine < len(a.after)) & (yours < len(b.after))
    mine, yours = mine[inside], yours[inside]
    jump = one.relative[mine] * two.relative[yours] * scenarios.jumps.variance[one.at[mine]]
    shared = float(a.after[mine] * b.after[yours] @ jump)
    # The ratio's logarithm has derivatives 1 / area.
    scale = (1.0, 1.0) if kind == "difference" else (1 / a.value, 1 / b.value)
    gradient = scale[0] * a.gradient - scale[1] * b.gradient
    own = scale[0] ** 2 * a.variance + scale[1] ** 2 * b.variance - 2 * scale[0] * scale[1] * shared
    error = np.sqrt(max(own, 0.0) + gradient @ scenarios.jumps.vcov @ gradient)
    mark, values = compare(np.array(a.value), np.array(b.value), error, kind, z)
    columns = {"scenario": [f"{first} {mark} {second}"]} | _columns(values, tau=float(tau))
    return SurvivalTimes(_table([columns]), f"restricted_mean {kind}", level)


def _columns(values: tuple[float | Floats, ...], **before: object) -> dict[str, object]:
    names = ("estimate", "std_error", "conf_low", "conf_high")
    columns: dict[str, object] = {name: [value] for name, value in before.items()}
    return columns | {name: [float(value)] for name, value in zip(names, values, strict=True)}


def _table(parts: list[dict[str, object]]) -> pd.DataFrame:
    return pd.concat([pd.DataFrame(part) for part in parts], ignore_index=True)


def _area(item: Trajectory, tau: float) -> _Area:
    if not item.begin < tau <= item.end:
        expected = f"a time after {item.begin:g} and at most {item.end:g}, to which {item.label!r} is known"
        raise DataError("tau", expected, repr(tau))
    inside = int(item.passed(np.array([tau]))[0])
    survived = np.exp(-running(item.hazard[:inside]))
    pieces = survived * np.diff(item.times[:inside], prepend=item.begin, append=tau)
    after = np.cumsum(pieces[::-1])[::-1][1:]
    gradient = -(after @ item.gradient[:inside])
    return _Area(float(pieces.sum()), gradient, float(after**2 @ item.variance[:inside]), after)


def survival_quantile(
    scenarios: Scenarios, probability: float = 0.5, *, conf_type: str = "log", level: float = 0.95
) -> SurvivalTimes:
    """Time by which the event has happened with a given probability: 0.5 for the median duration.

    As R's ``quantile(survfit(fit, newdata))``: the first time at which S <= 1 - probability; if S equals
    it exactly, the middle between that time and the next fall, or the last follow-up if there is none. The limits
    are the times at which the confidence limits of S get there (Brookmeyer and Crowley 1982,
    Biometrics 38, 29-41).

    Parameters
    ----------
    scenarios
        From `fixed_scenarios` or `path_scenarios`.
    probability
        Between 0 and 1.
    conf_type, level
        As for `survival`.

    Returns
    -------
    SurvivalTimes
        There is no standard error. A quantile the curve does not reach within its follow-up is NaN,
        with the reason; so is a limit.

    Raises
    ------
    DataError
        On a ``probability`` outside (0, 1).
    """
    if not 0 < probability < 1:
        raise DataError("probability", "a number between 0 and 1", repr(probability))
    z, parts = check_conf_type(conf_type, CONF_TYPES, level), []
    for item in scenarios:
        hazard, error = hazard_at(item, scenarios.jumps.vcov, item.times)
        curves = (np.exp(-hazard), *survival_limits(hazard, error, conf_type, z))
        found = [_crossing(item, curve, 1 - probability) for curve in curves]
        reason = _why(item, curves, found, 1 - probability)
        columns = names_of(scenarios, item, 1) | {"probability": [probability], "estimate": [found[0]]}
        parts.append(columns | {"conf_low": [found[1]], "conf_high": [found[2]], "reason": [reason]})
    return SurvivalTimes(_table(parts), "quantile", level)


def _crossing(item: Trajectory, curve: Floats, level: float) -> float:
    keep = np.isfinite(curve)
    times, curve = item.times[keep], curve[keep]
    reached = np.flatnonzero(curve < level + _EQUAL)
    if not len(reached):
        return float("nan")
    first = times[reached[0]]
    if abs(curve[reached[0]] - level) >= _EQUAL:
        return float(first)
    lower = np.flatnonzero(curve < level - _EQUAL)
    return float((first + (times[lower[0]] if len(lower) else item.end)) / 2)


def _why(item: Trajectory, curves: tuple[Floats, ...], found: list[float], level: float) -> str:
    for name, curve, value in zip(("the curve", "the lower limit", "the upper limit"), curves, found, strict=True):
        if np.isnan(value):
            last = curve[-1] if len(curve) else 1.0
            return f"{name} ends at {last:.3g} at time {item.end:g} and does not fall to {level:g}"
    return ""


def expected_duration(scenarios: Scenarios, *, negligible: float = 0.0, level: float = 0.95) -> SurvivalTimes:
    """Mean duration, where the data identify it.

    exp(-H) never reaches 0 and is not known after the last follow-up, so the mean without restriction does not
    exist unless the reader takes what is left then for nothing.

    Parameters
    ----------
    scenarios
        From `fixed_scenarios` or `path_scenarios`.
    negligible
        Survival at the last follow-up up to which the rest of the curve counts as nothing: the mean is
        then the restricted mean up to there. With the default 0 there is no mean.
    level
        Confidence level.

    Returns
    -------
    SurvivalTimes
        NaN with the reason where there is no mean; where there is one, ``reason`` says what it left out.

    Raises
    ------
    DataError
        When ``negligible`` is not in [0, 0.1].
    """
    if not 0 <= negligible <= 0.1:
        raise DataError("negligible", "a survival between 0 and 0.1", repr(negligible))
    critical(level)
    parts = []
    for item in scenarios:
        left = float(np.exp(-item.hazard.sum()))
        if left <= negligible:
            one = Scenarios(scenarios.jumps, (item,), scenarios.stratified)
            row = restricted_mean(one, item.end, level=level).table.iloc[0]
            values = tuple(float(row[name]) for name in ("estimate", "std_error", "conf_low", "conf_high"))
            reason = f"restricted to the last follow-up at {item.end:g}, where survival is {left:.3g}"
        else:
            values = (float("nan"),) * 4
            reason = f"the curve ends at {left:.3g} at time {item.end:g}: use restricted_mean or survival_quantile"
        parts.append(names_of(scenarios, item, 1) | _columns(values) | {"reason": [reason]})
    return SurvivalTimes(_table(parts), "expected_duration", level)
