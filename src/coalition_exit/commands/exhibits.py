"""Finding specifications, running them, writing what they make."""

from __future__ import annotations

import datetime as dt
import difflib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from coalition_exit.commands.robustness import Robustness, as_parts, robustness_steps, run_blocks, seeds_of
from coalition_exit.errors import EXIT_DONE, EXIT_MODEL_FAILED, SpecError, one_of, shown
from coalition_exit.provenance import versions
from coalition_exit.report.grid import Grid
from coalition_exit.report.layout import TableLayout
from coalition_exit.report.output import (
    CrosstabSource,
    Extras,
    FigureSource,
    TableSource,
    check_folder,
    write_output,
)  # fmt: skip
from coalition_exit.report.robustness_output import RobustnessSource
from coalition_exit.report.run_files import Left
from coalition_exit.runner import ESTIMATE_COLUMNS, MODEL_COLUMNS, RunResult, Sources, run_on
from coalition_exit.runner.crosstabs import CrosstabResult, run_crosstab
from coalition_exit.runner.diagnostics import DIAGNOSTIC_COLUMNS, diagnose
from coalition_exit.runner.figures import FigureResult, run_figure
from coalition_exit.runner.sources import ArchiveSource, RecordSource, Source
from coalition_exit.runner.sources import TableSource as OwnSource
from coalition_exit.runner.verdicts import EXIT_COLUMNS, VERDICT_COLUMNS, as_verdicts, summarize, verdicts
from coalition_exit.specs.exhibits import Crosstab, Exhibit, Figure, load_exhibit
from coalition_exit.specs.loading import Spec, TableData, article_specs, library_folder

Progress = Callable[[str], None]
Result = RunResult | FigureResult | CrosstabResult
_ENDINGS = (".yaml", ".yml")
_BLOCKS = ("objection", "compensation", "uncertainty", "influence")


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a run left.

    Attributes
    ----------
    tables, grids
        Tables of coefficients; tables of diagnostics and cross-tabulations.
    figures
        Names of figures beside the tables' coefficient plots.
    failed
        (exhibit, model, reason) of what could not be computed.
    warnings
        What the user should know before reading on.
    notes
        What the data are, one sentence a source.
    hint
        How to get the other data source; "" when there is none.
    crosstabs
        Cross-tabulations as counted.
    reconstructed
        Whether some exhibit shows a reconstructed record and not the author's data.
    verdicts
        Tables of verdicts, one an objection.
    summary
        How often each verdict was reached, by objection and coefficient; None without an objection.
    remarks
        What is to be known of how the data files were read.
    left
        Files of an earlier run in the folder that this one did not write.
    """

    exit_code: int
    out: Path
    tables: tuple[TableLayout, ...]
    grids: tuple[Grid, ...]
    figures: tuple[str, ...]
    failed: tuple[tuple[str, str, str], ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    hint: str
    crosstabs: tuple[CrosstabResult, ...]
    reconstructed: bool
    verdicts: tuple[Grid, ...] = ()
    summary: Grid | None = None
    remarks: tuple[str, ...] = ()
    left: Left = field(default_factory=Left)


def replicate_specs() -> list[Exhibit]:
    """Load the article's specifications, tables first."""
    return [load_exhibit(path) for path in article_specs()]


def user_specs(paths: Sequence[str]) -> list[Exhibit]:
    """Load specifications a user named, checking all before any is run; a folder stands for those in it."""
    specs = [load_exhibit(found) for path in paths for found in _find_specs(path)]
    seen: dict[str, str] = {}
    for spec in specs:
        # Windows and macOS take names that differ in the case of letters for the same file.
        name = spec.table.casefold()
        if name in seen:
            raise SpecError(f"{spec.path} > table", f"another name than that in {seen[name]}", shown(spec.table))
        seen[name] = spec.path
    for spec in specs:
        _check_data_file(spec)
    return specs


def _check_data_file(spec: Exhibit) -> None:
    """Refuse wrong cells in a data file that a specification names."""
    if isinstance(spec.data, TableData):
        source = Sources().for_spec(spec)
        for model in spec.models if isinstance(spec, Spec) else [spec.model] if isinstance(spec, Figure) else []:
            if model is not None:
                source.rows(model)


