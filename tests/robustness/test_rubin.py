"""Rubin's rules against mice's pool.scalar and against numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from coalition_exit.errors import DataError
from coalition_exit.robustness.rubin import pool

VALUES = pd.read_csv(Path(__file__).parents[1] / "reference" / "rubin_values.csv")


@pytest.mark.parametrize("case", ["few", "many", "wide", "two"])
def test_against_mice(case) -> None:
    own = VALUES[VALUES["model"] == case].set_index("quantity")["value"].astype(float)
    q = [own[name] for name in own.index if name[0] == "q" and name[1:].isdigit()]
    u = [own[name] for name in own.index if name[0] == "u" and name[1:].isdigit()]
    found = pool(["b"], np.array(q)[:, None], np.array(u)[:, None], own["df_complete"]).iloc[0]
    for ours, theirs in (
        ("estimate", "qbar"),
        ("within", "ubar"),
        ("between", "b"),
        ("df", "df"),
        ("riv", "r"),
        ("fmi", "fmi"),
    ):
        assert found[ours] == pytest.approx(own[theirs], rel=1e-12), ours
    assert found["std_error"] ** 2 == pytest.approx(own["t"], rel=1e-12)


def test_by_hand() -> None:
    # Estimates 1, 2, 3 with variance 1: W = 1, B = 1, T = 1 + 4/3, df = 2 / (4/7)^2 = 6.125.
    found = pool(["b"], [[1.0], [2.0], [3.0]], [[1.0]] * 3).iloc[0]
    assert found["estimate"] == 2.0
    assert found["std_error"] == pytest.approx(np.sqrt(7 / 3), rel=1e-15)
    assert found["share_between"] == pytest.approx(4 / 7, rel=1e-15)
    assert found["df"] == pytest.approx(6.125, rel=1e-9)
    reach = stats.t.ppf(0.975, 6.125) * np.sqrt(7 / 3)
    assert found["conf_high"] - found["conf_low"] == pytest.approx(2 * reach, rel=1e-9)


def test_equal_data_sets_are_one() -> None:
    found = pool(["b"], [[0.3]] * 4, [[0.04]] * 4, 43).iloc[0]
    assert (found["estimate"], found["std_error"], found["between"]) == (0.3, 0.2, 0.0)
    # Barnard and Rubin: with nothing missing df are those observed, (nu + 1) / (nu + 3) nu.
    assert found["df"] == pytest.approx(44 / 46 * 43, rel=1e-8)


def test_bad_input() -> None:
    with pytest.raises(DataError, match="at least two"):
        pool(["b"], [[1.0]], [[1.0]])
    with pytest.raises(DataError, match="m rows of 2 estimates"):
        pool(["a", "b"], [[1.0], [2.0]], [[1.0], [1.0]])
    with pytest.raises(DataError, match="positive variances"):
        pool(["b"], [[1.0], [2.0]], [[1.0], [0.0]])
    with pytest.raises(DataError, match="level"):
        pool(["b"], [[1.0], [2.0]], [[1.0], [1.0]], level=1.0)
