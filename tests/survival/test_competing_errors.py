"""Errors of cumulative incidences: against R, against refits with other weights, against numerical derivatives."""

from __future__ import annotations

import pickle
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from coalition_exit.errors import DataError
from coalition_exit.survival.competing import incidence_errors
from coalition_exit.survival.competing.competing import cause_specific
from coalition_exit.survival.competing.finegray import FineGray
from coalition_exit.survival.competing.incidence import cumulative_incidence, gray_test
from coalition_exit.survival.competing.incidence_errors import incidence_from_hazards
from coalition_exit.survival.cox.cox import CoxPH

REFERENCE = Path(__file__).parents[1] / "reference"
NEW = pd.DataFrame({"x1": [0.3, 0.9], "x2": [0, 1]}, index=[1, 2])
TIMES = [1, 3, 8, 15]


@cache
def reference(model):
    table = pd.read_csv(REFERENCE / "competing_more_values.csv", keep_default_na=False).astype({"value": float})
    return table[table.model == model]


def data(name):
    d = pd.read_csv(REFERENCE / f"competing_{name}.csv")
    return d.assign(g=d.id % (11 if name == "sim" else 13))


AJ = {
    "aj_cluster": ("Surv(tied, event) ~ 1", "sim", {"cluster": "g"}),
    "aj_cluster_weights": ("Surv(tied, event) ~ 1", "sim", {"cluster": "g", "weights": "weight"}),
    "aj_cluster_groups": ("Surv(time, event) ~ female", "mgus2", {"cluster": "g"}),
    "aj_cluster_entry": ("Surv(entry, time, event) ~ 1", "mgus2", {"cluster": "g", "id": "id"}),
    "aj_cluster_rows": ("Surv(start, stop, event) ~ female", "rows", {"cluster": "g", "id": "id"}),
    "aj_edge": ("Surv(tied, event) ~ group", "sim", {}),
}


@pytest.mark.parametrize("model", AJ)
def test_aalen_johansen_by_cluster_equals_survfit(model):
    """R's influence matrix summed by cluster: its own ``std.err`` ignores ``cluster`` beside ``id``."""
    formula, name, options = AJ[model]
    d = data(name)
    if model == "aj_edge":
        d = d[~((d.group == "a") & (d.cause == 2))]
    found = cumulative_incidence(formula, d, cause="cause", **options)
    table, free = found.table, found.event_free
    assert len(reference(model))
    for row in reference(model).itertuples():
        cause, time = row.other.split("@")
        part = free if cause == "free" else table[table.cause.astype(str) == cause]
        part = part[part.group.astype(str) == row.term]
        last = part[part.time <= float(time)].iloc[-1]
        assert last[row.quantity] == pytest.approx(row.value, rel=1e-9, abs=1e-13)
    if "cluster" in options:
        assert f"over {d.g.nunique()} clusters, no correction" in str(found)


def test_a_group_without_exits_for_a_cause():
    d = data("sim")
    d = d[~((d.group == "a") & (d.cause == 2))]
    part = cumulative_incidence("Surv(tied, event) ~ group", d, cause="cause").table
    part = part[(part.group == "a") & (part.cause == 2)]
    assert (part.estimate == 0).all()
    assert (part.std_error == 0).all()
    assert part.conf_low.isna().all()
    assert np.isfinite(gray_test("Surv(tied, event) ~ group", d, cause="cause").statistic).all()


@pytest.mark.parametrize("ties", ["breslow", "efron"])
@pytest.mark.parametrize("robust", [False, True])
def test_delta_errors_of_one_cause_equal_survfit(ties, robust):
    d = data("sim").assign(only=lambda d: (d.cause == 1).astype(int))
    fits = cause_specific(
        "Surv(tied, only) ~ x1 + x2", d, cause="only", model=CoxPH(ties=ties, correction="none"),
        cluster="g" if robust else None,
    )  # fmt: skip
    found = fits.predict(NEW, TIMES, variance="delta").set_index(["scenario", "time"])
    for row in reference(f"one_cause_{ties}_{str(robust).upper()}").itertuples():
        ours = found.loc[(int(row.term), float(row.other))]
        assert ours[row.quantity] == pytest.approx(row.value, rel=1e-9)
        assert ours.event_free_std_error == pytest.approx(ours.std_error, rel=1e-9)


