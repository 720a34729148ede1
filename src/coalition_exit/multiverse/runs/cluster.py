"""The same run on a Dask cluster: units of work to whichever machine is free, parts to this one's disk."""

from __future__ import annotations

from collections.abc import Generator
from importlib import import_module
from typing import Any

from coalition_exit.errors import DataError
from coalition_exit.multiverse.runs.store import Store
from coalition_exit.multiverse.runs.work import Job, run_unit

_RETRIES = 3
_PATIENCE = "30s"


def run_on_cluster(job: Job, store: Store, address: str) -> Generator[tuple[int, bytes], None, None]:
    """Yield finished units of work from the workers of a cluster.

    A unit whose worker dies goes to another; only as many units are under way as keep the workers busy.

    Parameters
    ----------
    job
        What to run. Workers need the same versions of the package, and see the record that ships with it;
        another record must lie at the same path for them.
    store
        Says what is still to do.
    address
        Of the scheduler, e.g. "tcp://host:8786".

    Raises
    ------
    DataError
        When dask.distributed is not installed, no scheduler answers, or workers keep dying.
    """
    try:
        distributed: Any = import_module("distributed")
    except ImportError:
        hint = "pip install 'coalition-exit[cluster]'"
        raise DataError("scheduler", "the package dask.distributed", "none", hint) from None
    try:
        client = distributed.Client(address, timeout=_PATIENCE, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise DataError("scheduler", "the address of a Dask scheduler that answers", repr(address)) from error
    with client:
        todo = store.missing()

        def submit(number: int) -> Any:
            name = f"coalition-exit-{store.plan.fingerprint[:16]}-{number}"
            unit = (*store.plan.bounds(number), *store.plan.draws(number))
            future = client.submit(run_unit, job, *unit, key=name, retries=_RETRIES)
            numbers[name] = number
            return future

        numbers: dict[str, int] = {}
        width = 2 * max(sum(client.nthreads().values()), 1)
        first = [submit(number) for _, number in zip(range(width), todo, strict=False)]
        # Another client of this process may be the default one, and futures wait in their own client's loop only.
        queue = distributed.as_completed(first, loop=client.loop)
        try:
            for future in queue:
                content = future.result()
                number = numbers.pop(future.key)
                future.release()
                following = next(todo, None)
                if following is not None:
                    queue.add(submit(following))
                yield number, content
        except distributed.KilledWorker as error:
            raise DataError("scheduler", "workers that finish", "workers that keep dying", "Memory?") from error
