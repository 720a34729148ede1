"""The block of choices: what it may hold, and one clear line for what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from coalition_exit.errors import SpecError
from coalition_exit.multiverse.choices.space import load_multiverse
from small_multiverse import SMALL, changed

BROKEN = [
    ("  focus:", "  focuss: 1\n  focus:", "choices > focuss: expected one of model, focus, .*Did you mean 'focus'"),
    ("foverlap: negative", "foverlap: neg", "focus > foverlap: expected one of positive, negative, either, got 'neg'"),
    ("{foverlap: negative,", "{foverlapp: negative,", "focus > foverlapp: .*Did you mean 'foverlap'"),
    ("{failure: volunt}", "{failur: volunt}", "line 17 > choices > decisions > exit > options > voluntary > failur: "
     ".*Did you mean 'failure'"),
    ("{failure: volunt}", "{failure: volumt}", "voluntary > failure: expected one of .*Did you mean 'volunt'"),
    ("{replace: {ctrend60: otrend60}}", "{replace: {ctrend61: otrend60}}", "replace > ctrend61: .*'ctrend60'"),
    ("{replace: {ctrend60: otrend60}}", "{replace: {ctrend60: otrend600}}", "a window from 15 to 120 days"),
    ("from: 30, to: 90", "from: 90, to: 30", "sweep > to: expected a number from 90 on, got 30"),
    ("step: 30}", "step: 30, parameter: windo}", "ctrend60 > windo: .*Did you mean 'window'"),
    ("from: 30, to: 90", "from: 0, to: 90", "expected a number from 1 to 1000, got 0"),
    ("from: 30, to: 90", "from: a, to: 90", "sweep > from: expected a number, got 'a'"),
    ("step: 30}", "step: -5}", "sweep > step: expected greater than 0, got -5"),
    ("variable: [ctrend60, otrend60]", "variable: [ctrend60, otrend61]", "sweep > variable: expected a variable that "
     "some spec has, got 'otrend61'. Did you mean 'otrend60'"),
    ("{failure: volunt}", "{coding: {withdrw: voluntary_only}}", "voluntary > coding > withdrw: expected a variable that "
     "some spec has, got 'withdrw'. Did you mean 'withdraw'"),
    ("step: 30}", "stepp: 30}", "sweep > stepp: expected one of variable, parameter, from, to, step"),
    ("step: 30}", "step: 0}", "sweep > step: expected greater than 0, got 0"),
    ("step: 30}", "step: 0.001}", "sweep > step: expected at most 10000 values, got 60001"),
    ("[ctrend60, otrend60]", "[ctrend60, otrnd60]", "Did you mean 'otrend60'"),
    ("[pvict, recexit, polity2]", "[pvict, recexit, polity22]", r"subsets_of\[3\].*Did you mean 'polity2'"),
    ("[pvict, recexit, polity2]", "[pvict, recexit, recexit]", r"subsets_of\[3\]: expected each control once"),
    ("[pvict, recexit, polity2]", "[]", "subsets_of: expected at least one entry"),
    ("always: [latejoin]", "always: [pvict]", "each control once, got 'pvict' twice"),
    ("r: {errors: {correction: none}}", "r: {errors: {correction: none}, ties: efron}",
     "r > ties: expected what no other decision sets, got ties is set by the decision 'ties' too"),
    ("{errors: {correction: none}}", "{errors: {corection: none}}", "corection: expected one of type, by, correction"),
    ("      subsets_of:", "      include_each: [demdum]\n      subsets_of:", "got subsets_of and include_each"),
    ("    ties:\n", "    empty: {label: E}\n    ties:\n", "one of options, sweep, subsets_of, include_each, got none"),
    ("    ties:\n", "    empty: {options: {}}\n    ties:\n", "expected at least one option, got none"),
    ("    ties:\n", "    empty: {options: {a: }, always: [demdum]}\n    ties:\n", "sets of controls alone"),
    ('exit == "voluntary"', 'exitt == "voluntary"', r"forbid_if\[1\]: .*Did you mean 'exit'"),
    ('exit == "voluntary"', 'exit == "volunt"', r"forbid_if\[1\]: .*Did you mean 'voluntary'"),
    ("window > 60", 'window == "60"', "numbers compared with numbers"),
    ("window > 60", "open(1)", r"forbid_if\[1\]: expected a comparison of a decision with an option, e.g. exit == "),
    ("  forbid_if:", '  allow_if: ["exit ="]\n  forbid_if:', r"allow_if\[1\]: expected a comparison of a decision with an "
     'option, e.g. exit == "voluntary"'),
    ('exit == "voluntary" and trend == "own" and window > 60', 'exit == "article" and window == 30',
     "exclusions that allow the reference spec"),
    ('exit == "voluntary" and trend == "own" and window > 60', "window > 0", "exclusions that leave a spec"),
    ("  forbid_if:", "  reference: {exit: volontary}\n  forbid_if:", "reference > exit: .*Did you mean 'voluntary'"),
    ("  forbid_if:", "  reference: {exxit: voluntary}\n  forbid_if:", "reference > exxit: .*Did you mean 'exit'"),
    ("  forbid_if:", "  reference: {window: 31}\n  forbid_if:", "reference > window: expected one of 30, 60, 90"),
    ("{time: 365,", "{tim: 365,", "survival > tim: expected one of time, from, to, others"),
    ("from: {foverlap: 0}", "from: {foverlapp: 0}", "survival > from > foverlapp: .*Did you mean 'foverlap'"),
    ('["warnum not in [106, 139]"]', '["warnumm not in [106, 139]"]', r"sample\[1\]: .*Did you mean 'warnum'"),
    ("  focus:", "  model: ful\n  focus:", "choices > model: expected full, got 'ful'"),
    ("{ties: efron}", "{ties: efrom}", "efron > ties: .*Did you mean 'efron'"),
    ("        article:\n", "        1945: {}\n", "Put text between quotes"),
    ("choices:", "choice:", "choice"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), BROKEN, ids=[new.strip()[:40] for _, new, _ in BROKEN])
def test_what_is_wrong_is_said_in_one_line(old: str, new: str, message: str) -> None:
    with pytest.raises(SpecError, match=message) as error:
        load_multiverse(changed((old, new)), "small.yaml")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("small.yaml, line ")


def test_a_specification_without_choices_is_no_multiverse(tmp_path: Path) -> None:
    path = tmp_path / "plain.yaml"
    path.write_text(SMALL.split("choices:")[0], encoding="utf-8")
    with pytest.raises(SpecError, match="expected a key 'choices', got none"):
        load_multiverse(path)


def test_controls_one_by_one_are_decisions_of_their_own() -> None:
    text = changed(("      subsets_of: [pvict, recexit, polity2]", "      include_each: [pvict, polity2]"))
    space = load_multiverse(text).space
    assert [d.name for d in space.decisions][4:6] == ["controls_pvict", "controls_polity2"]
    # The reference model's own comes first: it has pvict and not polity2.
    assert [[o.name for o in d.options] for d in space.decisions[4:6]] == [["in", "out"], ["out", "in"]]


def test_the_reference_may_be_named() -> None:
    text = changed(("  forbid_if:", "  reference: {window: 60, exit: voluntary}\n  forbid_if:"))
    space = load_multiverse(text).space
    names = space.names(space.digits_of(space.reference))
    assert names["window"] == "60"
    assert names["exit"] == "voluntary"
    assert names["controls"] == "pvict+recexit"
