"""Coefficient plots: numbers first, then the drawing."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from coalition_exit.specs.loading import Spec

# Okabe and Ito's colours, told apart by colour-blind readers; markers differ as well, for print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
FORMATS = ("png", "pdf", "svg")
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "svg.hashsalt": "coalition-exit",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}
_DATA_COLUMNS = [
    "table",
    "model",
    "model_label",
    "term",
    "term_label",
    "estimate",
    "conf_low",
    "conf_high",
    "order",
    "position",
]


def plot_data(spec: Spec, estimates: pd.DataFrame) -> pd.DataFrame:
    """Return what a coefficient plot shows: one row a model and term, with its vertical position.

    Terms stand in the table's order from the top (position 0 downwards), models side by side.
    """
    rows = estimates[estimates["table"] == spec.table].set_index(["model", "term"])
    terms = [term for term in spec.order if term not in spec.omit_from_figure]
    terms = [term for term in terms if any((m.key, term) in rows.index for m in spec.models)]
    step = 0.75 / max(len(spec.models), 1)
    data = []
    for k, term in enumerate(terms):
        for j, model in enumerate(spec.models):
            if (model.key, term) not in rows.index:
                continue
            row = rows.loc[(model.key, term)]
            head = f"{model.group}: {model.label}" if model.group else model.label
            position = k + (j - (len(spec.models) - 1) / 2) * step
            data.append(
                (spec.table, model.key, head, term, spec.label_of(term), row["estimate"], row["conf_low"],
                 row["conf_high"], j, round(position, 6))
            )  # fmt: skip
    return pd.DataFrame(data, columns=_DATA_COLUMNS)


def draw(data: pd.DataFrame, title: str, note: str) -> Any:
    """Draw a coefficient plot and return the matplotlib figure."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        labels = list(dict.fromkeys(data["term_label"]))
        models = list(dict.fromkeys(data.sort_values("order", kind="stable")["model_label"]))
        height = 1.6 + 0.16 * len(labels) * max(len(models), 3) + 0.2 * len(models)
        figure = Figure(figsize=(7.0, height), layout="constrained")
        axes = figure.add_subplot()
        axes.axvline(0, color="#555555", linewidth=0.9, zorder=1)
        for j, model in enumerate(models):
            own = data[data["model_label"] == model]
            colour, marker = COLOURS[j % len(COLOURS)], MARKERS[j % len(MARKERS)]
            axes.hlines(own["position"], own["conf_low"], own["conf_high"], color=colour, linewidth=1.6, zorder=2)
            axes.plot(
                own["estimate"], own["position"], linestyle="none", marker=marker, markersize=5,
                markerfacecolor=colour, markeredgecolor="white", markeredgewidth=0.5, label=model, zorder=3,
            )  # fmt: skip
        axes.set_yticks(range(len(labels)), labels)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(labels) - 0.45, -0.55)
        for k in range(1, len(labels)):
            axes.axhline(k - 0.5, color="#e4e4e4", linewidth=0.7, zorder=0)
        axes.set_xlabel("Coefficient (log hazard ratio) with 95% interval; below 0: abandonment less likely")
        # An annotation of the axes, not of the figure: the layout then keeps room for it above the legend.
        below = {"xycoords": "axes fraction", "textcoords": "offset points", "annotation_clip": False}
        axes.annotate(
            textwrap.fill(note, 90), (0, 0), (0, -38), fontsize=7, color="#444444", ha="left", va="top", **below
        )
        axes.set_title(title, loc="left", fontsize=10, fontweight="bold", wrap=True)
        if len(models) > 1:
            figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=2, frameon=False)
    return figure


_METADATA: Mapping[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}


def save(figure: Any, stem: Path) -> list[Path]:
    """Write a figure as PNG (300 dpi), PDF and SVG; equal figures give equal bytes."""
    import matplotlib as mpl

    paths = []
    with mpl.rc_context(_STYLE):
        for kind in FORMATS:
            path = stem.with_suffix(f".{kind}")
            figure.savefig(path, dpi=300, metadata=_METADATA[kind])
            paths.append(path)
    return paths
