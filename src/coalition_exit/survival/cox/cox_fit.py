"""The result of a Cox model: estimates, and the arrays behind them for residuals, tests and predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from coalition_exit.errors import DataError, one_of
from coalition_exit.survival.cox.state import CoxState
from coalition_exit.survival.data.surv import Floats
from coalition_exit.survival.fit import Fit

if TYPE_CHECKING:
    from coalition_exit.survival.inference.vcov import ClusterVcov


@dataclass(frozen=True, eq=False, kw_only=True)
class CoxFit(Fit):
    """Estimates of a Cox model: `Fit` with the tie method and the arrays behind it.

    Attributes
    ----------
    ties : str
        Tie method.
    n_at_risk_rows : int
        Rows at risk at an event time, the ones the likelihood depends on.
    state : CoxState
        Arrays for residuals, tests and predictions.
    cluster_name : str
        Name of the cluster column, where it is known.
    clusters : ClusterVcov or None
        Ways of clustering behind ``vcov`` when there are several (``n_cluster`` is then the number of clusters of
        the way with the fewest), or when `with_vcov` put another covariance in.
    ways : mapping
        Cluster of every row of the data by way, when the model was fitted with several.
    """

    ties: str
    n_at_risk_rows: int
    estimator: str = "cox"
    state: CoxState = field(repr=False)
    cluster_name: str = ""
    clusters: ClusterVcov | None = field(default=None, repr=False)
    ways: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def title(self) -> str:
        return f"Cox model ({self.ties} ties{'' if self.penalty == 'none' else ', ' + self.penalty})"

    @property
    def penalty(self) -> str:
        """Name of the penalty on the likelihood, or "none"."""
        return self.state.penalty

    @property
    def events_per_variable(self) -> float:
        """Events per covariate."""
        from coalition_exit.survival.cox import hypothesis

        return hypothesis.events_per_variable(self.state)

    @property
    def _glance(self) -> tuple[str, ...]:
        common = super()._glance
        return (common[0], "ties", *common[1:], "clustering", "n_joined")

    @property
    def clustering(self) -> str:
        if self.clusters is not None:
            return self.clusters.label
        text = super().clustering
        return text.replace(" clusters", f" clusters of {self.cluster_name}") if self.cluster_name else text

    @property
    def notes(self) -> tuple[str, ...]:
        notes = super().notes
        design = self.state.design
        if design.id is None and design.surv.is_counting:
            notes = (*notes, "each row counts as a subject (no id)")
        if self.penalty == "none":
            return notes
        note = {
            "firth": 'penalized log-likelihoods; tidy(intervals="profile") has the intervals to report',
            "ridge": "log-likelihoods without penalty; the ridge biases estimates towards 0 and intervals ignore it",
        }[self.penalty]
        return (*notes, note)

    def _profile(self, level: float) -> tuple[Floats, Floats, Floats, Floats]:
        if self.n_cluster:
            expected = "'wald' with clusters: the likelihood takes the rows of a cluster as independent"
            raise DataError("intervals", expected, "'profile'", "profile_intervals() gives the model-based ones")
        table = self.profile_intervals(level)
        root = np.sign(self.beta) * np.sqrt(table["statistic"].to_numpy())
        return root, *(table[name].to_numpy() for name in ("p_value", "conf_low", "conf_high"))

    def _one_way(self, clusters: Any, place: str = "clusters") -> Any:
        """Return values by row for a way of clustering given by name; refuse to choose among several ways."""
        if isinstance(clusters, str) and clusters in self.ways:
            return self.ways[clusters]
        if self.ways and (clusters is None or (isinstance(clusters, str) and clusters in ("cluster", "fit"))):
            raise DataError(place, f"one of the fit's ways of clustering, {one_of(self.ways)}", repr(clusters))
        return clusters

    def _own(self, vcov: Any) -> Any:
        return self.vcov if vcov is None else vcov

    def _sandwich(self) -> Floats | None:
        """Return the covariance of a fit with clusters; refuse one that leaves a coefficient without a variance."""
        if not self.n_cluster:
            return None
        variance = np.diag(self.covariance)
        lacking = [name for name, at in zip(self.terms, variance, strict=True) if not (np.isfinite(at) and at > 0)]
        if lacking:
            expected = "a cluster-robust variance of every coefficient, which grambsch_therneau takes from the fit"
            hint = "Too few clusters? method='score' goes by the model's own variance"
            raise DataError("the fit's covariance", expected, f"none of {', '.join(lacking)}", hint)
        return self.covariance

    # Each method below hands the arrays to a module of its own; those modules know nothing of fits.

    def residuals(self, kind: str = "martingale", *, collapse: Any = None, weighted: bool | None = None) -> Any:
        """Residuals by R's type names, a Series or DataFrame by row or event.

        See `coalition_exit.survival.checks.residuals.residuals`.
        """
        from coalition_exit.survival.checks import residuals

        return residuals.residuals(self.state, kind, collapse=collapse, weighted=weighted)

    def proportional_hazards_test(
        self, transform: Any = "km", method: str = "both", *, groups: Any = None
    ) -> pd.DataFrame:
        """Both tests of proportional hazards, a row a term and "GLOBAL".

        See `coalition_exit.survival.checks.phtest.proportional_hazards_test`.
        """
        from coalition_exit.survival.checks import phtest

        covariance = self._sandwich() if method != "score" else None
        return phtest.proportional_hazards_test(self.state, transform, method, covariance=covariance, groups=groups)

    def tests(self, hypothesis: Any = None, value: Any = 0.0) -> pd.DataFrame:
        """Likelihood-ratio, Wald and score tests of terms or of a linear hypothesis, a row each.

        See `coalition_exit.survival.cox.hypothesis.all_tests`.
        """
        from coalition_exit.survival.cox import hypothesis as module

        vcov = self.covariance if self.n_cluster else None
        return module.all_tests(self.state, vcov, hypothesis, value, robust_score=self.clusters is None)

    def profile_intervals(self, level: float = 0.95, terms: Any = None) -> pd.DataFrame:
        """Profile-likelihood intervals, the ones to report after Firth's penalty; a row a term.

        See `coalition_exit.survival.cox.profile.profile_intervals`.
        """
        from coalition_exit.survival.cox import profile

        return profile.profile_intervals(self.state, level, terms)

    def leave_one_out(self, groups: Any = "cluster") -> pd.DataFrame:
        """Refit without each cluster (or group), beside the one-step value; a row a group and term.

        See `coalition_exit.survival.checks.influence.leave_one_out`.
        """
        from coalition_exit.survival.checks import influence

        return influence.leave_one_out(self.state, self._one_way(groups, "groups"))

    def leave_two_out(self, groups: Any = "cluster") -> pd.DataFrame:
        """Refit without each pair of clusters (or groups); a row a pair and term.

        See `coalition_exit.survival.checks.influence.leave_two_out`.
        """
        from coalition_exit.survival.checks import influence

        return influence.leave_two_out(self.state, self._one_way(groups, "groups"))

    def concordance(self, cluster: Any = "fit") -> Any:
        """Harrell's C with its standard error, a `coalition_exit.survival.checks.concordance.Concordance`."""
        from coalition_exit.survival.checks import concordance

        return concordance.concordance(self.state, self._one_way(cluster, "cluster") if cluster is not None else None)

    def functional_form(
        self, covariate: Any, *, model: str = "reduced", collapse: Any = None, fraction: float = 2 / 3,
        iterations: int = 0, delta: float | None = None,
    ) -> pd.DataFrame:  # fmt: skip
        """Martingale residuals against a covariate with a lowess line: columns covariate, residual, smooth.

        See `coalition_exit.survival.checks.functional_form.functional_form`.
        """
        from coalition_exit.survival.checks import functional_form as module

        return module.functional_form(
            self.state, covariate, model=model, collapse=collapse, fraction=fraction, iterations=iterations, delta=delta
        )

    def plot_functional_form(self, covariate: str, ax: Any = None, **options: Any) -> Any:
        """Draw `CoxFit.functional_form`, whose options it takes, with matplotlib and return the axes."""
        from coalition_exit.survival import plots

        return plots.functional_form(self.functional_form(covariate, **options), covariate, ax)

    def schoenfeld_smooth(
        self, term: str, transform: Any = "km", *, df: int = 4, points: int = 40, level: float = 0.95
    ) -> Any:
        """Coefficient over time from scaled Schoenfeld residuals; a `SchoenfeldSmooth`, which has ``plot()``.

        See `coalition_exit.survival.checks.schoenfeld_smooth.schoenfeld_smooth`.
        """
        from coalition_exit.survival.checks import schoenfeld_smooth as module

        return module.schoenfeld_smooth(self.state, term, transform, df=df, points=points, level=level)

    def plot_hazard_ratio_over_time(
        self, term: str, by_time: Any, times: Any, ax: Any = None, *, change: float = 1.0, level: float = 0.95
    ) -> Any:
        """Draw `CoxFit.hazard_ratio_over_time` with matplotlib and return the axes."""
        from coalition_exit.survival import plots

        table = self.hazard_ratio_over_time(term, by_time, times, change=change, level=level)
        return plots.hazard_ratio_over_time(table, ax, change=change)

    def baseline(
        self, at: Any = "zero", *, offset: float | None = None, vcov: Any = None, ties: str | None = None,
        strata_labels: Any = None,
    ) -> Any:  # fmt: skip
        """Baseline hazard by event time, a `BaselineHazard`; ``vcov`` is the fit's own by default.

        See `coalition_exit.survival.quantities.baseline.baseline_hazard`.
        """
        from coalition_exit.survival.quantities import baseline

        own = {"vcov": self._own(vcov), "ties": ties, "strata_labels": strata_labels}
        return baseline.baseline_hazard(self.state, at, offset=offset, **own)

    def scenarios(
        self, newdata: pd.DataFrame, *, strata: Any = None, offset: Any = 0.0, begin: float | None = None,
        vcov: Any = None, ties: str | None = None, strata_labels: Any = None,
    ) -> Any:  # fmt: skip
        """Covariate values to predict for, a `Scenarios`; ``vcov`` is the fit's own by default.

        See `coalition_exit.survival.quantities.scenarios.fixed_scenarios`; what comes back is for
        `coalition_exit.survival.quantities.predict.survival` and its neighbours.
        """
        from coalition_exit.survival.quantities import scenarios

        own = {"vcov": self._own(vcov), "ties": ties, "strata_labels": strata_labels}
        return scenarios.fixed_scenarios(self.state, newdata, strata=strata, offset=offset, begin=begin, **own)

    def path(
        self, path: pd.DataFrame, *, start: str = "start", stop: str = "stop", id: str | None = None,
        strata: str | None = None, offset: str | None = None, vcov: Any = None, ties: str | None = None,
        strata_labels: Any = None,
    ) -> Any:  # fmt: skip
        """Covariate values over time to predict for: `Scenarios`, as `CoxFit.scenarios` returns.

        See `coalition_exit.survival.quantities.scenarios.path_scenarios`; ``vcov`` is the fit's own by default.
        """
        from coalition_exit.survival.quantities import scenarios

        own = {"vcov": self._own(vcov), "ties": ties, "strata_labels": strata_labels}
        return scenarios.path_scenarios(
            self.state, path, start=start, stop=stop, id=id, strata=strata, offset=offset, **own
        )

    def predict(
        self, kind: str = "lp", *, reference: str = "zero", newdata: pd.DataFrame | None = None, surv: Any = None,
        strata: Any = None, offset: Any = None, vcov: Any = None, level: float = 0.95,
    ) -> pd.DataFrame:  # fmt: skip
        """Predictions by row with errors and intervals, as R's ``predict.coxph``.

        See `coalition_exit.survival.quantities.rowwise.predict_rows`; ``vcov`` is the fit's own by default.
        """
        from coalition_exit.survival.quantities import rowwise

        new = {"newdata": newdata, "surv": surv, "strata": strata, "offset": offset}
        own = {"vcov": self._own(vcov), "level": level}
        return rowwise.predict_rows(self.state, kind, reference=reference, **new, **own)

    def margins(
        self, at: Any = None, *, others: str = "asobserved", prediction: str = "hr", vcov: Any = None,
        scale: str = "plain", level: float = 0.95,
    ) -> Any:  # fmt: skip
        """Relative hazard at given values, as Stata's ``margins`` after ``stcox``; a `Margins`.

        See `coalition_exit.survival.quantities.margins.margins`; ``vcov`` is the fit's own by default.
        """
        from coalition_exit.survival.quantities import margins

        own = {"vcov": self._own(vcov), "scale": scale, "level": level}
        return margins.margins(self.state, at, others=others, prediction=prediction, **own)

    def hazard_ratio_over_time(
        self, term: str, by_time: Any, times: Any, *, change: float = 1.0, level: float = 0.95
    ) -> pd.DataFrame:
        """Hazard ratio of an effect that varies over time, a row a time.

        See `coalition_exit.survival.quantities.predict.hazard_ratio_over_time`.
        """
        from coalition_exit.survival.quantities import predict

        own = self.terms, self.beta, self.covariance
        return predict.hazard_ratio_over_time(*own, term, by_time, times, change=change, level=level)

    def refit(self, *, terms: Any = None, weights: Any = None) -> CoxFit:
        """Fit again on the same rows and risk sets, with other weights or fewer terms; a `CoxFit`.

        See `coalition_exit.survival.cox.refit.refit`.
        """
        from coalition_exit.survival.cox import refit

        # Clusters without ways were put in by with_vcov().
        correction = "other" if self.clusters is not None and not self.ways else self.correction
        found = refit.refit(self.state, self.formula, correction, self.ways, terms=terms, weights=weights)
        return replace(self, **vars(found))

    def with_vcov(self, found: ClusterVcov) -> CoxFit:
        """Return the fit with another covariance, such as a two-way one; every print names it."""
        return replace(
            self,
            covariance=found.vcov,
            correction=found.correction,
            n_cluster=min(found.n_cluster),
            clusters=found,
        )

    def vcov_clusters(self, clusters: Any, correction: str = "stata", psd: str = "fix") -> ClusterVcov:
        """Cluster sandwich in one or more dimensions, for `CoxFit.with_vcov`.

        See `coalition_exit.survival.inference.vcov.cluster_vcov`.
        """
        from coalition_exit.survival.inference import vcov

        return vcov.cluster_vcov(self.state, clusters, correction, psd)

    def vcov_robust(self, correction: str = "stata") -> ClusterVcov:
        """Sandwich with each subject its own cluster. See `coalition_exit.survival.inference.vcov.robust_vcov`."""
        from coalition_exit.survival.inference import vcov

        return vcov.robust_vcov(self.state, correction)

    def few_clusters(
        self, method: str = "fay_graubard", *, clusters: Any = None, df: str | None = None,
        leverage: str = "derivative", bound: float = 0.75,
    ) -> Any:  # fmt: skip
        """Bias-reduced sandwich with its degrees of freedom, named by its paper; a `FewClusters`.

        See `coalition_exit.survival.inference.fewclusters.few_clusters`.
        """
        from coalition_exit.survival.inference import fewclusters

        one = self._one_way(clusters)
        return fewclusters.few_clusters(self.state, method, clusters=one, df=df, leverage=leverage, bound=bound)

    def jackknife(self, *, clusters: Any = None, kind: str = "exact", max_iter: int = 60) -> Any:
        """Cluster jackknife, "exact" or one step; a `coalition_exit.survival.inference.jackknife.Jackknife`."""
        from coalition_exit.survival.inference import jackknife

        return jackknife.jackknife(self.state, clusters=self._one_way(clusters), kind=kind, max_iter=max_iter)

    def bootstrap(
        self, n_boot: int, *, seed: Any, clusters: Any = None, weights: str = "multinomial", block: int | None = None,
        max_iter: int = 60,
    ) -> Any:  # fmt: skip
        """Cluster bootstrap, all replicates solved together; a `Bootstrap`.

        See `coalition_exit.survival.inference.bootstrap.cluster_bootstrap`.
        """
        from coalition_exit.survival.inference import bootstrap

        one = self._one_way(clusters)
        return bootstrap.cluster_bootstrap(
            self.state, n_boot, seed=seed, clusters=one, weights=weights, block=block, max_iter=max_iter
        )

    def score_bootstrap(
        self, n_boot: int = 9999, *, seed: Any, null: Any = 0.0, clusters: Any = None, weights: str = "rademacher",
        recenter: str = "clusters",
    ) -> Any:  # fmt: skip
        """Score (wild) cluster bootstrap of p values; a `ScoreBootstrap`.

        See `coalition_exit.survival.inference.bootstrap.score_bootstrap`.
        """
        from coalition_exit.survival.inference import bootstrap

        own = {"null": null, "weights": weights, "recenter": recenter}
        return bootstrap.score_bootstrap(self.state, n_boot, seed=seed, clusters=self._one_way(clusters), **own)
