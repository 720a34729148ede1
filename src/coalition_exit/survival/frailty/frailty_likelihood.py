"""Partial likelihood with one random intercept per cluster: value, derivatives, penalized maximum.

The linear predictor of row i in cluster g is x_i b + offset_i + w_g, and the penalized partial
likelihood is PPL(b, w) = PL(b, w) - penalty(w; theta) with theta the variance of the frailty:

* gamma: penalty = sum(exp(w) - w - 1) / theta, the frailties exp(w) having mean 1;
* gaussian: penalty = sum(w^2) / (2 theta).

At its maximum Newton's steps are solved by conjugate gradients on products with the exact
information, preconditioned by the information with a diagonal frailty block, so that no matrix of
the size of the clusters is formed.

References
----------
Therneau, T. M., Grambsch, P. M. and Pankratz, V. S. (2003), Penalized survival models and frailty,
Journal of Computational and Graphical Statistics 12, 156-175.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from coalition_exit.errors import FitError
from coalition_exit.survival.cox.partial import PartialLikelihood
from coalition_exit.survival.cox.risksets import RiskSets
from coalition_exit.survival.cox.step_sums import per_time, sum_at_steps, sum_over_steps
from coalition_exit.survival.data.surv import Floats, Integers

_CG_STEPS = 500
_CG_TOLERANCE = 1e-11


@dataclass(frozen=True, eq=False)
class FrailtyEvaluation:
    """The partial likelihood at (b, w), without penalty: p covariates, G clusters, m rows, S steps.

    Attributes
    ----------
    loglik : float
    score : shape (p + G,)
        Derivatives by the coefficients, then by the log-frailties.
    information : shape (p, p)
        Minus the second derivatives by the coefficients.
    cross : shape (G, p)
        Minus the second derivatives by log-frailty and coefficient.
    expected : shape (G,)
        Expected number of events of each cluster.
    weighted : shape (m,)
        Case weight times relative hazard of each row.
    row_expected : shape (m,)
        Expected number of events of each row.
    hazard : shape (S,)
        Increment of the baseline hazard at each step, on the scale of ``weighted``.
    denominator : shape (S,)
        Sum of ``weighted`` over the risk set of each step.
    """

    loglik: float
    score: Floats
    information: Floats
    cross: Floats
    expected: Floats
    weighted: Floats
    row_expected: Floats
    hazard: Floats
    denominator: Floats


@dataclass(frozen=True, eq=False)
class Penalty:
    """Penalty on the log-frailties w at one theta > 0.

    Attributes
    ----------
    distribution : "gamma" or "gaussian"
    theta : float
        Variance of the frailty (gamma) or of the log-frailty (gaussian).
    """

    distribution: str
    theta: float

    def value(self, frailty: Floats) -> float:
        """What is subtracted from the log partial likelihood."""
        if self.distribution == "gamma":
            return float(exp_excess(frailty).sum()) / self.theta
        return float(frailty @ frailty) / (2 * self.theta)

    def first(self, frailty: Floats) -> Floats:
        """First derivatives of `value`: shape (G,)."""
        return (np.expm1(frailty) if self.distribution == "gamma" else frailty) / self.theta

    def second(self, frailty: Floats) -> Floats:
        """Second derivatives of `value`: shape (G,)."""
        return (np.exp(frailty) if self.distribution == "gamma" else np.ones_like(frailty)) / self.theta


def exp_excess(w: Floats) -> Floats:
    """Return exp(w) - 1 - w, without cancellation near 0."""
    series = w * w * (1 / 2 + w * (1 / 6 + w * (1 / 24 + w * (1 / 120 + w * (1 / 720 + w / 5040)))))
    return np.where(np.abs(w) < 0.02, series, np.expm1(w) - w)


class FrailtyLikelihood:
    """The partial likelihood of a Cox model with a log-frailty per cluster.

    Parameters
    ----------
    base
        The likelihood without frailty, m rows at risk, p covariates.
    cluster
        Cluster of each row at risk, 0 .. G-1, shape (m,).
    n_cluster
        Number of clusters G, those without a row at risk included.
    """

    def __init__(self, base: PartialLikelihood, cluster: Integers, n_cluster: int) -> None:
        self.base, self.cluster, self.n_cluster = base, cluster, n_cluster
        self.steps = base.steps
        self._shares = _Shares(base.risk_sets, cluster, n_cluster)

    @property
    def n_terms(self) -> int:
        return int(self.base.x.shape[1])

    @property
    def events(self) -> Floats:
        """Weighted events of each cluster: shape (G,)."""
        return self._by_cluster(self.base.event_weight)

    def evaluate(self, beta: Floats, frailty: Floats) -> FrailtyEvaluation:
        """Evaluate at coefficients (p,) and log-frailties (G,)."""
        base, steps, x = self.base, self.steps, self.base.x
        eta = x @ beta + frailty[self.cluster]
        if base.offset is not None:
            eta = eta + base.offset
        shift = float(eta.max())
        weighted = base.weights * np.exp(eta - shift)
        denominator = self._at_steps(weighted)
        # Event times of weight 0 may have a risk set of weight 0, which must not give 0 / 0.
        denominator[steps.weight == 0] = 1.0
        mean = self._at_steps(weighted[:, None] * x) / denominator[:, None]
        hazard = steps.weight / denominator
        loglik = float(base.event_weight @ (eta - shift) - steps.weight @ np.log(denominator))
        expected = weighted * self._over_steps(hazard)
        residual = base.event_weight - expected
        spread = x * expected[:, None] - weighted[:, None] * self._over_steps(hazard[:, None] * mean)
        return FrailtyEvaluation(
            loglik=loglik,
            score=np.concatenate([x.T @ residual, self._by_cluster(residual)]),
            information=(x * expected[:, None]).T @ x - (mean * steps.weight[:, None]).T @ mean,
            cross=np.column_stack([self._by_cluster(c) for c in spread.T])
            if self.n_terms
            else np.zeros((self.n_cluster, 0)),
            expected=self._by_cluster(expected),
            weighted=weighted,
            row_expected=expected,
            hazard=hazard,
            denominator=denominator,
        )

    def times_information(self, at: FrailtyEvaluation, direction: Floats) -> Floats:
        """Exact information (p + G square, no penalty) times a direction, shape (p + G,)."""
        p = self.n_terms
        change = self.base.x @ direction[:p] + direction[p:][self.cluster]
        mean = self._at_steps(at.weighted * change) / at.denominator
        row = at.row_expected * change - at.weighted * self._over_steps(at.hazard * mean)
        return np.concatenate([self.base.x.T @ row, self._by_cluster(row)])

    def frailty_diagonal(self, at: FrailtyEvaluation) -> Floats:
        """Diagonal of the information of the log-frailties, no penalty: shape (G,)."""
        return at.expected - self._shares.squares(at.weighted, self._moments(at), self.base.ties == "efron")

    def frailty_block(self, at: FrailtyEvaluation) -> Floats:
        """Information of the log-frailties, no penalty: shape (G, G). Dense: for moderate G."""
        steps = self.steps
        block = np.diag(at.expected)
        for begin in range(0, len(steps.at), 512):
            part = slice(begin, begin + 512)
            shares = self._shares.table(at.weighted, steps.at[part], steps.fraction[part], at.denominator[part])
            block -= (shares * steps.weight[part, None]).T @ shares
        return block

    def _moments(self, at: FrailtyEvaluation) -> tuple[Floats, Floats, Floats]:
        steps = self.steps
        unit = steps.weight / at.denominator**2
        moments = [per_time(steps, unit * steps.fraction**power) for power in range(3)]
        return moments[0], moments[1], moments[2]

    def _by_cluster(self, rows: Floats) -> Floats:
        return np.asarray(np.bincount(self.cluster, weights=rows, minlength=self.n_cluster), dtype=np.float64)

    def _at_steps(self, values: Floats) -> Floats:
        return sum_at_steps(self.base.risk_sets, self.steps, values)

    def _over_steps(self, increments: Floats) -> Floats:
        return sum_over_steps(self.base.risk_sets, self.steps, increments)


class _Shares:
    """Share of each cluster in the risk sets, as a step function of the event times."""

    def __init__(self, rs: RiskSets, cluster: Integers, n_cluster: int) -> None:
        self.rs, self.cluster, self.n_cluster = rs, cluster, n_cluster
        width = rs.n_times + 1
        keys = np.concatenate([cluster * width + rs.first, cluster * width + rs.last + 1])
        unique, self._place = np.unique(keys, return_inverse=True)
        self._owner, self._from = unique // width, unique % width
        same = np.append(self._owner[1:] == self._owner[:-1], False)
        self._to = np.where(same, np.append(self._from[1:], 0), self._from)
        pairs, self._event_pair = np.unique(cluster[rs.event] * width + rs.last[rs.event], return_inverse=True)
        self._pair_owner, self._pair_time = pairs // width, pairs % width
        self._pair_segment = np.searchsorted(unique, pairs, side="right") - 1
        edges = np.flatnonzero(np.diff(rs.stratum)) + 1
        self._strata = list(zip(np.append(0, edges), np.append(edges, rs.n_times), strict=True))

    def _at_risk(self, weighted: Floats) -> Floats:
        signed = np.concatenate([weighted, -weighted])
        return np.cumsum(np.bincount(self._place, weights=signed, minlength=len(self._owner)))

    def squares(self, weighted: Floats, moments: tuple[Floats, Floats, Floats], efron: bool) -> Floats:
        """Sum over steps of weight times squared share: shape (G,)."""
        at_risk = self._at_risk(weighted)
        length = np.zeros(len(at_risk))
        # One running sum per stratum: a common one would lose the digits of small increments.
        for begin, end in self._strata:
            running = np.append(0.0, np.cumsum(moments[0][begin:end]))
            inside = (self._from >= begin) & (self._to <= end) & (self._to > self._from)
            length[inside] = running[self._to[inside] - begin] - running[self._from[inside] - begin]
        total = np.bincount(self._owner, weights=at_risk**2 * length, minlength=self.n_cluster)
        if efron:
            tied = np.bincount(self._event_pair, weights=weighted[self.rs.event], minlength=len(self._pair_owner))
            when = self._pair_time
            extra = tied**2 * moments[2][when] - 2 * at_risk[self._pair_segment] * tied * moments[1][when]
            total = total + np.bincount(self._pair_owner, weights=extra, minlength=self.n_cluster)
        return np.asarray(total, dtype=np.float64)

    def table(self, weighted: Floats, at: Integers, fraction: Floats, denominator: Floats) -> Floats:
        """Share of each cluster at the given steps: shape (steps, G)."""
        low, high = int(at[0]), int(at[-1]) + 1
        rs, width = self.rs, high - low
        change = np.zeros((width + 1, self.n_cluster))
        here = np.flatnonzero((rs.first < high) & (rs.last >= low))
        np.add.at(change, (np.maximum(rs.first[here] - low, 0), self.cluster[here]), weighted[here])
        np.add.at(change, (np.minimum(rs.last[here] + 1 - low, width), self.cluster[here]), -weighted[here])
        total = np.cumsum(change, axis=0)[:-1][at - low]
        tied = np.zeros((width, self.n_cluster))
        events = here[rs.event[here] & (rs.last[here] < high)]
        np.add.at(tied, (rs.last[events] - low, self.cluster[events]), weighted[events])
        return np.asarray((total - fraction[:, None] * tied[at - low]) / denominator[:, None])


@dataclass(frozen=True, eq=False)
class Penalized:
    """Maximum of the penalized partial likelihood at one theta.

    Attributes
    ----------
    beta : shape (p,)
    frailty : shape (G,)
        Log-frailties.
    at : FrailtyEvaluation
    loglik : float
        Penalized log partial likelihood.
    iterations : int
    """

    beta: Floats
    frailty: Floats
    at: FrailtyEvaluation
    loglik: float
    iterations: int


def maximize_penalized(
    likelihood: FrailtyLikelihood, penalty: Penalty, start: tuple[Floats, Floats], max_iter: int, tolerance: float
) -> Penalized:
    """Maximize over coefficients and log-frailties; the function is strictly concave in the latter.

    Raises
    ------
    FitError
        "not_converged".
    """
    p = likelihood.n_terms
    beta, frailty = start[0].copy(), start[1].copy()
    at = likelihood.evaluate(beta, frailty)
    value = at.loglik - penalty.value(frailty)
    for iteration in range(1, max_iter + 1):
        score = at.score.copy()
        score[p:] -= penalty.first(frailty)
        step = _newton_step(likelihood, at, penalty.second(frailty), score)
        gain = 0.5 * float(score @ step)
        size, last = 1.0, gain <= tolerance * (1.0 + abs(value))
        for _ in range(40):
            new_beta, new_frailty = beta + size * step[:p], frailty + size * step[p:]
            new = likelihood.evaluate(new_beta, new_frailty)
            new_value = new.loglik - penalty.value(new_frailty)
            if last or (np.isfinite(new_value) and new_value >= value - 1e-10 * (1 + abs(value))):
                break
            size /= 2
        else:
            raise FitError("not_converged", f"no step raises the penalized log-likelihood at theta = {penalty.theta:g}")
        beta, frailty, at, value = new_beta, new_frailty, new, new_value
        if last:
            return Penalized(beta, frailty, at, value, iteration)
    raise FitError("not_converged", f"no maximum after {max_iter} iterations at theta = {penalty.theta:g}")


def _newton_step(likelihood: FrailtyLikelihood, at: FrailtyEvaluation, second: Floats, score: Floats) -> Floats:
    """Solve (information + penalty) step = score by preconditioned conjugate gradients."""
    p = likelihood.n_terms
    # The exact block is smaller than this one by a positive semidefinite matrix, so the
    # preconditioner is positive definite and all eigenvalues of the product lie in (0, 1].
    solve = schur_solver(at.information, at.cross, at.expected + second)
    step, residual = np.zeros_like(score), score.copy()
    z = solve(residual)
    direction, rz = z.copy(), float(residual @ z)
    target = _CG_TOLERANCE**2 * rz
    for _ in range(_CG_STEPS):
        if rz <= target or rz <= 0:
            break
        product = likelihood.times_information(at, direction)
        product[p:] += second * direction[p:]
        curvature = float(direction @ product)
        if curvature <= 0:
            break
        length = rz / curvature
        step += length * direction
        residual -= length * product
        z = solve(residual)
        rz, before = float(residual @ z), rz
        direction = z + rz / before * direction
    return step


def schur_solver(information: Floats, cross: Floats, diagonal: Floats) -> Callable[[Floats], Floats]:
    """Return the solver of [[information, cross'], [cross, diag(diagonal)]] y = b; G work per call.

    Raises
    ------
    FitError
        "not_converged" when the matrix is not positive definite.
    """
    p = information.shape[0]
    scaled = cross / diagonal[:, None]
    schur = information - cross.T @ scaled
    try:
        factor = scipy.linalg.cho_factor(schur) if p else None
    except scipy.linalg.LinAlgError:
        raise FitError("not_converged", "the information of the coefficients is singular") from None

    def solve(b: Floats) -> Floats:
        top = scipy.linalg.cho_solve(factor, b[:p] - scaled.T @ b[p:]) if factor is not None else b[:p]
        return np.concatenate([top, b[p:] / diagonal - scaled @ top])

    return solve
