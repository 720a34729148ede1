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
# Inches; and series beyond which a legend would fill the page.
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
    "estimate", "conf_low", "conf_high", "order", "position", "panel",
]  # fmt: skip
# Models beyond which groups of models stand side by side, each in a panel; and how many panels there can be.
MOST_TOGETHER, MOST_PANELS = 6, 3
ALL = "all"
# Space between terms, in lines of an estimate; inches of a line; letters across the page, in 9 and in 7 point.
GAP, LINE, ACROSS, ACROSS_SMALL = 0.9, 0.12, 88, 118
# Lines of estimates that a line of a label is high.
LABEL = 1.4
_WIDEST = ACROSS - 8


def plot_data(spec: Spec, estimates: pd.DataFrame) -> pd.DataFrame:
    """Return what a coefficient plot shows: one row a model and term, with its vertical position.

    Positions count lines from the top, from 0. Terms stand in the table's order; a term has a line for each
    model that holds it and no others. Of many models in two or three groups with the same labels each group is
    a ``panel``, and models of the same label share a line and a look (``order``).
    """
    own = estimates[estimates["table"] == spec.table]
    rows = {(row.model, row.term): row for row in own.itertuples(index=False)}
    # A constant says nothing about an effect, and its size would hide the others.
    terms = [term for term in spec.order if term not in (*spec.omit_from_figure, "_cons")]
    panels = _side_by_side(spec)
    series = {m.key: m.label if panels else m.key for m in spec.models}
    looks = {name: k for k, name in enumerate(dict.fromkeys(series.values()))}
    data = []
    top = 0.0
    for term in terms:
        holding = [m for m in spec.models if (m.key, term) in rows]
        lines = {name: k for k, name in enumerate(dict.fromkeys(series[m.key] for m in holding))}
        # A label of several lines needs as many.
        spare = max(0.0, LABEL * (_wrapped(spec.label_of(term)).count("\n") + 1) - GAP - len(lines))
        for model in holding:
            row, name = rows[model.key, term], series[model.key]
            data.append(
                (spec.table, model.key, model.head, model.estimator_name, term, spec.label_of(term), row.estimate,
                 row.conf_low, row.conf_high, looks[name], round(top + spare / 2 + lines[name], 6),
                 model.group if panels else ALL)
            )  # fmt: skip
        top += len(lines) + spare + GAP if lines else 0
    return pd.DataFrame(data, columns=_DATA_COLUMNS)


def _wrapped(label: str) -> str:
    return textwrap.fill(label, 32)


def _side_by_side(spec: Spec) -> bool:
    """Say whether the groups of models are drawn in a panel each."""
    groups: dict[str, list[str]] = {}
    for model in spec.models:
        groups.setdefault(model.group, []).append(model.label)
    first, *others = groups.values()
    alike = all(set(labels) == set(first) for labels in others)
    return (
        len(spec.models) > MOST_TOGETHER
        and 2 <= len(groups) <= MOST_PANELS
        and "" not in groups
        and alike
        and all(len(set(labels)) == len(labels) for labels in groups.values())
    )


