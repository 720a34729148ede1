"""Curves, comparisons, bootstrap and changing effects: against R, slow ways, invariances."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest

from coalition_exit.errors import DataError
from coalition_exit.survival import CoxPH
from coalition_exit.survival.data.newdata import scenario_matrix
from coalition_exit.survival.quantities.baseline import reweighted_hazard
from coalition_exit.survival.quantities.predict import (
    bootstrap_survival,
    cumulative_hazard,
    hazard_ratio_over_time,
    survival,
    survival_contrast,
)
from coalition_exit.survival.quantities.scenarios import Scenarios, fixed_scenarios, path_scenarios
from predict_reference import (
    MODELS,
    NAMES,
    data_of,
    fit_of,
    labels_of,
    newdata_of,
    r_values,
    scenarios_of,
    single,
    slow_error,
    slow_jumps,
    state_of,
    times_of,
)

RTOL = 1e-11
CONF_TYPES = ["log", "log-log", "plain"]
COLUMNS = ["scenario", "time", "estimate", "std_error", "conf_low", "conf_high"]


@pytest.mark.parametrize("model", NAMES)
def test_curves_equal_survfit(model: str) -> None:
    scenarios = scenarios_of(model)
    for place in range(len(scenarios)):
        term, one = single(scenarios, place)
        expected = r_values(model, "surv", term)
        np.testing.assert_allclose(survival(one, times_of(expected)).table["estimate"], expected["value"], rtol=RTOL)
        hazard = cumulative_hazard(one, times_of(expected)).table
        np.testing.assert_allclose(hazard["estimate"], r_values(model, "cumhaz", term)["value"], rtol=RTOL)
        np.testing.assert_allclose(hazard["std_error"], r_values(model, "std.err", term)["value"], rtol=RTOL)
        for conf_type in CONF_TYPES:
            table = survival(one, times_of(expected), conf_type=conf_type).table
            for column, quantity in (("conf_low", "lower"), ("conf_high", "upper")):
                limits = r_values(model, f"{quantity}_{conf_type}", term)["value"]
                np.testing.assert_allclose(table[column], limits, rtol=RTOL, atol=1e-14)


@pytest.mark.parametrize("model", NAMES)
def test_values_between_event_times_equal_summary(model: str) -> None:
    scenarios = scenarios_of(model)
    for place in range(len(scenarios)):
        term, one = single(scenarios, place)
        expected = r_values(model, "at_surv", term)
        table = survival(one, times_of(expected)).table
        np.testing.assert_allclose(table["estimate"], expected["value"], rtol=RTOL)
        np.testing.assert_allclose(table["std_error"], r_values(model, "at_std.err", term)["value"], rtol=RTOL)


@pytest.mark.parametrize("model", NAMES)
def test_other_estimate_of_the_hazard_equals_ctype(model: str) -> None:
    scenarios = scenarios_of(model, ties="breslow" if MODELS.loc[model, "ties"] == "efron" else "efron")
    for place in range(len(scenarios)):
        term, one = single(scenarios, place)
        expected = r_values(model, "other_cumhaz", term)
        table = cumulative_hazard(one, times_of(expected)).table
        np.testing.assert_allclose(table["estimate"], expected["value"], rtol=RTOL)
        np.testing.assert_allclose(table["std_error"], r_values(model, "other_std.err", term)["value"], rtol=RTOL)


@pytest.mark.parametrize("model", [name for name in NAMES if labels_of(name) is None])
def test_curves_from_a_later_start_equal_start_time(model: str) -> None:
    begin = float(r_values(model, "start")["value"].iloc[0])
    scenarios = scenarios_of(model, begin=begin)
    for place in range(2):
        term, one = single(scenarios, place)
        expected = r_values(model, "later_cumhaz", term)
        table = cumulative_hazard(one, times_of(expected)).table
        np.testing.assert_allclose(table["estimate"], expected["value"], rtol=RTOL)
        np.testing.assert_allclose(table["std_error"], r_values(model, "later_std.err", term)["value"], rtol=RTOL)
    assert survival(scenarios, [begin, begin - 1]).table["estimate"].isna().tolist() == [False, True] * 2


PATHS = {
    "pbcseq": pd.DataFrame(
        {
            "tstart": [0, 365, 1500, 2600],
            "tstop": [365, 1500, 2600, 4000],
            "logbili": [0.5, 1.2, 2.0, 2.8],
            "protime": [10.5, 11, 12, 13.5],
            "age": 55,
            "edema": [0, 0, 0.5, 1],
        }
    ),
    "heart": pd.DataFrame(
        {"tstart": [0, 60], "tstop": [60, 900], "age": 0, "year": 3, "surgery": 0, "transplant": [0, 1]}
    ),
}


def _path(model: str, **options: object) -> Scenarios:
    settings: dict[str, object] = {"vcov": fit_of(model).covariance, "start": "tstart", "stop": "tstop"}
    return path_scenarios(state_of(model), PATHS[model.split("_", maxsplit=1)[0]], **(settings | options))  # type: ignore[arg-type]


@pytest.mark.parametrize("model", ["pbcseq_breslow", "pbcseq_efron", "heart_breslow", "heart_efron"])
def test_path_equals_survfit_with_id(model: str) -> None:
    expected = r_values(model, "path_r_cumhaz")
    table = cumulative_hazard(_path(model), times_of(expected)).table
    np.testing.assert_allclose(table["estimate"], expected["value"], rtol=RTOL)
    # Errors equal those of R's curve at covariates 0 after a fit in which the path is that zero.
    zero = r_values(model, "path_cumhaz")
    np.testing.assert_array_equal(times_of(zero), times_of(expected))
    np.testing.assert_allclose(table["estimate"], zero["value"], rtol=1e-10)
    np.testing.assert_allclose(table["std_error"], r_values(model, "path_std.err")["value"], rtol=1e-9)


@pytest.mark.parametrize("model", ["pbcseq_breslow", "heart_efron"])
def test_where_the_errors_of_r_along_a_path_come_from(model: str) -> None:
    state, path = state_of(model), PATHS[model.split("_", maxsplit=1)[0]]
    x = path[list(state.design.names)].to_numpy()
    expected = r_values(model, "path_r_std.err")
    rates, variances = slow_jumps(state, state.beta)
    step = 1e-6
    slopes = np.column_stack(
        [(slow_jumps(state, state.beta + step * e)[0] - slow_jumps(state, state.beta - step * e)[0]) / (2 * step)
         for e in np.eye(len(state.beta))]
    )  # fmt: skip
    piece = np.searchsorted(path["tstop"], state.risk_sets.times)
    inside = piece < len(path)
    risk = np.exp(x @ state.beta)[piece[inside]]
    # The whole cumulative hazard since 0 times the covariates of the moment, not the sum over the path.
    gradient = np.cumsum(rates)[inside, None] * x[piece[inside]] + np.cumsum(slopes, axis=0)[inside]
    part = np.einsum("ij,jk,ik->i", gradient, fit_of(model).covariance, gradient) * risk**2
    formula = np.sqrt(np.cumsum(variances[inside] * risk**2) + part)
    at = np.searchsorted(state.risk_sets.times[inside], times_of(expected))
    np.testing.assert_allclose(formula[at], expected["value"], rtol=1e-5)
    own = cumulative_hazard(_path(model), times_of(expected)).table["std_error"]
    first = times_of(expected) <= path["tstop"].iloc[0]
    np.testing.assert_allclose(own[first], expected["value"][first], rtol=RTOL)
    assert (np.abs(own[~first] / expected["value"].to_numpy()[~first] - 1) > 1e-4).all()


def test_path_with_constant_covariates_is_a_fixed_scenario() -> None:
    for model in ("cgd_breslow", "bladder_efron"):
        new = newdata_of(model).iloc[:1]
        path = pd.concat([new] * 3, ignore_index=True).assign(a=[0, 20, 5], b=[5, 40, 20], s=labels_of(model) and "2")
        strata = "s" if labels_of(model) else None
        labels = {"strata_labels": labels_of(model)}
        along = path_scenarios(state_of(model), path, start="a", stop="b", strata=strata, **labels)
        fixed = fixed_scenarios(state_of(model), new, strata="2" if strata else None, **labels)
        times = [0.0, 3, 5, 12, 20, 33.5, 40]
        pd.testing.assert_frame_equal(survival(along, times).table, survival(fixed, times).table, rtol=1e-12)


def test_paths_have_names_order_and_offsets() -> None:
    state = state_of("lung_offset")
    path = pd.DataFrame(
        {"who": ["b", "a", "b"], "start": [100, 0, 0], "stop": [900, 500, 100], "age": 60, "sex": [1, 2, 1], "o": 0.2}
    )
    table = survival(path_scenarios(state, path, id="who", offset="o"), [50, 400, 700]).table
    assert list(table["scenario"]) == ["b"] * 3 + ["a"] * 3
    assert table["estimate"].isna().tolist() == [False] * 5 + [True]
    fixed = fixed_scenarios(state, pd.DataFrame({"age": 60, "sex": [1, 2]}, index=["b", "a"]), offset=0.2)
    np.testing.assert_allclose(table["estimate"][:5], survival(fixed, [50, 400, 700]).table["estimate"][:5])


def _value(state, pieces: list[tuple[float, float, np.ndarray]], time: float):
    """Cumulative hazard of a path as a function of coefficients and jumps."""
    times = state.risk_sets.times

    def hazard(beta: np.ndarray, jumps: np.ndarray) -> float:
        return sum(
            np.exp(x @ beta) * jumps[(times > low) & (times <= min(high, time))].sum() for low, high, x in pieces
        )

    return hazard


CONTRASTS = {
    "fixed": ([(0.0, 1e6, np.array([2.0, 3, 0, 1]))], [(0.0, 1e6, np.array([-10.0, 1, 1, 0]))]),
    "path": ([(0.0, 60, np.array([0.0, 3, 0, 0])), (60, 900, np.array([0.0, 3, 0, 1]))],
             [(0.0, 1e6, np.array([0.0, 3, 0, 0]))]),
}  # fmt: skip


def _scenarios(state, pieces: list[tuple[float, float, np.ndarray]], label: str, vcov: np.ndarray) -> Scenarios:
    frame = pd.DataFrame([p[2] for p in pieces], columns=list(state.design.names))
    frame = frame.assign(start=[p[0] for p in pieces], stop=[p[1] for p in pieces], id=label)
    return path_scenarios(state, frame, id="id", vcov=vcov)


@pytest.mark.parametrize("name", CONTRASTS)
@pytest.mark.parametrize("kind", ["difference", "ratio"])
@pytest.mark.parametrize("model", ["heart_breslow", "heart_efron"])
def test_contrasts_equal_numerical_derivatives(name: str, kind: str, model: str) -> None:
    state, vcov = state_of(model), fit_of(model).covariance
    parts = [_scenarios(state, pieces, label, vcov) for label, pieces in zip("ab", CONTRASTS[name], strict=True)]
    scenarios = Scenarios(parts[0].jumps, parts[0].items + parts[1].items, False)
    times = [40.0, 300.0]
    found = survival_contrast(scenarios, "a", "b", times, kind=kind)
    for row, time in zip(found.table.itertuples(), times, strict=True):
        one, two = (_value(state, pieces, time) for pieces in CONTRASTS[name])

        def compare(beta: np.ndarray, jumps: np.ndarray, one=one, two=two) -> float:
            first, second = np.exp(-one(beta, jumps)), np.exp(-two(beta, jumps))
            return first - second if kind == "difference" else np.log(first / second)

        value, error = compare(state.beta, slow_jumps(state, state.beta)[0]), slow_error(state, vcov, compare)
        if kind == "difference":
            wanted = (value, error, value - 1.959963984540054 * error, value + 1.959963984540054 * error)
        else:
            ratio, reach = np.exp(value), np.exp(1.959963984540054 * error)
            wanted = (ratio, ratio * error, ratio / reach, ratio * reach)
        # Numerical derivatives keep some nine digits.
        np.testing.assert_allclose(
            [row.estimate, row.std_error, row.conf_low, row.conf_high], wanted, rtol=1e-7, atol=1e-12
        )


@pytest.mark.parametrize("model", ["heart_breslow", "lung_breslow", "bladder_breslow"])
def test_errors_equal_those_of_the_joint_likelihood(model: str) -> None:
    """Breslow's likelihood with the jumps as parameters (Johansen 1983): its information, inverted."""
    state = state_of(model)
    design, times = state.design, state.risk_sets.times
    strata = np.zeros(len(design.surv)) if design.strata is None else design.strata
    rate = np.exp(design.x @ state.beta)
    at_risk = (design.surv.start[:, None] < times) & (design.surv.stop[:, None] >= times)
    at_risk &= strata[:, None] == state.risk_sets.stratum
    jumps, p = slow_jumps(state, state.beta)[0], len(state.beta)
    deaths = jumps * (rate @ at_risk)
    own = rate * (at_risk @ jumps)
    cross = (rate[:, None] * design.x).T @ at_risk
    information = np.block([[(design.x * own[:, None]).T @ design.x, cross], [cross.T, np.diag(deaths / jumps**2)]])
    covariance = np.linalg.inv(information)
    np.testing.assert_allclose(covariance[:p, :p], state.inverse, rtol=1e-6, atol=1e-12)
    new = newdata_of(model)
    code = 0 if design.strata is None else 1
    scenarios = fixed_scenarios(state, new, strata=0 if design.strata is None else design.strata_labels[code])
    time = float(np.median(times))
    gradients, survived = [], []
    for row in new.to_numpy():
        here = (times <= time) & (state.risk_sets.stratum == code)
        relative = np.exp(row @ state.beta)
        hazard = relative * jumps[here].sum()
        survived.append(np.exp(-hazard))
        gradients.append(np.concatenate([hazard * row, relative * here]))
        table = cumulative_hazard(scenarios, [time]).table
        error = table["std_error"].iloc[len(gradients) - 1]
        np.testing.assert_allclose(error**2, gradients[-1] @ covariance @ gradients[-1], rtol=1e-8)
    gap = survived[1] * gradients[1] - survived[0] * gradients[0]
    found = survival_contrast(scenarios, 0, 1, [time]).table
    np.testing.assert_allclose(found["std_error"] ** 2, gap @ covariance @ gap, rtol=1e-8)


