"""Ways of computing the same likelihood that are chosen by size and shape agree with each other."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coalition_exit.errors import DataError
from coalition_exit.survival.cox import blockwise
from coalition_exit.survival.cox.partial import PartialLikelihood
from coalition_exit.survival.cox.risksets import _unit_rows, prepare_risk_sets
from coalition_exit.survival.cox.timeindex import count_up_to, distinct, stable_order
from coalition_exit.survival.data.design import _codes, _side_by_side, build_design
from coalition_exit.survival.data.surv import Surv, check_episodes

SEEDS = st.integers(0, 10**6)


def right_censored(seed, n=60):
    random = np.random.default_rng(seed)
    event = random.random(n) < 0.6
    event[0] = True
    return Surv(random.integers(1, 8, n).astype(float), event), random


def daily(seed, n=60):
    """Rows of one day each, at risk at one event time or none."""
    random = np.random.default_rng(seed)
    day = random.integers(0, 8, n).astype(float)
    event = random.random(n) < 0.4
    event[0] = True
    return Surv(day, day + 1.0, event), random


def likelihood(surv, random, p, weighted, offset, strata):
    codes = random.integers(0, 3, len(surv)) if strata else None
    rs = prepare_risk_sets(surv, codes)
    m = len(rs.rows)
    weights = random.choice([0.5, 1.0, 2.0], m) if weighted else None
    return PartialLikelihood(
        rs, random.normal(size=(m, p)), weights, random.normal(size=m) if offset else None, "breslow"
    )


def same(fast, slow):
    assert fast.loglik == pytest.approx(slow.loglik, rel=1e-12)
    np.testing.assert_allclose(fast.score, slow.score, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(fast.information, slow.information, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(fast.mean, slow.mean, rtol=1e-10, atol=1e-12)
    # Relative risks and hazards are in the same unit, whichever it is.
    unit = np.exp(fast.shift - slow.shift)
    np.testing.assert_allclose(fast.risk * unit, slow.risk, rtol=1e-12)
    np.testing.assert_allclose(fast.hazard / unit, slow.hazard, rtol=1e-11)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, p=st.integers(0, 3), weighted=st.booleans(), offset=st.booleans(), strata=st.booleans())
def test_moments_by_event_time_give_the_same_evaluation(seed, p, weighted, offset, strata):
    surv, random = right_censored(seed)
    own = likelihood(surv, random, p, weighted, offset, strata)
    assert not own._grouped, "chosen for many rows an event time only"
    for beta, more in ((np.zeros(p), 0.0), (random.normal(size=p), 0.0), (random.normal(size=p), 400.0)):
        # A linear predictor of 400 is taken relative to the largest.
        own.offset = own.offset if own.offset is None else own.offset + more
        own._grouped = True
        fast = own.evaluate(beta)
        assert (fast.shift != 0.0) == (own.offset is not None and more > 0)
        own._grouped = False
        own.__dict__.pop("_event_moments")
        same(fast, own.evaluate(beta))


def test_moments_by_event_time_are_chosen_for_many_rows():
    surv, random = right_censored(3, n=4000)
    own = likelihood(surv, random, 2, False, False, False)
    assert own._grouped
    assert not likelihood(*daily(3, n=4000), 2, False, False, False)._grouped


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, p=st.integers(1, 3), weighted=st.booleans(), offset=st.booleans(), strata=st.booleans())
def test_centring_beforehand_gives_the_same_evaluation(seed, p, weighted, offset, strata):
    surv, random = daily(seed)
    own = likelihood(surv, random, p, weighted, offset, strata)
    assert own._within_sets
    before = own.x.copy()
    for beta in (np.zeros(p), random.normal(size=p), 20.0 * random.normal(size=p)):
        own._within_sets = True
        fast = own.evaluate(beta)
        own._within_sets = False
        same(fast, own.evaluate(beta))
    np.testing.assert_array_equal(own.x, before)


def test_a_trend_over_time_costs_no_digits():
    """The squares of a covariate that follows calendar time are ten thousand million times its variance at a time."""
    surv, random = daily(5, n=400)
    rs = prepare_risk_sets(surv)
    x = random.normal(size=(len(rs.rows), 1))
    flat = PartialLikelihood(rs, x, None, None, "breslow").evaluate(np.array([3e-4]))
    steep = PartialLikelihood(rs, x + 2.0**17 * rs.last[:, None], None, None, "breslow").evaluate(np.array([3e-4]))
    np.testing.assert_allclose(steep.information, flat.information, rtol=1e-9)


def runs(seed, longest, lengths):
    """Rows that follow one another within runs, of a length each: subjects with gaps, late entries and events."""
    random = np.random.default_rng(seed)
    start, stop = [], []
    for _ in range(int(random.integers(1, 6))):
        own = random.choice(lengths, int(random.integers(8, longest)))
        ends = float(random.integers(-4, 5)) + np.cumsum(own)
        start.append(ends - own)
        stop.append(ends)
    start, stop = np.concatenate(start), np.concatenate(stop)
    event = random.random(len(stop)) < 0.05
    event[random.integers(0, len(stop))] = True
    return start, stop, event


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS, lengths=st.sampled_from([[1.0], [1.0, 2.0], [2.0], [0.5], [1.0, 1.5, 0.5]]))
def test_rows_that_follow_one_another_have_the_same_risk_sets(seed, lengths):
    columns = runs(seed, 60, lengths)
    fast, slow = Surv(*columns), Surv(*columns)
    assert fast.breaks is not None
    np.testing.assert_array_equal(fast.start[1:] != fast.stop[:-1], np.isin(np.arange(1, len(fast)), fast.breaks))
    # As rows that do not follow one another are treated.
    vars(slow)["breaks"] = None
    assert fast.is_whole == slow.is_whole == all(float(value).is_integer() for value in np.concatenate(columns[:2]))
    own, other = prepare_risk_sets(fast), prepare_risk_sets(slow)
    for name in ("rows", "first", "last", "event", "times", "stratum"):
        np.testing.assert_array_equal(getattr(own, name), getattr(other, name), err_msg=name)
    assert own.n_rows == other.n_rows
    assert own.at_risk_once == other.at_risk_once
    assert own.from_the_start == other.from_the_start


def test_daily_rows_are_found_without_a_look_at_each():
    columns = runs(1, 60, [1.0])
    surv = Surv(*columns)
    assert _unit_rows(surv, np.unique(surv.stop[surv.event])) is not None
    for at, change in ((5, 0.5), (3, 1.0)):
        # A row that is longer, its run with it: the lengths are no longer all 1.
        start, stop, event = (column.copy() for column in columns)
        stop[at:] += change
        start[at + 1 :] += change
        other = Surv(start, stop, event)
        assert _unit_rows(other, np.unique(other.stop[other.event])) is None


@pytest.mark.parametrize("shuffle", [False, True])
def test_an_overlap_is_found_among_rows_that_follow_one_another(shuffle):
    start = np.concatenate([np.arange(40.0), np.arange(38.0, 60.0), np.arange(3.0, 30.0)])
    ids = np.repeat([0, 0, 1], [40, 22, 27])
    surv = Surv(start, start + 1, start > 58)
    assert surv.breaks.tolist() == [0, 40, 62]
    with pytest.raises(DataError, match=r"subject 0, row 40: expected .*row 38 ends at 39"):
        check_episodes(surv, ids)
    check_episodes(surv, np.repeat([0, 1, 2], [40, 22, 27]))
    order = np.random.default_rng(1).permutation(len(ids)) if shuffle else np.arange(len(ids))
    again = Surv(start[order], start[order] + 1, start[order] > 58)
    with pytest.raises(DataError, match="subject 0, row"):
        check_episodes(again, ids[order])


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, kind=st.sampled_from([right_censored, daily]), weighted=st.booleans(), strata=st.booleans())
def test_cluster_scores_are_sums_of_score_residuals(seed, kind, weighted, strata):
    surv, random = kind(seed)
    own = likelihood(surv, random, 2, weighted, False, strata)
    at = own.evaluate(random.normal(size=2))
    clusters = random.integers(0, 5, len(own.x))
    assert own._sums_apart(6)
    residuals = own.score_residuals(at) * own.weights[:, None]
    expected = [residuals[clusters == g].sum(axis=0) for g in range(6)]
    np.testing.assert_allclose(own.cluster_scores(at, clusters, 6), expected, rtol=1e-10, atol=1e-11)
    np.testing.assert_array_equal(
        own.cluster_scores(at, clusters.astype(np.uint8), 6), own.cluster_scores(at, clusters, 6)
    )


@pytest.mark.parametrize("offset", [0.0, 0.5, 2.0**53])
@pytest.mark.parametrize("spread", [50, 10**9])
def test_places_of_times_equal_a_binary_search(offset, spread):
    random = np.random.default_rng(1)
    values = random.integers(0, spread, 3000) + offset
    times = distinct(values[:2000])
    np.testing.assert_array_equal(times, np.unique(values[:2000]))
    asked = np.concatenate([values, values - 0.25, [-np.inf, np.inf, -1.0, offset]])
    np.testing.assert_array_equal(count_up_to(times, asked), np.searchsorted(times, asked, side="right"))


def test_values_just_below_a_time_are_not_counted_with_it():
    times, values = (
        np.arange(-5.0, 5.0),
        np.repeat([-1e-20, 0.0, 1e-20, -5.0 - 1e-15, 4.0, np.nextafter(4.0, 0.0)], 500),
    )
    np.testing.assert_array_equal(count_up_to(times, values), np.searchsorted(times, values, side="right"))
    np.testing.assert_array_equal(count_up_to(times[5:], values), np.searchsorted(times[5:], values, side="right"))


@pytest.mark.parametrize("n_keys", [5, 70_000, 2**33])
def test_the_order_by_place_is_stable(n_keys):
    keys = np.random.default_rng(2).integers(0, n_keys, 5000)
    np.testing.assert_array_equal(stable_order(keys, n_keys), np.argsort(keys, kind="stable"))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.7, 1.0])
@pytest.mark.parametrize("layout", ["C", "F"])
def test_chosen_rows_are_centred(weighted, share, layout):
    random = np.random.default_rng(4)
    x = np.array(random.normal(size=(10_000, 3)) + 5.0, order=layout)
    kept = x.copy()
    rows = random.permutation(10_000)[: int(share * 10_000)]
    weights = random.random(len(rows)) if weighted else None
    extreme = np.zeros(3)
    own, center = blockwise.centered_rows(x, rows, weights, extreme if share == 1.0 else None)
    if share == 1.0:
        np.testing.assert_array_equal(extreme, np.abs(own).max(axis=0))
    expected = np.average(x[rows], axis=0, weights=weights) if len(rows) else np.zeros(3)
    np.testing.assert_allclose(center, expected, rtol=1e-13)
    np.testing.assert_allclose(own, x[rows] - expected, atol=1e-12)
    assert own.flags.c_contiguous
    np.testing.assert_array_equal(x, kept)


def test_block_sums_equal_plain_ones():
    random = np.random.default_rng(6)
    x, w, beta = random.normal(size=(20_001, 3)), random.random(20_001), random.normal(size=3)
    group = random.integers(0, 7, len(x))
    np.testing.assert_allclose(blockwise.times(x, beta), x @ beta, atol=1e-13)
    np.testing.assert_allclose(blockwise.weighted_sum(w, x), w @ x, rtol=1e-11)
    np.testing.assert_allclose(blockwise.gram(x, w), (x * w[:, None]).T @ x, rtol=1e-11)
    np.testing.assert_array_equal(blockwise.largest(x), np.abs(x).max(axis=0))
    assert blockwise.dot(w, x[:, 0].copy()) == pytest.approx(float(w @ x[:, 0]), rel=1e-11)
    expected = [w[group == g] @ x[group == g] for g in range(8)]
    np.testing.assert_allclose(blockwise.sum_rows(w, group, 8, x), expected, atol=1e-11)


@pytest.mark.parametrize("values", [[3, 3, 5, 9, 9], [0, 1, 2], [4, 5, 7], [7, 3, 3], [2]])
def test_codes_are_those_of_factorize(values):
    codes, labels = _codes(pd.Series(values), "id")
    expected, known = pd.factorize(pd.Series(values))
    np.testing.assert_array_equal(codes, expected)
    np.testing.assert_array_equal(labels, known)


@settings(max_examples=25, deadline=None)
@given(
    seed=SEEDS,
    kind=st.sampled_from(["int8", "uint8", "int32", "int64", "uint64"]),
    low=st.sampled_from(["lowest", -3, 0, 100, "highest"]),
    width=st.sampled_from([1, 5, 90, 200, 10**6, 2**62]),
    sort=st.booleans(),
)
def test_codes_of_any_whole_numbers_are_those_of_factorize(seed, kind, low, width, sort):
    limits, random = np.iinfo(kind), np.random.default_rng(seed)
    first = {"lowest": limits.min, "highest": max(limits.max - width, limits.min)}.get(low, low)
    # Values that appear late, in one row, are not in a table made of the first ones.
    steps = random.integers(0, max(width // 2, 1), 140_000).tolist()
    steps[139_000] = width - 1
    values = np.array([min(max(first + step, limits.min), limits.max) for step in steps], dtype=kind)
    column = pd.Series(np.sort(values) if sort else values)
    codes, labels = _codes(column, "id")
    expected, known = pd.factorize(column)
    np.testing.assert_array_equal(codes, expected)
    np.testing.assert_array_equal(labels, known)
    assert labels.dtype == known.dtype


def test_labels_do_not_follow_the_data():
    data = pd.DataFrame({"time": [1.0, 2.0, 3.0], "event": [1, 1, 0], "x": [0.0, 1.0, 0.5], "id": [4, 5, 7]})
    design = build_design("Surv(time, event) ~ x", data, id="id")
    data.loc[:, ["id", "x"]] = 0
    np.testing.assert_array_equal(design.id_labels, [4, 5, 7])
    np.testing.assert_array_equal(design.x[:, 0], [0.0, 1.0, 0.5])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_found_anywhere(bad):
    n = 140_000
    for row in (0, 65_535, 131_071, 131_072, n - 1):
        column = np.ones(n)
        column[row] = bad
        with pytest.raises(DataError, match=rf"column 'b', row {row} \(1 such rows\)"):
            _side_by_side([np.ones(n), column], ["a", "b"], n)


def test_large_values_whose_sum_overflows_are_finite():
    column = np.full(10, 1e308)
    np.testing.assert_array_equal(_side_by_side([column, -column], ["a", "b"], 10), np.column_stack([column, -column]))
