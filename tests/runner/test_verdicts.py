"""Verdicts: every branch of the rules with hand-made findings, and what recodings gain and lose."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from coalition_exit.record.loading import Record
from coalition_exit.report.verdicts import RULES, verdict_grid
from coalition_exit.runner import run_spec
from coalition_exit.runner.verdicts import (
    COUNTED,
    EXIT_COLUMNS,
    ORDER,
    OTHER_SCALE,
    VERDICT_COLUMNS,
    WORDS,
    Finding,
    judge,
    summarize,
    verdict_row,
    verdicts,
)
from coalition_exit.specs.loading import load_spec

Z = 1.959963984540054
NOTHING = Finding(np.nan, np.nan, np.nan, np.nan, np.nan)


def finding(estimate: float, error: float) -> Finding:
    return Finding(estimate, error, estimate - Z * error, estimate + Z * error, 0.5)


STOOD, WAS_NULL = finding(5.0, 1.0), finding(-0.5, 1.0)


@pytest.mark.parametrize(
    ("reference", "other", "expected", "comparable", "word"),
    [
        (STOOD, finding(5.0, 1.0), "positive", True, "unchanged"),
        (STOOD, finding(5.5, 1.2), "positive", True, "holds"),
        (STOOD, finding(4.0, 1.0), "positive", True, "holds"),
        (STOOD, finding(6.0, 1.0), "positive", True, "holds"),
        (STOOD, finding(3.99, 1.0), "positive", True, "weaker"),
        (STOOD, finding(6.01, 1.0), "positive", True, "stronger"),
        # Of the sign that was not expected, and still a finding.
        (STOOD, finding(6.01, 1.0), "negative", True, "stronger"),
        # The reference's interval reaches 1.96 to either side.
        (STOOD, finding(1.9, 1.0), "positive", True, "weaker_null"),
        (STOOD, finding(2.0, 1.1), "positive", True, "less_precise"),
        (STOOD, finding(5.0, 3.0), "positive", True, "less_precise"),
        (STOOD, finding(7.0, 5.0), "positive", True, "less_precise"),
        (STOOD, finding(-0.1, 1.0), "positive", True, "sign_changes"),
        (STOOD, finding(-4.0, 1.0), "positive", True, "reversed"),
        (STOOD, finding(0.0, 1.0), "positive", True, "weaker_null"),
        # On another scale only sign and significance count.
        (STOOD, finding(0.5, 0.1), "positive", False, "holds"),
        (STOOD, finding(50.0, 1.0), "positive", False, "holds"),
        (STOOD, finding(5.0, 1.0), "positive", False, "holds"),
        (STOOD, finding(0.1, 0.1), "positive", False, "lost"),
        (STOOD, finding(-1.0, 0.1), "positive", False, "reversed"),
        (STOOD, finding(-0.1, 0.1), "positive", False, "sign_changes"),
        # A negative finding, mirrored.
        (finding(-5.0, 1.0), finding(-3.9, 1.0), "negative", True, "weaker"),
        (finding(-5.0, 1.0), finding(-6.1, 1.0), "negative", True, "stronger"),
        (finding(-5.0, 1.0), finding(-1.9, 1.0), "negative", True, "weaker_null"),
        (finding(-5.0, 1.0), finding(3.0, 1.0), "negative", True, "reversed"),
        # What was not distinguishable from zero.
        (WAS_NULL, finding(-0.5, 1.0), "negative", True, "unchanged"),
        (WAS_NULL, finding(-1.5, 1.0), "negative", True, "still_null"),
        (WAS_NULL, finding(0.5, 1.0), "negative", True, "still_null_other_sign"),
        (WAS_NULL, finding(-3.0, 1.0), "negative", True, "appears_as_expected"),
        (WAS_NULL, finding(-3.0, 1.0), "positive", True, "appears_against"),
        (WAS_NULL, finding(3.0, 1.0), "positive", True, "appears_as_expected"),
        (WAS_NULL, finding(3.0, 1.0), "negative", True, "appears_against"),
        (WAS_NULL, finding(3.0, 1.0), "either", True, "appears"),
        (WAS_NULL, finding(-3.0, 1.0), "either", False, "appears"),
        # No estimate.
        (STOOD, None, "positive", True, "not_estimable"),
        (STOOD, NOTHING, "positive", True, "not_estimable"),
        (None, STOOD, "positive", True, "no_reference"),
        (NOTHING, None, "positive", True, "no_reference"),
    ],
)
def test_every_branch(reference, other, expected, comparable, word) -> None:
    assert judge(reference, other, expected, comparable) == word


def test_the_bounds_of_a_finding() -> None:
    assert Finding(1.0, 0.5, 0.0, 2.0, 0.05).excludes_zero is False
    assert Finding(1.0, 0.5, 1e-12, 2.0, 0.05).excludes_zero is True
    assert Finding(-1.0, 0.5, -2.0, -1e-12, 0.05).excludes_zero is True


def test_every_word_is_explained_and_ranked() -> None:
    assert set(ORDER) == set(WORDS)
    assert len(ORDER) == len(WORDS)
    unexplained = set(WORDS) - set(RULES)
    assert unexplained == {"not_in_model", "not_estimable", "no_reference"}


def test_the_columns_that_follow() -> None:
    row = verdict_row(STOOD, finding(3.0, 1.0), "positive")
    assert row["difference"] == -2.0
    assert row["difference_in_errors"] == -2.0
    told = ("same_sign", "sign_as_expected", "reference_excludes_zero", "excludes_zero", "intervals_overlap")
    assert [row[name] for name in told] == ["yes"] * 5
    far = verdict_row(STOOD, finding(-3.0, 1.0), "positive")
    assert [far[name] for name in told] == ["no", "no", "yes", "yes", "no"]
    assert far["said"] == "sign changes: interval excludes 0"


def test_on_another_scale_nothing_is_said_of_size() -> None:
    row = verdict_row(STOOD, finding(3.0, 1.0), "positive", comparable=False)
    assert np.isnan(row["difference"])
    assert np.isnan(row["difference_in_errors"])
    assert row["intervals_overlap"] == ""
    assert row["same_sign"] == "yes"


def test_without_an_estimate_there_are_no_numbers() -> None:
    row = verdict_row(STOOD, None, "positive")
    assert row["reference_estimate"] == 5.0
    assert all(np.isnan(row[name]) for name in ("estimate", "std_error", "difference", "difference_in_errors"))
    assert (row["excludes_zero"], row["same_sign"], row["sign_as_expected"]) == ("", "", "")
    row = verdict_row(None, STOOD, "positive")
    assert row["estimate"] == 5.0
    assert np.isnan(row["reference_estimate"])
    assert row["difference_in_errors"] != row["difference_in_errors"]


SPEC = b"""
table: mine
title: My title
defaults: {failure: withdraw, covariates: [foverlap, ctrend60]}
models:
  - {key: article, label: Article}
  - {key: same, label: Same, add: [], sample: []}
  - {key: entrapment, label: Entrapment, coding: {withdraw: entrapment}}
  - {key: partial, label: Partial, coding: {withdraw: partial_abandonment}}
  - {key: origin, label: Origin, coding: {subjects: origin_war_start}}
  - {key: allied, label: Allied, coding: {subjects: allied_only}}
  - {key: ratio, label: Ratio, coding: {ctrend60: {measure: log_ratio}}}
  - {key: logit, label: Logit, estimator: logit}
  - {key: own, label: Own, replace: {ctrend60: otrend60}}
  - {key: nothing, label: Nothing, sample: [warnum == 10]}
