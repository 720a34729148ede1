"""Wald, likelihood-ratio and score tests against R, by slow formulas, and bad hypotheses."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

from coalition_exit.errors import DataError, FitError
from coalition_exit.survival.cox.cox import CoxPH
from coalition_exit.survival.cox.hypothesis import (
    all_tests,
    events_per_variable,
    likelihood_ratio_test,
    linear_hypothesis,
    restricted_fit,
    score_test,
    wald_test,
)

REFERENCE = Path(__file__).parents[1] / "reference"
VALUES = pd.read_csv(REFERENCE / "cox_more_values.csv", keep_default_na=False, float_precision="round_trip")
MODELS = pd.read_csv(REFERENCE / "cox_models.csv", keep_default_na=False)
MODELS = MODELS[(MODELS.weights == "") & (MODELS.offset == "")].set_index("model")
TESTS = ["likelihood ratio", "score", "wald", "robust wald", "robust score"]
LUNG = "Surv(time, event) ~ age + sex + ph_ecog"


def read(name):
    return pd.read_csv(REFERENCE / "data" / f"{name}.csv", float_precision="round_trip")


def fit(name):
    spec = MODELS.loc[name]
    return CoxPH(ties=spec.ties, correction="none").fit(spec.formula, read(spec.data), cluster=spec.cluster or None)


def lung(**options):
    return CoxPH(ties="efron", correction="none").fit(LUNG, read("lung"), **options)


@pytest.mark.parametrize("name", MODELS.index)
def test_global_tests_equal_r(name):
    own = fit(name)
    table = all_tests(own.state, own.covariance).set_index("test").statistic
    r = VALUES[(VALUES.model == name) & VALUES.quantity.isin(TESTS)].set_index("quantity").value
    assert len(r) == (4 if MODELS.loc[name].cluster else 3)
    # R solves with a generalized inverse whose tolerance is about 1e-9.
    np.testing.assert_allclose(table[r.index], r, rtol=1e-8)


@pytest.mark.parametrize(
    ("name", "formula", "ties", "terms"),
    [
        ("lung", LUNG, "efron", ["age", "sex"]),
        ("heart", "Surv(start, stop, event) ~ age + year + surgery + transplant", "breslow", ["age", "transplant"]),
    ],
)
def test_nested_tests_equal_r(name, formula, ties, terms):
    state = CoxPH(ties=ties).fit(formula, read(name)).state
    wanted = linear_hypothesis(state.design.names, terms)
    r = VALUES[VALUES.model == f"{name}_nested"].set_index("quantity").value
    assert likelihood_ratio_test(state, wanted).statistic == pytest.approx(r["likelihood ratio"], rel=1e-8)
    assert score_test(state, wanted).statistic == pytest.approx(r["score"], rel=1e-8)


def test_p_values_and_names():
    own = lung(cluster="inst")
    table = all_tests(own.state, own.covariance, ["age", "sex = -0.5"])
    np.testing.assert_allclose(table.p_value, chi2.sf(table.statistic, 2))
    assert list(table.test) == ["likelihood ratio", "wald", "score", "robust wald", "robust score"]
    assert set(table.hypothesis) == {"age = 0, sex = -0.5"}
    assert set(table.df) == {2}


def test_one_coefficient_is_the_squared_z():
    own = lung(cluster="inst")
    tidy = own.tidy().set_index("term")
    for term in own.terms:
        test = wald_test(own.beta, own.covariance, linear_hypothesis(own.terms, term))
        assert test.statistic == pytest.approx(tidy.statistic[term] ** 2, rel=1e-12)
        assert test.p_value == pytest.approx(tidy.p_value[term], rel=1e-9)


def test_equality_is_the_model_with_the_sum():
    data = read("veteran")
    state = CoxPH().fit("Surv(time, status) ~ trt + prior + karno", data).state
    wanted = linear_hypothesis(state.design.names, "trt = prior")
    small = CoxPH().fit("Surv(time, status) ~ both + karno", data.assign(both=data.trt + data.prior))
    beta, at = restricted_fit(state, wanted)
    np.testing.assert_allclose(beta, [small.beta[0], small.beta[0], small.beta[1]], rtol=1e-10)
    test = likelihood_ratio_test(state, wanted)
    assert test.statistic == pytest.approx(2 * (state.evaluation.loglik - small.loglik), rel=1e-9)
    assert at.loglik == pytest.approx(small.loglik, rel=1e-13)


def test_a_value_is_the_model_with_an_offset():
    data = read("veteran")
    state = CoxPH(ties="efron").fit("Surv(time, status) ~ trt + karno", data).state
    wanted = linear_hypothesis(state.design.names, "karno", value=-0.03)
    small = CoxPH(ties="efron").fit("Surv(time, status) ~ trt", data.assign(o=-0.03 * data.karno), offset="o")
    test = likelihood_ratio_test(state, wanted)
    assert test.statistic == pytest.approx(2 * (state.evaluation.loglik - small.loglik), rel=1e-8)


def slow_robust_score(state, matrix, clusters):
    """Boos's statistic with explicit inverses, at the restricted estimate."""
    wanted = linear_hypothesis(state.design.names, matrix)
    _, at = restricted_fit(state, wanted)
    residuals = state.likelihood.score_residuals(at) * state.likelihood.weights[:, None]
    rows = clusters[state.risk_sets.rows]
    scores = np.array([residuals[rows == g].sum(axis=0) for g in np.unique(clusters)])
    inverse = np.linalg.inv(at.information)
    middle = wanted.matrix @ inverse @ scores.T @ scores @ inverse @ wanted.matrix.T
    slope = wanted.matrix @ inverse @ at.score
    return float(slope @ np.linalg.inv(middle) @ slope)


