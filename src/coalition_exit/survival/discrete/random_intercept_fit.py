"""The result of a discrete-time hazard model with a normal random intercept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from coalition_exit.errors import DataError, nearest, one_of
from coalition_exit.survival.data.surv import Floats, Integers
from coalition_exit.survival.discrete.discrete_fit import DiscreteFit
from coalition_exit.survival.discrete.effects import Direction, average_effects, normal_nodes
from coalition_exit.survival.discrete.glm_links import get_link
from coalition_exit.survival.discrete.random_intercept import RandomIntercept
from coalition_exit.survival.discrete.random_intercept_profile import profile_random_intercept

# Nodes over which effects are averaged, at least.
_NODES = 30


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class RandomInterceptFit(DiscreteFit):
    """A discrete-time hazard model with a normal random intercept by group.

    Attributes
    ----------
    sigma, sigma_std_error : float
        Standard deviation of the intercept, and its standard error (nan when sigma is 0).
    random : RandomIntercept
        Everything the quadrature gave; its covariance is model-based.
    full_covariance : ndarray, shape (p + 1, p + 1)
        Of (coefficients, log sigma); `vcov` and the errors are from it. Robust if there are clusters.
    group : str
        Name of the grouping column.
    groups : ndarray of int, shape (n_obs,)
        Code of each row's group.
    n_group, points : int
    """

    sigma: float
    sigma_std_error: float
    random: RandomIntercept = field(repr=False)
    full_covariance: Floats = field(repr=False)
    group: str
    groups: Integers = field(repr=False)
    n_group: int
    points: int

    @property
    def title(self) -> str:
        return super().title[:-1] + f"; normal random intercept by {self.group})"

    @property
    def variance(self) -> float:
        """Variance of the intercept."""
        return self.sigma**2

    @property
    def rho(self) -> float:
        """Share of the intercept in the latent variance, as in Stata's ``xtlogit`` and ``xtcloglog``."""
        return self.variance / (self.variance + get_link(self.link).latent_variance)

    @property
    def lr_statistic(self) -> float:
        """Likelihood-ratio statistic against no random intercept."""
        return self.random.statistic

    @property
    def lr_p_value(self) -> float:
        """Its p value under the half-half mixture of 0 and chi-squared with 1 df."""
        return self.random.p_value

    @property
    def n_parameters(self) -> int:
        return len(self.terms) + 1

    @property
    def _glance(self) -> tuple[str, ...]:
        return (*super()._glance, "n_group", "sigma", "sigma_std_error", "rho", "lr_statistic", "lr_p_value", "points")

    @property
    def notes(self) -> tuple[str, ...]:
        line = (
            f"sigma {self.sigma:.4g} (std. error {self.sigma_std_error:.4g}), {self.n_group} groups, {self.points} "
            f"points, test of sigma = 0: chibar2(01) = {self.lr_statistic:.4g}, p = {self.lr_p_value:.4g}"
        )
        return (*super().notes, line)

    def profile(self, terms: str | Sequence[str] | None = None, level: float = 0.95) -> pd.DataFrame:
        """Profile-likelihood intervals and likelihood-ratio tests of coefficients, ``sigma`` and ``variance``.

        Parameters
        ----------
        terms
            All coefficients, ``"sigma"`` and ``"variance"`` by default.
        level
            Confidence level.

        Returns
        -------
        DataFrame
            term, estimate, statistic, p_value, conf_low, conf_high, as `BinaryFit.profile`. The interval
            of sigma begins at 0 where a model without intercept is within reach, and its test (of
            sigma = 0) has half the chi-squared p value. They do not know of clusters.
        """
        if not 0 < level < 1:
            raise DataError("level", "a number between 0 and 1", repr(level))
        p = len(self.terms)
        known = (*self.terms, "sigma", "variance")
        chosen = [terms] if isinstance(terms, str) else list(known if terms is None else terms)
        for term in chosen:
            if term not in known:
                raise DataError("terms", one_of(known), repr(term), nearest(str(term), known))
        at = [min(known.index(term), p) for term in chosen]
        columns = sorted(set(at))
        found = profile_random_intercept(
            self._rows(), self.groups, self.terms, self.random, columns, points=self.points, level=level
        )
        rows = []
        for term, j in zip(chosen, at, strict=True):
            k = columns.index(j)
            power = 2 if term == "variance" else 1
            estimate = self.beta[j] if j < p else self.sigma**power
            ends = (found.low[k] ** power, found.high[k] ** power) if j == p else (found.low[k], found.high[k])
            rows.append((term, estimate, found.statistic[k], found.p_value[k], *ends))
        return pd.DataFrame(rows, columns=["term", "estimate", "statistic", "p_value", "conf_low", "conf_high"])

    def _effects(self, directions: dict[str, Direction], discrete: Sequence[str], level: float) -> pd.DataFrame:
        """Averaged over the intercept's distribution too, as Stata's ``margins`` after ``melogit``."""
        if not self.sigma:
            return super()._effects(directions, discrete, level)
        nodes = normal_nodes(self.sigma, max(self.points, _NODES))
        return average_effects(self._rows(), self.beta, self.full_covariance, directions, discrete, level, nodes)
