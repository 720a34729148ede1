"""Survival and cumulative hazard after a Cox fit: curves, differences and ratios, bootstrap, changing effects.

With H the cumulative hazard of a scenario, D its derivative to the coefficients and V their
covariance, var(H) = sum of jump variances + D' V D (R's ``survfit.coxph``; Tsiatis 1981). Survival is exp(-H).
With a cluster-robust V only the second part is robust, as in R's ``survfit`` of a fit with clusters:
the jumps' own variance stays model-based.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import ndtri

from coalition_exit.errors import DataError, nearest, one_of
from coalition_exit.survival.data.surv import Floats, Integers
from coalition_exit.survival.quantities.baseline import HazardJumps, quadratic
from coalition_exit.survival.quantities.scenarios import Scenarios, Trajectory
from coalition_exit.survival.shown import Shown

CONF_TYPES = ("log", "log-log", "plain")
# Share of two variances below which their difference is rounding.
_ROUNDING = 1e-13


@dataclass(frozen=True, eq=False)
class Prediction(Shown):
    """Predicted values in a table.

    Attributes
    ----------
    table : DataFrame
        scenario, (stratum,) time, estimate, std_error, conf_low, conf_high. The standard error is that of the
        estimate as it stands. NaN marks times at which a curve is not known: before its start
        and after the last follow-up of its stratum.
    quantity : str
        What is estimated.
    conf_type : str
        How the interval was made.
    level : float
        Its confidence level.
    n_draws, n_failed : int
        Bootstrap draws used and left out (0 where there is no bootstrap).
    """

    table: pd.DataFrame
    quantity: str
    conf_type: str
    level: float
    n_draws: int = 0
    n_failed: int = 0

    @property
    def heading(self) -> str:
        draws = f" of {self.n_draws} draws, {self.n_failed} more without an estimate" if self.n_draws else ""
        return f"{self.quantity}: {100 * self.level:g}% intervals, {self.conf_type}{draws}"

    @property
    def shown(self) -> pd.DataFrame:
        return self.table

    def plot(self, ax: Any = None) -> Any:
        """Draw it with matplotlib, a step a scenario with its band, and return the axes."""
        from coalition_exit.survival import plots

        return plots.predictions(self.table, self.quantity, ax)


def survival(
    scenarios: Scenarios, times: ArrayLike | None = None, *, conf_type: str = "log", level: float = 0.95
) -> Prediction:
    """Predict survival curves, as R's ``survfit(fit, newdata)`` (``stype = 2``).

    Parameters
    ----------
    scenarios
        From `fixed_scenarios` or `path_scenarios`.
    times
        Times to predict at, shape (J,); by default the event times each scenario passes.
    conf_type
        "log": exp(log S -+ z se(H)) (R's default), "log-log": exp(-exp(log H -+ z se(H) / H)), not
        defined (NaN) while S = 1, or "plain": S -+ z S se(H). Limits are cut off at 0 and 1.
    level
        Confidence level.

    Raises
    ------
    DataError
        On an unknown ``conf_type``, a ``level`` outside (0, 1) or times that are no numbers.
    """
    z = check_conf_type(conf_type, CONF_TYPES, level)

    def limits(hazard: Floats, error: Floats) -> tuple[Floats, ...]:
        estimate = np.exp(-hazard)
        return estimate, estimate * error, *survival_limits(hazard, error, conf_type, z)

    return Prediction(_curves(scenarios, times, limits), "survival", conf_type, level)


def cumulative_hazard(
    scenarios: Scenarios, times: ArrayLike | None = None, *, conf_type: str = "log", level: float = 0.95
) -> Prediction:
    """Predict cumulative hazards, as R's ``survfit(fit, newdata)$cumhaz``.

    Parameters
    ----------
    scenarios, times, level
        As for `survival`.
    conf_type
        "plain": H -+ z se(H), cut off at 0; "log": exp(log H -+ z se(H) / H), not defined (NaN) while H = 0.

    Raises
    ------
    DataError
        As `survival`.
    """
    z = check_conf_type(conf_type, ("log", "plain"), level)

    def limits(hazard: Floats, error: Floats) -> tuple[Floats, ...]:
        if conf_type == "plain":
            return hazard, error, np.maximum(hazard - z * error, 0.0), hazard + z * error
        positive = np.where(hazard > 0, hazard, np.nan)
        reach = np.exp(z * error / positive)
        return hazard, error, positive / reach, positive * reach

    return Prediction(_curves(scenarios, times, limits), "cumulative_hazard", conf_type, level)


def survival_limits(hazard: Floats, error: Floats, conf_type: str, z: float) -> tuple[Floats, Floats]:
    """Return confidence limits of exp(-hazard); ``error`` is the standard error of ``hazard``."""
    if conf_type == "plain":
        estimate = np.exp(-hazard)
        reach = z * estimate * error
        return np.maximum(estimate - reach, 0.0), np.minimum(estimate + reach, 1.0)
    if conf_type == "log":
        return np.exp(-(hazard + z * error)), np.minimum(np.exp(-(hazard - z * error)), 1.0)
    positive = np.where(hazard > 0, hazard, np.nan)
    reach = np.exp(z * error / positive)
    return np.exp(-positive * reach), np.exp(-positive / reach)


def check_conf_type(conf_type: str, valid: tuple[str, ...], level: float) -> float:
    """Check a kind of interval and its level; return the normal quantile."""
    if conf_type not in valid:
        raise DataError("conf_type", one_of(valid), repr(conf_type), nearest(str(conf_type), valid))
    return critical(level)


def critical(level: float) -> float:
    """Return the normal quantile of a two-sided interval.

    Raises
    ------
    DataError
        When ``level`` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise DataError("level", "a number between 0 and 1", repr(level))
    return float(ndtri(0.5 + level / 2))


def check_times(times: ArrayLike) -> Floats:
    """Return times as an array, shape (J,).

    Raises
    ------
    DataError
        When they are not finite numbers.
    """
    values = np.atleast_1d(np.asarray(times, dtype=np.float64))
    if values.ndim != 1 or not np.isfinite(values).all():
        raise DataError("times", "finite numbers", str(times))
    return values


def running(values: Floats) -> Floats:
    """Return cumulative sums along the first axis with a zero in front: (E, ...) to (E + 1, ...)."""
    return np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])


