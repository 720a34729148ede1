"""An untidy file with the archive's schema. Every value is drawn from a fixed seed; none is from real data.

    python tests/archive/simulate.py      writes tests/reference/archive_simulated.dta.gz

Untidy on purpose: rows in no order, gaps in the days, first days other than 1 and before 1, rows
after a failure (some with a second one), missing values of every kind, a missing failure variable,
missing subjects and days, value labels, and single precision, with shares stored as 0.1f.
"""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pandas as pd

SEED = 20161204
FILE = Path(__file__).parents[1] / "reference" / "archive_simulated.dta.gz"
WARS = (1, 7, 22, 28, 40, 46, 52, 60, 76, 83, 100, 106, 108, 117, 125, 133, 139, 147, 155, 163, 170, 186, 200, 227)
LABELS = {
    "side": {1: "Side A", 2: "Side B"},
    "demdum": {0: "not democratic", 1: "democratic"},
    "withdraw": {0: "stays", 1: "leaves"},
}
# Stata stores most variables in single precision unless told otherwise.
SINGLE = (
    "foverlap", "ctrend15", "ctrend60", "ctrend120", "otrend60", "pvict", "imptce", "contribpc",
    "cooppc", "seppc", "actpc", "lnodead",
)  # fmt: skip
INTEGER = {
    "idvar": "Int32", "coalid": "Int16", "warnum": "Int16", "ccode": "Int16", "side": "Int8", "year": "Int16",
    "month": "Int8", "day": "Int8", "warday": "Int16", "polity2": "Int8",
}  # fmt: skip
DUMMIES = (
    "finalobs", "withdraw", "volunt", "recexit", "recexit2", "demdum", "newlead", "sepdum", "actdum", "intdum",
    "terraim", "regaim", "latejoin",
)  # fmt: skip
# Share of rows, in thousandths, in which a value is missing.
HOLES = {
    "foverlap": 4, "ctrend60": 12, "otrend60": 10, "pvict": 6, "imptce": 5, "contribpc": 40, "recexit": 3,
    "demdum": 8, "polity2": 25, "newlead": 3, "sepdum": 4, "seppc": 9, "actdum": 4, "actpc": 9, "intdum": 6,
    "cooppc": 6, "terraim": 5, "regaim": 5, "latejoin": 2, "lnodead": 15, "lnodead2": 20, "recexit2": 3,
    "withdraw": 2, "volunt": 2, "coalid": 2, "idvar": 1, "warday": 1,
}  # fmt: skip
# Variables in which the missing values are .a, .b and .z by turns.
EXTENDED = ("contribpc", "lnodead2", "polity2", "warday", "sepdum", "idvar")


def simulate() -> pd.DataFrame:
    """Draw the file: only whole numbers and sums, products and quotients, so that every machine draws the same."""
    rng = np.random.default_rng(SEED)
    parts = [
        _subject(rng, war, side, number)
        for war in WARS
        for side in (1, 2)
        for number in range(1, 3 + int(rng.integers(0, 3)))
    ]
    frame = pd.concat(parts, ignore_index=True)
    frame = frame.iloc[rng.permutation(len(frame))].reset_index(drop=True)
    for name, share in HOLES.items():
        frame[name] = frame[name].astype(float).mask(rng.integers(0, 1000, len(frame)) < share)
    kinds = INTEGER | dict.fromkeys(DUMMIES, "Int8") | dict.fromkeys(SINGLE, "float32")
    return frame.astype(kinds | {"lnodead2": "float64"})


