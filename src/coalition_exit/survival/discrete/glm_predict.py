"""Probabilities, hazards and survival from binary-outcome models, with delta-method intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from coalition_exit.errors import DataError, nearest, one_of
from coalition_exit.survival.data.newdata import split_product, variables_of
from coalition_exit.survival.data.surv import Floats
from coalition_exit.survival.discrete.glm_links import Link

OTHERS = ("error", "mean", "median")


@dataclass(frozen=True, eq=False)
class Probabilities:
    """Probabilities of K rows with their intervals, every array of shape (K,).

    Attributes
    ----------
    hazard
        F(x b).
    std_error
        Delta method: f(x b) times the standard error of x b.
    low, high
        F at the ends of the interval for x b.
    """

    hazard: Floats
    std_error: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, eq=False)
class SurvivalPath:
    """Survival along K successive periods, every array of shape (K,).

    Attributes
    ----------
    survival
        Product of 1 - hazard up to and including the period.
    std_error
        Delta method.
    low, high
        Ends of the interval formed for log(-log S) and transformed.
    """

    survival: Floats
    std_error: Floats
    low: Floats
    high: Floats


def reach_of(level: float) -> float:
    """Standard errors that an interval reaches to either side.

    Raises
    ------
    DataError
        On a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise DataError("level", "a number between 0 and 1", repr(level))
    return float(ndtri(0.5 + level / 2))


def probabilities(
    x: Floats, beta: Floats, covariance: Floats, link: Link, level: float = 0.95, offset: float = 0.0
) -> Probabilities:
    """Probability of an event for rows of the design matrix.

    Parameters
    ----------
    x
        Shape (K, p).
    beta, covariance
        Shapes (p,) and (p, p).
    link
        Link of the model.
    level
        Confidence level.
    offset
        Added to the linear predictor.
    """
    eta = x @ beta + offset
    error = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", x, covariance, x), 0.0))
    reach = reach_of(level) * error
    return Probabilities(
        link.inverse(eta), link.density(eta) * error, link.inverse(eta - reach), link.inverse(eta + reach)
    )


def survival_path(
    x: Floats, beta: Floats, covariance: Floats, link: Link, level: float = 0.95, offset: float = 0.0
) -> SurvivalPath:
    """Probability of no event up to the end of each of K successive periods.

    The standard error of log S is the delta method's: the gradient is the running sum of
    d log(1 - h) / d eta times x.

    Parameters
    ----------
    x
        Rows of the design matrix, in the order of the periods, shape (K, p).
    beta, covariance, link, level, offset
        As in `probabilities`.
    """
    eta = x @ beta + offset
    rows = link.rows(eta, np.zeros(len(eta), dtype=bool))
    log_survival = np.cumsum(rows.loglik)
    gradient = np.cumsum(rows.first[:, None] * x, axis=0)
    log_error = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", gradient, covariance, gradient), 0.0))
    survival = np.exp(log_survival)
    hazard = -log_survival
    spread = np.exp(reach_of(level) * np.divide(log_error, hazard, out=np.zeros_like(hazard), where=hazard > 0))
    return SurvivalPath(survival, survival * log_error, np.exp(-hazard * spread), np.exp(-hazard / spread))


def covariate_rows(
    at: Mapping[str, Any] | pd.DataFrame | None, names: Sequence[str], x: Floats, others: str = "error"
) -> pd.DataFrame:
    """Bring covariate values into the order of the terms, one row per setting.

    Parameters
    ----------
    at
        Values by term; sequences of one length give several rows. A product term ``"a:b"`` that is left out is the
        product of ``a`` and ``b``, also of their means or medians.
    names
        Terms, p of them.
    x
        Their values in the data, shape (n, p), for means and medians.
    others
        What terms that ``at`` leaves out are set to.

    Raises
    ------
    DataError
        Unknown or missing terms, values that are not finite numbers; a term left out that depends on a variable of one
        given, such as ``I(a ** 2)`` or another level of a factor.
    """
    if others not in OTHERS:
        raise DataError("others", one_of(OTHERS), repr(others), nearest(str(others), OTHERS))
    given = {} if at is None else {str(name): np.atleast_1d(np.asarray(at[name])) for name in at}
    for name in given:
        if name not in names:
            raise DataError("at", one_of(names), repr(name), nearest(name, names))
    products = {name: parts for name in names if name not in given and (parts := _parts(name, names))}
    missing = [name for name in names if name not in given and name not in products]
    if missing and others == "error":
        hint = "others='mean' or 'median' sets the rest"
        raise DataError("at", f"a value for {', '.join(missing)}", "none", hint)
    for name in missing:
        for other in given:
            if variables_of(name) & variables_of(other):
                expected = f"a value also for {name!r}, which depends on the same variable"
                raise DataError(f"at, {other!r}", expected, "none")
    lengths = {len(values) for values in given.values()} - {1}
    if len(lengths) > 1:
        raise DataError("at", "sequences of one length", f"lengths {sorted(lengths)}")
    count = lengths.pop() if lengths else 1
    center = np.mean(x, axis=0) if others == "mean" else np.median(x, axis=0)
    columns: dict[str, Floats] = {}
    for j, name in enumerate(names):
        try:
            values = np.asarray(given.get(name, center[j]), dtype=np.float64)
        except (TypeError, ValueError):
            raise DataError(f"at, {name!r}", "numbers", repr(given[name].tolist())) from None
        if not np.isfinite(values).all():
            raise DataError(f"at, {name!r}", "finite numbers", str(values))
        columns[name] = np.broadcast_to(values, (count,)).astype(np.float64)
    for name, parts in products.items():
        columns[name] = np.prod([columns[part] for part in parts], axis=0)
    return pd.DataFrame(columns, index=range(count))


def _parts(term: str, names: Sequence[str]) -> list[str]:
    """Return the terms whose product a term is; none if it is no product of terms."""
    parts = split_product(term)
    return parts if len(parts) > 1 and all(part in names for part in parts) else []
