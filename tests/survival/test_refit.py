"""A refit on prepared risk sets is the fit of the same model from the data."""

import numpy as np
import pandas as pd
import pytest

from coalition_exit.errors import DataError, FitError
from coalition_exit.survival.cox.cox import CoxPH


@pytest.fixture(scope="module", params=["daily", "long", "right"])
def data(request):
    random = np.random.default_rng(8)
    n = 600
    stop = random.integers(2, 30, n).astype(float)
    start = {"daily": stop - 1.0, "long": np.floor(stop * random.random(n) * 0.9), "right": np.zeros(n)}[request.param]
    frame = pd.DataFrame({"start": start, "stop": stop, "event": (random.random(n) < 0.3).astype(int)})
    for name in "abcd":
        frame[name] = random.normal(size=n)
    frame["g"], frame["h"] = random.integers(0, 9, n), random.integers(0, 7, n)
    frame["s"], frame["w"] = random.integers(0, 3, n), random.choice([0.0, 0.5, 1.0, 2.0], n)
    frame["o"] = 0.3 * random.normal(size=n)
    return frame


def agree(again, whole):
    assert again.terms == whole.terms
    error = np.sqrt(np.diag(whole.model_covariance))
    np.testing.assert_allclose((again.beta - whole.beta) / error, 0.0, atol=1e-12)
    np.testing.assert_allclose(again.covariance, whole.covariance, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(again.model_covariance, whole.model_covariance, rtol=1e-10)
    assert again.loglik == pytest.approx(whole.loglik, rel=1e-12)
    assert again.loglik_null == pytest.approx(whole.loglik_null, rel=1e-12)
    for name in ("n_obs", "n_event", "n_cluster", "n_at_risk_rows", "correction", "ties", "clustering"):
        assert getattr(again, name) == getattr(whole, name)
    np.testing.assert_allclose(
        again.residuals("martingale"), whole.residuals("martingale"), rtol=1e-9, atol=1e-10
    )  # state and estimate belong together


@pytest.mark.parametrize("ties", ["breslow", "efron"])
@pytest.mark.parametrize("correction", ["stata", "none"])
def test_weights_and_terms(data, ties, correction):
    model, form = CoxPH(ties=ties, correction=correction), "Surv(start, stop, event) ~ {} + strata(s)"
    fit = model.fit(form.format("a + b + c + d"), data, cluster="g", offset="o")
    agree(fit.refit(), fit)
    weighted = fit.refit(weights=data["w"])
    agree(weighted, model.fit(form.format("a + b + c + d"), data, cluster="g", offset="o", weights="w"))
    for terms in (["b", "c"], ["d", "a"]):
        expected = model.fit(form.format(" + ".join(terms)), data, cluster="g", offset="o", weights="w")
        agree(fit.refit(terms=terms, weights=data["w"]), expected)
        agree(weighted.refit(terms=terms), expected)
    assert weighted.refit(terms=["d", "a"]).formula == "Surv(start, stop, event) ~ d + a + strata(s)"
    assert weighted.formula == fit.formula
    quoted = CoxPH().fit("Surv(start, stop, event) ~ d + a + strata(`s + 1`)", data.rename(columns={"s": "s + 1"}))
    assert quoted.refit(terms=["a"]).formula == "Surv(start, stop, event) ~ a + strata(`s + 1`)"


def test_the_covariance_is_of_the_kind_of_the_fit(data):
    formula = "Surv(start, stop, event) ~ a + b + c"
    for cluster in (None, ["g", "h"]):
        fit = CoxPH().fit(formula, data, cluster=cluster)
        agree(fit.refit(weights=data["w"]), CoxPH().fit(formula, data, cluster=cluster, weights="w"))


def test_the_fit_and_what_was_given_are_left_alone(data):
    fit = CoxPH().fit("Surv(start, stop, event) ~ a + b", data, cluster="g")
    beta, weights = fit.beta.copy(), data["w"].to_numpy().copy()
    again = fit.refit(weights=weights, terms=["b"])
    weights[:] = 1.0
    np.testing.assert_array_equal(again.state.design.weights, data["w"])
    np.testing.assert_array_equal(fit.beta, beta)
    agree(fit.refit(), CoxPH().fit("Surv(start, stop, event) ~ a + b", data, cluster="g"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"terms": ["aa"]}, "terms: expected .*'aa'"),
        ({"terms": ["a", "a"]}, "terms: expected each term once"),
        ({"weights": [1.0]}, "weights: expected 600 values"),
        ({"weights": np.r_[np.nan, np.ones(599)]}, "weights, row 0: expected a finite number >= 0"),
        ({"weights": np.r_[1.0, -1.0, np.ones(598)]}, "weights, row 1"),
        ({"weights": np.r_[np.inf, np.ones(599)]}, "weights, row 0"),
        ({"weights": ["a"] * 600}, "weights: expected numbers"),
    ],
)
def test_bad_input_is_refused(data, options, message):
    fit = CoxPH().fit("Surv(start, stop, event) ~ a + b", data)
    with pytest.raises(DataError, match=message):
        fit.refit(**options)


def test_models_without_a_refit_are_refused(data):
    formula = "Surv(start, stop, event) ~ a + b"
    with pytest.raises(DataError, match="without penalty for a refit"):
        CoxPH(penalty="firth").fit(formula, data).refit()
    with pytest.raises(DataError, match="'breslow' or 'efron' for a refit"):
        CoxPH(ties="exact").fit(formula, data[data["event"].cumsum() < 30]).refit()
    with pytest.raises(DataError, match=r"without tt\(\) terms"):
        CoxPH().fit(formula + " + tt(a, log)", data).refit()
    fit = CoxPH().fit(formula, data, cluster="g")
    with pytest.raises(DataError, match="the covariance it was made with"):
        fit.with_vcov(fit.vcov_clusters({"g": data["g"], "h": data["h"]})).refit()
    with pytest.raises(FitError, match="no events with positive weight"):
        fit.refit(weights=1.0 - data["event"])
