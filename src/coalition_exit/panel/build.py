"""The panel: one row per state and day of its war, episodes ``(start, stop]``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from coalition_exit.coding.history import History, Spell, War, lay_out
from coalition_exit.coding.members import Subjects, choose_subjects
from coalition_exit.coding.methods import apply_rule
from coalition_exit.coding.rule import SUBJECTS, Rule
from coalition_exit.coding.rules import RuleBook, load_rules
from coalition_exit.errors import SpecError
from coalition_exit.record.loading import Record, load_record

KEYS = (
    "idvar", "coalid", "warnum", "ccode", "side", "spell",
    "year", "month", "day", "warday", "start", "stop", "finalobs",
)  # fmt: skip
WINDOWS = (15, 30, 45, 60, 75, 90, 105, 120)

# Histories are laid out once per record and dates, so that further panels cost only what differs.
_histories: dict[tuple[str, str], History] = {}


def default_variables(rules: RuleBook | None = None) -> list[str]:
    """Variables of a panel that asks for none: all of the article's, trends in steps of 15 days."""
    names: list[str] = []
    for variable in (rules or load_rules()).variables:
        if variable.endswith("{window}"):
            names += [variable.replace("{window}", str(w)) for w in WINDOWS]
        elif variable != SUBJECTS:
            names.append(variable)
    return names


def resolve_rules(
    variables: Sequence[str],
    coding: Mapping[str, Any] | None = None,
    place: str = "coding",
    book: RuleBook | None = None,
) -> dict[str, Rule]:
    """Return the rule that codes each variable, and the rule for the subjects.

    Parameters
    ----------
    variables
        Variables wanted.
    coding
        Choices that depart from the article's rules: variable to rule name, to a mapping with
        ``rule`` and parameters, or to a `Rule`.
    place
        Where the choices stand, for messages.
    book
        The rules to choose from; by default those that ship.

    Raises
    ------
    SpecError
        On an unknown variable, rule or parameter.
    """
    book, coding = book or load_rules(), coding or {}
    for name in coding:
        if name in KEYS:
            raise SpecError(f"{place} > {name}", "a variable that rules code, not a key of the panel", repr(name))
    wanted = list(dict.fromkeys([SUBJECTS, *variables, *coding]))
    rules = {name: book.resolve(name, coding.get(name), f"{place} > {name}") for name in wanted}
    for name, rule in rules.items():
        if (rule.role == SUBJECTS) != (name == SUBJECTS):
            raise SpecError(f"{place} > {name}", "a rule that codes this kind of variable", repr(rule.name))
    return rules


def build_panel(
    record: Record | None = None,
    variables: Sequence[str] | None = None,
    coding: Mapping[str, Any] | None = None,
    book: RuleBook | None = None,
) -> pd.DataFrame:
    """Build the panel from the record under a set of coding rules.

    Parameters
    ----------
    record
        The coded facts; by default the record that ships with the package.
    variables
        Variables wanted besides the keys; by default all of the article's.
        ``ctrend15`` ... ``ctrend120`` and ``otrend15`` ... ``otrend120`` can be asked for by name.
    coding
        Choices that depart from the article's rules, e.g.
        ``{"withdraw": "no_war_end", "recexit": {"window": 90}}``.
    book
        The rules to choose from; by default those that ship. `RuleBook.with_rules` adds a
        specification's own.

    Returns
    -------
    pandas.DataFrame
        One row per state and day of its war, sorted by ``idvar`` and ``warday``. Row i is the
        episode ``(start, stop]`` with ``stop = warday`` (days), unless the rule for the subjects
        counts from the war's or the coalition's start. An outcome is missing on days on which the
        state is no longer at risk of it. ``attrs`` holds ``source``, ``note`` and
        ``record_sha256``.

    Raises
    ------
    SpecError
        On an unknown variable, rule or parameter.
    RecordError
        When the record breaks its codebook.
    """
    record = load_record() if record is None else record
    book = book or load_rules()
    rules = resolve_rules(default_variables(book) if variables is None else variables, coding, book=book)
    subjects = subjects_of(record, rules[SUBJECTS])
    keys, places = panel_rows(subjects)
    columns: dict[str, Any] = dict(keys)
    for name, rule in rules.items():
        if rule.role != SUBJECTS:
            columns[name] = rule_column(subjects.history, rule, places)
    panel = pd.DataFrame(columns)
    panel.attrs = {"source": "record", "note": record.status, "record_sha256": record.sha256}
    return panel


