"""Model formulas: "Surv(start, stop, event) ~ a + b + strata(c) + tt(d, log)", taken apart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from coalition_exit.errors import DataError

_RESPONSE = re.compile(r"\s*Surv\s*\((?P<inside>(?:[^()`]|`[^`]*`)*)\)\s*\Z")
_TIME = re.compile(r"tt\s*\((?P<inside>.*)\)\s*\Z", re.DOTALL)
_STRATA = re.compile(r"strata\s*\(((?:[^()`]|`[^`]*`)*)\)\s*\Z")
NAME = re.compile(r"(?:[^\W\d]\w*|`[^`]+`)\Z")


@dataclass(frozen=True)
class Formula:
    """A parsed model formula.

    Attributes
    ----------
    response
        Names of the columns in ``Surv(...)``: (time, event) or (start, stop, event).
    terms
        Right-hand terms apart from strata, as written.
    strata
        Columns named in ``strata(...)``.
    time_terms
        (x, function) of each ``tt(x, function)``.
    """

    response: tuple[str, ...]
    terms: tuple[str, ...]
    strata: tuple[str, ...]
    time_terms: tuple[tuple[str, str], ...] = ()

    @property
    def is_plain(self) -> bool:
        """True when every term is the name of a column."""
        return all(NAME.match(term) for term in self.terms)


def parse_formula(text: str) -> Formula:
    """Parse "Surv(start, stop, event) ~ a + b + strata(c)".

    Raises
    ------
    DataError
        When the formula has no ``~`` or its left side is not ``Surv(...)`` of two or three names.
    """
    if not isinstance(text, str):
        raise DataError("formula", "text such as 'Surv(start, stop, event) ~ a + b'", f"a {type(text).__name__}")
    left, tilde, right = text.partition("~")
    match = _RESPONSE.match(left)
    if not tilde or match is None:
        raise DataError("formula", "'Surv(start, stop, event) ~ a + b' or 'Surv(time, event) ~ a'", repr(text))
    response = tuple(unquote(part) for part in split_terms(match["inside"], ","))
    if len(response) not in (2, 3) or not all(response):
        raise DataError("formula, Surv", "(time, event) or (start, stop, event)", repr(match["inside"]))
    terms: list[str] = []
    strata: list[str] = []
    timed: list[tuple[str, str]] = []
    for term in split_terms(right):
        found = _STRATA.match(term)
        if found:
            strata.extend(unquote(part) for part in split_terms(found[1], ","))
        elif _TIME.match(term):
            timed.append(_time_term(term))
        elif not term and right.strip():
            raise DataError("formula", "a term on each side of a '+'", repr(right.strip()))
        elif term not in ("1", ""):
            terms.append(term)
    return Formula(response, tuple(terms), tuple(strata), tuple(timed))


def require_response(response: str, instead: str = "alone") -> None:
    """Refuse a whole formula, or no text, where the response alone is wanted; ``instead`` says where the rest goes.

    Raises
    ------
    DataError
    """
    if not isinstance(response, str):
        raise DataError("response", "text such as 'Surv(start, stop, event)'", f"a {type(response).__name__}")
    if "~" in response:
        raise DataError("response", f"'Surv(start, stop, event)', {instead}", repr(response))


def _time_term(term: str) -> tuple[str, str]:
    """Return x and function of "tt(x, function)"."""
    match = _TIME.match(term)
    parts = split_terms(match["inside"], ",") if match else []
    if len(parts) != 2 or not all(parts):
        raise DataError("formula, tt()", "tt(x, function), e.g. tt(x, log)", repr(term))
    return parts[0], parts[1]


def unquote(name: str) -> str:
    """Return a name without the back-quotes around it."""
    name = name.strip()
    return name[1:-1] if len(name) > 1 and name[0] == name[-1] == "`" else name


def split_terms(text: str, at: str = "+") -> list[str]:
    """Split at the plus signs (or commas) outside parentheses and back-quotes."""
    terms, depth, quoted, current = [], 0, False, ""
    for letter in text:
        if letter == "`":
            quoted = not quoted
        depth += (letter == "(") - (letter == ")") if not quoted else 0
        if letter == at and depth == 0 and not quoted:
            terms.append(current.strip())
            current = ""
        else:
            current += letter
    return [*terms, current.strip()]


def columns_in(terms: Sequence[str], data: pd.DataFrame) -> list[str]:
    """Return the data's columns that occur in the terms."""
    found: list[str] = []
    for term in terms:
        if NAME.match(term):
            found.append(unquote(term))
        else:
            words = re.findall(r"`([^`]+)`|\bQ\(\s*[\"']([^\"']+)[\"']\s*\)|([^\W\d]\w*)", term)
            found.extend(w for found_as in words for w in found_as if w and w in data.columns)
    return list(dict.fromkeys(found))
