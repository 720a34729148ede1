"""Margins: against R's matrix algebra, Stata's published output, numerical derivatives; percentiles as Stata's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coalition_exit.errors import DataError
from coalition_exit.survival import CoxPH
from coalition_exit.survival.cox.state import CoxState
from coalition_exit.survival.quantities.margins import Margins, margins, margins_by_term, margins_contrast, percentiles
from predict_reference import MODELS, NAMES, data_of, fit_of, r_values, state_of

Z = 1.959963984540054
COLUMNS = ["estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high"]


@pytest.mark.parametrize("model", NAMES)
def test_margins_equal_those_of_r(model: str) -> None:
    expected = r_values(model, "margin")
    errors = r_values(model, "margin_se")
    vcov = fit_of(model).vcov
    for term, rows in expected.groupby("term"):
        found = margins(state_of(model), {str(term): rows["other"].astype(float)}, vcov=vcov).table
        np.testing.assert_allclose(found["estimate"], rows["value"], rtol=1e-10)
        np.testing.assert_allclose(found["std_error"], errors[errors["term"] == term]["value"], rtol=1e-10)
        np.testing.assert_allclose(found["conf_low"], found["estimate"] - Z * found["std_error"], rtol=1e-9)


class _Fake:
    """State of a fit with given coefficients: what Stata printed."""

    def __new__(cls, names: tuple[str, ...], beta: list[float], errors: list[float]) -> CoxState:  # type: ignore[misc]
        base = CoxPH().fit("Surv(time, event) ~ " + " + ".join(names), _sample(names)).state
        assert base is not None
        return CoxState(
            base.design, base.risk_sets, base.likelihood, base.evaluation, base.center, np.array(beta),
            np.diag(np.square(errors)),
        )  # fmt: skip


def _sample(names: tuple[str, ...]) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame({name: rng.integers(0, 2, 40) for name in names}).assign(time=np.arange(1, 41), event=1)


def test_margins_equal_statas_output() -> None:
    # Stata: webuse stan3; stcox i.posttran i.surg; margins, over(posttran surgery), as printed in
    # https://stats.stackexchange.com/questions/50630. Hazard ratios 1.173034 (se .3444712) and .3449043 (.1482592).
    ratios, errors = np.array([1.173034, 0.3449043]), np.array([0.3444712, 0.1482592])
    state = _Fake(("posttran", "surgery"), list(np.log(ratios)), list(errors / ratios))
    table = margins(state, {"posttran": [0, 1], "surgery": [0, 1]}).table
    wanted = pd.DataFrame(
        [[0, 1, 0.3449043, 0.1482592, 2.33, 0.020, 0.0543217, 0.6354869],
         [1, 0, 1.173034, 0.3444712, 3.41, 0.001, 0.4978826, 1.848185]],
        columns=["posttran", "surgery", *COLUMNS],
    )  # fmt: skip
    printed = table.iloc[[1, 2]].reset_index(drop=True)
    digits = [("estimate", 7), ("std_error", 7), ("statistic", 2), ("p_value", 3), ("conf_low", 6), ("conf_high", 6)]
    for column, places in digits:
        # The input has six or seven decimals too.
        np.testing.assert_allclose(printed[column], wanted[column], atol=1.5 * 10.0**-places, rtol=0)
    # All covariates 0: Stata prints 1 and dots.
    nothing = table.iloc[0]
    assert list(nothing[["estimate", "std_error", "conf_low", "conf_high"]]) == [1, 0, 1, 1]
    assert nothing[["statistic", "p_value"]].isna().all()
    # Both 1: the product of the ratios; its error needs the covariance, which is not printed.
    np.testing.assert_allclose(table["estimate"].iloc[3], 0.4045843, atol=2e-7)


def _numerical(state: CoxState, at: dict[str, float], vcov: np.ndarray, **options: str) -> tuple[float, float]:
    def value(beta: np.ndarray) -> float:
        moved = CoxState(
            state.design, state.risk_sets, state.likelihood, state.evaluation, state.center, beta, state.inverse
        )
        return float(margins(moved, at, **options).table["estimate"].iloc[0])  # type: ignore[arg-type]

    slopes = []
    for j, e in enumerate(np.eye(len(state.beta))):
        size = 1e-3 / max(1.0, float(np.abs(state.design.x[:, j]).max()))
        wide = (value(state.beta + size * e) - value(state.beta - size * e)) / (2 * size)
        narrow = (value(state.beta + size / 2 * e) - value(state.beta - size / 2 * e)) / size
        slopes.append((4 * narrow - wide) / 3)
    gradient = np.array(slopes)
    return value(state.beta), float(np.sqrt(gradient @ vcov @ gradient))


@pytest.mark.parametrize("others", ["asobserved", "atmeans"])
@pytest.mark.parametrize("prediction", ["hr", "xb"])
@pytest.mark.parametrize(
    ("model", "at"),
    [
        ("heart_interaction", {"age": 3.0}),
        ("heart_interaction", {"age": 3.0, "transplant": 1.0}),
        ("lung_weighted", {"sex": 2.0}),
        ("lung_offset_breslow", {"age": 70.0}),
        ("bladder_efron", {"rx": 1.0}),
        ("veteran_breslow", {}),
    ],
)
def test_errors_equal_numerical_derivatives(model: str, at: dict[str, float], others: str, prediction: str) -> None:
    state, vcov = state_of(model), fit_of(model).covariance
    found = margins(state, at, vcov=vcov, others=others, prediction=prediction).table.iloc[0]
    _, error = _numerical(state, at, vcov, others=others, prediction=prediction)
    np.testing.assert_allclose(found["std_error"], error, rtol=1e-7)


@pytest.mark.parametrize("model", ["heart_interaction", "lung_weighted", "lung_offset_breslow"])
def test_at_means_is_the_margin_of_one_row(model: str) -> None:
    state = state_of(model)
    names = list(state.design.names)
    means = dict(zip(names, np.average(state.design.x, axis=0, weights=state.weights), strict=True))
    means |= {"transplant": 1.0} if "transplant" in names else {"age": 50.0}
    if "age:transplant" in names:
        means["age:transplant"] = means["age"] * means["transplant"]
    at = {"transplant": 1.0} if "transplant" in names else {"age": 50.0}
    offset = 1.0
    if state.design.offset is not None:
        offset = np.average(np.exp(state.design.offset), weights=state.weights)
    x = np.array([means[name] for name in names])
    found = margins(state, at, others="atmeans").table.iloc[0]
    value = np.exp(x @ state.beta) * offset
    np.testing.assert_allclose(found["estimate"], value, rtol=1e-12)
    np.testing.assert_allclose(found["std_error"], value * np.sqrt(x @ state.inverse @ x), rtol=1e-10)


def test_margin_of_the_sample_is_the_mean_of_exp_xb() -> None:
    state = state_of("lung_weighted")
    found = margins(state)
    risk = np.exp(state.design.x @ state.beta)
    np.testing.assert_allclose(found.table["estimate"], np.average(risk, weights=state.weights), rtol=1e-12)
    assert list(found.table) == COLUMNS
    assert found.vcov.shape == (1, 1)


@pytest.mark.parametrize("prediction", ["hr", "xb"])
def test_several_values_are_the_same_as_one_by_one(prediction: str) -> None:
    state = state_of("lung_weighted")
    at = {"age": [40.0, 55, 70], "sex": [1.0, 2]}
    together = margins(state, at, prediction=prediction)
    for row, point in enumerate(together.table[["age", "sex"]].to_dict("records")):
        alone = margins(state, point, prediction=prediction)
        np.testing.assert_allclose(together.jacobian[row], alone.jacobian[0], rtol=1e-12)
        np.testing.assert_allclose(together.table[COLUMNS].iloc[row], alone.table[COLUMNS].iloc[0], rtol=1e-11)


def test_crossed_values_and_covariance() -> None:
    state, vcov = state_of("heart_interaction"), fit_of("heart_interaction").covariance
    found = margins(state, {"age": [-10.0, 5], "transplant": [0, 1]}, vcov=vcov)
    assert found.table[["age", "transplant"]].to_numpy().tolist() == [[-10, 0], [-10, 1], [5, 0], [5, 1]]
    np.testing.assert_allclose(np.sqrt(np.diag(found.vcov)), found.table["std_error"])
    gap = margins_contrast(found, 3, 0).iloc[0]
    scale = np.array([-1.0, 0, 0, 1])
    np.testing.assert_allclose(gap["std_error"] ** 2, scale @ found.vcov @ scale, rtol=1e-10)
    np.testing.assert_allclose(gap["conf_high"], gap["estimate"] + Z * gap["std_error"], rtol=1e-12)
    # With all covariates of the ratio's terms set alike for all rows it is a ratio of hazards.
    ratio = margins_contrast(found, 3, 2, kind="ratio").iloc[0]
    load = np.array([0.0, 1, 0, 5])
    assert state.design.names == ("age", "transplant", "surgery", "age:transplant")
    np.testing.assert_allclose(ratio["estimate"], np.exp(load @ state.beta), rtol=1e-12)
    np.testing.assert_allclose(ratio["std_error"], ratio["estimate"] * np.sqrt(load @ vcov @ load), rtol=1e-9)
    level = margins_contrast(found, 3, 2, kind="ratio", level=0.5).iloc[0]
    assert ratio["conf_low"] < level["conf_low"] < level["conf_high"] < ratio["conf_high"]


def test_intervals_on_the_log_scale_are_positive() -> None:
    state = state_of("cgd_breslow")
    plain = margins(state, {"age": [40.0]}).table.iloc[0]
    log = margins(state, {"age": [40.0]}, scale="log").table.iloc[0]
    assert plain["conf_low"] < 0 < log["conf_low"]
    np.testing.assert_allclose(np.log(log["conf_high"] / log["estimate"]), Z * log["std_error"] / log["estimate"])
    assert log["std_error"] == plain["std_error"]


def test_weight_two_is_a_row_twice() -> None:
    d = data_of("veteran").assign(double=lambda f: 1 + f["prior"] / 10)
    twice = pd.concat([d, d[d["double"] == 2]])
    formula = "Surv(time, status) ~ karno * age"
    for others in ("asobserved", "atmeans"):
        one = margins(CoxPH().fit(formula, d, weights="double").state, {"karno": [30, 60]}, others=others).table
        two = margins(CoxPH().fit(formula, twice).state, {"karno": [30, 60]}, others=others).table
        pd.testing.assert_frame_equal(one, two, rtol=1e-8)


def test_by_term_runs_over_percentiles_and_dummies() -> None:
    state, vcov = state_of("heart_interaction"), fit_of("heart_interaction").vcov
    table = margins_by_term(state, vcov=vcov)
    assert list(table)[:3] == ["term", "percent", "value"]
    assert table["term"].value_counts().to_dict() == {"age": 99, "transplant": 2, "surgery": 2}
    assert table.loc[table["term"] == "surgery", "value"].tolist() == [0, 1]
    assert table.loc[table["term"] == "surgery", "percent"].isna().all()
    age = table[table["term"] == "age"]
    np.testing.assert_array_equal(age["value"], percentiles(data_of("heart")["age"]))
    direct = margins(state, {"age": age["value"]}, vcov=vcov).table
    np.testing.assert_array_equal(age[COLUMNS], direct[COLUMNS])
    few = margins_by_term(state, ["age"], percents=(5, 95), method="centile")
    assert few["percent"].tolist() == [5, 95]
    np.testing.assert_array_equal(few["value"], percentiles(data_of("heart")["age"], (5, 95), method="centile"))


def test_percentiles_equal_those_stata_printed() -> None:
    # summarize, detail and _pctile, as printed in https://www.stata.com/statalist/archive/2010-07/msg00878.html
    x = [
        223, 104.3333, 198.3333, 126, 95, 101.3333, 133, 90.66666, 38, 91, 101, 36.5, 101, 203, 92.5, 149, 142.3333,
        89.33334, 105.6667, 123.3333, 136, 240.6667, 162.3333, 98.66666, 181.6667, 261, 206, 251, 339.3333, 219.3333,
        114,
    ]  # fmt: skip
    found = percentiles(x, [1, 5, 10, 25, 50, 75, 90, 95, 99])
    assert found.tolist() == [36.5, 38, 90.66666, 98.66666, 126, 203, 240.6667, 261, 339.3333]
    # centile interpolates: the 10th lies 0.2 of the way from the third value to the fourth.
    assert percentiles(x, 10, method="centile")[0] == pytest.approx(89.33334 + 0.2 * (90.66666 - 89.33334))
    assert percentiles(x, 10, method="numpy")[0] == pytest.approx(90.66666)
    # [M-5] quantile(): 1, 5, 5, 10, 20 by hand, n p / 100 = 1 a whole number.
    assert percentiles([10, 5, 5, 1, 20], 20)[0] == 3.0
    assert percentiles([10, 5, 5, 1, 20], 20, method="centile")[0] == pytest.approx(1 + 0.2 * 4)
    assert percentiles([10, 5, 5, 1, 20], 20, method="numpy")[0] == pytest.approx(1 + 0.8 * 4)


@settings(deadline=None, max_examples=100)
@given(
    x=st.lists(st.integers(-20, 20), min_size=1, max_size=30),
    percent=st.integers(1, 99),
    seed=st.integers(0, 1000),
)
def test_percentiles_equal_a_slow_rule(x: list[int], percent: int, seed: int) -> None:
    ordered, n = sorted(x), len(x)
    # The rule in whole numbers: first i with 100 i > n p, the mean with the one before when 100 (i - 1) = n p.
    i = next(i for i in range(1, n + 1) if 100 * i > n * percent)
    slow = (ordered[i - 2] + ordered[i - 1]) / 2 if i > 1 and 100 * (i - 1) == n * percent else ordered[i - 1]
    assert percentiles(x, percent)[0] == slow
    counts = np.random.default_rng(seed).integers(0, 3, n)
    if counts.sum():
        repeated = percentiles(np.repeat(x, counts), percent)[0]
        assert percentiles(x, percent, weights=counts)[0] == repeated
        assert percentiles(x, percent, weights=counts * 0.1)[0] == repeated


def test_factors_and_transformed_covariates() -> None:
    d = data_of("veteran").assign(kind=lambda f: f["cell"].map({1: "a", 2: "b", 3: "c", 4: "d"}))
    state = CoxPH().fit("Surv(time, status) ~ kind + karno + I(karno**2) + age", d).state
    assert state is not None
    with pytest.raises(DataError, match=r"at, 'kind\[T.b\]': expected a value also for 'kind\[T.c\]'"):
        margins(state, {"kind[T.b]": [1]})
    found = margins(state, {"kind[T.b]": 1, "kind[T.c]": 0, "kind[T.d]": 0}).table.iloc[0]
    x = state.design.x.copy()
    x[:, :3] = [1, 0, 0]
    np.testing.assert_allclose(found["estimate"], np.exp(x @ state.beta).mean(), rtol=1e-12)
    with pytest.raises(DataError, match=r"at, 'karno': expected a value also for 'I\(karno \*\* 2\)'"):
        margins(state, {"karno": [60]})
    both = margins(state, {"karno": 60, "I(karno ** 2)": 3600}).table.iloc[0]
    x = state.design.x.copy()
    x[:, list(state.design.names).index("karno")] = 60
    x[:, list(state.design.names).index("I(karno ** 2)")] = 3600
    np.testing.assert_allclose(both["estimate"], np.exp(x @ state.beta).mean(), rtol=1e-12)
    with pytest.raises(DataError, match=r"at, 'I\(karno \*\* 2\)': expected a value also for 'karno'"):
        margins(state, {"I(karno ** 2)": [3600]})
    by_level = margins_by_term(state, ["kind[T.b]", "kind[T.c]", "age"], percents=[50])
    assert by_level["value"].tolist() == [0, 1, 0, 1, 62]
    np.testing.assert_allclose(by_level["estimate"][1], found["estimate"], rtol=1e-12)
    np.testing.assert_allclose(by_level["estimate"][0], by_level["estimate"][2], rtol=1e-12)
    logs = CoxPH().fit("Surv(time, status) ~ age + np.log(karno) + np.log(diagtime)", d).state
    assert len(margins(logs, {"age": [50], "np.log(karno)": [3.0]}).table) == 1
    half = CoxPH().fit("Surv(time, status) ~ karno + karno:age", d).state
    with pytest.raises(DataError, match="at, 'karno': expected a model with the term 'age', or a value"):
        margins(half, {"karno": [60]})


def test_bad_input_is_refused() -> None:
    state = state_of("lung_breslow")
    with pytest.raises(DataError, match=r"at: expected one of age, sex, ph_ecog, got 'ph_ecg'. Did you mean 'ph_ecog'"):
        margins(state, {"ph_ecg": 1})
    with pytest.raises(DataError, match="at, 'age': expected finite numbers"):
        margins(state, {"age": [np.nan]})
    with pytest.raises(DataError, match="others"):
        margins(state, others="means")
    with pytest.raises(DataError, match="prediction: expected one of hr, xb"):
        margins(state, prediction="survival")
    with pytest.raises(DataError, match="scale: expected plain for prediction xb"):
        margins(state, prediction="xb", scale="log")
    with pytest.raises(DataError, match="level"):
        margins(state, level=1.0)
    with pytest.raises(DataError, match="a relative hazard within the range of numbers"):
        margins(state, {"age": [50, 1e6]})
    with pytest.raises(DataError, match="a relative hazard within the range of numbers"):
        margins(state, {"age": -1e6})
    with pytest.raises(DataError, match="vcov: expected shape"):
        margins(state, vcov=np.eye(2))
    found: Margins = margins(state, {"sex": [1, 2]})
    with pytest.raises(DataError, match="second: expected a row from 0 to 1, got 2"):
        margins_contrast(found, 0, 2)
    with pytest.raises(DataError, match="kind: expected difference for prediction xb"):
        margins_contrast(margins(state, {"sex": [1, 2]}, prediction="xb"), 0, 1, kind="ratio")
    with pytest.raises(DataError, match="terms: expected one of"):
        margins_by_term(state, ["income"])
    with pytest.raises(DataError, match="Did you mean 'centile'"):
        percentiles([1, 2], 50, method="centil")
    with pytest.raises(DataError, match="percents"):
        percentiles([1, 2], [0])
    with pytest.raises(DataError, match="weights: expected None with this method"):
        percentiles([1, 2], 50, weights=[1, 1], method="centile")
    with pytest.raises(DataError, match="weights: expected 2 numbers"):
        percentiles([1, 2], 50, weights=[1, -1])


def test_the_reference_covers_what_it_says() -> None:
    assert {"breslow", "efron"} == set(MODELS["ties"])
    assert (MODELS["cluster"] != "").sum() >= 6
    assert (MODELS["weights"] != "").sum() >= 3


def test_values_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="at, 'age': expected finite numbers, got old"):
        margins(state_of("lung_breslow"), {"age": "old"})
    with pytest.raises(DataError, match=r"at: expected one of .*, got 'agee'"):
        margins(state_of("lung_breslow"), {"agee": "old"})
