"""Drawings of results that are numbers already; every one draws into axes given to it, or into new ones.

Colours are Okabe and Ito's, told apart by colour-blind readers; lines differ in their dashes as well. matplotlib is
imported when something is drawn.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Protocol

import numpy as np
import pandas as pd

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")
_LABELS = {
    "survival": "Survival",
    "cumulative_hazard": "Cumulative hazard",
    "survival difference": "Difference in survival",
    "survival ratio": "Ratio of survival",
}


class Tabled(Protocol):
    """A curve that gives its numbers as a table: time, censored, survival, std_error, conf_low, conf_high."""

    def to_frame(self, level: float = 0.95) -> pd.DataFrame: ...


class Smoothed(Protocol):
    """A coefficient over time: `schoenfeld_smooth`'s residuals and line, by its names."""

    @property
    def residuals(self) -> pd.DataFrame: ...
    @property
    def line(self) -> pd.DataFrame: ...
    @property
    def term(self) -> str: ...
    @property
    def transform(self) -> str: ...
    @property
    def estimate(self) -> float: ...


def new_axes(ax: Any = None) -> Any:
    """Return the axes given, or new ones without a frame at the top and on the right."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    _, ax = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def look(place: int) -> dict[str, str]:
    """Colour and dashes of the line at a place; the first 28 all look different."""
    return {
        "color": COLOURS[place % len(COLOURS)],
        "linestyle": DASHES[place % len(DASHES)],
    }


def functional_form(table: pd.DataFrame, covariate: str, ax: Any = None) -> Any:
    """Draw martingale residuals against a covariate with their lowess line; the table is `functional_form`'s."""
    ax = new_axes(ax)
    ax.axhline(0, color="#888888", linewidth=0.8, zorder=1)
    ax.scatter(table["covariate"], table["residual"], s=9, color="#999999", alpha=0.6, linewidths=0, zorder=2)
    ax.plot(table["covariate"], table["smooth"], linewidth=2, zorder=3, **look(1))
    ax.set_xlabel(covariate)
    ax.set_ylabel("Martingale residual")
    return ax


def coefficient_over_time(found: Smoothed, ax: Any = None) -> Any:
    """Draw scaled Schoenfeld residuals against transformed time, with the smooth line, its band and the estimate."""
    ax = new_axes(ax)
    line, points = found.line, found.residuals
    ax.fill_between(
        line["transformed"], line["conf_low"], line["conf_high"], color=COLOURS[0], alpha=0.2, linewidth=0, zorder=1
    )
    ax.scatter(points["transformed"], points["residual"], s=9, color="#777777", alpha=0.6, linewidths=0, zorder=2)
    ax.plot(line["transformed"], line["smooth"], linewidth=2, zorder=3, **look(0))
    ax.axhline(found.estimate, linewidth=1.2, zorder=2, **look(1))
    _time_ticks(ax, points)
    ax.set_xlabel("Time" if found.transform == "identity" else f"Time ({found.transform} scale)")
    ax.set_ylabel(f"Coefficient of {found.term}")
    return ax


def _time_ticks(ax: Any, points: pd.DataFrame) -> None:
    """Mark times, not their transforms, at eight evenly spaced places of the axis."""
    known = points.drop_duplicates("transformed").sort_values("transformed")
    g, time = known["transformed"].to_numpy(), known["time"].to_numpy()
    wanted = np.linspace(g[0], g[-1], 17)[1::2]
    digits = np.interp(wanted, g, time)
    labels = [float(f"{value:.2g}") for value in digits]
    ticks = dict(zip(labels, np.interp(labels, time, g) if np.all(np.diff(time) > 0) else wanted, strict=True))
    ax.set_xticks(list(ticks.values()), [f"{label:g}" for label in ticks])


