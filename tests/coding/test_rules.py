"""Coding rules as they ship, and as specifications change them."""

from __future__ import annotations

import inspect
import math

import pytest

from coalition_exit.coding.columns import EXPRESSIONS
from coalition_exit.coding.methods import METHODS
from coalition_exit.coding.rule import DECISIONS
from coalition_exit.coding.rules import LARGEST_WINDOW, SMALLEST_WINDOW, Rule, load_rules
from coalition_exit.errors import SpecError
from coalition_exit.record.codebook import load_codebook

BOOK = load_rules()
RULES = list(BOOK.rules.values())
# Not computed for each day: the panel's rows themselves.
NO_METHOD = {"subjects"}


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_every_rule_says_what_and_why(rule: Rule) -> None:
    for text in (rule.label, rule.meaning, rule.rationale, rule.citation):
        assert text.strip()
        assert text == " ".join(text.split())
    assert rule.citation == "Project's own" or any(letter.isdigit() for letter in rule.citation), "a year"
    assert rule.decision in DECISIONS
    assert len(rule.rationale) > 20
    assert not rule.rationale.endswith(" ")


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_every_parameter_is_bounded_and_its_value_is_allowed(rule: Rule) -> None:
    assert set(rule.allowed) <= set(rule.parameters)
    for key, value in rule.parameters.items():
        assert not isinstance(value, list | dict)
        if key in EXPRESSIONS:
            continue
        allowed = rule.allowed[key]
        if isinstance(value, int | float) and not isinstance(value, bool):
            assert set(allowed) == {"min", "max"}
            assert allowed["min"] < allowed["max"]
        else:
            assert isinstance(allowed, list)
            assert len(allowed) > 1
            assert all(isinstance(entry, type(value)) for entry in allowed)
        assert rule.with_parameters({key: value}, "here") == rule


@pytest.mark.parametrize("rule", [r for r in RULES if r.method not in NO_METHOD], ids=lambda r: r.name)
def test_every_method_takes_the_rules_parameters_and_no_others(rule: Rule) -> None:
    signature = inspect.signature(METHODS[rule.method])
    named = {p.name for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY}
    rest = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    assert named <= set(rule.parameters)
    assert rest or named == set(rule.parameters)


def test_no_method_is_without_a_rule() -> None:
    assert {rule.method for rule in RULES} == {*METHODS, *NO_METHOD}


def test_each_variable_has_one_default() -> None:
    assert len(BOOK.defaults) == len(set(BOOK.defaults.values()))
    for variable, name in BOOK.defaults.items():
        assert BOOK.rules[name].variable == variable


def test_the_articles_variables_are_all_coded() -> None:
    wanted = (
        "withdraw volunt foverlap ctrend60 otrend60 pvict imptce contribpc recexit recexit2 newlead demdum polity2 "
        "sepdum seppc actdum actpc intdum cooppc terraim regaim latejoin lnodead lnodead2"
    )
    for name in wanted.split():
        rule = BOOK.default_for(name)
        assert rule is not None, name
        assert rule.variable == name


def test_unclear_is_read_in_each_way_the_codebook_knows() -> None:
    tables = load_codebook().tables
    columns = {c.name: c.values for name in ("coalitions", "exits") for c in tables[name].columns}
    for rule in RULES:
        for key, allowed in rule.allowed.items():
            if key.startswith("unclear_"):
                values = columns[key.removeprefix("unclear_")]
                assert values is not None
                assert set(allowed) == set(values) - {"unclear"}, (rule.name, key)


def test_the_wheres_are_checked_against_the_codebook() -> None:
    for rule in RULES:
        for key in set(EXPRESSIONS) & set(rule.parameters):
            assert rule.with_parameters({key: rule.parameters[key]}, "here") == rule


@pytest.mark.parametrize("window", [SMALLEST_WINDOW, 45, 61, LARGEST_WINDOW])
@pytest.mark.parametrize("stem", ["ctrend", "otrend"])
def test_families_take_their_window_from_the_name(stem: str, window: int) -> None:
    rule = BOOK.default_for(f"{stem}{window}")
    assert rule is not None
    assert rule.parameters["window"] == window
    assert rule.variable == f"{stem}{window}"
    assert f"last {window} days" in rule.explained or stem == "otrend"


@pytest.mark.parametrize(
    "name", ["ctrend14", "ctrend121", "ctrend060", "ctrend", "ctrend6x", "ctrend٦٠", "xtrend60", "ctrend" + "9" * 5000]
)
def test_no_other_windows(name: str) -> None:
    assert BOOK.default_for(name) is None


