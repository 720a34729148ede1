"""Reading files of the archive's schema, and what Stata does with them before it estimates."""

from __future__ import annotations

import gzip
import io
from dataclasses import FrozenInstanceError
from decimal import Decimal
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archive.simulate import FILE, SMALL, simulate, write_csv, write_dta, write_parquet
from coalition_exit.archive.files import MISSING_WORDS, stata_version
from coalition_exit.archive.read import VARIABLES, missing_variables, read_archive
from coalition_exit.errors import InputError


def put(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def stata(frame: pd.DataFrame, version: int = 118, **options) -> bytes:
    buffer = io.BytesIO()
    frame.to_stata(buffer, write_index=False, version=version, **options)
    return buffer.getvalue()


def parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def error_of(path: Path | str) -> str:
    """Return the one line with which a file is refused."""
    with pytest.raises(InputError) as caught:
        read_archive(path)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(str(path))
    return text.removeprefix(str(path))


def frame_or_line(path: Path) -> pd.DataFrame | str:
    """Read a file that may be damaged: its frame, or the line with which it is refused."""
    try:
        return read_archive(path).frame
    except InputError as error:
        line = str(error)
    assert "\n" not in line
    return line


# Formats


@pytest.mark.parametrize("version", [114, 117, 118, 119])
@pytest.mark.parametrize("name", ["a.dta", "A.DTA"])
def test_stata_files_of_every_version_pandas_writes(tmp_path, version, name):
    content = stata(SMALL, version, value_labels={"withdraw": {0: "stays", 1: "leaves"}})
    file = read_archive(put(tmp_path, name, content))
    assert file.format == f"Stata {version}"
    assert file.sha256 == sha256(content).hexdigest()
    assert "1 sets of value labels not applied: codes are kept" in file.notes
    assert file.frame["withdraw"].tolist() == [0, 1, 0, 0]
    assert file.frame["contribpc"].dtype == np.float32
    assert file.frame["country"].tolist() == SMALL["country"].tolist()
    assert any("single precision" in note and "contribpc" in note for note in file.notes)
    assert f"Stata {version}, 4 rows" in file.note


def test_the_object_is_frozen(tmp_path):
    file = read_archive(put(tmp_path, "a.dta", stata(SMALL)))
    with pytest.raises(FrozenInstanceError):
        file.frame = None


def test_big_endian_files(tmp_path):
    file = read_archive(put(tmp_path, "a.dta", stata(SMALL, byteorder=">")))
    assert file.frame["contribpc"].to_numpy(dtype=float)[0] == float(np.float32(0.1))


def test_every_missing_value_of_stata_is_missing(tmp_path):
    """The simulated file has . and .a, .b, .z in bytes, integers, longs, floats and doubles."""
    frame = simulate()
    file = read_archive(put(tmp_path, "a.dta", write_dta(frame)))
    for name in frame.columns:
        assert (file.frame[name].isna() == frame[name].isna()).all(), name
        expected = frame[name].dropna().to_numpy(dtype=float)
        assert (file.frame[name].dropna().to_numpy(dtype=float) == expected).all(), name


def old(content: bytes, version: int, columns: int) -> bytes:
    """Turn a file of version 114 into one of version 111 (Stata 7SE), whose formats are shorter."""
    at = 109 + columns + 33 * columns + 2 * (columns + 1)
    short = b"".join(content[at + 49 * j : at + 49 * j + 12] for j in range(columns))
    return bytes([version]) + content[1:at] + short + content[at + 49 * columns :]


def test_old_stata_files_are_read_only_where_their_missing_values_are_certain(tmp_path):
    frame = SMALL[["idvar", "warday", "withdraw"]]
    content = old(stata(frame, 114), 111, 3)
    file = read_archive(put(tmp_path, "a.dta", content))
    assert file.format == "Stata 111"
    pd.testing.assert_frame_equal(file.frame, frame)
    # 102 is a number in Stata 7 and .a in Stata 8; 127 was the one missing value.
    start = content.rindex(bytes([2, 0, 2, 0, 0])) + 4
    certain = read_archive(put(tmp_path, "b.dta", content[:start] + bytes([127]) + content[start + 1 :]))
    assert certain.frame["withdraw"].isna().sum() == 1
    uncertain = put(tmp_path, "c.dta", content[:start] + bytes([102]) + content[start + 1 :])
    if int(pd.__version__.partition(".")[0]) < 3:
        assert "version 113 or later, got version 111, whose missing values in 'withdraw'" in error_of(uncertain)
    else:
        assert read_archive(uncertain).frame["withdraw"].max() == 102


@pytest.mark.parametrize("word", ["", ".", ".a", ".z", "NA", "NaN"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_files(tmp_path, word, end):
    lines = ["idvar,warday,withdraw,foverlap,country", "1,1,0,.5,Aland", f"1,2,{word},-.5e-1,", '2,1,1, 1 ,"B, land"']
    file = read_archive(put(tmp_path, "a.csv", "\ufeff" + end.join(lines) + end))
    assert file.format == "CSV"
    assert file.frame["foverlap"].tolist() == [0.5, -0.05, 1.0]
    assert file.frame["withdraw"].isna().tolist() == [False, True, False]
    assert file.frame["country"].tolist() == ["Aland", "", "B, land"]
    assert file.frame["idvar"].dtype == np.int64
    assert len(file.notes) == 1
    assert "single precision" in file.notes[0]


def test_a_csv_file_whose_last_line_has_no_end(tmp_path):
    file = read_archive(put(tmp_path, "a.csv", "idvar,warday\n1,1\n1,2"))
    assert "the last line has no end: the file may have been cut short" in file.notes
    assert len(file.frame) == 2


def test_a_csv_file_in_latin_1(tmp_path):
    file = read_archive(put(tmp_path, "a.csv", "idvar,country\n1,Åland\n".encode("latin-1")))
    assert file.frame["country"].tolist() == ["Åland"]
    assert "the text is not UTF-8: read as Latin-1" in file.notes


def test_other_codes_of_a_failure_are_noted(tmp_path):
    path = tmp_path / "codes.csv"
    path.write_text("idvar,withdraw,volunt\n1,0,0\n2,1,1\n3,2,.\n", encoding="utf-8")
    notes = [note for note in read_archive(path).notes if "failure" in note]
    assert notes == ["withdraw: 1 value other than 0 and 1 is a failure, as in Stata's stset"]


def test_csv_numbers_are_read_to_the_last_digit(tmp_path):
    frame = simulate()
    for missing in ("", ".", "NA"):
        file = read_archive(put(tmp_path, "a.csv", write_csv(frame, missing)))
        expected = frame.astype(float)
        pd.testing.assert_frame_equal(file.frame.astype(float), expected, check_exact=True)


def test_a_column_without_any_value(tmp_path):
    for name, content in (
        ("a.csv", b"idvar,lnodead\n1,\n2,.\n"),
        ("a.parquet", parquet(pd.DataFrame({"idvar": [1, 2], "lnodead": [None, None]}))),
    ):
        frame = read_archive(put(tmp_path, name, content)).frame
        assert frame["lnodead"].dtype == np.float64
        assert frame["lnodead"].isna().all()


def test_parquet_files_of_many_types(tmp_path):
    frame = pd.DataFrame(
        {
            "idvar": pd.array([1, 2, None], dtype="Int64"),
            "ccode": pd.array([1, 2, 3], dtype="UInt16"),
            "withdraw": [False, True, False],
            "foverlap": pd.array([0.5, None, 1.0], dtype="Float32"),
            "pvict": pd.Categorical([0.25, 0.5, 0.25]),
            "imptce": [Decimal("0.10"), None, Decimal("0.25")],
            "country": ["a", "b", None],
        }
    )
    file = read_archive(put(tmp_path, "a.parquet", parquet(frame)))
    read = file.frame
    assert file.format == "Parquet"
    assert read["idvar"].tolist()[:2] == [1, 2]
    assert np.isnan(read["idvar"][2])
    assert read["withdraw"].tolist() == [0, 1, 0]
    assert read["foverlap"].dtype == np.float32
    assert read["pvict"].tolist() == [0.25, 0.5, 0.25]
    assert read["imptce"][0] == 0.1
    assert all(isinstance(t, np.dtype) and t.kind in "iuf" for t in read.drop(columns="country").dtypes)
    assert "true and false taken as 1 and 0: withdraw" in file.notes


def test_a_parquet_file_whose_index_is_a_variable(tmp_path):
    buffer = io.BytesIO()
    SMALL.set_index("idvar").to_parquet(buffer)
    frame = read_archive(put(tmp_path, "a.parquet", buffer.getvalue())).frame
    assert frame["idvar"].tolist() == [1, 1, 2, 2]


# Names


def test_names_in_another_case_are_taken_where_there_is_one(tmp_path):
    content = "IDVAR,WarDay,Withdraw,CTrend45,Country\n1,1,0,0.5,a\n"
    file = read_archive(put(tmp_path, "a.csv", content))
    assert list(file.frame.columns) == ["idvar", "warday", "withdraw", "ctrend45", "Country"]
    expected = "taken whatever the case of letters: IDVAR as idvar, WarDay as warday, "
    assert expected + "Withdraw as withdraw, CTrend45 as ctrend45" in file.notes


def test_the_exact_name_comes_first_and_two_others_are_not_chosen_between(tmp_path):
    exact = read_archive(put(tmp_path, "a.csv", "idvar,IDVAR\n1,2\n"))
    assert exact.frame.columns.tolist() == ["idvar", "IDVAR"]
    doubtful = read_archive(put(tmp_path, "b.csv", "idvar,PVICT,Pvict\n1,2,3\n"))
    assert doubtful.frame.columns.tolist() == ["idvar", "PVICT", "Pvict"]
    missing = missing_variables(doubtful.frame, {"m": ["idvar", "pvict"]})
    hint = "PVICT and Pvict differ in the case of letters alone: name one of them pvict"
    assert missing.hints == {"pvict": hint}


def test_missing_variables():
    frame = pd.DataFrame(columns=["idvar", "warday", "withdraw", "foverlap", "coopc", "coalid"])
    common = ["idvar", "warday", "withdraw", "foverlap", "coalid"]
    models = {"table1/a": common, "table2/b": [*common, "cooppc", "xyzzy"], "table2/c": [*common, "xyzzy", "xyzzy"]}
    missing = missing_variables(frame, models)
    assert missing
    assert missing.needed_by == {"cooppc": ("table2/b",), "xyzzy": ("table2/b", "table2/c")}
    assert missing.runnable == ("table1/a",)
    assert missing.blocked == {"table2/b": ("cooppc", "xyzzy"), "table2/c": ("xyzzy",)}
    assert missing.reason("table1/a") == ""
    assert missing.reason("table2/c") == "the data have no variable xyzzy"
    reason = "the data have no variable cooppc and no variable xyzzy. Did you mean 'coopc'?"
    assert missing.reason("table2/b") == reason
    assert str(missing.error("file.dta")) == (
        "file.dta: expected the variables cooppc (for table2/b); xyzzy (for table2/b, table2/c), "
        "got none. cooppc: Did you mean 'coopc'? Can still run: table1/a"
    )
    nothing = missing_variables(frame, {"m": common})
    assert not nothing
    assert nothing.runnable == ("m",)
    none = missing_variables(frame[["idvar"]], {"m": common[:2]})
    assert str(none.error("f")) == "f: expected the variable warday (for m), got none. No model can run"


# Files that are refused

TAB = "idvar\twarday\n1\t1\n"
REFUSED = {
    "empty.dta": (b"", "expected a file with data, got an empty file"),
    "blank.csv": (b" \n\n", "expected a file with data, got an empty file"),
    "empty.parquet": (b"", "expected a file with data, got an empty file"),
    "tab.dta": (TAB, "expected a Stata file, got tab-separated text. Dataverse's tab-separated copy"),
    "tab.tab": (TAB, "expected a data file that ends in one of .dta, .csv, .parquet, got a name ending in '.tab'"),
    "tab.csv": (TAB, ", header: expected names separated by commas, got tabs between them. Dataverse's"),
    "semicolons.csv": ("idvar;warday\n1;0,5\n", "commas, got semicolons between them. Save it with commas"),
    "text.dta": ("idvar,warday\n1,1\n", "expected a Stata file, got text"),
    "page.dta": ("<!DOCTYPE html><html></html>", "expected a Stata file, got a web page"),
    "book.dta": (b"PK\x03\x04" + b"\0" * 90, "expected a Stata file, got a zip or Excel file"),
    "book.xlsx": (b"PK\x03\x04", "got a name ending in '.xlsx'. Save the sheet as CSV"),
    "data.csv.gz": (gzip.compress(b"a,b\n"), "got a name ending in '.gz'. Unpack it first"),
    "data.dat": (b"1", "got a name ending in '.dat'. Did you mean '.dta'?"),
    "data": (b"1", "got a name without ending"),
    "stata.csv": (stata(SMALL), "expected comma-separated text in UTF-8, got a Stata file"),
    "stata.parquet": (stata(SMALL), "expected a Parquet file, got a Stata file"),
    "utf16.csv": ("idvar,warday\n1,1\n".encode("utf-16"), "got UTF-16 (Excel's 'Unicode text')"),
    "cut.dta": (stata(SMALL)[:-40], "expected a whole Stata file, got one cut short"),
    "cut_old.dta": (stata(SMALL, 114)[:-20], "expected a whole Stata file, got one that cannot be read"),
    "head.dta": (b"<stata_dta><header><release>118</release>" + b"</stata_dta>", "got one that cannot be read"),
    "later.dta": (b"<stata_dta><header><release>121</release>" + b"</stata_dta>", "got one that cannot be read"),
    "cut.parquet": (parquet(SMALL)[:-30], "expected a whole Parquet file, got one that cannot be read"),
    "ragged.csv": ("idvar,warday\n1,1\n2\n", ", line 3: expected 2 values, as in the header, got 1 in '2'"),
    "long.csv": ("idvar,warday\n1,1\n2,3,4\n", ", line 3: expected 2 values, as in the header, got 3 in '2,3,4'"),
    "comment.csv": ("# a remark\nidvar,warday\n1,1\n", ", line 2: expected 1 values, as in the header, got 2"),
    "twice.csv": ("idvar,warday,idvar\n1,1,2\n", ", header: expected each variable once, got 'idvar' twice"),
    "blanks_twice.csv": ("idvar, idvar\n1,1\n", ", header: expected each variable once, got 'idvar' twice"),
    "no_rows.csv": ("idvar,warday\n", "expected rows of data, got none. The file has 2 variables and no row"),
    "no_rows.dta": (stata(SMALL[:0].drop(columns="country")), "expected rows of data, got none"),
    "no_rows.parquet": (parquet(SMALL[:0]), "expected rows of data, got none"),
    "other.csv": (
        "x,y\n1,2\n",
        ", header: expected variables such as idvar, coalid, warnum, ccode, withdraw, got x, y",
    ),
    "text.csv": (
        "idvar,side\n1,1\n2,Side B\n",
        ", line 3, column side: expected a number, got 'Side B'. Where these are value labels",
    ),
    "comma.csv": (
        'idvar,pvict\n1,"0,5"\n',
        ", line 2, column pvict: expected a number, got '0,5'. Write decimals with a point",
    ),
    "quoted.csv": (
        'idvar,country,pvict\n\n1,"two\r\nlines",.5\n\n2,B,n/a\n',
        ", line 6, column pvict: expected a number, got 'n/a'",
    ),
    "word.csv": ("idvar,pvict\n1,.\n2,n/a\n", ", line 3, column pvict: expected a number, got 'n/a'"),
    "infinite.csv": ("idvar,pvict\n1,.5\n2,-inf\n", ", line 3, column pvict: expected a finite number, got -inf"),
    "flags.csv": ("idvar,withdraw\n1,true\n2,.\n3,false\n", ", line 2, column withdraw: expected a number, got"),
    "codes.csv": (
        "idvar,withdraw\n1,.\n2,1\n3,2\n",
        ", line 4, column withdraw: expected 0 or 1, got 2. No row has a 0, so that each would be a failure; codes 1 and 2",
    ),
    "destring.dta": (
        stata(pd.DataFrame({"idvar": [1, 2], "ccode": ["2", "200"]})),
        ", column ccode: expected numbers, got numbers stored as text. Make it numeric first (in Stata: destring)",
    ),
    "labels.parquet": (
        parquet(pd.DataFrame({"idvar": [1, 2], "side": pd.Categorical(["A", "B"])})),
        ", row 1, column side: expected a number, got 'A'",
    ),
    "dates.parquet": (
        parquet(pd.DataFrame({"idvar": [1], "day": [pd.Timestamp("1914-08-01")]})),
        ", column day: expected numbers, got values of type datetime64",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path, name):
    content, expected = REFUSED[name]
    assert expected in error_of(put(tmp_path, name, content))


def test_a_parquet_file_with_a_name_twice(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet as pq

    pq.write_table(pa.table([[1], [2]], names=["idvar", "idvar"]), tmp_path / "a.parquet")
    assert ", header: expected each variable once, got 'idvar' twice" in error_of(tmp_path / "a.parquet")


def test_places_that_hold_no_file(tmp_path):
    (tmp_path / "folder.dta").mkdir()
    put(tmp_path, "coalition.dta", b"x")
    assert error_of(tmp_path / "folder.dta") == ": expected a data file, got a folder"
    assert (
        error_of(tmp_path / "coalitoin.dta")
        == ": expected a data file, got no such file. Did you mean 'coalition.dta'?"
    )
    assert "got no such file. There is no folder" in error_of(tmp_path / "nowhere" / "a.csv")
    assert "ends in one of .dta, .csv, .parquet, got a folder" in error_of(tmp_path)
    assert "got no such file" in error_of(tmp_path / "nothing")
    assert error_of(f"{tmp_path}/\0.dta").endswith("embedded null byte")


def test_a_file_that_cannot_be_opened(tmp_path, monkeypatch):
    path = put(tmp_path, "a.dta", stata(SMALL))

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert error_of(path) == ": expected a data file that can be read, got permission denied"


@pytest.mark.parametrize("version", [114, 118])
def test_no_cut_gives_other_rows(tmp_path, version):
    """Wherever a Stata file is cut, it is refused, or (old versions, behind the data) all rows are there."""
    content = stata(SMALL, version, value_labels={"withdraw": {0: "stays", 1: "leaves"}})
    whole = read_archive(put(tmp_path, "whole.dta", content)).frame
    for length in range(1, len(content), 37):
        found = frame_or_line(put(tmp_path, "cut.dta", content[:length]))
        if not isinstance(found, str):
            assert version == 114
            pd.testing.assert_frame_equal(found, whole)


@settings(deadline=None, max_examples=60)
@given(at=st.integers(0, 2_000), byte=st.integers(0, 255), version=st.sampled_from([114, 118]))
def test_a_damaged_stata_file_never_ends_in_a_traceback(tmp_path_factory, at, byte, version):
    content = bytearray(stata(SMALL, version))
    content[at % len(content)] = byte
    assert len(frame_or_line(put(tmp_path_factory.getbasetemp(), "damaged.dta", bytes(content)))) > 0


def test_versions_are_known_by_the_first_bytes():
    assert stata_version(stata(SMALL, 117)) == 117
    assert stata_version(stata(SMALL, 114)) == 114
    assert stata_version(b"s") is None
    assert stata_version(b"ship,year") is None


def test_the_schema_names_each_variable_once():
    assert len(set(VARIABLES)) == len(VARIABLES)
    assert all(name == name.lower() for name in VARIABLES)
    assert ".z" in MISSING_WORDS


def test_the_stored_file_is_small():
    assert FILE.stat().st_size < 300_000
    assert len(write_parquet(simulate())) < 1_000_000
