"""Arrays behind a Fine-Gray fit, and what its units do to coefficients and baseline hazard."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coalition_exit.survival.competing.finegray_likelihood import FineGrayLikelihood
from coalition_exit.survival.competing.finegray_risksets import Censoring
from coalition_exit.survival.competing.finegray_variance import censoring_terms, hazard_censoring_terms
from coalition_exit.survival.competing.incidence_errors import HazardModel, sum_by_unit
from coalition_exit.survival.cox.partial import Evaluation
from coalition_exit.survival.data.design import Design
from coalition_exit.survival.data.surv import Floats, Integers
from coalition_exit.survival.inference.vcov import sum_by_cluster


@dataclass(frozen=True, eq=False)
class FineGrayState:
    """Arrays behind a Fine-Gray fit: n rows, m of them in a risk set.

    Attributes
    ----------
    design : Design
        All n rows, with the exits for the cause as events.
    likelihood : FineGrayLikelihood
        Covariates centred.
    evaluation : Evaluation
        At the estimate.
    center : ndarray, shape (p,)
    censoring : tuple of Censoring
        By censoring stratum.
    cell : ndarray, shape (n,)
        Censoring stratum of each row.
    any_exit, ends : ndarray of bool, shape (n,)
        The row ends in an exit for any cause; the row is its subject's last one.
    unit : ndarray, shape (n,)
        Unit of the variance of each row.
    coefficients : ndarray, shape (U, p)
        Influence of each unit on the coefficients.
    together : bool
        Exits at a time of censoring count as at risk of it.
    through_censoring : bool
        The variance counts the estimated censoring distribution.
    """

    design: Design
    likelihood: FineGrayLikelihood
    evaluation: Evaluation
    center: Floats
    censoring: tuple[Censoring, ...]
    cell: Integers
    any_exit: NDArray[np.bool_]
    ends: NDArray[np.bool_]
    unit: Integers
    coefficients: Floats
    together: bool
    through_censoring: bool


def score_influence(state: FineGrayState) -> Floats:
    """Sums of the rows' score influences by unit: shape (U, p)."""
    rows, surv = state.likelihood.risk_sets.rows, state.design.surv
    influence = np.zeros((len(surv), state.likelihood.x.shape[1]))
    influence[rows] = state.likelihood.score_residuals(state.evaluation)
    if state.through_censoring:
        influence += censoring_terms(
            state.likelihood, state.evaluation, surv, state.censoring, state.cell, state.any_exit, state.ends,
            state.together,
        )  # fmt: skip
    if state.design.weights is not None:
        influence *= state.design.weights[:, None]
    return sum_by_cluster(influence, state.unit, int(state.unit.max()) + 1)


def cumulative_errors(
    state: FineGrayState, covariance: Floats, x: Floats, place: Integers, variance: str, factor: float
) -> Floats:
    """Standard errors of exp(x b) L(t) / exp(x b) for scenarios and times: shape (rows of x, T).

    Parameters
    ----------
    state, covariance
        Of the fit; the covariance is for the delta method.
    x
        Centred covariates, one row a scenario.
    place
        Number of event times up to each of the T times.
    variance
        "infinitesimal", "delta" or "none".
    factor
        Small-sample factor of the jackknife.
    """
    if variance == "none":
        return np.full((len(x), len(place)), np.nan)
    rows, n_unit = state.likelihood.risk_sets.rows, int(state.unit.max()) + 1
    model = HazardModel(state.likelihood, state.evaluation, state.unit[rows], n_unit, state.coefficients)
    known, back = np.unique(place, return_inverse=True)
    factors = (state.likelihood.steps.at[:, None] < known).astype(np.float64)
    slopes = [model.direction(factors, row) for row in x]
    if variance == "delta":
        common = model.increments_variance(factors)
        squares = [common + np.einsum("ij,jk,ik->i", slope, covariance, slope) for slope in slopes]
    else:
        influence = model.baseline_influence(factors)
        if state.through_censoring:
            terms = hazard_censoring_terms(
                state.likelihood, state.evaluation, state.design.surv, state.censoring, state.cell, state.any_exit,
                state.ends, state.together, known - 1,
            )  # fmt: skip
            weights = np.ones(len(terms)) if state.design.weights is None else state.design.weights
            influence = influence + sum_by_unit(terms, weights, state.unit, n_unit)
        squares = [factor * ((influence + state.coefficients @ slope.T) ** 2).sum(axis=0) for slope in slopes]
    return np.sqrt(np.maximum(np.stack(squares), 0.0))[:, back.reshape(-1)]
