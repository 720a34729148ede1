"""Two published studies from their specifications: every printed number, at its printed precision."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from coalition_exit.report.audit import FULL, audit
from coalition_exit.report.audit_cells import cells_of, read_published
from coalition_exit.runner import RunResult, run_spec
from coalition_exit.survival.cox.cox import CoxPH
from coalition_exit.survival.cox.cox_fit import CoxFit

HERE = Path(__file__).parents[2] / "replication"
STUDIES = ("rossi", "heart")
FOLDERS = ("specs", "robustness")
COLUMNS = ["table", "model", "term", "part", "printed", "source"]
KEYS = COLUMNS[:4]


@cache
def results(study: str, folder: str) -> tuple[RunResult, ...]:
    return tuple(run_spec(path) for path in sorted((HERE / study / folder).glob("*.yaml")))


def fit_of(study: str, table: str, model: str) -> CoxFit:
    fits = next(r for r in results(study, "specs") if r.spec.table == table).fits
    fit = fits[model]
    assert isinstance(fit, CoxFit)
    return fit


def printed(study: str, name: str) -> pd.DataFrame:
    return pd.read_csv(HERE / study / f"{name}.csv", dtype=str, keep_default_na=False)


def by_test(name: str) -> Callable[[CoxFit, str], float]:
    return lambda fit, _: float(fit.tests().set_index("test").loc[name, "statistic"])


def ph_chisq(fit: CoxFit, term: str) -> float:
    return float(fit.proportional_hazards_test("km", "score").set_index("term").loc[term, "statistic"])


# What is printed besides the cells of the tables.
QUANTITIES: dict[str, Callable[[CoxFit, str], float]] = {
    "coef": lambda fit, term: float(fit.coef[term]),
    "se": lambda fit, term: float(fit.std_error[term]),
    "n_obs": lambda fit, _: float(fit.n_obs),
    "n_event": lambda fit, _: float(fit.n_event),
    "hr": lambda fit, term: float(np.exp(fit.coef[term])),
    "z": lambda fit, term: float(fit.coef[term] / fit.std_error[term]),
    "lr_test": by_test("likelihood ratio"),
    "wald_test": by_test("wald"),
    "score_test": by_test("score"),
    "concordance": lambda fit, _: float(fit.concordance().concordance),
    "ph_chisq": ph_chisq,
}


def units_off(value: float, text: str) -> float:
    """How far a number is from a printed one, in units of the printed one's last digit."""
    number = Decimal(text)
    return float(abs(Decimal(value) - number).scaleb(-int(number.as_tuple().exponent)))


def disagreements(study: str) -> dict[tuple[str, ...], tuple[str, float]]:
    found = {}
    for row in pd.concat([printed(study, "published"), printed(study, "published_other")]).itertuples(index=False):
        value = QUANTITIES[row.part](fit_of(study, row.table, row.model), row.term)
        if units_off(value, row.printed) > 0.5 + 1e-9:
            found[row.table, row.model, row.term, row.part] = (row.printed, value)
    return found


@pytest.mark.parametrize("study", STUDIES)
def test_every_printed_number_agrees_or_is_listed(study: str) -> None:
    listed = printed(study, "differences")
    assert list(listed.columns) == [*COLUMNS[:5], "computed", "why"]
    found = disagreements(study)
    assert set(found) == set(map(tuple, listed[KEYS].to_numpy()))
    for row in listed.itertuples(index=False):
        text, value = found[row.table, row.model, row.term, row.part]
        assert row.printed == text
        assert units_off(value, row.computed) <= 0.5 + 1e-9
        assert len(row.why) > 20


@pytest.mark.parametrize("study", STUDIES)
def test_printed_numbers_are_complete(study: str) -> None:
    cells, other = printed(study, "published"), printed(study, "published_other")
    assert list(cells.columns) == list(other.columns) == COLUMNS
    both = pd.concat([cells, other])
    assert not both.duplicated(KEYS).any()
    page = (HERE / study / "README.md").read_text(encoding="utf-8")
    for source in sorted(set(both["source"])):
        assert f"| {source} |" in page, source
    for result in results(study, "specs"):
        for key, fit in result.fits.items():
            if (result.spec.table, key) == ("rossi_weekly", "lagged"):
                continue  # The README says so: no printed table of it was at hand.
            own = cells[(cells["table"] == result.spec.table) & (cells["model"] == key)]
            assert set(own["term"]) == {*fit.terms, ""}
            assert len(own) == 2 * len(fit.terms) + 2


