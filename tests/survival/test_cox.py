"""The likelihood against a slow, obvious one, its derivatives, closed forms and invariances."""

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coalition_exit.errors import DataError, FitError
from coalition_exit.survival.cox.cox import CoxPH
from coalition_exit.survival.cox.partial import PartialLikelihood
from coalition_exit.survival.cox.risksets import prepare_risk_sets
from coalition_exit.survival.data.design import build_design
from coalition_exit.survival.data.surv import Surv

REFERENCE = Path(__file__).parents[1] / "reference"
HEART = "Surv(start, stop, event) ~ age + year + surgery + transplant"
BOTH = ["breslow", "efron"]
SEEDS = st.integers(0, 10**6)


def read(name):
    return pd.read_csv(REFERENCE / "data" / f"{name}.csv", float_precision="round_trip")


def random_data(seed):
    """Start-stop rows with ties, strata, weights (some 0), an offset, and rows never at risk."""
    random = np.random.default_rng(seed)
    n, p = int(random.integers(3, 40)), int(random.integers(1, 4))
    longest = int(random.choice([2, 5, 30]))
    stop = random.integers(1, longest + 1, n) + random.choice([0.0, 0.5], n)
    start = stop - random.integers(1, longest + 1, n) + random.choice([0.0, 0.25])
    if random.random() < 0.3:
        start[:] = -np.inf
    event = random.random(n) < random.choice([0.2, 0.7])
    event[0] = True
    strata = random.integers(0, int(random.choice([1, 3, 300])), n)
    weights = random.choice([0.0, 0.5, 1.0, 3.0], n)
    weights[0] = 1.0
    return {
        "start": start, "stop": stop, "event": event, "strata": strata, "weights": weights,
        "offset": random.normal(size=n), "x": random.normal(size=(n, p)), "beta": 0.5 * random.normal(size=p),
    }  # fmt: skip


def surv_of(d):
    right_censored = np.isneginf(d["start"]).all()
    return Surv(d["stop"], d["event"]) if right_censored else Surv(d["start"], d["stop"], d["event"])


def likelihood_of(d, ties):
    rs = prepare_risk_sets(surv_of(d), d["strata"])
    parts = (np.ascontiguousarray(d["x"][rs.rows]), d["weights"][rs.rows], d["offset"][rs.rows])
    return PartialLikelihood(rs, *parts, ties)


def slow_loglik(d, beta, ties):
    """One stratum, one event time, one tied event after the other, straight from the definition."""
    total = 0.0
    log_risk = d["x"] @ beta + d["offset"]
    risk = d["weights"] * np.exp(log_risk)
    for g in set(d["strata"]):
        for t in set(d["stop"][d["event"] & (d["strata"] == g)]):
            at_risk = (d["start"] < t) & (t <= d["stop"]) & (d["strata"] == g)
            own = at_risk & d["event"] & (d["stop"] == t) & (d["weights"] > 0)
            for step, i in enumerate(np.flatnonzero(own)):
                weight = d["weights"][own].mean() if ties == "efron" else d["weights"][i]
                gone = step / own.sum() if ties == "efron" else 0.0
                total += d["weights"][i] * log_risk[i]
                total -= weight * np.log(risk[at_risk].sum() - gone * risk[own].sum())
    return total


@settings(max_examples=150, deadline=None)
@given(seed=SEEDS, ties=st.sampled_from(BOTH))
def test_loglik_equals_the_slow_one(seed, ties):
    d = random_data(seed)
    own = likelihood_of(d, ties).evaluate(d["beta"]).loglik
    assert own == pytest.approx(slow_loglik(d, d["beta"], ties), rel=1e-11, abs=1e-11)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, ties=st.sampled_from(BOTH))