def test_contrast_of_strata_shares_only_the_coefficients() -> None:
    state, labels = state_of("bladder_efron"), labels_of("bladder_efron")
    new = pd.concat([newdata_of("bladder_efron").iloc[:1]] * 2, ignore_index=True)
    scenarios = fixed_scenarios(state, new, strata=["1", "2"], strata_labels=labels)
    time = 20.0
    found = survival_contrast(scenarios, 0, 1, [time]).table["std_error"].iloc[0]
    x = new.to_numpy()[0]
    codes = [labels.index("1"), labels.index("2")]

    def gap(beta: np.ndarray, jumps: np.ndarray) -> float:
        before = state.risk_sets.times <= time
        hazards = [np.exp(x @ beta) * jumps[before & (state.risk_sets.stratum == code)].sum() for code in codes]
        return np.exp(-hazards[0]) - np.exp(-hazards[1])

    np.testing.assert_allclose(found, slow_error(state, state.inverse, gap), rtol=1e-7)


def test_contrast_turned_round_and_with_itself() -> None:
    scenarios = scenarios_of("veteran_breslow")
    one, two = survival_contrast(scenarios, 0, 1).table, survival_contrast(scenarios, 1, 0).table
    np.testing.assert_allclose(one["estimate"], -two["estimate"])
    np.testing.assert_allclose(one["std_error"], two["std_error"], rtol=1e-9)
    np.testing.assert_allclose(one["conf_low"], -two["conf_high"], rtol=1e-9)
    ratio = survival_contrast(scenarios, 0, 1, kind="ratio").table
    turned = survival_contrast(scenarios, 1, 0, kind="ratio").table
    np.testing.assert_allclose(ratio["conf_low"], 1 / turned["conf_high"], rtol=1e-9)
    same = survival_contrast(scenarios, 0, 0).table
    assert (same["estimate"] == 0).all()
    # The variance is a difference of equal sums; rounding leaves its root.
    assert (same["std_error"] < 1e-8).all()
    assert list(one["scenario"].unique()) == ["0 - 1"]
    assert list(ratio["scenario"].unique()) == ["0 / 1"]


