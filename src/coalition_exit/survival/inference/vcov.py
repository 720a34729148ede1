"""Covariance matrices of estimates: the sandwich over clusters, one way, many ways, or subjects.

Every small-sample factor has a name. What follows few clusters (bias-reduced sandwiches, the
jackknife, t distributions) is in `fewclusters`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from coalition_exit.errors import DataError, FitError, nearest, one_of
from coalition_exit.survival.cox.state import CoxState
from coalition_exit.survival.data.surv import Codes, Floats, Integers, refuse_other_index
from coalition_exit.survival.shown import Shown

CORRECTIONS = ("stata", "none")
MULTIWAY_CORRECTIONS = ("stata", "min", "none")
PSD = ("fix", "error")
# An eigenvalue below minus this share of the largest is negative; above it, it is rounding.
_ROUNDING = 1e-12


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


def sum_by_cluster(residuals: Floats, clusters: Codes, n_cluster: int) -> Floats:
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


def check_name(place: str, value: str, valid: Sequence[str]) -> None:
    """Refuse a name that is not one of the valid ones.

    Raises
    ------
    DataError
        Names the nearest valid one.
    """
    if value not in valid:
        raise DataError(place, one_of(valid), repr(value), nearest(str(value), valid))


@dataclass(frozen=True, eq=False)
class ClusterCodes:
    """Clusters of the n rows of the data as integers.

    Attributes
    ----------
    codes : shape (n,)
        0 .. n_cluster - 1 in order of first appearance.
    labels : shape (n_cluster,)
        What the codes stand for; "code 0" and so on where that is not known.
    """

    codes: Integers
    labels: NDArray[np.generic]

    @property
    def n_cluster(self) -> int:
        return len(self.labels)


def cluster_codes(state: CoxState, clusters: ArrayLike | None = None, place: str = "cluster") -> ClusterCodes:
    """Return the clusters given, one value a row of the data, or those of the fit.

    The codes are those of the design's rows: with tt() terms, of the rows split at event times.

    Raises
    ------
    DataError
        A wrong length, another index, a missing value, no clusters at all, a single cluster.
    """
    source = state.design.source
    n = len(state.design.surv) if source is None else int(source.max(initial=-1)) + 1
    if clusters is None:
        if state.design.cluster is None or state.design.n_cluster is None:
            raise DataError(place, f"{n} values, one a row (the model was fitted without clusters)", "none")
        labels = state.design.cluster_labels
        if labels is None:
            labels = np.array([f"code {code}" for code in range(state.design.n_cluster)])
        found = ClusterCodes(state.design.cluster, labels)
    else:
        refuse_other_index(clusters, state.design.index if source is None else None, place)
        values = pd.Series(np.asarray(clusters))
        # Rows of the data after the last one at risk have no trace in a split design.
        if len(values) != n and (source is None or len(values) < n):
            raise DataError(place, f"{n} values, one a row of the data the model was fitted to", str(len(values)))
        codes, labels = pd.factorize(values)
        if (codes < 0).any():
            row = int(np.argmax(codes < 0))
            raise DataError(f"{place}, row {row} ({int((codes < 0).sum())} such rows)", "a value", "a missing value")
        codes = codes if source is None else codes[source]
        found = ClusterCodes(codes.astype(np.int64, copy=False), np.asarray(labels))
    if found.n_cluster < 2:
        raise DataError(place, "at least two clusters", str(found.n_cluster))
    return found


@dataclass(frozen=True, eq=False)
class ClusterVcov(Shown):
    """A sandwich over one or several ways of clustering.

    Attributes
    ----------
    vcov : shape (p, p)
    dimensions : tuple of str
        Names of the ways of clustering.
    n_cluster : tuple of int
        Clusters in each.
    n_component : dict
        Clusters of every set of dimensions taken together (the terms of the inclusion-exclusion).
    correction : str
        "stata", "min" or "none".
    negative : shape (k,)
        Negative eigenvalues that were set to zero; empty when the sum was positive semi-definite.
    """

    vcov: Floats
    dimensions: tuple[str, ...]
    n_cluster: tuple[int, ...]
    n_component: Mapping[str, int]
    correction: str
    negative: Floats

    @property
    def heading(self) -> str:
        errors = ", ".join(f"{error:.4g}" for error in np.sqrt(np.diag(self.vcov)))
        return f"Cluster sandwich: {self.label}; standard errors {errors}"

    @property
    def adjusted(self) -> bool:
        """True when negative eigenvalues were set to zero."""
        return len(self.negative) > 0

    @property
    def df(self) -> int:
        """Degrees of freedom for t: the smallest number of clusters, less one (Cameron, Gelbach and Miller 2011)."""
        return min(self.n_cluster) - 1

    @property
    def label(self) -> str:
        """The conventions in one line, for the head of a table."""
        ways = " x ".join(f"{name} ({n})" for name, n in zip(self.dimensions, self.n_cluster, strict=True))
        fixed = f", {len(self.negative)} negative eigenvalue(s) set to 0" if self.adjusted else ""
        return f"clusters {ways}, correction {self.correction}{fixed}"


def robust_vcov(state: CoxState, correction: str = "stata") -> ClusterVcov:
    """Sandwich with every subject its own cluster: heteroskedasticity-robust.

    Subjects are those of ``id``; without ``id`` each row is one. Stata's ``vce(robust)`` after
    ``stset, id()``; with "none", R's ``coxph(robust = TRUE, cluster = id)``.

    Parameters
    ----------
    state
        A fitted model.
    correction
        "stata" is n / (n - 1) with n subjects; "none" is 1.

    References
    ----------
    Lin, D. Y. and Wei, L. J. (1989), JASA 84, 1074-1078.
    """
    check_name("correction", correction, CORRECTIONS)
    design, n = state.design, state.design.n_subject
    ids = design.id if design.id is not None else design.source
    rows = state.risk_sets.rows
    at_risk = rows if ids is None else ids[rows]
    scores = state.likelihood.cluster_scores(state.evaluation, at_risk, int(at_risk.max(initial=-1)) + 1)
    vcov = cluster_sandwich(state.inverse, scores, correction_factor(correction, n))
    check_variances(vcov, design.names)
    return ClusterVcov(vcov, ("subject",), (n,), {"subject": n}, correction, np.empty(0))


def cluster_vcov(
    state: CoxState,
    clusters: Mapping[str, ArrayLike] | None = None,
    correction: str = "stata",
    psd: str = "fix",
) -> ClusterVcov:
    """Sandwich over one way of clustering or several at once.

    With several the matrix is the sum over all sets of dimensions, intersections of an even number
    of dimensions subtracted: V_a + V_b - V_ab for two.

    Parameters
    ----------
    state
        A fitted model of p coefficients.
    clusters
        Name of each dimension and its values, one a row of the data. The fit's clusters by default.
    correction
        "stata" multiplies each term by its own G / (G - 1) (as Cameron, Gelbach and Miller and
        R's ``sandwich::vcovCL(type = "HC0")`` do); "min" every term by that of the dimension with
        the fewest clusters; "none" leaves them.
    psd
        What becomes of a sum that is not positive semi-definite: "fix" sets its negative
        eigenvalues to zero (Cameron, Gelbach and Miller 2011, section 2.3) and records them in ``negative``;
        "error" refuses.

    Raises
    ------
    DataError
        Unknown names, clusters of the wrong length, with missing values or a single value.
    FitError
        "not_positive": a matrix with negative eigenvalues under "error", or a coefficient whose
        variance is not positive.

    References
    ----------
    Cameron, A. C., Gelbach, J. B. and Miller, D. L. (2011), JBES 29, 238-249.
    """
    check_name("correction", correction, MULTIWAY_CORRECTIONS)
    check_name("psd", psd, PSD)
    if clusters is not None and not clusters:
        raise DataError("cluster", "at least one way of clustering", "none")
    given: Mapping[str, ArrayLike | None] = {"cluster": None} if clusters is None else clusters
    ways = {name: cluster_codes(state, values, f"cluster {name!r}") for name, values in given.items()}
    rows = state.risk_sets.rows
    fewest = min(way.n_cluster for way in ways.values())
    total = np.zeros_like(state.inverse)
    components: dict[str, int] = {}
    for size in range(1, len(ways) + 1):
        for names in combinations(ways, size):
            codes, count = _intersect([ways[name] for name in names])
            components[" x ".join(names)] = count
            factor = 1.0
            if correction != "none":
                factor = correction_factor("stata", fewest if correction == "min" else count)
            scores = state.likelihood.cluster_scores(state.evaluation, codes[rows], count)
            part = cluster_sandwich(state.inverse, scores, factor)
            total += part if size % 2 else -part
    vcov, negative = _positive(total, psd, len(ways))
    # The fix leaves rounding, not exact zeros, where nothing positive remains.
    check_variances(vcov, state.design.names, _ROUNDING * np.diag(state.inverse))
    return ClusterVcov(
        vcov, tuple(ways), tuple(way.n_cluster for way in ways.values()), components, correction, negative
    )


def _intersect(ways: Sequence[ClusterCodes]) -> tuple[Integers, int]:
    codes, count = ways[0].codes, ways[0].n_cluster
    for way in ways[1:]:
        present, inverse = np.unique(codes * way.n_cluster + way.codes, return_inverse=True)
        codes, count = inverse.reshape(-1).astype(np.int64, copy=False), len(present)
    return codes, count


def _positive(matrix: Floats, psd: str, n_way: int) -> tuple[Floats, Floats]:
    matrix = (matrix + matrix.T) / 2
    if n_way == 1 or not len(matrix):
        return matrix, np.empty(0)
    values, vectors = np.linalg.eigh(matrix)
    below = values < -_ROUNDING * np.abs(values).max()
    if not below.any():
        return matrix, np.empty(0)
    if psd == "error":
        worst = ", ".join(f"{value:.3g}" for value in values[below])
        raise FitError("not_positive", f"the multiway covariance has negative eigenvalues: {worst}")
    return np.asarray((vectors * np.maximum(values, 0.0)) @ vectors.T), values[below]


def require_maximum(state: CoxState) -> None:
    """Refuse fits that are no maximum of a partial likelihood in one covariate at least.

    Raises
    ------
    DataError
        A penalized fit, exact ties, no covariates.
    """
    if state.penalty != "none":
        raise DataError("penalty", "a fit without a penalty", state.penalty)
    if state.likelihood.ties not in ("breslow", "efron"):
        raise DataError("ties", one_of(("breslow", "efron")), repr(state.likelihood.ties))
    if not state.beta.size:
        raise DataError("formula", "at least one covariate", "none")


def check_variances(vcov: Floats, names: Sequence[str], least: Floats | float = 0.0) -> None:
    """Refuse a covariance with a variance that is not a positive number, above ``least``.

    Raises
    ------
    FitError
        "not_positive", naming the coefficients.
    """
    variance = np.diag(vcov)
    bad = ~(np.isfinite(variance) & (variance > least))
    if bad.any():
        named = ", ".join(f"{names[int(j)]} ({variance[j]:.3g})" for j in np.flatnonzero(bad))
        raise FitError("not_positive", f"the variance is not positive: {named}")


def t_table(
    terms: Sequence[str],
    estimate: Floats,
    std_error: Floats,
    df: ArrayLike,
    level: float = 0.95,
    exponentiate: bool = False,
) -> pd.DataFrame:
    """One row a term: estimate, standard error, t, p value, interval, degrees of freedom.

    Parameters
    ----------
    terms, estimate, std_error
        p of each.
    df
        Degrees of freedom, one number or p; infinity gives the normal distribution.
    level
        Confidence level.
    exponentiate
        Give exp(estimate), its delta-method error and the exponentiated interval.
    """
    if not 0 < level < 1:
        raise DataError("level", "a number between 0 and 1", repr(level))
    freedom = np.broadcast_to(np.asarray(df, dtype=float), np.shape(estimate))
    normal = np.isinf(freedom)
    finite = np.where(normal, 1.0, freedom)
    statistic = estimate / std_error
    reach = np.where(normal, ndtri(0.5 + level / 2), stdtrit(finite, 0.5 + level / 2)) * std_error
    p_value = 2 * np.where(normal, ndtr(-np.abs(statistic)), stdtr(finite, -np.abs(statistic)))
    low, high = estimate - reach, estimate + reach
    if exponentiate:
        estimate, low, high = np.exp(estimate), np.exp(low), np.exp(high)
        std_error = std_error * estimate
    return pd.DataFrame(
        {
            "term": list(terms), "estimate": estimate, "std_error": std_error, "statistic": statistic,
            "p_value": p_value, "conf_low": low, "conf_high": high, "df": freedom,
        }
    )  # fmt: skip
