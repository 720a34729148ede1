"""The blocks of a specification through a run: files, tables, figures, seeds, and what fails."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from archive.simulate import FILE
from coalition_exit.cli import cli
from coalition_exit.commands import Outcome, count_steps, run_specs
from coalition_exit.commands.robustness import robustness_steps
from coalition_exit.errors import EXIT_DONE, EXIT_MODEL_FAILED
from coalition_exit.robustness.buyout import bad_times, bought_off
from coalition_exit.robustness.evalue import e_values
from coalition_exit.robustness.left_out import leave_out
from coalition_exit.robustness.problem import Problem
from coalition_exit.robustness.recoding import smallest_recoding
from coalition_exit.runner import Sources
from coalition_exit.specs.loading import Spec, load_spec

TEXT = """
table: mine
title: My objection
defaults: {failure: withdraw, covariates: [foverlap, ctrend60]}
models:
  - {key: article, label: Article}
  - {key: entrapment, label: Entrapment, coding: {withdraw: entrapment}}
objection: {who: Me, claim: C., changes: D., reference: article, focus: {ctrend60: positive, foverlap: negative}}
compensation:
  shares: [0.0, 0.5]
  imputations: 2
  seed: 7
  patterns: [{key: good, where: ctrend60 <= 0}]
  simulation: {replicates: 2, strengths: [0.0, 0.5], targets: [all]}
