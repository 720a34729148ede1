"""The result of a discrete-time hazard model: counts, predicted hazard and survival."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from coalition_exit.errors import DataError
from coalition_exit.survival.data.periods import PeriodCounts
from coalition_exit.survival.data.surv import Floats, Integers
from coalition_exit.survival.discrete.durations import Baseline
from coalition_exit.survival.discrete.glm_fit import CONSTANT, BinaryFit
from coalition_exit.survival.discrete.glm_links import get_link
from coalition_exit.survival.discrete.glm_predict import covariate_rows, probabilities, survival_path
from coalition_exit.survival.discrete.random_intercept import RandomIntercept


@dataclass(frozen=True, eq=False, kw_only=True)
class DiscreteFit(BinaryFit):
    """Estimates of a discrete-time hazard model; ``n_obs`` counts person-periods.

    Attributes
    ----------
    baseline : Baseline
        Duration dependence, with knots or dummies.
    period, length : str and float
        Period as named, and in units of analysis time.
    covariates, partial : str
        When covariates are taken; what became of last periods cut short by censoring.
    counts : PeriodCounts
        What became of the episodes.
    n_empty : int
        Person-periods left out because nobody had an event in that period ("dummies").
    covariate_names, nonproportional : tuple of str
        Terms of the formula, and those of them that interact with the duration terms.
    subject, number : ndarray of int, shape (n_obs,)
        Code of the subject (in order of first appearance) and period of each row.
    """

    baseline: Baseline
    period: str
    length: float
    covariates: str
    partial: str
    counts: PeriodCounts
    n_empty: int = 0
    covariate_names: tuple[str, ...] = ()
    nonproportional: tuple[str, ...] = ()
    subject: Integers = field(repr=False)
    number: Integers = field(repr=False)

    @property
    def title(self) -> str:
        firth = ", Firth's penalty" if self.firth else ""
        return f"Discrete-time hazard ({self.link}{firth}; {self.baseline}; period {self.period})"

    @property
    def _glance(self) -> tuple[str, ...]:
        common = super()._glance
        return (common[0], "duration", "period", "covariates", "partial", *common[1:])

    @property
    def duration(self) -> str:
        """Duration dependence in words."""
        return str(self.baseline)

    def __str__(self) -> str:
        count = self.counts
        lines = [
            super().__str__(),
            f"{count.n_rows} episodes gave {len(self.number) + self.n_empty + count.n_dropped} person-periods: "
            f"{count.n_late} entered late, {count.n_partial} cut short by censoring ({self.partial}), "
            f"{count.n_gap} with a gap; covariates: {self.covariates}",
        ]
        if count.n_merged:
            lines.append(f"{count.n_merged} further events of a subject in a period merged with its first")
        if self.baseline.empty_periods:
            done = f"left out, {self.n_empty} rows" if self.baseline.empty == "drop" else "pooled with the next"
            lines.append(f"periods without events ({done}): {_ranges(self.baseline.empty_periods)}")
        return "\n".join(lines)

    def person_periods(self) -> pd.DataFrame:
        """Rows of the estimation sample: subject, period, event, terms, fitted hazard."""
        rows = self._rows()
        table = pd.DataFrame({"subject": self.subject, "period": self.number, "event": rows.y.astype(int)})
        terms = pd.DataFrame(rows.x[:, :-1], columns=list(self.terms[:-1]))
        return pd.concat([table, terms, pd.DataFrame({"hazard": self.fitted})], axis=1)

    def predict(
        self,
        at: Mapping[str, Any] | pd.DataFrame | None = None,
        periods: int | Sequence[int] | None = None,
        *,
        path: bool = False,
        others: str = "error",
        level: float = 0.95,
        offset: float = 0.0,
        extrapolate: bool = False,
    ) -> pd.DataFrame:
        """Hazard and survival by period at covariate values, with delta-method intervals.

        With a random intercept they are those of a group whose intercept is 0.

        Parameters
        ----------
        at
            Values by term of the formula; several rows are several scenarios.
        periods
            The last period, or consecutive periods (survival is then from the first of them on);
            by default all up to the last in the data.
        path
            The rows of ``at`` are instead the values in successive periods: one scenario.
        others
            For terms that ``at`` leaves out: "error", or their "mean" or "median" over the
            person-periods.
        level
            Confidence level.
        offset
            Added to the linear predictor.
        extrapolate
            Allow periods beyond the last in the data.

        Returns
        -------
        DataFrame
            scenario, period, time (the period's end in analysis time), hazard, std_error, conf_low,
            conf_high, survival, survival_std_error, survival_low, survival_high. Intervals are formed for
            the linear predictor and for log(-log S) and transformed. In a period without events that
            "dummies" left out the hazard is 0, its estimate, and has no standard error.

        Raises
        ------
        DataError
            Unknown terms, periods that are not consecutive or beyond the data.
        """
        chosen = self._periods(periods, extrapolate)
        p = len(self.covariate_names)
        frame = covariate_rows(at, self.covariate_names, self._rows().x[:, :p], others)
        values = frame.to_numpy(dtype=float)
        if path and len(values) not in (1, len(chosen)):
            raise DataError("at", f"{len(chosen)} rows, one a period", str(len(values)))
        scenarios = [values] if path else [values[[i]] for i in range(len(values))]
        parts = [
            self._path(np.broadcast_to(v, (len(chosen), p)), chosen, level, offset).assign(scenario=i)
            for i, v in enumerate(scenarios)
        ]
        table = pd.concat(parts, ignore_index=True)
        return table[["scenario", *(c for c in table.columns if c != "scenario")]]

    def _periods(self, periods: int | Sequence[int] | None, extrapolate: bool) -> Integers:
        if periods is None:
            return np.arange(1, self.baseline.last + 1)
        given = np.arange(1, periods + 1) if isinstance(periods, int) else np.asarray(periods)
        whole = given.ndim == 1 and len(given) > 0 and bool(np.all(given == np.round(given)))
        if not whole or given[0] < 1 or (np.diff(given) != 1).any():
            raise DataError("periods", "a whole number, or consecutive ones from 1 or later", repr(periods))
        if given[-1] > self.baseline.last and (not extrapolate or self.baseline.kind == "dummies"):
            hint = "" if self.baseline.kind == "dummies" else "extrapolate=True goes on"
            raise DataError("periods", f"at most {self.baseline.last}, the last in the data", str(given[-1]), hint)
        return given.astype(np.int64)

    def _path(self, values: Floats, periods: Integers, level: float, offset: float) -> pd.DataFrame:
        known = np.ones(len(periods), dtype=bool)
        if self.baseline.kind == "dummies":
            known = self.baseline.level(periods) >= 0
        x, _ = assemble(values[known], self.covariate_names, self.baseline, periods[known], self.nonproportional)
        link = get_link(self.link)
        hazard = probabilities(x, self.beta, self.covariance, link, level, offset)
        survival = survival_path(x, self.beta, self.covariance, link, level, offset)
        table = pd.DataFrame({"period": periods, "time": periods * self.length})
        empty = {"hazard": 0.0, "std_error": np.nan, "conf_low": np.nan, "conf_high": np.nan}
        found = (hazard.hazard, hazard.std_error, hazard.low, hazard.high)
        for (name, default), column in zip(empty.items(), found, strict=True):
            table[name] = default
            table.loc[known, name] = column
        # Before the first event survival is 1; a period without hazard leaves it as it was.
        at = np.cumsum(known)
        columns = {
            "survival": (1.0, survival.survival),
            "survival_std_error": (0.0, survival.std_error),
            "survival_low": (1.0, survival.low),
            "survival_high": (1.0, survival.high),
        }
        for name, (before, column) in columns.items():
            table[name] = np.append(before, column)[at]
        return table


@dataclass(frozen=True, eq=False, kw_only=True)
class RandomInterceptFit(DiscreteFit):
    """A discrete-time hazard model with a normal random intercept by group.

    Attributes
    ----------
    sigma, sigma_std_error : float
        Standard deviation of the intercept, and its standard error (nan when sigma is 0).
    random : RandomIntercept
        Everything the quadrature gave.
    group : str
        Name of the grouping column.
    n_group, points : int
    """

    sigma: float
    sigma_std_error: float
    random: RandomIntercept = field(repr=False)
    group: str
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

    def __str__(self) -> str:
        return (
            f"{super().__str__()}\nsigma {self.sigma:.4g} (std. error {self.sigma_std_error:.4g}), {self.n_group} "
            f"groups, test of sigma = 0: chibar2(01) = {self.lr_statistic:.4g}, p = {self.lr_p_value:.4g}"
        )

    def profile(self, terms: str | Sequence[str] | None = None, level: float = 0.95) -> pd.DataFrame:
        """Refuse: not implemented with a random intercept."""
        raise DataError("profile", "a model without a random intercept", f"one by {self.group!r}")


def assemble(
    x: Floats, names: tuple[str, ...], baseline: Baseline, period: Integers, nonproportional: tuple[str, ...]
) -> tuple[Floats, tuple[str, ...]]:
    """Design matrix and its terms: covariates, their interactions with duration, duration, constant."""
    basis = baseline.basis(period)
    parts, terms = [x], list(names)
    for name in nonproportional:
        parts.append(x[:, [names.index(name)]] * basis)
        terms += [f"{name}:{term}" for term in baseline.names]
    return np.column_stack([*parts, basis, np.ones(len(period))]), (*terms, *baseline.names, CONSTANT)


def _ranges(periods: Sequence[int]) -> str:
    """Write 1, 2, 3, 7 as "1-3, 7"."""
    values = np.asarray(periods)
    cuts = np.flatnonzero(np.diff(values) != 1) + 1
    runs = [(int(run[0]), int(run[-1])) for run in np.split(values, cuts)]
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
