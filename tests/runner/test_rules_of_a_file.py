"""Rules that a file writes itself, competing exits, and states that leave the risk set early."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from coalition_exit.errors import SpecError
from coalition_exit.panel.build import build_panel
from coalition_exit.record.loading import Record
from coalition_exit.runner import RunResult, run_spec
from coalition_exit.specs.loading import load_spec
from coalition_exit.survival.competing.finegray import FineGray
from coalition_exit.survival.cox.cox import CoxPH

HEAD = "table: t\ntitle: T\ndefaults: {failure: withdraw, covariates: [foverlap, ctrend60]}\n"
RIGHT = "foverlap + ctrend60"


def run(text: str, record: Record) -> RunResult:
    return run_spec(load_spec((HEAD + text).encode(), "file.yaml"), "record", record)


def test_a_rule_of_the_files_own_codes_the_outcome(record: Record, panel: pd.DataFrame) -> None:
    rules = "rules:\n  fought_out: {based_on: article_withdraw, label: L, only_if: 'mode != \"surrender\"'}\n"
    result = run(rules + "models:\n  - {key: a, coding: {withdraw: fought_out}}\n", record)
    exits = record["exits"].merge(record["spells"], on=["warnum", "side", "ccode", "spell"], suffixes=("", "_spell"))
    counted = exits[
        (exits["partners_wish"] == "yes") & ((exits["fighting_stopped"] == "yes") | (exits["ended_war"] == "yes"))
    ]
    assert result.models["n_event"].iloc[0] == (counted["mode"] != "surrender").sum() < panel["withdraw"].sum()


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("mine: {based_on: article_withdrw}", r"line 5 > rules > mine > based_on: .*'article_withdrw'. Did you mean"),
        ("mine: {based_on: article_withdraw, only_if: 'mood == \"x\"'}", "rules > mine > only_if: .*'mood'"),
        ("mine: {based_on: article_withdraw, onlyif: 'x'}", "rules > mine > onlyif"),
        ("mine: {label: L}", "rules > mine"),
        ("article_withdraw: {based_on: article_withdraw}", "rules > article_withdraw"),
    ],
)
def test_a_rules_faults_are_one_line(rules: str, message: str) -> None:
    with pytest.raises(SpecError, match=message) as found:
        load_spec((HEAD + f"rules:\n  {rules}\nmodels: [{{key: a}}]\n").encode(), "file.yaml")
    assert "\n" not in str(found.value)


def test_competing_exits(record: Record) -> None:
    models = """models:
  - {key: first, failure: exit_cause}
  - {key: second, failure: exit_cause, cause: 2}
  - {key: competing, failure: exit_cause, estimator: fine_gray}
"""
    result = run(models, record)
    assert result.failed == []
    panel = build_panel(record, ["exit_cause", "foverlap", "ctrend60"])
    for key, cause in (("first", 1), ("second", 2)):
        one = panel.assign(event=(panel["exit_cause"] == cause).astype(int))
        fit = CoxPH().fit(f"Surv(start, stop, event) ~ {RIGHT}", one, id="idvar", cluster="coalid")
        own = result.estimates[result.estimates["model"] == key]
        np.testing.assert_array_equal(own["estimate"], fit.coef)
        np.testing.assert_array_equal(own["std_error"], fit.std_error)
    every = panel.assign(event=(panel["exit_cause"] > 0).astype(int))
    fit = FineGray(cause=1).fit(
        f"Surv(start, stop, event) ~ {RIGHT}", every, cause="exit_cause", id="idvar", cluster="coalid"
    )
    own = result.estimates[result.estimates["model"] == "competing"]
    np.testing.assert_allclose(own["estimate"], fit.coef, rtol=1e-12)
    assert list(result.models["n_event"]) == [(panel["exit_cause"] == cause).sum() for cause in (1, 2, 1)]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("{key: a, estimator: fine_gray}", "expected an outcome that tells kinds of exit apart, got 'withdraw'"),
        ("{key: a, cause: 2}", "cause: expected 'cause' with an outcome that tells kinds"),
        ("{key: a, failure: exit_cause, estimator: fine_gray, ties: exact}", "ties: expected breslow or efron"),
        ("{key: a, failure: exit_cause, cause: 0}", "cause"),
    ],
)
def test_kinds_of_exit_are_checked(model: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        load_spec((HEAD + f"models:\n  - {model}\n").encode(), "file.yaml")


def test_states_that_leave_the_risk_set_are_counted_apart(record: Record) -> None:
    result = run("models:\n  - {key: a, coding: {withdraw: partial_abandonment}}\n", record)
    panel = build_panel(record, ["withdraw"], {"withdraw": "partial_abandonment"})
    gone = int(panel["withdraw"].isna().sum())
    assert gone > 0
    assert result.models["n_obs"].iloc[0] == len(panel) - gone
    assert f"{gone:,} rows no longer at risk under partial_abandonment" in result.full_note
    assert "missing values" not in result.full_note
