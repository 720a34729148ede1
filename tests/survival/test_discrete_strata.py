"""Stratum-specific duration baselines against R's glm, and what they must equal without R."""

from __future__ import annotations

import pickle
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from coalition_exit.errors import DataError, FitError
from coalition_exit.survival.discrete.discrete import DiscreteHazard
from coalition_exit.survival.discrete.strata import StratifiedBaseline

REFERENCE = Path(__file__).parents[1] / "reference"
FORMULA = "Surv(time, event) ~ age + ph_ecog + strata(sex)"
MODELS = {
    "strata_cubic_logit": {"link": "logit", "period": "week"},
    "strata_cubic_cloglog": {"link": "cloglog", "period": "week"},
    "strata_cubic_probit": {"link": "probit", "period": "week"},
    "strata_ns_logit": {"link": "logit", "period": "week", "baseline": "ns"},
    "strata_dummies_cloglog": {"link": "cloglog", "period": 100, "baseline": "dummies"},
}


@cache
def reference(model):
    table = pd.read_csv(REFERENCE / "discrete_more_values.csv", keep_default_na=False).astype({"value": float})
    return table[table.model == model]


def lung():
    return pd.read_csv(REFERENCE / "data" / "lung.csv").assign(g=lambda d: (np.arange(len(d)) + 1) % 23)


def values(table, quantity):
    return table[table.quantity == quantity]


@pytest.mark.parametrize("model", MODELS)
def test_equals_glm_with_the_interactions(model):
    table = reference(model)
    fit = DiscreteHazard(information="expected", correction="none", **MODELS[model]).fit(FORMULA, lung(), cluster="g")
    coef = values(table, "coef").set_index("term").value
    assert sorted(fit.terms) == sorted(coef.index)
    np.testing.assert_allclose(fit.beta, coef[list(fit.terms)], rtol=1e-8)
    assert fit.loglik == pytest.approx(values(table, "loglik").value.iloc[0], rel=1e-11)
    assert fit.n_obs == values(table, "n_obs").value.iloc[0]
    stata = DiscreteHazard(information="expected", **MODELS[model]).fit(FORMULA, lung(), cluster="g")
    found = (("vcov_expected", fit.vcov_model), ("robust_none", fit.vcov), ("robust_stata", stata.vcov))
    for quantity, ours in found:
        part = values(table, quantity).pivot_table(index="term", columns="other", values="value")
        wanted = part.loc[list(fit.terms), list(fit.terms)].to_numpy()
        size = np.sqrt(np.outer(np.diag(wanted), np.diag(wanted)))
        np.testing.assert_allclose(ours / size, wanted / size, atol=2e-8)


@pytest.mark.parametrize("link", ["logit", "cloglog", "probit"])
def test_full_interactions_and_predictions_equal_r(link):
    table = reference(f"strata_cubic_{link}")
    fit = DiscreteHazard(link=link, period="week", information="expected").fit(FORMULA, lung())
    full = values(table, "coef_full").set_index("term").value
    np.testing.assert_allclose(fit.coef[list(full.index)], full, rtol=1e-7)
    assert fit.std_error["age"] == pytest.approx(values(table, "se_full").value.iloc[0], rel=1e-7)
    assert fit.loglik == pytest.approx(values(table, "loglik_full").value.iloc[0], rel=1e-11)
    at = {"age": 60, "ph_ecog": 1}
    both = fit.predict(at, 60)
    assert both.stratum.unique().tolist() == ["sex=1", "sex=2"]
    for quantity in ("survival", "hazard"):
        part = values(table, quantity)
        for row in part.itertuples():
            ours = both[(both.stratum == f"sex={row.term}") & (both.period == int(row.other))]
            assert ours[quantity].iloc[0] == pytest.approx(row.value, rel=1e-8)
        gap = fit.contrast(at | {"sex": 2}, at | {"sex": 1}, 60, quantity=quantity).set_index("period")
        for name, column in (("gap", "estimate"), ("gap_se", "std_error")):
            for row in values(table, f"{quantity}_{name}").itertuples():
                assert gap[column][int(row.other)] == pytest.approx(row.value, rel=1e-6)


def test_alone_each_stratum_is_a_model_of_its_own():
    """Without covariates in common the strata are separate models."""
    d = lung()
    for options in ({"baseline": "cubic", "period": "week"}, {"baseline": "dummies", "period": 100}):
        model = DiscreteHazard(link="cloglog", **options)
        both = model.fit("Surv(time, event) ~ strata(sex)", d)
        apart = [model.fit("Surv(time, event) ~ 1", d[d.sex == s]) for s in (1, 2)]
        assert both.loglik == pytest.approx(sum(fit.loglik for fit in apart), rel=1e-12)
        for s, fit in zip((1, 2), apart, strict=True):
            ours = both.predict({"sex": s}).drop(columns="stratum")
            pd.testing.assert_frame_equal(ours, fit.predict(), rtol=1e-6)
            for name in fit.terms[:-1]:
                assert both.coef[f"strata[sex={s}]:{name}"] == pytest.approx(fit.coef[name], rel=1e-6)


