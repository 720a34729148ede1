"""What Newton's method and the search for monotone directions need of a log-likelihood."""

from __future__ import annotations

from typing import Protocol

from coalition_exit.survival.cox.partial import Evaluation
from coalition_exit.survival.cox.risksets import RiskSets
from coalition_exit.survival.data.surv import Floats


class Likelihood(Protocol):
    """A log-likelihood in p coefficients, m rows at risk."""

    x: Floats
    risk_sets: RiskSets
    ties: str

    @property
    def event_weight(self) -> Floats: ...

    @property
    def weights(self) -> Floats: ...

    @property
    def total_weight(self) -> float: ...

    def evaluate(self, beta: Floats) -> Evaluation: ...
