"""Title and note of a figure, and a legend that lies over neither."""

from __future__ import annotations

import textwrap
from typing import Any

# Letters to an inch of the figure's width: of the title in bold 10 pt, of the note in 7 pt.
_TITLE, _NOTE = 12, 16


def caption(figure: Any, title: str, note: str) -> None:
    """Put the title above a matplotlib figure and the note below it, both wrapped to its width."""
    width = float(figure.get_size_inches()[0])
    figure.suptitle(
        textwrap.fill(title, int(_TITLE * width)), x=0.01, horizontalalignment="left", fontsize=10, fontweight="bold"
    )
    if note:
        text = textwrap.fill(note, int(_NOTE * width))
        figure.supxlabel(text, x=0.01, horizontalalignment="left", fontsize=7, color="#444444")


def legend_below(figure: Any, cell: Any, axes: Any, columns: int) -> None:
    """Put the legend of some axes in a cell of the figure's grid: one outside of axes would lie over the note."""
    under = figure.add_subplot(cell)
    under.axis("off")
    handles, labels = axes.get_legend_handles_labels()
    found = under.legend(handles, labels, loc="center left", ncols=columns, frameon=False, borderaxespad=0)
    # It may reach under the names beside the axes: the panel is not made narrower for it.
    found.set_in_layout(False)
