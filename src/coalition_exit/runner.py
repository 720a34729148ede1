"""Running specifications: models in, rows of estimates out. A model that fails is a row with its reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from coalition_exit.errors import DataError, FitError, nearest, one_of, shown
from coalition_exit.panel.build import build_panel
from coalition_exit.record.loading import Record, load_record, record_folder
from coalition_exit.specs.loading import Spec, load_spec
from coalition_exit.specs.models import ModelSpec
from coalition_exit.survival.cox.cox import CoxPH
from coalition_exit.survival.fit import TIDY_COLUMNS, CoxFit

ESTIMATE_COLUMNS = ("table", "model", *TIDY_COLUMNS)
MODEL_COLUMNS = (
    "table", "model", "status", "reason", "estimator", "ties", "correction",
    "n_obs", "n_subject", "n_event", "n_cluster", "loglik", "loglik_null",
)  # fmt: skip
SOURCES = ("auto", "record")
OK = "ok"


@dataclass(frozen=True, eq=False)
class ModelResult:
    """One model after the run: its fit, or why it has none."""

    model: ModelSpec
    status: str
    reason: str
    fit: CoxFit | None
    counts: Mapping[str, int | None]
    n_dropped: int


@dataclass(frozen=True, eq=False)
class RunResult:
    """A specification after the run.

    Attributes
    ----------
    spec : Spec
    results : tuple of ModelResult
        One a model, in the specification's order.
    source, note, sha256 : str
        Data source, the sentence that says what it is, and its hash.
    """

    spec: Spec
    results: tuple[ModelResult, ...]
    source: str
    note: str
    sha256: str
    panel_rows: int = field(default=0)

    @property
    def fits(self) -> dict[str, CoxFit]:
        """Fits by model key; failed models are absent."""
        return {r.model.key: r.fit for r in self.results if r.fit is not None}

    @property
    def failed(self) -> list[ModelResult]:
        return [r for r in self.results if r.status != OK]

    @property
    def estimates(self) -> pd.DataFrame:
        """Estimates, one row a model and term."""
        parts = [f.tidy().assign(table=self.spec.table, model=key) for key, f in self.fits.items()]
        if not parts:
            return pd.DataFrame(columns=list(ESTIMATE_COLUMNS))
        return pd.concat(parts, ignore_index=True)[list(ESTIMATE_COLUMNS)]

    @property
    def models(self) -> pd.DataFrame:
        """One row a model, failed ones included."""
        rows = []
        for result in self.results:
            fit, model = result.fit, result.model
            clustered = model.errors.type == "cluster"
            rows.append(
                {
                    "table": self.spec.table,
                    "model": model.key,
                    "status": result.status,
                    "reason": result.reason,
                    "estimator": model.estimator,
                    "ties": model.ties,
                    "correction": model.errors.correction if clustered else "",
                    **result.counts,
                    "loglik": fit.loglik if fit else np.nan,
                    "loglik_null": fit.loglik_null if fit else np.nan,
                }
            )
        frame = pd.DataFrame(rows, columns=list(MODEL_COLUMNS))
        return frame.astype(dict.fromkeys(("n_obs", "n_subject", "n_event", "n_cluster"), "Int64"))


def run_spec(
    spec: Spec | str | Path,
    data: str = "auto",
    record: Record | None = None,
    progress: Callable[[str], None] | None = None,
) -> RunResult:
    """Run every model of a specification.

    Parameters
    ----------
    spec
        A specification, or the path of its YAML file.
    data
        "record" for the package's coded record; "auto" for the best source at hand.
    record
        A record already loaded, to save loading it again.
    progress
        Called with the key of each model as it is done.

    Returns
    -------
    RunResult

    Raises
    ------
    InputError
        The specification or the data cannot be used. A model that cannot be estimated does not
        raise: it is a row with its reason.
    """
    if not isinstance(spec, Spec):
        spec = load_spec(spec)
    if data not in SOURCES and record is None and Path(data).is_dir():
        record, data = load_record(data), "record"
    if data not in SOURCES:
        expected = f"{one_of(SOURCES)}, or a folder with a record's tables"
        raise DataError("data", expected, shown(data), nearest(str(data), SOURCES))
    record = load_record() if record is None else record
    results = []
    rows = 0
    for model in spec.models:
        panel = _panel(record, model)
        rows = len(panel)
        results.append(_run_model(model, panel))
        if progress is not None:
            progress(model.key)
    source = "record" if Path(record.folder) == record_folder() else record.folder
    return RunResult(spec, tuple(results), source, record.status, record.sha256, rows)


def _panel(record: Record, model: ModelSpec) -> pd.DataFrame:
    wanted = [name for name in model.variables if name in model.coding]
    return build_panel(record, variables=wanted, coding=model.choices)


def _run_model(model: ModelSpec, panel: pd.DataFrame) -> ModelResult:
    keep = np.ones(len(panel), dtype=bool)
    for expression in model.sample:
        keep &= expression.evaluate(panel)
    chosen = panel.loc[keep]
    complete = chosen[model.estimation_columns].notna().all(axis=1)
    used = chosen.loc[complete]
    clustered = model.errors.type == "cluster"
    counts = {
        "n_obs": len(used),
        "n_subject": int(used["idvar"].nunique()),
        "n_event": int(used[model.failure].sum()),
        "n_cluster": int(used[model.errors.by].nunique()) if clustered else None,
    }
    n_dropped = int((~complete).sum())
    formula = f"Surv(start, stop, {model.failure}) ~ {' + '.join(model.covariates)}"
    estimator = CoxPH(ties=model.ties, correction=model.errors.correction)
    try:
        if not len(used):
            raise FitError("no_observations", "no row is left after the sample filters and missing values")
        fit = estimator.fit(formula, used, id="idvar", cluster=model.errors.by if clustered else None)
    except FitError as error:
        return ModelResult(model, error.status, str(error), None, counts, n_dropped)
    except DataError as error:
        return ModelResult(model, "bad_data", str(error), None, counts, n_dropped)
    return ModelResult(model, OK, "", fit, counts, n_dropped)
