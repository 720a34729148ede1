"""Where a model's rows come from: the record, the author's file, or a data file of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from coalition_exit.archive.fetch import archive_path
from coalition_exit.archive.files import DataFile
from coalition_exit.archive.read import ArchiveFile, Missing, missing_variables, read_archive
from coalition_exit.archive.stata import ID, TIME, declare, estimation_rows, left_out
from coalition_exit.coding.expressions import Expression
from coalition_exit.errors import DataError, FitError, nearest, one_of, shown
from coalition_exit.panel.build import KEYS, build_panel, resolve_rules
from coalition_exit.record.codebook import load_codebook
from coalition_exit.record.loading import Record, load_record, record_folder
from coalition_exit.runner.file_rows import check_rows
from coalition_exit.specs.exhibits import Exhibit
from coalition_exit.specs.loading import Spec, TableData
from coalition_exit.specs.models import ModelSpec
from coalition_exit.specs.vocabulary import own_file
from coalition_exit.survival.data.stset_report import Stset

SOURCES = ("auto", "record", "archive")
_FETCH = "coalition-exit data fetch gets it, or --data PATH names a file with its variables"


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows a model is estimated on.

    Attributes
    ----------
    frame : DataFrame
        Complete rows of the sample.
    response : str
        Left side of the formula.
    event : str
        Column with the event, 0 or 1.
    id : str or None
        Column that names the subject.
    n_dropped : int
        Rows of the sample left out for missing values.
    notes : tuple of str
        What a reader of the table should know; phrases.
    """

    frame: pd.DataFrame
    response: str
    event: str
    id: str | None
    n_dropped: int
    notes: tuple[str, ...] = ()


