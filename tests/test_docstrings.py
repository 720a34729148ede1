"""What docstrings refer to is there."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

import coalition_exit
from coalition_exit.survival.cox.cox_fit import CoxFit

PACKAGE = Path(coalition_exit.__file__).parent
PATHS = sorted(PACKAGE.rglob("*.py"))
# `module.name`, `Class.method`, `package.module.name`; not ``code``.
REFERENCE = re.compile(r"(?<!`)`([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)(?:\(\))?`(?!`)")
OTHERS = {"pandas.DataFrame"}


def _names(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    """Go through the names that a module or class binds, classes' members included."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield f"{prefix}.{node.name}"
            if isinstance(node, ast.ClassDef):
                yield from _names(node.body, f"{prefix}.{node.name}")
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (f"{prefix}.{target.id}" for target in targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{prefix}.{alias.asname or alias.name}" for alias in node.names)


@cache
def _endings() -> frozenset[str]:
    """Return the full path of everything in the package, and all that is left when its front is left off."""
    found = set()
    for path in PATHS:
        parts = [PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts]
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        for name in (module, *_names(ast.parse(path.read_text("utf-8")).body, module)):
            words = name.split(".")
            found |= {".".join(words[at:]) for at in range(len(words))}
    return frozenset(found)


@pytest.mark.parametrize("path", PATHS, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_references_in_docstrings_resolve(path: Path) -> None:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    texts = [
        ast.get_docstring(node) or ""
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, kinds)
    ]
    found = {name for text in texts for name in REFERENCE.findall(text)}
    assert not found - OTHERS - _endings()


def test_what_is_not_there_is_seen() -> None:
    assert {"phtest.proportional_hazards_test", "coalition_exit.survival.cox", "CoxPH.fit"} <= _endings()
    assert REFERENCE.findall("see `no.such`, `no.such()`, ``fit$var2`` and `alone`") == ["no.such", "no.such"]
    assert "no.such" not in _endings()


def _handed_on() -> list[tuple[str, str]]:
    """Return the methods of a Cox fit that say which function they call, with its full path."""
    methods = {
        name: inspect.getdoc(method) or "" for name, method in vars(CoxFit).items() if inspect.isfunction(method)
    }
    found = {name: re.search(r"See `([\w.]+)`", text) for name, text in methods.items()}
    return [(name, match[1]) for name, match in found.items() if match]


def test_most_methods_of_a_cox_fit_name_their_function() -> None:
    assert len(_handed_on()) > 18


@pytest.mark.parametrize(("method", "path"), _handed_on())
def test_methods_of_a_cox_fit_have_the_parameters_of_the_function_they_name(method: str, path: str) -> None:
    module, name = path.rsplit(".", 1)
    theirs = inspect.signature(getattr(import_module(module), name)).parameters
    ours = inspect.signature(getattr(CoxFit, method)).parameters
    assert not [own for own in ours.values() if own.kind is inspect.Parameter.VAR_KEYWORD]
    for own in ours.values():
        if own.name != "self":
            assert own.name in theirs
            assert own.default in (inspect.Parameter.empty, theirs[own.name].default)
    # What a fit knows by itself is not asked for again; a refit starts next to its end.
    known = {"state", "terms", "beta", "vcov", "covariance", "robust_score", "formula", "correction", "ways"}
    known |= {"max_iter", "tolerance"} if method == "refit" else set()
    assert set(theirs) - set(ours) <= known
