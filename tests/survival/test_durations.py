"""Duration dependence: bases, names, knots, dummies. R's values enter through the models in test_discrete.py."""

from __future__ import annotations

import numpy as np
import pytest

from coalition_exit.errors import DataError, FitError
from coalition_exit.survival.discrete.durations import make_baseline, natural_spline, restricted_spline

PERIODS = np.repeat(np.arange(1, 41), np.arange(80, 0, -2))
EVENTS = (np.arange(len(PERIODS)) % 7 == 0) & (PERIODS > 2) & (PERIODS != 9) & (PERIODS < 38)


def make(kind, **options):
    return make_baseline(kind, PERIODS, EVENTS, **options)


def test_names_and_values():
    t = np.array([1, 5, 40])
    assert make("constant").basis(t).shape == (3, 0)
    assert make("linear").basis(t)[:, 0].tolist() == [1, 5, 40]
    assert make("linear").names == ("t",)
    np.testing.assert_allclose(make("log").basis(t)[:, 0], np.log([1, 5, 40]))
    assert make("log").names == ("ln_t",)
    cubic = make("cubic")
    assert cubic.names == ("t", "t2", "t3")
    np.testing.assert_allclose(cubic.basis(t), np.array([[0.01, 0.05, 0.4]]).T ** np.array([1, 2, 3]))
    np.testing.assert_allclose(make("cubic", divisor=10).basis(t)[2], [4, 16, 64])
    assert make("ns").names == ("ns1", "ns2", "ns3")
    assert make("rcs", df=4).names == ("rcs1", "rcs2", "rcs3", "rcs4")
    assert [str(make(k)) for k in ("constant", "linear", "log", "cubic")] == [
        "constant", "linear in t", "log t", "cubic in t/100",
    ]  # fmt: skip


def test_knots_are_quantiles_of_the_person_periods():
    ns = make("ns", df=4)
    assert ns.knots == tuple(np.quantile(PERIODS, [0.25, 0.5, 0.75]))
    assert ns.boundary == (1.0, 40.0)
    assert make("rcs", df=3).knots == tuple(np.quantile(PERIODS, [0.05, 0.35, 0.65, 0.95]))
    assert make("ns", df=1).knots == ()
    assert str(make("ns", knots=(4, 20))) == "natural cubic spline, knots 1, 4, 20, 40"
    assert str(make("rcs", knots=(4, 20, 30))) == "restricted cubic spline, knots 4, 20, 30"


def second_difference(f, t, h):
    return (f(t + h) - 2 * f(t) + f(t - h)) / h**2


def test_natural_spline_is_linear_outside_smooth_inside_and_zero_at_the_first_knot():
    def basis(t):
        return natural_spline(np.asarray(t, dtype=float), (5, 12, 20), (1, 40))

    np.testing.assert_allclose(second_difference(basis, np.array([0.0, -3.0, 42.0, 60.0]), 0.5), 0, atol=1e-12)
    np.testing.assert_allclose(basis([1.0]), 0, atol=1e-15)
    knots = np.array([1.0, 5, 12, 20, 40])
    for order in (1, 2):
        step = 1e-4
        left = np.diff(
            basis((knots[:, None] - step * np.arange(order, -1, -1)).ravel()).reshape(5, order + 1, -1), order, 1
        )
        right = np.diff(
            basis((knots[:, None] + step * np.arange(order + 1)).ravel()).reshape(5, order + 1, -1), order, 1
        )
        # One-sided differences agree up to the next derivative times the step.
        np.testing.assert_allclose(left / step**order, right / step**order, atol=2e-5)
    with_constant = np.column_stack([basis(np.arange(1, 41)), np.ones(40), np.arange(1, 41)])
    assert np.linalg.matrix_rank(with_constant) == 5, "a line lies in the space of a natural spline"


