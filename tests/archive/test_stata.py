"""The archive's records declared as Stata's stset would, and the rows a model uses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archive.simulate import SMALL
from coalition_exit.archive.stata import declare, estimation_rows, holds, left_out
from coalition_exit.errors import DataError, SpecError

# stset


def panel(**columns) -> pd.DataFrame:
    return pd.DataFrame(columns)


def spans(declared) -> list[tuple]:
    return list(declared.data[["idvar", "_t0", "_t", "_d"]].itertuples(index=False, name=None))


def test_spans():
    """Unsorted, a gap, a first day of 4, a row after the failure, a second failure after it."""
    frame = panel(
        idvar=[2, 1, 1, 2, 1, 1, 2],
        warday=[9, 3, 1, 4, 2, 7, 6],
        withdraw=[0, 1, 0, 0, 0, 1, 0],
        row=list("abcdefg"),
    )
    declared = declare(frame, "withdraw")
    assert spans(declared) == [(1, 0, 1, 0), (1, 1, 2, 0), (1, 2, 3, 1), (2, 0, 4, 0), (2, 4, 6, 0), (2, 6, 9, 0)]
    assert declared.data["row"].tolist() == list("cebdga")
    assert left_out(declared) == "stset used 6 of 7 records: 1 observation begins on or after (first) failure"
    assert frame.columns.tolist() == ["idvar", "warday", "withdraw", "row"]


def test_days_before_the_first_and_what_is_missing():
    frame = panel(
        idvar=[1, 1, 1, 1, np.nan, 2, 2],
        warday=[-2.0, 0.0, 3.0, 5.0, 1.0, np.nan, 2.0],
        withdraw=[0.0, 0.0, np.nan, 2.0, 1.0, 1.0, 0.0],
    )
    declared = declare(frame, "withdraw")
    assert spans(declared) == [(1, 0, 3, 0), (1, 3, 5, 1), (2, 0, 2, 0)]
    text = left_out(declared)
    assert "2 observations end on or before enter()" in text
    assert "1 event time missing (warday>=.)" in text
    assert "1 ignored because idvar missing" in text
    assert text.endswith("1 with a missing failure variable kept as censored")


def test_a_missing_covariate_leaves_a_gap_and_no_longer_span():
    frame = panel(idvar=[1, 1, 1], warday=[1, 2, 3], withdraw=[0, 0, 1], x=[1.0, np.nan, 2.0], coalid=[1, 1, 1])
    rows = estimation_rows(declare(frame, "withdraw").data, ["x", "coalid"])
    assert list(rows.frame[["_t0", "_t"]].itertuples(index=False, name=None)) == [(0, 1), (2, 3)]
    assert (rows.n_dropped, rows.n_unknown) == (1, 0)
    before = declare(frame.dropna(), "withdraw").data
    assert before["_t0"].tolist() == [0, 1]


def test_conditions_come_after_stset():
    frame = panel(idvar=[1, 1, 1], warday=[1, 2, 3], withdraw=[0, 1, 0], x=[0, 0, 1])
    rows = estimation_rows(declare(frame, "withdraw").data, [], ["x == 1"])
    # The row after the failure is gone before the condition is asked.
    assert len(rows.frame) == 0
    assert declare(frame[frame["x"] == 1], "withdraw").data["_t0"].tolist() == [0]


def test_censoring_comes_before_stset():
    frame = panel(idvar=[1, 1, 1, 2], warday=[1, 2, 3, 1], withdraw=[0, 1, 0, 1], warnum=[22, 22, 22, 5])
    assert declare(frame, "withdraw").report.remaining == 3
    declared = declare(frame, "withdraw", ["warnum in [22, 28, 155]"])
    assert spans(declared) == [(1, 0, 1, 0), (1, 1, 2, 0), (1, 2, 3, 0), (2, 0, 1, 1)]
    assert frame["withdraw"].sum() == 2
    either = declare(frame, "withdraw", ["warnum == 22", "warnum == 5"])
    assert either.report.failures == 0
    with pytest.raises(
        DataError, match="stset, failure: expected one of idvar, warday, withdraw, warnum, got 'withdrew'"
    ):
        declare(frame, "withdrew", ["warnum == 22"])


def test_records_on_one_day():
    frame = panel(idvar=[1, 1, 1, 1], warday=[1, 2, 2, 3], withdraw=[0, 0, 0, 1])
    declared = declare(frame, "withdraw")
    assert spans(declared) == [(1, 0, 1, 0), (1, 2, 3, 1)]
    assert declared.report.same_instant == 2
    assert "PROBABLE ERROR" in str(declared)
    assert "2 multiple records at same instant" in left_out(declared)
    with pytest.raises(DataError, match="one record at an instant"):
        declare(frame, "withdraw", conflicts="error")


def test_nothing_left_out():
    assert left_out(declare(SMALL, "withdraw")) == ""


# if


def test_a_share_stored_in_single_precision_is_compared_in_double_precision():
    frame = SMALL.assign(double=[0.1, 0.1, 0.05, np.nan])
    assert holds(frame, ["contribpc > 0.1"]).tolist() == [True, True, False, True]
    assert holds(frame, ["contribpc == 0.1"]).tolist() == [False] * 4
    assert holds(frame, ["double > 0.1"]).tolist() == [False, False, False, True]


def test_a_missing_value_is_larger_than_any_number():
    """What Stata's manual says of `if` and missing values ([U] 12.2.1)."""
    frame = panel(x=[1.0, np.nan], y=[np.nan, np.nan], side=[2, 2])
    for condition, expected in {
        "x > 1e30": [False, True],
        "x != 1": [False, True],
        "x < 5": [True, False],
        "not x < 5": [False, True],
        "x in [1, 2]": [True, False],
        "x not in [1, 2]": [False, True],
        "x == y": [False, True],
        "x < y": [True, False],
        "not (x == 1 and side == 2)": [False, True],
    }.items():
        assert holds(frame, [condition]).tolist() == expected, condition
    assert holds(frame, []).all()
    assert holds(frame, ["x > 1e30", "side == 1"]).sum() == 0
    with pytest.raises(SpecError, match="Did you mean 'side'"):
        holds(frame, ["sid == 1"])


