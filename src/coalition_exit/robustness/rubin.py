"""Rubin's rules: estimates from several completed data sets made into one.

With m estimates Q and variances U, W = mean(U), B = var(Q) (divisor m - 1) and T = W + (1 + 1/m) B. The degrees of
freedom are Barnard and Rubin's, which never exceed those of complete data; with errors clustered in G groups these are
taken to be G - 1.

References
----------
Rubin, D. B. (1987), Multiple Imputation for Nonresponse in Surveys, section 3.1;
Barnard, J. and Rubin, D. B. (1999), Biometrika 86, 948-955.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit

from coalition_exit.errors import DataError

POOLED_COLUMNS = (
    "term", "estimate", "std_error", "statistic", "df", "p_value", "conf_low", "conf_high",
    "within", "between", "share_between", "riv", "fmi", "m",
)  # fmt: skip


def pool(
    terms: Sequence[str],
    estimates: ArrayLike,
    variances: ArrayLike,
    df_complete: float = np.inf,
    level: float = 0.95,
) -> pd.DataFrame:
    """Combine m sets of p estimates.

    Parameters
    ----------
    terms
        Names of the p coefficients.
    estimates, variances
        Shape (m, p): estimates and their squared standard errors.
    df_complete
        Degrees of freedom that the analysis of complete data would have.
    level
        Level of the interval.

    Returns
    -------
    DataFrame
        A row a term: estimate, std_error (the root of T), statistic, df, p_value and interval from Student's t;
        within (W), between (B), share_between ((1 + 1/m) B / T), riv ((1 + 1/m) B / W), fmi (the fraction of missing
        information, corrected for finite df) and m.

    Raises
    ------
    DataError
        Fewer than two sets, shapes that do not match, variances that are not positive.
    """
    q, u = (np.asarray(values, dtype=np.float64) for values in (estimates, variances))
    if q.ndim != 2 or q.shape != u.shape or q.shape[1] != len(terms):
        raise DataError(
            "estimates", f"m rows of {len(terms)} estimates and of as many variances", f"{q.shape}, {u.shape}"
        )
    if len(q) < 2:
        raise DataError("estimates", "at least two completed data sets", str(len(q)))
    if not (np.isfinite(q).all() and np.isfinite(u).all() and (u > 0).all()):
        raise DataError("variances", "finite estimates and positive variances", "others")
    if not (0 < level < 1 and df_complete > 0):
        raise DataError("level, df_complete", "a level between 0 and 1 and df above 0", f"{level}, {df_complete}")
    m = len(q)
    mean, within, between = q.mean(axis=0), u.mean(axis=0), q.var(axis=0, ddof=1)
    # Equal estimates have no variance; their mean may differ from them in the last digit.
    between = np.where((q == q[0]).all(axis=0), 0.0, between)
    mean = np.where(between == 0, q[0], mean)
    extra = (1 + 1 / m) * between
    total = within + extra
    share = extra / total
    df = _barnard_rubin(share, m, df_complete)
    riv = extra / within
    error = np.sqrt(total)
    statistic = mean / error
    reach = stdtrit(df, 0.5 + level / 2) * error
    columns = (
        list(terms), mean, error, statistic, df, 2 * stdtr(df, -np.abs(statistic)), mean - reach, mean + reach,
        within, between, share, riv, (riv + 2 / (df + 3)) / (1 + riv), np.full(len(terms), m),
    )  # fmt: skip
    return pd.DataFrame(dict(zip(POOLED_COLUMNS, columns, strict=True)))


def _barnard_rubin(share: np.ndarray, m: int, df_complete: float) -> np.ndarray:
    # scipy's t functions take 1e10 for the normal distribution.
    with np.errstate(divide="ignore"):
        old = np.minimum((m - 1) / share**2, 1e10)
    if np.isinf(df_complete):
        return np.asarray(old)
    observed = (df_complete + 1) / (df_complete + 3) * df_complete * (1 - share)
    return np.asarray(old * observed / (old + observed))
