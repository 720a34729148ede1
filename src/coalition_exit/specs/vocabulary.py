"""The names a specification may use: the record's coded variables, or the columns of a data file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from coalition_exit.archive.cells import not_a_number
from coalition_exit.archive.files import DataFile, read_data_file
from coalition_exit.coding.expressions import NUMBER, Kind
from coalition_exit.coding.rules import Rule, RuleBook, load_rules
from coalition_exit.errors import CellError, SpecError, nearest, one_of, shown
from coalition_exit.panel.build import KEYS, default_variables, resolve_rules

# Columns that name or date rows. Year, month, day, side and spell say something about them.
NOT_COVARIATES = (
    "idvar", "coalid", "warnum", "ccode", "warday", "start", "stop", "finalobs", "subjects",
)  # fmt: skip
COALITION = "coalid"


class Vocabulary(Protocol):
    """What the names of one model may be. Every method raises `SpecError` on a name that is none."""

    @property
    def cluster(self) -> str | None:
        """Return the column that names the cluster unless a model names one."""

    def check(self, name: str, place: str) -> None:
        """Refuse a name that is no column."""

    def check_covariate(self, name: str, place: str) -> None:
        """Refuse a name that cannot stand on the right-hand side."""

    def check_failure(self, name: str, place: str) -> None:
        """Refuse a name that is no outcome of a hazard model."""

    @property
    def codes_kinds(self) -> bool:
        """Return whether kinds of exit are coded by a rule, so that 1 is known to be the first."""

    def has_kinds(self, failure: str) -> bool:
        """Say whether an outcome may tell kinds of exit apart."""

    def kinds(self, names: Iterable[str]) -> dict[str, Kind]:
        """Say what the columns of a comparison hold."""

    def rules(self, names: Iterable[str]) -> dict[str, Rule]:
        """Return the coding rule of every column that is coded by one."""


@dataclass(frozen=True)
class CodedVariables:
    """The panel's keys and the variables that rules code.

    Attributes
    ----------
    choices
        Coding choices of the model: variable -> rule name or parameters.
    places
        Where each choice stands in the file.
    book
        The rules: those that ship and the file's own.
    """

    choices: Mapping[str, Any]
    places: Mapping[str, str]
    book: RuleBook = field(default_factory=load_rules)
    cluster: str | None = COALITION

    def check(self, name: str, place: str) -> None:
        self._check_among(name, place, KEYS)

    def _check_among(self, name: str, place: str, keys: Sequence[str]) -> None:
        known = name in KEYS or name in self.choices or self.book.default_for(name) is not None
        if not known or name == "subjects":
            raise self.book.unknown_variable(name, place, [*keys, *self.choices])

    def check_covariate(self, name: str, place: str) -> None:
        if name in NOT_COVARIATES:
            raise SpecError(place, "a variable, not a key of the panel", shown(name))
        self._check_among(name, place, [key for key in KEYS if key not in NOT_COVARIATES])
        if name not in KEYS and self.rule(name).role == "outcome":
            raise SpecError(self.places.get(name, place), "a covariate", f"the outcome {shown(name)}")

    def check_failure(self, name: str, place: str) -> None:
        known = name in self.choices or self.book.default_for(name) is not None
        rule = self.rule(name) if known else None
        if rule is not None and rule.role == "outcome":
            return
        if rule is not None and name in self.choices:
            raise SpecError(self.places[name], "a rule that codes an outcome", shown(rule.name))
        outcomes = [v for v in (*default_variables(), *self.book.further) if self.rule(v).role == "outcome"]
        raise SpecError(place, one_of(outcomes), shown(name), nearest(name, outcomes))

    @property
    def codes_kinds(self) -> bool:
        return True

    def has_kinds(self, failure: str) -> bool:
        return self.rule(failure).method == "exit_causes"

    def kinds(self, names: Iterable[str]) -> dict[str, Kind]:
        # Every column of the panel is a number.
        return dict.fromkeys(names, NUMBER)

    def rules(self, names: Iterable[str]) -> dict[str, Rule]:
        wanted = sorted({"subjects", *names})
        return {name: self.rule(name) for name in wanted if name not in KEYS or name in self.choices}

    def rule(self, name: str) -> Rule:
        """Return the rule that codes a variable in this model."""
        if name not in self.choices:
            return resolve_rules([name], book=self.book)[name]
        place = self.places[name]
        if name in KEYS:
            raise SpecError(place, "a variable that rules code", shown(name))
        rule = self.book.resolve(name, self.choices[name], place)
        if (rule.method == "subjects") != (name == "subjects"):
            raise SpecError(place, "a rule that codes this kind of variable", shown(rule.name))
        return rule


@dataclass(frozen=True)
class FileColumns:
    """The columns of a data file that a specification names.

    Attributes
    ----------
    file
        The file as read.
    timing
        Columns that name or date rows: no covariates.
    choices
        Must be empty: a file's columns are coded already.
    """

    file: DataFile
    timing: tuple[str, ...]
    choices: Mapping[str, Any]
    places: Mapping[str, str]
    cluster: str | None = None

    def check(self, name: str, place: str) -> None:
        columns = [str(column) for column in self.file.frame.columns]
        if name not in columns:
            raise SpecError(place, one_of(columns, 40), shown(name), nearest(name, columns))

    def check_covariate(self, name: str, place: str) -> None:
        self.check(name, place)
        if name in self.timing:
            raise SpecError(place, "a covariate", f"the column of times or ids {shown(name)}")
        if self._kind(name) != NUMBER:
            self._check_cells(name, place)
            hint = "Make a column of 0 and 1 for each group"
            raise SpecError(place, "a column of numbers", f"the column of text {shown(name)}", hint)

    def _check_cells(self, name: str, place: str) -> None:
        """Name the first cell of a column of numbers that holds something else."""
        if pd.to_numeric(self.file.frame[name], errors="coerce").notna().any():
            error = not_a_number(self.file, name)
            if error is not None:
                hint = f"{error.hint}. {name} is needed by {place}" if error.hint else f"It is needed by {place}"
                raise CellError(error.place, error.expected, error.got, hint)

    def check_failure(self, name: str, place: str) -> None:
        self.check_covariate(name, place)

    @property
    def codes_kinds(self) -> bool:
        return False

    def has_kinds(self, failure: str) -> bool:
        column = self.file.frame[failure].dropna()
        return self._kind(failure) == NUMBER and bool((column > 1).any())

    def kinds(self, names: Iterable[str]) -> dict[str, Kind]:
        return {name: self._kind(name) for name in names}

    def _kind(self, name: str) -> Kind:
        column = self.file.frame[name]
        # A text column may hold anything; its values are not listed.
        return NUMBER if column.dtype.kind in "iufb" else Kind("text")

    def rules(self, names: Iterable[str]) -> dict[str, Rule]:
        for name in self.choices:
            raise SpecError(self.places[name], "no coding rules with a data file of one's own", shown(name))
        return {}


_files: dict[tuple[str, int, int], DataFile] = {}


def own_file(path: Path, place: str) -> DataFile:
    """Read the data file that a specification names; a file is read once while it stays the same.

    Raises
    ------
    SpecError
        When there is no such file.
    InputError
        When it cannot be read.
    """
    try:
        state = path.stat()
    except (OSError, ValueError):
        near = nearest(path.name, [p.name for p in path.parent.glob("*.*")] if path.parent.is_dir() else [])
        raise SpecError(place, "a data file (.csv, .dta or .parquet)", f"no file {path}", near) from None
    key = (str(path.absolute()), state.st_mtime_ns, state.st_size)
    if key not in _files:
        _files.clear()
        _files[key] = read_data_file(path)
    return _files[key]
