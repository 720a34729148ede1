"""From a formula and a data frame to arrays: response, design matrix, strata, clusters, weights."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from coalition_exit.errors import DataError, nearest, one_of
from coalition_exit.survival.data.formula import NAME, Formula, columns_in, parse_formula, unquote
from coalition_exit.survival.data.surv import (
    Floats,
    Integers,
    Surv,
    all_finite,
    read_only,
    refuse_other_index,
    refuse_text,
)
from coalition_exit.survival.data.timeterms import TimeFunction, TimeTerm, find_function

# What R's formulas for coxph hold beside covariates, and where it is said here.
_INSTEAD = {
    "offset": "the offset as an argument, offset='column'",
    "cluster": "clusters as an argument, cluster='column'",
    "weights": "weights as an argument, weights='column'",
    "strata": "strata(x) as a term of its own; 'a + a:C(x) + strata(x)' is R's a * strata(x)",
    "frailty": "a shared frailty by SharedFrailty().fit(..., cluster='column')",
    "ridge": "a ridge over all covariates by CoxPH(ridge=...)",
    "pspline": "a spline such as bs(a, df=4)",
    "tt": "tt(x, function) as a term of its own",
}
_R_SPECIAL = re.compile(rf"(?<![\w.`])({'|'.join(_INSTEAD)})\s*\(")
# A lone dot stands for "all other columns" in formulas.
_DOT = re.compile(r"(?<![\w.`)])\.(?![\w.`(])")
# Values per block when a column is copied: a block is still in the cache when it is checked.
_BLOCK = 131_072
# Values looked at first to see whether a column is sorted.
_LOOK = 1000
_LARGEST = np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False)
class Design:
    """Arrays of one model: n rows, p covariates.

    ``time_terms`` are terms tt(x, function) that are not yet columns of ``x``. ``source`` is set when rows were split
    at event times for such terms: the position of each row's origin in the data. ``cluster_labels``, ``id_labels`` and
    ``strata_labels`` are what the codes of ``cluster``, ``id`` and ``strata`` stand for (a stratum of several columns
    is the tuple of their values), ``index`` the labels of the data's rows. ``encoding`` is formulaic's record of
    how the terms were made from the data's columns, None where the terms are columns. ``kept`` are the positions of
    the rows in the data given, where some were left out.
    """

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
    time_terms: tuple[TimeTerm, ...] = ()
    source: Integers | None = None
    cluster_labels: NDArray[Any] | None = None
    id_labels: NDArray[Any] | None = None
    index: pd.Index | None = None
    strata_labels: tuple[object, ...] | None = None
    encoding: Any = None
    kept: Integers | None = None

    def __post_init__(self) -> None:
        for name in ("x", "strata", "id", "cluster", "weights", "offset"):
            values = getattr(self, name)
            if values is not None:
                object.__setattr__(self, name, read_only(values))


def build_design(
    formula: str,
    data: pd.DataFrame,
    *,
    id: str | ArrayLike | None = None,
    cluster: str | ArrayLike | None = None,
    weights: str | ArrayLike | None = None,
    offset: str | ArrayLike | None = None,
    missing: str = "error",
    tt: Mapping[str, TimeFunction] | None = None,
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
    tt
        Functions g(t) or f(x, t) for terms ``tt(x, name)``, by name; log, identity and sqrt are known. None refuses
        such terms, for models that cannot use them.

    Raises
    ------
    DataError
        Unknown columns (with the nearest name), missing or infinite values, negative weights.
    """
    parsed = parse_formula(formula)
    if not isinstance(data, pd.DataFrame):
        raise DataError("data", "a pandas DataFrame", f"a {type(data).__name__}")
    if parsed.time_terms and tt is None:
        raise DataError("formula", "no tt() terms (the Cox model takes them)", repr(parsed.time_terms[0]))
    if missing not in ("error", "drop"):
        raise DataError("missing", "'error' or 'drop'", repr(missing))
    extra = {
        name: _column(data, value, name)
        for name, value in (("id", id), ("cluster", cluster), ("weights", weights), ("offset", offset))
        if value is not None
    }
    keep = _complete(parsed, data, extra) if missing == "drop" else np.ones(len(data), dtype=bool)
    if not keep.any():
        raise DataError("data", "at least one complete row", f"none ({len(keep)} dropped for missing values)")
    if not keep.all():
        rows, kept = np.flatnonzero(keep), {name: series[keep] for name, series in extra.items()}
        try:
            design = build_design(formula, data[keep], tt=tt, **kept)
        except DataError as error:
            raise _renumbered(error, rows) from None
        return replace(design, n_dropped=len(keep) - len(rows), kept=rows)
    surv = Surv(
        *(_numbers(data, name, name) for name in parsed.response[:-1]), _event_column(data, parsed.response[-1])
    )
    x, names, encoding = _matrix(parsed.terms, data)
    ids, subjects = _codes(extra["id"], "id") if "id" in extra else (None, None)
    clusters, labels = _codes(extra["cluster"], "cluster") if "cluster" in extra else (None, None)
    strata, strata_labels = _strata(parsed.strata, data)
    return Design(
        surv=surv,
        x=x,
        names=names,
        strata=strata,
        id=ids,
        n_subject=len(data) if subjects is None else len(subjects),
        cluster=clusters,
        n_cluster=None if labels is None else len(labels),
        weights=_weights(extra["weights"]) if "weights" in extra else None,
        offset=_finite(extra["offset"], "offset") if "offset" in extra else None,
        time_terms=tuple(_timed(term, name, data, tt) for term, name in parsed.time_terms),
        cluster_labels=labels,
        id_labels=subjects,
        index=data.index,
        strata_labels=strata_labels,
        encoding=encoding,
    )


