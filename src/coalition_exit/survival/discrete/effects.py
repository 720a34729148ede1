"""Average marginal effects on the probability of an event, with delta-method errors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr

from coalition_exit.errors import DataError, one_of
from coalition_exit.survival.data.newdata import split_product, variables_of
from coalition_exit.survival.data.surv import Floats
from coalition_exit.survival.discrete.glm_predict import reach_of
from coalition_exit.survival.discrete.glm_solver import BinaryData

_FACTOR = re.compile(r"(?P<factor>.+)\[(?:T\.)?[^\[\]]*\]\Z")


@dataclass(frozen=True, eq=False)
class Direction:
    """How the design matrix moves with one covariate.

    Attributes
    ----------
    own, others : tuple of int
        Its column; the columns of the other levels of its factor.
    products : dict of int to ndarray of shape (n,)
        Columns that are the covariate times something else, and what that is.
    """

    own: int
    others: tuple[int, ...]
    products: dict[int, Floats]

    def moved(self, x: Floats, value: float) -> Floats:
        """Design matrix with the covariate at a value in every row."""
        out = x.copy()
        out[:, list(self.others)] = 0.0
        out[:, self.own] = value
        for column, factor in self.products.items():
            out[:, column] = value * factor
        return out

    def tangent(self, x: Floats) -> Floats:
        """Derivative of the design matrix by the covariate."""
        out = np.zeros(x.shape)
        out[:, self.own] = 1.0
        for column, factor in self.products.items():
            out[:, column] = factor
        return out


def average_effects(
    data: BinaryData,
    beta: Floats,
    covariance: Floats,
    directions: dict[str, Direction],
    discrete: Sequence[str],
    level: float,
    nodes: Sequence[tuple[float, float]] = ((1.0, 0.0),),
) -> pd.DataFrame:
    """Average the effect of each covariate over the rows, which are taken as given.

    Parameters
    ----------
    data
        n rows; case weights weigh the average.
    beta, covariance
        Shapes (p,) and (p, p), or one more with a random intercept: the last is then log sigma.
    directions
        By term.
    discrete
        Terms whose effect is F at 1 less F at 0; for the others it is the derivative.
    level
        Confidence level.
    nodes
        Mass and value of a random intercept, over which F is averaged too.
    """
    p = data.x.shape[1]
    weights = np.ones(len(data.y)) if data.weights is None else data.weights
    weights = weights / weights.sum()
    offset = 0.0 if data.offset is None else data.offset
    rows = []
    for term, direction in directions.items():
        change = term in discrete
        estimate, gradient = 0.0, np.zeros(p + 1)
        for mass, shift in nodes:
            if change:
                for sign, x in ((1.0, direction.moved(data.x, 1.0)), (-1.0, direction.moved(data.x, 0.0))):
                    eta = x @ beta[:p] + offset + shift
                    slope = weights * data.link.density(eta)
                    estimate += sign * mass * float(weights @ data.link.inverse(eta))
                    gradient += sign * mass * np.append(x.T @ slope, shift * slope.sum())
                continue
            eta, tangent = data.x @ beta[:p] + offset + shift, direction.tangent(data.x)
            speed, density = tangent @ beta[:p], weights * data.link.density(eta)
            bend = weights * data.link.slope(eta) * speed
            estimate += mass * float(density @ speed)
            gradient += mass * np.append(data.x.T @ bend + tangent.T @ density, shift * bend.sum())
        gradient = gradient[: len(covariance)]
        error = float(np.sqrt(gradient @ covariance @ gradient))
        rows.append((term, "0 to 1" if change else "derivative", estimate, error))
    table = pd.DataFrame(rows, columns=["term", "change", "estimate", "std_error"])
    table["statistic"] = table["estimate"] / table["std_error"]
    table["p_value"] = 2 * ndtr(-np.abs(table["statistic"]))
    reach = reach_of(level) * table["std_error"]
    return table.assign(conf_low=table["estimate"] - reach, conf_high=table["estimate"] + reach)


def find_directions(
    chosen: Sequence[str],
    covariates: Sequence[str],
    x: Floats,
    discrete: Sequence[str],
    products: dict[str, dict[int, Floats]],
) -> dict[str, Direction]:
    """Find the columns that move with each covariate.

    Parameters
    ----------
    chosen
        Terms asked for.
    covariates
        Terms of the formula, the first columns of ``x``.
    x
        Design matrix, shape (n, p).
    discrete
        Terms that change from 0 to 1.
    products
        Columns that are a term times something else, by term.

    Raises
    ------
    DataError
        A term that shares a variable with another one (a product, a power, a transformation), so that
        it does not move alone; a level of a factor, or a column of other values than 0 and 1, that
        does not suit the kind of change.
    """
    found = {}
    for term in chosen:
        own = covariates.index(term)
        factor = _FACTOR.match(term)
        siblings: tuple[int, ...] = ()
        if factor:
            stem = f"{factor['factor']}["
            siblings = tuple(j for j, name in enumerate(covariates) if name.startswith(stem) and j != own)
        _check_alone(term, covariates, {own, *siblings})
        binary = bool(np.isin(x[:, own], (0.0, 1.0)).all())
        if term in discrete and not binary:
            raise DataError("discrete", "terms with the values 0 and 1 only", repr(term))
        if factor and term not in discrete:
            raise DataError("terms", f"a level of a factor under discrete=({term!r}, ...)", "a derivative")
        found[term] = Direction(own, siblings, products.get(term, {}))
    return found


def _check_alone(term: str, covariates: Sequence[str], own: set[int]) -> None:
    variables = variables_of(term)
    for j, other in enumerate(covariates):
        shared = variables & variables_of(other)
        if j not in own and shared:
            hint = "predict() at chosen values takes both into account"
            raise DataError("terms", f"{term!r} in no other term", f"{shared.pop()!r} in {other!r} too", hint)
    if len(split_product(term)) > 1:
        raise DataError("terms", f"terms that are no products: {one_of(split_product(term))}", repr(term))


def normal_nodes(sigma: float, points: int) -> tuple[tuple[float, float], ...]:
    """Mass and value of Gauss-Hermite nodes for a normal intercept with standard deviation sigma."""
    nodes, mass = np.polynomial.hermite.hermgauss(points)
    values: NDArray[np.float64] = np.sqrt(2.0) * sigma * nodes
    return tuple(zip((mass / np.sqrt(np.pi)).tolist(), values.tolist(), strict=True))
