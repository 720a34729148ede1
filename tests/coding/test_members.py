"""Rules for the subjects: who is a member, from when to when, beside whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from coalition_exit.coding.history import lay_out
from coalition_exit.coding.rules import load_rules
from coalition_exit.errors import SpecError
from coalition_exit.panel.build import KEYS, build_panel, default_variables
from coalition_exit.record.loading import Record, load_record
from tiny_record import edit

ALPHA, BETA = 10, 20
SPELL = ["warnum", "side", "ccode", "spell"]


@pytest.fixture
def tiny(tiny_folder: Path) -> Record:
    return load_record(tiny_folder)


def _panel(record: Record, subjects: Any, *variables: str) -> pd.DataFrame:
    return build_panel(record, ["withdraw", *variables], {"subjects": subjects})


def _spells(panel: pd.DataFrame) -> list[tuple[int, int]]:
    return [(int(c), int(s)) for c, s in panel[["ccode", "spell"]].drop_duplicates().itertuples(index=False)]


ALL = [(ALPHA, 1), (BETA, 1), (BETA, 2)]


@pytest.mark.parametrize(
    ("subjects", "left"),
    [
        ("article_subjects", ALL),
        ("coordinated_only", ALL),
        ("major_members_only", ALL),
        ({"min_force_share": 0.25}, ALL[:1]),
        ({"min_force_share": 0.8}, []),
        ({"min_force_share": 0.79}, ALL[:1]),
        ({"min_force_share": 0.99, "force_share": "entry"}, ALL[:1]),
        ({"min_force_share": 0.99, "force_share": "largest"}, ALL[:1]),
        # The league bound Alpha to the 10th only, so that Beta's second spell has no ally.
        ("allied_only", ALL[:2]),
        ("allied_at_entry_only", ALL[:2]),
        # The pact came on the 6th, after Alpha and Beta had met.
        ("pledged_only", ALL),
        ({"rule": "pledged_only", "bond_taken": "entry"}, ALL[2:]),
        ({"bond": "integrated_command"}, []),
        ("original_members", ALL),
        ({"rule": "original_members", "late_days": 1}, ALL[:1]),
        ({"rule": "original_members", "late_days": 2}, ALL),
        ("without_world_wars", ALL),
        ({"without_war": 5}, []),
        ({"last_year": 1899}, []),
        ({"first_year": 1901}, []),
        ({"first_year": 1900, "last_year": 1900}, ALL),
        ({"where": "spell == 1"}, ALL[:2]),
        ({"where": "days >= 10 and mode != 'war_ended'"}, ALL[1:2]),
        ({"where": "spell == 1", "late_joiners": "out", "late_days": 1}, ALL[:1]),
    ],
)
def test_who_is_left(tiny: Record, subjects: Any, left: list[tuple[int, int]]) -> None:
    panel = _panel(tiny, subjects, "foverlap")
    assert _spells(panel) == left
    whole = _panel(tiny, "article_subjects", "foverlap")
    kept = whole[[pair in left for pair in zip(whole["ccode"], whole["spell"], strict=True)]].reset_index(drop=True)
    # Leaving states out changes nothing in the rows of the others.
    pd.testing.assert_frame_equal(panel, kept, check_dtype=bool(left), check_index_type=False)


@pytest.mark.parametrize(
    ("coordination", "reading", "left"),
    [("no", "no", 0), ("unclear", "no", 0), ("unclear", "yes", 3), ("yes", "no", 3)],
)
def test_coordination(tiny_folder: Path, coordination: str, reading: str, left: int) -> None:
    record = load_record(edit(tiny_folder, "coalitions", "5,1,yes", f"5,1,{coordination}"))
    panel = _panel(record, {"rule": "coordinated_only", "unclear_coordination": reading})
    assert panel["idvar"].nunique() == left


def test_who_is_no_member_can_be_no_partner_either(tiny: Record) -> None:
    variables = ("foverlap", "imptce", "pvict", "recexit", "contribpc", "ctrend60", "cooppc")
    panel = _panel(tiny, "allied_partners_only", *variables).set_index(["ccode", "day"])
    whole = _panel(tiny, "article_subjects", *variables).set_index(["ccode", "day"])
    assert len(panel) == 30
    # Before Beta's second spell, which is left out, nothing changes.
    pd.testing.assert_frame_equal(panel.loc[BETA], whole.loc[BETA].loc[3:12])
    pd.testing.assert_frame_equal(panel.loc[ALPHA].loc[:14], whole.loc[ALPHA].loc[:14])
    alone = panel.loc[ALPHA].loc[15:]
    assert (alone["foverlap"] == 0).all()
    assert (alone["cooppc"] == 0).all()
    np.testing.assert_allclose(alone["imptce"], 1)
    np.testing.assert_allclose(alone["pvict"], 0.6)
    np.testing.assert_allclose(alone["contribpc"], 1)
    # A side on which one state is left is no coalition.
    assert not len(_panel(tiny, {"rule": "allied_partners_only", "bond": "no_separate_peace", "bond_taken": "entry"}))


def test_losses_among_members_only(tiny: Record) -> None:
    """Alpha's side without Beta: the coalition's trend becomes that of Alpha's losses alone."""
    choice = {"partners": "subjects", "where": "ccode == 10 or spell == 2"}
    panel = build_panel(tiny, ["ctrend60"], {"subjects": choice, "ctrend60": {"window": 5}})
    trend = panel[panel["ccode"] == ALPHA].set_index("day")["ctrend60"]
    # From the 2nd to the 6th Alpha lost 45 and its enemy 40; only Alpha lost anyone on the 1st.
    assert trend[6] == pytest.approx(45 / 85 - 1)


