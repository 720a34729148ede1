"""The package's layers import to the left only, and importing it is light."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import coalition_exit
from coalition_exit import robustness, survival

PACKAGE = Path(coalition_exit.__file__).parent
# From left to right: a layer may import itself and what stands before it.
LAYERS = (
    "errors",
    "processes",
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


def _module_name(path: Path) -> str:
    parts = [PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(path: Path, known: set[str]) -> set[str]:
    """Modules of the package that a file imports, anywhere in it: in functions and for type checkers, too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inside & known) | ({node.module} if inside - known else set())
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & known


def test_no_modules_import_each_other_in_a_circle() -> None:
    paths = {_module_name(path): path for path in _modules()}
    graph = {name: _imported(path, set(paths)) - {name} for name, path in paths.items()}
    assert sum(map(len, graph.values())) > 500
    list(graphlib.TopologicalSorter(graph).static_order())


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


def test_the_cox_model_loads_no_more_than_it_needs() -> None:
    code = (
        "import sys\n"
        "from coalition_exit import CoxPH\n"
        "heavy = {'scipy.stats', 'scipy.optimize', 'matplotlib', 'formulaic', 'lifelines', 'statsmodels', 'numba'}\n"
        "print('pandas' in sys.modules, sorted(heavy & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "True []"


@pytest.mark.parametrize("package", [coalition_exit, survival, robustness], ids=lambda p: p.__name__)
def test_every_public_name_can_be_had(package: ModuleType) -> None:
    for name in package.__all__:
        assert getattr(package, name) is not None
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError):
        _ = package.no_such_name


@pytest.mark.parametrize("package", [coalition_exit, survival, robustness], ids=lambda p: p.__name__)
def test_no_public_name_is_a_module_too(package: ModuleType) -> None:
    folder = Path(str(package.__file__)).parent
    assert not set(package.__all__) & {path.stem for path in folder.iterdir()}
