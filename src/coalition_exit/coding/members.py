"""Who is a subject, from when to when, and among which partners: the rule for the panel's rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from coalition_exit.coding.expressions import Expression
from coalition_exit.coding.facts import KEY, facts_with
from coalition_exit.coding.history import Bools, History, Spell, War
from coalition_exit.coding.outcomes import SpellKey, counted, read_unclear

# The record's tables whose rows belong to one state of one side.
_OF_MEMBERS = ("members", "spells", "deployments", "forces", "losses", "aims", "agreements", "cooperation")


@dataclass(frozen=True)
class Subjects:
    """Subjects under one rule.

    Attributes
    ----------
    history
        The history to read covariates from.
    chosen
        Spells that are subjects, as (war, side, state, spell).
    second_spell, origin
        As the rule has them: "new" or "same"; "own", "coalition" or "war".
    """

    history: History
    chosen: frozenset[SpellKey]
    second_spell: str
    origin: str

    def places(self) -> Iterator[tuple[int, int, Spell]]:
        """Every subject's spell: index of its war, of its member, the spell."""
        for w, war in enumerate(self.history.wars):
            for i, (side, ccode) in enumerate(war.members):
                if war.focus in (0, side):
                    for spell in war.spells[i]:
                        if (war.warnum, side, ccode, spell.number) in self.chosen:
                            yield w, i, spell

    def zero(self, war: War, i: int) -> int:
        """Day from which start and stop are counted, as an index; -1 for each spell's own first day."""
        if self.origin == "war":
            return 0
        if self.origin == "coalition":
            return min(s[0].first for s, side in zip(war.spells, war.side, strict=True) if side == war.side[i])
        return war.spells[i][0].first if self.second_spell == "same" else -1


def choose_subjects(base: History, parameters: Mapping[str, Any]) -> Subjects:
    """Apply a rule for the subjects.

    Parameters
    ----------
    base
        The history by the dates that the rule names, as `lay_out` gives it.
    parameters
        The rule's.

    Returns
    -------
    Subjects
        Its history is ``base`` itself unless the rule restricts who is a partner or extends spells
        to the peace.
    """
    facts, met = conditions(base, parameters)
    chosen = frozenset(_keys(facts[np.logical_and.reduce(list(met.values()))]))
    if parameters["partners"] == "subjects":
        chosen = _with_company(chosen)
    history = base
    if parameters["until"] == "peace":
        waits = counted(base, parameters["until_peace_if"], {})
        history = base.once(("variant", "until_peace", waits), lambda: _until_peace(base, waits))
    if parameters["partners"] == "subjects":
        history = base.once(("variant", "among", parameters["until"], parameters["until_peace_if"], chosen),
                            lambda: _among(base, history, chosen))  # fmt: skip
    return Subjects(history, chosen, parameters["second_spell"], parameters["origin"])


def conditions(base: History, parameters: Mapping[str, Any]) -> tuple[pd.DataFrame, dict[str, Bools]]:
    """Which spells meet each condition that the rule sets.

    Returns
    -------
    tuple
        The facts asked for, one row a spell in a coalition; and by the name of the parameter (n,)
        booleans.
    """
    where, least = Expression(parameters["where"], "subjects > where"), parameters["min_force_share"]
    share = f"{parameters['force_share']}_force_share"
    bond = f"{parameters['bond']}_{parameters['bond_taken']}"
    asked: dict[str, tuple[list[str], Callable[[pd.DataFrame], Any], bool]] = {
        "min_force_share": ([share], lambda f: f[share] > least, least > 0),
        "bond": ([bond], lambda f: f[bond] == 1, parameters["bond"] != "none"),
        "late_joiners": (["days_late"], lambda f: f["days_late"] <= parameters["late_days"],
                         parameters["late_joiners"] == "out"),
        "coordination": (["coordination"], lambda f: f["coordination"] == "yes", parameters["coordination"] != "all"),
        "world_wars": (["world_war"], lambda f: f["world_war"] == 0, parameters["world_wars"] == "out"),
        "without_war": (["warnum"], lambda f: f["warnum"] != parameters["without_war"], True),
        "first_year": (["war_year"], lambda f: f["war_year"] >= parameters["first_year"], True),
        "last_year": (["war_year"], lambda f: f["war_year"] <= parameters["last_year"], True),
    }  # fmt: skip
    active = {key: (names, test) for key, (names, test, on) in asked.items() if on}
    facts = facts_with(base, [*where.names, *(name for names, _ in active.values() for name in names)])
    facts = read_unclear(facts, {"unclear_coordination": parameters["unclear_coordination"]})
    met = {key: test(facts).to_numpy(dtype=bool) for key, (_, test) in active.items()}
    return facts, {"where": where.evaluate(facts), **met}


