"""Profile-likelihood intervals and tests of binary-outcome models, with or without Firth's penalty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc, gammaincinv

from coalition_exit.errors import FitError
from coalition_exit.survival.data.surv import Floats
from coalition_exit.survival.discrete.glm_solver import BinaryData, ascend, invert, standardize

_STEPS = 60


@dataclass(frozen=True, eq=False)
class Profile:
    """Likelihood-ratio inference on q coefficients, one at a time; arrays of shape (q,).

    Attributes
    ----------
    low, high
        Where twice the fall in the (penalized) profile log-likelihood reaches the chi-squared
        quantile; infinite where it never does.
    statistic
        Twice the fall at 0.
    p_value
        Its chi-squared probability, one degree of freedom.
    """

    low: Floats
    high: Floats
    statistic: Floats
    p_value: Floats


def profile_likelihood(
    data: BinaryData,
    names: Sequence[str],
    beta: Floats,
    columns: Sequence[int],
    *,
    firth: bool,
    level: float = 0.95,
    max_iter: int = 100,
    tolerance: float = 1e-14,
) -> Profile:
    """Profile the likelihood of chosen coefficients.

    Parameters
    ----------
    data
        n rows, p columns.
    names
        Names of the columns, for messages.
    beta
        The maximum, shape (p,).
    columns
        Columns to profile, q of them.
    firth
        Penalized likelihood; the penalty keeps the whole information matrix, also of the
        coefficient held fixed, as R's logistf does.
    level
        Confidence level.
    max_iter, tolerance
        As `maximize_binary`.

    Raises
    ------
    FitError
        "not_converged": the other coefficients have no maximum.

    References
    ----------
    Heinze, G. and Schemper, M. (2002), Statistics in Medicine 21, 2409-2419; Venzon, D. J. and
    Moolgavkar, S. H. (1988), Applied Statistics 37, 87-94.
    """
    z, scaling = standardize(data, names, center=False)
    budget = 50 * max_iter if firth else max_iter
    top = ascend(z, scaling.to_standard(beta), np.ones(len(beta), dtype=bool), firth, budget, tolerance)
    inverse = invert(top.at.information)
    if inverse is None or not top.converged:
        raise FitError("not_converged", "no maximum of the likelihood to profile from")
    reach = float(np.sqrt(2 * gammaincinv(0.5, level)))
    table = np.empty((len(columns), 3))
    for i, j in enumerate(columns):
        line = _Line(z, j, top.beta, top.at.loglik, inverse, firth, budget, tolerance)
        table[i, 0] = line.bound(-1.0, reach) / scaling.scale[j]
        table[i, 1] = line.bound(1.0, reach) / scaling.scale[j]
        table[i, 2] = line.fall(0.0)[0]
    return Profile(table[:, 0], table[:, 1], table[:, 2], chdtrc(1, table[:, 2]))


@dataclass(eq=False)
class _Line:
    """The profile log-likelihood of one coefficient of the scaled columns."""

    data: BinaryData
    column: int
    beta: Floats
    loglik: float
    inverse: Floats
    firth: bool
    max_iter: int
    tolerance: float

    def fall(self, value: float) -> tuple[float, float]:
        """Twice the fall of the profile at ``value`` below the maximum, and its slope there."""
        j = self.column
        free = np.ones(len(self.beta), dtype=bool)
        free[j] = False
        # The others start where a quadratic likelihood would have them.
        for begin in (self.beta + self.inverse[:, j] / self.inverse[j, j] * (value - self.beta[j]), self.beta.copy()):
            begin[j] = value
            end = ascend(self.data, begin, free, self.firth, self.max_iter, self.tolerance)
            if end.converged:
                return max(2 * (self.loglik - end.at.loglik), 0.0), -2 * float(end.at.score[j])
        raise FitError("not_converged", f"no maximum with one coefficient held at {value:g}")

    def bound(self, side: float, reach: float) -> float:
        """Where the root of the fall equals ``reach``, on one side."""
        width = float(np.sqrt(self.inverse[self.column, self.column]))
        return find_bound(self.fall, float(self.beta[self.column]), width, side, reach)


def find_bound(
    fall_at: Callable[[float], tuple[float, float]], center: float, width: float, side: float, reach: float
) -> float:
    """Find where the root of a fall from its zero at ``center`` equals ``reach``, by Newton's method inside a bracket.

    Parameters
    ----------
    fall_at
        Gives the fall and its slope at a value.
    center, width
        Where the fall is 0, and a length on which its root rises by about 1.
    side
        1 to look above ``center``, -1 below.
    reach
        What the root shall be.

    Returns
    -------
    float
        Infinite where the fall never gets there.
    """
    inner, outer = 0.0, np.inf
    distance = reach * width
    for _ in range(_STEPS):
        fall, slope = fall_at(center + side * distance)
        root = np.sqrt(fall)
        error = root - reach
        if abs(error) <= 1e-11 * reach:
            break
        inner, outer = (distance, outer) if error < 0 else (inner, distance)
        slope = side * slope / (2 * root) if root > 0 else 0.0
        new = distance - error / slope if slope > 0 else np.inf
        if not inner < new < min(outer, 4 * max(distance, width)):
            new = (inner + outer) / 2 if np.isfinite(outer) else 2 * distance
        if abs(new - distance) <= 1e-13 * max(distance, abs(center)):
            distance = new
            break
        distance = new
    else:
        return float(side * np.inf) if not np.isfinite(outer) else float(center + side * distance)
    return float(center + side * distance)
