"""One model on its rows: a fit, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from coalition_exit.errors import DataError, FitError
from coalition_exit.runner.sources import Rows, Source
from coalition_exit.specs.models import ModelSpec
from coalition_exit.survival.competing.finegray import FineGray
from coalition_exit.survival.cox.cox import CoxPH
from coalition_exit.survival.discrete.discrete import DiscreteHazard
from coalition_exit.survival.discrete.glm import BinaryRegression
from coalition_exit.survival.fit import Fit

OK = "ok"
COUNTS = ("n_obs", "n_subject", "n_event", "n_cluster")


@dataclass(frozen=True, eq=False)
class ModelResult:
    """One model after the run: its fit, or why it has none.

    Attributes
    ----------
    status, reason
        "ok" and "", or a word and a sentence.
    counts
        Rows, subjects, events, clusters; of the rows it would have used when it failed.
    n_dropped
        Rows of the sample left out for missing values.
    notes
        What a reader of the table should know about the data.
    """

    model: ModelSpec
    status: str
    reason: str
    fit: Fit | None
    counts: Mapping[str, int | None]
    n_dropped: int
    notes: tuple[str, ...] = ()


def run_model(model: ModelSpec, source: Source) -> ModelResult:
    """Estimate a model on the rows that a source has for it; what fails becomes a reason."""
    try:
        rows = source.rows(model)
    except FitError as error:
        return ModelResult(model, error.status, str(error), None, dict.fromkeys(COUNTS), 0)
    except DataError as error:
        return ModelResult(model, "bad_data", str(error), None, dict.fromkeys(COUNTS), 0)
    counts = _count(model, rows)
    try:
        fit = estimate(model, rows)
    except FitError as error:
        return ModelResult(model, error.status, str(error), None, counts, rows.n_dropped, rows.notes)
    except DataError as error:
        return ModelResult(model, "bad_data", str(error), None, counts, rows.n_dropped, rows.notes)
    counts = counts | {"n_obs": fit.n_obs, "n_event": fit.n_event}
    return ModelResult(model, OK, "", fit, counts, rows.n_dropped, rows.notes)


def _count(model: ModelSpec, rows: Rows) -> dict[str, int | None]:
    used, clustered = rows.frame, model.errors.type == "cluster"
    return {
        "n_obs": len(used),
        "n_subject": int(used[rows.id].nunique()) if rows.id is not None else len(used),
        "n_event": int((used[rows.event] == (model.cause if model.estimator == "fine_gray" else 1)).sum()),
        "n_cluster": int(used[model.errors.by].nunique()) if clustered else None,
    }


def estimate(model: ModelSpec, rows: Rows) -> Fit:
    """Fit a model.

    Raises
    ------
    FitError, DataError
        As the estimators do; no rows are "no_observations".
    """
    if not len(rows.frame):
        raise FitError("no_observations", "no row is left after the sample filters and missing values")
    cluster = model.errors.by if model.errors.type == "cluster" else None
    formula, correction = f"{rows.response} ~ {model.formula}", model.errors.correction
    if model.is_cox:
        cox = CoxPH(ties=model.ties, correction=correction)
        return cox.fit(formula, rows.frame, id=rows.id, cluster=cluster)
    if model.estimator == "fine_gray":
        return _fine_gray(model, rows, cluster)
    if model.discrete is None:
        binary = BinaryRegression(link=model.estimator, correction=correction)
        return binary.fit(formula, rows.frame, cluster=cluster)
    options = model.discrete
    hazard = DiscreteHazard(
        link=model.estimator, baseline=options.baseline, period=options.period, covariates=options.covariates,
        df=options.df, divisor=options.divisor, correction=correction,
    )  # fmt: skip
    return hazard.fit(formula, rows.frame, id=rows.id, cluster=cluster)


def _fine_gray(model: ModelSpec, rows: Rows, cluster: str | None) -> Fit:
    """Fit the hazard of the subdistribution of one kind of exit; other kinds compete and do not censor."""
    event = "_exit"
    frame = rows.frame.assign(**{event: (rows.frame[rows.event] > 0).astype(int)})
    response = rows.response.replace(f", {rows.event})", f", {event})")
    estimator = FineGray(cause=model.cause, ties=model.ties, correction=model.errors.correction)
    return estimator.fit(f"{response} ~ {model.formula}", frame, cause=rows.event, id=rows.id, cluster=cluster)
