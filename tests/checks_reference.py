"""Reference fits and values shared by the tests of residuals, tests, influence and concordance."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from coalition_exit.survival import CoxFit, CoxPH
from coalition_exit.survival.cox.partial import PartialLikelihood
from coalition_exit.survival.cox.risksets import prepare_risk_sets
from coalition_exit.survival.cox.state import CoxState
from coalition_exit.survival.data.design import Design
from coalition_exit.survival.data.surv import Surv

REFERENCE = Path(__file__).parent / "reference"
MODELS = {
    spec["model"]: spec
    for spec in pd.read_csv(REFERENCE / "checks_models.csv", dtype=str, keep_default_na=False).to_dict("records")
}


@cache
def data_of(name: str) -> pd.DataFrame:
    return pd.read_csv(REFERENCE / "data" / f"{name}.csv", float_precision="round_trip")


@cache
def fitted(model: str) -> CoxFit:
    """The model as R fitted it; its cluster sandwich has no small-sample factor."""
    spec = MODELS[model]
    extra = {name: spec[name] for name in ("cluster", "weights", "offset") if spec[name]}
    return CoxPH(ties=spec["ties"], correction="none").fit(spec["formula"], data_of(spec["data"]), **extra)


def cluster_of(model: str) -> np.ndarray:
    return data_of(MODELS[model]["data"])[MODELS[model]["cluster"]].to_numpy()


@cache
def reference(name: str) -> pd.DataFrame:
    """Values that R made; a missing file fails and names the script."""
    path = REFERENCE / f"checks_{name}.csv"
    assert path.is_file(), f"{path.name} is missing: run Rscript tests/reference/make_checks.R"
    types = {"term": str, "other": str}
    missing = {"value": ["NA"]}
    return pd.read_csv(path, keep_default_na=False, na_values=missing, dtype=types, float_precision="round_trip")


def summary(values, labels=None) -> dict[str, float]:
    """What make_checks.R keeps of a column: some values by label and four sums over all of them."""
    values = np.asarray(values, dtype=float)
    n = len(values)
    labels = np.arange(1, n + 1) if labels is None else np.asarray(labels)
    kept = {str(labels[at]): values[at] for at in range(0, n, -(-n // 12))}
    position = (values * np.arange(1, n + 1)).sum() / n
    return kept | {
        "sum": values.sum(),
        "absolute": np.abs(values).sum(),
        "square": (values**2).sum(),
        "position": position,
    }


def assert_like_r(values, expected: pd.DataFrame, labels=None, rtol: float = 1e-10) -> None:
    """Compare a column with rows of a reference file; sums against the sum of the sizes of their parts."""
    mine = summary(values, labels)
    assert set(mine) == set(expected["other"])
    size = np.abs(np.asarray(values)).max()
    sizes = {"sum": size * len(values), "absolute": size * len(values), "position": size * len(values)}
    for other, value in zip(expected["other"], expected["value"], strict=True):
        scale = size**2 * len(values) if other == "square" else sizes.get(other, size)
        assert abs(mine[other] - value) <= rtol * scale, (other, mine[other], value)


def state_at(beta, surv: Surv, x, *, ties="efron", strata=None, weights=None, offset=None, cluster=None) -> CoxState:
    """A state at any coefficient vector, without fitting."""
    x, beta = np.asarray(x, dtype=float), np.asarray(beta, dtype=float)
    rs = prepare_risk_sets(surv, strata)
    center = x[rs.rows].mean(axis=0) if len(rs.rows) else np.zeros(x.shape[1])
    w = None if weights is None else weights[rs.rows]
    shift = None if offset is None else offset[rs.rows]
    likelihood = PartialLikelihood(rs, x[rs.rows] - center, w, shift, ties)
    at = likelihood.evaluate(beta)
    names = tuple(f"x{j}" for j in range(x.shape[1]))
    design = Design(
        surv=surv, x=x, names=names, strata=strata, id=None, n_subject=len(surv), cluster=cluster,
        n_cluster=None if cluster is None else int(cluster.max()) + 1, weights=weights, offset=offset,
    )  # fmt: skip
    return CoxState(design, rs, likelihood, at, center, beta, np.linalg.pinv(at.information))
