"""Reading a data file as it stands: Stata, CSV or Parquet, with its hash and what the reader should know."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from coalition_exit.errors import InputError, nearest, one_of, shown

# What a CSV file may have in place of a number: nothing, Stata's missing values, and R's and pandas' words for them.
MISSING_WORDS = ("", ".", *(f".{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"), "NA", "NaN", "nan")
_TAB_HINT = (
    "Dataverse's tab-separated copy has lost Stata's storage types: take the original file "
    "(coalition-exit data fetch gets it)"
)
_OTHER = {
    ".tab": _TAB_HINT,
    ".tsv": "Save it with commas, or as .dta or .parquet",
    ".gz": "Unpack it first",
    ".zip": "Unpack it first",
    ".do": "This is Stata's program, not its data",
    ".xlsx": "Save the sheet as CSV (comma-separated)",
    ".xls": "Save the sheet as CSV (comma-separated)",
}
_MODERN = re.compile(rb"<stata_dta><header><release>(\d{3})</release>")
_OLD = range(102, 116)
_HEADS = {b"PAR1": "a Parquet file", b"PK\x03\x04": "a zip or Excel file", b"\x1f\x8b": "a gzip file"}
_RAGGED = re.compile(r"Expected \d+ columns, got \d+:")
# Before version 113 (Stata 8) an integer type had one missing value, its largest.
_ONE_MISSING = 113
_LARGEST = (127, 32_767, 2_147_483_647)
_OLD_DOUBLE_MISSING = 2.0**333


@dataclass(frozen=True, eq=False)
class DataFile:
    """A data file as it was read.

    Attributes
    ----------
    frame : DataFrame
        The rows in the file's order; columns as named there.
    path : Path
    sha256 : str
        Of the very bytes that were read.
    format : str
        "Stata 118", "CSV", "Parquet".
    notes : tuple of str
        What a reader should know; sentences without a full stop.
    """

    frame: pd.DataFrame
    path: Path
    sha256: str
    format: str
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Parsed:
    frame: pd.DataFrame
    format: str
    notes: list[str]


def read_data_file(path: str | Path) -> DataFile:
    """Read a .dta, .csv or .parquet file.

    Stata's value labels are not applied (the codes are kept) and its dates stay numbers; single
    precision stays single precision; ``.`` and ``.a`` to ``.z`` are missing. CSV is comma-separated
    with a header; `MISSING_WORDS` are missing in columns of numbers.

    Raises
    ------
    InputError
        One line: no such file, a folder, another type of file than its ending says, a damaged or
        empty file, a name used twice, a Stata file too old to be read with certainty.
    """
    path = Path(path)
    read = _reader(path)
    content = _bytes(path)
    place = str(path)
    if not content.strip():
        raise InputError(place, "a file with data", "an empty file")
    parsed = read(content, place)
    names = [str(name) for name in parsed.frame.columns]
    twice = [name for n, name in enumerate(names) if name in names[:n]]
    if twice:
        raise InputError(f"{place}, header", "each variable once", f"{shown(twice[0])} twice")
    if not len(parsed.frame):
        raise InputError(place, "rows of data", "none", f"The file has {len(names)} variables and no row")
    parsed.frame.columns = pd.Index(names)
    sha256 = hashlib.sha256(content).hexdigest()
    return DataFile(parsed.frame, path, sha256, parsed.format, tuple(parsed.notes))


def stata_version(content: bytes) -> int | None:
    """Return the format version of a Stata file from its first bytes; None if it is none."""
    modern = _MODERN.match(content)
    if modern is not None:
        return int(modern[1])
    return content[0] if len(content) > 1 and content[0] in _OLD and content[1] in (1, 2) else None


def _reader(path: Path) -> Callable[[bytes, str], _Parsed]:
    suffix = path.suffix.lower()
    if suffix in _READERS:
        return _READERS[suffix]
    got = f"a name ending in {shown(path.suffix)}" if suffix else "a name without ending"
    if path.is_dir():
        got = "a folder"
    elif not path.exists():
        got = "no such file"
    hint = _OTHER.get(suffix, "")
    raise InputError(str(path), f"a data file that ends in {one_of(_READERS)}", got, hint or nearest(suffix, _READERS))


def _bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise InputError(str(path), "a data file", "a folder")
        return path.read_bytes()
    except FileNotFoundError:
        folder = path.parent
        beside = [p.name for p in sorted(folder.iterdir())] if folder.is_dir() else []
        hint = nearest(path.name, beside) if folder.is_dir() else f"There is no folder {folder}"
        raise InputError(str(path), "a data file", "no such file", hint) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(str(path), "a data file that can be read", reason.lower()) from None


def _kind(content: bytes) -> str:
    """Say what the bytes look like, for messages."""
    if stata_version(content) is not None:
        return "a Stata file"
    for head, kind in _HEADS.items():
        if content.startswith(head):
            return kind
    start = content[:4096]
    if start.lstrip()[:1] == b"<":
        return "a web page"
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16 (Excel's 'Unicode text')"
    if b"\0" in start:
        return "binary data of another kind"
    return "tab-separated text" if b"\t" in start.partition(b"\n")[0] else "text"


def _read_stata(content: bytes, place: str) -> _Parsed:
    version = stata_version(content)
    if version is None:
        kind = _kind(content)
        raise InputError(place, "a Stata file", kind, _TAB_HINT if kind.startswith("tab") else "")
    if version >= 117 and not content[-64:].rstrip().endswith(b"</stata_dta>"):
        raise InputError(place, "a whole Stata file", f"one cut short, of {len(content)} bytes", "Get the file again")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            frame, n_labels = _stata_frame(content)
            _refuse_ambiguous(content, version, frame, place)
        except InputError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise InputError(place, "a whole Stata file", f"one that cannot be read ({reason})") from None
    notes = [f"{n_labels} sets of value labels not applied: codes are kept"] if n_labels else []
    notes += list(dict.fromkeys(" ".join(str(w.message).split())[:160] for w in caught))
    return _Parsed(frame, f"Stata {version}", notes)


def _stata_frame(content: bytes) -> tuple[pd.DataFrame, int]:
    reader = pd.read_stata(
        io.BytesIO(content), convert_categoricals=False, convert_dates=False, preserve_dtypes=True, iterator=True
    )
    with reader:
        frame = reader.read()
        # Read though not applied: they stand at the end of the file, and are missed when it is cut short.
        return frame, len(reader.value_labels())


def _refuse_ambiguous(content: bytes, version: int, frame: pd.DataFrame, place: str) -> None:
    """Refuse a file of Stata 7 or before in which pandas takes a value for missing, or the reverse.

    pandas before 3.0 applies today's missing values to those files, in which the largest value
    alone was missing (pandas issues 58130 and 58149).
    """
    if version >= _ONE_MISSING or int(pd.__version__.partition(".")[0]) >= 3:
        return
    raw = pd.read_stata(io.BytesIO(content), convert_categoricals=False, convert_dates=False, convert_missing=True)
    for name in frame.columns:
        codes = {float(value.value) for value in raw[name] if hasattr(value, "value")}
        whole = {code for code in codes if code <= _LARGEST[-1]}
        wide = frame[name].dtype == "float64" and bool((frame[name] == _OLD_DOUBLE_MISSING).any())
        if not whole <= set(_LARGEST) or wide:
            hint = "Open it in a newer Stata, or with R's haven, and save it again"
            got = f"version {version}, whose missing values in {shown(str(name))} are not certain"
            raise InputError(place, f"a Stata file of version {_ONE_MISSING} or later", got, hint)


def _read_csv(content: bytes, place: str) -> _Parsed:
    import pyarrow as pa
    from pyarrow import csv as pyarrow_csv

    _check_commas(content, place)
    notes = []
    if not content.endswith((b"\n", b"\r")):
        notes.append("the last line has no end: the file may have been cut short")
    encoding = "utf-8"
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        encoding = "latin-1"
        notes.append("the text is not UTF-8: read as Latin-1")
    try:
        table = pyarrow_csv.read_csv(
            io.BytesIO(content),
            read_options=pyarrow_csv.ReadOptions(encoding=encoding),
            convert_options=pyarrow_csv.ConvertOptions(
                null_values=list(MISSING_WORDS),
                strings_can_be_null=False,
                # Dates and times are nowhere in the schema, and would be found in texts by chance.
                timestamp_parsers=[],
            ),
        )
    except pa.ArrowInvalid as error:
        raise _csv_error(place, str(error), content) from None
    frame = table.rename_columns([name.strip() for name in table.column_names]).to_pandas()
    return _Parsed(frame, "CSV", notes)


def _csv_error(place: str, reason: str, content: bytes) -> InputError:
    """Return the error with the line of the first row that is longer or shorter than the header."""
    if _RAGGED.search(reason) is None:
        return InputError(place, "comma-separated text", " ".join(reason.split())[:120])
    reader = csv.reader(io.StringIO(content.decode("utf-8-sig", errors="replace"), newline=""))
    heads: list[str] = []
    begins = 1
    for cells in reader:
        heads = heads or cells
        if cells and len(cells) != len(heads):
            hint = "" if len(heads) > 1 else "The names of the columns stand in the first line, with nothing before it"
            if len(cells) > len(heads) > 1:
                hint = "A decimal comma or a text with a comma needs quotation marks; decimals are best with a point"
            expected = f"{len(heads)} values, as in the header"
            return InputError(
                f"{place}, line {begins}", expected, f"{len(cells)} in {shown(','.join(cells), 60)}", hint
            )
        begins = reader.line_num + 1
    return InputError(place, "as many values in every row as in the header", "other numbers of them")


def _check_commas(content: bytes, place: str) -> None:
    """Refuse what is not comma-separated text."""
    kind = _kind(content)
    if not kind.endswith("text"):
        raise InputError(place, "comma-separated text in UTF-8", kind)
    header = content.lstrip(b"\xef\xbb\xbf\r\n").splitlines()[0]
    if b"," not in header:
        for sign, name in ((b"\t", "tabs"), (b";", "semicolons"), (b"|", "bars")):
            if sign in header:
                hint = _TAB_HINT if sign == b"\t" else "Save it with commas and decimal points, or as .dta or .parquet"
                raise InputError(f"{place}, header", "names separated by commas", f"{name} between them", hint)


def _read_parquet(content: bytes, place: str) -> _Parsed:
    import pyarrow as pa
    from pyarrow import parquet

    if not content.startswith(b"PAR1"):
        raise InputError(place, "a Parquet file", _kind(content))
    try:
        file = parquet.ParquetFile(pa.BufferReader(content))
        names: Sequence[str] = file.schema_arrow.names
        twice = [name for n, name in enumerate(names) if name in names[:n]]
        # An index that pandas stored is a column like any other.
        frame = pd.DataFrame(columns=list(names)) if twice else file.read().to_pandas(ignore_metadata=True)
    except (pa.ArrowException, OSError) as error:
        reason = re.sub(r"\s+", " ", str(error))[:120]
        raise InputError(place, "a whole Parquet file", f"one that cannot be read ({reason})") from None
    return _Parsed(frame, "Parquet", [])


_READERS: dict[str, Callable[[bytes, str], _Parsed]] = {
    ".dta": _read_stata,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
