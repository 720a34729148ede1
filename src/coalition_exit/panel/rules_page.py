"""The page on coding rules, docs/rules.md, made from the rules and the record."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from coalition_exit.coding.columns import Fact, facts_of
from coalition_exit.coding.rule import DECISIONS, Rule
from coalition_exit.coding.rules import RuleBook, load_rules
from coalition_exit.panel.compare import rule_effects
from coalition_exit.record.loading import Record, load_record

_WIDTH = 120
_INTRO = """\
# Coding rules

A coding rule turns the record's facts into one variable of the panel, or says which states are its subjects. This
page is made from the rules and the record by `coalition_exit.panel.rules_page`; a test fails when it is out of date.

The article's rules are the default. The others answer the objections of the symposium on the article or follow from
the project's own doubts. The symposium is known to the project from summaries of it and not from its text: a citation
says whose objection or question a rule takes up; the coding is the project's.

A specification chooses a rule by its name, or changes parameters:

```yaml
coding:
  withdraw: entrapment
  subjects: {rule: allied_only, min_force_share: 0.1}
  ctrend60: {measure: log_ratio}
```

Rules for the subjects share their parameters, so that one can be joined with another as in the second line. A variable
takes one rule at a time. `coalition-exit rules NAME` says which states a rule changes, and why each.

## A rule of one's own

A specification can define rules over the record's facts, without Python:

```yaml
rules:
  left_alone:
    based_on: article_withdraw
    label: Abandonment of a partner that fought on alone
    rationale: Who leaves one of many partners leaves nobody alone.
    only_if: partners_after == 1 and force_share > 0.1

models:
  - key: alone
    failure: withdraw
    covariates: [foverlap, ctrend60]
    coding:
      withdraw: left_alone
```

`based_on` names a rule of the package or another of the file. Its parameters are changed by their names. `where` puts
an expression in the place of the rule's own; `only_if`, `not_if` and `also_if` narrow or widen it, in the order
`also_if`, `only_if`, `not_if`. `label`, `meaning`, `rationale` and `citation` are texts; `variable` gives the result a
name of its own. An expression compares columns with numbers or quoted text (`== != < <= > >= in not in`) and joins
comparisons by `and`, `or`, `not`. A comparison with a missing value holds neither way, and the exit does not count. A
rule based on `entry_condition` makes a covariate, from what was known on entry.
"""
_COUNTED = """\
*Spells*, *exits* and *rows* say how many of them a rule changes against the article's rule for the variable (for the
kinds of exit, against `article_withdraw`; trends at 60 days). An exit is changed, for a rule on outcomes, if it counts
under one rule and not under the other, or as another kind. For the other rules an exit is changed if it is an
abandonment by the article's rule on whose day the covariate differs, or whose row is left out or counted otherwise.
"""
_JOINED = {
    "coalition": "Where a rule changes who is a partner, rows in which a covariate of the full model changes count.",
    "exit": "Exits of kind 1 and 2 are counted together. `volunt` is compared with `article_volunt`.",
}


def rules_page(record: Record, book: RuleBook | None = None, effects: pd.DataFrame | None = None) -> str:
    """Return docs/rules.md: every rule with meaning, rationale, citation, parameters and effect.

    Parameters
    ----------
    record
        The coded facts.
    book
        The rules; by default those that ship.
    effects
        From `rule_effects`, if at hand.
    """
    book = book or load_rules()
    effects = rule_effects(record, book) if effects is None else effects
    parts = [_INTRO, "## Facts", *_facts(), "## Rules by decision", _COUNTED]
    for decision, rules in book.by_decision().items():
        parts += [f"### {DECISIONS[decision]}", _effects(effects[effects["decision"] == decision])]
        if decision in _JOINED:
            parts.append(_fill(_JOINED[decision]))
        parts += [_rule(rule, book) for rule in rules]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def write_rules_page(path: str | Path = "docs/rules.md", record: Record | None = None) -> Path:
    """Write the page anew, after a change of the rules or the record; from the project's folder."""
    path = Path(path)
    path.write_text(rules_page(load_record() if record is None else record), encoding="utf-8", newline="\n")
    return path


def _facts() -> Iterator[str]:
    exits, pulled = facts_of("exits", "where"), facts_of("exits_and_pullbacks", "pullbacks")
    yield _fill(
        "Columns for `where`, `only_if`, `not_if`, `also_if`, `competing` and `until_peace_if`. Those marked * are "
        "known on the day of entry and can be used by `entry_condition`."
    )
    known = set(facts_of("entry_fact", "where"))
    yield _columns({f"{name}{' *' if name in known else ''}": fact for name, fact in exits.items()})
    yield "Columns for `pullbacks`."
    yield _columns(pulled)


def _columns(facts: Mapping[str, Fact]) -> str:
    lines = ["| column | holds | meaning |", "| --- | --- | --- |"]
    for name, fact in facts.items():
        holds = ", ".join(fact.kind.values) if fact.kind.values else fact.kind.kind
        mark = f"`{name.removesuffix(' *')}`{' *' if name.endswith(' *') else ''}"
        lines.append(f"| {mark} | {holds} | {_cell(fact.meaning)} |")
    return "\n".join(lines)


def _effects(effects: pd.DataFrame) -> str:
    lines = [
        "| rule | codes | subjects | exits | spells changed | exits changed | rows changed |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in effects.itertuples(index=False):
        counts = (row.subjects, row.exits, row.spells_changed, row.exits_changed, row.rows_changed)
        lines.append(f"| `{row.rule}` | `{row.variable}` | " + " | ".join(f"{n:,}" for n in counts) + " |")
    return "\n".join(lines)


def _rule(rule: Rule, book: RuleBook) -> str:
    base = book.rules.get(rule.based_on)
    changed = {k: v for k, v in rule.parameters.items() if base is None or base.parameters.get(k) != v}
    based = f" Based on `{rule.based_on}`." if base is not None else ""
    lines = [f"#### {rule.name}", "", _fill(f"**{rule.label}.** {_end(rule.meaning)}{based}"), ""]
    lines += [_fill(_end(rule.rationale)), "", _fill(f"*{_end(rule.citation)}*")]
    if changed:
        lines.append("")
        lines += [_parameter(key, value, rule.allowed.get(key)) for key, value in changed.items()]
    return "\n".join(lines)


def _parameter(key: str, value: object, allowed: object) -> str:
    bounds = ""
    if isinstance(allowed, dict):
        bounds = f" (from {allowed['min']} to {allowed['max']})"
    elif isinstance(allowed, list):
        bounds = f" (one of {', '.join(str(v) for v in allowed)})"
    return textwrap.fill(f"- `{key}: {value}`{bounds}", _WIDTH, subsequent_indent="  ", break_long_words=False,
                         break_on_hyphens=False)  # fmt: skip


def _end(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _fill(text: str) -> str:
    return textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