def test_cumulative_hazard_intervals() -> None:
    scenarios = scenarios_of("veteran_breslow")
    log = cumulative_hazard(scenarios, level=0.9).table
    both = survival(scenarios, conf_type="log-log", level=0.9).table
    np.testing.assert_allclose(np.exp(-log["conf_high"]), both["conf_low"], rtol=1e-12)
    plain = cumulative_hazard(scenarios, conf_type="plain", level=0.9).table
    z = 1.6448536269514722
    np.testing.assert_allclose(plain["conf_high"], plain["estimate"] + z * plain["std_error"], rtol=1e-12)
    assert (plain["conf_low"] >= 0).all()


def test_tables_and_where_curves_are_not_known() -> None:
    scenarios = scenarios_of("lung_breslow")
    last = data_of("lung")["time"].max()
    found = survival(scenarios, [-1, 0, 4.9, last, last + 0.5])
    assert list(found.table) == COLUMNS
    first = found.table[:5]
    assert first["estimate"].isna().tolist() == [True, False, False, False, True]
    assert (first["estimate"][1:3] == 1).all()
    assert (first["std_error"][1:3] == 0).all()
    assert first[["conf_low", "conf_high"]].iloc[1:3].eq(1).all().all()
    loglog = survival(scenarios, [0], conf_type="log-log").table
    assert loglog["conf_low"].isna().all()
    assert found.conf_type == "log"
    assert found.level == 0.95
    strata = survival(scenarios_of("bladder_efron"), [10]).table
    assert list(strata) == ["scenario", "stratum", *COLUMNS[1:]]
    assert len(strata) == 8
    contrast = survival_contrast(scenarios, 0, 1, [5, last + 1]).table
    assert contrast["estimate"].isna().tolist() == [False, True]
    assert list(contrast) == COLUMNS


