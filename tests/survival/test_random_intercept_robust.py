"""Cluster-robust errors, profile intervals and averaged effects of random-intercept models."""

from __future__ import annotations

import pickle
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.optimize
from scipy.special import expit, log_expit, logsumexp

from coalition_exit.errors import DataError
from coalition_exit.survival.discrete.discrete import DiscreteHazard
from coalition_exit.survival.discrete.glm_links import LINKS
from coalition_exit.survival.discrete.glm_solver import BinaryData
from coalition_exit.survival.discrete.random_intercept import fit_random_intercept, robust_covariance

REFERENCE = Path(__file__).parents[1] / "reference"
NODES = np.polynomial.hermite.hermgauss(80)
TERMS = ("active", "high", "week", "_cons")
FORMULA = "Surv(time, y) ~ active + high + week"


@cache
def reference(link):
    table = pd.read_csv(REFERENCE / "discrete_more_values.csv", keep_default_na=False).astype({"value": float})
    table = table[table.model == f"random_{link}"]
    return table.pivot_table(index="term", columns="quantity", values="value")


def bacteria():
    d = pd.read_csv(REFERENCE / "data" / "discrete_bacteria.csv")
    return d.assign(time=1.0, cluster=d.id % 17)


def fitted(link, correction="none", points=60, **arguments):
    model = DiscreteHazard(link=link, baseline="constant", period=1, points=points, correction=correction)
    return model.fit(FORMULA, bacteria(), random_intercept="id", **arguments)


@pytest.mark.parametrize("link", ["logit", "cloglog"])
@pytest.mark.parametrize(("cluster", "quantity"), [("id", "group_error"), ("cluster", "cluster_error")])
def test_sandwich_equals_numerical_derivatives_of_the_integral(link, cluster, quantity):
    """R's integrate() for each group's likelihood, differentiated by numDeriv, Newton to its maximum."""
    wanted = reference(link)
    fit = fitted(link, cluster=cluster)
    theta = np.append(fit.beta, np.log(fit.sigma))
    whole = [*TERMS, "log_sigma"]
    np.testing.assert_allclose(theta, wanted.theta[whole], rtol=1e-6)
    assert fit.loglik == pytest.approx(wanted.loglik[""], rel=1e-10)
    errors = np.append(fit.std_error, fit.sigma_std_error / fit.sigma)
    np.testing.assert_allclose(errors, wanted[quantity][whole], rtol=2e-5)
    np.testing.assert_allclose(np.sqrt(np.diag(fit.vcov_model)), wanted.model_error[list(TERMS)], rtol=2e-5)
    count = {"id": 50, "cluster": wanted.n_cluster[""]}[cluster]
    assert (fit.n_cluster, fit.correction) == (count, "none")
    stata = fitted(link, "stata", cluster=cluster)
    np.testing.assert_allclose(stata.vcov, fit.vcov * count / (count - 1), rtol=1e-12)
    assert f"{count:.0f} clusters of {cluster} (none)" in str(fit)
    assert "standard errors cluster-robust" in str(fit)


@pytest.mark.parametrize("link", ["logit", "cloglog"])
def test_profile_intervals_equal_lme4(link):
    """lme4 interpolates its profile with splines: a thousandth of an interval's width."""
    wanted = reference(link)
    found = fitted(link, points=25).profile().set_index("term")
    for term in (*TERMS, "sigma"):
        width = found.conf_high[term] - found.conf_low[term]
        assert found.conf_low[term] == pytest.approx(wanted.lme4_low[term], abs=2e-3 * width)
        assert found.conf_high[term] == pytest.approx(wanted.lme4_high[term], abs=2e-3 * width)
    assert found.conf_low["variance"] == pytest.approx(found.conf_low["sigma"] ** 2, rel=1e-12)
    assert found.estimate["variance"] == pytest.approx(found.estimate["sigma"] ** 2, rel=1e-12)


def slow_loglik(theta, d):
    """The marginal likelihood by 80 plain (not adaptive) Gauss-Hermite nodes."""
    nodes, mass = NODES
    eta = d[["active", "high", "week"]].to_numpy(float) @ theta[:3] + theta[3]
    sign = np.where(d.y == 1, 1.0, -1.0)
    each = log_expit(sign[:, None] * (eta[:, None] + theta[4] * np.sqrt(2) * nodes))
    member = (d.id.unique()[:, None] == d.id.to_numpy()).astype(float)
    return float(logsumexp(member @ each, b=mass / np.sqrt(np.pi), axis=1).sum())


def test_profile_bounds_lie_where_a_slow_likelihood_says():
    """With a parameter at its bound, the rest maximized by scipy, the likelihood has fallen by 3.84 / 2."""
    fit, d = fitted("logit", points=40), bacteria()
    table = fit.profile(["active", "sigma"])
    top = slow_loglik(np.append(fit.beta, fit.sigma), d)
    assert top == pytest.approx(fit.loglik, rel=1e-9)
    for row in table.itertuples():
        j = 4 if row.term == "sigma" else TERMS.index(row.term)
        for bound in (row.conf_low, row.conf_high):

            def negative(part, j=j, bound=bound):
                return -slow_loglik(np.insert(part, j, bound), d)

            start = np.delete(np.append(fit.beta, fit.sigma), j)
            best = scipy.optimize.minimize(negative, start, method="BFGS", options={"gtol": 1e-6})
            assert 2 * (top + best.fun) == pytest.approx(3.841458820694124, abs=2e-4)