def _strata(names: Sequence[str], data: pd.DataFrame) -> tuple[Integers | None, tuple[object, ...] | None]:
    """Return one code for each combination of the columns' values, shape (n,), and the values by code."""
    codes: Integers | None = None
    values: list[NDArray[Any]] = []
    for name in dict.fromkeys(names):
        own, labels = _codes(_column(data, name, "strata"), f"strata({name})")
        if codes is None:
            codes, values = own, [labels]
            continue
        pairs, found = np.unique(codes * len(labels) + own, return_inverse=True)
        codes, values = found.reshape(-1), [*(v[pairs // len(labels)] for v in values), labels[pairs % len(labels)]]
    by_code = [column.tolist() for column in values]
    if codes is None:
        return None, None
    return codes, tuple(by_code[0] if len(by_code) == 1 else zip(*by_code, strict=True))


def _timed(term: str, name: str, data: pd.DataFrame, tt: Mapping[str, TimeFunction] | None) -> TimeTerm:
    function = find_function(name, tt)
    x, names, _ = _matrix((term,), data)
    return TimeTerm(tuple(f"tt({inner}, {name})" for inner in names), x, function)


def _column(data: pd.DataFrame, value: str | ArrayLike, role: str) -> pd.Series:
    if isinstance(value, str):
        if value not in data.columns:
            columns = [str(c) for c in data.columns]
            raise DataError(role, one_of(columns), repr(value), nearest(value, columns))
        column = data[value]
        if isinstance(column, pd.DataFrame):
            raise DataError(role, f"one column named {value!r}", "several of that name")
        return column
    refuse_other_index(value, data.index, role)
    array = value.array if isinstance(value, pd.Series) else np.asarray(value)
    if array.shape != (len(data),):
        raise DataError(role, f"{len(data)} values, one a row", f"shape {array.shape}")
    return pd.Series(array, index=data.index)


def _complete(parsed: Formula, data: pd.DataFrame, extra: Mapping[str, pd.Series]) -> NDArray[np.bool_]:
    """Tell which rows have all the values that the model needs."""
    used = [*parsed.response, *parsed.strata, *columns_in([*parsed.terms, *(x for x, _ in parsed.time_terms)], data)]
    for name in used:
        _column(data, name, "formula")
    keep = data[used].notna().all(axis=1).to_numpy()
    for series in extra.values():
        keep &= series.notna().to_numpy()
    return keep


def _renumbered(error: DataError, rows: Integers) -> DataError:
    """Return an error about some rows of the data with their numbers among all."""

    def renumber(text: str) -> str:
        return re.sub(r"\brow (\d+)", lambda match: f"row {rows[int(match[1])]}", text)

    return DataError(renumber(error.place), renumber(error.expected), renumber(error.got), error.hint)


def _numbers(data: pd.DataFrame, name: str, role: str) -> Floats:
    return _as_numbers(_column(data, name, role), f"column {name!r}")


def _as_numbers(column: pd.Series, place: str) -> Floats:
    if column.dtype.kind in "mM":
        raise DataError(place, "numbers, such as days since a date", f"values of type {column.dtype}")
    try:
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        raise DataError(place, "numbers", f"values of type {column.dtype}") from None
    _refuse_text(column, place)
    return values


def _refuse_text(column: pd.Series, place: str) -> None:
    if column.dtype.kind not in "biufcmM":
        refuse_text(column, place)


def _refuse_text_as_factor(terms: Sequence[str], data: pd.DataFrame) -> None:
    """Refuse columns of numbers stored as text or objects outside C(): each value would become a dummy."""
    for name in columns_in([re.sub(r"\bC\s*\([^()]*\)", "", term) for term in terms], data):
        column = _column(data, name, "formula")
        if column.dtype.kind in "biufcmM" or isinstance(column.dtype, pd.CategoricalDtype):
            continue
        values = pd.Series(column.dropna().unique(), dtype=object)
        if len(values) and pd.to_numeric(values, errors="coerce").notna().all():
            hint = f"pd.to_numeric(data[{name!r}]) converts it; C({name}) makes it a factor"
            stored = f"numbers stored as {'text' if isinstance(values[0], str) else 'objects'}, {values[0]!r}"
            raise DataError(f"column {name!r}", "numbers", stored, hint)


def _finite(column: pd.Series, role: str) -> Floats:
    _refuse_text(column, role)
    values = np.array(_as_numbers(column, role))  # a copy: the caller may change the column later
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(f"{role}, row {row} ({int(bad.sum())} such rows)", "a finite number", str(values[row]))
    return values


def _event_column(data: pd.DataFrame, name: str) -> ArrayLike:
    column = _column(data, name, "Surv, event")
    _refuse_text(column, f"column {name!r}")
    values = column.to_numpy() if isinstance(column.dtype, np.dtype) else None
    if values is not None and values.dtype.kind in "iuf":
        event = values == 1
        if bool((event | (values == 0)).all()):
            return event
    if column.isna().any():
        row = int(np.argmax(column.isna().to_numpy()))
        raise DataError(f"column {name!r}, row {row}", "0 (censored) or 1 (event)", "a missing value")
    return column.to_numpy()


def _matrix(terms: Sequence[str], data: pd.DataFrame) -> tuple[Floats, tuple[str, ...], Any]:
    names = tuple(unquote(term) for term in terms)
    if all(NAME.match(term) for term in terms) and len(set(names)) == len(names):
        columns = [_column(data, name, "formula") for name in names]
        if all(pd.api.types.is_numeric_dtype(c) for c in columns):
            return _side_by_side([_plain(c) for c in columns], names, len(data)), names, None
    return _formulaic_matrix(terms, data)


def _plain(column: pd.Series) -> Floats:
    """Return the column's values without a copy where they are real numbers already."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf":
        return column.to_numpy()
    return _as_numbers(column, f"column {column.name!r}")


def _side_by_side(columns: Sequence[Floats], names: Sequence[str], n: int) -> Floats:
    """Copy columns side by side, each column contiguous: shape (n, p); refuse values that are not finite."""
    x = np.empty((len(columns), n))
    with np.errstate(over="ignore", invalid="ignore"):
        finite = [_copy_finite(column, own) for column, own in zip(columns, x, strict=True)]
    for name, own, fine in zip(names, x, finite, strict=True):
        if not fine:
            bad = ~np.isfinite(own)
            row = int(np.argmax(bad))
            place = f"column {name!r}, row {row} ({int(bad.sum())} such rows)"
            raise DataError(place, "a finite number", str(float(own[row])))
    return x.T


def _copy_finite(column: Floats, to: Floats) -> bool:
    """Copy a column and tell whether all its values are finite; call it where floating-point warnings are off."""
    finite = True
    for begin in range(0, len(to), _BLOCK):
        part = to[begin : begin + _BLOCK]
        part[:] = column[begin : begin + _BLOCK]
        finite &= all_finite(part)
    return finite


def _formulaic_matrix(terms: Sequence[str], data: pd.DataFrame) -> tuple[Floats, tuple[str, ...], Any]:
    import formulaic  # slow to import, and only transformations need it
    from formulaic.errors import FormulaicError

    for term in terms:
        special = _R_SPECIAL.search(term)
        if special:
            raise DataError("formula", _INSTEAD[special[1]], repr(term))
        if _DOT.search(term):
            raise DataError("formula", "covariates by name ('.' would take in the response)", repr(term))
    _refuse_text_as_factor(terms, data)
    used = columns_in(terms, data)
    for name in used:
        _column(data, name, "formula")
        if data[name].isna().any():
            row = int(np.argmax(data[name].isna().to_numpy()))
            raise DataError(f"column {name!r}, row {row}", "a value", "a missing value")
    text = "1 + " + " + ".join(terms)
    try:
        matrix: Any = formulaic.model_matrix(text, text_as_objects(data, used), na_action="ignore", context={})
    except (FormulaicError, ValueError, TypeError, KeyError, SyntaxError) as error:
        columns = [str(c) for c in data.columns]
        unknown = re.search(r"name '(.+)' is not defined", str(error))
        hint = nearest(unknown[1], columns) if unknown else ""
        expected = f"terms over the columns {one_of(columns)}"
        raise DataError("formula", expected, str(error).split("\n")[0], hint) from None
    if not isinstance(matrix, pd.DataFrame):
        raise DataError("formula", "one sum of terms", repr(" + ".join(terms)))
    if "Intercept" not in matrix.columns:
        expected = "terms without '0 +' or '- 1' (the baseline takes the intercept's place)"
        raise DataError("formula", expected, repr(" + ".join(terms)))
    encoding = matrix.model_spec
    matrix = matrix.drop(columns="Intercept")
    x = np.ascontiguousarray(matrix, dtype=np.float64)
    names = tuple(str(name) for name in matrix.columns)
    for j, name in enumerate(names):
        if not np.isfinite(x[:, j]).all():
            row = int(np.argmax(~np.isfinite(x[:, j])))
            raise DataError(f"term {name!r}, row {row}", "a finite number", str(x[row, j]))
    return x, names, encoding


def text_as_objects(data: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return the data with text as formulaic reads it, as a factor; it takes pandas' own type of text for numbers."""
    text = [name for name in names if isinstance(data[name].dtype, pd.StringDtype)]
    return data.assign(**{name: data[name].astype(object) for name in text}) if text else data


def _codes(column: pd.Series, role: str) -> tuple[Integers, NDArray[Any]]:
    """Return a code for each value, in order of first appearance, and the values by code."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iu" and len(column) > 1:
        found = _codes_in_order(column.to_numpy()) or _codes_of_few(column.to_numpy())
        if found is not None:
            return found
    codes, labels = pd.factorize(column)
    if (codes < 0).any():
        row = int(np.argmax(codes < 0))
        raise DataError(f"{role}, row {row} ({int((codes < 0).sum())} such rows)", "a value", "a missing value")
    return codes.astype(np.int64, copy=False), np.asarray(labels)


def _codes_in_order(values: NDArray[Any]) -> tuple[Integers, NDArray[Any]] | None:
    """Return the codes that factorize gives of sorted whole numbers, as ids mostly are, at a tenth of its cost."""
    n = len(values)
    if not bool((values[1:_LOOK] >= values[: min(_LOOK, n) - 1]).all()):
        return None
    begins = np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1])
    labels = values[begins] if len(begins) < n else values
    if not bool((labels[1:] > labels[:-1]).all()):
        return None
    codes = np.arange(len(labels))
    if len(labels) < n:
        return np.repeat(codes, np.diff(begins, append=n)), labels
    own_codes = values.dtype == codes.dtype and values[0] == 0 and values[-1] == codes[-1]
    return codes, codes if own_codes else values.copy()


def _codes_of_few(values: NDArray[Any]) -> tuple[Integers, NDArray[Any]] | None:
    """Return the codes that factorize gives of whole numbers from a small range, by a table of that range."""
    low, n = int(values.min()), len(values)
    width = int(values.max()) - low + 1
    if width > max(_LOOK, n // 8) or low + width > _LARGEST:
        return None
    table, codes, number = np.full(width, -1), np.empty(n, dtype=np.int64), 0
    for begin in range(0, n, _BLOCK):
        own = values[begin : begin + _BLOCK].astype(np.int64) - low
        part = np.take(table, own)
        if part.min() < 0:
            fresh = pd.unique(own[part < 0])
            table[fresh] = np.arange(number, number + len(fresh))
            number += len(fresh)
            part = np.take(table, own)
        codes[begin : begin + _BLOCK] = part
    seen = np.flatnonzero(table >= 0)
    labels = np.empty(number, dtype=values.dtype)
    labels[table[seen]] = seen + low
    return codes, labels


def _weights(column: pd.Series) -> Floats:
    values = _finite(column, "weights")
    if (values < 0).any():
        row = int(np.argmax(values < 0))
        raise DataError(f"weights, row {row}", "a number >= 0", str(values[row]))
    if not (values > 0).any():
        raise DataError("weights", "a positive weight in one row at least", "none")
    return values
