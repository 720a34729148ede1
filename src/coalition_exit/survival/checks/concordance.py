"""Concordance of predictor and time: Harrell's C with its counts of pairs and its standard error.

A pair is comparable when one row has an event at t and the other is at risk at t without an event
at t (in the same stratum); it is concordant when the one with the event has the higher linear predictor.

References
----------
Harrell, F. E., Califf, R. M., Pryor, D. B., Lee, K. L. and Rosati, R. A. (1982), JAMA 247, 2543-2546;
Therneau, T. M. and Atkinson, E., "Concordance", vignette of R's survival (start-stop data, weights,
infinitesimal jackknife).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from coalition_exit.errors import DataError, FitError
from coalition_exit.survival.checks.residuals import row_groups, stratum_labels
from coalition_exit.survival.cox.risksets import RiskSets, prepare_risk_sets
from coalition_exit.survival.cox.state import CoxState
from coalition_exit.survival.data.surv import Floats, Integers, Surv
from coalition_exit.survival.shown import Shown

COUNTS = ("concordant", "discordant", "tied_x", "tied_time", "tied_both")


@dataclass(frozen=True, eq=False)
class Concordance(Shown):
    """Harrell's C with its counts of pairs, each pair weighted by the product of its case weights.

    Attributes
    ----------
    concordance : float
        (concordant + tied_x / 2) / (concordant + discordant + tied_x).
    std_error : float
        Infinitesimal jackknife, summed within clusters if there are any.
    concordant, discordant : float
        Comparable pairs in which the row with the event has the higher, the lower predictor.
    tied_x : float
        Comparable pairs with equal predictors: each counts one half.
    tied_time, tied_both : float
        Pairs with events at the same time, which are not comparable: with different predictors,
        with equal ones.
    by_stratum : DataFrame
        The five counts for each stratum with an event, indexed by its name (the values in ``strata()``).
    influence : ndarray, shape (n,)
        Of each row on ``concordance``, times its weight; the sum of squares is the variance
        without clusters.
    n_obs, n_event : int
    n_cluster : int or None
    """

    concordance: float
    std_error: float
    concordant: float
    discordant: float
    tied_x: float
    tied_time: float
    tied_both: float
    by_stratum: pd.DataFrame
    influence: Floats
    n_obs: int
    n_event: int
    n_cluster: int | None

    @property
    def heading(self) -> str:
        rows = f"{self.n_cluster} clusters" if self.n_cluster else f"{self.n_obs} rows"
        return f"Concordance {self.concordance:.4f}, std. error {self.std_error:.4f} (jackknife over {rows})"

    @property
    def shown(self) -> pd.DataFrame:
        return self.tidy()[[*COUNTS, "n_obs", "n_event"]]

    def tidy(self) -> pd.DataFrame:
        """One row: concordance, std_error, the counts of pairs, rows, events, clusters."""
        names = ("concordance", "std_error", *COUNTS, "n_obs", "n_event", "n_cluster")
        return pd.DataFrame({name: [getattr(self, name)] for name in names})


def concordance(state: CoxState, cluster: str | ArrayLike | None = "fit") -> Concordance:
    """Harrell's C of a Cox fit's linear predictor (with its offset), as R's ``concordance(fit)``.

    Parameters
    ----------
    state
        A Cox fit; its strata and weights are used.
    cluster
        Rows that belong together in the standard error: "fit" takes the fit's clusters if it has
        any (as R), "id", "cluster" or an array of n values; None takes rows as independent.

    Raises
    ------
    DataError
        Bad ``cluster``, or tt() terms (R has none for these either).
    FitError
        "no_pairs": no event has a row to be compared with.
    """
    if state.design.source is not None:
        raise DataError("formula", "no tt() terms for a concordance", "tt()")
    codes = state.design.cluster if isinstance(cluster, str) and cluster == "fit" else None
    if cluster is not None and not (isinstance(cluster, str) and cluster == "fit"):
        codes = row_groups(state, cluster, "cluster").codes
    scale = float((np.abs(state.design.x - state.center) @ np.abs(state.beta)).max(initial=0.0))
    found = harrell(
        state.design.surv,
        state.linear_predictor,
        weights=state.design.weights,
        cluster=codes,
        risk_sets=state.risk_sets,
        noise=64 * np.finfo(float).eps * scale,
    )
    return replace(found, by_stratum=found.by_stratum.set_axis(stratum_labels(state, found.by_stratum.index)))


def harrell(
    surv: Surv,
    predictor: Floats,
    *,
    strata: Integers | None = None,
    weights: Floats | None = None,
    cluster: Integers | None = None,
    risk_sets: RiskSets | None = None,
    noise: float = 0.0,
) -> Concordance:
    """Harrell's C of any predictor of risk, right-censored or start-stop data, in O(n log n).

    Parameters
    ----------
    surv
        The response, n rows; times are compared exactly.
    predictor
        Higher for higher risk, shape (n,).
    strata, cluster
        Integer codes, shape (n,); pairs are formed within strata.
    weights
        Case weights, shape (n,).
    risk_sets
        Those of ``surv`` and ``strata``, if prepared already.
    noise
        Predictors no further apart than this are tied: rounding must not order equal rows.

    Raises
    ------
    DataError
        Shapes differ; a predictor is not finite.
    FitError
        "no_pairs".
    """
    n = len(surv)
    predictor = np.asarray(predictor, dtype=float)
    if predictor.shape != (n,) or not np.isfinite(predictor).all():
        raise DataError("predictor", f"{n} finite values, one a row", f"shape {predictor.shape} or values not finite")
    rs = prepare_risk_sets(surv, strata) if risk_sets is None else risk_sets
    w = np.ones(n) if weights is None else np.asarray(weights, dtype=float)
    events, sums = _pair_sums(rs, _ranks(predictor[rs.rows], noise), w[rs.rows])
    by_stratum = _count(rs, events, w[rs.rows])
    total = by_stratum.sum()
    pairs = float(total[["concordant", "discordant", "tied_x"]].sum())
    if not pairs > 0:
        raise FitError("no_pairs", "no event has a row at risk to be compared with: concordance is not defined")
    somers = float(total["concordant"] - total["discordant"]) / pairs
    influence = np.zeros(n)
    influence[rs.rows] = w[rs.rows] * (sums[0] - sums[1] - somers * sums.sum(axis=0)) / (2 * pairs)
    summed = influence if cluster is None else np.bincount(cluster, weights=influence)
    return Concordance(
        concordance=(somers + 1) / 2,
        std_error=float(np.sqrt(summed @ summed)),
        **{name: float(total[name]) for name in COUNTS},
        by_stratum=by_stratum,
        influence=influence,
        n_obs=n,
        n_event=int(surv.event.sum()),
        n_cluster=None if cluster is None else len(np.unique(cluster)),
    )


def _ranks(values: Floats, noise: float) -> Integers:
    """Dense ranks; neighbours no further apart than ``noise`` share one."""
    order = np.argsort(values, kind="stable")
    ranks = np.zeros(len(values), dtype=np.int64)
    ranks[order[1:]] = np.cumsum(np.diff(values[order]) > noise)
    return ranks


def _pair_sums(rs: RiskSets, rank: Integers, w: Floats) -> tuple[Floats, Floats]:
    """Weight of the partners of each row: as the event (5, events), and in either part (3, m).

    The first three rows are concordant, discordant and tied in the predictor; then the other events
    at the same time with another and with the same predictor.
    """
    e = np.flatnonzero(rs.event)
    e = e[np.argsort(rs.last[e], kind="stable")]
    at, own, own_w = rs.last[e], rank[e], w[e]
    by_first, by_last = np.argsort(rs.first, kind="stable"), np.argsort(rs.last, kind="stable")
    entered = np.searchsorted(rs.first[by_first], at, side="right")
    gone = np.searchsorted(rs.last[by_last], at, side="left")
    begin, end = np.searchsorted(at, at, side="left"), np.searchsorted(at, at, side="right")
    none = np.zeros(len(e), dtype=np.int64)
    # At risk at the event's time: entered by then, less those gone before, less events at that time.
    together = _weight_by_rank(own, own_w, begin, end, own)
    at_risk = _weight_by_rank(rank[by_first], w[by_first], none, entered, own)
    at_risk -= _weight_by_rank(rank[by_last], w[by_last], none, gone, own) + together
    lower, same, higher = at_risk
    as_event = np.array([lower, higher, same, together[0] + together[2], together[1] - own_w])
    # As the row that survives: the events during its time at risk, but none at its own event time.
    first, last = np.searchsorted(at, rs.first, side="left"), np.searchsorted(at, rs.last, side="right")
    last[e] = begin
    lower, same, higher = _weight_by_rank(own, own_w, first, last, rank)
    sums = np.array([higher, lower, same])
    sums[:, e] += as_event[:3]
    return as_event, sums


def _count(rs: RiskSets, as_event: Floats, w: Floats) -> pd.DataFrame:
    e = np.flatnonzero(rs.event)
    e = e[np.argsort(rs.last[e], kind="stable")]
    codes, where = np.unique(rs.stratum[rs.last[e]], return_inverse=True)
    # Each pair of two events at one time is seen from both sides.
    factor = np.array([1, 1, 1, 0.5, 0.5])
    counts = [
        np.bincount(where, weights=w[e] * row * f, minlength=len(codes))
        for row, f in zip(as_event, factor, strict=True)
    ]
    return pd.DataFrame(dict(zip(COUNTS, counts, strict=True)), index=pd.Index(codes, name="stratum"))


def _weight_by_rank(rank: Integers, weight: Floats, begin: Integers, end: Integers, own: Integers) -> Floats:
    """Weights at positions begin .. end - 1 of lower, equal and higher rank than each query's own: (3, queries)."""
    size = len(own)
    below = _weight_below(rank, weight, np.tile(begin, 2), np.tile(end, 2), np.concatenate([own, own + 1]))
    mass = np.concatenate([[0.0], np.cumsum(weight)])
    return np.array([below[:size], below[size:] - below[:size], mass[end] - mass[begin] - below[size:]])


def _weight_below(rank: Integers, weight: Floats, begin: Integers, end: Integers, bound: Integers) -> Floats:
    """For each query, sum the weights at positions begin .. end - 1 whose rank is below the bound.

    A wavelet matrix: one stable partition of the points for each bit of the ranks, all queries at
    once. O((points + queries) log ranks).
    """
    total = np.zeros(len(begin))
    for bit in reversed(range(int(max(rank.max(initial=0), bound.max(initial=0))).bit_length())):
        high: NDArray[np.bool_] = (rank >> bit) & 1 == 1
        zeros = np.concatenate([[0], np.cumsum(~high)])
        mass = np.concatenate([[0.0], np.cumsum(np.where(high, 0.0, weight))])
        up = (bound >> bit) & 1 == 1
        low_begin, low_end = zeros[begin], zeros[end]
        total += np.where(up, mass[end] - mass[begin], 0.0)
        begin = np.where(up, zeros[-1] + begin - low_begin, low_begin)
        end = np.where(up, zeros[-1] + end - low_end, low_end)
        order = np.concatenate([np.flatnonzero(~high), np.flatnonzero(high)])
        rank, weight = rank[order], weight[order]
    return total
