"""The numbers behind the article's figures and cross-tabulations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from coalition_exit.commands import replicate_specs
from coalition_exit.errors import SpecError
from coalition_exit.record.loading import Record
from coalition_exit.runner import Sources, run_spec
from coalition_exit.runner.crosstabs import CrosstabResult, run_crosstab
from coalition_exit.runner.diagnostics import diagnose
from coalition_exit.runner.figures import FigureResult, run_figure
from coalition_exit.specs.exhibits import Crosstab, Figure, load_exhibit
from coalition_exit.specs.loading import Spec, article_specs
from coalition_exit.survival.cox.cox import CoxPH

FULL = ["foverlap", "ctrend60", "pvict", "imptce", "recexit", "demdum", "newlead", "sepdum"]
FOLDER = article_specs()[0].parent


def change(name: str, folder: Path, **changes: object) -> Path:
    """Write one of the article's figures with some keys of its plot changed."""
    content = yaml.safe_load((FOLDER / f"{name}.yaml").read_text("utf-8"))
    content["plot"] |= changes
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content), "utf-8")
    return path


@pytest.fixture(scope="module")
def source(record: Record):
    return Sources("record", record).for_spec(load_exhibit(FOLDER / "figure3.yaml"))


@pytest.fixture(scope="module")
def full(panel: pd.DataFrame):
    return CoxPH().fit(f"Surv(start, stop, withdraw) ~ {' + '.join(FULL)}", panel, id="idvar", cluster="coalid")


def figure(path: Path, source) -> FigureResult:
    exhibit = load_exhibit(path)
    assert isinstance(exhibit, Figure)
    return run_figure(exhibit, source)


def test_the_article_has_all_its_exhibits() -> None:
    specs = replicate_specs()
    names = [spec.table for spec in specs]
    assert names[:6] == ["table1", "table2", "appendix1", "appendix1a", "appendix2", "appendix4"]
    assert {"crosstab1", "crosstab2", *(f"figure{k}" for k in range(1, 6)), "figure_appendix"} <= set(names)
    keys = {s.table: [m.key for m in s.models] for s in specs if isinstance(s, Spec)}
    assert keys["appendix1"] == ["no_war_end", "no_noncoord", "no_minor"]
    assert keys["appendix1a"] == ["war_aims", "battle_deaths", "alt_deaths", "late_joiner", "alt_importance"]
    assert keys["appendix2"] == ["polity", "recexit2", "seppc", "actdum", "actpc"]
    assert keys["appendix4"] == ["first_day", "last_day"]
    for n in (1, 2):
        for period in ("monthly", "daily"):
            twins = [f"{key}_{link}" for link in ("logit", "cloglog") for key in keys[f"table{n}"]]
            assert keys[f"table{n}_{period}"] == twins


def test_history_shows_the_panel(source, panel: pd.DataFrame) -> None:
    data = figure(FOLDER / "figure1.yaml", source).data
    assert set(data["date"].str[-2:]) == {"01"}
    assert list(data["state"].unique()) == ["United States", "Britain", "Russia/USSR", "Germany"]
    row = data[(data["panel"] == "World War II") & (data["ccode"] == 2) & (data["date"] == "1944-06-01")].iloc[0]
    day = panel.query("warnum == 139 and ccode == 2 and year == 1944 and month == 6 and day == 1")
    assert row["value"] == day["foverlap"].iloc[0]
    trends = figure(FOLDER / "figure2.yaml", source).data
    assert trends["date"].min() == "1918-01-01"
    assert set(trends["variable"]) == {"ctrend60", "otrend60"}
    assert len(trends[(trends["panel"] == "1944") & (trends["variable"] == "ctrend60")]) == 366


