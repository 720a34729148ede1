"""Every variable of the panel, worked out by hand on a small made-up war (see tiny_record)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from coalition_exit.coding.history import lay_out
from coalition_exit.coding.losses import daily_deaths
from coalition_exit.coding.trends import share_difference
from coalition_exit.panel.build import build_panel
from coalition_exit.record.loading import Record, load_record

ALPHA, BETA = 10, 20
BETA_DAYS = [*range(3, 13), *range(15, 21)]


@pytest.fixture
def tiny(tiny_folder: Path) -> Record:
    return load_record(tiny_folder)


def _series(tiny: Record, state: int, variable: str, coding: dict | None = None) -> pd.Series:
    """One state's variable by day of January."""
    panel = build_panel(tiny, variables=[variable], coding=coding)
    return panel[panel["ccode"] == state].set_index("day")[variable]


def _expect(found: pd.Series, expected: dict[range, float]) -> None:
    by_day = {day: value for days, value in expected.items() for day in days}
    assert list(found.index) == sorted(by_day)
    np.testing.assert_allclose(found.to_numpy(), [by_day[day] for day in found.index], rtol=1e-12, atol=1e-15)


def test_common_front(tiny: Record) -> None:
    _expect(
        _series(tiny, ALPHA, "foverlap"), {range(1, 5): 0, range(5, 13): 0.25, range(13, 15): 0, range(15, 21): 0.25}
    )
    _expect(_series(tiny, BETA, "foverlap"), {range(3, 5): 0, range(5, 13): 1, range(15, 21): 1})


def test_common_front_parameters(tiny: Record) -> None:
    alone = _series(tiny, ALPHA, "foverlap", {"foverlap": {"alone": 1.0}})
    _expect(alone, {range(1, 3): 1, range(3, 5): 0, range(5, 13): 0.25, range(13, 15): 1, range(15, 21): 0.25})
    idle = _series(tiny, BETA, "foverlap", {"foverlap": {"no_troops": 0.5}})
    _expect(idle, {range(3, 5): 0.5, range(5, 13): 1, range(15, 21): 1})
    # Alpha's quarter in the south no longer counts as company.
    large = _series(tiny, BETA, "foverlap", {"foverlap": {"min_partner_share": 0.25}})
    _expect(large, {range(3, 13): 0, range(15, 21): 0})


def test_deaths_by_front_and_day(tiny: Record) -> None:
    war = lay_out(tiny).wars[0]
    deaths = daily_deaths(war, 0.25, "spread")
    alpha, beta, gamma = (deaths[war.member(*m)] for m in ((1, ALPHA), (1, BETA), (2, 30)))
    north, south, nowhere = 0, 1, 2
    np.testing.assert_allclose(alpha[north, :6], [0.75, 10.75, 10.75, 10.75, 10.75, 0.75])
    np.testing.assert_allclose(alpha[south, 9:15], [0.25, 10.25, 10.25, 10.25, 10.25, 0.25])
    # Beta was out on the battle's last two days: its 16 dead fall on the first two.
    np.testing.assert_allclose(beta[south, 10:14], [9, 9, 0, 0])
    np.testing.assert_allclose(beta[nowhere, 2:5], [1, 1, 0])
    np.testing.assert_allclose(gamma[north, 1:5], 10)
    np.testing.assert_allclose(deaths.sum(axis=(1, 2)), [100, 32, 60])


def test_deaths_are_scaled_down_to_the_total(tiny_folder: Path) -> None:
    path = tiny_folder / "members.csv"
    path.write_text(path.read_text().replace("5,2,30,60", "5,2,30,30").replace("5,1,20,32", "5,1,20,"))
    war = lay_out(load_record(tiny_folder)).wars[0]
    deaths = daily_deaths(war, 0.25, "spread")
    np.testing.assert_allclose(deaths[war.member(2, 30)].sum(), 30)
    np.testing.assert_allclose(deaths[war.member(2, 30), 0, 1], 5)
    # Without a total, what the battles cost is all there is.
    np.testing.assert_allclose(deaths[war.member(1, BETA)].sum(), 16)
    omitted = daily_deaths(war, 0.25, "omit")
    np.testing.assert_allclose(omitted[war.member(1, ALPHA)].sum(), 80)


def test_coalition_trend(tiny: Record) -> None:
    trend = _series(tiny, ALPHA, "ctrend60", {"ctrend60": {"window": 5}})
    assert (trend.loc[:5] == 0).all()
    assert trend[6] == pytest.approx(49 / 89 - 1)
    assert trend[10] == pytest.approx(1 - 48 / 88)
    # All members of a side share its trend, whenever they came.
    beta = _series(tiny, BETA, "ctrend60", {"ctrend60": {"window": 5}})
    pd.testing.assert_series_equal(beta, trend.loc[BETA_DAYS])


def test_own_trend(tiny: Record) -> None:
    trend = _series(tiny, BETA, "otrend60", {"otrend60": {"window": 5}})
    assert (trend.loc[:7] == 0).all()
    assert trend[12] == pytest.approx(21 / 31 - 1)


def test_trend_is_zero_where_there_is_nothing_to_compare() -> None:
    quiet = np.array([5.0, 0, 0, 0, 0, 0, 3])
    np.testing.assert_array_equal(share_difference(quiet, quiet * 0, 3)[:6], 0)
    assert share_difference(quiet, quiet, 3)[6] == 0
    assert share_difference(quiet * 0, quiet, 3)[6] == 0
    np.testing.assert_array_equal(share_difference(np.zeros(4), np.zeros(4), 2), 0)


