"""What a rule changes against the article's: spells, exits and rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coalition_exit.coding.history import History, Spell, War
from coalition_exit.coding.members import Subjects
from coalition_exit.coding.rule import SUBJECTS, Rule
from coalition_exit.coding.rules import RuleBook, load_rules
from coalition_exit.panel.build import Place, panel_rows, rule_column, subjects_of
from coalition_exit.record.loading import Record

Bools = NDArray[np.bool_]
SpellKey = tuple[int, int, int, int]
# The window at which the rules of a family of trends are compared.
WINDOW = 60
_EXIT = "article_withdraw"
# Covariates of the article's full model that depend on who is a partner.
_OF_PARTNERS = ("foverlap", f"ctrend{WINDOW}", "pvict", "imptce", "recexit", "sepdum")
_SAME = 1e-12


@dataclass(frozen=True)
class Reference:
    """The article's panel: its rows, spells and abandonments.

    Attributes
    ----------
    keys, places
        As `panel_rows` gives them, n rows.
    spells
        (war, side, state, spell) of each run of rows, in order.
    starts
        First row of each run.
    exits
        Rows with an abandonment by the article's rule, shape (n,).
    """

    subjects: Subjects
    keys: Mapping[str, NDArray[Any]]
    places: list[Place]
    spells: list[SpellKey]
    starts: NDArray[np.int64]
    exits: Bools


@dataclass(frozen=True)
class Change:
    """What a rule changes in one spell of the panel.

    Attributes
    ----------
    rows, exits
        Rows and exits that differ.
    rows_before, rows_after
        Rows the spell has under each rule.
    mask
        For rules that code a variable: which of the spell's rows differ, and the values before and
        after on all of them; for the subjects empty.
    """

    spell: SpellKey
    rows: int
    exits: int
    rows_before: int
    rows_after: int
    mask: Bools
    before: NDArray[Any]
    after: NDArray[Any]


def concrete(rule: Rule, book: RuleBook) -> Rule:
    """Return a rule for one variable: families by their main window."""
    variable = rule.variable.replace("{window}", str(WINDOW))
    return rule if variable == rule.variable else book.resolve(variable, rule.name, rule.name)


def reference(record: Record, book: RuleBook | None = None) -> Reference:
    """Return the rows, spells and abandonments under the article's rules."""
    book = book or load_rules()
    subjects = subjects_of(record, book.rules[book.defaults[SUBJECTS]])
    keys, places = panel_rows(subjects)
    lengths = [days.stop - days.start for _, _, days in places]
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    names = ("warnum", "side", "ccode", "spell")
    spells = [tuple(int(keys[name][row]) for name in names) for row in starts]
    exits = rule_column(subjects.history, book.rules[_EXIT], places) == 1
    return Reference(subjects, keys, places, spells, starts, exits)  # type: ignore[arg-type]


def changes(record: Record, rule: Rule, book: RuleBook | None = None, base: Reference | None = None) -> list[Change]:
    """Return what a rule changes against the one it departs from, a spell at a time.

    Parameters
    ----------
    record
        The coded facts.
    rule
        Any rule of the book.
    book
        The rules; by default those that ship.
    base
        From `reference`, if at hand.

    Returns
    -------
    list of Change
        Only the spells in which something differs, in the panel's order.
    """
    book = book or load_rules()
    base = base or reference(record, book)
    against = concrete(book.compared_with(rule), book)
    rule = concrete(rule, book)
    if rule.identity == against.identity:
        return []
    found = _of_rows(record, rule, book, base) if rule.role == SUBJECTS else _of_values(rule, against, base)
    return [change for change in found if change.rows]


def _of_values(rule: Rule, against: Rule, base: Reference) -> Iterable[Change]:
    """Compare two columns on the article's rows."""
    history = base.subjects.history
    after, before = (rule_column(history, r, base.places) for r in (rule, against))
    differs = unequal(before, after)
    event = base.exits
    if rule.role == "outcome":
        event = (np.nan_to_num(after) > 0) | (np.nan_to_num(before) > 0)
    ends = [*base.starts[1:], len(differs)]
    for spell, first, last in zip(base.spells, base.starts, ends, strict=True):
        rows = slice(int(first), int(last))
        mask = differs[rows]
        changed = int(mask.sum())
        # An event counted before and no longer at risk after, or the reverse, differs too.
        exits = int((mask & event[rows]).sum())
        yield Change(spell, changed, exits, len(mask), len(mask), mask, before[rows], after[rows])


def unequal(before: NDArray[Any], after: NDArray[Any]) -> Bools:
    """Where two columns differ by more than rounding; missing equals missing."""
    a, b = before.astype(float), after.astype(float)
    with np.errstate(invalid="ignore"):
        differs = ~(np.abs(a - b) <= _SAME)
    return np.asarray(differs & ~(np.isnan(a) & np.isnan(b)))


