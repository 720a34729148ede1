"""Newton's method on nasty data: it finds the maximum, or names the reason why there is none."""

import itertools
import time

import numpy as np
import pandas as pd
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from coalition_exit.errors import FitError
from coalition_exit.survival.cox.cox import CoxPH
from coalition_exit.survival.cox.exact import ExactLikelihood
from coalition_exit.survival.cox.monotone import monotone_direction
from coalition_exit.survival.cox.partial import PartialLikelihood
from coalition_exit.survival.cox.risksets import prepare_risk_sets
from coalition_exit.survival.cox.solver import check_monotone, maximize
from coalition_exit.survival.data.surv import Surv

XZ = "Surv(time, event) ~ x + z"


def plain(n=400, seed=0):
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "time": random.exponential(size=n) + 0.1,
            "event": (random.random(n) < 0.5).astype(int),
            "x": random.normal(size=n),
            "z": random.normal(size=n),
        }
    )


def refused(formula, data, status, message, **options):
    extra = {name: options.pop(name) for name in ("weights", "offset") if name in options}
    with pytest.raises(FitError, match=message) as error:
        CoxPH(**options).fit(formula, data, **extra)
    assert error.value.status == status


@pytest.mark.parametrize("ties", ["breslow", "efron", "exact"])
def test_a_covariate_that_predicts_the_order_perfectly(ties):
    data = plain(60)
    refused(XZ + " + p", data.assign(p=-data.time), "monotone", r"diverge\): p \(\+infinity\)$", ties=ties)


@pytest.mark.parametrize("ties", ["breslow", "efron", "exact"])
def test_a_category_without_events(ties):
    data = plain().assign(time=lambda d: np.ceil(d.time * 20), dummy=lambda d: (d.index < 20).astype(float))
    data.loc[data.dummy == 1, "event"] = 0
    refused(XZ + " + dummy", data, "monotone", r"diverge\): dummy \(-infinity\)$", ties=ties)


@pytest.mark.parametrize("tolerance", [1e-14, 1e-6, 1e-2])
def test_a_rare_category_without_events(tolerance):
    # One row in 20,000: the log-likelihood hardly gains by its coefficient, which still has no maximum.
    data = plain(20_000)
    row = data.time.sort_values().index[-300]
    data.loc[row, "event"] = 0
    rare = data.assign(rare=np.arange(len(data)) == row)
    refused(XZ + " + rare", rare, "monotone", r"diverge\): rare \(-infinity\)$", tolerance=tolerance)


def test_two_categories_without_events_are_both_named():
    data = plain().assign(a=lambda d: d.index < 20, b=lambda d: d.index >= 380)
    data.loc[data.a | data.b, "event"] = 0
    refused(XZ + " + a + b", data, "monotone", r"diverge\): a \(-infinity\), b \(-infinity\)$")


def test_a_combination_that_separates_names_its_covariates():
    random = np.random.default_rng(1)
    data = plain().assign(w=random.normal(size=400), event=1)
    data["time"] = np.argsort(np.argsort(2 * data.z - data.x)) + 1.0
    formula = "Surv(time, event) ~ w + x + z"
    refused(formula, data, "monotone", r"diverge\): x \(\+infinity\), z \(-infinity\)$")


def test_quasi_separation_by_a_combination():
    # a and b only ever differ together where nobody fails: neither alone, only a - b has no maximum.
    random = np.random.default_rng(2)
    data = plain(600, seed=2).assign(a=random.integers(0, 2, 600), b=lambda d: d.a)
    odd = data.index[:30]
    data.loc[odd, "event"] = 0
    data.loc[odd, "a"], data.loc[odd, "b"] = 1, 0
    refused(XZ + " + a + b", data, "monotone", r"diverge\): a \(-infinity\), b \(\+infinity\)$")


def test_an_empty_cell_of_an_interaction():
    random = np.random.default_rng(3)
    data = plain(seed=3).assign(a=random.integers(0, 2, 400), b=random.integers(0, 2, 400))
    data.loc[(data.a == 1) & (data.b == 1), "event"] = 0
    refused("Surv(time, event) ~ x + a * b", data, "monotone", r"diverge\): a:b \(-infinity\)$")


