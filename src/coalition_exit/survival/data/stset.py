"""Declare survival-time data by the rules of Stata's ``stset`` and count what they leave out.

Every rule is that of [ST] stset: which records are used, when each begins and ends, whether it
ends in a failure, and in which category of the output a record that is not used is counted. Two
things are refused that Stata only marks as a probable error: two records of a subject at the same
instant, and records that overlap (``conflicts="exclude"`` does what Stata does).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from coalition_exit.errors import DataError, one_of
from coalition_exit.survival.data.stset_options import (
    Flags,
    When,
    column_of,
    condition,
    numbers,
    parse_failure,
    parse_when,
)
from coalition_exit.survival.data.stset_report import SINGLE_RECORD, Stset, StsetReport, plural, plural_s
from coalition_exit.survival.data.surv import Floats, Integers

CREATED = ("_st", "_d", "_origin", "_t", "_t0")


@dataclass(eq=False)
class _Work:
    """The records while the rules are applied, in the data's order.

    ``known`` are the records that have a subject and an end: origin, entry and exit are found
    among them, whatever later leaves a record out.
    """

    code: Integers
    order: Integers
    time: Floats
    use: Flags
    known: Flags
    why: NDArray[np.int8]
    left: dict[str, int] = field(default_factory=dict)

    def drop(self, bad: Flags, name: str) -> None:
        bad = bad & self.use
        self.left[name] = int(bad.sum())
        self.why[bad] = len(self.left)
        self.use = self.use & ~bad

    def sort(self) -> None:
        """Put the records in use in order of subject and time; the others come last."""
        self.order = np.lexsort((self.time, self.code, ~self.use))

    def neighbours(self) -> tuple[Integers, Integers]:
        """Pairs (before, after) of successive records of a subject among those in use."""
        rows = self.order[: int(self.use.sum())]
        same = np.flatnonzero(np.diff(self.code[rows]) == 0)
        return rows[same], rows[same + 1]

    def running(self, flags: Flags) -> Integers:
        """Number of flagged records of the subject up to and including each record in use."""
        rows = self.order[: int(self.use.sum())]
        total = np.cumsum(flags[rows])
        first = np.flatnonzero(np.diff(self.code[rows], prepend=-1))
        before = np.where(first > 0, total[first - 1], 0)
        result = np.zeros(len(flags), dtype=np.int64)
        result[rows] = total - np.repeat(before, np.diff(np.append(first, len(rows))))
        return result

    def smallest(self, values: Floats, among: Flags) -> Floats:
        """Smallest value, missing ones aside, over some of the subject's records."""
        lowest = np.full(int(self.code.max(initial=0)) + 1, np.inf)
        good = among & ~np.isnan(values)
        np.minimum.at(lowest, self.code[good], values[good])
        return np.where(np.isinf(lowest[self.code]), np.nan, lowest[self.code])

    def moment(self, when: When, latest: bool) -> Floats:
        """Time, per subject, that an option gives: the later (or earlier) of its time and its event."""
        parts = []
        if when.time is not None:
            parts.append(self.smallest(when.time, self.known))
        if when.happens is not None:
            parts.append(self.smallest(np.where(when.happens, self.time, np.nan), self.known))
        if len(parts) == 1:
            return parts[0]
        return np.fmax(*parts) if latest else np.fmin(*parts)