def test_score_and_information_are_derivatives(seed, ties):
    d, step = random_data(seed), 1e-5
    likelihood, units = likelihood_of(d, ties), np.eye(d["x"].shape[1])
    at = likelihood.evaluate(d["beta"])
    up = [likelihood.evaluate(d["beta"] + step * e) for e in units]
    down = [likelihood.evaluate(d["beta"] - step * e) for e in units]
    slope = [(u.loglik - v.loglik) / (2 * step) for u, v in zip(up, down, strict=True)]
    curve = [-(u.score - v.score) / (2 * step) for u, v in zip(up, down, strict=True)]
    np.testing.assert_allclose(at.score, slope, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(at.information, curve, rtol=1e-5, atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS, ties=st.sampled_from(BOTH))
def test_score_residuals_sum_to_the_score(seed, ties):
    d = random_data(seed)
    likelihood = likelihood_of(d, ties)
    at = likelihood.evaluate(d["beta"])
    residuals = likelihood.score_residuals(at) * likelihood.weights[:, None]
    np.testing.assert_allclose(residuals.sum(axis=0), at.score, rtol=1e-10, atol=1e-11)
    clusters = np.random.default_rng(seed).integers(0, 5, len(residuals))
    summed = likelihood.cluster_scores(at, clusters, 7)
    np.testing.assert_allclose(summed, [residuals[clusters == g].sum(axis=0) for g in range(7)], atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_score_residual_is_the_slow_integral(seed):
    """Breslow: event (x - xbar(t)) less the row's hazard times (x - xbar(t)), over the times it is at risk."""
    d = random_data(seed)
    likelihood = likelihood_of(d, "breslow")
    at, rs = likelihood.evaluate(d["beta"]), likelihood.risk_sets
    own = likelihood.score_residuals(at)
    risk = np.exp(d["x"] @ d["beta"] + d["offset"])
    expected = np.zeros_like(d["x"])
    for t, g in zip(rs.times, rs.stratum, strict=True):
        here = (d["start"] < t) & (t <= d["stop"]) & (d["strata"] == g)
        weighted = d["weights"] * risk * here
        if weighted.sum() == 0:
            continue
        mean = weighted @ d["x"] / weighted.sum()
        died = here & d["event"] & (d["stop"] == t)
        hazard = d["weights"][died].sum() / weighted.sum()
        expected[here] -= (risk[here] * hazard)[:, None] * (d["x"][here] - mean)
        expected[died] += (d["x"] - mean)[died]
    weighty = d["weights"][rs.rows] > 0
    np.testing.assert_allclose(own[weighty], expected[rs.rows][weighty], rtol=1e-9, atol=1e-10)


@settings(max_examples=80, deadline=None)
@given(seed=SEEDS, columns=st.integers(1, 3))
def test_risk_set_sums_are_sums(seed, columns):
    d = random_data(seed)
    rs = prepare_risk_sets(surv_of(d), d["strata"])
    inside = (d["start"] < rs.times[:, None]) & (rs.times[:, None] <= d["stop"]) & (d["strata"] == rs.stratum[:, None])
    assert set(rs.rows) == set(np.flatnonzero(inside.any(axis=0)))
    inside = inside[:, rs.rows]
    random = np.random.default_rng(seed)
    values, increments = random.normal(size=(len(rs.rows), columns)), random.normal(size=(rs.n_times, columns))
    np.testing.assert_allclose(rs.sum_at_risk(values), inside @ values, atol=1e-12)
    np.testing.assert_allclose(
        rs.weighted_sum_at_risk(values[:, 0], values), inside @ (values[:, :1] * values), atol=1e-12
    )
    np.testing.assert_allclose(rs.accumulate(increments), inside.T @ increments, atol=1e-12)
    cube = np.stack([increments, 2 * increments], axis=2)
    np.testing.assert_allclose(rs.accumulate(cube)[..., 1], 2 * (inside.T @ increments), atol=1e-12)
    np.testing.assert_array_equal(rs.max_at_risk(values[:, 0]), np.where(inside, values[:, 0], -np.inf).max(axis=1))
    blocks = rs.accumulator(increments)
    parts = [blocks(slice(begin, begin + 3)) for begin in range(0, len(rs.rows), 3)]
    np.testing.assert_allclose(np.concatenate(parts), rs.accumulate(increments), atol=1e-12)


def test_sums_lose_nothing_to_a_huge_risk():
    # The heavy row is at risk in the middle only: before and after, the sums must be those without it.
    start = np.array([0.0, 0, 3, 0, 5, 2])
    stop = np.array([9.0, 9, 6, 4, 9, 8])
    rs = prepare_risk_sets(Surv(start, stop, np.array([1, 0, 1, 1, 0, 1])))
    values = np.array([1.0, 2, 1e300, 4, 5, 6])
    inside = (start < rs.times[:, None]) & (rs.times[:, None] <= stop)
    own = rs.sum_at_risk(values[rs.rows])
    np.testing.assert_allclose(own, [values[row].sum() for row in inside], rtol=1e-15)
    increments = np.array([1.0, 1e300, 1.0, 1.0])
    np.testing.assert_allclose(
        rs.accumulate(increments), [increments[column].sum() for column in inside.T[rs.rows]], rtol=1e-15
    )


def test_two_sample_closed_form():
    # One binary covariate, no ties: at each time the likelihood is e^(b x) / (n1 e^b + n0).
    time = np.arange(1.0, 9)
    x = np.array([1, 0, 1, 1, 0, 0, 1, 0.0])
    event = np.array([1, 1, 0, 1, 1, 0, 1, 1])
    ones = np.array([x[i:].sum() for i in range(8)])
    zeros = np.arange(8, 0, -1) - ones

    def score(b):
        share = ones * np.exp(b) / (ones * np.exp(b) + zeros)
        return (event * (x - share)).sum()

    from scipy.optimize import brentq

    root = brentq(score, -5, 5, xtol=1e-15)
    share = ones * np.exp(root) / (ones * np.exp(root) + zeros)
    data = pd.DataFrame({"time": time, "event": event, "x": x})
    for ties in BOTH:
        fit = CoxPH(ties=ties).fit("Surv(time, event) ~ x", data)
        assert fit.beta[0] == pytest.approx(root, rel=1e-12)
        assert fit.covariance[0, 0] == pytest.approx(1 / (event * share * (1 - share)).sum(), rel=1e-11)
        assert fit.loglik_null == pytest.approx(-np.log(np.arange(8, 0, -1))[event == 1].sum(), rel=1e-14)


def test_tied_closed_forms():
    # Two events (x = 1 and x = 0) among one more of each; r = e^b. Breslow: r / (2 r + 2)^2,
    # Efron: r / ((2 r + 2)(2 r + 2 - (r + 1) / 2)), exact: r / (r^2 + 4 r + 1).
    data = pd.DataFrame({"time": [1.0, 1, 2, 2], "event": [1, 1, 0, 0], "x": [1.0, 0, 1, 0]})
    design = build_design("Surv(time, event) ~ x", data)
    r = np.exp(0.7)
    expected = {
        "breslow": r / (2 * r + 2) ** 2,
        "efron": r / ((2 * r + 2) * (2 * r + 2 - (r + 1) / 2)),
        "exact": r / (r**2 + 4 * r + 1),
    }
    for ties, value in expected.items():
        fit = CoxPH(ties=ties).fit_design(design)
        at = fit.state.likelihood.evaluate(np.array([0.7]))
        # Centring x leaves the likelihood as it is.
        assert at.loglik == pytest.approx(np.log(value), rel=1e-14)


def compare(one, two, rtol=1e-10):
    np.testing.assert_allclose(one.beta, two.beta, rtol=rtol)
    np.testing.assert_allclose(one.covariance, two.covariance, rtol=rtol, atol=rtol * np.abs(two.covariance).max())
    assert one.loglik == pytest.approx(two.loglik, rel=1e-12)


@pytest.mark.parametrize("ties", BOTH)
def test_splitting_episodes_changes_nothing(ties):
    data = read("heart")
    middle = np.floor((data.start + data.stop) / 2)
    parts = pd.concat([data.assign(stop=middle, event=0)[middle > data.start], data.assign(start=middle)])
    model = CoxPH(ties=ties)
    compare(model.fit(HEART, parts, cluster="id"), model.fit(HEART, data, cluster="id"))


def test_weight_2_is_the_row_twice():
    data = read("heart").assign(w=lambda d: 1 + d.id % 2)
    twice = pd.concat([data, data[data.w == 2]])
    compare(CoxPH().fit(HEART, data, weights="w", cluster="id"), CoxPH().fit(HEART, twice, cluster="id"))


@pytest.mark.parametrize("ties", BOTH)
def test_shifts_order_labels_and_idle_rows_change_nothing(ties):
    data = read("cgd")
    formula, model = "Surv(tstart, tstop, status) ~ treat + age + strata(hos_cat)", CoxPH(ties=ties)
    base = model.fit(formula, data, cluster="id")
    moved = data.assign(tstart=data.tstart - 1000, tstop=data.tstop - 1000)
    compare(model.fit(formula, moved, cluster="id"), base)
    shuffled = data.sample(frac=1, random_state=1)
    compare(model.fit(formula, shuffled, cluster="id"), base)
    renamed = data.assign(hos_cat=data.hos_cat.map({1: "z", 2: "y", 3: "b", 4: "a"}), id="p" + data.id.astype(str))
    compare(model.fit(formula, renamed, cluster="id"), base)
    idle = data.assign(tstart=1e6, tstop=1e6 + 1, status=0, treat=99.0)
    compare(model.fit(formula, pd.concat([data, idle]), cluster="id"), base)


@pytest.mark.parametrize("ties", BOTH)
def test_many_strata_equal_few(ties):
    # More strata than are done one by one: the sums go another way.
    random = np.random.default_rng(2)
    n = 3000
    data = pd.DataFrame({"time": np.ceil(20 * random.exponential(size=n)), "event": random.random(n) < 0.6})
    data["x"], data["g"] = random.normal(size=n), random.integers(0, 500, n)
    own = CoxPH(ties=ties).fit("Surv(time, event) ~ x + strata(g)", data)
    total = sum(
        slow_loglik(
            {
                "start": np.full(len(part), -np.inf), "stop": part.time.to_numpy(), "event": part.event.to_numpy(),
                "strata": np.zeros(len(part)), "weights": np.ones(len(part)), "offset": np.zeros(len(part)),
                "x": part[["x"]].to_numpy(),
            },
            own.beta, ties,
        )
        for _, part in data.groupby("g")
    )  # fmt: skip
    assert own.loglik == pytest.approx(total, rel=1e-12)


def test_strata_of_two_columns_are_their_combinations():
    data = read("veteran")
    both = CoxPH().fit("Surv(time, status) ~ karno + strata(cell, prior)", data)
    one = CoxPH().fit("Surv(time, status) ~ karno + strata(c)", data.assign(c=100 * data.cell + data.prior))
    compare(both, one)


@pytest.mark.parametrize("kind", ["int64", "int8", "float32", "bool", "Int64", "Float64", "boolean"])
def test_column_types_do_not_matter(kind):
    data = read("heart")
    other = data.astype({"surgery": kind, "transplant": kind})
    compare(CoxPH().fit(HEART, other), CoxPH().fit(HEART, data))


def test_large_inputs_go_the_same_way():
    # Enough rows for blocks, radix sorting, tabulated and sorted look-ups; the same data in small pieces as strata.
    random = np.random.default_rng(9)
    n = 60_000
    x = random.normal(size=(n, 8))
    continuous = random.exponential(size=n) * np.exp(-0.3 * x[:, 0])
    for time in (continuous, np.ceil(continuous * 100)):
        surv = Surv(time, random.random(n) < 0.3)
        rs = prepare_risk_sets(surv)
        likelihood = PartialLikelihood(rs, np.ascontiguousarray(x[rs.rows]), None, None, "breslow")
        beta = np.linspace(-0.2, 0.2, 8)
        at = likelihood.evaluate(beta)
        order = np.argsort(-time, kind="stable")
        running = np.cumsum(np.exp(x[order] @ beta))
        last = np.searchsorted(-time[order], -time, side="right") - 1
        own = surv.event @ (x @ beta - np.log(running[last]))
        assert at.loglik == pytest.approx(own, rel=1e-12)
        residuals = likelihood.score_residuals(at)
        clusters = random.integers(0, 20_000, len(residuals))
        summed = likelihood.cluster_scores(at, clusters, 20_000)
        np.testing.assert_allclose(summed[clusters[0]], residuals[clusters == clusters[0]].sum(axis=0), atol=1e-10)
        np.testing.assert_allclose(summed.sum(axis=0), at.score, rtol=1e-8, atol=1e-6)


def test_fits_share_prepared_risk_sets():
    design = build_design(HEART, read("heart"), cluster="id")
    rs = prepare_risk_sets(design.surv, design.strata)
    compare(CoxPH().fit_design(design, rs), CoxPH().fit_design(design))


def test_the_data_are_not_changed():
    data = read("heart")
    before = data.copy(deep=True)
    CoxPH(ties="efron").fit(
        HEART + " + strata(surgery)".replace("surgery", "id"), data.assign(id=data.id % 3), cluster="id"
    )
    CoxPH().fit("Surv(start, stop, event) ~ age + tt(age, identity)", data, id="id", cluster="id")
    pd.testing.assert_frame_equal(data, before)


def test_nothing_to_estimate():
    fit = CoxPH().fit("Surv(start, stop, event) ~ 1", read("heart"))
    assert fit.terms == ()
    assert fit.loglik == fit.loglik_null


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"age": np.nan}, {}, "column 'age', row 2"),
        ({"age": np.inf}, {}, "column 'age', row 2"),
        ({"event": 2}, {}, "expected 0 .censored. or 1 .event., got 2"),
        ({"event": np.nan}, {}, "column 'event', row 2.*a missing value"),
        ({"stop": -5.0}, {}, "stop > start"),
        ({}, {"weights": -np.ones(172)}, "weights, row 0"),
        ({}, {"weights": np.ones(9)}, r"172 values, one a row, got shape \(9,\)"),
        ({}, {"cluster": "idd"}, "Did you mean 'id'"),
        ({}, {"cluster": np.zeros(172)}, "at least two clusters"),
        ({}, {"missing": "ignore"}, "'error' or 'drop'"),
    ],
)
def test_bad_data_are_refused(change, options, message):
    data = read("heart").astype({"event": float, "age": float, "stop": float})
    for column, value in change.items():
        data.loc[2, column] = value
    with pytest.raises(DataError, match=message):
        CoxPH().fit(HEART, data, **options)