def hazard_at(item: Trajectory, vcov: Floats, times: Floats) -> tuple[Floats, Floats]:
    """Return cumulative hazard of a scenario and its standard error at times, shape (J,) both."""
    passed = item.passed(times)
    variance = running(item.variance)[passed] + quadratic(running(item.gradient)[passed], vcov)
    return running(item.hazard)[passed], np.sqrt(variance)


def names_of(scenarios: Scenarios, item: Trajectory, count: int) -> dict[str, object]:
    """Return the leading columns of a table: scenario and, in a stratified fit, stratum."""
    columns: dict[str, object] = {"scenario": [item.label] * count}
    return columns | ({"stratum": [item.stratum] * count} if scenarios.stratified else {})


def _curves(
    scenarios: Scenarios, times: ArrayLike | None, limits: Callable[[Floats, Floats], tuple[Floats, ...]]
) -> pd.DataFrame:
    chosen = None if times is None else check_times(times)
    parts = []
    for item in scenarios:
        at = item.times if chosen is None else chosen
        values = limits(*hazard_at(item, scenarios.jumps.vcov, at))
        known = item.known(at)
        columns = names_of(scenarios, item, len(at)) | {"time": at}
        for name, value in zip(("estimate", "std_error", "conf_low", "conf_high"), values, strict=True):
            columns[name] = np.where(known, value, np.nan)
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def survival_contrast(
    scenarios: Scenarios,
    first: Hashable,
    second: Hashable,
    times: ArrayLike | None = None,
    *,
    kind: str = "difference",
    level: float = 0.95,
) -> Prediction:
    """Compare the survival of two scenarios, with the covariance between their estimates.

    Parameters
    ----------
    scenarios, times, level
        As for `survival`; by default all event times either scenario passes.
    first, second
        Labels of the scenarios.
    kind
        "difference": S1 - S2 with a symmetric interval (not cut off at -1 and 1); "ratio": S1 / S2 with the
        interval exp(log ratio -+ z se(log ratio)).

    Notes
    -----
    With jumps r1 h and r2 h of the two cumulative hazards, the derivative of S1 - S2 to the coefficients is
    S2 D2 - S1 D1 and to the jumps h (S2 r2 - S1 r1) as far as each curve has passed them.

    Raises
    ------
    DataError
        On an unknown scenario or ``kind``.
    """
    z = check_kind(kind, level)
    one, two = scenarios.pair(first, second)
    at = np.union1d(one.times, two.times) if times is None else check_times(times)
    hazards, gradients, squares = zip(*(_parts_at(item, at) for item in (one, two)), strict=True)
    shared = _shared_variance(scenarios.jumps, one, two, at)
    survived = [np.exp(-hazard) for hazard in hazards]
    # The ratio's logarithm is H2 - H1: the same formula with both weights 1.
    weight = survived if kind == "difference" else [np.ones(len(at))] * 2
    gradient = weight[1][:, None] * gradients[1] - weight[0][:, None] * gradients[0]
    both = weight[0] ** 2 * squares[0] + weight[1] ** 2 * squares[1]
    own = both - 2 * weight[0] * weight[1] * shared
    # What is left of two equal hazards is rounding, and its root would not be small.
    own = np.where(own > _ROUNDING * both, own, 0.0)
    error = np.sqrt(own + quadratic(gradient, scenarios.jumps.vcov))
    known = one.known(at) & two.known(at)
    mark, values = compare(survived[0], survived[1], error, kind, z)
    table = pd.DataFrame({"scenario": f"{first} {mark} {second}", "time": at})
    for name, value in zip(("estimate", "std_error", "conf_low", "conf_high"), values, strict=True):
        table[name] = np.where(known, value, np.nan)
    return Prediction(table, f"survival {kind}", "plain" if kind == "difference" else "log", level)


