"""The printed article's cells: an empty template to type them into, and reading it back."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from coalition_exit.errors import InputError, nearest, one_of, shown
from coalition_exit.report.layout import STATISTIC_LABELS
from coalition_exit.report.printed import NotANumber, Printed, decimal_mark, is_empty, read_number, read_stars
from coalition_exit.specs.exhibits import Crosstab
from coalition_exit.specs.loading import Spec

KEYS = ("table", "model", "term", "part")
REQUIRED = (*KEYS, "printed")
TYPED = ("printed", "stars", "decimals")
TEMPLATE_COLUMNS = (*REQUIRED, "stars", "decimals", "title", "column", "row", "look_for")
PUBLISHED_COLUMNS = (*KEYS, "line", "printed", "number", "decimals", "stars", "exact")
_LOOK_FOR = {"coef": "coefficient", "se": "standard error, in parentheses"}
_MOST_DECIMALS = 15
_AS_CSV = "Save it as CSV UTF-8 (in Excel: Save As, CSV UTF-8)"

_DATE = re.compile(r"[0-9]+[./ -]+(?:[^\W\d]{3,}|[0-9]+[./-][0-9]+)|[^\W\d]{3,}[./ -]+[0-9]+")
INSTRUCTIONS = (
    "Type each number into the column 'printed' as the article prints it: -0.73**, (0.25), 0.10†. Leave blank what"
    " is not printed. Where a spreadsheet program refuses the stars, type them into 'stars' (+ stands for †). Where"
    " it turns 0.10 into 0.1, type into 'decimals' how many digits are printed after the point. Save as CSV UTF-8."
)

Key = tuple[str, str, str, str]


@dataclass(frozen=True)
class PrintedCell:
    """A place in a printed table.

    Attributes
    ----------
    table, model, term, part
        Keys; ``part`` is "coef", "se" or the name of a statistic of the foot, whose ``term`` is "".
    title, column, row
        Where a reader of the article looks: title of the table, head of the column, label of the row.
    look
        What to look for there, for cells of other kinds of tables.
    """

    table: str
    model: str
    term: str
    part: str
    title: str
    column: str
    row: str
    look: str = ""

    @property
    def key(self) -> Key:
        """Table, model, term and part."""
        return self.table, self.model, self.term, self.part

    @property
    def look_for(self) -> str:
        """What to look for, in words."""
        return self.look or _LOOK_FOR.get(self.part, "statistic below the coefficients")


def cells_of(spec: Spec) -> tuple[PrintedCell, ...]:
    """Return every cell of a specification's table, column by column, as it is printed."""
    cells = []
    for model in spec.models:
        place = (spec.title, model.head)
        for term in spec.order:
            if term in model.terms:
                row = spec.label_of(term)
                cells += [PrintedCell(spec.table, model.key, term, part, *place, row) for part in ("coef", "se")]
        for name in spec.stats:
            cells.append(PrintedCell(spec.table, model.key, "", name, *place, STATISTIC_LABELS.get(name, name)))
    return tuple(cells)


def cells_of_crosstab(crosstab: Crosstab) -> tuple[PrintedCell, ...]:
    """Return the cells of a cross-tabulation: counts and per cent of the row, "yes" and "no" as keys."""
    return tuple(
        PrintedCell(crosstab.table, row, column, part, crosstab.title, head, label, look)
        for row, label in (("yes", crosstab.rows.yes), ("no", crosstab.rows.no))
        for column, head in (("yes", crosstab.columns.yes), ("no", crosstab.columns.no))
        for part, look in (("n_cases", "count"), ("row_percent", "per cent of the row"))
    )


def crosstab_numbers(crosstab: Crosstab, counted: pd.DataFrame) -> dict[Key, float]:
    """Return a cross-tabulation's computed numbers by cell, for the audit.

    Parameters
    ----------
    crosstab
        Its specification.
    counted
        One row a cell with ``row``, ``column`` (labels), ``count`` and ``row_percent``, of one that could be
        counted.
    """
    numbers: dict[Key, float] = {}
    for r in counted.itertuples(index=False):
        row = "yes" if r.row == crosstab.rows.yes else "no"
        column = "yes" if r.column == crosstab.columns.yes else "no"
        numbers[crosstab.table, row, column, "n_cases"] = float(r.count)
        numbers[crosstab.table, row, column, "row_percent"] = float(r.row_percent)
    return numbers


