"""Predictions for rows: against R's predict.coxph, and slow ways where R's errors are not the delta method's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from coalition_exit.errors import DataError
from coalition_exit.survival import CoxPH, Surv
from coalition_exit.survival.quantities.predict import cumulative_hazard
from coalition_exit.survival.quantities.rowwise import predict_rows
from coalition_exit.survival.quantities.scenarios import fixed_scenarios
from predict_reference import MODELS, NAMES, data_of, fit_of, newdata_of, r_values, slow_error, state_of

RTOL = 1e-10
RIGHT = [name for name in NAMES if "start" not in MODELS.loc[name, "formula"]]


def _rows(model: str, kind: str, **options: object) -> pd.DataFrame:
    return predict_rows(state_of(model), kind, vcov=fit_of(model).covariance, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("model", NAMES)
@pytest.mark.parametrize("reference", ["zero", "sample", "strata"])
def test_linear_predictor_and_risk_equal_predict_coxph(model: str, reference: str) -> None:
    expected = r_values(model, f"lp_{reference}")
    rows = expected["term"].astype(int)
    found = _rows(model, "lp", reference=reference).loc[rows]
    offset = state_of(model).design.offset
    # R takes the offset's mean off for reference = "zero" too.
    shift = 0.0 if offset is None or reference != "zero" else offset.mean()
    np.testing.assert_allclose(found["estimate"] - shift, expected["value"], rtol=RTOL, atol=1e-13)
    errors = r_values(model, f"lp_{reference}_se")["value"].to_numpy()
    np.testing.assert_allclose(found["std_error"], errors, rtol=RTOL)
    risk = _rows(model, "risk", reference=reference).loc[rows]
    r_risk = r_values(model, f"risk_{reference}")["value"].to_numpy()
    np.testing.assert_allclose(risk["estimate"] / np.exp(shift), r_risk, rtol=RTOL)
    # R's error of the risk is se * sqrt(risk); the delta method's is se * risk.
    np.testing.assert_allclose(r_values(model, f"risk_{reference}_se")["value"], errors * np.sqrt(r_risk), rtol=1e-12)
    np.testing.assert_allclose(risk["std_error"], errors * risk["estimate"], rtol=RTOL)
    np.testing.assert_allclose(risk["conf_high"], np.exp(found["conf_high"]), rtol=1e-12)


@pytest.mark.parametrize("model", NAMES)
@pytest.mark.parametrize("kind", ["expected", "survival"])
def test_expected_events_and_survival_equal_predict_coxph(model: str, kind: str) -> None:
    expected = r_values(model, kind)
    rows = expected["term"].astype(int).to_numpy()
    found = _rows(model, kind).loc[rows]
    if not MODELS.loc[model, "offset"]:
        # R adds the offset of new rows to exp(x b), not to x b.
        np.testing.assert_allclose(found["estimate"], expected["value"], rtol=RTOL, atol=1e-14)
    # For the model's own rows R gives events less martingale residuals: under Efron ties a row with an event is
    # at risk for part of its own event time only.
    own = r_values(model, f"{kind}_own")["value"].to_numpy()
    tied = state_of(model).design.surv.event[rows] & (MODELS.loc[model, "ties"] == "efron")
    np.testing.assert_allclose(found["estimate"][~tied], own[~tied], rtol=RTOL, atol=1e-14)
    errors = r_values(model, f"{kind}_se")["value"]
    if model in RIGHT:
        factor = 1.0 if kind == "expected" else own / found["estimate"]
        np.testing.assert_allclose(found["std_error"] * factor, errors, rtol=RTOL)


@pytest.mark.parametrize("model", ["heart_breslow", "heart_efron", "cgd_breslow", "pbcseq_efron"])
def test_errors_of_rows_that_start_late(model: str) -> None:
    state, vcov = state_of(model), fit_of(model).covariance
    surv, times = state.design.surv, state.risk_sets.times
    expected = r_values(model, "expected_se")
    rows = expected["term"].astype(int).to_numpy()
    rows = rows[(surv.start[rows] > times[0]) & (np.searchsorted(times, surv.stop[rows], "right") > 0)]
    assert len(rows)
    found = _rows(model, "expected").loc[rows]
    for row, got in zip(rows, found.itertuples(), strict=True):
        x, low, high = state.design.x[row], surv.start[row], surv.stop[row]
        new = pd.DataFrame([x], columns=list(state.design.names))
        scenario = fixed_scenarios(state, new, vcov=vcov)
        errors = cumulative_hazard(scenario, [low, high]).table["std_error"]
        # R: the variance up to stop less the variance up to start.
        difference = np.sqrt(errors[1] ** 2 - errors[0] ** 2)
        r_error = expected.set_index("term").loc[str(row), "value"]
        np.testing.assert_allclose(difference, r_error, rtol=1e-6)

        def events(beta: np.ndarray, jumps: np.ndarray, x=x, low=low, high=high) -> float:
            return float(np.exp(x @ beta) * jumps[(times > low) & (times <= high)].sum())

        # Numerical derivatives keep some nine digits.
        np.testing.assert_allclose(got.std_error, slow_error(state, vcov, events), rtol=1e-7)


@pytest.mark.parametrize("model", [name for name in NAMES if MODELS.loc[name, "ties"] == "breslow"])
def test_expected_events_sum_to_events(model: str) -> None:
    state = state_of(model)
    expected = _rows(model, "expected")["estimate"]
    events = state.weights[state.design.surv.event].sum()
    np.testing.assert_allclose(state.weights @ expected, events, rtol=1e-9)
    assert (_rows(model, "survival")["estimate"] <= 1).all()


@pytest.mark.parametrize("model", [name for name in NAMES if not MODELS.loc[name, "offset"]])
def test_new_rows(model: str) -> None:
    state, new = state_of(model), newdata_of(model)
    strata = None if state.design.strata is None else list(state.design.strata_labels[:2])
    found = _rows(model, "lp", newdata=new, strata=strata)
    np.testing.assert_allclose(found["estimate"], r_values(model, "new_lp")["value"], rtol=RTOL)
    np.testing.assert_allclose(found["std_error"], r_values(model, "new_lp_se")["value"], rtol=RTOL)
    stop = float(np.median(state.design.surv.stop))
    surv = Surv([0.0, 0.0], [stop, stop], [0, 1])
    expected = _rows(model, "expected", newdata=new, surv=surv, strata=strata)
    scenarios = fixed_scenarios(state, new, strata=strata, vcov=fit_of(model).covariance)
    curves = cumulative_hazard(scenarios, [stop]).table
    np.testing.assert_allclose(expected["estimate"], curves["estimate"], rtol=1e-11)
    np.testing.assert_allclose(expected["std_error"], curves["std_error"], rtol=1e-11)
    np.testing.assert_allclose(expected["conf_low"], curves["conf_low"], rtol=1e-11)


def test_own_rows_as_new_rows() -> None:
    d, state = data_of("lung"), state_of("lung_offset")
    for kind in ("lp", "risk", "expected", "survival"):
        for reference in ("zero", "mean", "sample"):
            surv = Surv(d["time"], d["event"])
            own = predict_rows(state, kind, reference=reference)
            new = predict_rows(state, kind, reference=reference, newdata=d, surv=surv, offset=d["shift"])
            pd.testing.assert_frame_equal(own, new, rtol=1e-12)


def test_rows_bear_the_labels_of_the_data() -> None:
    d = data_of("lung").set_index(pd.Index([f"p{i}" for i in range(len(data_of("lung")))]))
    d.loc["p3", "age"] = np.nan
    fit = CoxPH().fit("Surv(time, event) ~ age + sex", d, missing="drop")
    found = fit.predict("lp")
    assert list(found.index) == list(d.index.drop("p3"))
    np.testing.assert_allclose(found.loc["p7", "estimate"], d.loc["p7", ["age", "sex"]].to_numpy(float) @ fit.beta)


def test_mean_reference_with_weights() -> None:
    state = state_of("lung_weighted")
    found = predict_rows(state, "lp", reference="mean")
    np.testing.assert_allclose(state.weights @ found["estimate"], 0.0, atol=1e-10)


def test_rows_with_nothing_expected() -> None:
    d = pd.DataFrame({"time": [1.0, 2, 3, 4, 5], "event": [0, 1, 1, 0, 1], "x": [0.0, 1, 0, 1, 0]})
    state = CoxPH().fit("Surv(time, event) ~ x", d).state
    expected, survived = (predict_rows(state, kind).iloc[0] for kind in ("expected", "survival"))
    assert list(expected) == [0.0] * 4
    assert list(survived) == [1.0, 0.0, 1.0, 1.0]


def test_bad_input_is_refused() -> None:
    state, new = state_of("bladder_efron"), newdata_of("bladder_efron")
    with pytest.raises(DataError, match="Did you mean 'expected'"):
        predict_rows(state, "expecte")
    with pytest.raises(DataError, match="reference: expected one of"):
        predict_rows(state, "lp", reference="median")
    with pytest.raises(DataError, match="strata: expected the stratum of each row"):
        predict_rows(state, "lp", newdata=new)
    with pytest.raises(DataError, match="strata: expected one of 1, 2, 3, 4, got 5"):
        predict_rows(state, "lp", newdata=new, strata=[1, 5])
    with pytest.raises(DataError, match="surv: expected the episodes of the 2 rows"):
        predict_rows(state, "expected", newdata=new, strata=[1, 2])
    with pytest.raises(DataError, match="offset: expected 2 values"):
        predict_rows(state, "lp", newdata=new, strata=[1, 2], offset=[0.0])
    with pytest.raises(DataError, match="surv, row 1: expected stop at most 54, the last follow-up, got 500"):
        predict_rows(state, "expected", newdata=new, strata=[2, 2], surv=Surv([0, 0], [20, 500], [0, 0]))