def test_scenarios_by_the_variables_of_the_formula() -> None:
    """Factors, splines and transformations are made as they were for the data."""
    d = data_of("lung").assign(ph_ecog=lambda d: d["ph_ecog"].clip(upper=2))
    d = d.assign(ecog=d["ph_ecog"].map("e{}".format), place=d["ph_ecog"] + 1)
    d["word"] = d["ecog"].astype("string")
    for terms in ("C(ecog)*age", "word + sex", "C(place) + sex", "bs(age, df=4) + sex", "scale(age)*sex + I(age**2)"):
        fit = CoxPH(ties="efron").fit(f"Surv(time, event) ~ {terms}", d)
        rows = [4, 0, 17, 60]
        new = d.iloc[rows].assign(place=lambda d: d["place"].astype(float))
        by_column = pd.DataFrame(fit.state.design.x[rows], columns=list(fit.terms), index=new.index)
        for make in (fit.scenarios, lambda frame, fit=fit: fit.predict("lp", newdata=frame)):
            one, two = make(new), make(by_column)
            if isinstance(one, pd.DataFrame):
                pd.testing.assert_frame_equal(one, two)
                np.testing.assert_allclose(one["estimate"], fit.predict("lp").loc[new.index, "estimate"], rtol=1e-12)
            else:
                pd.testing.assert_frame_equal(survival(one, [100.0]).table, survival(two, [100.0]).table)


