"""A coding rule: a named way to turn the record's facts into one variable of the panel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

from coalition_exit.coding.columns import EXPRESSIONS, kinds_of
from coalition_exit.coding.expressions import Expression
from coalition_exit.errors import SpecError, nearest, one_of, shown

# The decisions a study of coalition exit takes, in the order of the symposium's questions.
DECISIONS: Mapping[str, str] = {
    "exit": "What counts as an exit",
    "coalition": "What is a coalition, and who is in it",
    "sample": "Time and sample",
    "aims": "War aims",
    "fronts": "Fronts",
    "trend": "Battlefield trend",
    "controls": "Other covariates",
}
SUBJECTS = "subjects"
OUTCOMES = ("exits", "exits_and_pullbacks", "exit_causes")


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
    decision
        What kind of decision it answers, a key of `DECISIONS`.
    origin
        "article", "package", or "user" for a rule that a specification defines.
    based_on
        The rule whose parameters it changes; empty if it stands on its own.
    compared_with
        The rule that it departs from; empty for the article's.
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
    decision: str = "controls"
    origin: str = "package"
    based_on: str = ""
    compared_with: str = ""

    @property
    def role(self) -> str:
        """What the rule makes: "subjects" (the panel's rows), "outcome" or "covariate"."""
        if self.method == SUBJECTS:
            return SUBJECTS
        return "outcome" if self.method in OUTCOMES else "covariate"

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
            self.check_parameter(f"{place} > {key}", key, value)
            merged[key] = value
        return replace(self, parameters=MappingProxyType(merged))

    @property
    def explained(self) -> str:
        """The meaning with the parameters' values in place of their names."""
        text = self.meaning
        for key, value in self.parameters.items():
            text = text.replace(f"`{key}`", f"{value:g}" if isinstance(value, float) else str(value))
        return text

    def check_parameter(self, place: str, key: str, value: object) -> None:
        """Raise `SpecError` unless a parameter of the rule may have a value."""
        _check_kind(place, self.parameters[key], value)
        allowed = self.allowed.get(key)
        if isinstance(allowed, list) and value not in allowed:
            raise SpecError(place, one_of(allowed), shown(value), nearest(str(value), allowed))
        if isinstance(allowed, dict) and not allowed["min"] <= value <= allowed["max"]:
            raise SpecError(place, f"a number from {allowed['min']} to {allowed['max']}", shown(value))
        if key in EXPRESSIONS:
            self.check_expression(str(value), key, place)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let rules go to other processes: read-only mappings cannot be pickled."""
        state = {f.name: getattr(self, f.name) for f in fields(self)}
        return _restored, ({**state, "parameters": dict(self.parameters), "allowed": dict(self.allowed)},)

    def check_expression(self, text: str, parameter: str, place: str) -> None:
        """Raise `SpecError` unless a text is an expression over the facts that a parameter may use."""
        Expression(text, place).check_columns(kinds_of(self.method, parameter))

    @property
    def identity(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """What the rule computes: rules of equal identity give equal columns."""
        return self.method, tuple(sorted((key, repr(value)) for key, value in self.parameters.items()))


def _restored(state: dict[str, Any]) -> Rule:
    readonly = {key: MappingProxyType(state[key]) for key in ("parameters", "allowed")}
    return Rule(**{**state, **readonly})


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
