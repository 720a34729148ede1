"""The codebook: what each table and column of the record holds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

# Stands in deployments for troops on no front; it is never a common front.
NO_FRONT = "none"


@dataclass(frozen=True)
class Column:
    """One column of a table, as the codebook states it."""

    name: str
    type: str
    meaning: str
    optional: bool = False
    values: tuple[Any, ...] | None = None
    min: float | None = None
    max: float | None = None


@dataclass(frozen=True)
class Table:
    """One table of the record: its columns, its key and the tables it refers to."""

    name: str
    label: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    refs: tuple[tuple[tuple[str, ...], str], ...] = ()

    @property
    def column_names(self) -> list[str]:
        return [column.name for column in self.columns]


@dataclass(frozen=True)
class Codebook:
    """All tables, and the sentence that says what the record is."""

    status: str
    scope: str
    tables: dict[str, Table]


def _column(name: str, entry: dict[str, Any]) -> Column:
    values = entry.get("values")
    return Column(
        name=name,
        type=entry["type"],
        meaning=" ".join(str(entry["meaning"]).split()),
        optional=bool(entry.get("optional", False)),
        values=tuple(values) if values is not None else None,
        min=entry.get("min"),
        max=entry.get("max"),
    )


def _table(name: str, entry: dict[str, Any], shared: dict[str, Any]) -> Table:
    columns = dict(entry["columns"])
    if entry.get("coded"):
        columns |= shared
    refs = tuple(
        (tuple(part.strip() for part in columns_.split(",")), target)
        for columns_, target in entry.get("refs", {}).items()
    )
    return Table(
        name=name,
        label=entry["label"],
        key=tuple(entry["key"]),
        columns=tuple(_column(key, value) for key, value in columns.items()),
        refs=refs,
    )


@cache
def load_codebook() -> Codebook:
    """Read the codebook that ships with the package."""
    text = resources.files("coalition_exit.record").joinpath("codebook.yaml").read_text("utf-8")
    entry = yaml.safe_load(text)
    shared = entry["shared"]
    return Codebook(
        status=entry["status"],
        scope=" ".join(entry["scope"].split()),
        tables={name: _table(name, value, shared) for name, value in entry["tables"].items()},
    )
