"""Several ways of clustering given to a fit by the names of their columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from coalition_exit.errors import DataError
from coalition_exit.survival.data.complete_rows import take_column
from coalition_exit.survival.data.design import Design


def name_ways(cluster: str | ArrayLike | Sequence[str] | None, data: pd.DataFrame) -> tuple[str, ...] | None:
    """Return the columns of a list of names; None for one column, an array of values or nothing.

    A list of texts is one of names unless it has a value for every row of the data.

    Raises
    ------
    DataError
        Unknown columns, a name that occurs twice, an empty list.
    """
    if not isinstance(cluster, (list, tuple)) or len(cluster) == len(data):
        return None
    if not all(isinstance(name, str) for name in cluster):
        return None
    if not cluster:
        raise DataError("cluster", "at least one column", "none")
    if len(set(cluster)) < len(cluster):
        raise DataError("cluster", "different columns", repr(list(cluster)))
    for name in cluster:
        take_column(data, name, "cluster")
    return tuple(cluster)


def combine_ways(data: pd.DataFrame, names: Sequence[str], missing: str) -> NDArray[np.float64]:
    """Return a value a row that tells the combinations of clusters apart, NaN where one is missing.

    The value is the first row of its combination, so that `separate_ways` can look the clusters up.

    Raises
    ------
    DataError
        Missing values unless they are dropped, by column and row.
    """
    combined = np.zeros(len(data), dtype=np.int64)
    absent = np.zeros(len(data), dtype=bool)
    for name in names:
        codes, labels = pd.factorize(take_column(data, name, "cluster"))
        lost = codes < 0
        if lost.any() and missing != "drop":
            row = int(np.argmax(lost))
            raise DataError(f"cluster {name!r}, row {row} ({int(lost.sum())} such rows)", "a value", "a missing value")
        absent |= lost
        combined = pd.factorize(combined * (len(labels) + 1) + codes)[0].astype(np.int64)
    first = np.full(int(combined.max(initial=-1)) + 1, len(data), dtype=np.int64)
    np.minimum.at(first, combined, np.arange(len(data)))
    return np.where(absent, np.nan, first[combined].astype(np.float64))


def separate_ways(design: Design, data: pd.DataFrame, names: Sequence[str]) -> tuple[Design, dict[str, NDArray[Any]]]:
    """Take the combined clusters out of a design; return the clusters of its rows by way."""
    assert design.cluster is not None
    assert design.cluster_labels is not None
    rows = design.cluster_labels.astype(np.int64)[design.cluster]
    ways = {name: take_column(data, name, "cluster").to_numpy()[rows] for name in names}
    return replace(design, cluster=None, n_cluster=None, cluster_labels=None), ways
