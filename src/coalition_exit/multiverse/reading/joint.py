"""Tests of a whole specification curve, whether it is further from 0 than curves under the null are.

Statistics of a curve are compared with those of `null.curves`. A p value is (k + 1) / (R + 1), k of R curves under
the null being as extreme as the curve found.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtri

from coalition_exit.errors import DataError, FitError, one_of, shown
from coalition_exit.multiverse.null.curves import NullCurves
from coalition_exit.multiverse.null.refits import NOT_TESTED

Floats = NDArray[np.float64]
SIGNS = {"positive": 1, "negative": -1, "either": 0}
STATISTICS = ("median", "share_significant", "share_sign", "mean_z")
ALTERNATIVES = ("one-sided", "two-sided")
_Z = float(ndtri(0.975))
# Shares of two curves are equal when they differ by rounding only.
_ROUNDING = 1e-9
# Ranks at which a band is kept.
_RANKS = 201


@dataclass(frozen=True, eq=False)
class JointTest:
    """Tests of a curve, per focus term.

    Attributes
    ----------
    tests : DataFrame
        term, statistic, alternative, observed, null_median, null_low, null_high (2.5% and 97.5% of the curves under
        the null), exceeding, replicates, p_value, monte_carlo_error, p_low, p_high (Clopper and Pearson's 95%
        interval of the exceeding share).
    replicates : DataFrame
        One row a term and curve under the null: the statistics in the expected direction (in that of the curve's
        median where either sign is expected), and the share of specs that have an estimate in it.
    band : DataFrame
        term, rank (from 0 to 1), low, median, high: sorted curves under the null, rank by rank.
    refits : DataFrame
        `NullCurves.outcomes`.
    untested : DataFrame
        reason, specs.
    by, n_cluster, seed
        What was drawn, of how many, by which seed.
    """

    tests: pd.DataFrame
    replicates: pd.DataFrame
    band: pd.DataFrame
    refits: pd.DataFrame
    untested: pd.DataFrame
    by: str
    n_cluster: int
    seed: int


def joint_test(curves: NullCurves, expected: Mapping[str, str], scale: Mapping[str, Floats] | None = None) -> JointTest:
    """Test the curve of each focus term that has refits.

    The statistics are Simonsohn, Simmons and Nelson's median estimate, share of specs significant at 5% in the expected
    direction, and mean z (theirs combines p values the same way, after Stouffer), and the share of estimates with the
    expected sign. One-sided is in the expected direction. Two-sided takes the absolute value of median and mean z,
    and the larger of the two directions' shares; it is the only one where either sign is expected.

    Parameters
    ----------
    curves
        Of `null_curves`.
    expected
        Focus term -> "positive", "negative" or "either".
    scale
        Focus term -> by what its estimates are multiplied, spec by spec, (N,): `measures.scale_of`. Terms that are not
        there stay as they are.

    Raises
    ------
    DataError
        A term without an expected sign.
    FitError
        No spec was refitted.

    References
    ----------
    Simonsohn, U., Simmons, J. P. and Nelson, L. D. (2020), Nature Human Behaviour 4, 1208-1214.
    """
    tests, replicates, bands = [], [], []
    for f, term in enumerate(curves.focus):
        sign = expected.get(term)
        if sign not in SIGNS:
            raise DataError(f"expected sign of {term}", one_of(SIGNS), shown(sign))
        tested = np.flatnonzero((curves.status[:, :, f] != NOT_TESTED).any(axis=0))
        if not len(tested):
            continue
        b, error = curves.estimate[tested, f], curves.error[tested, f]
        unit = np.ones(len(tested)) if scale is None or term not in scale else scale[term][tested]
        observed = _directions(b * unit, b / error)
        null = [
            _directions(curves.shift[r, tested, f].astype(float) * unit, curves.statistic[r, tested, f].astype(float))
            for r in range(curves.n_replicates)
        ]
        null = [own for own in null if own]
        own_tests = _tests(observed, null, SIGNS[sign])
        own_tests.insert(0, "term", term)
        tests.append(own_tests)
        replicates.append(_replicates(term, observed, null, SIGNS[sign], len(tested)))
        bands.append(_band(term, curves, tested, f, unit))
    if not tests:
        raise FitError("not_tested", f"no spec with {' or '.join(curves.focus)} was refitted")
    untested = pd.DataFrame(list(curves.untested.items()), columns=["reason", "specs"])
    return JointTest(
        pd.concat(tests, ignore_index=True), pd.concat(replicates, ignore_index=True),
        pd.concat(bands, ignore_index=True), curves.outcomes(), untested, curves.by, curves.n_cluster, curves.seed,
    )  # fmt: skip


def _directions(b: Floats, z: Floats) -> dict[str, float]:
    """Return what all statistics are made of; nothing where no spec has an estimate."""
    known = np.isfinite(b) & np.isfinite(z)
    if not known.any():
        return {}
    b, z = b[known], z[known]
    return {
        "median": float(np.median(b)), "mean_z": float(z.mean()), "specs": float(len(b)),
        "significant_up": float((z > _Z).mean()), "significant_down": float((z < -_Z).mean()),
        "up": float((b > 0).mean()), "down": float((b < 0).mean()),
    }  # fmt: skip


def _value(own: Mapping[str, float], statistic: str, sign: int) -> float:
    """Return a statistic in a direction; ``sign`` 0 is the two-sided form."""
    if statistic in ("median", "mean_z"):
        return sign * own[statistic] if sign else abs(own[statistic])
    stem = "significant_" if statistic == "share_significant" else ""
    up, down = own[f"{stem}up"], own[f"{stem}down"]
    return up if sign > 0 else down if sign < 0 else max(up, down)


def _tests(observed: Mapping[str, float], null: list[dict[str, float]], sign: int) -> pd.DataFrame:
    rows = []
    for statistic in STATISTICS:
        for alternative in ALTERNATIVES:
            side = sign if alternative == "one-sided" else 0
            if alternative == "one-sided" and not sign:
                continue
            found = _value(observed, statistic, side)
            values = np.array([_value(own, statistic, side) for own in null])
            slack = _ROUNDING * max(1.0, abs(found))
            k, n = int((values >= found - slack).sum()), len(values)
            p = (k + 1) / (n + 1)
            low, middle, high = np.quantile(values, [0.025, 0.5, 0.975]) if n else (np.nan,) * 3
            rows.append(
                (statistic, alternative, found, middle, low, high, k, n, p, np.sqrt(p * (1 - p) / max(n, 1)),
                 *exact_interval(k, n))
            )  # fmt: skip
    names = [
        "statistic", "alternative", "observed", "null_median", "null_low", "null_high", "exceeding", "replicates",
        "p_value", "monte_carlo_error", "p_low", "p_high",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=names)


def exact_interval(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return Clopper and Pearson's interval of a share found k times in n (Biometrika 26, 1934, 404-413)."""
    tail = (1 - level) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k > 0 else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return low, high