def _find_specs(path: str) -> list[Path]:
    """Return a file, the files of a folder, or a specification of the library by its name (article/table1)."""
    if Path(path).suffix in _ENDINGS or os.path.isfile(path):  # noqa: PTH113 - never raises
        return [Path(path)]
    named = {p.relative_to(library_folder()).with_suffix("").as_posix(): p for p in library_folder().rglob("*.yaml")}
    if path in named:
        return [named[path]]
    is_folder = os.path.isdir(path)  # noqa: PTH112 - never raises
    found = sorted(p for p in Path(path).iterdir() if p.suffix in _ENDINGS and p.is_file()) if is_folder else []
    if found:
        return found
    # A folder of results may bear the name of a folder of the library.
    folders = sorted({name.partition("/")[0] for name in named})
    if path.rstrip("/") in folders:
        return [named[name] for name in sorted(named) if name.startswith(f"{path.rstrip('/')}/")]
    if is_folder:
        raise SpecError(path, "a folder with YAML files", "none in it")
    beside = f"{path}.yaml"
    near = _nearest_spec(path, [*folders, *sorted(named)])
    hint = f"Did you mean {beside}?" if os.path.isfile(beside) else near  # noqa: PTH113
    raise SpecError(path, f"a YAML file, a folder of them, or {one_of(sorted(named))}", "no such file", hint)


def _nearest_spec(path: str, shipped: Sequence[str]) -> str:
    """Return "Did you mean 'x'?" for the nearest file here or name that ships, which its last part may stand for."""
    said = {name.name: name.name for name in Path().glob("*.y*ml")}
    said |= {name.removesuffix(ending): name for name in list(said) for ending in _ENDINGS if name.endswith(ending)}
    for name in shipped:
        said.setdefault(name, name)
        said.setdefault(name.rpartition("/")[2], name)
    found = difflib.get_close_matches(path.rstrip("/"), said, n=1, cutoff=0.55)
    return f"Did you mean {said[found[0]]!r}?" if found else ""


def run_specs(
    specs: Sequence[Exhibit], data: str, out: Path, command: str, progress: Progress | None = None, jobs: int = 1
) -> Outcome:
    """Run specifications and write the output folder.

    Parameters
    ----------
    specs
        What to run.
    data
        The data source, as `coalition_exit.runner.Sources` takes it.
    out
        The output folder.
    command
        The command line, for ``run.json``.
    progress
        Called `count_steps` times.
    jobs
        Processes for draws and simulations; no number depends on it.

    Raises
    ------
    InputError
        The data cannot be used, no model can run on them, or the folder cannot be written.
    """
    check_folder(out)
    started, clock = dt.datetime.now(dt.UTC), time.perf_counter()
    sources = Sources(data)
    opened = [sources.for_spec(spec) for spec in specs]
    warnings = _check_variables(specs, opened)
    results = [_run(spec, source, progress) for spec, source in zip(specs, opened, strict=True)]
    tables = [result for result in results if isinstance(result, RunResult)]
    blocks = [run_blocks(result, jobs, progress) for result in tables]
    seeds = {name: seed for result in tables for name, seed in seeds_of(result.spec).items()}
    run: dict[str, Any] = {
        "command": command,
        "versions": versions(),
        "seed": seeds or None,
        "data": _describe_data(results),
        "specs": {spec.table: {"file": Path(spec.path).name, "sha256": spec.sha256} for spec in specs},
        "clock": {
            "started": started.isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - clock, 2),
        },
    }
    remarks = _remarks(opened)
    if remarks:
        run["remarks"] = remarks
    estimates = _concat([t.estimates for t in tables], ESTIMATE_COLUMNS)
    models = _concat([t.models for t in tables], MODEL_COLUMNS)
    extras = _extras(results, blocks)
    written = write_output(
        out, [TableSource(t.spec, t.full_note, t.note) for t in tables], estimates, models, run, extras
    )
    failed = (*_failures(results), *(one for block in blocks for one in block.failed))
    return Outcome(
        exit_code=EXIT_MODEL_FAILED if failed else EXIT_DONE,
        out=out,
        tables=written.tables,
        grids=written.grids,
        figures=(*(one.figure.table for one in extras.figures), *written.drawn),
        failed=failed,
        warnings=tuple(warnings),
        notes=tuple(dict.fromkeys(result.note for result in results)),
        hint=_other_source(opened),
        crosstabs=tuple(result for result in results if isinstance(result, CrosstabResult)),
        reconstructed=any(isinstance(source, RecordSource) for source in opened),
        verdicts=written.verdicts,
        summary=_summary(tables, extras.verdicts),
        remarks=tuple(remarks),
        left=written.left,
    )


