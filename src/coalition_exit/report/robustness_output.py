"""Files of the robustness tools: numbers first, then tables and figures made from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from coalition_exit.errors import InputError, shown
from coalition_exit.report.grid import Grid
from coalition_exit.report.robustness_plots import (
    bought_off_data,
    draw_bought_off,
    draw_simulation,
    draw_uncertainty,
    simulation_data,
    uncertainty_data,
)
from coalition_exit.report.robustness_tables import robustness_grids
from coalition_exit.specs.loading import Spec

FOLDER = "robustness"
_SHADED = {"simulation": "Shaded: 95% range of the mean over data sets."}
Save = Callable[[Any, Path], Any]


@dataclass(frozen=True, eq=False)
class RobustnessSource:
    """The numbers of one specification's blocks, by name of their file, with settings and the data's note."""

    spec: Spec
    note: str
    frames: Mapping[str, pd.DataFrame]
    said: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Drawn:
    """A figure as drawn: its files' stem, title, and a sentence for readers who cannot see it."""

    key: str
    title: str
    alt: str


def write_numbers(folder: Path, sources: Sequence[RobustnessSource]) -> dict[str, dict[str, pd.DataFrame]]:
    """Write every frame to ``robustness/TABLE_NAME.csv`` and return them as read back, by table and name."""
    read: dict[str, dict[str, pd.DataFrame]] = {}
    for source in sources:
        if source.frames:
            (folder / FOLDER).mkdir(exist_ok=True)
        read[source.spec.table] = {
            name: _through_csv(frame, folder / FOLDER / f"{source.spec.table}_{name}.csv")
            for name, frame in source.frames.items()
        }
    return read


def _through_csv(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Write a frame and read it back to the last digit."""
    frame.to_csv(path, index=False, lineterminator="\n", encoding="utf-8")
    text = [name for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])]
    kept: dict[str, Any] = {"keep_default_na": False, "na_values": [""], "encoding": "utf-8"}
    found = pd.read_csv(path, dtype=dict.fromkeys(text, str), float_precision="round_trip", **kept)
    return found.fillna(dict.fromkeys(text, ""))


def grids_of(
    sources: Sequence[RobustnessSource], read: Mapping[str, Mapping[str, pd.DataFrame]], taken: Sequence[str]
) -> list[Grid]:
    """Make the tables of all sources.

    Raises
    ------
    InputError
        When one would have the name of another table of the run.
    """
    grids = [
        grid
        for source in sources
        for grid in robustness_grids(source.spec, read[source.spec.table], source.said, source.note)
    ]
    for grid in grids:
        if grid.key.casefold() in {name.casefold() for name in taken}:
            raise InputError("table", f"a name other than {shown(grid.key)}, that of another table of this run")
    return grids


def draw_all(
    folder: Path, sources: Sequence[RobustnessSource], read: Mapping[str, Mapping[str, pd.DataFrame]], save: Save
) -> list[Drawn]:
    """Draw the figures of all sources; each has its numbers beside it."""
    drawn = []
    for source in sources:
        labels = {term: source.spec.label_of(term) for term in source.spec.order}
        for name, key, title, data, draw in _figures(source.spec, read[source.spec.table]):
            data.to_csv(folder / f"{key}.csv", index=False, lineterminator="\n", encoding="utf-8")
            save(draw(data, labels, title, _note(source, name)), folder / key)
            drawn.append(Drawn(key, title, f"{title}; the numbers are in {key}.csv"))
    return drawn


def _note(source: RobustnessSource, name: str) -> str:
    """Say how the numbers of a figure came about and which data they show."""
    said = source.said.get(name, "")
    settings = f"{said[:1].upper()}{said[1:].rstrip('.')}." if said else ""
    return " ".join(part for part in (settings, _SHADED.get(name, ""), f"Data: {source.note}.") if part)


Draw = Callable[[pd.DataFrame, Mapping[str, str], str, str], Any]
Figure = tuple[str, str, str, pd.DataFrame, Draw]


def _figures(spec: Spec, frames: Mapping[str, pd.DataFrame]) -> list[Figure]:
    """Name of the numbers, key, title, data and drawing of each figure."""
    found: list[Figure] = []
    if "bought_off" in frames:
        data = bought_off_data(frames["bought_off"])
        title = f"{spec.title}: coefficients by the share of exits bought off"
        found.append(("bought_off", f"{spec.table}_bought_off", title, data, draw_bought_off))
    if "simulation" in frames:
        data, title = simulation_data(frames["simulation"]), f"{spec.title}: simulated compensation"
        found.append(("simulation", f"{spec.table}_simulation", title, data, draw_simulation))
    if "uncertainty" in frames:
        heads = {model.key: model.head for model in spec.models}
        models = list(dict.fromkeys(frames["uncertainty"]["model"]))
        for model in models:
            data = uncertainty_data(frames["uncertainty"], model)
            key = f"{spec.table}_uncertainty" + (f"_{model}" if len(models) > 1 else "")
            title = f"{spec.title}: coding and sampling ({heads.get(model, model)})"
            found.append(("uncertainty", key, title, data, draw_uncertainty))
    return [one for one in found if len(one[3])]
