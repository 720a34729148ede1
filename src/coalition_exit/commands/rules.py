"""What ``rules`` shows."""

from __future__ import annotations

from typing import Any

import pandas as pd

from coalition_exit.coding.columns import EXPRESSIONS
from coalition_exit.coding.rule import DECISIONS, Rule
from coalition_exit.coding.rules import load_rules
from coalition_exit.errors import InputError, one_of, shown
from coalition_exit.panel.cases import rule_cases
from coalition_exit.panel.compare import rule_effects
from coalition_exit.record.loading import Record, load_record
from coalition_exit.report.plain import wrap

_INDENT = "    "


def list_rules(record: Record | None = None) -> pd.DataFrame:
    """Return one row a rule: decision, name, variable, default, label, texts, and what it changes."""
    book = load_rules()
    effects = rule_effects(load_record() if record is None else record, book)
    rules = [book.rules[name] for name in effects["rule"]]
    return effects.assign(
        default=["yes" if r.name in (*book.defaults.values(), *book.further.values()) else "" for r in rules],
        origin=[r.origin for r in rules],
        rationale=[r.rationale for r in rules],
        citation=[r.citation for r in rules],
    )


def describe_rules(width: int, record: Record | None = None) -> str:
    """Return every rule by decision, with rationale, citation and what it changes, as text."""
    lines: list[str] = []
    for decision, rows in list_rules(record).groupby("decision", sort=False):
        lines += [DECISIONS[str(decision)], ""]
        for row in rows.itertuples(index=False):
            lines += [*_listed(row, width), ""]
    return "\n".join([*lines, wrap("coalition-exit rules NAME says which states a rule changes, and why.", width)])


def _listed(row: Any, width: int) -> list[str]:
    default = " (the article's)" if row.origin == "article" else " (the default)" if row.default else ""
    said = [f"{row.variable}: {row.rule}{default}. {row.label}"]
    said += [f"{_INDENT}{text}" for text in (row.rationale, row.citation)]
    if row.against:
        said.append(_INDENT + _effect(row))
    return [wrap(text, width, _INDENT) for text in said]


def _effect(row: Any) -> str:
    return (f"Against {row.against}: {row.spells_changed:,} spells, {row.exits_changed:,} exits, "
            f"{row.rows_changed:,} rows change; {row.subjects:,} subjects, {row.exits:,} exits")  # fmt: skip


def describe_rule(name: str, width: int, record: Record | None = None) -> str:
    """Return everything about one rule as text: what it says, what can be changed, whom it changes."""
    book = load_rules()
    rule = book.rules.get(name) or book.default_for(name)
    if rule is None:
        hint = book.unknown_variable(name, "rules", book.rules).hint
        expected = "the name of a rule or a variable (coalition-exit rules lists them)"
        raise InputError("rules", expected, shown(name), hint)
    told = {
        "codes": f"{rule.variable} ({rule.label})",
        "decision": DECISIONS[rule.decision],
        "based on": rule.based_on,
        "meaning": rule.explained,
        "rationale": rule.rationale,
        "citation": rule.citation,
    }
    lines = [rule.name, *(wrap(f"  {key:<11} {text}", width, " " * 14) for key, text in told.items() if text)]
    for key, value in rule.parameters.items():
        lines.append(wrap(f"  {'parameter':<11} {key}: {value}{_allowed(rule.allowed.get(key))}", width, " " * 14))
    lines += ["", *_cases(rule, width, load_record() if record is None else record)]
    default = book.default_for(rule.variable.replace("{window}", "60"))
    is_default = default is not None and default.name == rule.name
    lines += ["", f"  To {'change' if is_default else 'choose'} it, in a specification:", "    coding:"]
    return "\n".join([*lines, f"      {_choice(rule, is_default)}"])


def _choice(rule: Rule, is_default: bool) -> str:
    variable = rule.variable.replace("{window}", "60")
    plain = {key: value for key, value in rule.parameters.items() if key not in EXPRESSIONS}
    if not plain:
        return f"{variable}: {rule.name}"
    key, value = next(iter(plain.items()))
    shown_value = repr(value) if isinstance(value, str) else str(value).lower()
    name = "" if is_default else f"rule: {rule.name}, "
    return f"{variable}: {{{name}{key}: {shown_value}}}"


def _cases(rule: Rule, width: int, record: Record) -> list[str]:
    cases = rule_cases(record, rule)
    against = load_rules().compared_with(rule)
    if not len(cases):
        same = rule.identity == against.identity
        return ["  The default: other rules are compared with it" if same else f"  No state: as {against.name}"]
    lines = [f"  Against {against.name} it changes {len(cases)} spells, {cases['exits'].sum()} exits, "
             f"{cases['rows'].sum():,} rows:", ""]  # fmt: skip
    for case in cases.itertuples(index=False):
        again = f", spell {case.spell}" if case.spell > 1 else ""
        said = [f"  {case.war}: {case.state}{again}", f"{_INDENT}{case.what}", f"{_INDENT}{case.why}"]
        if case.facts:
            said.append(f"{_INDENT}{case.facts}")
        said.append(f"{_INDENT}basis: {case.basis}; confidence: {case.confidence}")
        lines += [*(wrap(text, width, _INDENT) for text in said), ""]
    return lines[:-1]


def _allowed(allowed: object) -> str:
    if isinstance(allowed, dict):
        return f" (from {allowed['min']} to {allowed['max']})"
    return f" ({one_of(allowed)})" if isinstance(allowed, list) else ""
