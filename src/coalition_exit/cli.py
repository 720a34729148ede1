"""The command line; it reads arguments, calls `commands` and prints."""

from __future__ import annotations

import codecs
import contextlib
import errno
import importlib.util
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from coalition_exit.errors import EXIT_BAD_INPUT, EXIT_DONE, InputError, nearest, one_of, shown

if TYPE_CHECKING:
    import pandas as pd

    from coalition_exit.commands import Outcome
    from coalition_exit.commands.multiverse import Options
    from coalition_exit.report.audit_cells import PrintedCell
    from coalition_exit.specs.exhibits import Exhibit

_SOURCES = (
    "auto (the author's file when fetched, else the record), record, archive, a file with the archive's variables, or "
    "a folder with changed tables of the record."
)
# Tables shown in the terminal; a run with more of them names the rest.
_MOST_TABLES = 4
_OUT = click.Path(path_type=Path)
_STOPPED = 130
# Letters a line holds where the terminal's width is not known.
_WIDTH = 100


class _Group(click.Group):
    """A group that names the nearest command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise InputError(ctx.command_path, one_of(self.commands), shown(args[0]), nearest(args[0], self.commands))
        return super().resolve_command(ctx, args)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="coalition-exit")
def cli() -> None:
    """Study when states abandon their coalition partners in war.

    Reproduce the article's tables (replicate), test an objection of your own (new, validate, run), see how
    things are coded (rules, data).
    """


def _run_options(command: Any) -> Any:
    """Options that replicate and run share."""
    for option in (
        click.option(
            "--template", type=_OUT, is_flag=False, flag_value=Path("published.csv"), default=None, metavar="[FILE]",
            help="Write an empty CSV file to type printed numbers into (published.csv), and stop.",
        ),
        click.option(
            "--compare", type=_OUT, default=None, metavar="FILE",
            help="Hold the results cell by cell against the printed numbers in such a file.",
        ),
        click.option(
            "--jobs", type=click.IntRange(1), default=1, show_default=True, metavar="N",
            help="Processes for draws, simulations and a multiverse; no number depends on it.",
        ),
        click.option(
            "--out", type=_OUT, default=Path("output"), show_default=True,
            help="Folder for the results; they take the place of an earlier run's.",
        ),
        click.option("--data", default="auto", show_default=True, help=_SOURCES),
    ):  # fmt: skip
        command = option(command)
    return command


@cli.command()
@_run_options
def replicate(data: str, out: Path, jobs: int, compare: Path | None, template: Path | None) -> int:
    """Reproduce the article's tables, appendix and figures."""
    from coalition_exit.commands import printed_cells, replicate_specs

    specs = replicate_specs()
    cells = partial(printed_cells, specs, hazards_in_discrete_time=False)
    return _run(specs, data, out, jobs, compare, template, cells)


@cli.command()
@click.argument("specs", nargs=-1, required=True, metavar="SPEC...")
@_run_options
@click.option("--resume", is_flag=True, help="Go on with a multiverse where an earlier run in the folder stopped.")
@click.option(
    "--scheduler", default="", metavar="ADDRESS", help="Run a multiverse on a Dask cluster (tcp://host:8786)."
)
@click.option(
    "--null", type=click.IntRange(0), default=0, metavar="R",
    help="Test a multiverse as a whole against R curves under the null, e.g. 500.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of those curves.")
def run(
    specs: Sequence[str], data: str, out: Path, jobs: int, compare: Path | None, template: Path | None,
    resume: bool, scheduler: str, null: int, seed: int,
) -> int:  # fmt: skip
    """Run specification files and write tables and figures.

    SPEC is the path of a YAML file, a folder of them, or the name of one that ships with the package
    (article/table1). A specification with choices is run in all their combinations.
    """
    from coalition_exit.commands import printed_cells, user_specs
    from coalition_exit.commands.multiverse import Options, check_choices

    found = user_specs(specs)
    explored = [spec for spec in found if getattr(spec, "has_choices", False)]
    given = [name for name, value in (("--resume", resume), ("--scheduler", scheduler), ("--null", null)) if value]
    if given and not explored:
        raise InputError(given[0], "a specification with choices", "none", "It is an option of a multiverse")
    if scheduler and importlib.util.find_spec("distributed") is None:
        raise InputError("--scheduler", "Dask", "none", "Install it: pip install 'coalition-exit[cluster]'")
    for spec in explored:
        # Faults in the choices are found before anything is run.
        said = check_choices(spec, data)  # type: ignore[arg-type]
        if said:
            _say(f"{spec.table}: {said}", sys.stderr)
    code = _run(found, data, out, jobs, compare, template, lambda: printed_cells(found))
    if template is None:
        for spec in explored:
            code = max(code, _explore(spec, data, out, Options(jobs, resume, scheduler, null, seed)))
    return code


def _given() -> list[str]:
    """Return the arguments of the command line."""
    return list(click.get_current_context().find_root().obj or sys.argv[1:])


