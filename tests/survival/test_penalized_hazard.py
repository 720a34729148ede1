"""Hazard and survival after a ridge and after Firth's penalty: R's curves, and a slow delta method."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from coalition_exit.survival import CoxPH
from coalition_exit.survival.quantities.predict import cumulative_hazard
from coverage_reference import data_of, read_values

HEART = "Surv(start, stop, event) ~ age + year + surgery + transplant"
LUNG = "Surv(time, event) ~ age + sex + ph_ecog"
RIDGES = {
    "ridge_heart": (
        CoxPH(ridge=5, ridge_scale=False), "heart", HEART, {"age": 3, "year": 2, "surgery": 0, "transplant": 1}
    ),
    "ridge_lung": (CoxPH(ties="efron", ridge=20), "lung", LUNG, {"age": 60, "sex": 1, "ph_ecog": 2}),
}  # fmt: skip


def values(model: str, quantity: str) -> pd.DataFrame:
    table = read_values("coverage_values")
    return table[(table["model"] == model) & (table["quantity"] == quantity)]


@pytest.mark.parametrize("name", RIDGES)
def test_ridge_equals_r(name: str) -> None:
    model, data, formula, at = RIDGES[name]
    fit = model.fit(formula, data_of(data))
    np.testing.assert_allclose(fit.beta, values(name, "coef")["value"], rtol=1e-8)
    # R's means are 0 for covariates coded 0 and 1.
    means = fit.baseline("r").at.to_dict()
    for what, point in (("survival", at), ("mean", means)):
        own = cumulative_hazard(fit.scenarios(pd.DataFrame([point])), conf_type="plain").table.set_index("time")
        hazard, error = values(name, f"{what}_hazard"), values(name, f"{what}_error")
        at_times = own.loc[hazard["other"].astype(float)]
        np.testing.assert_allclose(at_times["estimate"], hazard["value"], rtol=1e-8)
        np.testing.assert_allclose(at_times["std_error"], error["value"], rtol=1e-7)
        table = fit.baseline(point).table.set_index("time").loc[hazard["other"].astype(float)]
        np.testing.assert_allclose(table["cumulative_hazard"], hazard["value"], rtol=1e-8)
        np.testing.assert_allclose(table["std_error"], error["value"], rtol=1e-7)


def slow_hazard(
    beta: np.ndarray, data: pd.DataFrame, names: list[str], at: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Breslow's cumulative hazard and the variance of its jumps at given coefficients, with plain loops."""
    x, hazard, variance = data[names].to_numpy() - at, [], []
    total = spread = 0.0
    for time in np.unique(data["stop"][data["event"] == 1]):
        at_risk = (data["start"] < time) & (data["stop"] >= time)
        died = int(((data["stop"] == time) & (data["event"] == 1)).sum())
        denominator = np.exp(x[at_risk] @ beta).sum()
        total += died / denominator
        spread += died / denominator**2
        hazard.append(total)
        variance.append(spread)
    return np.array(hazard), np.array(variance)


def test_firth_is_the_hazard_at_the_penalized_estimate_with_delta_errors() -> None:
    data = data_of("heart")
    fit = CoxPH(penalty="firth").fit(HEART, data)
    at = np.array([2.0, 3.0, 0.0, 1.0])
    table = fit.baseline(dict(zip(fit.terms, at, strict=True))).table
    hazard, variance = slow_hazard(fit.beta, data, list(fit.terms), at)
    np.testing.assert_allclose(table["cumulative_hazard"], hazard, rtol=1e-12)
    step, gradient = 1e-6, []
    for j in range(4):
        move = step * np.eye(4)[j]
        up, down = (slow_hazard(fit.beta + sign * move, data, list(fit.terms), at)[0] for sign in (1, -1))
        gradient.append((up - down) / (2 * step))
    slope = np.array(gradient).T
    error = np.sqrt(variance + np.einsum("ij,jk,ik->i", slope, fit.vcov_model.to_numpy(), slope))
    np.testing.assert_allclose(table["std_error"], error, rtol=1e-7)
