"""Curves and log-rank tests: R's survfit, survdiff and coxph, lifelines' plots, invariances, bad input."""

from __future__ import annotations

import pickle
from pathlib import Path

import lifelines
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coalition_exit.errors import DataError, FitError
from coalition_exit.survival.cox.cox import CoxPH
from coalition_exit.survival.curves.curves import Curve, estimate_curve, kaplan_meier, nelson_aalen, survival_curves
from coalition_exit.survival.curves.logrank import logrank_test
from coalition_exit.survival.data.episodes import episode_report
from coalition_exit.survival.data.surv import Surv

REFERENCE = Path(__file__).parents[1] / "reference"
VALUES = pd.read_csv(REFERENCE / "stset_values.csv", dtype={"term": str, "other": str}, keep_default_na=False)

CURVES = {
    "heart_transplant": ("heart", "Surv(start, stop, event)", {"by": "transplant", "id": "id"}, "log-log"),
    "heart_plain": ("heart", "Surv(start, stop, event)", {"id": "id"}, "plain"),
    "heart_log": ("heart", "Surv(start, stop, event)", {"by": "surgery", "id": "id"}, "log"),
    "heart_cluster": ("heart", "Surv(start, stop, event)", {"by": "transplant", "cluster": "id"}, "log-log"),
    "cgd_treat": ("cgd", "Surv(tstart, tstop, status)", {"by": "treat", "id": "id"}, "log-log"),
    "cgd_center": ("cgd", "Surv(tstart, tstop, status)", {"cluster": "center"}, "plain"),
    "bladder": ("bladder2", "Surv(start, stop, event)", {"by": "rx", "id": "id"}, "log"),
    "pbcseq": ("pbcseq", "Surv(tstart, tstop, death)", {"by": "edema", "id": "id"}, "log-log"),
    "mgus": ("mgus2", "Surv(entry, futime, death)", {"by": "female"}, "log-log"),
    "veteran": ("veteran", "Surv(time, status)", {"by": "cell"}, "log-log"),
    "lung_weights": ("lung", "Surv(time, event)", {"by": "sex", "weights": "case"}, "log-log"),
    "lung_weights_cluster": (
        "lung", "Surv(time, event)", {"by": "sex", "weights": "case", "cluster": "inst"}, "log",
    ),
    "rats_litter": ("rats", "Surv(time, status)", {"by": "rx", "cluster": "litter"}, "log-log"),
}  # fmt: skip
RIGHT = {
    "veteran_cell": ("veteran", "Surv(time, status)", "cell", None, 0),
    "veteran_strata": ("veteran", "Surv(time, status)", "trt", "cell", 0),
    "veteran_peto": ("veteran", "Surv(time, status)", "cell", None, 1),
    "veteran_half": ("veteran", "Surv(time, status)", "trt", "cell", 0.5),
    "lung_sex": ("lung", "Surv(time, event)", "sex", "ph_ecog", 0),
    "rats_rx": ("rats", "Surv(time, status)", "rx", "female", 0),
    "kidney_female": ("kidney", "Surv(time, status)", "female", None, 1),
    "sums_bladder_rx": ("bladder2", "Surv(start, stop, event)", "rx", "enum", 0),
    "sums_mgus_female": ("mgus2", "Surv(entry, futime, death)", "female", "decade", 0),
    "sums_cgd_inherit": ("cgd", "Surv(tstart, tstop, status)", "hos_cat", "treat", 0),
}
COUNTING = {
    "heart_transplant": ("heart", "Surv(start, stop, event)", "transplant", None),
    "heart_strata": ("heart", "Surv(start, stop, event)", "transplant", "surgery"),
    "cgd_treat": ("cgd", "Surv(tstart, tstop, status)", "treat", "hos_cat"),
    "cgd_center": ("cgd", "Surv(tstart, tstop, status)", "hos_cat", None),
    "pbcseq_edema": ("pbcseq", "Surv(tstart, tstop, death)", "edema", None),
}


def read(name: str) -> pd.DataFrame:
    return pd.read_csv(REFERENCE / "data" / f"{name}.csv")


