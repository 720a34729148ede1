"""The base of the format's classes: no other keys, no conversions, no key without content."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from coalition_exit.errors import one_of

_PLAIN = {str: "text", int: "a number", float: "a number", list: "a list, e.g. [a, b]", dict: "keys with values"}


class Strict(BaseModel):
    """Keys that a file may use: no others, no conversions, no changes afterwards.

    A key that stands there without content is refused: it would pass for what was meant to follow it.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @field_validator("*", mode="after")
    @classmethod
    def _has_content(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None:
            kind = get_args(cls.model_fields[info.field_name or ""].annotation)[0]
            raise PydanticCustomError("nothing", "{wanted}", {"wanted": _wanted(kind)})
        return value


def _wanted(kind: Any) -> str:
    """Say what a type holds."""
    if get_origin(kind) is Annotated:
        return _wanted(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return one_of(get_args(kind))
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        needed = any(field.is_required() for field in kind.model_fields.values())
        return "keys with values" if needed else "keys with values, or {} where all is left to its default"
    return _PLAIN.get(get_origin(kind) or kind, "a value")
