"""Rules on the trend, fronts and aims: by hand, and against slow loops on random losses."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from coalition_exit.coding.history import lay_out
from coalition_exit.coding.losses import daily_deaths
from coalition_exit.coding.trends import _compare, _share, _trend, log_ratio_difference, share_difference, slope
from coalition_exit.panel.build import build_panel
from coalition_exit.record.loading import Record, load_record
from tiny_record import edit

ALPHA, BETA = 10, 20


@pytest.fixture
def tiny(tiny_folder: Path) -> Record:
    return load_record(tiny_folder)


def _series(tiny: Record, state: int, variable: str, coding: object) -> pd.Series:
    panel = build_panel(tiny, variables=[variable], coding={variable: coding})
    return panel[panel["ccode"] == state].set_index("day")[variable]


def _expect(found: pd.Series, expected: dict[range, float]) -> None:
    by_day = {day: value for days, value in expected.items() for day in days}
    assert list(found.index) == sorted(by_day)
    np.testing.assert_allclose(found.to_numpy(), [by_day[day] for day in found.index], rtol=1e-12, atol=1e-15)


def _slow(own: np.ndarray, enemy: np.ndarray, window: int, measure: str, before: str) -> list[float]:
    """The definitions, a day at a time."""
    result = []
    for t in range(len(own)):
        first = t - window + 1
        earlier = slice(0 if before == "war" else max(first - window, 0), max(first, 0))
        recent = slice(max(first, 0), t + 1)
        a, b, c, d = own[recent].sum(), enemy[recent].sum(), own[earlier].sum(), enemy[earlier].sum()
        if measure == "slope":
            result.append(_slow_slope(own[recent], enemy[recent], window) if first >= 0 else 0.0)
        elif first <= 0 or a + b == 0 or c + d == 0:
            result.append(0.0)
        elif measure == "log_ratio":
            result.append(math.log((a + 1) / (b + 1)) - math.log((c + 1) / (d + 1)))
        else:
            result.append(a / (a + b) - c / (c + d))
    return result


def _slow_slope(own: np.ndarray, enemy: np.ndarray, window: int) -> float:
    """Mean day of own losses against the mean day of all, as a slope times the window."""
    total = own.sum() + enemy.sum()
    if total == 0 or own.sum() == 0:
        return 0.0
    days = np.arange(window)
    own_mean = (own * days).sum() / own.sum()
    all_mean = ((own + enemy) * days).sum() / total
    spread = ((days - days.mean()) ** 2).sum() / window
    return own.sum() / total * (own_mean - all_mean) / spread * window


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("measure", ["share_difference", "log_ratio", "slope"])
@pytest.mark.parametrize("before", ["war", "window"])
def test_measures_equal_slow_loops(seed: int, measure: str, before: str) -> None:
    rng = np.random.default_rng(seed)
    own, enemy = (rng.poisson(3, 60) * (rng.random(60) < 0.3) * 1.0 for _ in range(2))
    own[20:30] = enemy[20:30] = 0
    for window in (2, 7, 15, 60, 80):
        found = _trend(own, enemy, window, measure, before)
        np.testing.assert_allclose(found, _slow(own, enemy, window, measure, before), rtol=1e-10, atol=1e-12)


def test_all_measures_change_sign_with_the_side() -> None:
    rng = np.random.default_rng(3)
    own, enemy = rng.random(150), rng.random(150)
    for measure in (share_difference, log_ratio_difference, slope):
        np.testing.assert_allclose(measure(own, enemy, 30), -measure(enemy, own, 30), atol=1e-10)
        assert np.abs(measure(own, enemy, 30)).max() > 0.001


def test_the_general_comparison_equals_the_articles() -> None:
    rng = np.random.default_rng(4)
    own, enemy = (rng.random(200) * (rng.random(200) < 0.5) for _ in range(2))
    np.testing.assert_allclose(_compare(own, enemy, 20, None, _share), share_difference(own, enemy, 20), atol=1e-12)


def test_slope_where_losses_are_even_is_the_least_squares_slope() -> None:
    share = np.linspace(0.2, 0.8, 50) + 0.05 * np.sin(np.arange(50))
    found = slope(100 * share, 100 * (1 - share), 20)
    np.testing.assert_allclose(found[19], 20 * np.polyfit(np.arange(20), share[:20], 1)[0], rtol=1e-10)
    np.testing.assert_allclose(slope(np.full(50, 3.0), np.full(50, 7.0), 20), 0, atol=1e-12)
    rising = np.arange(1.0, 51)
    # Heavier fighting at one and the same share is no trend.
    np.testing.assert_allclose(slope(0.3 * rising, 0.7 * rising, 20), 0, atol=1e-12)
    late = np.zeros(20), np.zeros(20)
    late[0][-1] = late[1][0] = 50
    assert 2.5 < slope(*late, 20)[-1] < 3
    assert slope(late[0], late[0] * 0, 1).tolist() == [0] * 20


def test_log_ratio_by_hand(tiny: Record) -> None:
    trend = _series(tiny, ALPHA, "ctrend60", {"rule": "coalition_trend_log_ratio", "window": 5})
    # Own 49 and enemy 40 dead from the 2nd to the 6th; own 1 and enemy 0 on the 1st.
    assert trend[6] == pytest.approx(math.log(50 / 41) - math.log(2))
    assert (trend.loc[:5] == 0).all()


def test_window_before_by_hand(tiny: Record) -> None:
    trend = _series(tiny, ALPHA, "ctrend60", {"rule": "coalition_trend_window_before", "window": 4})
    war = _series(tiny, ALPHA, "ctrend60", {"window": 4})
    # Up to the 8th the four days before reach back to the first day.
    np.testing.assert_allclose(trend.loc[:8], war.loc[:8], atol=1e-15)
    # On the 15th: the 12th to 15th against the 8th to 11th.
    deaths = daily_deaths(lay_out(tiny).wars[0], 0.25, "spread").sum(axis=1)
    own, enemy = deaths[:2].sum(axis=0), deaths[2]
    recent, before = slice(11, 15), slice(7, 11)
    shares = [own[s].sum() / (own[s].sum() + enemy[s].sum()) for s in (recent, before)]
    assert trend[15] == pytest.approx(shares[0] - shares[1])


def test_battles_by_hand(tiny: Record, tiny_folder: Path) -> None:
    coding = {"rule": "coalition_trend_battles", "window": 5}
    # The first battle (won) ends on the 5th, the second (lost) on the 14th.
    _expect(_series(tiny, ALPHA, "ctrend60", coding), {range(1, 14): 0, range(14, 19): 1, range(19, 21): 0})
    own = {"rule": "own_trend_battles", "window": 5}
    _expect(_series(tiny, ALPHA, "otrend60", own), {range(1, 14): 0, range(14, 19): 1, range(19, 21): 0})
    # Beta stood on the southern front only, and was out of the war on the 14th.
    assert (_series(tiny, BETA, "otrend60", own) == 0).all()
    draw = load_record(edit(tiny_folder, "battles", "1900-01-14,2", "1900-01-14,0"))
    _expect(_series(draw, ALPHA, "ctrend60", coding), {range(1, 14): 0, range(14, 19): 0.5, range(19, 21): 0})
    none = load_record(edit(tiny_folder, "battles", "1900-01-14,0", "1900-01-14,"))
    assert (_series(none, ALPHA, "ctrend60", coding) == 0).all()


def test_unaccounted_deaths_on_front_days(tiny: Record) -> None:
    war = lay_out(tiny).wars[0]
    beta = daily_deaths(war, 0.25, "spread_on_front_days")[war.member(1, BETA)]
    # 16 of Beta's 32 dead are in no battle; it stood at a front on 14 of its 16 days.
    np.testing.assert_allclose(beta[1, 4:10], 16 / 14)
    np.testing.assert_allclose(beta[1, 10:12], 9 - 1 + 16 / 14)
    assert beta[2].sum() == 0
    assert beta[:, 2:4].sum() == 0
    assert beta.sum() == pytest.approx(32)
    even = daily_deaths(war, 0.25, "spread")
    np.testing.assert_allclose(
        daily_deaths(war, 0.25, "spread_on_front_days")[war.member(1, ALPHA)], even[war.member(1, ALPHA)]
    )


def test_unaccounted_deaths_without_any_front_day(tiny_folder: Path) -> None:
    edit(tiny_folder, "deployments", "5,1,20,south,1900-01-05,1900-01-20,1", "5,1,20,none,1900-01-05,1900-01-20,0")
    war = lay_out(load_record(tiny_folder)).wars[0]
    beta = daily_deaths(war, 0.25, "spread_on_front_days")[war.member(1, BETA)]
    np.testing.assert_allclose(beta, daily_deaths(war, 0.25, "spread")[war.member(1, BETA)])
    assert beta.sum() == pytest.approx(32)


def test_totals_are_kept_on_the_record(record: Record) -> None:
    for war in lay_out(record).wars:
        spread, front = (daily_deaths(war, 0.25, way).sum(axis=(1, 2)) for way in ("spread", "spread_on_front_days"))
        np.testing.assert_allclose(spread, front, rtol=1e-9)


def test_fronts_by_hand(tiny: Record) -> None:
    common = {range(1, 5): 0, range(5, 13): 1, range(13, 15): 0, range(15, 21): 1}
    _expect(_series(tiny, ALPHA, "foverlap", "any_common_front"), common)
    # Three quarters of Alpha's troops stand alone in the north.
    assert (_series(tiny, ALPHA, "foverlap", "whole_common_front") == 0).all()
    beta = {range(3, 5): 0, range(5, 13): 1, range(15, 21): 1}
    for rule in ("any_common_front", "whole_common_front"):
        _expect(_series(tiny, BETA, "foverlap", rule), beta)
    # In the south 75 of Alpha's 300 soldiers stand beside Beta's 100.
    weighted = {days: value * 0.25 * 100 / 175 for days, value in common.items()}
    _expect(_series(tiny, ALPHA, "foverlap", "weighted_common_front"), weighted)
    _expect(_series(tiny, BETA, "foverlap", "weighted_common_front"), {d: v * 75 / 175 for d, v in beta.items()})


def test_fronts_on_the_record(record: Record, panel: pd.DataFrame) -> None:
    share = panel["foverlap"].to_numpy()
    columns = {
        rule: build_panel(record, ["foverlap"], {"foverlap": rule})["foverlap"].to_numpy()
        for rule in ("any_common_front", "whole_common_front", "weighted_common_front", "common_front_from_tenth")
    }
    np.testing.assert_array_equal(columns["any_common_front"], share > 0)
    assert (columns["whole_common_front"][share == 1] == 1).all()
    assert set(np.unique(columns["whole_common_front"])) == {0, 1}
    # Some states have troops on no front beside those on common ones; shares then sum to less than 1.
    assert share[columns["whole_common_front"] == 1].min() >= 0.5
    assert (columns["weighted_common_front"] <= share + 1e-12).all()
    assert (columns["common_front_from_tenth"] <= share + 1e-12).all()


def test_aims_by_hand(tiny: Record) -> None:
    _expect(
        _series(tiny, BETA, "terraim", "territorial_aim_of_coalition"),
        {range(3, 10): 1, range(10, 13): 0, range(15, 21): 0},
    )
    _expect(
        _series(tiny, BETA, "terraim", "territorial_aim_of_coalition_at_entry"), {range(3, 13): 1, range(15, 21): 0}
    )
    share = {range(1, 3): 1, range(3, 10): 0.5, range(10, 21): 0}
    _expect(_series(tiny, ALPHA, "terraim", "territorial_aim_share"), share)
    assert (_series(tiny, ALPHA, "terraim", "territorial_aim_at_entry") == 1).all()
    _expect(_series(tiny, BETA, "regaim", "regime_aim_of_coalition"),
            {range(3, 10): 0, range(10, 13): 1, range(15, 21): 1})  # fmt: skip
    _expect(_series(tiny, ALPHA, "regaim", "regime_aim_share"),
            {range(1, 10): 0, range(10, 13): 0.5, range(13, 15): 1, range(15, 21): 0.5})  # fmt: skip


def test_aims_of_the_coalition_on_the_record(record: Record, panel: pd.DataFrame) -> None:
    day = ["coalid", "year", "month", "day"]
    for variable, stem in (("terraim", "territorial_aim"), ("regaim", "regime_aim")):
        grouped = panel.groupby(day)[variable]
        any_member = build_panel(record, [variable], {variable: f"{stem}_of_coalition"})[variable]
        np.testing.assert_array_equal(any_member, grouped.transform("max"))
        share = build_panel(record, [variable], {variable: f"{stem}_share"})[variable]
        np.testing.assert_allclose(share, grouped.transform("mean"), atol=1e-12)
        entry = build_panel(record, [variable], {variable: f"{stem}_at_entry"})[variable]
        np.testing.assert_array_equal(entry, panel.groupby("idvar")[variable].transform("first"))
