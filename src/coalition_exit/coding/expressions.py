"""Expressions over columns, as rules and sample filters use them.

The text is parsed, every node is checked against an allow-list, and an interpreter of our own walks
what is left. Nothing in a specification is ever run as Python.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coalition_exit.errors import SpecError, nearest, one_of

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_OPERATORS = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_MOST_LETTERS = 1_000
_MOST_NODES = 200
_EXPECTED = "a comparison of a column with a value, e.g. contribpc > 0.1 or warnum not in [106, 139]"


class Expression:
    """A checked expression such as ``partners_wish == "yes" and ended_war == "yes"``.

    Parameters
    ----------
    text
        Comparisons (``== != < <= > >= in not in``) of column names with numbers, quoted text or
        lists of them, joined by ``and``, ``or``, ``not`` and parentheses.
    place
        Where the text stands, for messages.

    Raises
    ------
    SpecError
        When the text is anything else.
    """

    def __init__(self, text: str, place: str = "expression") -> None:
        self.text, self.place = str(text).strip(), place
        if len(self.text) > _MOST_LETTERS:
            raise SpecError(place, f"an expression of at most {_MOST_LETTERS} letters", f"{len(self.text)} letters")
        try:
            self._tree = ast.parse(self.text, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise SpecError(place, _EXPECTED, repr(self.text)) from None
        if sum(1 for _ in ast.walk(self._tree)) > _MOST_NODES:
            raise SpecError(place, "a shorter expression", repr(self.text[:60] + "..."))
        self._check(self._tree)

    @property
    def names(self) -> list[str]:
        """Columns the expression uses, in order."""
        found = [node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name)]
        return list(dict.fromkeys(found))

    def check_names(self, columns: Iterable[str]) -> None:
        """Raise `SpecError`, with the nearest name, when a column does not exist."""
        known = [str(c) for c in columns]
        for name in self.names:
            if name not in known:
                raise SpecError(self.place, one_of(known), repr(name), nearest(name, known))

    def evaluate(self, frame: pd.DataFrame) -> NDArray[np.bool_]:
        """Evaluate row by row: shape (n,). A comparison with a missing value is false."""
        self.check_names(frame.columns)
        return np.asarray(self._value(self._tree, frame), dtype=bool)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def _fail(self, node: ast.AST) -> SpecError:
        part = ast.get_source_segment(self.text, node) or self.text
        return SpecError(self.place, _EXPECTED, repr(part))

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
        operands = [node.left, *node.comparators]
        if not any(isinstance(operand, ast.Name) for operand in operands):
            raise self._fail(node)
        for op, right in zip(node.ops, node.comparators, strict=True):
            is_list = isinstance(right, ast.List | ast.Tuple)
            if is_list != isinstance(op, ast.In | ast.NotIn) or isinstance(op, ast.Is | ast.IsNot):
                raise self._fail(node)
        for operand in operands:
            self._check_operand(operand)

    def _check_operand(self, node: ast.expr) -> None:
        if isinstance(node, ast.List | ast.Tuple):
            for element in node.elts:
                self._literal(element)
        elif not isinstance(node, ast.Name):
            self._literal(node)

    def _literal(self, node: ast.expr) -> float | str:
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            value = self._literal(node.operand)
            if isinstance(value, str):
                raise self._fail(node)
            return -value
        if isinstance(node, ast.Constant) and type(node.value) in (int, float, str):
            return node.value  # type: ignore[return-value]
        raise self._fail(node)

    def _value(self, node: ast.expr, frame: pd.DataFrame) -> Any:
        if isinstance(node, ast.BoolOp):
            parts = [self._value(value, frame) for value in node.values]
            join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            return join.reduce(parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self._value(node.operand, frame)
        assert isinstance(node, ast.Compare)
        result = np.ones(len(frame), dtype=bool)
        left = node.left
        for op, right in zip(node.ops, node.comparators, strict=True):
            result &= self._compare(node, left, op, right, frame)
            left = right
        return result

    def _compare(
        self, node: ast.Compare, left: ast.expr, op: ast.cmpop, right: ast.expr, frame: pd.DataFrame
    ) -> NDArray[np.bool_]:
        a = self._operand(left, frame)
        if isinstance(right, ast.List | ast.Tuple):
            values = [self._literal(element) for element in right.elts]
            self._same_kind(node, a, *values)
            among = np.isin(a, np.array(values)) if values else np.zeros(len(frame), dtype=bool)
            result = among if isinstance(op, ast.In) else ~among
            return np.asarray(result, dtype=bool) & np.logical_not(pd.isna(a))
        b = self._operand(right, frame)
        self._same_kind(node, a, b)
        result = np.broadcast_to(_COMPARISONS[type(op)](a, b), len(frame))
        # NaN != 1 is true in floating point; a missing value answers no comparison here.
        return np.asarray(result, dtype=bool) & np.logical_not(pd.isna(a)) & np.logical_not(pd.isna(b))

    def _operand(self, node: ast.expr, frame: pd.DataFrame) -> Any:
        if not isinstance(node, ast.Name):
            return self._literal(node)
        column = frame[node.id]
        if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
            # Single-precision columns are compared in double precision, as Stata does.
            return column.to_numpy(dtype=np.float64, na_value=np.nan)
        return column.to_numpy(dtype=object)

    def _same_kind(self, node: ast.Compare, *values: Any) -> None:
        kinds = {isinstance(v, str) or (isinstance(v, np.ndarray) and v.dtype == object) for v in values}
        if len(kinds) > 1:
            part = ast.get_source_segment(self.text, node)
            raise SpecError(self.place, "numbers compared with numbers and text with quoted text", repr(part))
