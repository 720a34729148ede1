"""Drawing the article's kinds of figures from their numbers."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from coalition_exit.report.captions import caption
from coalition_exit.report.coefplot import COLOURS, MARKERS, STYLE
from coalition_exit.specs.exhibits import Figure, History, Margins, Survival, Windows

LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (3, 1)), (0, (8, 2)))
GREY = "#555555"


def draw_exhibit(figure: Figure, data: pd.DataFrame, note: str) -> Any:
    """Draw a figure from its numbers and return the matplotlib figure.

    Parameters
    ----------
    figure
        What is to be shown.
    data
        The rows of its CSV file.
    note
        Text below the figure.
    """
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        plot = figure.plot
        if isinstance(plot, History):
            canvas = _history(figure, plot, data)
        elif isinstance(plot, Survival):
            canvas = _survival(plot, data)
        elif isinstance(plot, Margins):
            panels = plot.layout == "panels"
            canvas = _margin_panels(figure, plot, data) if panels else _margins_together(figure, plot, data)
        else:
            assert isinstance(plot, Windows)
            canvas = _windows(figure, plot, data)
        caption(canvas, figure.title, note)
    return canvas


def describe(figure: Figure) -> str:
    """Return a sentence for readers who cannot see the figure."""
    return f"{figure.title}: {figure.description or 'the numbers are in its CSV file'}"


def _canvas(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Any, Any]:
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(width, height), layout="constrained")
    return canvas, canvas.subplots(rows, columns, squeeze=False, **options)


def _look(axes: Any) -> None:
    axes.spines["left"].set_visible(True)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)


def _history(figure: Figure, plot: History, data: pd.DataFrame) -> Any:
    panels = [panel.title for panel in plot.panels]
    canvas, grid = _canvas(max(7.0, 3.6 * len(panels)), 4.2, columns=len(panels), sharey=True)
    dates = pd.to_datetime(data["date"])
    keys = [(state, variable) for state in plot.states for variable in plot.variables]
    for axes, panel in zip(grid[0], panels, strict=True):
        for k, (state, variable) in enumerate(keys):
            own = (data["panel"] == panel) & (data["state"] == state) & (data["variable"] == variable)
            if not own.any():
                continue
            days, values = _with_gaps(dates[own], data.loc[own, "value"], plot.every)
            axes.plot(
                days,
                values,
                color=COLOURS[k % 7],
                linestyle=LINES[k % 7],
                linewidth=1.7,
                label=_line(figure, plot, state, variable),
            )
        _date_axis(axes, dates[data["panel"] == panel])
        axes.set_title(panel, fontsize=9)
        _look(axes)
    low, high = float(data["value"].min()), float(data["value"].max())
    if low < 0 < high:
        for axes in grid[0]:
            axes.axhline(0, color=GREY, linewidth=0.8)
    elif low >= 0 and high <= 1:
        grid[0][0].set_ylim(-0.03, 1.03)
    grid[0][0].set_ylabel(textwrap.fill(plot.y_label or "", 45))
    handles: dict[str, Any] = {}
    for axes in grid[0]:
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    canvas.legend(handles.values(), handles.keys(), loc="outside right upper", frameon=False)
    return canvas


def _date_axis(axes: Any, days: pd.Series) -> None:
    from matplotlib import dates as module

    # Matplotlib's locators carry no types.
    dates: Any = module
    years = (days.max() - days.min()).days / 365.25
    if years > 2:
        axes.xaxis.set_major_locator(dates.YearLocator(max(1, round(years / 7))))
        axes.xaxis.set_major_formatter(dates.DateFormatter("%Y"))
    elif years > 0.2:
        axes.xaxis.set_major_locator(dates.MonthLocator(interval=max(1, math.ceil(years * 12 / 6))))
        axes.xaxis.set_major_formatter(dates.DateFormatter("%b %Y" if years > 1 else "%b"))


def _with_gaps(days: pd.Series, values: pd.Series, every: str) -> tuple[pd.Series, pd.Series]:
    """Put an empty value into every gap, so that no line crosses days on which a state was not at war."""
    most = pd.Timedelta(days=32 if every == "month" else 1)
    frame = pd.DataFrame({"day": days.to_numpy(), "value": values.to_numpy()})
    after = frame.loc[frame["day"].diff() > most, "day"] - pd.Timedelta(hours=1)
    gaps = pd.DataFrame({"day": after, "value": np.nan})
    frame = pd.concat([frame, gaps]).sort_values("day") if len(gaps) else frame
    return frame["day"], frame["value"]


def _line(figure: Figure, plot: History, state: str, variable: str) -> str:
    label = figure.label_of(variable)
    if len(plot.variables) == 1:
        return state
    return label if len(plot.states) == 1 else f"{state}: {label}"


def _survival(plot: Survival, data: pd.DataFrame) -> Any:
    canvas, grid = _canvas(7.0, 4.6)
    axes = grid[0][0]
    for k, scenario in enumerate(plot.scenarios):
        own = data[data["scenario"] == scenario.label]
        time = own[plot.unit]
        if plot.intervals:
            axes.fill_between(
                time, own["conf_low"], own["conf_high"], step="post", color=COLOURS[k % 7], alpha=0.18, linewidth=0
            )
        axes.step(
            time,
            own["survival"],
            where="post",
            color=COLOURS[k % 7],
            linestyle=LINES[k % 7],
            linewidth=1.8,
            label=scenario.label,
        )
    axes.set_ylim(0, 1.02)
    axes.set_xlim(0, float(data[plot.unit].max()))
    if plot.unit == "month":
        axes.set_xticks(np.arange(0, math.floor(float(data["month"].max()) / 12) * 12 + 1, 12))
    axes.set_xlabel(f"{plot.unit.capitalize()}s since entry")
    shade = " with 95% intervals (log-log)" if plot.intervals else ""
    axes.set_ylabel(f"Probability of survival{shade}")
    axes.legend(frameon=False, loc="lower left")
    _look(axes)
    return canvas


def _margins_together(figure: Figure, plot: Margins, data: pd.DataFrame) -> Any:
    canvas, grid = _canvas(8.2, 4.8, columns=2, width_ratios=(1.7, 1), sharey=True)
    left, right = grid[0]
    for k, term in enumerate(plot.continuous):
        own = data[data["term"] == term].dropna(subset=["standardized"])
        left.plot(
            own["standardized"],
            own["estimate"],
            color=COLOURS[k % 7],
            linestyle=LINES[k % 7],
            linewidth=1.8,
            label=figure.label_of(term),
        )
        if plot.intervals:
            left.fill_between(
                own["standardized"], own["conf_low"], own["conf_high"], color=COLOURS[k % 7], alpha=0.15, linewidth=0
            )
    first, last = plot.percentiles
    left.set_xlabel(f"Covariate at its percentiles {first} to {last},\nin standard deviations from its mean")
    left.set_ylabel("Relative hazard, averaged over the rows")
    left.legend(frameon=False, fontsize=8)
    for k, term in enumerate(plot.binary):
        own = data[data["term"] == term]
        colour = COLOURS[(k + len(plot.continuous)) % 7]
        right.plot(
            [0, 1],
            own["estimate"],
            color=colour,
            linestyle=LINES[k % 7],
            marker=MARKERS[k % 7],
            linewidth=1.3,
            label=figure.label_of(term),
        )
        if plot.intervals:
            right.vlines([0, 1], own["conf_low"], own["conf_high"], color=colour, linewidth=1.2)
    right.set_xticks([0, 1])
    right.set_xlim(-0.25, 1.25)
    right.set_xlabel("Dummy covariate at 0 and 1")
    if plot.binary:
        right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        _look(axes)
        axes.set_ylim(bottom=0)
    return canvas


def _margin_panels(figure: Figure, plot: Margins, data: pd.DataFrame) -> Any:
    terms = [*plot.continuous, *plot.binary]
    columns = min(4, len(terms))
    rows = math.ceil(len(terms) / columns)
    canvas, grid = _canvas(2.1 * columns + 0.6, 2.4 * rows + 0.9, rows, columns)
    for k, axes in enumerate(grid.flat):
        if k >= len(terms):
            axes.set_visible(False)
            continue
        own = data[data["term"] == terms[k]]
        if terms[k] in plot.binary:
            axes.plot(own["value"], own["estimate"], "o", color=COLOURS[0], markersize=5)
            if plot.intervals:
                axes.vlines(own["value"], own["conf_low"], own["conf_high"], color=COLOURS[0], linewidth=1.6)
            axes.set_xticks([0, 1])
            axes.set_xlim(-0.4, 1.4)
        else:
            axes.plot(own["value"], own["estimate"], color=COLOURS[0], linewidth=1.6)
            if plot.intervals:
                axes.fill_between(
                    own["value"], own["conf_low"], own["conf_high"], color=COLOURS[0], alpha=0.2, linewidth=0
                )
        axes.axhline(0, color=GREY, linewidth=0.6)
        between = "" if terms[k] in plot.binary else f", percentiles {plot.percentiles[0]} to {plot.percentiles[1]}"
        axes.set_xlabel(f"Its value{between}", fontsize=8)
        axes.set_title(figure.label_of(terms[k]), fontsize=9)
        _look(axes)
    for row in grid:
        row[0].set_ylabel("Relative hazard")
    return canvas


def _windows(figure: Figure, plot: Windows, data: pd.DataFrame) -> Any:
    canvas, grid = _canvas(7.0, 4.2)
    axes = grid[0][0]
    shown = data[data["status"] == "ok"]
    axes.axhline(0, color=GREY, linewidth=0.9)
    draw: Callable[..., Any] = axes.fill_between
    draw(
        shown["window"],
        shown["conf_low"],
        shown["conf_high"],
        color=COLOURS[0],
        alpha=0.2,
        linewidth=0,
        label="95% interval",
    )
    axes.plot(
        shown["window"],
        shown["estimate"],
        color=COLOURS[0],
        linewidth=1.6,
        marker="o",
        markersize=2.5,
        label="Estimate",
    )
    axes.set_xlabel("Length of the window (days)")
    axes.set_ylabel(f"Coefficient of {figure.label_of(plot.vary)}\n(log hazard ratio)")
    axes.legend(frameon=False)
    _look(axes)
    return canvas
