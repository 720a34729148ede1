"""Discrete-time hazard models and binary regressions against R's glm, sandwich and numerical derivatives."""

from __future__ import annotations

import csv
import pickle
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.optimize

from coalition_exit.errors import DataError, FitError
from coalition_exit.survival.cox.cox import CoxPH
from coalition_exit.survival.discrete.discrete import DiscreteFit, DiscreteHazard
from coalition_exit.survival.discrete.glm import BinaryRegression

REFERENCE = Path(__file__).parents[1] / "reference"


def models():
    with (REFERENCE / "discrete_models.csv").open() as file:
        return list(csv.DictReader(file))


@cache
def values(name):
    return pd.read_csv(REFERENCE / name, keep_default_na=False).astype({"value": float})


def read(name):
    return pd.read_csv(REFERENCE / "data" / f"{name}.csv")


def fit(spec, correction="none", information="observed"):
    data = read(spec["data"])
    common = {
        "cluster": spec["cluster"] or None,
        "weights": spec["weights"] or None,
        "offset": spec["offset"] or None,
    }
    if not spec["baseline"]:
        model = BinaryRegression(link=spec["link"], correction=correction, information=information)
        return model.fit(spec["formula"], data, **common)
    named = spec["period"] in ("day", "week", "month", "year")
    model = DiscreteHazard(
        link=spec["link"],
        baseline=spec["baseline"],
        df=int(spec["df"]) if spec["df"] else None,
        knots=tuple(float(k) for k in spec["knots"].split(";")) if spec["knots"] else None,
        empty=spec["empty"] or "drop",
        period=spec["period"] if named else float(spec["period"]),
        covariates=spec["covariates"],
        partial=spec["partial"],
        repeated="merge" if spec["data"] == "cgd" else "error",
        correction=correction,
        information=information,
    )
    # Rows that enter late need to be told apart.
    id = spec["id"] or (np.arange(len(data)) if "entry" in spec["formula"] else None)
    return model.fit(spec["formula"], data, id=id, **common)


def vector(table, quantity, terms):
    part = table[table.quantity == quantity].set_index("term").value
    assert sorted(part.index) == sorted(terms)
    return part[list(terms)].to_numpy()


def matrix(table, quantity, terms):
    """The matrix; with more than 20 terms the file has its diagonal only."""
    part = table[table.quantity == quantity].pivot_table(index="term", columns="other", values="value")
    found = part.loc[list(terms), list(terms)].to_numpy()
    assert np.isnan(found).any() == (len(terms) > 20)
    assert not np.isnan(np.diag(found)).any()
    return found


def close(ours, reference, relative=1e-8):
    """Equal to ``relative`` of the size of the row and column in a matrix, of the value elsewhere."""
    if np.ndim(reference) == 2:
        size = np.sqrt(np.outer(np.diag(reference), np.diag(reference)))
        known = ~np.isnan(reference)
        assert (np.abs(ours - reference)[known] <= relative * size[known]).all()
    else:
        np.testing.assert_allclose(ours, reference, rtol=relative)


@pytest.mark.parametrize("spec", models(), ids=lambda spec: spec["model"])
def test_equals_r(spec):
    table = values("discrete_values.csv")
    table = table[table.model == spec["model"]]
    found = fit(spec)
    terms = found.terms
    assert terms[-1] == "_cons"
    close(found.beta, vector(table, "coef", terms))
    scalar = table[table.term == ""].set_index("quantity").value
    for name in ("loglik", "loglik_null"):
        close(getattr(found, name), scalar[name], 1e-11)
    for name in ("n_obs", "n_event", "n_subject"):
        assert getattr(found, name) == scalar[name]
    close(found.vcov_model.to_numpy(), matrix(table, "vcov_observed", terms))
    expected = fit(spec, "stata", "expected")
    close(expected.vcov_model.to_numpy(), matrix(table, "vcov_expected", terms))
    if spec["cluster"]:
        assert found.n_cluster == scalar["n_cluster"]
        close(found.vcov.to_numpy(), matrix(table, "robust_observed", terms))
        close(fit(spec, "none", "expected").vcov.to_numpy(), matrix(table, "robust_none", terms))
        close(expected.vcov.to_numpy(), matrix(table, "robust_stata", terms))
    else:
        assert found.n_cluster is None
        assert found.correction is None


