"""Running specifications: models in, rows of estimates out. A model that fails is a row with its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from coalition_exit.record.loading import Record
from coalition_exit.runner.estimation import COUNTS, OK, ModelResult, run_model
from coalition_exit.runner.sources import Source, Sources
from coalition_exit.specs.loading import Spec, load_spec
from coalition_exit.survival.fit import TIDY_COLUMNS, Fit

ESTIMATE_COLUMNS = ("table", "model", *TIDY_COLUMNS)
MODEL_COLUMNS = (
    "table", "model", "status", "reason", "estimator", "ties", "correction",
    "n_obs", "n_subject", "n_event", "n_cluster", "loglik", "loglik_null",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class RunResult:
    """A specification after the run.

    Attributes
    ----------
    spec : Spec
    results : tuple of ModelResult
        One a model, in the specification's order.
    source, note, sha256 : str
        Data source, the phrase that says what it is, and its hash.
    """

    spec: Spec
    results: tuple[ModelResult, ...]
    source: str
    note: str
    sha256: str
    data: Source | None = field(default=None, repr=False)

    @property
    def fits(self) -> dict[str, Fit]:
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
                    "estimator": model.estimator_name,
                    "ties": model.ties,
                    "correction": model.errors.correction if clustered else "",
                    **result.counts,
                    "loglik": fit.loglik if fit else np.nan,
                    "loglik_null": fit.loglik_null if fit else np.nan,
                }
            )
        frame = pd.DataFrame(rows, columns=list(MODEL_COLUMNS))
        return frame.astype(dict.fromkeys(COUNTS, "Int64"))

    @property
    def full_note(self) -> str:
        """What the data are, with what was left out of them and why."""
        dropped = [f"{r.n_dropped:,} ({r.model.head})" for r in self.results if r.n_dropped]
        said = self._notes()
        if dropped:
            said.append(f"rows left out for missing values: {', '.join(dropped)}")
        return "; ".join([self.note, *said])

    def _notes(self) -> list[str]:
        """Return what is to be said of the rows, each once; with its models where it does not hold of all."""
        outcomes = {r.model.failure for r in self.results}
        said = []
        for text in dict.fromkeys(text for r in self.results for text in r.notes):
            heads = [r.model.head for r in self.results if text in r.notes]
            named = len(heads) == len(self.results) or text.partition(":")[0] in outcomes
            said.append(text if named else f"{text} ({', '.join(heads)})")
        return said


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
        "record" for the package's coded record; "archive" for the author's file; "auto" for the
        author's file when it is at hand and no coding rule is changed, else the record; the path
        of a file with the archive's variables, or of a folder with a record's tables. A
        specification that names a data file of its own uses that.
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
    return run_on(spec, Sources(str(data), record).for_spec(spec), progress)


def run_on(spec: Spec, source: Source, progress: Callable[[str], None] | None = None) -> RunResult:
    """Run every model of a specification on a source that is open."""
    results = []
    for model in spec.models:
        results.append(run_model(model, source))
        if progress is not None:
            progress(model.key)
    return RunResult(spec, tuple(results), source.name, source.note, source.sha256, source)