def template(cells: Iterable[PrintedCell]) -> str:
    """Return an empty template as CSV text: one row a cell, nothing printed in it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(TEMPLATE_COLUMNS)
    for cell in cells:
        writer.writerow([*cell.key, *("" for _ in TYPED), cell.title, cell.column, cell.row, cell.look_for])
    return out.getvalue()


def write_template(path: Path, cells: Iterable[PrintedCell]) -> Path:
    """Write an empty template, with the mark at its start by which Excel knows UTF-8.

    Raises
    ------
    InputError
        When the file exists already, or cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8-sig", newline="") as file:
            file.write(template(cells))
    except FileExistsError:
        raise InputError(str(path), "a name not yet taken", "an existing file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(str(path), "a file that can be written", reason.lower()) from None
    return path


def read_published(path: str | Path, cells: Sequence[PrintedCell]) -> pd.DataFrame:
    """Read a template that a person has filled in.

    Separators may be commas, semicolons or tabs, and the decimal mark a point or a comma, as spreadsheet
    programs of different countries save them; the file's own numbers tell which.

    Parameters
    ----------
    path
        The file.
    cells
        The cells there are.

    Returns
    -------
    pandas.DataFrame
        One row a typed cell, in the file's order: ``table``, ``model``, ``term``, ``part``, ``line`` (in the
        file, from 1), ``printed`` (as typed), ``number`` (the same as plain text, exactly), ``decimals``
        (digits after the point), ``stars``, and ``exact``: False where a spreadsheet program may have left
        zeros at the end out.

    Raises
    ------
    InputError
        Names file, line and column: not a table of this kind, a row that is no cell (with the nearest name),
        a cell twice, or a text that is no number.
    """
    path = Path(path)
    rows = _rows(path)
    known = {cell.key: cell for cell in cells}
    seen: dict[Key, int] = {}
    for line, row in rows:
        key = (row["table"], row["model"], row["term"], row["part"])
        if key not in known:
            raise _unknown(f"{path.name} > line {line}", key, cells)
        if key in seen:
            raise InputError(f"{path.name} > line {line}", "each cell once", f"that of line {seen[key]} again")
        seen[key] = line
    typed = [(line, row) for line, row in rows if not all(is_empty(row[name]) for name in TYPED)]
    mark = _mark_of(path, [row["printed"] for _, row in typed if not row["part"].startswith("n_")])
    read = [_cell(path.name, line, row, mark) for line, row in typed]
    # Zeros that stayed at the end of a bare number tell that no program has left others out.
    kept = any(cell.plain and cell.decimals > 0 and cell.value.as_tuple().digits[-1] == 0 for cell, _ in read)
    frame = [
        (*(row[name] for name in KEYS), line, row["printed"].strip(), str(cell.value),
         cell.decimals if decimals is None else decimals, cell.stars, kept or not cell.plain or decimals is not None)
        for (line, row), (cell, decimals) in zip(typed, read, strict=True)
    ]  # fmt: skip
    return pd.DataFrame(frame, columns=list(PUBLISHED_COLUMNS))


def _cell(name: str, line: int, row: dict[str, str], mark: str) -> tuple[Printed, int | None]:
    column = "printed"
    try:
        if is_empty(row["printed"]):
            raise NotANumber("a number beside the stars or decimals")
        cell = read_number(row["printed"], row["part"], mark)
        column = "stars"
        stars = read_stars(row["stars"])
        if stars and row["part"] != "coef":
            raise NotANumber("nothing: marks of significance stand at the coefficient")
        if stars and cell.stars not in ("", stars):
            raise NotANumber(f"the mark that stands in 'printed' ({cell.stars})")
        column = "decimals"
        decimals = None if is_empty(row["decimals"]) else int(_whole(row["decimals"], max(cell.decimals, 0)))
    except NotANumber as error:
        hint = "A spreadsheet program may have made a date of it" if _DATE.search(row[column]) else ""
        raise InputError(f"{name} > line {line} > {column}", str(error), shown(row[column]), hint) from None
    return Printed(cell.value, cell.stars or stars, cell.plain), decimals


def _whole(text: str, least: int) -> str:
    if not (text.isascii() and text.isdigit() and least <= int(text[:3]) <= _MOST_DECIMALS):
        raise NotANumber(f"a whole number from {least} to {_MOST_DECIMALS}, the digits printed after the point")
    return text


def _mark_of(path: Path, texts: Sequence[str]) -> str:
    mark = decimal_mark(texts)
    if mark or any(decimal_mark([text]) for text in texts):
        return mark
    # Nothing tells. With commas between the columns a decimal comma would be quoted: not what programs do.
    return "." if _separator(_text(path)) == "," else ""


def _unknown(place: str, key: Key, cells: Sequence[PrintedCell]) -> InputError:
    """Say which of a row's keys is wrong, and which name is nearest."""
    left = list(cells)
    for k, name in enumerate(KEYS):
        valid = list(dict.fromkeys(cell.key[k] for cell in left))
        if key[k] not in valid:
            named = [f"'{value}'" if value == "" else value for value in valid]
            inside = f" of {' > '.join(part for part in key[:k] if part)}" if k else ""
            expected = f"{one_of(named, 40)} ({name}s{inside})"
            return InputError(f"{place} > {name}", expected, shown(key[k]), nearest(key[k], valid))
        left = [cell for cell in left if cell.key[k] == key[k]]
    raise AssertionError(key)


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return the rows with their lines; blank ones and remarks (#) are left out."""
    text = _text(path)
    separator = _separator(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[tuple[int, dict[str, str]]] = []
    heads: list[str] = []
    try:
        for found in reader:
            row = [value.strip() for value in found]
            if not any(row) or _is_remark(row[0]):
                continue
            if not heads:
                heads = _heads(path.name, [name.lower() for name in row])
                continue
            if any(row[len(heads) :]):
                hint = "A decimal comma needs quotation marks around the number" if separator == "," else ""
                expected = f"{len(heads)} cells, as in the first line"
                raise InputError(f"{path.name} > line {reader.line_num}", expected, f"{len(row)}", hint)
            row += [""] * (len(heads) - len(row))
            given = dict(zip(heads, row, strict=False))
            rows.append((reader.line_num, {name: given.get(name, "") for name in (*REQUIRED, "stars", "decimals")}))
    except csv.Error as error:
        raise InputError(f"{path.name} > line {reader.line_num}", "a CSV file", str(error)) from None
    if not heads:
        raise InputError(path.name, f"a first line with {', '.join(REQUIRED)}", "an empty file")
    return rows


def _is_remark(text: str) -> bool:
    """Whether a line is none of the table: a remark, or Excel's line that names the separator."""
    return text.startswith("#") or text.lower().startswith("sep=")


def _heads(name: str, heads: list[str]) -> list[str]:
    for column in REQUIRED:
        if column not in heads:
            got = shown(", ".join(heads))
            raise InputError(f"{name} > first line", f"a column {column!r}", got, nearest(column, heads))
    for column in (*REQUIRED, "stars", "decimals"):
        if heads.count(column) > 1:
            raise InputError(f"{name} > first line", f"one column {column!r}", str(heads.count(column)))
    return heads


def _separator(text: str) -> str:
    """Return the mark between columns: the one that divides the first line into the most columns we know."""
    lines = [line for line in text.splitlines() if line.strip() and not _is_remark(line.lstrip('"'))]
    first = lines[0] if lines else ""
    return max(",;\t", key=lambda mark: len(set(REQUIRED) & {w.strip(' "').lower() for w in first.split(mark)}))


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except IsADirectoryError:
        raise InputError(str(path), "a CSV file", "a folder") from None
    except (OSError, ValueError) as error:
        got = "no such file" if isinstance(error, FileNotFoundError) else (getattr(error, "strerror", "") or str(error))
        raise InputError(str(path), "a CSV file that can be read", got.lower()) from None
    if content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise InputError(str(path), "a CSV file", "a workbook", _AS_CSV)
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        # Guessing the encoding could turn a dagger into a blank: a coefficient would lose its significance.
        raise InputError(f"{path.name} > line {line}", "text in UTF-8", "another encoding", _AS_CSV) from None
