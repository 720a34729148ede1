"""Baseline hazard of a Cox fit: jumps at the event times, their sum and its variance.

For Breslow ties the jump at event time k is d_k / S_k with d_k the weight of the events and S_k
the sum of weight * exp(x b) over the risk set; for Efron ties it is the sum over the steps of the
likelihood (see `partial`), each with part of the tied events taken out of S_k. The variance of a
jump at given coefficients is the sum over steps of weight / S^2; that of the cumulative hazard
adds the uncertainty of the coefficients by the delta method (`scenarios`).

References
----------
Breslow, N. E. (1972), JRSS B 34, 216-217; Tsiatis, A. A. (1981), Annals of Statistics 9, 93-108;
Therneau and Grambsch (2000), Modeling Survival Data, section 10.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from coalition_exit.errors import DataError, FitError, nearest, one_of
from coalition_exit.survival.cox.partial import Evaluation, PartialLikelihood
from coalition_exit.survival.cox.state import CoxState
from coalition_exit.survival.data.newdata import scenario_matrix
from coalition_exit.survival.data.surv import Floats, Integers
from coalition_exit.survival.shown import Shown

REFERENCES = ("zero", "mean", "r")


@dataclass(frozen=True, eq=False)
class HazardJumps(Shown):
    """Jumps of the cumulative hazard at the K event times, for covariates at ``center`` and offset 0.

    Attributes
    ----------
    terms : tuple of str
        Names of the p coefficients.
    beta, center : ndarray, shape (p,)
    vcov : ndarray, shape (p, p)
        Covariance of the coefficients used for standard errors.
    times, stratum : ndarray, shape (K,)
        Event times, ascending within each stratum, and position of their stratum in ``strata``.
    n_risk, n_event : ndarray, shape (K,)
        Weighted counts of rows at risk and of events.
    hazard, variance : ndarray, shape (K,)
        Jump, and its variance at given coefficients, both to be scaled by ``log_scale``.
    mean_hazard : ndarray, shape (K, p)
        Sum over the steps of jump * mean of the centred covariates in the risk set.
    log_scale : float
        True jumps are ``exp(log_scale) * hazard``; kept apart so that nothing overflows.
    strata : tuple
        Labels of the strata.
    entry, follow_up : ndarray, shape (number of strata,)
        First start (or first stop of right-censored rows) and last stop.
    """

    terms: tuple[str, ...]
    beta: Floats
    center: Floats
    vcov: Floats
    times: Floats
    stratum: Integers
    n_risk: Floats
    n_event: Floats
    hazard: Floats
    variance: Floats
    mean_hazard: Floats
    log_scale: float
    strata: tuple[object, ...]
    entry: Floats
    follow_up: Floats

    @property
    def heading(self) -> str:
        return f"Jumps of the cumulative hazard at {len(self.times)} event times, strata {one_of(self.strata)}"

    def span(self, stratum: int) -> slice:
        """Positions of one stratum's event times among the K."""
        low, high = np.searchsorted(self.stratum, [stratum, stratum + 1])
        return slice(int(low), int(high))

    def position(self, label: object) -> int:
        """Position of a stratum by its label.

        Raises
        ------
        DataError
            When there is no such stratum.
        """
        for place, known in enumerate(self.strata):
            if known == label:
                return place
        raise DataError("strata", one_of(self.strata), repr(label), nearest(str(label), map(str, self.strata)))

    def scale(self, eta: Floats) -> Floats:
        """Factor on ``hazard`` for linear predictors ``eta`` (covariates centred, with offset).

        Raises
        ------
        DataError
            When a factor is too large for a number.
        """
        exponent = eta + self.log_scale
        if len(exponent) and not exponent.max() < 700:
            raise DataError("covariates", "a hazard that is a finite number", f"exp({exponent.max():.4g})")
        return np.exp(exponent)


