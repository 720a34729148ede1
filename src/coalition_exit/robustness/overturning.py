"""How strong compensation would have to be to overturn a finding.

For a pattern (who was bought off, and when) the share of latent exits bought off is raised from 0 until the finding
falls, in one of two readings: the interval includes zero, or the estimate changes sign. Each share is a direct
fit (see `coalition_exit.robustness.buyout`), so that nothing here is random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from coalition_exit.errors import DataError, FitError
from coalition_exit.robustness.buyout import direct_fit
from coalition_exit.robustness.problem import Problem
from coalition_exit.survival.cox.cox_fit import CoxFit

READINGS = ("interval includes zero", "sign changes")
ALREADY, FOUND, NONE, FAILED = "already", "found", "none up to the bound", "no estimate"
_STEP = 0.02
_CLOSE = 1e-6


@dataclass(frozen=True, eq=False)
class Overturning:
    """The smallest share that overturns each finding under each pattern.

    Attributes
    ----------
    table
        A row a pattern, term and reading: pattern, where, term, reading, answer ("found", "already": nothing to
        overturn at share 0, "none up to the bound", "no estimate"), share, estimate and interval at that share (at
        the bound where there is none), hidden (latent exits per observed one on the pattern's days, s / (1 - s)),
        n_observed, reason.
    bound
        Largest share looked at.
    """

    table: pd.DataFrame
    bound: float

    @property
    def text(self) -> str:
        """A sentence a row."""
        lines = []
        for row in self.table.itertuples(index=False):
            about = f"{row.term}, {row.reading}, bought off where {row.where}"
            if row.answer == FOUND:
                said = f"a share of {row.share:.3f} ({row.hidden:.2f} bought off for each observed exit there)"
            elif row.answer == NONE:
                said = f"no share up to {self.bound:g}"
            else:
                said = row.reason
            lines.append(f"{about}: {said}.")
        return "\n".join(lines)


def default_patterns(problem: Problem, front: str, bad: str) -> dict[str, str]:
    """Name the patterns tried by default: bad and good times, common and own fronts, and where they meet."""
    trend, above = bad.split(" > ")
    good = f"{trend} <= {above}"
    patterns = {"bad_times": bad, "good_times": good}
    if front in problem.frame.columns:
        common, own = f"{front} >= 0.5", f"{front} < 0.5"
        patterns |= {"common_front": common, "own_front": own}
        patterns |= {"bad_times_common_front": f"{bad} and {common}", "good_times_own_front": f"{good} and {own}"}
    return patterns


def overturning_shares(
    problem: Problem,
    patterns: dict[str, str],
    terms: Sequence[str] | None = None,
    *,
    bound: float = 0.9,
    level: float = 0.95,
) -> Overturning:
    """Search, for each pattern, the smallest share of exits bought off that overturns each finding.

    Shares are tried in steps of 0.02 up to the bound; where a finding falls between two, the share is found by halving
    to within 1e-6. A finding that falls and rises again within a step would be missed.

    Parameters
    ----------
    problem
        The model and its rows.
    patterns
        Name to comparison of the panel's columns.
    terms
        Coefficients in question; all by default.
    bound
        Largest share.
    level
        Level of the interval.

    Raises
    ------
    DataError
        An unknown term, a bound outside (0, 1), a pattern without days.
    FitError
        The model as observed has no estimate.
    """
    terms = list(problem.model.covariates if terms is None else terms)
    problem.require(*terms, place="terms")
    if not 0 < bound < 1:
        raise DataError("bound", "a number between 0 and 1", repr(bound))
    full = problem.fit()
    rows = []
    for name, where in patterns.items():
        days = problem.rows_where(where, f"patterns > {name}")
        if not days.any():
            raise DataError(f"patterns > {name}", "a comparison that holds on some rows", repr(where))
        search = _Search(problem, days, full, bound, level)
        head = {"pattern": name, "where": where, "n_observed": int((days & problem.event).sum())}
        rows += [head | search.find(term, reading) for term in terms for reading in READINGS]
    return Overturning(pd.DataFrame(rows), bound)


class _Search:
    def __init__(self, problem: Problem, days: np.ndarray, full: CoxFit, bound: float, level: float) -> None:
        self.problem, self.days, self.bound, self.level = problem, days, bound, level
        self.terms = list(problem.model.covariates)
        self.cache: dict[float, pd.DataFrame] = {0.0: full.tidy(level=level)}
        steps = int(np.ceil(bound / _STEP))
        self.grid = [min(k * _STEP, bound) for k in range(steps + 1)]

    def at(self, share: float, term: str) -> pd.Series:
        if share not in self.cache:
            self.cache[share] = direct_fit(self.problem, self.days, share).tidy(level=self.level)
        return self.cache[share].iloc[self.terms.index(term)]

    def fallen(self, share: float, term: str, reading: str) -> bool:
        now, first = self.at(share, term), self.at(0.0, term)
        if reading == READINGS[1]:
            return bool(np.sign(now.estimate) != np.sign(first.estimate))
        return bool(now.conf_low <= 0 <= now.conf_high)

    def find(self, term: str, reading: str) -> dict[str, object]:
        try:
            if self.fallen(0.0, term, reading):
                return self._row(term, reading, ALREADY, 0.0, "the interval includes zero as observed")
            for low, high in zip(self.grid[:-1], self.grid[1:], strict=True):
                if self.fallen(high, term, reading):
                    return self._row(term, reading, FOUND, self._halve(low, high, term, reading), "")
        except FitError as error:
            empty = dict.fromkeys(("share", "hidden", "estimate", "conf_low", "conf_high"), np.nan)
            return {"term": term, "reading": reading, "answer": FAILED, **empty, "reason": str(error)}
        return self._row(term, reading, NONE, self.bound, "")

    def _halve(self, low: float, high: float, term: str, reading: str) -> float:
        while high - low > _CLOSE:
            middle = (low + high) / 2
            low, high = (low, middle) if self.fallen(middle, term, reading) else (middle, high)
        return high

    def _row(self, term: str, reading: str, answer: str, share: float, reason: str) -> dict[str, object]:
        now = self.at(share, term)
        found = share if answer != NONE else np.nan
        return {
            "term": term,
            "reading": reading,
            "answer": answer,
            "share": found,
            "hidden": found / (1 - found),
            "estimate": now.estimate,
            "conf_low": now.conf_low,
            "conf_high": now.conf_high,
            "reason": reason,
        }


__all__ = ["READINGS", "Overturning", "default_patterns", "overturning_shares"]
