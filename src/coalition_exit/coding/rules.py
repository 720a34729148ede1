"""Coding rules: named ways to turn the record's facts into a variable of the panel."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

import yaml

from coalition_exit.coding.expressions import Expression
from coalition_exit.errors import SpecError, nearest, one_of
from coalition_exit.record.codebook import load_codebook

_WINDOWED = re.compile(r"(?P<stem>[a-z]+?)(?P<window>\d+)\Z")
SMALLEST_WINDOW, LARGEST_WINDOW = 15, 120
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
                hint = nearest(key, merged)
                raise SpecError(f"{place} > {key}", one_of(merged), repr(key), hint)
            self._check(f"{place} > {key}", key, value)
            merged[key] = value
        return replace(self, parameters=MappingProxyType(merged))

    def _check(self, place: str, key: str, value: object) -> None:
        _check_kind(place, self.parameters[key], value)
        allowed = self.allowed.get(key)
        if isinstance(allowed, list) and value not in allowed:
            raise SpecError(place, one_of(allowed), repr(value), nearest(str(value), allowed))
        if isinstance(allowed, dict) and not allowed["min"] <= value <= allowed["max"]:
            raise SpecError(place, f"a number from {allowed['min']} to {allowed['max']}", repr(value))
        if key == EXPRESSION:
            table = load_codebook().tables["exits"]
            Expression(str(value), place).check_names(table.column_names)

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
        match = _WINDOWED.match(variable)
        if match is None:
            return None
        family = self.defaults.get(match["stem"] + "{window}")
        window = int(match["window"])
        if family is None or not SMALLEST_WINDOW <= window <= LARGEST_WINDOW or match["window"][0] == "0":
            return None
        rule = self.rules[family].with_parameters({"window": window}, variable)
        return replace(rule, variable=variable, label=rule.label.format(window=window))

    @property
    def variables(self) -> list[str]:
        """Variables with a default rule; families appear once, as ``ctrend{window}``."""
        return list(self.defaults)

    def describe_variables(self) -> list[str]:
        """Names for messages: families with their main window."""
        return [v.replace("{window}", "60") for v in self.defaults]

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
                names = self.describe_variables()
                raise SpecError(place, one_of(names, 60), repr(variable), nearest(variable, names))
            return default
        changes = {} if isinstance(choice, str) else {k: v for k, v in choice.items() if k != "rule"}
        name = choice if isinstance(choice, str) else choice.get("rule")
        rule = default
        if name is not None:
            if name not in self.rules:
                at = place if isinstance(choice, str) else f"{place} > rule"
                raise SpecError(at, one_of(self.rules, 60), repr(name), nearest(str(name), self.rules))
            rule = self.rules[str(name)]
        if rule is None:
            raise SpecError(place, "a rule (rule: NAME), since no rule codes this variable by default", repr(variable))
        return replace(rule.with_parameters(changes, place), variable=variable)


def _check_kind(place: str, old: object, new: object) -> None:
    number = (int, float)
    if isinstance(old, bool) or isinstance(new, bool):
        fits = isinstance(old, bool) and isinstance(new, bool)
    elif isinstance(old, number):
        fits = isinstance(new, number)
    else:
        fits = isinstance(new, type(old))
    if not fits:
        kind = "true or false" if isinstance(old, bool) else "a number" if isinstance(old, number) else "text"
        raise SpecError(place, kind, repr(new))


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