def test_time_from_the_wars_start(tiny: Record) -> None:
    for rule in ("origin_war_start", {"origin": "coalition"}):
        panel = _panel(tiny, rule).set_index(["ccode", "day"])
        assert (panel["stop"] == panel.index.get_level_values("day")).all()
        assert (panel["stop"] - panel["start"] == 1).all()
        assert panel.loc[(BETA, 15), "warday"] == 1
        assert panel["idvar"].nunique() == 3
    same = _panel(tiny, {"rule": "same_subject_again", "origin": "war"}).set_index(["ccode", "day"])
    assert same.loc[(BETA, 15), ["start", "stop", "warday"]].tolist() == [14, 15, 13]
    own = _panel(tiny, "same_subject_again").set_index(["ccode", "day"])
    assert own.loc[(BETA, 15), ["start", "stop", "warday"]].tolist() == [12, 13, 13]


def test_time_from_the_start_on_the_record(record: Record, panel: pd.DataFrame) -> None:
    late = panel.merge(record["wars"][["warnum", "start"]].rename(columns={"start": "began"}), on="warnum")
    expected = (pd.to_datetime(late[["year", "month", "day"]]) - late["began"]).dt.days + 1
    war = _panel(record, "origin_war_start")
    np.testing.assert_array_equal(war["stop"], expected)
    side = _panel(record, {"origin": "coalition"})
    dates = pd.to_datetime(side[["year", "month", "day"]])
    np.testing.assert_array_equal(side["stop"], (dates - dates.groupby(side["coalid"]).transform("min")).dt.days + 1)
    # Somebody is at war on either side on every day, so that both sides begin on the war's first day.
    np.testing.assert_array_equal(side["stop"], war["stop"])
    for name in set(KEYS) - {"start", "stop"}:
        np.testing.assert_array_equal(war[name], panel[name])


@pytest.fixture
def at_peace(tiny_folder: Path) -> Record:
    return load_record(edit(tiny_folder, "wars", "1900-01-20,,0", "1900-01-20,1900-01-25,0"))


def test_until_the_peace_by_hand(at_peace: Record) -> None:
    names = default_variables()
    panel = build_panel(at_peace, names, {"subjects": "until_peace"}).set_index(["ccode", "day"])
    war = build_panel(at_peace, names).set_index(["ccode", "day"])
    assert len(panel) == 25 + 10 + 11
    rows = panel.loc[war.index].drop(columns="finalobs")
    pd.testing.assert_frame_equal(rows, war.drop(columns="finalobs"), rtol=1e-12, atol=1e-13)
    after = panel.loc[[(state, day) for state in (ALPHA, BETA) for day in range(21, 26)]]
    assert not panel.isna().any().any()
    assert panel["withdraw"].sum() == 1
    assert after["finalobs"].sum() == 2
    alpha = after.loc[ALPHA]
    for name, value in {"foverlap": 0.25, "pvict": 4 / 6, "imptce": 0.75, "newlead": 1, "regaim": 1, "contribpc": 0.75,
                        "recexit": 1, "sepdum": 1, "polity2": 8, "lnodead": np.log(101)}.items():  # fmt: skip
        np.testing.assert_allclose(alpha[name], value, err_msg=name)
    assert alpha["stop"].tolist() == [21, 22, 23, 24, 25]
    assert after.loc[BETA]["warday"].tolist() == [7, 8, 9, 10, 11]


