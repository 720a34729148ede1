"""How few exits would have to be coded otherwise for the finding to fall.

Sets of one and two exits (more, if asked) are all tried, so that a set found there is proven to be as small as any.
Beyond that the search keeps the best sets of each size, adds to them, and swaps members while that helps: the set found
is then the smallest seen, not proven to be the smallest. Every estimate is an exact refit with clustered errors.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from coalition_exit.coding.expressions import Expression
from coalition_exit.errors import DataError, FitError, one_of, shown
from coalition_exit.record.loading import Record
from coalition_exit.robustness.engine import Estimate, ExitEngine, refit
from coalition_exit.robustness.problem import OK, Problem
from coalition_exit.survival.data.surv import Integers

READINGS = ("significance", "sign")
_BEAM = 10
_MOST_SWAPS = 20
# An estimate of exactly zero has lost its sign; rounding must not keep it.
_ZERO = 1e-9
Members = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Recoding:
    """The smallest set of recoded exits that overturns a finding.

    Attributes
    ----------
    term, reading, level
        The question: which coefficient, and whether its sign or its significance at the level is to fall.
    size
        Exits to recode: 0 if there is no finding to overturn, None if no set was found.
    proven
        No smaller set does it: all were tried.
    before, after : Estimate
        As coded, and with the set recoded (without estimate if there is no set).
    table
        A row a recoded exit: war, state, date, was, becomes, and its numbers in the panel.
    tried : DataFrame
        A row a size: n_sets, exhaustive, best (the estimate nearest to overturned, or its z), n_failed.
    """

    term: str
    reading: str
    level: float
    size: int | None
    proven: bool
    before: Estimate
    after: Estimate | None
    table: pd.DataFrame
    tried: pd.DataFrame
    position: int

    @property
    def text(self) -> str:
        """The answer in a sentence or two."""
        finding = f"{self.term} {_numbers(self.before, self.position)}"
        if self.size == 0:
            return f"{finding}: not significant at {self.level:g} as coded, so nothing is left to overturn."
        if self.size is None:
            most = int(self.tried["size"].max()) if len(self.tried) else 0
            return f"{finding}: no set of up to {most} recoded exits was found that changes its {self.reading}."
        assert self.after is not None
        names = "; ".join(f"{r.state} in {r.war} ({r.was} -> {r.becomes})" for r in self.table.itertuples(index=False))
        how = "proven smallest" if self.proven else "smallest found, smaller ones not all tried"
        exits = "exit" if self.size == 1 else "exits"
        return (
            f"{finding}: {self.size} recoded {exits} ({how}) change its {self.reading}: {names}. "
            f"Then {_numbers(self.after, self.position)}."
        )

    @property
    def summary(self) -> pd.DataFrame:
        """One row: the question, the size, and the estimate before and after."""
        row = {
            "term": self.term,
            "reading": self.reading,
            "level": self.level,
            "size": self.size,
            "proven": self.proven,
        }
        for name, at in (("before", self.before), ("after", self.after)):
            b, se, p = (np.nan,) * 3 if at is None else _triple(at, self.position)
            row |= {f"estimate_{name}": b, f"std_error_{name}": se, f"p_value_{name}": p}
        return pd.DataFrame([row]).astype({"size": "Int64"})


def _triple(at: Estimate, position: int) -> tuple[float, float, float]:
    b, se = float(at.beta[position]), float(at.std_error[position])
    return b, se, float(2 * ndtr(-abs(b / se)))


def _numbers(at: Estimate, position: int) -> str:
    b, se, p = _triple(at, position)
    return f"{b:.3f} (s.e. {se:.3f}, p = {p:.3f})"


def smallest_recoding(
    problem: Problem,
    term: str,
    reading: str = "significance",
    *,
    level: float = 0.05,
    add: Integers | None = None,
    exhaustive: int = 2,
    most: int = 10,
) -> Recoding:
    """Search for the smallest set of exits whose recoding overturns a finding.

    Parameters
    ----------
    problem
        The model and its rows.
    term
        The coefficient in question.
    reading
        "significance": its p value (clustered errors, normal distribution) rises to ``level`` or above, or its sign
        changes. "sign": the estimate reaches zero or passes it.
    level
        Level of significance.
    add
        Rows without an exit that might be recoded as one, positions in the frame (see `last_days`).
        Exits can always be recoded as none.
    exhaustive
        Sizes up to which every set is tried.
    most
        Largest size looked for.

    Raises
    ------
    DataError
        An unknown term or reading, rows to add that are exits already.
    FitError
        The model as coded has no estimate.
    """
    problem.require(term, place="term")
    if reading not in READINGS:
        raise DataError("reading", one_of(READINGS), repr(reading))
    if not 0 < level < 1 or min(exhaustive, most) < 1:
        expected = "a level between 0 and 1, sizes from 1 on"
        raise DataError("level, exhaustive, most", expected, f"{level}, {exhaustive}, {most}")
    added = np.asarray([] if add is None else add, dtype=np.int64)
    if problem.event[added].any():
        raise DataError("add", "rows without an exit", f"row {int(added[problem.event[added]][0])}, an exit already")
    search = _Search(problem, term, reading, level, added)
    if search.overturned(search.value(())):
        return search.result(0, True, ())
    for size in range(1, min(most, len(search.engine.candidates)) + 1):
        found = search.all_sets(size) if size <= exhaustive else search.best_sets(size)
        if found is not None:
            # A set one larger than the last size tried in full is as small as any, however it was found.
            return search.result(size, size <= exhaustive + 1, found)
    return search.result(None, False, ())


class _Search:
    def __init__(self, problem: Problem, term: str, reading: str, level: float, added: Integers) -> None:
        self.problem, self.term, self.reading, self.level = problem, term, reading, level
        exits = np.flatnonzero(problem.event)
        self.engine = ExitEngine(problem, np.concatenate([exits, added]))
        self.original = np.zeros(len(self.engine.candidates), dtype=bool)
        self.original[: len(exits)] = True
        self.position = problem.model.covariates.index(term)
        before = refit(problem, exits)
        if before.status != OK:
            raise FitError(before.status, before.reason)
        self.before, self.engine.start_at = before, before.beta
        self.sign = np.sign(before.beta[self.position])
        self.limit = float(ndtri(1 - level / 2)) if reading == "significance" else 0.0
        self.values: dict[Members, float] = {}
        self.beam: list[Members] = []
        self.tried: list[dict[str, object]] = []

    def estimate(self, members: Members) -> Estimate:
        chosen = self.original.copy()
        chosen[list(members)] ^= True
        return self.engine.solve(chosen)

    def value(self, members: Members) -> float:
        """What has to fall to the limit: signed z or signed estimate; infinite without an estimate."""
        if members not in self.values:
            at = self.estimate(members)
            value = float(self.sign * at.beta[self.position])
            if self.reading == "significance":
                value /= float(at.std_error[self.position])
            self.values[members] = value if at.status == OK and np.isfinite(value) else np.inf
        return self.values[members]

    def overturned(self, value: float) -> bool:
        return value < self.limit if self.reading == "significance" else value <= _ZERO

    def all_sets(self, size: int) -> Members | None:
        """Try every set of a size; return the one that goes furthest, if it overturns the finding."""
        return self._rank(itertools.combinations(range(len(self.original)), size), size, True)

    def best_sets(self, size: int) -> Members | None:
        """Extend the best sets one smaller, then swap members of the best."""
        found = self._rank(self._extensions(), size, False)
        return self._swap(self.beam[0]) if found is None and self.beam else found

    def _extensions(self) -> Iterator[Members]:
        sets = {tuple(sorted((*m, k))) for m in self.beam for k in range(len(self.original)) if k not in m}
        return iter(sorted(sets))

    def _rank(self, sets: Iterable[Members], size: int, exhaustive: bool) -> Members | None:
        scored = [(self.value(members), members) for members in sets]
        scored.sort()
        finite = [pair for pair in scored if np.isfinite(pair[0])]
        self.beam = [members for _, members in finite[:_BEAM]]
        best = finite[0][0] if finite else np.nan
        self.tried.append(
            {
                "size": size,
                "n_sets": len(scored),
                "exhaustive": exhaustive,
                "best": best * self.sign,
                "n_failed": len(scored) - len(finite),
            }
        )
        return self.beam[0] if finite and self.overturned(best) else None

    def _swap(self, members: Members) -> Members | None:
        for _ in range(_MOST_SWAPS):
            others = [k for k in range(len(self.original)) if k not in members]
            swaps = {tuple(sorted({*members} - {out} | {k})) for out in members for k in others}
            value, best = min((self.value(each), each) for each in sorted(swaps)) if swaps else (np.inf, members)
            if value >= self.value(members):
                break
            members = best
            if members not in self.beam:
                self.beam.insert(0, members)
        self.tried[-1]["best"] = self.value(members) * self.sign
        return members if self.overturned(self.value(members)) else None

    def result(self, size: int | None, proven: bool, members: Members) -> Recoding:
        after = None
        if size is not None:
            chosen = self.original.copy()
            chosen[list(members)] ^= True
            # The last word is CoxPH's.
            after = refit(self.problem, self.engine.candidates[chosen]) if members else self.before
        columns = ["size", "n_sets", "exhaustive", "best", "n_failed"]
        rows = self.engine.candidates[list(members)] if members else np.zeros(0, dtype=np.int64)
        return Recoding(
            self.term, self.reading, self.level, size, proven, self.before, after,
            recoded_table(self.problem, rows), pd.DataFrame(self.tried, columns=columns), self.position,
        )  # fmt: skip


def recoded_table(problem: Problem, rows: Integers) -> pd.DataFrame:
    """Name the exits that rows of the frame stand for: war, state, date, was, becomes, numbers."""
    frame, found = problem.frame, []
    for row in rows:
        one = frame.iloc[int(row)]
        was = bool(one[problem.model.failure] == 1)
        entry: dict[str, object] = {"war": "", "state": f"subject {one['idvar']}", "date": ""}
        if {"warnum", "ccode"} <= set(frame.columns):
            entry |= {"war": problem.war_name(one["warnum"]), "state": problem.state_name(one["ccode"])}
        if {"year", "month", "day"} <= set(frame.columns):
            entry["date"] = f"{int(one['year']):04d}-{int(one['month']):02d}-{int(one['day']):02d}"
        entry |= {"was": "exit" if was else "no exit", "becomes": "no exit" if was else "exit"}
        found.append(entry | {"idvar": int(one["idvar"]), "stop": float(one["stop"])})
    columns = ["war", "state", "date", "was", "becomes", "idvar", "stop"]
    return pd.DataFrame(found, columns=columns).sort_values(["idvar", "stop"], ignore_index=True)


def last_days(problem: Problem, record: Record, where: str, place: str = "candidates") -> Integers:
    """Rows on which spells ended without an exit, and whose facts satisfy a comparison.

    Parameters
    ----------
    problem
        The model and its rows, from the same record.
    record
        The coded facts.
    where
        A comparison over the columns of ``exits.csv``, e.g. ``partners_wish == "unclear"``.
    place
        Where it stands, for messages.

    Raises
    ------
    SpecError
        The comparison names a column that does not exist, or compares unlike things.
    DataError
        No such row.
    """
    exits = record["exits"]
    chosen = exits.loc[Expression(where, place).evaluate(exits), ["warnum", "side", "ccode", "spell"]]
    frame = problem.frame
    keys = set(map(tuple, chosen.itertuples(index=False)))
    last = frame.loc[(frame["finalobs"] == 1) & (frame[problem.model.failure] == 0)]
    rows = [i for i, *key in last[["warnum", "side", "ccode", "spell"]].itertuples() if tuple(key) in keys]
    if not rows:
        raise DataError(place, "a comparison that some spell without an exit satisfies", shown(where))
    return np.array(rows, dtype=np.int64)
