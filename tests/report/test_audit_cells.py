"""The template of the printed cells: written empty, read back as people and spreadsheet programs save it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from coalition_exit.errors import InputError
from coalition_exit.report.audit_cells import TEMPLATE_COLUMNS, cells_of, read_published, template, write_template
from coalition_exit.specs.loading import article_specs, load_spec
from report.audit_case import CELLS, RIGHT, filled


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_one_row_a_cell_and_nothing_printed() -> None:
    rows = rows_of(template(CELLS))
    assert tuple(rows[0]) == TEMPLATE_COLUMNS
    assert len(rows) == len(CELLS) == 2 * (2 * 2 + 3) + 2 + 1
    assert {row[name] for row in rows for name in ("printed", "stars", "decimals")} == {""}
    keys = [(row["table"], row["model"], row["term"], row["part"]) for row in rows]
    assert len(set(keys)) == len(keys)
    assert set(RIGHT) <= set(keys)


def test_labels_tell_where_to_look() -> None:
    first = rows_of(template(CELLS))[0]
    assert first["title"] == "Table 1. Of the first kind – ‘näif’"
    assert (first["column"], first["row"], first["look_for"]) == (
        "Abandonment: All",
        "Common Front",
        "coefficient",
    )


@pytest.mark.parametrize("table", ["table1", "table2"])
def test_every_table_of_the_article_has_its_cells(table: str) -> None:
    for path in [path for path in article_specs() if path.stem == table]:
        spec = load_spec(path)
        cells = cells_of(spec)
        assert {cell.model for cell in cells} == {model.key for model in spec.models}
        assert len({cell.key for cell in cells}) == len(cells)
        for model in spec.models:
            coefficients = {cell.term for cell in cells if cell.model == model.key and cell.part == "coef"}
            assert set(model.covariates) <= coefficients


def test_a_written_template_opens_in_spreadsheet_programs(tmp_path: Path) -> None:
    path = write_template(tmp_path / "cells.csv", CELLS)
    content = path.read_bytes()
    assert content.startswith(b"\xef\xbb\xbftable,model,term,part,printed,")
    assert content.count(b"\r\n") == len(CELLS) + 1
    assert b"\r\r\n" not in content
    assert read_published(path, CELLS).empty


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"cells\.csv: expected a name not yet taken, got an existing file"):
        write_template(path, CELLS)
    assert path.read_text("utf-8") == "mine"
    with pytest.raises(InputError, match="expected a file that can be written, got no such file"):
        write_template(tmp_path / "no" / "folder.csv", CELLS)


def test_what_is_typed_is_read(tmp_path: Path) -> None:
    read = read_published(filled(tmp_path / "p.csv", RIGHT), CELLS).set_index(["table", "model", "term", "part"])
    assert len(read) == len(RIGHT)
    first = read.loc[("first", "all", "foverlap", "coef")]
    assert tuple(first[["line", "printed", "number", "decimals", "stars"]]) == (2, "-0.73**", "-0.73", 2, "**")
    assert read.loc[("first", "all", "", "n_obs"), "number"] == "104375"
    assert read["exact"].all()


def encode(path: Path, encoding: str, text: str | None = None) -> Path:
    path.write_bytes((path.read_text("utf-8-sig") if text is None else text).encode(encoding))
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_separators_and_encodings(separator: str, encoding: str, ends: str, tmp_path: Path) -> None:
    expected = read_published(filled(tmp_path / "a.csv", RIGHT), CELLS)
    path = filled(tmp_path / "b.csv", RIGHT, separator=separator)
    encode(path, encoding, path.read_text("utf-8-sig").replace("\r\n", "\n").replace("\n", ends))
    assert read_published(path, CELLS).equals(expected)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_decimal_commas(separator: str, tmp_path: Path) -> None:
    comma = {k: v if v == "104,375" else v.replace(".", ",") for k, v in RIGHT.items()}
    expected = read_published(filled(tmp_path / "a.csv", RIGHT), CELLS)
    read = read_published(filled(tmp_path / "b.csv", comma, separator=separator), CELLS)
    assert read.drop(columns="printed").equals(expected.drop(columns="printed"))


def test_a_line_that_names_the_separator_blank_lines_and_rows_cut_short(tmp_path: Path) -> None:
    text = "sep=;\n# from the print, p. 761\nTable;Model;Term;Part;Printed;decimals\n\nfirst;all;foverlap;coef;0,5\n#second;all;;n_obs;9\nsecond;all;;n_obs\n"
    path = tmp_path / "p.csv"
    path.write_text(text, encoding="utf-8")
    read = read_published(path, CELLS)
    assert list(read["number"]) == ["0.5"]
    assert list(read["line"]) == [5]


COEF = ("first", "all", "foverlap", "coef")
ERROR = ("first", "all", "foverlap", "se")


def test_what_could_be_thousands_or_decimals_is_told_by_the_other_numbers(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    for separator, others, number in [
        (";", {ERROR: "0,25"}, "1.234"),
        (";", {ERROR: "0.25"}, "1234"),
        (",", {ERROR: "0,25"}, "1.234"),
        (",", {}, "1234"),
    ]:
        read = read_published(filled(path, {COEF: "1,234", **others}, separator=separator), CELLS)
        assert read["number"].iloc[0] == number
    for separator, others in [(";", {}), ("\t", {}), (";", {ERROR: "0,25", ("second", *COEF[1:]): "0.25"})]:
        with pytest.raises(InputError, match=r"line 2 > printed: expected a number whose decimal mark is certain"):
            read_published(filled(path, {COEF: "1,234", **others}, separator=separator), CELLS)


def test_stars_and_decimals_in_columns_of_their_own(tmp_path: Path) -> None:
    more = {COEF: {"stars": "**", "decimals": "2"}, ("second", *COEF[1:]): {"stars": "+"}}
    read = read_published(filled(tmp_path / "p.csv", {COEF: "0.5", ("second", *COEF[1:]): "0.5†"}, more), CELLS)
    assert list(read["stars"]) == ["**", "†"]
    assert list(read["decimals"]) == [2, 1]


def test_zeros_that_a_spreadsheet_program_may_have_left_out(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    second = ("second", *COEF[1:])
    read = read_published(filled(path, {COEF: "0.1", ERROR: "(0.1)", second: "0.1*"}), CELLS)
    assert list(read["exact"]) == [False, True, True]
    # A zero that stayed shows that the file has not been through such a program.
    read = read_published(filled(path, {COEF: "0.1", second: "0.10"}), CELLS)
    assert read["exact"].all()
    read = read_published(filled(path, {COEF: "0.1"}, {COEF: {"decimals": "1"}}), CELLS)
    assert read["exact"].all()


@pytest.mark.parametrize(
    ("printed", "more", "message"),
    [
        ("abc", {}, r"p\.csv > line 2 > printed: expected a number as printed, got 'abc'$"),
        ("05. Jan", {}, "got '05. Jan'. A spreadsheet program may have made a date of it"),
        ("25/01/2024", {}, "A spreadsheet program may have made a date of it"),
        ("Jan 25", {}, "A spreadsheet program may have made a date of it"),
        ("0.1***", {}, "line 2 > printed: expected a mark of significance"),
        ("0.1", {"stars": "***"}, r"line 2 > stars: expected a mark of significance .*, got '\*\*\*'"),
        ("0.1*", {"stars": "**"}, r"line 2 > stars: expected the mark that stands in 'printed' \(\*\)"),
        ("", {"stars": "*"}, "line 2 > printed: expected a number beside the stars"),
        ("0.123", {"decimals": "2"}, "line 2 > decimals: expected a whole number from 3 to 15"),
        ("0.1", {"decimals": "two"}, "line 2 > decimals: expected a whole number from 1 to 15"),
        ("0.1", {"decimals": "²"}, "line 2 > decimals: expected a whole number"),
        ("0.1", {"decimals": "99999999999999999999"}, "line 2 > decimals: expected a whole number"),
    ],
)
def test_a_cell_that_is_no_number(printed: str, more: dict[str, str], message: str, tmp_path: Path) -> None:
    path = filled(tmp_path / "p.csv", {COEF: printed}, {COEF: more})
    with pytest.raises(InputError, match=message):
        read_published(path, CELLS)


def test_stars_beside_a_standard_error(tmp_path: Path) -> None:
    path = filled(tmp_path / "p.csv", {ERROR: "0.1"}, {ERROR: {"stars": "*"}})
    with pytest.raises(InputError, match="line 3 > stars: expected nothing"):
        read_published(path, CELLS)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("frist,all,foverlap,coef,1", r"line 2 > table: expected one of first, second .*Did you mean 'first'\?"),
        ("first,al,foverlap,coef,1", r"line 2 > model: expected one of all, none \(models of first\), got 'al'. Did"),
        ("first,all,foverlp,coef,1", r"line 2 > term: .*foverlap.* \(terms of first > all\).*Did you mean 'foverlap'\?"),
        ("first,all,foverlap,cof,1", r"line 2 > part: expected one of coef, se .*Did you mean 'coef'\?"),
        ("second,all,ctrend60,coef,1", r"line 2 > term: expected one of foverlap, ''"),
        ("first,all,,coef,", r"line 2 > part: expected one of n_obs, n_event, loglik"),
        ("first,all,foverlap,coef,0,73", r"line 2: expected 5 cells, as in the first line, got 6. A decimal comma"),
        ("first,all,foverlap,coef,1\nfirst,all,foverlap,coef,", r"line 3: expected each cell once, got that of line 2"),
        ('first,all,foverlap,coef,"1', r"line 2: expected a CSV file"),
    ],
)  # fmt: skip
def test_a_row_that_is_no_cell(row: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(f"table,model,term,part,printed\n{row}\n", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_published(path, CELLS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a first line with table, model, term, part, printed, got an empty file"),
        (b"\n\n", "got an empty file"),
        (b"table,model,term,part,print\n", r"expected a column 'printed', got .*Did you mean 'print'\?"),
        (b"table,model,term,part,printed,printed\n", "expected one column 'printed', got 2"),
        (b"PK\x03\x04rest", "expected a CSV file, got a workbook. Save it as CSV UTF-8"),
        (b"table,model,term,part,printed\nfirst,all,foverlap,coef,0.1\x86\n", "line 2: expected text in UTF-8"),
        (b"\xff\xfea", "expected text in UTF-8"),
    ],
)
def test_a_file_of_another_kind(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_published(path, CELLS)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a CSV file that can be read, got no such file"):
        read_published(tmp_path / "no.csv", CELLS)
    with pytest.raises(InputError, match="expected a CSV file"):
        read_published(tmp_path, CELLS)
