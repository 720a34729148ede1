"""Estimators on start-stop data; usable without the rest of the package."""

from coalition_exit.survival.cox import CoxPH
from coalition_exit.survival.curves import kaplan_meier, nelson_aalen, survival_curves
from coalition_exit.survival.discrete import DiscreteFit, DiscreteHazard, RandomInterceptFit
from coalition_exit.survival.episodes import episode_report
from coalition_exit.survival.finegray import FineGray
from coalition_exit.survival.fit import CoxFit, Fit
from coalition_exit.survival.frailty import SharedFrailty
from coalition_exit.survival.glm import BinaryFit, BinaryRegression
from coalition_exit.survival.logrank import logrank_test
from coalition_exit.survival.stset import stset
from coalition_exit.survival.surv import Surv

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
    "episode_report",
    "kaplan_meier",
    "logrank_test",
    "nelson_aalen",
    "stset",
    "survival_curves",
]
