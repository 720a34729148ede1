"""A specification with choices on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from coalition_exit.cli import main
from coalition_exit.errors import EXIT_BAD_INPUT, EXIT_DONE, EXIT_MODEL_FAILED

TEXT = """
table: small
title: A small multiverse
data: record
models:
  - {key: main, failure: withdraw, covariates: [foverlap, ctrend60]}
choices:
  focus: {foverlap: negative, ctrend60: positive}
  decisions:
    exit:
      options:
        article:
        voluntary: {coding: {withdraw: voluntary_only}}
    trend:
      sweep: {variable: ctrend60, from: 30, to: 60, step: 30}
    wars:
      options:
        all:
        small: {sample: ["warnum not in [106, 139]"]}
"""
Capture = pytest.CaptureFixture[str]


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return int(left.value.code or 0)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(TEXT, "utf-8")
    return tmp_path


@pytest.mark.usefixtures("loaded_once")
def test_validate_counts_the_specs(here: Path, capsys: Capture) -> None:
    assert call("validate", "small.yaml") == EXIT_DONE
    out = capsys.readouterr().out
    assert "8 specs from 3 decisions" in out
    assert "reference spec: exit=article" in out


@pytest.mark.usefixtures("loaded_once", "no_figures")
def test_run_resume_and_test_as_a_whole(here: Path, capsys: Capture) -> None:
    assert call("run", "small.yaml", "--out", "out", "--null", "20", "--seed", "3") == EXIT_DONE
    out = capsys.readouterr().out
    assert "War Worsening (expected: positive): 8 of 8 specs have an estimate" in out
    folder = here / "out" / "multiverse" / "small"
    assert (folder / "multiverse.html").is_file()
    table = pq.read_table(folder / "specs.parquet")
    assert table.num_rows == 16
    before = (folder / "specs.parquet").read_bytes()
    assert call("run", "small.yaml", "--out", "out", "--resume") == EXIT_DONE
    assert (folder / "specs.parquet").read_bytes() == before
    reference = table.to_pandas()
    own = reference[(reference["decision_exit"] == "article") & (reference["decision_wars"] == "all")]
    own = own[(own["decision_trend"] == "60") & (own["term"] == "ctrend60")]
    run = json.loads((here / "out" / "run.json").read_text("utf-8"))
    assert "small" in run["specs"]
    assert len(own) == 1
    estimates = (here / "out" / "estimates.csv").read_text("utf-8")
    assert f"{own['estimate'].iloc[0]:.9f}"[:10] in estimates


@pytest.mark.usefixtures("loaded_once", "no_figures")
def test_specs_that_fail_are_counted(here: Path, capsys: Capture) -> None:
    text = TEXT.replace('small: {sample: ["warnum not in [106, 139]"]}', 'none: {sample: ["year < 1000"]}')
    (here / "small.yaml").write_text(text, "utf-8")
    assert call("run", "small.yaml", "--out", "out") == EXIT_MODEL_FAILED
    assert "4 of 8 specs have no estimate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("voluntary_only", "voluntry_only"), "Did you mean 'voluntary_only'"),
        (("focus: {foverlap", "focus: {foverlp"), "foverlp"),
        (("step: 30", "stepp: 30"), "Did you mean 'step'"),
        (("decisions:", "decision:"), "Did you mean 'decisions'"),
        (("from: 30", "from: 0"), "window"),
    ],
)
def test_faults_in_the_choices_cost_no_run(change: tuple[str, str], message: str, here: Path, capsys: Capture) -> None:
    (here / "small.yaml").write_text(TEXT.replace(*change), "utf-8")
    for command in (["validate", "small.yaml"], ["run", "small.yaml", "--out", "out"]):
        assert call(*command) == EXIT_BAD_INPUT
        err = capsys.readouterr().err
        assert message in err
        assert "small.yaml, line" in err
        assert err.count("\n") == 1
    assert not (here / "out").exists()
