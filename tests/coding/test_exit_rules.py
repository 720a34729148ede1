"""Rules on what counts as an exit: by hand on the made-up war, and against plain predicates on the record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from coalition_exit.coding.expressions import Expression
from coalition_exit.coding.facts import exit_facts, facts_with, pullback_facts
from coalition_exit.coding.history import lay_out
from coalition_exit.coding.rules import load_rules
from coalition_exit.errors import SpecError
from coalition_exit.panel.build import build_panel
from coalition_exit.record.loading import Record, load_record
from tiny_record import edit

BOOK = load_rules()
Row = Any


def _left(row: Row) -> bool:
    return row.partners_wish == "yes" and (row.fighting_stopped == "yes" or row.ended_war == "yes")


def _own(row: Row) -> bool:
    return _left(row) and row.choice == "own"


def _narrow(base: Callable[[Row], bool], **refused: set[str]) -> Callable[[Row], bool]:
    return lambda row: base(row) and not any(getattr(row, name) in values for name, values in refused.items())


def _wished(row: Row) -> bool:
    return row.partners_wish != "no" and (row.fighting_stopped == "yes" or row.ended_war == "yes")


BOTH = {"aims_widened": {"yes"}, "aims_reached": {"yes"}}
WIDELY = {"aims_widened": {"yes", "unclear"}, "aims_reached": {"yes", "partly"}}
# Each rule over whole exits again, in plain Python.
PREDICATES: dict[str, Callable[[Row], bool]] = {
    "article_withdraw": _left,
    "article_volunt": _own,
    "voluntary_only": _own,
    "no_war_end": _narrow(_left, ended_war={"yes"}),
    "no_war_end_listed": lambda row: _left(row) and row.warnum not in (22, 28, 155),
    "no_war_end_voluntary": _narrow(_own, ended_war={"yes"}),
    "entrapment": _narrow(_left, aims_widened={"yes"}),
    "entrapment_unclear": _narrow(_left, aims_widened={"yes", "unclear"}),
    "entrapment_voluntary": _narrow(_own, aims_widened={"yes"}),
    "limited_aims": _narrow(_left, aims_reached={"yes"}),
    "limited_aims_partly": _narrow(_left, aims_reached={"yes", "partly"}),
    "limited_aims_voluntary": _narrow(_own, aims_reached={"yes"}),
    "entrapment_and_limited_aims": _narrow(_left, **BOTH),
    "entrapment_and_limited_aims_widely": _narrow(_left, **WIDELY),
    "entrapment_and_limited_aims_voluntary": _narrow(_own, **BOTH),
    "consent_unclear_is_wish": _wished,
    "consent_unclear_is_wish_voluntary": lambda row: _wished(row) and row.choice == "own",
    "choice_unclear_is_own": lambda row: _left(row) and row.choice != "forced",
    "clear_cases_only": _narrow(_left, confidence={"low"}),
    "consent_ignored": lambda row: row.fighting_stopped == "yes" or row.ended_war == "yes",
}
DRAWN = {
    "mode": ["war_ended", "separate_peace", "surrender", "conquest", "state_absorbed"],
    "fighting_stopped": ["yes", "no"],
    "partners_wish": ["yes", "no", "unclear"],
    "choice": ["own", "forced", "unclear"],
    "ended_war": ["yes", "no"],
    "aims_reached": ["yes", "no", "partly", "unclear"],
    "aims_widened": ["yes", "no", "unclear"],
    "withdrawal": ["whole", "part"],
    "confidence": ["high", "medium", "low"],
}


@pytest.fixture
def tiny(tiny_folder: Path) -> Record:
    return load_record(tiny_folder)


def _variable(rule: str) -> str:
    return BOOK.rules[rule].variable


def _events(record: Record, rule: str) -> pd.DataFrame:
    name = _variable(rule)
    panel = build_panel(record, [name], {name: rule})
    return panel[panel[name] > 0]


def _spells(events: pd.DataFrame) -> set[tuple[int, ...]]:
    return set(events[["warnum", "side", "ccode", "spell"]].itertuples(index=False, name=None))


def _slow(record: Record, predicate: Callable[[Row], bool]) -> set[tuple[int, ...]]:
    return {(r.warnum, r.side, r.ccode, r.spell) for r in record["exits"].itertuples(index=False) if predicate(r)}


def test_every_rule_over_whole_exits_has_its_predicate() -> None:
    assert set(PREDICATES) == {name for name, rule in BOOK.rules.items() if rule.method == "exits"}


@pytest.mark.parametrize("rule", PREDICATES)
def test_the_record_under_each_rule(record: Record, rule: str) -> None:
    events = _events(record, rule)
    assert _spells(events) == _slow(record, PREDICATES[rule])
    assert (events["finalobs"] == 1).all()


@pytest.mark.parametrize("seed", range(12))
def test_random_facts_under_each_rule(tiny: Record, seed: int) -> None:
    rng = np.random.default_rng(seed)
    exits = tiny["exits"].assign(**{name: rng.choice(values, 3) for name, values in DRAWN.items()})
    drawn = Record(MappingProxyType({**tiny.tables, "exits": exits}), f"drawn {seed}", "", "")
    for rule, predicate in PREDICATES.items():
        assert _spells(_events(drawn, rule)) == _slow(drawn, predicate), rule
    causes = _events(drawn, "competing_exits").set_index(["ccode", "spell"])["exit_cause"].to_dict()
    first = _events(drawn, "competing_exits_defeat_first").set_index(["ccode", "spell"])["exit_cause"].to_dict()
    for row in exits.itertuples(index=False):
        lost, left = row.mode in ("surrender", "conquest"), _left(row)
        assert causes.get((row.ccode, row.spell), 0) == (1 if left else 2 if lost else 0)
        assert first.get((row.ccode, row.spell), 0) == (2 if lost else 1 if left else 0)


def test_partial_pull_backs_by_hand(tiny: Record) -> None:
    panel = build_panel(tiny, ["withdraw"], {"withdraw": "partial_abandonment"}).set_index(["ccode", "day"])["withdraw"]
    # Alpha sent half home on the 10th, and is out of the risk set from then on; Beta left on the 12th.
    assert panel.loc[10, :9].sum() == 0
    assert panel.loc[10, 10] == 1
    assert panel.loc[10, 11:].isna().all()
    assert panel.loc[20].sum() == 1
    assert panel.loc[20, 12] == 1
    again = build_panel(tiny, ["withdraw"], {"withdraw": "partial_abandonment_repeated"})
    assert again["withdraw"].dtype == np.int8
    assert again[again["withdraw"] == 1][["ccode", "day"]].to_numpy().tolist() == [[10, 10], [20, 12]]


@pytest.mark.parametrize(
    ("old", "new", "coding", "counted"),
    [
        ("0.5,yes,own", "0.5,yes,own", {"min_share": 0.5}, True),
        ("0.5,yes,own", "0.5,yes,own", {"min_share": 0.51}, False),
        ("0.5,yes,own", ",yes,own", {}, False),
        ("0.5,yes,own", ",yes,own", {"unknown_share": "counted"}, True),
        ("0.5,yes,own", "0.5,unclear,own", {}, False),
        ("0.5,yes,own", "0.5,unclear,own", {"unclear_partners_wish": "yes"}, True),
        ("0.5,yes,own", "0.5,yes,forced", {}, True),
        ("0.5,yes,own", "0.5,yes,forced", {"pullbacks": "choice == 'own'"}, False),
    ],
)
def test_which_pull_backs_count(tiny_folder: Path, old: str, new: str, coding: dict[str, Any], counted: bool) -> None:
    record = load_record(edit(tiny_folder, "pullbacks", old, new))
    panel = build_panel(record, ["withdraw"], {"withdraw": {"rule": "partial_abandonment", **coding}})
    assert (panel[panel["ccode"] == 10]["withdraw"] == 1).sum() == counted


def test_pull_backs_of_the_record_by_hand_written_loop(record: Record) -> None:
    """Every event under the rule for repeated events is a whole exit or a pull-back, and all are there."""
    events = _events(record, "partial_abandonment_repeated")
    found = set(zip(events["warnum"], events["ccode"], pd.to_datetime(events[["year", "month", "day"]]), strict=True))
    expected = set()
    for row in record["exits"].itertuples(index=False):
        part = row.withdrawal == "part" and row.mode != "state_absorbed" and row.partners_wish == "yes"
        if _left(row) or part:
            expected.add((row.warnum, row.ccode, row.date))
    for row in record["pullbacks"].itertuples(index=False):
        if row.partners_wish == "yes" and row.share >= 0.1:
            expected.add((row.warnum, row.ccode, row.start))
    assert found == expected
    once = build_panel(record, ["withdraw"], {"withdraw": "partial_abandonment"})
    at_risk = once.dropna()
    assert (at_risk.groupby("idvar")["withdraw"].sum() <= 1).all()
    first = events.groupby("idvar")["warday"].min()
    assert at_risk[at_risk["withdraw"] == 1].set_index("idvar")["warday"].to_dict() == first.to_dict()
    assert once.dtypes["withdraw"] == np.float32


def test_kinds_of_exit_on_the_record(record: Record) -> None:
    names = record["states"].set_index("ccode")["abb"]
    panel = build_panel(record, ["exit_cause", "withdraw"])
    assert ((panel["exit_cause"] == 1) == (panel["withdraw"] == 1)).all()
    other = panel[panel["exit_cause"] == 2]
    assert set(other["ccode"].map(names)) == {"NTH", "GRC", "POL", "NOR", "RVN", "UGA"}
    defeat = _events(record, "competing_exits_defeat_first")
    assert (defeat["exit_cause"] == 2).sum() == record["exits"]["mode"].isin(["surrender", "conquest"]).sum()
    kinds = _events(record, "competing_voluntary_and_forced")["exit_cause"].value_counts()
    assert kinds[1] == 25


def test_named_cases(record: Record) -> None:
    """France leaves the Crimean War as the symposium has it; Italy in 1943 under every reading but Henke's."""
    france, italy = (22, 1, 220, 1), (139, 2, 325, 1)
    out = {
        rule for rule in PREDICATES if _variable(rule) == "withdraw" and france not in _spells(_events(record, rule))
    }
    assert {"entrapment", "limited_aims", "no_war_end", "no_war_end_listed"} <= out
    assert not {"article_withdraw", "voluntary_only", "consent_ignored", "clear_cases_only"} & out
    assert all(italy in _spells(_events(record, rule)) for rule in PREDICATES)


