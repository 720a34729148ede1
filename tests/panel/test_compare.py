"""What each rule changes: counted again from whole panels, and told state by state."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from coalition_exit.coding.rules import RuleBook, load_rules
from coalition_exit.coding.user_rules import load_user_rules
from coalition_exit.errors import SpecError
from coalition_exit.panel.build import build_panel
from coalition_exit.panel.cases import COLUMNS, rule_cases
from coalition_exit.panel.compare import Reference, changes, reference, rule_effects
from coalition_exit.panel.rules_page import rules_page
from coalition_exit.record.loading import Record, load_record

ROOT = Path(__file__).parents[2]
BOOK = load_rules()
SPELL = ["warnum", "side", "ccode", "spell"]
DAY = [*SPELL, "year", "month", "day"]
SHARED = ["foverlap", "ctrend60", "pvict", "imptce", "recexit", "sepdum"]
SUBJECTS = [name for name, rule in BOOK.rules.items() if rule.role == "subjects"]
VARIABLES = [name for name in BOOK.rules if name not in SUBJECTS]


@pytest.fixture(scope="module")
def effects(record: Record) -> pd.DataFrame:
    return rule_effects(record)


@pytest.fixture(scope="module")
def base(record: Record) -> Reference:
    return reference(record)


@pytest.fixture(scope="module")
def article(record: Record) -> pd.DataFrame:
    return build_panel(record, ["withdraw", *SHARED])


def _differs(a: pd.Series, b: pd.Series) -> np.ndarray:
    x, y = a.to_numpy(dtype=float), b.to_numpy(dtype=float)
    return ~(np.isclose(x, y, rtol=0, atol=1e-12) | (np.isnan(x) & np.isnan(y)))


def test_every_rule_is_listed_once_by_decision(effects: pd.DataFrame) -> None:
    assert sorted(effects["rule"]) == sorted(BOOK.rules)
    assert effects["decision"].is_unique is False
    blocks = effects["decision"].ne(effects["decision"].shift()).sum()
    assert blocks == effects["decision"].nunique() == 7


@pytest.mark.parametrize("name", VARIABLES)
def test_effects_of_rules_for_variables(
    record: Record, effects: pd.DataFrame, article: pd.DataFrame, name: str
) -> None:
    rule = BOOK.rules[name]
    variable = rule.variable.replace("{window}", "60")
    against = BOOK.compared_with(rule)
    other = against.variable.replace("{window}", "60")
    after = build_panel(record, [variable], {variable: name})[variable]
    before = build_panel(record, [other], {other: against.name})[other]
    differs = _differs(before, after)
    if rule.role == "outcome":
        event = (after.fillna(0) > 0) | (before.fillna(0) > 0)
        exits = int((after.fillna(0) > 0).sum())
    else:
        event, exits = article["withdraw"] == 1, 32
    row = effects.set_index("rule").loc[name]
    assert row["rows_changed"] == differs.sum()
    assert row["exits_changed"] == (differs & event).sum()
    assert row["spells_changed"] == article[differs]["idvar"].nunique()
    assert (row["subjects"], row["exits"]) == (203, exits)
    assert (row["against"] == "") == (not differs.any() and rule.identity == against.identity)


@pytest.mark.parametrize("name", SUBJECTS)
def test_effects_of_rules_for_the_subjects(
    record: Record, effects: pd.DataFrame, article: pd.DataFrame, name: str
) -> None:
    panel = build_panel(record, ["withdraw", *SHARED], {"subjects": name})
    both = article.merge(panel, on=DAY, how="outer", suffixes=("", "_new"), indicator=True)
    changed = (both["_merge"] != "both") | (both["stop"] != both["stop_new"]) | (both["idvar"] != both["idvar_new"])
    if BOOK.rules[name].parameters["partners"] == "subjects":
        for variable in SHARED:
            changed |= _differs(both[variable], both[f"{variable}_new"])
    row = effects.set_index("rule").loc[name]
    assert row["rows_changed"] == changed.sum()
    assert row["spells_changed"] == len(both[changed][SPELL].drop_duplicates())
    assert row["exits_changed"] == (changed & (both["withdraw"] == 1)).sum()
    assert row["subjects"] == panel["idvar"].nunique()
    counted = article[article["withdraw"] == 1].merge(panel[SPELL].drop_duplicates(), on=SPELL)
    assert row["exits"] == len(counted)


def test_the_articles_rules_change_nothing(effects: pd.DataFrame) -> None:
    own = effects[effects["rule"].isin(BOOK.defaults.values())]
    assert len(own) == len(BOOK.defaults)
    assert (own[["spells_changed", "exits_changed", "rows_changed"]] == 0).all().all()
    assert (own["against"] == "").all()


def test_the_list_is_quick(record: Record) -> None:
    started = time.process_time()
    rule_effects(record)
    # A bound against disaster on any machine, not a benchmark: some two seconds on a laptop.
    assert time.process_time() - started < 30


@pytest.mark.parametrize("name", BOOK.rules)
def test_cases_add_up_to_effects(record: Record, effects: pd.DataFrame, base: Reference, name: str) -> None:
    cases = rule_cases(record, name, base=base)
    row = effects.set_index("rule").loc[name]
    assert list(cases.columns) == list(COLUMNS)
    assert (len(cases), cases["exits"].sum(), cases["rows"].sum()) == (
        row["spells_changed"], row["exits_changed"], row["rows_changed"]
    )  # fmt: skip
    sources = set(record["sources"]["source"])
    for case in cases.itertuples(index=False):
        assert case.war in set(record["wars"]["name"])
        assert case.state in set(record["states"]["name"])
        assert len(case.what) > 5
        assert len(case.why) > 5
        assert "nan" not in case.what
        assert set(case.basis.split(";")) <= sources
        assert case.confidence in ("low", "medium", "high")


def _case(record: Record, base: Reference, name: str, war: str, state: str) -> pd.Series:
    cases = rule_cases(record, name, base=base)
    found = cases[cases["war"].str.contains(war, regex=False) & cases["state"].str.contains(state, regex=False)]
    assert len(found) == 1, (name, war, state)
    return found.iloc[0]


def test_named_cases_and_their_reasons(record: Record, base: Reference) -> None:
    exits = record["exits"].set_index(SPELL)
    crimea = _case(record, base, "entrapment", "Crimean", "France")
    assert crimea["what"] == "1856-03-01: no event in place of an abandonment"
    assert crimea["why"] == exits.loc[(22, 1, 220, 1), "explanation"]
    assert "aims_widened = yes" in crimea["facts"]
    assert crimea["confidence"] == "high"
    pulled = record["pullbacks"].set_index(["warnum", "ccode", "start"])
    vietnam = _case(record, base, "partial_abandonment", "Vietnam", "United States")
    assert "1969-07-08: an abandonment in place of no event" in vietnam["what"]
    assert "1973-01-27: not at risk in place of an abandonment" in vietnam["what"]
    assert pulled.loc[(163, 2, pd.Timestamp("1969-07-08")), "explanation"] in vietnam["why"]
    exile = _case(record, base, "partial_abandonment", "World War II", "Netherlands")
    assert exile["why"] == exits.loc[(139, 1, 210, 1), "explanation"]
    defeat = _case(record, base, "competing_exits", "World War II", "Poland")
    assert defeat["what"] == "1939-09-27: a competing exit in place of no event"
    latvia = _case(record, base, "coordinated_only", "Latvian", "Germany")
    sides = record["coalitions"].set_index(["warnum", "side"])
    assert latvia["why"] == sides.loc[(108, 2), "explanation"]
    modena = _case(record, base, "major_members_only", "Austro-Sardinian", "Modena")
    assert modena["facts"].startswith("mean_force_share = 0.0")
    late = _case(record, base, "original_members", "World War I", "Portugal")
    assert late["why"].startswith("it entered ")
    treaty = _case(record, base, "until_peace", "Crimean", "United Kingdom")
    assert treaty["what"] == "at risk 29 days longer, to 1856-03-30"
    aims = _case(record, base, "territorial_aim_at_entry", "Crimean", "United Kingdom")
    assert aims["what"].startswith("1 -> 0 on average over 173 of 702 days")
    assert "1855-09-11 to 1856-03-01: wants it" in aims["why"]
    cow = rule_cases(record, "cow_dates", base=base)
    assert set(cow["why"]) <= set(record["spells"]["date_note"])


def test_cases_of_the_made_up_war(tiny_folder: Path) -> None:
    tiny = load_record(tiny_folder)
    cases = rule_cases(tiny, "partial_abandonment")
    assert cases[["state", "exits", "rows"]].to_numpy().tolist() == [["Alpha", 1, 11]]
    assert cases["what"].tolist() == ["1900-01-10: an abandonment in place of no event; no longer at risk on 10 days"]
    assert cases["why"].tolist() == ["Half went home"]
    assert rule_cases(tiny, "allied_only")["what"].tolist() == ["left out (6 days)"]
    together = rule_cases(tiny, "allied_partners_only")
    assert together["what"].tolist() == ["covariates measured among other partners on 6 days", "left out (6 days)"]
    assert not len(rule_cases(tiny, "article_withdraw"))


def test_a_rule_can_be_given_with_changed_parameters(record: Record, base: Reference) -> None:
    rule = BOOK.resolve("subjects", {"rule": "major_members_only", "min_force_share": 0.2}, "here")
    assert len(rule_cases(record, rule, base=base)) > len(rule_cases(record, "major_members_only", base=base))
    assert len(changes(record, rule)) == len(rule_cases(record, rule))


def test_windows_are_compared_with_the_same_window(record: Record, base: Reference) -> None:
    rule = BOOK.resolve("ctrend30", "coalition_trend_battles", "here")
    assert BOOK.compared_with(rule).parameters["window"] == 30
    assert BOOK.compared_with(BOOK.resolve("ctrend30", None, "here")).identity == BOOK.default_for("ctrend30").identity  # type: ignore[union-attr]
    differs = _differs(build_panel(record, ["ctrend30"])["ctrend30"],
                       build_panel(record, ["ctrend30"], {"ctrend30": rule})["ctrend30"])  # fmt: skip
    assert sum(change.rows for change in changes(record, rule, base=base)) == differs.sum() > 0


def test_an_unknown_rule_gets_the_nearest_name(record: Record, base: Reference) -> None:
    with pytest.raises(SpecError, match=r"rules: expected a rule .* got 'entrapmnt'. Did you mean 'entrapment'"):
        rule_cases(record, "entrapmnt", base=base)


def test_the_page_is_up_to_date(record: Record, effects: pd.DataFrame) -> None:
    page = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
    assert page == rules_page(record, effects=effects), (
        "write it anew: from coalition_exit.panel.rules_page import write_rules_page; write_rules_page()"
    )


def test_the_page_holds_every_rule_and_fact(record: Record, effects: pd.DataFrame) -> None:
    page = rules_page(record, effects=effects)
    plain = " ".join(page.split())
    for rule in BOOK.rules.values():
        assert f"#### {rule.name}\n" in page
        for text in (rule.label, rule.meaning, rule.rationale, rule.citation):
            assert text in plain, rule.name
    assert "| `pulled_back` | number |" in page
    assert "| `entrapment` | `withdraw` | 203 | 30 | 2 | 2 | 2 |" in page


def test_the_pages_examples_work(record: Record, effects: pd.DataFrame) -> None:
    page = rules_page(record, effects=effects)
    coding, own = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL))
    panel = build_panel(record, ["withdraw", "ctrend60"], coding["coding"])
    assert 0 < panel["withdraw"].sum() < 32
    book = BOOK.with_rules(load_user_rules(own["rules"]))
    chosen = own["models"][0]["coding"]
    left = build_panel(record, ["withdraw"], chosen, book=book)
    assert 0 < left["withdraw"].sum() < 32


def test_a_book_without_rules_of_a_decision_has_no_such_heading(record: Record) -> None:
    names = ["article_withdraw", "article_subjects", "entrapment"]
    rules = {name: BOOK.rules[name] for name in names}
    defaults = {rules[name].variable: name for name in names[:2]}
    small = RuleBook(rules, {**defaults, **{v: n for v, n in BOOK.defaults.items() if v not in defaults}})
    assert list(small.by_decision()) == ["exit", "coalition"]
