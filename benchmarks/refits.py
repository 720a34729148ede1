"""Fits after the first one on the article-shaped panel, and what an import costs.

python benchmarks/refits.py
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from datasets import article


def processor() -> float:
    """Processor time so far, of this process and of those it has waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def timed(call: Callable[[], object], repeats: int) -> str:
    """Return the shortest and the median time of some calls, and the processor time of one, on average."""
    seconds, used = [], processor()
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    values = (min(seconds), statistics.median(seconds), (processor() - used) / repeats)
    return " | ".join(f"{value:.2f} s" if min(seconds) >= 1 else f"{value * 1000:.2f} ms" for value in values)


def main() -> None:
    """Print the table."""
    from coalition_exit import CoxPH

    data = article()
    names = [f"x{j + 1}" for j in range(8)]
    formula = "Surv(start, stop, event) ~ " + " + ".join(names)
    fit = CoxPH().fit(formula, data, id="subject", cluster="cluster")
    weights = np.random.default_rng(1).random(len(data))
    statements = {
        "the whole call": (lambda: CoxPH().fit(formula, data, id="subject", cluster="cluster"), 50),
        "`fit.refit()`: all terms, the same weights": (fit.refit, 300),
        "`fit.refit(weights=...)`: other weights": (lambda: fit.refit(weights=weights), 300),
        "`fit.refit(terms=...)`: without the last term": (lambda: fit.refit(terms=names[:-1]), 300),
        "`fit.bootstrap(10_000, seed=1)`: 44 clusters": (lambda: fit.bootstrap(10_000, seed=1), 3),
    }
    print("| work | shortest | median | processor, mean |\n| --- | --- | --- | --- |")
    for name, (call, repeats) in statements.items():
        print(f"| {name} | {timed(call, repeats)} |")
    for name, code in (
        ("python alone", "pass"),
        ("python and `import coalition_exit`", "import coalition_exit"),
        ("python and `from coalition_exit import CoxPH`", "from coalition_exit import CoxPH"),
    ):
        command = [sys.executable, "-c", code]
        print(f"| {name} | {timed(partial(subprocess.run, command, check=True), 7)} |")


if __name__ == "__main__":
    main()
