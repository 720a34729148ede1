"""The output folder: what is in it, byte for byte, and that it is never half there."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from coalition_exit.commands import Outcome, run_specs
from coalition_exit.errors import EXIT_MODEL_FAILED, InputError
from coalition_exit.provenance import sha256_of
from coalition_exit.report import output
from coalition_exit.report.coefplot import plot_data
from coalition_exit.report.output import TableSource, check_folder, read_results, write_output
from coalition_exit.report.run_files import Left
from coalition_exit.runner import RunResult
from coalition_exit.specs.loading import Spec, load_spec

SUFFIXES = {"tables": ("csv", "html", "md", "tex"), "figures": ("csv", "pdf", "png", "svg")}


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def hashes(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files(folder)}


def promised(*tables: str) -> list[str]:
    made = [f"{part}/{t}.{s}" for part, suffixes in SUFFIXES.items() for t in tables for s in suffixes]
    return sorted(["estimates.csv", "models.csv", "report.html", "run.json", *made])


# What is known of the models that could be estimated; in "fails" there is none.
DIAGNOSTICS = ["diagnostics.csv", *(f"tables/kinds_diagnostics.{s}" for s in ("csv", "html", "md", "tex"))]


def test_exactly_the_promised_files(out: Path) -> None:
    assert files(out) == sorted([*promised("kinds", "fails"), *DIAGNOSTICS])
    assert sorted(p.name for p in out.iterdir()) == [
        "diagnostics.csv",
        "estimates.csv",
        "figures",
        "models.csv",
        "report.html",
        "run.json",
        "tables",
    ]


def test_columns_in_the_promised_order(out: Path) -> None:
    head = [(out / f"{name}.csv").read_text(encoding="utf-8").split("\n")[0] for name in ("estimates", "models")]
    assert head[0] == "table,model,term,estimate,std_error,statistic,p_value,conf_low,conf_high"
    assert head[1] == (
        "table,model,status,reason,estimator,ties,correction,n_obs,n_subject,n_event,n_cluster,loglik,loglik_null"
    )


def test_estimates_read_back_to_the_last_bit(out: Path, result: RunResult) -> None:
    estimates, _ = read_results(out)
    assert list(estimates["table"].unique()) == ["kinds"]
    for key, fit in result.fits.items():
        ours, rows = fit.tidy(), estimates[estimates["model"] == key].reset_index(drop=True)
        assert list(rows["term"]) == list(ours["term"])
        for column in ours.columns.drop("term"):
            np.testing.assert_array_equal(rows[column].to_numpy(), ours[column].to_numpy(), strict=True)
        np.testing.assert_array_equal(rows["estimate"].to_numpy(), fit.coef.to_numpy())
        np.testing.assert_array_equal(rows["std_error"].to_numpy(), fit.std_error.to_numpy())


def test_models_read_back_to_the_last_bit(out: Path, result: RunResult, failed: RunResult) -> None:
    _, models = read_results(out)
    assert list(models["model"]) == ["plain", "efron", "sample", "no_events", "coded", "one", "two"]
    assert list(models["status"]) == ["ok", "ok", "ok", "no_events", "ok", "no_events", "no_observations"]
    rows = models.set_index("model")
    for key, fit in result.fits.items():
        for name in ("n_obs", "n_subject", "n_event", "loglik", "loglik_null"):
            assert rows.loc[key, name] == getattr(fit, name), (key, name)
        assert rows.loc[key, "reason"] == ""
        assert rows.loc[key, "estimator"] == "cox"
        assert rows.loc[key, "ties"] == fit.ties
    assert rows.loc["plain", "n_cluster"] == result.fits["plain"].n_cluster
    assert np.isnan(rows.loc["efron", "n_cluster"])
    assert list(rows["correction"]) == ["stata", "", "stata", "stata", "stata", "", "stata"]
    for one in (*result.failed, *failed.failed):
        row = rows.loc[one.model.key]
        assert row["reason"] == one.reason
        assert row["n_event"] == 0
        assert np.isnan(row["loglik"])


def test_counts_are_written_without_a_decimal_point(out: Path) -> None:
    for line in (out / "models.csv").read_text(encoding="utf-8").splitlines()[1:]:
        for cell in line.split(",")[-6:-2]:
            assert cell == "" or cell.isdigit()


def test_plot_data_is_made_from_the_estimates(out: Path, kinds: Spec) -> None:
    estimates, _ = read_results(out)
    stored = pd.read_csv(out / "figures" / "kinds.csv", float_precision="round_trip")
    pd.testing.assert_frame_equal(stored, plot_data(kinds, estimates), check_exact=True)
    assert len(pd.read_csv(out / "figures" / "fails.csv")) == 0


def test_the_run_says_what_it_was_made_from(out: Path, kinds: Spec, result: RunResult) -> None:
    run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert set(run) == {"clock", "command", "data", "files", "seed", "specs", "versions"}
    assert run["command"] == "coalition-exit run"
    assert run["data"]["sha256"] == result.sha256
    assert run["specs"]["kinds"] == {"file": "kinds.yaml", "sha256": kinds.sha256}
    assert run["versions"]["coalition-exit"]
    assert run["seed"] is None


def test_text_files_are_utf8_with_plain_line_ends(out: Path) -> None:
    for name in files(out):
        if not name.endswith((".png", ".pdf")):
            raw = (out / name).read_bytes()
            assert b"\r" not in raw, name
            assert raw.endswith(b"\n") or name.endswith(".svg"), name
            raw.decode("utf-8")


def test_the_report_holds_everything_and_can_be_sent_alone(out: Path) -> None:
    text = (out / "report.html").read_text(encoding="utf-8")
    assert text.count("<table>") == 2
    assert text.count('<table class="grid">') == 1
    assert "<script" not in text
    inside = re.findall(r'src="data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)"', text)
    figures = [base64.b64decode(code) for code in inside]
    assert figures == [(out / "figures" / f"{name}.svg").read_bytes() for name in ("kinds", "fails")]
    assert len(re.findall(r"<img ", text)) == 2
    assert "http" not in re.sub(r"base64,[^\"]+", "", text)


def test_no_file_names_the_place_it_was_written_to(out: Path) -> None:
    for name in files(out):
        assert str(out).encode() not in (out / name).read_bytes(), name


def test_same_inputs_same_bytes(written: Outcome, kinds: Spec, fails: Spec, tmp_path: Path) -> None:
    run_specs([kinds, fails], "record", tmp_path / "again", "coalition-exit run")
    one, two = hashes(written.out), hashes(tmp_path / "again")
    assert {name for name in one if one[name] != two[name]} <= {"run.json"}
    first, second = (json.loads((p / "run.json").read_text("utf-8")) for p in (written.out, tmp_path / "again"))
    assert {key for key in first if first[key] != second[key]} <= {"clock"}


def test_outcome(written: Outcome) -> None:
    assert written.exit_code == EXIT_MODEL_FAILED
    assert [(table, model) for table, model, _ in written.failed] == [
        ("kinds", "no_events"),
        ("fails", "one"),
        ("fails", "two"),
    ]
    assert [table.table for table in written.tables] == ["kinds", "fails"]


Write = Callable[..., Any]


@pytest.fixture
def write(kinds: Spec, result: RunResult, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write the output of one run into a folder; figures are left out, which would take seconds."""

    def save_nothing(figure: Any, stem: Path) -> list[Path]:
        for kind in ("png", "pdf", "svg"):
            stem.with_suffix(f".{kind}").write_text("figure", encoding="utf-8")
        return []

    monkeypatch.setattr(output, "save", save_nothing)

    def write_it(out: Path, run: str = "first", tables: bool = True) -> Any:
        sources = [TableSource(kinds, run)] if tables else []
        return write_output(out, sources, result.estimates, result.models, {"run": run})

    return write_it


