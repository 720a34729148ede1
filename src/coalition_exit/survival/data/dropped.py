"""Why rows were left out of a model: missing values by column."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from coalition_exit.survival.data.formula import columns_in, parse_formula


def missing_by_column(
    formula: str, data: pd.DataFrame, beside: Mapping[str, str | ArrayLike | None]
) -> tuple[tuple[str, int], ...]:
    """Count missing values in each column a model uses, columns without any left out.

    A row with several missing values counts in each of their columns.

    Parameters
    ----------
    formula
        Model formula.
    data
        Never changed.
    beside
        Further columns by role (id, cluster, weights, offset): names of columns, arrays or None.
    """
    parsed = parse_formula(formula)
    terms = [*parsed.terms, *(x for x, _ in parsed.time_terms)]
    names = dict.fromkeys([*parsed.response, *parsed.strata, *columns_in(terms, data)])
    counts: dict[str, int] = {name: int(data[name].isna().sum()) for name in names if name in data.columns}
    for role, value in beside.items():
        if isinstance(value, str):
            counts[value] = int(data[value].isna().sum())
        elif value is not None:
            counts[role] = int(np.asarray(pd.isna(pd.Series(np.asarray(value)))).sum())
    return tuple((name, count) for name, count in counts.items() if count)


def dropped_text(n_dropped: int, reasons: tuple[tuple[str, int], ...]) -> str:
    """Say how many rows were left out and for which columns; empty if none were."""
    if not n_dropped:
        return ""
    named = ", ".join(f"{name} {count}" for name, count in reasons)
    return f"{n_dropped} rows dropped for missing values{f' ({named})' if named else ''}"