def test_trend_changes_sign_with_the_side() -> None:
    rng = np.random.default_rng(1)
    own, enemy = rng.random(200), rng.random(200)
    np.testing.assert_allclose(share_difference(own, enemy, 30), -share_difference(enemy, own, 30), atol=1e-12)


def test_capabilities(tiny: Record) -> None:
    _expect(
        _series(tiny, ALPHA, "pvict"), {range(1, 3): 0.6, range(3, 13): 4 / 6, range(13, 15): 0.6, range(15, 21): 4 / 6}
    )
    _expect(_series(tiny, ALPHA, "imptce"), {range(1, 3): 1, range(3, 13): 0.75, range(13, 15): 1, range(15, 21): 0.75})
    _expect(_series(tiny, BETA, "imptce"), {range(3, 13): 0.25, range(15, 21): 0.25})
    _expect(_series(tiny, BETA, "contribpc"), {range(3, 13): 0.25, range(15, 21): 0.25})


def test_recent_exit(tiny: Record) -> None:
    _expect(_series(tiny, ALPHA, "recexit"), {range(1, 13): 0, range(13, 21): 1})
    short = _series(tiny, ALPHA, "recexit", {"recexit": {"window": 2}})
    _expect(short, {range(1, 13): 0, range(13, 15): 1, range(15, 21): 0})
    assert (_series(tiny, BETA, "recexit") == 0).all()


def test_leader_and_regime(tiny: Record) -> None:
    _expect(_series(tiny, ALPHA, "newlead"), {range(1, 10): 0, range(10, 21): 1})
    gap = _series(tiny, ALPHA, "newlead", {"newlead": {"caretaker_days": 0}})
    assert np.isnan(gap[9])
    assert gap.drop(9).notna().all()
    assert (_series(tiny, ALPHA, "demdum") == 1).all()
    assert (_series(tiny, BETA, "demdum") == 0).all()
    assert (_series(tiny, BETA, "demdum", {"demdum": {"threshold": 5}}) == 1).all()
    assert (_series(tiny, BETA, "polity2") == 5).all()


def test_agreements(tiny: Record) -> None:
    for name in ("sepdum", "seppc"):
        _expect(_series(tiny, ALPHA, name), {range(1, 6): 0, range(6, 13): 1, range(13, 15): 0, range(15, 21): 1})
    # The league binds both only while both are members of it.
    _expect(_series(tiny, BETA, "actdum"), {range(3, 11): 1, range(11, 13): 0, range(15, 21): 0})
    assert (_series(tiny, ALPHA, "intdum") == 0).all()


def test_history_aims_and_entry(tiny: Record) -> None:
    _expect(_series(tiny, ALPHA, "cooppc"), {range(1, 3): 0, range(3, 13): 1, range(13, 15): 0, range(15, 21): 1})
    assert (_series(tiny, BETA, "cooppc") == 0).all()
    _expect(_series(tiny, ALPHA, "terraim"), {range(1, 10): 1, range(10, 21): 0})
    _expect(_series(tiny, ALPHA, "regaim"), {range(1, 10): 0, range(10, 21): 1})
    assert (_series(tiny, ALPHA, "terraim", {"terraim": {"dated": "entry"}}) == 1).all()
    assert (_series(tiny, BETA, "latejoin") == 0).all()
    assert (_series(tiny, BETA, "latejoin", {"latejoin": {"days": 1}}) == 1).all()


def test_deaths_so_far(tiny: Record) -> None:
    deaths = _series(tiny, ALPHA, "lnodead")
    np.testing.assert_allclose(deaths.loc[:2], np.log([2, 13]))
    np.testing.assert_allclose(deaths[20], np.log(101))
    # 100 dead of a million inhabitants are 10 in 100,000.
    np.testing.assert_allclose(_series(tiny, ALPHA, "lnodead2")[20], np.log(11))


def test_abandonment(tiny: Record) -> None:
    panel = build_panel(tiny, variables=["withdraw", "volunt"])
    failed = panel[panel["withdraw"] == 1]
    assert failed[["ccode", "day", "finalobs", "volunt"]].to_numpy().tolist() == [[BETA, 12, 1, 1]]


@pytest.mark.parametrize(
    ("old", "new", "withdraw", "volunt"),
    [
        ("separate_peace,yes,yes,own,no", "separate_peace,yes,yes,forced,no", 1, 0),
        ("separate_peace,yes,yes,own,no", "separate_peace,yes,yes,unclear,no", 1, 0),
        ("separate_peace,yes,yes,own,no", "separate_peace,yes,unclear,own,no", 0, 0),
        ("separate_peace,yes,yes,own,no", "separate_peace,yes,no,own,no", 0, 0),
        ("separate_peace,yes,yes,own,no", "separate_peace,no,yes,own,no", 0, 0),
        ("separate_peace,yes,yes,own,no", "separate_peace,no,yes,own,yes", 1, 1),
    ],
)
def test_abandonment_follows_the_facts(tiny_folder: Path, old: str, new: str, withdraw: int, volunt: int) -> None:
    path = tiny_folder / "exits.csv"
    path.write_text(path.read_text().replace(old, new))
    panel = build_panel(load_record(tiny_folder), variables=["withdraw", "volunt"])
    assert (panel["withdraw"].sum(), panel["volunt"].sum()) == (withdraw, volunt)


def test_unclear_can_be_read_either_way(tiny_folder: Path) -> None:
    path = tiny_folder / "exits.csv"
    path.write_text(path.read_text().replace("separate_peace,yes,yes", "separate_peace,yes,unclear"))
    record = load_record(tiny_folder)
    counted = build_panel(record, ["withdraw"], {"withdraw": {"unclear_partners_wish": "yes"}})
    assert counted["withdraw"].sum() == 1
