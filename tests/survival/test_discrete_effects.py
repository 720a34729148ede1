"""Marginal effects, contrasts and the names of ratios, against R and numerical derivatives."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from coalition_exit.errors import DataError
from coalition_exit.survival.discrete.discrete import DiscreteHazard
from coalition_exit.survival.discrete.glm import BinaryRegression
from coalition_exit.survival.discrete.glm_links import LINKS

REFERENCE = Path(__file__).parents[1] / "reference"
FORMULA = "Surv(time, event) ~ age + ph_ecog + female"
COLUMNS = ["term", "change", "estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high"]


@cache
def reference(model):
    table = pd.read_csv(REFERENCE / "discrete_more_values.csv", keep_default_na=False).astype({"value": float})
    return table[table.model == model].pivot_table(index="term", columns="quantity", values="value")


def lung():
    d = pd.read_csv(REFERENCE / "data" / "lung.csv")
    return d.assign(g=(np.arange(len(d)) + 1) % 23, female=d.sex - 1, n=np.arange(len(d)) % 3)


@pytest.mark.parametrize("link", ["logit", "cloglog", "probit"])
def test_average_effects_equal_r(link):
    wanted = reference(f"effects_{link}")
    model = DiscreteHazard(link=link, period="week", information="expected")
    plain, robust = model.fit(FORMULA, lung()), model.fit(FORMULA, lung(), cluster="g")
    found = plain.average_effects()
    assert list(found.columns) == COLUMNS
    assert found.change.unique().tolist() == ["derivative"]
    rows = {"age": "age", "ph_ecog": "ph_ecog", "female": "sex_derivative"}
    for term, name in rows.items():
        row = found.set_index("term").loc[term]
        assert row.estimate == pytest.approx(wanted.estimate[name], rel=1e-8)
        assert row.std_error == pytest.approx(wanted.std_error[name], rel=1e-6)
    change = robust.average_effects("female", discrete="female").iloc[0]
    assert change.change == "0 to 1"
    assert change.estimate == pytest.approx(wanted.estimate["sex_change"], rel=1e-8)
    assert change.std_error == pytest.approx(wanted.robust["sex_change"], rel=1e-6)
    reach = 1.959963984540054 * change.std_error
    assert (change.conf_low, change.conf_high) == pytest.approx((change.estimate - reach, change.estimate + reach))


def shifted(fit, term, by):
    """Mean hazard when a covariate is larger in every row, its products with duration included."""
    rows = fit.rows
    x = rows.x.copy()
    j = fit.terms.index(term)
    for k, name in enumerate(fit.terms):
        if name.startswith(f"{term}:"):
            x[:, k] += by * rows.x[:, fit.terms.index(name.removeprefix(f"{term}:"))]
    x[:, j] += by
    weights = np.ones(len(x)) if rows.weights is None else rows.weights
    eta = x @ fit.beta + (0.0 if rows.offset is None else rows.offset)
    return float(weights @ LINKS[fit.link].inverse(eta) / weights.sum())


@pytest.mark.parametrize("link", ["logit", "cloglog", "probit"])
def test_effects_with_interactions_weights_and_offset_are_derivatives(link):
    d = lung().assign(w=lambda d: 1.0 + d.n, o=lambda d: d.age / 500)
    model = DiscreteHazard(link=link, nonproportional=("ph_ecog",))
    fit = model.fit("Surv(time, event) ~ age + ph_ecog", d, weights="w", offset="o")
    found = fit.average_effects().set_index("term")
    for term in ("age", "ph_ecog"):
        slope = (shifted(fit, term, 1e-4) - shifted(fit, term, -1e-4)) / 2e-4
        assert found.estimate[term] == pytest.approx(slope, rel=1e-7)


@pytest.mark.parametrize("link", sorted(LINKS))
def test_slope_is_the_derivative_of_the_density(link):
    eta = np.linspace(-6, 3, 50)
    link = LINKS[link]
    slope = (link.density(eta + 1e-5) - link.density(eta - 1e-5)) / 2e-5
    np.testing.assert_allclose(link.slope(eta), slope, rtol=1e-6, atol=1e-9)


def test_levels_of_a_factor_are_compared_with_its_base():
    d = lung()
    fit = BinaryRegression().fit("event ~ age + C(n)", d)
    found = fit.average_effects(["C(n)[T.1]", "C(n)[T.2]"], discrete=["C(n)[T.1]", "C(n)[T.2]"]).set_index("term")
    mean = {k: fit.predict({"age": d.age, "C(n)[T.1]": float(k == 1), "C(n)[T.2]": float(k == 2)}) for k in range(3)}
    for k in (1, 2):
        wanted = (mean[k].probability - mean[0].probability).mean()
        assert found.estimate[f"C(n)[T.{k}]"] == pytest.approx(wanted, rel=1e-10)


def test_contrast_of_paths_and_of_several_scenarios():
    fit = DiscreteHazard().fit(FORMULA, lung())
    at = pd.DataFrame({"age": [50.0, 70.0], "ph_ecog": [0, 2], "female": [1, 0]})
    base = {"age": 60, "ph_ecog": 1, "female": 0}
    both = fit.contrast(at, base, 12)
    for i in range(2):
        one, two = fit.predict(at.iloc[[i]], 12), fit.predict(base, 12)
        part = both[both.scenario == i]
        np.testing.assert_allclose(part.estimate, one.survival - two.survival, rtol=1e-10)
    again = fit.contrast(base, at.iloc[[0]], 12)
    np.testing.assert_allclose(again.estimate, -both[both.scenario == 0].estimate, rtol=1e-12)
    np.testing.assert_allclose(again.std_error, both[both.scenario == 0].std_error, rtol=1e-12)
    incidence = fit.contrast(at, base, 12, quantity="incidence")
    np.testing.assert_allclose(incidence.estimate, -both.estimate, rtol=1e-9)
    np.testing.assert_allclose(incidence.std_error, both.std_error, rtol=1e-9)
    path = fit.contrast(at, pd.concat([at.iloc[[0]], at.iloc[[0]]]), 2, path=True)
    assert path.estimate.iloc[0] == pytest.approx(0, abs=1e-15)
    assert path.std_error.iloc[0] == pytest.approx(0, abs=1e-15)
    assert path.estimate.iloc[1] < 0
    with pytest.raises(DataError, match="versus: expected 1 or 1 scenarios"):
        fit.contrast(base, at, 12)
    with pytest.raises(DataError, match="Did you mean 'survival'"):
        fit.contrast(base, base, 12, quantity="survivall")


def test_contrast_where_a_period_has_no_events():
    fit = DiscreteHazard(link="cloglog", baseline="dummies", period=2).fit(FORMULA, lung())
    one, two = ({"age": a, "ph_ecog": 1, "female": 0} for a in (50, 70))
    found = fit.contrast(one, two, quantity="hazard").set_index("period")
    empty = list(fit.baseline.empty_periods)
    assert empty
    assert (found.estimate[empty] == 0).all()
    assert found.statistic[empty].isna().all()
    survival = fit.contrast(one, two)
    np.testing.assert_allclose(survival.estimate, fit.predict(one).survival - fit.predict(two).survival, atol=1e-14)


def test_ratios_are_named_by_the_link():
    fits = {link: DiscreteHazard(link=link).fit(FORMULA, lung()) for link in ("logit", "cloglog", "probit")}
    assert [fit.ratio for fit in fits.values()] == ["odds ratio", "hazard ratio", ""]
    assert "exp(estimate) is the odds ratio" in str(fits["logit"])
    assert "exp(estimate) is the hazard ratio" in str(fits["cloglog"])
    assert "exp(estimate) has no meaning" in str(fits["probit"])
    np.testing.assert_allclose(fits["logit"].tidy(exponentiate=True).estimate, np.exp(fits["logit"].beta))
    with pytest.raises(DataError, match="exponentiate: expected link 'logit'"):
        fits["probit"].tidy(exponentiate=True)
    columns = {link: set(fit.__maketables_coef_table__.columns) for link, fit in fits.items()}
    assert {"or", "or_se"} <= columns["logit"]
    assert "hr" not in columns["logit"]
    assert {"hr", "hr_ci95l"} <= columns["cloglog"]
    assert not columns["probit"] & {"or", "hr"}


def test_tables_of_fits_with_different_links():
    import maketables

    fits = [DiscreteHazard(link=link).fit(FORMULA, lung(), cluster="g") for link in ("logit", "cloglog", "probit")]
    text = maketables.ETable(fits).df.to_string()
    assert text.count(str(fits[0].n_event)) >= 3
    odds = maketables.ETable(fits[:1], coef_fmt="or:.4f").df.to_string()
    assert f"{np.exp(fits[0].coef['age']):.4f}" in odds


def test_profile_intervals_in_the_tidy_table():
    fit = DiscreteHazard().fit(FORMULA, lung())
    tidy, profile = fit.tidy(intervals="profile"), fit.profile()
    np.testing.assert_allclose(tidy.conf_low, profile.conf_low)
    np.testing.assert_allclose(tidy.statistic**2, profile.statistic, rtol=1e-9)
    with pytest.raises(DataError, match="intervals: expected 'wald' with clusters"):
        DiscreteHazard().fit(FORMULA, lung(), cluster="g").tidy(intervals="profile")


def test_arrays_cannot_be_changed():
    fit = DiscreteHazard().fit(FORMULA, lung(), cluster="g", weights=np.ones(len(lung())))
    for array in (fit.rows.x, fit.rows.y, fit.rows.weights, fit.clusters, fit.subject, fit.number):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    weights = np.ones(len(lung()))
    BinaryRegression().fit("event ~ age", lung(), weights=weights)
    weights[0] = 2.0
    assert repr(fit) == str(fit)


@pytest.mark.parametrize(
    ("formula", "arguments", "message"),
    [
        ("event ~ age + np.log(age)", {"terms": "age"}, r"'age' in no other term, got 'age' in 'np.log\(age\)' too"),
        ("event ~ age + age:n", {"terms": "age"}, "'age' in no other term"),
        ("event ~ age:n", {"terms": "age:n"}, "terms that are no products"),
        ("event ~ age + n", {"discrete": "n"}, "terms with the values 0 and 1 only, got 'n'"),
        ("event ~ age + C(n)", {"terms": "C(n)[T.1]"}, "a level of a factor under discrete"),
        ("event ~ age + n", {"terms": "agee"}, "Did you mean 'age'"),
        ("event ~ age + n", {"level": 1.0}, "level"),
    ],
)
def test_effects_refuse(formula, arguments, message):
    fit = BinaryRegression().fit(formula, lung())
    with pytest.raises(DataError, match=message):
        fit.average_effects(**arguments)
