"""tt() terms on rows that are split in blocks of event times: the same numbers as with all rows at once."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest

from coalition_exit.errors import DataError, FitError
from coalition_exit.survival import CoxPH
from coalition_exit.survival.cox import splitlikelihood
from coalition_exit.survival.cox.splitlikelihood import SplitLikelihood
from coverage_reference import data_of

MODELS = {
    "veteran": ("Surv(time, status) ~ trt + karno + strata(cell) + tt(karno, identity)", {"cluster": "trt"}),
    "pbcseq": ("Surv(tstart, tstop, death) ~ logbili + age + edema + tt(logbili, log)", {"cluster": "id"}),
    "lung": (
        "Surv(time, event) ~ age + sex + tt(age, sqrt) + tt(sex, late)",
        {"weights": "case", "cluster": "inst", "offset": "shift", "tt": {"late": lambda x, t: x * (t > 200)}},
    ),
    "cgd": ("Surv(tstart, tstop, status) ~ treat + age + tt(treat, sqrt) + strata(hos_cat)", {"cluster": "center"}),
}


def close(one: object, two: object, rtol: float) -> None:
    one, two = np.asarray(one, dtype=float), np.asarray(two, dtype=float)
    scale = np.sqrt(np.outer(np.diag(two), np.diag(two))) if one.ndim == 2 and one.shape[0] == one.shape[1] else 1.0
    np.testing.assert_allclose(one / scale, two / scale, rtol=rtol, atol=rtol if np.ndim(scale) else 0.0)


@pytest.mark.parametrize("block", [1, 300, 1 << 19])
@pytest.mark.parametrize("ties", ["breslow", "efron"])
@pytest.mark.parametrize("name", MODELS)
def test_equals_all_rows_at_once(name: str, ties: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SplitLikelihood.__init__, "__defaults__", (block,))
    formula, options = MODELS[name]
    data = data_of(name)
    whole = CoxPH(ties=ties).fit(formula, data, **options)
    blocks = CoxPH(ties=ties, most_split_values=0).fit(formula, data, **options)
    assert isinstance(blocks.state.likelihood, SplitLikelihood)
    assert blocks.terms == whole.terms
    assert blocks.state.likelihood.n_split == len(whole.state.design.surv)
    close(blocks.beta, whole.beta, 1e-11)
    close(blocks.covariance, whole.covariance, 1e-9)
    close(blocks.model_covariance, whole.model_covariance, 1e-10)
    for attribute in ("loglik", "loglik_null"):
        assert getattr(blocks, attribute) == pytest.approx(getattr(whole, attribute), rel=1e-12)
    for attribute in ("n_obs", "n_subject", "n_event", "n_cluster", "n_at_risk_rows", "n_iter"):
        assert getattr(blocks, attribute) == getattr(whole, attribute)
    columns = ["hazard", "cumulative_hazard", "std_error"]
    close(blocks.baseline().table[columns].to_numpy(), whole.baseline().table[columns].to_numpy(), 1e-10)


def test_tests_and_profiles_are_the_same() -> None:
    formula, options = MODELS["pbcseq"]
    whole, blocks = (CoxPH(most_split_values=most).fit(formula, data_of("pbcseq"), **options) for most in (10**9, 0))
    close(blocks.tests()["statistic"], whole.tests()["statistic"], 1e-8)
    term = whole.terms[-1]
    bounds = ["statistic", "conf_low", "conf_high"]
    close(
        blocks.profile_intervals(terms=[term])[bounds].to_numpy(),
        whole.profile_intervals(terms=[term])[bounds].to_numpy(),
        1e-8,
    )
    ways = {"id": data_of("pbcseq")["id"], "age": data_of("pbcseq")["age"].round()}
    close(blocks.vcov_clusters(ways).vcov, whole.vcov_clusters(ways).vcov, 1e-8)
    close(blocks.vcov_robust().vcov, whole.vcov_robust().vcov, 1e-8)


def test_score_and_information_are_derivatives() -> None:
    formula, options = MODELS["lung"]
    likelihood = CoxPH(ties="efron", most_split_values=0).fit(formula, data_of("lung"), **options).state.likelihood
    beta = np.array([0.01, -0.2, 0.001, 0.1])
    at = likelihood.evaluate(beta)
    for j in range(4):
        step = 1e-5 / max(np.sqrt(at.information[j, j]), 1.0) * np.eye(4)[j]
        up, down = likelihood.evaluate(beta + step), likelihood.evaluate(beta - step)
        slope = (up.loglik - down.loglik) / (2 * step[j])
        assert at.score[j] == pytest.approx(slope, rel=1e-4, abs=1e-4 * np.sqrt(at.information[j, j]))
        bend = -(up.score - down.score) / (2 * step[j])
        scale = np.sqrt(np.diag(at.information) * at.information[j, j])
        np.testing.assert_allclose(bend / scale, at.information[j] / scale, atol=1e-6)


def test_what_needs_every_split_row_is_refused() -> None:
    formula, options = MODELS["cgd"]
    fit = CoxPH(most_split_values=0).fit(formula, data_of("cgd"), **options)
    for call in (fit.residuals, lambda: fit.residuals("score"), fit.jackknife, fit.few_clusters, fit.leave_one_out):
        with pytest.raises(DataError, match=r"fewer rows and event times .*Group the times into periods"):
            call()
    with pytest.raises(DataError, match="ridge_scale: expected False"):
        CoxPH(most_split_values=0, ridge=1).fit(formula, data_of("cgd"))


def test_a_ridge_of_the_covariates_as_they_are() -> None:
    formula, options = MODELS["cgd"]
    fits = [
        CoxPH(ridge=2, ridge_scale=False, most_split_values=m).fit(formula, data_of("cgd"), **options)
        for m in (9**9, 0)
    ]
    close(fits[1].beta, fits[0].beta, 1e-10)
    close(fits[1].covariance, fits[0].covariance, 1e-9)


def test_bounds_of_memory() -> None:
    random = np.random.default_rng(1)
    n = 2000
    data = pd.DataFrame({"time": random.permutation(n) + 1.0, "event": 1, "x": random.normal(size=n)})
    fit = CoxPH(most_split_values=10_000).fit("Surv(time, event) ~ x + tt(x, log)", data)
    likelihood = fit.state.likelihood
    assert likelihood.n_split == n * (n + 1) // 2
    likelihood = SplitLikelihood(
        likelihood.risk_sets, likelihood._x, likelihood._terms, None, None, "breslow", block_values=20_000
    )
    sizes = [block.x.size for block in likelihood.blocks()]
    assert max(sizes) <= 20_000
    assert sum(sizes) == 2 * likelihood.n_split
    whole = CoxPH(most_split_values=10**9).fit("Surv(time, event) ~ x + tt(x, log)", data)
    close(fit.beta, whole.beta, 1e-11)
    close(fit.covariance, whole.covariance, 1e-10)


def test_a_monotone_likelihood_is_named() -> None:
    data = pd.DataFrame({"time": [1.0, 2, 3, 4, 5, 6], "event": 1, "x": [6.0, 5, 4, 3, 2, 1], "z": [0, 1, 1, 0, 1, 0]})
    formula = "Surv(time, event) ~ z + tt(x, sqrt)"
    messages = []
    for most in (10**9, 0):
        with pytest.raises(FitError, match="monotone") as caught:
            CoxPH(most_split_values=most).fit(formula, data)
        assert caught.value.status == "monotone"
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    collinear = "Surv(time, event) ~ z + tt(z, two)"
    for most in (10**9, 0):
        with pytest.raises(FitError, match=r"tt\(z, two\) is a linear combination of z"):
            CoxPH(most_split_values=most).fit(collinear, data, tt={"two": lambda t: 2.0})


@pytest.mark.parametrize("most", [10**9, 0])
def test_functions_that_look_at_other_rows_are_refused(most: int) -> None:
    formula = "Surv(time, status) ~ trt + tt(karno, f)"
    with pytest.raises(DataError, match=r"a function f\(x, t\) of each covariate value and time by itself"):
        CoxPH(most_split_values=most).fit(formula, data_of("veteran"), tt={"f": lambda x, t: (x - x.mean()) * t})
    with pytest.raises(DataError, match=r"row \d+, event time 1: expected a finite number"):
        CoxPH(most_split_values=most).fit(formula, data_of("veteran"), tt={"f": lambda x, t: x / (t - 1)})


def test_event_times_without_weight() -> None:
    data = data_of("veteran").assign(w=lambda d: np.where(d.index % 7 == 0, 0.0, 1.5))
    formula = "Surv(time, status) ~ trt + karno + tt(karno, log)"
    for ties in ("breslow", "efron"):
        whole, blocks = (
            CoxPH(ties=ties, most_split_values=m).fit(formula, data, weights="w", cluster="cell") for m in (9**9, 0)
        )
        close(blocks.beta, whole.beta, 1e-11)
        close(blocks.covariance, whole.covariance, 1e-9)


def test_fits_can_be_pickled() -> None:
    formula = "Surv(time, status) ~ trt + tt(karno, f)"
    fit = CoxPH(most_split_values=0).fit(formula, data_of("veteran"), tt={"f": lambda t: np.log(t + 1)})
    again = pickle.loads(pickle.dumps(fit))
    np.testing.assert_array_equal(again.tests()["statistic"], fit.tests()["statistic"])


def test_blocks_are_cut_at_event_times() -> None:
    cuts = splitlikelihood._cut(np.array([5, 1, 1, 9, 2, 2]), 4)
    assert cuts.tolist() == [0, 1, 3, 4, 6]
