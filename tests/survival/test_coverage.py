"""Every quantity of a Cox model on every data set against R (tests/reference/make_coverage.R)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from coalition_exit.survival import CoxPH
from coalition_exit.survival.quantities.predict import cumulative_hazard
from coverage_reference import COLUMNS, SETS, coverage, data_of, fitted, markdown, read_models, read_values, summary

MODELS = list(read_models("coverage")["model"])
TRANSFORMS = ("km", "rank", "log", "identity")


def values_of(model: str, quantity: str, term: str | None = None) -> pd.DataFrame:
    table = read_values("coverage_values")
    chosen = table[(table["model"] == model) & (table["quantity"] == quantity)]
    chosen = chosen if term is None else chosen[chosen["term"] == term]
    assert len(chosen), f"no reference values; run: Rscript tests/reference/make_coverage.R ({model}, {quantity})"
    return chosen


def has(model: str, quantity: str) -> bool:
    table = read_values("coverage_values")
    return bool(((table["model"] == model) & (table["quantity"] == quantity)).any())


@pytest.mark.parametrize("model", MODELS)
def test_estimates(model: str) -> None:
    fit = fitted(model)
    coef = values_of(model, "coef")
    assert list(fit.terms) == list(coef["term"])
    np.testing.assert_allclose(fit.coef, coef["value"], rtol=1e-8, atol=1e-12)
    p = len(fit.terms)
    for quantity in ("vcov", "vcov_model"):
        expected = values_of(model, quantity)["value"].to_numpy().reshape(p, p)
        scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
        np.testing.assert_allclose(getattr(fit, quantity) / scale, expected / scale, atol=1e-8)
    for quantity in ("loglik", "loglik_null"):
        np.testing.assert_allclose(getattr(fit, quantity), values_of(model, quantity)["value"].iloc[0], rtol=1e-11)


@pytest.mark.parametrize("kind", ["martingale", "deviance", "score", "dfbeta", "schoenfeld", "scaledsch"])
@pytest.mark.parametrize("model", MODELS)
def test_residuals(model: str, kind: str) -> None:
    found = fitted(model).residuals(kind)
    if kind in ("schoenfeld", "scaledsch"):
        found = found.sort_index(level="row")
    table = found.to_frame("") if isinstance(found, pd.Series) else found
    for term in table.columns:
        expected = values_of(model, kind, term).set_index("other")["value"]
        own = pd.Series(summary(table[term]))[expected.index]
        # Values near 0 are compared on the scale of the column.
        scale = np.abs(table[term]).max()
        sums = expected.index.isin(["sum", "absolute", "position"])
        reach = np.where(sums, scale * len(table), np.where(expected.index == "square", scale**2 * len(table), scale))
        np.testing.assert_allclose(own / reach, expected / reach, atol=1e-8)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("model", [model for model in MODELS if not model.startswith("infert")])
def test_both_tests_of_proportional_hazards(model: str, transform: str) -> None:
    # Without clusters, as the approximation would take the sandwich; the score test never does.
    spec = read_models("coverage").set_index("model").loc[model]
    plain = CoxPH(ties=spec["ties"]).fit(spec["formula"], data_of(spec["data"]), weights=spec["weights"] or None)
    table = plain.proportional_hazards_test(transform)
    for method in ("score", "grambsch_therneau"):
        own = table[table["method"] == method].set_index("term")["statistic"]
        expected = values_of(model, f"{method}_{transform}").set_index("term")["value"]
        assert list(own.index) == list(expected.index)
        np.testing.assert_allclose(own, expected, rtol=1e-8, atol=1e-10)


def test_one_event_time_has_no_test_of_proportional_hazards() -> None:
    assert not has("infert_breslow", "score_km")


def curve(fit, newdata: pd.DataFrame, stratum: str, spec: pd.Series) -> pd.DataFrame:
    """Cumulative hazard with its error at each event time of a stratum, named as R does."""
    options = {}
    if "strata(" in spec["formula"]:
        options["strata"] = float(stratum)
    return cumulative_hazard(fit.scenarios(newdata, **options), conf_type="plain").table


@pytest.mark.parametrize("what", ["baseline", "survival"])
@pytest.mark.parametrize("model", MODELS)
def test_hazard_and_its_error(model: str, what: str) -> None:
    spec = read_models("coverage").set_index("model").loc[model]
    fit, first = fitted(model), data_of(spec["data"]).iloc[[0]]
    newdata = first[[term for term in fit.terms if ":" not in term]]
    if what == "baseline":
        newdata = newdata * 0.0
    hazard = values_of(model, f"{what}_hazard")
    for stratum, rows in hazard.groupby("term"):
        errors = values_of(model, f"{what}_error", stratum)["value"].to_numpy()
        own = curve(fit, newdata, stratum, spec)
        at = np.searchsorted(own["time"], rows["other"].astype(float), side="right") - 1
        np.testing.assert_allclose(own["estimate"].to_numpy()[at], rows["value"], rtol=1e-8, atol=1e-13)
        np.testing.assert_allclose(own["std_error"].to_numpy()[at], errors, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("model", [model for model in MODELS if has(model, "path_hazard")])
def test_survival_along_a_path(model: str) -> None:
    spec = read_models("coverage").set_index("model").loc[model]
    fit, data = fitted(model), data_of(spec["data"])
    expected = values_of(model, "path_hazard")
    own = data[data["id"] == float(expected["term"].iloc[0])]
    names = spec["formula"].partition("(")[2].partition(")")[0].split(", ")
    columns = {names[0]: "start", names[1]: "stop"}
    path = own[[*columns, *fit.terms]].rename(columns=columns)
    options = {}
    if "strata(" in spec["formula"]:
        path["stratum"] = own[spec["formula"].partition("strata(")[2].partition(")")[0]]
        options["strata"] = "stratum"
    found = cumulative_hazard(fit.path(path, **options), expected["other"].astype(float).to_numpy()).table
    np.testing.assert_allclose(found["estimate"], expected["value"], rtol=1e-8)


@pytest.mark.parametrize("model", [model for model in MODELS if has(model, "smooth")])
def test_smooth_of_scaled_schoenfeld_residuals(model: str) -> None:
    fit = fitted(model)
    for term in fit.terms:
        line = fit.schoenfeld_smooth(term).line
        expected = values_of(model, "smooth", term)
        at = expected["other"].astype(int).to_numpy() - 1
        scale = np.abs(expected["value"]).max()
        np.testing.assert_allclose(line["smooth"].to_numpy()[at] / scale, expected["value"] / scale, atol=1e-8)
        errors = values_of(model, "smooth_error", term)["value"]
        np.testing.assert_allclose(line["std_error"].to_numpy()[at], errors, rtol=1e-8)


@pytest.mark.parametrize("ties", ["breslow", "efron"])
@pytest.mark.parametrize("timefix", [True, False])
def test_times_that_differ_by_rounding(ties: str, timefix: bool) -> None:
    data = pd.DataFrame(
        {
            "time": [0.1 + 0.2, 0.3, 0.3, 0.7, 0.1 * 7, 1.1, 1.2, 2],
            "start": [0, 0.1, 0, 0.3, 0.1 + 0.2, 0, 0.7, 0.1 * 7],
            "status": [1, 1, 0, 1, 1, 0, 1, 1],
            "x": [1, 0, 2, 1.5, -1, 0.5, 0.2, 1],
        }
    )
    model = f"near_{ties}_{'joined' if timefix else 'apart'}"
    for kind, response in (("right", "Surv(time, status)"), ("counting", "Surv(start, time, status)")):
        fit = CoxPH(ties=ties, timefix=timefix).fit(f"{response} ~ x", data)
        assert fit.n_joined == (2 if timefix else 0)
        assert ("2 times joined" in str(fit)) == timefix
        np.testing.assert_allclose(fit.beta, values_of(model, "coef", kind)["value"], rtol=1e-8)
        np.testing.assert_allclose(fit.loglik, values_of(model, "loglik", kind)["value"].iloc[0], rtol=1e-12)


def test_the_table_in_the_documentation_is_that_of_the_files() -> None:
    page = (Path(__file__).parents[2] / "docs" / "estimators.md").read_text(encoding="utf-8")
    assert markdown(coverage()) in page, "run python tests/coverage_reference.py and put its table into the page"


def test_forty_models_and_all_quantities() -> None:
    table = coverage()
    assert table["coefficients"].sum() >= 40
    assert list(table.index) == list(SETS)
    assert list(table.columns) == list(COLUMNS)
    required = ["coefficients", "cluster errors", "log-likelihood", "residuals", "baseline", "survival"]
    twelve = table.drop(index="ovarian")
    assert (twelve[required] > 0).all(axis=None)
    # All controls and cases of infert are at time 1.
    assert (twelve.drop(index="infert")["PH tests"] > 0).all()
    counting = ["heart", "cgd", "bladder2", "pbcseq", "rossi"]
    assert (twelve.loc[counting, "along a path"] > 0).all()