def test_variance_interval_that_begins_at_zero():
    rng = np.random.default_rng(3)
    d = pd.DataFrame({"x": rng.normal(size=200), "g": np.arange(200) % 25, "time": 1.0})
    d["event"] = (rng.random(200) < expit(d.x - 0.5 + 0.3 * rng.normal(size=25)[d.g])).astype(int)
    fit = DiscreteHazard(baseline="constant", period=1).fit("Surv(time, event) ~ x", d, random_intercept="g")
    sigma = fit.profile("sigma").iloc[0]
    assert sigma.conf_low == 0
    assert sigma.p_value > 0.05
    assert 0.2 < sigma.conf_high < 3
    assert sigma.p_value == fit.lr_p_value


def test_profile_and_sandwich_where_sigma_is_zero():
    y = np.tile([1, 0, 1, 0, 1], 20)
    d = pd.DataFrame({"y": y, "x": np.tile([0.0, 1.0, 2.0, 0.5, 0.2], 20), "time": 1.0, "g": np.repeat(range(20), 5)})
    model = DiscreteHazard(baseline="constant", period=1)
    fit = model.fit("Surv(time, y) ~ x", d, random_intercept="g", cluster="g")
    plain = model.fit("Surv(time, y) ~ x", d, cluster="g")
    assert fit.sigma == 0
    assert np.isnan(fit.sigma_std_error)
    np.testing.assert_allclose(fit.vcov, plain.vcov, rtol=1e-8)
    found, wanted = fit.profile("x").iloc[0], plain.profile("x").iloc[0]
    np.testing.assert_allclose(found[2:].astype(float), wanted[2:].astype(float), rtol=1e-6)
    sigma = fit.profile("sigma").iloc[0]
    assert (sigma.estimate, sigma.conf_low, sigma.statistic) == (0, 0, 0)
    assert sigma.conf_high > 0.1
    np.testing.assert_allclose(fit.average_effects().estimate, plain.average_effects().estimate, rtol=1e-8)


def test_clusters_of_one_group_are_the_groups():
    d = bacteria()
    data = BinaryData(
        np.column_stack([d[["active", "high", "week"]].to_numpy(float), np.ones(len(d))]), d.y.to_numpy() == 1, None,
        None, LINKS["logit"],
    )  # fmt: skip
    found = fit_random_intercept(data, d.id.to_numpy(), TERMS)
    assert np.abs(found.group_scores.sum(axis=0)).max() < 1e-6
    own, count = robust_covariance(found, np.arange(50), "none")
    assert count == 50
    by_hand = found.covariance @ (found.group_scores.T @ found.group_scores) @ found.covariance
    np.testing.assert_allclose(own, by_hand, rtol=1e-10)


@pytest.mark.parametrize("link", ["logit", "cloglog"])
def test_averaged_effects_are_derivatives_of_the_averaged_probability(link):
    fit = fitted(link, cluster="id")
    x, p = fit.rows.x, len(fit.beta)
    nodes, mass = np.polynomial.hermite.hermgauss(60)

    def averaged(theta, move):
        eta = (x + move) @ theta[:p]
        each = LINKS[link].inverse(eta[:, None] + np.sqrt(2) * np.exp(theta[p]) * nodes)
        return float((each @ mass).mean() / np.sqrt(np.pi))

    theta = np.append(fit.beta, np.log(fit.sigma))
    found = fit.average_effects(discrete="active").set_index("term")
    step = np.zeros(p)
    step[2] = 1e-5
    slope = (averaged(theta, step) - averaged(theta, -step)) / 2e-5
    assert found.estimate["week"] == pytest.approx(slope, rel=1e-6)

    def change(theta):
        high, low = np.zeros(x.shape), np.zeros(x.shape)
        high[:, 0], low[:, 0] = 1 - x[:, 0], -x[:, 0]
        return averaged(theta, high) - averaged(theta, low)

    assert found.estimate["active"] == pytest.approx(change(theta), rel=1e-8)
    gradient = np.array([(change(theta + 1e-5 * e) - change(theta - 1e-5 * e)) / 2e-5 for e in np.eye(p + 1)])
    assert found.std_error["active"] == pytest.approx(np.sqrt(gradient @ fit.full_covariance @ gradient), rel=1e-6)


def test_pickle_and_missing_groups():
    fit = fitted("logit", points=15, cluster="cluster")
    again = pickle.loads(pickle.dumps(fit))
    pd.testing.assert_frame_equal(again.tidy(), fit.tidy())
    d = bacteria()
    d.loc[[0, 5], "id"] = np.nan
    model = DiscreteHazard(baseline="constant", period=1)
    dropped = model.fit(FORMULA, d, random_intercept="id", missing="drop")
    assert (dropped.n_dropped, dropped.n_obs) == (2, len(d) - 2)
    assert "2 rows dropped for missing values (id 2)" in str(dropped)
    with pytest.raises(DataError, match="random_intercept, row 0"):
        model.fit(FORMULA, d, random_intercept="id")
    with pytest.raises(DataError, match="terms: expected one of active, high"):
        fit.profile("weak")
