"""Binary regressions: links, Firth's penalty, profiles, separation, sandwich, refusals."""

from __future__ import annotations

import pickle
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.optimize
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, norm

from coalition_exit.errors import DataError, FitError
from coalition_exit.survival.discrete.glm import BinaryFit, BinaryRegression
from coalition_exit.survival.discrete.glm_links import LINKS, get_link
from coalition_exit.survival.discrete.glm_separation import find_separation
from coalition_exit.survival.discrete.glm_solver import BinaryData, evaluate, maximize_binary

REFERENCE = Path(__file__).parents[1] / "reference"
GRID = np.concatenate([np.linspace(-8, 4, 97), [-30.0, -20.0, 5.0]])


@cache
def firth_values():
    return pd.read_csv(REFERENCE / "discrete_firth.csv", keep_default_na=False)


def read(name):
    return pd.read_csv(REFERENCE / "data" / f"{name}.csv")


def simulated(n=200, seed=1):
    rng = np.random.default_rng(seed)
    d = pd.DataFrame({"a": rng.normal(size=n), "b": rng.integers(0, 3, n), "g": rng.integers(0, 12, n)})
    d["w"] = rng.integers(1, 4, n)
    d["o"] = rng.normal(size=n) / 4
    d["y"] = (rng.random(n) < 1 / (1 + np.exp(-(0.7 * d.a - 0.5 * d.b - 0.3)))).astype(int)
    return d