def expected(model: str, quantity: str, term: str | None = None) -> np.ndarray:
    rows = VALUES[(VALUES["model"] == model) & (VALUES["quantity"] == quantity)]
    if term is not None:
        rows = rows[rows["term"] == term]
    assert len(rows), f"no {quantity} of {model} in stset_values.csv: run make_stset.R"
    return rows["value"].replace("NA", "nan").astype(float).to_numpy()


@pytest.mark.parametrize("model", CURVES)
def test_curves_equal_survfit(model):
    name, response, options, kind = CURVES[model]
    curves = survival_curves(response, read(name), **options)
    terms = set(VALUES.loc[(VALUES["model"] == model) & (VALUES["quantity"] == "surv"), "term"])
    named = {key if key == "all" else f"{key:g}": curve for key, curve in curves.items()}
    assert set(named) == terms
    for key, curve in named.items():
        compare(model, key, curve, kind, "id" in options)


def compare(model: str, key: str, curve: Curve, kind: str, has_id: bool) -> None:
    rows = VALUES[(VALUES["model"] == model) & (VALUES["quantity"] == "surv") & (VALUES["term"] == key)]
    at = np.searchsorted(curve.time, rows["other"].astype(float))
    np.testing.assert_array_equal(curve.time[at], rows["other"].astype(float))
    np.testing.assert_array_equal(np.flatnonzero(curve.events), at)
    low, high = curve.survival_interval(0.95, kind)
    pairs = {
        "n.risk": curve.at_risk, "n.event": curve.events, "surv": curve.survival, "std.err": curve.std_error,
        "lower": low, "upper": high, "cumhaz": curve.hazard, "std.chaz": np.sqrt(curve.hazard_variance),
    }  # fmt: skip
    for quantity, values in pairs.items():
        want = expected(model, quantity, key)
        np.testing.assert_allclose(values[at], want, rtol=1e-10, atol=1e-12, err_msg=f"{model} {key} {quantity}")
    if has_id:
        assert curve.censored.sum() == expected(model, "n.censor", key)[0]


@pytest.mark.parametrize("model", RIGHT)
def test_logrank_equals_survdiff(model):
    name, response, by, strata, rho = RIGHT[model]
    test = logrank_test(response, read(name), by=by, strata=strata, rho=rho)
    np.testing.assert_allclose(test.statistic, expected(model, "chisq")[0], rtol=1e-10)
    np.testing.assert_allclose(test.table["observed"], expected(model, "observed"), rtol=1e-12)
    np.testing.assert_allclose(test.table["expected"], expected(model, "expected"), rtol=1e-12)


@pytest.mark.parametrize("model", COUNTING)
def test_logrank_equals_the_score_test_of_the_exact_likelihood(model):
    name, response, by, strata = COUNTING[model]
    test = logrank_test(response, read(name), by=by, strata=strata)
    np.testing.assert_allclose(test.statistic, expected(f"score_{model}", "chisq")[0], rtol=1e-9)


# Times on a grid of eighths, so that ties are frequent and exact.
ROWS = st.lists(
    st.tuples(st.integers(0, 10), st.integers(1, 6), st.booleans(), st.integers(0, 2), st.integers(1, 3)),
    min_size=1,
    max_size=12,
)


def frame(rows) -> pd.DataFrame:
    start = np.array([row[0] for row in rows]) / 8
    stop = start + np.array([row[1] for row in rows]) / 8
    return pd.DataFrame(
        {
            "start": start, "stop": stop, "event": [int(row[2]) for row in rows],
            "group": [row[3] for row in rows], "w": [float(row[4]) for row in rows],
        }
    )  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(ROWS)
