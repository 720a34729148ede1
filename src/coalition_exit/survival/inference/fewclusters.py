"""Covariances and t tests for few clusters: bias-reduced sandwiches with degrees of freedom.

With U_g the score of cluster g at the estimate (Lin and Wei's, the baseline hazard estimated),
Omega_g = -dU_g/db and V the inverse of the information (the sum of all Omega_g), the sandwich is V (sum
U_g U_g') V. It is too small when clusters are few, for U_g is closer to zero at the estimate
than at the truth: by about (I - Omega_g V). The corrections differ in how they undo that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from coalition_exit.errors import DataError, FitError
from coalition_exit.survival.cox.state import CoxState
from coalition_exit.survival.data.surv import Floats, Integers
from coalition_exit.survival.inference.vcov import (
    check_name,
    check_variances,
    cluster_codes,
    cluster_sandwich,
    correction_factor,
    require_maximum,
    t_table,
)
from coalition_exit.survival.shown import Shown

CITATIONS = {
    "lin_wei": "Lin and Wei (1989), JASA 84, 1074-1078",
    "stata": "Lin and Wei (1989), JASA 84, 1074-1078, times G/(G-1)",
    "fay_graubard": "Fay and Graubard (2001), Biometrics 57, 1198-1206",
    "kauermann_carroll": "Kauermann and Carroll (2001), JASA 96, 1387-1396",
    "kauermann_carroll_wang": "Kauermann and Carroll (2001) as symmetrized by Wang, Turner and Li (2023), "
    "Biometrical Journal 65, 2200113",
    "mancl_derouen": "Mancl and DeRouen (2001), Biometrics 57, 126-134",
    "morel": "Morel, Bokossa and Neerchal (2003), Biometrical Journal 45, 395-409",
}
METHODS = tuple(CITATIONS)
LEVERAGES = ("derivative", "wang")
DF = ("clusters-1", "clusters-p", "fay_graubard", "fay_graubard_hat", "normal")
_SINGULAR = 1e-10


@dataclass(frozen=True, eq=False)
class ClusterTerms(Shown):
    """What the sandwich is made of, cluster by cluster.

    Attributes
    ----------
    score : shape (G, p)
        U_g at the estimate.
    information : shape (G, p, p)
        Omega_g; the sum over clusters is the information.
    inverse : shape (p, p)
        V.
    labels : shape (G,)
        Names of the clusters.
    """

    score: Floats
    information: Floats
    inverse: Floats
    labels: NDArray[np.generic]

    @property
    def heading(self) -> str:
        return f"Scores and informations of {self.score.shape[0]} clusters, {self.score.shape[1]} coefficients"

    @property
    def leverage(self) -> Floats:
        """Diagonals of Omega_g V, shape (G, p): a cluster's share in what is known of each coefficient."""
        return np.asarray(np.einsum("gij,ji->gi", self.information, self.inverse))


def cluster_terms(state: CoxState, clusters: ArrayLike | None = None, leverage: str = "derivative") -> ClusterTerms:
    """Compute scores and informations of clusters.

    Parameters
    ----------
    state
        A fitted model with Breslow or Efron ties.
    clusters
        One value a row of the data; the fit's own by default.
    leverage
        "derivative": Omega_g is the derivative of U_g, all of it, as Fay and Graubard (2001, section
        3.4) take it numerically. "wang": the baseline hazard is held fixed as in Wang, Turner and Li
        (2023) and their R package CoxBcv; these Omega_g, and what follows from them, change when a
        constant is added to a covariate (covariates are taken as they are in the data).

    Raises
    ------
    DataError
        Unknown ``leverage``, other ties, a penalized fit, clusters that cannot be used.
    """
    check_name("leverage", leverage, LEVERAGES)
    require_maximum(state)
    codes = cluster_codes(state, clusters)
    at_risk, count = codes.codes[state.risk_sets.rows], codes.n_cluster
    score = state.likelihood.cluster_scores(state.evaluation, at_risk, count)
    information = _cluster_information(state, at_risk, count, leverage)
    return ClusterTerms(score, information, state.inverse, codes.labels)


