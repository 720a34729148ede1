"""Person-periods: a slow, obvious implementation, small cases by hand, invariances, refusals."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coalition_exit.errors import DataError
from coalition_exit.survival.data.periods import period_length, person_periods
from coalition_exit.survival.data.surv import Surv


def slow(episodes, length, covariates):
    """One dictionary a subject and period, by walking through every episode.

    ``episodes``: (subject, start, stop, event, x), times whole numbers; ``length`` a whole number.
    """
    rows = []
    for subject in sorted({e[0] for e in episodes}):
        own = sorted(e[1:] for e in episodes if e[0] == subject)
        for k in range(1, max(e[1] for e in own) // length + 2):
            low, high = (k - 1) * length, k * length
            inside = []
            for start, stop, event, x in own:
                enter, leave = max(start, low), min(stop, high)
                if leave > enter:
                    inside.append((enter, leave, bool(event) and low < stop <= high, x))
                    if inside[-1][2]:
                        break
            if not inside:
                continue
            time = sum(leave - enter for enter, leave, _, _ in inside)
            value = {
                "start": inside[0][3],
                "end": inside[-1][3],
                "mean": sum((leave - enter) * x for enter, leave, _, x in inside) / time,
            }[covariates]
            event = inside[-1][2]
            share = (time + (high - inside[-1][1] if event else 0)) / length
            late = inside[0][0] > low
            short = not event and inside[-1][1] < high
            gap = any(b[0] > a[1] for a, b in pairwise(inside))
            rows.append((subject, k, event, value, share, late, short, gap))
    return rows


@st.composite
def panels(draw):
    episodes = []
    for subject in range(draw(st.integers(1, 4))):
        time, last = draw(st.integers(0, 6)), 0
        for _ in range(draw(st.integers(1, 5))):
            stop = time + draw(st.integers(1, 9))
            # One event at most in any period of the lengths tried.
            event = draw(st.booleans()) and stop > last + 14
            last = stop if event else last
            episodes.append((subject, time, stop, event, float(draw(st.integers(-3, 3)))))
            time = stop + draw(st.sampled_from([0, 0, 0, 2, 5]))
    return episodes


@settings(deadline=None, max_examples=150)
@given(
    panels(),
    st.integers(1, 7),
    st.sampled_from(["start", "end", "mean"]),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_equals_the_slow_way(episodes, length, covariates, drop, random):
    wanted = slow(episodes, length, covariates)
    shuffled = episodes[:]
    random.shuffle(shuffled)
    subject, start, stop, event, x = (np.array(c) for c in zip(*shuffled, strict=True))
    got = person_periods(
        Surv(start, stop, event), x[:, None], float(length), id=subject, covariates=covariates,
        partial="drop" if drop else "keep",
    )  # fmt: skip
    counts = got.counts
    assert (counts.n_rows, counts.n_merged) == (len(episodes), 0)
    assert counts.n_late == sum(w[5] for w in wanted)
    assert counts.n_partial == sum(w[6] for w in wanted)
    assert counts.n_gap == sum(w[7] for w in wanted)
    assert counts.n_dropped == (counts.n_partial if drop else 0)
    kept = [w for w in wanted if not (drop and w[6])]
    assert got.subject.tolist() == [w[0] for w in kept]
    assert got.period.tolist() == [w[1] for w in kept]
    assert got.event.tolist() == [w[2] for w in kept]
    np.testing.assert_allclose(got.x[:, 0], [w[3] for w in kept], atol=1e-12)
    np.testing.assert_allclose(got.at_risk, [w[4] for w in kept], atol=1e-12)


@settings(deadline=None, max_examples=50)
@given(panels(), st.integers(1, 7), st.sampled_from(["start", "end", "mean"]))
def test_splitting_episodes_changes_nothing(episodes, length, covariates):
    split = []
    for subject, start, stop, event, x in episodes:
        cut = (start + stop) / 2
        split += [(subject, start, cut, False, x), (subject, cut, stop, event, x)]
    found = []
    for rows in (episodes, split):
        subject, start, stop, event, x = (np.array(c) for c in zip(*rows, strict=True))
        found.append(person_periods(Surv(start, stop, event), x[:, None], length, id=subject, covariates=covariates))
    one, two = found
    for name in ("subject", "period", "event"):
        assert getattr(one, name).tolist() == getattr(two, name).tolist()
    np.testing.assert_allclose(one.x, two.x, atol=1e-12)
    np.testing.assert_allclose(one.at_risk, two.at_risk, atol=1e-12)


LENGTHS = {"day": Fraction(1), "week": Fraction(7), "month": Fraction(36525, 1200), "year": Fraction(36525, 100)}


@st.composite
def fine_panels(draw):
    """Episodes on a grid of 1/16 day, which has all boundaries of months; with late entry and gaps."""
    episodes = []
    for subject in range(draw(st.integers(1, 3))):
        time = Fraction(draw(st.integers(0, 16 * 60)), 16)
        for _ in range(draw(st.integers(1, 4))):
            # A stop on a month's or year's boundary, a whole day, or anywhere.
            month, year = LENGTHS["month"], LENGTHS["year"]
            later = draw(
                st.sampled_from(
                    [
                        (time // month + 1) * month,
                        (time // year + 1) * year,
                        time // 1 + draw(st.integers(1, 40)),
                        time + Fraction(draw(st.integers(1, 16 * 50)), 16),
                    ]
                )
            )
            episodes.append((subject, time, later, False, float(draw(st.integers(-3, 3)))))
            time = later + draw(st.sampled_from([Fraction(0), Fraction(0), Fraction(5, 16), Fraction(40)]))
        if draw(st.booleans()):
            episodes[-1] = (*episodes[-1][:3], True, episodes[-1][4])
    return episodes


@settings(deadline=None, max_examples=60)
@given(fine_panels(), st.sampled_from(sorted(LENGTHS)), st.sampled_from(["start", "end", "mean"]))
def test_named_periods_equal_exact_arithmetic(episodes, period, covariates):
    """The walk of `slow` in fractions: an event at a boundary falls in the period that ends there."""
    wanted = slow(episodes, LENGTHS[period], covariates)
    subject, start, stop, event, x = zip(*episodes, strict=True)
    got = person_periods(
        Surv(np.array(start, float), np.array(stop, float), np.array(event)), np.array(x)[:, None],
        period_length(period), id=np.array(subject), covariates=covariates,
    )  # fmt: skip
    assert got.subject.tolist() == [w[0] for w in wanted]
    assert got.period.tolist() == [w[1] for w in wanted]
    assert got.event.tolist() == [w[2] for w in wanted]
    np.testing.assert_allclose(got.x[:, 0], [float(w[3]) for w in wanted], atol=1e-12)
    np.testing.assert_allclose(got.at_risk, [float(w[4]) for w in wanted], rtol=1e-9)
    counts = (got.counts.n_late, got.counts.n_partial, got.counts.n_gap)
    assert counts == tuple(sum(w[k] for w in wanted) for k in (5, 6, 7))


def test_periods_of_the_same_episodes_nest():
    """An event in day k is in week ceil(k / 7); the days at risk of a week are its time at risk."""
    rng = np.random.default_rng(4)
    stop = rng.integers(1, 400, 40).astype(float)
    start = np.floor(stop * rng.random(40))
    surv = Surv(start, stop, rng.random(40) < 0.4)
    days = person_periods(surv, np.zeros((40, 0)), 1.0)
    weeks = person_periods(surv, np.zeros((40, 0)), 7.0)
    of_day = {(s, (k + 6) // 7) for s, k in zip(days.subject.tolist(), days.period.tolist(), strict=True)}
    assert of_day == set(zip(weeks.subject.tolist(), weeks.period.tolist(), strict=True))
    assert weeks.event.sum() == days.event.sum() == surv.event.sum()
    assert days.at_risk.min() == 1.0
    counts = np.unique(
        [s * 100 + (k + 6) // 7 for s, k in zip(days.subject, days.period, strict=True)], return_counts=True
    )
    without = ~weeks.event
    np.testing.assert_allclose(weeks.at_risk[without], counts[1][without] / 7, rtol=1e-12)


def test_late_periods_keep_times_apart_that_differ_by_a_thousandth():
    # Near a boundary a billionth of the period's number counts as rounding, but never more than a millionth of a period.
    surv = Surv([1_000_000.0, 1_000_000.001], [1_000_000.001, 1_000_000.5], [1, 1])
    got = person_periods(surv, np.zeros((2, 0)), 1.0)
    assert got.period.tolist() == [1_000_001, 1_000_001]
    assert got.event.tolist() == [True, True]
    assert got.counts.n_late == 1


def test_strata_and_groups_follow_the_covariates():
    surv = Surv([0, 5, 10], [5, 10, 12], [0, 0, 1])
    ids = np.zeros(3, dtype=np.int64)
    for covariates, wanted in (("start", [0, 2]), ("end", [1, 2])):
        got = person_periods(
            surv, np.zeros((3, 0)), 10.0, id=ids, covariates=covariates, strata=np.array([0, 1, 2]),
            group=np.array([3, 3, 4]),
        )  # fmt: skip
        assert got.stratum.tolist() == wanted
        assert got.group.tolist() == [3, 4]
    for role, codes in (("strata", np.array([0, 1, 1])), ("group", np.array([0, 1, 1]))):
        with pytest.raises(DataError, match=f"row 1: expected one {role.replace('strata', 'stratum')} for a subject"):
            person_periods(surv, np.zeros((3, 0)), 10.0, id=ids, covariates="mean", **{role: codes})


def test_boundaries_belong_to_the_period_they_end():
    surv = Surv([0, 0, 0], [30.4375, 30.5, 60.875], [1, 1, 1])
    got = person_periods(surv, np.zeros((3, 0)), period_length("month"))
    assert got.subject.tolist() == [0, 1, 1, 2, 2]
    assert got.period.tolist() == [1, 1, 2, 1, 2]
    assert got.event.tolist() == [True, False, True, False, True]


def test_boundaries_survive_floating_point():
    # 0.3 / 0.1 is 2.9999999999999996, 0.6 / 0.2 likewise.
    got = person_periods(Surv([0.3, 0.0], [0.4, 0.3], [1, 1]), np.zeros((2, 0)), 0.1)
    assert got.period.tolist() == [4, 1, 2, 3]
    assert got.counts.n_late == 0
    assert got.counts.n_partial == 0


def test_late_entry_gap_and_censoring_by_hand():
    # Subject 0: enters at 3, away from 8 to 12 and 22 to 25, censored at 27. Period length 10.
    surv = Surv([3, 12, 25], [8, 22, 27], [0, 0, 0])
    x = np.array([[1.0], [2.0], [4.0]])
    got = person_periods(surv, x, 10.0, id=np.zeros(3, dtype=np.int64), covariates="mean")
    assert got.period.tolist() == [1, 2, 3]
    np.testing.assert_allclose(got.at_risk, [0.5, 0.8, 0.4])
    np.testing.assert_allclose(got.x[:, 0], [1.0, 2.0, (2 * 2 + 2 * 4) / 4])
    assert (got.counts.n_late, got.counts.n_partial, got.counts.n_gap) == (2, 2, 1)


def test_what_follows_an_event_in_its_period_is_left_out():
    surv = Surv([0, 4, 6], [4, 6, 30], [0, 1, 0])
    x = np.array([[1.0], [2.0], [9.0]])
    ids = np.zeros(3, dtype=np.int64)
    assert person_periods(surv, x, 10.0, id=ids, covariates="end").x[:, 0].tolist() == [2.0, 9.0, 9.0]
    mean = person_periods(surv, x, 10.0, id=ids, covariates="mean")
    np.testing.assert_allclose(mean.x[:, 0], [(4 * 1 + 2 * 2) / 6, 9.0, 9.0])
    assert mean.event.tolist() == [True, False, False]
    assert mean.at_risk.tolist() == [1.0, 1.0, 1.0]


def test_weights_offset_and_cluster_follow_the_covariates():
    surv = Surv([0, 5, 10], [5, 10, 12], [0, 0, 1])
    ids = np.zeros(3, dtype=np.int64)
    got = person_periods(
        surv, np.zeros((3, 0)), 10.0, id=ids, covariates="end", cluster=np.array([4, 4, 7]),
        weights=np.array([1.0, 2.0, 3.0]), offset=np.array([0.1, 0.2, 0.3]),
    )  # fmt: skip
    assert got.weights.tolist() == [2.0, 3.0]
    assert got.offset.tolist() == [0.2, 0.3]
    assert got.cluster.tolist() == [4, 7]


def test_two_events_in_a_period_are_refused_or_merged():
    surv = Surv([0, 3, 6], [3, 6, 20], [1, 1, 0])
    ids = np.zeros(3, dtype=np.int64)
    with pytest.raises(DataError, match=r"subject of row 0, period 1: expected at most one event .* got 2"):
        person_periods(surv, np.zeros((3, 0)), 10.0, id=ids)
    x = np.array([[1.0], [2.0], [3.0]])
    got = person_periods(surv, x, 10.0, id=ids, repeated="merge", covariates="end")
    assert got.event.tolist() == [True, False]
    assert got.x[:, 0].tolist() == [1.0, 3.0]
    assert got.counts.n_merged == 1


def test_without_id_every_row_is_its_own_subject():
    got = person_periods(Surv([0, 2], [2, 4], [0, 1]), np.zeros((2, 0)), 10.0)
    assert got.subject.tolist() == [0, 1]
    assert got.period.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("surv", "arguments", "message"),
    [
        (Surv([-1.0], [2.0], [1]), {}, "Surv, start, row 0: expected analysis time of 0 or more, got -1"),
        (Surv([1.0, -2.0], [1, 0]), {}, "Surv, time, row 1: expected analysis time of 0 or more"),
        (Surv([2.0], [1]), {"covariates": "strat"}, "covariates: .*Did you mean 'start'"),
        (Surv([2.0], [1]), {"partial": "kept"}, "partial: .*Did you mean 'keep'"),
        (Surv([2.0], [1]), {"repeated": "merged"}, "repeated: .*Did you mean 'merge'"),
        (Surv([2.0e9], [1]), {}, "period: expected a length that gives at most"),
        (
            Surv([0, 1], [1, 2], [0, 0]),
            {"id": np.zeros(2, dtype=np.int64), "cluster": np.array([0, 1])},
            "cluster, row 1: expected one cluster",
        ),
    ],
)
def test_refuses(surv, arguments, message):
    with pytest.raises(DataError, match=message):
        person_periods(surv, np.zeros((len(surv), 0)), 3.0, **arguments)


def test_a_cluster_may_change_after_the_event():
    got = person_periods(
        Surv([0, 1], [1, 9], [1, 0]), np.zeros((2, 0)), 3.0, id=np.zeros(2, dtype=np.int64), cluster=np.array([0, 1])
    )
    assert got.cluster.tolist() == [0, 1, 1]


def test_lengths():
    assert period_length("day") == 1
    assert period_length("week") == 7
    assert period_length("month") == 30.4375
    assert period_length("year") == 365.25
    assert period_length(12) == 12.0
    for bad in ("moth", 0, -1.0, np.nan, np.inf, True):
        with pytest.raises(DataError, match="period"):
            period_length(bad)
