"""The blocks beside the models: what is valid, what the template offers, what ships."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from coalition_exit.cli import main
from coalition_exit.coding.rules import load_rules
from coalition_exit.commands import new_spec, user_specs
from coalition_exit.errors import SpecError
from coalition_exit.specs.blocks import block_model
from coalition_exit.specs.choices import parse_choices
from coalition_exit.specs.loading import Spec, load_spec
from coalition_exit.specs.yaml_file import parse_yaml

HEAD = """
table: t
title: T
defaults: {failure: withdraw, covariates: [foverlap, ctrend60]}
models:
  - {key: first}
  - {key: second}
  - {key: logit, estimator: logit}
"""
OBJECTION = "objection: {who: Me, claim: C, changes: D, reference: %s, focus: {foverlap: either}}\n"


def load(text: str) -> Spec:
    return load_spec((HEAD + text).encode())


def test_without_blocks_there_are_none() -> None:
    spec = load("")
    assert (spec.objection, spec.compensation, spec.uncertainty, spec.influence) == (None,) * 4


def test_blocks_are_read_with_their_defaults() -> None:
    spec = load(OBJECTION % "second" + "compensation: {}\nuncertainty: {}\ninfluence: {}\n")
    assert spec.objection is not None
    assert spec.objection.focus == {"foverlap": "either"}
    assert spec.compensation is not None
    assert spec.compensation.shares[0] == 0.0
    assert spec.uncertainty is not None
    assert spec.influence is not None


@pytest.mark.parametrize(
    ("objection", "key", "wanted"),
    [("", None, "first"), ("second", None, "second"), ("second", "first", "first"), ("logit", None, "first")],
)
def test_the_model_that_a_block_speaks_of(objection: str, key: str | None, wanted: str) -> None:
    spec = load(OBJECTION % objection if objection else "")
    model = block_model(spec.models, spec.objection, key)
    assert model is not None
    assert model.key == wanted


def test_patterns_may_ask_for_the_panels_columns() -> None:
    load("compensation: {patterns: [{key: late, where: warday > 365 and foverlap < 0.5}]}\n")
    load("influence: {candidates: 'partners_wish == \"unclear\" and warnum != 106'}\n")


OWN = """
table: t
title: T
data: {file: rows.csv, id: id, start: start, stop: stop}
defaults: {failure: event, covariates: [x]}
models: [{key: a}]
"""


@pytest.mark.parametrize(
    ("block", "part"),
    [
        ("uncertainty: {}", "uncertainty: expected data: record, whose facts are drawn"),
        ("influence: {candidates: 'id == 3'}", "influence > candidates: expected data: record"),
        ("compensation: {}", "compensation: expected x, got 'ctrend60'"),
        ("compensation: {trend: x, patterns: [{key: a, where: warday > 3}]}", "got 'warday'"),
    ],
)
def test_a_data_file_of_ones_own_has_no_facts(block: str, part: str, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("id,start,stop,event,x\n1,0,3,1,0.5\n2,0,4,0,0.1\n", encoding="utf-8")
    path = tmp_path / "own.yaml"
    path.write_text(f"{OWN}{block}\n", encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    assert part in str(caught.value)


def test_no_cox_model_no_block() -> None:
    text = HEAD.replace("  - {key: first}\n  - {key: second}\n", "")
    for block in ("compensation", "uncertainty", "influence"):
        with pytest.raises(SpecError, match="a Cox model"):
            load_spec(f"{text}{block}: {{}}\n".encode())


TEMPLATE_BLOCKS = ("rules", "compensation", "uncertainty", "influence", "choices")


def _uncommented(text: str, name: str) -> str:
    """Take the comments off one block of the template."""
    found = re.search(rf"^# {name}:\n(?:#   .*\n)+", text, flags=re.M)
    assert found, name
    return text.replace(found[0], re.sub(r"^# ", "", found[0], flags=re.M))


def test_the_template_answers_an_objection(tmp_path: Path) -> None:
    spec = load_spec(new_spec(str(tmp_path / "mine")))
    assert spec.objection is not None
    assert [model.key for model in spec.models] == ["reference", "objection"]


@pytest.mark.parametrize("name", TEMPLATE_BLOCKS)
def test_every_block_of_the_template_is_valid(name: str, tmp_path: Path) -> None:
    text = _uncommented(new_spec(str(tmp_path / "mine")).read_text(encoding="utf-8"), name)
    if name == "choices":
        assert set(parse_choices(parse_yaml(text.encode(), "mine")).decisions) == {"exit", "window", "controls"}
    spec = load_spec(text.encode())
    if name in ("compensation", "uncertainty", "influence"):
        assert getattr(spec, name) is not None


def test_the_rules_that_the_template_names_are_there(tmp_path: Path) -> None:
    text = new_spec(str(tmp_path / "mine")).read_text(encoding="utf-8")
    lines = re.findall(r"^#   - (\w+): (\{.*?\}|\w+)", text, flags=re.M)
    assert len(lines) >= 10
    for variable, choice in lines:
        model = f"  - {{key: tried, coding: {{{variable}: {choice}}}}}\n"
        spec = load_spec(HEAD.replace("  - {key: second}\n", model).encode())
        assert variable in spec.models[1].choices
        assert choice.startswith("{") or choice in load_rules().rules


def test_the_schema_is_never_written_over_another_file(tmp_path: Path) -> None:
    schema = tmp_path / "coalition-exit.schema.json"
    schema.write_text('{"title": "mine"}', encoding="utf-8")
    new_spec(str(tmp_path / "one"))
    assert schema.read_text(encoding="utf-8") == '{"title": "mine"}'
    schema.write_text('{"title": "coalition-exit specification", "old": 1}', encoding="utf-8")
    new_spec(str(tmp_path / "two"))
    assert '"old"' not in schema.read_text(encoding="utf-8")


def test_the_symposium_is_complete() -> None:
    specs = {spec.table: spec for spec in user_specs(["symposium"]) if isinstance(spec, Spec)}
    assert set(specs) == {
        "henke_scope", "henke_partial", "morey_entrapment", "morey_limited_aims", "morey_both", "wolford_coalition",
        "wolford_aims", "wolford_alliances", "weisiger_compensation", "disputed_codings", "influential_cases",
    }  # fmt: skip
    article = next(m for m in user_specs(["article/table2"])[0].models if m.key == "full")  # type: ignore[union-attr]
    for spec in specs.values():
        assert spec.objection is not None
        assert spec.objection.focus == {"foverlap": "negative", "ctrend60": "positive"}
        reference = spec.models[0]
        assert reference.key == spec.objection.reference == "article"
        assert (reference.covariates, reference.failure, reference.choices) == (article.covariates, "withdraw", {})
        assert reference.errors == article.errors
    assert specs["weisiger_compensation"].compensation is not None
    assert specs["disputed_codings"].uncertainty is not None
    assert specs["influential_cases"].influence is not None


@pytest.mark.parametrize("name", ["compensation", "uncertainty", "influence"])
def test_a_block_left_to_its_defaults_is_told(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = new_spec(str(tmp_path / "mine"))
    path.write_text(path.read_text(encoding="utf-8") + f"{name}: {{}}\n", encoding="utf-8")
    assert getattr(load_spec(path), name) is not None
    with pytest.raises(SystemExit) as left:
        main(["validate", str(path)])
    assert not left.value.code
    assert f"  Blocks: objection, {name}\n" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["choices", "compensation", "uncertainty", "influence", "labels", "    coding"])
def test_a_line_of_the_template_uncommented_alone_is_refused(name: str, tmp_path: Path) -> None:
    path = new_spec(str(tmp_path / "mine"))
    text = path.read_text(encoding="utf-8")
    indent, key = name[: -len(name.lstrip())] if name != name.lstrip() else "", name.lstrip()
    assert text.count(f"\n{indent}# {key}:") == 1
    path.write_text(text.replace(f"\n{indent}# {key}:", f"\n{indent}{key}:"), encoding="utf-8")
    with pytest.raises(SpecError, match=rf"line \d+ > .*{key}: expected keys with values.*, got nothing$"):
        load_spec(path)