def test_scenarios_refuse_levels_and_values_that_the_data_do_not_have() -> None:
    d = data_of("lung").assign(ecog=lambda d: d["ph_ecog"].map("e{}".format))
    fit = CoxPH().fit("Surv(time, event) ~ C(ecog) + bs(age, df=4)", d)
    cases = [
        ({"ecog": "e9", "age": 60.0}, "levels of factors that the data have, got {'e9'}"),
        ({"ecog": "e1", "age": 200.0}, "beyond upper"),
        ({"ecog": None, "age": 60.0}, "newdata, column 'ecog', row 0: expected a value"),
        ({"ecog": "e1"}, "a column for the variable 'age', got ecog"),
    ]
    for values, message in cases:
        with pytest.raises(DataError, match=message):
            fit.scenarios(pd.DataFrame([values]))
    own = pd.DataFrame([{"ecog": "e1", "age": 60.0} | dict.fromkeys(fit.terms, 0.0)])
    np.testing.assert_array_equal(
        scenario_matrix(fit.terms, own, fit.state.design.encoding)[0], np.zeros((1, len(fit.terms)))
    )
    again = pickle.loads(pickle.dumps(fit))
    new = pd.DataFrame([{"ecog": "e1", "age": 60.0}])
    pd.testing.assert_frame_equal(survival(again.scenarios(new)).table, survival(fit.scenarios(new)).table)


