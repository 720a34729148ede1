"""Discrete-time hazard models on start-stop data: a binary-outcome model of person-periods.

P(event in period t | none before, x) = F(x b + duration dependence + constant), with F the logistic,
complementary log-log or normal distribution function.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from coalition_exit.errors import DataError, FitError, nearest, one_of
from coalition_exit.survival.data.complete_rows import codes_of, complete_rows
from coalition_exit.survival.data.design import Design, build_design
from coalition_exit.survival.data.dropped import missing_by_column
from coalition_exit.survival.data.formula import parse_formula
from coalition_exit.survival.data.periods import PersonPeriods, check_period_options, period_length, person_periods
from coalition_exit.survival.data.surv import Integers, check_episodes
from coalition_exit.survival.discrete.discrete_fit import DiscreteFit
from coalition_exit.survival.discrete.durations import Baseline, check_baseline_options, make_baseline
from coalition_exit.survival.discrete.glm import BinaryEstimate, check_binary_options, estimate_binary
from coalition_exit.survival.discrete.glm_links import get_link
from coalition_exit.survival.discrete.glm_solver import BinaryData
from coalition_exit.survival.discrete.predictions import assemble
from coalition_exit.survival.discrete.random_intercept import check_points, fit_random_intercept, robust_covariance
from coalition_exit.survival.discrete.random_intercept_fit import RandomInterceptFit
from coalition_exit.survival.discrete.strata import StratifiedBaseline, strata_codes, stratified_baseline

__all__ = ["DiscreteFit", "DiscreteHazard", "RandomInterceptFit"]


@dataclass(frozen=True, eq=False)
class _Beside:
    """What a formula and arguments say beside the design: strata and the groups of a random intercept."""

    formula: str = ""
    strata: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    stratum: Integers | None = None
    group: Integers | None = None
    group_name: str = ""
    cluster_name: str = ""


@dataclass(frozen=True, eq=False)
class _Sample:
    """The estimation sample."""

    rows: BinaryData
    terms: tuple[str, ...]
    periods: PersonPeriods
    baseline: Baseline | StratifiedBaseline
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
            ``strata(x)`` gives each stratum its own constant and duration dependence: the terms of
            R's ``x + x:(t + t2 + t3)``, named ``strata[x=2]`` and ``strata[x=2]:t``. Spline knots are
            common; "dummies" are the periods with events in the stratum. A stratum is taken when the
            covariates are, and may not change within a period under covariates "mean".
        data
            One row per episode (start, stop]. Never changed.
        id
            Subject of each row. A subject has one row per period, whatever the number of its
            episodes. None makes every row its own subject: right for one row a subject only, as the
            episodes of one subject would each give a row for the period they share.
        cluster
            Cluster of each row; gives the cluster sandwich. With a random intercept a cluster holds
            whole groups, and the sandwich is that of the marginal likelihood.
        weights, offset
            Case weights and an offset, taken in each period when the covariates are.
        missing
            "error" refuses missing values; "drop" leaves the rows out and counts them.
        random_intercept
            Group of each row: adds a normal random intercept (logit and cloglog), not together with
            ``firth``; the result is then a `RandomInterceptFit`. Its errors are model-based unless
            ``cluster`` is given (Stata's ``vce(robust)`` is the cluster sandwich by group).

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
            self._check_random()
        beside = {"id": id, "cluster": cluster, "weights": weights, "offset": offset}
        rows, columns, n_dropped = complete_rows(
            formula, data, beside | {"random_intercept": random_intercept}, missing
        )
        kept: dict[str, Any] = {role: columns.get(role) for role in beside}
        design = build_design(formula, rows, **kept)
        strata = parse_formula(formula).strata
        stratum, labels = strata_codes(rows, strata) if strata else (None, ())
        group, name = None, ""
        if random_intercept is not None:
            group = codes_of(columns["random_intercept"], "random_intercept")[0]
            name = random_intercept if isinstance(random_intercept, str) else "group"
        cluster_name = cluster if isinstance(cluster, str) else ""
        told = _Beside(formula, strata, labels, stratum, group, name, cluster_name)
        fit = self._fit(replace(design, n_dropped=n_dropped), told)
        if not n_dropped:
            return fit
        reasons = missing_by_column(formula, data, beside | {"random_intercept": random_intercept})
        return replace(fit, dropped=reasons)

    def _check_random(self) -> None:
        if self.firth or self.link == "probit":
            raise DataError("random_intercept", "link 'logit' or 'cloglog' without firth", self._name)

    @property
    def _name(self) -> str:
        return self.link + ("_firth" if self.firth else "")

    def fit_design(self, design: Design, formula: str = "") -> DiscreteFit:
        """Fit arrays that `build_design` made; strata are then named by their codes."""
        if design.strata is None:
            return self._fit(design, _Beside(formula))
        names, codes = np.unique(design.strata, return_inverse=True)
        labels = tuple(f"stratum={name}" for name in names)
        return self._fit(design, _Beside(formula, ("stratum",), labels, codes.reshape(-1)))

    def _fit(self, design: Design, beside: _Beside) -> DiscreteFit:
        sample = self._sample(design, beside)
        if sample.periods.group is not None:
            return self._random(sample, design, beside)
        found = estimate_binary(
            sample.rows, sample.terms, sample.periods.cluster, correction=self.correction,
            information=self.information, firth=self.firth, max_iter=self.max_iter, tolerance=self.tolerance,
        )  # fmt: skip
        return DiscreteFit(**self._common(found, sample, design, beside))

    def _sample(self, design: Design, beside: _Beside) -> _Sample:
        pp, baseline, n_empty = self._person_periods(design, beside)
        x, terms = assemble(pp.x, design.names, baseline, pp.period, self._nonproportional(design.names), pp.stratum)
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

    def _person_periods(
        self, design: Design, beside: _Beside
    ) -> tuple[PersonPeriods, Baseline | StratifiedBaseline, int]:
        if design.id is not None:
            check_episodes(design.surv, design.id)
        pp = person_periods(
            design.surv, design.x, period_length(self.period), id=design.id, covariates=self.covariates,
            partial=self.partial, repeated=self.repeated, cluster=design.cluster, weights=design.weights,
            offset=design.offset, strata=beside.stratum, group=beside.group,
        )  # fmt: skip
        if not len(pp.period):
            raise FitError("no_observations", "no person-period is left when those cut short by censoring are dropped")
        counted = pp.event if pp.weights is None else pp.event & (pp.weights > 0)
        if not counted.any():
            raise FitError("no_events", f"no events among {len(pp.period)} person-periods")
        options: dict[str, Any] = {"df": self.df, "knots": self.knots, "divisor": self.divisor, "empty": self.empty}
        baseline: Baseline | StratifiedBaseline
        if pp.stratum is None:
            baseline = make_baseline(self.baseline, pp.period, counted, **options)
        else:
            if self.nonproportional and self.baseline == "dummies":
                raise DataError("nonproportional", "none with strata() and dummies", repr(self.nonproportional))
            present, codes = np.unique(pp.stratum, return_inverse=True)
            pp = replace(pp, stratum=codes.reshape(-1))
            labels = [beside.labels[k] for k in present]
            baseline = stratified_baseline(self.baseline, pp.period, counted, codes.reshape(-1), labels, **options)
        if self.baseline != "dummies" or self.empty != "drop":
            return pp, baseline, 0
        keep = baseline.level(pp.period, pp.stratum) >= 0
        return pp.keep(keep), baseline, int((~keep).sum())

    def _common(self, found: BinaryEstimate, sample: _Sample, design: Design, beside: _Beside) -> dict[str, Any]:
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
            "formula": beside.formula,
            "estimator": f"discrete_{self._name}",
            "link": self.link,
            "information": self.information,
            "firth": self.firth,
            "rows": rows,
            "clusters": found.clusters,
            "cluster_name": beside.cluster_name,
            "baseline": sample.baseline,
            "period": self.period if isinstance(self.period, str) else f"{self.period:g}",
            "length": period_length(self.period),
            "covariates": self.covariates,
            "partial": self.partial,
            "counts": pp.counts,
            "n_empty": sample.n_empty,
            "covariate_names": design.names,
            "nonproportional": tuple(self.nonproportional),
            "strata": beside.strata,
            "subject": pp.subject,
            "number": pp.period,
            "stratum": pp.stratum,
        }

    def _random(self, sample: _Sample, design: Design, beside: _Beside) -> RandomInterceptFit:
        pp = sample.periods
        assert pp.group is not None
        random = fit_random_intercept(
            sample.rows, pp.group, sample.terms, points=self.points, max_iter=self.max_iter, tolerance=self.tolerance
        )
        covariance, n_cluster, codes = random.covariance, None, None
        if pp.cluster is not None:
            owner, codes = _clusters_of_groups(pp.group, pp.cluster)
            covariance, n_cluster = robust_covariance(random, owner, self.correction)
        found = BinaryEstimate(
            random.pooled, covariance[:-1, :-1].copy(), random.covariance[:-1, :-1].copy(), n_cluster, codes
        )
        changed = {
            "beta": random.beta,
            "loglik": random.loglik,
            "n_iter": random.iterations,
            "estimator": f"discrete_{self.link}_random_intercept",
            "information": "observed",
        }
        return RandomInterceptFit(
            **(self._common(found, sample, design, beside) | changed),
            sigma=random.sigma,
            sigma_std_error=random.sigma * float(np.sqrt(covariance[-1, -1])),
            random=random,
            full_covariance=covariance,
            group=beside.group_name,
            groups=pp.group,
            n_group=len(random.modes),
            points=self.points,
        )


def _clusters_of_groups(group: Integers, cluster: Integers) -> tuple[Integers, Integers]:
    """Return the cluster of each group, in order of the groups' codes, and of each row without gaps."""
    codes = np.unique(cluster, return_inverse=True)[1].reshape(-1).astype(np.int64)
    _, first, member = np.unique(group, return_index=True, return_inverse=True)
    owner = codes[first]
    apart = owner[member.reshape(-1)] != codes
    if apart.any():
        expected = "clusters that hold whole groups of the random intercept"
        raise DataError("cluster", expected, f"a group in two clusters ({len(np.unique(group[apart]))} such groups)")
    return owner, codes
