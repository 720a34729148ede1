"""Figures of the robustness tools: numbers first, then the drawing. Only tables are read, nothing is estimated."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import pandas as pd

from coalition_exit.report.captions import caption, legend_below
from coalition_exit.report.coefplot import COLOURS, MARKERS, STYLE

WHO = {"all": "all are paid", "independent": "own fronts are paid", "common": "common fronts are paid"}
_GREY = "#555555"


def simulation_data(table: pd.DataFrame) -> pd.DataFrame:
    """Return what the figure of a simulation shows: a row a term, target and strength, with mean and its 95% range.

    Parameters
    ----------
    table
        `CompensationSimulation.table`.
    """
    found = table[["term", "target", "strength", "truth", "mean"]].copy()
    found["low"] = table["mean"] - 1.96 * table["bias_mc"]
    found["high"] = table["mean"] + 1.96 * table["bias_mc"]
    # Terms and targets in the order in which they were asked for, the line from left to right.
    rank = found[["term", "target"]].apply(lambda column: pd.factorize(column)[0]).assign(strength=found["strength"])
    return found.loc[rank.sort_values(["term", "target", "strength"]).index].reset_index(drop=True)


def draw_simulation(
    data: pd.DataFrame, labels: Mapping[str, str] | None = None, title: str = "", note: str = ""
) -> Any:
    """Draw mean estimates against the strength of compensation, a panel a term, the truth as a line."""
    import matplotlib as mpl

    terms = list(dict.fromkeys(data["term"]))
    with mpl.rc_context(STYLE):
        figure, panels, under = _panels(1, len(terms), 3.6, 2.9, 0.45)
        for axes, term in zip(panels, terms, strict=True):
            own = data[data["term"] == term]
            axes.axhline(own["truth"].iloc[0], color=_GREY, linewidth=0.9, label="truth")
            for k, (target, line) in enumerate(own.groupby("target", sort=False)):
                axes.fill_between(
                    line["strength"], line["low"], line["high"], color=COLOURS[k], alpha=0.15, linewidth=0
                )
                label = WHO.get(str(target), str(target))
                axes.plot(
                    line["strength"], line["mean"], color=COLOURS[k], marker=MARKERS[k], markersize=4, label=label
                )
            axes.set_title(textwrap.fill(_label(term, labels), 42), loc="left", fontweight="bold", fontsize=9)
            axes.set_xlabel("Strength of compensation")
        panels[0].set_ylabel("Mean estimate (log hazard ratio)")
        legend_below(figure, under, panels[0], 2)
        caption(figure, title, note)
    return figure


def bought_off_data(table: pd.DataFrame) -> pd.DataFrame:
    """Return what the figure of bought-off exits shows: a row a term and share, imputed and direct estimates."""
    good = table[table["status"] == "ok"]
    return good[["term", "share", "estimate", "conf_low", "conf_high", "direct_estimate"]].reset_index(drop=True)


def draw_bought_off(
    data: pd.DataFrame, labels: Mapping[str, str] | None = None, title: str = "", note: str = ""
) -> Any:
    """Draw coefficients with their intervals against the share of exits bought off, a panel a term."""
    import matplotlib as mpl

    terms = list(dict.fromkeys(data["term"]))
    columns = min(len(terms), 4)
    rows = -(-len(terms) // columns)
    with mpl.rc_context(STYLE):
        figure, panels, under = _panels(rows, columns, 2.6, 2.3, 0.25)
        for k, (axes, term) in enumerate(zip(panels, terms, strict=False)):
            own = data[data["term"] == term]
            axes.axhline(0, color=_GREY, linewidth=0.9)
            axes.vlines(own["share"], own["conf_low"], own["conf_high"], color=COLOURS[0], linewidth=1.4)
            axes.plot(own["share"], own["estimate"], "o", color=COLOURS[0], markersize=4, label="imputed, 95% interval")
            axes.plot(own["share"], own["direct_estimate"], color=COLOURS[1], linewidth=1.2, label="offset")
            axes.set_title(textwrap.fill(_label(term, labels), 26), loc="left", fontweight="bold", fontsize=9)
            if k + columns >= len(terms):
                axes.set_xlabel("Share of exits bought off")
        for axes in panels[len(terms) :]:
            axes.set_visible(False)
        figure.supylabel("Coefficient (log hazard ratio)", fontsize=9)
        legend_below(figure, under, panels[0], 2)
        caption(figure, title, note)
    return figure


def uncertainty_data(table: pd.DataFrame, model: str) -> pd.DataFrame:
    """Return what the figure of coding uncertainty shows for a model: a row a term.

    Returns
    -------
    DataFrame
        term; reference; estimate; conf_low, conf_high: the whole interval; sampling_low, sampling_high: the part of it
        that sampling alone would give (the interval scaled by the root of its share of the variance); share_coding.
    """
    own = table[(table["model"] == model) & (table["drawn"] == "all") & table["estimate"].notna()]
    found = own[["term", "reference", "estimate", "conf_low", "conf_high", "share_coding"]].reset_index(drop=True)
    reach = (found["conf_high"] - found["estimate"]) * (1 - found["share_coding"]) ** 0.5
    return found.assign(sampling_low=found["estimate"] - reach, sampling_high=found["estimate"] + reach)


def draw_uncertainty(
    data: pd.DataFrame, labels: Mapping[str, str] | None = None, title: str = "", note: str = ""
) -> Any:
    """Draw pooled estimates with the whole interval (thin) and the part due to sampling (thick)."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        figure, (axes,), under = _panels(1, 1, 7.0, 1.1 + 0.3 * max(len(data), 1), 0.25)
        at = range(len(data))
        axes.axvline(0, color=_GREY, linewidth=0.9)
        axes.hlines(
            at, data["conf_low"], data["conf_high"], color=COLOURS[1], linewidth=1.3, label="coding and sampling"
        )
        axes.hlines(
            at, data["sampling_low"], data["sampling_high"], color=COLOURS[0], linewidth=4, label="sampling alone"
        )
        axes.plot(data["estimate"], at, "o", color="white", markeredgecolor="black", markersize=5, label="pooled")
        axes.plot(data["reference"], at, "x", color="black", markersize=5, label="as coded")
        heads = [
            f"{textwrap.fill(_label(row.term, labels), 32)} ({row.share_coding:.0%})"
            for row in data.itertuples(index=False)
        ]
        axes.set_yticks(list(at), heads)
        axes.set_ylim(len(data) - 0.5, -0.5)
        axes.set_xlabel("Coefficient (log hazard ratio)\nIn parentheses: the share of the variance that is coding")
        legend_below(figure, under, axes, 4)
        caption(figure, title, note)
    return figure


def _panels(rows: int, columns: int, width: float, height: float, legend: float) -> tuple[Any, list[Any], Any]:
    """Return a figure, its panels (inches each) and the cell below them that is kept for the legend."""
    from matplotlib.figure import Figure

    # Title and note take about an inch.
    size = (max(width * columns + 0.4, 5.0), height * rows + legend + 1.0)
    figure = Figure(figsize=size, layout="constrained")
    cells = figure.add_gridspec(rows + 1, columns, height_ratios=[height] * rows + [legend])
    panels = [figure.add_subplot(cells[k // columns, k % columns]) for k in range(rows * columns)]
    for axes in panels:
        axes.spines["left"].set_visible(True)
    return figure, panels, cells[rows, :]


def _label(term: str, labels: Mapping[str, str] | None) -> str:
    return (labels or {}).get(term, term)
