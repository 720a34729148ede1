"""Reading the coded record: CSV tables in, one checked and immutable `Record` out."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from coalition_exit.errors import RecordError, nearest, one_of
from coalition_exit.record.cells import convert_table
from coalition_exit.record.codebook import Codebook, load_codebook
from coalition_exit.record.consistency import check_tables


@dataclass(frozen=True)
class Record:
    """The coded facts: one typed `pandas.DataFrame` per table of the codebook.

    Attributes
    ----------
    tables
        Name of the table to its frame. Treat the frames as read-only.
    sha256
        Hash over the bytes of all tables, in the codebook's order.
    folder
        Where the tables were read from.
    """

    tables: Mapping[str, pd.DataFrame]
    sha256: str
    folder: str
    status: str

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in self.tables:
            raise RecordError("record", one_of(self.tables, 30), repr(name), nearest(name, self.tables))
        return self.tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tables)

    def name_of(self, ccode: int) -> str:
        """Return the state's name."""
        states = self.tables["states"]
        return str(states.loc[states["ccode"] == ccode, "name"].iloc[0])


def record_folder() -> Path:
    """Return the folder of the tables that ship with the package."""
    return Path(str(resources.files("coalition_exit.record").joinpath("tables")))


def load_record(folder: str | Path | None = None) -> Record:
    """Load and check the coded record.

    Parameters
    ----------
    folder
        A folder with one CSV file per table of the codebook; by default the package's own.

    Returns
    -------
    Record
        The typed tables. Everything the codebook promises has been checked.

    Raises
    ------
    RecordError
        Names table, row, column, what was expected and what came.
    """
    codebook = load_codebook()
    path = Path(folder) if folder is not None else record_folder()
    if not path.is_dir():
        raise RecordError(str(path), "a folder with the record's tables", "no such folder")
    digest = hashlib.sha256()
    tables: dict[str, pd.DataFrame] = {}
    for name, table in codebook.tables.items():
        raw, content = _read(path / f"{name}.csv")
        digest.update(content)
        tables[name] = convert_table(raw, table)
    check_tables(tables, codebook)
    return Record(MappingProxyType(tables), digest.hexdigest(), str(path), codebook.status)


def _read(path: Path) -> tuple[pd.DataFrame, bytes]:
    try:
        # Git on Windows or a spreadsheet may have rewritten line ends or added a mark; the hash must not depend on it.
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n")
    except FileNotFoundError:
        raise RecordError(str(path), "a table of the record", "no such file") from None
    return _parse(path.name, content), content


def _parse(name: str, content: bytes) -> pd.DataFrame:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        row = content[: error.start].count(b"\n") + 1
        got = f"the byte 0x{content[error.start]:02x}"
        raise RecordError(f"{name}, row {row}", "UTF-8 text", got, "Save it as CSV UTF-8.") from None
    rows = _rows(name, text)
    return pd.DataFrame(rows[1:], columns=rows[0], dtype=str)


def _rows(name: str, text: str) -> list[list[str]]:
    """Return the rows, that of the columns' names first, all of one length; blank lines do not count."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    line = 1
    try:
        for cells in reader:
            if not rows:
                _check_header(name, cells)
            elif cells and len(cells) != len(rows[0]):
                raise RecordError(f"{name}, row {line}", f"{len(rows[0])} fields", str(len(cells)))
            rows += [cells] if cells else []
            line = reader.line_num + 1
    except csv.Error:
        raise RecordError(f"{name}, row {line}", "quotation marks in pairs") from None
    if not rows:
        raise RecordError(name, "a row with the columns' names", "an empty file")
    return rows


def _check_header(name: str, columns: list[str]) -> None:
    for mark, marks in ((";", "semicolons"), ("\t", "tabs")):
        if len(columns) == 1 and mark in columns[0]:
            raise RecordError(f"{name}, row 1", "columns separated by commas", marks)
    for column in columns:
        if columns.count(column) > 1:
            raise RecordError(f"{name}, row 1", "each column once", f"{column!r} twice")


__all__ = ["Codebook", "Record", "load_codebook", "load_record", "record_folder"]