def test_folders_are_made(write: Write, tmp_path: Path) -> None:
    out = tmp_path / "a b" / "ü" / "漢字"
    write(out)
    assert files(out) == promised("kinds")


def test_what_else_is_in_the_folder_stays(write: Write, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "mine.txt").write_text("mine", encoding="utf-8")
    write(tmp_path)
    write(tmp_path, "second")
    assert files(tmp_path) == sorted([*promised("kinds"), "tables/mine.txt"])
    run = json.loads((tmp_path / "run.json").read_text("utf-8"))
    assert run["run"] == "second"
    assert sorted([*run["files"], "run.json"]) == promised("kinds")
    assert run["files"] == {name: sha256_of(tmp_path / name) for name in run["files"]}
    assert (tmp_path / "tables" / "mine.txt").read_text("utf-8") == "mine"


def with_strangers(out: Path, listed: dict[str, str]) -> None:
    """Enter files into a folder's list that no run can have written there."""
    run = json.loads((out / "run.json").read_text("utf-8"))
    run["files"] |= listed
    (out / "run.json").write_text(json.dumps(run), encoding="utf-8")


def test_files_of_an_earlier_run_go_and_nothing_else(write: Write, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out)
    (out / "tables" / "mine.md").write_text("mine", encoding="utf-8")
    (out / "multiverse").mkdir()
    (out / "multiverse" / "specs.parquet").write_bytes(b"later")
    (out / "tables" / "kinds.tex").write_text("changed by hand", encoding="utf-8")
    outside = tmp_path / "outside.csv"
    outside.write_text("1", encoding="utf-8")
    whose = {name: sha256_of(outside) for name in ("../outside.csv", str(outside), "tables/../../outside.csv")}
    with_strangers(out, {**whose, "tables": "0", "gone.csv": "0", "": "0"})
    left = write(out, "second", tables=False).left
    assert left.changed == ("tables/kinds.tex",)
    assert set(left.unchanged) == {*promised("kinds")} - {*promised(), "tables/kinds.tex"}
    assert files(out) == sorted([*promised(), "tables/kinds.tex", "tables/mine.md", "multiverse/specs.parquet"])
    assert outside.read_text("utf-8") == "1"
    assert not (out / "figures").exists()
    assert write(out, "third", tables=False).left == Left()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"files": 1}', '{"files": ["report.html"]}', "\0", '"files"']
)
def test_a_list_that_cannot_be_read_removes_nothing(content: str, write: Write, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "run.json").write_text(content, encoding="utf-8")
    assert write(tmp_path, "second", tables=False).left == Left()
    assert files(tmp_path) == promised("kinds")


