"""What ``rules`` shows."""

from __future__ import annotations

import pandas as pd

from coalition_exit.coding.rules import load_rules
from coalition_exit.errors import InputError, one_of, shown
from coalition_exit.report.plain import wrap


def list_rules() -> pd.DataFrame:
    """Return one row a rule: name, variable, whether it is the default, rationale, citation."""
    book = load_rules()
    rows = [
        (rule.name, rule.variable, "yes" if book.defaults.get(rule.variable) == rule.name else "", rule.label,
         rule.rationale, rule.citation)
        for rule in book.rules.values()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["rule", "variable", "default", "label", "rationale", "citation"])


def describe_rules(width: int) -> str:
    """Return every rule with its rationale and citation as text."""
    lines = []
    for row in list_rules().itertuples(index=False):
        default = " (the article's)" if row.default else ""
        lines += [
            wrap(f"{row.variable}: {row.rule}{default}", width, "    "),
            wrap(f"    {row.rationale}", width, "    "),
        ]
        lines += [wrap(f"    {row.citation}", width, "    "), ""]
    return "\n".join([*lines, wrap("coalition-exit rules NAME shows one, with what can be changed in it.", width)])


def describe_rule(name: str, width: int) -> str:
    """Return everything about one rule as text."""
    book = load_rules()
    rule = book.rules.get(name) or book.default_for(name)
    if rule is None:
        hint = book.unknown_variable(name, "rules", book.rules).hint
        expected = "the name of a rule or a variable (coalition-exit rules lists them)"
        raise InputError("rules", expected, shown(name), hint)
    told = {
        "codes": f"{rule.variable} ({rule.label})",
        "meaning": rule.explained,
        "rationale": rule.rationale,
        "citation": rule.citation,
    }
    lines = [rule.name, *(wrap(f"  {key:<11} {text}", width, " " * 14) for key, text in told.items())]
    for key, value in rule.parameters.items():
        lines.append(wrap(f"  {'parameter':<11} {key}: {value}{_allowed(rule.allowed.get(key))}", width, " " * 14))
    if rule.parameters:
        key, value = next(iter(rule.parameters.items()))
        example = f"{{{key}: {value!r}}}" if isinstance(value, str) else f"{{{key}: {value}}}"
        variable = rule.variable.replace("{window}", "60")
        lines += ["", "  To change it, in a specification:", "    coding:", f"      {variable}: {example}"]
    return "\n".join(lines)


def _allowed(allowed: object) -> str:
    if isinstance(allowed, dict):
        return f" (from {allowed['min']} to {allowed['max']})"
    return f" ({one_of(allowed)})" if isinstance(allowed, list) else ""
