"""What the ``data`` commands do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from coalition_exit.archive.fetch import BASE_URL, archive_path, fetch_archive
from coalition_exit.archive.read import VARIABLES, missing_variables, read_archive
from coalition_exit.coding.rules import Rule
from coalition_exit.panel.build import build_panel, default_variables, resolve_rules
from coalition_exit.panel.describe import count_panel, describe_variables, exits_by_mode
from coalition_exit.record.codebook import load_codebook
from coalition_exit.record.loading import load_record


@dataclass(frozen=True)
class Description:
    """What ``data describe`` shows."""

    note: str
    counts: pd.DataFrame
    exits: pd.DataFrame
    variables: pd.DataFrame
    tables: pd.DataFrame


def describe_data() -> Description:
    """Build the panel under the article's rules and describe it."""
    record = load_record()
    panel = build_panel(record)
    codebook = load_codebook()
    rules = resolve_rules(default_variables())
    rows = [(name, table.label, len(record[name]), *_graded(record[name])) for name, table in codebook.tables.items()]
    return Description(
        note=f"{record.status}; record SHA-256 {record.sha256}",
        counts=count_panel(panel),
        exits=exits_by_mode(record, panel),
        variables=_explain(describe_variables(panel, rules), rules),
        tables=pd.DataFrame(rows, columns=["table", "holds", "rows", *_GRADES]),
    )


_GRADES = ("high", "medium", "low")


def _graded(table: pd.DataFrame) -> tuple[str, ...]:
    """Count the rows of each confidence; empty for tables without."""
    if "confidence" not in table:
        return ("",) * len(_GRADES)
    return tuple(str(int((table["confidence"] == grade).sum())) for grade in _GRADES)


def _explain(variables: pd.DataFrame, rules: Mapping[str, Rule]) -> pd.DataFrame:
    """Put the parameters' values into the meanings."""
    meanings = [
        rules[row.variable].explained if row.variable in rules else row.meaning
        for row in variables.itertuples(index=False)
    ]
    return variables.assign(meaning=meanings)


def check_data(folder: str | None) -> str:
    """Check a record folder against the codebook; raises on the first fault."""
    record = load_record(folder)
    rows = sum(len(record[name]) for name in record)
    return f"{record.folder}: {len(record.tables)} tables, {rows} rows, no fault found. SHA-256 {record.sha256}"


def export_data(path: Path) -> str:
    """Write the panel under the article's rules, and say what was written."""
    from coalition_exit.panel.export import FORMATS, export_panel

    if path.suffix not in FORMATS:
        # Refused in its own words, before seconds are spent on the panel.
        export_panel(pd.DataFrame(), path)
    panel = build_panel()
    written = export_panel(panel, path, resolve_rules(default_variables()))
    return f"{written}: {len(panel)} rows, {len(panel.columns)} columns ({panel.attrs['note']})"


def fetch_data(base_url: str = BASE_URL, progress: Callable[[int, int], None] | None = None) -> str:
    """Get the author's deposited file, verify it, and say what was received."""
    received = fetch_archive(base_url=base_url, progress=progress)
    checksum = {
        "agrees": "the listed checksum agrees",
        "not comparable": "the listed checksum is that of another form of the file, and cannot be compared",
    }.get(received.checksum, received.checksum)
    file = read_archive(received.path)
    lacking = missing_variables(file.frame, {"the article": [*VARIABLES]})
    said = [
        f"{received.path}: {received.size:,} bytes from {received.doi}, SHA-256 {received.sha256} ({checksum})",
        f"{file.format}, {len(file.frame):,} rows, {len(file.frame.columns)} variables",
    ]
    if lacking:
        said.append(f"It lacks variables that some exhibit uses: {', '.join(lacking.needed_by)}")
    said.append("It is used from now on; --data record shows the package's own record")
    return "\n".join(said)


def archive_status() -> str:
    """Say where the author's file is kept, and whether it is there."""
    path = archive_path()
    return f"{path}{'' if path.is_file() else ' (not fetched yet: coalition-exit data fetch)'}"