def test_start_stop_and_strata():
    random = np.random.default_rng(4)
    n = 500
    start = random.integers(0, 20, n).astype(float)
    data = pd.DataFrame({"start": start, "stop": start + random.integers(1, 9, n), "g": random.integers(0, 3, n)})
    data["event"], data["x"] = (random.random(n) < 0.3).astype(int), random.normal(size=n)
    data["dummy"] = random.random(n) < 0.1
    fine = CoxPH().fit("Surv(start, stop, event) ~ x + dummy + strata(g)", data)
    assert np.isfinite(fine.beta).all()
    data.loc[data.dummy, "event"] = 0
    refused("Surv(start, stop, event) ~ x + dummy + strata(g)", data, "monotone", r"dummy \(-infinity\)$")


def test_one_event_only():
    data = plain().assign(event=0)
    order = data.x.sort_values().index
    data.loc[order[200], ["event", "time"]] = [1, 0.05]
    assert np.isfinite(CoxPH().fit("Surv(time, event) ~ x", data).beta).all()
    data["event"] = 0
    data.loc[order[-1], ["event", "time"]] = [1, 0.05]
    refused("Surv(time, event) ~ x", data, "monotone", r"x \(\+infinity\)$")
    refused("Surv(time, event) ~ x", data.assign(event=0), "no_events", "no events among 400 rows")


def test_one_event_time():
    fit = CoxPH().fit(XZ, plain().assign(time=1.0))
    np.testing.assert_allclose(fit.state.evaluation.score, 0.0, atol=1e-10)


def test_everyone_fails_at_once():
    # Exact: the only subset is everyone, so nothing is learned.
    data = plain().assign(time=1.0, event=1)
    refused(XZ, data, "no_variation", "x, z", ties="exact")


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_scale_does_not_matter(scale):
    data = plain()
    base, other = CoxPH().fit(XZ, data), CoxPH().fit(XZ, data.assign(z=data.z * scale))
    np.testing.assert_allclose(other.beta * [1, scale], base.beta, rtol=1e-10)
    np.testing.assert_allclose(other.std_error * [1, scale], base.std_error, rtol=1e-10)


def test_a_large_mean_does_not_matter():
    data = plain()
    base, other = CoxPH().fit(XZ, data), CoxPH().fit(XZ, data.assign(z=data.z + 2.0**30))
    # 2^30 + z keeps 22 of z's 52 bits.
    np.testing.assert_allclose(other.beta, base.beta, rtol=1e-5)


def test_skewed_covariates():
    data = plain().assign(z=lambda d: np.exp(6 * d.z))
    fit = CoxPH().fit(XZ, data)
    np.testing.assert_allclose(
        fit.state.evaluation.score / np.sqrt(np.diag(fit.state.evaluation.information)), 0, atol=1e-9
    )


def test_near_collinear_columns_are_fitted_or_refused():
    data = plain()
    near = CoxPH().fit("Surv(time, event) ~ x + h", data.assign(h=data.x + 1e-4 * data.z))
    base = CoxPH().fit(XZ, data)
    np.testing.assert_allclose(near.beta, [base.beta[0] - 1e4 * base.beta[1], 1e4 * base.beta[1]], rtol=1e-6)
    refused(
        "Surv(time, event) ~ x + h",
        data.assign(h=data.x + 1e-7 * data.z),
        "collinear",
        "h is a linear combination of x$",
    )
    exact = data.assign(h=2 * data.x - data.z + 3)
    refused(XZ + " + h", exact, "collinear", "h is a linear combination of x, z$")


def daily():
    random = np.random.default_rng(5)
    data = pd.DataFrame({"start": np.tile(np.arange(20.0), 50)})
    return data.assign(stop=data.start + 1, event=(random.random(1000) < 0.05).astype(int), x=random.normal(size=1000))


def test_constant_within_risk_sets():
    data = daily().assign(year=lambda d: d.start + 1900, fixed=3.0)
    refused("Surv(start, stop, event) ~ x + year", data, "no_variation", "at the event times: year$")
    refused("Surv(start, stop, event) ~ x + fixed", data, "no_variation", "at the event times: fixed$")


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_what_changes_with_time_alone_changes_nothing(ties):
    data = daily()
    base = CoxPH(ties=ties).fit("Surv(start, stop, event) ~ x", data)
    moved = CoxPH(ties=ties).fit("Surv(start, stop, event) ~ x", data.assign(x=data.x + 64 * data.start))
    np.testing.assert_allclose(moved.beta, base.beta, rtol=1e-10)
    np.testing.assert_allclose(moved.covariance, base.covariance, rtol=1e-10)
    # Farther out exp() cannot hold the baseline hazard: said, not computed.
    far = data.assign(x=data.x + 4096 * data.start)
    refused("Surv(start, stop, event) ~ x", far, "not_converged", "take out what changes with time alone", ties=ties)


