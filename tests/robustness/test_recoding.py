"""The engine against CoxPH, and searches against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr

from coalition_exit.errors import DataError, FitError
from coalition_exit.robustness.engine import ExitEngine, refit
from coalition_exit.robustness.left_out import leave_out
from coalition_exit.robustness.problem import Problem
from coalition_exit.robustness.recoding import smallest_recoding
from robustness.worlds import small_frame, small_problem


@pytest.mark.parametrize("correction", ["stata", "none"])
@pytest.mark.parametrize("cluster", ["coalid", None])
def test_engine_equals_coxph(cluster, correction) -> None:
    problem = small_problem(cluster=cluster, correction=correction)
    exits = np.flatnonzero(problem.event)
    others = np.flatnonzero(~problem.event)[::17]
    engine = ExitEngine(problem, np.concatenate([exits, others]))
    rng = np.random.default_rng(1)
    for _ in range(10):
        chosen = rng.random(len(engine.candidates)) < 0.6
        ours, theirs = engine.solve(chosen), refit(problem, engine.candidates[chosen])
        np.testing.assert_allclose(ours.beta, theirs.beta, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(ours.covariance, theirs.covariance, rtol=1e-8, atol=1e-13)
        assert ours.n_event == theirs.n_event


def test_engine_on_long_episodes() -> None:
    frame = small_frame()
    # Two days a row: rows are at risk at several event times.
    frame["stop"] = frame["stop"] * 2.0
    frame["start"] = frame["start"] * 2.0
    problem = Problem.from_frame(frame, "y", ["x", "z"])
    exits = np.flatnonzero(problem.event)
    engine = ExitEngine(problem, exits)
    ours, theirs = engine.solve(np.ones(len(exits), dtype=bool)), refit(problem, exits)
    np.testing.assert_allclose(ours.beta, theirs.beta, rtol=1e-10)


def test_engine_names_what_has_no_estimate() -> None:
    problem = small_problem()
    engine = ExitEngine(problem, np.flatnonzero(problem.event))
    none = engine.solve(np.zeros(len(engine.candidates), dtype=bool))
    assert none.status == "no_events"
    assert np.isnan(none.beta).all()
    one = np.zeros(len(engine.candidates), dtype=bool)
    one[0] = True
    alone = engine.solve(one)
    assert alone.status == refit(problem, engine.candidates[one]).status != "ok"
    with pytest.raises(DataError, match="each once"):
        ExitEngine(problem, np.array([1, 1]))


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_leave_out_equals_refits_of_what_is_left(ties) -> None:
    problem = small_problem(ties=ties)
    found = leave_out(problem)
    for table, column in ((found.coalitions, "coalid"), (found.wars, "warnum")):
        for value in problem.frame[column].unique():
            rest = problem.frame[problem.frame[column] != value]
            tidy = problem.model.estimate(rest).tidy()
            own = table[table["left_out"] == value]
            np.testing.assert_allclose(own["estimate"], tidy["estimate"], rtol=1e-9)
            np.testing.assert_allclose(own["std_error"], tidy["std_error"], rtol=1e-8)
            np.testing.assert_allclose(own["p_value"], tidy["p_value"], rtol=1e-7)
    assert found.pairs is not None
    one = found.pairs.iloc[6]
    rest = problem.frame[~problem.frame["coalid"].isin([one["left_out_1"], one["left_out_2"]])]
    assert one["estimate"] == pytest.approx(problem.model.estimate(rest).coef[one["term"]], rel=1e-9)
    assert len(found.pairs) == 2 * 8 * 7 / 2
    span = found.ranges.iloc[0]
    own = found.coalitions[found.coalitions["term"] == "x"]["estimate"]
    assert (span["smallest"], span["largest"]) == (own.min(), own.max())
    assert "x without one coalition" in found.text


def _brute(problem, term, size, reading):
    """Whether any set of so many exits overturns the finding, by CoxPH alone."""
    exits = np.flatnonzero(problem.event)
    position = problem.model.covariates.index(term)
    sign = np.sign(refit(problem, exits).beta[position])
    for out in itertools.combinations(exits, size):
        at = refit(problem, np.setdiff1d(exits, out))
        if at.status != "ok":
            continue
        b, z = sign * at.beta[position], sign * at.beta[position] / at.std_error[position]
        if (b <= 0) if reading == "sign" else 2 * ndtr(-abs(z)) >= 0.05 or z < 0:
            return True
    return False


def test_smallest_set_is_that_of_brute_force() -> None:
    problem = small_problem(seed=5)
    found = smallest_recoding(problem, "x", "significance")
    assert found.size is not None
    assert found.proven
    assert 1 <= found.size <= 3
    for smaller in range(1, found.size):
        assert not _brute(problem, "x", smaller, "significance")
    assert _brute(problem, "x", found.size, "significance")
    assert len(found.table) == found.size
    assert found.after is not None
    assert found.summary["p_value_after"].iloc[0] >= 0.05
    assert "proven smallest" in found.text


def test_the_sign_by_hand() -> None:
    # Each day two other states are at risk, one with x = 1 and one with x = 0, and one of them exits: the one with
    # x = 1 on 5 days of 7. Then b = log(5/2), and it takes the recoding of three of the five to bring it to log(2/2).
    rows = []
    for day in range(7):
        rows += [(2 * day, day, day, day + 1, 1.0, int(day < 5)), (2 * day + 1, day, day, day + 1, 0.0, int(day >= 5))]
    frame = pd.DataFrame(rows, columns=["idvar", "coalid", "start", "stop", "x", "y"])
    problem = Problem.from_frame(frame, "y", ["x"], cluster=None)
    for exhaustive, proven in ((1, False), (2, True), (3, True)):
        found = smallest_recoding(problem, "x", "sign", exhaustive=exhaustive)
        assert found.before.beta[0] == pytest.approx(np.log(2.5), rel=1e-10)
        # Var = (1/5 + 1/2): the information is 7 * (5/7) * (2/7).
        assert found.before.std_error[0] == pytest.approx(np.sqrt(0.7), rel=1e-9)
        assert (found.size, found.proven) == (3, proven)
        assert found.after is not None
        assert found.after.beta[0] == pytest.approx(0.0, abs=1e-12)
        assert found.tried["best"].tolist() == pytest.approx([np.log(2.0), np.log(1.5), 0.0], abs=1e-10)
        assert found.tried["n_sets"].tolist()[0] == 7


def test_added_exits_can_overturn_too() -> None:
    problem = small_problem(seed=5)
    frame = problem.frame
    last = frame.groupby("idvar").tail(1)
    rows = last.index[(last["y"] == 0) & (last["x"] < 0)].to_numpy()
    without = smallest_recoding(problem, "x")
    found = smallest_recoding(problem, "x", add=rows)
    assert found.size is not None
    assert without.size is not None
    assert found.size <= without.size
    assert set(found.table["becomes"]) <= {"exit", "no exit"}
    with pytest.raises(DataError, match="an exit already"):
        smallest_recoding(problem, "x", add=np.flatnonzero(problem.event)[:1])


def test_nothing_to_overturn_and_bad_input() -> None:
    problem = small_problem(seed=3)
    p = problem.fit().tidy().set_index("term")["p_value"]
    assert p["z"] > 0.05
    found = smallest_recoding(problem, "z")
    assert (found.size, found.proven, len(found.table)) == (0, True, 0)
    assert "nothing is left to overturn" in found.text
    with pytest.raises(DataError, match="Did you mean 'x'"):
        smallest_recoding(problem, "xx")
    with pytest.raises(DataError, match="reading"):
        smallest_recoding(problem, "x", "size")
    nobody = Problem.from_frame(small_frame().assign(y=0), "y", ["x"])
    with pytest.raises((FitError, DataError)):
        smallest_recoding(nobody, "x")


def test_no_set_up_to_a_size() -> None:
    problem = small_problem(seed=5)
    found = smallest_recoding(problem, "x", "sign", most=1)
    assert found.size is None
    assert not found.proven
    assert "no set of up to 1" in found.text
