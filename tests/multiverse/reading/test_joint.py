"""Joint tests of a curve: statistics and p values by hand, files, and size and power by simulation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, binomtest

from coalition_exit.errors import DataError, FitError
from coalition_exit.multiverse.null.curves import NullCurves, null_curves
from coalition_exit.multiverse.null.refits import NOT_TESTED
from coalition_exit.multiverse.reading.joint import (
    STATISTICS,
    exact_interval,
    joint_test,
    read_joint_test,
    write_joint_test,
)
from simulated_multiverse import engine, simulate


def curves(estimate: list[float], error: list[float], shift: list[list[float]], se: float = 1.0) -> NullCurves:
    """Return curves of one term from estimates on the sample (N) and shifts under the null (R, N)."""
    b = np.array(shift, dtype=np.float32)[:, :, None]
    status = np.where(np.isnan(b), 3, 0).astype(np.int8)
    return NullCurves(
        ("x",), np.arange(len(estimate)), np.array(estimate)[:, None], np.array(error)[:, None], b, b / np.float32(se),
        status, {}, "group", 9, 4,
    )  # fmt: skip


FOUND = curves(
    [1.0, 2.0, 3.0], [1.0, 0.5, 1.0],
    [[0.5, 0.5, 0.5], [2.5, 2.5, 2.5], [-3.0, -3.0, -3.0], [0.1, -0.1, 2.5], [-0.2, 0.3, 0.4]],
)  # fmt: skip


def row(frame: pd.DataFrame, statistic: str, alternative: str) -> pd.Series:
    return frame.set_index(["statistic", "alternative"]).loc[(statistic, alternative)]


@pytest.mark.parametrize(
    ("statistic", "alternative", "observed", "exceeding"),
    [
        # z found: 1, 4, 3. Curves: medians .5, 2.5, -3, .1, .3; all z as the shifts.
        ("median", "one-sided", 2.0, 1),
        ("median", "two-sided", 2.0, 2),
        ("share_significant", "one-sided", 2 / 3, 1),
        ("share_significant", "two-sided", 2 / 3, 2),
        ("share_sign", "one-sided", 1.0, 2),
        ("share_sign", "two-sided", 1.0, 3),
        ("mean_z", "one-sided", 8 / 3, 0),
        ("mean_z", "two-sided", 8 / 3, 1),
    ],
)
def test_p_values_count_curves_as_extreme(statistic: str, alternative: str, observed: float, exceeding: int) -> None:
    found = row(joint_test(FOUND, {"x": "positive"}).tests, statistic, alternative)
    assert found["observed"] == pytest.approx(observed)
    assert (found["exceeding"], found["replicates"]) == (exceeding, 5)
    p = (exceeding + 1) / 6
    assert found["p_value"] == pytest.approx(p)
    assert found["monte_carlo_error"] == pytest.approx(np.sqrt(p * (1 - p) / 5))


def test_the_other_expected_sign_mirrors() -> None:
    mirrored = replace(FOUND, estimate=-FOUND.estimate, shift=-FOUND.shift, statistic=-FOUND.statistic)
    up, down = joint_test(FOUND, {"x": "positive"}).tests, joint_test(mirrored, {"x": "negative"}).tests
    pd.testing.assert_frame_equal(up, down)


def test_without_an_expected_sign_there_is_no_one_sided_test() -> None:
    either, signed = joint_test(FOUND, {"x": "either"}).tests, joint_test(FOUND, {"x": "positive"}).tests
    assert set(either["alternative"]) == {"two-sided"}
    both = signed[signed["alternative"] == "two-sided"].reset_index(drop=True)
    pd.testing.assert_frame_equal(either, both)


def test_failed_refits_are_left_out_and_counted() -> None:
    nan = np.nan
    some = curves([1.0, 2.0], [1.0, 1.0], [[nan, 0.5], [nan, nan], [3.0, 3.0]])
    found = joint_test(some, {"x": "positive"})
    assert (found.tests["replicates"] == 2).all()
    assert row(found.tests, "median", "one-sided")["exceeding"] == 1
    assert found.replicates["share_estimated"].tolist() == [0.5, 1.0]
    assert found.refits.set_index("status")["refits"].to_dict()["not_identified"] == 3


def test_specs_that_were_not_refitted_are_no_part_of_the_curve() -> None:
    some = curves([1.0, 9.0], [1.0, 1.0], [[0.5, np.nan], [1.5, np.nan]])
    some.status[:, 1] = NOT_TESTED
    found = joint_test(some, {"x": "positive"})
    assert row(found.tests, "median", "one-sided")["observed"] == 1.0
    some.status[:] = NOT_TESTED
    with pytest.raises(FitError, match="no spec with x was refitted"):
        joint_test(some, {"x": "positive"})


def test_an_unknown_sign_is_refused() -> None:
    with pytest.raises(DataError, match="expected sign of x: expected one of"):
        joint_test(FOUND, {"x": "up"})
    with pytest.raises(DataError, match="expected sign of x"):
        joint_test(FOUND, {})


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (7, 499)])
def test_exact_interval_is_clopper_and_pearsons(k: int, n: int) -> None:
    known = binomtest(k, n).proportion_ci(method="exact")
    assert exact_interval(k, n) == pytest.approx((known.low, known.high), abs=1e-12)


def test_files_give_back_what_was_written(tmp_path: Path) -> None:
    assert read_joint_test(tmp_path) is None
    test = joint_test(FOUND, {"x": "positive"})
    write_joint_test(test, tmp_path)
    again = read_joint_test(tmp_path)
    assert again is not None
    for name in ("tests", "replicates", "band", "refits"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(test, name))
    assert (again.by, again.n_cluster, again.seed) == ("group", 9, 4)
    (tmp_path / "joint_band.csv").unlink()
    with pytest.raises(DataError, match="the files of a joint test"):
        read_joint_test(tmp_path)


def test_the_band_holds_quantiles_of_sorted_curves() -> None:
    band = joint_test(FOUND, {"x": "positive"}).band
    assert band["rank"].tolist() == [0.0, 0.5, 1.0]
    # Lowest, middle and highest estimates of the five curves.
    assert band["median"].tolist() == pytest.approx([-0.1, 0.3, 0.5], abs=1e-6)


def p_values(effect: float, runs: int) -> pd.DataFrame:
    rows = []
    for s in range(runs):
        found = null_curves(engine(simulate([s, 11], effect)), 59, seed=s)
        tests = joint_test(found, {"x": "positive"}).tests
        rows.append(tests.set_index(["statistic", "alternative"])["p_value"])
    return pd.DataFrame(rows)


@pytest.mark.slow
def test_size_and_power() -> None:
    size, power = p_values(0.0, 140), p_values(0.5, 25)
    rejected = (size <= 0.05).sum()
    # The rejections of a test of size 5% lie below this in all but one of 10,000 such simulations.
    most = binom.ppf(1 - 1e-4, len(size), 0.05)
    assert (rejected <= most).all(), rejected
    for statistic in ("median", "share_significant", "mean_z"):
        one = (statistic, "one-sided")
        # Not far below 5% either, and many more when there is an effect.
        assert rejected[one] >= binom.ppf(1e-4, len(size), 0.05)
        assert (power[one] <= 0.05).mean() > 0.6 > 3 * (size[one] <= 0.05).mean()
    # Specs of the same data agree on the sign under the null as well: that share alone shows little.
    assert (power["share_sign", "one-sided"] <= 0.05).mean() <= (power["median", "one-sided"] <= 0.05).mean()
    assert set(size.columns.get_level_values(0)) == set(STATISTICS)