@pytest.mark.parametrize("link", ["logit", "cloglog", "probit"])
def test_prediction_equals_r(link):
    table = values("discrete_predict.csv")
    table = table[table.model == link]
    found = DiscreteHazard(link=link, period="week").fit("Surv(time, event) ~ age + sex + ph_ecog", read("lung"))
    got = found.predict({"age": 65, "sex": 1, "ph_ecog": 2}, 60)
    assert got.period.tolist() == list(range(1, 61))
    assert got.time.tolist() == [7.0 * k for k in range(1, 61)]
    for name in table.quantity.unique():
        part = table[table.quantity == name]
        wanted = part.set_index(part.term.astype(int)).value.sort_index().to_numpy()
        # R's delta method for S differentiates numerically.
        np.testing.assert_allclose(got[name], wanted, rtol=1e-7 if name.startswith("survival_") else 1e-8)


# Invariances

EPISODES = "Surv(start, stop, event) ~ age + surgery + transplant"


def heart():
    d = read("heart")
    d["g"] = d.id % 9
    return d


def same(one, two, relative=1e-9):
    assert one.terms == two.terms
    np.testing.assert_allclose(one.beta, two.beta, rtol=relative)
    np.testing.assert_allclose(one.covariance, two.covariance, rtol=relative, atol=1e-12)
    assert one.loglik == pytest.approx(two.loglik, rel=1e-12)


@pytest.mark.parametrize("covariates", ["start", "end", "mean"])
@pytest.mark.parametrize("baseline", ["cubic", "ns", "dummies"])
def test_split_and_shuffled_episodes_change_nothing(covariates, baseline):
    d = heart()
    d = d[d.stop - d.start >= 1]
    half = (d.start + d.stop) / 2
    split = pd.concat([d.assign(stop=half, event=0), d.assign(start=half)])
    model = DiscreteHazard(baseline=baseline, covariates=covariates)
    one = model.fit(EPISODES, d, id="id", cluster="g")
    two = model.fit(EPISODES, split.sample(frac=1, random_state=3), id="id", cluster="g")
    same(one, two)
    assert (one.n_obs, one.n_subject, one.n_event) == (two.n_obs, two.n_subject, two.n_event)


@pytest.mark.parametrize("link", ["logit", "cloglog", "probit"])
def test_weight_two_is_the_subject_twice(link):
    d = heart().assign(w=lambda d: 1.0 + d.id % 2)
    again = d[d.w == 2]
    twice = pd.concat([d, again.assign(id=again.id + 1000)])
    model = DiscreteHazard(link=link)
    one = model.fit(EPISODES, d, id="id", cluster="g", weights="w")
    two = model.fit(EPISODES, twice, id="id", cluster="g")
    same(one, two)


def test_unit_of_time_does_not_matter():
    d = heart()
    one = DiscreteHazard(period="week").fit(EPISODES, d, id="id")
    two = DiscreteHazard(period=0.7).fit(EPISODES, d.assign(start=d.start / 10, stop=d.stop / 10), id="id")
    same(one, two)
    assert (one.period, two.period, two.length) == ("week", "0.7", 0.7)


def test_data_are_not_changed():
    d = heart()
    before = d.copy()
    DiscreteHazard(covariates="mean").fit(EPISODES, d, id="id", cluster="g")
    pd.testing.assert_frame_equal(d, before)


def test_person_periods_refitted_as_a_plain_regression():
    d = heart()
    hazard = DiscreteHazard(link="cloglog", nonproportional=("age",)).fit(EPISODES, d, id="id")
    assert hazard.terms == (
        "age", "surgery", "transplant", "age:t", "age:t2", "age:t3", "t", "t2", "t3", "_cons",
    )  # fmt: skip
    rows = hazard.person_periods()
    assert len(rows) == hazard.n_obs
    plain = BinaryRegression(link="cloglog").fit(
        "event ~ age + surgery + transplant + I(age * t) + I(age * t2) + I(age * t3) + t + t2 + t3", rows
    )
    np.testing.assert_allclose(plain.beta, hazard.beta, rtol=1e-9)
    np.testing.assert_allclose(plain.covariance, hazard.covariance, rtol=1e-8)
    np.testing.assert_allclose(rows.t, rows.period / 100)
    np.testing.assert_allclose(rows.hazard, plain.fitted, rtol=1e-9)


