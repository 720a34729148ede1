"""Cox's proportional hazards model on start-stop data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from coalition_exit.errors import DataError, FitError, nearest, one_of
from coalition_exit.survival.design import Design, build_design
from coalition_exit.survival.fit import CoxFit
from coalition_exit.survival.partial import PartialLikelihood
from coalition_exit.survival.risksets import RiskSets, prepare_risk_sets
from coalition_exit.survival.solver import Solution, maximize
from coalition_exit.survival.state import CoxState
from coalition_exit.survival.surv import Floats, Integers, check_episodes
from coalition_exit.survival.timevarying import TimeFunction, expand_design
from coalition_exit.survival.vcov import CORRECTIONS, cluster_sandwich, correction_factor

TIES = ("breslow", "efron")


@dataclass(frozen=True)
class CoxPH:
    """Cox model with start-stop rows, strata, weights, offset and cluster-robust errors.

    Parameters
    ----------
    ties
        "breslow" (Stata's default) or "efron" (R's default).
    correction
        Small-sample factor of the cluster sandwich: "stata" (G/(G-1)) or "none" (R's).
    max_iter
        Newton iterations allowed.
    tolerance
        Relative gain in log-likelihood below which Newton takes its last step.

    Raises
    ------
    DataError
        On an unknown ``ties`` or ``correction``.

    References
    ----------
    Cox, D. R. (1972), JRSS B 34, 187-220; Lin, D. Y. and Wei, L. J. (1989), JASA 84, 1074-1078.
    """

    ties: str = "breslow"
    correction: str = "stata"
    max_iter: int = 100
    tolerance: float = 1e-14

    def __post_init__(self) -> None:
        for name, value, valid in (("ties", self.ties, TIES), ("correction", self.correction, CORRECTIONS)):
            if value not in valid:
                raise DataError(name, one_of(valid), repr(value), nearest(str(value), valid))

    def fit(
        self,
        formula: str,
        data: pd.DataFrame,
        *,
        id: str | ArrayLike | None = None,
        cluster: str | ArrayLike | None = None,
        weights: str | ArrayLike | None = None,
        offset: str | ArrayLike | None = None,
        missing: str = "error",
        tt: Mapping[str, TimeFunction] | None = None,
    ) -> CoxFit:
        """Fit the model.

        Parameters
        ----------
        formula
            ``"Surv(start, stop, event) ~ a + b + strata(c)"`` or ``"Surv(time, event) ~ ..."``.
            Terms other than column names (factors, interactions, transformations) are
            read by formulaic.
        data
            One row per episode (start, stop]. Never changed.
        id
            Subject of each row: checked for overlapping episodes, counted.
        cluster
            Cluster of each row; gives the Lin-Wei sandwich.
        weights, offset
            Case weights (>= 0) and an offset in the linear predictor.
        missing
            "error" refuses missing values; "drop" leaves the rows out and counts them.
        tt
            Functions for terms ``tt(x, name)`` in the formula, by name: g(t), which multiplies x, or f(x, t), which
            gives the covariate; both of arrays. "log", "identity" and "sqrt" are known.

        Returns
        -------
        CoxFit

        Raises
        ------
        DataError
            The data cannot be used; names the column and row.
        FitError
            The model has no estimate: no events, a covariate without variation or collinear, a
            monotone likelihood, no convergence.
        """
        design = build_design(
            formula, data, id=id, cluster=cluster, weights=weights, offset=offset, missing=missing, tt=tt or {}
        )
        return self.fit_design(design, formula=formula)

    def fit_design(self, design: Design, risk_sets: RiskSets | None = None, formula: str = "") -> CoxFit:
        """Fit arrays that `build_design` made; ``risk_sets`` may be shared between fits on the same rows."""
        if design.id is not None:
            check_episodes(design.surv, design.id)
        if not design.surv.event.any():
            raise FitError("no_events", f"no events among {len(design.surv)} rows")
        factor = 1.0
        if design.cluster is not None:
            factor = correction_factor(self.correction, design.n_cluster or 0)
        if risk_sets is None:
            risk_sets = prepare_risk_sets(design.surv, design.strata)
        if design.weights is not None and not (design.weights[risk_sets.rows][risk_sets.event] > 0).any():
            raise FitError("no_events", "no events with positive weight")
        likelihood, center = _likelihood(design, risk_sets, self.ties)
        solution = maximize(likelihood, design.names, self.max_iter, self.tolerance)
        covariance = solution.inverse
        if design.cluster is not None:
            covariance = _robust(likelihood, solution, design, risk_sets, factor)
        return CoxFit(
            terms=design.names,
            beta=solution.beta,
            covariance=covariance,
            model_covariance=solution.inverse.copy(),
            loglik=solution.at.loglik,
            loglik_null=solution.null.loglik,
            n_obs=len(design.surv),
            n_subject=design.n_subject,
            n_event=int(design.surv.event.sum()),
            n_cluster=design.n_cluster,
            n_dropped=design.n_dropped,
            n_at_risk_rows=len(risk_sets.rows),
            ties=self.ties,
            correction=self.correction if design.cluster is not None else None,
            n_iter=solution.iterations,
            formula=formula,
            state=CoxState(
                design, risk_sets, likelihood, solution.at, center, solution.beta.copy(), solution.inverse.copy()
            ),
        )


def _likelihood(design: Design, risk_sets: RiskSets, ties: str) -> tuple[PartialLikelihood, Floats]:
    rows = risk_sets.rows
    weights = None if design.weights is None else design.weights[rows]
    offset = None if design.offset is None else design.offset[rows]
    x, center = _centered_rows(design.x, rows, weights)
    return PartialLikelihood(risk_sets, x, weights, offset, ties), center


def _centered_rows(x: Floats, rows: Integers, weights: Floats | None) -> tuple[Floats, Floats]:
    """Copy the rows at risk, each row contiguous, less their mean; return the copy and the mean."""
    chosen = np.take(x, rows, axis=0) if x.flags.c_contiguous else np.ascontiguousarray(x[rows])
    # Centring leaves every estimate as it is and keeps exp() and the sums in range.
    if not len(rows):
        return chosen, np.zeros(x.shape[1])
    center = chosen.mean(axis=0) if weights is None else (weights @ chosen) / weights.sum()
    chosen -= center
    return chosen, center


def _robust(
    likelihood: PartialLikelihood, solution: Solution, design: Design, risk_sets: RiskSets, factor: float
) -> Floats:
    assert design.cluster is not None and design.n_cluster is not None
    summed = likelihood.cluster_scores(solution.at, design.cluster[risk_sets.rows], design.n_cluster)
    return cluster_sandwich(solution.inverse, summed, factor)
