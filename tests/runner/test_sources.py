"""Where a model's rows come from: the record, the author's file, a file of one's own."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from archive.simulate import FILE
from coalition_exit.archive.fetch import FILE_NAME
from coalition_exit.archive.read import read_archive
from coalition_exit.commands import replicate_specs, run_specs
from coalition_exit.errors import CellError, DataError, InputError, SpecError
from coalition_exit.record.loading import Record
from coalition_exit.runner import RunResult, Sources, run_spec
from coalition_exit.specs.loading import Spec, load_spec
from coalition_exit.survival.cox.cox import CoxPH
from coalition_exit.survival.discrete.discrete import DiscreteHazard

REFERENCE = Path(__file__).parents[1] / "reference" / "archive_values.csv"
HEAD = "table: t\ntitle: T\ndefaults:\n  failure: withdraw\n  covariates: [foverlap, ctrend60]\nmodels:\n"


def load(models: str, head: str = HEAD) -> Spec:
    return load_spec((head + models).encode(), "file.yaml")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "simulated.dta"
    path.write_bytes(gzip.decompress(FILE.read_bytes()))
    return path


@pytest.fixture(scope="module")
def article(simulated: Path) -> list[RunResult]:
    """All 24 models of the article on the simulated file, through the runner."""
    specs = [s for s in replicate_specs() if isinstance(s, Spec) and not any(m.discrete for m in s.models)]
    return [run_spec(spec, str(simulated)) for spec in specs]


def test_all_models_equal_r_through_the_runner(article: list[RunResult]) -> None:
    reference = pd.read_csv(REFERENCE, keep_default_na=False, converters={"value": float})
    values = reference.set_index(["model", "quantity", "term"])["value"].sort_index()
    estimates = pd.concat([one.estimates for one in article])
    models = pd.concat([one.models for one in article])
    assert len(models) == 24
    for row in estimates.itertuples(index=False):
        name = f"{row.table}/{row.model}"
        expected, error = values[name, "coef", row.term], values[name, "std_error", row.term]
        assert abs(row.estimate - expected) < 1e-9 * error
        assert row.std_error == pytest.approx(error, rel=1e-9)
    for row in models.itertuples(index=False):
        name = f"{row.table}/{row.model}"
        assert row.status == "ok"
        for quantity in ("n_obs", "n_event", "n_cluster"):
            assert getattr(row, quantity) == values[name, quantity, ""]
        if row.estimator == "cox":
            assert row.n_subject == values[name, "n_subject", ""]
        assert row.loglik == pytest.approx(values[name, "loglik", ""], rel=1e-9)


def test_the_note_says_what_stset_and_missing_values_left_out(article: list[RunResult]) -> None:
    note = article[1].full_note
    assert "simulated.dta (Stata 118, 6,031 rows" in note
    assert "withdraw: stset used 4,794 of 6,031 records" in note
    assert "volunt: stset used 5,059" in note
    assert "rows left out for missing values: 144 (Controls), 220 (Full Model)" in note


def test_auto_takes_the_authors_file_once_it_is_there(simulated: Path, archive_folder: Path, record: Record) -> None:
    spec, recoded = load("  - key: a\n"), load("  - {key: a, coding: {foverlap: {alone: 1}}}\n")
    assert Sources("auto", record).for_spec(spec).name == "record"
    (archive_folder / FILE_NAME).write_bytes(simulated.read_bytes())
    opened = Sources("auto", record)
    assert opened.for_spec(spec).name == "archive"
    # Coding rules need the facts of the record.
    assert opened.for_spec(recoded).name == "record"
    assert "the author's deposited file coalition_exit_final.dta" in opened.for_spec(spec).note
    assert Sources("record", record).for_spec(spec).name == "record"


def test_a_specification_may_name_its_source(record: Record) -> None:
    spec = load("  - key: a\n", HEAD.replace("title: T", "title: T\ndata: archive"))
    with pytest.raises(DataError, match=r"data: expected the author's file .*coalition-exit data fetch gets it"):
        Sources("auto", record).for_spec(spec)
    assert Sources("record", record).for_spec(spec).name == "record"


def test_coding_rules_on_the_authors_file_are_a_row_with_a_reason(simulated: Path) -> None:
    result = run_spec(load("  - key: a\n  - {key: b, coding: {foverlap: {alone: 1}}}\n"), str(simulated))
    assert list(result.models["status"]) == ["ok", "needs_record"]
    assert "need the facts of the record" in result.models["reason"].iloc[1]


@pytest.mark.usefixtures("no_figures")
def test_a_missing_variable_is_named_with_what_needs_it_and_the_others_run(simulated: Path, tmp_path: Path) -> None:
    frame = read_archive(simulated).frame.drop(columns="ctrend60")
    path = tmp_path / "lacking.csv"
    frame.to_csv(path, index=False)
    spec = load("  - key: a\n  - {key: b, covariates: [foverlap]}\n")
    outcome = run_specs([spec], str(path), tmp_path / "out", "command")
    assert outcome.exit_code == 1
    assert "expected the variable ctrend60 (for t > a), got none" in outcome.warnings[0]
    assert outcome.warnings[0].endswith("Can still run: t > b")
    models = pd.read_csv(tmp_path / "out" / "models.csv").set_index("model")
    assert models.loc["a", "status"] == "missing_variable"
    assert "no variable ctrend60" in models.loc["a", "reason"]
    assert models.loc["b", "status"] == "ok"
    with pytest.raises(InputError, match="No model can run"):
        run_specs([load("  - key: a\n")], str(path), tmp_path / "none", "command")
    assert not (tmp_path / "none").exists()


def test_events_that_do_not_count(record: Record, panel: pd.DataFrame) -> None:
    result = run_spec(load("  - {key: a, censor: ['warnum in [22, 28]', warnum == 155]}\n"), "record", record)
    changed = panel.assign(withdraw=panel["withdraw"].mask(panel["warnum"].isin([22, 28, 155]), 0))
    fit = CoxPH().fit("Surv(start, stop, withdraw) ~ foverlap + ctrend60", changed, id="idvar", cluster="coalid")
    np.testing.assert_array_equal(result.estimates["estimate"], fit.coef)
    assert result.models["n_event"].iloc[0] == fit.n_event < panel["withdraw"].sum()


@pytest.mark.parametrize("period", ["month", "day"])
@pytest.mark.parametrize("link", ["logit", "cloglog", "probit"])
def test_discrete_time(period: str, link: str, record: Record, panel: pd.DataFrame) -> None:
    lines = f"  - {{key: a, estimator: {link}, discrete: {{period: {period}, divisor: 1000}}}}\n"
    result = run_spec(load(lines), "record", record)
    fit = DiscreteHazard(link=link, period=period, divisor=1000.0).fit(
        "Surv(start, stop, withdraw) ~ foverlap + ctrend60", panel, id="idvar", cluster="coalid"
    )
    np.testing.assert_array_equal(result.estimates["estimate"], fit.coef)
    np.testing.assert_array_equal(result.estimates["std_error"], fit.std_error)
    row = result.models.iloc[0]
    assert row["estimator"] == f"discrete_{link}"
    assert row["n_obs"] == fit.n_obs
    assert list(result.estimates["term"])[-1] == "_cons"


OWN = """
table: t
title: T
data: {{file: {file}, id: id, start: start, stop: stop{note}}}
defaults: {{failure: event, covariates: [x]}}
models:
  - key: a
