"""Variables about a state itself: regime, leader, aims."""

from __future__ import annotations

import numpy as np

from coalition_exit.coding.history import Floats, History, War


def polity(history: History, war: War) -> Floats:
    """Polity score of each member, shape (M, T)."""
    return war.by_year("polity2")


def democracy(history: History, war: War, *, threshold: float) -> Floats:
    """1 where the Polity score is at least the threshold, NaN where unknown, shape (M, T)."""
    score = war.by_year("polity2")
    return np.where(np.isnan(score), np.nan, (score >= threshold).astype(float))


def new_leader(history: History, war: War, *, caretaker_days: float) -> Floats:
    """1 where the leader came in after the spell began, shape (M, T); NaN where no leader is known.

    A leader counts as in office until the next, for at most ``caretaker_days`` after the last day.
    """
    result = np.full(war.shape, np.nan)
    for i, (_, ccode) in enumerate(war.members):
        if ccode not in war.leaders:
            continue
        starts, ends = war.leaders[ccode]
        serving = np.searchsorted(starts, war.days, side="right") - 1
        latest = np.maximum(serving, 0)
        away = (war.days - ends[latest]).astype(np.int64)
        known = (serving >= 0) & (away <= caretaker_days)
        for spell in war.spells[i]:
            span = slice(spell.first, spell.last + 1)
            new = starts[latest[span]] > war.days[spell.first]
            result[i, span] = np.where(known[span], new.astype(float), np.nan)
            # The record names no leaders after the fighting; who follows the last one came in since.
            waiting = slice(spell.fought_to + 1, spell.last + 1)
            result[i, waiting] = np.where(known[waiting], result[i, waiting], 1.0)
    return result


def aim(history: History, war: War, *, kind: str, dated: str, whose: str) -> Floats:
    """Whether an aim of a kind is held, shape (M, T): ``dated`` current, or as at the member's entry.

    ``whose``: the member's "own", the "coalition"'s (1 if any member at war that day has it), or the
    "share" of the members at war that day that have it.
    """
    held = war.dated("aims", lambda row: float(getattr(row, kind)))
    if whose != "own":
        held = _of_coalition(war, held, whose)
    if dated == "entry":
        for i, spells in enumerate(war.spells):
            for spell in spells:
                held[i, spell.first : spell.last + 1] = held[i, spell.first]
    return held


def _of_coalition(war: War, held: Floats, whose: str) -> Floats:
    result = np.full(war.shape, np.nan)
    for side in (1, 2):
        own = war.side == side
        known = ~np.isnan(held[own])
        having, members = np.nansum(held[own], axis=0), known.sum(axis=0)
        share = np.divide(having, members, out=np.full(len(war.days), np.nan), where=members > 0)
        result[own] = share if whose == "share" else np.where(members > 0, having > 0, np.nan)
    return np.where(war.at_war, result, np.nan)
