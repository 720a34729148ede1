"""Which states a rule changes, and why each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from coalition_exit.coding.columns import EXPRESSIONS
from coalition_exit.coding.expressions import Expression
from coalition_exit.coding.facts import KEY, exit_facts, pullback_facts
from coalition_exit.coding.members import conditions
from coalition_exit.coding.rule import SUBJECTS, Rule
from coalition_exit.coding.rules import RuleBook, load_rules
from coalition_exit.panel.build import subjects_of
from coalition_exit.panel.compare import Change, Reference, changes, concrete, reference
from coalition_exit.record.loading import Record

COLUMNS = ("war", "state", "spell", "exits", "rows", "what", "why", "facts", "basis", "confidence")
_LEVELS = ("low", "medium", "high")
_NOT_BOUND = {"ever": "on no day bound to a partner at war", "entry": "bound to no partner when it first had one"}
_KINDS = {0: "no event", 1: "an abandonment", 2: "a competing exit"}
# Tables whose rows a covariate is made from, by method, for basis and confidence.
_SOURCES = {
    "aim": "aims",
    "common_front": "deployments",
    "coalition_trend": "losses",
    "own_trend": "losses",
    "log_deaths": "losses",
    "entry_fact": "spells",
}


@dataclass(frozen=True)
class _Context:
    """What the cases of one rule are told from."""

    record: Record
    rule: Rule
    against: Rule
    base: Reference
    facts: pd.DataFrame
    failing: Mapping[str, np.ndarray[Any, Any]]


def rule_cases(
    record: Record, name: str | Rule, book: RuleBook | None = None, base: Reference | None = None
) -> pd.DataFrame:
    """Say which states a rule changes against the one it departs from, and why each.

    Parameters
    ----------
    record
        The coded facts.
    name
        Name of a rule, or the rule.
    book
        The rules; by default those that ship.
    base
        From `coalition_exit.panel.compare.reference`, if at hand.

    Returns
    -------
    pandas.DataFrame
        One row a spell that changes: ``war``, ``state``, ``spell``, ``exits`` and ``rows`` (how many
        differ), ``what`` changes, ``why`` (the record's explanation), ``facts`` (those the rule
        asks for, with their values), ``basis`` and ``confidence`` (of the rows it rests on; the
        lowest where there are several). Empty for the article's rules.

    Raises
    ------
    SpecError
        When no rule bears the name.
    """
    book = book or load_rules()
    base = base or reference(record, book)
    rule = name if isinstance(name, Rule) else book.resolve(_variable(book, name), name, "rules")
    found = changes(record, rule, book, base)
    history = subjects_of(record, rule).history if rule.role == SUBJECTS else base.subjects.history
    facts = exit_facts(history).set_index(KEY, drop=False)
    failing = {}
    if rule.role == SUBJECTS:
        failing = {key: ~met for key, met in conditions(history.base or history, rule.parameters)[1].items()}
    context = _Context(record, concrete(rule, book), concrete(book.compared_with(rule), book), base, facts, failing)
    tell = {"outcome": _outcome, SUBJECTS: _subjects, "covariate": _covariate}[rule.role]
    rows = [_row(context, change, *tell(context, change)) for change in found]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _variable(book: RuleBook, name: str) -> str:
    rule = book.rules.get(name)
    return "subjects" if rule is None else rule.variable


def _row(context: _Context, change: Change, what: str, why: str, facts: str, sources: pd.DataFrame) -> tuple[Any, ...]:
    wars = context.record["wars"].set_index("warnum")["name"]
    basis = dict.fromkeys(key.strip() for text in sources["basis"] for key in str(text).split(";"))
    confidence = min(sources["confidence"], key=_LEVELS.index, default="")
    return (wars[change.spell[0]], context.record.name_of(change.spell[2]), change.spell[3], change.exits, change.rows,
            what, why, facts, ";".join(basis), confidence)  # fmt: skip


def _outcome(context: _Context, change: Change) -> tuple[str, str, str, pd.DataFrame]:
    """Exits and pull-backs that count under one of the rules only."""
    fact = context.facts.loc[change.spell]
    pulled = pullback_facts(context.base.subjects.history)
    own = pulled[(pulled[KEY] == list(change.spell)).all(axis=1)]
    days = _days(context, change)
    said, why, sources = [], [], []
    for at in np.flatnonzero(change.mask):
        if not (change.before[at] > 0 or change.after[at] > 0):
            continue
        day = str(days[at])
        began = own[own["start"].dt.strftime("%Y-%m-%d") == day]
        row = began.iloc[0] if len(began) and change.after[at] > 0 else fact
        said.append(f"{day}: {_kind(change.after[at])} in place of {_kind(change.before[at])}")
        why.append(str(row["explanation"]))
        sources.append(row)
    gone = int((np.isnan(change.after) & change.mask).sum())
    if gone:
        said.append(f"no longer at risk on {gone} days")
    return "; ".join(said), " ".join(dict.fromkeys(why)), _asked(context, fact), pd.DataFrame(sources)


def _kind(value: float) -> str:
    return "not at risk" if np.isnan(value) else _KINDS[int(value)]


def _subjects(context: _Context, change: Change) -> tuple[str, str, str, pd.DataFrame]:
    """Spells left out, made longer, or counted otherwise."""
    fact = context.facts.loc[change.spell]
    at = context.facts.index.get_loc(change.spell)
    missed = [key for key, fails in context.failing.items() if fails[at]]
    what, why = _what_of_rows(context, change, fact), _why_of_rows(context, change, fact, missed)
    return what, why, _asked(context, fact, _columns_of(context.rule, missed)), _rows_of_rule(context, change, missed)


def _what_of_rows(context: _Context, change: Change, fact: pd.Series) -> str:
    if not change.rows_after:
        return f"left out ({change.rows_before} days)"
    longer = change.rows_after - change.rows_before
    if longer > 0 and context.rule.parameters["until"] == "peace":
        return f"at risk {longer} days longer, to {fact['peace'].date()}"
    if longer:
        return f"at risk {abs(longer)} days {'longer' if longer > 0 else 'less'} ({change.rows} days differ)"
    if context.rule.parameters["partners"] == "subjects":
        return f"covariates measured among other partners on {change.rows} days"
    return f"counted otherwise on {change.rows} days"


def _why_of_rows(context: _Context, change: Change, fact: pd.Series, missed: list[str]) -> str:
    values = context.rule.parameters
    reasons = {
        "where": "the condition does not hold",
        "coordination": _coordination(context.record, change),
        "min_force_share": f"its share of its side's soldiers is not above {values['min_force_share']:g}",
        "bond": f"{_NOT_BOUND[values['bond_taken']]} ({values['bond']})",
        "late_joiners": f"it entered {fact['days_late']} days after its side's first member",
        "world_wars": "a world war",
        "without_war": "the war is left out",
        "first_year": f"the war began before {values['first_year']}",
        "last_year": f"the war began after {values['last_year']}",
    }  # fmt: skip
    if missed:
        return "; ".join(reasons[key] for key in missed)
    if not change.rows_after:
        return "no other member of its side is left"
    if values["dates"] == "cow" and change.rows_after != change.rows_before:
        return str(_spell_row(context.record, change)["date_note"].iloc[0])
    if values["until"] == "peace" and change.rows_after > change.rows_before:
        return f"{fact['mode']}: it fought to its side's last day, and its own exit did not end the war"
    if values["origin"] != "own":
        return f"it entered {fact['days_late']} days after its side's first member, on {fact['start'].date()}"
    return {"same": "the spells of one state are one subject"}.get(values["second_spell"], "its partners changed")


def _coordination(record: Record, change: Change) -> str:
    table = record["coalitions"]
    own = table[(table["warnum"] == change.spell[0]) & (table["side"] == change.spell[1])]
    return str(own["explanation"].iloc[0])


def _columns_of(rule: Rule, missed: list[str]) -> list[str]:
    """Facts that decided, for a condition of the rule for the subjects."""
    values = rule.parameters
    names = {
        "where": Expression(values["where"]).names,
        "coordination": ["coordination"],
        "min_force_share": [f"{values['force_share']}_force_share"],
        "bond": [f"{values['bond']}_{values['bond_taken']}"],
        "late_joiners": ["days_late"],
        "world_wars": ["world_war"],
        "without_war": ["warnum"],
        "first_year": ["war_year"],
        "last_year": ["war_year"],
    }
    columns = [name for key in missed for name in names[key]]
    if values["until"] == "peace":
        columns += Expression(values["until_peace_if"]).names
    return columns + (["days_late"] if values["origin"] != "own" else [])


def _rows_of_rule(context: _Context, change: Change, missed: list[str]) -> pd.DataFrame:
    """Rows of the record that decided: basis and confidence."""
    tables = {"coordination": "coalitions", "min_force_share": "forces", "bond": "agreements"}
    names = [tables.get(key, "spells") for key in missed] or ["spells"]
    if context.rule.parameters["until"] == "peace" and not missed:
        names = ["exits", "wars"]
    found = pd.concat([_in_spell(context, name, change) for name in dict.fromkeys(names)])
    # That a state is bound to nobody is said by the absence of a row.
    return found if len(found) else _spell_row(context.record, change)


def _covariate(context: _Context, change: Change) -> tuple[str, str, str, pd.DataFrame]:
    """Spells on some of whose days a covariate has another value."""
    before, after = (x[change.mask].astype(float) for x in (change.before, change.after))
    what = (
        f"{np.nanmean(before):.3g} -> {np.nanmean(after):.3g} on average over {change.rows} of {len(change.mask)} days"
    )
    last = change.before[-1], change.after[-1]
    what += f"; on the last day {last[0]:.3g} -> {last[1]:.3g}" if change.mask[-1] else "; not on the last day"
    own = _in_spell(context, _SOURCES.get(context.rule.method, "spells"), change)
    if not len(own):
        own = _spell_row(context.record, change)
    return what, _reason(context, change, own), "", own


def _reason(context: _Context, change: Change, own: pd.DataFrame) -> str:
    if context.rule.method == "aim":
        held = context.rule.parameters["kind"]
        if context.rule.parameters["whose"] != "own":
            return f"members of the coalition that wanted it at some time: {_holders(context, change, held)}"
        return "; ".join(
            f"{r.start.date()} to {r.end.date()}: {'wants' if getattr(r, held) else 'does not want'} it"
            + (f" ({r.note})" if isinstance(r.note, str) and r.note else "")
            for r in own.itertuples(index=False)
        )
    if context.rule.method == "common_front":
        fronts = context.record["fronts"].set_index(["warnum", "front"])["name"]
        shares = own[own["share"] > 0].groupby("front")["share"].max()
        return "stood on " + "; ".join(f"{fronts[(change.spell[0], f)]} (up to {s:.2g})" for f, s in shares.items())
    if context.rule.method in ("coalition_trend", "own_trend"):
        return _losses(context, change)
    return context.rule.meaning


def _holders(context: _Context, change: Change, kind: str) -> str:
    aims = context.record["aims"]
    wanted = aims[(aims["warnum"] == change.spell[0]) & (aims["side"] == change.spell[1]) & (aims[kind] == 1)]
    return ", ".join(context.record.name_of(int(c)) for c in wanted["ccode"].unique()) or "none"


def _losses(context: _Context, change: Change) -> str:
    """How much of a state's dead its coded battles account for."""
    record, ratio = context.record, context.rule.parameters["casualty_ratio"]
    losses = _own(record["losses"], change)
    coded = float((losses["number"] * np.where(losses["measure"] == "casualties", ratio, 1.0)).sum())
    total = float(_own(record["members"], change)["deaths"].iloc[0])
    battles = record["battles"]
    decided = battles[(battles["warnum"] == change.spell[0]) & battles["winner"].notna()]
    own, other = (int((decided["winner"] == side).sum()) for side in (change.spell[1], 3 - change.spell[1]))
    known = "COW has no total" if np.isnan(total) else f"of COW's {total:,.0f} dead"
    return (f"its coded losses come to {coded:,.0f} dead in {len(losses)} battles, {known}; battles of the war: "
            f"{own} won, {other} lost, {len(decided) - own - other} indecisive")  # fmt: skip


