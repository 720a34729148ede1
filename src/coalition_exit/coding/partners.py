"""Variables about a state and its partners: fronts, exits, pledges, history, importance."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from coalition_exit.coding.history import Bools, Floats, History, War

# Shares are coded to two or three digits; their sums are not exact in binary.
_ROUNDING = 1e-9


def common_front(
    history: History, war: War, *, measure: str, min_partner_share: float, alone: float, no_troops: float
) -> Floats:
    """How far each member's troops stand on fronts where a partner has troops, shape (M, T).

    ``measure``: "share" of its troops on such fronts; "any" = 1 if some are; "whole" = 1 if all are;
    "weighted" = sum over fronts of the share of its troops there times the partners' share of the
    soldiers that it and they have there. ``alone`` where no partner is at war, ``no_troops`` where
    the member has no troops at any front.
    """
    shares = war.deployment
    holds = (shares > min_partner_share) & (shares > 0)
    soldiers = shares * war.soldiers[:, None, :] if measure == "weighted" else shares
    result = np.zeros(war.shape)
    for i in range(len(war.members)):
        partners = war.partners(i)
        common: NDArray[Any] = np.asarray(holds[partners].any(axis=0))
        if measure == "weighted":
            beside = (soldiers[partners] * holds[partners]).sum(axis=0)
            both = beside + soldiers[i]
            common = np.divide(beside, both, out=np.zeros_like(both), where=both > 0)
        overlap, own = (shares[i] * common).sum(axis=0), shares[i].sum(axis=0)
        if measure == "any":
            overlap = (overlap > 0).astype(float)
        elif measure == "whole":
            overlap = (overlap >= own - _ROUNDING).astype(float)
        overlap = np.where(own > 0, overlap, no_troops)
        result[i] = np.where(war.at_war[partners].any(axis=0), overlap, alone)
    return result


def recent_exit(history: History, war: War, *, window: float) -> Floats:
    """1 where a partner's spell ended in the last ``window`` days (that day not counted), shape (M, T)."""
    result = np.zeros(war.shape)
    for i in range(len(war.members)):
        for j in war.partners(i):
            for spell in war.spells[j]:
                result[i, spell.last + 1 : spell.last + 1 + int(window)] = 1.0
    return result


def late_joiner(history: History, war: War, *, days: float) -> Floats:
    """1 for members that entered more than ``days`` days after their side's first, shape (M, T)."""
    entry = np.array([spells[0].first for spells in war.spells])
    first = np.array([entry[war.side == side].min() for side in war.side])
    return np.repeat((entry - first > days).astype(float)[:, None], len(war.days), axis=1)


def contribution(history: History, war: War) -> Floats:
    """Each member's share of its side's soldiers, shape (M, T); 1 for the last member left."""
    share = _share_of_side(war, war.soldiers)
    left = np.stack([war.at_war[war.side == side].sum(axis=0) for side in war.side])
    return np.where(war.at_war & (left == 1), 1.0, share)


def importance(history: History, war: War) -> Floats:
    """Each member's share of its side's CINC, shape (M, T); NaN where its own is unknown."""
    return _share_of_side(war, war.by_year("cinc"))


def relative_capabilities(history: History, war: War) -> Floats:
    """Share of each member's side in both sides' CINC, shape (M, T)."""
    cinc = np.nan_to_num(war.by_year("cinc"))
    both = cinc.sum(axis=0)
    sides = np.stack([cinc[war.side == side].sum(axis=0) for side in war.side])
    return np.divide(sides, both, out=np.full(war.shape, np.nan), where=both > 0)


def _share_of_side(war: War, amount: Floats) -> Floats:
    known = np.where(war.at_war, np.nan_to_num(amount), 0.0)
    total = np.stack([known[war.side == side].sum(axis=0) for side in war.side])
    return np.divide(amount, total, out=np.full(war.shape, np.nan), where=total > 0)


def any_partner_bound(history: History, war: War, *, kind: str) -> Floats:
    """1 where the member and a partner at war are bound by one agreement of a kind, shape (M, T)."""
    return (_bound_partners(history, war, kind) > 0).astype(float)


def share_of_partners_bound(history: History, war: War, *, kind: str) -> Floats:
    """Share of the partners at war that day bound with the member, shape (M, T); 0 without partners."""
    return _per_partner(war, _bound_partners(history, war, kind))


def coalition_history(history: History, war: War) -> Floats:
    """Share of the partners at war that day fought beside in an earlier war, shape (M, T)."""
    beside = {(r.side, r.ccode, r.partner) for r in war.rows["cooperation"]}
    count = np.zeros(war.shape)
    for i, (side, ccode) in enumerate(war.members):
        for j in war.partners(i):
            if (side, ccode, war.members[j][1]) in beside:
                count[i] += war.at_war[j]
    return _per_partner(war, count)


def _per_partner(war: War, count: Floats) -> Floats:
    present = np.stack([war.at_war[war.partners(i)].sum(axis=0) for i in range(len(war.members))])
    return np.divide(count, present, out=np.zeros(war.shape), where=present > 0)


def _bound_partners(history: History, war: War, kind: str) -> Floats:
    """Number of partners at war that day bound with each member, shape (M, T)."""

    def compute() -> Floats:
        agreements: dict[tuple[int, str], Bools] = {}
        for row in war.rows["agreements"]:
            if row.kind == kind:
                bound = agreements.setdefault((row.side, row.agreement), np.zeros(war.shape, dtype=bool))
                bound[war.member(row.side, row.ccode), war.span(row.start, row.end)] = True
        pairs = np.zeros((len(war.members), *war.shape), dtype=bool)
        for bound in agreements.values():
            present = bound & war.at_war
            for i in np.flatnonzero(present.any(axis=1)):
                pairs[i] |= present & present[i]
        for j in range(len(war.members)):
            pairs[j, j] = False
        return pairs.sum(axis=1).astype(float)

    return history.once(("bound", *war.key, kind), compute)
