"""The partial likelihood with tt() terms, on rows that are split at event times a block at a time.

Once rows are split at the event times each risk set has rows of its own, so everything is a sum over event times.
Here the rows of a block of event times are made, used and forgotten: memory is that of one block, or of the
rows at risk at one event time if these are more, whatever the number of event times. Every evaluation makes
the rows again. What needs all of them side by side is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from coalition_exit.errors import DataError
from coalition_exit.survival.cox.blockwise import gram
from coalition_exit.survival.cox.partial import Evaluation, PartialLikelihood, _steps
from coalition_exit.survival.cox.risksets import RiskSets
from coalition_exit.survival.cox.timevarying import pair_values, time_factor
from coalition_exit.survival.data.surv import Codes, Floats, Integers
from coalition_exit.survival.data.timeterms import TimeTerm

# Numbers in the covariates of a block of split rows; a handful of copies are alive at once.
BLOCK_VALUES = 1 << 19
# Rows of a block worked on at once, and the mean length of risk sets from which each is summed by itself.
_ROWS = 8192
_LONG = 64
_TOLERANCE = 1e-8
_CUTS_A_ROUND = 100


def _refuse() -> NoReturn:
    raise DataError(
        "formula, tt()",
        "fewer rows and event times for this, which needs all split rows at once (they were made in blocks)",
        hint="Group the times into periods, or raise CoxPH(most_split_values=)",
    )


class SplitEvaluation(Evaluation):
    """Log-likelihood, derivatives, hazard and means; the relative risk of every split row is not kept."""

    beta: Floats

    def __init__(self, beta: Floats, **parts: float | Floats) -> None:
        object.__setattr__(self, "beta", beta.copy())
        for name, value in parts.items():
            object.__setattr__(self, name, value)

    @property
    def risk(self) -> Floats:
        _refuse()


@dataclass(frozen=True, eq=False)
class _Block:
    """Split rows of the event times ``low .. high - 1``, P in all, in order of time.

    Attributes
    ----------
    row : shape (P,)
        Row at risk that each comes from.
    time : shape (P,)
        Its event time, counted from ``low``.
    begin : shape (high - low,)
        First split row of each event time.
    event : bool, shape (P,)
    x : shape (P, p)
    """

    low: int
    high: int
    row: Integers
    time: Integers
    begin: Integers
    event: NDArray[np.bool_]
    x: Floats


@dataclass(frozen=True, eq=False)
class _Sums:
    """A block at one coefficient vector; steps are those of its event times."""

    steps: slice
    log_risk: Floats
    risk: Floats
    peak: Floats
    denominator: Floats
    mean: Floats
    hazard: Floats


class SplitLikelihood:
    """The partial likelihood of m rows at risk with p plain covariates and the columns of tt() terms.

    Parameters
    ----------
    risk_sets
        Prepared index of the rows as they are.
    x
        Plain covariates of the rows at risk, shape (m, p). Centre them.
    terms
        tt() terms of the rows at risk.
    weights, offset
        Case weights and offset of the rows at risk, shape (m,), or None.
    ties
        "breslow" or "efron".
    block_values
        Numbers in a block.
    """

    def __init__(
        self,
        risk_sets: RiskSets,
        x: Floats,
        terms: tuple[TimeTerm, ...],
        weights: Floats | None,
        offset: Floats | None,
        ties: str,
        block_values: int = BLOCK_VALUES,
    ) -> None:
        self.risk_sets, self._x, self.ties = risk_sets, x, ties
        m = len(risk_sets.rows)
        self._unit = weights is None
        self.weights: Floats = np.broadcast_to(np.float64(1.0), m) if weights is None else weights
        self.offset = offset
        self.event_weight = np.where(risk_sets.event, self.weights, 0.0)
        self.steps = _steps(risk_sets, self.event_weight, ties)
        self.rows_at_risk_once = True
        self.width = x.shape[1] + sum(len(term.names) for term in terms)
        self._factors = [time_factor(term, risk_sets) for term in terms]
        # Functions of time alone have done their work; without them the fit can be pickled.
        self._terms = tuple(
            term if factor is None else replace(term, function=np.log)
            for term, factor in zip(terms, self._factors, strict=True)
        )
        entering = np.bincount(risk_sets.first, minlength=risk_sets.n_times)
        leaving = np.bincount(risk_sets.last, minlength=risk_sets.n_times)
        self._size = np.cumsum(entering) - np.cumsum(leaving) + leaving
        self._cuts = _cut(self._size, max(block_values // self.width, 1))
        self._checked = False
        extremes = [(block.x.max(axis=0), block.x.min(axis=0)) for block in self.blocks()]
        high, low = (np.array(part) for part in zip(*extremes, strict=True))
        self.extremes = np.stack([high.max(axis=0), low.min(axis=0)])
        # Values that were finite once are so ever after.
        self._checked = True

    @property
    def n_split(self) -> int:
        """Number of split rows."""
        return int(self._size.sum())

    @property
    def total_weight(self) -> float:
        """Weight of all events."""
        return float(self.steps.weight.sum())

    @property
    def x(self) -> Floats:
        _refuse()

    def for_solver(self) -> SolverView:
        """What Newton's method needs to see."""
        return SolverView(self)

    def blocks(self) -> Iterator[_Block]:
        """Make the split rows, a block of event times after the other."""
        rs = self.risk_sets
        for low, high in zip(self._cuts[:-1], self._cuts[1:], strict=True):
            # Rows come in order of their last event time.
            from_here = int(np.searchsorted(rs.last, low))
            row = from_here + np.flatnonzero(rs.first[from_here:] < high)
            time = np.zeros(len(row), dtype=np.int64)
            if high - low > 1:
                first = np.maximum(rs.first[row], low) - low
                count = np.minimum(rs.last[row], high - 1) - low - first + 1
                begin = np.cumsum(count) - count
                time = np.arange(int(count.sum())) - np.repeat(begin - first, count)
                row = np.repeat(row, count)
                kind = np.uint16 if high - low <= 65_536 else np.int64
                order = np.argsort(time.astype(kind), kind="stable")
                row, time = row[order], time[order]
            size = self._size[low:high]
            begin = np.cumsum(size) - size
            event = rs.event[row] & (rs.last[row] == time + low)
            yield _Block(int(low), int(high), row, time, begin, event, self._covariates(row, time + low))

    def _covariates(self, row: Integers, time: Integers) -> Floats:
        x = np.empty((len(row), self.width))
        p = self._x.shape[1]
        for begin in range(0, len(row), _ROWS):
            part = slice(begin, begin + _ROWS)
            x[part, :p] = self._x[row[part]]
        for term, factor in zip(self._terms, self._factors, strict=True):
            check = not self._checked
            x[:, p : p + len(term.names)] = pair_values(term, factor, row, time, self.risk_sets, check=check)
            p += len(term.names)
        return x

    def _sums(self, block: _Block, beta: Floats) -> _Sums:
        """Sum over the risk sets of a block, each on the scale of its largest relative risk."""
        log_risk = block.x @ beta
        if self.offset is not None:
            log_risk += self.offset[block.row]
        peak = np.maximum.reduceat(log_risk, block.begin)
        log_risk -= peak[block.time]
        risk = np.exp(log_risk)
        if not self._unit:
            risk *= self.weights[block.row]
        denominator = np.add.reduceat(risk, block.begin)
        mean = _weighted_sums(risk, block)
        steps = slice(*np.searchsorted(self.steps.at, [block.low, block.high]).tolist())
        at, fraction, weight = self.steps.at[steps] - block.low, self.steps.fraction[steps], self.steps.weight[steps]
        if self.ties == "efron":
            taken, taken_x = self._events(block, risk)
            denominator = denominator[at] - fraction * taken[at]
            mean = mean[at] - fraction[:, None] * taken_x[at]
        # Event times of weight 0 may have a risk set of weight 0, which must not give 0 / 0.
        denominator[weight == 0] = np.where(denominator[weight == 0] > 0, denominator[weight == 0], 1.0)
        mean /= denominator[:, None]
        return _Sums(steps, log_risk, risk, peak, denominator, mean, weight / denominator)

    def _events(self, block: _Block, risk: Floats) -> tuple[Floats, Floats]:
        own = np.flatnonzero(block.event)
        size = block.high - block.low
        taken = np.bincount(block.time[own], weights=risk[own], minlength=size).astype(np.float64)
        turned = (risk[own, None] * block.x[own]).T
        columns = [np.bincount(block.time[own], weights=column, minlength=size) for column in turned]
        return taken, np.column_stack(columns)

    def _per_time(self, block: _Block, sums: _Sums, values: Floats) -> Floats:
        """Sum a quantity per step over the steps of each event time of the block."""
        if self.ties == "breslow":
            return values
        begin = np.searchsorted(self.steps.at[sums.steps], np.arange(block.low, block.high))
        return np.asarray(np.add.reduceat(values, begin, axis=0))

    def evaluate(self, beta: Floats) -> SplitEvaluation:
        """Evaluate at ``beta``, shape (p,)."""
        p, n_steps = self.width, len(self.steps.at)
        loglik, score, information = 0.0, np.zeros(p), np.zeros((p, p))
        hazard, mean, peak = np.empty(n_steps), np.empty((n_steps, p)), np.empty(n_steps)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            for block in self.blocks():
                sums = self._sums(block, beta)
                weight = self.steps.weight[sums.steps]
                own = np.flatnonzero(block.event)
                loglik += float(self.event_weight[block.row[own]] @ sums.log_risk[own])
                loglik -= float(weight @ np.log(sums.denominator))
                expected, center = self._expected(block, sums)
                for begin in range(0, len(expected), _ROWS):
                    part = slice(begin, begin + _ROWS)
                    x = block.x[part] - (center if block.high == block.low + 1 else center[block.time[part]])
                    score -= expected[part] @ x
                    information += (x * expected[part, None]).T @ x
                score += self.event_weight[block.row[own]] @ (block.x[own] - center[block.time[own]])
                at = self.steps.at[sums.steps] - block.low
                if self.ties == "efron":
                    information -= gram(sums.mean - center[at], weight)
                hazard[sums.steps], mean[sums.steps], peak[sums.steps] = sums.hazard, sums.mean, sums.peak[at]
            shift = float(peak.max(initial=0.0))
            hazard *= np.exp(shift - peak)
        return SplitEvaluation(
            beta, loglik=loglik, score=score, information=information, hazard=hazard, mean=mean, shift=shift
        )

    def _expected(self, block: _Block, sums: _Sums) -> tuple[Floats, Floats]:
        """Return the expected events of each split row, weighted, and a mean of each risk set."""
        hazard = self._per_time(block, sums, sums.hazard)
        expected = sums.risk * (hazard if block.high == block.low + 1 else hazard[block.time])
        if self.ties == "breslow":
            return expected, sums.mean
        own = np.flatnonzero(block.event)
        less = self._per_time(block, sums, sums.hazard * self.steps.fraction[sums.steps])
        expected[own] -= sums.risk[own] * less[block.time[own]]
        first = np.searchsorted(self.steps.at[sums.steps], np.arange(block.low, block.high))
        return expected, sums.mean[first]

    def score_residuals(self, at: Evaluation) -> NoReturn:
        """Refuse: there is one for every split row."""
        _refuse()

    def cluster_scores(self, at: Evaluation, cluster: Codes, n_cluster: int) -> Floats:
        """Sum the weighted score residuals at an evaluation of this class within clusters: shape (n_cluster, p)."""
        assert isinstance(at, SplitEvaluation)
        total = np.zeros((n_cluster, self.width))
        for block in self.blocks():
            sums = self._sums(block, at.beta)
            parts = self._residual_parts(block, sums)
            for begin in range(0, len(block.row), _ROWS):
                part = slice(begin, begin + _ROWS)
                residual = self._residuals(block, sums, parts, part)
                codes = cluster[block.row[part]]
                for j, column in enumerate(residual.T):
                    total[:, j] += np.bincount(codes, weights=column, minlength=n_cluster)
        return total

    def _residual_parts(self, block: _Block, sums: _Sums) -> tuple[Floats, ...]:
        """Hazard, hazard times mean, events' mean at each event time, and what events are spared of the first two."""
        fraction, count = self.steps.fraction[sums.steps], self.steps.count[sums.steps]
        step_mean = sums.hazard[:, None] * sums.mean
        values = (
            sums.hazard,
            step_mean,
            sums.mean / count[:, None],
            sums.hazard * fraction,
            step_mean * fraction[:, None],
        )
        return tuple(self._per_time(block, sums, value) for value in values)

    def _residuals(self, block: _Block, sums: _Sums, parts: tuple[Floats, ...], rows: slice) -> Floats:
        """Weighted score residuals of some of the split rows."""
        hazard, mean_hazard, event_mean, spared, spared_mean = parts
        time, x, risk = block.time[rows], block.x[rows], sums.risk[rows, None]
        residual = mean_hazard[time] - x * hazard[time, None]
        own = np.flatnonzero(block.event[rows])
        when = time[own]
        residual[own] += x[own] * spared[when, None] - spared_mean[when]
        residual *= risk
        residual[own] += self.event_weight[block.row[rows][own], None] * (x[own] - event_mean[when])
        return residual