def _explore(spec: Any, data: str, out: Path, options: Options) -> int:
    """Run a multiverse with a bar that shows rate and time left."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from coalition_exit.commands.multiverse import explore

    console = Console(stderr=True)
    if importlib.util.find_spec("numba") is None:
        _say("numba is not installed: the multiverse runs without compiled loops, about seven times slower", sys.stderr)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        fits = bar.add_task(f"Specs of {spec.table}", total=None, rate="")
        nulls = bar.add_task("Refits under the null", total=None, rate="", visible=options.null > 0)
        try:
            found = explore(
                spec, data, out, options,
                lambda p: bar.update(fits, completed=p.done, total=p.total, rate=f"{p.rate:,.0f} a second"),
                lambda p: bar.update(nulls, completed=p.done, total=p.total, rate=f"{p.rate:,.0f} a second"),
            )  # fmt: skip
        except KeyboardInterrupt:
            again = [*_given(), *([] if options.resume else ["--resume"])]
            raise click.Abort(f"What is done is kept. To go on: {shlex.join(['coalition-exit', *again])}") from None
    _say(f"\n{found.text}\n")
    if found.run.failed:
        _say(
            f"{found.run.failed:,} of {found.run.specs:,} specs have no estimate; each is a row with its reason",
            sys.stderr,
        )
    _say(f"Written to {found.page.parent}: open {found.page} in a browser.")
    return found.exit_code


def _run(
    specs: Sequence[Exhibit],
    data: str,
    out: Path,
    jobs: int,
    compare: Path | None,
    template: Path | None,
    cells: Callable[[], list[PrintedCell]],
) -> int:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from coalition_exit.commands import count_steps, new_template, run_and_compare, run_specs
    from coalition_exit.report.audit_files import summary
    from coalition_exit.report.output import check_folder

    if template is not None:
        _say(new_template(template, cells()))
        return EXIT_DONE
    check_folder(out)
    console = Console(stderr=True)
    columns = (TextColumn("Fitting models"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    command = shlex.join(["coalition-exit", *_given()])
    found = None
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=count_steps(specs))
        advance: Callable[[str], None] = lambda _: bar.advance(task)  # noqa: E731
        if compare is None:
            outcome = run_specs(specs, data, out, command, advance, jobs)
        else:
            outcome, found = run_and_compare(specs, cells(), compare, data, out, command, advance, jobs)
    _print_outcome(outcome)
    if found is not None:
        _say(summary(found, _terminal_width()))
    return outcome.exit_code


def _print_verdicts(outcome: Outcome) -> None:
    """Show the verdict on an objection; of several objections how often each was reached."""
    from coalition_exit.report.grid import to_text

    if len(outcome.verdicts) == 1:
        _say(to_text(outcome.verdicts[0], _terminal_width()))
    if outcome.summary is not None:
        _say(to_text(outcome.summary, _terminal_width()))


def _print_outcome(outcome: Outcome) -> None:
    from coalition_exit.report.plain import to_text

    shown = outcome.tables[:_MOST_TABLES] if len(outcome.tables) <= _MOST_TABLES else outcome.tables[:2]
    for table in shown:
        _say(to_text(table, _terminal_width()))
    _print_verdicts(outcome)
    others = [*(table.table for table in outcome.tables[len(shown) :]), *(grid.key for grid in outcome.grids)]
    others += [grid.key for grid in outcome.verdicts] if len(outcome.verdicts) > 1 else []
    if others:
        _say(f"Further tables, in {outcome.out / 'tables'}: {', '.join(others)}")
    if outcome.figures:
        _say(f"Figures, in {outcome.out / 'figures'}: {', '.join(outcome.figures)}, and a plot of each table")
    for note in outcome.notes:
        _say(f"Data: {note}")
    for remark in outcome.remarks:
        _say(f"As read: {remark}")
    if outcome.hint:
        _say(outcome.hint)
    for text in outcome.warnings:
        _say(f"Error: {text}", sys.stderr)
    for exhibit, model, reason in outcome.failed:
        _say(f"Not estimated: {exhibit}{f' > {model}' if model else ''}: {reason}", sys.stderr)
    if outcome.left.unchanged:
        _say(f"Removed from {outcome.out}: {_files(outcome.left.unchanged)} of the earlier run there")
    if outcome.left.changed:
        names = ", ".join(outcome.left.changed)
        _say(f"Left in {outcome.out}, as changed since the earlier run there, and not of this run: {names}", sys.stderr)
    _say(f"Written to {outcome.out}: open {outcome.out / 'report.html'} in a browser.")


def _files(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} files"


@cli.command()
@click.argument("specs", nargs=-1, required=True, metavar="SPEC...")
def validate(specs: Sequence[str]) -> int:
    """Check specification files without running them."""
    from coalition_exit.commands import summarize_spec, user_specs
    from coalition_exit.commands.multiverse import describe_choices

    for spec in user_specs(specs):
        # Checked first, said afterwards.
        choices = describe_choices(spec) if getattr(spec, "has_choices", False) else ""  # type: ignore[arg-type]
        _say(summarize_spec(spec))
        if choices:
            _say(choices)
    return EXIT_DONE


@cli.command()
@click.argument("name", required=False)
def rules(name: str | None) -> int:
    """List the coding rules, or show one.

    NAME is the name of a rule (article_recent_exit) or of a variable (recexit, ctrend45).
    """
    from coalition_exit.commands import describe_rule, describe_rules

    width = _terminal_width() or _WIDTH
    _say(describe_rules(width) if name is None else describe_rule(name, width))
    return EXIT_DONE


@cli.group(cls=_Group)
def data() -> None:
    """Describe, check and export the data."""


@data.command()
def describe() -> int:
    """Show counts, exits by mode, and a line on every variable."""
    from coalition_exit.commands import describe_data

    told = describe_data()
    variables = told.variables[["variable", "min", "mean", "max", "missing", "meaning"]].copy()
    for column in ("min", "mean", "max"):
        variables[column] = variables[column].map("{:.4g}".format)
    _say(f"Data: {told.note}\n")
    _print_table(told.counts, "Panel")
    _print_table(told.exits, "Exits by mode")
    _print_table(variables, "Variables", right=("min", "mean", "max"))
    grades = ["high", "medium", "low"]
    _print_table(told.tables[["table", "rows", *grades, "holds"]], "Tables of the record, rows by confidence", grades)
    return EXIT_DONE


@data.command()
@click.argument("folder", required=False, type=click.Path())
def check(folder: str | None) -> int:
    """Check the record against its codebook, or a FOLDER with tables of your own."""
    from coalition_exit.commands import check_data

    _say(check_data(folder))
    return EXIT_DONE


@data.command()
@click.option("--base-url", default=None, help="Address of the Dataverse installation.")
def fetch(base_url: str | None) -> int:
    """Get the author's deposited file (doi:10.7910/DVN/DUFHM1) from Dataverse and verify it.

    A download that broke off goes on where it stopped when the command is run again. Proxies are taken from the
    environment (HTTPS_PROXY).
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from coalition_exit.archive.fetch import BASE_URL
    from coalition_exit.commands import fetch_data

    console = Console(stderr=True)
    columns = (
        TextColumn("Fetching"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        told = fetch_data(
            base_url or BASE_URL, lambda have, total: bar.update(task, completed=have, total=total or None)
        )
    _say(told)
    return EXIT_DONE


@data.command()
@click.argument("file", type=click.Path(path_type=Path))
def export(file: Path) -> int:
    """Write the panel to FILE (.dta, .csv or .parquet)."""
    from coalition_exit.commands import export_data

    _say(export_data(file))
    return EXIT_DONE


@cli.command()
@click.argument("name")
def new(name: str) -> int:
    """Write NAME.yaml, a commented specification that runs as it is."""
    from coalition_exit.commands import new_spec

    path = new_spec(name)
    command = shlex.join(["coalition-exit", "run", str(path), "--out", f"{path.stem}-output"])
    _say(f"Written: {path}. Edit it, then: {command}")
    return EXIT_DONE


def _print_table(frame: pd.DataFrame, title: str, right: Sequence[str] = ()) -> None:
    from coalition_exit.report.plain import columns

    rows = [[str(value) for value in row] for row in frame.itertuples(index=False)]
    numbers = [name for name in frame.columns if frame[name].dtype.kind in "if"]
    _say(columns(title, list(frame.columns), rows, _terminal_width() or _WIDTH, [*numbers, *right]))


def _terminal_width() -> int | None:
    """Return the letters a line of the terminal holds; None where output goes to a file or a pipe."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return max(shutil.get_terminal_size((_WIDTH, 24)).columns, 20)
    return None


def _say(text: str, stream: IO[str] | None = None) -> None:
    """Print; a reader that has gone (``| head``) is no error, and a full disk is one line."""
    stream = stream or sys.stdout
    try:
        click.echo(text, file=stream)
    except OSError as error:
        # What is still in the buffer must go somewhere, or Python complains when it ends.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if not isinstance(error, BrokenPipeError) and error.errno != errno.EINVAL:
            raise InputError("output", "a place that can be written", (error.strerror or "").lower()) from None


def _plain_letters(error: UnicodeError) -> tuple[str, int]:
    """Stand in for letters that the terminal's encoding lacks."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join({"†": "+", "–": "-", "—": "-", "’": "'"}.get(letter, "?") for letter in lacking), error.end


codecs.register_error("coalition-exit-plain", _plain_letters)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="coalition-exit-plain")
    try:
        code = cli.main(args=list(given), prog_name="coalition-exit", obj=given, standalone_mode=False)
    except InputError as error:
        code = _refuse(str(error))
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = EXIT_BAD_INPUT
    except click.UsageError as error:
        asked = f" ({error.ctx.command_path} --help says more)" if error.ctx else ""
        code = _refuse(f"{error.format_message()}{asked}")
    except click.ClickException as error:
        code = _refuse(error.format_message())
    except click.Abort as stop:
        _say(f"Stopped. {stop}".rstrip(), sys.stderr)
        code = _STOPPED
    sys.exit(int(code or EXIT_DONE))


def _refuse(message: str) -> int:
    """Say what is wrong with the input, on one line."""
    _say(f"Error: {' '.join(message.split())}", sys.stderr)
    return EXIT_BAD_INPUT
