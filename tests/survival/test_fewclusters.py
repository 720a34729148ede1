"""Bias-reduced sandwiches and the jackknife: against R, by definition, in closed form, invariances."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from coalition_exit.errors import DataError, FitError
from coalition_exit.survival import CoxPH
from coalition_exit.survival.cox.state import CoxState
from coalition_exit.survival.inference.fewclusters import DF, METHODS, cluster_terms, few_clusters
from coalition_exit.survival.inference.jackknife import jackknife
from vcov_reference import (
    assert_matrix,
    clusters_of,
    data_of,
    fit_of,
    models_with,
    quantities,
    r_matrix,
    r_values,
    r_vector,
    random_data,
    state_of,
)


@pytest.mark.parametrize("model", models_with("vcov"))
def test_covariances_equal_r(model: str) -> None:
    for quantity in quantities(model, "vcov"):
        _, leverage, method = quantity.split(":")
        found = few_clusters(state_of(model), method, clusters=clusters_of(model), df="clusters-1", leverage=leverage)
        assert_matrix(found.vcov, r_matrix(model, quantity), rtol=1e-9)
        assert (found.df == found.n_cluster - 1).all()


@pytest.mark.parametrize("model", models_with("df"))
def test_degrees_of_freedom_equal_the_large_matrices_in_r(model: str) -> None:
    for quantity in quantities(model, "df"):
        _, leverage, method, kind = quantity.split(":")
        found = few_clusters(state_of(model), method, clusters=clusters_of(model), df=kind, leverage=leverage)
        np.testing.assert_allclose(found.df, r_vector(model, quantity), rtol=1e-8)


@pytest.mark.parametrize("model", models_with("score"))
def test_scores_equal_r(model: str) -> None:
    terms = cluster_terms(state_of(model), clusters_of(model))
    for label, score in zip(terms.labels, terms.score, strict=True):
        # A sum of large positive and negative residuals: its rounding is absolute.
        np.testing.assert_allclose(score, r_vector(model, f"score:{label}"), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("model", models_with("omega"))
def test_informations_of_clusters_equal_r(model: str) -> None:
    for leverage in ("derivative", "wang"):
        terms = cluster_terms(state_of(model), clusters_of(model), leverage)
        size = np.sqrt(1 / np.diag(terms.inverse))
        for label, found in zip(terms.labels, terms.information, strict=True):
            expected = r_matrix(model, f"omega:{leverage}:{label}")
            np.testing.assert_allclose(found / np.outer(size, size), expected / np.outer(size, size), atol=1e-9)


def _numerical(state: CoxState, clusters: np.ndarray, n_cluster: int) -> np.ndarray:
    p = len(state.beta)
    total = np.empty((n_cluster, p, p))
    for j in range(p):
        step = np.zeros(p)
        step[j] = 1e-3 * np.sqrt(state.inverse[j, j])

        def slope(k: int, step: np.ndarray = step) -> np.ndarray:
            ends = [
                state.likelihood.cluster_scores(
                    state.likelihood.evaluate(state.beta + sign * k * step), clusters, n_cluster
                )
                for sign in (1, -1)
            ]
            return (ends[0] - ends[1]) / (2 * k * step.max())

        total[:, :, j] = -(4 * slope(1) - slope(2)) / 3
    return total


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), ties=st.sampled_from(["breslow", "efron"]), weighted=st.booleans())
def test_information_is_the_derivative_of_the_clusters_score(seed: int, ties: str, weighted: bool) -> None:
    data = random_data(seed)
    data.loc[0, "w"] = 0.0
    options = {"weights": "w", "offset": "o"} if weighted else {}
    formula = "Surv(start, stop, event) ~ x0 + x1" + (" + strata(s)" if seed % 2 else "")
    state = CoxPH(ties=ties).fit(formula, data, cluster="g", **options).state
    terms = cluster_terms(state)
    slow = _numerical(state, state.design.cluster[state.risk_sets.rows], 7)
    size = np.sqrt(1 / np.diag(state.inverse))
    np.testing.assert_allclose(terms.information / np.outer(size, size), slow / np.outer(size, size), atol=1e-7)
    for leverage in ("derivative", "wang"):
        total = cluster_terms(state, leverage=leverage).information.sum(axis=0)
        np.testing.assert_allclose(total @ state.inverse, np.eye(2), atol=1e-9)


def test_one_covariate_in_closed_form() -> None:
    """With p = 1 and h_g = Omega_g V every method is a sum of weights times squared scores."""
    state = CoxPH().fit("Surv(time, status) ~ age", data_of("veteran_wide"), cluster="cell").state
    terms = cluster_terms(state)
    u, v = terms.score[:, 0], state.inverse.item()
    h = terms.information[:, 0, 0] * v
    assert h.max() < 0.75
    # As a reading of the formulas in the docstring, n = 137 and G = 4.
    expected = {
        "lin_wei": (u**2).sum() * v**2,
        "stata": 4 / 3 * (u**2).sum() * v**2,
        "fay_graubard": (u**2 / (1 - h)).sum() * v**2,
        "kauermann_carroll": (u**2 / (1 - h)).sum() * v**2,
        "kauermann_carroll_wang": (u**2 / (1 - h)).sum() * v**2,
        "mancl_derouen": (u**2 / (1 - h) ** 2).sum() * v**2,
        "morel": 4 / 3 * (u**2).sum() * v**2 + 1 / 3 * max(1.0, 4 / 3 * (u**2).sum() * v) * v,
    }
    assert set(expected) == set(METHODS)
    for method, value in expected.items():
        np.testing.assert_allclose(few_clusters(state, method, df="clusters-1").vcov.item(), value, rtol=1e-12)


def test_equal_clusters_have_the_t_test_of_their_number() -> None:
    """Equal informations and d-tilde: Fay and Graubard's exact case, F with G - 1 degrees of freedom.

    Strata of identical two-row sets, one a cluster, have the same information whatever their score.
    """
    rng = np.random.default_rng(3)
    strata = np.repeat(np.arange(60), 2)
    data = pd.DataFrame({"time": np.tile([1.0, 2.0], 60), "event": np.tile([1, 0], 60), "s": strata, "g": strata // 10})
    first = rng.integers(0, 2, 60)
    data["x"] = np.column_stack([first, 1 - first]).reshape(-1).astype(float)
    state = CoxPH().fit("Surv(time, event) ~ x + strata(s)", data, cluster="g").state
    terms = cluster_terms(state)
    np.testing.assert_allclose(terms.leverage, 1 / 6, rtol=1e-10)
    biased, corrected = (few_clusters(state, method, df="fay_graubard") for method in ("lin_wei", "fay_graubard"))
    np.testing.assert_allclose([biased.df, corrected.df], 5.0, rtol=1e-9)
    np.testing.assert_allclose(corrected.vcov, biased.vcov * 6 / 5, rtol=1e-10)


@pytest.mark.parametrize("ties", ["breslow", "efron"])
@pytest.mark.parametrize("method", METHODS)
def test_splitting_and_shifting_change_nothing(ties: str, method: str) -> None:
    data = data_of("cgd_efron")
    middle = (data["tstart"] + data["tstop"]) // 2
    cut = middle > data["tstart"]
    pieces = [data[cut].assign(tstop=middle[cut], status=0), data[cut].assign(tstart=middle[cut]), data[~cut]]
    split = pd.concat(pieces, ignore_index=True).assign(age=lambda d: d["age"] + 100)
    found = [
        few_clusters(
            CoxPH(ties=ties).fit("Surv(tstart, tstop, status) ~ treat + age", d, cluster="center", id="id").state,
            method,
        )
        for d in (data, split)
    ]
    np.testing.assert_allclose(found[0].vcov, found[1].vcov, rtol=1e-9)
    np.testing.assert_allclose(found[0].df, found[1].df, rtol=1e-8)


def test_wangs_leverage_depends_on_the_origin_of_a_covariate() -> None:
    """The reason for which it is not the default."""
    data = data_of("veteran_wide")
    errors = [
        few_clusters(
            CoxPH().fit("Surv(time, status) ~ age + karno", d, cluster="cell").state,
            "mancl_derouen",
            df="normal",
            leverage="wang",
        ).std_error
        for d in (data, data.assign(age=data["age"] - 60))
    ]
    assert np.abs(errors[0] / errors[1] - 1).max() > 0.01


def test_a_weight_of_two_is_a_row_twice() -> None:
    data = data_of("cgd_breslow").assign(twice=lambda d: 1.0 + (d["id"] % 3 == 0))
    double = pd.concat([data, data[data["twice"] == 2]], ignore_index=True)
    formula = "Surv(tstart, tstop, status) ~ treat + age"
    a = CoxPH().fit(formula, data, cluster="center", weights="twice").state
    b = CoxPH().fit(formula, double, cluster="center").state
    for method in METHODS:
        if method != "morel":  # it counts subjects
            one, two = few_clusters(a, method), few_clusters(b, method)
            np.testing.assert_allclose(one.vcov, two.vcov, rtol=1e-9)
            np.testing.assert_allclose(one.df, two.df, rtol=1e-9)
    np.testing.assert_allclose(jackknife(a).coef, jackknife(b).coef, rtol=1e-9)


def test_the_bound_cuts_large_leverages_and_is_counted() -> None:
    state = state_of("cgd_efron")
    loose, tight = few_clusters(state), few_clusters(state, bound=0.05)
    assert loose.n_bounded == 0
    share = cluster_terms(state).leverage
    assert tight.n_bounded == (share > 0.05).sum() > 0
    scaled = cluster_terms(state).score * (1 - np.minimum(0.05, share)) ** -0.5 @ state.inverse
    np.testing.assert_allclose(tight.vcov, scaled.T @ scaled, rtol=1e-12)
    assert loose.max_leverage == pytest.approx(share.max())


def test_tables_state_their_conventions() -> None:
    state = state_of("lung_efron")
    for df in DF:
        found = few_clusters(state, "lin_wei", df=df)
        table = found.tidy()
        np.testing.assert_allclose(table["std_error"], np.sqrt(np.diag(found.vcov)))
        np.testing.assert_array_equal(table["df"], found.df)
        assert df in found.label
        assert "lin_wei" in found.label
    assert (few_clusters(state, "lin_wei", df="clusters-p").df == 15).all()
    assert "Fay and Graubard (2001)" in few_clusters(state).citation
    np.testing.assert_allclose(
        few_clusters(state).tidy(exponentiate=True)["conf_low"], np.exp(few_clusters(state).tidy()["conf_low"])
    )


@pytest.mark.parametrize("model", models_with("leave"))
def test_leaving_clusters_out_equals_refits_in_r(model: str) -> None:
    found = jackknife(state_of(model), clusters=clusters_of(model))
    for label, coef in zip(found.labels, found.coef, strict=True):
        np.testing.assert_allclose(coef, r_vector(model, f"leave:{label}"), rtol=1e-8, atol=1e-10)
    for center in ("estimate", "mean"):
        assert_matrix(found.vcov(center), r_matrix(model, f"jackknife:{center}"))
    np.testing.assert_allclose(found.influence.to_numpy(), found.coef - found.estimate)
    table = found.tidy("mean")
    np.testing.assert_allclose(table["std_error"], np.sqrt(np.diag(found.vcov("mean"))))
    assert (table["df"] == len(found.coef) - 1).all()


@pytest.mark.parametrize("model", ["cgd_efron", "lung_efron", "bladder_strata"])
def test_the_one_step_jackknife_is_the_sandwich(model: str) -> None:
    state = state_of(model)
    found = jackknife(state, kind="one_step")
    count = len(found.coef)
    sandwich = few_clusters(state, "lin_wei").vcov
    np.testing.assert_allclose(found.vcov() * count / (count - 1), sandwich, rtol=1e-12)
    # The deviations sum to zero at the maximum, so both centres agree.
    assert_matrix(found.vcov("mean"), found.vcov(), rtol=1e-7)


def test_clusters_without_which_there_is_no_estimate_are_named() -> None:
    # All events of those on steroids are in center 12.
    state, data = state_of("cgd_efron"), data_of("cgd_efron")
    assert set(data.query("steroids == 1 and status == 1")["center"]) == {12}
    found = jackknife(state, clusters=data["center"])
    assert found.failures == {"12": "monotone"}
    assert np.isnan(found.coef[list(found.labels).index(12)]).all()
    assert np.isfinite(np.delete(found.coef, list(found.labels).index(12), axis=0)).all()
    for call in (found.vcov, found.tidy):
        with pytest.raises(FitError, match=r"no estimate without cluster 12 \(monotone\)"):
            call()


def _one_cluster_alone() -> CoxState:
    """Only cluster 0 has both values of z, so only it tells z's coefficient."""
    rng = np.random.default_rng(0)
    n = 60
    data = pd.DataFrame({"g": np.arange(n) % 5, "x": rng.normal(size=n), "event": 1})
    data["time"] = np.arange(n) // 5 + 1.0
    data["z"] = np.where(data["g"] == 0, rng.integers(0, 2, n), 0).astype(float)
    return CoxPH().fit("Surv(time, event) ~ x + z + strata(g)", data, cluster="g").state


