"""Joint tests: the same curves however they are made, nothing lost or done twice, only what changed done anew."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from coalition_exit.errors import DataError
from coalition_exit.multiverse.null import refits
from coalition_exit.multiverse.null.curves import NullCurves, null_curves
from coalition_exit.multiverse.runs import store as store_module
from coalition_exit.multiverse.runs.null import run_null
from coalition_exit.multiverse.runs.pool import Progress
from coalition_exit.multiverse.runs.work import Job, open_job
from simulated_multiverse import MEASURES, TEXT, simulate

DRAWS = 7
SCRIPT = """
import sys
from coalition_exit.multiverse.runs import store
from coalition_exit.multiverse.runs.null import run_null

store._SMALLEST_NULL, store._BLOCK = 2, 3
if __name__ == "__main__":
    run_null(sys.argv[1], sys.argv[2], replicates=7, seed=3, resume=True,
             progress=lambda p: print(p.done, flush=True) or sys.stdin.readline())
"""


@pytest.fixture(autouse=True)
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_SMALLEST_NULL", 2)
    monkeypatch.setattr(store_module, "_BLOCK", 3)


def write(folder: Path, decisions: str = MEASURES, change: float = 0.0) -> Path:
    frame = simulate(5, 0.3, groups=25)
    frame.assign(c2=frame["c2"] + change * (frame.index == 0)).to_csv(folder / "data.csv", index=False)
    path = folder / "spec.yaml"
    path.write_text(TEXT.format(file="data.csv", decisions=decisions.strip("\n")), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "_SMALLEST_NULL", 2)
        patch.setattr(store_module, "_BLOCK", 3)
        run_null(write(folder), folder / "out", replicates=DRAWS, seed=3)
    return folder / "out"


def parts_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob("null_parts/*/*.parquet"))}


def same(one: NullCurves, two: NullCurves) -> None:
    for name in ("numbers", "estimate", "error", "shift", "statistic", "status"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert (one.untested, one.by, one.n_cluster, one.seed) == (two.untested, two.by, two.n_cluster, two.seed)


def refits_counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the refits that are made and not taken from an earlier run."""
    counts: list[int] = []
    refit = refits.refit_specs

    def counting(engine, specs, drawn, copies):  # type: ignore[no-untyped-def]
        counts.append(len(specs) * len(copies))
        return refit(engine, specs, drawn, copies)

    monkeypatch.setattr(refits, "refit_specs", counting)
    return counts


def test_the_curves_are_those_of_one_process_without_a_folder(finished: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    path = write(tmp_path)
    curves = run_null(path, tmp_path / "out", replicates=DRAWS, seed=3, progress=told.append)
    engine = open_job(Job(str(path), path.read_bytes(), "auto", ""))[1]
    same(curves, null_curves(engine, DRAWS, seed=3))
    assert parts_of(tmp_path / "out") == parts_of(finished)
    assert len(told) == len(parts_of(finished)) == 4 * 3
    assert told[-1].done == told[-1].total == 8 * DRAWS
    assert told[0].rate > 0


def test_the_same_bytes_whatever_the_number_of_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Workers have units of the usual size.
    monkeypatch.undo()
    one = run_null(write(tmp_path), tmp_path / "one", replicates=250, seed=3)
    two = run_null(write(tmp_path), tmp_path / "two", replicates=250, seed=3, jobs=2)
    assert len(parts_of(tmp_path / "two")) == 3
    assert parts_of(tmp_path / "two") == parts_of(tmp_path / "one")
    same(one, two)


def test_resuming_makes_only_what_is_missing(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    gone = sorted(out.glob("null_parts/*/*.parquet"))[1::3]
    for path in gone:
        path.unlink()
    counts = refits_counted(monkeypatch)
    curves = run_null(write(tmp_path), out, replicates=DRAWS, seed=3, resume=True)
    assert len(counts) == len(gone)
    assert parts_of(out) == parts_of(finished)
    same(curves, run_null(write(tmp_path), out, replicates=DRAWS, seed=3, resume=True))
    assert len(counts) == len(gone)


def test_more_draws_need_only_the_new_ones(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    counts = refits_counted(monkeypatch)
    curves = run_null(write(tmp_path), out, replicates=12, seed=3)
    # Two whole blocks of three draws stay; the seventh draw was in a block of its own.
    assert sum(counts) == 8 * (12 - 6)
    assert curves.n_replicates == 12
    assert len(list((out / "null_parts").iterdir())) == 1


def test_only_what_changed_is_refitted_anew(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = refits_counted(monkeypatch)
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    # c2 is a covariate of half of the specs.
    curves = run_null(write(tmp_path, change=0.5), out, replicates=DRAWS, seed=3)
    assert sum(counts) == 4 * DRAWS
    same(curves, run_null(write(fresh, change=0.5), fresh / "out", replicates=DRAWS, seed=3))
    assert parts_of(out) == parts_of(fresh / "out")
    counts.clear()
    more = MEASURES + "    ties: {options: {breslow: , efron: {ties: efron}}}\n"
    run_null(write(tmp_path, more, change=0.5), out, replicates=DRAWS, seed=3)
    assert sum(counts) == 8 * DRAWS
    counts.clear()
    run_null(write(tmp_path, more, change=0.5), out, replicates=DRAWS, seed=4)
    assert sum(counts) == 16 * DRAWS


def test_units_of_which_nothing_is_allowed_are_empty(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text("utf-8") + "  forbid_if: ['measure == \"noisy\"']\n", "utf-8")
    curves = run_null(path, tmp_path / "out", replicates=DRAWS, seed=3)
    assert curves.numbers.tolist() == [0, 1, 2, 3]
    assert np.isfinite(curves.shift).all()


@pytest.mark.slow
def test_a_test_that_was_killed_goes_on(finished: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    out = tmp_path / "out"
    command = [sys.executable, str(script), str(write(tmp_path)), str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        for _ in range(3):
            process.stdout.readline()
            process.stdin.write("\n")
            process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert len(parts_of(out)) == 4
    before = {path: path.stat().st_mtime_ns for path in out.glob("null_parts/*/*.parquet")}
    run_null(write(tmp_path), out, replicates=DRAWS, seed=3, resume=True)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert parts_of(out) == parts_of(finished)


@pytest.mark.parametrize(("name", "value"), [("replicates", 0), ("jobs", 0)])
def test_bad_numbers(tmp_path: Path, name: str, value: int) -> None:
    with pytest.raises(DataError, match=f"{name}: expected a whole number from 1 on, got 0"):
        run_null(write(tmp_path), tmp_path / "out", **{name: value})
