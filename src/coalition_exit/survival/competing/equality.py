"""The test that effects are equal across causes, as a result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from coalition_exit.survival.shown import Shown


@dataclass(frozen=True, eq=False, repr=False)
class EqualityTest(Shown):
    """Test that coefficients are equal across causes.

    Attributes
    ----------
    terms : tuple of str
        Terms tested.
    statistic, p_value : float
        Joint Wald test, from the cluster sandwich across causes if there are clusters.
    df : int
    lr_statistic, lr_p_value : float
        Likelihood-ratio test (NaN with clusters or weights, for which it does not hold).
    by_term : DataFrame
        term, statistic, df, p_value: Wald tests one term at a time.
    """

    terms: tuple[str, ...]
    statistic: float
    df: int
    p_value: float
    lr_statistic: float
    lr_p_value: float
    by_term: pd.DataFrame

    @property
    def heading(self) -> str:
        """Both tests in one line."""
        ratio = "none with clusters or weights"
        if np.isfinite(self.lr_statistic):
            ratio = f"{self.lr_statistic:.4g}, p = {self.lr_p_value:.4g}"
        return (
            f"Equal effects across causes: Wald chi2({self.df}) = {self.statistic:.4g}, p = {self.p_value:.4g}; "
            f"likelihood ratio {ratio}"
        )

    @property
    def shown(self) -> pd.DataFrame:
        """Wald tests by term."""
        return self.by_term
