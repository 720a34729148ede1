"""What the commands do; `cli` only reads their arguments."""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import pandas as pd

from coalition_exit.coding.rules import load_rules
from coalition_exit.errors import EXIT_DONE, EXIT_MODEL_FAILED, InputError, SpecError, nearest, one_of
from coalition_exit.panel.build import build_panel, default_variables, resolve_rules
from coalition_exit.panel.describe import count_panel, describe_variables, exits_by_mode
from coalition_exit.provenance import versions
from coalition_exit.record.codebook import load_codebook
from coalition_exit.record.loading import load_record
from coalition_exit.report.layout import TableLayout
from coalition_exit.report.output import TableSource, write_output
from coalition_exit.runner import RunResult, run_spec
from coalition_exit.specs.loading import Spec, article_specs, library_folder, load_spec

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What a run left: its exit code, the tables, the failed models as (table, model, reason)."""

    exit_code: int
    out: Path
    tables: tuple[TableLayout, ...]
    failed: tuple[tuple[str, str, str], ...]
    note: str


def replicate_specs() -> list[Spec]:
    """Load the article's specifications."""
    return [load_spec(path) for path in article_specs()]


def user_specs(paths: Sequence[str]) -> list[Spec]:
    """Load specifications a user named, checking all before any is run."""
    specs = [load_spec(_find_spec(path)) for path in paths]
    seen: dict[str, str] = {}
    for spec in specs:
        if spec.table in seen:
            raise SpecError(f"{spec.path} > table", f"a name not used by {seen[spec.table]}", repr(spec.table))
        seen[spec.table] = spec.path
    return specs


def _find_spec(path: str) -> Path:
    """Return a file, or a specification of the library by its name (article/table1)."""
    if Path(path).is_file() or Path(path).suffix in (".yaml", ".yml"):
        return Path(path)
    named = {p.relative_to(library_folder()).with_suffix("").as_posix(): p for p in library_folder().rglob("*.yaml")}
    if path in named:
        return named[path]
    raise SpecError(path, f"a YAML file or {one_of(sorted(named))}", "no such file", nearest(path, named))


def run_specs(specs: Sequence[Spec], data: str, out: Path, command: str, progress: Progress | None = None) -> Outcome:
    """Run specifications and write the output folder."""
    started, clock = dt.datetime.now(dt.UTC), time.perf_counter()
    record = load_record()
    results = [run_spec(spec, data, record, progress) for spec in specs]
    run = {
        "command": command,
        "versions": versions(),
        "seed": None,
        "data": {"source": results[0].source, "sha256": results[0].sha256, "note": results[0].note},
        "specs": {r.spec.table: {"file": Path(r.spec.path).name, "sha256": r.spec.sha256} for r in results},
        "clock": {
            "started": started.isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - clock, 2),
        },
    }
    sources = [TableSource(r.spec, _source_note(r)) for r in results]
    estimates = pd.concat(
        [r.estimates for r in results if len(r.estimates)] or [results[0].estimates], ignore_index=True
    )
    models = pd.concat([r.models for r in results], ignore_index=True)
    tables = write_output(out, sources, estimates, models, run)
    failed = tuple((r.spec.table, f.model.key, f.reason) for r in results for f in r.failed)
    code = EXIT_MODEL_FAILED if failed else EXIT_DONE
    return Outcome(code, out, tuple(tables), failed, _source_note(results[0]))


def _source_note(result: RunResult) -> str:
    return f"the package's coded record ({result.note}), SHA-256 {result.sha256[:12]}"


def list_rules() -> pd.DataFrame:
    """Return one row a rule: name, variable, whether it is the default, rationale, citation."""
    book = load_rules()
    rows = [
        (rule.name, rule.variable, "yes" if book.defaults.get(rule.variable) == rule.name else "", rule.label,
         rule.rationale, rule.citation)
        for rule in book.rules.values()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["rule", "variable", "default", "label", "rationale", "citation"])


def describe_rule(name: str) -> str:
    """Return everything about one rule as text."""
    book = load_rules()
    rule = book.rules.get(name) or book.default_for(name)
    if rule is None:
        valid = [*book.rules, *book.describe_variables()]
        raise InputError("rules", one_of(book.rules, 60), repr(name), nearest(name, valid))
    lines = [
        f"{rule.name}",
        f"  codes       {rule.variable} ({rule.label})",
        f"  meaning     {rule.meaning}",
        f"  rationale   {rule.rationale}",
        f"  citation    {rule.citation}",
        f"  method      {rule.method}",
    ]
    lines += [f"  parameter   {key}: {value}" for key, value in rule.parameters.items()]
    return "\n".join(lines)


@dataclass(frozen=True)
class Description:
    """What ``data describe`` shows."""

    note: str
    counts: pd.DataFrame
    exits: pd.DataFrame
    variables: pd.DataFrame
    tables: pd.DataFrame


def describe_data() -> Description:
    """Build the panel under the article's rules and describe it."""
    record = load_record()
    panel = build_panel(record)
    codebook = load_codebook()
    rules = resolve_rules(default_variables())
    rows = [(name, table.label, len(record[name])) for name, table in codebook.tables.items()]
    return Description(
        note=f"{record.status}; record SHA-256 {record.sha256}",
        counts=count_panel(panel),
        exits=exits_by_mode(record, panel),
        variables=describe_variables(panel, rules),
        tables=pd.DataFrame(rows, columns=["table", "holds", "rows"]),
    )


def check_data(folder: str | None) -> str:
    """Check a record folder against the codebook; raises on the first fault."""
    record = load_record(folder)
    rows = sum(len(record[name]) for name in record)
    return f"{record.folder}: {len(record.tables)} tables, {rows} rows, no fault found. SHA-256 {record.sha256}"


def summarize_spec(spec: Spec) -> str:
    """Return what a valid specification holds, in a few lines."""
    lines = [f"{spec.path}: valid. Table {spec.table}, {len(spec.models)} model(s)"]
    for model in spec.models:
        sample = f" if {' and '.join(e.text for e in model.sample)}" if model.sample else ""
        lines.append(f"  {model.key}: {model.failure} ~ {' + '.join(model.covariates)}{sample}")
    return "\n".join(lines)


def export_data(path: Path) -> str:
    """Write the panel under the article's rules, and say what was written."""
    from coalition_exit.panel.export import export_panel

    panel = build_panel()
    written = export_panel(panel, path, resolve_rules(default_variables()))
    return f"{written}: {len(panel)} rows, {len(panel.columns)} columns ({panel.attrs['note']})"


def new_spec(name: str) -> Path:
    """Write a commented specification that runs as it is; an existing file is never touched."""
    path = Path(name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
    text = resources.files("coalition_exit.specs").joinpath("template.yaml").read_text("utf-8")
    key = re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem).strip("-_") or "my-table"
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text.replace("TABLE_NAME", key))
    except FileExistsError:
        raise InputError(str(path), "a name not yet taken", "an existing file") from None
    except OSError as error:
        raise InputError(str(path), "a file that can be written", error.strerror or str(error)) from None
    return path
