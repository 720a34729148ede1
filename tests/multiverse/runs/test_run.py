"""Runs: the same bytes however they are made, nothing lost or done twice, only what changed done anew."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from coalition_exit.errors import DataError
from coalition_exit.multiverse.choices.space import load_multiverse
from coalition_exit.multiverse.fits.engine import Engine
from coalition_exit.multiverse.runs import store as store_module
from coalition_exit.multiverse.runs.pool import Progress
from coalition_exit.multiverse.runs.run import run_multiverse
from coalition_exit.record.loading import record_folder
from small_multiverse import SMALL, changed

SCRIPT = """
import sys
from coalition_exit.multiverse.runs.run import run_multiverse

def tell(progress):
    print(progress.done, flush=True)

if __name__ == "__main__":
    run_multiverse(sys.argv[1], sys.argv[2], "record", jobs=int(sys.argv[3]), resume=True, progress=tell)
"""


def write(folder: Path, text: bytes = SMALL.encode()) -> Path:
    path = folder / "small.yaml"
    path.write_bytes(text)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run in this process."""
    folder = tmp_path_factory.mktemp("finished")
    run_multiverse(write(folder), folder / "out", "record")
    return folder / "out"


def copy_of(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "out"))


def parts_of(out: Path) -> list[Path]:
    return sorted(out.glob("parts/*/*.parquet"))


def fits_counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the specs that are fitted and not taken from an earlier run."""
    counts: list[int] = []
    fit = Engine._fit

    def counting(self, specs, keys):  # type: ignore[no-untyped-def]
        counts.append(len(specs))
        return fit(self, specs, keys)

    monkeypatch.setattr(Engine, "_fit", counting)
    return counts


def test_a_run_has_a_row_for_every_spec_and_focus_term(finished: Path) -> None:
    space = load_multiverse(SMALL.encode()).space
    table = pd.read_parquet(finished / "specs.parquet")
    assert len(table) == 2 * space.count()
    assert list(table["spec"].unique()) == list(space)
    assert set(table["term"]) == {"foverlap", "ctrend60"}
    assert set(table.loc[table["decision_trend"] == "own", "variable"]) == {"foverlap", "otrend60"}
    assert (table["status"] == "ok").all()
    manifest = json.loads((finished / "multiverse.json").read_text("utf-8"))
    assert manifest["complete"] is True
    assert manifest["specs"] == space.count()


def test_the_same_bytes_whatever_the_number_of_workers(finished: Path, tmp_path: Path) -> None:
    run_multiverse(write(tmp_path), tmp_path / "out", "record", jobs=2)
    assert (tmp_path / "out/specs.parquet").read_bytes() == (finished / "specs.parquet").read_bytes()


def test_resuming_does_only_what_is_missing(finished: Path, tmp_path: Path) -> None:
    out = copy_of(finished, tmp_path)
    for path in parts_of(out)[1::2]:
        path.unlink()
    lacking = len(parts_of(finished)) - len(parts_of(out))
    told: list[Progress] = []
    result = run_multiverse(write(tmp_path), out, "record", resume=True, progress=told.append)
    assert result.chunks_run == lacking == len(told)
    assert told[-1].done == told[-1].total
    assert told[0].rate > 0
    assert told[-1].seconds_left == 0
    assert (out / "specs.parquet").read_bytes() == (finished / "specs.parquet").read_bytes()


def test_without_resume_everything_is_done_anew(finished: Path, tmp_path: Path) -> None:
    out = copy_of(finished, tmp_path)
    assert run_multiverse(write(tmp_path), out, "record").chunks_run == len(parts_of(finished))


def start(tmp_path: Path, jobs: int) -> subprocess.Popen[str]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, str(script), str(write(tmp_path)), str(tmp_path / "out"), str(jobs)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def children_of(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


def workers_of(pid: int) -> list[int]:
    return [own for own in children_of(pid) if b"spawn_main" in Path(f"/proc/{own}/cmdline").read_bytes()]


SLOW = """
import sys, time
from pathlib import Path
from coalition_exit.processes import worker_pool