def test_no_events_are_refused():
    with pytest.raises(FitError, match="no events among 172 rows"):
        CoxPH().fit(HEART, read("heart").assign(event=0))


@pytest.mark.parametrize(("option", "value", "near"), [("ties", "efrom", "efron"), ("correction", "strata", "stata")])
def test_bad_options_are_refused(option, value, near):
    with pytest.raises(DataError, match=f"{option}: expected one of .*Did you mean '{near}'"):
        CoxPH(**{option: value})


@pytest.mark.parametrize(
    ("options", "extra"),
    [({}, ""), ({"ties": "efron"}, " + tt(age, late)"), ({"ties": "exact"}, ""), ({"penalty": "firth"}, "")],
)
def test_results_can_be_pickled(options, extra):
    fit = CoxPH(**options).fit(HEART + extra, read("heart"), tt={"late": lambda t: t > 100})
    again = pickle.loads(pickle.dumps(fit))
    compare(again, fit)
    np.testing.assert_array_equal(again.state.likelihood.evaluate(fit.beta).score, fit.state.evaluation.score)


def test_what_knows_no_penalty_can_refuse_one():
    data = read("heart")
    CoxPH().fit(HEART, data).state.require_plain("a test")
    for options in ({"penalty": "firth"}, {"ridge": 1.0}, {"ties": "exact"}):
        with pytest.raises(DataError, match="for a test, got"):
            CoxPH(**options).fit(HEART, data).state.require_plain("a test")
