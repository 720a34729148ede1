"""A multiverse over the record that is small enough for tests."""

from __future__ import annotations

SMALL = """
table: small
title: "A small multiverse"
data: record
defaults:
  failure: withdraw
  covariates: [foverlap, ctrend60, pvict, imptce, recexit, demdum]
models:
  - key: full
choices:
  focus: {foverlap: negative, ctrend60: positive}
  survival: {time: 365, from: {foverlap: 0}, to: {foverlap: 1}}
  decisions:
    exit:
      options:
        article:
        voluntary: {failure: volunt}
    trend:
      options:
        coalition:
        own: {replace: {ctrend60: otrend60}}
    window:
      sweep: {variable: [ctrend60, otrend60], from: 30, to: 90, step: 30}
    wars:
      options:
        all:
        no_world_wars: {sample: ["warnum not in [106, 139]"]}
    controls:
      subsets_of: [pvict, recexit, polity2]
      always: [latejoin]
    ties:
      options:
        breslow:
        efron: {ties: efron}
    errors:
      options:
        stata:
        r: {errors: {correction: none}}
        model: {errors: {type: model}}
  forbid_if:
    - exit == "voluntary" and trend == "own" and window > 60
"""


def changed(*pairs: tuple[str, str]) -> bytes:
    """Return the specification with some of its text replaced."""
    text = SMALL
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text.encode()
