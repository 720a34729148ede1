"""Time one tool on one data file in a process of its own; prints one line of JSON.

python benchmarks/one.py TOOL FILE REPEATS
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
import warnings
from pathlib import Path

import pandas as pd
from tools import TOOLS


def peak_bytes() -> int:
    """Peak memory of this process, in bytes; 0 where the system does not tell."""
    with contextlib.suppress(OSError, StopIteration):
        # Linux counts what the parent process had before it started this one into the other figure.
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    """Import and warm up on a few rows, then time the whole call."""
    tool, file, repeats = sys.argv[1], sys.argv[2], int(sys.argv[3])
    data = pd.read_pickle(file)
    fit = TOOLS[tool]
    warnings.simplefilter("ignore")
    with contextlib.suppress(Exception):
        fit(data.iloc[: min(len(data), 3000)])
    before = peak_bytes()
    seconds, processor = [], []
    try:
        # Short calls are repeated for a second at least, for a steadier median.
        while len(seconds) < repeats or (sum(seconds) < 1.0 and len(seconds) < 100):
            started, used = time.perf_counter(), time.process_time()
            coef, errors = fit(data)
            processor.append(time.process_time() - used)
            seconds.append(time.perf_counter() - started)
    except Exception as error:
        print(json.dumps({"tool": tool, "failed": f"{type(error).__name__}: {error}"[:200]}))
        return
    grown = peak_bytes() - before
    size = int(data.memory_usage(index=False).sum())
    found = {"coef": coef, "errors": errors, "grown": grown, "size": size}
    print(json.dumps({"tool": tool, "seconds": seconds, "processor": processor, **found}))


if __name__ == "__main__":
    main()