@pytest.mark.parametrize("link", ["logit", "cloglog", "probit"])
def test_dummies_alone_give_the_life_table(link):
    """Hazard d_k / n_k, its binomial variance, Kaplan-Meier's survival with Greenwood's errors."""
    found = DiscreteHazard(link=link, baseline="dummies", period=100, information="expected").fit(
        "Surv(time, event) ~ 1", read("lung").query("time <= 800")
    )
    rows = found.person_periods()
    table = rows.groupby("period").event.agg(["sum", "size"])
    h, n = table["sum"] / table["size"], table["size"]
    got = found.predict()
    np.testing.assert_allclose(got.hazard, h, rtol=1e-9)
    np.testing.assert_allclose(got.std_error, np.sqrt(h * (1 - h) / n), rtol=1e-8)
    survival = np.cumprod(1 - h)
    np.testing.assert_allclose(got.survival, survival, rtol=1e-9)
    np.testing.assert_allclose(got.survival_std_error, survival * np.sqrt(np.cumsum(h / (1 - h) / n)), rtol=1e-8)


# Grouped data and Cox


def grouped_loglik(theta, entry, period, event, x, n_periods):
    """Prentice and Gloeckler's likelihood: interval survival exp(-exp(gamma_k + x b)), subject by subject."""
    gamma, beta = theta[:n_periods], theta[n_periods:]
    total = 0.0
    for e, k, d, row in zip(entry, period, event, x, strict=True):
        hazard = np.exp(gamma[e - 1 : k] + row @ beta)
        total -= hazard[:-1].sum()
        total += np.log(-np.expm1(-hazard[-1])) if d else -hazard[-1]
    return total


def test_cloglog_with_dummies_is_the_grouped_data_model_of_prentice_and_gloeckler():
    d = read("veteran").assign(time=lambda d: np.minimum(d.time, 240), status=lambda d: d.status * (d.time < 240))
    found = DiscreteHazard(link="cloglog", baseline="dummies", period=60).fit("Surv(time, status) ~ karno + trt", d)
    assert found.baseline.levels == (1, 2, 3, 4)
    period = np.ceil(d.time / 60).astype(int)
    x = (d[["karno", "trt"]] / [50, 1]).to_numpy(float)
    arguments = (np.ones(len(d), dtype=int), period, d.status.to_numpy(), x, 4)
    best = scipy.optimize.minimize(lambda t: -grouped_loglik(t, *arguments), np.zeros(6), method="BFGS", tol=1e-9)
    assert found.loglik == pytest.approx(-best.fun, rel=1e-10)
    # BFGS with numerical gradients ends within 1e-5 of the maximum.
    np.testing.assert_allclose(found.beta[:2] * [50, 1], best.x[4:], rtol=1e-4)
    gamma = np.append(0, found.beta[2:5]) + found.coef["_cons"]
    np.testing.assert_allclose(gamma, best.x[:4], rtol=1e-4)


def one_event_a_period(beta, time, event, x):
    """The grouped-data likelihood when no period has two events, each period's hazard maximized out.

    With theta = exp(x b) and S its sum over the risk set of event i, the hazard is
    -log(1 - theta_i / S) / theta_i (Kalbfleisch and Prentice's baseline), and what is left is
    log(theta_i / S) + (S - theta_i) / theta_i log(1 - theta_i / S): Cox's partial likelihood and
    a term that goes to a constant as the risk set grows.
    """
    theta = np.exp(x @ beta)
    total = 0.0
    for i in np.flatnonzero(event):
        whole = theta[time >= time[i]].sum()
        total += np.log(theta[i] / whole) + (whole - theta[i]) / theta[i] * np.log1p(-theta[i] / whole)
    return total


