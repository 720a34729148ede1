"""Drawing a multiverse from the numbers of `speccurve`."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from coalition_exit.report.captions import caption
from coalition_exit.report.coefplot import COLOURS, STYLE, draw_nothing

EXPECTED, NONE, OPPOSITE = COLOURS[0], "#8a8a8a", COLOURS[1]
GREY, PALE, NULL = "#555555", "#e4e4e4", "#7a1f5c"
# Intervals bear their point's colour, lightened: columns drawn over each other then make no darker stripes.
_LIGHT = {EXPECTED: "#a9cee3", NONE: "#d9d9d9", OPPOSITE: "#f0c4a4"}
_SHADES = ("#f4f4f4", "#1a1a1a")
# Above so many columns the many small strokes are drawn as pixels, else PDF and SVG files grow without end.
_VECTORS = 150


def _canvas(width: float, height: float, title: str, note: str) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    caption(figure, title, note)
    return figure


def _styled(draw: Any) -> Any:
    """Draw in the package's style."""
    from functools import wraps

    @wraps(draw)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        import matplotlib as mpl

        with mpl.rc_context({**STYLE, "hatch.linewidth": 0.5}):
            return draw(*arguments, **options)

    return wrapped


@_styled
def draw_curve(
    columns: pd.DataFrame, dashboard: pd.DataFrame, marks: pd.DataFrame, band: pd.DataFrame | None, title: str,
    note: str, axis: str,
) -> Any:  # fmt: skip
    """Draw a specification curve above the dashboard of its choices.

    Parameters
    ----------
    columns, dashboard, marks
        From `speccurve.curve_columns`.
    band
        Curves under the null (`coalition_exit.multiverse.reading.joint.JointTest.band` of the term), or None.
    title, note, axis
        Texts; ``axis`` says what the estimates are.
    """
    if columns.empty:
        return draw_nothing(title, "No spec has an estimate of this term.")
    rows = dashboard.drop_duplicates(["decision", "row"]) if len(dashboard) else dashboard
    groups = rows["decision"].nunique() if len(rows) else 0
    lower = 0.155 * len(rows) + 0.1 * groups + 0.1
    figure = _canvas(7.2, 3.5 + lower, title, note)
    parts = figure.subplots(2, 1, sharex=True, height_ratios=[2.6, max(lower, 0.1)]) if len(rows) else [
        figure.subplots()
    ]  # fmt: skip
    n = int(columns["rank_to"].iloc[-1])
    _curve(parts[0], columns, marks, band, n, axis)
    if len(rows):
        _dashboard(parts[1], columns, dashboard, rows)
    last = parts[-1]
    last.set_xlim(0.5 - 0.01 * n, n + 0.5 + 0.01 * n)
    last.xaxis.set_major_formatter(lambda v, _: f"{v:,.0f}")
    last.set_xlabel(f"Specs in the order of their estimates ({n:,})")
    return figure


def _curve(axes: Any, columns: pd.DataFrame, marks: pd.DataFrame, band: pd.DataFrame | None, n: int, axis: str) -> None:
    middle = ((columns["rank_from"] + columns["rank_to"]) / 2).to_numpy()
    single = int(columns["specs"].max()) == 1
    many = len(columns) > _VECTORS
    shares = columns[["expected", "none", "opposite"]].to_numpy(dtype=float)
    colours = np.array([EXPECTED, NONE, OPPOSITE])[shares.argmax(axis=1)]
    low, high, b = (columns[name].to_numpy(dtype=float) for name in ("conf_low", "conf_high", "estimate"))
    if band is not None and len(band):
        x = 1 + band["rank"].to_numpy() * (n - 1)
        for side in ("low", "high"):
            axes.plot(x, band[side], color=NULL, linewidth=1.1, linestyle=(0, (1, 1.2)), zorder=4)
    width = {True: 1.1, False: 0.9}[single] if many else max(0.8, min(4.0, 160 / len(columns)))
    light = [_LIGHT[colour] for colour in colours]
    axes.vlines(middle, low, high, color=light, linewidth=width, zorder=1, rasterized=many)
    size = 3.0 if many else max(5.0, min(30.0, 1500 / len(columns)))
    axes.scatter(middle, b, s=size, c=colours, linewidths=0, zorder=3, rasterized=many)
    axes.axhline(0, color=GREY, linewidth=0.9, zorder=2)
    _mark(axes, marks)
    # Intervals without end would leave nothing of the curve to see.
    span = np.concatenate([[0], b, np.quantile(low, [0.02, 1]), np.quantile(high, [0, 0.98])])
    reference = marks.loc[marks["what"] == "reference", ["conf_low", "conf_high"]].to_numpy(dtype=float).reshape(-1)
    span = np.concatenate([span, reference[np.isfinite(reference)]])
    margin = 0.05 * (np.ptp(span) or 1.0)
    axes.set_ylim(span.min() - margin, span.max() + margin)
    axes.spines["left"].set_visible(True)
    axes.tick_params(axis="x", length=0, labelbottom=False)
    axes.set_ylabel(textwrap.fill(axis, 34))
    _legend(axes, shares, band, marks)


