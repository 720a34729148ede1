"""The validator's complaints as one line: file, line, key path, expected, got, nearest name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from coalition_exit.errors import SpecError, nearest, one_of, shown
from coalition_exit.specs.robustness_blocks import Compensation, Influence, Uncertainty
from coalition_exit.specs.schema import (
    KEY_PATTERN,
    NAME_PATTERN,
    Discrete,
    Errors,
    Layout,
    ModelDefaults,
    ModelEntry,
    Objection,
    OwnData,
    SpecFile,
)
from coalition_exit.specs.yaml_file import Path_, YamlFile

_RULE_CHOICE = "the name of a rule, or changed parameters, e.g. {window: 90}"
_SCALAR = "a number, text, or true or false"
_PATTERNS = {
    KEY_PATTERN: "letters, digits, '_' and '-', a letter or digit first",
    NAME_PATTERN: "a name of letters, digits and '_'",
}
_EXPECTED = {
    "string_type": "text",
    "list_type": "a list, e.g. [a, b]",
    "dict_type": "keys with values",
    "model_type": "keys with values",
    "too_short": "at least one entry",
    "string_too_short": "at least one letter",
    "string_unicode": "text",
    "string_pattern_mismatch": "text without control characters",
}
# Where a key belongs that stands at the wrong level.
_LEVELS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("the top level", SpecFile),
    ("defaults or a model", ModelDefaults),
    ("a model", ModelEntry),
    ("layout", Layout),
    ("errors", Errors),
    ("discrete", Discrete),
    ("data", OwnData),
    ("objection", Objection),
    ("compensation", Compensation),
    ("uncertainty", Uncertainty),
    ("influence", Influence),
)


def spec_error(file: YamlFile, error: ValidationError, root: type[BaseModel] = SpecFile) -> SpecError:
    """Turn a validation error into one `SpecError`: a misspelt key first, else the first in the file."""
    found = [(_path(file.content, d["loc"], d["type"]), d) for d in error.errors(include_url=False)]
    path, detail = min(found, key=lambda f: (f[1]["type"] != "extra_forbidden", file.line(f[0]), -len(f[0])))
    kinds = {d["type"] for p, d in found if p == path}
    kind, got = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        return _unknown_key(file, path, root)
    if kind == "missing":
        return SpecError(file.place(path[:-1]), f"a key {path[-1]!r}", "none")
    if kind == "literal_error":
        return _unknown_value(file, path, detail)
    if kind == "string_too_long":
        return SpecError(file.place(path), f"at most {detail['ctx']['max_length']} letters", f"{len(got)} letters")
    hint = ""
    if kind == "string_type" and kinds == {"string_type"} and isinstance(got, bool | int | float):
        hint = 'Put text between quotes: "..."'
    return SpecError(file.place(path), _expected(kind, kinds, detail), _describe(got), hint)


def _path(content: Any, loc: Sequence[str | int], kind: str) -> Path_:
    """Return the part of an error's location that is in the file, not in the validator."""
    path: list[str | int] = []
    at = content
    for k, part in enumerate(loc):
        keys = {str(key): key for key in at} if isinstance(at, dict) else {}
        if isinstance(at, list) and isinstance(part, int):
            path.append(part)
            at = at[part]
        elif str(part) in keys:
            path.append(str(part))
            at = at[keys[str(part)]]
        elif k == len(loc) - 1 and kind == "missing":
            path.append(part)
    return tuple(path)


def _unknown_key(file: YamlFile, path: Path_, root: type[BaseModel]) -> SpecError:
    key, valid = str(path[-1]), _fields_at(path[:-1], root)
    levels = [level for level, model in _LEVELS if key in model.model_fields]
    # A slip of the pen is likelier than the wrong place.
    slip = difflib.get_close_matches(key, valid, n=1, cutoff=0.85)
    hint = f"It belongs under {levels[0]}" if levels and not slip else nearest(key, valid)
    return SpecError(file.place(path), one_of(valid, 40), shown(key), hint)


def _unknown_value(file: YamlFile, path: Path_, detail: Any) -> SpecError:
    expected = str(detail.get("ctx", {}).get("expected", "")).replace("'", "")
    valid = [part.strip() for part in expected.replace(" or ", ",").split(",")]
    got = detail["input"]
    hint = nearest(got, valid) if isinstance(got, str) else ""
    return SpecError(file.place(path), one_of(valid), _describe(got), hint)


def _expected(kind: str, kinds: set[str], detail: Any) -> str:
    context = detail.get("ctx", {})
    if kinds == {"string_type", "dict_type"}:
        return _RULE_CHOICE
    if kinds == {"int_type", "float_type"}:
        return "a number"
    if len(kinds) > 1:
        return _SCALAR
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(context["pattern"], _EXPECTED[kind])
    return _EXPECTED.get(kind, str(detail["msg"]).removeprefix("Input should be "))


def _describe(value: object) -> str:
    """Show a value as YAML has it."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "keys with values" if value else "none"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return shown(value, 60)


def _fields_at(path: Path_, root: type[BaseModel]) -> list[str]:
    """Return the keys that may stand at a place."""
    model = root
    for part in path:
        if isinstance(part, str) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the first class of keys in a type such as ``list[Model] | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part)) is not None), None)
