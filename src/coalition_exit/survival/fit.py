"""The immutable result of an estimation."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from coalition_exit.errors import DataError, nearest, one_of
from coalition_exit.survival.data.dropped import dropped_text
from coalition_exit.survival.data.surv import Floats
from coalition_exit.survival.maketables_plugin import MaketablesMixin
from coalition_exit.survival.shown import Shown, number

if TYPE_CHECKING:
    pass

INTERVALS = ("wald", "profile")
TIDY_COLUMNS = ("term", "estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high")


@dataclass(frozen=True, eq=False, kw_only=True)
class Fit(Shown, MaketablesMixin):
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
    dropped : tuple of (str, int)
        Missing values by column, where they are known; a row may have several.
    n_joined : int
        Distinct times that differed from another by rounding only and were joined to it.
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
    dropped: tuple[tuple[str, int], ...] = ()
    n_joined: int = 0

    def __post_init__(self) -> None:
        for array in (self.beta, self.covariance, self.model_covariance):
            array.setflags(write=False)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A pickled array forgets that it cannot be changed.
        vars(self).update(state)
        self.__post_init__()

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

    def tidy(self, exponentiate: bool = False, level: float = 0.95, intervals: str = "wald") -> pd.DataFrame:
        """One row a term: estimate, standard error, statistic, p value, interval.

        Parameters
        ----------
        exponentiate
            Give exp(estimate); the standard error is then the delta method's.
        level
            Confidence level of the interval.
        intervals
            "wald": z, its p value, estimate -+ z se. "profile", for Cox models without clusters: interval and p value
            of the (penalized) likelihood ratio; the statistic is its signed root, which is compared with a standard
            normal like z.

        Raises
        ------
        DataError
            An unknown name, a level outside (0, 1), or a model without such intervals.
        """
        if not 0 < level < 1:
            raise DataError("level", "a number between 0 and 1", repr(level))
        if intervals not in INTERVALS:
            raise DataError("intervals", one_of(INTERVALS), repr(intervals), nearest(str(intervals), INTERVALS))
        estimate, error = self.beta, np.sqrt(np.diag(self.covariance))
        with np.errstate(divide="ignore", invalid="ignore"):  # a sandwich may have errors of 0
            statistic = estimate / error
        reach = ndtri(0.5 + level / 2) * error
        low, high = estimate - reach, estimate + reach
        p_value = 2 * ndtr(-np.abs(statistic))
        if intervals == "profile":
            statistic, p_value, low, high = self._profile(level)
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

    def _profile(self, level: float) -> tuple[Floats, Floats, Floats, Floats]:
        """Signed root, p value and limits of the profile likelihood."""
        raise DataError("intervals", "'wald' after this model", "'profile'")

    @property
    def clustering(self) -> str:
        """The clusters and their small-sample convention in words; empty without clusters."""
        return f"{self.n_cluster} clusters ({self.correction})" if self.n_cluster else ""

    @property
    def heading(self) -> str:
        clusters = f", {self.clustering}" if self.clustering else ""
        return f"{self.title}: {self.n_obs} rows, {self.n_subject} subjects, {self.n_event} events{clusters}"

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines printed under the table: log-likelihoods, what was dropped and why, conventions."""
        joined = f"{self.n_joined} times joined to one from which they differ by rounding only" if self.n_joined else ""
        found = f"log-likelihood {self.loglik:.4f} (null {self.loglik_null:.4f})"
        return tuple(note for note in (found, dropped_text(self.n_dropped, self.dropped), joined) if note)

    def summary(self, exponentiate: bool = False, level: float = 0.95, intervals: str = "wald") -> str:
        """Return the model, its `tidy` table and its conventions as text, intervals named."""
        table = "no covariates"
        if self.terms:
            table = self.tidy(exponentiate, level, intervals).to_string(index=False, float_format=number)
        errors = "cluster-robust" if self.correction is not None else "model-based"
        kind = "Wald" if intervals == "wald" else "profile likelihood"
        last = (
            f"standard errors {errors}; {100 * level:g}% intervals: {kind}{'; exp(estimate)' if exponentiate else ''}"
        )
        return "\n".join([self.heading, table, *self.notes, last])

    def __str__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        table = self.tidy().to_html(index=False, float_format=number)
        notes = "".join(f"<br>{html.escape(note)}" for note in self.notes)
        return f"<p>{html.escape(self.heading)}</p>{table}<p>{notes[4:]}</p>"
