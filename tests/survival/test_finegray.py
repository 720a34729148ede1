"""Fine-Gray models against cmprsk::crr and survival::finegray (tests/reference/make_competing.R) and slow versions."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from coalition_exit.errors import DataError, FitError
from coalition_exit.survival.competing.finegray import FineGray, FineGrayFit
from coalition_exit.survival.competing.incidence import cumulative_incidence
from coalition_exit.survival.cox.cox import CoxPH

REFERENCE = Path(__file__).parents[1] / "reference"
VALUES = pd.read_csv(
    REFERENCE / "competing_values.csv", keep_default_na=False, dtype={"term": str, "other": str, "value": str}
)


def _data(name: str) -> pd.DataFrame:
    return pd.read_csv(REFERENCE / f"competing_{name}.csv", keep_default_na=False, float_precision="round_trip")


def _values(model: str, quantity: str) -> np.ndarray:
    chosen = VALUES[(VALUES["model"] == model) & (VALUES["quantity"] == quantity)]
    assert len(chosen), f"no reference values; run: Rscript tests/reference/make_competing.R ({model}, {quantity})"
    return chosen["value"].to_numpy(float)


SIM, MGUS2, ROWS = _data("sim"), _data("mgus2"), _data("rows")
X, M = "x1 + x2 + x3", "age + female + hgb"
FINEGRAY = {"variance": "robust", "tied_censoring": "survival"}
CRR = {
    **{f"crr_sim_{c}": (c, SIM, f"Surv(time, event) ~ {X}") for c in (1, 2)},
    **{f"crr_tied_{c}": (c, SIM, f"Surv(tied, event) ~ {X}") for c in (1, 2)},
    **{f"crr_mgus2_{c}": (c, MGUS2, f"Surv(time, event) ~ {M}") for c in (1, 2)},
}
WEIGHTED = {
    "fg_sim": (1, SIM, f"Surv(time, event) ~ {X}", {}),
    "fg_tied": (2, SIM, f"Surv(tied, event) ~ {X}", {}),
    "fg_strata": (1, SIM, f"Surv(tied, event) ~ {X} + strata(center)", {"censoring": "center"}),
    "fg_mgus2": (1, MGUS2, f"Surv(time, event) ~ {M}", {"id": "id"}),
    "fg_entry": (1, MGUS2, f"Surv(entry, time, event) ~ {M}", {"id": "id"}),
    "fg_rows": (1, ROWS, "Surv(start, stop, event) ~ now + female + hgb", {"id": "id"}),
}


def _check_covariance(got: pd.DataFrame, expected: np.ndarray, rtol: float) -> None:
    expected = expected.reshape(got.shape)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose(got / scale, expected / scale, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("name", CRR)
def test_equal_to_crr(name: str) -> None:
    cause, data, formula = CRR[name]
    fit = FineGray(cause).fit(formula, data, cause="cause")
    # crr stops at a gradient of 1e-11 times the log-likelihood.
    np.testing.assert_allclose(fit.coef, _values(name, "coef"), rtol=1e-8, atol=1e-10)
    _check_covariance(fit.vcov, _values(name, "vcov"), 1e-8)
    np.testing.assert_allclose(fit.loglik, _values(name, "loglik")[0], rtol=1e-11)
    np.testing.assert_allclose(fit.loglik_null, _values(name, "loglik_null")[0], rtol=1e-11)
    assert fit.n_event == (data["cause"] == cause).sum()
    assert fit.n_competing == ((data["cause"] != cause) & (data["cause"] > 0)).sum()


@pytest.mark.parametrize("cause", [1, 2])
def test_censoring_by_group_equals_crr_but_for_its_variance(cause: int) -> None:
    name = f"crr_group_{cause}"
    fit = FineGray(cause).fit(f"Surv(tied, event) ~ {X}", SIM, cause="cause", censoring="center")
    np.testing.assert_allclose(fit.coef, _values(name, "coef"), rtol=1e-8)
    np.testing.assert_allclose(fit.loglik, _values(name, "loglik")[0], rtol=1e-11)
    # crr lets a subject's censoring move the weights of the other groups' subjects too, which it cannot; the jackknife
    # below sides with the sum over the own group.
    theirs = np.sqrt(_values(name, "vcov").reshape(3, 3).diagonal())
    np.testing.assert_allclose(fit.std_error, theirs, rtol=5e-3)
    assert np.abs(fit.std_error / theirs - 1).max() > 1e-4


@pytest.mark.parametrize("ties", ["breslow", "efron"])
@pytest.mark.parametrize("name", WEIGHTED)
def test_equal_to_coxph_on_finegray_data(name: str, ties: str) -> None:
    cause, data, formula, options = WEIGHTED[name]
    fit = FineGray(cause, ties=ties, **FINEGRAY).fit(formula, data, cause="cause", **options)
    model = f"{name}_{ties}"
    np.testing.assert_allclose(fit.coef, _values(model, "coef"), rtol=1e-9)
    _check_covariance(fit.vcov, _values(model, "vcov"), 1e-9)
    _check_covariance(fit.vcov_model, _values(model, "vcov_model"), 1e-9)
    np.testing.assert_allclose(fit.loglik, _values(model, "loglik")[0], rtol=1e-11)
    np.testing.assert_allclose(fit.loglik_null, _values(model, "loglik_null")[0], rtol=1e-11)


@pytest.mark.parametrize("name", ["crr_mgus2_1", "crr_mgus2_2", "fg_mgus2_breslow", "fg_mgus2_efron"])
def test_predicted_incidence_equals_r(name: str) -> None:
    cause = int(name[-1]) if name.startswith("crr") else 1
    model = FineGray(cause) if name.startswith("crr") else FineGray(1, ties=name.rsplit("_", 1)[-1], **FINEGRAY)
    fit = model.fit(f"Surv(time, event) ~ {M}", MGUS2, cause="cause")
    new = pd.DataFrame({"hgb": [14, 11], "age": [60, 80], "female": [1, 0]}, index=["younger", "older"])
    table = fit.predict(new, [2, 10, 50, 100, 200, 300])
    chosen = VALUES[(VALUES["model"] == name) & (VALUES["quantity"] == "incidence")]
    assert len(chosen) == 12
    for _, row in chosen.iterrows():
        scenario = new.index[int(row["term"]) - 1]
        got = table.loc[(table["scenario"] == scenario) & (table["time"] == float(row["other"])), "estimate"]
        np.testing.assert_allclose(got, [float(row["value"])], rtol=1e-8)


def test_without_covariates_the_incidence_is_close_to_aalen_johansens_and_bounded() -> None:
    fit = FineGray(1).fit("Surv(tied, event) ~ 1", SIM, cause="cause")
    table = fit.predict(pd.DataFrame(index=["all"]))
    curve = cumulative_incidence("Surv(tied, event) ~ 1", SIM, cause="cause").at(table["time"])
    expected = curve.loc[curve["cause"] == 1, "estimate"].to_numpy()
    np.testing.assert_allclose(table["estimate"], expected, atol=0.03)
    # Sum of d / S0 is the log of 1 - F to first order: their products agree exactly without ties in censoring.
    steps = np.diff(np.append(0, -np.log1p(-table["estimate"])))
    distinct = FineGray(1).fit("Surv(time, event) ~ 1", SIM, cause="cause").predict(pd.DataFrame(index=["all"]))
    increments = np.diff(np.append(0, -np.log1p(-distinct["estimate"])))
    other = cumulative_incidence("Surv(time, event) ~ 1", SIM, cause="cause").at(distinct["time"])
    np.testing.assert_allclose(1 - np.cumprod(1 - increments), other.loc[other["cause"] == 1, "estimate"], rtol=1e-10)
    assert (steps > 0).all()
    assert fit.predict(pd.DataFrame(index=["all"]), [0.0, 1e9])["estimate"].isna().tolist() == [False, True]


def test_without_competing_exits_it_is_the_cox_model() -> None:
    data = SIM.assign(event=(SIM["cause"] == 1).astype(int), cause=SIM["cause"].where(SIM["cause"] == 1, 0))
    for ties in ("breslow", "efron"):
        cox = CoxPH(ties=ties, correction="none").fit(f"Surv(tied, event) ~ {X}", data, cluster="id")
        for variance in ("fine_gray", "robust"):
            fit = FineGray(1, ties=ties, variance=variance).fit(f"Surv(tied, event) ~ {X}", data, cause="cause")
            np.testing.assert_allclose(fit.coef, cox.coef, rtol=1e-10)
            np.testing.assert_allclose(fit.vcov, cox.vcov, rtol=1e-9)
            np.testing.assert_allclose(fit.loglik, cox.loglik, rtol=1e-12)


def test_without_censoring_exits_for_other_causes_stay_at_risk_for_ever() -> None:
    data = SIM[SIM["event"] == 1]
    late = data.assign(tied=data["tied"].where(data["cause"] == 1, 1000), event=(data["cause"] == 1).astype(int))
    cox = CoxPH(correction="none").fit(f"Surv(tied, event) ~ {X}", late, cluster="id")
    for variance in ("fine_gray", "robust"):
        fit = FineGray(1, variance=variance).fit(f"Surv(tied, event) ~ {X}", data, cause="cause")
        np.testing.assert_allclose(fit.coef, cox.coef, rtol=1e-10)
        np.testing.assert_allclose(fit.vcov, cox.vcov, rtol=1e-9)


def _same(a: FineGrayFit, b: FineGrayFit, rtol: float = 1e-9) -> None:
    np.testing.assert_allclose(a.coef, b.coef, rtol=rtol)
    np.testing.assert_allclose(a.vcov, b.vcov, rtol=10 * rtol)


@pytest.mark.parametrize("variance", ["fine_gray", "robust"])
@pytest.mark.parametrize("tied_censoring", ["cmprsk", "survival"])
def test_invariances(variance: str, tied_censoring: str) -> None:
    model = FineGray(1, variance=variance, tied_censoring=tied_censoring)
    formula = f"Surv(time, event) ~ {M}"
    whole = model.fit(formula, MGUS2, cause="cause", id="id")
    # The same rows as start-stop data, split at 60, shuffled, with causes by name.
    split = ROWS.sample(frac=1, random_state=3)
    split = split.assign(exit=split["cause"].map({0: "", 1: "pcm", 2: "death"}))
    named = FineGray("pcm", variance=variance, tied_censoring=tied_censoring)
    _same(named.fit(f"Surv(start, stop, event) ~ {M}", split, cause="exit", id="id"), whole)
    # A weight of 2 is the row twice; twice a subject is a cluster.
    twice = SIM.loc[SIM.index.repeat(SIM["weight"])]
    weighted = model.fit(f"Surv(tied, event) ~ {X}", SIM, cause="cause", weights="weight", cluster="id")
    _same(model.fit(f"Surv(tied, event) ~ {X}", twice, cause="cause", cluster="id"), weighted, 1e-8)
    # Names of strata and censoring strata do not matter.
    relabelled = SIM.assign(center=SIM["center"].map({1: "z", 2: "a"}))
    formula = f"Surv(tied, event) ~ {X} + strata(center)"
    _same(
        model.fit(formula, relabelled, cause="cause", censoring=["center"]),
        model.fit(formula, SIM, cause="cause", censoring="center"),
    )


@pytest.mark.parametrize("options", [{}, {"censoring": "center"}])
def test_the_fine_gray_variance_is_the_infinitesimal_jackknife(options: dict) -> None:
    data = SIM.head(60)
    formula = "Surv(tied, event) ~ x1 + x3"
    model = FineGray(1, tied_censoring="survival")
    fit = model.fit(formula, data, cause="cause", **options)
    influence = np.zeros((len(data), 2))
    for i in range(len(data)):
        weights = np.ones(len(data))
        betas = []
        for h in (1e-4, -1e-4):
            weights[i] = 1 + h
            betas.append(model.fit(formula, data, cause="cause", weights=weights, **options).beta)
        influence[i] = (betas[0] - betas[1]) / 2e-4
    # Weights enter the partial likelihood and the censoring distribution, and so does the variance.
    np.testing.assert_allclose(fit.vcov, influence.T @ influence, rtol=1e-7)


@st.composite
def small_data(draw: st.DrawFn) -> pd.DataFrame:
    n = draw(st.integers(8, 16))

    def column(values: st.SearchStrategy[int]) -> list[int]:
        return draw(st.lists(values, min_size=n, max_size=n))

    data = pd.DataFrame(
        {"t": column(st.integers(1, 7)), "c": column(st.sampled_from([0, 1, 1, 2])), "x": column(st.integers(-2, 2))}
    )
    data["s"], data["k"] = column(st.integers(0, 1)), column(st.integers(0, 1))
    return data.assign(e=(data["c"] > 0).astype(int))


def _expanded(data: pd.DataFrame, together: bool) -> pd.DataFrame:
    """Every row with a competing exit once more for each later exit for the cause, weighted by G(t-) / G(T-)."""
    out = []
    for _, part in data.groupby("k"):

        def g(t: float, part: pd.DataFrame = part) -> float:
            value = 1.0
            for u in np.unique(part.loc[part["c"] == 0, "t"]):
                if u < t:
                    at_risk = (part["t"] > u) | ((part["t"] == u) & (together | (part["c"] == 0)))
                    value *= 1 - ((part["t"] == u) & (part["c"] == 0)).sum() / at_risk.sum()
            return value

        for i, row in part.iterrows():
            out.append(
                {"a": 0.0, "b": row["t"], "d": int(row["c"] == 1), "x": row["x"], "s": row["s"], "w": 1.0, "i": i}
            )
            if row["c"] == 2:
                for t in np.unique(data.loc[(data["c"] == 1) & (data["t"] > row["t"]), "t"]):
                    weight = g(t) / g(row["t"])
                    out.append({"a": t - 0.5, "b": t, "d": 0, "x": row["x"], "s": row["s"], "w": weight, "i": i})
    return pd.DataFrame(out)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(small_data(), st.sampled_from(["breslow", "efron"]), st.sampled_from(["cmprsk", "survival"]), st.booleans())
def test_equal_to_expanded_data(data: pd.DataFrame, ties: str, tied: str, stratified: bool) -> None:
    strata = " + strata(s)" if stratified else ""
    assume((data["c"] == 1).any())
    expanded = _expanded(data, tied == "cmprsk")
    slow, status = None, ""
    try:
        slow = CoxPH(ties=ties, correction="none").fit("Surv(a, b, d) ~ x" + strata, expanded, weights="w", cluster="i")
    except FitError as error:
        status = error.status
    assume(status != "not_converged")
    if slow is None:
        with pytest.raises(FitError) as same:
            FineGray(1, ties=ties, tied_censoring=tied).fit("Surv(t, e) ~ x" + strata, data, cause="c", censoring="k")
        assert same.value.status == status
        return
    model = FineGray(1, ties=ties, variance="robust", tied_censoring=tied)
    fit = model.fit("Surv(t, e) ~ x" + strata, data, cause="c", censoring="k")
    np.testing.assert_allclose(fit.coef, slow.coef, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(fit.vcov, slow.vcov, rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(fit.vcov_model, slow.vcov_model, rtol=1e-6)
    np.testing.assert_allclose(fit.loglik, slow.loglik, rtol=1e-10, atol=1e-10)


def _slow_crr_terms(data: pd.DataFrame, beta: float) -> tuple[float, float]:
    """Information and sum of squared eta + psi for one covariate, by the loops of Fine and Gray's formulas."""
    t, c, x = data["t"].to_numpy(float), data["c"].to_numpy(), data["x"].to_numpy(float)
    n = len(t)
    at = {u: (t >= u).sum() for u in np.unique(t)}
    censored = {u: ((t == u) & (c == 0)).sum() for u in np.unique(t)}

    def g(when: float) -> float:
        return float(np.prod([1 - censored[u] / at[u] for u in at if u < when]))

    def weight(j: int, when: float) -> float:
        if t[j] >= when:
            return 1.0
        return g(when) / g(t[j]) if c[j] == 2 else 0.0

    events = [i for i in range(n) if c[i] == 1]
    s0 = {i: sum(weight(j, t[i]) * np.exp(x[j] * beta) for j in range(n)) for i in events}
    s1 = {i: sum(weight(j, t[i]) * np.exp(x[j] * beta) * x[j] for j in range(n)) for i in events}
    s2 = {i: sum(weight(j, t[i]) * np.exp(x[j] * beta) * x[j] ** 2 for j in range(n)) for i in events}
    information = sum(s2[i] / s0[i] - (s1[i] / s0[i]) ** 2 for i in events)

    def q(u: float) -> float:
        total = 0.0
        for i in events:
            if t[i] >= u:
                for j in range(n):
                    if t[j] < u and c[j] == 2:
                        total += (x[j] - s1[i] / s0[i]) * weight(j, t[i]) * np.exp(x[j] * beta) / s0[i]
        return total

    square = 0.0
    for i in range(n):
        eta = (x[i] - s1[i] / s0[i] if c[i] == 1 else 0.0) - sum(
            (x[i] - s1[k] / s0[k]) * weight(i, t[k]) * np.exp(x[i] * beta) / s0[k] for k in events
        )
        psi = (q(t[i]) / at[t[i]] if c[i] == 0 else 0.0) - sum(
            q(u) * censored[u] / at[u] ** 2 for u in at if u <= t[i] and censored[u]
        )
        square += (eta + psi) ** 2
    return information, square


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(small_data())
def test_the_default_variance_equals_fine_and_grays_formulas(data: pd.DataFrame) -> None:
    assume((data["c"] == 1).any())
    try:
        fit = FineGray(1).fit("Surv(t, e) ~ x", data, cause="c")
    except FitError:
        assume(False)
    information, square = _slow_crr_terms(data, float(fit.coef.iloc[0]))
    np.testing.assert_allclose(fit.vcov_model.iloc[0, 0], 1 / information, rtol=1e-9)
    np.testing.assert_allclose(fit.vcov.iloc[0, 0], square / information**2, rtol=1e-7, atol=1e-12)