@pytest.mark.parametrize("ties", ["breslow", "efron"])
@pytest.mark.parametrize("robust", [False, True])
def test_delta_errors_of_fine_gray_equal_survfit_on_finegray_data(ties, robust):
    model = FineGray(1, ties=ties, variance="robust", tied_censoring="survival", correction="none")
    fit = model.fit("Surv(tied, event) ~ x1 + x2", data("sim"), cause="cause", cluster="g" if robust else None)
    found = fit.predict(NEW, TIMES, variance="delta").set_index(["scenario", "time"])
    for row in reference(f"fg_{ties}_{str(robust).upper()}").itertuples():
        assert found.loc[(int(row.term), float(row.other)), row.quantity] == pytest.approx(row.value, rel=1e-8)


def test_jackknife_beside_riskregression(monkeypatch):
    """Its influence function takes S(s-) to fall by h where the product falls by h / (1 - h); with that, equal."""
    fits = cause_specific("Surv(time, event) ~ x1 + x2", data("sim"), cause="cause")
    times = [0.1, 0.5, 1.0, 2.0]

    def compare(tolerance):
        found = fits.predict(NEW, times, "limit").set_index(["scenario", "cause", "time"])
        for row in reference("csc").itertuples():
            cause, k = (int(part) for part in row.other.split("@"))
            ours = found.loc[(int(row.term), cause, times[k - 1]), row.quantity]
            assert ours == pytest.approx(row.value, rel=1e-12 if row.quantity == "estimate" else tolerance)

    compare(1e-2)
    exact = incidence_errors._derivatives

    def theirs(hazards, product):
        inner, outer, incidence = exact(hazards, product)
        return inner + (incidence * (1 - outer)[:, None])[:, :, None], np.ones(len(outer)), incidence

    monkeypatch.setattr(incidence_errors, "_derivatives", theirs)
    compare(1e-10)


def influences(predict, size, step=1e-4):
    """Change of predictions by the weight of each row, by refitting."""
    changes = []
    for i in range(size):
        values = []
        for h in (step, -step):
            weights = np.ones(size)
            weights[i] += h
            values.append(predict(weights))
        changes.append((values[0] - values[1]) / (2 * step))
    return np.array(changes)


@pytest.mark.parametrize(
    ("ties", "product"), [("breslow", "exponential"), ("efron", "limit"), ("efron", "exponential")]
)
def test_jackknife_of_cause_specific_incidences_is_that_of_refits(ties, product):
    d = data("sim").head(40)
    formula, at = "Surv(tied, event) ~ x1 + x3", {"x1": 0.3, "x3": 0.5}

    def predict(weights=None, variance="none", **options):
        fits = cause_specific(formula, d, cause="cause", model=CoxPH(ties=ties), weights=weights, **options)
        table = fits.predict(at, TIMES, product, variance=variance)
        if variance == "none":
            return np.append(table.estimate, table.event_free[:4])
        return np.append(table.std_error, table.event_free_std_error[:4])

    found = influences(predict, len(d))
    np.testing.assert_allclose(predict(variance="infinitesimal"), np.sqrt((found**2).sum(axis=0)), rtol=1e-7)
    by_group = pd.DataFrame(found).groupby(d.g.to_numpy()).sum()
    wanted = np.sqrt((by_group**2).sum(axis=0) * len(by_group) / (len(by_group) - 1))
    np.testing.assert_allclose(predict(variance="infinitesimal", cluster="g"), wanted, rtol=1e-7)


@pytest.mark.parametrize("options", [{}, {"censoring": "center"}, {"cluster": "g"}])
@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_jackknife_of_fine_gray_incidences_is_that_of_refits(ties, options):
    """Case weights count in the censoring distribution, so its estimation takes part."""
    d = data("sim").head(40)
    model = FineGray(1, ties=ties, tied_censoring="survival", correction="none")
    formula, at = "Surv(tied, event) ~ x1 + x3", {"x1": 0.3, "x3": 0.5}

    def predict(weights):
        fit = model.fit(formula, d, cause="cause", weights=weights, **options)
        return fit.predict(at, TIMES, variance="none").estimate.to_numpy()

    found = influences(predict, len(d))
    if "cluster" in options:
        found = pd.DataFrame(found).groupby(d.g.to_numpy()).sum().to_numpy()
    ours = model.fit(formula, d, cause="cause", **options).predict(at, TIMES).std_error
    np.testing.assert_allclose(ours, np.sqrt((found**2).sum(axis=0)), rtol=1e-7)


