"""E-values against published ones and against the formula written out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from coalition_exit.errors import DataError
from coalition_exit.robustness.evalue import default_contrasts, e_value, e_values, risk_ratio
from robustness.worlds import small_problem


@pytest.mark.parametrize(
    ("ratio", "low", "high", "point", "bound"),
    [
        # VanderWeele and Ding (2017): smoking and lung cancer; breast-feeding; leukaemia.
        (10.73, 8.02, 14.36, 20.95, 15.52),
        (3.9, 1.8, 8.7, 7.26, 3.00),
        (0.80, 0.71, 0.91, 1.81, 1.43),
    ],
)
def test_published_examples(ratio, low, high, point, bound) -> None:
    found = e_value(ratio, low, high, rare=True)
    assert round(found.point, 2) == point
    assert round(found.bound, 2) == bound


def test_common_outcome_is_the_formula_of_the_table() -> None:
    hr = 0.56
    rr = (1 - 0.5 ** math.sqrt(hr)) / (1 - 0.5 ** math.sqrt(1 / hr))
    assert risk_ratio(hr, rare=False) == pytest.approx(rr, rel=1e-14)
    assert risk_ratio(hr, rare=True) == hr
    found = e_value(hr, 0.46, 0.69, rare=False)
    assert found.point == pytest.approx(1 / rr + math.sqrt(1 / rr * (1 / rr - 1)), rel=1e-14)
    upper = (1 - 0.5 ** math.sqrt(0.69)) / (1 - 0.5 ** math.sqrt(1 / 0.69))
    assert found.bound == pytest.approx(1 / upper + math.sqrt(1 / upper * (1 / upper - 1)), rel=1e-14)


def test_a_ratio_and_its_inverse_agree() -> None:
    for rare in (True, False):
        up, down = e_value(2.5, 1.4, 4.0, rare=rare), e_value(1 / 2.5, 1 / 4.0, 1 / 1.4, rare=rare)
        assert up.point == pytest.approx(down.point, rel=1e-13)
        assert up.bound == pytest.approx(down.bound, rel=1e-13)


def test_another_truth_than_no_effect() -> None:
    # E-value of 0.3 against a true ratio of 0.4, as the ratio of the two.
    found = e_value(0.3, 0.2, 0.35, rare=True, true=0.4)
    ratio = 0.4 / 0.3
    assert found.point == pytest.approx(ratio + math.sqrt(ratio * (ratio - 1)), rel=1e-13)


def test_an_interval_around_one_needs_no_confounder() -> None:
    assert e_value(1.2, 0.9, 1.6, rare=True).bound == 1.0
    assert e_value(1.0, 0.5, 2.0, rare=False).point == 1.0


def test_bad_input() -> None:
    with pytest.raises(DataError, match="hazard_ratio: expected a positive number"):
        e_value(-1.0, 0.5, 2.0, rare=True)
    with pytest.raises(DataError, match="bounds around"):
        e_value(3.0, 0.5, 2.0, rare=True)


def test_table_of_a_model() -> None:
    problem = small_problem()
    table = e_values(problem, contrasts={"x": 0.5})
    assert list(table["outcome"]) == ["rare", "common"] * 2
    fit = problem.fit()
    row = table.iloc[0]
    assert row["hazard_ratio"] == pytest.approx(math.exp(0.5 * fit.coef["x"]), rel=1e-13)
    share = problem.frame.loc[problem.event, "idvar"].nunique() / problem.frame["idvar"].nunique()
    assert row["share_with_event"] == share
    assert table.loc[table["recommended"], "outcome"].unique().tolist() == ["rare" if share < 0.15 else "common"]
    assert default_contrasts(problem.frame, ("x", "z")) == {
        "x": pytest.approx(np.std(problem.frame["x"], ddof=1)),
        "z": 1.0,
    }
    with pytest.raises(DataError, match="Did you mean 'x'"):
        e_values(problem, contrasts={"xx": 1.0})
    with pytest.raises(DataError, match="other than 0"):
        e_values(problem, contrasts={"x": 0.0})
    with pytest.raises(
        DataError, match=r"contrasts > x: expected a difference whose hazard ratio .* got 100000, which"
    ):
        e_values(problem, contrasts={"x": 1e5})
