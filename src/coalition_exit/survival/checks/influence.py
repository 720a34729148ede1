"""What the estimates become without a cluster: exact refits beside the one-step approximation.

Refits share covariates and risk sets and are solved in blocks, with the weight of the left-out
clusters set to 0. One that ends without an estimate is done again by itself on the rows that are
left, for the reason.

References
----------
Therneau, T. M. and Grambsch, P. M. (2000), Modeling Survival Data, section 7.1;
Cain, K. C. and Lange, N. T. (1984), Biometrics 40, 493-499; Storer, B. E. and Crowley, J. (1985), JASA 80, 139-147.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from coalition_exit.errors import DataError, FitError
from coalition_exit.survival.checks.residuals import RowGroups, row_groups
from coalition_exit.survival.cox.partial import PartialLikelihood
from coalition_exit.survival.cox.risksets import prepare_risk_sets
from coalition_exit.survival.cox.solver import maximize
from coalition_exit.survival.cox.state import CoxState
from coalition_exit.survival.data.surv import Floats, Integers, Surv
from coalition_exit.survival.inference.reweighted import reweighted_fits
from coalition_exit.survival.inference.vcov import require_maximum

# Doubles in one matrix of cluster weights (refits x clusters).
_WEIGHTS = 4_000_000


@dataclass(frozen=True, eq=False)
class Refit:
    """One refit: the estimates, or why there are none.

    Attributes
    ----------
    beta : shape (p,)
        NaN without estimates.
    status : str
        "ok", or the status of the `FitError`: "no_events", "no_variation", "collinear",
        "monotone", "not_converged".
    reason : str
        The error's message; empty when "ok".
    """

    beta: Floats
    status: str = "ok"
    reason: str = ""


@dataclass(frozen=True, eq=False)
class _Plan:
    """One model and its groups, with the groups' one-step changes, shape (G, p).

    ``compact`` numbers the groups that have rows at risk, -1 for the others: leaving those out
    changes nothing.
    """

    state: CoxState
    groups: RowGroups
    one_step: Floats
    compact: Integers


def leave_one_out(state: CoxState, groups: str | ArrayLike = "cluster") -> pd.DataFrame:
    """Refit without each cluster, subject or other group.

    Parameters
    ----------
    state
        A Cox fit with p >= 1 covariates.
    groups
        "cluster" or "id" as given to the fit, or an array of n values.

    Returns
    -------
    DataFrame
        A row a group and term: cluster, term, estimate (without the group), change_exact
        (estimate without the group minus the full estimate), change_one_step (minus the sum of the
        group's dfbeta, the approximation of it), status ("ok" or why there is no estimate), reason.

    Raises
    ------
    DataError
        Bad ``groups``, fewer than two groups, no covariates, a penalized fit, exact ties.
    """
    plan = _plan(state, groups, least=2)
    chosen = [(code,) for code in range(len(plan.groups.labels))]
    return _tidy(plan, chosen, ["cluster"])


def leave_two_out(state: CoxState, groups: str | ArrayLike = "cluster") -> pd.DataFrame:
    """Refit without each pair of groups: G (G - 1) / 2 refits.

    Parameters, errors and columns are those of `leave_one_out`, with ``cluster_1`` and
    ``cluster_2`` in the place of ``cluster``. Three groups are needed at least.
    """
    plan = _plan(state, groups, least=3)
    pairs = list(itertools.combinations(range(len(plan.groups.labels)), 2))
    return _tidy(plan, pairs, ["cluster_1", "cluster_2"])


def refit_without(state: CoxState, keep: NDArray[np.bool_]) -> Refit:
    """Refit with some of the rows at risk.

    Parameters
    ----------
    state
        A Cox fit with m rows at risk.
    keep
        Rows to keep, among the rows at risk: shape (m,).
    """
    likelihood = _likelihood_without(state, keep)
    nothing = np.full_like(state.beta, np.nan)
    if likelihood is None:
        return Refit(nothing, "no_events", "no events without the rows left out")
    try:
        return Refit(maximize(likelihood, state.design.names, 100, 1e-14).beta)
    except FitError as error:
        return Refit(nothing, error.status, str(error))


def _likelihood_without(state: CoxState, keep: NDArray[np.bool_]) -> PartialLikelihood | None:
    """Return the likelihood of the kept rows of positive weight; None if no event is among them."""
    rs, full = state.risk_sets, state.likelihood
    at = np.flatnonzero(keep & (full.weights > 0))
    if not rs.event[at].any():
        return None
    # A row at risk at event times first .. last of all strata is at risk in (first - 1, last].
    reduced = prepare_risk_sets(Surv(rs.first[at] - 1, rs.last[at], rs.event[at]))
    rows = at[reduced.rows]
    offset = None if full.offset is None else full.offset[rows]
    return PartialLikelihood(reduced, full.x[rows], full.weights[rows], offset, full.ties)


def _plan(state: CoxState, groups: str | ArrayLike, least: int) -> _Plan:
    require_maximum(state)
    found = row_groups(state, groups, "groups")
    size = len(found.labels)
    if size < least:
        raise DataError("groups", f"at least {least} groups", str(size))
    codes, weights = found.codes[state.risk_sets.rows], state.likelihood.weights
    summed = state.likelihood.cluster_scores(state.evaluation, codes, size)
    present = np.bincount(codes[weights > 0], minlength=size) > 0
    compact = np.where(present, np.cumsum(present) - 1, -1)
    return _Plan(state, found, -summed @ state.inverse, compact)


def _refits(plan: _Plan, chosen: Sequence[tuple[int, ...]]) -> list[Refit]:
    """Refit without each of the chosen sets of groups."""
    keys = [frozenset(plan.compact[list(codes)].tolist()) - {-1} for codes in chosen]
    unchanged: frozenset[int] = frozenset()
    done = {unchanged: Refit(plan.state.beta)}
    wanted = list(dict.fromkeys(key for key in keys if key))
    size = int(plan.compact.max()) + 1
    compact = np.maximum(plan.compact, 0)[plan.groups.codes]
    block = max(1, _WEIGHTS // size)
    for begin in range(0, len(wanted), block):
        part = wanted[begin : begin + block]
        weights = np.ones((len(part), size))
        for row, key in enumerate(part):
            weights[row, list(key)] = 0.0
        fits = reweighted_fits(plan.state, weights, compact)
        for key, beta, ok in zip(part, fits.coef, fits.ok, strict=True):
            keep = None if ok else ~np.isin(compact[plan.state.risk_sets.rows], list(key))
            done[key] = Refit(beta) if keep is None else refit_without(plan.state, keep)
    return [done[key] for key in keys]


def _tidy(plan: _Plan, chosen: Sequence[tuple[int, ...]], columns: Sequence[str]) -> pd.DataFrame:
    names, p = plan.state.design.names, len(plan.state.beta)
    refits = _refits(plan, chosen)
    estimate = np.array([refit.beta for refit in refits])
    one_step = np.array([plan.one_step[list(codes)].sum(axis=0) for codes in chosen])
    table = {
        column: np.repeat(plan.groups.labels.to_numpy()[[codes[place] for codes in chosen]], p)
        for place, column in enumerate(columns)
    }
    frame = pd.DataFrame(table)
    frame["term"] = list(names) * len(chosen)
    frame["estimate"] = estimate.ravel()
    frame["change_exact"] = (estimate - plan.state.beta).ravel()
    frame["change_one_step"] = one_step.ravel()
    frame["status"] = np.repeat([refit.status for refit in refits], p)
    frame["reason"] = np.repeat([refit.reason for refit in refits], p)
    return frame
