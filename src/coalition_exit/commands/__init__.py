"""What the commands do; `cli` only reads their arguments."""

from __future__ import annotations

import datetime as dt
import os
import re
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import pandas as pd

from coalition_exit.coding.rules import Rule, load_rules
from coalition_exit.errors import EXIT_DONE, EXIT_MODEL_FAILED, InputError, SpecError, nearest, one_of, shown
from coalition_exit.panel.build import build_panel, default_variables, resolve_rules
from coalition_exit.panel.describe import count_panel, describe_variables, exits_by_mode
from coalition_exit.provenance import versions
from coalition_exit.record.codebook import load_codebook
from coalition_exit.record.loading import load_record
from coalition_exit.report.layout import TableLayout
from coalition_exit.report.output import TableSource, check_folder, write_output
from coalition_exit.report.plain import wrap
from coalition_exit.runner import SOURCES, RunResult, run_spec
from coalition_exit.specs.loading import Spec, article_specs, library_folder, load_spec
from coalition_exit.specs.schema import RESERVED, schema_path

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
        # Windows and macOS take names that differ in the case of letters for the same file.
        name = spec.table.casefold()
        if name in seen:
            raise SpecError(f"{spec.path} > table", f"another name than that in {seen[name]}", shown(spec.table))
        seen[name] = spec.path
    return specs


def _find_spec(path: str) -> Path:
    """Return a file, or a specification of the library by its name (article/table1)."""
    if Path(path).suffix in (".yaml", ".yml") or os.path.isfile(path):  # noqa: PTH113 - never raises
        return Path(path)
    named = {p.relative_to(library_folder()).with_suffix("").as_posix(): p for p in library_folder().rglob("*.yaml")}
    if path in named:
        return named[path]
    got = "a folder" if os.path.isdir(path) else "no such file"  # noqa: PTH112 - never raises
    beside = f"{path}.yaml"
    hint = f"Did you mean {beside}?" if os.path.isfile(beside) else nearest(path, named)  # noqa: PTH113
    raise SpecError(path, f"a YAML file or {one_of(sorted(named))}", got, hint)


def run_specs(specs: Sequence[Spec], data: str, out: Path, command: str, progress: Progress | None = None) -> Outcome:
    """Run specifications and write the output folder."""
    check_folder(out)
    started, clock = dt.datetime.now(dt.UTC), time.perf_counter()
    changed = data not in SOURCES and Path(data).is_dir()
    record = load_record(data if changed else None)
    data = "record" if changed else data
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
    whose = "the package's coded record" if result.source == "record" else f"a record in {Path(result.source).name}"
    note = f"{whose} ({result.note}), SHA-256 {result.sha256[:12]}"
    dropped = [f"{r.n_dropped} ({r.model.head})" for r in result.results if r.n_dropped]
    return f"{note}; rows left out for missing values: {', '.join(dropped)}" if dropped else note


def list_rules() -> pd.DataFrame:
    """Return one row a rule: name, variable, whether it is the default, rationale, citation."""
    book = load_rules()
    rows = [
        (rule.name, rule.variable, "yes" if book.defaults.get(rule.variable) == rule.name else "", rule.label,
         rule.rationale, rule.citation)
        for rule in book.rules.values()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["rule", "variable", "default", "label", "rationale", "citation"])


def describe_rules(width: int) -> str:
    """Return every rule with its rationale and citation as text."""
    lines = []
    for row in list_rules().itertuples(index=False):
        default = " (the article's)" if row.default else ""
        lines += [
            wrap(f"{row.variable}: {row.rule}{default}", width, "    "),
            wrap(f"    {row.rationale}", width, "    "),
        ]
        lines += [wrap(f"    {row.citation}", width, "    "), ""]
    return "\n".join([*lines, wrap("coalition-exit rules NAME shows one, with what can be changed in it.", width)])


def describe_rule(name: str, width: int) -> str:
    """Return everything about one rule as text."""
    book = load_rules()
    rule = book.rules.get(name) or book.default_for(name)
    if rule is None:
        hint = book.unknown_variable(name, "rules", book.rules).hint
        expected = "the name of a rule or a variable (coalition-exit rules lists them)"
        raise InputError("rules", expected, shown(name), hint)
    told = {
        "codes": f"{rule.variable} ({rule.label})",
        "meaning": rule.explained,
        "rationale": rule.rationale,
        "citation": rule.citation,
    }
    lines = [rule.name, *(wrap(f"  {key:<11} {text}", width, " " * 14) for key, text in told.items())]
    for key, value in rule.parameters.items():
        lines.append(wrap(f"  {'parameter':<11} {key}: {value}{_allowed(rule.allowed.get(key))}", width, " " * 14))
    if rule.parameters:
        key, value = next(iter(rule.parameters.items()))
        example = f"{{{key}: {value!r}}}" if isinstance(value, str) else f"{{{key}: {value}}}"
        variable = rule.variable.replace("{window}", "60")
        lines += ["", "  To change it, in a specification:", "    coding:", f"      {variable}: {example}"]
    return "\n".join(lines)


def _allowed(allowed: object) -> str:
    if isinstance(allowed, dict):
        return f" (from {allowed['min']} to {allowed['max']})"
    return f" ({one_of(allowed)})" if isinstance(allowed, list) else ""


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
        variables=_explain(describe_variables(panel, rules), rules),
        tables=pd.DataFrame(rows, columns=["table", "holds", "rows"]),
    )


def _explain(variables: pd.DataFrame, rules: Mapping[str, Rule]) -> pd.DataFrame:
    """Put the parameters' values into the meanings."""
    meanings = [
        rules[row.variable].explained if row.variable in rules else row.meaning
        for row in variables.itertuples(index=False)
    ]
    return variables.assign(meaning=meanings)


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
    from coalition_exit.panel.export import FORMATS, export_panel

    if path.suffix not in FORMATS:
        # Refused in its own words, before seconds are spent on the panel.
        export_panel(pd.DataFrame(), path)
    panel = build_panel()
    written = export_panel(panel, path, resolve_rules(default_variables()))
    return f"{written}: {len(panel)} rows, {len(panel.columns)} columns ({panel.attrs['note']})"


def new_spec(name: str) -> Path:
    """Write a commented specification that runs as it is; an existing file is never touched."""
    path = Path(name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
    text = resources.files("coalition_exit.specs").joinpath("template.yaml").read_text("utf-8")
    head = f"# yaml-language-server: $schema={schema_path().as_uri()}\n"
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(head + text.replace("TABLE_NAME", _table_key(path.stem)))
    except FileExistsError:
        raise InputError(str(path), "a name not yet taken", "an existing file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(str(path), "a file that can be written", reason.lower()) from None
    return path


def _table_key(stem: str) -> str:
    """Make the name of a table out of the name of a file."""
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    key = re.sub(r"[^A-Za-z0-9_-]+", "-", plain).strip("-_")[:60] or "my-table"
    # A number alone would be read as one, and some names Windows keeps for itself.
    return f"table-{key}" if key.isdigit() or key.lower() in RESERVED else key
