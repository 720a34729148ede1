"""Wald, likelihood-ratio and score tests of a Cox fit: all coefficients, some terms, or R b = q.

Each test compares the fit with the best one that satisfies the hypothesis: the Wald test by the
distance of the estimate in the metric of its covariance, the likelihood-ratio test by twice the
difference of the log-likelihoods, the score test by the slope of the log-likelihood at the
restricted estimate. With clusters the Wald test uses the sandwich, and the robust score test the
clusters' scores at the restricted estimate; there is no robust likelihood-ratio test.

References
----------
Kalbfleisch and Prentice (2002), The Statistical Analysis of Failure Time Data, section 4.2;
Lin and Wei (1989), JASA 84, 1074-1078; Boos (1992), American Statistician 46, 327-333 (robust
score test); Heinze and Schemper (2001), Biometrics 57, 114-119 (penalized likelihood ratio).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
import scipy.linalg
from numpy.typing import ArrayLike
from scipy.special import chdtrc

from coalition_exit.errors import DataError, FitError, nearest, one_of
from coalition_exit.survival.cox.firth import FirthLikelihood, maximize_firth, require_firth
from coalition_exit.survival.cox.likelihood import Likelihood
from coalition_exit.survival.cox.partial import Evaluation
from coalition_exit.survival.cox.solver import maximize
from coalition_exit.survival.cox.state import CoxState
from coalition_exit.survival.data.surv import Floats, Integers

HypothesisLike = str | Sequence[str] | ArrayLike | None
_MAX_ITER = 100
_TOLERANCE = 1e-14


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """R b = q: r restrictions on p coefficients.

    Attributes
    ----------
    matrix : shape (r, p)
    value : shape (r,)
    text : str
        The restrictions in words.
    """

    matrix: Floats
    value: Floats
    text: str


@dataclass(frozen=True)
class TestResult:
    """A chi-squared test.

    Attributes
    ----------
    test : str
        "wald", "likelihood ratio", "score", "robust wald", "robust score" or
        "penalized likelihood ratio".
    hypothesis : str
    statistic : float
    df : int
    p_value : float
    """

    __test__ = False

    test: str
    hypothesis: str
    statistic: float
    df: int
    p_value: float


def linear_hypothesis(names: Sequence[str], hypothesis: HypothesisLike = None, value: ArrayLike = 0.0) -> Hypothesis:
    """Read a hypothesis about the coefficients.

    Parameters
    ----------
    names
        Names of the p coefficients.
    hypothesis
        None: all coefficients are 0. A name or a list of names: these are 0. Text such as "a = b" or
        "2*a - b = 1", or a list of such texts. A matrix R, shape (r, p) or (p,).
    value
        q, shape (r,) or a number, for names and for a matrix.

    Raises
    ------
    DataError
        Unknown names, text that is not linear, a matrix of the wrong shape or with dependent rows.
    """
    if hypothesis is None:
        hypothesis = list(names)
    texts = [hypothesis] if isinstance(hypothesis, str) else hypothesis
    if isinstance(texts, Sequence) and len(texts) and all(isinstance(text, str) for text in texts):
        rows = [_read(str(text), names) for text in texts]
        matrix = np.array([row for row, _ in rows])
        q = np.array([constant for _, constant in rows]) + np.broadcast_to(np.asarray(value, dtype=float), len(rows))
        words = [str(text) if "=" in str(text) else f"{text} = {q[i]:g}" for i, text in enumerate(texts)]
    else:
        matrix = np.atleast_2d(np.asarray(hypothesis, dtype=float))
        if matrix.ndim != 2 or matrix.shape[1] != len(names) or not len(matrix):
            raise DataError("hypothesis", f"a matrix with {len(names)} columns, one a coefficient", f"{matrix.shape}")
        q = np.array(np.broadcast_to(np.asarray(value, dtype=float), len(matrix)))
        words = [_write(row, constant, names) for row, constant in zip(matrix, q, strict=True)]
    if not (np.isfinite(matrix).all() and np.isfinite(q).all()):
        raise DataError("hypothesis", "finite numbers", "others")
    if np.linalg.matrix_rank(matrix) < len(matrix):
        raise DataError("hypothesis", "restrictions of which none follows from the others", ", ".join(words))
    return Hypothesis(matrix, q, ", ".join(words))


def _read(text: str, names: Sequence[str]) -> tuple[Floats, float]:
    """Return the coefficients and the constant of one restriction."""
    if text in names:
        return np.eye(len(names))[list(names).index(text)], 0.0
    left, _, right = text.partition("=")
    sides = [_linear(side, names, text) for side in (left, right or "0")]
    row, constant = sides[0][0] - sides[1][0], sides[1][1] - sides[0][1]
    if not row.any():
        raise DataError("hypothesis", f"a restriction on {one_of(names)}", repr(text))
    return row, constant


def _linear(side: str, names: Sequence[str], text: str) -> tuple[Floats, float]:
    """Read a sum of numbers, coefficients and number * coefficient."""
    number = r"\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+"
    # Longest names first: a name may be the beginning of another.
    name = "|".join(re.escape(n) for n in sorted(names, key=len, reverse=True))
    pattern = re.compile(rf"\s*([+-])?\s*(?:({number})\s*\*\s*)?(?:({name})(?![\w.])|({number}))\s*")
    row, constant, at = np.zeros(len(names)), 0.0, 0
    while at < len(side.rstrip()):
        match = pattern.match(side, at)
        if match is None or (at > 0 and match[1] is None):
            word = re.match(r"[\s+*-]*([^\s+*-]*)", side[at:])
            unknown = word[1] if word else ""
            raise DataError(
                f"hypothesis {text!r}", f"terms over {one_of(names)}", repr(side[at:].strip()), nearest(unknown, names)
            )
        factor = (-1.0 if match[1] == "-" else 1.0) * float(match[2] or 1.0)
        if match[3] is None:
            constant += factor * float(match[4])
        else:
            row[list(names).index(match[3])] += factor
        at = match.end()
    return row, constant


def _write(row: Floats, constant: float, names: Sequence[str]) -> str:
    parts = [f"{load:g}*{names[int(j)]}" for j, load in enumerate(row) if load]
    return f"{' + '.join(parts) or '0'} = {constant:g}"


def wald_test(beta: Floats, vcov: ArrayLike, hypothesis: Hypothesis, robust: bool = False) -> TestResult:
    """Test R b = q by the distance of the estimate.

    Parameters
    ----------
    beta
        Estimate, shape (p,).
    vcov
        Its covariance, shape (p, p): the sandwich or the model's.
    hypothesis
        From `linear_hypothesis`.
    robust
        ``vcov`` is a sandwich; only the name of the test depends on it.

    Raises
    ------
    FitError
        The covariance of the restrictions is singular, as with fewer clusters than restrictions.
    """
    distance = hypothesis.matrix @ beta - hypothesis.value
    spread = hypothesis.matrix @ np.asarray(vcov, dtype=float) @ hypothesis.matrix.T
    name = "robust wald" if robust else "wald"
    return _result(name, hypothesis, _quadratic(distance, spread, name))


def likelihood_ratio_test(state: CoxState, hypothesis: Hypothesis) -> TestResult:
    """Test R b = q by the log-likelihood; with Firth's penalty by the penalized one (its profile).

    Raises
    ------
    DataError
        A fit with a ridge, whose likelihood ratio has no chi-squared distribution.
    FitError
        The restricted model has no estimate.
    """
    _refuse_ridge(state, "likelihood-ratio test")
    origin, basis = _space(hypothesis)
    if state.penalty == "firth":
        likelihood = require_firth(state)
        full = FirthLikelihood(likelihood).evaluate(state.beta)
        if full is None:
            raise FitError("not_converged", "the information is singular at the estimate")
        restricted = maximize_firth(likelihood, state.design.names, 500, origin, basis)
        return _result("penalized likelihood ratio", hypothesis, 2.0 * (full.loglik - restricted.loglik))
    _, at = restricted_fit(state, hypothesis)
    return _result("likelihood ratio", hypothesis, 2.0 * (state.evaluation.loglik - at.loglik))


def score_test(
    state: CoxState, hypothesis: Hypothesis, cluster: Integers | None = None, n_cluster: int | None = None
) -> TestResult:
    """Test R b = q by the score at the restricted estimate; robust if clusters are given.

    Parameters
    ----------
    state
        A fit without penalty.
    hypothesis
        From `linear_hypothesis`.
    cluster, n_cluster
        Code of each row of the data, shape (n,), and the number of clusters: gives the robust test that
        R's ``summary.coxph`` prints, without a small-sample factor.

    Raises
    ------
    DataError
        A penalized fit, or clusters with exact ties.
    FitError
        The restricted model has no estimate, or there are fewer clusters than restrictions.
    """
    _refuse_ridge(state, "score test")
    if state.penalty == "firth":
        raise DataError("test", "a penalized likelihood-ratio or Wald test after penalty='firth'", "'score'")
    _, at = restricted_fit(state, hypothesis)
    information = at.information
    if cluster is None:
        # At the restricted maximum the score lies in the span of R', so all of it counts.
        return _result("score", hypothesis, _quadratic(at.score, information, "score"))
    scores = state.likelihood.cluster_scores(at, cluster[state.risk_sets.rows], n_cluster or int(cluster.max()) + 1)
    # R H^-1 U with its sandwich covariance; for R = identity this is U' B^-1 U.
    scale = np.sqrt(np.diag(information))
    turned = (
        scipy.linalg.solve(information / np.outer(scale, scale), (hypothesis.matrix / scale).T, assume_a="pos")
        / scale[:, None]
    )
    influence = scores @ turned
    statistic = _quadratic(influence.sum(axis=0), influence.T @ influence, "robust score")
    return _result("robust score", hypothesis, statistic)


def restricted_fit(state: CoxState, hypothesis: Hypothesis) -> tuple[Floats, Evaluation]:
    """Maximize the likelihood subject to R b = q; return b, shape (p,), and the likelihood there.

    Raises
    ------
    FitError
        The restricted model has no estimate.
    """
    likelihood = solver_likelihood(state)
    origin, basis = _space(hypothesis)
    if not basis.shape[1]:
        return origin, likelihood.evaluate(origin)
    within = _Restricted(likelihood, origin, basis)
    names = [_label(column, state.design.names) for column in basis.T]
    theta = maximize(within, names, _MAX_ITER, _TOLERANCE).beta
    beta = origin + basis @ theta
    return beta, likelihood.evaluate(beta)


def all_tests(
    state: CoxState,
    vcov: ArrayLike | None = None,
    hypothesis: HypothesisLike = None,
    value: ArrayLike = 0.0,
    robust_score: bool = True,
) -> pd.DataFrame:
    """Return every test that the fit allows, one row each.

    Parameters
    ----------
    state
        The fit.
    vcov
        Covariance for the robust Wald test, shape (p, p); the model's is used besides.
    hypothesis, value
        See `linear_hypothesis`; all coefficients are 0 by default, the tests of R's ``summary.coxph``.
    robust_score
        Give the robust score test of a fit with clusters (it knows one way of clustering only).

    Returns
    -------
    DataFrame
        Columns test, hypothesis, statistic, df, p_value. After a ridge only the Wald tests, after Firth's
        penalty these and the penalized likelihood ratio.
    """
    names = state.design.names
    wanted = linear_hypothesis(names, hypothesis, value)
    results = []
    if state.penalty != "ridge":
        results.append(likelihood_ratio_test(state, wanted))
    results.append(wald_test(state.beta, state.inverse, wanted))
    if state.penalty == "none":
        results.append(score_test(state, wanted))
    clusters = state.design.cluster if robust_score else None
    if vcov is not None:
        results.append(wald_test(state.beta, vcov, wanted, robust=True))
    if state.penalty == "none" and clusters is not None:
        results.append(score_test(state, wanted, clusters, state.design.n_cluster))
    return pd.DataFrame([vars(result) for result in results])


def events_per_variable(state: CoxState) -> float:
    """Return the number of events of positive weight per coefficient (inf without coefficients).

    References
    ----------
    Peduzzi, P. et al. (1995), Journal of Clinical Epidemiology 48, 1503-1510, advise 10 at least.
    """
    events = int((state.likelihood.event_weight > 0).sum())
    return events / len(state.beta) if len(state.beta) else np.inf


def solver_likelihood(state: CoxState) -> Likelihood:
    """Return the likelihood of a fit as Newton's method needs it."""
    make = getattr(state.likelihood, "for_solver", None)
    return cast(Likelihood, state.likelihood if make is None else make())