def _concat(frames: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=list(columns))


def _run(spec: Exhibit, source: Source, progress: Progress | None) -> Result:
    if isinstance(spec, Spec):
        return run_on(spec, source, progress)
    result = run_figure(spec, source) if isinstance(spec, Figure) else run_crosstab(spec, source)
    if progress is not None:
        progress(spec.table)
    return result


def count_steps(specs: Sequence[Exhibit]) -> int:
    """Return how often a run reports progress: once a model, figure, cross-tabulation, and step of a block."""
    return sum(len(spec.models) + robustness_steps(spec) if isinstance(spec, Spec) else 1 for spec in specs)


def _check_variables(specs: Sequence[Exhibit], opened: Sequence[Source]) -> list[str]:
    """Say which variables a file lacks, what needs them and what can still run; refuse when nothing can."""
    said: list[str] = []
    for source in dict.fromkeys(one for one in opened if isinstance(one, ArchiveSource)):
        needs: dict[str, Sequence[str]] = {}
        for spec, own in zip(specs, opened, strict=True):
            if own is source:
                needs |= _needs(spec)
        lacking = source.lacking(needs)
        if lacking:
            error = lacking.error(str(source.file.path))
            if not lacking.runnable:
                raise error
            said.append(str(error))
    return said


def _needs(spec: Exhibit) -> dict[str, Sequence[str]]:
    if isinstance(spec, Spec):
        return {f"{spec.table} > {model.key}": model.variables for model in spec.models}
    if isinstance(spec, Crosstab):
        return {spec.table: [*spec.variables, *(name for e in spec.sample for name in e.names)]}
    return {spec.table: spec.variables}


def _extras(results: Sequence[Result], blocks: Sequence[Robustness]) -> Extras:
    diagnosed = [diagnose(one) for one in results if isinstance(one, RunResult) and one.spec.diagnostics]
    figures = tuple(
        FigureSource(one.figure, one.data, _figure_note(one), one.reason, one.note)
        for one in results
        if isinstance(one, FigureResult)
    )
    crosstabs = tuple(_crosstab_source(one) for one in results if isinstance(one, CrosstabResult))
    by_table = {block.table: block for block in blocks}
    judged: list[pd.DataFrame] = []
    exits: list[pd.DataFrame] = []
    sources = []
    for one in results:
        if isinstance(one, RunResult):
            block = by_table[one.spec.table]
            own = _judged(one, block)
            judged, exits = [*judged, own[0]], [*exits, own[1]]
            sources.append(RobustnessSource(one.spec, one.full_note, block.frames, block.said))
    return Extras(
        _concat(diagnosed, DIAGNOSTIC_COLUMNS), crosstabs, figures, _concat(judged, VERDICT_COLUMNS),
        _concat(exits, EXIT_COLUMNS), tuple(sources), as_parts(blocks),
    )  # fmt: skip


def _judged(result: RunResult, block: Robustness) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the verdicts on a specification's objection, of its models and of its blocks, and the exits recoded."""
    own, exits = verdicts(result)
    who = result.spec.objection.who if result.spec.objection is not None else ""
    more = as_verdicts([{"table": result.spec.table, "who": who, **row} for row in block.verdicts])
    parts = [frame for frame in (own, more) if len(frame)]
    return (pd.concat(parts, ignore_index=True) if parts else own), exits


