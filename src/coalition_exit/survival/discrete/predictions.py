"""Hazard and survival along periods, and differences between two scenarios, by the delta method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coalition_exit.errors import DataError
from coalition_exit.survival.data.surv import Floats, Integers
from coalition_exit.survival.discrete.durations import Baseline
from coalition_exit.survival.discrete.glm_fit import CONSTANT
from coalition_exit.survival.discrete.glm_links import Link
from coalition_exit.survival.discrete.glm_predict import probabilities, reach_of, survival_path
from coalition_exit.survival.discrete.strata import StratifiedBaseline

QUANTITIES = ("survival", "incidence", "hazard")


def assemble(
    x: Floats,
    names: tuple[str, ...],
    baseline: Baseline | StratifiedBaseline,
    period: Integers,
    nonproportional: tuple[str, ...],
    stratum: Integers | None = None,
) -> tuple[Floats, tuple[str, ...]]:
    """Design matrix and its terms: covariates, their interactions with duration, duration, constant."""
    parts, terms = [x], list(names)
    if nonproportional:
        shared = baseline.shared(period)
        for name in nonproportional:
            parts.append(x[:, [names.index(name)]] * shared)
            terms += [f"{name}:{term}" for term in baseline.shared_names]
    basis = baseline.basis(period, stratum)
    return np.column_stack([*parts, basis, np.ones(len(period))]), (*terms, *baseline.names, CONSTANT)


@dataclass(frozen=True, eq=False)
class Scenario:
    """One scenario over K consecutive periods.

    Attributes
    ----------
    name : object
        What stands in the column ``scenario``.
    stratum : str
        Its label, "" without strata.
    periods : ndarray of int, shape (K,)
    known : ndarray of bool, shape (K,)
        False where "dummies" left the period out, as nobody had an event: the hazard is 0.
    x : ndarray, shape (number known, p)
        Rows of the design matrix.
    """

    name: object
    stratum: str
    periods: Integers
    known: NDArray[np.bool_]
    x: Floats


def curve(
    scenario: Scenario, beta: Floats, covariance: Floats, link: Link, level: float, offset: float, length: float
) -> pd.DataFrame:
    """Hazard and survival by period: the table of `DiscreteFit.predict`."""
    periods, known = scenario.periods, scenario.known
    hazard = probabilities(scenario.x, beta, covariance, link, level, offset)
    survival = survival_path(scenario.x, beta, covariance, link, level, offset)
    table = pd.DataFrame({"period": periods, "time": periods * length})
    empty = {"hazard": 0.0, "std_error": np.nan, "conf_low": np.nan, "conf_high": np.nan}
    found = (hazard.hazard, hazard.std_error, hazard.low, hazard.high)
    for (name, default), column in zip(empty.items(), found, strict=True):
        table[name] = default
        table.loc[known, name] = column
    # Before the first event survival is 1; a period without hazard leaves it as it was.
    at = np.cumsum(known)
    columns = {
        "survival": (1.0, survival.survival),
        "survival_std_error": (0.0, survival.std_error),
        "survival_low": (1.0, survival.low),
        "survival_high": (1.0, survival.high),
    }
    for name, (before, column) in columns.items():
        table[name] = np.append(before, column)[at]
    return table


def difference(
    one: Scenario,
    two: Scenario,
    quantity: str,
    beta: Floats,
    covariance: Floats,
    link: Link,
    level: float,
    offset: float,
    length: float,
) -> pd.DataFrame:
    """Scenario one minus scenario two by period: period, time, estimate, std_error, statistic, p_value and interval.

    The interval is symmetric, as that of a difference; where both scenarios are certain (nobody has an
    event so far) the error is 0 and the statistic missing.
    """
    from scipy.special import ndtr

    values = [_value(s, quantity, beta, link, offset) for s in (one, two)]
    estimate = values[0][0] - values[1][0]
    gradient = values[0][1] - values[1][1]
    error = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", gradient, covariance, gradient), 0.0))
    statistic = np.divide(estimate, error, out=np.full(len(error), np.nan), where=error > 0)
    reach = reach_of(level) * error
    return pd.DataFrame(
        {
            "period": one.periods,
            "time": one.periods * length,
            "estimate": estimate,
            "std_error": error,
            "statistic": statistic,
            "p_value": 2 * ndtr(-np.abs(statistic)),
            "conf_low": estimate - reach,
            "conf_high": estimate + reach,
        }
    )


def _value(scenario: Scenario, quantity: str, beta: Floats, link: Link, offset: float) -> tuple[Floats, Floats]:
    """A quantity by period, shape (K,), and its gradient by the coefficients, shape (K, p)."""
    x, known = scenario.x, scenario.known
    eta = x @ beta + offset
    if quantity == "hazard":
        value, gradient = np.zeros(len(known)), np.zeros((len(known), x.shape[1]))
        value[known], gradient[known] = link.inverse(eta), link.density(eta)[:, None] * x
        return value, gradient
    rows = link.rows(eta, np.zeros(len(eta), dtype=bool))
    at = np.cumsum(known)
    log = np.append(0.0, np.cumsum(rows.loglik))[at]
    slope = np.concatenate([np.zeros((1, x.shape[1])), np.cumsum(rows.first[:, None] * x, axis=0)])[at]
    survival = np.exp(log)
    sign = 1.0 if quantity == "survival" else -1.0
    return (survival if sign > 0 else -np.expm1(log)), sign * survival[:, None] * slope


def check_periods(periods: int | Sequence[int] | None, last: int, kind: str, extrapolate: bool, label: str) -> Integers:
    """Return consecutive periods, all up to ``last`` for None.

    Raises
    ------
    DataError
        Periods that are not consecutive, or beyond the last in the data (of the stratum).
    """
    if periods is None:
        return np.arange(1, last + 1)
    given = np.arange(1, periods + 1) if isinstance(periods, int) else np.asarray(periods)
    whole = given.ndim == 1 and len(given) > 0 and bool(np.all(given == np.round(given)))
    if not whole or given[0] < 1 or (np.diff(given) != 1).any():
        raise DataError("periods", "a whole number, or consecutive ones from 1 or later", repr(periods))
    if given[-1] > last and (not extrapolate or kind == "dummies"):
        hint = "" if kind == "dummies" else "extrapolate=True goes on"
        where = f"the last in the data of stratum {label}" if label else "the last in the data"
        raise DataError("periods", f"at most {last}, {where}", str(given[-1]), hint)
    return given.astype(np.int64)
