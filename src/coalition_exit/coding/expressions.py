"""Expressions over columns, as rules and sample filters use them.

The text is parsed, every node is checked against an allow-list, and an interpreter of our own walks
what is left. Nothing in a specification is ever run as Python.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coalition_exit.errors import SpecError, nearest, one_of, shown

Bools = NDArray[np.bool_]

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_MOST_LETTERS = 1_000
_MOST_NODES = 200
COMPARISON = "a comparison of a column with a value, e.g. contribpc > 0.1 or warnum not in [106, 139]"
_DATE = re.compile(r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])\Z")
_DATE_TEXT = 'a date "YYYY-MM-DD"'
_SAME_KIND = "numbers compared with numbers and text with quoted text"


@dataclass(frozen=True)
class Kind:
    """What a column holds, so that an expression can be checked before there are data.

    Attributes
    ----------
    kind
        "number", "text" or "date" (compared as text "YYYY-MM-DD").
    values
        The only texts a column can hold; None if it can hold any.
    """

    kind: str
    values: Sequence[str] | None = None


NUMBER = Kind("number")


@dataclass(frozen=True)
class _Truth:
    """Answers row by row, shape (n,): certainly true, certainly false, or (neither) unknown."""

    yes: Bools
    no: Bools


class Expression:
    """A checked expression such as ``partners_wish == "yes" and ended_war == "yes"``.

    Parameters
    ----------
    text
        Comparisons (``== != < <= > >= in not in``) of column names with numbers, quoted text or
        lists of them, joined by ``and``, ``or``, ``not`` and parentheses.
    place
        Where the text stands, for messages.
    expected
        What may stand there, with an example, for messages.

    Raises
    ------
    SpecError
        When the text is anything else.
    """

    def __init__(self, text: str, place: str = "expression", expected: str = COMPARISON) -> None:
        self.text, self.place, self.expected = str(text).strip(), place, expected
        if len(self.text) > _MOST_LETTERS:
            raise SpecError(place, f"an expression of at most {_MOST_LETTERS} letters", f"{len(self.text)} letters")
        self._tree = self._parse()
        if sum(1 for _ in ast.walk(self._tree)) > _MOST_NODES:
            raise SpecError(place, "a shorter expression", shown(self.text))
        self._check(self._tree)

    @property
    def names(self) -> list[str]:
        """Columns the expression uses, in order."""
        found = [node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name)]
        return list(dict.fromkeys(found))

    @property
    def normal(self) -> str:
        """The expression in plain spelling, without comments, so that it can become part of another."""
        return ast.unparse(self._tree)

    def check_names(self, columns: Iterable[str]) -> None:
        """Raise `SpecError`, with the nearest name, when a column does not exist."""
        known = [str(c) for c in columns]
        for name in self.names:
            if name not in known:
                raise SpecError(self.place, one_of(known, 60), shown(name), nearest(name, known))

    def check_columns(self, columns: Mapping[str, Kind]) -> None:
        """Check every comparison against what the columns hold.

        Raises
        ------
        SpecError
            On a column that does not exist, a number compared with text, a text that the column
            cannot hold, a date not written YYYY-MM-DD.
        """
        for left, _, right in self._pairs():
            for name, other in ((left, right), (right, left)):
                self._check_unquoted(name, other, columns)
        self.check_names(columns)
        for left, op, right in self._pairs():
            elements = right.elts if isinstance(right, ast.List | ast.Tuple) else [right]
            for element in elements:
                self._check_pair(left, op, element, columns)

    def evaluate(self, frame: pd.DataFrame) -> Bools:
        """Evaluate row by row: shape (n,).

        A comparison with a missing value has no answer, and neither has its negation; rows for
        which the whole expression has no answer come back false.
        """
        self.check_names(frame.columns)
        return self._truth(self._tree, frame).yes

    def denies(self, frame: pd.DataFrame) -> Bools:
        """Return the rows for which the expression has the answer no: shape (n,)."""
        self.check_names(frame.columns)
        return self._truth(self._tree, frame).no

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def _parse(self) -> ast.expr:
        try:
            with warnings.catch_warnings():
                # Python warns of text such as "1or"; what is allowed is decided here.
                warnings.simplefilter("ignore")
                return ast.parse(self.text, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise SpecError(self.place, self.expected, shown(self.text), _hint(self.text)) from None

    def _fail(self, node: ast.AST, expected: str = "") -> SpecError:
        part = ast.get_source_segment(self.text, node) or self.text
        return SpecError(self.place, expected or self.expected, shown(part), _hint(self.text))

    def _check(self, node: ast.expr) -> None:
        """Accept boolean operators over comparisons, and nothing else."""
        if isinstance(node, ast.BoolOp):
            for value in node.values:
                self._check(value)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            self._check(node.operand)
        elif isinstance(node, ast.Compare):
            self._check_comparison(node)
        else:
            raise self._fail(node)

    def _check_comparison(self, node: ast.Compare) -> None:
        for left, op, right in _steps(node):
            is_list = isinstance(right, ast.List | ast.Tuple)
            if isinstance(op, ast.Is | ast.IsNot) or is_list != isinstance(op, ast.In | ast.NotIn):
                raise self._fail(node)
            if not (isinstance(left, ast.Name) or (isinstance(right, ast.Name) and not is_list)):
                raise self._fail(node)
            self._check_value(left)
            for element in right.elts if isinstance(right, ast.List | ast.Tuple) else [right]:
                if is_list and isinstance(element, ast.Name):
                    raise self._fail(element, "numbers or quoted text in a list")
                self._check_value(element)
            if isinstance(right, ast.List | ast.Tuple) and len({type(self._literal(e)) for e in right.elts}) > 1:
                raise self._fail(right, "a list of numbers or a list of quoted text")

    def _check_value(self, node: ast.expr) -> None:
        if not isinstance(node, ast.Name):
            self._literal(node)

    def _literal(self, node: ast.expr) -> float | str:
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            value = self._literal(node.operand)
            if isinstance(value, str):
                raise self._fail(node)
            return -value
        if not isinstance(node, ast.Constant) or type(node.value) not in (int, float, str):
            raise self._fail(node)
        if isinstance(node.value, str):
            return node.value
        try:
            number = float(node.value)  # type: ignore[arg-type]
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self._fail(node, "a number of ordinary size")
        return number

    def _pairs(self) -> Iterator[tuple[ast.expr, ast.cmpop, ast.expr]]:
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Compare):
                yield from _steps(node)

    def _check_unquoted(self, node: ast.expr, other: ast.expr, columns: Mapping[str, Kind]) -> None:
        """Say so when a text that a column can hold stands without its quotes."""
        if isinstance(node, ast.Name) and node.id not in columns and isinstance(other, ast.Name):
            values = columns.get(other.id, NUMBER).values or ()
            if node.id in values:
                raise SpecError(self.place, f"text between quotes: {node.id!r}", node.id)

    def _check_pair(self, left: ast.expr, op: ast.cmpop, right: ast.expr, columns: Mapping[str, Kind]) -> None:
        kinds = [self._kind(node, columns) for node in (left, right)]
        if (kinds[0].kind == "number") != (kinds[1].kind == "number"):
            part = ast.get_source_segment(self.text, right)
            expected = _DATE_TEXT if "date" in (kinds[0].kind, kinds[1].kind) else _SAME_KIND
            raise SpecError(self.place, expected, shown(f"{ast.unparse(left)} {_SIGNS[type(op)]} {part}"))
        for node, kind in ((right, kinds[0]), (left, kinds[1])):
            if isinstance(node, ast.Name):
                continue
            text = str(self._literal(node))
            if kind.kind == "date" and not _DATE.match(text):
                raise SpecError(self.place, _DATE_TEXT, shown(text))
            if kind.values is not None and text not in kind.values:
                raise SpecError(self.place, one_of(kind.values, 30), shown(text), nearest(text, kind.values))

    def _kind(self, node: ast.expr, columns: Mapping[str, Kind]) -> Kind:
        if isinstance(node, ast.Name):
            return columns[node.id]
        return Kind("text") if isinstance(self._literal(node), str) else NUMBER

    def _truth(self, node: ast.expr, frame: pd.DataFrame) -> _Truth:
        if isinstance(node, ast.BoolOp):
            parts = [self._truth(value, frame) for value in node.values]
            return _all(parts) if isinstance(node.op, ast.And) else _any(parts)
        if isinstance(node, ast.UnaryOp):
            inner = self._truth(node.operand, frame)
            return _Truth(inner.no, inner.yes)
        assert isinstance(node, ast.Compare)
        return _all([self._compare(left, op, right, frame) for left, op, right in _steps(node)])

    def _compare(self, left: ast.expr, op: ast.cmpop, right: ast.expr, frame: pd.DataFrame) -> _Truth:
        a, known = self._operand(left, frame)
        if isinstance(right, ast.List | ast.Tuple):
            values = [self._literal(element) for element in right.elts]
            self._same_kind(a, *values)
            answer = np.zeros(len(frame), dtype=bool)
            for value in values:
                answer |= a == value
            if isinstance(op, ast.NotIn):
                answer = ~answer
        else:
            b, b_known = self._operand(right, frame)
            self._same_kind(a, b)
            answer = np.asarray(np.broadcast_to(_COMPARISONS[type(op)](a, b), len(frame)), dtype=bool)
            known = known & b_known
        return _Truth(answer & known, ~answer & known)

    def _operand(self, node: ast.expr, frame: pd.DataFrame) -> tuple[Any, Any]:
        """Return the values, missing ones filled, and where they are known."""
        if not isinstance(node, ast.Name):
            return self._literal(node), np.ones(len(frame), dtype=bool)
        column = frame[node.id]
        known = column.notna().to_numpy(dtype=bool)
        if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
            # Single-precision columns are compared in double precision, as Stata does.
            return column.to_numpy(dtype=np.float64, na_value=np.nan), known
        if pd.api.types.is_datetime64_any_dtype(column):
            column = column.dt.strftime("%Y-%m-%d")
        return np.where(known, column.to_numpy(dtype=object), "").astype(str).astype(object), known

    def _same_kind(self, *values: Any) -> None:
        kinds = {isinstance(v, str) or (isinstance(v, np.ndarray) and v.dtype == object) for v in values}
        if len(kinds) > 1:
            raise SpecError(self.place, _SAME_KIND, shown(self.text))


_SIGNS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip


def _steps(node: ast.Compare) -> Iterator[tuple[ast.expr, ast.cmpop, ast.expr]]:
    """Split ``1 < x < 3`` into its single comparisons."""
    return zip([node.left, *node.comparators[:-1]], node.ops, node.comparators, strict=True)


def _all(parts: Sequence[_Truth]) -> _Truth:
    return _Truth(np.logical_and.reduce([p.yes for p in parts]), np.logical_or.reduce([p.no for p in parts]))


def _any(parts: Sequence[_Truth]) -> _Truth:
    return _Truth(np.logical_or.reduce([p.yes for p in parts]), np.logical_and.reduce([p.no for p in parts]))


def _hint(text: str) -> str:
    """Guess at the usual slips."""
    bare = re.sub(r"\"[^\"]*\"|'[^']*'", "", text)
    if re.search(r"(?<![<>=!:])=(?!=)", bare):
        return "Equality is written =="
    if re.search(r"[&|]|<>", bare):
        return "Comparisons are joined by and, or, not; unequal is written !="
    return ""
