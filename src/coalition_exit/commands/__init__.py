"""What the commands do; `cli` only reads their arguments."""

from coalition_exit.commands.audit import new_template, printed_cells, run_and_compare
from coalition_exit.commands.data import check_data, describe_data, export_data, fetch_data
from coalition_exit.commands.exhibits import (
    Outcome,
    count_steps,
    replicate_specs,
    run_specs,
    summarize_spec,
    user_specs,
)  # fmt: skip
from coalition_exit.commands.new import new_spec
from coalition_exit.commands.rules import describe_rule, describe_rules, list_rules

__all__ = [
    "Outcome",
    "check_data",
    "count_steps",
    "describe_data",
    "describe_rule",
    "describe_rules",
    "export_data",
    "fetch_data",
    "list_rules",
    "new_spec",
    "new_template",
    "printed_cells",
    "replicate_specs",
    "run_and_compare",
    "run_specs",
    "summarize_spec",
    "user_specs",
]
