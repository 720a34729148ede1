"""The record's tables against each other: keys, references, dates, shares, exits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from coalition_exit.errors import RecordError, nearest, one_of
from coalition_exit.record.cells import fail
from coalition_exit.record.codebook import NO_FRONT, Codebook, Table

_SHARE_TOLERANCE = 1e-6


def check_tables(tables: Mapping[str, pd.DataFrame], codebook: Codebook) -> None:
    """Check the typed tables against each other.

    Raises
    ------
    RecordError
        On a duplicate key, a reference to a row that does not exist, an unknown source, dates out
        of order, overlapping spells, shares above 1, uncovered days, a spell without its exit, or
        an exit at odds with the partners' spells.
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
    _check_sides(tables)
    _check_spells(tables["spells"])
    _check_enemies(tables["spells"])
    _check_exits(tables["exits"], tables["spells"], tables["coalitions"])
    _check_partners_after(tables["exits"], tables["spells"])
    _check_inside(tables)
    _check_pullbacks(tables["pullbacks"], tables["spells"])
    _check_deployments(tables["deployments"], tables["fronts"], tables["spells"])
    for name in ("capabilities", "regimes"):
        _check_years(tables[name], name, tables["spells"])
    _check_leaders(tables["leaders"], tables["spells"])
    _check_cover(tables["forces"], "forces", tables["spells"])
    _check_cover(tables["aims"], "aims", tables["spells"])


def _check_key(frame: pd.DataFrame, table: Table) -> None:
    twice = frame.duplicated(list(table.key))
    if twice.any():
        row = int(np.argmax(twice))
        got = ", ".join(str(v) for v in frame.loc[row, list(table.key)])
        fail(table.name, row, ", ".join(table.key), "a key that occurs once", got)


def _check_reference(
    frame: pd.DataFrame, name: str, columns: list[str], target: pd.DataFrame, described: Table
) -> None:
    target_columns = [c for c in described.key if c in columns] or list(described.key)
    known = set(map(tuple, target[target_columns].itertuples(index=False)))
    for row, value in enumerate(frame[columns].itertuples(index=False)):
        if tuple(value) not in known:
            got = ", ".join(str(v) for v in value)
            hint = nearest(str(value[-1]), [str(k[-1]) for k in known if k[:-1] == tuple(value)[:-1]])
            fail(name, row, ", ".join(columns), f"a row of {described.name}.csv", got, hint)


def _check_basis(frame: pd.DataFrame, name: str, sources: set[str]) -> None:
    for row, basis in enumerate(frame["basis"]):
        for key in str(basis).split(";"):
            if key.strip() not in sources:
                fail(name, row, "basis", "keys of sources.csv joined by ';'", basis, nearest(key, sources))


def _check_order(frame: pd.DataFrame, name: str) -> None:
    wrong = frame["end"] < frame["start"]
    if wrong.any():
        row = int(np.argmax(wrong))
        start = frame["start"].iloc[row].date()
        fail(name, row, "end", f"a date not before the start {start}", str(frame["end"].iloc[row].date()))


def _check_sides(tables: Mapping[str, pd.DataFrame]) -> None:
    """Coalitions are the sides with two or more states; every member has a spell; wars span their spells."""
    sizes = tables["members"].groupby(["warnum", "side"]).size()
    coded = set(map(tuple, tables["coalitions"][["warnum", "side"]].itertuples(index=False)))
    for row, side in enumerate(tables["coalitions"][["warnum", "side"]].itertuples(index=False)):
        if sizes.get(tuple(side), 0) < 2:
            fail("coalitions", row, "side", "a side with two or more states", sizes.get(tuple(side), 0))
    spells = _by_member(tables["spells"])
    for row, member in enumerate(tables["members"].itertuples(index=False)):
        if sizes[(member.warnum, member.side)] >= 2 and (member.warnum, member.side) not in coded:
            fail("members", row, "side", "a row of coalitions.csv for this side", f"war {member.warnum}, {member.side}")
        if (member.warnum, member.side, member.ccode) not in spells:
            fail("members", row, "ccode", "a row of spells.csv for this state", member.ccode)
    for row, war in enumerate(tables["wars"].itertuples(index=False)):
        own = tables["spells"][tables["spells"]["warnum"] == war.warnum]
        for column, date in (("start", own["start"].min()), ("end", own["end"].max())):
            if getattr(war, column) != date:
                expected = f"that of its spells, {date.date()}"
                fail("wars", row, column, expected, str(getattr(war, column).date()))