@dataclass(frozen=True, eq=False)
class BaselineHazard(Shown):
    """Baseline hazard in a table.

    Attributes
    ----------
    table : DataFrame
        One row an event time: (stratum,) time, n_risk, n_event, hazard (the jump), cumulative_hazard, std_error
        (of the cumulative hazard). ``stratum`` is there only for a stratified fit.
    at : Series
        Covariate values the baseline belongs to.
    offset : float
        Offset it belongs to.
    """

    table: pd.DataFrame
    at: pd.Series
    offset: float

    @property
    def heading(self) -> str:
        values = ", ".join(f"{name} = {value:.4g}" for name, value in self.at.items())
        return (
            f"Baseline hazard at {len(self.table)} event times, covariates {values or 'none'}, offset {self.offset:g}"
        )

    @property
    def shown(self) -> pd.DataFrame:
        return self.table


def hazard_jumps(
    state: CoxState,
    *,
    vcov: ArrayLike | None = None,
    ties: str | None = None,
    strata_labels: Sequence[object] | None = None,
) -> HazardJumps:
    """Jumps of the hazard of a fit, the base of every prediction.

    Parameters
    ----------
    state
        Arrays behind the fit.
    vcov
        Covariance of the coefficients, shape (p, p): the cluster sandwich for robust errors. By default the
        inverse of the information. It replaces the coefficient part of every variance; the part of the
        hazard at given coefficients stays model-based, as in R's ``survfit`` of a fit with clusters.
    ties
        "breslow" or "efron" estimate of the hazard at the fit's coefficients (R's ``ctype`` 1 and 2); by
        default the fit's own, and Breslow's after exact ties, as in R.
    strata_labels
        Names of the strata in the order of the codes in ``state.design.strata``; by default the values of the
        column in ``strata()``, tuples of values if there are several columns.

    Raises
    ------
    DataError
        On a ``vcov`` of the wrong shape, an unknown ``ties`` or a wrong number of labels.
    """
    design, risk_sets = state.design, state.risk_sets
    likelihood, at = _evaluated(state, ties)
    steps = likelihood.steps
    positive = np.where(steps.weight > 0, steps.weight, 1.0)
    per_step = (at.hazard, at.hazard**2 / positive)
    hazard, variance = (_per_time(steps.at, v, risk_sets.n_times) for v in per_step)
    columns = [_per_time(steps.at, column, risk_sets.n_times) for column in (at.hazard[:, None] * at.mean).T]
    mean_hazard = np.column_stack(columns) if columns else np.zeros((risk_sets.n_times, 0))
    codes = np.zeros(len(design.surv), dtype=np.int64) if design.strata is None else design.strata
    labels = _labels(int(codes.max()) + 1, design.strata_labels if strata_labels is None else strata_labels)
    entry, follow_up = np.full(len(labels), np.inf), np.full(len(labels), -np.inf)
    surv = design.surv
    np.minimum.at(entry, codes, surv.start if surv.is_counting else surv.stop)
    np.maximum.at(follow_up, codes, surv.stop)
    return HazardJumps(
        terms=design.names,
        beta=state.beta,
        center=state.center,
        vcov=check_vcov(vcov, state),
        times=risk_sets.times,
        stratum=risk_sets.stratum,
        n_risk=risk_sets.sum_at_risk(likelihood.weights),
        n_event=risk_sets.sum_events(likelihood.weights),
        hazard=hazard,
        variance=variance,
        mean_hazard=mean_hazard,
        log_scale=-at.shift,
        strata=labels,
        entry=entry,
        follow_up=follow_up,
    )


def _per_time(at: Integers, values: Floats, n_times: int) -> Floats:
    # Without any step bincount() answers in integers.
    return np.bincount(at, weights=values, minlength=n_times).astype(np.float64)


def _evaluated(state: CoxState, ties: str | None) -> tuple[PartialLikelihood, Evaluation]:
    own = state.likelihood
    if ties is not None and ties not in ("breslow", "efron"):
        raise DataError("ties", "breslow or efron", repr(ties), nearest(ties, ("breslow", "efron")))
    wanted = hazard_ties(own) if ties is None else ties
    if wanted == own.ties:
        return own, state.evaluation
    other = PartialLikelihood(own.risk_sets, own.x, own.weights, own.offset, wanted)
    return other, other.evaluate(state.beta)


def hazard_ties(likelihood: PartialLikelihood) -> str:
    """Return the estimate of the hazard that goes with a fit; exact ties have none of their own."""
    return "efron" if likelihood.ties == "efron" else "breslow"


