"""The panel: rows, keys, subjects, and what it promises to users of other programs."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from coalition_exit.errors import InputError, SpecError
from coalition_exit.panel.build import KEYS, WINDOWS, build_panel, default_variables, resolve_rules
from coalition_exit.panel.describe import count_panel, describe_variables, exits_by_mode
from coalition_exit.panel.export import export_panel
from coalition_exit.record.loading import Record, load_record

ARCHIVE = (
    "idvar coalid warnum ccode side year month day warday finalobs withdraw volunt foverlap ctrend15 ctrend60 ctrend120 otrend60 "
    "pvict imptce contribpc recexit recexit2 demdum polity2 newlead sepdum seppc actdum actpc intdum cooppc terraim regaim "
    "latejoin lnodead lnodead2"
).split()


def test_one_row_per_state_and_day(panel: pd.DataFrame, record: Record) -> None:
    assert not panel.duplicated(["idvar", "warday"]).any()
    sides = record["coalitions"][["warnum", "side"]]
    spells = record["spells"].merge(sides, on=["warnum", "side"])
    assert len(panel) == ((spells["end"] - spells["start"]).dt.days + 1).sum()
    assert 100_000 < len(panel) < 110_000


def test_names_are_the_archives(panel: pd.DataFrame) -> None:
    assert set(ARCHIVE) <= set(panel.columns)


def test_episodes_and_keys(panel: pd.DataFrame) -> None:
    assert (panel["stop"] == panel["warday"]).all()
    assert (panel["stop"] - panel["start"] == 1).all()
    first = panel.groupby("idvar")["warday"].min()
    assert (first == 1).all()
    assert panel["finalobs"].sum() == panel["idvar"].nunique() == 203
    dates = pd.to_datetime(panel[["year", "month", "day"]])
    steps = dates.diff().dt.days[panel["idvar"].diff() == 0]
    assert (steps == 1).all()


def test_values_are_possible(panel: pd.DataFrame) -> None:
    for name in ("foverlap", "pvict", "imptce", "contribpc", "seppc", "actpc", "cooppc"):
        assert panel[name].between(0, 1 + 1e-12).all(), name
    for name in (
        "recexit",
        "recexit2",
        "demdum",
        "newlead",
        "sepdum",
        "actdum",
        "intdum",
        "terraim",
        "regaim",
        "latejoin",
    ):
        assert panel[name].isin([0, 1]).all(), name
    for window in WINDOWS:
        assert panel[f"ctrend{window}"].between(-1, 1).all()
    assert not panel.isna().any().any()
    assert (panel["volunt"] <= panel["withdraw"]).all()
    assert (panel["withdraw"] <= panel["finalobs"]).all()
    assert (panel["pvict"] < 1).all()


def test_members_of_a_coalition_share_its_trend_and_odds(panel: pd.DataFrame) -> None:
    same_day = panel.groupby(["coalid", "year", "month", "day"])
    for name in ("ctrend60", "pvict"):
        assert (same_day[name].max() - same_day[name].min()).abs().max() < 1e-12
    assert (same_day["imptce"].sum() - 1).abs().max() < 1e-12
    assert (same_day["contribpc"].sum() - 1).abs().max() < 1e-12


def test_deaths_so_far_end_at_the_total(panel: pd.DataFrame, record: Record) -> None:
    last = panel[panel["finalobs"] == 1].sort_values("spell").drop_duplicates(["warnum", "side", "ccode"], keep="last")
    merged = last.merge(record["members"].dropna(subset=["deaths"]), on=["warnum", "side", "ccode"])
    np.testing.assert_allclose(np.expm1(merged["lnodead"]), merged["deaths"], rtol=1e-9, atol=1e-6)


def test_second_spells_by_rule(record: Record) -> None:
    new = build_panel(record, ["withdraw"])
    same = build_panel(record, ["withdraw"], {"subjects": {"second_spell": "same"}})
    assert len(new) == len(same)
    assert new["idvar"].nunique() == 203
    assert same["idvar"].nunique() == 191
    syria = same[(same["warnum"] == 148) & (same["ccode"] == 652)]
    # The truce from 19 July to 14 October 1948 is a gap in the days of its war.
    assert set(np.diff(syria["warday"])) == {1, 89}


def test_dates_of_cow_by_rule(record: Record) -> None:
    cow = build_panel(record, ["withdraw"], {"subjects": {"dates": "cow"}})
    assert len(cow) == 106_061


def test_any_window_can_be_asked_for(record: Record, panel: pd.DataFrame) -> None:
    odd = build_panel(record, ["ctrend61", "otrend16"])
    assert list(odd.columns) == [*KEYS, "ctrend61", "otrend16"]
    direct = build_panel(record, ["ctrend60"], {"ctrend60": {"window": 90}})
    np.testing.assert_array_equal(direct["ctrend60"], panel["ctrend90"])


@pytest.mark.parametrize(
    ("name", "hint"), [("foverlp", "foverlap"), ("ctrend14", "ctrend60"), ("ctrend121", "ctrend60")]
)
def test_unknown_variable_gets_the_nearest_name(record: Record, name: str, hint: str) -> None:
    with pytest.raises(SpecError, match=f"Did you mean '{hint}'"):
        build_panel(record, [name])


def test_panel_is_built_quickly_enough_to_wait_for(record: Record) -> None:
    started = time.process_time()
    build_panel(record, default_variables(), {"subjects": {"dates": "cow"}})
    # A bound against disaster on any machine, not a benchmark.
    assert time.process_time() - started < 20


def test_building_twice_gives_equal_panels(record: Record, panel: pd.DataFrame) -> None:
    again = build_panel(load_record())
    pd.testing.assert_frame_equal(panel, again, check_exact=True)
    assert panel.attrs == again.attrs
    assert panel.attrs["note"] == "reconstructed from public facts; not the author's data"


def test_changing_the_panel_does_not_change_the_next(record: Record) -> None:
    first = build_panel(record, ["foverlap"])
    first["foverlap"] = -1.0
    assert (build_panel(record, ["foverlap"])["foverlap"] >= 0).all()


def test_counts_and_exits(panel: pd.DataFrame, record: Record) -> None:
    counts = count_panel(panel).set_index("what")["number"]
    assert counts["states in coalitions"] == 191
    assert counts["coalitions"] == 44
    assert counts["abandonments"] == panel["withdraw"].sum()
    modes = exits_by_mode(record, panel).set_index("mode")
    assert modes.loc["all", "exits"] == 203
    assert modes.loc["all", "withdraw"] == panel["withdraw"].sum()
    assert modes.drop("all")["exits"].sum() == 203


def test_codebook_line_for_every_variable(panel: pd.DataFrame) -> None:
    described = describe_variables(panel, resolve_rules(default_variables()))
    assert list(described["variable"]) == list(panel.columns)
    assert (described["meaning"].str.len() > 10).all() or set(
        described.loc[described["meaning"].str.len() <= 10, "variable"]
    ) <= {"side", "month"}


@pytest.mark.parametrize("suffix", [".dta", ".csv", ".parquet"])
def test_export_keeps_every_value(panel: pd.DataFrame, tmp_path: Path, suffix: str) -> None:
    small = panel.iloc[:500]
    path = export_panel(small, tmp_path / f"panel{suffix}", resolve_rules(default_variables()))
    read_csv = partial(pd.read_csv, float_precision="round_trip")
    read = {".dta": pd.read_stata, ".csv": read_csv, ".parquet": pd.read_parquet}[suffix](path)
    assert list(read.columns) == list(small.columns)
    np.testing.assert_array_equal(read.to_numpy(dtype=float), small.to_numpy(dtype=float))
    again = export_panel(small, tmp_path / f"again{suffix}", resolve_rules(default_variables()))
    assert again.read_bytes() == path.read_bytes()


def test_export_carries_labels_to_stata(panel: pd.DataFrame, tmp_path: Path) -> None:
    path = export_panel(panel.iloc[:5], tmp_path / "panel.dta", resolve_rules(default_variables()))
    with pd.io.stata.StataReader(path) as reader:
        assert reader.variable_labels()["foverlap"] == "Common Front"


def test_export_refuses_other_formats_and_places(panel: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.dta, \.csv, \.parquet"):
        export_panel(panel.iloc[:5], tmp_path / "panel.xlsx")
    with pytest.raises(InputError, match="can be written"):
        export_panel(panel.iloc[:5], tmp_path / "nowhere" / "panel.csv")
    assert list(tmp_path.iterdir()) == []


def test_keys_cannot_be_coded(record: Record) -> None:
    with pytest.raises(SpecError, match="coding > idvar: expected a variable that rules code"):
        build_panel(record, ["withdraw"], {"idvar": "article_polity"})