def test_curve_equals_a_slow_estimate(rows):
    data = frame(rows)
    curve = estimate_curve(Surv(data["start"], data["stop"], data["event"]), data["w"].to_numpy())
    survival, greenwood, hazard, aalen = 1.0, 0.0, 0.0, 0.0
    for k, t in enumerate(curve.time):
        at_risk = data.loc[(data["start"] < t) & (t <= data["stop"]), "w"].sum()
        d = data.loc[(data["stop"] == t) & (data["event"] == 1), "w"].sum()
        assert curve.at_risk[k] == at_risk
        assert curve.events[k] == d
        if d:
            survival *= 1 - d / at_risk
            greenwood += d / (at_risk * (at_risk - d)) if d < at_risk else np.inf
            hazard += d / at_risk
            aalen += d / at_risk**2
        np.testing.assert_allclose(curve.survival[k], survival, rtol=1e-12)
        np.testing.assert_allclose(curve.hazard[k], hazard, rtol=1e-12)
        np.testing.assert_allclose(curve.hazard_variance[k], aalen, rtol=1e-12)
        want = np.nan if survival == 0 else greenwood
        np.testing.assert_allclose(curve.survival_variance[k], want, rtol=1e-12)
    assert set(data["stop"]) | set(data["start"]) == set(curve.time)
    assert curve.entered.sum() == data["w"].sum()
    assert curve.events.sum() + curve.censored.sum() == data["w"].sum()


@settings(deadline=None, max_examples=150)
@given(ROWS, st.integers(0, 1))
def test_logrank_equals_a_slow_sum(rows, rho):
    data = frame(rows)
    groups = sorted(set(data["group"]))
    observed, expected_, covariance = slow_logrank(data, groups, rho)
    use = np.flatnonzero(expected_ > 0)[1:]
    difference = (observed - expected_)[use]
    part = covariance[np.ix_(use, use)]
    if len(groups) < 2:
        with pytest.raises(DataError, match="at least two groups"):
            logrank_test("Surv(start, stop, event)", data, by="group", rho=rho)
    elif not data["event"].any() or not len(use) or np.linalg.matrix_rank(part) < len(use):
        with pytest.raises(FitError, match=r"no events|not at risk together"):
            logrank_test("Surv(start, stop, event)", data, by="group", rho=rho)
    else:
        test = logrank_test("Surv(start, stop, event)", data, by="group", rho=rho)
        np.testing.assert_allclose(
            test.statistic, difference @ np.linalg.solve(part, difference), rtol=1e-8, atol=1e-12
        )
        np.testing.assert_allclose(test.covariance, covariance, atol=1e-12)
        assert test.df == len(use)