def _mark(axes: Any, marks: pd.DataFrame) -> None:
    for row in marks.itertuples():
        if row.what == "median":
            axes.axhline(row.estimate, color=GREY, linewidth=0.8, linestyle=(0, (4, 2)), zorder=2)
            axes.annotate(
                f"median\n{row.estimate:.3g}", (1, row.estimate), (5, 0), xycoords=("axes fraction", "data"),
                textcoords="offset points", fontsize=7, color=GREY, va="center", annotation_clip=False,
            )  # fmt: skip
        else:
            axes.vlines(row.rank, row.conf_low, row.conf_high, color="black", linewidth=1.4, zorder=4)
            axes.plot(
                row.rank, row.estimate, marker="D", color="black", markersize=5.5, markeredgecolor="white", zorder=5
            )


def _legend(axes: Any, shares: Any, band: pd.DataFrame | None, marks: pd.DataFrame) -> None:
    from matplotlib.lines import Line2D

    texts = ("p < .05, expected sign", "p ≥ .05", "p < .05, other sign")
    handles: list[Any] = [
        Line2D([], [], marker="o", linestyle="none", markersize=4.5, color=colour, label=text)
        for colour, text, share in zip((EXPECTED, NONE, OPPOSITE), texts, shares.T, strict=True)
        if share.any()
    ]
    if (marks["what"] == "reference").any():
        handles.append(
            Line2D([], [], marker="D", linestyle="none", markersize=5, color="black", label="reference spec")
        )
    if band is not None and len(band):
        style = {"color": NULL, "linewidth": 1.1, "linestyle": (0, (1, 1.2))}
        handles.append(Line2D([], [], label="2.5% and 97.5% of curves under the null", **style))  # type: ignore[arg-type]
    axes.legend(
        handles=handles, loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False, fontsize=7,
        handletextpad=0.3, columnspacing=1.0, borderaxespad=0.2,
    )  # fmt: skip


def _dashboard(axes: Any, columns: pd.DataFrame, dashboard: pd.DataFrame, rows: pd.DataFrame) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("share", _SHADES)
    edges = np.append(columns["rank_from"].to_numpy() - 0.5, columns["rank_to"].iloc[-1] + 0.5)
    many = len(columns) > _VECTORS
    ticks, labels, y, before = [], [], 0.0, None
    shares = {key: own["share"].to_numpy() for key, own in dashboard.groupby(["decision", "row"], sort=False)}
    begins: list[tuple[float, str]] = []
    for row in rows.itertuples():
        if row.decision != before:
            y += 0.65 if before is not None else 0.0
            begins.append((y, row.label))
            before = row.decision
        share = shares[row.decision, row.row]
        axes.pcolormesh(
            edges, [y - 0.42, y + 0.42], share[None, :], cmap=shades, vmin=0, vmax=1, rasterized=many, linewidth=0
        )
        ticks.append(y)
        labels.append(textwrap.shorten(str(row.row), 36, placeholder="…"))
        y += 1
    axes.set_ylim(y - 0.4, -0.6)
    axes.set_yticks(ticks, labels, fontsize=6.5)
    axes.tick_params(axis="y", length=0)
    for k, (begin, label) in enumerate(begins):
        end = begins[k + 1][0] - 0.65 if k + 1 < len(begins) else y
        # Beside the rows: names of decisions stand to the right, where no option is written.
        axes.annotate(
            "\n".join(textwrap.wrap(label, 18)[: max(1, round(end - begin))]), (1, (begin + end - 1) / 2), (5, 0),
            xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=7, fontweight="bold",
            va="center", ha="left", annotation_clip=False,
        )  # fmt: skip


