"""Covariance matrices of estimates: cluster sandwich with a named small-sample correction."""

from __future__ import annotations

import numpy as np

from coalition_exit.errors import DataError, one_of
from coalition_exit.survival.surv import Floats, Integers

CORRECTIONS = ("stata", "none")


def correction_factor(correction: str, n_cluster: int) -> float:
    """Return the factor on the cluster sandwich.

    "stata" is G / (G - 1) with G clusters, the convention of Stata's ``vce(cluster)``; "none" is
    1, the convention of R's ``coxph(cluster=)``.

    Raises
    ------
    DataError
        On an unknown name, or a single cluster.
    """
    if correction not in CORRECTIONS:
        raise DataError("correction", one_of(CORRECTIONS), repr(correction))
    if n_cluster < 2:
        raise DataError("cluster", "at least two clusters", str(n_cluster))
    return n_cluster / (n_cluster - 1) if correction == "stata" else 1.0


def sum_by_cluster(residuals: Floats, clusters: Integers, n_cluster: int) -> Floats:
    """Sum rows of residuals, shape (m, p), within clusters: shape (n_cluster, p)."""
    columns = [np.bincount(clusters, weights=column, minlength=n_cluster) for column in residuals.T]
    return np.column_stack(columns) if columns else np.zeros((n_cluster, 0))


def cluster_sandwich(inverse: Floats, summed: Floats, factor: float) -> Floats:
    """Return factor * inverse @ (sum of outer products of cluster scores) @ inverse.

    Parameters
    ----------
    inverse
        Model covariance, shape (p, p).
    summed
        Score residuals summed within clusters, shape (G, p).
    factor
        Small-sample factor.

    References
    ----------
    Lin, D. Y. and Wei, L. J. (1989), JASA 84, 1074-1078.
    """
    influence = summed @ inverse
    return factor * (influence.T @ influence)
