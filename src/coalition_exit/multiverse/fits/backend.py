"""Which machinery fits many Cox models at once: compiled loops where numba is there, else NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Models:
    """What became of B models of at most P covariates; arrays as in `kernel_cox_fit.cox_models`."""

    fitted: NDArray[np.bool_]
    coef: Floats
    error: Floats
    loglik: Floats
    statistic: Floats
    gap: Floats


@cache
def name() -> str:
    """Return "numba" or "numpy"; a numba that does not work with this NumPy counts as none."""
    try:
        import_module("numba")
    except ImportError:
        return "numpy"
    return "numba"


def cox_models(
    x: Floats, size: Floats, offsets: Any, deaths: Any, clusters: Any, n_cluster: int, g: Floats, spread: float,
    means: Floats, cols: Any, count: Any, efron: Any, factor: Floats, levels: Floats, until: int,
    with_tests: bool = True,
) -> Models:  # fmt: skip
    """Fit B models on shared risk sets; parameters as in `kernel_cox_fit.cox_models`."""
    n, most = cols.shape
    found = Models(
        np.zeros(n, dtype=bool), np.full((n, most), np.nan), np.full((n, most), np.nan), np.full((n, 2), np.nan),
        np.full((n, 2, most + 1), np.nan), np.full((n, 2), np.nan),
    )  # fmt: skip
    run: Any
    if name() == "numba":
        from coalition_exit.multiverse.fits import kernel_cox_fit

        run = kernel_cox_fit.cox_models
    else:
        from coalition_exit.multiverse.fits import plain

        run = plain.cox_models
    run(
        x, size, offsets, deaths, clusters, n_cluster, g, spread, means, cols, count, efron, factor, levels, until,
        with_tests, found.fitted, found.coef, found.error, found.loglik, found.statistic, found.gap,
    )  # fmt: skip
    return found