@_styled
def draw_decomposition(data: pd.DataFrame, whole: pd.DataFrame, labels: dict[str, str], title: str, note: str) -> Any:
    """Draw the share of each decision in the variance of the estimates, a panel a focus term."""
    if not data["shapley"].notna().any():
        return draw_nothing(title, "The estimates do not vary, or there are none.")
    terms = list(dict.fromkeys(data["term"]))
    largest = data.groupby("decision")["shapley"].max().sort_values(ascending=False, kind="stable")
    order = list(largest.index[:25])
    names = data.drop_duplicates("decision").set_index("decision")["label"]
    height = 0.9 + 0.24 * len(order)
    figure = _canvas(max(5.0, 1.6 + 2.8 * len(terms)), height + 1.2, title, note)
    cells = figure.add_gridspec(2, len(terms), height_ratios=[height, 0.15])
    grid: list[Any] = []
    for k in range(len(terms)):
        shared = {"sharex": grid[0], "sharey": grid[0]} if grid else {}
        grid.append(figure.add_subplot(cells[0, k], **shared))
    for axes, term in zip(grid, terms, strict=True):
        own = data[data["term"] == term].set_index("decision").reindex(order)
        y = np.arange(len(order))
        axes.barh(y, own["shapley"], height=0.62, color=EXPECTED, alpha=0.85, label="share (Shapley)", zorder=2)
        axes.plot(
            own["first_order"], y, linestyle="none", marker="o", markersize=4.5, markerfacecolor="white",
            markeredgecolor="black", markeredgewidth=0.9, label="alone (first order)", zorder=4,
        )  # fmt: skip
        axes.plot(
            own["total"], y, linestyle="none", marker="|", markersize=8, color="black", markeredgewidth=1.4,
            label="lost without it (total)", zorder=3,
        )  # fmt: skip
        interactions = whole.loc[whole["term"] == term, "interactions"]
        rest = f"\ninteractions {interactions.iloc[0]:.0%}" if interactions.notna().any() else ""
        axes.set_title(f"{textwrap.fill(labels.get(term, term), 30)}{rest}", fontsize=8.5)
        axes.grid(axis="x", color=PALE, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.axvline(0, color=GREY, linewidth=0.9)
        axes.xaxis.set_major_formatter(lambda v, _: f"{v:.0%}")
        axes.set_xlabel("Share of the variance")
    grid[0].set_yticks(np.arange(len(order)), [textwrap.shorten(names[name], 30, placeholder="…") for name in order])
    for axes in grid:
        axes.tick_params(axis="y", length=0, labelleft=axes is grid[0])
    grid[0].set_ylim(len(order) - 0.4, -0.6)
    _below(figure.add_subplot(cells[1, :]), grid[0])
    return figure


@_styled
def draw_changes(data: pd.DataFrame, title: str, note: str, axis: str) -> Any:
    """Draw what each option changes: against the reference spec, and over all other choices."""
    if data.empty:
        return draw_nothing(title, "No decision has a second option.")
    y, ticks, heads, before = 0.0, [], [], None
    for row in data.itertuples():
        if row.decision != before:
            y += 0.9 if before is not None else 0.0
            heads.append((y, f"{row.label}, instead of {row.reference}"))
            y += 0.85
            before = row.decision
        ticks.append(y)
        y += 1
    height = 0.4 + 0.175 * y
    figure = _canvas(7.2, height + 1.3, title, note)
    axes, under = figure.subplots(2, 1, height_ratios=[height, 0.15])
    at = np.array(ticks)
    axes.axvline(0, color=GREY, linewidth=0.9, zorder=1)
    axes.hlines(at, data["change_p05"], data["change_p95"], color=EXPECTED, linewidth=1.0, zorder=2, label="5% to 95%")
    axes.hlines(at, data["change_p25"], data["change_p75"], color=EXPECTED, linewidth=4.0, alpha=0.45, zorder=2,
                label="middle half of pairs")  # fmt: skip
    axes.plot(data["mean_change"], at, linestyle="none", marker="o", markersize=5, color=EXPECTED, zorder=3,
              markeredgecolor="white", markeredgewidth=0.5, label="mean over all other choices")  # fmt: skip
    axes.plot(data["change"], at, linestyle="none", marker="D", markersize=4.5, markerfacecolor="none", zorder=4,
              markeredgecolor=COLOURS[1], markeredgewidth=1.2, label="in the reference spec")  # fmt: skip
    lost = data["change"].isna().to_numpy()
    if lost.any():
        axes.scatter(np.zeros(lost.sum()), at[lost], marker="x", s=16, color=COLOURS[1], linewidths=1.0, zorder=4,
                     label="no estimate there")  # fmt: skip
    axes.set_yticks(at, [textwrap.shorten(str(option), 36, placeholder="…") for option in data["option"]], fontsize=7)
    axes.tick_params(axis="y", length=0)
    for place, text in heads:
        axes.annotate(
            textwrap.shorten(text, 62, placeholder="…"), (0, place), (4, 0), xycoords=("axes fraction", "data"),
            textcoords="offset points", fontsize=7, fontweight="bold", va="center", ha="left",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8}, zorder=5,
        )  # fmt: skip
    for tick in at:
        axes.axhline(tick, color="#f0f0f0", linewidth=0.7, zorder=0)
    axes.set_ylim(y - 0.4, -0.6)
    axes.set_xlabel(axis)
    _below(under, axes)
    return figure


