"""Times that differ by rounding: R's rule in plain loops, and the quick look that saves it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coalition_exit.errors import DataError
from coalition_exit.survival import CoxPH, SharedFrailty, Surv, kaplan_meier, logrank_test, survival_curves
from coalition_exit.survival.cox.risksets import prepare_risk_sets
from coalition_exit.survival.data.timefix import TOLERANCE, join_near_times, near_event_times

NEAR = pd.DataFrame(
    {
        "start": [0, 0.1, 0, 0.3, 0.1 + 0.2, 0],
        "time": [0.1 + 0.2, 0.3, 0.3, 0.7, 0.1 * 7, 1.1],
        "event": [1, 1, 0, 1, 1, 0],
        "x": [1, 0, 2, 1.5, -1, 0.5],
        "g": [1, 1, 2, 2, 3, 3],
    }
)
# Multiples of a tenth reached in two ways, and a few with a larger error.
TIMES = st.sampled_from(
    [k / 10 for k in range(1, 9)] + [0.1 + 0.2, 0.1 * 3, 0.7 * 1.1, 0.1 * 7, 0.3 + 1e-9, 0.5 - 1e-12]
)


def slow_join(values: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """Each time takes the first value of its chain."""
    known, heads = sorted(set(pool)), {}
    reach = TOLERANCE * max(1.0, float(np.mean(np.abs(known))))
    for k, time in enumerate(known):
        heads[time] = heads[known[k - 1]] if k and time - known[k - 1] <= reach else time
    return np.array([heads[value] for value in values])


def test_the_tenths() -> None:
    assert 0.1 + 0.2 != 0.3
    surv, n_joined = join_near_times(Surv(NEAR["start"], NEAR["time"], NEAR["event"]))
    assert n_joined == 2
    assert surv.stop[:3].tolist() == [0.3] * 3
    assert surv.stop[3] == surv.stop[4]
    assert surv.start[3] == surv.start[4] == 0.3


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(TIMES, TIMES, st.booleans(), st.integers(0, 1)), min_size=2, max_size=12))
def test_equals_plain_loops_and_the_quick_look_misses_nothing(rows: list[tuple[float, float, bool, int]]) -> None:
    rows = [(min(a, b), max(a, b), event, stratum) for a, b, event, stratum in rows if abs(a - b) > 1e-6]
    if not rows:
        return
    start, stop, event, stratum = (np.array(column) for column in zip(*rows, strict=True))
    surv = Surv(start, stop, event)
    joined, count = join_near_times(surv)
    pool = np.concatenate([start, stop])
    np.testing.assert_array_equal(joined.stop, slow_join(stop, pool))
    np.testing.assert_array_equal(joined.start, slow_join(start, pool))
    assert count == len(set(pool)) - len(set(slow_join(pool, pool)))
    assert (joined is surv) == (count == 0)
    for strata in (None, stratum.astype(np.int64)):
        before, after = prepare_risk_sets(surv, strata), prepare_risk_sets(joined, strata)
        same = len(before.rows) == len(after.rows) and all(
            np.array_equal(getattr(before, name), getattr(after, name)) for name in ("rows", "first", "last", "stratum")
        )
        # Risk sets that change are always noticed.
        assert same or near_event_times(surv, before)


def test_whole_numbers_are_left_alone() -> None:
    seconds = 1.6e9 + np.arange(6.0)
    surv = Surv(seconds, [1, 1, 0, 1, 1, 0])
    assert join_near_times(surv) == (surv, 0)
    fit = CoxPH().fit("Surv(t, event) ~ x", NEAR.assign(t=seconds))
    assert fit.n_joined == 0
    assert fit.beta == pytest.approx(CoxPH().fit("Surv(t, event) ~ x", NEAR.assign(t=np.arange(6.0))).beta)


def test_every_estimator_on_times_joins_them() -> None:
    clean = NEAR.assign(time=NEAR["time"].round(6), start=NEAR["start"].round(6))
    formula = "Surv(start, time, event) ~ x"
    fits = [SharedFrailty(theta=0.5).fit(formula, data, cluster="g") for data in (NEAR, clean)]
    np.testing.assert_allclose(fits[0].beta, fits[1].beta, rtol=1e-12)
    assert "2 times joined" in str(fits[0])
    apart = SharedFrailty(theta=0.5, timefix=False).fit(formula, NEAR, cluster="g")
    assert abs(apart.beta[0] - fits[0].beta[0]) > 1e-3
    for data in (NEAR, clean):
        assert survival_curves("Surv(start, time, event)", data)["all"].time.tolist() == [0, 0.1, 0.3, 0.7, 1.1]
    assert "2 times of the data joined" in repr(survival_curves("Surv(start, time, event)", NEAR)["all"])
    curve = kaplan_meier("Surv(time, event)", NEAR)["all"]
    assert curve.survival_function_.loc[0.3].item() == pytest.approx(4 / 6)
    tests = [logrank_test("Surv(start, time, event)", data, by="g") for data in (NEAR, clean)]
    assert tests[0].statistic == pytest.approx(tests[1].statistic, rel=1e-12)
    assert "2 times joined" in str(tests[0])


def test_subjects_that_follow_themselves_within_rounding_do_not_overlap() -> None:
    data = pd.DataFrame(
        {"id": [1, 1, 2], "start": [0, 0.3, 0], "stop": [0.1 + 0.2, 0.6, 0.5], "event": [0, 1, 1], "x": [1.0, 2, 0.5]}
    )
    fit = CoxPH(ridge=1).fit("Surv(start, stop, event) ~ x", data, id="id", weights=np.ones(3))
    assert fit.n_subject == 2


def test_an_episode_without_length_is_refused() -> None:
    data = NEAR.assign(start=[0, 0.1, 0, 0.3, 0.7, 0])
    with pytest.raises(DataError, match=r"row 4: expected an episode longer than rounding error \(timefix=False"):
        CoxPH().fit("Surv(start, time, event) ~ x", data)
