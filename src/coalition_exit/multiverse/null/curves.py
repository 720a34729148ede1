"""Specification curves under the null: every spec refitted to the same draws of clusters, and recentred.

The null is imposed on estimates and not on data. Whole clusters are drawn with replacement, the same draw for all
specs, every spec is refitted, and its estimate on the sample is taken off: b* - b estimates the distribution that b
would have about an effect of 0. Dependence between specs, within clusters, censoring and ties come along, because all
that is drawn is whole histories. Standard errors are those of each refit, so that (b* - b) / se* is what the spec's
own test would have seen. A cluster drawn twice counts as two clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coalition_exit.errors import DataError, FitError
from coalition_exit.multiverse.fits.engine import Engine
from coalition_exit.multiverse.fits.outcomes import Outcomes
from coalition_exit.multiverse.fits.tasks import Task
from coalition_exit.multiverse.null.binary import refit_binary
from coalition_exit.multiverse.null.models import (
    BinaryModel,
    CoxBlock,
    Drawn,
    Model,
    Untested,
    drawn_labels,
    group_models,
    refitter,
    single_model,
)
from coalition_exit.survival.inference.bootstrap import cluster_weights

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
STATUSES = ("ok", "part", "no_events", "not_identified", "no_maximum", "not_tested")
NOT_TESTED = STATUSES.index("not_tested")
# Newton steps at most.
_STEPS = 30
_CHUNK = 2_000


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
    jobs: int = 1,
    folder: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NullCurves:
    """Refit every spec under draws of clusters.

    Every refit is a full one: Newton's method from the estimate on the sample, until the gain in log-likelihood still
    to come is below 1e-10 of it. One or two steps would be faster and, with few events, far off.

    Parameters
    ----------
    engine
        Of the multiverse.
    replicates
        R.
    seed
        Of the draws: the same whatever the number of workers, and the same draw for every spec.
    numbers
        Specs; all that are allowed by default.
    by
        Column whose values are drawn; what the reference spec's standard errors are clustered on by default.
    jobs
        Threads; the compiled refits release the interpreter's lock.
    folder
        Folder for the three large arrays, as .npy files that are mapped into memory. In memory by default:
        9 R N F bytes.
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
    for name, value in (("replicates", replicates), ("jobs", jobs)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise DataError(name, "a whole number from 1 on", repr(value))
    space = engine.multiverse.space
    chosen = space.allowed(0, space.size) if numbers is None else np.asarray(numbers, dtype=np.int64)
    drawn = find_clusters(engine, chosen, by)
    copies = cluster_weights(len(drawn.labels), replicates, "multinomial", seed)
    shape = (replicates, len(chosen), len(engine.focus))
    arrays = _Arrays(shape, None if folder is None else Path(folder))
    untested: dict[str, int] = {}
    with ThreadPoolExecutor(jobs) as pool:
        for low in range(0, len(chosen), _CHUNK):
            part = chosen[low : low + _CHUNK]
            models, back = _models(engine, part, drawn)
            work = _Work(copies, jobs, pool)
            columns = _Columns(replicates, int(back.max(initial=-1)) + 1, shape[2])
            for model in models:
                if isinstance(model, Untested):
                    text = f"{model.status}: {model.reason}"
                    untested[text] = untested.get(text, 0) + int((back == model.at).sum())
                else:
                    columns.put(model, *work.run(model))
            arrays.put(slice(low, low + len(part)), columns, back)
            if progress is not None:
                progress(low + len(part), len(chosen))
    return NullCurves(
        tuple(engine.focus), chosen, arrays.estimate, arrays.error, arrays.shift, arrays.statistic, arrays.status,
        dict(sorted(untested.items())), drawn.by, len(drawn.labels), seed,
    )  # fmt: skip


def find_clusters(engine: Engine, numbers: NDArray[np.int64], by: str | None = None) -> Drawn:
    """Return the clusters on the rows of any of the specs, sorted.

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
            seen.add(setting.base)
            try:
                base = engine.base(spec, setting)
            except (FitError, DataError):
                continue
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


def _models(engine: Engine, numbers: NDArray[np.int64], drawn: Drawn) -> tuple[list[Model], NDArray[np.int64]]:
    """Return the different specs of a chunk as arrays, and which of them each spec is."""
    specs, _, back = engine.distinct(engine.multiverse.space.digits(numbers))
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
    return models, back


class _Columns:
    """Refits of the different specs of a chunk."""

    def __init__(self, replicates: int, n: int, n_focus: int) -> None:
        self.estimate, self.error = np.full((n, n_focus), np.nan), np.full((n, n_focus), np.nan)
        shape = (replicates, n, n_focus)
        self.shift, self.statistic = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
        self.status = np.full(shape, NOT_TESTED, np.int8)

    def put(self, model: CoxBlock | BinaryModel, coef: Floats, error: Floats, status: NDArray[np.int8]) -> None:
        self.estimate[model.at], self.error[model.at] = model.estimate, model.error
        shift = coef - model.estimate
        self.shift[:, model.at] = shift
        with np.errstate(invalid="ignore"):
            self.statistic[:, model.at] = shift / error
        self.status[:, model.at] = np.where(np.isnan(model.estimate), np.int8(NOT_TESTED), status)


class _Arrays:
    """The results of all specs, in memory or on disk."""

    def __init__(self, shape: tuple[int, int, int], folder: Path | None) -> None:
        self.estimate, self.error = np.full(shape[1:], np.nan), np.full(shape[1:], np.nan)
        if folder is None:
            self.shift, self.statistic = np.empty(shape, np.float32), np.empty(shape, np.float32)
            self.status = np.empty(shape, np.int8)
            return
        folder.mkdir(parents=True, exist_ok=True)
        mapped = np.lib.format.open_memmap
        self.shift = mapped(folder / "shift.npy", "w+", np.float32, shape)
        self.statistic = mapped(folder / "statistic.npy", "w+", np.float32, shape)
        self.status = mapped(folder / "status.npy", "w+", np.int8, shape)

    def put(self, own: slice, columns: _Columns, back: NDArray[np.int64]) -> None:
        self.estimate[own], self.error[own] = columns.estimate[back], columns.error[back]
        for name in ("shift", "statistic", "status"):
            getattr(self, name)[:, own] = getattr(columns, name)[:, back]


@dataclass(frozen=True, eq=False)
class _Work:
    copies: Floats
    jobs: int
    pool: ThreadPoolExecutor
    stop: Event = field(default_factory=Event)

    def run(self, model: CoxBlock | BinaryModel) -> tuple[Floats, Floats, NDArray[np.int8]]:
        """Return coefficients, standard errors and status of all replicates: (R, B, F) each."""
        replicates, shape = len(self.copies), (len(model.at), model.focus.shape[-1])
        coef, error = np.full((replicates, *shape), np.nan), np.full((replicates, *shape), np.nan)
        status = np.zeros((replicates, *shape), dtype=np.int8)
        ends = np.linspace(0, replicates, self.jobs + 1).astype(int)

        def part(k: int) -> None:
            # In slices, so that an interrupt need not wait for the whole of it.
            for bounds in _slices(int(ends[k]), int(ends[k + 1])):
                if self.stop.is_set():
                    return
                piece(*bounds)

        def piece(low: int, high: int) -> None:
            if isinstance(model, BinaryModel):
                refit_binary(model, self.copies, _STEPS, low, high, coef, error, status)
                return
            refitter()(
                model.x, model.off, model.deaths, model.own, model.home, self.copies, model.cols, model.count,
                model.focus, model.efron, model.kind, model.start, model.reference, model.error, _STEPS, low, high,
                coef, error, status,
            )  # fmt: skip

        try:
            list(self.pool.map(part, range(self.jobs)))
        except BaseException:
            self.stop.set()
            raise
        return coef, error, status


def _slices(low: int, high: int) -> list[tuple[int, int]]:
    step = max(1, -(-(high - low) // 16))
    return [(at, min(at + step, high)) for at in range(low, high, step)]
