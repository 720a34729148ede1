"""Figures of the robustness tools: their numbers, and that the drawing holds them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from coalition_exit.report import robustness_plots as plots
from coalition_exit.report.robustness_tables import robustness_grids
from coalition_exit.specs.loading import load_spec

SAID = (
    "A title that is much longer than the figure is wide, so that it has to be wrapped to fit it",
    "Data: made up. " * 20,
)


def _check(figure) -> None:
    """The figure says what it is and what it shows, and nothing lies over that."""
    figure.draw_without_rendering()
    title, note = figure._suptitle, figure._supxlabel
    assert title.get_text().replace("\n", " ") == SAID[0]
    assert note.get_text().replace("\n", " ") == SAID[1].strip()
    boxes = [one.get_window_extent() for one in (title, note)]
    legends = [axes.get_legend() for axes in figure.axes if axes.get_legend() is not None]
    assert len(legends) == 1
    others = [legends[0].get_window_extent(), *(axes.get_tightbbox() for axes in figure.axes if axes.axison)]
    assert not any(box.overlaps(other) for box in boxes for other in others)
    assert all(box.x1 <= figure.bbox.x1 for box in boxes)
    assert not any(legends[0].get_window_extent().overlaps(other) for other in others[1:])


def test_simulation() -> None:
    table = pd.DataFrame(
        {
            "term": ["b", "b", "a", "a"], "target": ["all"] * 4, "strength": [0.5, 0.0, 0.5, 0.0], "truth": [5.0, 5.0, -1.0, -1.0],
            "mean": [3.0, 5.1, -1.0, -1.1], "bias_mc": [0.1, 0.2, 0.1, 0.1],
        }
    )  # fmt: skip
    data = plots.simulation_data(table)
    # Terms in the order of the table and not of the alphabet.
    assert data["term"].tolist() == ["b", "b", "a", "a"]
    assert data["strength"].tolist() == [0.0, 0.5, 0.0, 0.5]
    assert data["high"].iloc[0] == pytest.approx(5.1 + 1.96 * 0.2)
    figure = plots.draw_simulation(data, {"a": "Front"}, *SAID)
    assert [axes.get_title(loc="left") for axes in figure.axes[:2]] == ["b", "Front"]
    np.testing.assert_allclose(figure.axes[0].lines[1].get_ydata(), [5.1, 3.0])
    _check(figure)


def test_bought_off() -> None:
    table = pd.DataFrame(
        {
            "term": ["a"] * 3, "share": [0.0, 0.2, 0.9], "status": ["ok", "ok", "no_observations"],
            "estimate": [1.0, 1.2, np.nan], "conf_low": [0.5, 0.6, np.nan], "conf_high": [1.5, 1.8, np.nan],
            "direct_estimate": [1.0, 1.1, np.nan],
        }
    )  # fmt: skip
    data = plots.bought_off_data(table)
    assert data["share"].tolist() == [0.0, 0.2]
    figure = plots.draw_bought_off(
        data, {"a": "A coefficient with a label that is longer than its panel is wide"}, *SAID
    )
    _check(figure)
    axes = figure.axes[0]
    assert axes.get_title(loc="left").count("\n") == 2
    np.testing.assert_allclose(axes.lines[2].get_ydata(), [1.0, 1.1])


def test_uncertainty() -> None:
    table = pd.DataFrame(
        {
            "model": ["m", "m", "m"], "drawn": ["all", "exits", "all"], "term": ["a", "a", "b"], "reference": [1.0, 1.0, 2.0],
            "estimate": [0.8, 0.9, np.nan], "conf_low": [-0.2, 0.1, np.nan], "conf_high": [1.8, 1.7, np.nan],
            "share_coding": [0.36, 0.2, np.nan],
        }
    )  # fmt: skip
    data = plots.uncertainty_data(table, "m")
    assert data["term"].tolist() == ["a"]
    # 0.64 of the variance is sampling: 0.8 of the interval's half width of 1.
    assert data["sampling_high"].item() == pytest.approx(1.6)
    figure = plots.draw_uncertainty(data, {"a": "Front"}, *SAID)
    _check(figure)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["Front (36%)"]


def test_every_table_says_which_data_it_shows() -> None:
    text = "{table: t, title: T, models: [{key: m, failure: withdraw, covariates: [foverlap]}]}"
    names = ["reference", "estimate", "std_error", "shift", "conf_low", "conf_high", "p_value"]
    numbers = {name: [1.0, 1.0] for name in names}
    shares = {"share_coding": [0.2, 0.2], "share_sampling": [0.8, 0.8], "m": [3, 3], "reason": ["", ""]}
    table = pd.DataFrame(
        {"model": ["m", "m"], "drawn": ["all", "exits"], "term": ["foverlap"] * 2, **numbers, **shares}
    )
    grids = robustness_grids(load_spec(text.encode(), "t.yaml"), {"uncertainty": table}, {}, "made up")
    assert [grid.key for grid in grids] == ["t_uncertainty", "t_uncertainty_kinds"]
    assert all(grid.notes[-1] == "Data: made up." for grid in grids)
