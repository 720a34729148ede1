"""Rules that a specification defines for itself, in YAML and without Python."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from coalition_exit.coding.derive import NAME, Places, derive
from coalition_exit.coding.rule import Rule
from coalition_exit.coding.rules import RuleBook, load_rules
from coalition_exit.errors import SpecError, nearest, shown

_SILENT = "The specification gives no reason."
_MOST_RULES = 200
_CITATION = "The specification's own rule"


def load_user_rules(mapping: object, place: str | Places = "rules", book: RuleBook | None = None) -> dict[str, Rule]:
    """Read the rules that a specification defines.

    Parameters
    ----------
    mapping
        Name of a rule to what it changes: ``based_on`` (a rule that ships, or another one of the
        mapping), parameters of that rule by name, and if wished ``label``, ``meaning``,
        ``rationale``, ``citation``, ``variable``, ``only_if``, ``not_if``, ``also_if``.
    place
        Where the mapping stands, for messages; or a function that says it for the mapping ``()``, a
        rule ``(NAME)`` and a key of it ``(NAME, KEY)``, with its line.
    book
        The rules they may be based on; by default those that ship.

    Returns
    -------
    dict
        Rules by name, ``origin`` "user", in the mapping's order; `RuleBook.with_rules` takes it.

    Raises
    ------
    SpecError
        On a name already taken, rules based on each other in a circle, or anything that `derive`
        refuses.
    """
    book = load_rules() if book is None else book
    at: Places = (lambda *path: " > ".join((place, *path))) if isinstance(place, str) else place
    if not isinstance(mapping, Mapping):
        raise SpecError(at(), "rules by name {NAME: {based_on: RULE, ...}}", shown(mapping))
    if len(mapping) > _MOST_RULES:
        raise SpecError(at(), f"at most {_MOST_RULES} rules", str(len(mapping)))
    for name, entry in mapping.items():
        if not isinstance(name, str) or not NAME.match(name):
            raise SpecError(at(), "a name of letters, digits and _ (a letter first, 60 at most)", shown(name))
        _check_entry(name, entry, partial(at, name), book)
    made: dict[str, Rule] = {}
    for name in mapping:
        _make(name, mapping, at, book, made, ())
    return {name: made[name] for name in mapping}


def _check_entry(name: str, entry: object, at: Places, book: RuleBook) -> None:
    if name in book.rules:
        raise SpecError(at(), "a name that no rule of the package has", shown(name))
    if not isinstance(entry, Mapping):
        raise SpecError(at(), "what the rule changes {based_on: RULE, ...}", shown(entry))
    for key in ("method", "parameters", "allowed", "compared_with"):
        if key in entry:
            hint = "Parameters stand beside based_on, by their names" if key == "parameters" else ""
            raise SpecError(at(key), "a key based_on and what the rule changes", shown(key), hint)


def _make(
    name: str,
    mapping: Mapping[str, Mapping[str, Any]],
    at: Places,
    book: RuleBook,
    made: dict[str, Rule],
    waiting: tuple[str, ...],
) -> None:
    """Make a rule after the one it is based on."""
    if name in made:
        return
    base = mapping[name].get("based_on")
    if base == name or base in waiting:
        circle = " -> ".join((*waiting, name, str(base)))
        raise SpecError(at(name, "based_on"), "rules that are not based on each other in a circle", shown(circle))
    if isinstance(base, str) and base in mapping:
        _make(base, mapping, at, book, made, (*waiting, name))
    known = {**book.rules, **made}
    if isinstance(base, str) and base not in known:
        hint = nearest(base, [*known, *mapping])
        raise SpecError(at(name, "based_on"), "a rule (coalition-exit rules lists them)", shown(base), hint)
    entry = {"rationale": _SILENT, "citation": _CITATION, **mapping[name]}
    made[name] = derive(name, entry, known, partial(at, name), "user")
