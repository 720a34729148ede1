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
from coalition_exit.commands import replicate_specs
from coalition_exit.report.coefplot import plot_data
from coalition_exit.runner import RunResult, run_spec
from coalition_exit.specs.loading import load_spec

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def results(record) -> list[RunResult]:
    return [run_spec(spec, "record", record) for spec in replicate_specs()]


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
    estimates = pd.concat([r.estimates for r in results])
    assert (estimates[estimates["term"] == "ctrend60"]["conf_low"] > 0).all()
    own = estimates[estimates["term"] == "otrend60"]
    assert ((own["estimate"] > 0) & (own["conf_low"] < 0)).all()
    front = estimates[estimates["term"] == "foverlap"]
    assert (front["estimate"] < 0).all()
    assert ((front["conf_low"] < 0) & (front["conf_high"] > 0)).all()


def test_expected_results_are_up_to_date(results: list[RunResult]) -> None:
    for name in ("estimates", "models"):
        ours = pd.concat([getattr(r, name) for r in results], ignore_index=True)
        expected = pd.read_csv(ROOT / "replication" / "expected" / f"{name}.csv", keep_default_na=name != "models")
        assert list(expected.columns) == list(ours.columns)
        assert len(expected) == len(ours)
        for column in ours.columns:
            if ours[column].dtype == object:
                assert list(ours[column]) == list(expected[column].astype(str))
            else:
                # Another processor or BLAS may differ in the last digits.
                np.testing.assert_allclose(ours[column].astype(float), expected[column].astype(float), rtol=1e-9)


def test_figures_are_up_to_date(results: list[RunResult]) -> None:
    for result in results:
        shown = plot_data(result.spec, result.estimates)
        stored = pd.read_csv(ROOT / "figures" / f"{result.spec.table}.csv")
        assert list(stored["term_label"]) == list(shown["term_label"])
        np.testing.assert_allclose(stored["estimate"], shown["estimate"], rtol=1e-9)
        for suffix in ("png", "pdf", "svg"):
            assert (ROOT / "figures" / f"{result.spec.table}.{suffix}").stat().st_size > 1000


def test_replication_page_is_up_to_date(results: list[RunResult]) -> None:
    found = importlib.util.spec_from_file_location("update", ROOT / "replication" / "update.py")
    assert found is not None
    assert found.loader is not None
    update = importlib.util.module_from_spec(found)
    found.loader.exec_module(update)
    page = (ROOT / "replication" / "README.md").read_text(encoding="utf-8")
    models = pd.concat([r.models for r in results], ignore_index=True)
    assert update.exhibits([r.spec for r in results], models) in page
    assert f"`{results[0].sha256}`" in page


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
