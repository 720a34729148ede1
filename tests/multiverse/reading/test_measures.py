"""Terms that options measure in different ways: within a measure as they are, across measures per standard deviation."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr

from coalition_exit.errors import DataError
from coalition_exit.multiverse.choices.space import load_multiverse
from coalition_exit.multiverse.null.curves import NullCurves
from coalition_exit.multiverse.reading.decomposition import decompose
from coalition_exit.multiverse.reading.design import DecisionView, Design, design_of, read_design, write_design
from coalition_exit.multiverse.reading.joint import joint_test, read_joint_test, write_joint_test
from coalition_exit.multiverse.reading.measures import measures_of, scale_of, within_measures
from coalition_exit.multiverse.reading.summary import summarize
from small_multiverse import SMALL, changed

FRONT = DecisionView("front", "Front", "options", ("share", "any"), "share")
SAMPLE = DecisionView("sample", "Sample", "options", ("all", "few", "fewer"), "all")
TIES = DecisionView("ties", "Ties", "options", ("breslow", "efron"), "breslow")
DESIGN = Design(
    "t", "Title", (FRONT, SAMPLE, TIES), MappingProxyType({"x": "positive", "y": "either"}),
    MappingProxyType({"x": "An effect", "y": "Another"}), MappingProxyType({"x": ("front",)}),
)  # fmt: skip
SPREAD = {"share": 0.5, "any": 0.002}


def table() -> pd.DataFrame:
    """A table in which the measures of x tell the same story in units that are 250 times apart."""
    rows = []
    for n, (front, k, ties) in enumerate((f, k, t) for f in FRONT.options for k in range(3) for t in TIES.options):
        effect = 0.4 + 0.1 * k + 0.02 * (ties == "efron")
        for term in ("x", "y"):
            unit = SPREAD[front] if term == "x" else 1.0
            b, se = effect / unit, 0.25 / unit
            rows.append({
                "spec": n, "decision_front": front, "decision_sample": SAMPLE.options[k], "decision_ties": ties,
                "term": term, "variable": term, "estimator": "cox", "ties": ties, "status": "ok", "reason": "",
                "n_event": 9, "estimate": b, "std_error": se, "statistic": b / se,
                "p_value": 2 * ndtr(-abs(b / se)), "conf_low": b - 2 * se, "conf_high": b + 2 * se,
                "variable_sd": unit if term == "x" else 3.0, "fit": n,
            })  # fmt: skip
    return pd.DataFrame(rows)


def test_across_measures_everything_is_per_standard_deviation() -> None:
    found = summarize(table(), DESIGN)
    x, y = (found.terms.set_index("term").loc[name] for name in ("x", "y"))
    assert x["median"] == pytest.approx(y["median"])
    assert x["reference_estimate"] == pytest.approx(0.4)
    assert x["reference_conf_low"] == pytest.approx(0.4 - 0.5)
    shares = found.decomposition.set_index(["term", "decision"])["shapley"]
    assert shares["x", "front"] == pytest.approx(0, abs=1e-12)
    assert shares["x"].to_numpy() == pytest.approx(shares["y"].to_numpy())
    changes = found.changes.set_index(["term", "option"])["mean_change"]
    assert changes["x", "few"] == pytest.approx(0.1)
    assert changes["x", "any"] == pytest.approx(0, abs=1e-12)
    assert "The median per standard deviation of the variable, which options of Front measure" in found.text
    assert found.text.count("per standard deviation") == 1


def test_as_they_are_the_measures_would_be_all_of_the_variance() -> None:
    assert decompose(table(), DESIGN, "x").decisions.set_index("decision")["shapley"]["front"] > 0.95


def test_within_a_measure_the_coefficients_stand_as_they_are() -> None:
    found = measures_of(table(), DESIGN).set_index("measure")
    assert list(found.index) == ["front share", "front any"]
    for front, unit in SPREAD.items():
        row = found.loc[f"front {front}"]
        own = table()[lambda f, front=front: (f["term"] == "x") & (f["decision_front"] == front)]
        assert row["median"] == pytest.approx(own["estimate"].median())
        assert (row["specs"], row["variable_sd"]) == (6, unit)
        assert row["median_per_sd"] == pytest.approx(own["estimate"].median() * unit)
        assert row["share_significant"] == (own["p_value"] < 0.05).mean()


def test_shares_within_measures_are_those_of_each_measure() -> None:
    frame = table()
    # In one of the measures the sample decides nothing.
    flat = (frame["term"] == "x") & (frame["decision_front"] == "any")
    frame.loc[flat, "estimate"] = np.where(frame.loc[flat, "decision_ties"] == "efron", 2.0, 1.0)
    found = within_measures(frame, DESIGN).set_index("decision")
    assert list(found.index) == ["sample", "ties"]
    share = decompose(frame[frame["decision_front"] == "share"], DESIGN, "x").decisions.set_index("decision")["shapley"]
    assert found.loc["sample", "highest"] == pytest.approx(share["sample"])
    assert found.loc["sample", "lowest"] == pytest.approx(0, abs=1e-12)
    assert found.loc["sample", "share"] == pytest.approx(share["sample"] / 2)
    assert found["share"].sum() == pytest.approx(1)


def test_fits_that_are_the_same_are_counted_once() -> None:
    frame = table()
    again = (frame["term"] == "y") & (frame["decision_ties"] == "efron")
    frame.loc[again, ["estimate", "fit"]] = frame.loc[again.shift(-2, fill_value=False), ["estimate", "fit"]].to_numpy()
    frame.loc[(frame["term"] == "y") & (frame["decision_sample"] == "all"), ["estimate", "fit"]] = 9.0, 0
    row = summarize(frame, DESIGN).terms.set_index("term").loc["y"]
    once = frame[frame["term"] == "y"].drop_duplicates("fit")
    assert row["fits"] == len(once) == 5 < row["estimated"] == 12
    assert row["median_of_fits"] == once["estimate"].median()
    assert row["share_significant_of_fits"] == (once["p_value"] < 0.05).mean() != row["share_significant"]
    assert "These specs are 5 different fits" in summarize(frame, DESIGN).text


def test_a_table_without_standard_deviations_is_refused() -> None:
    with pytest.raises(DataError, match="a column variable_sd"):
        summarize(table().drop(columns="variable_sd"), DESIGN)


def test_the_joint_test_is_on_the_same_scale() -> None:
    frame = table()
    own = frame[frame["term"] == "x"]
    n = len(own)
    scale = scale_of(frame, DESIGN, np.arange(n)[::-1])
    assert scale["x"] == pytest.approx(own["variable_sd"].to_numpy()[::-1])
    estimate = own["estimate"].to_numpy()[::-1, None]
    error = own["std_error"].to_numpy()[::-1, None]
    z = np.random.default_rng(0).normal(size=(30, 1, 1)) * np.ones((1, n, 1))
    shift = (0.2 * z / scale["x"][:, None]).astype(np.float32)
    curves = NullCurves(("x",), np.arange(n)[::-1], estimate, error, shift, z.astype(np.float32),
                        np.zeros(shift.shape, np.int8), {}, "group", 9, 4)  # fmt: skip
    found = joint_test(curves, {"x": "positive"}, scale)
    row = found.tests.set_index(["statistic", "alternative"]).loc["median", "one-sided"]
    assert row["observed"] == pytest.approx(summarize(frame, DESIGN).terms["median"].iloc[0])
    assert row["exceeding"] == (0.2 * z[:, 0, 0] >= row["observed"]).sum()
    # All specs move together, so every rank of the band is the same quantile.
    assert found.band["high"].to_numpy() == pytest.approx(np.quantile(0.2 * z[:, 0, 0], 0.975), rel=1e-5)
    plain = joint_test(curves, {"x": "positive"}).tests.set_index(["statistic", "alternative"])
    assert plain.loc["share_significant", "one-sided"]["p_value"] == found.tests["p_value"].iloc[2]


def test_which_decisions_measure_a_term(tmp_path) -> None:  # type: ignore[no-untyped-def]
    design = design_of(load_multiverse(SMALL.encode()))
    assert dict(design.measured_by) == {"ctrend60": ("trend", "window")}
    write_design(design, tmp_path)
    assert read_design(tmp_path) == design
    text = changed(("        no_world_wars: {sample", "        any: {coding: {foverlap: any_common_front}, sample"))
    assert design_of(load_multiverse(text)).measured_by["foverlap"] == ("wars",)
    # A decision over another variable, or over controls alone, measures nothing.
    text = changed(("{replace: {ctrend60: otrend60}}", "{add: [otrend60]}"), ("[ctrend60, otrend60]", "otrend60"))
    assert dict(design_of(load_multiverse(text)).measured_by) == {}


def test_the_test_of_another_run_is_none(tmp_path) -> None:  # type: ignore[no-untyped-def]
    curves = NullCurves(("x",), np.arange(1), np.ones((1, 1)), np.ones((1, 1)), np.zeros((3, 1, 1), np.float32),
                        np.zeros((3, 1, 1), np.float32), np.zeros((3, 1, 1), np.int8), {}, "g", 9, 4)  # fmt: skip
    test = joint_test(curves, {"x": "positive"})
    (tmp_path / "multiverse.json").write_text('{"plan": "one"}', encoding="utf-8")
    write_joint_test(test, tmp_path)
    assert read_joint_test(tmp_path) is not None
    (tmp_path / "multiverse.json").write_text('{"plan": "another"}', encoding="utf-8")
    assert read_joint_test(tmp_path) is None
