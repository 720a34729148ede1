"""A multiverse on a file with the archive's variables: every spec as the runner itself has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from archive.simulate import simulate
from coalition_exit.multiverse.choices.space import load_multiverse
from coalition_exit.multiverse.fits.engine import Engine
from coalition_exit.runner.estimation import run_model
from coalition_exit.runner.sources import Sources

TEXT = """
table: small
title: Small
data: auto
models:
  - {key: main, failure: withdraw, covariates: [foverlap, ctrend60, pvict]}
choices:
  focus: {foverlap: negative}
  decisions:
    exit: {options: {article: , voluntary: {failure: volunt}, rule: {coding: {withdraw: voluntary_only}}}}
    front: {options: {share: , weighted: {coding: {foverlap: weighted_common_front}}}}
    members: {options: {all: , major: {coding: {subjects: major_members_only}}}}
    controls: {options: {few: , more: {add: [recexit]}, none_such: {add: [terraim]}}}
"""


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return simulate()


def engine(frame: pd.DataFrame, folder: Path) -> Engine:
    path = folder / "file.dta"
    kept = frame.drop(columns="terraim")
    kept = kept.assign(**{name: kept[name].astype(float) for name in kept if kept[name].dtype.kind not in "OUS"})
    kept.to_stata(path, write_index=False)
    multiverse = load_multiverse(TEXT.encode())
    return Engine(multiverse, Sources(str(path)).for_spec(multiverse.spec))


def test_every_spec_is_what_the_runner_has(frame: pd.DataFrame, tmp_path: Path) -> None:
    made = engine(frame, tmp_path)
    table = made.run(0, made.multiverse.space.size).to_pandas()
    statuses = set()
    for row in table.itertuples():
        spec = made.resolver.resolve(made.multiverse.space.digits_of(row.spec))
        result = run_model(made.resolver.model(spec), made.source)
        assert (row.status, row.reason) == (result.status, result.reason)
        statuses.add(row.status)
        if result.fit is not None:
            assert row.estimate == pytest.approx(result.fit.coef["foverlap"], rel=1e-9)
            assert row.std_error == pytest.approx(result.fit.std_error["foverlap"], rel=1e-9)
            assert row.n_obs == result.counts["n_obs"]
    assert statuses == {"ok", "needs_record", "missing_variable"}


@pytest.mark.parametrize("column", ["foverlap", "withdraw", "warday", "coalid"])
def test_the_hash_is_of_the_files_values(frame: pd.DataFrame, tmp_path: Path, column: str) -> None:
    digits = [0, 0, 0, 0]
    keys = []
    for k, own in enumerate((frame, frame, frame.assign(**{column: np.roll(frame[column], 1)}))):
        (tmp_path / str(k)).mkdir()
        made = engine(own, tmp_path / str(k))
        keys.append(made.key(made.resolver.resolve(digits)))
        others = [made.key(made.resolver.resolve(other)) for other in ([0, 1, 0, 0], [0, 0, 1, 0], [2, 0, 0, 0])]
        assert len({keys[-1], *others}) == 4
    assert keys[0] == keys[1] != keys[2]
