"""Battle deaths by state, front and day.

What a battle cost is spread evenly over its days on which the state was at war, on the battle's
front. If the battles account for more deaths than the state's total (COW), they are scaled down to
it. What no battle accounts for is spread evenly over the state's days at war, on the fronts where
its troops stood, or over its days with troops at a front. Every state's deaths therefore add up to
its total where COW has one, unless a rule omits what no battle accounts for.
"""

from __future__ import annotations

import numpy as np

from coalition_exit.coding.history import Floats, War


def daily_deaths(war: War, casualty_ratio: float, unaccounted: str) -> Floats:
    """Spread battle deaths over fronts and days.

    Parameters
    ----------
    war
        M members, F fronts, T days.
    casualty_ratio
        Deaths per casualty, for battles of which only casualties are known.
    unaccounted
        What becomes of the deaths that no battle accounts for: "spread" over the days at war,
        "spread_on_front_days" over those on which the state had troops at a front (over all if it
        never had), or "omit" them.

    Returns
    -------
    ndarray, shape (M, F + 1, T)
        Deaths per day. The last front holds deaths on days without troops at any front.
    """
    m, t = war.shape
    deaths = np.zeros((m, len(war.fronts) + 1, t))
    front_of = {front: f for f, front in enumerate(war.fronts)}
    battles = {row.battle: row for row in war.rows["battles"]}
    for loss in war.rows["losses"]:
        i, battle = war.member(loss.side, loss.ccode), battles[loss.battle]
        span = war.span(battle.start, battle.end)
        days = np.flatnonzero(war.fought[i, span])
        if len(days):
            number = loss.number * (casualty_ratio if loss.measure == "casualties" else 1.0)
            deaths[i, front_of[battle.front], span.start + days] += number / len(days)
    for row in war.rows["members"]:
        if not np.isnan(row.deaths):
            _match_total(war, deaths, war.member(row.side, row.ccode), float(row.deaths), unaccounted)
    return deaths


def _match_total(war: War, deaths: Floats, i: int, total: float, unaccounted: str) -> None:
    coded = deaths[i].sum()
    if coded > total:
        deaths[i] *= total / coded
    if coded > total or unaccounted == "omit":
        return
    shares = war.deployment[i]
    present = shares.sum(axis=0)
    days = war.fought[i]
    if unaccounted == "spread_on_front_days" and (days & (present > 0)).any():
        days = days & (present > 0)
    per_day = (total - coded) / max(int(days.sum()), 1)
    where = np.divide(shares, present, out=np.zeros_like(shares), where=present > 0)
    deaths[i, :-1] += per_day * np.where(days, where, 0.0)
    deaths[i, -1] += per_day * (days & (present == 0))
