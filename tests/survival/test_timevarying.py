"""Time interactions: R's coxph(tt=), data split by hand at every event time, and bad input."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from coalition_exit.errors import DataError
from coalition_exit.survival.cox.cox import CoxPH
from coalition_exit.survival.cox.timevarying import expand_design
from coalition_exit.survival.data.design import build_design
from coalition_exit.survival.data.formula import parse_formula

REFERENCE = Path(__file__).parents[1] / "reference"
VALUES = pd.read_csv(REFERENCE / "cox_more_values.csv", keep_default_na=False)
LATE = {"late": lambda t: t > 90}
MODELS = {
    "veteran_tt_log": ("veteran", "Surv(time, status) ~ trt + karno + tt(karno, log)", {}),
    "veteran_tt_strata": ("veteran", "Surv(time, status) ~ trt + karno + strata(cell) + tt(karno, identity)", {}),
    "veteran_tt_two": (
        "veteran", "Surv(time, status) ~ trt + karno + tt(trt, late) + tt(karno, sqrt)", {"tt": LATE}
    ),
    "pbcseq_tt": (
        "pbcseq", "Surv(tstart, tstop, death) ~ logbili + protime + age + edema + tt(logbili, log)", {"cluster": "id"}
    ),
    "lung_tt_weighted": ("lung", "Surv(time, event) ~ age + sex + tt(age, sqrt)", {"weights": "case"}),
}  # fmt: skip


def read(name):
    return pd.read_csv(REFERENCE / "data" / f"{name}.csv")


def compare(own, name, robust):
    r = VALUES[VALUES.model == name]
    coef = r[r.quantity == "coef"]
    assert own.terms == tuple(coef.term)
    np.testing.assert_allclose(own.beta, coef.value, rtol=1e-8)
    p = len(own.terms)
    model = r[r.quantity == "vcov_model"].value.to_numpy().reshape(p, p)
    scale = np.sqrt(np.outer(np.diag(model), np.diag(model)))
    np.testing.assert_allclose(own.model_covariance / scale, model / scale, atol=1e-8)
    if robust:
        vcov = r[r.quantity == "vcov"].value.to_numpy().reshape(p, p)
        scale = np.sqrt(np.outer(np.diag(vcov), np.diag(vcov)))
        np.testing.assert_allclose(own.covariance / scale, vcov / scale, atol=1e-8)
    np.testing.assert_allclose(own.loglik, r[r.quantity == "loglik"].value.item(), rtol=1e-11)


@pytest.mark.parametrize("ties", ["breslow", "efron"])
@pytest.mark.parametrize("name", MODELS)
def test_equals_r(name, ties):
    data, formula, options = MODELS[name]
    own = CoxPH(ties=ties, correction="none").fit(formula, read(data), **options)
    # R takes weighted rows for clusters of their own; here weights leave the model covariance.
    compare(own, f"{name}_{ties}", robust="cluster" in options)


def test_equals_r_on_rows_split_by_hand():
    data = read("veteran").assign(row=lambda d: np.arange(len(d)))
    own = CoxPH(ties="efron", correction="none").fit(
        "Surv(time, status) ~ trt + karno + tt(karno, log)", data, cluster="row"
    )
    compare(own, "veteran_split", robust=True)


def split_by_hand(data, start, stop, event):
    """Every row split at every event time, with plain loops."""
    times, rows = sorted(set(data[stop][data[event] == 1])), []
    for row in data.to_dict("records"):
        begin = row[start]
        for time in [t for t in times if row[start] < t < row[stop]] + [row[stop]]:
            last = time == row[stop]
            rows.append({**row, start: begin, stop: time, event: row[event] if last else 0})
            begin = time
    return pd.DataFrame(rows)


@pytest.mark.parametrize("ties", ["breslow", "efron", "exact"])
def test_equals_split_data_with_strata_and_clusters(ties):
    data = read("cgd")
    cluster = None if ties == "exact" else "id"
    own = CoxPH(ties=ties).fit(
        "Surv(tstart, tstop, status) ~ treat + age + tt(treat, sqrt) + strata(hos_cat)", data, cluster=cluster
    )
    split = split_by_hand(data, "tstart", "tstop", "status")
    split["timed"] = split.treat * np.sqrt(split.tstop)
    hand = CoxPH(ties=ties).fit(
        "Surv(tstart, tstop, status) ~ treat + age + timed + strata(hos_cat)", split, cluster=cluster
    )
    np.testing.assert_allclose(own.beta, hand.beta, rtol=1e-10)
    np.testing.assert_allclose(own.covariance, hand.covariance, rtol=1e-9)
    assert own.loglik == pytest.approx(hand.loglik, rel=1e-13)
    assert own.n_obs == len(data)
    assert own.n_event == data.status.sum()
    assert own.n_subject == hand.n_subject - len(split) + len(data)


@pytest.mark.parametrize("seed", range(6))
def test_everything_at_once_equals_rows_split_by_hand(seed):
    """Two terms, strata of two columns, weights, offset, left truncation, a product, clusters."""
    random = np.random.default_rng(seed)
    n = 60
    data = pd.DataFrame(
        {
            "x": random.normal(size=n).round(3), "z": random.integers(0, 2, n), "a": random.integers(0, 2, n),
            "b": random.integers(0, 2, n), "g": random.integers(0, 9, n), "w": random.choice([0.5, 1, 2, 3.25], n),
            "o": random.normal(size=n).round(3), "event": (random.random(n) < 0.7).astype(int),
        }
    )  # fmt: skip
    stop = random.exponential(np.exp(-0.5 * data.x)) * 10 + 1
    data["xz"] = data.x * data.z
    data["stop"] = np.ceil(stop) if seed % 2 else stop.round(4)
    data["start"] = np.floor(data.stop * random.uniform(0, 0.8, n)) if seed % 2 else (data.stop * 0.4).round(4)
    right = "x + z + xz + strata(a, b)"
    split = split_by_hand(data, "start", "stop", "event")
    split = split.assign(one=split.x * np.log(split.stop), two=split.z * np.sqrt(split.stop))
    options = {"weights": "w", "offset": "o", "cluster": "g"}
    ties = ["breslow", "efron"][seed % 3 % 2]
    hand = CoxPH(ties=ties).fit(f"Surv(start, stop, event) ~ {right} + one + two", split, **options)
    for most in (10**9, 0):
        own = CoxPH(ties=ties, most_split_values=most).fit(
            f"Surv(start, stop, event) ~ {right} + tt(x, log) + tt(z, sqrt)", data, **options
        )
        np.testing.assert_allclose(own.beta, hand.beta, rtol=1e-8)
        np.testing.assert_allclose(own.covariance, hand.covariance, rtol=1e-7)
        assert own.loglik == pytest.approx(hand.loglik, rel=1e-12)


def test_a_function_of_covariate_and_time():
    data, formula = read("veteran"), "Surv(time, status) ~ trt + karno + tt(karno, f)"
    product = CoxPH().fit(formula, data, tt={"f": lambda t: np.log(t + 20)})
    both = CoxPH().fit(formula, data, tt={"f": lambda x, t: x * np.log(t + 20)})
    np.testing.assert_allclose(both.beta, product.beta, rtol=1e-12)
    step = CoxPH().fit(formula, data, tt={"f": lambda x, t: (x > 50) & (t > 60)})
    assert np.isfinite(step.beta).all()


def test_a_constant_function_gives_the_plain_model():
    data = read("heart")
    plain = CoxPH(ties="efron").fit("Surv(start, stop, event) ~ age + transplant", data, cluster="id")
    timed = CoxPH(ties="efron").fit(
        "Surv(start, stop, event) ~ age + tt(transplant, one)", data, cluster="id", tt={"one": lambda t: 1.0}
    )
    np.testing.assert_allclose(timed.beta, plain.beta, rtol=1e-11)
    np.testing.assert_allclose(timed.covariance, plain.covariance, rtol=1e-10)


def test_factors_and_interactions_in_a_term():
    data = read("veteran").assign(cell=lambda d: d.cell.map({1: "a", 2: "b", 3: "c", 4: "d"}))
    fit = CoxPH().fit("Surv(time, status) ~ karno + cell + tt(cell, log)", data)
    assert fit.terms[-3:] == ("tt(cell[T.b], log)", "tt(cell[T.c], log)", "tt(cell[T.d], log)")
    hand = data.assign(b=data.cell == "b", c=data.cell == "c", d=data.cell == "d")
    by_hand = CoxPH().fit("Surv(time, status) ~ karno + b + c + d + tt(b, log) + tt(c, log) + tt(d, log)", hand)
    np.testing.assert_allclose(fit.beta, by_hand.beta, rtol=1e-11)


def test_daily_rows_are_not_multiplied():
    random = np.random.default_rng(0)
    subject = np.repeat(np.arange(50), 100)
    start = np.tile(np.arange(100.0), 50)
    event = np.zeros(5000, dtype=int)
    event[random.choice(50, 20, replace=False) * 100 + 99 - 2 * np.arange(20)] = 1
    data = pd.DataFrame(
        {"id": subject, "start": start, "stop": start + 1, "event": event, "x": random.normal(size=5000)}
    )
    design = build_design("Surv(start, stop, event) ~ x + tt(x, log)", data, id="id", tt={})
    expanded = expand_design(design)
    assert len(expanded.surv) == np.isin(data.stop, data.stop[data.event == 1]).sum()
    np.testing.assert_array_equal(expanded.x[:, 1], expanded.x[:, 0] * np.log(expanded.surv.stop))
    assert (np.diff(expanded.source) >= 0).all()


def test_right_censored_rows_before_time_0():
    data = pd.DataFrame({"time": [-3.0, -1.0, 0.5, 2.0, 4.0], "event": [1, 1, 1, 1, 0], "x": [1.0, 0.0, 2.0, 0.5, 1.5]})
    own = CoxPH().fit("Surv(time, event) ~ x + tt(x, identity)", data)
    split = split_by_hand(data.assign(start=-9.0), "start", "time", "event")
    hand = CoxPH().fit("Surv(start, time, event) ~ x + timed", split.assign(timed=split.x * split.time))
    np.testing.assert_allclose(own.beta, hand.beta, rtol=1e-10)


def test_the_formula_is_read():
    parsed = parse_formula("Surv(t, e) ~ a + tt(f(a, b), g) + strata(s) + tt(`x y`, log)")
    assert parsed.terms == ("a",)
    assert parsed.time_terms == (("f(a, b)", "g"), ("`x y`", "log"))


@pytest.mark.parametrize(
    ("formula", "tt", "message"),
    [
        (
            "Surv(time, status) ~ tt(karno, lag)",
            None,
            r"a function, one of log, identity, sqrt, got 'lag'. Did you mean",
        ),
        ("Surv(time, status) ~ tt(karno)", None, r"tt\(x, function\)"),
        ("Surv(time, status) ~ tt(karn, log)", None, "Did you mean 'karno'"),
        ("Surv(time, status) ~ tt(karno, f)", {"f": 3}, "a function of time"),
        ("Surv(time, status) ~ tt(karno, f)", {"f": lambda t: "a"}, "returns numbers"),
        ("Surv(time, status) ~ tt(karno, f)", {"f": lambda t: t[:-1]}, "returns 97 numbers"),
        ("Surv(time, status) ~ tt(karno, f)", {"f": lambda t: 1 / (t - 1)}, "row 0, event time 1: expected a finite"),
        ("Surv(time, status) ~ tt(karno, log) + tt(karno, log)", None, "names of their own"),
    ],
)
def test_bad_terms_are_refused(formula, tt, message):
    with pytest.raises(DataError, match=message):
        CoxPH().fit(formula, read("veteran").sort_values("time").reset_index(drop=True), tt=tt)


def test_log_of_time_0_is_refused():
    data = read("veteran").assign(time=lambda d: d.time - 1)
    with pytest.raises(DataError, match=r"tt\(karno, log\), row \d+, event time 0: expected a finite number"):
        CoxPH().fit("Surv(time, status) ~ tt(karno, log)", data)


def test_models_without_time_interactions_refuse_them():
    with pytest.raises(DataError, match=r"no tt\(\) terms"):
        build_design("Surv(time, status) ~ tt(karno, log)", read("veteran"))


def test_size_is_bounded():
    design = build_design("Surv(time, status) ~ karno + tt(karno, log)", read("veteran"), tt={})
    with pytest.raises(DataError, match="at most 1,000 values"):
        expand_design(design, most=1000)


def test_missing_values_in_a_term_are_dropped_and_counted():
    data = read("veteran").astype({"karno": float})
    data.loc[3, "karno"] = np.nan
    fit = CoxPH().fit("Surv(time, status) ~ trt + tt(karno, log)", data, missing="drop")
    assert fit.n_dropped == 1
    with pytest.raises(DataError, match="karno"):
        CoxPH().fit("Surv(time, status) ~ trt + tt(karno, log)", data)


def test_data_are_not_changed_by_the_function():
    data = read("veteran")

    def spoil(x, t):
        out = x * np.log(t)
        x[:], t[:] = 0.0, 0.0
        return out

    spoiled = CoxPH().fit("Surv(time, status) ~ trt + karno + tt(karno, f)", data, tt={"f": spoil})
    clean = CoxPH().fit("Surv(time, status) ~ trt + karno + tt(karno, log)", data)
    np.testing.assert_allclose(spoiled.beta, clean.beta, rtol=1e-12)
