"""Residuals of a Cox fit, for every row of the data and as R's ``residuals.coxph`` defines them.

Rows that are at risk at no event time have an expected number of events of 0 and score residuals
of 0; they are part of the result. Where no event of positive weight happens the risk set has no
mean: a row of weight 0 that has its event there has NaN for a score residual. Rows bear the labels
of the data's index (those of the rows kept, if rows with missing values were dropped), subjects and
clusters their own names. With tt() terms rows are split at the event times: results are sums over the parts of a
row, for the rows that are at risk at an event time.

References
----------
Therneau, T. M. and Grambsch, P. M. (2000), Modeling Survival Data, chapters 4 and 7;
Barlow, W. E. and Prentice, R. L. (1988), Biometrika 75, 65-74; Schoenfeld, D. (1982), Biometrika 69, 239-241.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from coalition_exit.errors import DataError, nearest, one_of
from coalition_exit.survival.cox.partial import PartialLikelihood
from coalition_exit.survival.cox.state import CoxState
from coalition_exit.survival.data.surv import Floats, Integers, refuse_other_index

KINDS = ("martingale", "deviance", "score", "dfbeta", "dfbetas", "schoenfeld", "scaledsch")


@dataclass(frozen=True, eq=False)
class RowGroups:
    """A partition of the n rows into groups.

    Attributes
    ----------
    codes : shape (n,)
        Group of each row, 0 .. len(labels) - 1.
    labels : pandas.Index
        Names of the groups by code, ascending.
    """

    codes: Integers
    labels: pd.Index

    def sum(self, values: Floats) -> Floats:
        """Sum rows within groups: (n,) or (n, p) to (G,) or (G, p)."""
        size = len(self.labels)
        if values.ndim == 1:
            return np.asarray(np.bincount(self.codes, weights=values, minlength=size), dtype=float)
        columns = [np.bincount(self.codes, weights=column, minlength=size) for column in values.T]
        return np.column_stack(columns) if columns else np.zeros((size, 0))


def row_groups(state: CoxState, by: str | ArrayLike, role: str = "collapse") -> RowGroups:
    """Group the rows of a fit.

    Parameters
    ----------
    state
        A fit on n rows.
    by
        "id" or "cluster" for the subjects or clusters given to the fit, by their names in order of first
        appearance, or an array of n values.
    role
        Name of the argument, for messages.

    Raises
    ------
    DataError
        The fit had no id or cluster; an array of another length, a series with another index; missing values.
    """
    design = state.design
    if isinstance(by, str):
        known = {"id": (design.id, design.n_subject), "cluster": (design.cluster, design.n_cluster)}
        if by not in known:
            raise DataError(role, "'id', 'cluster' or one value a row", repr(by), nearest(by, known))
        given, size = known[by]
        if given is None:
            raise DataError(role, f"a model that was fitted with {by}=", f"none, and {role}={by!r}")
        labels = design.cluster_labels if by == "cluster" else design.id_labels
        if labels is not None:
            return RowGroups(given, pd.Index(labels))
        return RowGroups(given, pd.RangeIndex(size or 0))
    source = design.source
    n = len(design.surv) if source is None else int(source.max(initial=-1)) + 1
    refuse_other_index(by, design.index if source is None else None, role)
    array = np.asarray(by)
    # Split rows do not tell how many rows of the data follow the last one at risk.
    if array.ndim != 1 or len(array) < n or (source is None and len(array) > n):
        raise DataError(role, f"{n} values, one a row of the data", f"shape {array.shape}")
    codes, names = pd.factorize(pd.Series(array), sort=True)
    if (codes < 0).any():
        row = int(np.argmax(codes < 0))
        raise DataError(f"{role}, row {row} ({int((codes < 0).sum())} such rows)", "a value", "a missing value")
    codes = codes.astype(np.int64)
    return RowGroups(codes if source is None else codes[source], pd.Index(names))


def groups_of(state: CoxState, collapse: str | ArrayLike | None) -> RowGroups | None:
    """Groups to sum within: those asked for, else the parts of split rows, else none."""
    if collapse is not None:
        return row_groups(state, collapse)
    if state.design.source is None:
        return None
    rows, codes = np.unique(state.design.source, return_inverse=True)
    return RowGroups(codes.reshape(-1), row_labels(state, rows))


def row_labels(state: CoxState, rows: Integers | None = None) -> pd.Index:
    """Labels of rows of the data by position, all of them by default: its index, or the positions."""
    index = state.design.index
    if index is None:
        index = pd.RangeIndex(len(state.design.surv) if rows is None else int(rows.max(initial=-1)) + 1)
    return index if rows is None else index[rows]


def stratum_labels(state: CoxState, codes: ArrayLike) -> pd.Index:
    """Names of strata by code: the values in the data, tuples if ``strata()`` names several columns; else the codes."""
    labels = state.design.strata_labels
    taken = np.asarray(codes, dtype=np.int64)
    names = pd.Index(taken) if labels is None else pd.Index(labels, tupleize_cols=False).take(taken)
    return names.rename("stratum")


def sum_steps(likelihood: PartialLikelihood, values: Floats) -> Floats:
    """Sum a quantity per step over the steps of each event time: (S, ...) to (K, ...)."""
    starts = np.flatnonzero(np.diff(likelihood.steps.at, prepend=-1))
    if len(starts) == len(values):
        return values
    return np.asarray(np.add.reduceat(values, starts, axis=0))


def expected_events(state: CoxState, factor: Floats | None = None) -> Floats:
    """Return the expected number of events of each row at risk, without its case weight: shape (m,).

    Parameters
    ----------
    state
        A Cox fit with m rows at risk and S steps.
    factor
        Multiplies the hazard at each step, shape (S,); ones by default.
    """
    likelihood, at, rs = state.likelihood, state.evaluation, state.risk_sets
    hazard = at.hazard if factor is None else at.hazard * factor
    expected = at.risk * rs.accumulate(sum_steps(likelihood, hazard))
    if likelihood.ties == "efron":
        # An event is in only part of the risk set at the steps of its own time.
        taken = sum_steps(likelihood, hazard * likelihood.steps.fraction)[rs.last[rs.event]]
        expected[rs.event] -= at.risk[rs.event] * taken
    return np.asarray(expected)


def residuals(
    state: CoxState, kind: str = "martingale", *, collapse: str | ArrayLike | None = None, weighted: bool | None = None
) -> pd.Series | pd.DataFrame:
    """Residuals of one kind, as R's ``residuals(fit, type=, collapse=, weighted=)``.

    Parameters
    ----------
    state
        A Cox fit with n rows, p covariates and d events.
    kind
        "martingale", "deviance", "score", "dfbeta", "dfbetas", "schoenfeld" or "scaledsch".
    collapse
        Sum within groups: "id", "cluster" or an array of n values. None keeps one value a row.
    weighted
        Multiply by the case weights. As in R, by default only "dfbeta" and "dfbetas" are.

    Returns
    -------
    Series of length n (or groups) for "martingale" and "deviance", DataFrame with a column a term
    otherwise: n rows (or groups), or d rows for the Schoenfeld residuals.

    Raises
    ------
    DataError
        Unknown kind, bad ``collapse``, a combination that has no meaning, exact ties.
    """
    if kind not in KINDS:
        raise DataError("kind", one_of(KINDS), repr(kind), nearest(str(kind), KINDS))
    if kind in ("schoenfeld", "scaledsch"):
        if collapse is not None:
            raise DataError("collapse", f"None with {kind} residuals: they belong to events, not rows", "groups")
        return schoenfeld_residuals(state, scaled=kind == "scaledsch", weighted=bool(weighted))
    if kind == "deviance":
        if weighted:
            raise DataError("weighted", "False: weighted deviance residuals are not defined", "True")
        return deviance_residuals(state, collapse=collapse)
    if kind == "martingale":
        return martingale_residuals(state, collapse=collapse, weighted=bool(weighted))
    if kind == "score":
        return score_residuals(state, collapse=collapse, weighted=bool(weighted))
    return dfbeta(state, scaled=kind == "dfbetas", collapse=collapse, weighted=weighted is None or weighted)


def martingale_residuals(
    state: CoxState, *, collapse: str | ArrayLike | None = None, weighted: bool = False
) -> pd.Series:
    """Events minus expected events of each row, or summed within subjects or other groups.

    Weighted by the case weights they sum to 0 (within every stratum). Source: Therneau and
    Grambsch (2000), section 4.2; R's ``residuals(fit, "martingale")``.

    Returns
    -------
    Series of length n, indexed by row, or by group with ``collapse``.
    """
    values = state.design.surv.event - _all_rows(state, expected_events(state))
    values = values * state.weights if weighted else values
    return _series(state, values, "martingale", collapse)


def deviance_residuals(state: CoxState, *, collapse: str | ArrayLike | None = None) -> pd.Series:
    """Martingale residuals M made more symmetric: sign(M) sqrt(-2 (M + N log((N - M) / N))), N events.

    Summed first when there are groups (``collapse``). For N of 0 or 1 this equals R. For groups
    with more than one event R leaves out the division by N (its result can be NaN); here it is
    that of the source. Source: Therneau and Grambsch (2000), section 4.3.

    Returns
    -------
    Series of length n, indexed by row, or by group with ``collapse``.
    """
    events = state.design.surv.event.astype(float)
    expected = _all_rows(state, expected_events(state))
    groups = groups_of(state, collapse)
    if groups is not None:
        events, expected = groups.sum(events), groups.sum(expected)
    values = np.sign(events - expected) * np.sqrt(2 * _divergence(events, expected))
    return pd.Series(values, index=row_labels(state) if groups is None else groups.labels, name="deviance")


def _divergence(events: Floats, expected: Floats) -> Floats:
    """Return -(M + N log((N - M) / N)) with M = N - E; E where N is 0."""
    counted = np.where(events > 0, events, 1.0)
    share = np.where(events > 0, (events - expected) / counted, 0.0)
    # The two parts of -u - log(1 - u) cancel near u = 0: a series there.
    small = np.abs(share) < 1e-3
    u = np.where(small, share, 0.0)
    series = u**2 * (1 / 2 + u * (1 / 3 + u * (1 / 4 + u * (1 / 5 + u * (1 / 6 + u / 7)))))
    with np.errstate(divide="ignore"):
        plain = -share - np.log(np.where(events > 0, expected, 1.0) / counted)
    return np.where(events > 0, counted * np.where(small, series, plain), expected)


def score_residuals(
    state: CoxState, *, collapse: str | ArrayLike | None = None, weighted: bool = False
) -> pd.DataFrame:
    """Each row's part in the score, one column a term; weighted they sum to 0 at the estimate.

    Source: Therneau and Grambsch (2000), section 4.6.1; R's ``residuals(fit, "score")``.

    Returns
    -------
    DataFrame, shape (n, p), or (groups, p) with ``collapse``.
    """
    return _frame(state, _all_rows(state, _row_scores(state)), collapse, weighted)


def dfbeta(
    state: CoxState, *, scaled: bool = False, collapse: str | ArrayLike | None = None, weighted: bool = True
) -> pd.DataFrame:
    """Approximate change of the coefficients by each row: full estimate minus the estimate without it.

    The score residuals times the model-based covariance; ``scaled`` divides each column by the
    model-based standard error (R's "dfbetas": of the model, also after a robust fit).
    Source: Therneau and Grambsch (2000), section 7.1; R's ``residuals(fit, "dfbeta")``.

    Parameters
    ----------
    state
        A Cox fit with n rows and p covariates.
    scaled
        Divide by the standard errors.
    collapse
        Sum within "id", "cluster" or an array of groups: the one-step effect of the whole group.
    weighted
        Multiply by the case weights (the effect of the row, not of a unit of its weight).

    Returns
    -------
    DataFrame, shape (n, p), or (groups, p) with ``collapse``.
    """
    inverse = state.inverse
    transform = inverse / np.sqrt(np.diag(inverse)) if scaled else inverse
    return _frame(state, _all_rows(state, _row_scores(state) @ transform), collapse, weighted)


def schoenfeld_residuals(state: CoxState, *, scaled: bool = False, weighted: bool = False) -> pd.DataFrame:
    """Covariates of each event minus their mean over its risk set (with Efron's ties: the mean over the steps).

    ``scaled`` gives the ones of R's ``residuals(fit, "scaledsch")``: r V d + b with V the
    model-based covariance (also after a robust fit), d the number of events and b the estimates. Events of
    weight 0 are no events.
    ``cox.zph(fit)$y`` of R survival >= 3 scales within strata by the mean information instead;
    ``cox.zph`` of R 2.x scaled by ``fit$var``, robust where the fit was.
    Source: Schoenfeld (1982); Grambsch, P. M. and Therneau, T. M. (1994), Biometrika 81, 515-526.

    Parameters
    ----------
    state
        A Cox fit with d events and p covariates.
    scaled
        Scale as above.
    weighted
        Multiply by the case weight of the event, before scaling. (R survival 3.5 multiplies by the
        weights of the wrong rows unless the data are sorted by time.)

    Returns
    -------
    DataFrame, shape (d, p), a column a term; index (time, stratum, row), sorted by time, stratum (in order of first
    appearance) and place in the data. R sorts by stratum first. ``stratum`` is its name (the values in ``strata()``;
    0 without strata), ``row`` the label of the row in the data.
    """
    values, events = event_residuals(state)
    rows = state.risk_sets.rows[events]
    if weighted:
        values = values * state.weights[rows][:, None]
    if scaled:
        values = values @ state.inverse * len(rows) + state.beta
    strata = state.design.strata
    stratum = np.zeros(len(rows), dtype=np.int64) if strata is None else strata[rows]
    time = state.design.surv.stop[rows]
    place = rows if state.design.source is None else state.design.source[rows]
    order = np.lexsort((place, stratum, time))
    levels = [time[order], stratum_labels(state, stratum[order]), row_labels(state, place[order])]
    index = pd.MultiIndex.from_arrays(levels, names=["time", "stratum", "row"])
    return pd.DataFrame(values[order], index=index, columns=list(state.design.names))


def event_residuals(state: CoxState) -> tuple[Floats, Integers]:
    """Return the Schoenfeld residuals of the events of positive weight and their places among the rows at risk.

    Shapes (d, p) and (d,), in risk-set order.
    """
    rs, likelihood = state.risk_sets, state.likelihood
    events = np.flatnonzero(likelihood.event_weight > 0)
    mean = sum_steps(likelihood, state.evaluation.mean / likelihood.steps.count[:, None])
    return likelihood.x[events] - mean[rs.last[events]], events


def _row_scores(state: CoxState) -> Floats:
    """Score residuals of the rows at risk, shape (m, p); NaN where the row's own event has no risk-set mean."""
    likelihood, rs = state.likelihood, state.risk_sets
    values = likelihood.score_residuals(state.evaluation)
    void = np.zeros(rs.n_times, dtype=bool)
    void[likelihood.steps.at[likelihood.steps.weight == 0]] = True
    values[rs.event & void[rs.last]] = np.nan
    return values


def _all_rows(state: CoxState, values: Floats) -> Floats:
    """Put values of the m rows at risk at their places among the n rows, zeros elsewhere."""
    full = np.zeros((len(state.design.surv), *values.shape[1:]))
    full[state.risk_sets.rows] = values
    return full


def _series(state: CoxState, values: Floats, name: str, collapse: str | ArrayLike | None) -> pd.Series:
    groups = groups_of(state, collapse)
    if groups is None:
        return pd.Series(values, index=row_labels(state), name=name)
    return pd.Series(groups.sum(values), index=groups.labels, name=name)


def _frame(state: CoxState, values: Floats, collapse: str | ArrayLike | None, weighted: bool) -> pd.DataFrame:
    if weighted:
        w = state.weights[:, None]
        values = np.where(w > 0, values * w, 0.0)
    names = list(state.design.names)
    groups = groups_of(state, collapse)
    if groups is None:
        return pd.DataFrame(values, index=row_labels(state), columns=names)
    return pd.DataFrame(groups.sum(values), index=groups.labels, columns=names)