def _cluster_information(state: CoxState, clusters: Integers, n_cluster: int, leverage: str) -> Floats:
    """Sum -dU_i/db over the rows of each cluster, a pair of covariates at a time: shape (G, p, p).

    Row i of weight w and relative risk r contributes, with H_i the hazard it accumulates and V_k the
    variance of the covariates in risk set k,
    w d_i V_(own time) + w r (sum_k h_k [(x - xbar_k)(x - xbar_k)' - V_k]).
    """
    own, at = state.likelihood, state.evaluation
    rs, steps, x = own.risk_sets, own.steps, own.x
    p = x.shape[1]
    total = np.zeros((n_cluster, p, p))
    if not len(steps.at):
        return total
    begins = np.flatnonzero(np.diff(steps.at, prepend=-1))
    efron = own.ties == "efron"

    def per_row(values: Floats) -> Floats:
        """Accumulate a quantity per step over the steps at which each row is at risk."""
        summed = rs.accumulate(np.add.reduceat(values, begins))
        if efron:
            taken = np.add.reduceat(values * steps.fraction, begins)
            summed = summed - np.where(rs.event, taken[rs.last], 0.0)
        return np.asarray(summed)

    risk = own.weights * at.risk
    denominator = np.divide(steps.weight, at.hazard, out=np.ones_like(at.hazard), where=at.hazard > 0)
    hazard = per_row(at.hazard)
    means = np.column_stack([per_row(at.hazard * column) for column in at.mean.T])
    for i in range(p):
        for j in range(i + 1):
            product = risk * x[:, i] * x[:, j]
            second = rs.sum_at_risk(product)[steps.at]
            if efron:
                second = second - steps.fraction * rs.sum_events(product)[steps.at]
            both = at.mean[:, i] * at.mean[:, j]
            variance = second / denominator - both
            event = np.where(rs.event, np.add.reduceat(variance / steps.count, begins)[rs.last], 0.0)
            base = own.event_weight * event - risk * per_row(at.hazard * variance)
            if leverage == "derivative":
                spread = x[:, i] * x[:, j] * hazard - x[:, i] * means[:, j] - x[:, j] * means[:, i]
                pairs = [(i, j, spread + per_row(at.hazard * both))]
            else:
                raw = [x[:, k] + state.center[k] for k in (i, j)]
                pairs = [(i, j, (x[:, i] * hazard - means[:, i]) * raw[1])]
                if i != j:
                    pairs.append((j, i, (x[:, j] * hazard - means[:, j]) * raw[0]))
            for a, b, spread in pairs:
                total[:, a, b] = np.bincount(clusters, weights=base + risk * spread, minlength=n_cluster)
            if leverage == "derivative":
                total[:, j, i] = total[:, i, j]
    return total


@dataclass(frozen=True, eq=False)
class FewClusters(Shown):
    """Covariance and degrees of freedom for inference with few clusters.

    Attributes
    ----------
    terms : tuple of str
    estimate : shape (p,)
    vcov : shape (p, p)
    df : shape (p,)
        Degrees of freedom of each coefficient's t; infinite under "normal".
    method, df_method, leverage : str
        Names of what was done.
    citation : str
        Paper of the covariance.
    n_cluster : int
    max_leverage : float
        Largest share of one cluster in what is known of one coefficient.
    n_bounded : int
        Shares cut at ``bound`` (Fay and Graubard's b), over clusters and coefficients.
    """

    terms: tuple[str, ...]
    estimate: Floats
    vcov: Floats
    df: Floats
    method: str
    df_method: str
    leverage: str
    citation: str
    n_cluster: int
    max_leverage: float
    n_bounded: int = 0

    @property
    def heading(self) -> str:
        cut = f", {self.n_bounded} shares cut at the bound" if self.n_bounded else ""
        return f"{self.label} ({self.citation}); largest leverage {self.max_leverage:.3g}{cut}"

    @property
    def shown(self) -> pd.DataFrame:
        return self.tidy()

    @property
    def std_error(self) -> Floats:
        """Roots of the diagonal of `vcov`, shape (p,)."""
        return np.asarray(np.sqrt(np.diag(self.vcov)))

    @property
    def label(self) -> str:
        """The conventions in one line, for the head of a table."""
        return f"{self.n_cluster} clusters, {self.method} covariance, t with df {self.df_method}"

    def tidy(self, exponentiate: bool = False, level: float = 0.95) -> pd.DataFrame:
        """One row a term: estimate, standard error, t, p value, interval, degrees of freedom."""
        return t_table(self.terms, self.estimate, self.std_error, self.df, level, exponentiate)


