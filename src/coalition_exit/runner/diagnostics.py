"""What a reviewer asks of a Cox table: proportional hazards, events per variable, concordance, influence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from coalition_exit.errors import DataError, FitError
from coalition_exit.runner.estimation import ModelResult
from coalition_exit.runner.running import RunResult
from coalition_exit.survival.cox.cox_fit import CoxFit

DIAGNOSTIC_COLUMNS = ("table", "model", "quantity", "term", "value", "text")
# Each test with the transform of time that its program uses unless told otherwise.
PH_TESTS = {"score": "km", "grambsch_therneau": "identity"}


def diagnose(result: RunResult) -> pd.DataFrame:
    """Return the diagnostics of every Cox model of a table, in long form.

    Returns
    -------
    DataFrame
        table, model, quantity, term, value, text. Quantities: events_per_variable; concordance and
        concordance_std_error; ph_score and ph_grambsch_therneau (p values by term and GLOBAL; the
        transform of time in ``text``); influential (the cluster whose removal moves the estimates
        most: its distance as ``value``, its name as ``text``), without_influential (estimates
        without it, by term), influential_change (that change, in standard errors). A quantity
        that cannot be had is missing, with the reason as ``text``.
    """
    rows: list[tuple[str, str, float, str]] = []
    parts = []
    for one in result.results:
        if isinstance(one.fit, CoxFit):
            rows = _diagnose(one, one.fit, result)
            frame = pd.DataFrame(rows, columns=["quantity", "term", "value", "text"])
            parts.append(frame.assign(table=result.spec.table, model=one.model.key))
    if not parts:
        return pd.DataFrame(columns=list(DIAGNOSTIC_COLUMNS))
    return pd.concat(parts, ignore_index=True)[list(DIAGNOSTIC_COLUMNS)]


def _diagnose(one: ModelResult, fit: CoxFit, result: RunResult) -> list[tuple[str, str, float, str]]:
    rows: list[tuple[str, str, float, str]] = [("events_per_variable", "", fit.events_per_variable, "")]
    try:
        found = fit.concordance()
        rows.append(("concordance", "", found.concordance, ""))
        rows.append(("concordance_std_error", "", found.std_error, ""))
    except (DataError, FitError) as error:
        rows.append(("concordance", "", np.nan, str(error)))
    for method, transform in PH_TESTS.items():
        rows += _proportional(fit, method, transform)
    if one.model.errors.type == "cluster":
        rows += _influence(one, fit, result)
    return rows


def _proportional(fit: CoxFit, method: str, transform: str) -> list[tuple[str, str, float, str]]:
    try:
        tests = fit.proportional_hazards_test(transform, method)
    except (DataError, FitError) as error:
        return [(f"ph_{method}", "GLOBAL", np.nan, str(error))]
    return [(f"ph_{method}", str(row.term), float(row.p_value), transform) for row in tests.itertuples(index=False)]


def _influence(one: ModelResult, fit: CoxFit, result: RunResult) -> list[tuple[str, str, float, str]]:
    try:
        left = fit.leave_one_out("cluster")
    except (DataError, FitError) as error:
        return [("influential", "", np.nan, str(error))]
    failed = left.loc[left["status"] != "ok"].drop_duplicates("cluster")
    changes = left[left["status"] == "ok"].pivot_table(
        index="cluster", columns="term", values="change_exact", sort=False
    )
    changes = changes[list(fit.terms)].dropna()
    rows: list[tuple[str, str, float, str]] = [
        ("not_estimable_without", "", np.nan, f"{_name(result, one, row.cluster)}: {row.reason}")
        for row in failed.itertuples(index=False)
    ]
    if changes.empty:
        return rows
    distance = _distances(changes.to_numpy(), fit.covariance)
    worst = int(np.argmax(distance))
    cluster: Any = changes.index[worst]
    rows.append(("influential", "", float(distance[worst]), _name(result, one, cluster)))
    errors = fit.std_error.to_numpy()
    for term, change, beta, size in zip(fit.terms, changes.to_numpy()[worst], fit.beta, errors, strict=True):
        rows.append(("without_influential", term, float(beta + change), ""))
        rows.append(("influential_change", term, float(change / size), ""))
    return rows


def _distances(changes: np.ndarray[Any, Any], covariance: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return d' V^- d / p of each change: how far the estimates move, in the metric of their errors.

    With more terms than clusters V is singular; the pseudo-inverse then measures what can be measured.
    """
    inverse = np.linalg.pinv(covariance, hermitian=True)
    return np.einsum("gp,pq,gq->g", changes, inverse, changes) / changes.shape[1]


def _name(result: RunResult, one: ModelResult, cluster: Any) -> str:
    assert result.data is not None
    return result.data.name_group(one.model.errors.by, cluster)
