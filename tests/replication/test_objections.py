"""The page on the symposium's objections, and the numbers it is made from."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from coalition_exit.commands import run_specs
from coalition_exit.commands.robustness import run_blocks
from coalition_exit.report.verdicts import verdict_key
from coalition_exit.runner import Sources, run_on
from coalition_exit.runner.verdicts import VERDICT_COLUMNS, as_verdicts, verdicts
from coalition_exit.specs.loading import Spec

ROOT = Path(__file__).parents[2]
EXPECTED = ROOT / "replication" / "expected" / "symposium"
PAGE = (ROOT / "docs" / "objections.md").read_text(encoding="utf-8")
# Draws and simulations take their time.
SLOW = {"disputed_codings", "weisiger_compensation", "influential_cases"}
# Another processor or BLAS may differ in the last digits.
CLOSE = {"rtol": 1e-8, "atol": 1e-10}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    found = importlib.util.spec_from_file_location("objections", ROOT / "replication" / "objections.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def specs(script: ModuleType) -> dict[str, Spec]:
    return {spec.table: spec for spec in script.objections()}


def stored(name: str) -> pd.DataFrame:
    frame = pd.read_csv(EXPECTED / name, float_precision="round_trip", keep_default_na=False, na_values=[""])
    text = [name for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])]
    return frame.fillna(dict.fromkeys(text, ""))


def compare(ours: pd.DataFrame, theirs: pd.DataFrame, name: str) -> None:
    assert list(ours.columns) == list(theirs.columns), name
    assert len(ours) == len(theirs), name
    for column in ours.columns:
        if pd.api.types.is_numeric_dtype(theirs[column]):
            mine = pd.to_numeric(ours[column]).astype(float)
            np.testing.assert_allclose(mine, theirs[column].astype(float), err_msg=f"{name}, {column}", **CLOSE)
        else:
            assert list(ours[column].fillna("").astype(str)) == list(theirs[column].astype(str)), (name, column)


def test_the_page_is_made_from_the_stored_numbers(script: ModuleType, specs: dict[str, Spec]) -> None:
    assert script.page(list(specs.values()), EXPECTED) == PAGE


def test_numbers_in_the_pages_text(record, specs: dict[str, Spec]) -> None:
    reference = run_on(specs["morey_both"], Sources("record", record).for_spec(specs["morey_both"])).models
    exits, covariates = int(reference["n_event"].iloc[0]), len(specs["morey_both"].models[0].covariates)
    assert covariates == 8
    text = " ".join(PAGE.split())
    assert f"With {exits} exits and eight covariates there are four exits for each coefficient" in text
    assert exits // covariates == 4
    table = stored("verdicts.csv")
    coded = table[(table["kind"] == "coding")].drop_duplicates(["table", "model"])
    assert (coded["n_event"] < exits).mean() > 0.4
    front = table[(table["term"] == "foverlap") & (table["reference"] == "article")]
    assert set(front["reference_excludes_zero"]) == {"no"}


def test_claims_stand_as_in_the_specifications(specs: dict[str, Spec]) -> None:
    text = " ".join(PAGE.split())
    for spec in specs.values():
        assert spec.objection is not None
        assert f"Claim ({spec.objection.who}): {spec.objection.claim}" in text
        assert f"What changes: {spec.objection.changes}" in text
        assert f"## {spec.table}\n" in PAGE


def test_every_command_of_the_page_names_what_is_there(specs: dict[str, Spec]) -> None:
    named = re.findall(r"coalition-exit run symposium/(\w+)", PAGE)
    assert named
    assert set(named) <= set(specs)


def test_no_line_of_prose_is_long() -> None:
    assert [line for line in PAGE.splitlines() if len(line) > 128 and not line.startswith("|")] == []


def test_verdicts_of_the_recodings_are_up_to_date(record, specs: dict[str, Spec]) -> None:
    source = Sources("record", record)
    table, exits = stored("verdicts.csv"), stored("verdict_exits.csv")
    assert list(table.columns) == list(VERDICT_COLUMNS)
    for name in sorted(set(specs) - SLOW):
        found = verdicts(run_on(specs[name], source.for_spec(specs[name])))
        assert (found[0]["verdict"] != "not_estimable").all(), name
        compare(found[0], table[table["table"] == name], name)
        compare(found[1], exits[exits["table"] == name], name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SLOW))
def test_numbers_of_the_blocks_are_up_to_date(name: str, record, script: ModuleType, specs: dict[str, Spec]) -> None:
    spec = specs[name]
    found = run_blocks(run_on(spec, Sources("record", record).for_spec(spec)), jobs=2)
    assert not found.failed
    assert spec.objection is not None
    ours = as_verdicts([{"table": name, "who": spec.objection.who, **row} for row in found.verdicts])
    table = stored("verdicts.csv")
    compare(ours, table[table["table"] == name], name)
    written = [part for part in script.NUMBERS if part in found.frames]
    assert written
    for part in written:
        ours, theirs = found.frames[part], stored(f"{name}_{part}.csv")
        text = [c for c in theirs.columns if not pd.api.types.is_numeric_dtype(theirs[c])]
        compare(ours.assign(**{c: ours[c].astype(str) for c in text}), theirs.astype(dict.fromkeys(text, str)), part)


def test_the_library_runs_by_name(specs: dict[str, Spec], tmp_path: Path, loaded_once, no_figures) -> None:
    outcome = run_specs([specs["morey_entrapment"]], "record", tmp_path, "")
    assert outcome.exit_code == 0
    assert [grid.key for grid in outcome.verdicts] == [verdict_key("morey_entrapment")]
    assert outcome.summary is not None
    assert [row[0] for row in outcome.summary.rows if row[0]] == ["morey_entrapment"]
