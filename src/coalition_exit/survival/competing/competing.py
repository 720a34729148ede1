"""Competing exits: Cox models by cause, the test that effects are equal, and incidence from the models.

The response names any exit (``event`` 0/1); a cause column says which: 0, "" or missing where the row
has no event, a label where it has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc

from coalition_exit.errors import DataError, FitError, nearest, one_of
from coalition_exit.survival.competing.aalen_johansen import incidence_interval
from coalition_exit.survival.competing.causes import cause_codes, find_cause
from coalition_exit.survival.competing.equality import EqualityTest
from coalition_exit.survival.competing.incidence import quadratic_form, step_table
from coalition_exit.survival.competing.incidence_errors import (
    HazardModel,
    check_interval_options,
    incidence_from_hazards,
    incidence_variance,
    sum_by_unit,
)
from coalition_exit.survival.cox.cox import CoxPH
from coalition_exit.survival.cox.cox_fit import CoxFit
from coalition_exit.survival.data.complete_rows import complete_rows
from coalition_exit.survival.data.design import Design, build_design
from coalition_exit.survival.data.dropped import missing_by_column
from coalition_exit.survival.data.newdata import scenario_matrix
from coalition_exit.survival.data.surv import Floats, Integers, Surv
from coalition_exit.survival.data.timefix import join_near_times
from coalition_exit.survival.inference.vcov import correction_factor, sum_by_cluster
from coalition_exit.survival.shown import Shown, number


@dataclass(frozen=True, eq=False, repr=False)
class CauseFits(Shown):
    """Cox models, one per cause: exits for the other causes are censored.

    Attributes
    ----------
    by_cause : tuple of (cause, CoxFit)
        In order; ``fits`` gives them as a dict.
    model : CoxPH
    design : Design
        All rows with any exit as event.
    codes : ndarray, shape (n,)
        0 for no exit, c for the c-th cause.
    """

    by_cause: tuple[tuple[object, CoxFit], ...]
    model: CoxPH
    design: Design = field(repr=False)
    codes: Integers = field(repr=False)

    @property
    def fits(self) -> dict[object, CoxFit]:
        """The fits by cause."""
        return dict(self.by_cause)

    @property
    def heading(self) -> str:
        """Causes, rows and conventions in one line."""
        first = self.by_cause[0][1]
        events = ", ".join(f"{cause!r} {fit.n_event}" for cause, fit in self.by_cause)
        clusters = f", {first.clustering}" if first.clustering else ""
        return (
            f"Cause-specific Cox models ({first.ties} ties): {first.n_obs} rows, {first.n_subject} subjects, "
            f"events by cause: {events}{clusters}"
        )

    @property
    def shown(self) -> pd.DataFrame:
        """`tidy`."""
        return self.tidy()

    def __str__(self) -> str:
        notes = (f"cause {cause}: {note}" for cause, fit in self.by_cause for note in fit.notes)
        table = self.tidy().to_string(index=False, float_format=number)
        return "\n".join([self.heading, table, *notes, "exits for other causes count as censored"])

    def __getitem__(self, cause: object) -> CoxFit:
        causes = tuple(self.fits)
        return self.fits[causes[find_cause(cause, causes) - 1]]

    def tidy(self, exponentiate: bool = False, level: float = 0.95) -> pd.DataFrame:
        """`Fit.tidy` of every cause, with the column ``cause`` first."""
        return self._stack({cause: fit.tidy(exponentiate, level) for cause, fit in self.fits.items()})

    def glance(self) -> pd.DataFrame:
        """`Fit.glance` of every cause, with the column ``cause`` first."""
        return self._stack({cause: fit.glance() for cause, fit in self.fits.items()})

    @staticmethod
    def _stack(tables: Mapping[object, pd.DataFrame]) -> pd.DataFrame:
        for cause, table in tables.items():
            table.insert(0, "cause", [cause] * len(table))
        return pd.concat(tables.values(), ignore_index=True)

    def covariance(self) -> Floats:
        """Covariance of all causes' coefficients one after the other: shape (C p, C p).

        Block-diagonal without clusters; with clusters the sandwich of the stacked model, in which a
        cluster's scores for all causes go together.
        """
        fits = list(self.fits.values())
        p = len(fits[0].terms)
        if self.design.cluster is None:
            out = np.zeros((len(fits) * p, len(fits) * p))
            for c, fit in enumerate(fits):
                out[c * p : (c + 1) * p, c * p : (c + 1) * p] = fit.model_covariance
            return out
        n_cluster = self.design.n_cluster or 0
        influence = np.column_stack([_influence(fit, n_cluster) for fit in fits])
        return np.asarray(correction_factor(self.model.correction, n_cluster) * (influence.T @ influence))

    def equality_test(self, terms: Sequence[str] | None = None) -> EqualityTest:
        """Test that the effects of ``terms`` (all by default) are the same for all causes.

        The model stacks the data once per cause with the cause as a stratum (Lunn and McNeil's
        method B): it has the causes' coefficients as they are, and the test compares them.

        Raises
        ------
        DataError
            Unknown term, no term, or a single cause.

        References
        ----------
        Lunn, M. and McNeil, D. (1995), Biometrics 51, 524-532.
        """
        fits = list(self.fits.values())
        names = fits[0].terms
        chosen = tuple(names if terms is None else terms)
        for term in chosen:
            if term not in names:
                raise DataError("terms", one_of(names), repr(term), nearest(str(term), names))
        if len(fits) < 2 or not chosen:
            raise DataError("equality_test", "two causes and one term at least", f"{len(fits)} and {len(chosen)}")
        covariance, beta = self.covariance(), np.concatenate([fit.beta for fit in fits])
        index = [names.index(term) for term in chosen]
        statistic, df = self._wald(beta, covariance, index)
        each = [(names[j], *self._wald(beta, covariance, [j])) for j in index]
        by_term = pd.DataFrame(each, columns=["term", "statistic", "df"])
        by_term["p_value"] = chdtrc(by_term["df"], by_term["statistic"])
        lr = float("nan")
        if self.design.cluster is None and self.design.weights is None:
            lr = max(2 * (sum(fit.loglik for fit in fits) - self._common_loglik(index)), 0.0)
        p_value, lr_p_value = float(chdtrc(df, statistic)), float(chdtrc(df, lr))
        return EqualityTest(chosen, statistic, df, p_value, lr, lr_p_value, by_term)

    def _wald(self, beta: Floats, covariance: Floats, index: Sequence[int]) -> tuple[float, int]:
        p, n = len(beta) // len(self.fits), len(self.fits)
        contrast = np.zeros(((n - 1) * len(index), len(beta)))
        for row, (c, j) in enumerate((c, j) for c in range(1, n) for j in index):
            contrast[row, c * p + j], contrast[row, j] = 1.0, -1.0
        return quadratic_form(contrast @ beta, contrast @ covariance @ contrast.T)

    def _common_loglik(self, index: Sequence[int]) -> float:
        """Log-likelihood of the stacked model with common coefficients at ``index``."""
        design, n = self.design, len(self.fits)
        size, p = design.x.shape
        other = [j for j in range(p) if j not in index]
        x = np.zeros((n * size, len(index) + n * len(other)))
        x[:, : len(index)] = np.tile(design.x[:, list(index)], (n, 1))
        for c in range(n):
            begin = len(index) + c * len(other)
            x[c * size : (c + 1) * size, begin : begin + len(other)] = design.x[:, other]
        stratum = np.zeros(size, dtype=np.int64) if design.strata is None else design.strata
        stacked = Design(
            surv=with_event(
                np.tile(design.surv.start, n),
                np.tile(design.surv.stop, n),
                np.concatenate([self.codes == c for c in range(1, n + 1)]),
            ),
            x=x,
            names=tuple(f"x{j}" for j in range(x.shape[1])),
            strata=np.concatenate([stratum * n + c for c in range(n)]),
            id=None,
            n_subject=n * size,
            cluster=None,
            n_cluster=None,
            weights=None,
            offset=None if design.offset is None else np.tile(design.offset, n),
        )
        return self.model.fit_design(stacked).loglik

    def predict(
        self,
        at: pd.DataFrame | Mapping[str, float],
        times: ArrayLike | None = None,
        product: str = "exponential",
        *,
        variance: str = "infinitesimal",
        conf_type: str = "log",
        level: float = 0.95,
    ) -> pd.DataFrame:
        """Cumulative incidence of each cause for given covariates, from all causes' hazards.

        With h_c(s) the increment of cause c's cumulative hazard at s for those covariates and S(s-)
        the probability of no exit before s, the incidence adds S(s-) h_c(s) over event times.

        Parameters
        ----------
        at
            One row a scenario, columns named as the model's terms; a mapping is one row. The
            covariates stay the same over time, and the offset is 0.
        times
            Times at which to give the step functions; all event times by default.
        product
            "exponential": S falls by exp(-h), h the sum of h_c, and the fall is shared among the
            causes as h_c / h, as R's ``survfit`` of a multi-state coxph. "limit": S falls by 1 - h,
            the Aalen-Johansen product; h can exceed 1 far from the data, then S stays at 0.
        variance
            "infinitesimal": the infinitesimal jackknife over clusters, or subjects without clusters, with
            the fits' correction. "delta": as R's ``survfit.coxph``; with clusters only the
            coefficients' part is robust. "none": no errors. (R's multi-state ``survfit`` has none.)
        conf_type
            "log", "log-log" or "plain", of the incidence.
        level
            Confidence level.

        Returns
        -------
        DataFrame
            scenario (the index of ``at``), cause, time, estimate, std_error, conf_low, conf_high, event_free,
            event_free_std_error, variance. Missing after the last end of follow-up.

        Raises
        ------
        DataError
            Missing columns; a stratified model; unknown options; errors of a penalized fit.
        """
        if product not in ("exponential", "limit"):
            raise DataError("product", "'exponential' or 'limit'", repr(product))
        check_interval_options(variance, conf_type, level)
        if self.design.strata is not None:
            raise DataError("predict", "a model without strata", "a stratified one (each stratum has its own hazards)")
        fits = list(self.fits.values())
        x, labels = scenario_matrix(fits[0].terms, scenarios(at), self.design.encoding)
        grid = np.unique(np.concatenate([fit.state.risk_sets.times for fit in fits]))
        hazards = np.stack([_hazard(fit, grid, x) for fit in fits], axis=2)
        incidence, free = incidence_from_hazards(hazards, product)
        wanted = grid if times is None else np.atleast_1d(np.asarray(times, dtype=float))
        place = np.searchsorted(grid, wanted, side="right") - 1
        late = wanted > self.design.surv.stop.max()
        errors = self._errors(x, grid, hazards, place, product, variance)
        tables = []
        for row, label in enumerate(labels):
            names, free_now = ("scenario", "cause", "time"), np.where(place < 0, 1.0, free[row, np.maximum(place, 0)])
            for c, cause in enumerate(self.fits):
                value = np.where(place < 0, 0.0, incidence[row, np.maximum(place, 0), c])
                table = step_table(names, (label, cause), (wanted,))
                table["estimate"], table["std_error"] = value, errors[row][0][:, c]
                table["conf_low"], table["conf_high"] = incidence_interval(
                    value, errors[row][0][:, c], conf_type, level
                )
                table["event_free"], table["event_free_std_error"] = free_now, errors[row][1]
                table.loc[late, table.columns[3:]] = np.nan
                tables.append(table.assign(variance=variance))
        return pd.concat(tables, ignore_index=True)

    def _errors(
        self, x: Floats, grid: Floats, hazards: Floats, place: Integers, product: str, variance: str
    ) -> list[tuple[Floats, Floats]]:
        """Standard errors of each scenario's incidences, (T, C), and event-free probability, (T,)."""
        n_cause = len(self.fits)
        if variance == "none":
            nothing = np.full((len(place), n_cause), np.nan)
            return [(nothing, nothing[:, 0])] * len(x)
        fits = list(self.fits.values())
        for fit in fits:
            fit.state.require_plain(f"errors of the incidence (variance={variance!r})")
        models = self._models()
        known, back = np.unique(np.maximum(place, 0), return_inverse=True)
        places = [np.searchsorted(grid, fit.state.risk_sets.times)[fit.state.likelihood.steps.at] for fit in fits]
        covariance = self.covariance()
        factor = 1.0
        if variance == "infinitesimal" and self.design.cluster is not None:
            factor = correction_factor(self.model.correction, self.design.n_cluster or 0)
        out = []
        for i, row in enumerate(x):
            centred = [row - fit.state.center for fit in fits]
            ratios = [
                float(np.exp(z @ fit.state.beta - fit.state.evaluation.shift))
                for z, fit in zip(centred, fits, strict=True)
            ]
            found = incidence_variance(
                models, covariance, centred, ratios, places, hazards[i], known, product, variance
            )
            errors = np.sqrt(factor * np.maximum(found.incidence, 0.0))[back.reshape(-1)]
            free = np.sqrt(factor * np.maximum(found.event_free, 0.0))[back.reshape(-1)]
            out.append((np.where(place[:, None] < 0, 0.0, errors), np.where(place < 0, 0.0, free)))
        return out

    def _models(self) -> list[HazardModel]:
        """What the errors need of each cause's fit."""
        design = self.design
        unit = next((u for u in (design.cluster, design.id) if u is not None), np.arange(len(design.surv)))
        codes, n_unit = np.unique(unit, return_inverse=True)[1].reshape(-1), len(np.unique(unit))
        found = []
        for fit in self.fits.values():
            state = fit.state
            own = codes[state.risk_sets.rows]
            scores = state.likelihood.score_residuals(state.evaluation)
            influence = sum_by_unit(scores, state.likelihood.weights, own, n_unit) @ state.inverse
            found.append(HazardModel(state.likelihood, state.evaluation, own, n_unit, influence))
        return found


