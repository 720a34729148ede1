"""Fit a model again on the rows of a fit: other weights, or fewer covariates.

Rows, sorting, risk sets and centred covariates are those of the first fit; nothing is read from a data frame again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from coalition_exit.errors import DataError, FitError, nearest, one_of
from coalition_exit.survival.cox.partial import PartialLikelihood
from coalition_exit.survival.cox.solver import maximize
from coalition_exit.survival.cox.state import CoxState
from coalition_exit.survival.data.formula import split_terms
from coalition_exit.survival.data.surv import Floats, Integers, refuse_other_index
from coalition_exit.survival.inference.vcov import (
    CORRECTIONS,
    ClusterVcov,
    cluster_sandwich,
    cluster_vcov,
    correction_factor,
)


@dataclass(frozen=True, eq=False)
class Refit:
    """What a refit changes in a fit, by the names of `cox_fit.CoxFit`."""

    terms: tuple[str, ...]
    beta: Floats
    covariance: Floats
    model_covariance: Floats
    loglik: float
    loglik_null: float
    n_iter: int
    formula: str
    state: CoxState
    clusters: ClusterVcov | None


def refit(
    state: CoxState,
    formula: str,
    correction: str | None,
    ways: Mapping[str, Any],
    *,
    terms: Sequence[str] | None = None,
    weights: ArrayLike | None = None,
    max_iter: int = 100,
    tolerance: float = 1e-14,
) -> Refit:
    """Fit a model again, with other case weights or some of its terms.

    The result is that of ``CoxPH.fit`` on the same rows, to rounding.

    Parameters
    ----------
    state
        Of a Cox fit with Breslow or Efron ties and without penalty, n rows.
    formula
        Of that fit.
    correction, ways
        Small-sample factor and ways of clustering of that fit; the covariance is of the same kind.
    terms
        Names of the coefficients to keep; all of them by default.
    weights
        Case weights, shape (n,), >= 0; those of the fit by default.
    max_iter, tolerance
        As in `cox.CoxPH`.

    Returns
    -------
    Refit
        ``formula`` names the response, the terms kept and the strata.

    Raises
    ------
    DataError
        An unknown term, weights that cannot be used, a penalty, exact ties, rows split for tt() terms, a covariance
        that no fit makes.
    FitError
        As ``CoxPH.fit``.

    See Also
    --------
    coalition_exit.survival.inference.reweighted : many weight vectors at once.
    """
    _require_rows(state, correction)
    known = state.design.names
    columns = None if terms is None else _columns(known, terms)
    refuse_other_index(weights, state.design.index, "weights")
    given = None if weights is None else _checked_weights(weights, len(state.design.surv))
    rows = state.risk_sets.rows
    likelihood = state.likelihood.again(columns, None if given is None else given[rows])
    if not (likelihood.event_weight > 0).any():
        raise FitError("no_events", "no events with positive weight")
    names = known if columns is None else tuple(known[j] for j in columns)
    solution = maximize(likelihood, names, max_iter, tolerance)
    design, center = state.design, state.center
    if columns is not None:
        design, center = replace(design, x=_pick(design.x, columns), names=names), center[columns]
    if given is not None:
        design = replace(design, weights=given)
    again = replace(
        state, design=design, likelihood=likelihood, evaluation=solution.at, center=center,
        beta=solution.beta.copy(), inverse=solution.inverse.copy(),
    )  # fmt: skip
    found, covariance = None, solution.inverse
    if ways:
        found = cluster_vcov(again, ways, correction or "none")
        covariance = found.vcov
    elif design.cluster is not None and design.n_cluster is not None:
        factor = correction_factor(correction or "none", design.n_cluster)
        summed = likelihood.cluster_scores(solution.at, design.cluster[rows], design.n_cluster)
        covariance = cluster_sandwich(solution.inverse, summed, factor)
    return Refit(
        terms=names, beta=solution.beta, covariance=covariance, model_covariance=solution.inverse.copy(),
        loglik=solution.at.loglik, loglik_null=solution.null.loglik, n_iter=solution.iterations, state=again,
        formula=formula if columns is None else _formula(formula, names), clusters=found,
    )  # fmt: skip


def _require_rows(state: CoxState, correction: str | None) -> None:
    """Refuse fits whose likelihood is not that of the data's own rows, or whose covariance was put in later."""
    state.require_plain("a refit")
    if correction not in (None, *CORRECTIONS):
        raise DataError("refit", "a fit with the covariance it was made with", "another, put in by with_vcov()")
    if type(state.likelihood) is not PartialLikelihood or state.design.source is not None:
        raise DataError("refit", "a fit without tt() terms", "rows split at the event times")


def _columns(known: Sequence[str], terms: Sequence[str]) -> Integers:
    """Return the places of the terms among those known, in the order given."""
    wanted = [terms] if isinstance(terms, str) else list(terms)
    for name in wanted:
        if name not in known:
            raise DataError("terms", one_of(known), repr(name), nearest(str(name), known))
    if len(set(wanted)) < len(wanted):
        raise DataError("terms", "each term once", repr(wanted))
    return np.array([list(known).index(name) for name in wanted], dtype=np.int64)


def _pick(x: Floats, columns: Integers) -> Floats:
    """Return columns of x, without a copy where they are neighbours."""
    if len(columns) and (np.diff(columns) == 1).all():
        return x[:, columns[0] : columns[-1] + 1]
    return np.asarray(x.T[columns].T)


def _checked_weights(weights: ArrayLike, n: int) -> Floats:
    try:
        values = np.array(weights, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError("weights", "numbers", "values of another kind") from None
    if values.shape != (n,):
        raise DataError("weights", f"{n} values, one a row of the fit", f"shape {values.shape}")
    if n and not (values.min() >= 0 and values.max() < np.inf):
        bad = ~(np.isfinite(values) & (values >= 0))
        row = int(np.argmax(bad))
        raise DataError(f"weights, row {row}", "a finite number >= 0", str(values[row]))
    return values


def _formula(formula: str, names: Sequence[str]) -> str:
    """Return the formula of the terms kept, with the strata of the old one."""
    left, _, right = formula.partition("~")
    strata = [part for part in split_terms(right) if part.startswith("strata")]
    return f"{left.strip()} ~ {' + '.join([*names, *strata]) or '1'}"
