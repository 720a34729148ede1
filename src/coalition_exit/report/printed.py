"""Numbers as an article prints them and as a person, or a spreadsheet program, types them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from coalition_exit.report.numbers import STARS

# What stands for a minus, for a mark of significance, and for the space between thousands.
_ALIKE = str.maketrans(
    {
        **dict.fromkeys("−–—‐‑﹣－", "-"), **dict.fromkeys("∗＊", "*"), **dict.fromkeys("+⁺＋", "†"),
        **dict.fromkeys("\u00a0\u2007\u2009\u202f", " "), **dict.fromkeys("’ʼ`´", "'"), "．": ".", "，": ",",
    }
)  # fmt: skip
_EMPTY = ("", "-", ".", "...", "…")
_STARS = re.compile(r"[ *†]*$")
_NUMBER = re.compile(r"([-†]?) ?([0-9][0-9 ',.]*|[.,][0-9]+)([eE][-†]?[0-9]+)?")
_GROUPED = re.compile(r"[1-9][0-9]{0,2}(?:([ ',.])[0-9]{3})(?:\1[0-9]{3})*")
_ONE_GROUP = re.compile(r"[1-9][0-9]{0,2}[.,][0-9]{3}")
# What a spreadsheet program takes for a number, and may save with fewer digits than were typed.
_PLAIN = re.compile(r"-?[0-9]+(?:[.,][0-9]+)?(?:[eE][-+]?[0-9]+)?")
MARKS = tuple(mark for _, mark in STARS)


@dataclass(frozen=True)
class Printed:
    """A printed cell.

    Attributes
    ----------
    value
        The number, exactly as printed.
    stars
        Its mark of significance, "" for none.
    plain
        Whether the text is a bare number, which a spreadsheet program may have shortened (0.10 to 0.1);
        with stars, in parentheses or with a typographic minus it would have left it alone.
    """

    value: Decimal
    stars: str = ""
    plain: bool = False

    @property
    def decimals(self) -> int:
        """Place of the last printed digit: digits after the point."""
        return -int(self.value.as_tuple().exponent)


class NotANumber(ValueError):  # noqa: N818 - it is told, not raised to the user
    """What would have been right, for a message."""


def is_empty(text: str) -> bool:
    """Whether a cell is blank, or holds only what stands for an empty cell."""
    return _bare(text) in _EMPTY


def decimal_mark(texts: Iterable[str]) -> str:
    """Return the mark before decimals that texts agree on: "." or ","; "" where none tells, or both do."""
    found = {mark for text in texts if (mark := _evidence(text))}
    return found.pop() if len(found) == 1 else ""


def _evidence(text: str) -> str:
    found = _NUMBER.fullmatch(_STARS.sub("", _bare(text)).strip("()[] "))
    if not found or _ONE_GROUP.fullmatch(found[2]):
        return ""
    last = max(".,", key=found[2].rfind)
    return last if found[2].count(last) == 1 else ""


def _bare(text: str) -> str:
    return text.translate(_ALIKE).strip(" '")


def read_stars(text: str) -> str:
    """Read a mark of significance: "*", "**", "†" or its stand-in "+"; raises NotANumber for others."""
    marks = _bare(text).replace(" ", "")
    if is_empty(text):
        return ""
    if marks not in MARKS:
        raise NotANumber(f"a mark of significance ({', '.join(reversed(MARKS))})")
    return marks


def read_number(text: str, part: str, mark: str) -> Printed:
    """Read one cell.

    Parameters
    ----------
    text
        As typed: "-0.73**", "−0.73", "(0.25)", "0.10†", ".25", "1,234", "0,25".
    part
        "coef", "se", or the name of a statistic: those that begin with ``n_`` are whole numbers, and those that end
        with ``percent`` may bear the sign.
    mark
        The file's decimal mark, for what could be either (1,234); "" where nothing tells.

    Returns
    -------
    Printed

    Raises
    ------
    NotANumber
        Says what was expected.
    """
    bare = _bare(text)
    if part.endswith("percent"):
        bare = bare.removesuffix("%").rstrip()
    number = _STARS.sub("", bare)
    marks = bare[len(number) :].replace(" ", "")
    if marks and part != "coef":
        raise NotANumber("a number without marks of significance, which stand at the coefficient")
    if marks:
        read_stars(marks)
    inner = re.fullmatch(r"\((.*)\)|\[(.*)\]", number)
    if inner and part != "se":
        raise NotANumber("a number without parentheses: in them stands the standard error")
    value = _value((inner[1] or inner[2] or "").strip() if inner else number, part.startswith("n_"), mark)
    # Spreadsheet programs save (0.25) as -0.25; no standard error is negative.
    return Printed(abs(value) if part == "se" else value, marks, plain=bool(_PLAIN.fullmatch(text.strip())))


def _value(text: str, whole: bool, mark: str) -> Decimal:
    found = _NUMBER.fullmatch(text)
    if not found:
        raise NotANumber("a number as printed")
    sign, digits, exponent = found[1].replace("†", ""), found[2], (found[3] or "").replace("†", "+")
    plain = _without_groups(digits, whole, mark)
    if whole and ("." in plain or sign or exponent):
        raise NotANumber("a whole number")
    return Decimal(f"{sign}{plain}{exponent}")


def _without_groups(digits: str, whole: bool, mark: str) -> str:
    """Return digits with a decimal point, if any, and nothing between thousands."""
    if _ONE_GROUP.fullmatch(digits):
        separator = "," if "," in digits else "."
        if whole or (mark and mark != separator):
            return digits.replace(separator, "")
        if not mark:
            raise NotANumber("a number whose decimal mark is certain (nothing else in the file tells it)")
        return digits.replace(separator, ".")
    last = max(".,", key=digits.rfind)
    integer, point, decimals = digits.partition(last) if digits.count(last) == 1 else (digits, "", "")
    if integer and not integer.isdecimal() and not _GROUPED.fullmatch(integer):
        raise NotANumber("a number as printed")
    if point and not decimals.isdecimal():
        raise NotANumber("a number as printed")
    return f"{re.sub(r'[^0-9]', '', integer) or '0'}{'.' if decimals else ''}{decimals}"