def predictions(table: pd.DataFrame, quantity: str, ax: Any = None) -> Any:
    """Draw a `Prediction`'s table: a step a scenario (and stratum) with its band."""
    ax = new_axes(ax)
    keys = ["scenario", "stratum"] if "stratum" in table.columns else ["scenario"]
    groups = list(table.groupby(keys, sort=False))
    for place, (key, own) in enumerate(groups):
        _steps(ax, own, ", ".join(str(part) for part in key), place)
    if quantity in ("survival", "survival difference", "survival ratio"):
        level = {"survival": 0.0, "survival difference": 0.0, "survival ratio": 1.0}[quantity]
        ax.axhline(level, color="#888888", linewidth=0.8, zorder=1)
    ax.set_xlabel("Time")
    ax.set_ylabel(_LABELS.get(quantity, quantity))
    if len(groups) > 1:
        ax.legend(frameon=False)
    return ax


def _steps(ax: Any, own: pd.DataFrame, label: str, place: int) -> None:
    style = look(place)
    ax.step(own["time"], own["estimate"], where="post", linewidth=1.6, label=label, zorder=3, **style)
    ax.fill_between(
        own["time"], own["conf_low"], own["conf_high"], step="post", color=style["color"], alpha=0.18, linewidth=0,
        zorder=2,
    )  # fmt: skip


def survival_curves(curves: Mapping[Hashable, Tabled], ax: Any = None, *, level: float = 0.95) -> Any:
    """Draw the Kaplan-Meier estimates that `survival_curves` gives, with their bands and marks where rows end."""
    ax = new_axes(ax)
    for place, (key, curve) in enumerate(curves.items()):
        table = curve.to_frame(level=level).rename(columns={"std_error": "error"})
        own = table.rename(columns={"survival": "estimate"})
        _steps(ax, own, str(key), place)
        ended = own[own["censored"] > 0]
        ax.plot(
            ended["time"], ended["estimate"], linestyle="none", marker="|", markersize=5, color=look(place)["color"]
        )
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("Time")
    ax.set_ylabel("Survival")
    if len(curves) > 1:
        ax.legend(frameon=False)
    return ax


def hazard_ratio_over_time(table: pd.DataFrame, ax: Any = None, *, change: float = 1.0) -> Any:
    """Draw the table of `hazard_ratio_over_time` on a logarithmic scale, with the line of no effect."""
    ax = new_axes(ax)
    own = table.sort_values("time")
    ax.axhline(1.0, color="#888888", linewidth=0.8, zorder=1)
    ax.fill_between(own["time"], own["conf_low"], own["conf_high"], color=COLOURS[0], alpha=0.2, linewidth=0, zorder=2)
    ax.plot(own["time"], own["estimate"], linewidth=2, zorder=3, **look(0))
    ax.set_yscale("log")
    # Ratios are read as ratios: no powers of ten.
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    ax.yaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("Time")
    by = "" if change == 1 else f" for a change by {change:g}"
    ax.set_ylabel(f"Hazard ratio of {own['term'].iloc[0]}{by}")
    return ax


def margins(table: pd.DataFrame, covariate: str, prediction: str, ax: Any = None) -> Any:
    """Draw predictive margins over the values of one covariate, a line for each combination of the others."""
    ax = new_axes(ax)
    statistics = ["estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high"]
    others = [name for name in table.columns if name not in (*statistics, covariate)]
    groups = list(table.groupby(others, sort=False)) if others else [((), table)]
    for place, (key, own) in enumerate(groups):
        label = ", ".join(f"{name} = {value:g}" for name, value in zip(others, key, strict=True))
        style, line = look(place), own.sort_values(covariate)
        band = {"color": style["color"], "alpha": 0.18, "linewidth": 0}
        ax.fill_between(line[covariate], line["conf_low"], line["conf_high"], **band)
        ax.plot(line[covariate], line["estimate"], linewidth=1.8, marker="o", markersize=4, label=label, **style)
    ax.set_xlabel(covariate)
    ax.set_ylabel("Relative hazard" if prediction == "hr" else "Linear predictor")
    if others:
        ax.legend(frameon=False)
    return ax
