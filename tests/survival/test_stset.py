"""stset: outputs printed in Stata's manual, every rule by hand, a slow reading of the rules, bad input."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coalition_exit.errors import DataError
from coalition_exit.survival.cox.cox import CoxPH
from coalition_exit.survival.curves.curves import kaplan_meier
from coalition_exit.survival.data.stset import stset

REFERENCE = Path(__file__).parents[1] / "reference"
DIET = pd.read_csv(REFERENCE / "stset_diet.csv")

# [ST] stset and [ST] stsplit print these numbers for the diet data; the layout is Stata 17's.
DIET_OUTPUT = """\
Survival-time data settings

           ID variable: id
         Failure event: fail==1 3 13
Observed time interval: (dox[_n-1], dox]
     Enter on or after: time doe
     Exit on or before: failure
     Time for analysis: (time-origin)/365.25
                Origin: time dob

--------------------------------------------------------------------------
        337  total observations
          0  exclusions
--------------------------------------------------------------------------
        337  observations remaining, representing
        337  subjects
         46  failures in single-failure-per-subject data
  4,603.669  total analysis time at risk and under observation
                                                At risk from t =         0
                                     Earliest observed entry t =  30.07529
                                          Last observed exit t =  69.99863"""


def panel(**columns) -> pd.DataFrame:
    return pd.DataFrame(columns)


def counts(result) -> dict[str, int]:
    """Return the non-zero counts of records left out."""
    names = list(asdict(result.report))[1:13]
    return {name: number for name in names if (number := getattr(result.report, name))}


def spans(result) -> list[tuple]:
    return list(result.data[["_t0", "_t", "_d"]].itertuples(index=False, name=None))


def test_the_manuals_diet_study():
    result = stset(
        DIET, "dox", "fail == 1 3 13", id="id", origin="time dob", enter="time doe", scale=365.25
    )  # fmt: skip
    assert str(result) == DIET_OUTPUT
    other = stset(DIET, "dox", "fail", failure_value=[1, 3, 13], id="id", origin="dob", enter=DIET["doe"], scale=365.25)
    pd.testing.assert_frame_equal(other.data, result.data)
    dates = DIET.copy()
    for name in ("doe", "dox", "dob"):
        dates[name] = pd.Timestamp("1960-01-01") + pd.to_timedelta(DIET[name], unit="D")
    dated = stset(dates, "dox", "fail==1 3 13", id="id", origin="dob", enter="doe", scale=365.25)
    pd.testing.assert_frame_equal(dated.data[["_t0", "_t", "_d"]], result.data[["_t0", "_t", "_d"]])


def test_the_bladder_tumours_of_statas_faq_on_multiple_failures():
    data = pd.read_csv(REFERENCE / "data" / "bladder2.csv")
    result = stset(data, "stop", "event", id="id", time0="start", exit="time .")
    report = result.report
    assert (report.total, report.remaining, report.subjects, report.failures) == (178, 178, 85, 112)
    assert (report.time_at_risk, report.first_entry, report.last_exit) == (2480, 0, 59)
    assert report.kind == "multiple-failure-per-subject"
    assert "        112  failures in multiple-failure-per-subject data" in str(result)
    assert "Observed time interval: (start, stop]\n     Exit on or before: time ." in str(result)
    # Rows follow one another, so Stata's rule finds the same beginnings.
    pd.testing.assert_frame_equal(stset(data, "stop", "event", id="id", exit=np.inf).data, result.data)
    single = stset(data, "stop", "event", id="id")
    assert counts(single) == {"after_exit": 178 - len(single.data)}
    assert single.data.groupby("id")["_d"].sum().max() == 1


def test_records_begin_where_the_previous_ends_and_unsorted_rows_are_sorted():
    data = panel(id=[2, 1, 2, 1, 1], t=[9, 4, 3, 11, 6], d=[1, 0, 0, 0, 0])
    before = data.copy(deep=True)
    result = stset(data, "t", "d", id="id")
    pd.testing.assert_frame_equal(data, before)
    assert list(result.data.index) == [1, 4, 3, 2, 0]
    assert spans(result) == [(0, 4, 0), (4, 6, 0), (6, 11, 0), (0, 3, 0), (3, 9, 1)]
    assert list(result.record["_t0"]) == [3, 0, 0, 6, 4]
    assert list(result.record.index) == list(data.index)
    assert result.report.time_at_risk == 20
    assert list(result.data.columns) == ["id", "t", "d", "_st", "_d", "_t", "_t0"]
    assert result.data[["_st", "_d"]].dtypes.tolist() == [np.int8, np.int8]


def test_records_after_the_first_failure_are_dropped_or_kept():
    data = panel(id=[1, 1, 1, 2], t=[2, 5, 9, 4], d=[0, 1, 1, 0])
    result = stset(data, "t", "d", id="id")
    assert spans(result) == [(0, 2, 0), (2, 5, 1), (0, 4, 0)]
    assert counts(result) == {"after_exit": 1}
    assert "          1  observation begins on or after (first) failure\n" in str(result)
    assert result.record["why"].tolist()[2] == "observations begin on or after (first) failure"
    for exit in ("time .", np.inf):
        every = stset(data, "t", "d", id="id", exit=exit)
        assert spans(every) == [(0, 2, 0), (2, 5, 1), (5, 9, 1), (0, 4, 0)]
        assert every.report.kind == "multiple-failure-per-subject"
    assert spans(stset(data, "t", "d", id="id", exit="failure")) == spans(result)


def test_subjects_that_stay_after_their_failure_are_counted():
    data = panel(id=[1, 1, 2], t=[2, 5, 4], d=[1, 0, 1])
    result = stset(data, "t", "d", id="id", exit="time .")
    assert result.report.still_at_risk == 1
    assert "          1  subject remains at risk after failure" in str(result)
    assert stset(data, "t", "d", id="id").report.still_at_risk == 0


def test_failures_are_values_not_zero_and_not_missing():
    data = panel(t=[1, 2, 3, 4, 5], d=[0, 1, np.nan, -1, 7])
    result = stset(data, "t", "d")
    assert list(result.data["_d"]) == [0, 1, 0, 1, 1]
    assert result.report.failure_missing == 1
    assert result.report.kind == "single-record/single-failure"
    assert "Observed time interval: (0, t]" in str(result)
    for only in ({"failure": "d==7"}, {"failure": "d == -1 7"}, {"failure": "d", "failure_value": [7]}):
        failing = list(stset(data, "t", **only).data["_d"])
        assert failing == [0, 0, 0, int("-1" in str(only)), 1]
    text = data.assign(d=["no", "yes", None, "no", "yes"])
    assert list(stset(text, "t", "d", failure_value="yes").data["_d"]) == [0, 1, 0, 0, 1]
    kinds = text.assign(d=pd.Categorical(text["d"]))
    assert list(stset(kinds, "t", "d", failure_value=["yes"]).data["_d"]) == [0, 1, 0, 0, 1]
    flags = data.assign(d=[True, False, True, False, False])
    assert list(stset(flags, "t", "d").data["_d"]) == [1, 0, 1, 0, 0]
    assert list(stset(data, "t", data["d"] > 0).data["_d"]) == [0, 1, 0, 0, 1]
    assert list(stset(data, "t").data["_d"]) == [1] * 5
    assert "Failure event: (assumed to fail at time=t)" in str(stset(data, "t"))


def test_missing_times_and_times_before_the_origin():
    data = panel(id=[1, 1, 2, 3, np.nan], t=[np.nan, 4, 0, -2, 3], d=1)
    result = stset(data, "t", "d", id="id")
    assert counts(result) == {"id_missing": 1, "time_missing": 1, "before_enter": 2}
    assert spans(result) == [(0, 4, 1)]
    text = str(result)
    assert "          1  event time missing (t>=.)                      PROBABLE ERROR\n" in text
    assert "          1  ignored because id missing\n" in text
    assert "          2  observations end on or before enter()\n" in text
    assert "          1  observation remaining, representing\n          1  subject\n          1  failure in" in text


def test_origin_shifts_time_and_the_smallest_value_of_a_subject_counts():
    data = panel(id=[1, 1, 2], t=[12, 20, 7], d=[0, 1, 1], born=[10, 15, 8])
    result = stset(data, "t", "d", id="id", origin="born")
    assert spans(result) == [(0, 2, 0), (2, 10, 1)]
    # One origin among the records used: no column for it, as in Stata.
    assert "_origin" not in result.data
    assert counts(result) == {"before_enter": 1}
    moved = stset(data, "t", "d", id="id", origin="time born - 5", scale=2)
    assert spans(moved) == [(0, 3.5, 0), (3.5, 7.5, 1), (0, 2, 1)]
    assert list(moved.data["_origin"]) == [5, 5, 3]
    assert "Time for analysis: (time-origin)/2\n                Origin: time born - 5" in str(moved)
    assert spans(stset(data, "t", "d", id="id", origin=5)) == [(0, 7, 0), (7, 15, 1), (0, 2, 1)]
    assert spans(stset(data, "t", "d", id="id", origin="min")) == [(0, 6, 0), (6, 14, 1), (0, 1, 1)]


def test_origin_and_entry_by_an_event():
    # Subject 1 is diagnosed at 5; subject 2 never is.
    data = panel(id=[1, 1, 1, 2, 2], t=[5, 8, 12, 3, 6], d=[0, 0, 1, 0, 1], stage=[2, 1, 1, 0, 0])
    result = stset(data, "t", "d", id="id", origin="stage==2 3")
    assert spans(result) == [(0, 3, 0), (3, 7, 1)]
    assert counts(result) == {"never_entered": 2, "before_enter": 1}
    assert "          2  ignored because never entered\n" in str(result)
    entered = stset(data, "t", "d", id="id", enter="stage==1")
    assert spans(entered) == [(8, 12, 1)]
    later = stset(data, "t", "d", id="id", enter="stage==2 time 6")
    assert spans(later) == [(6, 8, 0), (8, 12, 1)]
    left = stset(data, "t", "d", id="id", exit="stage==2 time 4")
    assert spans(left) == [(0, 4, 0), (0, 3, 0), (3, 4, 0)]
    assert counts(left) == {"after_exit": 2}
    assert "          2  observations begin on or after exit\n" in str(left)


def test_entry_and_exit_cut_records():
    data = panel(id=[1, 1, 2], t=[5, 10, 3], d=[0, 1, 1], doe=[2, 7, 3], dox=[np.nan, 9, 99])
    result = stset(data, "t", "d", id="id", enter="doe", exit="time dox")
    assert spans(result) == [(2, 5, 0), (5, 9, 0)]
    assert counts(result) == {"before_enter": 1}
    assert result.report.first_entry == 2
    # A time of exit beyond the failure: a failure at the exit itself still counts.
    assert spans(stset(data, "t", "d", id="id", exit=10)) == [(0, 5, 0), (5, 10, 1), (0, 3, 1)]
    never = stset(data.assign(doe=[np.nan, np.nan, 1]), "t", "d", id="id", enter="doe")
    assert counts(never) == {"never_entered": 2}
    before = stset(panel(id=[1, 1], t=[-3, 4], d=[0, 1]), "t", "d", id="id", enter=-5)
    assert counts(before) == {"before_origin": 1}
    assert spans(before) == [(0, 4, 1)]
    assert "          1  observation ends on or before origin()\n" in str(before)


def test_gaps_arise_from_time0():
    data = panel(id=[1, 1, 1, 2, 3], a=[0, 6, 9, 4, np.nan], t=[5, 9, 12, 4, 7], d=[0, 0, 1, 1, 1])
    result = stset(data, "t", "d", id="id", time0="a")
    assert spans(result) == [(0, 5, 0), (6, 9, 0), (9, 12, 1)]
    assert counts(result) == {"entry_missing": 1, "entry_after_exit": 1}
    assert "          1  entry time missing (a>=.)                      PROBABLE ERROR" in str(result)
    assert "          1  entry on or after exit (a>t)                   PROBABLE ERROR" in str(result)
    assert result.report.time_at_risk == 11
    delayed = stset(data, "t", "d", id="id", time0="a", origin="min")
    assert delayed.report.first_entry == 0


def test_if_leaves_records_out_but_not_their_ends():
    data = panel(id=[1, 1, 1], t=[3, 6, 9], d=[0, 0, 1], use=[1, 0, 1])
    result = stset(data, "t", "d", id="id", if_="use")
    assert spans(result) == [(0, 3, 0), (6, 9, 1)]
    assert counts(result) == {"ignored_request": 1}
    assert spans(stset(data, "t", "d", id="id", if_="t != 6")) == spans(result)
    assert spans(stset(data, "t", "d", id="id", if_=data["use"] == 1)) == spans(result)
    gone = stset(data, "t", "d", id="id", at_outset="use")
    assert spans(gone) == [(0, 3, 0), (3, 9, 1)]
    assert counts(gone) == {"ignored_at_outset": 1}


def test_ever_never_after_before():
    data = panel(id=[1, 1, 1, 2, 2], t=[3, 6, 9, 4, 8], d=[0, 0, 1, 0, 1], war=[0, 1, 0, 0, 0])
    ends = {
        "ever": [3, 6, 9], "never": [4, 8], "after": [6, 9], "before": [3, 4, 8],
    }  # fmt: skip
    for option, want in ends.items():
        result = stset(data, "t", "d", id="id", **{option: "war == 1"})
        assert list(result.data["_t"]) == want
        assert counts(result) == {"ignored_request": 5 - len(want)}
        with pytest.raises(DataError, match=f"{option}: expected id= with"):
            stset(data, "t", "d", **{option: "war"})


def test_conflicting_records_are_refused_or_left_out_as_in_stata():
    data = panel(id=["x", "x", "x", "y"], t=[3, 5, 5, 4], d=[0, 0, 1, 1]).set_index(pd.Index([10, 20, 30, 40]))
    with pytest.raises(
        DataError, match=r"subject x, rows 20, 30: expected one record at an instant, got time 5 in both"
    ):
        stset(data, "t", "d", id="id")
    result = stset(data, "t", "d", id="id", conflicts="exclude")
    assert spans(result) == [(0, 3, 0), (0, 4, 1)]
    assert counts(result) == {"same_instant": 2}
    assert (
        "          2  multiple records at same instant               PROBABLE ERROR\n             (t[_n-1]==t)\n"
        in str(result)
    )
    over = panel(id=[1, 1, 1], a=[0, 3, 8], t=[4, 8, 9], d=[0, 0, 1])
    with pytest.raises(DataError, match=r"subject 1, rows 0, 1: expected records that do not overlap"):
        stset(over, "t", "d", id="id", time0="a")
    left = stset(over, "t", "d", id="id", time0="a", conflicts="exclude")
    assert spans(left) == [(0, 4, 0), (8, 9, 1)]
    assert counts(left) == {"overlapping": 1}
    assert "overlapping records (t[_n-1]>a)" in str(left)


def test_single_precision_is_compared_in_double():
    data = panel(t=[1.0, 2.0], d=np.array([0.1, 0.5], dtype=np.float32))
    assert list(stset(data, "t", "d==0.1 0.5").data["_d"]) == [0, 1]
    exact = float(np.float32(0.1))
    assert list(stset(data, "t", "d", failure_value=[exact]).data["_d"]) == [1, 0]
    small = panel(t=np.array([0.1, 0.3], dtype=np.float32), d=1)
    assert stset(small, "t", "d", if_="t > 0.1").report.remaining == 2
    assert stset(small, "t", "d", if_="t == 0.3 or t > 0.2").report.ignored_request == 1
    double = stset(small, "t", "d", scale=0.1).data["_t"]
    assert list(double) == [float(np.float32(0.1)) / 0.1, float(np.float32(0.3)) / 0.1]


def test_the_result_feeds_an_estimator_and_is_immutable():
    data = pd.read_csv(REFERENCE / "data" / "heart.csv")
    result = stset(data, "stop", "event", id="id", time0="start")
    fit = CoxPH().fit("Surv(_t0, _t, _d) ~ age + transplant", result.data, id="id")
    same = CoxPH().fit("Surv(start, stop, event) ~ age + transplant", data, id="id")
    np.testing.assert_allclose(fit.beta, same.beta, rtol=1e-12)
    assert len(result.surv) == 172
    assert result.surv.event.sum() == 75
    with pytest.raises(FrozenInstanceError):
        result.report = None
    again = pickle.loads(pickle.dumps(result))
    assert str(again) == str(result)
    assert "<pre>Survival-time" in result._repr_html_()
    table = result.report.to_frame()
    assert table.loc[table["quantity"] == "failures", "value"].item() == 75


def test_curves_of_a_declaration():
    data = pd.read_csv(REFERENCE / "data" / "heart.csv")
    result = stset(data, "stop", "event", id="id", time0="start")
    curves = result.kaplan_meier(by="transplant", interval="plain")
    same = kaplan_meier("Surv(start, stop, event)", data, by="transplant", id="id", interval="plain")
    for key, fitter in same.items():
        pd.testing.assert_frame_equal(curves[key].survival_function_, fitter.survival_function_)
        pd.testing.assert_frame_equal(curves[key].event_table, fitter.event_table)


def test_columns_of_an_earlier_declaration_are_replaced():
    data = panel(id=[1, 1], t=[3, 6], d=[0, 1])
    first = stset(data, "t", "d", id="id")
    second = stset(first.data, "t", "d", id="id", scale=3)
    assert list(second.data.columns) == list(first.data.columns)
    assert spans(second) == [(0, 1, 0), (1, 2, 1)]


def test_a_large_panel():
    rng = np.random.default_rng(5)
    days, subjects = 350, 300
    data = panel(
        id=np.repeat(np.arange(subjects), days), t=np.tile(np.arange(1, days + 1), subjects),
        d=rng.random(days * subjects) < 0.002,
    )  # fmt: skip
    result = stset(data.sample(frac=1, random_state=1), "t", "d", id="id")
    first = data[data["d"]].groupby("id")["t"].min().reindex(range(subjects)).fillna(days)
    assert result.report.time_at_risk == first.sum()
    assert result.report.failures == data[data["d"]]["id"].nunique()
    np.testing.assert_array_equal(result.data["_t0"], result.data["t"] - 1)


# A slow reading of the rules: subject by subject, record by record.
def moment(records, option):
    column, value = option
    if value is None:
        found = [r[column] for r in records if not np.isnan(r[column])]
    else:
        found = [r["t"] for r in records if r[column] == value]
    return min(found) if found else np.nan


def cut(t0, t, d, zero, entry, leave):
    if np.isnan(entry) or np.isnan(zero):
        return "never_entered"
    if t <= entry:
        return "before_enter"
    begin = max(t0, entry)
    if begin >= leave:
        return "after_exit"
    begin = max(begin, 0.0)
    end = min(t, leave)
    return "before_origin" if begin >= end else (begin, end, d if t <= leave else 0)


def slow_stset(data, origin, enter, exit, request, with_time0):
    records = data.reset_index().to_dict("records")
    result = {}
    for r in records:
        if np.isnan(r["t"]):
            result[r["index"]] = "time_missing"
    known = [r for r in records if r["index"] not in result]
    for subject in {r["id"] for r in known}:
        own = sorted((r for r in known if r["id"] == subject), key=lambda r: r["t"])
        zero = 0.0 if origin is None else moment(own, origin)
        entry = 0.0 if enter is None else moment(own, enter) - zero
        leaving = ("d", 1) if exit == "failure" else exit
        leave = np.nan if exit == "time ." else moment(own, leaving)
        leave = np.inf if np.isnan(leave) else leave - zero
        previous_end = None
        usable = []
        for k, r in enumerate(own):
            t = r["t"] - zero
            if with_time0:
                if np.isnan(r["a"]):
                    result[r["index"]] = "entry_missing"
                    continue
                if r["a"] >= r["t"]:
                    result[r["index"]] = "entry_after_exit"
                    continue
                clash = previous_end is not None and r["a"] < previous_end
                previous_end = r["t"]
                if clash:
                    result[r["index"]] = "overlapping"
                    continue
                usable.append((r, r["a"] - zero, t))
                continue
            if any(r["t"] == other["t"] for other in own if other is not r):
                result[r["index"]] = "same_instant"
                continue
            t0 = own[k - 1]["t"] - zero if k else 0.0
            if k == 0 and len(own) > 1 and own[1]["t"] - zero <= 0:
                t0 = 2 * t
            usable.append((r, t0, t))
        for r, t0, t in usable:
            ignored = request is not None and not r[request]
            result[r["index"]] = "ignored_request" if ignored else cut(t0, t, int(r["d"] == 1), zero, entry, leave)
    return result


times = st.one_of(st.integers(-3, 8).map(float), st.just(np.nan))
records = st.lists(
    st.tuples(st.integers(1, 3), st.integers(-3, 9).map(float), times, st.sampled_from([0.0, 0.0, 1.0, np.nan]), times,
              times, st.booleans(), st.integers(0, 2)),
    min_size=1, max_size=9,
)  # fmt: skip
point = st.sampled_from([None, ("x", None), ("y", None), ("z", 1)])


def as_option(option):
    if option is None or isinstance(option, str):
        return option
    column, value = option
    return f"time {column}" if value is None else f"{column}=={value}"


@settings(deadline=None, max_examples=500)
@given(records, point, point, st.one_of(st.sampled_from(["failure", "time ."]), point.filter(bool)), st.booleans(),
       st.booleans())  # fmt: skip
def test_stset_equals_a_slow_reading(rows, origin, enter, exit, with_request, with_time0):
    data = pd.DataFrame(rows, columns=["id", "t", "a", "d", "x", "y", "use", "z"])
    request = "use" if with_request else None
    want = slow_stset(data, origin, enter, exit, request, with_time0)
    options = {
        "id": "id", "origin": as_option(origin), "enter": as_option(enter), "exit": as_option(exit), "if_": request,
        "time0": "a" if with_time0 else None, "conflicts": "exclude",
    }  # fmt: skip
    if all(isinstance(value, str) for value in want.values()):
        with pytest.raises(DataError, match="a record at risk"):
            stset(data, "t", "d", **options)
        return
    result = stset(data, "t", "d", **options)
    for index, value in want.items():
        row = result.record.loc[index]
        if isinstance(value, str):
            assert row["_st"] == 0
            assert np.isnan(row["_t"])
        else:
            assert (row["_t0"], row["_t"], row["_d"]) == value
    left = pd.Series([value for value in want.values() if isinstance(value, str)], dtype=object).value_counts()
    assert counts(result) == left.to_dict()
    report = result.report
    used = [value for value in want.values() if not isinstance(value, str)]
    assert report.total == len(data) == report.remaining + sum(left)
    assert report.failures == sum(d for _, _, d in used)
    assert report.time_at_risk == pytest.approx(sum(t - t0 for t0, t, _ in used))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time": "tt"}, r"stset, time: expected one of id, t.*Did you mean 't'"),
        ({"failure": "dd"}, r"stset, failure: expected one of .*'dd'"),
        ({"id": "idd"}, r"stset, id: expected one of .*Did you mean 'id'"),
        ({"failure": None}, "stset, failure: expected a failure column with id="),
        ({"failure": "name"}, r"failure \(without failure_value\): expected a column of numbers"),
        ({"failure_value": "yes"}, "failure_value: expected numbers, as in the failure column, got 'yes'"),
        ({"failure": "name", "failure_value": 1}, "failure_value: expected text, as in the failure column, got 1"),
        ({"failure_value": []}, "failure_value: expected numbers.*, got no value"),
        ({"failure": "d==1", "failure_value": 1}, "failure_value: expected None where failure already"),
        ({"failure": "d==1 time t"}, "failure: expected 'status==1 2', without a time"),
        ({"failure": "d==one"}, "failure: expected numbers after =="),
        ({"time": "name"}, "stset, time: expected a column of numbers or datetime64 dates"),
        ({"time": "zone"}, "stset, time: expected dates without a time zone"),
        ({"scale": 0}, "stset, scale: expected a number > 0, got 0"),
        ({"scale": np.nan}, "stset, scale: expected a number > 0, got nan"),
        ({"conflicts": "drop"}, "stset, conflicts: expected one of error, exclude"),
        ({"origin": "borm"}, r"stset, origin: expected one of .*Did you mean 'born'"),
        ({"origin": "time born +"}, "stset, origin: expected a column, a number or an expression over"),
        ({"origin": "born > 3"}, "stset, origin: expected times, got true and false"),
        ({"origin": "born == time 3"}, "stset, origin: expected numbers after =="),
        ({"enter": [1.0]}, r"stset, enter: expected 3 values, one a row, got an array of shape \(1,\)"),
        ({"if_": "born > 3"}, r"if_, column 'born', row 1: expected a value, got a missing value"),
        ({"if_": "name"}, "stset, if_: expected true or false for each row"),
        ({"time0": "nought"}, "stset, time0: expected one of"),
        ({"enter": 99}, "expected a record at risk, got none of 3. 3 observations end on or before enter"),
    ],
)
def test_bad_options_are_refused(change, message):
    data = panel(id=[1, 1, 2], t=[3, 6, 4], d=[0, 1, 1], name=list("abc"), born=[1, np.nan, 2])
    data["zone"] = pd.Timestamp("2000-01-01", tz="UTC")
    arguments = {"time": "t", "failure": "d", "id": "id", **change}
    with pytest.raises(DataError, match=message):
        stset(data, arguments.pop("time"), arguments.pop("failure"), **arguments)


def test_events_need_subjects():
    data = panel(t=[3, 6], d=[0, 1], z=[1, 0])
    with pytest.raises(DataError, match=r"stset, origin: expected id= with origin='z==1'"):
        stset(data, "t", "d", origin="z==1")
    with pytest.raises(DataError, match="stset, data: expected a DataFrame"):
        stset({"t": [1]}, "t")