def _replicates(
    term: str, observed: Mapping[str, float], null: list[dict[str, float]], sign: int, n: int
) -> pd.DataFrame:
    side = sign or (1 if observed["median"] >= 0 else -1)
    rows = []
    for r, own in enumerate(null, 1):
        values = {name: _value(own, name, side) for name in STATISTICS}
        rows.append({"term": term, "replicate": r, **values, "share_estimated": own["specs"] / n})
    return pd.DataFrame(rows, columns=["term", "replicate", *STATISTICS, "share_estimated"])


def _band(term: str, curves: NullCurves, tested: NDArray[np.int64], f: int, unit: Floats) -> pd.DataFrame:
    """Return quantiles of the sorted curves, at ranks from 0 to 1."""
    ranks = np.linspace(0, 1, min(_RANKS, max(len(tested), 2)))
    kept = np.full((curves.n_replicates, len(ranks)), np.nan)
    for r in range(curves.n_replicates):
        own = curves.shift[r, tested, f].astype(float) * unit
        own = own[np.isfinite(own)]
        if len(own):
            kept[r] = np.quantile(own, ranks)
    kept = kept[np.isfinite(kept).all(axis=1)]
    low, middle, high = (
        np.quantile(kept, [0.025, 0.5, 0.975], axis=0) if len(kept) else np.full((3, len(ranks)), np.nan)
    )
    return pd.DataFrame({"term": term, "rank": ranks, "low": low, "median": middle, "high": high})


FILES = ("tests", "replicates", "band", "refits", "untested")


def write_joint_test(test: JointTest, folder: str | Path) -> list[Path]:
    """Write the frames as ``joint_NAME.csv`` and, last, as ``joint.json`` what was drawn and of which run it is."""
    out = Path(folder)
    (out / "joint.json").unlink(missing_ok=True)
    paths = []
    for name in FILES:
        paths.append(out / f"joint_{name}.csv")
        getattr(test, name).to_csv(paths[-1], index=False, lineterminator="\n")
    content = {"by": test.by, "n_cluster": test.n_cluster, "seed": test.seed, "plan": _plan(out)}
    paths.append(out / "joint.json")
    paths[-1].write_text(json.dumps(content) + "\n", encoding="utf-8", newline="\n")
    return paths


def read_joint_test(folder: str | Path) -> JointTest | None:
    """Read what `write_joint_test` wrote; None where there is nothing, or only the test of another run.

    Raises
    ------
    DataError
        When a file is missing or not whole.
    """
    out = Path(folder)
    if not (out / "joint.json").is_file():
        return None
    try:
        content = json.loads((out / "joint.json").read_text("utf-8"))
        if content.get("plan") != _plan(out):
            return None
        tests, replicates, band, refits, untested = (
            pd.read_csv(out / f"joint_{name}.csv", float_precision="round_trip") for name in FILES
        )
        return JointTest(
            tests, replicates, band, refits, untested, content["by"], content["n_cluster"], content["seed"]
        )
    except (OSError, ValueError, KeyError) as error:
        raise DataError(str(out), "the files of a joint test", str(error), "Run the test again") from None


def _plan(folder: Path) -> str | None:
    """Return the fingerprint of the run in a folder."""
    path = folder / "multiverse.json"
    return json.loads(path.read_text("utf-8"))["plan"] if path.is_file() else None