"""


def own(folder: Path, text: str = "", frame: pd.DataFrame | None = None, note: str = "") -> Path:
    rng = np.random.default_rng(5)
    rows = pd.DataFrame(
        {
            "id": np.repeat(np.arange(40), 2), "start": np.tile([0.0, 3.0], 40), "stop": np.tile([3.0, 7.0], 40),
            "event": 0, "x": rng.normal(size=80), "g": np.repeat(np.arange(8), 10), "word": "a",
        }
    )  # fmt: skip
    rows.loc[rows.index % 6 == 1, "event"] = 1
    (rows if frame is None else frame).to_csv(folder / "own.csv", index=False)
    path = folder / "spec.yaml"
    path.write_text((text or OWN.format(file="own.csv", note=note)), "utf-8")
    return path


def test_a_data_file_of_ones_own(tmp_path: Path) -> None:
    path = own(tmp_path, note=", note: Made up")
    result = run_spec(path)
    frame = pd.read_csv(tmp_path / "own.csv")
    fit = CoxPH().fit("Surv(start, stop, event) ~ x", frame, id="id")
    # The two readers of CSV files may differ in the last bit.
    np.testing.assert_allclose(result.estimates["estimate"], fit.coef, rtol=1e-12)
    assert result.models["n_cluster"].isna().all()
    assert result.note.startswith("Made up; own.csv (CSV, 80 rows), SHA-256 ")
    clustered = own(tmp_path, path.read_text("utf-8") + "  - {key: b, errors: {by: g}, ties: efron, strata: [word]}\n")
    both = run_spec(clustered)
    assert list(both.models["n_cluster"].fillna(0)) == [0, 8]
    assert both.failed == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("file: own.csv", "file: owm.csv"), "data > file: expected a data file .*no file .*owm.csv.*'own.csv'"),
        (("id: id", "id: idd"), r"data > id: expected one of id, start.*'idd'. Did you mean 'id'"),
        (("start: start, ", ""), "data: expected either 'start' and 'stop', or 'time', got 'stop'"),
        (("covariates: [x]", "covariates: [y]"), r"covariates\[1\]: expected one of id.*got 'y'"),
        (("covariates: [x]", "covariates: [word]"), "expected a column of numbers, got the column of text 'word'"),
        (("covariates: [x]", "covariates: [start]"), "expected a covariate, got the column of times or ids 'start'"),
        (("failure: event", "failure: evnt"), "failure: expected one of .*'evnt'. Did you mean 'event'"),
        (("- key: a", "- {key: a, coding: {x: rule}}"), "expected no coding rules with a data file"),
        (("- key: a", "- {key: a, errors: {type: cluster}}"), "expected a key 'by'"),
        (("- key: a", "- {key: a, sample: [word == 1]}"), "sample"),
        (("stop: stop", "stopp: stop"), "data > stopp: expected one of file, id, start, stop, time"),
    ],
)
def test_a_data_file_of_ones_own_is_checked_by_name(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = own(tmp_path)
    path.write_text(path.read_text("utf-8").replace(*change), "utf-8")
    with pytest.raises(SpecError, match=message):
        load_spec(path)


def test_a_folder_without_tables_of_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="expected a data file, or a folder with a record's tables, got a folder without"
    ):
        Sources(str(tmp_path))


def test_how_a_file_was_read_is_told(tmp_path: Path) -> None:
    path = own(tmp_path)
    (data,) = tmp_path.glob("own.csv")
    data.write_bytes(data.read_bytes().rstrip(b"\n"))
    outcome = run_specs([load_spec(path)], "auto", tmp_path / "out", "test")
    said = "own.csv: the last line has no end: the file may have been cut short"
    assert outcome.remarks == (said,)
    assert json.loads((tmp_path / "out" / "run.json").read_text("utf-8"))["remarks"] == [said]


def test_missing_values_in_a_file_of_ones_own(tmp_path: Path) -> None:
    frame = pd.read_csv(own(tmp_path).with_name("own.csv"))
    frame.loc[[3, 9], "x"] = np.nan
    result = run_spec(own(tmp_path, frame=frame))
    assert result.models["n_obs"].iloc[0] == 78
    assert "rows left out for missing values: 2 (a)" in result.full_note


@pytest.mark.parametrize("estimator", ["cox", "fine_gray"])
def test_kinds_of_exit_in_a_file_of_ones_own_are_named(tmp_path: Path, estimator: str) -> None:
    frame = pd.read_csv(own(tmp_path).with_name("own.csv"))
    frame.loc[frame.index[frame["event"] == 1][::3], "event"] = 2
    head = own(tmp_path, frame=frame).read_text("utf-8").replace("  - key: a\n", "")
    named = run_spec(own(tmp_path, head + f"  - {{key: a, estimator: {estimator}, cause: 2}}\n", frame))
    assert named.models["n_event"].iloc[0] == (frame["event"] == 2).sum()
    if estimator == "cox":
        # A 2 without a cause may be a fault: it is refused, and never read as a 1 or a 0.
        with pytest.raises(CellError, match=r"own\.csv, line \d+, column event: expected 0 .* got 2\. .*cause: names"):
            run_spec(own(tmp_path, head + "  - {key: a}\n", frame))
    else:
        with pytest.raises(SpecError, match="expected a key 'cause'"):
            load_spec(own(tmp_path, head + "  - {key: a, estimator: fine_gray}\n", frame))