def work(folder):
    (folder / "begun").touch()
    time.sleep(30)
    (folder / "ended").touch()

if __name__ == "__main__":
    with worker_pool(2) as pool:
        pool.submit(work, Path(sys.argv[1])).result()
"""


def test_an_interrupt_of_the_parent_alone_ends_workers_at_once(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")
    with subprocess.Popen([sys.executable, "slow.py", "."], cwd=tmp_path, stderr=subprocess.PIPE) as process:
        while not (tmp_path / "begun").exists():
            assert process.poll() is None
            time.sleep(0.05)
        workers = workers_of(process.pid)
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.wait(20)
        assert time.monotonic() - begin < 5
        assert process.stderr is not None
        assert process.stderr.read().endswith(b"KeyboardInterrupt\n")
    assert workers
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on(finished: Path, tmp_path: Path) -> None:
    process = start(tmp_path, 2)
    assert process.stdout is not None
    process.stdout.readline()
    workers = children_of(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    process.stdout.close()
    out = tmp_path / "out"
    assert not (out / "specs.parquet").exists()
    done = len(parts_of(out))
    assert 0 < done < len(parts_of(finished))
    # The workers do not outlive the process that started them.
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    before = {path: path.stat().st_mtime_ns for path in parts_of(out)}
    result = run_multiverse(write(tmp_path), out, "record", resume=True)
    assert result.chunks_run == len(parts_of(finished)) - len(before)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (out / "specs.parquet").read_bytes() == (finished / "specs.parquet").read_bytes()


@pytest.mark.slow
def test_workers_that_keep_dying_are_said_with_both_causes(tmp_path: Path) -> None:
    script = tmp_path / "bare.py"
    script.write_text(
        "from coalition_exit.multiverse.runs.run import run_multiverse\n"
        f"run_multiverse({str(write(tmp_path))!r}, 'out', 'record', jobs=2)\n",
        encoding="utf-8",
    )
    found = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    last = found.stderr.strip().splitlines()[-1]
    assert "expected workers that finish, got 3 that died. Too little memory" in last
    assert "__main__" in last


def test_a_worker_that_is_killed_costs_nothing_but_its_chunk(finished: Path, tmp_path: Path) -> None:
    process = start(tmp_path, 2)
    assert process.stdout is not None
    process.stdout.readline()
    workers = workers_of(process.pid)
    os.kill(workers[0], signal.SIGKILL)
    process.stdout.read()
    assert process.wait(120) == 0
    process.stdout.close()
    assert (tmp_path / "out/specs.parquet").read_bytes() == (finished / "specs.parquet").read_bytes()


def test_a_part_half_written_is_no_part(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def torn(path: Path, content: bytes) -> None:
        path.with_name(f"{path.name}.tmp").write_bytes(content[: len(content) // 2])
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "write_whole", torn)
        with pytest.raises(OSError, match="disk full"):
            run_multiverse(write(tmp_path), tmp_path / "out", "record")
    result = run_multiverse(write(tmp_path), tmp_path / "out", "record", resume=True)
    assert result.chunks_run == len(parts_of(finished))
    assert (tmp_path / "out/specs.parquet").read_bytes() == (finished / "specs.parquet").read_bytes()


def test_a_new_option_reuses_all_earlier_fits(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = copy_of(finished, tmp_path)
    text = changed(("        all:\n", '        all:\n        early: {sample: ["year < 1950"]}\n'))
    counts = fits_counted(monkeypatch)
    run_multiverse(write(tmp_path, text), out, "record")
    space = load_multiverse(text).space
    assert sum(counts) == space.count() // 3
    fresh = run_multiverse(write(tmp_path, text), tmp_path / "fresh", "record")
    assert pd.read_parquet(out / "specs.parquet").equals(pd.read_parquet(fresh.table))
    assert (out / "specs.parquet").read_bytes() == fresh.table.read_bytes()


def test_a_comment_or_a_label_changes_nothing(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = copy_of(finished, tmp_path)
    counts = fits_counted(monkeypatch)
    run_multiverse(write(tmp_path, changed(("data: record", "# a comment\ndata: record"))), out, "record")
    assert sum(counts) == 0
    assert (out / "specs.parquet").read_bytes() == (finished / "specs.parquet").read_bytes()


def test_another_rule_runs_only_the_specs_that_use_it(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = copy_of(finished, tmp_path)
    text = changed(("models:\n  - key: full", "models:\n  - key: full\n    coding: {otrend60: {casualty_ratio: 0.5}}"))
    counts = fits_counted(monkeypatch)
    with pytest.raises(Exception, match="a variable that this model uses"):
        run_multiverse(write(tmp_path, text), out, "record")
    text = changed(("own: {replace: {ctrend60: otrend60}}",
                    "own: {replace: {ctrend60: otrend60}, coding: {otrend60: {casualty_ratio: 0.5}}}"))  # fmt: skip
    run_multiverse(write(tmp_path, text), out, "record")
    table = pd.read_parquet(out / "specs.parquet", columns=["key", "decision_trend"])
    own = table.loc[table["decision_trend"] == "own", "key"]
    assert sum(counts) == len(own) // 2


def test_a_changed_record_touches_only_the_specs_that_read_it(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = copy_of(finished, tmp_path)
    folder = tmp_path / "record"
    shutil.copytree(record_folder(), folder)
    path = folder / "regimes.csv"
    regimes = pd.read_csv(path, dtype=str, keep_default_na=False)
    position = list(regimes.columns).index("polity2")
    at = int(np.argmax(regimes["polity2"].to_numpy() == "10"))
    regimes.iloc[at, position] = "9"
    regimes.to_csv(path, index=False, lineterminator="\n")
    counts = fits_counted(monkeypatch)
    run_multiverse(write(tmp_path), out, str(folder))
    table = pd.read_parquet(out / "specs.parquet", columns=["decision_controls", "spec"])
    touched = table["decision_controls"].astype(str).str.contains("polity2")
    assert sum(counts) == touched.sum() // 2


def test_the_table_is_read_a_group_at_a_time(finished: Path) -> None:
    file = pq.ParquetFile(finished / "specs.parquet")
    assert file.num_row_groups == len(parts_of(finished))


@pytest.mark.parametrize("jobs", [0, -1])
def test_bad_numbers_of_workers(tmp_path: Path, jobs: int) -> None:
    with pytest.raises(DataError, match="jobs"):
        run_multiverse(write(tmp_path), tmp_path / "out", "record", jobs=jobs)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file", encoding="utf-8")
    with pytest.raises(DataError, match="a folder that can be written to"):
        run_multiverse(write(tmp_path), tmp_path / "out", "record")


def test_two_names_of_the_same_column_keep_their_names(tmp_path: Path) -> None:
    text = changed(("        voluntary: {failure: volunt}",
                    "        voluntary: {failure: volunt}\n        same: {coding: {withdraw: article_volunt}}"),
                   ('exit == "voluntary" and trend', 'exit != "article" and trend'))  # fmt: skip
    run = run_multiverse(write(tmp_path, text), tmp_path / "out", "record")
    table = pd.read_parquet(run.table).astype({"decision_exit": str, "failure": str})
    named = table.groupby("decision_exit")["failure"].unique().map(list).to_dict()
    assert named == {"article": ["withdraw"], "voluntary": ["volunt"], "same": ["withdraw"]}
    numbers = [table.loc[table["decision_exit"] == name, "estimate"].to_numpy() for name in ("voluntary", "same")]
    assert np.array_equal(*numbers)