def check_kind(kind: str, level: float) -> float:
    """Check a kind of comparison and the level of its interval; return the normal quantile."""
    if kind not in ("difference", "ratio"):
        raise DataError("kind", "difference or ratio", repr(kind), nearest(str(kind), ("difference", "ratio")))
    return critical(level)


def compare(one: Floats, two: Floats, error: Floats, kind: str, z: float) -> tuple[str, tuple[Floats, ...]]:
    """Return sign and estimate, standard error, limits of a difference, or of a ratio from the error of its log."""
    if kind == "difference":
        gap = one - two
        return "-", (gap, error, gap - z * error, gap + z * error)
    ratio = one / two
    reach = np.exp(z * error)
    return "/", (ratio, ratio * error, ratio / reach, ratio * reach)


def _parts_at(item: Trajectory, at: Floats) -> tuple[Floats, Floats, Floats]:
    passed = item.passed(at)
    return tuple(running(part)[passed] for part in (item.hazard, item.gradient, item.variance))  # type: ignore[return-value]


def _shared_variance(jumps: HazardJumps, one: Trajectory, two: Trajectory, at: Floats) -> Floats:
    """Covariance at given coefficients of two cumulative hazards, shape of ``at``."""
    mine, yours = shared_times(one, two)
    common = one.relative[mine] * two.relative[yours] * jumps.variance[one.at[mine]]
    return running(common)[np.searchsorted(one.times[mine], at, side="right")]


def shared_times(one: Trajectory, two: Trajectory) -> tuple[Integers, Integers]:
    """Return where, in each of two scenarios, the event times stand that both pass, in order of time."""
    _, mine, yours = np.intersect1d(one.at, two.at, assume_unique=True, return_indices=True)
    order = np.argsort(one.times[mine], kind="stable")
    return mine[order], yours[order]


def bootstrap_survival(
    scenarios: Scenarios,
    times: ArrayLike,
    coefficients: ArrayLike,
    hazard: Callable[[int], ArrayLike],
    *,
    quantity: str = "survival",
    level: float = 0.95,
) -> Prediction:
    """Percentile intervals of survival from refits, for example those of a cluster bootstrap.

    Parameters
    ----------
    scenarios, times
        As for `survival`.
    coefficients
        Coefficients of the B refits, shape (B, p). A row with a NaN is a refit without estimate; it is left
        out and counted in ``n_failed``.
    hazard
        Called with a refit's number, returns its K jumps of the cumulative hazard at the fit's event times, for
        covariates at ``state.center`` and offset 0: `reweighted_hazard` makes it from case weights.
    quantity
        "survival" or "cumulative_hazard".
    level
        Confidence level: the interval runs between the (1 - level) / 2 and (1 + level) / 2 quantiles of
        the draws (numpy's default, linear interpolation).

    Returns
    -------
    Prediction
        ``estimate`` is the fit's own, ``std_error`` the standard deviation of the draws.

    Raises
    ------
    DataError
        On wrong shapes, or fewer than two refits with an estimate.
    """
    critical(level)
    if quantity not in ("survival", "cumulative_hazard"):
        raise DataError("quantity", "survival or cumulative_hazard", repr(quantity))
    beta, at = np.asarray(coefficients, dtype=np.float64), check_times(times)
    jumps = scenarios.jumps
    if beta.ndim != 2 or beta.shape[1] != len(jumps.beta):
        raise DataError("coefficients", f"shape (draws, {len(jumps.beta)})", str(beta.shape))
    good = np.flatnonzero(np.isfinite(beta).all(axis=1))
    if len(good) < 2:
        raise DataError("coefficients", "at least two refits with an estimate", str(len(good)))
    draws = np.empty((len(good), len(scenarios), len(at)))
    for row, draw in enumerate(good):
        drawn = np.asarray(hazard(int(draw)), dtype=np.float64)
        if drawn.shape != jumps.times.shape:
            raise DataError(f"hazard, draw {draw}", f"shape {jumps.times.shape}", str(drawn.shape))
        for place, item in enumerate(scenarios):
            relative = np.exp(item.x @ beta[draw] + item.offset)[item.piece]
            draws[row, place] = running(relative * drawn[item.at])[item.passed(at)]
    return _percentiles(scenarios, at, draws, quantity, level, len(beta) - len(good))


