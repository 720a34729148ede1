"""Units of work to whoever does them: this process, workers on this machine, or a cluster."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass

from coalition_exit.errors import DataError
from coalition_exit.multiverse.fits.earlier import Known
from coalition_exit.multiverse.fits.engine import Engine
from coalition_exit.multiverse.runs.store import Store
from coalition_exit.multiverse.runs.work import Job, run_unit, to_bytes
from coalition_exit.processes import worker_pool

# A worker that dies takes the pool with it; that often in a row without a finished unit, the cause is the work.
_MOST_CRASHES = 3
_CAUSES = "Too little memory for that many, or a script without \"if __name__ == '__main__':\" around the call"
_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes
    ----------
    done, total
        Combinations done, earlier runs' included, and all of them; in a joint test combinations times draws.
    rate
        The same a second, in this run.
    seconds_left
        At that rate.
    """

    done: int
    total: int
    rate: float
    seconds_left: float


def work_through(
    job: Job, engine: Engine, store: Store, jobs: int, scheduler: str | None, tell: Callable[[Progress], None] | None
) -> int:
    """Do what is missing and write it; return how many units that were.

    Parameters
    ----------
    job, engine
        What to run, and what runs it in this process.
    store
        What there is, and where it goes.
    jobs, scheduler
        Worker processes; address of a Dask cluster in place of them.
    tell
        Called after every unit.

    Raises
    ------
    DataError
        When workers keep dying, or the cluster does not answer.
    """
    if scheduler:
        from coalition_exit.multiverse.runs.cluster import run_on_cluster

        finished = run_on_cluster(job, store, scheduler)
    elif jobs == 1:
        known = Known(store.index) if job.earlier else None
        finished = ((n, to_bytes(engine, known, job.draws, *_bounds(store, n))) for n in store.missing())
    else:
        finished = _run_local(job, store, jobs)
    meter = _Meter(store, tell)
    with closing(finished):
        for number, content in finished:
            store.write(number, content)
            meter.add(number)
    return meter.units


def _bounds(store: Store, number: int) -> tuple[int, int, int, int]:
    return *store.plan.bounds(number), *store.plan.draws(number)


class _Meter:
    """Counts what is done and tells how long the rest will take."""

    def __init__(self, store: Store, progress: Callable[[Progress], None] | None) -> None:
        self.plan, self.tell, self.units = store.plan, progress, 0
        self.done = self.plan.total - sum(map(self.plan.amount, store.missing()))
        self.before, self.begin = self.done, time.monotonic()

    def add(self, number: int) -> None:
        self.done += self.plan.amount(number)
        self.units += 1
        if self.tell is not None:
            rate = (self.done - self.before) / max(time.monotonic() - self.begin, 1e-9)
            self.tell(Progress(self.done, self.plan.total, rate, (self.plan.total - self.done) / rate))


def _run_local(job: Job, store: Store, jobs: int) -> Generator[tuple[int, bytes], None, None]:
    """Yield finished units from worker processes; a worker that dies costs its unit only, which is done again."""
    todo = store.missing()
    again: list[int] = []
    crashes = 0
    while True:
        running: dict[Future[bytes], int] = {}
        try:
            with _one_thread(), worker_pool(jobs) as pool:
                while True:
                    while len(running) < 2 * jobs:
                        number = again.pop() if again else next(todo, None)
                        if number is None:
                            break
                        running[pool.submit(run_unit, job, *_bounds(store, number))] = number
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
                raise DataError(numbers, "workers that finish", f"{crashes} that died", _CAUSES) from None


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