def test_survival_is_the_models_own(source, full, panel: pd.DataFrame) -> None:
    data = figure(FOLDER / "figure3.yaml", source).data
    base = full.baseline("zero").table
    hazard = base.loc[base["time"] <= 1500, "cumulative_hazard" if "cumulative_hazard" in base else "estimate"].iloc[-1]
    means = panel["imptce"].mean()
    for overlap, label in ((0, "Wholly independent (0)"), (1, "Wholly common (1)")):
        own = data[data["scenario"] == label]
        lp = full.coef["foverlap"] * overlap + full.coef["pvict"] * 0.5 + full.coef["imptce"] * means
        assert own["survival"].iloc[-1] == pytest.approx(np.exp(-hazard * np.exp(lp)), rel=1e-9)
        assert own["survival"].is_monotonic_decreasing
        assert (own["conf_low"] <= own["survival"]).all()
        assert (own["survival"] <= own["conf_high"]).all()
        assert own["time"].iloc[-1] == 1500
        np.testing.assert_allclose(own["month"], own["time"] / 30.4375)


def test_margins_average_the_relative_hazard_over_the_rows(source, full, panel: pd.DataFrame) -> None:
    data = figure(FOLDER / "figure4.yaml", source).data
    x = panel[FULL].to_numpy(dtype=float)
    for term, value in (("recexit", 1.0), ("ctrend60", None)):
        own = data[data["term"] == term]
        row = own[own["value"] == value].iloc[0] if value is not None else own.iloc[-1]
        changed = x.copy()
        changed[:, FULL.index(term)] = row["value"]
        assert row["estimate"] == pytest.approx(np.exp(changed @ full.coef.to_numpy()).mean(), rel=1e-10)
    own = data[data["term"] == "ctrend60"]
    assert list(own["percentile"]) == list(range(1, 100))
    cut = np.percentile(panel["ctrend60"], range(1, 100), method="averaged_inverted_cdf")
    np.testing.assert_allclose(own["value"], cut)
    spread = panel["ctrend60"].std(ddof=1)
    np.testing.assert_allclose(own["standardized"], (cut - panel["ctrend60"].mean()) / spread)


def test_windows_are_fits_of_their_own(source, record: Record, tmp_path: Path) -> None:
    data = figure(change("figure5", tmp_path, begin=30, end=60, step=30), source).data
    assert list(data["window"]) == [30, 60]
    reference = run_spec(FOLDER / "table2.yaml", "record", record).estimates
    own = reference[(reference["model"] == "full") & (reference["term"] == "ctrend60")].iloc[0]
    for name in ("estimate", "std_error", "p_value", "conf_low", "conf_high"):
        assert data[name].iloc[1] == pytest.approx(own[name], rel=1e-12)


def test_a_window_beyond_the_family_is_a_parameter(source, tmp_path: Path, panel: pd.DataFrame) -> None:
    result = figure(change("figure5", tmp_path, begin=120, end=180, step=60), source)
    assert list(result.data["variable"]) == ["ctrend120", "ctrend60"]
    assert result.data["estimate"].notna().all()
    assert result.data["estimate"].iloc[0] != result.data["estimate"].iloc[1]


def test_what_cannot_be_computed_says_why(source, tmp_path: Path) -> None:
    model = {"failure": "withdraw", "covariates": ["foverlap", "ctrend60"], "sample": ["year < 1000"]}
    result = figure(change("figure5", tmp_path, model=model, end=16), source)
    assert result.status == "no_observations"
    assert "no window could be estimated" in result.reason
    assert result.data.empty


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("figure5", {"vary": "ctrend6"}, "plot > vary: expected one of foverlap"),
        ("figure5", {"vary": "pvict"}, "expected a covariate with a window in days"),
        ("figure5", {"begin": 90, "end": 20}, "plot > end: expected at least 90, got 20"),
        ("figure5", {"kind": "window"}, "plot > kind: expected one of history.*Did you mean 'windows'"),
        ("figure5", {"stepp": 2}, "plot > stepp: expected one of kind, model, vary, begin, end, step.*'step'"),
        ("figure4", {"binary": ["recexitt"]}, r"plot > binary\[1\]: expected one of.*Did you mean 'recexit'"),
        ("figure4", {"percentiles": [1, 100]}, "percentiles: expected two numbers from 1 to 99"),
        ("figure1", {"variables": ["foverlp"]}, r"plot > variables\[1\]: .*Did you mean 'foverlap'"),
        ("figure3", {"horizon": 0}, "plot > horizon"),
        ("figure3", {"scenarios": [{"label": "a", "at": {"foverlap": 0}}]}, "expected a value for ctrend60, got none"),
        ("figure3", {"model": {"failure": "withdrw", "covariates": ["foverlap"]}}, "Did you mean 'withdraw'"),
        (
            "figure3",
            {"model": {"failure": "withdraw", "estimator": "logit", "covariates": FULL}},
            "expected a Cox model",
        ),
    ],
)
def test_a_figures_faults_are_one_line(name: str, changes: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=message) as found:
        load_exhibit(change(name, tmp_path, **changes))
    assert "\n" not in str(found.value)
    assert f"{name}.yaml" in str(found.value)


