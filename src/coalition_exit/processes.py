"""Worker processes that end at once when the work is stopped, and with the process that started them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import Any

_PATIENCE = 1.0  # seconds


@contextmanager
def worker_pool(
    workers: int, begin: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
) -> Iterator[ProcessPoolExecutor]:
    """Open a pool of processes; whatever ends the block early, such as Ctrl-C, ends them in the middle of their work.

    Parameters
    ----------
    workers
        Processes at most.
    begin, arguments
        Called once in every process; both must be picklable.
    """
    # "spawn" is what Windows and macOS do; elsewhere it keeps threads of the parent out of the children.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _prepare, (begin, arguments))
    try:
        yield pool
    except BaseException:
        # The pool itself only waits for what is running: it has no public way to end processes before Python 3.14.
        running = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in running:
            process.terminate()
        for process in running:
            process.join(_PATIENCE)
        raise
    pool.shutdown()


def _prepare(begin: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    # A terminal's Ctrl-C reaches every process; the one that started this one decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    follow_parent()
    if begin is not None:
        begin(*arguments)


def follow_parent() -> None:
    """End this process when the one that started it ends, however that happens."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