def test_rows_kept_for_a_missing_value_are_counted():
    rows = estimation_rows(SMALL, ["warday", "warday"], ["contribpc > 0.1"])
    assert rows.frame["idvar"].tolist() == [1, 1, 2]
    assert (rows.n_dropped, rows.n_unknown) == (0, 1)
    assert estimation_rows(SMALL, ["contribpc"], ["contribpc > 0.1"]).n_dropped == 1
    with pytest.raises(DataError, match=r"variable: expected one of .*, got 'contribcp'. Did you mean 'contribpc'"):
        estimation_rows(SMALL, ["contribcp"])


# An obvious reading of the rules, record by record


def slowly(frame: pd.DataFrame) -> list[tuple]:
    found = []
    for subject in sorted(frame["idvar"].unique()):
        own = sorted(frame[frame["idvar"] == subject].itertuples(index=False), key=lambda r: r.warday)
        begin = 0
        for record in own:
            end, failed = record.warday, record.withdraw == 1
            if end > 0:
                found.append((subject, begin, end, int(failed)))
                begin = end
            if failed:
                break
    return found


@settings(deadline=None)
@given(st.data())
def test_against_a_slow_reading_of_the_rules(data):
    days = st.lists(st.integers(-2, 12), min_size=1, max_size=6, unique=True)
    rows = [
        (subject, day, data.draw(st.integers(0, 1)))
        for subject in range(data.draw(st.integers(1, 4)))
        for day in data.draw(days)
    ]
    order = data.draw(st.permutations(rows))
    frame = pd.DataFrame(order, columns=["idvar", "warday", "withdraw"])
    expected = slowly(frame)
    if expected:
        assert spans(declare(frame, "withdraw")) == expected
    else:
        with pytest.raises(DataError, match="a record at risk"):
            declare(frame, "withdraw")
