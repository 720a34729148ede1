"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from coalition_exit.archive import fetch
from coalition_exit.commands import data as data_commands
from coalition_exit.commands import rules as rules_commands
from coalition_exit.panel.build import build_panel
from coalition_exit.record.loading import Record, load_record
from coalition_exit.report import output
from coalition_exit.runner import sources
from tiny_record import write_tiny_record

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "reference"


@pytest.fixture(scope="session")
def record() -> Record:
    """The record that ships with the package."""
    return load_record()


@pytest.fixture(scope="session")
def panel(record: Record) -> pd.DataFrame:
    """The panel under the article's rules."""
    return build_panel(record)


@pytest.fixture
def loaded_once(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands use the record that is loaded already."""
    load = sources.load_record
    for module in (sources, data_commands, rules_commands):
        monkeypatch.setattr(module, "load_record", lambda folder=None: record if folder is None else load(folder))


@pytest.fixture(autouse=True)
def archive_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of the user's own without the author's file, whatever this machine has."""
    folder = tmp_path_factory.mktemp("user_data")
    monkeypatch.setattr(fetch, "archive_folder", lambda: folder)
    return folder


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the drawing of figures, which takes longest."""
    monkeypatch.setattr(output, "save", lambda _, stem: [stem.with_suffix(".svg").write_text("<svg/>", "utf-8")])


@pytest.fixture
def tiny_folder(tmp_path: Path) -> Path:
    """A folder with a small made-up record that passes every check."""
    return write_tiny_record(tmp_path / "tiny")


@pytest.fixture(scope="session")
def public_data() -> Path:
    """Public data sets to check the record against; they are not part of the project."""
    if not SHARED.is_dir():
        pytest.skip("the public reference data are not beside the project")
    return SHARED