# Links


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("y", [True, False])
def test_row_derivatives(link, y):
    rows = LINKS[link].rows
    outcome = np.full(len(GRID), y)
    at, step = rows(GRID, outcome), 1e-5
    up, down = rows(GRID + step, outcome), rows(GRID - step, outcome)
    np.testing.assert_allclose((up.loglik - down.loglik) / (2 * step), at.first, rtol=1e-5, atol=1e-10)
    np.testing.assert_allclose((down.first - up.first) / (2 * step), at.observed, rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("link", LINKS)
def test_expected_information_is_the_mean_of_the_observed(link):
    found = LINKS[link]
    p = found.inverse(GRID)
    one, zero = found.rows(GRID, np.ones(len(GRID), bool)), found.rows(GRID, np.zeros(len(GRID), bool))
    use = (p > 1e-12) & (p < 1 - 1e-9)
    mean = p * one.observed + (1 - p) * zero.observed
    np.testing.assert_allclose(one.expected[use], mean[use], rtol=1e-7)
    np.testing.assert_allclose(zero.expected, one.expected)
    np.testing.assert_allclose(np.exp(one.loglik), p, rtol=1e-12)
    inside = np.linspace(-4, 1.2, 40)
    np.testing.assert_allclose(found.quantile(found.inverse(inside)), inside, rtol=1e-10)
    step = 1e-6
    slope = (found.inverse(inside + step) - found.inverse(inside - step)) / (2 * step)
    np.testing.assert_allclose(found.density(inside), slope, rtol=1e-7)


def test_links_far_out_keep_their_digits():
    eta = np.array([-40.0, -25.0])
    one = np.ones(2, bool)
    # P ~ exp(eta) for logit and cloglog: log P ~ eta; curvature exp(eta) and exp(eta) / 2.
    np.testing.assert_allclose(LINKS["logit"].rows(eta, one).loglik, eta, rtol=1e-12)
    np.testing.assert_allclose(LINKS["logit"].rows(eta, one).observed, np.exp(eta), rtol=1e-10)
    np.testing.assert_allclose(LINKS["cloglog"].rows(eta, one).loglik, eta, rtol=1e-11)
    np.testing.assert_allclose(LINKS["cloglog"].rows(eta, one).observed, np.exp(eta) / 2, rtol=1e-10)
    # Mills' ratio: phi / Phi(-z) ~ z + 1 / z - 2 / z^3.
    np.testing.assert_allclose(
        LINKS["probit"].rows(np.array([-30.0]), one[:1]).first, 30 + 1 / 30 - 2 / 27000, rtol=1e-6
    )
    for link in LINKS.values():
        for y in (True, False):
            rows = link.rows(np.array([-800.0, -100.0, 100.0, 800.0]), np.full(4, y))
            assert not np.isnan(rows.loglik).any()
            assert not np.isnan(rows.first).any()
            assert (rows.observed >= 0).all()


def test_unknown_link():
    with pytest.raises(DataError, match=r"link: .*Did you mean 'probit'"):
        get_link("probitt")


# Likelihood


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("firth", [False, True])
def test_score_is_the_gradient(link, firth):
    if firth and link != "logit":
        link = "logit"
    d = simulated(60)
    x = np.column_stack([d.a, d.b, np.ones(60)])
    data = BinaryData(x, d.y.to_numpy() == 1, d.w.to_numpy(float), d.o.to_numpy(), LINKS[link])
    beta, step = np.array([0.4, -0.2, -0.1]), 1e-6
    slopes = [
        (evaluate(data, beta + step * e, firth).loglik - evaluate(data, beta - step * e, firth).loglik) / (2 * step)
        for e in np.eye(3)
    ]
    np.testing.assert_allclose(evaluate(data, beta, firth).score, slopes, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("link", LINKS)
def test_constant_only_has_a_closed_form(link):
    y = np.array([1] * 7 + [0] * 23)
    fit = BinaryRegression(link=link, information="expected").fit("y ~ 1", pd.DataFrame({"y": y}))
    p = 7 / 30
    assert fit.terms == ("_cons",)
    assert fit.coef["_cons"] == pytest.approx(float(LINKS[link].quantile(np.array(p))), rel=1e-12)
    assert fit.loglik == pytest.approx(7 * np.log(p) + 23 * np.log(1 - p), rel=1e-13)
    assert fit.loglik_null == pytest.approx(fit.loglik, rel=1e-13)
    variance = p * (1 - p) / 30 / LINKS[link].density(fit.beta)[0] ** 2
    assert fit.vcov.iloc[0, 0] == pytest.approx(variance, rel=1e-10)
    assert np.isnan(fit.events_per_variable)


def test_logit_of_a_two_by_two_table_is_the_log_odds_ratio():
    d = pd.DataFrame({"y": [1] * 5 + [0] * 7 + [1] * 11 + [0] * 4, "x": [0] * 12 + [1] * 15})
    fit = BinaryRegression().fit("y ~ x", d)
    assert fit.coef["x"] == pytest.approx(np.log(11 * 7 / (4 * 5)), rel=1e-12)
    assert fit.std_error["x"] == pytest.approx(np.sqrt(1 / 5 + 1 / 7 + 1 / 11 + 1 / 4), rel=1e-10)


@pytest.mark.parametrize("link", LINKS)
def test_weight_two_is_the_row_twice(link):
    d = simulated()
    model = BinaryRegression(link=link)
    one = model.fit("y ~ a + b", d, weights="w", offset="o")
    two = model.fit("y ~ a + b", d.loc[d.index.repeat(d.w)], offset="o")
    np.testing.assert_allclose(one.beta, two.beta, rtol=1e-10)
    np.testing.assert_allclose(one.covariance, two.covariance, rtol=1e-9)
    assert one.loglik == pytest.approx(two.loglik, rel=1e-13)
    assert one.loglik_null == pytest.approx(two.loglik_null, rel=1e-13)


def test_zero_weights_are_rows_that_are_not_there():
    d = simulated()
    d["zero"] = (d.index % 3 > 0).astype(float)
    one = BinaryRegression(link="probit").fit("y ~ a + b", d, weights="zero")
    two = BinaryRegression(link="probit").fit("y ~ a + b", d[d.zero > 0])
    np.testing.assert_allclose(one.beta, two.beta, rtol=1e-10)
    np.testing.assert_allclose(one.covariance, two.covariance, rtol=1e-9)


@pytest.mark.parametrize("link", LINKS)
def test_scale_and_place_of_a_covariate_do_not_matter(link):
    d = simulated()
    # Multiples of a power of two, so that moving them loses nothing.
    d["a"] = np.round(d.a * 2**20) / 2**20
    model = BinaryRegression(link=link)
    plain = model.fit("y ~ a + b", d)
    moved = model.fit("y ~ c + b", d.assign(c=2048 + d.a / 1024))
    assert moved.loglik == pytest.approx(plain.loglik, rel=1e-12)
    assert moved.coef["c"] == pytest.approx(1024 * plain.coef["a"], rel=1e-9)
    assert moved.std_error["c"] == pytest.approx(1024 * plain.std_error["a"], rel=1e-9)
    assert moved.coef["_cons"] == pytest.approx(plain.coef["_cons"] - 2048 * 1024 * plain.coef["a"], rel=1e-9)


# Clusters


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("information", ["observed", "expected"])
def test_sandwich_by_hand(link, information):
    d = simulated()
    fit = BinaryRegression(link=link, information=information).fit("y ~ a + b", d, cluster="g", weights="w")
    rows = LINKS[link].rows(fit.rows.eta(fit.beta), fit.rows.y)
    meat = np.zeros((3, 3))
    for g in d.g.unique():
        u = sum(d.w[i] * rows.first[i] * fit.rows.x[i] for i in np.flatnonzero(d.g == g))
        meat += np.outer(u, u)
    size = (d.w.to_numpy() * getattr(rows, information))[:, None]
    bread = np.linalg.inv(fit.rows.x.T @ (size * fit.rows.x))
    np.testing.assert_allclose(fit.covariance, 12 / 11 * bread @ meat @ bread, rtol=1e-9)
    np.testing.assert_allclose(fit.model_covariance, bread, rtol=1e-9)
    assert (fit.n_cluster, fit.correction) == (12, "stata")
    none = BinaryRegression(link=link, information=information, correction="none").fit(
        "y ~ a + b", d, cluster="g", weights="w"
    )
    np.testing.assert_allclose(none.covariance * 12 / 11, fit.covariance, rtol=1e-12)


# Firth


@pytest.mark.parametrize("name", ["endometrial", "infert", "ovarian"])
def test_firth_equals_r(name):
    table = firth_values()
    table = table[table.model == name]
    formula = {
        "endometrial": "HG ~ NV + PI + EH",
        "infert": "case ~ parity + spontaneous + induced",
        "ovarian": "fustat ~ age + rx",
    }[name]
    fit = BinaryRegression(firth=True).fit(formula, read(name if name == "ovarian" else f"discrete_{name}"))
    terms = list(fit.terms)

    def column(quantity):
        return table[table.quantity == quantity].set_index("term").value[terms].to_numpy(float)

    np.testing.assert_allclose(fit.beta, column("coef"), rtol=1e-8)
    vcov = table[table.quantity == "vcov"].pivot_table(index="term", columns="other", values="value")
    np.testing.assert_allclose(fit.covariance, vcov.loc[terms, terms].to_numpy(), rtol=1e-8)
    scalar = table[table.term == ""].set_index("quantity").value
    assert fit.loglik == pytest.approx(scalar["loglik"], rel=1e-12)
    assert fit.loglik_null == pytest.approx(scalar["loglik_null"], rel=1e-12)
    assert np.isnan(fit.pseudo_r2)
    profile = fit.profile()
    # The script maximizes by optim() with numerical gradients, which stops at about 1e-8 of the
    # log-likelihood; the ends of an interval are then good to 1e-6.
    np.testing.assert_allclose(profile.conf_low, column("low"), rtol=1e-5)
    np.testing.assert_allclose(profile.conf_high, column("high"), rtol=1e-5)
    np.testing.assert_allclose(profile.statistic, column("lr"), rtol=1e-6)
    np.testing.assert_allclose(profile.p_value, chi2.sf(column("lr"), 1), rtol=1e-5)


@settings(deadline=None, max_examples=60)
@given(st.tuples(*[st.integers(0, 40)] * 4))
@example((1, 0, 11, 11))
@example((0, 1, 3, 40))
@example((1, 0, 1, 1))
def test_firth_of_a_two_by_two_table_adds_half_an_observation(counts):
    a, b, c, e = counts
    assume(a + b > 0 and c + e > 0 and a + c > 0 and b + e > 0)
    d = pd.DataFrame({"y": np.repeat([1, 0, 1, 0], counts), "x": np.repeat([0, 0, 1, 1], counts)})
    fit = BinaryRegression(firth=True).fit("y ~ x", d)
    a, b, c, e = (k + 0.5 for k in counts)
    np.testing.assert_allclose(fit.beta, [np.log(c / e) - np.log(a / b), np.log(a / b)], rtol=1e-8, atol=1e-10)


def test_firth_where_single_rows_tell_coefficients():
    """Each level of one row: scoring steps that are twice too long went to and fro for ever."""
    d = pd.DataFrame(
        {"y": [1, 0, 1, *[0, 1] * 9], "k": [1, 2, 3, *[0] * 18], "a": np.r_[0.0, 0, 0, np.linspace(-1, 1, 18)]}
    )
    saturated = BinaryRegression(firth=True).fit("y ~ C(k)", d)
    np.testing.assert_allclose(saturated.beta, np.log(3) * np.array([1, -1, 1, 0]), atol=1e-10)
    fit = BinaryRegression(firth=True).fit("y ~ C(k) + a", d)
    x = np.column_stack([d["k"] == 1, d["k"] == 2, d["k"] == 3, d["a"], np.ones(len(d))]).astype(float)

    def penalized(beta):
        p = 1 / (1 + np.exp(-x @ beta))
        information = (x.T * (p * (1 - p))) @ x
        return -(np.log(np.where(d["y"] == 1, p, 1 - p)).sum() + 0.5 * np.linalg.slogdet(information)[1])

    found = scipy.optimize.minimize(penalized, np.zeros(5), method="BFGS", options={"gtol": 1e-8})
    np.testing.assert_allclose(fit.beta, found.x, atol=1e-5)
    assert fit.loglik == pytest.approx(-found.fun, abs=1e-9)
    assert fit.n_iter < 60


def test_firth_with_weights_is_rows_repeated():
    d = simulated(40)
    one = BinaryRegression(firth=True).fit("y ~ a + b", d, weights="w")
    two = BinaryRegression(firth=True).fit("y ~ a + b", d.loc[d.index.repeat(d.w)])
    np.testing.assert_allclose(one.beta, two.beta, rtol=1e-9)
    assert one.loglik == pytest.approx(two.loglik, rel=1e-12)
    np.testing.assert_allclose(one.profile("a").conf_high, two.profile("a").conf_high, rtol=1e-8)


def test_firth_clusters_use_the_penalized_score():
    d = simulated()
    fit = BinaryRegression(firth=True, correction="none").fit("y ~ a + b", d, cluster=np.arange(len(d)))
    x, p = fit.rows.x, fit.fitted
    h = p * (1 - p) * np.einsum("ij,jk,ik->i", x, fit.model_covariance, x)
    u = x * (d.y.to_numpy() - p + h * (0.5 - p))[:, None]
    np.testing.assert_allclose(u.sum(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(fit.covariance, fit.model_covariance @ (u.T @ u) @ fit.model_covariance, rtol=1e-8)


# Profiles


@pytest.mark.parametrize("link", LINKS)
def test_profile_of_a_constant(link):
    fit = BinaryRegression(link=link).fit("y ~ 1", pd.DataFrame({"y": [1] * 7 + [0] * 23}))
    found = fit.profile().iloc[0]

    def fall(eta):
        p = LINKS[link].inverse(np.array(eta))
        return 2 * (fit.loglik - 7 * np.log(p) - 23 * np.log1p(-p)) - chi2.ppf(0.95, 1)

    estimate = fit.beta[0]
    assert found.conf_low == pytest.approx(scipy.optimize.brentq(fall, estimate - 3, estimate, xtol=1e-13), rel=1e-9)
    assert found.conf_high == pytest.approx(scipy.optimize.brentq(fall, estimate, estimate + 3, xtol=1e-13), rel=1e-9)
    assert found.statistic == pytest.approx(fall(0.0) + chi2.ppf(0.95, 1), rel=1e-10)


@pytest.mark.parametrize("link", LINKS)
def test_profile_with_others_maximized(link):
    d = simulated(80)
    model = BinaryRegression(link=link)
    fit = model.fit("y ~ a + b", d)
    low, high = fit.profile("a", level=0.9)[["conf_low", "conf_high"]].iloc[0]
    for value in (low, high):
        held = model.fit("y ~ b", d, offset=value * d.a)
        assert 2 * (fit.loglik - held.loglik) == pytest.approx(chi2.ppf(0.9, 1), rel=1e-9)
    without = model.fit("y ~ b", d)
    assert fit.profile("a").statistic[0] == pytest.approx(2 * (fit.loglik - without.loglik), rel=1e-9)


# Separation


def oracle(x, y):
    """Is there v with z'v >= 0 everywhere and > 0 somewhere: one plain linear program."""
    z = np.where(y, 1, -1)[:, None] * x
    result = scipy.optimize.linprog(-z.sum(axis=0), A_ub=-z, b_ub=np.zeros(len(z)), bounds=(-1, 1), method="highs")
    assert result.status == 0
    return -result.fun > 1e-6


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 10**6), st.integers(4, 16), st.integers(1, 3), st.sampled_from(sorted(LINKS)))
def test_separation_is_found_exactly(seed, n, p, link):
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.integers(-2, 3, size=(n, p)), np.ones(n)]).astype(float)
    y = rng.random(n) < 1 / (1 + np.exp(-x[:, 0] * rng.choice([0, 1, 4])))
    assume(y.any() and not y.all())
    assume(np.linalg.matrix_rank(x) == p + 1)
    separated = oracle(x, y)
    assert (find_separation(x, y) is not None) == separated
    names = [f"x{j}" for j in range(p)] + ["_cons"]
    data = BinaryData(x, y, None, None, LINKS[link])
    if separated:
        with pytest.raises(FitError, match="separation") as caught:
            maximize_binary(data, names)
        assert caught.value.status == "separation"
    else:
        solution = maximize_binary(data, names)
        assert np.abs(evaluate(data, solution.beta).score).max() < 1e-7


