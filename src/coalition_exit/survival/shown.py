"""How results show themselves in a terminal and in a notebook: a line, and a table if there is one."""

from __future__ import annotations

import html
from typing import Any

import pandas as pd

# Rows of a table that are printed.
MOST_ROWS = 12


def number(value: float) -> str:
    """Write a number of a table."""
    return f"{value:.4g}"


def text_table(table: pd.DataFrame, index: bool = False) -> str:
    """Return a table as text, its first rows only if it is long."""
    part = table if len(table) <= MOST_ROWS else table.head(MOST_ROWS - 2)
    text = str(part.to_string(index=index, float_format=number))
    return text if len(part) == len(table) else f"{text}\n... {len(table)} rows"


def html_table(table: pd.DataFrame, index: bool = False) -> str:
    """Return a table as HTML, its first rows only if it is long."""
    part = table if len(table) <= MOST_ROWS else table.head(MOST_ROWS - 2)
    text = str(part.to_html(index=index, float_format=number))
    return text if len(part) == len(table) else f"{text}<p>... {len(table)} rows</p>"


class Shown:
    """A result that prints as ``heading`` and ``shown``, not as its arrays."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # A dataclass would write a __repr__ of its own, with every array in it.
        if "__repr__" not in cls.__dict__:
            cls.__repr__ = Shown.__repr__  # type: ignore[method-assign]

    @property
    def heading(self) -> str:
        """What the result is and how it was made, in one line."""
        return type(self).__name__

    @property
    def shown(self) -> pd.DataFrame | None:
        """The table to print, or None."""
        return None

    def __str__(self) -> str:
        table = self.shown
        return self.heading if table is None else f"{self.heading}\n{text_table(table)}"

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        table = self.shown
        return f"<p>{html.escape(self.heading)}</p>{'' if table is None else html_table(table)}"
