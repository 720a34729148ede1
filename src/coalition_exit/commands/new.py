"""A new specification from the template."""

from __future__ import annotations

import contextlib
import json
import re
import unicodedata
from importlib import resources
from pathlib import Path

from coalition_exit.errors import InputError
from coalition_exit.specs.json_schema import schema_path
from coalition_exit.specs.schema import RESERVED

# Stands beside the specification and is named without a path, so that both can go to another machine.
SCHEMA = "coalition-exit.schema.json"


def new_spec(name: str) -> Path:
    """Write a commented specification that runs as it is; an existing one is never touched.

    The format's JSON Schema is written beside it, for editors that read the line which names it.
    """
    path = Path(name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
    text = resources.files("coalition_exit.specs").joinpath("template.yaml").read_text("utf-8")
    head = f"# yaml-language-server: $schema={SCHEMA}\n"
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(head + text.replace("TABLE_NAME", _table_key(path.stem)))
    except FileExistsError:
        raise InputError(str(path), "a name not yet taken", "an existing file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(str(path), "a file that can be written", reason.lower()) from None
    _write_schema(path.with_name(SCHEMA))
    return path


def _write_schema(path: Path) -> None:
    """Write the schema, or bring one of an earlier version up to date; the specification runs without it."""
    text = schema_path().read_text("utf-8")
    with contextlib.suppress(OSError, ValueError):
        if not path.exists() or json.loads(path.read_text("utf-8")).get("title") == json.loads(text)["title"]:
            path.write_text(text, encoding="utf-8", newline="\n")


def _table_key(stem: str) -> str:
    """Make the name of a table out of the name of a file."""
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    key = re.sub(r"[^A-Za-z0-9_-]+", "-", plain).strip("-_")[:60] or "my-table"
    # A number alone would be read as one, and some names Windows keeps for itself.
    return f"table-{key}" if key.isdigit() or key.lower() in RESERVED else key
