"""Data to time on, made from fixed seeds; every tool reads the same file."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd


def article() -> pd.DataFrame:
    """Daily rows shaped like the article's panel: 105,000 rows, 200 subjects, 65 events, 44 clusters."""
    rng = np.random.default_rng(20160)
    lengths = rng.gamma(1.2, 437.5, 200).astype(int) + 5
    lengths = (lengths * (105_000 / lengths.sum())).astype(int) + 1
    subject = np.repeat(np.arange(200), lengths)
    n = len(subject)
    day = np.arange(n) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    x = np.column_stack(
        [
            np.clip(rng.normal(0.6, 0.4, 200), 0, 1)[subject],
            np.sin(day / 97 + subject) * 0.2 + rng.normal(0, 0.02, n),
            rng.uniform(0.1, 0.9, 200)[subject],
            rng.uniform(0, 1, 200)[subject],
            (rng.random(n) < 0.05).astype(float),
            (rng.random(200) < 0.35).astype(float)[subject],
            (day > rng.integers(50, 900, 200)[subject]).astype(float),
            (rng.random(200) < 0.35).astype(float)[subject],
        ]
    )
    last = np.cumsum(lengths) - 1
    event = np.zeros(n, dtype=int)
    event[rng.choice(last, 65, replace=False)] = 1
    cluster = (np.arange(200) * 44 // 200)[subject]
    return _frame(day.astype(float), day + 1.0, event, x, subject, cluster)


def censored(n: int, p: int, n_times: int, seed: int = 7) -> pd.DataFrame:
    """Right-censored rows with about ``n_times`` distinct event times; each row is a subject."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p))
    effect = np.linspace(-0.5, 0.5, p)
    time = rng.exponential(np.exp(-x @ effect))
    limit = rng.exponential(1.5, n)
    event = (time <= limit).astype(int)
    observed = np.minimum(time, limit)
    observed = np.ceil(np.minimum(observed, 4.0) * n_times / 4.0)
    return _frame(np.zeros(n), observed, event, x, np.arange(n), rng.integers(0, 200, n))


def _frame(start, stop, event, x, subject, cluster) -> pd.DataFrame:
    columns = {"start": start, "stop": stop, "event": event, "subject": subject, "cluster": cluster}
    return pd.DataFrame(columns | {f"x{j + 1}": x[:, j] for j in range(x.shape[1])})


DATASETS: dict[str, Callable[[], pd.DataFrame]] = {
    "article": article,
    "100k": lambda: censored(100_000, 10, 200),
    "1m": lambda: censored(1_000_000, 10, 200),
    "10k": lambda: censored(10_000, 10, 200),
    "10m": lambda: censored(10_000_000, 10, 200),
}
