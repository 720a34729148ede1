"""Clustered survival data with a known effect, and a multiverse over them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pandas as pd

from coalition_exit.archive.files import DataFile
from coalition_exit.multiverse.choices.space import Multiverse, load_multiverse
from coalition_exit.multiverse.fits.engine import Engine
from coalition_exit.runner.sources import TableSource

TEXT = """
table: simulated
title: Simulated
data: {{file: {file}, id: id, start: start, stop: stop}}
defaults: {{failure: event, covariates: [x, c1], errors: {{by: group}}}}
models:
  - key: full
choices:
  focus: {{x: positive}}
  decisions:
{decisions}
"""
MEASURES = """
    measure: {options: {plain: , noisy: {replace: {x: x2}}}}
    controls: {options: {one: , both: {add: [c2]}}}
    sample: {options: {all: , no_late: {sample: [late == 0]}}}
"""


def simulate(seed: object, effect: float, groups: int = 40, size: int = 3) -> pd.DataFrame:
    """Draw episodes of subjects in groups that share a frailty and part of x, which changes once.

    x is independent of all else, so ``effect`` is the truth of every spec's null: with 0 no spec is confounded.
    """
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), size)
    n = len(group)
    frailty, shared = np.exp(0.5 * rng.standard_normal(groups))[group], rng.standard_normal(groups)[group]
    c1, c2, late = rng.standard_normal(n), (rng.random(n) < 0.4) * 1.0, (rng.random(n) < 0.2) * 1.0
    censored, alive, parts = rng.exponential(3, n), np.ones(n, dtype=bool), []
    for low, high in ((0.0, 0.7), (0.7, 3.0)):
        x = 0.6 * shared + 0.8 * rng.standard_normal(n)
        hazard = 0.5 * frailty * np.exp(effect * x + 0.4 * c1 + 0.3 * c2)
        time = low + rng.exponential(1, n) / hazard
        last = np.minimum(high, censored)
        end, event = np.minimum(time, last), time <= last
        own = alive & (end > low)
        part = pd.DataFrame({
            "id": np.arange(n), "group": group, "start": 100 * low, "stop": np.ceil(end * 50) * 2, "event": event * 1.0,
            "x": x, "x2": x + 0.5 * rng.standard_normal(n), "c1": c1, "c2": c2, "late": late,
        })  # fmt: skip
        parts.append(part[own])
        alive = own & ~event & (end >= high)
    frame = pd.concat(parts)
    return frame[frame["stop"] > frame["start"]].sort_values(["id", "start"]).reset_index(drop=True)


@cache
def multiverse(decisions: str = MEASURES) -> Multiverse:
    """Return a multiverse over data of that form."""
    folder = Path(mkdtemp())
    simulate(0, 0.0).to_csv(folder / "data.csv", index=False)
    path = folder / "spec.yaml"
    text = TEXT.format(file=(folder / "data.csv").as_posix(), decisions=decisions.strip("\n"))
    path.write_text(text, encoding="utf-8")
    return load_multiverse(path)


def engine(frame: pd.DataFrame, decisions: str = MEASURES) -> Engine:
    """Return an engine over a frame."""
    made = multiverse(decisions)
    data = made.spec.data
    assert not isinstance(data, str)
    return Engine(made, TableSource(data, DataFile(frame, Path("data.csv"), "0" * 64, "CSV", ())))
