"""The panel: one row per state and day of its war, episodes ``(start, stop]``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from coalition_exit.coding.history import History, War, lay_out
from coalition_exit.coding.methods import apply_rule
from coalition_exit.coding.rules import Rule, RuleBook, load_rules
from coalition_exit.errors import SpecError
from coalition_exit.record.loading import Record, load_record

KEYS = (
    "idvar", "coalid", "warnum", "ccode", "side", "spell",
    "year", "month", "day", "warday", "start", "stop", "finalobs",
)  # fmt: skip
WINDOWS = (15, 30, 45, 60, 75, 90, 105, 120)
SUBJECTS = "subjects"

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
    variables: Sequence[str], coding: Mapping[str, Any] | None = None, place: str = "coding"
) -> dict[str, Rule]:
    """Return the rule that codes each variable, and the rule for the subjects.

    Parameters
    ----------
    variables
        Variables wanted.
    coding
        Choices that depart from the article's rules: variable to rule name, or to a mapping with
        ``rule`` and parameters.
    place
        Where the choices stand, for messages.

    Raises
    ------
    SpecError
        On an unknown variable, rule or parameter.
    """
    book, coding = load_rules(), coding or {}
    for name in coding:
        if name in KEYS:
            raise SpecError(f"{place} > {name}", "a variable that rules code, not a key of the panel", repr(name))
    wanted = list(dict.fromkeys([SUBJECTS, *variables, *coding]))
    rules = {name: book.resolve(name, coding.get(name), f"{place} > {name}") for name in wanted}
    for name, rule in rules.items():
        if (rule.method == SUBJECTS) != (name == SUBJECTS):
            raise SpecError(f"{place} > {name}", "a rule that codes this kind of variable", repr(rule.name))
    return rules


def build_panel(
    record: Record | None = None,
    variables: Sequence[str] | None = None,
    coding: Mapping[str, Any] | None = None,
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
        ``{"withdraw": "some_rule", "recexit": {"window": 90}}``.

    Returns
    -------
    pandas.DataFrame
        One row per state and day of its war, sorted by ``idvar`` and ``warday``. Row i is the
        episode ``(start, stop]`` with ``stop = warday`` (days). ``attrs`` holds ``source``,
        ``note`` and ``record_sha256``.

    Raises
    ------
    SpecError
        On an unknown variable, rule or parameter.
    RecordError
        When the record breaks its codebook.
    """
    record = load_record() if record is None else record
    rules = resolve_rules(default_variables() if variables is None else variables, coding)
    subjects = rules[SUBJECTS].parameters
    key = (record.sha256, subjects["dates"])
    if key not in _histories:
        _histories.clear()
        _histories[key] = lay_out(record, subjects["dates"])
    history = _histories[key]
    keys, places = _rows(history, subjects["second_spell"])
    columns: dict[str, Any] = dict(keys)
    for name, rule in rules.items():
        if rule.method != SUBJECTS:
            columns[name] = _gather(apply_rule(rule, history), places)
    for name in ("withdraw", "volunt"):
        if name in columns:
            columns[name] = columns[name].astype(np.int8)
    panel = pd.DataFrame(columns)
    panel.attrs = {"source": "record", "note": record.status, "record_sha256": record.sha256}
    return panel


Place = tuple[int, int, slice]


def _rows(history: History, second_spell: str) -> tuple[dict[str, np.ndarray[Any, Any]], list[Place]]:
    """Keys of all rows, and where each run of rows comes from: (war, member, days)."""
    parts: list[dict[str, np.ndarray[Any, Any]]] = []
    places: list[Place] = []
    for w, war in enumerate(history.wars):
        for i, (side, ccode) in enumerate(war.members):
            if (war.warnum, side) not in history.coalitions:
                continue
            for spell in war.spells[i]:
                places.append((w, i, slice(spell.first, spell.last + 1)))
                parts.append(_spell_rows(war, i, side, ccode, spell.number, second_spell))
    order = sorted(range(len(parts)), key=lambda k: (parts[k]["idvar"][0], parts[k]["warday"][0]))
    keys = {name: np.concatenate([parts[k][name] for k in order]) for name in KEYS}
    return keys, [places[k] for k in order]


def _spell_rows(
    war: War, i: int, side: int, ccode: int, number: int, second_spell: str
) -> dict[str, np.ndarray[Any, Any]]:
    spell = next(s for s in war.spells[i] if s.number == number)
    n = spell.last - spell.first + 1
    same = second_spell == "same"
    origin = war.spells[i][0].first if same else spell.first
    subject = 1 if same else number
    days = war.days[spell.first : spell.last + 1]
    months = days.astype("datetime64[M]")
    warday = np.arange(spell.first, spell.last + 1) - origin + 1
    coalid = war.warnum * 10 + side
    final = np.zeros(n, dtype=np.int8)
    final[-1] = 1
    return {
        "idvar": np.full(n, (coalid * 1000 + ccode) * 10 + subject, dtype=np.int64),
        "coalid": np.full(n, coalid, dtype=np.int32),
        "warnum": np.full(n, war.warnum, dtype=np.int32),
        "ccode": np.full(n, ccode, dtype=np.int32),
        "side": np.full(n, side, dtype=np.int8),
        "spell": np.full(n, number, dtype=np.int8),
        "year": war.years[spell.first : spell.last + 1].astype(np.int32),
        "month": (months.astype(np.int64) % 12 + 1).astype(np.int8),
        "day": ((days - months.astype("datetime64[D]")).astype(np.int64) + 1).astype(np.int8),
        "warday": warday.astype(np.int32),
        "start": warday.astype(float) - 1,
        "stop": warday.astype(float),
        "finalobs": final,
    }


def _gather(arrays: tuple[np.ndarray[Any, Any], ...], places: list[Place]) -> np.ndarray[Any, Any]:
    return np.concatenate([arrays[w][i, days] for w, i, days in places])
