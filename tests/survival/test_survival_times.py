"""Restricted means, quantiles and expected durations: against R, numerical derivatives and closed forms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from coalition_exit.errors import DataError
from coalition_exit.survival import CoxPH
from coalition_exit.survival.quantities.predict import survival
from coalition_exit.survival.quantities.scenarios import Scenarios, fixed_scenarios, path_scenarios
from coalition_exit.survival.quantities.survival_times import (
    expected_duration,
    restricted_mean,
    restricted_mean_contrast,
    survival_quantile,
)
from predict_reference import (
    NAMES,
    fit_of,
    newdata_of,
    r_values,
    scenarios_of,
    single,
    slow_error,
    slow_jumps,
    state_of,
)


@pytest.mark.parametrize("model", NAMES)
@pytest.mark.parametrize("conf_type", ["log", "log-log", "plain"])
def test_quantiles_equal_those_of_survfit(model: str, conf_type: str) -> None:
    scenarios = scenarios_of(model)
    for place in range(len(scenarios)):
        term, one = single(scenarios, place)
        for probability in (0.25, 0.5, 0.75):
            row = survival_quantile(one, probability, conf_type=conf_type).table.iloc[0]
            curve = survival(one, conf_type=conf_type).table
            for column, name in (("estimate", "quantile"), ("conf_low", "lower"), ("conf_high", "upper")):
                if (np.diff(curve[column].dropna()) > 0).any():
                    # R sorts a limit that rises again, which puts lower limits above the estimate.
                    continue
                expected = r_values(model, f"q_{name}_{conf_type}", term)
                wanted = expected[expected["other"].astype(float) == probability]["value"].to_numpy()
                np.testing.assert_array_equal(row[column], wanted[0])
            missing = row[["estimate", "conf_low", "conf_high"]].isna().any()
            assert bool(row["reason"]) == missing
        median = survival_quantile(one, conf_type=conf_type).table.iloc[0]
        printed = r_values(model, f"printed_{conf_type}", term)["value"].to_numpy()
        np.testing.assert_array_equal(median[["estimate", "conf_low", "conf_high"]].astype(float), printed)


@pytest.mark.parametrize("model", NAMES)
def test_restricted_means_equal_survmean(model: str) -> None:
    scenarios = scenarios_of(model)
    for place in range(len(scenarios)):
        term, one = single(scenarios, place)
        expected = r_values(model, "rmean", term).iloc[0]
        row = restricted_mean(one, float(expected["other"])).table.iloc[0]
        np.testing.assert_allclose(row["estimate"], expected["value"], rtol=1e-11)


def _area(state, pieces: list[tuple[float, float, np.ndarray]], tau: float):
    """Area under the curve of a path, as a function of coefficients and jumps, by a sum over event times."""
    times = state.risk_sets.times

    def area(beta: np.ndarray, jumps: np.ndarray) -> float:
        begin = pieces[0][0]
        total, hazard, last = 0.0, 0.0, begin
        for low, high, x in pieces:
            relative = np.exp(x @ beta)
            for k in np.flatnonzero((times > low) & (times <= min(high, tau))):
                total += np.exp(-hazard) * (times[k] - last)
                hazard, last = hazard + relative * jumps[k], times[k]
        return total + np.exp(-hazard) * (tau - last)

    return area


A = [(0.0, 60.0, np.array([0.0, 3, 0, 0])), (60.0, 900.0, np.array([0.0, 3, 0, 1]))]
B = [(0.0, 1500.0, np.array([-5.0, 1, 1, 0]))]


def _two(state, vcov: np.ndarray) -> Scenarios:
    rows = [dict(zip(state.design.names, x, strict=True)) | {"start": low, "stop": high, "id": name}
            for name, pieces in (("a", A), ("b", B)) for low, high, x in pieces]  # fmt: skip
    return path_scenarios(state, pd.DataFrame(rows), id="id", vcov=vcov)


@pytest.mark.parametrize("model", ["heart_breslow", "heart_efron"])
def test_errors_equal_numerical_derivatives(model: str) -> None:
    state, vcov, tau = state_of(model), fit_of(model).covariance, 450.0
    scenarios = _two(state, vcov)
    one, two = (_area(state, pieces, tau) for pieces in (A, B))
    jumps = slow_jumps(state, state.beta)[0]
    means = restricted_mean(scenarios, tau).table
    # Numerical derivatives keep some nine digits.
    np.testing.assert_allclose(means["estimate"], [one(state.beta, jumps), two(state.beta, jumps)], rtol=1e-11)
    np.testing.assert_allclose(means["std_error"], [slow_error(state, vcov, f) for f in (one, two)], rtol=1e-7)
    gap = restricted_mean_contrast(scenarios, "a", "b", tau).table.iloc[0]
    error = slow_error(state, vcov, lambda b, h: one(b, h) - two(b, h))
    np.testing.assert_allclose(gap["std_error"], error, rtol=1e-7)
    np.testing.assert_allclose(gap["estimate"], means["estimate"][0] - means["estimate"][1], rtol=1e-12)
    np.testing.assert_allclose(gap["conf_low"], gap["estimate"] - 1.959963984540054 * error, rtol=1e-6)
    ratio = restricted_mean_contrast(scenarios, "a", "b", tau, kind="ratio").table.iloc[0]
    error = slow_error(state, vcov, lambda b, h: np.log(one(b, h) / two(b, h)))
    np.testing.assert_allclose(ratio["std_error"], ratio["estimate"] * error, rtol=1e-7)
    np.testing.assert_allclose(ratio["conf_high"], ratio["estimate"] * np.exp(1.959963984540054 * error), rtol=1e-7)


def test_restricted_mean_of_strata_and_with_itself() -> None:
    state = state_of("bladder_breslow")
    new = pd.concat([newdata_of("bladder_breslow").iloc[:1]] * 2, ignore_index=True)
    scenarios = fixed_scenarios(state, new, strata=list(state.design.strata_labels[:2]))
    parts = restricted_mean(scenarios, 30.0).table
    gap = restricted_mean_contrast(scenarios, 0, 1, 30.0).table.iloc[0]
    x, times = new.to_numpy()[0], state.risk_sets.times

    def difference(beta: np.ndarray, jumps: np.ndarray) -> float:
        areas = []
        for code in (0, 1):
            here = (state.risk_sets.stratum == code) & (times <= 30)
            survived = np.exp(-np.exp(x @ beta) * np.concatenate([[0.0], np.cumsum(jumps[here])]))
            areas.append(survived @ np.diff(times[here], prepend=0.0, append=30.0))
        return areas[0] - areas[1]

    np.testing.assert_allclose(gap["estimate"], parts["estimate"][0] - parts["estimate"][1], rtol=1e-12)
    np.testing.assert_allclose(gap["std_error"], slow_error(state, state.inverse, difference), rtol=1e-7)
    same = restricted_mean_contrast(scenarios, 0, 0, 30.0).table.iloc[0]
    assert same["estimate"] == 0
    # The variance is a difference of equal sums; rounding leaves its root.
    assert same["std_error"] < 1e-6


def _null(rows: list[tuple[float, int]]) -> Scenarios:
    fit = CoxPH().fit("Surv(time, event) ~ 1", pd.DataFrame(rows, columns=["time", "event"]))
    return fixed_scenarios(fit.state, pd.DataFrame(index=["all"]))


def test_closed_forms() -> None:
    scenarios = _null([(1, 1), (3, 1), (4, 0)])
    s1, s2 = np.exp(-1 / 3), np.exp(-1 / 3 - 1 / 2)
    found = restricted_mean(scenarios, 4.0).table.iloc[0]
    np.testing.assert_allclose(found["estimate"], 1 + 2 * s1 + s2)
    variance = (2 * s1 + s2) ** 2 / 9 + s2**2 / 4
    np.testing.assert_allclose(found["std_error"] ** 2, variance)
    early = restricted_mean(scenarios, 0.5).table.iloc[0]
    assert (early["estimate"], early["std_error"]) == (0.5, 0.0)
    after = restricted_mean(_null([(1, 1), (3, 1), (4, 0)]), 3.0).table.iloc[0]
    np.testing.assert_allclose(after["estimate"], 1 + 2 * s1)


def test_a_curve_that_stands_on_the_probability() -> None:
    scenarios = _null([(1, 1), (3, 1), (4, 1), (9, 0)])
    s1, s2 = np.exp(-1 / 4), np.exp(-1 / 4 - 1 / 3)
    assert survival_quantile(scenarios, 1 - s1).table["estimate"].iloc[0] == 2.0
    assert survival_quantile(scenarios, 1 - s2).table["estimate"].iloc[0] == 3.5
    last = np.exp(-1 / 4 - 1 / 3 - 1 / 2)
    assert survival_quantile(scenarios, 1 - last).table["estimate"].iloc[0] == 6.5


def test_durations_that_do_not_exist_say_why() -> None:
    scenarios = scenarios_of("cgd_efron")
    row = survival_quantile(scenarios, 0.9).table.iloc[0]
    assert np.isnan(row["estimate"])
    assert "does not fall to 0.1" in row["reason"]
    assert "the curve ends at" in row["reason"]
    mean = expected_duration(scenarios).table
    assert mean["estimate"].isna().all()
    assert mean["reason"].str.contains("use restricted_mean or survival_quantile").all()


def test_expected_duration_where_nothing_is_left() -> None:
    scenarios = scenarios_of("veteran_breslow")
    found = expected_duration(scenarios, negligible=0.02).table
    assert found["estimate"].notna().any()
    for place, row in found[found["estimate"].notna()].iterrows():
        one = Scenarios(scenarios.jumps, (scenarios.items[place],), False)
        whole = restricted_mean(one, 999.0).table.iloc[0]
        np.testing.assert_allclose(
            row[["estimate", "std_error"]].astype(float), whole[["estimate", "std_error"]].astype(float)
        )
        assert row["reason"].startswith("restricted to the last follow-up at 999")


def test_a_later_start_counts_from_there() -> None:
    state, new = state_of("lung_breslow"), newdata_of("lung_breslow")
    found = restricted_mean(fixed_scenarios(state, new, begin=200.0), 500.0).table["estimate"]
    whole = restricted_mean(fixed_scenarios(state, new), 500.0).table["estimate"]
    before = restricted_mean(fixed_scenarios(state, new), 200.0).table["estimate"]
    item = fixed_scenarios(state, new)
    survived = [np.exp(-one.hazard[one.times <= 200].sum()) for one in item]
    np.testing.assert_allclose(found, (whole - before) / survived, rtol=1e-12)


def test_bad_input_is_refused() -> None:
    scenarios = scenarios_of("lung_breslow")
    with pytest.raises(DataError, match=r"tau: expected a time after 0 and at most 1022.*got 2000"):
        restricted_mean(scenarios, 2000)
    with pytest.raises(DataError, match="tau"):
        restricted_mean(scenarios, 0.0)
    with pytest.raises(DataError, match="tau"):
        restricted_mean(scenarios, float("nan"))
    with pytest.raises(DataError, match="probability"):
        survival_quantile(scenarios, 1.0)
    with pytest.raises(DataError, match="conf_type"):
        survival_quantile(scenarios, conf_type="logit")
    with pytest.raises(DataError, match="negligible"):
        expected_duration(scenarios, negligible=0.5)
    with pytest.raises(DataError, match="level"):
        expected_duration(scenarios, level=0)
    with pytest.raises(DataError, match="kind"):
        restricted_mean_contrast(scenarios, 0, 1, 100.0, kind="gap")