def test_separation_is_described():
    d = read("discrete_endometrial")
    with pytest.raises(FitError) as caught:
        BinaryRegression().fit("HG ~ NV + PI + EH", d)
    assert str(caught.value) == (
        f"quasi-complete separation, coefficients diverge: NV predicts {int((d.NV == 1).sum())} of {len(d)} "
        "outcomes perfectly"
    )
    d = pd.DataFrame({"x": [1.0, 2, 3, 4, 5, 6], "z": [0, 1, 0, 1, 0, 1], "y": [0, 0, 0, 1, 1, 1]})
    with pytest.raises(FitError, match=r"^complete separation, coefficients diverge: x.* 6 of 6 outcomes perfectly$"):
        BinaryRegression(link="cloglog").fit("y ~ x + z", d)
    # A covariate beside the separating ones is not named.
    d = pd.concat([d, d.assign(x=3.5, y=1 - d.y)], ignore_index=True)
    with pytest.raises(FitError, match="quasi-complete separation, coefficients diverge: x predicts 6 of 12"):
        BinaryRegression(link="probit").fit("y ~ x + z", d)


def test_rare_events_among_many_rows_are_not_taken_for_separation():
    rng = np.random.default_rng(2)
    n = 20_000
    d = pd.DataFrame({"a": rng.normal(size=n), "one": np.zeros(n)})
    d["y"] = 0
    d.loc[[5, 600, 7000], "y"] = 1
    fit = BinaryRegression(link="cloglog").fit("y ~ a", d)
    assert fit.n_event == 3
    # One row without event and a dummy of its own: separated, though its residual is tiny from the start.
    d.loc[17, "one"] = 1
    with pytest.raises(FitError, match=f"one predicts 1 of {n} outcomes perfectly"):
        BinaryRegression(link="cloglog").fit("y ~ a + one", d)