def test_clusters_and_their_correction() -> None:
    formula = f"Surv(tied, event) ~ {X}"
    none = FineGray(1, correction="none").fit(formula, SIM, cause="cause", cluster="group")
    stata = FineGray(1).fit(formula, SIM, cause="cause", cluster="group")
    assert (none.correction, stata.correction) == ("none", "stata")
    assert "3 clusters (stata)" in str(stata)
    assert none.n_cluster == 3
    np.testing.assert_allclose(stata.vcov, 1.5 * none.vcov, rtol=1e-12)
    own = FineGray(1).fit(formula, SIM, cause="cause")
    assert (own.n_cluster, own.correction) == (None, None)
    by_id = FineGray(1, correction="none").fit(formula, SIM, cause="cause", cluster="id")
    np.testing.assert_allclose(own.vcov, by_id.vcov, rtol=1e-12)


def test_late_entry_needs_the_robust_variance_and_somebody_at_risk() -> None:
    formula = f"Surv(entry, time, event) ~ {M}"
    with pytest.raises(DataError, match="variance: expected 'robust' for data with late entry"):
        FineGray(1).fit(formula, MGUS2, cause="cause", id="id")
    # Nobody is under observation from 5 to 8: a subject that left before cannot be weighed against those who come.
    data = pd.DataFrame(
        {
            "id": range(8),
            "a": [0, 0, 0, 1, 8, 8, 8, 9],
            "b": [2, 3, 4, 5, 10, 11, 12, 13],
            "c": [1, 2, 1, 0, 1, 2, 1, 1],
        }
    ).assign(e=lambda d: (d["c"] > 0).astype(int), x=[1, 0, 0, 1, 0, 1, 1, 0])
    with pytest.raises(DataError, match="row 1: expected somebody at risk at 8 who was there before"):
        FineGray(1, variance="robust").fit("Surv(a, b, e) ~ x", data, cause="c", id="id")
    # Without a competing exit before the gap there is nothing to weigh.
    rest = FineGray(1, variance="robust").fit("Surv(a, b, e) ~ x", data.drop(1), cause="c", id="id")
    assert np.isfinite(rest.std_error).all()


