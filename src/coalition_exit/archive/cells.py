"""Naming one cell of a data file as its owner finds it, and finding the first that is no number."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from coalition_exit.archive.files import MISSING_WORDS, DataFile
from coalition_exit.errors import CellError, shown

_NUMBER = re.compile(r"\s*[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\s*\Z")
_COMMA = re.compile(r"\s*[-+\u2212]?\d*,\d+\s*\Z")
_LABELS = "Where these are value labels, write the file with their codes (in Stata: export delimited, nolabel)"


def place_of(file: DataFile, row: int, column: str = "") -> str:
    """Return where a cell stands: the line of a CSV file, else the row counted from 1.

    Parameters
    ----------
    file
        The file.
    row
        Position of the row in ``file.frame``, from 0.
    column
        Name of the column; "" for the whole row.
    """
    return f"{file.path}, {row_name(file, row)}{f', column {column}' if column else ''}"


def row_name(file: DataFile, row: int) -> str:
    """Return "line 7" for a CSV file, else "row 6"."""
    line = _line(file.path, row) if file.format == "CSV" else 0
    return f"line {line}" if line else f"row {row + 1}"


def _line(path: Path, row: int) -> int:
    """Return the line on which a row of a CSV file begins, from 1; 0 when the file cannot be read again."""
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError:
        return 0
    reader = csv.reader(io.StringIO(text, newline=""))
    found, begins = -1, 1
    try:
        for cells in reader:
            # Blank lines are no rows; the first row has the names.
            found += bool(cells)
            if cells and found == row + 1:
                return begins
            begins = reader.line_num + 1
    except csv.Error:
        return 0
    return 0


def not_a_number(file: DataFile, column: str) -> CellError | None:
    """Return the error that shows the first cell of a column of text that is no number; None if there is none."""
    values = file.frame[column]
    texts = values.astype(object).where(values.notna(), "")
    for row, value in enumerate(texts):
        if not _NUMBER.match(str(value)) and str(value).strip() not in MISSING_WORDS:
            hint = "Write decimals with a point" if _COMMA.match(str(value)) else _LABELS
            return CellError(place_of(file, row, column), "a number", shown(value, 40), hint)
    return None
