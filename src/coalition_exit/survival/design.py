"""From a formula and a data frame to arrays: response, design matrix, strata, clusters, weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from coalition_exit.errors import DataError, nearest, one_of
from coalition_exit.survival.surv import Floats, Integers, Surv

_RESPONSE = re.compile(r"\s*Surv\s*\((?P<inside>[^()]*)\)\s*\Z")
_STRATA = re.compile(r"strata\s*\(([^()]*)\)\s*\Z")
_NAME = re.compile(r"(?:[^\W\d]\w*|`[^`]+`)\Z")


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
    """

    response: tuple[str, ...]
    terms: tuple[str, ...]
    strata: tuple[str, ...]

    @property
    def is_plain(self) -> bool:
        """True when every term is the name of a column."""
        return all(_NAME.match(term) for term in self.terms)


@dataclass(frozen=True, eq=False)
class Design:
    """Arrays of one model: n rows, p covariates."""

    surv: Surv
    x: Floats
    names: tuple[str, ...]
    strata: Integers | None
    id: Integers | None
    n_subject: int
    cluster: Integers | None
    n_cluster: int | None
    weights: Floats | None
    offset: Floats | None
    n_dropped: int = 0


def parse_formula(text: str) -> Formula:
    """Parse "Surv(start, stop, event) ~ a + b + strata(c)".

    Raises
    ------
    DataError
        When the formula has no ``~`` or its left side is not ``Surv(...)`` of two or three names.
    """
    left, tilde, right = text.partition("~")
    match = _RESPONSE.match(left)
    if not tilde or match is None:
        raise DataError("formula", "'Surv(start, stop, event) ~ a + b' or 'Surv(time, event) ~ a'", repr(text))
    response = tuple(_unquote(part) for part in match["inside"].split(","))
    if len(response) not in (2, 3) or not all(response):
        raise DataError("formula, Surv", "(time, event) or (start, stop, event)", repr(match["inside"]))
    terms: list[str] = []
    strata: list[str] = []
    for term in _split_terms(right):
        found = _STRATA.match(term)
        if found:
            strata.extend(_unquote(part) for part in found[1].split(","))
        elif term not in ("1", ""):
            terms.append(term)
    return Formula(response, tuple(terms), tuple(strata))


def _unquote(name: str) -> str:
    name = name.strip()
    return name[1:-1] if len(name) > 1 and name[0] == name[-1] == "`" else name


def _split_terms(text: str) -> list[str]:
    """Split at the plus signs outside parentheses and back-quotes."""
    terms, depth, quoted, current = [], 0, False, ""
    for letter in text:
        if letter == "`":
            quoted = not quoted
        depth += (letter == "(") - (letter == ")") if not quoted else 0
        if letter == "+" and depth == 0 and not quoted:
            terms.append(current.strip())
            current = ""
        else:
            current += letter
    return [*terms, current.strip()]