def test_without_covariates_the_jackknife_is_aalen_johansens():
    """A covariate of effect 0 at its mean leaves the Aalen-Johansen estimate and its error."""
    d = data("sim")
    doubled = pd.concat([d.assign(z=-1.0), d.assign(z=1.0, id=d.id + 1000)]).reset_index(drop=True)
    for by in ("id", "g"):
        fits = cause_specific(
            "Surv(tied, event) ~ z", doubled, cause="cause", model=CoxPH(correction="none"), cluster=by
        )
        ours = fits.predict({"z": 0.0}, TIMES, "limit").set_index(["cause", "time"])
        curve = cumulative_incidence("Surv(tied, event) ~ 1", doubled, cause="cause", cluster=by).at(TIMES)
        wanted = curve.set_index(["cause", "time"])
        for name in ("estimate", "std_error", "conf_low", "conf_high"):
            np.testing.assert_allclose(ours[name], wanted[name].loc[ours.index], rtol=1e-9)


@pytest.mark.parametrize("ties", ["breslow", "efron"])
@pytest.mark.parametrize("product", ["exponential", "limit"])
def test_delta_errors_of_two_causes_by_numerical_derivatives(ties, product):
    """Increments of each step independent with variance haz^2 / weight, coefficients with theirs."""
    d = data("sim")
    fits = cause_specific("Surv(tied, event) ~ x1 + x2", d, cause="cause", model=CoxPH(ties=ties))
    x = np.array([0.3, 1.0])
    both = [fit.state for fit in fits.fits.values()]
    grid = np.unique(np.concatenate([s.risk_sets.times for s in both]))
    last = int(np.searchsorted(grid, 8.0, side="right")) - 1
    sizes = [len(s.evaluation.hazard) for s in both]
    increments = [s.evaluation.hazard * np.exp(-s.evaluation.shift) for s in both]
    means = [s.evaluation.mean + s.center for s in both]

    def incidence(theta):
        """The incidences at time 8 when the steps' increments move freely and with the coefficients."""
        hazards, begin = np.zeros((1, len(grid), 2)), 0
        for j, s in enumerate(both):
            own, beta = theta[begin : begin + sizes[j]], theta[begin + sizes[j] : begin + sizes[j] + 2]
            begin += sizes[j] + 2
            # To first order dL(s; b) = dL(s) (1 - mean(s)'(b - b0)).
            moved = own * (1 - (means[j] - s.center) @ (beta - s.beta))
            at = np.searchsorted(grid, s.risk_sets.times)[s.likelihood.steps.at]
            hazards[0, :, j] = np.bincount(at, moved, len(grid)) * np.exp((x - s.center) @ beta)
        found, free = incidence_from_hazards(hazards, product)
        return np.append(found[0, last], free[0, last])

    theta = np.concatenate([np.append(h, s.beta) for h, s in zip(increments, both, strict=True)])
    variance = np.zeros((len(theta), len(theta)))
    begin = 0
    for h, s, fit in zip(increments, both, fits.fits.values(), strict=True):
        end = begin + len(h)
        variance[range(begin, end), range(begin, end)] = h**2 / s.likelihood.steps.weight
        variance[end : end + 2, end : end + 2] = fit.vcov_model
        begin = end + 2
    step = 1e-6
    jacobian = np.array(
        [(incidence(theta + step * e) - incidence(theta - step * e)) / (2 * step) for e in np.eye(len(theta))]
    )
    wanted = np.sqrt(np.diag(jacobian.T @ variance @ jacobian))
    ours = fits.predict({"x1": x[0], "x2": x[1]}, [8.0], product, variance="delta")
    np.testing.assert_allclose(np.append(ours.std_error, ours.event_free_std_error.iloc[0]), wanted, rtol=1e-6)


def test_intervals_and_edges():
    fits = cause_specific("Surv(tied, event) ~ x1 + x2", data("sim"), cause="cause")
    table = fits.predict(NEW, [0.0, 3.0, 1e6])
    early, late = table[table.time == 0], table[table.time > 100]
    assert (early.std_error == 0).all()
    assert early.conf_low.isna().all()
    assert (
        late[["estimate", "std_error", "conf_low", "conf_high", "event_free", "event_free_std_error"]].isna().all(None)
    )
    now = table[table.time == 3]
    factor = np.exp(1.959963984540054 * now.std_error / now.estimate)
    np.testing.assert_allclose(now.conf_low, now.estimate / factor)
    np.testing.assert_allclose(now.conf_high, now.estimate * factor)
    assert set(table.variance) == {"infinitesimal"}
    plain = fits.predict(NEW, [3.0], conf_type="plain", level=0.9)
    np.testing.assert_allclose(plain.conf_high - plain.estimate, 1.6448536269514722 * plain.std_error)
    none = fits.predict(NEW, [3.0], variance="none")
    assert none.std_error.isna().all()
    np.testing.assert_array_equal(none.estimate, plain.estimate)