def test_scenarios_follow_the_frame() -> None:
    state = state_of("heart_interaction")
    new = pd.DataFrame({"surgery": 0, "age": [-5.0, 3], "transplant": [1, 0], "other": "x"}, index=["yes", "no"])
    values, labels = scenario_matrix(state.design.names, new)
    assert labels == ("yes", "no")
    np.testing.assert_array_equal(values[:, state.design.names.index("age:transplant")], [-5.0, 0.0])
    given = new.assign(**{"age:transplant": [-5.0, 0.0]})[::-1]
    one = survival(fixed_scenarios(state, new), [30]).table.set_index("scenario")
    two = survival(fixed_scenarios(state, given), [30]).table.set_index("scenario")
    pd.testing.assert_frame_equal(one, two.loc[["yes", "no"]])


def test_caller_data_stay_as_they_are() -> None:
    new, path = newdata_of("lung_breslow"), PATHS["heart"]
    before, after = new.copy(deep=True), path.copy(deep=True)
    survival(fixed_scenarios(state_of("lung_breslow"), new))
    survival(_path("heart_breslow"))
    pd.testing.assert_frame_equal(new, before)
    pd.testing.assert_frame_equal(path, after)


@pytest.mark.parametrize("model", ["lung_breslow", "lung_weighted"])
def test_bootstrap_equals_refits(model: str) -> None:
    state, d = state_of(model), data_of("lung")
    case = d["case"] if MODELS.loc[model, "weights"] else 1.0
    rng, groups = np.random.default_rng(1), pd.factorize(d["inst"])[0]
    clusters, draws = groups.max() + 1, 25
    weights = rng.multinomial(clusters, np.ones(clusters) / clusters, size=draws)[:, groups] * np.asarray(case)
    cox = CoxPH(ties=state.likelihood.ties)
    refits = [cox.fit(MODELS.loc[model, "formula"], d, weights=w) for w in weights]
    coefficients = np.array([refit.beta for refit in refits])
    times, new = [100.0, 365.0], newdata_of(model)
    curves = np.array(
        [survival(fixed_scenarios(refit.state, new), times).table["estimate"] for refit in refits]
    )  # fmt: skip
    coefficients = np.vstack([coefficients, np.full((1, 3), np.nan)])
    weights = np.vstack([weights, weights[:1]])
    hazard = reweighted_hazard(state, coefficients, weights)
    scenarios = fixed_scenarios(state, new)
    found = bootstrap_survival(scenarios, times, coefficients, hazard, level=0.9)
    assert (found.n_draws, found.n_failed, found.conf_type) == (draws, 1, "percentile")
    np.testing.assert_allclose(found.table["conf_low"], np.quantile(curves, 0.05, axis=0), rtol=1e-8)
    np.testing.assert_allclose(found.table["conf_high"], np.quantile(curves, 0.95, axis=0), rtol=1e-8)
    np.testing.assert_allclose(found.table["std_error"], curves.std(axis=0, ddof=1), rtol=1e-7)
    np.testing.assert_allclose(found.table["estimate"], survival(scenarios, times).table["estimate"])
    sums = bootstrap_survival(scenarios, times, coefficients, hazard, quantity="cumulative_hazard", level=0.9)
    # The logarithm of an interpolated quantile is not the interpolated quantile of logarithms.
    np.testing.assert_allclose(sums.table["conf_high"], np.quantile(-np.log(curves), 0.95, axis=0), rtol=1e-8)