def build_design(
    formula: str,
    data: pd.DataFrame,
    *,
    id: str | ArrayLike | None = None,
    cluster: str | ArrayLike | None = None,
    weights: str | ArrayLike | None = None,
    offset: str | ArrayLike | None = None,
    missing: str = "error",
) -> Design:
    """Collect the arrays a model needs from a data frame.

    Parameters
    ----------
    formula
        "Surv(start, stop, event) ~ a + b + strata(c)".
    data
        One row per episode. Never changed.
    id, cluster, weights, offset
        Column names, or arrays of the length of ``data``.
    missing
        "error" refuses missing values; "drop" leaves those rows out and counts them.

    Raises
    ------
    DataError
        Unknown columns (with the nearest name), missing or infinite values, negative weights.
    """
    parsed = parse_formula(formula)
    if missing not in ("error", "drop"):
        raise DataError("missing", "'error' or 'drop'", repr(missing))
    extra = {
        name: _column(data, value, name)
        for name, value in (("id", id), ("cluster", cluster), ("weights", weights), ("offset", offset))
        if value is not None
    }
    n_dropped = 0
    if missing == "drop":
        data, extra, n_dropped = _drop_missing(parsed, data, extra)
    if not len(data):
        raise DataError("data", "at least one complete row", f"none ({n_dropped} dropped for missing values)")
    surv = Surv(*(_numbers(data, name, name) for name in parsed.response[:-1]), _event_column(data, parsed.response[-1]))
    x, names = _matrix(parsed, data)
    strata = None
    if parsed.strata:
        columns = [_codes(_column(data, name, "strata"), f"strata({name})")[0] for name in parsed.strata]
        strata = np.unique(np.column_stack(columns), axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
    ids, n_subject = _codes(extra["id"], "id") if "id" in extra else (None, len(data))
    clusters, n_cluster = _codes(extra["cluster"], "cluster") if "cluster" in extra else (None, None)
    return Design(
        surv=surv,
        x=x,
        names=names,
        strata=strata,
        id=ids,
        n_subject=n_subject,
        cluster=clusters,
        n_cluster=n_cluster,
        weights=_weights(extra["weights"]) if "weights" in extra else None,
        offset=_finite(extra["offset"], "offset") if "offset" in extra else None,
        n_dropped=n_dropped,
    )


def _column(data: pd.DataFrame, value: str | ArrayLike, role: str) -> pd.Series:
    if isinstance(value, str):
        if value not in data.columns:
            columns = [str(c) for c in data.columns]
            raise DataError(role, one_of(columns), repr(value), nearest(value, columns))
        column = data[value]
        if isinstance(column, pd.DataFrame):
            raise DataError(role, f"one column named {value!r}", "several of that name")
        return column
    series = pd.Series(np.asarray(value), index=data.index)if len(np.asarray(value)) == len(data) else None
    if series is None:
        raise DataError(role, f"{len(data)} values, one a row", f"{len(np.asarray(value))}")
    return series


def _drop_missing(
    parsed: Formula, data: pd.DataFrame, extra: dict[str, pd.Series]
) -> tuple[pd.DataFrame, dict[str, pd.Series], int]:
    used = [*parsed.response, *parsed.strata, *_columns_in(parsed.terms, data)]
    for name in used:
        _column(data, name, "formula")
    keep = data[used].notna().all(axis=1).to_numpy()
    for series in extra.values():
        keep &= series.notna().to_numpy()
    if keep.all():
        return data, extra, 0
    kept = {name: series[keep] for name, series in extra.items()}
    return data[keep], kept, int((~keep).sum())


def _columns_in(terms: Sequence[str], data: pd.DataFrame) -> list[str]:
    """Return the data's columns that occur in the terms."""
    found: list[str] = []
    for term in terms:
        if _NAME.match(term):
            found.append(_unquote(term))
        else:
            words = re.findall(r"`([^`]+)`|([^\W\d]\w*)", term)
            found.extend(w for pair in words for w in pair if w and w in data.columns)
    return list(dict.fromkeys(found))


def _numbers(data: pd.DataFrame, name: str, role: str) -> Floats:
    column = _column(data, name, role)
    try:
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        raise DataError(f"column {name!r}", "numbers", f"values of type {column.dtype}") from None
    return values


def _finite(column: pd.Series, role: str) -> Floats:
    frame = column.to_frame("value")
    values = _numbers(frame, "value", role)
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(f"{role}, row {row} ({int(bad.sum())} such rows)", "a finite number", str(values[row]))
    return values


def _event_column(data: pd.DataFrame, name: str) -> ArrayLike:
    column = _column(data, name, "Surv, event")
    if column.isna().any():
        row = int(np.argmax(column.isna().to_numpy()))
        raise DataError(f"column {name!r}, row {row}", "0 (censored) or 1 (event)", "a missing value")
    return column.to_numpy()


def _matrix(parsed: Formula, data: pd.DataFrame) -> tuple[Floats, tuple[str, ...]]:
    names = tuple(_unquote(term) for term in parsed.terms)
    if parsed.is_plain and len(set(names)) == len(names):
        columns = [_column(data, name, "formula") for name in names]
        if all(pd.api.types.is_numeric_dtype(c) for c in columns):
            x = np.empty((len(data), len(names)), order="F")
            for j, name in enumerate(names):
                x[:, j] = _finite(columns[j], f"column {name!r}")
            return x, names
    return _formulaic_matrix(parsed, data)


def _formulaic_matrix(parsed: Formula, data: pd.DataFrame) -> tuple[Floats, tuple[str, ...]]:
    import formulaic  # noqa: PLC0415 - slow to import, and only transformations need it
    from formulaic.errors import FormulaicError  # noqa: PLC0415

    used = _columns_in(parsed.terms, data)
    for name in used:
        _column(data, name, "formula")
        if data[name].isna().any():
            row = int(np.argmax(data[name].isna().to_numpy()))
            raise DataError(f"column {name!r}, row {row}", "a value", "a missing value")
    try:
        matrix: Any = formulaic.model_matrix("1 + " + " + ".join(parsed.terms), data, na_action="ignore")
    except (FormulaicError, ValueError, TypeError, KeyError, SyntaxError) as error:
        columns = [str(c) for c in data.columns]
        raise DataError("formula", f"terms over the columns {one_of(columns)}", str(error).split("\n")[0]) from None
    matrix = matrix.drop(columns="Intercept")
    x = np.asarray(matrix, dtype=np.float64)
    names = tuple(str(name) for name in matrix.columns)
    for j, name in enumerate(names):
        if not np.isfinite(x[:, j]).all():
            row = int(np.argmax(~np.isfinite(x[:, j])))
            raise DataError(f"term {name!r}, row {row}", "a finite number", str(x[row, j]))
    return x, names


def _codes(column: pd.Series, role: str) -> tuple[Integers, int]:
    codes, labels = pd.factorize(column)
    if (codes < 0).any():
        row = int(np.argmax(codes < 0))
        raise DataError(f"{role}, row {row} ({int((codes < 0).sum())} such rows)", "a value", "a missing value")
    return codes.astype(np.int64, copy=False), len(labels)


def _weights(column: pd.Series) -> Floats:
    values = _finite(column, "weights")
    if (values < 0).any():
        row = int(np.argmax(values < 0))
        raise DataError(f"weights, row {row}", "a number >= 0", str(values[row]))
    if not (values > 0).any():
        raise DataError("weights", "a positive weight in one row at least", "none")
    return values
