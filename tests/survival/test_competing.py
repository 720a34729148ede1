"""Competing exits against R's survfit, cmprsk and coxph (tests/reference/make_competing.R) and slow versions."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from coalition_exit.errors import DataError, FitError
from coalition_exit.survival.competing.aalen_johansen import aalen_johansen, gray_score
from coalition_exit.survival.competing.competing import CauseFits, cause_specific, incidence_from_hazards
from coalition_exit.survival.competing.incidence import cumulative_incidence, gray_test
from coalition_exit.survival.cox.cox import CoxPH

REFERENCE = Path(__file__).parents[1] / "reference"
VALUES = pd.read_csv(
    REFERENCE / "competing_values.csv",
    keep_default_na=False,
    na_values={"value": ["NA"]},
    dtype={"term": str, "other": str},
    float_precision="round_trip",
)


def _data(name: str) -> pd.DataFrame:
    return pd.read_csv(REFERENCE / f"competing_{name}.csv", keep_default_na=False, float_precision="round_trip")


def _values(model: str, quantity: str) -> pd.DataFrame:
    chosen = VALUES[(VALUES["model"] == model) & (VALUES["quantity"] == quantity)]
    assert len(chosen), f"no reference values; run: Rscript tests/reference/make_competing.R ({model}, {quantity})"
    return chosen


SIM, MGUS2, ROWS = _data("sim"), _data("mgus2"), _data("rows")
CURVES = {
    "aj_sim": (SIM, "Surv(time, event) ~ group", {"id": "id"}),
    "aj_tied": (SIM, "Surv(tied, event) ~ group", {"id": "id", "conf_type": "log-log"}),
    "aj_weights": (SIM, "Surv(tied, event) ~ 1", {"id": "id", "weights": "weight", "conf_type": "plain"}),
    "aj_mgus2": (MGUS2, "Surv(time, event) ~ female", {}),
    "aj_entry": (MGUS2, "Surv(entry, time, event) ~ female", {"id": "id"}),
    "aj_rows": (ROWS, "Surv(start, stop, event) ~ female", {"id": "id"}),
    "gray_sim": (SIM, "Surv(time, event) ~ group", {"variance": "gray"}),
    "gray_tied": (SIM, "Surv(tied, event) ~ group", {"variance": "gray"}),
    "gray_mgus2": (MGUS2, "Surv(time, event) ~ female", {"variance": "gray"}),
}


@pytest.mark.parametrize("name", CURVES)
def test_cumulative_incidence_equals_r(name: str) -> None:
    data, formula, options = CURVES[name]
    curves = cumulative_incidence(formula, data, cause="cause", **options)
    quantities = ["estimate", "std_error"] + (["conf_low", "conf_high"] if name.startswith("aj") else [])
    checked = 0
    for quantity in quantities:
        for _, row in _values(name, quantity).iterrows():
            cause, time = row["other"].split("@")
            table = curves.table if cause != "free" else curves.event_free.assign(cause="free")
            part = table[(table["group"].astype(str) == row["term"]) & (table["cause"].astype(str) == cause)]
            last = part[part["time"] <= float(time)].iloc[-1]
            np.testing.assert_allclose(last[quantity], row["value"], rtol=1e-9, atol=1e-14)
            if cause != "free":
                step = curves.at(float(time))
                same = (step["group"].astype(str) == row["term"]) & (step["cause"].astype(str) == cause)
                np.testing.assert_array_equal(step.loc[same, quantity], last[quantity])
            checked += 1
    assert checked >= 40


SMALL = pd.DataFrame({"time": [1, 1, 2, 3, 4], "cause": [1, 1, 1, 1, 2], "group": [0, 0, 1, 1, 1]}).assign(event=1)
GRAY = {
    "gray_small": (SMALL, "Surv(time, event) ~ group", 0),
    "gray_sim": (SIM, "Surv(time, event) ~ group", 0),
    "gray_tied": (SIM, "Surv(tied, event) ~ group", 0),
    "gray_strata": (SIM, "Surv(tied, event) ~ group + strata(center)", 0),
    "gray_rho": (SIM, "Surv(tied, event) ~ group + strata(center)", 1),
    "gray_mgus2": (MGUS2, "Surv(time, event) ~ female", 0),
}


@pytest.mark.parametrize("name", GRAY)
def test_grays_test_equals_cmprsk(name: str) -> None:
    data, formula, rho = GRAY[name]
    table = gray_test(formula, data, cause="cause", rho=rho)
    statistic = _values(name, "statistic")["value"].to_numpy()
    # cmprsk writes -1 (and p = 1) where the variance is singular.
    known = statistic >= 0
    np.testing.assert_allclose(table["statistic"], np.where(known, statistic, np.nan), rtol=1e-9)
    p_value = _values(name, "p_value")["value"].to_numpy()
    np.testing.assert_allclose(table["p_value"], np.where(known, p_value, np.nan), rtol=1e-9)
    assert list(table["cause"]) == [1, 2]


CAUSE = {
    "cause_sim": (SIM, "Surv(time, event) ~ x1 + x2 + x3", "efron", {}),
    "cause_mgus2": (MGUS2, "Surv(entry, time, event) ~ age + female + hgb", "breslow", {"id": "id"}),
    "cause_rows": (ROWS, "Surv(start, stop, event) ~ now + female + hgb", "efron", {"id": "id", "cluster": "id"}),
}


def _cause_fits(name: str, correction: str = "none") -> CauseFits:
    data, formula, ties, options = CAUSE[name]
    return cause_specific(formula, data, cause="cause", model=CoxPH(ties=ties, correction=correction), **options)


@pytest.mark.parametrize("name", CAUSE)
def test_models_by_cause_and_their_equality_equal_r(name: str) -> None:
    fits = _cause_fits(name)
    tidy = fits.tidy()
    assert list(tidy.columns[:2]) == ["cause", "term"]
    np.testing.assert_allclose(tidy["estimate"], _values(name, "coef")["value"], rtol=1e-9)
    np.testing.assert_allclose(tidy["std_error"], _values(name, "std_error")["value"], rtol=1e-9)
    np.testing.assert_allclose(fits.glance()["loglik"], _values(name, "loglik")["value"], rtol=1e-11)
    test = fits.equality_test()
    wald = _values(name, "wald").set_index("term")["value"]
    np.testing.assert_allclose(test.statistic, wald[""], rtol=1e-8)
    np.testing.assert_allclose(test.by_term["statistic"], wald[list(test.by_term["term"])], rtol=1e-8)
    assert test.df == 3
    np.testing.assert_allclose(test.p_value, chi2.sf(wald[""], 3), rtol=1e-7)
    if name == "cause_rows":
        assert np.isnan(test.lr_statistic)
    else:
        lr = _values(name, "lr").set_index("term")["value"]
        np.testing.assert_allclose(test.lr_statistic, lr[""], rtol=1e-8)
        first = fits.equality_test([test.terms[0]])
        np.testing.assert_allclose(first.lr_statistic, lr[test.terms[0]], rtol=1e-8)
        np.testing.assert_allclose(first.statistic, wald[test.terms[0]], rtol=1e-8)


def test_each_model_is_a_cox_model_of_its_own_exits() -> None:
    fits = _cause_fits("cause_rows", correction="stata")
    for cause, fit in fits.fits.items():
        own = ROWS.assign(event=(ROWS["cause"] == cause).astype(int))
        alone = CoxPH(ties="efron").fit("Surv(start, stop, event) ~ now + female + hgb", own, id="id", cluster="id")
        np.testing.assert_allclose(fit.coef, alone.coef, rtol=1e-12)
        np.testing.assert_allclose(fit.vcov, alone.vcov, rtol=1e-11)
        assert fits[cause] is fit
    p = 3
    joint = fits.covariance()
    np.testing.assert_allclose(joint[:p, :p], fits[1].vcov, rtol=1e-11)
    np.testing.assert_allclose(joint[p:, p:], fits[2].vcov, rtol=1e-11)
    assert np.abs(joint[:p, p:]).max() > 0


@pytest.mark.parametrize("ties", ["breslow", "efron"])
@pytest.mark.parametrize("product", ["exponential", "limit"])
def test_incidence_from_hazards_equals_r(ties: str, product: str) -> None:
    fits = cause_specific("Surv(time, event) ~ age + female + hgb", MGUS2, cause="cause", model=CoxPH(ties=ties))
    new = pd.DataFrame({"hgb": [14, 11], "age": [60, 80], "female": [1, 0]}, index=["1", "2"])
    times = [2, 10, 50, 100, 200, 300]
    table = fits.predict(new, times, product=product)
    name = f"predict_{ties}_{product}"
    for cause in ("1", "2", "free"):
        for _, row in _values(name, cause).iterrows():
            part = table[(table["scenario"] == row["term"]) & (table["time"] == float(row["other"]))]
            if cause == "free":
                got = part["event_free"].iloc[0]
            else:
                got = part.loc[part["cause"].astype(str) == cause, "estimate"].iloc[0]
            np.testing.assert_allclose(got, row["value"], rtol=1e-9, atol=1e-15)


def test_incidences_and_survival_add_to_one() -> None:
    fits = cause_specific("Surv(time, event) ~ age + female", MGUS2, cause="exit")
    assert list(fits.fits) == ["death", "pcm"]
    for product in ("exponential", "limit"):
        table = fits.predict({"age": 75, "female": 1}, product=product)
        total = table.groupby("time")["estimate"].sum() + table.groupby("time")["event_free"].first()
        np.testing.assert_allclose(total, 1, rtol=1e-12)
    late = fits.predict({"age": 75, "female": 1}, times=[0.0, 1e4])
    assert (late.loc[late["time"] == 0, "estimate"] == 0).all()
    assert (late.loc[late["time"] == 0, "event_free"] == 1).all()
    assert late.loc[late["time"] == 1e4, ["estimate", "event_free"]].isna().all(axis=None)


def test_without_covariates_the_product_is_aalen_johansens() -> None:
    fits = cause_specific("Surv(tied, event) ~ 1", SIM, cause="cause", model=CoxPH(ties="breslow"))
    table = fits.predict(pd.DataFrame(index=["all"]), product="limit")
    curves = cumulative_incidence("Surv(tied, event) ~ 1", SIM, cause="cause").at(table["time"].unique())
    for cause in (1, 2):
        np.testing.assert_allclose(
            table.loc[table["cause"] == cause, "estimate"], curves.loc[curves["cause"] == cause, "estimate"], rtol=1e-12
        )


def test_hazards_in_closed_form() -> None:
    hazards = np.array([[[0.1, 0.2], [0.0, 0.0], [0.8, 0.4]]])
    limit, free = incidence_from_hazards(hazards, "limit")
    np.testing.assert_allclose(free[0], [0.7, 0.7, 0.0])
    np.testing.assert_allclose(limit[0], [[0.1, 0.2], [0.1, 0.2], [0.1 + 0.7 * 2 / 3, 0.2 + 0.7 / 3]])
    exponential, free = incidence_from_hazards(hazards, "exponential")
    np.testing.assert_allclose(free[0], np.exp([-0.3, -0.3, -1.5]))
    np.testing.assert_allclose(exponential[0, 0], (1 - np.exp(-0.3)) * np.array([1 / 3, 2 / 3]))


def test_curve_in_closed_form() -> None:
    data = pd.DataFrame({"t": [1, 2, 2, 3, 4], "e": [1, 1, 1, 0, 1], "c": ["a", "a", "b", "", "b"]})
    table = cumulative_incidence("Surv(t, e) ~ 1", data, cause="c").table.set_index(["cause", "time"])["estimate"]
    np.testing.assert_allclose(table["a"], [1 / 5, 2 / 5, 2 / 5, 2 / 5])
    np.testing.assert_allclose(table["b"], [0, 1 / 5, 1 / 5, 3 / 5])


def _slow_curve(data: pd.DataFrame, cause: int, weights: np.ndarray) -> np.ndarray:
    """F(t) of one cause at each distinct end, by the definition."""
    free, total, out = 1.0, 0.0, []
    for t in np.unique(data["stop"]):
        risk = ((data["start"] < t) & (t <= data["stop"])).to_numpy()
        dead = (data["stop"] == t).to_numpy()
        y = weights[risk].sum()
        total += free * weights[dead & (data["c"] == cause).to_numpy()].sum() / y
        free *= 1 - weights[dead & (data["c"] > 0).to_numpy()].sum() / y
        out.append(total)
    return np.array(out)


@st.composite
def episodes(draw: st.DrawFn) -> pd.DataFrame:
    n = draw(st.integers(3, 12))

    def column(values: st.SearchStrategy[int]) -> list[int]:
        return draw(st.lists(values, min_size=n, max_size=n))

    stop = np.array(column(st.integers(1, 8)), dtype=float)
    start = np.minimum(column(st.sampled_from([0, 0, 0, 1, 2])), stop - 1)
    data = pd.DataFrame({"start": start, "stop": stop, "c": column(st.integers(0, 2)), "u": column(st.integers(0, 5))})
    data["w"] = column(st.sampled_from([1, 1, 2, 3]))
    return data


def _curve(data: pd.DataFrame, unit: np.ndarray, weights: np.ndarray):
    return aalen_johansen(
        data["start"].to_numpy(), data["stop"].to_numpy(), data["c"].to_numpy(), 2,
        ends=np.ones(len(data), dtype=bool), unit=unit, weights=weights,
    )  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(episodes())
def test_curve_and_jackknife_equal_the_definition(data: pd.DataFrame) -> None:
    weights, unit = data["w"].to_numpy(float), data["u"].to_numpy()
    curve = _curve(data, unit, weights)
    # The curve divides by Y - dN: next to a time at which all leave it has no derivative to compare with.
    last = np.append(False, curve.event_free[:-1] == 0)
    for cause in (1, 2):
        np.testing.assert_allclose(
            curve.incidence[:, cause - 1], _slow_curve(data, cause, weights), rtol=1e-12, atol=1e-15
        )
        influence = np.zeros((6, len(curve.times)))
        for u in np.unique(unit):
            h = 1e-6
            high = _slow_curve(data, cause, weights * (1 + h * (unit == u)))
            low = _slow_curve(data, cause, weights * (1 - h * (unit == u)))
            influence[u] = (high - low) / (2 * h)
        error = np.sqrt((influence**2).sum(axis=0))
        np.testing.assert_allclose(curve.std_error[~last, cause - 1], error[~last], rtol=1e-6, atol=1e-7)


@settings(deadline=None, max_examples=30)
@given(episodes())
def test_weights_and_units_of_the_curve(data: pd.DataFrame) -> None:
    weights = data["w"].to_numpy(float)
    own = np.arange(len(data))
    curve = _curve(data, own, weights)
    repeated = data.loc[data.index.repeat(data["w"])]
    other = _curve(repeated, np.repeat(own, data["w"]), np.ones(len(repeated)))
    np.testing.assert_allclose(curve.incidence, other.incidence, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(curve.std_error, other.std_error, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(curve.n_event, other.n_event)
    everybody = _curve(data, np.zeros(len(data), dtype=int), weights)
    # The influences of all sum to zero: one unit that is everybody has no variance.
    np.testing.assert_allclose(everybody.std_error, 0, atol=1e-7)


@pytest.mark.parametrize("variance", ["infinitesimal", "gray"])
def test_censored_only_by_the_other_cause_is_binomial(variance: str) -> None:
    # Without censoring the incidence is a share p, and its variance p (1 - p) / n (Gray's: an estimate of it).
    data = SIM[SIM["event"] == 1]
    curves = cumulative_incidence("Surv(time, event) ~ 1", data, cause="cause", variance=variance)
    middle = curves.at(0.6)
    p = np.array([((data["cause"] == c) & (data["time"] <= 0.6)).mean() for c in (1, 2)])
    np.testing.assert_allclose(middle["estimate"], p, rtol=1e-12)
    tolerance = 1e-10 if variance == "infinitesimal" else 0.02
    np.testing.assert_allclose(middle["std_error"], np.sqrt(p * (1 - p) / len(data)), rtol=tolerance)


def test_split_episodes_and_gaps() -> None:
    whole = cumulative_incidence("Surv(time, event) ~ female", MGUS2, cause="cause", id="id")
    split = cumulative_incidence("Surv(start, stop, event) ~ female", ROWS, cause="cause", id="id")
    pd.testing.assert_frame_equal(whole.table, split.table, rtol=1e-9)
    pd.testing.assert_frame_equal(whole.event_free, split.event_free, rtol=1e-9)
    # A subject away from 10 to 20 is censored at 10 and back at 20.
    gap = pd.DataFrame(
        {"id": [1, 1, 2, 3], "a": [0, 20, 0, 0], "b": [10, 30, 15, 25], "e": [0, 1, 1, 1], "c": [0, 1, 2, 1]}
    )
    curves = cumulative_incidence("Surv(a, b, e) ~ 1", gap, cause="c", id="id")
    free = curves.event_free.set_index("time")
    np.testing.assert_array_equal(free["n_risk"], [3, 2, 2, 1])
    np.testing.assert_array_equal(free["n_censor"], [1, 0, 0, 0])
    np.testing.assert_allclose(free["estimate"], [1, 0.5, 0.25, 0])


def test_clusters_and_names_of_groups() -> None:
    plain = cumulative_incidence("Surv(time, event) ~ group + x2", SIM, cause="cause")
    assert list(plain.table["group"].unique()[:3]) == ["group=a, x2=0", "group=a, x2=1", "group=b, x2=0"]
    clustered = cumulative_incidence("Surv(time, event) ~ group", SIM, cause="cause", cluster="center")
    single = cumulative_incidence("Surv(time, event) ~ group", SIM, cause="cause")
    np.testing.assert_allclose(clustered.table["estimate"], single.table["estimate"], rtol=1e-14)
    assert not np.allclose(clustered.table["std_error"], single.table["std_error"])
    ordered = SIM.assign(group=pd.Categorical(SIM["group"], categories=["c", "a", "b"], ordered=True))
    assert set(cumulative_incidence("Surv(time, event) ~ group", ordered, cause="cause").table["group"]) == set("abc")


def test_grays_test_does_not_depend_on_the_order_of_groups() -> None:
    a = gray_test("Surv(tied, event) ~ group", SIM, cause="cause")
    b = gray_test(
        "Surv(tied, event) ~ other", SIM.assign(other=SIM["group"].map({"a": 9, "b": 5, "c": 7})), cause="cause"
    )
    np.testing.assert_allclose(a["statistic"], b["statistic"], rtol=1e-9)
    same = pd.concat([SIM.assign(g=0), SIM.assign(g=1)])
    np.testing.assert_allclose(gray_test("Surv(tied, event) ~ g", same, cause="cause")["statistic"], 0, atol=1e-20)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.filter_too_much])
@given(episodes())
def test_with_one_cause_grays_score_is_the_log_rank_score(data: pd.DataFrame) -> None:
    group = (data["u"] > 2).astype(int).to_numpy()
    codes = (data["c"] > 0).astype(int).to_numpy()
    assume(len(np.unique(group)) == 2)
    assume(codes.any())
    time = data["stop"].to_numpy()
    score, _ = gray_score(time, codes, group, 2, 0.0)
    expected = 0.0
    for t in np.unique(time[codes == 1]):
        at_risk, dead = time >= t, (time == t) & (codes == 1)
        expected += dead[group == 0].sum() - dead.sum() * at_risk[group == 0].sum() / at_risk.sum()
    np.testing.assert_allclose(score[0], expected, rtol=1e-10, atol=1e-12)


def test_a_variance_that_is_not_positive_gives_no_test() -> None:
    # cmprsk gives a negative chi-square here.
    data = pd.DataFrame({"time": [1, 2, 2, 2], "event": 1, "cause": 1, "group": [0, 0, 1, 1]})
    table = gray_test("Surv(time, event) ~ group", data, cause="cause")
    assert table[["statistic", "p_value"]].isna().all(axis=None)


def test_results_carry_what_is_printed_and_pickle() -> None:
    before = SIM.copy()
    fits = cause_specific("Surv(time, event) ~ x1", SIM, cause="cause", missing="drop")
    pd.testing.assert_frame_equal(SIM, before)
    again = pickle.loads(pickle.dumps(fits))
    pd.testing.assert_frame_equal(again.tidy(), fits.tidy())
    assert list(fits.tidy(exponentiate=True)["estimate"]) == list(np.exp(fits.tidy()["estimate"]))
    assert list(fits.glance()["n_event"]) == [(SIM["cause"] == c).sum() for c in (1, 2)]


def test_missing_values() -> None:
    data = SIM.astype({"cause": float})
    data.loc[data["cause"] == 0, "cause"] = np.nan
    data.loc[4, "x1"] = np.nan
    fits = cause_specific("Surv(time, event) ~ x1", data, cause="cause", missing="drop")
    kept = cause_specific("Surv(time, event) ~ x1", SIM.drop(4), cause="cause")
    np.testing.assert_allclose(fits.tidy()["estimate"], kept.tidy()["estimate"], rtol=1e-12)
    assert list(fits.glance()["n_dropped"]) == [1, 1]
    curves = cumulative_incidence(
        "Surv(time, event) ~ x2", data.assign(x2=SIM["x2"].where(SIM.index != 4)), cause="cause", missing="drop"
    )
    assert curves.n_dropped == 1


@pytest.mark.parametrize("labels", [[0, 1, 2], ["", "won", "lost"], ["0", "b", "a"], [0, 1.0, 2.5], [None, "x", "y"]])
def test_ways_to_write_a_cause(labels: list) -> None:
    column = pd.Series([labels[c] for c in SIM["cause"]], dtype=object)
    fits = cause_specific("Surv(time, event) ~ x1", SIM, cause=column)
    expected = _cause_fits("cause_sim").model
    assert expected.ties == "efron"
    plain = cause_specific("Surv(time, event) ~ x1", SIM, cause="cause")
    for code, label in ((1, labels[1]), (2, labels[2])):
        np.testing.assert_allclose(fits[label].coef, plain[code].coef, rtol=1e-12)
    assert list(fits.fits) == sorted(labels[1:])
    if "" in labels:
        ordered = pd.Series(pd.Categorical(column, categories=["", labels[2], labels[1]]))
        assert list(cause_specific("Surv(time, event) ~ x1", SIM, cause=ordered).fits) == [labels[2], labels[1]]


def test_bad_input_is_refused_by_name() -> None:
    formula = "Surv(time, event) ~ x1"
    wrong = SIM.copy()
    event, censored = SIM.index[SIM["event"] == 1][0], SIM.index[SIM["event"] == 0][0]
    with pytest.raises(DataError, match=rf"cause, row {event} .*expected the cause of the event"):
        cause_specific(formula, wrong.assign(cause=SIM["cause"].where(SIM.index != event, 0)), cause="cause")
    with pytest.raises(DataError, match=rf"cause, row {censored} .*the row has no event, got 2"):
        cause_specific(formula, wrong.assign(cause=SIM["cause"].where(SIM.index != censored, 2)), cause="cause")
    with pytest.raises(DataError, match=r"cause: .*Did you mean 'cause'"):
        cause_specific(formula, SIM, cause="cuase")
    with pytest.raises(FitError, match="no events among 150 rows"):
        cause_specific(formula, SIM.assign(event=0, cause=0), cause="cause")
    with pytest.raises(FitError, match=r"cause 1: .*monotone"):
        cause_specific(formula, SIM.assign(x1=(SIM["cause"] == 2).astype(int)), cause="cause")
    one = SIM.assign(event=(SIM["cause"] == 1).astype(int), cause=SIM["cause"].where(SIM["cause"] == 1, 0))
    single = cause_specific(formula, one, cause="cause")
    with pytest.raises(DataError, match="two causes and one term at least, got 1 and 1"):
        single.equality_test()
    fits = cause_specific(formula, SIM, cause="cause")
    with pytest.raises(DataError, match=r"terms: expected x1, got 'x2'"):
        fits.equality_test(["x2"])
    with pytest.raises(DataError, match="product: expected 'exponential' or 'limit'"):
        fits.predict({"x1": 0.5}, product="sum")
    with pytest.raises(DataError, match="a column for the term 'x1'"):
        fits.predict({"x3": 0.5})
    with pytest.raises(DataError, match="a model without strata"):
        cause_specific(formula + " + strata(group)", SIM, cause="cause").predict({"x1": 0.5})
    with pytest.raises(DataError, match="cause: expected one of 1, 2, got 3"):
        fits[3]


def test_bad_input_of_curves_is_refused_by_name() -> None:
    formula = "Surv(start, stop, event) ~ female"
    with pytest.raises(DataError, match="id: expected the subject of each row"):
        cumulative_incidence(formula, ROWS, cause="cause")
    with pytest.raises(DataError, match="expected 'infinitesimal' for start-stop"):
        cumulative_incidence(formula, ROWS, cause="cause", id="id", variance="gray")
    with pytest.raises(DataError, match="right-censored data"):
        gray_test(formula, ROWS, cause="cause")
    with pytest.raises(DataError, match="two groups or more, got 1"):
        gray_test("Surv(time, event) ~ 1", SIM, cause="cause")
    with pytest.raises(DataError, match="names of grouping columns"):
        cumulative_incidence("Surv(time, event) ~ x1 > 0.5", SIM, cause="cause")
    with pytest.raises(DataError, match=r"variance: .*Did you mean 'gray'"):
        cumulative_incidence("Surv(time, event) ~ 1", SIM, cause="cause", variance="grey")
    with pytest.raises(DataError, match="level"):
        cumulative_incidence("Surv(time, event) ~ 1", SIM, cause="cause", level=95)
    twice = pd.concat([SIM, SIM.head(1).assign(time=99.0)])
    with pytest.raises(DataError, match="one row a subject"):
        cumulative_incidence("Surv(time, event) ~ 1", twice, cause="cause", id="id")
    after = pd.DataFrame({"id": [1, 1, 2], "a": [0, 5, 0], "b": [5, 9, 7], "e": [1, 1, 1], "c": [1, 2, 1]})
    with pytest.raises(DataError, match="row 1: expected no row of a subject after its event"):
        cumulative_incidence("Surv(a, b, e) ~ 1", after, cause="c", id="id")
