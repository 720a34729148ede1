"""`kernel_cox` in NumPy, for machines without numba: the same refits, slower."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_OK, _PART, _NO_EVENTS, _NOT_IDENTIFIED, _NO_MAXIMUM = 0, 1, 2, 3, 4
_GAIN, _VANISHED, _STILL = 1e-10, 1e-9, 1e-3


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows of one replicate of one model: x (p, m), where risk sets begin, events, weights, own clusters."""

    x: Floats
    off: Integers
    deaths: Integers
    w: Floats
    own: Integers
    efron: bool

    def sums(self, a: Floats, k: int, n: int) -> tuple[float, Floats, Floats]:
        """Return weighted sums of a, a x, a x x' over the first n rows of a risk set."""
        rows = slice(self.off[k], self.off[k] + n)
        weighted = a[:n] * self.w[rows]
        part = self.x[:, rows] * weighted
        return float(weighted.sum()), part.sum(axis=1), part @ self.x[:, rows].T

    def steps(self, k: int) -> tuple[int, float]:
        """Return into how many steps the events of a risk set are taken, and the weight of each."""
        d = int(self.deaths[k])
        total = float(self.w[self.off[k] : self.off[k] + d].sum())
        return (d, total / d) if self.efron and d > 1 else (1, total)


def refit(
    x: Floats, off: Integers, deaths: Integers, own: Integers, home: Integers, copies: Floats, cols: Integers,
    count: Integers, focus: Integers, efron: NDArray[np.bool_], kind: Integers, start: Floats, reference: Floats,
    scale: Floats, steps: int, first: int, last: int, coef: Floats, error: Floats, status: NDArray[np.int8],
) -> None:  # fmt: skip
    """Refit models in some replicates; parameters as in `kernel_cox.refit`."""
    for r in range(first, last):
        weight_of = copies[r, home]
        weight = weight_of[own]
        kept, off_r, deaths_r = _pack(off, deaths, weight)
        if not len(deaths_r):
            status[r] = _NO_EVENTS
            continue
        packed, w, own_r = x[:, kept], weight[kept], own[kept]
        for b in range(len(count)):
            p = count[b]
            rows = _Rows(packed[cols[b, :p]], off_r, deaths_r, w, own_r, bool(efron[b]))
            beta, info, alive, arrived, still = _climb(rows, start[b, :p], reference[b, :p], focus[b], scale[b], steps)
            for f, at in enumerate(focus[b]):
                if at < 0:
                    continue
                if not alive[at]:
                    status[r, b, f] = _NOT_IDENTIFIED
                    continue
                variance = np.nan
                if (arrived or still[f]) and np.isfinite(beta[at]):
                    v = _solve(info, alive, np.eye(p)[at])
                    variance = float(v[at]) if kind[b] == 0 else _spread(rows, beta, v, weight_of, int(kind[b]))
                if not 0 < variance < np.inf:
                    status[r, b, f] = _NO_MAXIMUM
                    continue
                coef[r, b, f], error[r, b, f] = beta[at], np.sqrt(variance)
                status[r, b, f] = _OK if arrived and alive.all() else _PART


def _pack(off: Integers, deaths: Integers, weight: Floats) -> tuple[Integers, Integers, Integers]:
    kept, ends, counts = [], [0], []
    for k in range(len(deaths)):
        alive = off[k] + np.flatnonzero(weight[off[k] : off[k + 1]] > 0)
        d = int((alive < off[k] + deaths[k]).sum())
        if d:
            kept.append(alive)
            counts.append(d)
            ends.append(ends[-1] + len(alive))
    rows = np.concatenate(kept) if kept else np.empty(0, dtype=np.int64)
    return rows, np.array(ends, dtype=np.int64), np.array(counts, dtype=np.int64)


def _predictor(rows: _Rows, beta: Floats, k: int) -> tuple[Floats, Floats]:
    eta = beta @ rows.x[:, rows.off[k] : rows.off[k + 1]]
    eta = eta - eta.max()
    return eta, np.exp(np.maximum(eta, -700.0))