def _below(under: Any, axes: Any) -> None:
    """Put the legend of some axes in others kept for it: one outside of axes would lie over title or note."""
    under.axis("off")
    found = under.legend(
        *axes.get_legend_handles_labels(), loc="center right", ncols=5, frameon=False, fontsize=7, handletextpad=0.5,
        columnspacing=1.2, borderaxespad=0,
    )  # fmt: skip
    # It may reach under the names of the options: the panel is not made narrower for it.
    found.set_in_layout(False)


@_styled
def draw_vibration(data: pd.DataFrame, row: Any, title: str, note: str, axis: str) -> Any:
    """Draw estimates against -log10(p); ``row`` is the term's row of `Summary.vibration`."""
    if data.empty:
        return draw_nothing(title, "No spec has an estimate of this term.")
    from matplotlib.colors import LogNorm

    figure = _canvas(5.6, 4.5, title, note)
    axes = figure.subplots()
    cells, single = data[data["width"] > 0], data[(data["width"] == 0) & ~data["reference"].astype(bool)]
    if len(cells):
        x, y = cells["estimate"].to_numpy(), cells["logp"].to_numpy()
        w, h = float(cells["width"].iloc[0]), float(cells["height"].iloc[0])
        i, j = np.round((x - x.min()) / w).astype(int), np.round((y - y.min()) / h).astype(int)
        counts = np.full((j.max() + 1, i.max() + 1), np.nan)
        counts[j, i] = cells["specs"]
        edges = [x.min() - w / 2 + w * np.arange(i.max() + 2), y.min() - h / 2 + h * np.arange(j.max() + 2)]
        mesh = axes.pcolormesh(
            *edges, counts, cmap="cividis_r", norm=LogNorm(1, max(2, np.nanmax(counts))), rasterized=True
        )
        bar = figure.colorbar(mesh, ax=axes, shrink=0.6, pad=0.02)
        bar.set_label("Specs", fontsize=7)
        bar.ax.tick_params(labelsize=7)
        bar.ax.yaxis.set_major_formatter(lambda v, _: f"{v:,.0f}")
        bar.ax.yaxis.set_minor_formatter(lambda v, _: "")
    if len(single):
        alpha = float(np.clip(400 / len(single), 0.15, 0.9))
        axes.scatter(single["estimate"], single["logp"], s=11, color=EXPECTED, alpha=alpha, linewidths=0,
                     rasterized=len(single) > _VECTORS)  # fmt: skip
    reference = data[data["reference"].astype(bool)]
    axes.scatter(reference["estimate"], reference["logp"], marker="D", s=34, color="black", edgecolors="white",
                 linewidths=0.8, zorder=5, label="reference spec")  # fmt: skip
    _quadrants(axes, data, row)
    axes.set_xlabel(axis, loc="left")
    axes.set_ylabel("−log10(p)")
    axes.spines["left"].set_visible(True)
    if len(reference):
        # Above the panel: within it points may lie anywhere.
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1.03), frameon=False, fontsize=7, borderaxespad=0,
                    handletextpad=0.2)  # fmt: skip
    return figure