@pytest.mark.parametrize("matrix", [np.eye(3), [[1.0, 0, 0]], [[1.0, -0.1, 0], [0, 1, 1]]])
def test_robust_score_equals_the_formula(matrix):
    state = lung(cluster="inst").state
    own = score_test(state, linear_hypothesis(state.design.names, matrix), state.design.cluster, state.design.n_cluster)
    assert own.statistic == pytest.approx(slow_robust_score(state, matrix, state.design.cluster), rel=1e-8)
    assert own.test == "robust score"


def test_tests_do_not_depend_on_how_the_hypothesis_is_written():
    own = lung(cluster="inst")
    texts = all_tests(own.state, own.covariance, ["age = 2*sex", "ph_ecog - sex = 1"])
    matrix = np.array([[1.0, -2, 0], [0, -1, 1]])
    turned = np.array([[2.0, 1], [-1, 3]])
    other = all_tests(own.state, own.covariance, turned @ matrix, turned @ [0, 1])
    np.testing.assert_allclose(texts.statistic, other.statistic, rtol=1e-8)
    assert other.hypothesis[0] == "2*age + -5*sex + 1*ph_ecog = 1, -1*age + -1*sex + 3*ph_ecog = 3"


def test_asymptotic_agreement():
    data = read("mgus2")
    state = CoxPH().fit("Surv(entry, futime, death) ~ age + female + hgb", data).state
    table = all_tests(state, hypothesis="female = 0.2").statistic
    assert table.max() / table.min() < 1.1


@pytest.mark.parametrize(
    ("text", "row", "value"),
    [
        ("age", [1, 0, 0], 0),
        ("age = sex", [1, -1, 0], 0),
        ("2*age - 3.5 * sex = 1e-1 + ph_ecog", [2, -3.5, -1], 0.1),
        ("-age + 1 = 2", [-1, 0, 0], 1),
    ],
)
def test_text_is_read(text, row, value):
    wanted = linear_hypothesis(["age", "sex", "ph_ecog"], text)
    np.testing.assert_allclose(wanted.matrix, [row])
    np.testing.assert_allclose(wanted.value, [value])


def test_names_that_contain_one_another_or_symbols():
    names = ["x", "x1", "age:sex", "C(cell)[T.b]"]
    wanted = linear_hypothesis(names, ["x1 = x", "age:sex = 2*C(cell)[T.b]"])
    np.testing.assert_allclose(wanted.matrix, [[-1, 1, 0, 0], [0, 0, 1, -2]])


@pytest.mark.parametrize(
    ("hypothesis", "message"),
    [
        ("agee", "Did you mean 'age'"),
        ("age = 2*sexx", "Did you mean 'sex'"),
        ("age sex", "expected terms over"),
        ("1 = 1", "a restriction on"),
        ("age = age", "a restriction on"),
        ([[1.0, 2.0]], "a matrix with 3 columns"),
        ([[np.nan, 1.0, 0.0]], "finite numbers"),
        (["age", "2*age = 0"], "none follows from the others"),
    ],
)
def test_bad_hypotheses_are_refused(hypothesis, message):
    with pytest.raises(DataError, match=message):
        linear_hypothesis(["age", "sex", "ph_ecog"], hypothesis)


def test_too_few_clusters_are_refused():
    own = lung(cluster=read("lung").index.to_numpy() % 2)
    wanted = linear_hypothesis(own.terms)
    with pytest.raises(FitError, match="fewer clusters than restrictions"):
        wald_test(own.beta, own.covariance, wanted)
    with pytest.raises(FitError, match="fewer clusters than restrictions"):
        score_test(own.state, wanted, own.state.design.cluster, 2)


def test_penalized_fits_give_the_tests_they_have():
    data = read("lung")
    ridge = CoxPH(ridge=1.0).fit(LUNG, data)
    assert list(all_tests(ridge.state).test) == ["wald"]
    with pytest.raises(DataError, match="no chi-squared distribution"):
        likelihood_ratio_test(ridge.state, linear_hypothesis(ridge.terms))
    firth = CoxPH(penalty="firth").fit(LUNG, data)
    assert list(all_tests(firth.state).test) == ["penalized likelihood ratio", "wald"]
    with pytest.raises(DataError, match="after penalty='firth'"):
        score_test(firth.state, linear_hypothesis(firth.terms))


def test_exact_ties_have_all_three_tests():
    state = CoxPH(ties="exact").fit("Surv(month, event) ~ age + sex", read("lung_month")).state
    table = all_tests(state, hypothesis="sex").set_index("test").statistic
    small = CoxPH(ties="exact").fit("Surv(month, event) ~ age", read("lung_month"))
    assert table["likelihood ratio"] == pytest.approx(2 * (state.evaluation.loglik - small.loglik), rel=1e-8)
    assert set(table.index) == {"likelihood ratio", "wald", "score"}
    assert table.max() / table.min() < 1.2


def test_events_per_variable():
    own = lung()
    assert events_per_variable(own.state) == own.n_event / 3
    half = lung(weights=np.where(read("lung").event.cumsum() % 2, 1.0, 0.0))
    assert events_per_variable(half.state) == (half.state.likelihood.event_weight > 0).sum() / 3
    assert events_per_variable(half.state) < events_per_variable(own.state)