def test_what_a_fit_carries() -> None:
    before = SIM.copy()
    fit = FineGray(1).fit(f"Surv(time, event) ~ {X}", SIM, cause="cause")
    pd.testing.assert_frame_equal(SIM, before)
    again = pickle.loads(pickle.dumps(fit))
    pd.testing.assert_frame_equal(again.tidy(), fit.tidy())
    np.testing.assert_array_equal(
        again.predict({"x1": 0, "x2": 1, "x3": 0})["estimate"], fit.predict({"x1": 0, "x2": 1, "x3": 0})["estimate"]
    )
    glance = fit.glance().iloc[0]
    assert glance["estimator"] == "fine_gray"
    assert glance["cause"] == 1
    assert glance["n_event"] + glance["n_competing"] == SIM["event"].sum()
    assert "Fine-Gray model for 1 (breslow ties, fine_gray variance)" in str(fit)
    dropped = SIM.astype({"cause": float}).assign(cause=SIM["cause"].where(SIM["cause"] > 0))
    dropped.loc[[1, 2], "x1"] = np.nan
    partial = FineGray(1).fit(f"Surv(time, event) ~ {X}", dropped, cause="cause", missing="drop")
    assert (partial.n_dropped, partial.n_obs) == (2, 148)
    _same(partial, FineGray(1).fit(f"Surv(time, event) ~ {X}", SIM.drop([1, 2]), cause="cause"))