class Source(Protocol):
    """A data source."""

    @property
    def name(self) -> str:
        """Return "record", "archive", or a path."""

    @property
    def note(self) -> str:
        """Return what the data are, in a phrase for the tables' notes."""

    @property
    def sha256(self) -> str:
        """Return the hash of what was read."""

    def rows(self, model: ModelSpec) -> Rows:
        """Return the rows of a model.

        Raises
        ------
        FitError
            When the data have not what the model needs; the reason goes into the model's row.
        """

    def frame(self, variables: Sequence[str], coding: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return all rows of the data with at least these columns.

        Raises
        ------
        DataError
            When there is no such column.
        """

    def name_group(self, by: str, code: Any) -> str:
        """Return what a cluster is called."""


@dataclass(frozen=True, eq=False)
class RecordSource:
    """The panel that the coding rules make of a record."""

    record: Record
    _panels: list[tuple[dict[str, Any], pd.DataFrame]] = field(default_factory=list, repr=False)

    @property
    def name(self) -> str:
        return "record" if Path(self.record.folder) == record_folder() else self.record.folder

    @property
    def sha256(self) -> str:
        return self.record.sha256

    @property
    def note(self) -> str:
        whose = "the package's coded record" if self.name == "record" else f"a record in {Path(self.name).name}"
        return f"{whose} ({self.record.status}), SHA-256 {self.sha256[:12]}"

    def rows(self, model: ModelSpec) -> Rows:
        panel = self.frame([name for name in model.variables if name in model.coding], model.coding)
        outcome = model.failure or model.outcome
        panel = _one_kind(panel, model, outcome)
        if model.censor:
            panel = panel.assign(**{outcome: panel[outcome].mask(_any(panel, model.censor), 0)})
        # Under some rules a state leaves the risk set before its spell ends: its outcome is then missing.
        gone = panel[outcome].isna()
        at_risk, notes = panel, _undecided(panel, model)
        if gone.any():
            at_risk = panel.loc[~gone]
            said = f"{gone.sum():,} rows no longer at risk under {model.coding[outcome].name}"
            notes = (said, *_undecided(at_risk, model))
        used, n_dropped = _complete(at_risk, model, ("idvar", "start", "stop"))
        response = f"Surv(start, stop, {model.failure})" if model.failure else model.outcome
        return Rows(used, response, outcome, "idvar", n_dropped, notes)

    def frame(self, variables: Sequence[str], coding: Mapping[str, Any] | None = None) -> pd.DataFrame:
        variables = [name for name in variables if name not in KEYS]
        rules = resolve_rules(variables, coding)
        wanted = {name: rule.identity for name, rule in rules.items() if name in ("subjects", *variables)}
        for made, panel in reversed(self._panels):
            if wanted.items() <= made.items():
                return panel
        panel = build_panel(self.record, variables=variables, coding=rules)
        # The oldest goes; neighbouring models of a table share a panel more often than distant ones.
        del self._panels[: max(0, len(self._panels) - 3)]
        self._panels.append((wanted, panel))
        return panel

    def name_group(self, by: str, code: Any) -> str:
        if by not in ("coalid", "warnum", "ccode"):
            return f"{by} {code}"
        number = int(code)
        if by == "ccode":
            return _look_up(self.record["states"], "ccode", number, "name") or str(number)
        war = number // 10 if by == "coalid" else number
        name = _look_up(self.record["wars"], "warnum", war, "name") or f"war {war}"
        return f"{name}, side {number % 10}" if by == "coalid" else name


def _look_up(table: pd.DataFrame, key: str, value: int, column: str) -> str:
    found = table.loc[table[key].astype(int) == value, column]
    return str(found.iloc[0]) if len(found) else ""


def _one_kind(frame: pd.DataFrame, model: ModelSpec, outcome: str) -> pd.DataFrame:
    """Make an event of one kind of exit; for competing exits keep all kinds."""
    if model.cause is None or model.estimator == "fine_gray":
        return frame
    return frame.assign(**{outcome: (frame[outcome] == model.cause).where(frame[outcome].notna()).astype(float)})


def _complete(frame: pd.DataFrame, model: ModelSpec, timing: Sequence[str]) -> tuple[pd.DataFrame, int]:
    """Return the rows of the sample without missing values, and how many these left out."""
    keep = np.ones(len(frame), dtype=bool)
    for expression in model.sample:
        keep &= expression.evaluate(frame)
    # Only the columns that the model needs are copied, and no rows where all stay.
    columns = frame[list(dict.fromkeys([*timing, *model.estimation_columns]))]
    chosen = columns if keep.all() else columns.loc[keep]
    complete = chosen.notna().all(axis=1).to_numpy()
    return (chosen if complete.all() else chosen.loc[complete]), int((~complete).sum())


def _undecided(frame: pd.DataFrame, model: ModelSpec) -> tuple[str, ...]:
    """Say how many rows are left out because a missing value leaves a condition of the sample without an answer."""
    if not any(frame[name].isna().any() for expression in model.sample for name in expression.names):
        return ()
    kept = np.logical_and.reduce([expression.evaluate(frame) for expression in model.sample])
    denied = np.logical_or.reduce([expression.denies(frame) for expression in model.sample])
    n = int((~kept & ~denied).sum())
    return (f"{n:,} {'row' if n == 1 else 'rows'} left out whose value in a condition is missing",) if n else ()


def _any(frame: pd.DataFrame, conditions: Sequence[Expression]) -> np.ndarray[Any, Any]:
    return np.logical_or.reduce([expression.evaluate(frame) for expression in conditions])


@dataclass(frozen=True, eq=False)
class ArchiveSource:
    """The author's file, or any file with its variables, read as Stata would."""

    file: ArchiveFile
    name: str
    _declared: dict[tuple[str, ...], Stset] = field(default_factory=dict, repr=False)

    @property
    def sha256(self) -> str:
        return self.file.sha256

    @property
    def note(self) -> str:
        whose = "the author's deposited file " if self.name == "archive" else ""
        return f"{whose}{self.file.note}"

    def rows(self, model: ModelSpec) -> Rows:
        self.check(model)
        if model.outcome:
            used = estimation_rows(self.file.frame, model.estimation_columns, model.sample)
            return Rows(used.frame, model.outcome, model.outcome, ID, used.n_dropped, _unknown(used.n_unknown))
        key = (model.failure, *(expression.text for expression in model.censor))
        if key not in self._declared:
            self._declared[key] = declare(self.file.frame, model.failure, model.censor)
        declared = self._declared[key]
        used = estimation_rows(declared.data, model.row_columns, model.sample)
        said = left_out(declared)
        notes = (*((f"{model.failure}: {said}",) if said else ()), *_unknown(used.n_unknown))
        return Rows(used.frame, "Surv(_t0, _t, _d)", "_d", ID, used.n_dropped, notes)

    def check(self, model: ModelSpec) -> None:
        """Refuse a model that needs the record, or a variable that the file lacks, by a `FitError`."""
        if model.choices:
            names = ", ".join(model.choices)
            reason = f"coding rules ({names}) need the facts of the record: run it with --data record"
            raise FitError("needs_record", reason)
        timing = [ID, TIME] if model.failure else []
        lacking = missing_variables(self.file.frame, {model.key: [*model.variables, *timing]})
        if lacking:
            raise FitError("missing_variable", lacking.reason(model.key))

    def lacking(self, needs: Mapping[str, Sequence[str]]) -> Missing:
        """Say which variables the file lacks: name of a model -> the variables it needs."""
        return missing_variables(self.file.frame, needs)

    def frame(self, variables: Sequence[str], coding: Mapping[str, Any] | None = None) -> pd.DataFrame:
        if coding:
            raise DataError(self.name, "no coding rules: they need the facts of the record", ", ".join(coding))
        for name in variables:
            if name not in self.file.frame.columns:
                columns = [str(column) for column in self.file.frame.columns]
                raise DataError(str(self.file.path), f"a variable {name}", "none", nearest(name, columns))
        return self.file.frame

    def name_group(self, by: str, code: Any) -> str:
        return f"{by} {code:g}" if isinstance(code, float) else f"{by} {code}"


def _unknown(n: int) -> tuple[str, ...]:
    said = f"{n:,} rows kept whose value in a condition is missing, as Stata does (missing is larger than any number)"
    return (said,) if n else ()


@dataclass(frozen=True, eq=False)
class TableSource:
    """A data file that a specification names."""

    data: TableData
    file: DataFile

    @property
    def name(self) -> str:
        return self.file.path.name

    @property
    def sha256(self) -> str:
        return self.file.sha256

    @property
    def note(self) -> str:
        said = f"{self.data.note}; " if self.data.note else ""
        return f"{said}{self.name} ({self.file.format}, {len(self.file.frame):,} rows), SHA-256 {self.sha256[:12]}"

    def rows(self, model: ModelSpec) -> Rows:
        outcome = model.failure or model.outcome
        frame = _one_kind(self.file.frame, model, outcome)
        if model.censor:
            frame = frame.assign(**{outcome: frame[outcome].mask(_any(frame, model.censor), 0)})
        data = self.data
        used, n_dropped = _complete(frame, model, data.timing)
        check_rows(self.file, data, model, used)
        clock = data.time or f"{data.start}, {data.stop}"
        response = f"Surv({clock}, {model.failure})" if model.failure else model.outcome
        return Rows(used, response, outcome, data.id or None, n_dropped, _undecided(frame, model))

    def frame(self, variables: Sequence[str], coding: Mapping[str, Any] | None = None) -> pd.DataFrame:
        columns = [str(column) for column in self.file.frame.columns]
        for name in variables:
            if name not in columns:
                raise DataError(str(self.file.path), one_of(columns), shown(name), nearest(name, columns))
        return self.file.frame

    def name_group(self, by: str, code: Any) -> str:
        return f"{by} {code:g}" if isinstance(code, float) else f"{by} {code}"


class Sources:
    """Opens the data source of each specification; every file is read once.

    Parameters
    ----------
    data
        What the user asked for: "auto", "record", "archive", the path of a file with the archive's
        variables, or a folder with a record's tables.
    record
        A record already loaded.

    Raises
    ------
    InputError
        When there is no such source, or it cannot be read.
    """

    def __init__(self, data: str = "auto", record: Record | None = None) -> None:
        self.asked = data
        self._record = RecordSource(record) if record is not None else None
        self._archives: dict[str, ArchiveSource] = {}
        if data not in SOURCES:
            path = Path(data)
            if path.is_dir():
                if not any((path / f"{name}.csv").is_file() for name in load_codebook().tables):
                    raise DataError(
                        "data", "a data file, or a folder with a record's tables", f"a folder without any, {data}"
                    )
                self._record = RecordSource(load_record(data))
                self.asked = "record"
            elif path.is_file() or path.suffix:
                self._archives[data] = ArchiveSource(read_archive(path), data)
            else:
                expected = f"{one_of(SOURCES)}, a file with the archive's variables, or a folder with a record's tables"
                raise DataError("data", expected, shown(data), nearest(data, SOURCES))
        if data == "archive":
            self._archive()

    def for_spec(self, spec: Exhibit) -> Source:
        """Return the source of a specification: what the user asked for, else what the file says."""
        if isinstance(spec.data, TableData):
            return TableSource(spec.data, own_file(spec.data.path, spec.path))
        asked = spec.data if self.asked == "auto" else self.asked
        if asked == "auto":
            # Coding rules need facts that the author's file does not have.
            recoded = (
                spec.options_recode or any(model.choices for model in spec.models)
                if isinstance(spec, Spec)
                else bool(spec.choices)
            )
            asked = "archive" if archive_path().is_file() and not recoded else "record"
        if asked == "archive":
            return self._archive()
        if asked != "record":
            return self._archives[asked]
        if self._record is None:
            self._record = RecordSource(load_record())
        return self._record

    def _archive(self) -> ArchiveSource:
        if "archive" not in self._archives:
            path = archive_path()
            if not path.is_file():
                raise DataError("data", f"the author's file {path.name}", f"none in {path.parent}", _FETCH)
            self._archives["archive"] = ArchiveSource(read_archive(path), "archive")
        return self._archives["archive"]