def test_crosstabs_count_the_last_days(source, panel: pd.DataFrame) -> None:
    last = panel[panel["finalobs"] == 1]
    exhibit = load_exhibit(FOLDER / "crosstab1.yaml")
    assert isinstance(exhibit, Crosstab)
    result = run_crosstab(exhibit, source)
    assert isinstance(result, CrosstabResult)
    expected = pd.crosstab(last["foverlap"] == 1, last["withdraw"] == 1).to_numpy()
    np.testing.assert_array_equal(result.counts.to_numpy(), expected)
    n, rows, columns = expected.sum(), expected.sum(axis=1), expected.sum(axis=0)
    fitted = np.outer(rows, columns) / n
    assert result.chi2 == pytest.approx(((expected - fitted) ** 2 / fitted).sum())
    np.testing.assert_allclose(result.long["row_percent"], (100 * expected / rows[:, None]).ravel())
    second = run_crosstab(load_exhibit(FOLDER / "crosstab2.yaml"), source)
    cut = np.percentile(last["ctrend60"], 90, method="averaged_inverted_cdf")
    assert second.counts.to_numpy()[1].sum() == (last["ctrend60"] > cut).sum()
    assert f"{cut:.4g}" in second.notes[0]


def test_diagnostics_are_the_fits_own(record: Record, full) -> None:
    result = run_spec(FOLDER / "table2.yaml", "record", record)
    own = diagnose(result).query("model == 'full'").set_index(["quantity", "term"])
    assert own.loc[("events_per_variable", ""), "value"] == full.n_event / len(FULL)
    assert own.loc[("concordance", ""), "value"] == full.concordance().concordance
    score = full.proportional_hazards_test("km", "score").set_index("term")["p_value"]
    old = full.proportional_hazards_test("identity", "grambsch_therneau").set_index("term")["p_value"]
    for term in (*FULL, "GLOBAL"):
        assert own.loc[("ph_score", term), "value"] == score[term]
        assert own.loc[("ph_grambsch_therneau", term), "value"] == old[term]


def test_the_most_influential_coalition_is_left_out_exactly(record: Record, panel: pd.DataFrame, full) -> None:
    result = run_spec(FOLDER / "table2.yaml", "record", record)
    own = diagnose(result).query("model == 'full'").set_index(["quantity", "term"])
    assert own.loc[("influential", ""), "text"] == "World War II, side 2"
    formula = f"Surv(start, stop, withdraw) ~ {' + '.join(FULL)}"
    inverse = np.linalg.inv(full.vcov.to_numpy())
    distances = {}
    for coalition in panel["coalid"].unique():
        rest = CoxPH().fit(formula, panel[panel["coalid"] != coalition], id="idvar", cluster="coalid").coef - full.coef
        distances[coalition] = float(rest.to_numpy() @ inverse @ rest.to_numpy()) / len(FULL)
        if coalition == 1392:
            for term in FULL:
                assert own.loc[("without_influential", term), "value"] == pytest.approx(
                    (rest + full.coef)[term], rel=1e-7
                )
                change = own.loc[("influential_change", term), "value"]
                assert change == pytest.approx(rest[term] / full.std_error[term], rel=1e-6, abs=1e-8)
    assert max(distances, key=distances.__getitem__) == 1392
    assert own.loc[("influential", ""), "value"] == pytest.approx(distances[1392], rel=1e-6)