def test_bad_input_is_refused_by_name() -> None:
    formula = f"Surv(time, event) ~ {X}"
    for options, message in (
        ({"ties": "effron"}, "ties: expected one of breslow, efron, got 'effron'. Did you mean 'efron'"),
        ({"variance": "sandwich"}, "variance: expected one of fine_gray, robust"),
        ({"tied_censoring": "both"}, "tied_censoring"),
        ({"correction": "statas"}, "correction"),
    ):
        with pytest.raises(DataError, match=message.replace("?", "")):
            FineGray(1, **options)
    with pytest.raises(DataError, match="cause: expected one of 1, 2, got 4"):
        FineGray(4).fit(formula, SIM, cause="cause")
    with pytest.raises(DataError, match="Did you mean 'death'"):
        FineGray("deaht").fit(f"Surv(time, event) ~ {M}", MGUS2, cause="exit")
    with pytest.raises(DataError, match=r"censoring, centre: .*Did you mean 'center'"):
        FineGray(1).fit(formula, SIM, cause="cause", censoring="centre")
    with pytest.raises(DataError, match="id: expected the subject of each row"):
        FineGray(1).fit(f"Surv(start, stop, event) ~ {M}", ROWS, cause="cause")
    with pytest.raises(DataError, match="at least two clusters, got 1"):
        FineGray(1).fit(formula, SIM.assign(one=1), cause="cause", cluster="one")
    gap = ROWS.assign(start=np.where(ROWS["start"] == 60, 61, 0)).query("stop > 61 or start == 0")
    with pytest.raises(DataError, match=r"rows of a subject without gap \(the one before ends at 60\)"):
        FineGray(1).fit(f"Surv(start, stop, event) ~ {M}", gap, cause="cause", id="id")
    with pytest.raises(DataError, match="a model without strata"):
        FineGray(1).fit(formula + " + strata(center)", SIM, cause="cause").predict({"x1": 0, "x2": 0, "x3": 0})
    with pytest.raises(FitError, match="linear combination"):
        FineGray(1).fit(formula + " + I(2 * x1)", SIM, cause="cause")
    with pytest.raises(FitError, match="no events of cause 1 with positive weight"):
        FineGray(1).fit(formula, SIM, cause="cause", weights=(SIM["cause"] != 1).astype(float))


def test_a_competing_exit_can_break_a_monotone_likelihood() -> None:
    # Among those under observation x = 1 always has the event first; a row with x = 1 that left by another exit stays.
    data = pd.DataFrame({"t": [1, 2, 3, 4, 5, 6], "c": [1, 2, 1, 1, 0, 0], "x": [1, 1, 1, 1, 0, 0]})
    data = data.assign(e=(data["c"] > 0).astype(int))
    with pytest.raises(FitError, match="monotone"):
        FineGray(1).fit("Surv(t, e) ~ x", data, cause="c")
    data.loc[1, "x"] = 3
    fit = FineGray(1).fit("Surv(t, e) ~ x", data, cause="c")
    assert np.isfinite(fit.coef["x"])