def few_clusters(
    state: CoxState,
    method: str = "fay_graubard",
    *,
    clusters: ArrayLike | None = None,
    df: str | None = None,
    leverage: str = "derivative",
    bound: float = 0.75,
) -> FewClusters:
    """Bias-reduced sandwich of a Cox model with t-based inference.

    Parameters
    ----------
    state
        A fitted model with Breslow or Efron ties.
    method
        With H_g = Omega_g V,
        "lin_wei": the sandwich as it is; "stata": times G / (G - 1);
        "fay_graubard": U_g times the diagonal matrix (1 - min(bound, diag H_g))^(-1/2);
        "kauermann_carroll": (I - H_g)^(-1/2) U_g, defined while no leverage reaches 1;
        "kauermann_carroll_wang": (A + A') / 2, A = sum of (I - H_g)^-1 U_g U_g';
        "mancl_derouen": (I - H_g)^-1 U_g;
        "morel": c S + min(1/2, p / (G - p)) max(1, tr(c V M) / p) V, with S = V M V the sandwich and
        c = (n - 1) / (n - p) G / (G - 1) for n subjects (rows if the model has no ``id``).
    clusters
        One value a row of the data; the fit's own by default.
    df
        "clusters-1"; "clusters-p"; "fay_graubard": their d-tilde, a number for each coefficient
        (with "lin_wei" their test delta 3, with "fay_graubard" delta 5); "fay_graubard_hat": their d-hat
        (delta 2 and 4); "normal". By default "fay_graubard" for that method, "clusters-1" for others.
    leverage
        See `cluster_terms`.
    bound
        Fay and Graubard's b, below 1.

    Raises
    ------
    DataError
        Unknown names, combinations without a paper, too few clusters.
    FitError
        "not_positive": what is to be inverted cannot be, naming the cluster, or a variance is not positive.

    References
    ----------
    See ``CITATIONS``. Wang, X., Turner, E. L. and Li, F. (2023), Biometrical Journal 65, 2200113, bring
    these to the Cox model.
    """
    check_name("method", method, METHODS)
    chosen = df if df is not None else ("fay_graubard" if method == "fay_graubard" else "clusters-1")
    check_name("df", chosen, DF)
    if chosen.startswith("fay_graubard") and method not in ("lin_wei", "fay_graubard"):
        raise DataError("df", f"'clusters-1', 'clusters-p' or 'normal' with method {method!r}", repr(chosen))
    if not 0 < bound < 1:
        raise DataError("bound", "a number between 0 and 1", repr(bound))
    if method == "kauermann_carroll" and leverage == "wang":
        raise DataError("leverage", "'derivative' (or method 'kauermann_carroll_wang')", repr(leverage))
    terms = cluster_terms(state, clusters, leverage)
    scaling = np.ones_like(terms.score)
    share = terms.leverage
    if method == "fay_graubard":
        scaling = (1 - np.minimum(bound, share)) ** -0.5
        vcov = cluster_sandwich(terms.inverse, scaling * terms.score, 1.0)
    else:
        vcov = _covariance(terms, method, state.design.n_subject)
    check_variances(vcov, state.design.names)
    return FewClusters(
        terms=state.design.names,
        estimate=state.beta.copy(),
        vcov=vcov,
        df=_degrees(terms, chosen, scaling),
        method=method,
        df_method=chosen,
        leverage=leverage,
        citation=CITATIONS[method],
        n_cluster=len(terms.score),
        max_leverage=float(share.max(initial=0.0)),
        n_bounded=int((share > bound).sum()) if method == "fay_graubard" else 0,
    )


def _covariance(terms: ClusterTerms, method: str, n_subject: int) -> Floats:
    inverse, score = terms.inverse, terms.score
    if method in ("lin_wei", "stata"):
        factor = correction_factor("stata" if method == "stata" else "none", len(score))
        return cluster_sandwich(inverse, score, factor)
    if method == "morel":
        return _morel(terms, n_subject)
    if method == "kauermann_carroll":
        return cluster_sandwich(inverse, _root_adjusted(terms), 1.0)
    adjusted = _adjusted(terms)
    if method == "mancl_derouen":
        return cluster_sandwich(inverse, adjusted, 1.0)
    half = (adjusted @ inverse).T @ (score @ inverse)
    return np.asarray((half + half.T) / 2)


def _adjusted(terms: ClusterTerms) -> Floats:
    """Return (I - Omega_g V)^-1 U_g, shape (G, p)."""
    p = terms.score.shape[1]
    reduced = np.eye(p) - terms.information @ terms.inverse
    smallest = np.linalg.svd(reduced, compute_uv=False)[:, -1] if p else np.ones(len(reduced))
    if (smallest < _SINGULAR).any():
        _refuse(terms, int(np.argmin(smallest)), "I - Omega V is singular: without it the model is not identified")
    return np.asarray(np.linalg.solve(reduced, terms.score[:, :, None])[:, :, 0])