def test_a_cluster_that_alone_identifies_a_coefficient_is_named() -> None:
    state = _one_cluster_alone()
    for method in ("kauermann_carroll", "kauermann_carroll_wang", "mancl_derouen"):
        with pytest.raises(FitError, match="cluster 0: ") as caught:
            few_clusters(state, method)
        assert caught.value.status == "not_positive"
    with pytest.raises(FitError, match="cluster 0: the information of the others is singular"):
        few_clusters(state)
    assert few_clusters(state, df="clusters-1").n_bounded == 1
    assert np.isfinite(few_clusters(state, df="fay_graubard_hat").df).all()
    assert jackknife(state).failures == {"0": "no_variation"}


def test_bad_input_is_refused_by_name() -> None:
    state = state_of("cgd_efron")
    few = CoxPH().fit("Surv(time, status) ~ karno + age + trt + diagtime", data_of("veteran_wide"), cluster="cell")
    cases = [
        (lambda: few_clusters(state, "fay_grobard"), "Did you mean 'fay_graubard'"),
        (lambda: few_clusters(state, df="clusters-2"), "df: expected one of clusters-1"),
        (lambda: few_clusters(state, "morel", df="fay_graubard"), "'normal' with method 'morel'"),
        (lambda: few_clusters(state, bound=1.0), "bound: expected a number between 0 and 1"),
        (lambda: few_clusters(state, leverage="wong"), "Did you mean 'wang'"),
        (lambda: few_clusters(state, "kauermann_carroll", leverage="wang"), "kauermann_carroll_wang"),
        (lambda: few_clusters(state, clusters=[1, 2]), "expected 203 values"),
        (lambda: few_clusters(few.state, "morel"), "more clusters than the 4 coefficients with 'morel', got 4"),
        (lambda: few_clusters(few.state, "stata", df="clusters-p"), "more clusters than the 4 coefficients"),
        (lambda: jackknife(state, kind="exakt"), "Did you mean 'exact'"),
        (lambda: jackknife(state, kind="one_step").vcov("median"), "one of estimate, mean"),
    ]
    for call, message in cases:
        with pytest.raises(DataError, match=message):
            call()
    data = data_of("cgd_efron")
    exact = CoxPH(ties="exact").fit("Surv(tstart, tstop, status) ~ treat", data).state
    ridge = CoxPH(ridge=1.0).fit("Surv(tstart, tstop, status) ~ treat", data).state
    empty = CoxPH().fit("Surv(tstart, tstop, status) ~ 1", data).state
    for bad, message in ((exact, "one of breslow, efron"), (ridge, "without a penalty"), (empty, "one covariate")):
        for call in (few_clusters, jackknife):
            with pytest.raises(DataError, match=message):
                call(bad, clusters=data["center"])


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), ties=st.sampled_from(["breslow", "efron"]))
def test_jackknife_equals_refits(seed: int, ties: str) -> None:
    data = random_data(seed)
    model, formula = CoxPH(ties=ties), "Surv(start, stop, event) ~ x0 + x1 + strata(s)"
    try:
        state = model.fit(formula, data, weights="w", offset="o").state
    except FitError:
        reject()
    found = jackknife(state, clusters=data["g"])
    for label, coef, status in zip(found.labels, found.coef, found.status, strict=True):
        if status == "converged":
            again = model.fit(formula, data[data["g"] != label], weights="w", offset="o")
            np.testing.assert_allclose(coef, again.beta, rtol=1e-8, atol=1e-9)
            continue
        with pytest.raises(FitError) as caught:
            model.fit(formula, data[data["g"] != label], weights="w", offset="o")
        assert caught.value.status == status


def test_r_has_every_value_the_tests_read() -> None:
    for model in models_with("coef"):
        np.testing.assert_allclose(fit_of(model).beta, r_vector(model, "coef"), rtol=1e-9)
    assert len(r_values("cgd_efron", "coef")) == 4
