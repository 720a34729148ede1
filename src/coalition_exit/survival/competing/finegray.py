"""Fine and Gray's model for the subdistribution hazard of one of several competing exits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from coalition_exit.errors import DataError, FitError, nearest, one_of
from coalition_exit.survival.competing.aalen_johansen import incidence_interval
from coalition_exit.survival.competing.causes import cause_codes, check_single_exit, find_cause
from coalition_exit.survival.competing.competing import scenarios, with_event
from coalition_exit.survival.competing.finegray_likelihood import FineGrayLikelihood
from coalition_exit.survival.competing.finegray_risksets import (
    estimate_censoring,
    prepare_finegray,
)
from coalition_exit.survival.competing.finegray_state import FineGrayState, cumulative_errors, score_influence
from coalition_exit.survival.competing.incidence import step_table
from coalition_exit.survival.competing.incidence_errors import check_interval_options
from coalition_exit.survival.cox.solver import Solution, maximize
from coalition_exit.survival.data.complete_rows import codes_of, complete_rows, take_column
from coalition_exit.survival.data.design import Design, build_design
from coalition_exit.survival.data.dropped import missing_by_column
from coalition_exit.survival.data.newdata import scenario_matrix
from coalition_exit.survival.data.surv import Integers, check_episodes
from coalition_exit.survival.data.timefix import join_near_times
from coalition_exit.survival.fit import Fit
from coalition_exit.survival.inference.vcov import CORRECTIONS, correction_factor
from coalition_exit.survival.ratios import ratio_columns

TIES = ("breslow", "efron")
VARIANCES = ("fine_gray", "robust")
TIED_CENSORING = ("cmprsk", "survival")


@dataclass(frozen=True, eq=False, kw_only=True)
class FineGrayFit(Fit):
    """Estimates of a Fine-Gray model; exp(coefficient) is a ratio of subdistribution hazards.

    Attributes
    ----------
    cause : object
        The exit modelled; ``n_event`` counts it.
    n_competing : int
        Other exits.
    n_joined : int
        Distinct times that differed from another by rounding only and were joined to it.
    ties, variance, tied_censoring : str
        Conventions, see `FineGray`.
    loglik, loglik_null : float
        Weighted log partial likelihood at the estimate and at 0 (crr's ``loglik``); it is no
        likelihood where anything is censored, so it gives no likelihood-ratio test.
    state : FineGrayState
    """

    cause: object
    n_competing: int
    n_joined: int = 0
    ties: str
    variance: str
    tied_censoring: str
    estimator: str = "fine_gray"
    state: FineGrayState = field(repr=False)

    @property
    def title(self) -> str:
        return f"Fine-Gray model for {self.cause!r} ({self.ties} ties, {self.variance} variance)"

    @property
    def notes(self) -> tuple[str, ...]:
        """As `Fit.notes`, and the conventions of the model."""
        units = "clusters" if self.n_cluster else "subjects"
        kind = {
            "fine_gray": "Fine and Gray's, with the estimated censoring distribution",
            "robust": "robust, weights taken as known",
        }[self.variance]
        joined = (f"{self.n_joined} times joined to one from which they differ by rounding only",) * bool(self.n_joined)
        return (
            *super().notes,
            *joined,
            f"{self.n_competing} exits for other causes stay at risk; exp(estimate) is a subdistribution hazard ratio",
            f"variance by {units}: {kind}; exits tied with a censoring as in {self.tied_censoring}",
        )

    def summary(self, exponentiate: bool = False, level: float = 0.95, intervals: str = "wald") -> str:
        """Return the model, its `tidy` table and its conventions as text; the errors are never model-based."""
        text = super().summary(exponentiate, level, intervals)
        return text.replace("standard errors model-based", "standard errors robust")

    @property
    def __maketables_coef_table__(self) -> pd.DataFrame:
        """One row a term; exp(b) as ``shr``, the subdistribution hazard ratio."""
        return ratio_columns(self, "shr")

    @property
    def __maketables_vcov_info__(self) -> dict[str, Any]:
        """The variance by name, with the clusters' small-sample convention."""
        clusters = f", cluster ({self.correction})" if self.n_cluster else ""
        return {"vcov_type": self.variance + clusters, "clustervar": None}

    @property
    def _glance(self) -> tuple[str, ...]:
        common = super()._glance
        extra = ("cause", "ties", "variance", "tied_censoring")
        return (*common[:1], *extra, *common[1:5], "n_competing", *common[5:])

    def predict(
        self,
        at: pd.DataFrame | Mapping[str, float],
        times: ArrayLike | None = None,
        *,
        variance: str = "infinitesimal",
        conf_type: str = "log",
        level: float = 0.95,
    ) -> pd.DataFrame:
        """Cumulative incidence of the cause for given covariates: 1 - exp(-exp(x b) L(t)).

        L is the cumulative baseline subdistribution hazard, summed over the exits for the cause
        (Breslow's estimate, or Efron's with Efron ties). It is ``predict`` of ``cmprsk::crr`` and
        ``survfit`` of a coxph on ``finegray`` data.

        Parameters
        ----------
        at
            One row a scenario, columns named as the model's terms; a mapping is one row. The
            offset is 0.
        times
            Times at which to give the step functions; the exits for the cause by default.
        variance
            "infinitesimal": the infinitesimal jackknife over clusters, or subjects without clusters, with
            the fit's correction; under the "fine_gray" variance the estimated censoring distribution
            takes part. "delta": ``survfit`` of a coxph on finegray data, the weights known. "none".
        conf_type
            "log", "log-log" or "plain", of the incidence.
        level
            Confidence level.

        Returns
        -------
        DataFrame
            scenario (the index of ``at``), time, estimate, std_error, conf_low, conf_high, variance. Missing
            after the last end of follow-up.

        Raises
        ------
        DataError
            Missing columns; unknown options; a stratified model, in which each stratum has its own L.
        """
        state = self.state
        check_interval_options(variance, conf_type, level)
        if state.design.strata is not None:
            raise DataError("predict", "a model without strata", "a stratified one (each stratum has its own hazard)")
        x, labels = scenario_matrix(self.terms, scenarios(at), state.design.encoding)
        known = state.likelihood.risk_sets.times
        increments = np.bincount(state.likelihood.steps.at, weights=state.evaluation.hazard, minlength=len(known))
        baseline = np.append(0.0, np.cumsum(increments))
        wanted = known if times is None else np.atleast_1d(np.asarray(times, dtype=float))
        place = np.searchsorted(known, wanted, side="right")
        late = wanted > state.design.surv.stop.max()
        centred = x - state.center
        ratio = np.exp(centred @ self.beta - state.evaluation.shift)
        errors = cumulative_errors(state, self.covariance, centred, place, variance, self._factor)
        tables = []
        for i, label in enumerate(labels):
            free = np.exp(-ratio[i] * baseline[place])
            value, error = -np.expm1(-ratio[i] * baseline[place]), free * ratio[i] * errors[i]
            table = step_table(("scenario", "time"), (label,), (wanted,))
            table["estimate"], table["std_error"] = value, error
            table["conf_low"], table["conf_high"] = incidence_interval(value, error, conf_type, level)
            table.loc[late, table.columns[2:]] = np.nan
            tables.append(table.assign(variance=variance))
        return pd.concat(tables, ignore_index=True)

    @property
    def _factor(self) -> float:
        return correction_factor(self.correction, self.n_cluster) if self.correction and self.n_cluster else 1.0


@dataclass(frozen=True)
class FineGray:
    """Fine and Gray's proportional subdistribution hazards model.

    The defaults equal ``cmprsk::crr`` (which has no clusters). ``FineGray(cause, ties="efron", variance="robust",
    tied_censoring="survival", correction="none")`` equals R's ``coxph(..., weights = fgwt, cluster = id)`` on the data
    that ``survival::finegray`` expands; here nothing is expanded.

    Parameters
    ----------
    cause
        Label of the exit to model, as it stands in the cause column.
    ties
        "breslow" or "efron".
    variance
        "fine_gray": the sandwich with the terms for the estimated censoring distribution (Fine and
        Gray 1999, section 3; by cluster as Zhou and others 2012), which needs data without late
        entry. "robust": the sandwich that takes the weights as known, as for finegray data.
    tied_censoring
        Whether an exit at the time of a censoring counts as at risk of that censoring ("cmprsk") or
        not ("survival", the usual convention of the Kaplan-Meier estimate). Equal without such ties.
    correction
        Small-sample factor with clusters: "stata" (G / (G - 1), as everywhere in this package) or "none"
        (R's). Subjects as units, without ``cluster``, have none.
    timefix
        Join times that differ by rounding error only, as `CoxPH` does.
    max_iter, tolerance
        Newton's.

    References
    ----------
    Fine, J. P. and Gray, R. J. (1999), JASA 94, 496-509; Zhou, B., Fine, J., Latouche, A. and
    Labopin, M. (2012), Biostatistics 13, 371-383; Geskus, R. B. (2011), Biometrics 67, 39-49.
    """

    cause: object
    ties: str = "breslow"
    variance: str = "fine_gray"
    tied_censoring: str = "cmprsk"
    correction: str = "stata"
    timefix: bool = True
    max_iter: int = 100
    tolerance: float = 1e-14

    def __post_init__(self) -> None:
        for name, value, valid in (
            ("ties", self.ties, TIES),
            ("variance", self.variance, VARIANCES),
            ("tied_censoring", self.tied_censoring, TIED_CENSORING),
            ("correction", self.correction, CORRECTIONS),
        ):
            if value not in valid:
                raise DataError(name, one_of(valid), repr(value), nearest(str(value), valid))

    def fit(
        self,
        formula: str,
        data: pd.DataFrame,
        *,
        cause: str | ArrayLike,
        id: str | ArrayLike | None = None,
        cluster: str | ArrayLike | None = None,
        weights: str | ArrayLike | None = None,
        offset: str | ArrayLike | None = None,
        censoring: str | Sequence[str] | None = None,
        missing: str = "error",
    ) -> FineGrayFit:
        """Fit the model.

        Parameters
        ----------
        formula
            ``"Surv(time, event) ~ a + b"`` or ``"Surv(start, stop, event) ~ a + b"``; ``event`` is
            an exit for any cause. ``strata(s)`` gives each stratum its own baseline.
        data
            One row per episode. Late entry is allowed; a subject's rows have no gaps. After a
            competing exit the covariates of the subject's last row stay. Never changed.
        cause
            Column of causes: 0, "" or missing where the row has no event.
        id
            Subject of each row; needed with start-stop data.
        cluster
            Units of the sandwich, the subjects by default.
        weights, offset
            Case weights (they count in the censoring distribution too) and an offset.
        censoring
            Columns within whose values the censoring distribution is estimated: crr's ``cengroup``,
            ``strata()`` of finegray. One distribution for all by default.
        missing
            "error" refuses missing values; "drop" leaves the rows out and counts them.

        Raises
        ------
        DataError
            The data cannot be used; events and causes contradict each other.
        FitError
            No estimate: see `CoxPH.fit`.
        """
        names = [censoring] if isinstance(censoring, str) else list(censoring or ())
        beside = {"id": id, "cluster": cluster, "weights": weights, "offset": offset}
        beside |= {f"censoring, {name}": name for name in names}
        rows, columns, n_dropped = complete_rows(formula, data, beside, missing, carried={"cause": cause})
        design = build_design(
            formula,
            rows,
            id=columns.get("id"),
            cluster=columns.get("cluster"),
            weights=columns.get("weights"),
            offset=columns.get("offset"),
        )
        surv, n_joined = join_near_times(design.surv) if self.timefix else (design.surv, 0)
        design = replace(design, surv=surv)
        codes, causes = cause_codes(design.surv.event, columns["cause"])
        code = find_cause(self.cause, causes)
        state, fit = self._fit_arrays(design, codes, code, _cells(rows, names))
        covariance = state.coefficients.T @ state.coefficients
        factor = correction_factor(self.correction, design.n_cluster or 0) if design.cluster is not None else 1.0
        return FineGrayFit(
            terms=design.names,
            beta=fit.beta,
            covariance=covariance * factor,
            model_covariance=fit.inverse.copy(),
            loglik=fit.at.loglik,
            loglik_null=fit.null.loglik,
            n_obs=len(design.surv),
            n_subject=design.n_subject,
            n_event=int((codes == code).sum()),
            n_competing=int(((codes > 0) & (codes != code)).sum()),
            n_cluster=design.n_cluster,
            n_dropped=n_dropped,
            dropped=missing_by_column(formula, data, beside) if n_dropped else (),
            n_joined=n_joined,
            correction=self.correction if design.cluster is not None else None,
            n_iter=fit.iterations,
            formula=formula,
            cause=self.cause,
            ties=self.ties,
            variance=self.variance,
            tied_censoring=self.tied_censoring,
            state=state,
        )

    def _fit_arrays(self, design: Design, codes: Integers, code: int, cell: Integers) -> tuple[FineGrayState, Solution]:
        surv = design.surv
        first, ends, unit = _subjects(design, codes)
        weights = np.ones(len(surv)) if design.weights is None else design.weights
        together = self.tied_censoring == "cmprsk"
        censoring = []
        for c in range(int(cell.max()) + 1):
            here = np.flatnonzero(cell == c)
            part = with_event(surv.start[here], surv.stop[here], codes[here] > 0)
            censoring.append(estimate_censoring(part, part.event, first[here], ends[here], weights[here], together))
        if self.variance == "fine_gray" and any(len(estimate.entries) for estimate in censoring):
            raise DataError("variance", "'robust' for data with late entry", "'fine_gray'")
        own = with_event(surv.start, surv.stop, codes == code)
        competing = (codes > 0) & (codes != code) & (weights > 0)
        risk_sets = prepare_finegray(own, competing, design.strata, cell, censoring)
        at_risk = risk_sets.rows
        if not (weights[at_risk][risk_sets.event] > 0).any():
            raise FitError("no_events", f"no events of cause {self.cause!r} with positive weight")
        x = np.ascontiguousarray(design.x[at_risk])
        center = (weights[at_risk] @ x) / weights[at_risk].sum()
        offset = None if design.offset is None else design.offset[at_risk]
        likelihood = FineGrayLikelihood(risk_sets, x - center, weights[at_risk], offset, self.ties)
        solution = maximize(likelihood, design.names, self.max_iter, self.tolerance)
        arrays = (
            replace(design, surv=own),
            likelihood,
            solution.at,
            center,
            tuple(censoring),
            cell,
            codes > 0,
            ends,
            unit,
        )
        through = self.variance == "fine_gray"
        influence = score_influence(FineGrayState(*arrays, np.empty(0), together, through)) @ solution.inverse
        return FineGrayState(*arrays, influence, together, through), solution


def _cells(rows: pd.DataFrame, names: Sequence[str]) -> Integers:
    """Censoring stratum of each row."""
    if not names:
        return np.zeros(len(rows), dtype=np.int64)
    codes = [codes_of(take_column(rows, name, "censoring"), f"censoring, {name!r}")[0] for name in names]
    return np.unique(np.column_stack(codes), axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _subjects(design: Design, codes: Integers) -> tuple[NDArray[np.bool_], NDArray[np.bool_], Integers]:
    """Whether a row is its subject's first and last one, and the unit of the variance."""
    n = len(design.surv)
    if design.id is None:
        if design.surv.is_counting:
            raise DataError("id", "the subject of each row, as the data are start-stop", "none")
        first = ends = np.ones(n, dtype=bool)
        unit = np.arange(n)
    else:
        check_episodes(design.surv, design.id, design.id_labels)
        check_single_exit(design.surv, codes, design.id, contiguous=True)
        order = np.lexsort((design.surv.stop, design.id))
        new = np.append(True, np.diff(design.id[order]) != 0)
        first, ends = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
        first[order], ends[order] = new, np.append(new[1:], True)
        unit = design.id
    return first, ends, unit if design.cluster is None else design.cluster
