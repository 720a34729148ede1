"""Stata's ``margins`` after ``stcox``, and percentiles as Stata's.

The prediction is Stata's default after ``stcox``, the relative hazard exp(xb) with xb not centred. A predictive
margin is its mean over the rows of the estimation sample, weighted by the case weights, with some
covariates set to given values: m = sum_j w_j exp(x_j b) / sum_j w_j. Its variance is G V G' with
G = dm/db = sum_j w_j exp(x_j b) x_j / sum_j w_j and V the covariance of the coefficients; covariates count as
fixed (``vce(delta)``). Stata's interval is m -+ z se, so a lower limit can be negative; ``scale="log"``
gives the one symmetric for log m, exp(log m -+ z se / m).

References
----------
Stata Base Reference Manual, [R] margins, Methods and formulas, and Survival Analysis Reference Manual, [ST] stcox
postestimation; Pitblado, J., "Compute standard errors with margins",
https://www.stata.com/support/faqs/statistics/compute-standard-errors-with-margins;
Stata Data Management Reference Manual, [D] pctile; Mata Reference Manual, [M-5] quantile(); Base Reference
Manual, [R] centile; Hyndman, R. J. and Fan, Y. (1996), American Statistician 50, 361-365.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import ndtr

from coalition_exit.errors import DataError, nearest, one_of
from coalition_exit.survival.cox.state import CoxState
from coalition_exit.survival.data.newdata import split_product
from coalition_exit.survival.data.surv import Floats
from coalition_exit.survival.quantities.baseline import check_vcov, refuse_time_terms
from coalition_exit.survival.quantities.predict import check_kind, compare, critical
from coalition_exit.survival.shown import Shown

METHODS = ("pctile", "centile", "numpy")
PREDICTIONS = ("hr", "xb")
_DUMMY = re.compile(r"(?P<factor>[^:]+)\[[^\[\]]*\]\Z")
_LEVEL = re.compile(r"\[[^\[\]]*\]")
_EXPRESSION = re.compile(r"[()\[\]:*]")
# A name that is no function, module or attribute.
_VARIABLE = re.compile(r"`([^`]+)`|(?<![\w.])([^\W\d]\w*)(?!\w|\s*\(|\.)")


@dataclass(frozen=True, eq=False)
class Margins(Shown):
    """Predictive margins in a table.

    Attributes
    ----------
    table : DataFrame
        The covariates set, by name, then estimate, std_error, statistic, p_value, conf_low, conf_high. The
        statistic is Stata's z of estimate = 0. A margin that does not depend on the coefficients has
        standard error 0 and no statistic (NaN; Stata prints a dot for both).
    vcov : ndarray, shape (M, M)
        Covariance of the M margins (Stata's ``r(V)``).
    jacobian : ndarray, shape (M, p)
        Derivatives of the margins to the coefficients (Stata's ``r(Jacobian)``).
    prediction, others, scale : str
    level : float
    """

    table: pd.DataFrame
    vcov: Floats
    jacobian: Floats
    prediction: str
    others: str
    scale: str
    level: float

    @property
    def heading(self) -> str:
        what = "relative hazard" if self.prediction == "hr" else "linear predictor"
        kind = f"{100 * self.level:g}% intervals, {self.scale}"
        others = {"asobserved": "as observed", "atmeans": "at means"}[self.others]
        return f"Predictive margins of the {what}, other covariates {others}; delta method, {kind}"

    @property
    def shown(self) -> pd.DataFrame:
        return self.table

    def plot(self, covariate: str, ax: Any = None) -> Any:
        """Draw the margins over one of the covariates that were set, and return the axes."""
        from coalition_exit.survival import plots

        names = list(self.table.columns[: self.table.columns.get_loc("estimate")])
        if covariate not in names:
            raise DataError("covariate", one_of(names), repr(covariate), nearest(covariate, names))
        return plots.margins(self.table, covariate, self.prediction, ax)


def margins(
    state: CoxState,
    at: Mapping[str, ArrayLike] | None = None,
    *,
    others: str = "asobserved",
    prediction: str = "hr",
    vcov: ArrayLike | None = None,
    scale: str = "plain",
    level: float = 0.95,
) -> Margins:
    """Predictive margins with covariates set to given values, as Stata's ``margins, at()`` after ``stcox``.

    Parameters
    ----------
    state
        Arrays behind the fit; the estimation sample is all its rows, as in Stata also those at risk at no
        event time.
    at
        Values by covariate, one or several each; several covariates are crossed, the last one running
        fastest. None gives the margin of the sample as it is. A product term ``"a:b"`` follows its covariates.
    others
        Covariates not in ``at``: "asobserved" (each row's own) or "atmeans" (weighted means; products
        are then products of means, as for Stata's factor variables).
    prediction
        "hr" (relative hazard) or "xb" (linear predictor).
    vcov
        Covariance of the coefficients, shape (p, p): the cluster-robust one for robust errors. By default the
        inverse of the information.
    scale
        "plain" (Stata's interval) or "log".
    level
        Confidence level.

    Notes
    -----
    The fit's offset is part of xb and stays as observed, also at means.

    Raises
    ------
    DataError
        On a name that is no covariate, on a covariate that other terms depend on in a way only the formula knows, and
        on dummies of a factor of which only some are set; on a fit with tt() terms.
    """
    _check_names(others, prediction, scale)
    critical(level)
    refuse_time_terms(state, "margins", "Use hazard_ratio_over_time")
    names = state.design.names
    plan = _changed_terms(names, tuple(at or {}))
    values = {name: _values_of(name, value) for name, value in (at or {}).items()}
    x, weights, offset = _sample(state, others)
    points = list(itertools.product(*values.values()))
    first = _changed_columns(names, x, dict(zip(values, points[0], strict=True)), plan, others)
    found = [_margin(x, weights, offset, state.beta, first, prediction)]
    for point in points[1:]:
        if plan or others == "atmeans":
            changed = _changed_columns(names, x, dict(zip(values, point, strict=True)), plan, others)
            found.append(_margin(x, weights, offset, state.beta, changed, prediction))
        else:
            places = [names.index(name) for name in values]
            found.append(_moved(found[0], places, np.array(points[0]), np.array(point), state.beta, prediction))
    table = pd.DataFrame(points, columns=list(values), index=range(len(points)))
    estimate, derivative = np.array([one.estimate for one in found]), np.array([one.gradient for one in found])
    covariance = derivative @ check_vcov(vcov, state) @ derivative.T
    for name, column in _inference(estimate, np.sqrt(np.diag(covariance)), scale, level).items():
        table[name] = column
    return Margins(table, covariance, derivative, prediction, others, scale, level)


def _check_names(others: str, prediction: str, scale: str) -> None:
    for name, value, valid in (
        ("others", others, ("asobserved", "atmeans")),
        ("prediction", prediction, PREDICTIONS),
        ("scale", scale, ("plain", "log")),
    ):
        if value not in valid:
            raise DataError(name, one_of(valid), repr(value), nearest(str(value), valid))
    if scale == "log" and prediction == "xb":
        raise DataError("scale", "plain for prediction xb", "'log'")


def _values_of(name: str, value: ArrayLike) -> Floats:
    try:
        values = np.atleast_1d(np.asarray(value, dtype=np.float64))
    except (TypeError, ValueError):
        raise DataError(f"at, {name!r}", "finite numbers", str(value)) from None
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise DataError(f"at, {name!r}", "finite numbers", str(value))
    return values


def _changed_terms(names: Sequence[str], chosen: Sequence[str]) -> tuple[str, ...]:
    """Return the product terms that follow the chosen covariates, refusing what cannot be followed."""
    for name in chosen:
        if name not in names:
            raise DataError("at", one_of(names), repr(name), nearest(name, names))
    products = []
    for term in names:
        if term in chosen:
            continue
        shared = [name for name in chosen if _variables(name) & _variables(term)]
        parts = split_product(term)
        if shared and len(parts) == 1:
            raise DataError(f"at, {shared[0]!r}", f"a value also for {term!r}, which depends on the same variable")
        if shared:
            lost = ", ".join(repr(part) for part in parts if part not in names)
            if lost:
                raise DataError(f"at, {shared[0]!r}", f"a model with the term {lost}, or a value for {term!r}")
            products.append(term)
    return tuple(products)


def _variables(term: str) -> set[str]:
    """Return the variables a term is made of: ``age`` for "age", "np.log(age)" and "C(age)[T.2]"."""
    if not _EXPRESSION.search(term):
        return {term}
    found = _VARIABLE.findall(_LEVEL.sub("", term))
    return {quoted or plain for quoted, plain in found}


def _sample(state: CoxState, others: str) -> tuple[Floats, Floats, Floats]:
    design = state.design
    weights = state.weights / state.weights.sum()
    offset = np.zeros(len(design.surv)) if design.offset is None else design.offset
    if others == "asobserved":
        return design.x, weights, offset
    # One row at the means stands for all; the offset's mean factor keeps its place in exp(xb).
    return (weights @ design.x)[None, :], np.ones(1), np.array([np.log(weights @ np.exp(offset))])


def _changed_columns(
    names: Sequence[str], x: Floats, point: Mapping[str, float], products: Sequence[str], others: str
) -> dict[int, Floats]:
    """Return the new values of the columns that differ from the sample's, shape (rows,) each."""
    rows = len(x)
    columns = {names.index(name): np.full(rows, value) for name, value in point.items()}
    follow = products if others == "asobserved" else [t for t in names if len(split_product(t)) > 1 and t not in point]
    for term in follow:
        places = [names.index(part) for part in split_product(term) if part in names]
        if len(places) == len(split_product(term)):
            factors = [columns.get(place, x[:, place]) for place in places]
            columns[names.index(term)] = np.prod(factors, axis=0)
    return columns


@dataclass(frozen=True, eq=False)
class _Margin:
    """One margin, its gradient, shape (p,), and the largest linear predictor in it."""

    estimate: float
    gradient: Floats
    largest: float


def _margin(
    x: Floats, weights: Floats, offset: Floats, beta: Floats, changed: Mapping[int, Floats], prediction: str
) -> _Margin:
    eta = x @ beta + offset
    for place, column in changed.items():
        eta = eta + (column - x[:, place]) * beta[place]
    largest = _check_size(float(eta.max()), prediction)
    share = weights * np.exp(eta) if prediction == "hr" else weights
    gradient = x.T @ share
    for place, column in changed.items():
        gradient[place] = share @ column
    return _Margin(float(share.sum() if prediction == "hr" else share @ eta), gradient, largest)


def _moved(base: _Margin, places: Sequence[int], old: Floats, new: Floats, beta: Floats, prediction: str) -> _Margin:
    """Return the margin at other values of covariates that no product follows: exp(xb) is multiplied by one factor."""
    step = float((new - old) @ beta[places])
    largest = _check_size(base.largest + step, prediction)
    factor = np.exp(step) if prediction == "hr" else 1.0
    estimate = base.estimate * factor if prediction == "hr" else base.estimate + step
    gradient = base.gradient * factor
    gradient[places] = new * (estimate if prediction == "hr" else 1.0)
    return _Margin(estimate, gradient, largest)


def _check_size(largest: float, prediction: str) -> float:
    if prediction == "hr" and not -700 < largest < 700:
        raise DataError("margins", "a relative hazard within the range of numbers", f"exp({largest:.4g})")
    return largest


def _inference(estimate: Floats, error: Floats, scale: str, level: float) -> dict[str, Floats]:
    z = critical(level)
    statistic = np.divide(estimate, error, out=np.full(len(estimate), np.nan), where=error > 0)
    low, high = estimate - z * error, estimate + z * error
    if scale == "log":
        reach = np.exp(z * error / estimate)
        low, high = estimate / reach, estimate * reach
    names = ("estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high")
    return dict(zip(names, (estimate, error, statistic, 2 * ndtr(-np.abs(statistic)), low, high), strict=True))


def margins_contrast(
    result: Margins, first: int, second: int, *, kind: str = "difference", level: float = 0.95
) -> pd.DataFrame:
    """Compare two margins, with their covariance.

    Parameters
    ----------
    result
        From `margins`.
    first, second
        Rows of ``result.table``.
    kind
        "difference" (symmetric interval) or "ratio" (interval symmetric for the logarithm).
    level
        Confidence level.

    Returns
    -------
    DataFrame
        One row: estimate, std_error, conf_low, conf_high.

    Raises
    ------
    DataError
        On a row that does not exist, an unknown ``kind``, or a ratio of linear predictors.
    """
    z, count = check_kind(kind, level), len(result.table)
    for name, row in (("first", first), ("second", second)):
        if not 0 <= row < count:
            raise DataError(name, f"a row from 0 to {count - 1}", repr(row))
    if kind == "ratio" and result.prediction == "xb":
        raise DataError("kind", "difference for prediction xb", "'ratio'")
    one, two = (float(result.table["estimate"].iloc[row]) for row in (first, second))
    scale = np.array([1.0, -1.0]) if kind == "difference" else np.array([1 / one, -1 / two])
    picked = [first, second]
    variance = float(scale @ result.vcov[np.ix_(picked, picked)] @ scale)
    _, values = compare(np.array([one]), np.array([two]), np.sqrt(np.array([max(variance, 0.0)])), kind, z)
    return pd.DataFrame(dict(zip(("estimate", "std_error", "conf_low", "conf_high"), values, strict=True)))


def percentiles(
    values: ArrayLike,
    percents: ArrayLike = tuple(range(1, 100)),
    *,
    weights: ArrayLike | None = None,
    method: str = "pctile",
) -> Floats:
    """Percentiles as Stata's commands compute them.

    Parameters
    ----------
    values
        Shape (n,).
    percents
        Between 0 and 100, both excluded.
    weights
        Case weights, shape (n,); only for "pctile", as in Stata.
    method
        "pctile": Stata's ``_pctile`` and ``summarize, detail``. With x_(i) sorted, W_i the sum of the first i
        weights and P = W_n p / 100, it is the first x_(i) with W_i > P, or the mean of x_(i-1) and x_(i)
        when W_(i-1) = P (Hyndman and Fan's type 2, numpy's "averaged_inverted_cdf"). "centile": Stata's ``centile`` and
        ``_pctile, altdef``, interpolation at (n + 1) p / 100 (type 6, numpy's "weibull"). "numpy": numpy's
        default "linear", interpolation at 1 + (n - 1) p / 100 (type 7), which is neither.

    Raises
    ------
    DataError
        On an unknown method, percents outside (0, 100), or weights with another method than "pctile".
    """
    if method not in METHODS:
        raise DataError("method", one_of(METHODS), repr(method), nearest(str(method), METHODS))
    data, wanted = _values_of("values", values), np.atleast_1d(np.asarray(percents, dtype=np.float64))
    if not ((wanted > 0) & (wanted < 100)).all():
        raise DataError("percents", "numbers between 0 and 100, both excluded", str(percents))
    if method != "pctile":
        if weights is not None:
            raise DataError("weights", "None with this method", "weights", "Stata's pctile takes weights")
        return np.asarray(np.percentile(data, wanted, method="weibull" if method == "centile" else "linear"))
    share = np.ones(len(data)) if weights is None else np.asarray(weights, dtype=np.float64)
    if share.shape != data.shape or not (np.isfinite(share).all() and (share >= 0).all() and share.sum() > 0):
        raise DataError("weights", f"{len(data)} numbers >= 0, not all 0", str(weights))
    order = np.argsort(data[share > 0], kind="stable")
    data, total = data[share > 0][order], np.cumsum(share[share > 0][order])
    target = total[-1] * wanted / 100
    # A sum of weights that misses the target by rounding alone counts as equal to it.
    slack = 1e-12 * total[-1]
    above = np.minimum(np.searchsorted(total, target + slack, side="right"), len(data) - 1)
    before = np.maximum(above - 1, 0)
    equal = (above > 0) & (np.abs(total[before] - target) <= slack)
    return np.where(equal, (data[before] + data[above]) / 2, data[above])


def margins_by_term(
    state: CoxState,
    terms: Sequence[str] | None = None,
    *,
    percents: Sequence[float] = tuple(range(1, 100)),
    method: str = "pctile",
    others: str = "asobserved",
    prediction: str = "hr",
    vcov: ArrayLike | None = None,
    scale: str = "plain",
    level: float = 0.95,
) -> pd.DataFrame:
    """Margins of one covariate after another: at percentiles of the sample, at 0 and 1 for dummies.

    A dummy of a factor is 1 with the factor's other dummies 0; its 0 is the factor's base level.

    Parameters
    ----------
    state, others, prediction, vcov, scale, level
        As for `margins`.
    terms
        Covariates to run through; by default all that are no product of others.
    percents, method
        As for `percentiles`; weights of the fit count with method "pctile".

    Returns
    -------
    DataFrame
        term, percent (NaN for dummies), value, and the columns of ``Margins.table``.

    Raises
    ------
    DataError
        As `margins` and `percentiles`.
    """
    design = state.design
    chosen = [t for t in design.names if len(split_product(t)) == 1] if terms is None else list(terms)
    parts = []
    for term in chosen:
        if term not in design.names:
            raise DataError("terms", one_of(design.names), repr(term), nearest(term, design.names))
        column = design.x[:, design.names.index(term)]
        dummy = bool(np.isin(column, (0.0, 1.0)).all())
        values = np.array([0.0, 1.0])
        if not dummy:
            weights = design.weights if method == "pctile" else None
            values = percentiles(column, percents, weights=weights, method=method)
        given: dict[str, ArrayLike] = dict.fromkeys(_siblings(term, design.names), 0.0)
        given[term] = values
        result = margins(
            state, given, others=others, prediction=prediction, vcov=vcov, scale=scale, level=level
        ).table.drop(columns=list(given))
        result.insert(0, "value", values)
        result.insert(0, "percent", np.nan if dummy else np.asarray(percents, dtype=np.float64))
        result.insert(0, "term", term)
        parts.append(result)
    return pd.concat(parts, ignore_index=True)


def _siblings(term: str, names: Sequence[str]) -> list[str]:
    """Return the other dummies of a factor's dummy."""
    own = _DUMMY.match(term)
    if own is None:
        return []
    return [name for name in names if name != term and (m := _DUMMY.match(name)) and m["factor"] == own["factor"]]
