"""Kaplan-Meier and Nelson-Aalen curves and log-rank tests on start-stop data.

A row is at risk at t when ``start < t <= stop``. lifelines takes ``[entry, duration]``: a row that
starts when another stops is at risk with it at that instant, and so counted twice. The curves are
therefore computed here and put into lifelines' fitters, whose plots and methods then work on them.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coalition_exit.errors import DataError
from coalition_exit.survival.curves.curve import Curve, reach_of
from coalition_exit.survival.curves.fitters import kaplan_meier_fitter, nelson_aalen_fitter
from coalition_exit.survival.data.design import Design, _codes, _column, build_design
from coalition_exit.survival.data.formula import require_response
from coalition_exit.survival.data.surv import Floats, Integers, Surv, check_episodes
from coalition_exit.survival.data.timefix import join_near_times

_BLOCK = 10_000_000


def estimate_curve(
    surv: Surv, weights: Floats | None = None, id: Integers | None = None, cluster: Integers | None = None
) -> Curve:
    """Estimate the survival function and the cumulative hazard.

    Parameters
    ----------
    surv
        The response, n rows.
    weights
        Case weights, shape (n,); rows of weight 0 count for nothing.
    id
        Subject of each row, shape (n,): episodes that follow one another without an event between
        them are then one spell, neither censored nor entered at the boundary.
    cluster
        Cluster of each row, shape (n,): gives the infinitesimal jackknife variance.

    References
    ----------
    Kaplan and Meier (1958), JASA 53, 457-481; Greenwood (1926); Aalen (1978), Annals of Statistics
    6, 701-726; Therneau and Grambsch (2000), section 2.1, for the jackknife.
    """
    w = np.ones(len(surv)) if weights is None else weights
    keep = w > 0
    if not keep.any():
        raise DataError("curve", "a row of positive weight", "none")
    start, stop, event, w = surv.start[keep], surv.stop[keep], surv.event[keep], w[keep]
    spells = _spells(start, stop, event, w, None if id is None else id[keep])
    opening = spells["entry"].min()
    ends, lost = spells["duration"].to_numpy(), ~spells["event"].to_numpy()
    times = np.unique(np.concatenate([[opening], stop[event], ends, spells["entry"]]))
    both = np.column_stack([w, np.ones(len(w))])
    at_risk, number = (_sum_before(start, both, times) - _sum_before(stop, both, times)).T
    d, events = _sum_at(stop[event], w[event], times), _sum_at(stop[event], np.ones(int(event.sum())), times)
    # By number, not by weight: whether all at risk have the event must not hang on rounding.
    left = np.where(events == number, 0.0, at_risk - d)
    at_risk = left + d
    some = d > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        step = np.where(some, d / at_risk, 0.0)
        greenwood, aalen = np.where(some, step / left, 0.0), np.where(some, step / at_risk, 0.0)
        survival: Floats = np.cumprod(np.where(some, left / at_risk, 1.0), dtype=np.float64)
    survival_variance, hazard_variance = np.cumsum(greenwood), np.cumsum(aalen)
    if cluster is not None:
        rows = (start, stop, event, w, pd.factorize(cluster[keep])[0].astype(np.int64))
        survival_variance, hazard_variance = _jackknife(rows, times, at_risk, left, step)
    return Curve(
        time=times,
        at_risk=at_risk,
        events=d,
        censored=_sum_at(ends[lost], spells["weight"].to_numpy()[lost], times),
        entered=_sum_at(spells["entry"].to_numpy(), spells["weight"].to_numpy(), times),
        survival=survival,
        survival_variance=np.where(survival > 0, survival_variance, np.nan),
        hazard=np.cumsum(step),
        hazard_variance=hazard_variance,
        robust=cluster is not None,
        spells=spells,
    )


def _spells(start: Floats, stop: Floats, event: NDArray[np.bool_], w: Floats, id: Integers | None) -> pd.DataFrame:
    """Put together the episodes that follow one another; who is always at risk enters at the opening."""
    first = np.isneginf(start)
    opening = min(0.0, float(stop.min()))
    entry = np.where(first, opening, start)
    if id is None:
        return pd.DataFrame({"entry": entry, "duration": stop, "event": event, "weight": w})
    order = np.lexsort((stop, id))
    before, after = order[:-1], order[1:]
    joined = (id[before] == id[after]) & (stop[before] == start[after]) & ~event[before] & (w[before] == w[after])
    begin, end = order[np.append(True, ~joined)], order[np.append(~joined, True)]
    return pd.DataFrame({"entry": entry[begin], "duration": stop[end], "event": event[end], "weight": w[end]})


def _sum_before(at: Floats, w: Floats, times: Floats) -> Floats:
    """Sum of the weights, shape (n, 2), of the places before each time: shape (T, 2)."""
    order = np.argsort(at, kind="stable")
    total = np.concatenate([np.zeros((1, 2)), np.cumsum(w[order], axis=0)])
    return np.asarray(total[np.searchsorted(at[order], times, side="left")])


def _sum_at(at: Floats, w: Floats, times: Floats) -> Floats:
    return np.bincount(np.searchsorted(times, at), weights=w, minlength=len(times)).astype(np.float64, copy=False)


def _jackknife(
    rows: tuple[Floats, Floats, NDArray[np.bool_], Floats, Integers],
    times: Floats,
    at_risk: Floats,
    left: Floats,
    step: Floats,
) -> tuple[Floats, Floats]:
    """Sum over clusters the squares of their influence on log(survival) and on the hazard."""
    start, stop, event, w, cluster = rows
    at = np.flatnonzero(step > 0)
    k, n_cluster = len(at), int(cluster.max()) + 1
    first, last = np.searchsorted(times[at], start, side="right"), np.searchsorted(times[at], stop, side="right")
    here = np.searchsorted(times[at], stop)
    totals = np.zeros((2, k))
    size = max(1, _BLOCK // max(k, 1))
    for low in range(0, n_cluster if k else 0, size):
        part = np.flatnonzero((cluster >= low) & (cluster < low + size))
        cell = (cluster[part] - low) * (k + 1)
        count = min(size, n_cluster - low) * (k + 1)
        change = np.bincount(cell + first[part], weights=w[part], minlength=count)
        change -= np.bincount(cell + last[part], weights=w[part], minlength=count)
        own = np.cumsum(change.reshape(-1, k + 1), axis=1)[:, :k]
        had = event[part]
        d = np.bincount(cell[had] + here[part][had], weights=w[part][had], minlength=count).reshape(-1, k + 1)[:, :k]
        surplus = d - own * step[at]
        with np.errstate(divide="ignore", invalid="ignore"):
            totals[0] += np.square(np.cumsum(surplus / left[at], axis=1)).sum(axis=0)
        totals[1] += np.square(np.cumsum(surplus / at_risk[at], axis=1)).sum(axis=0)
    place = np.searchsorted(at, np.arange(len(times)), side="right")
    spread = np.concatenate([np.zeros((2, 1)), totals], axis=1)[:, place]
    return spread[0], spread[1]


def survival_curves(
    response: str,
    data: pd.DataFrame,
    *,
    by: str | Sequence[str] | None = None,
    id: str | None = None,
    weights: str | None = None,
    cluster: str | None = None,
) -> dict[Hashable, Curve]:
    """Estimate a `Curve` for each group; parameters, keys and errors as `kaplan_meier`."""
    require_response(response, "with the groups in by=")
    design = build_design(f"{response} ~ 1", data, id=id, weights=weights, cluster=cluster)
    surv, n_joined = join_near_times(design.surv)
    design = replace(design, surv=surv)
    if design.id is not None:
        check_episodes(design.surv, design.id, design.id_labels)
    if design.cluster is not None and (design.n_cluster or 0) < 2:
        raise DataError("cluster", "at least two clusters", str(design.n_cluster))
    codes, keys = group_codes(data, by)
    order = np.argsort(codes, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
    return {key: replace(_curve_of(design, part), n_joined=n_joined) for key, part in zip(keys, parts, strict=True)}


def _curve_of(design: Design, rows: Integers) -> Curve:
    def pick(values: Any) -> Any:
        return None if values is None else values[rows]

    surv, start = design.surv, design.surv.start[rows]
    part = (surv.stop[rows], surv.event[rows])
    response = Surv(start, *part) if surv.is_counting else Surv(*part)
    return estimate_curve(response, pick(design.weights), pick(design.id), pick(design.cluster))


def group_codes(data: pd.DataFrame, by: str | Sequence[str] | None) -> tuple[Integers, list[Hashable]]:
    """Return the group of each row, shape (n,), and the groups' keys in ascending order."""
    if by is None:
        return np.zeros(len(data), dtype=np.int64), ["all"]
    names = [by] if isinstance(by, str) else list(by)
    columns = [_column(data, name, "by") for name in names]
    for name, column in zip(names, columns, strict=True):
        _codes(column, f"by, column {name!r}")
    groups = data.groupby(names if len(names) > 1 else names[0], sort=True, observed=True)
    return groups.ngroup().to_numpy(dtype=np.int64), list(groups.size().index)


