"""Hashes of the code that makes the numbers, so that results of other code are not taken for this one's."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

# Coding rules and the record need not be here: what they make, the columns, is hashed itself. What draws, runs or
# reads has no part in the specs' numbers.
FITS = ("survival", "multiverse/choices", "multiverse/fits")


@cache
def code_digest(parts: tuple[str, ...] = FITS) -> str:
    """Return the SHA-256 of the source text of folders of the package, line ends apart."""
    root = Path(__file__).absolute().parents[2]
    digest = hashlib.sha256()
    for part in parts:
        for path in sorted((root / part).rglob("*.py"), key=lambda p: p.relative_to(root).as_posix()):
            digest.update(path.relative_to(root).as_posix().encode())
            digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()