@pytest.mark.parametrize("study", STUDIES)
def test_audit_finds_a_full_reproduction(study: str) -> None:
    ran = results(study, "specs")
    cells = [cell for r in ran for cell in cells_of(r.spec)]
    found = audit(
        pd.concat([r.estimates for r in ran]),
        pd.concat([r.models for r in ran]),
        read_published(HERE / study / "published.csv", cells),
        cells,
        note=study,
        reconstructed=False,
    )
    assert found.overall == FULL
    assert found.classes.iloc[-1]["typed"] == len(printed(study, "published"))


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("folder", FOLDERS)
def test_expected_results_are_up_to_date(study: str, folder: str) -> None:
    for name in ("estimates", "models"):
        ours: Any = pd.concat([getattr(r, name) for r in results(study, folder)], ignore_index=True)
        text = name == "models"
        expected = pd.read_csv(HERE / study / "expected" / f"{folder}_{name}.csv", keep_default_na=not text)
        assert list(expected.columns) == list(ours.columns)
        assert len(expected) == len(ours)
        for column in ours.columns:
            if ours[column].dtype == object:
                assert list(ours[column]) == list(expected[column].astype(str)), column
            else:
                want = pd.to_numeric(expected[column]).to_numpy(dtype=float)
                # Another processor or BLAS may differ in the last digits.
                np.testing.assert_allclose(ours[column].to_numpy(dtype=float, na_value=np.nan), want, rtol=1e-7)


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("folder", FOLDERS)
def test_every_model_is_estimated(study: str, folder: str) -> None:
    assert results(study, folder)
    for result in results(study, folder):
        assert [r.reason for r in result.failed] == []


def test_the_likelihood_ratios_of_lifelines_are_those_of_efrons_fits() -> None:
    """Why they differ: its coefficients are Breslow's, its test statistics Efron's."""
    efron = fit_of("rossi", "rossi_constant", "all")
    assert units_off(2 * (efron.loglik - efron.loglik_null), "33.266") < 0.5
    strata = refit_by_race(ties="efron")
    assert units_off(2 * (strata.loglik - efron.loglik_null), "109.634") < 0.5
    # The null model that belongs to it has the strata, too.
    assert 2 * (strata.loglik - strata.loglik_null) == pytest.approx(32.726716, abs=1e-5)


def test_the_concordance_of_lifelines_ignores_the_strata() -> None:
    from lifelines.utils import concordance_index

    men = pd.read_csv(HERE / "rossi" / "data" / "rossi.csv")
    fit = refit_by_race(ties="breslow")
    index = men[list(fit.terms)].to_numpy() @ fit.beta
    assert units_off(concordance_index(men["week"], -index, men["arrest"]), "0.638") < 0.5


@pytest.mark.parametrize("model", ["breslow", "by_race"])
def test_the_z_values_of_lifelines_lag_one_newton_step(model: str) -> None:
    men = pd.read_csv(HERE / "rossi" / "data" / "rossi.csv")
    terms = list(fit_of("rossi", "rossi_constant", model).terms)
    strata = men["black"].to_numpy() if model == "by_race" else np.zeros(len(men))
    x = men[terms].to_numpy(dtype=float)
    beta, error = newton(x - x.mean(axis=0), men["week"].to_numpy(), men["arrest"].to_numpy() == 1, strata, 4)
    other = printed("rossi", "published_other")
    own = other[(other["model"] == model) & (other["part"] == "z")]
    assert list(own["term"]) == terms
    for text, b, se in zip(own["printed"], beta, error, strict=True):
        assert units_off(b / se, text) <= 0.5


def newton(x: Any, time: Any, event: Any, strata: Any, steps: int) -> tuple[Any, Any]:
    """Breslow's likelihood by plain Newton steps from 0; errors from the information before the last."""
    beta, error = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    for _ in range(steps):
        weight, score, information = np.exp(x @ beta), np.zeros(x.shape[1]), np.zeros((x.shape[1],) * 2)
        for k in np.flatnonzero(event):
            at_risk = (time >= time[k]) & (strata == strata[k])
            share = weight * at_risk / weight[at_risk].sum()
            score += x[k] - share @ x
            information += (x.T * share) @ x - np.outer(share @ x, share @ x)
        error = np.sqrt(np.diag(np.linalg.inv(information)))
        beta = beta + np.linalg.solve(information, score)
    return beta, error


