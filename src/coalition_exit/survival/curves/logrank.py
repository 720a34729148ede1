"""Log-rank tests of equal hazards between groups, on start-stop data and within strata."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from scipy.special import chdtrc

from coalition_exit.errors import DataError, FitError
from coalition_exit.survival.curves.curves import group_codes
from coalition_exit.survival.data.design import build_design
from coalition_exit.survival.data.formula import require_response
from coalition_exit.survival.data.surv import Floats, Integers, Surv, check_episodes
from coalition_exit.survival.data.timefix import join_near_times
from coalition_exit.survival.shown import Shown


@dataclass(frozen=True, eq=False)
class LogRank(Shown):
    """A log-rank test over G groups.

    Attributes
    ----------
    statistic : float
        Chi-squared with ``df`` degrees of freedom.
    df : int
        Groups with a positive expected number of events, less one.
    p_value : float
    table : DataFrame
        One row a group: ``group``, ``rows``, ``events``, ``observed`` and ``expected``, weighted
        by S(t-)^rho (with ``rho`` 0 observed are the events).
    covariance : ndarray, shape (G, G)
        Of observed minus expected.
    rho : float
        0 log-rank; 1 Peto and Peto's modification of the Gehan-Wilcoxon test.
    strata : tuple of str
        Columns of the strata.
    n_joined : int
        Distinct times joined to one from which they differ by rounding only.
    """

    statistic: float
    df: int
    p_value: float
    table: pd.DataFrame
    covariance: Floats = field(repr=False)
    rho: float
    strata: tuple[str, ...]
    n_joined: int = 0

    def __str__(self) -> str:
        within = f", stratified by {', '.join(self.strata)}" if self.strata else ""
        weight = f" with weight S(t-)^{self.rho:g}" if self.rho else ""
        table = self.table.to_string(index=False, float_format=lambda v: f"{v:.4g}")
        end = f"chi2({self.df}) = {self.statistic:.4g}, p = {self.p_value:.4g}"
        if self.n_joined:
            end += f"\n{self.n_joined} times joined to one from which they differ by rounding only"
        return f"Log-rank test{weight}{within}\n{table}\n{end}"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def logrank_test(
    response: str,
    data: pd.DataFrame,
    *,
    by: str | Sequence[str],
    strata: str | Sequence[str] | None = None,
    id: str | None = None,
    rho: float = 0.0,
) -> LogRank:
    """Test whether the groups have the same hazard.

    Parameters
    ----------
    response
        ``"Surv(start, stop, event)"`` or ``"Surv(time, event)"``.
    data
        One row per episode. Never changed.
    by
        Column, or columns, with the groups; they may change over a subject's episodes.
    strata
        Column, or columns: observed and expected are compared within strata and summed.
    id
        Subject of each row, checked for overlapping episodes; the test does not depend on it.
    rho
        Weight S(t-)^rho of an event at t, S the Kaplan-Meier estimate of all groups of the stratum
        (Harrington and Fleming 1982).

    Returns
    -------
    LogRank
        With ``rho`` 0 the statistic is that of R's ``survdiff`` (right-censored data), of the
        score test of ``coxph(ties = "exact")`` (any data) and of Stata's ``sts test``.

    Raises
    ------
    DataError
        As for the estimators; also fewer than two groups, or ``rho`` not finite.
    FitError
        "no_events"; "no_variation" when at no event two groups are at risk.

    References
    ----------
    Mantel (1966), Cancer Chemotherapy Reports 50, 163-170; Harrington, D. P. and Fleming, T. R.
    (1982), Biometrika 69, 553-566.
    """
    require_response(response, "with the groups in by=")
    if not np.isfinite(rho):
        raise DataError("rho", "a finite number", repr(rho))
    names = () if strata is None else (strata,) if isinstance(strata, str) else tuple(strata)
    right = f"strata({', '.join(f'`{name}`' for name in names)})" if names else "1"
    design = build_design(f"{response} ~ {right}", data, id=id)
    surv, n_joined = join_near_times(design.surv)
    design = replace(design, surv=surv)
    if design.id is not None:
        check_episodes(design.surv, design.id, design.id_labels)
    codes, keys = group_codes(data, by)
    if len(keys) < 2:
        raise DataError("by", "at least two groups", str(len(keys)))
    if not design.surv.event.any():
        raise FitError("no_events", f"no events among {len(design.surv)} rows")
    strata_codes = np.zeros(len(data), dtype=np.int64) if design.strata is None else design.strata
    observed, expected, covariance = logrank_sums(design.surv, codes, len(keys), strata_codes, rho)
    # Groups never at risk at an event, and one more, add nothing: the differences sum to 0.
    use = np.flatnonzero(expected > 0)
    statistic, df = 0.0, len(use) - 1
    if df > 0:
        part = np.ix_(use[1:], use[1:])
        difference = (observed - expected)[use[1:]]
        if np.linalg.matrix_rank(covariance[part], hermitian=True) < df:
            df = 0
        else:
            statistic = float(difference @ np.linalg.solve(covariance[part], difference))
    if df < 1:
        raise FitError("no_variation", "two groups or more are not at risk together at enough events to compare them")
    table = pd.DataFrame(
        {
            "group": keys,
            "rows": np.bincount(codes, minlength=len(keys)),
            "events": np.bincount(codes[design.surv.event], minlength=len(keys)),
            "observed": observed,
            "expected": expected,
        }
    )
    return LogRank(statistic, df, float(chdtrc(df, statistic)), table, covariance, rho, names, n_joined)


def logrank_sums(
    surv: Surv, group: Integers, n_group: int, strata: Integers, rho: float
) -> tuple[Floats, Floats, Floats]:
    """Return observed, expected, shapes (G,), and the covariance of their difference, (G, G).

    At an event time with d events among Y at risk, Y_g of them in group g, the events in the
    groups have mean d Y_g / Y and the hypergeometric covariance
    d (Y - d) / (Y - 1) * (diag(Y_g / Y) - outer(Y_g / Y, Y_g / Y)).
    """
    observed, expected, covariance = np.zeros(n_group), np.zeros(n_group), np.zeros((n_group, n_group))
    order = np.argsort(strata, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(strata[order])) + 1):
        times = np.unique(surv.stop[rows][surv.event[rows]])
        k = len(times)
        if not k:
            continue
        first = np.searchsorted(times, surv.start[rows], side="right")
        last = np.searchsorted(times, surv.stop[rows], side="right")
        cell = group[rows] * (k + 1)
        change = np.bincount(cell + first, minlength=n_group * (k + 1))
        change -= np.bincount(cell + last, minlength=n_group * (k + 1))
        y = np.cumsum(change.reshape(n_group, k + 1), axis=1)[:, :k].astype(np.float64)
        had = surv.event[rows]
        d = np.bincount(cell[had] + last[had] - 1, minlength=n_group * (k + 1)).reshape(n_group, k + 1)[:, :k]
        total, deaths = y.sum(axis=0), d.sum(axis=0)
        survival = np.cumprod(np.concatenate([[1.0], 1 - deaths / total]))[:-1]
        # S(t-) is 0 where a risk set has died out before: only a positive power gives such events no weight.
        if rho < 0 and not survival.all():
            raise DataError(
                "rho", "a number >= 0 where the survival function falls to 0 before the last event", f"{rho:g}"
            )
        weight = survival**rho
        share = y / total
        observed += d @ weight
        expected += share @ (weight * deaths)
        spread = weight**2 * deaths * (total - deaths) / np.maximum(total - 1, 1)
        covariance += np.diag(share @ spread) - (share * spread) @ share.T
    return observed, expected, covariance
