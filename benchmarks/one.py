"""Time one tool on one data file in a process of its own; prints one line of JSON.

python benchmarks/one.py TOOL FILE REPEATS
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
import warnings

import pandas as pd
from tools import TOOLS


def peak_bytes() -> int:
    """Peak memory of this process, in bytes; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    """Import and warm up on a few rows, then time the whole call."""
    tool, file, repeats = sys.argv[1], sys.argv[2], int(sys.argv[3])
    data = pd.read_parquet(file)
    fit = TOOLS[tool]
    warnings.simplefilter("ignore")
    with contextlib.suppress(Exception):
        fit(data.iloc[: min(len(data), 3000)])
    before = peak_bytes()
    seconds = []
    try:
        for _ in range(repeats):
            started = time.perf_counter()
            coef, errors = fit(data)
            seconds.append(time.perf_counter() - started)
    except Exception as error:
        print(json.dumps({"tool": tool, "failed": f"{type(error).__name__}: {error}"[:200]}))
        return
    grown = peak_bytes() - before
    size = int(data.memory_usage(index=False).sum())
    print(json.dumps({"tool": tool, "seconds": seconds, "coef": coef, "errors": errors, "grown": grown, "size": size}))


if __name__ == "__main__":
    main()
