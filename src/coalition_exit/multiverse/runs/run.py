"""Running a multiverse: chunks to workers, parts to disk, going on where an earlier run stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from coalition_exit.errors import DataError
from coalition_exit.multiverse.choices.space import Multiverse
from coalition_exit.multiverse.runs.pool import Progress, work_through
from coalition_exit.multiverse.runs.store import TABLE, Store, make_plan
from coalition_exit.multiverse.runs.work import Job, open_job
from coalition_exit.specs.yaml_file import read_yaml

_MOST_LISTED = 1000


@dataclass(frozen=True)
class MultiverseRun:
    """A finished run.

    Attributes
    ----------
    table
        Path of ``specs.parquet``.
    specs
        Specs in it.
    failed
        Those without an estimate.
    chunks_run
        Chunks that this run did; the others were there.
    source
        What the data are.
    """

    table: Path
    specs: int
    failed: int
    chunks_run: int
    source: str


def run_multiverse(
    path: str | Path,
    out: str | Path,
    data: str = "auto",
    *,
    jobs: int = 1,
    resume: bool = False,
    scheduler: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> MultiverseRun:
    """Run every spec of a specification with choices.

    Parameters
    ----------
    path
        The specification.
    out
        Folder of the run.
    data
        As for `run_spec`: "auto", "record", "archive", a file or a folder.
    jobs
        Worker processes; 1 runs in this one.
    resume
        Go on where an earlier run in that folder stopped. Without it the chunks of the same plan are done anew.
        Specs of an earlier plan that are the same are used again either way.
    scheduler
        Address of a Dask cluster, e.g. "tcp://host:8786", in place of worker processes.
    progress
        Called after every chunk.

    Returns
    -------
    MultiverseRun

    Raises
    ------
    InputError
        The specification, the data or the folder cannot be used. A spec that cannot be estimated does not
        raise: it is a row with its reason.
    """
    if jobs < 1:
        raise DataError("jobs", "a whole number from 1 on", repr(jobs))
    file = read_yaml(path)
    job = Job(str(path), file.raw, data, "")
    multiverse, engine = open_job(job)
    plan = make_plan(multiverse, engine.source.sha256)
    store = Store(out, plan)
    if not resume:
        store.clear()
    index = store.index_earlier(len(multiverse.choices.focus))
    job = replace(job, plan=plan.fingerprint, earlier=str(index.resolve()) if index else "")
    about = {"reference": multiverse.space.reference, "decisions": _about(multiverse), "source": engine.source.note}
    store.write_manifest({**about, "complete": False})
    chunks = work_through(job, engine, store, jobs, scheduler, progress)
    table = store.finish()
    specs, failed = _summary(table, len(multiverse.choices.focus))
    store.write_manifest({**about, "complete": True, "specs": specs, "failed": failed})
    return MultiverseRun(table, specs, failed, chunks, engine.source.note)


def _about(multiverse: Multiverse) -> list[dict[str, object]]:
    """Return the decisions for the manifest; of very many options, only how many there are."""
    return [
        {
            "name": d.name, "label": d.label, "kind": d.kind, "n_options": len(d.options),
            "options": [option.name for option in d.options] if len(d.options) <= _MOST_LISTED else None,
            "reference": d.options[d.reference].name,
        }
        for d in multiverse.space.decisions
    ]  # fmt: skip


def _summary(table: Path, n_focus: int) -> tuple[int, int]:
    """Return the number of specs and of those without an estimate, a row group at a time."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    file = pq.ParquetFile(table)
    rows, failed = 0, 0
    for group in range(file.num_row_groups):
        converged = file.read_row_group(group, columns=["converged"])["converged"]
        rows += len(converged)
        failed += pc.sum(pc.invert(converged)).as_py() or 0
    return rows // n_focus, failed // n_focus


__all__ = ["TABLE", "MultiverseRun", "Progress", "run_multiverse"]