def _space(hypothesis: Hypothesis) -> tuple[Floats, Floats]:
    """Return a point that satisfies R b = q and a basis, shape (p, p - r), of the directions that keep it."""
    matrix, value = hypothesis.matrix, hypothesis.value
    held = np.flatnonzero(matrix.any(axis=0))
    if len(held) == len(matrix):
        # Single coefficients are held: leave the others as they are, free of rounding.
        origin = np.zeros(matrix.shape[1])
        origin[held] = np.linalg.solve(matrix[:, held], value)
        return origin, np.delete(np.eye(matrix.shape[1]), held, axis=1)
    size = np.abs(matrix).max(axis=0)
    size[size == 0] = 1.0
    origin = np.linalg.lstsq(matrix / size, value, rcond=None)[0] / size
    return origin, scipy.linalg.null_space(matrix)


def _label(column: Floats, names: Sequence[str]) -> str:
    held = [names[int(j)] for j in np.flatnonzero(np.abs(column) > 1e-12)]
    return held[0] if len(held) == 1 else f"a combination of {', '.join(held)}"


class _Restricted:
    """A likelihood on b = origin + basis theta, as the solver wants it."""

    def __init__(self, likelihood: Likelihood, origin: Floats, basis: Floats) -> None:
        self.likelihood, self.origin, self.basis = likelihood, origin, basis
        self.x = np.ascontiguousarray(likelihood.x @ basis)
        self.risk_sets, self.event_weight = likelihood.risk_sets, likelihood.event_weight
        self.ties = likelihood.ties

    def __getattr__(self, name: str) -> Any:
        """Pass on a search of pairs that the likelihood has of its own."""
        if name != "contrasts" or not hasattr(self.likelihood, "contrasts"):
            raise AttributeError(name)
        return lambda: _RestrictedContrasts(self.likelihood.contrasts(), self.basis)

    @property
    def weights(self) -> Floats:
        return self.likelihood.weights

    @property
    def total_weight(self) -> float:
        return self.likelihood.total_weight

    def evaluate(self, beta: Floats) -> Evaluation:
        at = self.likelihood.evaluate(self.origin + self.basis @ beta)
        none = np.empty(0)
        score, information = self.basis.T @ at.score, self.basis.T @ at.information @ self.basis
        return Evaluation(at.loglik, score, information, none, none, none, at.shift)


