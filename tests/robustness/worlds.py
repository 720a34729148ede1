"""Made-up data for the tests of robustness."""

from __future__ import annotations

import numpy as np
import pandas as pd

from coalition_exit.robustness.problem import Problem


def small_frame(seed: int = 3, clusters: int = 8, states: int = 3, days: int = 12) -> pd.DataFrame:
    """A few coalitions by day, with a continuous covariate x, a dummy z and exits y."""
    rng = np.random.default_rng(seed)
    rows = []
    for c in range(clusters):
        for s in range(states):
            z = float(rng.integers(0, 2))
            for day in range(days):
                x = float(rng.normal())
                y = int(rng.random() < 0.04 * np.exp(0.7 * x - 0.4 * z))
                rows.append((c * 100 + s, c + 1, (c + 1) // 2, s + 1, day, day + 1, x, z, y))
                if y:
                    break
    names = ["idvar", "coalid", "warnum", "ccode", "start", "stop", "x", "z", "y"]
    return pd.DataFrame(rows, columns=names)


def small_problem(seed: int = 3, **options) -> Problem:
    return Problem.from_frame(small_frame(seed), "y", ["x", "z"], **options)


def bought_frame(seed: int, share: float, n: int = 300, days: int = 150) -> pd.DataFrame:
    """Latent exits with effects -1 (front) and 4 (trend), of which a share is bought off where the trend is positive."""
    rng = np.random.default_rng(seed)
    front = np.repeat(rng.integers(0, 2, n).astype(float), days)
    path = rng.normal(0, 0.15, (n, days))
    for k in range(1, days):
        path[:, k] = 0.95 * path[:, k - 1] + 0.3 * path[:, k]
    trend = path.ravel()
    latent = rng.random(n * days) < -np.expm1(-np.exp(-5.2 - front + 4 * trend))
    seen = latent & ~((trend > 0) & (rng.random(n * days) < share))
    state, day = np.repeat(np.arange(n), days), np.tile(np.arange(days, dtype=float), n)
    frame = pd.DataFrame({"idvar": state, "coalid": state, "start": day, "stop": day + 1})
    frame = frame.assign(front=front, trend=trend, y=seen.astype(int))
    last = frame[frame["y"] == 1].groupby("idvar")["stop"].min()
    return frame[frame["stop"] <= frame["idvar"].map(last).fillna(np.inf)].reset_index(drop=True)
