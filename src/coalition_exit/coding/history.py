"""The record laid out by day: for each war, arrays of members x days.

Every coding rule reads these arrays and returns one of its own, shape (members, days). Nothing here
decides what counts; it only says who was at war, where, with how much, on which day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coalition_exit.record.codebook import NO_FRONT
from coalition_exit.record.loading import Record

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Member = tuple[int, int]
T = TypeVar("T")
_TABLES = (
    "members", "spells", "deployments", "forces", "battles", "losses", "aims", "agreements", "cooperation", "fronts",
)  # fmt: skip
# A multiverse asks for thousands of columns and for many ways to count deaths; memory must not grow
# with them. Columns take some 1.4 MB each; deaths are kept by war, of which there are 38.
_MOST_KEPT = {
    "rule": 60,
    "variant": 2,
    "counted": 500,
    "pullbacks": 500,
    "daily_deaths": 40,
    "deaths_by_member": 120,
    "own_and_faced": 120,
}


@dataclass(frozen=True)
class Spell:
    """An unbroken participation, in indices into the war's days (inclusive).

    Attributes
    ----------
    number
        1, or 2 for COW's second spell.
    first, last
        First and last day at risk.
    fought_to
        Last day of fighting: ``last``, unless the state stays at risk until the peace.
    """

    number: int
    first: int
    last: int
    fought_to: int


@dataclass(frozen=True, eq=False)
class War:
    """One war by day: M members of both sides, T days, F fronts.

    Attributes
    ----------
    members
        (side, ccode) of each member, sides together.
    days
        Calendar days, shape (T,).
    spells
        Spells of each member, in order.
    rows
        The record's rows that belong to this war, by table, as named tuples.
    focus
        The only side whose members are subjects here, or 0 for both. A rule that restricts who is
        a partner gives each side a war of its own.
    """

    warnum: int
    members: tuple[Member, ...]
    days: NDArray[np.datetime64]
    spells: tuple[tuple[Spell, ...], ...]
    fronts: tuple[str, ...]
    rows: Mapping[str, tuple[Any, ...]] = field(repr=False)
    yearly: Mapping[str, Mapping[tuple[int, int], float]] = field(repr=False)
    leaders: Mapping[int, tuple[NDArray[np.datetime64], ...]] = field(repr=False)
    focus: int = 0

    @property
    def key(self) -> tuple[int, int]:
        """What tells this war from the others of its history."""
        return self.warnum, self.focus

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.members), len(self.days)

    @cached_property
    def side(self) -> NDArray[np.int64]:
        """Side of each member, shape (M,)."""
        return np.array([side for side, _ in self.members], dtype=np.int64)

    @cached_property
    def at_war(self) -> Bools:
        """Which members are at war on which day, or wait for the peace, shape (M, T)."""
        present = np.zeros(self.shape, dtype=bool)
        for i, spells in enumerate(self.spells):
            for spell in spells:
                present[i, spell.first : spell.last + 1] = True
        return present

    @cached_property
    def fought(self) -> Bools:
        """Which members are at war and fight on which day, shape (M, T)."""
        present = np.zeros(self.shape, dtype=bool)
        for i, spells in enumerate(self.spells):
            for spell in spells:
                present[i, spell.first : spell.fought_to + 1] = True
        return present

    @cached_property
    def years(self) -> NDArray[np.int64]:
        """Calendar year of each day, shape (T,)."""
        return self.days.astype("datetime64[Y]").astype(np.int64) + 1970

    @cached_property
    def deployment(self) -> Floats:
        """Share of each member's front-line troops by front and day, shape (M, F, T)."""
        shares = np.zeros((len(self.members), len(self.fronts), len(self.days)))
        index = {front: f for f, front in enumerate(self.fronts)}
        for row in self.rows["deployments"]:
            if row.front != NO_FRONT:
                span = self.span(row.start, row.end)
                shares[self.member(row.side, row.ccode), index[row.front], span] = row.share
        shares = np.where(self.at_war[:, None, :], shares, 0.0)
        for i, spell in self._waiting():
            shares[i, :, spell.fought_to + 1 : spell.last + 1] = shares[i, :, spell.fought_to, None]
        return shares

    @cached_property
    def soldiers(self) -> Floats:
        """Soldiers of each member in this war, shape (M, T); 0 when not at war."""
        return np.nan_to_num(self.dated("forces", lambda row: row.soldiers))

    def partners(self, i: int) -> NDArray[np.int64]:
        """Other members of the same side."""
        same = self.side == self.side[i]
        same[i] = False
        return np.flatnonzero(same)

    def opponents(self, i: int) -> NDArray[np.int64]:
        """Members of the other side."""
        return np.flatnonzero(self.side != self.side[i])

    def member(self, side: int, ccode: int) -> int:
        """Index of a member."""
        return self.members.index((int(side), int(ccode)))

    def span(self, start: pd.Timestamp, end: pd.Timestamp) -> slice:
        """Days from start to end (inclusive), as far as they fall into the war; NaT = to the end."""
        first = start.toordinal() - self._zero if start is not pd.NaT else 0
        last = end.toordinal() - self._zero if end is not pd.NaT else len(self.days) - 1
        return slice(max(first, 0), max(last + 1, 0))

    @cached_property
    def _zero(self) -> int:
        return int(self.days[0].astype(object).toordinal())

    def dated(self, table: str, value: Callable[..., float]) -> Floats:
        """Spread a dated table over days: shape (M, T), NaN where no row or not at war."""
        filled = np.full(self.shape, np.nan)
        for row in self.rows[table]:
            filled[self.member(row.side, row.ccode), self.span(row.start, row.end)] = value(row)
        filled = np.where(self.at_war, filled, np.nan)
        for i, spell in self._waiting():
            filled[i, spell.fought_to + 1 : spell.last + 1] = filled[i, spell.fought_to]
        return filled

    def by_year(self, quantity: str) -> Floats:
        """Yearly figure (cinc, tpop, polity2) of each member by day: (M, T), NaN where unknown."""
        figures = self.yearly[quantity]
        distinct, inverse = np.unique(self.years, return_inverse=True)
        rows = [[figures.get((ccode, int(year)), np.nan) for year in distinct] for _, ccode in self.members]
        values = np.where(self.at_war, np.array(rows)[:, inverse], np.nan)
        for i, spell in self._waiting():
            span = slice(spell.fought_to + 1, spell.last + 1)
            values[i, span] = np.where(np.isnan(values[i, span]), values[i, spell.fought_to], values[i, span])
        return values

    def _waiting(self) -> Iterator[tuple[int, Spell]]:
        """Spells at risk beyond the fighting: the record's facts end there, so the last ones hold on."""
        for i, spells in enumerate(self.spells):
            yield from ((i, spell) for spell in spells if spell.last > spell.fought_to)