def test_a_named_rule_of_a_family_keeps_the_window_of_the_name() -> None:
    by_name = BOOK.resolve("ctrend30", {"rule": "article_coalition_trend", "casualty_ratio": 0.5}, "here")
    assert (by_name.parameters["window"], by_name.parameters["casualty_ratio"]) == (30, 0.5)
    assert BOOK.resolve("ctrend30", "article_coalition_trend", "here").identity == BOOK.default_for("ctrend30").identity  # type: ignore[union-attr]
    assert BOOK.resolve("ctrend200", "article_coalition_trend", "here").parameters["window"] == 200
    assert BOOK.resolve("ctrend30", {"window": 7}, "here").parameters["window"] == 7
    assert BOOK.resolve("ctrend30", "article_own_trend", "here").parameters["window"] == 30


def test_a_rule_may_code_a_variable_of_a_new_name() -> None:
    rule = BOOK.resolve("recexit365", {"rule": "article_recent_exit", "window": 365}, "here")
    assert (rule.variable, rule.parameters["window"]) == ("recexit365", 365)


def test_changing_a_rule_leaves_the_shipped_one_alone() -> None:
    before = dict(BOOK.rules["article_recent_exit"].parameters)
    changed = BOOK.resolve("recexit", {"window": 90}, "here")
    assert changed.parameters["window"] == 90
    assert dict(BOOK.rules["article_recent_exit"].parameters) == before
    with pytest.raises(TypeError):
        changed.parameters["window"] = 5  # type: ignore[index]


def test_equal_parameters_are_equal_rules() -> None:
    long = BOOK.resolve("recexit", {"window": 180}, "here")
    assert long.identity == BOOK.rules["article_recent_exit_long"].identity
    assert long.identity != BOOK.rules["article_recent_exit"].identity


def test_explained_puts_values_for_names() -> None:
    assert "last 60 days" in BOOK.rules["article_recent_exit"].explained
    assert "at least 6" in BOOK.rules["article_democracy"].explained
    assert "per 100000 inhabitants" in BOOK.rules["article_battle_deaths_population"].explained


@pytest.mark.parametrize(
    ("variable", "choice", "message"),
    [
        ("ctrnd45", None, r"here: expected a variable \(coalition-exit data describe lists them\), got 'ctrnd45'. Did you mean 'ctrend45'\?"),
        ("zzzzzz", None, "here: expected one of withdraw, volunt, foverlap"),
        ("ctrend121", None, "here: expected a window from 15 to 120 days in the name, got 'ctrend121'"),
        ("pvict", "article_capabilites", "here: expected a rule .* got 'article_capabilites'. Did you mean 'article_capabilities'?"),
        ("pvict", "", "here: expected one of article_withdraw"),
        ("pvict", {"rule": "zzzzzzzz"}, "here > rule: expected one of article_withdraw"),
        ("pvict", {"rule": 5}, "here > rule: expected one of article_withdraw"),
        ("pvict", {"window": 5}, r"here > window: expected no parameter \(article_capabilities has none\), got 'window'"),
        ("recexit", {"windw": 5}, r"here > windw: expected window, got 'windw'. Did you mean 'window'\?"),
        ("recexit", {"window": 0}, "here > window: expected a number from 1 to 5000, got 0"),
        ("recexit", {"window": 5001}, "here > window: expected a number from 1 to 5000, got 5001"),
        ("recexit", {"window": 60.5}, "here > window: expected a whole number, got 60.5"),
        ("recexit", {"window": "60"}, "here > window: expected a whole number, got '60'"),
        ("recexit", {"window": True}, "here > window: expected a whole number, got true"),
        ("recexit", {"window": None}, "here > window: expected a whole number, got None"),
        ("foverlap", {"alone": math.nan}, "here > alone: expected a number from 0 to 1, got nan"),
        ("foverlap", {"alone": math.inf}, "here > alone: expected a number from 0 to 1, got inf"),
        ("foverlap", {"alone": -0.001}, "here > alone: expected a number from 0 to 1, got -0.001"),
        ("foverlap", {"alone": "0.5"}, "here > alone: expected a number, got '0.5'"),
        ("sepdum", {"kind": "aliance"}, r"here > kind: expected one of alliance, .* got 'aliance'. Did you mean 'alliance'\?"),
        ("sepdum", {"kind": 1}, "here > kind: expected text, got 1"),
        ("withdraw", {"where": "choice = 'own'"}, "here > where: expected a comparison .* Equality is written =="),
        ("withdraw", {"where": 5}, "here > where: expected text, got 5"),
        ("recexit", 5, "here: expected the name of a rule, or changed parameters {name: value}, got 5"),
        ("recexit", ["window"], "here: expected the name of a rule, or changed parameters"),
        ("brandnew", {"window": 5}, r"here: expected a rule \(rule: NAME\), since none codes it by default, got 'brandnew'"),
    ],
)  # fmt: skip
def test_unknown_things_get_one_line(variable: str, choice: object, message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        BOOK.resolve(variable, choice, "here")  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_whole_numbers_do_for_fractions() -> None:
    assert BOOK.resolve("foverlap", {"alone": 1}, "here").parameters["alone"] == 1


def test_empty_changes_are_the_default() -> None:
    assert BOOK.resolve("recexit", {}, "here") == BOOK.default_for("recexit")