def test_exact_ties_use_breslows_hazard_as_in_r() -> None:
    state = CoxPH(ties="exact").fit("Surv(time, status) ~ trt + karno + age", data_of("veteran")).state
    expected = r_values("exact", "cumhaz")
    scenarios = fixed_scenarios(state, pd.DataFrame({"trt": [1], "karno": 60, "age": 60}))
    table = cumulative_hazard(scenarios, times_of(expected)).table
    np.testing.assert_allclose(table["estimate"], expected["value"], rtol=1e-8)
    np.testing.assert_allclose(table["std_error"], r_values("exact", "std.err")["value"], rtol=1e-8)
    own = reweighted_hazard(state, state.beta[None, :], np.ones((1, 137)))(0)
    np.testing.assert_allclose(own, scenarios.jumps.hazard * np.exp(scenarios.jumps.log_scale), rtol=1e-10)


def test_splitting_episodes_changes_no_curve() -> None:
    whole = data_of("cgd")
    middle = np.floor((whole["tstart"] + whole["tstop"]) / 2)
    early = whole.assign(tstop=middle, status=0)[middle > whole["tstart"]]
    split = pd.concat([early, whole.assign(tstart=middle)])
    formula, new = "Surv(tstart, tstop, status) ~ treat + age", pd.DataFrame({"treat": [0, 1], "age": 20})
    fits = [CoxPH(ties="efron").fit(formula, d) for d in (whole, split)]
    one, two = (survival(fixed_scenarios(fit.state, new)).table for fit in fits)
    pd.testing.assert_frame_equal(one, two, rtol=1e-9)


def test_bad_input_is_refused() -> None:
    state, scenarios = state_of("lung_breslow"), scenarios_of("lung_breslow")
    new = newdata_of("lung_breslow")
    with pytest.raises(DataError, match="Did you mean 'log-log'"):
        survival(scenarios, conf_type="loglog")
    with pytest.raises(DataError, match="conf_type: expected one of log, plain"):
        cumulative_hazard(scenarios, conf_type="log-log")
    with pytest.raises(DataError, match="level"):
        survival(scenarios, level=95)
    with pytest.raises(DataError, match="times: expected finite numbers"):
        survival(scenarios, [1.0, np.nan])
    with pytest.raises(DataError, match=r"column for the term 'ph_ecog'.*Did you mean 'ph_ecg'"):
        fixed_scenarios(state, new.rename(columns={"ph_ecog": "ph_ecg"}))
    with pytest.raises(DataError, match="'age', row 1: expected a finite number, got nan"):
        fixed_scenarios(state, new.assign(age=[1.0, np.nan]))
    with pytest.raises(DataError, match="'age': expected numbers"):
        fixed_scenarios(state, new.assign(age=["a", "b"]))
    with pytest.raises(DataError, match="label of its own"):
        fixed_scenarios(state, new.set_axis([1, 1]))
    with pytest.raises(DataError, match="at least one row"):
        fixed_scenarios(state, new[:0])
    with pytest.raises(DataError, match="a DataFrame"):
        fixed_scenarios(state, {"age": 1})  # type: ignore[arg-type]
    with pytest.raises(DataError, match="columns of different names"):
        fixed_scenarios(state, pd.concat([new, new], axis=1))
    with pytest.raises(DataError, match="offset: expected one finite number, or 2"):
        fixed_scenarios(state, new, offset=[1, 2, 3])
    with pytest.raises(DataError, match="begin: expected a time before the last follow-up"):
        fixed_scenarios(state, new, begin=1e5)
    with pytest.raises(DataError, match="scenario: expected one of 0, 1, got 2"):
        survival_contrast(scenarios, 0, 2)
    with pytest.raises(DataError, match="Did you mean 'ratio'"):
        survival_contrast(scenarios, 0, 1, kind="ration")
    with pytest.raises(DataError, match="name the strata of the scenarios"):
        survival_contrast(scenarios_of("bladder_efron"), 0, 1)
    with pytest.raises(DataError, match="strata: expected one of 1, 2, 3, 4, got '5'"):
        scenarios_of("bladder_efron", strata="5")
    with pytest.raises(DataError, match="strata: expected one label, or 2, got 3 labels"):
        scenarios_of("bladder_efron", strata=["1", "2", "3"])
    with pytest.raises(DataError, match="at least two refits"):
        bootstrap_survival(scenarios, [1], np.full((3, 3), np.nan), lambda draw: [0.0])
    with pytest.raises(DataError, match="hazard, draw 0: expected shape"):
        bootstrap_survival(scenarios, [1], np.zeros((3, 3)), lambda draw: [0.0])
    with pytest.raises(DataError, match="quantity"):
        bootstrap_survival(scenarios, [1], np.zeros((3, 3)), lambda draw: [0.0], quantity="hazard")
    with pytest.raises(DataError, match=r"coefficients: expected shape \(draws, 3\)"):
        bootstrap_survival(scenarios, [1], np.zeros((3, 2)), lambda draw: [0.0])


