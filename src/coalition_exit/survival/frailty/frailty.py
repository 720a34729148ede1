"""Cox model with a shared frailty by cluster, gamma or log-normal, and inference on its variance."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import chdtrc, chdtri

from coalition_exit.errors import DataError, FitError, nearest, one_of
from coalition_exit.survival.cox.partial import PartialLikelihood
from coalition_exit.survival.cox.risksets import prepare_risk_sets
from coalition_exit.survival.cox.solver import Solution, maximize
from coalition_exit.survival.data.complete_rows import codes_of, complete_rows
from coalition_exit.survival.data.design import Design, build_design
from coalition_exit.survival.data.dropped import missing_by_column
from coalition_exit.survival.data.surv import Floats, check_episodes
from coalition_exit.survival.data.timefix import join_near_times
from coalition_exit.survival.fit import Fit
from coalition_exit.survival.frailty.frailty_likelihood import FrailtyLikelihood, Penalty
from coalition_exit.survival.frailty.frailty_profile import THETA_LAST, FrailtyProfile, frailty_variances

TIES = ("breslow", "efron")
METHODS = {"gamma": ("ml",), "gaussian": ("reml", "ml")}
# R's coxph takes the diagonal approximation to the frailty block with more clusters than this.
_SPARSE_FROM = 5


@dataclass(frozen=True, eq=False)
class VarianceTest:
    """Likelihood-ratio test that the frailty has no variance.

    Attributes
    ----------
    statistic : float
        2 (maximum over theta of the marginal log-likelihood - Cox log partial likelihood).
    p_value : float
        From the 50:50 mixture of chi2(0) and chi2(1), as 0 is on the edge of the parameter space.
    theta : float
        Where the marginal likelihood is largest.
    loglik, loglik_cox : float
        Marginal log-likelihood there, and without frailty.
    likelihood : str
        Name of the marginal likelihood.
    """

    statistic: float
    p_value: float
    theta: float
    loglik: float
    loglik_cox: float
    likelihood: str


@dataclass(frozen=True, eq=False)
class ThetaInterval:
    """Profile-likelihood interval of the frailty variance; ``high`` may be infinite, ``low`` 0."""

    theta: float
    low: float
    high: float
    level: float
    likelihood: str


@dataclass(frozen=True, eq=False, kw_only=True)
class FrailtyFit(Fit):
    """Estimates of a Cox model with shared frailty.

    Standard errors take theta as known, as R's do.

    Attributes
    ----------
    theta : float
        Variance of the frailty (gamma, mean 1) or of the log-frailty (gaussian, mean 0).
    distribution, ties : str
    method : str
        How theta was found: "ml", "reml" or "fixed".
    sparse : bool
        Whether the information of the frailties is taken as diagonal.
    loglik : float
        Marginal log-likelihood at theta (R's I-likelihood for gamma; Laplace's for gaussian).
    loglik_partial : float
        Log partial likelihood at the coefficients and frailties (R's ``fit$loglik[2]``).
    loglik_cox : float
        Log partial likelihood of the model without frailty.
    loglik_null : float
        The same with all coefficients 0.
    df_frailty : float
        Effective degrees of freedom of the frailties.
    clusters : tuple
        Labels of the G clusters.
    covariance_gray : ndarray, shape (p, p)
        Gray's covariance (R's ``var2``).
    rows_are_subjects : bool
        Whether start-stop rows came without ``id``, so that each counts as a subject.
    """

    theta: float
    distribution: str
    ties: str
    method: str
    sparse: bool
    loglik_partial: float
    loglik_cox: float
    df_frailty: float
    clusters: tuple[object, ...] = field(repr=False)
    log_frailty: Floats = field(repr=False)
    log_frailty_variance: Floats = field(repr=False)
    covariance_gray: Floats = field(repr=False)
    profile: FrailtyProfile = field(repr=False)
    rows_are_subjects: bool = False
    estimator: str = "cox_frailty"

    @property
    def title(self) -> str:
        name = "gamma" if self.distribution == "gamma" else "log-normal"
        found = {"ml": "", "reml": ", REML", "fixed": ", fixed"}[self.method]
        return f"Cox model with shared {name} frailty ({self.ties} ties), variance {self.theta:.4g}{found}"

    @property
    def frailty(self) -> pd.DataFrame:
        """One row a cluster: log-frailty, its standard error (0 when theta is 0), frailty."""
        return pd.DataFrame(
            {
                "log_frailty": self.log_frailty,
                "std_error": np.sqrt(self.log_frailty_variance),
                "frailty": np.exp(self.log_frailty),
            },
            index=pd.Index(list(self.clusters), name="cluster"),
        )

    def variance_test(self) -> VarianceTest:
        """Test theta = 0 by the marginal likelihood (gaussian: Laplace's, whatever found theta).

        References
        ----------
        Self, S. G. and Liang, K.-Y. (1987), JASA 82, 605-610.
        """
        theta = self.theta if self.method == "ml" else self.profile.maximize()
        loglik = self.profile.loglik(theta)
        statistic = max(2 * (loglik - self.loglik_cox), 0.0)
        p_value = 0.5 * float(chdtrc(1, statistic)) if statistic > 0 else 1.0
        return VarianceTest(statistic, p_value, theta, loglik, self.loglik_cox, self.profile.name)

    def theta_interval(self, level: float = 0.95) -> ThetaInterval:
        """Thetas that a likelihood-ratio test with chi2(1) keeps at ``level``."""
        if not 0 < level < 1:
            raise DataError("level", "a number between 0 and 1", repr(level))
        from scipy.optimize import brentq  # slow to import

        theta = self.theta if self.method == "ml" else self.profile.maximize()
        floor = self.profile.loglik(theta) - 0.5 * float(chdtri(1, 1 - level))

        def above(value: float) -> float:
            return self.profile.loglik(value) - floor

        low = 0.0
        if theta > 0 and above(0.0) < 0:
            low = float(brentq(above, 0.0, theta, xtol=1e-12, rtol=1e-10))
        reach = max(2 * theta, 0.01)
        while above(reach) > 0 and reach < THETA_LAST:
            reach *= 2
        high = np.inf if above(reach) > 0 else float(brentq(above, theta, reach, xtol=1e-12, rtol=1e-10))
        return ThetaInterval(theta, low, high, level, self.profile.name)

    @property
    def _glance(self) -> tuple[str, ...]:
        common = super()._glance
        extra = ("distribution", "ties", "method", "theta", "df_frailty", "loglik_partial", "loglik_cox")
        return (common[0], *extra, *common[1:])

    @property
    def clustering(self) -> str:
        return f"{self.n_cluster} clusters that share a frailty"

    @property
    def notes(self) -> tuple[str, ...]:
        found = f"marginal log-likelihood {self.loglik:.4f} (no frailty {self.loglik_cox:.4f})"
        rows = ("each row counts as a subject (no id)",) if self.rows_are_subjects else ()
        return (found, *super().notes[1:], *rows, "standard errors take the frailty's variance as known")


@dataclass(frozen=True)
class SharedFrailty:
    """Cox model with one random intercept per cluster.

    Parameters
    ----------
    distribution
        "gamma" (frailty of mean 1 and variance theta) or "gaussian" (log-frailty of mean 0 and
        variance theta, hence log-normal frailty).
    ties
        "efron" (R's default) or "breslow".
    method
        How theta is found. gamma: "ml", the maximum of the marginal likelihood (R's ``frailty``
        reaches it by EM). gaussian: "reml" (default; R's ``frailty(distribution = "gaussian")``) or
        "ml", the maximum of Laplace's integrated partial likelihood (Ripatti and Palmgren 2000;
        the likelihood of R's coxme).
    theta
        A number fixes the variance.
    sparse
        True takes the frailties' information as diagonal in standard errors, in Laplace's
        likelihood and in REML; estimates at a given theta never depend on it. None is R's rule:
        True with more than five clusters. False forms a G x G matrix.
    max_iter, tolerance
        Newton's, at each theta.
    timefix
        As in `CoxPH`.

    References
    ----------
    Therneau, Grambsch and Pankratz (2003), JCGS 12, 156-175; Ripatti and Palmgren (2000),
    Biometrics 56, 1016-1022; McGilchrist (1993), Biometrics 49, 221-225.
    """

    distribution: str = "gamma"
    ties: str = "efron"
    method: str | None = None
    theta: float | None = None
    sparse: bool | None = None
    max_iter: int = 100
    tolerance: float = 1e-14
    timefix: bool = True

    def __post_init__(self) -> None:
        for name, value, valid in (("distribution", self.distribution, tuple(METHODS)), ("ties", self.ties, TIES)):
            if value not in valid:
                raise DataError(name, one_of(valid), repr(value), nearest(str(value), valid))
        valid = METHODS[self.distribution]
        if self.method is not None and self.method not in valid:
            raise DataError(f"method of a {self.distribution} frailty", one_of(valid), repr(self.method))
        if self.theta is not None and not (np.isfinite(self.theta) and self.theta >= 0):
            raise DataError("theta", "a number >= 0, or None to estimate it", repr(self.theta))

    def fit(
        self,
        formula: str,
        data: pd.DataFrame,
        *,
        cluster: str | ArrayLike,
        id: str | ArrayLike | None = None,
        weights: str | ArrayLike | None = None,
        offset: str | ArrayLike | None = None,
        missing: str = "error",
    ) -> FrailtyFit:
        """Fit the model.

        Parameters
        ----------
        formula, data, id, weights, offset, missing
            As in `CoxPH.fit`. A case weight of 2 equals the row twice in its cluster (with Breslow
            ties), so gamma's marginal likelihood counts weighted events.
        cluster
            Cluster of each row: its frailty is shared within. Not the cluster of a sandwich.

        Raises
        ------
        DataError
            The data cannot be used, or there are fewer than two clusters.
        FitError
            No estimate: see `CoxPH.fit`; or theta grows without end.
        """
        beside = {"cluster": cluster, "id": id, "weights": weights, "offset": offset}
        rows, columns, n_dropped = complete_rows(formula, data, beside, missing)
        codes, labels = codes_of(columns["cluster"], "cluster")
        if len(labels) < 2:
            raise DataError("cluster", "at least two clusters", str(len(labels)))
        design = build_design(
            formula, rows, id=columns.get("id"), weights=columns.get("weights"), offset=columns.get("offset")
        )
        n_joined = 0
        if self.timefix:
            surv, n_joined = join_near_times(design.surv)
            design = replace(design, surv=surv)
        base = _base_likelihood(design, self.ties)
        cox = maximize(base, design.names, self.max_iter, self.tolerance)
        profile = FrailtyProfile(
            FrailtyLikelihood(_centred_in_risk_sets(base), codes[base.risk_sets.rows], len(labels)),
            self.distribution,
            len(labels) > _SPARSE_FROM if self.sparse is None else self.sparse,
            cox.beta,
            cox.at.loglik,
            self.max_iter,
            self.tolerance,
        )
        theta, method = self._theta(profile)
        found = _estimate(profile, theta, cox)
        return FrailtyFit(
            terms=design.names,
            beta=found.beta,
            covariance=found.covariance,
            model_covariance=found.covariance.copy(),
            covariance_gray=found.gray,
            loglik=profile.loglik(theta),
            loglik_partial=found.loglik_partial,
            loglik_null=cox.null.loglik,
            loglik_cox=cox.at.loglik,
            n_obs=len(design.surv),
            n_subject=design.n_subject,
            n_event=int(design.surv.event.sum()),
            n_cluster=len(labels),
            n_dropped=n_dropped,
            n_iter=found.n_iter,
            rows_are_subjects=design.id is None and design.surv.is_counting,
            formula=formula,
            theta=theta,
            distribution=self.distribution,
            ties=self.ties,
            method=method,
            sparse=profile.sparse,
            df_frailty=found.df_frailty,
            clusters=tuple(labels),
            log_frailty=found.log_frailty,
            log_frailty_variance=found.variance,
            profile=profile,
            dropped=missing_by_column(formula, data, beside) if n_dropped else (),
            n_joined=n_joined,
        )

    def _theta(self, profile: FrailtyProfile) -> tuple[float, str]:
        if self.theta is not None:
            return float(self.theta), "fixed"
        method = self.method or METHODS[self.distribution][0]
        return (profile.reml() if method == "reml" else profile.maximize()), method


def _base_likelihood(design: Design, ties: str) -> PartialLikelihood:
    if design.id is not None:
        check_episodes(design.surv, design.id, design.id_labels)
    if not design.surv.event.any():
        raise FitError("no_events", f"no events among {len(design.surv)} rows")
    risk_sets = prepare_risk_sets(design.surv, design.strata)
    at_risk = risk_sets.rows
    weights = None if design.weights is None else design.weights[at_risk]
    if weights is not None and not (weights[risk_sets.event] > 0).any():
        raise FitError("no_events", "no events with positive weight")
    x = np.ascontiguousarray(design.x[at_risk])
    offset = None if design.offset is None else design.offset[at_risk]
    center = x.mean(axis=0) if weights is None else (weights @ x) / weights.sum()
    return PartialLikelihood(risk_sets, x - center, weights, offset, ties)


def _centred_in_risk_sets(base: PartialLikelihood) -> PartialLikelihood:
    """Take out the covariates' means of each risk set where every row is at risk once.

    The likelihood stays as it is, and covariates that follow calendar time closely keep their digits.
    """
    rs = base.risk_sets
    total = rs.sum_at_risk(np.array(base.weights))
    if not (rs.first == rs.last).all() or not (total > 0).all():
        return base
    mean = rs.sum_at_risk(base.weights[:, None] * base.x) / total[:, None]
    weights = np.array(base.weights)
    return PartialLikelihood(rs, base.x - mean[rs.last], weights, base.offset, base.ties)


@dataclass(frozen=True, eq=False)
class _Estimate:
    beta: Floats
    covariance: Floats
    gray: Floats
    log_frailty: Floats
    variance: Floats
    df_frailty: float
    loglik_partial: float
    n_iter: int


def _estimate(profile: FrailtyProfile, theta: float, cox: Solution) -> _Estimate:
    n_cluster = profile.likelihood.n_cluster
    if theta == 0:
        zero, inverse = np.zeros(n_cluster), cox.inverse
        return _Estimate(
            cox.beta.copy(), inverse.copy(), inverse.copy(), zero, zero.copy(), 0.0, cox.at.loglik, cox.iterations
        )
    solved = profile.solve(theta)
    penalty = Penalty(profile.distribution, theta)
    covariance, variance, gray = frailty_variances(
        profile.likelihood, solved.at, penalty, solved.frailty, profile.sparse
    )
    df = n_cluster - float(variance @ penalty.second(solved.frailty))
    return _Estimate(
        solved.beta.copy(), covariance, gray, solved.frailty.copy(), variance, df, solved.at.loglik, solved.iterations
    )
