"""The record against the public data sets it names, where they are at hand."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd

from coalition_exit.record.loading import Record

LAST_YEAR = 2003


def _cow(folder: Path) -> pd.DataFrame:
    table = pd.read_csv(folder / "cow" / "Inter-StateWarData_v4.0.csv")
    for k in (1, 2):
        for end in ("Start", "End"):
            parts = table[[f"{end}Year{k}", f"{end}Month{k}", f"{end}Day{k}"]].set_axis(
                ["year", "month", "day"], axis=1
            )
            known = parts["year"] > 0
            table[f"{end.lower()}{k}"] = pd.to_datetime(parts.where(known))
    return table


def test_members_and_scope_equal_cow(record: Record, public_data: Path) -> None:
    cow = _cow(public_data)
    sides = cow[cow["StartYear1"] <= LAST_YEAR].groupby(["WarNum", "Side"])["ccode"].nunique()
    coalitions = sides[sides >= 2].index
    assert set(coalitions) == set(record["coalitions"][["warnum", "side"]].itertuples(index=False, name=None))
    wars = {war for war, _ in coalitions}
    expected = cow[cow["WarNum"].isin(wars)][["WarNum", "Side", "ccode"]]
    ours = record["members"][["warnum", "side", "ccode"]]
    assert set(expected.itertuples(index=False, name=None)) == set(ours.itertuples(index=False, name=None))


def test_dates_equal_cow_or_say_why(record: Record, public_data: Path) -> None:
    cow = _cow(public_data).set_index(["WarNum", "Side", "ccode"])
    for spell in record["spells"].itertuples(index=False):
        row = cow.loc[(spell.warnum, spell.side, spell.ccode)]
        assert spell.cow_start == row[f"start{spell.spell}"]
        assert spell.cow_end == row[f"end{spell.spell}"]
        departs = (spell.start, spell.end) != (spell.cow_start, spell.cow_end)
        assert bool(spell.date_note) >= departs


def test_second_spells_are_all_there(record: Record, public_data: Path) -> None:
    cow = _cow(public_data)
    wars = set(record["wars"]["warnum"])
    expected = cow[cow["WarNum"].isin(wars) & cow["start2"].notna()][["WarNum", "Side", "ccode"]]
    ours = record["spells"].query("spell == 2")[["warnum", "side", "ccode"]]
    assert sorted(expected.itertuples(index=False, name=None)) == sorted(ours.itertuples(index=False, name=None))


def test_deaths_equal_cow(record: Record, public_data: Path) -> None:
    cow = _cow(public_data).set_index(["WarNum", "Side", "ccode"])["BatDeath"]
    for member in record["members"].itertuples(index=False):
        expected = cow.loc[(member.warnum, member.side, member.ccode)]
        assert member.deaths == expected if expected >= 0 else np.isnan(member.deaths)


def test_capabilities_equal_nmc(record: Record, public_data: Path) -> None:
    nmc = pd.read_csv(public_data / "cow" / "nmc_cinc.csv").set_index(["ccode", "year"])
    ours = record["capabilities"]
    from_nmc = ours[ours["basis"] == "nmc"]
    assert len(from_nmc) == len(ours)
    expected = nmc.loc[list(zip(ours["ccode"], ours["year"], strict=True))]
    np.testing.assert_array_equal(ours["cinc"].to_numpy(), expected["cinc"].to_numpy())


def test_polity_scores_equal_polity(record: Record, public_data: Path) -> None:
    polity = pd.read_csv(public_data / "polity" / "polity_iv_2010.csv")
    known = polity.dropna(subset=["polity2"]).drop_duplicates(["ccode", "year"]).set_index(["ccode", "year"])["polity2"]
    for row in record["regimes"].itertuples(index=False):
        if row.basis == "polity4":
            assert row.polity2 == known.loc[(row.ccode, row.year)]
        else:
            # The project's own estimates stand only where Polity has none, and say so.
            assert (row.ccode, row.year) not in known.index
            assert row.note
            assert row.confidence == "low"


def test_leaders_equal_archigos(record: Record, public_data: Path) -> None:
    archigos = pd.read_csv(public_data / "archigos" / "archigos_leaders.csv")
    dates = set(zip(archigos["gwcode"], archigos["startdate"].str[:10], archigos["enddate"].str[:10], strict=True))
    leaders = record["leaders"]
    cited = leaders[leaders["basis"] == "archigos"]
    assert len(cited) > 150
    for row in cited.itertuples(index=False):
        # Archigos lists Serbia under 340.
        codes = (row.ccode, 340) if row.ccode == 345 else (row.ccode,)
        assert any((code, str(row.start.date()), str(row.end.date())) in dates for code in codes), row


def test_cooperation_equals_cow(record: Record, public_data: Path) -> None:
    """Every earlier war on the same side, and no other; a war still going on is not an earlier one."""
    cow = _cow(public_data)
    cow["last"] = cow[["end1", "end2"]].max(axis=1)
    sides = {key: group.drop_duplicates("ccode").set_index("ccode") for key, group in cow.groupby(["WarNum", "Side"])}
    expected = set()
    for war, side in record["coalitions"][["warnum", "side"]].itertuples(index=False, name=None):
        start = sides[(war, side)]["start1"]
        for (earlier, _), group in sides.items():
            beside = [ccode for ccode in start.index if ccode in group.index and group["last"][ccode] < start[ccode]]
            if earlier != war:
                expected |= {(war, side, *pair, earlier) for pair in permutations(beside, 2)}
    ours = record["cooperation"][["warnum", "side", "ccode", "partner", "earlier_war"]]
    assert expected == set(ours.itertuples(index=False, name=None))