def test_facts_by_hand(tiny: Record) -> None:
    facts = exit_facts(lay_out(tiny)).set_index(["ccode", "spell"])
    beta = facts.loc[(20, 1)]
    expected = {
        "year": 1900, "days": 10, "days_late": 2, "days_left": 8, "side_days_left": 8, "members": 2, "partners": 1,
        "partners_after": 1, "deaths": 32, "force_share": 0.25, "entry_force_share": 0.25, "mean_force_share": 0.25,
        "cinc_share": 0.25, "front_share": 1, "polity2": 5, "new_leader": 0, "pulled_back": 0, "alliance": 0,
        "alliance_entry": 1, "alliance_ever": 1, "no_separate_peace": 1, "no_separate_peace_entry": 0,
        "integrated_command_ever": 0, "territory": 0, "policy": 1, "policy_entry": 1, "world_war": 0, "war_year": 1900,
    }  # fmt: skip
    for name, value in expected.items():
        assert beta[name] == pytest.approx(value), name
    assert (beta["coordination"], str(beta["war_end"].date())) == ("yes", "1900-01-20")
    alpha = facts.loc[(10, 1)]
    expected = {"partners_after": 0, "side_days_left": 0, "pulled_back": 1, "new_leader": 1, "mean_force_share": 0.8,
                "largest_force_share": 1, "territory": 0, "territory_entry": 1, "alliance_entry": 1}  # fmt: skip
    for name, value in expected.items():
        assert alpha[name] == pytest.approx(value), name
    assert facts.loc[(20, 2), "alliance_ever"] == 0
    assert pd.isna(beta["peace"])