def test_variation_lost_between_long_rows_is_refused():
    random = np.random.default_rng(6)
    start = np.repeat(np.arange(0.0, 400, 4), 20)
    data = pd.DataFrame({"start": start, "stop": start + 4, "event": random.random(2000) < 0.3})
    data["stop"] -= random.integers(0, 3, 2000)
    data["x"] = random.normal(size=2000)
    base = CoxPH().fit("Surv(start, stop, event) ~ x", data)
    moved = CoxPH().fit("Surv(start, stop, event) ~ x", data.assign(x=data.x + data.start / 4))
    np.testing.assert_allclose(moved.covariance, base.covariance, rtol=1e-9)
    far = data.assign(x=data.x + 1e4 * data.start)
    refused("Surv(start, stop, event) ~ x", far, "no_variation", "compared with that between event times: x")


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_weights_of_0_are_rows_left_out(ties):
    data = plain().assign(time=lambda d: np.ceil(d.time * 10))
    keep = (np.arange(400) % 3 > 0) & (data.time < data.time.quantile(0.8))
    zero = CoxPH(ties=ties).fit(XZ, data, weights=keep.astype(float))
    out = CoxPH(ties=ties).fit(XZ, data[keep])
    np.testing.assert_allclose(zero.beta, out.beta, rtol=1e-11)
    np.testing.assert_allclose(zero.covariance, out.covariance, rtol=1e-11)
    assert zero.loglik == pytest.approx(out.loglik, rel=1e-12)
    refused(XZ, data, "no_events", "no events with positive weight", ties=ties, weights=1.0 - data.event)
    # A row without weight cannot keep a coefficient finite.
    split = data.assign(p=-data.time)
    split.loc[~keep, "p"] = 99.0
    refused("Surv(time, event) ~ p", split, "monotone", r"p \(\+infinity\)", ties="breslow", weights=keep.astype(float))


def test_large_offsets():
    data = plain()
    base = CoxPH().fit(XZ, data)
    same = CoxPH().fit(XZ, data, offset=np.full(400, 500.0))
    np.testing.assert_allclose(same.beta, base.beta, rtol=1e-11)
    # One row 500 above the rest: while it is at risk it is the whole risk set, afterwards it never was.
    row = int(data.time[data.event == 0].sort_values().index[100])
    offset = np.zeros(400)
    offset[row] = 500.0
    own = CoxPH().fit(XZ, data, offset=offset)
    after = data[data.time > data.time[row]]
    rest = CoxPH().fit(XZ, after)
    x = data[["x", "z"]].to_numpy()
    early = (data.event == 1) & (data.time < data.time[row])
    score = (x[early] - x[row]).sum(axis=0)
    held = rest.state.likelihood.evaluate(own.beta).score
    np.testing.assert_allclose(held, -score, rtol=1e-8)
    refused(XZ, data, "not_converged", "more than exp", offset=4 * offset)


def test_convergence_limited_by_rounding_is_convergence():
    base, exact = CoxPH().fit(XZ, plain()), CoxPH(tolerance=0.0).fit(XZ, plain())
    np.testing.assert_allclose(exact.beta, base.beta, rtol=1e-12)
    assert exact.n_iter < 12


def test_too_few_iterations_are_no_convergence():
    data = plain().assign(event=lambda d: (d.x + 0.3 * d.z > 0).astype(int))
    refused(XZ, data, "not_converged", "no maximum after 1 iterations", max_iter=1)
    assert CoxPH().fit(XZ, data).n_iter > 1


def test_a_far_start_is_no_obstacle():
    fit = CoxPH().fit(XZ, plain())
    likelihood = fit.state.likelihood
    for start in ([8.0, -8.0], [-20.0, 5.0]):
        again = maximize(likelihood, ["x", "z"], 100, 1e-14, start=np.array(start))
        np.testing.assert_allclose(again.beta, fit.beta, rtol=1e-10)


