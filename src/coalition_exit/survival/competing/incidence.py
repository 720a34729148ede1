"""Cumulative incidence of competing exits by group, and Gray's test.

The response names any exit (``event`` 0/1); a cause column says which: 0, "" or missing where the row
has no event, a label where it has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc

from coalition_exit.errors import DataError, nearest, one_of
from coalition_exit.survival.competing.aalen_johansen import aalen_johansen, gray_errors, gray_score, incidence_interval
from coalition_exit.survival.competing.causes import cause_codes, check_single_exit, in_order, last_rows
from coalition_exit.survival.data.complete_rows import codes_of, complete_rows, take_column
from coalition_exit.survival.data.design import Design, build_design
from coalition_exit.survival.data.dropped import dropped_text, missing_by_column
from coalition_exit.survival.data.formula import parse_formula
from coalition_exit.survival.data.surv import Floats, Integers, Surv, check_episodes
from coalition_exit.survival.data.timefix import join_near_times
from coalition_exit.survival.shown import Shown

VARIANCES = ("infinitesimal", "gray")
INTERVALS = ("log", "log-log", "plain")
_TABLE = ("group", "cause", "time", "n_risk", "n_event", "estimate", "std_error", "conf_low", "conf_high")
_FREE = ("group", "time", "n_risk", "n_censor", "estimate", "std_error")


@dataclass(frozen=True, eq=False, repr=False)
class CumulativeIncidence(Shown):
    """Cumulative incidence by group and cause.

    Attributes
    ----------
    tables : tuple of DataFrame
        ``table``: group, cause, time, n_risk, n_event, estimate, std_error, conf_low, conf_high; ``event_free``: group,
        time, n_risk, n_censor, estimate, std_error, the probability of no exit so far.
    variance, conf_type, level
        Conventions of the errors and intervals.
    n_obs, n_subject, n_cluster : int
        Rows, subjects, and units of the jackknife if they are not the subjects (None otherwise).
    n_dropped, dropped : int, tuple of (str, int)
        Rows left out for missing values, and missing values by column.
    n_joined : int
        Distinct times that differed from another by rounding only and were joined to it.
    """

    tables: tuple[pd.DataFrame, pd.DataFrame]
    variance: str
    conf_type: str
    level: float
    n_obs: int
    n_subject: int
    n_cluster: int | None = None
    n_dropped: int = 0
    dropped: tuple[tuple[str, int], ...] = ()
    n_joined: int = 0

    @property
    def table(self) -> pd.DataFrame:
        """Incidence by group, cause and time; a copy."""
        return self.tables[0].copy()

    @property
    def event_free(self) -> pd.DataFrame:
        """Probability of no exit so far by group and time; a copy."""
        return self.tables[1].copy()

    def tidy(self) -> pd.DataFrame:
        """The same as ``table``."""
        return self.table

    @property
    def heading(self) -> str:
        """Counts and conventions in one line."""
        kind = "infinitesimal jackknife" if self.variance == "infinitesimal" else "Gray's variance"
        units = f" over {self.n_cluster} clusters, no correction" if self.n_cluster else ""
        return (
            f"Cumulative incidence (Aalen-Johansen): {self.n_obs} rows, {self.n_subject} subjects; {kind}{units}; "
            f"{100 * self.level:g}% intervals, {self.conf_type}"
        )

    @property
    def shown(self) -> pd.DataFrame:
        """The last row of each curve."""
        return self.tables[0].groupby(["group", "cause"], sort=False, dropna=False).tail(1)

    def __str__(self) -> str:
        notes = [dropped_text(self.n_dropped, self.dropped)]
        if self.n_joined:
            notes.append(f"{self.n_joined} times joined to one from which they differ by rounding only")
        return "\n".join([super().__str__() + "\n(the end of each curve)", *(note for note in notes if note)])

    def at(self, times: ArrayLike) -> pd.DataFrame:
        """Values of the step functions at the given times, one row a group, cause and time.

        Before a group's first time the incidence is 0; after its last time it is missing.
        """
        wanted = np.atleast_1d(np.asarray(times, dtype=float))
        parts = []
        for (group, cause), part in self.tables[0].groupby(["group", "cause"], sort=False, dropna=False):
            known = part["time"].to_numpy()
            place = np.searchsorted(known, wanted, side="right") - 1
            rows = {"group": [group] * len(wanted), "cause": [cause] * len(wanted), "time": wanted}
            for name, early in (("estimate", 0.0), ("std_error", 0.0), ("conf_low", np.nan), ("conf_high", np.nan)):
                value = np.where(place < 0, early, part[name].to_numpy()[np.maximum(place, 0)])
                rows[name] = np.where(wanted > known[-1], np.nan, value)
            parts.append(pd.DataFrame(rows))
        return pd.concat(parts, ignore_index=True)


@dataclass(frozen=True, eq=False)
class _Read:
    """Arrays of the n rows that an incidence curve uses."""

    surv: Surv
    codes: Integers
    causes: tuple[object, ...]
    group: Integers
    groups: tuple[object, ...]
    stratum: Integers
    unit: Integers
    ends: NDArray[np.bool_]
    weights: Floats
    n_dropped: int
    n_subject: int
    n_joined: int


def cumulative_incidence(
    formula: str,
    data: pd.DataFrame,
    *,
    cause: str | ArrayLike,
    id: str | ArrayLike | None = None,
    cluster: str | ArrayLike | None = None,
    weights: str | ArrayLike | None = None,
    variance: str = "infinitesimal",
    conf_type: str = "log",
    level: float = 0.95,
    missing: str = "error",
) -> CumulativeIncidence:
    """Estimate Aalen-Johansen cumulative incidences by group.

    Parameters
    ----------
    formula
        ``"Surv(time, event) ~ group"`` or ``"Surv(start, stop, event) ~ a + b"``: the right side
        names grouping columns; ``~ 1`` for none.
    data
        One row per episode (start, stop]; late entry and gaps are allowed. Never changed.
    cause
        Column of causes: 0, "" or missing where the row has no event.
    id
        Subject of each row; needed with start-stop data.
    cluster
        Units of the infinitesimal jackknife: the subjects by default.
    weights
        Case weights.
    variance
        "infinitesimal": the infinitesimal jackknife, R's ``survfit(Surv(time, factor) ~ g, id = id)``.
        "gray": that of ``cmprsk::cuminc``, for right-censored data without weights.
    conf_type
        "log", "log-log" or "plain", as R's.
    level
        Confidence level.
    missing
        "error" refuses missing values; "drop" leaves the rows out and counts them.

    Raises
    ------
    DataError
        The data cannot be used; events and causes contradict each other.

    References
    ----------
    Aalen, O. O. and Johansen, S. (1978), Scandinavian Journal of Statistics 5, 141-150;
    Gray, R. J. (1988), Annals of Statistics 16, 1141-1154.
    """
    for name, value, valid in (("variance", variance, VARIANCES), ("conf_type", conf_type, INTERVALS)):
        if value not in valid:
            raise DataError(name, one_of(valid), repr(value), nearest(str(value), valid))
    if not 0 < level < 1:
        raise DataError("level", "a number between 0 and 1", repr(level))
    read = _read(formula, data, cause, missing, {"id": id, "cluster": cluster, "weights": weights})
    if variance == "gray" and (read.surv.is_counting or weights is not None or cluster is not None):
        raise DataError("variance", "'infinitesimal' for start-stop, weighted or clustered data", "'gray'")
    tables, free = [], []
    for code, label in enumerate(read.groups):
        here = np.flatnonzero(read.group == code)
        curve = aalen_johansen(
            read.surv.start[here], read.surv.stop[here], read.codes[here], len(read.causes),
            ends=read.ends[here], unit=read.unit[here], weights=read.weights[here],
        )  # fmt: skip
        errors = gray_errors(curve) if variance == "gray" else curve.std_error
        for c, label_of_cause in enumerate(read.causes):
            estimate, error = curve.incidence[:, c], errors[:, c]
            interval = incidence_interval(estimate, error, conf_type, level)
            columns = (curve.times, curve.n_risk, curve.n_event[:, c], estimate, error, *interval)
            tables.append(step_table(_TABLE, (label, label_of_cause), columns))
        rest = (curve.times, curve.n_risk, curve.n_censor, curve.event_free, curve.event_free_error)
        free.append(step_table(_FREE, (label,), rest))
    table, event_free = pd.concat(tables, ignore_index=True), pd.concat(free, ignore_index=True)
    beside = {"id": id, "cluster": cluster, "weights": weights}
    return CumulativeIncidence(
        (table, event_free), variance, conf_type, level, len(read.surv), read.n_subject,
        None if cluster is None else len(np.unique(read.unit)), read.n_dropped,
        missing_by_column(formula, data, beside) if read.n_dropped else (), read.n_joined,
    )  # fmt: skip


def step_table(names: Sequence[str], labels: Sequence[object], columns: Sequence[Floats]) -> pd.DataFrame:
    """Columns of one curve behind the labels that identify it."""
    size = len(columns[0])
    return pd.DataFrame(dict(zip(names, [*([label] * size for label in labels), *columns], strict=True)))


def gray_test(
    formula: str, data: pd.DataFrame, *, cause: str | ArrayLike, rho: float = 0.0, missing: str = "error"
) -> pd.DataFrame:
    """Test for each cause that its cumulative incidence is equal across groups.

    Parameters
    ----------
    formula
        ``"Surv(time, event) ~ group + strata(s)"``; right-censored data only.
    data
        One row a subject. Never changed.
    cause
        Column of causes: 0, "" or missing where the row has no event.
    rho
        Power of 1 - F in the weight function; 0 weighs all times alike.
    missing
        "error" refuses missing values; "drop" leaves the rows out.

    Returns
    -------
    DataFrame
        cause, statistic, df, p_value: ``Tests`` of ``cmprsk::cuminc``. Missing where the estimated
        variance is not positive, as can be with a handful of subjects.

    Raises
    ------
    DataError
        Start-stop data, a single group, or data that cannot be used.

    References
    ----------
    Gray, R. J. (1988), Annals of Statistics 16, 1141-1154.
    """
    if len(parse_formula(formula).response) == 3:
        raise DataError("gray_test", "right-censored data, Surv(time, event)", "start-stop data")
    read = _read(formula, data, cause, missing, {})
    n_group = len(read.groups)
    if n_group < 2:
        raise DataError("gray_test", "two groups or more", str(n_group))
    rows = []
    for code, name in enumerate(read.causes, start=1):
        kind = np.where(read.codes == code, 1, np.where(read.codes > 0, 2, 0))
        score, variance = np.zeros(n_group - 1), np.zeros((n_group - 1, n_group - 1))
        for stratum in np.unique(read.stratum):
            here = read.stratum == stratum
            part = gray_score(read.surv.stop[here], kind[here], read.group[here], n_group, rho)
            score, variance = score + part[0], variance + part[1]
        statistic, df = quadratic_form(score, variance)
        rows.append((name, statistic, df, float(chdtrc(df, statistic))))
    return pd.DataFrame(rows, columns=["cause", "statistic", "df", "p_value"])


def quadratic_form(score: Floats, variance: Floats) -> tuple[float, int]:
    """Return score' variance^-1 score and its degrees of freedom; NaN where the variance is not positive."""
    if not np.isfinite(variance).all() or np.linalg.matrix_rank(variance) < len(score):
        return float("nan"), len(score)
    if (np.linalg.eigvalsh((variance + variance.T) / 2) <= 0).any():
        return float("nan"), len(score)
    return float(score @ np.linalg.solve(variance, score)), len(score)


