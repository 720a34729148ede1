"""Products and sums over the rows of a matrix, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from coalition_exit.survival.data.surv import Codes, Floats, Integers

# Multiplications per block of rows in a p x p product and in a product with a vector: blocks of this size stay in the
# cache and on one thread. Waiting for a second thread costs more than it saves, and far more on a busy machine.
_BLOCK = 262_144
_VECTOR = 80_000
_INT32 = np.iinfo(np.int32).max
# Rows per block where a block is read or written once.
_ROWS = 4096
# Rows per block that is turned from columns to rows.
_TURNED = 2048


def blocks(x: Floats) -> Iterator[slice]:
    """Cut the rows of x, shape (m, p), into blocks that fit the cache."""
    rows = min(max(_BLOCK // max(x.shape[1], 1) ** 2, 256), 8192)
    return (slice(begin, begin + rows) for begin in range(0, len(x), rows))


def gram(x: Floats, weights: Floats) -> Floats:
    """Return x' diag(weights) x, shape (p, p), in blocks of rows."""
    total = np.zeros((x.shape[1], x.shape[1]))
    for part in blocks(x):
        own = x[part]
        total += (own * weights[part, None]).T @ own
    return total


def times(x: Floats, beta: Floats) -> Floats:
    """Return x @ beta, shape (m,), in blocks of rows."""
    total = np.empty(len(x))
    for part in _pieces(x):
        np.dot(x[part], beta, out=total[part])
    return total


def weighted_sum(weights: Floats, x: Floats) -> Floats:
    """Return weights @ x, shape (p,), in blocks of rows."""
    total = np.zeros(x.shape[1])
    for part in _pieces(x):
        total += weights[part] @ x[part]
    return total


