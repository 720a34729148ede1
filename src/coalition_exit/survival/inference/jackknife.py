"""The cluster jackknife: the model without each cluster in turn, and the covariance it gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from coalition_exit.errors import DataError, FitError
from coalition_exit.survival.cox.state import CoxState
from coalition_exit.survival.data.surv import Floats
from coalition_exit.survival.inference.reweighted import CONVERGED, reweighted_fits
from coalition_exit.survival.inference.vcov import check_name, check_variances, cluster_codes, require_maximum, t_table
from coalition_exit.survival.shown import Shown

JACKKNIFES = ("exact", "one_step")
CENTERS = {"estimate": "CV3", "mean": "CV3J"}
# The weights of the refits are a square matrix of clusters.
_MOST = 5_000


@dataclass(frozen=True, eq=False)
class Jackknife(Shown):
    """Coefficients with each cluster left out in turn.

    Attributes
    ----------
    terms : tuple of str
    estimate : shape (p,)
        With all clusters.
    coef : shape (G, p)
        Without each; NaN where there is none.
    labels : shape (G,)
        Names of the clusters.
    status : shape (G,), str
        "converged" or the reason why there is no estimate (see `reweighted.ReweightedFits`).
    kind : str
        "exact" or "one_step".

    References
    ----------
    Efron, B. and Stein, C. (1981), Annals of Statistics 9, 586-596; MacKinnon, J. G., Nielsen, M. O.
    and Webb, M. D. (2023), Journal of Applied Econometrics 38, 671-694 (the names CV3 and CV3J).
    """

    terms: tuple[str, ...]
    estimate: Floats
    coef: Floats
    labels: NDArray[np.generic]
    status: NDArray[np.str_]
    kind: str

    @property
    def heading(self) -> str:
        lost = ", ".join(f"{name} ({reason})" for name, reason in self.failures.items())
        without = f"; no estimate without {lost}" if lost else ""
        kind = "exact" if self.kind == "exact" else "one-step"
        return f"Jackknife over {len(self.coef)} clusters, {kind}, from the full estimate{without}"

    @property
    def shown(self) -> pd.DataFrame | None:
        return None if self.failures else self.tidy()

    @property
    def failures(self) -> dict[str, str]:
        """Clusters without which there is no estimate, and why."""
        bad = np.flatnonzero(self.status != CONVERGED)
        return {str(self.labels[g]): str(self.status[g]) for g in bad}

    @property
    def influence(self) -> pd.DataFrame:
        """Change of each coefficient when a cluster is left out, one row a cluster."""
        return pd.DataFrame(self.coef - self.estimate, index=pd.Index(self.labels), columns=list(self.terms))

    def vcov(self, center: str = "estimate") -> Floats:
        """(G - 1) / G times the sum of squared deviations of the leave-one-out coefficients.

        Parameters
        ----------
        center
            "estimate": from the estimate with all clusters, CV3. "mean": from their own mean, CV3J.

        Raises
        ------
        FitError
            "not_converged", naming the clusters, when there is no estimate without some of them.
        """
        check_name("center", center, tuple(CENTERS))
        if self.failures:
            named = ", ".join(f"{name} ({reason})" for name, reason in self.failures.items())
            raise FitError("not_converged", f"no jackknife: there is no estimate without cluster {named}")
        deviations = self.coef - (self.estimate if center == "estimate" else self.coef.mean(axis=0))
        count = len(self.coef)
        return np.asarray((count - 1) / count * deviations.T @ deviations)

    def tidy(self, center: str = "estimate", exponentiate: bool = False, level: float = 0.95) -> pd.DataFrame:
        """One row a term, with t on G - 1 degrees of freedom."""
        vcov = self.vcov(center)
        check_variances(vcov, self.terms)
        error = np.sqrt(np.diag(vcov))
        return t_table(self.terms, self.estimate, error, len(self.coef) - 1, level, exponentiate)


def jackknife(
    state: CoxState, *, clusters: ArrayLike | None = None, kind: str = "exact", max_iter: int = 60
) -> Jackknife:
    """Leave each cluster out in turn.

    Parameters
    ----------
    state
        A fitted model with Breslow or Efron ties.
    clusters
        One value a row of the data; the fit's own by default. Its values name the clusters.
    kind
        "exact" fits again without each cluster, all at once and from the full estimate; "one_step" is
        the infinitesimal jackknife, b - V U_g (R's dfbeta, summed in clusters).
    max_iter
        Evaluations of the likelihood allowed to each fit.

    Raises
    ------
    DataError
        Unknown names, other ties, a penalized fit, clusters that cannot be used.
    """
    check_name("kind", kind, JACKKNIFES)
    require_maximum(state)
    codes = cluster_codes(state, clusters)
    count = codes.n_cluster
    if kind == "one_step":
        score = state.likelihood.cluster_scores(state.evaluation, codes.codes[state.risk_sets.rows], count)
        coef, status = state.beta - score @ state.inverse, np.full(count, CONVERGED)
    else:
        if count > _MOST:
            raise DataError("cluster", f"at most {_MOST} clusters with kind 'exact' ('one_step' takes any)", str(count))
        fits = reweighted_fits(state, 1.0 - np.eye(count), codes.codes, max_iter=max_iter)
        coef, status = fits.coef, fits.status
    return Jackknife(state.design.names, state.beta.copy(), coef, codes.labels, status, kind)
