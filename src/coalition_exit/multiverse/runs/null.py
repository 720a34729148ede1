"""The curves under the null of a finished run: resumable, and with workers, as the run itself."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from coalition_exit.errors import DataError
from coalition_exit.multiverse.fits.earlier import read_part
from coalition_exit.multiverse.null.curves import NullCurves, check_replicates, join_parts
from coalition_exit.multiverse.null.draws import find_clusters
from coalition_exit.multiverse.runs.pool import Progress, work_through
from coalition_exit.multiverse.runs.store import NULL_PARTS, Store, make_null_plan, make_plan
from coalition_exit.multiverse.runs.work import Draws, Job, open_job
from coalition_exit.specs.yaml_file import read_yaml

if TYPE_CHECKING:
    import pyarrow as pa

# Bytes above which the curves are kept on disk and mapped into memory.
_MOST_IN_MEMORY = 2**30
_BYTES = 9


def run_null(
    path: str | Path,
    out: str | Path,
    data: str = "auto",
    replicates: int = 500,
    *,
    seed: int = 1,
    by: str | None = None,
    jobs: int = 1,
    resume: bool = False,
    scheduler: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> NullCurves:
    """Refit every spec of a specification with choices under draws of clusters.

    Parameters
    ----------
    path, out, data, jobs, scheduler
        As for `run_multiverse`.
    replicates, seed
        How many draws, and their seed: the same draw for every spec, whatever the number of workers.
    by
        As for `find_clusters`.
    resume
        Go on where an earlier test in that folder stopped. Without it the refits of the same plan are made anew. Refits
        of an earlier plan that are the same are used again either way: more draws need only the new ones.
    progress
        Called after every unit of work with the refits done.

    Returns
    -------
    NullCurves
        The same whatever the number of workers and interruptions.

    Raises
    ------
    InputError
        The specification, the data or the folder cannot be used.
    """
    check_replicates(replicates)
    if jobs < 1:
        raise DataError("jobs", "a whole number from 1 on", repr(jobs))
    job = Job(str(path), read_yaml(path).raw, data, "")
    multiverse, engine = open_job(job)
    space = multiverse.space
    numbers = space.allowed(0, space.size)
    drawn = find_clusters(engine, numbers, by)
    plan = make_null_plan(make_plan(multiverse, engine.source.sha256), replicates, seed, drawn)
    store = Store(out, plan, NULL_PARTS)
    if not resume:
        store.clear()
    index = store.index_earlier(1)
    draws = Draws(drawn.by, tuple(drawn.labels.tolist()), replicates, seed)
    job = replace(job, plan=plan.fingerprint, earlier=str(index.resolve()) if index else "", draws=draws)
    work_through(job, engine, store, jobs, scheduler, progress)

    def parts() -> Iterator[tuple[int, pa.Table]]:
        for number in range(plan.units):
            yield plan.draws(number)[0], read_part(store.path(number))

    large = _BYTES * replicates * len(numbers) * len(engine.focus) > _MOST_IN_MEMORY
    folder = Path(out) / "null_curves"
    curves = join_parts(parts(), numbers, engine.focus, replicates, drawn, seed, folder if large else None)
    if not large:
        shutil.rmtree(folder, ignore_errors=True)
    store.tidy()
    return curves
