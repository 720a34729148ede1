"""The result of a discrete-time hazard model: counts, predicted hazard and survival."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from coalition_exit.errors import DataError, nearest, one_of
from coalition_exit.survival.data.periods import PeriodCounts
from coalition_exit.survival.data.surv import Floats, Integers
from coalition_exit.survival.discrete.durations import Baseline
from coalition_exit.survival.discrete.glm_fit import BinaryFit
from coalition_exit.survival.discrete.glm_links import get_link
from coalition_exit.survival.discrete.glm_predict import covariate_rows
from coalition_exit.survival.discrete.predictions import (
    QUANTITIES,
    Scenario,
    assemble,
    check_periods,
    curve,
    difference,
)
from coalition_exit.survival.discrete.strata import StratifiedBaseline, split_strata


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class DiscreteFit(BinaryFit):
    """Estimates of a discrete-time hazard model; ``n_obs`` counts person-periods.

    Attributes
    ----------
    baseline : Baseline or StratifiedBaseline
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
    strata : tuple of str
        Columns whose values are the strata of the baseline.
    subject, number, stratum : ndarray of int, shape (n_obs,)
        Code of the subject (in order of first appearance), period and stratum (None without) of each row.
    """

    baseline: Baseline | StratifiedBaseline
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
    strata: tuple[str, ...] = ()
    stratum: Integers | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        for array in (self.subject, self.number, self.stratum):
            if array is not None and array.base is None:
                array.setflags(write=False)

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

    @property
    def notes(self) -> tuple[str, ...]:
        count = self.counts
        episodes = f"{count.n_rows} episodes gave {len(self.number) + self.n_empty + count.n_dropped} person-periods"
        lines = [
            f"{episodes}: {count.n_late} entered late, {count.n_partial} cut short by censoring ({self.partial}), "
            f"{count.n_gap} with a gap; covariates: {self.covariates}"
        ]
        if count.n_merged:
            lines.append(f"{count.n_merged} further events of a subject in a period merged with its first")
        done = (
            f"left out, {self.n_empty} rows"
            if self.baseline.empty == "drop"
            else "pooled with the next that has, or the last"
        )
        for label, empty in self.baseline.empties().items():
            where = f" in {label}" if label else ""
            lines.append(f"periods without events{where} ({done}): {_ranges(empty)}")
        return (*super().notes, *lines)

    def person_periods(self) -> pd.DataFrame:
        """Rows of the estimation sample: subject, period, event, terms, fitted hazard."""
        rows = self._rows()
        table = pd.DataFrame({"subject": self.subject, "period": self.number, "event": rows.y.astype(int)})
        if isinstance(self.baseline, StratifiedBaseline) and self.stratum is not None:
            table["stratum"] = np.asarray(self.baseline.labels, dtype=object)[self.stratum]
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
            Values by term of the formula; several rows are several scenarios. A stratified model takes
            the strata's columns too, and without them gives the curves of every stratum.
        periods
            The last period, or consecutive periods (survival is then from the first of them on);
            by default all up to the last in the data (of the stratum).
        path
            The rows of ``at`` are instead the values in successive periods: one scenario.
        others
            For terms that ``at`` leaves out: "error", or their "mean" or "median" over the
            person-periods; a product ``"a:b"`` is always that of its terms' values.
        level
            Confidence level.
        offset
            Added to the linear predictor.
        extrapolate
            Allow periods beyond the last in the data.

        Returns
        -------
        DataFrame
            scenario, (stratum,) period, time (the period's end in analysis time), hazard, std_error, conf_low,
            conf_high, survival, survival_std_error, survival_low, survival_high. Intervals are formed for
            the linear predictor and for log(-log S) and transformed. In a period without events that
            "dummies" left out the hazard is 0, its estimate, and has no standard error.

        Raises
        ------
        DataError
            Unknown terms, periods that are not consecutive or beyond the data.
        """
        link = get_link(self.link)
        found = self._scenarios(at, periods, path, others, extrapolate)
        parts = []
        for one in found:
            table = curve(one, self.beta, self.covariance, link, level, offset, self.length)
            parts.append(self._labelled_rows(table, one))
        return pd.concat(parts, ignore_index=True)

    def contrast(
        self,
        at: Mapping[str, Any] | pd.DataFrame,
        versus: Mapping[str, Any] | pd.DataFrame,
        periods: int | Sequence[int] | None = None,
        *,
        quantity: str = "survival",
        path: bool = False,
        others: str = "error",
        level: float = 0.95,
        offset: float = 0.0,
        extrapolate: bool = False,
    ) -> pd.DataFrame:
        """Difference between two scenarios by period, ``at`` minus ``versus``, with delta-method intervals.

        Parameters
        ----------
        at, versus
            Values as in `predict`, the same number of scenarios in both; one in ``versus`` serves all.
        quantity
            "survival", "incidence" (1 - survival) or "hazard".
        periods, path, others, level, offset, extrapolate
            As in `predict`.

        Returns
        -------
        DataFrame
            scenario, (stratum, versus_stratum,) period, time, estimate, std_error, statistic, p_value,
            conf_low, conf_high. Both scenarios come from the same coefficients, so the error is
            not that of two independent curves.

        Raises
        ------
        DataError
            Numbers of scenarios that do not go together; as `predict`.
        """
        if quantity not in QUANTITIES:
            raise DataError("quantity", one_of(QUANTITIES), repr(quantity), nearest(str(quantity), QUANTITIES))
        one = self._scenarios(at, periods, path, others, extrapolate)
        two = self._scenarios(versus, periods, path, others, extrapolate)
        two = two * len(one) if len(two) == 1 else two
        if len(one) != len(two):
            raise DataError("versus", f"1 or {len(one)} scenarios, as many as in at=", str(len(two)))
        parts = []
        for a, b in zip(one, two, strict=True):
            size = min(len(a.periods), len(b.periods))
            table = difference(
                _first(a, size), _first(b, size), quantity, self.beta, self.covariance, get_link(self.link), level,
                offset, self.length,
            )  # fmt: skip
            if self.strata:
                table.insert(0, "versus_stratum", b.stratum)
            parts.append(self._labelled_rows(table, a))
        return pd.concat(parts, ignore_index=True)

    def _labelled_rows(self, table: pd.DataFrame, scenario: Scenario) -> pd.DataFrame:
        if self.strata:
            table.insert(0, "stratum", scenario.stratum)
        table.insert(0, "scenario", scenario.name)
        return table

    def _scenarios(
        self,
        at: Mapping[str, Any] | pd.DataFrame | None,
        periods: int | Sequence[int] | None,
        path: bool,
        others: str,
        extrapolate: bool,
    ) -> list[Scenario]:
        """One scenario a row of ``at`` and stratum; a single one along a path."""
        labels = self.baseline.labels if isinstance(self.baseline, StratifiedBaseline) else ()
        rest, strata = split_strata(at, self.strata, labels)
        p = len(self.covariate_names)
        values = covariate_rows(rest, self.covariate_names, self._rows().x[:, :p], others).to_numpy(dtype=float)
        if strata is not None and len(strata) != len(values):
            if len(strata) > 1 and len(values) > 1:
                raise DataError("at", "sequences of one length", f"lengths {len(values)} and {len(strata)}")
            count = max(len(strata), len(values))
            strata, values = np.broadcast_to(strata, (count,)), np.broadcast_to(values, (count, p))
        if path and strata is not None and (strata != strata[0]).any():
            raise DataError("at", "one stratum along a path", "several")
        found = []
        names = range(1 if path else len(values))
        for i in names:
            each = range(len(labels)) if strata is None else [int(strata[i])]
            mine = values if path else values[[i]]
            codes: Sequence[int | None] = list(each) if labels else [None]
            found += [self._scenario(i, mine, code, periods, path, extrapolate) for code in codes]
        return found

    def _scenario(
        self,
        name: object,
        values: Floats,
        code: int | None,
        periods: int | Sequence[int] | None,
        path: bool,
        extrapolate: bool,
    ) -> Scenario:
        part, label = self.baseline, ""
        if isinstance(self.baseline, StratifiedBaseline) and code is not None:
            part, label = self.baseline.parts[code], self.baseline.labels[code]
        chosen = check_periods(periods, part.last, part.kind, extrapolate, label)
        if path and len(values) not in (1, len(chosen)):
            raise DataError("at", f"{len(chosen)} rows, one a period", str(len(values)))
        values = np.broadcast_to(values, (len(chosen), values.shape[1]))
        stratum = None if code is None else np.full(len(chosen), code)
        known = np.ones(len(chosen), dtype=bool)
        if part.kind == "dummies":
            known = part.level(chosen) >= 0
        x, _ = assemble(
            values[known], self.covariate_names, self.baseline, chosen[known], self.nonproportional,
            None if stratum is None else stratum[known],
        )  # fmt: skip
        return Scenario(name, label, chosen, known, x)

    @property
    def _covariates(self) -> tuple[str, ...]:
        return self.covariate_names

    def _products(self) -> dict[str, dict[int, Floats]]:
        """Columns of the interactions with duration, and the duration terms they are products with."""
        if not self.nonproportional:
            return {}
        shared = self.baseline.shared(self.number)
        return {
            name: {
                self.terms.index(f"{name}:{term}"): shared[:, k] for k, term in enumerate(self.baseline.shared_names)
            }
            for name in self.nonproportional
        }


def _first(scenario: Scenario, size: int) -> Scenario:
    """The first periods of a scenario."""
    known = scenario.known[:size]
    return replace(scenario, periods=scenario.periods[:size], known=known, x=scenario.x[: int(known.sum())])


def _ranges(periods: Sequence[int]) -> str:
    """Write 1, 2, 3, 7 as "1-3, 7"."""
    values = np.asarray(periods)
    cuts = np.flatnonzero(np.diff(values) != 1) + 1
    runs = [(int(run[0]), int(run[-1])) for run in np.split(values, cuts)]
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
