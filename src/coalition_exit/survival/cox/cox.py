"""Cox's proportional hazards model on start-stop data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from coalition_exit.errors import DataError, FitError, nearest, one_of
from coalition_exit.survival.cox.exact import ExactLikelihood
from coalition_exit.survival.cox.firth import FirthSolution, maximize_firth
from coalition_exit.survival.cox.partial import PartialLikelihood, blocks
from coalition_exit.survival.cox.risksets import RiskSets, prepare_risk_sets
from coalition_exit.survival.cox.solver import Solution, maximize
from coalition_exit.survival.cox.state import CoxState
from coalition_exit.survival.cox.timevarying import TimeFunction, expand_design
from coalition_exit.survival.data.design import Design, build_design
from coalition_exit.survival.data.surv import Floats, Integers, check_episodes
from coalition_exit.survival.fit import CoxFit
from coalition_exit.survival.inference.vcov import CORRECTIONS, cluster_sandwich, correction_factor

TIES = ("breslow", "efron", "exact")
PENALTIES = ("none", "firth")
_AnyLikelihood = PartialLikelihood | ExactLikelihood


@dataclass(frozen=True)
class CoxPH:
    """Cox model with start-stop rows, strata, weights, offset and cluster-robust errors.

    Parameters
    ----------
    ties
        "breslow" (Stata's default), "efron" (R's default) or "exact" (R's "exact", Stata's exactp: the discrete
        partial likelihood, without weights and clusters).
    correction
        Small-sample factor of the cluster sandwich: "stata" (G/(G-1)) or "none" (R's).
    max_iter
        Newton iterations allowed.
    tolerance
        Relative gain in log-likelihood below which Newton takes its last step.
    penalty
        "firth" for Firth's penalty (few events, monotone likelihood): ``loglik`` and ``loglik_null`` are then
        penalized, and intervals and tests come from `firth.profile_intervals`. "none" otherwise.
    ridge
        Ridge parameter: ``ridge`` times half the sum of the squared coefficients, each times the variance
        of its covariate over the rows (divisor n - 1, unweighted) if ``ridge_scale``, is taken off the
        log-likelihood. R's ``ridge(..., theta=ridge, scale=ridge_scale)`` over all covariates. ``loglik`` is without
        the penalty, as R's; the covariance is the inverse of the penalized information (R's ``var``).
    ridge_scale
        Penalize coefficients of standardized covariates (the default, as in R) or of the covariates as they are.

    Raises
    ------
    DataError
        On an unknown ``ties``, ``correction`` or ``penalty``, a negative ridge, or two penalties at once.

    References
    ----------
    Cox, D. R. (1972), JRSS B 34, 187-220; Lin, D. Y. and Wei, L. J. (1989), JASA 84, 1074-1078.
    """

    ties: str = "breslow"
    correction: str = "stata"
    max_iter: int = 100
    tolerance: float = 1e-14
    penalty: str = "none"
    ridge: float = 0.0
    ridge_scale: bool = True

    def __post_init__(self) -> None:
        for name, value, valid in (
            ("ties", self.ties, TIES),
            ("correction", self.correction, CORRECTIONS),
            ("penalty", self.penalty, PENALTIES),
        ):
            if value not in valid:
                raise DataError(name, one_of(valid), repr(value), nearest(str(value), valid))
        if not 0 <= self.ridge < np.inf:
            raise DataError("ridge", "a number >= 0", repr(self.ridge))
        if self.penalty == "firth" and self.ridge > 0:
            raise DataError("ridge", "0 with penalty='firth' (one penalty at a time)", repr(self.ridge))
        if self.penalty == "firth" and self.ties == "exact":
            raise DataError("ties", "'breslow' or 'efron' with penalty='firth'", "'exact'")

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
        data = design
        factor = self._check(data)
        if data.time_terms:
            design, risk_sets = expand_design(data, risk_sets), None
        if risk_sets is None:
            risk_sets = prepare_risk_sets(design.surv, design.strata)
        if design.weights is not None and not (design.weights[risk_sets.rows][risk_sets.event] > 0).any():
            raise FitError("no_events", "no events with positive weight")
        likelihood, center = _likelihood(design, risk_sets, self.ties)
        solution, ridge = self._maximize(likelihood, design)
        firth = solution if isinstance(solution, FirthSolution) else None
        covariance = solution.inverse
        if design.cluster is not None:
            covariance = _robust(likelihood, solution, design, risk_sets, factor)
        state = CoxState(
            design=design,
            risk_sets=risk_sets,
            likelihood=cast(PartialLikelihood, likelihood),
            evaluation=solution.at,
            center=center,
            beta=solution.beta.copy(),
            inverse=solution.inverse.copy(),
            penalty="firth" if firth else "none" if ridge is None else "ridge",
            ridge=ridge,
        )
        return CoxFit(
            terms=design.names,
            beta=solution.beta,
            covariance=covariance,
            model_covariance=solution.inverse.copy(),
            loglik=firth.loglik if firth else solution.at.loglik,
            loglik_null=firth.loglik_null if firth else solution.null.loglik,
            n_obs=len(data.surv),
            n_subject=data.n_subject,
            n_event=int(data.surv.event.sum()),
            n_cluster=data.n_cluster,
            n_dropped=data.n_dropped,
            n_at_risk_rows=len(risk_sets.rows) if design.source is None else len(np.unique(design.source)),
            ties=self.ties,
            correction=self.correction if data.cluster is not None else None,
            n_iter=solution.iterations,
            formula=formula,
            state=state,
        )

    def _check(self, design: Design) -> float:
        """Refuse what cannot be fitted; return the small-sample factor of the sandwich."""
        if self.ties == "exact":
            for name in ("weights", "cluster"):
                if getattr(design, name) is not None:
                    raise DataError(name, "none with ties='exact', which has no weighted or row-wise score", "values")
        if design.id is not None:
            check_episodes(design.surv, design.id)
        if not design.surv.event.any():
            raise FitError("no_events", f"no events among {len(design.surv)} rows")
        return 1.0 if design.cluster is None else correction_factor(self.correction, design.n_cluster or 0)

    def _maximize(self, likelihood: _AnyLikelihood, design: Design) -> tuple[Solution, Floats | None]:
        """Return the maximum and the diagonal of the ridge penalty."""
        if self.penalty == "firth":
            return maximize_firth(cast(PartialLikelihood, likelihood), design.names, self.max_iter), None
        ridge = None
        if self.ridge > 0:
            variance = design.x.var(axis=0, ddof=1) if self.ridge_scale else np.ones(design.x.shape[1])
            ridge = self.ridge * variance
        return maximize(likelihood, design.names, self.max_iter, self.tolerance, penalty=ridge), ridge


def _likelihood(design: Design, risk_sets: RiskSets, ties: str) -> tuple[_AnyLikelihood, Floats]:
    rows = risk_sets.rows
    weights = None if design.weights is None else design.weights[rows]
    offset = None if design.offset is None else design.offset[rows]
    x, center = _centered_rows(design.x, rows, weights)
    if ties == "exact":
        return ExactLikelihood(risk_sets, x, offset), center
    return PartialLikelihood(risk_sets, x, weights, offset, ties), center


def _centered_rows(x: Floats, rows: Integers, weights: Floats | None) -> tuple[Floats, Floats]:
    """Copy the rows at risk, each row contiguous, less their mean; return the copy and the mean."""
    chosen = np.take(x, rows, axis=0) if x.flags.c_contiguous else np.ascontiguousarray(x[rows])
    # Centring leaves every estimate as it is and keeps exp() and the sums in range.
    if not len(rows):
        return chosen, np.zeros(x.shape[1])
    each = np.ones(len(rows)) if weights is None else weights
    center = sum(each[part] @ chosen[part] for part in blocks(chosen)) / each.sum()
    for part in blocks(chosen):
        chosen[part] -= center
    return chosen, center


def _robust(
    likelihood: _AnyLikelihood, solution: Solution, design: Design, risk_sets: RiskSets, factor: float
) -> Floats:
    assert design.cluster is not None
    assert design.n_cluster is not None
    summed = likelihood.cluster_scores(solution.at, design.cluster[risk_sets.rows], design.n_cluster)
    return cluster_sandwich(solution.inverse, summed, factor)
