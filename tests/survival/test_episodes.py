"""The report on episodes: R's survcheck on a panel with planted faults, closed cases, a slow reading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coalition_exit.errors import DataError
from coalition_exit.survival.data.episodes import FAULTS, episode_report
from coalition_exit.survival.data.surv import Surv, check_episodes

REFERENCE = Path(__file__).parents[1] / "reference"
VALUES = pd.read_csv(REFERENCE / "stset_values.csv", dtype={"term": str, "other": str}, keep_default_na=False)
PANEL = pd.read_csv(REFERENCE / "stset_panel.csv")


def expected(model: str, quantity: str, term: str = "") -> list[int]:
    rows = VALUES[(VALUES["model"] == model) & (VALUES["quantity"] == quantity) & (VALUES["term"] == term)]
    return rows["value"].astype(float).astype(int).tolist()


@pytest.mark.parametrize("state", ["state", None])
def test_faults_equal_survcheck(state):
    model = "states" if state else "plain"
    data = PANEL if state else PANEL.assign(status=(PANEL["status"] > 0).astype(int))
    report = episode_report("Surv(start, stop, status)", data, id="id", state=state)
    for fault in ("overlap", "gap", "jump", "teleport"):
        assert [report.counts[fault]] == expected(model, "count", fault)
        # R numbers rows from 1.
        assert (report.rows(fault)["row"] + 1).tolist() == expected(model, "row", fault)
    left_out = report.counts["zero_length"] + report.counts["negative_length"]
    assert report.counts["zero_length"] == (PANEL["stop"] == PANEL["start"]).sum() > 0
    assert report.counts["negative_length"] == (PANEL["stop"] < PANEL["start"]).sum() > 0
    assert [len(PANEL) - left_out] == expected(model, "n")
    for events, subjects in report.events_per_subject.items():
        assert [subjects] == expected(model, "events", str(events))
    assert not report.ok
    assert report.counts["duplicate"] > 0


def faulty() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "who": ["a", "a", "b", "b", "b", "c", "c", "d", "d", None, "e"],
            "start": [0, 4, 0, 3, 8, 0, 0, 5, 7, 0, np.nan],
            "stop": [5, 9, 3, 7, 9, 4, 4, 5, 6, 3, 2],
            "event": [0, 0, 0, 1, 0, 0, 1, 1, 0, 2, 0],
        },
        index=list("pqrstuvwxyz"),
    )


def test_each_fault_has_its_row_and_subject():
    report = episode_report("Surv(start, stop, event)", faulty(), id="who")
    assert report.counts == {
        "missing": 2, "event_code": 0, "zero_length": 1, "negative_length": 1, "duplicate": 1,
        "overlap": 2, "gap": 1, "jump": 0, "teleport": 0, "after_event": 1,
    }  # fmt: skip
    assert (report.n_rows, report.n_subjects, report.n_events) == (11, 5, 2)
    overlap = report.rows("overlap").iloc[0]
    assert overlap[["row", "label", "id", "previous_row", "previous_label"]].tolist() == [1, "q", "a", 0, "p"]
    assert overlap["previous_stop"] == 5
    assert report.rows("missing")["label"].tolist() == ["y", "z"]
    assert report.rows("zero_length")["id"].tolist() == ["d"]
    assert report.rows("after_event")["label"].tolist() == ["t"]
    assert report.rows("missing").loc[0, "previous_label"] is None
    text = str(report)
    assert text.startswith("11 rows, 5 subjects, 2 events")
    assert "  row q, subject a: (4, 9] (row p ends at 5)" in text
    assert "gap: 1 row (starts after the subject's previous episode ends)\n  row t, subject b: (8, 9]" in text
    assert "<pre>" in report._repr_html_()
    table = report.to_frame().set_index("fault")
    assert list(table.index) == list(FAULTS)
    assert table.loc["missing", "subjects"] == 1
    assert table.loc["overlap", "subjects"] == 2


def test_long_lists_are_cut_but_countable():
    data = pd.DataFrame({"id": 1, "start": np.arange(0, 20, 2), "stop": np.arange(1, 20, 2), "event": 0})
    report = episode_report("Surv(start, stop, event)", data, id="id")
    assert report.counts["gap"] == len(report.rows("gap")) == 9
    assert "and 4 more" in str(report)
    assert "and 8 more" in report.show(most=1)
    assert report.ok


def test_a_sound_panel_has_no_faults():
    data = pd.read_csv(REFERENCE / "data" / "cgd.csv")
    before = data.copy(deep=True)
    report = episode_report("Surv(tstart, tstop, status)", data, id="id")
    pd.testing.assert_frame_equal(data, before)
    assert {name for name, number in report.counts.items() if number} == {"after_event"}
    assert report.ok
    first = data.drop_duplicates("id")
    clean = episode_report("Surv(tstart, tstop, status)", first, id="id")
    assert str(clean).endswith("no faults")
    assert clean.events_per_subject.to_dict() == first["status"].value_counts().sort_index().to_dict()


def test_right_censored_rows_of_one_subject_overlap():
    data = pd.DataFrame({"id": [1, 1, 2], "time": [3, 5, 4], "event": [0, 1, 1]})
    report = episode_report("Surv(time, event)", data, id="id")
    assert report.counts["overlap"] == 1
    assert report.rows("overlap")["row"].tolist() == [1]


def test_event_codes_without_states():
    data = pd.DataFrame({"id": [1, 2], "a": [0, 0], "b": [3, 5], "event": [2, 1]})
    report = episode_report("Surv(a, b, event)", data, id="id")
    assert report.rows("event_code")["row"].tolist() == [0]
    assert not report.ok
    assert episode_report("Surv(a, b, event)", data.assign(s=0), id="id", state="s").ok


ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 8), st.integers(-1, 4), st.integers(0, 2), st.integers(0, 2)),
    min_size=1,
    max_size=10,
)


@settings(deadline=None, max_examples=150)
@given(ROWS)
def test_report_equals_a_slow_reading(rows):
    data = pd.DataFrame(rows, columns=["id", "start", "length", "event", "state"])
    data["stop"] = data["start"] + data["length"]
    report = episode_report("Surv(start, stop, event)", data, id="id", state="state")
    found = {name: [] for name in FAULTS}
    found["zero_length"] = data.index[data["length"] == 0].tolist()
    found["negative_length"] = data.index[data["length"] < 0].tolist()
    in_order = data[data["length"] > 0].sort_values(["stop", "start"], kind="stable")
    for _, part in in_order.groupby("id"):
        previous, current, had = None, None, False
        for row in part.itertuples():
            if previous is None:
                current = row.state
            else:
                mismatch = row.state != current
                if row.start < previous.stop:
                    found["overlap"].append(row.Index)
                elif row.start > previous.stop:
                    found["jump" if mismatch else "gap"].append(row.Index)
                elif mismatch:
                    found["teleport"].append(row.Index)
                if (row.start, row.stop) == (previous.start, previous.stop):
                    found["duplicate"].append(row.Index)
            if had:
                found["after_event"].append(row.Index)
            if row.event:
                current, had = row.event, True
            previous = row
    for name, positions in found.items():
        assert report.rows(name)["row"].tolist() == sorted(positions), name
    sound = data[data["length"] > 0]
    if len(sound):
        surv = Surv(sound["start"], sound["stop"], sound["event"] > 0)
        if report.counts["overlap"]:
            with pytest.raises(DataError, match="episodes that do not overlap"):
                check_episodes(surv, sound["id"].to_numpy())
        else:
            check_episodes(surv, sound["id"].to_numpy())


def test_bad_input_is_refused():
    data = faulty()
    with pytest.raises(DataError, match=r"id: expected one of .*Did you mean 'who'"):
        episode_report("Surv(start, stop, event)", data, id="wo")
    with pytest.raises(DataError, match="column 'who': expected numbers"):
        episode_report("Surv(start, who, event)", data, id="who")
    with pytest.raises(DataError, match="at least one row"):
        episode_report("Surv(start, stop, event)", data.iloc[:0], id="who")
    with pytest.raises(DataError, match="fault: expected missing"):
        episode_report("Surv(start, stop, event)", data, id="who").rows("gaps")