@pytest.mark.parametrize("at", [0, 3, 8, 12])
def test_a_crash_puts_back_what_was_to_go(
    at: int, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    before = hashes(tmp_path)
    replace, calls = Path.replace, [0]

    def fragile(self: Path, target: Path) -> Path:
        calls[0] += 1
        if calls[0] == at + 1:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fragile)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, "second", tables=False)
    assert hashes(tmp_path) == before


BROKEN = [
    "to_markdown",
    "to_latex",
    "to_html",
    "to_csv",
    "report_page",
    "draw",
    "save",
    "plot_data",
    "lay_out_table",
    "read_results",
]


@pytest.mark.parametrize("error", [RuntimeError("bug"), KeyboardInterrupt(), MemoryError()], ids=repr)
@pytest.mark.parametrize("name", BROKEN)
def test_a_crash_leaves_the_earlier_output_and_nothing_else(
    name: str, error: BaseException, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write(out)
    before = hashes(out)

    def crash(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(output, name, crash)
    with pytest.raises(type(error)):
        write(out, "second")
    assert hashes(out) == before
    assert names(tmp_path) == ["out"]
    with pytest.raises(type(error)):
        write(tmp_path / "new" / "er", "second")
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("at", [0, 1, 5, 8, 15, 19])
@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        OSError(errno.ENOSPC, "No space left on device"),
        PermissionError(errno.EACCES, "Permission denied"),
    ],
    ids=repr,
)
def test_a_crash_while_files_are_put_in_place_puts_the_earlier_ones_back(
    at: int, error: BaseException, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    write(out)
    before = hashes(out)
    replace, calls = Path.replace, [0]

    def fragile(self: Path, target: Path) -> Path:
        calls[0] += 1
        if calls[0] == at + 1:
            raise error
        return replace(self, target)

    expected = InputError if isinstance(error, OSError) else type(error)
    monkeypatch.setattr(Path, "replace", fragile)
    with pytest.raises(expected):
        write(out, "second")
    assert hashes(out) == before
    if at < 10:
        calls[0] = 0
        with pytest.raises(expected):
            write(fresh, "second")
        assert names(tmp_path) == ["out"]


def test_a_full_disk_is_one_line(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(output, "to_latex", full)
    with pytest.raises(InputError, match=r"out: expected a folder that can be written, got no space left on device"):
        write(tmp_path / "out")
    assert names(tmp_path) == []


def test_a_file_that_another_program_keeps_open_is_named(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    before = hashes(tmp_path)
    replace = Path.replace

    def locked(self: Path, target: Path) -> Path:
        if self == tmp_path / "models.csv":
            raise PermissionError(errno.EACCES, "The file is used by another process", str(self), None, str(target))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", locked)
    with pytest.raises(
        InputError, match=r"got the file is used by another process\. Close models\.csv where it is open"
    ):
        write(tmp_path, "second")
    assert hashes(tmp_path) == before


def test_a_file_in_the_place_of_the_folder(write: Write, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    for place in (tmp_path / "out", tmp_path / "out" / "below"):
        with pytest.raises(InputError, match="expected a folder that can be written, got the file"):
            write(place)
        with pytest.raises(InputError):
            check_folder(place)
    assert (tmp_path / "out").read_text("utf-8") == "mine"


@pytest.mark.parametrize("name", ["tables", "figures"])
def test_a_file_in_the_place_of_a_folder_inside(name: str, write: Write, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="expected a folder that can be written"):
        write(tmp_path)
    assert files(tmp_path) == [name]


def test_a_folder_in_the_place_of_a_file(write: Write, tmp_path: Path) -> None:
    (tmp_path / "models.csv" / "mine").mkdir(parents=True)
    with pytest.raises(InputError, match="expected a folder that can be written"):
        write(tmp_path)
    assert [p.name for p in tmp_path.rglob("*")] == ["models.csv", "mine"]


def test_a_folder_without_permission(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="got no permission to write there"):
        write(tmp_path / "out")
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_made(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(InputError, match="got read-only file system"):
        write(tmp_path / "out")


def test_a_name_no_system_takes(write: Write, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a folder that can be written, got "):
        write(tmp_path / ("x" * 300))


@pytest.mark.usefixtures("no_figures", "loaded_once")
def test_names_that_look_like_missing_values(tmp_path: Path) -> None:
    models = "".join(f"  - key: '{key}'\n" for key in ("NA", "nan", "null", "None", "1e5"))
    head = "table: 'NaN'\ntitle: T\ndefaults: {failure: withdraw, covariates: [foverlap], sample: [warnum == 10]}\n"
    run_specs([load_spec(f"{head}models:\n{models}".encode())], "record", tmp_path, "command")
    _, read = read_results(tmp_path)
    assert list(read["model"]) == ["NA", "nan", "null", "None", "1e5"]
    assert set(read["table"]) == {"NaN"}
    assert len(read.columns) == 13
