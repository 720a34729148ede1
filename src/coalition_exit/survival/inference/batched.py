"""The partial likelihood of the same rows under many weight vectors at once.

Covariates, risk sets and products of columns are shared. A block of b replicates is a matrix with a
column each, so that linear predictors, sums over risk sets and all information matrices are matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from coalition_exit.survival.cox.partial import PartialLikelihood
from coalition_exit.survival.data.surv import Floats, Integers

# Doubles of pairwise products of columns, and of regrouped columns, kept; beyond it they are formed as they are used.
_PAIRS = 40_000_000
_CHUNK = 20_000
# Multiplications per product of a block of rows: such products stay on one thread. Waiting for a second one costs more
# than it saves, and on a busy machine ten times as much.
_PRODUCT = 262_144
# exp() of a linear predictor beyond this is taken relative to the largest.
_LARGE = 300.0


@dataclass(frozen=True, eq=False)
class Values:
    """Log-likelihood (b,), score (p, b) and packed information (q, b) of b replicates."""

    loglik: Floats
    score: Floats
    information: Floats


class BatchLikelihood:
    """The partial likelihood under many weight vectors: rows sorted for block-wise products."""

    def __init__(self, likelihood: PartialLikelihood, clusters: Integers, n_cluster: int) -> None:
        rs = likelihood.risk_sets
        single = rs.first == rs.last
        order = np.lexsort((rs.last, ~single))
        self.m, self.p, self.n_times = len(order), likelihood.x.shape[1], rs.n_times
        self.first, self.last, self.event = rs.first[order], rs.last[order], rs.event[order]
        x = likelihood.x[order]
        self.zt = np.ascontiguousarray(np.column_stack([np.ones(self.m), x]).T)
        self.case = likelihood.weights[order]
        self.offset = None if likelihood.offset is None else likelihood.offset[order][:, None]
        self.cluster = clusters[order]
        self.n_single = int(single.sum())
        self.left, self.right = np.tril_indices(self.p)
        self.pairs = self._pairs(0, self.m) if len(self.left) * self.m <= _PAIRS else None
        self._group()
        self._sum_events(n_cluster)
        self._prepare_ties(likelihood.ties, n_cluster)

    def _pairs(self, begin: int, end: int) -> Floats:
        """Stack covariates and their pairwise products: shape (p + q, end - begin)."""
        x = self.zt[1:, begin:end]
        return np.concatenate([x, x[self.left] * x[self.right]])

    def _group(self) -> None:
        """Find the runs of rows that share an event time."""
        head, tail = slice(0, self.n_single), slice(self.n_single, self.m)
        self.single = _runs(self.last[head], 0)
        self.leaves = 1 << max(self.n_times - 1, 0).bit_length()
        node, row = _cover(self.first[tail] + self.leaves, self.last[tail] + self.leaves)
        by_node = np.argsort(node, kind="stable")
        self.node_rows = self.n_single + row[by_node]
        self.node_runs = _runs(node[by_node], 0)
        small = len(self.node_rows) * (self.p + 1) <= _PAIRS
        self.zt_node = np.ascontiguousarray(self.zt[:, self.node_rows]) if small else None
        self.over_nodes = sp.csr_array(
            (np.ones(len(row)), (row, node)), shape=(self.m - self.n_single, 2 * self.leaves)
        )
        events = np.flatnonzero(self.event)
        self.events = events[np.argsort(self.last[events], kind="stable")]
        self.event_runs = _runs(self.last[self.events], 0)
        self.zt_event = np.ascontiguousarray(self.zt[:, self.events])

    def _sum_events(self, n_cluster: int) -> None:
        """Sum weights, covariates and offsets of events by cluster: linear in the weights."""
        rows = self.events
        weight, where = self.case[rows], (self.last[rows], self.cluster[rows])
        self.deaths = sp.csr_array((weight, where), shape=(self.n_times, n_cluster))
        at = self.cluster[rows]
        sums = [np.bincount(at, weights=weight * column[rows], minlength=n_cluster) for column in self.zt[1:]]
        self.event_x = np.array(sums)
        shift = np.zeros(len(rows)) if self.offset is None else self.offset[rows, 0]
        self.event_offset = np.bincount(at, weights=weight * shift, minlength=n_cluster)

    def _prepare_ties(self, ties: str, n_cluster: int) -> None:
        counted = self.events[self.case[self.events] > 0]
        most = np.maximum(np.bincount(self.last[counted], minlength=self.n_times), 1)
        self.efron = ties == "efron" and bool((most > 1).any())
        if not self.efron:
            return
        ones = (np.ones(len(counted)), (self.last[counted], self.cluster[counted]))
        self.tied = sp.csr_array(ones, shape=(self.n_times, n_cluster))
        self.step_at = np.repeat(np.arange(self.n_times), most)
        self.step_begin = np.cumsum(most) - most
        self.step_number = (np.arange(len(self.step_at)) - self.step_begin[self.step_at]).astype(float)[:, None]

    def row_weights(self, w: Floats) -> Floats:
        """Weight of each row, shape (m, b), from weights of clusters, shape (G, b)."""
        return np.asarray(self.case[:, None] * w[self.cluster])

    def evaluate(self, beta: Floats, w: Floats, row_weight: Floats) -> Values:
        """Evaluate at one coefficient vector a replicate: ``beta`` (p, b), ``w`` (G, b)."""
        a, shift = self._risk(beta, row_weight)
        sums = self._at_risk(a)
        deaths = np.asarray(self.deaths @ w)
        if self.efron:
            weight, fraction, sums = self._efron_steps(a, sums, deaths, w)
        else:
            weight, fraction = deaths, None
        used = weight > 0
        denominator = np.where(used, sums[:, 0], 1.0)
        hazard = weight / denominator
        mean = sums[:, 1:] / denominator[:, None]
        linear = self.event_x @ w
        loglik = np.einsum("pb,pb->b", linear, beta) + self.event_offset @ w
        loglik -= np.einsum("sb,sb->b", weight, np.log(denominator) + shift)
        self._expect(a, hazard, fraction)
        moments = self._moments(a)
        score = linear - moments[: self.p]
        information = moments[self.p :]
        mean[np.broadcast_to(~used[:, None], mean.shape)] = 0.0
        weighted = mean * weight[:, None]
        for number, (i, j) in enumerate(zip(self.left, self.right, strict=True)):
            information[number] -= np.einsum("sb,sb->b", weighted[:, i], mean[:, j])
        return Values(loglik, score, information)

    def _risk(self, beta: Floats, row_weight: Floats) -> tuple[Floats, Floats]:
        """Weight times relative risk of each row (m, b), and the log of the unit it is given in (b,)."""
        eta = np.empty((self.m, beta.shape[1]))
        for part in _parts(0, self.m, beta.size):
            np.matmul(self.zt[1:, part].T, beta, out=eta[part])
        if self.offset is not None:
            eta += self.offset
        shift = np.zeros(beta.shape[1])
        far = np.flatnonzero(np.abs(eta).max(axis=0, initial=0.0) > _LARGE)
        if len(far):
            inside = np.where(row_weight[:, far] > 0, eta[:, far], -np.inf)
            shift[far] = np.where(np.isfinite(inside).any(axis=0), inside.max(axis=0), 0.0)
            eta[:, far] = inside - shift[far]
        np.exp(eta, out=eta)
        eta *= row_weight
        return eta, shift

    def _at_risk(self, a: Floats) -> Floats:
        """Sum a and a x over the risk set of each event time: shape (K, 1 + p, b)."""
        sums = np.zeros((self.n_times, self.p + 1, a.shape[1]))
        if self.n_single < self.m:
            sums[:] = self._at_risk_long(a)
        for time, begin, end in self.single:
            sums[time] += self.zt[:, begin:end] @ a[begin:end]
        return sums

    def _at_risk_long(self, a: Floats) -> Floats:
        """Sum over the rows at risk at several times, adding only.

        Differences of running sums would lose the digits of small risk sets when coefficients are
        large. Instead each row is counted in the few nodes of a binary tree over the event times
        that make up its range; an event time's sum is that of its node and all above it.
        """
        nodes = np.zeros((2 * self.leaves, self.p + 1, a.shape[1]))
        for node, begin, end in self.node_runs:
            rows = self.node_rows[begin:end]
            z = self.zt[:, rows] if self.zt_node is None else self.zt_node[:, begin:end]
            np.matmul(z, a[rows], out=nodes[node])
        width = 1
        while width < self.leaves:
            width *= 2
            level = nodes[width : 2 * width]
            level += np.repeat(nodes[width // 2 : width], 2, axis=0)
        return nodes[self.leaves : self.leaves + self.n_times]

    def _efron_steps(self, a: Floats, sums: Floats, deaths: Floats, w: Floats) -> tuple[Floats, Floats, Floats]:
        """Return weight and fraction (S, b) of the steps and their sums over risk sets (S, 1 + p, b)."""
        taken = np.zeros_like(sums)
        of_events = a[self.events]
        for time, begin, end in self.event_runs:
            taken[time] = self.zt_event[:, begin:end] @ of_events[begin:end]
        at = self.step_at
        tied = np.asarray(self.tied @ (w > 0).astype(float))[at]
        active = self.step_number < tied
        tied = np.maximum(tied, 1.0)
        fraction = np.where(active, self.step_number / tied, 0.0)
        weight = np.where(active, deaths[at] / tied, 0.0)
        return weight, fraction, sums[at] - fraction[:, None] * taken[at]

    def _expect(self, a: Floats, hazard: Floats, fraction: Floats | None) -> None:
        """Turn a, in place, into expected numbers of events."""
        less = None
        if fraction is not None:
            rows = self.events
            less = a[rows] * np.add.reduceat(hazard * fraction, self.step_begin, axis=0)[self.last[rows]]
            hazard = np.add.reduceat(hazard, self.step_begin, axis=0)
        for time, begin, end in self.single:
            a[begin:end] *= hazard[time]
        if self.n_single < self.m:
            nodes = np.zeros((2 * self.leaves, a.shape[1]))
            nodes[self.leaves : self.leaves + self.n_times] = hazard
            width = self.leaves
            while width > 1:
                nodes[width // 2 : width] = nodes[width : 2 * width : 2] + nodes[width + 1 : 2 * width : 2]
                width //= 2
            a[self.n_single :] *= self.over_nodes @ nodes
        if less is not None:
            a[self.events] -= less

    def _moments(self, a: Floats) -> Floats:
        """Sum a x and a x x' (packed) over rows: shape (p + q, b)."""
        total = np.zeros((self.p + len(self.left), a.shape[1]))
        for begin in range(0, self.m, _CHUNK):
            end = min(begin + _CHUNK, self.m)
            pairs = self._pairs(begin, end) if self.pairs is None else self.pairs[:, begin:end]
            for part in _parts(0, end - begin, total.size):
                total += pairs[:, part] @ a[begin:end][part]
        return total


