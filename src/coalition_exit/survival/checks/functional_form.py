"""The data behind a functional-form plot: martingale residuals against a covariate, with a lowess line.

References
----------
Therneau, T. M., Grambsch, P. M. and Fleming, T. R. (1990), Biometrika 77, 147-160;
Cleveland, W. S. (1979), JASA 74, 829-836.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from coalition_exit.errors import DataError, nearest, one_of
from coalition_exit.survival.checks.residuals import RowGroups, martingale_residuals, row_groups
from coalition_exit.survival.cox.partial import PartialLikelihood
from coalition_exit.survival.cox.solver import maximize
from coalition_exit.survival.cox.state import CoxState
from coalition_exit.survival.data.surv import Floats, Integers
from coalition_exit.survival.inference.vcov import require_maximum

MODELS = ("reduced", "null", "fitted")


def functional_form(
    state: CoxState,
    covariate: str | ArrayLike,
    *,
    model: str = "reduced",
    collapse: str | ArrayLike | None = None,
    fraction: float = 2 / 3,
    iterations: int = 0,
    delta: float | None = None,
) -> pd.DataFrame:
    """Martingale residuals against a covariate, with a lowess line: how it should enter the model.

    The line has the shape of the covariate's effect on the log hazard, up to a factor, if the model
    of the residuals leaves the covariate out and it is not strongly related to the others.

    Parameters
    ----------
    state
        A Cox fit on n rows.
    covariate
        A term of the model, or an array of n values.
    model
        Residuals of which model: "reduced" leaves the term out and refits, "null" has no
        covariates (but keeps offset, strata and weights), "fitted" is the fit as it is.
    collapse
        Sum residuals within "id", "cluster" or an array of groups; the covariate must not vary
        within a group.
    fraction, iterations, delta
        Of `lowess`; residuals are skewed, so that robustness iterations (R's default is 3) would
        smooth the events away.

    Returns
    -------
    DataFrame
        covariate (ascending), residual, smooth; indexed by row or group.

    Raises
    ------
    DataError
        Unknown term or model, values not finite, a covariate that varies within groups; exact ties, tt() terms;
        a penalized fit with model="reduced".

    References
    ----------
    Therneau, T. M., Grambsch, P. M. and Fleming, T. R. (1990), Biometrika 77, 147-160.
    """
    names = state.design.names
    if model not in MODELS:
        raise DataError("model", one_of(MODELS), repr(model), nearest(str(model), MODELS))
    if state.design.source is not None:
        raise DataError("formula", "no tt() terms for a functional form", "tt()")
    values = _covariate_values(state, covariate)
    keep = list(range(len(names)))
    if model == "reduced":
        if not isinstance(covariate, str):
            raise DataError("model", "'null' or 'fitted' with an array", "'reduced': it needs the name of a term")
        require_maximum(state)
        keep.remove(names.index(covariate))
    smaller = state if model == "fitted" else _submodel(state, keep if model == "reduced" else [])
    residual = martingale_residuals(smaller, collapse=collapse)
    if collapse is not None:
        values = _one_a_group(values, row_groups(state, collapse))
    frame = pd.DataFrame({"covariate": values, "residual": residual.to_numpy()}, index=residual.index)
    frame = frame.sort_values("covariate", kind="stable")
    x, y = frame["covariate"].to_numpy(), frame["residual"].to_numpy()
    frame["smooth"] = lowess(x, y, fraction=fraction, iterations=iterations, delta=delta)
    return frame


def _covariate_values(state: CoxState, covariate: str | ArrayLike) -> Floats:
    names, n = state.design.names, len(state.design.surv)
    if isinstance(covariate, str):
        if covariate not in names:
            hint = nearest(covariate, names)
            raise DataError("covariate", f"a term ({one_of(names)}) or {n} values", repr(covariate), hint)
        return state.design.x[:, names.index(covariate)]
    values = np.asarray(covariate, dtype=float)
    if values.shape != (n,) or not np.isfinite(values).all():
        raise DataError("covariate", f"{n} finite values, one a row", f"shape {values.shape} or values not finite")
    return values


def _one_a_group(values: Floats, groups: RowGroups) -> Floats:
    first = np.zeros(len(groups.labels), dtype=np.int64)
    first[groups.codes[::-1]] = np.arange(len(values))[::-1]
    varies = values != values[first[groups.codes]]
    if varies.any():
        name = groups.labels[groups.codes[np.argmax(varies)]]
        raise DataError("covariate", "one value a group when residuals are collapsed", f"several in group {name}")
    return values[first]


def _submodel(state: CoxState, keep: list[int]) -> CoxState:
    """Refit with some of the columns on the same risk sets."""
    full, design = state.likelihood, state.design
    if full.ties == "exact":
        raise DataError("ties", "'breslow' or 'efron' for residuals", "'exact'")
    names = tuple(design.names[j] for j in keep)
    likelihood = PartialLikelihood(
        state.risk_sets, np.ascontiguousarray(full.x[:, keep]), full.weights, full.offset, full.ties
    )
    solution = maximize(likelihood, names, 100, 1e-14)
    design = replace(design, x=design.x[:, keep], names=names)
    return CoxState(
        design, state.risk_sets, likelihood, solution.at, state.center[keep], solution.beta, solution.inverse
    )


def lowess(x: Floats, y: Floats, *, fraction: float = 2 / 3, iterations: int = 3, delta: float | None = None) -> Floats:
    """Cleveland's robust locally weighted regression, as R's ``lowess(x, y, f, iter, delta)``.

    Parameters
    ----------
    x
        Ascending, shape (n,).
    y
        Shape (n,).
    fraction
        Share of the points in each local fit (R's ``f``).
    iterations
        Robustness iterations.
    delta
        Points closer than this to the last local fit are interpolated; 0.01 of the range of x by
        default, which bounds the number of local fits whatever n is.

    Returns
    -------
    Smooth at x, shape (n,).

    References
    ----------
    Cleveland, W. S. (1979), JASA 74, 829-836; (1981), American Statistician 35, 54.
    """
    n = len(x)
    if n < 2 or not 0 < fraction <= 1 or iterations < 0 or (delta is not None and delta < 0):
        got = f"{n} points, fraction {fraction}, iterations {iterations}, delta {delta}"
        raise DataError("lowess", "two points or more, 0 < fraction <= 1, iterations >= 0, delta >= 0", got)
    if (np.diff(x) < 0).any():
        raise DataError("lowess, x", "ascending values", "values out of order")
    spread = float(x[-1] - x[0])
    step = 0.01 * spread if delta is None else delta
    size = max(2, min(n, int(fraction * n + 1e-7)))
    anchors = _anchors(x, step)
    # The window of an anchor moves right while its left end is further away than the next point.
    left = np.searchsorted(x[:-size] + x[size:], 2 * x[anchors]) if size < n else np.zeros(len(anchors), dtype=np.int64)
    robust = np.ones(n)
    smooth = y
    for iteration in range(iterations + 1):
        fitted = [
            _local(x, y, robust, int(a), int(lo), int(lo) + size, spread) for a, lo in zip(anchors, left, strict=True)
        ]
        smooth = np.interp(x, x[anchors], fitted) if spread > 0 else np.full(n, fitted[0])
        distance = np.abs(y - smooth)
        reach = 6 * float(np.median(distance))
        if iteration == iterations or reach < 1e-7 * distance.mean():
            break
        robust = np.where(distance <= 0.001 * reach, 1.0, (1 - (distance / reach) ** 2) ** 2)
        robust[distance > 0.999 * reach] = 0.0
    return np.asarray(smooth)


def _anchors(x: Floats, step: float) -> Integers:
    """First point of each local fit: the last one within ``step`` of the one before, or the next."""
    distinct, index = np.unique(x, return_index=True)
    chosen, at = [0], 0
    while at < len(distinct) - 1:
        at = max(at + 1, int(np.searchsorted(distinct, distinct[at] + step, side="right")) - 1)
        chosen.append(at)
    return np.asarray(index[chosen], dtype=np.int64)


def _local(x: Floats, y: Floats, robust: Floats, point: int, lo: int, hi: int, spread: float) -> float:
    """Tricube-weighted line through the window, read at ``x[point]``; ``y[point]`` if every weight is zero."""
    at = float(x[point])
    reach = max(at - x[lo], x[hi - 1] - at)
    hi = max(hi, int(np.searchsorted(x, at + 0.999 * reach, side="right")))
    share = np.abs(x[lo:hi] - at) / (reach if reach > 0 else 1.0)
    tricube = 1 - share * share * share
    weight = np.where(share <= 0.001, 1.0, tricube * tricube * tricube)
    weight = np.where(share <= 0.999, weight, 0.0) * robust[lo:hi]
    total = weight.sum()
    if total <= 0:
        return float(y[point])
    weight = weight / total
    mean = float(weight @ x[lo:hi])
    centred = x[lo:hi] - mean
    variance = float(weight @ (centred * centred))
    if reach > 0 and np.sqrt(variance) > 0.001 * spread:
        weight = weight * (1 + (at - mean) / variance * centred)
    return float(weight @ y[lo:hi])
