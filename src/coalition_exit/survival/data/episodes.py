"""Report on the episodes of a panel: what is wrong with them, in which rows, of which subjects.

The counts of overlaps, gaps, jumps and teleports are those of R's ``survival::survcheck``. Unlike
`surv.check_episodes`, which refuses data, the report reads whatever it is given and counts.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coalition_exit.errors import DataError
from coalition_exit.survival.data.design import _column, _numbers
from coalition_exit.survival.data.formula import parse_formula, require_response
from coalition_exit.survival.data.surv import Floats, Integers

Flags = NDArray[np.bool_]

FAULTS: Mapping[str, str] = {
    "missing": "a start, stop, event, subject or state is missing or infinite",
    "event_code": "an event code other than 0 and 1",
    "zero_length": "stop equals start",
    "negative_length": "stop is before start",
    "duplicate": "same subject, start and stop as an earlier row",
    "overlap": "starts before the subject's previous episode ends",
    "gap": "starts after the subject's previous episode ends",
    "jump": "a gap, and the state after it is not the one before it",
    "teleport": "no gap, but the state is not the one the subject was in",
    "after_event": "the subject has had its event before",
}
# What a panel may have on purpose.
_ALLOWED = ("gap", "after_event")


@dataclass(frozen=True, eq=False)
class EpisodeReport:
    """Counts and places of faults in episodes.

    Attributes
    ----------
    n_rows, n_subjects, n_events : int
        Rows given, subjects, and events in rows that have all values and a positive length.
    counts : dict of str to int
        Rows with each fault, by the names in `FAULTS`.
    faults : DataFrame
        One row per fault found, in the order of `FAULTS` and of the data: ``fault``, ``row``
        (position from 0), ``label`` (of the data's index), ``id``, ``start``, ``stop``, and of
        the episode it conflicts with ``previous_row``, ``previous_label``, ``previous_stop``
        (-1, None and NaN without one).
    events_per_subject : Series
        Number of subjects by number of events.
    """

    n_rows: int
    n_subjects: int
    n_events: int
    counts: dict[str, int]
    faults: pd.DataFrame = field(repr=False)
    events_per_subject: pd.Series = field(repr=False)

    @property
    def ok(self) -> bool:
        """True without faults other than gaps and rows after an event, which a panel may mean."""
        return not any(number for name, number in self.counts.items() if name not in _ALLOWED)

    def rows(self, fault: str) -> pd.DataFrame:
        """Every row with one fault: the columns of `faults` without ``fault``."""
        if fault not in FAULTS:
            raise DataError("fault", ", ".join(FAULTS), repr(fault))
        return self.faults.loc[self.faults["fault"] == fault].drop(columns="fault").reset_index(drop=True)

    def to_frame(self) -> pd.DataFrame:
        """One row a fault: ``fault``, ``rows``, ``subjects``, ``meaning``."""
        subjects = self.faults.groupby("fault", observed=True)["id"].nunique()
        names = list(FAULTS)
        return pd.DataFrame(
            {
                "fault": names,
                "rows": [self.counts[name] for name in names],
                "subjects": [int(subjects.get(name, 0)) for name in names],
                "meaning": [FAULTS[name] for name in names],
            }
        )

    def show(self, most: int = 5) -> str:
        """Return the report as text with at most ``most`` rows of each fault."""
        lines = [f"{self.n_rows} rows, {self.n_subjects} subjects, {self.n_events} events"]
        for name, number in self.counts.items():
            if not number:
                continue
            lines.append(f"{name}: {number} row{'' if number == 1 else 's'} ({FAULTS[name]})")
            for found in self.rows(name).head(most).itertuples():
                before = (
                    f" (row {found.previous_label} ends at {found.previous_stop:g})" if found.previous_row >= 0 else ""
                )
                lines.append(f"  row {found.label}, subject {found.id}: ({found.start:g}, {found.stop:g}]{before}")
            if number > most:
                lines.append(f"  and {number - most} more")
        return "\n".join(lines if len(lines) > 1 else [*lines, "no faults"])

    def __str__(self) -> str:
        return self.show()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.show())}</pre>"


def episode_report(response: str, data: pd.DataFrame, *, id: str, state: str | None = None) -> EpisodeReport:
    """Check the episodes of every subject and report each fault with its row.

    Parameters
    ----------
    response
        ``"Surv(start, stop, event)"``, or ``"Surv(time, event)"`` with episodes that begin at 0.
    data
        One row per episode, in any order. Never changed.
    id
        Column with the subject.
    state
        Column with the state the subject is in during the episode (R's ``istate``). Event codes
        are then 0 (none) or the code of the state entered, and ``jump`` and ``teleport`` compare
        the state of an episode with the one its subject entered last. Without it a subject's
        state is unknown and neither can be found.

    Returns
    -------
    EpisodeReport
        Rows that are missing a value or have no positive length are left out of the comparisons,
        as in R. An episode is compared with the subject's previous one in the order of its end.

    Raises
    ------
    DataError
        On an unknown column or one that does not hold numbers.

    References
    ----------
    Therneau, T. M., R package survival, ``survcheck``.
    """
    require_response(response)
    names = parse_formula(f"{response} ~ 1").response
    if not len(data):
        raise DataError("data", "at least one row", "none")
    stop = _numbers(data, names[-2], "Surv, stop")
    start = _numbers(data, names[0], "Surv, start") if len(names) == 3 else np.zeros(len(data))
    event = _numbers(data, names[-1], "Surv, event")
    subjects = _column(data, id, "id")
    codes = pd.factorize(subjects)[0].astype(np.int64)
    states = None if state is None else _numbers(data, state, "state")
    missing = ~(np.isfinite(start) & np.isfinite(stop) & np.isfinite(event)) | (codes < 0)
    if states is not None:
        missing |= ~np.isfinite(states)
    flags = {"missing": missing}
    flags["event_code"] = ~missing & ~np.isin(event, (0.0, 1.0)) if states is None else np.zeros(len(data), dtype=bool)
    flags["zero_length"] = ~missing & (stop == start)
    flags["negative_length"] = ~missing & (stop < start)
    sound = ~missing & (stop > start)
    found, previous = _compare(start, stop, event, codes, states, sound)
    flags.update(found)
    faults = _list_faults(data, flags, previous, start, stop, subjects)
    per_subject = np.bincount(codes[sound], weights=event[sound] != 0) if sound.any() else np.zeros(0)
    present = np.unique(codes[sound])
    number, many = np.unique(per_subject[present].astype(np.int64), return_counts=True)
    return EpisodeReport(
        n_rows=len(data),
        n_subjects=len(np.unique(codes[codes >= 0])),
        n_events=int((event[sound] != 0).sum()),
        counts={name: int(flags[name].sum()) for name in FAULTS},
        faults=faults,
        events_per_subject=pd.Series(many, index=pd.Index(number, name="events"), name="subjects", dtype=np.int64),
    )


def _compare(
    start: Floats, stop: Floats, event: Floats, codes: Integers, states: Floats | None, sound: Flags
) -> tuple[dict[str, Flags], Integers]:
    """Compare each sound episode with the one before it of the same subject."""
    n = len(start)
    rows = np.flatnonzero(sound)
    rows = rows[np.lexsort((start[rows], stop[rows], codes[rows]))]
    same = np.diff(codes[rows], prepend=-1) == 0
    previous = np.full(n, -1, dtype=np.int64)
    previous[rows[1:]] = np.where(same[1:], rows[:-1], -1)
    has = previous >= 0
    end = np.where(has, stop[previous], np.nan)
    flags = {
        "duplicate": has & (start == np.where(has, start[previous], np.nan)) & (stop == end),
        "overlap": has & (start < end),
    }
    gap, mismatch = has & (start > end), np.zeros(n, dtype=bool)
    begins = np.flatnonzero(~same)
    counted = np.cumsum(event[rows] != 0)
    first_of = np.repeat(begins, np.diff(np.append(begins, len(rows))))
    earlier = counted - (event[rows] != 0)
    past = earlier - np.concatenate([[0], counted])[first_of]
    after = np.zeros(n, dtype=bool)
    after[rows] = past > 0
    if states is not None:
        # The state entered at the last event before the episode, else the subject's first state.
        at_events = np.flatnonzero(event[rows] != 0)
        latest = np.where(past > 0, np.append(at_events, 0)[np.maximum(earlier - 1, 0)], 0)
        expected = np.where(past > 0, event[rows][latest], states[rows][first_of])
        mismatch[rows] = expected != states[rows]
    flags["gap"] = gap & ~mismatch
    flags["jump"] = gap & mismatch
    flags["teleport"] = has & (start == end) & mismatch
    flags["after_event"] = after
    return flags, previous


def _list_faults(
    data: pd.DataFrame, flags: dict[str, Flags], previous: Integers, start: Floats, stop: Floats, subjects: pd.Series
) -> pd.DataFrame:
    parts = [(name, np.flatnonzero(flags[name])) for name in FAULTS]
    rows = np.concatenate([found for _, found in parts])
    names = np.repeat([name for name, _ in parts], [len(found) for _, found in parts])
    against = np.isin(names, ("duplicate", "overlap", "gap", "jump", "teleport"))
    before = np.where(against, previous[rows], -1)
    return pd.DataFrame(
        {
            "fault": pd.Categorical(names, categories=list(FAULTS)),
            "row": rows,
            "label": data.index[rows],
            "id": subjects.iloc[rows].to_numpy(),
            "start": start[rows],
            "stop": stop[rows],
            "previous_row": before,
            "previous_label": np.where(before >= 0, data.index.to_numpy(dtype=object)[before], None),
            "previous_stop": np.where(before >= 0, stop[before], np.nan),
        }
    )
