"""Which files of a folder a run wrote, so that the next run there can take away those that it does not replace."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from coalition_exit.provenance import sha256_of

LIST = "run.json"


@dataclass(frozen=True)
class Left:
    """What an earlier run left in a folder and the next does not write: file names, ``/`` between their parts.

    Attributes
    ----------
    unchanged
        Files as that run wrote them: they go.
    changed
        Files that somebody has changed since: they stay, and the user is told.
    """

    unchanged: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


def listed(folder: Path) -> dict[str, str]:
    """Return every file of a run with its SHA-256, ``run.json`` apart; names with ``/``, sorted."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: sha256_of(path) for name, path in names.items() if name != LIST}


def left_behind(out: Path, written: Collection[str]) -> Left:
    """Compare the list in a folder's ``run.json`` with what a new run writes there.

    A folder without such a list, or a file that it does not name, is nobody's business here.

    Parameters
    ----------
    out
        The folder.
    written
        Names of the new files.
    """
    try:
        found = json.loads((out / LIST).read_text("utf-8"))["files"]
        earlier = {str(name): str(sha256) for name, sha256 in found.items() if _is_inside(str(name))}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Left()
    unchanged: list[str] = []
    changed: list[str] = []
    for name in sorted(earlier.keys() - set(written)):
        path = out / name
        if path.is_file() and not path.is_symlink():
            (unchanged if sha256_of(path) == earlier[name] else changed).append(name)
    return Left(tuple(unchanged), tuple(changed))


def _is_inside(name: str) -> bool:
    """Whether a name can only be that of a file in the folder."""
    parts = PurePosixPath(name).parts
    return bool(parts) and not name.startswith("/") and not {"..", ""} & set(parts) and not set(name) & set("\\:\0")


def add_to_list(out: Path, paths: Collection[Path]) -> None:
    """Enter files that a run wrote after ``run.json`` into its list."""
    run = json.loads((out / LIST).read_text("utf-8"))
    new = {path.relative_to(out).as_posix(): sha256_of(path) for path in paths}
    run["files"] = dict(sorted({**run["files"], **new}.items()))
    beside = out / f".{LIST}"
    beside.write_text(as_json(run), encoding="utf-8", newline="\n")
    os.replace(beside, out / LIST)  # noqa: PTH105 - the same on every system


def as_json(run: dict[str, object]) -> str:
    """Return the content of ``run.json``."""
    return json.dumps(run, indent=2, sort_keys=True) + "\n"


def put_in_place(new: Path, out: Path, old: Path) -> Left:
    """Put the new files into the place of an earlier run's; whatever goes wrong, put the earlier ones back."""
    moved: list[Path] = []
    files = [path.relative_to(new) for path in sorted(new.rglob("*")) if path.is_file()]
    left = left_behind(out, [name.as_posix() for name in files])
    folders = {name.parent for name in (*files, *map(Path, left.unchanged))} - {Path()}
    try:
        for folder in folders:
            (old / folder).mkdir(parents=True, exist_ok=True)
        # Those that go first: where letters' case does not count, one of them may have a new file's name.
        for gone in left.unchanged:
            (out / gone).replace(old / gone)
        for name in files:
            for folder in (out, old):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if (out / name).is_dir():
                raise IsADirectoryError(errno.EISDIR, f"the folder {out / name} in the place of a file")
            if (out / name).exists():
                (out / name).replace(old / name)
            moved.append(name)
            (new / name).replace(out / name)
    except BaseException:
        for name in reversed(moved):
            (out / name).unlink(missing_ok=True)
        for path in old.rglob("*"):
            if path.is_file():
                path.replace(out / path.relative_to(old))
        _remove_empty(out, folders)
        raise
    _remove_empty(out, folders)
    return left


def _remove_empty(out: Path, folders: Collection[Path]) -> None:
    for name in folders:
        with contextlib.suppress(OSError):
            (out / name).rmdir()
