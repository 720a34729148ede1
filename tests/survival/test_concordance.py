"""Concordance and functional form: R's concordance and lowess, slow definitions, invariances."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from checks_reference import MODELS, assert_like_r, data_of, fitted, reference, state_at
from coalition_exit.errors import DataError, FitError
from coalition_exit.survival import CoxPH, Surv
from coalition_exit.survival.checks.concordance import COUNTS, concordance, harrell
from coalition_exit.survival.checks.functional_form import functional_form, lowess
from coalition_exit.survival.checks.residuals import martingale_residuals

R_NAMES = {"tied.x": "tied_x", "tied.y": "tied_time", "tied.xy": "tied_both"}


@pytest.mark.parametrize("model", MODELS)
def test_concordance_equals_r(model):
    state = fitted(model).state
    found, by_row = concordance(state), concordance(state, cluster=None)
    table = reference("concordance").query("model == @model")
    for other, value in table.query("quantity == 'concordance'")[["other", "value"]].itertuples(index=False):
        mine = by_row.std_error if other == "std_error_rows" else getattr(found, R_NAMES.get(other, other))
        assert mine == pytest.approx(value, rel=1e-12), other
    assert_like_r(by_row.influence, table.query("quantity == 'influence'"), rtol=1e-12)


def test_result_is_tidy():
    fit = fitted("cgd_strata")
    found = concordance(fit.state)
    table = found.tidy()
    assert list(table.columns) == ["concordance", "std_error", *COUNTS, "n_obs", "n_event", "n_cluster"]
    assert found.n_obs == fit.n_obs
    assert found.n_event == fit.n_event
    assert found.n_cluster == 13
    assert concordance(fit.state, None).n_cluster is None
    np.testing.assert_allclose(found.by_stratum.sum(), table[list(COUNTS)].iloc[0])
    strata = data_of("cgd")["hos_cat"].to_numpy()
    for name in found.by_stratum.index:
        own = strata == name
        alone = harrell(
            Surv(fit.state.design.surv.start[own], fit.state.design.surv.stop[own], fit.state.design.surv.event[own]),
            fit.state.linear_predictor[own],
            noise=1e-12,
        )
        assert found.by_stratum.loc[name, "concordant"] == alone.concordant


def small_data():
    row = st.tuples(
        st.integers(0, 4), st.integers(1, 4), st.booleans(), st.integers(-2, 2), st.sampled_from([0.5, 1.0, 3.0]),
        st.integers(0, 1), st.integers(0, 2),
    )  # fmt: skip
    return st.lists(row, min_size=2, max_size=14)


def columns(rows):
    start, length, event, x, w, strata, cluster = (np.array(column) for column in zip(*rows, strict=True))
    return Surv(start, start + length, event), x.astype(float), w, strata.astype(np.int64), cluster.astype(np.int64)


def slow_counts(surv, x, w, strata):
    """Five counts over ordered pairs (i has the event; ties in time once)."""
    counts = dict.fromkeys(COUNTS, 0.0)
    n = len(surv)
    for i in range(n):
        for j in range(n):
            if i == j or not surv.event[i] or strata[i] != strata[j]:
                continue
            t, weight = surv.stop[i], w[i] * w[j]
            if surv.event[j] and surv.stop[j] == t:
                counts["tied_both" if x[i] == x[j] else "tied_time"] += weight / 2
            elif surv.start[j] < t <= surv.stop[j]:
                kind = "tied_x" if x[i] == x[j] else "concordant" if x[i] > x[j] else "discordant"
                counts[kind] += weight
    return counts


def index(counts):
    pairs = counts["concordant"] + counts["discordant"] + counts["tied_x"]
    return (counts["concordant"] + counts["tied_x"] / 2) / pairs


@settings(max_examples=150, deadline=None)
@given(rows=small_data())
def test_counts_are_those_of_all_pairs(rows):
    surv, x, w, strata, cluster = columns(rows)
    expected = slow_counts(surv, x, w, strata)
    if expected["concordant"] + expected["discordant"] + expected["tied_x"] == 0:
        with pytest.raises(FitError, match="concordance is not defined"):
            harrell(surv, x, strata=strata, weights=w)
        return
    found = harrell(surv, x, strata=strata, weights=w, cluster=cluster)
    for name in COUNTS:
        assert getattr(found, name) == pytest.approx(expected[name], abs=1e-10)
    assert found.concordance == pytest.approx(index(expected))
    summed = np.bincount(cluster, weights=found.influence)
    assert found.std_error == pytest.approx(np.sqrt(summed @ summed))
    opposite = harrell(surv, -x, strata=strata, weights=w, cluster=cluster)
    assert opposite.concordance == pytest.approx(1 - found.concordance)
    assert opposite.std_error == pytest.approx(found.std_error, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(rows=small_data())
def test_influence_is_the_derivative_in_the_weights(rows):
    surv, x, w, strata, _ = columns(rows)
    counts = slow_counts(surv, x, w, strata)
    assume(counts["concordant"] + counts["discordant"] + counts["tied_x"] > 0)
    found = harrell(surv, x, strata=strata, weights=w).influence
    step = 1e-5
    for i in range(len(w)):
        moved = []
        for sign in (1, -1):
            other = w.copy()
            other[i] *= 1 + sign * step
            moved.append(index(slow_counts(surv, x, other, strata)))
        assert found[i] == pytest.approx((moved[0] - moved[1]) / (2 * step), abs=1e-8)


def test_a_weight_of_two_is_the_row_twice_up_to_pairs_with_itself():
    # A censored row twice makes no new pair, so that the counts agree for these.
    data = data_of("lung")
    w = np.where((np.arange(226) % 2 == 0) & (data["event"] == 0), 2, 1)
    twice = data.loc[data.index.repeat(w)]
    one = harrell(Surv(data["time"], data["event"]), data["age"].to_numpy(float), weights=w.astype(float))
    two = harrell(
        Surv(twice["time"], twice["event"]), twice["age"].to_numpy(float), cluster=pd.factorize(twice.index)[0]
    )
    for name in ("concordance", "std_error", *COUNTS):
        assert getattr(one, name) == pytest.approx(getattr(two, name), rel=1e-12)


def test_splitting_and_relabelling_change_nothing():
    data = data_of("cgd").assign(row=np.arange(203))
    long = data["tstop"] - data["tstart"] > 100
    early = data.assign(
        tstop=np.where(long, data["tstart"] + 50, data["tstop"]), status=np.where(long, 0, data["status"])
    )
    split = pd.concat([early, data[long].assign(tstart=data["tstart"] + 50)])
    results = []
    for d in (data, split, data.assign(hos_cat=-data["hos_cat"])):
        codes = pd.factorize(d["hos_cat"])[0].astype(np.int64)
        surv = Surv(d["tstart"], d["tstop"], d["status"])
        results.append(harrell(surv, d["age"].to_numpy(float), strata=codes, cluster=d["row"].to_numpy()))
    for other in results[1:]:
        for name in ("concordance", "std_error", *COUNTS):
            assert getattr(other, name) == pytest.approx(getattr(results[0], name), rel=1e-12)


def test_rounding_does_not_order_equal_rows():
    surv = Surv([1, 2, 3, 4], [1, 1, 1, 0])
    x = np.array([0.1 + 0.2, 0.3, 0.3, 0.0])
    assert harrell(surv, x).tied_x == 1
    assert harrell(surv, x, noise=1e-15).tied_x == 3
    # Rows of a fit are tied exactly where their covariates are equal.
    data = data_of("veteran").assign(karno=lambda d: d["karno"] // 30 / 7, age=lambda d: d["age"] // 25 / 3)
    state = CoxPH().fit("Surv(time, status) ~ karno + age + prior + trt", data).state
    same_rows = np.unique(state.design.x, axis=0, return_inverse=True)[1].reshape(-1)
    counts = slow_counts(state.design.surv, same_rows, np.ones(137), np.zeros(137))
    assert counts["tied_x"] > 50
    assert concordance(state).tied_x == counts["tied_x"]
    assert concordance(state).tied_both == counts["tied_both"]


def test_cluster_choices():
    spec = MODELS["lung_efron"]
    fit = CoxPH(ties="efron").fit(spec["formula"], data_of("lung"), cluster="inst", id=np.arange(226))
    inst = data_of("lung")["inst"]
    assert concordance(fit.state).std_error == concordance(fit.state, "cluster").std_error
    assert concordance(fit.state).std_error == pytest.approx(concordance(fit.state, inst).std_error)
    assert concordance(fit.state, "id").std_error == pytest.approx(concordance(fit.state, None).std_error)
    assert concordance(fitted("veteran_one").state).n_cluster is None


def test_no_pairs():
    with pytest.raises(FitError, match="no event has a row at risk to be compared with") as caught:
        harrell(Surv([1, 2, 3], [0, 0, 1]), np.zeros(3))
    assert caught.value.status == "no_pairs"
    with pytest.raises(FitError):
        harrell(Surv([1, 2], [0, 0]), np.zeros(2))
    surv = Surv([1, 2, 3], [1, 1, 0])
    assert concordance(state_at([], surv, np.zeros((3, 0)))).concordance == 0.5


def test_bad_predictors():
    surv = Surv([1, 2, 3], [1, 1, 0])
    for predictor in (np.zeros(2), np.array([0, np.nan, 1])):
        with pytest.raises(DataError, match="predictor: expected 3 finite values"):
            harrell(surv, predictor)
    with pytest.raises(DataError, match="cluster: expected 'id', 'cluster' or one value a row"):
        concordance(fitted("veteran_one").state, "clusters")


def functional_forms():
    lung = CoxPH(ties="efron").fit("Surv(time, event) ~ age + sex + ph_ecog", data_of("lung")).state
    pbc = CoxPH().fit("Surv(tstart, tstop, death) ~ logbili + protime", data_of("pbcseq")).state
    logbili = data_of("pbcseq")["logbili"]
    return {
        "null_default": lambda: functional_form(lung, "age", model="null"),
        "null_robust": lambda: functional_form(lung, "age", model="null", fraction=0.4, iterations=3, delta=0.0),
        "reduced": lambda: functional_form(lung, "age", fraction=0.5),
        "null_counting": lambda: functional_form(pbc, logbili, model="null"),
        "null_counting_robust": lambda: functional_form(
            pbc, "protime", model="null", fraction=0.1, iterations=2, delta=0.2
        ),
    }


@pytest.mark.parametrize("name", functional_forms())
def test_functional_form_equals_r(name):
    table = reference("concordance").query("model == @name")
    # R sums in another order, and the tricube of points at the window's edge is sensitive to it.
    assert_like_r(functional_forms()[name]()["smooth"], table, rtol=1e-9)


def test_functional_form_frames():
    data = data_of("lung")
    fit = CoxPH().fit("Surv(time, event) ~ age + sex", data)
    found = functional_form(fit.state, "age")
    assert list(found.columns) == ["covariate", "residual", "smooth"]
    assert found["covariate"].is_monotonic_increasing
    np.testing.assert_array_equal(found["covariate"], data["age"].to_numpy()[found.index])
    reduced = CoxPH().fit("Surv(time, event) ~ sex", data)
    np.testing.assert_allclose(found["residual"].sort_index(), martingale_residuals(reduced.state), atol=1e-10)
    same = functional_form(fit.state, data["age"], model="fitted")
    np.testing.assert_allclose(same["residual"].sort_index(), martingale_residuals(fit.state), atol=1e-14)
    alone = CoxPH().fit("Surv(time, event) ~ age", data)
    null = functional_form(alone.state, "age")
    np.testing.assert_allclose(null, functional_form(fit.state, "age", model="null"), atol=1e-12)


def test_functional_form_by_subject():
    data = data_of("cgd")
    fit = CoxPH().fit("Surv(tstart, tstop, status) ~ treat + age", data, id="id")
    found = functional_form(fit.state, "age", collapse=data["id"])
    assert len(found) == data["id"].nunique()
    ages = data.groupby("id")["age"].first()
    np.testing.assert_array_equal(found["covariate"], ages.loc[found.index])
    assert abs(found["residual"].sum()) < 1e-9
    with pytest.raises(DataError, match="one value a group when residuals are collapsed, got several in group"):
        functional_form(fit.state, data["tstart"], model="fitted", collapse="id")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"covariate": "agee"}, "covariate: expected a term .one of age, sex, ph_ecog. or 226 values, got 'agee'"),
        ({"covariate": "age", "model": "nul"}, "model: expected one of reduced, null, fitted.*Did you mean 'null'"),
        ({"covariate": np.zeros(226)}, "model: expected 'null' or 'fitted' with an array"),
        ({"covariate": np.zeros(3), "model": "null"}, "covariate: expected 226 finite values"),
        ({"covariate": np.full(226, np.nan), "model": "null"}, "covariate: expected 226 finite values"),
        ({"covariate": "age", "fraction": 0}, "lowess: expected two points or more, 0 < fraction <= 1"),
        ({"covariate": "age", "iterations": -1}, "lowess: expected two points or more"),
        ({"covariate": "age", "delta": -1.0}, "lowess: expected two points or more"),
    ],
)
def test_functional_form_bad_input(options, message):
    with pytest.raises(DataError, match=message):
        functional_form(fitted("lung_efron").state, **options)


def test_models_without_concordance_or_functional_form():
    data = data_of("veteran")
    split = CoxPH().fit("Surv(time, status) ~ karno + tt(karno, log)", data).state
    for call in (lambda: concordance(split), lambda: functional_form(split, "karno")):
        with pytest.raises(DataError, match=r"formula: expected no tt.. terms"):
            call()
    exact = CoxPH(ties="exact").fit("Surv(time, status) ~ karno + age", data).state
    for model in ("reduced", "null", "fitted"):
        with pytest.raises(DataError, match=r"ties: expected .*breslow"):
            functional_form(exact, "age", model=model)
    # Ties among events do not enter the concordance of a given predictor.
    assert concordance(exact).n_obs == 137
    firth = CoxPH(penalty="firth").fit("Surv(time, status) ~ karno + age", data).state
    with pytest.raises(DataError, match="penalty: expected a fit without a penalty, got firth"):
        functional_form(firth, "age")
    assert len(functional_form(firth, "age", model="null")) == 137


def test_lowess_of_lines_and_constants():
    x = np.sort(np.random.default_rng(1).normal(size=60))
    np.testing.assert_allclose(lowess(x, 3 - 2 * x), 3 - 2 * x, atol=1e-12)
    y = np.random.default_rng(2).normal(size=60)
    np.testing.assert_allclose(lowess(np.ones(60), y, iterations=0), np.full(60, y.mean()), atol=1e-12)
    spiked = 3 - 2 * x + 100.0 * (np.arange(60) == 30)
    assert np.abs(lowess(x, spiked, iterations=3) - (3 - 2 * x)).max() < 1e-6
    assert np.abs(lowess(x, spiked, iterations=0) - (3 - 2 * x)).max() > 1
    with pytest.raises(DataError, match="lowess, x: expected ascending values"):
        lowess(np.array([2.0, 1.0, 3.0]), np.zeros(3))
