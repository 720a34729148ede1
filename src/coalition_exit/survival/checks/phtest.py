"""Tests of proportional hazards: the score test of R survival >= 3 and the approximation before it.

Both ask whether the coefficients vary with g(t), a function of time.

"score"
    The score test of adding x g(t) to the model, with the model's own information. It equals
    ``cox.zph`` of R survival >= 3 (with ``terms = FALSE``), which uses model-based information also
    after a robust or clustered fit.
"grambsch_therneau"
    The approximation of Grambsch and Therneau (1994), which takes the variance of the Schoenfeld
    residuals to be constant over event times (it is not where strata or the composition of the
    risk sets change: Metzger and Jones 2021). It equals ``cox.zph`` of R survival 2.x and Stata's
    ``estat phtest, detail``. After a robust or clustered fit both of these put the robust
    covariance in the place of the model's (Stata: ``e(V)``, with the note "robust
    variance-covariance matrix used"; R 2.x: ``fit$var``); pass it as ``covariance`` to do so.

References
----------
Grambsch, P. M. and Therneau, T. M. (1994), Biometrika 81, 515-526; Therneau and Grambsch (2000),
Modeling Survival Data, chapter 6; Metzger, S. K. and Jones, B. T. (2021), Stata Journal 21, 1028-1033.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.linalg
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc

from coalition_exit.errors import DataError, FitError, nearest, one_of
from coalition_exit.survival.checks.residuals import event_residuals, expected_events
from coalition_exit.survival.cox.blockwise import gram
from coalition_exit.survival.cox.state import CoxState
from coalition_exit.survival.data.surv import Floats, Surv
from coalition_exit.survival.inference.vcov import require_maximum

METHODS = ("score", "grambsch_therneau")
TRANSFORMS = ("km", "rank", "log", "identity")
Transform = str | Callable[[Floats], ArrayLike]

# Share of the variance of x g(t) that must be left once x is taken out; below it the term has no test.
_DETERMINED = 1e-10


@dataclass(frozen=True, eq=False)
class _Pieces:
    """A method's statistic and degrees of freedom for any set of terms, and correlations with time (p,)."""

    test: Callable[[list[int]], tuple[float, int]]
    rho: Floats


