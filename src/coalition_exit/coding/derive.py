"""Rules made from other rules, in the package's files and in a user's specification alike.

An entry names the rule it is based on and says what differs: parameters by their names, texts, and
``only_if``, ``not_if``, ``also_if``, which narrow or widen the ``where`` of the rule it is based on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from coalition_exit.coding.expressions import Expression
from coalition_exit.coding.rule import DECISIONS, Rule
from coalition_exit.errors import SpecError, nearest, one_of, shown

TEXTS = ("label", "meaning", "rationale", "citation")
# How each clause joins the expression it changes, in the order in which they apply.
CLAUSES = {"also_if": "({}) or ({})", "only_if": "({}) and ({})", "not_if": "({}) and not ({})"}
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,59}\Z")
_STRUCTURE = ("based_on", "variable", "decision", "compared_with")
_WHERE = "where"
# Says where an entry stands, or a key of it: at() or at("label").
Places = Callable[..., str]


def derive(name: str, entry: Mapping[str, Any], rules: Mapping[str, Rule], at: Places, origin: str) -> Rule:
    """Make a rule from its entry in a file.

    Parameters
    ----------
    name
        Name of the new rule.
    entry
        A whole rule (``method``, ``parameters``, ``allowed`` and texts), or changes to the rule
        named by ``based_on``.
    rules
        Rules it may be based on.
    at
        Says where the entry stands, or one of its keys, for messages.
    origin
        "article", "package" or "user".

    Raises
    ------
    SpecError
        On an unknown rule, key, parameter, value or column, with the nearest name.
    """
    if "method" in entry:
        return _whole(name, entry, origin)
    base = _base(entry, rules, at)
    texts: dict[str, Any] = {key: _clean(entry[key], at(key)) for key in TEXTS if key in entry}
    structure: dict[str, Any] = {key: entry[key] for key in _STRUCTURE if key in entry}
    _check_structure(structure, base, at)
    known = (*_STRUCTURE, *TEXTS, *CLAUSES)
    changes = {key: value for key, value in entry.items() if key not in known}
    for key, value in changes.items():
        if key not in base.parameters:
            names = [*base.parameters, *known]
            expected = f"a parameter of {base.name} ({one_of(base.parameters, 40)}) or one of {', '.join(known)}"
            raise SpecError(at(str(key)), expected, shown(key), nearest(str(key), names))
        base.check_parameter(at(key), key, value)
    rule = replace(base, name=name, origin=origin, **texts, **structure).with_parameters(changes, at())
    return _with_clauses(rule, entry, at)


def _whole(name: str, entry: Mapping[str, Any], origin: str) -> Rule:
    return Rule(
        name=name,
        variable=entry["variable"],
        method=entry["method"],
        parameters=MappingProxyType(dict(entry.get("parameters", {}))),
        allowed=MappingProxyType(dict(entry.get("allowed", {}))),
        decision=entry.get("decision", "controls"),
        origin=origin,
        compared_with=entry.get("compared_with", ""),
        **{key: _clean(entry[key], name) for key in TEXTS},
    )


def _base(entry: Mapping[str, Any], rules: Mapping[str, Rule], at: Places) -> Rule:
    if "based_on" not in entry:
        raise SpecError(at(), "a key 'based_on': the rule that this one changes", "none")
    name = entry["based_on"]
    if not isinstance(name, str) or name not in rules:
        hint = nearest(str(name), rules)
        expected = "a rule (coalition-exit rules lists them)" if hint else one_of(rules, 60)
        raise SpecError(at("based_on"), expected, shown(name), hint)
    return rules[name]


def _check_structure(structure: Mapping[str, Any], base: Rule, at: Places) -> None:
    variable = structure.get("variable", base.variable)
    if not isinstance(variable, str) or not NAME.match(variable.replace("{window}", "")):
        expected = "a name of letters, digits and _ (a letter first, 60 at most)"
        raise SpecError(at("variable"), expected, shown(variable))
    if (variable == "subjects") != (base.role == "subjects"):
        raise SpecError(at("variable"), f"a variable that {base.name} can code", shown(variable))
    decision = structure.get("decision", base.decision)
    if decision not in DECISIONS:
        raise SpecError(at("decision"), one_of(DECISIONS), shown(decision), nearest(str(decision), DECISIONS))


def _clean(text: object, place: str) -> str:
    if not isinstance(text, str) or not text.strip():
        raise SpecError(place, "a text", shown(text))
    return " ".join(text.split())


def _with_clauses(rule: Rule, entry: Mapping[str, Any], at: Places) -> Rule:
    """Narrow or widen the rule's expression."""
    for key, form in CLAUSES.items():
        if key not in entry:
            continue
        place, text = at(key), entry[key]
        if _WHERE not in rule.parameters:
            raise SpecError(place, f"no such key ({rule.based_on} has no {_WHERE!r})", shown(key))
        if not isinstance(text, str):
            raise SpecError(place, "an expression", shown(text))
        # Checked by itself first, so that the message shows what was written.
        rule.check_expression(text, _WHERE, place)
        parts = (Expression(str(part), place).normal for part in (rule.parameters[_WHERE], text))
        rule = rule.with_parameters({_WHERE: form.format(*parts)}, place)
    return rule