objection:
  who: Me
  claim: A claim.
  changes: A change.
  limits: A limit.
  reference: article
  focus: {ctrend60: positive, foverlap: negative}
"""


@pytest.fixture(scope="module")
def result(record: Record):
    return run_spec(load_spec(SPEC, "mine.yaml"), "record", record)


@pytest.fixture(scope="module")
def found(result) -> tuple[pd.DataFrame, pd.DataFrame]:
    return verdicts(result)


def test_a_row_a_model_and_focus_term(found) -> None:
    table, exits = found
    assert list(table.columns) == list(VERDICT_COLUMNS)
    assert list(exits.columns) == list(EXIT_COLUMNS)
    assert len(table) == 9 * 2
    assert list(table["term"][:2]) == ["ctrend60", "foverlap"]
    assert set(table["reference"]) == {"article"}
    assert list(table.set_index("model").loc["same", "verdict"]) == ["unchanged", "unchanged"]


def test_numbers_are_those_of_the_models(found, result) -> None:
    table, _ = found
    estimates = result.estimates.set_index(["model", "term"])
    for row in table[table["verdict"].isin(["holds", "weaker", "still_null"])].itertuples(index=False):
        own, reference = estimates.loc[(row.model, row.term)], estimates.loc[("article", row.term)]
        assert row.estimate == own["estimate"]
        assert row.reference_conf_low == reference["conf_low"]
        if row.reason != OTHER_SCALE:
            moved = (own["estimate"] - reference["estimate"]) / reference["std_error"]
            assert row.difference_in_errors == pytest.approx(moved, rel=1e-14)


def test_other_scales_are_told(found) -> None:
    table = found[0].set_index(["model", "term"])
    other = set(table.index[table["reason"] == OTHER_SCALE])
    assert other == {("ratio", "ctrend60"), ("logit", "ctrend60"), ("logit", "foverlap"), ("own", "ctrend60")}
    assert table.loc[list(other), "difference"].isna().all()
    assert table.loc[("own", "ctrend60"), "variable"] == "otrend60"
    assert table.loc[("own", "foverlap"), "difference"] == table.loc[("own", "foverlap"), "difference"]


def test_what_cannot_be_estimated_has_its_reason(found) -> None:
    own = found[0][found[0]["model"] == "nothing"]
    assert set(own["verdict"]) == {"not_estimable"}
    assert own["reason"].str.contains("no events").all()
    assert own["n_event"].isna().all()


def test_exits_gained_and_lost_by_spell_and_day(found, record: Record) -> None:
    table, exits = found
    counts = table.drop_duplicates("model").set_index("model")[list(COUNTED)]
    # Another origin of time changes no exit and no subject, though every time differs.
    assert list(counts.loc["origin"]) == [0, 0, 0, 0]
    assert counts.loc["entrapment", "exits_gained"] == 0
    lost = exits[(exits["model"] == "entrapment") & (exits["what"] == "lost")]
    assert len(lost) == counts.loc["entrapment", "exits_lost"]
    facts = record["exits"]
    widened = facts[(facts["aims_widened"] != "no") & (facts["partners_wish"] == "yes")]
    days = set(widened["date"].dt.strftime("%Y-%m-%d"))
    assert set(lost["date"]) <= days
    assert ("France", "Crimean War") in set(zip(lost["state"], lost["war"], strict=True))
    assert counts.loc["partial", "exits_gained"] > 0
    gained = exits[(exits["model"] == "partial") & (exits["what"] == "gained")]
    begun = set(record["pullbacks"]["start"].dt.strftime("%Y-%m-%d")) | set(facts["date"].dt.strftime("%Y-%m-%d"))
    assert set(gained["date"]) <= begun
    assert counts.loc["allied", "subjects_lost"] > 0
    assert counts.loc["allied", "subjects_gained"] == 0


def test_how_often_each_verdict_was_reached(found) -> None:
    said = summarize(found[0], {"ctrend60": "War Worsening"})
    assert ("War Worsening", "1 of 9", "not estimable") in said
    assert ("War Worsening", "1 of 9", "unchanged") in said
    assert {term for term, _, _ in said} == {"War Worsening", "foverlap"}
    for label in ("War Worsening", "foverlap"):
        assert sum(int(count.split()[0]) for term, count, _ in said if term == label) == 9
    assert summarize(found[0].iloc[:0]) == []


def test_the_table(found, result) -> None:
    grid = verdict_grid(result.spec, *found, "made up")
    assert grid is not None
    assert grid.key == "mine_verdict"
    assert [row[-1] for row in grid.rows if row[-1] == "reference"] == ["reference"] * 2
    assert len(grid.rows) == 2 * (1 + 9)
    text = " ".join(grid.notes)
    for part in ("Objection (Me): A claim.", "What changes: A change.", "cannot answer: A limit.", "Data: made up."):
        assert part in text
    assert "Exits lost under Entrapment: France, Crimean War, 1856-03-01" in text
    assert "another scale" in text
    # Only the words that are used are explained.
    assert "stronger:" not in text or any("stronger" in row[-1] for row in grid.rows)


def test_each_rule_stands_alone() -> None:
    for text in RULES.values():
        assert "the same," not in text
        assert "by more than one" not in text or "by more than one standard error of the reference" in text


def test_every_model_with_few_events_is_named_the_reference_first(found, result) -> None:
    table, exits = found
    model = next(one for one in result.results if one.model.key == "article")
    assert set(table["reference_events_per_variable"]) == {model.counts["n_event"] / len(model.model.covariates)}
    few = table.assign(events_per_variable=2.375, reference_events_per_variable=4.0)
    few.loc[few["model"] == "same", "events_per_variable"] = 10.0
    few.loc[few["model"] == "nothing", "events_per_variable"] = np.nan
    grid = verdict_grid(result.spec, few, exits, "made up")
    assert grid is not None
    (note,) = [note for note in grid.notes if note.startswith("Fewer than 10 events per variable")]
    heads = [m.head for m in result.spec.models if m.key not in ("article", "same", "nothing")]
    assert note.partition("unstable: ")[2] == ", ".join(["Article (4.0)", *(f"{head} (2.4)" for head in heads)]) + "."


REPLACED = b"""
table: mine
title: Mine
defaults: {failure: withdraw, covariates: [foverlap, ctrend60]}
models:
  - {key: article, label: Article}
  - {key: month, label: Month, replace: {ctrend60: ctrend30}}
  - {key: both, label: Both, replace: {ctrend60: ctrend30}, add: [ctrend60]}
  - {key: swapped, label: Swapped, replace: {foverlap: ctrend60, ctrend60: foverlap}}
  - {key: without, label: Without, replace: {ctrend60: ctrend30}, drop: [ctrend30]}