def refuse_time_terms(state: CoxState, what: str, hint: str = "") -> None:
    """Refuse a fit with tt() terms, whose rows are split and whose covariates change with time.

    Raises
    ------
    DataError
        Names what cannot be had.
    """
    if state.design.source is not None:
        raise DataError("formula", f"no tt() terms for {what}", "tt()", hint)


def _labels(n_strata: int, labels: Sequence[object] | None) -> tuple[object, ...]:
    if labels is None:
        return tuple(range(n_strata))
    if len(labels) != n_strata or len(set(labels)) != n_strata:
        raise DataError("strata_labels", f"{n_strata} different labels", str(list(labels)))
    return tuple(labels)


def check_vcov(vcov: ArrayLike | None, state: CoxState) -> Floats:
    """Return the covariance to use, shape (p, p): ``vcov`` or the inverse of the information.

    Raises
    ------
    DataError
        On a wrong shape, a label order other than the model's, or values that are no numbers.
    """
    if vcov is None:
        return state.inverse
    p, names = len(state.beta), list(state.design.names)
    if isinstance(vcov, pd.DataFrame) and (list(vcov.index) != names or list(vcov.columns) != names):
        raise DataError("vcov", f"rows and columns {names}", str(list(vcov.columns)))
    matrix = np.asarray(vcov, dtype=np.float64)
    if matrix.shape != (p, p):
        raise DataError("vcov", f"shape ({p}, {p})", str(matrix.shape))
    if not np.isfinite(matrix).all():
        raise DataError("vcov", "finite numbers", "NaN or infinite values")
    return matrix


def reference_point(state: CoxState, at: str | Mapping[str, float] | pd.Series = "zero") -> tuple[Floats, float]:
    """Covariate values, shape (p,), and offset of a named reference.

    Parameters
    ----------
    state
        Arrays behind the fit.
    at
        "zero": all covariates and the offset 0, Stata's baseline. "mean": weighted means over the rows of the
        data. "r": R's ``object$means``, the same but 0 for a covariate with no values other than -1, 0
        and 1. Or a value for each covariate by name (offset 0).

    Raises
    ------
    DataError
        On an unknown name, or a covariate without value.
    """
    design = state.design
    if not isinstance(at, str):
        return scenario_matrix(design.names, pd.DataFrame([dict(at)]), design.encoding)[0][0], 0.0
    if at not in REFERENCES:
        raise DataError("at", one_of((*REFERENCES, "values by covariate")), repr(at), nearest(at, REFERENCES))
    if at == "zero":
        return np.zeros(len(design.names)), 0.0
    refuse_time_terms(state, "means of the covariates", 'Use at="zero"')
    weights = state.weights
    values = np.average(design.x, axis=0, weights=weights)
    if at == "r":
        coded = np.isin(design.x, (-1.0, 0.0, 1.0)).all(axis=0)
        values = np.where(coded, 0.0, values)
    offset = 0.0 if design.offset is None else float(np.average(design.offset, weights=weights))
    return values, offset


