"""Bootstraps over clusters: refits under resampled clusters, and the score (wild) bootstrap.

The refits share risk sets and products of columns and are solved together (`reweighted`). Replicates
without an estimate are counted by reason and keep their place among the B.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from coalition_exit.errors import DataError, FitError
from coalition_exit.survival.cox.partial import PartialLikelihood
from coalition_exit.survival.cox.solver import maximize
from coalition_exit.survival.cox.state import CoxState
from coalition_exit.survival.data.surv import Floats, Integers
from coalition_exit.survival.inference.reweighted import CONVERGED, count_failures, reweighted_fits
from coalition_exit.survival.inference.vcov import check_name, cluster_codes, require_maximum
from coalition_exit.survival.shown import Shown

RESAMPLING = ("multinomial", "bayesian")
INTERVALS = ("percentile", "basic", "normal")
WILD = ("rademacher", "webb")
RECENTER = ("clusters", "rows", "none")
_WEBB: Floats = np.sqrt(np.array([0.5, 1.0, 1.5, 0.5, 1.0, 1.5])) * np.array([-1.0, -1.0, -1.0, 1.0, 1.0, 1.0])
# Draws of wild weights held at once.
_DRAWS = 20_000

Seed = int | np.random.Generator


def cluster_weights(n_cluster: int, n_boot: int, kind: str, seed: Seed) -> Floats:
    """Draw weights of clusters for a bootstrap: shape (n_boot, n_cluster), each row with sum n_cluster.

    Parameters
    ----------
    n_cluster, n_boot
        G and B.
    kind
        "multinomial": how often each cluster is drawn in G draws with replacement. "bayesian": G
        times a uniform Dirichlet (exponential weights over their mean), so that no cluster is lost.
    seed
        An integer, or a generator, which is advanced.

    References
    ----------
    Efron, B. (1979), Annals of Statistics 7, 1-26; Rubin, D. B. (1981), Annals of Statistics 9, 130-134.
    """
    check_name("weights", kind, RESAMPLING)
    rng = _generator(seed)
    if n_boot < 1:
        raise DataError("n_boot", "at least 1", str(n_boot))
    if kind == "multinomial":
        return rng.multinomial(n_cluster, np.full(n_cluster, 1 / n_cluster), size=n_boot).astype(np.float64)
    drawn = rng.standard_exponential((n_boot, n_cluster))
    return np.asarray(drawn * (n_cluster / drawn.sum(axis=1, keepdims=True)))


def _generator(seed: Seed) -> np.random.Generator:
    whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool) and seed >= 0
    if not (whole or isinstance(seed, np.random.Generator)):
        raise DataError("seed", "an integer >= 0 or a numpy Generator", repr(seed))
    return np.random.default_rng(seed)


@dataclass(frozen=True, eq=False)
class Bootstrap(Shown):
    """Coefficients under B resamples of clusters.

    Attributes
    ----------
    terms : tuple of str
    estimate : shape (p,)
        Of the sample itself.
    coef : shape (B, p)
        NaN in the rows of replicates without an estimate.
    status : shape (B,), str
        "converged" or the reason (see `reweighted.ReweightedFits`).
    weights : str
        "multinomial" or "bayesian".
    seed : int or None
        None when a generator was given.
    n_cluster : int
    """

    terms: tuple[str, ...]
    estimate: Floats
    coef: Floats
    status: NDArray[np.str_]
    weights: str
    seed: int | None
    n_cluster: int

    @property
    def heading(self) -> str:
        seed = "of a generator" if self.seed is None else self.seed
        return f"{self.label}; seed {seed}, percentile intervals"

    @property
    def shown(self) -> pd.DataFrame | None:
        return self.tidy() if self.n_ok > 1 else None

    @property
    def n_boot(self) -> int:
        """Replicates drawn, with or without an estimate."""
        return len(self.coef)

    @property
    def n_ok(self) -> int:
        """Replicates with an estimate."""
        return int((self.status == CONVERGED).sum())

    @property
    def failures(self) -> dict[str, int]:
        """Number of replicates without an estimate, by reason."""
        return count_failures(self.status)

    @property
    def label(self) -> str:
        """The conventions and the failures in one line, for the head of a table."""
        lost = ", ".join(f"{count} {reason}" for reason, count in self.failures.items())
        without = f"; without an estimate: {lost}" if lost else ""
        return f"{self.n_boot} {self.weights} bootstraps of {self.n_cluster} clusters{without}"

    def _estimated(self) -> Floats:
        """Coefficients of the replicates with an estimate; all summaries are conditional on it."""
        found = self.coef[self.status == CONVERGED]
        if len(found) < 2:
            raise FitError(
                "not_converged", f"fewer than two of {self.n_boot} bootstraps have an estimate ({self.label})"
            )
        return found

    def vcov(self) -> Floats:
        """Covariance of the replicates with an estimate (divisor their number less one): shape (p, p)."""
        return np.atleast_2d(np.cov(self._estimated(), rowvar=False))

    def interval(self, kind: str = "percentile", level: float = 0.95) -> tuple[Floats, Floats]:
        """Lower and upper ends, shape (p,) each.

        Parameters
        ----------
        kind
            "percentile": quantiles of the replicates; "basic": twice the estimate less the opposite quantile;
            "normal": estimate -+ z standard errors. Quantiles interpolate linearly (R's type 7).
        level
            Confidence level.

        References
        ----------
        Davison, A. C. and Hinkley, D. V. (1997), Bootstrap Methods and their Application, chapter 5.
        """
        check_name("interval", kind, INTERVALS)
        if not 0 < level < 1:
            raise DataError("level", "a number between 0 and 1", repr(level))
        found = self._estimated()
        if kind == "normal":
            reach = ndtri(0.5 + level / 2) * found.std(axis=0, ddof=1)
            return self.estimate - reach, self.estimate + reach
        low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return (low, high) if kind == "percentile" else (2 * self.estimate - high, 2 * self.estimate - low)

    def p_value(self, kind: str = "percentile") -> Floats:
        """Two-sided p values of zero that go with an interval: shape (p,).

        For "percentile" and "basic" twice the smaller tail share, a replicate counted extra:
        2 min(1 + #(b* <= c), 1 + #(b* >= c)) / (1 + n), c = 0 or twice the estimate, at most 1.
        """
        check_name("interval", kind, INTERVALS)
        found = self._estimated()
        if kind == "normal":
            return np.asarray(2 * ndtr(-np.abs(self.estimate / found.std(axis=0, ddof=1))))
        cut = 0.0 if kind == "percentile" else 2 * self.estimate
        tail = np.minimum((found <= cut).sum(axis=0), (found >= cut).sum(axis=0))
        return np.asarray(np.minimum(1.0, 2 * (1 + tail) / (1 + len(found))))

    def tidy(self, kind: str = "percentile", exponentiate: bool = False, level: float = 0.95) -> pd.DataFrame:
        """One row a term: estimate, bootstrap standard error, z, p value and interval of one kind."""
        low, high = self.interval(kind, level)
        estimate, error, p_value = self.estimate, np.sqrt(np.diag(self.vcov())), self.p_value(kind)
        statistic = estimate / error
        if exponentiate:
            estimate, low, high = np.exp(estimate), np.exp(low), np.exp(high)
            error = error * estimate
        return pd.DataFrame(
            {
                "term": list(self.terms), "estimate": estimate, "std_error": error, "statistic": statistic,
                "p_value": p_value, "conf_low": low, "conf_high": high,
            }
        )  # fmt: skip


def cluster_bootstrap(
    state: CoxState,
    n_boot: int,
    *,
    seed: Seed,
    clusters: ArrayLike | None = None,
    weights: str = "multinomial",
    block: int | None = None,
    max_iter: int = 60,
) -> Bootstrap:
    """Fit the model to B resamples of whole clusters.

    Parameters
    ----------
    state
        A fitted model with Breslow or Efron ties. Strata, case weights and offset stay as they are.
    n_boot
        B.
    seed
        An integer, or a generator, which is advanced.
    clusters
        One value a row of the data; the fit's own by default.
    weights
        "multinomial" or "bayesian", see `cluster_weights`.
    block
        Replicates solved at once. It does not change the result beyond rounding.
    max_iter
        Evaluations of the likelihood allowed to each replicate.

    Notes
    -----
    Under Efron ties a cluster drawn twice counts as weight 2 (R's ``coxph(weights=)``), which is not
    the same as two copies of its rows: copies would be tied with each other. Under Breslow ties it is.

    Raises
    ------
    DataError
        Unknown names, other ties, a penalized fit, clusters that cannot be used.
    """
    require_maximum(state)
    codes = cluster_codes(state, clusters)
    drawn = cluster_weights(codes.n_cluster, n_boot, weights, seed)
    fits = reweighted_fits(state, drawn, codes.codes, block=block, max_iter=max_iter)
    kept = None if isinstance(seed, np.random.Generator) else int(seed)
    return Bootstrap(state.design.names, state.beta.copy(), fits.coef, fits.status, weights, kept, codes.n_cluster)


@dataclass(frozen=True, eq=False)
class ScoreBootstrap(Shown):
    """P values of the score (wild) cluster bootstrap, a test a coefficient.

    Attributes
    ----------
    terms : tuple of str
    null : shape (p,)
        Hypothesized values.
    statistic : shape (p,)
        Studentized score with the hypothesis imposed; NaN where there is no test.
    p_value : shape (p,)
    n_boot : int
        Sign vectors or draws behind each p value.
    enumerated : bool
        Every one of the 2^G sign vectors was used once: the p values are exact and need no seed.
    weights, recenter : str
        Conventions.
    n_cluster : int
    failures : dict
        Terms without a test and why the model under the hypothesis has no estimate.
    """

    terms: tuple[str, ...]
    null: Floats
    statistic: Floats
    p_value: Floats
    n_boot: int
    enumerated: bool
    weights: str
    recenter: str
    n_cluster: int
    failures: Mapping[str, str]

    @property
    def heading(self) -> str:
        lost = ", ".join(f"{term} ({reason})" for term, reason in self.failures.items())
        return f"{self.label}{f'; no test of {lost}' if lost else ''}"

    @property
    def shown(self) -> pd.DataFrame:
        return self.tidy()

    @property
    def label(self) -> str:
        """The conventions in one line, for the head of a table."""
        drawn = f"all {self.n_boot} sign vectors" if self.enumerated else f"{self.n_boot} draws"
        return f"score bootstrap, {self.n_cluster} clusters, {self.weights} weights, {drawn}, null imposed"

    def tidy(self) -> pd.DataFrame:
        """One row a term: hypothesis, statistic, p value."""
        columns = {"term": list(self.terms), "null": self.null, "statistic": self.statistic, "p_value": self.p_value}
        return pd.DataFrame(columns)


def score_bootstrap(
    state: CoxState,
    n_boot: int = 9999,
    *,
    seed: Seed,
    null: ArrayLike = 0.0,
    clusters: ArrayLike | None = None,
    weights: str = "rademacher",
    recenter: str = "clusters",
) -> ScoreBootstrap:
    """Test each coefficient by perturbing cluster scores, the hypothesis imposed (Kline and Santos 2012).

    For b_j = c the model is fitted under the hypothesis. With U_g the clusters' scores and V the inverse
    information of the whole model there, q_g = (V U_g)_j, and the statistic is sum q_g / sqrt(sum (q_g -
    s_g sum q)^2). Its distribution is that of the same expression with v_g q_g for q_g, v
    random. The p value is the share of draws with |t*| >= |t|.

    Parameters
    ----------
    state
        A fitted model with Breslow or Efron ties.
    n_boot
        Draws. With Rademacher weights and 2^G <= n_boot all sign vectors are used instead.
    seed
        An integer, or a generator, which is advanced.
    null
        c, one number or p.
    clusters
        One value a row of the data; the fit's own by default.
    weights
        "rademacher" (-1, 1) or "webb" (six points, for fewer than about 12 clusters).
    recenter
        Shares s_g in the variance: "clusters" is 1 / G; "rows" the cluster's share of the rows, as in
        Kline and Santos' code and Stata's ``boottest`` (splitting a row then changes the result); "none" is 0.

    Notes
    -----
    Drawn p values count the data themselves as one draw, (1 + #) / (1 + n_boot); among all sign vectors
    they already are.

    Raises
    ------
    DataError
        Unknown names, other ties, a penalized fit, clusters that cannot be used, a null of the wrong length.

    References
    ----------
    Kline, P. and Santos, A. (2012), Journal of Econometric Methods 1, 23-41; Roodman, D., Nielsen, M. O.,
    MacKinnon, J. G. and Webb, M. D. (2019), Stata Journal 19, 4-60; Webb, M. D. (2014), QED Working Paper 1315.
    """
    check_name("weights", weights, WILD)
    check_name("recenter", recenter, RECENTER)
    require_maximum(state)
    p = len(state.beta)
    values = np.asarray(null, dtype=np.float64)
    if values.shape not in ((), (p,)) or not np.isfinite(values).all():
        raise DataError("null", f"a finite number or {p} of them", str(null))
    values = np.broadcast_to(values, p).copy()
    codes = cluster_codes(state, clusters)
    contributions = np.full((p, codes.n_cluster), np.nan)
    failures: dict[str, str] = {}
    for j in range(p):
        try:
            contributions[j] = _imposed(state, j, values[j], codes.codes[state.risk_sets.rows], codes.n_cluster)
        except FitError as error:
            failures[state.design.names[j]] = error.reason
    share = np.bincount(codes.codes, minlength=codes.n_cluster) / len(codes.codes)
    share = {"rows": share, "clusters": np.full_like(share, 1 / codes.n_cluster), "none": 0 * share}[recenter]
    if n_boot < 1:
        raise DataError("n_boot", "at least 1", str(n_boot))
    enumerated = weights == "rademacher" and 2**codes.n_cluster <= n_boot
    statistic = _studentized(contributions, np.ones((1, codes.n_cluster)), share)[0]
    for empty in np.flatnonzero(np.isnan(statistic)):
        failures.setdefault(state.design.names[int(empty)], "the cluster scores are all zero under the hypothesis")
    extreme, count = _count_extreme(contributions, statistic, share, n_boot, weights, enumerated, _generator(seed))
    p_value = extreme / count if enumerated else (1 + extreme) / (1 + count)
    p_value[np.isnan(statistic)] = np.nan
    return ScoreBootstrap(
        state.design.names, values, statistic, p_value, count, enumerated, weights, recenter, codes.n_cluster, failures
    )


def _imposed(state: CoxState, j: int, value: float, clusters: Integers, n_cluster: int) -> Floats:
    """Return (V U_g)_j of each cluster at the estimate with coefficient j held at ``value``: shape (G,)."""
    own = state.likelihood
    others = np.arange(len(state.beta)) != j
    fixed = own.x[:, j] * value
    restricted = PartialLikelihood(
        own.risk_sets,
        np.ascontiguousarray(own.x[:, others]),
        None if state.design.weights is None else own.weights,
        fixed if own.offset is None else own.offset + fixed,
        own.ties,
    )
    names = [name for name, kept in zip(state.design.names, others, strict=True) if kept]
    beta = np.full(len(state.beta), value)
    beta[others] = maximize(restricted, names, 100, 1e-14).beta
    at = own.evaluate(beta)
    scores = own.cluster_scores(at, clusters, n_cluster)
    try:
        row = np.linalg.solve(at.information, np.eye(len(beta))[j])
    except np.linalg.LinAlgError:
        raise FitError("collinear", "the information is singular under the hypothesis") from None
    return np.asarray(scores @ row)


def _studentized(contributions: Floats, signs: Floats, share: Floats) -> Floats:
    """Return t of each draw and term, shape (b, p), from q (p, G) and weights (b, G)."""
    total = signs @ contributions.T
    # sum (v q - s sum)^2 = sum v^2 q^2 - 2 sum * sum s v q + sum^2 * sum s^2
    square = signs**2 @ (contributions**2).T - 2 * total * ((signs * share) @ contributions.T)
    square += total**2 * float(share @ share)
    square[square <= 1e-13 * (signs**2 @ (contributions**2).T)] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(total / np.sqrt(square))


def _count_extreme(
    contributions: Floats,
    statistic: Floats,
    share: Floats,
    n_boot: int,
    weights: str,
    enumerated: bool,
    rng: np.random.Generator,
) -> tuple[Floats, int]:
    """Count draws at least as extreme as the data, a term at a time: shape (p,), and the number of draws."""
    n_cluster = contributions.shape[1]
    count = 2**n_cluster if enumerated else n_boot
    # Equal statistics (a draw and its mirror image) must not be told apart by rounding.
    bar = np.abs(statistic) * (1 - 1e-10)
    extreme = np.zeros(len(statistic))
    signs: Floats
    for first in range(0, count, _DRAWS):
        number = min(_DRAWS, count - first)
        if enumerated:
            bits = (np.arange(first, first + number)[:, None] >> np.arange(n_cluster)) & 1
            signs = np.asarray(1.0 - 2.0 * bits)
        elif weights == "rademacher":
            signs = np.asarray(rng.integers(0, 2, size=(number, n_cluster)) * 2.0 - 1.0)
        else:
            signs = _WEBB[rng.integers(0, len(_WEBB), size=(number, n_cluster))]
        drawn = np.abs(_studentized(contributions, signs, share))
        extreme += (drawn >= bar).sum(axis=0)
    return extreme, count
