"""How far a finding can be trusted: compensation, disputed codings, influence. Names are loaded when first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coalition_exit.robustness.buyout import BoughtOff, bought_off
    from coalition_exit.robustness.evalue import EValue, e_value, e_values
    from coalition_exit.robustness.left_out import LeftOut, leave_out
    from coalition_exit.robustness.overturning import Overturning, overturning_shares
    from coalition_exit.robustness.problem import Model, Problem
    from coalition_exit.robustness.recoding import Recoding, smallest_recoding
    from coalition_exit.robustness.simulation import CompensationSimulation, simulate_compensation, simulated_covariates
    from coalition_exit.robustness.uncertainty import CodingUncertainty, coding_uncertainty

_HOME = {
    "BoughtOff": "buyout",
    "CodingUncertainty": "uncertainty",
    "CompensationSimulation": "simulation",
    "EValue": "evalue",
    "LeftOut": "left_out",
    "Model": "problem",
    "Overturning": "overturning",
    "Problem": "problem",
    "Recoding": "recoding",
    "bought_off": "buyout",
    "coding_uncertainty": "uncertainty",
    "e_value": "evalue",
    "e_values": "evalue",
    "leave_out": "left_out",
    "overturning_shares": "overturning",
    "simulate_compensation": "simulation",
    "simulated_covariates": "simulation",
    "smallest_recoding": "recoding",
}

__all__ = [
    "BoughtOff",
    "CodingUncertainty",
    "CompensationSimulation",
    "EValue",
    "LeftOut",
    "Model",
    "Overturning",
    "Problem",
    "Recoding",
    "bought_off",
    "coding_uncertainty",
    "e_value",
    "e_values",
    "leave_out",
    "overturning_shares",
    "simulate_compensation",
    "simulated_covariates",
    "smallest_recoding",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
