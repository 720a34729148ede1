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
    from coalition_exit.survival.competing.competing import cause_specific
    from coalition_exit.survival.competing.finegray import FineGray
    from coalition_exit.survival.competing.incidence import cumulative_incidence, gray_test
    from coalition_exit.survival.cox.cox import CoxPH
    from coalition_exit.survival.cox.cox_fit import CoxFit
    from coalition_exit.survival.curves.curves import kaplan_meier, nelson_aalen
    from coalition_exit.survival.curves.logrank import logrank_test
    from coalition_exit.survival.data.episodes import episode_report
    from coalition_exit.survival.data.stset import stset
    from coalition_exit.survival.data.surv import Surv
    from coalition_exit.survival.discrete.discrete import DiscreteFit, DiscreteHazard, RandomInterceptFit
    from coalition_exit.survival.discrete.glm import BinaryFit, BinaryRegression
    from coalition_exit.survival.frailty.frailty import SharedFrailty

__version__ = "0.1.0"

_HOME = {
    "BinaryFit": "survival.discrete.glm",
    "BinaryRegression": "survival.discrete.glm",
    "CoxFit": "survival.cox.cox_fit",
    "CoxPH": "survival.cox.cox",
    "DiscreteFit": "survival.discrete.discrete",
    "DiscreteHazard": "survival.discrete.discrete",
    "FineGray": "survival.competing.finegray",
    "RandomInterceptFit": "survival.discrete.discrete",
    "Record": "record.loading",
    "RunResult": "runner",
    "SharedFrailty": "survival.frailty.frailty",
    "Spec": "specs.loading",
    "Surv": "survival.data.surv",
    "build_panel": "panel.build",
    "cause_specific": "survival.competing.competing",
    "cumulative_incidence": "survival.competing.incidence",
    "episode_report": "survival.data.episodes",
    "gray_test": "survival.competing.incidence",
    "kaplan_meier": "survival.curves.curves",
    "load_record": "record.loading",
    "load_spec": "specs.loading",
    "logrank_test": "survival.curves.logrank",
    "nelson_aalen": "survival.curves.curves",
    "run_spec": "runner",
    "stset": "survival.data.stset",
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
    "cause_specific",
    "cumulative_incidence",
    "episode_report",
    "gray_test",
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
