"""Coefficient plots: numbers first, then the drawing."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from coalition_exit.specs.loading import Spec

# Okabe and Ito's colours, told apart by colour-blind readers; markers differ as well, for print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
FORMATS = ("png", "pdf", "svg")
# Inches; and models beyond which a legend would fill the page.
TALLEST = 60.0
MOST_IN_LEGEND = 30
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    # Labels are the user's words, not formulas.
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "svg.hashsalt": "coalition-exit",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}
_DATA_COLUMNS = [
    "table", "model", "model_label", "estimator", "term", "term_label",
    "estimate", "conf_low", "conf_high", "order", "position",
]  # fmt: skip


def plot_data(spec: Spec, estimates: pd.DataFrame) -> pd.DataFrame:
    """Return what a coefficient plot shows: one row a model and term, with its vertical position.

    Terms stand in the table's order from the top (position 0 downwards), models side by side.
    """
    own = estimates[estimates["table"] == spec.table]
    rows = {(row.model, row.term): row for row in own.itertuples(index=False)}
    # A constant says nothing about an effect, and its size would hide the others.
    terms = [term for term in spec.order if term not in (*spec.omit_from_figure, "_cons")]
    terms = [term for term in terms if any((m.key, term) in rows for m in spec.models)]
    step = 0.75 / max(len(spec.models), 1)
    data = []
    for k, term in enumerate(terms):
        for j, model in enumerate(spec.models):
            row = rows.get((model.key, term))
            if row is None:
                continue
            position = k + (j - (len(spec.models) - 1) / 2) * step
            data.append(
                (spec.table, model.key, model.head, model.estimator_name, term, spec.label_of(term), row.estimate,
                 row.conf_low, row.conf_high, j, round(position, 6))
            )  # fmt: skip
    return pd.DataFrame(data, columns=_DATA_COLUMNS)


def draw(data: pd.DataFrame, title: str, note: str) -> Any:
    """Draw a coefficient plot and return the matplotlib figure."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        if data.empty:
            return draw_nothing(title)
        # Two terms, or two models, may bear the same label: rows and colours go by key.
        terms = data.drop_duplicates("term")["term_label"]
        models = data.drop_duplicates("model").sort_values("order")
        labels = [textwrap.fill(label, 32) for label in terms]
        height = 1.8 + 0.16 * len(labels) * max(len(models), 3) + 0.2 * min(len(models), MOST_IN_LEGEND)
        figure = Figure(figsize=(7.0, min(height, TALLEST)), layout="constrained")
        figure.suptitle(textwrap.fill(title, 78), x=0.01, horizontalalignment="left", fontsize=10, fontweight="bold")
        axes = figure.add_subplot()
        axes.axvline(0, color="#555555", linewidth=0.9, zorder=1)
        for model in models.itertuples(index=False):
            _draw_model(axes, data[data["model"] == model.model], model.order, model.model_label)
        _dress(axes, labels, _scale(set(data["estimator"])), note)
        if 1 < len(models) <= MOST_IN_LEGEND:
            figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=2, frameon=False)
    return figure


def draw_nothing(title: str, why: str = "No estimates to show: the table's note says why.") -> Any:
    """Draw a figure that says why there is nothing to see."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 1.6), layout="constrained")
    figure.suptitle(textwrap.fill(title, 78), x=0.01, horizontalalignment="left", fontsize=10, fontweight="bold")
    figure.text(0.01, 0.3, textwrap.fill(why, 90))
    return figure


def _draw_model(axes: Any, own: pd.DataFrame, order: int, label: str) -> None:
    colour, marker = look(order)
    axes.hlines(own["position"], own["conf_low"], own["conf_high"], color=colour, linewidth=1.6, zorder=2)
    axes.plot(
        own["estimate"], own["position"], linestyle="none", marker=marker, markersize=5, markerfacecolor=colour,
        markeredgecolor="white", markeredgewidth=0.5, label=textwrap.fill(label, 45), zorder=3,
    )  # fmt: skip


def look(order: int) -> tuple[str, str]:
    """Return colour and marker of the model at a position; the first 49 all look different."""
    return COLOURS[order % len(COLOURS)], MARKERS[(order + order // len(COLOURS)) % len(MARKERS)]


def _scale(estimators: set[str]) -> str:
    """Say what the coefficients are, and what their sign means."""
    if estimators == {"cox"}:
        return "Coefficient (log hazard ratio) with 95% interval\nbelow 0: the event is less likely"
    if estimators <= {"discrete_logit", "logit"}:
        return "Coefficient (log odds ratio) with 95% interval\nbelow 0: the event is less likely"
    return "Coefficient with 95% interval\nbelow 0: the event is less likely"


def _dress(axes: Any, labels: list[str], scale: str, note: str) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(labels) - 0.45, -0.55)
    for k in range(1, len(labels)):
        axes.axhline(k - 0.5, color="#e4e4e4", linewidth=0.7, zorder=0)
    axes.set_xlabel(scale)
    # An annotation of the axes, not of the figure: the layout then keeps room for it above the legend.
    below = {"xycoords": "axes fraction", "textcoords": "offset points", "annotation_clip": False}
    axes.annotate(textwrap.fill(note, 80), (0, 0), (0, -50), fontsize=7, color="#444444", ha="left", va="top", **below)


_METADATA: Mapping[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}


def save(figure: Any, stem: Path) -> list[Path]:
    """Write a figure as PNG (300 dpi), PDF and SVG; equal figures give equal bytes."""
    import matplotlib as mpl

    paths = []
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # A letter that the font lacks is drawn as a box; the SVG keeps it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        for kind in FORMATS:
            path = stem.with_suffix(f".{kind}")
            figure.savefig(path, dpi=300, metadata=_METADATA[kind])
            paths.append(path)
    return paths