def test_order_of_rows_and_kind_of_value_do_not_matter():
    d = lung()
    one = DiscreteHazard().fit(FORMULA, d)
    two = DiscreteHazard().fit(FORMULA, d.assign(sex=d.sex.astype(float)).sample(frac=1, random_state=1))
    assert one.terms == two.terms
    np.testing.assert_allclose(one.beta, two.beta, rtol=1e-7)
    named = DiscreteHazard().fit(FORMULA, d.assign(sex=d.sex.map({1: "m", 2: "f"})))
    assert "strata[sex=m]" in named.terms
    assert named.loglik == pytest.approx(one.loglik, rel=1e-12)


def test_several_columns_make_the_strata():
    d = lung().assign(old=lambda d: d.age > 63)
    fit = DiscreteHazard(baseline="linear").fit("Surv(time, event) ~ ph_ecog + strata(sex, old)", d)
    assert fit.baseline.labels == ("sex=1, old=False", "sex=1, old=True", "sex=2, old=False", "sex=2, old=True")
    plus = DiscreteHazard(baseline="linear").fit("Surv(time, event) ~ ph_ecog + strata(sex) + strata(old)", d)
    np.testing.assert_array_equal(plus.beta, fit.beta)
    one = fit.predict({"ph_ecog": 1, "sex": 2, "old": True}, 3)
    assert one.stratum.tolist() == ["sex=2, old=True"] * 3
    with pytest.raises(DataError, match="at: expected all the strata's columns, sex, old, or none, got sex"):
        fit.predict({"ph_ecog": 1, "sex": 2}, 3)


def test_a_stratum_may_change_between_periods():
    """Like a covariate: with every term interacted it is the model with the stratum as a time-varying factor."""
    d = pd.read_csv(REFERENCE / "data" / "heart.csv")
    for covariates in ("start", "end"):
        model = DiscreteHazard(baseline="log", period=30, covariates=covariates)
        fit = model.fit("Surv(start, stop, event) ~ age + strata(transplant)", d, id="id")
        rows = fit.person_periods()
        other = model.fit("Surv(start, stop, event) ~ age + transplant", d, id="id").person_periods()
        assert (rows.stratum == "transplant=1").tolist() == (other.transplant == 1).tolist()
    with pytest.raises(DataError, match="stratum, row 3: expected one stratum for a subject within a period"):
        DiscreteHazard(covariates="mean").fit("Surv(start, stop, event) ~ age + strata(transplant)", d, id="id")


def test_what_a_stratified_fit_says():
    fit = DiscreteHazard(link="cloglog", period=100, baseline="dummies").fit(FORMULA, lung(), cluster="g")
    assert isinstance(fit.baseline, StratifiedBaseline)
    text = str(fit)
    assert "dummies for 9, 8 periods with events in 2 strata" in text
    assert "periods without events in sex=1 (left out, 7 rows): 10-11" in text
    assert fit.strata == ("sex",)
    again = pickle.loads(pickle.dumps(fit))
    pd.testing.assert_frame_equal(again.predict({"age": 60, "ph_ecog": 1}), fit.predict({"age": 60, "ph_ecog": 1}))
    last = fit.predict({"age": 60, "ph_ecog": 1}).groupby("stratum").period.max()
    assert last.tolist() == [part.last for part in fit.baseline.parts]
    pooled = DiscreteHazard(link="cloglog", period=100, baseline="dummies", empty="pool").fit(FORMULA, lung())
    assert pooled.n_empty == 0
    assert pooled.n_obs == fit.n_obs + fit.n_empty


def test_nonproportional_effects_go_with_common_duration_terms():
    fit = DiscreteHazard(nonproportional=("age",)).fit(FORMULA, lung())
    assert [t for t in fit.terms if t.startswith("age:")] == ["age:t", "age:t2", "age:t3"]
    with pytest.raises(DataError, match=r"nonproportional: expected none with strata\(\) and dummies"):
        DiscreteHazard(nonproportional=("age",), baseline="dummies", period=100).fit(FORMULA, lung())


def test_random_intercept_and_strata_go_together():
    d = lung()
    fit = DiscreteHazard(baseline="log").fit(FORMULA, d, random_intercept="g")
    assert "strata[sex=2]:ln_t" in fit.terms
    assert fit.loglik >= DiscreteHazard(baseline="log").fit(FORMULA, d).loglik


def test_refusals():
    d = lung()
    with pytest.raises(FitError, match=r"no events among \d+ person-periods of stratum sex=2") as caught:
        DiscreteHazard().fit(FORMULA, d.assign(event=d.event * (d.sex == 1)))
    assert caught.value.status == "no_events"
    with pytest.raises(DataError, match=r"strata\(sex\), row 3"):
        DiscreteHazard().fit(FORMULA, d.assign(sex=d.sex.where(d.index != 3)))
    dropped = DiscreteHazard().fit(FORMULA, d.assign(sex=d.sex.where(d.index != 3)), missing="drop")
    assert (dropped.n_dropped, dropped.n_subject) == (1, len(d) - 1)
    assert "1 rows dropped for missing values (sex 1)" in str(dropped)
    fit = DiscreteHazard().fit(FORMULA, d)
    with pytest.raises(DataError, match="at: expected one of sex=1, sex=2, got sex=3"):
        fit.predict({"age": 60, "ph_ecog": 1, "sex": 3})
    last = fit.baseline.parts[1].last
    assert last < fit.baseline.last
    with pytest.raises(DataError, match=f"at most {last}, the last in the data of stratum sex=2"):
        fit.predict({"age": 60, "ph_ecog": 1, "sex": 2}, fit.baseline.last)
