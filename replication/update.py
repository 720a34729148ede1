"""Run the replication and bring everything that is derived from it up to date.

    python replication/update.py

writes replication/expected/ (every CSV file of numbers), figures/ (the article's figures, and a plot of
each of its tables), replication/published_template.csv (empty) and replication/README.md, and runs
replication/objections.py for the symposium's objections. A test fails when one of them is stale.
"""

from __future__ import annotations

import json
import platform
import runpy
import shutil
import tempfile
from pathlib import Path

import pandas as pd

from coalition_exit.commands import printed_cells, replicate_specs, run_specs
from coalition_exit.record.codebook import load_codebook
from coalition_exit.report.audit_cells import template
from coalition_exit.specs.exhibits import Crosstab, Exhibit, Figure
from coalition_exit.specs.loading import Spec

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
COMMAND = "coalition-exit replicate --data record"
EXPECTED = ("estimates.csv", "models.csv", "diagnostics.csv", "crosstabs.csv")


def main() -> None:
    """Replace the derived files."""
    specs = replicate_specs()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        run_specs(specs, "record", out, COMMAND)
        for name in EXPECTED:
            shutil.copyfile(out / name, HERE / "expected" / name)
        for spec in specs:
            if isinstance(spec, Figure):
                shutil.copyfile(out / "figures" / f"{spec.table}.csv", HERE / "expected" / f"{spec.table}.csv")
            for path in sorted((out / "figures").glob(f"{spec.table}.*")):
                shutil.copyfile(path, ROOT / "figures" / path.name)
        run = json.loads((out / "run.json").read_text("utf-8"))
        models = pd.read_csv(out / "models.csv")
    (HERE / "published_template.csv").write_text(
        template(printed_cells(specs, hazards_in_discrete_time=False)), encoding="utf-8", newline=""
    )
    (HERE / "README.md").write_text(readme(specs, models, run), encoding="utf-8", newline="\n")
    runpy.run_path(str(HERE / "objections.py"))["main"]()


def exhibits(specs: list[Exhibit], models: pd.DataFrame) -> str:
    """Return the map exhibit -> specification -> output as Markdown rows."""
    rows = []
    for spec in specs:
        file = f"specs/article/{Path(spec.path).name}"
        if isinstance(spec, Spec):
            rows += _table_rows(spec, file, models)
        elif isinstance(spec, Crosstab):
            rows.append(f"| {spec.title} | `{file}` | `tables/{spec.table}.*`, `crosstabs.csv` | | |")
        else:
            rows.append(f"| {spec.title} | `{file}` | `figures/{spec.table}.*` | | |")
    return "\n".join(rows)


def _table_rows(spec: Spec, file: str, models: pd.DataFrame) -> list[str]:
    rows = []
    for model in spec.models:
        row = models[(models["table"] == spec.table) & (models["model"] == model.key)].iloc[0]
        where = f"`models[key={model.key}]`"
        counts = f"{row['n_obs']} / {row['n_subject']} / {row['n_event']}"
        rows.append(
            f"| {spec.table}, {model.head} | `{file}` {where} | `tables/{spec.table}.*` | {counts} | {row['status']} |"
        )
    rows.append(f"| {spec.table}, coefficient plot | `{file}` | `figures/{spec.table}.*` | | |")
    if spec.diagnostics and any(model.is_cox for model in spec.models):
        rows.append(f"| {spec.table}, diagnostics | `{file}` | `tables/{spec.table}_diagnostics.*` | | |")
    return rows


def readme(specs: list[Exhibit], models: pd.DataFrame, run: dict[str, object]) -> str:
    """Return the page in the form of the social science data editors' template."""
    data, versions, clock = run["data"], run["versions"], run["clock"]
    assert isinstance(data, dict)
    assert isinstance(versions, dict)
    assert isinstance(clock, dict)
    listed = "\n".join(f"- {name} {version}" for name, version in sorted(versions.items()))
    text = (HERE / "README.in.md").read_text("utf-8")
    for name, value in {
        "EXHIBITS": exhibits(specs, models),
        "SHA256": str(data["sha256"]),
        "STATUS": load_codebook().status,
        "VERSIONS": listed,
        "SECONDS": f"{float(clock['seconds']):.0f}",
        "COMMAND": COMMAND,
        "MACHINE": f"a machine with {platform.system()} and {platform.machine()}",
    }.items():
        text = text.replace(f"{{{{{name}}}}}", value)
    return text


if __name__ == "__main__":
    main()
