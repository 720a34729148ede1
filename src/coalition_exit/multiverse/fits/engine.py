"""The fast path: all specs of a chunk, group by group, and the estimator itself where something is odd."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from coalition_exit.archive.stata import ID, TIME
from coalition_exit.errors import DataError, FitError
from coalition_exit.multiverse.choices.resolve import SUBJECTS, Resolved, Setting
from coalition_exit.multiverse.choices.space import Multiverse
from coalition_exit.multiverse.fits import backend
from coalition_exit.multiverse.fits.code import code_digest
from coalition_exit.multiverse.fits.earlier import Known, Recent
from coalition_exit.multiverse.fits.outcomes import OK, Outcomes, core_table, spread
from coalition_exit.multiverse.fits.periodgroups import PeriodGroup, fit_periods, is_fast
from coalition_exit.multiverse.fits.riskgroups import Base, RiskGroup, base_rows
from coalition_exit.multiverse.fits.single import fit_alone
from coalition_exit.multiverse.fits.tasks import Context, Task
from coalition_exit.runner.sources import ArchiveSource, RecordSource, Source, TableSource

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
Integers = NDArray[np.int64]
_MOST_BASES, _MOST_GROUPS = 64, 256


@dataclass(frozen=True)
class Sorted:
    """The specs of a chunk by what they share: risk sets, person-periods, or nothing."""

    cox: list[tuple[RiskGroup, list[Task]]]
    periods: list[tuple[PeriodGroup, list[Task]]]
    alone: list[Task]


class Engine(Context):
    """Fits the specs of a multiverse, chunk by chunk.

    Parameters
    ----------
    multiverse
        What to run.
    source
        Where rows come from.
    """

    def __init__(self, multiverse: Multiverse, source: Source) -> None:
        super().__init__(multiverse, source)
        self._bases: OrderedDict[Hashable, Base] = OrderedDict()
        self._groups: OrderedDict[Hashable, RiskGroup | PeriodGroup] = OrderedDict()
        self._missing: OrderedDict[Hashable, NDArray[np.bool_] | None] = OrderedDict()
        self._refused: OrderedDict[Hashable, FitError | None] = OrderedDict()
        self._prefixes: dict[str, Any] = {}
        self._recent = Recent()
        gap = self.choices.survival
        self._report = repr((code_digest(), self.focus, self.choices.transform, gap and gap.model_dump()))

    def run(self, low: int, high: int, known: Known | None = None) -> pa.Table:
        """Return one row a spec and focus term, for the numbers low to high (exclusive) that are allowed."""
        return self.run_numbers(self.multiverse.space.allowed(low, high), known)

    def run_numbers(self, numbers: NDArray[np.int64], known: Known | None = None) -> pa.Table:
        """Return the rows of some specs; those that ``known`` has from earlier are not fitted again."""
        import pyarrow as pa

        space, f = self.multiverse.space, len(self.focus)
        digits = space.digits(numbers)
        specs, keys, back = self.distinct(digits)
        left, tables, places = np.arange(len(keys)), [], []
        for store in (self._recent, known):
            if store is not None:
                earlier = store.find([keys[u] for u in left], f)
                if earlier.table is not None:
                    tables.append(earlier.table)
                    places.append(left[earlier.found])
                left = left[~earlier.found]
        new = [keys[u] for u in left]
        fresh = self._fit([specs[u] for u in left], new)
        self._recent.add(new, fresh)
        core = pa.concat_tables([*(table.cast(fresh.schema) for table in tables), fresh])
        order = np.empty(len(keys), dtype=np.int64)
        order[np.concatenate([*places, left])] = np.arange(len(keys))
        return spread(space, core, f, numbers, digits, order[back])

    def _fit(self, specs: Sequence[Resolved], keys: Sequence[bytes]) -> pa.Table:
        """Return the core table of different specs."""
        found = Outcomes(len(specs), len(self.focus))
        by_share = self.sort(specs, found)
        for group, tasks in by_share.cox:
            fit_group(self, group, tasks, found)
        for periods, tasks in by_share.periods:
            for task in fit_periods(self, periods, tasks, found):
                fit_alone(self, task, found)
        for task in by_share.alone:
            fit_alone(self, task, found)
        terms = [[dict(zip(s.slots, s.variables, strict=True)).get(name, "") for name in self.focus] for s in specs]
        settings = [s.setting for s in specs]
        models = {
            "failure": ["" if s is None else s.failure or s.outcome for s in settings],
            "estimator": ["" if s is None else s.estimator for s in settings],
            "ties": ["" if s is None else s.ties for s in settings],
        }
        return core_table(self.focus, keys, terms, [len(s.variables) for s in specs], models, found)

    def key(self, spec: Resolved) -> bytes:
        """Return the content hash of a spec, 16 bytes: its data, its model, what is reported."""
        if spec.setting is None:
            return hashlib.blake2b(repr((self._report, spec.problem)).encode(), digest_size=16).digest()
        state = self._prefix(spec.setting).copy()
        for slot, variable in zip(spec.slots, spec.variables, strict=True):
            state.update(f"{slot}={variable}:".encode())
            state.update(self._digest(spec.setting, variable))
        return bytes(state.digest())

    def _prefix(self, setting: Setting) -> Any:
        if setting.token not in self._prefixes:
            if len(self._prefixes) > 10_000:
                self._prefixes.clear()
            tested = [e.text for e in (*setting.sample, *setting.censor)]
            how = (
                self._report, setting.failure, setting.outcome, setting.strata, tested, len(setting.sample),
                setting.estimator, setting.ties, repr(setting.discrete), repr(setting.errors),
                repr(setting.coding.choices.get(SUBJECTS)) if isinstance(self.source, ArchiveSource) else "",
            )  # fmt: skip
            state = hashlib.blake2b(repr(how).encode(), digest_size=16)
            for name in [*self._timing(), *setting.names]:
                state.update(self._digest(setting, name))
            self._prefixes[setting.token] = state
        return self._prefixes[setting.token]

    def _timing(self) -> tuple[str, ...]:
        if isinstance(self.source, RecordSource):
            return ("start", "stop", "idvar")
        if isinstance(self.source, ArchiveSource):
            return (ID, TIME)
        return self.source.data.timing if isinstance(self.source, TableSource) else ()

    def _digest(self, setting: Setting, name: str) -> bytes:
        try:
            digest = self.columns.digest(setting.coding, name)
        except (DataError, KeyError):
            return b"absent"
        if isinstance(self.source, ArchiveSource) and name in setting.coding.choices:
            # What a rule would make of the record is not in the file.
            return digest + setting.coding.token(name).encode()
        return digest

    def distinct(self, digits: NDArray[np.int64]) -> tuple[list[Resolved], list[bytes], NDArray[np.int64]]:
        """Return the different specs, their keys, and which of them each combination is."""
        places: dict[bytes, int] = {}
        specs: list[Resolved] = []
        back = np.empty(len(digits), dtype=np.int64)
        for n, row in enumerate(digits.tolist()):
            spec = self.resolver.resolve(row)
            key = self.key(spec)
            if key not in places:
                places[key] = len(specs)
                specs.append(spec)
            back[n] = places[key]
        return specs, list(places), back

    def sort(self, specs: Sequence[Resolved], found: Outcomes) -> Sorted:
        """Sort specs by the risk sets or person-periods they share; those that cannot be fitted fail in ``found``."""
        cox_groups: dict[int, tuple[RiskGroup, list[Task]]] = {}
        period_groups: dict[int, tuple[PeriodGroup, list[Task]]] = {}
        alone: list[Task] = []
        for u, spec in enumerate(specs):
            setting = spec.setting
            if setting is None or spec.problem:
                found.fail([u], "bad_spec", spec.problem)
                continue
            nowhere = np.empty(0, dtype=np.int64)
            cox = setting.estimator == "cox" and setting.ties in ("breslow", "efron")
            if setting.strata or not (cox or is_fast(setting.estimator, setting.discrete)):
                alone.append(Task(u, spec, setting, nowhere))
                continue
            try:
                self._check(spec, setting)
                base = self.base(spec, setting)
                group = self._group(base, spec, setting)
                places = self._places(group, base, spec, setting)
            except (FitError, DataError) as error:
                found.fail([u], getattr(error, "status", "bad_data"), str(error))
                continue
            found.count([u], group.counts)
            if group.problem is not None:
                found.fail([u], *group.problem)
                continue
            task = Task(u, spec, setting, places)
            if isinstance(group, PeriodGroup):
                period_groups.setdefault(id(group), (group, []))[1].append(task)
            else:
                cox_groups.setdefault(id(group), (group, []))[1].append(task)
        return Sorted(list(cox_groups.values()), list(period_groups.values()), alone)

    def _check(self, spec: Resolved, setting: Setting) -> None:
        """Refuse a spec that the author's file cannot serve, whatever others with the same rows can do."""
        if not isinstance(self.source, ArchiveSource):
            return
        source = self.source

        def refused() -> FitError | None:
            try:
                source.check(self.resolver.model(spec))
            except FitError as error:
                return error
            return None

        error = _remember(self._refused, (setting.token, repr(setting.coding.choices), spec.variables), 20_000, refused)
        if error is not None:
            raise error

    def _places(self, group: RiskGroup | PeriodGroup, base: Base, spec: Resolved, setting: Setting) -> Integers:
        """Lay the covariates out that are not yet; return their places."""
        if group.problem is not None:
            return np.empty(0, dtype=np.int64)
        for k, token in enumerate(spec.tokens):
            if not group.known(token):
                group.column(token, base.values(self.columns, setting.coding, spec.variables[k]))
        if isinstance(group, PeriodGroup):
            return np.empty(0, dtype=np.int64)
        return np.array([group.column(token) for token in spec.tokens], dtype=np.int64)

    def base(self, spec: Resolved, setting: Setting) -> Base:
        """Return the rows of a spec's setting."""

        def make() -> Base:
            return base_rows(self.columns, setting, self.resolver.model(spec))

        return _remember(self._bases, setting.base, _MOST_BASES, make)

    def _group(self, base: Base, spec: Resolved, setting: Setting) -> RiskGroup | PeriodGroup:
        masks = []
        for token, name in zip(spec.tokens, spec.variables, strict=True):
            mask = self._mask(base, setting, token, name)
            if mask is not None:
                masks.append((token, mask))
        masks.sort(key=lambda item: item[0])

        def make() -> RiskGroup | PeriodGroup:
            complete = np.ones(len(base.stop), dtype=bool)
            for _, mask in masks:
                complete &= ~mask
            gap = self.choices.survival
            others = gap.others if gap else "zero"
            if setting.discrete is not None:
                return PeriodGroup(base, complete, others, setting.discrete)
            return RiskGroup(base, complete, others)

        key = (setting.base, repr(setting.discrete), *(token for token, _ in masks))
        return _remember(self._groups, key, _MOST_GROUPS, make)

    def _mask(self, base: Base, setting: Setting, token: str, name: str) -> NDArray[np.bool_] | None:
        """Return the rows on which a covariate is missing; None if there are none."""

        def make() -> NDArray[np.bool_] | None:
            missing = np.isnan(base.values(self.columns, setting.coding, name))
            return missing if missing.any() else None

        return _remember(self._missing, (setting.base, token), 20_000, make)


