"""What results print: a line and a table, never arrays; rows dropped, and why; labels of rows and subjects."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from coalition_exit.errors import DataError
from coalition_exit.survival import CoxPH, SharedFrailty, logrank_test, survival_curves
from coalition_exit.survival.quantities.predict import survival
from coalition_exit.survival.quantities.survival_times import restricted_mean
from coverage_reference import data_of

HEART = "Surv(start, stop, event) ~ age + surgery + strata(transplant)"


@pytest.fixture(scope="module")
def fit():
    return CoxPH().fit(HEART, data_of("heart"), cluster="id")


def scenarios(fit):
    return fit.scenarios(pd.DataFrame({"age": [1, 2], "surgery": [0, 1]}), strata=0)


RESULTS = {
    "baseline": (lambda fit: fit.baseline(), "Baseline hazard at 64 event times, covariates age = 0, surgery = 0"),
    "scenarios": (scenarios, "2 scenarios; "),
    "trajectory": (lambda fit: scenarios(fit).items[0], "Scenario 0 from 0 to"),
    "jumps": (lambda fit: scenarios(fit).jumps, "Jumps of the cumulative hazard at 64 event times"),
    "survival": (lambda fit: survival(scenarios(fit)), "survival: 95% intervals, log"),
    "mean": (lambda fit: restricted_mean(scenarios(fit), 100), "restricted_mean: 95% intervals"),
    "margins": (
        lambda fit: fit.margins({"age": [0, 10]}),
        "Predictive margins of the relative hazard, other covariates as observed;",
    ),
    "concordance": (lambda fit: fit.concordance(), "Concordance 0.6088, std. error"),
    "few": (lambda fit: fit.few_clusters(), "103 clusters, fay_graubard covariance, t with df fay_graubard (Fay"),
    "jackknife": (lambda fit: fit.jackknife(), "Jackknife over 103 clusters, exact"),
    "bootstrap": (lambda fit: fit.bootstrap(30, seed=1), "30 multinomial bootstraps of 103 clusters; seed 1"),
    "score_bootstrap": (lambda fit: fit.score_bootstrap(99, seed=1), "score bootstrap, 103 clusters"),
    "vcov": (lambda fit: fit.vcov_robust(), "Cluster sandwich: clusters subject (172), correction stata; standard"),
    "curve": (lambda fit: survival_curves("Surv(start, stop, event)", data_of("heart"))["all"], "Survival curve: "),
    "logrank": (lambda fit: logrank_test("Surv(start, stop, event)", data_of("heart"), by="surgery"), "Log-rank test"),
    "smooth": (lambda fit: fit.schoenfeld_smooth("age"), "Coefficient of age over time (km)"),
    "fit": (lambda fit: fit, "Cox model (breslow ties): 172 rows, 172 subjects, 75 events, 103 clusters of id (stata)"),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results_print_as_a_line_and_a_short_table(fit, name: str) -> None:
    make, start = RESULTS[name]
    result = make(fit)
    text, html = repr(result), result._repr_html_()
    assert text.startswith(start)
    assert text == str(result)
    assert "array(" not in text
    assert len(text.splitlines()) <= 16
    assert html.startswith("<")
    assert "array(" not in html


def test_results_without_a_table_still_print() -> None:
    data = pd.DataFrame({"time": range(1, 9), "event": [1, 1, 0, 1, 1, 1, 0, 1], "x": [1, 0, 0, 1, 0, 1, 1, 0]})
    data["g"] = [1, 1, 1, 2, 2, 3, 3, 3]
    fit = CoxPH().fit("Surv(time, event) ~ x", data, cluster="g")
    jackknife = fit.jackknife()
    assert ("no estimate without" in repr(jackknife)) == bool(jackknife.failures)
    assert "no covariates" in str(CoxPH().fit("Surv(time, event) ~ 1", data))


def test_dropped_rows_are_counted_by_column() -> None:
    data = data_of("lung").copy()
    data.loc[[2, 5], "age"] = np.nan
    data.loc[[5, 9], "ph_ecog"] = np.nan
    data.loc[11, "inst"] = np.nan
    formula = "Surv(time, event) ~ age + log(ph_ecog + 1)"
    cox = CoxPH().fit(formula, data, cluster="inst", missing="drop")
    frailty = SharedFrailty().fit(formula, data, cluster="inst", missing="drop")
    for fit in (cox, frailty):
        assert fit.n_dropped == 4
        assert fit.dropped == (("age", 2), ("ph_ecog", 2), ("inst", 1))
        assert "4 rows dropped for missing values (age 2, ph_ecog 2, inst 1)" in str(fit)
        assert "4 rows dropped" in fit._repr_html_()
    weights = np.where(np.arange(len(data)) == 20, np.nan, 1.0)
    by_array = CoxPH().fit("Surv(time, event) ~ sex", data, weights=weights, missing="drop")
    assert by_array.dropped == (("weights", 1),)


@pytest.mark.parametrize("estimator", [CoxPH(), CoxPH(penalty="firth"), CoxPH(ridge=2), CoxPH(ties="exact")])
def test_conventions_are_printed(estimator: CoxPH) -> None:
    text = str(estimator.fit("Surv(start, stop, event) ~ age + surgery", data_of("heart")))
    assert f"{estimator.ties} ties" in text
    assert ("firth" in text) == (estimator.penalty == "firth")
    assert ("ridge biases estimates" in text) == (estimator.ridge > 0)
    assert "standard errors model-based; 95% intervals: Wald" in text


def named() -> pd.DataFrame:
    data = data_of("heart")
    return data.assign(state=[f"s{int(i)}" for i in data["id"]]).set_index(
        pd.Index([f"r{i}" for i in range(len(data))])
    )


def test_rows_and_subjects_keep_their_names() -> None:
    data = named()
    fit = CoxPH().fit("Surv(start, stop, event) ~ age + surgery", data, id="state")
    for kind in ("martingale", "deviance", "score", "dfbeta"):
        assert fit.residuals(kind).index.equals(data.index)
        assert list(fit.residuals(kind, collapse="id").index) == list(pd.unique(data["state"]))
    schoenfeld = fit.residuals("schoenfeld").reset_index()
    assert (data.loc[schoenfeld["row"], "stop"].to_numpy() == schoenfeld["time"]).all()
    assert set(fit.leave_one_out("id")["cluster"]) == set(data["state"])
    assert fit.schoenfeld_smooth("age").residuals.index.isin(data.index).all()
    assert fit.functional_form("age").index.isin(data.index).all()


def test_names_survive_dropped_rows_and_time_terms() -> None:
    data = named()
    data.loc["r3", "age"] = np.nan
    kept = data.drop(index="r3")
    fit = CoxPH().fit("Surv(start, stop, event) ~ age + surgery", data, missing="drop")
    assert fit.residuals("martingale").index.equals(kept.index)
    timed = CoxPH().fit("Surv(start, stop, event) ~ age + tt(age, log)", kept)
    found = timed.residuals("martingale")
    assert found.index.isin(kept.index).all()
    other = CoxPH().fit("Surv(start, stop, event) ~ age + tt(age, log)", kept.reset_index(drop=True)).residuals()
    np.testing.assert_array_equal(found.to_numpy(), other.to_numpy())
    assert list(found.index) == [f"r{i if i < 3 else i + 1}" for i in other.index]


def test_an_overlap_names_the_subject() -> None:
    data = named()
    twice = pd.concat([data, data[data["state"] == "s7"]])
    with pytest.raises(DataError, match="subject s7, row 172"):
        CoxPH().fit("Surv(start, stop, event) ~ age", twice, id="state")


TEXT = [
    ("Surv(start, stop, event) ~ age", {"age": str}, {}, r"numbers stored as text, .*pd.to_numeric\(data\['age'\]\)"),
    ("Surv(start, stop, event) ~ age", {"age": object}, {}, "numbers stored as objects"),
    ("Surv(start, stop, event) ~ log(age) + year", {"age": str}, {}, r"C\(age\) makes it a factor"),
    ("Surv(start, stop, event) ~ year + tt(age, log)", {"age": str}, {}, "numbers stored as text"),
    (
        "Surv(start, stop, event) ~ age",
        {"stop": str},
        {},
        "column 'stop', row 0: expected a number, got a number stored",
    ),
    ("Surv(start, stop, event) ~ age", {"event": str}, {}, "column 'event', row 0: expected a number, got a number"),
    ("Surv(start, stop, event) ~ age", {"year": str}, {"offset": "year"}, "offset, row 0: expected a number"),
    ("Surv(start, stop, event) ~ age", {"stop": str}, {"weights": "stop"}, "expected a number, got a number stored"),
]


@pytest.mark.parametrize(("formula", "types", "options", "message"), TEXT)
def test_numbers_stored_as_text_are_refused(formula: str, types: dict, options: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        CoxPH().fit(formula, data_of("heart").astype(types), **options)


def test_text_is_fine_where_names_are_meant(fit) -> None:
    data = data_of("heart").astype({"id": str, "transplant": str, "surgery": str})
    own = CoxPH().fit("Surv(start, stop, event) ~ age + C(surgery) + strata(transplant)", data, cluster="id")
    np.testing.assert_allclose(own.beta, fit.beta, rtol=1e-10)
    np.testing.assert_allclose(own.vcov, fit.vcov, rtol=1e-9)
    with pytest.raises(DataError, match="newdata, column 'age', row 0: expected a number, got a number stored as text"):
        fit.scenarios(pd.DataFrame({"age": ["1"], "surgery": [0]}))


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ("age * strata(surgery)", r"'a \+ a:C\(x\) \+ strata\(x\)' is R's a \* strata\(x\)"),
        ("offset(year)", "offset='column'"),
        ("cluster(id)", "cluster='column'"),
        ("frailty(id)", "SharedFrailty"),
        ("ridge(year)", r"CoxPH\(ridge=...\)"),
        ("pspline(age)", r"bs\(a, df=4\)"),
    ],
)
def test_r_formulas_are_answered_with_what_to_write(term: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        CoxPH().fit(f"Surv(start, stop, event) ~ year + {term}", data_of("heart"))


@pytest.mark.parametrize(("id", "expected"), [(None, True), ("id", False)])
def test_rows_without_id_are_called_subjects_with_a_frailty_too(id: str | None, expected: bool) -> None:
    rows = data_of("heart").assign(half=lambda d: d["id"] % 9)
    fit = SharedFrailty().fit("Surv(start, stop, event) ~ age", rows, cluster="half", id=id)
    assert ("each row counts as a subject (no id)" in repr(fit)) == expected
