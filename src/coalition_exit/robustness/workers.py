"""The same function over many items, in this process or in several; results keep the items' order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from coalition_exit.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")
_shared: dict[str, Any] = {}


def run_all(
    work: Callable[[Any, Item], Result],
    make: Callable[..., Any],
    arguments: tuple[Any, ...],
    items: Sequence[Item],
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[Result]:
    """Return ``[work(make(*arguments), item) for item in items]``.

    ``make`` is called once a process; everything that crosses to another process must be picklable.

    Raises
    ------
    DataError
        ``jobs`` is not a positive whole number.
    """
    if not isinstance(jobs, int) or isinstance(jobs, bool) or jobs < 1:
        raise DataError("jobs", "a whole number from 1 on", repr(jobs))
    results: list[Result] = []
    if jobs == 1 or len(items) < 2:
        context = make(*arguments)
        for item in items:
            results.append(work(context, item))
            _tell(progress, len(results), len(items))
        return results
    from coalition_exit.processes import worker_pool

    workers = min(jobs, len(items))
    with worker_pool(workers, _prepare, (make, arguments)) as pool:
        chunk = max(1, min(8, len(items) // (4 * workers)))
        for result in pool.map(_call, [(work, item) for item in items], chunksize=chunk):
            results.append(result)
            _tell(progress, len(results), len(items))
    return results


def _tell(progress: Callable[[int, int], None] | None, done: int, of: int) -> None:
    if progress is not None:
        progress(done, of)


def _prepare(make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    _shared["context"] = make(*arguments)


def _call(task: tuple[Callable[[Any, Any], Any], Any]) -> Any:
    work, item = task
    return work(_shared["context"], item)
