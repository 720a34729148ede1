"""The JSON Schema that ships with the package, for editors; made from the classes of the format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import models_json_schema

from coalition_exit.coding.rules import load_rules
from coalition_exit.specs.choices import ChoiceFile
from coalition_exit.specs.exhibits import CrosstabFile, FigureFile
from coalition_exit.specs.schema import NAME_PATTERN

_PARTS = ("ModelDefaults", "ModelEntry", "Patch")
_RULE = {
    key: {"type": "string", "description": text}
    for key, text in {
        "based_on": "Rule that this one starts from", "variable": "Variable it codes", "label": "Name in tables",
        "meaning": "What its values say", "rationale": "Why one would code so", "citation": "Who does",
        "where": "Exits that count, in place of the other rule's", "only_if": "Exits that count must also fulfil this",
        "not_if": "Exits that do not count", "also_if": "Exits that count besides",
    }.items()
}  # fmt: skip
# The key that tells a figure or a cross-tabulation from a table.
_KINDS = {"figure": FigureFile, "crosstab": CrosstabFile}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a specification file, for editors.

    Variables and rules that ship are offered by name; others are allowed, since the trends' windows
    and a file's own variables are too many to list. `load_spec` checks them all.
    """
    models = {"table": ChoiceFile, **_KINDS}
    schema = _without_noise(_together(models))
    book = load_rules()
    name = {"type": "string", "minLength": 1, "maxLength": 80}
    variable = {"anyOf": [{"enum": book.describe_variables()}, name]}
    choice = _offer_rules(schema, list(book.rules), book.describe_variables())
    for part in _PARTS:
        fields = schema["$defs"][part]["properties"]
        for outcome in ("failure", "outcome"):
            fields[outcome]["anyOf"][0] = {"$ref": "#/$defs/Variable"}
        for list_of_names in {"covariates", "add", "drop", "strata"} & fields.keys():
            fields[list_of_names]["anyOf"][0]["items"] = {"$ref": "#/$defs/Variable"}
    definitions = schema.pop("$defs") | {"RuleChoice": choice, "Variable": variable}
    # A condition on the key gives better messages in an editor than a list of alternatives.
    # Most specifications have no choices: the key is not required.
    table = definitions["ChoiceFile"]
    table["required"] = [key for key in table["required"] if key != "choices"]
    rule = {"type": "object", "required": ["based_on"], "properties": _RULE}
    for file in ("ChoiceFile", *(kind.__name__ for kind in _KINDS.values())):
        definitions[file]["properties"]["rules"]["anyOf"][0]["additionalProperties"] = rule
    kinds: dict[str, Any] = {"$ref": "#/$defs/ChoiceFile"}
    for key, model in _KINDS.items():
        kinds = {"if": {"required": [key]}, "then": {"$ref": f"#/$defs/{model.__name__}"}, "else": kinds}
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "coalition-exit specification",
        "description": "A specification: a table of models, a figure, or a cross-tabulation.",
        "type": "object",
    }
    return {**head, **kinds, "$defs": {name: _with_content(part) for name, part in sorted(definitions.items())}}


def _with_content(definition: dict[str, Any]) -> dict[str, Any]:
    """Refuse keys without content, as the loader does; an option of a decision may have none."""
    properties = dict(definition.get("properties", {}))
    for name, field in properties.items():
        kinds = [kind for kind in field.get("anyOf", []) if kind != {"type": "null"}]
        rest = {key: value for key, value in field.items() if key != "anyOf"}
        if kinds:
            properties[name] = {**rest, "anyOf": kinds} if len(kinds) > 1 else {**kinds[0], **rest}
    return {**definition, "properties": properties} if properties else definition


def _together(models: dict[str, Any]) -> dict[str, Any]:
    """Return the definitions of several classes, each once."""
    _, schema = models_json_schema([(model, "validation") for model in models.values()])
    return dict(schema)


def _offer_rules(schema: dict[str, Any], rules: list[str], variables: list[str]) -> dict[str, Any]:
    """Name rules and variables in the schema of ``coding``; return the schema of one choice."""
    choice: dict[str, Any] = {}
    for part in _PARTS:
        coding = schema["$defs"][part]["properties"]["coding"]["anyOf"][0]
        choice = coding["patternProperties"][NAME_PATTERN]
        reference = {"$ref": "#/$defs/RuleChoice"}
        coding["properties"] = dict.fromkeys(variables, reference)
        coding["patternProperties"] = {NAME_PATTERN: reference}
        coding["additionalProperties"] = False
    # A rule may also be one of the file's own.
    named = {"anyOf": [{"enum": rules}, {"type": "string", "pattern": NAME_PATTERN}]}
    choice["anyOf"][0] = named
    choice["anyOf"][1]["properties"] = {"rule": named}
    return choice


def _without_noise(node: Any, are_names: bool = False) -> Any:
    """Leave out titles that repeat the names of fields, and defaults that say nothing."""
    if isinstance(node, list):
        return [_without_noise(item) for item in node]
    if not isinstance(node, dict):
        return node
    noise = set() if are_names else {key for key in node if key == "title" or (key == "default" and node[key] is None)}
    return {key: _without_noise(node[key], key in ("properties", "$defs")) for key in node if key not in noise}


def schema_path() -> Path:
    """Return where the JSON Schema stands that ships with the package."""
    return Path(__file__).with_name("schema.json")


def schema_text() -> str:
    """Return the text of that file."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def write_schema() -> None:
    """Write that file anew, after a change of the format or of the rules."""
    schema_path().write_text(schema_text(), encoding="utf-8", newline="\n")
