"""Days on which states might have left instead.

Only the ends of spells in a coalition that did not end with the war are drawn, with a standard deviation by the
confidence of the row in ``exits.csv``. A date stays within what the other tables allow; it is moved to the nearest day
that is allowed:

- not before the spell's first day, nor before the first day of a battle in which the state is known to have lost men or
  of a pull-back;
- before the state's next spell, and within the years for which its capabilities and regime are coded;
- somebody of the other side is at war on every day of the spell, and of every other spell;
- where fighting is said to have stopped while partners fought on, a partner is at war on the day after, and none where
  the exit is said to have ended the war.

Exit, spell and war dates move together. Deployments, forces and aims, and agreements that ended that day, move along
when the end becomes later; what lies after an earlier end plays no part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coalition_exit.record.loading import Record
from coalition_exit.specs.robustness_blocks import Absence, DateSpread, Flips, LossSpread, ShareSpread
from coalition_exit.survival.data.surv import Floats, Integers

ByConfidence = Flips | DateSpread | ShareSpread | Absence | LossSpread
_COVERING = ("deployments", "forces", "aims")
_MEMBER = ["warnum", "side", "ccode"]
_NOTE = "Date drawn"
_FAR = 10**9


def by_confidence(frame: pd.DataFrame, block: ByConfidence) -> Floats:
    """Look up a number by each row's confidence, shape (n,)."""
    numbers = {"high": block.high, "medium": block.medium, "low": block.low}
    return np.asarray(frame["confidence"].map(numbers), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A spell whose end may move.

    Attributes
    ----------
    spell, exit
        Row in ``spells`` and in ``exits``.
    sd
        Standard deviation in days.
    earliest, latest
        Bounds that do not depend on other spells' ends (days since 1970).
    """

    spell: int
    exit: int
    sd: float
    earliest: int
    latest: int


class DatePlan:
    """Which ends may move and how far.

    Parameters
    ----------
    record
        The coded facts.
    spread
        Standard deviations by confidence.
    """

    def __init__(self, record: Record, spread: DateSpread) -> None:
        self.record = record
        spells, exits = record["spells"], record["exits"]
        self.start, self.end = _days(spells["start"]), _days(spells["end"])
        self.war, self.side, self.ccode = (spells[name].to_numpy() for name in _MEMBER)
        self.battles = _battle_spans(record)
        self.pullbacks: dict[tuple[int, int, int], list[int]] = {}
        pullbacks = record["pullbacks"]
        for key, day in zip(_keys(pullbacks, _MEMBER), _days(pullbacks["start"]), strict=True):
            self.pullbacks.setdefault(key, []).append(int(day))
        self.covering = {name: _Covering(record[name]) for name in _COVERING}
        where = {key: row for row, key in enumerate(_keys(spells, [*_MEMBER, "spell"]))}
        self.spell_of_exit = np.array([where[key] for key in _keys(exits, [*_MEMBER, "spell"])], dtype=np.int64)
        sd = by_confidence(exits, spread)
        self.candidates = [
            self._candidate(where[key], row, float(sd[row]))
            for row, key in enumerate(_keys(exits, [*_MEMBER, "spell"]))
            if sd[row] > 0 and exits["mode"].iloc[row] != "war_ended"
        ]

    def _candidate(self, spell: int, row: int, sd: float) -> Candidate:
        member = (int(self.war[spell]), int(self.side[spell]), int(self.ccode[spell]))
        own = (self.war == member[0]) & (self.side == member[1]) & (self.ccode == member[2])
        start, end = int(self.start[spell]), int(self.end[spell])
        earliest = start
        for first, last in self.battles.get(member, []):
            elsewhere = own & (self.start <= last) & (self.end >= first)
            elsewhere[spell] = False
            if first <= end and last >= start and not elsewhere.any():
                earliest = max(earliest, min(first, end))
        earliest = max([earliest, *(day for day in self.pullbacks.get(member, []) if start <= day <= end)])
        latest = self._last_coded_year(member[2], end)
        later = self.start[own & (self.start > end)]
        latest = min(latest, int(later.min()) - 1) if len(later) else latest
        for covering in self.covering.values():
            latest = min(latest, covering.free_until(member, end))
        return Candidate(spell, row, sd, earliest, max(latest, end))

    def _last_coded_year(self, ccode: int, end: int) -> int:
        coded = [set(t.loc[t["ccode"] == ccode, "year"]) for t in (self.record["capabilities"], self.record["regimes"])]
        year = int(_date(end).astype("datetime64[Y]").astype(int)) + 1970
        while all(year + 1 in years for years in coded):
            year += 1
        return int(np.datetime64(f"{year}-12-31", "D").astype(np.int64))

    def _followed(self, spell: int, ends: Integers) -> bool:
        """Say whether a partner is at war on the day after a spell ends."""
        day = ends[spell] + 1
        partners = (self.war == self.war[spell]) & (self.side == self.side[spell]) & (self.ccode != self.ccode[spell])
        return bool((partners & (self.start <= day) & (ends >= day)).any())

    def _said(self, exits: pd.DataFrame) -> dict[int, bool]:
        """What is said of the day after: spells whose partners fought on (True), and that ended the war (False)."""
        stopped, ended = (exits[name].to_numpy() == "yes" for name in ("fighting_stopped", "ended_war"))
        said = {int(self.spell_of_exit[row]): bool(stopped[row]) for row in np.flatnonzero(stopped | ended)}
        # What does not hold of the dates as coded cannot be kept.
        return {spell: followed for spell, followed in said.items() if self._followed(spell, self.end) == followed}

    def draw(self, tables: dict[str, pd.DataFrame], rng: np.random.Generator) -> dict[str, pd.DataFrame]:
        """Return the tables that change when the ends are drawn once."""
        ends = self.end.copy()
        shifts = np.rint(rng.standard_normal(len(self.candidates)) * [c.sd for c in self.candidates]).astype(np.int64)
        said = self._said(tables["exits"])
        for candidate, shift in zip(self.candidates, shifts, strict=True):
            new = self._allowed(candidate, int(self.end[candidate.spell] + shift), ends)
            self._move(candidate.spell, new, ends, said)
        moved = np.flatnonzero(ends != self.end)
        return self._write(tables, ends, moved) if len(moved) else {}

    def _allowed(self, candidate: Candidate, wanted: int, ends: Integers) -> int:
        spell, old = candidate.spell, int(self.end[candidate.spell])
        new = min(max(wanted, candidate.earliest), candidate.latest)
        enemies = (self.war == self.war[spell]) & (self.side != self.side[spell])
        if new > old:
            days = np.arange(old + 1, new + 1)
            alone = ~self._covered(enemies, ends, days)
            return int(days[np.argmax(alone)]) - 1 if alone.any() else new
        others = (self.war == self.war[spell]) & (self.side == self.side[spell])
        others[spell] = False
        days = np.arange(new + 1, old + 1)
        needed = self._covered(enemies, ends, days) & ~self._covered(others, ends, days)
        return int(days[needed].max()) if needed.any() else new

    def _move(self, spell: int, new: int, ends: Integers, said: dict[int, bool]) -> None:
        """Move an end as far towards a day as what is said of its side's exits allows; its old day always is."""
        old = int(ends[spell])
        side = (self.war == self.war[spell]) & (self.side == self.side[spell])
        asked = [one for one in said if side[one]]
        for day in range(new, old, -1 if new > old else 1):
            ends[spell] = day
            if all(self._followed(one, ends) == said[one] for one in asked):
                return
        ends[spell] = old

    def _covered(self, spells: NDArray[np.bool_], ends: Integers, days: Integers) -> NDArray[np.bool_]:
        at = np.flatnonzero(spells)
        return np.asarray(((self.start[at] <= days[:, None]) & (days[:, None] <= ends[at])).any(axis=1))

    def _write(self, tables: dict[str, pd.DataFrame], ends: Integers, moved: Integers) -> dict[str, pd.DataFrame]:
        spells, exits, wars = (tables[name].copy() for name in ("spells", "exits", "wars"))
        spells["end"] = _dates(ends, spells["end"])
        noted = spells["date_note"].to_numpy(dtype=object).copy()
        noted[moved] = [f"{note}; {_NOTE.lower()}" if note else _NOTE for note in noted[moved]]
        spells["date_note"] = noted.astype(str)
        dates = _days(exits["date"])
        chosen = {c.spell: c.exit for c in self.candidates}
        for spell in moved:
            dates[chosen[int(spell)]] = ends[spell]
        exits["date"] = _dates(dates, exits["date"])
        last = pd.Series(ends).groupby(self.war).max()
        wars["end"] = _dates(last.loc[wars["warnum"]].to_numpy(), wars["end"])
        found = {"spells": spells, "exits": exits, "wars": wars}
        later = [(self._member(s), int(self.end[s]), int(ends[s])) for s in moved if ends[s] > self.end[s]]
        for name, covering in self.covering.items():
            found[name] = covering.extended(tables[name], later)
        found["agreements"] = _prolonged(tables["agreements"], later)
        return found

    def _member(self, spell: int) -> tuple[int, int, int]:
        return int(self.war[spell]), int(self.side[spell]), int(self.ccode[spell])


class _Covering:
    """A dated table whose rows must cover every day of a spell."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.start, self.end = _days(frame["start"]), _days(frame["end"])
        groups: Any = frame.groupby(_MEMBER).indices
        self.rows: dict[tuple[int, int, int], Integers] = {
            (int(war), int(side), int(ccode)): np.asarray(rows) for (war, side, ccode), rows in groups.items()
        }

    def _covering(self, member: tuple[int, int, int], day: int) -> Integers:
        own = self.rows[member]
        return own[(self.start[own] <= day) & (self.end[own] >= day)]

    def free_until(self, member: tuple[int, int, int], end: int) -> int:
        """Last day to which the rows that cover ``end`` may be prolonged without meeting another row."""
        own = self.rows[member]
        later = self.start[own][self.start[own] > end]
        return int(later.min()) - 1 if len(later) else _FAR

    def extended(self, frame: pd.DataFrame, later: list[tuple[tuple[int, int, int], int, int]]) -> pd.DataFrame:
        ends = self.end.copy()
        for member, old, new in later:
            rows = self._covering(member, old)
            ends[rows] = np.maximum(ends[rows], new)
        return frame.assign(end=_dates(ends, frame["end"]))


def _prolonged(agreements: pd.DataFrame, later: list[tuple[tuple[int, int, int], int, int]]) -> pd.DataFrame:
    """Let agreements that ended with a state's exit end with its later exit."""
    ends = agreements["end"].copy()
    for (war, side, ccode), old, new in later:
        own = (agreements["warnum"] == war) & (agreements["side"] == side) & (agreements["ccode"] == ccode)
        ends[own & (agreements["end"] == pd.Timestamp(_date(old)))] = pd.Timestamp(_date(new))
    return agreements.assign(end=ends)


def _battle_spans(record: Record) -> dict[tuple[int, int, int], list[tuple[int, int]]]:
    battles = record["battles"]
    spans = dict(
        zip(
            _keys(battles, ["warnum", "battle"]),
            zip(_days(battles["start"]), _days(battles["end"]), strict=True),
            strict=True,
        )
    )
    found: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
    for loss in record["losses"].itertuples(index=False):
        first, last = spans[(loss.warnum, loss.battle)]
        found.setdefault((int(loss.warnum), int(loss.side), int(loss.ccode)), []).append((int(first), int(last)))
    return found


def _keys(frame: pd.DataFrame, columns: list[str]) -> list[tuple[Any, ...]]:
    return list(frame[columns].itertuples(index=False, name=None))


def _days(dates: pd.Series) -> Integers:
    return np.asarray(dates.to_numpy().astype("datetime64[D]").astype(np.int64))


def _date(day: int) -> np.datetime64:
    return np.datetime64(int(day), "D")


def _dates(days: Integers, like: pd.Series) -> pd.Series:
    return pd.Series(days.astype("datetime64[D]").astype(like.dtype), index=like.index)