def stset(
    data: pd.DataFrame,
    time: str,
    failure: str | ArrayLike | None = None,
    *,
    id: str | None = None,
    origin: object = None,
    enter: object = None,
    exit: object = None,
    scale: float = 1.0,
    if_: str | ArrayLike | None = None,
    failure_value: object = None,
    time0: str | None = None,
    at_outset: str | ArrayLike | None = None,
    ever: str | ArrayLike | None = None,
    never: str | ArrayLike | None = None,
    after: str | ArrayLike | None = None,
    before: str | ArrayLike | None = None,
    conflicts: str = "error",
) -> Stset:
    """Declare survival-time data.

    With ``id`` a subject's first record begins at 0 (at ``origin``) and each later one at the end
    of the one before; gaps arise only from ``time0`` and from records left out. Unsorted rows are
    sorted. The subject is at risk from ``enter`` to ``exit``, by default until its first failure.

    Parameters
    ----------
    data
        One row per record. Never changed. Columns called as those created are replaced.
    time
        Column with the time at which each record ends: numbers, or dates (days since 1 January
        1960, as in Stata).
    failure
        Column, array, or Stata's ``"status==1 2"``. Without values every value but 0 and missing
        is a failure; a missing value is censored. None, without ``id`` only: every record fails.
    id
        Column that names the subject.
    origin
        When the subject becomes at risk, analysis time 0: a number, date, column, array,
        ``"time dx + 30"``, an event ``"status==3"``, or "min" (Stata's technical option). Where
        it varies over a subject's records, the smallest counts, as in Stata.
    enter
        When the subject comes under observation; as ``origin``.
    exit
        When the subject leaves: "failure" (default with ``id``), ``"time ."`` for multiple
        failures, or as ``origin``.
    scale
        Analysis time is (time - origin) / scale.
    if_
        Stata's if(): the records to use. A record left out still ends where the next begins.
    failure_value
        Value or values of ``failure`` that are failures.
    time0
        Column with the time at which each record begins.
    at_outset
        Stata's ``if`` qualifier: records for which it is false are as if they were not there.
    ever, never
        Use only subjects for which the condition holds ever, or never, in a record.
    after, before
        Use only records at and after, or before, the first one of the subject for which the
        condition holds.
    conflicts
        "error" refuses records of a subject at the same instant and overlapping ones; "exclude"
        leaves them out and counts them, as Stata does.

    Returns
    -------
    Stset

    Raises
    ------
    DataError
        On unknown columns, values of the wrong type, conflicting records, or no record at risk.

    References
    ----------
    StataCorp, Stata Survival Analysis Reference Manual, [ST] stset.
    """
    _check(data, id, failure, scale, conflicts, {"ever": ever, "never": never, "after": after, "before": before})
    event, event_missing, failure_text = parse_failure(data, failure, failure_value)
    stop = numbers(column_of(data, time, "time"), "time")
    work = _begin(data, stop, id, at_outset)
    settings = [("ID variable", id)] if id else []
    settings += [("Failure event", failure_text if failure is not None else f"(assumed to fail at time={time})")]

    zero, origin_text = _origin(data, work, origin, time0, bool(id))
    t = (stop - zero) / scale
    t0 = _entries(data, work, t, zero, scale, id, time0, conflicts)
    interval = time0 or (f"{time}[_n-1]" if id else "0")
    settings.append(("Observed time interval", f"({interval}, {time}]"))

    entry: Floats = np.zeros(len(data))
    if enter is not None:
        when = parse_when(data, enter, "enter", bool(id))
        settings.append(("Enter on or after", when.text))
        entry = (work.moment(when, latest=True) - zero) / scale
    leave, exit_text = _exit(data, work, exit, event, bool(id))
    settings.append(("Exit on or before", exit_text))
    leave = (leave - zero) / scale
    _requests(data, work, if_, ever, never, after, before)
    t, t0, event = _bounds(work, t, t0, event, entry, leave, zero)
    if scale != 1 or origin is not None:
        top = "(time-origin)" if origin is not None else "time"
        settings.append(("Time for analysis", f"{top}/{scale:g}" if scale != 1 else top))
    if origin is not None:
        settings.append(("Origin", origin_text))
    phrases = _phrases(time, time0, id, exit_text)
    return _result(data, work, (t, t0, event, zero, event_missing), id, tuple(settings), phrases)


def _check(
    data: pd.DataFrame, id: str | None, failure: object, scale: float, conflicts: str, by_subject: dict[str, object]
) -> None:
    if not isinstance(data, pd.DataFrame):
        raise DataError("stset, data", "a DataFrame", type(data).__name__)
    if id is not None and failure is None:
        raise DataError("stset, failure", "a failure column with id=", "None")
    if not (np.isfinite(scale) and scale > 0):
        raise DataError("stset, scale", "a number > 0", repr(scale))
    if conflicts not in ("error", "exclude"):
        raise DataError("stset, conflicts", one_of(("error", "exclude")), repr(conflicts))
    if id is None:
        for name, value in by_subject.items():
            if value is not None:
                raise DataError(f"stset, {name}", f"id= with {name}=", "no id")


def _begin(data: pd.DataFrame, stop: Floats, id: str | None, at_outset: str | ArrayLike | None) -> _Work:
    n = len(data)
    code = np.arange(n)
    if id is not None:
        column = column_of(data, id, "id")
        try:
            code = pd.factorize(column, sort=True)[0]
        except TypeError:
            code = pd.factorize(column)[0]
    everyone = np.ones(n, dtype=bool)
    work = _Work(code.astype(np.int64), np.arange(n), stop, everyone, everyone, np.zeros(n, dtype=np.int8))
    if at_outset is not None:
        work.drop(~condition(data, at_outset, "at_outset"), "ignored_at_outset")
    work.drop(code < 0, "id_missing")
    work.drop(np.isnan(stop), "time_missing")
    work.known = work.use
    return work


