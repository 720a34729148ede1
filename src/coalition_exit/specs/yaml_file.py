"""Safe YAML with line numbers: plain data only, no duplicate keys, no surprising booleans."""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from coalition_exit.errors import SpecError, nearest, shown

Path_ = tuple[str | int, ...]
_MOST_BYTES = 2_000_000
_MOST_LEVELS = 50
# Letters of a key that a message shows.
_MOST_LETTERS = 60
# Anchors let a short file stand for an endless one; no specification has this many entries.
_MOST_ENTRIES = 100_000
_MOST_DIGITS = 18
_PLAIN = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class YamlFile:
    """A parsed YAML document and the line of every key in it."""

    name: str
    content: Any
    lines: dict[Path_, int]
    raw: bytes

    @property
    def sha256(self) -> str:
        """Hash of the text; a byte order mark and Windows line ends do not change it."""
        return hashlib.sha256(self.raw.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n")).hexdigest()

    def line(self, path: Path_) -> int:
        """Return the line of a key path, or of what encloses it; 0 for the whole file."""
        return next((self.lines[path[:k]] for k in range(len(path), 0, -1) if path[:k] in self.lines), 0)

    def place(self, path: Path_) -> str:
        """Return "file, line 12 > models[2] > ties" for a key path; lists count from 1."""
        line = self.line(path)
        text = f"{self.name}, line {line}" if line else self.name
        for part in path:
            name = part if isinstance(part, int) or len(part) <= _MOST_LETTERS else f"{part[:_MOST_LETTERS]}..."
            text += f"[{name + 1}]" if isinstance(name, int) else f" > {name}"
        return text


class _Loader(yaml.SafeLoader):
    """YAML 1.2's scalars: only true/false are booleans, 1e-3 is a number, dates stay text."""


_Loader.yaml_implicit_resolvers = {
    letter: [
        (tag, rule)
        for tag, rule in resolvers
        if tag.rsplit(":", 1)[1] not in ("bool", "float", "int", "timestamp", "value")
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
    if len(node.value.lstrip("+-")) > _MOST_DIGITS:
        raise yaml.constructor.ConstructorError(None, None, "a number of too many digits", node.start_mark)
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
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        beside = [p.name for p in path.parent.glob("*.y*ml")] if isinstance(error, FileNotFoundError) else []
        raise SpecError(
            str(path), "a readable specification file", reason.lower(), nearest(path.name, beside)
        ) from None
    if len(raw) > _MOST_BYTES:
        raise SpecError(str(path), f"a specification of at most {_MOST_BYTES} bytes", "a longer one")
    return parse_yaml(raw, str(path))


def parse_yaml(raw: bytes, name: str) -> YamlFile:
    """Parse YAML from bytes; ``name`` stands for the file in messages."""
    text = _decode(raw, name)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        walk = _Walk(loader, name)
        if node is not None:
            walk.visit(node, (), 0)
        content = loader.construct_document(node) if node is not None else None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SpecError(f"{name}, line {line}", "text", f"the control character U+{error.character:04X}") from None
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text, name) from None
    except RecursionError:
        raise SpecError(name, f"nesting of at most {_MOST_LEVELS} levels", "more") from None
    except ValueError as error:
        raise SpecError(name, "plain YAML", str(error).split("\n")[0]) from None
    return YamlFile(name, content, walk.lines, raw)


def _decode(raw: bytes, name: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        got = f"the byte {raw[error.start]:#04x}"
        raise SpecError(f"{name}, line {line}", "UTF-8 text", got, "Save the file as UTF-8") from None


_COLUMNS = "Entries that belong together begin in the same column"
_QUOTES = "Text that holds double quotation marks stands between single ones"


def _syntax_error(error: yaml.MarkedYAMLError, text: str, name: str) -> SpecError:
    problem = " ".join(str(error.problem).split())
    mark = error.problem_mark or error.context_mark
    number = mark.line if mark else 0
    line = text.splitlines()[number] if number < len(text.splitlines()) else ""
    hint = ""
    found = re.sub(r".*but (?:found|got) |^found ", "", problem).replace("'<stream end>'", "the end of the file")
    if "\t" in line[: len(line) - len(line.lstrip())] or "'\\t'" in problem:
        hint = "Indent with spaces, not with tabs"
    elif problem.startswith("mapping values are not allowed"):
        found, hint = "a ':' where none can stand", f"Text that holds a colon stands between quotes. {_COLUMNS}"
    elif problem.startswith("expected <block end>"):
        quoted = "<scalar>" in problem
        found = "more text after a closing quotation mark" if quoted else "a line that begins in another column"
        hint = _QUOTES if quoted else _COLUMNS
    elif problem.startswith("expected ',' or"):
        opened = (
            f"In the brackets opened in line {error.context_mark.line + 1}" if error.context_mark else "In brackets"
        )
        found = found.replace("'<scalar>'", "text after a closing quotation mark")
        hint = f"{opened}: each bracket and each quotation mark is closed, and text with either stands between quotes"
    elif problem.startswith(("found undefined alias", "found character")):
        hint = "Text that begins with a special letter stands between quotes"
    return SpecError(f"{name}, line {number + 1}", "plain YAML", found, hint)


class _Walk:
    """One pass over the document: notes lines, refuses tags, keys given twice and endless files."""

    def __init__(self, loader: _Loader, name: str) -> None:
        self.resolve: Any = loader.resolve
        self.name, self.entries = name, 0
        self.lines: dict[Path_, int] = {}

    def visit(self, node: yaml.Node, path: Path_, depth: int) -> None:
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        self.entries += 1
        if depth > _MOST_LEVELS:
            raise SpecError(f"{self.name}, line {line}", f"nesting of at most {_MOST_LEVELS} levels", "more")
        if self.entries > _MOST_ENTRIES:
            raise SpecError(f"{self.name}, line {line}", f"at most {_MOST_ENTRIES} entries", "more")
        self._check_tag(node, line)
        if isinstance(node, yaml.MappingNode):
            self._visit_keys(node, path, depth)
        elif isinstance(node, yaml.SequenceNode):
            for k, value in enumerate(node.value):
                self.visit(value, (*path, k), depth + 1)

    def _visit_keys(self, node: yaml.MappingNode, path: Path_, depth: int) -> None:
        seen: set[Hashable] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            place = f"{self.name}, line {line}"
            if not isinstance(key, yaml.ScalarNode):
                raise SpecError(place, "a word as key", "a list or keys with values")
            self._check_tag(key, line)
            if key.value in seen:
                inside = YamlFile(place, None, {}, b"").place(path)
                raise SpecError(inside, "each key once", f"{shown(key.value)} twice")
            seen.add(key.value)
            self.lines[(*path, key.value)] = line
            self.visit(value, (*path, key.value), depth + 1)

    def _check_tag(self, node: yaml.Node, line: int) -> None:
        """Refuse tags such as ``!!python/name``, and ``!!float`` on what is no number."""
        if isinstance(node, yaml.ScalarNode):
            plain = {f"{_PLAIN}str", self.resolve(yaml.ScalarNode, node.value, (True, False))}
        else:
            plain = {f"{_PLAIN}map", f"{_PLAIN}seq"}
        if node.tag not in plain:
            tag = node.tag.replace(_PLAIN, "!!")
            raise SpecError(f"{self.name}, line {line}", "plain values without tags", shown(tag))
