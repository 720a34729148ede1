"""Scenarios to predict for: covariate values, or a path of them over time, and their hazard.

A scenario's cumulative hazard is a sum of jumps r_k h_k over the event times k it passes, with r_k the
relative hazard of its covariates then. Everything predicted is a function of these jumps, so one
representation serves fixed values and paths. The delta method needs two parts: the derivative of
the cumulative hazard to the coefficients, whose jumps are r_k (x_k h_k - sum over the steps of
h * mean of x in the risk set), and the variance of the jumps at given coefficients, r_k^2 v_k; jumps
are uncorrelated with one another and with the coefficients (Tsiatis 1981; Therneau and Grambsch
2000, section 10.2).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from coalition_exit.errors import DataError, nearest, one_of
from coalition_exit.survival.cox.state import CoxState
from coalition_exit.survival.data.newdata import numbers, scenario_matrix
from coalition_exit.survival.data.surv import Floats, Integers
from coalition_exit.survival.quantities.baseline import HazardJumps, hazard_jumps, refuse_time_terms
from coalition_exit.survival.shown import Shown


@dataclass(frozen=True, eq=False)
class Trajectory(Shown):
    """One scenario at the E event times it passes; R sets of covariate values in all.

    Attributes
    ----------
    label, stratum : hashable
        Names of the scenario and of its stratum.
    begin, end : float
        The curve starts at ``begin`` (survival 1) and is known to ``end``.
    at : ndarray, shape (E,)
        Positions of the event times among the K of the fit.
    times : ndarray, shape (E,)
    x : ndarray, shape (R, p)
        Covariates, centred.
    offset : ndarray, shape (R,)
    piece : ndarray, shape (E,)
        Row of ``x`` that holds at each event time.
    relative : ndarray, shape (E,)
        Factor on the fit's jumps.
    hazard, variance : ndarray, shape (E,)
        Jumps of the cumulative hazard and their variance at given coefficients.
    gradient : ndarray, shape (E, p)
        Jumps of the derivative of the cumulative hazard to the coefficients.
    """

    label: Hashable
    stratum: object
    begin: float
    end: float
    at: Integers
    times: Floats
    x: Floats
    offset: Floats
    piece: Integers
    relative: Floats
    hazard: Floats
    variance: Floats
    gradient: Floats

    @property
    def heading(self) -> str:
        return f"Scenario {self.label!r} from {self.begin:g} to {self.end:g}, {len(self.times)} event times"

    def passed(self, times: Floats) -> Integers:
        """Return the number of event times up to and including each time: shape of ``times``."""
        return np.searchsorted(self.times, times, side="right")

    def known(self, times: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Tell which times the curve is known at."""
        return np.asarray((times >= self.begin) & (times <= self.end))


@dataclass(frozen=True, eq=False)
class Scenarios(Shown):
    """Scenarios of one fit.

    Attributes
    ----------
    jumps : HazardJumps
        The fit's hazard.
    items : tuple of Trajectory
    stratified : bool
        Whether the fit has strata; tables then name the stratum.
    """

    jumps: HazardJumps
    items: tuple[Trajectory, ...]
    stratified: bool

    @property
    def heading(self) -> str:
        return f"{len(self.items)} scenarios; survival(...), cumulative_hazard(...), restricted_mean(...) take them"

    @property
    def shown(self) -> pd.DataFrame:
        rows = []
        for item in self.items:
            row: dict[str, object] = {"scenario": item.label}
            row |= {"stratum": item.stratum} if self.stratified else {}
            row |= {"begin": item.begin, "end": item.end, "event_times": len(item.times), "changes": len(item.x) - 1}
            first = item.x[0] + self.jumps.center if len(item.x) else np.full(len(self.jumps.terms), np.nan)
            rows.append(row | dict(zip(self.jumps.terms, first.tolist(), strict=True)))
        return pd.DataFrame(rows)

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Trajectory]:
        return iter(self.items)

    def __getitem__(self, label: Hashable) -> Trajectory:
        found = [item for item in self.items if item.label == label]
        if len(found) == 1:
            return found[0]
        labels = [item.label for item in self.items]
        if not found:
            raise DataError("scenario", one_of(labels), repr(label), nearest(str(label), map(str, labels)))
        raise DataError("scenario", f"{label!r} in one stratum", f"{len(found)}: name the strata of the scenarios")

    def pair(self, first: Hashable, second: Hashable) -> tuple[Trajectory, Trajectory]:
        """Return two scenarios to compare."""
        return self[first], self[second]