def test_whose_exit_ended_the_war_does_not_wait(tiny_folder: Path) -> None:
    edit(tiny_folder, "wars", "1900-01-20,,0", "1900-01-20,1900-01-25,0")
    edit(tiny_folder, "exits", "war_ended,no,no,own,no", "war_ended,no,yes,own,yes")
    record = load_record(tiny_folder)
    panel = _panel(record, "until_peace", "recexit").set_index(["ccode", "day"])
    assert panel.loc[ALPHA].index.max() == 20
    assert panel.loc[ALPHA, "withdraw"].loc[20] == 1
    # Beta, which waits, sees it leave.
    assert panel.loc[BETA].loc[21:, "recexit"].tolist() == [1] * 5
    # Told to wait, it is out of the risk set from its exit on.
    waits = _panel(record, {"rule": "until_peace", "until_peace_if": "side_days_left == 0"}).set_index(["ccode", "day"])
    assert waits.loc[(ALPHA, 20), "withdraw"] == 1
    assert waits.loc[ALPHA].loc[21:, "withdraw"].isna().all()
    assert waits.loc[BETA]["withdraw"].notna().all()


@pytest.mark.parametrize("peace", ["", "1900-01-20", "1900-01-05"])
def test_no_later_peace_extends_nothing(tiny_folder: Path, peace: str) -> None:
    record = load_record(edit(tiny_folder, "wars", "1900-01-20,,0", f"1900-01-20,{peace},0"))
    pd.testing.assert_frame_equal(_panel(record, "until_peace", "pvict"), _panel(record, "article_subjects", "pvict"))


def test_until_the_peace_on_the_record(record: Record, panel: pd.DataFrame) -> None:
    long = build_panel(record, default_variables(), {"subjects": "until_peace"})
    assert not long.isna().any().any()
    assert long["withdraw"].sum() == 32
    both = long.merge(panel[["idvar", "warday"]], on=["idvar", "warday"])
    pd.testing.assert_frame_equal(both.drop(columns="finalobs"), panel.drop(columns="finalobs"), rtol=1e-9, atol=1e-12)
    ends = long.groupby(SPELL).tail(1).set_index(SPELL)
    dates = pd.to_datetime(ends[["year", "month", "day"]])
    exits = record["exits"].merge(record["wars"][["warnum", "peace"]], on="warnum")
    last = exits.groupby(["warnum", "side"])["date"].transform("max")
    for row, side_end in zip(exits.itertuples(index=False), last, strict=True):
        waits = row.mode in ("war_ended", "armistice", "separate_peace") and row.date == side_end
        waits = waits and row.ended_war == "no" and not pd.isna(row.peace) and row.peace > row.date
        key = (row.warnum, row.side, row.ccode, row.spell)
        assert dates[key] == (row.peace if waits else row.date), key
    # France left in 1856; Britain waited for the treaty of 30 March.
    assert str(dates[(22, 1, 220, 1)].date()) == "1856-03-01"
    assert str(dates[(22, 1, 200, 1)].date()) == "1856-03-30"


def _slow_shares(record: Record, warnum: int, side: int) -> dict[tuple[int, int], list[float]]:
    """Share of its side's soldiers on each day of each spell, by plain loops over dates."""

    def own(name: str) -> pd.DataFrame:
        return record[name][(record[name]["warnum"] == warnum) & (record[name]["side"] == side)]

    def soldiers(ccode: int, day: pd.Timestamp) -> float:
        rows = own_forces[(own_forces["ccode"] == ccode) & (own_forces["start"] <= day) & (own_forces["end"] >= day)]
        return float(rows["soldiers"].iloc[-1])

    own_spells, own_forces = own("spells"), own("forces")
    shares = {}
    for spell in own_spells.itertuples(index=False):
        found = []
        for day in pd.date_range(spell.start, spell.end):
            there = own_spells[(own_spells["start"] <= day) & (own_spells["end"] >= day)]["ccode"]
            found.append(1.0 if len(there) == 1 else soldiers(spell.ccode, day) / sum(soldiers(c, day) for c in there))
        shares[(spell.ccode, spell.spell)] = found
    return shares


@pytest.mark.parametrize(("warnum", "side"), [(55, 2), (100, 1), (148, 2), (181, 2)])
def test_major_members_by_plain_loops(record: Record, warnum: int, side: int) -> None:
    shares = _slow_shares(record, warnum, side)
    for taken, measure in (("mean", np.mean), ("entry", lambda s: s[0]), ("largest", np.max)):
        panel = _panel(record, {"rule": "major_members_only", "force_share": taken})
        own = panel[(panel["warnum"] == warnum) & (panel["side"] == side)]
        assert set(_spells(own)) == {key for key, share in shares.items() if measure(share) > 0.1}, taken


def test_bonds_and_entries_by_other_columns(record: Record, panel: pd.DataFrame) -> None:
    ever = panel.groupby(SPELL)[["actdum", "sepdum", "latejoin"]].max()
    for rule, keep in (
        ("allied_only", ever["actdum"] == 1),
        ("pledged_only", ever["sepdum"] == 1),
        ("original_members", ever["latejoin"] == 0),
        ("without_late_joiners", ever["latejoin"] == 0),
    ):
        found = _panel(record, rule)
        assert set(found.set_index(SPELL).index) == set(ever.index[keep]), rule
    beside = panel.assign(n=panel.groupby(["coalid", "year", "month", "day"])["ccode"].transform("size"))
    met = beside[beside["n"] > 1].groupby(SPELL)["actdum"].first()
    assert set(_panel(record, "allied_at_entry_only").set_index(SPELL).index) == set(met.index[met == 1])


