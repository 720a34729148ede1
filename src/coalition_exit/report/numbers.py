"""How numbers are printed: esttab's ``a2`` format and the stars."""

from __future__ import annotations

import math

STARS = ((0.01, "**"), (0.05, "*"), (0.1, "†"))
SMALLEST = 1e-8
STARS_NOTE = "† p < .1, * p < .05, ** p < .01 (two-sided)"


def format_a2(value: float) -> str:
    """Format with at least two significant digits, as Stata's esttab ``a2`` does.

    The number of decimals is fixed before rounding: with |x| < 1 it is max(1, 2 + int(-log10|x|)),
    otherwise max(1, 3 - int(log10|x| + 1)). Below 1e-8 the power of ten is written out.

    Examples
    --------
    >>> format_a2(0.0996), format_a2(12.345), format_a2(1234.56)
    ('0.100', '12.3', '1234.6')
    """
    if not math.isfinite(value):
        return ""
    size = abs(value)
    if size == 0:
        return "0"
    if size < SMALLEST:
        return f"{value:.1e}"
    decimals = 2 + int(-math.log10(size)) if size < 1 else 3 - int(math.log10(size) + 1)
    return f"{value:.{max(1, decimals)}f}"


def stars(p_value: float) -> str:
    """Return the mark of significance of a p value."""
    return next((mark for bound, mark in STARS if p_value < bound), "")


def format_count(value: float) -> str:
    """Format a count, or an empty string where there is none."""
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else f"{int(value):d}"