def fixed_scenarios(
    state: CoxState,
    newdata: pd.DataFrame,
    *,
    strata: object = None,
    offset: float | Sequence[float] = 0.0,
    begin: float | None = None,
    vcov: ArrayLike | None = None,
    ties: str | None = None,
    strata_labels: Sequence[object] | None = None,
) -> Scenarios:
    """Scenarios with covariates that do not change.

    Parameters
    ----------
    state, vcov, ties, strata_labels
        As for `baseline.hazard_jumps`.
    newdata
        As for `scenario_matrix`: one row a scenario, the index names them.
    strata
        Stratum of each scenario: one label for all or a list of one a row. Without it each scenario is
        predicted in every stratum, as R does.
    offset
        Offset, one for all scenarios or one each.
    begin
        Time from which the curve runs: survival given survival to ``begin``, events at ``begin`` itself not
        counted (R's ``start.time``, which counts them). By default 0, or the first start if that is negative.

    Raises
    ------
    DataError
        Covariates, strata or offset cannot be read; the fit has tt() terms, which do change.
    """
    refuse_time_terms(state, "fixed scenarios", "Use path_scenarios(state, path_over_time(state, ...))")
    jumps = hazard_jumps(state, vcov=vcov, ties=ties, strata_labels=strata_labels)
    values, labels = scenario_matrix(jumps.terms, newdata, state.design.encoding)
    centred = values - jumps.center
    offsets = _each(offset, len(labels), "offset")
    items: list[Trajectory] = []
    for row, label in enumerate(labels):
        places = _places(jumps, strata, row, len(labels))
        own = centred[row : row + 1], offsets[row : row + 1]
        items.extend(_fixed(jumps, label, place, *own, begin) for place in places)
    return Scenarios(jumps, tuple(items), state.design.strata is not None)


def _each(value: float | Sequence[float], count: int, name: str) -> Floats:
    values = np.asarray(value, dtype=np.float64)
    if values.ndim == 0:
        values = np.full(count, float(values))
    if values.shape != (count,) or not np.isfinite(values).all():
        raise DataError(name, f"one finite number, or {count}", str(value))
    return values


def _places(jumps: HazardJumps, strata: object, row: int, count: int) -> list[int]:
    if strata is None:
        return list(range(len(jumps.strata)))
    if isinstance(strata, str | tuple) or not isinstance(strata, Sequence | np.ndarray | pd.Series):
        return [jumps.position(strata)]
    if len(strata) != count:
        raise DataError("strata", f"one label, or {count}", f"{len(strata)} labels")
    return [jumps.position(list(strata)[row])]


def _fixed(
    jumps: HazardJumps, label: Hashable, place: int, x: Floats, offset: Floats, begin: float | None
) -> Trajectory:
    span = jumps.span(place)
    at = np.arange(span.start, span.stop)
    if begin is not None:
        at = at[jumps.times[at] > begin]
    start = min(0.0, float(jumps.entry[place])) if begin is None else float(begin)
    if not start < jumps.follow_up[place]:
        raise DataError("begin", f"a time before the last follow-up {jumps.follow_up[place]:g}", repr(begin))
    piece = np.zeros(len(at), dtype=np.int64)
    return trajectory(jumps, label, place, (start, float(jumps.follow_up[place])), at, x, offset, piece)


def trajectory(
    jumps: HazardJumps,
    label: Hashable,
    place: int,
    ends: tuple[float, float],
    at: Integers,
    x: Floats,
    offset: Floats,
    piece: Integers,
) -> Trajectory:
    """Build a scenario from covariates per piece and the piece at each event time (see `Trajectory`)."""
    relative = jumps.scale(x @ jumps.beta + offset)[piece]
    hazard = relative * jumps.hazard[at]
    gradient = x[piece] * hazard[:, None] - relative[:, None] * jumps.mean_hazard[at]
    variance = relative**2 * jumps.variance[at]
    return Trajectory(
        label, jumps.strata[place], *ends, at, jumps.times[at], x, offset, piece, relative, hazard, variance, gradient
    )


