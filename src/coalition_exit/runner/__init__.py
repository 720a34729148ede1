"""Running specifications on a data source."""

from coalition_exit.runner.estimation import OK, ModelResult, run_model
from coalition_exit.runner.running import ESTIMATE_COLUMNS, MODEL_COLUMNS, RunResult, run_on, run_spec
from coalition_exit.runner.sources import SOURCES, Source, Sources

__all__ = [
    "ESTIMATE_COLUMNS",
    "MODEL_COLUMNS",
    "OK",
    "SOURCES",
    "ModelResult",
    "RunResult",
    "Source",
    "Sources",
    "run_model",
    "run_on",
    "run_spec",
]
