"""What a reader of the specs' table must know of the choices: decisions, options, the reference, expected signs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coalition_exit.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coalition_exit.multiverse.choices.space import Multiverse

DESIGN = "design.json"
PREFIX = "decision_"
# A decision with more options lists none: those in the table count, in their order there.
_MOST_LISTED = 4096


@dataclass(frozen=True)
class DecisionView:
    """A decision as figures and tables show it; ``options`` is empty where there are too many to list."""

    name: str
    label: str
    kind: str
    options: tuple[str, ...]
    reference: str

    @property
    def column(self) -> str:
        """Its column in the specs' table."""
        return PREFIX + self.name


@dataclass(frozen=True)
class Design:
    """The decisions of a multiverse, and the focus terms with their expected signs and labels.

    Attributes
    ----------
    table, title
        Name and title of the specification.
    decisions
        The slowest first.
    focus
        Term -> "positive", "negative" or "either".
    labels
        Term -> its name in tables and figures.
    measured_by
        Term -> decisions whose options measure it in different ways, so that coefficients are on different scales;
        terms that all specs measure alike are not there.
    """

    table: str
    title: str
    decisions: tuple[DecisionView, ...]
    focus: Mapping[str, str]
    labels: Mapping[str, str]
    measured_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def decision(self, name: str) -> DecisionView:
        """Return a decision by name."""
        return next(d for d in self.decisions if d.name == name)

    def codes(self, specs: pd.DataFrame) -> tuple[NDArray[np.int64], list[list[str]]]:
        """Return the place of each row's option, (n, D), and the names of the options of each decision."""
        columns, names = [], []
        for decision in self.decisions:
            column = specs[decision.column]
            if not isinstance(column.dtype, pd.CategoricalDtype):
                column = column.astype("category")
            listed = list(decision.options)
            known = set(listed)
            listed += [str(name) for name in column.cat.categories if name not in known]
            places = {name: k for k, name in enumerate(listed)}
            back = np.array([places[str(name)] for name in column.cat.categories], dtype=np.int64)
            columns.append(back[column.cat.codes.to_numpy()])
            names.append(listed)
        return np.stack(columns, axis=1) if columns else np.empty((len(specs), 0), dtype=np.int64), names


def design_of(multiverse: Multiverse) -> Design:
    """Return the design of a multiverse."""
    decisions = []
    for d in multiverse.space.decisions:
        few = len(d.options) <= _MOST_LISTED
        options = tuple(option.name for option in d.options) if few else ()
        decisions.append(DecisionView(d.name, d.label, d.kind, options, d.options[d.reference].name))
    spec, focus = multiverse.spec, dict(multiverse.choices.focus)
    labels = {term: spec.label_of(term) for term in focus}
    return Design(
        spec.table, spec.title, tuple(decisions), MappingProxyType(focus), MappingProxyType(labels),
        MappingProxyType(_measured_by(multiverse)),
    )  # fmt: skip


def _measured_by(multiverse: Multiverse) -> dict[str, tuple[str, ...]]:
    """Find the decisions that put another variable in a focus term's place, or code one of these otherwise."""
    listed = [d for d in multiverse.space.decisions if d.kind in ("options", "sweep") and len(d.options) > 1]
    found = {}
    for term in multiverse.choices.focus:
        patches = {d.name: [option.patch for option in d.options] for d in listed}
        variables = {term} | {
            p.replace[term] for own in patches.values() for p in own if p.replace and term in p.replace
        }
        names = tuple(
            name for name, own in patches.items()
            if any(term in (p.replace or {}) or variables & set(p.coding or {}) for p in own)
        )  # fmt: skip
        if names:
            found[term] = names
    return found


def write_design(design: Design, folder: str | Path) -> Path:
    """Write the design beside the specs' table, as ``design.json``."""
    content = {
        "table": design.table, "title": design.title, "decisions": [asdict(d) for d in design.decisions],
        "focus": dict(design.focus), "labels": dict(design.labels), "measured_by": dict(design.measured_by),
    }  # fmt: skip
    path = Path(folder) / DESIGN
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")
    return path


def read_design(folder: str | Path) -> Design:
    """Read what `write_design` wrote.

    Raises
    ------
    DataError
        When it is not there or not whole.
    """
    path = Path(folder) / DESIGN
    try:
        content = json.loads(path.read_text("utf-8"))
        decisions = tuple(
            DecisionView(d["name"], d["label"], d["kind"], tuple(d["options"]), d["reference"])
            for d in content["decisions"]
        )
        focus, labels = MappingProxyType(content["focus"]), MappingProxyType(content["labels"])
        measured = {term: tuple(names) for term, names in content["measured_by"].items()}
        return Design(content["table"], content["title"], decisions, focus, labels, MappingProxyType(measured))
    except OSError:
        raise DataError(str(path), "the design of a multiverse", "no file", "Run the specification again") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(str(path), "the design of a multiverse", "something else") from None
