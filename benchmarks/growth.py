"""How time and memory grow with the number of rows: right-censored rows by ten covariates, cluster errors.

    python benchmarks/growth.py [--largest 7]

One process a size, 10^4 to 10^7 rows by default (10^7 rows take about 6 GB). Prints the time of the whole call from a
data frame, of one evaluation of the likelihood with its derivatives, of what is left when the evaluations are taken
off (copying, sorting, cluster errors), and by how much the process grew. Times are the shortest of several, the
processor's: other programs on the machine disturb them less.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from datasets import censored
from one import peak_bytes

COVARIATES = 10
EVENT_TIMES = 200


def shortest(call: Callable[[], object], repeats: int) -> float:
    """Return the shortest processor time of some calls, in seconds."""
    seconds = []
    for _ in range(repeats):
        started = time.process_time()
        call()
        seconds.append(time.process_time() - started)
    return min(seconds)


def measure(file: str) -> dict[str, float]:
    """Time one file in this process."""
    from coalition_exit import CoxPH

    data = pd.read_pickle(file)
    n = len(data)
    formula = "Surv(start, stop, event) ~ " + " + ".join(f"x{j + 1}" for j in range(COVARIATES))

    def fit(rows: int) -> Any:
        return CoxPH(correction="none").fit(formula, data.iloc[:rows], id="subject", cluster="cluster")

    fit(3000)
    before = peak_bytes()
    first = fit(n)
    grown = peak_bytes() - before
    evaluations = first.n_iter + 1
    repeats = max(1, min(20, 3_000_000 // n))
    evaluation = shortest(partial(first.state.likelihood.evaluate, first.beta), repeats)
    del first
    whole = shortest(partial(fit, n), repeats)
    size = int(data.memory_usage(index=False).sum())
    return {"n": n, "whole": whole, "evaluation": evaluation, "evaluations": evaluations, "grown": grown / size}


def in_a_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this script with arguments: memory is then that of one task."""
    command = [sys.executable, str(Path(__file__).resolve()), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def row(n: int, file: str) -> str:
    """Make the data, time them and return a row of the table."""
    made = in_a_process("--make", str(n), file)
    done = made if made.returncode else in_a_process("--measure", file)
    if done.returncode:
        return f"| {n:,} | {(done.stderr.strip().splitlines() or ['no output'])[-1][:100]} |"
    r = json.loads(done.stdout)
    each = 1e9 / n
    rest = r["whole"] - r["evaluation"] * r["evaluations"]
    # A small panel is outgrown by the process itself.
    memory = f"{r['grown']:.1f}" if n > 50_000 else ""
    return (
        f"| {n:,} | {r['whole'] * 1000:.1f} ms | {r['whole'] * each:.0f} ns | {r['evaluations']} "
        f"| {r['evaluation'] * 1000:.2f} ms | {r['evaluation'] * each:.0f} ns | {rest * each:.0f} ns | {memory} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=7, help="power of ten")
    parser.add_argument("--make", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        censored(int(options.make[0]), COVARIATES, EVENT_TIMES).to_pickle(options.make[1])
        return
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    print("| rows | whole call | a row | evaluations | one of them | a row | all else, a row | memory grown / data |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for power in range(4, options.largest + 1):
            print(row(10**power, str(Path(folder) / "data.pickle")), flush=True)


if __name__ == "__main__":
    main()
