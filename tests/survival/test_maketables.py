"""Fits in maketables' tables, with the real library."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import maketables
import numpy as np
import pandas as pd
import pytest
from maketables.extractors import PluginExtractor, get_extractor

from coalition_exit.survival.cox.cox import CoxPH
from coalition_exit.survival.cox.cox_fit import CoxFit
from coalition_exit.survival.maketables_plugin import MaketablesMixin

DATA = pd.read_csv(Path(__file__).parents[1] / "reference" / "data" / "heart.csv")
TERMS = "Surv(start, stop, event) ~ age + transplant"


@dataclass(frozen=True, eq=False, kw_only=True)
class Shown(CoxFit, MaketablesMixin):
    """A fit with the mixin, whatever the bases of `CoxFit` are."""


def shown(formula: str, **options) -> Shown:
    fit = CoxPH(ties="efron").fit(formula, DATA, id="id", **options)
    return Shown(**{f.name: getattr(fit, f.name) for f in dataclasses.fields(fit)})


@pytest.fixture(scope="module")
def fits() -> list[Shown]:
    return [shown(TERMS), shown(f"{TERMS} + strata(surgery)", cluster="id")]


def cells(table: pd.DataFrame, block: str) -> dict[str, list[str]]:
    return {name: list(row) for name, row in zip(table.loc[block].index, table.loc[block].to_numpy(), strict=True)}


def test_a_table_of_two_fits(fits):
    table = maketables.ETable(fits).df
    foot = cells(table, "stats")
    assert list(foot) == ["Observations", "Subjects", "Events", "Log-likelihood", "Clusters"]
    assert foot["Observations"] == ["172", "172"]
    assert foot["Subjects"] == ["103", "103"]
    assert foot["Events"] == ["75", "75"]
    assert foot["Clusters"] == ["-", "103"]
    assert foot["Log-likelihood"] == [f"{fit.loglik:.3f}" for fit in fits]
    body = cells(table, "coef")
    assert list(body) == ["age", "transplant"]
    for j, fit in enumerate(fits):
        tidy = fit.tidy().set_index("term")
        for term in body:
            b, se, p = tidy.loc[term, ["estimate", "std_error", "p_value"]]
            stars = "***" if p < 0.01 else "**" if p < 0.05 else "*" if p < 0.1 else ""
            assert body[term][j] == f"{b:.3f}{stars} \n ({se:.3f})"
    assert table.columns.get_level_values(0).unique().tolist() == ["event"]


def test_ratios_intervals_and_statistics_on_request(fits):
    stats = ["N", "se_type", "strata", "ties", "converged", "llr", "llr_df", "llr_p", "title", "n_at_risk_rows", "no"]
    table = maketables.ETable(fits, coef_fmt="hr:.4f [hr_ci95l:.4f, hr_ci95u:.4f]", model_stats=stats).df
    ratios = fits[0].tidy(exponentiate=True).set_index("term").loc["age"]
    want = f"{ratios['estimate']:.4f} [{ratios['conf_low']:.4f}, {ratios['conf_high']:.4f}]"
    assert cells(table, "coef")["age"][0] == want
    foot = cells(table, "stats")
    assert foot["S.E. type"] == ["model", "cluster (stata)"]
    assert foot["Strata"] == ["-", "surgery"]
    assert foot["Ties"] == ["efron", "efron"]
    assert foot["converged"] == ["True", "True"]
    assert foot["LR df"] == ["2", "-"]
    assert foot["LR chi2"] == [f"{2 * (fits[0].loglik - fits[0].loglik_null):.3f}", "-"]
    assert foot["title"] == ["Cox model (efron ties)"] * 2
    assert foot["n_at_risk_rows"] == [str(fit.n_at_risk_rows) for fit in fits]
    assert foot["no"] == ["-", "-"]
    assert fits[0].__maketables_stat__("coef") is None
    assert fits[0].__maketables_stat__("tidy") is None
    assert "fe" not in table.index.get_level_values(0)


def test_models_with_other_terms_stand_side_by_side(fits):
    other = shown("Surv(start, stop, event) ~ C(surgery) + age:transplant")
    table = maketables.ETable([fits[0], other], labels={"age": "Age", "event": "Death"}).df
    body = cells(table, "coef")
    assert list(body) == ["Age", "transplant", "surgery=1", "Age × transplant"]
    assert body["Age"][1] == ""
    assert body["surgery=1"][0] == ""
    assert table.columns.get_level_values(0).unique().tolist() == ["Death"]


@pytest.mark.parametrize("kind", ["tex", "html", "gt"])
def test_every_output_is_made(fits, kind):
    made = maketables.ETable(fits).make(kind)
    text = made if isinstance(made, str) else made.as_raw_html() if hasattr(made, "as_raw_html") else made.data
    assert "transplant" in text
    assert "103" in text


def test_the_fit_is_read_through_the_protocol(fits, capsys):
    assert isinstance(get_extractor(fits[0]), PluginExtractor)
    assert not all(hasattr(fits[0], name) for name in ("params", "bse", "pvalues"))
    table = fits[1].__maketables_coef_table__
    assert list(table.columns[:4]) == ["b", "se", "t", "p"]
    np.testing.assert_array_equal(table["b"], fits[1].beta)
    maketables.inspect_model(fits[1], long=True)
    printed = capsys.readouterr().out
    assert "cluster (stata)" in printed
    assert "Error" not in printed


def test_the_dependent_variable_is_the_event(fits):
    assert fits[0].__maketables_depvar__ == "event"
    assert dataclasses.replace(fits[0], formula="").__maketables_depvar__ == "Event"
    assert dataclasses.replace(fits[0], formula="Surv(`a b`, `c d`) ~ x").__maketables_depvar__ == "c d"
    assert dataclasses.replace(fits[0], formula="left ~ x").__maketables_depvar__ == "left"


def test_an_empty_model_has_no_likelihood_ratio(fits):
    empty = shown("Surv(start, stop, event) ~ 1")
    assert empty.__maketables_stat__("llr") is None
    assert list(cells(maketables.ETable([fits[0], empty]).df, "coef")) == ["age", "transplant"]


def test_the_mixin_does_not_import_maketables():
    code = "import sys, coalition_exit.survival.maketables_plugin; sys.exit('maketables' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