def _quadrants(axes: Any, data: pd.DataFrame, row: Any) -> None:
    limit = -np.log10(0.05)
    low, high = min(0.0, float(data["estimate"].min())), max(0.0, float(data["estimate"].max()))
    margin = 0.06 * ((high - low) or 1.0)
    top = max(float(data["logp"].max()), limit * 1.25)
    axes.set_xlim(low - margin, high + margin)
    axes.set_ylim(-0.13 * top, 1.14 * top)
    axes.axvline(0, color=GREY, linewidth=0.9, zorder=1)
    axes.axhline(limit, color=OPPOSITE, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
    axes.annotate("p = .05", (1, limit), (-2, 2), xycoords=("axes fraction", "data"), textcoords="offset points",
                  fontsize=7, color=OPPOSITE, ha="right", va="bottom")  # fmt: skip
    for share in ("01", "50", "99"):
        at = np.log(row[f"ratio_p{share}"])
        axes.axvline(at, color=GREY, linewidth=0.8, linestyle=":", zorder=1)
        axes.annotate(f"{int(share)}%", (at, 1), (0, 1), fontsize=6.5, color=GREY, ha="center",
                      va="bottom", xycoords=("data", "axes fraction"), textcoords="offset points")  # fmt: skip
    boxed = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.0}
    for x, y, name, ha, va in (
        (0.01, 0.99, "down_significant", "left", "top"), (0.99, 0.99, "up_significant", "right", "top"),
        (0.01, 0.01, "down", "left", "bottom"), (0.99, 0.01, "up", "right", "bottom"),
    ):  # fmt: skip
        if not row[name] > 0:
            continue
        side = "below 0" if name.startswith("down") else "above 0"
        small = "p < .05" if name.endswith("significant") else "p ≥ .05"
        axes.text(x, y, f"{row[name]:.1%}\n{side}, {small}", transform=axes.transAxes, ha=ha, va=va, fontsize=7,
                  color=GREY, bbox=boxed, zorder=6)  # fmt: skip


