"""Specs a second on the article's panel, beside R's coxph in a loop: python benchmarks/multiverse.py [SPECS]

Prints a section in Markdown. Everything is measured in one run, each variant in a process of its own.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CONTROLS = ["pvict", "imptce", "recexit", "demdum", "newlead", "sepdum", "polity2", "latejoin", "terraim", "regaim"]
HEAD = """
table: rate
title: "Rate"
data: record
models:
  - key: full
    failure: withdraw
    covariates: [foverlap, ctrend60, pvict, imptce, recexit, demdum, newlead, sepdum]
    {estimator}
choices:
  focus: {{foverlap: negative, ctrend60: positive}}
  {survival}
  decisions:
    exit: {{options: {{article: , voluntary: {{failure: volunt}}}}}}
    window: {{sweep: {{variable: ctrend60, from: 15, to: 120, step: 15}}}}
    {errors}
    controls: {{subsets_of: [{controls}]}}
"""
SURVIVAL = "survival: {time: 365, from: {foverlap: 0}, to: {foverlap: 1}}"
ERRORS = "errors: {options: {stata: , none: {errors: {correction: none}}}}"


def specification(estimator: str = "") -> str:
    return HEAD.format(estimator=estimator, survival=SURVIVAL, errors=ERRORS, controls=", ".join(CONTROLS))


def child(what: str, count: int, folder: Path, **environment: str) -> dict:
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, __file__, "child", what, str(count), str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, **threads, **environment}
    )
    return json.loads(done.stdout.splitlines()[-1])


def run_child(what: str, count: int, folder: Path) -> dict:
    """One measurement: seconds, and memory in MB before and after."""
    import resource

    import numpy as np

    from coalition_exit.multiverse.choices.space import load_multiverse
    from coalition_exit.multiverse.fits import backend
    from coalition_exit.multiverse.fits.engine import Engine
    from coalition_exit.runner.sources import Sources

    if what == "numpy":
        backend.name = lambda: "numpy"
    if what == "bare":
        whole = backend.cox_models
        backend.cox_models = lambda *arguments: whole(*arguments, with_tests=False)
    estimator = {"logit": "estimator: logit", "cloglog": "estimator: cloglog"}.get(what, "")
    text = specification(estimator)
    begin = time.perf_counter()
    multiverse = load_multiverse(text.encode())
    engine = Engine(multiverse, Sources("record").for_spec(multiverse.spec))
    size = multiverse.space.size
    # One spec of every group and column, so that the panel is coded and the loops are compiled.
    engine.run_numbers(np.arange(0, size, size // 64))
    ready, worked = time.perf_counter(), time.process_time()
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    done = 0
    while done < count:
        low = done % size
        table = engine.run(low, low + min(2000, count - done))
        done += table.num_rows // 2
    seconds, cpu = time.perf_counter() - ready, time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "cpu": cpu, "done": done, "ready": ready - begin, "base": base, "peak": peak}


def whole_run(count: int, folder: Path, jobs: int) -> dict:
    """The command's own work: workers, parts on disk, the final table."""
    path = folder / "rate.yaml"
    path.write_text(specification(), encoding="utf-8")
    code = (
        "import sys, time, json\n"
        "from coalition_exit.multiverse.runs.run import run_multiverse\n"
        "if __name__ == '__main__':\n"
        "    marks = []\n"
        "    begin = time.perf_counter()\n"
        f"    r = run_multiverse({str(path)!r}, {str(folder / f'out{jobs}')!r}, 'record', jobs={jobs},\n"
        "        progress=lambda p: marks.append((time.perf_counter(), p.done)))\n"
        "    end = time.perf_counter()\n"
        "    late = [m for m in marks if m[1] >= marks[-1][1] // 4]\n"
        "    rate = (late[-1][1] - late[0][1]) / (late[-1][0] - late[0][0])\n"
        "    size = r.table.stat().st_size\n"
        "    import os\n"
        "    used = os.times()\n"
        "    cpu = used.user + used.system + used.children_user + used.children_system\n"
        "    print(json.dumps({'seconds': end - begin, 'specs': r.specs, 'rate': rate, 'bytes': size, 'cpu': cpu}))\n"
    )
    script = folder / f"run{jobs}.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def null_run(folder: Path, jobs: int, draws: int) -> dict:
    """The joint test of a curve of 10,240 specs, after its fits: workers, parts on disk, the curves joined."""
    text = specification().replace("to: 120", "to: 75")
    path = folder / "null.yaml"
    path.write_text("\n".join(line for line in text.splitlines() if "correction: none" not in line), encoding="utf-8")
    code = (
        "import json, os, sys, time\n"
        "from coalition_exit.multiverse.runs.null import run_null\n"
        "if __name__ == '__main__':\n"
        "    begin = time.perf_counter()\n"
        f"    curves = run_null({str(path)!r}, {str(folder / 'null')!r}, 'record', {draws}, jobs={jobs})\n"
        "    used = os.times()\n"
        "    cpu = used.user + used.system + used.children_user + used.children_system\n"
        "    print(json.dumps({'seconds': time.perf_counter() - begin, 'cpu': cpu, 'specs': len(curves.numbers)}))\n"
    )
    script = folder / "null.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def r_loop(count: int, folder: Path) -> dict:
    """R's coxph with cluster-robust errors, and cox.zph, on the full panel in a loop over windows and controls."""
    from coalition_exit.panel.build import build_panel

    windows = [f"ctrend{w}" for w in range(15, 121, 15)]
    panel = build_panel(variables=["withdraw", "foverlap", *windows, *CONTROLS])
    panel.to_csv(folder / "panel.csv", index=False)
    with (folder / "models.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["terms"])
        for k in range(count):
            chosen = [name for n, name in enumerate(CONTROLS) if (37 * k + 5) >> n & 1]
            writer.writerow([" + ".join(["foverlap", windows[k % len(windows)], *chosen])])
    code = r"""
suppressMessages(library(survival))
arguments <- commandArgs(TRUE)
d <- read.csv(file.path(arguments[1], "panel.csv")); m <- read.csv(file.path(arguments[1], "models.csv"))$terms
fits <- c(0, 0); tests <- c(0, 0)
used <- function(t) c(t[["elapsed"]], t[["user.self"]] + t[["sys.self"]])
for (terms in m) {
  f <- as.formula(paste("Surv(start, stop, withdraw) ~", terms))
  fits <- fits + used(system.time(fit <- coxph(f, d, ties = "breslow", cluster = coalid)))
  tests <- tests + used(system.time(cox.zph(fit, terms = FALSE)))
}
cat(sprintf('{"fits": %.6f, "fits_cpu": %.6f, "tests": %.6f, "tests_cpu": %.6f, "n": %d}\n',
            fits[1], fits[2], tests[1], tests[2], length(m)))
"""
    script = folder / "loop.R"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run(["Rscript", str(script), str(folder)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("| what | specs a second | specs a second of processor time |\n| --- | --- | --- |")
        for what, label in (
            ("full", "one process, everything reported"),
            ("bare", "one process, without the tests of proportional hazards"),
            ("numpy", "one process, NumPy in place of numba"),
            ("logit", "one process, monthly logit with cubic duration"),
            ("cloglog", "one process, monthly cloglog with cubic duration"),
        ):
            share = {"numpy": 10, "logit": 5, "cloglog": 5}.get(what, 1)
            found = child(what, max(count // share, 400), folder)
            wall, cpu = (found["done"] / found[key] for key in ("seconds", "cpu"))
            print(f"| {label} | {wall:,.0f} | {cpu:,.0f} |", flush=True)
        for jobs in (1, 2):
            found = whole_run(count, folder, jobs)
            label = f"whole run, {jobs} worker(s), parts and table on disk, once started"
            print(f"| {label} | {found['rate']:,.0f} | |")
            label = f"the same with start and coding of the panel, {found['specs']:,} specs"
            print(
                f"| {label} | {found['specs'] / found['seconds']:,.0f} | {found['specs'] / found['cpu']:,.0f} |",
                flush=True,
            )
        each = found["bytes"] / found["specs"]
        if shutil.which("Rscript"):
            r = r_loop(20, folder)
            print(f"| R coxph in a loop, clustered errors | {r['n'] / r['fits']:.2f} | {r['n'] / r['fits_cpu']:.2f} |")
            wall, cpu = r["fits"] + r["tests"], r["fits_cpu"] + r["tests_cpu"]
            print(f"| R coxph and cox.zph in a loop | {r['n'] / wall:.2f} | {r['n'] / cpu:.2f} |")
        null = null_run(folder, 2, 500)
        refits = null["specs"] * 500
        print(
            f"| joint test: {null['specs']:,} specs in 500 draws, 2 workers, refits a second | "
            f"{refits / null['seconds']:,.0f} | {refits / null['cpu']:,.0f} |",
            flush=True,
        )
        few, many = (child("full", n, folder) for n in (2_000, 10 * count))
        print(
            f"\nDisk: {each:.0f} bytes a spec with two focus terms. Memory of a worker: {few['peak']:.0f} MB after "
            f"{few['done']:,} specs, {many['peak']:.0f} MB after {many['done']:,}; ready after {many['ready']:.1f} s."
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        print(json.dumps(run_child(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
