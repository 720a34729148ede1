"""How numbers are printed: esttab's a2 format, stars, counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coalition_exit.report.numbers import STARS_NOTE, format_a2, format_count, stars


@pytest.mark.parametrize(
    ("value", "text"),
    [
        # The digits are fixed before rounding: these four are the rule's own examples.
        (9.996, "10.00"), (0.0996, "0.100"), (12.345, "12.3"), (1234.56, "1234.6"),
        (0, "0"), (-0.0, "0"), (1, "1.00"), (-1, "-1.00"), (0.5, "0.50"), (-0.5, "-0.50"), (0.996, "1.00"), (0.999999, "1.00"),
        (0.1, "0.100"), (0.0999, "0.100"), (0.01, "0.0100"), (0.012, "0.012"), (0.00999, "0.0100"), (0.001, "0.00100"),
        (0.0012345, "0.0012"), (0.00001, "0.0000100"), (0.000012345, "0.000012"), (-0.0091, "-0.0091"),
        (9.994, "9.99"), (9.995, "9.99"), (10, "10.0"), (-12.345, "-12.3"), (99.94, "99.9"), (99.96, "100.0"),
        (100, "100.0"), (999.95, "1000.0"), (99999.5, "99999.5"), (123456.789, "123456.8"), (1e10, "10000000000.0"),
        (math.inf, ""), (-math.inf, ""), (math.nan, ""), (1e-8, "0.0000000100"), (1e-9, "1.0e-09"), (-2.5e-300, "-2.5e-300"),
    ],
)  # fmt: skip
def test_a2(value: float, text: str) -> None:
    assert format_a2(value) == text
    assert format_a2(np.float64(value)) == text


@settings(deadline=None)
@given(st.floats(1e-8, 1e12), st.sampled_from([1, -1]))
def test_a2_keeps_two_significant_digits(size: float, sign: int) -> None:
    text = format_a2(sign * size)
    assert abs(float(text) - sign * size) <= 0.05 * size * (1 + 1e-9)
    assert text == "-" * (sign < 0) + format_a2(size)
    digits = text.lstrip("-").replace(".", "").lstrip("0")
    assert len(digits) >= 2
    assert "e" not in text


def a2_by_the_rule(x: float) -> int:
    """Decimals as the rule states them, word for word."""
    if abs(x) < 1:
        return max(1, 2 + int(-math.log10(abs(x))))
    return max(1, 3 - int(math.log10(abs(x)) + 1))


@settings(deadline=None)
@given(st.floats(1e-8, 1e12))
def test_a2_has_the_decimals_of_the_rule(value: float) -> None:
    assert len(format_a2(value).partition(".")[2]) == a2_by_the_rule(value)


@pytest.mark.parametrize(
    ("p_value", "mark"),
    [
        (0, "**"), (0.0099999, "**"), (0.01, "*"), (0.010001, "*"), (0.0499999, "*"), (0.05, "†"), (0.0999999, "†"),
        (0.1, ""), (0.5, ""), (1, ""), (math.nan, ""), (np.nextafter(0.05, 0), "*"), (np.nextafter(0.01, 0), "**"),
    ],
)  # fmt: skip
def test_stars_at_their_bounds(p_value: float, mark: str) -> None:
    assert stars(p_value) == mark


def test_the_note_says_what_the_stars_mean() -> None:
    assert STARS_NOTE == "† p < .1, * p < .05, ** p < .01 (two-sided)"


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (44.0, "44"), (102453, "102453"), (np.int64(7), "7"), (math.nan, ""), (None, "")]
)
def test_counts(value: float | None, text: str) -> None:
    assert format_count(value) == text  # type: ignore[arg-type]
