"""The data behind a plot of a coefficient over time: scaled Schoenfeld residuals with a smooth line and its band.

The line is a natural cubic spline of ``df`` dimensions in g(t) fitted by least squares, its band
that of Grambsch and Therneau: both equal ``plot(cox.zph(fit, transform = g, terms = FALSE))`` of R survival >= 3,
whose band is 2 standard errors wide either way.

References
----------
Grambsch, P. M. and Therneau, T. M. (1994), Biometrika 81, 515-526; Therneau and Grambsch (2000), section 6.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from coalition_exit.errors import DataError, FitError, nearest, one_of
from coalition_exit.survival.checks.phtest import Transform, _transformed
from coalition_exit.survival.checks.residuals import event_residuals, row_labels
from coalition_exit.survival.cox.state import CoxState
from coalition_exit.survival.data.surv import Floats
from coalition_exit.survival.inference.vcov import require_maximum
from coalition_exit.survival.shown import Shown


@dataclass(frozen=True, eq=False)
class SchoenfeldSmooth(Shown):
    """A coefficient over time.

    Attributes
    ----------
    residuals : DataFrame
        One row an event: time, transformed (g of it), residual (scaled, plus the coefficient); indexed by row.
    line : DataFrame
        transformed, smooth, std_error, conf_low, conf_high on a grid of g(t).
    term, transform : str
    estimate : float
        The coefficient of the model.
    df : int
        Dimensions of the spline.
    level : float
    """

    residuals: pd.DataFrame
    line: pd.DataFrame
    term: str
    transform: str
    estimate: float
    df: int
    level: float

    @property
    def heading(self) -> str:
        return (
            f"Coefficient of {self.term} over time ({self.transform}), natural spline with {self.df} degrees of "
            f"freedom, {100 * self.level:g}% band; {len(self.residuals)} events, model estimate {self.estimate:.4g}"
        )

    @property
    def shown(self) -> pd.DataFrame:
        return self.line

    def plot(self, ax: Any = None) -> Any:
        """Draw it with matplotlib and return the axes."""
        from coalition_exit.survival import plots

        return plots.coefficient_over_time(self, ax)


def schoenfeld_smooth(
    state: CoxState, term: str, transform: Transform = "km", *, df: int = 4, points: int = 40, level: float = 0.95
) -> SchoenfeldSmooth:
    """Smooth the scaled Schoenfeld residuals of a term over time.

    Parameters
    ----------
    state
        A Cox fit with d events.
    term
        Name of the coefficient.
    transform
        g(t), as in the score test of `phtest.proportional_hazards_test`.
    df
        Dimensions of the spline with its constant: 2 is a straight line.
    points
        Points of the line.
    level
        Level of the pointwise band (R draws 2 standard errors).

    Raises
    ------
    DataError
        Unknown names, a number that makes no sense, a penalized fit, exact ties, tt() terms.
    FitError
        "collinear": fewer different event times than the spline needs.

    Notes
    -----
    Events of strata in which the covariate does not vary say nothing and are left out, as in R.
    """
    require_maximum(state)
    names = state.design.names
    if state.design.source is not None:
        raise DataError("formula", "no tt() terms: their coefficients are the change over time", "tt()")
    if term not in names:
        raise DataError("term", one_of(names), repr(term), nearest(str(term), names))
    for place, value, least in (("df", df, 2), ("points", points, 2)):
        if not isinstance(value, int) or value < least:
            raise DataError(place, f"a whole number >= {least}", repr(value))
    if not 0 < level < 1:
        raise DataError("level", "a number between 0 and 1", repr(level))
    values = _transformed(state, transform, all_rows=True)
    residual, variance, events = _scaled(state, names.index(term))
    g = values[state.risk_sets.last[events]]
    rows = state.risk_sets.rows[events]
    order = np.argsort(state.design.surv.stop[rows], kind="stable")
    table = pd.DataFrame(
        {"time": state.design.surv.stop[rows], "transformed": g, "residual": residual}, index=row_labels(state, rows)
    ).iloc[order]
    line = _line(g, residual, variance, df, points, level)
    label = transform if isinstance(transform, str) else getattr(transform, "__name__", "user")
    estimate = float(state.beta[names.index(term)])
    return SchoenfeldSmooth(table, line, term, label, estimate, df, level)


def _scaled(state: CoxState, j: int) -> tuple[Floats, float, Any]:
    """Residuals of term j, each in units of the coefficient, their variance, and their events' places at risk."""
    residual, events = event_residuals(state)
    stratum = state.risk_sets.stratum[state.risk_sets.last[events]]
    labels, codes = np.unique(stratum, return_inverse=True)
    codes = codes.reshape(-1)
    size = np.abs(state.likelihood.x).max(axis=0)
    largest = np.zeros((len(labels), len(size)))
    np.maximum.at(largest, codes, np.abs(residual))
    varies = largest > 1e-12 * size
    count = np.bincount(codes, minlength=len(labels)).astype(float)
    used = count[:, None] * varies
    both = np.minimum(used[:, :, None], used[:, None, :]).sum(axis=0)
    mean = np.linalg.inv(state.inverse) / np.where(both > 0, both, 1.0)
    scaled = np.full(len(residual), np.nan)
    for s in range(len(labels)):
        own = np.flatnonzero(varies[s])
        if varies[s, j]:
            at = codes == s
            column = np.linalg.inv(mean[np.ix_(own, own)])[:, int(np.flatnonzero(own == j)[0])]
            scaled[at] = residual[np.ix_(at, own)] @ column
    kept = np.isfinite(scaled)
    return scaled[kept] + state.beta[j], float(np.linalg.inv(mean)[j, j]), events[kept]


def _line(g: Floats, residual: Floats, variance: float, df: int, points: int, level: float) -> pd.DataFrame:
    grid = np.linspace(g.min(), g.max(), points)
    # As in R the knots are quantiles of the grid and the data together.
    inner = np.quantile(np.concatenate([grid, g]), np.linspace(0, 1, df)[1:-1])
    knots = np.concatenate([[g.min()], inner, [g.max()]])
    basis = _natural_basis(g, knots)
    if len(np.unique(knots)) < len(knots) or np.linalg.matrix_rank(basis) < df:
        raise FitError("collinear", f"too few different event times for a spline with {df} degrees of freedom")
    q, r = np.linalg.qr(basis)
    at = np.linalg.solve(r.T, _natural_basis(grid, knots).T).T
    smooth = at @ (q.T @ residual)
    error = np.sqrt(variance * (at**2).sum(axis=1))
    reach = float(ndtri(0.5 + level / 2)) * error
    columns = {"transformed": grid, "smooth": smooth, "std_error": error}
    return pd.DataFrame(columns | {"conf_low": smooth - reach, "conf_high": smooth + reach})


def _natural_basis(x: Floats, knots: Floats) -> Floats:
    """Natural cubic splines with K knots, linear beyond the outer ones: shape (len(x), K)."""
    span = knots[-1] - knots[0]
    u, k = (x - knots[0]) / span, (knots - knots[0]) / span
    last = k[-1]

    def piece(at: float) -> Floats:
        return np.asarray((np.maximum(u - at, 0.0) ** 3 - np.maximum(u - last, 0.0) ** 3) / (last - at))

    bends = [piece(at) - piece(k[-2]) for at in k[:-2]]
    return np.column_stack([np.ones(len(u)), u, *bends])
