"""Many Cox fits of the same rows, each with its own weight per cluster, solved together.

A cluster bootstrap and leave-one-cluster-out change nothing but the weights of clusters. The likelihoods of a
block of replicates are evaluated together (`batched`); each replicate takes Newton steps of its own.

A replicate's cluster weight multiplies the case weights of its rows. Weight 0 leaves the rows out. Under
Efron ties weight 2 is one event of weight 2, as in R's ``coxph(weights=)``, not two tied events.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coalition_exit.errors import DataError, FitError
from coalition_exit.survival.cox.partial import PartialLikelihood
from coalition_exit.survival.cox.solver import check_monotone
from coalition_exit.survival.cox.state import CoxState
from coalition_exit.survival.data.surv import Floats, Integers
from coalition_exit.survival.inference.batched import BatchLikelihood, Values
from coalition_exit.survival.inference.vcov import require_maximum

CONVERGED = "converged"
# Doubles in one matrix of a block (rows at risk x replicates): a few such matrices stay in cache.
_BLOCK = 600_000
# Iterations before replicates that have not converged are gathered into blocks of their own.
_FIRST_ROUND = 7
_SINGULAR = 1e-10
# A Newton step, in standard deviations of the covariates, above which the estimate still moves.
_STILL = 1e-4
_STRIDE = 4.0
# So many steps that gain nothing in likelihood and still move: the coefficients diverge.
_DRIFTING = 3
# So many replicates without convergence are tested exactly for a monotone likelihood.
_CONFIRMED = 200


@dataclass(frozen=True, eq=False)
class ReweightedFits:
    """Coefficients of B replicates.

    Attributes
    ----------
    coef : shape (B, p)
        NaN in the rows of replicates without an estimate.
    status : shape (B,), str
        "converged", or why there is no estimate: "no_events", "no_variation" (a covariate does not
        vary among those at risk), "collinear", "monotone" (coefficients diverge), "not_converged".
    iterations : shape (B,)
        Evaluations of the likelihood.
    """

    coef: Floats
    status: NDArray[np.str_]
    iterations: Integers

    @property
    def ok(self) -> NDArray[np.bool_]:
        """Which replicates have an estimate."""
        return np.asarray(self.status == CONVERGED)

    @property
    def failures(self) -> dict[str, int]:
        """Number of replicates by reason for having no estimate."""
        return count_failures(self.status)


def count_failures(status: NDArray[np.str_]) -> dict[str, int]:
    """Count the replicates without an estimate by reason."""
    names, counts = np.unique(status[status != CONVERGED], return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}


def reweighted_fits(
    state: CoxState,
    weights: Floats,
    clusters: Integers,
    *,
    block: int | None = None,
    max_iter: int = 60,
    tolerance: float = 1e-14,
) -> ReweightedFits:
    """Fit the model again under each of B vectors of cluster weights.

    Parameters
    ----------
    state
        The fitted model; its estimate is where every replicate starts.
    weights
        Weight of each cluster in each replicate, shape (B, G), not negative.
    clusters
        Code 0 .. G - 1 of the cluster of each row of the data, shape (n,).
    block
        Replicates solved at once; chosen by size by default. The results do not depend on it beyond rounding.
    max_iter
        Evaluations allowed to a replicate.
    tolerance
        As in `solver.maximize`: the gain in log-likelihood still to come, relative to it.

    Raises
    ------
    DataError
        Weights that are negative or not finite, shapes that do not fit, other ties, a penalized fit.
    """
    w = np.asarray(weights, dtype=np.float64)
    if w.ndim != 2 or not (np.isfinite(w).all() and (w >= 0).all()):
        raise DataError("weights", "a matrix (replicates, clusters) of finite numbers >= 0", f"shape {w.shape}")
    if len(clusters) != len(state.design.surv) or (len(clusters) and int(clusters.max()) >= w.shape[1]):
        raise DataError("weights", f"{int(clusters.max(initial=-1)) + 1} columns, one a cluster", str(w.shape[1]))
    require_maximum(state)
    batch = BatchLikelihood(state.likelihood, clusters[state.risk_sets.rows], w.shape[1])
    # At zero, not at the estimate: where coefficients have run away the information has vanished.
    null = state.likelihood.evaluate(np.zeros_like(state.beta))
    scale = np.sqrt(np.diag(null.information) / state.likelihood.total_weight)
    search = _Search(batch, w, state.beta, scale, tolerance)
    if block is None:
        block = int(np.clip(_BLOCK // max(batch.m, 1), 8, 256))
    for rounds in (min(_FIRST_ROUND, max_iter), max_iter - _FIRST_ROUND):
        pending = np.flatnonzero(search.code == _RUNNING)
        for first in range(0, len(pending), block):
            search.run(pending[first : first + block], max(rounds, 0))
    search.code[search.code == _RUNNING] = _CODES.index("not_converged")
    for b in np.flatnonzero(search.code == _CODES.index("not_converged"))[:_CONFIRMED]:
        if _is_monotone(state, w[b][clusters[state.risk_sets.rows]]):
            search.code[b] = _CODES.index("monotone")
    search.coef[search.code != _CODES.index(CONVERGED)] = np.nan
    return ReweightedFits(search.coef, np.array(_CODES)[search.code], search.count)


def _is_monotone(state: CoxState, row_weights: Floats) -> bool:
    """Ask the exact test, a linear program, about one replicate."""
    own = state.likelihood
    again = PartialLikelihood(state.risk_sets, own.x, own.weights * row_weights, own.offset, own.ties)
    try:
        check_monotone(again, state.design.names)
    except FitError:
        return True
    return False


_CODES = ("running", CONVERGED, "no_events", "no_variation", "collinear", "monotone", "not_converged")
_RUNNING = 0


class _Search:
    """Newton's method with step-halving for every replicate on its own."""

    def __init__(self, batch: BatchLikelihood, w: Floats, start: Floats, scale: Floats, tolerance: float) -> None:
        n = len(w)
        self.batch, self.w, self.scale, self.tolerance = batch, w, scale[:, None], tolerance
        self.coef = np.tile(start, (n, 1))
        self.direction = np.zeros((n, len(start)))
        self.size = np.ones(n)
        self.loglik = np.full(n, -np.inf)
        self.gain = np.full(n, np.inf)
        self.drift = np.zeros(n, dtype=np.int64)
        self.from_zero = np.full(n, not start.any())
        self.count = np.zeros(n, dtype=np.int64)
        self.code = np.zeros(n, dtype=np.int64)
        self.widest = (batch.zt[1:] ** 2).max(axis=1, initial=0.0)[:, None]

    def run(self, chosen: Integers, iterations: int) -> None:
        """Take up to ``iterations`` steps with the chosen replicates."""
        batch = self.batch
        w = np.ascontiguousarray(self.w[chosen].T)
        events = np.asarray(batch.deaths.sum(axis=0)) @ w
        self.code[chosen[events <= 0]] = _CODES.index("no_events")
        chosen, w, events = chosen[events > 0], w[:, events > 0], events[events > 0]
        row_weight = batch.row_weights(w)
        for _ in range(iterations):
            if not len(chosen):
                return
            trial = (self.coef[chosen] + self.size[chosen, None] * self.direction[chosen]).T
            with np.errstate(all="ignore"):
                # What overflows or underflows is a step too far: no finite likelihood, so it is halved.
                values = batch.evaluate(trial, w, row_weight)
            self.count[chosen] += 1
            self._advance(chosen, trial, values, events)
            going = self.code[chosen] == _RUNNING
            if going.sum() <= 0.75 * len(going):
                chosen, w, events = chosen[going], w[:, going], events[going]
                row_weight = row_weight[:, going]

    def _advance(self, chosen: Integers, trial: Floats, values: Values, events: Floats) -> None:
        going = self.code[chosen] == _RUNNING
        before = self.loglik[chosen]
        slack = np.where(np.isfinite(before), 1e-10 * (1 + np.abs(before)), 0.0)
        finite = np.isfinite(values.loglik + values.score.sum(axis=0) + values.information.sum(axis=0))
        better = going & finite & (values.loglik >= before - slack)
        worse = chosen[going & ~better]
        self.size[worse] /= 2
        self.code[worse[self.size[worse] < 1e-9]] = _CODES.index("not_converged")
        at = chosen[better]
        if not len(at):
            return
        information, score, loglik = values.information[:, better], values.score[:, better], values.loglik[better]
        fresh = ~np.isfinite(self.loglik[at])
        self.coef[at], self.loglik[at] = trial[:, better].T, loglik
        step, lost = self._newton(information, score, events[better])
        self._lose(at, lost, fresh)
        self.direction[at] = step.T
        gain = 0.5 * np.einsum("pb,pb->b", score, step)
        # Towards infinity Newton walks with even steps, each gaining 1/e of the last; longer ones get there sooner.
        slow = (self.count[at] > _FIRST_ROUND) & (gain > 0.2 * self.gain[at])
        self.size[at], self.gain[at] = np.where(slow, _STRIDE, 1.0), gain
        done = (lost == 0) & (gain <= self.tolerance * (1 + np.abs(loglik)))
        moving = np.abs(step * self.scale).max(axis=0) > _STILL
        ended = at[done & ~moving]
        self.coef[ended] += self.direction[ended]
        self.code[ended] = _CODES.index(CONVERGED)
        drifting = at[done & moving]
        self.drift[drifting] += 1
        self.code[drifting[self.drift[drifting] >= _DRIFTING]] = _CODES.index("monotone")

    def _lose(self, at: Integers, lost: Integers, fresh: NDArray[np.bool_]) -> None:
        """Name why the information is singular, or try once more from zero.

        At the first evaluation the covariates cannot be told apart, unless the start is so far out that
        they seem so. Later the information has vanished along the way up: the likelihood is monotone.
        """
        self.code[at[(lost > 0) & ~fresh]] = _CODES.index("monotone")
        first = fresh & (lost > 0)
        again = at[first & ~self.from_zero[at]]
        final = first & self.from_zero[at]
        self.code[at[final]] = lost[final]
        self.coef[again], self.loglik[again], self.from_zero[again] = 0.0, -np.inf, True

    def _newton(self, information: Floats, score: Floats, events: Floats) -> tuple[Floats, Integers]:
        """Solve for the step (p, b); code of what makes the information singular, 0 if nothing does."""
        batch = self.batch
        full = np.zeros((batch.p, batch.p, information.shape[1]))
        full[batch.left, batch.right] = information
        diagonal = np.einsum("ppb->pb", full).copy()
        flat = (~(diagonal > 1e-14 * self.widest * events)).any(axis=0)
        root = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
        full /= root[:, None] * root[None]
        step, pivot = _solve(full, score / root)
        lost = np.where(pivot < _SINGULAR, _CODES.index("collinear"), 0)
        lost[flat] = _CODES.index("no_variation")
        step = np.where(lost > 0, 0.0, step / root)
        return step, lost


def _solve(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Cholesky solution of many small systems with unit diagonal: ``a`` (p, p, n) lower, ``b`` (p, n).

    Returns the solutions and the smallest pivot of each system.
    """
    p = len(a)
    lower, pivot = a.copy(), np.full(a.shape[2], np.inf)
    y = b.copy()
    for j in range(p):
        value = lower[j, j] - np.einsum("kn,kn->n", lower[j, :j], lower[j, :j])
        pivot = np.minimum(pivot, np.where(np.isnan(value), -np.inf, value))
        lower[j, j] = np.sqrt(np.where(value > 0, value, 1.0))
        lower[j + 1 :, j] -= np.einsum("ikn,kn->in", lower[j + 1 :, :j], lower[j, :j])
        lower[j + 1 :, j] /= lower[j, j]
        y[j] = (y[j] - np.einsum("kn,kn->n", lower[j, :j], y[:j])) / lower[j, j]
    for j in range(p - 1, -1, -1):
        y[j] = (y[j] - np.einsum("kn,kn->n", lower[j + 1 :, j], y[j + 1 :])) / lower[j, j]
    return y, pivot