def test_restricted_spline_is_linear_outside_its_knots():
    def basis(t):
        return restricted_spline(np.asarray(t, dtype=float), (5, 12, 20, 30))

    np.testing.assert_allclose(second_difference(basis, np.array([1.0, 4.0, 31.0, 50.0]), 0.5), 0, atol=1e-12)
    np.testing.assert_array_equal(basis([1.0, 5.0])[:, 1:], 0)
    # By hand at 20: ((20-5)^3 - (30-5)/(30-20) * 0 + 0) / (30-5)^2 and (20-12)^3 / 625.
    np.testing.assert_allclose(basis([20.0])[0], [20, 15**3 / 625, 8**3 / 625])


def test_both_splines_span_the_same_functions():
    t = np.arange(1, 41, dtype=float)
    ns = natural_spline(t, (12, 20), (5, 30))
    rcs = restricted_spline(t, (5, 12, 20, 30))
    fitted = (
        np.column_stack([ns, np.ones(40)]) @ np.linalg.lstsq(np.column_stack([ns, np.ones(40)]), rcs, rcond=None)[0]
    )
    np.testing.assert_allclose(fitted, rcs, atol=1e-9)


def test_dummies_drop_or_pool_periods_without_events():
    drop, pool = make("dummies"), make("dummies", empty="pool")
    levels = [k for k in range(3, 38) if k != 9]
    assert drop.levels == pool.levels == tuple(levels)
    assert drop.empty_periods == pool.empty_periods == (1, 2, 9, 38, 39, 40)
    assert drop.names[0] == "period[4]"
    assert len(drop.names) == len(levels) - 1
    assert drop.level(np.array([1, 3, 9, 10, 40])).tolist() == [-1, 0, -1, 6, -1]
    # Pooled with the next period with events, after the last with the last.
    assert pool.level(np.array([1, 3, 9, 10, 37, 40])).tolist() == [0, 0, 6, 6, 33, 33]
    assert pool.basis(np.array([1, 9, 40])).argmax(axis=1).tolist() == [0, 5, 32]
    assert pool.basis(np.array([1, 9, 40])).sum(axis=1).tolist() == [0, 1, 1]
    with pytest.raises(DataError, match=r"period: expected one of .*, got 9"):
        drop.basis(np.array([9]))


def test_no_events_no_dummies():
    with pytest.raises(FitError, match="no events") as caught:
        make_baseline("dummies", PERIODS, np.zeros(len(PERIODS), dtype=bool))
    assert caught.value.status == "no_events"


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("cubik", {}, "baseline: .*Did you mean 'cubic'"),
        ("dummies", {"empty": "dropp"}, "empty: .*Did you mean 'drop'"),
        ("cubic", {"df": 3}, "df, knots: expected none but for baseline 'ns' or 'rcs'"),
        ("ns", {"df": 3, "knots": (2, 3)}, "one of the two, got both"),
        ("ns", {"df": 0}, "df: expected 1 or more"),
        ("rcs", {"df": 1}, "df: expected 2 to 6"),
        ("rcs", {"df": 7}, "df: expected 2 to 6"),
        ("rcs", {"knots": (2, 9)}, "knots: expected 3 or more increasing numbers, got 2, 9"),
        ("ns", {"knots": (9, 2)}, "knots: expected .*increasing"),
        ("ns", {"knots": (9, 40)}, "knots: expected periods between 1 and 40"),
        ("rcs", {"knots": (9, 20, 50)}, "knots: expected periods between 1 and 40"),
        ("cubic", {"divisor": 0}, "divisor: expected a positive number"),
    ],
)
def test_refuses(kind, options, message):
    with pytest.raises(DataError, match=message):
        make(kind, **options)


def test_too_few_periods_for_the_knots():
    with pytest.raises(DataError, match="Too few periods for so many knots"):
        make_baseline("rcs", np.array([1, 1, 1, 1, 2]), np.array([0, 0, 0, 0, 1], dtype=bool))
