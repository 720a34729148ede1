"""Figures of a multiverse as numbers, their drawings and the report."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr

from coalition_exit.errors import DataError
from coalition_exit.multiverse.null.curves import NullCurves
from coalition_exit.multiverse.reading.design import DecisionView, Design, write_design
from coalition_exit.multiverse.reading.joint import joint_test, write_joint_test
from coalition_exit.multiverse.reading.summary import Summary, summarize
from coalition_exit.report import speccurve
from coalition_exit.report.speccurve_report import write_multiverse_report
from report.pages import Page

EXIT = DecisionView("exit", "Exit rule", "options", ("article", "voluntary", "<none> & $x$"), "article")
WINDOW = DecisionView("window", "Window", "sweep", tuple(str(w) for w in range(15, 55, 2)), "15")
CONTROLS = DecisionView("controls", "Controls", "subsets", ("a+b", "a", "b", "none"), "a+b")
DESIGN = Design(
    "t", "A multiverse", (EXIT, WINDOW, CONTROLS), MappingProxyType({"x": "positive", "y": "either"}),
    MappingProxyType({"x": "Effect of x_1", "y": "Effect of y"}),
)  # fmt: skip


def table(design: Design = DESIGN, times: int = 1, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    sizes = [len(d.options) for d in design.decisions]
    codes = np.stack([g.ravel() for g in np.meshgrid(*map(np.arange, sizes), indexing="ij")], axis=1).repeat(times, 0)
    parts = []
    for term in design.focus:
        b = 0.5 + 0.2 * codes[:, 0] - 0.02 * codes[:, 1] + rng.normal(0, 0.2, len(codes))
        se = np.exp(rng.normal(-1, 0.2, len(b)))
        b[3] = se[3] = np.nan
        parts.append(pd.DataFrame({
            "spec": np.arange(len(b)),
            **{d.column: np.array(d.options)[codes[:, k]] for k, d in enumerate(design.decisions)},
            "term": term, "variable": term, "estimator": "cox", "ties": "breslow",
            "status": np.where(np.isnan(b), "monotone", "ok"), "reason": np.where(np.isnan(b), "runs off", ""),
            "n_event": 9, "estimate": b, "std_error": se, "statistic": b / se, "p_value": 2 * ndtr(-np.abs(b / se)),
            "conf_low": b - 1.96 * se, "conf_high": b + 1.96 * se,
        }))  # fmt: skip
    return pd.concat(parts).sort_values(["spec", "term"]).reset_index(drop=True)


@pytest.fixture(scope="module")
def summary() -> Summary:
    return summarize(table(), DESIGN)


def joint(summary: Summary) -> object:
    n = len(summary.specs) // 2
    b = summary.specs["estimate"].to_numpy().reshape(n, 2)
    se = summary.specs["std_error"].to_numpy().reshape(n, 2)
    shift = np.random.default_rng(1).normal(0, 0.3, (19, 1, 2)) * np.ones((1, n, 1)) + 0 * b
    shift = shift.astype(np.float32)
    status = np.where(np.isnan(shift), 5, 0).astype(np.int8)
    curves = NullCurves(("x", "y"), np.arange(n), b, se, shift, (shift / se).astype(np.float32), status,
                        {"monotone: runs off": 1}, "coalid", 44, 7)  # fmt: skip
    return joint_test(curves, dict(DESIGN.focus))


def test_dashboards_stay_short() -> None:
    rows = speccurve.dashboard_rows(WINDOW, WINDOW.options)
    assert len(rows) == 8
    assert rows[0].label == "15 to 19"
    assert frozenset().union(*(r.options for r in rows)) == frozenset(WINDOW.options)
    assert [r.label for r in speccurve.dashboard_rows(CONTROLS, CONTROLS.options)] == [
        "with a", "with b", "with none of them",
    ]  # fmt: skip
    assert speccurve.dashboard_rows(CONTROLS, CONTROLS.options)[0].options == {"a", "a+b"}
    many = DecisionView("w", "Wars", "options", tuple(f"w{k}" for k in range(30)), "w9")
    rows = speccurve.dashboard_rows(many, many.options)
    assert (rows[0].label, rows[-1].label, len(rows)) == ("w9", "23 others", 8)
    assert frozenset().union(*(r.options for r in rows)) == frozenset(many.options)


def test_each_spec_is_a_column_while_they_are_few(summary: Summary) -> None:
    columns, dashboard, marks = speccurve.curve_columns(summary, "x")
    own = summary.specs[(summary.specs["term"] == "x") & summary.specs["estimate"].notna()].sort_values("estimate")
    assert columns["estimate"].tolist() == own["estimate"].tolist()
    assert (columns["specs"] == 1).all()
    for row in ("article", "voluntary"):
        share = dashboard.loc[dashboard["row"] == row, "share"].to_numpy()
        np.testing.assert_array_equal(share, own["decision_exit"] == row)
    expected = columns[["expected", "none", "opposite"]]
    assert (expected.sum(axis=1) == 1).all()
    assert marks["what"].tolist() == ["reference", "median"]
    assert marks.loc[1, "estimate"] == own["estimate"].median()


def test_many_specs_are_pooled(monkeypatch: pytest.MonkeyPatch, summary: Summary) -> None:
    monkeypatch.setattr(speccurve, "MOST_SINGLE", 50)
    monkeypatch.setattr(speccurve, "COLUMNS", 40)
    monkeypatch.setattr(speccurve, "MOST_POINTS", 100)
    columns, dashboard, _ = speccurve.curve_columns(summary, "x")
    n = int(summary.terms["estimated"].iloc[0])
    assert (len(columns), columns["specs"].sum()) == (40, n)
    assert columns["rank_from"].iloc[0] == 1
    assert columns["rank_to"].iloc[-1] == n
    assert (columns["rank_from"].to_numpy()[1:] == columns["rank_to"].to_numpy()[:-1] + 1).all()
    of_exit = dashboard[dashboard["decision"] == "exit"].groupby("column")["share"].sum()
    np.testing.assert_allclose(of_exit, 1)
    points = speccurve.vibration_points(summary, "x")
    assert points.loc[points["width"] > 0, "specs"].sum() == n
    assert points["reference"].sum() == 1


def test_multiples_hold_the_curve_of_each_option(summary: Summary) -> None:
    data = speccurve.multiples_data(summary, "x")
    own = summary.specs[(summary.specs["term"] == "x") & summary.specs["estimate"].notna()]
    part = data[data["row"] == "voluntary"]
    values = own.loc[own["decision_exit"] == "voluntary", "estimate"]
    assert part["estimate"].iloc[[0, -1]].tolist() == [values.min(), values.max()]
    assert part["specs"].iloc[0] == len(values)
    assert part["median"].iloc[0] == pytest.approx(values.median())


def test_null_histograms_hold_every_curve(summary: Summary) -> None:
    data = speccurve.null_histograms(joint(summary), "x")
    assert (data.groupby("statistic")["curves"].sum() == 19).all()


def test_the_report(tmp_path: Path, summary: Summary) -> None:
    summary.specs.to_parquet(tmp_path / "specs.parquet")
    write_design(DESIGN, tmp_path)
    write_joint_test(joint(summary), tmp_path)
    report = write_multiverse_report(tmp_path, tmp_path / "out", note="made up")
    out = tmp_path / "out"
    assert {g.key for g in report.grids} == {
        "multiverse_terms", "multiverse_failures", "multiverse_joint", "multiverse_decomposition",
        "multiverse_changes", "multiverse_vibration",
    }  # fmt: skip
    for key in report.figures:
        for suffix in ("png", "pdf", "svg"):
            assert (out / "figures" / f"{key}.{suffix}").stat().st_size > 5_000
    for grid in report.grids:
        for suffix in ("md", "tex", "html", "csv"):
            assert (out / "tables" / f"{grid.key}.{suffix}").is_file()
    page = report.page.read_text("utf-8")
    assert Page(page).open == []
    assert page.count("<img") == len(report.figures)
    assert "<none>" not in page
    assert "made up" in page
    kept = pd.read_csv(out / "multiverse" / "changes.csv", float_precision="round_trip", keep_default_na=False)
    first = report.summary.changes.iloc[0]
    assert float(kept.loc[0, "mean_change"]) == first["mean_change"]


@pytest.mark.parametrize("n", [0, 1, 2])
def test_hardly_any_specs(tmp_path: Path, n: int) -> None:
    frame = table()
    frame = frame[frame["spec"] < max(n, 1)].copy()
    if n == 0:
        frame.loc[:, ["estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high"]] = np.nan
        frame["status"], frame["reason"] = "no_events", "no events among 9 rows"
    frame.to_parquet(tmp_path / "specs.parquet")
    write_design(DESIGN, tmp_path)
    report = write_multiverse_report(tmp_path, tmp_path / "out")
    assert Page(report.page.read_text("utf-8")).open == []
    assert report.summary.terms["estimated"].tolist() == [n, n]
    if n == 2:
        # The same numbers give the same bytes.
        again = write_multiverse_report(tmp_path, tmp_path / "again")
        assert again.page.read_bytes() == report.page.read_bytes()


def test_a_folder_that_is_a_file(tmp_path: Path, summary: Summary) -> None:
    summary.specs.to_parquet(tmp_path / "specs.parquet")
    write_design(DESIGN, tmp_path)
    (tmp_path / "out").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="a folder that can be written to"):
        write_multiverse_report(tmp_path, tmp_path / "out")
