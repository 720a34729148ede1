"""Sandwiches over clusters: against R, by definition, and under changes that must not matter."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, t

from coalition_exit.errors import DataError, FitError
from coalition_exit.survival import CoxPH
from coalition_exit.survival.inference.vcov import (
    cluster_vcov,
    correction_factor,
    robust_vcov,
    t_table,
)
from vcov_reference import (
    assert_matrix,
    clusters_of,
    data_of,
    fit_of,
    models_with,
    quantities,
    r_matrix,
    r_values,
    random_data,
    state_of,
)


def _ways(model: str, name: str) -> dict[str, np.ndarray]:
    row = np.arange(len(data_of(model)))
    own = clusters_of(model)
    return {
        "two": {"a": own, "b": row % 7},
        "three": {"a": own, "b": row % 7, "c": row // 20},
        "few": {"a": row % 2, "b": row // 60},
    }[name]


@pytest.mark.parametrize("model", models_with("multiway"))
def test_multiway_equals_the_sum_and_the_eigenvalue_fix_in_r(model: str) -> None:
    fixed = 0
    for quantity in quantities(model, "multiway"):
        _, name, correction = quantity.split(":")
        smallest = r_values(model, f"eigen:{name}:{correction}")["value"].item()
        found = cluster_vcov(state_of(model), _ways(model, name), correction)
        assert found.adjusted == (smallest < 0)
        if found.adjusted:
            fixed += 1
            np.testing.assert_allclose(found.negative.min(), smallest, rtol=1e-8)
            assert "negative eigenvalue(s) set to 0" in found.label
            with pytest.raises(FitError, match="negative eigenvalues"):
                cluster_vcov(state_of(model), _ways(model, name), correction, psd="error")
        else:
            assert_matrix(found.vcov, r_matrix(model, quantity))
        # The fix leaves a matrix without negative eigenvalues as it is.
        assert_matrix(found.vcov, r_matrix(model, f"fixed:{name}:{correction}"))
        assert np.linalg.eigvalsh(found.vcov).min() > -1e-12 * np.abs(found.vcov).max()
    assert fixed < len(quantities(model, "multiway")) or model.startswith("cgd")


@pytest.mark.parametrize("model", models_with("robust"))
@pytest.mark.parametrize("correction", ["stata", "none"])
def test_robust_equals_subjects_as_clusters_in_r(model: str, correction: str) -> None:
    assert_matrix(robust_vcov(state_of(model), correction).vcov, r_matrix(model, f"robust:{correction}"))


@pytest.mark.parametrize("model", ["cgd_efron", "lung_efron", "bladder_strata"])
def test_one_way_is_the_fits_own(model: str) -> None:
    fit, state = fit_of(model), state_of(model)
    for found in (cluster_vcov(state), cluster_vcov(state, {"own": clusters_of(model)})):
        np.testing.assert_allclose(found.vcov, fit.covariance, rtol=1e-13)
        assert found.n_cluster == (fit.n_cluster,)
        assert found.df == fit.n_cluster - 1
    assert cluster_vcov(state, {"own": clusters_of(model)}).label == f"clusters own ({fit.n_cluster}), correction stata"


def test_nested_ways_are_the_outer_one_without_correction() -> None:
    state, data = state_of("cgd_efron"), data_of("cgd_efron")
    both = cluster_vcov(state, {"center": data["center"], "id": data["id"]}, "none")
    np.testing.assert_allclose(both.vcov, cluster_vcov(state, {"center": data["center"]}, "none").vcov, rtol=1e-12)
    assert both.n_component["center x id"] == data["id"].nunique()


def test_min_uses_the_fewest_clusters_everywhere() -> None:
    state, ways = state_of("bladder_strata"), _ways("bladder_strata", "two")
    plain, least = cluster_vcov(state, ways, "none"), cluster_vcov(state, ways, "min")
    np.testing.assert_allclose(least.vcov, plain.vcov * 7 / 6, rtol=1e-12)
    assert least.df == 6


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), ties=st.sampled_from(["breslow", "efron"]))
def test_sums_over_pairs_of_rows_that_share_a_cluster(seed: int, ties: str) -> None:
    data = random_data(seed)
    fit = CoxPH(ties=ties).fit("Surv(start, stop, event) ~ x0 + x1 + strata(s)", data, weights="w", offset="o")
    state = fit.state
    rows = state.likelihood.score_residuals(state.evaluation) * state.likelihood.weights[:, None] @ state.inverse
    at = state.risk_sets.rows
    a, b = data["g"].to_numpy()[at], (np.arange(len(data)) // 11)[at]
    related = (a[:, None] == a) | (b[:, None] == b)
    slow = rows.T @ (related @ rows)
    ways = {"a": data["g"], "b": np.arange(len(data)) // 11}
    values, vectors = np.linalg.eigh(slow)
    if (values <= 0).all():
        with pytest.raises(FitError, match="the variance is not positive: x0"):
            cluster_vcov(state, ways, "none")
        return
    found = cluster_vcov(state, ways, "none")
    assert found.adjusted == (values.min() < 0)
    fixed = (vectors * np.maximum(values, 0)) @ vectors.T
    np.testing.assert_allclose(found.vcov, fixed, atol=1e-11 * np.abs(slow).max())


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_splitting_episodes_changes_nothing(ties: str) -> None:
    data = data_of("cgd_efron").copy()
    data["row"] = np.arange(len(data))
    middle = (data["tstart"] + data["tstop"]) // 2
    cut = middle > data["tstart"]
    head = data[cut].assign(tstop=middle[cut], status=0)
    tail = pd.concat([data[cut].assign(tstart=middle[cut]), data[~cut]])
    split = pd.concat([head, tail], ignore_index=True)
    found = []
    for frame in (data, split):
        fit = CoxPH(ties=ties).fit("Surv(tstart, tstop, status) ~ treat + age", frame, id="id")
        ways = {"center": frame["center"], "hospital": frame["hos_cat"], "row": frame["row"]}
        found.append((robust_vcov(fit.state), cluster_vcov(fit.state, ways)))
    np.testing.assert_allclose(found[0][0].vcov, found[1][0].vcov, rtol=1e-10)
    np.testing.assert_allclose(found[0][1].vcov, found[1][1].vcov, rtol=1e-10)
    assert found[0][1].n_component == found[1][1].n_component


def test_rows_split_for_time_terms_belong_to_their_row() -> None:
    data = data_of("veteran_wide")
    fit = CoxPH().fit("Surv(time, status) ~ karno + age + tt(karno, log)", data)
    by_hand = CoxPH().fit("Surv(time, status) ~ karno + age + tt(karno, log)", data, cluster=np.arange(len(data)))
    np.testing.assert_allclose(robust_vcov(fit.state).vcov, by_hand.covariance, rtol=1e-12)
    assert robust_vcov(fit.state).n_cluster == (len(data),)
    by_cell = CoxPH().fit("Surv(time, status) ~ karno + age + tt(karno, log)", data, cluster="cell")
    np.testing.assert_allclose(cluster_vcov(fit.state, {"cell": data["cell"]}).vcov, by_cell.covariance, rtol=1e-12)


def test_factors() -> None:
    assert correction_factor("stata", 44) == 44 / 43
    assert correction_factor("none", 44) == 1.0


def test_t_table_is_t_and_normal_where_df_is_infinite() -> None:
    estimate, error = np.array([0.5, -1.0]), np.array([0.25, 0.4])
    found = t_table(["a", "b"], estimate, error, [5.5, np.inf], level=0.9)
    reach = np.array([t.ppf(0.95, 5.5), norm.ppf(0.95)]) * error
    np.testing.assert_allclose(found["conf_low"], estimate - reach, rtol=1e-12)
    np.testing.assert_allclose(found["conf_high"], estimate + reach, rtol=1e-12)
    np.testing.assert_allclose(found["p_value"], [2 * t.sf(2.0, 5.5), 2 * norm.sf(2.5)], rtol=1e-10)
    ratio = t_table(["a", "b"], estimate, error, 5.5, exponentiate=True)
    np.testing.assert_allclose(ratio["estimate"], np.exp(estimate))
    np.testing.assert_allclose(ratio["std_error"], np.exp(estimate) * error)
    assert list(found.columns[:-1]) == [
        "term", "estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high",
    ]  # fmt: skip


def test_bad_input_is_refused_by_name() -> None:
    state, data = state_of("cgd_efron"), data_of("cgd_efron")
    missing = data["center"].astype(float).where(data.index != 5)
    cases = [
        (lambda: cluster_vcov(state, {"a": data["center"]}, "stat"), "Did you mean 'stata'"),
        (lambda: cluster_vcov(state, {"a": data["center"]}, psd="fixed"), "Did you mean 'fix'"),
        (lambda: cluster_vcov(state, {"a": data["center"].to_numpy()[:10]}), "cluster 'a': expected 203 values"),
        (lambda: cluster_vcov(state, {"a": data["center"][::-1]}), "cluster 'a': expected a series with the index"),
        (lambda: cluster_vcov(state, {"a": missing}), "cluster 'a', row 5 .1 such rows."),
        (lambda: cluster_vcov(state, {"a": np.ones(len(data))}), "at least two clusters"),
        (lambda: cluster_vcov(state, {}), "at least one way of clustering"),
        (lambda: robust_vcov(state, "min"), "one of stata, none"),
        (lambda: t_table(["a"], np.ones(1), np.ones(1), 3, level=95), "level: expected a number between 0 and 1"),
        (lambda: correction_factor("stata", 1), "at least two clusters"),
    ]
    for call, message in cases:
        with pytest.raises(DataError, match=message):
            call()
    without = CoxPH().fit("Surv(tstart, tstop, status) ~ treat", data).state
    with pytest.raises(DataError, match="fitted without clusters"):
        cluster_vcov(without)


def test_a_variance_that_is_not_positive_is_no_number() -> None:
    data = pd.DataFrame({"time": [1.0, 2.0, 3.0, 4.0], "event": 1, "x": [0.0, 1.0, 1.0, 0.0]})
    state = CoxPH().fit("Surv(time, event) ~ x", data).state
    u = state.likelihood.score_residuals(state.evaluation)[np.argsort(state.risk_sets.rows), 0]
    # Either way each cluster has a large positive and a large negative score; a cell has one row.
    a, b = np.empty(4, dtype=int), np.empty(4, dtype=int)
    a[np.argsort(u)], b[np.argsort(u)] = [0, 1, 0, 1], [0, 1, 1, 0]
    squares = [sum(u[way == k].sum() ** 2 for k in (0, 1)) for way in (a, b)]
    assert sum(squares) < (u**2).sum()
    for psd, message in (("fix", "the variance is not positive: x"), ("error", "negative eigenvalues")):
        with pytest.raises(FitError, match=message) as caught:
            cluster_vcov(state, {"a": a, "b": b}, "none", psd)
        assert caught.value.status == "not_positive"
