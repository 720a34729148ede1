"""Comparing a run with an article's printed numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coalition_exit.commands.exhibits import Outcome, Progress, run_specs
from coalition_exit.report.audit import Audit, audit
from coalition_exit.report.audit_cells import (
    INSTRUCTIONS,
    PrintedCell,
    cells_of,
    cells_of_crosstab,
    crosstab_numbers,
    read_published,
    write_template,
)  # fmt: skip
from coalition_exit.report.audit_files import write_audit
from coalition_exit.report.output import read_results
from coalition_exit.report.run_files import add_to_list
from coalition_exit.specs.exhibits import Crosstab, Exhibit
from coalition_exit.specs.loading import Spec


def printed_cells(specs: Sequence[Exhibit], hazards_in_discrete_time: bool = True) -> list[PrintedCell]:
    """Return every cell that an article could have printed.

    Parameters
    ----------
    specs
        Tables and cross-tabulations; figures print no cells.
    hazards_in_discrete_time
        False leaves out tables of discrete-time hazards, which Weisiger (2016) has none of.
    """
    cells: list[PrintedCell] = []
    for spec in specs:
        if isinstance(spec, Crosstab):
            cells += cells_of_crosstab(spec)
        elif isinstance(spec, Spec) and (hazards_in_discrete_time or not any(m.discrete for m in spec.models)):
            cells += cells_of(spec)
    return cells


def new_template(path: Path, cells: Sequence[PrintedCell]) -> str:
    """Write an empty template for printed numbers and say how to fill it; an existing file is never touched."""
    return f"Written: {write_template(path, cells)}. {INSTRUCTIONS}"


def run_and_compare(
    specs: Sequence[Exhibit],
    cells: Sequence[PrintedCell],
    published: Path,
    data: str,
    out: Path,
    command: str,
    progress: Progress | None = None,
    jobs: int = 1,
) -> tuple[Outcome, Audit]:
    """Run specifications and hold what they give against printed numbers.

    Raises
    ------
    InputError
        As `run_specs`; or the file of printed numbers cannot be used. It is read first, so that a fault in it
        costs no run.
    """
    typed = read_published(published, cells)
    outcome = run_specs(specs, data, out, command, progress, jobs)
    estimates, models = read_results(out)
    further: dict[tuple[str, str, str, str], float] = {}
    for one in outcome.crosstabs:
        if one.status == "ok":
            further |= crosstab_numbers(one.crosstab, one.long)
    found = audit(estimates, models, typed, cells, "; ".join(outcome.notes), outcome.reconstructed, further)
    add_to_list(out, write_audit(out, found))
    return outcome, found