def test_samples_by_the_tables_of_the_record(record: Record) -> None:
    wars = record["wars"].set_index("warnum")
    for rule, keep in (
        ("until_1945", wars["start"].dt.year <= 1945),
        ("since_1946", wars["start"].dt.year >= 1946),
        ("without_world_wars", wars["world_war"] == 0),
        ("without_war", wars.index != 106),
    ):
        found = _panel(record, rule)
        allied = record["coalitions"]["warnum"]
        assert set(found["warnum"]) == set(wars.index[keep]) & set(allied), rule
    for warnum in wars.index:
        assert warnum not in set(_panel(record, {"without_war": int(warnum)})["warnum"])


def test_enemies_count_in_full_where_partners_are_restricted(record: Record) -> None:
    panel = _panel(record, "major_partners_only", "pvict", "imptce").set_index([*SPELL, "year", "month", "day"])
    whole = _panel(record, "article_subjects", "pvict", "imptce").set_index([*SPELL, "year", "month", "day"])
    both = panel.join(whole, rsuffix="_all", how="inner")
    assert len(both) == len(panel)
    # Without its smaller members the coalition is weaker, and each member left is more of it.
    assert (both["pvict"] <= both["pvict_all"] + 1e-12).all()
    assert (both["imptce"] >= both["imptce_all"] - 1e-12).all()
    day = panel.groupby(["warnum", "side", "year", "month", "day"])["imptce"].sum()
    assert (day - 1).abs().max() < 1e-9


@pytest.mark.parametrize(
    ("subjects", "message"),
    [
        ({"min_force_share": 2}, "coding > subjects > min_force_share: expected a number from 0 to 1, got 2"),
        ({"bond": "aliance"}, r"coding > subjects > bond: .* Did you mean 'alliance'\?"),
        ({"where": "worldwar == 0"}, r"coding > subjects > where: .* Did you mean 'world_war'\?"),
        ({"where": "mode == 'surender'"}, r"coding > subjects > where: .* Did you mean 'surrender'\?"),
        ({"until_peace_if": "peace > 1919"}, "coding > subjects > until_peace_if: expected a date"),
        ("entrapment", "expected a rule that codes this kind of variable"),
    ],
)
def test_wrong_choices_get_one_line(record: Record, subjects: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        _panel(record, subjects)
    assert "\n" not in str(caught.value)


def test_memory_is_bounded(tiny: Record) -> None:
    history = lay_out(tiny)
    for k in range(300):
        history.once(("rule", k), lambda: 1)
        history.once(("variant", k), lambda: 1)
    kinds = [key[0] for key in history._cache]
    assert (kinds.count("rule"), kinds.count("variant")) == (60, 2)
    assert history.once(("rule", 299), lambda: 2) == 1
    assert history.once(("rule", 0), lambda: 2) == 2
    # What was used last stays longest.
    history.once(("rule", 261), lambda: 3)
    for k in range(300, 359):
        history.once(("rule", k), lambda: 1)
    assert history.once(("rule", 261), lambda: 3) == 1


def test_every_rule_for_the_subjects_builds(record: Record) -> None:
    for rule in load_rules().rules.values():
        if rule.role == "subjects":
            panel = _panel(record, rule.name, "foverlap")
            assert len(panel)
            assert not panel.duplicated(["idvar", "stop"]).any()
            assert panel["idvar"].is_monotonic_increasing
            assert (panel["warday"].diff()[panel["idvar"].diff() == 0] > 0).all()


def test_restrictions_join(at_peace: Record, record: Record) -> None:
    both = {"rule": "until_peace", "partners": "subjects", "bond": "alliance"}
    panel = _panel(at_peace, both, "pvict", "imptce").set_index(["ccode", "day"])
    # Beta's second spell is left out, and Alpha waits for the peace alone.
    assert _spells(panel.reset_index()) == [(ALPHA, 1), (BETA, 1)]
    assert panel.loc[ALPHA].index.max() == 25
    np.testing.assert_allclose(panel.loc[ALPHA].loc[15:, "imptce"], 1)
    np.testing.assert_allclose(panel.loc[ALPHA].loc[15:, "pvict"], 0.6)
    wide = _panel(record, {**both, "dates": "cow", "origin": "war", "second_spell": "same", "min_force_share": 0.1})
    assert len(wide)
    assert (wide["stop"] >= wide["warday"]).all()
