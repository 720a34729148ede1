"""The response and the design: formulas, strata, factors, refusals by name, nothing changed."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coalition_exit.errors import DataError
from coalition_exit.survival import CoxPH, Surv
from coalition_exit.survival.data.design import build_design
from coalition_exit.survival.data.formula import parse_formula
from coalition_exit.survival.data.surv import check_episodes

RESPONSE = "Surv(a, b, e) ~ "


def frame(**columns) -> pd.DataFrame:
    data = pd.DataFrame(
        {
            "id": [1, 1, 2, 2, 3, 3], "a": [0, 3, 0, 6, 0, 8], "b": [3, 5, 6, 7, 8, 9.5], "e": [0, 1, 0, 1, 0, 1],
            "x": [1.0, 2.0, 0.0, 4.0, 3.0, 1.5], "n": [1, 5, 2, 0, 3, 3], "f": list("uvuvwu"), "g": list("ppqqpq"),
        }
    )  # fmt: skip
    return data.assign(**columns)


# The response


def test_counting_and_right_censored_responses():
    surv = Surv([0, 2.5], [2, 4], [0, 1])
    assert (surv.start.tolist(), surv.stop.tolist(), surv.event.tolist()) == ([0, 2.5], [2, 4], [False, True])
    assert surv.is_counting
    assert len(surv) == 2
    assert repr(surv) == "Surv(counting process, 2 rows, 1 events)"
    right = Surv(np.array([3, 4], dtype=np.int8), [True, False])
    assert np.isneginf(right.start).all()
    assert not right.is_counting
    assert repr(right) == "Surv(right-censored, 2 rows, 1 events)"
    assert len(Surv([], [])) == 0
    assert not Surv([], []).is_counting


def test_the_response_keeps_its_own_arrays():
    stop, event = np.array([2.0, 4.0]), np.array([True, False])
    surv = Surv(stop, event)
    stop[0], event[0] = 99, False
    assert surv.stop[0] == 2
    assert surv.event[0]
    for array in (surv.start, surv.stop, surv.event):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    with pytest.raises(AttributeError):
        surv.stop = stop
    again = pickle.loads(pickle.dumps(surv))
    np.testing.assert_array_equal(again.stop, surv.stop)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([1.0],), "Surv: expected Surv(time, event) or Surv(start, stop, event), got 1 columns"),
        (([0], [1], [1], [1]), "got 4 columns"),
        (([0, 1], [1], [1]), "Surv: expected one-dimensional columns of equal length, got shapes"),
        (([[1]], [[1]]), "Surv: expected one-dimensional columns"),
        (([0, 5], [1, 5], [1, 1]), "Surv, row 1: expected stop > start = 5, got stop = 5"),
        (([0, 5], [1, 4], [1, 1]), "Surv, row 1: expected stop > start = 5, got stop = 4"),
        (([np.nan], [1], [1]), "Surv, start, row 0: expected a finite number, got nan"),
        (([0], [np.inf], [1]), "Surv, stop, row 0: expected a finite number, got inf"),
        (([-np.inf], [1], [1]), "Surv, start, row 0: expected a finite number, got -inf"),
        ((["x"], [1]), "Surv, time: expected numbers, got values of type"),
        (([1, 2], [1, 2]), "Surv, event, row 1: expected 0 (censored) or 1 (event), got 2.0. Codes 1/2 are"),
        (([1, 2], [0, 3]), "got 3.0. For one of several outcomes k, use event == k"),
        (([1, 2], [0, np.nan]), "Surv, event, row 1: expected 0 (censored) or 1 (event), got nan"),
        (([1, 2], [0, -1]), "Surv, event, row 1: expected 0 (censored) or 1 (event), got -1.0"),
        (([1, 2], ["no", "yes"]), "Surv, event: expected 0 (censored) or 1 (event), got values of type"),
    ],
)
def test_bad_responses_are_refused(columns, message):
    with pytest.raises(DataError) as caught:
        Surv(*columns)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_overlapping_episodes_are_refused_and_gaps_are_not():
    surv = Surv([0, 4, 0, 9], [5, 8, 3, 12], [0, 1, 0, 0])
    with pytest.raises(DataError, match=r"subject b, row 1: expected episodes that do not overlap \(row 0 ends at 5\)"):
        check_episodes(surv, np.array([1, 1, 0, 0]), labels=["a", "b"])
    with pytest.raises(DataError, match=r"subject 0, row 3: .*\(row 2 ends at 3\), got an episode that starts at 2"):
        check_episodes(Surv([0, 5, 0, 2], [5, 8, 3, 12], [0, 1, 0, 0]), np.array([1, 1, 0, 0]))
    check_episodes(Surv([0, 5, 0, 9], [5, 8, 3, 12], [0, 1, 0, 0]), np.array([1, 1, 0, 0]))
    check_episodes(Surv([], [], []), np.array([], dtype=np.int64))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(1, 4)), min_size=1, max_size=8))
def test_overlaps_are_found_in_any_order_of_rows(rows):
    ids = np.array([row[0] for row in rows])
    start = np.array([row[1] for row in rows], dtype=float)
    stop = start + [row[2] for row in rows]
    overlap = any(
        ids[i] == ids[j] and max(start[i], start[j]) < min(stop[i], stop[j]) for i in range(len(rows)) for j in range(i)
    )
    surv = Surv(start, stop, np.zeros(len(rows)))
    if overlap:
        with pytest.raises(DataError, match="episodes that do not overlap"):
            check_episodes(surv, ids)
    else:
        check_episodes(surv, ids)


# Formulas


def test_formulas_are_parsed():
    parsed = parse_formula("Surv( start , stop,event) ~ x + log(n + 1) + C(f):x + strata(g, `a b`) + 1 + strata(h)")
    assert parsed.response == ("start", "stop", "event")
    assert parsed.terms == ("x", "log(n + 1)", "C(f):x")
    assert parsed.strata == ("g", "a b", "h")
    assert not parsed.is_plain
    plain = parse_formula("Surv(`time to`, d) ~ `b+c` + y")
    assert plain.response == ("time to", "d")
    assert plain.terms == ("`b+c`", "y")
    assert plain.is_plain
    assert parse_formula("Surv(a, b) ~ 1").terms == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Surv(a, b, e)", "formula: expected 'Surv(start, stop, event) ~ a + b'"),
        ("surv(a, b, e) ~ x", "formula: expected 'Surv(start, stop, event) ~ a + b'"),
        ("b ~ x", "got 'b ~ x'"),
        ("Surv(b) ~ x", "formula, Surv: expected (time, event) or (start, stop, event), got 'b'"),
        ("Surv(a, b, e, x) ~ x", "formula, Surv: expected (time, event) or (start, stop, event)"),
        ("Surv(a, , e) ~ x", "formula, Surv: expected (time, event) or (start, stop, event)"),
        ("Surv(a, b, e) ~ y", "expected one of id, a, b, e, x, n, f, g, got 'y'"),
        ("Surv(a, b, ee) ~ x", "Surv, event: expected one of id, a, b, e, x, n, f, g, got 'ee'. Did you mean 'e'?"),
        ("Surv(a, bb, e) ~ x", "Did you mean 'b'?"),
        ("Surv(a, b, e) ~ strata(gg)", "strata: expected one of id, a, b, e, x, n, f, g, got 'gg'. Did you mean 'g'?"),
        ("Surv(a, b, e) ~ x * nope", "formula: expected terms over the columns one of id, a, b, e, x, n, f, g"),
        ("Surv(a, b, e) ~ log(", "formula: expected terms over the columns"),
        ("Surv(a, b, e) ~ x * strata(g)", "formula: expected strata(x) as a term of its own"),
        ("Surv(a, b, e) ~ log(x)", "term 'log(x)', row 2: expected a finite number, got -inf"),
        ("Surv(f, b, e) ~ x", "column 'f': expected numbers, got values of type"),
    ],
)
def test_bad_formulas_are_refused(text, message):
    with np.errstate(divide="ignore"), pytest.raises(DataError) as caught:
        build_design(text, frame())
    assert message in str(caught.value)


@pytest.mark.parametrize("right", [".", "x + .", "x - 1", "0 + x", "x + used", "log(terms)", "x:data"])
def test_terms_that_cannot_be_meant_are_refused(right):
    # "." would take the response for a covariate, and there is no intercept to remove; other names
    # are no columns, whatever they mean in the program.
    with pytest.raises(DataError, match="formula"):
        build_design(RESPONSE + right, frame())


@pytest.mark.parametrize("unit", ["date", "duration"])
def test_dates_are_no_times(unit):
    days = pd.to_timedelta(frame()["b"], unit="D")
    column = days if unit == "duration" else days + pd.Timestamp("2001-02-03")
    with pytest.raises(DataError, match="column 'b': expected numbers"):
        build_design("Surv(b, e) ~ x", frame(b=column))
    with pytest.raises(DataError, match="Surv, time: expected numbers"):
        Surv(column.to_numpy(), frame()["e"])


# The design matrix


def test_plain_columns_give_the_matrix_as_it_is():
    data = frame(
        flag=[True, False] * 3, small=np.arange(6, dtype=np.float32), whole=pd.array([1, 2, 3, 4, 5, 6], "Int64")
    )
    design = build_design(RESPONSE + "x + n + flag + small + whole", data)
    assert design.names == ("x", "n", "flag", "small", "whole")
    want = data[["x", "n", "flag", "small", "whole"]].astype(float)
    np.testing.assert_array_equal(design.x, want)
    assert design.x.dtype == np.float64
    assert build_design(RESPONSE + "1", data).x.shape == (6, 0)
    spaced = build_design(RESPONSE + "`x y` + n", data.rename(columns={"x": "x y"}))
    assert spaced.names == ("x y", "n")


def test_factors_leave_their_first_level_out():
    design = build_design(RESPONSE + "f + x", frame())
    assert design.names == ("f[T.v]", "f[T.w]", "x")
    np.testing.assert_array_equal(design.x[:, 0], [0, 1, 0, 1, 0, 0])
    np.testing.assert_array_equal(design.x[:, 1], [0, 0, 0, 0, 1, 0])
    numbered = build_design(RESPONSE + "C(n)", frame())
    assert numbered.names == ("C(n)[T.1]", "C(n)[T.2]", "C(n)[T.3]", "C(n)[T.5]")
    chosen = build_design(RESPONSE + "C(f, contr.treatment('w'))", frame())
    assert all("[T.u]" in name or "[T.v]" in name for name in chosen.names)
    ordered = frame(f=pd.Categorical(list("uvuvwu"), categories=list("wvu")))
    assert build_design(RESPONSE + "f", ordered).names == ("f[T.v]", "f[T.u]")


def test_interactions_and_transformations():
    design = build_design(RESPONSE + "x * n + log(n + 1) + I(x**2)", frame())
    by_name = dict(zip(design.names, design.x.T, strict=True))
    data = frame()
    assert set(by_name) == {"x", "n", "x:n", "log(n + 1)", "I(x ** 2)"}
    np.testing.assert_allclose(by_name["x:n"], data["x"] * data["n"])
    np.testing.assert_allclose(by_name["log(n + 1)"], np.log(data["n"] + 1))
    np.testing.assert_allclose(by_name["I(x ** 2)"], data["x"] ** 2)
    crossed = build_design(RESPONSE + "x:f + f", frame())
    assert {"x:f[u]", "x:f[v]", "x:f[w]"} <= set(crossed.names)
    np.testing.assert_array_equal(build_design(RESPONSE + "np.log(n + 1)", data).x[:, 0], np.log(data["n"] + 1))


def test_strata_are_the_combinations_of_their_columns():
    data = frame()
    one = build_design(RESPONSE + "x + strata(g)", data)
    assert one.names == ("x",)
    two = build_design(RESPONSE + "x + strata(f, g)", data)
    apart = build_design(RESPONSE + "strata(f) + x + strata(g)", data)
    groups = data.groupby(["f", "g"]).ngroup().to_numpy()
    for design, want in ((one, (data["g"] == "q").astype(int)), (two, groups), (apart, groups)):
        same = design.strata[:, None] == design.strata[None, :]
        np.testing.assert_array_equal(same, np.equal.outer(np.asarray(want), np.asarray(want)))
    assert build_design(RESPONSE + "x", data).strata is None
    with pytest.raises(DataError, match=r"strata\(g\), row 2 \(1 such rows\): expected a value, got a missing value"):
        build_design(RESPONSE + "x + strata(g)", frame(g=["p", "p", None, "q", "p", "q"]))


def test_strata_relabelled_change_no_estimate():
    rng = np.random.default_rng(8)
    n = 120
    data = pd.DataFrame({"t": rng.integers(1, 30, n), "d": rng.random(n) < 0.7, "x": rng.normal(size=n)})
    data["s"] = rng.integers(0, 3, n)
    names = data.assign(s=data["s"].map({0: "north", 1: "east", 2: "a"}))
    first = CoxPH().fit("Surv(t, d) ~ x + strata(s)", data)
    second = CoxPH().fit("Surv(t, d) ~ x + strata(s)", names.sample(frac=1, random_state=1))
    np.testing.assert_allclose(second.beta, first.beta, rtol=1e-10)
    np.testing.assert_allclose(second.covariance, first.covariance, rtol=1e-10)


# Subjects, clusters, weights, offset


def test_columns_may_be_named_or_given_as_arrays():
    data = frame(w=[1, 2, 1, 0, 1, 3.5], o=np.linspace(-1, 1, 6), c=list("kkllkl"))
    named = build_design(RESPONSE + "x", data, id="id", cluster="c", weights="w", offset="o")
    given_ = build_design(
        RESPONSE + "x", data, id=data["id"].to_numpy(), cluster=list(data["c"]), weights=data["w"], offset=data["o"]
    )
    for name in ("id", "cluster", "weights", "offset"):
        np.testing.assert_array_equal(getattr(named, name), getattr(given_, name))
    assert (named.n_subject, named.n_cluster) == (3, 2)
    np.testing.assert_array_equal(named.cluster, [0, 0, 1, 1, 0, 1])
    none = build_design(RESPONSE + "x", data)
    assert (none.id, none.cluster, none.weights, none.offset) == (None, None, None, None)
    assert (none.n_subject, none.n_cluster) == (6, None)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"id": "idd"}, "id: expected one of id, a, b, e, x, n, f, g, got 'idd'. Did you mean 'id'?"),
        ({}, {"weights": [1.0]}, "weights: expected 6 values, one a row"),
        ({"w": [1, 1, -2, 1, 1, 1]}, {"weights": "w"}, "weights, row 2: expected a number >= 0, got -2.0"),
        ({"w": [1, 1, np.nan, 1, 1, 1]}, {"weights": "w"}, "weights, row 2 (1 such rows): expected a finite number"),
        ({"w": 0}, {"weights": "w"}, "weights: expected a positive weight in one row at least, got none"),
        ({"o": [0, np.inf, 0, 0, 0, 0]}, {"offset": "o"}, "offset, row 1 (1 such rows): expected a finite number"),
        ({"o": list("abcdef")}, {"offset": "o"}, "expected numbers, got values of type"),
        ({"c": [1, 1, 2, 2, np.nan, 3]}, {"cluster": "c"}, "cluster, row 4 (1 such rows): expected a value"),
        ({"id": [1, None, 2, 2, 3, 3]}, {"id": "id"}, "id, row 1 (1 such rows): expected a value, got a missing"),
        ({"x": [1, 2, np.nan, 4, 5, 6]}, {}, "column 'x', row 2 (1 such rows): expected a finite number, got nan"),
        ({"x": [1, 2, 3, 4, np.inf, 6]}, {}, "column 'x', row 4 (1 such rows): expected a finite number, got inf"),
        ({"e": [0, 1, np.nan, 1, 0, 1]}, {}, "column 'e', row 2: expected 0 (censored) or 1 (event), got a missing"),
        ({"e": [1, 2, 1, 2, 1, 2]}, {}, "Codes 1/2 are converted by event - 1"),
        ({"a": [0, 5, 0, 6, 0, 8]}, {}, "Surv, row 1: expected stop > start = 5, got stop = 5"),
        ({}, {"missing": "omit"}, "missing: expected 'error' or 'drop', got 'omit'"),
    ],
)
def test_bad_data_are_refused_by_name(change, options, message):
    with pytest.raises(DataError) as caught:
        build_design(RESPONSE + "x", frame(**change), **options)
    assert message in str(caught.value)


def test_a_missing_factor_level_is_refused():
    with pytest.raises(DataError, match="column 'f', row 1: expected a value, got a missing value"):
        build_design(RESPONSE + "x + f", frame(f=["u", None, "v", "u", "v", "w"]))


def test_two_columns_of_one_name_are_refused():
    data = frame()
    twice = pd.concat([data, data[["x"]]], axis=1)
    with pytest.raises(DataError, match="expected one column named 'x', got several of that name"):
        build_design(RESPONSE + "x", twice)


def test_rows_with_missing_values_are_dropped_on_request():
    data = frame(x=[np.nan, 2, 0, 4, 3, 1.5], f=["u", "v", None, "v", "w", "u"], w=[1, 1, 1, np.nan, 1, 1])
    design = build_design(RESPONSE + "x + f", data, missing="drop", id="id", weights="w")
    assert design.n_dropped == 3
    assert design.surv.stop.tolist() == [5, 8, 9.5]
    assert len(design.x) == len(design.id) == len(design.weights) == 3
    assert design.n_subject == 2
    unused = build_design(RESPONSE + "n", data, missing="drop")
    assert unused.n_dropped == 0
    with pytest.raises(DataError, match=r"data: expected at least one complete row, got none \(6 dropped"):
        build_design(RESPONSE + "x", data.assign(x=np.nan), missing="drop")


def test_nothing_given_is_changed():
    data = frame(w=[1, 2, 1, 0, 1, 3.5]).set_index(pd.Index(list("fedcba")))
    before = data.copy(deep=True)
    build_design(RESPONSE + "x * f + strata(g)", data, id="id", weights="w", missing="drop")
    pd.testing.assert_frame_equal(data, before)
    CoxPH().fit(RESPONSE + "x", data, id="id", cluster="g", weights="w")
    pd.testing.assert_frame_equal(data, before)


def test_a_fit_does_not_follow_its_data():
    """Neither columns nor arrays that change later reach a fit, and its own arrays cannot be changed."""
    rng = np.random.default_rng(3)
    n = 40
    data = pd.DataFrame({"time": rng.exponential(size=n), "event": rng.binomial(1, 0.7, n), "x": rng.normal(size=n)})
    weights, offset, cluster = rng.exponential(size=n), rng.normal(size=n), np.arange(n) % 8
    fit = CoxPH().fit("Surv(time, event) ~ x", data, weights=weights, offset=offset, cluster=cluster)
    before = fit.residuals("score", weighted=True), fit.few_clusters().std_error, fit.baseline().table
    for array in (weights, offset, cluster):
        array[:] = 1
    data.loc[:, ["time", "x"]] = 1.0
    after = fit.residuals("score", weighted=True), fit.few_clusters().std_error, fit.baseline().table
    for one, two in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, two)
    design, state = fit.state.design, fit.state
    for array in (design.x, design.weights, design.offset, design.cluster, state.beta, state.inverse, fit.beta):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    again = pickle.loads(pickle.dumps(fit))
    with pytest.raises(ValueError, match="read-only"):
        again.covariance[0, 0] = 0


def test_a_series_goes_by_its_index():
    data = frame().reset_index(drop=True)
    for role in ("weights", "offset", "cluster", "id"):
        values = pd.Series(np.arange(1.0, len(data) + 1))
        for wrong in (values[::-1], values.set_axis(range(1, len(data) + 1))):
            with pytest.raises(DataError, match=f"{role}: expected a series with the index of the data"):
                build_design(RESPONSE + "x", data, **{role: wrong})
        one = build_design(RESPONSE + "x", data, **{role: values})
        two = build_design(RESPONSE + "x", data, **{role: values.to_numpy()})
        np.testing.assert_array_equal(getattr(one, role), getattr(two, role))


def test_names_with_brackets_and_pandas_text():
    data = frame().rename(columns={"a": "start (d)", "b": "stop, d", "g": "g (h)"})
    found = build_design("Surv(`start (d)`, `stop, d`, e) ~ x + strata(`g (h)`)", data)
    wanted = build_design(RESPONSE + "x + strata(g)", frame())
    for name in ("x", "strata"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    text = frame().assign(f=frame()["f"].astype("string"))
    np.testing.assert_array_equal(
        build_design(RESPONSE + "x + f", text).x, build_design(RESPONSE + "x + C(f)", frame()).x
    )
    missing = frame().rename(columns={"x": "x y"})
    missing.loc[missing.index[1], "x y"] = np.nan
    assert build_design(RESPONSE + "Q('x y')", missing, missing="drop").n_dropped == 1


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ("x +", "a term on each side of a '\\+'"),
        ("x | f", "one sum of terms"),
        ("x ~ f", "one sum of terms"),
        ("xx + C(f)", "Did you mean 'x'"),
        ("log(xx)", "Did you mean 'x'"),
    ],
)
def test_formulas_that_are_refused(terms, message):
    with pytest.raises(DataError, match=message):
        build_design(RESPONSE + terms, frame())


def test_data_of_another_kind_and_columns_named_twice():
    with pytest.raises(DataError, match="data: expected a pandas DataFrame, got a dict"):
        build_design(RESPONSE + "x", frame().to_dict("list"))
    twice = pd.concat([frame(), frame()[["x"]]], axis=1)
    with pytest.raises(DataError, match="one column named 'x'"):
        build_design(RESPONSE + "x + C(f)", twice)
    with pytest.raises(DataError, match="weights: expected numbers"):
        build_design(RESPONSE + "x", frame(), weights="f")


def test_rows_are_numbered_as_in_the_data_when_some_are_left_out():
    data = frame()
    data["x"] = data["x"].where(data.index != data.index[1])
    for column, value, place in (
        ("b", -1.0, "Surv, row 4"),
        ("e", 3, "Surv, event, row 4"),
        ("n", -1, "weights, row 4"),
    ):
        wrong = data.copy()
        wrong.loc[wrong.index[4], column] = value
        with pytest.raises(DataError, match=place):
            CoxPH().fit(RESPONSE + "x", wrong, weights="n", missing="drop")
    overlap = data.copy()
    overlap.loc[overlap.index[5], "a"] = 7
    with pytest.raises(DataError, match=r"subject 3, row 5: .*\(row 4 ends"):
        CoxPH().fit(RESPONSE + "x", overlap, id="id", missing="drop")


def test_several_rows_of_a_subject_need_their_starts():
    with pytest.raises(DataError, match=r"subject 1: expected one row a subject with Surv.time, event., got several"):
        CoxPH().fit("Surv(b, e) ~ x", frame(), id="id")
    fit = CoxPH().fit(RESPONSE + "x", frame())
    assert "each row counts as a subject (no id)" in str(fit)
    assert "no id" not in str(CoxPH().fit(RESPONSE + "x", frame(), id="id"))
    assert "no id" not in str(CoxPH().fit("Surv(b, e) ~ x", frame()))


def test_a_sandwich_without_variation_prints():
    d = pd.DataFrame({"time": [1.0, 1, 2, 2], "event": [1, 1, 0, 0], "x": [0, 1, 1, 0]})
    fit = CoxPH().fit("Surv(time, event) ~ x", d, cluster=[1, 2, 1, 2])
    assert str(fit)
    table = replace(fit, covariance=np.zeros((1, 1))).tidy()
    assert not np.isfinite(table["statistic"]).any()
