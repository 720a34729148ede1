"""Several ways of clustering at the time of the fit."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest

from coalition_exit.errors import DataError
from coalition_exit.survival import CoxPH
from coverage_reference import data_of

FORMULA = "Surv(tstart, tstop, status) ~ treat + age + inherit"


@pytest.fixture
def data() -> pd.DataFrame:
    random = np.random.default_rng(9)
    table = data_of("cgd")
    return table.assign(year=random.integers(1, 8, len(table)), place=[f"p{int(c)}" for c in table["center"]])


def slow_two_way(data: pd.DataFrame, ties: str, correction: bool) -> np.ndarray:
    """V_a + V_b - V_ab, each from a fit with one way of clustering."""
    both = data["place"] + "/" + data["year"].astype(str)
    total = 0
    for way, sign in ((data["place"], 1), (data["year"], 1), (both, -1)):
        fit = CoxPH(ties=ties, correction="stata" if correction else "none").fit(FORMULA, data, cluster=way.to_numpy())
        total = total + sign * fit.vcov.to_numpy()
    return total


@pytest.mark.parametrize("ties", ["breslow", "efron"])
@pytest.mark.parametrize("correction", ["stata", "none"])
def test_inclusion_and_exclusion(data: pd.DataFrame, ties: str, correction: str) -> None:
    fit = CoxPH(ties=ties, correction=correction).fit(FORMULA, data, cluster=["place", "year"])
    np.testing.assert_allclose(fit.vcov, slow_two_way(data, ties, correction == "stata"), rtol=1e-10)
    one = CoxPH(ties=ties).fit(FORMULA, data, cluster="place")
    found = one.vcov_clusters({"place": data["place"], "year": data["year"]}, correction)
    np.testing.assert_array_equal(fit.vcov, found.vcov)
    np.testing.assert_array_equal(fit.vcov_model, one.vcov_model)
    assert fit.n_cluster == 7
    assert fit.correction == correction


def test_it_is_printed_and_tabled(data: pd.DataFrame) -> None:
    import maketables

    fit = CoxPH().fit(FORMULA, data, id="id", cluster=["place", "year"])
    label = "clusters place (13) x year (7), correction stata"
    assert label in str(fit)
    assert label in fit._repr_html_()
    assert fit.glance()["clustering"].item() == label
    assert fit.glance()["n_cluster"].item() == 7
    np.testing.assert_allclose(fit.tidy()["std_error"], np.sqrt(np.diag(fit.vcov)))
    info = fit.__maketables_vcov_info__
    assert info == {"vcov_type": label, "clustervar": "place + year"}
    table = maketables.ETable([fit], model_stats=["N", "events", "n_clusters", "se_type"]).df
    assert label in table.to_numpy().ravel().tolist()
    again = pickle.loads(pickle.dumps(fit))
    np.testing.assert_array_equal(again.vcov, fit.vcov)
    assert list(again.ways) == ["place", "year"]


def test_what_follows_asks_which_way(data: pd.DataFrame) -> None:
    fit = CoxPH().fit(FORMULA, data, cluster=["place", "year"])
    for call in (
        fit.jackknife,
        fit.few_clusters,
        fit.leave_one_out,
        fit.concordance,
        lambda: fit.bootstrap(20, seed=1),
    ):
        with pytest.raises(DataError, match="one of the fit's ways of clustering, one of place, year"):
            call()
    one = CoxPH().fit(FORMULA, data, cluster="place")
    np.testing.assert_array_equal(fit.jackknife(clusters="place").coef, one.jackknife().coef)
    assert list(fit.leave_one_out("place")["cluster"].unique()) == sorted(set(data["place"]))
    tests = set(fit.tests()["test"])
    assert "robust wald" in tests
    assert "robust score" not in tests
    # A covariance put in afterwards is no ground for the score test of the fit's own clusters.
    assert "robust score" in set(one.tests()["test"])
    replaced = one.with_vcov(one.vcov_clusters({"a": data["place"], "b": data["year"]}))
    assert "robust score" not in set(replaced.tests()["test"])
    assert "clusters a (13) x b (7), correction stata" in str(replaced)


def test_time_terms(data: pd.DataFrame) -> None:
    formula = "Surv(tstart, tstop, status) ~ treat + tt(treat, log)"
    fit = CoxPH().fit(formula, data, cluster=["place", "year"])
    one = CoxPH().fit(formula, data, cluster="place")
    np.testing.assert_allclose(
        fit.vcov, one.vcov_clusters({"place": data["place"], "year": data["year"]}).vcov, rtol=1e-12
    )
    blocks = CoxPH(most_split_values=0).fit(formula, data, cluster=["place", "year"])
    np.testing.assert_allclose(blocks.vcov, fit.vcov, rtol=1e-9)


def test_missing_values_are_refused_or_dropped_by_name(data: pd.DataFrame) -> None:
    holes = data.assign(
        year=data["year"].where(data.index != 7).astype("Float64"), place=data["place"].where(data.index > 1)
    )
    with pytest.raises(DataError, match=r"cluster 'place', row 0 \(2 such rows\): expected a value, got a missing"):
        CoxPH().fit(FORMULA, holes, cluster=["place", "year"])
    with pytest.raises(DataError, match=r"cluster 'year', row 7 \(1 such rows\)"):
        CoxPH().fit(FORMULA, holes, cluster=["year", "place"])
    fit = CoxPH().fit(FORMULA, holes, cluster=["place", "year"], missing="drop")
    kept = data.drop(index=[0, 1, 7])
    np.testing.assert_allclose(fit.vcov, CoxPH().fit(FORMULA, kept, cluster=["place", "year"]).vcov, rtol=1e-12)
    assert fit.n_dropped == 3
    assert "3 rows dropped for missing values (place 2, year 1)" in str(fit)


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        (["place", "yaer"], "cluster: expected .*got 'yaer'. Did you mean 'year'"),
        (["place", "place"], "cluster: expected different columns"),
        ([], "cluster: expected at least one column, got none"),
    ],
)
def test_bad_ways_are_refused(data: pd.DataFrame, cluster: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        CoxPH().fit(FORMULA, data, cluster=cluster)


def test_exact_ties_have_no_sandwich(data: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="none with ties='exact'"):
        CoxPH(ties="exact").fit(FORMULA, data, cluster=["place", "year"])


def test_a_list_of_one_name_is_that_column(data: pd.DataFrame) -> None:
    several, one = (CoxPH().fit(FORMULA, data, cluster=cluster) for cluster in (["place"], "place"))
    np.testing.assert_allclose(several.vcov, one.vcov, rtol=1e-12)


def test_a_list_of_values_is_one_way(data: pd.DataFrame) -> None:
    values = CoxPH().fit(FORMULA, data, cluster=list(data["place"]))
    np.testing.assert_allclose(values.vcov, CoxPH().fit(FORMULA, data, cluster="place").vcov, rtol=1e-12)
