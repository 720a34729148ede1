"""Facts about each exit, for expressions: the record's, and what the days of the war say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from coalition_exit.coding.columns import facts_of
from coalition_exit.coding.history import Floats, History, Spell, War
from coalition_exit.coding.partners import any_partner_bound, common_front, contribution, importance
from coalition_exit.coding.states import aim, new_leader, polity

KEY = ["warnum", "side", "ccode", "spell"]
_BONDS = ("alliance", "no_separate_peace", "integrated_command")
_AIMS = ("territory", "regime", "policy", "survival")


def exit_facts(history: History) -> pd.DataFrame:
    """Return one row a spell in a coalition, in the order of ``exits.csv``: treat it as read-only.

    Columns are those of `coalition_exit.coding.columns.facts_of`. Days are those of the history
    (the record's or COW's dates); facts are read before any rule changes who is a partner or how
    long a war lasts.
    """
    base = history.base or history
    return base.once(("facts",), lambda: _exit_facts(base))


def facts_with(history: History, names: Iterable[str]) -> pd.DataFrame:
    """Return the facts with at least the columns named: those that the days say only if asked for."""
    coded = _coded_facts(history.base or history)
    return coded if set(names) <= set(coded.columns) else exit_facts(history)


def pullback_facts(history: History) -> pd.DataFrame:
    """Return one row a partial pull-back that began in a spell, with ``spell``: read-only."""
    base = history.base or history
    return base.once(("pullback_facts",), lambda: _pullback_facts(base))


def _exit_facts(history: History) -> pd.DataFrame:
    rows = [row for war in history.wars for row in _of_war(history, war)]
    facts = _coded_facts(history).join(pd.DataFrame(rows).set_index(KEY), on=KEY)
    # A pull-back after the exit, or before the entry, belongs to no spell.
    pulled = pullback_facts(history)[KEY].drop_duplicates().assign(pulled_back=1)
    facts = facts.merge(pulled, on=KEY, how="left").fillna({"pulled_back": 0})
    return facts[list(facts_of("exits", "where"))]


def _coded_facts(history: History) -> pd.DataFrame:
    """The exits with what other tables say of their war, side and state."""
    return history.once(("coded_facts",), lambda: _join_tables(history.tables))


def _join_tables(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    facts = tables["exits"]
    wars = tables["wars"].rename(columns={"start": "war_start", "end": "war_end"})
    facts = facts.merge(wars[["warnum", "war_start", "war_end", "peace", "world_war"]], on="warnum", how="left")
    facts = facts.merge(tables["coalitions"][["warnum", "side", "coordination"]], on=["warnum", "side"], how="left")
    facts = facts.merge(tables["members"][["warnum", "side", "ccode", "deaths"]], on=KEY[:3], how="left")
    return facts.assign(war_year=facts["war_start"].dt.year)


def _of_war(history: History, war: War) -> list[dict[str, Any]]:
    """Facts of each spell on a side with partners."""
    spells = [
        (i, spell)
        for i, (side, _) in enumerate(war.members)
        if (war.warnum, side) in history.coalitions
        for spell in war.spells[i]
    ]
    if not spells:
        return []
    by_day: dict[str, Floats] = {
        "force_share": contribution(history, war),
        "cinc_share": importance(history, war),
        "front_share": common_front(history, war, measure="share", min_partner_share=0.0, alone=0.0, no_troops=0.0),
        "polity2": polity(history, war),
        "new_leader": new_leader(history, war, caretaker_days=60),
        **{kind: any_partner_bound(history, war, kind=kind) for kind in _BONDS},
        **{kind: aim(history, war, kind=kind, dated="current", whose="own") for kind in _AIMS},
    }
    return [_of_spell(war, i, spell, by_day) for i, spell in spells]


def _of_spell(war: War, i: int, spell: Spell, by_day: Mapping[str, Floats]) -> dict[str, Any]:
    side, ccode = war.members[i]
    first, last = spell.first, spell.fought_to
    span = slice(first, last + 1)
    partners = war.partners(i)
    beside = war.at_war[partners].sum(axis=0)
    soldiers = by_day["force_share"][i, span]
    fighting = np.flatnonzero(war.at_war.any(axis=0))[-1]
    own_side = [spells for spells, m in zip(war.spells, war.members, strict=True) if m[0] == side]
    side_first, side_last = min(s[0].first for s in own_side), max(s[-1].fought_to for s in own_side)
    met = np.flatnonzero(beside[span] > 0)
    return {
        "warnum": war.warnum, "side": side, "ccode": ccode, "spell": spell.number,
        "year": int(war.years[last]),
        "start": pd.Timestamp(war.days[first]),
        "days": last - first + 1,
        "days_late": war.spells[i][0].first - side_first,
        "days_left": int(fighting) - last,
        "side_days_left": side_last - last,
        "members": len(partners) + 1,
        "partners": int(beside[last]),
        "partners_after": int(beside[last + 1]) if last + 1 < len(war.days) else 0,
        **{name: values[i, last] for name, values in by_day.items()},
        "entry_force_share": soldiers[0],
        "mean_force_share": float(np.mean(soldiers)),
        "largest_force_share": float(np.max(soldiers)),
        **{f"{kind}_entry": by_day[kind][i, first + met[0]] if len(met) else 0.0 for kind in _BONDS},
        **{f"{kind}_ever": by_day[kind][i, span].max() for kind in _BONDS},
        **{f"{kind}_entry": by_day[kind][i, first] for kind in _AIMS},
    }  # fmt: skip


def _pullback_facts(history: History) -> pd.DataFrame:
    table = history.tables["pullbacks"]
    wars = {war.warnum: war for war in history.wars}
    spells = [_spell_on(wars[int(r.warnum)], int(r.side), int(r.ccode), r.start) for r in table.itertuples(index=False)]
    facts = table.assign(spell=spells, year=table["start"].dt.year)
    facts = facts.merge(history.tables["wars"][["warnum", "world_war"]], on="warnum", how="left")
    facts = facts[facts["spell"] > 0].reset_index(drop=True)
    return facts[list(facts_of("exits", "pullbacks"))]


def _spell_on(war: War, side: int, ccode: int, day: pd.Timestamp) -> int:
    """Number of the spell that a day falls in, 0 if none."""
    k = int((np.datetime64(day, "D") - war.days[0]).astype(int))
    spells = war.spells[war.member(side, ccode)]
    return next((s.number for s in spells if s.first <= k <= s.fought_to), 0)