# Results


def test_probit_result_and_prediction():
    d = simulated()
    before = d.copy()
    fit = BinaryRegression(link="probit").fit("y ~ a + b", d, cluster="g")
    pd.testing.assert_frame_equal(d, before)
    assert isinstance(fit, BinaryFit)
    assert fit.terms == ("a", "b", "_cons")
    assert fit.estimator == "probit"
    assert list(fit.tidy().columns[:3]) == ["term", "estimate", "std_error"]
    glance = fit.glance().iloc[0]
    assert glance.events_per_variable == min(d.y.sum(), 200 - d.y.sum()) / 2
    assert glance.pseudo_r2 == pytest.approx(1 - fit.loglik / fit.loglik_null)
    assert glance.bic == pytest.approx(-2 * fit.loglik + 3 * np.log(200))
    assert "Probit regression, observed information: 200 rows" in str(fit)
    again = pickle.loads(pickle.dumps(fit))
    pd.testing.assert_frame_equal(again.tidy(), fit.tidy())
    pd.testing.assert_frame_equal(again.predict({"a": 1.0, "b": 0}), fit.predict({"a": 1.0, "b": 0}))
    table = fit.predict({"a": [0.0, 1.0]}, others="mean", level=0.9)
    assert table.b.tolist() == [d.b.mean()] * 2
    x = np.array([1.0, d.b.mean(), 1.0])
    eta, se = x @ fit.beta, np.sqrt(x @ fit.covariance @ x)
    z = norm.ppf(0.95)
    np.testing.assert_allclose(
        table.loc[1, ["probability", "std_error", "conf_low", "conf_high"]].to_numpy(float),
        [norm.cdf(eta), norm.pdf(eta) * se, norm.cdf(eta - z * se), norm.cdf(eta + z * se)],
        rtol=1e-12,
    )
    assert fit.predict({"a": 0.0}, others="median").b.tolist() == [np.median(d.b)]
    np.testing.assert_allclose(fit.fitted.mean(), d.y.mean(), atol=0.01)


