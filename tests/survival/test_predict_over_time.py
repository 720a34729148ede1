"""Curves and ratios of effects that change over time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from coalition_exit.errors import DataError
from coalition_exit.survival import CoxPH
from coalition_exit.survival.quantities.baseline import baseline_hazard
from coalition_exit.survival.quantities.margins import margins
from coalition_exit.survival.quantities.predict import (
    cumulative_hazard,
    hazard_ratio_over_time,
)
from coalition_exit.survival.quantities.rowwise import predict_rows
from coalition_exit.survival.quantities.scenarios import fixed_scenarios, path_over_time, path_scenarios
from predict_reference import (
    data_of,
    r_values,
    times_of,
)


def _by_event_time(d: pd.DataFrame) -> pd.DataFrame:
    times = np.unique(d.loc[d["status"] == 1, "time"])
    rows = d.loc[d.index.repeat(len(times))].assign(stop=np.tile(times, len(d)))
    rows = rows.assign(start=np.tile(np.append(0, times[:-1]), len(d)))
    rows = rows[rows["time"] >= rows["stop"]]
    return rows.assign(event=((rows["time"] == rows["stop"]) & (rows["status"] == 1)).astype(int))


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_hazard_ratio_over_time_equals_a_fit_centred_there(ties: str) -> None:
    d = _by_event_time(data_of("veteran"))
    d["karno_log"] = d["karno"] * np.log(d["stop"])
    fit = CoxPH(ties=ties).fit("Surv(start, stop, event) ~ trt + karno + karno_log", d)
    times = [1.0, 30, 100, 400]
    found = hazard_ratio_over_time(fit.terms, fit.beta, fit.covariance, "karno", {"karno_log": np.log}, times)
    # At t0 the effect is the coefficient of R's fit with log(t) - log(t0) in place of log(t). R stops its
    # iterations by the log-likelihood, at some nine digits of the coefficients.
    np.testing.assert_allclose(found["log_estimate"], r_values(f"changing_{ties}", "log_hr")["value"], rtol=1e-7)
    errors = r_values(f"changing_{ties}", "log_hr_se")["value"]
    np.testing.assert_allclose(found["log_std_error"], errors, rtol=1e-7)
    z = 1.959963984540054
    np.testing.assert_allclose(found["conf_low"], np.exp(found["log_estimate"] - z * found["log_std_error"]))
    np.testing.assert_allclose(found["std_error"], found["estimate"] * found["log_std_error"])
    ten = hazard_ratio_over_time(
        fit.terms, fit.beta, fit.covariance, "karno", {"karno_log": np.log}, times, change=10.0
    )
    np.testing.assert_allclose(ten["conf_high"], found["conf_high"] ** 10, rtol=1e-12)


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_curve_of_an_effect_that_changes(ties: str) -> None:
    d = data_of("veteran")
    state = CoxPH(ties=ties).fit("Surv(time, status) ~ trt + karno + tt(karno, log)", d).state
    path = path_over_time(state, {"trt": 1, "karno": 60}, {"tt(karno, log)": lambda t: 60 * np.log(t)})
    expected = r_values(f"changing_{ties}", "path_cumhaz")
    table = cumulative_hazard(path_scenarios(state, path), times_of(expected)).table
    np.testing.assert_allclose(table["estimate"], r_values(f"changing_{ties}", "path_r_cumhaz")["value"], rtol=1e-9)
    np.testing.assert_allclose(table["estimate"], expected["value"], rtol=1e-9)
    np.testing.assert_allclose(table["std_error"], r_values(f"changing_{ties}", "path_std.err")["value"], rtol=1e-8)


def test_effects_that_change_have_no_fixed_scenario() -> None:
    d = data_of("veteran")
    state = CoxPH().fit("Surv(time, status) ~ trt + karno + tt(karno, log)", d).state
    new = pd.DataFrame({"trt": [1.0], "karno": 60.0, "tt(karno, log)": 250.0})
    with pytest.raises(DataError, match=r"no tt\(\) terms for fixed scenarios, got tt\(\). Use path_scenarios"):
        fixed_scenarios(state, new)
    with pytest.raises(DataError, match="one event time an interval"):
        path_scenarios(state, new.assign(start=0, stop=100))
    with pytest.raises(DataError, match=r"no tt\(\) terms for predictions by row"):
        predict_rows(state)
    with pytest.raises(DataError, match=r"no tt\(\) terms for margins"):
        margins(state)
    with pytest.raises(DataError, match=r"no tt\(\) terms for means of the covariates"):
        baseline_hazard(state, "mean")
    assert baseline_hazard(state, "zero").table["cumulative_hazard"].is_monotonic_increasing
    with pytest.raises(DataError, match=r"by_time, 'tt\(karno, log\)': expected 97 finite numbers"):
        path_over_time(state, {"trt": 1, "karno": 60}, {"tt(karno, log)": lambda t: 60.0})
    with pytest.raises(DataError, match="a span with event times"):
        path_over_time(state, {}, {}, begin=5000)
