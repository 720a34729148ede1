"""Loading checks every cell and every table against the others, and says exactly what is wrong."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from pathlib import Path

import pytest

from coalition_exit.errors import RecordError
from coalition_exit.record.codebook import load_codebook
from coalition_exit.record.loading import load_record
from tiny_record import edit

# table, what is replaced, by what, parts of the message
FAULTS = [
    ("wars", "warnum,name", "warnun,name", ["wars.csv", "'warnum'"]),
    ("members", "5,1,10,100", "5,3,10,100", ["members.csv, row 2, column side", "one of 1, 2", "'3'"]),
    ("members", "5,1,20,32", "5,1,20,many", ["members.csv, row 3, column deaths", "a number", "'many'"]),
    ("members", "5,1,20,32", "5,1,20,-1", ["row 3, column deaths", "at least 0"]),
    ("members", "5,1,20,32", "5,1,20,inf", ["row 3, column deaths", "a number"]),
    ("members", "5,1,20,32", "5,1,10,32", ["members.csv, row 3", "occurs once", "5, 1, 10"]),
    ("members", "5,1,20,32", "5,1,21,32", ["members.csv, row 3, column ccode", "states.csv", "21"]),
    ("members", "5,1,20,32", "5.5,1,20,32", ["row 3, column warnum", "a whole number"]),
    ("members", "5,1,20,32", ",1,20,32", ["row 3, column warnum", "a value"]),
    ("spells", "1900-01-15,1900-01-20,1900", "1900-1-15,1900-01-20,1900", ["spells.csv, row 4", "YYYY-MM-DD", "1900-1-15"]),
    ("spells", "1900-01-15,1900-01-20,1900", "1900-02-30,1900-01-20,1900", ["row 4, column start", "YYYY-MM-DD"]),
    ("spells", "1900-01-03,1900-01-12", "1900-01-03,1900-01-02", ["row 3, column end", "not before the start 1900-01-03"]),
    ("spells", "It stopped a day early", "", ["spells.csv, row 3, column date_note", "departs from COW"]),
    ("spells", "5,1,20,2,1900-01-15,1900-01-20,1900-01-15", "5,1,20,2,1900-01-12,1900-01-20,1900-01-12", ["row 4, column start", "after the first"]),
    ("exits", "separate_peace", "seperate_peace", ["exits.csv, row 3, column mode", "Did you mean 'separate_peace'?"]),
    ("exits", "5,1,20,1,1900-01-12", "5,1,20,1,1900-01-11", ["exits.csv, row 3, column date", "1900-01-12"]),
    ("exits", "5,1,20,2,1900-01-20", "5,2,30,1,1900-01-20", ["exits.csv"]),
    ("exits", "It left,general_knowledge", "It left,general_knowlege", ["row 3, column basis", "Did you mean 'general_knowledge'?"]),
    ("exits", "It left,general_knowledge,high", "It left,general_knowledge,sure", ["row 3, column confidence", "high, medium, low"]),
    ("exits", "war_ended,no,no,own", "war_ended,yes,no,own", ["exits.csv, row 2, column fighting_stopped", "'no'", "1900-01-21"]),
    ("pullbacks", "5,1,10,1900-01-10", "5,1,10,1900-01-21", ["pullbacks.csv, row 2, column start", "at war", "1900-01-21"]),
    ("fronts", "5,south,South", "5,The South,South", ["fronts.csv, row 3, column front", "lower-case"]),
    ("deployments", "5,1,20,south", "5,1,20,suoth", ["deployments.csv, row 5, column front", "Did you mean 'south'?"]),
    ("deployments", "0.75", "0.8", ["deployments.csv", "sum to at most 1", "1.05"]),
    ("deployments", "5,1,10,south,1900-01-01", "5,1,10,north,1900-01-02", ["deployments.csv", "one row per front"]),
    ("deployments", "south,1900-01-05", "south,1900-01-06", ["deployments.csv, war 5, side 1, state 20", "1900-01-05"]),
    ("forces", "1900-01-20,100", "1900-01-19,100", ["forces.csv, war 5, side 1, state 20", "1900-01-20"]),
    ("aims", "5,1,10,1900-01-10", "5,1,10,1900-01-11", ["aims.csv, war 5, side 1, state 10", "1900-01-10"]),
    ("battles", "north,1900-01-02", "north,1899-12-31", ["battles.csv, row 2", "inside the front's"]),
    ("battles", "5,second,Second,south", "5,second,Second,sooth", ["battles.csv, row 3", "fronts.csv", "Did you mean 'south'?"]),
    ("losses", "5,second,1,20", "5,first,1,99", ["losses.csv", "99"]),
    ("losses", "5,second,1,20", "5,secnd,1,20", ["losses.csv, row 5", "battles.csv", "Did you mean 'second'?"]),
    ("cooperation", "5,1,10,20", "5,1,11,20", ["cooperation.csv, row 2", "members.csv"]),
    ("regimes", "20,1900,5", "20,1900,11", ["regimes.csv, row 3, column polity2", "at most 10"]),
    ("capabilities", "20,1900,0.1,5,500,,general_knowledge,high\n", "", ["capabilities.csv, state 20", "a row for 1900"]),
    ("regimes", "20,1900,5,,general_knowledge,high\n", "", ["regimes.csv, state 20", "a row for 1900"]),
    ("leaders", "Queen,1880-01-01", "Queen,1900-01-04", ["leaders.csv, state 20", "1900-01-03"]),
    ("agreements", "league,alliance", "league,aliance", ["agreements.csv, row 4, column kind", "Did you mean 'alliance'?"]),
    ("coalitions", "5,1,yes", "6,1,yes", ["coalitions.csv, row 2", "wars.csv"]),
    ("coalitions", "5,1,yes", "5,2,yes", ["two or more states"]),
    ("wars", "1900-01-01,1900-01-20", "1900-01-02,1900-01-20", ["wars.csv, row 2, column start", "1900-01-01"]),
]  # fmt: skip


def test_tiny_record_is_sound(tiny_folder: Path) -> None:
    record = load_record(tiny_folder)
    assert set(record) == set(load_codebook().tables)
    assert record.name_of(20) == "Beta"


@pytest.mark.parametrize(("table", "old", "new", "parts"), FAULTS, ids=lambda v: v if isinstance(v, str) else None)
def test_fault_is_named(tiny_folder: Path, table: str, old: str, new: str, parts: list[str]) -> None:
    edit(tiny_folder, table, old, new)
    with pytest.raises(RecordError) as caught:
        load_record(tiny_folder)
    message = str(caught.value)
    assert "\n" not in message
    assert all(part in message for part in parts), message


def test_missing_exit_is_named(tiny_folder: Path) -> None:
    path = tiny_folder / "exits.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(RecordError, match=r"spells.csv, row 4.*exactly one row of exits.csv"):
        load_record(tiny_folder)


def test_missing_table_and_folder_are_named(tiny_folder: Path) -> None:
    (tiny_folder / "aims.csv").unlink()
    with pytest.raises(RecordError, match=r"aims.csv: expected a table of the record, got no such file"):
        load_record(tiny_folder)
    with pytest.raises(RecordError, match="no such folder"):
        load_record(tiny_folder / "nowhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b.replace(b",", b";"), r"wars.csv, row 1: expected columns separated by commas, got semicolons$"),
        (lambda b: b.replace(b",", b"\t"), r"wars.csv, row 1: expected columns separated by commas, got tabs$"),
        (
            lambda b: b + b"6,\xfc\n",
            r"wars.csv, row 3: expected UTF-8 text, got the byte 0xfc\. Save it as CSV UTF-8\.$",
        ),
        (lambda b: b.replace(b",high", b",high,,"), r"wars.csv, row 2: expected 9 fields, got 11$"),
        (lambda b: b + b'6,"open\n', r"wars.csv, row 3: expected quotation marks in pairs$"),
        (lambda b: b.replace(b"note", b"name"), r"wars.csv, row 1: expected each column once, got 'name' twice$"),
        (lambda _: b"", r"wars.csv: expected a row with the columns' names, got an empty file$"),
    ],
    ids=["semicolons", "tabs", "encoding", "fields", "quotation", "column", "empty"],
)
def test_file_that_is_no_table_is_named(tiny_folder: Path, change: Callable[[bytes], bytes], message: str) -> None:
    path = tiny_folder / "wars.csv"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(RecordError, match=rf"^{message}"):
        load_record(tiny_folder)


def test_day_without_enemy_is_named(tiny_folder: Path) -> None:
    edit(tiny_folder, "spells", "5,2,30,1,1900-01-01,1900-01-20", "5,2,30,1,1900-01-01,1900-01-19")
    edit(
        tiny_folder,
        "spells",
        "1900-01-01,1900-01-20,,general_knowledge,high\n5,1,20",
        "1900-01-01,1900-01-20,,general_knowledge,high\n5,1,20",
    )
    edit(tiny_folder, "spells", "1900-01-19,1900-01-01,1900-01-20,", "1900-01-19,1900-01-01,1900-01-20,Early")
    with pytest.raises(RecordError, match=r"an enemy at war.*1900-01-20"):
        load_record(tiny_folder)


def test_line_ends_and_byte_order_marks_do_not_change_the_hash(tiny_folder: Path) -> None:
    before = load_record(tiny_folder)
    for path in tiny_folder.glob("*.csv"):
        path.write_bytes(codecs.BOM_UTF8 + path.read_bytes().replace(b"\n", b"\r\n"))
    after = load_record(tiny_folder)
    assert after.sha256 == before.sha256
    assert all(after[name].equals(before[name]) for name in before)


def test_unknown_table_gets_the_nearest_name(tiny_folder: Path) -> None:
    with pytest.raises(RecordError, match="Did you mean 'battles'"):
        load_record(tiny_folder)["battle"]
