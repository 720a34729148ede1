"""Running specifications: a user's own file, and models that fail."""

from __future__ import annotations

import csv
import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from coalition_exit.cli import main
from coalition_exit.coding.rules import load_rules
from coalition_exit.commands import new_spec, replicate_specs, run_specs, user_specs
from coalition_exit.errors import EXIT_DONE, EXIT_MODEL_FAILED, DataError
from coalition_exit.panel.build import build_panel
from coalition_exit.record.loading import Record
from coalition_exit.runner import ESTIMATE_COLUMNS, MODEL_COLUMNS, RunResult, run_spec
from coalition_exit.specs.loading import Spec, load_spec
from coalition_exit.survival.cox.cox import CoxPH

HEAD = "table: t\ntitle: T\ndefaults:\n  failure: withdraw\n  covariates: [foverlap, ctrend60]\nmodels:\n"


def load(models: str, head: str = HEAD) -> Spec:
    return load_spec((head + models).encode(), "file.yaml")


def run(models: str, record: Record, head: str = HEAD) -> RunResult:
    return run_spec(load(models, head), "record", record)


@pytest.fixture(scope="module")
def article(record: Record) -> pd.DataFrame:
    """Estimates of the article's full model."""
    spec = next(s for s in replicate_specs() if s.table == "table2")
    estimates = run_spec(spec, "record", record).estimates
    return estimates[estimates["model"] == "full"].reset_index(drop=True)


def test_estimates_and_models_equal_the_estimators_own(record: Record, panel: pd.DataFrame) -> None:
    result = run("  - key: a\n", record)
    fit = CoxPH(ties="breslow").fit(
        "Surv(start, stop, withdraw) ~ foverlap + ctrend60", panel, id="idvar", cluster="coalid"
    )
    assert tuple(result.estimates.columns) == ESTIMATE_COLUMNS
    assert tuple(result.models.columns) == MODEL_COLUMNS
    np.testing.assert_array_equal(result.estimates["estimate"], fit.coef)
    np.testing.assert_array_equal(result.estimates["std_error"], fit.std_error)
    row = result.models.iloc[0]
    for name in ("n_obs", "n_subject", "n_event", "n_cluster", "loglik", "loglik_null"):
        assert row[name] == getattr(fit, name), name
    assert result.failed == []


@pytest.mark.parametrize(
    ("lines", "options", "cluster"),
    [
        ("errors: {correction: none}", {"correction": "none"}, "coalid"),
        ("ties: efron", {"ties": "efron"}, "coalid"),
        ("errors: {type: model}", {}, None),
        ("errors: {by: warnum}", {}, "warnum"),
    ],
)
def test_options_reach_the_estimator(
    lines: str, options: dict[str, Any], cluster: str | None, record: Record, panel: pd.DataFrame
) -> None:
    result = run(f"  - key: a\n    {lines}\n", record)
    formula = "Surv(start, stop, withdraw) ~ foverlap + ctrend60"
    fit = CoxPH(**{"ties": "breslow", **options}).fit(formula, panel, id="idvar", cluster=cluster)
    np.testing.assert_array_equal(result.estimates["estimate"], fit.coef)
    np.testing.assert_array_equal(result.estimates["std_error"], fit.std_error)
    assert result.models.iloc[0]["ties"] == fit.ties


def test_sample_and_failure_reach_the_estimator(record: Record, panel: pd.DataFrame) -> None:
    result = run(
        '  - key: a\n    failure: volunt\n    sample: ["warnum not in [106, 139]", "0 < year <= 1950"]\n', record
    )
    kept = panel[~panel["warnum"].isin([106, 139]) & (panel["year"] <= 1950)]
    fit = CoxPH().fit("Surv(start, stop, volunt) ~ foverlap + ctrend60", kept, id="idvar", cluster="coalid")
    np.testing.assert_array_equal(result.estimates["estimate"], fit.coef)
    assert result.models.iloc[0]["n_obs"] == len(kept) < len(panel)


