"""Residuals of Cox fits: R's residuals.coxph, invariances, closed forms, slow definitions."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks_reference import MODELS, assert_like_r, cluster_of, data_of, fitted, reference, state_at
from coalition_exit.errors import DataError
from coalition_exit.survival import CoxPH, Surv
from coalition_exit.survival.checks.residuals import (
    KINDS,
    deviance_residuals,
    dfbeta,
    martingale_residuals,
    residuals,
    schoenfeld_residuals,
    score_residuals,
)

QUANTITIES = {
    "martingale": ("martingale", {}),
    "deviance": ("deviance", {}),
    "score": ("score", {}),
    "dfbeta": ("dfbeta", {}),
    "dfbeta_unweighted": ("dfbeta", {"weighted": False}),
    "dfbetas": ("dfbetas", {}),
    "martingale_collapsed": ("martingale", {"collapse": True}),
    "martingale_collapsed_weighted": ("martingale", {"collapse": True, "weighted": True}),
    "dfbeta_collapsed": ("dfbeta", {"collapse": True}),
    "dfbetas_collapsed": ("dfbetas", {"collapse": True}),
    "score_collapsed": ("score", {"collapse": True}),
    "deviance_collapsed": ("deviance", {"collapse": True}),
    "schoenfeld": ("schoenfeld", {}),
    "scaledsch": ("scaledsch", {}),
    "schoenfeld_weighted": ("schoenfeld", {"weighted": True}),
}


@pytest.mark.parametrize("model", MODELS)
def test_residuals_equal_r(model):
    table = reference("residuals").query("model == @model")
    state = fitted(model).state
    kinds = set(QUANTITIES) if MODELS[model]["cluster"] else {q for q in QUANTITIES if "collapsed" not in q}
    assert set(table["quantity"]) == kinds
    for (quantity, term), expected in table.groupby(["quantity", "term"]):
        kind, options = QUANTITIES[quantity]
        options = options | ({"collapse": cluster_of(model)} if "collapse" in options else {})
        found = residuals(state, kind, **options)
        labels = found.index if "collapse" in options else None
        if "sch" in quantity:
            found = found.reset_index().sort_values("row")
            labels = found["row"] + 1
        # A group with as many events as expected has a deviance of 0, which R's formula misses by
        # the root of the rounding error.
        rtol = 1e-8 if quantity == "deviance_collapsed" else 1e-11
        assert_like_r(found[term] if term else found, expected, labels, rtol)


def test_shapes_labels_and_order():
    fit = fitted("cgd_strata")
    n, d, p = fit.n_obs, fit.n_event, len(fit.terms)
    for kind in KINDS:
        found = residuals(fit.state, kind)
        assert len(found) == (d if "sch" in kind else n)
        if isinstance(found, pd.DataFrame):
            assert list(found.columns) == list(fit.terms)
            assert found.shape[1] == p
    index = residuals(fit.state, "schoenfeld").index
    assert index.names == ["time", "stratum", "row"]
    rows = index.get_level_values("row")
    order = np.lexsort((rows, fit.state.design.strata[rows], index.get_level_values("time")))
    np.testing.assert_array_equal(order, np.arange(d))
    assert (fit.state.design.surv.stop[rows] == index.get_level_values("time")).all()
    assert (data_of("cgd")["hos_cat"].to_numpy()[rows] == index.get_level_values("stratum")).all()


def test_collapse_by_name_equals_collapse_by_array():
    spec = MODELS["cgd_strata"]
    fit = CoxPH(ties="efron").fit(spec["formula"], data_of("cgd"), id="id", cluster="center")
    for name in ("id", "center"):
        by_name = residuals(fit.state, "dfbeta", collapse="id" if name == "id" else "cluster")
        by_array = residuals(fit.state, "dfbeta", collapse=data_of("cgd")[name])
        first = pd.unique(data_of("cgd")[name])
        np.testing.assert_allclose(by_name.to_numpy(), by_array.loc[first].to_numpy(), rtol=0, atol=1e-15)


@pytest.mark.parametrize("model", ["lung_everything", "cgd_weighted", "heart_weighted", "pbcseq_strata"])
def test_weighted_sums_are_zero(model):
    state = fitted(model).state
    strata = np.zeros(len(state.design.surv)) if state.design.strata is None else state.design.strata
    by_stratum = martingale_residuals(state, collapse=strata, weighted=True)
    total = state.weights @ np.abs(martingale_residuals(state))
    assert np.abs(by_stratum).max() < 1e-12 * total
    size = score_residuals(state, weighted=True).abs().sum()
    assert (score_residuals(state, weighted=True).sum().abs() < 1e-8 * size).all()


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_splitting_a_subject_changes_nothing(ties):
    data = data_of("lung").assign(start=-1.0, id=np.arange(len(data_of("lung"))))
    cut = np.where(data["time"] > 200, 200.0, np.nan)
    late = data[~np.isnan(cut)].assign(start=200.0)
    early = data.assign(time=np.fmin(data["time"], np.where(np.isnan(cut), np.inf, 200.0)))
    early["event"] = np.where(np.isnan(cut), data["event"], 0)
    split = pd.concat([early, late], ignore_index=True)
    whole = CoxPH(ties=ties).fit("Surv(start, time, event) ~ age + sex", data, id="id").state
    parts = CoxPH(ties=ties).fit("Surv(start, time, event) ~ age + sex", split, id="id").state
    for kind in ("martingale", "score", "dfbeta", "dfbetas", "deviance"):
        once = residuals(whole, kind).to_numpy()
        np.testing.assert_allclose(residuals(parts, kind, collapse=split["id"]).to_numpy(), once, rtol=1e-9, atol=1e-11)
    for kind in ("schoenfeld", "scaledsch"):
        a, b = residuals(whole, kind), residuals(parts, kind)
        np.testing.assert_allclose(a.to_numpy().sum(axis=0), b.to_numpy().sum(axis=0), rtol=1e-9, atol=1e-9)


def test_a_weight_of_two_is_the_row_twice():
    data = data_of("lung").assign(w=np.where(np.arange(226) % 3 == 0, 2, 1))
    twice = data.loc[data.index.repeat(data["w"])]
    weighted = CoxPH().fit("Surv(time, event) ~ age + sex", data, weights="w").state
    plain = CoxPH().fit("Surv(time, event) ~ age + sex", twice).state
    for kind in ("martingale", "deviance", "score"):
        np.testing.assert_allclose(
            residuals(weighted, kind).to_numpy().repeat(data["w"], axis=0),
            residuals(plain, kind),
            rtol=1e-9,
            atol=1e-11,
        )
    collapsed = dfbeta(plain, collapse=twice.index.to_numpy())
    np.testing.assert_allclose(dfbeta(weighted).to_numpy(), collapsed.to_numpy(), rtol=1e-9, atol=1e-13)


def test_relabelled_strata_change_nothing():
    data = data_of("cgd")
    other = data.assign(hos_cat=data["hos_cat"].map({1: "z", 2: "a", 3: "m", 4: "b"}))
    one, two = (CoxPH().fit("Surv(tstart, tstop, status) ~ treat + strata(hos_cat)", d).state for d in (data, other))
    for kind in ("martingale", "score", "dfbeta"):
        np.testing.assert_allclose(residuals(one, kind), residuals(two, kind), rtol=1e-12, atol=1e-13)


def test_closed_form():
    # Two strata of two rows, mirror images: the estimate is 0 and the risk at the first event one half.
    data = pd.DataFrame({"t": [1, 2, 1, 2], "d": [1, 1, 1, 1], "x": [1, -1, -1, 1], "s": [0, 0, 1, 1]})
    state = CoxPH().fit("Surv(t, d) ~ x + strata(s)", data).state
    np.testing.assert_allclose(martingale_residuals(state), [0.5, -0.5, 0.5, -0.5], atol=1e-14)
    np.testing.assert_allclose(
        deviance_residuals(state),
        [np.sqrt(2 * (np.log(2) - 0.5)), -np.sqrt(2 * (0.5 - np.log(1.5)))] * 2,
        rtol=1e-13,
    )
    np.testing.assert_allclose(score_residuals(state)["x"], [0.5, 0.5, -0.5, -0.5], atol=1e-14)
    np.testing.assert_allclose(dfbeta(state)["x"], [0.25, 0.25, -0.25, -0.25], atol=1e-14)
    np.testing.assert_allclose(dfbeta(state, scaled=True)["x"] ** 2, np.full(4, 1 / 8), rtol=1e-13)
    schoenfeld = schoenfeld_residuals(state)
    assert list(schoenfeld.index) == [(1.0, 0, 0), (1.0, 1, 2), (2.0, 0, 1), (2.0, 1, 3)]
    np.testing.assert_allclose(schoenfeld["x"], [1, -1, 0, 0], atol=1e-14)
    np.testing.assert_allclose(schoenfeld_residuals(state, scaled=True)["x"], [2, -2, 0, 0], atol=1e-13)


def test_deviance_of_a_group_is_that_of_its_counts():
    # Two events where two are expected: no deviance. R's formula gives the root of a negative number.
    data = pd.DataFrame({"t": [1, 2, 1, 2], "d": [1, 1, 1, 1], "x": [1, -1, -1, 1], "s": [0, 0, 1, 1]})
    state = CoxPH().fit("Surv(t, d) ~ x + strata(s)", data).state
    np.testing.assert_allclose(deviance_residuals(state, collapse=data["s"]), [0, 0], atol=1e-13)
    np.testing.assert_allclose(
        deviance_residuals(state, collapse=np.array([0, 1, 0, 2])), [np.sqrt(2 * (2 * np.log(2) - 1))] + [-np.sqrt(2 * (0.5 - np.log(1.5)))] * 2
    )  # fmt: skip


@pytest.mark.parametrize("events", [1, 2])
@pytest.mark.parametrize("distance", [1e-9, 9.99e-4, 1.001e-3])
def test_deviance_is_smooth_where_events_equal_expected(events, distance):
    # Both sides of the switch between the series and the logarithm.
    surv = Surv([1, 2, 3, 4], np.arange(4) < events)
    plain = state_at([0.0], surv, np.zeros((4, 1)))
    group = np.arange(4) >= events
    expected = events - martingale_residuals(plain, collapse=group)[False]
    hazard = plain.evaluation.hazard * events * (1 - distance) / expected
    state = replace(plain, evaluation=replace(plain.evaluation, hazard=hazard))
    u = distance
    exact = np.sqrt(events * (u**2 + 2 * u**3 / 3 + u**4 / 2 + 2 * u**5 / 5))
    assert deviance_residuals(state, collapse=group)[False] == pytest.approx(exact, rel=1e-6)


def small_data():
    """Start-stop rows with ties, strata, weights, offset."""
    row = st.tuples(
        st.integers(0, 4), st.integers(1, 4), st.booleans(), st.integers(-2, 2), st.sampled_from([0.5, 1.0, 3.0]),
        st.integers(0, 1), st.integers(-1, 1),
    )  # fmt: skip
    return st.lists(row, min_size=2, max_size=10)


@settings(max_examples=150, deadline=None)
@given(rows=small_data(), ties=st.sampled_from(["breslow", "efron"]), beta=st.floats(-1, 1))
def test_equals_the_slow_definition(rows, ties, beta):
    start, length, event, x, w, strata, offset = (np.array(column) for column in zip(*rows, strict=True))
    surv = Surv(start, start + length, event)
    state = state_at(
        [beta], surv, x[:, None], ties=ties, strata=strata.astype(np.int64), weights=w, offset=offset.astype(float)
    )
    risk = np.exp(x * beta + offset)
    martingale, score, schoenfeld = slow(surv, x, w, risk, strata, ties)
    np.testing.assert_allclose(martingale_residuals(state), martingale, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(score_residuals(state)["x0"], score, rtol=1e-11, atol=1e-12)
    found = schoenfeld_residuals(state).reset_index().set_index("row")["x0"] if event.any() else {}
    assert set(found.keys()) == set(schoenfeld)
    for row, value in schoenfeld.items():
        assert found[row] == pytest.approx(value, rel=1e-11, abs=1e-12)


def slow(surv, x, w, risk, strata, ties):
    n = len(surv)
    martingale, score, schoenfeld = surv.event.astype(float), np.zeros(n), {}
    for stratum in set(strata):
        for t in sorted(set(surv.stop[surv.event & (strata == stratum)])):
            at_risk = [i for i in range(n) if strata[i] == stratum and surv.start[i] < t <= surv.stop[i]]
            dying = [i for i in at_risk if surv.event[i] and surv.stop[i] == t]
            steps = len(dying) if ties == "efron" else 1
            means = []
            for step in range(steps):
                part = {i: 1 - step / steps * (i in dying) for i in at_risk}
                total = sum(w[i] * part[i] * risk[i] for i in at_risk)
                mean = sum(w[i] * part[i] * risk[i] * x[i] for i in at_risk) / total
                hazard = sum(w[i] for i in dying) / steps / total
                means.append(mean)
                for i in at_risk:
                    martingale[i] -= risk[i] * part[i] * hazard
                    score[i] -= risk[i] * part[i] * hazard * (x[i] - mean)
            for i in dying:
                schoenfeld[i] = x[i] - np.mean(means)
                score[i] += schoenfeld[i]
    return martingale, score, schoenfeld


def test_dfbeta_is_the_derivative_in_the_weight():
    data = data_of("lung").assign(w=data_of("lung")["case"])
    formula, step = "Surv(time, event) ~ age + sex", 1e-4
    state = CoxPH(ties="breslow").fit(formula, data, weights="w").state
    found = dfbeta(state, weighted=False)
    for row in (0, 50, 225):
        moved = []
        for sign in (1, -1):
            w = data["w"].to_numpy().copy()
            w[row] += sign * step
            moved.append(CoxPH(ties="breslow").fit(formula, data, weights=w).coef)
        # Central differences of step 1e-4: errors of about 1e-8 of the value.
        np.testing.assert_allclose((moved[0] - moved[1]) / (2 * step), found.loc[row], rtol=1e-5, atol=1e-10)


def test_rows_never_at_risk():
    data = pd.DataFrame({"t": [1, 2, 3, 4, 5.0], "d": [0, 1, 1, 0, 0], "x": [9, 1, 0, 1, 0]})
    state = CoxPH().fit("Surv(t, d) ~ x", data).state
    assert martingale_residuals(state)[0] == 0
    assert (score_residuals(state).loc[0] == 0).all()
    assert (dfbeta(state).loc[0] == 0).all()
    assert deviance_residuals(state)[0] == 0
    assert len(martingale_residuals(state)) == 5


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_rows_of_weight_zero_are_absent(ties):
    data = data_of("lung").assign(w=np.arange(226) % 3)
    data.loc[data["time"] == 883, "w"] = 0
    assert data.query("time == 883")["event"].any()
    kept = data["w"] > 0
    formula = "Surv(time, event) ~ age + sex"
    one = CoxPH(ties=ties).fit(formula, data, weights="w").state
    two = CoxPH(ties=ties).fit(formula, data[kept], weights="w").state
    for kind in ("martingale", "deviance", "score", "dfbeta", "dfbetas"):
        found = residuals(one, kind)
        np.testing.assert_allclose(found[kept], residuals(two, kind), rtol=1e-9, atol=1e-11)
    for kind in ("schoenfeld", "scaledsch"):
        np.testing.assert_allclose(residuals(one, kind), residuals(two, kind), rtol=1e-9, atol=1e-11)
    # The only event at its time has no weight: nothing to subtract from its covariates.
    alone = np.flatnonzero((data["time"] == 883) & (data["event"] == 1))
    assert residuals(one, "score").loc[alone].isna().all(axis=None)
    assert (residuals(one, "dfbeta").loc[alone] == 0).all(axis=None)
    assert residuals(one, "score")[kept].notna().all(axis=None)
    assert residuals(one, "dfbeta", collapse=data["inst"]).notna().all(axis=None)


def test_model_without_covariates():
    surv = Surv([1, 2, 3], [1, 0, 1])
    state = state_at([], surv, np.zeros((3, 0)))
    np.testing.assert_allclose(martingale_residuals(state), [2 / 3, -1 / 3, -1 / 3], atol=1e-15)
    assert score_residuals(state).shape == (3, 0)
    assert dfbeta(state, collapse=[1, 1, 2]).shape == (2, 0)
    assert schoenfeld_residuals(state).shape == (2, 0)


def test_inputs_are_not_changed():
    state = fitted("lung_weighted").state
    before = [state.evaluation.risk.copy(), state.evaluation.hazard.copy(), state.likelihood.x.copy()]
    for kind in KINDS:
        residuals(state, kind)
    for old, new in zip(before, [state.evaluation.risk, state.evaluation.hazard, state.likelihood.x], strict=True):
        assert (old == new).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "martingal"}, "kind: expected one of martingale.*got 'martingal'. Did you mean 'martingale'?"),
        ({"kind": "deviance", "weighted": True}, "weighted: expected False"),
        ({"kind": "schoenfeld", "collapse": np.zeros(226)}, "collapse: expected None with schoenfeld"),
        ({"collapse": np.zeros(3)}, "collapse: expected 226 values, one a row of the data, got shape"),
        ({"collapse": np.r_[np.nan, np.zeros(225)]}, "collapse, row 0 .1 such rows.: expected a value, got a missing"),
        ({"collapse": "id"}, "collapse: expected a model that was fitted with id="),
        ({"collapse": "clusters"}, "collapse: expected 'id', 'cluster' or one value a row.*Did you mean 'cluster'"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(DataError, match=message):
        residuals(fitted("lung_weighted").state, **options)


def test_parts_of_split_rows_are_summed():
    """A tt() term splits rows at the event times: results are those of the rows, or of groups of them."""
    data = data_of("veteran")
    fit = CoxPH(ties="efron").fit("Surv(time, status) ~ karno + age + tt(age, identity)", data)
    at_risk = np.flatnonzero(data["time"] >= data.loc[data["status"] == 1, "time"].min())
    plain = CoxPH(ties="efron").fit("Surv(time, status) ~ karno + age", data)
    # With the coefficient of the tt() term at 0 the model is the plain one.
    beta = np.r_[plain.beta, 0.0]
    at = fit.state.likelihood.evaluate(beta)
    state = replace(fit.state, evaluation=at, beta=beta)
    for kind in ("martingale", "deviance", "score"):
        found, expected = residuals(state, kind), residuals(plain.state, kind)
        assert list(found.index) == list(at_risk)
        found = found if kind != "score" else found[["karno", "age"]]
        np.testing.assert_allclose(found, expected.loc[at_risk], rtol=1e-9, atol=1e-9)
    by_cell = residuals(state, "martingale", collapse=data["cell"])
    np.testing.assert_allclose(by_cell, residuals(plain.state, "martingale", collapse=data["cell"]), atol=1e-11)
    found, expected = (residuals(one, "schoenfeld") for one in (state, plain.state))
    assert found.index.equals(expected.index)
    np.testing.assert_allclose(found[["karno", "age"]], expected, rtol=1e-9, atol=1e-9)
    with pytest.raises(DataError, match=r"collapse: expected .* values, one a row of the data"):
        residuals(state, "martingale", collapse=data["cell"][:100])


def test_exact_ties_have_no_residuals():
    state = CoxPH(ties="exact").fit("Surv(time, status) ~ karno", data_of("veteran")).state
    for kind in KINDS:
        with pytest.raises(DataError, match="ties: expected 'breslow' or 'efron' for residuals"):
            residuals(state, kind)