uncertainty: {draws: 2, kinds: [exits], seed: 3}
influence: {term: ctrend60, readings: [significance], most: 2, exhaustive: 1, pairs: false}
"""
OBJECTION_ONLY = TEXT.split("compensation:", maxsplit=1)[0]
FRAMES = {
    "bought_off", "overturning", "e_values", "simulation", "simulation_replicates", "uncertainty", "uncertainty_draws",
    "uncertainty_exits", "uncertainty_cases", "uncertainty_numbers", "influence", "without_coalitions", "without_wars",
    "recoding", "recoding_exits", "recoding_tried",
}  # fmt: skip
GRIDS = {
    "verdict", "bought_off", "overturning", "e_values", "simulation", "uncertainty", "influence", "recoding",
    "diagnostics",
}  # fmt: skip


@pytest.fixture(scope="module")
def spec() -> Spec:
    return load_spec(TEXT.encode(), "mine.yaml")


@pytest.fixture(scope="module")
def outcome(spec: Spec, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return run_specs([spec], "record", tmp_path_factory.mktemp("out"), "coalition-exit run mine.yaml")


def read(outcome: Outcome, name: str) -> pd.DataFrame:
    return pd.read_csv(outcome.out / name, float_precision="round_trip", keep_default_na=False, na_values=[""])


def test_everything_is_written(outcome: Outcome) -> None:
    assert outcome.exit_code == EXIT_DONE
    assert {p.stem.removeprefix("mine_") for p in (outcome.out / "robustness").iterdir()} == FRAMES
    for name in GRIDS:
        for suffix in ("md", "tex", "html", "csv"):
            assert (outcome.out / "tables" / f"mine_{name}.{suffix}").stat().st_size > 50, name
    for name in ("bought_off", "simulation", "uncertainty_article", "uncertainty_entrapment"):
        assert f"mine_{name}" in outcome.figures
        for suffix in ("png", "pdf", "svg", "csv"):
            assert (outcome.out / "figures" / f"mine_{name}.{suffix}").stat().st_size > 50, name
        drawing = (outcome.out / "figures" / f"mine_{name}.svg").read_text(encoding="utf-8")
        assert "My objection: " in drawing, name
        assert "Data: the package" in drawing, name


def test_parts_and_seeds_are_on_record(outcome: Outcome) -> None:
    parts = read(outcome, "robustness.csv")
    assert set(parts["status"]) == {"ok"}
    assert list(parts["part"]) == [
        "exits bought off", "shares that overturn", "E-values", "simulation", "facts drawn", "left out",
        "exits recoded (ctrend60, significance)",
    ]  # fmt: skip
    assert list(parts["seed"].fillna(0).astype(int)) == [7, 0, 0, 7, 3, 0, 0]
    run = json.loads((outcome.out / "run.json").read_text(encoding="utf-8"))
    assert run["seed"] == {"mine > compensation": 7, "mine > uncertainty": 3}


def test_numbers_are_those_of_the_functions(outcome: Outcome, spec: Spec, record) -> None:
    problem = Problem.from_source(spec.models[0], Sources("record", record).for_spec(spec))
    bad = bad_times(problem, "ctrend60")
    ours = bought_off(problem, [0.0, 0.5], bad, imputations=2, seed=7).table
    stored = read(outcome, "robustness/mine_bought_off.csv")
    np.testing.assert_array_equal(stored["estimate"], ours["estimate"])
    np.testing.assert_array_equal(stored["direct_estimate"], ours["direct_estimate"])
    np.testing.assert_array_equal(
        read(outcome, "robustness/mine_e_values.csv")["e_value"], e_values(problem)["e_value"]
    )
    left = leave_out(problem, pairs=False)
    stored = read(outcome, "robustness/mine_without_coalitions.csv")
    np.testing.assert_array_equal(stored["std_error"], left.coalitions["std_error"])
    found = smallest_recoding(problem, "ctrend60", most=2, exhaustive=1)
    stored = read(outcome, "robustness/mine_recoding.csv")
    assert stored["said"].iloc[0] == found.text
    assert set(read(outcome, "robustness/mine_overturning.csv")["where"]) == {"ctrend60 <= 0"}


def test_verdicts_of_models_and_blocks_stand_together(outcome: Outcome) -> None:
    table = read(outcome, "verdicts.csv")
    kinds = table.groupby("kind", sort=False).size().to_dict()
    assert kinds == {"coding": 2, "compensation": 2, "coding uncertainty": 4, "influence": 4}
    bought = read(outcome, "robustness/mine_bought_off.csv").set_index(["share", "term"])
    own = table[table["kind"] == "compensation"].set_index("term")
    assert own.loc["ctrend60", "estimate"] == bought.loc[(0.5, "ctrend60"), "estimate"]
    assert own.loc["ctrend60", "conf_low"] == bought.loc[(0.5, "ctrend60"), "conf_low"]
    drawn = read(outcome, "robustness/mine_uncertainty.csv").set_index(["model", "term"])
    own = table[(table["kind"] == "coding uncertainty") & (table["model"] == "entrapment")].set_index("term")
    assert own.loc["foverlap", "estimate"] == drawn.loc[("entrapment", "foverlap"), "estimate"]
    # Each is held against its own model as coded.
    assert own.loc["foverlap", "reference_estimate"] == drawn.loc[("entrapment", "foverlap"), "reference"]
    without = read(outcome, "robustness/mine_without_wars.csv")
    mine = without[without["term"] == "ctrend60"]
    weakest = mine.loc[(mine["estimate"] / mine["std_error"]).idxmin()]
    own = table[(table["kind"] == "influence") & (table["term"] == "ctrend60")]
    assert f"Least certain without one war: {weakest['label']}" in set(own["label"])


def test_the_report_shows_the_verdict_after_its_table(outcome: Outcome) -> None:
    page = (outcome.out / "report.html").read_text(encoding="utf-8")
    order = [page.index(f'<figure id="mine{end}"') for end in ("", "_verdict", "_bought_off", "_diagnostics")]
    assert order == sorted(order)
    assert "Objection (Me): C. What changes: D." in page
    assert page.count("data:image/svg+xml;base64,") == 5


def test_few_clusters_are_named_in_the_note(tmp_path: Path, loaded_once: None, no_figures: None) -> None:
    text = OBJECTION_ONLY.replace("{key: article, ", "{key: article, sample: [year >= 1900], ")
    spec = load_spec((text + "uncertainty: {draws: 2, kinds: [losses]}\n").encode(), "mine.yaml")
    outcome = run_specs([spec], "record", tmp_path / "out", "")
    clusters = read(outcome, "robustness/mine_uncertainty_draws.csv")["n_cluster"].min()
    assert clusters < 40
    table = (outcome.out / "tables" / "mine_uncertainty.md").read_text(encoding="utf-8")
    assert f"With {clusters} clusters, errors clustered on them are themselves uncertain." in table


def test_progress_is_reported_as_often_as_said(spec: Spec, tmp_path: Path, no_figures: None) -> None:
    short = load_spec(TEXT.split("influence:", maxsplit=1)[0].encode())
    told: list[str] = []
    run_specs([short], "record", tmp_path, "", told.append)
    assert len(told) == count_steps([short])
    assert robustness_steps(spec) == (3 + 2) + 2 + (1 + 1)
    assert robustness_steps(load_spec(OBJECTION_ONLY.encode())) == 0


def test_the_number_of_processes_changes_no_byte(
    outcome: Outcome, spec: Spec, tmp_path: Path, no_figures: None
) -> None:
    run_specs([spec], "record", tmp_path, "coalition-exit run mine.yaml", jobs=2)
    for path in sorted((outcome.out / "robustness").iterdir()):
        other = tmp_path / "robustness" / path.name
        assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(other.read_bytes()).digest(), path.name
    assert (tmp_path / "verdicts.csv").read_bytes() == (outcome.out / "verdicts.csv").read_bytes()


def test_what_needs_the_record_is_a_row_and_the_rest_runs(tmp_path: Path, no_figures: None) -> None:
    text = TEXT.replace("influence: {", "influence: {candidates: 'partners_wish == \"unclear\"', ")
    text = text.replace("  - {key: entrapment, label: Entrapment, coding: {withdraw: entrapment}}\n", "")
    data = tmp_path / "archive.dta"
    data.write_bytes(gzip.decompress(FILE.read_bytes()))
    found = run_specs([load_spec(text.encode())], str(data), tmp_path / "out", "")
    assert found.exit_code == EXIT_MODEL_FAILED
    assert [(part, reason) for _, part, reason in found.failed] == [
        ("uncertainty: facts drawn", "it needs the facts of the record: run it with --data record"),
        ("influence: candidates", "it needs the facts of the record: run it with --data record"),
    ]
    parts = read(found, "robustness.csv").set_index("part")
    assert parts.loc["facts drawn", "status"] == parts.loc["candidates", "status"] == "needs_record"
    assert set(parts.drop(["facts drawn", "candidates"])["status"]) == {"ok"}
    page = (found.out / "tables" / "mine_recoding.md").read_text(encoding="utf-8")
    assert "exits are recoded as none only" in page
    assert not list((found.out / "robustness").glob("mine_uncertainty*"))


def test_a_model_without_an_estimate_fails_every_part(tmp_path: Path, no_figures: None) -> None:
    text = TEXT.replace("covariates: [foverlap, ctrend60]", "covariates: [foverlap, ctrend60], sample: [warnum == 10]")
    found = run_specs([load_spec(text.encode())], "record", tmp_path, "")
    assert found.exit_code == EXIT_MODEL_FAILED
    parts = read(found, "robustness.csv")
    assert (parts["status"] != "ok").all()
    assert parts["reason"].str.len().min() > 10
    assert not (tmp_path / "robustness").exists()
    assert set(read(found, "verdicts.csv")["verdict"]) == {"no_reference"}


KINDS = """
table: kinds
title: Kinds of exits
defaults: {failure: exit_cause, covariates: [foverlap, ctrend60]}
rules:
  abroad: {based_on: article_withdraw, only_if: warnum != 106}