def _pieces(x: Floats) -> list[slice]:
    """Cut the rows of x, shape (m, p), for products with a vector."""
    rows = max(_VECTOR // max(x.shape[1], 1), 64)
    return [slice(begin, begin + rows) for begin in range(0, len(x), rows)]


def dot(a: Floats, b: Floats) -> float:
    """Return the sum of a * b, both of shape (m,), on one thread."""
    return float(a @ b) if len(a) <= _ROWS else float(np.einsum("i,i->", a, b))


def largest(x: Floats) -> Floats:
    """Return the largest absolute value of each column, shape (p,); long rows of memory at a time."""
    m, p = x.shape
    group = 64
    whole = m - m % group
    if not whole or not x.flags.c_contiguous:
        return np.asarray(np.abs(x).max(axis=0, initial=0.0))
    extreme = np.abs(x[whole:]).max(axis=0, initial=0.0)
    wide = x[:whole].reshape(-1, group * p)
    for begin in range(0, len(wide), _ROWS // group):
        part = wide[begin : begin + _ROWS // group]
        most = np.maximum(part.max(axis=0), -part.min(axis=0)).reshape(group, p).max(axis=0)
        np.maximum(extreme, most, out=extreme)
    return np.asarray(extreme)


def sum_rows(weights: Floats, group: Integers, n_groups: int, x: Floats) -> Floats:
    """Sum the weighted rows of x, shape (m, p), within groups: shape (n_groups, p)."""
    pointer = np.arange(len(x) + 1)
    return np.asarray(sp.csc_array((weights, group, pointer), shape=(n_groups, len(x))) @ x)


def sum_moments(
    x: Floats, beta: Floats, weights: Floats | None, offset: Floats | None, shift: float, pointer: Integers
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return exp(x b + offset - shift) by row, and its (weighted) sums with 1, x and x x' within groups of rows.

    Group k has the rows ``pointer[k]`` to ``pointer[k + 1]``. The rows are read once: shapes (m,), (K,), (K, p) and
    (K, p, p).
    """
    p, n_groups = x.shape[1], len(pointer) - 1
    pieces = _pieces_in_blocks(pointer, p)
    risk, work = np.empty(len(x)), np.empty((max((end - begin for begin, end, _ in pieces), default=0), p))
    zeroth, first, second = np.zeros(n_groups), np.zeros((n_groups, p)), np.zeros((n_groups, p, p))
    at_zero = offset is None and not beta.any()
    if at_zero:
        risk.fill(1.0)
    for begin, end, inside in pieces:
        own, relative = x[begin:end], risk[begin:end]
        if not at_zero:
            np.dot(own, beta, out=relative)
            if offset is not None:
                relative += offset[begin:end]
            if shift:
                relative -= shift
            np.exp(relative, out=relative)
        weighted = relative if weights is None else relative * weights[begin:end]
        plain = at_zero and weights is None
        scaled = own if plain else np.multiply(own, weighted[:, None], out=work[: end - begin])
        for k, part in inside:
            some, rows = weighted[part], own[part]
            zeroth[k] += np.add.reduce(some)
            first[k] += np.dot(some, rows)
            second[k] += np.dot(scaled[part].T, rows)
    return risk, zeroth, first, second


def _pieces_in_blocks(pointer: Integers, p: int) -> list[tuple[int, int, list[tuple[int, slice]]]]:
    """Cut rows into blocks that fit the cache, and these into pieces of one group.

    Returns begin and end of each block with its pieces: group, and place within the block.
    """
    rows, m = max(min(_BLOCK // max(p, 1) ** 2, _VECTOR // max(p, 1)), 64), int(pointer[-1])
    edges = np.union1d(pointer, np.arange(0, m, rows))
    group = (np.searchsorted(pointer, edges, side="right") - 1).tolist()
    begins = range(0, m, rows)
    places = np.searchsorted(edges, [*begins, m]).tolist()
    at = edges.tolist()
    return [
        (begin, at[last], [(group[i], slice(at[i] - begin, at[i + 1] - begin)) for i in range(first, last)])
        for begin, first, last in zip(begins, places[:-1], places[1:], strict=True)
    ]


def centered_rows(
    x: Floats, rows: Integers, weights: Floats | None, extreme: Floats | None = None
) -> tuple[Floats, Floats]:
    """Copy some rows of x, each row contiguous, less their mean.

    Parameters
    ----------
    x
        Shape (n, p); contiguous columns are best.
    rows
        Positions of the m rows wanted, each once.
    weights
        Of the m rows in the mean, or None.
    extreme
        Takes the largest absolute value of each column of the copy, shape (p,); for m = n alone.

    Returns
    -------
    ndarray, shape (m, p), and ndarray, shape (p,)
        The copy and the mean.
    """
    n, p = x.shape
    m = len(rows)
    chosen = np.empty((m, p))
    if not m:
        return chosen, np.zeros(p)
    if 2 * m < n or not p:
        for j in range(p):
            chosen[:, j] = np.take(x[:, j], rows)
        each = np.ones(m) if weights is None else weights
        center = weighted_sum(each, chosen) / each.sum()
        chosen -= center
        return chosen, center
    # Most rows are wanted: read them in order and write each to its place, which moves whole rows of memory.
    if m == n and weights is None:
        center = np.add.reduce(x, axis=0) / n
    else:
        share = np.zeros(n)
        share[rows] = 1.0 if weights is None else weights
        center = share @ x / share.sum()
        del share
    place: Codes = np.full(n, -1, dtype=np.int32 if n <= _INT32 else np.int64)
    for begin in range(0, m, _ROWS):
        some = rows[begin : begin + _ROWS]
        place[some] = np.arange(begin, begin + len(some))
    to, columns, own = _as_items(chosen), np.empty((p, _TURNED)), np.empty((_TURNED, p))
    for begin in range(0, n, _TURNED):
        here = place[begin : begin + _TURNED]
        size = len(here)
        some = np.subtract(x[begin : begin + size].T, center[:, None], out=columns[:, :size])
        own[:size] = some.T
        if extreme is not None:
            np.maximum(extreme, np.maximum(some.max(axis=1), -some.min(axis=1)), out=extreme)
        items = _as_items(own[:size])
        if m < n:
            items, here = items[here >= 0], here[here >= 0]
        # put() copies an item faster than an assignment does; all places are valid.
        np.put(to, here, items, mode="clip")
    return chosen, center


def _as_items(x: Floats) -> NDArray[np.void]:
    """View each row of a contiguous matrix as one item."""
    return x.view(np.dtype((np.void, x.itemsize * x.shape[1]))).reshape(len(x))