def _of_rows(record: Record, rule: Rule, book: RuleBook, base: Reference) -> Iterable[Change]:
    """Compare the rows of two rules for the subjects: left out, added, or counted otherwise."""
    subjects = subjects_of(record, rule)
    before, after = _runs(base.subjects), _runs(subjects)
    values = _values_changed(subjects, book, base) if rule.parameters["partners"] == "subjects" else {}
    none = np.zeros(0, dtype=bool)
    for spell, first in zip(base.spells, base.starts, strict=True):
        old, new = before[spell], after.get(spell)
        event = base.exits[first : first + len(old.days)]
        if new is None:
            yield Change(spell, len(event), int(event.sum()), len(event), 0, none, none, none)
            continue
        _, in_old, in_new = np.intersect1d(old.days, new.days, assume_unique=True, return_indices=True)
        differs = np.ones(len(event), dtype=bool)
        differs[in_old] = (old.stops[in_old] != new.stops[in_new]) | (old.subject != new.subject)
        if spell in values:
            differs |= np.isin(old.days, values[spell])
        rows = int(differs.sum()) + len(new.days) - len(in_new)
        yield Change(spell, rows, int((differs & event).sum()), len(event), len(new.days), none, none, none)


@dataclass(frozen=True)
class _Run:
    """One spell's rows: days since 1970, the stops of their episodes, the subject."""

    days: NDArray[np.int64]
    stops: NDArray[np.int64]
    subject: int


def _runs(subjects: Subjects) -> dict[SpellKey, _Run]:
    return {
        (war.warnum, *war.members[i], spell.number): _run(subjects, war, i, spell)
        for war, i, spell in ((subjects.history.wars[w], i, spell) for w, i, spell in subjects.places())
    }


def _run(subjects: Subjects, war: War, i: int, spell: Spell) -> _Run:
    days = war.days[spell.first : spell.last + 1].astype(np.int64)
    zero = subjects.zero(war, i)
    stops = np.arange(spell.first, spell.last + 1) - (zero if zero >= 0 else spell.first) + 1
    return _Run(days, stops, 1 if subjects.second_spell == "same" else spell.number)


def _values_changed(subjects: Subjects, book: RuleBook, base: Reference) -> dict[SpellKey, NDArray[np.int64]]:
    """Days on which a covariate of the article's full model changes, since partners are other ones."""
    old, new = (_by_spell(s.history, s, book) for s in (base.subjects, subjects))
    changed = {}
    for spell, (days, values) in new.items():
        old_days, old_values = old[spell]
        common, at_new, at_old = np.intersect1d(days, old_days, return_indices=True)
        differs = unequal(old_values[:, at_old], values[:, at_new]).any(axis=0)
        changed[spell] = common[differs]
    return changed


def _by_spell(history: History, subjects: Subjects, book: RuleBook) -> dict[SpellKey, tuple[Any, Any]]:
    """Days of each spell, and the article's covariates of partners on them: (k, days)."""
    places = [(w, i, slice(spell.first, spell.last + 1)) for w, i, spell in subjects.places()]
    keys = [(history.wars[w].warnum, *history.wars[w].members[i], s.number) for w, i, s in subjects.places()]
    columns = np.stack([rule_column(history, book.resolve(name, None, name), places) for name in _OF_PARTNERS])
    found, row = {}, 0
    for key, (w, _, days) in zip(keys, places, strict=True):
        n = days.stop - days.start
        found[key] = (history.wars[w].days[days].astype(np.int64), columns[:, row : row + n])
        row += n
    return found


def rule_effects(record: Record, book: RuleBook | None = None) -> pd.DataFrame:
    """Count what every rule changes against the article's.

    Parameters
    ----------
    record
        The coded facts.
    book
        The rules; by default those that ship. A specification's own count as well.

    Returns
    -------
    pandas.DataFrame
        One row a rule, by decision: ``decision``, ``rule``, ``variable``, ``label``, ``against``
        (the rule it is compared with), ``subjects`` and ``exits`` (in the panel under the rule),
        ``spells_changed`` (spells in which any row differs), ``exits_changed``, ``rows_changed``.
        An exit is changed, for a rule on outcomes, if it counts under one rule and not under the
        other, or as another kind; for other rules, if it is an abandonment by the article's rule on
        whose day the covariate differs, or whose row is left out or counted otherwise. Rules of a
        family of trends are compared at 60 days. Where a rule changes who is a partner, rows in
        which a covariate of the article's full model changes count too.
    """
    book = book or load_rules()
    base = reference(record, book)
    rows = []
    for decision, rules in book.by_decision().items():
        for rule in rules:
            found = changes(record, rule, book, base)
            against = book.compared_with(rule)
            total = _totals(record, concrete(rule, book), base)
            counts = (len(found), sum(c.exits for c in found), sum(c.rows for c in found))
            rows.append((decision, rule.name, rule.variable, rule.label,
                         "" if against.identity == rule.identity else against.name, *total, *counts))  # fmt: skip
    names = "decision rule variable label against subjects exits spells_changed exits_changed rows_changed"
    return pd.DataFrame(rows, columns=names.split())


def _totals(record: Record, rule: Rule, base: Reference) -> tuple[int, int]:
    """Subjects and exits in the panel under one rule; abandonments by the article's unless it codes others."""
    states = len({int(base.keys["idvar"][row]) for row in base.starts})
    if rule.role == "covariate":
        return states, int(base.exits.sum())
    if rule.role == "outcome":
        column = rule_column(base.subjects.history, rule, base.places)
        return states, int((np.nan_to_num(column) > 0).sum())
    runs = _runs(subjects_of(record, rule))
    ends = [*base.starts[1:], len(base.exits)]
    exits = sum(
        int(base.exits[first:last].sum())
        for spell, first, last in zip(base.spells, base.starts, ends, strict=True)
        if spell in runs
    )
    return len({(*spell[:3], run.subject) for spell, run in runs.items()}), exits
