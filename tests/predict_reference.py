"""Reference values of make_predict.R, the fits they belong to, and slow ways to the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from coalition_exit.survival import CoxPH
from coalition_exit.survival.cox.cox_fit import CoxFit
from coalition_exit.survival.cox.state import CoxState
from coalition_exit.survival.quantities.scenarios import Scenarios, fixed_scenarios

REFERENCE = Path(__file__).parent / "reference"
MODELS = pd.read_csv(REFERENCE / "predict_models.csv", keep_default_na=False).set_index("model")
VALUES = pd.read_csv(REFERENCE / "predict_values.csv", keep_default_na=False, dtype=str)
VALUES["value"] = VALUES["value"].replace("NA", "nan").astype(float)
NAMES = list(MODELS.index)


def r_values(model: str, quantity: str, term: str | None = None) -> pd.DataFrame:
    """Values R gave; a missing one fails and names the command."""
    chosen = VALUES[(VALUES["model"] == model) & (VALUES["quantity"] == quantity)]
    chosen = chosen if term is None else chosen[chosen["term"] == term]
    assert len(chosen), f"no values; run: Rscript tests/reference/make_predict.R ({model}, {quantity}, {term})"
    return chosen


def data_of(name: str) -> pd.DataFrame:
    """A data set, with every digit of the file."""
    return pd.read_csv(REFERENCE / "data" / f"{name}.csv", float_precision="round_trip")


@cache
def fit_of(model: str) -> CoxFit:
    """The fit R made too; without R's small-sample factor, of which it has none."""
    spec = MODELS.loc[model]
    options = {name: spec[name] or None for name in ("cluster", "weights", "offset")}
    fit = CoxPH(ties=spec["ties"], correction="none").fit(spec["formula"], data_of(spec["data"]), **options)
    assert fit.state is not None
    return fit


def state_of(model: str) -> CoxState:
    """The arrays behind `fit_of`."""
    state = fit_of(model).state
    assert state is not None
    return state


def labels_of(model: str) -> list[str] | None:
    """Names of the strata in the order of their codes."""
    _, found, column = MODELS.loc[model, "formula"].partition("strata(")
    return [str(v) for v in pd.factorize(data_of(MODELS.loc[model, "data"])[column[:-1]])[1]] if found else None


def newdata_of(model: str) -> pd.DataFrame:
    """The two scenarios of a model."""
    rows = [dict(pair.split("=") for pair in row.split(";")) for row in MODELS.loc[model, "scenarios"].split("|")]
    return pd.DataFrame(rows).astype(float)


def scenarios_of(model: str, **options: object) -> Scenarios:
    """The scenarios as R predicts them: with the covariance the fit reports."""
    offset = [0.3, -0.1] if MODELS.loc[model, "offset"] else 0.0
    settings: dict[str, object] = {
        "vcov": fit_of(model).covariance,
        "offset": offset,
        "strata_labels": labels_of(model),
    }
    return fixed_scenarios(state_of(model), newdata_of(model), **(settings | options))  # type: ignore[arg-type]


def single(scenarios: Scenarios, place: int) -> tuple[str, Scenarios]:
    """One scenario of several and the name it has in the reference values."""
    item = scenarios.items[place]
    name = f"{item.label}/{item.stratum}" if scenarios.stratified else f"{item.label}/"
    return name, Scenarios(scenarios.jumps, (item,), False)


def slow_jumps(state: CoxState, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Jumps of the hazard at covariates 0 and offset 0, and their variance, by loops over event times."""
    design, ties = state.design, state.likelihood.ties
    surv, strata = design.surv, np.zeros(len(design.surv)) if design.strata is None else design.strata
    offset = 0.0 if design.offset is None else design.offset
    weighted = state.weights * np.exp(design.x @ beta + offset)
    jumps, variances = [], []
    for time, stratum in zip(state.risk_sets.times, state.risk_sets.stratum, strict=True):
        here = (surv.start < time) & (surv.stop >= time) & (strata == stratum)
        died = here & surv.event & (surv.stop == time) & (state.weights > 0)
        total, tied, deaths = weighted[here].sum(), weighted[died].sum(), state.weights[died].sum()
        steps = int(died.sum()) if ties == "efron" else 1
        left = [total - (step / steps) * tied if ties == "efron" else total for step in range(steps)]
        jumps.append(sum(deaths / steps / part for part in left))
        variances.append(sum(deaths / steps / part**2 for part in left))
    return np.array(jumps), np.array(variances)


def slow_error(
    state: CoxState, vcov: np.ndarray, value: Callable[[np.ndarray, np.ndarray], float], factor: float = 1e-4
) -> float:
    """Standard error of ``value(beta, jumps)`` by numerical derivatives: to the coefficients (which move the jumps
    too) and to each jump."""
    beta = state.beta
    jumps, variances = slow_jumps(state, beta)

    def slope(move: Callable[[float], float], size: float) -> float:
        # Two central differences, extrapolated to steps of length 0.
        wide = (move(size) - move(-size)) / (2 * size)
        narrow = (move(size / 2) - move(-size / 2)) / size
        return (4 * narrow - wide) / 3

    gradient = np.zeros(len(beta))
    for j, direction in enumerate(np.eye(len(beta))):
        size = factor / max(1.0, float(np.abs(state.design.x[:, j]).max()))
        moved = lambda s, d=direction: value(beta + s * d, slow_jumps(state, beta + s * d)[0])  # noqa: E731
        gradient[j] = slope(moved, size)
    own = 0.0
    for k, direction in enumerate(np.eye(len(jumps))):
        moved = lambda s, d=direction: value(beta, jumps + s * d)  # noqa: E731
        own += slope(moved, 1e-3 * jumps[k]) ** 2 * variances[k]
    return float(np.sqrt(gradient @ vcov @ gradient + own))


def times_of(values: pd.DataFrame) -> np.ndarray:
    return values["other"].astype(float).to_numpy()
