"""Pages that could go stale: README, the replication's page, expected results, figures."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from coalition_exit.cli import cli
from coalition_exit.commands import printed_cells, replicate_specs
from coalition_exit.report.audit_cells import template
from coalition_exit.report.coefplot import plot_data
from coalition_exit.runner import RunResult, Sources, run_spec
from coalition_exit.runner.crosstabs import CrosstabResult, run_crosstab
from coalition_exit.runner.diagnostics import diagnose
from coalition_exit.runner.figures import FigureResult, run_figure
from coalition_exit.specs.exhibits import Crosstab, Figure
from coalition_exit.specs.loading import Spec, load_spec

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def results(record) -> list[RunResult]:
    return [run_spec(spec, "record", record) for spec in replicate_specs() if isinstance(spec, Spec)]


@pytest.fixture(scope="module")
def exhibits(record) -> list[FigureResult | CrosstabResult]:
    """The article's figures and cross-tabulations."""
    source = Sources("record", record)
    found: list[FigureResult | CrosstabResult] = []
    for spec in replicate_specs():
        if isinstance(spec, Figure):
            found.append(run_figure(spec, source.for_spec(spec)))
        elif isinstance(spec, Crosstab):
            found.append(run_crosstab(spec, source.for_spec(spec)))
    return found


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_ci_runs_the_readmes_test_command_word_for_word() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert _blocks("sh")[1].strip() == script[-1]


def test_readme_commands_exist() -> None:
    shell = [line.split("#")[0] for block in _blocks("sh") for line in block.splitlines()]
    commands = [shlex.split(line.rsplit("coalition-exit ", 1)[1])[0] for line in shell if "coalition-exit " in line]
    commands += re.findall(r"`coalition-exit (\w+)", README)
    assert {"replicate", "new", "rules", "validate", "run", "data"} <= set(commands) <= set(cli.commands)


def test_every_command_is_documented() -> None:
    for name, command in cli.commands.items():
        assert command.help, name
        assert f"coalition-exit {name}" in README, name


def test_readme_specification_is_valid() -> None:
    spec = load_spec(_blocks("yaml")[0].encode(), "README")
    assert [model.key for model in spec.models] == ["reference", "objection"]


def test_readme_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code = _blocks("python")[0]
    exec(compile(code, "README", "exec"), {})
    assert "ctrend60" in capsys.readouterr().out


