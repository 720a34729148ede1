"""What a worker process does: one chunk at a time, from numbers to the bytes of a Parquet file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from coalition_exit.errors import DataError
from coalition_exit.multiverse.choices.space import Multiverse, load_multiverse
from coalition_exit.multiverse.fits.earlier import Known
from coalition_exit.multiverse.fits.engine import Engine
from coalition_exit.multiverse.null.draws import Drawn
from coalition_exit.multiverse.null.refits import null_part
from coalition_exit.multiverse.runs.store import make_null_plan, make_plan
from coalition_exit.runner.sources import Sources


@dataclass(frozen=True)
class Draws:
    """The draws of a joint test, in a form that travels: column, names of the clusters, number and seed."""

    by: str
    labels: tuple[Any, ...]
    replicates: int
    seed: int


@dataclass(frozen=True)
class Job:
    """All that a worker needs, in a form that travels.

    Attributes
    ----------
    path
        The specification's file.
    text
        Its text, for workers that do not see the file.
    data
        Data source as the user asked for it.
    plan
        Fingerprint that the worker must arrive at, else its numbers would be of something else.
    earlier
        Folder with the index of earlier results, or "".
    draws
        What is drawn in a joint test; None for the fits.
    """

    path: str
    text: bytes
    data: str
    plan: str
    earlier: str = ""
    draws: Draws | None = None


_engines: dict[Job, tuple[Engine, Known | None]] = {}


def open_job(job: Job) -> tuple[Multiverse, Engine]:
    """Load the specification and the data of a job.

    Raises
    ------
    DataError
        When specification, data or code are not those of the run.
    """
    multiverse = _load(job)
    source = Sources(job.data).for_spec(multiverse.spec)
    plan = make_plan(multiverse, source.sha256)
    if job.draws is not None and job.plan:
        drawn = Drawn(job.draws.by, pd.Index(job.draws.labels))
        plan = make_null_plan(plan, job.draws.replicates, job.draws.seed, drawn)
    if job.plan and plan.fingerprint != job.plan:
        expected = "the specification, data, package and versions of the run"
        raise DataError("worker", expected, "others", "Install the same versions and record on every worker")
    return multiverse, Engine(multiverse, source)


def _load(job: Job) -> Multiverse:
    path = Path(job.path)
    if job.path and path.is_file() and path.read_bytes() == job.text:
        return load_multiverse(path)
    return load_multiverse(job.text, job.path or "specification")


def run_unit(job: Job, low: int, high: int, first: int, last: int) -> bytes:
    """Return the part of some specs, from low to high (exclusive), as the bytes of a Parquet file.

    In a joint test ``first`` and ``last`` (exclusive) are the draws.
    """
    if job not in _engines:
        _engines.clear()
        folder = Path(job.earlier)
        known = Known(folder) if job.earlier and folder.is_dir() else None
        _engines[job] = (open_job(job)[1], known)
    return to_bytes(*_engines[job], job.draws, low, high, first, last)


def to_bytes(
    engine: Engine, known: Known | None, draws: Draws | None, low: int, high: int, first: int, last: int
) -> bytes:
    """Run a unit of work and return it as the bytes of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if draws is None:
        table = engine.run(low, high, known)
    else:
        drawn = Drawn(draws.by, pd.Index(draws.labels))
        copies = drawn.copies(draws.replicates, draws.seed)[first:last]
        table = null_part(engine, drawn, copies, engine.multiverse.space.allowed(low, high), known)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()
