"""Person-periods that specs share, and their discrete-time hazards fitted together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coalition_exit.errors import DataError, FitError
from coalition_exit.multiverse.fits import backend
from coalition_exit.multiverse.fits.outcomes import OK, Outcomes
from coalition_exit.multiverse.fits.riskgroups import Base, RiskGroup, spread_of
from coalition_exit.multiverse.fits.tasks import Context, Task
from coalition_exit.specs.schema import Discrete
from coalition_exit.survival.data.periods import period_length, person_periods
from coalition_exit.survival.discrete.durations import make_baseline
from coalition_exit.survival.discrete.glm_links import get_link
from coalition_exit.survival.discrete.glm_separation import find_separation

Floats = NDArray[np.float64]
LINKS = ("logit", "cloglog")
# As in `glm_separation`: rows with a larger residual are not separated.
_RESIDUAL = 1e-6


def is_fast(estimator: str, discrete: Discrete | None) -> bool:
    """Tell whether the fast path knows a discrete-time model."""
    return backend.name() == "numba" and estimator in LINKS and discrete is not None and discrete.baseline != "dummies"


@dataclass(frozen=True, eq=False)
class _Column:
    """A standardized column's place, and what was taken out: x = center + scale * z."""

    place: int
    center: float
    scale: float
    level: float
    spread: float = np.nan


class PeriodGroup:
    """Person-periods of the complete rows of a setting.

    Parameters
    ----------
    base, complete, others
        As for `RiskGroup`.
    discrete
        Periods and duration dependence.

    Attributes
    ----------
    counts
        n_obs (person-periods), n_subject, n_event, n_cluster.
    problem
        Status and reason when nothing can be fitted, else None.
    """

    def __init__(self, base: Base, complete: NDArray[np.bool_], others: str, discrete: Discrete) -> None:
        rows = RiskGroup(base, complete, others)
        self.base, self.kept, self.problem, self.counts = base, rows.kept, rows.problem, dict(rows.counts)
        self.frame, self._others, self._discrete = rows.frame, others, discrete
        if self.problem is not None:
            return
        self._ids = None if base.id is None else np.unique(base.id[self.kept], return_inverse=True)[1].reshape(-1)
        clusters = None
        if base.cluster is not None:
            clusters = np.unique(base.cluster[self.kept], return_inverse=True)[1].reshape(-1).astype(np.int64)
        self._surv, self._exposure = rows.surv(), rows.exposure()
        self.length = period_length(discrete.period)
        where = np.arange(len(self.kept), dtype=np.float64)[:, None]
        try:
            self._taken_at = discrete.covariates if discrete.covariates != "mean" else "start"
            periods = person_periods(
                self._surv, where, self.length, id=self._ids, covariates=self._taken_at, cluster=clusters
            )
            self.baseline = make_baseline(
                discrete.baseline, periods.period, periods.event, df=discrete.df, divisor=discrete.divisor
            )
        except (FitError, DataError) as error:
            self.problem = (getattr(error, "status", "bad_data"), str(error))
            return
        self._row = periods.x[:, 0].astype(np.int64)
        self.event = periods.event
        n, died = len(periods.event), int(periods.event.sum())
        labels, codes = (np.zeros(1), np.zeros(n, np.int64))
        if periods.cluster is not None:
            labels, codes = np.unique(periods.cluster, return_inverse=True)
        self.clusters, self.n_clusters = codes.reshape(-1).astype(np.int64), len(labels)
        self.counts = {
            "n_obs": n,
            "n_subject": len(np.unique(periods.subject)),
            "n_event": died,
            "n_cluster": None if base.cluster is None else self.n_clusters,
        }
        share = died / n
        self.null = died * np.log(share) + (n - died) * np.log1p(-share) if 0 < share < 1 else np.nan
        self.share = share
        self._columns: dict[str, _Column | None] = {}
        self.z = np.empty((0, n))
        basis = self.baseline.basis(periods.period)
        self.duration = [self._lay(f"duration {k}", basis[:, k], 0.0) for k in range(basis.shape[1])]
        self.constant = self._lay("constant", np.ones(n), 1.0, varies=False)
        self.last = int(periods.period.max())

    def known(self, token: str) -> bool:
        """Tell whether a covariate is laid out."""
        return token in self._columns

    def column(self, token: str, values: Any = None) -> _Column | None:
        """Return a covariate, laid out when it is first asked for; None if it does not vary or is not finite.

        ``values`` are those of the rows of the setting.
        """
        if token not in self._columns:
            own = values[self.kept]
            if not np.isfinite(own).all():
                self._columns[token] = None
                return None
            level = {"mean": own.mean, "median": lambda: float(np.median(own)), "zero": lambda: 0.0}[self._others]()
            if self._discrete.covariates == "mean":
                taken = person_periods(self._surv, own[:, None], self.length, id=self._ids, covariates="mean").x[:, 0]
            else:
                taken = own[self._row]
            self._lay(token, taken, float(level), spread=spread_of(own, self._exposure))
        return self._columns[token]

    def _lay(
        self, token: str, values: Floats, level: float, varies: bool = True, spread: float = np.nan
    ) -> _Column | None:
        center = float(values.mean()) if varies else 0.0
        centred = values - center
        scale = float(np.sqrt(np.mean(centred**2)))
        if scale <= 1e-10 * np.abs(values).max():
            self._columns[token] = None
            return None
        place = sum(1 for c in self._columns.values() if c is not None)
        if place == len(self.z):
            self.z = np.concatenate([self.z, np.empty((max(8, place), self.z.shape[1]))])
        self.z[place] = centred / scale
        self._columns[token] = _Column(place, center, scale, level, spread)
        return self._columns[token]


