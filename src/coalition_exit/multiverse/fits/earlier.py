"""Results of earlier runs, found by what a spec is and not by its number.

Hashes are kept on disk in buckets, sorted, so that looking one up takes no memory that grows with their number.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from coalition_exit.multiverse.fits.outcomes import PREFIX

if TYPE_CHECKING:
    import pyarrow as pa

_ENTRY = np.dtype([("high", "<u8"), ("low", "<u8"), ("part", "<u4"), ("row", "<u4")])
_BUCKETS = 256
_MOST_PARTS = 8
# Columns that belong to a run's numbering and not to a fit.
_OF_SPECS = ("spec", "specs")
_MOST_RECENT = 50_000


@dataclass(frozen=True, eq=False)
class Earlier:
    """Which specs are known, shape (U,), and their rows in the order asked for, None without any."""

    found: NDArray[np.bool_]
    table: pa.Table | None


class Recent:
    """What this process has fitted lately: a fit that returns under another number is not made again."""

    def __init__(self) -> None:
        self._tables: deque[tuple[Sequence[bytes], pa.Table]] = deque()
        self._places: dict[bytes, tuple[pa.Table, int]] = {}

    def add(self, keys: Sequence[bytes], table: pa.Table) -> None:
        """Keep the rows of some fits; the oldest ones go when there are too many."""
        if not len(keys):
            return
        self._tables.append((keys, table))
        self._places |= {key: (table, u) for u, key in enumerate(keys)}
        while len(self._places) > _MOST_RECENT and len(self._tables) > 1:
            for key in self._tables.popleft()[0]:
                del self._places[key]

    def find(self, keys: Sequence[bytes], n_focus: int) -> Earlier:
        """Look fits up, as `Known.find` does."""
        import pyarrow as pa

        found = np.array([key in self._places for key in keys], dtype=bool)
        by_table: dict[int, tuple[pa.Table, list[int], list[int]]] = {}
        for u in np.flatnonzero(found).tolist():
            table, row = self._places[keys[u]]
            own = by_table.setdefault(id(table), (table, [], []))
            own[1].append(row)
            own[2].append(u)
        pieces, order = [], list[int]()
        for table, places, asked in by_table.values():
            rows = (np.array(places)[:, None] * n_focus + np.arange(n_focus)).reshape(-1)
            pieces.append(table.take(pa.array(rows)))
            order += asked
        if not pieces:
            return Earlier(found, None)
        rows = (np.argsort(order)[:, None] * n_focus + np.arange(n_focus)).reshape(-1)
        return Earlier(found, pa.concat_tables(pieces).take(pa.array(rows)))


class Known:
    """The index of earlier results.

    Parameters
    ----------
    folder
        Where `build_index` wrote it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts = (folder / "parts.txt").read_text("utf-8").splitlines()
        self._tables: OrderedDict[int, pa.Table] = OrderedDict()

    def find(self, keys: Sequence[bytes], n_focus: int) -> Earlier:
        """Look specs up by their hashes; a spec has ``n_focus`` rows."""
        import pyarrow as pa

        high, low = _halves(keys)
        found = np.zeros(len(keys), dtype=bool)
        part, row = np.zeros(len(keys), dtype=np.int64), np.zeros(len(keys), dtype=np.int64)
        bucket = high >> np.uint64(56)
        for b in np.unique(bucket):
            own = np.flatnonzero(bucket == b)
            entries = self._bucket(int(b))
            firsts = np.ascontiguousarray(entries["high"])
            at = np.searchsorted(firsts, high[own])
            end = np.searchsorted(firsts, high[own], side="right")
            for u, begin, stop in zip(own, at, end, strict=True):
                for e in entries[begin:stop]:
                    if e["low"] == low[u]:
                        found[u], part[u], row[u] = True, e["part"], e["row"]
                        break
        pieces, places = [], []
        for p in np.unique(part[found]):
            own = np.flatnonzero(found & (part == p))
            rows = (row[own][:, None] + np.arange(n_focus)).reshape(-1)
            pieces.append(self._table(int(p)).take(pa.array(rows)))
            places.append(own)
        if not pieces:
            return Earlier(found, None)
        # From the order of the parts to the order asked for.
        order = np.argsort(np.concatenate(places))
        rows = (order[:, None] * n_focus + np.arange(n_focus)).reshape(-1)
        return Earlier(found, pa.concat_tables(pieces).take(pa.array(rows)))

    def _bucket(self, number: int) -> NDArray[np.void]:
        path = self.folder / f"{number:02x}.npy"
        return np.load(path) if path.is_file() else np.empty(0, dtype=_ENTRY)

    def _table(self, number: int) -> pa.Table:
        if number not in self._tables:
            while len(self._tables) >= _MOST_PARTS:
                self._tables.popitem(last=False)
            self._tables[number] = plain(read_part(self.folder.parent / self.parts[number]))
        self._tables.move_to_end(number)
        return self._tables[number]


def _halves(keys: Sequence[bytes]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the two halves of 16-byte hashes as numbers."""
    raw = np.frombuffer(b"".join(keys), dtype=">u8").astype(np.uint64).reshape(-1, 2)
    return raw[:, 0], raw[:, 1]


def read_part(path: Path) -> pa.Table:
    """Read one part."""
    import pyarrow.parquet as pq

    # As a file and not as a data set: names of folders are no columns.
    return pq.ParquetFile(path).read()


def plain(table: pa.Table) -> pa.Table:
    """Return a part without the specs' numbers and options, its texts as texts."""
    import pyarrow as pa

    names = [name for name in table.column_names if name not in _OF_SPECS and not name.startswith(PREFIX)]
    table = table.select(names)
    fields = [pa.field(f.name, pa.string() if pa.types.is_dictionary(f.type) else f.type) for f in table.schema]
    return table.cast(pa.schema(fields))


def build_index(parts: Sequence[Path], folder: Path, n_focus: int) -> bool:
    """Write the index of some parts below ``folder.parent``; tell whether there is anything in it."""
    import pyarrow.parquet as pq

    folder.mkdir(parents=True)
    names: list[str] = []
    for path in parts:
        try:
            keys = pq.ParquetFile(path).read(columns=["key"])
        except (OSError, ValueError):
            continue
        number = len(names)
        names.append(path.relative_to(folder.parent).as_posix())
        entries = np.empty(len(keys) // n_focus, dtype=_ENTRY)
        entries["high"], entries["low"] = _halves(keys["key"].to_pylist()[::n_focus])
        entries["part"], entries["row"] = number, np.arange(len(entries)) * n_focus
        bucket = (entries["high"] >> np.uint64(56)).astype(np.int64)
        for b in np.unique(bucket):
            with (folder / f"{b:02x}.raw").open("ab") as file:
                file.write(entries[bucket == b].tobytes())
    (folder / "parts.txt").write_text("\n".join(names), encoding="utf-8", newline="\n")
    for b in range(_BUCKETS):
        raw_path = folder / f"{b:02x}.raw"
        if raw_path.is_file():
            entries = np.frombuffer(raw_path.read_bytes(), dtype=_ENTRY)
            order = np.lexsort((entries["part"], entries["low"], entries["high"]))
            np.save(folder / f"{b:02x}.npy", entries[order])
            raw_path.unlink()
    return bool(names)
