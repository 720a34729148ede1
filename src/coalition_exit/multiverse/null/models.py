"""What is refitted for curves under the null: specs as arrays, with the cluster that is drawn for each row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coalition_exit.errors import DataError, FitError
from coalition_exit.multiverse.choices.resolve import Resolved, Setting
from coalition_exit.multiverse.fits import backend
from coalition_exit.multiverse.fits.riskgroups import RiskGroup
from coalition_exit.multiverse.fits.tasks import Context, Task
from coalition_exit.multiverse.null.draws import Drawn, drawn_labels
from coalition_exit.runner.estimation import run_model
from coalition_exit.survival.cox.cox_fit import CoxFit
from coalition_exit.survival.cox.state import CoxState
from coalition_exit.survival.discrete.glm_fit import BinaryFit
from coalition_exit.survival.discrete.glm_solver import BinaryData

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
# Models refitted together, so that rows of weight 0 are left out for all of them at once.
_BLOCK = 64
MODEL, STATA, PLAIN = 0, 1, 2


@dataclass(frozen=True, eq=False)
class CoxBlock:
    """Cox models on the same risk sets; arrays as in `kernel_cox.refit`, ``at`` the specs' places."""

    at: Integers
    x: Floats
    off: Integers
    deaths: Integers
    own: Integers
    home: Integers
    cols: Integers
    count: Integers
    focus: Integers
    efron: NDArray[np.bool_]
    kind: Integers
    start: Floats
    reference: Floats
    estimate: Floats
    error: Floats


@dataclass(frozen=True, eq=False)
class BinaryModel:
    """A logit, probit or complementary log-log model; ``own`` and ``home`` as in `CoxBlock`."""

    at: Integers
    rows: BinaryData
    own: Integers
    home: Integers
    focus: Integers
    kind: int
    start: Floats
    estimate: Floats
    error: Floats


@dataclass(frozen=True, eq=False)
class Untested:
    """A spec that is not refitted, and why."""

    at: int
    status: str
    reason: str


Model = CoxBlock | BinaryModel | Untested


def group_models(context: Context, group: RiskGroup, tasks: Sequence[Task], drawn: Drawn) -> Iterator[Model]:
    """Yield the specs that share risk sets, in blocks."""
    try:
        own, home = _group_clusters(context, group, tasks[0].setting, drawn)
    except FitError as error:
        yield from (Untested(t.at, error.status, str(error)) for t in tasks)
        return
    usable = [t for t in tasks if (t.places >= 0).all()]
    for t in tasks:
        if not (t.places >= 0).all():
            yield single_model(context, t, drawn)
    for first in range(0, len(usable), _BLOCK):
        chosen = usable[first : first + _BLOCK]
        block, odd = _cox_block(context, group, chosen, own, home)
        if block is not None:
            yield block
        for t in odd:
            yield single_model(context, t, drawn)


def _group_clusters(context: Context, group: RiskGroup, setting: Setting, drawn: Drawn) -> tuple[Integers, Integers]:
    """Return the own cluster of each row laid out, and the drawn cluster that each own one lies in."""
    base = group.base
    home = drawn.codes(drawn_labels(context, base, setting, drawn.by)[group.kept])
    own, homes = nested(None if base.cluster is None else base.cluster[group.kept], home, drawn.by)
    return own[group.order], homes


def nested(clusters: Any, home: Integers, by: str) -> tuple[Integers, Integers]:
    """Return codes of the own clusters, and the drawn one of each; without own clusters they are the drawn ones.

    Raises
    ------
    FitError
        When rows of one own cluster lie in several drawn ones: a draw would tear it apart.
    """
    if clusters is None:
        present, own = np.unique(home, return_inverse=True)
        return own.reshape(-1).astype(np.int64), present
    own = pd.factorize(clusters)[0].astype(np.int64)
    homes = np.zeros(int(own.max(initial=-1)) + 1, dtype=np.int64)
    homes[own] = home
    if (homes[own] != home).any():
        raise FitError("not_tested", f"its standard errors are clustered on groups that {by} cuts across")
    return own, homes


