"""Broken specifications: each gets one clear line, whichever way it comes in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from coalition_exit.cli import main
from coalition_exit.errors import EXIT_BAD_INPUT, SpecError
from coalition_exit.specs.loading import load_spec

FOLDER = Path(__file__).parents[1] / "bad_specs"
# Files that cannot say in their first line what is expected.
ELSEWHERE = {
    "empty": "expected keys such as table, title, models, got an empty file",
    "utf16": "line 1: expected UTF-8 text, got the byte 0xff. Save the file as UTF-8",
}
FILES = sorted(FOLDER.glob("*.yaml"))


def expected_parts(path: Path) -> list[str]:
    if path.stem in ELSEWHERE:
        return [ELSEWHERE[path.stem]]
    first = path.read_bytes().split(b"\n")[0].decode()
    return first.removeprefix("# expected: ").split(" | ")


def check_line(message: str, path: Path) -> None:
    assert "\n" not in message
    assert len(message) < 1200
    assert message.startswith(str(path))
    for part in expected_parts(path):
        assert part in message, f"{part!r} is not in {message!r}"


def run_main(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    return int(left.value.code or 0)


def test_there_are_many() -> None:
    assert len(FILES) >= 160
    assert {path.stem for path in FILES} >= set(ELSEWHERE)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_one_clear_line(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    check_line(str(caught.value), path)
    assert run_main("validate", str(path)) == EXIT_BAD_INPUT
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    check_line(err.removeprefix("Error: ").rstrip("\n"), path)


@pytest.mark.parametrize("stem", ["key_misspelt_model", "filter_function_call", "utf16", "billion_laughs"])
def test_run_refuses_before_it_writes(stem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, out = FOLDER.parents[1] / "specs" / "article" / "table1.yaml", tmp_path / "out"
    assert run_main("run", str(good), str(FOLDER / f"{stem}.yaml"), "--out", str(out)) == EXIT_BAD_INPUT
    assert capsys.readouterr().err.startswith("Error: ")
    assert not out.exists()


def _huge() -> Iterator[tuple[str, bytes, str]]:
    head = b"table: t\ntitle: T\ndefaults: {failure: withdraw, covariates: [foverlap]}\nmodels:\n  - key: a\n"
    million = b"a" * 1_000_000
    yield "filter", head + b"    sample: ['" + million + b"']\n", "at most 1000 letters, got 1000000 letters"
    yield "key", head + b"    " + million + b": 1\n", "line 6"
    yield "variable", head + b"    add: [" + million + b"]\n", "at most 80 letters"
    yield "label", head + b"labels: {foverlap: '" + million + b"'}\n", "at most 120 letters"
    yield "nesting", head + b"description: " + b"[" * 20_000 + b"\n", "nesting of at most 50 levels"
    yield "file", head + b"# " + b"x" * 2_000_000, "at most 2000000 bytes"


@pytest.mark.parametrize(("raw", "part"), [c[1:] for c in _huge()], ids=[c[0] for c in _huge()])
def test_huge_input_is_refused_in_a_short_line(raw: bytes, part: str, tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    path.write_bytes(raw)
    with pytest.raises(SpecError, match=part) as caught:
        load_spec(path)
    assert len(str(caught.value)) < 600


def test_a_quoted_key_of_any_length_is_shortened() -> None:
    raw = (
        b"table: t\ntitle: T\nmodels: [{key: a, failure: withdraw, covariates: [foverlap]}]\n? '"
        + b"k" * 5000
        + b"'\n: 1\n"
    )
    with pytest.raises(SpecError) as caught:
        load_spec(raw)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("nowhere.yaml", "no such file or directory"),
        ("x" * 300 + ".yaml", "expected a readable specification file"),
        (".", "a folder with YAML files, got none in it"),
    ],
)
def test_files_that_cannot_be_read(
    name: str, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_main("validate", name) == EXIT_BAD_INPUT
    err = capsys.readouterr().err
    assert part in err
    assert err.count("\n") == 1


def test_a_folder_named_like_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "folder.yaml").mkdir()
    assert run_main("validate", str(tmp_path / "folder.yaml")) == EXIT_BAD_INPUT
    assert "expected a readable specification file" in capsys.readouterr().err


def _two(tmp_path: Path, first: str, second: str) -> list[str]:
    text = "table: {}\ntitle: T\nmodels: [{{key: a, failure: withdraw, covariates: [foverlap]}}]\n"
    paths = []
    for number, table in enumerate((first, second)):
        path = tmp_path / f"file{number}.yaml"
        path.write_text(text.format(table), encoding="utf-8")
        paths.append(str(path))
    return paths


@pytest.mark.parametrize(("first", "second"), [("mine", "mine"), ("mine", "Mine"), ("TABLE1", "table1")])
def test_two_files_for_one_table(first: str, second: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = _two(tmp_path, first, second)
    assert run_main("validate", *paths) == EXIT_BAD_INPUT
    assert f"{paths[1]} > table: expected another name than that in {paths[0]}" in capsys.readouterr().err


def test_two_files_for_two_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main("validate", *_two(tmp_path, "mine", "yours")) == 0
    assert capsys.readouterr().out.count("valid. Table") == 2


def test_the_same_file_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _two(tmp_path, "mine", "yours")[0]
    assert run_main("validate", path, path) == EXIT_BAD_INPUT
    assert "another name" in capsys.readouterr().err