def test_coding_reaches_the_panel(record: Record) -> None:
    models = "  - key: a\n    add: [left]\n    coding: {left: {rule: article_recent_exit, window: 365}, foverlap: {alone: 1}}\n"
    result = run(models, record)
    names = ["withdraw", "foverlap", "ctrend60", "left"]
    coding = {"left": {"rule": "article_recent_exit", "window": 365}, "foverlap": {"alone": 1}}
    panel = build_panel(record, names, coding)
    fit = CoxPH().fit("Surv(start, stop, withdraw) ~ foverlap + ctrend60 + left", panel, id="idvar", cluster="coalid")
    np.testing.assert_array_equal(result.estimates["estimate"], fit.coef)
    plain = run("  - key: a\n    add: [recexit]\n", record)
    assert not np.array_equal(result.estimates["estimate"], plain.estimates["estimate"])


def test_missing_values_leave_rows_out_only_where_the_estimation_needs_them(
    record: Record, panel: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    holes = panel.assign(pvict=panel["pvict"].where(panel["ccode"] != 200))
    monkeypatch.setattr("coalition_exit.runner.sources.build_panel", lambda *_, **__: holes)
    missing = int(holes["pvict"].isna().sum())
    assert missing > 0
    models = """
  - {key: covariate, add: [pvict]}
  - {key: filter_alone, sample: [pvict >= 0 or ccode == 200]}
  - {key: not_known_to_hold, sample: [not pvict < 0]}
"""
    result = run(models, record)
    counts = dict(zip(result.models["model"], result.models["n_obs"], strict=True))
    assert counts == {
        "covariate": len(panel) - missing,
        "filter_alone": len(panel),
        "not_known_to_hold": len(panel) - missing,
    }
    assert [r.n_dropped for r in result.results] == [missing, 0, 0]


FAILING = """
  - {key: first}
  - {key: no_events, sample: [warnum == 10]}
  - {key: no_rows, sample: [year < 1000]}
  - {key: one_cluster, sample: [warnum == 139, side == 1]}
  - {key: constant, sample: [side == 1], add: [side]}
  - {key: collinear, add: [sepdum, twin], coding: {twin: {rule: article_no_separate_peace}}}
  - {key: monotone, add: [demdum], sample: [withdraw == 0 or demdum == 0]}
  - {key: last, ties: efron}
"""


@pytest.fixture(scope="module")
def failing(record: Record) -> RunResult:
    return run(FAILING, record)


@pytest.mark.parametrize(
    ("key", "status", "reason"),
    [
        ("no_events", "no_events", "no events"),
        ("no_rows", "no_observations", "no row is left"),
        ("one_cluster", "bad_data", "at least two clusters"),
        ("constant", "no_variation", "side"),
        ("collinear", "collinear", "twin"),
        ("monotone", "monotone", "demdum"),
    ],
)
def test_a_model_that_fails_is_a_row_with_its_reason(key: str, status: str, reason: str, failing: RunResult) -> None:
    row = failing.models.set_index("model").loc[key]
    assert row["status"] == status
    assert reason in row["reason"]
    assert "\n" not in row["reason"]
    assert np.isnan(row["loglik"])
    assert key not in set(failing.estimates["model"])
    assert key not in failing.fits


def test_the_other_models_run(failing: RunResult, record: Record) -> None:
    assert list(failing.fits) == ["first", "last"]
    assert len(failing.failed) == 6
    alone = run("  - {key: first}\n  - {key: last, ties: efron}\n", record)
    pd.testing.assert_frame_equal(failing.estimates, alone.estimates, check_exact=True)


def test_failed_models_count_what_they_had(failing: RunResult) -> None:
    rows = failing.models.set_index("model")
    assert rows.loc["no_rows", "n_obs"] == 0
    assert rows.loc["no_events", "n_event"] == 0
    assert rows.loc["no_events", "n_obs"] > 0
    assert rows.loc["one_cluster", "n_cluster"] == 1
    assert rows.loc["monotone", "n_event"] > 0


@pytest.mark.usefixtures("no_figures", "loaded_once")
def test_failures_end_in_exit_code_1_and_in_the_tables_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "mine.yaml", tmp_path / "out"
    path.write_text(HEAD + FAILING, encoding="utf-8")
    with pytest.raises(SystemExit) as left:
        main(["run", str(path), "--out", str(out)])
    assert left.value.code == EXIT_MODEL_FAILED
    printed = capsys.readouterr()
    assert "Not estimated: t > monotone: " in printed.err
    assert printed.err.count("\n") == 6
    note = " ".join(printed.out.split())
    for key in ("no_events", "no_rows", "one_cluster", "constant", "collinear", "monotone"):
        assert f"{key} could not be estimated: " in note
        for suffix in ("tex", "html", "csv"):
            text = (out / "tables" / f"t.{suffix}").read_text("utf-8")
            assert "could not be estimated" in text
            assert key in text.replace(r"\_", "_")


def test_progress_is_told_model_by_model(record: Record) -> None:
    told: list[str] = []
    run_spec(load("  - key: a\n  - key: b\n    sample: [year < 1000]\n"), "record", record, told.append)
    assert told == ["a", "b"]


def test_an_unknown_source_is_refused(record: Record) -> None:
    with pytest.raises(
        DataError,
        match=r"data: expected one of auto, record, archive, a file with the archive's variables, or a folder with a record's tables, got 'recrod'. Did you mean 'record'\?",
    ):
        run_spec(load("  - key: a\n"), "recrod", record)


def test_a_spec_may_be_given_by_its_path(tmp_path: Path, record: Record) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(HEAD + "  - key: a\n", encoding="utf-8")
    assert run_spec(str(path), record=record).estimates.equals(run_spec(load("  - key: a\n"), record=record).estimates)


def read(out: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(out / name, float_precision="round_trip", keep_default_na=False, na_values=[""])


CHANGES = """
  - key: window
    label: Ninety days
    coding: {recexit: {window: 90}}
  - key: fighting
    label: Fighting stopped
    coding:
      withdraw: {where: 'partners_wish == "yes" and fighting_stopped == "yes"'}
  - key: doubtful
    label: Unclear read as a wish
    coding: {withdraw: {unclear_partners_wish: yes}}
"""


@pytest.fixture(scope="module")
def users_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What a user does: coalition-exit new, some lines of editing, coalition-exit run."""
    folder = tmp_path_factory.mktemp("user")
    path = new_spec(str(folder / "my-objection"))
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("\n# labels:", CHANGES + "\n# labels:"), encoding="utf-8")
    with pytest.raises(SystemExit) as left:
        main(["run", str(path), "--out", str(folder / "out")])
    assert left.value.code == EXIT_DONE
    return path, folder / "out"


KEYS = ["reference", "objection", "window", "fighting", "doubtful"]
LABELS = ["Article", "My objection", "Ninety days", "Fighting stopped", "Unclear read as a wish"]


def test_a_users_columns_appear_everywhere(users_run: tuple[Path, Path]) -> None:
    _, out = users_run
    assert list(dict.fromkeys(read(out, "estimates.csv")["model"])) == KEYS
    models = read(out, "models.csv")
    assert list(models["model"]) == KEYS
    assert set(models["status"]) == {"ok"}
    assert list(dict.fromkeys(read(out, "figures/my-objection.csv")["model_label"])) == LABELS
    with (out / "tables" / "my-objection.csv").open(encoding="utf-8", newline="") as file:
        assert next(csv.reader(file)) == ["", *LABELS]
    for suffix in ("md", "html"):
        text = (out / "tables" / f"my-objection.{suffix}").read_text("utf-8")
        assert all(label in text for label in LABELS)
    svg = (out / "figures" / "my-objection.svg").read_text("utf-8")
    assert all(label in svg for label in LABELS)
    assert json.loads((out / "run.json").read_text("utf-8"))["specs"].keys() == {"my-objection"}


def test_the_reference_column_is_the_articles(users_run: tuple[Path, Path], article: pd.DataFrame) -> None:
    estimates = read(users_run[1], "estimates.csv")
    reference = estimates[estimates["model"] == "reference"].reset_index(drop=True)
    columns = list(ESTIMATE_COLUMNS[2:])
    pd.testing.assert_frame_equal(reference[columns], article[columns], check_exact=True)


def test_every_change_changes_something(users_run: tuple[Path, Path]) -> None:
    models = read(users_run[1], "models.csv").set_index("model")
    assert models.loc["objection", "n_obs"] < models.loc["reference", "n_obs"]
    assert models.loc["window", "n_event"] == models.loc["reference", "n_event"]
    assert models.loc["window", "loglik"] != models.loc["reference", "loglik"]
    assert models.loc["fighting", "n_event"] < models.loc["reference", "n_event"]
    assert models.loc["doubtful", "n_event"] > models.loc["reference", "n_event"]


def test_the_note_says_what_was_changed(users_run: tuple[Path, Path]) -> None:
    note = " ".join((users_run[1] / "tables" / "my-objection.csv").read_text("utf-8").split())
    assert "Rows kept: warnum not in [106, 139] for My objection." in note
    assert "recexit by article_recent_exit (window = 90) for Ninety days" in note
    assert "withdraw by article_withdraw (unclear_partners_wish = yes) for Unclear read as a wish" in note


@pytest.mark.usefixtures("no_figures", "loaded_once")
def test_several_files_are_run_together(users_run: tuple[Path, Path], tmp_path: Path) -> None:
    specs = user_specs([str(users_run[0]), "article/table1"])
    outcome = run_specs(specs, "auto", tmp_path, "command")
    assert [t.table for t in outcome.tables] == ["my-objection", "table1"]
    assert list(dict.fromkeys(read(tmp_path, "estimates.csv")["table"])) == ["my-objection", "table1"]


@pytest.mark.usefixtures("no_figures", "loaded_once")
def test_replicate_runs_the_article_and_reaches_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    # A narrow terminal would show a table in several blocks.
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(SystemExit) as left:
        main(["replicate", "--out", str(tmp_path)])
    assert left.value.code == EXIT_DONE
    keys = read(tmp_path, "models.csv").groupby("table", sort=False)["model"].agg(list)
    assert keys["table1"] == ["wd_coalition", "wd_own", "vol_coalition", "vol_own"]
    assert keys["table2"] == ["controls", "full", "voluntary", "ally_relations", "no_world_wars"]
    out = capsys.readouterr().out
    # The two main tables are shown; the others are named.
    assert out.count("Observations") == 2
    for name in ("appendix4", "table2_daily", "table1_diagnostics", "crosstab2", "figure5"):
        assert name in out
    assert "coalition-exit data fetch, then --data archive" in out


def test_every_rule_can_be_run_with_any_of_its_allowed_values(record: Record) -> None:
    """Nothing that passes validation fails while the panel is built."""
    for rule in load_rules().rules.values():
        variable = rule.variable.replace("{window}", "60")
        for key, allowed in rule.allowed.items():
            values = [allowed["min"], allowed["max"]] if isinstance(allowed, dict) else allowed
            for value in values:
                wanted = [] if variable == "subjects" else [variable]
                panel = build_panel(record, ["withdraw", *wanted], {variable: {"rule": rule.name, key: value}})
                # A rule for the subjects may leave few, or none.
                assert len(panel) > 100_000 or not wanted
                if wanted:
                    assert panel[variable].notna().any(), (rule.name, key, value)
