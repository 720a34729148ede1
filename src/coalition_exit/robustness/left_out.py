"""The estimates without each coalition, without each war, and without each pair of coalitions: exact refits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtr

from coalition_exit.errors import DataError
from coalition_exit.robustness.engine import Estimate, ExitEngine
from coalition_exit.robustness.problem import OK, Problem
from coalition_exit.survival.cox.cox_fit import CoxFit

COLUMNS = (
    "left_out", "label", "term", "estimate", "std_error", "p_value", "change", "n_event", "status", "reason",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Estimates with something left out.

    Attributes
    ----------
    coalitions, wars
        A row a coalition (war) and term, columns `COLUMNS`; ``change`` is against all rows.
    pairs
        A row a pair of coalitions and term: left_out_1, left_out_2, label, term, estimate, change, status, reason.
        None if not asked for.
    reference
        Estimates with all rows: term, estimate, std_error, p_value.
    """

    coalitions: pd.DataFrame
    wars: pd.DataFrame
    pairs: pd.DataFrame | None
    reference: pd.DataFrame

    @property
    def ranges(self) -> pd.DataFrame:
        """A row a term and table: smallest and largest estimate, what is left out there, sign changes, failures."""
        tables = [("coalition", self.coalitions), ("war", self.wars)]
        if self.pairs is not None:
            tables.append(("pair of coalitions", self.pairs))
        rows = []
        for what, table in tables:
            for full in self.reference.itertuples(index=False):
                own = table[table["term"] == full.term]
                good = own[own["status"] == OK]
                row = {"term": full.term, "left_out": what, "reference": full.estimate, "n": len(own)}
                row |= {"n_failed": len(own) - len(good), "n_other_sign": 0}
                for name in ("smallest", "largest"):
                    row |= {name: np.nan, f"{name}_without": ""}
                if len(good):
                    low, high = good["estimate"].idxmin(), good["estimate"].idxmax()
                    row["n_other_sign"] = int((np.sign(good["estimate"]) != np.sign(full.estimate)).sum())
                    for name, at in (("smallest", low), ("largest", high)):
                        row |= {name: good.at[at, "estimate"], f"{name}_without": good.at[at, "label"]}
                rows.append(row)
        return pd.DataFrame(rows)

    @property
    def text(self) -> str:
        """One sentence a term and table."""
        return "\n".join(
            f"{r.term} without one {r.left_out}: {r.smallest:.3f} (without {r.smallest_without}) to {r.largest:.3f} "
            f"(without {r.largest_without}); {r.reference:.3f} with all; other sign in {r.n_other_sign} of {r.n}"
            + (f"; no estimate in {r.n_failed}." if r.n_failed else ".")
            for r in self.ranges.itertuples(index=False)
        )


def leave_out(problem: Problem, fit: CoxFit | None = None, pairs: bool = True) -> LeftOut:
    """Refit without each coalition, each war and each pair of coalitions.

    Every one is refitted exactly (`ExitEngine`; pairs: `CoxFit.leave_two_out`). Standard errors are those of the refit,
    with the clusters that are left; pairs have none.

    Parameters
    ----------
    problem
        The model and its rows, with columns ``coalid`` and ``warnum``.
    fit
        Its fit, if there is one already.
    pairs
        Also leave out pairs.

    Raises
    ------
    DataError
        A column is missing.
    FitError
        The model has no estimate with all rows.
    """
    for name in ("coalid", "warnum"):
        if name not in problem.frame.columns:
            raise DataError("frame", f"a column {name!r}", "none")
    fit = problem.fit() if fit is None else fit
    reference = fit.tidy()[["term", "estimate", "std_error", "p_value"]]
    coalitions = _without_each(problem, fit, "coalid", coalition_labels(problem))
    wars = problem.frame["warnum"].unique()
    by_war = _without_each(problem, fit, "warnum", {w: problem.war_name(w) for w in wars})
    return LeftOut(coalitions, by_war, _without_pairs(problem, fit) if pairs else None, reference)


def coalition_labels(problem: Problem) -> dict[int, str]:
    """Name each coalition by its war and members (the first three)."""
    labels = {}
    for coalid, own in problem.frame.groupby("coalid", sort=True):
        states = [problem.state_name(c) for c in own["ccode"].unique()] if "ccode" in own else []
        some = ", ".join(states[:3]) + (f" and {len(states) - 3} more" if len(states) > 3 else "")
        labels[int(coalid)] = f"{problem.war_name(own['warnum'].iloc[0])}: {some}"
    return labels


def _without_each(problem: Problem, fit: CoxFit, column: str, labels: dict[int, str]) -> pd.DataFrame:
    values = problem.frame[column].to_numpy()
    groups = np.array(sorted(labels))
    engine = ExitEngine(problem, np.flatnonzero(problem.event))
    engine.start_at = fit.beta.copy()
    chosen = np.ones(len(engine.candidates), dtype=bool)
    parts = []
    for group in groups:
        keep = values != group
        at = engine.solve(chosen, keep, _clusters_lost(problem, keep))
        parts.append(_rows(int(group), labels[int(group)], problem.model.covariates, at, fit))
    return pd.concat(parts, ignore_index=True)


def _clusters_lost(problem: Problem, keep: np.ndarray) -> int:
    if problem.model.cluster is None:
        return 0
    clusters = problem.frame[problem.model.cluster].to_numpy()
    lost = np.setdiff1d(clusters[~keep], clusters[keep])
    return len(lost)


def _rows(group: int, label: str, terms: Sequence[str], at: Estimate, fit: CoxFit) -> pd.DataFrame:
    error = at.std_error
    columns = (
        group, label, list(terms), at.beta, error, 2 * ndtr(-np.abs(at.beta / error)), at.beta - fit.beta,
        at.n_event, at.status, at.reason,
    )  # fmt: skip
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))


def _without_pairs(problem: Problem, fit: CoxFit) -> pd.DataFrame:
    table = fit.leave_two_out(problem.frame["coalid"].to_numpy())
    labels = coalition_labels(problem)
    one, two = (table[f"cluster_{k}"].astype(int) for k in (1, 2))
    text = one.map(labels) + " / " + two.map(labels)
    found = pd.DataFrame({"left_out_1": one, "left_out_2": two, "label": text, "term": table["term"]})
    found["estimate"], found["change"] = table["estimate"], table["change_exact"]
    found["status"], found["reason"] = table["status"], table["reason"]
    return found
