"""CoxPH against R's coxph on the data sets that R's survival ships (tests/reference/make_reference.R)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from coalition_exit.survival import CoxPH

REFERENCE = Path(__file__).parents[1] / "reference"
MODELS = pd.read_csv(REFERENCE / "cox_models.csv", keep_default_na=False)
VALUES = pd.read_csv(REFERENCE / "cox_values.csv", keep_default_na=False, float_precision="round_trip")


def _values(model: str, quantity: str) -> pd.DataFrame:
    chosen = VALUES[(VALUES["model"] == model) & (VALUES["quantity"] == quantity)]
    assert len(chosen), f"no reference values; run: Rscript tests/reference/make_reference.R ({model}, {quantity})"
    return chosen


def _fit(row: pd.Series, correction: str = "none"):
    data = pd.read_csv(REFERENCE / "data" / f"{row['data']}.csv", float_precision="round_trip")
    options = {name: row[name] or None for name in ("cluster", "weights", "offset")}
    return CoxPH(ties=row["ties"], correction=correction).fit(row["formula"], data, **options), data


@pytest.mark.parametrize("row", [row for _, row in MODELS.iterrows()], ids=list(MODELS["model"]))
def test_equal_to_r(row: pd.Series) -> None:
    fit, _ = _fit(row)
    coef = _values(row["model"], "coef")
    assert list(fit.terms) == list(coef["term"])
    np.testing.assert_allclose(fit.coef, coef["value"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(fit.std_error, _values(row["model"], "std_error")["value"], rtol=1e-9)
    p = len(fit.terms)
    for quantity in ("vcov", "vcov_model"):
        expected = _values(row["model"], quantity)["value"].to_numpy().reshape(p, p)
        # Entries near 0 are compared on the scale of the standard errors.
        scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
        np.testing.assert_allclose(getattr(fit, quantity) / scale, expected / scale, rtol=1e-9, atol=1e-9)
    for quantity in ("loglik", "loglik_null"):
        np.testing.assert_allclose(getattr(fit, quantity), _values(row["model"], quantity)["value"].iloc[0], rtol=1e-12)
    assert fit.n_obs == _values(row["model"], "n_obs")["value"].iloc[0]
    assert fit.n_event == _values(row["model"], "n_event")["value"].iloc[0]


def test_six_public_data_sets_and_both_kinds_of_rows() -> None:
    assert MODELS["data"].nunique() >= 6
    assert (MODELS["cluster"] != "").sum() >= 6
    counting = MODELS["formula"].str.match(r"Surv\(\w+, \w+, \w+\)")
    assert counting.sum() >= 6
    assert set(MODELS["ties"]) == {"breslow", "efron"}


@pytest.mark.parametrize("name", ["heart_breslow", "cgd_breslow", "lung_efron"])
def test_statas_factor_is_g_over_g_minus_1(name: str) -> None:
    row = MODELS[MODELS["model"] == name].iloc[0]
    plain, _ = _fit(row)
    stata, data = _fit(row, "stata")
    g = data[row["cluster"]].nunique()
    assert stata.n_cluster == g
    np.testing.assert_allclose(stata.vcov, plain.vcov * g / (g - 1), rtol=1e-12)
    pd.testing.assert_frame_equal(stata.vcov_model, plain.vcov_model)
