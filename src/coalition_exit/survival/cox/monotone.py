"""Is the partial likelihood monotone? Directions along which it rises for ever.

The likelihood has no maximum exactly when a direction v != 0 exists along which, at every event
time, each event has the highest x'v of its risk set (with exact ties: no row that survives the time
has a higher x'v than an event). At a million rows there are too many pairs of an event and a row at
risk to write down, so a linear program over few of them proposes v, one scan of the risk sets finds
the pairs that v breaks, and these are added until v breaks none (monotone) or none is left to
propose (a maximum exists).

References
----------
Albert, A. and Anderson, J. A. (1984), Biometrika 71, 1-10; Heinze, G. and Schemper, M. (2001),
Biometrics 57, 114-119; Kelley, J. E. (1960), J. SIAM 8, 703-712 (cutting planes).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from coalition_exit.errors import FitError
from coalition_exit.survival.cox.likelihood import Likelihood
from coalition_exit.survival.data.surv import Floats, Integers

# A direction may put a row above an event by this share of the direction's range: rounding.
_TOLERANCE = 1e-8
_CUTS_A_ROUND = 100
_ROUNDS = 200


def check_monotone(likelihood: Likelihood, names: Sequence[str]) -> None:
    """Refuse a likelihood that rises forever along some direction.

    Parameters
    ----------
    likelihood
        p covariates that are not collinear.
    names
        Their names.

    Raises
    ------
    FitError
        "monotone", naming the covariates whose coefficients diverge, and where to.
    """
    direction = monotone_direction(likelihood)
    if direction is not None:
        named = ", ".join(
            f"{names[int(j)]} ({'+' if direction[j] > 0 else '-'}infinity)" for j in np.flatnonzero(direction)
        )
        raise FitError("monotone", f"the likelihood has no maximum (monotone, coefficients diverge): {named}")


def monotone_direction(likelihood: Likelihood) -> Floats | None:
    """Return a direction without a maximum, shape (p,), or None if there is none.

    Covariates that have none on their own come together (each with its sign); failing these, a
    combination of as few covariates as an L1 norm finds, in units of the covariates' spread.
    """
    make: Any = getattr(likelihood, "contrasts", None)
    contrasts = _Contrasts(likelihood) if make is None else make()
    p = likelihood.x.shape[1]
    if not contrasts.n_events:
        return None
    units = [sign * np.eye(p)[j] for j in range(p) for sign in (1.0, -1.0)]
    alone = [unit for unit in units if contrasts.rises(unit)]
    if alone:
        return np.asarray(sum(alone))
    broken = np.concatenate([contrasts.broken_by(unit) for unit in units])
    if not len(broken):
        return None
    known = _distinct(broken)
    for unit in units:
        ray, known = _ray(contrasts, known, unit)
        if ray is not None and contrasts.rises(ray):
            sparse, _ = _ray(contrasts, known, None)
            found = ray if sparse is None else sparse / np.abs(sparse).max()
            return np.where(np.abs(found) > 1e-7, found, 0.0)
    return None


def _ray(contrasts: _Contrasts, cuts: Floats, unit: Floats | None) -> tuple[Floats | None, Floats]:
    """Look for a ray whose largest component is the one in ``unit``, or for the shortest one; return it and the cuts.

    Every ray has a largest component, so looking for each component and sign in turn misses none.
    """
    for _ in range(_ROUNDS):
        ray = _propose(cuts, unit)
        if ray is None:
            return None, cuts
        broken = contrasts.broken_by(ray)
        if not len(broken):
            return ray, cuts
        more = _distinct(np.concatenate([cuts, broken]))
        if len(more) == len(cuts):
            return None, cuts
        cuts = more
    return None, cuts


def _propose(cuts: Floats, unit: Floats | None) -> Floats | None:
    """Solve the linear program over the known pairs.

    With ``unit`` v is within the unit box and one component at its bound; without, v has the smallest L1 norm of
    those that put the events above the others by 1 on average, which leaves out covariates it can do without.
    """
    import scipy.optimize  # slow to import, and few fits need it

    p = cuts.shape[1]
    # v = plus - minus, both >= 0; the sum of both is the L1 norm.
    options: dict[str, Any] = {"bounds": [(0.0, None)] * (2 * p)}
    if unit is None:
        mean = cuts.mean(axis=0)
        options.update(A_eq=np.concatenate([mean, -mean])[None], b_eq=[1.0])
    else:
        j = int(np.flatnonzero(unit)[0])
        options["bounds"] = [(0.0, 1.0)] * (2 * p)
        options["bounds"][j] = (float(unit[j] > 0),) * 2
        options["bounds"][p + j] = (float(unit[j] < 0),) * 2
    result = scipy.optimize.linprog(
        np.ones(2 * p),
        A_ub=np.hstack([-cuts, cuts]),
        b_ub=np.zeros(len(cuts)),
        method="highs-ds",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
        **options,
    )
    return None if result.status != 0 else np.asarray(result.x[:p] - result.x[p:])


def _distinct(cuts: Floats) -> Floats:
    return np.unique(np.round(cuts / np.abs(cuts).max(axis=1, keepdims=True), 12), axis=0)


class _Contrasts:
    """Pairs of an event and a row at risk with it, searched along a direction.

    Directions are in units of the covariates' spread over the rows at risk.
    """

    def __init__(self, likelihood: Likelihood) -> None:
        rs = likelihood.risk_sets
        self.x = likelihood.x
        spread = self.x.max(axis=0, initial=0.0) - self.x.min(axis=0, initial=0.0)
        self.spread = np.where(spread > 0, spread, 1.0)
        self.events = np.flatnonzero(likelihood.event_weight > 0)
        self.n_events = len(self.events)
        self.when = rs.last[self.events]
        self.others = rs.before_events() if likelihood.ties == "exact" else rs
        # Positions of the rows that events are compared with, and those without weight.
        self.positions = self.others.rows if likelihood.ties == "exact" else np.arange(len(rs.rows))
        void = likelihood.weights[self.positions] <= 0
        self.void = void if void.any() else None

    def rises(self, direction: Floats) -> bool:
        """Tell whether a direction puts every event above all others at risk, and one strictly so."""
        return not self._breaks(direction) and self._breaks(-direction)

    def _breaks(self, direction: Floats) -> bool:
        return bool((self._excess(direction)[0] > 0).any())

    def _excess(self, direction: Floats) -> tuple[Floats, Floats, Floats]:
        """Return by how much others at risk exceed each event, each time's highest, and the others' values."""
        along = self.x @ (direction / self.spread)
        other = along[self.positions]
        if self.void is not None:
            other = np.where(self.void, -np.inf, other)
        top = np.asarray(self.others.max_at_risk(other), dtype=np.float64)
        return top[self.when] - along[self.events] - _TOLERANCE * float(np.ptp(along)), top, other

    def broken_by(self, direction: Floats) -> Floats:
        """Return x_event - x_other, scaled, of the pairs that a direction puts in the wrong order, worst first."""
        excess, top, other = self._excess(direction)
        wrong = np.flatnonzero(excess > 0)
        if not len(wrong):
            return np.empty((0, self.x.shape[1]))
        wrong = self._worst(wrong, excess)
        rows = self._holders(top, other, self.when[wrong])
        return np.asarray((self.x[self.events[wrong]] - self.x[rows]) / self.spread)

    def _worst(self, wrong: Integers, excess: Floats) -> Integers:
        """Pick the worst event of each time, then times spread evenly over the order of badness."""
        order = np.lexsort((-excess[wrong], self.when[wrong]))
        wrong = wrong[order]
        wrong = wrong[np.flatnonzero(np.diff(self.when[wrong], prepend=-1))]
        wrong = wrong[np.argsort(-excess[wrong], kind="stable")]
        picked = np.unique(np.linspace(0, len(wrong) - 1, _CUTS_A_ROUND).astype(np.int64))
        return np.asarray(wrong[picked])

    def _holders(self, top: Floats, other: Floats, when: Integers) -> Integers:
        """Return a row at risk that attains the highest value at each of some event times."""
        order = np.argsort(other, kind="stable")
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        best = self.others.max_at_risk(rank)[when]
        return np.asarray(self.positions[order[best]])