def _read(
    formula: str,
    data: pd.DataFrame,
    cause: str | ArrayLike,
    missing: str,
    beside: Mapping[str, str | ArrayLike | None],
) -> _Read:
    parsed = parse_formula(formula)
    if not parsed.is_plain:
        raise DataError("formula", "names of grouping columns on the right side", repr(formula))
    rows, columns, n_dropped = complete_rows(formula, data, beside, missing, carried={"cause": cause})
    strata = " + ".join(f"strata(`{name}`)" for name in parsed.strata) or "1"
    response = f"{formula.partition('~')[0]} ~ {strata}"
    design = build_design(
        response, rows, id=columns.get("id"), cluster=columns.get("cluster"), weights=columns.get("weights")
    )
    surv, n_joined = join_near_times(design.surv)
    design = replace(design, surv=surv)
    codes, causes = cause_codes(design.surv.event, columns["cause"])
    ids = _subjects(design, codes)
    group, groups = _groups(rows, [term.strip("`") for term in parsed.terms])
    size = len(design.surv)
    return _Read(
        surv=design.surv,
        codes=codes,
        causes=causes,
        group=group,
        groups=groups,
        stratum=np.zeros(size, dtype=np.int64) if design.strata is None else design.strata,
        unit=ids if design.cluster is None else design.cluster,
        ends=last_rows(design.surv, ids, group),
        weights=np.ones(size) if design.weights is None else design.weights,
        n_dropped=n_dropped,
        n_subject=len(np.unique(ids)),
        n_joined=n_joined,
    )


