"""Coalition exit: when states abandon their partners in war.

Replication, robustness and survival analysis of coalition exit. Names are loaded when first used,
so that importing the package is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coalition_exit.panel.build import build_panel
    from coalition_exit.record.loading import Record, load_record
    from coalition_exit.runner import RunResult, run_spec
    from coalition_exit.specs.loading import Spec, load_spec
    from coalition_exit.survival.cox import CoxPH
    from coalition_exit.survival.curves import kaplan_meier, nelson_aalen
    from coalition_exit.survival.discrete import DiscreteFit, DiscreteHazard, RandomInterceptFit
    from coalition_exit.survival.episodes import episode_report
    from coalition_exit.survival.finegray import FineGray
    from coalition_exit.survival.fit import CoxFit
    from coalition_exit.survival.frailty import SharedFrailty
    from coalition_exit.survival.glm import BinaryFit, BinaryRegression
    from coalition_exit.survival.logrank import logrank_test
    from coalition_exit.survival.stset import stset
    from coalition_exit.survival.surv import Surv

__version__ = "0.1.0"

_HOME = {
    "BinaryFit": "survival.glm",
    "BinaryRegression": "survival.glm",
    "CoxFit": "survival.fit",
    "CoxPH": "survival.cox",
    "DiscreteFit": "survival.discrete",
    "DiscreteHazard": "survival.discrete",
    "FineGray": "survival.finegray",
    "RandomInterceptFit": "survival.discrete",
    "Record": "record.loading",
    "RunResult": "runner",
    "SharedFrailty": "survival.frailty",
    "Spec": "specs.loading",
    "Surv": "survival.surv",
    "build_panel": "panel.build",
    "episode_report": "survival.episodes",
    "kaplan_meier": "survival.curves",
    "load_record": "record.loading",
    "load_spec": "specs.loading",
    "logrank_test": "survival.logrank",
    "nelson_aalen": "survival.curves",
    "run_spec": "runner",
    "stset": "survival.stset",
}

__all__ = [
    "BinaryFit",
    "BinaryRegression",
    "CoxFit",
    "CoxPH",
    "DiscreteFit",
    "DiscreteHazard",
    "FineGray",
    "RandomInterceptFit",
    "Record",
    "RunResult",
    "SharedFrailty",
    "Spec",
    "Surv",
    "build_panel",
    "episode_report",
    "kaplan_meier",
    "load_record",
    "load_spec",
    "logrank_test",
    "nelson_aalen",
    "run_spec",
    "stset",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
