"""Records that historians might have coded instead: contested facts drawn as their confidence implies.

Each kind of fact has random numbers of its own, so that draw k of one kind is the same whether other kinds are
drawn with it or not. What is drawn, and how:

- *exits*: attributes of ``exits.csv`` flip with a probability by the row's confidence; "unclear" is read either way.
  ``fighting_stopped`` and ``ended_war`` stay as they are for states that fought to the common end; they are never both
  "yes"; fighting can be said to have stopped only where a partner was at war on the day after, and the war to have
  been ended only where none was.
- *dates*: the ends of spells that did not end with the war move by a normal number of days (module `exit_dates`).
- *fronts*: on each stretch of days a state's shares are multiplied by exp(normal) and scaled back to their sum; a row
  may be absent altogether where the state had troops elsewhere. A state on a single front keeps its share.
- *losses*: numbers in battles and whole-war totals are multiplied by exp(normal). The scaling of battles to totals is
  the coding rules' and applies to the drawn numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from coalition_exit.errors import DataError, one_of
from coalition_exit.record.loading import Record
from coalition_exit.robustness.exit_dates import DatePlan, by_confidence
from coalition_exit.specs.robustness_blocks import KINDS, Uncertainty
from coalition_exit.survival.data.surv import Floats

ONE_DAY = np.timedelta64(1, "D")
# What a flipped value becomes; "unclear" becomes the first or the second of ``READINGS``.
OTHER = {"yes": "no", "no": "yes", "own": "forced", "forced": "own", "whole": "part", "part": "whole"}
READINGS = {"choice": ("own", "forced")}
_YES_NO = ("yes", "no")
_TO_THE_END = "war_ended"
_KEY = ["warnum", "side", "ccode"]


class RecordDrawer:
    """Draws records; what does not depend on the draw is worked out once.

    Parameters
    ----------
    record
        The coded facts, never changed.
    parameters
        What confidence is taken to mean.
    """

    def __init__(self, record: Record, parameters: Uncertainty) -> None:
        self.record, self.parameters = record, parameters
        self.dates = DatePlan(record, parameters.dates)
        self.segments = _Segments(record["deployments"])
        self.partner_after = _partner_after(record)

    def draw(self, seed: int, number: int = 0, kinds: Sequence[str] = KINDS) -> Record:
        """Return one drawn record.

        Parameters
        ----------
        seed, number
            The draw is `number` of the sequence that the seed begins.
        kinds
            Kinds of facts to draw; the others stay as coded.
        """
        for kind in kinds:
            if kind not in KINDS:
                raise DataError("kinds", one_of(KINDS), repr(kind))
        tables = dict(self.record.tables)
        work = {"exits": self._exits, "dates": self._dates, "fronts": self._fronts, "losses": self._losses}
        for position, kind in enumerate(KINDS):
            if kind in kinds:
                rng = np.random.default_rng(np.random.SeedSequence([seed, number, position]))
                tables |= work[kind](tables, rng)
        label = "|".join(
            [self.record.sha256, self.parameters.model_dump_json(), str(seed), str(number), *sorted(kinds)]
        )
        sha256 = hashlib.sha256(label.encode()).hexdigest()
        note = f"{self.record.status}; contested facts drawn ({', '.join(kinds)}; seed {seed}, draw {number})"
        return Record(MappingProxyType(tables), sha256, self.record.folder, note)

    def may_flip(self, row: int, column: str) -> bool:
        """Say whether a fact of a row of ``exits.csv`` can be drawn the other way, whatever its confidence."""
        return bool(self._open(self.record["exits"], column)[row])

    def _open(self, exits: pd.DataFrame, column: str) -> Any:
        """Which rows may flip in a column, shape (n,)."""
        if column not in ("fighting_stopped", "ended_war"):
            return np.ones(len(exits), dtype=bool)
        no = (exits[column] == "no").to_numpy()
        may = (exits["mode"] != _TO_THE_END).to_numpy() & ~(no & (exits[_twin(column)] == "yes").to_numpy())
        possible = self.partner_after if column == "fighting_stopped" else ~self.partner_after
        return may & ~(no & ~possible)

    def _exits(self, tables: dict[str, pd.DataFrame], rng: np.random.Generator) -> dict[str, pd.DataFrame]:
        exits = tables["exits"].copy()
        probability = by_confidence(exits, self.parameters.flips)
        for column in self.parameters.attributes:
            coded = exits[column].to_numpy(dtype=object)
            uniform, second = rng.random((2, len(exits)))
            flips = (uniform < probability) & self._open(exits, column)
            exits[column] = _flipped(column, coded, flips, second, self.parameters.unclear).astype(str)
        return {"exits": exits}

    def _dates(self, tables: dict[str, pd.DataFrame], rng: np.random.Generator) -> dict[str, pd.DataFrame]:
        return self.dates.draw(tables, rng)

    def _fronts(self, tables: dict[str, pd.DataFrame], rng: np.random.Generator) -> dict[str, pd.DataFrame]:
        deployments = tables["deployments"]
        spread = by_confidence(deployments, self.parameters.shares)
        absent = by_confidence(deployments, self.parameters.absent)
        factor = np.exp(spread * rng.standard_normal(len(deployments)))
        factor[rng.random(len(deployments)) < absent] = 0.0
        return {"deployments": self.segments.drawn(deployments, factor)}

    def _losses(self, tables: dict[str, pd.DataFrame], rng: np.random.Generator) -> dict[str, pd.DataFrame]:
        found = {}
        for name, column in (("losses", "number"), ("members", "deaths")):
            frame = tables[name].copy()
            spread = by_confidence(frame, self.parameters.losses)
            frame[column] = frame[column] * np.exp(spread * rng.standard_normal(len(frame)))
            found[name] = frame
        return found


def draw_record(
    record: Record, parameters: Uncertainty, seed: int, number: int = 0, kinds: Sequence[str] | None = None
) -> Record:
    """Draw one record whose contested facts are as their confidence implies.

    It passes the checks of `coalition_exit.record.consistency`. For many draws keep a `RecordDrawer`.

    Raises
    ------
    DataError
        An unknown kind of fact.
    """
    return RecordDrawer(record, parameters).draw(seed, number, parameters.kinds if kinds is None else kinds)


def _twin(column: str) -> str:
    return "ended_war" if column == "fighting_stopped" else "fighting_stopped"


def _flipped(column: str, coded: Any, flips: Any, second: Floats, unclear: float) -> Any:
    first, other = READINGS.get(column, _YES_NO)
    new = coded.copy()
    known = flips & (coded != "unclear")
    new[known] = [OTHER.get(value, value) for value in coded[known]]
    if column == "aims_reached":
        # Next to "partly" stand both; next to yes and no stands "partly".
        new[known] = "partly"
        partly = known & (coded == "partly")
        new[partly] = np.where(second[partly] < 0.5, first, other)
    vague = coded == "unclear"
    new[vague] = np.where(second[vague] < unclear, first, other)
    return new


def _partner_after(record: Record) -> Any:
    """Which exits have a partner at war on the day after, shape (n,)."""
    spells = record["spells"]
    found = []
    for row in record["exits"].itertuples(index=False):
        day = row.date + pd.Timedelta(days=1)
        partners = (spells["warnum"] == row.warnum) & (spells["side"] == row.side) & (spells["ccode"] != row.ccode)
        found.append(bool((partners & (spells["start"] <= day) & (spells["end"] >= day)).any()))
    return np.array(found)


class _Segments:
    """Deployments cut where any row of the same state begins or ends: K pieces of rows, S stretches of days."""

    def __init__(self, deployments: pd.DataFrame) -> None:
        rows, stretch, starts, ends, count = [], [], [], [], 0
        first, last = (deployments[c].to_numpy().astype("datetime64[D]") for c in ("start", "end"))
        for own in deployments.groupby(_KEY, sort=False).indices.values():
            edges = np.unique(np.concatenate([first[own], last[own] + ONE_DAY]))
            for begin, end in zip(edges[:-1], edges[1:] - ONE_DAY, strict=True):
                inside = own[(first[own] <= begin) & (last[own] >= end)]
                if len(inside):
                    rows += inside.tolist()
                    stretch += [count] * len(inside)
                    starts += [begin] * len(inside)
                    ends += [end] * len(inside)
                    count += 1
        self.rows, self.stretch, self.n_stretch = np.array(rows), np.array(stretch), count
        self.offset = np.array(starts, dtype="datetime64[D]") - first[self.rows]
        self.before_end = last[self.rows] - np.array(ends, dtype="datetime64[D]")

    def drawn(self, deployments: pd.DataFrame, factor: Floats) -> pd.DataFrame:
        """Return the deployments with shares multiplied by a factor a row, their sums on every day kept."""
        share = deployments["share"].to_numpy()[self.rows]
        moved = share * factor[self.rows]
        before = np.bincount(self.stretch, weights=share, minlength=self.n_stretch)
        after = np.bincount(self.stretch, weights=moved, minlength=self.n_stretch)
        # All troops of a stretch cannot be absent: there the shares stay as coded.
        gone = (after <= 0)[self.stretch]
        scale = np.divide(before, after, out=np.ones_like(before), where=after > 0)
        frame = deployments.iloc[self.rows].reset_index(drop=True)
        frame["share"] = np.where(gone, share, np.minimum(moved * scale[self.stretch], 1.0))
        kept = frame["start"].dtype
        # Dates may have been drawn before: a piece keeps its distance from its row's first and last day.
        frame["start"] = (frame["start"].to_numpy().astype("datetime64[D]") + self.offset).astype(kept)
        frame["end"] = (frame["end"].to_numpy().astype("datetime64[D]") - self.before_end).astype(kept)
        return frame
