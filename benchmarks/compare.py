"""Cox model with Breslow ties and cluster-robust errors, side by side with its peers, in one run.

    python -m pip install -r benchmarks/requirements.txt
    python benchmarks/compare.py [article] [100k] [1m] [--repeats N] [--tools NAME ...]

Prints, for each data set, the median time of the whole call from a data frame, the shortest processor time (of all
threads together; other programs on the machine disturb it least), both as multiples of this package's, how much
memory the process grew by, and whether the answer equals R's (or this package's, where R is absent).
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from datasets import DATASETS
from tools import EFRON_ONLY, TOOLS

HERE = Path(__file__).resolve().parent
OWN, R = "coalition-exit", "R coxph"
TIME_LIMIT = 900


def run(command: list[str], tool: str) -> dict:
    """Run one timing and return what it printed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT, check=False)
        return json.loads(done.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"tool": tool, "failed": f"not done after {TIME_LIMIT} s"}
    except (IndexError, ValueError):
        return {"tool": tool, "failed": (done.stderr.strip().splitlines() or ["no output"])[-1][:120]}


def verdict(result: dict, truth: dict) -> str:
    """Say whether an answer is right."""
    if result["tool"] == truth["tool"]:
        return "taken as right"
    parts = []
    coef = np.max(np.abs(np.array(result["coef"]) - np.array(truth["coef"])))
    wrong = not coef <= 1e-4
    remark = "" if not wrong else " (Efron ties only)" if result["tool"] in EFRON_ONLY else " WRONG"
    parts.append(f"coef off by {coef:.1e}{remark}")
    if result["errors"] is None:
        parts.append("no cluster errors")
    else:
        errors = np.max(np.abs(np.array(result["errors"]) / np.array(truth["errors"]) - 1))
        parts.append(f"errors off by {errors:.1e}" + ("" if errors <= 1e-4 else " WRONG"))
    return "; ".join(parts)


def report(name: str, results: list[dict]) -> None:
    """Print the table of one data set."""
    done = [r for r in results if "seconds" in r]
    truth = next((r for r in done if r["tool"] == R), None) or next(r for r in done if r["tool"] == OWN)
    own = next(r for r in done if r["tool"] == OWN)
    print(f"\n## {name}\n\n| tool | median | ratio | processor | ratio | memory grown / data | answer |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for result in results:
        if "failed" in result:
            print(f"| {result['tool']} | | | | | | {result['failed']} |")
            continue
        cells = [result["tool"]]
        for name, summary in (("seconds", statistics.median), ("processor", min)):
            value = summary(result[name])
            cells += [shown(value), f"{value / summary(own[name]):.1f}"]
        cells += [f"{result['grown'] / result['size']:.1f}", verdict(result, truth)]
        print(f"| {' | '.join(cells)} |")


def shown(seconds: float) -> str:
    """Write a time in the unit that suits it."""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", nargs="*", default=["article", "100k"], help=", ".join(DATASETS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tools", nargs="*", default=[OWN, R, *[t for t in TOOLS if t != OWN]])
    options = parser.parse_args()
    for name in options.datasets:
        data = DATASETS[name]()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "data.pickle"
            data.to_pickle(file)
            results = []
            for tool in options.tools:
                command = [sys.executable, str(HERE / "one.py"), tool, str(file), str(options.repeats)]
                if tool == R:
                    if shutil.which("Rscript") is None:
                        print("Rscript is not on this machine: R left out", file=sys.stderr)
                        continue
                    data.to_csv(file.with_suffix(".csv"), index=False, float_format="%.17g")
                    command = ["Rscript", str(HERE / "coxph.R"), str(file.with_suffix(".csv")), str(options.repeats)]
                results.append(run(command, tool))
        report(f"{name}: {len(data):,} rows, {int(data['event'].sum()):,} events", results)


if __name__ == "__main__":
    main()