@_styled
def draw_multiples(data: pd.DataFrame, title: str, note: str, axis: str) -> Any:
    """Draw the curve of each option before that of all specs, a row a decision."""
    every = data[data["row"] == ""]
    own = data[data["row"] != ""]
    if own.empty:
        return draw_nothing(title, "No decision has a second option.")
    decisions = list(dict.fromkeys(own["decision"]))
    panels = {d: list(dict.fromkeys(own.loc[own["decision"] == d, "row"])) for d in decisions}
    # A decision of many options takes several lines, so that panels stay wide enough to read.
    lines = [(d, rows[k : k + 4]) for d, rows in panels.items() for k in range(0, len(rows), 4)]
    width = max(len(rows) for _, rows in lines)
    figure = _canvas(max(4.2, 1.0 + 1.62 * width), 1.2 + 1.32 * len(lines), title, note)
    grid = figure.subplots(len(lines), width, sharex=True, sharey=True, squeeze=False)
    for line, (decision, rows) in zip(grid, lines, strict=True):
        for axes in line[len(rows) :]:
            axes.set_visible(False)
        for axes, row in zip(line, rows, strict=False):
            part = own[(own["decision"] == decision) & (own["row"] == row)]
            axes.axhline(0, color=GREY, linewidth=0.8)
            axes.plot(every["rank"], every["estimate"], color="#b5b5b5", linewidth=1.6)
            axes.plot(part["rank"], part["estimate"], color=EXPECTED, linewidth=1.8)
            first = part.iloc[0]
            said = "no estimate" if not first["specs"] else (
                f"{int(first['specs']):,} specs, median {first['median']:.2g},\n"
                f"{first['share_significant']:.0%} significant"
            )  # fmt: skip
            axes.set_title(textwrap.shorten(str(row), 26, placeholder="…"), fontsize=7.5, loc="left", pad=15)
            axes.annotate(said, (0, 1), (0, 1), xycoords="axes fraction", textcoords="offset points", fontsize=5.8,
                          color="#444444", va="bottom", linespacing=1.0)  # fmt: skip
            axes.spines["left"].set_visible(True)
            axes.set_xticks([0, 0.5, 1], ["0", ".5", "1"], fontsize=6.5)
            axes.tick_params(axis="y", labelsize=6.5)
        head = own.loc[own["decision"] == decision, "label"].iloc[0]
        line[0].set_ylabel("\n".join(textwrap.wrap(str(head), 18)[:3]), fontsize=7.5, fontweight="bold")
    grid[-1][0].set_xlabel("Share of specs", fontsize=7)
    figure.supylabel(axis, fontsize=8)
    return figure


NAMES = {
    "median": "Median estimate, in the expected direction",
    "share_significant": "Share significant at 5%, expected sign",
    "share_sign": "Share with the expected sign",
    "mean_z": "Mean z, in the expected direction",
}


@_styled
def draw_null(data: pd.DataFrame, labels: dict[str, str], title: str, note: str) -> Any:
    """Draw the statistics of curves under the null and that of the curve found, a row a focus term."""
    terms, statistics = list(dict.fromkeys(data["term"])), list(dict.fromkeys(data["statistic"]))
    figure = _canvas(1.0 + 2.05 * len(statistics), 1.3 + 1.75 * len(terms), title, note)
    grid = figure.subplots(len(terms), len(statistics), squeeze=False)
    for line, term in zip(grid, terms, strict=True):
        for axes, statistic in zip(line, statistics, strict=True):
            own = data[(data["term"] == term) & (data["statistic"] == statistic)]
            axes.bar(own["low"], own["curves"], width=own["high"] - own["low"], align="edge", color="#b5b5b5",
                     edgecolor="white", linewidth=0.3)  # fmt: skip
            first = own.iloc[0]
            axes.axvline(first["observed"], color=OPPOSITE, linewidth=1.8)
            two = f"two-sided p = {_p(first['two_sided'])}"
            one = f"one-sided p = {_p(first['one_sided'])}\n" if np.isfinite(first["one_sided"]) else ""
            axes.set_title(f"{one}{two}", fontsize=7, loc="left")
            axes.set_yticks([])
            axes.tick_params(axis="x", labelsize=6.5)
            if term == terms[-1]:
                axes.set_xlabel(textwrap.fill(NAMES[statistic], 24), fontsize=7)
        line[0].set_ylabel(textwrap.fill(labels.get(term, term), 20), fontsize=8, fontweight="bold")
    return figure


def _p(value: float) -> str:
    return f"{value:.3f}".removeprefix("0") if value < 1 else "1"


def estimate_axis(label: str, estimators: Sequence[str], per_sd: bool = False) -> str:
    """Say what the estimates of a term are; ``per_sd`` where they are those of one standard deviation."""
    kinds = set(estimators)
    what = "log hazard ratio" if kinds <= {"cox", "cloglog"} else "log odds ratio" if kinds == {"logit"} else (
        "coefficient"
    )  # fmt: skip
    return f"{label}: {what}{' per standard deviation' if per_sd else ''}"
