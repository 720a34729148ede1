"""Bootstraps over clusters: against R's refits under the same weights, slow loops, invariances, failures."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from coalition_exit.errors import DataError, FitError
from coalition_exit.survival import CoxPH
from coalition_exit.survival.cox.partial import PartialLikelihood
from coalition_exit.survival.inference.batched import BatchLikelihood
from coalition_exit.survival.inference.bootstrap import Bootstrap, cluster_bootstrap, cluster_weights, score_bootstrap
from coalition_exit.survival.inference.reweighted import reweighted_fits
from coalition_exit.survival.inference.vcov import cluster_codes
from vcov_reference import (
    WEIGHTS,
    clusters_of,
    data_of,
    models_with,
    quantities,
    r_vector,
    random_data,
    state_of,
)

FORMULA = "Surv(start, stop, event) ~ x0 + x1"


@pytest.mark.parametrize("model", models_with("bootstrap"))
def test_refits_equal_r_under_stored_weights(model: str) -> None:
    codes = cluster_codes(state_of(model), clusters_of(model))
    stored = WEIGHTS[WEIGHTS["model"] == model].pivot_table(index="replicate", columns="cluster", values="weight")
    fits = reweighted_fits(state_of(model), stored[list(codes.labels)].to_numpy(), codes.codes)
    assert fits.ok.all()
    assert len(fits.coef) == 8
    for b, coef in zip(stored.index, fits.coef, strict=True):
        np.testing.assert_allclose(coef, r_vector(model, f"bootstrap:{b}"), rtol=1e-9, atol=1e-11)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 100_000), ties=st.sampled_from(["breslow", "efron"]), strata=st.booleans())
def test_every_replicate_is_the_fit_one_would_make(seed: int, ties: str, strata: bool) -> None:
    data = random_data(seed, n=40)
    data["x0"] = (data["x0"] > 0.8).astype(float)
    formula = FORMULA + (" + strata(s)" if strata else "")
    try:
        state = CoxPH(ties=ties).fit(formula, data, cluster="g", weights="w", offset="o").state
    except FitError:
        reject()
    drawn = np.vstack([cluster_weights(7, 4, kind, seed) for kind in ("bayesian", "multinomial")])
    fits = reweighted_fits(state, drawn, state.design.cluster)
    for weights, coef, status in zip(drawn, fits.coef, fits.status, strict=True):
        own = data.assign(w=data["w"] * weights[state.design.cluster])
        kept = own[own["w"] > 0]
        if status == "converged":
            again = CoxPH(ties=ties).fit(formula, kept, weights="w", offset="o")
            np.testing.assert_allclose(coef, again.beta, rtol=1e-8, atol=1e-9)
            continue
        assert np.isnan(coef).all()
        with pytest.raises(FitError) as caught:
            CoxPH(ties=ties).fit(formula, kept, weights="w", offset="o")
        assert caught.value.status == status


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 100_000), ties=st.sampled_from(["breslow", "efron"]))
def test_batched_values_are_those_of_one_likelihood_at_a_time(seed: int, ties: str) -> None:
    data = random_data(seed, p=3)
    state = CoxPH(ties=ties).fit(FORMULA + " + x2 + strata(s)", data, cluster="g", weights="w", offset="o").state
    own, rows = state.likelihood, state.risk_sets.rows
    rng = np.random.default_rng(seed)
    w, beta = rng.exponential(size=(7, 5)), rng.normal(size=(3, 5))
    batch = BatchLikelihood(own, state.design.cluster[rows], 7)
    values = batch.evaluate(beta, w, batch.row_weights(w))
    for b in range(5):
        row_weights = own.weights * w[state.design.cluster[rows], b]
        at = PartialLikelihood(state.risk_sets, own.x, row_weights, own.offset, ties).evaluate(beta[:, b])
        # The batched value is not taken relative to the largest linear predictor.
        np.testing.assert_allclose(values.loglik[b], at.loglik, rtol=1e-11)
        np.testing.assert_allclose(values.score[:, b], at.score, rtol=1e-9, atol=1e-10)
        full = np.zeros((3, 3))
        full[np.tril_indices(3)] = values.information[:, b]
        np.testing.assert_allclose(full, np.tril(at.information), rtol=1e-9, atol=1e-10)


def _fitted(ties: str = "breslow") -> tuple[pd.DataFrame, CoxPH]:
    data = random_data(11, n=200, n_cluster=20, last=12)
    return data, CoxPH(ties=ties)


@pytest.mark.parametrize("ties", ["breslow", "efron"])
@pytest.mark.parametrize("kind", ["multinomial", "bayesian"])
def test_blocks_and_chunks_do_not_change_the_result(ties: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, model = _fitted(ties)
    state = model.fit(FORMULA, data, cluster="g").state
    whole = cluster_bootstrap(state, 60, seed=5, weights=kind)
    for block in (1, 7, 60):
        again = cluster_bootstrap(state, 60, seed=5, weights=kind, block=block)
        np.testing.assert_allclose(again.coef, whole.coef, rtol=1e-10, atol=1e-12)
        np.testing.assert_array_equal(again.status, whole.status)
    monkeypatch.setattr("coalition_exit.survival.inference.batched._PAIRS", 10)
    monkeypatch.setattr("coalition_exit.survival.inference.batched._CHUNK", 37)
    np.testing.assert_allclose(
        cluster_bootstrap(state, 60, seed=5, weights=kind).coef, whole.coef, rtol=1e-10, atol=1e-12
    )


def test_seeds_decide() -> None:
    data, model = _fitted()
    state = model.fit(FORMULA, data, cluster="g").state
    one, same, other = (cluster_bootstrap(state, 20, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.coef, same.coef)
    assert not np.array_equal(one.coef, other.coef)
    generated = cluster_bootstrap(state, 20, seed=np.random.default_rng(1))
    np.testing.assert_array_equal(one.coef, generated.coef)
    assert (one.seed, generated.seed) == (1, None)


def test_weights_of_clusters() -> None:
    drawn = cluster_weights(44, 4000, "multinomial", 1)
    assert (drawn.sum(axis=1) == 44).all()
    assert (drawn == np.round(drawn)).all()
    np.testing.assert_allclose((drawn == 0).mean(), (1 - 1 / 44) ** 44, atol=0.01)
    smooth = cluster_weights(44, 4000, "bayesian", 1)
    np.testing.assert_allclose(smooth.sum(axis=1), 44)
    assert (smooth > 0).all()
    np.testing.assert_allclose(smooth.var(), 43 / 45, atol=0.03)


def test_a_resample_is_its_stacked_copies_under_breslow() -> None:
    data, model = _fitted()
    state = model.fit(FORMULA, data, cluster="g").state
    drawn = cluster_weights(20, 3, "multinomial", 9)
    fits = reweighted_fits(state, drawn, state.design.cluster)
    for weights, coef in zip(drawn, fits.coef, strict=True):
        copies = data.loc[np.repeat(data.index, weights[state.design.cluster].astype(int))]
        np.testing.assert_allclose(coef, model.fit(FORMULA, copies).beta, rtol=1e-9)


def test_standard_errors_approach_the_jackknifes() -> None:
    data, model = _fitted()
    fit = model.fit(FORMULA, data, cluster="g")
    found = cluster_bootstrap(fit.state, 2000, seed=3)
    np.testing.assert_allclose(np.sqrt(np.diag(found.vcov())), fit.std_error, rtol=0.2)
    assert found.failures == {}


def _made_up() -> Bootstrap:
    coef = np.column_stack([np.arange(1.0, 100.0), np.linspace(-1, 3, 99)])
    coef = np.vstack([coef, [[np.nan, np.nan]]])
    status = np.array(["converged"] * 99 + ["monotone"])
    return Bootstrap(("a", "b"), np.array([60.0, 0.5]), coef, status, "multinomial", 1, 44)


def test_intervals_and_p_values_by_hand() -> None:
    found = _made_up()
    low, high = found.interval("percentile", 0.9)
    # 99 values: quantile q is value 1 + 98 q.
    np.testing.assert_allclose([low[0], high[0]], [5.9, 94.1])
    low, high = found.interval("basic", 0.9)
    np.testing.assert_allclose([low[0], high[0]], [120 - 94.1, 120 - 5.9])
    np.testing.assert_allclose(found.vcov(), np.cov(found.coef[:99].T))
    np.testing.assert_allclose(found.interval("normal")[0][0], 60 - 1.959963984540054 * np.arange(99).std(ddof=1))
    at_most_zero = int((found.coef[:99, 1] <= 0).sum())
    np.testing.assert_allclose(found.p_value(), [2 * 1 / 100, 2 * (1 + at_most_zero) / 100])
    at_most_one = int((found.coef[:99, 1] <= 1.0).sum())
    np.testing.assert_allclose(found.p_value("basic")[1], min(1.0, 2 * (1 + min(at_most_one, 100 - at_most_one)) / 100))
    assert found.p_value("normal")[0] == pytest.approx(0.0366, abs=1e-3)


def test_failures_are_counted_and_shown() -> None:
    found = _made_up()
    assert (found.n_boot, found.n_ok, found.failures) == (100, 99, {"monotone": 1})
    assert found.label == "100 multinomial bootstraps of 44 clusters; without an estimate: 1 monotone"
    table = found.tidy("basic", exponentiate=True)
    np.testing.assert_allclose(table["conf_low"], np.exp(found.interval("basic")[0]))
    assert list(table["term"]) == ["a", "b"]
    again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(again.coef, found.coef)


def test_every_reason_for_a_failure_is_named() -> None:
    """Clusters made so that losing some of them makes each kind of trouble."""
    rng = np.random.default_rng(1)
    n = 120
    data = pd.DataFrame({"time": rng.permutation(n) + 1.0, "g": np.arange(n) % 6, "x": rng.normal(size=n)})
    data["event"] = (data["g"] != 5).astype(int)
    data["z"] = np.where(data["g"] == 0, rng.normal(size=n), 1.0)
    data["y"] = np.where(data["g"] <= 1, rng.normal(size=n), data["x"])
    late = data["time"] > 20
    data["d"] = ((data["g"] == 2) | ((data["g"] == 3) & late)).astype(float)
    data.loc[(data["g"] == 3) & late, "event"] = 0
    state = CoxPH().fit("Surv(time, event) ~ x + z + y + d", data, cluster=data["g"].to_numpy()).state
    codes = cluster_codes(state, data["g"])
    kept = {
        "converged": [0, 1, 2, 3, 4, 5],
        "no_events": [5],
        "no_variation": [1, 2, 3, 4, 5],
        "monotone": [0, 1, 3, 4, 5],
    }
    weights = np.array([[float(label in clusters) for label in codes.labels] for clusters in kept.values()])
    fits = reweighted_fits(state, weights, codes.codes)
    assert list(fits.status) == list(kept)
    two = CoxPH().fit("Surv(time, event) ~ x + y", data).state
    alike = [[float(label >= 2) for label in codes.labels]]
    assert list(reweighted_fits(two, np.array(alike), codes.codes).status) == ["collinear"]
    uneven = np.array([[3.0, 1.0, 0.1, 2.0, 1.0, 0.5]])
    assert list(reweighted_fits(two, uneven, codes.codes).status) == ["converged"]
    assert list(reweighted_fits(two, uneven, codes.codes, max_iter=1).status) == ["not_converged"]
    only = Bootstrap(("x",), np.zeros(1), np.full((3, 1), np.nan), np.repeat("no_events", 3), "multinomial", 1, 6)
    with pytest.raises(FitError, match=r"fewer than two of 3 bootstraps have an estimate .*3 no_events"):
        only.tidy()


def test_large_coefficients_keep_their_digits() -> None:
    """Relative risks over 25 orders of magnitude: sums over small risk sets are not lost in large ones."""
    rng = np.random.default_rng(2)
    n = 80
    data = pd.DataFrame({"x": rng.normal(size=n), "g": np.arange(n) % 8})
    data["time"] = np.round(30 * np.exp(-8.0 * data["x"] - rng.gumbel(size=n)), 6) + rng.uniform(0, 1e-6, n)
    data["event"] = 1
    state = CoxPH(timefix=False).fit("Surv(time, event) ~ x", data, cluster="g").state
    assert np.ptp(data["x"]) * abs(state.beta.item()) > 30
    drawn = cluster_weights(8, 5, "bayesian", 1)
    fits = reweighted_fits(state, drawn, state.design.cluster)
    order = np.argsort(-data["time"].to_numpy(), kind="stable")
    x = data["x"].to_numpy()[order]
    for weights, coef in zip(drawn, fits.coef, strict=True):
        w = weights[state.design.cluster][order]
        a = w * np.exp(x * coef)
        mean = np.cumsum(a * x) / np.cumsum(a)
        variance = np.cumsum(a * x**2) / np.cumsum(a) - mean**2
        step = (w * (x - mean)).sum() / (w * variance).sum()
        assert abs(step) < 1e-8 * abs(coef.item())


@pytest.mark.parametrize("model", models_with("score_t"))
def test_score_statistics_equal_r(model: str) -> None:
    for quantity in quantities(model, "score_t"):
        _, recenter, null = quantity.split(":")
        found = score_bootstrap(
            state_of(model), 10, seed=1, null=float(null), clusters=clusters_of(model), recenter=recenter
        )
        np.testing.assert_allclose(found.statistic, r_vector(model, quantity), rtol=1e-7)


@pytest.mark.parametrize("model", models_with("score_p"))
def test_enumerated_p_values_equal_r(model: str) -> None:
    for quantity in quantities(model, "score_p"):
        _, recenter, null = quantity.split(":")
        found = score_bootstrap(
            state_of(model), 10_000, seed=1, null=float(null), clusters=clusters_of(model), recenter=recenter
        )
        assert found.enumerated
        assert found.n_boot == 2 ** len(np.unique(clusters_of(model)))
        np.testing.assert_array_equal(found.p_value, r_vector(model, quantity))


def test_drawn_p_values_approach_the_enumerated() -> None:
    state = state_of("cgd_breslow")
    exact = score_bootstrap(state, 9_999, seed=1)
    drawn = score_bootstrap(state, 8_000, seed=1)
    assert (exact.enumerated, drawn.enumerated) == (True, False)
    np.testing.assert_allclose(drawn.p_value, exact.p_value, atol=4 * np.sqrt(0.25 / 8_000))
    again = score_bootstrap(state, 8_000, seed=1)
    np.testing.assert_array_equal(drawn.p_value, again.p_value)
    webb = score_bootstrap(state, 8_000, seed=1, weights="webb")
    np.testing.assert_allclose(webb.p_value, exact.p_value, atol=0.05)
    assert list(webb.tidy()["term"]) == list(state.design.names)
    assert "webb weights, 8000 draws" in webb.label
    assert "all 8192 sign vectors" in exact.label


def test_the_score_test_has_its_size_under_the_hypothesis() -> None:
    """p values of a true hypothesis are uniform on the grid of the sign vectors: 200 samples, 8 clusters."""
    rng = np.random.default_rng(8)
    p_values = []
    for _ in range(200):
        g = np.repeat(np.arange(8), 10)
        x = rng.normal(size=8)[g] + rng.normal(size=80)
        time = rng.exponential(size=80) * np.exp(rng.normal(size=8))[g]
        data = pd.DataFrame({"time": time, "event": 1, "x": x, "g": g})
        p_values.append(
            score_bootstrap(CoxPH().fit("Surv(time, event) ~ x", data, cluster="g").state, 256, seed=0).p_value
        )
    share = (np.array(p_values) <= 0.1).mean()
    assert 0.03 < share < 0.19


def test_terms_without_a_test_are_named() -> None:
    state = state_of("cgd_breslow")
    found = score_bootstrap(state, 100, seed=1, null=[0.0, 1e4, 0.0])
    assert list(found.failures) == ["age"]
    assert "exp()" in found.failures["age"]
    np.testing.assert_array_equal(np.isnan(found.p_value), [False, True, False])
    np.testing.assert_array_equal(np.isnan(found.statistic), [False, True, False])
    np.testing.assert_array_equal(found.p_value[[0, 2]], score_bootstrap(state, 100, seed=1).p_value[[0, 2]])


def test_bad_input_is_refused_by_name() -> None:
    state = state_of("cgd_breslow")
    codes = state.design.cluster
    cases = [
        (lambda: cluster_bootstrap(state, 0, seed=1), "n_boot: expected at least 1, got 0"),
        (lambda: cluster_bootstrap(state, 10, seed=1.5), "seed: expected an integer"),
        (lambda: cluster_bootstrap(state, 10, seed=-1), "seed: expected an integer >= 0"),
        (lambda: cluster_bootstrap(state, 10, seed=True), "seed: expected an integer"),
        (lambda: cluster_bootstrap(state, 10, seed=1, weights="baysian"), "Did you mean 'bayesian'"),
        (lambda: cluster_bootstrap(state, 10, seed=1, clusters=[1]), "expected 203 values"),
        (lambda: cluster_bootstrap(state, 10, seed=1).interval("percent"), "Did you mean 'percentile'"),
        (lambda: cluster_bootstrap(state, 10, seed=1).interval(level=2), "between 0 and 1"),
        (lambda: score_bootstrap(state, 10, seed=1, weights="normal"), "one of rademacher, webb"),
        (lambda: score_bootstrap(state, 10, seed=1, recenter="cluster"), "Did you mean 'clusters'"),
        (lambda: score_bootstrap(state, 10, seed=1, null=[0.0, 1.0]), "null: expected a finite number or 3"),
        (lambda: score_bootstrap(state, 0, seed=1), "n_boot: expected at least 1"),
        (lambda: reweighted_fits(state, np.ones((2, 12)), codes), "weights: expected 13 columns"),
        (lambda: reweighted_fits(state, -np.ones((2, 13)), codes), "finite numbers >= 0"),
        (lambda: reweighted_fits(state, np.ones(13), codes), "a matrix"),
    ]
    for call, message in cases:
        with pytest.raises(DataError, match=message):
            call()
    data = data_of("cgd_breslow")
    exact = CoxPH(ties="exact").fit("Surv(tstart, tstop, status) ~ treat", data).state
    firth = CoxPH(penalty="firth").fit("Surv(tstart, tstop, status) ~ treat", data).state
    for bad, message in ((exact, "one of breslow, efron"), (firth, "without a penalty")):
        for call in (cluster_bootstrap, score_bootstrap):
            with pytest.raises(DataError, match=message):
                call(bad, 10, seed=1, clusters=data["center"])
