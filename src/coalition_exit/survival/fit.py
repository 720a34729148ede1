"""The immutable result of an estimation."""

from __future__ import annotations

import html
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.stats import norm

from coalition_exit.errors import DataError
from coalition_exit.survival.state import CoxState
from coalition_exit.survival.surv import Floats

TIDY_COLUMNS = ("term", "estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high")


@dataclass(frozen=True, eq=False, kw_only=True)
class Fit:
    """Estimates of a model; nothing in it can be changed.

    Attributes
    ----------
    terms : tuple of str
        Names of the p coefficients.
    loglik, loglik_null : float
        Log-likelihood at the estimate and of the null model.
    n_obs, n_subject, n_event, n_cluster : int
        Rows, subjects, events, clusters (``n_cluster`` is None without clusters).
    n_dropped : int
        Rows left out for missing values.
    correction : str or None
        Small-sample convention of the cluster-robust errors (None without clusters).
    n_iter : int
        Iterations of the solver.
    estimator : str
        Short name of the estimator, as in ``models.csv``.
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
    n_cluster: int | None = None
    n_dropped: int = 0
    correction: str | None = None
    n_iter: int = 0
    formula: str = ""
    estimator: str = ""
    converged: bool = True

    def __post_init__(self) -> None:
        for array in (self.beta, self.covariance, self.model_covariance):
            array.setflags(write=False)

    @property
    def title(self) -> str:
        """One line that names the model and its conventions."""
        return self.estimator

    @property
    def coef(self) -> pd.Series:
        """Coefficients, labelled by term."""
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
            Give exp(estimate); the standard error is then the delta method's.
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
        return pd.DataFrame({name: [getattr(self, name)] for name in self._glance})

    @property
    def _glance(self) -> tuple[str, ...]:
        return (
            "estimator", "correction", "n_obs", "n_subject", "n_event", "n_cluster", "n_dropped",
            "loglik", "loglik_null", "converged", "n_iter",
        )  # fmt: skip

    def __str__(self) -> str:
        clusters = f", {self.n_cluster} clusters ({self.correction})" if self.n_cluster else ""
        head = f"{self.title}: {self.n_obs} rows, {self.n_subject} subjects, {self.n_event} events{clusters}"
        table = self.tidy().to_string(index=False, float_format=lambda v: f"{v:.4g}")
        return f"{head}\n{table}\nlog-likelihood {self.loglik:.4f} (null {self.loglik_null:.4f})"

    def _repr_html_(self) -> str:
        table = self.tidy().to_html(index=False, float_format=lambda v: f"{v:.4g}")
        return f"<p>{html.escape(str(self).splitlines()[0])}</p>{table}"


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
    """

    ties: str
    n_at_risk_rows: int
    estimator: str = "cox"
    state: CoxState | None = field(default=None, repr=False)

    @property
    def title(self) -> str:
        return f"Cox model ({self.ties} ties)"

    @property
    def _glance(self) -> tuple[str, ...]:
        common = super()._glance
        return (common[0], "ties", *common[1:])
