"""Proportional hazards tests: cox.zph of R survival 3, the published approximation, definitions."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, rankdata

from checks_reference import MODELS, data_of, fitted, reference
from coalition_exit.errors import DataError, FitError
from coalition_exit.survival import CoxPH, Surv
from coalition_exit.survival.checks.phtest import TRANSFORMS, proportional_hazards_test
from coalition_exit.survival.checks.residuals import schoenfeld_residuals
from coalition_exit.survival.cox.partial import PartialLikelihood
from coalition_exit.survival.cox.risksets import prepare_risk_sets

COLUMNS = ["method", "transform", "term", "statistic", "df", "p_value", "variance", "rho"]


@pytest.mark.parametrize("model", MODELS)
def test_both_tests_equal_r(model):
    fit = fitted(model)
    transforms = ["identity", "rank", "log", "km", np.sqrt]
    found = {"model": proportional_hazards_test(fit.state, transforms).set_index(["method", "transform", "term"])}
    robust = proportional_hazards_test(fit.state, transforms, "grambsch_therneau", covariance=fit.covariance)
    found["robust"] = robust.set_index(["transform", "term"])
    table = reference("tests").query("model == @model")
    kinds = {"score", "grambsch_therneau"} | ({"robust"} if MODELS[model]["cluster"] else set())
    assert set(table["quantity"]) == {f"{kind}_{name}" for kind in kinds for name in (*TRANSFORMS, "sqrt")}
    for quantity, term, other, value in table[["quantity", "term", "other", "value"]].itertuples(index=False):
        method, transform = quantity.rsplit("_", 1)
        at = (transform, term) if method == "robust" else (method, transform, term)
        mine = found["robust" if method == "robust" else "model"].loc[at, other]
        # A statistic is the square of a sum that may nearly cancel: 1e-10 of it, or of its unit.
        assert mine == pytest.approx(value, rel=1e-9, abs=1e-14 if other == "statistic" else 1e-12), (at, other)


def test_result_is_tidy_and_named():
    fit = fitted("veteran_breslow")
    found = proportional_hazards_test(fit.state, ["km", "log"])
    assert list(found.columns) == COLUMNS
    assert list(found["method"].unique()) == ["score", "grambsch_therneau"]
    assert list(found["transform"].unique()) == ["km", "log"]
    assert list(found["term"][: len(fit.terms) + 1]) == [*fit.terms, "GLOBAL"]
    assert (found["variance"] == "model").all()
    assert found.query("term == 'GLOBAL'")["df"].eq(len(fit.terms)).all()
    np.testing.assert_allclose(found["p_value"], chi2.sf(found["statistic"], found["df"]))
    assert found["rho"].notna().sum() == 2 * len(fit.terms)
    given = proportional_hazards_test(fit.state, covariance=2 * fit.covariance)
    assert list(given["variance"]) == ["model"] * 6 + ["given"] * 6
    gt = found.query("method == 'grambsch_therneau' and transform == 'km'")
    np.testing.assert_allclose(given["statistic"][6:], 2 * gt["statistic"], rtol=1e-12)


def test_a_singular_covariance_has_fewer_degrees_of_freedom():
    state = fitted("veteran_breslow").state
    root = np.random.default_rng(5).normal(size=(5, 3)) / 100
    found = proportional_hazards_test(state, "identity", "grambsch_therneau", covariance=root @ root.T)
    assert list(found["df"]) == [1, 1, 1, 1, 1, 3]
    residual = schoenfeld_residuals(state)
    g = residual.index.get_level_values("time").to_numpy()
    g = g - g.mean()
    u = root.T @ (g @ residual.to_numpy())
    assert found["statistic"].iloc[-1] == pytest.approx(len(g) * u @ u / (g @ g), rel=1e-9)


def test_joint_test_of_a_factor_equals_cox_zph_with_terms():
    fit = CoxPH(ties="efron").fit("Surv(time, status) ~ karno + C(cell)", data_of("veteran"))
    columns = [term for term in fit.terms if term != "karno"]
    found = proportional_hazards_test(fit.state, "km", groups={"cell": columns})
    score = found.query("method == 'score'").set_index("term")
    for term, other, value in (
        reference("tests").query("model == 'veteran_factor'")[["term", "other", "value"]].itertuples(index=False)
    ):
        assert score.loc[term, other] == pytest.approx(value, rel=1e-9)
    every = proportional_hazards_test(fit.state, "km", groups={"all": fit.terms}).set_index(["method", "term"])
    for method in ("score", "grambsch_therneau"):
        assert every.loc[(method, "all"), "statistic"] == pytest.approx(every.loc[(method, "GLOBAL"), "statistic"])
    assert list(found.query("method == 'score'")["term"]) == [*fit.terms, "cell", "GLOBAL"]


def small_data():
    row = st.tuples(
        st.integers(0, 5), st.integers(1, 5), st.booleans(), st.integers(-2, 2), st.integers(-2, 2),
        st.sampled_from([1, 2, 3]), st.integers(0, 1),
    )  # fmt: skip
    return st.lists(row, min_size=12, max_size=20)


def fit_small(rows, ties):
    start, length, event, x, z, w, stratum = (np.array(column) for column in zip(*rows, strict=True))
    data = pd.DataFrame(
        {"start": start, "stop": start + length, "event": event, "x": x, "z": z, "w": w, "stratum": stratum}
    )
    try:
        fit = CoxPH(ties=ties).fit("Surv(start, stop, event) ~ x + z + strata(stratum)", data, weights="w")
    except FitError:
        assume(False)
    assume(np.ptp(data["stop"][data["event"]]) > 0)
    return data, fit


@settings(max_examples=40, deadline=None)
@given(rows=small_data(), ties=st.sampled_from(["breslow", "efron"]))
def test_score_test_is_that_of_the_expanded_data(rows, ties):
    """Split every row at every event time, add x g(t) as columns, and test them at 0."""
    data, fit = fit_small(rows, ties)
    found = proportional_hazards_test(fit.state, lambda t: t**2, "score")
    assume(found["statistic"].notna().all())
    times = np.unique(data["stop"][data["event"]])
    parts = [
        data[(data["start"] < t) & (t <= data["stop"])].assign(
            stop=t, event=lambda d, t=t: d["event"] & (data["stop"] == t)
        )
        for t in times
    ]
    long = pd.concat(parts)
    surv = Surv(long["stop"] - 1e-3, long["stop"], long["event"])
    rs = prepare_risk_sets(surv, long["stratum"].to_numpy())
    x = np.column_stack([long["x"], long["z"]]) - fit.state.center
    g = (long["stop"].to_numpy() ** 2)[:, None]
    columns = np.column_stack([x, x * (g - g.mean())])[rs.rows]
    likelihood = PartialLikelihood(rs, columns, long["w"].to_numpy(dtype=float)[rs.rows], None, ties)
    at = likelihood.evaluate(np.r_[fit.beta, 0, 0])
    sets = {"x": [0, 1, 2], "z": [0, 1, 3], "GLOBAL": [0, 1, 2, 3]}
    for term, keep in sets.items():
        u = at.score[keep]
        expected = u @ np.linalg.solve(at.information[np.ix_(keep, keep)], u)
        assert found.set_index("term").loc[term, "statistic"] == pytest.approx(expected, rel=1e-6, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(rows=small_data(), ties=st.sampled_from(["breslow", "efron"]), transform=st.sampled_from(TRANSFORMS))
def test_grambsch_therneau_is_the_published_formula(rows, ties, transform):
    data, fit = fit_small([(*row[:5], 1, row[6]) for row in rows], ties)
    found = proportional_hazards_test(fit.state, transform, "grambsch_therneau").set_index("term")
    residual = schoenfeld_residuals(fit.state)
    times = residual.index.get_level_values("time").to_numpy()
    d = len(times)
    g = {
        "identity": times,
        "log": np.log(times),
        "rank": rankdata(times),
        "km": np.array([1 - survival_before(data, t) for t in times]),
    }[transform]
    g = g - g.mean()
    scaled = d * residual.to_numpy() @ fit.state.inverse
    expected = (g @ scaled) ** 2 / (d * np.diag(fit.state.inverse) * (g @ g))
    np.testing.assert_allclose(found["statistic"].iloc[:2], expected, rtol=1e-9, atol=1e-12)
    u = g @ residual.to_numpy()
    assert found.loc["GLOBAL", "statistic"] == pytest.approx(d * u @ fit.state.inverse @ u / (g @ g), abs=1e-12)
    for j, term in enumerate(("x", "z")):
        if np.ptp(scaled[:, j]) < 1e-12:
            assert np.isnan(found.loc[term, "rho"])
        else:
            assert found.loc[term, "rho"] == pytest.approx(np.corrcoef(g, scaled[:, j])[0, 1], abs=1e-9)


def survival_before(data, t):
    survival = 1.0
    for s in sorted(set(data["stop"][data["event"]])):
        if s < t:
            at_risk = ((data["start"] < s) & (s <= data["stop"])).sum()
            survival *= 1 - (data["event"] & (data["stop"] == s)).sum() / at_risk
    return survival


def test_a_weight_of_two_is_the_row_twice():
    data = data_of("lung").assign(w=np.where(np.arange(226) % 3 == 0, 2, 1))
    twice = data.loc[data.index.repeat(data["w"])]
    formula = "Surv(time, event) ~ age + sex + ph_ecog"
    weighted, plain = CoxPH().fit(formula, data, weights="w").state, CoxPH().fit(formula, twice).state
    for transform in ("identity", "log"):
        one, two = (proportional_hazards_test(state, transform) for state in (weighted, plain))
        np.testing.assert_allclose(one["statistic"], two["statistic"], rtol=1e-8)
        np.testing.assert_allclose(one["rho"], two["rho"], rtol=1e-8)


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_rows_of_weight_zero_are_absent(ties):
    data = data_of("lung").assign(w=np.arange(226) % 3)
    formula = "Surv(time, event) ~ age + sex"
    states = [CoxPH(ties=ties).fit(formula, d, weights="w").state for d in (data, data[data["w"] > 0])]
    one, two = (proportional_hazards_test(state, TRANSFORMS) for state in states)
    np.testing.assert_allclose(one["statistic"], two["statistic"], rtol=1e-9)


def test_splitting_and_relabelling_change_nothing():
    data = data_of("cgd")
    long = data["tstop"] - data["tstart"] > 100
    early = data.assign(
        tstop=np.where(long, data["tstart"] + 50, data["tstop"]), status=np.where(long, 0, data["status"])
    )
    late = data[long].assign(tstart=data["tstart"] + 50)
    split = pd.concat([early, late])
    other = data.assign(hos_cat=-data["hos_cat"])
    formula = "Surv(tstart, tstop, status) ~ treat + age + strata(hos_cat)"
    states = [CoxPH(ties="efron").fit(formula, d).state for d in (data, split, other)]
    # "rank" of the score test counts the rows, as R does, hence is left out for split rows.
    tables = [proportional_hazards_test(state, ["identity", "log", "km"])["statistic"] for state in states]
    np.testing.assert_allclose(tables[1], tables[0], rtol=1e-8)
    np.testing.assert_allclose(tables[2], tables[0], rtol=1e-10)


def test_shifting_or_scaling_time_changes_nothing():
    state = fitted("veteran_strata").state
    one, two = proportional_hazards_test(state, "identity"), proportional_hazards_test(state, lambda t: 1000 - 7 * t)
    np.testing.assert_allclose(one["statistic"], two["statistic"], rtol=1e-9)
    np.testing.assert_allclose(one["rho"], -two["rho"], rtol=1e-9)
    assert set(two["transform"]) == {"<lambda>"}


def test_a_term_that_time_cannot_be_told_from_has_no_test():
    # x varies in the risk set of one event time only, so x g(t) is a multiple of x there.
    data = pd.DataFrame(
        {
            "start": [0, 0, 0, 1, 1, 1, 2, 2, 2, 2.0],
            "stop": [1, 1, 1, 2, 2, 2, 3, 3, 3, 3.0],
            "d": [1, 0, 0, 1, 0, 0, 1, 0, 1, 0],
            "x": [1, 0, 2, 0, 0, 0, 0, 0, 0, 0],
            "z": [0, 1, -1, 1, 2, 0.3, 1, -1, 0, 2],
        }
    )
    state = CoxPH().fit("Surv(start, stop, d) ~ x + z", data).state
    found = proportional_hazards_test(state, "identity", "score").set_index("term")
    assert np.isnan(found.loc["x", "statistic"])
    assert np.isnan(found.loc["x", "p_value"])
    assert np.isnan(found.loc["GLOBAL", "statistic"])
    assert found.loc["z", "statistic"] > 0


def test_events_at_one_time_have_no_test():
    data = pd.DataFrame({"t": [5, 5, 6, 7, 8], "d": [1, 1, 0, 0, 0], "x": [1.0, 0, 1, 0, 2]})
    state = CoxPH().fit("Surv(t, d) ~ x", data).state
    with pytest.raises(FitError, match="the transformed time is the same at every event") as caught:
        proportional_hazards_test(state)
    assert caught.value.status == "no_variation"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "scores"}, "method: expected one of score, grambsch_therneau, both.*Did you mean 'score'"),
        (
            {"transform": "ranks"},
            "transform: expected one of km, rank, log, identity or a function.*Did you mean 'rank'",
        ),
        ({"transform": ["km", "KM"]}, "transform: expected one of"),
        ({"transform": lambda t: 1.0}, "transform: expected a function that returns 72 values, got shape"),
        ({"transform": lambda t: t - np.inf}, "transform: expected a finite value at every event time, got -inf"),
        ({"covariance": np.eye(2)}, "covariance: expected a finite matrix of shape .3, 3. with positive variances"),
        ({"covariance": np.diag([1, 0, 1])}, "covariance: expected a finite matrix of shape .3, 3. with positive"),
        ({"groups": {"a": ["agee"]}}, "groups.'a'.: expected one of trt, karno, age, got 'agee'. Did you mean 'age'"),
        ({"groups": {"age": ["karno"]}}, "groups: expected a new name and a list of terms"),
        ({"groups": {"a": []}}, "groups: expected a new name and a list of terms"),
        ({"groups": {"a": "age"}}, "groups: expected a new name and a list of terms"),
    ],
)
def test_bad_input(options, message):
    state = fitted("veteran_strata").state
    if "returns 72" in message:
        message = message.replace("72", str(len(state.risk_sets.times)))
    with pytest.raises(DataError, match=message):
        proportional_hazards_test(state, **options)


def test_log_of_a_time_that_is_not_positive():
    data = pd.DataFrame(
        {"s": [-3, -3, -3, 0, 0.0], "t": [0, 1, 2, 3, 4.0], "d": [1, 1, 1, 1, 0], "x": [0, 2, 1, 0, 1.0]}
    )
    state = CoxPH().fit("Surv(s, t, d) ~ x", data).state
    with pytest.raises(DataError, match="a finite value at every event time, got -inf at time 0"):
        proportional_hazards_test(state, "log")


@pytest.mark.parametrize(
    ("model", "formula", "message"),
    [
        (CoxPH(ties="exact"), "Surv(time, status) ~ karno", "ties: expected one of breslow, efron, got 'exact'"),
        (CoxPH(penalty="firth"), "Surv(time, status) ~ karno", "penalty: expected a fit without a penalty, got firth"),
        (CoxPH(ridge=1.0), "Surv(time, status) ~ karno", "penalty: expected a fit without a penalty, got ridge"),
        (CoxPH(), "Surv(time, status) ~ 1", "formula: expected at least one covariate"),
        (CoxPH(), "Surv(time, status) ~ karno + tt(karno, log)", "formula: expected no tt.. terms"),
    ],
)
def test_models_without_a_test(model, formula, message):
    with pytest.raises(DataError, match=message):
        proportional_hazards_test(model.fit(formula, data_of("veteran")).state)


def test_a_sandwich_without_a_variance_is_named_and_no_argument():
    fit = CoxPH().fit("Surv(time, status) ~ age + karno", data_of("veteran"), cluster="cell")
    singular = fit.covariance.copy()
    singular[1] = singular[:, 1] = 0
    broken = replace(fit, covariance=singular)
    with pytest.raises(DataError, match=r"the fit's covariance: .* got none of karno.*method='score'"):
        broken.proportional_hazards_test()
    assert len(broken.proportional_hazards_test(method="score")) == 3