def test_wald_test():
    d = simulated()
    fit = BinaryRegression().fit("y ~ a + b", d, cluster="g")
    single = fit.wald_test("a")
    assert single.statistic == pytest.approx((fit.coef["a"] / fit.std_error["a"]) ** 2)
    joint = fit.wald_test()
    part = fit.covariance[:2, :2]
    assert joint.statistic == pytest.approx(fit.beta[:2] @ np.linalg.inv(part) @ fit.beta[:2])
    assert (joint.df, joint.p_value) == (2, pytest.approx(chi2.sf(joint.statistic, 2)))
    few = BinaryRegression().fit("y ~ a + b", d, cluster=(d.index > 99).astype(int))
    with pytest.raises(FitError, match="has rank 1"):
        few.wald_test()


def test_predictions_follow_products_and_refuse_what_they_cannot_follow():
    d = simulated().assign(c=lambda d: d["a"] + d["b"])
    fit = BinaryRegression().fit("y ~ a * b", d)
    found = fit.predict({"a": 2.0, "b": [0.0, 1.0]})
    assert found["a:b"].tolist() == [0.0, 2.0]
    middle = fit.predict({"a": 2.0}, others="mean")
    assert middle["a:b"].iloc[0] == 2.0 * d["b"].mean()
    pd.testing.assert_frame_equal(middle, fit.predict({"a": 2.0, "b": d["b"].mean(), "a:b": 2.0 * d["b"].mean()}))
    curved = BinaryRegression().fit("y ~ a + I(a**2) + b", d)
    with pytest.raises(DataError, match=r"at, 'a': expected a value also for 'I\(a \*\* 2\)'"):
        curved.predict({"a": 2.0}, others="mean")
    assert len(curved.predict({"b": 1.0}, others="mean")) == 1
    levels = BinaryRegression().fit("y ~ a + C(g)", d.assign(g=d.index % 3))
    with pytest.raises(DataError, match=r"a value also for 'C\(g\)\[T.2\]'"):
        levels.predict({"C(g)[T.1]": 1.0}, others="mean")


