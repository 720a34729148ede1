"""Duration dependence of discrete-time hazards: functions of the period number t = 1, 2, ...

Kinds and the names of their terms, apart from the constant:

==========  ==========================================================================
constant    none
linear      ``t``
log         ``ln_t``
cubic       ``t``, ``t2``, ``t3``: powers of t / divisor (Carter and Signorino 2010)
ns          ``ns1``, ...: natural cubic spline in R's B-spline basis, ``splines::ns``
rcs         ``rcs1`` = t, ``rcs2``, ...: restricted cubic spline in truncated powers,
            divided by the squared range of the knots, as Stata's ``mkspline, cubic``
            and Hmisc's ``rcspline.eval(norm = 2, inclx = TRUE)``
dummies     ``period[k]``: one for each period with events but the first
==========  ==========================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from coalition_exit.errors import DataError, FitError, nearest, one_of
from coalition_exit.survival.data.surv import Floats, Integers

BASELINES = ("constant", "linear", "log", "cubic", "ns", "rcs", "dummies")
EMPTY = ("drop", "pool")

# Harrell (2015), Regression Modeling Strategies, table 2.3: percentiles of the knots.
_RCS_PERCENTILES = {
    3: (0.1, 0.5, 0.9),
    4: (0.05, 0.35, 0.65, 0.95),
    5: (0.05, 0.275, 0.5, 0.725, 0.95),
    6: (0.05, 0.23, 0.41, 0.59, 0.77, 0.95),
    7: (0.025, 0.18333333333333332, 0.3416666666666667, 0.5, 0.6583333333333333, 0.8166666666666667, 0.975),
}


@dataclass(frozen=True)
class Baseline:
    """Duration dependence with everything that `basis` needs.

    Attributes
    ----------
    kind : str
        One of `BASELINES`.
    names : tuple of str
        Names of the terms.
    divisor : float
        What t is divided by in "cubic"; 1 elsewhere.
    knots : tuple of float
        Interior knots of "ns", all knots of "rcs", in periods.
    boundary : tuple of float
        Boundary knots of "ns".
    levels : tuple of int
        "dummies": the periods with events.
    empty_periods : tuple of int
        "dummies": periods with person-periods but no event.
    empty : str
        "dummies": what became of those, "drop" or "pool" (with the next period that has events,
        those after the last with the last).
    last : int
        The last period in the data.
    """

    kind: str
    names: tuple[str, ...]
    divisor: float = 1.0
    knots: tuple[float, ...] = ()
    boundary: tuple[float, ...] = ()
    levels: tuple[int, ...] = ()
    empty_periods: tuple[int, ...] = ()
    empty: str = "drop"
    last: int = 0

    def basis(self, period: Integers, stratum: Integers | None = None) -> Floats:
        """Values of the terms, shape (m, len(names)), at periods of shape (m,); strata do not matter.

        Raises
        ------
        DataError
            "dummies": a period that had no dummy.
        """
        t = np.asarray(period, dtype=np.float64)
        if self.kind == "constant":
            return np.zeros((len(t), 0))
        if self.kind == "linear":
            return t[:, None].copy()
        if self.kind == "log":
            return np.log(t)[:, None]
        if self.kind == "cubic":
            u = t / self.divisor
            return np.column_stack([u, u**2, u**3])
        if self.kind == "dummies":
            return self._dummies(np.asarray(period))
        # Splines are computed once for each period and spread to the rows.
        values, back = np.unique(t, return_inverse=True)
        table = natural_spline(values, self.knots, self.boundary) if self.kind == "ns" else restricted_spline(
            values, self.knots
        )  # fmt: skip
        return np.asarray(table[back.reshape(-1)])

    def shared(self, period: Integers) -> Floats:
        """Terms for interactions with covariates: all of them."""
        return self.basis(period)

    @property
    def shared_names(self) -> tuple[str, ...]:
        """Names of the terms of `shared`."""
        return self.names

    def empties(self) -> dict[str, tuple[int, ...]]:
        """Periods without events ("dummies"), under the one name of "" that they need."""
        return {"": self.empty_periods} if self.empty_periods else {}

    def level(self, period: Integers, stratum: Integers | None = None) -> Integers:
        """Index into ``levels`` of each period; -1 for a period without events that was dropped."""
        levels = np.asarray(self.levels)
        at = np.minimum(np.searchsorted(levels, period), len(levels) - 1)
        if self.empty == "drop":
            at = np.where(levels[at] == period, at, -1)
        return np.asarray(at, dtype=np.int64)

    def _dummies(self, period: Integers) -> Floats:
        at = self.level(period)
        if (at < 0).any():
            bad = int(period[np.argmax(at < 0)])
            raise DataError("period", f"one of those with events: {one_of(self.levels)}", str(bad))
        return np.asarray((at[:, None] == np.arange(1, len(self.levels))).astype(np.float64))

    def __str__(self) -> str:
        if self.kind == "cubic":
            return f"cubic in t/{self.divisor:g}"
        if self.kind in ("ns", "rcs"):
            kind = "natural cubic spline" if self.kind == "ns" else "restricted cubic spline"
            return f"{kind}, knots {', '.join(f'{k:g}' for k in (*self.boundary[:1], *self.knots, *self.boundary[1:]))}"
        if self.kind == "dummies":
            return f"dummies for {len(self.levels)} periods with events"
        return {"constant": "constant", "linear": "linear in t", "log": "log t"}[self.kind]


def make_baseline(
    kind: str,
    period: Integers,
    event: NDArray[np.bool_],
    *,
    df: int | None = None,
    knots: Sequence[float] | None = None,
    divisor: float = 100.0,
    empty: str = "drop",
) -> Baseline:
    """Choose knots or dummies from the person-periods.

    Parameters
    ----------
    kind
        One of `BASELINES`.
    period, event
        Of the person-periods, shape (m,).
    df
        Number of spline terms: "ns" has then df - 1 interior knots at quantiles of the
        person-periods' t (R's default) and boundary knots at its range; "rcs" has df + 1 knots at
        Harrell's percentiles (df from 2 to 6). 3 if neither df nor knots are given.
    knots
        Interior knots of "ns", all knots of "rcs", in periods.
    divisor
        What "cubic" divides t by.
    empty
        Treatment of periods without events under "dummies": "drop" or "pool".

    Raises
    ------
    DataError
        Unknown names; options that do not belong to the kind; knots not increasing or outside the
        data, or too many of them.
    FitError
        "no_events": dummies without any event.
    """
    check_baseline_options(kind, df, knots, divisor, empty)
    last = int(period.max())
    if kind == "ns":
        boundary = (float(period.min()), float(last))
        if knots is None:
            inner = np.quantile(period, np.linspace(0, 1, (df or 3) + 1)[1:-1])
            knots = tuple(float(k) for k in inner)
        chosen = _check_knots(knots, 0, boundary, strict=True)
        return Baseline(kind, _numbered("ns", len(chosen) + 1), knots=chosen, boundary=boundary, last=last)
    if kind == "rcs":
        if knots is None:
            knots = tuple(float(k) for k in np.quantile(period, _RCS_PERCENTILES[(df or 3) + 1]))
        chosen = _check_knots(knots, 3, (float(period.min()), float(last)), strict=False)
        return Baseline(kind, _numbered("rcs", len(chosen) - 1), knots=chosen, last=last)
    if kind == "dummies":
        present, levels = np.unique(period), np.unique(period[event])
        if not len(levels):
            raise FitError("no_events", f"no events among {len(period)} person-periods")
        return Baseline(
            kind,
            tuple(f"period[{k}]" for k in levels[1:]),
            levels=tuple(int(k) for k in levels),
            empty_periods=tuple(int(k) for k in np.setdiff1d(present, levels)),
            empty=empty,
            last=last,
        )
    names = {"constant": (), "linear": ("t",), "log": ("ln_t",), "cubic": ("t", "t2", "t3")}[kind]
    return Baseline(kind, names, divisor=float(divisor) if kind == "cubic" else 1.0, last=last)


def check_baseline_options(
    kind: str, df: int | None, knots: Sequence[float] | None, divisor: float, empty: str
) -> None:
    """Refuse unknown or conflicting options of `make_baseline`.

    Raises
    ------
    DataError
        Names the option.
    """
    for name, value, valid in (("baseline", kind, BASELINES), ("empty", empty, EMPTY)):
        if value not in valid:
            raise DataError(name, one_of(valid), repr(value), nearest(str(value), valid))
    if (df is not None or knots is not None) and kind not in ("ns", "rcs"):
        raise DataError("df, knots", "none but for baseline 'ns' or 'rcs'", f"baseline {kind!r}")
    if df is not None and knots is not None:
        raise DataError("df, knots", "one of the two", "both")
    least = {"ns": 1, "rcs": 2}.get(kind, 1)
    if df is not None and (df != int(df) or df < least or (kind == "rcs" and df > 6)):
        raise DataError("df", "2 to 6 for 'rcs'" if kind == "rcs" else "1 or more", repr(df))
    if not (np.isfinite(divisor) and divisor > 0):
        raise DataError("divisor", "a positive number", repr(divisor))


def _check_knots(knots: Sequence[float], least: int, limits: tuple[float, float], *, strict: bool) -> tuple[float, ...]:
    values = tuple(float(k) for k in knots)
    shown = ", ".join(f"{k:g}" for k in values)
    if len(values) < least or any(b <= a for a, b in pairwise(values)):
        hint = "Too few periods for so many knots: lower df or name the knots"
        raise DataError("knots", f"{max(least, 1)} or more increasing numbers", shown or "none", hint)
    low, high = limits
    inside = all(low < k < high for k in values) if strict else all(low <= k <= high for k in values)
    if not inside:
        raise DataError("knots", f"periods between {low:g} and {high:g}, those of the data", shown)
    return values


def _numbered(stem: str, count: int) -> tuple[str, ...]:
    return tuple(f"{stem}{j}" for j in range(1, count + 1))


def natural_spline(t: Floats, knots: Sequence[float], boundary: Sequence[float]) -> Floats:
    """Natural cubic spline basis of R's ``splines::ns(t, knots, Boundary.knots)``, no intercept.

    Parameters
    ----------
    t
        Shape (m,). Outside the boundary knots the basis goes on linearly.
    knots
        Interior knots, q of them.
    boundary
        The two boundary knots.

    Returns
    -------
    ndarray, shape (m, q + 1)

    References
    ----------
    Hastie, T. J. (1992) in Chambers and Hastie, Statistical Models in S, chapter 7.
    """
    from scipy.interpolate import BSpline

    low, high = boundary
    full = np.concatenate([[low] * 4, np.asarray(knots, dtype=float), [high] * 4])
    size = len(full) - 4
    spline = BSpline(full, np.eye(size), 3)
    ends = np.array([low, high])
    # R drops the first B-spline, then projects on the functions without curvature at both ends.
    q, _ = np.linalg.qr(spline.derivative(2)(ends)[:, 1:].T, mode="complete")
    clipped = np.clip(t, low, high)
    values = spline(clipped)[:, 1:]
    slopes = spline.derivative(1)(ends)[:, 1:]
    beyond = (
        np.where(t < low, t - low, 0.0)[:, None] * slopes[0] + np.where(t > high, t - high, 0.0)[:, None] * slopes[1]
    )
    return np.asarray((values + beyond) @ q[:, 2:])


def restricted_spline(t: Floats, knots: Sequence[float]) -> Floats:
    """Restricted cubic spline in truncated powers: t itself, then one term for each knot but two.

    Parameters
    ----------
    t
        Shape (m,).
    knots
        All k >= 3 knots.

    Returns
    -------
    ndarray, shape (m, k - 1)

    References
    ----------
    Durrleman, S. and Simon, R. (1989), Statistics in Medicine 8, 551-561; Harrell, F. E. (2015),
    Regression Modeling Strategies, section 2.4.5.
    """
    at = np.asarray(knots, dtype=float)
    before, end = at[-2], at[-1]
    cubes = np.maximum(t[:, None] - at, 0.0) ** 3
    inner = at[:-2]
    terms = (
        cubes[:, :-2]
        - cubes[:, [-2]] * (end - inner) / (end - before)
        + cubes[:, [-1]] * (before - inner) / (end - before)
    )
    return np.column_stack([t, terms / (end - at[0]) ** 2])