def kaplan_meier(
    response: str,
    data: pd.DataFrame,
    *,
    by: str | Sequence[str] | None = None,
    id: str | None = None,
    weights: str | None = None,
    cluster: str | None = None,
    level: float = 0.95,
    interval: str = "log-log",
) -> dict[Hashable, Any]:
    """Kaplan-Meier curves by group, as lifelines' ``KaplanMeierFitter``.

    Parameters
    ----------
    response
        ``"Surv(start, stop, event)"`` or ``"Surv(time, event)"``.
    data
        One row per episode. Never changed.
    by
        Column, or columns, with the groups; a subject may change its group over time.
    id
        Subject of each row: episodes are checked for overlap, and the boundary between two
        episodes of one subject in one group is no censoring and no entry. The curve is the same
        without it.
    weights
        Case weights.
    cluster
        Clusters for the infinitesimal jackknife variance (R's ``survfit(cluster=)``) in place of
        Greenwood's.
    level
        Confidence level.
    interval
        "log-log" (Stata, lifelines), "log" (R's default) or "plain".

    Returns
    -------
    dict
        Group (a tuple for several columns; "all" without ``by``) to fitter. Each fitter's
        ``event_table`` has, beside lifelines' ``at_risk``, which counts entries at t too, the
        column ``risk_set``, the number with ``start < t <= stop``. Its ``curve_`` is the `Curve`.

    Raises
    ------
    DataError
        As for the estimators: unknown columns, missing values, overlapping episodes of a subject.
    """
    reach_of(level, interval)
    curves = survival_curves(response, data, by=by, id=id, weights=weights, cluster=cluster)
    return {key: kaplan_meier_fitter(c, _label(by, key), level, interval) for key, c in curves.items()}


def nelson_aalen(
    response: str,
    data: pd.DataFrame,
    *,
    by: str | Sequence[str] | None = None,
    id: str | None = None,
    weights: str | None = None,
    cluster: str | None = None,
    level: float = 0.95,
    interval: str = "log",
) -> dict[Hashable, Any]:
    """Nelson-Aalen cumulative hazards by group, as lifelines' ``NelsonAalenFitter``.

    Parameters, keys and errors as `kaplan_meier`; ``interval`` is "log" (Stata) or "plain". The
    increments are d / Y and their variances d / Y^2, as in Stata and in R's ``survfit(ctype = 1)``;
    lifelines' own default breaks ties up instead.
    """
    reach_of(level, interval)
    curves = survival_curves(response, data, by=by, id=id, weights=weights, cluster=cluster)
    return {key: nelson_aalen_fitter(c, _label(by, key), level, interval) for key, c in curves.items()}


def _label(by: str | Sequence[str] | None, key: Hashable) -> str:
    if by is None:
        return "all"
    pairs = [(by, key)] if isinstance(by, str) else zip(by, key if isinstance(key, tuple) else (key,), strict=True)
    return ", ".join(f"{name}={value}" for name, value in pairs)
