"""Places of many times among a few: distinct event times, counts up to a time, and sorting by place."""

from __future__ import annotations

import numpy as np

from coalition_exit.survival.data.surv import Floats, Integers

# With fewer values than this there is nothing to gain from a table of whole numbers.
_FEW = 1000
# Values per block of a pass over all rows: they stay in the cache.
_BLOCK = 16_384


def distinct(values: Floats) -> Floats:
    """Return the distinct values in ascending order."""
    if len(values) < _FEW:
        return np.unique(values)
    low, high = float(values.min()), float(values.max())
    if not _few_whole(low, high, len(values)):
        return np.unique(values)
    seen = np.zeros(int(high - low) + 1, dtype=bool)
    for begin in range(0, len(values), _BLOCK):
        part = values[begin : begin + _BLOCK]
        if not (np.floor(part) == part).all():
            return np.unique(values)
        seen[(part - low).astype(np.int64)] = True
    return np.asarray(np.flatnonzero(seen) + low, dtype=np.float64)


def _few_whole(low: float, high: float, n: int) -> bool:
    """Tell whether a table of the whole numbers from low to high is worth while for n values."""
    return high - low <= 4 * n and abs(low) < 2**52 and abs(high) < 2**52 and low == np.floor(low)


def count_up_to(times: Floats, values: Floats) -> Integers:
    """Return how many of the sorted ``times`` are <= each value: shape (n,)."""
    n, k = len(values), len(times)
    if n < _FEW or k < 4:
        return np.searchsorted(times, values, side="right")
    low, high = float(times[0]), float(times[-1])
    if _few_whole(low, high, n) and bool((times == np.floor(times)).all()):
        return _look_up(times, values, low, high)
    if k < 1000:
        return np.searchsorted(times, values, side="right")
    # Sorted queries keep the binary search within the cache.
    order = np.argsort(values)
    counts = np.empty(n, dtype=np.int64)
    counts[order] = np.searchsorted(times, values[order], side="right")
    return counts


def _look_up(times: Floats, values: Floats, low: float, high: float) -> Integers:
    """Count once per whole number and look the rest up: rounding down leaves a count as it is."""
    n = len(values)
    bottom, top = float(values.min()), float(values.max())
    # Values from 0 up are their own places in the table; others are moved there.
    own = bottom >= 0 and top <= 4 * n
    base = 0.0 if own else low - 1
    table = np.searchsorted(times, np.arange(base, (top if own else high) + 1), side="right")
    counts = np.empty(n, dtype=np.int64)
    for begin in range(0, n, _BLOCK):
        place = values[begin : begin + _BLOCK]
        if not own:
            place = np.floor(np.minimum(np.maximum(place, base), high)) - base
        counts[begin : begin + _BLOCK] = np.take(table, place.astype(np.int64))
    return counts


def stable_order(keys: Integers, n_keys: int) -> Integers:
    """Return the stable sorting order of keys 0 .. n_keys - 1 (radix sort on 16 bits at a time)."""
    if len(keys) < 2 or bool((keys[1:] >= keys[:-1]).all()):
        return np.arange(len(keys))
    # The cast keeps the lowest 16 bits.
    order = np.argsort(keys.astype(np.uint16), kind="stable")
    shift = 16
    while n_keys >> shift:
        order = order[np.argsort(((keys >> shift) & 0xFFFF).astype(np.uint16)[order], kind="stable")]
        shift += 16
    return order
