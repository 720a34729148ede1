"""Risk sets that specs share: one for each outcome, sample, subjects and pattern of missing values.

Of the panel's rows only those at risk at an event time count for a Cox model. They are laid out risk set by
risk set, once, and each covariate is brought into that order, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coalition_exit.errors import DataError, FitError
from coalition_exit.multiverse.choices.resolve import Coding, Setting
from coalition_exit.multiverse.fits.columns import Columns
from coalition_exit.runner.sources import RecordSource, TableSource
from coalition_exit.specs.models import ModelSpec
from coalition_exit.survival.data.surv import Surv, check_episodes

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Base:
    """Rows of a sample that have an outcome and a cluster, whatever their covariates.

    Attributes
    ----------
    rows : shape (r,)
        Their positions in the data.
    start, stop, event : shape (r,)
        The response.
    id : shape (r,) or None
        Subject of each row.
    cluster : shape (r,) or None
    own : DataFrame or None
        The rows themselves, where a source prepares them by outcome (the author's file).
    """

    rows: Integers
    start: Floats | None
    stop: Floats
    event: Floats
    id: NDArray[np.generic] | None
    cluster: NDArray[np.generic] | None
    own: pd.DataFrame | None = None

    def values(self, columns: Columns, coding: Coding, name: str) -> Floats:
        """Return a covariate on these rows: shape (r,)."""
        if self.own is not None:
            return self.own[name].to_numpy(dtype=np.float64, na_value=np.nan)
        return np.asarray(columns.get(coding, [name])[name][self.rows])


def base_rows(columns: Columns, setting: Setting, model: ModelSpec) -> Base:
    """Return the rows of a setting; ``model`` is any spec of it.

    Raises
    ------
    FitError, DataError
        When the data have not what it takes.
    """
    source = columns.source
    if isinstance(source, RecordSource):
        return _from_columns(columns, setting, ("start", "stop", "idvar"), ())
    if isinstance(source, TableSource):
        data = source.data
        return _from_columns(columns, setting, (data.start, data.stop or data.time, data.id), data.timing)
    rows = source.rows(replace(model, covariates=()))
    clock = [part.strip() for part in rows.response.removeprefix("Surv(").rstrip(")").split(",")]
    frame = rows.frame
    by = setting.errors.by if setting.errors.type == "cluster" else ""
    return Base(
        np.arange(len(frame)),
        frame[clock[0]].to_numpy(dtype=np.float64) if len(clock) == 3 else None,
        frame[clock[-2]].to_numpy(dtype=np.float64),
        frame[clock[-1]].to_numpy(dtype=np.float64),
        frame[rows.id].to_numpy() if rows.id else None,
        frame[by].to_numpy() if by else None,
        frame,
    )


def _from_columns(columns: Columns, setting: Setting, clock: Sequence[str], timing: Sequence[str]) -> Base:
    first, last, subject = clock
    by = setting.errors.by if setting.errors.type == "cluster" else ""
    names = dict.fromkeys([*(name for name in clock if name), *timing, *setting.names])
    frame = columns.raw(setting.coding, list(names))
    outcome = setting.failure
    if setting.censor:
        hit = np.logical_or.reduce([e.evaluate(frame) for e in setting.censor])
        frame[outcome] = frame[outcome].mask(hit, 0)
    keep = np.ones(len(frame), dtype=bool)
    for expression in setting.sample:
        keep &= expression.evaluate(frame)
    keep &= frame[[outcome, *setting.strata, *([by] if by else ()), *timing]].notna().all(axis=1).to_numpy()
    rows = np.flatnonzero(keep)
    chosen = frame.iloc[rows]
    return Base(
        rows,
        chosen[first].to_numpy(dtype=np.float64) if first else None,
        chosen[last].to_numpy(dtype=np.float64),
        chosen[outcome].to_numpy(dtype=np.float64),
        chosen[subject].to_numpy() if subject else None,
        chosen[by].to_numpy() if by else None,
    )


def spread_of(values: Floats, time: Floats | None) -> float:
    """Return the standard deviation over the time at risk; rows count alike without times.

    Cutting an episode in two changes nothing.
    """
    share = np.full(len(values), 1 / len(values)) if time is None else time / time.sum()
    # No scalar products: their last digits depend on the number of threads.
    return float(np.sqrt((share * (values - (share * values).sum()) ** 2).sum()))


class RiskGroup:
    """Specs' shared risk sets and the covariates laid out along them.

    Parameters
    ----------
    base
        Rows of the setting.
    complete : shape (r,)
        Those of them on which all covariates are known.
    others
        "mean", "median" or "zero": value of covariates that a scenario does not name.

    Attributes
    ----------
    counts
        n_obs, n_subject, n_event, n_cluster as a fit reports them.
    problem
        Status and reason when nothing can be fitted, else None.
    """

    def __init__(self, base: Base, complete: NDArray[np.bool_], others: str) -> None:
        self.base = base
        self.kept = kept = np.flatnonzero(complete).astype(np.int32)
        self._others = others
        event = base.event[kept]
        ids = None if base.id is None else pd.factorize(base.id[kept])[0].astype(np.int64)
        codes, labels = (None, ()) if base.cluster is None else pd.factorize(base.cluster[kept])
        self.counts: dict[str, int | None] = {
            "n_obs": len(kept),
            "n_subject": len(kept) if ids is None else int(ids.max(initial=-1)) + 1,
            "n_event": int(event.sum()),
            "n_cluster": None if codes is None else len(labels),
        }
        self.problem: tuple[str, str] | None = None
        try:
            if not len(kept):
                raise FitError("no_observations", "no row is left after the sample filters and missing values")
            surv = self.surv()
            if ids is not None:
                check_episodes(surv, ids)
            if not surv.event.any():
                raise FitError("no_events", f"no events among {len(kept)} rows")
        except (FitError, DataError) as error:
            self.problem = (getattr(error, "status", "bad_data"), str(error))
            return
        self._lay_out(surv, np.zeros(len(kept), dtype=np.int64) if codes is None else codes)
        self._place: dict[str, int] = {}
        self._transformed: dict[str, Floats | None] = {}
        self._x = np.empty((0, len(self.order)))
        self._size, self._means, self._level = np.empty(0), np.empty((len(self.times), 0)), np.empty(0)
        self._spread = np.empty(0)

    def surv(self) -> Surv:
        """Return the response of the complete rows."""
        base, kept = self.base, self.kept
        columns = [base.stop[kept], base.event[kept]]
        return Surv(*columns) if base.start is None else Surv(base.start[kept], *columns)

    def _lay_out(self, surv: Surv, clusters: Integers) -> None:
        self.times = np.unique(surv.stop[surv.event])
        first = np.searchsorted(self.times, surv.start, side="right")
        last = np.searchsorted(self.times, surv.stop, side="right")
        crosses = np.flatnonzero(first < last)
        self.at_risk = crosses
        count = (last - first)[crosses]
        row = np.repeat(crosses, count)
        within = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        time = first[row] + within
        dies = surv.event[row] & (time == last[row] - 1)
        cluster = clusters[row]
        by = np.lexsort((row, cluster, ~dies, time))
        self.order, self.time = row[by], time[by]
        self.offsets = np.searchsorted(self.time, np.arange(len(self.times) + 1)).astype(np.int64)
        self.deaths = np.bincount(time[dies], minlength=len(self.times)).astype(np.int64)
        self.clusters = cluster[by].astype(np.int64)
        self.follow_up = float(surv.stop.max())

    @property
    def ready(self) -> bool:
        """Whether models can be fitted."""
        return self.problem is None

    def known(self, token: str) -> bool:
        """Tell whether a covariate is laid out."""
        return token in self._place

    def column(self, token: str, values: Any = None) -> int:
        """Return the place of a covariate, laid out when it is first asked for; -1 if it is not finite.

        ``values`` are those of the rows of the setting.
        """
        if token not in self._place:
            own = values[self.kept]
            if not np.isfinite(own).all():
                self._place[token] = -1
                return -1
            laid = own[self.order]
            counts = np.diff(self.offsets)
            mean = np.add.reduceat(laid, self.offsets[:-1]) / counts
            at_risk = own[self.at_risk]
            level = {"mean": own.mean, "median": lambda: float(np.median(own)), "zero": lambda: 0.0}[self._others]()
            n = sum(1 for k in self._place.values() if k >= 0)
            self._grow(n)
            self._x[n] = laid - mean[self.time]
            self._size[n] = np.abs(at_risk - at_risk.mean()).max()
            self._means[:, n] = mean
            self._level[n] = level
            self._spread[n] = spread_of(own, self.exposure())
            self._place[token] = n
        return self._place[token]

    def _grow(self, n: int) -> None:
        if n < len(self._size):
            return
        more = max(8, n)
        self._x = np.concatenate([self._x, np.empty((more, self._x.shape[1]))])
        self._size = np.concatenate([self._size, np.empty(more)])
        self._means = np.ascontiguousarray(np.hstack([self._means, np.empty((len(self.times), more))]))
        self._level = np.concatenate([self._level, np.empty(more)])
        self._spread = np.concatenate([self._spread, np.empty(more)])

    @property
    def x(self) -> Floats:
        """Covariates by place, centred within risk sets: shape (places, rows laid out)."""
        return self._x

    @property
    def size(self) -> Floats:
        """Largest distance of a covariate from its mean among the rows at risk."""
        return self._size

    @property
    def means(self) -> Floats:
        """Means of the covariates in the risk sets: shape (times, places)."""
        return self._means

    @property
    def level(self) -> Floats:
        """Value of each covariate in a scenario that does not name it."""
        return self._level

    @property
    def spread(self) -> Floats:
        """Standard deviation of each covariate over the time at risk (`spread_of`)."""
        return self._spread

    def exposure(self) -> Floats:
        """Return the time at risk in each complete row."""
        stop = self.base.stop[self.kept]
        return stop if self.base.start is None else stop - self.base.start[self.kept]

    @property
    def n_clusters(self) -> int:
        """Number of clusters, 1 without any."""
        return int(self.counts["n_cluster"] or 1)

    def transformed(self, transform: str) -> Floats | None:
        """Return g(t) of both tests at the event times, centred over the events: shape (2, K). Kept once made.

        The first is the score test's, the second Grambsch and Therneau's; they differ for "rank" (`phtest`). None
        when g is the same at every event or not finite.
        """
        if transform not in self._transformed:
            self._transformed[transform] = self._transform(transform)
        return self._transformed[transform]

    def _transform(self, transform: str) -> Floats | None:
        times, surv = self.times, self.surv()
        if transform == "identity":
            g = np.stack([times, times])
        elif transform == "log":
            with np.errstate(divide="ignore", invalid="ignore"):
                g = np.stack([np.log(times)] * 2)
        elif transform == "rank":
            pools = (np.sort(surv.stop), np.sort(surv.stop[surv.event]))
            g = np.stack([
                (np.searchsorted(pool, times) + np.searchsorted(pool, times, side="right") + 1) / 2 for pool in pools
            ])  # fmt: skip
        else:
            entered = np.searchsorted(np.sort(surv.start), times)
            left = np.searchsorted(np.sort(surv.stop), times)
            survival = np.concatenate([[1.0], np.cumprod(1 - self.deaths / (entered - left))])
            g = np.stack([1 - survival[:-1]] * 2)
        if not np.isfinite(g).all() or (np.ptp(g, axis=1) <= 1e-12 * np.abs(g).max(axis=1)).any():
            return None
        return np.asarray(g - ((g * self.deaths).sum(axis=1) / self.deaths.sum())[:, None])

    def frame(self, names: Sequence[str], values: Sequence[Floats]) -> tuple[pd.DataFrame, bool]:
        """Return the complete rows for the estimator itself, and whether it has subjects.

        The columns are those given, and start, stop, event, id, cluster.
        """
        base, kept, surv = self.base, self.kept, self.surv()
        columns: dict[str, object] = {"_start": surv.start, "_stop": surv.stop, "_event": surv.event.astype(float)}
        if base.id is not None:
            columns["_id"] = base.id[kept]
        if base.cluster is not None:
            columns["_cluster"] = base.cluster[kept]
        columns |= {name: v[kept] for name, v in zip(names, values, strict=True)}
        return pd.DataFrame(columns), base.start is not None