def subjects_of(record: Record, rule: Rule) -> Subjects:
    """Return the subjects under a rule; the history they are read from is laid out once."""
    key = (record.sha256, rule.parameters["dates"])
    if key not in _histories:
        for old in [k for k in _histories if k[0] != record.sha256]:
            del _histories[old]
        _histories[key] = lay_out(record, key[1])
    return choose_subjects(_histories[key], rule.parameters)


Place = tuple[int, int, slice]


def panel_rows(subjects: Subjects) -> tuple[dict[str, np.ndarray[Any, Any]], list[Place]]:
    """Keys of all rows, and where each run of rows comes from: (war, member, days)."""
    parts: list[dict[str, np.ndarray[Any, Any]]] = []
    places: list[Place] = []
    for w, i, spell in subjects.places():
        places.append((w, i, slice(spell.first, spell.last + 1)))
        parts.append(_spell_rows(subjects, subjects.history.wars[w], i, spell))
    order = sorted(range(len(parts)), key=lambda k: (parts[k]["idvar"][0], parts[k]["warday"][0]))
    if not order:
        return {name: np.zeros(0) for name in KEYS}, []
    keys = {name: np.concatenate([parts[k][name] for k in order]) for name in KEYS}
    return keys, [places[k] for k in order]


def rule_column(history: History, rule: Rule, places: Sequence[Place]) -> np.ndarray[Any, Any]:
    """Return a rule's values on the panel's rows, shape (n,): outcomes as small as they fit."""
    arrays = apply_rule(rule, history)
    if not places:
        return np.zeros(0)
    column = np.concatenate([arrays[w][i, days] for w, i, days in places])
    if rule.role == "outcome":
        return column.astype(np.float32 if np.isnan(column).any() else np.int8)
    return column


def _spell_rows(subjects: Subjects, war: War, i: int, spell: Spell) -> dict[str, np.ndarray[Any, Any]]:
    side, ccode = war.members[i]
    n = spell.last - spell.first + 1
    same = subjects.second_spell == "same"
    own = war.spells[i][0].first if same else spell.first
    zero = subjects.zero(war, i)
    shift = own - zero if zero >= 0 else 0
    days = war.days[spell.first : spell.last + 1]
    months = days.astype("datetime64[M]")
    warday = np.arange(spell.first, spell.last + 1) - own + 1
    coalid = war.warnum * 10 + side
    final = np.zeros(n, dtype=np.int8)
    final[-1] = 1
    return {
        "idvar": np.full(n, (coalid * 1000 + ccode) * 10 + (1 if same else spell.number), dtype=np.int64),
        "coalid": np.full(n, coalid, dtype=np.int32),
        "warnum": np.full(n, war.warnum, dtype=np.int32),
        "ccode": np.full(n, ccode, dtype=np.int32),
        "side": np.full(n, side, dtype=np.int8),
        "spell": np.full(n, spell.number, dtype=np.int8),
        "year": war.years[spell.first : spell.last + 1].astype(np.int32),
        "month": (months.astype(np.int64) % 12 + 1).astype(np.int8),
        "day": ((days - months.astype("datetime64[D]")).astype(np.int64) + 1).astype(np.int8),
        "warday": warday.astype(np.int32),
        "start": (warday + shift).astype(float) - 1,
        "stop": (warday + shift).astype(float),
        "finalobs": final,
    }
