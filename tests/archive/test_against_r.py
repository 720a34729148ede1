"""All 24 models on an untidy simulated file, against R on the same file (make_archive.R), in three formats."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from archive.simulate import FILE, LABELS, simulate, write_csv, write_dta, write_parquet
from coalition_exit.archive.read import ArchiveFile, missing_variables, read_archive
from coalition_exit.archive.stata import declare, estimation_rows
from coalition_exit.survival.cox.cox import CoxPH
from coalition_exit.survival.discrete.glm import BinaryRegression
from coalition_exit.survival.fit import Fit

REFERENCE = Path(__file__).parents[1] / "reference"
SPECS = Path(__file__).parents[2] / "specs" / "article"
TABLES = ("table1", "table2", "appendix1", "appendix1a", "appendix2", "appendix4")
FORMATS = ("dta", "csv", "parquet")
# Both sides stop where the log-likelihood can gain nothing more; sums of some 5,000 rows differ in the last digits.
TOLERANCE = 1e-9


def _models() -> dict[str, dict]:
    """Read the models from the specifications, their defaults put in."""
    models = {}
    for table in TABLES:
        spec = yaml.safe_load((SPECS / f"{table}.yaml").read_text("utf-8"))
        for entry in spec["models"]:
            model = spec["defaults"] | entry
            new = model.get("replace", {})
            covariates = [new.get(name, name) for name in model["covariates"]]
            model["covariates"] = [n for n in covariates + model.get("add", []) if n not in model.get("drop", [])]
            models[f"{spec['table']}/{entry['key']}"] = model
    return models


MODELS = _models()


@pytest.fixture(scope="module")
def reference() -> pd.DataFrame:
    path = REFERENCE / "archive_values.csv"
    assert path.is_file(), "archive_values.csv is missing: run Rscript tests/reference/make_archive.R"
    values = pd.read_csv(path, keep_default_na=False, converters={"value": float})
    return values.set_index(["model", "quantity", "term"])["value"].sort_index()


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, ArchiveFile]:
    """The same file in three formats."""
    folder = tmp_path_factory.mktemp("archive")
    content = gzip.decompress(FILE.read_bytes())
    (folder / "simulated.dta").write_bytes(content)
    frame = read_archive(folder / "simulated.dta").frame
    (folder / "simulated.csv").write_bytes(write_csv(frame))
    (folder / "simulated.parquet").write_bytes(write_parquet(frame))
    return {kind: read_archive(folder / f"simulated.{kind}") for kind in FORMATS}


def _fit(frame: pd.DataFrame, model: dict) -> Fit:
    """Estimate a model as the runner does."""
    covariates, right = model["covariates"], " + ".join(model["covariates"])
    sample, by = model.get("sample", []), model["errors"]["by"]
    if model["estimator"] == "probit":
        rows = estimation_rows(frame, [model["outcome"], *covariates, by], sample).frame
        return BinaryRegression(link="probit").fit(f"{model['outcome']} ~ {right}", rows, cluster=by)
    declared = declare(frame, model["failure"], model.get("censor", []))
    rows = estimation_rows(declared.data, [*covariates, by], sample).frame
    return CoxPH(ties=model["ties"]).fit(f"Surv(_t0, _t, _d) ~ {right}", rows, id="idvar", cluster=by)


def test_the_specifications_hold_the_models_that_r_fits(reference):
    fitted = {model for model, quantity, _ in reference.index if quantity == "coef"}
    assert set(MODELS) == fitted
    assert len(MODELS) == 24
    for name, model in MODELS.items():
        terms = set(reference.xs((name, "coef")).index)
        assert terms == set(model["covariates"]) | ({"_cons"} if model["estimator"] == "probit" else set())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", FORMATS)
def test_model(files, reference, kind, name):
    fit = _fit(files[kind].frame, MODELS[name])
    expected = reference.xs(name)
    for quantity in ("n_obs", "n_event", "n_cluster"):
        assert getattr(fit, quantity) == expected[quantity, ""], quantity
    if MODELS[name]["estimator"] == "cox":
        assert fit.n_subject == expected["n_subject", ""]
    for quantity in ("loglik", "loglik_null"):
        assert getattr(fit, quantity) == pytest.approx(expected[quantity, ""], rel=TOLERANCE, abs=0), quantity
    errors = expected["std_error"]
    pd.testing.assert_series_equal(fit.std_error.sort_index(), errors, rtol=TOLERANCE, atol=0, check_names=False)
    # A coefficient may be near 0 by chance: its error is its scale.
    distance = (fit.coef.sort_index() - expected["coef"]).abs() / errors
    assert distance.max() < TOLERANCE


@pytest.mark.parametrize("kind", FORMATS)
def test_the_file_is_read_as_haven_reads_it(files, reference, kind):
    frame = files[kind].frame
    expected = reference.xs("file")
    assert set(expected["sum"].index) == set(frame.columns)
    for name in frame.columns:
        values = frame[name].to_numpy(dtype=float)
        assert np.isnan(values).sum() == expected["missing", name], name
        assert np.nansum(values) == pytest.approx(expected["sum", name], rel=1e-13, abs=1e-10), name


@pytest.mark.parametrize(
    ("name", "failure", "censor"),
    [("withdraw", "withdraw", []), ("volunt", "volunt", []), ("altered", "withdraw", ["warnum in [22, 28, 155]"])],
)
def test_stset_counts(files, reference, name, failure, censor):
    expected = reference.xs(name)
    for kind in FORMATS:
        report = declare(files[kind].frame, failure, censor).report
        assert report.remaining == expected["n_obs", ""]
        assert report.subjects == expected["n_subject", ""]
        assert report.failures == expected["n_event", ""]
        assert report.time_at_risk == expected["time_at_risk", ""]


def test_the_formats_hold_the_same(files):
    frames = [files[kind].frame for kind in FORMATS]
    for other in frames[1:]:
        pd.testing.assert_frame_equal(frames[0], other, check_dtype=False, check_exact=True)
    assert frames[0]["contribpc"].dtype == frames[2]["contribpc"].dtype == np.float32


def test_the_file_is_as_untidy_as_it_says(files):
    frame = files["dta"].frame
    assert missing_variables(frame, {"all": ["withdraw", "ctrend15"]}).runnable == ("all",)
    days = frame.dropna(subset=["idvar", "warday"]).sort_values(["idvar", "warday"])
    steps = days.groupby("idvar")["warday"].diff()
    first = days.groupby("idvar")["warday"].min()
    exits = days.groupby("idvar")["withdraw"].sum()
    assert not frame["idvar"].is_monotonic_increasing
    assert (steps > 1).sum() > 100
    assert (first > 1).sum() > 10
    assert (first < 1).sum() > 3
    assert (exits > 1).sum() > 5
    assert (frame["contribpc"] == np.float32(0.1)).sum() > 500
    assert (frame["withdraw"].isna() & frame["idvar"].notna()).sum() > 3
    report = declare(frame, "withdraw").report
    assert report.after_exit > 100
    assert report.before_enter > 5
    data = declare(frame, "withdraw").data
    assert (data.loc[data["_d"] == 1, "_t"].value_counts() > 1).sum() > 10


def test_the_file_is_what_its_script_draws(files, tmp_path):
    path = tmp_path / "again.dta"
    path.write_bytes(write_dta(simulate()))
    pd.testing.assert_frame_equal(read_archive(path).frame, files["dta"].frame, check_exact=True)
    assert f"{len(LABELS)} sets of value labels not applied: codes are kept" in files["dta"].notes
