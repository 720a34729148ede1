"""Cox model with Breslow ties and cluster-robust errors, side by side with its peers, in one run.

    python -m pip install -r benchmarks/requirements.txt
    python benchmarks/compare.py [article] [100k] [1m] [--rounds N] [--repeats N] [--tools NAME ...]

Prints, for each data set, the median time of the whole call from a data frame and the median processor time (of all
threads together; other programs on the machine disturb it less), both as multiples of this package's, how much
memory the process grew by, and whether the answer equals R's (or this package's, where R is absent). With several
rounds all tools run in turn in each, and the lowest and the highest ratio of a round stand beside that of all rounds.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

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


def pooled(rounds: list[dict]) -> dict:
    """Put the rounds of one tool together; a round that failed stands for all."""
    failed = next((r for r in rounds if "failed" in r), None)
    if failed:
        return failed
    times = {name: [t for r in rounds for t in r[name]] for name in ("seconds", "processor")}
    return rounds[-1] | times | {"grown": max(r["grown"] for r in rounds), "rounds": rounds}


def ratios(result: dict, own: dict, name: str) -> str:
    """Return by how much a tool takes longer, with the range over the rounds if there are several."""
    text = f"{median(result[name]) / median(own[name]):.1f}"
    each = [median(r[name]) / median(o[name]) for r, o in zip(result["rounds"], own["rounds"], strict=True)]
    return text if len(each) < 2 or result is own else f"{text} ({min(each):.1f} to {max(each):.1f})"


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
        for kind in ("seconds", "processor"):
            cells += [shown(median(result[kind])), ratios(result, own, kind)]
        cells += [f"{result['grown'] / result['size']:.2f}", verdict(result, truth)]
        print(f"| {' | '.join(cells)} |")


def shown(seconds: float) -> str:
    """Write a time in the unit that suits it."""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def command_of(tool: str, file: Path, repeats: int) -> list[str]:
    """Return the command that times one tool."""
    if tool == R:
        return ["Rscript", str(HERE / "coxph.R"), str(file.with_suffix(".csv")), str(repeats)]
    return [sys.executable, str(HERE / "one.py"), tool, str(file), str(repeats)]


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", nargs="*", default=["article", "100k"], help=", ".join(DATASETS))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5, help="calls of a tool in a round")
    every = [OWN, R, *[tool for tool in TOOLS if tool != OWN]]
    parser.add_argument("--tools", nargs="*", default=every, choices=every)
    options = parser.parse_args()
    if R in options.tools and shutil.which("Rscript") is None:
        print("Rscript is not on this machine: R left out", file=sys.stderr)
        options.tools.remove(R)
    for name in options.datasets:
        data = DATASETS[name]()
        results: dict[str, list[dict]] = {tool: [] for tool in options.tools}
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "data.pickle"
            data.to_pickle(file)
            if R in options.tools:
                data.to_csv(file.with_suffix(".csv"), index=False, float_format="%.17g")
            for _ in range(options.rounds):
                for tool, found in results.items():
                    found.append(run(command_of(tool, file, options.repeats), tool))
        title = f"{name}: {len(data):,} rows, {int(data['event'].sum()):,} events"
        report(title, [pooled(found) for found in results.values()])


if __name__ == "__main__":
    main()
