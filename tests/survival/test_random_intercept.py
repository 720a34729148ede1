"""Random intercepts against lme4 and R's integrate(), numerical derivatives, invariances."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from coalition_exit.errors import DataError, FitError
from coalition_exit.survival.discrete.discrete import DiscreteHazard, RandomInterceptFit
from coalition_exit.survival.discrete.glm_links import LINKS
from coalition_exit.survival.discrete.glm_solver import BinaryData, maximize_binary
from coalition_exit.survival.discrete.random_intercept import Quadrature, fit_random_intercept

REFERENCE = Path(__file__).parents[1] / "reference"
MODELS = ("bacteria_logit", "bacteria_cloglog", "pbcseq_logit", "cgd_cloglog")


@cache
def reference(model):
    table = pd.read_csv(REFERENCE / "discrete_random.csv", keep_default_na=False)
    return table[table.model == model]


def read(name):
    return pd.read_csv(REFERENCE / "data" / f"{name}.csv")


@cache
def problem(model):
    """Rows, groups and terms of a model of make_discrete.R."""
    link = model.split("_")[1]
    if model.startswith("bacteria"):
        d = read("discrete_bacteria")
        x = np.column_stack([d[["active", "high", "week"]].to_numpy(float), np.ones(len(d))])
        return (
            BinaryData(x, d.y.to_numpy() == 1, None, None, LINKS[link]),
            d.id.to_numpy(),
            ("active", "high", "week", "_cons"),
        )
    if model == "pbcseq_logit":
        hazard = DiscreteHazard(link="logit", baseline="log", covariates="mean")
        fit = hazard.fit("Surv(tstart, tstop, death) ~ logbili + protime + age", read("pbcseq"), id="id")
    else:
        hazard = DiscreteHazard(link="cloglog", baseline="constant", period="week", repeated="merge")
        fit = hazard.fit("Surv(tstart, tstop, status) ~ treat + age", read("cgd"), id="id")
    return fit.rows, fit.subject, fit.terms


def scalar(model, quantity):
    table = reference(model)
    return table[table.quantity == quantity].value.iloc[0]


def vector(model, quantity, terms):
    table = reference(model)
    return table[table.quantity == quantity].set_index("term").value[list(terms)].to_numpy()


@pytest.mark.parametrize("model", MODELS)
def test_likelihood_equals_r(model):
    """At lme4's estimates: with its 25 points its likelihood, with 80 points the integral itself."""
    data, groups, terms = problem(model)
    theta = np.append(vector(model, "coef", terms), np.log(scalar(model, "sigma")))
    # lme4 scales the nodes of the cloglog by the expected information, so 25 points differ a little.
    tolerance = 1e-11 if model.endswith("logit") and not model.endswith("cloglog") else 1e-9
    assert Quadrature(data, groups, 25).loglik(theta) == pytest.approx(scalar(model, "loglik_lme4"), rel=tolerance)
    assert Quadrature(data, groups, 80).loglik(theta) == pytest.approx(scalar(model, "loglik_integrate"), rel=1e-11)


@pytest.mark.parametrize("model", MODELS)
def test_estimates_equal_lme4(model):
    """As far as lme4's derivative-free optimizer goes: 1e-4 of a standard error and better."""
    data, groups, terms = problem(model)
    found = fit_random_intercept(data, groups, terms, points=25)
    error = vector(model, "std_error", terms)
    assert np.abs((found.beta - vector(model, "coef", terms)) / error).max() < 1e-4
    assert found.sigma == pytest.approx(scalar(model, "sigma"), abs=2e-5)
    # lme4 takes its Hessian by finite differences.
    np.testing.assert_allclose(np.sqrt(np.diag(found.covariance)[:-1]), error, rtol=2e-3)
    assert found.loglik >= scalar(model, "loglik_lme4") - 1e-9
    assert found.statistic == pytest.approx(2 * (found.loglik - found.pooled.loglik), abs=1e-12)


@pytest.mark.parametrize("model", ["bacteria_logit", "bacteria_cloglog"])
def test_derivatives(model):
    data, groups, terms = problem(model)
    integral = Quadrature(data, groups, 60)
    theta = np.append(maximize_binary(data, terms).beta * 0.9, np.log(0.8))
    at = integral.evaluate(theta)
    step = 1e-5

    def central(f):
        return np.array([(f(theta + step * e) - f(theta - step * e)) / (2 * step) for e in np.eye(len(theta))])

    np.testing.assert_allclose(central(integral.loglik), at.score, rtol=1e-6, atol=1e-6)
    hessian = central(lambda t: integral.evaluate(t).score)
    np.testing.assert_allclose(-hessian, at.information, rtol=1e-6, atol=1e-5)


def test_estimate_is_a_maximum_of_the_integral():
    data, groups, terms = problem("bacteria_logit")
    found = fit_random_intercept(data, groups, terms, points=50)
    theta = np.append(found.beta, np.log(found.sigma))
    at = Quadrature(data, groups, 100).evaluate(theta)
    # The Newton step that is left, in standard errors.
    left = found.covariance @ at.score / np.sqrt(np.diag(found.covariance))
    assert np.abs(left).max() < 1e-8
    np.testing.assert_allclose(np.linalg.inv(at.information), found.covariance, rtol=1e-7)
    assert found.quadrature_error < 1e-10
    assert found.modes.shape == (len(np.unique(groups)),)