def slow_logrank(data: pd.DataFrame, groups: list[int], rho: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    size = len(groups)
    observed, expected_, covariance = np.zeros(size), np.zeros(size), np.zeros((size, size))
    survival = 1.0
    for t in sorted(set(data.loc[data["event"] == 1, "stop"])):
        risk = data[(data["start"] < t) & (t <= data["stop"])]
        dead = risk[(risk["stop"] == t) & (risk["event"] == 1)]
        y, d, weight = len(risk), len(dead), survival**rho
        share = np.array([(risk["group"] == g).sum() / y for g in groups])
        observed += weight * np.array([(dead["group"] == g).sum() for g in groups])
        expected_ += weight * d * share
        if y > 1:
            covariance += weight**2 * d * (y - d) / (y - 1) * (np.diag(share) - np.outer(share, share))
        survival *= 1 - d / y
    return observed, expected_, covariance


def split(data: pd.DataFrame, start: str, stop: str, event: str, at: float) -> pd.DataFrame:
    """Cut every episode that crosses ``at`` in two."""
    across = (data[start] < at) & (at < data[stop])
    first = data.assign(**{stop: data[stop].where(~across, at), event: data[event].where(~across, 0)})
    return pd.concat([first, data[across].assign(**{start: at})], ignore_index=True)


def test_cutting_episodes_changes_nothing():
    data = read("heart")
    cut = split(split(data, "start", "stop", "event", 5.0), "start", "stop", "event", 40.5)
    assert len(cut) > len(data)
    options = {"by": "transplant", "id": "id"}
    whole = kaplan_meier("Surv(start, stop, event)", data, **options)
    parts = kaplan_meier("Surv(start, stop, event)", cut, **options)
    for key, fitter in whole.items():
        pd.testing.assert_frame_equal(fitter.survival_function_, parts[key].survival_function_)
        pd.testing.assert_frame_equal(fitter.event_table, parts[key].event_table)
        pd.testing.assert_frame_equal(fitter.confidence_interval_, parts[key].confidence_interval_)
    without = kaplan_meier("Surv(start, stop, event)", cut, by="transplant")[1].survival_function_
    same = whole[1].survival_function_
    np.testing.assert_allclose(without.loc[same.index], same, rtol=1e-14)
    tests = [logrank_test("Surv(start, stop, event)", d, by="transplant").statistic for d in (data, cut)]
    assert tests[0] == pytest.approx(tests[1], rel=1e-12)


def test_a_weight_of_two_is_the_row_twice():
    data = read("mgus2").head(300).assign(w=lambda d: 1 + d["female"])
    twice = pd.concat([data, data[data["female"] == 1]])
    response = "Surv(entry, futime, death)"
    weighted = survival_curves(response, data, weights="w")["all"].to_frame()
    pd.testing.assert_frame_equal(weighted, survival_curves(response, twice)["all"].to_frame())
    zero = data.assign(w=np.where(data["female"] == 1, 0, 1))
    ours = survival_curves(response, zero, weights="w")["all"].to_frame()
    pd.testing.assert_frame_equal(ours, survival_curves(response, data[data["female"] == 0])["all"].to_frame())


def test_jackknife_by_row_of_uncensored_data_is_the_binomial_variance():
    # Without censoring the influence of a row on S(t) is (1(T > t) - S(t)) / n: variance S (1 - S) / n.
    time = np.arange(1.0, 9.0)
    data = pd.DataFrame({"time": time, "event": 1, "unit": np.arange(8)})
    curve = survival_curves("Surv(time, event)", data, cluster="unit")["all"]
    s = curve.survival
    np.testing.assert_allclose(curve.std_error[:-1], np.sqrt(s * (1 - s) / 8)[:-1], rtol=1e-12, atol=1e-15)
    assert np.isnan(curve.std_error[-1])
    relabelled = data.assign(unit=list("hgfedcba"))
    again = survival_curves("Surv(time, event)", relabelled, cluster="unit")["all"]
    np.testing.assert_allclose(again.std_error, curve.std_error)


def test_strata_relabelled_and_rows_shuffled_change_nothing():
    data = read("bladder2")
    shuffled = data.sample(frac=1, random_state=3).assign(
        enum=lambda d: d["enum"].map({1: "z", 2: "y", 3: "c", 4: "k"})
    )
    first = logrank_test("Surv(start, stop, event)", data, by="rx", strata="enum", id="id")
    second = logrank_test("Surv(start, stop, event)", shuffled, by="rx", strata=["enum"], id="id")
    assert second.statistic == pytest.approx(first.statistic, rel=1e-12)
    assert first.df == 1
    assert 0 < first.p_value < 1
    text = str(first)
    assert "stratified by enum" in text
    assert "chi2(1) =" in text
    assert "<pre>" in first._repr_html_()
    assert "S(t-)^1" in str(logrank_test("Surv(start, stop, event)", data, by="rx", rho=1))


def test_groups_of_several_columns():
    curves = survival_curves("Surv(tstart, tstop, status)", read("cgd"), by=["treat", "inherit"], id="id")
    assert set(curves) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    fitter = kaplan_meier("Surv(tstart, tstop, status)", read("cgd"), by=["treat", "inherit"])[(0, 1)]
    assert fitter.label == "treat=0, inherit=1"


def test_lifelines_agrees_where_it_is_right():
    data = read("veteran")
    theirs = lifelines.KaplanMeierFitter().fit(data["time"], data["status"])
    ours = kaplan_meier("Surv(time, status)", data)["all"]
    assert type(ours) is lifelines.KaplanMeierFitter
    np.testing.assert_array_equal(ours.timeline, theirs.timeline)
    np.testing.assert_allclose(ours.survival_function_, theirs.survival_function_, rtol=1e-12, atol=1e-15)
    # At the last time the survival function is 0 and has no interval; lifelines gives 0.
    np.testing.assert_allclose(ours.confidence_interval_.iloc[:-1], theirs.confidence_interval_.iloc[:-1], rtol=1e-10)
    assert ours.confidence_interval_.iloc[-1].isna().all()
    assert ours.median_survival_time_ == theirs.median_survival_time_
    columns = list(theirs.event_table.columns)
    pd.testing.assert_frame_equal(ours.event_table[columns], theirs.event_table)
    assert str(ours) == str(theirs).replace("KM_estimate", "all")
    hazard = nelson_aalen("Surv(time, status)", data)["all"]
    plain = lifelines.NelsonAalenFitter(nelson_aalen_smoothing=False).fit(data["time"], data["status"])
    np.testing.assert_allclose(hazard.cumulative_hazard_, plain.cumulative_hazard_, rtol=1e-12)


def test_rows_that_follow_one_another_are_at_risk_once():
    # One subject in two rows beside another: at 4 two are at risk, not three.
    data = pd.DataFrame({"id": [1, 1, 2], "a": [0, 4, 0], "b": [4, 9, 4], "d": [0, 1, 1]})
    for options in ({"id": "id"}, {}):
        fitter = kaplan_meier("Surv(a, b, d)", data, **options)["all"]
        assert fitter.event_table.loc[4, "risk_set"] == 2
        assert fitter.survival_function_.loc[4, "all"] == 0.5
    table = kaplan_meier("Surv(a, b, d)", data, id="id")["all"].event_table
    assert table["censored"].sum() == 0
    assert table["entrance"].tolist() == [2, 0, 0]


def test_lifelines_methods_and_plots_work():
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from lifelines.plotting import add_at_risk_counts
    from lifelines.utils import restricted_mean_survival_time

    data = read("heart")
    curves = kaplan_meier("Surv(start, stop, event)", data, by="transplant", id="id", level=0.9)
    figure, axis = plt.subplots()
    for fitter in curves.values():
        fitter.plot_survival_function(ax=axis, show_censors=True)
    (drawn,) = [line for line in axis.get_lines() if line.get_label() == "transplant=0"]
    np.testing.assert_array_equal(drawn.get_ydata(), curves[0].survival_function_["transplant=0"])
    add_at_risk_counts(*curves.values(), ax=axis, xticks=[0, 100, 500], rows_to_show=["At risk"])
    for tick, label in zip((0, 100, 500), figure.axes[1].get_xticklabels(), strict=True):
        shown = [int(word) for word in label.get_text().split() if word.isdigit()]
        just_after = (data["start"] <= tick) & (tick < data["stop"])
        assert shown == [int((just_after & (data["transplant"] == key)).sum()) for key in (0, 1)]
    plt.close(figure)
    fitter = curves[0]
    assert list(fitter.confidence_interval_.columns) == ["transplant=0_lower_0.9", "transplant=0_upper_0.9"]
    at = fitter.survival_function_at_times([0, 50, 100])
    assert at.iloc[0] == 1.0
    assert fitter.predict(50) == at.loc[50]
    assert fitter.subtract(curves[1]).shape[1] == 1
    assert restricted_mean_survival_time(fitter, t=100) > 0
    with pytest.warns(lifelines.exceptions.ApproximationWarning):
        assert fitter.percentile(0.5) == fitter.median_survival_time_
    again = pickle.loads(pickle.dumps(fitter))
    pd.testing.assert_frame_equal(again.survival_function_, fitter.survival_function_)
    hazards = nelson_aalen("Surv(start, stop, event)", data, by="transplant", id="id", interval="plain")
    axis = hazards[1].plot_cumulative_hazard()
    assert axis.get_lines()[0].get_ydata()[-1] == pytest.approx(hazards[1].cumulative_hazard_.iloc[-1, 0])
    assert np.isfinite(hazards[1].smoothed_hazard_(30)).all(axis=None)
    plt.close("all")
    cumulative = fitter.confidence_interval_cumulative_density_
    assert (cumulative.iloc[:, 0] <= cumulative.iloc[:, 1]).all()


def test_nothing_is_changed_and_results_are_their_own():
    data = read("cgd")
    before = data.copy(deep=True)
    fitter = kaplan_meier("Surv(tstart, tstop, status)", data, by="treat", id="id", cluster="center")[1]
    logrank_test("Surv(tstart, tstop, status)", data, by="treat", strata="hos_cat")
    pd.testing.assert_frame_equal(data, before)
    fitter.timeline[:] = 0
    assert fitter.curve_.time[-1] > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"by": "tret"}, "by: expected one of .*Did you mean 'treat'"),
        ({"id": "no"}, "id: expected one of"),
        ({"interval": "loglog"}, "interval: expected one of log-log, log, plain.*Did you mean 'log-log'"),
        ({"level": 1.0}, "level: expected a number between 0 and 1"),
        ({"weights": "minus"}, "weights, row 3: expected a number >= 0"),
        ({"cluster": "one"}, "cluster: expected at least two clusters"),
        ({"by": "hole"}, "by, column 'hole', row 2"),
    ],
)
def test_bad_options_are_refused(change, message):
    data = read("cgd").assign(minus=0.5, one=1, hole=1.0)
    data.loc[3, "minus"] = -1
    data.loc[2, "hole"] = np.nan
    with pytest.raises(DataError, match=message):
        kaplan_meier("Surv(tstart, tstop, status)", data, **change)


