"""The record that ships: scope, coverage, and the cases a reader looks up first."""

from __future__ import annotations

import pandas as pd
import pytest

from coalition_exit.record.loading import Record


def test_scope(record: Record) -> None:
    sides = record["coalitions"][["warnum", "side"]]
    members = record["members"].merge(sides, on=["warnum", "side"])
    spells = record["spells"].merge(sides, on=["warnum", "side"])
    assert len(sides) == 44
    assert len(record["wars"]) == 38
    assert len(members) == 191
    assert (spells["spell"] == 2).sum() == 12
    assert len(record["exits"]) == len(spells) == 203


def test_every_exit_is_explained(record: Record) -> None:
    exits = record["exits"]
    assert (exits["explanation"].str.len() > 30).all()
    # An exit that partners did not mind cannot have been against their wishes.
    ended = exits[exits["ended_war"] == "yes"]
    assert len(ended) < 20


def _exit(record: Record, war: int, side: int, state: int, spell: int = 1) -> pd.Series:
    exits = record["exits"].set_index(["warnum", "side", "ccode", "spell"])
    return exits.loc[(war, side, state, spell)]


# war, side, state, spell, date, facts that historians do not dispute
KNOWN = [
    (22, 1, 220, 1, "1856-03-01", {"ended_war": "yes", "partners_wish": "yes", "choice": "own"}),
    (28, 1, 220, 1, "1859-07-12", {"ended_war": "yes", "partners_wish": "yes", "mode": "separate_peace"}),
    (55, 2, 240, 1, "1866-06-29", {"mode": "surrender", "choice": "forced", "fighting_stopped": "yes"}),
    (55, 1, 255, 1, "1866-08-02", {"partners_wish": "yes", "choice": "own"}),
    (58, 1, 245, 1, "1870-11-15", {"mode": "state_absorbed", "fighting_stopped": "no"}),
    (58, 1, 267, 1, "1870-11-22", {"mode": "state_absorbed", "fighting_stopped": "no"}),
    (58, 1, 271, 1, "1870-11-25", {"mode": "state_absorbed", "fighting_stopped": "no"}),
    (64, 2, 145, 1, "1880-05-26", {"fighting_stopped": "yes"}),
    (100, 1, 355, 1, "1912-12-03", {"mode": "armistice", "fighting_stopped": "yes"}),
    (100, 1, 345, 1, "1912-12-03", {"mode": "armistice", "fighting_stopped": "yes"}),
    (106, 1, 365, 1, "1917-12-05", {"partners_wish": "yes", "fighting_stopped": "yes"}),
    (106, 1, 360, 1, "1917-12-09", {"mode": "armistice", "fighting_stopped": "yes"}),
    (106, 2, 355, 1, "1918-09-29", {"mode": "armistice", "fighting_stopped": "yes"}),
    (106, 2, 640, 1, "1918-10-30", {"mode": "armistice", "fighting_stopped": "yes"}),
    (106, 2, 300, 1, "1918-11-03", {"mode": "armistice", "fighting_stopped": "yes"}),
    (108, 1, 255, 1, "1919-04-15", {"mode": "changed_sides"}),
    (139, 1, 211, 1, "1940-05-28", {"mode": "surrender", "partners_wish": "yes"}),
    (139, 1, 220, 1, "1940-06-22", {"mode": "armistice", "partners_wish": "yes"}),
    (139, 2, 360, 1, "1944-08-23", {"mode": "changed_sides", "partners_wish": "yes"}),
    (139, 2, 375, 1, "1944-09-04", {"fighting_stopped": "yes", "partners_wish": "yes"}),
    (148, 2, 651, 2, "1949-01-07", {"fighting_stopped": "no"}),
    (155, 1, 200, 1, "1956-11-06", {"ended_war": "yes", "partners_wish": "yes"}),
    (169, 2, 663, 1, "1967-06-07", {"fighting_stopped": "yes"}),
    (169, 2, 651, 1, "1967-06-08", {"fighting_stopped": "yes"}),
    (181, 2, 651, 1, "1973-10-24", {"partners_wish": "yes"}),
    (190, 2, 620, 1, "1979-04-07", {"fighting_stopped": "yes"}),
]


@pytest.mark.parametrize(("war", "side", "state", "spell", "date", "facts"), KNOWN)
def test_cases_a_reader_looks_up_first(
    record: Record, war: int, side: int, state: int, spell: int, date: str, facts: dict[str, str]
) -> None:
    row = _exit(record, war, side, state, spell)
    assert str(row["date"].date()) == date
    assert {name: row[name] for name in facts} == facts


def test_vietnam_contributors_leave_in_december_1972_and_january_1973(record: Record) -> None:
    ends = {state: str(_exit(record, 163, 2, state)["date"].date()) for state in (2, 732, 800, 840, 900)}
    assert ends == {2: "1973-01-27", 732: "1973-01-28", 800: "1973-01-28", 840: "1973-01-28", 900: "1972-12-20"}
    # Their combat forces had left before: pull-backs of their own, not exits.
    pullbacks = record["pullbacks"].query("warnum == 163 and share > 0.9")
    assert set(pullbacks["ccode"]) >= {800, 840, 900}


def test_codings_rest_on_sources_that_exist(record: Record) -> None:
    sources = set(record["sources"]["source"])
    used = {
        key for name in record if "basis" in record[name] for basis in record[name]["basis"] for key in basis.split(";")
    }
    assert used <= sources
    assert record["sources"]["citation"].str.len().min() > 20
    # Sources that no row names would pretend to more than was consulted.
    assert sources - used == set()
