"""Specification curves under the null: every spec refitted to the same draws of clusters, and recentred.

The null is imposed on estimates and not on data. Whole clusters are drawn with replacement, the same draw for all
specs, every spec is refitted, and its estimate on the sample is taken off: b* - b estimates the distribution that b
would have about an effect of 0. Dependence between specs, within clusters, censoring and ties come along, because all
that is drawn is whole histories. Standard errors are those of each refit, so that (b* - b) / se* is what the spec's
own test would have seen. A cluster drawn twice counts as two clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coalition_exit.errors import DataError
from coalition_exit.multiverse.fits.engine import Engine
from coalition_exit.multiverse.null.draws import Drawn, find_clusters
from coalition_exit.multiverse.null.refits import NOT_TESTED, STATUSES, null_part

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
_CHUNK = 500


@dataclass(frozen=True, eq=False)
class NullCurves:
    """R curves under the null, of N specs and F focus terms.

    Attributes
    ----------
    focus : tuple of str
        The F focus terms.
    numbers : shape (N,)
        Numbers of the specs.
    estimate, error : shape (N, F)
        Of the sample; NaN for a spec without an estimate or the term.
    shift : float32, shape (R, N, F)
        b* - b; NaN for a refit without an estimate.
    statistic : float32, shape (R, N, F)
        (b* - b) / se*.
    status : int8, shape (R, N, F)
        Place in `STATUSES`. "part": the estimate stands, but a control could not be estimated in the resample (it no
        longer varies, or its coefficient runs off) and was held or left to run. "no_events", "not_identified" (the
        focus term does not vary), "no_maximum" (its coefficient runs off) have no estimate.
    untested : dict
        Number of specs by reason why none of their refits was made.
    by, n_cluster : str, int
        What was drawn, and how many of them there are.
    seed : int
    """

    focus: tuple[str, ...]
    numbers: NDArray[np.int64]
    estimate: Floats
    error: Floats
    shift: Singles
    statistic: Singles
    status: NDArray[np.int8]
    untested: dict[str, int]
    by: str
    n_cluster: int
    seed: int

    @property
    def n_replicates(self) -> int:
        """R."""
        return len(self.shift)

    def outcomes(self) -> pd.DataFrame:
        """Count refits by focus term and status: columns term, status, refits, share."""
        rows = []
        for f, term in enumerate(self.focus):
            # In slices: the array may be on disk, and large.
            count = sum((np.bincount(own[:, f], minlength=len(STATUSES)) for own in self.status), np.zeros(1))
            made = max(int(count.sum() - count[NOT_TESTED]), 1)
            for k, name in enumerate(STATUSES):
                share = np.nan if k == NOT_TESTED else count[k] / made
                rows.append((term, name, int(count[k]), share))
        return pd.DataFrame(rows, columns=["term", "status", "refits", "share"])


def null_curves(
    engine: Engine,
    replicates: int = 500,
    *,
    seed: int,
    numbers: NDArray[np.int64] | None = None,
    by: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NullCurves:
    """Refit every spec under draws of clusters, in this process; `runs.null.run_null` resumes and has workers.

    Every refit is a full one: Newton's method from the estimate on the sample, until the gain in log-likelihood still
    to come is below 1e-10 of it. One or two steps would be faster and, with few events, far off.

    Parameters
    ----------
    engine
        Of the multiverse.
    replicates
        R.
    seed
        Of the draws: the same draw for every spec.
    numbers
        Specs; all that are allowed by default.
    by
        As for `find_clusters`.
    progress
        Called with the specs done and their number.

    Raises
    ------
    DataError
        A column that is not there, numbers that are not positive, fewer than two clusters.

    References
    ----------
    Cameron, A. C., Gelbach, J. B. and Miller, D. L. (2008), Review of Economics and Statistics 90, 414-427: the
    cluster bootstrap of pairs and its recentred statistic. Simonsohn, U., Simmons, J. P. and Nelson, L. D. (2020),
    Nature Human Behaviour 4, 1208-1214: curves under the null.
    """
    check_replicates(replicates)
    space = engine.multiverse.space
    chosen = space.allowed(0, space.size) if numbers is None else np.asarray(numbers, dtype=np.int64)
    drawn = find_clusters(engine, chosen, by)
    copies = drawn.copies(replicates, seed)

    def parts() -> Iterable[tuple[int, pa.Table]]:
        for low in range(0, len(chosen), _CHUNK):
            part = chosen[low : low + _CHUNK]
            yield 0, null_part(engine, drawn, copies, part)
            if progress is not None:
                progress(low + len(part), len(chosen))

    return join_parts(parts(), chosen, engine.focus, replicates, drawn, seed)


def check_replicates(replicates: int) -> None:
    """Refuse a number of draws that is none."""
    if not isinstance(replicates, int) or isinstance(replicates, bool) or replicates < 1:
        raise DataError("replicates", "a whole number from 1 on", repr(replicates))


def join_parts(
    parts: Iterable[tuple[int, pa.Table]], numbers: NDArray[np.int64], focus: list[str], replicates: int,
    drawn: Drawn, seed: int, folder: Path | None = None,
) -> NullCurves:  # fmt: skip
    """Join the tables of `refits.null_part`, each with the place of its first draw.

    The three large arrays, 9 R N F bytes, are in memory, or files in ``folder`` that are mapped into it.
    """
    shape = (replicates, len(numbers), len(focus))
    order = np.argsort(numbers, kind="stable")
    estimate, error = np.full(shape[1:], np.nan), np.full(shape[1:], np.nan)
    large = {name: _empty(name, shape, kind, folder) for name, kind in
             (("shift", np.float32), ("statistic", np.float32), ("status", np.int8))}  # fmt: skip
    untested: dict[str, int] = {}
    for first, table in parts:
        if not len(table):
            continue
        lists = table["specs"].combine_chunks()
        sizes = np.diff(lists.offsets.to_numpy())
        rows = np.repeat(np.arange(len(sizes)), sizes)
        at = order[np.searchsorted(numbers, lists.flatten().to_numpy(), sorter=order)]
        for name, values in (("estimate", estimate), ("error", error)):
            values[at] = _values(table, name).reshape(len(sizes), -1)[rows]
        for name, target in large.items():
            own = _values(table, name).reshape(len(sizes), -1, shape[2])
            target[first : first + own.shape[1], at] = own[rows].swapaxes(0, 1)
        if first == 0:
            for text, times in zip(table["reason"].to_pylist(), sizes.tolist(), strict=True):
                if text:
                    untested[text] = untested.get(text, 0) + times
    return NullCurves(
        tuple(focus), numbers, estimate, error, large["shift"], large["statistic"], large["status"],
        dict(sorted(untested.items())), drawn.by, len(drawn.labels), seed,
    )  # fmt: skip


def _values(table: pa.Table, name: str) -> NDArray[Any]:
    return np.asarray(table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False))


def _empty(name: str, shape: tuple[int, int, int], kind: Any, folder: Path | None) -> Any:
    if folder is None:
        return np.empty(shape, kind)
    folder.mkdir(parents=True, exist_ok=True)
    return np.lib.format.open_memmap(folder / f"{name}.npy", "w+", kind, shape)