models:
  - {key: first, cause: 1}
  - {key: second, cause: 2}
  - {key: competing, cause: 2, estimator: fine_gray}
  - {key: mine, failure: withdraw, coding: {withdraw: abroad}}
objection: {who: Me, claim: C., changes: D., reference: second, focus: {foverlap: either}}
compensation: {model: mine, shares: [0.0], imputations: 2}
uncertainty: {draws: 2, separately: false, kinds: [losses]}
influence: {model: second, readings: [sign], most: 1, exhaustive: 1, pairs: false}
"""


def test_kinds_of_exits_and_rules_of_ones_own(record, tmp_path: Path, no_figures: None) -> None:
    spec = load_spec(KINDS.encode())
    source = Sources("record", record).for_spec(spec)
    for model in (spec.models[0], spec.models[1], spec.models[3]):
        rows, problem = source.rows(model), Problem.from_source(model, source)
        keys = ["idvar", "stop"]
        ours = problem.frame.loc[problem.event, keys].to_numpy().tolist()
        assert sorted(ours) == sorted(rows.frame.loc[rows.frame[rows.event] == 1, keys].to_numpy().tolist())
    found = run_specs([spec], "record", tmp_path, "")
    assert not found.failed
    table, estimates = read(found, "verdicts.csv"), read(found, "estimates.csv").set_index(["model", "term"])
    drawn = read(found, "robustness/kinds_uncertainty.csv").set_index(["model", "term"])
    for key in ("first", "second", "mine"):
        assert drawn.loc[(key, "foverlap"), "reference"] == pytest.approx(
            estimates.loc[(key, "foverlap"), "estimate"], rel=1e-12
        )
    left = read(found, "robustness/kinds_influence.csv")
    mine = left[left["term"] == "foverlap"]
    assert mine["reference"].iloc[0] == pytest.approx(estimates.loc[("second", "foverlap"), "estimate"], rel=1e-12)
    own = table[table["kind"] == "coding"].set_index("model")
    # The same exits in another model of them.
    assert list(own.loc["competing", ["exits_gained", "exits_lost"]]) == [0, 0]
    assert own.loc["first", "exits_gained"] > 0


def _run(*arguments: str) -> tuple[int, str]:
    outcome = CliRunner(env={"COLUMNS": None}).invoke(cli, ["run", *arguments], standalone_mode=False)
    assert outcome.exception is None, outcome.exception
    return int(outcome.return_value), outcome.output


def test_one_objection_shows_its_verdict(tmp_path: Path, loaded_once: None, no_figures: None) -> None:
    (tmp_path / "mine.yaml").write_text(OBJECTION_ONLY, encoding="utf-8")
    code, said = _run(str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "out"))
    assert code == EXIT_DONE
    assert "Verdict. My objection" in said
    assert "Objection (Me): C." in " ".join(said.split())
    assert "mine Me War Worsening 1 of 1 holds Common Front 1 of 1 was not" in " ".join(said.split())


def test_several_objections_are_a_table(tmp_path: Path, loaded_once: None, no_figures: None) -> None:
    for name in ("one", "two"):
        text = OBJECTION_ONLY.replace("table: mine", f"table: {name}")
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    code, said = _run(str(tmp_path / "one.yaml"), str(tmp_path / "two.yaml"), "--out", str(tmp_path / "out"))
    assert code == EXIT_DONE
    assert "Verdict." not in said
    lines = said.splitlines()
    table = [
        line.split("  ")[0] for line in lines[lines.index("Verdicts") :] if line.startswith(("one ", "two ", "    "))
    ]
    # A specification is named in its first row only.
    assert table == ["one", "", "two", ""]
    assert "one_verdict, two_verdict" in said


def test_jobs_must_be_a_whole_number_from_one_on(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(OBJECTION_ONLY, encoding="utf-8")
    outcome = CliRunner().invoke(cli, ["run", str(tmp_path / "mine.yaml"), "--jobs", "0"])
    assert outcome.exit_code == 2
    assert not (tmp_path / "output").exists()