def _subjects(design: Design, codes: Integers) -> Integers:
    if design.id is None:
        if design.surv.is_counting:
            raise DataError("id", "the subject of each row, as the data are start-stop", "none")
        return np.arange(len(design.surv))
    check_episodes(design.surv, design.id)
    check_single_exit(design.surv, codes, design.id, contiguous=False)
    return design.id


def _groups(rows: pd.DataFrame, names: Sequence[str]) -> tuple[Integers, tuple[object, ...]]:
    """Codes and labels of the groups, in order of their values; several columns make "a=1, b=2"."""
    if not names:
        return np.zeros(len(rows), dtype=np.int64), ("all",)
    parts = [codes_of(take_column(rows, name, "formula"), f"column {name!r}") for name in names]
    orders = [np.argsort([labels.index(x) for x in in_order(labels)]) for _, labels in parts]
    ranked = [order[codes] for order, (codes, _) in zip(orders, parts, strict=True)]
    unique, group = np.unique(np.column_stack(ranked), axis=0, return_inverse=True)
    values = [[in_order(labels)[k] for k in column] for column, (_, labels) in zip(unique.T, parts, strict=True)]
    if len(names) == 1:
        return group.reshape(-1).astype(np.int64), tuple(values[0])
    label = [", ".join(f"{n}={v}" for n, v in zip(names, one, strict=True)) for one in zip(*values, strict=True)]
    return group.reshape(-1).astype(np.int64), tuple(label)