class _RestrictedContrasts:
    """Pairs of an event and a row at risk along b = basis theta."""

    def __init__(self, contrasts: Any, basis: Floats) -> None:
        self.contrasts, self.n_events = contrasts, contrasts.n_events
        # Directions are in units of the covariates' spread on both sides.
        self.basis = contrasts.spread[:, None] * basis

    def rises(self, direction: Floats) -> bool:
        return bool(self.contrasts.rises(self.basis @ direction))

    def broken_by(self, direction: Floats) -> Floats:
        return np.asarray(self.contrasts.broken_by(self.basis @ direction) @ self.basis)


def _quadratic(distance: Floats, spread: Floats, test: str) -> float:
    """Return distance' spread^-1 distance; refuse a singular spread."""
    if not len(distance):
        return 0.0
    scale = np.sqrt(np.maximum(np.diag(spread), 0.0))
    if (scale > 0).all() and np.isfinite(scale).all():
        correlation = spread / np.outer(scale, scale)
        if np.linalg.eigvalsh(correlation)[0] > 1e-12:
            scaled = distance / scale
            return float(scaled @ scipy.linalg.solve(correlation, scaled, assume_a="pos"))
    raise FitError("collinear", f"the covariance of the {test} test is singular (fewer clusters than restrictions?)")


def _refuse_ridge(state: CoxState, test: str) -> None:
    if state.penalty == "ridge":
        raise DataError("test", "a Wald test after a ridge", f"a {test}, which has no chi-squared distribution there")


def _result(test: str, hypothesis: Hypothesis, statistic: float) -> TestResult:
    df = len(hypothesis.matrix)
    return TestResult(test, hypothesis.text, statistic, df, float(chdtrc(df, max(statistic, 0.0))))