def path_scenarios(
    state: CoxState,
    path: pd.DataFrame,
    *,
    start: str = "start",
    stop: str = "stop",
    id: str | None = None,
    strata: str | None = None,
    offset: str | None = None,
    vcov: ArrayLike | None = None,
    ties: str | None = None,
    strata_labels: Sequence[object] | None = None,
) -> Scenarios:
    """Scenarios whose covariates change over time, as R's ``survfit(fit, newdata, id = )``.

    The curve is survival given survival to the first ``start``. Estimates equal R's. The standard errors are the
    delta method's for the whole path; R (3.5-3, and later versions seen) multiplies the whole
    cumulative baseline hazard by the current covariates, which is right only while they do not change.

    Parameters
    ----------
    state, vcov, ties, strata_labels
        As for `baseline.hazard_jumps`.
    path
        One row an interval (start, stop] with the covariates that hold in it; columns as in `scenario_matrix`.
        Intervals of one scenario follow one another without gap or overlap, in any order of rows.
    start, stop
        Names of the columns of the interval's ends.
    id
        Column that names the scenario; one scenario named 0 without it.
    strata
        Column with the stratum of the interval, needed if the fit has several.
    offset
        Column with the offset; 0 without it.

    Raises
    ------
    DataError
        A missing column, an interval that ends before it starts, a gap or an overlap; with tt() terms,
        an interval with several event times.
    """
    jumps = hazard_jumps(state, vcov=vcov, ties=ties, strata_labels=strata_labels)
    frame = path.reset_index(drop=True)
    for name in (start, stop, *(column for column in (id, strata, offset) if column is not None)):
        if name not in frame.columns:
            columns = [str(column) for column in frame.columns]
            raise DataError("path", f"a column {name!r}", one_of(columns), nearest(name, columns))
    values, _ = scenario_matrix(jumps.terms, frame, state.design.encoding)
    low, high = (numbers(frame[name], f"path, column {name!r}") for name in (start, stop))
    shift = np.zeros(len(frame)) if offset is None else numbers(frame[offset], f"path, column {offset!r}")
    if strata is None and len(jumps.strata) > 1:
        raise DataError("strata", "the name of the column with the stratum of each interval", "None")
    place = np.array([0 if strata is None else jumps.position(label) for label in frame[strata or start]])
    names = pd.Series(0, index=frame.index) if id is None else frame[id]
    if names.isna().any():
        raise DataError(f"path, column {id!r}", "a name in each row", "a missing value")
    items = []
    for label, rows in names.groupby(names, sort=False).groups.items():
        order = np.asarray(rows)[np.argsort(low[rows], kind="stable")]
        _check_path(label, low[order], high[order])
        items.append(_path(jumps, label, place[order], low[order], high[order], values[order], shift[order]))
    if state.design.source is not None and any((np.bincount(item.piece) > 1).any() for item in items):
        raise DataError("path", "one event time an interval, for tt() terms", "several", "path_over_time makes it")
    return Scenarios(jumps, tuple(items), state.design.strata is not None)


def path_over_time(
    state: CoxState,
    values: Mapping[str, float],
    by_time: Mapping[str, Callable[[Floats], ArrayLike]],
    *,
    begin: float = 0.0,
    end: float | None = None,
) -> pd.DataFrame:
    """Path with one interval an event time, for effects that change with time: tt() terms or products with time.

    Parameters
    ----------
    state
        Arrays behind the fit.
    values
        Values of the covariates that stay as they are.
    by_time
        Function of time for each of the others by name of the term, for example
        ``{"tt(age, log)": lambda t: 60 * np.log(t)}``; given the event times it returns one value each.
    begin, end
        Where the path runs; to the last event time by default.

    Returns
    -------
    DataFrame
        start, stop and the covariates, for `path_scenarios`.

    Raises
    ------
    DataError
        A path without event times, or a function that does not give one finite number for each time.
    """
    times = np.unique(state.risk_sets.times)
    times = times[(times > begin) & (times <= (np.inf if end is None else end))]
    if not len(times):
        raise DataError("begin, end", "a span with event times", f"{begin:g} to {end}")
    path = pd.DataFrame({"start": np.append(begin, times[:-1]), "stop": times, **values})
    for term, function in by_time.items():
        with np.errstate(all="ignore"):
            found = np.asarray(function(times.copy()), dtype=np.float64)
        if found.shape != times.shape or not np.isfinite(found).all():
            raise DataError(f"by_time, {term!r}", f"{len(times)} finite numbers, one an event time", str(found))
        path[term] = found
    return path


def _check_path(label: Hashable, low: Floats, high: Floats) -> None:
    if (high <= low).any():
        row = int(np.argmax(high <= low))
        raise DataError(f"path {label!r}, interval {row}", f"stop > start = {low[row]:g}", f"stop = {high[row]:g}")
    if (low[1:] != high[:-1]).any():
        row = int(np.argmax(low[1:] != high[:-1]))
        kind = "a gap" if low[row + 1] > high[row] else "an overlap"
        expected = f"an interval that starts at {high[row]:g}"
        raise DataError(f"path {label!r}, interval {row + 1}", expected, f"start = {low[row + 1]:g} ({kind})")


def _path(
    jumps: HazardJumps, label: Hashable, place: Integers, low: Floats, high: Floats, values: Floats, offset: Floats
) -> Trajectory:
    found = []
    for row, where in enumerate(place):
        span = jumps.span(int(where))
        ends = np.searchsorted(jumps.times[span], [low[row], high[row]], side="right") + span.start
        found.append(np.arange(ends[0], ends[1]))
    piece = np.repeat(np.arange(len(found)), [len(part) for part in found])
    # The path is known as long as each interval lies within its stratum's follow-up.
    short = np.flatnonzero(high > jumps.follow_up[place])
    end = high[-1] if not len(short) else max(low[short[0]], jumps.follow_up[place[short[0]]])
    at = np.concatenate(found)
    inside = jumps.times[at] <= end
    ends_of = (float(low[0]), float(end))
    return trajectory(jumps, label, int(place[0]), ends_of, at[inside], values - jumps.center, offset, piece[inside])
