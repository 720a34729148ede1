"""Shares of the variance by decision, and changes by option, against slow and obvious computations."""

from __future__ import annotations

from itertools import permutations, product
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest

from coalition_exit.multiverse.reading import decomposition
from coalition_exit.multiverse.reading.decomposition import decompose, option_changes
from coalition_exit.multiverse.reading.design import DecisionView, Design

OPTIONS = {"a": ("a0", "a1", "a2"), "b": ("b0", "b1"), "c": ("10", "9", "none")}


def design(reference: dict[str, str] | None = None) -> Design:
    chosen = {name: options[0] for name, options in OPTIONS.items()} | (reference or {})
    views = [DecisionView(n, f"Decision {n}", "options", o, chosen[n]) for n, o in OPTIONS.items()]
    return Design("t", "T", tuple(views), MappingProxyType({"x": "positive"}), MappingProxyType({"x": "X"}))


def table(values: np.ndarray | None = None, drop: tuple[int, ...] = (), failed: tuple[int, ...] = ()) -> pd.DataFrame:
    rows = list(product(*OPTIONS.values()))
    b = np.random.default_rng(3).normal(0.3, 1, len(rows)) if values is None else values
    frame = pd.DataFrame(rows, columns=[f"decision_{n}" for n in OPTIONS])
    frame.insert(0, "spec", np.arange(len(rows)))
    frame = frame.assign(term="x", status="ok", reason="", estimate=b)
    frame.loc[list(failed), ["status", "reason", "estimate"]] = ["monotone", "runs off", np.nan]
    return frame.drop(index=list(drop)).sample(frac=1, random_state=1).reset_index(drop=True)


def explained(frame: pd.DataFrame, chosen: tuple[str, ...]) -> float:
    """Return V(u) by its definition."""
    b = frame["estimate"]
    if not chosen:
        return 0.0
    means = frame.groupby([f"decision_{n}" for n in chosen])["estimate"].transform("mean")
    return float(((means - b.mean()) ** 2).mean() / ((b - b.mean()) ** 2).mean())


@pytest.mark.parametrize("lost", [{}, {"drop": (0, 7, 11)}, {"failed": (2, 3), "drop": (5,)}])
def test_shares_are_what_their_definitions_say(lost: dict[str, tuple[int, ...]]) -> None:
    frame = table(**lost)
    known = frame[frame["estimate"].notna()]
    found = decompose(frame, design(), "x").decisions.set_index("decision")
    names = tuple(OPTIONS)
    for name in names:
        others = tuple(n for n in names if n != name)
        assert found.loc[name, "first_order"] == pytest.approx(explained(known, (name,)), abs=1e-12)
        assert found.loc[name, "total"] == pytest.approx(1 - explained(known, others), abs=1e-12)
        orders = list(permutations(names))
        gains = [
            explained(known, order[: order.index(name) + 1]) - explained(known, order[: order.index(name)])
            for order in orders
        ]
        assert found.loc[name, "shapley"] == pytest.approx(np.mean(gains), abs=1e-12)
    assert found["shapley"].sum() == pytest.approx(1, abs=1e-12)
    assert (found["shapley"] >= 0).all()


def test_with_all_combinations_the_parts_fit_together() -> None:
    found = decompose(table(), design(), "x")
    shares, whole = found.decisions, found.whole.iloc[0]
    assert whole["complete"]
    np.testing.assert_allclose(shares["unique"], shares["first_order"], atol=1e-12)
    assert whole["sum_first_order"] == pytest.approx(whole["additive"], abs=1e-12)
    assert whole["additive"] + whole["interactions"] == pytest.approx(1)
    assert (shares["first_order"] <= shares["shapley"] + 1e-12).all()
    assert (shares["shapley"] <= shares["total"] + 1e-12).all()
    # Of three decisions: pairs and the triple share out what the first orders leave.
    triple = 1 - shares["first_order"].sum() - found.pairs["share"].sum()
    per_decision = [
        found.pairs.loc[(found.pairs[["first", "second"]] == d).any(axis=1), "share"].sum() for d in OPTIONS
    ]
    np.testing.assert_allclose(shares["shapley"], shares["first_order"] + np.array(per_decision) / 2 + triple / 3)


def test_an_additive_truth_has_no_interactions() -> None:
    effects = [np.array(v) for v in ([0.0, 1.0, 3.0], [0.0, 2.0], [0.0, 0.0, 0.0])]
    b = np.array(
        [sum(e[k] for e, k in zip(effects, digits, strict=True)) for digits in product(*map(range, (3, 2, 3)))]
    )
    found = decompose(table(b), design(), "x")
    assert found.whole["interactions"].iloc[0] == pytest.approx(0, abs=1e-12)
    variances = np.array([e.var() for e in effects])
    np.testing.assert_allclose(found.decisions["shapley"], variances / variances.sum(), atol=1e-12)
    some = decompose(table(b, drop=(1, 4, 16)), design(), "x")
    assert some.whole["additive"].iloc[0] == pytest.approx(1, abs=1e-12)
    assert not some.whole["complete"].iloc[0]


