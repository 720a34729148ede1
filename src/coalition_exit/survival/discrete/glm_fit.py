"""The result of a binary-outcome regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import chdtrc

from coalition_exit.errors import DataError, FitError, nearest, one_of
from coalition_exit.survival.data.surv import Floats, Integers
from coalition_exit.survival.discrete.effects import Direction, average_effects, find_directions
from coalition_exit.survival.discrete.glm_links import get_link
from coalition_exit.survival.discrete.glm_predict import covariate_rows, probabilities
from coalition_exit.survival.discrete.glm_profile import profile_likelihood
from coalition_exit.survival.discrete.glm_solver import BinaryData
from coalition_exit.survival.fit import Fit
from coalition_exit.survival.ratios import ratio_columns

CONSTANT = "_cons"


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class BinaryFit(Fit):
    """Estimates of a binary-outcome model: `Fit` with the link and the arrays behind it.

    Attributes
    ----------
    link : str
        "logit", "cloglog" or "probit".
    information : str
        Information matrix behind `vcov_model` and the bread of the sandwich: "observed" (Stata's)
        or "expected" (R's ``glm``); the same for the logit.
    firth : bool
        Firth's penalized likelihood; ``loglik`` and ``loglik_null`` are then penalized.
    rows : BinaryData
        Design matrix (constant last), outcomes, weights and offset.
    clusters : ndarray of int or None
        Cluster of each row.
    cluster_name : str
        Name of the cluster column, where it is known.
    """

    link: str
    information: str = "observed"
    firth: bool = False
    rows: BinaryData | None = field(default=None, repr=False)
    clusters: Integers | None = field(default=None, repr=False)
    cluster_name: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        arrays = () if self.rows is None else (self.rows.x, self.rows.y, self.rows.weights, self.rows.offset)
        for array in (*arrays, self.clusters):
            if array is not None and array.base is None:
                array.setflags(write=False)

    @property
    def ratio(self) -> str:
        """What exp(coefficient) is: "odds ratio" (logit), "hazard ratio" (cloglog), "" (probit)."""
        return get_link(self.link).ratio

    @property
    def clustering(self) -> str:
        text = super().clustering
        return text.replace(" clusters", f" clusters of {self.cluster_name}") if self.cluster_name else text

    @property
    def notes(self) -> tuple[str, ...]:
        """As `Fit.notes`, and what exp(estimate) is."""
        ratio = f"exp(estimate) is the {self.ratio}" if self.ratio else "exp(estimate) has no meaning"
        return (*super().notes, f"link {self.link}: {ratio}; {self.information} information")

    def tidy(self, exponentiate: bool = False, level: float = 0.95, intervals: str = "wald") -> pd.DataFrame:
        """`Fit.tidy`; ``exponentiate`` gives odds ratios of a logit, hazard ratios of a cloglog.

        Raises
        ------
        DataError
            ``exponentiate`` with a probit, whose coefficients have no ratio; ``intervals`` "profile" with
            clusters, of which the likelihood does not know.
        """
        if exponentiate and not self.ratio:
            raise DataError("exponentiate", "link 'logit' (odds ratios) or 'cloglog' (hazard ratios)", "a probit")
        return super().tidy(exponentiate, level, intervals)

    def _profile(self, level: float) -> tuple[Floats, Floats, Floats, Floats]:
        if self.n_cluster:
            expected = "'wald' with clusters: the likelihood takes the rows of a cluster as independent"
            raise DataError("intervals", expected, "'profile'", "profile() gives the model-based ones")
        table = self.profile(list(self.terms), level)
        root = np.sign(self.beta) * np.sqrt(table["statistic"].to_numpy(dtype=float))
        p_value, low, high = (table[name].to_numpy(dtype=float) for name in ("p_value", "conf_low", "conf_high"))
        return root, p_value, low, high

    @property
    def __maketables_coef_table__(self) -> pd.DataFrame:
        """One row a term; exp(b) as ``or`` for odds ratios, ``hr`` for hazard ratios."""
        return ratio_columns(self, {"odds ratio": "or", "hazard ratio": "hr"}.get(self.ratio, ""))

    @property
    def title(self) -> str:
        return f"{_title(self.link, self.firth)} regression, {self.information} information"

    @property
    def events_per_variable(self) -> float:
        """Events (or non-events, if those are fewer) per coefficient other than the constant."""
        others = len(self.terms) - 1
        return min(self.n_event, self.n_obs - self.n_event) / others if others else float("nan")

    @property
    def pseudo_r2(self) -> float:
        """McFadden's 1 - loglik / loglik_null; nan under Firth's penalty."""
        return float("nan") if self.firth else 1.0 - self.loglik / self.loglik_null

    @property
    def n_parameters(self) -> int:
        """Estimated parameters."""
        return len(self.terms)

    @property
    def aic(self) -> float:
        """-2 loglik + 2 parameters."""
        return -2 * self.loglik + 2 * self.n_parameters

    @property
    def bic(self) -> float:
        """-2 loglik + log(rows) parameters."""
        return float(-2 * self.loglik + np.log(self.n_obs) * self.n_parameters)

    @property
    def _glance(self) -> tuple[str, ...]:
        return (
            "estimator", "information", "correction", "n_obs", "n_subject", "n_event", "n_cluster", "n_dropped",
            "events_per_variable", "loglik", "loglik_null", "pseudo_r2", "aic", "bic", "converged", "n_iter",
        )  # fmt: skip

    @property
    def fitted(self) -> Floats:
        """P(outcome) of every row, shape (n_obs,)."""
        rows = self._rows()
        return get_link(self.link).inverse(rows.eta(self.beta))

    def _rows(self) -> BinaryData:
        if self.rows is None:
            raise DataError("fit", "a fit that carries its rows", "one without")
        return self.rows

    def _positions(self, terms: str | Sequence[str] | None, default: Sequence[str]) -> list[int]:
        chosen = [terms] if isinstance(terms, str) else list(default if terms is None else terms)
        for term in chosen:
            if term not in self.terms:
                raise DataError("terms", one_of(self.terms), repr(term), nearest(str(term), self.terms))
        return [self.terms.index(term) for term in chosen]

    def profile(self, terms: str | Sequence[str] | None = None, level: float = 0.95) -> pd.DataFrame:
        """Profile-likelihood intervals and likelihood-ratio tests; penalized ones for a Firth fit.

        Parameters
        ----------
        terms
            All by default.
        level
            Confidence level.

        Returns
        -------
        DataFrame
            term, estimate, statistic (chi-squared, 1 df, for the coefficient being 0), p_value,
            conf_low, conf_high. They do not know of clusters.

        References
        ----------
        Heinze, G. and Schemper, M. (2002), Statistics in Medicine 21, 2409-2419.
        """
        if not 0 < level < 1:
            raise DataError("level", "a number between 0 and 1", repr(level))
        at = self._positions(terms, self.terms)
        found = profile_likelihood(self._rows(), self.terms, self.beta, at, firth=self.firth, level=level)
        return pd.DataFrame(
            {
                "term": [self.terms[j] for j in at],
                "estimate": self.beta[at],
                "statistic": found.statistic,
                "p_value": found.p_value,
                "conf_low": found.low,
                "conf_high": found.high,
            }
        )

    def wald_test(self, terms: str | Sequence[str] | None = None) -> pd.Series:
        """Wald test that the named coefficients (all but the constant by default) are 0.

        Returns
        -------
        Series
            statistic (chi-squared), df, p_value.

        Raises
        ------
        FitError
            "no_test": the covariance of these coefficients is singular, as with fewer clusters
            than coefficients.
        """
        at = self._positions(terms, [t for t in self.terms if t != CONSTANT])
        part = self.covariance[np.ix_(at, at)]
        rank = np.linalg.matrix_rank(part / np.sqrt(np.outer(np.diag(part), np.diag(part)))) if at else 0
        if not at or rank < len(at):
            raise FitError("no_test", f"the covariance of these {len(at)} coefficients has rank {rank}")
        statistic = float(self.beta[at] @ np.linalg.solve(part, self.beta[at]))
        return pd.Series({"statistic": statistic, "df": len(at), "p_value": float(chdtrc(len(at), statistic))})

    def average_effects(
        self, terms: str | Sequence[str] | None = None, *, discrete: str | Sequence[str] = (), level: float = 0.95
    ) -> pd.DataFrame:
        """Average marginal effects: the change in the probability of the event, averaged over the rows.

        Parameters
        ----------
        terms
            Terms of the formula, all by default.
        discrete
            Those for which the change is that from 0 to 1, as for indicators and levels of a factor
            (against its base); for the others it is the derivative, as Stata's ``margins, dydx()``.
        level
            Confidence level.

        Returns
        -------
        DataFrame
            term, change ("derivative" or "0 to 1"), estimate, std_error (delta method, the rows taken
            as given), statistic, p_value, conf_low, conf_high.

        Raises
        ------
        DataError
            Unknown terms; a term that shares a variable with another one, as in a product.
        """
        names, given = self._covariates, (discrete,) if isinstance(discrete, str) else tuple(discrete)
        chosen = [terms] if isinstance(terms, str) else list(names if terms is None else terms)
        for role, wanted in (("terms", chosen), ("discrete", given)):
            for term in wanted:
                if term not in names:
                    raise DataError(role, one_of(names), repr(term), nearest(str(term), names))
        rows = self._rows()
        directions = find_directions(chosen, names, rows.x, given, self._products())
        return self._effects(directions, given, level)

    def _effects(self, directions: dict[str, Direction], discrete: Sequence[str], level: float) -> pd.DataFrame:
        return average_effects(self._rows(), self.beta, self.covariance, directions, discrete, level)

    @property
    def _covariates(self) -> tuple[str, ...]:
        return self.terms[:-1]

    def _products(self) -> dict[str, dict[int, Floats]]:
        return {}

    def predict(
        self,
        at: Mapping[str, Any] | pd.DataFrame | None = None,
        *,
        others: str = "error",
        level: float = 0.95,
        offset: float = 0.0,
    ) -> pd.DataFrame:
        """Probability of the outcome at covariate values, with delta-method intervals.

        Parameters
        ----------
        at
            Values by term (numbers or sequences), one row of the result for each.
        others
            For terms that ``at`` leaves out: "error", or their "mean" or "median" in the data.
        level
            Confidence level.
        offset
            Added to the linear predictor.

        Returns
        -------
        DataFrame
            The values, probability, std_error (delta method), and an interval that is formed for
            the linear predictor and transformed, so that it stays between 0 and 1.
        """
        names = self.terms[:-1]
        frame = covariate_rows(at, names, self._rows().x[:, :-1], others)
        x = np.column_stack([frame.to_numpy(dtype=float), np.ones(len(frame))])
        found = probabilities(x, self.beta, self.covariance, get_link(self.link), level, offset)
        return frame.assign(
            probability=found.hazard, std_error=found.std_error, conf_low=found.low, conf_high=found.high
        )


def _title(link: str, firth: bool) -> str:
    name = {"logit": "Logit", "cloglog": "Complementary log-log", "probit": "Probit"}[link]
    return f"Firth's {name.lower()}" if firth else name
