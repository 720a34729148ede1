"""Shared frailty against R's coxph(... + frailty()) (tests/reference/make_frailty.R), an EM and dense algebra."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.optimize
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy.special import gammaln
from scipy.stats import chi2

from coalition_exit.errors import DataError, FitError
from coalition_exit.survival.cox.cox import CoxPH
from coalition_exit.survival.frailty.frailty import FrailtyFit, SharedFrailty
from coalition_exit.survival.frailty.frailty_likelihood import Penalty, exp_excess
from coalition_exit.survival.frailty.frailty_profile import gamma_constant, gamma_constant_slope

REFERENCE = Path(__file__).parents[1] / "reference"
MODELS = pd.read_csv(REFERENCE / "frailty_models.csv", keep_default_na=False, dtype=str)
VALUES = pd.read_csv(REFERENCE / "frailty_values.csv", keep_default_na=False, float_precision="round_trip")
ROWS = [row for _, row in MODELS.iterrows()]
FREE = [row for row in ROWS if row["theta"] == ""]


def _ids(rows: list[pd.Series]) -> list[str]:
    return [row["model"] for row in rows]


def _values(model: str, quantity: str) -> np.ndarray:
    chosen = VALUES[(VALUES["model"] == model) & (VALUES["quantity"] == quantity)]
    assert len(chosen), f"no reference values; run: Rscript tests/reference/make_frailty.R ({model}, {quantity})"
    return chosen["value"].to_numpy()


def _value(model: str, quantity: str) -> float:
    return float(_values(model, quantity)[0])


def _data(row: pd.Series) -> pd.DataFrame:
    data = pd.read_csv(REFERENCE / "data" / f"{row['data']}.csv", float_precision="round_trip")
    return data[data[row["subset"]] == 1] if row["subset"] else data


def _fit(row: pd.Series, **options) -> FrailtyFit:
    model = SharedFrailty(distribution=row["distribution"], ties=row["ties"], **options)
    return model.fit(row["formula"], _data(row), cluster=row["cluster"])


@pytest.mark.parametrize("row", ROWS, ids=_ids(ROWS))
def test_equal_to_r_at_a_given_variance(row: pd.Series) -> None:
    name = row["model"]
    fit = _fit(row, theta=_value(name, "theta"))
    np.testing.assert_allclose(fit.coef, _values(name, "coef"), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(
        fit.frailty["log_frailty"].sort_index(), _values(name, "log_frailty"), rtol=1e-8, atol=1e-9
    )
    for quantity in ("loglik_null", "loglik_cox", "loglik_partial"):
        np.testing.assert_allclose(getattr(fit, quantity), _value(name, quantity), rtol=1e-11)
    if row["distribution"] == "gamma":
        np.testing.assert_allclose(fit.loglik, _value(name, "loglik"), rtol=1e-12)
    full = _fit(row, theta=_value(name, "theta"), sparse=False)
    np.testing.assert_allclose(full.std_error, _values(name, "std_error_full"), rtol=1e-9)
    if fit.n_cluster > 5:
        # R's sparse Newton steps approach the maximum linearly and stop when the log-likelihood stands still, its
        # coefficients and with them these quantities about 1e-8 short of it.
        assert fit.sparse
        np.testing.assert_allclose(fit.std_error, _values(name, "std_error"), rtol=2e-8)
        np.testing.assert_allclose(np.sqrt(np.diag(fit.covariance_gray)), _values(name, "std_error_gray"), rtol=2e-8)
        variance = pd.Series(fit.log_frailty_variance, index=list(fit.clusters)).sort_index()
        np.testing.assert_allclose(variance, _values(name, "log_frailty_var"), rtol=1e-7)
        np.testing.assert_allclose(fit.df_frailty, _value(name, "df_frailty"), rtol=1e-7)
    else:
        assert not fit.sparse
        np.testing.assert_allclose(fit.std_error, full.std_error, rtol=0)


@pytest.mark.parametrize("row", FREE, ids=_ids(FREE))
def test_the_variance_equals_rs_optimum(row: pd.Series) -> None:
    name = row["model"]
    fit = _fit(row)
    # Gamma: the reference's maximum is a root of central differences of log-likelihoods near -200 with a step
    # of 1%; rounding of 1e-13 in them is 1e-8 in theta. REML: R's equation at R's sparse solutions, about 1e-8 off;
    # with R's exact steps (below) theta agrees to 1e-9.
    rtol = 2e-8 if row["distribution"] == "gamma" else 2e-7
    np.testing.assert_allclose(fit.theta, _value(name, "theta"), rtol=rtol)
    # coxph itself stops when the likelihood or its equation stands still.
    np.testing.assert_allclose(fit.theta, _value(name, "theta_coxph"), rtol=3e-4)
    if row["distribution"] == "gaussian":
        assert fit.method == "reml"
        np.testing.assert_allclose(_fit(row, sparse=False).theta, _value(name, "theta_full"), rtol=1e-9)


@pytest.mark.parametrize("row", FREE, ids=_ids(FREE))
def test_an_independent_optimizer_finds_the_same_variance(row: pd.Series) -> None:
    fit = _fit(row) if row["distribution"] == "gamma" else _fit(row, method="ml")
    found = scipy.optimize.minimize_scalar(
        lambda theta: -_fit(row, theta=float(theta)).loglik,
        bounds=(fit.theta / 3, fit.theta * 3),
        options={"xatol": 1e-9},
    )
    # A maximizer that sees values only cannot place the maximum better than the root of their rounding error.
    np.testing.assert_allclose(fit.theta, found.x, rtol=1e-6)
    assert fit.loglik >= -found.fun - 1e-11 * abs(found.fun)


@pytest.mark.parametrize("row", [r for r in FREE if r["distribution"] == "gamma"], ids=lambda row: row["model"])
def test_ratio_test_and_interval_equal_rs_profile(row: pd.Series) -> None:
    name = row["model"]
    fit = _fit(row)
    test = fit.variance_test()
    np.testing.assert_allclose(test.statistic, _value(name, "lr"), rtol=1e-9)
    np.testing.assert_allclose(test.p_value, _value(name, "lr_p"), rtol=1e-9)
    assert test.theta == fit.theta
    interval = fit.theta_interval(0.9)
    np.testing.assert_allclose(interval.low, _value(name, "low_90"), rtol=1e-7)
    np.testing.assert_allclose(interval.high, _value(name, "high_90"), rtol=1e-7)


def test_both_data_sets_of_the_task_both_distributions_and_both_kinds_of_rows() -> None:
    assert {"kidney", "rats", "cgd", "bladder2", "heart"} == set(MODELS["data"])
    for data in ("kidney", "rats"):
        chosen = MODELS[MODELS["data"] == data]
        assert set(chosen["distribution"]) == {"gamma", "gaussian"}
        assert set(chosen["ties"]) == {"breslow", "efron"}


@pytest.mark.parametrize("distribution", ["gamma", "gaussian"])
def test_weights_equal_rows_repeated_in_r(distribution: str) -> None:
    data = pd.read_csv(REFERENCE / "data" / "kidney.csv", float_precision="round_trip")
    weights = 1 + np.arange(1, len(data) + 1) % 3
    model = SharedFrailty(distribution=distribution, ties="breslow", theta=0.3)
    fit = model.fit("Surv(time, status) ~ age + female", data, cluster="id", weights=weights)
    name = f"kidney_rows_{distribution}"
    np.testing.assert_allclose(fit.coef, _values(name, "coef"), rtol=1e-9)
    np.testing.assert_allclose(fit.std_error, _values(name, "std_error"), rtol=2e-8)
    if distribution == "gamma":
        np.testing.assert_allclose(fit.loglik, _value(name, "loglik"), rtol=1e-12)
    repeated = data.loc[data.index.repeat(weights)]
    other = SharedFrailty(distribution=distribution, ties="breslow").fit(
        "Surv(time, status) ~ age + female", repeated, cluster="id"
    )
    again = SharedFrailty(distribution=distribution, ties="breslow").fit(
        "Surv(time, status) ~ age + female", data, cluster="id", weights=weights
    )
    np.testing.assert_allclose(again.theta, other.theta, rtol=1e-8)
    np.testing.assert_allclose(again.loglik, other.loglik, rtol=1e-11)


def _kidney() -> pd.DataFrame:
    return pd.read_csv(REFERENCE / "data" / "kidney.csv", float_precision="round_trip")


def _same(a: FrailtyFit, b: FrailtyFit, rtol: float = 1e-8) -> None:
    np.testing.assert_allclose(a.theta, b.theta, rtol=rtol)
    np.testing.assert_allclose(a.coef, b.coef, rtol=rtol)
    np.testing.assert_allclose(a.std_error, b.std_error, rtol=rtol)
    np.testing.assert_allclose(a.loglik, b.loglik, rtol=1e-11)


@pytest.mark.parametrize("distribution", ["gamma", "gaussian"])
@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_split_episodes_change_nothing(distribution: str, ties: str) -> None:
    data = _kidney().assign(start=0.0)
    cut = data["time"] > 20
    early = data[cut].assign(time=20.0, status=0)
    split = pd.concat([early, data.assign(start=np.where(cut, 20.0, 0.0))], ignore_index=True)
    model = SharedFrailty(distribution=distribution, ties=ties)
    formula = "Surv(start, time, status) ~ age + female"
    _same(model.fit(formula, split, cluster="id"), model.fit(formula, data, cluster="id"))
    _same(model.fit("Surv(time, status) ~ age + female", data, cluster="id"), model.fit(formula, data, cluster="id"))


def test_names_of_clusters_and_strata_and_the_order_of_rows_do_not_matter() -> None:
    data = pd.read_csv(REFERENCE / "data" / "rats.csv", float_precision="round_trip")
    shuffled = data.sample(frac=1, random_state=7)
    shuffled = shuffled.assign(name=["litter " + str(x) for x in shuffled["litter"]], kind=3 - 2 * shuffled["female"])
    a = SharedFrailty().fit("Surv(time, status) ~ rx + strata(female)", data, cluster="litter")
    b = SharedFrailty().fit("Surv(time, status) ~ rx + strata(kind)", shuffled, cluster="name")
    _same(a, b)
    left = a.frailty["log_frailty"].rename(lambda x: f"litter {x}").sort_index()
    np.testing.assert_allclose(left, b.frailty["log_frailty"].sort_index(), rtol=1e-7, atol=1e-9)
    assert list(b.frailty.index[:2]) == list(shuffled["name"][:2])


def test_a_variance_of_zero_is_the_cox_model() -> None:
    data = _kidney()
    cox = CoxPH(ties="efron").fit("Surv(time, status) ~ age + female", data)
    for distribution in ("gamma", "gaussian"):
        none = SharedFrailty(distribution=distribution, theta=0).fit(
            "Surv(time, status) ~ age + female", data, cluster="id"
        )
        np.testing.assert_allclose(none.coef, cox.coef, rtol=1e-12)
        np.testing.assert_allclose(none.vcov, cox.vcov, rtol=1e-12)
        assert none.loglik == none.loglik_partial == none.loglik_cox
        assert (none.frailty["frailty"] == 1).all()
        tiny = SharedFrailty(distribution=distribution, theta=1e-7).fit(
            "Surv(time, status) ~ age + female", data, cluster="id"
        )
        np.testing.assert_allclose(tiny.coef, cox.coef, rtol=1e-5)
        np.testing.assert_allclose(tiny.loglik, cox.loglik, rtol=1e-7)


@pytest.mark.parametrize("distribution", ["gamma", "gaussian"])
def test_clusters_more_alike_than_chance_give_no_variance(distribution: str) -> None:
    # Each cluster has one early and one late event: less variation between clusters than among strangers.
    n = 20
    time = np.concatenate([1 + np.arange(n), 100 - np.arange(n)])
    data = pd.DataFrame({"time": time, "status": 1, "x": np.tile([0, 1, 1], n)[: 2 * n], "g": np.tile(np.arange(n), 2)})
    fit = SharedFrailty(distribution=distribution, method="ml").fit("Surv(time, status) ~ x", data, cluster="g")
    assert fit.theta == 0
    test = fit.variance_test()
    assert (test.statistic, test.p_value) == (0, 1)
    interval = fit.theta_interval()
    assert interval.low == 0
    np.testing.assert_allclose(2 * (fit.loglik - fit.profile.loglik(interval.high)), chi2.ppf(0.95, 1), rtol=1e-8)


def test_no_covariates() -> None:
    fit = SharedFrailty().fit("Surv(time, status) ~ 1", _kidney(), cluster="id")
    assert fit.terms == ()
    assert fit.loglik_null == fit.loglik_cox
    assert fit.theta > 0
    np.testing.assert_allclose(np.exp(fit.log_frailty).mean(), 1, rtol=1e-10)


def test_derivatives_equal_finite_differences() -> None:
    row = MODELS[MODELS["model"] == "bladder_gamma"].iloc[0]
    likelihood = _fit(row, theta=0.5).profile.likelihood
    rng = np.random.default_rng(5)
    p, size = likelihood.n_terms, likelihood.n_terms + likelihood.n_cluster
    point, direction = 0.3 * rng.normal(size=size), rng.normal(size=size)

    def at(t: float):
        moved = point + t * direction
        return likelihood.evaluate(moved[:p], moved[p:])

    h = 1e-5
    here, low, high = at(0), at(-h), at(h)
    np.testing.assert_allclose(here.score @ direction, (high.loglik - low.loglik) / (2 * h), rtol=1e-6)
    product = likelihood.times_information(here, direction)
    np.testing.assert_allclose(product, -(high.score - low.score) / (2 * h), rtol=1e-5, atol=1e-6)
    block = likelihood.frailty_block(here)
    np.testing.assert_allclose(np.diag(block), likelihood.frailty_diagonal(here), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(here.cross @ direction[:p] + block @ direction[p:], product[p:], rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(
        here.information @ direction[:p] + here.cross.T @ direction[p:], product[:p], rtol=1e-9, atol=1e-11
    )


def test_score_of_the_profile_equals_its_slope() -> None:
    for name in ("kidney_gamma", "cgd_gamma"):
        profile = _fit(MODELS[MODELS["model"] == name].iloc[0]).profile
        for theta in (0.05, 0.4, 2.0):
            h = 1e-4 * theta
            slope = (profile.loglik(theta + h) - profile.loglik(theta - h)) / (2 * h)
            np.testing.assert_allclose(profile.score(theta), slope, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(profile.score(0.0), profile.score(1e-6), rtol=1e-3)


def test_gamma_constant_equals_its_definition_and_keeps_digits() -> None:
    d = np.array([0.0, 1, 2, 7, 30])
    for nu in (0.3, 2.0, 9.9, 10.1, 55.0):
        plain = d + nu * np.log(nu) - (nu + d) * np.log(nu + d) + gammaln(nu + d) - gammaln(nu)
        np.testing.assert_allclose(gamma_constant(nu, d), plain, rtol=1e-10, atol=1e-12)
        h = 1e-5 * nu
        slope = (gamma_constant(nu + h, d) - gamma_constant(nu - h, d)) / (2 * h)
        np.testing.assert_allclose(gamma_constant_slope(nu, d), slope, rtol=1e-5, atol=1e-9)
    # To first order in theta the constant is -theta d / 2.
    np.testing.assert_allclose(gamma_constant(1e9, d[1:]), -d[1:] / 2e9, rtol=1e-7)
    w = np.array([-0.5, -0.02, -1e-3, 1e-8, 0.0199, 0.3])
    np.testing.assert_allclose(
        exp_excess(w), [float(sum(x**k / _factorial(k) for k in range(2, 20))) for x in w], rtol=1e-12
    )


def _factorial(k: int) -> float:
    return float(np.prod(np.arange(1, k + 1, dtype=float)))


@st.composite
def small_data(draw: st.DrawFn) -> pd.DataFrame:
    n = draw(st.integers(8, 18))
    whole = st.lists(st.integers(1, 9), min_size=n, max_size=n)
    data = pd.DataFrame(
        {"start": np.zeros(n), "stop": draw(whole), "x": draw(st.lists(st.integers(-2, 2), min_size=n, max_size=n))}
    )
    late = np.array(draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
    data["start"] = np.minimum(late, data["stop"] - 1).astype(float)
    data["event"] = draw(st.lists(st.sampled_from([0, 1, 1]), min_size=n, max_size=n))
    data["g"] = draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    assume(data["g"].nunique() > 1)
    return data


def _fitted(model: SharedFrailty, data: pd.DataFrame) -> FrailtyFit:
    try:
        return model.fit("Surv(start, stop, event) ~ x", data, cluster="g")
    except FitError as error:
        assume(error.status not in ("no_events", "no_variation", "monotone"))
        raise


def _em(data: pd.DataFrame, theta: float) -> tuple[float, float]:
    """Maximum over coefficient and hazard jumps of the full gamma likelihood at theta, by EM, row by row."""
    nu = 1 / theta
    times = np.unique(data.loc[data["event"] == 1, "stop"])
    at_risk = (data["start"].to_numpy()[:, None] < times) & (times <= data["stop"].to_numpy()[:, None])
    x, g, event = data["x"].to_numpy(float), data["g"].to_numpy(), data["event"].to_numpy()
    own = (event[:, None] == 1) & (data["stop"].to_numpy()[:, None] == times)
    d = np.array([event[g == k].sum() for k in range(5)])
    beta, z = 0.0, np.ones(5)
    for _ in range(20000):
        before = np.append(z, beta)
        for _ in range(3):
            r = z[g] * np.exp(x * beta)
            s0, s1, s2 = ((r * x**k) @ at_risk for k in range(3))
            m = own.sum(axis=0)
            beta += (event @ x - m @ (s1 / s0)) / (m @ (s2 / s0 - (s1 / s0) ** 2))
        jump = own.sum(axis=0) / ((z[g] * np.exp(x * beta)) @ at_risk)
        total = np.array([(np.exp(x * beta) * (at_risk @ jump))[g == k].sum() for k in range(5)])
        z = (nu + d) / (nu + total)
        if np.abs(np.append(z, beta) - before).max() < 1e-13:
            break
    cluster = gammaln(nu + d) - gammaln(nu) + nu * np.log(nu) - (nu + d) * np.log(nu + total)
    return beta, float(cluster.sum() + event @ (x * beta) + own.sum(axis=0) @ np.log(jump))


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(small_data(), st.sampled_from([0.2, 0.8]))
def test_gamma_equals_an_em_on_the_full_likelihood(data: pd.DataFrame, theta: float) -> None:
    fit = _fitted(SharedFrailty(theta=theta, ties="breslow"), data)
    beta, loglik = _em(data, theta)
    np.testing.assert_allclose(fit.coef.iloc[0], beta, rtol=1e-6, atol=1e-7)
    # The full likelihood without frailty is the partial one and a constant: sum of m log m - m.
    m = data.loc[data["event"] == 1, "stop"].value_counts().to_numpy()
    constant = float(m @ np.log(m) - m.sum())
    np.testing.assert_allclose(fit.loglik, loglik - constant, rtol=1e-9, atol=1e-9)


def _dense(data: pd.DataFrame, theta: float, ties: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Penalized maximum, information and Laplace likelihood of the gaussian frailty, event by event."""
    columns = np.column_stack([data["x"], data["g"].to_numpy()[:, None] == np.unique(data["g"])]).astype(float)
    start, stop, event = (data[name].to_numpy() for name in ("start", "stop", "event"))
    pen = np.append(0.0, np.full(columns.shape[1] - 1, 1 / theta))
    b = np.zeros(columns.shape[1])
    for _ in range(60):
        r = np.exp(columns @ b)
        value, score, info = -0.5 * pen @ b**2, -pen * b, np.diag(pen)
        for t in np.unique(stop[event == 1]):
            risk, dead = (start < t) & (t <= stop), (stop == t) & (event == 1)
            value, score = value + (columns[dead] @ b).sum(), score + columns[dead].sum(axis=0)
            for k in range(dead.sum()):
                share = r * risk - (k / dead.sum() * r * dead if ties == "efron" else 0)
                mean = share @ columns / share.sum()
                value, score = value - np.log(share.sum()), score - mean
                info = info + (columns * share[:, None]).T @ columns / share.sum() - np.outer(mean, mean)
        b = b + np.linalg.solve(info, score)
    hidden = theta * info[1:, 1:]
    return b, info, float(value - 0.5 * np.linalg.slogdet(hidden)[1])


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(small_data(), st.sampled_from([0.2, 1.1]), st.sampled_from(["breslow", "efron"]))
def test_gaussian_equals_dense_algebra(data: pd.DataFrame, theta: float, ties: str) -> None:
    fit = _fitted(SharedFrailty("gaussian", ties=ties, theta=theta, sparse=False), data)
    b, info, loglik = _dense(data, theta, ties)
    np.testing.assert_allclose(fit.coef.iloc[0], b[0], rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(fit.frailty["log_frailty"].sort_index(), b[1:], rtol=1e-6, atol=1e-8)
    inverse = np.linalg.inv(info)
    np.testing.assert_allclose(fit.vcov.iloc[0, 0], inverse[0, 0], rtol=1e-7)
    np.testing.assert_allclose(fit.frailty["std_error"].sort_index() ** 2, np.diag(inverse)[1:], rtol=1e-7)
    np.testing.assert_allclose(fit.loglik, loglik, rtol=1e-10, atol=1e-10)
    sparse = fit.profile.likelihood.frailty_diagonal(fit.profile.solve(theta).at)
    pen = Penalty("gaussian", theta).second(fit.log_frailty)
    np.testing.assert_allclose((sparse + pen)[np.argsort(fit.clusters)], np.diag(info)[1:], rtol=1e-7)


def test_what_a_fit_carries() -> None:
    data = _kidney()
    before = data.copy()
    fit = SharedFrailty().fit("Surv(time, status) ~ age + female", data, cluster="id")
    pd.testing.assert_frame_equal(data, before)
    again = pickle.loads(pickle.dumps(fit))
    assert again.theta == fit.theta
    assert again.variance_test().statistic == fit.variance_test().statistic
    assert list(fit.tidy()["term"]) == ["age", "female"]
    glance = fit.glance().iloc[0]
    assert (glance["estimator"], glance["distribution"], glance["n_cluster"]) == ("cox_frailty", "gamma", 38)
    assert "38 clusters" in str(fit)
    assert "shared gamma frailty (efron ties)" in fit.title
    reml = SharedFrailty("gaussian").fit("Surv(time, status) ~ age", data, cluster="id")
    assert "log-normal" in reml.title
    assert "REML" in reml.title
    assert "Laplace" in reml.variance_test().likelihood
    assert reml.variance_test().theta != reml.theta
    with pytest.raises(ValueError, match="read-only"):
        fit.beta[0] = 0


def test_rows_with_missing_values() -> None:
    data = _kidney()
    data.loc[[3, 10], "age"] = np.nan
    data.loc[20, "id"] = np.nan
    with pytest.raises(DataError, match="cluster, row 20"):
        SharedFrailty().fit("Surv(time, status) ~ age + female", data, cluster="id")
    fit = SharedFrailty().fit("Surv(time, status) ~ age + female", data, cluster="id", missing="drop")
    rest = SharedFrailty().fit("Surv(time, status) ~ age + female", data.dropna(), cluster="id")
    _same(fit, rest, rtol=1e-12)
    assert (fit.n_dropped, fit.n_obs) == (3, 73)
    assert list(fit.clusters) == list(pd.unique(data.dropna()["id"]))


def test_bad_input_is_refused_by_name() -> None:
    data = _kidney()
    formula = "Surv(time, status) ~ age"
    for options, message in (
        ({"distribution": "gama"}, "distribution: .*'gama'. Did you mean 'gamma'"),
        ({"ties": "exact"}, "ties: expected one of breslow, efron"),
        ({"method": "reml"}, "method of a gamma frailty"),
        ({"theta": -1.0}, "theta: expected a number >= 0"),
    ):
        with pytest.raises(DataError, match=message):
            SharedFrailty(**options)
    with pytest.raises(DataError, match=r"cluster: .*Did you mean 'id'"):
        SharedFrailty().fit(formula, data, cluster="idd")
    with pytest.raises(DataError, match="at least two clusters, got 1"):
        SharedFrailty().fit(formula, data.assign(one=1), cluster="one")
    with pytest.raises(FitError, match="no events"):
        SharedFrailty().fit(formula, data.assign(status=0), cluster="id")
    with pytest.raises(FitError, match="no events with positive weight"):
        SharedFrailty().fit(formula, data, cluster="id", weights=1.0 - data["status"])
    with pytest.raises(FitError, match="linear combination"):
        SharedFrailty().fit("Surv(time, status) ~ age + I(age * 2)", data, cluster="id")
    with pytest.raises(DataError, match="level"):
        SharedFrailty(theta=0.2).fit(formula, data, cluster="id").theta_interval(95)
    with pytest.raises(DataError, match="one row a subject"):
        SharedFrailty().fit(formula, data, cluster="id", id="id")


def test_the_diagonal_approximation_says_where_it_fails() -> None:
    with pytest.raises(FitError, match="sparse=False"):
        SharedFrailty("gaussian", theta=50.0).fit("Surv(time, status) ~ age + female", _kidney(), cluster="id")
    full = SharedFrailty("gaussian", theta=50.0, sparse=False).fit(
        "Surv(time, status) ~ age + female", _kidney(), cluster="id"
    )
    assert np.isfinite(full.std_error).all()


def test_covariates_that_follow_calendar_time_keep_their_digits() -> None:
    rng = np.random.default_rng(3)
    n = 3000
    day, cluster, z = rng.integers(0, 60, n), rng.integers(0, 20, n), rng.normal(size=n)
    event = rng.random(n) < 0.05 * np.exp(0.5 * rng.normal(size=20)[cluster])
    data = pd.DataFrame({"a": day, "b": day + 1, "event": event, "z": z, "x": 50.0 * day + z, "g": cluster})
    plain = SharedFrailty().fit("Surv(a, b, event) ~ z", data, cluster="g")
    trend = SharedFrailty().fit("Surv(a, b, event) ~ x", data, cluster="g")
    np.testing.assert_allclose(trend.coef.iloc[0], plain.coef.iloc[0], rtol=1e-12)
    np.testing.assert_allclose(trend.std_error.iloc[0], plain.std_error.iloc[0], rtol=1e-12)
    np.testing.assert_allclose(trend.theta, plain.theta, rtol=1e-10)


def test_many_clusters_need_no_square_matrix() -> None:
    rng = np.random.default_rng(11)
    n, g = 30_000, 10_000
    cluster = rng.integers(0, g, n)
    x = rng.normal(size=n)
    time = rng.exponential(1 / (rng.gamma(2, 0.5, g)[cluster] * np.exp(0.5 * x)))
    data = pd.DataFrame({"time": np.minimum(time, 2.0), "event": (time <= 2).astype(int), "x": x, "g": cluster})
    fit = SharedFrailty(theta=0.5).fit("Surv(time, event) ~ x", data, cluster="g")
    # A G x G matrix would have 10^8 entries; the truth is 0.5, the error about 0.01.
    assert abs(fit.coef["x"] - 0.5) < 0.05