def _check_enemies(spells: pd.DataFrame) -> None:
    """On every day of a spell somebody on the other side is at war."""
    for row, spell in enumerate(spells.itertuples(index=False)):
        enemies = spells[(spells["warnum"] == spell.warnum) & (spells["side"] != spell.side)]
        missing = _first_gap(spell.start, spell.end, zip(enemies["start"], enemies["end"], strict=True))
        if missing is not None:
            fail("spells", row, "end", "an enemy at war on every day of the spell", f"none on {missing.date()}")


def _first_gap(
    start: pd.Timestamp, end: pd.Timestamp, spans: Iterable[tuple[pd.Timestamp, pd.Timestamp]]
) -> pd.Timestamp | None:
    """Return the first day from start to end that no span covers."""
    missing = start
    for first, last in sorted(spans):
        if first <= missing <= last:
            missing = last + pd.Timedelta(days=1)
    return missing if missing <= end else None


def _check_spells(spells: pd.DataFrame) -> None:
    departs = (spells["start"] != spells["cow_start"]) | (spells["end"] != spells["cow_end"])
    silent = departs & (spells["date_note"] == "")
    if silent.any():
        fail("spells", int(np.argmax(silent)), "date_note", "why a date departs from COW's", "")
    for _, group in spells.sort_values("start", kind="stable").groupby(["warnum", "side", "ccode"]):
        late = group["start"].to_numpy()[1:] <= group["end"].to_numpy()[:-1]
        if late.any():
            row = int(group.index[1 + int(np.argmax(late))])
            fail("spells", row, "start", "a second spell after the first", str(spells["start"].iloc[row].date()))


def _check_exits(exits: pd.DataFrame, spells: pd.DataFrame, coalitions: pd.DataFrame) -> None:
    sides = pd.MultiIndex.from_frame(coalitions[["warnum", "side"]])
    key = ["warnum", "side", "ccode", "spell"]
    ends = spells.set_index(key)["end"]
    coded = set(map(tuple, exits[key].itertuples(index=False)))
    for row, value in enumerate(spells[key].itertuples(index=False)):
        allied = (value[0], value[1]) in sides
        if allied and tuple(value) not in coded:
            expected = "exactly one row of exits.csv for each spell in a coalition"
            fail("spells", row, "spell", expected, f"none for {', '.join(map(str, value))}")
        if not allied and tuple(value) in coded:
            raise RecordError("exits.csv", "spells of a side with partners only", str(tuple(value)))
    for row, value in enumerate(exits[key].itertuples(index=False)):
        end = ends.loc[tuple(value)]
        if exits["date"].iloc[row] != end:
            fail("exits", row, "date", f"the end of the spell, {end.date()}", str(exits["date"].iloc[row].date()))


def _check_partners_after(exits: pd.DataFrame, spells: pd.DataFrame) -> None:
    """Fighting can be said to have stopped while a partner fought on only if one is at war on the day after."""
    sides: dict[tuple[int, int], list[tuple[int, pd.Timestamp, pd.Timestamp]]] = {}
    for spell in spells.itertuples(index=False):
        sides.setdefault((spell.warnum, spell.side), []).append((spell.ccode, spell.start, spell.end))
    for row, leaving in enumerate(exits.itertuples(index=False)):
        day = leaving.date + pd.Timedelta(days=1)
        side = sides[(leaving.warnum, leaving.side)]
        alone = not any(ccode != leaving.ccode and start <= day <= end for ccode, start, end in side)
        if leaving.fighting_stopped == "yes" and alone:
            fail("exits", row, "fighting_stopped", f"'no', since no partner is at war on {day.date()}", "yes")


def _check_pullbacks(pullbacks: pd.DataFrame, spells: pd.DataFrame) -> None:
    """A pull-back begins while the state is at war."""
    at_war = _by_member(spells)
    for row, part in enumerate(pullbacks.itertuples(index=False)):
        if not any(start <= part.start <= end for start, end in at_war[(part.warnum, part.side, part.ccode)]):
            fail("pullbacks", row, "start", "a day on which the state is at war", str(part.start.date()))