def test_factors_and_missing_values():
    d = simulated()
    fit = BinaryRegression().fit("y ~ C(b) + a:b", d)
    assert fit.terms[-1] == "_cons"
    assert len(fit.terms) == 4
    d.loc[3, "a"] = np.nan
    d.loc[7, "y"] = np.nan
    dropped = BinaryRegression().fit("y ~ a", d, missing="drop")
    assert (dropped.n_dropped, dropped.n_obs) == (2, 198)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"link": "logitt"}, "Did you mean 'logit'"),
        ({"correction": "stat"}, "correction: .*Did you mean 'stata'"),
        ({"information": "expcted"}, "information: .*Did you mean 'expected'"),
        ({"link": "probit", "firth": True}, "firth: expected link 'logit'"),
    ],
)
def test_refuses_options(options, message):
    with pytest.raises(DataError, match=message):
        BinaryRegression(**options)


@pytest.mark.parametrize(
    ("formula", "change", "arguments", "message"),
    [
        ("y + a", {}, {}, "formula: expected 'outcome ~ a \\+ b'"),
        ("Surv(a, y) ~ b", {}, {}, "use DiscreteHazard"),
        ("yy ~ a", {}, {}, "formula, outcome: .*Did you mean 'y'"),
        ("y ~ aa", {}, {}, "Did you mean 'a'"),
        ("y ~ a", {"y": 2}, {}, "outcome 'y', row 4: expected 0 or 1, got 2.0"),
        ("y ~ a", {"y": np.nan}, {}, "column 'y', row 4: expected 0 \\(censored\\) or 1"),
        ("y ~ a", {"a": np.inf}, {}, "column 'a', row 4"),
        ("y ~ a + strata(b)", {}, {}, "no strata in a binary regression"),
        ("y ~ a", {}, {"cluster": np.zeros(200)}, "at least two clusters, got 1"),
        ("y ~ a", {}, {"weights": -np.ones(200)}, "weights, row 0: expected a number >= 0"),
        ("y ~ _cons", {"_cons": 1.0}, {}, "no term named '_cons'"),
    ],
)
def test_refuses_data(formula, change, arguments, message):
    d = simulated()
    for name, value in change.items():
        d[name] = d.get(name, d.a).astype(float)
        d.loc[4, name] = value
    with pytest.raises(DataError, match=message):
        BinaryRegression().fit(formula, d, **arguments)