def cause_specific(
    formula: str,
    data: pd.DataFrame,
    *,
    cause: str | ArrayLike,
    model: CoxPH | None = None,
    id: str | ArrayLike | None = None,
    cluster: str | ArrayLike | None = None,
    weights: str | ArrayLike | None = None,
    offset: str | ArrayLike | None = None,
    missing: str = "error",
) -> CauseFits:
    """Fit a Cox model for each cause, exits for the other causes counting as censored.

    Parameters
    ----------
    formula, data, id, cluster, weights, offset, missing
        As in `CoxPH.fit`; ``event`` is an exit for any cause.
    cause
        Column of causes: 0, "" or missing where the row has no event.
    model
        Ties, correction and tolerances; `CoxPH()` by default.

    Raises
    ------
    DataError
        The data cannot be used; events and causes contradict each other.
    FitError
        No estimate for a cause, which the message names.

    References
    ----------
    Prentice, R. L. et al. (1978), Biometrics 34, 541-554.
    """
    model = model or CoxPH()
    beside = {"id": id, "cluster": cluster, "weights": weights, "offset": offset}
    rows, columns, n_dropped = complete_rows(formula, data, beside, missing, carried={"cause": cause})
    design = replace(
        build_design(
            formula,
            rows,
            id=columns.get("id"),
            cluster=columns.get("cluster"),
            weights=columns.get("weights"),
            offset=columns.get("offset"),
        ),
        n_dropped=n_dropped,
    )
    surv, n_joined = join_near_times(design.surv) if model.timefix else (design.surv, 0)
    design = replace(design, surv=surv)
    reasons = missing_by_column(formula, data, beside) if n_dropped else ()
    name = cluster if isinstance(cluster, str) else ""
    codes, causes = cause_codes(design.surv.event, columns["cause"])
    fits: dict[object, CoxFit] = {}
    for code, label in enumerate(causes, start=1):
        surv = with_event(design.surv.start, design.surv.stop, codes == code)
        try:
            fit = model.fit_design(replace(design, surv=surv), formula=formula)
            fits[label] = replace(fit, dropped=reasons, n_joined=n_joined, cluster_name=name)
        except FitError as error:
            raise FitError(error.status, f"cause {label!r}: {error}") from None
    return CauseFits(tuple(fits.items()), model, design, codes)


