"""The package's layers import to the left only, and importing it is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import coalition_exit

PACKAGE = Path(coalition_exit.__file__).parent
# From left to right: a layer may import itself and what stands before it.
LAYERS = (
    "errors",
    "provenance",
    "record",
    "coding",
    "panel",
    "survival",
    "archive",
    "specs",
    "runner",
    "multiverse",
    "robustness",
    "report",
    "commands",
    "cli",
)
# The same inside the multiverse, folder by folder.
MULTIVERSE = ("choices", "fits", "null", "runs", "reading")
# The estimators are a door of their own: they know nothing of the record or of specifications.
ALONE = {"survival": {"errors", "survival"}}


def _modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py" or p.parent != PACKAGE)


def _layer(path: Path) -> str:
    part = path.relative_to(PACKAGE).parts[0]
    return part.removesuffix(".py")


def _imports(path: Path, below: str = "coalition_exit.") -> set[str]:
    """Return the parts of the package that a module imports, for type checkers too: names right below a prefix."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.removeprefix(below).split(".")[0] for name in names if name.startswith(below)}
    return found


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_left(path: Path) -> None:
    layer = _layer(path)
    assert layer in LAYERS
    allowed = ALONE.get(layer, set(LAYERS[: LAYERS.index(layer) + 1]))
    assert _imports(path) <= allowed


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / "multiverse").glob("*/*.py")), ids=lambda p: f"{p.parent.name}/{p.name}"
)
def test_imports_point_left_inside_the_multiverse(path: Path) -> None:
    found = _imports(path, "coalition_exit.multiverse.")
    assert found <= set(MULTIVERSE[: MULTIVERSE.index(path.parent.name) + 1])


@pytest.mark.parametrize("folder", [PACKAGE / "multiverse" / name for name in MULTIVERSE], ids=lambda p: p.name)
def test_no_circles_inside_the_multiverse(folder: Path) -> None:
    below = f"coalition_exit.multiverse.{folder.name}."
    imports = {path.stem: _imports(path, below) for path in folder.glob("*.py") if path.name != "__init__.py"}
    while imports:
        free = {name for name, needs in imports.items() if not needs & set(imports)}
        assert free, f"these import each other: {sorted(imports)}"
        imports = {name: needs for name, needs in imports.items() if name not in free}


def test_report_never_imports_estimators() -> None:
    for path in (PACKAGE / "report").rglob("*.py"):
        assert not _imports(path) & {"survival", "runner", "panel"}, path


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, coalition_exit\n"
        "heavy = {'pandas', 'numpy', 'scipy', 'matplotlib', 'pydantic', 'formulaic', 'lifelines', 'statsmodels'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_every_public_name_can_be_had() -> None:
    for name in coalition_exit.__all__:
        assert getattr(coalition_exit, name) is not None
    with pytest.raises(AttributeError):
        _ = coalition_exit.no_such_name
