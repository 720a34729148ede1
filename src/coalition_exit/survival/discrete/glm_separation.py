"""Exact detection of complete and quasi-complete separation in binary-outcome models.

The likelihood has no maximum when a direction v exists with z_i'v >= 0 for every row and > 0 for
some, where z_i is x_i for an event and -x_i otherwise (Albert and Anderson 1984). Where a maximum
exists its score equation says sum_i |r_i| z_i = 0 with every |r_i| > 0, which rules such a
direction out. So only rows with a residual of almost nothing can be separated: the linear program
of Konis (2007) is solved for them alone, within the directions on which all other rows are flat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.optimize
import scipy.sparse
from numpy.typing import NDArray

from coalition_exit.survival.data.surv import Floats

# Rows that Newton left with a smaller residual may be separated. It stops when the log-likelihood
# can rise by no more than 1e-14 of itself, and what separated rows can still add is the sum of
# their residuals, so theirs are far below.
_RESIDUAL = 1e-6
_FLAT = 1e-9


@dataclass(frozen=True, eq=False)
class Separation:
    """A direction along which the likelihood rises forever.

    Attributes
    ----------
    complete : bool
        Every row is predicted perfectly.
    n_rows : int
        Rows predicted perfectly.
    columns : tuple of int
        Columns of the design matrix that take part.
    """

    complete: bool
    n_rows: int
    columns: tuple[int, ...]


def find_separation(x: Floats, y: NDArray[np.bool_], residuals: Floats | None = None) -> Separation | None:
    """Look for a direction that separates events from non-events.

    Parameters
    ----------
    x
        Design matrix with its constant, shape (n, p); rows of positive weight only.
    y
        Outcomes, shape (n,).
    residuals
        Derivative of each row's log-likelihood by its linear predictor where Newton's method
        ended, shape (n,); None lets every row count as possibly separated.

    Returns
    -------
    Separation or None
        None proves that the maximum exists, given columns that are linearly independent.

    References
    ----------
    Albert, A. and Anderson, J. A. (1984), Biometrika 71, 1-10; Konis, K. (2007), Linear programming
    algorithms for detecting separated data in binary logistic regression models, DPhil, Oxford.
    """
    possible = np.ones(len(y), dtype=bool) if residuals is None else np.abs(residuals) < _RESIDUAL
    if not possible.any():
        return None
    scale = np.abs(x).max(axis=0, initial=0.0)
    scale[scale == 0] = 1.0
    z = np.where(y, 1.0, -1.0)[:, None] * (x / scale)
    basis = _null_space(z[~possible])
    if not basis.shape[1]:
        return None
    margins = z[possible] @ basis
    margins[np.abs(margins) < _FLAT] = 0.0
    margins, count = np.unique(np.round(margins, 12), axis=0, return_counts=True)
    moving = np.abs(margins).max(axis=1, initial=0.0) > 0
    if not moving.any():
        return None
    found = _solve(margins[moving], count[moving].astype(float))
    if found is None:
        return None
    direction, n_rows = found
    part = np.abs(basis @ direction)
    columns = tuple(int(j) for j in np.flatnonzero(part > 1e-6 * part.max()))
    return Separation(n_rows == len(y), n_rows, columns)


def describe_separation(found: Separation, names: Sequence[str], n: int) -> str:
    """Return one line that names the covariates and says how many rows they predict perfectly."""
    named = [names[j] for j in found.columns if names[j] != "_cons"] or ["_cons"]
    kind = "complete" if found.complete else "quasi-complete"
    return (
        f"{kind} separation, coefficients diverge: {', '.join(named)} "
        f"{'predicts' if len(named) == 1 else 'together predict'} {found.n_rows} of {n} outcomes perfectly"
    )


def _null_space(z: Floats) -> Floats:
    p = z.shape[1]
    if not len(z):
        return np.eye(p)
    r = np.linalg.qr(z, mode="r") if len(z) > p else z
    _, size, vt = np.linalg.svd(r, full_matrices=True)
    rank = int((size > _FLAT * max(1.0, size.max(initial=0.0))).sum())
    return np.asarray(vt[rank:].T)


def _solve(margins: Floats, count: Floats) -> tuple[Floats, int] | None:
    """Maximize the number of rows with a positive margin, none being negative."""
    m, k = margins.shape
    largest = np.abs(margins).max(axis=1, keepdims=True)
    rows = scipy.sparse.hstack([scipy.sparse.csr_matrix(-margins / largest), scipy.sparse.eye(m)], format="csr")
    cost = np.concatenate([np.zeros(k), -count / count.max()])
    bounds = [(None, None)] * k + [(0.0, 1.0)] * m
    result = scipy.optimize.linprog(cost, A_ub=rows, b_ub=np.zeros(m), bounds=bounds, method="highs")
    if result.status != 0:
        return None
    separated = result.x[k:] > 0.5
    if not separated.any():
        return None
    return result.x[:k], int(count[separated].sum())