def small_likelihood(seed, ties):
    random = np.random.default_rng(seed)
    n, p = int(random.integers(4, 14)), int(random.integers(1, 4))
    stop = random.integers(1, 6, n).astype(float)
    start = np.minimum(random.integers(0, 4, n), stop - 1).astype(float)
    event = random.random(n) < random.choice([0.3, 0.6])
    event[0] = True
    strata = random.integers(0, 2, n) if random.random() < 0.3 else None
    x = random.integers(-1, 2, (n, p)).astype(float)
    rs = prepare_risk_sets(Surv(start, stop, event), strata)
    weights = random.choice([0.0, 1.0, 2.0], n, p=[0.2, 0.6, 0.2])
    weights[0] = 1.0
    x = np.ascontiguousarray(x[rs.rows])
    if ties == "exact":
        return ExactLikelihood(rs, x, None)
    return PartialLikelihood(rs, x, weights[rs.rows], None, ties)


def every_difference(likelihood):
    rs, rows = likelihood.risk_sets, []
    for k in range(rs.n_times):
        here = np.flatnonzero((rs.first <= k) & (rs.last >= k) & (likelihood.weights > 0))
        own = [i for i in here if rs.event[i] and rs.last[i] == k]
        others = [i for i in here if i not in own] if likelihood.ties == "exact" else here
        rows += [likelihood.x[i] - likelihood.x[j] for i, j in itertools.product(own, others)]
    return np.array(rows).reshape(-1, likelihood.x.shape[1])


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6), ties=st.sampled_from(["breslow", "exact"]))
def test_monotone_equals_one_program_over_all_pairs(seed, ties):
    likelihood = small_likelihood(seed, ties)
    differences = every_difference(likelihood)
    p = likelihood.x.shape[1]
    if np.linalg.matrix_rank(differences) < p:
        # Collinear: refused before the question arises.
        return
    most = scipy.optimize.linprog(
        -differences.sum(axis=0), A_ub=-differences, b_ub=np.zeros(len(differences)), bounds=(-1, 1)
    )
    own = monotone_direction(likelihood)
    assert (own is not None) == (-most.fun > 1e-7)
    if own is not None:
        spread = np.ptp(likelihood.x, axis=0)
        gaps = differences @ (own / np.where(spread > 0, spread, 1))
        assert gaps.min() > -1e-7
        assert gaps.max() > 1e-7


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6), ties=st.sampled_from(["breslow", "efron", "exact"]))
def test_every_fit_ends_at_a_maximum_or_with_the_right_reason(seed, ties):
    likelihood = small_likelihood(seed, ties)
    names = [f"x{j}" for j in range(likelihood.x.shape[1])]
    differences = every_difference(likelihood)
    solution, status = None, "maximum"
    try:
        solution = maximize(likelihood, names, 100, 1e-14)
    except FitError as error:
        status = error.status
    if np.linalg.matrix_rank(differences) < len(names):
        assert status in ("no_variation", "collinear")
        return
    if solution is None:
        assert status == "monotone"
        assert monotone_direction(likelihood) is not None
        return
    assert monotone_direction(likelihood) is None
    np.testing.assert_allclose(solution.at.score, 0.0, atol=1e-7)
    assert np.linalg.eigvalsh(solution.at.information)[0] > 0


def test_a_hundred_thousand_rows_are_checked_quickly():
    random = np.random.default_rng(7)
    n = 100_000
    x = random.normal(size=(n, 6))
    x[:, 5] = random.random(n) < 0.001
    event = (random.random(n) < 0.5) & (x[:, 5] == 0)
    rs = prepare_risk_sets(Surv(random.exponential(size=n), event))
    begin = time.perf_counter()
    with pytest.raises(FitError, match=r"rare \(-infinity\)"):
        check_monotone(
            PartialLikelihood(rs, np.ascontiguousarray(x[rs.rows]), None, None, "breslow"), ["a"] * 5 + ["rare"]
        )
    none = PartialLikelihood(rs, np.ascontiguousarray(x[rs.rows, :5]), None, None, "breslow")
    assert monotone_direction(none) is None
    # Written out, the pairs would be five thousand million rows.
    assert time.perf_counter() - begin < 30
