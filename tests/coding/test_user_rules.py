"""Rules that a specification writes for itself."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from coalition_exit.coding.rules import load_rules
from coalition_exit.coding.user_rules import load_user_rules
from coalition_exit.errors import SpecError
from coalition_exit.panel.build import build_panel, resolve_rules
from coalition_exit.panel.compare import rule_effects
from coalition_exit.record.loading import Record

BOOK = load_rules()
BASE = {"based_on": "article_withdraw"}


def _counted(record: Record, entry: dict[str, Any], variable: str = "withdraw") -> int:
    book = BOOK.with_rules(load_user_rules({"mine": entry}))
    return int(build_panel(record, [variable], {variable: "mine"}, book=book)[variable].sum())


def _left(record: Record) -> Any:
    exits = record["exits"]
    return exits[
        (exits["partners_wish"] == "yes") & ((exits["fighting_stopped"] == "yes") | (exits["ended_war"] == "yes"))
    ]


def test_a_rule_that_narrows_another(record: Record) -> None:
    left = _left(record)
    assert _counted(record, {**BASE, "only_if": "choice == 'own'"}) == (left["choice"] == "own").sum() == 25
    assert _counted(record, {**BASE, "not_if": "mode in ['surrender']"}) == (left["mode"] != "surrender").sum()
    assert _counted(record, {**BASE, "only_if": "year < 1900"}) == (left["date"].dt.year < 1900).sum()
    assert _counted(record, {**BASE, "only_if": "date < '1900-01-01'"}) == (left["date"].dt.year < 1900).sum()
    assert _counted(record, {**BASE, "where": "mode == 'changed_sides'"}) == 3
    assert _counted(record, {**BASE, "also_if": "mode == 'conquest'"}) == 35
    assert _counted(record, {**BASE, "unclear_partners_wish": "yes"}) == 45
    assert _counted(record, BASE) == 32


def test_clauses_apply_in_a_fixed_order(record: Record) -> None:
    entry = {**BASE, "not_if": "warnum == 139", "only_if": "side == 1", "also_if": "mode == 'conquest'"}
    left = _left(record)
    conquest = record["exits"][record["exits"]["mode"] == "conquest"]
    both = {*left.index, *conquest.index}
    kept = record["exits"].loc[sorted(both)]
    assert _counted(record, entry) == ((kept["side"] == 1) & (kept["warnum"] != 139)).sum()


def test_comments_and_quotes_do_not_break_out_of_a_clause(record: Record) -> None:
    assert _counted(record, {**BASE, "only_if": "warnum == 22  # Crimea"}) == 1
    assert _counted(record, {**BASE, "only_if": "warnum == 22 or warnum == 28"}) == 2
    narrowed = load_user_rules({"mine": {**BASE, "only_if": "warnum == 22 or warnum == 28"}})["mine"]
    assert narrowed.parameters["where"].endswith("and (warnum == 22 or warnum == 28)")


def test_rules_may_be_based_on_each_other_in_any_order(record: Record) -> None:
    mapping = {
        "third": {"based_on": "second", "only_if": "year > 1916"},
        "second": {"based_on": "first", "only_if": "warnum == 106"},
        "first": {**BASE, "not_if": "choice == 'forced'", "label": "First"},
    }
    rules = load_user_rules(mapping)
    assert list(rules) == ["third", "second", "first"]
    assert rules["third"].label == "First"
    assert {rule.origin for rule in rules.values()} == {"user"}
    assert rules["third"].based_on == "second"
    panel = build_panel(record, ["withdraw"], {"withdraw": "third"}, book=BOOK.with_rules(rules))
    assert panel["withdraw"].sum() == 4


def test_texts_and_defaults() -> None:
    silent = load_user_rules({"mine": BASE})["mine"]
    assert (silent.rationale, silent.citation) == ("The specification gives no reason.", "The specification's own rule")
    said = load_user_rules({"mine": {**BASE, "label": " My\n label ", "rationale": "Because."}})["mine"]
    assert (said.label, said.rationale, said.meaning) == (
        "My label",
        "Because.",
        BOOK.rules["article_withdraw"].meaning,
    )


def test_rules_of_every_kind(record: Record) -> None:
    mapping = {
        "quarter": {"based_on": "article_recent_exit", "window": 90},
        "big": {"based_on": "major_members_only", "min_force_share": 0.2, "not_if": "world_war == 1"},
        "kinds": {"based_on": "competing_exits", "competing": "mode == 'conquest'"},
        "partly": {"based_on": "partial_abandonment", "pullbacks": "partners_wish == 'yes' and share > 0.5"},
        "late": {"based_on": "entry_condition", "variable": "verylate", "where": "days_late > 5", "label": "Very late"},
        "mytrend": {"based_on": "article_coalition_trend", "measure": "slope"},
        "departure": {**BASE, "variable": "leaves", "only_if": "side == 1"},
    }
    book = BOOK.with_rules(load_user_rules(mapping))
    coding = {
        "recexit": "quarter",
        "subjects": "big",
        "exit_cause": "kinds",
        "withdraw": "partly",
        "ctrend30": "mytrend",
    }
    names = ["recexit", "exit_cause", "withdraw", "ctrend30", "verylate", "leaves"]
    panel = build_panel(record, names, coding, book=book)
    rules = resolve_rules(names, coding, book=book)
    assert rules["ctrend30"].parameters["window"] == 30
    assert (rules["leaves"].role, rules["verylate"].label) == ("outcome", "Very late")
    assert set(panel["verylate"]) == {0, 1}
    assert not set(panel["warnum"]) & {106, 139}
    # The rule itself does in place of its name.
    again = build_panel(record, names, {name: rules[name] for name in (*names, "subjects")})
    assert (again == panel).all().all() or again.equals(panel)


def test_the_shipped_book_is_left_alone() -> None:
    before = dict(BOOK.rules)
    more = BOOK.with_rules(load_user_rules({"mine": {**BASE, "variable": "leaves"}}))
    assert more.default_for("leaves") is not None
    assert BOOK.default_for("leaves") is None
    assert dict(BOOK.rules) == before
    assert "mine" in [rule.name for rule in more.by_decision()["exit"]]


def test_effects_of_a_users_rule(record: Record) -> None:
    mapping = {
        "crimea": {**BASE, "only_if": "warnum == 22"},
        "other": {**BASE, "variable": "leaves", "not_if": "warnum == 22"},
    }
    effects = rule_effects(record, BOOK.with_rules(load_user_rules(mapping))).set_index("rule")
    assert effects.loc["crimea", ["exits", "exits_changed", "spells_changed"]].tolist() == [1, 31, 31]
    assert effects.loc["other", ["against", "exits", "exits_changed"]].tolist() == ["article_withdraw", 31, 1]


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ([], r"spec.yaml > rules: expected rules by name .*, got \[\]"),
        ({5: BASE}, "rules: expected a name of letters, digits and _ .*, got 5"),
        ({"my rule": BASE}, "rules: expected a name of letters"),
        ({"1st": BASE}, "rules: expected a name of letters"),
        ({"x" * 61: BASE}, "rules: expected a name of letters"),
        ({"entrapment": BASE}, "rules > entrapment: expected a name that no rule of the package has"),
        ({"mine": "article_withdraw"}, "rules > mine: expected what the rule changes"),
        ({"mine": {}}, "rules > mine: expected a key 'based_on': the rule that this one changes, got none"),
        ({"mine": {"based_on": "article_withdrw"}}, r"rules > mine > based_on: .* got 'article_withdrw'. Did you mean 'article_withdraw'\?"),
        ({"mine": {"based_on": 5}}, "rules > mine > based_on: expected one of article_withdraw"),
        ({"mine": {"based_on": "mine"}}, "rules > mine > based_on: expected rules that are not based on each other in a circle, got 'mine -> mine'"),
        ({"a": {"based_on": "b"}, "b": {"based_on": "a"}}, "not based on each other in a circle, got 'a -> b -> a'"),
        ({"mine": {**BASE, "method": "exits"}}, "rules > mine > method: expected a key based_on and what the rule changes"),
        ({"mine": {**BASE, "parameters": {}}}, "Parameters stand beside based_on, by their names"),
        ({"mine": {**BASE, "onlyif": "side == 1"}}, r"rules > mine > onlyif: expected a parameter of article_withdraw .* Did you mean 'only_if'\?"),
        ({"mine": {**BASE, "unclear_choices": "own"}}, r"Did you mean 'unclear_choice'\?"),
        ({"mine": {**BASE, "unclear_choice": "owned"}}, r"rules > mine > unclear_choice: expected one of own, forced, got 'owned'. Did you mean 'own'\?"),
        ({"mine": {**BASE, "where": "mod == 'surrender'"}}, r"rules > mine > where: expected one of .*, got 'mod'. Did you mean 'mode'\?"),
        ({"mine": {**BASE, "only_if": "mode == 'surender'"}}, r"rules > mine > only_if: .* got 'surender'. Did you mean 'surrender'\?"),
        ({"mine": {**BASE, "only_if": "year == '1914'"}}, "rules > mine > only_if: expected numbers compared with numbers"),
        ({"mine": {**BASE, "only_if": "date > 1914"}}, "rules > mine > only_if: expected a date"),
        ({"mine": {**BASE, "only_if": "year = 1914"}}, "rules > mine > only_if: .* Equality is written =="),
        ({"mine": {**BASE, "only_if": "__import__('os')"}}, "rules > mine > only_if: expected a comparison"),
        ({"mine": {**BASE, "only_if": 5}}, "rules > mine > only_if: expected an expression, got 5"),
        ({"mine": {**BASE, "label": ""}}, "rules > mine > label: expected a text, got ''"),
        ({"mine": {**BASE, "rationale": 5}}, "rules > mine > rationale: expected a text, got 5"),
        ({"mine": {**BASE, "variable": "x y"}}, "rules > mine > variable: expected a name of letters"),
        ({"mine": {**BASE, "variable": "subjects"}}, "rules > mine > variable: expected a variable that article_withdraw can code"),
        ({"mine": {"based_on": "allied_only", "variable": "x"}}, "rules > mine > variable: expected a variable that allied_only can code"),
        ({"mine": {**BASE, "decision": "exits"}}, r"rules > mine > decision: expected one of exit, .* Did you mean 'exit'\?"),
        ({"mine": {"based_on": "article_polity", "only_if": "side == 1"}}, "rules > mine > only_if: expected no such key"),
        ({"mine": {"based_on": "entry_condition", "where": "mode == 'surrender'"}}, "rules > mine > where: expected one of .*, got 'mode'"),
        ({"mine": {"based_on": "entry_condition", "only_if": "days > 10"}}, "rules > mine > only_if: expected one of"),
        ({"mine": {"based_on": "partial_abandonment", "pullbacks": "mode == 'x'"}}, "rules > mine > pullbacks: expected one of"),
        ({f"r{k}": BASE for k in range(201)}, "rules: expected at most 200 rules, got 201"),
    ],
)  # fmt: skip
def test_mistakes_get_one_line(mapping: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        load_user_rules(mapping, "spec.yaml > rules")
    assert "\n" not in str(caught.value)


def test_a_long_chain_is_no_trouble() -> None:
    chain = {f"r{k}": {"based_on": f"r{k + 1}"} for k in range(199)} | {"r199": {**BASE, "only_if": "side == 1"}}
    assert load_user_rules(chain)["r0"].parameters["where"].endswith("and (side == 1)")


def test_a_rule_that_grows_too_long_is_refused() -> None:
    clause = " or ".join(f"warnum == {k}" for k in range(30))
    chain: dict[str, Any] = {"r0": {**BASE, "only_if": clause}, "r1": {"based_on": "r0", "only_if": clause}}
    with pytest.raises(SpecError, match=r"rules > r1 > only_if > where: expected an? "):
        load_user_rules(chain)


def test_places_can_be_told_by_a_function() -> None:
    def at(*path: str) -> str:
        return f"spec.yaml, line {len(path)} > {' > '.join(('rules', *path))}"

    with pytest.raises(SpecError, match=r"^spec.yaml, line 2 > rules > mine > only_if: "):
        load_user_rules({"mine": {**BASE, "only_if": "sid == 1"}}, at)
    with pytest.raises(SpecError, match=r"^spec.yaml, line 2 > rules > mine > unclear_choice: "):
        load_user_rules({"mine": {**BASE, "unclear_choice": "x"}}, at)
    with pytest.raises(SpecError, match=r"^spec.yaml, line 1 > rules > mine: "):
        load_user_rules({"mine": {}}, at)


def test_rules_and_books_go_to_other_processes() -> None:
    book = BOOK.with_rules(load_user_rules({"mine": {**BASE, "only_if": "side == 1"}}))
    again = pickle.loads(pickle.dumps(book))
    assert again == book
    assert again.resolve("withdraw", "mine", "here").identity == book.rules["mine"].identity
    with pytest.raises(TypeError):
        again.rules["mine"].parameters["where"] = "x"
