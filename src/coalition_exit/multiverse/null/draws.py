"""Draws of clusters: the same for every spec, the same whatever the number of workers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coalition_exit.errors import DataError, FitError
from coalition_exit.multiverse.choices.resolve import Setting
from coalition_exit.multiverse.fits.engine import Engine
from coalition_exit.multiverse.fits.riskgroups import Base
from coalition_exit.multiverse.fits.tasks import Context
from coalition_exit.survival.inference.bootstrap import cluster_weights

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_CHUNK = 2_000


@dataclass(frozen=True, eq=False)
class Drawn:
    """The clusters that are drawn: the column that names them, and their names in order."""

    by: str
    labels: pd.Index

    def codes(self, values: Any) -> Integers:
        """Return the place of each row's cluster; a missing or unknown one is refused."""
        codes = self.labels.get_indexer(pd.Index(values))
        if (codes < 0).any():
            raise FitError("not_tested", f"{int((codes < 0).sum())} rows without {self.by}")
        return codes.astype(np.int64)

    def copies(self, replicates: int, seed: int) -> Floats:
        """Return how often each cluster is drawn: shape (R, D). The first draws do not depend on how many follow."""
        return cluster_weights(len(self.labels), replicates, "multinomial", seed)

    def digest(self, copies: Floats) -> bytes:
        """Return a hash of some draws, 16 bytes."""
        state = hashlib.blake2b(repr((self.by, self.labels.tolist())).encode(), digest_size=16)
        state.update(np.ascontiguousarray(copies).tobytes())
        return state.digest()


def drawn_labels(context: Context, base: Base, setting: Setting, by: str) -> NDArray[Any]:
    """Return the drawn cluster's name on the rows of a setting: shape (r,)."""
    if base.own is not None:
        if by not in base.own:
            raise FitError("not_tested", f"the data have no column {by}")
        return np.asarray(base.own[by].to_numpy())
    return np.asarray(context.columns.raw(setting.coding, [by])[by].to_numpy()[base.rows])


def find_clusters(engine: Engine, numbers: Integers, by: str | None = None) -> Drawn:
    """Return the clusters on the rows of any of the specs, sorted.

    Parameters
    ----------
    engine
        Of the multiverse.
    numbers
        The specs.
    by
        Column whose values are drawn; what the reference spec's standard errors are clustered on by default.

    Raises
    ------
    DataError
        No such column, or fewer than two clusters.
    """
    name = by or engine.multiverse.reference.errors.by
    labels: set[Any] = set()
    seen: set[str] = set()
    space = engine.multiverse.space
    for low in range(0, len(numbers), _CHUNK):
        for digits in space.digits(numbers[low : low + _CHUNK]).tolist():
            spec = engine.resolver.resolve(digits)
            setting = spec.setting
            if setting is None or spec.problem or setting.base in seen:
                continue
            try:
                base = engine.base(spec, setting)
            except (FitError, DataError):
                continue
            seen.add(setting.base)
            try:
                labels |= set(pd.unique(drawn_labels(engine, base, setting, name)))
            except KeyError:
                raise DataError("clusters drawn", "a column of the data", repr(name)) from None
            except FitError as error:
                raise DataError("clusters drawn", "a column of the data", str(error)) from None
    found = pd.Index(sorted(label for label in labels if not pd.isna(label)))
    if len(found) < 2:
        raise DataError("clusters drawn", "at least two", f"{len(found)} of {name}")
    return Drawn(name, found)