def _root_adjusted(terms: ClusterTerms) -> Floats:
    """Return (I - Omega_g V)^(-1/2) U_g, shape (G, p), by the eigenvalues of V^(1/2) Omega_g V^(1/2)."""
    lower = np.linalg.cholesky(terms.inverse)
    values, vectors = np.linalg.eigh(_whiten(terms, terms.information))
    if (values > 1 - _SINGULAR).any():
        worst = int(np.argmax(values.max(axis=1)))
        _refuse(terms, worst, f"its leverage is {values[worst].max():.4g}, and the square root needs one below 1")
    inside = np.einsum("gji,gj->gi", vectors, terms.score @ lower) / np.sqrt(1 - values)
    return np.asarray(np.einsum("gij,gj->gi", vectors, inside) @ np.linalg.inv(lower))


def _whiten(terms: ClusterTerms, matrices: Floats) -> Floats:
    """Return L' M L for each M, V = L L': information in units of the whole sample's."""
    lower = np.linalg.cholesky(terms.inverse)
    return np.asarray(lower.T @ matrices @ lower)


def _morel(terms: ClusterTerms, n_subject: int) -> Floats:
    count, p = terms.score.shape
    if count <= p or n_subject <= p:
        raise DataError("method", f"more clusters than the {p} coefficients with 'morel'", str(count))
    factor = (n_subject - 1) / (n_subject - p) * count / (count - 1)
    sandwich = cluster_sandwich(terms.inverse, terms.score, factor)
    design_effect = max(1.0, factor * float(np.sum((terms.score @ terms.inverse) * terms.score)) / p)
    return np.asarray(sandwich + min(0.5, p / (count - p)) * design_effect * terms.inverse)


def _refuse(terms: ClusterTerms, worst: int, reason: str) -> None:
    raise FitError("not_positive", f"cluster {terms.labels[worst]}: {reason}")


def _degrees(terms: ClusterTerms, kind: str, scaling: Floats) -> Floats:
    count, p = terms.score.shape
    if kind == "normal":
        return np.full(p, np.inf)
    if kind in ("clusters-1", "clusters-p"):
        freedom = count - (1 if kind == "clusters-1" else p)
        if freedom < 1:
            raise DataError("df", f"more clusters than the {p} coefficients with 'clusters-p'", str(count))
        return np.full(p, float(freedom))
    psi = scaling * terms.score
    if kind == "fay_graubard_hat":
        return np.array([_one_degree(terms, j, scaling, psi, None) for j in range(p)])
    without = np.linalg.inv(terms.inverse) - terms.information
    smallest = np.linalg.eigvalsh(_whiten(terms, (without + without.transpose(0, 2, 1)) / 2))[:, 0]
    if (smallest < _SINGULAR).any():
        worst = int(np.argmin(smallest))
        _refuse(terms, worst, "the information of the others is singular, so df 'fay_graubard' is not defined")
    gains = np.linalg.inv(without) - terms.inverse
    return np.array([_one_degree(terms, j, scaling, psi, gains[:, j, j]) for j in range(p)])


def _one_degree(terms: ClusterTerms, j: int, scaling: Floats, psi: Floats, gain: Floats | None) -> float:
    """Fay and Graubard's d (their appendix A) for coefficient j, at least 1 as in their R package saws.

    B1 = sum_g b_g b_g' with blocks b_gl = [l = g] a_g - c_g, a_g = H_g V e_j, c_g = V Omega_g' a_g. With Psi_l the
    covariance of U_l, d = tr(Q)^2 / sum(Q^2) for Q_gl = b_g' Psi b_l = [g = l] D_g + N_gl, N of low rank.
    ``gain`` None is d-hat (Psi_g = psi_g psi_g'); else d-tilde, Psi_g in proportion to ``gain``.
    """
    a = scaling * terms.inverse[:, j]
    c = np.einsum("gij,gi->gj", terms.information, a) @ terms.inverse
    pooled = psi.T @ psi
    if gain is None:
        inner = np.einsum("gi,gi->g", psi, a)
        left, diagonal = psi * inner[:, None], inner**2
    else:
        share = gain / gain.sum()
        left = (a @ pooled) * share[:, None]
        diagonal = np.einsum("gi,gi->g", left, a)
    # N = -left c' - c left' + c pooled c'
    trace_n = -2 * np.einsum("gi,gi->g", left, c) + np.einsum("gi,ij,gj->g", c, pooled, c)
    p = len(pooled)
    both = np.hstack([left, c])
    middle = np.block([[np.zeros((p, p)), -np.eye(p)], [-np.eye(p), pooled]])
    product = middle @ (both.T @ both)
    squares = float((diagonal**2 + 2 * diagonal * trace_n).sum() + np.trace(product @ product))
    return max(1.0, float((diagonal + trace_n).sum()) ** 2 / squares)
