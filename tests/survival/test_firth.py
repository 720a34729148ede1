"""Firth's penalty and the ridge: a slow implementation, closed forms, separated data, R's ridge()."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from coalition_exit.errors import DataError, FitError
from coalition_exit.survival.cox.cox import CoxPH
from coalition_exit.survival.cox.firth import FirthLikelihood, firth_adjustment, maximize_firth, profile_intervals
from coalition_exit.survival.cox.hypothesis import likelihood_ratio_test, linear_hypothesis
from coalition_exit.survival.cox.partial import PartialLikelihood
from coalition_exit.survival.cox.risksets import prepare_risk_sets
from coalition_exit.survival.data.surv import Surv

REFERENCE = Path(__file__).parents[1] / "reference"
VALUES = pd.read_csv(REFERENCE / "cox_more_values.csv", keep_default_na=False)
HEART = "Surv(start, stop, event) ~ age + year + surgery + transplant"


def read(name):
    return pd.read_csv(REFERENCE / "data" / f"{name}.csv")


def slow_loglik(beta, start, stop, event, x, weights, ties):
    """Log partial likelihood and information, one event time and one tied event at a time."""
    p = x.shape[1]
    risk = weights * np.exp(x @ beta)
    loglik, information = 0.0, np.zeros((p, p))
    for t in np.unique(stop[event]):
        at_risk = (start < t) & (t <= stop)
        own = np.flatnonzero(event & (stop == t))
        loglik += weights[own] @ (x[own] @ beta)
        for step in range(len(own)):
            share = risk * at_risk
            if ties == "efron":
                share[own] *= 1 - step / len(own)
            weight = weights[own].mean() if ties == "efron" else weights[own[step]]
            mean = share @ x / share.sum()
            loglik -= weight * np.log(share.sum())
            information += weight * ((x - mean).T @ ((x - mean) * share[:, None])) / share.sum()
    return loglik, information


def slow_penalized(beta, *data):
    loglik, information = slow_loglik(beta, *data)
    return loglik + 0.5 * np.linalg.slogdet(information)[1]


def small_data(seed, ties):
    random = np.random.default_rng(seed)
    n, p = 30, 2
    stop = random.integers(2, 12, n).astype(float)
    start = np.minimum(random.integers(0, 9, n), stop - 1).astype(float)
    event = random.random(n) < 0.5
    event[:2] = True
    x = np.column_stack([random.normal(size=n), random.random(n) < 0.4]).astype(float)[:, :p]
    return start, stop, event, x, random.choice([0.5, 1.0, 2.0], n), ties


def likelihood_of(data):
    start, stop, event, x, weights, ties = data
    rs = prepare_risk_sets(Surv(start, stop, event))
    return PartialLikelihood(rs, np.ascontiguousarray(x[rs.rows]), weights[rs.rows], None, ties)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), ties=st.sampled_from(["breslow", "efron"]))
def test_penalized_loglik_and_score_equal_the_slow_ones(seed, ties):
    data = small_data(seed, ties)
    beta, step = np.array([0.3, -0.4]), 1e-5
    own = FirthLikelihood(likelihood_of(data)).evaluate(beta)
    assert own.loglik == pytest.approx(slow_penalized(beta, *data), rel=1e-10)
    slope = [
        (slow_penalized(beta + step * e, *data) - slow_penalized(beta - step * e, *data)) / (2 * step)
        for e in np.eye(2)
    ]
    np.testing.assert_allclose(own.score, slope, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("ties", ["breslow", "efron"])
@pytest.mark.parametrize("seed", range(3))
def test_estimate_maximizes_the_slow_penalized_likelihood(seed, ties):
    data = small_data(seed, ties)
    own = maximize_firth(likelihood_of(data), ["a", "b"])
    slow = scipy.optimize.minimize(
        lambda b: -slow_penalized(b, *data), np.zeros(2), method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-14, "maxiter": 4000},
    )  # fmt: skip
    assert own.loglik >= -slow.fun - 1e-11
    # A search without derivatives finds a flat top to the root of the precision only.
    np.testing.assert_allclose(own.beta, slow.x, atol=1e-6)


def one_stratum_data(strata, won, ones, zeros):
    """In each stratum one event among rows with x = 1 and x = 0; ``won`` of the events have x = 1."""
    rows = [
        {"s": s, "time": 1.0, "x": float(i < ones), "event": int(i == (0 if s < won else ones))}
        for s in range(strata)
        for i in range(ones + zeros)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("strata", "won", "ones", "zeros"), [(1, 1, 2, 3), (4, 4, 1, 5), (7, 0, 3, 2), (9, 4, 2, 2)])
def test_closed_form(strata, won, ones, zeros):
    # The likelihood is binomial in pi = ones e^b / (ones e^b + zeros); Jeffreys' prior adds half a success
    # and half a failure, so the estimate is finite where all or none of the events have x = 1.
    fit = CoxPH(penalty="firth").fit("Surv(time, event) ~ x + strata(s)", one_stratum_data(strata, won, ones, zeros))
    share = (won + 0.5) / (strata + 1)
    assert fit.beta[0] == pytest.approx(np.log(share / (1 - share) * zeros / ones), rel=1e-9, abs=1e-9)
    assert fit.covariance[0, 0] == pytest.approx(1 / (strata * share * (1 - share)), rel=1e-8)


def test_closed_form_of_the_profile_interval():
    strata, won, ones, zeros = 5, 5, 2, 3
    state = (
        CoxPH(penalty="firth")
        .fit("Surv(time, event) ~ x + strata(s)", one_stratum_data(strata, won, ones, zeros))
        .state
    )

    def penalized(share):
        return (won + 0.5) * np.log(share) + (strata - won + 0.5) * np.log(1 - share)

    top = (won + 0.5) / (strata + 1)
    bounds = [
        scipy.optimize.brentq(lambda s: 2 * (penalized(top) - penalized(s)) - chi2.ppf(0.9, 1), low, high, xtol=1e-15)
        for low, high in ((1e-9, top), (top, 1 - 1e-9))
    ]
    interval = profile_intervals(state, level=0.9).iloc[0]
    expected = [np.log(s / (1 - s) * zeros / ones) for s in bounds]
    np.testing.assert_allclose([interval.conf_low, interval.conf_high], expected, rtol=1e-8)
    at_zero = ones / (ones + zeros)
    assert interval.statistic == pytest.approx(2 * (penalized(top) - penalized(at_zero)), rel=1e-9)


def test_separated_data():
    data = pd.DataFrame({"time": np.arange(1.0, 9), "event": [1, 1, 1, 0, 0, 0, 0, 0], "x": [1, 1, 1, 1, 0, 0, 0, 0]})
    with pytest.raises(FitError, match=r"monotone, coefficients diverge\): x \(\+infinity\)") as refused:
        CoxPH().fit("Surv(time, event) ~ x", data)
    assert refused.value.status == "monotone"
    fit = CoxPH(penalty="firth").fit("Surv(time, event) ~ x", data)
    assert 0 < fit.beta[0] < 5
    assert fit.loglik > fit.loglik_null
    interval = profile_intervals(fit.state).iloc[0]
    assert interval.conf_low < fit.beta[0] < interval.conf_high
    # The profile is skew: it reaches farther where the data say nothing against a larger effect.
    assert interval.conf_high - fit.beta[0] > fit.beta[0] - interval.conf_low


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_profile_on_start_stop_data(ties):
    state = CoxPH(ties=ties, penalty="firth").fit(HEART, read("heart")).state
    firth = FirthLikelihood(state.likelihood)
    top, intervals = firth.evaluate(state.beta), profile_intervals(state)
    np.testing.assert_allclose(top.score, 0.0, atol=1e-8)
    names = list(state.design.names)
    for row in intervals.itertuples():
        j = names.index(row.term)
        rest = np.delete(np.eye(4), j, axis=1)
        for bound in (row.conf_low, row.conf_high):
            held = np.zeros(4)
            held[j] = bound
            at = maximize_firth(state.likelihood, names, origin=held, basis=rest)
            assert 2 * (top.loglik - at.loglik) == pytest.approx(chi2.ppf(0.95, 1), rel=1e-8)
            np.testing.assert_allclose(np.delete(firth.evaluate(at.beta).score, j), 0.0, atol=1e-7)
        test = likelihood_ratio_test(state, linear_hypothesis(names, row.term))
        assert test.statistic == pytest.approx(row.statistic, rel=1e-8, abs=1e-10)
        assert test.test == "penalized likelihood ratio"


def test_joint_penalized_test_and_glance():
    fit = CoxPH(penalty="firth").fit(HEART, read("heart"))
    test = likelihood_ratio_test(fit.state, linear_hypothesis(fit.terms))
    assert test.statistic == pytest.approx(2 * (fit.loglik - fit.loglik_null), rel=1e-10)
    assert test.df == 4


def test_invariances():
    data = read("heart")
    base = CoxPH(penalty="firth").fit(HEART, data)
    moved = data.assign(age=data.age * 1000 + 5, start=data.start + 7, stop=data.stop + 7)
    scaled = CoxPH(penalty="firth").fit(HEART, moved)
    np.testing.assert_allclose(scaled.beta * [1000, 1, 1, 1], base.beta, rtol=1e-8)
    middle = np.floor((data.start + data.stop) / 2)
    halves = pd.concat([data.assign(stop=middle, event=0)[middle > data.start], data.assign(start=middle)])
    np.testing.assert_allclose(CoxPH(penalty="firth").fit(HEART, halves).beta, base.beta, rtol=1e-8)
    twice = CoxPH(penalty="firth").fit(HEART, pd.concat([data, data]))
    weighted = CoxPH(penalty="firth").fit(HEART, data.assign(w=2.0), weights="w")
    np.testing.assert_allclose(weighted.beta, twice.beta, rtol=1e-8)


def test_much_data_make_the_penalty_vanish():
    data = read("mgus2")
    formula = "Surv(entry, futime, death) ~ age + female + hgb"
    plain, firth = CoxPH().fit(formula, data), CoxPH(penalty="firth").fit(formula, data)
    assert (np.abs(plain.beta - firth.beta) < 0.02 * plain.std_error).all()


def test_adjustment_is_bounded_by_blocks_of_rows():
    random = np.random.default_rng(1)
    n = 20_000
    start = random.integers(0, 50, n).astype(float)
    surv = Surv(start, start + random.integers(1, 9, n), random.random(n) < 0.05)
    rs = prepare_risk_sets(surv)
    likelihood = PartialLikelihood(rs, random.normal(size=(n, 2))[rs.rows], None, None, "efron")
    at = likelihood.evaluate(np.array([0.2, 0.1]))
    inverse, step = np.linalg.inv(at.information), 1e-5
    expected = []
    for e in np.eye(2):
        up, down = (likelihood.evaluate(np.array([0.2, 0.1]) + s * step * e).information for s in (1, -1))
        expected.append(0.5 * np.trace(inverse @ (up - down)) / (2 * step))
    np.testing.assert_allclose(firth_adjustment(likelihood, at, inverse), expected, rtol=1e-5)


@pytest.mark.parametrize("theta", [1, 20])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("name", ["lung", "heart"])
def test_ridge_equals_r(name, scaled, theta):
    formula = HEART if name == "heart" else "Surv(time, event) ~ age + sex + ph_ecog"
    ties = "breslow" if name == "heart" else "efron"
    fit = CoxPH(ties=ties, ridge=theta, ridge_scale=scaled).fit(formula, read(name))
    r = VALUES[VALUES.model == f"{name}_ridge_{theta}_{'scaled' if scaled else 'raw'}"]
    np.testing.assert_allclose(fit.beta, r[r.quantity == "coef"].value, rtol=1e-8)
    vcov = r[r.quantity == "vcov_model"].value.to_numpy().reshape(fit.covariance.shape)
    scale = np.sqrt(np.outer(np.diag(vcov), np.diag(vcov)))
    np.testing.assert_allclose(fit.covariance / scale, vcov / scale, atol=1e-8)
    np.testing.assert_allclose(fit.loglik, r[r.quantity == "loglik"].value.item(), rtol=1e-10)
    assert fit.state.penalty == "ridge"


def test_ridge_bounds_a_monotone_likelihood_and_takes_collinear_columns():
    data = pd.DataFrame({"time": np.arange(1.0, 9), "event": [1, 1, 1, 0, 0, 0, 0, 0], "x": [1, 1, 1, 1, 0, 0, 0, 0]})
    one = CoxPH(ridge=1.0, ridge_scale=False).fit("Surv(time, event) ~ x", data)
    assert 0 < one.beta[0] < 5
    # Two equal columns share the coefficient of one with half the penalty.
    both = CoxPH(ridge=2.0, ridge_scale=False).fit("Surv(time, event) ~ x + y", data.assign(y=data.x))
    np.testing.assert_allclose(both.beta, one.beta[0] / 2, rtol=1e-10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"penalty": "frith"}, "penalty: expected one of none, firth, got 'frith'. Did you mean 'firth'"),
        ({"ridge": -1.0}, "ridge: expected a number >= 0"),
        ({"ridge": np.nan}, "ridge: expected a number >= 0"),
        ({"ridge": 1.0, "penalty": "firth"}, "one penalty at a time"),
        ({"ties": "exact", "penalty": "firth"}, "'breslow' or 'efron' with penalty='firth'"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(DataError, match=message):
        CoxPH(**options)


def test_bad_requests_are_refused():
    plain, firth = (CoxPH(penalty=p).fit(HEART, read("heart")).state for p in ("none", "firth"))
    with pytest.raises(DataError, match="penalty='firth'"):
        profile_intervals(plain)
    with pytest.raises(DataError, match="Did you mean 'surgery'"):
        profile_intervals(firth, terms=["surgry"])
    with pytest.raises(DataError, match="between 0 and 1"):
        profile_intervals(firth, level=95)
    with pytest.raises(FitError, match="linear combination"):
        CoxPH(penalty="firth").fit(HEART + " + twice", read("heart").assign(twice=lambda d: 2 * d.age))
