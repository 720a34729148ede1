"""Every number of the fast path against the estimator itself on the full panel."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from coalition_exit.multiverse.choices.space import Multiverse, load_multiverse
from coalition_exit.multiverse.fits import backend
from coalition_exit.multiverse.fits import engine as engine_module
from coalition_exit.multiverse.fits.engine import Engine
from coalition_exit.record.loading import Record
from coalition_exit.runner.estimation import run_model
from coalition_exit.runner.sources import RecordSource
from coalition_exit.survival.quantities.predict import survival_contrast
from simulated_multiverse import engine as simulated
from simulated_multiverse import simulate
from small_multiverse import SMALL, changed

TOLERANCE = 1e-9
COUNTS = ["n_obs", "n_subject", "n_event", "n_cluster"]


@pytest.fixture(scope="module")
def source(record: Record) -> RecordSource:
    return RecordSource(record)


@pytest.fixture(scope="module")
def multiverse() -> Multiverse:
    return load_multiverse(SMALL.encode())


@pytest.fixture(scope="module")
def engine(multiverse: Multiverse, source: RecordSource) -> Engine:
    return Engine(multiverse, source)


def some(multiverse: Multiverse, count: int) -> np.ndarray:
    numbers = np.fromiter(multiverse.space, dtype=np.int64)
    return np.sort(np.random.default_rng(3).choice(numbers, count, replace=False))


def compare(engine: Engine, rows: pd.DataFrame, number: int) -> None:
    multiverse = engine.multiverse
    spec = engine.resolver.resolve(multiverse.space.digits(np.array([number]))[0].tolist())
    result = run_model(engine.resolver.model(spec), engine.source)
    fit = result.fit
    assert set(rows["status"]) == {result.status} == {"ok"}
    for name in COUNTS:
        expected = result.counts[name]
        assert rows[name].isna().all() if expected is None else (rows[name] == expected).all()
    tidy = fit.tidy().set_index("term")
    tests = fit.proportional_hazards_test(multiverse.choices.transform).set_index(["method", "term"])
    assert rows["loglik"].iloc[0] == pytest.approx(fit.loglik, rel=TOLERANCE)
    assert rows["loglik_null"].iloc[0] == pytest.approx(fit.loglik_null, rel=TOLERANCE)
    for _, row in rows.iterrows():
        own = tidy.loc[row["variable"]]
        for name in ("std_error", "p_value"):
            assert row[name] == pytest.approx(own[name], rel=TOLERANCE)
        # A coefficient near zero is compared in its standard errors.
        for name in ("estimate", "statistic", "conf_low", "conf_high"):
            assert row[name] == pytest.approx(own[name], rel=TOLERANCE, abs=TOLERANCE * own["std_error"])
        assert row["hazard_ratio"] == pytest.approx(np.exp(own["estimate"]), rel=TOLERANCE)
        assert row["hr_low"] == pytest.approx(np.exp(own["conf_low"]), rel=TOLERANCE)
        for column, method in (("ph_score", "score"), ("ph_gt", "grambsch_therneau")):
            for suffix, term in (("", row["variable"]), ("_global", "GLOBAL")):
                test = tests.loc[method, term]
                value = row[f"{column}_statistic"] if not suffix else row[f"{column}_global"]
                assert value == pytest.approx(test["statistic"], rel=TOLERANCE, abs=TOLERANCE)
                assert row[f"{column}{suffix}_p"] == pytest.approx(test["p_value"], rel=TOLERANCE, abs=TOLERANCE)
    values = fit.state.design.x.mean(axis=0)
    scenarios = pd.DataFrame([values, values], columns=list(fit.terms), index=["from", "to"])
    scenarios["foverlap"] = [0.0, 1.0]
    gap = survival_contrast(fit.scenarios(scenarios), "to", "from", [365.0]).table.iloc[0]
    for name, own in (("difference", "estimate"), ("std_error", "std_error"), ("low", "conf_low")):
        assert rows[f"survival_{name}"].iloc[0] == pytest.approx(gap[own], rel=TOLERANCE, abs=TOLERANCE)


def test_a_random_sample_of_specs_equals_the_estimator_on_the_full_panel(engine: Engine) -> None:
    numbers = some(engine.multiverse, 24)
    table = engine.run_numbers(numbers).to_pandas()
    assert list(table["spec"].unique()) == list(numbers)
    for number in numbers:
        compare(engine, table[table["spec"] == number], int(number))


def test_the_numpy_fallback_equals_the_estimator_too(
    multiverse: Multiverse, source: RecordSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "name", lambda: "numpy")
    engine = Engine(multiverse, source)
    numbers = some(multiverse, 8)
    table = engine.run_numbers(numbers).to_pandas()
    for number in numbers:
        compare(engine, table[table["spec"] == number], int(number))


@pytest.mark.parametrize("transform", ["rank", "log", "identity"])
def test_every_transformation_of_time(source: RecordSource, transform: str) -> None:
    text = changed(("  survival:", f"  transform: {transform}\n  survival:"))
    engine = Engine(load_multiverse(text), source)
    numbers = some(engine.multiverse, 3)
    table = engine.run_numbers(numbers).to_pandas()
    for number in numbers:
        compare(engine, table[table["spec"] == number], int(number))


def test_results_do_not_depend_on_the_neighbours(engine: Engine) -> None:
    numbers = some(engine.multiverse, 12)
    together = engine.run_numbers(numbers)
    again = Engine(engine.multiverse, engine.source)
    alone = [again.run_numbers(numbers[k : k + 1]).to_pandas() for k in range(len(numbers))]
    first = together.to_pandas().astype({"spec": int})
    for column in ("estimate", "std_error", "ph_score_global", "survival_difference"):
        assert np.array_equal(first[column], pd.concat(alone)[column])


def test_missing_values_leave_the_same_rows_out(source: RecordSource) -> None:
    panel = source.frame(["withdraw"])
    holes = panel["idvar"].to_numpy() % 7 == 0

    class Holed(RecordSource):
        def frame(self, variables, coding=None):  # type: ignore[no-untyped-def]
            frame = super().frame(variables, coding)
            return frame.assign(pvict=frame["pvict"].mask(holes)) if "pvict" in frame else frame

    engine = Engine(load_multiverse(SMALL.encode()), Holed(source.record))
    numbers = some(engine.multiverse, 6)
    table = engine.run_numbers(numbers).to_pandas()
    for number in numbers:
        compare(engine, table[table["spec"] == number], int(number))
    assert table["n_obs"].nunique() > 1


@pytest.mark.parametrize(
    ("status", "options"),
    [
        ("no_events", '{sample: ["finalobs == 0"]}'),
        ("no_observations", '{sample: ["year < 1700"]}'),
        ("no_variation", '{sample: ["foverlap == 1"]}'),
        ("collinear", "{add: [contribpc], coding: {contribpc: article_importance}}"),
        ("monotone", '{sample: ["warnum == 106"], covariates: [foverlap, ctrend60, polity2, terraim, regaim]}'),
    ],
)
def test_what_cannot_be_estimated_is_named_as_the_estimator_names_it(
    source: RecordSource, status: str, options: str
) -> None:
    text = changed(('        no_world_wars: {sample: ["warnum not in [106, 139]"]}', f"        odd: {options}"))
    multiverse = load_multiverse(text)
    engine = Engine(multiverse, source)
    wars = [d.name for d in multiverse.space.decisions].index("wars")
    numbers = some(multiverse, 400)
    numbers = numbers[multiverse.space.digits(numbers)[:, wars] == 1][:5]
    table = engine.run_numbers(numbers).to_pandas()
    found = set()
    for number in numbers:
        spec = engine.resolver.resolve(multiverse.space.digits(np.array([number]))[0].tolist())
        result = run_model(engine.resolver.model(spec), source)
        rows = table[table["spec"] == number]
        assert set(rows["status"]) == {result.status}
        assert set(rows["reason"]) == {result.reason}
        assert rows["estimate"].isna().all() == (result.status != "ok")
        for name in COUNTS:
            assert result.counts[name] is None or (rows[name] == result.counts[name]).all()
        found.add(result.status)
    assert status in found


DISCRETE = [
    ("        all:\n", "        all:\n"),
    ("      options:\n        breslow:\n        efron: {ties: efron}",
     "      options:\n        logit: {estimator: logit}\n        cloglog: {estimator: cloglog}\n"
     "        yearly: {estimator: logit, discrete: {period: year, covariates: end}}\n"
     "        spline: {estimator: logit, discrete: {baseline: ns, covariates: mean, period: year}}\n"
     "        probit: {estimator: probit}"),
]  # fmt: skip


def test_discrete_time_hazards_equal_the_estimator(source: RecordSource) -> None:
    multiverse = load_multiverse(changed(*DISCRETE))
    engine = Engine(multiverse, source)
    numbers = some(multiverse, 14)
    table = engine.run_numbers(numbers).to_pandas()
    for number in numbers:
        spec = engine.resolver.resolve(multiverse.space.digits(np.array([number]))[0].tolist())
        result = run_model(engine.resolver.model(spec), source)
        rows = table[table["spec"] == number]
        assert set(rows["status"]) == {result.status}
        assert set(rows["reason"]) == {result.reason}
        for name in COUNTS:
            expected = result.counts[name]
            assert rows[name].isna().all() if expected is None else (rows[name] == expected).all()
        if result.fit is None:
            continue
        tidy = result.fit.tidy().set_index("term")
        assert rows["loglik"].iloc[0] == pytest.approx(result.fit.loglik, rel=TOLERANCE)
        assert rows["loglik_null"].iloc[0] == pytest.approx(result.fit.loglik_null, rel=TOLERANCE)
        for _, row in rows.iterrows():
            own = tidy.loc[row["variable"]]
            assert row["std_error"] == pytest.approx(own["std_error"], rel=TOLERANCE)
            assert row["estimate"] == pytest.approx(own["estimate"], rel=TOLERANCE, abs=TOLERANCE * own["std_error"])
            assert np.isnan(row["hazard_ratio"]) == (spec.setting.estimator != "cloglog")
        if spec.setting.estimator != "probit":
            periods = round(365 / result.fit.length)
            values = pd.DataFrame({n: source_mean(engine, spec, n) for n in spec.variables}, index=["from", "to"])
            values["foverlap"] = [0.0, 1.0]
            survival = result.fit.predict(values, periods=periods)["survival"].to_numpy().reshape(2, -1)[:, -1]
            assert rows["survival_difference"].iloc[0] == pytest.approx(survival[1] - survival[0], rel=1e-8)
            assert rows["survival_std_error"].iloc[0] > 0


def source_mean(engine: Engine, spec, name: str) -> float:  # type: ignore[no-untyped-def]
    frame = engine.source.rows(engine.resolver.model(spec)).frame
    return float(frame[name].mean())


def test_what_is_forgotten_is_made_again_and_not_mistaken(
    engine: Engine, source: RecordSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = some(engine.multiverse, 40)
    expected = engine.run_numbers(numbers)
    for name in ("_MOST_BASES", "_MOST_GROUPS"):
        monkeypatch.setattr(engine_module, name, 1)
    forgetful = Engine(engine.multiverse, source)
    assert forgetful.run_numbers(numbers).equals(expected)


def test_the_scale_of_a_variable_is_its_spread_over_the_time_at_risk(engine: Engine) -> None:
    numbers = some(engine.multiverse, 3)
    table = engine.run_numbers(numbers).to_pandas()
    for (number, variable), rows in table.groupby(["spec", "variable"], observed=True):
        spec = engine.resolver.resolve(engine.multiverse.space.digits_of(int(number)))
        frame = engine.source.rows(engine.resolver.model(spec)).frame
        time, values = (frame["stop"] - frame["start"]).to_numpy(), frame[variable].to_numpy()
        each = np.repeat(values, time.astype(int))
        assert rows["variable_sd"].iloc[0] == pytest.approx(each.std(), rel=1e-9)
        assert (rows["estimate_per_sd"] == rows["estimate"] * rows["variable_sd"]).all()


@pytest.mark.parametrize(
    "how",
    ["ties: efron", "ties: exact, errors: {type: model}", "strata: [late]", "estimator: probit", "estimator: logit"],
)
def test_the_scale_does_not_depend_on_how_episodes_are_cut_or_on_the_estimator(how: str) -> None:
    decisions = f"    how: {{options: {{plain: , other: {{{how}}}}}}}"
    frame = simulate(2, 0.3)
    halves = frame.assign(middle=frame["start"] + np.floor((frame["stop"] - frame["start"]) / 2))
    halves = halves[halves["middle"] > halves["start"]]
    whole = frame[~frame.index.isin(halves.index)]
    first = halves.assign(stop=halves["middle"], event=0.0)
    cut = pd.concat([whole, first, halves.assign(start=halves["middle"])]).sort_values(["id", "start"])
    tables = [simulated(f.reset_index(drop=True), decisions).run(0, 2).to_pandas() for f in (frame, cut)]
    expected = tables[0]["variable_sd"].iloc[0]
    assert expected > 0
    for table in tables:
        assert table["variable_sd"].to_numpy() == pytest.approx(expected, rel=1e-9)


def test_a_fit_that_returns_is_not_made_again(source: RecordSource, monkeypatch: pytest.MonkeyPatch) -> None:
    text = changed(
        ("        voluntary: {failure: volunt}",
         "        voluntary: {failure: volunt}\n        again: {coding: {withdraw: article_withdraw}}"),
    )  # fmt: skip
    engine = Engine(load_multiverse(text), source)
    made: list[bytes] = []
    fit = Engine._fit
    monkeypatch.setattr(Engine, "_fit", lambda self, specs, keys: made.extend(keys) or fit(self, specs, keys))
    size = engine.multiverse.space.size // 3
    tables = [engine.run(low, low + 50).to_pandas() for low in (0, 2 * size)]
    assert len(made) == len(set(made)) == tables[0]["spec"].nunique()
    numbers = tables[0].select_dtypes("float").columns
    pd.testing.assert_frame_equal(tables[0][numbers], tables[1][numbers])