def test_weight_two_is_the_row_twice_and_order_does_not_matter():
    data, groups, terms = problem("bacteria_logit")
    twice = np.concatenate([np.arange(len(groups)), np.arange(0, len(groups), 3)])
    order = np.random.default_rng(5).permutation(twice)
    weights = np.where(np.arange(len(groups)) % 3 == 0, 2.0, 1.0)
    one = fit_random_intercept(BinaryData(data.x, data.y, weights, None, data.link), groups, terms)
    two = fit_random_intercept(
        BinaryData(data.x[order], data.y[order], None, None, data.link), groups[order] * 7, terms
    )
    np.testing.assert_allclose(two.beta, one.beta, rtol=1e-9)
    assert two.sigma == pytest.approx(one.sigma, rel=1e-9)
    assert two.loglik == pytest.approx(one.loglik, rel=1e-12)
    np.testing.assert_allclose(two.covariance, one.covariance, rtol=1e-8)


def test_offset_shifts_the_constant():
    data, groups, terms = problem("bacteria_cloglog")
    plain = fit_random_intercept(data, groups, terms)
    shifted = fit_random_intercept(
        BinaryData(data.x, data.y, None, np.full(len(groups), 0.7), data.link), groups, terms
    )
    np.testing.assert_allclose(shifted.beta + np.array([0, 0, 0, 0.7]), plain.beta, rtol=1e-8)


def test_no_variation_between_groups_gives_sigma_zero():
    # Every group has the same outcomes: less variation between groups than by chance.
    y = np.tile([True, False, True, False], 20)
    x = np.column_stack([np.tile([0.0, 1.0, 2.0, 0.5], 20), np.ones(80)])
    groups = np.repeat(np.arange(20), 4)
    found = fit_random_intercept(BinaryData(x, y, None, None, LINKS["logit"]), groups, ("a", "_cons"))
    assert found.sigma == 0
    assert (found.statistic, found.p_value) == (0.0, 1.0)
    assert found.loglik == found.pooled.loglik
    assert np.isnan(found.covariance[-1]).all()
    np.testing.assert_array_equal(found.covariance[:2, :2], found.pooled.observed)


def hazard_data():
    rng = np.random.default_rng(11)
    n, groups = 300, np.arange(300) % 20
    intercept = rng.normal(size=20)[groups]
    x = rng.normal(size=n)
    time = np.ceil(rng.exponential(np.exp(2.5 - 0.6 * x - 0.8 * intercept)))
    return pd.DataFrame({"time": np.minimum(time, 30), "event": (time <= 30).astype(int), "x": x, "g": groups})


@pytest.mark.parametrize("link", ["logit", "cloglog"])
def test_fit_result(link):
    data = hazard_data()
    fit = DiscreteHazard(link=link, baseline="log", period=1).fit("Surv(time, event) ~ x", data, random_intercept="g")
    assert isinstance(fit, RandomInterceptFit)
    assert fit.estimator == f"discrete_{link}_random_intercept"
    assert (fit.n_group, fit.n_cluster, fit.correction, fit.group) == (20, None, None, "g")
    assert fit.sigma == pytest.approx(0.8, abs=0.3)
    assert 0 < fit.sigma_std_error < fit.sigma
    latent = {"logit": np.pi**2 / 3, "cloglog": np.pi**2 / 6}[link]
    assert fit.rho == pytest.approx(fit.sigma**2 / (fit.sigma**2 + latent))
    pooled = DiscreteHazard(link=link, baseline="log", period=1).fit("Surv(time, event) ~ x", data)
    assert fit.lr_statistic == pytest.approx(2 * (fit.loglik - pooled.loglik))
    assert fit.lr_p_value < 1e-6
    assert fit.aic == pytest.approx(-2 * fit.loglik + 2 * 4)
    assert fit.glance().loc[0, "sigma"] == fit.sigma
    assert "test of sigma = 0: chibar2(01)" in str(fit)
    assert "random intercept by g" in fit.title
    row = fit.predict({"x": 0.0}, 3)
    assert row.hazard.between(0, 1).all()
    assert fit.profile(["x", "sigma"]).term.tolist() == ["x", "sigma"]


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({}, {"cluster": "half"}, "cluster: expected clusters that hold whole groups of the random intercept"),
        ({}, {"cluster": "one"}, "cluster: expected at least two clusters, got 1"),
        ({"firth": True}, {}, "random_intercept: expected link 'logit' or 'cloglog'"),
        ({"link": "probit"}, {}, "random_intercept: expected link 'logit' or 'cloglog'"),
        ({}, {"random_intercept": "one"}, "random_intercept: expected at least two groups, got 1"),
        ({}, {"random_intercept": "gg"}, "Did you mean 'g'"),
        ({"points": 3}, {}, "points: expected a whole number from 5 to 100, got 3"),
    ],
)
def test_refuses(options, arguments, message):
    with pytest.raises(DataError, match=message):
        DiscreteHazard(baseline="log", period=1, **options).fit(
            "Surv(time, event) ~ x",
            hazard_data().assign(one=1, half=lambda d: np.arange(len(d)) % 7),
            **({"random_intercept": "g"} | arguments),
        )


def test_separation_is_named_here_too():
    data = hazard_data().assign(z=lambda d: d.event)
    with pytest.raises(FitError, match=r"complete separation.*: z predicts 300 of 300") as caught:
        DiscreteHazard(baseline="constant", period=30).fit("Surv(time, event) ~ z", data, random_intercept="g")
    assert caught.value.status == "separation"
