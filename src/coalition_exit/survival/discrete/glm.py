"""Binary-outcome regressions: logit, complementary log-log, probit; Firth's logit; cluster-robust errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from coalition_exit.errors import DataError, nearest, one_of
from coalition_exit.survival.data.design import Design, build_design
from coalition_exit.survival.data.dropped import missing_by_column
from coalition_exit.survival.data.surv import Floats, Integers
from coalition_exit.survival.discrete.glm_fit import CONSTANT, BinaryFit
from coalition_exit.survival.discrete.glm_links import get_link
from coalition_exit.survival.discrete.glm_solver import BinaryData, BinarySolution, maximize_binary, sum_by_code
from coalition_exit.survival.inference.vcov import CORRECTIONS, cluster_sandwich, correction_factor

__all__ = ["BinaryFit", "BinaryRegression", "check_binary_options", "estimate_binary"]

INFORMATION = ("observed", "expected")


@dataclass(frozen=True, eq=False)
class BinaryEstimate:
    """A maximum with its two covariance matrices.

    Attributes
    ----------
    solution : BinarySolution
    covariance, model_covariance : ndarray, shape (p, p)
    n_cluster : int or None
    clusters : ndarray of int or None
        Recoded without gaps.
    """

    solution: BinarySolution
    covariance: Floats
    model_covariance: Floats
    n_cluster: int | None
    clusters: Integers | None


def estimate_binary(
    data: BinaryData,
    names: Sequence[str],
    clusters: Integers | None = None,
    *,
    correction: str = "stata",
    information: str = "observed",
    firth: bool = False,
    max_iter: int = 100,
    tolerance: float = 1e-14,
) -> BinaryEstimate:
    """Maximize a binary likelihood and form its covariance matrices.

    The cluster sandwich is c H^-1 (sum_g u_g u_g') H^-1 with u_g the scores summed in cluster g, H the
    information named, and c = G / (G - 1) ("stata": ``vce(cluster)`` of Stata's ``logit``,
    ``probit``, ``cloglog``, which has no (N - 1) / (N - k); R's ``vcovCL(type = "HC0")``) or 1 ("none":
    ``vcovCL(type = "HC0", cadjust = FALSE)``). Under Firth's penalty the scores are the penalized ones.

    Raises
    ------
    DataError
        One cluster.
    FitError
        As `maximize_binary`.
    """
    n_cluster, codes, factor = None, None, 1.0
    if clusters is not None:
        labels, inverse = np.unique(clusters, return_inverse=True)
        codes, n_cluster = inverse.reshape(-1).astype(np.int64), len(labels)
        factor = correction_factor(correction, n_cluster)
    solution = maximize_binary(data, names, firth, max_iter, tolerance)
    model = solution.observed if information == "observed" else solution.expected
    covariance = model.copy()
    if codes is not None and n_cluster is not None:
        summed = sum_by_code(data.x, solution.row_score, codes, n_cluster)
        covariance = cluster_sandwich(model, summed, factor)
    return BinaryEstimate(solution, covariance, model.copy(), n_cluster, codes)


def check_binary_options(link: str, correction: str, information: str, firth: bool) -> None:
    """Refuse unknown options.

    Raises
    ------
    DataError
        Names the option and the nearest valid value.
    """
    get_link(link)
    for name, value, valid in (("correction", correction, CORRECTIONS), ("information", information, INFORMATION)):
        if value not in valid:
            raise DataError(name, one_of(valid), repr(value), nearest(str(value), valid))
    if firth and link != "logit":
        raise DataError("firth", "link 'logit', the one Firth's penalty is implemented for", repr(link))


@dataclass(frozen=True)
class BinaryRegression:
    """Logit, probit or complementary log-log regression of a 0/1 column.

    Parameters
    ----------
    link
        "logit", "probit" or "cloglog".
    correction
        Small-sample factor of the cluster sandwich: "stata" (G / (G - 1)) or "none".
    information
        "observed" (Stata's ``vce(oim)`` and the bread of its sandwich) or "expected" (R's ``glm``,
        hence ``sandwich::vcovCL``). They differ for probit and cloglog.
    firth
        Firth's penalized likelihood (logit only): finite estimates under separation.
    max_iter, tolerance
        Of Newton's method; it stops when the log-likelihood can rise by no more than
        ``tolerance`` of itself.

    Raises
    ------
    DataError
        On unknown options.
    """

    link: str = "logit"
    correction: str = "stata"
    information: str = "observed"
    firth: bool = False
    max_iter: int = 100
    tolerance: float = 1e-14

    def __post_init__(self) -> None:
        check_binary_options(self.link, self.correction, self.information, self.firth)

    def fit(
        self,
        formula: str,
        data: pd.DataFrame,
        *,
        cluster: str | ArrayLike | None = None,
        weights: str | ArrayLike | None = None,
        offset: str | ArrayLike | None = None,
        missing: str = "error",
    ) -> BinaryFit:
        """Fit the model.

        Parameters
        ----------
        formula
            ``"outcome ~ a + b"``; the right side as in `CoxPH`, without strata. The constant is
            added and comes last, as ``_cons``.
        data
            One row per observation. Never changed.
        cluster, weights, offset, missing
            As in `CoxPH`.

        Returns
        -------
        BinaryFit

        Raises
        ------
        DataError
            The data cannot be used; names the column and row.
        FitError
            "no_events", "no_variation", "collinear", "separation" or "not_converged".
        """
        design = _binary_design(formula, data, cluster=cluster, weights=weights, offset=offset, missing=missing)
        terms = (*design.names, CONSTANT)
        x = np.column_stack([design.x, np.ones(len(design.surv))])
        rows = BinaryData(x, design.surv.event, design.weights, design.offset, get_link(self.link))
        found = estimate_binary(
            rows, terms, design.cluster, correction=self.correction, information=self.information,
            firth=self.firth, max_iter=self.max_iter, tolerance=self.tolerance,
        )  # fmt: skip
        reasons: tuple[tuple[str, int], ...] = ()
        if design.n_dropped:
            beside = {"cluster": cluster, "weights": weights, "offset": offset}
            reasons = missing_by_column(_as_survival(formula), data, beside)
        return BinaryFit(
            terms=terms,
            beta=found.solution.beta,
            covariance=found.covariance,
            model_covariance=found.model_covariance,
            loglik=found.solution.loglik,
            loglik_null=found.solution.loglik_null,
            n_obs=len(rows.y),
            n_subject=len(rows.y),
            n_event=int(rows.y.sum()),
            n_cluster=found.n_cluster,
            n_dropped=design.n_dropped,
            dropped=reasons,
            correction=self.correction if found.n_cluster else None,
            n_iter=found.solution.iterations,
            formula=formula,
            estimator=self.link + ("_firth" if self.firth else ""),
            link=self.link,
            information=self.information,
            firth=self.firth,
            rows=rows,
            clusters=found.clusters,
            cluster_name=cluster if isinstance(cluster, str) else "",
        )


def _binary_design(formula: str, data: pd.DataFrame, **columns: Any) -> Design:
    """Read "y ~ a + b" with the checks of survival formulas: y as the event of rows of equal length."""
    left, tilde, right = formula.partition("~")
    outcome = left.strip().strip("`")
    if not tilde or not outcome or outcome.startswith("Surv"):
        hint = "For Surv(...) use DiscreteHazard or CoxPH" if outcome.startswith("Surv") else ""
        raise DataError("formula", "'outcome ~ a + b'", repr(formula), hint)
    if outcome not in data.columns:
        names = [str(c) for c in data.columns]
        raise DataError("formula, outcome", one_of(names), repr(outcome), nearest(outcome, names))
    _check_outcome(data[outcome], outcome)
    time = "_time"
    while time in data.columns:
        time += "_"
    design = build_design(f"Surv({time}, {outcome}) ~ {right}", data.assign(**{time: 1.0}), **columns)
    if design.strata is not None:
        raise DataError("formula", "no strata in a binary regression", repr(formula), "Use C(x) for a factor")
    if CONSTANT in design.names:
        raise DataError("formula", f"no term named {CONSTANT!r}: the constant is added", repr(formula))
    return design


def _as_survival(formula: str) -> str:
    """Return the formula with its outcome as an event, for functions that read survival formulas."""
    left, _, right = formula.partition("~")
    return f"Surv({left.strip()}, {left.strip()}) ~ {right}"


def _check_outcome(column: pd.Series, name: str) -> None:
    known = column.dropna()
    try:
        codes = known.to_numpy(dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"outcome {name!r}", "0 or 1", f"values of type {column.dtype}") from None
    bad = ~np.isin(codes, (0.0, 1.0))
    if bad.any():
        row = int(np.flatnonzero(column.notna().to_numpy())[np.argmax(bad)])
        raise DataError(f"outcome {name!r}, row {row}", "0 or 1", str(codes[np.argmax(bad)]))
