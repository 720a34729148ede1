"""Duration dependence by stratum: every stratum has a constant and duration terms of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coalition_exit.errors import DataError, FitError, nearest, one_of
from coalition_exit.survival.data.surv import Floats, Integers
from coalition_exit.survival.discrete.durations import Baseline, make_baseline


@dataclass(frozen=True)
class StratifiedBaseline:
    """Baselines of S strata, as R's ``glm(y ~ x + s + s:(t + t2 + t3))``.

    The first stratum has the model's constant; ``strata[label]`` is the difference of another
    stratum's constant from it, ``strata[label]:t`` the duration term of that stratum itself. Spline
    knots are those of all strata together; "dummies" are the periods with events in the stratum.

    Attributes
    ----------
    labels : tuple of str
        ``"column=value"`` of each stratum, in order.
    parts : tuple of Baseline
        Of each stratum; ``last`` is the stratum's last period.
    """

    labels: tuple[str, ...]
    parts: tuple[Baseline, ...]

    @property
    def kind(self) -> str:
        """One of `durations.BASELINES`."""
        return self.parts[0].kind

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the terms."""
        own = (
            f"strata[{label}]:{name}"
            for label, part in zip(self.labels, self.parts, strict=True)
            for name in part.names
        )
        return (*own, *(f"strata[{label}]" for label in self.labels[1:]))

    @property
    def last(self) -> int:
        """The last period in the data."""
        return max(part.last for part in self.parts)

    @property
    def empty(self) -> str:
        """What became of periods without events ("dummies")."""
        return self.parts[0].empty

    def basis(self, period: Integers, stratum: Integers | None = None) -> Floats:
        """Values of the terms at periods and strata, both of shape (m,): shape (m, len(names))."""
        assert stratum is not None
        blocks = []
        for code, part in enumerate(self.parts):
            here = stratum == code
            block = np.zeros((len(stratum), len(part.names)))
            block[here] = part.basis(period[here])
            blocks.append(block)
        own = (stratum[:, None] == np.arange(1, len(self.parts))).astype(np.float64)
        return np.column_stack([*blocks, own])

    def shared(self, period: Integers) -> Floats:
        """Terms common to the strata, for interactions with covariates."""
        return self.parts[0].basis(period)

    @property
    def shared_names(self) -> tuple[str, ...]:
        """Names of the terms of `shared`."""
        return self.parts[0].names

    def level(self, period: Integers, stratum: Integers | None = None) -> Integers:
        """Index of each period's dummy in its stratum, -1 for one without."""
        assert stratum is not None
        found = np.full(len(period), -1, dtype=np.int64)
        for code, part in enumerate(self.parts):
            here = stratum == code
            if part.levels:
                found[here] = part.level(period[here])
        return found

    def empties(self) -> dict[str, tuple[int, ...]]:
        """Periods without events ("dummies") by stratum."""
        pairs = zip(self.labels, self.parts, strict=True)
        return {label: part.empty_periods for label, part in pairs if part.empty_periods}

    def __str__(self) -> str:
        if self.kind == "dummies":
            counts = ", ".join(str(len(part.levels)) for part in self.parts)
            return f"dummies for {counts} periods with events in {len(self.labels)} strata"
        return f"{self.parts[0]} in each of {len(self.labels)} strata"


def stratified_baseline(
    kind: str, period: Integers, event: NDArray[np.bool_], stratum: Integers, labels: Sequence[str], **options: Any
) -> StratifiedBaseline:
    """Choose knots from all strata, or dummies within each.

    Parameters
    ----------
    kind, period, event, options
        As in `durations.make_baseline`.
    stratum
        Code of each person-period's stratum, 0 .. S - 1, each of which occurs: shape (m,).
    labels
        Of the strata, S of them.

    Raises
    ------
    FitError
        "no_events": a stratum without events, whose baseline has no estimate.
    """
    rows = [stratum == code for code in range(len(labels))]
    for label, here in zip(labels, rows, strict=True):
        if not event[here].any():
            raise FitError("no_events", f"no events among {int(here.sum())} person-periods of stratum {label}")
    if kind == "dummies":
        parts = [make_baseline(kind, period[here], event[here], **options) for here in rows]
    else:
        whole = make_baseline(kind, period, event, **options)
        parts = [replace(whole, last=int(period[here].max())) for here in rows]
    return StratifiedBaseline(tuple(labels), tuple(parts))


def strata_codes(rows: pd.DataFrame, names: Sequence[str]) -> tuple[Integers, tuple[str, ...]]:
    """Return the stratum of each row and the strata's labels, in order of the columns' values.

    Raises
    ------
    DataError
        On missing values.
    """
    ranks, texts = [], []
    for name in names:
        column = rows[name]
        if column.isna().any():
            row = int(np.argmax(column.isna().to_numpy()))
            raise DataError(f"strata({name}), row {row}", "a value", "a missing value")
        codes, values = _ordered(column)
        ranks.append(codes)
        texts.append([f"{name}={_shown(value)}" for value in values])
    unique, codes = np.unique(np.column_stack(ranks), axis=0, return_inverse=True)
    labels = tuple(", ".join(text[k] for text, k in zip(texts, row, strict=True)) for row in unique)
    return codes.reshape(-1).astype(np.int64), labels


def _ordered(column: pd.Series) -> tuple[Integers, list[object]]:
    try:
        codes, values = pd.factorize(column, sort=True)
    except TypeError:
        codes, values = pd.factorize(column.astype(str), sort=True)
    return codes, list(values)


def _shown(value: object) -> str:
    """A value as its label has it: 2 and 2.0 are the same stratum."""
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        return f"{value:.15g}"
    return str(value)


def split_strata(
    at: Mapping[str, Any] | pd.DataFrame | None, names: Sequence[str], labels: Sequence[str]
) -> tuple[dict[str, Any] | None, Integers | None]:
    """Take the strata's columns out of covariate values.

    Returns
    -------
    rest, codes
        The other values; the stratum of each row, or None where ``at`` names none.

    Raises
    ------
    DataError
        Some of the strata's columns but not all, or a stratum that is not in the data.
    """
    given = {} if at is None else {str(name): at[name] for name in at}
    mine = {name: given.pop(name) for name in names if name in given}
    rest = None if at is None else given
    if not mine:
        return rest, None
    if len(mine) < len(names):
        raise DataError("at", f"all the strata's columns, {', '.join(names)}, or none", ", ".join(mine))
    columns = [np.atleast_1d(np.asarray(mine[name], dtype=object)) for name in names]
    codes = []
    for row in zip(*np.broadcast_arrays(*columns), strict=True):
        label = ", ".join(f"{name}={_shown(value)}" for name, value in zip(names, row, strict=True))
        if label not in labels:
            raise DataError("at", one_of(labels), label, nearest(label, labels))
        codes.append(labels.index(label))
    return rest, np.asarray(codes, dtype=np.int64)