def baseline_hazard(
    state: CoxState,
    at: str | Mapping[str, float] | pd.Series = "zero",
    *,
    offset: float | None = None,
    vcov: ArrayLike | None = None,
    ties: str | None = None,
    strata_labels: Sequence[object] | None = None,
) -> BaselineHazard:
    """Baseline and cumulative baseline hazard at each event time.

    Equals R's ``basehaz(fit)`` at ``at="r"`` and Stata's ``predict, basechazard`` at ``at="zero"``. R's
    ``basehaz(centered=FALSE)`` differs from ``at="zero"`` in a model with an offset: it leaves the
    offset at its mean.

    Parameters
    ----------
    state, vcov, ties, strata_labels
        As for `hazard_jumps`.
    at
        As for `reference_point`.
    offset
        Offset of the baseline; by default that of ``at``.

    Raises
    ------
    DataError
        As `hazard_jumps` and `reference_point`.
    """
    jumps = hazard_jumps(state, vcov=vcov, ties=ties, strata_labels=strata_labels)
    values, own_offset = reference_point(state, at)
    offset = own_offset if offset is None else float(offset)
    centred = values - jumps.center
    factor = jumps.scale(np.array([centred @ jumps.beta + offset]))[0]
    cumulative, variance = np.zeros(len(jumps.times)), np.zeros(len(jumps.times))
    for place in range(len(jumps.strata)):
        part = jumps.span(place)
        cumulative[part] = np.cumsum(jumps.hazard[part])
        gradient = cumulative[part, None] * centred - np.cumsum(jumps.mean_hazard[part], axis=0)
        variance[part] = np.cumsum(jumps.variance[part]) + quadratic(gradient, jumps.vcov)
    columns: dict[str, object] = {}
    if state.design.strata is not None:
        columns["stratum"] = pd.Index(jumps.strata, tupleize_cols=False).take(jumps.stratum)
    columns |= {"time": jumps.times, "n_risk": jumps.n_risk, "n_event": jumps.n_event}
    columns |= {"hazard": factor * jumps.hazard, "cumulative_hazard": factor * cumulative}
    columns["std_error"] = factor * np.sqrt(variance)
    table = pd.DataFrame(columns)
    return BaselineHazard(table, pd.Series(values, index=list(jumps.terms), name="at"), offset)


def quadratic(rows: Floats, matrix: Floats) -> Floats:
    """Return r' matrix r of each row r: shapes (m, p) and (p, p) to (m,)."""
    return np.asarray(np.einsum("ij,ij->i", rows @ matrix, rows))


def reweighted_hazard(
    state: CoxState, coefficients: ArrayLike, weights: ArrayLike | Callable[[int], Floats]
) -> Callable[[int], Floats]:
    """Make the callable that `bootstrap_survival` needs: the hazard of a refit under other weights.

    Parameters
    ----------
    state
        Arrays behind the fit of the data as they are.
    coefficients
        Coefficients of the B refits, shape (B, p).
    weights
        Case weights of all n rows in each refit, shape (B, n), or a function of the draw's number that
        returns them, shape (n,): the bootstrap's counts times the fit's own weights, if it has some.

    Returns
    -------
    callable
        From the number of a draw to the K jumps of the cumulative hazard at ``state.risk_sets.times``, for
        covariates at ``state.center`` and offset 0. Times at which no event has weight get 0.

    Raises
    ------
    DataError
        On a wrong shape.
    """
    beta = np.asarray(coefficients, dtype=np.float64)
    own = state.likelihood
    if beta.ndim != 2 or beta.shape[1] != len(state.beta):
        raise DataError("coefficients", f"shape (draws, {len(state.beta)})", str(beta.shape))
    n = len(state.design.surv)

    def hazard(draw: int) -> Floats:
        row_weights = np.asarray(weights(draw) if callable(weights) else np.asarray(weights)[draw], dtype=np.float64)
        if row_weights.shape != (n,):
            raise DataError(f"weights, draw {draw}", f"{n} values, one a row", str(row_weights.shape))
        eta = own.x @ beta[draw] + (0.0 if own.offset is None else own.offset)
        return _jumps_of(own, row_weights[state.risk_sets.rows], eta)

    return hazard


def _jumps_of(own: PartialLikelihood, weights: Floats, eta: Floats) -> Floats:
    """Jumps of the hazard under case weights and linear predictors of the rows at risk, shape (m,) both."""
    risk_sets = own.risk_sets
    again = PartialLikelihood(risk_sets, np.zeros((len(eta), 0)), weights, None, hazard_ties(own))
    steps, shift = again.steps, float(eta.max(initial=-np.inf))
    if not len(eta):
        raise FitError("no_events", "no rows at risk at an event time")
    weighted = weights * np.exp(eta - shift)
    denominator = risk_sets.sum_at_risk(weighted)[steps.at]
    if again.ties == "efron":
        denominator = denominator - steps.fraction * risk_sets.sum_events(weighted)[steps.at]
    counted = steps.weight > 0
    jump = np.zeros(len(denominator))
    jump[counted] = steps.weight[counted] / denominator[counted]
    return _per_time(steps.at, jump, risk_sets.n_times) * np.exp(-shift)
