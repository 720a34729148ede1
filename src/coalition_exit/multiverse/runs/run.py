"""Running a multiverse: chunks to workers, parts to disk, going on where an earlier run stopped."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

from coalition_exit.errors import DataError
from coalition_exit.multiverse.choices.space import Multiverse
from coalition_exit.multiverse.fits.earlier import Known
from coalition_exit.multiverse.runs.store import TABLE, Store, make_plan
from coalition_exit.multiverse.runs.work import Job, follow_parent, open_job, run_chunk, to_bytes
from coalition_exit.specs.yaml_file import read_yaml

# A worker that dies takes the pool with it; that often in a row without a finished chunk, the cause is the work.
_MOST_CRASHES = 3
_MOST_LISTED = 1000
_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes
    ----------
    done, total
        Combinations done, earlier runs' included, and all of them.
    rate
        Combinations a second in this run.
    seconds_left
        At that rate; infinite before the first chunk.
    """

    done: int
    total: int
    rate: float
    seconds_left: float


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
    if scheduler:
        from coalition_exit.multiverse.runs.cluster import run_on_cluster

        finished = run_on_cluster(job, store, scheduler)
    elif jobs == 1:
        finished = ((n, to_bytes(engine, *plan.bounds(n), Known(index) if index else None)) for n in store.missing())
    else:
        finished = _run_local(job, store, jobs)
    meter = _Meter(store, progress)
    for number, content in finished:
        store.write(number, content)
        meter.add(number)
    table = store.finish()
    specs, failed = _summary(table, len(multiverse.choices.focus))
    store.write_manifest({**about, "complete": True, "specs": specs, "failed": failed})
    return MultiverseRun(table, specs, failed, meter.chunks, engine.source.note)


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


class _Meter:
    """Counts what is done and tells how long the rest will take."""

    def __init__(self, store: Store, progress: Callable[[Progress], None] | None) -> None:
        self.plan, self.tell, self.chunks = store.plan, progress, 0
        left = sum(high - low for low, high in map(self.plan.bounds, store.missing()))
        self.done = self.plan.size - left
        self.before, self.begin = self.done, time.monotonic()

    def add(self, number: int) -> None:
        low, high = self.plan.bounds(number)
        self.done += high - low
        self.chunks += 1
        if self.tell is not None:
            rate = (self.done - self.before) / max(time.monotonic() - self.begin, 1e-9)
            self.tell(Progress(self.done, self.plan.size, rate, (self.plan.size - self.done) / rate))


def _run_local(job: Job, store: Store, jobs: int) -> Iterator[tuple[int, bytes]]:
    """Yield finished chunks from worker processes; a worker that dies costs its chunk only, which is done again."""
    todo = store.missing()
    again: list[int] = []
    crashes = 0
    while True:
        running: dict[Future[bytes], int] = {}
        with _one_thread(), ProcessPoolExecutor(jobs, get_context("spawn"), follow_parent) as pool:
            try:
                while True:
                    while len(running) < 2 * jobs:
                        number = again.pop() if again else next(todo, None)
                        if number is None:
                            break
                        running[pool.submit(run_chunk, job, *store.plan.bounds(number))] = number
                    if not running:
                        return
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        content = future.result()
                        crashes = 0
                        yield running.pop(future), content
            except BrokenProcessPool:
                crashes += 1
                again += running.values()
                if crashes >= _MOST_CRASHES:
                    numbers = f"specs {store.plan.bounds(min(again))[0]} and after"
                    raise DataError(numbers, "workers that finish", f"{crashes} that died", "Memory?") from None
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


@contextmanager
def _one_thread() -> Iterator[None]:
    """Give workers one thread each for linear algebra: they inherit it when they start."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


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
