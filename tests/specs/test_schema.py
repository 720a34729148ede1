"""The JSON Schema that ships: up to date, and of one mind with the loader."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from coalition_exit.coding.rules import load_rules
from coalition_exit.commands import new_spec
from coalition_exit.errors import SpecError
from coalition_exit.specs.exhibits import load_exhibit
from coalition_exit.specs.json_schema import json_schema, schema_path, schema_text
from coalition_exit.specs.loading import article_specs, library_folder, load_spec
from coalition_exit.specs.yaml_file import parse_yaml, read_yaml

BAD = Path(__file__).parents[1] / "bad_specs"
VALIDATOR = jsonschema.Draft202012Validator(json_schema())
# Broken in structure. Other files name things that do not exist, or are no YAML: no schema sees that.
PREFIXES = (
    "key_", "number_as", "text_as", "boolean_as", "list_as_labels", "models_", "model_", "no_models", "no_table",
    "error_type", "ties_", "estimator_", "correction_", "data_source", "statistic_misspelt", "table_", "title_too",
    "covariate_name_too", "choice_as", "parameter_as_list", "coding_named", "empty_label", "escape_code", "filter_empty",
    "filter_too_long", "nothing_in",
)  # fmt: skip
# A key is always text in JSON; the names that Windows keeps are checked by the loader; to Python's
# regular expressions, unlike an editor's, "$" also stands before a last line break.
UNSEEN = {
    "key_of_panel_as_covariate", "number_as_label_key", "table_reserved_by_windows", "table_null_device",
    "table_com_port", "table_with_newline",
}  # fmt: skip
STRUCTURAL = [p for p in sorted(BAD.glob("*.yaml")) if p.stem.startswith(PREFIXES) and p.stem not in UNSEEN]


def test_the_shipped_file_is_up_to_date() -> None:
    fresh = schema_path().read_text(encoding="utf-8") == schema_text()
    assert fresh, 'run: python -c "from coalition_exit.specs.json_schema import write_schema; write_schema()"'
    assert json.loads(schema_text()) == json_schema()
    assert schema_text().endswith("}\n")


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


def _shipped() -> list[Path]:
    return sorted(library_folder().rglob("*.yaml"))


@pytest.mark.parametrize("path", _shipped(), ids=lambda p: p.stem)
def test_shipped_specifications_are_valid(path: Path) -> None:
    VALIDATOR.validate(read_yaml(path).content)
    assert load_exhibit(path).table


def test_the_article_is_among_them() -> None:
    assert {"table1", "table2"} <= {path.stem for path in article_specs()}


def test_the_template_is_valid_with_its_comments_taken_off(tmp_path: Path) -> None:
    path = new_spec(str(tmp_path / "mine"))
    text = path.read_text(encoding="utf-8")
    VALIDATOR.validate(parse_yaml(text.encode(), "mine").content)
    options = re.sub(
        r"^( *)# (?=add:|drop:|replace:|coding:|  recexit:|  withdraw:|labels:|  foverlap:)", r"\1", text, flags=re.M
    )
    assert options != text
    content = parse_yaml(options.encode(), "mine").content
    VALIDATOR.validate(content)
    assert content["models"][1]["coding"]["recexit"] == {"window": 90}
    assert content["labels"] == {"foverlap": "Common Front"}
    spec = load_spec(options.encode())
    assert set(spec.models[1].covariates) >= {"cooppc", "ctrend30"}


@pytest.mark.parametrize("path", STRUCTURAL, ids=lambda p: p.stem)
def test_broken_structure_is_seen_by_the_schema_too(path: Path) -> None:
    assert list(VALIDATOR.iter_errors(read_yaml(path).content))


def test_most_broken_structures_are_covered() -> None:
    assert len(STRUCTURAL) >= 45


EVERYTHING: dict[str, Any] = {
    "table": "t",
    "title": "T",
    "description": "D",
    "data": "record",
    "defaults": {
        "failure": "withdraw",
        "covariates": ["foverlap", "ctrend60", "my_exit"],
        "sample": ["warnum != 1"],
        "coding": {"my_exit": {"rule": "article_recent_exit", "window": 365}, "foverlap": "article_common_front"},
        "estimator": "cox",
        "ties": "efron",
        "errors": {"type": "cluster", "by": "warnum", "correction": "none"},
    },
    "models": [
        {"key": "a", "label": "A", "group": "G"},
        {"key": "b", "add": ["pvict"], "drop": ["foverlap"], "replace": {"ctrend60": "otrend61"}, "sample": []},
    ],
    "labels": {"foverlap": "F"},
    "layout": {"order": ["pvict"], "stats": ["loglik"], "note": "N", "omit_from_figure": ["pvict"]},
}


def test_every_key_of_the_format_is_valid_for_both() -> None:
    VALIDATOR.validate(EVERYTHING)
    spec = load_spec(yaml.safe_dump(EVERYTHING).encode())
    assert spec.models[1].covariates == ("otrend61", "my_exit", "pvict")


def _paths(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(node, dict):
        return [path, *(p for key, value in node.items() for p in _paths(value, (*path, key)))]
    if isinstance(node, list):
        return [path, *(p for k, value in enumerate(node) for p in _paths(value, (*path, k)))]
    return [path]


def _set(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    copy = json.loads(json.dumps(EVERYTHING))
    at = copy
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = value
    return copy


@pytest.mark.parametrize("value", [[], {}, 3, True, [1], {"zzz": 1}, [[]]], ids=repr)
@pytest.mark.parametrize("path", _paths(EVERYTHING)[1:], ids=lambda p: ".".join(map(str, p)))
def test_schema_and_loader_agree_on_types(path: tuple[Any, ...], value: Any) -> None:
    """Whatever the schema refuses the loader refuses; the loader, which knows the names, may refuse more."""
    content = _set(path, value)
    refused_by_schema = bool(list(VALIDATOR.iter_errors(content)))
    raw = yaml.safe_dump(content).encode()
    message = _complaint(raw)
    assert "\n" not in message
    assert message or not refused_by_schema


def _complaint(raw: bytes) -> str:
    try:
        load_spec(raw, "file.yaml")
    except SpecError as error:
        return str(error)
    return ""


def test_editors_can_offer_variables_and_rules() -> None:
    definitions = json_schema()["$defs"]
    book = load_rules()
    assert definitions["Variable"]["anyOf"][0]["enum"] == book.describe_variables()
    assert definitions["RuleChoice"]["anyOf"][0]["anyOf"][0]["enum"] == list(book.rules)
    assert set(definitions["ModelEntry"]["properties"]["coding"]["properties"]) == set(book.describe_variables())


def test_every_key_is_explained() -> None:
    schema = json_schema()
    for part in (schema, *schema["$defs"].values()):
        for name, field in part.get("properties", {}).items():
            assert field.get("description") or "$ref" in field or name in ("rule", "high", "medium", "low"), name