@pytest.mark.parametrize(
    ("formula", "status", "message"),
    [
        ("none ~ a", "no_events", "no events among 200 rows"),
        ("all ~ a", "separation", "every one of the 200 rows is an event"),
        ("y ~ a + flat", "no_variation", "no variation in the estimation sample: flat"),
        ("y ~ a + b + both", "collinear", "is a linear combination of"),
    ],
)
def test_models_without_estimates(formula, status, message):
    d = simulated().assign(none=0, all=1, flat=3.0, both=lambda d: d.a - 2 * d.b + 1)
    for firth in (False, True):
        with pytest.raises(FitError, match=message) as caught:
            BinaryRegression(firth=firth).fit(formula, d)
        assert caught.value.status == status


def test_prediction_refuses():
    fit = BinaryRegression().fit("y ~ a + b", simulated())
    for at, arguments, message in (
        ({"a": 1.0}, {}, "at: expected a value for b, got none"),
        ({"a": 1.0, "c": 2}, {}, "at: .*got 'c'"),
        ({"a": [1.0, 2.0], "b": [1, 2, 3]}, {}, "sequences of one length"),
        ({"a": "x", "b": 1}, {}, "at, 'a': expected numbers"),
        ({"a": np.nan, "b": 1}, {}, "finite numbers"),
        ({"a": 1.0}, {"others": "means"}, "Did you mean 'mean'"),
        ({"a": 1.0, "b": 1}, {"level": 1.5}, "level"),
    ):
        with pytest.raises(DataError, match=message):
            fit.predict(at, **arguments)
    with pytest.raises(DataError, match=r"terms: .*got 'd'"):
        fit.profile("d")
    with pytest.raises(DataError, match="level"):
        fit.profile("a", level=2)
