"""A specification with choices on the command line."""

from __future__ import annotations

import gzip
import json
import re
import shlex
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from coalition_exit.cli import main
from coalition_exit.errors import EXIT_BAD_INPUT, EXIT_DONE, EXIT_MODEL_FAILED
from coalition_exit.multiverse.choices.space import load_multiverse
from coalition_exit.multiverse.reading.design import design_of, write_design
from coalition_exit.multiverse.runs.run import run_multiverse
from coalition_exit.multiverse.runs.store import Store
from coalition_exit.report import speccurve_report

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
    assert "8 specs from 3 decisions\ndifferent fits: all of them" in out
    assert "reference spec: exit=article" in out


@pytest.mark.usefixtures("loaded_once", "no_figures")
def test_run_resume_and_test_as_a_whole(here: Path, capsys: Capture) -> None:
    assert call("run", "small.yaml", "--out", "out", "--null", "20", "--seed", "3") == EXIT_DONE
    out = capsys.readouterr().out
    assert "War Worsening (expected: positive): 8 of 8 specs have an estimate" in out
    assert "War Worsening, the whole curve against 20 curves under the null (one-sided): median p = " in out
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
def test_an_interrupted_joint_test_leaves_the_page_and_goes_on(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    test = ("--out", "out", "--null", "250")
    page = here / "out" / "multiverse" / "small" / "multiverse.html"
    write = Store.write
    written: list[Path] = []

    def stop(self, number: int, content: bytes) -> None:  # type: ignore[no-untyped-def]
        if self.kept.name == "null_parts" and number == 2:
            raise KeyboardInterrupt
        write(self, number, content)
        written.append(self.path(number))

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", stop)
        assert call("run", "small.yaml", *test) not in (EXIT_DONE, EXIT_MODEL_FAILED)
    assert [path.stem for path in written] == ["00000000", "00000000", "00000001"]
    text = page.read_text("utf-8")
    assert "The joint test against 250 curves under the null is not done yet" in text
    assert "Specification curves: A small multiverse" in text
    assert "Joint tests of the curves" not in text
    before = [path.stat().st_mtime_ns for path in written]
    assert call("run", "small.yaml", *test, "--resume") == EXIT_DONE
    assert [path.stat().st_mtime_ns for path in written] == before
    text = page.read_text("utf-8")
    assert "not done yet" not in text
    assert "Joint tests of the curves" in text
    # A changed specification has another curve: the test of the old one is not shown beside it.
    (here / "small.yaml").write_text(TEXT.replace("to: 60", "to: 90"), "utf-8")
    assert call("run", "small.yaml", "--out", "out") == EXIT_DONE
    assert "Joint tests of the curves" not in page.read_text("utf-8")
    capsys.readouterr()


@pytest.mark.usefixtures("loaded_once")
def test_the_pages_examples_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[1] / "docs" / "multiverse-inference.md").read_text("utf-8")
    summarized, tested = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert "500, seed=1, jobs=2" in tested
    (here / "specs").mkdir()
    (here / "specs" / "curve.yaml").write_text(TEXT, "utf-8")
    run = run_multiverse("specs/curve.yaml", "results/curve", "record")
    write_design(design_of(load_multiverse("specs/curve.yaml")), run.table.parent)
    exec(tested.replace("500, seed=1, jobs=2", "9, seed=1"), {"__name__": "__main__"})
    monkeypatch.setattr(
        speccurve_report, "save", lambda _, stem: stem.with_suffix(".svg").write_text("<svg/>", "utf-8")
    )
    exec(summarized, {"__name__": "__main__"})
    page = (here / "results" / "curve" / "report" / "multiverse.html").read_text("utf-8")
    assert "the whole curve against 9 curves under the null" in page


def test_data_that_can_serve_no_spec_are_refused_before_anything_is_run(here: Path, capsys: Capture) -> None:
    with gzip.open(Path(__file__).parent / "reference" / "archive_simulated.dta.gz") as packed:
        (here / "file.dta").write_bytes(packed.read())
    assert call("run", "small.yaml", "--data", "file.dta", "--out", "out") == EXIT_BAD_INPUT
    err = capsys.readouterr().err
    assert "expected a spec without coding rules" in err
    assert "rules in all 8: exit (voluntary); trend (all options). Run it with --data record" in err
    assert err.count("\n") == 1
    assert not (here / "out").exists()


@pytest.mark.usefixtures("loaded_once", "no_figures")
def test_specs_that_fail_are_counted(here: Path, capsys: Capture) -> None:
    text = TEXT.replace('small: {sample: ["warnum not in [106, 139]"]}', 'none: {sample: ["year < 1000"]}')
    (here / "small.yaml").write_text(text, "utf-8")
    assert call("run", "small.yaml", "--out", "out") == EXIT_MODEL_FAILED
    assert "4 of 8 specs have no estimate" in capsys.readouterr().err
    text = TEXT.replace("covariates: [foverlap", 'sample: ["year < 1000"], covariates: [foverlap')
    (here / "small.yaml").write_text(text, "utf-8")
    assert call("run", "small.yaml", "--out", "out", "--null", "5") == EXIT_MODEL_FAILED
    assert "8 of 8 specs have no estimate" in capsys.readouterr().err


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


@pytest.mark.usefixtures("loaded_once", "no_figures")
@pytest.mark.parametrize("resume", [(), ("--resume",)])
def test_ctrl_c_says_how_to_go_on(
    here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, resume: tuple[str, ...]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", interrupt)
        assert call("run", "small.yaml", "--out", "my out", *resume) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    command = "coalition-exit run small.yaml --out 'my out' --resume"
    assert said == f"Stopped. What is done is kept. To go on: {command}"
    assert call(*shlex.split(command)[1:]) == EXIT_DONE