def test_cloglog_converges_as_the_period_shrinks():
    d = read("veteran")
    d["time"] = d.time + np.arange(len(d)) / 200
    d = d.assign(time=np.minimum(d.time, 200), status=d.status * (d.time < 200))
    scale = np.array([1.0, 50.0, 10.0])
    x = (d[["trt", "karno", "prior"]] / scale).to_numpy(float)
    arguments = (d.time.to_numpy(), d.status.to_numpy() == 1, x)
    limit = scipy.optimize.minimize(lambda b: -one_event_a_period(b, *arguments), np.zeros(3), method="BFGS", tol=1e-9)
    formula = "Surv(time, status) ~ trt + karno + prior"
    cox = CoxPH(ties="breslow").fit(formula, d)
    distance = []
    for period in (40.0, 10.0, 2.5, 0.5, 0.005):
        found = DiscreteHazard(link="cloglog", baseline="dummies", period=period).fit(formula, d)
        distance.append(np.abs((found.beta[:3] - limit.x / scale) / cox.std_error).max())
    assert distance[0] > 0.3
    assert (np.diff(distance) < 0).all()
    assert distance[-1] < 1e-5
    # The limit is near Cox's estimate, and ever nearer as there are more at risk (the next test).
    np.testing.assert_allclose(found.beta[:3], cox.beta, atol=0.06 * cox.std_error.max())
    np.testing.assert_allclose(found.std_error.iloc[:3], cox.std_error, rtol=0.01)


def test_cloglog_approaches_cox_as_risk_sets_grow():
    d = read("ovarian")
    gap = []
    for copies in (1, 3, 9):
        many = d.loc[d.index.repeat(copies)].reset_index(drop=True)
        # Untied: every copy has a time of its own, the rank of its own.
        many["futime"] = (many.futime + np.tile(np.arange(copies), len(d)) / 10).rank(method="first")
        formula = "Surv(futime, fustat) ~ age + rx"
        cox = CoxPH(ties="breslow").fit(formula, many)
        found = DiscreteHazard(link="cloglog", baseline="dummies", period=1).fit(formula, many)
        assert len(found.baseline.levels) == found.n_event
        gap.append(np.abs(found.beta[:2] / cox.beta - 1).max())
    # The gap falls like one over the number at risk.
    assert gap[0] > 0.02
    assert gap[1] < gap[0] / 2.5
    assert gap[2] < gap[1] / 2.5


def test_cloglog_by_event_day_approximates_cox():
    d = read("heart")
    formula = "Surv(start, stop, event) ~ age + surgery + transplant"
    cox = CoxPH(ties="efron").fit(formula, d, id="id", cluster="id")
    found = DiscreteHazard(link="cloglog", baseline="dummies", period="day", covariates="end").fit(
        formula, d, id="id", cluster="id"
    )
    np.testing.assert_allclose(found.beta[:3], cox.beta, atol=0.03)
    np.testing.assert_allclose(found.std_error.iloc[:3], cox.std_error, rtol=0.02)


def test_offset_for_part_periods_is_exact_for_a_constant_hazard():
    """With cloglog, constant hazard and log time at risk the last part periods count for what they are."""
    d = pd.DataFrame({"time": [4.0, 9.0, 13.0, 25.0, 30.0, 30.0], "event": [0, 1, 0, 1, 0, 0]})
    found = DiscreteHazard(link="cloglog", baseline="constant", period=10, partial="offset").fit(
        "Surv(time, event) ~ 1", d
    )

    def loglik(log_rate):
        rate = np.exp(log_rate)
        # Without event: exp(-rate t); with: survival to the period's start, then an event within it.
        alive = 4 + 13 + 30 + 30 + 0 + 20
        return -(-rate * alive + 2 * np.log(-np.expm1(-rate * 10)))

    best = scipy.optimize.minimize_scalar(loglik, bounds=(-8, 0), method="bounded", options={"xatol": 1e-12})
    assert found.coef["_cons"] - np.log(10) == pytest.approx(best.x, abs=1e-7)
    assert found.loglik == pytest.approx(-best.fun, rel=1e-12)


# Firth, results, refusals


