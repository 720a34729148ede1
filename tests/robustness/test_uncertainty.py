"""Fits over drawn records: combination, shares of variance, failures, workers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from coalition_exit.errors import DataError, SpecError
from coalition_exit.robustness.problem import Model, Problem
from coalition_exit.robustness.rubin import pool
from coalition_exit.robustness.uncertainty import ALL, coding_uncertainty
from coalition_exit.specs.robustness_blocks import Flips, Uncertainty

MODEL = Model("front_and_trend", "withdraw", ("foverlap", "ctrend60"))


@pytest.fixture(scope="module")
def result(record):
    return coding_uncertainty([MODEL], record, Uncertainty(draws=4, kinds=["exits", "losses"], seed=3))


def test_the_table_is_rubins_rules_over_the_draws(result, record) -> None:
    problem = Problem.from_record(MODEL, record)
    reference = problem.fit()
    assert sorted(result.table["drawn"].unique()) == ["all", "exits", "losses"]
    for name in ("all", "exits", "losses"):
        own = result.draws[result.draws["drawn"] == name]
        b = own.pivot(index="draw", columns="term", values="estimate")[list(MODEL.covariates)].to_numpy()
        se = own.pivot(index="draw", columns="term", values="std_error")[list(MODEL.covariates)].to_numpy()
        by_hand = pool(MODEL.covariates, b, se**2, own["n_cluster"].min() - 1)
        table = result.table[result.table["drawn"] == name].reset_index(drop=True)
        for column in ("estimate", "std_error", "conf_low", "conf_high", "within", "between", "fmi"):
            np.testing.assert_array_equal(table[column], by_hand[column])
        np.testing.assert_allclose(table["share_coding"] + table["share_sampling"], 1.0, rtol=1e-15)
        np.testing.assert_allclose(table["reference"], reference.beta, rtol=1e-12)
        np.testing.assert_allclose(table["shift"], table["estimate"] - reference.beta, rtol=1e-12)


def test_drawing_losses_leaves_exits_and_fronts_alone(result, record) -> None:
    own = result.draws[result.draws["drawn"] == "losses"]
    assert own["n_event"].nunique() == 1
    assert own["n_event"].iloc[0] == len(result.exits[result.exits["coded"] == 1])
    assert result.draws[result.draws["drawn"] == "exits"]["n_event"].nunique() > 1


def test_share_of_draws_counts_exits(result) -> None:
    together = result.draws[(result.draws["drawn"] == ALL) & (result.draws["term"] == "foverlap")]
    assert result.exits["share_of_draws"].sum() * 4 == pytest.approx(together["n_event"].sum())
    sure = result.exits[(result.exits["confidence"] == "high") & (result.exits["coded"] == 1)]
    assert (sure["share_of_draws"] == 1).all()


def test_the_parameters_are_stated(result) -> None:
    assert "flip with probability 0/0.05/0.25" in result.text
    assert "seed 3" in result.text
    assert "of whose variance" in result.text
    assert "dates of exits" not in result.text


def test_no_doubt_no_coding_variance(record) -> None:
    still = Uncertainty(draws=2, kinds=["exits"], attributes=["withdrawal"], flips=Flips(medium=0, low=0))
    found = coding_uncertainty([MODEL], record, still).table
    assert (found["between"] == 0).all()
    assert (found["share_sampling"] == 1).all()
    np.testing.assert_allclose(found["std_error"] ** 2, found["within"], rtol=1e-14)
    assert set(found["drawn"]) == {"all"}


def test_a_model_without_clusters(record) -> None:
    plain = Model("plain", "withdraw", ("foverlap", "ctrend60"), cluster=None)
    found = coding_uncertainty([plain], record, Uncertainty(draws=2, kinds=["losses"]))
    assert "plain, ctrend60: " in found.text
    assert "clusters" not in found.text
    # Degrees of freedom of complete data: events less coefficients.
    events = found.draws["n_event"].min()
    assert (found.table["df"] < events - 2).all()


def test_failed_fits_are_rows_with_their_reason(record) -> None:
    nowhere = Model("nowhere", "withdraw", ("foverlap",), sample=("warnum == 10",))
    found = coding_uncertainty([nowhere], record, Uncertainty(draws=2, kinds=["losses"], separately=False))
    assert (found.draws["status"] != "ok").all()
    assert found.draws["reason"].str.len().gt(0).all()
    row = found.table.iloc[0]
    assert row["m_failed"] == 2
    assert np.isnan(row["estimate"])
    assert "0 of 2 drawn records have an estimate" in row["reason"]
    assert "0 of 2" in found.text


def test_workers_change_nothing(record) -> None:
    parameters = Uncertainty(draws=2, kinds=["exits"], seed=5)
    one, two = (coding_uncertainty([MODEL], record, parameters, jobs=jobs) for jobs in (1, 2))
    pd.testing.assert_frame_equal(one.table, two.table, check_exact=True)
    pd.testing.assert_frame_equal(one.draws, two.draws, check_exact=True)
    pd.testing.assert_frame_equal(one.exits, two.exits, check_exact=True)


def test_bad_input(record) -> None:
    with pytest.raises(DataError, match="keys all different"):
        coding_uncertainty([MODEL, MODEL], record, Uncertainty())
    with pytest.raises(DataError, match="keys all different"):
        coding_uncertainty([], record, Uncertainty())


def test_a_model_of_a_specification(record) -> None:
    from pathlib import Path

    from coalition_exit.specs.loading import load_spec

    spec = load_spec(Path(__file__).parents[2] / "specs" / "article" / "table2.yaml")
    model = Model.of(next(m for m in spec.models if m.key == "no_world_wars"))
    assert model.sample == ("warnum not in [106, 139]",)
    problem = Problem.from_record(model, record)
    assert not problem.frame["warnum"].isin([106, 139]).any()
    assert problem.wars[106] == "World War I"
    from dataclasses import replace

    other = replace(spec.models[0], estimator="logit")
    with pytest.raises(SpecError, match="cox"):
        Model.of(other)
