"""Variables about a state itself: regime, leader, aims; and how its participation ended."""

from __future__ import annotations

import numpy as np
import pandas as pd

from coalition_exit.coding.expressions import Expression
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
    return result


def aim(history: History, war: War, *, kind: str, dated: str) -> Floats:
    """1 where the member has an aim of a kind, shape (M, T): ``dated`` current, or as at its entry."""
    held = war.dated("aims", lambda row: float(getattr(row, kind)))
    if dated == "entry":
        for i, spells in enumerate(war.spells):
            for spell in spells:
                held[i, spell.first : spell.last + 1] = held[i, spell.first]
    return held


def exits(history: History, war: War, *, where: str, **unclear: str) -> Floats:
    """1 on the last day of spells whose facts satisfy an expression, shape (M, T).

    ``where`` is an expression over the columns of ``exits.csv``; ``unclear_partners_wish="no"`` and
    the like say how to read "unclear" in a column.
    """
    counted = history.once(("exits", where, tuple(sorted(unclear.items()))), lambda: _counted(history, where, unclear))
    result = np.zeros(war.shape)
    for i, (side, ccode) in enumerate(war.members):
        for spell in war.spells[i]:
            if (war.warnum, side, ccode, spell.number) in counted:
                result[i, spell.last] = 1.0
    return result


def _counted(history: History, where: str, unclear: dict[str, str]) -> frozenset[tuple[int, int, int, int]]:
    """Return the spells, as (war, side, state, spell), whose exit satisfies the expression."""
    table = read_exits(history.exits, unclear)
    chosen = table[Expression(where, "exits > where").evaluate(table)]
    keys = chosen[["warnum", "side", "ccode", "spell"]].itertuples(index=False)
    return frozenset((int(a), int(b), int(c), int(d)) for a, b, c, d in keys)


def read_exits(table: pd.DataFrame, unclear: dict[str, str]) -> pd.DataFrame:
    """Return the exits with "unclear" read as the rule says (given as ``unclear_COLUMN``)."""
    table = table.copy()
    for key, reading in unclear.items():
        column = key.removeprefix("unclear_")
        table[column] = table[column].where(table[column] != "unclear", reading)
    return table