def test_firth_gives_estimates_where_covariates_separate():
    d = read("ovarian").assign(z=lambda d: ((d.futime > 600) & (d.fustat == 0)).astype(int))
    model = DiscreteHazard(baseline="linear")
    with pytest.raises(FitError, match=r"separation.*: z predicts") as caught:
        model.fit("Surv(futime, fustat) ~ age + z", d)
    assert caught.value.status == "separation"
    found = DiscreteHazard(baseline="linear", firth=True).fit("Surv(futime, fustat) ~ age + z", d)
    assert found.coef["z"] < -1
    assert found.estimator == "discrete_logit_firth"
    assert found.profile("z").conf_high.iloc[0] < 0
    assert "Firth's penalty" in str(found)


def test_result():
    d = heart()
    found = DiscreteHazard(link="cloglog", baseline="dummies", period=200).fit(EPISODES, d, id="id", cluster="g")
    assert isinstance(found, DiscreteFit)
    glance = found.glance().iloc[0]
    assert glance.estimator == "discrete_cloglog"
    assert glance.duration == f"dummies for {len(found.baseline.levels)} periods with events"
    assert (glance.covariates, glance.partial, glance.correction, glance.n_cluster) == ("start", "keep", "stata", 9)
    assert glance.events_per_variable == found.n_event / (len(found.terms) - 1)
    rows = found.n_obs + found.n_empty
    assert found.n_empty > 0
    text = str(found)
    assert f"{len(d)} episodes gave {rows} person-periods" in text
    assert f"periods without events (left out, {found.n_empty} rows): " in text
    assert found.n_subject == d.id.nunique()
    again = pickle.loads(pickle.dumps(found))
    pd.testing.assert_frame_equal(again.tidy(), found.tidy())
    assert "Discrete-time hazard" in found._repr_html_()
    with pytest.raises(ValueError, match="read-only"):
        found.beta[0] = 1


def test_prediction_over_empty_periods_scenarios_and_paths():
    d = heart()
    found = DiscreteHazard(link="cloglog", baseline="dummies", period=100).fit(EPISODES, d, id="id")
    empty = [k for k in found.baseline.empty_periods if k < max(found.baseline.levels)]
    assert empty
    at = {"age": 0.0, "surgery": 0, "transplant": [0, 1]}
    table = found.predict(at)
    assert table.scenario.unique().tolist() == [0, 1]
    one = table[table.scenario == 1].set_index("period")
    assert (one.hazard[empty] == 0).all()
    assert one.std_error[empty].isna().all()
    np.testing.assert_allclose(one.survival, np.cumprod(1 - one.hazard), rtol=1e-12)
    for k in empty:
        assert one.survival_high[k] == one.survival_high[k - 1]
    assert (one.survival_low <= one.survival).all()
    assert (one.survival <= one.survival_high).all()
    # A transplant in period 3: the hazards of both scenarios, one after the other.
    path = found.predict({"age": 0.0, "surgery": 0, "transplant": [0, 0, 1, 1]}, 4, path=True)
    zero = table[table.scenario == 0].set_index("period")
    np.testing.assert_allclose(path.hazard, [*zero.hazard[[1, 2]], *one.hazard[[3, 4]]], rtol=1e-12)
    np.testing.assert_allclose(path.survival, np.cumprod(1 - path.hazard), rtol=1e-12)
    # From period 3 on, given survival until then.
    later = found.predict({"age": 0.0, "surgery": 0, "transplant": 1}, [3, 4])
    np.testing.assert_allclose(later.survival, np.cumprod(1 - one.hazard[[3, 4]]), rtol=1e-12)


def test_prediction_refuses():
    found = DiscreteHazard().fit(EPISODES, heart(), id="id")
    at = {"age": 0, "surgery": 0, "transplant": 0}
    last = found.baseline.last
    for arguments, message in (
        (({"age": 1},), "a value for surgery, transplant"),
        ((at, last + 1), f"periods: expected at most {last}.*extrapolate=True"),
        ((at, [1, 3]), "consecutive"),
        ((at, 0), "periods"),
        ((at, [0, 1]), "periods"),
    ):
        with pytest.raises(DataError, match=message):
            found.predict(*arguments)
    with pytest.raises(DataError, match="at: expected 3 rows, one a period, got 2"):
        found.predict(at | {"age": [1, 2]}, 3, path=True)
    assert len(found.predict(at, last + 5, extrapolate=True)) == last + 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"link": "cloglogg"}, "Did you mean 'cloglog'"),
        ({"baseline": "cubik"}, "Did you mean 'cubic'"),
        ({"period": "monht"}, "Did you mean 'month'"),
        ({"covariates": "ende"}, "Did you mean 'end'"),
        ({"correction": "Stata"}, "Did you mean 'stata'"),
        ({"df": 3}, "df, knots: expected none"),
        ({"partial": "offset"}, "partial: expected 'keep' or 'drop'"),
        ({"nonproportional": "age"}, "nonproportional: expected a tuple"),
        ({"nonproportional": ("age",), "baseline": "constant"}, "nonproportional: expected none"),
        ({"link": "cloglog", "firth": True}, "firth: expected link 'logit'"),
    ],
)
def test_refuses_options(options, message):
    with pytest.raises(DataError, match=message):
        DiscreteHazard(**options)