def _subject(rng: np.random.Generator, war: int, side: int, number: int) -> pd.DataFrame:
    """Draw the rows of one state in one coalition."""
    n = int(rng.integers(34, 88))
    first = (1, 1, 1, 1, 1, int(rng.integers(2, 16)), int(rng.integers(2, 6)), -1)[int(rng.integers(0, 8))]
    steps = np.where(rng.integers(0, 6, n - 1) > 0, 1, rng.integers(2, 7, n - 1))
    days = first + np.concatenate([[0], np.cumsum(steps)])
    coalition = war * 10 + side

    def share(least: int = 0, most: int = 100) -> np.ndarray:
        return rng.integers(least, most + 1, n) / 100

    def constant(values: int = 2) -> np.ndarray:
        return np.full(n, int(rng.integers(0, values)))

    def late(chance: int) -> np.ndarray:
        """Draw a dummy that turns from 0 to 1 on some day, if ever."""
        turn = int(rng.integers(0, n)) if rng.integers(0, 100) < chance else n
        return (np.arange(n) >= turn).astype(int)

    frame = pd.DataFrame(
        {
            "idvar": coalition * 100 + number,
            "coalid": coalition,
            "warnum": war,
            "ccode": int(rng.integers(2, 900)),
            "side": side,
            "year": 1816 + WARS.index(war) * 8,
            "month": np.maximum(days, 0) // 28 % 12 + 1,
            "day": np.maximum(days, 0) % 28 + 1,
            "warday": days,
            "finalobs": (np.arange(n) == n - 1).astype(int),
            "foverlap": np.full(n, (0.0, 0.0, 0.25, 0.6, 1.0, 1.0)[int(rng.integers(0, 6))]),
            "ctrend60": share() - share() + share(0, 20),
            "ctrend15": share() - share(),
            "ctrend120": share() - share(),
            "otrend60": share() - share(),
            "pvict": np.full(n, int(rng.integers(15, 90)) / 100) + share(0, 10) / 10,
            "imptce": np.full(n, int(rng.integers(2, 95)) / 100),
            "contribpc": np.full(n, (0.02, 0.1, 0.1, 0.3, 0.45, 0.8)[int(rng.integers(0, 6))]),
            "recexit": late(40),
            "recexit2": late(60),
            "demdum": constant(),
            "polity2": constant(21) - 10,
            "newlead": late(45),
            "sepdum": constant(),
            "actdum": constant(),
            "intdum": constant(),
            "terraim": constant(),
            "regaim": late(60),
            "latejoin": constant(),
            "cooppc": np.full(n, int(rng.integers(0, 5)) / 4),
            "lnodead": np.cumsum(rng.integers(0, 40, n)) / 100,
            "lnodead2": np.cumsum(rng.integers(0, 40, n)) / 1000,
        }
    )
    frame.loc[rng.integers(0, 10, n) == 0, "foverlap"] = 0.5
    frame["seppc"] = frame["sepdum"] * (int(rng.integers(1, 4)) / 3)
    frame["actpc"] = frame["actdum"] * (int(rng.integers(1, 4)) / 3)
    risk = 10 + 26 * (1 - frame["foverlap"]) + 24 * (frame["ctrend60"] > 0.5) + 12 * frame["recexit"]
    risk += 8 * frame["newlead"] - 5 * frame["sepdum"] - 4 * frame["demdum"]
    exits = (rng.integers(0, 1000, n) < risk.to_numpy()).astype(int)
    frame["withdraw"] = exits
    frame["volunt"] = exits * (rng.integers(0, 3, n) > 0)
    return frame.iloc[: _rows_kept(rng, exits)].assign(
        finalobs=lambda f: (f["warday"] == f["warday"].max()).astype(int)
    )


def _rows_kept(rng: np.random.Generator, exits: np.ndarray) -> int:
    """Number of rows: up to the first exit, but often with rows after it."""
    if not exits.any() or rng.integers(0, 3) == 0:
        return len(exits)
    return int(np.argmax(exits)) + 1 + int(rng.integers(0, 2)) * int(rng.integers(1, 8))


def write_dta(frame: pd.DataFrame) -> bytes:
    """Return the file as Stata 14 writes it, with missing values .a, .b and .z among the others."""
    buffer = io.BytesIO()
    frame.to_stata(
        buffer, write_index=False, version=118, byteorder="<", value_labels=LABELS,
        data_label="simulated: no real data", time_stamp=pd.Timestamp("2000-01-01").to_pydatetime(),
    )  # fmt: skip
    content = buffer.getvalue()
    begin, end = content.index(b"<data>") + len(b"<data>"), content.index(b"</data>")
    codes = {"i1": 101, "<i2": 32_741, "<i4": 2_147_483_621, "<u4": 0x7F00_0000, "<u8": 0x7FE0_0000_0000_0000}
    steps = {"i1": 1, "<i2": 1, "<i4": 1, "<u4": 0x800, "<u8": 0x100_0000_0000}
    layout = [(name, _bits(dtype)) for name, dtype in frame.dtypes.items()]
    rows = np.frombuffer(content[begin:end], dtype=layout).copy()
    assert len(rows) == len(frame)
    for name, bits in layout:
        if name in EXTENDED:
            at = np.flatnonzero(rows[name] == codes[bits])
            assert len(at) == frame[name].isna().sum() > 0
            rows[name][at] += (np.array([0, 1, 2, 26])[np.arange(len(at)) % 4] * steps[bits]).astype(rows[name].dtype)
    return content[:begin] + rows.tobytes() + content[end:]


def _bits(dtype: object) -> str:
    return {"int8": "i1", "int16": "<i2", "int32": "<i4", "float32": "<u4", "float64": "<u8"}[str(dtype).lower()]


def write_csv(frame: pd.DataFrame, missing: str = ".") -> bytes:
    """Return the file as CSV, every digit of the stored values written."""
    wide = frame.astype(dict.fromkeys(SINGLE, "float64"))
    return wide.to_csv(index=False, na_rep=missing, float_format="%.17g", lineterminator="\n").encode()


def write_parquet(frame: pd.DataFrame) -> bytes:
    """Return the file as Parquet."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def main() -> None:
    """Write the file."""
    FILE.write_bytes(gzip.compress(write_dta(simulate()), compresslevel=9, mtime=0))


if __name__ == "__main__":
    main()

# A few records with what a reader may trip over.
SMALL = pd.DataFrame(
    {
        "idvar": np.array([1, 1, 2, 2], dtype=np.int16),
        "warday": np.array([1, 2, 1, 2], dtype=np.int16),
        "withdraw": np.array([0, 1, 0, 0], dtype=np.int8),
        "contribpc": np.array([0.1, 0.1, 0.05, np.nan], dtype=np.float32),
        "country": ["Aland", "Aland", "Bland", "Bland"],
    }
)
