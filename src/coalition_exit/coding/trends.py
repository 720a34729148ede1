"""Battlefield trend: recent losses against earlier ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from coalition_exit.coding.history import Floats, History, War
from coalition_exit.coding.losses import daily_deaths

# Part of a war's losses below which a difference of running sums is rounding.
_NOISE = 1e-9


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


def log_ratio_difference(own: Floats, enemy: Floats, window: int) -> Floats:
    """Log of own over enemy losses in the last ``window`` days minus the same before them, shape (T,).

    One is added to each sum, so that a period without losses on one side has a ratio. 0 where either
    period is empty or saw no losses.
    """
    return _compare(own, enemy, window, None, lambda lost, taken: np.log1p(lost) - np.log1p(taken))


def slope(own: Floats, enemy: Floats, window: int) -> Floats:
    """Slope of the share of losses over the last ``window`` days, times ``window``, shape (T,).

    With d the day, counted from the middle of the window, and s the window's own share, this is
    sum d (own - s (own + enemy)) over N sum d^2 / W, times W, with N the window's losses of both
    sides. Where losses are even in time it is the least-squares slope of the daily share; a few days
    of heavy losses do not make it grow without bound, as they would that slope. From -3 to 3; 0
    before a whole window has passed, and where it saw no losses.
    """
    trend = np.zeros(len(own))
    if len(own) < window or window < 2:
        return trend
    day = np.arange(window) - (window - 1) / 2
    both, mine = (np.lib.stride_tricks.sliding_window_view(x, window) for x in (own + enemy, own))
    total = both.sum(axis=1)
    share = np.divide(mine.sum(axis=1), total, out=np.zeros_like(total), where=total > 0)
    moved = (mine @ day - share * (both @ day)) * window**2 / (day @ day)
    trend[window - 1 :] = np.divide(moved, total, out=np.zeros_like(total), where=total > 0)
    return trend


def _compare(
    own: Floats, enemy: Floats, window: int, before: int | None, balance: Callable[[Floats, Floats], Floats]
) -> Floats:
    """Balance of the last ``window`` days minus that of the ``before`` days before them (None: all)."""
    t = len(own)
    sums_own, sums_enemy = (np.concatenate([[0.0], np.cumsum(x)]) for x in (own, enemy))
    trend = np.zeros(t)
    if t <= window:
        return trend
    now, then = np.arange(window + 1, t + 1), np.arange(1, t + 1 - window)
    start = np.zeros_like(then) if before is None else np.maximum(then - before, 0)
    recent = [sums[now] - sums[then] for sums in (sums_own, sums_enemy)]
    earlier = [sums[then] - sums[start] for sums in (sums_own, sums_enemy)]
    noise = _NOISE * (sums_own[-1] + sums_enemy[-1])
    # Differences of running sums leave rounding noise, of either sign, where no one died.
    recent, earlier = ([np.where(x > noise, x, 0.0) for x in pair] for pair in (recent, earlier))
    alive = (recent[0] + recent[1] > 0) & (earlier[0] + earlier[1] > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        change = balance(*recent) - balance(*earlier)
    trend[now - 1] = np.where(alive, change, 0.0)
    return trend


def _share(lost: Floats, taken: Floats) -> Floats:
    return lost / (lost + taken)


def _trend(own: Floats, enemy: Floats, window: int, measure: str, before: str) -> Floats:
    if measure == "slope":
        return slope(own, enemy, window)
    if measure == "log_ratio" and before == "war":
        return log_ratio_difference(own, enemy, window)
    if measure == "log_ratio":
        return _compare(own, enemy, window, window, lambda lost, taken: np.log1p(lost) - np.log1p(taken))
    if before == "war":
        return share_difference(own, enemy, window)
    return _compare(own, enemy, window, window, _share)


def coalition_trend(
    history: History,
    war: War,
    *,
    window: float,
    casualty_ratio: float,
    unaccounted: str,
    losses: str,
    measure: str,
    before: str,
) -> Floats:
    """Trend of each member's side, from its side's first day, shape (M, T).

    ``losses``: "deaths", or "battles" (those lost and those won on their last day, half each where
    indecisive). ``measure``: "share_difference", "log_ratio" or "slope". ``before``: what the recent
    losses are set against, the "war" to date or the "window" of equal length before.
    """
    amounts = _battles(war) if losses == "battles" else _by_member(history, war, casualty_ratio, unaccounted)
    result = np.zeros(war.shape)
    for side in (1, 2):
        own = war.side == side
        days = np.flatnonzero(war.at_war[own].any(axis=0))
        span = slice(days[0], days[-1] + 1)
        if losses == "battles":
            lost, taken = amounts[2 - side, span], amounts[side - 1, span]
        else:
            lost, taken = amounts[own, span].sum(axis=0), amounts[~own, span].sum(axis=0)
        result[own, span] = _trend(lost, taken, int(window), measure, before)
    return result


def own_trend(
    history: History,
    war: War,
    *,
    window: float,
    casualty_ratio: float,
    unaccounted: str,
    losses: str,
    measure: str,
    before: str,
) -> Floats:
    """Trend of each member by itself, on the fronts where it stood, shape (M, T).

    Parameters as for `coalition_trend`. Deaths: the member's against its opponents' on its fronts.
    Battles: those on fronts where it had troops on the battle's last day.
    """
    if losses == "battles":
        own, faced = history.once(("own_battles", *war.key), lambda: _own_battles(war))
    else:
        own, faced = history.once(
            ("own_and_faced", *war.key, casualty_ratio, unaccounted),
            lambda: _own_and_faced(war, _deaths(history, war, casualty_ratio, unaccounted)),
        )
    result = np.zeros(war.shape)
    for i in range(len(war.members)):
        days = np.flatnonzero(war.at_war[i])
        span = slice(days[0], days[-1] + 1)
        result[i, span] = _trend(own[i, span], faced[i, span], int(window), measure, before)
    return result


def _battles(war: War) -> Floats:
    """Battles won by side 1 and by side 2 on each day, shape (2, T); an indecisive one is half each."""
    return _battles_by_front(war).sum(axis=1)


def _battles_by_front(war: War) -> Floats:
    """Battles won by each side, by front and last day, shape (2, F, T); without a coded winner none."""
    won = np.zeros((2, len(war.fronts), len(war.days)))
    front_of = {front: f for f, front in enumerate(war.fronts)}
    for row in war.rows["battles"]:
        last = war.span(row.end, row.end)
        if np.isnan(row.winner) or not 0 < last.stop <= len(war.days):
            continue
        shares = (0.5, 0.5) if row.winner == 0 else (row.winner == 1, row.winner == 2)
        for side, share in enumerate(shares):
            won[side, front_of[row.front], last.stop - 1] += share
    return won


def _own_battles(war: War) -> tuple[Floats, Floats]:
    """Battles lost and won on each member's fronts: (M, T) each."""
    won = _battles_by_front(war)
    present = war.deployment > 0
    own, enemy = war.side - 1, 2 - war.side
    return (present * won[enemy]).sum(axis=1), (present * won[own]).sum(axis=1)


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
    key = ("daily_deaths", *war.key, casualty_ratio, unaccounted)
    return history.once(key, lambda: daily_deaths(war, casualty_ratio, unaccounted))


def _by_member(history: History, war: War, casualty_ratio: float, unaccounted: str) -> Floats:
    key = ("deaths_by_member", *war.key, casualty_ratio, unaccounted)
    return history.once(key, lambda: _deaths(history, war, casualty_ratio, unaccounted).sum(axis=1))