def _weighted_sums(risk: Floats, block: _Block) -> Floats:
    """Sum risk times the covariates over each risk set of a block."""
    if len(risk) < _LONG * len(block.begin):
        return np.asarray(np.add.reduceat(risk[:, None] * block.x, block.begin, axis=0))
    ends = np.append(block.begin[1:], len(risk))
    sums = [risk[begin:end] @ block.x[begin:end] for begin, end in zip(block.begin, ends, strict=True)]
    return np.array(sums)


def _cut(size: Integers, most: int) -> Integers:
    """Cut event times into blocks of at most ``most`` split rows, one event time at least."""
    ends = np.cumsum(size)
    cuts, at, used = [0], 0, 0
    while at < len(size):
        at = max(int(np.searchsorted(ends, used + most, side="right")), at + 1)
        cuts.append(at)
        used = int(ends[at - 1])
    return np.array(cuts)


class SolverView(PartialLikelihood):
    """A split likelihood as Newton's method sees it: ``x`` holds the columns' extremes, shape (2, p)."""

    def __init__(self, split: SplitLikelihood) -> None:
        self.split = split
        self.x, self.risk_sets, self.ties = split.extremes, split.risk_sets, split.ties
        self.weights, self.event_weight, self.steps = split.weights, split.event_weight, split.steps
        self.rows_at_risk_once = True

    def evaluate(self, beta: Floats) -> Evaluation:
        return self.split.evaluate(beta)

    def contrasts(self) -> SplitContrasts:
        """Search pairs of an event and a row at risk; see `monotone`."""
        return SplitContrasts(self.split)