def _check_inside(tables: Mapping[str, pd.DataFrame]) -> None:
    """Battles lie inside their front's dates and losses fall on a side's days at war."""
    fronts = {(r.warnum, r.front): (r.start, r.end) for r in tables["fronts"].itertuples(index=False)}
    dates = {}
    for row, battle in enumerate(tables["battles"].itertuples(index=False)):
        start, end = fronts[(battle.warnum, battle.front)]
        dates[(battle.warnum, battle.battle)] = (battle.start, battle.end)
        if battle.start < start or battle.end > end:
            got = _span(battle.start, battle.end)
            fail("battles", row, "start", f"dates inside the front's, {_span(start, end)}", got)
    spells = _by_member(tables["spells"])
    for row, loss in enumerate(tables["losses"].itertuples(index=False)):
        first, last = dates[(loss.warnum, loss.battle)]
        own = spells[(loss.warnum, loss.side, loss.ccode)]
        if not any(start <= last and first <= end for start, end in own):
            got = f"{loss.battle}, {_span(first, last)}"
            fail("losses", row, "battle", "a battle within the state's days at war", got)


def _span(start: pd.Timestamp, end: pd.Timestamp) -> str:
    return f"{start.date()} to {end.date()}"


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
            fail("deployments", row, "front", one_of(sorted(here)), value[1], nearest(value[1], here))
    _check_cover(deployments, "deployments", spells)
    _check_shares(deployments)


def _check_shares(deployments: pd.DataFrame) -> None:
    """Shares of one member sum to at most 1 on every day, and no front is coded twice."""
    starts, ends = (deployments[c].to_numpy().astype("datetime64[D]") for c in ("start", "end"))
    shares, fronts = deployments["share"].to_numpy(), deployments["front"].to_numpy()
    for rows in deployments.groupby(["warnum", "side", "ccode"]).indices.values():
        # Sums change only where a row begins: entry (i, j) says that row j covers the first day of row i.
        covers = (starts[rows] <= starts[rows][:, None]) & (starts[rows][:, None] <= ends[rows])
        total = covers @ shares[rows]
        if (total > 1 + _SHARE_TOLERANCE).any():
            i = int(np.argmax(total > 1 + _SHARE_TOLERANCE))
            expected = f"shares on {starts[rows[i]]} that sum to at most 1"
            fail("deployments", int(rows[i]), "share", expected, round(float(total[i]), 4))
        twice = covers & (fronts[rows] == fronts[rows][:, None])
        if (twice.sum(axis=1) > 1).any():
            i = int(np.argmax(twice.sum(axis=1) > 1))
            fail("deployments", int(rows[i]), "front", f"one row per front on {starts[rows[i]]}", fronts[rows[i]])


def _check_years(frame: pd.DataFrame, name: str, spells: pd.DataFrame) -> None:
    """Every state has a row for every year of its spells: a missing one would change its side's sums."""
    known = set(zip(frame["ccode"], frame["year"], strict=True))
    for spell in spells.itertuples(index=False):
        for year in range(spell.start.year, spell.end.year + 1):
            if (spell.ccode, year) not in known:
                place = f"{name}.csv, state {spell.ccode}"
                raise RecordError(place, f"a row for {year} (war {spell.warnum})", "none")


def _check_leaders(leaders: pd.DataFrame, spells: pd.DataFrame) -> None:
    """Some leader is in office on the first day of every spell."""
    terms = {ccode: list(zip(group["start"], group["end"], strict=True)) for ccode, group in leaders.groupby("ccode")}
    for spell in spells.itertuples(index=False):
        if not any(start <= spell.start <= end for start, end in terms.get(spell.ccode, [])):
            place = f"leaders.csv, state {spell.ccode}"
            raise RecordError(place, f"a leader in office on {spell.start.date()} (war {spell.warnum})", "none")


def _check_cover(frame: pd.DataFrame, name: str, spells: pd.DataFrame) -> None:
    """Every day of every spell is covered by at least one row of the table."""
    dated = _by_member(frame)
    for spell in spells.itertuples(index=False):
        member = (spell.warnum, spell.side, spell.ccode)
        missing = _first_gap(spell.start, spell.end, dated.get(member, []))
        if missing is not None:
            place = f"{name}.csv, war {member[0]}, side {member[1]}, state {member[2]}"
            raise RecordError(
                place, f"rows for every day from {_span(spell.start, spell.end)}", f"none for {missing.date()}"
            )
