"""Hashes of the code."""

from __future__ import annotations

import hashlib
from pathlib import Path

import coalition_exit
from coalition_exit.multiverse.fits import code
from coalition_exit.multiverse.fits.code import FITS, code_digest
from coalition_exit.multiverse.null.refits import CODE


def test_every_folder_counts() -> None:
    package = Path(coalition_exit.__file__).parent
    assert all((package / part).is_dir() for part in (*FITS, *CODE))
    nothing = hashlib.sha256().hexdigest()
    assert len({code_digest((part,)) for part in CODE} | {nothing, code_digest(), code_digest(CODE)}) == len(CODE) + 3


def test_a_line_more_is_another_hash_and_line_ends_are_not(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(code, "__file__", str(tmp_path / "multiverse" / "fits" / "code.py"))
    (tmp_path / "survival").mkdir()
    found = []
    for text in (b"a\nb\n", b"a\r\nb\r\n", b"a\nb\nc\n"):
        (tmp_path / "survival" / "one.py").write_bytes(text)
        found.append(code_digest.__wrapped__(("survival",)))
    assert found[0] == found[1] != found[2]
