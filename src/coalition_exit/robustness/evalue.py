"""E-values: how strong an unmeasured confounder would have to be to explain a hazard ratio away.

The E-value of a risk ratio R >= 1 is R + sqrt(R (R - 1)): the smallest risk ratio by which a confounder would have to
be tied both to the covariate and to the outcome. A ratio below 1 is inverted first. A hazard ratio H is read as
a risk ratio as it is where the outcome is rare (below 15% at the end of follow-up); where it is common,
as (1 - 0.5 ** sqrt(H)) / (1 - 0.5 ** sqrt(1 / H)).

References
----------
VanderWeele, T. J. and Ding, P. (2017), Annals of Internal Medicine 167, 268-274, and its table 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from coalition_exit.errors import DataError
from coalition_exit.robustness.problem import SUBJECT, Problem
from coalition_exit.survival.cox.cox_fit import CoxFit

RARE_BELOW = 0.15
# The square of its exponential is still a number.
_LARGEST = 350.0


@dataclass(frozen=True)
class EValue:
    """E-value of a hazard ratio and of its interval.

    Attributes
    ----------
    risk_ratio, risk_low, risk_high
        The hazard ratio and its bounds as risk ratios.
    point
        E-value of the estimate.
    bound
        E-value of the bound nearer to no effect; 1 if the interval holds it.
    """

    risk_ratio: float
    risk_low: float
    risk_high: float
    point: float
    bound: float


def risk_ratio(hazard_ratio: float, rare: bool) -> float:
    """Return a hazard ratio as a risk ratio.

    Raises
    ------
    DataError
        The hazard ratio is not a positive number.
    """
    if not (np.isfinite(hazard_ratio) and hazard_ratio > 0):
        raise DataError("hazard_ratio", "a positive number", repr(hazard_ratio))
    if rare:
        return float(hazard_ratio)
    root = np.sqrt(hazard_ratio)
    # expm1 keeps the digits where 0.5 ** x is close to 1.
    return float(np.expm1(-np.log(2.0) * root) / np.expm1(-np.log(2.0) / root))


def e_value(hazard_ratio: float, low: float, high: float, *, rare: bool, true: float = 1.0) -> EValue:
    """Return the E-value of a hazard ratio and of the bound of its interval nearer to ``true``.

    Parameters
    ----------
    hazard_ratio, low, high
        Estimate and interval.
    rare
        Whether fewer than 15% have had the event by the end of follow-up.
    true
        The true hazard ratio that confounding would have moved to the estimate; 1 is no effect.

    Raises
    ------
    DataError
        Ratios that are not positive, bounds out of order.
    """
    point, lower, upper = (risk_ratio(value, rare) for value in (hazard_ratio, low, high))
    target = risk_ratio(true, rare)
    if not low <= hazard_ratio <= high:
        raise DataError("low, high", f"bounds around the hazard ratio {hazard_ratio:g}", f"{low:g} and {high:g}")
    nearer = lower if point >= target else upper
    crossed = lower <= target <= upper
    bound = 1.0 if crossed else _single(nearer / target)
    return EValue(point, lower, upper, _single(point / target), bound)


def _single(ratio: float) -> float:
    above = max(ratio, 1.0 / ratio)
    return float(above + np.sqrt(above * (above - 1.0)))


def default_contrasts(frame: pd.DataFrame, covariates: tuple[str, ...]) -> dict[str, float]:
    """Difference in each covariate that an E-value speaks of: 1 for 0/1 variables, otherwise one standard deviation."""
    found = {}
    for name in covariates:
        values = frame[name].to_numpy(dtype=np.float64)
        found[name] = 1.0 if np.isin(values, (0.0, 1.0)).all() else float(values.std(ddof=1))
    return found


def e_values(
    problem: Problem, fit: CoxFit | None = None, contrasts: Mapping[str, float] | None = None, level: float = 0.95
) -> pd.DataFrame:
    """Return the E-values of every coefficient, under both readings of the outcome.

    Parameters
    ----------
    problem
        The model and its rows.
    fit
        Its fit, if there is one already.
    contrasts
        Difference in a covariate that the hazard ratio compares; see `default_contrasts` for the others.
    level
        Level of the interval.

    Returns
    -------
    DataFrame
        A row a term and reading: term, contrast, outcome ("rare" or "common"), recommended (the reading that the 15%
        rule picks), share_with_event, hazard_ratio, hr_low, hr_high, risk_ratio, e_value, e_value_bound.

    Raises
    ------
    DataError
        A contrast for what is no covariate, a contrast of 0, or one whose hazard ratio is too large for a number.
    """
    given = dict(contrasts or {})
    problem.require(*given, place="contrasts")
    fit = problem.fit() if fit is None else fit
    share = problem.frame.loc[problem.event, SUBJECT].nunique() / problem.frame[SUBJECT].nunique()
    sizes = {**default_contrasts(problem.frame, problem.model.covariates), **given}
    rows = []
    for row in fit.tidy(level=level).itertuples(index=False):
        size = sizes[row.term]
        if not (np.isfinite(size) and size != 0):
            raise DataError(f"contrasts > {row.term}", "a number other than 0", repr(size))
        logs = [end * size for end in (row.estimate, row.conf_low, row.conf_high)]
        largest = max(logs, key=abs)
        if abs(largest) > _LARGEST:
            expected = "a difference whose hazard ratio and interval can be written as numbers"
            raise DataError(f"contrasts > {row.term}", expected, f"{size:g}, which makes exp({largest:.0f})")
        hr, *bounds = (float(np.exp(log)) for log in logs)
        bounds.sort()
        for outcome in ("rare", "common"):
            found = e_value(hr, *bounds, rare=outcome == "rare")
            rows.append(
                {
                    "term": row.term,
                    "contrast": size,
                    "outcome": outcome,
                    "recommended": (share < RARE_BELOW) == (outcome == "rare"),
                    "share_with_event": share,
                    "hazard_ratio": hr,
                    "hr_low": bounds[0],
                    "hr_high": bounds[1],
                    "risk_ratio": found.risk_ratio,
                    "e_value": found.point,
                    "e_value_bound": found.bound,
                }
            )
    return pd.DataFrame(rows)
