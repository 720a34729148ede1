"""The command line; it reads arguments, calls `commands` and prints."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coalition_exit.errors import EXIT_BAD_INPUT, EXIT_DONE, InputError

if TYPE_CHECKING:
    import pandas as pd

    from coalition_exit.commands import Outcome
    from coalition_exit.specs.loading import Spec

_SOURCES = click.Choice(["auto", "record"])
_OUT = click.Path(file_okay=False, path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="coalition-exit")
def cli() -> None:
    """Study when states abandon their coalition partners in war.

    Reproduce the article's tables (replicate), test an objection of your own (new, run), see how
    things are coded (rules, data).
    """


@cli.command()
@click.option("--data", type=_SOURCES, default="auto", show_default=True, help="Data source.")
@click.option("--out", type=_OUT, default=Path("output"), show_default=True, help="Folder for the results.")
def replicate(data: str, out: Path) -> int:
    """Reproduce the article's tables and coefficient plots."""
    from coalition_exit.commands import replicate_specs

    return _run(replicate_specs(), data, out)


@cli.command()
@click.argument("specs", nargs=-1, required=True, metavar="SPEC...")
@click.option("--data", type=_SOURCES, default="auto", show_default=True, help="Data source.")
@click.option("--out", type=_OUT, default=Path("output"), show_default=True, help="Folder for the results.")
def run(specs: Sequence[str], data: str, out: Path) -> int:
    """Run specification files: a path, or the name of one that ships (article/table1)."""
    from coalition_exit.commands import user_specs

    return _run(user_specs(specs), data, out)


def _run(specs: Sequence[Spec], data: str, out: Path) -> int:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from coalition_exit.commands import run_specs

    console = Console(stderr=True)
    total = sum(len(spec.models) for spec in specs)
    columns = (TextColumn("Fitting models"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)
        outcome = run_specs(specs, data, out, " ".join(["coalition-exit", *sys.argv[1:]]), lambda _: bar.advance(task))
    _print_outcome(outcome)
    return outcome.exit_code


def _print_outcome(outcome: Outcome) -> None:
    from coalition_exit.report.tables import to_text

    for table in outcome.tables:
        click.echo(to_text(table))
    click.echo(f"Data: {outcome.note}")
    for table_name, model, reason in outcome.failed:
        click.echo(f"Not estimated: {table_name} > {model}: {reason}", err=True)
    click.echo(f"Written to {outcome.out}: open {outcome.out / 'report.html'} in a browser.")


@cli.command()
@click.argument("specs", nargs=-1, required=True, metavar="SPEC...")
def validate(specs: Sequence[str]) -> int:
    """Check specification files without running them."""
    from coalition_exit.commands import summarize_spec, user_specs

    for spec in user_specs(specs):
        click.echo(summarize_spec(spec))
    return EXIT_DONE


@cli.command()
@click.argument("name", required=False)
def rules(name: str | None) -> int:
    """List the coding rules, or show one (by its name or its variable)."""
    from coalition_exit.commands import describe_rule, list_rules

    if name is not None:
        click.echo(describe_rule(name))
    else:
        _print_table(list_rules().drop(columns=["label"]), "Coding rules (coalition-exit rules NAME for one)")
    return EXIT_DONE


@cli.group()
def data() -> None:
    """Describe, check and export the data."""


@data.command()
def describe() -> int:
    """Show counts, exits by mode, and a line on every variable."""
    from coalition_exit.commands import describe_data

    shown = describe_data()
    click.echo(f"Data: {shown.note}")
    _print_table(shown.counts, "Panel")
    _print_table(shown.exits, "Exits by mode")
    variables = shown.variables.copy()
    for column in ("min", "mean", "max"):
        variables[column] = variables[column].map("{:.4g}".format)
    _print_table(variables, "Variables")
    _print_table(shown.tables, "Tables of the record")
    return EXIT_DONE


@data.command()
@click.argument("folder", required=False, type=click.Path())
def check(folder: str | None) -> int:
    """Check the record (or a FOLDER with changed tables) against its codebook."""
    from coalition_exit.commands import check_data

    click.echo(check_data(folder))
    return EXIT_DONE


@data.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def export(file: Path) -> int:
    """Write the panel to FILE (.dta, .csv or .parquet)."""
    from coalition_exit.commands import export_data

    click.echo(export_data(file))
    return EXIT_DONE


@cli.command()
@click.argument("name")
def new(name: str) -> int:
    """Write NAME.yaml, a commented specification that runs as it is."""
    from coalition_exit.commands import new_spec

    path = new_spec(name)
    click.echo(f"Written: {path}. Edit it, then: coalition-exit run {path}")
    return EXIT_DONE


def _print_table(frame: pd.DataFrame, title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold", show_lines=False)
    for column in frame.columns:
        numeric = frame[column].dtype.kind in "if" or column in ("min", "mean", "max")
        table.add_column(str(column), justify="right" if numeric else "left", overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(*(str(value) for value in row))
    # Piped output has no width of its own; 160 columns keep a line of a variable on few lines.
    console = Console(width=None if sys.stdout.isatty() else 160, markup=False, highlight=False)
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and leave with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A Windows console of an old code page must not break on a dagger.
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
    try:
        code = cli.main(args=arguments, standalone_mode=False)
    except InputError as error:
        click.echo(f"Error: {error}", err=True)
        code = EXIT_BAD_INPUT
    except click.ClickException as error:
        error.show()
        code = EXIT_BAD_INPUT
    except click.Abort:
        click.echo("Stopped.", err=True)
        code = 130
    sys.exit(int(code or EXIT_DONE))