def _asked(context: _Context, fact: pd.Series, columns: list[str] | None = None) -> str:
    """The facts that the rule's expressions name, with their values in the record."""
    if columns is None:
        columns = list(dict.fromkeys([*_named(context.rule), *_named(context.against)]))
    known = [name for name in dict.fromkeys(columns) if name in fact.index]
    return "; ".join(f"{name} = {_value(fact[name])}" for name in known)


def _named(rule: Rule) -> Iterator[str]:
    for key in EXPRESSIONS:
        if key in rule.parameters:
            yield from Expression(rule.parameters[key]).names


def _value(value: object) -> str:
    if isinstance(value, pd.Timestamp):
        return str(value.date())
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _days(context: _Context, change: Change) -> np.ndarray[Any, Any]:
    at = context.base.spells.index(change.spell)
    w, _, days = context.base.places[at]
    return context.base.subjects.history.wars[w].days[days]


def _spell_row(record: Record, change: Change) -> pd.DataFrame:
    own = _own(record["spells"], change)
    return own[own["spell"] == change.spell[3]]


def _in_spell(context: _Context, name: str, change: Change) -> pd.DataFrame:
    """A state's rows of a table, without those whose dates lie outside the spell."""
    own = _own(context.record[name], change)
    if name in ("spells", "wars") or not {"start", "end"} <= set(own.columns):
        return own
    spell = _spell_row(context.record, change).iloc[0]
    return own[(own["start"] <= spell["end"]) & ~(own["end"] < spell["start"])]


def _own(table: pd.DataFrame, change: Change) -> pd.DataFrame:
    """Rows of a table that belong to the state (as far as the table tells states and spells apart)."""
    told = [table[name] == value for name, value in zip(KEY, change.spell, strict=True) if name in table.columns]
    return table[np.logical_and.reduce(told)]