def test_unique_shares_are_type_two_sums_of_squares() -> None:
    import statsmodels.api as sm
    import statsmodels.formula.api as smf

    frame = table(drop=(0, 7, 8, 13))
    formula = "estimate ~ C(decision_a) + C(decision_b) + C(decision_c)"
    anova = sm.stats.anova_lm(smf.ols(formula, frame).fit(), typ=2)
    total = ((frame["estimate"] - frame["estimate"].mean()) ** 2).sum()
    found = decompose(frame, design(), "x")
    np.testing.assert_allclose(found.decisions["unique"], anova["sum_sq"].iloc[:3] / total, rtol=1e-10)
    assert found.whole["interactions"].iloc[0] == pytest.approx(anova["sum_sq"].iloc[3] / total)


def test_random_orders_come_close(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = decompose(table(), design(), "x").decisions["shapley"]
    monkeypatch.setattr(decomposition, "_MOST_EXACT", 1)
    drawn = decompose(table(), design(), "x")
    np.testing.assert_allclose(drawn.decisions["shapley"], exact, atol=0.03)
    assert drawn.decisions["shapley"].sum() == pytest.approx(1)
    assert "300 orders" in drawn.whole["method"].iloc[0]


def test_many_cells_are_counted_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    direct = decompose(table(), design(), "x").decisions
    monkeypatch.setattr(decomposition, "_DIRECT", 2)
    pd.testing.assert_frame_equal(decompose(table(), design(), "x").decisions, direct)


@pytest.mark.parametrize(
    "frame", [table(np.full(18, 0.1)), table(failed=tuple(range(18))), table(drop=tuple(range(1, 18)))]
)
def test_without_variance_there_are_no_shares(frame: pd.DataFrame) -> None:
    found = decompose(frame, design(), "x")
    assert found.decisions[["shapley", "first_order", "total"]].isna().all(axis=None)


def test_a_decision_with_one_option_has_no_share() -> None:
    frame = table()
    found = decompose(frame[frame["decision_b"] == "b1"], design(), "x").decisions.set_index("decision")
    np.testing.assert_allclose(
        found.loc["b", ["shapley", "first_order", "total", "unique"]].astype(float), 0, atol=1e-15
    )
    assert found.loc["b", "options"] == 1


def test_changes_by_option() -> None:
    frame = table(failed=(3,), drop=(9,))
    by = frame.set_index([f"decision_{n}" for n in OPTIONS])["estimate"]
    found = option_changes(frame, design({"b": "b1"}), "x").set_index(["decision", "option"])
    # The reference spec is a0, b1, 10: number 3, which failed.
    assert found["reference_estimate"].isna().all()
    found = option_changes(frame, design({"c": "9"}), "x").set_index(["decision", "option"])
    base = by["a0", "b0", "9"]
    assert set(found.index) == {("a", "a1"), ("a", "a2"), ("b", "b1"), ("c", "10"), ("c", "none")}
    assert found.loc[("a", "a1"), "change"] == pytest.approx(by["a1", "b0", "9"] - base)
    assert found.loc[("c", "none"), "change"] == pytest.approx(by["a0", "b0", "none"] - base)
    assert found.loc[("b", "b1"), "spec"] == 4
    pairs = [by["a1", b, c] - by["a0", b, c] for b in OPTIONS["b"] for c in OPTIONS["c"] if ("a1", b, c) in by.index]
    pairs = [p for p in pairs if np.isfinite(p)]
    row = found.loc[("a", "a1")]
    assert row["pairs"] == len(pairs) == 5
    assert row["mean_change"] == pytest.approx(np.mean(pairs))
    assert row["change_p95"] == pytest.approx(np.quantile(pairs, 0.95))
    assert row["share_up"] == pytest.approx(np.mean(np.array(pairs) > 0))


def test_an_excluded_or_failed_neighbour_says_so() -> None:
    found = option_changes(table(failed=(1,), drop=(3,)), design(), "x").set_index(["decision", "option"])
    assert found.loc[("c", "9"), ["status", "reason"]].tolist() == ["monotone", "runs off"]
    assert found.loc[("b", "b1"), "status"] == "excluded"
    assert found.loc[[("c", "9"), ("b", "b1")], "change"].isna().all()


def test_turned_signs_are_counted() -> None:
    b = np.where(np.arange(18) < 6, 1.0, -1.0)
    found = option_changes(table(b), design(), "x").set_index(["decision", "option"])
    assert found.loc[("a", "a1"), "share_turned"] == 1
    assert found.loc[("b", "b1"), "share_turned"] == 0


def test_the_frame_is_left_as_it_is() -> None:
    frame = table()
    before = frame.copy()
    decompose(frame, design(), "x")
    option_changes(frame, design(), "x")
    pd.testing.assert_frame_equal(frame, before)
