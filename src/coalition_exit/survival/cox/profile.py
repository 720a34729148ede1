"""Intervals and tests from the profile of the partial likelihood, penalized after Firth's penalty.

A bound is where twice the drop of the log-likelihood, maximized over the other coefficients, reaches the
chi-squared quantile; the test is that of the drop at 0. After a fit with Firth's penalty it is the drop of
the penalized log-likelihood (see `firth`).

References
----------
Venzon, D. J. and Moolgavkar, S. H. (1988), Applied Statistics 37, 87-94.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import chdtrc, ndtri

from coalition_exit.errors import DataError, FitError, nearest, one_of
from coalition_exit.survival.cox import firth
from coalition_exit.survival.cox.hypothesis import _Restricted, solver_likelihood
from coalition_exit.survival.cox.likelihood import Likelihood
from coalition_exit.survival.cox.solver import maximize
from coalition_exit.survival.cox.state import CoxState


def profile_intervals(state: CoxState, level: float = 0.95, terms: Sequence[str] | None = None) -> pd.DataFrame:
    """Return profile-likelihood intervals and likelihood-ratio tests, one row a term.

    Parameters
    ----------
    state
        A Cox fit, with any ties, with Firth's penalty or none. Clusters play no part.
    level
        Confidence level.
    terms
        Names of the coefficients; all by default.

    Returns
    -------
    DataFrame
        term, estimate, std_error (model-based), statistic (chi-squared on 1 degree of freedom), p_value,
        conf_low, conf_high.

    Raises
    ------
    DataError
        A ridge, an unknown term, a level outside (0, 1).
    FitError
        A bound is not found, or the other coefficients have no estimate.
    """
    if state.penalty == "firth":
        return firth.profile_intervals(state, level, terms)
    if state.penalty != "none":
        raise DataError("penalty", "none or 'firth' for a profile likelihood", repr(state.penalty))
    if not 0 < level < 1:
        raise DataError("level", "a number between 0 and 1", repr(level))
    names = state.design.names
    chosen = list(names if terms is None else terms)
    for term in chosen:
        if term not in names:
            raise DataError("terms", one_of(names), repr(term), nearest(term, names))
    rows = [_row(state, names.index(term), level) for term in chosen]
    columns = ["term", "estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high"]
    return pd.DataFrame(rows, columns=columns)


def _row(state: CoxState, j: int, level: float) -> tuple[str, float, float, float, float, float, float]:
    line = _Profile(state, j)
    statistic = max(2.0 * (state.evaluation.loglik - line.loglik_at(0.0)), 0.0)
    low, high = (line.bound(side, level) for side in (-1.0, 1.0))
    own = float(state.beta[j])
    return state.design.names[j], own, line.std_error, statistic, float(chdtrc(1, statistic)), low, high


class _Profile:
    """The log-likelihood along coefficient j, maximized over the others."""

    def __init__(self, state: CoxState, j: int) -> None:
        self.state, self.j = state, j
        self.likelihood: Likelihood = solver_likelihood(state)
        p = len(state.beta)
        self.basis = np.delete(np.eye(p), j, axis=1)
        self.names = [name for k, name in enumerate(state.design.names) if k != j]
        self.std_error = float(np.sqrt(state.inverse[j, j]))
        # How the others move with coefficient j near the maximum.
        self.drift = np.delete(state.inverse[:, j], j) / state.inverse[j, j]

    def loglik_at(self, value: float) -> float:
        """Maximize over the other coefficients with coefficient j at a value."""
        origin = np.zeros(len(self.state.beta))
        origin[self.j] = value
        if not self.names:
            return self.likelihood.evaluate(origin).loglik
        start = np.delete(self.state.beta, self.j) + self.drift * (value - self.state.beta[self.j])
        within = _Restricted(self.likelihood, origin, self.basis)
        return maximize(within, self.names, 100, 1e-14, start=start).at.loglik

    def bound(self, side: float, level: float) -> float:
        """Return the lower (side -1) or upper (side 1) confidence limit."""
        from scipy.optimize import brentq  # slow to import, and only profiles need it

        reach = float(ndtri(0.5 + level / 2))
        # The root of the drop is nearly linear in the distance, so a Wald interval is a good start.
        near, far = 0.0, reach * self.std_error
        for _ in range(60):
            if self._root_drop(side, far) >= reach:
                found = brentq(lambda d: self._root_drop(side, d) - reach, near, far, xtol=1e-300, rtol=1e-12)
                return float(self.state.beta[self.j] + side * found)
            near, far = far, 1.5 * far
        raise FitError("not_converged", f"no confidence limit for {self.state.design.names[self.j]}")

    def _root_drop(self, side: float, distance: float) -> float:
        if distance == 0.0:
            return 0.0
        loglik = self.loglik_at(float(self.state.beta[self.j] + side * distance))
        return float(np.sqrt(max(2.0 * (self.state.evaluation.loglik - loglik), 0.0)))
