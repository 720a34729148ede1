"""Cox's proportional hazards model on start-stop data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from coalition_exit.errors import DataError, FitError, nearest, one_of
from coalition_exit.survival.cox.blockwise import centered_rows
from coalition_exit.survival.cox.cox_fit import CoxFit
from coalition_exit.survival.cox.exact import ExactLikelihood
from coalition_exit.survival.cox.firth import FirthSolution, maximize_firth
from coalition_exit.survival.cox.partial import PartialLikelihood
from coalition_exit.survival.cox.risksets import RiskSets, prepare_risk_sets
from coalition_exit.survival.cox.solver import Solution, maximize
from coalition_exit.survival.cox.splitlikelihood import SplitLikelihood
from coalition_exit.survival.cox.state import CoxState
from coalition_exit.survival.cox.timevarying import MOST_VALUES, all_names, expand_design, split_size
from coalition_exit.survival.data.design import Design, build_design
from coalition_exit.survival.data.dropped import missing_by_column
from coalition_exit.survival.data.surv import Codes, Floats, Integers, check_episodes
from coalition_exit.survival.data.timefix import join_near_times, near_event_times
from coalition_exit.survival.data.timeterms import TimeFunction
from coalition_exit.survival.inference.vcov import CORRECTIONS, cluster_sandwich, cluster_vcov, correction_factor
from coalition_exit.survival.inference.ways import combine_ways, name_ways, separate_ways

TIES = ("breslow", "efron", "exact")
PENALTIES = ("none", "firth")
_AnyLikelihood = PartialLikelihood | ExactLikelihood | SplitLikelihood


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
    timefix
        Join times that differ by rounding error only (0.1 + 0.2 and 0.3), as R does; how many is printed.
        Whole numbers are never joined. See `timefix.join_near_times`.
    most_split_values
        For tt() terms: the most numbers (split rows times covariates) kept in memory. Beyond it the split rows are
        made in blocks at each evaluation, for the same estimates and errors; see `splitlikelihood`.

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
    timefix: bool = True
    most_split_values: int = MOST_VALUES

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
        cluster: str | ArrayLike | Sequence[str] | None = None,
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
            Cluster of each row; gives the Lin-Wei sandwich. Several columns by name, ``["a", "b"]``, give the
            sandwich clustered by all of them (Cameron, Gelbach and Miller 2011); ``correction`` then applies to
            each of its terms by its own number of clusters. See `vcov.cluster_vcov`.
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
        beside = {"id": id, "weights": weights, "offset": offset}
        several = name_ways(cluster, data)
        given = cluster if several is None else combine_ways(data, several, missing)
        design = build_design(
            formula, data, id=id, cluster=given, weights=weights, offset=offset, missing=missing, tt=tt or {}
        )
        ways: dict[str, NDArray[Any]] = {}
        if several is not None:
            design, ways = separate_ways(design, data, several)
        elif isinstance(cluster, str):
            beside["cluster"] = cluster
        n_joined, risk_sets = 0, None
        if self.timefix and not design.surv.is_whole:
            risk_sets = prepare_risk_sets(design.surv, design.strata)
            if near_event_times(design.surv, risk_sets) or _overlap(design):
                surv, n_joined = join_near_times(design.surv)
                design, risk_sets = replace(design, surv=surv), None
        fit = self.fit_design(design, risk_sets, formula=formula, ways=ways)
        reasons: tuple[tuple[str, int], ...] = ()
        if fit.n_dropped:
            reasons = missing_by_column(formula, data, beside | {name: name for name in several or ()})
        name = cluster if isinstance(cluster, str) else ""
        return replace(fit, dropped=reasons, n_joined=n_joined, cluster_name=name)

    def fit_design(
        self,
        design: Design,
        risk_sets: RiskSets | None = None,
        formula: str = "",
        ways: Mapping[str, NDArray[Any]] | None = None,
    ) -> CoxFit:
        """Fit arrays that `build_design` made.

        Parameters
        ----------
        design
            n rows.
        risk_sets
            Their index, to share between fits on the same rows.
        formula
            To be kept with the fit.
        ways
            Several ways of clustering, by name: values of shape (n,) each. The design then has no clusters.
        """
        data = design
        factor = self._check(data)
        if ways and self.ties == "exact":
            raise DataError("cluster", "none with ties='exact', which has no row-wise score", "values")
        split = False
        if data.time_terms:
            risk_sets = prepare_risk_sets(data.surv, data.strata) if risk_sets is None else risk_sets
            rows, width = split_size(data, risk_sets)
            split = rows * width > self.most_split_values and self.ties != "exact" and self.penalty != "firth"
            if not split:
                most = max(self.most_split_values, MOST_VALUES)
                design, risk_sets = expand_design(data, risk_sets, most), None
        if risk_sets is None:
            risk_sets = prepare_risk_sets(design.surv, design.strata)
        if design.weights is not None and not (design.weights[risk_sets.rows][risk_sets.event] > 0).any():
            raise FitError("no_events", "no events with positive weight")
        likelihood, center = _likelihood(design, risk_sets, self.ties)
        if split:
            # From here on rows have one source each; tt() columns exist in the likelihood only.
            design = replace(design, names=all_names(data), time_terms=(), source=np.arange(len(data.surv)))
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
        found = None
        if ways:
            found = cluster_vcov(state, ways, self.correction)
            covariance = found.vcov
        return CoxFit(
            terms=design.names,
            beta=solution.beta,
            covariance=covariance,
            model_covariance=solution.inverse.copy(),
            loglik=firth.loglik if firth else solution.at.loglik,
            loglik_null=firth.loglik_null if firth else solution.null.loglik,
            n_obs=len(data.surv),
            n_subject=data.n_subject,
            n_event=int(np.count_nonzero(data.surv.event)),
            n_cluster=min(found.n_cluster) if found else data.n_cluster,
            n_dropped=data.n_dropped,
            n_at_risk_rows=_rows_at_risk(design, risk_sets, split),
            ties=self.ties,
            correction=self.correction if found or data.cluster is not None else None,
            n_iter=solution.iterations,
            formula=formula,
            state=state,
            clusters=found,
            ways=ways or {},
        )

    def _check(self, design: Design) -> float:
        """Refuse what cannot be fitted; return the small-sample factor of the sandwich."""
        if self.ties == "exact":
            for name in ("weights", "cluster"):
                if getattr(design, name) is not None:
                    raise DataError(name, "none with ties='exact', which has no weighted or row-wise score", "values")
        if design.id is not None:
            check_episodes(design.surv, design.id, design.id_labels, design.kept)
        if not design.surv.event.any():
            raise FitError("no_events", f"no events among {len(design.surv)} rows")
        return 1.0 if design.cluster is None else correction_factor(self.correction, design.n_cluster or 0)

    def _maximize(self, likelihood: _AnyLikelihood, design: Design) -> tuple[Solution, Floats | None]:
        """Return the maximum and the diagonal of the ridge penalty."""
        if self.penalty == "firth":
            return maximize_firth(cast(PartialLikelihood, likelihood), design.names, self.max_iter), None
        ridge = None
        if self.ridge > 0:
            if isinstance(likelihood, SplitLikelihood) and self.ridge_scale:
                raise DataError("ridge_scale", "False for tt() terms on rows made in blocks", "True")
            p = len(design.names)
            ridge = self.ridge * (design.x.var(axis=0, ddof=1) if self.ridge_scale else np.ones(p))
        solver = likelihood.for_solver() if isinstance(likelihood, SplitLikelihood) else likelihood
        return maximize(solver, design.names, self.max_iter, self.tolerance, penalty=ridge), ridge


def _likelihood(design: Design, risk_sets: RiskSets, ties: str) -> tuple[_AnyLikelihood, Floats]:
    rows = risk_sets.rows
    weights = None if design.weights is None else design.weights[rows]
    offset = None if design.offset is None else design.offset[rows]
    extreme = np.zeros(design.x.shape[1]) if len(rows) == len(design.x) else None
    x, center = centered_rows(design.x, rows, weights, extreme)
    if design.time_terms:
        terms = tuple(replace(term, x=term.x[rows]) for term in design.time_terms)
        split = SplitLikelihood(risk_sets, x, terms, weights, offset, ties)
        return split, np.concatenate([center, np.zeros(split.width - len(center))])
    if ties == "exact":
        return ExactLikelihood(risk_sets, x, offset), center
    likelihood = PartialLikelihood(risk_sets, x, weights, offset, ties)
    if extreme is not None:
        vars(likelihood)["largest"] = extreme
    return likelihood, center


def _overlap(design: Design) -> bool:
    """Tell whether episodes of one subject overlap, if only by rounding."""
    try:
        if design.id is not None:
            check_episodes(design.surv, design.id)
    except DataError:
        return True
    return False


def _rows_at_risk(design: Design, risk_sets: RiskSets, split: bool) -> int:
    if design.source is None or split:
        return len(risk_sets.rows)
    return len(np.unique(design.source))


def _robust(
    likelihood: _AnyLikelihood, solution: Solution, design: Design, risk_sets: RiskSets, factor: float
) -> Floats:
    assert design.cluster is not None
    assert design.n_cluster is not None
    codes = _codes_at_risk(design.cluster, design.n_cluster, risk_sets)
    summed = likelihood.cluster_scores(solution.at, codes, design.n_cluster)
    return cluster_sandwich(solution.inverse, summed, factor)


def _codes_at_risk(cluster: Integers, n_cluster: int, risk_sets: RiskSets) -> Codes:
    """Return the cluster of each row at risk; in few bytes each where most rows are at risk."""
    rows = risk_sets.rows
    if 2 * len(rows) < len(cluster):
        return cluster[rows]
    return np.take(cluster.astype(np.min_scalar_type(n_cluster)), rows)