def test_r_rounds_the_wald_statistic_twice() -> None:
    wald = QUANTITIES["wald_test"](fit_of("rossi", "rossi_weekly", "employed"), "")
    assert f"{round(wald, 2):.1f}" == "56.1"
    assert f"{wald:.1f}" == "56.2"


def refit_by_race(ties: str) -> CoxFit:
    men = pd.read_csv(HERE / "rossi" / "data" / "rossi.csv")
    right = "fin + age + wexp + married + paro + prio + strata(black)"
    return CoxPH(ties=ties).fit(f"Surv(week, arrest) ~ {right}", men, id="id")


def test_rossi_is_the_data_set_that_lifelines_ships() -> None:
    from lifelines.datasets import load_rossi

    ours = pd.read_csv(HERE / "rossi" / "data" / "rossi.csv")
    theirs = load_rossi().rename(columns={"race": "black", "mar": "married"})
    assert (ours[list(theirs.columns)].to_numpy() == theirs.to_numpy()).all()
    assert (ours["black"] + ours["other_race"] == 1).all()
    assert (ours["married"] + ours["not_married"] == 1).all()


def test_heart_is_the_data_set_that_lifelines_ships() -> None:
    """lifelines has survival's table ``heart``: it counts days from 1, so two patients wait for a day before day 0."""
    from lifelines.datasets import load_stanford_heart_transplants

    ours = pd.read_csv(HERE / "heart" / "data" / "heart.csv")
    theirs = load_stanford_heart_transplants()
    theirs["age_transplant"] = theirs["age"] * theirs["transplant"]
    right = "age + transplant + surgery + year + age_transplant"
    other = CoxPH(ties="breslow").fit(f"Surv(start, stop, event) ~ {right}", theirs, id="id")
    coefficients = [f"{fit.coef['transplant']:.4f}" for fit in (other, fit_of("heart", "heart_kp", "m6"))]
    assert "{} instead of {}".format(*coefficients) in (HERE / "heart" / "README.md").read_text(encoding="utf-8")
    theirs["stop"] -= 1
    theirs["start"] -= theirs["transplant"]
    waited = (theirs["stop"] == 0) & (theirs["event"] == 0)
    assert waited.sum() == 2
    died = (theirs["stop"] == 0) & (theirs["event"] == 1)
    assert died.sum() == 1
    theirs.loc[died, "stop"] = 0.5
    theirs = theirs[~waited].reset_index(drop=True)
    columns = ["id", "start", "stop", "event", "transplant", "age", "year", "surgery"]
    np.testing.assert_allclose(theirs[columns], ours[columns], atol=1e-9)
    for name in ("age", "year", "surgery"):
        np.testing.assert_allclose(ours[f"{name}_transplant"], ours[name] * ours["transplant"], atol=1e-12)


def test_numbers_in_the_pages() -> None:
    counts = {s: [len(printed(s, f)) for f in ("published", "published_other", "differences")] for s in STUDIES}
    rossi, heart = ((HERE / s / "README.md").read_text(encoding="utf-8").replace("\n", " ") for s in STUDIES)
    cells, other, off = counts["rossi"]
    assert f"All {cells} printed coefficients" in rossi
    assert f"Of the {other} other numbers {other - off} do. The {off} that" in rossi
    assert f"All {counts['heart'][0]} coefficients" in heart
    assert f"and all {counts['heart'][1]} other printed numbers" in heart
    assert counts["heart"][2] == 0
    lagged = fit_of("rossi", "rossi_weekly", "lagged")
    assert f"{lagged.n_event} of the 114 events" in rossi
    data = pd.read_csv(HERE / "heart" / "data" / "heart.csv")
    assert f"{data['id'].nunique()} patients" in heart
    assert f"{(data['transplant'] == 1).sum()} got one" in heart


def test_weeks_are_the_same_men() -> None:
    men = pd.read_csv(HERE / "rossi" / "data" / "rossi.csv").set_index("id")
    weeks = pd.read_csv(HERE / "rossi" / "data" / "rossi_weekly.csv")
    assert (weeks["stop"] - weeks["start"] == 1).all()
    last = weeks.groupby("id").last()
    assert (last["stop"] == men["week"]).all()
    assert (weeks.groupby("id")["arrest"].sum() == men["arrest"]).all()
    for name in ("fin", "age", "other_race", "wexp", "not_married", "paro", "prio"):
        assert (last[name] == men[name]).all()
    assert (weeks["age_by_week"] == weeks["age"] * weeks["stop"]).all()
    before = weeks.groupby("id")["employed"].shift()
    pd.testing.assert_series_equal(before, weeks["employed_last_week"], check_names=False)
