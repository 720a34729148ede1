"""One estimated survival curve, with its intervals and its table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from coalition_exit.errors import DataError, nearest, one_of
from coalition_exit.survival.data.surv import Floats
from coalition_exit.survival.shown import Shown

INTERVALS = ("log-log", "log", "plain")


@dataclass(frozen=True, eq=False)
class Curve(Shown):
    """Kaplan-Meier and Nelson-Aalen estimates of one group at T times.

    The times are those of events, censorings and entries; a boundary between two episodes of one
    subject is neither (if subjects are known). Counts are sums of weights.

    Attributes
    ----------
    time : shape (T,)
        Ascending; the first is where observation begins.
    at_risk : shape (T,)
        Rows with ``start < time <= stop``: the denominator at an event.
    events, censored, entered : shape (T,)
        Events and censorings at the time, entries just after it.
    survival, hazard : shape (T,)
        Kaplan-Meier estimate, and the cumulative hazard, sum of events / at_risk.
    survival_variance : shape (T,)
        Variance of log(survival): Greenwood's sum of d / (Y (Y - d)), or of the infinitesimal
        jackknife by cluster. NaN once the estimate is 0.
    hazard_variance : shape (T,)
        Sum of d / Y^2, or of the infinitesimal jackknife.
    robust : bool
        The variances are the infinitesimal jackknife's.
    spells : DataFrame
        Episodes put together where one follows another of the same subject: ``entry``,
        ``duration`` (the end), ``event``, ``weight``.
    n_joined : int
        Distinct times of the data, all groups together, joined to one from which they differ by rounding only.
    """

    time: Floats
    at_risk: Floats
    events: Floats
    censored: Floats
    entered: Floats
    survival: Floats
    survival_variance: Floats
    hazard: Floats
    hazard_variance: Floats
    robust: bool
    spells: pd.DataFrame = field(repr=False)
    n_joined: int = 0

    @property
    def heading(self) -> str:
        errors = "robust" if self.robust else "Greenwood's"
        joined = (
            f"; {self.n_joined} times of the data joined to one they differ from by rounding" if self.n_joined else ""
        )
        most = self.at_risk.max(initial=0)
        return f"Survival curve: {most:g} at risk at most, {self.events.sum():g} events, {errors} errors{joined}"

    @property
    def shown(self) -> pd.DataFrame:
        return self.to_frame()[["time", "at_risk", "events", "survival", "std_error", "conf_low", "conf_high"]]

    def plot(self, ax: Any = None, level: float = 0.95) -> Any:
        """Draw the Kaplan-Meier estimate with its band, and return the axes."""
        from coalition_exit.survival import plots

        return plots.survival_curves({"": self}, ax, level=level)

    @property
    def std_error(self) -> Floats:
        """Standard error of the survival estimate, shape (T,)."""
        return np.asarray(self.survival * np.sqrt(self.survival_variance))

    def survival_interval(self, level: float = 0.95, kind: str = "log-log") -> tuple[Floats, Floats]:
        """Lower and upper pointwise bounds of the survival function, NaN where it is 0.

        Parameters
        ----------
        level
            Confidence level.
        kind
            "log-log" (Stata's, Kalbfleisch and Prentice 1980), "log" (R's default) or "plain".
        """
        reach, s = reach_of(level, kind) * np.sqrt(self.survival_variance), self.survival
        with np.errstate(divide="ignore", invalid="ignore"):
            if kind == "plain":
                low, high = np.maximum(s - reach * s, 0.0), np.minimum(s + reach * s, 1.0)
            elif kind == "log":
                low, high = np.exp(np.log(s) - reach), np.minimum(np.exp(np.log(s) + reach), 1.0)
            else:
                middle, shift = np.log(-np.log(s)), reach / np.log(s)
                low, high = np.exp(-np.exp(middle - shift)), np.exp(-np.exp(middle + shift))
        low, high = np.where(s == 1, 1.0, low), np.where(s == 1, 1.0, high)
        return np.where(s > 0, low, np.nan), np.where(s > 0, high, np.nan)

    def hazard_interval(self, level: float = 0.95, kind: str = "log") -> tuple[Floats, Floats]:
        """Lower and upper pointwise bounds of the cumulative hazard: "log" (Stata's) or "plain"."""
        if kind == "log-log":
            raise DataError("interval", "'log' or 'plain' for a cumulative hazard", repr(kind))
        reach, h = reach_of(level, kind) * np.sqrt(self.hazard_variance), self.hazard
        if kind == "plain":
            return np.maximum(h - reach, 0.0), h + reach
        ratio = np.exp(reach / np.where(h > 0, h, 1.0))
        return h / ratio, h * ratio

    def to_frame(self, level: float = 0.95, kind: str = "log-log") -> pd.DataFrame:
        """One row a time: counts, survival with standard error and interval, cumulative hazard."""
        low, high = self.survival_interval(level, kind)
        return pd.DataFrame(
            {
                "time": self.time,
                "at_risk": self.at_risk,
                "events": self.events,
                "censored": self.censored,
                "entered": self.entered,
                "survival": self.survival,
                "std_error": self.std_error,
                "conf_low": low,
                "conf_high": high,
                "cumulative_hazard": self.hazard,
                "hazard_std_error": np.sqrt(self.hazard_variance),
            }
        )


def reach_of(level: float, kind: str) -> float:
    """Return the normal quantile of an interval; refuse a level outside (0, 1) and an unknown kind.

    Raises
    ------
    DataError
    """
    if not 0 < level < 1:
        raise DataError("level", "a number between 0 and 1", repr(level))
    if kind not in INTERVALS:
        raise DataError("interval", one_of(INTERVALS), repr(kind), nearest(str(kind), INTERVALS))
    return float(ndtri(0.5 + level / 2))
