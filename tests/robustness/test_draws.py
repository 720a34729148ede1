"""Drawn records: consistent, as spread as their confidence says, and the same for a seed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from coalition_exit.errors import DataError
from coalition_exit.record.codebook import load_codebook
from coalition_exit.record.consistency import check_tables
from coalition_exit.record.loading import Record, load_record
from coalition_exit.robustness.contested import contested_cases, drawn_numbers
from coalition_exit.robustness.draws import RecordDrawer, draw_record
from coalition_exit.specs.robustness_blocks import (
    KINDS,
    Absence,
    DateSpread,
    Flips,
    LossSpread,
    ShareSpread,
    Uncertainty,
)
from tiny_record import edit

WILD = Uncertainty(
    flips=Flips(high=0.5, medium=0.5, low=0.5),
    dates=DateSpread(high=40, medium=40, low=40),
    shares=ShareSpread(high=1, medium=1, low=1),
    absent=Absence(high=0.3, medium=0.3, low=0.3),
    losses=LossSpread(high=1, medium=1, low=1),
)
STILL = Uncertainty(
    flips=Flips(medium=0, low=0),
    dates=DateSpread(medium=0, low=0),
    shares=ShareSpread(medium=0, low=0),
    absent=Absence(low=0),
    losses=LossSpread(high=0, medium=0, low=0),
)


@pytest.fixture(scope="module")
def wild(record: Record) -> RecordDrawer:
    return RecordDrawer(record, WILD)


def _write(record: Record, folder) -> None:
    folder.mkdir()
    for name, frame in record.tables.items():
        text = frame.copy()
        for column in text:
            if pd.api.types.is_datetime64_any_dtype(text[column]):
                text[column] = text[column].dt.strftime("%Y-%m-%d")
            elif column == "winner":
                text[column] = text[column].astype("Int64")
        text.to_csv(folder / f"{name}.csv", index=False, float_format="%.17g")


def test_drawn_records_pass_every_check(record, wild, tmp_path) -> None:
    for number in range(12):
        drawn = wild.draw(1, number)
        check_tables(drawn.tables, load_codebook())
        for name in record:
            assert (drawn[name].dtypes == record[name].dtypes).all(), name
            assert list(drawn[name].columns) == list(record[name].columns)
    # Once by way of files, through the loader that checks every cell.
    _write(drawn, tmp_path / "drawn")
    loaded = load_record(tmp_path / "drawn")
    pd.testing.assert_frame_equal(loaded["exits"], drawn["exits"])
    pd.testing.assert_frame_equal(loaded["spells"], drawn["spells"])


def test_the_record_itself_is_left_alone(record, wild) -> None:
    before = {name: frame.copy() for name, frame in record.tables.items()}
    drawn = wild.draw(2, 0)
    for name, frame in before.items():
        pd.testing.assert_frame_equal(frame, record[name])
    changed = {name for name in record if not drawn[name].equals(record[name])}
    assert {"exits", "spells", "deployments", "losses", "members"} <= changed
    assert changed <= {"exits", "spells", "wars", "deployments", "forces", "aims", "agreements", "losses", "members"}
    assert drawn.sha256 != record.sha256
    assert "drawn" in drawn.status


def test_nothing_moves_without_doubt(record) -> None:
    drawn = draw_record(record, STILL, 1, kinds=("dates", "losses"))
    for name in record:
        pd.testing.assert_frame_equal(drawn[name], record[name])
    # Cut into stretches, shares are on every day what they were.
    fronts = draw_record(record, STILL, 1, kinds=("fronts",))["deployments"]
    merged = fronts.merge(
        record["deployments"], on=["warnum", "side", "ccode", "front"], suffixes=("", "_coded")
    ).query("start >= start_coded and end <= end_coded")
    np.testing.assert_allclose(merged["share"], merged["share_coded"], rtol=1e-12)
    assert len(merged) == len(fronts)


def test_seed_and_kind_decide_alone(record, wild) -> None:
    one, two = wild.draw(3, 5), RecordDrawer(record, WILD).draw(3, 5)
    assert one.sha256 == two.sha256
    for name in record:
        pd.testing.assert_frame_equal(one[name], two[name], check_exact=True)
    assert one.sha256 != wild.draw(3, 6).sha256 != wild.draw(4, 6).sha256
    # A kind drawn alone is the same as within all.
    alone = wild.draw(3, 5, ("losses",))
    pd.testing.assert_frame_equal(alone["losses"], one["losses"])
    pd.testing.assert_frame_equal(alone["exits"], record["exits"])
    with pytest.raises(DataError, match="kinds: expected one of exits, dates"):
        wild.draw(1, 0, ("weather",))


def test_flips_have_their_probability(record) -> None:
    parameters = Uncertainty(flips=Flips(high=0, medium=0.2, low=0.4), unclear=0.3)
    drawer = RecordDrawer(record, parameters)
    exits = record["exits"]
    drawn = [drawer.draw(1, k, ("exits",))["exits"] for k in range(150)]
    for confidence, expected in (("high", 0.0), ("medium", 0.2), ("low", 0.4)):
        own = ((exits["confidence"] == confidence) & (exits["partners_wish"] != "unclear")).to_numpy()
        share = np.mean([(d["partners_wish"] != exits["partners_wish"])[own].mean() for d in drawn])
        assert share == pytest.approx(expected, abs=4 * np.sqrt(0.25 / (150 * own.sum())) + 1e-12)
    vague = (exits["partners_wish"] == "unclear").to_numpy()
    yes = np.mean([(d["partners_wish"] == "yes")[vague].mean() for d in drawn])
    assert yes == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / (150 * vague.sum())))
    for d in drawn:
        assert not (d == "unclear").any(axis=None)
        assert not ((d["fighting_stopped"] == "yes") & (d["ended_war"] == "yes")).any()
        common = exits["mode"] == "war_ended"
        assert (d["fighting_stopped"] == exits["fighting_stopped"])[common].all()


def test_an_exit_ends_no_war_in_which_partners_fight_on(record, wild) -> None:
    exits = record["exits"]
    state = {"Bavaria 1870": (58, 1, 245), "Poland 1939": (139, 1, 290), "Hungary 1945": (139, 2, 310)}
    rows = [np.flatnonzero((exits[["warnum", "side", "ccode"]] == key).all(axis=1))[0] for key in state.values()]
    assert not any(wild.may_flip(row, "ended_war") for row in rows)
    assert all(wild.may_flip(row, "fighting_stopped") for row in rows)
    for k in range(40):
        # Also where dates move: the exits' own, and those of partners.
        found = wild.draw(5, k, (("exits",), ("dates",), ("exits", "dates"))[k % 3])
        drawn, spells = found["exits"], found["spells"]
        for row in drawn[(drawn["ended_war"] == "yes") | (drawn["fighting_stopped"] == "yes")].itertuples():
            day = row.date + pd.Timedelta(days=1)
            side = spells[(spells["warnum"] == row.warnum) & (spells["side"] == row.side)]
            after = side[(side["ccode"] != row.ccode) & (side["start"] <= day) & (side["end"] >= day)]
            assert bool(len(after)) == (row.fighting_stopped == "yes"), row


def test_dates_have_their_spread_where_nothing_is_in_the_way(record) -> None:
    drawer = RecordDrawer(record, Uncertainty())
    drawn = [drawer.draw(1, k, ("dates",)) for k in range(80)]
    shifts = np.array([(d["exits"]["date"] - record["exits"]["date"]).dt.days for d in drawn])
    free = [
        c for c in drawer.dates.candidates
        if drawer.dates.end[c.spell] - c.earliest > 4 * c.sd and c.latest - drawer.dates.end[c.spell] > 4 * c.sd
    ]  # fmt: skip
    inside = [shifts[:, c.exit].std() / c.sd for c in free]
    assert len(inside) >= 8
    assert np.median(inside) == pytest.approx(1.0, abs=0.2)
    others = np.setdiff1d(np.arange(shifts.shape[1]), [c.exit for c in drawer.dates.candidates])
    assert (shifts[:, others] == 0).all()
    assert (record["exits"]["mode"].iloc[[c.exit for c in drawer.dates.candidates]] != "war_ended").all()
    for d in drawn[:10]:
        ends = d["spells"].groupby("warnum")["end"].max()
        assert (d["wars"].set_index("warnum")["end"] == ends).all()


def test_shares_keep_their_sum(record, wild) -> None:
    fronts = wild.draw(5, 0, ("fronts",))["deployments"]
    key = ["warnum", "side", "ccode"]
    coded = record["deployments"]
    for member, own in list(fronts.groupby(key))[:40]:
        was = coded[(coded[key] == list(member)).all(axis=1)]
        for day in own["start"].unique():
            total = own[(own["start"] <= day) & (own["end"] >= day)]["share"].sum()
            before = was[(was["start"] <= day) & (was["end"] >= day)]["share"].sum()
            assert total == pytest.approx(before, abs=1e-12)
    assert (fronts["share"] == 0).sum() > (coded["share"] == 0).sum()


def test_losses_are_lognormal(record) -> None:
    parameters = Uncertainty(losses=LossSpread(high=0, medium=0.3, low=0.6))
    drawn = draw_record(record, parameters, 4, kinds=("losses",))
    positive = (record["losses"]["number"] > 0).to_numpy()
    ratio = np.log(drawn["losses"]["number"][positive] / record["losses"]["number"][positive])
    for confidence, sd in (("medium", 0.3), ("low", 0.6)):
        own = ratio[record["losses"]["confidence"][positive] == confidence]
        assert own.std() == pytest.approx(sd, rel=4 / np.sqrt(2 * len(own)))
        assert own.mean() == pytest.approx(0.0, abs=4 * sd / np.sqrt(len(own)))
    assert (drawn["members"]["deaths"].isna() == record["members"]["deaths"].isna()).all()


def test_date_bounds_by_hand(tiny_folder) -> None:
    # Beta's first spell ends 12 January: it lost men in a battle of 11-14 January, which its second spell (from 15
    # January) does not touch, so 11 January is the first day allowed and 14 January the last.
    edit(tiny_folder, "exits", "It left,general_knowledge,high", "It left,general_knowledge,low")
    record = load_record(tiny_folder)
    drawer = RecordDrawer(record, Uncertainty(dates=DateSpread(low=30.0)))
    (candidate,) = drawer.dates.candidates
    days = [str(np.datetime64(d, "D")) for d in (candidate.earliest, candidate.latest)]
    assert days == ["1900-01-11", "1900-01-14"]
    seen = set()
    for k in range(40):
        drawn = drawer.draw(1, k, ("dates",))
        check_tables(drawn.tables, load_codebook())
        seen.add(str(drawn["exits"]["date"].iloc[1].date()))
    assert seen <= {"1900-01-11", "1900-01-12", "1900-01-13", "1900-01-14"}
    assert {"1900-01-11", "1900-01-14"} <= seen


def test_cases_are_listed_with_their_numbers(record) -> None:
    parameters = Uncertainty()
    cases = contested_cases(record, parameters)
    dates = cases[cases["kind"] == "dates"]
    assert set(dates["number"]) == {7.0, 30.0}
    vague = cases[cases["coded"] == "unclear"]
    assert (vague["number"] == 0.5).all()
    assert len(vague[vague["fact"] == "partners_wish"]) == (record["exits"]["partners_wish"] == "unclear").sum()
    flips = cases[cases["drawn"] == "probability of another value"]
    assert set(zip(flips["confidence"], flips["number"], strict=True)) == {("medium", 0.05), ("low", 0.25)}
    numbers = drawn_numbers(record, parameters)
    own = numbers[(numbers["table"] == "losses") & (numbers["confidence"] == "low")]
    assert own["rows"].item() == (record["losses"]["confidence"] == "low").sum()
    fewer = contested_cases(record, Uncertainty(kinds=["dates"]))
    assert set(fewer["kind"]) == {"dates"}
    assert set(KINDS) == {"exits", "dates", "fronts", "losses"}