def _origin(data: pd.DataFrame, work: _Work, origin: object, time0: str | None, has_id: bool) -> tuple[Floats, str]:
    if origin is None:
        return np.zeros(len(data)), ""
    if isinstance(origin, str) and origin.strip() == "min" and "min" not in data.columns:
        first = work.time - 1 if time0 is None else numbers(column_of(data, time0, "time0"), "time0")
        usable = first[work.use & ~np.isnan(first)]
        return np.full(len(data), usable.min() if len(usable) else np.nan), "min"
    when = parse_when(data, origin, "origin", has_id)
    return work.moment(when, latest=True), when.text


def _entries(
    data: pd.DataFrame, work: _Work, t: Floats, zero: Floats, scale: float, id: str | None, time0: str | None,
    conflicts: str,
) -> Floats:  # fmt: skip
    """Give each record its beginning; leave out, or refuse, those that have none."""
    t0 = np.zeros(len(t))
    if time0 is not None:
        begin = numbers(column_of(data, time0, "time0"), "time0")
        work.drop(np.isnan(begin), "entry_missing")
        work.drop(begin >= work.time, "entry_after_exit")
        t0 = (begin - zero) / scale
    if id is None:
        return t0
    work.sort()
    previous, following = work.neighbours()
    if time0 is not None:
        clash = begin[following] < work.time[previous]
        _conflict(data, work, previous[clash], following[clash], id, conflicts, "overlapping")
        work.drop(_flag(following[clash], len(t)), "overlapping")
        return t0
    tie = work.time[following] == work.time[previous]
    _conflict(data, work, previous[tie], following[tie], id, conflicts, "same_instant")
    t0[following] = t[previous]
    # A first record followed by one that ends before the origin lies wholly before it.
    early = _flag(previous[t[following] <= 0], len(t)) & ~_flag(following, len(t))
    t0[early] = 2 * t[early]
    work.drop(_flag(np.concatenate([previous[tie], following[tie]]), len(t)), "same_instant")
    return t0


def _flag(rows: Integers, n: int) -> Flags:
    flags = np.zeros(n, dtype=bool)
    flags[rows] = True
    return flags


def _conflict(
    data: pd.DataFrame, work: _Work, first: Integers, second: Integers, id: str, conflicts: str, kind: str
) -> None:
    if not len(first) or conflicts == "exclude":
        return
    rows = sorted((int(first[0]), int(second[0])))
    subject, labels = data[id].iloc[rows[0]], ", ".join(str(data.index[row]) for row in rows)
    what = f"time {work.time[first[0]]:g}" if kind == "same_instant" else "overlapping spans"
    expected = "one record at an instant" if kind == "same_instant" else "records that do not overlap"
    raise DataError(
        f"stset, subject {subject}, rows {labels}",
        expected,
        f"{what} in both ({len(first)} such pair{plural_s(len(first))})",
        "conflicts='exclude' leaves such records out, as Stata does",
    )


def _exit(data: pd.DataFrame, work: _Work, exit: object, event: Flags, has_id: bool) -> tuple[Floats, str]:
    by_failure = exit is None or (isinstance(exit, str) and exit.strip() == "failure")
    if by_failure and not has_id:
        return np.full(len(data), np.nan), "failure"
    if by_failure:
        return work.smallest(np.where(event, work.time, np.nan), work.known), "failure"
    when = parse_when(data, exit, "exit", has_id)
    if when.time is not None and np.isposinf(when.time).all():
        when = When(np.full(len(data), np.nan), when.happens, "time .")
    return work.moment(when, latest=False), when.text


def _requests(
    data: pd.DataFrame, work: _Work, if_: str | ArrayLike | None, ever: str | ArrayLike | None,
    never: str | ArrayLike | None, after: str | ArrayLike | None, before: str | ArrayLike | None,
) -> None:  # fmt: skip
    bad = np.zeros(len(data), dtype=bool)
    if if_ is not None:
        bad |= ~condition(data, if_, "if_")
    work.sort()
    for option, value in (("ever", ever), ("never", never), ("after", after), ("before", before)):
        if value is None:
            continue
        seen = work.running(condition(data, value, option)) > 0
        if option in ("ever", "never"):
            seen = work.smallest(np.where(seen, 0.0, 1.0), work.use) == 0
        bad |= ~seen if option in ("ever", "after") else seen
    work.drop(bad, "ignored_request")


