"""Numbers as they are printed and typed."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coalition_exit.report.numbers import format_a2
from coalition_exit.report.printed import NotANumber, decimal_mark, is_empty, read_number, read_stars


@pytest.mark.parametrize(
    ("text", "part", "mark", "value", "decimals", "stars"),
    [
        ("-0.73**", "coef", ".", "-0.73", 2, "**"),
        ("−0.73", "coef", ".", "-0.73", 2, ""),
        ("–0.73 *", "coef", ".", "-0.73", 2, "*"),
        ("'-0.73**", "coef", ".", "-0.73", 2, "**"),
        ("- 0.73", "coef", ".", "-0.73", 2, ""),
        ("+0.73", "coef", ".", "0.73", 2, ""),
        ("0.10†", "coef", ".", "0.10", 2, "†"),
        ("0.10+", "coef", ".", "0.10", 2, "†"),
        ("0.10 ∗∗", "coef", ".", "0.10", 2, "**"),
        (".25", "coef", ".", "0.25", 2, ""),
        ("-.25", "coef", ".", "-0.25", 2, ""),
        (",25", "coef", "", "0.25", 2, ""),
        ("(0.25)", "se", ".", "0.25", 2, ""),
        ("[0.25]", "se", ".", "0.25", 2, ""),
        ("( .25 )", "se", ".", "0.25", 2, ""),
        ("-0.25", "se", ".", "0.25", 2, ""),
        ("(0,25)", "se", "", "0.25", 2, ""),
        ("1,234", "n_obs", "", "1234", 0, ""),
        ("1.234", "n_obs", ".", "1234", 0, ""),
        ("104 375", "n_obs", "", "104375", 0, ""),
        ("104\u00a0375", "n_obs", "", "104375", 0, ""),
        ("1,234,567", "n_obs", "", "1234567", 0, ""),
        ("1,234", "coef", ".", "1234", 0, ""),
        ("1,234", "coef", ",", "1.234", 3, ""),
        ("1.234", "coef", ".", "1.234", 3, ""),
        ("1.234", "coef", ",", "1234", 0, ""),
        ("0,734", "coef", "", "0.734", 3, ""),
        ("0.734", "coef", ",", "0.734", 3, ""),
        ("-1,234.50", "loglik", "", "-1234.50", 2, ""),
        ("-1.234,50", "loglik", "", "-1234.50", 2, ""),
        ("1’234.5", "loglik", "", "1234.5", 1, ""),
        ("1.2e-09", "coef", ".", "1.2e-9", 10, ""),
        ("1.2E+03", "coef", ".", "1.2e3", -2, ""),
        ("10", "coef", "", "10", 0, ""),
        ("33.3 %", "row_percent", ".", "33.3", 1, ""),
    ],
)
def test_what_is_read(text: str, part: str, mark: str, value: str, decimals: int, stars: str) -> None:
    read = read_number(text, part, mark)
    assert (read.value, read.decimals, read.stars) == (Decimal(value), decimals, stars)


@pytest.mark.parametrize(
    ("text", "part", "mark", "expected"),
    [
        ("abc", "coef", ".", "a number as printed"),
        ("nan", "coef", ".", "a number as printed"),
        ("inf", "coef", ".", "a number as printed"),
        ("?0.73", "coef", ".", "a number as printed"),
        ("--1", "coef", ".", "a number as printed"),
        ("1 2", "coef", ".", "a number as printed"),
        ("0.7.3", "coef", ".", "a number as printed"),
        ("1,2,3", "coef", ".", "a number as printed"),
        ("1.234,567,8", "coef", ".", "a number as printed"),
        ("5.", "coef", ".", "a number as printed"),
        ("0.5%", "coef", ".", "a number as printed"),
        ("01. Mai", "coef", ".", "a number as printed"),
        ("1_000", "n_obs", ".", "a number as printed"),
        ("٣", "coef", ".", "a number as printed"),
        ("**", "coef", ".", "a number as printed"),
        ("()", "se", ".", "a number as printed"),
        ("1,234", "coef", "", "a number whose decimal mark is certain"),
        ("1.234", "se", "", "a number whose decimal mark is certain"),
        ("0.25***", "coef", ".", "a mark of significance"),
        ("0.25*†", "coef", ".", "a mark of significance"),
        ("0.25*", "se", ".", "without marks of significance"),
        ("32*", "n_event", ".", "without marks of significance"),
        ("(0.25)", "coef", ".", "without parentheses"),
        ("(32)", "n_event", ".", "without parentheses"),
        ("12.5", "n_obs", ".", "a whole number"),
        ("-5", "n_obs", ".", "a whole number"),
        ("1e5", "n_obs", ".", "a whole number"),
    ],
)
def test_what_is_refused(text: str, part: str, mark: str, expected: str) -> None:
    with pytest.raises(NotANumber, match=expected):
        read_number(text, part, mark)


@pytest.mark.parametrize(
    ("text", "plain"),
    [("0.1", True), ("-0.1", True), ("0,1", True), ("7", True), ("1.2E-09", True), ("0.1*", False), ("−0.1", False),
     (".1", False), ("1,234.5", False), ("+0.1", False)],
)  # fmt: skip
def test_what_a_spreadsheet_program_may_have_shortened(text: str, plain: bool) -> None:
    assert read_number(text, "coef", ".").plain is plain


def test_parentheses_are_left_alone_by_spreadsheet_programs() -> None:
    assert not read_number("(0.1)", "se", ".").plain
    assert read_number("-0.1", "se", ".").plain


@pytest.mark.parametrize("text", ["", " ", "\u00a0", "-", "—", "–", ".", "…", "'"])
def test_blank_cells(text: str) -> None:
    assert is_empty(text)


def test_zero_is_no_blank_cell() -> None:
    assert not is_empty("0")


@pytest.mark.parametrize(
    ("texts", "mark"),
    [
        (["0.25", "1,234"], "."),
        (["0,25", "1,234"], ","),
        (["0,734"], ","),
        (["1,234", "2.345", "7", "", "abc"], ""),
        (["0.25", "0,25"], ""),
        (["1.234,5"], ","),
        (["1,234.5**"], "."),
        (["(.25)"], "."),
        (["1,234,567"], ""),
    ],
)
def test_the_mark_that_numbers_agree_on(texts: list[str], mark: str) -> None:
    assert decimal_mark(texts) == mark


@pytest.mark.parametrize(("text", "stars"), [("*", "*"), ("* *", "**"), ("+", "†"), ("", ""), ("-", "")])
def test_marks_of_significance(text: str, stars: str) -> None:
    assert read_stars(text) == stars


@pytest.mark.parametrize("text", ["***", "x", "p<.05", "2"])
def test_other_marks_of_significance_are_refused(text: str) -> None:
    with pytest.raises(NotANumber, match="a mark of significance"):
        read_stars(text)


@given(st.floats(min_value=-1e6, max_value=1e6), st.sampled_from(["", "*", "**", "†"]))
def test_what_tables_print_is_read_back(value: float, stars: str) -> None:
    text = format_a2(value)
    read = read_number(text + stars, "coef", ".")
    assert read.value == Decimal(text)
    assert read.stars == stars
    comma = read_number(text.replace(".", ",").replace("-", "−"), "coef", ",")
    assert comma.value == Decimal(text)
