"""Compensation: recovery of known truths, agreement of two ways, searches."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from coalition_exit.errors import DataError
from coalition_exit.robustness.buyout import bad_times, bought_off, direct_fit
from coalition_exit.robustness.overturning import default_patterns, overturning_shares
from coalition_exit.robustness.problem import Problem
from coalition_exit.robustness.simulation import (
    NEITHER,
    OVERSTATES,
    UNDERSTATES,
    simulate_compensation,
    simulated_covariates,
)
from coalition_exit.specs.robustness_blocks import BadTimes, Simulation
from robustness.worlds import bought_frame, small_problem


@pytest.fixture(scope="module")
def bought() -> Problem:
    return Problem.from_frame(bought_frame(4, 0.4), "y", ["front", "trend"])


def _at(table: pd.DataFrame, **where) -> pd.Series:
    for name, value in where.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_imputation_agrees_with_the_offset(bought) -> None:
    found = bought_off(bought, [0.0, 0.4], "trend > 0", imputations=30, seed=2)
    for term in ("front", "trend"):
        row = _at(found.table, share=0.4, term=term)
        noise = np.sqrt(row["between"] / row["m"])
        assert abs(row["estimate"] - row["direct_estimate"]) < 4 * noise
        assert row["std_error"] == pytest.approx(row["direct_std_error"], rel=0.25)
    observed = int(((bought.frame["trend"] > 0) & bought.event).sum())
    row = _at(found.table, share=0.4, term="trend")
    assert row["n_observed"] == observed
    assert abs(row["n_bought_off"] - observed * 0.4 / 0.6) <= 1
    assert 0 < row["n_replaced"] < row["n_bought_off"]
    none = _at(found.table, share=0.0, term="trend")
    fit = bought.fit()
    assert none["estimate"] == fit.coef["trend"] == none["direct_estimate"]
    assert (none["between"], none["n_bought_off"]) == (0.0, 0.0)


@pytest.mark.slow
def test_known_truth_is_recovered() -> None:
    # Truth 4; as observed about 2.8. Twelve worlds: the mean has an error of about 0.11.
    values = []
    for seed in range(12):
        problem = Problem.from_frame(bought_frame(seed, 0.4), "y", ["front", "trend"])
        own = bought_off(problem, [0.0, 0.4], "trend > 0", imputations=15, seed=seed).table
        row, none = _at(own, share=0.4, term="trend"), _at(own, share=0.0, term="trend")
        values.append((none["estimate"], row["estimate"], row["direct_estimate"]))
    observed, imputed, direct = np.mean(values, axis=0)
    error = np.std(values, axis=0, ddof=1) / np.sqrt(len(values))
    assert abs(imputed - 4) < 3 * error[1]
    assert abs(direct - 4) < 3 * error[2]
    assert 4 - observed > 5 * error[0]


def test_everyone_bought_off_alike_changes_nothing(bought) -> None:
    everywhere = np.ones(len(bought.frame), dtype=bool)
    fit, offset = bought.fit(), direct_fit(bought, everywhere, 0.5)
    np.testing.assert_allclose(offset.beta, fit.beta, rtol=1e-10)
    np.testing.assert_allclose(offset.covariance, fit.covariance, rtol=1e-9)


def test_a_dummy_moves_by_log_of_the_share() -> None:
    # Bought off where z = 1 only: its coefficient moves by -log(1 - s) and nothing else does.
    problem = small_problem()
    days = problem.rows_where("z == 1")
    fit, offset = problem.fit(), direct_fit(problem, days, 0.3)
    assert offset.coef["z"] - fit.coef["z"] == pytest.approx(-np.log(0.7), rel=1e-8)
    assert offset.coef["x"] == pytest.approx(fit.coef["x"], rel=1e-8)
    assert offset.std_error["z"] == pytest.approx(fit.std_error["z"], rel=1e-8)


def test_overturning_share_in_closed_form() -> None:
    # By the same token the sign of z < 0 changes at s = 1 - exp(b).
    problem = small_problem(seed=11)
    fit = problem.fit()
    assert fit.coef["z"] < 0
    found = overturning_shares(problem, {"z": "z == 1", "not_z": "z == 0"}, ["z"], bound=0.95)
    row = _at(found.table, pattern="z", reading="sign changes")
    assert row["answer"] == "found"
    share = 1 - np.exp(fit.coef["z"])
    assert row["share"] == pytest.approx(share, abs=2e-6)
    assert row["hidden"] == pytest.approx(share / (1 - share), abs=1e-4)
    other = _at(found.table, pattern="not_z", reading="sign changes")
    assert other["answer"] == "none up to the bound"
    assert np.isnan(other["share"])
    low, high = fit.tidy().set_index("term").loc["z", ["conf_low", "conf_high"]]
    interval = _at(found.table, pattern="z", reading="interval includes zero")
    assert interval["answer"] == ("already" if low <= 0 <= high else "found")
    assert "no share up to 0.95" in found.text


def test_patterns_and_bad_times(bought) -> None:
    assert bad_times(bought, "trend") == "trend > 0.0"
    assert bad_times(bought, "trend", BadTimes(above=0.25)) == "trend > 0.25"
    text = bad_times(bought, "trend", BadTimes(quantile=0.9))
    assert bought.rows_where(text).mean() == pytest.approx(0.1, abs=1e-3)
    patterns = default_patterns(bought, "front", text)
    bad, good = (bought.rows_where(patterns[name]) for name in ("bad_times", "good_times"))
    assert (bad ^ good).all()
    with pytest.raises(DataError, match="trend: expected a column"):
        bad_times(bought, "trendy")


def test_bad_input(bought) -> None:
    with pytest.raises(DataError, match="share: expected a number from 0 to below 1"):
        bought_off(bought, [1.0], "trend > 0")
    with pytest.raises(DataError, match="days with an observed exit"):
        bought_off(bought, [0.2], "trend > 99")
    with pytest.raises(DataError, match="a comparison that holds"):
        overturning_shares(bought, {"never": "trend > 99"})
    with pytest.raises(DataError, match="bound"):
        overturning_shares(bought, {"bad": "trend > 0"}, bound=1.0)


def test_a_share_that_cannot_be_imputed_is_a_row_with_its_reason() -> None:
    problem = small_problem()
    found = bought_off(problem, [0.0, 0.97], "z == 1", imputations=3)
    failed = found.table[found.table["share"] == 0.97]
    assert (failed["status"] == "no_observations").all()
    assert "states to make them" in failed["reason"].iloc[0]
    assert failed["estimate"].isna().all()
    assert "Share 0.97" in found.text


def test_imputation_is_the_same_for_a_seed(bought) -> None:
    one, two = (bought_off(bought, [0.3], "trend > 0", imputations=3, seed=9).table for _ in range(2))
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    other = bought_off(bought, [0.3], "trend > 0", imputations=3, seed=10).table
    assert not np.allclose(one["estimate"], other["estimate"])


def test_imputation_does_not_depend_on_how_histories_are_cut() -> None:
    # Days of equal covariates as one row: an exit is imputed within the row, which then ends there.
    days = bought_frame(4, 0.4, n=120, days=100).assign(
        half=lambda f: f["trend"].groupby(f["idvar"]).transform("mean") > 0
    )
    days = days.assign(half=days["half"].astype(float))
    whole = days.groupby("idvar", as_index=False).agg(
        {"coalid": "first", "start": "first", "stop": "last", "front": "first", "half": "first", "y": "max"}
    )
    problems = [Problem.from_frame(frame, "y", ["front", "half"]) for frame in (days, whole)]
    assert len(problems[1].frame) == 120 < len(problems[0].frame)
    one, two = (bought_off(p, [0.0, 0.7], "half == 1", imputations=6, seed=2).table for p in problems)
    assert one["n_replaced"].max() > 0
    pd.testing.assert_frame_equal(one, two, check_exact=False, rtol=1e-9)


def test_payment_over_the_whole_range_has_a_closed_form() -> None:
    # h (1 - s)^r with r linear in the trend: the slope tends to b + log(1 - s) / range.
    parameters = Simulation(
        covariates="simulated", strengths=[0.0, 0.6], targets=["all"], begins=0.0, full=1.0, exits=120, replicates=60
    )
    found = simulate_compensation(parameters, seed=5, front="f", trend="t")
    row = _at(found.table, strength=0.6, term="t")
    trend = simulated_covariates("f", "t", 5)["t"]
    expected = np.log(0.4) / (trend.max() - trend.min())
    assert abs(row["change"] - expected) < 4 * row["change_mc"]
    assert row["reading"] == UNDERSTATES
    front = _at(found.table, strength=0.6, term="f")
    assert abs(front["change"]) < 4 * front["change_mc"]
    none = _at(found.table, strength=0.0, term="t")
    assert abs(none["bias"]) < 4 * none["bias_mc"]
    assert (none["change"], none["reading"]) == (0.0, NEITHER)
    assert 0.85 <= none["coverage"] <= 1.0


def test_who_is_paid_decides_the_bias_of_the_front() -> None:
    parameters = Simulation(
        covariates="simulated", strengths=[0.0, 0.9], targets=["independent", "common"], exits=120, replicates=30
    )
    table = simulate_compensation(parameters, seed=1, front="f", trend="t").table
    assert _at(table, target="independent", strength=0.9, term="f")["reading"] == UNDERSTATES
    assert _at(table, target="common", strength=0.9, term="f")["reading"] == OVERSTATES
    for target in ("independent", "common"):
        assert _at(table, target=target, strength=0.9, term="t")["reading"] == UNDERSTATES


def test_buying_off_without_memory_is_a_lower_hazard() -> None:
    common = {"covariates": "simulated", "strengths": [0.0, 0.5], "targets": ["all"], "exits": 120, "replicates": 20}
    once = simulate_compensation(Simulation(mechanism="buyout", **common), seed=3).table
    safe = simulate_compensation(Simulation(mechanism="buyout", lasting=360, **common), seed=3).table
    assert once["mean_bought_off"].max() > 0
    # A state bought off for good cannot be seen to exit later.
    first, later = (_at(t, strength=0.5, term="ctrend60")["mean_exits"] for t in (once, safe))
    assert later < first
    assert _at(once, strength=0.5, term="ctrend60")["reading"] == UNDERSTATES


def test_simulation_does_not_depend_on_workers() -> None:
    parameters = Simulation(covariates="simulated", strengths=[0.0, 0.5], targets=["all"], replicates=4)
    one, two = (simulate_compensation(parameters, seed=7, jobs=jobs) for jobs in (1, 2))
    pd.testing.assert_frame_equal(one.replicates, two.replicates, check_exact=True)
    assert "strength 0.5" in one.text
    with pytest.raises(DataError, match="jobs"):
        simulate_compensation(parameters, jobs=0)


def test_simulation_on_a_panel(bought) -> None:
    parameters = Simulation(strengths=[0.0, 0.5], targets=["all"], replicates=3, exits=100)
    found = simulate_compensation(parameters, bought, front="front", trend="trend")
    assert set(found.table["term"]) == {"front", "trend"}
    with pytest.raises(DataError, match="rows to take the covariates from"):
        simulate_compensation(parameters)
    with pytest.raises(DataError, match="fewer than the 300 subjects"):
        simulate_compensation(Simulation(replicates=2, exits=300), bought, front="front", trend="trend")
    with pytest.raises(DataError, match="front, trend"):
        simulate_compensation(parameters, bought)
    # A front of 2 would turn payment to own fronts into a fine.
    double = Problem.from_frame(bought.frame.assign(front=2 * bought.frame["front"]), "y", ["front", "trend"])
    with pytest.raises(DataError, match=r"front > front: expected a share from 0 to 1.*got 0 to 2"):
        simulate_compensation(Simulation(replicates=2, exits=100), double, front="front", trend="trend")
    assert len(simulate_compensation(parameters, double, front="front", trend="trend").table) == 4
    rounded = Problem.from_frame(bought.frame.assign(front=bought.frame["front"] * (1 + 1e-7)), "y", ["front", "trend"])
    by_front = Simulation(replicates=2, exits=100, strengths=[0.5])
    assert set(simulate_compensation(by_front, rounded, front="front", trend="trend").table["n_failed"]) == {0}
