"""The discrete partial likelihood: R's coxph(ties="exact"), all subsets listed, and its invariances."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coalition_exit.errors import DataError
from coalition_exit.survival.cox.cox import CoxPH
from coalition_exit.survival.cox.exact import ExactLikelihood, log_subset_sums
from coalition_exit.survival.cox.risksets import prepare_risk_sets
from coalition_exit.survival.data.surv import Surv

REFERENCE = Path(__file__).parents[1] / "reference"
VALUES = pd.read_csv(REFERENCE / "cox_more_values.csv", keep_default_na=False)
MODELS = {
    "infert_clogit": ("infert", "Surv(time, case) ~ spontaneous + induced + strata(stratum)", None),
    "infert_education": ("infert", "Surv(time, case) ~ spontaneous + induced + strata(education)", None),
    "veteran_exact": ("veteran", "Surv(time, status) ~ trt + karno + diagtime + age", None),
    "veteran_exact_strata": ("veteran", "Surv(time, status) ~ trt + karno + age + strata(cell)", None),
    "lung_month_exact": ("lung_month", "Surv(month, event) ~ age + sex + ph_ecog", None),
    "lung_month_offset": ("lung_month", "Surv(month, event) ~ age + sex", "shift"),
    "heart_exact": ("heart", "Surv(start, stop, event) ~ age + year + surgery + transplant", None),
    "cgd_exact": ("cgd", "Surv(tstart, tstop, status) ~ treat + age + steroids + inherit", None),
}


def read(name):
    return pd.read_csv(REFERENCE / "data" / f"{name}.csv")


def fit(name):
    data, formula, offset = MODELS[name]
    return CoxPH(ties="exact").fit(formula, read(data), offset=offset)


@pytest.mark.parametrize("name", MODELS)
def test_equals_r(name):
    own, r = fit(name), VALUES[VALUES.model == name]
    coef = r[r.quantity == "coef"]
    assert own.terms == tuple(coef.term)
    np.testing.assert_allclose(own.beta, coef.value, rtol=1e-9)
    vcov = r[r.quantity == "vcov_model"].value.to_numpy().reshape(own.covariance.shape)
    np.testing.assert_allclose(own.covariance, vcov, rtol=1e-9, atol=1e-12 * np.abs(vcov).max())
    np.testing.assert_allclose(own.loglik, r[r.quantity == "loglik"].value.item(), rtol=1e-11)
    np.testing.assert_allclose(own.loglik_null, r[r.quantity == "loglik_null"].value.item(), rtol=1e-11)


def every_subset(log_risk, x, d):
    """List all subsets of d rows: log of the sum, mean and variance of the subsets' total x."""
    subsets = [list(s) for s in itertools.combinations(range(len(x)), d)]
    logs = np.array([log_risk[s].sum() for s in subsets])
    share = np.exp(logs - logs.max())
    totals = np.array([x[s].sum(axis=0) for s in subsets])
    mean = share @ totals / share.sum()
    variance = (totals - mean).T @ ((totals - mean) * share[:, None]) / share.sum()
    return np.log(share.sum()) + logs.max(), mean, variance


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 10), p=st.integers(1, 3), spread=st.sampled_from([0.1, 1.0, 8.0]))
def test_subset_sums_equal_all_subsets(seed, n, p, spread):
    random = np.random.default_rng(seed)
    d = int(random.integers(1, n))
    x, log_risk = random.normal(size=(n, 2, p)), spread * random.normal(size=(n, 2))
    sums = log_subset_sums(log_risk, x, np.array([d, d]))
    for b in range(2):
        value, mean, variance = every_subset(log_risk[:, b], x[:, b], d)
        assert sums.value[b] == pytest.approx(value, rel=1e-12, abs=1e-12)
        np.testing.assert_allclose(sums.mean[b], mean, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(sums.variance[b], variance, rtol=1e-8, atol=1e-11)


def test_sets_of_unequal_size_side_by_side():
    random = np.random.default_rng(5)
    x, log_risk, d = random.normal(size=(9, 3, 2)), random.normal(size=(9, 3)), np.array([2, 4, 1])
    log_risk[7:, 0], log_risk[3:, 2] = -np.inf, -np.inf
    sums = log_subset_sums(log_risk, x, d)
    for b, n in enumerate((7, 9, 3)):
        value, mean, variance = every_subset(log_risk[:n, b], x[:n, b], d[b])
        assert sums.value[b] == pytest.approx(value, rel=1e-13)
        np.testing.assert_allclose(sums.mean[b], mean, rtol=1e-11)
        np.testing.assert_allclose(sums.variance[b], variance, rtol=1e-10)


def test_closed_forms():
    # Equal risks: the number of subsets; one covariate value apart: a hypergeometric variance.
    n, d, marked = 3000, 400, 1000
    x = (np.arange(n) < marked).astype(float).reshape(n, 1, 1)
    sums = log_subset_sums(np.zeros((n, 1)), x, np.array([d]))
    from scipy.special import gammaln

    count = gammaln(n + 1) - gammaln(d + 1) - gammaln(n - d + 1)
    assert sums.value[0] == pytest.approx(count, rel=1e-13)
    share = marked / n
    assert sums.mean[0, 0] == pytest.approx(d * share, rel=1e-12)
    assert sums.variance[0, 0, 0] == pytest.approx(d * share * (1 - share) * (n - d) / (n - 1), rel=1e-11)


@pytest.mark.parametrize("shift", [-700.0, 0.0, 700.0])
def test_large_tied_sets_neither_overflow_nor_underflow(shift):
    random = np.random.default_rng(3)
    x = random.normal(size=(5000, 1, 2))
    log_risk = 3.0 * x[:, :, 0] + shift
    sums = log_subset_sums(log_risk, x, np.array([700]))
    base = log_subset_sums(log_risk - shift, x, np.array([700]))
    assert sums.value[0] == pytest.approx(base.value[0] + 700 * shift, rel=1e-12)
    np.testing.assert_allclose(sums.mean, base.mean, rtol=1e-10)
    np.testing.assert_allclose(sums.variance, base.variance, rtol=1e-9)


def small_likelihood(seed, strata=True):
    random = np.random.default_rng(seed)
    n = 40
    stop = random.integers(2, 7, n).astype(float)
    start = np.minimum(random.integers(0, 5, n), stop - 1)
    event = random.random(n) < 0.6
    groups = random.integers(0, 2, n) if strata else None
    rs = prepare_risk_sets(Surv(start, stop, event), groups)
    return ExactLikelihood(rs, random.normal(size=(n, 3))[rs.rows], 0.3 * random.normal(size=n)[rs.rows])


@pytest.mark.parametrize("seed", range(4))
def test_score_and_information_are_derivatives(seed):
    likelihood, step = small_likelihood(seed), 1e-5
    beta = np.array([0.4, -0.3, 0.2])
    at = likelihood.evaluate(beta)
    up = [likelihood.evaluate(beta + step * e) for e in np.eye(3)]
    down = [likelihood.evaluate(beta - step * e) for e in np.eye(3)]
    slope = [(u.loglik - d.loglik) / (2 * step) for u, d in zip(up, down, strict=True)]
    curve = [-(u.score - d.score) / (2 * step) for u, d in zip(up, down, strict=True)]
    np.testing.assert_allclose(at.score, slope, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(at.information, curve, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("seed", range(4))
def test_loglik_equals_all_subsets(seed):
    likelihood = small_likelihood(seed)
    rs, beta = likelihood.risk_sets, np.array([0.4, -0.3, 0.2])
    log_risk = likelihood.x @ beta + likelihood.offset
    total = 0.0
    for k in range(rs.n_times):
        here = np.flatnonzero((rs.first <= k) & (rs.last >= k))
        events = here[rs.event[here] & (rs.last[here] == k)]
        total += log_risk[events].sum() - every_subset(log_risk[here], likelihood.x[here], len(events))[0]
    assert likelihood.evaluate(beta).loglik == pytest.approx(total, rel=1e-12)


def test_split_episodes_change_nothing():
    data = read("lung_month")
    whole = CoxPH(ties="exact").fit("Surv(month, event) ~ age + sex", data)
    early = data.assign(start=0.0, stop=np.minimum(data.month, 7), event=data.event * (data.month <= 7))
    late = data[data.month > 7].assign(start=7.0, stop=lambda d: d.month)
    parts = CoxPH(ties="exact").fit("Surv(start, stop, event) ~ age + sex", pd.concat([early, late]))
    np.testing.assert_allclose(parts.beta, whole.beta, rtol=1e-12)
    np.testing.assert_allclose(parts.covariance, whole.covariance, rtol=1e-11)
    assert parts.loglik == pytest.approx(whole.loglik, rel=1e-13)


def test_without_ties_all_methods_agree():
    data = read("veteran").assign(time=lambda d: d.time + np.arange(len(d)) / 1000)
    fits = [CoxPH(ties=ties).fit("Surv(time, status) ~ trt + karno", data) for ties in ("exact", "breslow", "efron")]
    for other in fits[1:]:
        np.testing.assert_allclose(other.beta, fits[0].beta, rtol=1e-11)
        assert other.loglik == pytest.approx(fits[0].loglik, rel=1e-13)


def test_a_risk_set_of_events_only_says_nothing():
    data = read("lung_month")
    more = pd.DataFrame({"month": [99, 99], "event": [1, 1], "age": [50, 70], "sex": [1, 2], "group": [2, 2]})
    both = pd.concat([data.assign(group=1), more])
    one = CoxPH(ties="exact").fit("Surv(month, event) ~ age + sex", data)
    two = CoxPH(ties="exact").fit("Surv(month, event) ~ age + sex + strata(group)", both)
    assert two.loglik == pytest.approx(one.loglik, rel=1e-13)
    np.testing.assert_allclose(two.beta, one.beta, rtol=1e-11)


def test_many_small_strata_equal_one_by_one():
    random = np.random.default_rng(8)
    n_sets = 400
    data = pd.DataFrame(
        {
            "set": np.repeat(np.arange(n_sets), 5),
            "time": 1.0,
            "x": random.normal(size=5 * n_sets),
            "y": random.normal(size=5 * n_sets),
        }
    )
    data["case"] = (data.groupby("set").cumcount() < data["set"] % 3 + 1).astype(int)
    own = CoxPH(ties="exact").fit("Surv(time, case) ~ x + y + strata(set)", data)
    total = 0.0
    for _, group in data.groupby("set"):
        log_risk = group[["x", "y"]].to_numpy() @ own.beta
        case = group.case.to_numpy() == 1
        total += log_risk[case].sum() - every_subset(log_risk, np.zeros((5, 1)), int(case.sum()))[0]
    assert own.loglik == pytest.approx(total, rel=1e-11)


@pytest.mark.parametrize(("extra", "place"), [({"weights": "case"}, "weights"), ({"cluster": "inst"}, "cluster")])
def test_weights_and_clusters_are_refused(extra, place):
    with pytest.raises(DataError, match=f"{place}: expected none with ties='exact'"):
        CoxPH(ties="exact").fit("Surv(month, event) ~ age", read("lung_month"), **extra)


def test_what_has_no_meaning_is_refused():
    state = fit("veteran_exact").state
    for use in (
        lambda: state.likelihood.score_residuals(state.evaluation),
        lambda: state.likelihood.cluster_scores(state.evaluation, np.zeros(1, dtype=np.int64), 1),
        lambda: state.likelihood.steps,
        lambda: state.evaluation.hazard,
        lambda: state.evaluation.mean,
    ):
        with pytest.raises(DataError, match="breslow"):
            use()