def _remember(store: OrderedDict[Any, T], key: Hashable, most: int, make: Callable[[], T]) -> T:
    """Return what is stored, or make it; what was used longest ago goes when there is too much."""
    if key in store:
        store.move_to_end(key)
        return store[key]
    while len(store) >= most:
        store.popitem(last=False)
    store[key] = make()
    return store[key]


def fit_group(engine: Engine, group: RiskGroup, tasks: Sequence[Task], found: Outcomes) -> None:
    """Fit the specs that share risk sets; the odd ones go through the estimator itself."""
    g = group.transformed(engine.choices.transform)
    usable = [t for t in tasks if (t.places >= 0).all()]
    odd = [t for t in tasks if (t.places < 0).any()]
    if g is None or (group.n_clusters < 2 and any(t.setting.errors.type == "cluster" for t in tasks)):
        usable, odd = [], list(tasks)
    if usable:
        assert g is not None
        fitted = _fit_many(engine, group, g, usable, found)
        odd += [t for t, done in zip(usable, fitted, strict=True) if not done]
    for task in odd:
        fit_alone(engine, task, found, group)


def _fit_many(
    engine: Engine, group: RiskGroup, g: NDArray[np.float64], tasks: Sequence[Task], found: Outcomes
) -> NDArray[np.bool_]:
    n, most = len(tasks), max(len(t.places) for t in tasks)
    count = np.array([len(t.places) for t in tasks], dtype=np.int64)
    cols = np.zeros((n, most), dtype=np.int64)
    for b, task in enumerate(tasks):
        cols[b, : count[b]] = task.places
    at = np.array([t.at for t in tasks])
    ratio = group.n_clusters / max(group.n_clusters - 1, 1)
    factor = np.array([
        0.0 if t.setting.errors.type == "model" else ratio if t.setting.errors.correction == "stata" else 1.0
        for t in tasks
    ])  # fmt: skip
    efron = np.array([t.setting.ties == "efron" for t in tasks])
    levels, compared = _levels(engine, group, tasks, cols)
    gap_of = engine.choices.survival
    known = gap_of is not None and gap_of.time <= group.follow_up
    until = int(np.searchsorted(group.times, gap_of.time, side="right")) if known and gap_of else 0
    spread = float((group.deaths * g[1] ** 2).sum())
    result = backend.cox_models(
        group.x, group.size, group.offsets, group.deaths, group.clusters, group.n_clusters, g, spread, group.means,
        cols, count, efron, factor, levels, until,
    )  # fmt: skip
    done = result.fitted
    rows = np.flatnonzero(done)
    where = at[rows]
    for u in where.tolist():
        found.status[u] = OK
    found.ratio[where] = True
    found.loglik[where] = result.loglik[rows]
    if known:
        found.gap[where] = np.where(compared[rows, None], result.gap[rows], np.nan)
    found.together[where] = result.statistic[rows[:, None], [0, 1], count[rows, None]]
    found.freedom[where] = count[rows, None]
    for f, name in enumerate(engine.focus):
        place = np.array([t.found.slots.index(name) if name in t.found.slots else -1 for t in tasks])
        has = np.flatnonzero(done & (place >= 0))
        own = place[has]
        found.coef[at[has], f], found.error[at[has], f] = result.coef[has, own], result.error[has, own]
        found.spread[at[has], f] = group.spread[cols[has, own]]
        found.tests[at[has], :, f] = result.statistic[has, :, own]
    return done


def _levels(
    engine: Engine, group: RiskGroup, tasks: Sequence[Task], cols: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the two scenarios of each spec, shape (n, 2, P), and whether the spec has what differs."""
    levels = np.repeat(group.level[cols][:, None, :], 2, axis=1)
    compared = np.zeros(len(tasks), dtype=bool)
    gap = engine.choices.survival
    if gap is not None:
        for side, values in enumerate((gap.start, gap.stop)):
            for name, value in values.items():
                for b, task in enumerate(tasks):
                    if name in task.found.slots:
                        levels[b, side, task.found.slots.index(name)] = value
                        compared[b] = True
    return levels, compared
