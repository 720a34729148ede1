"""Reading a cause column: which of several competing exits each event was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coalition_exit.errors import DataError, FitError, nearest, one_of
from coalition_exit.survival.data.surv import Integers, Surv

CENSORED = (0, "", "0")


def cause_codes(event: NDArray[np.bool_], column: pd.Series) -> tuple[Integers, tuple[object, ...]]:
    """Return the cause of each row as a code, and the labels.

    Parameters
    ----------
    event
        Whether the row ends in an event of any cause, shape (n,).
    column
        The cause: 0, "" or missing where there is no event, a label where there is one.

    Returns
    -------
    codes : shape (n,)
        0 for no event, c for the cause ``labels[c - 1]``.
    labels
        Causes that occur, in order (of the categories if the column is categorical).

    Raises
    ------
    DataError
        When the event and the cause of a row contradict each other.
    """
    values = column.astype(object).to_numpy()
    none = column.isna().to_numpy() | np.isin(values.astype(str), [str(c) for c in (*CENSORED, 0.0, False)])
    for wrong, expected, got in (
        (event & none, "the cause of the event", "none (0, '' or missing)"),
        (~event & ~none, "0, '' or missing, as the row has no event", "{}"),
    ):
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(f"cause, row {row} ({int(wrong.sum())} such rows)", expected, got.format(repr(values[row])))
    if not event.any():
        raise FitError("no_events", f"no events among {len(event)} rows")
    if isinstance(column.dtype, pd.CategoricalDtype):
        present = set(values[event])
        labels = [label for label in column.cat.categories if label in present]
    else:
        labels = in_order(pd.unique(values[event]).tolist())
    codes = np.zeros(len(event), dtype=np.int64)
    codes[event] = pd.Index(labels, dtype=object).get_indexer(pd.Index(values[event], dtype=object)) + 1
    return codes, tuple(labels)


def in_order(labels: Sequence[object]) -> list[object]:
    """Sort labels; by their text if they cannot be compared."""
    try:
        ordered: list[object] = [*sorted(cast("Sequence[str]", labels))]
    except TypeError:
        return sorted(labels, key=str)
    return ordered


def find_cause(cause: object, labels: tuple[object, ...]) -> int:
    """Return the code of a cause.

    Raises
    ------
    DataError
        Unknown cause, with the nearest one.
    """
    for code, label in enumerate(labels, start=1):
        if label == cause:
            return code
    raise DataError("cause", one_of(labels), repr(cause), nearest(str(cause), [str(x) for x in labels]))


def check_single_exit(surv: Surv, codes: Integers, ids: Integers, contiguous: bool) -> None:
    """Refuse rows of a subject after its event, and gaps if ``contiguous``.

    Overlapping episodes are `check_episodes`' business.

    Raises
    ------
    DataError
        Names the row.
    """
    order = np.lexsort((surv.stop, ids))
    same = np.diff(ids[order]) == 0
    after = same & (codes[order][:-1] > 0)
    if after.any():
        row = int(order[int(np.argmax(after)) + 1])
        raise DataError(f"row {row}", "no row of a subject after its event", "one (an exit ends a subject's follow-up)")
    gap = same & (surv.start[order][1:] != surv.stop[order][:-1])
    if contiguous and gap.any():
        at = int(np.argmax(gap))
        row = int(order[at + 1])
        expected = f"rows of a subject without gap (the one before ends at {surv.stop[order[at]]:g})"
        raise DataError(f"row {row}", expected, f"a row that starts at {surv.start[row]:g}")


def last_rows(surv: Surv, ids: Integers, group: Integers) -> NDArray[np.bool_]:
    """Whether follow-up ends with the row: False where the subject goes on in the same group at once."""
    order = np.lexsort((surv.stop, ids))
    a, b = order[:-1], order[1:]
    last = np.ones(len(ids), dtype=bool)
    last[a] = (ids[a] != ids[b]) | (surv.stop[a] != surv.start[b]) | (group[a] != group[b])
    return last