@dataclass(frozen=True, eq=False)
class History:
    """All wars by day, and the results of rules already applied to them.

    Attributes
    ----------
    wars
        In the order of their numbers.
    coalitions
        (war, side) of the sides with two or more states.
    tables
        The record's tables.
    base
        The history as the record has it, where this one was made from it by a rule on who is a
        partner or on how long a war lasts; facts about exits are read there.
    """

    wars: tuple[War, ...]
    coalitions: frozenset[tuple[int, int]]
    tables: Mapping[str, pd.DataFrame] = field(repr=False)
    base: History | None = field(default=None, repr=False)
    _cache: dict[tuple[object, ...], object] = field(default_factory=dict, repr=False)

    def once(self, key: tuple[object, ...], compute: Callable[[], T]) -> T:
        """Return the stored result for a key, computing it the first time.

        Of the kinds that are many or large (the key's first part), the latest used are kept.
        """
        kind, most = key[0], _MOST_KEPT.get(str(key[0]))
        value = self._cache.pop(key) if key in self._cache else compute()
        self._cache[key] = value
        if most is not None:
            for old in [k for k in self._cache if k[0] == kind][:-most]:
                del self._cache[old]
        return value  # type: ignore[return-value]


def lay_out(record: Record, dates: str = "record") -> History:
    """Lay the record out by day.

    Parameters
    ----------
    record
        The coded facts.
    dates
        "record" for the record's dates of entry and exit, "cow" for those of COW's list.
    """
    start, end = ("start", "end") if dates == "record" else ("cow_start", "cow_end")
    capabilities, regimes = record["capabilities"], record["regimes"]
    yearly = {name: _yearly(capabilities, name) for name in ("cinc", "tpop")}
    yearly["polity2"] = _yearly(regimes, "polity2")
    leaders = {
        int(ccode): tuple(group.sort_values("start")[c].to_numpy().astype("datetime64[D]") for c in ("start", "end"))
        for ccode, group in record["leaders"].groupby("ccode")
    }
    rows = {name: _by_war(record[name]) for name in _TABLES}
    wars = [
        _war(int(warnum), {name: rows[name].get(int(warnum), ()) for name in _TABLES}, yearly, leaders, start, end)
        for warnum in record["wars"]["warnum"].sort_values()
    ]
    sides = frozenset((int(r.warnum), int(r.side)) for r in record["coalitions"].itertuples(index=False))
    return History(tuple(wars), sides, record.tables)


def _by_war(frame: pd.DataFrame) -> dict[int, tuple[Any, ...]]:
    rows: dict[int, list[Any]] = {}
    for row in frame.itertuples(index=False):
        rows.setdefault(int(row.warnum), []).append(row)
    return {warnum: tuple(own) for warnum, own in rows.items()}


def _yearly(frame: pd.DataFrame, column: str) -> dict[tuple[int, int], float]:
    rows = zip(frame["ccode"], frame["year"], frame[column], strict=True)
    return {(int(ccode), int(year)): float(value) for ccode, year, value in rows}


def _war(
    warnum: int,
    rows: Mapping[str, tuple[Any, ...]],
    yearly: Mapping[str, Mapping[tuple[int, int], float]],
    leaders: Mapping[int, tuple[NDArray[np.datetime64], ...]],
    start: str,
    end: str,
) -> War:
    members = tuple((int(r.side), int(r.ccode)) for r in rows["members"])
    dated: dict[Member, list[tuple[int, np.datetime64, np.datetime64]]] = {member: [] for member in members}
    for row in sorted(rows["spells"], key=lambda r: r.spell):
        span = (np.datetime64(getattr(row, start), "D"), np.datetime64(getattr(row, end), "D"))
        dated[(int(row.side), int(row.ccode))].append((int(row.spell), *span))
    zero = min(first for spells in dated.values() for _, first, _ in spells)
    last = max(last for spells in dated.values() for _, _, last in spells)
    return War(
        warnum=warnum,
        members=members,
        days=np.arange(zero, last + 1),
        spells=tuple(
            tuple(_spell(number, int((a - zero).astype(int)), int((b - zero).astype(int))) for number, a, b in dated[m])
            for m in members
        ),
        fronts=tuple(r.front for r in rows["fronts"]),
        rows=rows,
        yearly=yearly,
        leaders=leaders,
    )


def _spell(number: int, first: int, last: int) -> Spell:
    return Spell(number, first, last, last)
