"""Coding rules: named ways to turn the record's facts into a variable of the panel."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

import yaml

from coalition_exit.coding.expressions import NUMBER, Expression, Kind
from coalition_exit.errors import SpecError, nearest, one_of, shown
from coalition_exit.record.codebook import Column, load_codebook

_WINDOWED = re.compile(r"(?P<stem>[a-z]+?)(?P<window>[1-9][0-9]{0,5})\Z")
SMALLEST_WINDOW, LARGEST_WINDOW = 15, 120
_LISTED = "coalition-exit data describe lists them"
# The parameter that holds an expression over the columns of exits.csv.
EXPRESSION = "where"


@dataclass(frozen=True)
class Rule:
    """One way to code one variable.

    Attributes
    ----------
    name
        Name of the rule, as a specification writes it.
    variable
        Variable that the rule defines. A name that ends in ``{window}`` stands for a family.
    method
        Function of `coalition_exit.coding.methods` that computes it.
    label
        Name in tables and figures.
    meaning
        What the values say, with units.
    rationale, citation
        Why one would code so, and who does.
    parameters
        Everything the method can be told.
    allowed
        What each parameter may be: a list of values, or bounds ``{min, max}``.
    """

    name: str
    variable: str
    method: str
    label: str
    meaning: str
    rationale: str
    citation: str
    parameters: Mapping[str, Any]
    allowed: Mapping[str, Any]

    def with_parameters(self, changes: Mapping[str, Any], place: str) -> Rule:
        """Return the rule with some parameters changed.

        Raises
        ------
        SpecError
            On a parameter the rule does not have, or a value of another kind.
        """
        merged = dict(self.parameters)
        for key, value in changes.items():
            if key not in merged:
                expected = one_of(merged) if merged else f"no parameter ({self.name} has none)"
                raise SpecError(f"{place} > {key}", expected, shown(key), nearest(key, merged))
            self._check(f"{place} > {key}", key, value)
            merged[key] = value
        return replace(self, parameters=MappingProxyType(merged))

    @property
    def explained(self) -> str:
        """The meaning with the parameters' values in place of their names."""
        text = self.meaning
        for key, value in self.parameters.items():
            text = text.replace(f"`{key}`", f"{value:g}" if isinstance(value, float) else str(value))
        return text

    def _check(self, place: str, key: str, value: object) -> None:
        _check_kind(place, self.parameters[key], value)
        allowed = self.allowed.get(key)
        if isinstance(allowed, list) and value not in allowed:
            raise SpecError(place, one_of(allowed), shown(value), nearest(str(value), allowed))
        if isinstance(allowed, dict) and not allowed["min"] <= value <= allowed["max"]:
            raise SpecError(place, f"a number from {allowed['min']} to {allowed['max']}", shown(value))
        if key == EXPRESSION:
            columns = load_codebook().tables["exits"].columns
            Expression(str(value), place).check_columns({column.name: _kind_of(column) for column in columns})

    @property
    def identity(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """What the rule computes: rules of equal identity give equal columns."""
        return self.method, tuple(sorted((key, repr(value)) for key, value in self.parameters.items()))


@dataclass(frozen=True)
class RuleBook:
    """All rules that ship with the package, and which of them codes each variable by default."""

    rules: Mapping[str, Rule]
    defaults: Mapping[str, str]

    def default_for(self, variable: str) -> Rule | None:
        """Return the article's rule for a variable, or None if there is none.

        ``ctrend15`` to ``ctrend120`` and ``otrend15`` to ``otrend120`` are families: the number is
        the window in days.
        """
        if variable in self.defaults:
            return self.rules[self.defaults[variable]]
        family, window = self._family(variable)
        if family is None or window is None or not SMALLEST_WINDOW <= window <= LARGEST_WINDOW:
            return None
        rule = self.rules[family].with_parameters({"window": window}, variable)
        if window != self.rules[family].parameters["window"]:
            # Two windows in one table must not bear one name.
            rule = replace(rule, label=f"{rule.label} ({window} days)")
        return _for_variable(rule, variable)

    def _family(self, variable: str) -> tuple[str | None, int | None]:
        """Return the rule of the family a name such as ctrend60 belongs to, and its window."""
        match = _WINDOWED.match(variable)
        if match is None:
            return None, None
        return self.defaults.get(match["stem"] + "{window}"), int(match["window"])

    @property
    def variables(self) -> list[str]:
        """Variables with a default rule; families appear once, as ``ctrend{window}``."""
        return list(self.defaults)

    def describe_variables(self) -> list[str]:
        """Names for messages: families with their main window."""
        return [v.replace("{window}", "60") for v in self.defaults]

    def unknown_variable(self, variable: str, place: str, others: Iterable[str] = ()) -> SpecError:
        """Return the error for a name that no rule codes; ``others`` are further valid names."""
        family, _ = self._family(variable)
        if family is not None:
            expected = f"a window from {SMALLEST_WINDOW} to {LARGEST_WINDOW} days in the name"
            main = self.rules[family].variable.replace("{window}", "60")
            hint = f"Did you mean {main!r}? Longer and shorter ones: coding: {{{main}: {{window: DAYS}}}}"
            return SpecError(place, expected, shown(variable), hint)
        windows = [v.replace("{window}", str(w)) for v in self.defaults for w in range(SMALLEST_WINDOW, 121, 15)]
        hint = nearest(variable, dict.fromkeys([*others, *windows]))
        names = one_of([*others, *self.describe_variables()], 60)
        return SpecError(place, f"a variable ({_LISTED})" if hint else names, shown(variable), hint)

    def resolve(self, variable: str, choice: str | Mapping[str, Any] | None, place: str) -> Rule:
        """Return the rule that a specification chose for a variable.

        Parameters
        ----------
        variable
            Variable to be coded.
        choice
            None for the default; the name of a rule; or a mapping with an optional ``rule`` and
            changed parameters.
        place
            Where the choice stands, for messages.

        Raises
        ------
        SpecError
            On an unknown variable, rule or parameter, with the nearest name.
        """
        default = self.default_for(variable)
        if choice is None:
            if default is None:
                raise self.unknown_variable(variable, place)
            return default
        if not isinstance(choice, str | Mapping):
            raise SpecError(place, "the name of a rule, or changed parameters {name: value}", shown(choice))
        rule = self._named_rule(variable, choice, place) or default
        if rule is None:
            hint = nearest(variable, self.describe_variables())
            raise SpecError(place, "a rule (rule: NAME), since none codes it by default", shown(variable), hint)
        changes = {} if isinstance(choice, str) else {key: value for key, value in choice.items() if key != "rule"}
        return _for_variable(rule.with_parameters(changes, place), variable)

    def _named_rule(self, variable: str, choice: str | Mapping[str, Any], place: str) -> Rule | None:
        name = choice if isinstance(choice, str) else choice.get("rule")
        if name is None:
            return None
        if name not in self.rules:
            at, hint = place if isinstance(choice, str) else f"{place} > rule", nearest(str(name), self.rules)
            expected = "a rule (coalition-exit rules lists them)" if hint else one_of(self.rules, 60)
            raise SpecError(at, expected, shown(name), hint)
        rule = self.rules[str(name)]
        family, window = self._family(variable)
        if family is not None and "{window}" in rule.variable:
            # The number in the name is the window, whichever rule of the family codes it.
            rule = rule.with_parameters({"window": window}, place)
        return rule


def _for_variable(rule: Rule, variable: str) -> Rule:
    label = rule.label.replace("{window}", str(rule.parameters.get("window", "")))
    return replace(rule, variable=variable, label=label)


def _kind_of(column: Column) -> Kind:
    """Say what a column of the record holds."""
    if column.type in ("int", "number"):
        return NUMBER
    return Kind("date" if column.type == "date" else "text", column.values)


def _check_kind(place: str, old: object, new: object) -> None:
    if isinstance(old, bool) or isinstance(new, bool):
        fits = isinstance(old, bool) and isinstance(new, bool)
    elif isinstance(old, int):
        fits = isinstance(new, int)
    elif isinstance(old, float):
        fits = isinstance(new, int | float)
    else:
        fits = isinstance(new, type(old))
    if not fits:
        kinds = ((bool, "true or false"), (int, "a whole number"), (float, "a number"))
        kind = next((text for kind, text in kinds if isinstance(old, kind)), "text")
        raise SpecError(place, kind, shown(new))


def _rule(name: str, entry: Mapping[str, Any]) -> Rule:
    clean = {key: " ".join(str(entry[key]).split()) for key in ("label", "meaning", "rationale", "citation")}
    return Rule(
        name=name,
        variable=entry["variable"],
        method=entry["method"],
        parameters=MappingProxyType(dict(entry.get("parameters", {}))),
        allowed=MappingProxyType(dict(entry.get("allowed", {}))),
        **clean,
    )


@cache
def load_rules() -> RuleBook:
    """Read the rules that ship with the package."""
    folder = resources.files("coalition_exit.coding").joinpath("rules")
    rules: dict[str, Rule] = {}
    defaults: dict[str, str] = {}
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        if not file.name.endswith(".yaml"):
            continue
        for name, entry in yaml.safe_load(file.read_text("utf-8")).items():
            rules[name] = _rule(name, entry)
            if file.name == "article.yaml":
                defaults[entry["variable"]] = name
    return RuleBook(MappingProxyType(rules), MappingProxyType(defaults))
