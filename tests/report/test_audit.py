"""The audit: each cell's result, the classes and their bounds, and the files."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coalition_exit.errors import InputError
from coalition_exit.report import audit_files as files_module
from coalition_exit.report.audit import (
    CLASS_COLUMNS,
    FRAME_COLUMNS,
    FULL,
    MINOR,
    NOT_REPRODUCED,
    NOTHING_TYPED,
    PARTIAL,
    RULES,
    Audit,
    _rounds_to,
    classify,
)
from coalition_exit.report.audit_cells import Key, PrintedCell
from coalition_exit.report.audit_files import audit_files, audit_grids, summary, write_audit
from coalition_exit.report.numbers import format_a2
from report.audit_case import CELLS, ESTIMATES, MODELS, RIGHT, compared

COEF: Key = ("first", "all", "foverlap", "coef")
TREND: Key = ("first", "all", "ctrend60", "coef")
SECOND: Key = ("second", "all", "foverlap", "coef")
N_EVENT: Key = ("first", "all", "", "n_event")
N_OBS: Key = ("first", "all", "", "n_obs")


def cell(audit: Audit, key: Key) -> pd.Series:
    frame = audit.frame
    return frame[(frame[["table", "model", "term", "part"]] == list(key)).all(axis=1)].iloc[0]


def one(tmp_path: Path, key: Key, printed: str, **more: str) -> pd.Series:
    return cell(compared(tmp_path, {key: printed}, {key: more}), key)


def test_an_article_with_these_results_is_fully_reproduced(tmp_path: Path) -> None:
    audit = compared(tmp_path, RIGHT)
    assert audit.overall == FULL
    assert tuple(audit.frame.columns) == FRAME_COLUMNS
    assert tuple(audit.classes.columns) == CLASS_COLUMNS
    assert list(audit.classes["class"]) == [FULL, FULL, FULL]
    assert list(audit.classes["table"]) == ["first", "second", "all"]
    assert list(audit.classes["typed"]) == [7, 3, 10]
    assert list(audit.classes["not_printed"]) == [7, 0, 7]
    assert list(audit.frame["result"].value_counts().loc[["equal", "not printed"]]) == [10, 7]


def test_nothing_typed_has_no_class(tmp_path: Path) -> None:
    audit = compared(tmp_path, {})
    assert set(audit.classes["class"]) == {NOTHING_TYPED}
    assert set(audit.frame["result"]) == {"not printed"}
    assert "0 of 17 cells are typed" in audit.remarks[0]
    assert "Class: nothing typed." in summary(audit)


@pytest.mark.parametrize(
    ("key", "printed", "result", "small"),
    [
        # Computed: -0.7349.
        (COEF, "-0.73**", "equal", False),
        (COEF, "-0.735**", "equal", False),
        (COEF, "-0.7349**", "equal", False),
        (COEF, "-0.74**", "differs", True),
        (COEF, "-0.72**", "differs", True),
        (COEF, "-0.71**", "differs", False),
        (COEF, "-0.7300**", "differs", True),
        (COEF, "-0.7200**", "differs", False),
        # Computed: 0.125, an exact half: both roundings are right.
        (TREND, "0.12†", "equal", False),
        (TREND, "0.13†", "equal", False),
        (TREND, "0.11†", "differs", True),
        (TREND, "0.1†", "equal", False),
        (TREND, "0†", "equal", False),
        # Computed: 0.0996, whose digits esttab fixes before rounding.
        (("first", "all", "ctrend60", "se"), "(0.100)", "equal", False),
        (("first", "all", "ctrend60", "se"), "(0.10)", "equal", False),
        (("first", "all", "ctrend60", "se"), "-0.100", "equal", False),
        (("first", "all", "", "loglik"), "-122.0", "equal", False),
        (("first", "all", "", "loglik"), "-121.9", "differs", True),
        (("first", "all", "", "loglik"), "122.0", "differs", False),
        (N_OBS, "104,375", "equal", False),
        (N_OBS, "104,376", "differs", True),
        (N_OBS, "105,375", "differs", True),
        (N_OBS, "106,375", "differs", False),
        (N_EVENT, "33", "differs", False),
        (N_EVENT, "31", "differs", False),
    ],
)
def test_equal_at_printed_precision(key: Key, printed: str, result: str, small: bool, tmp_path: Path) -> None:
    found = one(tmp_path, key, printed)
    assert (found["result"], found["small"]) == (result, small)


def test_how_much_a_cell_differs(tmp_path: Path) -> None:
    found = one(tmp_path, COEF, "0.50*")
    assert found["difference"] == pytest.approx(-1.2349, abs=1e-14)
    assert found["units"] == pytest.approx(-123.49, abs=1e-12)
    assert found["sign_differs"]
    assert found["significance_differs"]
    assert (found["stars_printed"], found["stars_computed"]) == ("*", "**")
    assert (found["computed"], found["printed_value"], found["decimals"]) == (-0.7349, 0.5, 2)
    assert one(tmp_path, N_EVENT, "30")["units"] == 2


def test_a_sign_is_only_reversed_where_both_have_one(tmp_path: Path) -> None:
    assert not one(tmp_path, COEF, "0.00**")["sign_differs"]
    assert one(tmp_path, COEF, "0.01**")["sign_differs"]
    found = cell(compared(tmp_path, {TREND: "-0.0†"}, estimates=ESTIMATES.assign(estimate=0.01)), TREND)
    assert (found["result"], found["sign_differs"]) == ("equal", False)


def test_an_equal_number_with_other_stars_differs_but_not_little(tmp_path: Path) -> None:
    audit = compared(tmp_path, RIGHT | {COEF: "-0.73*"})
    found = cell(audit, COEF)
    assert (found["result"], found["small"], found["significance_differs"]) == ("differs", False, True)
    assert audit.overall == PARTIAL


def test_no_star_typed_at_all_leaves_significance_out(tmp_path: Path) -> None:
    bare = {key: text.rstrip("*†") for key, text in RIGHT.items()}
    audit = compared(tmp_path, bare)
    assert audit.overall == FULL
    assert "No mark of significance is typed: significance is not compared." in audit.remarks
    assert audit.frame["stars_printed"].isna().all()
    # One star shows that the others were left out on purpose.
    audit = compared(tmp_path, bare | {COEF: "-0.73**"})
    assert cell(audit, TREND)["significance_differs"]
    assert not cell(audit, SECOND)["significance_differs"]


def test_stars_typed_in_their_own_column(tmp_path: Path) -> None:
    assert one(tmp_path, COEF, "-0.73", stars="**")["result"] == "equal"
    assert one(tmp_path, TREND, "0.13", stars="+")["result"] == "equal"
    assert one(tmp_path, TREND, "0.13", stars="*")["significance_differs"]


def test_zeros_left_out_by_a_spreadsheet_program_are_no_lower_precision(tmp_path: Path) -> None:
    # Computed: 1.004 and 0.1004. Printed 1.0 would be equal as typed, but 1.00 is what tables print.
    assert one(tmp_path, SECOND, "1")["result"] == "equal"
    off = ESTIMATES.assign(estimate=1.3)
    assert cell(compared(tmp_path, {SECOND: "1"}, estimates=off), SECOND)["result"] == "unclear"
    assert (
        cell(compared(tmp_path, {SECOND: "1"}, {SECOND: {"decimals": "0"}}, estimates=off), SECOND)["result"] == "equal"
    )
    wrong = cell(compared(tmp_path, {SECOND: "1"}, {SECOND: {"decimals": "2"}}, estimates=off), SECOND)
    assert (wrong["result"], wrong["units"]) == ("differs", pytest.approx(30))
    audit = compared(tmp_path, {SECOND: "1"}, estimates=off)
    assert audit.overall == PARTIAL
    assert audit.classes["unclear"].iloc[-1] == 1


def test_what_the_run_did_not_produce(tmp_path: Path) -> None:
    key = ("first", "none", "foverlap", "coef")
    audit = compared(tmp_path, RIGHT | {key: "0.5", ("first", "none", "", "n_obs"): "12"})
    found = cell(audit, key)
    assert (found["result"], found["reason"]) == ("not produced", "no event is left")
    assert np.isnan(found["computed"])
    # The count of rows is known all the same.
    assert cell(audit, ("first", "none", "", "n_obs"))["result"] == "equal"
    assert audit.overall == PARTIAL
    assert audit.classes["not_produced"].iloc[-1] == 1
    assert "not produced (no event is left)" in summary(audit, 200)
    without = compared(tmp_path, {COEF: "-0.73**"}, models=MODELS[MODELS["table"] == "second"])
    assert cell(without, COEF)["reason"] == "it was not run"
    lost = compared(tmp_path, {COEF: "-0.73**"}, estimates=ESTIMATES[ESTIMATES["term"] != "foverlap"])
    assert cell(lost, COEF)["reason"] == "the model has no such number"


def test_cells_of_other_tables(tmp_path: Path) -> None:
    from coalition_exit.report.audit import audit
    from coalition_exit.report.audit_cells import read_published, write_template

    key = ("cross", "common", "withdraw", "n_cases")
    cells = [PrintedCell(*key, "A cross-tabulation", "Abandonment", "Common front", "count")]
    path = write_template(tmp_path / "p.csv", cells)
    text = path.read_text("utf-8-sig")
    assert "n_cases,,,,A cross-tabulation,Abandonment,Common front,count" in text
    path.write_text(text.replace("n_cases,,", "n_cases,12,"), encoding="utf-8")
    published = read_published(path, cells)
    for value, result in [(12.0, "equal"), (13.0, "differs")]:
        made = audit(ESTIMATES, MODELS, published, cells, "data", False, {key: value})
        assert list(made.frame["result"]) == [result]
    assert list(audit(ESTIMATES, MODELS, published, cells, "data", False).frame["result"]) == ["not produced"]


def test_cells_of_a_cross_tabulation(tmp_path: Path) -> None:
    from coalition_exit.report.audit import audit
    from coalition_exit.report.audit_cells import cells_of_crosstab, crosstab_numbers, read_published, write_template
    from coalition_exit.specs.exhibits import Crosstab, load_exhibit

    spec = tmp_path / "cross.yaml"
    spec.write_text(
        'crosstab: cross\ntitle: Fronts\nrows: {where: foverlap == 1, "yes": Common, "no": Own}\n'
        'columns: {where: withdraw == 1, "yes": Left, "no": Stayed}\n',
        encoding="utf-8",
    )
    crosstab = load_exhibit(spec)
    assert isinstance(crosstab, Crosstab)
    cells = cells_of_crosstab(crosstab)
    assert len({cell.key for cell in cells}) == 8
    path = write_template(tmp_path / "p.csv", cells)
    text = path.read_text("utf-8-sig")
    assert "cross,yes,no,row_percent,,,,Fronts,Stayed,Common,per cent of the row" in text
    text = text.replace("cross,yes,yes,n_cases,", "cross,yes,yes,n_cases,7")
    path.write_text(text.replace("cross,no,yes,row_percent,", "cross,no,yes,row_percent,33.3"), encoding="utf-8")
    counted = pd.DataFrame(
        [("Own", "Left", 3, 100 / 3), ("Common", "Left", 7, 70.0)], columns=["row", "column", "count", "row_percent"]
    )
    numbers = crosstab_numbers(crosstab, counted)
    made = audit(ESTIMATES, MODELS, read_published(path, cells), cells, "data", False, numbers)
    assert made.overall == FULL
    assert made.classes["typed"].iloc[-1] == 2


def test_the_inputs_stay_as_they_are(tmp_path: Path) -> None:
    estimates, models = ESTIMATES.copy(deep=True), MODELS.copy(deep=True)
    compared(tmp_path, RIGHT, estimates=estimates, models=models)
    pd.testing.assert_frame_equal(estimates, ESTIMATES)
    pd.testing.assert_frame_equal(models, MODELS)


@given(st.floats(min_value=-1e4, max_value=1e4), st.integers(0, 6))
def test_every_correct_rounding_is_equal_and_the_next_number_is_not(value: float, decimals: int) -> None:
    from decimal import ROUND_HALF_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

    unit = Decimal(1).scaleb(-decimals)
    for way in (ROUND_HALF_UP, ROUND_HALF_DOWN, ROUND_HALF_EVEN):
        assert _rounds_to(value, Decimal(value).quantize(unit, way), decimals)
    assert _rounds_to(value, Decimal(f"{value:.{decimals}f}"), decimals)
    nearest = Decimal(value).quantize(unit, ROUND_HALF_EVEN)
    assert not _rounds_to(value, nearest + 2 * unit, decimals)
    assert not _rounds_to(value, nearest - 2 * unit, decimals)


@given(st.floats(min_value=-1e4, max_value=1e4).filter(lambda x: abs(x) > 1e-7))
def test_what_our_tables_print_equals_what_we_computed(value: float) -> None:
    from decimal import Decimal

    text = format_a2(value)
    assert _rounds_to(value, Decimal(text), len(text.partition(".")[2]))


def counts(equal: int, small: int = 0, large: int = 0, unclear: int = 0, lost: int = 0) -> dict[str, int]:
    typed = equal + small + large + unclear + lost
    return {"typed": typed, "equal": equal, "small": small, "large": large, "unclear": unclear, "not_produced": lost}


@pytest.mark.parametrize(
    ("cells", "coefficients", "reversed_", "expected"),
    [
        (counts(0), 0, 0, NOTHING_TYPED),
        (counts(1), 1, 0, FULL),
        (counts(3, small=1), 4, 0, MINOR),
        (counts(2, small=1, unclear=0), 3, 0, PARTIAL),
        (counts(3, unclear=1), 4, 0, MINOR),
        (counts(6, unclear=1, small=1), 4, 0, MINOR),
        (counts(5, unclear=1, small=1), 4, 0, PARTIAL),
        (counts(99, large=1), 50, 0, PARTIAL),
        (counts(99, lost=1), 50, 0, PARTIAL),
        (counts(1, large=3), 4, 0, PARTIAL),
        (counts(1, large=4), 5, 0, NOT_REPRODUCED),
        (counts(0, small=1, large=3), 4, 0, PARTIAL),
        (counts(0, small=4), 4, 0, PARTIAL),
        (counts(0, lost=4), 4, 0, NOT_REPRODUCED),
        (counts(6, large=2), 4, 2, PARTIAL),
        (counts(6, large=3), 4, 3, NOT_REPRODUCED),
    ],
)
def test_the_bounds_of_the_classes(cells: dict[str, int], coefficients: int, reversed_: int, expected: str) -> None:
    assert classify(cells, coefficients, reversed_) == expected


def test_classes_are_told_a_table_and_overall(tmp_path: Path) -> None:
    audit = compared(tmp_path, RIGHT | {COEF: "0.73", SECOND: "1.01"})
    assert list(audit.classes["class"]) == [PARTIAL, PARTIAL, PARTIAL]
    audit = compared(tmp_path, RIGHT | {SECOND: "-1.00"})
    assert list(audit.classes["class"]) == [FULL, NOT_REPRODUCED, PARTIAL]
    assert list(audit.classes["sign"]) == [0, 1, 1]
    audit = compared(tmp_path, RIGHT | {COEF: "-0.74**"})
    assert list(audit.classes["class"]) == [MINOR, FULL, MINOR]


def test_a_reconstruction_says_so_first(tmp_path: Path) -> None:
    audit = compared(tmp_path, RIGHT, note="the package's coded record", reconstructed=True)
    for first in (audit.lead, summary(audit, 300).splitlines()[0], audit_files(audit)["audit.md"].splitlines()[0]):
        assert first.startswith("Equality with the article is not to be expected: this compares a reconstruction")
        assert "the package's coded record" in first
    assert set(audit.frame["data"]) == {"reconstruction"}
    assert "not to be expected" not in compared(tmp_path, RIGHT).lead


def test_the_files(tmp_path: Path) -> None:
    audit = compared(tmp_path, RIGHT | {COEF: "0.74"})
    made = audit_files(audit)
    assert sorted(made) == ["audit.csv", "audit.html", "audit.md", "audit.tex"]
    rows = list(csv.DictReader(io.StringIO(made["audit.csv"])))
    assert len(rows) == len(CELLS)
    assert float(rows[0]["computed"]) == -0.7349
    for rule in [text for pair in RULES for text in pair]:
        for name in ("audit.md", "audit.html"):
            assert rule in made[name]
    for name in ("audit.md", "audit.html", "audit.tex"):
        assert "sign differs" in made[name]
        assert "significance differs: none printed, ** computed" in made[name]
    assert audit_files(compared(tmp_path, RIGHT | {COEF: "0.74"})) == made


def test_typed_stars_show_beside_the_number(tmp_path: Path) -> None:
    audit = compared(tmp_path, {COEF: "-0.73", TREND: "0.13†"}, {COEF: {"stars": "**"}})
    shown = audit_grids(audit)[-1].rows
    assert [row[3] for row in shown] == ["-0.73 **", "0.13†"]
    assert [row[4] for row in shown] == ["-0.7349**", "0.1250†"]


def test_the_summary(tmp_path: Path) -> None:
    audit = compared(tmp_path, RIGHT | {COEF: "0.74"})
    text = summary(audit, 80)
    assert "first > Abandonment: All > Common Front > coefficient: printed 0.74" in text
    assert f"Class: {PARTIAL}." in text
    for name, _ in RULES:
        assert f"\n{name}: " in text
    assert max(map(len, text.splitlines())) <= 80
    assert "Cells that differ" not in summary(compared(tmp_path, RIGHT))


def test_a_long_list_of_differences_is_cut(tmp_path: Path) -> None:
    wrong = {key: "999" if key[3].startswith("n_") else "999.0" for key in RIGHT}
    audit = compared(tmp_path, wrong)
    assert audit.overall == NOT_REPRODUCED
    assert "more, in audit.md" not in summary(audit)
    keys = {c.key: "999" if c.part.startswith("n_") else "999.0" for c in CELLS}
    assert "  and 5 more, in audit.md." in summary(compared(tmp_path, keys))


def test_files_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit = compared(tmp_path, RIGHT)
    out = tmp_path / "out"
    paths = write_audit(out, audit)
    assert sorted(p.name for p in paths) == sorted(p.name for p in out.iterdir()) == sorted(audit_files(audit))
    before = {p: p.read_bytes() for p in paths}
    assert b"\r\n" not in b"".join(before.values())
    monkeypatch.setattr(files_module, "audit_files", lambda _: {"audit.md": "new", "no/such/folder.md": ""})
    with pytest.raises(InputError, match="expected a folder that can be written"):
        write_audit(out, audit)
    assert {p: p.read_bytes() for p in out.iterdir()} == before


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="expected a folder that can be written"):
        write_audit(tmp_path / "out", compared(tmp_path, RIGHT))
