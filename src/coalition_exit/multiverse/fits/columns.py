"""The columns of all panel variants, each computed once: one for each rule and its parameters.

Rows of the panel depend on the rule for the subjects alone, so columns of all other rules stand side by side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coalition_exit.multiverse.choices.resolve import SUBJECTS, Coding
from coalition_exit.panel.build import KEYS, panel_rows, rule_column, subjects_of
from coalition_exit.runner.sources import RecordSource, Source

Floats = NDArray[np.float64]


class Columns:
    """Columns of a data source, by what they are.

    Parameters
    ----------
    source
        Where rows come from.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._values: dict[tuple[str, str], Floats] = {}
        self._raw: dict[tuple[str, str], Any] = {}
        self._rows: dict[str, Any] = {}
        self._digests: dict[tuple[str, str], bytes] = {}

    def get(self, coding: Coding, names: Sequence[str]) -> dict[str, Floats]:
        """Return columns of all rows as numbers, missing values as NaN: (n,) each."""
        subjects = self.rows_of(coding)
        self._compute(coding, subjects, names)
        return {name: self._values[subjects, coding.token(name)] for name in names}

    def raw(self, coding: Coding, names: Sequence[str]) -> pd.DataFrame:
        """Return columns as the source has them, text too, for conditions and clusters."""
        subjects = self.rows_of(coding)
        self._compute(coding, subjects, names, numbers=False)
        return pd.DataFrame({name: self._raw[subjects, coding.token(name)] for name in names})

    def digest(self, coding: Coding, name: str) -> bytes:
        """Return a hash of a column's values: 16 bytes."""
        key = (self.rows_of(coding), coding.token(name))
        if key not in self._digests:
            values = self.raw(coding, [name])[name].to_numpy()
            raw = values.astype(np.float64).tobytes() if values.dtype.kind in "biuf" else repr(values.tolist()).encode()
            self._digests[key] = hashlib.blake2b(raw, digest_size=16).digest()
        return self._digests[key]

    def rows_of(self, coding: Coding) -> str:
        """Return what identifies the rows of the panel."""
        return coding.subjects

    def _compute(self, coding: Coding, subjects: str, names: Sequence[str], numbers: bool = True) -> None:
        new = [name for name in dict.fromkeys(names) if (subjects, coding.token(name)) not in self._raw]
        if new:
            found = self._of_record if type(self.source) is RecordSource else self._of_frame
            for name, values in found(coding, subjects, new).items():
                self._raw[subjects, coding.token(name)] = values
        for name in names if numbers else ():
            key = (subjects, coding.token(name))
            if key not in self._values:
                column = pd.Series(self._raw[key])
                self._values[key] = np.ascontiguousarray(column.to_numpy(dtype=np.float64, na_value=np.nan))

    def _of_record(self, coding: Coding, subjects: str, names: Sequence[str]) -> dict[str, Any]:
        """Compute columns of the panel one by one; its rows are laid out once for each choice of subjects."""
        assert isinstance(self.source, RecordSource)
        rules = coding.rules(names)
        if subjects not in self._rows:
            chosen = subjects_of(self.source.record, rules[SUBJECTS])
            self._rows[subjects] = (chosen.history, *panel_rows(chosen))
        history, keys, places = self._rows[subjects]
        coded = {name: rule_column(history, rules[name], places) for name in names if name in rules}
        return keys | coded

    def _of_frame(self, coding: Coding, subjects: str, names: Sequence[str]) -> dict[str, Any]:
        """Take columns from the source's own frame; a file that is no record has no rules."""
        rules = coding.rules(names) if isinstance(self.source, RecordSource) else {}
        wanted = [name for name in names if name not in KEYS or not rules]
        frame = self.source.frame(wanted, rules or None)
        # The keys come with every panel.
        more = [name for name in KEYS if rules and name in frame.columns]
        return {name: frame[name].to_numpy() for name in dict.fromkeys([*names, *more])}
