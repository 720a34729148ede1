"""``data fetch`` and ``--data archive`` as a user meets them."""

from __future__ import annotations

import gzip
import json
from http.server import ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest

from archive.simulate import FILE
from coalition_exit.archive.fetch import FILE_NAME
from coalition_exit.cli import main
from coalition_exit.errors import EXIT_BAD_INPUT, EXIT_DONE

CONTENT = gzip.decompress(FILE.read_bytes())
Capture = pytest.CaptureFixture[str]


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return int(left.value.code or 0)


@pytest.mark.usefixtures("no_figures")
def test_fetch_then_run(
    server: ThreadingHTTPServer, archive_folder: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server.state.body = CONTENT
    assert call("run", "article/table1", "--data", "archive") == EXIT_BAD_INPUT
    assert "coalition-exit data fetch gets it" in capsys.readouterr().err
    assert call("data", "fetch", "--base-url", server.url) == EXIT_DONE
    told = capsys.readouterr().out
    assert str(archive_folder / FILE_NAME) in told
    assert "the listed checksum agrees" in told
    assert "Stata 118, 6,031 rows" in told
    for source in ("archive", "auto"):
        assert call("run", "article/table1", "--data", source, "--out", source) == EXIT_DONE
        out = capsys.readouterr().out
        assert "Data: the author's deposited file coalition_exit_final.dta" in out
        assert "To see the package's own coded record instead: --data record" in out
        run = json.loads((tmp_path / source / "run.json").read_text("utf-8"))
        assert run["data"]["source"] == "archive"
        assert "deposited file" in (tmp_path / source / "tables" / "table1.md").read_text("utf-8")
    assert (tmp_path / "auto" / "estimates.csv").read_bytes() == (tmp_path / "archive" / "estimates.csv").read_bytes()
    assert call("run", "article/table1", "--data", "record", "--out", "record") == EXIT_DONE
    assert "coalition-exit data fetch, then --data archive" in capsys.readouterr().out
    models = pd.read_csv(tmp_path / "record" / "models.csv")
    assert set(models["n_obs"]) == {104375}


def test_a_fault_on_the_way_is_one_line(server: ThreadingHTTPServer, archive_folder: Path, capsys: Capture) -> None:
    server.state.metadata_status = 404
    assert call("data", "fetch", "--base-url", server.url) == EXIT_BAD_INPUT
    err = capsys.readouterr().err
    assert "HTTP 404 (not found)" in err
    assert err.count("\n") == 1
    assert list(archive_folder.iterdir()) == []


def test_a_deposit_that_changed_is_refused(server: ThreadingHTTPServer, archive_folder: Path, capsys: Capture) -> None:
    server.state.body = CONTENT
    assert call("data", "fetch", "--base-url", server.url) == EXIT_DONE
    server.state.body = CONTENT[:-1] + b"!"
    assert call("data", "fetch", "--base-url", server.url) == EXIT_BAD_INPUT
    assert capsys.readouterr().err.count("SHA-256") == 2
    assert (archive_folder / FILE_NAME).read_bytes() == CONTENT


@pytest.mark.usefixtures("no_figures", "loaded_once")
def test_template_and_comparison(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("run", "article/table1", "--template") == EXIT_DONE
    assert "Type each number" in capsys.readouterr().out
    assert call("run", "article/table1", "--template") == EXIT_BAD_INPUT
    text = (tmp_path / "published.csv").read_text("utf-8-sig")
    assert text.count("\n") == 1 + 4 * 4 + 4 * 4
    lines = text.splitlines()
    # The first cell is typed as computed here, the second as another number.
    assert call("run", "article/table1", "--out", "out", "--data", "record") == EXIT_DONE
    estimates = pd.read_csv(tmp_path / "out" / "estimates.csv")
    lines[1] = lines[1].replace(",coef,,", f",coef,{estimates['estimate'][0]:.3f},", 1)
    lines[2] = lines[2].replace(",se,,", ",se,(9.99),", 1)
    (tmp_path / "typed.csv").write_text("\n".join(lines), "utf-8")
    assert call("run", "article/table1", "--compare", "typed.csv", "--out", "audit", "--data", "record") == EXIT_DONE
    out = capsys.readouterr().out
    assert "reconstruct" in out
    audit = pd.read_csv(tmp_path / "audit" / "audit.csv")
    typed = audit[audit["printed"].notna()]
    assert len(typed) == 2
    assert (tmp_path / "audit" / "audit.md").is_file()
    assert call("run", "article/table1", "--compare", "nowhere.csv", "--out", "none") == EXIT_BAD_INPUT
    assert not (tmp_path / "none").exists()
