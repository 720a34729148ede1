"""Wrong cells in a data file of one's own are refused by name; they are not reasons of models."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from coalition_exit.cli import main
from coalition_exit.errors import CellError
from coalition_exit.runner import run_spec

EPISODES = pd.DataFrame(
    {
        "who": ["a", "a", "b", "c", "c", "d", "e", "f"],
        "begin": [0, 3, 0, 0, 2, 0, 0, 0.0],
        "until": [3, 7, 5, 2, 9, 6, 4, 8.0],
        "out": [0, 1, 1, 0, 1, 0, 1, 0.0],
        "x": [0.1, 0.9, -0.4, 1.2, 0.3, -1.1, 0.8, 0.2],
    }
)
SPEC = (
    "table: t\ntitle: T\ndata: {{file: {file}, id: who, {clock}}}\n"
    "defaults: {{failure: out, covariates: [x], errors: {{type: model}}{more}}}\nmodels:\n{models}"
)


def write(
    folder: Path, frame: pd.DataFrame, suffix: str = "csv", clock: str = "start: begin, stop: until", more: str = "",
    models: str = "  - key: m\n",
) -> Path:  # fmt: skip
    file = folder / f"data.{suffix}"
    if suffix == "csv":
        frame.to_csv(file, index=False)
    elif suffix == "dta":
        frame.to_stata(file, write_index=False)
    else:
        frame.to_parquet(file, index=False)
    path = folder / "t.yaml"
    path.write_text(SPEC.format(file=file.name, clock=clock, more=more, models=models), encoding="utf-8")
    return path


def changed(row: int, column: str, value: object) -> pd.DataFrame:
    frame = EPISODES.copy()
    frame.loc[row, column] = value
    return frame


@pytest.mark.parametrize(("suffix", "place"), [("csv", "line 6"), ("dta", "row 5"), ("parquet", "row 5")])
def test_a_cell_is_named_as_it_stands_in_each_kind_of_file(tmp_path: Path, suffix: str, place: str) -> None:
    path = write(tmp_path, changed(4, "out", 3), suffix)
    with pytest.raises(CellError) as found:
        run_spec(path)
    assert str(found.value) == (
        f"{tmp_path / 'data'}.{suffix}, {place}, column out: expected 0 (censored) or 1 (event), got 3. "
        "Where the codes tell kinds of exit apart, cause: names the one that is modelled"
    )


def test_codes_1_and_2_are_said_with_their_conversion_and_number(tmp_path: Path) -> None:
    with pytest.raises(CellError, match=r"got 2\. Codes 1 and 2 are converted by subtracting 1\. 4 such rows in all"):
        run_spec(write(tmp_path, EPISODES.assign(out=EPISODES["out"] + 1)))


def test_of_several_overlaps_the_first_in_the_file_is_named(tmp_path: Path) -> None:
    frame = changed(4, "begin", 1.0)
    frame.loc[1, "begin"] = 2.5
    frame = frame.iloc[[4, 0, 2, 3, 1, 5, 6, 7]].reset_index(drop=True)
    with pytest.raises(CellError) as found:
        run_spec(write(tmp_path, frame))
    said = (
        "line 5: expected no time that line 2 of who 'c' covers too (1 to 9), got begin 0, until 2. 2 overlaps in all"
    )
    assert str(found.value).endswith(said)


def test_a_file_with_one_row_a_subject(tmp_path: Path) -> None:
    frame = EPISODES.drop_duplicates("who")
    assert run_spec(write(tmp_path, frame, clock="time: until")).results[0].status == "ok"
    with pytest.raises(
        CellError, match=r"line 3, column who: expected one row a subject, line 2 being that of who 'a'"
    ):
        run_spec(write(tmp_path, EPISODES, clock="time: until"))


def test_only_the_rows_that_a_model_uses_are_judged_and_missing_ones_are_counted(tmp_path: Path) -> None:
    frame = changed(4, "out", 3)
    frame.loc[5, "begin"] = None
    result = run_spec(write(tmp_path, frame, models="  - {key: m, sample: [\"who != 'c'\"]}\n"))
    assert result.results[0].status == "ok"
    assert result.full_note.endswith("rows left out for missing values: 1 (m)")


def test_rows_whose_condition_has_no_answer_are_counted_by_model(tmp_path: Path) -> None:
    frame = EPISODES.assign(size=[1, 1, None, 2, 2, None, 1, 1.0], old=[0, 0, 1, 0, 0, 0, 0, 0])
    models = (
        "  - {key: all}\n  - {key: large, sample: ['size >= 1']}\n  - {key: not_large, sample: ['not size >= 2']}\n"
        "  - {key: either, sample: ['size >= 1 or old == 1']}\n  - {key: both, sample: ['size >= 1', 'old == 0']}\n"
    )
    result = run_spec(write(tmp_path, frame, models=models))
    assert list(result.models["n_obs"]) == [8, 6, 4, 7, 6]
    said = "left out whose value in a condition is missing"
    assert f"; 2 rows {said} (large, not_large); 1 row {said} (either, both)" in result.full_note


def test_kinds_of_exit_are_no_fault(tmp_path: Path) -> None:
    frame = changed(4, "out", 2)
    more = ", cause: 1"
    assert run_spec(write(tmp_path, frame, more=more)).results[0].status == "ok"
    with pytest.raises(
        CellError, match=r"column out: expected 0 \(censored\) or the number of a kind of exit, got 1\.5"
    ):
        run_spec(
            write(tmp_path, changed(4, "out", 1.5), models="  - {key: m, estimator: fine_gray, cause: 1}\n")
        )  # fmt: skip


def test_a_model_that_cannot_be_estimated_stays_a_row(tmp_path: Path) -> None:
    result = run_spec(write(tmp_path, EPISODES.assign(x=1.0)))
    assert [one.status for one in result.results] == ["no_variation"]


def test_the_command_says_one_line_writes_nothing_and_ends_in_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, changed(6, "until", 0))
    monkeypatch.chdir(tmp_path)
    for command in (["validate", "t.yaml"], ["run", "t.yaml"]):
        with pytest.raises(SystemExit) as stopped:
            main(command)
        assert stopped.value.code == 2
        said = capsys.readouterr()
        assert said.err == "Error: data.csv, line 8, column until: expected more than begin, which is 0, got 0\n"
        assert said.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.csv", "t.yaml"]