def proportional_hazards_test(
    state: CoxState,
    transform: Transform | Sequence[Transform] = "km",
    method: str = "both",
    *,
    covariance: ArrayLike | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> pd.DataFrame:
    """Test proportional hazards, for each covariate and for all together.

    Parameters
    ----------
    state
        A Cox fit with p >= 1 covariates.
    transform
        g(t): "km" (1 minus the left-continuous Kaplan-Meier estimate of all rows, ignoring strata
        and weights: R's default), "rank", "log", "identity" (Stata's default), or a function of
        an array of event times. Or a sequence of these. "rank" is, for "score", the rank of the
        event time among the times of all rows, censored ones too, as in R survival >= 3; for
        "grambsch_therneau" the rank among the event times, as in R survival 2.x and Stata.
    method
        "score", "grambsch_therneau" or "both".
    covariance
        For "grambsch_therneau": the covariance of the estimates to use instead of the model-based
        one, shape (p, p); "score" never uses it.
    groups
        Joint tests of several terms, by name, listed after the single terms: for the columns of a
        factor, say.

    Returns
    -------
    DataFrame
        method, transform, term ("GLOBAL" last), statistic (chi-squared), df, p_value, variance
        ("model" or "given": the covariance used), rho (correlation of g(t) with the scaled Schoenfeld
        residuals, as Stata and R 2.x print; only single terms of "grambsch_therneau"). Statistic
        and p_value are NaN where the data hold no information on x g(t) apart from x.

    Raises
    ------
    DataError
        Unknown names, times that cannot be transformed, a covariance of another shape; a penalized fit, exact
        ties, no covariates, tt() terms.
    FitError
        "no_variation": the events happen at a single value of g(t).

    Notes
    -----
    Case weights count as frequencies in both tests: a row of weight 2 equals the row twice. (R 2.x and
    Stata leave the weights out of the sums over events of "grambsch_therneau", which is then
    off; the two agree for equal weights of 1.) "rank" and "km" ignore weights, as in R,
    but for rows of weight 0, which are as good as absent in everything.
    """
    require_maximum(state)
    names = state.design.names
    if state.design.source is not None:
        raise DataError("formula", "no tt() terms: their coefficients are a test already, as in R and Stata", "tt()")
    if method not in (*METHODS, "both"):
        valid = (*METHODS, "both")
        raise DataError("method", one_of(valid), repr(method), nearest(str(method), valid))
    chosen = METHODS if method == "both" else (method,)
    transforms = [transform] if isinstance(transform, str) or callable(transform) else list(transform)
    sets = _term_sets(names, groups)
    given = None if covariance is None else _covariance(covariance, len(names))
    frames = []
    for one in chosen:
        for g in transforms:
            values = _transformed(state, g, all_rows=one == "score")
            pieces = _score(state, values) if one == "score" else _grambsch_therneau(state, values, given)
            frame = _table(pieces, sets)
            label = g if isinstance(g, str) else getattr(g, "__name__", "user")
            frame.insert(0, "method", one)
            frame.insert(1, "transform", label)
            frame["variance"] = "given" if one != "score" and given is not None else "model"
            frame["rho"] = [*pieces.rho, *[np.nan] * (len(sets) - len(names))]
            frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _term_sets(names: Sequence[str], groups: Mapping[str, Sequence[str]] | None) -> dict[str, list[int]]:
    sets = {name: [j] for j, name in enumerate(names)}
    for label, members in (groups or {}).items():
        for member in [members] if isinstance(members, str) else members:
            if member not in names:
                raise DataError(f"groups[{label!r}]", one_of(names), repr(member), nearest(str(member), names))
        if label in sets or label == "GLOBAL" or isinstance(members, str) or not len(members):
            raise DataError("groups", "a new name and a list of terms", repr({label: members}))
        sets[label] = sorted({list(names).index(member) for member in members})
    sets["GLOBAL"] = list(range(len(names)))
    return sets


def _covariance(covariance: ArrayLike, p: int) -> Floats:
    matrix = np.asarray(covariance, dtype=float)
    if matrix.shape != (p, p) or not (np.isfinite(matrix).all() and (np.diag(matrix) > 0).all()):
        expected = f"a finite matrix of shape ({p}, {p}) with positive variances"
        raise DataError("covariance", expected, f"shape {matrix.shape}")
    return matrix


def _table(pieces: _Pieces, sets: Mapping[str, list[int]]) -> pd.DataFrame:
    tests = [pieces.test(members) for members in sets.values()]
    statistic, df = np.array([value for value, _ in tests]), np.array([df for _, df in tests])
    columns = {"term": list(sets), "statistic": statistic, "df": df, "p_value": chdtrc(df, statistic)}
    return pd.DataFrame(columns)


def _score(state: CoxState, g: Floats) -> _Pieces:
    """Score test of x g(t): u' (C - B A^-1 B)^-1 u, with A, B, C the information weighted by 1, g, g^2."""
    weight = state.likelihood.steps.weight
    g = g - weight @ g[state.likelihood.steps.at] / weight.sum()
    residual, events = event_residuals(state)
    score = (state.likelihood.event_weight[events] * g[state.risk_sets.last[events]]) @ residual
    crossed, squared = (_information(state, g**power) for power in (1, 2))
    left = squared - crossed @ state.inverse @ crossed
    scale = np.sqrt(np.maximum(np.diag(squared), 0.0))
    return _Pieces(lambda members: _quadratic(score, left, scale, members), np.full(len(score), np.nan))


def _information(state: CoxState, g: Floats) -> Floats:
    """Information with the contribution of each event time multiplied by g, shape (K,)."""
    likelihood, mean = state.likelihood, state.evaluation.mean
    by_step = g[likelihood.steps.at]
    expected = likelihood.weights * expected_events(state, by_step)
    return gram(likelihood.x, expected) - gram(mean, likelihood.steps.weight * by_step)


def _quadratic(score: Floats, variance: Floats, scale: Floats, members: list[int]) -> tuple[float, int]:
    unit, df = scale[members], len(members)
    if (unit == 0).any():
        return float("nan"), df
    scaled = variance[np.ix_(members, members)] / np.outer(unit, unit)
    if np.linalg.eigvalsh(scaled).min() < _DETERMINED:
        return float("nan"), df
    part = score[members] / unit
    return float(part @ scipy.linalg.solve(scaled, part, assume_a="pos")), df


def _grambsch_therneau(state: CoxState, g: Floats, covariance: Floats | None) -> _Pieces:
    """Scaled residuals r* = d V r regressed on g: (sum g r*)^2 / (d V sum g^2), g centred."""
    matrix = state.inverse if covariance is None else covariance
    residual, events = event_residuals(state)
    weight, g_event = state.likelihood.event_weight[events], g[state.risk_sets.last[events]]
    total = weight.sum()
    centred = g_event - weight @ g_event / total
    spread = float(weight @ centred**2)
    scaled = residual @ matrix
    sums = (weight * centred) @ scaled

    def test(members: list[int]) -> tuple[float, int]:
        unit = np.sqrt(np.diag(matrix)[members])
        part = sums[members] / unit
        # A sandwich of few clusters may be singular: its rank is the number of degrees of freedom (as in Stata).
        inside = matrix[np.ix_(members, members)] / np.outer(unit, unit)
        solution, _, rank, _ = np.linalg.lstsq(inside, part, rcond=_DETERMINED)
        return float(total / spread * (part @ solution)), int(rank)

    variation = weight @ (scaled - weight @ scaled / total) ** 2
    # Residuals that are 0 but for rounding correlate with nothing.
    rounding = 1e-12 * (np.abs(state.likelihood.x).max(axis=0) @ np.abs(matrix))
    variation[variation <= total * rounding**2] = np.nan
    rho = sums / np.sqrt(spread * variation)
    return _Pieces(test, rho)


def _transformed(state: CoxState, transform: Transform, *, all_rows: bool) -> Floats:
    """Return g at each event time, shape (K,)."""
    surv, times, counted = state.design.surv, state.risk_sets.times, state.weights > 0
    if callable(transform):
        values = np.asarray(transform(times.copy()), dtype=float)
        if values.shape != times.shape:
            raise DataError("transform", f"a function that returns {len(times)} values", f"shape {values.shape}")
    elif transform == "identity":
        values = times
    elif transform == "log":
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.log(times)
    elif transform == "rank":
        pool = np.sort(surv.stop[counted if all_rows else counted & surv.event])
        values = (np.searchsorted(pool, times) + np.searchsorted(pool, times, side="right") + 1) / 2
    elif transform == "km":
        values = 1 - _kaplan_meier_before(surv, counted, times)
    else:
        hint = nearest(str(transform), TRANSFORMS)
        raise DataError("transform", f"{one_of(TRANSFORMS)} or a function", repr(transform), hint)
    bad = ~np.isfinite(values)
    if bad.any():
        at = int(np.argmax(bad))
        raise DataError("transform", "a finite value at every event time", f"{values[at]} at time {times[at]:g}")
    used = values[state.likelihood.steps.at[state.likelihood.steps.weight > 0]]
    if np.ptp(used) <= 1e-12 * np.abs(used).max():
        raise FitError("no_variation", "the transformed time is the same at every event: no test of proportionality")
    return np.asarray(values, dtype=float)


def _kaplan_meier_before(surv: Surv, counted: NDArray[np.bool_], times: Floats) -> Floats:
    """Kaplan-Meier estimate just before each time: all counted rows in one stratum, unweighted."""
    distinct, died = np.unique(surv.stop[surv.event & counted], return_counts=True)
    entered = np.searchsorted(np.sort(surv.start[counted]), distinct)
    left = np.searchsorted(np.sort(surv.stop[counted]), distinct)
    survival = np.concatenate([[1.0], np.cumprod(1 - died / (entered - left))])
    return np.asarray(survival[np.searchsorted(distinct, times)])