def fit_periods(context: Context, group: PeriodGroup, tasks: Sequence[Task], found: Outcomes) -> list[Task]:
    """Fit the specs that share person-periods; return those the estimator itself must see to."""
    from coalition_exit.multiverse.fits.kernel_binary import binary_models

    columns = [[group.column(t.found.tokens[k]) for k in range(len(t.found.tokens))] for t in tasks]
    fixed = [*group.duration, group.constant]
    clustered = tasks[0].setting.errors.type == "cluster"
    if any(c is None for c in fixed) or np.isnan(group.null) or (clustered and group.n_clusters < 2):
        return list(tasks)
    usable = [k for k, own in enumerate(columns) if all(c is not None for c in own)]
    odd = [t for k, t in enumerate(tasks) if k not in set(usable)]
    if not usable:
        return odd
    chosen = [tasks[k] for k in usable]
    laid = [[c for c in (*columns[k], *fixed) if c is not None] for k in usable]
    n, most = len(chosen), max(len(own) for own in laid)
    count = np.array([len(own) for own in laid], dtype=np.int64)
    cols = np.zeros((n, most), dtype=np.int64)
    for b, used in enumerate(laid):
        cols[b, : len(used)] = [c.place for c in used]
    links = np.array([LINKS.index(t.setting.estimator) for t in chosen])
    starts = np.array([float(get_link(t.setting.estimator).quantile(np.array(group.share))) for t in chosen])
    ratio = group.n_clusters / max(group.n_clusters - 1, 1)
    factor = np.array([
        0.0 if t.setting.errors.type == "model" else ratio if t.setting.errors.correction == "stata" else 1.0
        for t in chosen
    ])  # fmt: skip
    fitted, coef, loglik = np.zeros(n, dtype=bool), np.full((n, most), np.nan), np.full(n, np.nan)
    covariance, residual = np.full((n, most, most), np.nan), np.full(n, np.nan)
    binary_models(
        group.z, group.event, group.clusters, group.n_clusters, starts, cols, count, links, factor, fitted, coef,
        covariance, loglik, residual,
    )  # fmt: skip
    for b, task in enumerate(chosen):
        own = cols[b, : count[b]]
        if not fitted[b] or (residual[b] < _RESIDUAL and _separated(group, task, own, coef[b, : count[b]])):
            odd.append(task)
            continue
        _note(context, group, task, laid[b], coef[b, : count[b]], covariance[b, : count[b], : count[b]], found)
        found.loglik[task.at] = loglik[b], group.null
    return odd


def _separated(group: PeriodGroup, task: Task, own: Any, beta: Floats) -> bool:
    x = np.ascontiguousarray(group.z[own].T)
    residual = get_link(task.setting.estimator).rows(x @ beta, group.event).first
    return find_separation(x, group.event, residual) is not None


def _note(
    context: Context, group: PeriodGroup, task: Task, laid: Sequence[_Column], beta: Floats, vcov: Floats,
    found: Outcomes,
) -> None:  # fmt: skip
    at, slots = task.at, task.found.slots
    found.status[at] = OK
    found.ratio[at] = task.setting.estimator == "cloglog"
    for f, name in enumerate(context.focus):
        if name in slots:
            j = slots.index(name)
            found.spread[at, f] = laid[j].spread
            found.coef[at, f] = beta[j] / laid[j].scale
            found.error[at, f] = np.sqrt(vcov[j, j]) / laid[j].scale
    gap = context.choices.survival
    if gap is None or not {*gap.start, *gap.stop} & set(slots):
        return
    # The horizon is the nearest end of a period.
    until = round(gap.time / group.length)
    if not 1 <= until <= group.last:
        return
    basis = group.baseline.basis(np.arange(1, until + 1))
    survived, slope = [], []
    link = get_link(task.setting.estimator)
    for values in (gap.start, gap.stop):
        level = [values.get(name, c.level) for name, c in zip(slots, laid, strict=False)]
        raw = np.column_stack([np.tile(level, (until, 1)), basis, np.ones(until)])
        z = (raw - [c.center for c in laid]) / [c.scale for c in laid]
        eta = z @ beta
        hazard = link.inverse(eta)
        survived.append(float(np.prod(1 - hazard)))
        slope.append(-survived[-1] * ((link.density(eta) / (1 - hazard)) @ z))
    change = slope[1] - slope[0]
    found.gap[at] = survived[1] - survived[0], np.sqrt(change @ vcov @ change)
