"""A run that holds every kind of model, and the folder it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coalition_exit.commands import Outcome, run_specs
from coalition_exit.record.loading import Record
from coalition_exit.runner import RunResult, run_spec
from coalition_exit.specs.loading import Spec, load_spec

NASTY = "<script>alert(\"1\")</script> & 100% | a_b *c* $x$ [y] {z} #1 ~ ^ \\ `q` 'r'"
TEXT = f"""
table: kinds
title: "Table 7. Every kind of model"
defaults: {{failure: withdraw, covariates: [foverlap, ctrend60, pvict]}}
models:
  - {{key: plain, label: Plain, group: Abandonment}}
  - {{key: efron, label: Efron, group: Abandonment, ties: efron, errors: {{type: model}}}}
  - {{key: sample, label: Sample, group: Voluntary, failure: volunt, sample: ["warnum not in [106, 139]", year > 1850]}}
  - {{key: no_events, label: No events, sample: [warnum == 10]}}
  - {{key: coded, label: Coded, add: [recexit], coding: {{recexit: {{window: 90}}, foverlap: article_common_front}}}}
labels:
  pvict: {json.dumps(NASTY)}
layout:
  order: [pvict, foverlap]
  stats: [n_obs, n_subject, n_event, n_cluster, loglik]
  note: A note of one's own.
  omit_from_figure: [pvict]
"""
FAILS = """
table: fails
title: Nothing can be estimated
defaults: {failure: withdraw, covariates: [foverlap, ctrend60], sample: [warnum == 10]}
models:
  - {key: one, errors: {type: model}}
  - {key: two, sample: [year < 1000]}
"""


@pytest.fixture(scope="session")
def kinds() -> Spec:
    return load_spec(TEXT.encode(), "kinds.yaml")


@pytest.fixture(scope="session")
def fails() -> Spec:
    return load_spec(FAILS.encode(), "fails.yaml")


@pytest.fixture(scope="session")
def result(kinds: Spec, record: Record) -> RunResult:
    return run_spec(kinds, "record", record)


@pytest.fixture(scope="session")
def failed(fails: Spec, record: Record) -> RunResult:
    return run_spec(fails, "record", record)


@pytest.fixture(scope="session")
def written(kinds: Spec, fails: Spec, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The folder of a run of both specifications; treat it as read-only."""
    return run_specs(
        [kinds, fails], "record", tmp_path_factory.mktemp("out") / "öffentlich und mehr", "coalition-exit run"
    )


@pytest.fixture
def out(written: Outcome) -> Path:
    return written.out
