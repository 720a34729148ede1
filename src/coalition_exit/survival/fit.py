"""The immutable result of an estimation."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.stats import norm

from coalition_exit.errors import DataError
from coalition_exit.survival.surv import Floats

TIDY_COLUMNS = ("term", "estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high")


@dataclass(frozen=True, eq=False)
class CoxFit:
    """Estimates of a Cox model; nothing in it can be changed.

    Attributes
    ----------
    terms : tuple of str
        Names of the p covariates.
    loglik, loglik_null : float
        Log partial likelihood at the estimate and at 0.
    n_obs, n_subject, n_event, n_cluster : int
        Rows, subjects, events, clusters (``n_cluster`` is None without clusters).
    n_dropped : int
        Rows left out for missing values.
    n_at_risk_rows : int
        Rows at risk at an event time, the ones the likelihood depends on.
    ties, correction : str
        Tie method; small-sample convention of the cluster sandwich (None without clusters).
    n_iter : int
        Newton iterations.
    """

    terms: tuple[str, ...]
    beta: Floats = field(repr=False)
    covariance: Floats = field(repr=False)
    model_covariance: Floats = field(repr=False)
    loglik: float
    loglik_null: float
    n_obs: int
    n_subject: int
    n_event: int
    n_cluster: int | None
    n_dropped: int
    n_at_risk_rows: int
    ties: str
    correction: str | None
    n_iter: int
    formula: str = ""
    estimator: str = "cox"
    converged: bool = True

    def __post_init__(self) -> None:
        for array in (self.beta, self.covariance, self.model_covariance):
            array.setflags(write=False)

    @property
    def coef(self) -> pd.Series:
        """Coefficients (log hazard ratios), labelled by term."""
        return pd.Series(self.beta.copy(), index=list(self.terms), name="coef")

    @property
    def std_error(self) -> pd.Series:
        """Standard errors: the roots of the diagonal of `vcov`."""
        return pd.Series(np.sqrt(np.diag(self.covariance)), index=list(self.terms), name="std_error")

    @property
    def vcov(self) -> pd.DataFrame:
        """Covariance used for inference: the cluster sandwich if there are clusters."""
        return self._labelled(self.covariance)

    @property
    def vcov_model(self) -> pd.DataFrame:
        """Inverse of the observed information."""
        return self._labelled(self.model_covariance)

    def _labelled(self, matrix: Floats) -> pd.DataFrame:
        return pd.DataFrame(matrix.copy(), index=list(self.terms), columns=list(self.terms))

    def tidy(self, exponentiate: bool = False, level: float = 0.95) -> pd.DataFrame:
        """One row a term: estimate, standard error, z, p value, Wald interval.

        Parameters
        ----------
        exponentiate
            Give hazard ratios; the standard error is then the delta method's.
        level
            Confidence level of the interval.
        """
        if not 0 < level < 1:
            raise DataError("level", "a number between 0 and 1", repr(level))
        estimate, error = self.beta, np.sqrt(np.diag(self.covariance))
        statistic = estimate / error
        reach = norm.ppf(0.5 + level / 2) * error
        low, high = estimate - reach, estimate + reach
        p_value = 2 * norm.sf(np.abs(statistic))
        if exponentiate:
            estimate, low, high = np.exp(estimate), np.exp(low), np.exp(high)
            error = error * estimate
        columns = (list(self.terms), estimate, error, statistic, p_value, low, high)
        return pd.DataFrame(dict(zip(TIDY_COLUMNS, columns, strict=True)))

    def glance(self) -> pd.DataFrame:
        """One row: the model's counts, log-likelihoods and conventions."""
        names = (
            "estimator ties correction n_obs n_subject n_event n_cluster n_dropped loglik loglik_null converged n_iter"
        )
        return pd.DataFrame({name: [getattr(self, name)] for name in names.split()})

    def __str__(self) -> str:
        clusters = f", {self.n_cluster} clusters ({self.correction})" if self.n_cluster else ""
        head = (
            f"Cox model ({self.ties} ties): {self.n_obs} rows, {self.n_subject} subjects, "
            f"{self.n_event} events{clusters}"
        )
        table = self.tidy().to_string(index=False, float_format=lambda v: f"{v:.4g}")
        return f"{head}\n{table}\nlog-likelihood {self.loglik:.4f} (null {self.loglik_null:.4f})"

    def _repr_html_(self) -> str:
        table = self.tidy().to_html(index=False, float_format=lambda v: f"{v:.4g}")
        return f"<p>{str(self).splitlines()[0]}</p>{table}"