@pytest.mark.parametrize("function", [kaplan_meier, nelson_aalen, survival_curves, logrank_test, episode_report])
def test_the_response_comes_first_as_the_formula_does(function):
    beside = {logrank_test: {"by": "treat"}, episode_report: {"id": "id"}}.get(function, {})
    with pytest.raises(DataError, match=r"response: expected text such as 'Surv\(.*got a DataFrame"):
        function(read("cgd"), "Surv(tstart, tstop, status)", **beside)
    with pytest.raises(DataError, match="response: expected 'Surv"):
        function("Surv(tstart, tstop, status) ~ treat", read("cgd"), **beside)
    with pytest.raises(DataError, match=r"formula: expected text such as .*got a DataFrame"):
        CoxPH().fit(read("cgd"), "Surv(tstart, tstop, status) ~ treat")


def test_bad_data_are_refused():
    data = read("cgd")
    with pytest.raises(DataError, match="groups in by="):
        kaplan_meier("Surv(tstart, tstop, status) ~ treat", data)
    with pytest.raises(DataError, match="groups in by="):
        logrank_test("Surv(tstart, tstop, status) ~ treat", data, by="treat")
    with pytest.raises(DataError, match="'log' or 'plain'"):
        nelson_aalen("Surv(tstart, tstop, status)", data, interval="log-log")
    with pytest.raises(DataError, match="subject 1, row 1"):
        kaplan_meier("Surv(tstart, tstop, status)", data.assign(tstart=0), id="id")
    with pytest.raises(DataError, match="at least two groups, got 1"):
        logrank_test("Surv(tstart, tstop, status)", data.assign(g=1), by="g")
    with pytest.raises(FitError, match="no events"):
        logrank_test("Surv(tstart, tstop, status)", data.assign(status=0), by="treat")
    with pytest.raises(DataError, match="rho: expected a finite number"):
        logrank_test("Surv(tstart, tstop, status)", data, by="treat", rho=np.nan)
    apart = pd.DataFrame({"a": [0, 5], "b": [4, 9], "d": [1, 1], "g": [0, 1]})
    with pytest.raises(FitError, match="not at risk together"):
        logrank_test("Surv(a, b, d)", apart, by="g")
    with pytest.raises(DataError, match="rho: expected a number >= 0 where"):
        logrank_test("Surv(a, b, d)", apart, by="g", rho=-1)
    with pytest.raises(DataError, match="positive weight"):
        kaplan_meier("Surv(tstart, tstop, status)", data.assign(w=data["treat"]), by="treat", weights="w")
