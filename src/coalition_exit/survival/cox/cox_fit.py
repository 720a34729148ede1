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

    def _clusters(self, options: dict[str, Any]) -> dict[str, Any]:
        found = self._one_way(options.get("clusters"))
        return options if found is None else {**options, "clusters": found}

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
        """Residuals by R's type names; see `residuals.residuals`."""
        from coalition_exit.survival.checks import residuals

        return residuals.residuals(self.state, kind, collapse=collapse, weighted=weighted)

    def proportional_hazards_test(
        self, transform: Any = "km", method: str = "both", *, groups: Any = None
    ) -> pd.DataFrame:
        """Both tests of proportional hazards, per term and global; see `phtest`."""
        from coalition_exit.survival.checks import phtest

        covariance = self._sandwich() if method != "score" else None
        return phtest.proportional_hazards_test(self.state, transform, method, covariance=covariance, groups=groups)

    def tests(self, hypothesis: Any = None, value: Any = 0.0) -> pd.DataFrame:
        """Likelihood-ratio, Wald and score tests of terms or of a linear hypothesis; see `hypothesis`."""
        from coalition_exit.survival.cox import hypothesis as module

        vcov = self.covariance if self.n_cluster else None
        return module.all_tests(self.state, vcov, hypothesis, value, robust_score=self.clusters is None)

    def profile_intervals(self, level: float = 0.95, terms: Any = None) -> pd.DataFrame:
        """Profile-likelihood intervals, the ones to report after Firth's penalty; see `profile`."""
        from coalition_exit.survival.cox import profile

        return profile.profile_intervals(self.state, level, terms)

    def leave_one_out(self, groups: Any = "cluster") -> pd.DataFrame:
        """Refit without each cluster (or group), beside the one-step value; see `influence`."""
        from coalition_exit.survival.checks import influence

        return influence.leave_one_out(self.state, self._one_way(groups, "groups"))

    def leave_two_out(self, groups: Any = "cluster") -> pd.DataFrame:
        """Refit without each pair of clusters (or groups); see `influence`."""
        from coalition_exit.survival.checks import influence

        return influence.leave_two_out(self.state, self._one_way(groups, "groups"))

    def concordance(self, cluster: Any = "fit") -> Any:
        """Harrell's C with its standard error; see `concordance`."""
        from coalition_exit.survival.checks import concordance

        return concordance.concordance(self.state, self._one_way(cluster, "cluster") if cluster is not None else None)

    def functional_form(self, covariate: str, **options: Any) -> pd.DataFrame:
        """Martingale residuals against a covariate with a lowess line, as numbers; see `functional_form`."""
        from coalition_exit.survival.checks import functional_form

        return functional_form.functional_form(self.state, covariate, **options)

    def plot_functional_form(self, covariate: str, ax: Any = None, **options: Any) -> Any:
        """Draw `functional_form` with matplotlib and return the axes."""
        from coalition_exit.survival import plots

        return plots.functional_form(self.functional_form(covariate, **options), covariate, ax)

    def schoenfeld_smooth(self, term: str, transform: Any = "km", **options: Any) -> Any:
        """Coefficient over time from scaled Schoenfeld residuals; see `schoenfeld_smooth`. It has ``plot()``."""
        from coalition_exit.survival.checks import schoenfeld_smooth

        return schoenfeld_smooth.schoenfeld_smooth(self.state, term, transform, **options)

    def plot_hazard_ratio_over_time(self, term: str, by_time: Any, times: Any, ax: Any = None, **options: Any) -> Any:
        """Draw `hazard_ratio_over_time` with matplotlib and return the axes."""
        from coalition_exit.survival import plots

        table = self.hazard_ratio_over_time(term, by_time, times, **options)
        return plots.hazard_ratio_over_time(table, ax, change=options.get("change", 1.0))

    def baseline(self, at: Any = "zero", **options: Any) -> Any:
        """Baseline hazard by event time; see `baseline.baseline_hazard`."""
        from coalition_exit.survival.quantities import baseline

        return baseline.baseline_hazard(self.state, at, **({"vcov": self.vcov} | options))

    def scenarios(self, newdata: pd.DataFrame, **options: Any) -> Any:
        """Covariate values to predict survival for; see `scenarios.fixed_scenarios` and `predict.survival`."""
        from coalition_exit.survival.quantities import scenarios

        return scenarios.fixed_scenarios(self.state, newdata, **({"vcov": self.vcov} | options))

    def path(self, path: pd.DataFrame, **options: Any) -> Any:
        """Covariate values over time to predict survival for; see `scenarios.path_scenarios`."""
        from coalition_exit.survival.quantities import scenarios

        return scenarios.path_scenarios(self.state, path, **({"vcov": self.vcov} | options))

    def predict(self, kind: str = "lp", **options: Any) -> Any:
        """Predictions by row, as R's ``predict.coxph``; see `rowwise.predict_rows`."""
        from coalition_exit.survival.quantities import rowwise

        return rowwise.predict_rows(self.state, kind, **({"vcov": self.vcov} | options))

    def margins(self, at: Any = None, **options: Any) -> Any:
        """Relative hazard at given values, as Stata's ``margins`` after ``stcox``; see `margins`."""
        from coalition_exit.survival.quantities import margins

        return margins.margins(self.state, at, **({"vcov": self.vcov} | options))

    def hazard_ratio_over_time(self, term: str, by_time: Any, times: Any, **options: Any) -> Any:
        """Hazard ratio of an effect that varies over time; see `predict.hazard_ratio_over_time`."""
        from coalition_exit.survival.quantities import predict

        return predict.hazard_ratio_over_time(self.terms, self.beta, self.covariance, term, by_time, times, **options)

    def refit(self, *, terms: Any = None, weights: Any = None) -> CoxFit:
        """Fit again on the same rows and risk sets, with other weights or fewer terms; see `refit`."""
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
        """Cluster sandwich in one or more dimensions; see `vcov.cluster_vcov`."""
        from coalition_exit.survival.inference import vcov

        return vcov.cluster_vcov(self.state, clusters, correction, psd)

    def vcov_robust(self, correction: str = "stata") -> ClusterVcov:
        """Sandwich with each subject its own cluster; see `vcov.robust_vcov`."""
        from coalition_exit.survival.inference import vcov

        return vcov.robust_vcov(self.state, correction)

    def few_clusters(self, method: str = "fay_graubard", **options: Any) -> Any:
        """Bias-reduced sandwich with its degrees of freedom, named by its paper; see `fewclusters`."""
        from coalition_exit.survival.inference import fewclusters

        return fewclusters.few_clusters(self.state, method, **self._clusters(options))

    def jackknife(self, **options: Any) -> Any:
        """Cluster jackknife, exact or one step; see `jackknife.jackknife`."""
        from coalition_exit.survival.inference import jackknife

        return jackknife.jackknife(self.state, **self._clusters(options))

    def bootstrap(self, n_boot: int, *, seed: int, **options: Any) -> Any:
        """Cluster bootstrap, all replicates solved together; see `bootstrap.cluster_bootstrap`."""
        from coalition_exit.survival.inference import bootstrap

        return bootstrap.cluster_bootstrap(self.state, n_boot, seed=seed, **self._clusters(options))

    def score_bootstrap(self, n_boot: int = 9999, *, seed: int, **options: Any) -> Any:
        """Score (wild) cluster bootstrap of p values; see `bootstrap.score_bootstrap`."""
        from coalition_exit.survival.inference import bootstrap

        return bootstrap.score_bootstrap(self.state, n_boot, seed=seed, **self._clusters(options))
