"""Checks on the record: every cell against the codebook, then the tables against each other."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd

from coalition_exit.errors import RecordError, nearest, one_of
from coalition_exit.record.codebook import Codebook, Column, Table

NO_FRONT = "none"
_SLUG = re.compile(r"[a-z0-9_]+\Z")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}\Z")
_SHARE_TOLERANCE = 1e-6


def _fail(table: str, row: int, column: str, expected: str, got: object, hint: str = "") -> None:
    # Row numbers count as a spreadsheet does: the header is row 1.
    raise RecordError(f"{table}.csv, row {row + 2}, column {column}", expected, repr(got), hint)


def convert_table(raw: pd.DataFrame, table: Table) -> pd.DataFrame:
    """Turn a table of strings into typed columns.

    Parameters
    ----------
    raw
        One string per cell, "" where empty, columns as in the file.
    table
        The codebook's description.

    Returns
    -------
    pandas.DataFrame
        int64, float64 (empty = NaN), datetime64 (empty = NaT) or str columns.

    Raises
    ------
    RecordError
        On a missing or unknown column, or on the first cell that breaks the codebook.
    """
    for name in table.column_names:
        if name not in raw.columns:
            raise RecordError(f"{table.name}.csv", f"a column {name!r}", one_of(raw.columns, 30))
    for name in raw.columns:
        if name not in table.column_names:
            hint = nearest(name, table.column_names)
            raise RecordError(f"{table.name}.csv", one_of(table.column_names, 30), repr(name), hint)
    typed = {c.name: _convert_column(raw[c.name], table.name, c) for c in table.columns}
    return pd.DataFrame(typed)


def _convert_column(cells: pd.Series, table: str, column: Column) -> pd.Series:
    empty = cells == ""
    if empty.any() and not column.optional:
        _fail(table, int(np.argmax(empty)), column.name, "a value", "")
    if column.type == "date":
        return _convert_dates(cells, empty, table, column)
    if column.type in ("int", "number"):
        return _convert_numbers(cells, empty, table, column)
    bad = ~empty & ~cells.map(lambda s: bool(_SLUG.match(s))) if column.type == "slug" else empty & False
    if bad.any():
        row = int(np.argmax(bad))
        _fail(table, row, column.name, "lower-case letters, digits and '_'", cells.iloc[row])
    if column.values is not None:
        bad = ~empty & ~cells.isin([str(v) for v in column.values])
        if bad.any():
            row = int(np.argmax(bad))
            got = cells.iloc[row]
            _fail(table, row, column.name, one_of(column.values), got, nearest(got, column.values))
    return cells.astype(str)


def _convert_dates(cells: pd.Series, empty: pd.Series, table: str, column: Column) -> pd.Series:
    dates = pd.to_datetime(cells.where(~empty), format="%Y-%m-%d", errors="coerce").astype("datetime64[s]")
    bad = ~empty & (dates.isna() | ~cells.map(lambda s: bool(_DATE.match(s))))
    if bad.any():
        row = int(np.argmax(bad))
        _fail(table, row, column.name, "a date YYYY-MM-DD", cells.iloc[row])
    return dates


def _convert_numbers(cells: pd.Series, empty: pd.Series, table: str, column: Column) -> pd.Series:
    numbers = pd.to_numeric(cells.where(~empty), errors="coerce").astype(float)
    bad = ~empty & ~np.isfinite(numbers)
    expected = "a number"
    if column.type == "int":
        bad |= ~empty & (numbers != np.floor(numbers))
        expected = "a whole number"
    if column.values is not None and not bad.any():
        bad = ~empty & ~numbers.isin([float(v) for v in column.values])
        expected = one_of(column.values)
    if column.min is not None and not bad.any():
        bad = numbers < column.min
        expected = f"at least {column.min:g}"
    if column.max is not None and not bad.any():
        bad = numbers > column.max
        expected = f"at most {column.max:g}"
    if bad.any():
        row = int(np.argmax(bad))
        _fail(table, row, column.name, expected, cells.iloc[row])
    if column.type == "int" and not empty.any():
        return numbers.astype(np.int64)
    return numbers


def check_tables(tables: Mapping[str, pd.DataFrame], codebook: Codebook) -> None:
    """Check the typed tables against each other.

    Raises
    ------
    RecordError
        On a duplicate key, a reference to a row that does not exist, an unknown source, dates out
        of order, overlapping spells, shares above 1, uncovered days, or a spell without its exit.
    """
    for table in codebook.tables.values():
        frame = tables[table.name]
        _check_key(frame, table)
        for columns, target in table.refs:
            _check_reference(frame, table.name, list(columns), tables[target], codebook.tables[target])
        if "basis" in frame.columns:
            _check_basis(frame, table.name, set(tables["sources"]["source"]))
        if {"start", "end"} <= set(frame.columns):
            _check_order(frame, table.name)
    _check_spells(tables["spells"])
    _check_exits(tables["exits"], tables["spells"], tables["coalitions"])
    _check_inside(tables)
    _check_deployments(tables["deployments"], tables["fronts"], tables["spells"])
    _check_cover(tables["forces"], "forces", tables["spells"])
    _check_cover(tables["aims"], "aims", tables["spells"])


def _check_key(frame: pd.DataFrame, table: Table) -> None:
    twice = frame.duplicated(list(table.key))
    if twice.any():
        row = int(np.argmax(twice))
        got = ", ".join(str(v) for v in frame.loc[row, list(table.key)])
        _fail(table.name, row, ", ".join(table.key), "a key that occurs once", got)


def _check_reference(
    frame: pd.DataFrame, name: str, columns: list[str], target: pd.DataFrame, described: Table
) -> None:
    target_columns = [c for c in described.key if c in columns] or list(described.key)
    known = set(map(tuple, target[target_columns].itertuples(index=False)))
    for row, value in enumerate(frame[columns].itertuples(index=False)):
        if tuple(value) not in known:
            got = ", ".join(str(v) for v in value)
            hint = nearest(str(value[-1]), [str(k[-1]) for k in known if k[:-1] == tuple(value)[:-1]])
            _fail(name, row, ", ".join(columns), f"a row of {described.name}.csv", got, hint)


def _check_basis(frame: pd.DataFrame, name: str, sources: set[str]) -> None:
    for row, basis in enumerate(frame["basis"]):
        for key in str(basis).split(";"):
            if key.strip() not in sources:
                _fail(name, row, "basis", "keys of sources.csv joined by ';'", basis, nearest(key, sources))


def _check_order(frame: pd.DataFrame, name: str) -> None:
    wrong = frame["end"] < frame["start"]
    if wrong.any():
        row = int(np.argmax(wrong))
        start = frame["start"].iloc[row].date()
        _fail(name, row, "end", f"a date not before the start {start}", str(frame["end"].iloc[row].date()))


def _check_spells(spells: pd.DataFrame) -> None:
    departs = (spells["start"] != spells["cow_start"]) | (spells["end"] != spells["cow_end"])
    silent = departs & (spells["date_note"] == "")
    if silent.any():
        _fail("spells", int(np.argmax(silent)), "date_note", "why a date departs from COW's", "")
    for _, group in spells.sort_values("start", kind="stable").groupby(["warnum", "side", "ccode"]):
        late = group["start"].to_numpy()[1:] <= group["end"].to_numpy()[:-1]
        if late.any():
            row = int(group.index[1 + int(np.argmax(late))])
            _fail("spells", row, "start", "a second spell after the first", str(spells["start"].iloc[row].date()))


def _check_exits(exits: pd.DataFrame, spells: pd.DataFrame, coalitions: pd.DataFrame) -> None:
    sides = pd.MultiIndex.from_frame(coalitions[["warnum", "side"]])
    key = ["warnum", "side", "ccode", "spell"]
    ends = spells.set_index(key)["end"]
    coded = set(map(tuple, exits[key].itertuples(index=False)))
    for row, value in enumerate(spells[key].itertuples(index=False)):
        allied = (value[0], value[1]) in sides
        if allied and tuple(value) not in coded:
            _fail("spells", row, "spell", "exactly one row of exits.csv for each spell in a coalition", tuple(value))
        if not allied and tuple(value) in coded:
            raise RecordError("exits.csv", "spells of a side with partners only", str(tuple(value)))
    for row, value in enumerate(exits[key].itertuples(index=False)):
        end = ends.loc[tuple(value)]
        if exits["date"].iloc[row] != end:
            _fail("exits", row, "date", f"the end of the spell, {end.date()}", str(exits["date"].iloc[row].date()))


def _check_inside(tables: Mapping[str, pd.DataFrame]) -> None:
    """Battles lie inside their front's dates and losses fall on a side's days at war."""
    battles, fronts = tables["battles"], tables["fronts"].set_index(["warnum", "front"])
    for row, battle in enumerate(battles.itertuples(index=False)):
        front = fronts.loc[(battle.warnum, battle.front)]
        if battle.start < front["start"] or battle.end > front["end"]:
            span = f"{front['start'].date()} to {front['end'].date()}"
            _fail("battles", row, "start", f"dates inside the front's, {span}", f"{battle.start.date()} to {battle.end.date()}")
    spells = _by_member(tables["spells"])
    dates = battles.set_index(["warnum", "battle"])
    for row, loss in enumerate(tables["losses"].itertuples(index=False)):
        battle = dates.loc[(loss.warnum, loss.battle)]
        own = spells[(loss.warnum, loss.side, loss.ccode)]
        if not any(start <= battle["end"] and battle["start"] <= end for start, end in own):
            span = f"{battle['start'].date()} to {battle['end'].date()}"
            _fail("losses", row, "battle", "a battle within the state's days at war", f"{loss.battle}, {span}")


def _by_member(frame: pd.DataFrame) -> dict[tuple[int, int, int], list[tuple[pd.Timestamp, pd.Timestamp]]]:
    found: dict[tuple[int, int, int], list[tuple[pd.Timestamp, pd.Timestamp]]] = {}
    for row in frame.itertuples(index=False):
        found.setdefault((row.warnum, row.side, row.ccode), []).append((row.start, row.end))
    return found


def _check_deployments(deployments: pd.DataFrame, fronts: pd.DataFrame, spells: pd.DataFrame) -> None:
    known = set(map(tuple, fronts[["warnum", "front"]].itertuples(index=False)))
    for row, value in enumerate(deployments[["warnum", "front"]].itertuples(index=False)):
        if value[1] != NO_FRONT and tuple(value) not in known:
            here = [f for w, f in known if w == value[0]]
            _fail("deployments", row, "front", one_of(sorted(here)), value[1], nearest(value[1], here))
    _check_cover(deployments, "deployments", spells)
    for _, group in deployments.groupby(["warnum", "side", "ccode"]):
        _check_shares(group)


def _check_shares(group: pd.DataFrame) -> None:
    """Shares of one member sum to at most 1 on every day, and no front is coded twice."""
    for row in group.itertuples():
        same_day = group[(group["start"] <= row.start) & (group["end"] >= row.start)]
        total = same_day["share"].sum()
        if total > 1 + _SHARE_TOLERANCE:
            _fail("deployments", row.Index, "share", f"shares on {row.start.date()} that sum to at most 1", round(total, 4))
        if same_day["front"].duplicated().any():
            _fail("deployments", row.Index, "front", f"one row per front on {row.start.date()}", row.front)


def _check_cover(frame: pd.DataFrame, name: str, spells: pd.DataFrame) -> None:
    """Every day of every spell is covered by at least one row of the table."""
    dated = _by_member(frame)
    day = pd.Timedelta(days=1)
    for spell in spells.itertuples(index=False):
        member = (spell.warnum, spell.side, spell.ccode)
        missing = spell.start
        for start, end in sorted(dated.get(member, [])):
            if start <= missing <= end:
                missing = end + day
        if missing <= spell.end:
            place = f"{name}.csv, war {member[0]}, side {member[1]}, state {member[2]}"
            span = f"{spell.start.date()} to {spell.end.date()}"
            raise RecordError(place, f"rows for every day from {span}", f"none for {missing.date()}")
