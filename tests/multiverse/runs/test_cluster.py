"""The same run on a Dask cluster of processes, with a worker killed in mid-run."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from coalition_exit.errors import DataError
from coalition_exit.multiverse.runs.null import run_null
from coalition_exit.multiverse.runs.pool import Progress
from coalition_exit.multiverse.runs.run import run_multiverse
from small_multiverse import SMALL


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_worker_killed_in_mid_run_loses_nothing(tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    path = tmp_path / "small.yaml"
    path.write_text(SMALL, encoding="utf-8")
    alone = run_multiverse(path, tmp_path / "alone", "record")
    killed: list[int] = []
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):

        def kill_one(_: Progress) -> None:
            if not killed:
                killed.append(next(iter(client.run(os.getpid).values())))
                os.kill(killed[0], signal.SIGKILL)

        run = run_multiverse(
            path, tmp_path / "cluster", "record", scheduler=cluster.scheduler_address, progress=kill_one
        )
    assert killed
    assert run.chunks_run == alone.chunks_run
    assert run.table.read_bytes() == alone.table.read_bytes()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_joint_test_loses_nothing_either(tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    path = tmp_path / "small.yaml"
    path.write_text(SMALL, encoding="utf-8")
    alone = run_null(path, tmp_path / "alone", "record", 4, seed=2)
    killed: list[int] = []
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):

        def kill_one(_: Progress) -> None:
            if not killed:
                killed.append(next(iter(client.run(os.getpid).values())))
                os.kill(killed[0], signal.SIGKILL)

        address = cluster.scheduler_address
        found = run_null(path, tmp_path / "cluster", "record", 4, seed=2, scheduler=address, progress=kill_one)
    assert killed
    np.testing.assert_array_equal(found.shift, alone.shift)
    parts = [
        {p.name: p.read_bytes() for p in (tmp_path / name).glob("null_parts/*/*")} for name in ("alone", "cluster")
    ]
    assert parts[0] == parts[1]
    assert len(parts[0]) > 10


@pytest.mark.filterwarnings("ignore")
def test_an_address_where_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from coalition_exit.multiverse.runs import cluster

    monkeypatch.setattr(cluster, "_PATIENCE", "1s")
    path = tmp_path / "small.yaml"
    path.write_text(SMALL, encoding="utf-8")
    with pytest.raises(DataError, match="a Dask scheduler that answers"):
        run_multiverse(path, tmp_path / "out", "record", scheduler="tcp://127.0.0.1:1")
