"""The numbers of a curve of estimates."""

from __future__ import annotations

import numpy as np
import pandas as pd

LEVEL = 0.05


def direction(expected: str, estimates: np.ndarray) -> int:
    """Return the expected direction: 1 or -1; that of the median where either sign is expected."""
    if expected != "either":
        return 1 if expected == "positive" else -1
    return 1 if not len(estimates) or np.median(estimates) >= 0 else -1


def curve_numbers(own: pd.DataFrame, side: int) -> dict[str, object]:
    """Return the numbers of a curve: how many, where, which share as expected; ``side`` is the expected direction."""
    known = own[own["estimate"].notna()]
    b, p = known["estimate"].to_numpy(dtype=float), known["p_value"].to_numpy(dtype=float)
    points = np.quantile(b, [0, 0.25, 0.5, 0.75, 1]) if len(b) else np.full(5, np.nan)
    small = p < LEVEL
    return {
        "estimated": len(b), "median": points[2], "p25": points[1], "p75": points[3], "minimum": points[0],
        "maximum": points[4], "share_sign": _mean(side * b > 0), "share_significant": _mean((side * b > 0) & small),
        "share_significant_opposite": _mean((side * b < 0) & small),
    }  # fmt: skip


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan
