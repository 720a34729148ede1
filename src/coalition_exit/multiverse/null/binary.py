"""Refits of a discrete-time hazard, or another binary model, under many weights of clusters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from coalition_exit.multiverse.fits import backend
from coalition_exit.multiverse.null.models import MODEL, STATA, BinaryModel
from coalition_exit.multiverse.null.plain import _alive, _solve
from coalition_exit.survival.discrete.glm_solver import BinaryData, evaluate

Floats = NDArray[np.float64]
_OK, _PART, _NO_EVENTS, _NOT_IDENTIFIED, _NO_MAXIMUM = 0, 1, 2, 3, 4
_GAIN, _STILL = 1e-10, 1e-3
# Links that the compiled loops know, in their order.
_COMPILED = ("logit", "cloglog")


def refit_binary(
    model: BinaryModel, copies: Floats, steps: int, first: int, last: int, coef: Floats, error: Floats,
    status: NDArray[np.int8],
) -> None:  # fmt: skip
    """Refit one model in some replicates; what is filled is as in `kernel_cox.refit`, with B = 1."""
    rows, n = model.rows, len(model.rows.y)
    reference = np.diag(rows.gram(np.ones(n))) * rows.y.mean()
    if backend.name() == "numba" and rows.link.name in _COMPILED:
        from coalition_exit.multiverse.null.kernel_binary import refit

        refit(
            np.ascontiguousarray(rows.x.T), np.ascontiguousarray(rows.y), _given(rows.weights, n, 1.0),
            _given(rows.offset, n, 0.0), model.own, model.home, copies, _COMPILED.index(rows.link.name), model.kind,
            model.focus, model.start, reference, model.error, steps, first, last, coef[:, 0], error[:, 0],
            status[:, 0],
        )  # fmt: skip
        return
    for r in range(first, last):
        weight_of = copies[r, model.home]
        weight = weight_of[model.own]
        kept = weight > 0
        data, own = _part(model.rows, kept, weight), model.own[kept]
        if not data.y.any():
            status[r] = _NO_EVENTS
            continue
        _one(model, data, own, weight_of, reference, steps, coef[r, 0], error[r, 0], status[r, 0])


def _given(values: Floats | None, n: int, otherwise: float) -> Floats:
    return np.full(n, otherwise) if values is None else np.ascontiguousarray(values)


def _part(rows: BinaryData, kept: NDArray[np.bool_], weight: Floats) -> BinaryData:
    case = weight[kept] if rows.weights is None else weight[kept] * rows.weights[kept]
    offset = None if rows.offset is None else rows.offset[kept]
    return replace(rows, x=rows.x[kept], y=rows.y[kept], weights=case, offset=offset)


def _one(
    model: BinaryModel, data: BinaryData, own: NDArray[np.int64], weight_of: Floats, reference: Floats, steps: int,
    coef: Floats, error: Floats, status: NDArray[np.int8],
) -> None:  # fmt: skip
    beta, arrived = model.start.copy(), False
    at = evaluate(data, beta)
    for iteration in range(1, steps + 1):
        alive = _alive(at.information, reference)
        step = _solve(at.information, alive, at.score)
        gain = 0.5 * float(at.score @ step)
        if not gain < np.inf:
            break
        arrived = gain <= _GAIN * (1 + abs(at.loglik))
        if arrived or iteration == steps:
            beta = beta + step
            break
        length, floor = 1.0, at.loglik - 1e-10 * (1 + abs(at.loglik))
        for _ in range(30):
            new = evaluate(data, beta + length * step)
            if new.loglik >= floor:
                break
            length /= 2
        beta, at = beta + length * step, new
    still = np.abs(step[model.focus]) <= _STILL * model.error
    first = evaluate(data, beta).first
    total = float(weight_of.sum())
    for f, place in enumerate(model.focus):
        if place < 0:
            continue
        if not alive[place]:
            status[f] = _NOT_IDENTIFIED
            continue
        v = _solve(at.information, alive, np.eye(len(beta))[place])
        variance = float(v[place])
        if model.kind != MODEL:
            case = 1.0 if data.weights is None else data.weights / weight_of[own]
            influence = np.bincount(own, weights=case * first * (data.x @ v), minlength=len(weight_of))
            variance = float(weight_of @ influence**2)
            variance *= (total / (total - 1) if total > 1 else np.nan) if model.kind == STATA else 1.0
        if not (arrived or still[f]) or not 0 < variance < np.inf:
            status[f] = _NO_MAXIMUM
            continue
        coef[f], error[f] = beta[place], np.sqrt(variance)
        status[f] = _OK if arrived and alive.all() else _PART
