"""What the coefficients would be if some exits had been bought off.

A pattern says which days are meant, for example those on which the trend is bad. If a share s of the latent exits on
such days was bought off, the observed hazard there is (1 - s) times the latent one. Two ways lead to the latent
coefficients.

- *Directly*: the model with the offset log(1 - s) on the pattern's days. It has no random part.
- *By imputation*: exits are drawn on the pattern's days of states still at war, on the days of the war on which exits
  were seen, with the hazard of that fit (Breslow's baseline), until the observed exits there are the share 1 - s of
  all. A state imputed as gone leaves the risk set; an exit it was observed to make later falls away. Coefficients
  (normal) and baseline (gamma) are drawn anew for each imputation, and the fits are combined by Rubin's rules.

Both take the share to be the same for everyone on the pattern's days. In large samples they agree. With few exits the
imputed coefficients lie somewhat further from zero: each refit has the small-sample bias of the estimator, and the
number imputed goes by the exits observed on the pattern's days and not by those that the model expects there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coalition_exit.errors import DataError, FitError
from coalition_exit.robustness.problem import OK, SUBJECT, Problem, degrees_of_freedom
from coalition_exit.robustness.rubin import pool
from coalition_exit.specs.robustness_blocks import BadTimes
from coalition_exit.survival.cox.cox_fit import CoxFit
from coalition_exit.survival.data.surv import Floats, Integers

Bools = NDArray[np.bool_]
COLUMNS = (
    "share", "term", "estimate", "std_error", "conf_low", "conf_high", "p_value", "df", "within", "between", "fmi",
    "direct_estimate", "direct_std_error", "direct_conf_low", "direct_conf_high",
    "n_observed", "n_bought_off", "n_replaced", "m", "m_failed", "status", "reason",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class BoughtOff:
    """Coefficients by the share of exits bought off.

    Attributes
    ----------
    where
        The pattern: a comparison of the panel's columns.
    table
        A row a share and term, columns `COLUMNS`: pooled estimate, error and interval of the imputations (of the model
        itself at share 0), the direct ones beside them; exits observed on the pattern's days, mean imputed, and mean
        observed exits that an earlier imputed one replaced.
    n_days
        Rows on the pattern's days.
    imputations, seed
        As given.
    """

    where: str
    table: pd.DataFrame
    n_days: int
    imputations: int
    seed: int

    @property
    def text(self) -> str:
        """A sentence a term: the coefficient as observed and at the largest share."""
        good = self.table[self.table["status"] == OK]
        lines = []
        for term, own in good.groupby("term", sort=False):
            first, last = own.iloc[0], own.iloc[-1]
            lines.append(
                f"{term}: {first.estimate:.3f} if a share {first.share:g} was bought off where {self.where}, "
                f"{last.estimate:.3f} ({last.conf_low:.3f} to {last.conf_high:.3f}) if {last.share:g} was."
            )
        failed = self.table.loc[self.table["status"] != OK].drop_duplicates("share")
        lines += [f"Share {row.share:g}: {row.reason}" for row in failed.itertuples(index=False)]
        return "\n".join(lines)


def bad_times(problem: Problem, trend: str, times: BadTimes | None = None) -> str:
    """Return the comparison that says when times are bad: the trend above a value or above a quantile of its rows.

    Raises
    ------
    DataError
        The rows have no such column.
    """
    if trend not in problem.frame.columns:
        raise DataError("trend", "a column of the panel that the model uses", repr(trend))
    times = times or BadTimes.model_validate({})
    above = 0.0 if times.above is None else times.above
    if times.quantile is not None:
        above = float(np.quantile(problem.frame[trend].to_numpy(dtype=np.float64), times.quantile))
    return f"{trend} > {above!r}"


def direct_fit(problem: Problem, days: Bools, share: float) -> CoxFit:
    """Fit the model with the offset log(1 - share) on some rows: the latent coefficients.

    Raises
    ------
    DataError
        A share outside [0, 1).
    FitError
        There is no estimate.
    """
    check_share(share)
    offset = np.where(days, np.log1p(-share), 0.0)
    return problem.fit(offset if share > 0 else None)


def check_share(share: float) -> None:
    """Refuse a share outside [0, 1)."""
    if not 0 <= share < 1:
        raise DataError("share", "a number from 0 to below 1", repr(share))


def bought_off(
    problem: Problem,
    shares: Sequence[float],
    where: str,
    *,
    imputations: int = 40,
    seed: int = 1,
    level: float = 0.95,
) -> BoughtOff:
    """Estimate the latent coefficients for several shares of exits bought off.

    Parameters
    ----------
    problem
        The model and its rows, without strata.
    shares
        Shares of the latent exits on the pattern's days, each in [0, 1).
    where
        The pattern, e.g. what `bad_times` returns.
    imputations
        Imputed data sets a share.
    seed
        Imputation k of any share uses ``SeedSequence([seed, k])``: shares share their random numbers.
    level
        Level of the intervals.

    Raises
    ------
    DataError
        Strata, a share outside [0, 1), a pattern without days or without observed exits.
    FitError
        The model as observed has no estimate. A share without estimate is a row with its reason.
    """
    problem.require_plain("imputation")
    for share in shares:
        check_share(share)
    days = problem.rows_where(where, "where")
    n_observed = int((days & problem.event).sum())
    if not n_observed:
        raise DataError("where", "days with an observed exit", f"{where!r}, {int(days.sum())} rows without one")
    problem.fit()
    parts = [_at_share(problem, days, float(share), n_observed, imputations, seed, level) for share in shares]
    table = pd.concat(parts, ignore_index=True)[list(COLUMNS)]
    return BoughtOff(where, table, int(days.sum()), imputations, seed)


def _at_share(
    problem: Problem, days: Bools, share: float, n_observed: int, m: int, seed: int, level: float
) -> pd.DataFrame:
    terms = list(problem.model.covariates)
    try:
        fit = direct_fit(problem, days, share)
        found, failed, counts = _imputed(problem, fit, days, share, n_observed, m, seed)
        table = _pooled(problem, fit, found, share, level)
    except FitError as error:
        table = pd.DataFrame({"term": terms}).reindex(columns=list(COLUMNS))
        table["status"], table["reason"] = error.status, str(error)
        return table.assign(share=share, n_observed=n_observed)
    tidy = fit.tidy(level=level)
    for name in ("estimate", "std_error", "conf_low", "conf_high"):
        table[f"direct_{name}"] = tidy[name]
    bought, replaced = counts
    return table.assign(
        share=share,
        n_observed=n_observed,
        n_bought_off=bought,
        n_replaced=replaced,
        m_failed=failed,
        status=OK,
        reason="",
    )


def _pooled(
    problem: Problem, fit: CoxFit, found: list[tuple[Floats, Floats]], share: float, level: float
) -> pd.DataFrame:
    if share == 0:
        own = fit.tidy(level=level)[["term", "estimate", "std_error", "p_value", "conf_low", "conf_high"]]
        return own.assign(df=np.inf, within=fit.std_error.to_numpy() ** 2, between=0.0, fmi=0.0, m=0)
    if len(found) < 2:
        raise FitError("not_converged", f"{len(found)} imputed data sets have an estimate, two are needed")
    estimates, variances = (np.array(values) for values in zip(*found, strict=True))
    return pool(fit.terms, estimates, variances, degrees_of_freedom(problem), level)


def _imputed(
    problem: Problem, fit: CoxFit, days: Bools, share: float, n_observed: int, m: int, seed: int
) -> tuple[list[tuple[Floats, Floats]], int, tuple[float, float]]:
    """Return estimates and variances of the imputed data sets, failures, and mean counts (bought off, replaced)."""
    if share == 0:
        return [], 0, (0.0, 0.0)
    imputer = _Imputer(problem, fit, days, share)
    found, bought, replaced = [], [], []
    for k in range(m):
        rng = np.random.default_rng(np.random.SeedSequence([seed, k]))
        expected = n_observed * share / (1 - share)
        number = int(np.floor(expected) + (rng.random() < expected % 1))
        frame, n_replaced = imputer.draw(rng, number)
        bought.append(number)
        replaced.append(n_replaced)
        try:
            one = problem.model.estimate(frame)
        except FitError:
            continue
        found.append((one.beta.copy(), np.diag(one.covariance).copy()))
    return found, m - len(found), (float(np.mean(bought)), float(np.mean(replaced)))


class _Imputer:
    def __init__(self, problem: Problem, fit: CoxFit, days: Bools, share: float) -> None:
        self.problem, self.fit = problem, fit
        frame, event = problem.frame, problem.event
        self.start, self.stop = (frame[name].to_numpy(dtype=np.float64) for name in ("start", "stop"))
        self.times, counts = np.unique(self.stop[event], return_counts=True)
        self.counts = counts.astype(np.float64)
        # Rows at every exit time they cross; one may cross many. A day with an observed exit was not bought off.
        low, high = (np.searchsorted(self.times, values, side="right") for values in (self.start, self.stop))
        self.x = fit.state.design.x - fit.state.center
        self.latent = np.where(days, 1.0 - share, 1.0)
        self.rows, self.at = _crossings(np.flatnonzero(high > low), low, high)
        seen = event[self.rows] & (self.stop[self.rows] == self.times[self.at])
        self.open = np.flatnonzero(days[self.rows] & ~seen)
        _, self.subject = np.unique(frame[SUBJECT].to_numpy(), return_inverse=True)
        self.root = _root(fit.covariance)
        # Drawn coefficients raise the mean of exp(x b) far from the centre. Less this, its mean is the fitted one.
        self.excess = 0.5 * ((self.x @ self.root) ** 2).sum(axis=1)

    def draw(self, rng: np.random.Generator, number: int) -> tuple[pd.DataFrame, int]:
        """Return the rows with so many imputed exits, and how many observed ones they replace."""
        weight = self._hazard(rng)[self.open]
        # The first exits of competing exponential clocks: a draw without replacement, weighted by the hazard.
        order = np.argsort(rng.exponential(size=len(weight)) / weight, kind="stable")
        picked = self.open[order]
        _, first = np.unique(self.subject[self.rows[picked]], return_index=True)
        picked = picked[np.sort(first)[:number]]
        if len(picked) < number:
            reason = f"{number} exits to impute on the pattern's days, and {len(picked)} states to make them"
            raise FitError("no_observations", reason)
        return self._complete(self.rows[picked], self.times[self.at[picked]])

    def _hazard(self, rng: np.random.Generator) -> Floats:
        """Latent hazard of each row at each exit time it crosses: Breslow's increments times the relative risk."""
        beta = self.fit.beta + self.root @ rng.standard_normal(len(self.fit.beta))
        eta = self.x @ beta - self.excess
        risk = np.exp(eta - eta.max())
        seen = np.bincount(self.at, weights=(risk * self.latent)[self.rows], minlength=len(self.times))
        increment = rng.gamma(self.counts) / np.maximum(seen, np.finfo(float).tiny)
        return np.asarray(risk[self.rows] * increment[self.at])

    def _complete(self, rows: Integers, times: Floats) -> tuple[pd.DataFrame, int]:
        last = np.full(int(self.subject.max()) + 1, len(self.subject))
        last[self.subject[rows]] = rows
        at = np.arange(len(self.subject))
        keep = at <= last[self.subject]
        event, stop = self.problem.event.copy(), self.stop.copy()
        n_replaced = int((event & ~keep).sum() + event[rows].sum())
        event[rows], stop[rows] = True, times
        frame = self.problem.frame.assign(**{self.problem.model.failure: event.astype(np.int8), "stop": stop})
        return frame.loc[keep], n_replaced


def _crossings(rows: Integers, low: Integers, high: Integers) -> tuple[Integers, Integers]:
    """Pair each row with the exit times ``low .. high - 1`` that it crosses."""
    count = (high - low)[rows]
    repeated = np.repeat(rows, count)
    offset = np.arange(len(repeated)) - np.repeat(np.cumsum(count) - count, count)
    return repeated, low[repeated] + offset


def _root(covariance: Floats) -> Floats:
    """A square root of a covariance that may be singular (more coefficients than clusters)."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))