objection: {who: Me, claim: C., changes: D., reference: article, focus: {ctrend60: positive}}
"""


def test_the_verdict_follows_a_replacement(record: Record) -> None:
    result = run_spec(load_spec(REPLACED), "record", record)
    table, exits = verdicts(result)
    own, estimates = table.set_index("model"), result.estimates.set_index(["model", "term"])
    variables = {"month": "ctrend30", "both": "ctrend60", "swapped": "ctrend60", "without": ""}
    assert own["variable"].to_dict() == variables
    assert own.loc["month", "estimate"] == estimates.loc[("month", "ctrend30"), "estimate"]
    assert own.loc["month", "verdict"] == "holds"
    assert own.loc["month", "reason"] == OTHER_SCALE
    assert np.isnan(own.loc["month", "difference"])
    assert own.loc["both", "estimate"] == estimates.loc[("both", "ctrend60"), "estimate"]
    assert own.loc["swapped", "verdict"] == "unchanged"
    assert own.loc["without", "verdict"] == "not_in_model"
    grid = verdict_grid(result.spec, table, exits, "made up")
    assert grid is not None
    assert [row[0] for row in grid.rows][1:3] == ["   Month, War Worsening (30 days)", "   Both"]
    assert "its scale may differ" in " ".join(grid.notes)


def test_a_reference_may_replace_too(record: Record) -> None:
    text = REPLACED.replace(b"reference: article", b"reference: month").replace(
        b"{ctrend60: positive}", b"{ctrend30: positive}"
    )
    own = verdicts(run_spec(load_spec(text), "record", record))[0].set_index("model")
    assert own.loc["article", "variable"] == "ctrend60"
    assert own.loc["article", "verdict"] == "holds"


def test_no_objection_no_verdict(record: Record) -> None:
    text = SPEC.split(b"objection:")[0].split(b"  - {key: entrapment")[0]
    result = run_spec(load_spec(text), "record", record)
    table, exits = verdicts(result)
    assert not len(table)
    assert not len(exits)
    assert verdict_grid(result.spec, table, exits, "n") is None


OWN = b"""
table: own
title: Own data
data: {file: rows.csv, id: id, start: start, stop: stop}
defaults: {failure: event, covariates: [x]}
models:
  - {key: all, label: All}
  - {key: some, label: Some, sample: [id > 2]}
objection: {who: Me, claim: C., changes: D., reference: all, focus: {x: either}}
"""


def test_with_a_data_file_of_ones_own(tmp_path) -> None:
    rng = np.random.default_rng(3)
    rows = pd.DataFrame({"id": np.repeat(np.arange(1, 21), 2), "start": [0, 5] * 20, "stop": [5, 9] * 20})
    rows["x"] = rng.normal(size=40).round(3)
    rows["event"] = [0, 1] * 10 + [0, 0] * 10
    rows.to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "own.yaml").write_bytes(OWN)
    table, exits = verdicts(run_spec(tmp_path / "own.yaml"))
    assert list(table.loc[0, list(COUNTED)]) == [0, 2, 0, 2]
    assert list(zip(exits["what"], exits["subject"], exits["time"], strict=True)) == [("lost", 1, 9), ("lost", 2, 9)]
    assert set(exits["state"]) == {""}
