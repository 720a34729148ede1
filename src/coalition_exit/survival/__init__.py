"""Estimators on start-stop data; usable without the rest of the package."""

from coalition_exit.survival.competing.competing import cause_specific
from coalition_exit.survival.competing.finegray import FineGray
from coalition_exit.survival.competing.incidence import cumulative_incidence, gray_test
from coalition_exit.survival.cox.cox import CoxPH
from coalition_exit.survival.curves.curves import kaplan_meier, nelson_aalen, survival_curves
from coalition_exit.survival.curves.logrank import logrank_test
from coalition_exit.survival.data.episodes import episode_report
from coalition_exit.survival.data.stset import stset
from coalition_exit.survival.data.surv import Surv
from coalition_exit.survival.discrete.discrete import DiscreteFit, DiscreteHazard, RandomInterceptFit
from coalition_exit.survival.discrete.glm import BinaryFit, BinaryRegression
from coalition_exit.survival.fit import CoxFit, Fit
from coalition_exit.survival.frailty.frailty import SharedFrailty

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
