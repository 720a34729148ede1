"""Battlefield trend: recent losses against losses so far."""

from __future__ import annotations

import numpy as np

from coalition_exit.coding.history import Floats, History, War
from coalition_exit.coding.losses import daily_deaths


def share_difference(own: Floats, enemy: Floats, window: int) -> Floats:
    """Share of both sides' deaths in the last ``window`` days minus the share before them.

    Parameters
    ----------
    own, enemy
        Deaths per day from the first day on, shape (T,).
    window
        Days; the last of them is the day itself.

    Returns
    -------
    ndarray, shape (T,)
        Positive = worsening. 0 where either period is empty or saw no deaths.
    """
    t = len(own)
    total_own = np.concatenate([[0.0], np.cumsum(own)])
    total_both = np.concatenate([[0.0], np.cumsum(own + enemy)])
    trend = np.zeros(t)
    if t <= window:
        return trend
    now, before = np.arange(window + 1, t + 1), np.arange(1, t + 1 - window)
    recent = total_both[now] - total_both[before]
    # Differences of running sums leave rounding noise where no one died.
    alive = (recent > 1e-9 * total_both[-1]) & (total_both[before] > 1e-9 * total_both[-1])
    with np.errstate(invalid="ignore", divide="ignore"):
        change = (total_own[now] - total_own[before]) / recent - total_own[before] / total_both[before]
    trend[now - 1] = np.where(alive, change, 0.0)
    return trend


def coalition_trend(history: History, war: War, *, window: float, casualty_ratio: float, unaccounted: str) -> Floats:
    """Trend of each member's side, from its side's first day, shape (M, T)."""
    deaths = _by_member(history, war, casualty_ratio, unaccounted)
    result = np.zeros(war.shape)
    for side in (1, 2):
        own = war.side == side
        days = np.flatnonzero(war.at_war[own].any(axis=0))
        span = slice(days[0], days[-1] + 1)
        result[own, span] = share_difference(deaths[own, span].sum(axis=0), deaths[~own, span].sum(axis=0), int(window))
    return result


def own_trend(history: History, war: War, *, window: float, casualty_ratio: float, unaccounted: str) -> Floats:
    """Trend of each member by itself, against its opponents' losses on its fronts, shape (M, T)."""
    own, faced = history.once(
        ("own_and_faced", war.warnum, casualty_ratio, unaccounted),
        lambda: _own_and_faced(war, _deaths(history, war, casualty_ratio, unaccounted)),
    )
    result = np.zeros(war.shape)
    for i in range(len(war.members)):
        days = np.flatnonzero(war.at_war[i])
        span = slice(days[0], days[-1] + 1)
        result[i, span] = share_difference(own[i, span], faced[i, span], int(window))
    return result


def _own_and_faced(war: War, deaths: Floats) -> tuple[Floats, Floats]:
    """Each member's deaths, and its opponents' on the fronts where it stood that day: (M, T) each."""
    faced = np.zeros(war.shape)
    by_side = {side: deaths[war.side != side, :-1].sum(axis=0) for side in (1, 2)}
    for i, side in enumerate(war.side):
        faced[i] = (by_side[int(side)] * (war.deployment[i] > 0)).sum(axis=0)
    return deaths.sum(axis=1), faced


def log_deaths(history: History, war: War, *, per_population: float, casualty_ratio: float, unaccounted: str) -> Floats:
    """Log of 1 + each member's deaths so far (per ``per_population`` inhabitants if positive), (M, T)."""
    so_far = np.cumsum(_by_member(history, war, casualty_ratio, unaccounted), axis=1)
    if per_population > 0:
        # NMC counts population in thousands.
        so_far = so_far * per_population / (1000.0 * war.by_year("tpop"))
    return np.log1p(np.maximum(so_far, 0.0))


def _deaths(history: History, war: War, casualty_ratio: float, unaccounted: str) -> Floats:
    key = ("daily_deaths", war.warnum, casualty_ratio, unaccounted)
    return history.once(key, lambda: daily_deaths(war, casualty_ratio, unaccounted))


def _by_member(history: History, war: War, casualty_ratio: float, unaccounted: str) -> Floats:
    key = ("deaths_by_member", war.warnum, casualty_ratio, unaccounted)
    return history.once(key, lambda: _deaths(history, war, casualty_ratio, unaccounted).sum(axis=1))
