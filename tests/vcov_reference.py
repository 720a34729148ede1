"""Reference values of make_vcov.R, the fits they belong to, and small random data."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from coalition_exit.survival import CoxPH
from coalition_exit.survival.cox.cox_fit import CoxFit
from coalition_exit.survival.cox.state import CoxState

REFERENCE = Path(__file__).parent / "reference"
MODELS = pd.read_csv(REFERENCE / "vcov_models.csv", keep_default_na=False).set_index("model")
VALUES = pd.read_csv(REFERENCE / "vcov_values.csv", keep_default_na=False, float_precision="round_trip")
WEIGHTS = pd.read_csv(REFERENCE / "vcov_weights.csv", float_precision="round_trip")
NAMES = list(MODELS.index)


def models_with(prefix: str) -> list[str]:
    """Models for which there are values of a kind."""
    found = VALUES[VALUES["quantity"].str.startswith(prefix)]["model"].unique()
    assert len(found), f"no values; run: Rscript tests/reference/make_vcov.R ({prefix})"
    return list(found)


def quantities(model: str, prefix: str) -> list[str]:
    """Names of the values of a kind that a model has."""
    chosen = VALUES[(VALUES["model"] == model) & VALUES["quantity"].str.startswith(prefix)]
    assert len(chosen), f"no values; run: Rscript tests/reference/make_vcov.R ({model}, {prefix})"
    return list(chosen["quantity"].unique())


def r_values(model: str, quantity: str) -> pd.DataFrame:
    """Values R gave; a missing one fails and names the command."""
    chosen = VALUES[(VALUES["model"] == model) & (VALUES["quantity"] == quantity)]
    assert len(chosen), f"no values; run: Rscript tests/reference/make_vcov.R ({model}, {quantity})"
    return chosen


def r_vector(model: str, quantity: str) -> np.ndarray:
    """A value a term, in the order of the fit's terms."""
    return r_values(model, quantity).set_index("term")["value"].loc[list(fit_of(model).terms)].to_numpy()


def r_matrix(model: str, quantity: str) -> np.ndarray:
    """A value a pair of terms, in the order of the fit's terms."""
    terms = list(fit_of(model).terms)
    wide = r_values(model, quantity).pivot_table(index="term", columns="other", values="value")
    return wide.loc[terms, terms].to_numpy()


@cache
def data_of(model: str) -> pd.DataFrame:
    """The data of a model, with every digit of the file."""
    return pd.read_csv(REFERENCE / "data" / f"{MODELS.loc[model, 'data']}.csv", float_precision="round_trip")


def clusters_of(model: str) -> np.ndarray:
    """Cluster labels, a row each."""
    return data_of(model)[MODELS.loc[model, "cluster"]].to_numpy()


@cache
def fit_of(model: str) -> CoxFit:
    """The fit R made too."""
    spec = MODELS.loc[model]
    options = {name: spec[name] or None for name in ("cluster", "weights", "offset", "id")}
    return CoxPH(ties=spec["ties"]).fit(spec["formula"], data_of(model), **options)


def state_of(model: str) -> CoxState:
    """The arrays behind `fit_of`."""
    state = fit_of(model).state
    assert state is not None
    return state


def assert_matrix(found: np.ndarray, expected: np.ndarray, rtol: float = 1e-8) -> None:
    """Compare matrices relative to the sizes of their rows and columns, so that small entries count too."""
    size = np.sqrt(np.abs(np.diag(expected)))
    np.testing.assert_allclose(found / np.outer(size, size), expected / np.outer(size, size), rtol=0, atol=rtol)


def random_data(seed: int, n: int = 60, p: int = 2, n_cluster: int = 7, last: int = 9) -> pd.DataFrame:
    """Made-up start-stop rows with ties, clusters, strata, weights and an offset."""
    rng = np.random.default_rng(seed)
    data = pd.DataFrame(rng.normal(size=(n, p)), columns=[f"x{j}" for j in range(p)])
    data["start"] = rng.integers(0, last - 3, n).astype(float)
    data["stop"] = data["start"] + rng.integers(1, 5, n)
    data["event"] = (rng.uniform(size=n) < 0.5).astype(int)
    data["g"] = np.arange(n) % n_cluster
    data["s"] = rng.integers(0, 2, n)
    data["w"] = rng.uniform(0.5, 2, n)
    data["o"] = 0.3 * rng.normal(size=n)
    return data
