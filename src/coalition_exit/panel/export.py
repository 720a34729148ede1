"""Writing the panel for other programs: Stata, CSV, Parquet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from coalition_exit.coding.rules import Rule
from coalition_exit.errors import InputError, nearest, one_of

FORMATS = (".dta", ".csv", ".parquet")


def export_panel(panel: pd.DataFrame, path: str | Path, rules: Mapping[str, Rule] | None = None) -> Path:
    """Write the panel; the ending of the name decides the format.

    Parameters
    ----------
    panel
        From `build_panel`.
    path
        Ends in .dta (Stata 13 and later), .csv or .parquet. Replaced as a whole if it exists.
    rules
        Rules by variable; their labels become Stata's variable labels.

    Raises
    ------
    InputError
        On another ending, or a place that cannot be written.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise InputError(
            str(path), f"a name that ends in {one_of(FORMATS)}", repr(path.suffix), nearest(path.suffix, FORMATS)
        )
    temporary = path.with_name(f".{path.name}.part")
    try:
        _write(panel, temporary, path.suffix, rules or {})
        temporary.replace(path)
    except OSError as error:
        raise InputError(str(path), "a file that can be written", error.strerror or str(error)) from None
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _write(panel: pd.DataFrame, path: Path, suffix: str, rules: Mapping[str, Rule]) -> None:
    if suffix == ".csv":
        panel.to_csv(path, index=False, lineterminator="\n")
    elif suffix == ".parquet":
        panel.to_parquet(path, index=False)
    else:
        labels = {name: rules[name].label[:80] for name in panel.columns if name in rules}
        panel.to_stata(
            path,
            write_index=False,
            version=118,
            variable_labels=labels,
            data_label="coalition-exit: reconstructed from public facts",
            # Stata stamps files with the time; a fixed one keeps equal panels equal.
            time_stamp=pd.Timestamp("2000-01-01").to_pydatetime(),
        )
