"""A finished run in numbers."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr

from coalition_exit.errors import DataError
from coalition_exit.multiverse.reading.design import DecisionView, Design, design_of, read_design, write_design
from coalition_exit.multiverse.reading.summary import (
    direction,
    read_specs,
    specification_curve,
    summarize,
    summarize_multiverse,
    vibration_of_effects,
)
from coalition_exit.multiverse.runs.run import run_multiverse
from simulated_multiverse import multiverse


def design(expected: str = "positive") -> Design:
    view = DecisionView("k", "Choice", "options", ("0", "1", "none"), "1")
    focus, labels = MappingProxyType({"x": expected}), MappingProxyType({"x": "An effect"})
    return Design("t", "Title", (view, DecisionView("l", "Other", "sweep", ("15", "30"), "15")), focus, labels)


def table(estimates: list[float], errors: list[float] | None = None) -> pd.DataFrame:
    b = np.array(estimates)
    se = np.ones(len(b)) if errors is None else np.array(errors)
    n = len(b)
    missing = np.isnan(b)
    return pd.DataFrame({
        "spec": np.arange(n), "decision_k": [("0", "1", "none")[i // 2 % 3] for i in range(n)],
        "decision_l": [("15", "30")[i % 2] for i in range(n)], "term": "x", "variable": "x", "estimator": "cox",
        "ties": "breslow", "status": np.where(missing, "monotone", "ok"), "reason": np.where(missing, "runs off", ""),
        "n_event": 9, "estimate": b, "std_error": np.where(missing, np.nan, se), "statistic": b / se,
        "p_value": 2 * ndtr(-np.abs(b / se)), "conf_low": b - 1.96 * se, "conf_high": b + 1.96 * se,
    })  # fmt: skip


VALUES = [3.0, 1.0, -2.5, np.nan, 2.0, -1.0]


def test_the_curve_is_sorted_and_marked() -> None:
    curve = specification_curve(table(VALUES), design(), "x")
    assert curve["estimate"].tolist() == [-2.5, -1.0, 1.0, 2.0, 3.0]
    assert curve["rank"].tolist() == [1, 2, 3, 4, 5]
    assert curve["significant"].tolist() == [True, False, False, True, True]
    assert curve["expected"].tolist() == [False, False, True, True, True]
    assert curve.loc[curve["reference"], "spec"].tolist() == [2]
    assert curve["decision_l"].tolist() == ["15", "30", "30", "15", "15"]


def test_equal_estimates_keep_the_order_of_their_numbers() -> None:
    curve = specification_curve(table([1.0, 1.0, 0.5, 1.0]).iloc[::-1], design(), "x")
    assert curve["spec"].tolist() == [2, 0, 1, 3]


def test_counts_and_shares() -> None:
    row = summarize(table(VALUES), design()).terms.iloc[0]
    assert (row["specs"], row["estimated"], row["failed"], row["absent"]) == (6, 5, 1, 0)
    assert row["median"] == 1.0
    assert (row["p25"], row["p75"], row["minimum"], row["maximum"]) == (-1.0, 2.0, -2.5, 3.0)
    assert row["share_sign"] == pytest.approx(3 / 5)
    assert row["share_significant"] == pytest.approx(2 / 5)
    assert row["share_significant_opposite"] == pytest.approx(1 / 5)
    assert row["reference_estimate"] == -2.5
    assert row["reference_share_below"] == 0


@pytest.mark.parametrize(("expected", "sign", "significant"), [("negative", 2 / 5, 1 / 5), ("either", 3 / 5, 2 / 5)])
def test_the_expected_sign_decides(expected: str, sign: float, significant: float) -> None:
    row = summarize(table(VALUES), design(expected)).terms.iloc[0]
    assert (row["share_sign"], row["share_significant"]) == pytest.approx((sign, significant))


def test_either_sign_follows_the_median() -> None:
    assert direction("either", np.array([-1.0, -2.0, 3.0])) == -1
    assert direction("either", np.array([])) == 1


def test_failures_are_counted_by_reason() -> None:
    frame = table(VALUES)
    frame.loc[0, ["status", "reason", "estimate"]] = ["absent", "the spec does not have this term", np.nan]
    found = summarize(frame, design())
    assert found.failures.to_dict("records") == [
        {"term": "x", "status": "absent", "reason": "the spec does not have this term", "specs": 1},
        {"term": "x", "status": "monotone", "reason": "runs off", "specs": 1},
    ]
    assert found.terms[["failed", "absent"]].iloc[0].tolist() == [1, 1]


def test_options_have_curves_of_their_own() -> None:
    found = summarize(table(VALUES), design()).options.set_index(["decision", "option"])
    row = found.loc[("k", "1")]
    assert (row["specs"], row["estimated"], row["median"], row["reference"]) == (2, 1, -2.5, True)
    assert found.loc[("l", "15"), "median"] == 2.0
    assert list(found.index) == [("k", "0"), ("k", "1"), ("k", "none"), ("l", "15"), ("l", "30")]


def test_vibration_of_effects() -> None:
    b = np.linspace(-1, 3, 401)
    found = vibration_of_effects(table(b.tolist(), [0.5] * 401), "x")
    low, high = np.quantile(b, [0.01, 0.99])
    assert found["relative_ratio"] == pytest.approx(np.exp(high) / np.exp(low))
    logp = np.quantile(-np.log10(2 * ndtr(-np.abs(b / 0.5))), [0.01, 0.99])
    assert found["relative_p"] == pytest.approx(logp[1] - logp[0])
    assert found["janus"]
    assert sum(found[k] for k in ("up_significant", "up", "down", "down_significant")) == pytest.approx(1)
    assert found["up_significant"] == pytest.approx(((b > 0) & (b / 0.5 > 1.959964)).mean())


def test_p_values_of_zero_stay_finite() -> None:
    assert np.isfinite(vibration_of_effects(table([90.0, 95.0]), "x")["logp_p99"])


def test_nothing_estimated() -> None:
    found = summarize(table([np.nan, np.nan]), design())
    assert "0 of 2 specs" in found.text
    assert found.terms["median"].isna().all()
    assert found.vibration["specs"].tolist() == [0]


def test_the_text_says_what_was_found() -> None:
    text = summarize(table(VALUES), design()).text
    assert "5 of 6 specs have an estimate, 1 failed" in text
    assert "The median is 1" in text
    assert "60.0% have the expected sign, 40.0% are significant" in text


def test_from_a_run_on_disk(tmp_path: Path) -> None:
    made = multiverse()
    run_multiverse(made.file.name, tmp_path)
    with pytest.raises(DataError, match=r"design\.json"):
        summarize_multiverse(tmp_path)
    write_design(design_of(made), tmp_path)
    assert read_design(tmp_path) == design_of(made)
    found = summarize_multiverse(tmp_path)
    frame = pd.read_parquet(tmp_path / "specs.parquet")
    # One option measures x otherwise.
    assert found.terms["median"].iloc[0] == pytest.approx(np.median(frame["estimate_per_sd"]), rel=1e-12)
    reference = frame.loc[frame["spec"] == 0, "estimate_per_sd"].iloc[0]
    assert found.terms["reference_estimate"].iloc[0] == pytest.approx(reference, rel=1e-12)
    assert found.terms["fits"].iloc[0] == frame["key"].nunique()
    assert found.decomposition["shapley"].sum() == pytest.approx(1)


def test_missing_or_broken_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the table of a finished multiverse"):
        read_specs(tmp_path)
    (tmp_path / "design.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="the design of a multiverse, got something else"):
        read_design(tmp_path)
    table(VALUES).drop(columns="p_value").to_parquet(tmp_path / "specs.parquet")
    with pytest.raises(DataError, match="a column p_value"):
        read_specs(tmp_path)
    table(VALUES).drop(columns="decision_l").to_parquet(tmp_path / "specs.parquet")
    with pytest.raises(DataError, match="a column decision_l"):
        summarize_multiverse(tmp_path, design())