def _kind(setting: Setting) -> int:
    return MODEL if setting.errors.type == "model" else STATA if setting.errors.correction == "stata" else PLAIN


def _cox_block(
    context: Context, group: RiskGroup, tasks: Sequence[Task], own: Integers, home: Integers
) -> tuple[CoxBlock | None, list[Task]]:
    """Fit the models once, all clusters weighing 1; what the compiled fit leaves is returned as well."""
    n, most = len(tasks), max(len(t.places) for t in tasks)
    count = np.array([len(t.places) for t in tasks], dtype=np.int64)
    cols = np.zeros((n, most), dtype=np.int64)
    for b, t in enumerate(tasks):
        cols[b, : count[b]] = t.places
    kind = np.array([_kind(t.setting) for t in tasks], dtype=np.int64)
    ratio = group.n_clusters / max(group.n_clusters - 1, 1)
    factor = np.array([0.0, ratio, 1.0])[kind]
    efron = np.array([t.setting.ties == "efron" for t in tasks])
    # No tests are asked for, so g and the scenarios do not matter.
    result = backend.cox_models(
        group.x, group.size, group.offsets, group.deaths, group.clusters, group.n_clusters,
        np.zeros((2, len(group.times))), 1.0, group.means, cols, count, efron, factor, np.zeros((n, 2, most)), 0, False,
    )  # fmt: skip
    done = np.flatnonzero(result.fitted & ((kind == MODEL) | (group.n_clusters > 1)))
    chosen = [tasks[b] for b in done.tolist()]
    odd = [t for b, t in enumerate(tasks) if b not in set(done.tolist())]
    if not len(done):
        return None, odd
    cols, count, start = cols[done], count[done], np.nan_to_num(result.coef[done])
    places, back = np.unique(cols, return_inverse=True)
    x = np.ascontiguousarray(group.x[places])
    cols = back.reshape(cols.shape).astype(np.int64)
    focus = np.array([[_place(t.found, name) for name in context.focus] for t in chosen], dtype=np.int64)
    estimate, error = _of_focus(result.coef[done], focus), _of_focus(result.error[done], focus)
    block = CoxBlock(
        np.array([t.at for t in chosen]), x, group.offsets, group.deaths, own, home, cols, count, focus,
        efron[done], kind[done], start, _own_information(x, group.offsets, group.deaths)[cols], estimate, error,
    )  # fmt: skip
    return block, odd


def _place(spec: Resolved, slot: str) -> int:
    return spec.slots.index(slot) if slot in spec.slots else -1


def _of_focus(values: Floats, focus: Integers) -> Floats:
    found = np.take_along_axis(values, np.maximum(focus, 0), axis=1)
    return np.asarray(np.where(focus >= 0, found, np.nan))


def _own_information(x: Floats, off: Integers, deaths: Integers) -> Floats:
    """Return the information on each covariate alone at 0: a measure of its variation within the risk sets."""
    n = np.diff(off)
    mean = np.add.reduceat(x, off[:-1], axis=1) / n
    square = np.add.reduceat(x**2, off[:-1], axis=1) / n
    return np.asarray(((square - mean**2) * deaths).sum(axis=1))


def single_model(context: Context, task: Task, drawn: Drawn) -> Model:
    """Return a spec that the estimator itself fits, for refits one by one."""
    model = context.resolver.model(task.found)
    if model.is_cox and model.ties not in ("breslow", "efron"):
        return Untested(task.at, "not_tested", "exact ties know no weights of clusters")
    kind = _kind(task.setting)
    if kind == MODEL:
        # The sandwich's clusters come along; the standard errors stay the model's.
        errors = model.errors.model_copy(update={"type": "cluster", "by": drawn.by})
        model = replace(model, errors=errors)
    result = run_model(model, context.source)
    if result.fit is None:
        return Untested(task.at, result.status, result.reason)
    try:
        frame = context.source.rows(model).frame
        home = drawn.codes(frame[drawn.by].to_numpy())
        if isinstance(result.fit, CoxFit):
            return _state_block(context, task, result.fit.state, frame[model.errors.by].to_numpy(), home, drawn, kind)
        if not isinstance(result.fit, BinaryFit):
            raise FitError("not_tested", "its rows are not at hand")
        return _binary(context, task, result.fit, frame[model.errors.by], home, drawn, kind)
    except (FitError, DataError) as error:
        return Untested(task.at, "not_tested", str(error))


