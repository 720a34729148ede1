"""Estimators on start-stop data; usable without the rest of the package. Names are loaded when first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coalition_exit.survival.competing.competing import cause_specific
    from coalition_exit.survival.competing.finegray import FineGray
    from coalition_exit.survival.competing.incidence import cumulative_incidence, gray_test
    from coalition_exit.survival.cox.cox import CoxPH
    from coalition_exit.survival.cox.cox_fit import CoxFit
    from coalition_exit.survival.curves.curves import kaplan_meier, nelson_aalen, survival_curves
    from coalition_exit.survival.curves.logrank import logrank_test
    from coalition_exit.survival.data.episodes import episode_report
    from coalition_exit.survival.data.stset import stset
    from coalition_exit.survival.data.surv import Surv
    from coalition_exit.survival.discrete.discrete import DiscreteFit, DiscreteHazard, RandomInterceptFit
    from coalition_exit.survival.discrete.glm import BinaryFit, BinaryRegression
    from coalition_exit.survival.fit import Fit
    from coalition_exit.survival.frailty.frailty import SharedFrailty

_HOME = {
    "BinaryFit": "discrete.glm",
    "BinaryRegression": "discrete.glm",
    "CoxFit": "cox.cox_fit",
    "CoxPH": "cox.cox",
    "DiscreteFit": "discrete.discrete",
    "DiscreteHazard": "discrete.discrete",
    "FineGray": "competing.finegray",
    "Fit": "fit",
    "RandomInterceptFit": "discrete.discrete",
    "SharedFrailty": "frailty.frailty",
    "Surv": "data.surv",
    "cause_specific": "competing.competing",
    "cumulative_incidence": "competing.incidence",
    "episode_report": "data.episodes",
    "gray_test": "competing.incidence",
    "kaplan_meier": "curves.curves",
    "logrank_test": "curves.logrank",
    "nelson_aalen": "curves.curves",
    "stset": "data.stset",
    "survival_curves": "curves.curves",
}

__all__ = [
    "BinaryFit",
    "BinaryRegression",
    "CoxFit",
    "CoxPH",
    "DiscreteFit",
    "DiscreteHazard",
    "FineGray",
    "Fit",
    "RandomInterceptFit",
    "SharedFrailty",
    "Surv",
    "cause_specific",
    "cumulative_incidence",
    "episode_report",
    "gray_test",
    "kaplan_meier",
    "logrank_test",
    "nelson_aalen",
    "stset",
    "survival_curves",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
