"""Drawings show the numbers that the results hold, and say what they are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import matplotlib as mpl
import matplotlib.colors
import numpy as np
import pandas as pd
import pytest

from coalition_exit.errors import DataError
from coalition_exit.survival import CoxPH, survival_curves
from coalition_exit.survival import plots as drawings
from coalition_exit.survival.quantities.predict import survival, survival_contrast
from coverage_reference import data_of


@pytest.fixture(autouse=True)
def _no_window() -> Iterator[None]:
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


@pytest.fixture(scope="module")
def fit():
    return CoxPH(ties="efron").fit("Surv(time, status) ~ trt + karno + age", data_of("veteran"))


def band(ax) -> np.ndarray:
    """Lowest and highest point of each band of the axes."""
    paths = [collection.get_paths()[0].vertices for collection in ax.collections if collection.get_paths()]
    return np.array([(path[:, 1].min(), path[:, 1].max()) for path in paths if len(path) > 4])


def test_functional_form(fit) -> None:
    table, ax = fit.functional_form("karno"), fit.plot_functional_form("karno")
    np.testing.assert_array_equal(ax.lines[1].get_xydata(), table[["covariate", "smooth"]])
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), table[["covariate", "residual"]])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("karno", "Martingale residual")


@pytest.mark.parametrize("transform", ["km", "log", "identity"])
def test_coefficient_over_time(fit, transform: str) -> None:
    found = fit.schoenfeld_smooth("karno", transform)
    ax = found.plot()
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), found.line[["transformed", "smooth"]])
    assert ax.lines[1].get_ydata()[0] == fit.coef["karno"]
    low, high = band(ax)[0]
    assert low == found.line["conf_low"].min()
    assert high == found.line["conf_high"].max()
    # Ticks bear times.
    ticks = [float(label.get_text()) for label in ax.get_xticklabels()]
    known = found.residuals.drop_duplicates("transformed").sort_values("transformed")
    np.testing.assert_allclose(ax.get_xticks(), np.interp(ticks, known["time"], known["transformed"]))
    assert "karno" in ax.get_ylabel()


def test_predictions_are_steps_with_bands(fit) -> None:
    scenarios = fit.scenarios(pd.DataFrame({"trt": [1, 2], "karno": [80, 30], "age": 60}, index=["a", "b"]))
    found = survival(scenarios)
    ax = found.plot()
    for line, (label, own) in zip(ax.lines[:2], found.table.groupby("scenario"), strict=True):
        assert line.get_label() == label
        assert line.get_drawstyle() == "steps-post"
        np.testing.assert_array_equal(line.get_xydata(), own[["time", "estimate"]])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    assert ax.lines[0].get_linestyle() != ax.lines[1].get_linestyle()
    assert ax.get_ylabel() == "Survival"
    assert survival_contrast(scenarios, "a", "b", kind="ratio").plot().get_ylabel() == "Ratio of survival"


def test_survival_curves_mark_where_rows_end() -> None:
    curves = survival_curves("Surv(time, status)", data_of("veteran"), by="trt")
    ax = drawings.survival_curves(curves)
    own = curves[1.0]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), own.survival)
    np.testing.assert_array_equal(ax.lines[1].get_xdata(), own.time[own.censored > 0])
    assert len(own.plot().lines) == 2


def test_hazard_ratio_over_time() -> None:
    fit = CoxPH().fit("Surv(time, status) ~ karno + tt(karno, log)", data_of("veteran"))
    by_time, times = {"tt(karno, log)": np.log}, np.array([1.0, 10, 100])
    ax = fit.plot_hazard_ratio_over_time("karno", by_time, times, change=20)
    table = fit.hazard_ratio_over_time("karno", by_time, times, change=20)
    np.testing.assert_array_equal(ax.lines[1].get_xydata(), table[["time", "estimate"]])
    assert ax.lines[0].get_ydata()[0] == 1.0
    assert ax.get_yscale() == "log"
    assert ax.get_ylabel() == "Hazard ratio of karno for a change by 20"


def test_margins(fit) -> None:
    found = fit.margins({"karno": [80, 20], "trt": [1, 2]})
    ax = found.plot("karno")
    own = found.table[found.table["trt"] == 2].sort_values("karno")
    np.testing.assert_array_equal(ax.lines[1].get_xydata(), own[["karno", "estimate"]])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["trt = 1", "trt = 2"]
    with pytest.raises(DataError, match="Did you mean 'karno'"):
        found.plot("karn")


def test_axes_may_be_given(fit) -> None:
    import matplotlib.pyplot as plt

    _, ax = plt.subplots()
    assert fit.plot_functional_form("age", ax=ax) is ax
    assert fit.schoenfeld_smooth("age").plot(ax) is ax


def test_looks_differ_in_colour_and_in_grey() -> None:
    looks = {tuple(drawings.look(place).items()) for place in range(28)}
    assert len(looks) == 28
    # Neighbours differ in their dashes, for those who see no colours.
    dashes = [drawings.look(place)["linestyle"] for place in range(8)]
    assert all(one != two for one, two in itertools.pairwise(dashes))
    assert all(matplotlib.colors.is_color_like(colour) for colour in drawings.COLOURS)


def test_smooth_refuses_by_name(fit) -> None:
    for call, message in (
        (lambda: fit.schoenfeld_smooth("karn"), "Did you mean 'karno'"),
        (lambda: fit.schoenfeld_smooth("karno", "kn"), "transform: expected"),
        (lambda: fit.schoenfeld_smooth("karno", df=1), "df: expected a whole number >= 2"),
        (lambda: fit.schoenfeld_smooth("karno", level=95), "level: expected a number between 0 and 1"),
    ):
        with pytest.raises(DataError, match=message):
            call()


def test_a_straight_line_is_the_least_squares_fit(fit) -> None:
    found = fit.schoenfeld_smooth("age", "identity", df=2, level=0.9)
    slope, constant = np.polyfit(found.residuals["transformed"], found.residuals["residual"], 1)
    np.testing.assert_allclose(found.line["smooth"], constant + slope * found.line["transformed"], rtol=1e-9)


def test_strata_in_which_a_covariate_is_constant_say_nothing() -> None:
    data = data_of("veteran")
    other = data.assign(cell=9.0, karno=50.0)
    both = pd.concat([data.assign(cell=1.0), other], ignore_index=True)
    alone = CoxPH().fit("Surv(time, status) ~ karno", data).schoenfeld_smooth("karno", "identity")
    found = CoxPH().fit("Surv(time, status) ~ karno + strata(cell)", both).schoenfeld_smooth("karno", "identity")
    np.testing.assert_allclose(found.line, alone.line, rtol=1e-9)
    assert len(found.residuals) == len(alone.residuals)
