"""Show fits in maketables' tables: ``maketables.ETable([fit1, fit2])`` works as it is.

maketables is never imported: it looks for the attributes below (its plug-in protocol). It takes an
object that has ``params``, ``bse`` and ``pvalues`` for one of statsmodels first, so a fit that
shall be read through this mixin must not have all three.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import chdtrc

if TYPE_CHECKING:
    from collections.abc import Sequence

# maketables' own keys first, then the attributes of a fit they stand for.
_ATTRIBUTES: Mapping[str, str] = {
    "N": "n_obs",
    "subjects": "n_subject",
    "events": "n_event",
    "n_clusters": "n_cluster",
    "dropped": "n_dropped",
    "ll": "loglik",
    "llnull": "loglik_null",
}
_LABELS: Mapping[str, str] = {
    "N": "Observations",
    "subjects": "Subjects",
    "events": "Events",
    "n_clusters": "Clusters",
    "dropped": "Rows dropped",
    "ll": "Log-likelihood",
    "llnull": "Null log-likelihood",
    "llr": "LR chi2",
    "llr_df": "LR df",
    "llr_p": "LR p-value",
    "se_type": "S.E. type",
    "ties": "Ties",
    "estimator": "Model",
    "correction": "Small-sample correction",
    "strata": "Strata",
    "concordance": "Concordance",
}


class MaketablesMixin:
    """maketables' plug-in protocol for a fit with ``tidy()``, counts and log-likelihoods.

    The coefficient table has ``b``, ``se``, ``t`` (z), ``p``, ``ci95l``, ``ci95u`` and exp(b), the
    hazard ratio of a Cox model, as ``hr``, ``hr_se`` (delta method), ``hr_ci95l``, ``hr_ci95u``:
    ``ETable(fits, coef_fmt="hr:.2f* (hr_se:.2f)")``. Statistics are asked for by maketables' names
    (``N``, ``events``, ``n_clusters``, ``ll``, ...) or by the name of any attribute of the fit that
    is a number or a text.
    """

    # Stated for the type checker; a fit defines them.
    if TYPE_CHECKING:
        terms: Sequence[str]
        formula: str

        def tidy(self, exponentiate: bool = False, level: float = 0.95) -> pd.DataFrame: ...

    @property
    def __maketables_coef_table__(self) -> pd.DataFrame:
        """One row a term."""
        names = {"estimate": "b", "std_error": "se", "statistic": "t", "p_value": "p"}
        bounds = {"conf_low": "ci95l", "conf_high": "ci95u"}
        table = self.tidy().set_index("term").rename(columns={**names, **bounds})
        ratios = self.tidy(exponentiate=True).set_index("term")
        table["hr"], table["hr_se"] = ratios["estimate"], ratios["std_error"]
        table["hr_ci95l"], table["hr_ci95u"] = ratios["conf_low"], ratios["conf_high"]
        order = [*names.values(), *bounds.values(), "hr", "hr_se", "hr_ci95l", "hr_ci95u"]
        return table[order].rename_axis("Coefficient")

    def __maketables_stat__(self, key: str) -> Any:
        """Return a statistic, or None (shown as "-") if the fit has none of that name."""
        if key == "se_type":
            return self.__maketables_vcov_info__["vcov_type"]
        if key == "strata":
            return _strata(self.formula)
        if key in ("llr", "llr_df", "llr_p"):
            return self._likelihood_ratio(key)
        value = getattr(self, _ATTRIBUTES.get(key, key), None)
        if isinstance(value, (bool, np.bool_)):
            return str(bool(value))
        return value if isinstance(value, (int, float, str, np.integer, np.floating)) else None

    def _likelihood_ratio(self, key: str) -> float | int | None:
        # Observations that are dependent within clusters have no likelihood-ratio test.
        if getattr(self, "correction", None) is not None or getattr(self, "n_cluster", None) is not None:
            return None
        value = 2 * (float(getattr(self, "loglik", np.nan)) - float(getattr(self, "loglik_null", np.nan)))
        if not np.isfinite(value) or not len(self.terms):
            return None
        results = {"llr": value, "llr_df": len(self.terms), "llr_p": float(chdtrc(len(self.terms), value))}
        return results[key]

    @property
    def __maketables_depvar__(self) -> str:
        """The event column named in the formula."""
        inside = self.formula.partition("~")[0].strip()
        if not (inside.startswith("Surv") and inside.endswith(")")):
            return inside or "Event"
        return inside[:-1].rpartition("(")[2].rpartition(",")[2].strip(" `")

    @property
    def __maketables_fixef_string__(self) -> str | None:
        """None: strata have their own baselines, they are no fixed effects (statistic ``strata``)."""
        return None

    @property
    def __maketables_vcov_info__(self) -> dict[str, Any]:
        """Type of the standard errors: "model", or "cluster" with the small-sample convention."""
        correction = getattr(self, "correction", None)
        kind = "model" if correction is None else f"cluster ({correction})"
        found = getattr(self, "clusters", None)
        if found is not None and hasattr(found, "dimensions"):
            return {"vcov_type": found.label, "clustervar": " + ".join(found.dimensions)}
        return {"vcov_type": kind, "clustervar": getattr(self, "cluster_name", "") or None}

    @property
    def __maketables_var_labels__(self) -> dict[str, str] | None:
        """None: labels are given to the table."""
        return None

    @property
    def __maketables_stat_labels__(self) -> dict[str, str]:
        """Labels of the rows in the table's foot."""
        return dict(_LABELS)

    @property
    def __maketables_default_stat_keys__(self) -> list[str]:
        """Rows in the table's foot: observations, subjects, events, log-likelihood, clusters if any."""
        keys = ["N", "subjects", "events", "ll", "n_clusters"]
        return [key for key in keys if self.__maketables_stat__(key) is not None]


def _strata(formula: str) -> str | None:
    right = formula.partition("~")[2]
    parts = [piece.partition(")")[0] for piece in right.split("strata(")[1:]]
    return ", ".join(part.strip() for part in parts) or None