def _state_block(
    context: Context, task: Task, state: CoxState, clusters: Any, home: Integers, drawn: Drawn, kind: int
) -> CoxBlock:
    """Lay out the risk sets of one fit, strata too."""
    own, homes = nested(clusters, home, drawn.by)
    sets, x = state.risk_sets, state.likelihood.x
    count = sets.last - sets.first + 1
    row = np.repeat(np.arange(len(count)), count)
    time = np.repeat(sets.first, count) + np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    dies = sets.event[row] & (time == sets.last[row])
    order = np.lexsort((row, ~dies, time))
    row, time = row[order], time[order]
    off = np.searchsorted(time, np.arange(sets.n_times + 1)).astype(np.int64)
    deaths = np.bincount(time[dies[order]], minlength=sets.n_times).astype(np.int64)
    laid = np.ascontiguousarray(x[row].T)
    p = laid.shape[0]
    focus = np.array([[_place(task.found, name) for name in context.focus]], dtype=np.int64)
    start = state.beta[None, :].copy()
    block = CoxBlock(
        np.array([task.at]), laid, off, deaths, own[sets.rows][row], homes, np.arange(p)[None, :], np.array([p]),
        focus, np.array([task.setting.ties == "efron"]), np.array([kind]), start,
        _own_information(laid, off, deaths)[None, :], _of_focus(start, focus), np.empty((1, len(context.focus))),
    )  # fmt: skip
    return replace(block, error=_first_errors(block))


def _first_errors(block: CoxBlock) -> Floats:
    """Return the standard errors of the sample itself, by the same loops as those of the refits."""
    n, n_focus = block.focus.shape
    coef, error = np.full((1, n, n_focus), np.nan), np.full((1, n, n_focus), np.nan)
    status = np.zeros((1, n, n_focus), dtype=np.int8)
    copies = np.ones((1, int(block.home.max(initial=0)) + 1))
    refitter()(
        block.x, block.off, block.deaths, block.own, block.home, copies, block.cols, block.count, block.focus,
        block.efron, block.kind, block.start, block.reference, np.ones((n, n_focus)), 30, 0, 1, coef, error, status,
    )  # fmt: skip
    return np.asarray(error[0])


def refitter() -> Any:
    """Return the compiled refits where numba is there, else NumPy's."""
    name = "kernel_cox" if backend.name() == "numba" else "plain"
    return import_module(f"coalition_exit.multiverse.null.{name}").refit


def _binary(
    context: Context, task: Task, fit: BinaryFit, clusters: pd.Series, home: Integers, drawn: Drawn, kind: int
) -> BinaryModel:
    if fit.rows is None or fit.clusters is None or fit.firth or fit.information != "observed":
        raise FitError("not_tested", "its rows are not at hand")
    homes = nested(clusters.to_numpy(), home, drawn.by)[1]
    # The fit numbers the clusters that have a row left: with none lost they bear the numbers they have here.
    if fit.n_cluster != len(homes):
        raise FitError("not_tested", "a cluster has no person-period")
    focus = np.array([_place(task.found, name) for name in context.focus], dtype=np.int64)
    error = np.sqrt(np.diag(fit.model_covariance if kind == MODEL else fit.covariance))
    estimate = _of_focus(fit.beta[None, :], focus[None, :])[0]
    return BinaryModel(
        np.array([task.at]), fit.rows, fit.clusters, homes, focus, kind, fit.beta.copy(), estimate,
        _of_focus(error[None, :], focus[None, :])[0],
    )  # fmt: skip