def with_event(start: Floats, stop: Floats, event: NDArray[np.bool_]) -> Surv:
    """Return a response with other events; ``start`` of -inf is right-censored data."""
    return Surv(start, stop, event) if np.isfinite(start).all() else Surv(stop, event)


def _influence(fit: CoxFit, n_cluster: int) -> Floats:
    """Cluster sums of the score residuals times the model covariance: shape (G, p)."""
    state = fit.state
    residuals = state.likelihood.score_residuals(state.evaluation) * state.likelihood.weights[:, None]
    assert state.design.cluster is not None
    return np.asarray(sum_by_cluster(residuals, state.design.cluster[state.risk_sets.rows], n_cluster) @ state.inverse)


def _hazard(fit: CoxFit, grid: Floats, x: Floats) -> Floats:
    """Increments of the cumulative hazard for covariates x at the times of the grid: shape (rows, K)."""
    state = fit.state
    steps, at = state.likelihood.steps, state.evaluation
    own = np.bincount(steps.at, weights=at.hazard, minlength=state.risk_sets.n_times)
    baseline = np.zeros(len(grid))
    baseline[np.searchsorted(grid, state.risk_sets.times)] = own
    return np.asarray(np.exp((x - state.center) @ state.beta - at.shift)[:, None] * baseline)


def scenarios(at: pd.DataFrame | Mapping[str, float]) -> pd.DataFrame:
    """Return a mapping as a table of one row, a table as it is."""
    return at if isinstance(at, pd.DataFrame) else pd.DataFrame([dict(at)])