def test_bad_paths_are_refused() -> None:
    path = PATHS["heart"]
    for change, text in (
        ({"tstart": [0, 70]}, r"path 0, interval 1: expected an interval that starts at 60, got start = 70 \(a gap\)"),
        ({"tstart": [0, 50]}, r"got start = 50 \(an overlap\)"),
        ({"tstop": [0, 900]}, "path 0, interval 0: expected stop > start = 0, got stop = 0"),
        ({"age": [0, np.inf]}, "row 1: expected a finite number, got inf"),
    ):
        with pytest.raises(DataError, match=text):
            path_scenarios(state_of("heart_efron"), path.assign(**change), start="tstart", stop="tstop")
    with pytest.raises(DataError, match=r"path: expected a column 'start'.*Did you mean 'tstart'"):
        path_scenarios(state_of("heart_efron"), path)
    unnamed = path.assign(who=[None, "a"])
    with pytest.raises(DataError, match="a name in each row"):
        path_scenarios(state_of("heart_efron"), unnamed, start="tstart", stop="tstop", id="who")
    new = newdata_of("bladder_efron").assign(start=0, stop=10)
    with pytest.raises(DataError, match="strata: expected the name of the column"):
        path_scenarios(state_of("bladder_efron"), new[:1])


def test_bad_interactions_with_time_are_refused() -> None:
    terms, beta, vcov = ["a", "a_log"], [0.1, 0.2], np.eye(2)
    with pytest.raises(DataError, match="by_time, 'a_log', time 0: expected a finite number, got -inf"):
        hazard_ratio_over_time(terms, beta, vcov, "a", {"a_log": np.log}, [1, 0])
    with pytest.raises(DataError, match="by_time: expected one of a, a_log, got 'a_lg'"):
        hazard_ratio_over_time(terms, beta, vcov, "a", {"a_lg": np.log}, [1])
    with pytest.raises(DataError, match="term: expected one of a, a_log, got 'b'"):
        hazard_ratio_over_time(terms, beta, vcov, "b", {"a_log": np.log}, [1])
    with pytest.raises(DataError, match="at least one interaction"):
        hazard_ratio_over_time(terms, beta, vcov, "a", {}, [1])
    with pytest.raises(DataError, match="beta, vcov"):
        hazard_ratio_over_time(terms, beta, np.eye(3), "a", {"a_log": np.log}, [1])
