"""Refits of specs under draws of clusters, and the part of a run that they are kept in.

Each spec is known by a hash of all that bears on its refits: the spec, the drawn clusters of its rows, the draws and
the code. What comes out for a spec does not depend on its neighbours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from coalition_exit.errors import DataError
from coalition_exit.multiverse.choices.resolve import Resolved
from coalition_exit.multiverse.fits.code import code_digest
from coalition_exit.multiverse.fits.earlier import Known
from coalition_exit.multiverse.fits.engine import Engine
from coalition_exit.multiverse.fits.outcomes import Outcomes
from coalition_exit.multiverse.fits.tasks import Task
from coalition_exit.multiverse.null.binary import refit_binary
from coalition_exit.multiverse.null.draws import Drawn
from coalition_exit.multiverse.null.models import (
    BinaryModel,
    CoxBlock,
    Model,
    Untested,
    group_models,
    refitter,
    single_model,
)

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Integers = NDArray[np.int64]
STATUSES = ("ok", "part", "no_events", "not_identified", "no_maximum", "not_tested")
NOT_TESTED = STATUSES.index("not_tested")
CODE = ("survival", "multiverse/choices", "multiverse/fits", "multiverse/null")
# Newton steps at most.
_STEPS = 30


class Refits:
    """Refits of U different specs with F focus terms in r draws; NaN where there is none.

    Attributes
    ----------
    estimate, error : shape (U, F)
        Of the sample.
    shift, statistic : float32, shape (U, r, F)
        b* - b and (b* - b) / se*.
    status : int8, shape (U, r, F)
        Place in `STATUSES`.
    reason : list of U texts
        Why a spec is not refitted; "" where it is.
    """

    def __init__(self, size: int, replicates: int, n_focus: int) -> None:
        self.estimate, self.error = np.full((size, n_focus), np.nan), np.full((size, n_focus), np.nan)
        shape = (size, replicates, n_focus)
        self.shift, self.statistic = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
        self.status = np.full(shape, NOT_TESTED, np.int8)
        self.reason = [""] * size

    def put(self, model: CoxBlock | BinaryModel, coef: Floats, error: Floats, status: NDArray[np.int8]) -> None:
        """Note what became of a model, or several, with arrays of shape (r, B, F)."""
        self.estimate[model.at], self.error[model.at] = model.estimate, model.error
        shift = (coef - model.estimate).swapaxes(0, 1)
        self.shift[model.at] = shift
        with np.errstate(invalid="ignore"):
            self.statistic[model.at] = shift / error.swapaxes(0, 1)
        known = np.where(np.isnan(model.estimate), np.int8(NOT_TESTED), status)
        self.status[model.at] = known.swapaxes(0, 1)


def models_of(engine: Engine, specs: Sequence[Resolved], drawn: Drawn) -> list[Model]:
    """Return different specs as arrays to refit."""
    found = Outcomes(len(specs), len(engine.focus))
    models: list[Model] = []
    taken: set[int] = set()

    def add(new: Sequence[Model], tasks: Sequence[Task]) -> None:
        models.extend(new)
        taken.update(t.at for t in tasks)

    by_share = engine.sort(specs, found)
    for group, tasks in by_share.cox:
        add(list(group_models(engine, group, tasks, drawn)), tasks)
    in_periods = [task for _, tasks in by_share.periods for task in tasks]
    for task in (*in_periods, *by_share.alone):
        add([single_model(engine, task, drawn)], [task])
    models += [Untested(u, found.status[u], found.reason[u]) for u in range(len(specs)) if u not in taken]
    return models


def refit_model(model: CoxBlock | BinaryModel, copies: Floats) -> tuple[Floats, Floats, NDArray[np.int8]]:
    """Return coefficients, standard errors and status of the refits in some draws: (r, B, F) each."""
    replicates, shape = len(copies), (len(model.at), model.focus.shape[-1])
    coef, error = np.full((replicates, *shape), np.nan), np.full((replicates, *shape), np.nan)
    status = np.zeros((replicates, *shape), dtype=np.int8)
    if isinstance(model, BinaryModel):
        refit_binary(model, copies, _STEPS, 0, replicates, coef, error, status)
    else:
        refitter()(
            model.x, model.off, model.deaths, model.own, model.home, copies, model.cols, model.count, model.focus,
            model.efron, model.kind, model.start, model.reference, model.error, _STEPS, 0, replicates, coef, error,
            status,
        )  # fmt: skip
    return coef, error, status


def refit_specs(engine: Engine, specs: Sequence[Resolved], drawn: Drawn, copies: Floats) -> Refits:
    """Refit different specs in some draws, given as how often each cluster is in each: shape (r, D)."""
    found = Refits(len(specs), len(copies), len(engine.focus))
    for model in models_of(engine, specs, drawn):
        if isinstance(model, Untested):
            found.reason[model.at] = f"{model.status}: {model.reason}"
        else:
            found.put(model, *refit_model(model, copies))
    return found


def null_part(engine: Engine, drawn: Drawn, copies: Floats, numbers: Integers, known: Known | None = None) -> pa.Table:
    """Return the refits of some specs as a table, one row for each that is different.

    Columns: key, specs (their numbers), reason, and estimate, error (F values), shift, statistic, status (r times F
    values). What ``known`` has from earlier is not refitted.
    """
    import pyarrow as pa

    specs, keys, back = engine.distinct(engine.multiverse.space.digits(numbers))
    draws = drawn.digest(copies)
    own = [_key(engine, spec, key, drawn.by, draws) for spec, key in zip(specs, keys, strict=True)]
    left, tables, places = np.arange(len(own)), [], []
    earlier = known.find(own, 1) if known is not None else None
    if earlier is not None and earlier.table is not None:
        tables.append(earlier.table)
        places.append(left[earlier.found])
        left = left[~earlier.found]
    fresh = _table([own[u] for u in left], refit_specs(engine, [specs[u] for u in left], drawn, copies))
    order = np.empty(len(own), dtype=np.int64)
    order[np.concatenate([*places, left])] = np.arange(len(own))
    core = pa.concat_tables([*(table.cast(fresh.schema) for table in tables), fresh]).take(pa.array(order))
    grouped = np.argsort(back, kind="stable")
    ends = np.searchsorted(back[grouped], np.arange(len(own) + 1))
    listed = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(numbers[grouped], pa.int64()))
    return core.add_column(1, "specs", listed).combine_chunks()


def _key(engine: Engine, spec: Resolved, key: bytes, by: str, draws: bytes) -> bytes:
    state = hashlib.blake2b(key + draws + code_digest(CODE).encode(), digest_size=16)
    if spec.setting is not None:
        try:
            state.update(engine.columns.digest(spec.setting.coding, by))
        except (DataError, KeyError):
            state.update(b"absent")
    return state.digest()


def _table(keys: Sequence[bytes], refits: Refits) -> pa.Table:
    import pyarrow as pa

    columns = {"key": pa.array(keys, pa.binary(16)), "reason": pa.array(refits.reason, pa.string())}
    for name in ("estimate", "error", "shift", "statistic", "status"):
        values = getattr(refits, name)
        width = int(np.prod(values.shape[1:]))
        columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), width)
    return pa.table(columns)