def draw(data: pd.DataFrame, title: str, note: str) -> Any:
    """Draw a coefficient plot and return the matplotlib figure."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        if data.empty:
            return draw_nothing(title)
        panels = list(dict.fromkeys(data["panel"]))
        shown = data.drop_duplicates("order").sort_values("order")
        heads = [_label(row) for row in shown.itertuples(index=False)] if 1 < len(shown) <= MOST_IN_LEGEND else []
        deep, columns = _arrange(heads)
        said = textwrap.fill(note, ACROSS_SMALL)
        below = 0.2 + 0.19 * deep + 0.13 * (said.count("\n") + 1)
        above = max(1.0, LINE * (float(data["position"].max()) + 2)) + (1.1 if len(panels) > 1 else 0.7)
        titled = textwrap.fill(title, 78)
        height = min(above + below + 0.22 * (titled.count("\n") + 1), TALLEST)
        figure = Figure(figsize=(7.0, height), layout="constrained")
        figure.suptitle(titled, x=0.01, horizontalalignment="left", fontsize=10, fontweight="bold")
        parts: Any = figure.subfigures(2, 1, height_ratios=(above, below))
        upper, lower = parts
        grid = upper.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
        for axes, panel in zip(grid, panels, strict=True):
            _draw_panel(axes, data, panel, panel if len(panels) > 1 else "")
        if heads:
            handles = {artist.get_gid(): artist for axes in grid for artist in axes.lines if artist.get_gid()}
            lower.legend(
                [handles[f"model-{order}"] for order in shown["order"]],
                [textwrap.fill(head, _WIDEST) for head in heads],
                loc="upper left", bbox_to_anchor=(0, 1), ncols=columns, frameon=False, borderaxespad=0,
            )  # fmt: skip
        lower.text(0.01, 0.06 / below, said, fontsize=7, color="#444444", ha="left", va="bottom")
    return figure


def _arrange(heads: list[str]) -> tuple[int, int]:
    """Return the lines of text that a legend takes, and its columns."""
    if not heads:
        return 0, 1
    widest = min(max(len(head) for head in heads), _WIDEST)
    rows = -(-len(heads) // max(1, ACROSS // (widest + 7)))
    lines = max(textwrap.fill(head, _WIDEST).count("\n") + 1 for head in heads)
    return rows * lines, -(-len(heads) // rows)


def _label(row: Any) -> str:
    return str(row.model_label).removeprefix(f"{row.panel}: ") if row.panel != ALL else str(row.model_label)


def _draw_panel(axes: Any, data: pd.DataFrame, panel: str, title: str) -> None:
    own = data[data["panel"] == panel]
    axes.axvline(0, color="#555555", linewidth=0.9, zorder=1)
    for order in sorted(set(own["order"])):
        _draw_model(axes, own[own["order"] == order], order)
    # Two terms may bear the same label: rows go by key, and stand in every panel.
    terms = data.groupby("term", sort=False).agg(
        label=("term_label", "first"), first=("position", "min"), last=("position", "max")
    )
    axes.set_yticks((terms["first"] + terms["last"]) / 2, [_wrapped(label) for label in terms["label"]])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(float(terms["last"].max()) + 0.9, -0.9)
    for first in terms["first"].iloc[1:]:
        axes.axhline(first - (1 + GAP) / 2, color="#e4e4e4", linewidth=0.7, zorder=0)
    axes.set_xlabel("\n".join(textwrap.wrap(_scale(set(own["estimator"])), 31 if title else 50)))
    if title:
        axes.set_title(title, fontsize=9)


def draw_nothing(title: str, why: str = "No estimates to show: the table's note says why.") -> Any:
    """Draw a figure that says why there is nothing to see."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 1.6), layout="constrained")
    figure.suptitle(textwrap.fill(title, 78), x=0.01, horizontalalignment="left", fontsize=10, fontweight="bold")
    figure.text(0.01, 0.3, textwrap.fill(why, 90))
    return figure


def _draw_model(axes: Any, own: pd.DataFrame, order: int) -> None:
    colour, marker = look(order)
    axes.hlines(own["position"], own["conf_low"], own["conf_high"], color=colour, linewidth=1.6, zorder=2)
    # Triangles and crosses look smaller than squares of the same size.
    size = 5 if marker in "osD" else 6
    axes.plot(
        own["estimate"], own["position"], linestyle="none", marker=marker, markersize=size, markerfacecolor=colour,
        markeredgecolor="white", markeredgewidth=0.5, gid=f"model-{order}", zorder=3,
    )  # fmt: skip


def look(order: int) -> tuple[str, str]:
    """Return colour and marker of the model at a position; the first 49 all look different."""
    return COLOURS[order % len(COLOURS)], MARKERS[(order + order // len(COLOURS)) % len(MARKERS)]


_SCALES = {
    "cox": "log hazard ratio", "fine_gray": "log subdistribution hazard ratio", "discrete_cloglog": "log hazard ratio",
    "discrete_logit": "log odds ratio", "logit": "log odds ratio", "discrete_probit": "probit", "probit": "probit",
}  # fmt: skip
_OF_ROWS = {"logit", "cloglog", "probit"}


def _scale(estimators: set[str]) -> str:
    """Say what the coefficients are, and what their sign means."""
    scales = {_SCALES.get(name, "") for name in estimators}
    scale = f" ({scales.pop()})" if len(scales) == 1 and scales != {""} else ""
    what = "outcome" if estimators & _OF_ROWS else "event"
    return f"Coefficient{scale} with 95% interval; below 0 the {what} is less likely"


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