def _likelihood(rows: _Rows, beta: Floats) -> tuple[float, Floats, Floats]:
    p = len(beta)
    loglik, score, info = 0.0, np.zeros(p), np.zeros((p, p))
    for k, d in enumerate(rows.deaths):
        eta, a = _predictor(rows, beta, k)
        s0, s1, s2 = rows.sums(a, k, len(a))
        dead = slice(rows.off[k], rows.off[k] + d)
        loglik += float(rows.w[dead] @ eta[:d])
        score += rows.x[:, dead] @ rows.w[dead]
        count, weight = rows.steps(k)
        t0, t1, t2 = rows.sums(a, k, d) if count > 1 else (0.0, np.zeros(p), np.zeros((p, p)))
        for f in np.arange(count) / d:
            den = s0 - f * t0
            mean = (s1 - f * t1) / den
            loglik -= weight * np.log(den)
            score -= weight * mean
            info += weight * ((s2 - f * t2) / den - np.outer(mean, mean))
    return loglik, score, info


def _alive(info: Floats, reference: Floats) -> NDArray[np.bool_]:
    """Return the covariates on which something is left, in turn: as R's coxph does."""
    p = len(reference)
    alive, lower = np.ones(p, dtype=bool), np.zeros((p, p))
    for j in range(p):
        total = info[j, j] - (lower[j, :j] ** 2).sum()
        alive[j] = info[j, j] > _VANISHED * reference[j] and total > 1e-10 * info[j, j]
        if alive[j]:
            lower[j, j] = np.sqrt(total)
            lower[j + 1 :, j] = (info[j + 1 :, j] - lower[j + 1 :, :j] @ lower[j, :j]) / lower[j, j]
    return alive


def _solve(info: Floats, alive: NDArray[np.bool_], right: Floats) -> Floats:
    out, own = np.zeros(len(right)), np.flatnonzero(alive)
    if len(own):
        scale = np.sqrt(np.diag(info)[own])
        out[own] = np.linalg.solve(info[np.ix_(own, own)] / np.outer(scale, scale), right[own] / scale) / scale
    return out


def _climb(
    rows: _Rows, start: Floats, reference: Floats, focus: Integers, scale: Floats, steps: int
) -> tuple[Floats, Floats, NDArray[np.bool_], bool, NDArray[np.bool_]]:
    beta = start.copy()
    still, alive = np.zeros(len(focus), dtype=bool), np.ones(len(beta), dtype=bool)
    loglik, score, info = _likelihood(rows, beta)
    for iteration in range(1, steps + 1):
        alive = _alive(info, reference)
        step = _solve(info, alive, score)
        gain = 0.5 * float(score @ step)
        still = (focus >= 0) & (np.abs(step[focus]) <= _STILL * scale)
        if not gain < np.inf:
            break
        last = gain <= _GAIN * (1 + abs(loglik))
        if last or iteration == steps:
            return beta + step, info, alive, bool(last), still
        floor = loglik - 1e-10 * (1 + abs(loglik))
        length = 1.0
        for _ in range(30):
            to = beta + length * step
            loglik, score, info = _likelihood(rows, to)
            if loglik >= floor:
                break
            length /= 2
        beta = to
    return beta, info, alive, False, still


def _spread(rows: _Rows, beta: Floats, v: Floats, weight_of: Floats, kind: int) -> float:
    """Return the sandwich variance of v' times the score: each copy of a cluster counts by itself."""
    influence = np.zeros(len(weight_of))
    for k, d in enumerate(rows.deaths):
        _, a = _predictor(rows, beta, k)
        s0, s1, _ = rows.sums(a, k, len(a))
        count, weight = rows.steps(k)
        t0, t1 = rows.sums(a, k, d)[:2] if count > 1 else (0.0, np.zeros(len(v)))
        z = v @ rows.x[:, rows.off[k] : rows.off[k + 1]]
        part, f = np.zeros(len(a)), np.arange(count) / d
        den = s0 - f * t0
        mean = (v @ s1 - f * (v @ t1)) / den
        part += a * ((weight / den * mean).sum() - z * (weight / den).sum())
        part[:d] += z[:d] - mean.mean() + a[:d] * (z[:d] * (weight / den * f).sum() - (weight / den * f * mean).sum())
        influence += np.bincount(rows.own[rows.off[k] : rows.off[k + 1]], weights=part, minlength=len(influence))
    total = float(weight_of.sum())
    factor = 1.0 if kind == 2 else total / (total - 1) if total > 1 else np.nan
    return factor * float(weight_of @ influence**2)
