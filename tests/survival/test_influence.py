"""Leave-one-out and leave-two-out: R's refits, brute force, models that have no estimate left."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from checks_reference import MODELS, cluster_of, data_of, fitted, reference
from coalition_exit.errors import DataError, FitError
from coalition_exit.survival import CoxPH
from coalition_exit.survival.checks.influence import leave_one_out, leave_two_out, refit_without
from coalition_exit.survival.checks.residuals import dfbeta

SMALL = sorted(set(reference("influence")["model"]))
COLUMNS = ["cluster", "term", "estimate", "change_exact", "change_one_step", "status", "reason"]


@pytest.mark.parametrize("model", SMALL)
def test_refits_equal_r(model):
    fit, groups = fitted(model), cluster_of(model)
    one = leave_one_out(fit.state, groups).set_index(["cluster", "term"])
    two = leave_two_out(fit.state, groups).set_index(["cluster_1", "cluster_2", "term"])
    table = reference("influence").query("model == @model")
    for quantity, term, other, value in table[["quantity", "term", "other", "value"]].itertuples(index=False):
        at = tuple(int(label) for label in other.split())
        found = (one if quantity == "without" else two).loc[at]
        if np.isnan(value):
            # R warns: a coefficient may be infinite.
            assert found["estimate"].isna().all()
            assert set(found["status"]) <= {"monotone", "no_variation"}
        else:
            assert found.loc[term, "estimate"] == pytest.approx(value, rel=1e-9, abs=1e-11)
    assert len(one) == len(fit.terms) * len(np.unique(groups))
    assert len(two) == len(fit.terms) * len(list(itertools.combinations(np.unique(groups), 2)))


@pytest.mark.parametrize("model", ["heart_efron", "cgd_weighted", "heart_weighted", "pbcseq_strata", "bladder_breslow"])
def test_equals_brute_force(model):
    spec, fit, groups = MODELS[model], fitted(model), cluster_of(model)
    data = data_of(spec["data"])
    found = leave_one_out(fit.state, groups)
    labels = np.unique(groups)
    for label in labels[:: max(1, len(labels) // 12)]:
        keep = groups != label
        extra = {"weights": data.loc[keep, spec["weights"]]} if spec["weights"] else {}
        without = CoxPH(ties=spec["ties"]).fit(spec["formula"], data[keep], **extra)
        mine = found[found["cluster"] == label]
        np.testing.assert_allclose(mine["estimate"], without.coef, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(mine["change_exact"], without.coef - fit.coef, rtol=1e-7, atol=1e-11)


def test_one_step_is_the_sum_of_dfbeta_and_close_to_exact():
    fit, groups = fitted("lung_weighted"), cluster_of("lung_weighted")
    found = leave_one_out(fit.state, groups)
    assert list(found.columns) == COLUMNS
    expected = -dfbeta(fit.state, collapse=groups)
    np.testing.assert_allclose(found["change_one_step"], expected.to_numpy().ravel(), rtol=1e-10, atol=1e-16)
    assert list(found["cluster"].unique()) == list(expected.index)
    assert np.corrcoef(found["change_exact"], found["change_one_step"])[0, 1] > 0.99
    np.testing.assert_allclose(found["estimate"] - found["change_exact"], np.tile(fit.coef, len(expected)), rtol=1e-12)
    pairs = leave_two_out(fit.state, groups)
    assert list(pairs.columns) == ["cluster_1", "cluster_2", *COLUMNS[1:]]
    first = pairs[(pairs["cluster_1"] == 1) & (pairs["cluster_2"] == 7)]
    np.testing.assert_allclose(first["change_one_step"], -(dfbeta(fit.state, collapse=groups).loc[[1, 7]].sum()))


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_pairs_equal_brute_force(ties):
    data = data_of("lung").assign(region=data_of("lung")["inst"] % 5)
    fit = CoxPH(ties=ties).fit("Surv(time, event) ~ age + sex", data)
    found = leave_two_out(fit.state, data["region"]).set_index(["cluster_1", "cluster_2", "term"])
    for a, b in itertools.combinations(range(5), 2):
        without = CoxPH(ties=ties).fit("Surv(time, event) ~ age + sex", data[~data["region"].isin([a, b])])
        np.testing.assert_allclose(found.loc[(a, b), "estimate"], without.coef, rtol=1e-10)


def test_groups_by_name_label_and_array():
    data = data_of("lung")
    fit = CoxPH().fit("Surv(time, event) ~ age + sex", data, id=np.arange(226), cluster="inst")
    by_cluster = leave_one_out(fit.state)
    names = data["inst"].map(lambda code: f"hospital {code:02.0f}")
    by_name = leave_one_out(fit.state, names)
    assert list(by_name["cluster"].unique()) == sorted(names.unique())
    first = [f"hospital {code:02.0f}" for code in pd.unique(data["inst"])]
    reordered = by_name.set_index("cluster").loc[first]
    np.testing.assert_allclose(by_cluster["estimate"], reordered["estimate"], rtol=1e-12)
    assert list(by_cluster["cluster"].unique()) == list(pd.unique(data["inst"]))
    assert len(leave_one_out(fit.state, "id")) == 2 * 226


def identified() -> pd.DataFrame:
    """Each covariate needs one group: x varies in "b" only, all events of x = 0 outside "c" are in "d"."""
    rng = np.random.default_rng(7)
    n = 120
    group = np.repeat(list("abcdef"), n // 6)
    x = np.where(group == "b", rng.integers(0, 2, n), 0)
    rare = ((group == "c") & (rng.random(n) < 0.3)) | ((group == "d") & (rng.random(n) < 0.2))
    time = rng.permutation(n) + 1.0
    event = (rng.random(n) < 0.5) & ~(rare & (group == "d"))
    return pd.DataFrame(
        {"time": time, "event": event, "x": x, "rare": rare * 1, "z": rng.normal(size=n), "group": group}
    )


def test_a_group_without_which_the_model_has_no_estimate():
    data = identified()
    fit = CoxPH(ties="efron").fit("Surv(time, event) ~ x + rare + z", data)
    found = leave_one_out(fit.state, data["group"]).set_index("cluster")
    status = found.groupby("cluster")["status"].first()
    assert status.to_dict() == {
        "a": "ok", "b": "no_variation", "c": "monotone", "d": "ok", "e": "ok", "f": "ok",
    }  # fmt: skip
    assert found.loc["b", "estimate"].isna().all()
    assert found.loc["b", "change_exact"].isna().all()
    assert found.loc["b", "change_one_step"].notna().all()
    assert found.loc["b", "reason"].str.contains("x").all()
    assert found.loc["c", "reason"].str.contains("monotone.*rare").all()
    assert (found.loc[["a", "d", "e", "f"], "reason"] == "").all()
    for label in status.index:
        keep = data["group"] != label
        if status[label] == "ok":
            without = CoxPH(ties="efron").fit("Surv(time, event) ~ x + rare + z", data[keep])
            np.testing.assert_allclose(found.loc[label, "estimate"], without.coef, rtol=1e-9)
        else:
            with pytest.raises(FitError) as caught:
                CoxPH(ties="efron").fit("Surv(time, event) ~ x + rare + z", data[keep])
            assert caught.value.status == status[label]
    pairs = leave_two_out(fit.state, data["group"]).set_index(["cluster_1", "cluster_2"])
    assert set(pairs.loc[("b", "c"), "status"]) == {"no_variation"}
    assert set(pairs.loc[("a", "e"), "status"]) == {"ok"}


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 4), st.integers(1, 6), st.booleans(), st.integers(0, 1), st.integers(-2, 2), st.integers(0, 3),
            st.sampled_from([0.5, 1.0, 2.0]),
        ),
        min_size=15, max_size=30,
    ),
    ties=st.sampled_from(["breslow", "efron"]),
)  # fmt: skip
def test_small_data_equal_brute_force(rows, ties):
    """Few rows, so that many remainders have no estimate: each must say so, for the right reason."""
    start, length, event, x, z, group, w = (np.array(column) for column in zip(*rows, strict=True))
    data = pd.DataFrame({"a": start, "b": start + length, "d": event, "x": x, "z": z, "g": group, "w": w})
    assume(data["g"].nunique() > 1)
    formula = "Surv(a, b, d) ~ x + z"
    try:
        fit = CoxPH(ties=ties).fit(formula, data, weights="w")
    except FitError:
        assume(False)
    found = leave_one_out(fit.state, data["g"]).set_index("cluster")
    for label in np.unique(group):
        status, coef = refit(CoxPH(ties=ties), formula, data[data["g"] != label])
        assert set(found.loc[label, "status"]) == {status}
        np.testing.assert_allclose(found.loc[label, "estimate"], coef, rtol=1e-6, atol=1e-8)


def refit(model, formula, data):
    try:
        return "ok", model.fit(formula, data, weights="w").coef
    except FitError as error:
        return error.status, [np.nan, np.nan]


def test_collinear_and_eventless_remainders():
    rng = np.random.default_rng(3)
    x = rng.normal(size=40)
    group = np.repeat(["p", "q", "r", "s"], 10)
    data = pd.DataFrame({"t": rng.permutation(40) + 1.0, "d": group != "q", "x": x, "group": group})
    data["y"] = np.where(group == "p", rng.normal(size=40), 2 * x)
    fit = CoxPH().fit("Surv(t, d) ~ x + y", data)
    found = leave_one_out(fit.state, data["group"]).set_index("cluster")
    assert set(found.loc["p", "status"]) == {"collinear"}
    assert found.loc["p", "reason"].str.contains("linear combination").all()
    data["d"] = group == "p"
    fit = CoxPH().fit("Surv(t, d) ~ x + y", data)
    found = leave_one_out(fit.state, data["group"]).set_index("cluster")
    assert set(found.loc["p", "status"]) == {"no_events"}
    assert found.loc["p", "reason"].str.contains("no events").all()


def test_a_group_never_at_risk_changes_nothing():
    data = data_of("lung").assign(group=data_of("lung")["inst"].astype(int))
    extra = data.iloc[:3].assign(time=1.0, event=0, group=99)
    both = pd.concat([data, extra], ignore_index=True)
    fit = CoxPH().fit("Surv(time, event) ~ age + sex", both)
    found = leave_one_out(fit.state, both["group"]).query("cluster == 99")
    assert (found["change_exact"] == 0).all()
    assert (found["change_one_step"] == 0).all()
    assert (found["status"] == "ok").all()
    pairs = leave_two_out(fit.state, both["group"]).query("cluster_2 == 99")
    single = leave_one_out(fit.state, both["group"]).query("cluster != 99")
    np.testing.assert_allclose(pairs["estimate"], single["estimate"], rtol=1e-11)


def test_a_whole_risk_set_may_be_left_out():
    # The last event time has rows of group "z" only; without them it is gone.
    data = data_of("veteran").assign(group=np.where(data_of("veteran")["time"] > 500, "z", "y"))
    data.loc[::5, "group"] = "x"
    data.loc[data["time"] > 500, "group"] = "z"
    fit = CoxPH(ties="efron").fit("Surv(time, status) ~ karno + age", data)
    found = leave_one_out(fit.state, data["group"]).set_index("cluster")
    without = CoxPH(ties="efron").fit("Surv(time, status) ~ karno + age", data[data["group"] != "z"])
    np.testing.assert_allclose(found.loc["z", "estimate"], without.coef, rtol=1e-10)


def test_refit_without_nothing_is_the_fit():
    for model in ("lung_everything", "cgd_weighted"):
        state = fitted(model).state
        refit = refit_without(state, np.ones(len(state.risk_sets.rows), dtype=bool))
        assert refit.status == "ok"
        np.testing.assert_allclose(refit.beta, state.beta, rtol=1e-10)


def test_many_groups_are_refitted_in_blocks(monkeypatch):
    fit = fitted("heart_breslow")
    whole = leave_one_out(fit.state, cluster_of("heart_breslow"))
    monkeypatch.setattr("coalition_exit.survival.checks.influence._WEIGHTS", 500)
    parts = leave_one_out(fit.state, cluster_of("heart_breslow"))
    pd.testing.assert_frame_equal(whole, parts, rtol=1e-11)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda state: leave_one_out(state, "id"), "groups: expected a model that was fitted with id="),
        (lambda state: leave_one_out(state, np.zeros(226)), "groups: expected at least 2 groups, got 1"),
        (lambda state: leave_two_out(state, np.arange(226) % 2), "groups: expected at least 3 groups, got 2"),
        (lambda state: leave_one_out(state, np.zeros(5)), "groups: expected 226 values, one a row of the data"),
        (lambda state: leave_one_out(state, [None] * 226), "groups, row 0 .226 such rows.: expected a value"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(DataError, match=message):
        call(fitted("lung_efron").state)


@pytest.mark.parametrize(
    ("model", "formula", "message"),
    [
        (CoxPH(ties="exact"), "Surv(time, status) ~ karno", "ties: expected one of breslow, efron, got 'exact'"),
        (CoxPH(penalty="firth"), "Surv(time, status) ~ karno", "penalty: expected a fit without a penalty, got firth"),
        (CoxPH(), "Surv(time, status) ~ 1", "formula: expected at least one covariate"),
    ],
)
def test_models_that_are_not_refitted(model, formula, message):
    data = data_of("veteran")
    with pytest.raises(DataError, match=message):
        leave_one_out(model.fit(formula, data).state, data["cell"])


def test_models_with_time_interactions():
    data, formula = data_of("veteran"), "Surv(time, status) ~ karno + tt(karno, log)"
    found = leave_one_out(CoxPH(ties="efron").fit(formula, data).state, data["cell"]).set_index("cluster")
    for cell in (1, 2, 3, 4):
        without = CoxPH(ties="efron").fit(formula, data[data["cell"] != cell])
        np.testing.assert_allclose(found.loc[cell, "estimate"], without.coef, rtol=1e-8)