def _summary(tables: Sequence[RunResult], judged: pd.DataFrame | None) -> Grid | None:
    if judged is None:
        return None
    rows: list[tuple[str, ...]] = []
    for one in tables:
        own = judged[judged["table"] == one.spec.table]
        labels = {term: one.spec.label_of(term) for term in one.spec.order}
        rows += [(one.spec.table, str(own["who"].iloc[0]), *row) for row in summarize(own, labels)]
    heads = ("Specification", "Whose", "Coefficient", "Models", "Verdict")
    shown = [_unrepeated(row, before, 3) for row, before in zip(rows, [(), *rows], strict=False)]
    return Grid("verdicts", "Verdicts", heads, tuple(shown)) if rows else None


def _unrepeated(row: tuple[str, ...], before: tuple[str, ...], most: int) -> tuple[str, ...]:
    """Leave empty what the row above has already said, in the first columns."""
    same = 0
    while same < most and row[same : same + 1] == before[same : same + 1]:
        same += 1
    return ("",) * same + row[same:]


def _figure_note(result: FigureResult) -> str:
    said = "; ".join([f"Data: {result.note}", *result.notes])
    return f"{said}. {result.figure.note}".strip() if result.figure.note else f"{said}."


def _crosstab_source(result: CrosstabResult) -> CrosstabSource:
    tests = {
        "chi2": result.chi2, "chi2_p": result.chi2_p, "fisher_p": result.fisher_p,
        "status": result.status, "reason": result.reason,
    }  # fmt: skip
    return CrosstabSource(result.crosstab, result.long, tests, (*result.notes, f"data: {result.note}"), result.note)


def _failures(results: Sequence[Result]) -> list[tuple[str, str, str]]:
    failed = []
    for result in results:
        if isinstance(result, RunResult):
            failed += [(result.spec.table, one.model.key, one.reason) for one in result.failed]
        elif result.reason:
            name = result.figure.table if isinstance(result, FigureResult) else result.crosstab.table
            failed.append((name, "", result.reason))
    return failed


def _describe_data(results: Sequence[Result]) -> dict[str, Any]:
    """Return source, hash and note of the data; of each exhibit where they differ."""
    told: dict[str, dict[str, str]] = {}
    for result in results:
        name = result.spec.table if isinstance(result, RunResult) else (
            result.figure.table if isinstance(result, FigureResult) else result.crosstab.table
        )  # fmt: skip
        told[name] = {"source": result.source, "sha256": result.sha256, "note": result.note}
    different = list({tuple(sorted(one.items())): one for one in told.values()}.values())
    return dict(different[0]) if len(different) == 1 else {"by_exhibit": told}


def _remarks(opened: Sequence[Source]) -> list[str]:
    files = {s.file.path: s.file for s in opened if isinstance(s, ArchiveSource | OwnSource) and s.file.notes}
    return [f"{file.path.name}: {'; '.join(file.notes)}" for file in files.values()]


def _other_source(opened: Sequence[Source]) -> str:
    names = {source.name for source in opened}
    if "record" in names:
        return "To see the author's deposited data instead: coalition-exit data fetch, then --data archive"
    if any(isinstance(source, ArchiveSource) for source in opened):
        return "To see the package's own coded record instead: --data record"
    return ""


def summarize_spec(spec: Exhibit) -> str:
    """Return what a valid specification holds, in a few lines."""
    if isinstance(spec, Figure):
        model = f" of {spec.model.failure} ~ {' + '.join(spec.model.covariates)}" if spec.model else ""
        return f"{spec.path}: valid. Figure {spec.table}: {spec.plot.kind}{model}"
    if isinstance(spec, Crosstab):
        return f"{spec.path}: valid. Cross-tabulation {spec.table} of {', '.join(spec.variables)}"
    lines = [f"{spec.path}: valid. Table {spec.table}, {len(spec.models)} model(s)"]
    for one in spec.models:
        sample = f" if {' and '.join(e.text for e in one.sample)}" if one.sample else ""
        estimator = "" if one.is_cox else f" [{one.estimator_name}]"
        lines.append(f"  {one.key}: {one.failure or one.outcome} ~ {' + '.join(one.covariates)}{sample}{estimator}")
    blocks = [name for name in _BLOCKS if getattr(spec, name) is not None]
    lines += [f"  Blocks: {', '.join(blocks)}"] if blocks else []
    return "\n".join(lines)
