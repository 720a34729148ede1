"""Safe YAML with line numbers: plain data only, no duplicate keys, no surprising booleans."""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from coalition_exit.errors import SpecError

Path_ = tuple[str | int, ...]
_MOST_BYTES = 2_000_000


@dataclass(frozen=True)
class YamlFile:
    """A parsed YAML document and the line of every key in it."""

    name: str
    content: Any
    lines: dict[Path_, int]
    raw: bytes

    def place(self, path: Path_) -> str:
        """Return "file, line 12 > models[2] > ties" for a key path; lists count from 1."""
        line = next((self.lines[path[:k]] for k in range(len(path), 0, -1) if path[:k] in self.lines), None)
        text = self.name if line is None else f"{self.name}, line {line}"
        for part in path:
            text += f"[{part + 1}]" if isinstance(part, int) else f" > {part}"
        return text


class _Loader(yaml.SafeLoader):
    """YAML 1.2's scalars: only true/false are booleans, 1e-3 is a number, dates stay text."""


_Loader.yaml_implicit_resolvers = {
    letter: [
        (tag, rule) for tag, rule in resolvers if tag.rsplit(":", 1)[1] not in ("bool", "float", "int", "timestamp")
    ]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_SCALARS = {
    "bool": r"(?:true|True|TRUE|false|False|FALSE)\Z",
    "int": r"[-+]?[0-9]+\Z",
    "float": r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z|[-+]?\.(?:inf|Inf)\Z|\.(?:nan|NaN)\Z",
}
for _tag, _pattern in _SCALARS.items():
    _first = "tTfF" if _tag == "bool" else "-+0123456789."
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node))


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)


def read_yaml(path: str | Path) -> YamlFile:
    """Read a YAML file.

    Raises
    ------
    SpecError
        When the file is missing, is no text or no YAML, asks for anything but plain data, or
        gives a key twice.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else (error.strerror or str(error))
        raise SpecError(str(path), "a readable specification file", reason) from None
    if len(raw) > _MOST_BYTES:
        raise SpecError(str(path), f"a specification of at most {_MOST_BYTES} bytes", f"{len(raw)} bytes")
    return parse_yaml(raw, str(path))


def parse_yaml(raw: bytes, name: str) -> YamlFile:
    """Parse YAML from bytes; ``name`` stands for the file in messages."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(name, "UTF-8 text", f"a byte that is none at position {error.start}") from None
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[Path_, int] = {}
        if node is not None:
            _walk(node, (), lines, name)
        content = loader.construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}, line {mark.line + 1}" if mark else name
        raise SpecError(place, "plain YAML", " ".join(str(error.problem).split())) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise SpecError(name, "plain YAML", str(error).split("\n")[0]) from None
    finally:
        loader.dispose()
    return YamlFile(name, content, lines, raw)


def _walk(node: yaml.Node, path: Path_, lines: dict[Path_, int], name: str, depth: int = 0) -> None:
    """Note the line of every key and refuse keys given twice."""
    lines.setdefault(path, node.start_mark.line + 1)
    if depth > 50:
        raise SpecError(name, "nesting of at most 50 levels", "more")
    if isinstance(node, yaml.MappingNode):
        seen: set[Hashable] = set()
        for key, value in node.value:
            label = str(key.value)
            line = key.start_mark.line + 1
            if label in seen and label != "<<":
                raise SpecError(f"{name}, line {line}", "each key once", f"{label!r} twice")
            seen.add(label)
            lines[(*path, label)] = line
            _walk(value, (*path, label), lines, name, depth + 1)
    elif isinstance(node, yaml.SequenceNode):
        for k, value in enumerate(node.value):
            _walk(value, (*path, k), lines, name, depth + 1)
