"""Profile-likelihood intervals: refits with the coefficient held by an offset, and how they are printed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2, norm

from coalition_exit.errors import DataError
from coalition_exit.survival import CoxPH
from coverage_reference import data_of

HEART = "Surv(start, stop, event) ~ age + year + surgery + transplant"


@pytest.mark.parametrize("ties", ["breslow", "efron", "exact"])
@pytest.mark.parametrize("term", ["age", "surgery"])
def test_bounds_are_where_the_likelihood_ratio_reaches_its_quantile(ties: str, term: str) -> None:
    data = data_of("heart")
    fit = CoxPH(ties=ties).fit(HEART, data)
    row = fit.profile_intervals(level=0.9, terms=[term]).iloc[0]
    others = HEART.replace(f"~ {term} + ", "~ ").replace(f" + {term}", "")

    def drop(value: float) -> float:
        held = CoxPH(ties=ties).fit(others, data, offset=value * data[term])
        return 2 * (fit.loglik - held.loglik)

    for bound in (row["conf_low"], row["conf_high"]):
        assert drop(bound) == pytest.approx(chi2.ppf(0.9, 1), rel=1e-8)
    assert row["statistic"] == pytest.approx(drop(0.0), rel=1e-8)
    assert row["p_value"] == pytest.approx(chi2.sf(drop(0.0), 1), rel=1e-8)
    assert row["conf_low"] < row["estimate"] < row["conf_high"]


def test_one_covariate() -> None:
    fit = CoxPH().fit("Surv(time, status) ~ karno", data_of("veteran"))
    row = fit.profile_intervals().iloc[0]
    likelihood = fit.state.likelihood
    for bound in (row["conf_low"], row["conf_high"]):
        drop = 2 * (fit.loglik - likelihood.evaluate(np.array([bound])).loglik)
        assert drop == pytest.approx(chi2.ppf(0.95, 1), rel=1e-9)


@pytest.mark.parametrize("penalty", ["none", "firth"])
def test_tidy_gives_them_by_name(penalty: str) -> None:
    fit = CoxPH(penalty=penalty).fit(HEART, data_of("heart"))
    wald, profile, table = fit.tidy(), fit.tidy(intervals="profile"), fit.profile_intervals()
    assert list(wald.columns) == list(profile.columns)
    np.testing.assert_array_equal(wald[["estimate", "std_error"]], profile[["estimate", "std_error"]])
    np.testing.assert_allclose(profile[["conf_low", "conf_high"]], table[["conf_low", "conf_high"]], rtol=1e-12)
    np.testing.assert_allclose(profile["statistic"] ** 2, table["statistic"], rtol=1e-12)
    assert (np.sign(profile["statistic"]) == np.sign(profile["estimate"])).all()
    np.testing.assert_allclose(2 * norm.sf(np.abs(profile["statistic"])), profile["p_value"], rtol=1e-9)
    ratios = fit.tidy(exponentiate=True, intervals="profile")
    np.testing.assert_allclose(ratios["conf_high"], np.exp(table["conf_high"]), rtol=1e-12)
    assert "95% intervals: Wald" in str(fit)
    assert "90% intervals: profile likelihood; exp(estimate)" in fit.summary(True, 0.9, "profile")
    assert ('tidy(intervals="profile")' in str(fit)) == (penalty == "firth")


def test_what_has_no_profile_is_refused() -> None:
    data = data_of("heart")
    plain, ridge = CoxPH().fit(HEART, data), CoxPH(ridge=1).fit(HEART, data)
    clustered = CoxPH().fit(HEART, data, cluster="id")
    with pytest.raises(DataError, match=r"'wald' with clusters.*profile_intervals\(\) gives the model-based ones"):
        clustered.tidy(intervals="profile")
    assert len(clustered.profile_intervals()) == 4
    with pytest.raises(DataError, match="penalty: expected none or 'firth' for a profile likelihood, got 'ridge'"):
        ridge.tidy(intervals="profile")
    with pytest.raises(DataError, match="Did you mean 'profile'"):
        plain.tidy(intervals="profil")
    with pytest.raises(DataError, match="Did you mean 'surgery'"):
        plain.profile_intervals(terms=["surgry"])
    with pytest.raises(DataError, match="level: expected a number between 0 and 1"):
        plain.profile_intervals(level=95)