def test_clusters_carry_their_correction():
    d = data("sim")
    for correction, factor in (("none", 1.0), ("stata", 11 / 10)):
        fits = cause_specific(
            "Surv(tied, event) ~ x1", d, cause="cause", cluster="g", model=CoxPH(correction=correction)
        )
        gray = FineGray(1, correction=correction).fit("Surv(tied, event) ~ x1", d, cause="cause", cluster="g")
        found = [fit.predict({"x1": 0.5}, [5.0]).std_error.iloc[0] ** 2 / factor for fit in (fits, gray)]
        if correction == "none":
            plain = found
    np.testing.assert_allclose(found, plain, rtol=1e-10)


def test_refusals():
    d = data("sim")
    fits = cause_specific("Surv(tied, event) ~ x1", d, cause="cause")
    gray = FineGray(1).fit("Surv(tied, event) ~ x1", d, cause="cause")
    for fit in (fits, gray):
        with pytest.raises(DataError, match="Did you mean 'delta'"):
            fit.predict({"x1": 0.5}, variance="delte")
        with pytest.raises(DataError, match="conf_type"):
            fit.predict({"x1": 0.5}, conf_type="logit")
        with pytest.raises(DataError, match="level"):
            fit.predict({"x1": 0.5}, level=95)
    firth = cause_specific("Surv(tied, event) ~ x1", d, cause="cause", model=CoxPH(penalty="firth"))
    with pytest.raises(DataError, match="a fit without penalty for errors of the incidence"):
        firth.predict({"x1": 0.5})
    assert np.isfinite(firth.predict({"x1": 0.5}, variance="none").estimate).all()


def test_results_print_pickle_and_cannot_be_changed():
    d = data("sim")
    d.loc[3, "x1"] = np.nan
    curve = cumulative_incidence("Surv(time, event) ~ group", d, cause="cause")
    fits = cause_specific("Surv(time, event) ~ x1 + x2", d, cause="cause", cluster="g", missing="drop")
    gray = FineGray(1).fit("Surv(time, event) ~ x1 + x2", d, cause="cause", cluster="g", missing="drop")
    for result, parts in (
        (curve, ("150 rows, 150 subjects", "infinitesimal jackknife", "log", "the end of each curve")),
        (fits, ("Cause-specific Cox models (breslow ties): 149 rows", "events by cause: 1 ", "11 clusters of g (stata)",
                "1 rows dropped for missing values (x1 1)", "exits for other causes count as censored")),
        (fits.equality_test(), ("Wald chi2(2)", "none with clusters or weights")),
        (gray, ("Fine-Gray model for 1 (breslow ties", "11 clusters (stata)", "1 rows dropped for missing values (x1 1)",
                "subdistribution hazard ratio", "cmprsk")),
    ):  # fmt: skip
        for part in parts:
            assert part in str(result)
        assert repr(result) == str(result)
        assert "<" in result._repr_html_()
        assert str(pickle.loads(pickle.dumps(result))) == str(result)
    table = curve.table
    table.loc[0, "estimate"] = 9.0
    assert curve.table.loc[0, "estimate"] < 1
    fits.fits.clear()
    assert len(fits.fits) == 2
    columns = gray.__maketables_coef_table__.columns
    assert "shr" in columns
    assert "hr" not in columns
    assert gray.__maketables_vcov_info__["vcov_type"] == "fine_gray, cluster (stata)"


def test_times_that_differ_by_rounding_are_one_time():
    d = data("sim")
    tenth = d.assign(t=np.where(d.id % 2 == 0, d.tied * 0.1, d.tied / 10))
    assert (tenth.t != d.tied / 10).any()
    exact = d.assign(t=d.tied / 10)
    formula = "Surv(t, event) ~ x1 + x2"
    for fit in (
        lambda d: cause_specific(formula, d, cause="cause").tidy().estimate,
        lambda d: FineGray(1).fit(formula, d, cause="cause").tidy().estimate,
        lambda d: cumulative_incidence("Surv(t, event) ~ 1", d, cause="cause").table.estimate,
    ):
        np.testing.assert_allclose(fit(tenth), fit(exact), rtol=1e-10)
