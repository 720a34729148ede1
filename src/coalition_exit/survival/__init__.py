"""Estimators on start-stop data; usable without the rest of the package."""

from coalition_exit.survival.cox import CoxPH
from coalition_exit.survival.fit import CoxFit
from coalition_exit.survival.surv import Surv

__all__ = ["CoxFit", "CoxPH", "Surv"]