def _parts(begin: int, end: int, width: int) -> list[slice]:
    """Cut a range of rows so that a product with ``width`` multiplications a row stays on one thread."""
    rows = max(_PRODUCT // max(width, 1), 16)
    return [slice(at, min(at + rows, end)) for at in range(begin, end, rows)]


def _runs(keys: Integers, offset: int) -> list[tuple[int, int, int]]:
    """Runs of equal sorted keys as (key, begin, end), positions counted from ``offset``."""
    if not len(keys):
        return []
    begins = np.concatenate([[0], np.flatnonzero(np.diff(keys)) + 1])
    ends = np.append(begins[1:], len(keys))
    return [(int(keys[b]), offset + int(b), offset + int(e)) for b, e in zip(begins, ends, strict=True)]


def _cover(left: Integers, right: Integers) -> tuple[Integers, Integers]:
    """Nodes of a binary tree that make up ranges of its leaves (inclusive): (node, position of the range)."""
    row = np.arange(len(left))
    nodes, rows = [], []
    while len(row):
        odd, even = left % 2 == 1, right % 2 == 0
        nodes += [left[odd], right[even]]
        rows += [row[odd], row[even]]
        left, right = (left + odd) // 2, (right - even) // 2
        going = left <= right
        left, right, row = left[going], right[going], row[going]
    empty = np.empty(0, dtype=np.int64)
    return np.concatenate([empty, *nodes]), np.concatenate([empty, *rows])