def test_facts_are_those_that_expressions_may_ask_for(record: Record) -> None:
    history = lay_out(record)
    facts, pulled = exit_facts(history), pullback_facts(history)
    for method, parameter, table in (("exits", "where", facts), ("exits_and_pullbacks", "pullbacks", pulled)):
        rule = BOOK.rules["partial_abandonment"]
        for name in table.columns:
            rule.check_expression(f"{name} == {name}", parameter, method)
            assert (Expression(f"{name} == {name}").evaluate(table) == table[name].notna()).all()
        with pytest.raises(SpecError, match="nosuchcolumn"):
            rule.check_expression("nosuchcolumn == 1", parameter, method)
    assert len(facts) == 203
    assert len(facts_with(history, ["mode", "world_war"]).columns) < len(facts.columns)
    assert list(facts_with(history, ["days"]).columns) == list(facts.columns)
    assert not facts.drop(columns=["deaths", "peace", "new_leader"]).isna().any().any()


def test_entry_condition(tiny: Record) -> None:
    panel = build_panel(tiny, ["entryfact"], {"entryfact": {"where": "days_late > 1 and spell == 2"}})
    assert panel.groupby(["ccode", "spell"])["entryfact"].agg(["min", "max"]).to_numpy().tolist() == [
        [0, 0], [0, 0], [1, 1]
    ]  # fmt: skip
    with pytest.raises(SpecError, match=r"coding > entryfact > where: expected one of .*, got 'mode'"):
        build_panel(tiny, ["entryfact"], {"entryfact": {"where": "mode == 'surrender'"}})