@pytest.mark.parametrize(
    ("formula", "options", "arguments", "message"),
    [
        ("Surv(start, stop, event) ~ agee", {}, {"id": "id"}, "Did you mean 'age'"),
        ("Surv(start, stop, event) ~ age", {}, {"id": "surgery"}, "episodes that do not overlap"),
        ("Surv(start, stop, event) ~ age", {"nonproportional": ("agee",)}, {"id": "id"}, "Did you mean 'age'"),
        ("Surv(start, stop, event) ~ t", {}, {"id": "id"}, "terms other than those of the model's own: t"),
        ("Surv(start, stop, event) ~ age", {}, {"id": "id", "cluster": "surgery1"}, "Did you mean 'surgery'"),
        (
            "Surv(start, stop, event) ~ age",
            {},
            {"id": "id", "cluster": "row"},
            "one cluster for a subject within a period",
        ),
        ("Surv(early, stop, event) ~ age", {}, {"id": "id"}, "analysis time of 0 or more"),
    ],
)
def test_refuses_data(formula, options, arguments, message):
    d = heart().assign(t=1.0, early=lambda d: np.where(d.start == 0, -5, d.start), row=lambda d: np.arange(len(d)))
    with pytest.raises(DataError, match=message):
        DiscreteHazard(**options).fit(formula, d, **arguments)


def test_models_without_estimates():
    d = heart()
    for change, options, status in (
        ({"event": 0}, {}, "no_events"),
        ({"age": 1.0}, {}, "no_variation"),
        ({"year": d.age * 2 + d.surgery}, {}, "collinear"),
        ({}, {"baseline": "cubic", "period": 900}, "collinear"),
        ({"stop": d.start + 0.5, "event": 0}, {"partial": "drop", "period": "year"}, "no_observations"),
    ):
        with pytest.raises(FitError) as caught:
            DiscreteHazard(**options).fit(
                "Surv(start, stop, event) ~ age + surgery + year", d.assign(**change), id="id"
            )
        assert caught.value.status == status
    weighted = heart().assign(w=lambda d: 1.0 - d.groupby("id").event.transform("max"))
    with pytest.raises(FitError, match="no events"):
        DiscreteHazard().fit(EPISODES, weighted, id="id", weights="w")


def test_episodes_within_a_period_need_their_subject():
    """Without id the episodes of one subject would each give a row for the period they share."""
    d = pd.DataFrame({"start": [0, 3, 0, 0], "stop": [3, 9, 8, 5], "event": [0, 1, 0, 1], "x": [0.0, 0, 1, 1]})
    with pytest.raises(DataError, match=r"id: expected the subject of each row.* 1 rows that begin within a period"):
        DiscreteHazard(period=2, baseline="constant").fit("Surv(start, stop, event) ~ x", d)
    by_name = DiscreteHazard(period=2, baseline="constant").fit("Surv(start, stop, event) ~ x", d, id=[1, 1, 2, 3])
    assert by_name.n_obs == 5 + 4 + 3
    at_edges = DiscreteHazard(period=3, baseline="constant").fit("Surv(start, stop, event) ~ x", d)
    assert at_edges.n_obs == 1 + 2 + 3 + 2
    overlap = d.assign(start=[0, 2, 0, 0], name=["b", "b", "a", "c"])
    with pytest.raises(DataError, match="subject b, row 1"):
        DiscreteHazard(period=2).fit("Surv(start, stop, event) ~ x", overlap, id="name")
