"""The page on replications of one's own: everything it shows runs."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from coalition_exit.cli import cli
from coalition_exit.report.audit import FULL
from coalition_exit.runner import run_spec
from coalition_exit.specs.loading import load_spec

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "own-replication.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the page has been followed from top to bottom; `said` holds what the commands printed."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "my-article").mkdir()
    shutil.copy(ROOT / "replication" / "heart" / "data" / "heart.csv", folder / "my-article")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for n, (language, text) in enumerate(BLOCKS):
            if language in ("yaml", "csv"):
                path = Path(text.split("\n", 1)[0].removeprefix("# "))
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
            elif language == "sh":
                for line in text.splitlines():
                    name, *arguments = shlex.split(line)
                    assert name == "coalition-exit"
                    outcome = CliRunner().invoke(cli, arguments, standalone_mode=False)
                    assert outcome.exception is None, (line, outcome.exception)
                    assert not outcome.return_value, (line, outcome.output)
                    (folder / f"said-{n}.txt").write_text(outcome.output, encoding="utf-8")
            else:
                assert language == "python"
                exec(compile(text, f"block {n}", "exec"), {})
    return folder


def test_the_page_shows_what_it_is_about() -> None:
    assert [language for language, _ in BLOCKS] == ["yaml", "sh", "sh", "python", "sh", "csv", "sh", "yaml", "sh"]


def test_every_model_is_estimated(folder: Path) -> None:
    for out, n in (("my-output", 4), ("my-robustness-output", 6)):
        models = pd.read_csv(folder / out / "models.csv")
        assert len(models) == n
        assert (models["status"] == "ok").all()


def test_the_files_that_the_page_lists_are_written(folder: Path) -> None:
    listed = PAGE.split("| in `my-output` |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| (`[^|]*) \|", listed, flags=re.MULTILINE)
    assert len(rows) == 7
    for row in rows:
        first, *more = re.findall(r"`([^`]+)`", row)
        names = [name if "/" in name else first.rsplit(".", 1)[0] + name for name in more]
        for name in (first, *names):
            assert (folder / "my-output" / name).is_file(), name


def test_the_comparison_is_a_full_reproduction(folder: Path) -> None:
    said = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("said-*.txt"))]
    assert sum(f"Class: {FULL}." in text for text in said) == 1
    cells = pd.read_csv(folder / "my-output" / "audit.csv")
    assert (cells["result"] == "equal").sum() == 12
    assert set(cells["result"]) == {"equal", "not printed"}
    for suffix in ("html", "md", "tex"):
        assert (folder / "my-output" / f"audit.{suffix}").is_file()


def test_the_template_has_every_cell(folder: Path) -> None:
    template = pd.read_csv(folder / "my-article" / "cells.csv", keep_default_na=False)
    assert (template["printed"] == "").all()
    typed = pd.read_csv(folder / "my-article" / "published.csv", keep_default_na=False, comment="#")
    keys = ["table", "model", "term", "part"]
    assert set(map(tuple, typed[keys].to_numpy())) <= set(map(tuple, template[keys].to_numpy()))


@pytest.mark.parametrize("study", ["rossi", "heart"])
def test_the_command_of_each_study_ends_in_a_full_reproduction(
    study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    page = (ROOT / "replication" / study / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^    coalition-exit (.*)$", page, flags=re.MULTILINE)
    outcome = CliRunner().invoke(cli, [*shlex.split(line), "--out", str(tmp_path)], standalone_mode=False)
    assert outcome.exception is None
    assert outcome.return_value == 0
    assert f"Class: {FULL}." in outcome.output


def test_the_printed_numbers_are_those_of_the_study(folder: Path) -> None:
    here = pd.read_csv(folder / "my-article" / "published.csv", dtype=str, keep_default_na=False, comment="#")
    study = pd.read_csv(ROOT / "replication" / "heart" / "published.csv", dtype=str, keep_default_na=False)
    sixth = study[study["model"] == "m6"]
    keys = ["term", "part", "printed"]
    assert set(map(tuple, here[keys].to_numpy())) == set(map(tuple, sixth[keys].to_numpy()))


def test_what_the_page_says_of_the_format_holds(folder: Path) -> None:
    spec = load_spec(folder / "my-robustness" / "variants.yaml")
    assert [m.estimator for m in spec.models[-2:]] == ["logit", "cloglog"]
    for name in re.findall(r"`(replication/[\w/.]+)`", PAGE):
        assert (ROOT / name).exists(), name


def test_a_wrong_name_is_an_error_with_its_line_and_the_nearest_name(folder: Path) -> None:
    text = (folder / "my-article" / "table1.yaml").read_text(encoding="utf-8")
    line = text.splitlines().index("    add: [age_transplant]") + 1
    path = folder / "my-article" / "wrong.txt"
    path.write_text(text.replace("add: [age_transplant]", "add: [age_transplnt]"), encoding="utf-8")
    with pytest.raises(Exception, match=rf"line {line} .*Did you mean 'age_transplant'"):
        load_spec(path)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("stop", 35, "line 6, column stop: expected more than start, which is 35, got 35"),
        ("start", 10, "line 6: expected no time that line 5 of id 4 covers too (0 to 35), got start 10, stop 38"),
        ("event", 2, "line 6, column event: expected 0 (censored) or 1 (event), got 2"),
        ("age", "inf", "line 6, column age: expected a finite number, got inf"),
        ("age", "old", "line 6, column age: expected a number, got 'old'"),
        ("stop", "?", "line 6, column stop: expected a number, got '?'"),
    ],
)
def test_rows_that_the_page_says_are_refused(folder: Path, column: str, value: object, said: str) -> None:
    data = pd.read_csv(folder / "my-article" / "heart.csv", dtype=str)
    data.loc[4, column] = str(value)
    (folder / "refused").mkdir(exist_ok=True)
    data.to_csv(folder / "refused" / "heart.csv", index=False)
    shutil.copy(folder / "my-article" / "table1.yaml", folder / "refused")
    for command in ("validate", "run"):
        outcome = CliRunner().invoke(cli, [command, str(folder / "refused")], standalone_mode=False)
        assert said in str(outcome.exception)
        assert str(outcome.exception).startswith(str(folder / "refused" / "heart.csv"))


def test_text_may_name_subjects_clusters_and_strata_and_rows_with_gaps_are_counted(folder: Path) -> None:
    data = pd.read_csv(folder / "my-article" / "heart.csv")
    data["patient"] = "p" + data["id"].astype(str)
    data["hospital"] = data["id"].map(lambda number: "A" if number % 3 else "B")
    data.loc[3, "surgery"] = None
    (folder / "text").mkdir()
    data.to_csv(folder / "text" / "data.csv", index=False)
    path = folder / "text" / "text.yaml"
    path.write_text(
        "table: text\ntitle: Text\ndata: {file: data.csv, id: patient, start: start, stop: stop}\n"
        "defaults: {failure: event, covariates: [transplant, surgery], errors: {type: cluster, by: patient}}\n"
        "models:\n  - {key: strata, strata: [hospital]}\n  - {key: sample, sample: [\"hospital == 'A'\"]}\n",
        encoding="utf-8",
    )
    result = run_spec(path)
    assert [one.status for one in result.results] == ["ok", "ok"]
    assert list(result.models["n_obs"]) == [169, 116]
    assert "rows left out for missing values: 1 (strata), 1 (sample)" in result.full_note
