"""What a Cox fit remembers of its making, for everything that is computed after it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coalition_exit.errors import DataError
from coalition_exit.survival.cox.partial import Evaluation, PartialLikelihood
from coalition_exit.survival.cox.risksets import RiskSets
from coalition_exit.survival.data.design import Design
from coalition_exit.survival.data.surv import Floats, read_only


@dataclass(frozen=True, eq=False)
class CoxState:
    """Arrays behind a Cox fit: n rows in the data, m of them at risk at an event time.

    With tt() terms the n rows are those split at the event times; ``design.source`` leads back to the data.

    Attributes
    ----------
    design : Design
        All n rows: response, covariates (not centred), clusters, weights, offset, strata.
    risk_sets : RiskSets
        Index of the m rows at risk; ``risk_sets.rows`` are their positions among the n.
    likelihood : PartialLikelihood
        The m rows at risk with centred covariates. With exact ties it is an ``ExactLikelihood``, which
        refuses what has no meaning there (hazard increments, residuals) with a DataError.
    evaluation : Evaluation
        The likelihood at the estimate.
    center : ndarray, shape (p,)
        What was subtracted from the covariates.
    beta : ndarray, shape (p,)
    inverse : ndarray, shape (p, p)
        Inverse of the information at the estimate (of information plus penalty with a ridge).
    penalty : str
        "none", "firth" or "ridge".
    ridge : ndarray, shape (p,), or None
        Diagonal of the ridge penalty P in loglik - b' P b / 2.
    """

    design: Design
    risk_sets: RiskSets
    likelihood: PartialLikelihood
    evaluation: Evaluation
    center: Floats
    beta: Floats
    inverse: Floats
    penalty: str = "none"
    ridge: Floats | None = None

    def __post_init__(self) -> None:
        for name in ("center", "beta", "inverse"):
            object.__setattr__(self, name, read_only(getattr(self, name)))

    @property
    def linear_predictor(self) -> Floats:
        """Return x b + offset of every row of the data, covariates centred: shape (n,)."""
        eta = (self.design.x - self.center) @ self.beta
        return eta if self.design.offset is None else eta + self.design.offset

    def require_plain(self, what: str) -> None:
        """Refuse a penalized fit and exact ties, for computations that know neither.

        Raises
        ------
        DataError
            Names ``what`` was asked for.
        """
        if self.penalty != "none":
            raise DataError("penalty", f"a fit without penalty for {what}", repr(self.penalty))
        if self.likelihood.ties == "exact":
            raise DataError("ties", f"'breslow' or 'efron' for {what}", "'exact'")

    @property
    def weights(self) -> Floats:
        """Case weights of every row, ones if none were given: shape (n,)."""
        return np.ones(len(self.design.surv)) if self.design.weights is None else self.design.weights
