"""Outcomes: which exits and pull-backs count, and as what."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from coalition_exit.coding.expressions import Expression
from coalition_exit.coding.facts import KEY, facts_with, pullback_facts
from coalition_exit.coding.history import Floats, History, War

SpellKey = tuple[int, int, int, int]


def exits(history: History, war: War, *, where: str, **unclear: str) -> Floats:
    """1 on the last day of fighting of spells whose facts satisfy an expression, shape (M, T).

    ``where`` is an expression over `coalition_exit.coding.facts.exit_facts`;
    ``unclear_partners_wish="no"`` and the like say how to read "unclear" in a column. NaN on the
    days of a spell after its counted exit, where the state waits for the peace.
    """
    return _mark(war, dict.fromkeys(counted(history, where, unclear), 1.0))


def exit_causes(history: History, war: War, *, where: str, competing: str, first: str, **unclear: str) -> Floats:
    """1 where an exit counts as abandonment (``where``), 2 where as competing exit, else 0, (M, T).

    ``first`` says which of the two an exit is that satisfies both: "abandonment" or "competing".
    """
    causes = {1.0: counted(history, where, unclear), 2.0: counted(history, competing, unclear)}
    order = (2.0, 1.0) if first == "abandonment" else (1.0, 2.0)
    return _mark(war, {key: cause for cause in order for key in causes[cause]})


def exits_and_pullbacks(
    history: History,
    war: War,
    *,
    where: str,
    pullbacks: str,
    min_share: float,
    unknown_share: str,
    afterwards: str,
    **unclear: str,
) -> Floats:
    """As `exits`, and 1 on the first day of partial pull-backs that count, shape (M, T).

    A pull-back counts if it satisfies ``pullbacks`` and at least ``min_share`` of the state's forces
    went (``unknown_share`` says whether one of unknown size does). ``afterwards`` "out": the
    state's days after its first event are NaN, no longer at risk; "at_risk": it can fail again.
    """
    result = exits(history, war, where=where, **unclear)
    chosen = counted_pullbacks(history, pullbacks, min_share, unknown_share, unclear)
    for row in chosen[chosen["warnum"] == war.warnum].itertuples(index=False):
        if (int(row.side), int(row.ccode)) not in war.members:
            continue
        i = war.member(row.side, row.ccode)
        day = war.span(row.start, row.start).start
        if any(s.number == row.spell for s in war.spells[i]):
            result[i, day] = 1.0
    if afterwards == "out":
        for i, spells in enumerate(war.spells):
            for spell in spells:
                events = np.flatnonzero(result[i, spell.first : spell.last + 1] == 1)
                if len(events):
                    result[i, spell.first + events[0] + 1 : spell.last + 1] = np.nan
    return result


def entry_fact(history: History, war: War, *, where: str) -> Floats:
    """1 throughout the spells whose facts on entry satisfy an expression, shape (M, T)."""
    chosen = counted(history, where, {})
    result = np.where(war.at_war, 0.0, np.nan)
    for i, (side, ccode) in enumerate(war.members):
        for spell in war.spells[i]:
            if (war.warnum, side, ccode, spell.number) in chosen:
                result[i, spell.first : spell.last + 1] = 1.0
    return result


def counted(history: History, where: str, unclear: Mapping[str, str]) -> frozenset[SpellKey]:
    """Return the spells, as (war, side, state, spell), whose facts satisfy the expression."""

    def compute() -> frozenset[SpellKey]:
        expression = Expression(where, "where")
        table = read_unclear(facts_with(history, expression.names), unclear)
        chosen = table[expression.evaluate(table)]
        return frozenset((int(a), int(b), int(c), int(d)) for a, b, c, d in chosen[KEY].itertuples(index=False))

    return (history.base or history).once(("counted", where, tuple(sorted(unclear.items()))), compute)


def counted_pullbacks(
    history: History, where: str, min_share: float, unknown_share: str, unclear: Mapping[str, str]
) -> pd.DataFrame:
    """Return the pull-backs that count, one a row: read-only."""

    def compute() -> pd.DataFrame:
        table = pullback_facts(history)
        table = read_unclear(table, {key: value for key, value in unclear.items() if key[8:] in table})
        large = np.where(table["share"].notna(), table["share"] >= min_share, unknown_share == "counted")
        return table[Expression(where, "pullbacks").evaluate(table) & large]

    key = ("pullbacks", where, min_share, unknown_share, tuple(sorted(unclear.items())))
    return (history.base or history).once(key, compute)


def read_unclear(table: pd.DataFrame, unclear: Mapping[str, str]) -> pd.DataFrame:
    """Return the facts with "unclear" read as the rule says (given as ``unclear_COLUMN``)."""
    read = {}
    for key, reading in unclear.items():
        column = table[key.removeprefix("unclear_")]
        read[str(column.name)] = column.where(column != "unclear", reading)
    return table.assign(**read)


def _mark(war: War, values: Mapping[SpellKey, float]) -> Floats:
    result = np.zeros(war.shape)
    for i, (side, ccode) in enumerate(war.members):
        for spell in war.spells[i]:
            value = values.get((war.warnum, side, ccode, spell.number))
            if value is not None:
                result[i, spell.fought_to] = value
                result[i, spell.fought_to + 1 : spell.last + 1] = np.nan
    return result