def _percentiles(
    scenarios: Scenarios, at: Floats, draws: Floats, quantity: str, level: float, n_failed: int
) -> Prediction:
    turn: Callable[[Floats], Floats] = (lambda h: np.exp(-h)) if quantity == "survival" else (lambda h: h)
    values = turn(draws)
    limits = np.quantile(values, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    parts = []
    for place, item in enumerate(scenarios):
        own = turn(running(item.hazard)[item.passed(at)])
        columns = names_of(scenarios, item, len(at)) | {"time": at}
        found = (own, values[:, place].std(axis=0, ddof=1), limits[0, place], limits[1, place])
        for name, value in zip(("estimate", "std_error", "conf_low", "conf_high"), found, strict=True):
            columns[name] = np.where(item.known(at), value, np.nan)
        parts.append(pd.DataFrame(columns))
    table = pd.concat(parts, ignore_index=True)
    return Prediction(table, quantity, "percentile", level, len(draws), n_failed)


def hazard_ratio_over_time(
    terms: Sequence[str],
    beta: ArrayLike,
    vcov: ArrayLike,
    term: str,
    by_time: Mapping[str, Callable[[Floats], ArrayLike]],
    times: ArrayLike,
    *,
    change: float = 1.0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Hazard ratio of a covariate whose effect changes over time: exp(change (b + c g(t) + ...)).

    Parameters
    ----------
    terms
        Names of the p coefficients.
    beta, vcov
        Coefficients, shape (p,), and their covariance, shape (p, p), cluster-robust for robust errors.
    term
        Name of the coefficient b of the covariate.
    by_time
        Name of the coefficient of each interaction with time, and its function g of time; given the array of
        times it returns one value each.
    times
        Times, in the unit of the data, shape (J,).
    change
        Change of the covariate the ratio is for.
    level
        Confidence level.

    Returns
    -------
    DataFrame
        term, time, estimate, std_error, conf_low, conf_high of the ratio (delta method, interval from its
        logarithm), log_estimate, log_std_error.

    References
    ----------
    Licht, A. A. (2011), Political Analysis 19, 227-243.

    Raises
    ------
    DataError
        On an unknown name, or a g that gives no finite number at a time.
    """
    names, b, matrix = list(terms), np.asarray(beta, dtype=np.float64), np.asarray(vcov, dtype=np.float64)
    if b.shape != (len(names),) or matrix.shape != (len(names), len(names)):
        raise DataError("beta, vcov", f"shapes ({len(names)},) and its square", f"{b.shape} and {matrix.shape}")
    if not by_time:
        raise DataError("by_time", "at least one interaction with time", "none")
    at, z = check_times(times), critical(level)
    load = np.zeros((len(at), len(names)))
    functions: dict[str, Callable[[Floats], ArrayLike]] = {term: np.ones_like, **by_time}
    for name, of_time in functions.items():
        if name not in names:
            raise DataError("term" if name == term else "by_time", one_of(names), repr(name), nearest(name, names))
        with np.errstate(all="ignore"):
            value = np.asarray(of_time(at), dtype=np.float64)
        value = np.broadcast_to(value, at.shape)
        bad = ~np.isfinite(value)
        if bad.any():
            place = f"by_time, {name!r}, time {at[bad][0]:g}"
            raise DataError(place, "a finite number", str(value[bad][0]))
        load[:, names.index(name)] = change * value
    logs, error = load @ b, np.sqrt(quadratic(load, matrix))
    table = {"term": [term] * len(at), "time": at, "estimate": np.exp(logs), "std_error": np.exp(logs) * error}
    table |= {"conf_low": np.exp(logs - z * error), "conf_high": np.exp(logs + z * error)}
    return pd.DataFrame(table | {"log_estimate": logs, "log_std_error": error})