def _keys(facts: pd.DataFrame) -> Iterator[SpellKey]:
    for a, b, c, d in facts[KEY].itertuples(index=False):
        yield int(a), int(b), int(c), int(d)


def _with_company(chosen: frozenset[SpellKey]) -> frozenset[SpellKey]:
    """Leave out sides on which a single state is left: it has no coalition."""
    states: dict[tuple[int, int], set[int]] = {}
    for warnum, side, ccode, _ in chosen:
        states.setdefault((warnum, side), set()).add(ccode)
    return frozenset(key for key in chosen if len(states[key[:2]]) > 1)


def _until_peace(base: History, waits: frozenset[SpellKey]) -> History:
    """Let spells that wait for the peace, and their enemies', last until its day."""
    peace = {int(r.warnum): r.peace for r in base.tables["wars"].itertuples(index=False) if not pd.isna(r.peace)}
    wars = [_extended(war, np.datetime64(peace[war.warnum], "D"), base, waits) if war.warnum in peace else war
            for war in base.wars]  # fmt: skip
    return History(tuple(wars), base.coalitions, base.tables, base)


def _extended(war: War, day: np.datetime64, base: History, waits: frozenset[SpellKey]) -> War:
    last = int((day - war.days[0]).astype(int))
    # A side of one state has no exits coded; it waits if it fought to its last day, as it must.
    side_ends = {side: max(s[-1].fought_to for s, own in zip(war.spells, war.side, strict=True) if own == side)
                 for side in (1, 2)}  # fmt: skip
    spells = []
    for (side, ccode), own in zip(war.members, war.spells, strict=True):
        final = own[-1]
        coalition = (war.warnum, side) in base.coalitions
        waiting = (war.warnum, side, ccode, final.number) in waits if coalition else final.last == side_ends[side]
        longer = replace(final, last=last) if waiting and last > final.last else final
        spells.append((*own[:-1], longer))
    end = max(spell.last for own in spells for spell in own)
    return replace(war, days=np.arange(war.days[0], war.days[0] + end + 1), spells=tuple(spells))


def _among(base: History, history: History, chosen: frozenset[SpellKey]) -> History:
    """Give each side with subjects a war of its own, in which only subjects are its members."""
    sides = sorted({key[:2] for key in chosen})
    wars = [_restricted(war, side, chosen) for war in history.wars for warnum, side in sides if warnum == war.warnum]
    return History(tuple(wars), base.coalitions, base.tables, base)


def _restricted(war: War, side: int, chosen: frozenset[SpellKey]) -> War:
    spells = {
        member: tuple(s for s in own if member[0] != side or (war.warnum, *member, s.number) in chosen)
        for member, own in zip(war.members, war.spells, strict=True)
    }
    members = tuple(member for member in war.members if spells[member])
    rows = {name: _rows_of(table, set(members)) if name in _OF_MEMBERS else table for name, table in war.rows.items()}
    return replace(war, members=members, spells=tuple(spells[m] for m in members), rows=rows, focus=side)


def _rows_of(table: Iterable[Any], members: set[tuple[int, int]]) -> tuple[Any, ...]:
    return tuple(row for row in table if (int(row.side), int(row.ccode)) in members)