def _bounds(
    work: _Work, t: Floats, t0: Floats, event: Flags, entry: Floats, leave: Floats, zero: Floats
) -> tuple[Floats, Floats, Flags]:
    """Cut the records to the time between entry and exit."""
    work.drop(np.isnan(entry) | np.isnan(zero), "never_entered")
    work.drop(t <= entry, "before_enter")
    t0 = np.where((t0 <= entry) & (t > entry), entry, t0)
    work.drop(t0 >= leave, "after_exit")
    cut = (t0 < leave) & (t > leave)
    event, t = event & ~cut, np.where(cut, leave, t)
    t0 = np.maximum(t0, 0.0)
    work.drop(t0 >= t, "before_origin")
    return t, t0, event


def _phrases(time: str, time0: str | None, id: str | None, exit_text: str) -> tuple[tuple[str, str], ...]:
    end = "(first) failure" if exit_text == "failure" else "exit"
    return (
        ("ignored_at_outset", "ignored at outset because of -if <exp>-"),
        ("id_missing", f"ignored because {id} missing"),
        ("time_missing", f"event time missing ({time}>=.)"),
        ("entry_missing", f"entry time missing ({time0}>=.)"),
        ("entry_after_exit", f"entry on or after exit ({time0}>{time})"),
        ("same_instant", f"multiple records at same instant\n({time}[_n-1]=={time})"),
        ("overlapping", f"overlapping records ({time}[_n-1]>{time0})"),
        ("ignored_request", "ignored per request (if(), etc.)"),
        ("never_entered", "ignored because never entered"),
        ("before_enter", "observations end on or before enter()"),
        ("before_origin", "observations end on or before origin()"),
        ("after_exit", f"observations begin on or after {end}"),
    )


def _result(
    data: pd.DataFrame,
    work: _Work,
    arrays: tuple[Floats, Floats, Flags, Floats, Flags],
    id: str | None,
    settings: tuple[tuple[str, str], ...],
    phrases: tuple[tuple[str, str], ...],
) -> Stset:
    t, t0, event, zero, event_missing = arrays
    use, words = work.use, dict(phrases)
    if not use.any():
        left = ((plural(words[name], number), number) for name, number in work.left.items() if number)
        why = "; ".join(f"{number} {text.partition(chr(10))[0]}" for text, number in left)
        raise DataError("stset", "a record at risk", f"none of {len(data)}", why)
    used = zero[use]
    created = {
        "_st": use.astype(np.int8),
        "_d": np.where(use, event, np.nan),
        "_origin": np.where(use, zero, np.nan),
        "_t": np.where(use, t, np.nan),
        "_t0": np.where(use, t0, np.nan),
    }
    if used.min() == used.max():
        del created["_origin"]
    record = pd.DataFrame(created, index=data.index)
    reasons = ["", *(words[name].partition("\n")[0] for name in work.left)]
    record["why"] = np.array(reasons, dtype=object)[work.why]
    work.sort()
    rows = work.order[: int(use.sum())] if id is not None else np.flatnonzero(use)
    kept = data.drop(columns=[c for c in CREATED if c in data.columns]).iloc[rows].copy()
    for name, values in created.items():
        kept[name] = values[rows].astype(np.int8) if name in ("_st", "_d") else values[rows]
    report = _report(work, rows, t, t0, event, event_missing, id)
    return Stset(kept, record, report, settings, id, phrases)


def _report(
    work: _Work, rows: Integers, t: Floats, t0: Floats, event: Flags, event_missing: Flags, id: str | None
) -> StsetReport:
    failures = np.bincount(work.code[rows], weights=event[rows])
    kind, still = SINGLE_RECORD, 0
    if id is not None:
        single = bool(failures.max() <= 1)
        kind = "single-failure-per-subject" if single else "multiple-failure-per-subject"
        last = np.append(np.diff(work.code[rows]) != 0, True)
        still = int((event[rows] & ~last).sum()) if single else 0
    return StsetReport(
        total=len(work.use),
        **work.left,
        remaining=len(rows),
        subjects=int(np.count_nonzero(np.bincount(work.code[rows]))),
        failures=int(event[rows].sum()),
        still_at_risk=still,
        time_at_risk=float((t[rows] - t0[rows]).sum()),
        first_entry=float(t0[rows].min()),
        last_exit=float(t[rows].max()),
        failure_missing=int(event_missing[rows].sum()),
        kind=kind,
    )
