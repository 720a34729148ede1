"""Baseline hazard: against R's basehaz and survfit, slow loops, closed forms and invariances."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from coalition_exit.errors import DataError, FitError
from coalition_exit.survival import CoxPH
from coalition_exit.survival.quantities.baseline import (
    baseline_hazard,
    hazard_jumps,
    reference_point,
    reweighted_hazard,
)
from predict_reference import NAMES, data_of, fit_of, labels_of, r_values, slow_jumps, state_of

RTOL = 1e-11


def _table(model: str, at: object = "r", **options: object) -> pd.DataFrame:
    found = baseline_hazard(
        state_of(model), at, vcov=fit_of(model).covariance, strata_labels=labels_of(model), **options
    )
    table = found.table.copy()
    return table if "stratum" in table else table.assign(stratum="")


@pytest.mark.parametrize("model", NAMES)
def test_reference_points_are_rs_means(model: str) -> None:
    values, _ = reference_point(state_of(model), "r")
    np.testing.assert_allclose(values, r_values(model, "means")["value"], rtol=RTOL, atol=1e-14)


@pytest.mark.parametrize("model", NAMES)
@pytest.mark.parametrize("centered", [True, False])
def test_cumulative_hazard_equals_basehaz(model: str, centered: bool) -> None:
    # R leaves the offset at its weighted mean in both.
    offset = None if centered else reference_point(state_of(model), "mean")[1]
    table = _table(model, "r" if centered else "zero", offset=offset)
    expected = r_values(model, "basehaz_r" if centered else "basehaz_zero")
    for stratum, rows in expected.groupby("term"):
        own = table[table["stratum"] == stratum]
        # R lists censoring times too; the hazard there is that of the last event time before.
        place = np.searchsorted(own["time"], rows["other"].astype(float), side="right")
        got = np.append(0.0, own["cumulative_hazard"])[place]
        np.testing.assert_allclose(got, rows["value"], rtol=RTOL)


@pytest.mark.parametrize("model", NAMES)
def test_counts_and_errors_equal_survfit(model: str) -> None:
    table = _table(model).set_index(["stratum", "time"])
    for column, quantity in (
        ("cumulative_hazard", "cumhaz"),
        ("std_error", "std.err"),
        ("n_risk", "n.risk"),
        ("n_event", "n.event"),
    ):
        expected = r_values(model, f"baseline_{quantity}")
        keys = list(zip(expected["term"].str[2:], expected["other"].astype(float), strict=True))
        np.testing.assert_allclose(table.loc[keys, column], expected["value"], rtol=RTOL)


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_null_model_is_nelson_aalen_as_in_r(ties: str) -> None:
    fit = CoxPH(ties=ties).fit("Surv(time, event) ~ 1", data_of("lung"))
    table = baseline_hazard(fit.state).table.set_index("time")
    for column, quantity in (("cumulative_hazard", "cumhaz"), ("std_error", "std.err"), ("n_risk", "n.risk")):
        expected = r_values(f"null_{ties}", quantity)
        np.testing.assert_allclose(table.loc[expected["other"].astype(float), column], expected["value"], rtol=RTOL)


def test_closed_forms() -> None:
    d = pd.DataFrame({"time": [1, 1, 2, 3, 4], "event": [1, 1, 0, 1, 0]})
    breslow = baseline_hazard(CoxPH(ties="breslow").fit("Surv(time, event) ~ 1", d).state).table
    assert list(breslow["time"]) == [1, 3]
    assert list(breslow["n_risk"]) == [5, 2]
    assert list(breslow["n_event"]) == [2, 1]
    np.testing.assert_allclose(breslow["hazard"], [2 / 5, 1 / 2])
    np.testing.assert_allclose(breslow["std_error"] ** 2, [2 / 25, 2 / 25 + 1 / 4])
    efron = baseline_hazard(CoxPH(ties="efron").fit("Surv(time, event) ~ 1", d).state).table
    np.testing.assert_allclose(efron["hazard"], [1 / 5 + 1 / 4, 1 / 2])
    np.testing.assert_allclose(efron["std_error"] ** 2, [1 / 25 + 1 / 16, 1 / 25 + 1 / 16 + 1 / 4])


def test_tables_name_the_stratum_only_where_there_are_strata() -> None:
    assert list(baseline_hazard(state_of("cgd_efron")).table) == [
        "time", "n_risk", "n_event", "hazard", "cumulative_hazard", "std_error",
    ]  # fmt: skip
    table = baseline_hazard(state_of("bladder_efron"), strata_labels=["a", "b", "c", "d"]).table
    assert "stratum" in table
    assert list(dict.fromkeys(table["stratum"])) == ["a", "b", "c", "d"]


def test_strata_go_by_their_values_in_the_data() -> None:
    """Also where the values are whole numbers that a code could be mistaken for."""
    d = data_of("bladder2").sort_values("enum", ascending=False)
    fit = CoxPH().fit("Surv(start, stop, event) ~ rx + size + strata(enum)", d)
    new = pd.DataFrame({"rx": [1.0], "size": [2.0]})
    one = fit.scenarios(new, strata=2).items[0]
    assert one.stratum == 2
    np.testing.assert_array_equal(one.times, np.unique(d.loc[(d["enum"] == 2) & (d["event"] == 1), "stop"]))
    table = fit.baseline().table
    for value, rows in table.groupby("stratum"):
        own = d[(d["enum"] == value) & (d["event"] == 1)]
        np.testing.assert_array_equal(rows["n_event"], own.groupby("stop").size())
    path = pd.DataFrame({"start": [0.0, 5], "stop": [5.0, 20], "rx": 1.0, "size": 2.0, "enum": [1, 3]})
    times = fit.path(path, strata="enum").items[0].times
    wanted = d[(d["event"] == 1) & (((d["enum"] == 1) & (d["stop"] <= 5)) | ((d["enum"] == 3) & (d["stop"] > 5)))]
    np.testing.assert_array_equal(times, np.unique(wanted.loc[wanted["stop"] <= 20, "stop"]))
    with pytest.raises(DataError, match="strata: expected one of 4, 3, 2, 1, got 0"):
        fit.scenarios(new, strata=0)


def test_strata_of_two_columns_are_pairs_of_values() -> None:
    d = data_of("bladder2").assign(arm=lambda d: np.where(d["rx"] == 1, "a", "b"))[::-1]
    fit = CoxPH().fit("Surv(start, stop, event) ~ size + strata(enum, arm)", d)
    table = fit.baseline().table
    assert set(table["stratum"]) == {(k, arm) for k in (1, 2, 3, 4) for arm in "ab"}
    for (k, arm), rows in table.groupby("stratum"):
        own = d[(d["enum"] == k) & (d["arm"] == arm) & (d["event"] == 1)]
        np.testing.assert_array_equal(rows["n_event"], own.groupby("stop").size())
    one = fit.scenarios(pd.DataFrame({"size": [1.0]}), strata=(2, "b")).items[0]
    assert one.stratum == (2, "b")
    residuals = fit.residuals("schoenfeld").index
    named = d.loc[residuals.get_level_values("row"), ["enum", "arm"]].itertuples(index=False, name=None)
    assert list(named) == list(residuals.get_level_values("stratum"))


def test_hazard_at_given_values_is_proportional() -> None:
    state = state_of("lung_weighted")
    given_values = {"age": 50.0, "sex": 2.0, "ph_ecog": 1.0}
    found, zero = baseline_hazard(state, given_values), baseline_hazard(state)
    ratio = np.exp(state.beta @ np.array([50.0, 2.0, 1.0]))
    np.testing.assert_allclose(found.table["cumulative_hazard"], zero.table["cumulative_hazard"] * ratio, rtol=1e-12)
    assert dict(found.at) == given_values
    moved = baseline_hazard(state, given_values, offset=0.7)
    np.testing.assert_allclose(moved.table["std_error"], found.table["std_error"] * np.exp(0.7), rtol=1e-12)
    mean = baseline_hazard(state, "mean")
    np.testing.assert_allclose(mean.at, np.average(state.design.x, axis=0, weights=state.weights), rtol=1e-12)


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_splitting_episodes_changes_nothing(ties: str) -> None:
    whole = data_of("cgd")
    early, late = whole.copy(), whole.copy()
    middle = np.floor((whole["tstart"] + whole["tstop"]) / 2)
    early["tstop"], early["status"], late["tstart"] = middle, 0, middle
    split = pd.concat([early[middle > whole["tstart"]], late])
    formula = "Surv(tstart, tstop, status) ~ treat + age + strata(hos_cat)"
    one, two = (baseline_hazard(CoxPH(ties=ties).fit(formula, d).state).table for d in (whole, split))
    # Strata are numbered as they come.
    two["stratum"] = one["stratum"]
    pd.testing.assert_frame_equal(one, two, rtol=1e-9)


def test_weight_two_is_a_row_twice_under_breslow() -> None:
    d = data_of("veteran")
    d["double"] = 1 + d["prior"] / 10
    twice = pd.concat([d, d[d["double"] == 2]])
    formula = "Surv(time, status) ~ karno + age"
    one = baseline_hazard(CoxPH().fit(formula, d, weights="double").state).table
    two = baseline_hazard(CoxPH().fit(formula, twice).state).table
    pd.testing.assert_frame_equal(one, two, rtol=1e-9)


def test_strata_relabelled() -> None:
    d = data_of("veteran")
    formula = "Surv(time, status) ~ karno + strata(cell)"
    one = baseline_hazard(CoxPH().fit(formula, d).state, strata_labels=pd.factorize(d["cell"])[1]).table
    turned = d.assign(cell=9 - d["cell"])
    two = baseline_hazard(CoxPH().fit(formula, turned).state, strata_labels=pd.factorize(turned["cell"])[1]).table
    two["stratum"] = 9 - two["stratum"]
    pd.testing.assert_frame_equal(one, two, rtol=1e-10)


@st.composite
def small_data(draw: st.DrawFn) -> pd.DataFrame:
    n = draw(st.integers(8, 25))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    start = rng.integers(0, 6, n)
    d = pd.DataFrame({"start": start, "stop": start + rng.integers(1, 7, n), "event": rng.random(n) < 0.7})
    return d.assign(
        x=rng.normal(size=n), z=rng.integers(0, 2, n), g=rng.integers(0, 2, n), w=rng.choice([0.5, 1, 2], n),
        o=rng.normal(size=n),
    )  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(d=small_data(), ties=st.sampled_from(["breslow", "efron"]), stratified=st.booleans())
def test_jumps_equal_slow_loops(d: pd.DataFrame, ties: str, stratified: bool) -> None:
    formula = "Surv(start, stop, event) ~ x + z" + (" + strata(g)" if stratified else "")
    try:
        state = CoxPH(ties=ties).fit(formula, d, weights="w", offset="o").state
    except FitError:
        reject()
    jumps, variances = slow_jumps(state, state.beta)
    found = baseline_hazard(state)
    np.testing.assert_allclose(found.table["hazard"], jumps, rtol=1e-9)
    kept = hazard_jumps(state)
    scale = np.exp(kept.log_scale - kept.center @ kept.beta)
    np.testing.assert_allclose(kept.variance * scale**2, variances, rtol=1e-9)
    # The derivative of the jumps to the coefficients is minus jump * mean covariate in the risk set.
    step = 1e-5
    for j in range(2):
        move = step * np.eye(2)[j]
        slope = (slow_jumps(state, state.beta + move)[0] - slow_jumps(state, state.beta - move)[0]) / (2 * step)
        mean = scale * (kept.mean_hazard[:, j] + kept.hazard * kept.center[j])
        np.testing.assert_allclose(slope, -mean, rtol=1e-5, atol=1e-7 * np.abs(mean).max())


@pytest.mark.parametrize("model", ["lung_weighted", "lung_offset_breslow", "bladder_efron"])
def test_reweighted_hazard(model: str) -> None:
    state = state_of(model)
    kept = hazard_jumps(state)
    own = reweighted_hazard(state, state.beta[None, :], state.weights[None, :])(0)
    np.testing.assert_allclose(own, kept.hazard * np.exp(kept.log_scale), rtol=1e-10)
    # Other weights, given by a function; a new fit with them finds the same hazard.
    rng = np.random.default_rng(5)
    clusters = rng.multinomial(30, np.ones(30) / 30)
    weights = state.weights * clusters[np.arange(len(state.design.surv)) % 30]
    d = data_of(model.split("_", maxsplit=1)[0].replace("bladder", "bladder2"))
    formula = "Surv(start, stop, event) ~ rx + size + number + strata(enum)"
    formula = formula if model == "bladder_efron" else "Surv(time, event) ~ " + " + ".join(state.design.names)
    offset = None if state.design.offset is None else "shift"
    again = CoxPH(ties=state.likelihood.ties).fit(formula, d, weights=weights, offset=offset).state
    hazard = reweighted_hazard(state, np.vstack([state.beta, again.beta]), lambda draw: weights)(1)
    new = baseline_hazard(again, dict(zip(state.design.names, state.center, strict=True))).table["hazard"]
    np.testing.assert_allclose(hazard, new, rtol=1e-8)
    assert (hazard[np.asarray(again.risk_sets.sum_events(again.likelihood.weights)) == 0] == 0).all()


def test_bad_input_is_refused() -> None:
    state = state_of("lung_breslow")
    names = list(state.design.names)
    with pytest.raises(DataError, match=r"vcov: expected shape \(3, 3\), got \(2, 2\)"):
        hazard_jumps(state, vcov=np.eye(2))
    with pytest.raises(DataError, match="vcov: expected rows and columns"):
        hazard_jumps(state, vcov=pd.DataFrame(np.eye(3), index=names[::-1], columns=names[::-1]))
    with pytest.raises(DataError, match="vcov: expected finite numbers"):
        hazard_jumps(state, vcov=np.full((3, 3), np.nan))
    with pytest.raises(DataError, match="Did you mean 'efron'"):
        hazard_jumps(state, ties="efrn")
    with pytest.raises(DataError, match="Did you mean 'mean'"):
        baseline_hazard(state, "means")
    with pytest.raises(DataError, match="a column for the term 'ph_ecog'"):
        baseline_hazard(state, {"age": 1.0, "sex": 1.0})
    with pytest.raises(DataError, match="a hazard that is a finite number"):
        baseline_hazard(state, {"age": 1e6, "sex": 1.0, "ph_ecog": 0.0})
    with pytest.raises(DataError, match="strata_labels: expected 4 different labels"):
        hazard_jumps(state_of("bladder_efron"), strata_labels=["a", "b", "c", "c"])
    with pytest.raises(DataError, match=r"coefficients: expected shape \(draws, 3\)"):
        reweighted_hazard(state, np.zeros(3), np.ones((1, 227)))
    with pytest.raises(DataError, match="weights, draw 0: expected 226 values"):
        reweighted_hazard(state, np.zeros((1, 3)), np.ones((1, 5)))(0)
