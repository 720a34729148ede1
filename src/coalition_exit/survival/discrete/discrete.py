"""Discrete-time hazard models on start-stop data: a binary-outcome model of person-periods.

P(event in period t | none before, x) = F(x b + duration dependence + constant), with F the logistic,
complementary log-log or normal distribution function.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from coalition_exit.errors import DataError, FitError, nearest, one_of
from coalition_exit.survival.data.design import Design, build_design
from coalition_exit.survival.data.periods import PersonPeriods, check_period_options, period_length, person_periods
from coalition_exit.survival.data.surv import check_episodes
from coalition_exit.survival.discrete.discrete_fit import DiscreteFit, RandomInterceptFit, assemble
from coalition_exit.survival.discrete.durations import Baseline, check_baseline_options, make_baseline
from coalition_exit.survival.discrete.glm import BinaryEstimate, check_binary_options, estimate_binary
from coalition_exit.survival.discrete.glm_links import get_link
from coalition_exit.survival.discrete.glm_solver import BinaryData
from coalition_exit.survival.discrete.random_intercept import check_points, fit_random_intercept

__all__ = ["DiscreteFit", "DiscreteHazard", "RandomInterceptFit"]


@dataclass(frozen=True, eq=False)
class _Sample:
    """The estimation sample."""

    rows: BinaryData
    terms: tuple[str, ...]
    periods: PersonPeriods
    baseline: Baseline
    n_empty: int


@dataclass(frozen=True)
class DiscreteHazard:
    """Discrete-time hazard model on start-stop rows.

    Parameters
    ----------
    link
        "logit", "cloglog" (the grouped-data form of proportional hazards) or "probit".
    baseline
        Duration dependence in the period number t: "constant", "linear", "log", "cubic", "ns", "rcs"
        or "dummies"; see `coalition_exit.survival.discrete.durations`.
    period
        "day", "week", "month" (30.4375), "year" (365.25) if analysis time is in days, or a number of
        its units. Period k is ((k - 1) length, k length] on the subject's clock.
    covariates
        Values at the period's "start" or "end", or their "mean" over the time at risk in it.
    df, knots
        Of "ns" and "rcs", in periods.
    divisor
        "cubic" uses t / divisor; 100 after Carter and Signorino.
    empty
        "dummies": periods without events are left out ("drop") or pooled with the next period that has
        events ("pool"); the fit names them.
    partial
        Periods in which a subject is censored midway: "keep" as periods without event, "drop", or
        "offset" (cloglog only): keep them and add log(share of the period at risk), for late entry
        and gaps too.
    repeated
        Two events of one subject in a period: "error", or "merge" them into one.
    nonproportional
        Terms of the formula that interact with the duration terms: ``x:t``, ...
    information, correction, firth
        As in `BinaryRegression`.
    points
        Quadrature points of a random intercept.
    max_iter, tolerance
        Of Newton's method.

    Raises
    ------
    DataError
        On unknown or conflicting options.

    References
    ----------
    Prentice, R. L. and Gloeckler, L. A. (1978), Biometrics 34, 57-67; Allison, P. D. (1982),
    Sociological Methodology 13, 61-98; Beck, N., Katz, J. N. and Tucker, R. (1998), AJPS 42, 1260-1288;
    Carter, D. B. and Signorino, C. S. (2010), Political Analysis 18, 271-292.
    """

    link: str = "logit"
    baseline: str = "cubic"
    period: str | float = "month"
    covariates: str = "start"
    df: int | None = None
    knots: tuple[float, ...] | None = None
    divisor: float = 100.0
    empty: str = "drop"
    partial: str = "keep"
    repeated: str = "error"
    nonproportional: tuple[str, ...] = ()
    information: str = "observed"
    correction: str = "stata"
    firth: bool = False
    points: int = 15
    max_iter: int = 100
    tolerance: float = 1e-14

    def __post_init__(self) -> None:
        check_binary_options(self.link, self.correction, self.information, self.firth)
        check_baseline_options(self.baseline, self.df, self.knots, self.divisor, self.empty)
        period_length(self.period)
        check_period_options(self.covariates, self.partial, self.repeated)
        if self.partial == "offset" and self.link != "cloglog":
            raise DataError("partial", "'keep' or 'drop' ('offset' needs link 'cloglog')", f"link {self.link!r}")
        check_points(self.points)
        if isinstance(self.nonproportional, str):
            raise DataError("nonproportional", "a tuple of terms", repr(self.nonproportional))
        if self.nonproportional and self.baseline == "constant":
            raise DataError("nonproportional", "none with baseline 'constant'", repr(self.nonproportional))

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
        random_intercept: str | ArrayLike | None = None,
    ) -> DiscreteFit:
        """Fit the model.

        Parameters
        ----------
        formula
            ``"Surv(start, stop, event) ~ a + b"`` as in `CoxPH`, in analysis time from 0.
            ``strata(x)`` is refused: the baseline is parametric, so ``C(x)`` gives a constant of its own
            to each group and ``nonproportional`` a duration dependence of its own.
        data
            One row per episode (start, stop]. Never changed.
        id
            Subject of each row. A subject has one row per period, whatever the number of its
            episodes. None makes every row its own subject: right for one row a subject only, as the
            episodes of one subject would each give a row for the period they share.
        cluster
            Cluster of each row; gives the cluster sandwich.
        weights, offset
            Case weights and an offset, taken in each period when the covariates are.
        missing
            "error" refuses missing values; "drop" leaves the rows out and counts them.
        random_intercept
            Group of each row: adds a normal random intercept (logit and cloglog), not together with
            ``cluster`` or ``firth``; the result is then a `RandomInterceptFit`.

        Returns
        -------
        DiscreteFit

        Raises
        ------
        DataError
            The data cannot be used; names the column and row.
        FitError
            "no_events", "no_observations", "no_variation", "collinear", "separation" or
            "not_converged".
        """
        if random_intercept is not None:
            self._check_random(cluster)
        design = build_design(
            formula, data, id=id, cluster=cluster if random_intercept is None else random_intercept,
            weights=weights, offset=offset, missing=missing,
        )  # fmt: skip
        if random_intercept is None:
            return self.fit_design(design, formula=formula)
        group = random_intercept if isinstance(random_intercept, str) else "group"
        return self.fit_design(design, formula=formula, group=group)

    def _check_random(self, cluster: object) -> None:
        if cluster is not None:
            raise DataError("random_intercept", "no cluster= beside it: errors are model-based", "both")
        if self.firth or self.link == "probit":
            raise DataError("random_intercept", "link 'logit' or 'cloglog' without firth", self._name)

    @property
    def _name(self) -> str:
        return self.link + ("_firth" if self.firth else "")

    def fit_design(self, design: Design, formula: str = "", group: str = "") -> DiscreteFit:
        """Fit arrays that `build_design` made; ``group`` names a random intercept by ``design.cluster``."""
        sample = self._sample(design)
        if group:
            return self._random(sample, design, formula, group)
        found = estimate_binary(
            sample.rows, sample.terms, sample.periods.cluster, correction=self.correction,
            information=self.information, firth=self.firth, max_iter=self.max_iter, tolerance=self.tolerance,
        )  # fmt: skip
        return DiscreteFit(**self._common(found, sample, design, formula))

    def _sample(self, design: Design) -> _Sample:
        pp, baseline, n_empty = self._person_periods(design)
        x, terms = assemble(pp.x, design.names, baseline, pp.period, self._nonproportional(design.names))
        if len(set(terms)) < len(terms):
            clash = ", ".join(sorted({t for t in terms if terms.count(t) > 1}))
            raise DataError(
                "formula", f"terms other than those of the model's own: {clash}", "a covariate of that name"
            )
        offset = pp.offset
        if self.partial == "offset":
            offset = np.log(pp.at_risk) + (0.0 if offset is None else offset)
        return _Sample(BinaryData(x, pp.event, pp.weights, offset, get_link(self.link)), terms, pp, baseline, n_empty)

    def _nonproportional(self, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in self.nonproportional:
            if name not in names:
                raise DataError("nonproportional", one_of(names), repr(name), nearest(str(name), names))
        return tuple(self.nonproportional)

    def _person_periods(self, design: Design) -> tuple[PersonPeriods, Baseline, int]:
        if design.strata is not None:
            hint = "C(x) gives each group its own constant, nonproportional= its own duration dependence"
            raise DataError("formula", "no strata() in a discrete-time model", "strata(...)", hint)
        if design.id is not None:
            check_episodes(design.surv, design.id)
        pp = person_periods(
            design.surv, design.x, period_length(self.period), id=design.id, covariates=self.covariates,
            partial=self.partial, repeated=self.repeated, cluster=design.cluster, weights=design.weights,
            offset=design.offset,
        )  # fmt: skip
        if not len(pp.period):
            raise FitError("no_observations", "no person-period is left when those cut short by censoring are dropped")
        counted = pp.event if pp.weights is None else pp.event & (pp.weights > 0)
        if not counted.any():
            raise FitError("no_events", f"no events among {len(pp.period)} person-periods")
        baseline = make_baseline(
            self.baseline, pp.period, counted, df=self.df, knots=self.knots, divisor=self.divisor, empty=self.empty
        )
        if self.baseline != "dummies" or self.empty != "drop":
            return pp, baseline, 0
        keep = baseline.level(pp.period) >= 0
        return pp.keep(keep), baseline, int((~keep).sum())

    def _common(self, found: BinaryEstimate, sample: _Sample, design: Design, formula: str) -> dict[str, Any]:
        rows, pp = sample.rows, sample.periods
        return {
            "terms": sample.terms,
            "beta": found.solution.beta,
            "covariance": found.covariance,
            "model_covariance": found.model_covariance,
            "loglik": found.solution.loglik,
            "loglik_null": found.solution.loglik_null,
            "n_obs": len(rows.y),
            "n_subject": len(np.unique(pp.subject)),
            "n_event": int(rows.y.sum()),
            "n_cluster": found.n_cluster,
            "n_dropped": design.n_dropped,
            "correction": self.correction if found.n_cluster else None,
            "n_iter": found.solution.iterations,
            "formula": formula,
            "estimator": f"discrete_{self._name}",
            "link": self.link,
            "information": self.information,
            "firth": self.firth,
            "rows": rows,
            "clusters": found.clusters,
            "baseline": sample.baseline,
            "period": self.period if isinstance(self.period, str) else f"{self.period:g}",
            "length": period_length(self.period),
            "covariates": self.covariates,
            "partial": self.partial,
            "counts": pp.counts,
            "n_empty": sample.n_empty,
            "covariate_names": design.names,
            "nonproportional": tuple(self.nonproportional),
            "subject": pp.subject,
            "number": pp.period,
        }

    def _random(self, sample: _Sample, design: Design, formula: str, group: str) -> RandomInterceptFit:
        if sample.periods.cluster is None:
            raise DataError("random_intercept", "groups in design.cluster", "none")
        random = fit_random_intercept(
            sample.rows, sample.periods.cluster, sample.terms, points=self.points, max_iter=self.max_iter,
            tolerance=self.tolerance,
        )  # fmt: skip
        covariance = random.covariance[:-1, :-1]
        pooled = BinaryEstimate(random.pooled, covariance.copy(), covariance.copy(), None, None)
        changed = {
            "beta": random.beta,
            "loglik": random.loglik,
            "n_iter": random.iterations,
            "estimator": f"discrete_{self.link}_random_intercept",
            "information": "observed",
        }
        return RandomInterceptFit(
            **(self._common(pooled, sample, design, formula) | changed),
            sigma=random.sigma,
            sigma_std_error=random.sigma * float(np.sqrt(random.covariance[-1, -1])),
            random=random,
            group=group,
            n_group=len(random.modes),
            points=self.points,
        )
