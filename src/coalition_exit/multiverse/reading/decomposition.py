"""Which decision drives the estimate: shares of the variance over specs, and what each option changes.

All is about the finite set of specs that have an estimate, each counting once. V(u) is the variance over them of the
mean estimate of the specs that agree on the decisions u: what one would know of an estimate from those decisions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import comb, prod

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coalition_exit.multiverse.reading.design import Design

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
# Up to so many decisions all their subsets are gone through, beyond it random orders.
_MOST_EXACT = 12
_ORDERS = 300
_SEED = 20160
# Cells counted directly; options of all decisions in one additive model.
_DIRECT = 20_000_000
_WIDEST = 1_500


@dataclass(frozen=True, eq=False)
class Decomposition:
    """Shares of the variance of one term's estimates.

    Attributes
    ----------
    decisions : DataFrame
        term, decision, label, options, shapley, first_order, total, unique.
    whole : DataFrame
        One row: term, specs, variance, additive, interactions, sum_first_order, sum_total, complete, method.
    pairs : DataFrame
        term, first, second, share: what two decisions tell together beyond what each tells alone.
    """

    decisions: pd.DataFrame
    whole: pd.DataFrame
    pairs: pd.DataFrame


def decompose(specs: pd.DataFrame, design: Design, term: str) -> Decomposition:
    """Decompose the variance of a term's estimates over decisions.

    Parameters
    ----------
    specs
        The specs' table (`summary.read_specs`).
    design
        Its decisions.
    term
        A focus term.

    Notes
    -----
    ``first_order`` is V(i) / V(all): what decision i alone tells. ``total`` is 1 - V(all but i) / V(all): what is
    lost without it. ``shapley`` is the mean, over all orders of the decisions, of what i adds to V; the shares are not
    negative and add up to 1 whatever is excluded or failed. ``unique`` is what i adds to R2 of the additive model of
    all decisions (type II). ``additive`` is that R2 and ``interactions`` 1 - R2. With all combinations there
    ("complete") first_order and total are Sobol's indices, first_order equals unique, their sum is additive, and
    first_order <= shapley <= total. With exclusions the decisions are dependent: sums of first_order may exceed 1.

    References
    ----------
    Sobol', I. M. (1993), Mathematical Modelling and Computational Experiment 1, 407-414; Owen, A. B. (2014), SIAM/ASA
    Journal on Uncertainty Quantification 2, 245-251; Iooss, B. and Prieur, C. (2019), International Journal for
    Uncertainty Quantification 9, 493-514.
    """
    own = specs[(specs["term"] == term) & specs["estimate"].notna()]
    codes, _ = design.codes(own)
    y = own["estimate"].to_numpy(dtype=np.float64)
    game = _Game(codes, y)
    d = len(design.decisions)
    shapley, method = _shapley(game, d)
    everything = tuple(range(d))
    rows = []
    additive, unique = _additive(codes, y)
    for i, decision in enumerate(design.decisions):
        first = game.share((i,))
        total = 1 - game.share(tuple(k for k in everything if k != i)) if game.varies else np.nan
        present = len(np.unique(codes[:, i])) if len(y) else 0
        rows.append((term, decision.name, decision.label, present, shapley[i], first, total, unique[i]))
    columns = ["term", "decision", "label", "options", "shapley", "first_order", "total", "unique"]
    decisions = pd.DataFrame(rows, columns=columns)
    complete = bool(len(y)) and len(y) == prod(max(n, 1) for n in decisions["options"])
    whole = pd.DataFrame([{
        "term": term, "specs": len(y), "variance": game.variance, "additive": additive,
        "interactions": 1 - additive, "sum_first_order": decisions["first_order"].sum(min_count=1),
        "sum_total": decisions["total"].sum(min_count=1), "complete": complete, "method": method,
    }])  # fmt: skip
    pairs = [
        (term, design.decisions[i].name, design.decisions[j].name,
         game.share((i, j)) - game.share((i,)) - game.share((j,)))
        for i, j in combinations(everything, 2)
    ]  # fmt: skip
    found = pd.DataFrame(pairs, columns=["term", "first", "second", "share"])
    order = found["share"].sort_values(ascending=False, kind="stable").index
    return Decomposition(decisions, whole, found.loc[order].reset_index(drop=True))


class _Game:
    """V(u) of sets of decisions, as a share of V(all), each computed once."""

    def __init__(self, codes: Integers, y: Floats) -> None:
        self.codes, self.y = codes, y - y.mean() if len(y) else y
        self.radix = [int(column.max()) + 1 if len(column) else 1 for column in codes.T]
        self._known: dict[tuple[int, ...], float] = {(): 0.0}
        self.variance = float((self.y**2).mean()) if len(y) else np.nan
        size = float(np.abs(y).max()) if len(y) else 0.0
        self.varies = len(y) > 1 and self.variance > (1e-12 * size) ** 2

    def share(self, chosen: tuple[int, ...]) -> float:
        """Return V(u) / V(all): the decisions decide all, so V(all) is the variance."""
        if not self.varies:
            return np.nan
        if chosen not in self._known:
            self._known[chosen] = self._explained(chosen) / self.variance
        return self._known[chosen]

    def _explained(self, chosen: tuple[int, ...]) -> float:
        key, size = np.zeros(len(self.y), dtype=np.int64), 1
        for k in chosen:
            if size * self.radix[k] > _DIRECT:
                labels, key = np.unique(key, return_inverse=True)
                key, size = key.reshape(-1).astype(np.int64), len(labels)
            key, size = key * self.radix[k] + self.codes[:, k], size * self.radix[k]
        if size > _DIRECT:
            labels, key = np.unique(key, return_inverse=True)
            key, size = key.reshape(-1), len(labels)
        count = np.bincount(key, minlength=size)
        total = np.bincount(key, weights=self.y, minlength=size)
        filled = count > 0
        return float((total[filled] ** 2 / count[filled]).sum() / len(self.y))


def _shapley(game: _Game, d: int) -> tuple[Floats, str]:
    """Return the Shapley value of each decision, and how it was computed."""
    if not game.varies:
        return np.full(d, np.nan), "none: the estimates do not vary"
    # A decision with one option present adds nothing to any set.
    active = [i for i in range(d) if len(np.unique(game.codes[:, i])) > 1]
    values = np.zeros(d)
    n = len(active)
    if n <= _MOST_EXACT:
        for i in active:
            others = [k for k in active if k != i]
            for size in range(n):
                weight = 1 / (n * comb(n - 1, size))
                for chosen in combinations(others, size):
                    values[i] += weight * (game.share(tuple(sorted((*chosen, i)))) - game.share(chosen))
        return values, "all subsets of the decisions"
    rng = np.random.default_rng(_SEED)
    for _ in range(_ORDERS // 2):
        order = rng.permutation(active)
        # An order and its reverse: their errors cancel in part.
        for one in (order, order[::-1]):
            before, met = 0.0, list[int]()
            for i in one.tolist():
                met.append(i)
                after = game.share(tuple(sorted(met)))
                values[i] += after - before
                before = after
    return values / _ORDERS, f"{_ORDERS} orders of the decisions, drawn with seed {_SEED}"


def _additive(codes: Integers, y: Floats) -> tuple[float, Floats]:
    """Return R2 of the additive model of all decisions, and what each adds to it."""
    import scipy.sparse as sp

    d = codes.shape[1]
    nothing = np.full(d, np.nan)
    centred = y - y.mean() if len(y) else y
    total = float(centred @ centred)
    if len(y) < 2 or not total > 0:
        return np.nan, nothing
    blocks, owner = [], []
    for i in range(d):
        present, back = np.unique(codes[:, i], return_inverse=True)
        for k in range(1, len(present)):
            blocks.append((back.reshape(-1) == k).astype(np.float64))
            owner.append(i)
        if len(blocks) > _WIDEST:
            return np.nan, nothing
    if not blocks:
        return 0.0, np.zeros(d)
    x = sp.csc_array(np.column_stack(blocks))
    mean = np.asarray(x.mean(axis=0)).reshape(-1)
    gram = (x.T @ x).toarray() - len(y) * np.outer(mean, mean)
    right, of = np.asarray(x.T @ centred), np.array(owner)

    def explained(keep: NDArray[np.bool_]) -> float:
        if not keep.any():
            return 0.0
        solution = np.linalg.lstsq(gram[np.ix_(keep, keep)], right[keep], rcond=1e-12)[0]
        return float(right[keep] @ solution) / total

    r2 = explained(np.ones(len(of), dtype=bool))
    return r2, np.array([r2 - explained(of != i) if (of == i).any() else 0.0 for i in range(d)])


def option_changes(specs: pd.DataFrame, design: Design, term: str) -> pd.DataFrame:
    """Return what each option changes: against the reference spec, and on average over all other choices.

    Returns
    -------
    DataFrame
        One row an option that is not its decision's reference: term, decision, label, option, reference (option),
        spec (its number), status, reason, reference_estimate, estimate, change (the spec with this option alone
        changed less the reference spec), and over all pairs of specs that differ in this option alone and have
        estimates: pairs, mean_change, sd_change, change_p05, change_p25, change_p50, change_p75, change_p95,
        share_up (of the pairs), share_turned (whose sign turns).
    """
    own = specs[specs["term"] == term]
    codes, names = design.codes(own)
    radix = [max(len(options), 1) for options in names]
    stride = np.array([prod(radix[k + 1 :]) for k in range(len(radix))], dtype=object)
    # Python's whole numbers where 64 bits do not reach.
    kind = np.int64 if prod(radix) < 2**62 else object
    key = (codes.astype(kind) * stride.astype(kind)).sum(axis=1) if radix else np.zeros(len(own), dtype=np.int64)
    order = np.argsort(key, kind="stable")
    rows = _Rows(key[order], own.iloc[order].reset_index(drop=True))
    reference = [options.index(d.reference) for options, d in zip(names, design.decisions, strict=True)]
    at = sum(int(r) * int(s) for r, s in zip(reference, stride, strict=True))
    sorted_codes = codes[order]
    found = []
    for i, decision in enumerate(design.decisions):
        for place, option in enumerate(names[i]):
            if place == reference[i]:
                continue
            step = (place - reference[i]) * int(stride[i])
            changed = rows.find(np.array([at + step], dtype=kind))[0]
            alone = rows.describe(changed, rows.find(np.array([at], dtype=kind))[0])
            here = np.flatnonzero(sorted_codes[:, i] == place)
            there = rows.find(rows.key[here] - step)
            head = {"term": term, "decision": decision.name, "label": decision.label, "option": option,
                    "reference": decision.reference}  # fmt: skip
            found.append(head | alone | rows.pairs(here, there))
    columns = [
        "term", "decision", "label", "option", "reference", "spec", "status", "reason", "reference_estimate",
        "estimate", "change", "pairs", "mean_change", "sd_change", "change_p05", "change_p25", "change_p50",
        "change_p75", "change_p95", "share_up", "share_turned",
    ]  # fmt: skip
    return pd.DataFrame(found, columns=columns).astype({"spec": "Int64"})


@dataclass(frozen=True, eq=False)
class _Rows:
    """One term's rows, sorted by a key of their options."""

    key: NDArray[np.generic]
    frame: pd.DataFrame

    def find(self, keys: NDArray[np.generic]) -> Integers:
        """Return the row of each key, -1 where there is none."""
        if not len(self.key):
            return np.full(len(keys), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.key, keys), len(self.key) - 1)
        return np.where(self.key[at] == keys, at, -1)

    def describe(self, changed: int, reference: int) -> dict[str, object]:
        """Return the exact rows of the reference spec and the one with an option changed."""
        base = float(self.frame["estimate"].iloc[reference]) if reference >= 0 else np.nan
        if changed < 0:
            return {"spec": pd.NA, "status": "excluded", "reason": "", "reference_estimate": base,
                    "estimate": np.nan, "change": np.nan}  # fmt: skip
        row = self.frame.iloc[changed]
        estimate = float(row["estimate"])
        return {"spec": int(row["spec"]), "status": str(row["status"]), "reason": str(row["reason"]),
                "reference_estimate": base, "estimate": estimate, "change": estimate - base}  # fmt: skip

    def pairs(self, here: Integers, there: Integers) -> dict[str, float]:
        """Summarize the differences between rows and their counterparts."""
        values = self.frame["estimate"].to_numpy(dtype=np.float64)
        new, old = values[here[there >= 0]], values[there[there >= 0]]
        known = np.isfinite(new) & np.isfinite(old)
        new, old = new[known], old[known]
        change, n = new - old, int(known.sum())
        quantiles = np.quantile(change, [0.05, 0.25, 0.5, 0.75, 0.95]) if n else np.full(5, np.nan)
        names = ["change_p05", "change_p25", "change_p50", "change_p75", "change_p95"]
        some: Callable[[Floats], float] = lambda v: float(v.mean()) if n else np.nan  # noqa: E731
        return {
            "pairs": n, "mean_change": some(change), "sd_change": float(change.std()) if n else np.nan,
            **dict(zip(names, map(float, quantiles), strict=True)),
            "share_up": some((change > 0).astype(float)), "share_turned": some((np.sign(new) != np.sign(old)) * 1.0),
        }  # fmt: skip