class SplitContrasts:
    """Pairs of an event and a row at risk with it, searched along a direction, a block at a time."""

    def __init__(self, split: SplitLikelihood) -> None:
        self.split = split
        spread = split.extremes[0] - split.extremes[1]
        self.spread = np.where(spread > 0, spread, 1.0)
        self.n_events = int((split.event_weight > 0).sum())

    def rises(self, direction: Floats) -> bool:
        """Tell whether a direction puts every event above all others at risk, and one strictly so."""
        return not len(self.broken_by(direction)) and bool(len(self.broken_by(-direction)))

    def broken_by(self, direction: Floats) -> Floats:
        """Return x_event - x_other, scaled, of pairs that a direction puts in the wrong order, worst first."""
        found: list[Floats] = []
        excess: list[Floats] = []
        along_by_unit = direction / self.spread
        reach = float(np.abs(along_by_unit) @ (self.split.extremes[0] - self.split.extremes[1]))
        for block in self.split.blocks():
            along = block.x @ along_by_unit
            others = np.where(self.split.weights[block.row] > 0, along, -np.inf)
            events = np.flatnonzero(block.event & (self.split.event_weight[block.row] > 0))
            if not len(events):
                continue
            top = np.maximum.reduceat(others, block.begin)
            # The lowest event and the highest row of each time make its worst pair.
            order = events[np.lexsort((along[events], block.time[events]))]
            lowest = order[np.flatnonzero(np.diff(block.time[order], prepend=-1))]
            above = top[block.time[lowest]] - along[lowest]
            wrong = np.flatnonzero(above > _TOLERANCE * reach)
            holders = self._holders(block, others, top, lowest[wrong])
            found.append((block.x[lowest[wrong]] - block.x[holders]) / self.spread)
            excess.append(above[wrong])
        if not found:
            return np.empty((0, self.split.width))
        pairs, order = np.concatenate(found), np.argsort(-np.concatenate(excess), kind="stable")
        picked = np.unique(np.linspace(0, len(order) - 1, _CUTS_A_ROUND).astype(np.int64)) if len(order) else order
        return np.asarray(pairs[order[picked]])

    def _holders(self, block: _Block, others: Floats, top: Floats, events: Integers) -> Integers:
        highest = np.flatnonzero(others == top[block.time])
        first = highest[np.flatnonzero(np.diff(block.time[highest], prepend=-1))]
        return np.asarray(first[np.searchsorted(block.time[first], block.time[events])])
