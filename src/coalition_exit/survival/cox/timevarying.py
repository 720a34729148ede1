"""Time interactions tt(x, g): covariates x g(t) whose value is taken at each event time.

A row at risk at several event times becomes one row a time, as R's ``coxph(tt=)`` and a
``survSplit`` at all event times do; the fit is then an ordinary one on rows at risk once. The cost
is one row for each row at risk and event time it crosses: for a daily panel no more than the
rows at risk, since a day holds one event time at most; for n right-censored rows and K event
times about n K / 2 rows. Beyond a stated size they are not kept, but made in blocks of event times at each
evaluation (`splitlikelihood`): the estimates are the same, what needs all split rows at once is refused.

References
----------
Cox, D. R. (1972), JRSS B 34, 187-220, section 2; Therneau, T., Crowson, C. and Atkinson, E. (2023), Using time
dependent covariates and time dependent coefficients in the Cox model, section 4.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coalition_exit.errors import DataError
from coalition_exit.survival.cox.risksets import RiskSets, prepare_risk_sets
from coalition_exit.survival.data.design import Design
from coalition_exit.survival.data.surv import Floats, Integers, Surv
from coalition_exit.survival.data.timeterms import TimeFunction, TimeTerm

# Largest expanded design, in numbers (8 bytes each; the fit holds two copies).
MOST_VALUES = 30_000_000
# Split rows on which a function f(x, t) is tried alone.
_TRIED = 64


def split_size(design: Design, risk_sets: RiskSets) -> tuple[int, int]:
    """Return the number of rows and of covariates after a split at event times."""
    width = design.x.shape[1] + sum(len(term.names) for term in design.time_terms)
    return int((risk_sets.last - risk_sets.first + 1).sum()), width


def expand_design(design: Design, risk_sets: RiskSets | None = None, most: int = MOST_VALUES) -> Design:
    """Split the rows at the event times they cross and add the columns of the tt() terms.

    Parameters
    ----------
    design
        n rows with p covariates and ``time_terms`` of q covariates in all.
    risk_sets
        Index of the design's rows; prepared if None.
    most
        Largest number of values, rows times (p + q), of the result.

    Returns
    -------
    Design
        One row for each row at risk and event time, in the order of the data and of time, p + q
        covariates, no ``time_terms``. ``source`` is the position of each row's origin. Rows that cross
        no event time, and what rows hold after their last, are left out: they do not enter the likelihood.

    Raises
    ------
    DataError
        The result would be too large, or a function gives a value that is not finite.
    """
    rs = prepare_risk_sets(design.surv, design.strata) if risk_sets is None else risk_sets
    total, width = split_size(design, rs)
    order = np.argsort(rs.rows)
    counts = (rs.last - rs.first + 1)[order]
    if total * width > most:
        raise DataError(
            "formula, tt()",
            f"at most {most:,} values (rows at risk times event times times covariates)",
            f"{total:,} rows of {width} covariates",
            "Group the times into periods, or split the rows by hand at fewer times",
        )
    source = np.repeat(rs.rows[order], counts)
    ends = np.cumsum(counts)
    begins = ends - counts
    k = np.arange(total) - np.repeat(begins - rs.first[order], counts)
    x = np.empty((total, width))
    p = design.x.shape[1]
    x[:, :p] = design.x[source]
    for term in design.time_terms:
        x[:, p : p + len(term.names)] = pair_values(term, time_factor(term, rs), source, k, rs, source)
        p += len(term.names)
    names = all_names(design)
    return replace(
        design,
        surv=_split(design.surv, rs, source, k, begins, ends),
        x=x,
        names=names,
        strata=_rows(design.strata, source),
        id=_rows(design.id, source),
        cluster=_rows(design.cluster, source),
        weights=_rows(design.weights, source),
        offset=_rows(design.offset, source),
        time_terms=(),
        source=source,
    )


def all_names(design: Design) -> tuple[str, ...]:
    """Names of all coefficients, those of the tt() terms last.

    Raises
    ------
    DataError
        A name occurs twice.
    """
    names = (*design.names, *(name for term in design.time_terms for name in term.names))
    if len(set(names)) < len(names):
        raise DataError("formula, tt()", "terms with names of their own", repr(list(names)))
    return names


def _rows(values: NDArray[Any] | None, rows: Integers) -> NDArray[Any] | None:
    return None if values is None else values[rows]


def _split(surv: Surv, rs: RiskSets, source: Integers, k: Integers, begins: Integers, ends: Integers) -> Surv:
    """Return the episodes: each ends at its event time and begins at the one before, or where its row did."""
    stop = rs.times[k]
    start = np.empty(len(k))
    start[1:] = stop[:-1]
    own = surv.start[source[begins]]
    # A right-censored row is at risk from the beginning, wherever that is.
    start[begins] = np.where(np.isneginf(own), np.minimum(0.0, stop[begins] - 1.0), own)
    event = np.zeros(len(k), dtype=bool)
    event[ends - 1] = surv.event[source[ends - 1]]
    return Surv(start, stop, event)


def time_factor(term: TimeTerm, rs: RiskSets) -> Floats | None:
    """Return g at each event time, shape (K,), or None if the function takes the covariate, too."""
    if _takes_covariate(term.function):
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        return _checked(term.function(rs.times.copy()), len(rs.times), term)


def pair_values(
    term: TimeTerm,
    factor: Floats | None,
    row: Integers,
    k: Integers,
    rs: RiskSets,
    source: Integers | None = None,
    check: bool = True,
) -> Floats:
    """Return the term's columns at pairs of a row and an event time, shape (pairs, q).

    Parameters
    ----------
    term
        The term, its covariates by row.
    factor
        From `time_factor`.
    row, k
        Row and event time of each pair.
    rs
        Index with the event times.
    source
        Positions in the data for messages; by default those of ``rs.rows``.
    check
        Look for values that cannot be used.

    Raises
    ------
    DataError
        A value that is not finite, or a function that does not take each pair by itself.
    """
    x = term.x[row]
    if factor is None:
        t = rs.times[k]
        with np.errstate(divide="ignore", invalid="ignore"):
            columns = [_checked(term.function(column, t.copy()), len(k), term) for column in x.T.copy()]
            values = np.column_stack(columns)
            if check:
                _try_alone(term, x, t, values)
    else:
        values = x * factor[k][:, None]
    if not check:
        return values
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        at = int(np.argmax(bad))
        place = int(rs.rows[row[at]] if source is None else source[at])
        raise DataError(
            f"{term.names[0]}, row {place}, event time {rs.times[k[at]]:g}", "a finite number", str(values[at][0])
        )
    return np.asarray(values)


def _try_alone(term: TimeTerm, x: Floats, t: Floats, values: Floats) -> None:
    """Refuse f(x, t) whose value depends on the other pairs: it would change with the size of the blocks."""
    some = np.unique(np.linspace(0, len(t) - 1, min(_TRIED, len(t))).astype(np.int64))
    for column, whole in zip(x.T, values.T, strict=True):
        alone = _checked(term.function(column[some].copy(), t[some].copy()), len(some), term)
        if not np.allclose(alone, whole[some], rtol=1e-9, atol=0.0, equal_nan=True):
            at = int(np.argmax(~np.isclose(alone, whole[some], rtol=1e-9, atol=0.0, equal_nan=True)))
            raise DataError(
                term.names[0],
                "a function f(x, t) of each covariate value and time by itself",
                f"{whole[some][at]:g} among all rows and {alone[at]:g} among a few, for the same x and t",
            )


def _takes_covariate(function: TimeFunction) -> bool:
    """Tell f(x, t) from g(t) by the number of arguments without a default."""
    if isinstance(function, np.ufunc):
        return function.nin == 2
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in plain and p.default is p.empty for p in parameters) >= 2


def _checked(values: Any, expected: int, term: TimeTerm) -> Floats:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(term.names[0], "a function that returns numbers", repr(type(values).__name__)) from None
    if array.ndim == 0:
        array = np.full(expected, float(array))
    if array.shape != (expected,):
        raise DataError(term.names[0], f"a function that returns {expected} numbers", f"shape {array.shape}")
    return array
