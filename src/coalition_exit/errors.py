"""Every exception of the package and the exit codes of the command line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_DONE = 0
EXIT_MODEL_FAILED = 1
EXIT_BAD_INPUT = 2


class CoalitionExitError(Exception):
    """Base class: every error the package raises on purpose."""


class InputError(CoalitionExitError):
    """Something the user gave is wrong: one line that says what and where.

    Parameters
    ----------
    place
        Where it is, from the outside in: file, table, key path, row, column.
    expected
        What would have been right.
    got
        What was found. Empty to leave that part out.
    hint
        A further remark, for example the nearest valid name.
    """

    def __init__(self, place: str, expected: str, got: str = "", hint: str = "") -> None:
        self.place, self.expected, self.got, self.hint = place, expected, got, hint
        text = f"{place}: expected {expected}" if place else f"expected {expected}"
        if got:
            text += f", got {got}"
        if hint:
            text += f". {hint}"
        super().__init__(text)

    def __reduce__(self) -> tuple[type, tuple[str, str, str, str]]:
        return type(self), (self.place, self.expected, self.got, self.hint)


class RecordError(InputError):
    """A table of the coded record breaks its codebook."""


class SpecError(InputError):
    """A YAML specification or coding rule is not valid."""


class DataError(InputError):
    """Data handed to an estimator or a panel cannot be used as they are."""


class CellError(InputError):
    """A cell of a user's data file is wrong: unlike what a model lacks, it stops the run."""


class FitError(CoalitionExitError):
    """A model could not be estimated; the message is the reason.

    ``status`` is one word for tables: "no_events", "no_variation", "collinear",
    "monotone", "not_converged", "no_observations".
    """

    def __init__(self, status: str, reason: str) -> None:
        self.status, self.reason = status, reason
        super().__init__(reason)

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.status, self.reason)


def shown(value: object, most: int = 80) -> str:
    """Return a value as a message shows it: as YAML has it, on one line, cut when long."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return "Did you mean 'x'?" for the closest valid name, or an empty string."""
    found = difflib.get_close_matches(str(name), [str(v) for v in valid], n=1, cutoff=0.55)
    return f"Did you mean {found[0]!r}?" if found else ""


def one_of(values: Iterable[object], most: int = 12) -> str:
    """Return the valid names as a short phrase for a message."""
    names = [str(v) for v in values]
    if not names:
        return "nothing (none is defined)"
    shown = ", ".join(names[:most]) + (", ..." if len(names) > most else "")
    return f"one of {shown}" if len(names) > 1 else shown
