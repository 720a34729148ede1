"""The folder of a run: parts as they are done, each written whole or not at all, and the final table.

``multiverse.json`` says what the run was made from; ``parts/PLAN/NUMBER.parquet`` are the units of work that are done,
PLAN a hash of all that bears on them; ``specs.parquet`` is made of the parts at the end. The refits of a joint test are
kept the same way in ``null_parts``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coalition_exit import provenance
from coalition_exit.errors import DataError
from coalition_exit.multiverse.choices.space import Multiverse
from coalition_exit.multiverse.fits import backend
from coalition_exit.multiverse.fits.code import code_digest
from coalition_exit.multiverse.fits.earlier import build_index, read_part
from coalition_exit.multiverse.null.draws import Drawn
from coalition_exit.multiverse.null.refits import CODE

FORMAT = 1
MANIFEST, TABLE = "multiverse.json", "specs.parquet"
PARTS, NULL_PARTS = "parts", "null_parts"
_SMALLEST, _LARGEST, _CHUNKS = 200, 5_000, 24
# A unit of a joint test: so many specs in so many draws.
_SMALLEST_NULL, _LARGEST_NULL, _BLOCK = 50, 500, 100


@dataclass(frozen=True)
class Plan:
    """What a run is made from: everything on which its parts depend.

    Attributes
    ----------
    fingerprint
        Hash of it all.
    size, chunk
        Combinations, and how many of them are a unit of work.
    details
        For the manifest.
    replicates, block
        Draws of a joint test, and how many of them are a unit of work; 0 for the fits.
    """

    fingerprint: str
    size: int
    chunk: int
    details: dict[str, Any]
    replicates: int = 0
    block: int = 1

    @property
    def units(self) -> int:
        """Number of units of work."""
        return -(-self.size // self.chunk) * max(self._blocks, 1)

    @property
    def _blocks(self) -> int:
        return -(-self.replicates // self.block)

    def bounds(self, number: int) -> tuple[int, int]:
        """Return the first combination of a unit and the one after its last."""
        chunk = number // max(self._blocks, 1)
        return chunk * self.chunk, min((chunk + 1) * self.chunk, self.size)

    def draws(self, number: int) -> tuple[int, int]:
        """Return the first draw of a unit and the one after its last."""
        first = number % max(self._blocks, 1) * self.block
        return first, min(first + self.block, self.replicates)

    def amount(self, number: int) -> int:
        """Return how much work a unit is: combinations, or combinations times draws."""
        (low, high), (first, last) = self.bounds(number), self.draws(number)
        return (high - low) * max(last - first, 1)

    @property
    def total(self) -> int:
        """All of the work."""
        return self.size * max(self.replicates, 1)


def make_plan(multiverse: Multiverse, source_sha256: str) -> Plan:
    """Return the plan of a run; the size of a chunk does not depend on the number of workers."""
    size = multiverse.space.size
    chunk = min(max(-(-size // _CHUNKS), _SMALLEST), _LARGEST)
    details = {
        "format": FORMAT,
        "table": multiverse.spec.table,
        "specification_sha256": multiverse.spec.sha256,
        "choices_sha256": multiverse.file.sha256,
        "data_sha256": source_sha256,
        "code_sha256": code_digest(),
        "backend": backend.name(),
        "versions": provenance.versions(),
        "combinations": size,
        "chunk": chunk,
    }
    text = json.dumps(details, sort_keys=True)
    return Plan(hashlib.sha256(text.encode()).hexdigest(), size, chunk, details)


def make_null_plan(fits: Plan, replicates: int, seed: int, drawn: Drawn) -> Plan:
    """Return the plan of a joint test; its units do not depend on the number of workers."""
    chunk = min(max(-(-fits.size // _CHUNKS), _SMALLEST_NULL), _LARGEST_NULL)
    labels = hashlib.sha256(repr(drawn.labels.tolist()).encode()).hexdigest()
    details = {
        "fits": fits.fingerprint, "code_sha256": code_digest(CODE), "replicates": replicates, "seed": seed,
        "by": drawn.by, "clusters_sha256": labels, "chunk": chunk, "block": _BLOCK,
    }  # fmt: skip
    text = json.dumps(details, sort_keys=True)
    return Plan(hashlib.sha256(text.encode()).hexdigest(), fits.size, chunk, details, replicates, _BLOCK)


class Store:
    """One run's folder.

    Parameters
    ----------
    folder
        The run's folder; made if it is not there.
    plan
        What the run is made from.
    kind
        Name of the folder with the parts.

    Raises
    ------
    DataError
        When the folder cannot be used.
    """

    def __init__(self, folder: str | Path, plan: Plan, kind: str = PARTS) -> None:
        self.folder, self.plan = Path(folder), plan
        self.kept = self.folder / kind
        self.parts = self.kept / plan.fingerprint[:16]
        self.index = self.kept / "earlier"
        try:
            self.parts.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(str(folder), "a folder that can be written to", str(error.strerror)) from None

    def path(self, number: int) -> Path:
        """Return the path of a unit's part."""
        return self.parts / f"{number:08d}.parquet"

    def clear(self) -> None:
        """Remove the parts of this plan."""
        shutil.rmtree(self.parts, ignore_errors=True)
        self.parts.mkdir(parents=True, exist_ok=True)

    def missing(self) -> Iterator[int]:
        """Go through the units that are not done."""
        return (number for number in range(self.plan.units) if not self.path(number).is_file())

    def write(self, number: int, content: bytes) -> None:
        """Write a part: it appears under its name only when all of it is on the disk."""
        write_whole(self.path(number), content)

    def index_earlier(self, n_focus: int) -> Path | None:
        """Index the parts of other plans, whose specs may be the same; None if there are none."""
        shutil.rmtree(self.index, ignore_errors=True)
        others = sorted(p for p in self.kept.glob("*/*.parquet") if p.parent != self.parts)
        if not others:
            return None
        return self.index if build_index(others, self.index, n_focus) else None

    def write_manifest(self, more: dict[str, Any]) -> None:
        """Write what the run was made from."""
        text = json.dumps({**self.plan.details, "plan": self.plan.fingerprint, **more}, indent=2, sort_keys=True)
        write_whole(self.folder / MANIFEST, (text + "\n").encode())

    def finish(self) -> Path:
        """Join the parts in order into the final table; parts of other plans are removed."""
        import pyarrow.parquet as pq

        path = self.folder / TABLE
        temporary = path.with_name(f"{TABLE}.{os.getpid()}.tmp")
        writer = None
        try:
            for number in range(self.plan.units):
                table = read_part(self.path(number))
                if writer is None:
                    writer = pq.ParquetWriter(temporary, table.schema, compression="zstd")
                if len(table):
                    writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()
        temporary.replace(path)
        self.tidy()
        return path

    def tidy(self) -> None:
        """Remove the parts of other plans."""
        shutil.rmtree(self.index, ignore_errors=True)
        for other in self.kept.iterdir():
            if other != self.parts:
                shutil.rmtree(other, ignore_errors=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, whatever happens meanwhile."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