def test_readme_files_are_written(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(cli, ["replicate", "--out", str(tmp_path)], standalone_mode=False)
    assert outcome.return_value == 0, outcome.output
    for row in re.findall(r"^\| (`.*?) \|", README, flags=re.MULTILINE):
        first, *more = re.findall(r"`([^`]+)`", row)
        for name in (first, *(first.rsplit(".", 1)[0] + suffix for suffix in more)):
            assert (tmp_path / name).is_file(), name


def test_readmes_claims_hold(results: list[RunResult]) -> None:
    estimates = pd.concat([r.estimates for r in results if all(m.is_cox for m in r.spec.models)])
    worsening = estimates[estimates["term"] == "ctrend60"]
    assert (worsening["conf_low"] > 0).all()
    assert _quoted(README, r"interval excludes zero in all (\d+) Cox models") == len(worsening)
    twins = pd.concat([r.estimates for r in results if all(m.discrete for m in r.spec.models)])
    assert (twins[twins["term"] == "ctrend60"]["conf_low"] > 0).all()
    own = estimates[estimates["term"] == "otrend60"]
    assert ((own["estimate"] > 0) & (own["conf_low"] < 0)).all()
    front = estimates[estimates["term"] == "foverlap"]
    assert _quoted(README, r"less abandonment in (\d+) of") == (front["estimate"] < 0).sum()
    assert _quoted(README, r"less abandonment in \d+ of (\d+)") == len(front)
    assert ((front["conf_low"] < 0) & (front["conf_high"] > 0)).all()


def test_expected_results_are_up_to_date(
    results: list[RunResult], exhibits: list[FigureResult | CrosstabResult]
) -> None:
    ours = {name: pd.concat([getattr(r, name) for r in results], ignore_index=True) for name in ("estimates", "models")}
    ours["diagnostics"] = pd.concat(
        [diagnose(r) for r in results if r.spec.diagnostics and any(m.is_cox for m in r.spec.models)], ignore_index=True
    )
    ours |= {r.figure.table: r.data for r in exhibits if isinstance(r, FigureResult)}
    cells = pd.concat([r.long for r in exhibits if isinstance(r, CrosstabResult)], ignore_index=True)
    stored = pd.read_csv(ROOT / "replication" / "expected" / "crosstabs.csv")
    pd.testing.assert_frame_equal(stored[list(cells.columns)], cells, rtol=1e-12)
    for name, frame in ours.items():
        stored = pd.read_csv(
            ROOT / "replication" / "expected" / f"{name}.csv", keep_default_na=False, na_values=[""], dtype=str
        )
        assert list(stored.columns) == list(frame.columns), name
        assert len(stored) == len(frame), name
        for column in frame.columns:
            if pd.api.types.is_numeric_dtype(frame[column]):
                # Another processor or BLAS may differ in the last digits; p values of tests in more of them.
                mine = frame[column].astype(float)
                np.testing.assert_allclose(stored[column].astype(float), mine, rtol=1e-8, atol=1e-12, err_msg=name)
            else:
                assert list(stored[column].fillna("")) == list(frame[column].fillna("").astype(str)), (name, column)


def test_figures_are_up_to_date(results: list[RunResult], exhibits: list[FigureResult | CrosstabResult]) -> None:
    figures = [r.figure.table for r in exhibits if isinstance(r, FigureResult)]
    for name in figures:
        # The numbers are those of the expected results, which another test compares.
        expected = (ROOT / "replication" / "expected" / f"{name}.csv").read_bytes()
        assert (ROOT / "figures" / f"{name}.csv").read_bytes() == expected
    for result in results:
        shown = plot_data(result.spec, result.estimates)
        stored = pd.read_csv(ROOT / "figures" / f"{result.spec.table}.csv")
        assert list(stored["term_label"]) == list(shown["term_label"])
        np.testing.assert_allclose(stored["estimate"], shown["estimate"], rtol=1e-9)
    for name in (*figures, *(r.spec.table for r in results)):
        for suffix in ("png", "pdf", "svg"):
            assert (ROOT / "figures" / f"{name}.{suffix}").stat().st_size > 1000


def test_replication_page_is_up_to_date(results: list[RunResult]) -> None:
    found = importlib.util.spec_from_file_location("update", ROOT / "replication" / "update.py")
    assert found is not None
    assert found.loader is not None
    update = importlib.util.module_from_spec(found)
    found.loader.exec_module(update)
    page = (ROOT / "replication" / "README.md").read_text(encoding="utf-8")
    models = pd.concat([r.models for r in results], ignore_index=True)
    specs = replicate_specs()
    assert update.exhibits(specs, models) in page
    assert page.count(results[0].sha256[:12]) == 1
    assert f"`{results[0].sha256}`" in page
    # What stands between the numbers of the last run is that of the page it is made from.
    source = (ROOT / "replication" / "README.in.md").read_text(encoding="utf-8")
    fixed = [re.escape(text) for text in re.split(r"\{\{\w+\}\}", source)]
    assert re.fullmatch(".+?".join(fixed), page, flags=re.DOTALL)
    stored = (ROOT / "replication" / "published_template.csv").read_bytes().decode("utf-8")
    assert stored == template(printed_cells(specs, hazards_in_discrete_time=False))


def test_lock_covers_what_the_package_needs_and_names_no_host() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in lock
    assert "@" not in lock
    locked = {line.split("==")[0].lower().replace("_", "-") for line in lock.splitlines() if "==" in line}
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    needed = {name.lower() for name in re.findall(r'^    "([A-Za-z][\w-]*)>=', project, flags=re.MULTILINE)}
    assert len(needed) > 15
    assert needed <= locked


def _quoted(page: str, pattern: str) -> int:
    found = re.search(pattern, page)
    assert found, pattern
    return int(found[1].replace(",", ""))


def test_numbers_in_the_page_on_the_record(record) -> None:
    page = (ROOT / "docs" / "record.md").read_text(encoding="utf-8")
    spells, regimes, members = (
        record["spells"],
        record["regimes"],
        record["members"].set_index(["warnum", "side", "ccode"]),
    )
    departs = (spells["start"] != spells["cow_start"]) | (spells["end"] != spells["cow_end"])
    assert _quoted(page, r"where they differ \((\d+) spells\)") == departs.sum()
    assert _quoted(page, r"low confidence and a note \((\d+) rows\)") == (regimes["confidence"] == "low").sum()
    assert _quoted(page, r"each of the (\d+) spells") == len(record["exits"])
    assert _quoted(page, r"Yugoslavia 1941 \(COW ([\d,]+) dead") == members.loc[(139, 1, 345), "deaths"]
    assert _quoted(page, r"the Philippines in Vietnam \(COW ([\d,]+);") == members.loc[(163, 2, 840), "deaths"]


def test_numbers_in_the_readme(record, results: list[RunResult]) -> None:
    assert _quoted(README, r"coded record of (\d+) wars") == len(record["wars"])
    first, last = record["spells"]["start"].dt.year.min(), record["spells"]["end"].dt.year.max()
    assert f"{first}-{last}" in README
