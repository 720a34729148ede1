"""Reading YAML: plain data with lines, whatever the bytes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coalition_exit.errors import SpecError
from coalition_exit.specs.yaml_file import YamlFile, parse_yaml, read_yaml


def content(text: str) -> Any:
    return parse_yaml(text.encode(), "file.yaml").content


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True), ("False", False), ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"),
        ("1", 1), ("-1", -1), ("+1", 1), ("007", 7), ("0x10", "0x10"), ("0o7", "0o7"), ("1_000", "1_000"), ("1:30", "1:30"),
        ("1.5", 1.5), (".5", 0.5), ("1.", 1.0), ("1e3", 1000.0), ("1e-3", 0.001), ("-.inf", -math.inf), ("1.2.3", "1.2.3"),
        ("2020-01-01", "2020-01-01"), ("~", None), ("null", None), ("", None), ("'1'", "1"), ("!!str 1", "1"), ("=", "="),
        ("123456789012345678", 123456789012345678), ("|\n  a\n  b\n", "a\nb\n"), (">\n  a\n  b\n", "a b\n"),
    ],
)  # fmt: skip
def test_scalars(text: str, value: object) -> None:
    got = content(f"key: {text}")["key"]
    assert got == value
    assert type(got) is type(value)


def test_not_a_number_is_one() -> None:
    assert math.isnan(content("key: .nan")["key"])


def test_places_count_lists_from_one_and_name_the_line() -> None:
    file = parse_yaml(b"a:\n  - b: 1\n  - b: 2\n\n    c: 3\n", "dir/file.yaml")
    assert file.place(()) == "dir/file.yaml"
    assert file.place(("a",)) == "dir/file.yaml, line 1 > a"
    assert file.place(("a", 1, "c")) == "dir/file.yaml, line 5 > a[2] > c"
    assert file.place(("a", 1, "absent")) == "dir/file.yaml, line 3 > a[2] > absent"
    assert file.place(("absent",)) == "dir/file.yaml > absent"
    assert file.place(("k" * 500,)) == f"dir/file.yaml > {'k' * 60}..."


def test_file_and_bytes_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"a: [1, {b: c}]\n")
    assert read_yaml(path).content == read_yaml(str(path)).content == content("a: [1, {b: c}]")


def test_an_endless_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    with path.open("wb") as file:
        file.truncate(50_000_000)
    with pytest.raises(SpecError, match="at most 2000000 bytes, got a longer one"):
        read_yaml(path)


def _outcome(raw: bytes) -> YamlFile | str:
    try:
        return parse_yaml(raw, "file.yaml")
    except SpecError as error:
        return str(error)


def _is_clean(found: YamlFile | str) -> bool:
    return isinstance(found, YamlFile) or (found.startswith("file.yaml") and "\n" not in found and len(found) < 500)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_in_one_line(raw: bytes) -> None:
    assert _is_clean(_outcome(raw))


@settings(deadline=None, max_examples=500)
@given(st.text(alphabet="ab1.:-? \n\t[]{},&*!|>'\"%@`#<~=", max_size=40))
def test_any_markup_is_read_or_refused_in_one_line(text: str) -> None:
    assert _is_clean(_outcome(text.encode()))


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"]), max_size=8)
NUMBERS = st.one_of(st.integers(-(10**17), 10**17), st.floats(allow_nan=False, allow_infinity=False))
PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=10,
)


@settings(deadline=None, max_examples=100)
@given(PLAIN)
def test_json_is_read_as_what_it_says(value: object) -> None:
    found = content(json.dumps(value, ensure_ascii=False))
    assert found == value
    assert repr(found) == repr(value)
