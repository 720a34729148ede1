"""Figures of the robustness tools: their numbers, and that the drawing holds them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from coalition_exit.report import robustness_plots as plots


def test_simulation() -> None:
    table = pd.DataFrame(
        {
            "term": ["b", "b", "a", "a"], "target": ["all"] * 4, "strength": [0.5, 0.0, 0.5, 0.0], "truth": [5.0, 5.0, -1.0, -1.0],
            "mean": [3.0, 5.1, -1.0, -1.1], "bias_mc": [0.1, 0.2, 0.1, 0.1],
        }
    )  # fmt: skip
    data = plots.simulation_data(table)
    assert data["strength"].tolist() == [0.0, 0.5, 0.0, 0.5]
    assert data["high"].iloc[2] == pytest.approx(5.1 + 1.96 * 0.2)
    figure = plots.draw_simulation(data, {"a": "Front"})
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Front", "b"]
    np.testing.assert_allclose(figure.axes[1].lines[1].get_ydata(), [5.1, 3.0])


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
    figure = plots.draw_bought_off(data)
    np.testing.assert_allclose(figure.axes[0].lines[2].get_ydata(), [1.0, 1.1])


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
    figure = plots.draw_uncertainty(data, {"a": "Front"})
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["Front (36%)"]
