"""The book of coding rules: those that ship, their defaults, and what a specification chooses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib import resources
from types import MappingProxyType
from typing import Any

import yaml

from coalition_exit.coding.derive import derive
from coalition_exit.coding.rule import DECISIONS, Rule
from coalition_exit.errors import SpecError, nearest, one_of, shown

_WINDOWED = re.compile(r"(?P<stem>[a-z]+?)(?P<window>[1-9][0-9]{0,5})\Z")
SMALLEST_WINDOW, LARGEST_WINDOW = 15, 120
__all__ = ["Rule", "RuleBook", "load_rules"]

ARTICLE = "article.yaml"
_LISTED = "coalition-exit data describe lists them"


@dataclass(frozen=True)
class RuleBook:
    """Rules by name, and which of them codes each variable by default.

    Attributes
    ----------
    rules
        By name.
    defaults
        The article's rule for each of its variables.
    further
        The default for variables that the article has not.
    """

    rules: Mapping[str, Rule]
    defaults: Mapping[str, str]
    further: Mapping[str, str] = field(default_factory=dict)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let books go to other processes: read-only mappings cannot be pickled."""
        return RuleBook, (dict(self.rules), dict(self.defaults), dict(self.further))

    def with_rules(self, more: Mapping[str, Rule]) -> RuleBook:
        """Return a book that knows further rules as well; a variable of their own they also code by default."""
        own: dict[str, str] = {}
        for name, rule in more.items():
            if self.default_for(rule.variable) is None:
                own.setdefault(rule.variable, name)
        return replace(
            self,
            rules=MappingProxyType({**self.rules, **more}),
            further=MappingProxyType({**self.further, **own}),
        )

    def by_decision(self) -> dict[str, list[Rule]]:
        """Return the rules by decision, in the order of `DECISIONS`: the article's first."""
        found = {key: [r for r in self.rules.values() if r.decision == key] for key in DECISIONS}
        order = {"article": 0, "package": 1, "user": 2}
        return {key: sorted(rules, key=lambda r: order[r.origin]) for key, rules in found.items() if rules}

    def compared_with(self, rule: Rule) -> Rule:
        """Return the rule that a rule departs from: the article's, or else itself."""
        if rule.compared_with:
            return self.rules[rule.compared_with]
        if rule.variable in self.defaults:
            return self.rules[self.defaults[rule.variable]]
        if self._family(rule.variable)[0] is not None:
            default = self.default_for(rule.variable)
            if default is not None:
                return default
        base = self.rules.get(rule.based_on)
        return rule if base is None else self.compared_with(base)

    def default_for(self, variable: str) -> Rule | None:
        """Return the default rule for a variable, or None if there is none.

        ``ctrend15`` to ``ctrend120`` and ``otrend15`` to ``otrend120`` are families: the number is
        the window in days.
        """
        if variable in self.defaults:
            return self.rules[self.defaults[variable]]
        if variable in self.further:
            return self.rules[self.further[variable]]
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
        """The article's variables; families appear once, as ``ctrend{window}``."""
        return list(self.defaults)

    def describe_variables(self) -> list[str]:
        """Names for messages: families with their main window."""
        return [v.replace("{window}", "60") for v in (*self.defaults, *self.further)]

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

    def resolve(self, variable: str, choice: str | Mapping[str, Any] | Rule | None, place: str) -> Rule:
        """Return the rule that a specification chose for a variable.

        Parameters
        ----------
        variable
            Variable to be coded.
        choice
            None for the default; the name of a rule; a mapping with an optional ``rule`` and
            changed parameters; or a rule itself.
        place
            Where the choice stands, for messages.

        Raises
        ------
        SpecError
            On an unknown variable, rule or parameter, with the nearest name.
        """
        if isinstance(choice, Rule):
            return _for_variable(choice, variable)
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


def _place(*path: str) -> str:
    return " > ".join(path)


@cache
def load_rules() -> RuleBook:
    """Read the rules that ship with the package."""
    folder = resources.files("coalition_exit.coding").joinpath("rules")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".yaml")), key=lambda f: (f.name != ARTICLE, f.name))
    rules: dict[str, Rule] = {}
    defaults: dict[str, str] = {}
    further: dict[str, str] = {}
    for file in files:
        article = file.name == ARTICLE
        for name, entry in yaml.safe_load(file.read_text("utf-8")).items():
            rules[name] = rule = derive(
                name, entry, rules, partial(_place, file.name, name), "article" if article else "package"
            )
            if article:
                defaults[rule.variable] = name
            elif rule.variable not in defaults:
                further.setdefault(rule.variable, name)
    return RuleBook(MappingProxyType(rules), MappingProxyType(defaults), MappingProxyType(further))
