"""The command line: help, exit codes, one-line errors, terminals of every kind."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from coalition_exit import __version__
from coalition_exit.cli import cli, main
from coalition_exit.coding.rules import load_rules
from coalition_exit.commands import exhibits, new
from coalition_exit.errors import EXIT_BAD_INPUT, EXIT_DONE
from coalition_exit.record.codebook import load_codebook
from coalition_exit.report.layout import TableLayout
from coalition_exit.specs.json_schema import schema_path
from coalition_exit.specs.loading import load_spec

GOOD = "table: t\ntitle: Ein Titel\nmodels:\n  - {key: a, label: Größe, failure: withdraw, covariates: [foverlap, ctrend60]}\n"
Capture = pytest.CaptureFixture[str]


def call(*arguments: str) -> int:
    """Run the command line in this process and return its exit code."""
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    assert isinstance(left.value.code, int)
    return left.value.code


PROGRAM = [sys.executable, "-W", "error", "-c", "from coalition_exit.cli import main; main()"]


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command line in a process of its own."""
    line, changed = [*PROGRAM, *arguments], {**os.environ, **environment}
    return subprocess.run(line, env=changed, capture_output=True, check=False)


@pytest.fixture
def here(loaded_once: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    (tmp_path / "good.yaml").write_text(GOOD, encoding="utf-8")
    return tmp_path


def _all_commands(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    below = command.commands.items() if isinstance(command, click.Group) else ()
    return [path, *(p for name, sub in below for p in _all_commands(sub, (*path, name)))]


COMMANDS = _all_commands(cli)


def test_the_promised_commands_are_there() -> None:
    promised = {("replicate",), ("run",), ("validate",), ("rules",), ("data", "describe"), ("data", "check"), ("new",)}
    assert promised <= set(COMMANDS)


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help(path: tuple[str, ...], flag: str, capsys: Capture) -> None:
    assert call(*path, flag) == EXIT_DONE
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith(f"Usage: {' '.join(('coalition-exit', *path))} ")
    assert max(map(len, out.splitlines())) <= 100
    # Every option and command is explained.
    for line in re.findall(r"^  (-.*|[a-z]+)$", out, flags=re.MULTILINE):
        assert len(line.split("  ")) > 1, line


def test_version(capsys: Capture) -> None:
    assert call("--version") == EXIT_DONE
    assert capsys.readouterr().out.strip() == f"coalition-exit, version {__version__}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["foo"], "coalition-exit: expected one of replicate, run, validate, rules, data, new, got 'foo'"),
        (["rum"], "got 'rum'. Did you mean 'run'?"),
        (
            ["data", "chekc"],
            "coalition-exit data: expected one of describe, check, fetch, export, got 'chekc'. Did you mean 'check'?",
        ),
        (["--foo"], "--foo"),
        (["run"], "Missing argument 'SPEC...'"),
        (["run", "good.yaml", "--oout", "x"], "--oout"),
        (["run", "good.yaml", "--out"], "--out"),
        (
            ["run", "good.yaml", "--data", "archve"],
            "data: expected one of auto, record, archive, a file with the archive's variables, or a folder with a record's tables, got 'archve'",
        ),
        (
            ["run", "good"],
            "got no such file. Did you mean good.yaml?",
        ),
        (["run", "article/tabel1"], "Did you mean 'article/table1'?"),
        (["validate", "table1"], "Did you mean 'article/table1'?"),
        (["validate", "symposum"], "Did you mean 'symposium'?"),
        (["validate", "morey_bth"], "Did you mean 'symposium/morey_both'?"),
        (
            ["run", "nowhere.yaml"],
            "nowhere.yaml: expected a readable specification file, got no such file or directory",
        ),
        (
            ["run", "good.yaml", "--out", "good.yaml"],
            "good.yaml: expected a folder that can be written, got the file good.yaml",
        ),
        (["replicate", "--out", "good.yaml/below"], "expected a folder that can be written"),
        (["replicate", "extra"], "unexpected extra argument"),
        (["validate"], "Missing argument 'SPEC...'"),
        (["validate", ""], "expected a YAML file"),
        (["rules", "ctrnd45"], "got 'ctrnd45'. Did you mean 'ctrend45'?"),
        (["rules", "articel_polity"], "Did you mean 'article_polity'?"),
        (["rules", "ctrend500"], "got 'ctrend500'"),
        (
            ["rules", "zzz"],
            "rules: expected the name of a rule or a variable (coalition-exit rules lists them), got 'zzz'",
        ),
        (["rules", "a", "b"], "unexpected extra argument"),
        (["data", "export"], "Missing argument 'FILE'"),
        (["data", "export", "panel.xlsx"], "expected a name that ends in one of .dta, .csv, .parquet, got '.xlsx'"),
        (["data", "export", "no/such/folder.csv"], "expected a file that can be written"),
        (["data", "check", "nowhere"], "nowhere: expected a folder with the record's tables, got no such folder"),
        (["new"], "Missing argument 'NAME'"),
        (["new", "good"], "good.yaml: expected a name not yet taken, got an existing file"),
        (["new", "no/such/folder/x"], "expected a file that can be written, got no such file or directory"),
        (["new", "x" * 300], "expected a file that can be written, got "),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: list[str], message: str, here: Path, capsys: Capture) -> None:
    before = sorted(here.rglob("*"))
    assert call(*arguments) == EXIT_BAD_INPUT
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert message in err
    assert sorted(here.rglob("*")) == before


def test_no_command_shows_the_help_and_is_bad_input(capsys: Capture) -> None:
    assert call() == EXIT_BAD_INPUT
    assert "Usage: coalition-exit" in capsys.readouterr().err


def test_a_name_that_ships_is_nearer_than_a_file_of_another_name(here: Path, capsys: Capture) -> None:
    (here / "b1.yaml").write_text("", encoding="utf-8")
    assert call("validate", "table1") == EXIT_BAD_INPUT
    assert "Did you mean 'article/table1'?" in capsys.readouterr().err


def test_a_file_misspelt_gets_the_nearest_one_beside_it(here: Path, capsys: Capture) -> None:
    for given in ("god", "god.yaml"):
        assert call("run", given) == EXIT_BAD_INPUT
        assert "Did you mean 'good.yaml'?" in capsys.readouterr().err


def test_a_folder_of_results_does_not_hide_specifications_of_its_name(here: Path, capsys: Capture) -> None:
    (here / "symposium").mkdir()
    assert call("validate", "symposium") == EXIT_DONE
    assert "henke_partial.yaml: valid" in capsys.readouterr().out
    (here / "results").mkdir()
    assert call("validate", "results") == EXIT_BAD_INPUT
    assert "results: expected a folder with YAML files, got none in it" in capsys.readouterr().err


def test_validate_says_what_is_in_the_file(here: Path, capsys: Capture) -> None:
    assert call("validate", "good.yaml", "article/table2") == EXIT_DONE
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("good.yaml: valid. Table t, 1 model(s)\n  a: withdraw ~ foverlap + ctrend60\n")
    assert "if warnum not in [106, 139]" in out
    assert sorted(p.name for p in here.iterdir()) == ["good.yaml"]


def test_rules_lists_every_rule(here: Path, capsys: Capture) -> None:
    assert call("rules") == EXIT_DONE
    out = capsys.readouterr().out
    one_line = " ".join(out.split())
    for rule in load_rules().rules.values():
        assert (f"{rule.variable}: {rule.name} (the article's)" in out) == (rule.origin == "article")
        assert f"{rule.variable}: {rule.name}" in out
        assert rule.rationale in one_line
        assert rule.citation in one_line
    assert max(map(len, out.splitlines())) <= 100


@pytest.mark.usefixtures("loaded_once")
@pytest.mark.parametrize("rule", load_rules().rules.values(), ids=lambda r: r.name)
def test_one_rule_by_name_and_what_it_prints_can_be_pasted(rule: object, here: Path, capsys: Capture) -> None:
    name, variable = rule.name, rule.variable.replace("{window}", "60")  # type: ignore[attr-defined]
    assert call("rules", name) == EXIT_DONE
    out = capsys.readouterr().out
    one_line = " ".join(out.split())
    for key, value in rule.parameters.items():  # type: ignore[attr-defined]
        assert f"parameter {key}: {value}" in one_line
    assert rule.rationale in one_line  # type: ignore[attr-defined]
    if rule.parameters:  # type: ignore[attr-defined]
        pasted = yaml.safe_load(out[out.index("    coding:") :])
        assert list(pasted["coding"]) == [variable]
        assert load_rules().resolve(variable, pasted["coding"][variable], "pasted").method == rule.method  # type: ignore[attr-defined]


def test_a_rule_by_its_variable(capsys: Capture) -> None:
    assert call("rules", "ctrend45") == EXIT_DONE
    out = capsys.readouterr().out
    assert out.startswith("article_coalition_trend\n")
    assert "ctrend45 (War Worsening (45 days))" in out
    assert "parameter   window: 45 (from 1 to 1000)" in out
    assert "last 45 days" in out
    assert "ctrend45: {window: 45}" in out
    assert call("rules", "withdraw") == EXIT_DONE
    assert "unclear_choice: forced (one of own, forced)" in capsys.readouterr().out


def test_data_describe(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert call("data", "describe") == EXIT_DONE
    out, err = capsys.readouterr()
    assert err == ""
    for part in (
        "Panel\n",
        "Exits by mode\n",
        "Variables\n",
        "Tables of the record, rows by confidence\n",
        load_codebook().status,
    ):
        assert part in out
    for name in ("foverlap", "ctrend120", "lnodead2", "idvar"):
        assert re.search(rf"^{name} ", out, flags=re.MULTILINE), name
    # Values, not the names of parameters.
    assert "`" not in out
    assert max(len(line) for line in out.splitlines()[1:]) <= 100


def test_data_check_and_export(here: Path, capsys: Capture) -> None:
    assert call("data", "check") == EXIT_DONE
    assert "no fault found" in capsys.readouterr().out
    assert call("data", "export", "panel.parquet") == EXIT_DONE
    assert "panel.parquet: " in capsys.readouterr().out
    assert (here / "panel.parquet").stat().st_size > 100_000


@pytest.mark.parametrize(
    ("name", "file", "table"),
    [
        ("my-objection", "my-objection.yaml", "my-objection"),
        ("mine.yml", "mine.yml", "mine"),
        ("Größe & mehr", "Größe & mehr.yaml", "Groe-mehr"),
        ("漢字", "漢字.yaml", "my-table"),
        ("2024", "2024.yaml", "table-2024"),
        ("v1.2", "v1.2.yaml", "v1-2"),
        ("a" * 100, "a" * 100 + ".yaml", "a" * 60),
        ("-_x_-", "-_x_-.yaml", "x"),
    ],
)
def test_new_writes_a_file_that_is_valid_at_once(name: str, file: str, table: str, here: Path, capsys: Capture) -> None:
    assert call("new", "--", name) == EXIT_DONE
    assert f"Written: {file}. Edit it, then: coalition-exit run " in capsys.readouterr().out
    text = (here / file).read_text(encoding="utf-8")
    # No path of this machine: the file and the schema beside it can be sent to another.
    assert text.split("\n")[0] == "# yaml-language-server: $schema=coalition-exit.schema.json"
    assert (here / "coalition-exit.schema.json").read_bytes() == schema_path().read_bytes()
    assert load_spec(here / file).table == table


@pytest.mark.parametrize("stem", ["con", "NUL", "lpt1"])
def test_new_gives_no_table_a_name_that_windows_keeps(stem: str) -> None:
    key = new._table_key(stem)
    assert key == f"table-{stem}"
    assert load_spec(GOOD.replace("table: t", f"table: {key}").encode()).table == key


def test_new_never_touches_a_file(here: Path, capsys: Capture) -> None:
    assert call("new", "good.yaml") == EXIT_BAD_INPUT
    assert (here / "good.yaml").read_text(encoding="utf-8") == GOOD


@pytest.mark.usefixtures("no_figures", "loaded_once")
def test_run_prints_the_table_and_where_the_files_are(here: Path, capsys: Capture) -> None:
    assert call("run", "good.yaml", "--out", "öff entlich") == EXIT_DONE
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("Ein Titel\n")
    assert "Größe" in out
    assert "Written to öff entlich: open" in out
    assert (here / "öff entlich" / "report.html").is_file()
    run = yaml.safe_load((here / "öff entlich" / "run.json").read_text("utf-8"))
    assert run["command"] == "coalition-exit run good.yaml --out 'öff entlich'"


@pytest.mark.usefixtures("no_figures", "loaded_once")
def test_the_next_run_into_the_same_folder_takes_the_place_of_the_earlier(here: Path, capsys: Capture) -> None:
    (here / "other.yaml").write_text(GOOD.replace("table: t", "table: other"), encoding="utf-8")
    assert call("run", "good.yaml", "--template", "cells.csv") == EXIT_DONE
    assert call("run", "good.yaml", "--compare", "cells.csv") == EXIT_DONE
    out, run = here / "output", here / "output" / "run.json"
    assert {"audit.html", "tables/t.tex"} <= set(yaml.safe_load(run.read_text("utf-8"))["files"])
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    capsys.readouterr()
    assert call("run", "other.yaml") == EXIT_DONE
    assert re.search(
        r"^Removed from output: \d+ files of the earlier run there$", capsys.readouterr().out, re.MULTILINE
    )
    left = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert left == {*yaml.safe_load(run.read_text("utf-8"))["files"], "run.json", "notes.txt"}
    assert not {"audit.html", "tables/t.tex", "figures/t.pdf"} & left


def test_ctrl_c_stops_without_a_trace(here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> list[TableLayout]:
        raise KeyboardInterrupt

    monkeypatch.setattr(exhibits, "write_output", interrupt)
    assert call("run", "good.yaml", "--out", "out") == 130
    assert capsys.readouterr().err.strip() == "Stopped."
    assert not (here / "out").exists()


def test_a_bug_is_not_hidden(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(exhibits, "run_on", bug)
    with pytest.raises(ZeroDivisionError):
        main(["run", "good.yaml", "--out", "out"])
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    ("width", "arguments"), [(60, ["rules"]), (80, ["rules", "ctrend60"]), (140, ["rules"]), (90, ["data", "describe"])]
)
def test_the_width_of_the_terminal_is_kept(
    width: int, arguments: list[str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert call(*arguments) == EXIT_DONE
    # An example to be pasted and the hash are not broken.
    lines = [line for line in capsys.readouterr().out.splitlines() if "{" not in line and "SHA-256" not in line]
    assert width - 20 < max(map(len, lines)) <= width


@pytest.mark.usefixtures("no_figures", "loaded_once")
def test_a_narrow_terminal_shows_blocks_of_columns(
    here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "45")
    (here / "two.yaml").write_text(
        GOOD + "  - {key: b, label: 'Another label', failure: withdraw, covariates: [pvict]}\n", "utf-8"
    )
    assert call("run", "two.yaml", "--out", "out") == EXIT_DONE
    assert capsys.readouterr().out.count("Observations") == 2


def test_an_interrupt_in_mid_run_leaves_nothing(here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(exhibits, "run_on", interrupted)
    assert call("run", "good.yaml", "--out", "out") == 130
    assert capsys.readouterr().err.strip() == "Stopped."
    assert sorted(p.name for p in here.iterdir()) == ["good.yaml"]


def test_a_full_disk_behind_the_output_is_one_line(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    echo = click.echo

    def full(text: object, file: object = None) -> None:
        if file is sys.stdout:
            raise OSError(errno.ENOSPC, "No space left on device")
        echo(text, file=file)  # type: ignore[arg-type]

    monkeypatch.setattr(click, "echo", full)
    assert call("rules") == EXIT_BAD_INPUT
    assert (
        capsys.readouterr().err == "Error: output: expected a place that can be written, got no space left on device\n"
    )


# In a process of its own: encodings and pipes.

ASCII_ONLY = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}


def test_letters_the_terminal_lacks_are_stood_in_for_and_progress_needs_a_terminal(here: Path) -> None:
    done = process("run", "good.yaml", "--out", "out", **ASCII_ONLY)
    assert (done.returncode, done.stderr) == (EXIT_DONE, b"")
    printed = done.stdout.decode("ascii")
    assert "Gr??e" in printed
    assert "+ p < .1, * p < .05" in printed
    assert "Fitting" not in printed
    assert (here / "out" / "tables" / "t.md").read_text("utf-8").count("Größe") == 1


def test_a_message_about_a_strange_name_can_be_printed_anywhere(here: Path) -> None:
    (here / "bad.yaml").write_text(GOOD + "größe†: []\n", encoding="utf-8")
    done = process("validate", "bad.yaml", **ASCII_ONLY)
    assert (done.returncode, done.stdout) == (EXIT_BAD_INPUT, b"")
    message = done.stderr.decode("ascii")
    assert message.startswith("Error: bad.yaml, line 5 > gr??e+: expected one of ")
    assert message.splitlines()[1:] == []
    assert sorted(p.name for p in here.iterdir()) == ["bad.yaml", "good.yaml"]


@pytest.mark.parametrize("arguments", [["rules"], ["run", "good.yaml", "--out", "out"]], ids=" ".join)
def test_a_reader_that_leaves_early_is_no_error(arguments: list[str], here: Path) -> None:
    with subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as started:
        assert started.stdout is not None
        assert started.stderr is not None
        started.stdout.close()
        assert started.stderr.read() == b""
        assert started.wait() == EXIT_DONE
    assert (here / "out" / "run.json").is_file() == (arguments[0] == "run")
